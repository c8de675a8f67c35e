"""The floors of a table are what its constant answers score."""

import math
from dataclasses import replace

import pytest
import torch

from mtpsl.data import find_class, open_dataset
from mtpsl.data.dataset import EvalLoader
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.report import floors
from mtpsl.report.floors import floor_scores, score_guesses
from mtpsl.report.results import GUESSES, floor_key
from mtpsl.runs.data import bind_data, label, open_split
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.store import RunStore, Session

EYES, LOOKUP = GUESSES
SIZE = {"height": 32, "width": 32}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("cache")


def splits(name: str, cache, images: int = 6) -> tuple:
    how = {**SIZE, "images": images, "cache_dir": cache}
    return tuple(open_dataset(name, split, **how) for split in ("train", "test"))


def scores(train, test) -> dict:
    return score_guesses(train, EvalLoader(test, 4))


def test_closed_eyes_are_what_their_answers_score(cache) -> None:
    train, test = splits("rooms13", cache)
    found = scores(train, test)[EYES]
    seen, asked = train.load(range(6)), test.load(range(6))

    meters = seen.targets["depth"][seen.valid["depth"]].median()
    error = (asked.targets["depth"] - meters).abs()[asked.valid["depth"]].double().mean()
    assert found["depth/abs_err"] == pytest.approx(error.item(), rel=1e-5)

    ids = seen.targets["semseg"][seen.valid["semseg"]]
    right = (asked.targets["semseg"][asked.valid["semseg"]] == ids.mode().values).double().mean()
    assert found["semseg/pixel_acc"] == pytest.approx(right.item())

    normals = seen.targets["normals"].movedim(1, -1)[seen.valid["normals"][:, 0]]
    mean = torch.nn.functional.normalize(normals.mean(0), dim=0).view(1, 3, 1, 1)
    cosine = (asked.targets["normals"] * mean).sum(1)[asked.valid["normals"][:, 0]]
    degrees = cosine.clamp(-1, 1).acos().rad2deg().double().mean()
    assert found["normals/mean_err"] == pytest.approx(degrees.item(), rel=1e-4)


def test_a_lookup_answers_what_is_usual_at_a_position(cache) -> None:
    train, test = splits("rooms13", cache)
    found = scores(train, test)[LOOKUP]
    seen, asked = train.load(range(6)), test.load(range(6))
    anywhere = seen.targets["depth"][seen.valid["depth"]].median()
    wrong, pixels = 0.0, 0
    for y in range(SIZE["height"]):
        for x in range(SIZE["width"]):
            there = seen.targets["depth"][:, 0, y, x][seen.valid["depth"][:, 0, y, x]]
            meters = there.median() if len(there) else anywhere
            mask = asked.valid["depth"][:, 0, y, x]
            wrong += float((asked.targets["depth"][:, 0, y, x] - meters).abs()[mask].sum())
            pixels += int(mask.sum())
    assert found["depth/abs_err"] == pytest.approx(wrong / pixels, rel=1e-4)


def test_what_was_seen_is_looked_up(cache) -> None:
    """One training image that is asked again: every position answers its own label."""
    train, _ = splits("people21", cache, images=1)
    found = scores(train, train)[LOOKUP]
    eyes = scores(train, train)[EYES]
    assert found["normals/mean_err"] == pytest.approx(0, abs=0.1)
    for name in ("semseg/miou", "saliency/sal_miou", "edges/ods_f"):
        assert found[name] == pytest.approx(1, abs=1e-3) and eyes[name] < 1


