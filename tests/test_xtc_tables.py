"""The XTC tables as data: complete, consistent, and runnable in principle."""

import inspect
import math

import pytest
from properties import assert_table_is_complete

from mtpsl import papers
from mtpsl.data import find_class
from mtpsl.data.labels import assign
from mtpsl.models import BACKBONES
from mtpsl.papers.hitts import printed as hitts_printed
from mtpsl.papers.xtc import printed as xtc_printed
from mtpsl.papers.xtc import tables as xtc
from mtpsl.papers.xtc.tables import TABLES
from mtpsl.report.ledger import against
from mtpsl.report.tables import cost_rows
from mtpsl.weighting import WEIGHTINGS

ALL = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)


def runs(table):
    return [experiment for row in table.rows for experiment in row.experiments]


@ALL
def test_a_table_is_complete(table):
    assert_table_is_complete(table)
    assert set(table.reference) == ({""} if "delta_mtl" in table.columns else set())


@ALL
def test_every_row_of_the_paper_is_there_in_its_order(table):
    printed = getattr(xtc_printed, table.name.upper())
    assert [row.name for row in table.rows] == list(printed.rows)
    for row in table.rows:
        cells = [c for c in row.printed if not math.isnan(c)]
        assert tuple(cells) == printed.rows[row.name]
        assert len(cells) == len(printed.columns)


def test_most_claims_hold_for_the_printed_cells():
    """And each that does not is an erratum that the audit knows."""
    assert not xtc_printed.audit().contradictions
    failing = [
        (name, claim.better, claim.worse, column)
        for name, table in TABLES.items()
        for claim in table.claims
        for column in against(claim, table)
    ]
    sl, ssl = xtc_printed.SL, xtc_printed.SSL
    assert failing == [
        ("table1", "one/Direct-Map", f"one/{ssl}", "depth/abs_err"),
        ("table1", "one/Contrastive-Loss", f"one/{ssl}", "depth/abs_err"),
        ("table2", f"random/{sl}", f"one/{sl}", "depth/abs_err"),
        ("table2", "random/Direct-Map", f"random/{sl}", "normals/mean_err"),
        ("table2", "one/Perceptual-Map", f"one/{sl}", "normals/mean_err"),
        ("table3", f"random/{ssl}", f"random/{sl}", "edges/ods_f"),
        ("table3", f"one/{sl}", f"one/{ssl}", "normals/mean_err"),
        ("table3", f"one/{sl}", f"one/{ssl}", "saliency/sal_miou"),
        ("table3", "random/Ours", f"random/{sl}", "edges/ods_f"),
        ("table3", "one/Ours", f"one/{ssl}", "normals/mean_err"),
        ("table3", "one/Ours", f"one/{ssl}", "saliency/sal_miou"),
    ]


@ALL
def test_methods_know_their_arguments(table):
    for experiment in runs(table):
        known = inspect.signature(papers.methods()[experiment.method]).parameters
        assert set(experiment.method_args) <= set(known)
        assert experiment.weighting in WEIGHTINGS
        assert experiment.backbone in BACKBONES


@ALL
def test_data_sets_have_what_a_table_asks_for(table):
    for experiment in runs(table):
        tasks = find_class(experiment.dataset).tasks.subset(experiment.tasks)
        metrics = {f"{task.name}/{metric}" for task in tasks for metric in task.columns}
        alone = len(experiment.tasks) == 1  # a single-task row is several experiments
        assert metrics & set(table.columns) if alone else set(table.columns[:-1]) <= metrics


@ALL
def test_rows_train_in_one_protocol(table):
    varies = {"tasks", "label_setting", "label_args", "method", "method_args", "weighting"}
    settings = [
        {k: v for k, v in experiment.to_dict().items() if k not in varies}
        for experiment in runs(table)
    ]
    assert all(setting == settings[0] for setting in settings)


