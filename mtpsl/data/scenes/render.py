"""Pictures and exact surfaces of a scene, for all grammars.

Like ``raycast``, only operations that round alike everywhere: the display curve is a square root,
haze a quotient. Small pictures are made of four samples a pixel. Shapes that are too small to be
seen are not built, see ``raycast.built``; patterns finer than a pixel fade into their base color.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.scenes.patterns import PATTERNS, Colors, noise
from mtpsl.data.scenes.raycast import Hits, Rays, Shapes, apply, built, make_rays, occluded, trace
from mtpsl.data.scenes.stage import Paint, Scene

SMALL = 160 * 200  # pixels; below, four samples a pixel are affordable and needed
SLANT = 0.7  # how much of z goes into u on surfaces without faces
NUMBERS = {name: i for i, name in enumerate(PATTERNS)}
GRAIN = (0.008, 0.004)  # deviation of the sensor: of the signal's square root, and of nothing


@dataclass(frozen=True)
class Surface:
    """What is seen through the pixel centers: exact, without an annotator's gaps."""

    classes: Tensor  # (H, W) int64: index in the stage's names
    instance: Tensor  # (H, W) int64
    part: Tensor  # (H, W) int64
    depth: Tensor  # (H, W) float32 m
    normals: Tensor  # (3, H, W) float32, camera frame
    cosine: Tensor  # (H, W) float32: of the angle between the normal and the view; NaN: the sky
    view: Tensor  # (3, H, W) float32: from the camera, world frame; z = 1 in the camera's


def surface(scene: Scene, height: int, width: int, device: torch.device | str = "cpu") -> Surface:
    """Only the geometry of a scene: a few times faster than ``render``."""
    return _surface(scene, *_traced(scene, height, width, 1, device)[:3])


def render(
    scene: Scene, height: int, width: int, noise: np.random.Generator, device="cpu"
) -> tuple[Tensor, Surface]:
    """The image, (3, H, W) uint8, and what is seen on it.

    Args:
        scene: What to show; the same scene at every size.
        height, width: In pixels.
        noise: The sensor's, drawn per pixel and therefore different between sizes.
        device: Where to compute; the result is the same on each, and lies there.
    """
    per_pixel = 2 if height * width <= SMALL else 1
    rays, hits, rows, kept = _traced(scene, height, width, per_pixel, device)
    light = _shade(scene, rays, hits, rows, kept)
    clean = rays.tent((light * 1.3 / (light * 0.38 + 1)).clamp(0, 1).sqrt())
    grain = torch.from_numpy(noise.standard_normal(clean.shape, dtype=np.float32)).to(clean.device)
    image = (clean + grain * (clean.sqrt() * GRAIN[0] + GRAIN[1])).clamp(0, 1)
    return (image * 255 + 0.5).to(torch.uint8), _surface(scene, rays, hits, rows)


def chosen(index: Tensor, table: np.ndarray) -> Tensor:
    """A table's entries at every pixel, such as flags (I,) for a map of instances (H, W)."""
    return torch.from_numpy(table).to(index.device)[index]


def borders(instance: Tensor, reach: int, marked: Tensor | None = None) -> Tensor:
    """Pixels with another instance up to ``reach`` right of or below them.

    Args:
        instance: (H, W) int64.
        reach: In pixels.
        marked: (H, W) bool; a border counts where one of its sides is marked. None: everywhere.
    """
    found = torch.zeros_like(instance, dtype=torch.bool)
    for k in range(1, reach + 1):
        for axis in (0, 1):
            size = instance.shape[axis] - k
            differs = instance.narrow(axis, 0, size) != instance.narrow(axis, k, size)
            if marked is not None:
                differs &= marked.narrow(axis, 0, size) | marked.narrow(axis, k, size)
            found.narrow(axis, 0, size).logical_or_(differs)
    return found


# -------------------------------------------------------------------- geometry


def _traced(
    scene: Scene, height: int, width: int, per_pixel: int, device
) -> tuple[Rays, Hits, Tensor, np.ndarray]:
    """Rays, hits, every sample's row in the scene's tables, and which shapes are built.

    A row is that of the shape, or of the face of the shell around the scene.
    """
    shapes, camera = scene.shapes, scene.camera
    rays = make_rays(camera, height, width, per_pixel, device)
    kept = built(shapes, scene.instance[: len(shapes)], camera, height, width)
    hits = trace(shapes, rays, kept)
    return rays, hits, torch.where(hits.shape == 0, len(shapes) + hits.face, hits.shape), kept


