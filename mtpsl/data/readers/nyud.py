"""NYUD-v2 on disk, 795 training and 654 test images, in any of the layouts that people have.

The layout is found out, never asked for: the preprocessed ``.npy`` tree, the folders of the
NYUD_MT archive, a tree of PNG files, or the published MATLAB file. Whatever it is, there are 13
classes, depth in meters and normals in the camera frame (x right, y down, z forward). Nothing is
repaired or skipped silently.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import torch

from mtpsl.data.dataset import Sample
from mtpsl.data.fingerprint import fingerprint
from mtpsl.data.readers import disk, reading
from mtpsl.data.readers.disk import OURS, Axes
from mtpsl.data.readers.nyud_files import (
    CLASSES,
    COMPUTED,
    FORTY_TO_13,
    LARGEST_DEPTH,
    SPLITS,
    Arrays,
    Labeled,
    Layout,
    NpyTree,
    normals_of,
    settle,
)
from mtpsl.data.readers.reading import listing, missing, refusal, whole_ids
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import TaskSet, depth, normals, semseg

ARCHIVES = (".tgz", ".gz", ".tar", ".zip", ".bz2", ".xz")
MILLIMETERS = 1000.0  # PNG depth

Files = Mapping[str, Path]  # image, label, depth and, where there are any, normal


class Nyud(disk.FolderDataset):
    """A split of NYUD-v2 on disk.

    Args:
        split, height, width, images: See ``disk.FolderDataset``.
        root: The folder of the layout or the folder that contains it, or the MATLAB file.
        normals_test: Which normals count as annotated: ``"norm"``: of length above 0; ``"sum"``:
            whose components do not sum to 0, as in the released code, which drops real normals.

    Raises:
        RuntimeError: If a MATLAB 7.3 file is there, but not the package that reads it.
    """

    name = "nyud"
    tasks = TaskSet((semseg(CLASSES), depth(), normals()))
    choices: ClassVar = {"normals_test": ("norm", "sum")}
    default_size = (288, 384)

    def open_root(self, path: Path) -> tuple[str, ...]:
        kind, self.root = find_layout(path)
        self.layout = kind(self.root, self.split)
        self.version = self.layout.version
        return self.layout.names

    def read(self, index: int) -> Sample:
        return to_sample(self.layout.read(index), self.normals_test)

    @classmethod
    def describe_root(cls, path: str | Path) -> str:
        kind, root = find_layout(path)
        return f"NYUD-v2 as {kind.title}: {root}"

    def files(self, index: int) -> dict[str, Path]:
        return self.layout.files(index)

    def notes(self) -> Iterator[str]:
        yield from self.layout.notes


def to_sample(arrays: Arrays, normals_test: str = "norm") -> Sample:
    """Files' arrays in the form of all data sets: holes marked, normals of unit length."""
    ids = torch.from_numpy(arrays.ids)[None]
    meters = disk.channels_first(arrays.meters[..., None])
    normal = disk.channels_first(arrays.normal)
    length = normal.square().sum(dim=0, keepdim=True).sqrt()
    known = length > 0 if normals_test == "norm" else normal.sum(dim=0, keepdim=True) != 0
    known = known & (length > 0)
    targets = {
        "semseg": ids.masked_fill(ids < 0, IGNORE_INDEX),
        "depth": meters.masked_fill(meters <= 0, float("nan")),
        "normals": (normal / length.clamp(min=1e-12)).masked_fill(~known, float("nan")),
    }
    return disk.sample_of(disk.channels_first(arrays.image).clamp(0, 1), targets, Nyud.tasks)


def find_layout(path: str | Path) -> tuple[type[Layout], Path]:
    """The layout at ``path`` and its root: that folder or one in it."""
    path = Path(path)
    for kind in (NpyTree, Labeled, Archive, PngTree):
        root = kind.find(path)
        if root is not None:
            return kind, root
    found = f"{listing(path)}; name the folder of the data set"
    if path.is_file() and path.suffix in ARCHIVES:
        found = "an archive; unpack it"
    places = "train/image/0.npy, gt_sets/train.txt, image/train or nyu_depth_v2_labeled.mat"
    raise missing(path, f"a folder with {places}, in it or one level below", found)


# ------------------------------------------------------- folders of pictures


