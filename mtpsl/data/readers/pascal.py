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

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.fingerprint import fingerprint
from mtpsl.data.formats import Value
from mtpsl.data.readers import disk, reading
from mtpsl.data.readers.reading import listing, missing, refusal, whole_ids
from mtpsl.data.scenes.people21 import TASKS, changes, thin
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import HUMAN_PARTS

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

PERSON = 15  # class_ind of a person in PASCAL-Part
CONTEXTS = 459  # ids of the context label maps, from 1
STRETCH = 0.02  # by which a saliency map's proportions may differ from its image's
SHORTEST = 0.5  # length of a normal below which it has no direction; 8 bits cost .01 of the length

PARTS_OF = {
    "head": "head hair lear rear lebrow rebrow leye reye mouth nose",
    "torso": "torso neck",
    "upper arm": "luarm ruarm",
    "lower arm": "llarm rlarm lhand rhand",
    "upper leg": "luleg ruleg",
    "lower leg": "llleg rlleg lfoot rfoot",
}
"""Class -> names of the parts of a person in PASCAL-Part that belong to it."""

PART_ID = {
    name: HUMAN_PARTS.index(part) for part, names in PARTS_OF.items() for name in names.split()
}

# fmt: off
WITH_NORMALS = (
    3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49,
    50, 51, 53, 55, 56, 59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101,
    104, 105, 107, 111, 113, 115, 122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165,
    172, 174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228,
    230, 232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272, 273, 275,
    281, 283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319,
    323, 329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380,
    383, 384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430,
    432, 440, 441, 442, 443, 444, 446, 454, 457,
)
# fmt: on
"""Context ids whose normals count: those whose name is also one of NYUD-v2's 894, and tvmonitor.

The normals come from a network for rooms. Persons, cars, cats and dogs are among the 170; sky,
grass, roads, buildings, trees and most animals and vehicles are not. The same list as in the
released loaders of this data set.
"""


@final
class PascalContext(disk.FolderDataset):
    """A split of PASCAL-Context on disk, with segmentation, parts, normals, saliency and edges.

    Images come in the order of the list, and are rounded to 8 bits after resizing. ``root`` is the
    folder above, or the one that contains it as ``PASCAL_MT`` or ``pascal_context``.
    """

    name = "pascal_context"
    counts_steps = True  # [HiTTs, Sec. 4.1]
    scores_at_file_size = True
    tasks = TASKS
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
            self._files[name] = reading.find_each(everyone, places, [ending], source, remedy)
        lists = self.root / "ImageSets"
        every = [lists / k / f"{n}.txt" for k in ("Context", "Parts") for n in SPLITS.values()]
        every = [path for path in every if path.is_file()]  # who shows people may be missing
        every += [path for files in self._files.values() for path in files.values()]
        self.version = fingerprint("pascal-mt", self.root, every)
        self.people = self.root / "ImageSets" / "Parts" / f"{SPLITS[self.split]}.txt"
        self._people: Tensor | None = None
        return ids[self.split]

    def files(self, index: int) -> dict[str, Path]:
        return {name: files[self.ids[index]] for name, files in self._files.items()}

    def read(self, index: int) -> Sample:
        path = self.files(index)
        pixels = reading.read_picture(path["image"], ("RGB",))
        size = pixels.shape[:2]
        contexts = read_contexts(path["contexts"], size)
        targets = {
            "semseg": read_semseg(path["semseg"], size),
            "human_parts": read_parts(path["human_parts"], size),
            "normals": read_normals(path["normals"], contexts),
            "saliency": read_saliency(path["saliency"], size),
            "edges": edges_of(contexts),
        }
        return disk.sample_of(disk.to_image(pixels), targets, self.tasks)

    def carries(self, task: str) -> Tensor:
        """(N,) bool: all images; for the human parts, those that show a person.

        Read from a list or, if ``PASCAL_MT`` has none, from all files of ``human_parts``, which
        takes minutes.
        """
        able = super().carries(task)
        if task != "human_parts":
            return able
        if self._people is None and self.people.is_file():
            self._people = torch.tensor(read_people(self.people, self.ids))
        elif self._people is None:
            paths = (self.files(index)["human_parts"] for index in range(len(self)))
            self._people = torch.tensor([shows_person(path) for path in paths])
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
    """The folder that holds the data: ``path``, its ``PASCAL_MT`` or its ``pascal_context``."""
    path = Path(path)
    for root in (path, path / "PASCAL_MT", path / "pascal_context"):
        if (root / "ImageSets" / "Context").is_dir() and (root / "JPEGImages").is_dir():
            return root
    expected = "PASCAL_MT with JPEGImages and ImageSets/Context"
    raise missing(path, expected, listing(path), "name the folder of the data set")


def read_splits(root: Path) -> dict[str, list[str]]:
    """The ids of both splits."""
    lists = {split: root / "ImageSets" / "Context" / f"{SPLITS[split]}.txt" for split in SPLITS}
    ids = {split: reading.read_list(path, "image id") for split, path in lists.items()}
    reading.check_apart(lists["test"], ids["test"], lists["train"], ids["train"])
    return ids


# ------------------------------------------------------------------- files


def read_semseg(path: Path, size: tuple[int, int]) -> Tensor:
    """(1, H, W) int64: 0 to 20, ``IGNORE_INDEX`` where void."""
    ids = reading.read_picture(path, reading.CLASS_IDS, "a label picture", size)
    wrong = ids[(ids > 20) & (ids != IGNORE_INDEX)]
    if wrong.size:
        expected = "class ids 0 to 20, or 255 for void"
        raise refusal(path, expected, str(wrong.max()), "use the label picture of 21 classes")
    return torch.from_numpy(ids.astype(np.int64))[None]


