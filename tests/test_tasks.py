"""What a task knows, and that a set of tasks keeps its order."""

import math

import pytest
import torch
import torch.nn.functional as F
from properties import (
    EVERY_TASK,
    TASKS,
    random_batch,
    random_mask,
    random_prediction,
    random_target,
)

from mtpsl import losses, metrics
from mtpsl.methods.base import supervised_terms
from mtpsl.tasks import (
    Task,
    TaskSet,
    depth,
    edges,
    human_parts,
    inverse_depth,
    normals,
    saliency,
    semseg,
)

FOR_EVERY_TASK = pytest.mark.parametrize("task", EVERY_TASK.values(), ids=EVERY_TASK.keys())


@FOR_EVERY_TASK
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


@FOR_EVERY_TASK
def test_metric_is_fresh_every_time(task: Task) -> None:
    generator = torch.Generator().manual_seed(0)
    used, prediction = task.metric(), random_prediction(task, 2, 8, generator)
    used.update(prediction, random_target(task, 2, 8, generator), random_mask(2, 8, generator))
    assert all(math.isnan(value) for value in task.metric().compute().values())


@FOR_EVERY_TASK
def test_columns_exist_and_hold_the_headline(task: Task) -> None:
    assert set(task.columns) <= metrics.COLUMNS.keys()
    assert task.headline in task.columns
    assert metrics.COLUMNS[task.headline].in_delta


@FOR_EVERY_TASK
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
    assert torch.equal(edges().activate(raw[:, :1]), raw[:, :1])


def test_gradient_of_a_zero_direction_is_finite() -> None:
    raw = torch.zeros(1, 3, 1, 1, requires_grad=True)
    normals().activate(raw).sum().backward()
    assert raw.grad.isfinite().all()


def test_direction_of_better() -> None:
    assert [t.higher_is_better for t in TASKS] == [True, False, False]


def test_augmentation_rules() -> None:
    """Depth shrinks when the image is magnified; a mirror turns the normals' x around."""
    assert [t.zoom_power for t in TASKS] == [0, -1, 0]
    assert inverse_depth().zoom_power == 1
    assert [t.flip_channel for t in TASKS] == [None, None, 0]
    assert [t.resize for t in TASKS] == ["nearest", "nearest", "bilinear"]


def test_tasks_of_pascal() -> None:
    parts, salient, edge = human_parts(), saliency(), edges()
    assert (parts.channels, parts.target_channels, len(parts.class_names)) == (7, 1, 7)
    assert parts.class_names[0] == "background"
    for task in (salient, edge):
        assert (task.kind, task.channels, task.target_channels) == ("binary", 1, 1)
        assert task.target_dtype == torch.float32 and task.higher_is_better


def test_a_task_has_one_saliency_metric() -> None:
    """The two lineages never share a column, so no result may hold both."""
    generator = torch.Generator().manual_seed(0)
    for argument, column in (("miou", "sal_miou"), ("max_f", "max_f")):
        task = saliency(argument)
        assert (task.headline, task.columns) == (column, (column,))
        metric = task.metric()
        maps = (make(task, 2, 8, generator) for make in (random_prediction, random_target))
        metric.update(*maps, random_mask(2, 8, generator))
        assert metric.compute().keys() == {column}
    with pytest.raises(ValueError, match="metric: expected one of .*'miou'.* got 'iou'"):
        saliency("iou")


def test_loss_of_normals_is_an_argument() -> None:
    assert normals().loss is losses.cosine and normals("l1").loss is losses.l1
    with pytest.raises(ValueError, match="loss: expected one of .* got 'l2'"):
        normals("l2")


def test_classes_are_names_or_their_number() -> None:
    assert semseg(3).channels == 3 and semseg(3).class_names == ("0", "1", "2")
    assert semseg(["wall", "floor"]).class_names == ("wall", "floor")
    assert semseg(3).metric().num_classes == 3
    with pytest.raises(ValueError, match="classes: expected names, or how many at least 1, got 0"):
        semseg(0)


def test_weights_multiply_the_supervised_terms() -> None:
    plain = TaskSet((semseg(tuple("abc")), human_parts(), saliency(), edges(), normals("l1")))
    weights = (1.0, 2.0, 5.0, 50.0, 10.0)
    heavy = TaskSet(
        (
            semseg(tuple("abc"), weight=1.0),
            human_parts(weight=2.0),
            saliency(weight=5.0),
            edges(weight=50.0),
            normals("l1", weight=10.0),
        )
    )
    assert all(t.weight == 1 for t in plain)
    batch = random_batch(plain, images=5)
    generator = torch.Generator().manual_seed(1)
    predictions = {t.name: random_prediction(t, 5, 32, generator) for t in plain}
    light = supervised_terms(plain, predictions, batch)
    weighted = supervised_terms(heavy, predictions, batch)
    for (name, value), weight in zip(light.items(), weights, strict=True):
        assert value > 0 and weighted[name].item() == pytest.approx(weight * value.item())


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
