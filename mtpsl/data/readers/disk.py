"""What data sets on disk share. Nothing here knows one of them."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.data.dataset import Dataset, Sample
from mtpsl.data.readers.axes import Axes
from mtpsl.tasks import TaskSet

SPLITS = ("train", "test")


def resize(sample: Sample, tasks: TaskSet, height: int, width: int) -> Sample:
    """Resizes a sample: the image and normals bilinearly, all else to the nearest pixel.

    Bilinear means averaged over a pixel's whole area when the size shrinks. Normals keep unit
    length, holes do not bleed, and numbers stay what they are.
    """
    if sample.image.shape[1:] == (height, width):
        return sample
    targets, valid = {}, {}
    for task in tasks:
        target = sample.targets[task.name]
        known = nearest(sample.valid[task.name].to(torch.uint8), height, width).bool()
        if task.kind == "direction":
            target = _smooth(target.nan_to_num(0.0), height, width)
            length = target.square().sum(dim=0, keepdim=True).sqrt()
            known &= length > 1e-6
            target = target / length.clamp(min=1e-6)
        else:
            target = nearest(target, height, width)
        targets[task.name] = target.masked_fill(~known, task.missing)
        valid[task.name] = known
    return Sample(_smooth(sample.image, height, width).clamp(0, 1), targets, valid)


def _smooth(maps: Tensor, height: int, width: int) -> Tensor:
    size = (height, width)
    return F.interpolate(
        maps[None], size, mode="bilinear", align_corners=False, antialias=True
    ).squeeze(0)


def nearest(maps: Tensor, height: int, width: int) -> Tensor:
    """The pixel whose center is nearest, so that it fits ``_smooth``."""
    wide = maps[None].double()
    return F.interpolate(wide, (height, width), mode="nearest-exact")[0].to(maps.dtype)


def channels_first(array: np.ndarray) -> Tensor:
    """(H, W, C) -> (C, H, W) float32."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0), dtype=np.float32))


def to_image(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(pixels.copy()).movedim(-1, 0).float() / 255


class FolderDataset(Dataset):
    """A split of a data set of files, read and resized at every look.

    ``cached.Cached`` keeps what it gives. Nothing is repaired or skipped silently.

    Args:
        split: ``"train"`` or ``"test"``.
        height: Wanted height; None for ``default_size``. Every image is resized to height x
            width, whatever its proportions: images and normals bilinearly, averaging where they
            shrink, all else to the nearest pixel.
        width: Wanted width.
        images: Use the first so many images; None, or more than there are: all of them.
        root: The folder of one of the layouts, or the folder that contains it.

    Raises:
        FileNotFoundError: If a folder or a file of the layout is missing, naming it.
        ValueError: If an argument is wrong or files do not fit together; or, when an image is
            read, if its files do not hold what they should.
    """

    stand_in = False
    default_size: tuple[int, int]  # height and width
    rounds_images = False  # to 8 bits, as its files have them
    root: Path
    images: int  # of the split, as many as were asked for
    ids: tuple[str, ...]  # what the source calls them, in order

    def __init__(
        self,
        split: str,
        *,
        height: int | None = None,
        width: int | None = None,
        images: int | None = None,
        root: str | Path,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {list(SPLITS)}, got {split!r}")
        if images is not None and images < 1:
            raise ValueError(f"images: expected at least 1, got {images}")
        self.split = split
        self.height, self.width = height or self.default_size[0], width or self.default_size[1]
        names = self.open_root(Path(root))
        self.images = min(images or len(names), len(names))
        self.ids = tuple(names[: self.images])

    @abstractmethod
    def open_root(self, path: Path) -> Sequence[str]:
        """Sets ``root``, ``version`` and what ``read`` needs; returns the names of all images."""

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected one in [0, {len(self)}), got {index}")
        sample = resize(self.read(index), self.tasks, self.height, self.width)
        if not self.rounds_images:
            return sample
        return replace(sample, image=(sample.image * 255).round() / 255)

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The image at the size of its files.

        Raises:
            ValueError: If a file is damaged or does not hold what it should.
        """

    # What the report on a folder asks for:

    one_size = True  # False: the images of one copy may differ in size

    @classmethod
    @abstractmethod
    def describe_root(cls, path: str | Path) -> str:
        """The title of a report: which layout lies where."""

    @abstractmethod
    def files(self, index: int) -> dict[str, Path]:
        """Kind of file -> the file of the image at ``index``, where it has one of its own."""

    def notes(self) -> Iterator[str]:
        """What is to be known about this copy beyond the numbers of its labels."""
        yield from ()

    def problems(self) -> Iterator[str]:
        """What is wrong with this copy beyond files that cannot be read."""
        yield from ()

    def axes_remedies(self, axes: Axes) -> Iterator[str]:
        """What to do about normals whose channels are these axes, by the depth."""
        if axes[0][0] != 0:
            yield "do not train with flips: channel 0 is not the image's x"


@final
class AtFileSize(Dataset):
    """The same images with labels as their files have them, for scoring predictions at that size.

    One image a batch, since files differ in size: ``EvalLoader(AtFileSize(dataset, reader), 1)``.

    Args:
        dataset: Gives the images, at the size that a network sees.
        reader: Of the same images; reads the labels.
    """

    def __init__(self, dataset: Dataset, reader: FolderDataset) -> None:
        self.dataset, self.reader, self.tasks = dataset, reader, dataset.tasks
        self.name, self.version, self.split = dataset.name, dataset.version, dataset.split
        self.stand_in, self.height, self.width = False, dataset.height, dataset.width

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """The image at the network's size, the labels at the file's.

        Raises:
            ValueError: If a file is damaged, naming it.
        """
        image = self.dataset[index].image
        return replace(self.reader.read(index), image=image)

    def carries(self, task: str) -> Tensor:
        return self.dataset.carries(task)


def spread(total: int, most: int) -> list[int]:
    """At most so many indices in [0, total), evenly spread, the first and last among them."""
    if total == 0:
        return []
    return sorted({round(i) for i in np.linspace(0, total - 1, min(most, total)).tolist()})
