"""Cityscapes from disk: 2975 training and 500 test images, the official validation split.

Two layouts are recognized by their folders. The official tree, ``leftImg8bit``, ``gtFine`` and
``disparity`` with one folder a city; and the preprocessed ``.npy`` tree that [XTC] and others use,
``{train,val}/{image,label_7,depth}/{i}.npy`` at 128x256, whose images cannot be matched to the
official names. Nothing is repaired or skipped silently.

The target ``depth`` is a disparity: the official 16-bit value p divided by 65535, about 0 to 0.49,
as in the preprocessed files; p = 0 means that there is none, and (p - 1) / 256 is the disparity in
pixels of the full width of 2048. It is not rescaled when images are resized.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import final

import numpy as np
import torch

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
from mtpsl.data.readers.cityscapes_npy import (
    ENCODINGS,
    FULL,
    SPLITS,
    Encoding,
    Npy,
    Others,
    decode,
    to_sample,
)
from mtpsl.data.readers.files import (
    CLASS_IDS,
    SIXTEEN_BITS,
    check_range,
    fingerprint,
    listing,
    read_picture,
)
from mtpsl.data.scenes import streets7
from mtpsl.losses import IGNORE_INDEX

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

PARTS = {
    "leftImg8bit": "_leftImg8bit.png",
    "gtFine": "_gtFine_labelIds.png",
    "disparity": "_disparity.png",
}
"""Folder of the official tree -> how the names of the files that are read end."""

OF_OTHERS = ("normal", "semseg")  # folders of .npy files of NYUD-v2 and of PASCAL-Context


class Official:
    """``{leftImg8bit,gtFine,disparity}/{split}/{city}/{city}_{seq}_{frame}_*.png``.

    Args:
        root: Holds the three folders, or ``*_trainvaltest`` folders that hold one each.
        split: ``"train"`` or ``"test"``.
        others: See ``Cityscapes``.
    """

    title = "official tree"
    encoding: Encoding = "16-bit"
    labels = "gtFine/*_labelIds.png"

    def __init__(self, root: Path, split: str, others: Others) -> None:
        pictures, folders = {}, {}
        for part, ending in PARTS.items():
            folder = official_part(root, part)
            if folder is None:
                raise FileNotFoundError(
                    f"{root / part}: expected a folder of Cityscapes, found none; "
                    f"unpack {part}_trainvaltest.zip there"
                )
            folders[part] = folder / SPLITS[split]
            pictures[part] = _pictures(folders[part], ending)
        images = pictures["leftImg8bit"]
        for part, paths in pictures.items():
            for city, name in sorted(set(images) ^ set(paths)):
                here, there = ("leftImg8bit", part)[:: 1 if (city, name) in images else -1]
                raise FileNotFoundError(
                    f"{folders[there] / city / name}{PARTS[there]}: expected the partner of "
                    f"{pictures[here][city, name].name}, found no such file; "
                    f"unpack {there}_trainvaltest.zip again"
                )
        keys = sorted(images)  # by city, then by name
        self.ids = tuple(name for _, name in keys)
        self.paths = [tuple(pictures[part][key] for part in PARTS) for key in keys]
        self.table = id_table(others)

    def read(self, index: int) -> Sample:
        picture, label, depth = self.paths[index]
        image = read_picture(picture, ("RGB",))
        size = image.shape[:2]
        ids = read_picture(label, CLASS_IDS, "a picture of label ids", size)
        check_range(label, ids, 0, len(self.table) - 1, "label ids")
        raw = read_picture(depth, SIXTEEN_BITS, "a picture of disparities", size)
        check_range(depth, raw, 0, FULL, "disparity")
        disparity = decode(raw, self.encoding)
        return to_sample(disk.to_image(image), torch.from_numpy(self.table[ids]), disparity)

    def files(self, index: int) -> dict[str, Path]:
        return dict(zip(PARTS, self.paths[index], strict=True))

    def all_files(self) -> list[Path]:
        return [path for paths in self.paths for path in paths]

    def notes(self) -> Iterator[str]:
        yield f"labels from {self.labels}; disparity as {ENCODINGS[self.encoding]}"
        yield "classes that are not evaluated, such as parking, are read as void"


def id_table(others: Others) -> np.ndarray:
    """(34,) int64: official label id -> class, ``IGNORE_INDEX`` where void."""
    table = np.full(34, IGNORE_INDEX, dtype=np.int64)
    for index, members in enumerate(GROUPS.values()):
        table[list(members)] = index
    if others == "void":
        table[list(NOT_EVALUATED)] = IGNORE_INDEX
    return table


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
    pictures = {}
    for city in sorted(p for p in folder.iterdir() if p.is_dir()):
        pattern = re.compile(re.escape(city.name) + r"_\d{6}_\d{6}" + re.escape(ending))
        for path in sorted(city.glob("*.png")):
            if pattern.fullmatch(path.name):
                pictures[city.name, path.name.removesuffix(ending)] = path
            elif path.name.endswith(ending) or not ending.startswith("_gtFine"):
                raise ValueError(
                    f"{path}: expected a name such as {city.name}_000000_000019{ending} in the "
                    f"folder {city.name}, found {path.name}; put it into the folder of its city"
                )
    if not pictures:
        raise FileNotFoundError(
            f"{folder}: expected files such as aachen/aachen_000000_000019{ending}, found "
            f"{listing(folder)}"
        )
    return pictures


# ------------------------------------------------------------- the data set


@final
class Cityscapes(disk.FolderDataset):
    """A split of Cityscapes on disk, with 7 classes and the disparity.

    Official images are sorted by city and name, and rounded to 8 bits after resizing.

    Args:
        split: See ``disk.FolderDataset``, as for what is not explained here.
        height: See there.
        width: See there.
        images: See there.
        root: The folder of one of the layouts, or the folder that contains it as ``cityscapes``
            or ``cityscapes2``.
        others: What the eight classes are that Cityscapes labels but does not evaluate, such as
            parking and bridges: ``"void"``, the default, because only the 19 evaluated classes
            are in every kind of file, so that label ids, train ids and ``label_19`` read the same;
            ``"category"``: members of their groups (official label ids only).
    """

    name = "cityscapes"
    tasks = streets7.TASKS
    default_size = (128, 256)

    def __init__(
        self,
        split: str,
        *,
        height: int | None = None,
        width: int | None = None,
        images: int | None = None,
        root: str | Path,
        others: Others = "void",
    ) -> None:
        if others not in ("void", "category"):
            raise ValueError(f"others: expected 'void' or 'category', got {others!r}")
        self.others = others
        super().__init__(split, height=height, width=width, images=images, root=root)

    def open_root(self, path: Path) -> tuple[str, ...]:
        self.root, kind = find_root(path)
        layouts = {split: kind(self.root, split, self.others) for split in SPLITS}
        self.layout, self.rounds_images = layouts[self.split], kind is Official
        every = [path for layout in layouts.values() for path in layout.all_files()]
        self.version = fingerprint("official" if kind is Official else "npy", self.root, [every])
        if self.others != "void":
            self.version += f"-{self.others}"
        return self.layout.ids

    def read(self, index: int) -> Sample:
        return self.layout.read(index)

    @classmethod
    def describe_root(cls, path: str | Path) -> str:
        root, kind = find_root(path)
        return f"Cityscapes as {kind.title}: {root}"

    def files(self, index: int) -> dict[str, Path]:
        return self.layout.files(index)

    def notes(self) -> Iterator[str]:
        yield from self.layout.notes()


def find_root(path: str | Path) -> tuple[Path, type[Official] | type[Npy]]:
    """The folder that holds a layout, and which: ``path``, its ``cityscapes`` or ``cityscapes2``.

    Raises:
        FileNotFoundError: If none does, or if the ``.npy`` files are those of another data set.
    """
    path = Path(path)
    for root in (path, path / "cityscapes", path / "cityscapes2"):
        if official_part(root, "leftImg8bit"):
            return root, Official
        folders = [root / split for split in SPLITS.values() if (root / split / "image").is_dir()]
        if folders and not any((f / name).is_dir() for f in folders for name in OF_OTHERS):
            return root, Npy
    raise FileNotFoundError(
        f"{path}: expected Cityscapes as a folder with leftImg8bit/train/aachen or with "
        f"train/image/0.npy and train/label_7/0.npy, found {listing(path)}"
    )
