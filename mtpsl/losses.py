"""Supervised losses for dense prediction when labels are missing.

Every loss is a function ``loss(prediction, target, mask) -> (B,)``, one number per image: a mean
over its usable pixels, exactly 0 and with zero gradient for an image without one. ``mask`` (B, 1,
H, W) bool marks the *usable* pixels: the image is labeled for the task and the annotation is valid
there (``Batch.mask``). Targets may hold anything outside the mask, NaN included. A loss raises
ValueError if the three shapes do not agree. How images are averaged is the method's business
(``methods.base.supervised_terms``).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE_INDEX = 255  # class id of a pixel without a label, in every dataset of this package


def l1(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Computes the mean absolute error, the depth loss [XTC, Sec. 4] and one of those for normals.

    For unit normals, the mean over three channels: a third of ``l1_sum``.

    Args:
        prediction: (B, C, H, W) float, in the unit of ``target`` (NYUD-v2 depth: meters).
        target: (B, C, H, W) float.

    Returns:
        (B,), means over channels too.
    """
    _check(prediction, target, mask)
    # Fill first: where(mask, (p - nan)**2, 0) has a NaN gradient.
    error = (prediction - target.masked_fill(~mask, 0.0)).abs()
    return per_image_mean(error, mask)


def l1_sum(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Computes the absolute error summed over channels, the loss of normals of DiffusionMTL.

    Args:
        prediction: (B, C, H, W) float, in the unit of ``target``.
        target: (B, C, H, W) float.

    Returns:
        (B,), means over pixels.
    """
    return prediction.shape[1] * l1(prediction, target, mask)


def cosine(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Computes one minus the cosine similarity, the surface-normal loss [XTC, Sec. 4].

    Args:
        prediction: (B, 3, H, W) float, unit length along dim 1 (the network normalizes).
        target: (B, 3, H, W) float, unit length along dim 1.

    Returns:
        (B,) in [0, 2].
    """
    _check(prediction, target, mask)
    similarity = (prediction * target.masked_fill(~mask, 0.0)).sum(dim=1, keepdim=True)
    return per_image_mean(1 - similarity, mask)


def cross_entropy(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Computes the pixel-wise cross-entropy, the segmentation loss [XTC, Sec. 4].

    Args:
        prediction: (B, K, H, W) float logits.
        target: (B, 1, H, W) int64 class ids, ``IGNORE_INDEX`` where there is none.

    Returns:
        (B,) in nats.
    """
    _check(prediction[:, :1], target, mask)
    usable = mask & (target != IGNORE_INDEX)
    target = target.masked_fill(~usable, IGNORE_INDEX).squeeze(1)
    error = F.cross_entropy(prediction, target, ignore_index=IGNORE_INDEX, reduction="none")
    return per_image_mean(error.unsqueeze(1), usable)


def balanced_bce(
    prediction: Tensor, target: Tensor, mask: Tensor, *, positive_weight: float | None = None
) -> Tensor:
    """Computes the cross-entropy of a yes-or-no map with weighted answers, for rare positives.

    A mean over all usable pixels, not over the sum of the weights, as in the protocol that [XTC]
    follows on PASCAL-Context. There the share of negatives is taken over a batch; here over each
    image, so that an image's loss does not depend on its neighbors.

    Args:
        prediction: (B, 1, H, W) float logits.
        target: (B, 1, H, W) float, 1 or 0.
        positive_weight: In [0, 1], of the positives; the negatives get the rest. None: the
            image's share of negatives, as in HED, which makes both sides weigh the same. An
            image with positives alone, or negatives alone, then has loss 0.

    Returns:
        (B,) in nats.
    """
    _check(prediction, target, mask)
    target = target.masked_fill(~mask, 0.0)
    if positive_weight is None:
        positive = per_image_mean(1 - target, mask).view(-1, 1, 1, 1)
    else:
        positive = torch.full_like(target[:, :, :1, :1], positive_weight)
    weight = torch.lerp(1 - positive, positive, target)
    error = F.binary_cross_entropy_with_logits(prediction, target, reduction="none")
    return per_image_mean(weight * error, mask)


def per_image_mean(error: Tensor, mask: Tensor) -> Tensor:
    """(B, C, H, W), (B, 1, H, W) bool -> (B,): mean over usable pixels and channels, 0 if none."""
    usable = mask.sum(dim=(1, 2, 3)) * error.shape[1]
    return (error * mask).sum(dim=(1, 2, 3)) / usable.clamp(min=1)


def _check(prediction: Tensor, target: Tensor, mask: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction: expected the target's shape {tuple(target.shape)}, "
            f"got {tuple(prediction.shape)}; resize the prediction first"
        )
    expected = (target.shape[0], 1, *target.shape[2:])
    if mask.shape != expected or mask.dtype != torch.bool:
        raise ValueError(
            f"mask: expected bool {expected}, got {mask.dtype} {tuple(mask.shape)}; use Batch.mask"
        )
