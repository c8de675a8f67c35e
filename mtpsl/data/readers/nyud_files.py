"""NYUD-v2 as its authors publish it and as ``.npy`` files, and what all of its layouts share.

A layout gives images and labels in one convention: 13 classes, meters, and normals in the camera
frame. Normals without a convention of their own are brought into it when the depth proves which
channel is which axis.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from mtpsl.data.fingerprint import fingerprint
from mtpsl.data.readers import reading
from mtpsl.data.readers.disk import (
    OURS,
    Axes,
    Camera,
    apply_axes,
    axes_name,
    normals_from_depth,
    pairs,
    settle_axes,
    spread,
)
from mtpsl.data.readers.reading import reason, refusal, whole_ids

CLASSES = (
    *("bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa"),
    *("table", "tv", "wall", "window"),
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
PROVING = 8  # images that settle the axes of the normals
UNIT = 0.5, 1.5  # lengths of a normal in a picture; others mark a hole
COMPUTED = ("normals are not on disk: computed from the depth and the calibration",)


@dataclass(frozen=True)
class Arrays:
    """One image as its files have it, in the convention of ``Sample`` but for the axes' order."""

    image: np.ndarray  # (H, W, 3) float in [0, 1], RGB
    ids: np.ndarray  # (H, W) int64, index into CLASSES, -1 void
    meters: np.ndarray  # (H, W) float, 0 where there is none
    normal: np.ndarray  # (H, W, 3) float, unit length, 0 where there is none


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

    places: tuple[str, ...]  # folders below that may hold the layout, too
    marks: dict[str, str]  # split -> what lies under the root if there is anything of that split

    @classmethod
    def find(cls, path: Path) -> Path | None:
        """The root of this layout at ``path`` or just below; None if it is another one."""
        for root in (path, *(path / name for name in cls.places)):
            if any((root / mark).exists() for mark in cls.marks.values()):
                return root
        return None

    @classmethod
    def has(cls, root: Path, split: str) -> bool:
        """Whether there is anything of that split, complete or not."""
        return (root / cls.marks[split]).exists()

    @abstractmethod
    def read(self, index: int) -> Arrays:
        """The image ``names[index]``."""

    @abstractmethod
    def files(self, index: int) -> dict[str, Path]:
        """Kind of file -> the image's file, where it has one of its own."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Fingerprint of all splits, the same wherever the data lies."""


def read_normals(path: Path) -> np.ndarray:
    """(H, W, 3) float32 of unit length, 0 where there is none.

    ``.npy`` holds values in [-1, 1]; pictures hold them as 255 (v + 1) / 2, where a vector that is
    far from unit length marks a hole.
    """
    if path.suffix == ".npy":
        normal = reading.read_npy(path, (None, None, 3), (-1, 1)).astype(np.float32)
        least, most = 0.0, np.inf
    else:
        array = reading.read_picture(path, reading.COLOR, "a color picture of normals")
        normal = array.astype(np.float32) * (2 / 255) - 1
        least, most = UNIT
    length = np.sqrt(np.square(normal).sum(axis=-1, keepdims=True))
    known = (length > least) & (length < most)
    if not known.any():
        found = "zeros or other lengths only"
        raise refusal(path, "normals of unit length", found, "use the published file")
    return np.where(known, normal / np.maximum(length, 1e-12), 0).astype(np.float32)


def normals_of(path: Path | None, meters: np.ndarray, axes: Axes) -> np.ndarray:
    """(H, W, 3) normals of a file whose channels are ``axes``; without one, those of the depth."""
    if path is None:
        return normals_from_depth(meters, Camera.nyud(*meters.shape))
    normal = read_normals(path)
    reading.check_shape(path, normal, (*meters.shape, 3))
    return apply_axes(normal, axes)


def settle(read: Callable[[int], Arrays], images: int) -> tuple[Axes, tuple[str, ...]]:
    """Decides what the channels of stored normals are, and what the report says about it.

    ``read`` gives an image whose normals are as stored; ``PROVING`` of all images are read.
    """
    seen = []
    for index in spread(images, PROVING):
        try:
            arrays = read(index)
        except (ValueError, FileNotFoundError):
            continue  # whoever reads this image is told
        hole = ~arrays.normal.any(axis=-1, keepdims=True)
        normal = torch.from_numpy(np.where(hole, np.nan, arrays.normal)).float()
        meters = torch.from_numpy(np.where(arrays.meters == 0, np.nan, arrays.meters)).float()
        seen.append(pairs(normal.movedim(-1, 0), meters))
    axes = settle_axes(seen)
    if axes is None:
        return OURS, ("channels of the normals are taken as (x, y, z): the depth proves none",)
    if axes == OURS:
        return OURS, ()
    return axes, (f"channels of the normals are {axes_name(axes)}, as the depth proves; read so",)


