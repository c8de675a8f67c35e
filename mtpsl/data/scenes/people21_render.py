"""Pictures and labels of a people21 scene.

Like ``raycast``, only operations that round alike everywhere: the display curve is a square root.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.scenes import people21_labels as labels
from mtpsl.data.scenes.people21_patterns import PATTERNS
from mtpsl.data.scenes.people21_scene import (
    CONTEXT_ID,
    CONTEXTS,
    WITHOUT_NORMALS,
    Scene,
)
from mtpsl.data.scenes.raycast import Hits, Rays, Shapes, make_rays, occluded, trace
from mtpsl.data.scenes.textures import paint
from mtpsl.losses import IGNORE_INDEX

SMALL = 160 * 224  # pixels; below, four samples a pixel are affordable and needed
SKY = CONTEXT_ID["sky"]


@dataclass(frozen=True)
class Surface:
    """What is seen through the pixel centers: exact, without an annotator's gaps."""

    classes: Tensor  # (H, W) int64, 0 is background
    part: Tensor  # (H, W) int64, 0 where no person is
    context: Tensor  # (H, W) int64
    instance: Tensor  # (H, W) int64
    depth: Tensor  # (H, W) float32 m
    normals: Tensor  # (3, H, W) float32, camera frame
    cosine: Tensor  # (H, W) float32: of the angle between the normal and the view


@dataclass(frozen=True)
class Rendering:
    """One image and its labels."""

    image: Tensor  # (3, H, W) uint8
    semseg: Tensor  # (H, W) uint8, IGNORE_INDEX where void
    human_parts: Tensor  # (H, W) uint8, IGNORE_INDEX everywhere if there is no person
    normals: Tensor  # (3, H, W) float32, NaN where the region has none
    saliency: Tensor  # (H, W) uint8, 0 or 1
    edges: Tensor  # (H, W) uint8, 0 or 1


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
    light = _shade(scene, rays, hits, rows)
    clean = rays.tent((light * 1.3 / (light * 0.35 + 1)).clamp(0, 1).sqrt())
    grain = torch.from_numpy(noise.standard_normal(clean.shape, dtype=np.float32)).to(clean.device)
    image = (clean + grain * (clean.sqrt() * 0.014 + 0.006)).clamp(0, 1)
    image = (image * 255 + 0.5).to(torch.uint8)
    reach = max(1, round(height / 128))
    marked = seen.classes > 0
    void = labels.borders(seen.instance, marked, reach)
    void |= _chosen(scene.unlabeled, len(scene.context), device)[seen.instance]
    without = torch.isin(seen.context, torch.tensor(WITHOUT_NORMAL_IDS, device=device))
    parts = torch.where((seen.part > 0).any(), seen.part, IGNORE_INDEX)
    saliency = labels.salient(image, seen.instance, scene.appeal)
    return Rendering(
        image=image,
        semseg=torch.where(void, IGNORE_INDEX, seen.classes).to(torch.uint8),
        human_parts=parts.to(torch.uint8),
        normals=torch.where(without, float("nan"), seen.normals),
        saliency=labels.distilled(saliency, scene.wobble).to(torch.uint8),
        edges=labels.thin(labels.changes(seen.context)).to(torch.uint8),
    )


WITHOUT_NORMAL_IDS = [i for i, name in enumerate(CONTEXTS) if name in WITHOUT_NORMALS]


def _chosen(ids: np.ndarray, count: int, device: torch.device | str) -> Tensor:
    table = torch.zeros(count, dtype=torch.bool)
    table[torch.from_numpy(ids)] = True
    return table.to(device)


def _rows(scene: Scene, hits: Hits) -> Tensor:
    """Row of every sample in the scene's tables: the shape, or the face of the shell."""
    return torch.where(hits.shape == 0, len(scene.shapes) + hits.face, hits.shape)


