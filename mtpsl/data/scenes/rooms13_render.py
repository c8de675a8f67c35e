"""Pictures and labels of a rooms13 scene.

Like ``raycast``, only operations that round alike everywhere: the display curve is a square root.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.scenes.raycast import Hits, Rays, make_rays, occluded, trace
from mtpsl.data.scenes.rooms13_patterns import paint
from mtpsl.data.scenes.rooms13_scene import Scene
from mtpsl.losses import IGNORE_INDEX

SMALL = 160 * 224  # pixels; below, four samples a pixel are affordable and needed
LAMP_RADIUS = 0.12  # m; makes the shadows' borders soft
RANGE = 9.5  # m, the depth sensor's reach
GRAZING = 0.13  # cosine below which the sensor sees nothing


@dataclass(frozen=True)
class Surface:
    """What is seen through the pixel centers: exact, without an annotator's gaps."""

    classes: Tensor  # (H, W) int64
    instance: Tensor  # (H, W) int64
    depth: Tensor  # (H, W) float32 m
    normals: Tensor  # (3, H, W) float32, camera frame
    cosine: Tensor  # (H, W) float32: of the angle between the normal and the view


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
    return _surface(scene, rays, hits, _rows(scene, hits))


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
    rows = _rows(scene, hits)
    seen = _surface(scene, rays, hits, rows)
    light = _shade(scene, hits, rows)
    clean = rays.tent((light * 1.3 / (light * 0.35 + 1)).clamp(0, 1).sqrt())
    grain = torch.from_numpy(noise.standard_normal(clean.shape, dtype=np.float32)).to(clean.device)
    image = (clean + grain * (clean.sqrt() * 0.012 + 0.006)).clamp(0, 1)
    hole = (seen.cosine < GRAZING) | (seen.depth > RANGE) | (clean[1] < 0.04)
    hole |= _among(seen.instance, scene.blind)
    void = _among(seen.instance, scene.unlabeled) | _border(seen.instance)
    nan = float("nan")
    return Rendering(
        image=(image * 255 + 0.5).to(torch.uint8),
        semseg=torch.where(void, IGNORE_INDEX, seen.classes).to(torch.uint8),
        depth=torch.where(hole, nan, seen.depth),
        normals=torch.where(hole, nan, seen.normals),
    )


def _rows(scene: Scene, hits: Hits) -> Tensor:
    """Row of every sample in the scene's tables: the shape, or the face of the room."""
    return torch.where(hits.shape == 0, len(scene.shapes) + hits.face, hits.shape)


def _surface(scene: Scene, rays: Rays, hits: Hits, rows: Tensor) -> Surface:
    device, center = rows.device, rays.centers
    row = center(rows)
    nx, ny, nz = (center(n) for n in hits.normal)
    r = scene.camera.rotation.astype(np.float32).tolist()
    normals = [nx * r[0][i] + ny * r[1][i] + nz * r[2][i] for i in range(3)]
    dx, dy, dz = (center(d) for d in rays.direction)
    length = (dx * dx + dy * dy + dz * dz).sqrt()
    return Surface(
        classes=torch.from_numpy(scene.classes).to(device)[row],
        instance=torch.from_numpy(scene.instance).to(device)[row],
        depth=center(hits.depth),
        normals=torch.stack(normals),
        cosine=-(nx * dx + ny * dy + nz * dz) / length,
    )


def _among(instance: Tensor, chosen: np.ndarray) -> Tensor:
    table = torch.zeros(int(instance.max()) + 1, dtype=torch.bool)
    table[torch.from_numpy(chosen[chosen < len(table)])] = True
    return table.to(instance.device)[instance]


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
    albedo, glow = paint(scene, hits, rows)
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