# ---------------------------------------------------------------- .npy files


@final
class NpyTree(Layout):
    """The preprocessed files of the authors of MTAN, used by [XTC] and its successors.

    ``nyuv2/{train,val}/{image,label,depth,normal}/{i}.npy`` with i = 0, 1, 2, ...: image (H, W, 3)
    in [0, 1], label (H, W) with 13 classes and -1 for void, depth (H, W, 1) in meters with 0 where
    there is none, normal (H, W, 3) with zeros where there is none; published at 288x384. Channels
    of the normals are taken as (x, y, z), which the format does not tell.
    """

    title = "preprocessed .npy files"
    places, marks = ("nyuv2",), {"train": "train/image", "test": "val/image"}  # noqa: RUF012
    FOLDERS = ("image", "label", "depth", "normal")

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        self.folder = root / SPLITS[split]
        self.names = tuple(map(str, range(reading.count_numbered(self.folder, self.FOLDERS))))

    @classmethod
    def has(cls, root: Path, split: str) -> bool:
        return (root / SPLITS[split]).is_dir()

    def files(self, index: int) -> dict[str, Path]:
        return {folder: self.folder / folder / f"{index}.npy" for folder in self.FOLDERS}

    def read(self, index: int) -> Arrays:
        path = self.files(index)
        image = reading.read_npy(path["image"], (None, None, 3), (0, 1))
        size = image.shape[:2]
        ids = whole_ids(path["label"], reading.read_npy(path["label"], size), -1, len(CLASSES) - 1)
        meters = reading.read_npy(path["depth"], (*size, 1), (0, LARGEST_DEPTH))
        normal = reading.read_npy(path["normal"], (*size, 3), (-1, 1))
        return Arrays(image, ids, meters[..., 0], normal)

    @property
    def version(self) -> str:
        folders = [self.root / s / folder for s in SPLITS.values() for folder in self.FOLDERS]
        files = [path for f in folders for path in sorted(f.glob("*.npy"), key=str)]
        return fingerprint("npy", self.root, files)


# ------------------------------------------------------------ the MATLAB file


