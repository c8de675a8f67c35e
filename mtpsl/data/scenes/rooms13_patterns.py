"""Paint on the surfaces of a rooms13 scene: from integer hashes and triangle waves.

A pattern gets coordinates in meters along the surface (u across, v up), its period, a seed, the
base color and an accent, all per sample, and returns the color and what the surface emits.
"""

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.scenes.raycast import Hits
from mtpsl.data.scenes.rooms13_scene import Scene


def paint(scene: Scene, hits: Hits, rows: Tensor) -> tuple[list[Tensor], Tensor]:
    """Display color of every sample (three tensors) and the light it emits."""
    device, shape = rows.device, rows.shape
    paints = scene.paints
    rows, face = rows.flatten(), hits.face.flatten()
    table = np.array([(*p.color, *p.accent, *p.size) for p in paints], dtype=np.float32)
    columns = torch.from_numpy(np.ascontiguousarray(table.T)).to(device)[:, rows]
    color = [c.clone() for c in columns[:3]]
    seeds = torch.tensor([p.seed for p in paints], device=device)
    glow = torch.zeros_like(color[0])
    halves = torch.from_numpy(_halves(scene)).to(device)
    for name, pattern in PATTERNS.items():
        bearers = torch.tensor([p.pattern == name for p in paints], device=device)
        where = bearers[rows].nonzero().squeeze(1) if bearers.any() else []
        if len(where) == 0:
            continue
        row = rows[where]
        local = [c.flatten()[where] * halves[row, i] for i, c in enumerate(hits.local)]
        u, v = _along(local, face[where])
        seed, (su, sv) = seeds[row], (columns[6][where], columns[7][where])
        base = [c[where] for c in columns[:3]]
        accent = [c[where] for c in columns[3:6]]
        own, emitted = pattern(u, v, su, sv, seed, base, accent)
        for c, new in zip(color, own, strict=True):
            c[where] = new
        if emitted is not None:
            glow[where] = emitted
    return [c.view(shape) for c in color], glow.view(shape)


def _halves(scene: Scene) -> np.ndarray:
    """(P + 6, 3) half sizes in m; the room's for its faces."""
    halves = 1 / np.linalg.norm(scene.shapes.linear, axis=2)
    return np.concatenate([halves, np.repeat(halves[:1], 6, axis=0)]).astype(np.float32)


