"""NYUD-v2 as folders of pictures and arrays: the NYUD_MT archives, and the tree of PNG files.

Both may come with other file types in a folder than the next person's copy, so the type is found
out folder by folder. Normals without a convention of their own are brought into ours when the
depth proves which channel is which axis.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import torch

from mtpsl.data.readers.files import (
    CLASS_IDS,
    COLOR,
    SIXTEEN_BITS,
    check_range,
    check_shape,
    fingerprint,
    listing,
    missing,
    read_mat,
    read_npy,
    read_picture,
    refusal,
    whole_ids,
)
from mtpsl.data.readers.nyud_axes import (
    OURS,
    Axes,
    Camera,
    apply_axes,
    axes_name,
    normals_from_depth,
    pairs,
    settle_axes,
)
from mtpsl.data.readers.nyud_layout import (
    FORTY_TO_13,
    LARGEST_DEPTH,
    SPLITS,
    Arrays,
    Layout,
    first_below,
)

PROVING = 8  # images that settle the axes of the normals
UNIT = 0.5, 1.5  # lengths of a stored normal; others mark a hole
MILLIMETERS = 1000.0  # PNG depth

Files = Mapping[str, Path]  # image, label, depth and, where there are any, normal


class Folders(Layout):
    """What the layouts of one file an image and task share.

    Args:
        root: Folder of the layout.
        split: ``"train"`` or ``"test"``.
        axes: Of the normals' channels; None: as the depth proves, or as stored where it does not.
    """

    EXTENSIONS: ClassVar[dict[str, tuple[str, ...]]]  # image, label, ... -> types that are known

    def __init__(self, root: Path, split: str, axes: Axes | None = None) -> None:
        self.root, self.split = root, split
        self.files = self.list_files(split)  # name -> its files
        self.names = tuple(self.files)
        first = self.files[self.names[0]]
        self.axes = axes or OURS
        if "normal" not in first:
            self.notes = ("normals are not on disk: computed from the depth and the calibration",)
        elif axes is None:
            layout = self._training()
            self.axes, self.notes = settle(layout.read, len(layout.names))

    @abstractmethod
    def list_files(self, split: str) -> dict[str, Files]:
        """Every image of the split with its files, in order.

        Raises:
            FileNotFoundError: If a folder or a file is missing, naming it.
            ValueError: If names are double, or none are there.
        """

    @abstractmethod
    def read_ids(self, path: Path) -> tuple[np.ndarray, str]:
        """(H, W) int64, index into ``CLASSES`` or -1 for void, and the type in the file."""

    def read(self, index: int) -> Arrays:
        files = self.files[self.names[index]]
        image = read_picture(files["image"], COLOR, "a color picture")
        size = image.shape[:2]
        ids, id_type = self.read_ids(files["label"])
        check_shape(files["label"], ids, size)
        meters, depth_type = read_depth(files["depth"])
        check_shape(files["depth"], meters, size)
        stored = {"image": str(image.dtype), "label": id_type, "depth": depth_type}
        if "normal" in files:
            normal, stored["normal"] = read_normals(files["normal"])
            check_shape(files["normal"], normal, (*size, 3))
            normal = apply_axes(normal, self.axes)
        else:
            normal = normals_from_depth(meters, Camera.nyud(*size))
            stored["normal"] = "from depth"
        return Arrays(image.astype(np.float32) / 255, ids, meters, normal, stored)

    @cached_property
    def version(self) -> str:
        groups = []
        for split in SPLITS:
            try:
                files = self.list_files(split)
            except (ValueError, FileNotFoundError):
                continue  # the other split alone is a data set too
            kinds = next(iter(files.values()))
            groups += [[paths[kind] for paths in files.values()] for kind in kinds]
        return fingerprint("files", self.root, groups)

    def _training(self) -> "Folders":
        """The training images, which decide for both splits; these where there are none."""
        if self.split == "train":
            return self
        try:
            return type(self)(self.root, "train", OURS)
        except (ValueError, FileNotFoundError):
            return self


@final
class Archive(Folders):
    """NYUD_MT as in ASTMT and its successors: 40 classes and void, 480x640.

    ``gt_sets/{train,val}.txt`` list names; ``images``, ``segmentation``, ``depth`` and
    ``normals`` hold a file of each, of any type below. 40 classes are mapped to 13; the ``edge``
    folder is not read.
    """

    title = "the folders of the NYUD_MT archive"
    EXTENSIONS = {
        "image": (".jpg", ".png"),
        "label": (".png", ".mat"),
        "depth": (".npy", ".mat"),
        "normal": (".npy", ".png", ".jpg"),
    }
    FOLDER: ClassVar = {
        "image": "images",
        "label": "segmentation",
        "depth": "depth",
        "normal": "normals",
    }

    @classmethod
    def find(cls, path: Path) -> Path | None:
        for root in first_below(path, "NYUD_MT", "NYUDv2"):
            if (root / "gt_sets").is_dir() and (root / "images").is_dir():
                return root
        return None

    @classmethod
    def has(cls, root: Path, split: str) -> bool:
        return (root / "gt_sets" / f"{SPLITS[split]}.txt").exists()

    def list_files(self, split: str) -> dict[str, Files]:
        path = self.root / "gt_sets" / f"{SPLITS[split]}.txt"
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError as error:
            raise missing(path, "a list of names") from error
        except (OSError, UnicodeDecodeError) as error:
            raise refusal(path, "a list of names", "a damaged file") from error
        names = [name for name in names if name]
        if not names:
            raise refusal(path, "a name in each line", "none")
        double = [name for name, times in Counter(names).items() if times > 1]
        if double:
            raise refusal(path, "every name once", f"{double[0]!r} twice", "remove one")
        other = path.with_name(f"{SPLITS['test' if split == 'train' else 'train']}.txt")
        known = other.read_bytes().decode(errors="replace") if other.is_file() else ""
        if both := set(names) & {line.strip() for line in known.splitlines()}:
            raise refusal(
                path, f"no name of {other.name}", f"{min(both)!r} in both", "remove it from one"
            )
        odd = [name for name in names if Path(name).name != name or "\0" in name]
        if odd:
            raise refusal(path, "names without folders", repr(odd[0]), "use the published list")
        files = {}
        for kind, folder in self.FOLDER.items():
            if kind != "normal" or (self.root / folder).is_dir():
                files[kind] = self._partners(kind, folder, names)
        return {name: {kind: files[kind][name] for kind in files} for name in names}

    def _partners(self, kind: str, folder: str, names: list[str]) -> dict[str, Path]:
        """name -> path, all of the one type that the folder has for the names."""
        inside = self.root / folder
        if not inside.is_dir():
            raise FileNotFoundError(
                f"{inside}: expected a folder of {' or '.join(self.EXTENSIONS[kind])} files, "
                "found none; copy it"
            )
        there = {path.name for path in inside.iterdir()}
        counts = {
            extension: sum(name + extension in there for name in names)
            for extension in self.EXTENSIONS[kind]
        }
        extension = max(counts, key=counts.__getitem__)
        gone = next((name for name in names if name + extension not in there), None)
        if gone is not None:
            kinds = " or ".join(self.EXTENSIONS[kind])
            what = extension if any(counts.values()) else kinds
            found = f"{max(counts.values())} of {len(names)}"
            raise FileNotFoundError(
                f"{inside / gone}{extension}: expected a {what} file for every name of gt_sets, "
                f"found {found}; copy it from the source"
            )
        return {name: inside / (name + extension) for name in names}

    def read_ids(self, path: Path) -> tuple[np.ndarray, str]:
        if path.suffix == ".mat":
            array = read_mat(path, "segmentation")
        else:
            array = read_picture(path, CLASS_IDS, "a picture of class ids")
        check_shape(path, array, (None, None))
        return FORTY_TO_13[whole_ids(path, array, 0, 40)], str(array.dtype)


@final
class PngTree(Folders):
    """``{image,seg13,seg40,depth,normal}/{train,test}/00003.png``, as toolkits extract it.

    Class ids count from 0 with 255 for void; ``seg13`` is read, ``seg40`` where that is missing.
    Depth is 16-bit millimeters. Normals are a PNG or ``.npy`` each, or missing.
    """

    title = "a tree of PNG files"
    EXTENSIONS = {
        "image": (".png", ".jpg"),
        "label": (".png",),
        "depth": (".png",),
        "normal": (".npy", ".png"),
    }

    @classmethod
    def find(cls, path: Path) -> Path | None:
        for root in first_below(path, "NYUv2"):
            if any((root / "image" / split).is_dir() for split in SPLITS):
                return root
        return None

    @classmethod
    def has(cls, root: Path, split: str) -> bool:
        return (root / "image" / split).is_dir()

    def list_files(self, split: str) -> dict[str, Files]:
        folder = {"image": "image", "label": "seg13", "depth": "depth", "normal": "normal"}
        if not (self.root / "seg13" / split).is_dir() and (self.root / "seg40" / split).is_dir():
            folder["label"] = "seg40"
        found = {}
        for kind, name in folder.items():
            inside = self.root / name / split
            if inside.is_dir():
                found[kind] = self._by_name(kind, inside)
            elif kind != "normal":
                raise FileNotFoundError(
                    f"{inside}: expected a folder of {' or '.join(self.EXTENSIONS[kind])} files, "
                    f"found {listing(inside)}; copy it"
                )
        names = sorted(found["image"])
        if not names:
            raise refusal(self.root / "image" / split, "a picture", "none")
        for kind, paths in found.items():
            alone = sorted(set(names) ^ set(paths))
            if alone:
                path = (found["image"] | paths)[alone[0]]
                what = f"a partner in {folder[kind]}" if alone[0] in names else "an image of it"
                raise FileNotFoundError(
                    f"{path}: expected {what}, found none named {alone[0]!r}; "
                    "copy it or remove this one"
                )
        return {name: {kind: found[kind][name] for kind in found} for name in names}

    def _by_name(self, kind: str, folder: Path) -> dict[str, Path]:
        """name -> path, of the first known type that the folder has."""
        for extension in self.EXTENSIONS[kind]:
            paths = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix == extension}
            if paths:
                return paths
        return {}

    def read_ids(self, path: Path) -> tuple[np.ndarray, str]:
        array = read_picture(path, CLASS_IDS, "a picture of class ids")
        check_shape(path, array, (None, None))
        ids = array.astype(np.int64)
        ids[ids == 255] = -1
        if path.parent.parent.name == "seg40":
            return FORTY_TO_13[whole_ids(path, ids, -1, 39) + 1], str(array.dtype)
        return whole_ids(path, ids, -1, 12), str(array.dtype)


def read_depth(path: Path) -> tuple[np.ndarray, str]:
    """(H, W) float32 m, 0 where there is none, and the type in the file.

    ``.npy`` and ``.mat`` (variable ``depth``) hold meters, ``.png`` 16-bit millimeters.
    """
    if path.suffix == ".png":
        array = read_picture(path, SIXTEEN_BITS, "a 16-bit picture of millimeters")
        meters = array.astype(np.float64) / MILLIMETERS
    elif path.suffix == ".mat":
        meters = array = read_mat(path, "depth")
    else:
        meters = array = read_npy(path, (None, None))
    check_shape(path, meters, (None, None))
    check_range(path, meters, 0.0, LARGEST_DEPTH, kinds="f")
    return np.ascontiguousarray(meters, dtype=np.float32), str(array.dtype)


def read_normals(path: Path) -> tuple[np.ndarray, str]:
    """(H, W, 3) float32 of unit length, 0 where there is none, and the type in the file.

    ``.npy`` holds values in [-1, 1]; pictures hold them as 255 (v + 1) / 2, where a vector that is
    far from unit length marks a hole.

    Raises:
        ValueError: If the file is damaged, or not one vector is of about unit length.
    """
    if path.suffix == ".npy":
        array = read_npy(path, (None, None, 3))
        check_range(path, array, -1.0, 1.0, kinds="f")
        normal = array.astype(np.float32)
        least, most = 0.0, np.inf
    else:
        array = read_picture(path, COLOR, "a color picture of normals")
        normal = array.astype(np.float32) * (2 / 255) - 1
        least, most = UNIT
    length = np.sqrt(np.square(normal).sum(axis=-1, keepdims=True))
    known = (length > least) & (length < most)
    if not known.any():
        found = "zeros or other lengths only"
        raise refusal(path, "normals of unit length", found, "use the published file")
    return np.where(known, normal / np.maximum(length, 1e-12), 0).astype(np.float32), str(
        array.dtype
    )


def settle(read: Callable[[int], Arrays], images: int) -> tuple[Axes, tuple[str, ...]]:
    """What the channels of stored normals are, and what the report says about it.

    Args:
        read: Index -> an image whose normals are as stored.
        images: How many there are; ``PROVING`` of them are read.
    """
    seen = []
    for index in np.linspace(0, images - 1, min(PROVING, images)).round().astype(int).tolist():
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
