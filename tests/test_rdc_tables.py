"""The RDC tables as data: complete, consistent, and runnable in principle."""

import inspect
import math
from collections import Counter

import pytest
import torch
from properties import assert_table_is_complete

from mtpsl import papers
from mtpsl.data import find_class
from mtpsl.papers.companion.tables import CONTRAST, DISTANCES, REGIONS
from mtpsl.papers.rdc import printed as rdc_printed
from mtpsl.papers.rdc import tables as rdc
from mtpsl.papers.rdc.tables import TABLES
from mtpsl.papers.xtc.tables import TABLES as XTC_TABLES
from mtpsl.report import tables
from mtpsl.report.audit import audit
from mtpsl.report.ledger import against
from mtpsl.runs.network import build, train_on_noise
from mtpsl.runs.profiles import SMALL, TRANSFORMER_WIDTH, get_profile

ALL = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
EVERY = (*TABLES.values(), CONTRAST, REGIONS, DISTANCES)


def runs(*tables):
    """Experiments by key, each once."""
    return {e.key: e for table in tables for row in table.rows for e in row.experiments}


def run(table, row):
    (experiment,) = TABLES[table].row(row).experiments
    return experiment


@ALL
def test_a_table_is_complete(table):
    assert_table_is_complete(table)


@ALL
def test_every_row_of_the_paper_is_there_in_its_order(table):
    cells = getattr(rdc_printed, table.name.upper())
    assert [row.name for row in table.rows] == list(cells.rows)
    assert [len(t.rows) for t in TABLES.values()] == [19, 5, 12, 2, 4, 5]
    for row in table.rows:
        kept, typed = (
            [c for c in r if not math.isnan(c)] for r in (row.printed, cells.rows[row.name])
        )
        assert kept == typed


def test_37_runs_a_seed():
    """[RDC spec]: 15, 5, 8 more, 2, 2 more, 5; three of XTC's on SegNet are its own tables'."""
    found = Counter()
    seen = set()
    for table in TABLES.values():
        new = runs(table).keys() - seen
        found[table.name], seen = len(new), seen | new
    assert list(found.values()) == [15, 5, 8, 2, 2, 5] and len(seen) == 37
    assert len(seen & runs(*XTC_TABLES.values()).keys()) == 3


def test_only_dejavu_is_printed_only():
    left_out = [row for table in TABLES.values() for row in table.rows if row.why_not_run]
    assert [row.name for row in left_out] == [
        f"{block}/DejaVu on {net}" for block in ("one", "random") for net in ("SegNet", "HRNet18")
    ]
    assert all("code" in row.why_not_run for row in left_out)


def test_audit():
    found = rdc_printed.audit()
    assert not found.problems and not audit().problems
    wrong = [(c.printed, round(c.computed, 2)) for c in found.checks if not c.agrees]
    assert len(found.checks) == 30 and wrong == [(2.25, 2.08), (22.73, 22.93)]
    assert [e.where for e in found.errata if e.remains] == [
        "Table 1, SegNet, one/RDC on SegNet, depth/abs_err",
        "Table 2, gaussian, depth/abs_err",
        "Table 3",
        "Tables 4 and 6",
    ]


def test_all_claims_but_one_hold_for_the_printed_cells():
    failing = {
        (name, claim.better, claim.worse): tuple(against(claim, table))
        for name, table in TABLES.items()
        for claim in table.claims
        if against(claim, table)
    }
    known = ("table3", "random/gaussian by region", "random/pixel by region")
    assert failing == {known: ("semseg/miou",)}


def test_claims_about_rows_that_nobody_trains():
    asked = [c for c in TABLES["table1"].claims if "DejaVu" in c.worse]
    assert [c.worse for c in asked] == ["one/DejaVu on SegNet", "random/DejaVu on SegNet"]


def test_tables_share_runs():
    for block in ("one", "random"):
        assert run("table1", f"{block}/{rdc_printed.PATCH}") == run(
            "table3", f"{block}/gaussian by patch"
        )
        region = run("table1", f"{block}/{rdc_printed.REGION}")
        assert region == run("table3", f"{block}/gaussian by region")
        assert region == run("table5", f"{block}/Wasserstein distance")
        xtc = XTC_TABLES["table2"].row(f"{block}/Ours").experiments
        assert TABLES["table1"].row(f"{block}/XTC on SegNet").experiments == xtc
    (ladder,) = CONTRAST.row("RDC with Gaussians").experiments
    assert ladder == run("table1", f"one/{rdc_printed.REGION}")
    (truth,) = REGIONS.row("full/segments of the labels").experiments
    assert truth == run("table4", "gaussian")