def _is_sky(scene: Scene, rows: Tensor) -> Tensor:
    return chosen(rows, np.array([paint.pattern == "sky" for paint in scene.paints]))


def _surface(scene: Scene, rays: Rays, hits: Hits, rows: Tensor) -> Surface:
    center, row = rays.centers, rays.centers(rows)
    nx, ny, nz = normal = [center(n) for n in hits.normal]
    dx, dy, dz = view = [center(d) for d in rays.direction]
    cosine = -(nx * dx + ny * dy + nz * dz) / (dx * dx + dy * dy + dz * dz).sqrt()
    instance = chosen(row, scene.instance)
    return Surface(
        classes=chosen(instance, scene.classes),
        instance=instance,
        part=chosen(row, scene.part),
        depth=center(hits.depth),
        normals=torch.stack(apply(scene.camera.rotation.T.astype(np.float32).tolist(), normal)),
        cosine=torch.where(_is_sky(scene, row), float("nan"), cosine),
        view=torch.stack(view),
    )


# ----------------------------------------------------------------------- light


def _shade(scene: Scene, rays: Rays, hits: Hits, rows: Tensor, kept: np.ndarray) -> Tensor:
    """(3, rows, columns) linear light that reaches the camera."""
    light, air = scene.light, scene.light.sky
    nx, ny, nz = hits.normal
    sky = _is_sky(scene, rows)
    direct = _direct(scene, hits, ~sky, kept)
    ambient = (1 - 0.33 * ny) * light.ambient
    if air is None:
        ambient = ambient * _corners(scene.shapes, hits)
    color, glow = _painted(scene, rays, hits, rows)
    sides = [1 + nx * light.cool * share for share in (-1, 0, 1)]
    parts = zip(color, sides, np.float32(light.tint).tolist(), strict=True)
    shaded = [c * c * (ambient * s + direct * tint) + c * glow for c, s, tint in parts]
    if air is not None:
        share = hits.depth / (hits.depth + float(np.float32(air.haze)))
        lows = np.float32(air.low).tolist()
        shaded = [s + (low * 0.8 - s) * share for s, low in zip(shaded, lows, strict=True)]
        _add_sky(scene, rays, sky, shaded)
    return torch.stack(shaded) * float(np.float32(light.gain))


def _direct(scene: Scene, hits: Hits, lit: Tensor, kept: np.ndarray) -> Tensor:
    """(rows, columns) light that comes straight from the lamp or the sun, where ``lit``."""
    light, (nx, ny, nz) = scene.light, hits.normal
    radius = float(np.float32(light.radius))
    # Four positions of the lamp, one a sample of every 2x2 block; the tent filter averages them.
    i = torch.arange(lit.shape[0], device=lit.device).view(-1, 1) % 2
    j = torch.arange(lit.shape[1], device=lit.device) % 2
    lx, ly, lz = np.float32(light.position).tolist()
    lamp_x, lamp_z = lx + (2 * i - 1 + 0 * j) * radius, lz + (2 * j - 1 + 0 * i) * radius
    x, y, z = hits.world
    tx, ty, tz = lamp_x - x, ly - y, lamp_z - z
    square = tx * tx + ty * ty + tz * tz
    lambert = ((nx * tx + ny * ty + nz * tz) / square.sqrt()).clamp_min(0)
    asked = lit & (lambert > 0) & (hits.depth < float(np.float32(light.shaded)))
    where = asked.flatten().nonzero().squeeze(1)
    pick = lambda v, n: (v + n * 0.015).flatten()[where]  # noqa: E731
    points = (pick(x, nx), pick(y, ny), pick(z, nz))
    lights = (lamp_x.flatten()[where], torch.full_like(points[0], ly), lamp_z.flatten()[where])
    hidden = torch.zeros(lit.numel(), dtype=torch.bool, device=lit.device)
    casters = [[p for p in group if kept[p]] for group in scene.casters]
    groups = [group for group in casters if group]
    hidden[where] = occluded(scene.shapes, groups, points, lights, light.position, radius * 1.5)
    power, fade = (float(np.float32(v)) for v in (light.power, light.fade))
    return torch.where(hidden.view(lit.shape), 0.0, lambert) * power / (square * fade + 1)


