"""The recorded gradients of untrained networks: repeatable, and of the rows that are told of."""

import math
from pathlib import Path

import pytest
import torch

from mtpsl import files, papers
from mtpsl.data import open_dataset
from mtpsl.data.dataset import Dataset
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.loader import TrainLoader
from mtpsl.methods import Method
from mtpsl.papers import build_method
from mtpsl.papers.hitts.tables import TABLE8
from mtpsl.papers.xtc import first_steps
from mtpsl.report.records import row_experiments
from mtpsl.runs.network import build
from mtpsl.runs.profiles import smoke
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session

RECORDED = Path(__file__).parents[1] / "figures" / "companion" / "first_steps.json"
ONE = (("xtc/table2", "one/Ours"),)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    cache = tmp_path_factory.mktemp("cache")
    return open_dataset("rooms13", "train", height=32, width=32, images=4, cache_dir=cache)


def test_the_same_lengths_every_time(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MTPSL_CACHE", str(tmp_path / "cache"))
    (entry,) = first_steps.first_steps(ONE, "smoke", batches=2)
    assert entry["terms"].keys() == {"labels", "cross_task", "regularizer"}
    assert all(length > 0 for length in entry["terms"].values())
    monkeypatch.setattr(first_steps, "ROWS", ONE)
    args = ["--profile", "smoke", "--batches", "2", "--out", str(tmp_path / "a/b.json")]
    assert first_steps.main(args) == 0
    report = files.read_json(tmp_path / "a/b.json")
    assert report["rows"] == [entry] and report["profile"] == "smoke" and report["commit"]
    assert "one/Ours" in capsys.readouterr().out


def test_what_is_recorded_is_of_these_rows() -> None:
    report = files.read_json(RECORDED)
    assert report["profile"] == "quick" and not report["commit"].endswith("-dirty")
    for part, rows in {
        "rows": first_steps.ROWS,
        "full_size": first_steps.FULL_SIZE,
        "trained": first_steps.TRAINED,
    }.items():
        assert tuple((r["table"], r["row"]) for r in report[part]) == rows


def test_a_finished_run_is_looked_at(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MTPSL_CACHE", str(tmp_path / "cache"))
    store = RunStore(tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match="expected a finished run"):
        list(first_steps.first_steps(ONE, "smoke", 1, store))
    (experiment,) = row_experiments(papers.tables()["xtc/table2"].row("one/Ours"), "smoke", 0)
    run(experiment, Session(store, "cpu", progress=False))
    (entry,) = first_steps.first_steps(ONE, "smoke", 1, store)
    (before,) = first_steps.first_steps(ONE, "smoke", 1)
    assert entry["agreement"].keys() == {"cross_task", "regularizer"}
    assert all(-1 <= cosine <= 1 for cosine in entry["agreement"].values())
    assert entry["terms"] != before["terms"] and "agreement" not in before


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises((KeyError, ValueError)):
        list(first_steps.first_steps(ONE, "quikc"))


def test_gradient_lengths_are_of_weighted_gradients_on_the_backbone(train: Dataset) -> None:
    names = train.tasks.names
    labels = PartialLabels(train, assign("one_label", len(train), names, seed=0))
    loader = TrainLoader(labels, batch_size=4, seed=0, views=2, augment=False)
    batches = list(loader.epoch(0))

    def lengths(weight: float) -> dict[str, float]:
        torch.manual_seed(0)
        method = build_method(
            "semi_supervised", train.tasks, "segnet", 0.125, {"weight": weight}, {}
        ).eval()
        pulled = first_steps.gradient_lengths(method, batches)
        assert not method.training and all(p.grad is None for p in method.parameters())
        return pulled

    none, one, three = (lengths(weight) for weight in (0.0, 1.0, 3.0))
    assert list(one) == ["labels", "consistency"]
    assert none["consistency"] == 0 and one["consistency"] > 0
    assert three["consistency"] == pytest.approx(3 * one["consistency"], rel=1e-4)
    assert none["labels"] == one["labels"] == three["labels"]

    torch.manual_seed(0)
    method = build_method("semi_supervised", train.tasks, "segnet", 0.125, {"weight": 0.0}, {})
    terms = method.train().training_step(*batches[0], progress=1.0)
    sum(terms.values()).backward()
    grads = [p.grad.double().square().sum() for p in method.net.backbone.parameters()]
    assert one["labels"] == pytest.approx(float(sum(grads)) ** 0.5, rel=1e-5)


def test_adam_step_lengths_are_those_of_adam(train: Dataset) -> None:
    labels = PartialLabels(train, assign("full", len(train), train.tasks.names, seed=0))
    loader = TrainLoader(labels, batch_size=2, seed=0, augment=False)
    batches = [*loader.epoch(0), *loader.epoch(1)]

    def fresh() -> Method:
        torch.manual_seed(0)
        return build_method("supervised", train.tasks, "segnet", 0.125, {}, {})

    watched, plain = fresh(), fresh().train()
    found = first_steps.adam_step_lengths(watched, batches, lr=1e-3, total=100)
    assert {len(numbers) for numbers in found.values()} == {4}
    assert 0.8 < found["moved"][0] <= 1  # the rate, wherever there is a gradient
    assert found["remembered"][0] == pytest.approx(found["gradient"][0], rel=1e-5)

    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    lengths = []
    for (batch,) in batches:
        optimizer.zero_grad()
        sum(plain.training_step(batch, progress=0.0).values()).backward()
        grads = [p.grad for p in plain.net.backbone.parameters()]
        lengths.append(torch.cat([g.flatten() for g in grads]).norm().item())
        optimizer.step()
    assert found["gradient"] == pytest.approx(lengths, rel=1e-4)
    for mine, theirs in zip(watched.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_untrained_is_what_a_run_begins_with() -> None:
    experiment = smoke(TABLE8.row("MTL baseline").experiments[0])
    method, loader = first_steps.untrained(experiment)
    weights = build(experiment).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in method.state_dict().items())
    assert loader.steps == math.ceil(len(loader.dataset) / experiment.batch_size)
    assert {len(views) for views in loader.epoch(0)} == {method.views}
