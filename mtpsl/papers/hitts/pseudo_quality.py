"""How good the labels are that a teacher discovers, where the truth is known after all.

On the data that the method is meant for, a withheld label does not exist. Here the label setting
withholds it from training alone, and what is behind it can be asked afterwards: how many of the
discovered labels are right, where, and whether the teacher's confidence says so.

Everything is counted once, pixel by pixel, at many levels of confidence (``count``). Curves
over thresholds, calibration, classes and distances are sums over these counts, so they agree with
each other, and no choice of bins or threshold looks at an image again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.labels import PartialLabels
from mtpsl.data.loader import EvalLoader
from mtpsl.losses import IGNORE_INDEX
from mtpsl.papers.hitts.figure_arrays import pixel_quality
from mtpsl.papers.hitts.quantize import Quantizer
from mtpsl.report.arrays import Arrays
from mtpsl.tasks import Task

LEVELS = 1000  # of confidence, beside the thresholds asked for
CROWDED, FINER = 0.2, 10  # below it, levels are ten times finer: young networks are all there
LIMITS = (0, 1, 2, 4, 8)  # pixels: bands of distance to a class boundary; the last one is open
SUMS = ("pixels", "confidence", "right", "near", "quality", "floor")
POINTS = 50  # of a curve: 100 %, 98 %, ... of the withheld pixels
BINS = 10  # of a reliability diagram

Floats = NDArray[np.float64]


class Discoverer(Protocol):
    """A trained ``methods.hitts.HiTTs`` or whatever else labels by bins, in evaluation mode."""

    quantizers: Mapping[str, Quantizer]

    def trace(self, images: Tensor, *, decode: bool) -> Any:
        """(B, 3, H, W) -> something whose ``refined`` is task -> (B, C_p, H, W) logits."""


@dataclass(frozen=True, eq=False)
class Counts:
    """What was found of one task on the pixels that withhold its label and have a truth.

    Attributes:
        edges: (L,) rising: level i is of confidences above ``edges[i]``, up to the next edge.
        sums: Name -> (L, C, D) sums over pixels by level of confidence, true class and
            distance to the nearest class boundary. ``pixels`` counts them; ``confidence`` is the
            teacher's; ``right`` counts argmax bins that are the truth's, ``near`` those within one
            bin; ``quality`` is ``pixel_quality`` of the discovered label and ``floor`` that of the
            true bin, which no classifier over these bins can beat.
        confusion: (L, K, K) pixels [level, truth, found]; None unless pixels hold classes.
        classes: C names, the last one for pixels without a class.
    """

    task: Task
    edges: Floats
    sums: Mapping[str, Floats]
    confusion: Floats | None
    classes: tuple[str, ...]

    def total(self, name: str, *axes: int) -> Floats:
        """A sum over all axes but ``axes`` (0 level, 1 class, 2 distance)."""
        return self.sums[name].sum(axis=tuple({0, 1, 2} - set(axes)))


# ------------------------------------------------------------------ counting


@torch.no_grad()
def count(
    teacher: Discoverer,
    dataset: PartialLabels,
    *,
    thresholds: Mapping[str, float] | None = None,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
) -> dict[str, Counts]:
    """Compares a teacher's discoveries with the labels that ``dataset`` withholds.

    The teacher sees images only. Sums are made image by image, so they depend on the batch size
    no more than the teacher's answers do.

    Args:
        teacher: On ``device``, in evaluation mode.
        dataset: Clean training images; the complete labels are those of ``dataset.dataset``.
        thresholds: Task -> tau_i to be exact at; others are rounded up to an edge.
        batch_size: Images at a time.
        device: Where the teacher runs.

    Returns:
        Task -> counts; all zero for a task that is withheld nowhere.
    """
    names = _class_names(dataset)
    found = {t.name: _nothing(t, names, (thresholds or {}).get(t.name)) for t in dataset.tasks}
    for batch in EvalLoader(dataset, batch_size, device):
        truth = dataset.dataset.load(dataset.positions[batch.index.cpu()].tolist()).to(device)
        places = _places(dataset, truth)  # (B, H, W)
        refined = teacher.trace(batch.images, decode=False).refined
        for t in dataset.tasks:
            target = truth.targets[t.name]
            maps = compare(t, teacher.quantizers[t.name], refined[t.name].float(), target)
            use = truth.valid[t.name] & ~batch.labeled[t.name].view(-1, 1, 1, 1)
            for row in use.flatten(1).any(dim=1).nonzero().flatten().tolist():
                chosen = use[row, 0]
                values = {name: pixels[row, 0][chosen].cpu() for name, pixels in maps.items()}
                _add(found[t.name], places[row][chosen.cpu()], values)
    return found


def compare(task: Task, quantizer: Quantizer, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Discovered labels against the truth, pixel by pixel.

    A depth bin is near if it is the true one or its neighbor. Bins of directions have no order;
    there the two centers nearest to the true direction are. Classes are near only if right.

    Args:
        task: Whose kind decides.
        quantizer: The task's bins.
        logits: (B, C_p, H, W) float, G'.
        target: (B, D, H, W) as in ``Batch.targets``.

    Returns:
        (B, 1, H, W) maps: ``confidence`` Max(Softmax(G')); ``found`` and ``truth``, bin ids;
        ``right`` and ``near``, bool; ``quality`` and ``floor`` of ``Counts``. Anything where the
        target is missing.
    """
    confidence, found = logits.softmax(1).max(1, keepdim=True)
    truth = quantizer.encode(target)
    right = found == truth
    match task.kind:
        case "positive":
            near = (found - truth).abs() <= 1
        case "direction":
            similarity = torch.einsum("bdhw,kd->bkhw", target.nan_to_num(0.0), quantizer.centers)
            near = right | (similarity.topk(min(2, quantizer.bins), dim=1).indices == found).any(
                1, keepdim=True
            )
        case _:
            near = right
    ids = truth.clamp(0, quantizer.bins - 1)  # void is no bin
    return {
        "confidence": confidence,
        "found": found,
        "truth": truth,
        "right": right,
        "near": near,
        "quality": pixel_quality(task, quantizer.values(found), target),
        "floor": pixel_quality(task, quantizer.values(ids), target),
    }


