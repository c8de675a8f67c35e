"""What the notebooks show beside each other: recorded, computed now, and closed eyes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mtpsl import files
from mtpsl.data import open_dataset
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.loader import TrainLoader
from mtpsl.methods import Method
from mtpsl.papers import build_method
from mtpsl.papers.hitts.tables import TABLE8
from mtpsl.report import lessons
from mtpsl.report.arrays import describe
from mtpsl.report.make import Made
from mtpsl.report.results import parse_results
from mtpsl.runs.network import build
from mtpsl.runs.profiles import smoke


def values(*entries: dict) -> dict:
    return {"paper": "hitts", "table": "table8", "profile": "smoke", "entries": list(entries)}


def entry(row: str, seed: int, **metrics: float) -> dict:
    ran = smoke(TABLE8.row(row).experiments[0]).with_seed(seed)
    return {
        "row": row, "seed": seed, "keys": [ran.key], "experiments": [ran.to_dict()],
        "metrics": metrics, "seconds": 1.0, "commit": "abc", "versions": {"torch": "2"},
        "hardware": "CPU", "date": "2026-01-01T00:00",
        "data": {"name": "rooms13", "version": "1", "stand_in": True},
    }  # fmt: skip


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    cache = tmp_path_factory.mktemp("cache")
    size = {"height": 32, "width": 32, "images": 4, "cache_dir": cache}
    return tuple(open_dataset("rooms13", split, **size) for split in ("train", "test"))


def test_constant_guess_is_what_its_answers_score(rooms: tuple) -> None:
    train, test = rooms
    found = lessons.constant_guess(train, test)
    seen, asked = train.load(range(4)), test.load(range(4))

    meters = seen.targets["depth"][seen.valid["depth"]].median()
    error = (asked.targets["depth"] - meters).abs()[asked.valid["depth"]].double().mean()
    assert found["depth/abs_err"] == pytest.approx(error.item(), rel=1e-5)

    ids = seen.targets["semseg"][seen.valid["semseg"]]
    right = (asked.targets["semseg"][asked.valid["semseg"]] == ids.mode().values).double().mean()
    assert found["semseg/pixel_acc"] == pytest.approx(right.item())
    assert 0 < found["normals/mean_err"] < 90


def test_headlines_are_printed_as_in_a_table(rooms: tuple) -> None:
    metrics = {"semseg/miou": 0.3125, "depth/abs_err": 0.5, "normals/mean_err": 30.126}
    assert lessons.headlines(metrics, rooms[0].tasks) == {
        "semseg mIoU ↑": "31.25",
        "depth AbS ↓": "0.50",
        "normals mErr ↓": "30.13",
    }


def test_measure_keeps_recorded_and_computed_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = parse_results(values(), TABLE8)
    monkeypatch.setattr(lessons, "run_table", lambda table, store, **options: computed)
    assert lessons.measure(TABLE8, tmp_path, session=None) == (None, computed)

    files.write_json(tmp_path / "hitts" / "table8.json", values(entry("Ours", 0)))
    recorded, now = lessons.measure(TABLE8, tmp_path, session=None)
    assert [e.row for e in recorded.entries] == ["Ours"] and now is computed


def test_ledger_counts_every_claim_once_a_source() -> None:
    counts = lessons.ledger(TABLE8, None, parse_results(values(), TABLE8))
    assert counts["paper"] == {"holds": 9}
    assert counts["recorded"] == counts["computed now"] == {"not run": 9}


def test_origins_join_what_came_from_one_place() -> None:
    other = entry("Ours", 2) | {"commit": "def"}
    results = parse_results(values(entry("Ours", 0), entry("Ours", 1), other), TABLE8)
    lines = lessons.origins(TABLE8, results, None)
    assert [(line["commit"], line["results"]) for line in lines] == [
        ("abc", 2),
        ("def", 1),
    ]
    assert {line["source"] for line in lines} == {"recorded"}
    assert lines[0]["data"] == "rooms13 1 (generated stand-in)"


def curves(rooms: tuple) -> dict[str, np.ndarray]:
    arrays = describe(rooms[0].tasks)
    for task in rooms[0].tasks.names:
        arrays[f"{task}/label"] = np.array("error")
        for role in ("without", "with"):
            arrays[f"epochs/{role}"] = np.array([1, 2])
            arrays |= {f"{task}/{s}/{role}": np.array([2.0, 1.0]) for s in ("train", "test")}
    return arrays


def test_both_draws_a_recorded_figure_again(
    rooms: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Made(figure=None, arrays={}, caption="", alt="", path=tmp_path)
    monkeypatch.setattr(lessons, "make_figure", lambda name, **options: new)
    recorded = tmp_path / "figures"
    assert lessons.both("hitts/fig9", recorded, folder=tmp_path) == {"computed now": new}

    (recorded / "hitts").mkdir(parents=True)
    np.savez(recorded / "hitts" / "fig9.npz", **curves(rooms))
    words = {"made_from": {"data": "rooms13, profile quick"}}
    (recorded / "hitts" / "fig9.json").write_text(json.dumps(words))
    found = lessons.both("hitts/fig9", recorded, folder=tmp_path)
    assert list(found) == ["recorded", "computed now"]
    assert [text.get_text() for text in found["recorded"].figure.texts] == [
        words["made_from"]["data"]
    ]
    assert lessons.both("hitts/fig9", recorded, folder=recorded) == {"computed now": new}


def test_predictions_have_a_panel_for_every_map(rooms: tuple) -> None:
    batch = rooms[1].load([0, 1])
    arrays = describe(rooms[1].tasks) | {"images": np.zeros((2, 32, 32, 3), np.uint8)}
    arrays["semseg/truth"] = batch.targets["semseg"][:, 0].byte().numpy()
    arrays["depth/truth"] = batch.targets["depth"][:, 0].numpy()
    arrays["normals/truth"] = batch.targets["normals"].movedim(1, -1).numpy()
    sheet = lessons.draw_predictions(arrays, [("truth", "ground truth")])
    pictures = [axes for axes in sheet.figure.axes if axes.images]
    assert len(pictures) >= 2 * 4
    assert sum(text.get_text() == "ground truth" for text in sheet.figure.texts) == 3


def test_a_class_without_pixels_is_never_the_guess() -> None:
    (task,) = open_tasks()
    answer = lessons._typical(task, [FakeBatch()])
    assert answer.argmax() == 2 and answer.shape == (3,) and not math.isnan(answer.sum())


class FakeBatch:
    targets = {"semseg": torch.tensor([[[[2, 2, 1, 255]]]])}

    def mask(self, task: str) -> torch.Tensor:
        return self.targets[task] != 255


def open_tasks() -> tuple:
    from mtpsl.tasks import semseg

    return (semseg(("a", "b", "c")),)


def test_pulls_are_lengths_of_weighted_gradients_on_the_backbone(rooms: tuple) -> None:
    train, _ = rooms
    names = train.tasks.names
    labels = PartialLabels(train, assign("one_label", len(train), names, seed=0))
    loader = TrainLoader(labels, batch_size=4, seed=0, views=2, augment=False)
    batches = list(loader.epoch(0))

    def found(weight: float) -> dict[str, float]:
        torch.manual_seed(0)
        method = build_method(
            "semi_supervised", train.tasks, "segnet", 0.125, {"weight": weight}, {}
        ).eval()
        pulled = lessons.pulls(method, batches)
        assert not method.training and all(p.grad is None for p in method.parameters())
        return pulled

    none, one, three = (found(weight) for weight in (0.0, 1.0, 3.0))
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


def test_adam_steps_are_those_of_adam(rooms: tuple) -> None:
    train, _ = rooms
    labels = PartialLabels(train, assign("full", len(train), train.tasks.names, seed=0))
    loader = TrainLoader(labels, batch_size=2, seed=0, augment=False)
    batches = [*loader.epoch(0), *loader.epoch(1)]

    def fresh() -> Method:
        torch.manual_seed(0)
        return build_method("supervised", train.tasks, "segnet", 0.125, {}, {})

    watched, plain = fresh(), fresh().train()
    found = lessons.adam_steps(watched, batches, lr=1e-3, total=100)
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
    method, loader = lessons.untrained(experiment)
    weights = build(experiment).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in method.state_dict().items())
    assert loader.steps == math.ceil(len(loader.dataset) / experiment.batch_size)
    assert {len(views) for views in loader.epoch(0)} == {method.views}
