"""Pictures and labels of a rooms13 scene.

Like ``raycast``, only operations that round alike everywhere: the display curve is a square root.
Colors are painted from integer hashes and triangle waves.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.scenes.first import (
    Surface,
    among,
    geometry,
    mix,
    paint,
    rows_of,
    scaled,
    wave,
    with_faces,
)
from mtpsl.data.scenes.raycast import Hits, Rays, make_rays, occluded, trace
from mtpsl.data.scenes.rooms13_scene import Scene
from mtpsl.losses import IGNORE_INDEX


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


def _grain(u, v, su, sv, seed, base, accent):
    fine = _noise(u / su * 2, v / sv, seed) * 0.6 + _noise(u / su * 8, v / sv * 3, seed + 7) * 0.4
    return scaled(base, 0.82 + 0.3 * fine), None


def _stripes(u, v, su, sv, seed, base, accent):
    on = (wave(u / su) > 0.55) | (wave(v / sv) > 0.8)
    return mix(base, accent, on * 0.6), None


def _tiles(u, v, su, sv, seed, base, accent):
    a, b = (u / su).floor(), (v / sv).floor()
    tint = 0.9 + 0.16 * _hash(a.long(), b.long(), seed)
    joint = (wave(u / su) > 0.95) | (wave(v / sv) > 0.95)
    return scaled(base, torch.where(joint, 0.72, tint)), None


def _planks(u, v, su, sv, seed, base, accent):
    b = (v / sv).floor()
    shifted = u / su + _hash(b.long(), b.long() * 0, seed) * 5
    tint = 0.82 + 0.25 * _hash(shifted.floor().long(), b.long(), seed)
    streak = 0.94 + 0.12 * _noise(u * 3, v * 60, seed)
    joint = (wave(v / sv) > 0.94) | (wave(shifted) > 0.99)
    return scaled(base, torch.where(joint, 0.6, tint * streak)), None


def _books(u, v, su, sv, seed, base, accent):
    a = (u / su + _noise(u * 6, u * 0, seed) * 0.8).floor().long()
    zero = a * 0
    share = _hash(a, zero, seed)
    value = 0.35 + 0.9 * _hash(a, zero + 1, seed)
    mixed = scaled(mix(base, accent, share), value)
    mixed = [m * (0.6 + 0.7 * _hash(a, zero + 2 + i, seed)) for i, m in enumerate(mixed)]
    edge = wave(u / su + _noise(u * 6, u * 0, seed) * 0.8) > 0.9
    return scaled(mixed, torch.where(edge, 0.5, 1.0)), None


def _art(u, v, su, sv, seed, base, accent):
    share = _noise(u / su * 2.2, v / sv * 2.2, seed)
    tone = 0.5 + 0.9 * _noise(u / su * 4, v / sv * 4, seed + 3)
    mixed = scaled(mix(base, accent, share), tone)
    return [
        m * (0.75 + 0.5 * _noise(u / su * 3, v / sv * 3, seed + 5 + i)) for i, m in enumerate(mixed)
    ], None


def _panes(u, v, su, sv, seed, base, accent):
    high = (v / sv * 0.5 + 0.5).clamp(0, 1) + 0.25 * (_noise(u * 4, u * 0, seed) - 0.5)
    trees = (high < 0.35) * (0.5 + 0.5 * _noise(u * 9, v * 9, seed))
    sky = [(0.62 + 0.2 * high), (0.74 + 0.12 * high), 0.9 + 0 * high]
    green = [0.33 + 0 * u, 0.46 + 0 * u, 0.3 + 0 * u]
    view = mix(sky, green, trees)
    bar = (wave(u / su) < 0.05 / su) | (v.abs() < 0.018)
    share = bar.to(u.dtype)
    return mix(view, accent, share), (1 - share) * 0.75


def _panels(u, v, su, sv, seed, base, accent):
    shift_u, shift_v = u / su + 0.5, v / sv + 0.5
    seam = (wave(shift_u) > 1 - 0.02 / su) | (wave(shift_v) > 1 - 0.02 / sv)
    knob = (wave(shift_u) < 0.14) & ((v / sv - (v / sv).round()).abs() * sv < 0.014)
    factor = 0.95 + 0.1 * _noise(u * 3, v * 30, seed)
    return scaled(base, torch.where(seam | knob, 0.5, factor)), None


def _folds(u, v, su, sv, seed, base, accent):
    wobble = u / su + 0.5 * _noise(u * 5, v * 0.7, seed)
    return scaled(base, 0.65 + 0.45 * wave(wobble)), None


def _screen(u, v, su, sv, seed, base, accent):
    shine = ((u / su + v / sv) + 0.5).clamp(0, 1) * _noise(u * 3, v * 3, seed)
    return mix(base, accent, shine * 0.5), None


def _cloth(u, v, su, sv, seed, base, accent):
    rough = _noise(u * 25, v * 25, seed) * 0.5 + _noise(u * 6, v * 6, seed + 1) * 0.5
    return scaled(base, 0.84 + 0.3 * rough), None


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


SMALL = 160 * 224  # pixels; below, four samples a pixel are affordable and needed
LAMP_RADIUS = 0.12  # m; makes the shadows' borders soft
RANGE = 9.5  # m, the depth sensor's reach
GRAZING = 0.13  # cosine below which the sensor sees nothing


@dataclass(frozen=True)
class Rendering:
    """One image and its labels."""

    image: Tensor  # (3, H, W) uint8
    semseg: Tensor  # (H, W) uint8, IGNORE_INDEX where void
    depth: Tensor  # (H, W) float32 m, NaN in holes
    normals: Tensor  # (3, H, W) float32, NaN in holes


def surface(scene: Scene, height: int, width: int, device: torch.device | str = "cpu") -> Surface:
    """Only the geometry of a scene: a few times faster than ``render``."""
    rays = make_rays(scene.camera, height, width, 1, device)
    hits = trace(scene.shapes, rays)
    return _surface(scene, rays, hits, rows_of(scene.shapes, hits))


def render(
    scene: Scene, height: int, width: int, noise: np.random.Generator, device="cpu"
) -> Rendering:
    """The image and its labels.

    Args:
        scene: What to show; the same scene at every size.
        height, width: In pixels.
        noise: The sensor's, drawn per pixel and therefore different between sizes.
        device: Where to compute; the result is the same on each, and lies there.
    """
    rays = make_rays(scene.camera, height, width, 2 if height * width <= SMALL else 1, device)
    hits = trace(scene.shapes, rays)
    rows = rows_of(scene.shapes, hits)
    seen = _surface(scene, rays, hits, rows)
    light = _shade(scene, hits, rows)
    clean = rays.tent((light * 1.3 / (light * 0.35 + 1)).clamp(0, 1).sqrt())
    grain = torch.from_numpy(noise.standard_normal(clean.shape, dtype=np.float32)).to(clean.device)
    image = (clean + grain * (clean.sqrt() * 0.012 + 0.006)).clamp(0, 1)
    hole = (seen.cosine < GRAZING) | (seen.depth > RANGE) | (clean[1] < 0.04)
    hole |= among(seen.instance, scene.blind)
    void = among(seen.instance, scene.unlabeled) | _border(seen.instance)
    nan = float("nan")
    return Rendering(
        image=(image * 255 + 0.5).to(torch.uint8),
        semseg=torch.where(void, IGNORE_INDEX, seen.classes).to(torch.uint8),
        depth=torch.where(hole, nan, seen.depth),
        normals=torch.where(hole, nan, seen.normals),
    )


def _surface(scene: Scene, rays: Rays, hits: Hits, rows: Tensor) -> Surface:
    device, row = rows.device, rays.centers(rows)
    return Surface(
        classes=torch.from_numpy(scene.classes).to(device)[row],
        instance=torch.from_numpy(scene.instance).to(device)[row],
        **geometry(rays, hits),
    )


def _border(instance: Tensor) -> Tensor:
    """Pixels with another instance right of or below them, within a distance that grows with
    the size of the picture, so that borders take the same share of every size."""
    border = torch.zeros_like(instance, dtype=torch.bool)
    for k in range(1, max(1, round(len(instance) / 96)) + 1):
        border[:, :-k] |= instance[:, :-k] != instance[:, k:]
        border[:-k] |= instance[:-k] != instance[k:]
    return border


def _shade(scene: Scene, hits: Hits, rows: Tensor) -> Tensor:
    """(3, rows, columns) linear light that reaches the camera."""
    device = rows.device
    nx, ny, nz = hits.normal
    # Four positions of the lamp, one a sample of every 2x2 block; the tent filter averages them.
    i = torch.arange(rows.shape[0], device=device).view(-1, 1) % 2
    j = torch.arange(rows.shape[1], device=device) % 2
    lx, ly, lz = np.float32(scene.lamp).tolist()
    lamp_x = lx + (2 * i - 1 + 0 * j) * LAMP_RADIUS
    lamp_z = lz + (2 * j - 1 + 0 * i) * LAMP_RADIUS
    x, y, z = hits.world
    tx, ty, tz = lamp_x - x, ly - y, lamp_z - z
    square = tx * tx + ty * ty + tz * tz
    lambert = ((nx * tx + ny * ty + nz * tz) / square.sqrt()).clamp_min(0)
    lit = (lambert > 0).flatten().nonzero().squeeze(1)
    pick = lambda v, n: (v + n * 0.01).flatten()[lit]  # noqa: E731
    points = (pick(x, nx), pick(y, ny), pick(z, nz))
    lights = (lamp_x.flatten()[lit], torch.full_like(points[0], ly), lamp_z.flatten()[lit])
    hidden = torch.zeros(rows.numel(), dtype=torch.bool, device=device)
    radius = LAMP_RADIUS * 1.5
    hidden[lit] = occluded(scene.shapes, scene.casters, points, lights, scene.lamp, radius)
    direct = torch.where(hidden.view(rows.shape), 0.0, lambert) * 2.6 / (square * 0.35 + 1)
    ambient = (0.42 - 0.12 * ny) * _corners(scene, hits)
    day = torch.zeros_like(ambient)
    if scene.daylight is not None:
        wx, wy, wz = np.float32(scene.daylight).tolist()
        wx, wy, wz = wx - x, wy - y, wz - z
        square = wx * wx + wy * wy + wz * wz
        day = ((nx * wx + ny * wy + nz * wz) / square.sqrt()).clamp_min(0) / (square * 0.4 + 1)
    albedo, glow = paint(scene.paints, with_faces(scene.shapes), hits, rows, PATTERNS, slant=0)
    tint = np.float32(scene.tint).tolist()
    sky = (0.75, 0.85, 1.0)
    light = [
        (a * a * (ambient + direct * t + day * s * 0.9) + a * g) * scene.gain
        for a, g, t, s in zip(albedo, (glow, glow, glow), tint, sky, strict=True)
    ]
    return torch.stack(light)


def _corners(scene: Scene, hits: Hits) -> Tensor:
    """Ambient light lost near the floor and in the corners of the room."""
    width, height, depth = (float(np.float32(s)) for s in scene.size)
    x, y, z = hits.world
    nx, ny, nz = (n.abs() for n in hits.normal)
    kept = torch.ones_like(x)
    near = (
        (width * 0.5 - x.abs(), nx),
        (-y, ny),
        (y + height, ny),
        (depth * 0.5 - z.abs(), nz),
    )
    for distance, facing in near:  # a plane does not darken what is parallel to it
        r = distance.clamp_min(0) * 5
        kept = kept * (1 - (1 - facing) * 0.3 / (r * r + 1))
    return kept
