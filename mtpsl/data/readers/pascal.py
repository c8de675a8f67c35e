"""PASCAL-Context with five tasks from disk: 4998 training and 5105 test images.

Two layouts are recognized by their folders: the ``.npy`` files that ``data convert`` writes
(``pascal_npy``), and ``PASCAL_MT`` of the multi-task protocol that [XTC] and [HiTTs] follow::

    JPEGImages/<id>.jpg                      the image
    ImageSets/Context/{train,val}.txt        ids; val is the test split
    ImageSets/Parts/{train,val}.txt          JSON, id -> classes of its objects; may be missing
    semseg/VOC12/<id>.png                    0 to 20, 255 void; else semseg/pascal-context/<id>.png
    human_parts/<id>.mat                     PASCAL-Part
    pascal-context/trainval/<id>.mat         LabelMap of 459 context classes, for edges and normals
    normals_distill/<id>.png                 (n + 1) * 255 / 2, found by a network
    sal_distill/<id>.png                     0 to 255, found by a network

Nothing is repaired or skipped silently. Edges are found at the image's own size and then resized
like labels. Axes of the normals are taken as they are: of those, only channel 0 along x is known.
"""

from pathlib import Path
from typing import Protocol, final

import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk, pascal_files
from mtpsl.data.readers.files import fingerprint, listing, read_picture
from mtpsl.data.readers.pascal_npy import SPLITS, NpyTree
from mtpsl.data.scenes import people21
from mtpsl.losses import IGNORE_INDEX

FOLDERS = {
    "JPEGImages": ".jpg",
    "human_parts": ".mat",
    "pascal-context/trainval": ".mat",
    "normals_distill": ".png",
    "sal_distill": ".png",
}
"""Folder -> how the names of its files end; every id has a file in each."""

SEMSEG = ("semseg/VOC12", "semseg/pascal-context")  # the first that has the id
STRETCH = 0.02  # by which a saliency map's proportions may differ from its image's


@final
class PascalContext(disk.FolderDataset):
    """A split of PASCAL-Context on disk, with segmentation, parts, normals, saliency and edges.

    Images come in the order of the list, and are rounded to 8 bits after resizing.

    Args:
        split: ``"train"`` or ``"test"``.
        height: Wanted height; every image is resized to height x width, whatever its proportions:
            images and normals bilinearly, averaging where they shrink, all else to the nearest
            pixel.
        width: Wanted width.
        images: Use the first so many images; None, or more than there are: all of them.
        root: The folder of one of the layouts, or the folder that contains it as ``PASCAL_MT`` or
            ``pascal_context``.

    Raises:
        FileNotFoundError: If a list, a folder or the file of an id is missing, naming it.
        ValueError: If an argument is wrong, ids repeat or, when an image is read, its files are
            not as above.
    """

    name = "pascal_context"
    counts_steps = True  # [HiTTs, Sec. 4.1]
    scores_at_file_size = True
    rounds_images = True
    tasks = people21.TASKS

    def __init__(
        self,
        split: str,
        *,
        height: int = 512,
        width: int = 512,
        images: int | None = None,
        root: str | Path,
    ) -> None:
        disk.check_choice(split, images)
        self.root = find_root(root)
        self.split, self.height, self.width = split, height, width
        self.layout = open_layout(self.root)
        self.available = len(self.layout.ids[split])
        self.images = min(images or self.available, self.available)
        self.ids = tuple(self.layout.ids[split][: self.images])
        self.version = self.layout.version
        self._people: Tensor | None = None

    def read(self, index: int) -> Sample:
        """The image at the size of its files.

        Raises:
            ValueError: If a file is damaged or does not hold what its folder should.
        """
        return self.layout.read(self.split, index)

    def carries(self, task: str) -> Tensor:
        """(N,) bool: all images; for the human parts, those that show a person.

        Read from a list or, if ``PASCAL_MT`` has none, from all files of ``human_parts``, which
        takes minutes.

        Raises:
            ValueError: If the list is damaged or lacks an id.
        """
        able = super().carries(task)
        if task != "human_parts":
            return able
        if self._people is None:
            self._people = torch.tensor(self.layout.shows_people(self.split, self.images))
        return self._people.clone()


class Layout(Protocol):
    """One of the layouts, opened for both splits."""

    title: str  # for reports
    ids: dict[str, list[str]]  # split -> of the images, in order
    version: str  # of the data: a fingerprint of the files of both splits

    def read(self, split: str, index: int) -> Sample:
        """The image at ``index``; raises ``ValueError`` if its files are damaged."""

    def shows_people(self, split: str, images: int) -> list[bool]:
        """Which of the first images show a person."""


