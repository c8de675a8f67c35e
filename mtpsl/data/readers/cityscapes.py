"""Cityscapes from disk: 2975 training and 500 test images, the official validation split.

Two layouts are recognized by their folders: the official tree, ``leftImg8bit``, ``gtFine`` and
``disparity`` with one folder a city; and the preprocessed ``.npy`` tree that [XTC] and others use,
``{train,val}/{image,label_7,depth}/{i}.npy`` at 128x256, whose images cannot be matched to it.

The target ``depth`` is a disparity: the official 16-bit value p divided by 65535, about 0 to 0.49,
as in the preprocessed files; p = 0 means that there is none, and (p - 1) / 256 is the disparity in
pixels of the full width of 2048. It is not rescaled when images are resized.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.fingerprint import fingerprint
from mtpsl.data.readers import disk, reading
from mtpsl.data.readers.reading import listing, missing, refusal, whole_ids
from mtpsl.data.scenes import streets7
from mtpsl.losses import IGNORE_INDEX

SPLITS = {"train": "train", "test": "val"}  # ours -> the folder's name, in both layouts

OF_19 = (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 6, 6, 6, 6, 6)
"""The group's index of each of the 19 evaluated classes (road, sidewalk, building, ...)."""

LABELS = ("label_7", "label", "label_19")  # folders of labels, the preferred one first
FULL = 65535  # what the preprocessing divides the 16-bit disparities by
LARGEST_PIXELS = 256.0  # disparity that 16 bits can express
SNIFFED = 8  # files a split that an encoding is judged on

ENCODINGS = {
    "16-bit": ("16-bit pictures, 0 where there is none", 0, FULL),
    "scaled": ("16-bit values divided by 65535, 0 where there is none", 0, 1),
    "raw": ("16-bit values, 0 where there is none", 0, FULL),
    "pixels": ("pixels of the full width, at most 0 where there is none", -1, LARGEST_PIXELS),
}
"""How files hold a disparity -> what the report calls it, the least and the largest value."""

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


class Official:
    """``{leftImg8bit,gtFine,disparity}/{split}/{city}/{city}_{seq}_{frame}_*.png``.

    The root holds the three folders, or ``*_trainvaltest`` folders that hold one each.
    """

    title = "official tree"
    encoding = "16-bit"
    labels = "gtFine/*_labelIds.png"

    def __init__(self, root: Path, split: str, others: str) -> None:
        pictures, folders = {}, {}
        for part, ending in PARTS.items():
            folder = official_part(root, part)
            if folder is None:
                remedy = f"unpack {part}_trainvaltest.zip there"
                raise missing(root / part, "a folder of Cityscapes", "none", remedy)
            folders[part] = folder / SPLITS[split]
            pictures[part] = _pictures(folders[part], ending)
        images = pictures["leftImg8bit"]
        for part, paths in pictures.items():
            for city, name in sorted(set(images) ^ set(paths)):
                here, there = ("leftImg8bit", part)[:: 1 if (city, name) in images else -1]
                path = folders[there] / city / (name + PARTS[there])
                expected = f"the partner of {pictures[here][city, name].name}"
                raise missing(path, expected, remedy=f"unpack {there}_trainvaltest.zip again")
        keys = sorted(images)  # by city, then by name
        self.ids = tuple(name for _, name in keys)
        self.paths = [tuple(pictures[part][key] for part in PARTS) for key in keys]
        self.table = id_table(others)

    def read(self, index: int) -> Sample:
        picture, label, depth = self.paths[index]
        image = reading.read_picture(picture, ("RGB",))
        size = image.shape[:2]
        ids = reading.read_picture(label, reading.CLASS_IDS, "a picture of label ids", size)
        reading.check_range(label, ids, 0, len(self.table) - 1, "label ids")
        raw = reading.read_picture(depth, reading.SIXTEEN_BITS, "a picture of disparities", size)
        reading.check_range(depth, raw, 0, FULL, "disparity")
        disparity = decode(raw, self.encoding)
        return to_sample(disk.to_image(image), torch.from_numpy(self.table[ids]), disparity)

    def files(self, index: int) -> dict[str, Path]:
        return dict(zip(PARTS, self.paths[index], strict=True))

    def all_files(self) -> list[Path]:
        return [path for paths in self.paths for path in paths]

    def notes(self) -> Iterator[str]:
        yield "classes that are not evaluated, such as parking, are read as void"