def read_saliency(path: Path, size: tuple[int, int]) -> Tensor:
    """(1, H, W) float32 at the image's size: 1 where the map is above half of its range; else 0."""
    gray = reading.read_picture(path, ("L",))
    height, width = gray.shape
    if abs(height * size[1] / (width * size[0]) - 1) > STRETCH:
        expected = f"the proportions of its image, {size[0]} x {size[1]}"
        raise refusal(path, expected, f"{height} x {width}", "use the files of one download")
    return disk.nearest(torch.from_numpy((gray / 255 > 0.5).astype(np.float32))[None], *size)


def read_contexts(path: Path, size: tuple[int, int]) -> Tensor:
    """(H, W) int64: context ids 1 to 459, 0 where there is none."""
    array = reading.read_mat(path, "LabelMap")
    if not isinstance(array, np.ndarray):
        raise refusal(path, "LabelMap of numbers", "none", "use the original")
    if array.shape != size:
        expected = f"LabelMap of {size[0]} x {size[1]} as its image"
        found = " x ".join(map(str, array.shape))
        raise refusal(path, expected, found, "use the files of one download")
    return torch.from_numpy(whole_ids(path, array, 0, CONTEXTS))


def edges_of(contexts: Tensor) -> Tensor:
    """(1, H, W) float32: 1 on the borders of context regions, one pixel wide; else 0."""
    return thin(changes(contexts))[None].float()


def read_normals(path: Path, contexts: Tensor) -> Tensor:
    """(3, H, W) float32 unit normals 2p / 255 - 1, NaN where they do not count.

    They count where the context is one of ``WITH_NORMALS`` and the vector has a direction.
    """
    pixels = reading.read_picture(path, ("RGB",), "a picture of normals", tuple(contexts.shape))
    normals = torch.from_numpy(pixels.copy()).movedim(-1, 0).float() * (2 / 255) - 1
    length = normals.square().sum(dim=0, keepdim=True).sqrt()
    if float(length.median()) < SHORTEST or float(length.median()) > 2 - SHORTEST:
        found = f"vectors of the length {float(length.median()):.2f} in the median"
        raise refusal(path, "unit normals as (n + 1) * 255 / 2", found, "copy the file again")
    known = torch.zeros(CONTEXTS + 1, dtype=torch.bool)
    known[list(WITH_NORMALS)] = True
    counts = known[contexts][None] & (length >= SHORTEST)
    return (normals / length.clamp(min=1e-6)).masked_fill(~counts, float("nan"))


def read_objects(path: Path) -> list[tuple[int, np.ndarray, dict[str, np.ndarray]]]:
    """Objects of a file of PASCAL-Part: class_ind, mask (H, W) bool, parts name -> mask."""
    anno = reading.read_mat(path, "anno")
    try:
        (image,) = anno
        objects = []
        for thing in _structs(image["objects"]):
            mask = _mask(thing["mask"])
            parts = {_name(p["part_name"]): _mask(p["mask"]) for p in _structs(thing["parts"])}
            if any(m.shape != mask.shape for m in parts.values()):
                raise ValueError("masks of different sizes")
            objects.append((int(np.ravel(thing["class_ind"])[0]), mask, parts))
    except (IndexError, TypeError, ValueError, KeyError) as error:
        expected = "'anno' with objects (class, class_ind, mask, parts)"
        found = f"another structure ({error})"
        raise refusal(path, expected, found, "use the file of PASCAL-Part") from error
    return objects


def _structs(value: Value) -> list[dict[str, Value]]:
    """A struct array; MATLAB writes an empty one as an array of no numbers."""
    if isinstance(value, list):
        return value
    if isinstance(value, np.ndarray) and not value.size:
        return []
    raise ValueError("no struct array")


def _mask(value: Value) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.ndim != 2:
        raise ValueError("no mask")
    return value.astype(bool)


def _name(value: Value) -> str:
    if not isinstance(value, str):
        raise ValueError("no name of a part")
    return value


def shows_person(path: Path) -> bool:
    """Whether an object of a file of PASCAL-Part is a person of at least one pixel."""
    return any(kind == PERSON and mask.any() for kind, mask, _ in read_objects(path))


def read_parts(path: Path, size: tuple[int, int]) -> Tensor:
    """(1, H, W) int64: ids of ``HUMAN_PARTS``; ``IGNORE_INDEX`` everywhere without a part."""
    ids, seen = np.zeros(size, dtype=np.int64), False
    for kind, mask, parts in read_objects(path):
        if mask.shape != size:
            expected = f"masks of {size[0]} x {size[1]} as its image"
            found = f"{mask.shape[0]} x {mask.shape[1]}"
            raise refusal(path, expected, found, "use the files of one download")
        for name, part in parts.items() if kind == PERSON else ():
            if name not in PART_ID:
                expected = f"parts of a person among {', '.join(sorted(PART_ID))}"
                raise refusal(path, expected, repr(name), "use the file of PASCAL-Part")
            ids[part] = PART_ID[name]
            seen |= bool(part.any())
    return torch.from_numpy(ids if seen else np.full_like(ids, IGNORE_INDEX))[None]


def read_people(path: Path, ids: Sequence[str]) -> list[bool]:
    """Which images show a person, from ``ImageSets/Parts``: JSON, id -> classes of its objects."""
    remedy = "delete the file: it can be made again from human_parts"
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict) or not all(isinstance(v, list) for v in table.values()):
            raise ValueError("another structure")
    except (ValueError, RecursionError) as error:
        expected = "JSON with a list of classes for every id"
        raise refusal(path, expected, str(error), remedy) from error
    absent = next((i for i in ids if i not in table), None)
    if absent is not None:
        raise refusal(path, f"an entry for {absent}", "none", remedy)
    return [PERSON in table[i] for i in ids]
