"""The preprocessed ``.npy`` tree of the authors of MTAN, used by [XTC] and its successors.

``nyuv2/{train,val}/{image,label,depth,normal}/{i}.npy`` with i = 0, 1, 2, ...: image (H, W, 3) in
[0, 1], label (H, W) with 13 classes and -1 for void, depth (H, W, 1) in meters with 0 where there
is none, normal (H, W, 3) with zeros where there is none; published at 288x384.
"""

from pathlib import Path
from typing import final

from mtpsl.data.readers.files import check_range, fingerprint, read_npy, refusal, whole_ids
from mtpsl.data.readers.nyud_layout import (
    CLASSES,
    LARGEST_DEPTH,
    SPLITS,
    Arrays,
    Layout,
    first_below,
)

FOLDERS = ("image", "label", "depth", "normal")


@final
class NpyTree(Layout):
    """Channels of the normals are taken as (x, y, z), which the format does not tell."""

    title = "preprocessed .npy files"

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        self.folder = root / SPLITS[split]
        self.names = tuple(map(str, range(count_images(self.folder))))

    @classmethod
    def find(cls, path: Path) -> Path | None:
        for root in first_below(path, "nyuv2"):
            if any((root / folder / "image").is_dir() for folder in SPLITS.values()):
                return root
        return None

    @classmethod
    def has(cls, root: Path, split: str) -> bool:
        return (root / SPLITS[split]).is_dir()

    def read(self, index: int) -> Arrays:
        path = {folder: self.folder / folder / f"{index}.npy" for folder in FOLDERS}
        image = read_npy(path["image"], (None, None, 3))
        size = image.shape[:2]
        check_range(path["image"], image, 0.0, 1.0, kinds="f")
        label = read_npy(path["label"], size)
        ids = whole_ids(path["label"], label, -1, len(CLASSES) - 1)
        meters = read_npy(path["depth"], (*size, 1))
        check_range(path["depth"], meters, 0.0, LARGEST_DEPTH, kinds="f")
        normal = read_npy(path["normal"], (*size, 3))
        check_range(path["normal"], normal, -1.0, 1.0, kinds="f")
        arrays = dict(zip(FOLDERS, (image, label, meters, normal), strict=True))
        stored = {folder: str(array.dtype) for folder, array in arrays.items()}
        return Arrays(image, ids, meters[..., 0], normal, stored)

    @property
    def version(self) -> str:
        folders = [self.root / split / folder for split in SPLITS.values() for folder in FOLDERS]
        groups = [[f / name for name in sorted(p.name for p in f.glob("*.npy"))] for f in folders]
        return fingerprint("npy", self.root, groups)


def count_images(folder: Path) -> int:
    """N of a split, whose four folders must hold exactly 0.npy to N-1.npy.

    Raises:
        FileNotFoundError: If a folder or a number is missing.
        ValueError: If the folders disagree or hold a file with another name.
    """
    counts = {}
    for name in FOLDERS:
        if not (folder / name).is_dir():
            raise FileNotFoundError(
                f"{folder / name}: expected a folder of .npy files, found none; copy it"
            )
        files = [f.name for f in (folder / name).iterdir() if f.suffix == ".npy"]
        odd = sorted(f for f in files if not _is_number(f[:-4]))
        if odd:
            raise refusal(folder / name, "names such as 17.npy", odd[0], "remove or rename it")
        counts[name] = len(files)
        gap = sorted(set(range(len(files))) - {int(f[:-4]) for f in files})
        if gap:
            raise FileNotFoundError(
                f"{folder / name / f'{gap[0]}.npy'}: expected files 0.npy to {len(files) - 1}.npy "
                "without gaps, found none of that name; copy it"
            )
    if len(set(counts.values())) > 1 or not counts["image"]:
        raise refusal(folder, "as many files in each folder", str(counts), "copy what is missing")
    return counts["image"]


def _is_number(stem: str) -> bool:
    return stem.isascii() and stem.isdecimal() and stem == str(int(stem))
