"""The preprocessed ``.npy`` files of Cityscapes, and how a disparity is written in any layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
from mtpsl.data.readers.files import check_range, count_numbered, listing, read_npy, whole_ids
from mtpsl.losses import IGNORE_INDEX

SPLITS = {"train": "train", "test": "val"}  # ours -> the folder's name, in both layouts

OF_19 = (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 6, 6, 6, 6, 6)
"""The group's index of each of the 19 evaluated classes (road, sidewalk, building, ...)."""

LABELS = ("label_7", "label", "label_19")  # folders of labels, the preferred one first
FULL = 65535  # what the preprocessing divides the 16-bit disparities by
LARGEST_PIXELS = 256.0  # disparity that 16 bits can express
SNIFFED = 8  # files a split that an encoding is judged on

ENCODINGS = {
    "16-bit": "16-bit pictures, 0 where there is none",
    "scaled": "16-bit values divided by 65535, 0 where there is none",
    "raw": "16-bit values, 0 where there is none",
    "pixels": "pixels of the full width, at most 0 where there is none",
}
"""How files hold a disparity -> what the report calls it."""

Others = Literal["void", "category"]
Encoding = Literal["16-bit", "scaled", "raw", "pixels"]


class Npy:
    """``{train,val}/{image,label_7,label_19,label,depth}/{i}.npy``, the preprocessed layout.

    Args:
        root: Holds ``train`` and ``val``.
        split: ``"train"`` or ``"test"``.
        others: See ``Cityscapes``; ``"void"``.
    """

    title = ".npy files"

    def __init__(self, root: Path, split: str, others: Others) -> None:
        if others != "void":
            raise ValueError(
                "others: expected 'void' for .npy files, whose labels are grouped already, "
                f"got {others!r}"
            )
        self.folder = root / SPLITS[split]
        present = [name for name in LABELS if (self.folder / name).is_dir()]
        if not present:
            raise FileNotFoundError(
                f"{self.folder}: expected a folder label_7 (or label, or label_19) of .npy files, "
                f"found {listing(self.folder)}"
            )
        self.labels = present[0]
        self.folders = ("image", self.labels, "depth")
        self.ids = tuple(str(i) for i in range(count_numbered(self.folder, self.folders)))
        self.classes = 19 if self.labels == "label_19" else 7
        if self.labels == "label" and self._largest_label() > 6:
            self.classes = 19
        self.encoding: Encoding = sniff_encoding(root)

    def read(self, index: int) -> Sample:
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
        ids = torch.from_numpy(np.where(ids < 0, IGNORE_INDEX, ids).astype(np.int64))
        disparity = decode(depth[..., 0], self.encoding)
        return to_sample(disk.channels_first(image).clamp(0, 1), ids, disparity)

    def files(self, index: int) -> dict[str, Path]:
        return {name: self.folder / name / f"{index}.npy" for name in self.folders}

    def all_files(self) -> list[Path]:
        return [self.folder / name / f"{i}.npy" for name in self.folders for i in self.ids]

    def notes(self) -> Iterator[str]:
        yield f"labels from {self.labels}; disparity as {ENCODINGS[self.encoding]}"
        if self.labels == "label_7" and (self.folder / "label_19").is_dir():
            yield from self._compare_labels()

    def _compare_labels(self) -> Iterator[str]:
        """How label_7 counts the classes that are not evaluated, told by label_19 beside it."""
        extra = wrong = pixels = 0
        for index in disk.spread(len(self.ids), SNIFFED):
            coarse_path, fine_path = (
                self.folder / name / f"{index}.npy" for name in ("label_7", "label_19")
            )
            try:
                coarse = read_npy(coarse_path, (None, None))
                fine = whole_ids(fine_path, read_npy(fine_path, coarse.shape), -1, 18)
            except (ValueError, FileNotFoundError) as error:
                yield f"label_19 cannot be compared: {error}"
                return
            group = np.append(OF_19, -1)[fine]
            extra += int(((group < 0) & (coarse >= 0)).sum())
            wrong += int(((group >= 0) & (group != coarse)).sum())
            pixels += fine.size
        share = f"members of their groups ({100 * extra / pixels:.2f} %)" if extra else "void"
        yield f"classes that are not evaluated, such as parking, are {share} here"
        if wrong:
            share = 100 * wrong / pixels
            yield f"label_7 and label_19 disagree in {share:.2f} % of pixels: unusual"

    def _largest_label(self) -> float:
        paths = [self.folder / self.labels / f"{i}.npy" for i in self.ids]
        chosen = [paths[i] for i in disk.spread(len(paths), SNIFFED)]
        return max(float(read_npy(path, (None, None)).max()) for path in chosen)


def to_sample(image: Tensor, ids: Tensor, disparity: Tensor) -> Sample:
    """A sample of an image (3, H, W) and maps (H, W).

    Args:
        image: float32 in [0, 1].
        ids: int64, ``IGNORE_INDEX`` where void.
        disparity: float32, NaN where there is none.
    """
    targets = {"semseg": ids[None], "depth": disparity[None]}
    valid = {"semseg": ids[None] != IGNORE_INDEX, "depth": disparity[None].isfinite()}
    return Sample(image, targets, valid)


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
