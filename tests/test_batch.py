"""Batches from a data loader of one's own, and what a student may see of discoveries."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from properties import EVERY_TASK, TASKS, random_batch, random_mask, random_target

from mtpsl.batch import Batch, Discovered
from mtpsl.losses import IGNORE_INDEX
from mtpsl.methods.base import supervised_terms
from mtpsl.tasks import Task, TaskSet, depth, normals, semseg

THREE = TaskSet((semseg(3), depth(), normals()))
IMAGES = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))


def unit_vectors(*shape: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-3)


def test_whole_tensors_lists_and_nothing() -> None:
    ids = torch.randint(0, 3, (2, 4, 6), dtype=torch.uint8)
    ids[0, 0, 0] = IGNORE_INDEX
    normal = unit_vectors(3, 4, 6)
    normal[1, 2, 3] = math.nan  # one component: the vector says nothing
    batch = Batch.from_targets(
        IMAGES, {"semseg": ids, "depth": None, "normals": [None, normal]}, THREE
    )
    assert {n: rows.tolist() for n, rows in batch.labeled.items()} == {
        "semseg": [True, True], "depth": [False, False], "normals": [False, True]}  # fmt: skip
    assert batch.targets["semseg"].dtype == torch.int64
    assert torch.equal(batch.targets["semseg"][:, 0], ids.long())
    assert batch.targets["depth"].shape == (2, 1, 4, 6) and batch.targets["depth"].isnan().all()
    assert batch.targets["normals"][0].isnan().all()
    assert batch.targets["normals"][1, :, 2, 3].isnan().all()
    assert batch.valid["semseg"].sum() == 47 and not batch.valid["semseg"][0, 0, 0, 0]
    assert batch.valid["normals"].flatten(1).sum(dim=1).tolist() == [0, 23]
    assert torch.equal(batch.mask("normals"), batch.valid["normals"])
    assert batch.index.tolist() == [0, 1] and batch.images is IMAGES


def test_numbers_of_images_arrays_and_tasks_that_are_left_out() -> None:
    meters = np.ones((4, 6), dtype=np.float64)
    batch = Batch.from_targets(IMAGES, {"depth": [meters, None]}, THREE, index=torch.tensor([7, 9]))
    assert batch.index.tolist() == [7, 9]
    assert batch.targets["depth"].dtype == torch.float32
    assert batch.labeled["depth"].tolist() == [True, False]
    assert not batch.labeled["semseg"].any()
    assert (batch.targets["semseg"] == IGNORE_INDEX).all()


@pytest.mark.parametrize("task", EVERY_TASK.values(), ids=EVERY_TASK.keys())
def test_a_map_of_holes_is_no_label_and_the_callers_tensor_stays(task: Task) -> None:
    generator = torch.Generator().manual_seed(0)
    label = random_target(task, 3, 8, generator)
    mask = random_mask(3, 8, generator)
    mask[1] = False
    label = torch.where(mask, label, task.fill_missing(label))
    before = label.clone()
    batch = Batch.from_targets(torch.rand(3, 3, 8, 8), {task.name: label}, TaskSet((task,)))
    assert batch.labeled[task.name].tolist() == [True, False, True]
    assert torch.equal(batch.valid[task.name], mask)
    torch.testing.assert_close(batch.targets[task.name], label, equal_nan=True)
    batch.targets[task.name].zero_()
    torch.testing.assert_close(label, before, equal_nan=True)


def test_it_is_the_batch_that_a_data_set_gives() -> None:
    expected = random_batch(images=6)
    targets = {
        n: [m if on else None for m, on in zip(maps, expected.labeled[n], strict=True)]
        for n, maps in expected.targets.items()
    }
    batch = Batch.from_targets(expected.images, targets, TASKS)
    for n in TASKS.names:
        torch.testing.assert_close(batch.targets[n], expected.targets[n], equal_nan=True)
        assert torch.equal(batch.valid[n], expected.valid[n])
        assert torch.equal(batch.labeled[n], expected.labeled[n])


def test_a_loss_that_leaks_is_nan() -> None:
    batch = Batch.from_targets(IMAGES, {"depth": [torch.ones(4, 6), None]}, THREE)
    prediction = {t.name: torch.zeros(2, t.channels, 4, 6) for t in THREE}
    terms = supervised_terms(THREE, prediction, batch)
    assert {n: float(v) for n, v in terms.items()} == {"semseg": 0, "depth": 0.5, "normals": 0}
    assert (prediction["depth"] - batch.targets["depth"]).abs().mean().isnan()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"dept": None}, r"targets: expected tasks \('semseg', 'depth', 'normals'\), got 'dept'"),
        ({"depth": torch.ones(2, 1, 4, 5)}, r"depth: .*shape \(1, 4, 6\), got \(1, 4, 5\); give"),
        ({"normals": torch.ones(2, 4, 6)}, r"normals: .*shape \(3, 4, 6\), got \(4, 6\)"),
        ({"depth": [torch.ones(4, 6)]}, "depth: expected 2 maps, got 1; give None"),
        ({"semseg": torch.zeros(2, 4, 6)}, "semseg: expected integer class ids, got torch.float32"),
        ({"semseg": torch.full((2, 4, 6), 3)}, r"semseg: .*ids in \[0, 3\), 255 for none, got 3;"),
        ({"semseg": torch.full((2, 4, 6), -1)}, "semseg: .*got -1"),
        ({"depth": torch.zeros(2, 4, 6)}, "depth: expected positive numbers, NaN for none, got 0"),
        ({"normals": torch.zeros(2, 3, 4, 6)}, r"normals: expected vectors .*\(0.0, 0.0, 0.0\)"),
    ],
)
def test_labels_that_do_not_fit_are_named(targets: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batch.from_targets(IMAGES, targets, THREE)


@pytest.mark.parametrize(
    "images", [torch.rand(2, 4, 6, 3), torch.zeros(2, 3, 4, 6, dtype=torch.uint8), IMAGES[0]]
)
def test_images_that_do_not_fit_are_named(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"images: expected float \(B, 3, H, W\), got"):
        Batch.from_targets(images, {}, THREE)
    with pytest.raises(ValueError, match=r"index: expected shape \(2,\), got \(3,\)"):
        Batch.from_targets(IMAGES, {}, THREE, index=torch.arange(3))


def test_discoveries_never_replace_a_label() -> None:
    batch = random_batch(images=3)  # image i has the label of task i alone
    generator = torch.Generator().manual_seed(1)
    accepted = {t.name: random_mask(3, 32, generator) for t in TASKS}
    everywhere = Discovered(
        targets={t.name: random_target(t, 3, 32, generator) for t in TASKS},
        valid=accepted,
        features={n: torch.rand(3, 2, 4, 4) for n in TASKS.names},
        confidence={n: torch.rand(3, 1, 4, 4) for n in TASKS.names},
    )
    seen = replace(batch, discovered=everywhere.withhold(batch)).discovered
    for row, t in enumerate(TASKS):
        unlabeled = torch.arange(3) != row
        target, found = seen.targets[t.name], everywhere.targets[t.name]
        assert not seen.valid[t.name][row].any()
        assert torch.equal(seen.valid[t.name][unlabeled], accepted[t.name][unlabeled])
        torch.testing.assert_close(target[row], t.fill_missing(found[row]), equal_nan=True)
        assert torch.equal(target[unlabeled], found[unlabeled])
    assert seen.features is everywhere.features and seen.confidence is everywhere.confidence
