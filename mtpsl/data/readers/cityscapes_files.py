"""The two layouts in which people have Cityscapes, and how each of them is read.

A layout knows its files and gives an image with its label and disparity as they are on disk;
``cityscapes.Cityscapes`` turns them into samples.
"""

import re
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.readers import disk
from mtpsl.data.readers.files import (
    CLASS_IDS,
    SIXTEEN_BITS,
    check_range,
    listing,
    read_npy,
    read_picture,
    whole_ids,
)
from mtpsl.losses import IGNORE_INDEX

SPLITS = {"train": "train", "test": "val"}  # ours -> the folder's name

GROUPS = {
    "flat": (7, 8, 9, 10),
    "construction": (11, 12, 13, 14, 15, 16),
    "object": (17, 18, 19, 20),
    "nature": (21, 22),
    "sky": (23,),
    "human": (24, 25),
    "vehicle": (26, 27, 28, 29, 30, 31, 32, 33),
}
"""Class -> the ids of its members in the official label pictures; ids 0 to 6 are void."""

NOT_EVALUATED = (9, 10, 14, 15, 16, 18, 29, 30)
"""Parking, rail track, guard rail, bridge, tunnel, pole group, caravan, trailer."""

OF_19 = (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 6, 6, 6, 6, 6)
"""Of each of the 19 evaluated classes (road, sidewalk, building, ...): its group's index."""

PARTS = {
    "leftImg8bit": "_leftImg8bit.png",
    "gtFine": "_gtFine_labelIds.png",
    "disparity": "_disparity.png",
}
"""Folder of the official tree -> how the names of the files that are read end."""

LABELS = ("label_7", "label", "label_19")  # folders of labels, the preferred one first
FULL = 65535  # what the preprocessing divides the 16-bit disparities by
LARGEST_PIXELS = 256.0  # disparity that 16 bits can express
SNIFFED = 8  # files a split that an encoding is judged on

Others = Literal["void", "category"]
Encoding = Literal["16-bit", "scaled", "raw", "pixels"]


class Frame(NamedTuple):
    """One image as it is on disk."""

    image: Tensor  # (3, H, W) float32 in [0, 1]
    ids: Tensor  # (1, H, W) int64 in [0, 7), IGNORE_INDEX where void
    disparity: Tensor  # (1, H, W) float32, the 16-bit value / 65535; NaN where there is none


class Layout(Protocol):
    """One of the layouts, opened at a split."""

    name: str  # for reports
    ids: tuple[str, ...]  # of the images, in order
    encoding: Encoding  # of the disparity
    labels: str  # which files the labels come from

    def read(self, index: int) -> Frame:
        """The image at ``index``; raises ``ValueError`` if its files are damaged."""

    def files(self) -> list[Path]:
        """All files that ``read`` may open, in order."""


class Official:
    """``{leftImg8bit,gtFine,disparity}/{split}/{city}/{city}_{seq}_{frame}_*.png``.

    Args:
        root: Holds the three folders, or ``*_trainvaltest`` folders that hold one each.
        split: ``"train"`` or ``"test"``.
        others: See ``cityscapes.Cityscapes``.
    """

    name = "official tree"
    encoding: Encoding = "16-bit"
    labels = "gtFine/*_labelIds.png"

    def __init__(self, root: Path, split: str, others: Others) -> None:
        found = {}
        for part, ending in PARTS.items():
            folder = official_part(root, part)
            if folder is None:
                raise FileNotFoundError(
                    f"{root / part}: expected a folder of Cityscapes, found none; "
                    f"unpack {part}_trainvaltest.zip there"
                )
            found[part] = _pictures(folder / SPLITS[split], ending)
        for part, paths in found.items():
            alone = sorted(set(found["leftImg8bit"]) ^ set(paths))
            if alone:
                _refuse_single(alone[0], part, found)
        keys = sorted(found["leftImg8bit"])  # by city, then by name
        self.ids = tuple(name for _, name in keys)
        self.paths = [tuple(found[part][key] for part in PARTS) for key in keys]
        self.table = id_table(others)

    def read(self, index: int) -> Frame:
        picture, label, disparity = self.paths[index]
        image = read_picture(picture, ("RGB",))
        size = image.shape[:2]
        ids = read_picture(label, CLASS_IDS, "a picture of label ids", size)
        check_range(label, ids, 0, len(self.table) - 1, "label ids")
        raw = read_picture(disparity, SIXTEEN_BITS, "a picture of disparities", size)
        check_range(disparity, raw, 0, FULL, "disparity")
        return Frame(
            torch.from_numpy(image.copy()).movedim(-1, 0).float() / 255,
            torch.from_numpy(self.table[ids])[None],
            decode(raw, self.encoding)[None],
        )

    def files(self) -> list[Path]:
        return [path for paths in self.paths for path in paths]