class Npy:
    """``{train,val}/{image,label_7,label_19,label,depth}/{i}.npy``, the preprocessed layout."""

    title = ".npy files"

    def __init__(self, root: Path, split: str, others: str) -> None:
        if others != "void":
            expected = "'void' for .npy files, whose labels are grouped already"
            raise ValueError(f"others: expected {expected}, got {others!r}")
        self.folder = root / SPLITS[split]
        present = [name for name in LABELS if (self.folder / name).is_dir()]
        if not present:
            expected = "a folder label_7 (or label, or label_19) of .npy files"
            raise missing(self.folder, expected, listing(self.folder))
        self.labels = present[0]
        self.folders = ("image", self.labels, "depth")
        self.ids = tuple(str(i) for i in range(reading.count_numbered(self.folder, self.folders)))
        self.classes = 19 if self.labels == "label_19" else 7
        if self.labels == "label":  # of either
            few = [self.files(i)["label"] for i in disk.spread(len(self.ids), SNIFFED)]
            largest = max(reading.read_npy(path, (None, None)).max() for path in few)
            self.classes = 19 if largest > 6 else 7
        self.encoding = sniff_encoding(root)

    def read(self, index: int) -> Sample:
        image_path, label_path, depth_path = self.files(index).values()
        image = reading.read_npy(image_path, (None, None, 3), (0, 1))
        size = image.shape[:2]
        ids = whole_ids(label_path, reading.read_npy(label_path, size), -1, self.classes - 1)
        if self.classes == 19:
            ids = np.append(OF_19, -1)[ids]  # -1 is the last
        depth = reading.read_npy(depth_path, (*size, 1))
        _, low, high = ENCODINGS[self.encoding]
        reading.check_range(depth_path, depth, low, high, f"disparity ({self.encoding})")
        ids = torch.from_numpy(np.where(ids < 0, IGNORE_INDEX, ids).astype(np.int64))
        disparity = decode(depth[..., 0], self.encoding)
        return to_sample(disk.channels_first(image).clamp(0, 1), ids, disparity)

    def files(self, index: int) -> dict[str, Path]:
        return {name: self.folder / name / f"{index}.npy" for name in self.folders}

    def all_files(self) -> list[Path]:
        return [self.folder / name / f"{i}.npy" for name in self.folders for i in self.ids]

    def notes(self) -> Iterator[str]:
        """How label_7 counts the classes that are not evaluated, told by label_19 beside it."""
        if self.labels != "label_7" or not (self.folder / "label_19").is_dir():
            return
        extra = wrong = pixels = 0
        for index in disk.spread(len(self.ids), SNIFFED):
            fine_path = self.folder / "label_19" / f"{index}.npy"
            try:
                coarse = reading.read_npy(self.files(index)["label_7"], (None, None))
                fine = whole_ids(fine_path, reading.read_npy(fine_path, coarse.shape), -1, 18)
            except (ValueError, FileNotFoundError) as error:
                yield f"label_19 cannot be compared: {error}"
                return
            group = np.append(OF_19, -1)[fine]
            extra += int(((group < 0) & (coarse >= 0)).sum())
            wrong += int(((group >= 0) & (group != coarse)).sum())
            pixels += fine.size
        extra, wrong = 100 * extra / pixels, 100 * wrong / pixels
        role = f"members of their groups ({extra:.2f} %)" if extra else "void"
        yield f"classes that are not evaluated, such as parking, are {role} here"
        if wrong:
            yield f"label_7 and label_19 disagree in {wrong:.2f} % of pixels: unusual"


def to_sample(image: Tensor, ids: Tensor, disparity: Tensor) -> Sample:
    """A sample of an image (3, H, W) and maps (H, W): ids and disparity, NaN where none."""
    targets = {"semseg": ids[None], "depth": disparity[None]}
    return disk.sample_of(image, targets, streets7.TASKS)


def decode(values: np.ndarray, encoding: str) -> Tensor:
    """Disparities as the 16-bit value p / 65535, NaN where there is none: same shape, float32.

    The values hold p in the encodings ``"16-bit"`` and ``"raw"``, p / 65535 in ``"scaled"``, and
    (p - 1) / 256 in ``"pixels"``.
    """
    exact = values.astype(np.float64)
    known = exact > 0
    if encoding == "pixels":
        exact = (256 * exact + 1) / FULL
    elif encoding != "scaled":
        exact = exact / FULL
    return torch.from_numpy(np.where(known, exact, np.nan).astype(np.float32))


