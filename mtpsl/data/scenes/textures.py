"""Paint on generated surfaces: from a table of random numbers and triangle waves.

A pattern gets coordinates in meters along the surface (u across, v up), its period, a seed, the
base color and an accent, all per sample, and returns the color and what the surface emits.
Like ``raycast``, only operations that round alike everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.scenes.raycast import Hits, Shapes
from mtpsl.data.scenes.rooms13_scene import Paint

PERIOD = 1 << 13  # of the noise, a power of two

Colors = list[Tensor]  # red, green and blue display values, of one shape
Pattern = Callable[
    [Tensor, Tensor, Tensor, Tensor, Tensor, Colors, Colors], tuple[Colors, Tensor | None]
]


def paint(
    paints: Sequence[Paint],
    shapes: Shapes,
    hits: Hits,
    rows: Tensor,
    patterns: Mapping[str, Pattern],
) -> tuple[Colors, Tensor]:
    """Display color of every sample (three tensors) and the light it emits.

    Args:
        paints: One a shape.
        shapes: Those that were hit.
        hits: Of all samples.
        rows: The samples' rows in ``paints``.
        patterns: Name -> pattern; a paint of another name is plain.
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
        u, v = along(local, face[where])
        drawn = columns[:, row]
        base, accent = list(drawn[:3]), list(drawn[3:6])
        own, emitted = patterns[name](u, v, drawn[6], drawn[7], seeds[row], base, accent)
        for c, new in zip(color, own, strict=True):
            c[where] = new
        if emitted is not None:
            glow[where] = emitted
    return [c.view(shape) for c in color], glow.view(shape)


def along(local: Sequence[Tensor], face: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in m across and along a surface: on a side, v points up from its middle."""
    x, y, z = local
    u = torch.where((face == 0) | (face == 1), z, torch.where(face == 6, x + 0.7 * z, x))
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
