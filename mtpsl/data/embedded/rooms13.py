"""rooms13: generated rooms, the stand-in for NYUD-v2.

The same tasks, classes and counts as the real set, and statistics close to its own; every table
made from it says so. Scene i of a split is a function of (name, version, split, i) alone.
"""

import os
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mtpsl import losses, tasks
from mtpsl.batch import Batch
from mtpsl.data.embedded.cache import cache_root, cached_arrays
from mtpsl.data.embedded.rooms13_layout import build
from mtpsl.data.embedded.rooms13_render import Rendering, render
from mtpsl.data.embedded.rooms13_scene import CLASSES, Scene
from mtpsl.data.sample import Dataset, Sample

VERSION = 1
"""Of everything that decides a pixel or a label. Frozen once results of it are recorded."""

SPLITS = {"train": 795, "test": 654}  # as in NYUD-v2
TASKS = tasks.TaskSet((tasks.semseg(CLASSES), tasks.depth(), tasks.normals()))

MANY = 5_000_000  # pixels; a cache this large is rendered by several processes
MOST_PROCESSES = 8


def scene(split: str, index: int) -> tuple[Scene, np.random.Generator]:
    """The scene at ``index`` of a split, and the source of its sensor noise."""
    name = zlib.crc32(b"rooms13")
    seed = np.random.SeedSequence([name, VERSION, zlib.crc32(split.encode()), index])
    layout, noise = seed.spawn(2)
    return build(layout), np.random.Generator(np.random.PCG64(noise))


def render_image(
    split: str, index: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Rendering:
    """One image of a split with its labels, straight from the generator."""
    picture, noise = scene(split, index)
    return render(picture, height, width, noise, device)


class Rooms13(Dataset):
    """Generated rooms with 13-class segmentation, depth and surface normals.

    Rendered on first use and kept in a checksummed cache, about 150 kB per image at 96x128.

    Args:
        split: "train" or "test".
        height, width: In pixels; the same scenes at every size.
        images: How many, from the first; None for the real set's count.
        cache_dir: Where to keep the rendered arrays; see ``cache.cache_root``.
        device: Where to render.

    Raises:
        ValueError: For an unknown split or a size below 8 pixels.
    """

    name = "rooms13"
    version = str(VERSION)
    stand_in = True
    tasks = TASKS

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
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {tuple(SPLITS)}, got {split!r}")
        if min(height, width) < 8:
            raise ValueError(f"size: expected at least 8x8 pixels, got {height}x{width}")
        count = SPLITS[split] if images is None else images
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
        layout = {
            "images": ((count, 3, height, width), "uint8"),
            "semseg": ((count, height, width), "uint8"),
            "depth": ((count, height, width), "float16"),
            "normals": ((count, 3, height, width), "float16"),
        }
        folder = f"{self.name}-v{VERSION}-{split}-{height}x{width}-{count}"
        self._arrays = cached_arrays(
            cache_root(cache_dir) / folder, identity, layout, lambda work: self._fill(work, device)
        )

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
        semseg = self._take("semseg", rows).unsqueeze(1).long()
        depth = self._take("depth", rows).unsqueeze(1).float()
        normals = self._take("normals", rows).float()
        # Half precision leaves lengths off by up to 1e-3; NaN stays NaN.
        normals /= normals.square().sum(dim=1, keepdim=True).sqrt()
        return Batch(
            images=self._take("images", rows).float().div_(255),
            targets={"semseg": semseg, "depth": depth, "normals": normals},
            valid={
                "semseg": semseg != losses.IGNORE_INDEX,
                "depth": depth.isfinite(),
                "normals": normals[:, :1].isfinite(),
            },
            labeled={t: torch.ones(len(rows), dtype=torch.bool) for t in self.tasks.names},
            index=torch.from_numpy(rows.copy()),
        )

    def _take(self, name: str, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(self._arrays[name])[rows])

    def _fill(self, folder: Path, device: torch.device | str) -> None:
        on_cpu = torch.device(device).type == "cpu"
        large = on_cpu and self.count * self.height * self.width >= MANY
        processes = min(_cores(), MOST_PROCESSES) if large else 1
        command = "import sys; from mtpsl.data.embedded import rooms13; rooms13._worker(sys.argv)"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        helpers = [
            subprocess.Popen(
                [sys.executable, "-c", command, str(folder), self.split, str(k), str(processes)],
                env=environment,
            )
            for k in range(1, processes)
        ]
        try:
            fill_part(folder, self.split, 0, processes, device, show=True)
            failed = [h.returncode for h in helpers if h.wait() != 0]
        finally:
            for helper in helpers:
                helper.kill()
        if failed:
            raise RuntimeError(f"rooms13: a rendering process ended with code {failed[0]}")


def fill_part(
    folder: Path,
    split: str,
    first: int,
    step: int,
    device: torch.device | str = "cpu",
    show: bool = False,
) -> None:
    """Renders images ``first``, ``first + step``, ... into the arrays of a folder."""
    names = ("images", "semseg", "depth", "normals")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in names}
    count, _, height, width = arrays["images"].shape
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # pictures are too small for threads; processes share them instead
    try:
        label = f"rooms13 {split} {height}x{width}: rendering {count} images, kept for next time"
        for index in tqdm(
            range(first, count, step), desc=label, disable=None if show else True, leave=False
        ):
            picture = render_image(split, index, height, width, device)
            arrays["images"][index] = picture.image.cpu().numpy()
            arrays["semseg"][index] = picture.semseg.cpu().numpy()
            arrays["depth"][index] = picture.depth.cpu().numpy()
            arrays["normals"][index] = picture.normals.cpu().numpy()
    finally:
        torch.set_num_threads(threads)
    for array in arrays.values():
        array.flush()


def _worker(arguments: list[str]) -> None:
    folder, split, first, step = arguments[1:]
    fill_part(Path(folder), split, int(first), int(step))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
