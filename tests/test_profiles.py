"""Profiles scale an experiment and leave alone what a table compares."""

import dataclasses

import pytest

from mtpsl.experiments.hitts import TABLES, hitts, ours
from mtpsl.experiments.profiles import PROFILES, QUICK, SMOKE, get_profile
from mtpsl.experiments.spec import Experiment

COMPARED = (
    "dataset", "data_version", "tasks", "label_setting", "label_args", "label_seed", "backbone",
    "method", "method_args", "select", "seed", "numerics",
)  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_what_a_table_compares_is_left_alone(name, table):
    for row in table.rows:
        for experiment in row.experiments:
            scaled = get_profile(name)(experiment)
            for field in COMPARED:
                assert getattr(scaled, field) == getattr(experiment, field)
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


@pytest.mark.parametrize("changes", [SMOKE, QUICK], ids=["smoke", "quick"])
def test_sizes_fit_the_backbone(changes):
    assert changes["height"] % 32 == changes["width"] % 32 == 0
    assert set(changes) <= {field.name for field in dataclasses.fields(Experiment)}
    assert changes["train_images"] % changes["batch_size"] == 0


def test_learning_curves_keep_their_number_of_points():
    experiment = Experiment(epochs=400, eval_every=40)
    quick = get_profile("quick")(experiment)
    assert quick.eval_every == max(1, round(quick.epochs / 10))
    assert get_profile("smoke")(experiment).eval_every == 1
    assert get_profile("smoke")(Experiment()).eval_every == 0


def test_unknown_profile_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'quick'"):
        get_profile("quik")
