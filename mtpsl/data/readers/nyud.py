"""NYUD-v2 on disk, 795 training and 654 test images, in any of the layouts that people have.

The layout is found out, never asked for: the preprocessed ``.npy`` tree, the folders of the
NYUD_MT archive, a tree of PNG files, or the published MATLAB file. Whatever it is, there are 13
classes, depth in meters and normals in the camera frame (x right, y down, z forward). Nothing is
repaired or skipped silently.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
from mtpsl.data.readers.files import listing
from mtpsl.data.readers.nyud_folders import Archive, PngTree
from mtpsl.data.readers.nyud_layout import CLASSES, Arrays, Layout
from mtpsl.data.readers.nyud_mat import Labeled
from mtpsl.data.readers.nyud_npy import NpyTree
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import TaskSet, depth, normals, semseg

LAYOUTS: tuple[type[Layout], ...] = (NpyTree, Labeled, Archive, PngTree)
"""In the order they are tried. To add one, write ``data/nyud_<layout>.py`` and name it here."""

ARCHIVES = (".tgz", ".gz", ".tar", ".zip", ".bz2", ".xz")

NormalsTest = Literal["norm", "sum"]


class Nyud(disk.FolderDataset):
    """A split of NYUD-v2 on disk.

    Args:
        split: ``"train"`` or ``"test"``.
        height: Wanted height; files of another size are resized: images and normals bilinearly,
            class ids and depth to the nearest pixel.
        width: Wanted width.
        images: Use the first so many images; None, or more than there are: all of them.
        root: The folder of the layout or the folder that contains it, or the MATLAB file.
        normals_test: Which normals count as annotated: ``"norm"``: of length above 0; ``"sum"``:
            whose components do not sum to 0, as in the released code, which drops real normals.

    Raises:
        FileNotFoundError: If a folder or a file of the layout is missing, naming it.
        ValueError: If an argument is wrong or, when an image is read, its files are not as above.
        RuntimeError: If a MATLAB 7.3 file is there, but not the package that reads it.
    """

    name = "nyud"
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
        disk.check_choice(split, images)
        if normals_test not in ("norm", "sum"):
            raise ValueError(f"normals_test: expected 'norm' or 'sum', got {normals_test!r}")
        kind, self.root = find_layout(root)
        self.layout = kind(self.root, split)
        self.split, self.height, self.width = split, height, width
        self.available = len(self.layout.names)
        self.images = min(images or self.available, self.available)
        self.version = self.layout.version
        self.normals_test = normals_test
        self.ids = self.layout.names[: self.images]

    def read(self, index: int) -> Sample:
        """The image at the size of its files.

        Raises:
            ValueError: If a file is damaged or does not hold what its folder should.
        """
        return to_sample(self.layout.read(index), self.normals_test)


def to_sample(arrays: Arrays, normals_test: NormalsTest = "norm") -> Sample:
    """Files' arrays in the form of all data sets: holes marked, normals of unit length."""
    ids = torch.from_numpy(arrays.ids)[None]
    meters, normal = _channels_first(arrays.meters[..., None]), _channels_first(arrays.normal)
    length = normal.square().sum(dim=0, keepdim=True).sqrt()
    known = length > 0 if normals_test == "norm" else normal.sum(dim=0, keepdim=True) != 0
    known = known & (length > 0)
    valid = {"semseg": ids >= 0, "depth": meters > 0, "normals": known}
    targets = {
        "semseg": ids.masked_fill(ids < 0, IGNORE_INDEX),
        "depth": meters.masked_fill(meters == 0, float("nan")),
        "normals": (normal / length.clamp(min=1e-12)).masked_fill(~known, float("nan")),
    }
    return Sample(_channels_first(arrays.image).clamp(0, 1), targets, valid)


def find_layout(path: str | Path) -> tuple[type[Layout], Path]:
    """The layout at ``path`` and its root: that folder or one in it.

    Raises:
        FileNotFoundError: If it is none that is known.
    """
    path = Path(path)
    for kind in LAYOUTS:
        root = kind.find(path)
        if root is not None:
            return kind, root
    found = f"{listing(path)}; name the folder of the data set"
    if path.is_file() and path.suffix in ARCHIVES:
        found = "an archive; unpack it"
    raise FileNotFoundError(
        f"{path}: expected a folder with train/image/0.npy, gt_sets/train.txt, image/train or "
        f"nyu_depth_v2_labeled.mat, in it or one level below, found {found}"
    )


def _channels_first(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0), dtype=np.float32))
