"""Metrics on parts of the training set, and rows that take each task from a run of its own."""

import pytest
import torch

from mtpsl import files
from mtpsl.data.loader import EvalLoader
from mtpsl.engine import evaluate
from mtpsl.papers.hitts.tables import TABLES
from mtpsl.report import records as recording
from mtpsl.report.records import RowRun, metrics_on, row_entry
from mtpsl.report.tables import Row, Table
from mtpsl.runs.data import bind_data, label, open_split
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import load_method
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session

TINY = Experiment(
    height=32, width=32, width_factor=0.125, train_images=9, test_images=3, epochs=1, batch_size=4
)
COLUMNS = ("semseg/miou", "depth/abs_err", "normals/mean_err")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return RunStore(tmp_path_factory.mktemp("runs"))


def here(store, cache):
    return Session(store, "cpu", cache_dir=cache, progress=False)


def trained(store, cache, **changes):
    return run(TINY.replace(**changes), here(store, cache))


def by_hand(record, store, cache, task, shown):
    """The metric of the images that show a task's label, or hide it, with everything else there."""
    experiment = Experiment.from_dict(record.experiment)
    images = open_split(experiment, "train", here(store, cache))
    _, assignment = label(experiment, images)
    column = assignment.labeled[:, assignment.tasks.index(task)]
    chosen = (column == shown).nonzero().flatten().tolist()
    method = load_method(experiment, Session(store, "cpu"))
    tasks = method.tasks.subset((task,))
    return evaluate(method, [images.load([i]) for i in chosen], tasks)


@pytest.mark.parametrize("part", ["labeled", "unlabeled"])
def test_a_part_is_its_own_images_task_by_task(store, cache, part):
    record = trained(store, cache)
    found = metrics_on(part, record, here(store, cache))
    for task in ("semseg", "depth", "normals"):
        for name, value in by_hand(record, store, cache, task, part == "labeled").items():
            assert found[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name
    assert found != metrics_on("test", record, here(store, cache))


def test_both_parts_make_the_whole(store, cache):
    """Errors of both parts, weighted by their images, are those of all training images."""
    record = trained(store, cache)
    experiment = Experiment.from_dict(record.experiment)
    images = open_split(experiment, "train", here(store, cache))
    everything = evaluate(load_method(experiment, Session(store, "cpu")), EvalLoader(images, 4))
    low, high = sorted(
        metrics_on(part, record, here(store, cache))["depth/abs_err"]
        for part in ("labeled", "unlabeled")
    )
    assert low < everything["depth/abs_err"] < high


def test_is_measured_once_and_again_after_damage(store, cache, monkeypatch, capsys):
    record = trained(store, cache)
    first = metrics_on("labeled", record, here(store, cache))
    real = recording.evaluate
    calls = []
    monkeypatch.setattr(recording, "evaluate", lambda *args: calls.append(1) or real(*args))
    again = metrics_on("labeled", record, here(store, cache))
    assert not calls
    torch.testing.assert_close(again, first, equal_nan=True)
    path = store.folder(record.key) / "labeled.json"
    path.write_text(path.read_text()[:-20])
    torch.testing.assert_close(
        metrics_on("labeled", record, here(store, cache)), first, equal_nan=True
    )
    assert calls and str(path) in capsys.readouterr().err
    files.write_json(path, {"weights": "of another training", "metrics": {}})
    assert metrics_on("labeled", record, here(store, cache)).keys() == first.keys()
    assert len(calls) == 2


def test_the_test_split_is_what_the_run_recorded(store, cache):
    record = trained(store, cache)
    assert metrics_on("test", record, Session(store)) == record.metrics["test"]


def test_a_row_measures_its_part(store, cache):
    record = trained(store, cache)
    row = Row(name="a", label="a", experiments=(TINY,), measured_on="unlabeled")
    table = Table(name="t", paper="p", title="", source="", columns=COLUMNS, rows=(row,))
    entry = row_entry(RowRun(table, row, 0, (TINY,)), [record], here(store, cache))
    assert entry.metrics["depth/abs_err"] == pytest.approx(
        metrics_on("unlabeled", record, here(store, cache))["depth/abs_err"]
    )
    assert entry.metrics["depth/abs_err"] != record.metrics["test"]["depth/abs_err"]


def test_a_row_takes_each_task_from_its_run(store, cache):
    records = [trained(store, cache, seed=seed) for seed in (0, 1)]
    experiments = tuple(bind_data(TINY).with_seed(seed) for seed in (0, 1))
    row = Row(name="a", label="a", experiments=experiments, task_of_each=("depth", "normals"))
    table = Table(name="t", paper="p", title="", source="", columns=COLUMNS[1:], rows=(row,))
    metrics = row_entry(RowRun(table, row, 0, experiments), records, Session(store)).metrics
    assert metrics["depth/abs_err"] == records[0].metrics["test"]["depth/abs_err"]
    assert metrics["normals/mean_err"] == records[1].metrics["test"]["normals/mean_err"]
    assert "semseg/miou" not in metrics


def test_tables_that_need_them():
    assert {row.measured_on for row in TABLES["table6"].rows} == {"labeled", "unlabeled"}
    for row in TABLES["table7"].rows:
        assert row.task_of_each == ("semseg", "depth", "normals")
        for task, e in zip(row.task_of_each, row.experiments, strict=True):
            assert e.label_setting == "few_shot"
            assert e.label_args == {"task": task, "shots": 10}
            assert e.teacher is None or e.teacher.label_args == e.label_args