def level(confidence: Tensor, edges: Floats) -> Tensor:
    """(P,) in (0, 1] -> (P,) int64 i, the largest with confidence > ``edges[i]``.

    So a threshold at an edge accepts exactly the levels from there on, as M^p does: a confidence
    that equals the threshold does not pass.
    """
    # In single precision, as the confidence is when a threshold is compared with it.
    lower = torch.from_numpy(edges).float()
    return (torch.bucketize(confidence.float().cpu(), lower) - 1).clamp(min=0)


def boundary_distance(ids: NDArray[np.integer]) -> Floats:
    """(H, W) class ids -> pixels to the nearest boundary pixel, 0 on one, infinite without any.

    On a boundary are the pixels with another id above, below or beside them; void is an id.
    """
    edge = np.zeros(ids.shape, dtype=bool)
    for axis in (0, 1):
        differs = np.diff(ids, axis=axis) != 0
        after = [(1, 0) if axis == a else (0, 0) for a in (0, 1)]
        before = [pair[::-1] for pair in after]
        edge |= np.pad(differs, after) | np.pad(differs, before)
    if not edge.any():
        return np.full(ids.shape, math.inf)
    return ndimage.distance_transform_edt(~edge)


def band(distance: Floats) -> NDArray[np.int64]:
    """Distances in pixels -> the index of their band: on a boundary, up to 1, 2, 4, 8, beyond."""
    return np.searchsorted(LIMITS, distance, side="left")