@ALL
def test_methods_know_their_arguments(table):
    for experiment in runs(table).values():
        known = inspect.signature(papers.method_class(experiment.method)).parameters
        assert set(experiment.method_args) <= set(known)
        assert papers.backbone_builder(experiment.backbone)
        tasks = find_class(experiment.dataset).tasks.subset(experiment.tasks)
        metrics = {f"{task.name}/{metric}" for task in tasks for metric in task.columns}
        assert set(table.columns) <= metrics


def test_stated_settings():
    region = run("table1", f"one/{rdc_printed.REGION}")
    assert (region.epochs, region.batch_size, region.lr) == (20, 10, 5e-4)
    assert region.schedule_args == {"restart_every": 10, "floor": pytest.approx(1e-6 / 5e-4)}
    assert region.backbone_args["mean"] == [0, 0, 0] and region.backbone_args["std"] == [1, 1, 1]
    streets = run("table2", "gaussian")
    assert (streets.dataset, streets.epochs, streets.batch_size) == ("streets7", 100, 8)
    segnet = run("table1", "one/RDC on SegNet")
    assert (segnet.epochs, segnet.batch_size, segnet.backbone) == (200, 2, "segnet")


def test_regions_are_asked_for_where_they_are_compared():
    for experiment in runs(*EVERY).values():
        contrast, patch = experiment.method == "rdc", experiment.method_args.get("patch", 0)
        assert bool(experiment.regions) == (contrast and not patch)
        if experiment.regions == "ground_truth":
            assert experiment.label_setting == "full"
    assert {e.regions for e in runs(TABLES["table4"]).values()} == {"ground_truth"}


def test_profiles_fit_the_backbones():
    quick = get_profile("quick")
    hrnet = quick(run("table1", f"one/{rdc_printed.REGION}"))
    assert (hrnet.height, hrnet.width, hrnet.width_factor) == (64, 96, 0.25)
    assert not any(name.startswith("weights") for name in hrnet.backbone_args)
    sizes = {
        (e.height, e.width, e.width_factor)
        for e in map(quick, runs(TABLES["table1"]).values())
        if e.backbone == "task_expert"
    }
    assert sizes == {(96, 144, TRANSFORMER_WIDTH)}
    small = papers.method_class("rdc").small_images
    for profile in ("smoke", "quick", "full"):
        for experiment in runs(*EVERY).values():
            scaled = get_profile(profile)(experiment)
            suits = small if experiment.method == "rdc" and scaled.height < SMALL else {}
            assert scaled.method_args == {**suits, **experiment.method_args}
    assert small == {"pools": 2}


def networks():
    """Row -> what it trains at smoke, once for each network and method."""
    found = {}
    for table in EVERY:
        for row in table.rows:
            for e in map(get_profile("smoke"), row.experiments):
                kind = (e.backbone, e.method, str(sorted(e.method_args.items())))
                found.setdefault(kind, (f"{table.key} {row.name}", e.replace(batch_size=3)))
    return dict(found.values())


NETWORKS = networks()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_row_builds_and_steps(name):
    """Two steps on noise, with squares for regions; at the first, the contrast has no weight."""
    experiment = NETWORKS[name]
    start = build(experiment).state_dict()
    trained = train_on_noise(experiment, torch.device("cpu")).state_dict()
    moved = [n for n in start if not torch.equal(start[n], trained[n])]
    assert all(trained[n].isfinite().all() for n in moved)
    assert any(n.startswith("net.backbone") for n in moved)
    learns = experiment.method == "rdc" and experiment.method_args.get("gradient", True)
    assert any(n.startswith("loss.mapping") and "weight" in n for n in moved) == learns


def test_costs(monkeypatch):
    monkeypatch.setattr(tables, "PAPERS", {"rdc": papers.PAPERS["rdc"]})
    rows = {row["name"]: row for row in tables.cost_rows()}
    assert {row["table"] for row in rows.values()} == {"rdc"}
    assert rows["MTL on HRNet18"]["params"] == 4_085_647
    assert rows["MTL on HRNet-W18"]["params"] == 9_787_187
    assert rows["RDC on HRNet18"]["params"] == 4_085_647 + 72_912
    assert rows["TaskExpert on ViT-L"]["params"] == 318_210_649
    assert "[RDC], which prints no costs" in tables.cost_text()


def test_notes_say_what_cannot_be_compared():
    for name in ("table1", "table3", "table4", "table5", "table6"):
        assert rdc.LENGTH in TABLES[name].notes
    for name in ("table1", "table2", "table3", "table5", "table6"):
        assert any("in place of SAM" in note for note in TABLES[name].notes)
    assert set(rdc_printed.CHECK_MARKS) == {f"Table {n}" for n in (1, 2, 3, 4, 6)}
