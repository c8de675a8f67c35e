"""Profiles scale an experiment and leave alone what a table compares."""

import dataclasses

import pytest

from mtpsl.papers.hitts import tables as hitts_tables
from mtpsl.papers.hitts.tables import hitts, ours
from mtpsl.papers.xtc import tables as xtc
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.profiles import (
    PROFILES,
    QUICK,
    QUICK_SHAPES,
    SMOKE,
    SMOKE_SHAPES,
    STAGES,
    get_profile,
)

COMPARED = (
    "dataset", "data_version", "tasks", "label_setting", "label_args", "label_seed", "backbone",
    "method", "method_args", "weighting", "weighting_args", "augmentation", "flip",
    "select", "seed", "numerics",
)  # fmt: skip
TABLES = (*hitts_tables.TABLES.values(), *xtc.TABLES.values())
SIZES = [(SMOKE, {}), (QUICK, {})]
SIZES += [(SMOKE, shape) for shape in SMOKE_SHAPES.values()]
SIZES += [(QUICK, shape) for shape in QUICK_SHAPES.values()]


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.paper}-{table.name}")
def test_what_a_table_compares_is_left_alone(name, table):
    for row in table.rows:
        for experiment in row.experiments:
            scaled = get_profile(name)(experiment)
            for field in COMPARED:
                assert getattr(scaled, field) == getattr(experiment, field)
            added = scaled.backbone_args.items() - experiment.backbone_args.items()
            stages = scaled.backbone == "segnet" and name != "full"
            assert added == ({("stages", STAGES)} if stages else set())
            assert (scaled.teacher is None) == (experiment.teacher is None)
            assert scaled.thresholds.keys() == experiment.thresholds.keys()


@pytest.mark.parametrize("name", PROFILES)
def test_a_teacher_stays_the_run_of_its_own_row(name):
    """The plain HiTTs row is trained once and teaches the others."""
    profile = get_profile(name)
    assert profile(ours("one_label")).with_seed(2).teacher == profile(hitts("one_label")).with_seed(
        2
    )


@pytest.mark.parametrize("name", ["smoke", "quick"])
def test_young_networks_are_asked_for_a_share_not_for_a_confidence(name):
    assert set(get_profile(name)(ours("one_label")).thresholds.values()) == {"50%"}


def test_full_is_the_paper():
    experiment = ours("random_labels")
    assert get_profile("full")(experiment) == experiment


@pytest.mark.parametrize(("common", "shape"), SIZES)
def test_sizes_fit_the_backbones(common, shape):
    changes = common | shape
    assert changes["height"] % 32 == changes["width"] % 32 == 0
    assert set(changes) <= {field.name for field in dataclasses.fields(Experiment)}
    assert changes["train_images"] % changes["batch_size"] == 0


@pytest.mark.parametrize(("name", "pixel"), [("streets7", 0.80), ("people21", 1.10)])
def test_another_data_set_costs_about_as_much(name, pixel):
    """``pixel``: the time it takes to learn from one, beside rooms13's 1; measured on one core."""

    def pixels(changes):
        seen = changes["train_images"] * changes["epochs"]
        return changes["height"] * changes["width"] * seen

    assert set(SMOKE_SHAPES) == set(QUICK_SHAPES)
    assert 0.7 < pixel * pixels(QUICK | QUICK_SHAPES[name]) / pixels(QUICK) < 1.7


def test_only_its_own_data_set_has_a_shape():
    quick = get_profile("quick")
    for protocol in (xtc.NYUD, xtc.CITYSCAPES, xtc.PASCAL):
        scaled = quick(protocol).to_dict()
        expected = QUICK | QUICK_SHAPES.get(protocol.dataset, {})
        assert {name: scaled[name] for name in expected} == expected
    assert (quick(xtc.NYUD).height, quick(xtc.NYUD).width) == (64, 96)
    assert (quick(xtc.CITYSCAPES).height, quick(xtc.CITYSCAPES).width) == (64, 128)


def test_learning_curves_keep_their_number_of_points():
    experiment = Experiment(epochs=400, eval_every=40)
    quick = get_profile("quick")(experiment)
    assert quick.eval_every == max(1, round(quick.epochs / 10))
    assert get_profile("smoke")(experiment).eval_every == 1
    assert get_profile("smoke")(Experiment()).eval_every == 0


def test_unknown_profile_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'quick'"):
        get_profile("quik")
