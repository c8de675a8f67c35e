"""PASCAL-Context with five tasks from disk: 4998 training and 5105 test images.

It is read from ``PASCAL_MT`` of the multi-task protocol that [XTC] and [HiTTs] follow::

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

from collections.abc import Iterator
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk, pascal_files
from mtpsl.data.readers.files import (
    check_apart,
    find_each,
    fingerprint,
    listing,
    read_list,
    read_picture,
)
from mtpsl.data.scenes import people21
from mtpsl.losses import IGNORE_INDEX

SPLITS = {"train": "train", "test": "val"}  # ours -> the name of the list
FOLDERS = {
    "semseg": (("semseg/VOC12", "semseg/pascal-context"), ".png"),
    "image": (("JPEGImages",), ".jpg"),
    "human_parts": (("human_parts",), ".mat"),
    "contexts": (("pascal-context/trainval",), ".mat"),
    "normals": (("normals_distill",), ".png"),
    "saliency": (("sal_distill",), ".png"),
}
"""Kind of file -> its folders, of which the first that has an id counts, and its ending.

Every id has a file of each. The order is that of the data's version."""


@final
class PascalContext(disk.FolderDataset):
    """A split of PASCAL-Context on disk, with segmentation, parts, normals, saliency and edges.

    Images come in the order of the list, and are rounded to 8 bits after resizing. ``root`` is the
    folder above, or the one that contains it as ``PASCAL_MT`` or ``pascal_context``.
    """

    name = "pascal_context"
    counts_steps = True  # [HiTTs, Sec. 4.1]
    scores_at_file_size = True
    tasks = people21.TASKS
    default_size = (512, 512)
    rounds_images = True
    one_size = False

    def open_root(self, path: Path) -> list[str]:
        self.root = find_root(path)
        ids = read_splits(self.root)
        everyone = ids["train"] + ids["test"]
        source, remedy = "ImageSets/Context", "unpack PASCAL_MT.tgz again"
        self._files = {}  # folder -> id -> file
        for name, (folders, ending) in FOLDERS.items():
            places = [self.root / folder for folder in folders]
            self._files[name] = find_each(everyone, places, [ending], source, remedy)
        lists = [self.root / "ImageSets" / "Context" / f"{name}.txt" for name in SPLITS.values()]
        every = [path for files in self._files.values() for path in files.values()]
        self.version = fingerprint("pascal-mt", self.root, [lists + every])
        self.people = self.root / "ImageSets" / "Parts" / f"{SPLITS[self.split]}.txt"
        self._people: Tensor | None = None
        return ids[self.split]

    def files(self, index: int) -> dict[str, Path]:
        return {name: files[self.ids[index]] for name, files in self._files.items()}

    def read(self, index: int) -> Sample:
        path = self.files(index)
        pixels = read_picture(path["image"], ("RGB",))
        size = pixels.shape[:2]
        contexts = pascal_files.read_contexts(path["contexts"], size)
        targets = {
            "semseg": pascal_files.read_semseg(path["semseg"], size),
            "human_parts": pascal_files.read_parts(path["human_parts"], size),
            "normals": pascal_files.read_normals(path["normals"], contexts),
            "saliency": pascal_files.read_saliency(path["saliency"], size),
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
        return Sample(disk.to_image(pixels), targets, valid)

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
        if self._people is None and self.people.is_file():
            self._people = torch.tensor(pascal_files.read_people(self.people, self.ids))
        elif self._people is None:
            paths = (self.files(index)["human_parts"] for index in range(len(self)))
            self._people = torch.tensor([pascal_files.shows_person(path) for path in paths])
        return self._people.clone()

    @classmethod
    def describe_root(cls, path: str | Path) -> str:
        return f"PASCAL-Context as PASCAL_MT: {find_root(path)}"

    def notes(self) -> Iterator[str]:
        first = sum(self._files["semseg"][name].parent.name == "VOC12" for name in self.ids)
        yield f"labels: {first} of VOC12, {len(self) - first} of pascal-context"
        if not self.people.is_file():
            yield f"{self.people} is missing; who shows people is read from human_parts"
        elif not any(self.problems()):
            people = int(self.carries("human_parts").sum())
            share = 100 * people / len(self)
            yield f"people in {people} images ({share:.0f} %), by {self.people.name}"

    def problems(self) -> Iterator[str]:
        """What is wrong with the list of people."""
        if self.people.is_file():
            try:
                self.carries("human_parts")
            except ValueError as error:
                yield str(error)


def find_root(path: str | Path) -> Path:
    """The folder that holds the data: ``path``, its ``PASCAL_MT`` or its ``pascal_context``.

    Raises:
        FileNotFoundError: If none does.
    """
    path = Path(path)
    for root in (path, path / "PASCAL_MT", path / "pascal_context"):
        if (root / "ImageSets" / "Context").is_dir() and (root / "JPEGImages").is_dir():
            return root
    raise FileNotFoundError(
        f"{path}: expected PASCAL_MT with JPEGImages and ImageSets/Context, found {listing(path)}; "
        "name the folder of the data set"
    )


def read_splits(root: Path) -> dict[str, list[str]]:
    """The ids of both splits.

    Raises:
        FileNotFoundError: If a list is missing.
        ValueError: If an id is twice in a list or in both.
    """
    lists = {split: root / "ImageSets" / "Context" / f"{SPLITS[split]}.txt" for split in SPLITS}
    ids = {split: read_list(path, "image id") for split, path in lists.items()}
    check_apart(lists["test"], ids["test"], lists["train"], ids["train"])
    return ids
