"""NYUD-v2 as the field's preprocessed ``.npy`` tree, 795 training and 654 test images.

``nyuv2/{train,val}/{image,label,depth,normal}/{i}.npy`` with i = 0, 1, 2, ...: image (H, W, 3) in
[0, 1], label (H, W) with 13 classes and -1 for void, depth (H, W, 1) in meters with 0 where there
is none, normal (H, W, 3) with zeros where there is none; published at 288x384 by the authors of
MTAN and used by [XTC] and its successors. Nothing is repaired or skipped silently.
"""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.data.sample import Dataset, Sample
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import TaskSet, depth, normals, semseg

CLASSES = (
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "tv",
    "wall",
    "window",
)
"""In the order of the label ids 0 to 12."""

FOLDERS = ("image", "label", "depth", "normal")
SPLITS = {"train": "train", "test": "val"}  # ours -> the folder's name
LARGEST_DEPTH = 50.0  # m; NYUD-v2 ends at 10, so more is another unit
KEPT_BYTES = 1 << 30  # samples are kept in memory while they need no more than this
TOLERANCE = 1e-3  # of ranges, for files written in half precision

NormalsTest = Literal["norm", "sum"]


class Nyud(Dataset):
    """A split of NYUD-v2 on disk.

    Args:
        split: ``"train"`` or ``"test"``.
        height: Wanted height; files of another size are resized: images and normals bilinearly,
            class ids and depth to the nearest pixel.
        width: Wanted width.
        images: Use the first so many images; None, or more than there are: all of them.
        root: The folder ``nyuv2``, or the folder that contains it.
        normals_test: Which normals count as annotated: ``"norm"``: of length above 0; ``"sum"``:
            whose components do not sum to 0, as in the released code, which drops real normals.

    Raises:
        FileNotFoundError: If a folder or a file of the numbering is missing, naming it.
        ValueError: If an argument is wrong or, when an image is read, its files are not as above.
    """

    name = "nyud"
    stand_in = False
    tasks = TaskSet((semseg(CLASSES), depth(), normals()))

    def __init__(
        self,
        split: str,
        *,
        height: int = 288,
        width: int = 384,
        images: int | None = None,
        root: str | Path,
        normals_test: NormalsTest = "norm",
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {list(SPLITS)}, got {split!r}")
        if images is not None and images < 1:
            raise ValueError(f"images: expected at least 1, got {images}")
        if normals_test not in ("norm", "sum"):
            raise ValueError(f"normals_test: expected 'norm' or 'sum', got {normals_test!r}")
        self.root = find_root(root)
        self.split, self.height, self.width = split, height, width
        self.folder = self.root / SPLITS[split]
        self.available = count_images(self.folder)
        self.images = min(images or self.available, self.available)
        self.version = fingerprint(self.root)
        self.normals_test = normals_test
        self._kept: dict[int, Sample] = {}
        self._keep = self.images * height * width * 40 <= KEPT_BYTES  # 40 bytes a pixel

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected one in [0, {len(self)}), got {index}")
        if index in self._kept:
            return self._kept[index]
        sample = resize(self.read(index), self.height, self.width)
        if self._keep:
            self._kept[index] = sample
        return sample

    def read(self, index: int) -> Sample:
        """The image at the size of its files.

        Raises:
            ValueError: If a file is damaged or does not hold what its folder should.
        """
        path = {folder: self.folder / folder / f"{index}.npy" for folder in FOLDERS}
        image = _read(path["image"], (None, None, 3))
        size = image.shape[:2]
        _check_range(path["image"], image, 0.0, 1.0)
        label = _read(path["label"], size)
        _check_range(path["label"], label, -1, len(CLASSES) - 1)
        if (label != np.round(label)).any():
            raise ValueError(f"{path['label']}: expected whole class ids, found fractions")
        meters = _read(path["depth"], (*size, 1))
        _check_range(path["depth"], meters, 0.0, LARGEST_DEPTH)
        normal = _read(path["normal"], (*size, 3))
        _check_range(path["normal"], normal, -1.0, 1.0)

        ids = torch.from_numpy(label.astype(np.int64))[None]
        meters, normal = _channels_first(meters), _channels_first(normal)
        length = normal.square().sum(dim=0, keepdim=True).sqrt()
        known = length > 0 if self.normals_test == "norm" else normal.sum(dim=0, keepdim=True) != 0
        known = known & (length > 0)
        valid = {"semseg": ids >= 0, "depth": meters > 0, "normals": known}
        targets = {
            "semseg": ids.masked_fill(ids < 0, IGNORE_INDEX),
            "depth": meters.masked_fill(meters == 0, float("nan")),
            "normals": (normal / length.clamp(min=1e-12)).masked_fill(~known, float("nan")),
        }
        return Sample(_channels_first(image).clamp(0, 1), targets, valid)


def find_root(path: str | Path) -> Path:
    """The folder that holds ``train`` and ``val``: ``path`` or its ``nyuv2``.

    Raises:
        FileNotFoundError: If neither has one of them.
    """
    path = Path(path)
    for root in (path, path / "nyuv2"):
        if any((root / folder / "image").is_dir() for folder in SPLITS.values()):
            return root
    raise FileNotFoundError(
        f"{path}: expected a folder with train/image/0.npy (or nyuv2/train/image/0.npy), "
        f"found {_listing(path)}"
    )


def count_images(folder: Path) -> int:
    """N of a split, whose four folders must hold exactly 0.npy to N-1.npy.

    Raises:
        FileNotFoundError: If a folder or a number is missing.
        ValueError: If the folders disagree or hold a file with another name.
    """
    counts = {}
    for name in FOLDERS:
        if not (folder / name).is_dir():
            raise FileNotFoundError(f"{folder / name}: expected a folder of .npy files, found none")
        files = [f.name for f in (folder / name).iterdir() if f.suffix == ".npy"]
        odd = sorted(f for f in files if not f[:-4].isdecimal() or f != f"{int(f[:-4])}.npy")
        if odd:
            raise ValueError(f"{folder / name}: expected names such as 17.npy, found {odd[0]}")
        counts[name] = len(files)
        gap = sorted(set(range(len(files))) - {int(f[:-4]) for f in files})
        if gap:
            raise FileNotFoundError(
                f"{folder / name / f'{gap[0]}.npy'}: expected files 0.npy to {len(files) - 1}.npy "
                f"without gaps, found none of that name"
            )
    if len(set(counts.values())) > 1 or not counts["image"]:
        raise ValueError(f"{folder}: expected as many files in each folder, found {counts}")
    return counts["image"]


def fingerprint(root: Path) -> str:
    """Names and sizes of all files and parts of a few: the same for the same data anywhere."""
    digest = hashlib.sha256()
    for split in SPLITS.values():
        for folder in FOLDERS:
            names = sorted(p.name for p in (root / split / folder).glob("*.npy"))
            paths = [root / split / folder / name for name in names]
            for path in paths:
                digest.update(f"{split}/{folder}/{path.name} {path.stat().st_size}\n".encode())
            for path in paths[:: max(1, len(paths) // 8)]:
                with path.open("rb") as file:
                    digest.update(file.read(4096))
                    file.seek(path.stat().st_size // 2)
                    digest.update(file.read(4096))
    return f"npy-{digest.hexdigest()[:12]}"


def resize(sample: Sample, height: int, width: int) -> Sample:
    """The sample at another size; normals keep unit length and holes do not bleed."""
    if sample.image.shape[1:] == (height, width):
        return sample
    smooth = lambda maps: F.interpolate(  # noqa: E731
        maps[None], (height, width), mode="bilinear", align_corners=False, antialias=True
    )[0]
    nearest = lambda maps: F.interpolate(  # noqa: E731
        maps[None].double(),
        (height, width),
        mode="nearest-exact",  # pixel centers, as ``smooth``
    )[0].to(maps.dtype)
    valid = {task: nearest(mask.to(torch.uint8)).bool() for task, mask in sample.valid.items()}
    vectors = smooth(sample.targets["normals"].nan_to_num(0.0))
    length = vectors.square().sum(dim=0, keepdim=True).sqrt()
    valid["normals"] &= length > 1e-6
    vectors = (vectors / length.clamp(min=1e-6)).masked_fill(~valid["normals"], float("nan"))
    targets = {
        "semseg": nearest(sample.targets["semseg"]),
        "depth": nearest(sample.targets["depth"]),
        "normals": vectors,
    }
    return Sample(smooth(sample.image).clamp(0, 1), targets, valid)


def _read(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    wanted = " x ".join("any" if n is None else str(n) for n in shape)
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: expected an array, found no such file") from error
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{path}: expected a .npy array of {wanted}, found a damaged file or objects "
            f"({error}); copy it again"
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: expected a .npy array of {wanted}, found an archive of arrays")
    fits = len(array.shape) == len(shape) and all(
        n is None or n == m for n, m in zip(shape, array.shape, strict=True)
    )
    if not fits or 0 in array.shape:
        raise ValueError(
            f"{path}: expected the shape {wanted}, "
            f"found {' x '.join(map(str, array.shape)) or 'a single number'}"
        )
    return array


def _check_range(path: Path, array: np.ndarray, low: float, high: float) -> None:
    numbers = "a float type" if array.ndim == 3 else "an integer or float type"
    if array.dtype.kind not in ("f" if array.ndim == 3 else "fiu"):
        raise ValueError(f"{path}: expected {numbers}, found {array.dtype}")
    least, most = float(array.min()), float(array.max())  # NaN if any value is
    if not (low - TOLERANCE <= least and most <= high + TOLERANCE):
        raise ValueError(
            f"{path}: expected values in [{low:g}, {high:g}], found {least:g} to {most:g}"
        )


def _channels_first(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0), dtype=np.float32))


def _listing(path: Path) -> str:
    if not path.is_dir():
        return "no such folder"
    names = sorted(p.name for p in path.iterdir())
    return f"{', '.join(names[:6]) or 'an empty folder'}{', ...' if len(names) > 6 else ''}"
