"""Memory of a training step: what is measured, where, and what a results file says of it."""

import io
import json
import math
import subprocess
from dataclasses import replace

import pytest
import torch

from mtpsl.papers.hitts.tables import TABLE8
from mtpsl.report import records as recording
from mtpsl.report.records import RowRun, fill_records, row_entry, run_table
from mtpsl.report.results import load_recorded
from mtpsl.report.tables import Row, Table
from mtpsl.runs import network as memory
from mtpsl.runs.data import tasks_of
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import (
    Memory,
    at_size,
    build,
    discovered_by,
    high_water_mark,
    measure,
    noise_batch,
    train_on_noise,
    training_memory,
)
from mtpsl.runs.store import RunStore, Session

TINY = Experiment(height=32, width=32, width_factor=0.125, batch_size=2)
PLAIN = TINY.replace(method="hitts")
STUDENT = PLAIN.replace(method_args={"pseudo_labels": True, "pseudo_features": True}, teacher=PLAIN)
CPU = torch.device("cpu")


# --- material ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["rooms13", "streets7", "people21"])
def test_the_batch_is_one_label_and_hides_the_others(dataset):
    names = {"rooms13": TINY.tasks, "streets7": ("semseg", "depth")}.get(dataset)
    people = ("semseg", "human_parts", "normals", "saliency", "edges")
    tasks = tasks_of(TINY.replace(dataset=dataset, tasks=names or people))
    batch = noise_batch(tasks, 32, 64, 7)
    labeled = torch.stack([batch.labeled[t.name] for t in tasks])
    assert labeled.sum(0).tolist() == [1] * 7
    for task in tasks:
        target, shown = batch.targets[task.name], batch.labeled[task.name]
        assert target.shape == (7, task.target_channels, 32, 64)
        assert target.dtype == task.target_dtype
        assert torch.equal(batch.mask(task.name).all(dim=3).all(dim=2)[:, 0], shown)
        hidden = target[~shown]
        assert torch.equal(hidden.nan_to_num(-1), task.fill_missing(hidden).nan_to_num(-1))


def test_discoveries_are_of_withheld_labels_alone():
    tasks = tasks_of(STUDENT)
    method = build(STUDENT).train()
    method.prepare([noise_batch(tasks, 32, 32, 6)])
    batch = noise_batch(tasks, 32, 32, 3)
    found = discovered_by(method, batch)
    for name in tasks.names:
        assert torch.equal(found.valid[name].flatten(1).all(1), ~batch.labeled[name])
        assert torch.equal(found.valid[name].flatten(1).any(1), ~batch.labeled[name])
        assert found.features[name].shape[0] == found.confidence[name].shape[0] == 3
    assert method.training


