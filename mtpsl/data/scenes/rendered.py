"""What the generated data sets share: rendered once, cached with checksums, read as batches."""

import os
from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.cache import Layout, Stored, cache_root, cores, write_images

MANY = 5_000_000  # pixels; a cache this large is rendered by several processes

Arrays = dict[str, Tensor]  # array name -> values of one image, or of several, stacked


class Rendered(Stored):
    """Generated scenes with exact labels. Abstract: a stand-in says what it draws.

    Rendered on first use and kept in a checksummed cache.

    Args:
        split: A key of ``splits``.
        height, width: In pixels; the same scenes at every size.
        images: How many, from the first; None for the real set's count.
        cache_dir: Where to keep the rendered arrays; see ``cache.cache_root``.
        device: Where to render.

    Raises:
        ValueError: For an unknown split or a size below 8 pixels.
    """

    stand_in = True
    splits: ClassVar[dict[str, int]]  # split -> images of the real set

    def __init__(
        self,
        split: str,
        *,
        height: int,
        width: int,
        images: int | None = None,
        cache_dir: str | os.PathLike | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if split not in self.splits:
            raise ValueError(f"split: expected one of {tuple(self.splits)}, got {split!r}")
        if min(height, width) < 8:
            raise ValueError(f"size: expected at least 8x8 pixels, got {height}x{width}")
        count = self.splits[split] if images is None else images
        if count < 1:
            raise ValueError(f"images: expected at least 1, got {images}")
        self.split, self.height, self.width, self.count = split, height, width, count
        identity = {
            "name": self.name,
            "version": self.version,
            "split": split,
            "images": count,
            "height": height,
            "width": width,
        }
        layout = self.layout(height, width)
        layout = {name: ((count, *shape), dtype) for name, (shape, dtype) in layout.items()}
        name = f"{self.name}-v{self.version}-{split}-{height}x{width}-{count}"
        fill = partial(self._fill, device=device)
        self._keep(cache_root(cache_dir) / name, identity, layout, fill)

    @classmethod
    @abstractmethod
    def layout(cls, height: int, width: int) -> Layout:
        """Array name -> shape and dtype of one image's entry, as kept on disk."""

    @classmethod
    @abstractmethod
    def draw(
        cls, split: str, index: int, height: int, width: int, device: torch.device | str
    ) -> Arrays:
        """Image ``index`` of a split in that layout, a function of these arguments alone."""

    @abstractmethod
    def unpack(self, arrays: Arrays) -> tuple[Tensor, Arrays, Arrays]:
        """Stored arrays of N images -> images (N, 3, H, W) in [0, 1], targets, valid."""

    def unpack_rows(self, rows: np.ndarray) -> tuple[Tensor, Arrays, Arrays]:
        return self.unpack({name: torch.from_numpy(a[rows]) for name, a in self._arrays.items()})

    def _fill(self, folder: Path, device: torch.device | str) -> None:
        on_cpu = torch.device(device).type == "cpu"
        processes = 1
        if on_cpu and self.count * self.height * self.width >= MANY:
            processes = min(cores(), self.count)
        size = (self.height, self.width)
        title = f"{self.name} {self.split} {size[0]}x{size[1]}"
        title = f"{title}: rendering {self.count} images, kept for next time"
        write = partial(_write_image, type(self), self.split, *size, device)
        write_images(folder, write, self.count, processes, title)


def _write_image(
    kind: type[Rendered],
    split: str,
    height: int,
    width: int,
    device: torch.device | str,
    arrays: dict[str, np.ndarray],
    index: int,
) -> None:
    for name, values in kind.draw(split, index, height, width, device).items():
        arrays[name][index] = values.cpu().numpy()
