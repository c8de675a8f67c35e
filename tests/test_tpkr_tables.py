"""The TPKR tables as data: complete, consistent, and runnable in principle."""

import dataclasses
import inspect
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from properties import assert_table_is_complete

from mtpsl import papers
from mtpsl.papers import method_class
from mtpsl.papers.companion import prototypes
from mtpsl.papers.protocols import NYUD, PASCAL
from mtpsl.papers.tpkr import printed as tpkr_printed
from mtpsl.papers.tpkr import sizes
from mtpsl.papers.tpkr import tables as tpkr
from mtpsl.papers.tpkr.tables import TABLES
from mtpsl.report import records, tables
from mtpsl.report.audit import audit
from mtpsl.report.ledger import against
from mtpsl.runs.data import tasks_of
from mtpsl.runs.network import build, full_size_cost, train_on_noise
from mtpsl.runs.profiles import TRANSFORMER_WIDTH, get_profile

ALL = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
EVERY = tuple(TABLES.values())
TAKEN_APART = pytest.mark.parametrize("table", prototypes.TABLES, ids=lambda table: table.name)


def runs(*tables):
    """Experiments by key, each once."""
    return {e.key: e for table in tables for row in table.rows for e in row.experiments}


def run(table, row):
    (experiment,) = TABLES[table].row(row).experiments
    return experiment


@ALL
def test_a_table_is_complete(table):
    assert_table_is_complete(table)


@TAKEN_APART
def test_a_table_that_takes_it_apart_is_complete(table):
    assert_table_is_complete(table)
    assert tpkr.PROTOCOL in table.notes
    for row in (prototypes.MTL, prototypes.OURS, prototypes.FEATURE, prototypes.STL):
        if row in {r.name for r in table.rows}:  # no training of its own
            paper = "table1" if table is prototypes.TRANSFER else "table2"
            assert table.row(row).experiments == TABLES[paper].row(f"one-label/{row}").experiments


def test_the_wide_baseline_is_as_large():
    (wide,), (ours,) = (
        prototypes.RETRIEVAL.row(row).experiments for row in (tpkr.WIDE_MTL, prototypes.OURS)
    )
    assert full_size_cost(wide).params == pytest.approx(full_size_cost(ours).params, rel=0.01)


def test_gains_of_pairs_by_hand():
    """Alone 0.5 and 20, with each other 0.6 (+20 %) and 22 (-10 %)."""
    cells = {
        (prototypes.STL, "semseg/miou"): 0.5,
        (prototypes.STL, "normals/mean_err"): 20.0,
        (prototypes.pair("normals", "semseg"), "semseg/miou"): 0.6,
        (prototypes.pair("semseg", "normals"), "normals/mean_err"): 22.0,
    }
    known = SimpleNamespace(
        current=lambda: [SimpleNamespace(seed=0)],
        values=lambda table, row, column: {0: cells.get((row, column), math.nan)},
    )
    gains = prototypes.transfer_gains(known, ("semseg", "normals", "edges"))
    assert gains.shape == (3, 3, 1) and gains[0, 1, 0] == pytest.approx(20)
    assert gains[1, 0, 0] == pytest.approx(-10) and np.isnan(gains[2]).all()
    order = np.arange(9.0).reshape(3, 3)
    assert prototypes.rank_correlation(order, -(order**3)) == pytest.approx(-1)
    assert math.isnan(prototypes.rank_correlation(order, gains[..., 0]))


@pytest.mark.parametrize(("temperature", "most"), [(0.1, 1.0), (0.3, 0.9867), (1.0, 0.6914)])
def test_a_temperature_lifts_the_ceiling(temperature, most):
    assert tpkr_printed.at_optimum(3, temperature=temperature)[0] == pytest.approx(most, abs=1e-4)


def test_smoke_trains_a_network_once(monkeypatch):
    """Labels and numbers make no other code; a row of several networks needs all of them."""
    monkeypatch.setattr(records, "missing_runs", lambda labeled, store: {"all": None})
    monkeypatch.setattr(records, "run", lambda experiment, session: None)
    monkeypatch.setattr(records, "row_entry", lambda row_run, found, session: row_run.row.name)
    session = SimpleNamespace(data_root="", store=None)
    table4 = records.run_table(TABLES["table4"], session, once=True).entries
    assert table4 == (tpkr_printed.NO_SLOTS, "d = 256", "d = 1024")
    table2 = records.run_table(TABLES["table2"], session, once=True).entries
    assert [name.split("/")[0] for name in table2] == ["one-label"] * 7
    assert len(records.run_table(TABLES["table2"], session).entries) == 14


@ALL
def test_every_row_of_the_paper_is_there_in_its_order(table):
    cells = getattr(tpkr_printed, table.name.upper())
    assert [row.name for row in table.rows] == list(cells.rows)
    assert [row.printed for row in table.rows] == list(cells.rows.values())
    assert not any(math.isnan(cell) for row in table.rows for cell in row.printed)
    assert [len(t.rows) for t in EVERY] == [14, 14, 4, 5, 4, 3]


