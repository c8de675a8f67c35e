"""What a task knows, and that a set of tasks keeps its order."""

import math

import pytest
import torch
import torch.nn.functional as F
from properties import TASKS, random_mask, random_prediction, random_target

from mtpsl import losses, metrics
from mtpsl.tasks import Task, TaskSet, depth, normals, semseg

EVERY_TASK = pytest.mark.parametrize("task", TASKS.tasks, ids=lambda t: t.name)


@EVERY_TASK
def test_loss_and_metric_accept_an_activated_prediction(task: Task) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = random_prediction(task, 2, 8, generator)
    target = random_target(task, 2, 8, generator)
    mask = random_mask(2, 8, generator)
    assert target.dtype == task.target_dtype and target.shape[1] == task.target_channels
    assert task.loss(prediction, target, mask).shape == (2,)
    metric = task.metric()
    metric.update(prediction, target, mask)
    assert set(task.columns) <= metric.compute().keys()


@EVERY_TASK
def test_metric_is_fresh_every_time(task: Task) -> None:
    generator = torch.Generator().manual_seed(0)
    used, prediction = task.metric(), random_prediction(task, 2, 8, generator)
    used.update(prediction, random_target(task, 2, 8, generator), random_mask(2, 8, generator))
    assert all(math.isnan(value) for value in task.metric().compute().values())


@EVERY_TASK
def test_columns_exist_and_hold_the_headline(task: Task) -> None:
    assert set(task.columns) <= metrics.COLUMNS.keys()
    assert task.headline in task.columns
    assert all(metrics.COLUMNS[column].in_delta for column in task.columns)


@EVERY_TASK
def test_missing_target_says_nothing(task: Task) -> None:
    generator = torch.Generator().manual_seed(0)
    target = random_target(task, 2, 8, generator)
    missing = task.fill_missing(target)
    assert missing.shape == target.shape and missing.dtype == task.target_dtype
    if task.kind == "classes":
        assert (missing == losses.IGNORE_INDEX).all()
    else:
        assert missing.isnan().all()


def test_directions_become_unit_vectors_and_the_rest_stays() -> None:
    raw = torch.tensor([3.0, 0.0, -4.0]).view(1, 3, 1, 1)
    assert normals().activate(raw).flatten().tolist() == pytest.approx([0.6, 0.0, -0.8])
    assert torch.equal(depth().activate(raw[:, :1]), raw[:, :1])
    assert torch.equal(semseg(tuple("abc")).activate(raw), raw)


def test_gradient_of_a_zero_direction_is_finite() -> None:
    raw = torch.zeros(1, 3, 1, 1, requires_grad=True)
    normals().activate(raw).sum().backward()
    assert raw.grad.isfinite().all()


def test_direction_of_better() -> None:
    assert [t.higher_is_better for t in TASKS] == [True, False, False]


def test_augmentation_rules() -> None:
    """Depth shrinks when the image is magnified; a mirror turns the normals' x around."""
    assert [t.divide_by_zoom for t in TASKS] == [False, True, False]
    assert [t.flip_channel for t in TASKS] == [None, None, 0]
    assert [t.resize for t in TASKS] == ["nearest", "nearest", "bilinear"]


def test_segmentation_takes_its_size_from_its_class_names() -> None:
    task = semseg(("floor", "wall", "chair"))
    assert (task.channels, task.target_channels) == (3, 1)
    result = task.metric()
    result.update(
        F.one_hot(torch.tensor([[[0, 1, 2]]]), 3).movedim(3, 1).float(),
        torch.tensor([[[[0, 1, 2]]]]),
        torch.ones(1, 1, 1, 3, dtype=torch.bool),
    )
    assert result.compute() == {"miou": 1.0, "pixel_acc": 1.0}


def test_set_keeps_its_order_and_finds_by_name() -> None:
    assert TASKS.names == ("semseg", "depth", "normals")
    assert [t.name for t in TASKS] == list(TASKS.names) and len(TASKS) == 3
    assert TASKS["depth"].unit == "m"
    assert TASKS.subset(("normals", "semseg")).names == ("normals", "semseg")


def test_unknown_task_is_named() -> None:
    with pytest.raises(KeyError, match="expected one of .*'semseg'.* got 'edges'"):
        TASKS["edges"]
    with pytest.raises(KeyError, match="got 'edges'"):
        TASKS.subset(("semseg", "edges"))


def test_ordered_pairs() -> None:
    pairs = [(source.name, target.name) for source, target in TASKS.pairs()]
    assert len(pairs) == 6 and len(set(pairs)) == 6
    assert all(source != target for source, target in pairs)
    assert pairs[:2] == [("semseg", "depth"), ("semseg", "normals")]
    assert list(TaskSet((depth(),)).pairs()) == []
