"""Experiment files that people write: checked before anything is built, and written for them."""

import json
import math
import random
from pathlib import Path

import pytest
import torch

from mtpsl import papers
from mtpsl.__main__ import main
from mtpsl.papers import method_class
from mtpsl.registry import fits
from mtpsl.report.records import row_experiments
from mtpsl.runs import plan, run
from mtpsl.runs.experiment import Experiment, read_experiment, require_sound
from mtpsl.runs.network import build
from mtpsl.runs.store import RunStore, Session
from tests.own_trees import write_own

ROOT = Path(__file__).parents[1]
TINY = {"height": 32, "width": 32, "width_factor": 0.125, "train_images": 6, "test_images": 4}
TINY |= {"epochs": 1, "batch_size": 3, "backbone_args": {"stages": 3}}
TEACHER = TINY | {"method": "hitts", "method_args": {"depth_bins": 4, "normal_centers": 3}}
STUDENT = {"method_args": TEACHER["method_args"] | {"pseudo_labels": True}, "teacher": TEACHER}
BASES = [
    TINY | {"schedule": "cosine", "schedule_args": {"warmup": 0.1}, "weighting": "uncertainty"},
    TINY | {"label_setting": "ratio", "label_args": {"ratio": "1:2:3"}, "weighting": "gradnorm"},
    TINY | {"weighting": "dwa", "weighting_args": {"temperature": 2.0}, "protocol": "atrc"},
    TEACHER | STUDENT | {"thresholds": {"semseg": 0.9, "depth": "50%"}},
    TINY | {"method": "rdc", "regions": "grid", "region_args": {"size": 8}, "flip": True},
    TINY | {"method": "xtc", "method_args": {"weight": 1.0}, "eval_every": 1, "clip": 1.0},
    TINY | {"backbone": "resnet18", "backbone_args": {"weights": None, "dilated": False}},
    TINY | {"method": "tpkr", "method_args": {"dimension": 8, "blocks": 1}, "score_size": None},
    TINY | {"dataset": "own", "tasks": ["semseg", "depth"], "data_version": "own-1"}
    | {"data_args": {"semseg": {"classes": ["a", "b"], "weight": 1.0}, "depth": {}}},
]  # fmt: skip
JUNK = [
    *(None, True, False, -1, 0, 1, 2, 5, 0.5, -0.5, 1e30, 1e308, -1e308, math.nan, math.inf),
    *(10**30, "", "a", "\ud800", "50%", "0", "1e3", "semseg", "hitts", "../x", "\x00", [], [[]]),
    *({}, {"a": 1}, {"semseg": 1}, [1, "a"], ["semseg"], ["semseg", "semseg"], [None], {"": {}}),
]


# ------------------------------------------------------------------------ fuzz


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    return [path, *(place for k, v in items for place in places(v, (*path, k)))]


def mutate(base: dict, chance: random.Random) -> str:
    """The text of an experiment with one to three changes, some of which break the JSON."""
    values = json.loads(json.dumps(base))
    known = Experiment().to_dict()
    for _ in range(chance.choice((1, 1, 2, 3))):
        inside = chance.choice(places(values)[1:] or [("epochs",)])
        place = inside if chance.random() < 0.6 else (chance.choice([*known, "x", "// y"]),)
        holder = values
        for step in place[:-1]:
            holder = holder[step]
        if chance.random() < 0.1 and isinstance(holder, dict):
            holder.pop(place[-1], None)
        elif chance.random() < 0.1:
            holder[place[-1]] = known[chance.choice([*known])]
        else:
            holder[place[-1]] = chance.choice(JUNK)
    text = json.dumps(values)
    if chance.random() < 0.03:
        text = text[: chance.randrange(len(text))]
    return "[" * 100_000 if chance.random() < 0.003 else text


class Accepted(Exception):
    """An experiment came as far as its training."""


@pytest.mark.parametrize(
    ("seed", "count"), [(0, 100), pytest.param(1, 2000, marks=pytest.mark.slow)]
)
def test_no_json_ends_in_a_traceback(seed, count, tmp_path, monkeypatch, capsys) -> None:
    def accept(experiment: Experiment, session: Session) -> None:
        with torch.device("meta"):  # any size, no number
            build(experiment)
        raise Accepted

    monkeypatch.setattr(run, "train", accept)
    monkeypatch.setattr(run, "_check_versions", lambda *_: None)
    monkeypatch.setenv("MTPSL_RUNS", str(tmp_path / "runs"))
    path, accepted = tmp_path / "experiment.json", 0
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        path.write_text(text := mutate(chance.choice(BASES), chance))
        try:
            status = main(["run", "--brief", "--device", "cpu", "--experiment", str(path)])
        except Accepted:
            accepted += 1
            continue
        except BaseException as error:
            raise AssertionError(f"seed {seed}, number {number}: {text:.3000}") from error
        said = capsys.readouterr().err
        assert status in (1, 2) and said.startswith("mtpsl: "), f"{status}: {said}\n{text}"
        assert "Traceback" not in said and said.count("\n") == 1, said
    assert 0 < accepted < count / 2


@pytest.mark.parametrize("base", BASES[:-1], ids=range(len(BASES) - 1))
def test_what_is_mutated_is_sound_itself(base) -> None:
    require_sound(Experiment.from_dict(base))


