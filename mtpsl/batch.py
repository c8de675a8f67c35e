"""The types that travel from a data loader to a method."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mtpsl.losses import IGNORE_INDEX


@dataclass(frozen=True)
class Geometry:
    """How an augmented view was cut from its clean image, one row an image.

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

    def to(self, device: torch.device | str) -> "Geometry":
        angle = None if self.angle is None else self.angle.to(device)
        return Geometry(self.box.to(device), self.scale.to(device), self.flip.to(device), angle)


@dataclass(frozen=True)
class Discovered:
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

    def to(self, device: torch.device | str) -> "Discovered":
        move = lambda maps: {t: m.to(device) for t, m in maps.items()}  # noqa: E731
        return Discovered(
            move(self.targets), move(self.valid), move(self.features), move(self.confidence)
        )

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
            missing = float("nan") if self.targets[name].is_floating_point() else IGNORE_INDEX
            targets[name] = self.targets[name].masked_fill(labeled, missing)
            valid[name] = self.valid[name] & ~labeled
        return replace(self, targets=targets, valid=valid)


@dataclass(frozen=True)
class Batch:
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

    def __len__(self) -> int:
        return len(self.images)

    def mask(self, task: str) -> Tensor:
        """(B, 1, H, W) bool: pixels a supervised loss or a metric may use."""
        return self.valid[task] & self.labeled[task].view(-1, 1, 1, 1)

    def to(self, device: torch.device | str) -> "Batch":
        return replace(
            self,
            images=self.images.to(device),
            targets={t: m.to(device) for t, m in self.targets.items()},
            valid={t: m.to(device) for t, m in self.valid.items()},
            labeled={t: m.to(device) for t, m in self.labeled.items()},
            index=self.index.to(device),
            geometry=self.geometry and self.geometry.to(device),
            discovered=self.discovered and self.discovered.to(device),
        )
