"""What the notebooks show beside each other: recorded, computed now, and closed eyes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mtpsl import files
from mtpsl.data import open_dataset
from mtpsl.papers.hitts.tables import TABLE8
from mtpsl.report import lessons
from mtpsl.report.arrays import describe
from mtpsl.report.figure import FinishedFigure
from mtpsl.report.results import parse_results
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
    new = FinishedFigure(figure=None, arrays={}, caption="", alt="", path=tmp_path)
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
