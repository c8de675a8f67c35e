"""people21: generated pictures of 20 kinds of things, the stand-in for PASCAL-Context.

The same tasks, classes and counts as the real set, and statistics close to its own; every table
made from it says so. Scene i of a split is a function of (name, version, split, i) alone. Pictures
are made like ``raycast``, of operations that round alike everywhere: the display curve is a square
root.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from mtpsl import losses, tasks
from mtpsl.data.cache import Layout
from mtpsl.data.scenes.first import (
    Arrays,
    Pattern,
    Rendered,
    Surface,
    among,
    geometry,
    hashed,
    mix,
    noise,
    paint,
    rows_of,
    scaled,
    seeded,
    wave,
    with_faces,
)
from mtpsl.data.scenes.people21_layout import build
from mtpsl.data.scenes.people21_scene import (
    CLASSES,
    CONTEXT_ID,
    CONTEXTS,
    WITHOUT_NORMALS,
    Scene,
    borders,
    changes,
    distilled,
    salient,
    thin,
)
from mtpsl.data.scenes.raycast import Hits, Rays, make_rays, occluded, trace
from mtpsl.data.scenes.rooms13_render import PATTERNS as ROOM_PATTERNS
from mtpsl.losses import IGNORE_INDEX


def _fur(u, v, su, sv, seed, base, accent):
    hair = noise(u / su, v / sv, seed) * 0.6 + noise(u / su * 3, v / sv * 3, seed + 1) * 0.4
    return scaled(base, 0.72 + 0.55 * hair), None


def _wool(u, v, su, sv, seed, base, accent):
    curl = noise(u / su * 2, v / sv * 2, seed)
    return scaled(base, 0.6 + 0.65 * curl), None


def _blotches(u, v, su, sv, seed, base, accent):
    spot = noise(u / su * 2, v / sv * 2, seed) + 0.15 * noise(u / su * 9, v / sv * 9, seed + 1)
    return mix(base, accent, (spot > 0.62).to(u.dtype)), None


def _tabby(u, v, su, sv, seed, base, accent):
    bent = u / su + 1.2 * noise(u / su, v / sv, seed)
    return mix(base, accent, (wave(bent) > 0.55) * 0.75), None


def _leaves(u, v, su, sv, seed, base, accent):
    leaf = noise(u / su, v / sv, seed) * 0.55 + noise(u / su * 2.7, v / sv * 2.7, seed + 1) * 0.45
    return scaled(base, 0.35 + 1.25 * leaf), None


def _turf(u, v, su, sv, seed, base, accent):
    blade = noise(u / su * 5, v / sv * 5, seed) * 0.5
    patch = noise(u / su * 0.3, v / sv * 0.3, seed + 1)
    share = (patch - 0.4).clamp(0, 0.5)
    return scaled(mix(base, accent, share), 0.75 + blade), None


def _speckle(u, v, su, sv, seed, base, accent):
    grit = noise(u / su * 2, v / sv * 2, seed) * 0.6 + noise(u / su * 6, v / sv * 6, seed + 1) * 0.4
    return mix(base, accent, (grit - 0.35).clamp(0, 0.5)), None


def _ripple(u, v, su, sv, seed, base, accent):
    bent = v / sv + 0.8 * noise(u / su, v / sv, seed)
    crest = wave(bent + 0.7 * noise(u / su * 0.4, v / sv * 1.7, seed + 1))
    return mix(base, accent, (crest - 0.5).clamp(0, 0.5)), None


def _facade(u, v, su, sv, seed, base, accent):
    a, b = (u / su).floor(), (v / sv).floor()
    opening = (wave(u / su) < 0.5) & (wave(v / sv) < 0.55)
    tone = 0.5 + hashed(a.long(), b.long(), seed)
    brick = 0.9 + 0.2 * noise(u * 6, v * 12, seed)
    glass = scaled(accent, tone)
    wall = scaled(base, brick)
    return [w + (g - w) * opening for w, g in zip(wall, glass, strict=True)], None


def _pickets(u, v, su, sv, seed, base, accent):
    return scaled(base, 0.45 + 0.55 * (wave(u / su) > 0.3)), None


def _windows(u, v, su, sv, seed, base, accent):
    post = wave(u / su) > 0.86
    return mix(base, accent, 0.8 * post), None


def _show(u, v, su, sv, seed, base, accent):
    share = noise(u / su * 2, v / sv * 2, seed)
    tone = 0.5 + 0.8 * noise(u / su * 4, v / sv * 4, seed + 3)
    return scaled(mix(base, accent, share), tone), 0.5 + 0 * u


PATTERNS: dict[str, Pattern] = {
    **ROOM_PATTERNS,
    "fur": _fur,
    "wool": _wool,
    "blotches": _blotches,
    "tabby": _tabby,
    "leaves": _leaves,
    "turf": _turf,
    "speckle": _speckle,
    "ripple": _ripple,
    "facade": _facade,
    "pickets": _pickets,
    "windows": _windows,
    "show": _show,
}


SMALL = 160 * 224  # pixels; below, four samples a pixel are affordable and needed
SKY = CONTEXT_ID["sky"]


@dataclass(frozen=True)
class Marked(Surface):
    """A surface with what only people21 has; class 0 is background."""

    part: Tensor  # (H, W) int64, 0 where no person is
    context: Tensor  # (H, W) int64


@dataclass(frozen=True)
class Rendering:
    """One image and its labels."""

    image: Tensor  # (3, H, W) uint8
    semseg: Tensor  # (H, W) uint8, IGNORE_INDEX where void
    human_parts: Tensor  # (H, W) uint8, IGNORE_INDEX everywhere if there is no person
    normals: Tensor  # (3, H, W) float32, NaN where the region has none
    saliency: Tensor  # (H, W) uint8, 0 or 1
    edges: Tensor  # (H, W) uint8, 0 or 1


def surface(scene: Scene, height: int, width: int, device: torch.device | str = "cpu") -> Marked:
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
    light = _shade(scene, rays, hits, rows)
    clean = rays.tent((light * 1.3 / (light * 0.35 + 1)).clamp(0, 1).sqrt())
    grain = torch.from_numpy(noise.standard_normal(clean.shape, dtype=np.float32)).to(clean.device)
    image = (clean + grain * (clean.sqrt() * 0.014 + 0.006)).clamp(0, 1)
    image = (image * 255 + 0.5).to(torch.uint8)
    reach = max(1, round(height / 128))
    marked = seen.classes > 0
    void = borders(seen.instance, marked, reach)
    void |= among(seen.instance, scene.unlabeled)
    without = torch.isin(seen.context, torch.tensor(WITHOUT_NORMAL_IDS, device=device))
    parts = torch.where((seen.part > 0).any(), seen.part, IGNORE_INDEX)
    saliency = salient(image, seen.instance, scene.appeal)
    return Rendering(
        image=image,
        semseg=torch.where(void, IGNORE_INDEX, seen.classes).to(torch.uint8),
        human_parts=parts.to(torch.uint8),
        normals=torch.where(without, float("nan"), seen.normals),
        saliency=distilled(saliency, scene.wobble).to(torch.uint8),
        edges=thin(changes(seen.context)).to(torch.uint8),
    )


WITHOUT_NORMAL_IDS = [i for i, name in enumerate(CONTEXTS) if name in WITHOUT_NORMALS]


def _surface(scene: Scene, rays: Rays, hits: Hits, rows: Tensor) -> Marked:
    device, row = rows.device, rays.centers(rows)
    instance = torch.from_numpy(scene.instance).to(device)[row]
    return Marked(
        classes=torch.from_numpy(scene.classes).to(device)[instance],
        part=torch.from_numpy(scene.part).to(device)[row],
        context=torch.from_numpy(scene.context).to(device)[instance],
        instance=instance,
        **geometry(rays, hits),
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
    color, glow = paint(scene.paints, with_faces(scene.shapes), hits, rows, PATTERNS)
    table = np.array([(*p.color, p.size[0]) for p in scene.paints], dtype=np.float32)
    *base, size = torch.from_numpy(np.ascontiguousarray(table.T)).to(rows.device)[:, rows]
    blur = hits.depth * (2 / (rays.camera.focal * rays.width)) / size
    kept = 1 / (blur * blur + 1)
    return [b + (c - b) * kept for b, c in zip(base, color, strict=True)], glow


VERSION = 2
"""Changes with anything that decides a pixel or a label; frozen once results are recorded."""

SPLITS = {"train": 4998, "test": 5105}  # as in PASCAL-Context
TASKS = tasks.TaskSet(
    (
        tasks.semseg(CLASSES),
        tasks.human_parts(weight=2.0),
        tasks.normals("l1", weight=10.0),
        tasks.saliency(weight=5.0),
        tasks.edges(weight=50.0),
    )
)
"""With the losses and weights of the PASCAL protocol that [XTC] and [HiTTs] follow."""

STEPS = 127  # of a normal's component as it is kept; the real set's pictures have 8 bits too


def scene(split: str, index: int) -> tuple[Scene, np.random.Generator]:
    """The scene at ``index`` of a split, and the source of its sensor noise."""
    return seeded(build, "people21", VERSION, split, index)


def render_image(
    split: str, index: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Rendering:
    """One image of a split with its labels, straight from the generator."""
    picture, noise = scene(split, index)
    return render(picture, height, width, noise, device)


@final
class People21(Rendered):
    """Generated pictures with segmentation, human parts, normals, saliency and edges.

    About 170 kB per image at 128x128 in the cache. Arguments are those of ``Rendered``.
    """

    name = "people21"
    stands_for = "pascal_context"
    counts_steps = True  # as of what it stands for
    version = str(VERSION)
    splits = SPLITS
    tasks = TASKS

    @classmethod
    def layout(cls, height: int, width: int) -> Layout:
        flat = ((height, width), "uint8")
        return {
            "images": ((3, height, width), "uint8"),
            "semseg": flat,
            "human_parts": flat,
            "normals": ((3, height, width), "int8"),  # in steps of 1 / STEPS, 0 where none
            "saliency": flat,
            "edges": flat,
        }

    @classmethod
    def draw(
        cls, split: str, index: int, height: int, width: int, device: torch.device | str
    ) -> Arrays:
        picture = render_image(split, index, height, width, device)
        return {
            "images": picture.image,
            "semseg": picture.semseg,
            "human_parts": picture.human_parts,
            "normals": (picture.normals * STEPS).nan_to_num(0).round().to(torch.int8),
            "saliency": picture.saliency,
            "edges": picture.edges,
        }

    def unpack(self, arrays: Arrays) -> tuple[Tensor, Arrays, Arrays]:
        semseg = arrays["semseg"].unsqueeze(1).long()
        parts = arrays["human_parts"].unsqueeze(1).long()
        normals = arrays["normals"].float()
        normals /= normals.square().sum(dim=1, keepdim=True).sqrt()  # 0 / 0 is NaN: none
        saliency = arrays["saliency"].unsqueeze(1).float()
        edges = arrays["edges"].unsqueeze(1).float()
        everywhere = torch.ones_like(semseg, dtype=torch.bool)
        valid = {
            "semseg": semseg != losses.IGNORE_INDEX,
            "human_parts": parts != losses.IGNORE_INDEX,
            "normals": normals[:, :1].isfinite(),
            "saliency": everywhere,
            "edges": everywhere,
        }
        targets = {
            "semseg": semseg,
            "human_parts": parts,
            "normals": normals,
            "saliency": saliency,
            "edges": edges,
        }
        return arrays["images"].float().div_(255), targets, valid

    def carries(self, task: str) -> Tensor:
        """(N,) bool: all images; for the human parts, those that show a person."""
        able = super().carries(task)
        if task == "human_parts":  # marked as void all over where there is nobody
            corner = np.asarray(self._arrays["human_parts"][:, 0, 0])
            able = torch.from_numpy(corner != losses.IGNORE_INDEX)
        return able
