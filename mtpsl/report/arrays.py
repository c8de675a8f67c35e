"""The arrays that figures show: plain numbers and strings, computed without drawing anything.

They go by names such as ``"depth/ours"`` and are complete enough to draw a figure again from the
file they are saved in: every set names its tasks, their kinds and titles, and classes if any. A
figure of several data sets has one such set a part, as in ``"rooms/depth/ours"`` (``in_parts``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.dataset import Dataset
from mtpsl.data.labels import PartialLabels
from mtpsl.losses import IGNORE_INDEX
from mtpsl.methods import Method
from mtpsl.metrics import COLUMNS
from mtpsl.runs.experiment import Experiment
from mtpsl.tasks import Task, TaskSet

Arrays = dict[str, NDArray[Any]]

EXAMPLES = 3  # test images in a qualitative figure
DECIMALS, FINE_DECIMALS = 2, 4  # of maps, such as the centimeter; of values without a unit
SCENES = 18  # first ones of a split that figures choose from


@dataclass(frozen=True, kw_only=True)
class FigureInputs:
    """What the arrays of a figure are computed from: trained networks and their data."""

    methods: Mapping[str, Method] = field(default_factory=dict)  # role -> in evaluation mode
    histories: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)  # role -> what was trained
    test: Dataset | None = None  # None for figures that need no run
    train: PartialLabels | None = None  # clean; only for figures of what teachers find there,
    thresholds: Mapping[str, float | str] = field(default_factory=dict)  # at their students' taus
    parts: Mapping[str, "FigureInputs"] = field(default_factory=dict)  # where data sets are several
    device: torch.device | str = "cpu"
    records: Path | None = None  # folder of the recorded results, for figures that show them

    def batches(self, indices: Sequence[int], size: int = 8) -> Iterator[Batch]:
        """The test images at ``indices``, in order, on the device."""
        for start in range(0, len(indices), size):
            yield self.test.load(indices[start : start + size]).to(self.device)

    def load(self, indices: Sequence[int]) -> Batch:
        """The test images at ``indices`` as one batch, on the device."""
        return self.test.load(indices).to(self.device)


def describe(tasks: TaskSet, batch: Batch | None = None) -> Arrays:
    """What a drawing must know about the tasks; of a batch also ``images`` and ``index``."""
    arrays = {
        "tasks": np.array(tasks.names),
        "titles": np.array([t.title.rstrip(".") for t in tasks]),
        "kinds": np.array([t.kind for t in tasks]),
        "units": np.array([t.unit for t in tasks]),
    }
    arrays |= {f"{t.name}/classes": np.array(t.class_names) for t in tasks if t.class_names}
    if batch is None:
        return arrays
    return arrays | {"images": picture(batch.images), "index": batch.index.cpu().numpy()}


def in_parts(arrays: Callable[[FigureInputs], Arrays]) -> Callable[[FigureInputs], Arrays]:
    """For a figure of several data sets: ``arrays`` of every part, keyed ``<part>/...``.

    ``parts`` names them from top to bottom, ``<part>/data`` the data set of each.
    """

    def of_every_part(inputs: FigureInputs) -> Arrays:
        collected: Arrays = {"parts": np.array(list(inputs.parts))}
        for part, inside in inputs.parts.items():
            values = {"data": np.array(inside.test.name)} | arrays(inside)
            collected |= {f"{part}/{key}": value for key, value in values.items()}
        return collected

    return of_every_part


def evenly_spaced(images: int, count: int) -> list[int]:
    """Indices from all over a split, so that nobody chose them: at most ``count``."""
    count = min(count, images)
    return [(2 * i + 1) * images // (2 * count) for i in range(count)]


def picture(images: Tensor) -> NDArray[Any]:
    """(B, 3, H, W) in [0, 1] -> (B, H, W, 3) uint8."""
    return (images.movedim(1, -1) * 255).round().byte().cpu().numpy()


def shown(task: Task, maps: Tensor, valid: Tensor | None = None) -> NDArray[Any]:
    """Targets or predictions as they are shown.

    Args:
        task: Whose kind decides.
        maps: (B, C, H, W) as in ``Batch.targets`` or ready for the task's metric.
        valid: (B, 1, H, W) bool, for targets.

    Returns:
        (B, H, W) uint8 class ids, or to ``DECIMALS`` (B, H, W, 3) float16 unit vectors, (B, H, W)
        float16 positive values or probabilities; where not valid, ``Task.missing``.
    """
    if task.kind == "classes" and maps.is_floating_point():
        maps = maps.argmax(1, keepdim=True)
    if task.kind == "binary" and valid is None:
        maps = maps.sigmoid()
    if valid is not None:
        maps = maps.masked_fill(~valid, task.missing)
    maps = maps.movedim(1, -1) if maps.shape[1] > 1 else maps[:, 0]
    if task.kind == "classes":
        return maps.byte().cpu().numpy()
    # A disparity has no unit and spans less than one: what is a centimeter would be a step in it.
    return compact(maps, DECIMALS if task.unit or task.kind != "positive" else FINE_DECIMALS)


def true_maps(tasks: TaskSet, batch: Batch) -> Arrays:
    """The targets of a batch as they are shown: (B, H, W, ...) ``<task>/truth``."""
    return {f"{t.name}/truth": shown(t, batch.targets[t.name], batch.valid[t.name]) for t in tasks}


def most_varied(tasks: TaskSet, truth: Arrays) -> list[int]:
    """The images of ``true_maps``, those that show the most classes first."""
    maps = [truth[f"{t.name}/truth"] for t in tasks if t.kind == "classes"]
    return sorted(range(len(maps[0])), key=lambda i: -sum(variety(ids[i]) for ids in maps))


def compact(values: Tensor, decimals: int = 3) -> NDArray[Any]:
    """Rounded float16: enough for a picture, small in the repository, the same on any machine."""
    return np.round(values.float().cpu().numpy(), decimals).astype(np.float16)


def variety(ids: NDArray[np.uint8]) -> float:
    """How many classes a class map shows, less for void: 1 for a tenth of the pixels."""
    shares = np.bincount(ids.ravel(), minlength=256) / ids.size
    return float((shares[:IGNORE_INDEX] > 0.01).sum() - 10 * shares[IGNORE_INDEX])


def principal_components(values: Tensor, count: int = 3) -> tuple[Tensor, Tensor]:
    """(..., C) -> coordinates (..., count) and shares of variance (count,).

    A component's sign is arbitrary; here its largest loading is positive.
    """
    flat = values.flatten(0, -2)
    flat = flat - flat.mean(0)
    variance, axes = torch.linalg.eigh(flat.T @ flat)  # ascending
    variance, axes = variance.flip(0)[:count].clamp(min=0), axes.flip(1)[:, :count]
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    coordinates = flat @ (axes * largest.sign())
    shares = variance / (flat**2).sum().clamp(min=1e-12)
    return coordinates.view(*values.shape[:-1], count), shares


# --------------------------------------------------- figures that papers share


@torch.no_grad()
def qualitative(inputs: FigureInputs, images: int = EXAMPLES) -> Arrays:
    """What several methods predict on a few test images, beside the truth.

    Returns:
        (N, H, W, ...) maps ``<task>/truth``, and those of every role, ``<task>/<role>``.
        ``<task>/<role>/score`` (N,) is the task's headline metric on that image alone, in the
        units of the tables, NaN where it has no label; ``<task>/label`` and ``/higher_is_better``
        say how it reads, and ``roles`` names the roles in order.
    """
    tasks = inputs.test.tasks
    batch = inputs.load(evenly_spaced(len(inputs.test), images))
    arrays = describe(tasks, batch) | true_maps(tasks, batch)
    arrays["roles"] = np.array(list(inputs.methods))
    for t in tasks:
        column = COLUMNS[t.headline]
        arrays[f"{t.name}/label"] = np.array(column.label)
        arrays[f"{t.name}/higher_is_better"] = np.array(column.higher_is_better)
    for role, method in inputs.methods.items():
        predictions = method.predict(batch.images)
        for t in tasks:
            arrays[f"{t.name}/{role}"] = shown(t, predictions[t.name])
            values = [image_score(t, predictions, batch, i) for i in range(len(batch))]
            arrays[f"{t.name}/{role}/score"] = np.round(np.array(values), 4)
    return arrays


def image_score(task: Task, predictions: Mapping[str, Tensor], batch: Batch, i: int) -> float:
    """The headline metric of one image, in the units of the tables."""
    metric, one = task.metric(), slice(i, i + 1)
    prediction = predictions[task.name][one].float()
    metric.update(prediction, batch.targets[task.name][one], batch.mask(task.name)[one])
    return COLUMNS[task.headline].scale * metric.compute()[task.headline]


def curves(inputs: FigureInputs) -> Arrays:
    """Learning curves: ``<task>/<split>/<role>`` (E,), the headline at ``epochs/<role>`` (E,).

    Splits are ``train`` and ``test``. Values are in the units of the tables.
    """
    tasks = inputs.test.tasks
    arrays = describe(tasks)
    arrays |= {f"{t.name}/label": np.array(COLUMNS[t.headline].label) for t in tasks}
    for role, history in inputs.histories.items():
        points = [entry for entry in history if "metrics" in entry]
        arrays[f"epochs/{role}"] = np.array([point["epoch"] for point in points])
        for t in tasks:
            metric, scale = f"{t.name}/{t.headline}", COLUMNS[t.headline].scale
            for split in ("train", "test"):
                values = [scale * point["metrics"][split][metric] for point in points]
                arrays[f"{t.name}/{split}/{role}"] = np.round(np.array(values), 4)
    return arrays