def test_guesses_know_only_labels_that_are_kept(cache) -> None:
    train, test = splits("streets7", cache)
    kept = assign("few_shot", len(train), train.tasks.names, task="depth", shots=1)
    partial = scores(PartialLabels(train, kept), test)
    (image,) = kept.labeled[:, kept.tasks.index("depth")].nonzero().flatten().tolist()
    alone = train.load([image])
    meters = alone.targets["depth"][alone.valid["depth"]].median()
    asked = test.load(range(6))
    error = (asked.targets["depth"] - meters).abs()[asked.valid["depth"]].double().mean()
    assert partial[EYES]["depth/abs_err"] == pytest.approx(error.item(), rel=1e-5)
    assert partial[EYES]["semseg/miou"] == scores(train, test)[EYES]["semseg/miou"]


@pytest.mark.parametrize("name", ["rooms13", "streets7", "people21"])
def test_every_metric_has_a_floor(name: str, cache) -> None:
    found = scores(*splits(name, cache))
    tasks = find_class(name).tasks
    assert list(found) == list(GUESSES)
    for metrics in found.values():
        assert set(metrics) >= {f"{t.name}/{column}" for t in tasks for column in t.columns}
        assert not any(map(math.isnan, metrics.values()))


# --- of a row ------------------------------------------------------------------------------------


@pytest.fixture
def session(cache, tmp_path) -> Session:
    return Session(RunStore(tmp_path / "runs"), "cpu", cache_dir=cache)


RUN = bind_data(Experiment(**SIZE, train_images=6, test_images=4, tasks=("depth",)))


def test_scores_of_a_row_are_made_once(session, monkeypatch, capsys) -> None:
    found = floor_scores(RUN.to_dict(), "test", session)
    train, test = (open_split(RUN, split, session) for split in ("train", "test"))
    _, assignment = label(RUN, train, session)
    assert found == scores(PartialLabels(train, assignment), test)
    assert {name.partition("/")[0] for name in found[EYES]} == {"semseg", "depth", "normals"}

    monkeypatch.setattr(floors, "score_guesses", None)  # another method, the same data
    again = RUN.replace(method="hitts", seed=3, tasks=("depth", "normals")).to_dict()
    assert floor_scores(again, "test", session) == found
    (path,) = (session.store.root / "floors").iterdir()
    path.write_text(path.read_text()[:-20])
    monkeypatch.undo()
    assert floor_scores(RUN.to_dict(), "test", session) == found
    assert path.name in capsys.readouterr().err


def test_what_decides_a_floor_is_in_its_key() -> None:
    def key(measured_on="test", **changes) -> str:
        return floor_key(RUN.replace(**changes).to_dict(), measured_on)

    same = [key(), key(method="hitts"), key(seed=1), key(epochs=9), key(tasks=("semseg",))]
    assert len(set(same)) == 1
    other = [
        key("labeled"), key("unlabeled"), key(label_setting="full"), key(train_images=5),
        key(test_images=5), key(height=64), key(data_version="0"), key(dataset="streets7"),
        key(label_args={"share": 0.5}), key(numerics=0),
    ]  # fmt: skip
    assert len({*same, *other}) == 1 + len(other)


def test_images_that_a_row_is_measured_on(session) -> None:
    """[HiTTs, Table 6]: training images, each task on those that show its label, or hide it."""
    train = open_split(RUN, "train", session)
    _, assignment = label(RUN, train, session)
    whole = score_guesses(PartialLabels(train, assignment), EvalLoader(train, 4))
    parts = {on: floor_scores(RUN.to_dict(), on, session) for on in ("labeled", "unlabeled")}
    shown = scores(PartialLabels(train, assignment), PartialLabels(train, assignment))
    hidden = replace(assignment, labeled=~assignment.labeled)
    asked = scores(PartialLabels(train, assignment), PartialLabels(train, hidden))
    for guess in GUESSES:
        assert parts["labeled"][guess] == pytest.approx(shown[guess])
        assert parts["unlabeled"][guess] == pytest.approx(asked[guess])
    one, other = (parts[on][EYES]["depth/abs_err"] for on in ("labeled", "unlabeled"))
    assert min(one, other) <= whole[EYES]["depth/abs_err"] <= max(one, other)
