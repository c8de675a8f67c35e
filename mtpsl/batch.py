"""The types that travel from a data loader to a method."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import Task, TaskSet

Labels = Tensor | Sequence[Tensor | None] | None  # of one task, see ``Batch.from_targets``


class _Movable:
    """A dataclass of tensors, of dicts of tensors, of others like it, and of None."""

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""

        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: maps.to(device) for name, maps in value.items()}
            return None if value is None else value.to(device)

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True)
class Geometry(_Movable):
    """How an augmented view was cut from its clean image, one row per image.

    The view shows the box (top, left, height, width) of the clean image, in pixels of the clean
    image, resized to the full size and then, where ``flip`` is set, mirrored left to right. With
    an angle, the box is turned around its center first: what it shows appears turned
    counterclockwise. A box that is turned or larger than the image shows places beyond it.
    """

    box: Tensor  # (B, 4) float: top, left, height, width
    scale: Tensor  # (B,) float: zoom factor; depth is divided by it
    flip: Tensor  # (B,) bool
    angle: Tensor | None = None  # (B,) float, degrees; None: nothing turned, boxes inside

    def rows(self, index: Tensor) -> "Geometry":
        """The geometry of some of the images."""
        angle = None if self.angle is None else self.angle[index]
        return Geometry(self.box[index], self.scale[index], self.flip[index], angle)


@dataclass(frozen=True)
class Discovered(_Movable):
    """What a frozen teacher found on the clean image, warped like the view it comes with.

    A student sees it only for tasks that the label setting withholds (``withhold``): where
    ``Batch.labeled[t][b]`` is True, ``valid[t][b]`` is False everywhere and ``targets[t][b]`` holds
    only ``Task.missing``. ``features`` and ``confidence`` exist for every task, labeled or not
    [HiTTs, Eq. 6], and are empty dicts when the student does not ask for features.
    """

    targets: dict[str, Tensor]  # task -> like Batch.targets: pseudo labels
    valid: dict[str, Tensor]  # task -> (B, 1, H, W) bool: M^p, pixels whose confidence passed
    features: dict[str, Tensor]  # task -> (B, C, h, w) float: F~, on the teacher's coarse grid
    confidence: dict[str, Tensor]  # task -> (B, 1, h, w) float in [0, 1]: M^f
    # task -> (B, 1, H, W) float: how much a valid pixel counts; empty where all count alike
    weights: dict[str, Tensor] = field(default_factory=dict)

    def withhold(self, batch: "Batch") -> "Discovered":
        """Drops the pseudo labels of a task on the images that have its label.

        What a teacher finds there may be its memory of the label, and a student would learn the
        same thing twice. Features and their confidence stay: L_f counts them either way.

        Args:
            batch: Decides what is labeled; on the same device, with tasks that were looked for.
        """
        targets, valid = {}, {}
        for name, rows in batch.labeled.items():
            labeled = rows.view(-1, 1, 1, 1)
            missing = math.nan if self.targets[name].is_floating_point() else IGNORE_INDEX
            targets[name] = self.targets[name].masked_fill(labeled, missing)
            valid[name] = self.valid[name] & ~labeled
        return replace(self, targets=targets, valid=valid)


@dataclass(frozen=True)
class Batch(_Movable):
    """A partially labeled batch.

    Invariant: where ``labeled[t][b]`` is False, ``targets[t][b]`` holds only ``Task.missing`` and
    ``valid[t][b]`` only False. The dataset removes withheld labels, so no method can see them.
    """

    images: Tensor  # (B, 3, H, W) float in [0, 1], RGB
    targets: dict[str, Tensor]  # task -> (B, C, H, W) float, or (B, 1, H, W) int64 for class ids
    valid: dict[str, Tensor]  # task -> (B, 1, H, W) bool, False where the annotation has a hole
    labeled: dict[str, Tensor]  # task -> (B,) bool, False where the label setting withholds it
    index: Tensor  # (B,) int64, position in the dataset
    geometry: Geometry | None = None  # None: the clean image
    discovered: Discovered | None = None  # what a teacher found, in two-stage methods
    regions: Tensor | None = None  # (B, 1, H, W) int64 region ids of each image, -1: none

    @classmethod
    def from_targets(
        cls,
        images: Tensor,
        targets: Mapping[str, Labels],
        tasks: TaskSet,
        *,
        index: Tensor | None = None,
    ) -> "Batch":
        """Makes a batch of whatever labels there are, for any data loader.

        Args:
            images: (B, 3, H, W) float, RGB; networks of this package expect values in [0, 1].
            targets: task -> its labels: (B, C, H, W) for all images; a list with a map (C, H, W) or
                None for each; or None where no image has any. C is ``Task.target_channels``, and
                may be left out where it is 1. Class ids have any integer type, 255
                (``losses.IGNORE_INDEX``) for none; all other labels are in the task's unit, with
                NaN for none. A task that is not there has no labels.
            tasks: The tasks of the network, whose names are the keys.
            index: (B,) int64, the images' numbers in the data set, by which a method tells images
                apart where it draws at random; by default 0 to B - 1.

        Returns:
            A batch on the images' device that shares no memory with ``targets``. An image counts as
            labeled for a task if its map has a pixel that is not missing; everything else is
            overwritten with ``Task.missing``, so that a loss that looks at it becomes NaN.

        Raises:
            ValueError: If images or labels have another shape, type or range than announced, or a
                task is unknown.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"images: expected float (B, 3, H, W), got {images.dtype} {tuple(images.shape)}; "
                "divide 8-bit images by 255 and move their channels to dimension 1"
            )
        if unknown := [name for name in targets if name not in tasks.names]:
            raise ValueError(
                f"targets: expected tasks {tasks.names}, got {unknown[0]!r}; name it in the TaskSet"
            )
        index = torch.arange(len(images)) if index is None else index
        if index.shape != (len(images),):
            raise ValueError(
                f"index: expected shape {(len(images),)}, got {tuple(index.shape)}; "
                "give one number per image"
            )
        maps = {t.name: _stack(t, targets.get(t.name), images) for t in tasks}
        valid = {t.name: t.known(maps[t.name]) for t in tasks}
        return cls(
            images=images,
            targets={t.name: maps[t.name].masked_fill(~valid[t.name], t.missing) for t in tasks},
            valid=valid,
            labeled={name: known.flatten(1).any(dim=1) for name, known in valid.items()},
            index=index.to(images.device, torch.int64),
        )

    def __len__(self) -> int:
        return len(self.images)

    def mask(self, task: str) -> Tensor:
        """(B, 1, H, W) bool: pixels a supervised loss or a metric may use."""
        return self.valid[task] & self.labeled[task].view(-1, 1, 1, 1)


def _stack(task: Task, labels: Labels, images: Tensor) -> Tensor:
    """Labels as ``Batch.from_targets`` takes them -> (B, C, H, W), missing where there are none."""
    shape = (task.target_channels, *images.shape[2:])
    stacked = images.new_full((len(images), *shape), task.missing, dtype=task.target_dtype)
    labels = [None] * len(images) if labels is None else labels
    if len(labels) != len(images):
        raise ValueError(
            f"{task.name}: expected {len(images)} maps, got {len(labels)}; "
            "give None for an image without label"
        )
    for row, label in enumerate(labels):
        if label is None:
            continue
        label = torch.as_tensor(label)
        whole = label[None] if label.ndim == 2 and task.target_channels == 1 else label
        if whole.shape != shape:
            raise ValueError(
                f"{task.name}: expected a map of shape {shape}, got {tuple(label.shape)}; "
                "give labels the size of the images and channels first"
            )
        if task.kind == "classes" and (label.is_floating_point() or label.dtype == torch.bool):
            raise ValueError(
                f"{task.name}: expected integer class ids, got {label.dtype}; "
                f"write {IGNORE_INDEX} where there is none and convert them"
            )
        stacked[row] = whole
    return stacked