def _surface(scene: Scene, rays: Rays, hits: Hits, rows: Tensor) -> Surface:
    device, center = rows.device, rays.centers
    row = center(rows)
    nx, ny, nz = (center(n) for n in hits.normal)
    r = scene.camera.rotation.astype(np.float32).tolist()
    normals = [nx * r[0][i] + ny * r[1][i] + nz * r[2][i] for i in range(3)]
    dx, dy, dz = (center(d) for d in rays.direction)
    length = (dx * dx + dy * dy + dz * dz).sqrt()
    instance = torch.from_numpy(scene.instance).to(device)[row]
    return Surface(
        classes=torch.from_numpy(scene.classes).to(device)[instance],
        part=torch.from_numpy(scene.part).to(device)[row],
        context=torch.from_numpy(scene.context).to(device)[instance],
        instance=instance,
        depth=center(hits.depth),
        normals=torch.stack(normals),
        cosine=-(nx * dx + ny * dy + nz * dz) / length,
    )


def _shade(scene: Scene, rays: Rays, hits: Hits, rows: Tensor) -> Tensor:
    """(3, rows, columns) linear light that reaches the camera."""
    device = rows.device
    nx, ny, nz = hits.normal
    x, y, z = hits.world
    lx, ly, lz = np.float32(scene.light).tolist()
    tx, ty, tz = lx - x, ly - y, lz - z
    square = tx * tx + ty * ty + tz * tz
    lambert = ((nx * tx + ny * ty + nz * tz) / square.sqrt()).clamp_min(0)
    sky = torch.from_numpy(scene.context[scene.instance] == SKY).to(device)[rows]
    lit = ((lambert > 0) & ~sky).flatten().nonzero().squeeze(1)
    points = tuple(
        (v + n * 0.01).flatten()[lit] for v, n in zip((x, y, z), (nx, ny, nz), strict=True)
    )
    lights = tuple(torch.full_like(points[0], v) for v in (lx, ly, lz))
    hidden = torch.zeros(rows.numel(), dtype=torch.bool, device=device)
    hidden[lit] = occluded(scene.shapes, scene.casters, points, lights, scene.light, 0.05)
    direct = torch.where(hidden.view(rows.shape), 0.0, lambert) * (1.7 * scene.power)
    if scene.indoors:
        direct = direct * 4 / (square * 0.22 + 1)
    ambient = (0.75 - 0.25 * ny) * (1 - scene.power)
    color, glow = _painted(scene, rays, hits, rows)
    tint = np.float32(scene.tint).tolist()
    shaded = [
        (c * c * (ambient + direct * t) + c * c * glow) * scene.gain
        for c, t in zip(color, tint, strict=True)
    ]
    if not scene.indoors:
        dx, dy, dz = rays.direction
        rise = (-dy / (dx * dx + dy * dy + dz * dz).sqrt()).clamp(0, 1)
        top = scene.paints[-6].color
        bottom = scene.paints[-6].accent
        for i in range(3):
            tone = float(np.float32(bottom[i])) * (1 - rise) + float(np.float32(top[i])) * rise
            shaded[i] = torch.where(sky, tone * tone * scene.gain, shaded[i])
    return torch.stack(shaded)


def _painted(scene: Scene, rays: Rays, hits: Hits, rows: Tensor) -> tuple[list[Tensor], Tensor]:
    """Color and glow of every sample; patterns finer than a pixel fade into their base color."""
    shapes = scene.shapes
    extended = Shapes(  # with a row for every face of the shell
        np.concatenate([shapes.kind, shapes.kind[:1].repeat(6)]),
        np.concatenate([shapes.linear, shapes.linear[:1].repeat(6, axis=0)]),
        np.concatenate([shapes.offset, shapes.offset[:1].repeat(6, axis=0)]),
    )
    color, glow = paint(scene.paints, extended, hits, rows, PATTERNS)
    table = np.array([(*p.color, p.size[0]) for p in scene.paints], dtype=np.float32)
    *base, size = torch.from_numpy(np.ascontiguousarray(table.T)).to(rows.device)[:, rows]
    blur = hits.depth * (2 / (rays.camera.focal * rays.width)) / size
    kept = 1 / (blur * blur + 1)
    return [b + (c - b) * kept for b, c in zip(base, color, strict=True)], glow
