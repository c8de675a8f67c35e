"""What a task is. With ``data/``, the only place that knows what a task's name means."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor

from mtpsl import losses, metrics

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Kind = Literal["classes", "positive", "direction"]


@dataclass(frozen=True)
class Task:
    """One dense prediction task: everything the rest of the package may ask about it."""

    name: str  # "semseg", "depth", "normals": the key of every dict of maps
    title: str  # for tables and figures
    kind: Kind  # what a pixel holds: a class id, a positive number, a unit vector
    channels: int  # of the prediction
    loss: Loss
    metric: Callable[[], metrics.Metric]  # a fresh accumulator
    headline: str  # the metric that names the task's result, a key of ``metrics.COLUMNS``
    columns: tuple[str, ...]  # its metrics in the papers' order, keys of ``metrics.COLUMNS``
    missing: float  # written into a target that the label setting withholds
    resize: Literal["nearest", "bilinear"]  # of the target, under augmentation
    divide_by_zoom: bool = False  # a value that shrinks when the image is magnified
    flip_channel: int | None = None  # the channel that changes sign in a mirror
    class_names: tuple[str, ...] = ()
    unit: str = ""

    @property
    def target_channels(self) -> int:
        return 1 if self.kind == "classes" else self.channels

    @property
    def target_dtype(self) -> torch.dtype:
        return torch.int64 if self.kind == "classes" else torch.float32

    @property
    def higher_is_better(self) -> bool:
        return metrics.COLUMNS[self.headline].higher_is_better

    def activate(self, raw: Tensor) -> Tensor:
        """A head's raw output (B, C, H, W) -> a prediction its loss and metric accept."""
        return to_unit_length(raw) if self.kind == "direction" else raw

    def fill_missing(self, target: Tensor) -> Tensor:
        """A target of the same shape and dtype that says nothing."""
        return torch.full_like(target, self.missing)


def to_unit_length(vectors: Tensor) -> Tensor:
    """(B, C, H, W) divided by their norm over C; many times faster than ``F.normalize`` there.

    A zero vector stays zero, with a finite gradient.
    """
    return vectors * (vectors.square().sum(dim=1, keepdim=True) + 1e-12).rsqrt()


@dataclass(frozen=True)
class TaskSet:
    """Tasks in a fixed order. Dicts are keyed by ``task.name``; columns follow this order."""

    tasks: tuple[Task, ...]

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, name: str) -> Task:
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(f"task: expected one of {self.names}, got {name!r}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)

    def subset(self, names: tuple[str, ...]) -> "TaskSet":
        """The named tasks, in the order of ``names``."""
        return TaskSet(tuple(self[name] for name in names))

    def pairs(self) -> Iterator[tuple[Task, Task]]:
        """Ordered pairs (source, target) with source != target."""
        return permutations(self.tasks, 2)


def semseg(class_names: tuple[str, ...]) -> Task:
    """Semantic segmentation: int64 ids in [0, K), ``losses.IGNORE_INDEX`` where void."""
    classes = len(class_names)
    return Task(
        name="semseg",
        title="Semseg.",
        kind="classes",
        channels=classes,
        loss=losses.cross_entropy,
        metric=lambda: metrics.ConfusionMatrix(classes),
        headline="miou",
        columns=("miou", "pixel_acc"),
        missing=losses.IGNORE_INDEX,
        resize="nearest",
        class_names=class_names,
    )


def depth() -> Task:
    """Depth in meters along the optical axis; NaN where there is none."""
    return Task(
        name="depth",
        title="Depth.",
        kind="positive",
        channels=1,
        loss=losses.l1,
        metric=metrics.DepthErrors,
        headline="abs_err",
        columns=("abs_err", "rmse"),
        missing=float("nan"),
        resize="nearest",
        divide_by_zoom=True,
        unit="m",
    )


def normals() -> Task:
    """Unit surface normals, camera frame (x right, y down, z forward); NaN where none."""
    return Task(
        name="normals",
        title="Normal.",
        kind="direction",
        channels=3,
        loss=losses.cosine,
        metric=metrics.NormalErrors,
        headline="mean_err",
        columns=("mean_err", "angle_rmse", "within_11_25", "within_22_5", "within_30"),
        missing=float("nan"),
        resize="bilinear",
        flip_channel=0,
    )