class Folders(Layout):
    """What layouts with one file per image and task share.

    ``axes`` are those of the normals' channels; None: as the depth proves, or as stored where it
    does not.
    """

    EXTENSIONS: ClassVar[dict[str, tuple[str, ...]]]  # image, label, ... -> types that are known

    def __init__(self, root: Path, split: str, axes: Axes | None = None) -> None:
        self.root, self.split = root, split
        self.images = self.list_files(split)  # name -> its files
        self.names = tuple(self.images)
        first = self.images[self.names[0]]
        self.axes = axes or OURS
        if "normal" not in first:
            self.notes = COMPUTED
        elif axes is None:
            layout = self._training()
            self.axes, self.notes = settle(layout.read, len(layout.names))

    @abstractmethod
    def list_files(self, split: str) -> dict[str, Files]:
        """Every image of the split with its files, in order."""

    @abstractmethod
    def read_ids(self, path: Path) -> np.ndarray:
        """(H, W) int64, index into ``CLASSES`` or -1 for void."""

    def read(self, index: int) -> Arrays:
        files = self.files(index)
        image = reading.read_picture(files["image"], reading.COLOR, "a color picture")
        size = image.shape[:2]
        ids = self.read_ids(files["label"])
        reading.check_shape(files["label"], ids, size)
        meters = read_depth(files["depth"])
        reading.check_shape(files["depth"], meters, size)
        normal = normals_of(files.get("normal"), meters, self.axes)
        return Arrays(image.astype(np.float32) / 255, ids, meters, normal)

    def files(self, index: int) -> dict[str, Path]:
        return dict(self.images[self.names[index]])

    @cached_property
    def version(self) -> str:
        every = sorted((self.root / "gt_sets").glob("*.txt"))  # where this layout has lists
        for split in SPLITS:
            try:
                files = self.list_files(split)
            except (ValueError, FileNotFoundError):
                continue  # the other split alone is a data set too
            every += [path for paths in files.values() for path in paths.values()]
        return fingerprint("files", self.root, every)

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
    places = ("NYUD_MT", "NYUDv2")
    marks: ClassVar = {"train": "gt_sets/train.txt", "test": "gt_sets/val.txt"}
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

    def list_files(self, split: str) -> dict[str, Files]:
        path = self.root / "gt_sets" / f"{SPLITS[split]}.txt"
        names = reading.read_list(path, "name", blank=True)
        other = path.with_name(f"{SPLITS['test' if split == 'train' else 'train']}.txt")
        known = other.read_bytes().decode(errors="replace") if other.is_file() else ""
        reading.check_apart(path, names, other, [line.strip() for line in known.splitlines()])
        odd = [name for name in names if Path(name).name != name or "\0" in name]
        if odd:
            raise refusal(path, "names without folders", repr(odd[0]), "use the published list")
        files = {}
        for kind, folder in self.FOLDER.items():
            if kind != "normal" or (self.root / folder).is_dir():
                source, remedy = "gt_sets", "copy it from the source"
                places = [self.root / folder]
                files[kind] = reading.find_each(
                    names, places, self.EXTENSIONS[kind], source, remedy
                )
        return {name: {kind: files[kind][name] for kind in files} for name in names}

    def read_ids(self, path: Path) -> np.ndarray:
        if path.suffix == ".mat":
            array = reading.read_numbers(path, "segmentation")
        else:
            array = reading.read_picture(path, reading.CLASS_IDS, "a picture of class ids")
        reading.check_shape(path, array, (None, None))
        return FORTY_TO_13[whole_ids(path, array, 0, 40)]


@final
class PngTree(Folders):
    """``{image,seg13,seg40,depth,normal}/{train,test}/00003.png``, as toolkits extract it.

    Class ids count from 0 with 255 for void; ``seg13`` is read, ``seg40`` where that is missing.
    Depth is 16-bit millimeters. Normals are a PNG or ``.npy`` each, or missing.
    """

    title = "a tree of PNG files"
    places = ("NYUv2",)
    marks: ClassVar = {split: f"image/{split}" for split in SPLITS}
    EXTENSIONS = {
        "image": (".png", ".jpg"),
        "label": (".png",),
        "depth": (".png",),
        "normal": (".npy", ".png"),
    }

    def list_files(self, split: str) -> dict[str, Files]:
        folder = {"image": "image", "label": "seg13", "depth": "depth", "normal": "normal"}
        if not (self.root / "seg13" / split).is_dir() and (self.root / "seg40" / split).is_dir():
            folder["label"] = "seg40"
        files: dict[str, dict[str, Path]] = {}
        for kind, name in folder.items():
            inside = self.root / name / split
            if inside.is_dir():
                files[kind] = self._by_name(kind, inside)
            elif kind != "normal":
                expected = f"a folder of {' or '.join(self.EXTENSIONS[kind])} files"
                raise missing(inside, expected, listing(inside), "copy it")
        names = sorted(files["image"])
        if not names:
            raise refusal(self.root / "image" / split, "a picture", "none")
        for kind, paths in files.items():
            alone = sorted(set(names) ^ set(paths))
            if alone:
                path = (files["image"] | paths)[alone[0]]
                what = f"a partner in {folder[kind]}" if alone[0] in names else "an image of it"
                found = f"none named {alone[0]!r}"
                raise missing(path, what, found, "copy it or remove this one")
        return {name: {kind: files[kind][name] for kind in files} for name in names}

    def _by_name(self, kind: str, folder: Path) -> dict[str, Path]:
        """name -> path, of the first known type that the folder has."""
        for extension in self.EXTENSIONS[kind]:
            paths = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix == extension}
            if paths:
                return paths
        return {}

    def read_ids(self, path: Path) -> np.ndarray:
        array = reading.read_picture(path, reading.CLASS_IDS, "a picture of class ids")
        reading.check_shape(path, array, (None, None))
        ids = array.astype(np.int64)
        ids[ids == 255] = -1
        if path.parent.parent.name == "seg40":
            return FORTY_TO_13[whole_ids(path, ids, -1, 39) + 1]
        return whole_ids(path, ids, -1, 12)


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32 m, 0 where there is none.

    ``.npy`` and ``.mat`` (variable ``depth``) hold meters, ``.png`` 16-bit millimeters.
    """
    if path.suffix == ".png":
        steps = reading.read_picture(path, reading.SIXTEEN_BITS, "a 16-bit picture of millimeters")
        meters = steps.astype(np.float64) / MILLIMETERS
    elif path.suffix == ".mat":
        meters = reading.read_numbers(path, "depth")
    else:
        meters = reading.read_npy(path, (None, None))
    reading.check_shape(path, meters, (None, None))
    reading.check_range(path, meters, 0.0, LARGEST_DEPTH, kinds="f")
    return np.ascontiguousarray(meters, dtype=np.float32)
