"""Cityscapes from disk: 2975 training and 500 test images, the official validation split.

Two layouts are recognized by their folders. The official tree, ``leftImg8bit``, ``gtFine`` and
``disparity`` with one folder a city; and the preprocessed ``.npy`` tree that [XTC] and others use,
``{train,val}/{image,label_7,depth}/{i}.npy`` at 128x256, whose images cannot be matched to the
official names. Nothing is repaired or skipped silently.

The target ``depth`` is a disparity: the official 16-bit value p divided by 65535, about 0 to 0.49,
as in the preprocessed files; p = 0 means that there is none, and (p - 1) / 256 is the disparity in
pixels of the full width of 2048. It is not rescaled when images are resized.
"""

from pathlib import Path
from typing import final

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
from mtpsl.data.readers.cityscapes_files import SPLITS, Layout, Npy, Official, Others, official_part
from mtpsl.data.readers.files import fingerprint, listing
from mtpsl.data.scenes import streets7

OF_OTHERS = ("normal", "semseg")  # folders of .npy files of NYUD-v2 and of PASCAL-Context


@final
class Cityscapes(disk.FolderDataset):
    """A split of Cityscapes on disk, with 7 classes and the disparity.

    Official images are sorted by city and name, and rounded to 8 bits after resizing.

    Args:
        split: ``"train"`` or ``"test"``.
        height: Wanted height; files of another size are resized: images bilinearly, averaging
            where they shrink, class ids and disparities to the nearest pixel.
        width: Wanted width.
        images: Use the first so many images; None, or more than there are: all of them.
        root: The folder of one of the layouts, or the folder that contains it as ``cityscapes``
            or ``cityscapes2``.
        others: What the eight classes are that Cityscapes labels but does not evaluate, such as
            parking and bridges: ``"void"``, the default, because only the 19 evaluated classes
            are in every kind of file, so that label ids, train ids and ``label_19`` read the same;
            ``"category"``: members of their groups (official label ids only).

    Raises:
        FileNotFoundError: If a folder or the partner of a file is missing, naming it.
        ValueError: If an argument is wrong or, when an image is read, its files are not as above.
    """

    name = "cityscapes"
    tasks = streets7.TASKS

    def __init__(
        self,
        split: str,
        *,
        height: int = 128,
        width: int = 256,
        images: int | None = None,
        root: str | Path,
        others: Others = "void",
    ) -> None:
        disk.check_choice(split, images)
        if others not in ("void", "category"):
            raise ValueError(f"others: expected 'void' or 'category', got {others!r}")
        self.root, kind = find_root(root)
        self.split, self.height, self.width = split, height, width
        self.layout = open_layout(self.root, kind, split, others)
        self.available = len(self.layout.ids)
        self.images = min(images or self.available, self.available)
        self.ids = self.layout.ids[: self.images]
        self.version = version(self.root, kind, others)
        self.others, self.rounds_images = others, kind is Official

    def read(self, index: int) -> Sample:
        """The image at the size of its files.

        Raises:
            ValueError: If a file is damaged or does not hold what its folder should.
        """
        frame = self.layout.read(index)
        targets = {"semseg": frame.ids, "depth": frame.disparity}
        missing = self.tasks["semseg"].missing
        valid = {"semseg": frame.ids != missing, "depth": frame.disparity.isfinite()}
        return Sample(frame.image, targets, valid)


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


def open_layout(root: Path, kind: type[Official] | type[Npy], split: str, others: Others) -> Layout:
    """The layout of a split; see ``Cityscapes`` for what it raises."""
    if kind is Official:
        return Official(root, split, others)
    if others != "void":
        raise ValueError(
            "others: expected 'void' for .npy files, whose labels are grouped already, "
            f"got {others!r}"
        )
    return Npy(root, split)


def version(root: Path, kind: type[Official] | type[Npy], others: Others = "void") -> str:
    """Of the data: a fingerprint of the files of both splits, and how labels are read."""
    files = [f for split in SPLITS for f in open_layout(root, kind, split, others).files()]
    text = fingerprint("official" if kind is Official else "npy", root, [files])
    return text if others == "void" else f"{text}-{others}"
