"""The audit finds exactly the known errata, and notices when that changes."""

import argparse
import dataclasses

import pytest

from mtpsl import commands
from mtpsl.papers.hitts import printed as errata
from mtpsl.papers.hitts import printed as hitts_printed
from mtpsl.papers.xtc import printed as xtc_printed
from mtpsl.papers.xtc import tables as xtc
from mtpsl.report.audit import Check, Printed, audit

MAIN = argparse.Namespace()


def hitts_checks(about: str) -> list[Check]:
    return [check for check in audit().papers["HiTTs"].checks if check.about == about]


def change(monkeypatch, name: str, row: str, column: str, value: float) -> None:
    table = getattr(hitts_printed, name)
    cells = list(table.rows[row])
    cells[table.columns.index(column)] = value
    changed = dataclasses.replace(table, rows={**table.rows, row: tuple(cells)})
    tables = tuple(changed if t is table else t for t in errata.DELTA_TABLES)
    monkeypatch.setattr(hitts_printed, name, changed)
    monkeypatch.setattr(errata, "DELTA_TABLES", tables)


def test_known_state():
    report = audit()
    assert list(report.papers) == [
        "XTC",
        "HiTTs",
        "RDC",
        "TPKR",
    ]  # in the order in which one builds on another
    deltas, borrowed = hitts_checks(errata.DELTAS), hitts_checks(errata.BORROWED)
    assert len(deltas) == 54 and all(check.agrees for check in deltas)
    assert len(borrowed) == 9 and all(check.agrees for check in borrowed)
    gains = report.papers["RDC"].checks
    copied = report.papers["TPKR"].checks
    assert len(gains) == 30 and len(copied) == 16
    known = (*deltas, *borrowed, *gains, *copied)
    quoted = [check for check in report.checks if check not in known]
    assert len(quoted) == 30 + 2 == len([c for c in quoted if c.about == quoted[0].about])
    assert len(report.papers["XTC"].checks) == 2
    mismatches = [(c.printed, round(c.computed, 4)) for c in report.checks if not c.agrees]
    assert mismatches == [(0.9633, 0.9533), (2.25, 2.0809), (22.73, 22.9299)]
    assert report.problems == ()


def test_no_delta_is_the_plain_sum():
    (eq9,) = [e for e in audit().papers["HiTTs"].errata if e.where == "Eq. 9"]
    assert eq9.remains
    assert eq9.evidence == "as printed it gives 0 of 54 printed deltas, with 1/N 54"


def test_golden_deltas():
    """By hand from three cells, and two of the independent recomputation's values."""
    computed = {check.where: check.computed for check in audit().checks}
    by_hand = ((36.95 / 37.45 - 1) + (1 - 0.5510 / 0.6079) + (1 - 29.51 / 25.94)) / 3
    assert computed["[HiTTs, Table 2] MTL baseline"] == pytest.approx(100 * by_hand)
    assert computed["[HiTTs, Table 1] one-label/Ours"] == pytest.approx(13.230, abs=5e-4)
    assert computed["[HiTTs, Table 9] random-labels/HiTTs (MS)"] == pytest.approx(0.759, abs=5e-4)


def test_every_delta_table_is_audited():
    tables = [
        t
        for paper in (hitts_printed, xtc_printed)
        for t in vars(paper).values()
        if isinstance(t, Printed)
    ]
    assert {t.source for t in tables if "delta_mtl" in t.columns} == {
        t.source for t in errata.DELTA_TABLES
    }
    for table in tables:
        assert all(len(cells) == len(table.columns) for cells in table.rows.values())


def test_main_passes_and_says_so(capsys):
    assert commands.audit(MAIN) == 0
    text = capsys.readouterr().out
    assert "54 of 54" in text and "31 of 32" in text and "0.9533" in text
    assert "9 of 9" in text
    assert text.index("errata of [XTC]") < text.index("errata of [HiTTs]")
    assert "Exactly the known errata remain." in text


def test_a_mistyped_cell_is_found(monkeypatch, capsys):
    change(monkeypatch, "TABLE3", "one-label/MTAN", "depth/rmse", 0.0287)
    assert commands.audit(MAIN) == 1
    assert "new mismatch: [HiTTs, Table 3] one-label/MTAN" in capsys.readouterr().out


def test_a_vanished_erratum_is_found(monkeypatch, capsys):
    change(monkeypatch, "TABLE7", "STL", "depth/abs_err", 0.9633)
    assert commands.audit(MAIN) == 1
    assert f"known erratum vanished: {errata.FEW_SHOT_DEPTH}" in capsys.readouterr().out


def test_another_average_is_found(monkeypatch):
    original = errata.delta_mtl
    monkeypatch.setattr(
        errata, "delta_mtl", lambda r, s, average="": original(r, s, average="tasks")
    )
    assert sum(check.agrees for check in hitts_checks(errata.DELTAS)) == 34
    assert len(audit().problems) >= 20


def test_errata_of_the_papers():
    papers = audit().papers
    recomputed = [e.where for e in papers["XTC"].errata if e.remains is not None]
    assert recomputed == [
        "Table 1", "Table 2", "Table 3", "Table 4",  # the text source
        "Table 1", "Table 2", "Table 2", "Table 3", "Table 3", "Table 3",  # words against cells
        "Sec. 4.1",
    ]  # fmt: skip
    recomputed = [e.where for e in papers["HiTTs"].errata if e.remains is not None]
    few_shot = errata.FEW_SHOT_DEPTH
    assert recomputed == ["Eq. 9", few_shot, "Table 2", "Table 4", "Table 6", "Table 8"]
    assert [len(paper.errata) for paper in papers.values()] == [11 + 8, 6 + 9, 4 + 12, 11 + 11]
    assert all(e.remains is not False for paper in papers.values() for e in paper.errata)


def with_cell(monkeypatch, name: str, row: str, column: str, value: float) -> None:
    """As if ``xtc`` answered a table with another printed cell."""
    table = xtc.TABLES[name]
    cells = list(table.row(row).printed)
    cells[table.columns.index(column)] = value
    rows = tuple(
        dataclasses.replace(r, printed=tuple(cells)) if r.name == row else r for r in table.rows
    )
    monkeypatch.setitem(xtc.TABLES, name, dataclasses.replace(table, rows=rows))


def test_a_new_contradiction_of_words_and_cells_is_found(monkeypatch, capsys):
    with_cell(monkeypatch, "table6", "one/Ours (w/o reg)", "semseg/miou", 25.00)
    assert commands.audit(MAIN) == 1
    assert (
        "new contradiction: [XTC, Table 6] Still better than SL: one/Ours (w/o reg) beats "
        "one/Supervised Learning on segmentation" in capsys.readouterr().out
    )


def test_a_contradiction_that_vanished_is_found(monkeypatch, capsys):
    with_cell(monkeypatch, "table2", "random/Supervised Learning", "depth/abs_err", 0.6324)
    assert commands.audit(MAIN) == 1
    text = capsys.readouterr().out
    assert "known erratum vanished: Table 2" in text and "new contradiction" not in text


def test_a_mistyped_cell_of_table_5_is_found(monkeypatch, capsys):
    cells = {**xtc_printed.TABLE5.rows, "MTAN": (39.39, 0.5669, 28.89)}
    changed = dataclasses.replace(xtc_printed.TABLE5, rows=cells)
    monkeypatch.setattr(xtc_printed, "TABLE5", changed)
    assert commands.audit(MAIN) == 1
    assert "new mismatch: [XTC, Table 5] MTAN" in capsys.readouterr().out