@pytest.mark.parametrize("name", ["supervised", "mtan", "xtc", "hitts", "second stage"])
def test_the_steps_are_those_of_training(name):
    chosen = STUDENT if name == "second stage" else TINY.replace(method=name)
    fresh = build(chosen)
    trained = train_on_noise(chosen, CPU, steps=1)
    moved = [
        not torch.equal(a, b) for a, b in zip(fresh.parameters(), trained.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2


def test_a_second_stage_learns_from_discoveries(monkeypatch):
    seen = []
    real = memory.fit

    def spy(method, loader, **options):
        seen.append(
            (
                next(loader.epoch(0))[0].discovered,
                len(list(loader.epoch(0))),
                options["optimization"].precision,
            )
        )
        return real(method, loader, **options)

    monkeypatch.setattr(memory, "fit", spy)
    train_on_noise(STUDENT, CPU)
    train_on_noise(PLAIN.replace(precision="bf16"), CPU)
    (found, steps, precision), (nothing, _, other) = seen
    assert found is not None and nothing is None
    assert steps == memory.STEPS >= 2  # the optimizer's state counts
    assert (precision, other) == ("fp32", "bf16")


# --- the measurement -----------------------------------------------------------------------------


def test_the_high_water_mark_sees_what_was_allocated():
    before = high_water_mark()
    kept = torch.ones((before + 2**28) // 4)  # more than was ever resident, plus 256 MiB
    assert high_water_mark() - before > kept.numel()


def test_what_comes_before_the_steps_is_not_counted(monkeypatch):
    marks, trained = iter((1000, 1700)), []
    monkeypatch.setattr(memory, "high_water_mark", lambda: next(marks))
    monkeypatch.setattr(memory, "train_on_noise", lambda e, device: trained.append(e))
    wide = TINY.replace(width_factor=0.5, height=64)
    assert measure(wide, CPU) == 700
    assert trained == [wide.replace(**memory.WARM_UP), wide]


def test_a_process_of_its_own_measures_more_than_the_weights():
    chosen = TINY.replace(height=64, width=64, width_factor=0.5)
    mine = high_water_mark()
    found = training_memory(chosen)
    params = sum(p.numel() for p in build(chosen).parameters())
    assert found.bytes > 4 * 4 * params  # weights, gradients and two moments, four bytes each
    assert found.bytes < 2**30
    assert high_water_mark() - mine < found.bytes / 2, "measured in this process"
    assert found.conditions == {
        "device": "cpu", "height": 64, "width": 64, "batch": 2, "width_factor": 0.5,
    }  # fmt: skip


def test_the_process_reads_an_experiment_and_prints_bytes(monkeypatch, capsys):
    text = json.dumps(STUDENT.to_dict())
    monkeypatch.setattr(memory.sys, "stdin", io.StringIO(text))
    monkeypatch.setattr(memory, "measure", lambda *asked: len(asked) if asked == want else 0)
    want = (STUDENT, CPU)
    assert memory.main(["cpu"]) == 0
    assert capsys.readouterr().out == "2\n"


@pytest.fixture
def process(monkeypatch):
    """What the measuring process is asked; set ``answer`` for what it does."""

    class Process:
        answer = (0, "12345\n", "")

        def __init__(self):
            self.asked = []

        def run(self, command, **options):
            self.asked.append((command[-1], json.loads(options["input"])))
            return subprocess.CompletedProcess(command, *self.answer)

    stub = Process()
    monkeypatch.setattr(memory, "subprocess", stub)
    training_memory.cache_clear()
    yield stub
    training_memory.cache_clear()


def test_a_number_is_measured_once(process):
    assert training_memory(TINY.replace(method="mtan")).bytes == 12345
    assert training_memory(TINY.replace(method="mtan")).bytes == 12345
    assert [(device, e["method"]) for device, e in process.asked] == [("cpu", "mtan")]


def test_a_failure_says_what_happened(process):
    process.answer = (-9, "", "a warning\nMemoryError\n")
    said = "memory of xtc at 32x32: .* exit status -9: MemoryError"
    with pytest.raises(RuntimeError, match=said):
        training_memory(TINY.replace(method="xtc"))
    process.answer = (-9, "", "")
    with pytest.raises(RuntimeError, match="exit status -9$"):
        training_memory(TINY.replace(method="xtc"))


def test_pretrained_weights_are_not_loaded(process):
    args = {"weights": "IMAGENET1K_V1", "weights_sha256": "00"}
    training_memory(TINY.replace(backbone="resnet18", backbone_args=args))
    ((_, sent),) = process.asked
    assert sent["backbone"] == "resnet18" and sent["backbone_args"] == {}


@pytest.mark.gpu
def test_on_a_gpu_it_is_the_allocator_s_peak():
    found = training_memory(TINY, "cuda")
    assert found.device == "cuda"
    assert found.bytes > 4 * sum(4 * p.numel() for p in build(TINY).parameters())


# --- in a table ----------------------------------------------------------------------------------


def test_the_size_is_the_paper_s():
    chosen = at_size(TABLE8.rows[0].experiments[0])
    assert (chosen.height, chosen.width, chosen.width_factor) == (288, 384, 1.0)
    assert chosen.batch_size == 2


class Ran:
    """A finished run, as far as an entry asks."""

    def __init__(self, device):
        self.metrics, self.key, self.experiment = {"test": {"depth/rmse": 1.0}}, "0" * 12, {}
        self.seconds, self.device, self.data = {"train": 1.0}, device, {"name": "rooms13"}
        self.by_class = {}
        self.environment = {"commit": "c", "versions": {}, "hardware": "h", "date": "2026-01-01"}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_entry_says_how_memory_was_measured(device, monkeypatch):
    asked = []

    def answer(experiment, where):
        asked.append((experiment, where))
        return Memory(100, where, experiment.height, experiment.width, experiment.batch_size, 1.0)

    monkeypatch.setattr(recording, "training_memory", answer)
    table = Table(**(vars(TABLE8) | {"columns": ("cost/memory", "depth/rmse")}))
    row = Row(name="STL", label="STL", experiments=(TINY, TINY.replace(method="xtc")))
    entry = row_entry(
        RowRun(table, row, 0, row.experiments), [Ran(device), Ran(device)], None, memory=True
    )
    assert entry.metrics["cost/memory"] == 200  # of both networks, like their parameters
    assert asked == [(at_size(e), device) for e in row.experiments]
    assert entry.memory == {
        "device": device, "height": 32, "width": 32, "batch": 2, "width_factor": 1.0,
    }  # fmt: skip
    json.dumps(vars(entry))


def test_one_run_on_a_cpu_makes_it_a_cpu_s_number(monkeypatch):
    asked = []
    some = Memory(1, "cpu", 1, 1, 1, 1.0)
    monkeypatch.setattr(recording, "training_memory", lambda e, where: asked.append(where) or some)
    table = Table(**(vars(TABLE8) | {"columns": ("cost/memory",)}))
    row = Row(name="STL", label="STL", experiments=(TINY, PLAIN))
    row_entry(RowRun(table, row, 0, row.experiments), [Ran("cuda"), Ran("cpu")], None, memory=True)
    assert asked == ["cpu", "cpu"]


def test_a_table_without_the_column_measures_nothing(monkeypatch):
    monkeypatch.setattr(recording, "training_memory", lambda *args: pytest.fail("measured"))
    table = Table(**(vars(TABLE8) | {"columns": ("depth/rmse",)}))
    row = replace(TABLE8.rows[0], experiments=(TINY,))
    entry = row_entry(RowRun(table, row, 0, row.experiments), [Ran("cpu")], None, memory=True)
    assert not entry.memory and "cost/memory" not in entry.metrics


# --- tables of costs alone -----------------------------------------------------------------------


def test_a_table_of_costs_trains_nothing(tmp_path, monkeypatch):
    measured = []
    some = Memory(7, "cpu", 288, 384, 2, 1.0)
    monkeypatch.setattr(recording, "training_memory", lambda e, where: measured.append(e) or some)
    monkeypatch.setattr(recording, "train_all", lambda jobs, *args, **kwargs: iter(list(jobs)))
    assert not TABLE8.trains
    store = RunStore(tmp_path / "runs")
    assert fill_records([TABLE8], tmp_path, Session(store), profile="quick", seeds=(0, 1, 2)) == 0
    results = load_recorded(tmp_path / "hitts" / "table8.json", TABLE8)
    assert [e.row for e in results.current()] == [row.name for row in TABLE8.rows]
    assert all(
        e.metrics["cost/memory"] == 7 and e.memory["device"] == "cpu" for e in results.entries
    )
    assert len(measured) == 4 and not list(tmp_path.glob("runs/*/weights*"))
    fill_records([TABLE8], tmp_path, Session(store), profile="quick", seeds=(0, 1, 2))
    assert len(measured) == 4  # known by now


def test_costs_computed_now_leave_memory_to_the_record(tmp_path):
    results = run_table(TABLE8, Session(RunStore(tmp_path)), profile="smoke")
    entry = results.of("MTL baseline")[0]
    assert entry.metrics["cost/params"] == 25_055_185
    assert math.isnan(entry.metrics["cost/memory"])
