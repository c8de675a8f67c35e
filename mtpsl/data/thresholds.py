"""How sure a teacher must be: a confidence, or whatever accepts a share of the pixels."""

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from mtpsl.data.labels import PartialLabels
from mtpsl.data.loader import EvalLoader

CONFIDENCE_BINS = 10_000  # of the histogram that turns a share into a threshold


class Confident(Protocol):
    """The part of ``methods.base.Teacher`` that is asked here."""

    def label_confidence(self, images: Tensor) -> dict[str, Tensor]: ...


@torch.no_grad()
def resolve_thresholds(
    teacher: Confident,
    dataset: PartialLabels,
    thresholds: Mapping[str, float | str],
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Turns thresholds into numbers; shares are looked up in a histogram of the confidence.

    Args:
        teacher: On ``device``, in evaluation mode.
        dataset: Clean training images; decides which task is withheld where.
        thresholds: task -> confidence in [0, 1], or a share such as ``"50%"``.
        batch_size: Images at a time; matters for the last bits of a confidence alone.
        device: Where the teacher runs.

    Returns:
        task -> confidence; of a share, to 1 / ``CONFIDENCE_BINS``.

    Raises:
        ValueError: If a share is not between 0 % and 100 %, or its task has no confidence.
    """
    shares = {name: _share(name, tau) for name, tau in thresholds.items() if isinstance(tau, str)}
    counts = {name: torch.zeros(CONFIDENCE_BINS, dtype=torch.int64) for name in shares}
    for batch in EvalLoader(dataset, batch_size, device) if shares else ():
        confidence = teacher.label_confidence(batch.images)
        for name in shares:
            if name not in confidence:
                raise ValueError(
                    f"thresholds: {name} has no confidence that {thresholds} could cut"
                )
            bins = (confidence[name][~batch.labeled[name]].float() * CONFIDENCE_BINS).long()
            bins = bins.clamp(0, CONFIDENCE_BINS - 1).flatten().cpu()
            counts[name] += torch.bincount(bins, minlength=CONFIDENCE_BINS)
    taus = {name: tau for name, tau in thresholds.items() if name not in shares}
    for name, share in shares.items():
        above = counts[name].flip(0).cumsum(0)  # pixels in the k + 1 most confident bins
        kept = int(torch.searchsorted(above, round(share * int(above[-1])))) + 1
        taus[name] = max(0.0, 1 - kept / CONFIDENCE_BINS)
    return taus


def _share(name: str, text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = math.nan
    if not (text.endswith("%") and 0 < share <= 1):
        raise ValueError(f"thresholds: expected a share such as '50%' for {name}, got {text!r}")
    return share