class Npy:
    """``{train,val}/{image,label_7,label_19,label,depth}/{i}.npy``, the preprocessed layout.

    Args:
        root: Holds ``train`` and ``val``.
        split: ``"train"`` or ``"test"``.
    """

    name = ".npy files"

    def __init__(self, root: Path, split: str) -> None:
        self.folder = root / SPLITS[split]
        present = [name for name in LABELS if (self.folder / name).is_dir()]
        if not present:
            raise FileNotFoundError(
                f"{self.folder}: expected a folder label_7 (or label, or label_19) of .npy files, "
                f"found {listing(self.folder)}"
            )
        self.labels = present[0]
        self.folders = ("image", self.labels, "depth")
        self.ids = tuple(str(i) for i in range(_count(self.folder, self.folders)))
        self.classes = 19 if self.labels == "label_19" else 7
        if self.labels == "label" and self._largest_label() > 6:
            self.classes = 19
        self.encoding: Encoding = sniff_encoding(root)

    def read(self, index: int) -> Frame:
        image_path, label_path, depth_path = (
            self.folder / name / f"{index}.npy" for name in self.folders
        )
        image = read_npy(image_path, (None, None, 3))
        size = image.shape[:2]
        check_range(image_path, image, 0.0, 1.0, kinds="f")
        ids = whole_ids(label_path, read_npy(label_path, size), -1, self.classes - 1)
        if self.classes == 19:
            ids = np.append(OF_19, -1)[ids]  # -1 is the last
        depth = read_npy(depth_path, (*size, 1))
        low, high = {"scaled": (0, 1), "raw": (0, FULL), "pixels": (-1, LARGEST_PIXELS)}[
            self.encoding
        ]
        check_range(depth_path, depth, low, high, f"disparity ({self.encoding})")
        channels = np.ascontiguousarray(np.moveaxis(image, -1, 0), dtype=np.float32)
        return Frame(
            torch.from_numpy(channels).clamp(0, 1),
            torch.from_numpy(np.where(ids < 0, IGNORE_INDEX, ids).astype(np.int64))[None],
            decode(depth[..., 0], self.encoding)[None],
        )

    def files(self) -> list[Path]:
        return [self.folder / name / f"{i}.npy" for name in self.folders for i in self.ids]

    def _largest_label(self) -> float:
        paths = [self.folder / self.labels / f"{i}.npy" for i in self.ids]
        chosen = [paths[i] for i in disk.spread(len(paths), SNIFFED)]
        return max(float(read_npy(path, (None, None)).max()) for path in chosen)


def id_table(others: Others) -> np.ndarray:
    """(34,) int64: official label id -> class, ``IGNORE_INDEX`` where void."""
    table = np.full(34, IGNORE_INDEX, dtype=np.int64)
    for index, members in enumerate(GROUPS.values()):
        table[list(members)] = index
    if others == "void":
        table[list(NOT_EVALUATED)] = IGNORE_INDEX
    return table


def decode(values: np.ndarray, encoding: Encoding) -> Tensor:
    """Disparities as the 16-bit value / 65535, NaN where there is none: same shape, float32.

    Args:
        values: In ``encoding``: ``"16-bit"`` and ``"raw"`` p, 0 where there is none;
            ``"scaled"`` p / 65535; ``"pixels"`` (p - 1) / 256, at most 0 where there is none.
        encoding: One of these.
    """
    exact = values.astype(np.float64)
    known = exact > 0
    if encoding == "pixels":
        exact = (256 * exact + 1) / FULL
    elif encoding != "scaled":
        exact = exact / FULL
    return torch.from_numpy(np.where(known, exact, np.nan).astype(np.float32))


def to_pixels(disparity: Tensor) -> Tensor:
    """A target of ``Cityscapes`` in pixels of the full width of 2048: (p - 1) / 256."""
    return (disparity * FULL - 1) / 256