def test_52_runs_a_seed():
    """[TPKR spec]: 22, 18, 2 more, 3 more, 4 and 3; 16 of them of a single task."""
    found, seen = Counter(), set()
    for table in EVERY:
        new = runs(table).keys() - seen
        found[table.name], seen = len(new), seen | new
    assert list(found.values()) == [22, 18, 2, 3, 4, 3] and len(seen) == 52
    assert sum(len(e.tasks) == 1 for e in runs(*EVERY).values()) == 16
    assert all(row.experiments for table in EVERY for row in table.rows)


def test_audit():
    found = tpkr_printed.audit()
    assert not found.problems and not audit().problems
    assert len(found.checks) == 16 and all(check.agrees for check in found.checks)
    recomputed = [e.where for e in found.errata if e.remains]
    assert recomputed == [
        "Tables 1 and 2, SSL", "Tables 1 and 2",
        "Table 3, boundary of the first row", "Table 4", "Table 4, Param", "Table 6",
        "Eq. 5", "Eq. 6", "Eq. 4",
        "Sec. 4, maxF of saliency", "Tables 1, 2 and 6, DiffusionMTL",
    ]  # fmt: skip


def test_a_mistyped_cell_of_another_paper_is_found(monkeypatch):
    row = f"random-labels/{tpkr_printed.SSL}"
    cells = {**tpkr_printed.TABLE2.rows, row: (29.50, 0.6242, 33.31)}
    changed = dataclasses.replace(tpkr_printed.TABLE2, rows=cells)
    monkeypatch.setattr(tpkr_printed, "TABLE2", changed)
    problems = tpkr_printed.audit().problems
    assert problems[0].startswith(f"new mismatch: [TPKR, Table 2] {row}, depth/abs_err: printed")
    assert any(p.startswith("known erratum vanished") for p in problems)


def test_all_claims_hold_for_the_printed_cells():
    assert not [c.text for table in EVERY for c in table.claims if against(c, table)]
    best = [
        (claim, len(claim.columns))
        for name in ("table1", "table2")
        for claim in TABLES[name].claims
        if claim.better.endswith("/TPKR")
    ]
    assert len(best) == 12 and sum(columns for _, columns in best) == 48


def test_single_tasks_beat_it_in_five_cells():
    found = [tpkr_printed.stl_over_ours(getattr(tpkr_printed, f"TABLE{n}")) for n in (1, 2)]
    assert [[text.split(":")[0] for text in texts] for texts in found] == [
        ["parsing mIoU, random-labels", "boundary odsF, random-labels"],
        ["depth AbS, one-label", "semseg mIoU, random-labels", "normals mErr, random-labels"],
    ]
    for name, texts in zip(("table1", "table2"), found, strict=True):
        assert any(all(t in note for t in texts) for note in TABLES[name].notes)


@pytest.mark.parametrize(("count", "most"), [(3, 0.691), (5, 0.466)])
def test_the_optimum_of_the_losses(count, most):
    """Slots as a simplex, by its closed form."""
    margin = 1 + 1 / (count - 1)
    own, loss = tpkr_printed.at_optimum(count)
    assert own == pytest.approx(math.e / (math.e + (count - 1) * math.exp(1 - margin)))
    assert own == pytest.approx(most, abs=5e-4) and loss == 0
    assert tpkr_printed.at_optimum(count, "printed")[1] == pytest.approx(margin + 0.5)


def test_tables_share_runs():
    assert run("table3", tpkr_printed.NO_LOSS) == run("table1", "one-label/MTL baseline")
    assert run("table3", tpkr_printed.ALL) == run("table1", "one-label/TPKR")
    assert run("table4", tpkr_printed.NO_SLOTS) == run("table2", "one-label/MTL baseline")
    assert run("table4", "d = 1024") == run("table2", "one-label/TPKR")


@ALL
def test_methods_know_their_arguments(table):
    for experiment in runs(table).values():
        known = inspect.signature(papers.method_class(experiment.method)).parameters
        assert set(experiment.method_args) <= set(known)
        assert papers.backbone_builder(experiment.backbone)
    multi = [e for e in runs(table).values() if len(e.tasks) > 1]
    metrics = {f"{task.name}/{m}" for e in multi for task in tasks_of(e) for m in task.columns}
    assert {c for c in table.columns if not c.startswith("cost/")} <= metrics


def test_stated_settings():
    for e in runs(*EVERY).values():
        people = e.dataset == "people21"
        assert (e.epochs, e.batch_size) == ((100, 6) if people else (200, 4))
        assert (e.height, e.width) == ((512, 512) if people else (288, 384))
        assert (e.lr, e.weight_decay, e.schedule, e.clip) == (2e-5, 1e-6, "poly", 10.0)
        assert e.protocol == e.augmentation == "atrc" and e.flip
    weights = {t.name: t.weight for t in tasks_of(run("table1", "one-label/TPKR"))}
    assert weights == {
        "semseg": 1, "human_parts": 2, "saliency": 5, "edges": 50, "normals": 10,
    }  # fmt: skip
    assert {t.weight for t in tasks_of(run("table2", "one-label/TPKR"))} == {1}


