"""Generated scenes, the stand-ins for data sets, and what all of them share.

Images are rendered once, cached with checksums and read as batches. Surfaces are painted from a
table of random numbers and triangle waves: a pattern gets coordinates in meters along the surface
(u across, v up), its period, a seed, the base color and an accent, all per sample, and returns the
color and what the surface emits. Like ``raycast``, only operations that round alike everywhere.
"""

import os
import zlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.cache import Layout, cache_root, cached_arrays, cores, write_images
from mtpsl.data.dataset import Stored
from mtpsl.data.scenes.raycast import Hits, Rays, Shapes
from mtpsl.data.scenes.rooms13_scene import Paint

MANY = 5_000_000  # pixels; a cache this large is rendered by several processes

Arrays = dict[str, Tensor]  # array name -> values of one image, or of several, stacked


def seeded(
    build: Callable[[np.random.SeedSequence], Any], name: str, version: int, split: str, index: int
) -> tuple[Any, np.random.Generator]:
    """The scene at ``index`` of a split, and the source of its sensor noise."""
    entropy = [zlib.crc32(name.encode()), version, zlib.crc32(split.encode()), index]
    layout, grain = np.random.SeedSequence(entropy).spawn(2)
    return build(layout), np.random.Generator(np.random.PCG64(grain))


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
        self.folder = cache_root(cache_dir) / name
        self._map(cached_arrays(self.folder, identity, layout, fill))

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
        many = self.count * self.height * self.width >= MANY
        processes = cores() if many and torch.device(device).type == "cpu" else 1
        write = partial(_write_image, type(self), self.split, self.height, self.width, device)
        write_images(folder, write, self, processes, "rendering")


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


PERIOD = 1 << 13  # of the noise, a power of two

Colors = list[Tensor]  # red, green and blue display values, of one shape
Pattern = Callable[
    [Tensor, Tensor, Tensor, Tensor, Tensor, Colors, Colors], tuple[Colors, Tensor | None]
]

# -------------------------------------------------------------------- geometry


@dataclass(frozen=True)
class Surface:
    """What is seen through the pixel centers: exact, without an annotator's gaps."""

    classes: Tensor  # (H, W) int64
    instance: Tensor  # (H, W) int64
    depth: Tensor  # (H, W) float32 m
    normals: Tensor  # (3, H, W) float32, camera frame
    cosine: Tensor  # (H, W) float32: of the angle between the normal and the view


def geometry(rays: Rays, hits: Hits) -> dict[str, Tensor]:
    """Depth, normals and cosine of a ``Surface``."""
    center = rays.centers
    nx, ny, nz = (center(n) for n in hits.normal)
    r = rays.camera.rotation.astype(np.float32).tolist()
    normals = [nx * r[0][i] + ny * r[1][i] + nz * r[2][i] for i in range(3)]
    dx, dy, dz = (center(d) for d in rays.direction)
    length = (dx * dx + dy * dy + dz * dz).sqrt()
    cosine = -(nx * dx + ny * dy + nz * dz) / length
    return {"depth": center(hits.depth), "normals": torch.stack(normals), "cosine": cosine}


def with_faces(shapes: Shapes) -> Shapes:
    """The shapes and, as rows of their own, the six faces of the shell that is shape 0."""
    return Shapes(
        np.concatenate([shapes.kind, shapes.kind[:1].repeat(6)]),
        np.concatenate([shapes.linear, shapes.linear[:1].repeat(6, axis=0)]),
        np.concatenate([shapes.offset, shapes.offset[:1].repeat(6, axis=0)]),
    )


def rows_of(shapes: Shapes, hits: Hits) -> Tensor:
    """Row of every sample in a scene's tables: the shape, or the face of the shell around it."""
    return torch.where(hits.shape == 0, len(shapes) + hits.face, hits.shape)


def among(instance: Tensor, chosen: np.ndarray) -> Tensor:
    """Where a map of instances shows one of the chosen: bool, of its shape."""
    table = torch.zeros(int(instance.max()) + 1, dtype=torch.bool)
    table[torch.from_numpy(chosen[chosen < len(table)])] = True
    return table.to(instance.device)[instance]


# ----------------------------------------------------------------------- paint