def test_stated_settings():
    """Of the released code, and of the benchmark that the paper follows on PASCAL-Context."""
    for protocol, data, size, images, epochs, batch in (
        (xtc.NYUD, "rooms13", (288, 384), (795, 654), 200, 2),
        (xtc.CITYSCAPES, "streets7", (128, 256), (2975, 500), 200, 8),
        (xtc.PASCAL, "people21", (512, 512), (4998, 5105), 100, 6),
    ):
        assert (protocol.dataset, protocol.lr, protocol.select) == (data, 1e-4, "last")
        assert (protocol.height, protocol.width) == size
        assert (protocol.train_images, protocol.test_images) == images
        assert (protocol.epochs, protocol.batch_size) == (epochs, batch)
    assert xtc.NYUD.schedule == xtc.CITYSCAPES.schedule == "step"
    assert (xtc.PASCAL.backbone, xtc.PASCAL.schedule, xtc.PASCAL.weight_decay) == (
        "resnet18", "poly", 1e-4,
    )  # fmt: skip


@pytest.mark.parametrize(("group", "counts"), [("1:9", (10, 90)), ("9:1", (90, 10))])
def test_ratios_count_segmentation_first(group, counts):
    """[XTC, Table 4]: 1:9 means segmentation labels for 10 % of the images."""
    (experiment,) = TABLES["table4"].row(f"{group}/Ours").experiments
    assert experiment.label_setting == "ratio"
    tasks = find_class(experiment.dataset).tasks.names
    assignment = assign("ratio", 100, tasks, **experiment.label_args)
    assert (assignment.counts["semseg"], assignment.counts["depth"]) == counts


def test_tables_share_runs():
    one, two, three, four, five, six = TABLES.values()
    sl = f"full/{xtc_printed.SL}"
    assert four.row(sl).experiments == one.row(sl).experiments
    assert five.row("MTL").experiments == two.row(sl).experiments
    for row in six.rows:
        if "w/o" not in row.name:
            assert row.experiments == two.row(row.name).experiments
            assert row.printed == two.row(row.name).printed
    assert [e.tasks for e in five.row("STL").experiments] == [(t,) for t in xtc.NYUD.tasks]
    for table in TABLES.values():
        assert len({e.key for e in runs(table)}) == len(runs(table))
    assert len({e.key for table in TABLES.values() for e in runs(table)}) == 51


def test_what_the_text_source_displaces_is_in_no_row():
    kept = [
        (name, row)
        for name, extracted in xtc_printed.EXTRACTED.items()
        for row, cells in extracted
        if row in (r.name for r in TABLES[name].rows) and TABLES[name].row(row).printed == cells
    ]
    assert kept == [("table2", "one/Ours")]  # there twice, here once
    for name in xtc_printed.EXTRACTED:
        assert any("The text we type from" in n or "Left out" in n for n in TABLES[name].notes)


def test_cells_agree_with_what_later_papers_print():
    """[HiTTs, Tables 2 and 4] print rows of [XTC] in other words."""
    theirs, ours = hitts_printed.TABLE2, xtc_printed.TABLE5
    assert {tuple(theirs.metrics(row).values()) for row in theirs.rows} >= set(ours.rows.values())
    theirs, ours = hitts_printed.TABLE4, xtc_printed.TABLE3
    for here, there in (("one", "one-label"), ("random", "random-labels")):
        assert tuple(theirs.metrics(f"{there}/XTC").values()) == ours.rows[f"{here}/Ours"]


def test_costs_of_earlier_work_are_those_that_hitts_prints():
    """[HiTTs, Table 8]; XTC's within 1 %, because no mix of mapping passes gives its FLOPs."""
    rows = {row["name"]: row for row in cost_rows()}
    mtan, ours = rows["MTAN"], rows["XTC"]
    assert (round(mtan["params"] / 1e6, 2), round(mtan["thop_flops"] / 1e9, 2)) == (44.23, 217.26)
    assert ours["params"] - rows["MTL baseline"]["params"] == 14_819_328
    assert ours["thop_flops"] / 1e9 == pytest.approx(ours["printed_flops_g"], rel=0.01)