def _along(local: list[Tensor], face: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in m across and along a surface: on a side, v points up from its middle."""
    x, y, z = local
    u = torch.where((face == 0) | (face == 1), z, x)
    v = torch.where((face == 2) | (face == 3), z, -y)
    return u, v


def _hash(a: Tensor, b: Tensor, seed: Tensor) -> Tensor:
    """Integers -> floats in [0, 1) that look random."""
    mask = 0x7FFFFFFF
    h = (a * 374761393 + b * 668265263 + seed * 974634541) & mask
    h = ((h ^ (h >> 13)) * 1274126177) & mask
    h = ((h ^ (h >> 16)) * 1103515245) & mask
    return ((h >> 7) & 0xFFFF).to(torch.float32) * (1 / 65536)


def _noise(u: Tensor, v: Tensor, seed: Tensor) -> Tensor:
    """Smooth noise in [0, 1) with unit period."""
    a, b = u.floor(), v.floor()
    fu, fv = u - a, v - b
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    a, b = a.long(), b.long()
    low = _hash(a, b, seed) * (1 - fu) + _hash(a + 1, b, seed) * fu
    high = _hash(a, b + 1, seed) * (1 - fu) + _hash(a + 1, b + 1, seed) * fu
    return low * (1 - fv) + high * fv


def _wave(t: Tensor) -> Tensor:
    """A triangle wave in [0, 1] with unit period."""
    return (2 * (t - t.floor()) - 1).abs()


def _mix(base: list[Tensor], accent: list[Tensor], share: Tensor) -> list[Tensor]:
    return [b * (1 - share) + a * share for b, a in zip(base, accent, strict=True)]


def _scaled(base: list[Tensor], factor: Tensor) -> list[Tensor]:
    return [b * factor for b in base]


def _grain(u, v, su, sv, seed, base, accent):
    fine = _noise(u / su * 2, v / sv, seed) * 0.6 + _noise(u / su * 8, v / sv * 3, seed + 7) * 0.4
    return _scaled(base, 0.82 + 0.3 * fine), None


def _stripes(u, v, su, sv, seed, base, accent):
    on = (_wave(u / su) > 0.55) | (_wave(v / sv) > 0.8)
    return _mix(base, accent, on * 0.6), None


def _tiles(u, v, su, sv, seed, base, accent):
    a, b = (u / su).floor(), (v / sv).floor()
    tint = 0.9 + 0.16 * _hash(a.long(), b.long(), seed)
    joint = (_wave(u / su) > 0.95) | (_wave(v / sv) > 0.95)
    return _scaled(base, torch.where(joint, 0.72, tint)), None


def _planks(u, v, su, sv, seed, base, accent):
    b = (v / sv).floor()
    shifted = u / su + _hash(b.long(), b.long() * 0, seed) * 5
    tint = 0.82 + 0.25 * _hash(shifted.floor().long(), b.long(), seed)
    streak = 0.94 + 0.12 * _noise(u * 3, v * 60, seed)
    joint = (_wave(v / sv) > 0.94) | (_wave(shifted) > 0.99)
    return _scaled(base, torch.where(joint, 0.6, tint * streak)), None


def _books(u, v, su, sv, seed, base, accent):
    a = (u / su + _noise(u * 6, u * 0, seed) * 0.8).floor().long()
    zero = a * 0
    share = _hash(a, zero, seed)
    value = 0.35 + 0.9 * _hash(a, zero + 1, seed)
    mixed = _scaled(_mix(base, accent, share), value)
    mixed = [m * (0.6 + 0.7 * _hash(a, zero + 2 + i, seed)) for i, m in enumerate(mixed)]
    edge = _wave(u / su + _noise(u * 6, u * 0, seed) * 0.8) > 0.9
    return _scaled(mixed, torch.where(edge, 0.5, 1.0)), None


def _art(u, v, su, sv, seed, base, accent):
    share = _noise(u / su * 2.2, v / sv * 2.2, seed)
    tone = 0.5 + 0.9 * _noise(u / su * 4, v / sv * 4, seed + 3)
    mixed = _scaled(_mix(base, accent, share), tone)
    return [
        m * (0.75 + 0.5 * _noise(u / su * 3, v / sv * 3, seed + 5 + i)) for i, m in enumerate(mixed)
    ], None


def _panes(u, v, su, sv, seed, base, accent):
    high = (v / sv * 0.5 + 0.5).clamp(0, 1) + 0.25 * (_noise(u * 4, u * 0, seed) - 0.5)
    trees = (high < 0.35) * (0.5 + 0.5 * _noise(u * 9, v * 9, seed))
    sky = [(0.62 + 0.2 * high), (0.74 + 0.12 * high), 0.9 + 0 * high]
    green = [0.33 + 0 * u, 0.46 + 0 * u, 0.3 + 0 * u]
    view = _mix(sky, green, trees)
    bar = (_wave(u / su) < 0.05 / su) | (v.abs() < 0.018)
    share = bar.to(u.dtype)
    return _mix(view, accent, share), (1 - share) * 0.75


def _panels(u, v, su, sv, seed, base, accent):
    shift_u, shift_v = u / su + 0.5, v / sv + 0.5
    seam = (_wave(shift_u) > 1 - 0.02 / su) | (_wave(shift_v) > 1 - 0.02 / sv)
    knob = (_wave(shift_u) < 0.14) & ((v / sv - (v / sv).round()).abs() * sv < 0.014)
    factor = 0.95 + 0.1 * _noise(u * 3, v * 30, seed)
    return _scaled(base, torch.where(seam | knob, 0.5, factor)), None


def _folds(u, v, su, sv, seed, base, accent):
    wobble = u / su + 0.5 * _noise(u * 5, v * 0.7, seed)
    return _scaled(base, 0.65 + 0.45 * _wave(wobble)), None


def _screen(u, v, su, sv, seed, base, accent):
    shine = ((u / su + v / sv) + 0.5).clamp(0, 1) * _noise(u * 3, v * 3, seed)
    return _mix(base, accent, shine * 0.5), None


def _cloth(u, v, su, sv, seed, base, accent):
    rough = _noise(u * 25, v * 25, seed) * 0.5 + _noise(u * 6, v * 6, seed + 1) * 0.5
    return _scaled(base, 0.84 + 0.3 * rough), None


def _glow(u, v, su, sv, seed, base, accent):
    return base, 0.45 + 0 * u


PATTERNS = {
    "grain": _grain,
    "stripes": _stripes,
    "tiles": _tiles,
    "planks": _planks,
    "books": _books,
    "art": _art,
    "panes": _panes,
    "panels": _panels,
    "folds": _folds,
    "screen": _screen,
    "cloth": _cloth,
    "glow": _glow,
}