def paint(
    paints: Sequence[Paint],
    shapes: Shapes,
    hits: Hits,
    rows: Tensor,
    patterns: Mapping[str, Pattern],
    slant: float = 0.7,
) -> tuple[Colors, Tensor]:
    """Display color of every sample (three tensors) and the light it emits.

    Args:
        paints: One a shape.
        shapes: Those that were hit.
        hits: Of all samples.
        rows: The samples' rows in ``paints``.
        patterns: Name -> pattern; a paint of another name is plain.
        slant: How much of z goes into u on surfaces without faces.
    """
    device, shape = rows.device, rows.shape
    rows, face = rows.flatten(), hits.face.flatten()
    table = np.array([(*p.color, *p.accent, *p.size) for p in paints], dtype=np.float32)
    columns = torch.from_numpy(np.ascontiguousarray(table.T)).to(device)
    color = [c[rows] for c in columns[:3]]
    glow = torch.zeros_like(color[0])
    seeds = torch.tensor([p.seed for p in paints], device=device)
    halves = torch.from_numpy((1 / np.linalg.norm(shapes.linear, axis=2)).astype(np.float32))
    halves = halves.to(device)
    numbers = {name: i for i, name in enumerate(patterns)}
    kinds = torch.tensor([numbers.get(p.pattern, -1) for p in paints], device=device)[rows]
    for name, number in numbers.items():
        where = (kinds == number).nonzero().squeeze(1)
        if len(where) == 0:
            continue
        row = rows[where]
        local = [c.flatten()[where] * halves[row, i] for i, c in enumerate(hits.local)]
        u, v = along(local, face[where], slant)
        drawn = columns[:, row]
        base, accent = list(drawn[:3]), list(drawn[3:6])
        own, emitted = patterns[name](u, v, drawn[6], drawn[7], seeds[row], base, accent)
        for c, new in zip(color, own, strict=True):
            c[where] = new
        if emitted is not None:
            glow[where] = emitted
    return [c.view(shape) for c in color], glow.view(shape)


def along(local: Sequence[Tensor], face: Tensor, slant: float) -> tuple[Tensor, Tensor]:
    """Coordinates in m across and along a surface: on a side, v points up from its middle."""
    x, y, z = local
    u = torch.where((face == 0) | (face == 1), z, torch.where(face == 6, x + slant * z, x))
    v = torch.where((face == 2) | (face == 3), z, -y)
    return u, v


def hashed(a: Tensor, b: Tensor, seed: Tensor) -> Tensor:
    """Integers -> floats in [0, 1) that look random; repeats every ``PERIOD`` cells."""
    order, values = _tables(a.device)
    return values[(order[(a + seed) & PERIOD - 1] + b) & PERIOD - 1]


def noise(u: Tensor, v: Tensor, seed: Tensor) -> Tensor:
    """Smooth noise in [0, 1) with unit period."""
    order, values = _tables(u.device)
    a, b = u.floor(), v.floor()
    fu, fv = u - a, v - b
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    a, b = a.long() + seed, b.long()
    left, right = order[a & PERIOD - 1] + b, order[(a + 1) & PERIOD - 1] + b
    low = values[left & PERIOD - 1] * (1 - fu) + values[right & PERIOD - 1] * fu
    high = values[(left + 1) & PERIOD - 1] * (1 - fu) + values[(right + 1) & PERIOD - 1] * fu
    return low * (1 - fv) + high * fv


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """A permutation of PERIOD integers and as many floats: look-ups are cheaper than hashing."""
    draw = np.random.Generator(np.random.PCG64(0))
    order, values = draw.permutation(PERIOD), draw.random(PERIOD).astype(np.float32)
    return torch.from_numpy(order).to(device), torch.from_numpy(values).to(device)


def wave(t: Tensor) -> Tensor:
    """A triangle wave in [0, 1] with unit period."""
    return (2 * (t - t.floor()) - 1).abs()


def mix(base: Colors, accent: Colors, share: Tensor) -> Colors:
    return [b * (1 - share) + a * share for b, a in zip(base, accent, strict=True)]


def scaled(base: Colors, factor: Tensor) -> Colors:
    return [b * factor for b in base]
