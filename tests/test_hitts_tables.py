"""The HiTTs tables as data: complete, consistent, and runnable in principle."""

import inspect
import math

import pytest

from mtpsl import papers
from mtpsl.papers.hitts import printed as hitts_printed
from mtpsl.papers.hitts import tables as hitts
from mtpsl.papers.hitts.tables import TABLES, WITH_CONFIDENCE
from mtpsl.report.ledger import against
from mtpsl.report.results import column_of

ALL = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)


@ALL
def test_a_table_is_complete(table):
    assert len({row.name for row in table.rows}) == len(table.rows)
    for row in table.rows:
        assert len(row.printed) == len(table.columns)
        assert bool(row.experiments) != bool(row.why_not_run)
    for column in table.columns:
        assert column_of(column).label
    for claim in table.claims:
        assert set(claim.columns) <= set(table.columns)
        assert table.row(claim.better) != table.row(claim.worse)
    if "delta_mtl" in table.columns:
        assert set(table.reference) == {row.group for row in table.rows}
        for group, reference in table.reference.items():
            assert table.row(reference).group == group
            assert math.isnan(table.row(reference).printed[-1])


@ALL
def test_every_claim_holds_for_the_printed_cells(table):
    for claim in table.claims:
        assert not against(claim, table), claim.text
    assert len({claim.text for claim in table.claims}) == len(table.claims)


@ALL
def test_every_row_of_the_paper_is_there_in_its_order(table):
    printed = getattr(hitts_printed, table.name.upper())
    assert [row.name for row in table.rows] == list(printed.rows)


@ALL
def test_methods_know_their_arguments(table):
    for row in table.rows:
        for experiment in row.experiments:
            known = inspect.signature(papers.methods()[experiment.method]).parameters
            assert set(experiment.method_args) <= set(known)
            pseudo = {k for k, v in experiment.method_args.items() if v and k.startswith("pseudo")}
            assert bool(pseudo) == (experiment.teacher is not None)
            # Thresholds belong to the student: the teacher must stay the plain row's run.
            # A supervised network has a confidence for classes only.
            plain = experiment.method == "supervised"
            sure = WITH_CONFIDENCE if plain else experiment.tasks
            cut = set(sure) & set(experiment.tasks) if "pseudo_labels" in pseudo else set()
            assert set(experiment.thresholds) == cut
            assert experiment.teacher is None or not experiment.teacher.thresholds


def test_printed_thresholds():
    """[HiTTs, App. B]"""
    one, random = (hitts.ours(s).thresholds for s in ("one_label", "random_labels"))
    assert one == {"semseg": 0.9, "depth": 0.45, "normals": 0.6}
    assert random == {"semseg": 0.9, "depth": 0.7, "normals": 0.7}


def test_printed_thresholds_elsewhere():
    """[HiTTs, App. B]"""
    (streets,) = TABLES["table3"].row("one-label/Ours").experiments
    assert streets.thresholds == {"semseg": 0.9, "depth": 0.5}
    for group in ("one-label", "random-labels"):
        (people,) = TABLES["table4"].row(f"{group}/Ours").experiments
        assert people.thresholds == {
            "semseg": 0.9, "human_parts": 0.85, "normals": 0.7, "saliency": 0.7, "edges": 0.9,
        }  # fmt: skip


def test_printed_settings():
    """[HiTTs, Sec. 4.1]"""
    e = hitts.ours("one_label")
    assert (e.height, e.width, e.train_images, e.test_images) == (288, 384, 795, 654)
    assert (e.epochs, e.batch_size, e.lr, e.schedule) == (400, 8, 1e-4, "step")
    (e,) = TABLES["table3"].row("one-label/Ours").experiments
    assert (e.height, e.width, e.train_images, e.test_images) == (128, 256, 2975, 500)
    assert (e.epochs, e.lr, e.schedule, e.backbone) == (400, 1e-4, "step", "segnet")
    assert e.method_args["depth_bins"] == e.teacher.method_args["depth_bins"] == 100
    (e,) = TABLES["table4"].row("one-label/Ours").experiments
    assert (e.train_images, e.test_images, e.backbone) == (4998, 5105, "resnet18")
    assert (e.batch_size, e.lr, e.weight_decay, e.schedule) == (6, 1e-4, 1e-4, "poly")
    assert e.epochs * (e.train_images // e.batch_size) == pytest.approx(20000, rel=1e-3)
    assert e.method_args["normal_centers"] == 40 and e.method_args["multi_scale"]


def test_every_table_of_the_paper_is_there():
    assert list(TABLES) == [f"table{n}" for n in range(1, 10)]
    assert not [row.name for table in TABLES.values() for row in table.rows if row.why_not_run]


def test_the_scales_are_the_only_difference_of_table_9():
    for group in ("one-label", "random-labels"):
        one, several = (
            TABLES["table9"].row(f"{group}/HiTTs ({kind})").experiments[0] for kind in ("SS", "MS")
        )
        assert not one.method_args["multi_scale"] and several.method_args["multi_scale"]
        assert one.replace(method_args=several.method_args) == several
        assert TABLES["table4"].row(f"{group}/Ours").experiments[0].teacher == several


def test_single_task_rows_train_one_network_a_task():
    for table, row in (("table1", "one-label/STL"), ("table5", "STL"), ("table5", "STL w. L_p*")):
        experiments = TABLES[table].row(row).experiments
        assert [e.tasks for e in experiments] == [("semseg",), ("depth",), ("normals",)]
        assert all(e.teacher is None or e.teacher.tasks == e.tasks for e in experiments)


def test_tables_share_runs_and_teachers():
    one, five, eight = (TABLES[name] for name in ("table1", "table5", "table8"))
    pairs = (("STL", "STL"), ("MTL baseline", "MTL baseline"), ("Ours", "HiTTs w. L_p + L_f"))
    for name1, name5 in pairs:
        row1, row5 = one.row(f"one-label/{name1}"), five.row(name5)
        assert row1.experiments == row5.experiments and row1.printed[:9] == row5.printed[:9]
    assert eight.row("Ours").experiments == one.row("one-label/Ours").experiments
    (plain,) = five.row("HiTTs").experiments
    for name in (hitts.L_F, hitts.L_P, hitts.BOTH):
        assert five.row(name).experiments[0].teacher == plain
    assert five.row("MTL w. L_p*").experiments[0].teacher == five.row("MTL baseline").experiments[0]
    runs = [e for row in five.rows for e in row.experiments]
    assert len({e.key for e in runs}) == len(runs) == 17