def sniff_encoding(root: Path) -> Encoding:
    """How the ``.npy`` files under ``root`` hold disparities, judged on a few of both splits.

    Raises:
        ValueError: If they fit none, or look like depths in meters.
    """
    most, whole, below = 0.0, True, 0.0
    paths: list[Path] = []
    for split in SPLITS.values():
        files = sorted((root / split / "depth").glob("*.npy"))
        paths += [files[i] for i in disk.spread(len(files), SNIFFED)]
    for path in paths:
        array = read_npy(path, (None, None, 1))
        check_range(path, array, -1, FULL, "disparity")
        most, whole = max(most, float(array.max())), whole and bool((array == array.round()).all())
        middle = len(array) // 2
        below += float(array[middle:].mean() - array[:middle].mean()) if middle else 0.0
    folder = root / "{train,val}" / "depth"
    if most == 0:
        raise ValueError(f"{folder}: expected disparities, found only zeros; copy them again")
    if most <= 1:
        return "scaled"
    if whole and most > LARGEST_PIXELS:
        return "raw"
    if below < 0:
        raise ValueError(
            f"{folder}: expected disparities, which are larger below, where things are near; found "
            f"numbers up to {most:g} that are larger above, such as depths in meters; use disparity"
        )
    if most <= LARGEST_PIXELS and not whole:
        return "pixels"
    raise ValueError(
        f"{folder}: expected disparities divided by 65535 (up to about 0.5), whole 16-bit values, "
        f"or pixels (up to 126), found numbers up to {most:g}; convert them to one of these"
    )


def official_part(root: Path, part: str) -> Path | None:
    """The folder of a part of the official tree, if it is there."""
    folders = (root / part, root / f"{part}_trainvaltest" / part, root / f"{part}_trainvaltest")
    for folder in folders:
        if any((folder / split).is_dir() for split in SPLITS.values()):
            return folder
    return None


def _pictures(folder: Path, ending: str) -> dict[tuple[str, str], Path]:
    """(city, name without ending) -> file, of all cities of a split."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder with one a city, found none")
    found = {}
    for city in sorted(p for p in folder.iterdir() if p.is_dir()):
        pattern = re.compile(re.escape(city.name) + r"_\d{6}_\d{6}" + re.escape(ending))
        for path in sorted(city.glob("*.png")):
            if pattern.fullmatch(path.name):
                found[city.name, path.name.removesuffix(ending)] = path
            elif path.name.endswith(ending) or not ending.startswith("_gtFine"):
                raise ValueError(
                    f"{path}: expected a name such as {city.name}_000000_000019{ending} in the "
                    f"folder {city.name}, found {path.name}; put it into the folder of its city"
                )
    if not found:
        raise FileNotFoundError(
            f"{folder}: expected files such as aachen/aachen_000000_000019{ending}, found "
            f"{listing(folder)}"
        )
    return found


def _refuse_single(
    key: tuple[str, str], part: str, found: dict[str, dict[tuple[str, str], Path]]
) -> None:
    """Says which file is missing beside the one that is there."""
    here, there = ("leftImg8bit", part) if key in found["leftImg8bit"] else (part, "leftImg8bit")
    city, name = key
    example = next(iter(found[there].values()))
    missing = example.parents[1] / city / f"{name}{PARTS[there]}"
    raise FileNotFoundError(
        f"{missing}: expected the partner of {found[here][key].name}, found no such file; "
        f"unpack {there}_trainvaltest.zip again"
    )


def _count(folder: Path, names: tuple[str, ...]) -> int:
    """N of a split whose folders must each hold exactly 0.npy to N-1.npy."""
    counts = {}
    for name in names:
        if not (folder / name).is_dir():
            raise FileNotFoundError(f"{folder / name}: expected a folder of .npy files, found none")
        files = [f.name for f in (folder / name).iterdir() if f.suffix == ".npy"]
        odd = sorted(f for f in files if not f[:-4].isdecimal() or f != f"{int(f[:-4])}.npy")
        if odd:
            raise ValueError(f"{folder / name}: expected names such as 17.npy, found {odd[0]}")
        counts[name] = len(files)
        gap = sorted(set(range(len(files))) - {int(f[:-4]) for f in files})
        if gap:
            raise FileNotFoundError(
                f"{folder / name / f'{gap[0]}.npy'}: expected files 0.npy to {len(files) - 1}.npy "
                "without gaps, found none of that name"
            )
    if len(set(counts.values())) > 1 or not counts["image"]:
        raise ValueError(f"{folder}: expected as many files in each folder, found {counts}")
    return counts["image"]
