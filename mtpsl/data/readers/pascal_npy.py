"""PASCAL-Context with five tasks as ``.npy`` files, which ``data convert`` writes.

Nobody publishes such a tree; this one is in the manner of the preprocessed files of NYUD-v2 and
Cityscapes, and keeps the images' names, of which published label splits speak::

    {train,val}/ids.txt                    image ids in order: line i + 1 belongs to i.npy
    {train,val}/people.txt                 ids of the images that show a person; may be empty
    {train,val}/image/{i}.npy              (H, W, 3) uint8
    {train,val}/semseg/{i}.npy             (H, W) uint8, 0 to 20, 255 where void
    {train,val}/human_parts/{i}.npy        (H, W) uint8, 0 to 6, 255 where unknown; of people alone
    {train,val}/normals/{i}.npy            (H, W, 3) float16, zeros where there is none
    {train,val}/{saliency,edges}/{i}.npy   (H, W) uint8, 0 or 1
"""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import pascal_files
from mtpsl.data.readers.files import check_range, fingerprint, read_npy, whole_ids
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import HUMAN_PARTS

SPLITS = {"train": "train", "test": "val"}  # ours -> the name of the folder, or of a list
TYPES = {
    "image": "uint8",
    "semseg": "uint8",
    "human_parts": "uint8",
    "normals": "float16",
    "saliency": "uint8",
    "edges": "uint8",
}
"""Folder -> type of its files."""

IDS, PEOPLE = "ids.txt", "people.txt"
CLASSES = 21
UNIT = 0.01  # by which the length of a normal may differ from 1; half precision costs 0.001
AGAIN = "run the conversion again"


@final
class NpyTree:
    """The files of both splits.

    Args:
        root: Holds ``train`` and ``val``.

    Raises:
        FileNotFoundError: If a list, a folder or a file is missing, naming it.
        ValueError: If ids repeat, or a file belongs to no id.
    """

    title = "preprocessed .npy files"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ids = {s: pascal_files.read_ids(root / SPLITS[s] / IDS) for s in SPLITS}
        both = set(self.ids["train"]) & set(self.ids["test"])
        if both:
            raise ValueError(
                f"{root / SPLITS['test'] / IDS}: expected no id of the training split, found "
                f"{min(both)} in both; a test image must not be trained on"
            )
        self.people = {s: read_people(root / SPLITS[s] / PEOPLE, self.ids[s]) for s in SPLITS}
        paths = [path for split in SPLITS for path in self._files(split)]
        self.version = fingerprint("npy", root, [paths])

    @classmethod
    def is_at(cls, root: Path) -> bool:
        """Whether a folder has the look of this layout, complete or not."""
        folders = [root / name for name in SPLITS.values()]
        return any((f / "image").is_dir() and (f / "semseg").is_dir() for f in folders)

    def path(self, folder: str, split: str, index: int) -> Path:
        return self.root / SPLITS[split] / folder / f"{index}.npy"

    def read(self, split: str, index: int) -> Sample:
        path = {folder: self.path(folder, split, index) for folder in TYPES}
        pixels = read_npy(path["image"], (None, None, 3))
        size = pixels.shape[:2]
        if pixels.dtype != np.uint8:
            raise ValueError(
                f"{path['image']}: expected 8-bit colors (uint8), found {pixels.dtype}; {AGAIN}"
            )
        parts = torch.full((1, *size), IGNORE_INDEX)
        if self.people[split][index]:
            parts = read_ids(path["human_parts"], size, len(HUMAN_PARTS))
        normals = read_normals(path["normals"], size)
        targets = {
            "semseg": read_ids(path["semseg"], size, CLASSES),
            "human_parts": parts,
            "normals": normals,
            "saliency": read_binary(path["saliency"], size),
            "edges": read_binary(path["edges"], size),
        }
        everywhere = torch.ones(1, *size, dtype=torch.bool)
        valid = {
            "semseg": targets["semseg"] != IGNORE_INDEX,
            "human_parts": parts != IGNORE_INDEX,
            "normals": normals[:1].isfinite(),
            "saliency": everywhere,
            "edges": everywhere,
        }
        return Sample(torch.from_numpy(pixels).movedim(-1, 0).float() / 255, targets, valid)

    def shows_people(self, split: str, images: int) -> list[bool]:
        return self.people[split][:images]

    def _files(self, split: str) -> list[Path]:
        """All files of a split, the lists first, after a look at every folder."""
        base = self.root / SPLITS[split]
        found = [base / IDS, base / PEOPLE]
        for folder in TYPES:
            kept = self.people[split] if folder == "human_parts" else [True] * len(self.ids[split])
            names = [f"{i}.npy" for i, keep in enumerate(kept) if keep]
            check_names(base / folder, names)
            found += [base / folder / name for name in names]
        return found


def read_people(path: Path, ids: Sequence[str]) -> list[bool]:
    """Of each id, whether the list names it.

    Raises:
        FileNotFoundError: If there is no list.
        ValueError: If it names anything else.
    """
    try:
        people = set(path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: expected a list of the images that show a person, found no such file; {AGAIN}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected image ids as text, found {error}; {AGAIN}") from error
    strange = sorted(people - set(ids))
    if strange:
        raise ValueError(f"{path}: expected ids of {IDS}, found {strange[0]!r}; {AGAIN}")
    return [i in people for i in ids]


def check_names(folder: Path, names: Sequence[str]) -> None:
    """Raises unless a folder holds exactly the ``.npy`` files of these names.

    Raises:
        FileNotFoundError: If one is missing.
        ValueError: If there is another one.
    """
    there = {path.name for path in folder.glob("*.npy")}
    missing = next((name for name in names if name not in there), None)
    if missing is not None:
        raise FileNotFoundError(
            f"{folder / missing}: expected {len(names)} files there, found none of that name; "
            f"{AGAIN}"
        )
    odd = sorted(there - set(names))
    if odd:
        raise ValueError(
            f"{folder / odd[0]}: expected files of the ids in {IDS}, and of human parts those in "
            f"{PEOPLE}, found another one; remove it"
        )


def read_ids(path: Path, size: tuple[int, int], classes: int) -> Tensor:
    """(1, H, W) int64 below ``classes``, or ``IGNORE_INDEX``."""
    ids = whole_ids(path, read_npy(path, size), 0, IGNORE_INDEX)
    wrong = ids[(ids >= classes) & (ids != IGNORE_INDEX)]
    if wrong.size:
        raise ValueError(
            f"{path}: expected class ids 0 to {classes - 1}, or {IGNORE_INDEX} for void, found "
            f"{wrong.max()}; {AGAIN}"
        )
    return torch.from_numpy(ids)[None]


def read_binary(path: Path, size: tuple[int, int]) -> Tensor:
    """(1, H, W) float32 of 0 and 1."""
    return torch.from_numpy(whole_ids(path, read_npy(path, size), 0, 1))[None].float()


def read_normals(path: Path, size: tuple[int, int]) -> Tensor:
    """(3, H, W) float32 unit normals, NaN where there are zeros."""
    array = read_npy(path, (*size, 3))
    check_range(path, array, -1.0, 1.0, "components")
    normals = torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0), dtype=np.float32))
    length = normals.square().sum(dim=0, keepdim=True).sqrt()
    odd = (length > 0) & ((length - 1).abs() > UNIT)
    if odd.any():
        raise ValueError(
            f"{path}: expected vectors of length 1, or zeros, found the length "
            f"{float(length[odd][0]):.2f}; {AGAIN}"
        )
    return (normals / length).masked_fill(length == 0, float("nan"))