def _corners(shapes: Shapes, hits: Hits) -> Tensor:
    """Ambient light lost near the floor and in the corners of the room that is shape 0."""
    linear, offset = shapes.linear[0], shapes.offset[0]
    halves = (1 / np.linalg.norm(linear.astype(np.float64), axis=1)).astype(np.float32).tolist()
    local = apply(linear.tolist(), hits.world, offset.tolist())
    normal = apply(linear.tolist(), hits.normal)
    kept = torch.ones_like(hits.depth)
    for place, facing, half in zip(local, normal, halves, strict=True):
        share = (1 - (facing * half).abs()).clamp_min(0) * 0.4  # nothing on what is parallel
        for distance in (1 - place, 1 + place):
            r = distance.clamp_min(0) * (half * 5)
            kept = kept * (1 - share / (r * r + 1))
    return kept


def _add_sky(scene: Scene, rays: Rays, sky: Tensor, light: Colors) -> None:
    """Writes the light of the open sky, with clouds, where ``sky`` is True."""
    air = scene.light.sky
    where = sky.flatten().nonzero().squeeze(1)
    dx, dy, dz = (d.flatten()[where] for d in rays.direction)
    rise = (-dy / (dx * dx + dy * dy + dz * dz).sqrt() * 2.5).clamp(0, 1)
    seeds = torch.full_like(where, scene.seed)
    puffs = noise(dx * 6, dy * 18, seeds) * 0.6 + noise(dx * 15, dy * 40, seeds) * 0.4
    cover = ((puffs - 0.45) * 3).clamp(0, 1) * float(np.float32(air.clouds))
    colors = zip(light, np.float32(air.low).tolist(), np.float32(air.high).tolist(), strict=True)
    for grid, low, high in colors:
        above = low + (high - low) * rise
        grid.view(-1)[where] = above + (low * 1.1 - above) * cover


# ----------------------------------------------------------------------- paint


def _painted(scene: Scene, rays: Rays, hits: Hits, rows: Tensor) -> tuple[Colors, Tensor]:
    """Display color of every sample (three tensors) and the light it emits."""
    rows, face, shape = rows.flatten(), hits.face.flatten(), rows.shape
    columns, seeds, kinds, halves = _tables(scene.paints, scene.shapes, rows.device)
    color = [c[rows] for c in columns[:3]]
    glow = torch.zeros_like(color[0])
    pixel = 2 / (rays.camera.focal * rays.width)  # at 1 m
    blurred, kinds = hits.depth.flatten() * pixel, kinds[rows]
    for name in sorted({p.pattern for p in scene.paints} & PATTERNS.keys()):
        where = (kinds == NUMBERS[name]).nonzero().squeeze(1)
        row = rows[where]
        x, y, z = (c.flatten()[where] * halves[row, i] for i, c in enumerate(hits.local))
        side = face[where]
        u = torch.where(side < 2, z, torch.where(side == 6, x + SLANT * z, x))
        v = torch.where((side == 2) | (side == 3), z, y)
        drawn = columns[:, row]
        base, accent, (su, sv) = list(drawn[:3]), list(drawn[3:6]), drawn[6:]
        own, emitted = PATTERNS[name](u, v, su, sv, seeds[row], base, accent)
        blur = blurred[where] / su
        sharp = 1 / (blur * blur + 1)
        for c, flat, new in zip(color, base, own, strict=True):
            c[where] = flat + (new - flat) * sharp
        if emitted is not None:
            glow[where] = emitted
    return [c.view(shape) for c in color], glow.view(shape)


def _tables(paints: list[Paint], shapes: Shapes, device: torch.device) -> tuple[Tensor, ...]:
    """Colors and sizes (8, P + 6), seeds, numbers of patterns (P + 6,), halves (P + 6, 3) in m."""
    table = np.array([(*p.color, *p.accent, *p.size) for p in paints], dtype=np.float32)
    halves = (1 / np.linalg.norm(shapes.linear.astype(np.float64), axis=2)).astype(np.float32)
    return (
        torch.from_numpy(np.ascontiguousarray(table.T)).to(device),
        torch.tensor([p.seed for p in paints], device=device),
        torch.tensor([NUMBERS.get(p.pattern, -1) for p in paints], device=device),
        torch.from_numpy(np.concatenate([halves, halves[:1].repeat(6, axis=0)])).to(device),
    )
