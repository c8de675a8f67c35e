"""What a task is. With ``data/``, the only place that knows what a task's name means."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor

from mtpsl import boundary, losses, metrics
from mtpsl.registry import look_up

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Kind = Literal["classes", "binary", "positive", "direction"]

LENGTH_TOLERANCE = 0.05  # of a unit vector's square: 8 bits a component keep far less
HUMAN_PARTS = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg")


@dataclass(frozen=True)
class Task:
    """One dense prediction task: everything the rest of the package may ask about it."""

    name: str  # "semseg", "depth", "normals": the key of every dict of maps
    title: str  # for tables and figures
    kind: Kind  # what a pixel holds: a class id, 0 or 1, a positive number, a unit vector
    loss: Loss
    metric: Callable[[], metrics.Metric]  # a fresh accumulator
    headline: str  # the metric that names the task's result, a key of ``metrics.COLUMNS``
    columns: tuple[str, ...]  # its metrics in the papers' order, keys of ``metrics.COLUMNS``
    channels: int = 1  # of the prediction
    missing: float = float("nan")  # written into a target that the label setting withholds
    resize: Literal["nearest", "bilinear"] = "nearest"  # of the target, under augmentation
    weight: float = 1.0  # of the loss, in ``supervised_terms``
    zoom_power: int = 0  # a magnified image's values are multiplied by zoom ** zoom_power
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
        """A head's raw output (B, C, H, W) -> a prediction its loss and metric accept.

        Classes and binary tasks stay logits: their losses and metrics take the rest of the way.
        """
        return to_unit_length(raw) if self.kind == "direction" else raw

    def known(self, target: Tensor) -> Tensor:
        """Where a label says something: (B, C, H, W), as in ``Batch.targets`` -> (B, 1, H, W) bool.

        Raises:
            ValueError: If it says there what this task cannot hold.
        """
        known = target.isfinite().all(dim=1, keepdim=True)
        match self.kind:
            case "classes":
                known, fits = target != int(self.missing), (target >= 0) & (target < self.channels)
                expected = f"class ids in [0, {self.channels}), {int(self.missing)} for none"
            case "binary":
                fits, expected = (target == 0) | (target == 1), "1 and 0, NaN for none"
            case "positive":
                fits, expected = target > 0, "positive numbers, NaN for none"
            case "direction":
                fits = (target.square().sum(dim=1, keepdim=True) - 1).abs() < LENGTH_TOLERANCE
                expected = "vectors of length 1, NaN for none"
        if (wrong := known & ~fits).any():
            first, *others = target.movedim(1, -1)[wrong.squeeze(1)][0].tolist()
            value = (first, *others) if others else first
            raise ValueError(
                f"{self.name}: expected {expected}, got {value}; convert the labels first"
            )
        return known

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
    rescale: bool = False  # ``supervised_terms`` multiplies an image's losses by T / its labels

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
        return replace(self, tasks=tuple(self[name] for name in names))

    def pairs(self) -> Iterator[tuple[Task, Task]]:
        """Ordered pairs (source, target) with source != target."""
        return permutations(self.tasks, 2)


def semseg(classes: Sequence[str] | int, *, weight: float = 1.0) -> Task:
    """Semantic segmentation: int64 ids in [0, K), ``losses.IGNORE_INDEX`` where void.

    Args:
        classes: Their names in the order of the ids, or how many there are.
        weight: Multiplies the loss, in ``supervised_terms``.

    Raises:
        ValueError: If the number is not at least 1.
    """
    if isinstance(classes, int) and classes < 1:
        raise ValueError(f"classes: expected names, or how many at least 1, got {classes}")
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    return Task(
        name="semseg",
        title="Semseg.",
        kind="classes",
        channels=len(names),
        loss=losses.cross_entropy,
        metric=partial(metrics.ConfusionMatrix, len(names)),
        headline="miou",
        columns=("miou", "pixel_acc"),
        missing=losses.IGNORE_INDEX,
        weight=weight,
        class_names=names,
    )


def human_parts(*, weight: float = 1.0) -> Task:
    """Six parts of the human body and the rest: int64 ids in [0, 7), 0 is the background.

    An image without a part has no label at all (``losses.IGNORE_INDEX`` everywhere), and the
    metric skips it.
    """
    return replace(
        semseg(HUMAN_PARTS, weight=weight),
        name="human_parts",
        title="Parsing.",
        metric=partial(metrics.PartsConfusion, len(HUMAN_PARTS)),
        columns=("miou",),
    )


def depth() -> Task:
    """Depth in meters along the optical axis; NaN where there is none."""
    return Task(
        name="depth",
        title="Depth.",
        kind="positive",
        loss=losses.l1,
        metric=metrics.DepthErrors,
        headline="abs_err",
        columns=("abs_err", "rmse"),
        zoom_power=-1,
        unit="m",
    )


def inverse_depth() -> Task:
    """Depth as a scaled disparity, about 0 to 0.5 on Cityscapes; NaN where there is none.

    It keeps the name ``depth``, because the papers' tables call it so; a data set has one of the
    two. The released code [XTC] divides it by the zoom like a depth, although what is magnified
    is nearer and its disparity larger: here it is multiplied.
    """
    return replace(depth(), zoom_power=1, unit="")


def normals(loss: Literal["cosine", "l1", "l1_sum"] = "cosine", *, weight: float = 1.0) -> Task:
    """Unit surface normals, camera frame (x right, y down, z forward); NaN where none.

    Args:
        loss: ``"cosine"`` as on NYUD-v2; ``"l1"``, a mean over valid elements, as in the
            protocol that [XTC] follows on PASCAL-Context; ``"l1_sum"``, three times that.
        weight: Multiplies the loss, in ``supervised_terms``.
    """
    return Task(
        name="normals",
        title="Normal.",
        kind="direction",
        channels=3,
        loss=look_up("loss", loss, {n: getattr(losses, n) for n in ("cosine", "l1", "l1_sum")}),
        metric=metrics.NormalErrors,
        headline="mean_err",
        columns=("mean_err", "angle_rmse", "within_11_25", "within_22_5", "within_30"),
        resize="bilinear",
        weight=weight,
        flip_channel=0,
    )


def saliency(metric: Literal["miou", "max_f"] = "miou", *, weight: float = 1.0) -> Task:
    """What draws the eye, whatever its class: 1 or 0, NaN where unknown.

    Args:
        metric: ``"miou"`` reports ``sal_miou``, as [XTC] and [HiTTs] do; ``"max_f"`` reports the
            F-measure of the later papers. They are not comparable, so a task has one of them.
        weight: Multiplies the loss, in ``supervised_terms``.
    """
    column = look_up("metric", metric, {"max_f": "max_f", "miou": "sal_miou"})
    return Task(
        name="saliency",
        title="Sal.",
        kind="binary",
        loss=losses.balanced_bce,
        metric=partial(metrics.Saliency, metric),
        headline=column,
        columns=(column,),
        weight=weight,
    )


def edges(*, weight: float = 1.0, nms: bool = False) -> Task:
    """Semantic boundaries, one pixel wide: 1 or 0, NaN where unknown.

    One pixel in twenty or fewer is an edge, hence the fixed weights of the loss.

    Args:
        weight: See ``Task``.
        nms: Thin predictions across the edge before they are matched (``boundary.Boundary``).
    """
    return Task(
        name="edges",
        title="Edge.",
        kind="binary",
        loss=partial(losses.balanced_bce, positive_weight=0.95),
        metric=partial(boundary.Boundary, nms=nms),
        headline="ods_f",
        columns=("ods_f",),
        weight=weight,
    )


Protocol = Literal["", "atrc"]


def follow(protocol: Protocol, tasks: TaskSet) -> TaskSet:
    """The same tasks as a line of papers trains and measures them; names and weights stay.

    Args:
        protocol: Empty: as they are, as in [XTC], [HiTTs] and [RDC]. ``"atrc"``, that of
            DiffusionMTL and [TPKR]: the F-measure of saliency, thinned boundaries, the L1 loss of
            normals summed over their components, and losses that make up for missing labels. The
            numbers of the two have nothing to do with one another.
        tasks: Those of a data set.
    """
    if not protocol:
        return tasks
    other: dict[str, Callable[..., Task]] = {
        "saliency": partial(saliency, "max_f"),
        "edges": partial(edges, nms=True),
        "normals": partial(normals, "l1_sum"),
    }
    changed = (other[t.name](weight=t.weight) if t.name in other else t for t in tasks)
    return TaskSet(tuple(changed), rescale=True)