def _class_task(dataset: PartialLabels) -> Task | None:
    """The task whose classes and boundaries pixels are grouped by, withheld or not."""
    return next((t for t in dataset.dataset.tasks if t.kind == "classes"), None)


def _class_names(dataset: PartialLabels) -> tuple[str, ...]:
    task = _class_task(dataset)
    return (*(task.class_names if task else ()), "void")


def _places(dataset: PartialLabels, truth: Batch) -> Tensor:
    """(B, H, W) int64: class and band of every pixel, as one index."""
    task = _class_task(dataset)
    if task is None:
        return torch.full((len(truth), *truth.images.shape[2:]), len(LIMITS))
    valid = truth.valid[task.name][:, 0].cpu()
    ids = torch.where(valid, truth.targets[task.name][:, 0].cpu(), IGNORE_INDEX)
    bands = np.stack([band(boundary_distance(image)) for image in ids.numpy()])
    ids = torch.where(ids == IGNORE_INDEX, len(task.class_names), ids)
    return ids * (len(LIMITS) + 1) + torch.from_numpy(bands)


def _nothing(task: Task, names: tuple[str, ...], threshold: float | None) -> Counts:
    """No pixel yet."""
    fine = LEVELS * FINER
    edges = np.union1d(np.arange(LEVELS) / LEVELS, np.arange(round(CROWDED * fine)) / fine)
    if threshold is not None:
        edges = np.union1d(edges, np.clip(threshold, 0, 1))
    shape, classes = (len(edges), len(names), len(LIMITS) + 1), task.channels
    return Counts(
        task=task,
        edges=edges,
        sums={name: np.zeros(shape) for name in SUMS},
        confusion=np.zeros((len(edges), classes, classes)) if task.kind == "classes" else None,
        classes=names,
    )


def _add(counts: Counts, places: Tensor, values: Mapping[str, Tensor]) -> None:
    """Adds the (P,) pixels of an image."""
    levels = level(values["confidence"], counts.edges)
    key = levels * counts.sums["pixels"][0].size + places
    for name, total in counts.sums.items():
        _count(total, key, None if name == "pixels" else values[name].double())
    if counts.confusion is not None:
        classes = counts.confusion.shape[1]
        _count(counts.confusion, (levels * classes + values["truth"]) * classes + values["found"])


def _count(total: Floats, key: Tensor, weights: Tensor | None = None) -> None:
    """Adds to ``total``, flat, at the places ``key``."""
    total += torch.bincount(key, weights, minlength=total.size).view(total.shape).numpy()


# -------------------------------------------------------------- what it says


def acceptance(counts: Counts, points: int = POINTS) -> Arrays:
    """What a rising threshold accepts, and how good that is.

    Returns:
        (K,) each, at most ``points``: ``threshold``; ``coverage``, the share of the withheld pixels
        above it; ``right`` and ``near``, shares of those; ``quality`` of those in the units of
        ``metrics.COLUMNS``; ``miou`` too where pixels hold classes. Empty without a withheld pixel.
    """
    totals = {name: counts.total(name, 0) for name in SUMS}
    above = {name: _above(values) for name, values in totals.items()}
    everything = above["pixels"][0]
    chosen: list[int] = []
    if everything:
        coverage = above["pixels"] / everything  # falls with the level
        goals = 1 - np.arange(points) / points
        first = [int(np.argmax(coverage <= goal)) for goal in goals if (coverage <= goal).any()]
        chosen = [i for i in dict.fromkeys(first) if above["pixels"][i]]
    pixels = above["pixels"][chosen]
    found = {
        "threshold": counts.edges[chosen],
        "coverage": pixels / (everything or 1.0),
        **{name: above[name][chosen] / pixels for name in ("right", "near", "quality")},
    }
    if counts.confusion is not None:
        confusion = _above(counts.confusion)
        found["miou"] = np.array([_miou(confusion[i]) for i in chosen])
    return found