class Archive:
    """``PASCAL_MT``, as it is unpacked; see the top of this file."""

    title = "PASCAL_MT"

    def __init__(self, root: Path) -> None:
        self.root, self.ids = root, read_splits(root)
        self.semseg = semseg_files(root, [i for split in SPLITS for i in self.ids[split]])
        self.version = version(root, self.ids, self.semseg)

    def path(self, folder: str, split: str, index: int) -> Path:
        """Of the image's file in a folder of ``FOLDERS``."""
        return self.root / folder / f"{self.ids[split][index]}{FOLDERS[folder]}"

    def read(self, split: str, index: int) -> Sample:
        path = {folder: self.path(folder, split, index) for folder in FOLDERS}
        pixels = read_picture(path["JPEGImages"], ("RGB",))
        size = pixels.shape[:2]
        contexts = pascal_files.read_contexts(path["pascal-context/trainval"], size)
        targets = {
            "semseg": pascal_files.read_semseg(self.semseg[self.ids[split][index]], size),
            "human_parts": pascal_files.read_parts(path["human_parts"], size),
            "normals": pascal_files.read_normals(path["normals_distill"], contexts),
            "saliency": read_saliency(path["sal_distill"], size),
            "edges": pascal_files.edges_of(contexts),
        }
        everywhere = torch.ones(1, *size, dtype=torch.bool)
        valid = {
            "semseg": targets["semseg"] != IGNORE_INDEX,
            "human_parts": targets["human_parts"] != IGNORE_INDEX,
            "normals": targets["normals"][:1].isfinite(),
            "saliency": everywhere,
            "edges": everywhere,
        }
        return Sample(torch.from_numpy(pixels.copy()).movedim(-1, 0).float() / 255, targets, valid)

    def shows_people(self, split: str, images: int) -> list[bool]:
        people = self.root / "ImageSets" / "Parts" / f"{SPLITS[split]}.txt"
        if people.is_file():
            return pascal_files.read_people(people, self.ids[split][:images])
        paths = (self.path("human_parts", split, i) for i in range(images))
        return [pascal_files.shows_person(path) for path in paths]


def read_saliency(path: Path, size: tuple[int, int]) -> Tensor:
    """(1, H, W) float32 of 0 and 1 at the image's size, whatever the file's.

    Raises:
        ValueError: If the file is damaged or has other proportions than the image.
    """
    salient = pascal_files.read_saliency(path)
    height, width = salient.shape[1:]
    if abs(height * size[1] / (width * size[0]) - 1) > STRETCH:
        raise ValueError(
            f"{path}: expected the proportions of its image, {size[0]} x {size[1]}, found "
            f"{height} x {width}; use the files of one download"
        )
    return disk.nearest(salient, *size)


def find_root(path: str | Path) -> Path:
    """The folder that holds a layout: ``path``, its ``PASCAL_MT`` or its ``pascal_context``.

    Raises:
        FileNotFoundError: If none does.
    """
    path = Path(path)
    for root in (path, path / "PASCAL_MT", path / "pascal_context"):
        if (root / "ImageSets" / "Context").is_dir() and (root / "JPEGImages").is_dir():
            return root
        if NpyTree.is_at(root):
            return root
    raise FileNotFoundError(
        f"{path}: expected PASCAL_MT with JPEGImages and ImageSets/Context, or .npy files with "
        f"train/semseg and train/human_parts, found {listing(path)}"
    )


def open_layout(root: Path) -> Layout:
    """The layout at a root that ``find_root`` gave; see ``PascalContext`` for what it raises."""
    return NpyTree(root) if NpyTree.is_at(root) else Archive(root)


def read_splits(root: Path) -> dict[str, list[str]]:
    """The ids of both splits, each of which has a file in every folder.

    Raises:
        FileNotFoundError: If a list, folder or file is missing.
        ValueError: If an id is twice in a list or in both.
    """
    lists = {
        split: root / "ImageSets" / "Context" / f"{name}.txt" for split, name in SPLITS.items()
    }
    ids = {split: pascal_files.read_ids(path) for split, path in lists.items()}
    both = set(ids["train"]) & set(ids["test"])
    if both:
        raise ValueError(
            f"{lists['test']}: expected no id of {lists['train'].name}, found {min(both)} in both; "
            "a test image must not be trained on"
        )
    for folder, ending in FOLDERS.items():
        present = _names(root / folder)
        for i in ids["train"] + ids["test"]:
            if f"{i}{ending}" not in present:
                raise FileNotFoundError(
                    f"{root / folder / f'{i}{ending}'}: expected a file for every id of "
                    f"ImageSets/Context, found none of that name; unpack PASCAL_MT.tgz again"
                )
    return ids


def semseg_files(root: Path, ids: list[str]) -> dict[str, Path]:
    """Id -> its label picture, of VOC 2012 where there is one.

    Raises:
        FileNotFoundError: If an id has none.
    """
    present = {folder: _names(root / folder) for folder in SEMSEG if (root / folder).is_dir()}
    found = {}
    for i in ids:
        folder = next((f for f, names in present.items() if f"{i}.png" in names), None)
        if folder is None:
            raise FileNotFoundError(
                f"{root / SEMSEG[0] / f'{i}.png'}: expected a label picture there or in "
                f"{SEMSEG[1]}, found none; unpack PASCAL_MT.tgz again"
            )
        found[i] = root / folder / f"{i}.png"
    return found


def version(root: Path, ids: dict[str, list[str]], semseg: dict[str, Path]) -> str:
    """A fingerprint of the lists and of all files of both splits."""
    files = [root / "ImageSets" / "Context" / f"{name}.txt" for name in SPLITS.values()]
    everyone = [i for split in SPLITS for i in ids[split]]
    files += [semseg[i] for i in everyone]
    files += [root / f / f"{i}{ending}" for f, ending in FOLDERS.items() for i in everyone]
    return fingerprint("pascal-mt", root, [files])


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of PASCAL_MT, found none; unpack it")
    return {path.name for path in folder.iterdir()}
