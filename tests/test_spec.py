"""Experiments are values: equal ones have equal keys, today, tomorrow and elsewhere."""

import hashlib
import json
import math

import pytest

from mtpsl.report.tables import Claim, Row, Table
from mtpsl.runs.experiment import Experiment

PLAIN = Experiment(numerics=1)
STUDENT = PLAIN.replace(
    method="hitts",
    method_args={"pseudo_labels": True, "pseudo_features": True},
    thresholds={"semseg": 0.9, "depth": 0.45},
    teacher=PLAIN.replace(method="hitts"),
)


def test_golden_keys():
    """A changed key orphans every recorded result: change these only on purpose."""
    assert PLAIN.key == "0b00c4344247"
    assert STUDENT.key == "4e5fea57f49f"


def test_defaults_never_change():
    """Keys are made of what differs from them; a new field only adds to this list."""
    defaults = Experiment(numerics=0).to_dict()
    added = {
        "weighting": "uniform",
        "weighting_args": {},
        "backbone_args": {},
        "augmentation": "scale_crop",
        "data_args": {},
        "score_size": None,
        "select_reference": {},
        "clip": 0.0,
        "regions": "",
        "region_args": {},
        "region_version": "",
        "protocol": "",
    }
    assert {name: defaults.pop(name) for name in added} == added
    text = json.dumps(defaults, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "4a3ae5f94c8f"


def test_equal_experiments_have_equal_keys():
    again = PLAIN.replace(
        method="hitts",
        method_args={"pseudo_features": True, "pseudo_labels": True},  # another order
        thresholds={"depth": 0.45, "semseg": 0.9},
        teacher=PLAIN.replace(method="hitts"),
    )
    assert again == STUDENT and again.key == STUDENT.key
    assert len({again, STUDENT}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"lr": 2e-4},
        {"tasks": ("depth", "semseg", "normals")},
        {"data_version": "2"},
        {"numerics": 2},
        {"weighting": "dwa"},
        {"weighting_args": {"temperature": 1.0}},
        {"thresholds": {"semseg": 0.8, "depth": 0.45}},
        {"teacher": PLAIN.replace(method="hitts", seed=1)},
        {"teacher": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_decides_a_number_changes_the_key(changes):
    assert STUDENT.replace(**changes).key != STUDENT.key


def test_round_trip_through_json():
    again = Experiment.from_dict(json.loads(json.dumps(STUDENT.to_dict())))
    assert again == STUDENT and again.key == STUDENT.key
    assert again.teacher == STUDENT.teacher and isinstance(again.tasks, tuple)


def test_unknown_field_is_named():
    with pytest.raises(ValueError, match="learning_rate"):
        Experiment.from_dict({"learning_rate": 1e-4})


def test_with_seed_takes_the_teacher_along():
    other = STUDENT.with_seed(3)
    assert (other.seed, other.teacher.seed) == (3, 3)
    assert other.replace(seed=0, teacher=STUDENT.teacher) == STUDENT


def test_row_by_name():
    row = Row(name="a", label="A", experiments=(PLAIN,))
    table = Table(
        name="t", paper="p", title="", source="", columns=(), rows=(row,),
        claims=(Claim(text="", better="a", worse="a"),),
    )  # fmt: skip
    assert table.row("a") is row
    with pytest.raises(KeyError, match="'b'"):
        table.row("b")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("select", "best"),
        ("precision", "fp16"),
        ("augmentation", "rotate"),
        ("schedule", "linear"),
        ("label_setting", "some"),
        ("epochs", 0),
        ("epochs", "3"),
        ("batch_size", 1.5),
        ("accumulate", 0),
        ("seed", "a"),
        ("average_last", 3.0),
        ("clip", -1.0),
        ("clip", True),
        ("clip", math.nan),
        ("augment", "false"),
        ("tasks", ["depth", "depth"]),
        ("tasks", []),
        ("method_args", None),
        ("dataset", 5),
    ],
)
def test_what_a_field_cannot_hold_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"expected {field} to be .*, got"):
        Experiment.from_dict({field: value})


def test_a_list_is_no_experiment() -> None:
    with pytest.raises(ValueError, match="an object of fields"):
        Experiment.from_dict([])
