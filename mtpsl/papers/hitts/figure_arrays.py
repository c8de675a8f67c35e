"""The arrays of HiTTs' figures that compare with earlier work or look at pseudo labels.

What all papers' figures share, and those of the tokens, is in ``figure_arrays``.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.labels import PartialLabels
from mtpsl.data.thresholds import resolve_thresholds
from mtpsl.methods import Method
from mtpsl.metrics import COLUMNS
from mtpsl.papers.xtc.figure_arrays import image_score
from mtpsl.report.arrays import (
    EXAMPLES,
    Arrays,
    Material,
    describe,
    evenly_spaced,
    picture,
    qualitative,
    scores,
    shown,
)
from mtpsl.tasks import Task

MORE_EXAMPLES = 2  # test images a data set in the appendix; evenly spaced, they fall between three
QUALITY_IMAGES = 240  # training images without a task's label that its curve counts
COVERAGES = 20  # points of a curve: 100 %, 95 %, ... of the withheld pixels
BATCH = 16  # images
QUALITY = {  # kind -> the column whose name and units the mean over pixels has
    "classes": "pixel_acc",
    "binary": "pixel_acc",
    "positive": "abs_err",
    "direction": "mean_err",
}


# --------------------------------------------------------------- comparisons


@torch.no_grad()
def compared(material: Material, images: int = EXAMPLES) -> Arrays:
    """Figure 6: ``qualitative``, with a score of every map.

    ``<task>/<role>/score`` (N,) is the task's headline metric on that image alone, in the units of
    the tables, NaN where it has no label; ``<task>/label`` and ``/higher_is_better`` say how it
    reads, and ``roles`` names the roles in order.
    """
    tasks = material.test.tasks
    arrays = qualitative(material, images) | {"roles": np.array(list(material.methods))}
    batch = material.test.load(arrays["index"].tolist()).to(material.device)
    for t in tasks:
        column = COLUMNS[t.headline]
        arrays[f"{t.name}/label"] = np.array(column.label)
        arrays[f"{t.name}/higher_is_better"] = np.array(column.higher_is_better)
    for role, method in material.methods.items():
        predictions = method.predict(batch.images)
        for t in tasks:
            values = [image_score(t, predictions, batch, i) for i in range(len(batch))]
            arrays[f"{t.name}/{role}/score"] = np.round(np.array(values), 4)
    return arrays


def more_compared(material: Material) -> Arrays:
    """A part of Figure 15: as Figure 6, on other images."""
    return compared(material, MORE_EXAMPLES)


def more_scores(material: Material) -> Arrays:
    """A part of Figure 14: as Figure 11, on other images."""
    return scores(material, MORE_EXAMPLES)


# ------------------------------------------------------------- pseudo labels


@torch.no_grad()
def pseudo_labels(material: Material) -> Arrays:
    """Figures 10 and 16: what the teacher finds where the label setting withholds labels.

    Every task has its own training images, N from all over those without its label:
    ``<task>/images`` (N, H, W, 3), ``/index`` (N,) among the training images, ``/truth`` the
    withheld label and ``/pseudo`` Y~ (N, H, W, ...), ``/mask`` (N, H, W) bool, M^p.

    A curve has K thresholds, chosen to accept 100 %, 95 %, ... of the withheld pixels:
    ``/threshold`` (K,) rising, ``/coverage`` (K,) the share in [0, 1] that exceeds it, and
    ``/quality`` (K,) of those pixels whose truth is known, by ``pixel_quality`` and in the units
    of the tables, NaN where nothing does. ``/used`` (3,) is tau_i with its coverage and quality.
    ``/label`` and ``/higher_is_better`` say how the quality reads, ``/withheld`` () how
    many training images lack the label, ``/counted`` () on how many of them the curve stands.
    """
    (teacher,) = material.methods.values()
    train, tasks = material.train, material.train.tasks
    taus = resolve_thresholds(teacher, train, material.thresholds, BATCH, material.device)
    arrays = describe(tasks)
    for column, t in enumerate(tasks):
        withheld = (~train.assignment.labeled[:, column]).nonzero().flatten().tolist()
        chosen = [withheld[i] for i in evenly_spaced(len(withheld), EXAMPLES)]
        truth = _truth(train, chosen).to(material.device)
        found = teacher.discover(truth.images, taus)
        arrays |= {
            f"{t.name}/images": picture(truth.images),
            f"{t.name}/index": np.array(chosen),
            f"{t.name}/truth": shown(t, truth.targets[t.name], truth.valid[t.name]),
            f"{t.name}/pseudo": shown(t, found.targets[t.name]),
            f"{t.name}/mask": found.valid[t.name][:, 0].cpu().numpy(),
            f"{t.name}/withheld": np.array(len(withheld)),
        }
        counted = [withheld[i] for i in evenly_spaced(len(withheld), QUALITY_IMAGES)]
        values = _curve(teacher, t, material, counted, taus.get(t.name, 0.0))
        values["counted"] = np.array(len(counted))
        arrays |= {f"{t.name}/{key}": value for key, value in values.items()}
    return arrays


def pixel_quality(task: Task, values: Tensor, target: Tensor) -> Tensor:
    """How good each pixel of a label is; its mean over pixels is the column ``QUALITY[kind]``.

    Args:
        task: Whose kind decides.
        values: (B, C, H, W) labels, as in ``Batch.targets``.
        target: Of the same shape.

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


def _curve(
    teacher: Method, task: Task, material: Material, images: list[int], tau: float
) -> Arrays:
    """Coverage and quality of a task's masks as their threshold rises."""
    column = COLUMNS[QUALITY[task.kind]]
    confidence, quality = [], []
    for truth in _batches(material, images):
        confidence.append(teacher.label_confidence(truth.images)[task.name].double())
        found = teacher.discover(truth.images, {}).targets[task.name]
        values = column.scale * pixel_quality(task, found, truth.targets[task.name])
        quality.append(torch.where(truth.valid[task.name], values, float("nan")))
    c, q = (torch.cat(maps).flatten().cpu() for maps in (confidence, quality))
    descending = c.sort(descending=True).values
    accepted = [len(c) * (COVERAGES - k) // COVERAGES for k in range(1, COVERAGES)]
    below = max(0.0, math.floor(1e6 * float(descending[-1]) - 1) / 1e6)  # accepts every pixel
    thresholds = [below, *(round(float(descending[count]), 6) for count in accepted)]
    points = np.array([_measure(c, q, threshold) for threshold in thresholds])
    return {
        "threshold": np.array(thresholds),
        "coverage": points[:, 0],
        "quality": points[:, 1],
        "used": np.array([round(tau, 6), *_measure(c, q, tau)]),
        "label": np.array(column.label),
        "higher_is_better": np.array(column.higher_is_better),
    }


def _measure(confidence: Tensor, quality: Tensor, threshold: float) -> tuple[float, float]:
    """The share of pixels above a threshold, and the mean quality of those with a truth."""
    above = confidence > threshold
    mean = float(quality[above].nanmean())
    return round(float(above.double().mean()), 4), round(mean, 4)


def _truth(train: PartialLabels, images: list[int]) -> Batch:
    """Training images with all their labels, which no training sees."""
    return train.dataset.load(train.positions[images].tolist())


def _batches(material: Material, images: list[int]) -> Iterator[Batch]:
    for start in range(0, len(images), BATCH):
        yield _truth(material.train, images[start : start + BATCH]).to(material.device)
