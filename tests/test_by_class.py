"""IoU by class, from the metric to tables; and runs that measured nothing."""

import dataclasses
import math
from statistics import fmean

import pytest
import torch

from mtpsl import files, papers
from mtpsl.__main__ import main
from mtpsl.metrics import ConfusionMatrix
from mtpsl.report.records import row_experiments
from mtpsl.report.render import render_by_class
from mtpsl.report.results import Entry, load_recorded, results_of, write_results
from mtpsl.report.tables import Row
from mtpsl.runs.experiment import Experiment, write_experiment
from mtpsl.runs.run import run
from mtpsl.runs.store import RunRecord, RunStore, Session

TINY = Experiment(
    height=32,
    width=32,
    train_images=4,
    test_images=4,
    width_factor=0.125,
    backbone_args={"stages": 3},
    epochs=1,
    batch_size=4,
    lr=1e-3,
)


def test_iou_by_class_is_hits_over_union() -> None:
    metric = ConfusionMatrix(3)
    target = torch.tensor([[[[0, 0, 1, 1]]]])
    logits = torch.nn.functional.one_hot(torch.tensor([[[0, 1, 1, 1]]]), 3).movedim(-1, 1).float()
    metric.update(logits, target, torch.ones(1, 1, 1, 4, dtype=torch.bool))
    zero, one, absent = metric.iou().tolist()
    assert (zero, one) == pytest.approx((1 / 2, 2 / 3)) and math.isnan(absent)


def test_a_record_has_classes_whose_mean_is_the_miou_and_older_ones_load(tmp_path) -> None:
    session = Session(RunStore(tmp_path), "cpu", progress=False)
    record = run(TINY, session)
    classes = record.by_class["semseg"]
    assert len(classes) == 13 and set(record.by_class) == {"semseg"}
    known = [values["iou"] for values in classes.values() if values["iou"] is not None]
    assert fmean(known) == pytest.approx(record.metrics["test"]["semseg/miou"])
    assert 0 < sum(values["pixels"] for values in classes.values()) <= 4 * 32 * 32

    assert session.store.load(record.key) == record
    older = files.read_json(session.store.folder(record.key) / "record.json")
    assert older["by_class"]["semseg"].keys() == classes.keys()
    del older["by_class"]
    assert RunRecord.from_dict(older).by_class == {}
    session.store.save(dataclasses.replace(record, by_class={}))
    assert session.store.load(record.key).by_class == {}


def make_entry(row: Row, seed: int, **more: object) -> Entry:
    ran = row_experiments(row, "quick", seed)
    return Entry(
        row=row.name, seed=seed, keys=tuple(e.key for e in ran), metrics={}, seconds=1.0,
        experiments=tuple(e.to_dict() for e in ran), commit="a", versions={}, hardware="",
        date="", data={"name": "rooms13", "version": "2", "stand_in": True}, **more,
    )  # fmt: skip


def test_tables_show_classes_on_request(tmp_path) -> None:
    table = papers.tables()["hitts/table1"]
    first, second = (row for row in table.rows[:2])
    seen = {"semseg": {"bed": {"iou": 0.5, "pixels": 7}, "wall": {"iou": None, "pixels": 0}}}
    other = {"semseg": {"bed": {"iou": 0.25, "pixels": 7}, "wall": {"iou": None, "pixels": 0}}}
    entries = [
        make_entry(first, 0, by_class=seen),
        make_entry(first, 1, by_class=other),
        make_entry(second, 0),
    ]
    write_results(tmp_path, results_of(table, "quick", entries))
    recorded = load_recorded(tmp_path / "hitts" / "table1.json", table)
    text = render_by_class(table, recorded)
    assert "| pixels | 7 | 0 |" in text and "| 37.50 | – |" in text
    assert text.count("\n") == 6  # a title, a head, its rule, pixels and one row
    assert "no run of this table" in render_by_class(table, None)


@pytest.mark.parametrize("lr", [1e30])
def test_a_run_without_a_number_fails_in_one_sentence(lr, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("MTPSL_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MTPSL_PROGRESS", "0")
    write_experiment(TINY.replace(lr=lr), tmp_path / "e.json")
    assert (
        main(["run", "--brief", "--device", "cpu", "--experiment", str(tmp_path / "e.json")]) == 1
    )
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("mtpsl: metrics: expected finite numbers")
    assert said.err.count("\n") == 1 and "lower lr" in said.err
    assert not list((tmp_path / "runs").glob("*/record.json"))
