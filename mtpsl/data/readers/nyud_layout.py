"""What every layout of NYUD-v2 on disk gives: images and labels in one convention."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CLASSES = (
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "tv",
    "wall",
    "window",
)
"""In the order of the label ids 0 to 12."""

# fmt: off
FORTY_TO_13 = np.array((
    -1,
    11, 4, 5, 0, 3, 8, 9, 11, 12, 5, 7, 5, 12, 9, 5, 12, 5, 6, 6, 4,
    6, 2, 1, 5, 10, 6, 6, 6, 6, 6, 6, 5, 6, 6, 6, 6, 6, 6, 5, 6,
))
# fmt: on
"""Class 1 to 40 -> index into ``CLASSES``; 0, which is void, -> -1. As in class13Mapping.mat, which
is published with the 13 classes."""

SPLITS = {"train": "train", "test": "val"}  # ours -> the name in the layouts that say val
LARGEST_DEPTH = 50.0  # m; NYUD-v2 ends at 10, so more is another unit


@dataclass(frozen=True)
class Arrays:
    """One image as its files have it, in the convention of ``Sample`` but for the axes' order."""

    image: np.ndarray  # (H, W, 3) float in [0, 1], RGB
    ids: np.ndarray  # (H, W) int64, index into CLASSES, -1 void
    meters: np.ndarray  # (H, W) float, 0 where there is none
    normal: np.ndarray  # (H, W, 3) float, unit length, 0 where there is none
    stored: dict[str, str] = field(default_factory=dict)  # image, label, ... -> type in the file


class Layout(ABC):
    """A split of NYUD-v2 in one of the layouts that people have.

    A layout's class is called with a root that its ``find`` accepted and ``"train"`` or
    ``"test"``.
    """

    title: str  # what the report calls it
    root: Path
    split: str
    names: tuple[str, ...]  # of the images, as their files call them
    notes: tuple[str, ...] = ()  # what was decided on opening, for the report

    @classmethod
    @abstractmethod
    def find(cls, path: Path) -> Path | None:
        """The root of this layout at ``path`` or just below; None if it is another one."""

    @classmethod
    @abstractmethod
    def has(cls, root: Path, split: str) -> bool:
        """Whether there is anything of that split, complete or not."""

    @abstractmethod
    def read(self, index: int) -> Arrays:
        """The image ``names[index]``.

        Raises:
            ValueError: If a file is damaged or does not hold what it should.
            FileNotFoundError: If a file has gone.
        """

    @property
    @abstractmethod
    def version(self) -> str:
        """Fingerprint of all splits, the same wherever the data lies."""


def first_below(path: Path, *folders: str) -> list[Path]:
    """``path`` and those folders in it, where a layout may start."""
    return [root for root in (path, *(path / name for name in folders)) if root.is_dir()]
