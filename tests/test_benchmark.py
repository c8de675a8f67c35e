import json
import math

import pytest
import torch

from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import Memory
from mtpsl.runs.store import RunStore
from tests.benchmarks import steps as benchmark

TINY = Experiment(
    method="hitts",
    height=32,
    width=32,
    width_factor=0.125,
    train_images=6,
    test_images=2,
    epochs=2,
    batch_size=4,
)
SECOND = TINY.replace(
    method_args={"pseudo_labels": True, "pseudo_features": True},
    teacher=TINY,
    thresholds={"semseg": "50%"},
)


@pytest.fixture
def tiny(monkeypatch):
    """The methods at a tiny size, which the command knows, too."""
    monkeypatch.setitem(benchmark.SIZES, "tiny", (32, 32, 3, 0.125))
    return {name: benchmark.at_size(e, "tiny") for name, e in benchmark.METHODS.items()}


@pytest.mark.parametrize("name", benchmark.METHODS)
def test_a_step_trains_and_takes_time(name, tiny):
    method, optimizer, batch = benchmark.prepared(tiny[name], "cpu")
    labeled = torch.stack([batch.labeled[t] for t in method.tasks.names])
    assert labeled.sum(0).tolist() == [1] * 3
    before = [p.detach().clone() for p in method.parameters()]
    assert benchmark.step(method, optimizer, batch) > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))


def test_times_are_interleaved_and_compared_with_the_first(tiny):
    report = benchmark.step_times(tiny, "cpu", steps=2)
    assert report["steps"] == 2
    assert report["mtl"]["images_per_s"] == pytest.approx(3 / report["mtl"]["seconds"])
    ratios = {name for name in report if "_over_" in name}
    assert ratios == {"mtan_over_mtl", "xtc_over_mtl", "hitts_over_mtl"}
    assert all(math.isfinite(report[name]) and report[name] > 0 for name in ratios)
    assert report["mtl"]["products"] < report["hitts"]["products"] < report["xtc"]["products"]


def test_memory_is_that_of_table8_s_measurement(tiny, monkeypatch):
    asked = []

    def answer(experiment, device):
        asked.append((experiment.method, experiment.height, experiment.batch_size, device))
        return Memory(len(asked) * 2**20, device, 32, 32, 3, 0.125)

    monkeypatch.setattr(benchmark, "training_memory", answer)
    report = benchmark.memory({name: tiny[name] for name in ("mtl", "hitts")}, "cpu")
    assert report == {"mtl": 1.0, "hitts": 2.0, "hitts_over_mtl": 2.0}
    assert asked == [("supervised", 32, 3, "cpu"), ("hitts", 32, 3, "cpu")]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MTPSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_stages_are_trained_as_a_run_trains_them(cache, monkeypatch):
    seen, real = [], benchmark.run

    def spy(experiment, session):
        record = real(experiment, session)
        seen.append((record, session.store.load(experiment.teacher.key)))
        return record

    monkeypatch.setattr(benchmark, "run", spy)
    report = benchmark.stage_times(SECOND, "cpu")
    ((second, first),) = seen
    assert report["steps"] == 4  # two epochs of a batch of four and one of two
    assert report["first"] == first.seconds["train"] > 0
    assert report["discover"] == second.seconds["discover"] > 0
    assert report["second"] == second.seconds["train"] > 0
    total = report["discover"] + report["second"]
    assert report["ratio"] == pytest.approx(total / report["first"])


def test_discovery_labels_the_images_asked_for(cache, monkeypatch):
    seen, real = [], benchmark.discover

    def spy(experiment, partial, session):
        assert isinstance(session.store, RunStore)
        found = real(experiment, partial, session)
        seen.append((found.images, len(partial), dict(experiment.thresholds)))
        return found

    monkeypatch.setattr(benchmark, "discover", spy)
    report = benchmark.discovery_time(SECOND, 20, "cpu")
    assert seen == [(20, 20, {"semseg": "50%"})]
    assert report["images"] == 20 and report["seconds"] > 0


def test_stages_are_reported_and_written(tmp_path, monkeypatch, capsys):
    asked = []

    def stage_times(second, device):
        asked.append(second)
        return {"steps": 10, "first": 2.0, "discover": 0.5, "second": 2.0, "ratio": 1.25}

    monkeypatch.setattr(benchmark, "stage_times", stage_times)
    monkeypatch.setattr(
        benchmark, "discovery_time", lambda e, images, device: {"images": images, "seconds": 9.5}
    )
    out = tmp_path / "deep" / "bench.json"
    command = ["--stages", "--epochs", "3", "--device", "cpu", "--out", str(out)]
    assert benchmark.main(command) == 0
    said = capsys.readouterr().out
    assert "discovery on 795 images of 64x96: 9.5 s (at most 20 s" in said
    assert "first stage 2.0 s; second stage 0.5 s of discovery and 2.0 s of training" in said
    assert "x1.25 (at most x1.5)" in said
    report = json.loads(out.read_text())
    assert report["stages"]["ratio"] == 1.25 and report["discovery"]["images"] == 795
    (second,) = asked
    assert second.epochs == second.teacher.epochs == 3
    assert second.method_args == {"pseudo_labels": True, "pseudo_features": True}
    assert (second.height, second.width, second.width_factor) == (64, 96, 0.25)


def test_rows_of_a_table_can_be_measured(tiny, monkeypatch):
    monkeypatch.setattr(benchmark, "RENDERED", ())
    asked = []
    monkeypatch.setattr(benchmark, "report_sizes", lambda rows, *how: asked.append(rows) or {})
    monkeypatch.setattr(benchmark, "write_report", lambda report, path: 0)
    assert benchmark.main(["--table", "hitts/table1", "--device", "cpu"]) == 0
    assert "one-label/MTAN" in asked[0] and "one-label/STL" not in asked[0]  # three networks


def test_sizes_are_reported_and_written(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "RENDERED", ())
    monkeypatch.setattr(
        benchmark, "training_memory", lambda e, device: Memory(2**20, device, 32, 32, 3, 0.125)
    )
    out = tmp_path / "bench.json"
    command = ["--sizes", "tiny", "--steps", "1", "--device", "cpu", "--out", str(out)]
    assert benchmark.main([*command, "--methods", "mtl", "xtc"]) == 0
    said = capsys.readouterr().out
    assert "mtl" in said and "xtc" in said and "peak memory x1.00" in said
    report = json.loads(out.read_text())["sizes"]["tiny"]
    assert set(report["time"]) == {"mtl", "xtc", "xtc_over_mtl", "steps"}
    assert report["peak_mib"] == {"mtl": 1.0, "xtc": 1.0, "xtc_over_mtl": 1.0}