def test_rows_of_the_other_protocol_are_other_runs():
    """XTC on the fused network is not a run of [XTC], nor are the single-task networks."""
    ours = runs(*EVERY)
    others = runs(*(t for t in papers.tables().values() if t not in (*EVERY, *prototypes.TABLES)))
    assert not ours.keys() & others.keys()
    assert {NYUD.protocol, PASCAL.protocol} == {""}


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_profiles_keep_the_protocol(profile):
    scale = get_profile(profile)
    for e in runs(*EVERY).values():
        scaled = scale(e)
        kept = ("protocol", "augmentation", "flip", "clip", "weight_decay", "backbone", "method")
        assert all(getattr(scaled, name) == getattr(e, name) for name in kept)
        suits = {} if profile == "full" else method_class(e.method).small_images
        assert scaled.method_args == {**suits, **e.method_args}
        dropped = {n for n in e.backbone_args if n.startswith("weights")}
        left = set(e.backbone_args) - (set() if profile == "full" else dropped)
        assert set(scaled.backbone_args) == left


def test_quick_sizes():
    quick = get_profile("quick")
    found = {
        (e.dataset, e.backbone): (s.height, s.width, s.width_factor)
        for e, s in ((e, quick(e)) for e in runs(*EVERY).values())
    }
    transformers = {k: v for k, v in found.items() if "fused" not in k[1] or "vit" in k[1]}
    assert set(transformers.values()) == {(96, 144, TRANSFORMER_WIDTH)}
    assert {k: v for k, v in found.items() if k not in transformers} == {
        ("people21", "resnet18_fused"): (96, 96, 0.25),
        ("people21", "resnet50_fused"): (96, 96, 0.25),
        ("rooms13", "resnet18_fused"): (64, 96, 0.25),
    }


def test_the_denoiser_s_grid_has_more_than_a_few_cells():
    e = get_profile("quick")(run("table2", "one-label/DiffusionMTL (Feature)"))
    with torch.device("meta"):
        side = e.backbone_args.get("stride", 8) * build(e).denoiser.reduce
    assert (e.height // side, e.width // side) == (8, 12)


def test_slots_scale_with_the_network():
    quick = get_profile("quick")
    for d, row in tpkr_printed.SLOTS.items():
        with torch.device("meta"):
            method = build(quick(run("table4", row)))
        assert method.prototypes.slots.shape == (3, d // 4)
        assert method.codebook.codes.shape == (4096, 128)


def networks():
    """Row -> what it trains at smoke, once for each network and method."""
    found = {}
    for table in (*EVERY, *prototypes.TABLES):
        for row in table.rows:
            for e in map(get_profile("smoke"), row.experiments):
                args = str((sorted(e.method_args.items()), e.backbone_args))
                kind = (e.backbone, e.method, args, len(e.tasks) == 1)
                found.setdefault(kind, (f"{table.key} {row.name}", e.replace(batch_size=3)))
    return dict(found.values())


NETWORKS = networks()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_row_builds_and_steps(name):
    """Two steps on noise reach the encoder, and leave every weight a number."""
    experiment = NETWORKS[name]
    start = build(experiment).state_dict()
    trained = train_on_noise(experiment, torch.device("cpu")).state_dict()
    moved = [n for n in start if not torch.equal(start[n], trained[n])]
    assert all(trained[n].isfinite().all() for n in moved)
    assert any("backbone" in n for n in moved)
    learned = not experiment.method_args.get("frozen")
    assert any("slots" in n for n in moved) == (learned and any("slots" in n for n in start))


def test_parameters_of_table_4_are_those_of_full_width(monkeypatch):
    monkeypatch.setattr(tables, "PAPERS", {"tpkr": papers.PAPERS["tpkr"]})
    rows = {row["name"]: row for row in tables.cost_rows()}
    found = {name: row["params"] for name, row in rows.items()}
    assert found[tpkr_printed.NO_SLOTS] == 43_933_265
    own = (10_130_947, 11_049_987, 12_888_067, 16_564_227)
    for (d, row), parts in zip(tpkr_printed.SLOTS.items(), own, strict=True):
        assert found[row] == 43_933_265 + parts + 512 * 17  # wider heads
        assert rows[row]["printed_params_m"] == sizes.PRINTED[d]
    assert found["DiffusionMTL (Feature)"] == 94_531_170
    assert "[TPKR, Table 4]: one image of 288x384" in tables.cost_text()


def test_notes_say_what_cannot_be_compared():
    for table in EVERY:
        assert tpkr.PROTOCOL in table.notes
    for name, flag in (("table1", "is a mean IoU and not maxF"), ("table2", "on SegNet")):
        assert any(tpkr_printed.SSL in note and flag in note for note in TABLES[name].notes)
    assert set(tpkr_printed.CHECK_MARKS) == {"Table 3"}
