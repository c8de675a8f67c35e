"""NYUD-v2 as its authors publish it: one MATLAB 7.3 file of 1,449 images, 480x640.

Beside ``nyu_depth_v2_labeled.mat`` lie ``splits.mat``, ``classMapping40.mat`` (894 classes to 40)
and, if at all, ``class13Mapping.mat`` (40 to 13; the published one is built in). Normals come from
``nyu_normals_gt/{train,test}/00003.png`` where that folder is there too, else from the depth.
MATLAB stores columns first, so every array is transposed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from mtpsl.data.readers.files import check_range, fingerprint, read_mat, reason, refusal
from mtpsl.data.readers.nyud_axes import OURS, Axes, Camera, apply_axes, normals_from_depth
from mtpsl.data.readers.nyud_folders import read_normals, settle
from mtpsl.data.readers.nyud_layout import (
    CLASSES,
    FORTY_TO_13,
    LARGEST_DEPTH,
    SPLITS,
    Arrays,
    Layout,
    first_below,
)

FILE, SPLIT_FILE = "nyu_depth_v2_labeled.mat", "splits.mat"
FORTY_FILE, THIRTEEN_FILE = "classMapping40.mat", "class13Mapping.mat"
NORMALS_FOLDER = "nyu_normals_gt"
MOST_CLASSES = 894
VARIABLES = {"images": 4, "labels": 3, "depths": 3}  # name -> dimensions


@final
class Labeled(Layout):
    """The labeled images with their filled depth, in the order of the split file.

    Args:
        root: The folder of the files, or the file itself.
        split: ``"train"`` or ``"test"``.
        axes: Of the normals' channels on disk; None: as the depth proves, or as stored.
    """

    title = "the published MATLAB file"

    def __init__(self, root: Path, split: str, axes: Axes | None = None) -> None:
        self.root, self.split = root, split
        self.file = root / FILE
        self.shape = self._look()  # (N, W, H)
        self.numbers = {name: self._split(name) for name in SPLITS}
        self.names = tuple(f"{number:05d}" for number in self.numbers[split])
        self.to_13 = self._mapping()  # (895,)
        self.normals = root / NORMALS_FOLDER if (root / NORMALS_FOLDER).is_dir() else None
        self.axes = axes or OURS
        if self.normals is None:
            self.notes = ("normals are not on disk: computed from the depth and the calibration",)
        elif axes is None:
            numbers = self.numbers["train"]
            read = lambda index: self._read("train", numbers[index], OURS)  # noqa: E731
            self.axes, self.notes = settle(read, len(numbers))

    @classmethod
    def find(cls, path: Path) -> Path | None:
        if path.is_file() and path.name == FILE:
            return path.parent
        return next((root for root in first_below(path) if (root / FILE).is_file()), None)

    @classmethod
    def has(cls, root: Path, split: str) -> bool:
        return True

    def read(self, index: int) -> Arrays:
        return self._read(self.split, self.numbers[self.split][index], self.axes)

    @cached_property
    def version(self) -> str:
        names = (FILE, SPLIT_FILE, FORTY_FILE, THIRTEEN_FILE)
        groups = [[self.root / name] for name in names if (self.root / name).is_file()]
        if self.normals is not None:
            groups += [sorted((self.normals / split).glob("*.png")) for split in SPLITS]
        return fingerprint("mat", self.root, groups)

    def _read(self, split: str, number: int, axes: Axes) -> Arrays:
        with open_hdf5(self.file) as file:
            image, label, meters = (np.asarray(file[name][number - 1]) for name in VARIABLES)
        kinds = {"image": image, "label": label, "depth": meters}
        stored = {name: str(array.dtype) for name, array in kinds.items()}
        where = self.file / f"image {number}"
        check_range(where, image, 0, 255, kinds="iu")
        check_range(where, label, 0, len(self.to_13) - 1, kinds="iu")
        check_range(where, meters, 0.0, LARGEST_DEPTH, kinds="f")
        meters = np.ascontiguousarray(meters.T, dtype=np.float32)
        size = meters.shape
        if self.normals is not None:
            path = self.normals / split / f"{number:05d}.png"
            normal, stored["normal"] = read_normals(path)
            if normal.shape[:2] != size:
                found = "x".join(map(str, normal.shape[:2]))
                raise refusal(path, f"normals of {size[0]}x{size[1]}", found)
            normal = apply_axes(normal, axes)
        else:
            normal = normals_from_depth(meters, Camera.nyud(*size))
            stored["normal"] = "from depth"
        color = image.transpose(2, 1, 0).astype(np.float32) / 255
        return Arrays(color, self.to_13[label.T.astype(np.int64)], meters, normal, stored)

    def _look(self) -> tuple[int, int, int]:
        """(N, W, H), after a look at the variables."""
        with open_hdf5(self.file) as file:
            shapes = {n: tuple(file[n].shape) if n in file else None for n in VARIABLES}
        for name, dimensions in VARIABLES.items():
            shape = shapes[name]
            if shape is None or len(shape) != dimensions or 0 in shape:
                expected = f"a variable {name!r} of {dimensions} dimensions"
                raise refusal(self.file, expected, str(shape or "none"), "download it again")
        images, labels = shapes["images"], shapes["labels"]
        if images[1] != 3 or (images[0], *images[2:]) != labels or shapes["depths"] != labels:
            expected = "images (N, 3, W, H), labels and depths (N, W, H)"
            raise refusal(self.file, expected, str(list(shapes.values())), "download it again")
        return labels

    def _split(self, split: str) -> list[int]:
        """Numbers of the images, from 1."""
        path, key = self.root / SPLIT_FILE, f"{split}Ndxs"
        numbers = read_mat(path, key).ravel()
        count = self.shape[0]
        if not len(numbers) or numbers.dtype.kind not in "iu":
            raise refusal(path, f"whole numbers in {key!r}", f"{len(numbers)} {numbers.dtype}")
        check_range(path, numbers, 1, count, kinds="iu")
        if len(np.unique(numbers)) < len(numbers):
            raise refusal(path, f"every image once in {key!r}", "one twice")
        return numbers.astype(np.int64).tolist()

    def _mapping(self) -> np.ndarray:
        """Class 0 to 894 -> index into ``CLASSES``, -1 for void."""
        path = self.root / FORTY_FILE
        forty = read_mat(path, "mapClass").ravel()
        if not 0 < len(forty) <= MOST_CLASSES or forty.dtype.kind not in "iu":
            found = f"{len(forty)} {forty.dtype}"
            raise refusal(path, f"up to {MOST_CLASSES} whole numbers in 'mapClass'", found)
        check_range(path, forty, 0, 40, kinds="iu")
        to_13 = FORTY_TO_13
        path = self.root / THIRTEEN_FILE
        if path.is_file():
            to_13 = np.concatenate([[-1], _to_thirteen(path) - 1])
        return np.concatenate([[-1], to_13[forty.astype(np.int64)]])


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """The open file; whatever h5py raises inside becomes a ValueError that names it.

    Raises:
        ValueError: If the file is damaged or no MATLAB 7.3 file.
        RuntimeError: If h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise RuntimeError(
            f"{path}: expected the package h5py to read it, found none; pip install h5py"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except Exception as error:  # damaged bytes make HDF5 raise many types
        found = f"a damaged or incomplete one ({reason(error)})"
        raise refusal(path, "a MATLAB 7.3 (HDF5) file", found, "download it again") from error


def _to_thirteen(path: Path) -> np.ndarray:
    """(40,) classes 1 to 13 from the one struct of the mapping file, whatever its fields' names."""
    row = read_mat(path, "classMapping13").ravel()
    expected = f"40 classes from 1 to {len(CLASSES)} in 'classMapping13'"
    whole = row.dtype.kind in "iu" and len(row) == 40
    if not whole or row.min() < 1 or row.max() > len(CLASSES):
        raise refusal(path, expected, f"{len(row)} {row.dtype}")
    return row.astype(np.int64)