@final
class Labeled(Layout):
    """One MATLAB 7.3 file of 1,449 images, 480x640, with filled depth; in the split file's order.

    Beside ``nyu_depth_v2_labeled.mat`` lie ``splits.mat``, ``classMapping40.mat`` (894 classes to
    40) and, if at all, ``class13Mapping.mat`` (40 to 13; the published one is built in). Normals
    come from ``nyu_normals_gt/{train,test}/00003.png`` where that folder is there too, else from
    the depth. MATLAB stores columns first, so every array is transposed.
    """

    title = "the published MATLAB file"
    FILE, SPLIT_FILE = "nyu_depth_v2_labeled.mat", "splits.mat"
    places, marks = (), dict.fromkeys(SPLITS, FILE)  # both splits are in one file
    FORTY_FILE, THIRTEEN_FILE = "classMapping40.mat", "class13Mapping.mat"
    MOST_CLASSES = 894
    VARIABLES = {"images": 4, "labels": 3, "depths": 3}  # noqa: RUF012  name -> dimensions

    def __init__(self, root: Path, split: str, axes: Axes | None = None) -> None:
        self.root, self.split = root, split
        self.file = root / self.FILE
        count = self._look()
        self.numbers = {name: self._split(name, count) for name in SPLITS}
        self.names = tuple(f"{number:05d}" for number in self.numbers[split])
        self.to_13 = self._mapping()  # (895,)
        folder = root / "nyu_normals_gt"
        self.normals = folder if folder.is_dir() else None
        self.axes = axes or OURS
        if self.normals is None:
            self.notes = COMPUTED
        elif axes is None:
            read = lambda index: self._read("train", index, OURS)  # noqa: E731
            self.axes, self.notes = settle(read, len(self.numbers["train"]))

    @classmethod
    def find(cls, path: Path) -> Path | None:
        return super().find(path.parent if path.is_file() and path.name == cls.FILE else path)

    def files(self, index: int) -> dict[str, Path]:
        path = self._normals_file(self.split, index)
        return {} if path is None else {"normal": path}

    def read(self, index: int) -> Arrays:
        return self._read(self.split, index, self.axes)

    @cached_property
    def version(self) -> str:
        names = (self.FILE, self.SPLIT_FILE, self.FORTY_FILE, self.THIRTEEN_FILE)
        paths = [self.root / name for name in names if (self.root / name).is_file()]
        if self.normals is not None:
            paths += [p for split in SPLITS for p in sorted((self.normals / split).glob("*.png"))]
        return fingerprint("mat", self.root, paths)

    def _normals_file(self, split: str, index: int) -> Path | None:
        if self.normals is None:
            return None
        return self.normals / split / f"{self.numbers[split][index]:05d}.png"

    def _read(self, split: str, index: int, axes: Axes) -> Arrays:
        number = self.numbers[split][index]
        with open_hdf5(self.file) as file:
            image, label, meters = (np.asarray(file[name][number - 1]) for name in self.VARIABLES)
        place = self.file / f"image {number}"
        reading.check_range(place, image, 0, 255, kinds="iu")
        reading.check_range(place, label, 0, len(self.to_13) - 1, kinds="iu")
        reading.check_range(place, meters, 0.0, LARGEST_DEPTH, kinds="f")
        meters = np.ascontiguousarray(meters.T, dtype=np.float32)
        normal = normals_of(self._normals_file(split, index), meters, axes)
        color = image.transpose(2, 1, 0).astype(np.float32) / 255
        return Arrays(color, self.to_13[label.T.astype(np.int64)], meters, normal)

    def _look(self) -> int:
        """Counts the images, after a look at the variables."""
        with open_hdf5(self.file) as file:
            shapes = {n: tuple(file[n].shape) if n in file else None for n in self.VARIABLES}
        for name, dimensions in self.VARIABLES.items():
            shape = shapes[name]
            if shape is None or len(shape) != dimensions or 0 in shape:
                expected = f"a variable {name!r} of {dimensions} dimensions"
                raise refusal(self.file, expected, str(shape or "none"), "download it again")
        images, labels = shapes["images"], shapes["labels"]
        if images[1] != 3 or (images[0], *images[2:]) != labels or shapes["depths"] != labels:
            expected = "images (N, 3, W, H), labels and depths (N, W, H)"
            raise refusal(self.file, expected, str(list(shapes.values())), "download it again")
        return labels[0]

    def _split(self, split: str, count: int) -> list[int]:
        """Reads the numbers of the images, from 1."""
        path, key = self.root / self.SPLIT_FILE, f"{split}Ndxs"
        numbers = _whole_numbers(path, key, "whole numbers", 1, count)
        if len(np.unique(numbers)) < len(numbers):
            raise refusal(path, f"every image once in {key!r}", "one twice")
        return numbers.tolist()

    def _mapping(self) -> np.ndarray:
        """Maps class 0 to 894 to its index in ``CLASSES``, -1 for void."""
        most, to_13 = self.MOST_CLASSES, FORTY_TO_13
        path = self.root / self.FORTY_FILE
        forty = _whole_numbers(path, "mapClass", f"up to {most} whole numbers", 0, 40, most=most)
        path = self.root / self.THIRTEEN_FILE
        if path.is_file():
            expected = f"40 classes from 1 to {len(CLASSES)}"
            thirteen = _whole_numbers(path, "classMapping13", expected, 1, len(CLASSES), 40, 40)
            to_13 = np.concatenate([[-1], thirteen - 1])
        return np.concatenate([[-1], to_13[forty]])


def _whole_numbers(
    path: Path, key: str, expected: str, low: int, high: int, least: int = 1, most: int = 1 << 31
) -> np.ndarray:
    """(n,) int64 of a MATLAB file, each in [low, high] and n in [least, most]."""
    numbers = reading.read_numbers(path, key).ravel()
    if not least <= len(numbers) <= most or numbers.dtype.kind not in "iu":
        raise refusal(path, f"{expected} in {key!r}", f"{len(numbers)} {numbers.dtype}")
    reading.check_range(path, numbers, low, high, expected, kinds="iu")
    return numbers.astype(np.int64)


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """The open file; whatever h5py raises inside becomes a ValueError that names it."""
    try:
        import h5py
    except ImportError as error:
        text = "expected the package h5py to read it, found none; pip install h5py"
        raise RuntimeError(f"{path}: {text}") from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except Exception as error:  # damaged bytes make HDF5 raise many types
        found = f"a damaged or incomplete one ({reason(error)})"
        raise refusal(path, "a MATLAB 7.3 (HDF5) file", found, "download it again") from error
