"""Golden values by hand on 2x2 maps, and the shared properties over every task's loss."""

import math

import pytest
import torch
import torch.nn.functional as F
from properties import (
    EVERY_TASK,
    TASKS,
    assert_loss_halves_sum_to_the_whole,
    assert_loss_ignores_masked_targets,
    assert_loss_is_per_image,
    assert_loss_of_nothing_is_zero,
    loss_and_gradient,
    random_mask,
    random_prediction,
    random_target,
)
from torch import Tensor

from mtpsl.losses import (
    IGNORE_INDEX,
    balanced_bce,
    cosine,
    cross_entropy,
    l1,
    per_image_mean,
)
from mtpsl.tasks import Task

NAN = math.nan
FOR_EVERY_TASK = pytest.mark.parametrize("task", EVERY_TASK.values(), ids=EVERY_TASK.keys())


def plane(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 2, 2)


def material(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = (make(task, 4, 8, generator) for make in (random_prediction, random_target))
    return *maps, random_mask(4, 8, generator)


# --- golden values ----------------------------------------------------------------------------


def test_l1_by_hand() -> None:
    mask = torch.tensor([True, True, True, False]).view(1, 1, 2, 2)
    prediction, target = plane(1.0, 3.0, 2.5, 7.0), plane(2.0, 1.0, 2.0, NAN)
    value, gradient = loss_and_gradient(l1, prediction, target, mask)
    assert value.tolist() == pytest.approx([3.5 / 3])
    torch.testing.assert_close(gradient, plane(-1 / 3, 1 / 3, 1 / 3, 0.0))


def test_l1_averages_over_channels_too() -> None:
    prediction = torch.stack([torch.zeros(2, 2), torch.ones(2, 2)]).unsqueeze(0)  # (1, 2, 2, 2)
    mask = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert l1(prediction, torch.zeros(1, 2, 2, 2), mask).tolist() == [0.5]


def test_cosine_by_hand() -> None:
    def unit(x: float, y: float, z: float) -> Tensor:
        return torch.tensor([x, y, z], dtype=torch.float32).view(1, 3, 1, 1)

    forward = unit(0, 0, -1)
    same, opposite, right = forward, unit(0, 0, 1), unit(1, 0, 0)
    slanted = unit(0.6, 0, -0.8)
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    values = [cosine(n, forward, mask).item() for n in (same, opposite, right, slanted)]
    assert values == pytest.approx([0.0, 2.0, 1.0, 0.2])
    nowhere = torch.cat([forward, torch.full_like(forward, NAN)], dim=3)
    half = torch.tensor([True, False]).view(1, 1, 1, 2)
    assert cosine(torch.cat([slanted, right], dim=3), nowhere, half).item() == pytest.approx(0.2)


def test_cross_entropy_by_hand() -> None:
    """Logits 0 and log 3: probabilities 1/4 and 3/4."""
    prediction = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    target = torch.tensor([0, 1, 1, IGNORE_INDEX]).view(1, 1, 2, 2)
    mask = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    value, gradient = loss_and_gradient(cross_entropy, prediction, target, mask)
    assert value.item() == pytest.approx((math.log(4) + 2 * math.log(4 / 3)) / 3)
    expected = torch.tensor([[[-0.75, 0.25], [0.25, 0.0]], [[0.75, -0.25], [-0.25, 0.0]]]) / 3
    torch.testing.assert_close(gradient, expected.unsqueeze(0))


def test_l1_of_normals_is_a_mean_over_elements() -> None:
    """Per pixel, it would be three times as large."""
    right = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    forward = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    assert EVERY_TASK["normals l1"].loss(right, forward, mask).item() == pytest.approx(2 / 3)


def test_fixed_balance_by_hand() -> None:
    """Logit log 3, probability 3/4: a positive costs log 4/3, a negative log 4."""
    target, mask = plane(1.0, 0.0, 0.0, NAN), torch.tensor([1, 1, 1, 0]).view(1, 1, 2, 2).bool()
    prediction = torch.full((1, 1, 2, 2), math.log(3))
    value, gradient = loss_and_gradient(EVERY_TASK["edges"].loss, prediction, target, mask)
    expected = (0.95 * math.log(4 / 3) + 0.05 * 2 * math.log(4)) / 3
    assert value.item() == pytest.approx(expected)
    by_hand = plane(-0.95 * 0.25, 0.05 * 0.75, 0.05 * 0.75, 0.0) / 3
    torch.testing.assert_close(gradient, by_hand)


def test_balance_of_the_image_by_hand() -> None:
    """Two of three usable pixels are negative: the positive weighs 2/3, each negative 1/3."""
    target, mask = plane(1.0, 0.0, 0.0, NAN), torch.tensor([1, 1, 1, 0]).view(1, 1, 2, 2).bool()
    prediction = torch.full((1, 1, 2, 2), math.log(3))
    expected = (2 / 3 * math.log(4 / 3) + 1 / 3 * 2 * math.log(4)) / 3
    assert balanced_bce(prediction, target, mask).item() == pytest.approx(expected)
    at_zero = balanced_bce(torch.zeros(1, 1, 2, 2), target, mask)
    assert at_zero.item() == pytest.approx((2 / 3 + 2 / 3) * math.log(2) / 3)  # both sides alike


def test_one_sided_images_are_not_balanced() -> None:
    prediction, mask = plane(3.0, -1.0, 0.5, 2.0), torch.ones(1, 1, 2, 2, dtype=torch.bool)
    for answer in (0.0, 1.0):
        value, gradient = loss_and_gradient(
            balanced_bce, prediction, torch.full_like(prediction, answer), mask
        )
        assert value.item() == 0 and not gradient.any()


def test_half_and_half_is_the_usual_cross_entropy() -> None:
    prediction, target, mask = material(EVERY_TASK["edges"])
    half = balanced_bce(prediction, target, mask, positive_weight=0.5)
    whole = F.binary_cross_entropy_with_logits(prediction[1][mask[1]], target[1][mask[1]])
    assert half[1].item() == pytest.approx(whole.item() / 2)


def test_large_logits_do_not_overflow() -> None:
    prediction = torch.tensor([[1e4, -1e4]]).view(1, 1, 1, 2)
    target = torch.tensor([[0.0, 1.0]]).view(1, 1, 1, 2)
    mask = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    assert balanced_bce(prediction, target, mask).item() == pytest.approx(0.5 * 1e4)


def test_ignored_pixels_leave_the_denominator() -> None:
    """A void pixel inside the mask counts neither above nor below the fraction line."""
    prediction = torch.zeros(1, 4, 2, 2)
    target = torch.tensor([1, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX]).view(1, 1, 2, 2)
    mask = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert cross_entropy(prediction, target, mask).item() == pytest.approx(math.log(4))
    nothing = torch.full_like(target, IGNORE_INDEX)
    value, gradient = loss_and_gradient(cross_entropy, prediction, nothing, mask)
    assert value.item() == 0 and not gradient.any()


def test_images_weigh_the_same_whatever_their_masks() -> None:
    error = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]], [[[5.0, 0.0], [0.0, 0.0]]]])
    mask = torch.tensor([[[[1, 1], [1, 1]]], [[[1, 0], [0, 0]]]]).bool()
    assert per_image_mean(error, mask).tolist() == [1.0, 5.0]


