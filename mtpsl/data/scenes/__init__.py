"""Generated scenes, the stand-ins for data sets, and what all of them share.

A grammar composes a ``stage.Scene`` (pieces, camera, light) and says which labels its pictures
carry; ``render`` draws it with the one table of ``patterns``, and ``raycast`` finds what is seen.
Here is the data set around them: images are rendered once, cached with checksums and read as
batches. Scene i of a split is a function of (name, version, split, i) alone, its bits are the same
on every device and under every number of threads, and it is the same scene at every size, without
the detail that would be too small to be seen there (``raycast.built``).
"""

import os
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.cache import Layout, cache_root, cached_arrays, cores, write_images
from mtpsl.data.dataset import Stored
from mtpsl.data.scenes.render import Surface, render
from mtpsl.data.scenes.stage import Scene
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import Task

MANY = 5_000_000  # pixels; a cache this large is rendered by several processes
STEPS = 127  # of a direction's component that is kept as int8

Arrays = dict[str, Tensor]  # task or array name -> values of one image, or of several, stacked


@dataclass(frozen=True)
class Rendering:
    """One image and its labels."""

    image: Tensor  # (3, H, W) uint8
    labels: Arrays  # see ``Rendered.labels``


class Rendered(Stored):
    """Generated scenes with exact labels. Abstract: a stand-in composes and labels them.

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
    kept: ClassVar[Mapping[str, str]] = {}  # task -> dtype on disk, where not the usual one

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
        identity = {"name": self.name, "version": self.version, "split": split, "images": count}
        identity |= {"height": height, "width": width}
        layout = self.layout(height, width)
        layout = {name: ((count, *shape), dtype) for name, (shape, dtype) in layout.items()}
        name = f"{self.name}-v{self.version}-{split}-{height}x{width}-{count}"
        fill = partial(self._fill, device=device)
        self.folder = cache_root(cache_dir) / name
        self._map(cached_arrays(self.folder, identity, layout, fill))

    # ------------------------------------------------------ what a stand-in says

    @staticmethod
    @abstractmethod
    def compose(seed: np.random.SeedSequence) -> Scene:
        """The scene of a seed, whatever size it is rendered at."""

    @staticmethod
    @abstractmethod
    def labels(scene: Scene, seen: Surface, image: Tensor, noise: np.random.Generator) -> Arrays:
        """Task -> label of one picture.

        Class ids are uint8 (H, W) with ``IGNORE_INDEX`` where void, binary maps uint8 (H, W), all
        else is float32, (H, W) or (3, H, W), NaN where nothing is known.

        Args:
            scene: What was drawn.
            seen: What is seen on it.
            image: (3, H, W) uint8.
            noise: The sensor's, for what a label has of it.
        """

    # ------------------------------------------------------- what follows from it

    @classmethod
    def scene(cls, split: str, index: int) -> tuple[Scene, np.random.Generator]:
        """The scene at ``index`` of a split, and the source of its sensor noise."""
        names = (zlib.crc32(cls.name.encode()), int(cls.version), zlib.crc32(split.encode()))
        layout, grain = np.random.SeedSequence([*names, index]).spawn(2)
        return cls.compose(layout), np.random.Generator(np.random.PCG64(grain))

    @classmethod
    def picture(
        cls, split: str, index: int, height: int, width: int, device: torch.device | str = "cpu"
    ) -> Rendering:
        """One image of a split with its labels, straight from the generator."""
        scene, noise = cls.scene(split, index)
        image, seen = render(scene, height, width, noise, device)
        return Rendering(image, cls.labels(scene, seen, image, noise))

    @classmethod
    def layout(cls, height: int, width: int) -> Layout:
        """Array name -> shape and dtype of one image's entry, as kept on disk."""
        layout = {"images": ((3, height, width), "uint8")}
        for task in cls.tasks:
            usual = "uint8" if task.kind in ("classes", "binary") else "float16"
            shape = (height, width) if task.target_channels == 1 else (3, height, width)
            layout[task.name] = (shape, cls.kept.get(task.name, usual))
        return layout

    def unpack_rows(self, rows: np.ndarray) -> tuple[Tensor, Arrays, Arrays]:
        arrays = {name: torch.from_numpy(a[rows]) for name, a in self._arrays.items()}
        targets = {task.name: _target(task, arrays[task.name]) for task in self.tasks}
        valid = {task.name: task.known(targets[task.name]) for task in self.tasks}
        return arrays["images"].float().div_(255), targets, valid

    def _fill(self, folder: Path, device: torch.device | str) -> None:
        many = self.count * self.height * self.width >= MANY
        processes = cores() if many and torch.device(device).type == "cpu" else 1
        write = partial(_write, type(self), (self.split, self.height, self.width), device)
        write_images(folder, write, self, processes, "rendering")


def _target(task: Task, kept: Tensor) -> Tensor:
    """(N, C, H, W): a target as its task wants it, from what is kept on disk."""
    target = (kept.unsqueeze(1) if kept.ndim == 3 else kept).to(task.target_dtype)
    if task.kind == "direction":  # lengths are off by what is kept; NaN stays NaN, and 0 / 0 is
        x, y, z = target.unbind(dim=1)  # not ``sum``, whose rounding is the processor's
        target /= (x * x + y * y + z * z).sqrt().unsqueeze(1)
    return target


def _write(kind, where: tuple[str, int, int], device, arrays, index: int) -> None:
    split, height, width = where
    picture = kind.picture(split, index, height, width, device)
    for name, values in {"images": picture.image, **picture.labels}.items():
        if arrays[name].dtype == np.int8:
            values = (values * STEPS).nan_to_num(0).round()
        arrays[name][index] = values.cpu().numpy()


def voided(classes: Tensor, void: Tensor) -> Tensor:
    """Class ids as a label: uint8, ``IGNORE_INDEX`` where ``void``."""
    return torch.where(void, IGNORE_INDEX, classes).to(torch.uint8)