def sniff_encoding(root: Path) -> str:
    """How the ``.npy`` files under ``root`` hold disparities, judged on a few of both splits."""
    most, whole, below = 0.0, True, 0.0
    for split in SPLITS.values():
        paths = sorted((root / split / "depth").glob("*.npy"))
        for path in (paths[i] for i in disk.spread(len(paths), SNIFFED)):
            array = reading.read_npy(path, (None, None, 1))
            reading.check_range(path, array, -1, FULL, "disparity")
            most, whole = max(most, float(array.max())), whole and bool((array % 1 == 0).all())
            upper, lower = np.array_split(array, [len(array) // 2])
            below += float(lower.mean() - upper.mean()) if len(upper) else 0.0
    folder = root / "{train,val}" / "depth"
    if most == 0:
        raise refusal(folder, "disparities", "only zeros", "copy them again")
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
    known = "divided by 65535 (up to about 0.5), whole 16-bit values, or pixels (up to 126)"
    found = f"numbers up to {most:g}"
    raise refusal(folder, f"disparities {known}", found, "convert them to one of these")


def id_table(others: str) -> np.ndarray:
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
        raise missing(folder, "a folder with one a city", "none")
    pictures = {}
    for city in sorted(p for p in folder.iterdir() if p.is_dir()):
        pattern = re.compile(re.escape(city.name) + r"_\d{6}_\d{6}" + re.escape(ending))
        for path in sorted(city.glob("*.png")):
            if pattern.fullmatch(path.name):
                pictures[city.name, path.name.removesuffix(ending)] = path
            elif path.name.endswith(ending) or not ending.startswith("_gtFine"):
                name = f"a name such as {city.name}_000000_000019{ending} in the folder {city.name}"
                raise refusal(path, name, path.name, "put it into the folder of its city")
    if not pictures:
        expected = f"files such as aachen/aachen_000000_000019{ending}"
        raise missing(folder, expected, listing(folder))
    return pictures


# ------------------------------------------------------------- the data set


@final
class Cityscapes(disk.FolderDataset):
    """A split of Cityscapes on disk, with 7 classes and the disparity.

    Official images are sorted by city and name, and rounded to 8 bits after resizing.

    Args:
        split, height, width, images: See ``disk.FolderDataset``.
        root: The folder of one of the layouts, or the folder that contains it as ``cityscapes``
            or ``cityscapes2``.
        others: What the eight classes are that Cityscapes labels but does not evaluate, such as
            parking and bridges: ``"void"``, the default, because only the 19 evaluated classes
            are in every kind of file, so that label ids, train ids and ``label_19`` read the same;
            ``"category"``: members of their groups (official label ids only).
    """

    name = "cityscapes"
    tasks = streets7.TASKS
    choices: ClassVar = {"others": ("void", "category")}
    default_size = (128, 256)

    def open_root(self, path: Path) -> tuple[str, ...]:
        self.root, kind = find_root(path)
        layouts = {split: kind(self.root, split, self.others) for split in SPLITS}
        self.layout, self.rounds_images = layouts[self.split], kind is Official
        every = [path for layout in layouts.values() for path in layout.all_files()]
        self.version = fingerprint("official" if kind is Official else "npy", self.root, every)
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
        described, *_ = ENCODINGS[self.layout.encoding]
        yield f"labels from {self.layout.labels}; disparity as {described}"
        yield from self.layout.notes()


def find_root(path: str | Path) -> tuple[Path, type[Official] | type[Npy]]:
    """The folder that holds a layout, and which: ``path`` or one in it."""
    path = Path(path)
    for root in (path, path / "cityscapes", path / "cityscapes2"):
        if official_part(root, "leftImg8bit"):
            return root, Official
        folders = [root / split for split in SPLITS.values() if (root / split / "image").is_dir()]
        if folders and not any((folder / "normal").is_dir() for folder in folders):  # as NYUD-v2
            return root, Npy
    places = "leftImg8bit/train/aachen or with train/image/0.npy and train/label_7/0.npy"
    raise missing(path, f"Cityscapes as a folder with {places}", listing(path))
