"""What the generated data sets share: rendered once, cached with checksums, read as batches."""

import os
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mtpsl.batch import Batch
from mtpsl.data.dataset import Dataset, Sample
from mtpsl.data.scenes.cache import Layout, cache_root, cached_arrays

MANY = 5_000_000  # pixels; a cache this large is rendered by several processes
MOST_PROCESSES = 8

Arrays = dict[str, Tensor]  # array name -> values of one image, or of several, stacked


class Rendered(Dataset):
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
        folder = f"{self.name}-v{self.version}-{split}-{height}x{width}-{count}"
        self._arrays = cached_arrays(
            cache_root(cache_dir) / folder, identity, layout, lambda work: self._fill(work, device)
        )

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

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        batch = self.load([index])
        return Sample(
            image=batch.images[0],
            targets={name: target[0] for name, target in batch.targets.items()},
            valid={name: valid[0] for name, valid in batch.valid.items()},
        )

    def load(self, indices: Sequence[int]) -> Batch:
        """The images at ``indices``, clean and fully labeled, in that order."""
        rows = np.asarray(indices, dtype=np.int64)
        if rows.size and not (0 <= rows.min() and rows.max() < self.count):
            raise IndexError(f"index: expected 0 to {self.count - 1}, got {rows.tolist()}")
        images, targets, valid = self.unpack(
            {name: torch.from_numpy(np.asarray(a)[rows]) for name, a in self._arrays.items()}
        )
        return Batch(
            images=images,
            targets=targets,
            valid=valid,
            labeled={t: torch.ones(len(rows), dtype=torch.bool) for t in self.tasks.names},
            index=torch.from_numpy(rows.copy()),
        )

    def _fill(self, folder: Path, device: torch.device | str) -> None:
        on_cpu = torch.device(device).type == "cpu"
        large = on_cpu and self.count * self.height * self.width >= MANY
        processes = min(_cores(), MOST_PROCESSES) if large else 1
        kind = f"{type(self).__module__}:{type(self).__qualname__}"
        command = "import sys; from mtpsl.data.scenes import rendered; rendered.work(sys.argv)"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        helpers = [
            subprocess.Popen(
                [sys.executable, "-c", command, kind, folder, self.split, str(k), str(processes)],
                env=environment,
            )
            for k in range(1, processes)
        ]
        try:
            fill_part(type(self), folder, self.split, 0, processes, device, show=True)
            failed = [h.returncode for h in helpers if h.wait() != 0]
        finally:
            for helper in helpers:
                helper.kill()
        if failed:
            raise RuntimeError(f"{self.name}: a rendering process ended with code {failed[0]}")


def fill_part(
    kind: type[Rendered],
    folder: Path,
    split: str,
    first: int,
    step: int,
    device: torch.device | str = "cpu",
    show: bool = False,
) -> None:
    """Renders images ``first``, ``first + step``, ... into the arrays of a folder."""
    arrays = {path.stem: np.load(path, mmap_mode="r+") for path in sorted(folder.glob("*.npy"))}
    count, _, height, width = arrays["images"].shape
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # pictures are too small for threads; processes share them instead
    title = f"{kind.name} {split} {height}x{width}: rendering {count} images, kept for next time"
    try:
        indices = range(first, count, step)
        for index in tqdm(indices, desc=title, disable=None if show else True, leave=False):
            for name, values in kind.draw(split, index, height, width, device).items():
                arrays[name][index] = values.cpu().numpy()
    finally:
        torch.set_num_threads(threads)
    for array in arrays.values():
        array.flush()


def work(arguments: list[str]) -> None:
    """What a helper process runs: arguments are class, folder, split, first and step."""
    kind, folder, split, first, step = arguments[1:]
    module, name = kind.split(":")
    fill_part(getattr(import_module(module), name), Path(folder), split, int(first), int(step))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
