"""Forest, ruler and scoreboard show what the ledgers and the records say, and nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex

from mtpsl import papers
from mtpsl.data import find_class
from mtpsl.papers.companion.figures import recorded_rulers
from mtpsl.papers.hitts.tables import TABLES
from mtpsl.report import evidence
from mtpsl.report.arrays import FigureInputs
from mtpsl.report.evidence import COLORS, FULL, ONE_LABEL, forest, read_all, ruler, scoreboard
from mtpsl.report.figure import png_bytes
from mtpsl.report.ledger import STATES, judge
from mtpsl.report.results import (
    GUESSES,
    Results,
    column_of,
    floor_key,
    parse_results,
    write_results,
)
from mtpsl.report.tables import Table
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.profiles import quick

TABLE = TABLES["table1"]
VERSION = find_class("rooms13").version
GAINS = {"STL": 0.0, "MTL baseline": 1.0, "MTAN": 1.0, "XTC": -4.0, "Ours": 3.0}  # in noises


def on_data(run: Experiment) -> Experiment:
    return run.replace(data_version=VERSION, teacher=run.teacher and on_data(run.teacher))


def measured(table: Table = TABLE, seeds: int = 3, only: int = 99) -> Results:
    """Rows as far apart as ``GAINS`` says; MTAN has one seed."""
    rng = np.random.default_rng(0)
    entries = []
    for row in table.recorded_rows[:only]:
        for seed in range(1 if row.label == "MTAN" else seeds):
            runs = [on_data(quick(e)).with_seed(seed) for e in row.experiments]
            metrics = {}
            for column in table.columns[:-1]:
                up = column_of(column).higher_is_better
                gain = 0.02 * (GAINS.get(row.label, 6.0) + 0.3 * rng.normal())
                metrics[column] = 0.5 * (1 + gain if up else 1 - gain)
            entries.append(
                {
                    "row": row.name, "seed": seed, "keys": [e.key for e in runs],
                    "experiments": [e.to_dict() for e in runs], "metrics": metrics, "seconds": 1.0,
                    "commit": "0", "versions": {"torch": "2"}, "hardware": "none",
                    "date": "2026-01-01",
                    "data": {"name": "rooms13", "version": VERSION, "stand_in": True},
                }
            )  # fmt: skip
    floors = {
        floor_key(ran, "test"): {g: dict.fromkeys(table.columns[:-1], 0.1) for g in GUESSES}
        for entry in entries
        for ran in entry["experiments"]
    }
    values = {"table": table.name, "paper": table.paper, "profile": "quick", "entries": entries}
    return replace(parse_results(values, table), floors=floors)


# ------------------------------------------------------------------- forest


def test_a_forest_holds_the_ledger_by_rival() -> None:
    found = forest(TABLE, measured())
    verdicts = dict(zip((c.text for c in TABLE.claims), judge(TABLE, measured()), strict=True))
    by_text = {TABLE.in_words(text): verdict for text, verdict in verdicts.items()}
    assert len(found["sentences"]) == len(TABLE.claims)
    for i, sentence in enumerate(found["sentences"].tolist()):
        verdict = by_text[sentence]
        assert found["states"][i] == verdict.state and found["seeds"][i] == verdict.seeds
        for name, value in (
            ("gains", verdict.gain),
            ("lows", verdict.low),
            ("highs", verdict.high),
        ):
            np.testing.assert_equal(found[name][i], value)
    order = list(dict.fromkeys(found["rivals"].tolist()))
    assert order[:2] == ["against One-Label STL", "against One-Label MTL baseline"]
    assert found["rivals"].tolist() == sorted(found["rivals"].tolist(), key=order.index)
    assert "HiTTs, stages 1 and 2 beats XTC" in " ".join(found["sentences"].tolist())


def test_a_forest_draws_intervals_of_what_was_tested_and_hollow_dots_of_one_seed() -> None:
    arrays = forest(TABLE, measured())
    (axes,) = evidence.draw_forest(arrays).axes
    tested = np.isfinite(arrays["lows"])
    spans = np.array([s[:, 0] for c in axes.collections for s in _segments(c)])
    np.testing.assert_allclose(
        spans, np.stack([arrays["lows"], arrays["highs"]], 1)[tested].clip(-60, 60)
    )
    dots = [c for c in axes.collections if len(c.get_offsets()) and not _segments(c)]
    printed, one, *states = dots
    assert len(printed.get_offsets()) == len(arrays["sentences"])
    assert len(one.get_offsets()) == 4  # of MTAN in two blocks, on the gain and on all metrics
    assert not printed.get_facecolor()[:, 3].any() and not one.get_facecolor()[:, 3].any()
    assert sum(len(s.get_offsets()) for s in states) == tested.sum()
    colors = {to_hex(c) for s in states for c in s.get_facecolor()}
    assert colors == {to_hex(COLORS[str(state)]) for state in arrays["states"][tested]}


def _segments(collection) -> list:
    return collection.get_segments() if hasattr(collection, "get_segments") else []


def test_a_forest_without_records_shows_print_alone() -> None:
    arrays = forest(TABLE, None)
    assert np.isnan(arrays["gains"]).all() and np.isfinite(arrays["printed"]).all()
    assert evidence.forest_lines(arrays) == []
    assert png_bytes(evidence.draw_forest(arrays)) == png_bytes(evidence.draw_forest(arrays))


def test_costs_stand_in_no_forest() -> None:
    assert len(forest(TABLES["table8"], None)["sentences"]) == 0
    evidence.draw_forest(forest(TABLES["table8"], None))


# -------------------------------------------------------------------- ruler


def test_a_ruler_runs_from_guesses_to_full_labels() -> None:
    results = measured()
    found = ruler("rooms13", "segnet", [(TABLE, results), (TABLE, results)])  # a run counts once
    assert found["columns"].tolist() == ["semseg/miou", "depth/abs_err", "normals/mean_err"]
    assert found["higher"].tolist() == [True, False, False]
    methods = ["STL", ONE_LABEL, "MTAN", "XTC", "HiTTs, stages 1 and 2", FULL]
    assert set(found["method"].tolist()) == {*GUESSES, *methods}
    for name, count in (("STL", 3), ("MTAN", 1), (FULL, 3), (GUESSES[0], 1)):
        assert (found["method"] == name).sum() == 3 * count, name
    mine = (found["method"] == ONE_LABEL) & (found["metric"] == 0) & (found["seed"] == 1)
    expected = results.values(TABLE, "one-label/MTL baseline", "semseg/miou")[1]
    assert found["value"][mine] == pytest.approx(100 * expected)
    assert len(ruler("streets7", "segnet", [(TABLE, results)])["value"]) == 0
    assert len(ruler("rooms13", "resnet18", [(TABLE, results)])["value"]) == 0  # other networks


def test_rulers_are_drawn_with_every_dot(tmp_path) -> None:
    write_results(tmp_path, measured())
    arrays = recorded_rulers(FigureInputs(records=tmp_path))
    assert arrays["parts"].tolist() == ["rooms13/segnet"]
    figure = evidence.draw_rulers(arrays)
    semseg = figure.axes[0]
    dots = sum(len(c.get_offsets()) for c in semseg.collections)
    known = (arrays["rooms13/segnet/metric"] == 0) & ~np.isin(
        arrays["rooms13/segnet/method"], GUESSES
    )
    assert dots == known.sum()
    assert len(semseg.lines) == 4  # two guesses, one label, full labels
    assert not semseg.xaxis_inverted() and figure.axes[1].xaxis_inverted()


# --------------------------------------------------------------- scoreboard


def test_the_scoreboard_has_every_sentence_of_the_papers(tmp_path) -> None:
    write_results(tmp_path, measured())
    found = scoreboard(read_all(tmp_path))
    tables = [t for t in papers.tables().values() if papers.PAPERS[t.paper].key]
    assert len(found["states"]) == sum(len(table.claims) for table in tables)
    mine = found["tables"] == "HiTTs, Table 1"
    verdicts = judge(TABLE, measured())
    assert found["states"][mine].tolist() == [verdict.state for verdict in verdicts]
    assert {"holds", "not tested"} <= set(found["states"][mine]) <= set(STATES)
    assert set(found["states"][~mine]) == {"not tested"}
    assert set(found["printed"][mine]) == {"agrees"}
    assert (found["printed"] == "contradicts").sum() == 10  # with twelve of their metrics


def test_the_scoreboard_draws_two_squares_a_sentence() -> None:
    arrays = scoreboard(read_all(None))
    figure = papers.figures()["companion/scoreboard"].draw(arrays)
    squares = [p for p in figure.artists if p.get_width() < 0.05]
    assert len(squares) == 2 * len(arrays["sentences"])
    said = {text.get_text() for text in figure.texts}
    assert set(arrays["tables"].tolist()) <= said


def test_a_glance_counts_the_sentences_of_each_table() -> None:
    arrays = scoreboard(read_all(None))
    figure = papers.figures()["companion/glance"].draw(arrays)
    assert len([p for p in figure.artists if p.get_width() < 0.05]) == len(arrays["sentences"])
    said = [text.get_text() for text in figure.texts]
    count = (arrays["tables"] == "HiTTs, Table 1").sum()
    assert said[said.index("HiTTs, Table 1") + 1] == f"not tested: {count}"


def test_stale_records_are_not_tested(tmp_path: Path) -> None:
    old = measured()
    entries = tuple(replace(e, keys=tuple("0" * 12 for _ in e.keys)) for e in old.entries)
    write_results(tmp_path, replace(old, entries=entries))
    assert set(scoreboard(read_all(tmp_path))["states"]) == {"not tested"}
    assert len(ruler("rooms13", "segnet", read_all(tmp_path).values())["value"]) == 0