# --- properties -------------------------------------------------------------------------------


@FOR_EVERY_TASK
def test_masked_targets_never_reach_value_or_gradient(task: Task) -> None:
    assert_loss_ignores_masked_targets(task.loss, *material(task), task.missing)


@FOR_EVERY_TASK
def test_empty_mask_gives_zero(task: Task) -> None:
    assert_loss_of_nothing_is_zero(task.loss, *material(task), task.missing)


@FOR_EVERY_TASK
def test_images_do_not_look_at_each_other(task: Task) -> None:
    assert_loss_is_per_image(task.loss, *material(task))


@FOR_EVERY_TASK
def test_halves_sum_to_the_whole(task: Task) -> None:
    if task.loss is balanced_bce:
        pytest.skip("its weights are those of the whole image")
    assert_loss_halves_sum_to_the_whole(task.loss, *material(task))


@FOR_EVERY_TASK
def test_disagreeing_shapes_are_named(task: Task) -> None:
    prediction, target, mask = material(task)
    with pytest.raises(ValueError, match="^prediction: expected the target's shape"):
        task.loss(prediction[..., :4], target, mask)
    with pytest.raises(ValueError, match="^mask: expected bool"):
        task.loss(prediction, target, mask.float())
    with pytest.raises(ValueError, match=r"^mask: expected bool \(4, 1, 8, 8\)"):
        task.loss(prediction, target, mask[:1])


# --- the properties can fail ------------------------------------------------------------------


def masked_too_late(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The classical slip: the value is right, the gradient is NaN."""
    error = torch.where(mask, (prediction - target).square(), 0.0)
    return error.sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp(min=1)


def mean_over_all_pixels(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    return ((prediction - target.masked_fill(~mask, 0)).abs() * mask).mean(dim=(1, 2, 3))


def unguarded_mean(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    error = (prediction - target.masked_fill(~mask, 0)).abs() * mask
    return error.sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))


def balanced_over_the_batch(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    share = 1 - target[mask].mean().item()
    return balanced_bce(prediction, target, mask, positive_weight=share)


def test_properties_find_seeded_defects() -> None:
    maps = material(TASKS["depth"])
    with pytest.raises(AssertionError, match="a hidden target made it NaN"):
        assert_loss_ignores_masked_targets(masked_too_late, *maps, NAN)
    with pytest.raises(AssertionError, match="not close"):
        assert_loss_halves_sum_to_the_whole(mean_over_all_pixels, *maps)
    with pytest.raises(AssertionError, match="not close"):
        assert_loss_is_per_image(balanced_over_the_batch, *material(EVERY_TASK["saliency"]))
    with pytest.raises(AssertionError, match="an empty mask did not give exactly 0"):
        assert_loss_of_nothing_is_zero(unguarded_mean, *maps, NAN)
