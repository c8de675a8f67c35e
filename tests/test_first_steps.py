"""The recorded gradients of untrained networks: repeatable, and of the rows that are told of."""

from pathlib import Path

import pytest

from mtpsl import files, papers
from mtpsl.papers.xtc import first_steps
from mtpsl.report.records import row_experiments
from mtpsl.runs.run import run
from mtpsl.runs.session import Session
from mtpsl.runs.store import RunStore

RECORDED = Path(__file__).parents[1] / "figures" / "companion" / "first_steps.json"
ONE = (("xtc/table2", "one/Ours"),)


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
