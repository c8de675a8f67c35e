"""How good the labels are that a teacher discovers, where the truth is known after all.

The label setting withholds a label from training alone; afterwards one can ask how many of the
discovered labels are right, where, and whether the teacher's confidence says so. Everything is
counted once, pixel by pixel, at many levels of confidence (``count``). Curves over thresholds,
calibration, classes and distances are sums over these counts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.labels import PartialLabels
from mtpsl.data.loader import EvalLoader
from mtpsl.losses import IGNORE_INDEX
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.papers.hitts.quantize import Quantizer
from mtpsl.report.arrays import Arrays
from mtpsl.tasks import Task

BATCH = 16  # images; what is counted does not depend on it
QUALITY = {  # kind -> the column whose name and units the mean over pixels has
    "classes": "pixel_acc",
    "binary": "pixel_acc",
    "positive": "abs_err",
    "direction": "mean_err",
}
LEVELS = 1000  # of confidence, beside the thresholds asked for
CROWDED, FINER = 0.2, 10  # below it, levels are ten times finer: young networks are all there
LIMITS = (0, 1, 2, 4, 8)  # pixels: bands of distance to a class boundary; the last one is open
SUMS = ("pixels", "confidence", "right", "near", "quality", "floor")
KEYS = ["level", "class", "band"]
POINTS = 50  # of a curve: 100 %, 98 %, ... of the withheld pixels
BINS = 10  # of a reliability diagram

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Counts:
    """What was found of one task on the pixels that withhold its label and have a truth.

    Attributes:
        task: Whose labels are counted.
        edges: (L,) rising: level i is of confidences above ``edges[i]``, up to the next edge.
        classes: C names, the last one for pixels without a class.
        sums: A row for each level, class of the scene and band of distance to the nearest class
            boundary that occurs. ``pixels`` counts them; ``confidence`` is the teacher's;
            ``right`` counts argmax bins that are the truth's, ``near`` those within one bin;
            ``quality`` is ``pixel_quality`` of the discovered label and ``floor`` that of the
            true bin, which no classifier over these bins can beat.
        confusion: Pixels by level, bin of the truth and bin found.
    """

    task: Task
    edges: Floats
    classes: tuple[str, ...]
    sums: pandas.DataFrame
    confusion: pandas.Series

    def by(self, key: str, start: int = 0) -> pandas.DataFrame:
        """Sums by ``level``, ``class`` or ``band`` from a level on; a row for each there may be."""
        rows = {"level": len(self.edges), "class": len(self.classes), "band": len(LIMITS) + 1}
        accepted = _from_level(self.sums, start)
        return accepted.groupby(level=key).sum().reindex(range(rows[key]), fill_value=0)


# -------------------------------------------------------------------- pixels


def pixel_quality(task: Task, values: Tensor, target: Tensor) -> Tensor:
    """How good each pixel of a label is; its mean over pixels is the column ``QUALITY[kind]``.

    Args:
        task: Whose kind decides.
        values: (B, C, H, W) labels, as in ``Batch.targets``; ``target`` has the same shape.

    Returns:
        (B, 1, H, W) float64: 1 where classes agree, else 0; absolute error in the task's unit;
        angle in degrees. Anything where the target is missing.
    """
    match task.kind:
        case "classes" | "binary":
            return (values == target).double()
        case "positive":
            return (values.double() - target.double()).abs()
        case "direction":
            a, b = (F.normalize(v.double(), dim=1) for v in (values, target))
            sine = torch.linalg.cross(a, b, dim=1).norm(dim=1, keepdim=True)
            return torch.atan2(sine, (a * b).sum(1, keepdim=True)).rad2deg()


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
    right = near = found == truth
    if task.kind == "positive":
        near = (found - truth).abs() <= 1
    elif task.kind == "direction":
        similarity = torch.einsum("bdhw,kd->bkhw", target.nan_to_num(0.0), quantizer.centers)
        nearest = similarity.topk(min(2, quantizer.bins), dim=1).indices
        near = right | (nearest == found).any(1, keepdim=True)
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


def boundary_distance(ids: NDArray[np.integer]) -> Floats:
    """(H, W) class ids -> pixels to the nearest boundary pixel, 0 on one, infinite without any.

    On a boundary are the pixels with another id above, below or beside them; void is an id.
    """
    around = {"footprint": ndimage.generate_binary_structure(2, 1), "mode": "nearest"}
    edge = ndimage.maximum_filter(ids, **around) != ndimage.minimum_filter(ids, **around)
    return ndimage.distance_transform_edt(~edge) if edge.any() else np.full(ids.shape, math.inf)


def band(distance: Floats) -> NDArray[np.int64]:
    """Distances in pixels -> the index of their band: on a boundary, up to 1, 2, 4, 8, beyond."""
    return np.searchsorted(LIMITS, distance, side="left")


# ------------------------------------------------------------------ counting


@torch.no_grad()
def count(
    teacher: HiTTs,
    dataset: PartialLabels,
    *,
    thresholds: Mapping[str, float] | None = None,
    batch_size: int = BATCH,
    device: torch.device | str = "cpu",
) -> dict[str, Counts]:
    """Compares a teacher's discoveries with the labels that ``dataset`` withholds.

    The teacher sees images only.

    Args:
        teacher: On ``device``, in evaluation mode; whatever labels by bins will do: a network with
            ``quantizers`` and a ``trace`` that returns ``refined``.
        dataset: Clean training images; the complete labels are those of ``dataset.dataset``.
        thresholds: Task -> tau_i to be exact at; others are rounded up to an edge.

    Returns:
        Task -> counts; all zero for a task that is withheld nowhere.
    """
    # Pixels are grouped by the classes of a scene, whether or not their label is withheld.
    grouping = next((t for t in dataset.dataset.tasks if t.kind == "classes"), None)
    fine = np.arange(round(CROWDED * LEVELS * FINER)) / (LEVELS * FINER)
    plain = np.union1d(np.arange(LEVELS) / LEVELS, fine)
    taus = thresholds or {}
    edges = {n: np.union1d(plain, np.clip(taus.get(n, 0.0), 0, 1)) for n in dataset.tasks.names}
    sums, confusion = ({t.name: [] for t in dataset.tasks} for _ in range(2))
    for batch in EvalLoader(dataset, batch_size, device):
        truth = complete(dataset, batch.index).to(device)
        places = _places(grouping, truth)
        refined = teacher.trace(batch.images, decode=False).refined
        for t in dataset.tasks:
            target = truth.targets[t.name]
            maps = compare(t, teacher.quantizers[t.name], refined[t.name].float(), target)
            use = truth.valid[t.name] & ~batch.labeled[t.name].view(-1, 1, 1, 1)
            columns = {name: values[use].cpu().numpy() for name, values in maps.items()}
            columns |= {name: values[use[:, 0].cpu().numpy()] for name, values in places.items()}
            pixels = pandas.DataFrame(columns)
            pixels["level"] = level(maps["confidence"][use], edges[t.name]).numpy()
            pixels = pixels.assign(pixels=1.0).astype(dict.fromkeys(SUMS, float))
            sums[t.name].append(pixels.groupby(KEYS)[list(SUMS)].sum())
            confusion[t.name].append(pixels.groupby(["level", "truth", "found"])["pixels"].sum())
    classes = (*(grouping.class_names if grouping else ()), "void")
    return {
        t.name: Counts(t, edges[t.name], classes, _added(sums[t.name]), _added(confusion[t.name]))
        for t in dataset.tasks
    }


def complete(train: PartialLabels, images: Tensor | list[int]) -> Batch:
    """Training images with all their labels, which no training sees."""
    return train.dataset.load(train.positions[torch.as_tensor(images).cpu()].tolist())


def _places(grouping: Task | None, truth: Batch) -> dict[str, NDArray[np.int64]]:
    """The ``class`` and the ``band`` of every pixel, (B, H, W) each."""
    if grouping is None:
        nowhere = np.zeros((len(truth), *truth.images.shape[2:]), dtype=np.int64)
        return {"class": nowhere, "band": nowhere + len(LIMITS)}
    valid = truth.valid[grouping.name][:, 0].cpu().numpy()
    ids = np.where(valid, truth.targets[grouping.name][:, 0].cpu().numpy(), IGNORE_INDEX)
    bands = np.stack([band(boundary_distance(image)) for image in ids])
    return {"class": np.where(ids == IGNORE_INDEX, grouping.channels, ids), "band": bands}


def _added(parts: list[Any]) -> Any:
    return (whole := pandas.concat(parts)).groupby(level=whole.index.names).sum()


def _from_level(sums: Any, start: int) -> Any:
    return sums[sums.index.get_level_values("level") >= start]


def level(confidence: Tensor, edges: Floats) -> Tensor:
    """(P,) in (0, 1] -> (P,) int64 i, the largest with confidence > ``edges[i]``.

    So a threshold at an edge accepts exactly the levels from there on, as M^p does: a confidence
    that equals the threshold does not pass.
    """
    # In single precision, as the confidence is when a threshold is compared with it.
    lower = torch.from_numpy(edges).float()
    return (torch.bucketize(confidence.float().cpu(), lower) - 1).clamp(min=0)


def first_level(threshold: float, edges: Floats) -> int:
    """The first level that a threshold accepts as a whole."""
    return int(np.searchsorted(edges, threshold, side="left"))


# ------------------------------------------------------- what the counts say


def acceptance(counts: Counts, points: int = POINTS) -> Arrays:
    """What a rising threshold accepts, and how good that is.

    Returns:
        (K,) each, at most ``points``: ``threshold``; ``coverage``, the share of the withheld pixels
        above it; ``right`` and ``near``, shares of those; ``quality`` of those in the units of
        ``metrics.COLUMNS``; ``miou`` too where pixels hold classes. Empty without a withheld pixel.
    """
    above = counts.by("level")["pixels"].to_numpy()[::-1].cumsum()[::-1]  # falls with the level
    goals = above[0] * (1 - np.arange(points) / points)
    first = [int(np.argmax(above <= goal)) for goal in goals if (above <= goal).any()]
    chosen = [i for i in dict.fromkeys(first) if above[i]]
    names = ["coverage", "right", "near", "quality", *["miou"] * (counts.task.kind == "classes")]
    rows = [accepted(counts, counts.edges[i]) for i in chosen]
    curve = {name: np.array([row[name] for row in rows]) for name in names}
    return {"threshold": counts.edges[chosen]} | curve


def accepted(counts: Counts, threshold: float) -> dict[str, float]:
    """``acceptance`` at one threshold, rounded up to an edge, and the ``floor`` of what passes.

    NaN where nothing does.
    """
    start = first_level(threshold, counts.edges)
    kept = _from_level(counts.sums, start).sum()
    row = {name: float(_shares(kept[name], kept["pixels"])) for name in SUMS[2:]}
    row["coverage"] = float(_shares(kept["pixels"], counts.sums["pixels"].sum()))
    if counts.task.kind == "classes":
        pairs = _from_level(counts.confusion, start).groupby(level=["truth", "found"]).sum()
        ids = range(counts.task.channels)
        confusion = pairs.unstack(fill_value=0).reindex(index=ids, columns=ids, fill_value=0)
        hits = np.diag(confusion)
        iou = _shares(hits, confusion.sum(axis=0) + confusion.sum(axis=1) - hits)
        occurs = np.isfinite(iou)  # in truth or discovery
        row["miou"] = float(iou[occurs].mean()) if occurs.any() else math.nan
    return row


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
    sums = counts.by("level").groupby(place).sum()
    pixels, gap = sums["pixels"].to_numpy(), (sums["confidence"] - sums["right"]).to_numpy()
    shares = {name: _shares(sums[name], pixels) for name in ("confidence", "right", "near")}
    errors = {"ece": np.abs(gap).sum(), "overconfidence": gap.sum()}  # times pixels
    errors = {name: _shares(value, pixels.sum()) for name, value in errors.items()}
    return {"pixels": pixels} | shares | errors


def by_group(counts: Counts, key: str, threshold: float = 0.0) -> Arrays:
    """Quality by the true ``class`` of the pixel, whatever the task, or by ``band`` of distance.

    Returns:
        (G,) each, in the order of ``Counts.classes`` or ``LIMITS``: ``pixels`` withheld,
        ``coverage`` of the threshold, and of what it accepts ``right``, ``near``, ``quality`` and
        ``confidence``.
    """
    sums, pixels = counts.by(key, first_level(threshold, counts.edges)), counts.by(key)["pixels"]
    names = ("right", "near", "quality", "confidence")
    shares = {name: _shares(sums[name], sums["pixels"]) for name in names}
    return {"pixels": pixels.to_numpy(), "coverage": _shares(sums["pixels"], pixels)} | shares


def _shares(part: Any, whole: Any) -> Floats:
    """``part / whole``, NaN where the whole is 0."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.full(part.shape, math.nan), where=whole > 0)