# ---------------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"lr": True}, "lr to be a number, above 0"),
        ({"lr": "1e-3"}, "lr to be a number"),
        ({"lr": None}, "lr to be a number"),
        ({"weight_decay": [1]}, "weight_decay to be a number, at least 0"),
        ({"width_factor": "wide"}, "width_factor to be a number"),
        ({"width_factor": 1e9}, "width_factor to be a number, above 0 to 8"),
        ({"tasks": {"semseg": 1}}, "tasks to be a list of text"),
        ({"tasks": "semseg"}, "tasks to be a list of text"),
        ({"tasks": ["semsge"]}, "tasks: expected some of"),
        ({"teacher": []}, "an object of fields"),
        ({"teacher": 3}, "an object of fields"),
        ({"thresholds": {"semseg": 0.5}}, "thresholds: expected a teacher"),
        ({"schedule": "cosine", "schedule_args": {"warmup": 5}}, "warmup to be a number, from 0"),
        ({"schedule": "cosine", "schedule_args": {"warmup": -1}}, "warmup to be a number, from 0"),
        ({"schedule_args": {"warmup": 0.1}}, "schedule_args: expected some of"),
        ({"schedule_args": {"gamma": "half"}}, "gamma to be a number"),
        ({"weighting": "dwa", "weighting_args": {"temperature": [2]}}, "temperature to be a num"),
        ({"weighting_args": {"temperature": 2}}, "weighting_args: expected some of"),
        ({"method_args": {"wieght": 2}}, "method_args: expected some of"),
        ({"method_args": {"pseudo_labels": 1}}, "pseudo_labels to be true or false"),
        ({"data_args": {"semseg": {}}}, "data_args: expected dataset 'own'"),
        ({"dataset": "own", "data_args": {"semseg": 3}}, r"expected a table \[semseg\]"),
        ({"label_args": {"shots": 3}}, "label_args: expected some of"),
        ({"label_setting": "share", "label_args": {"share": "x"}}, "share to be a number"),
        ({"region_args": {"size": 8}}, "region_args: expected regions"),
        ({"regions": "file"}, "region_args: expected 'folder'"),
        ({"select_reference": {"semseg/miou": 0.1}}, "select_reference: expected select"),
        ({"select": "best_on_test"}, "select: expected eval_every"),
        ({"height": 10**9}, "height to be a whole number, from 1 to 16384"),
        ({"dataset": "rooms"}, "did you mean 'rooms13'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_nonsense_is_refused_in_one_sentence(changes, complaint, tmp_path) -> None:
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps(changes))
    with pytest.raises(ValueError, match=complaint) as refused:
        read_experiment(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_boolean_is_no_number_and_a_whole_number_is_a_float() -> None:
    assert fits(1, float) and not fits(True, float) and not fits(True, int)
    assert not fits(1.0, int) and not fits(1, bool) and fits(None, float | None)
    assert fits([1, 2], tuple[float, float]) and not fits([1], tuple[float, float])


@pytest.mark.parametrize("name", papers.tables())
def test_every_row_of_every_table_is_sound(name: str) -> None:
    for row in papers.tables()[name].rows:
        for profile in ("smoke", "quick", "full") if row.experiments else ():
            for experiment in row_experiments(row, profile, 0):
                require_sound(experiment)
                assert Experiment.from_dict(experiment.to_dict()).key == experiment.key


def test_the_documented_fields_are_those_of_the_class() -> None:
    text = (ROOT / "docs" / "experiment.md").read_text()
    assert plan.fields_table() in text, "write it again: python -m tests.test_fields"
    assert all(plan.notes().values()) and plan.notes().keys() == Experiment().to_dict().keys()


# ------------------------------------------------------------------- new, plan


@pytest.mark.parametrize("name", ["own", "rooms13", "streets7", "people21"])
def test_a_new_experiment_can_be_read_and_says_what_it_is(name, tmp_path, capsys) -> None:
    argv = ["new", name, "--profile", "smoke"]
    if name == "own":
        argv += ["--data", str(write_own(tmp_path / "own"))]
    assert main(argv) == 0
    path = tmp_path / "experiment.json"
    path.write_text(capsys.readouterr().out)
    values, experiment = json.loads(path.read_text()), read_experiment(path)
    assert experiment.dataset == name and experiment.height <= 64
    assert "about" in values["// time"] and "steps" in values["// time"]
    fields = [field for field in values if not field.startswith("//")]
    assert all(values[f"// {field}"] for field in fields)
    assert Experiment.from_dict(experiment.to_dict()) == experiment  # remarks are left behind
    assert method_class(experiment.method)


def test_an_own_experiment_keeps_proportions_and_all_images(tmp_path) -> None:
    root = write_own(tmp_path, ("semseg", "edges"))
    made = plan.new_experiment("own", root)
    assert (made.height, made.width) == (64, 96)  # of photographs of 24x32 pixels
    assert (made.train_images, made.test_images) == (7, 2)
    assert made.tasks == ("semseg", "edges") and made.epochs > 100


def test_a_run_says_what_it_will_do_before_it_does(tmp_path) -> None:
    experiment = run.bind_data(Experiment.from_dict(TINY))
    session = Session(RunStore(tmp_path), "cpu")
    text = "\n".join(plan.announce(experiment, session))
    for said in ("rooms13", "6 to train on, 4 to test on", "32x32", "semseg 2 of 6", "2 steps"):
        assert said in text
    params = sum(p.numel() for p in build(experiment).parameters())
    assert f"{params:,}" in text and "about" in text


if __name__ == "__main__":
    head = "# Fields of an experiment\n\n"
    head += (
        "`python -m mtpsl new` writes a file with some of them; what a file leaves out has its\n"
    )
    head += "default, and a name that begins with `//` is a remark, which is not read. A value of\n"
    head += "another kind, an unknown name or an argument that nothing reads is refused before\n"
    head += "anything is built.\n\n"
    (ROOT / "docs" / "experiment.md").write_text(head + plan.fields_table())