def accepted(counts: Counts, threshold: float) -> dict[str, float]:
    """``acceptance`` at one threshold, rounded up to an edge, and the ``floor`` of what passes.

    NaN where nothing does.
    """
    start = first_level(threshold, counts.edges)
    totals = {name: float(counts.total(name, 0)[start:].sum()) for name in SUMS}
    pixels = totals["pixels"]
    found = {"coverage": _divide(pixels, float(counts.total("pixels").sum()))}
    found |= {name: _divide(totals[name], pixels) for name in SUMS[2:]}
    if counts.confusion is not None:
        found["miou"] = _miou(counts.confusion[start:].sum(axis=0))
    return found


def calibration(counts: Counts, bins: int = BINS) -> Arrays:
    """A reliability diagram: of the pixels at a confidence, how many are right?

    Args:
        counts: Of one task.
        bins: Of equal width over [0, 1]; a divisor of ``LEVELS``.

    Returns:
        ``pixels`` (bins,), and of each bin's pixels the mean ``confidence`` and the shares
        ``right`` and ``near``, NaN where there is no pixel. ``ece`` () is the expected calibration
        error, the mean of |right - confidence| over the bins, weighted by pixels, and
        ``overconfidence`` () the mean of confidence - right, positive where confidence is too high.

    Raises:
        ValueError: If ``bins`` does not divide ``LEVELS``.
    """
    if bins < 1 or LEVELS % bins:
        raise ValueError(f"bins: expected a divisor of {LEVELS}, got {bins}")
    place = np.searchsorted(np.arange(bins) / bins, counts.edges, side="right") - 1
    sums = {
        name: np.bincount(place, counts.total(name, 0), minlength=bins)
        for name in ("pixels", "confidence", "right", "near")
    }
    gap = sums["confidence"] - sums["right"]  # pixels times (confidence - right)
    pixels = float(sums["pixels"].sum())
    return {
        "pixels": sums["pixels"],
        **{name: _shares(sums[name], sums["pixels"]) for name in ("confidence", "right", "near")},
        "ece": np.array(_divide(float(np.abs(gap).sum()), pixels)),
        "overconfidence": np.array(_divide(float(gap.sum()), pixels)),
    }


def by_class(counts: Counts, threshold: float = 0.0) -> Arrays:
    """Quality by the true class of the pixel, whatever the task.

    Returns:
        (C,) each, in the order of ``Counts.classes``: ``pixels`` withheld, ``coverage`` of the
        threshold, and of what it accepts ``right``, ``near``, ``quality`` and ``confidence``.
    """
    return _by(counts, 1, threshold)


def by_distance(counts: Counts, threshold: float = 0.0) -> Arrays:
    """``by_class`` for bands of distance to the nearest class boundary (``LIMITS``): (D,) each."""
    return _by(counts, 2, threshold)


def first_level(threshold: float, edges: Floats) -> int:
    """The first level that a threshold accepts as a whole."""
    return int(np.searchsorted(edges, threshold, side="left"))


def _by(counts: Counts, axis: int, threshold: float) -> Arrays:
    start = first_level(threshold, counts.edges)
    sums = {name: counts.total(name, 0, axis)[start:].sum(axis=0) for name in SUMS}
    withheld = counts.total("pixels", axis)
    shares = {
        name: _shares(sums[name], sums["pixels"])
        for name in ("right", "near", "quality", "confidence")
    }
    return {"pixels": withheld, "coverage": _shares(sums["pixels"], withheld), **shares}


def _above(totals: Floats) -> Floats:
    """Sums over a level and all higher ones."""
    return totals[::-1].cumsum(axis=0)[::-1]


def _miou(confusion: Floats) -> float:
    """Mean over the classes that occur, in truth or discovery; NaN if none does."""
    hits = confusion.diagonal()
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    occurs = union > 0
    return float((hits[occurs] / union[occurs]).mean()) if occurs.any() else math.nan


def _shares(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(part.shape, math.nan), where=whole > 0)


def _divide(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
