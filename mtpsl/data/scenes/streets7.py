"""streets7: generated streets, the stand-in for Cityscapes.

The same tasks, classes and counts as the real set in its 7-class preprocessing, and statistics
close to its own; every table made from it says so. Scene i of a split is a function of
(name, version, split, i) alone. Pictures are made like ``raycast``, of operations that round alike
everywhere: the display curve is a square root, haze a quotient.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from mtpsl import losses, tasks
from mtpsl.data.cache import Layout
from mtpsl.data.scenes.first import Arrays, Rendered, Surface, among, geometry, paint, seeded
from mtpsl.data.scenes.first import noise as smooth_noise
from mtpsl.data.scenes.raycast import Hits, Rays, make_rays, occluded, trace
from mtpsl.data.scenes.streets7_layout import build
from mtpsl.data.scenes.streets7_scene import CLASSES, ID, PATTERNS, VOID, Scene
from mtpsl.losses import IGNORE_INDEX

SMALL = 100 * 200  # pixels; below, four samples a pixel are affordable and needed
BASELINE = 0.209313  # m between the two cameras
FULL_WIDTH = 2048  # pixels that disparities are counted in
SCALE = 256 / 65535  # of a disparity, in the 16-bit files that MTAN's preprocessing divides
REACH = 0.027  # image widths: the left border where the other camera has seen nothing
SUN_SIZE = 2.0  # m, of the sun at its distance: makes the shadows' borders soft
SHADED = 50.0  # m; no shadows beyond


@dataclass(frozen=True)
class Rendering:
    """One image and its labels."""

    image: Tensor  # (3, H, W) uint8
    semseg: Tensor  # (H, W) uint8, IGNORE_INDEX where void
    depth: Tensor  # (H, W) float32 inverse depth, NaN where there is none


def surface(scene: Scene, height: int, width: int, device: torch.device | str = "cpu") -> Surface:
    """Only the geometry of a scene: a few times faster than ``render``."""
    rays = make_rays(scene.camera, height, width, 1, device)
    return _surface(scene, rays, trace(scene.shapes, rays))


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
    seen = _surface(scene, rays, hits)
    light = _shade(scene, rays, hits)
    clean = rays.tent((light * 1.25 / (light * 0.45 + 1)).clamp(0, 1).sqrt())
    grain = noise.standard_normal((4, height, width), dtype=np.float32)
    grain = torch.from_numpy(grain).to(clean.device)
    image = (clean + grain[:3] * (clean.sqrt() * 0.014 + 0.006)).clamp(0, 1)
    void = among(seen.instance, scene.unlabeled) | (seen.classes == VOID)
    return Rendering(
        image=(image * 255 + 0.5).to(torch.uint8),
        semseg=torch.where(void, IGNORE_INDEX, seen.classes).to(torch.uint8),
        depth=_inverse_depth(scene, rays, seen, grain[3]),
    )


def disparity(depth: Tensor, focal: float) -> Tensor:
    """Shift in pixels of the full-size image between the two cameras.

    Args:
        depth: In m.
        focal: In image widths.
    """
    return BASELINE * focal * FULL_WIDTH / depth


def matched(shift: Tensor) -> Tensor:
    """(H, W) bool: pixels that the right camera sees as well.

    A point at column x of the left image lies at x - d of the right one. It is hidden there if
    anything further right in the left image lies there or to the left of it.

    Args:
        shift: (H, W) disparity in columns of this image.
    """
    columns = torch.arange(shift.shape[1], dtype=shift.dtype, device=shift.device)
    there = columns - shift
    nearest = there.flip(1).cummin(dim=1).values.flip(1)
    hidden = torch.zeros_like(there, dtype=torch.bool)
    hidden[:, :-1] = there[:, :-1] >= nearest[:, 1:]
    return ~hidden & (there >= 0)


def _surface(scene: Scene, rays: Rays, hits: Hits) -> Surface:
    """``VOID`` is the class of what has none; the cosine is NaN in the sky."""
    device, row = hits.depth.device, rays.centers(hits.shape)
    exact = geometry(rays, hits)
    exact["cosine"] = torch.where(row == 0, float("nan"), exact["cosine"])
    return Surface(
        classes=torch.from_numpy(scene.classes).to(device)[row],
        instance=torch.from_numpy(scene.instance).to(device)[row],
        **exact,
    )


def _inverse_depth(scene: Scene, rays: Rays, seen: Surface, grain: Tensor) -> Tensor:
    """As stereo matching finds it: nothing where one camera is alone, guesses in the sky."""
    height, width = seen.depth.shape
    sky = seen.classes == ID["sky"]
    full = disparity(seen.depth, scene.camera.focal)
    seeds = torch.full_like(seen.classes, scene.clouds)
    dx, dy, _ = (rays.centers(d) for d in rays.direction)
    guess = smooth_noise(dx * 9, dy * 14, seeds)
    full = torch.where(sky, guess * 11, full + grain * 0.2)
    patch = smooth_noise(dx * 40, dy * 50, seeds + 1)
    lost = ~matched(full * (width / FULL_WIDTH))
    lost |= torch.arange(width, device=full.device) < REACH * width
    lost |= sky & (guess > 0.56)
    lost |= ~sky & (patch > 0.97)
    lost |= (seen.classes == VOID) | among(seen.instance, scene.blind)
    value = (full * SCALE + 1 / 65535).clamp_min(1 / 65535)
    return torch.where(lost, float("nan"), value)


def _shade(scene: Scene, rays: Rays, hits: Hits) -> Tensor:
    """(3, rows, columns) linear light that reaches the camera."""
    rows, ny = hits.shape, hits.normal[1]
    direct = _sunlight(scene, rays, hits)
    ambient = 0.62 - 0.3 * ny
    albedo, glow = paint(scene.paints, scene.shapes, hits, rows, PATTERNS)
    share = hits.depth / (hits.depth + scene.haze)
    air = np.float32(scene.air).tolist()
    light = []
    for a, tint, low in zip(albedo, (1.0, 0.95, 0.86), air, strict=True):
        own = a * (a * (ambient * (0.7 + 0.3 * low) + direct * tint) + glow)
        light.append((own + (low * 0.8 - own) * share) * scene.gain)
    _add_sky(scene, rays, rows == 0, light)
    return torch.stack(light)


def _sunlight(scene: Scene, rays: Rays, hits: Hits) -> Tensor:
    """(rows, columns) light that comes straight from the sun, one shadow ray a pixel."""
    s = rays.per_pixel
    coarse = lambda grid: grid[::s, ::s]  # noqa: E731
    rows, normal = coarse(hits.shape), tuple(coarse(n) for n in hits.normal)
    nx, ny, nz = normal
    world = tuple(coarse(w) for w in hits.world)
    i = torch.arange(rows.shape[0], device=rows.device).view(-1, 1) % 2
    j = torch.arange(rows.shape[1], device=rows.device) % 2
    lx, ly, lz = np.float32(scene.sun).tolist()
    sun_x = lx + (2 * i - 1 + 0 * j) * SUN_SIZE
    sun_z = lz + (2 * j - 1 + 0 * i) * SUN_SIZE
    x, y, z = world
    tx, ty, tz = sun_x - x, ly - y, sun_z - z
    lambert = ((nx * tx + ny * ty + nz * tz) / (tx * tx + ty * ty + tz * tz).sqrt()).clamp_min(0)
    near = coarse(hits.depth) < SHADED
    lit = ((lambert > 0) & (rows != 0) & near).flatten().nonzero().squeeze(1)
    points = tuple((w + n * 0.02).flatten()[lit] for w, n in zip(world, normal, strict=True))
    lights = (sun_x.flatten()[lit], torch.full_like(points[0], ly), sun_z.flatten()[lit])
    hidden = torch.zeros(rows.numel(), dtype=torch.bool, device=rows.device)
    radius = SUN_SIZE * 1.5
    hidden[lit] = occluded(scene.shapes, scene.casters, points, lights, scene.sun, radius)
    direct = torch.where(hidden.view(rows.shape), 0.0, lambert) * scene.shine
    height, width = hits.shape.shape
    return direct.repeat_interleave(s, 0).repeat_interleave(s, 1)[:height, :width]


def _add_sky(scene: Scene, rays: Rays, sky: Tensor, light: list[Tensor]) -> None:
    """Writes the light of the open sky, with clouds, where ``sky`` is True."""
    where = sky.flatten().nonzero().squeeze(1)
    dx, dy, _ = (d.flatten()[where] for d in rays.direction)
    high = (-dy * 3.2).clamp(0, 1)
    seeds = torch.full_like(where, scene.clouds)
    puffs = smooth_noise(dx * 6, dy * 18, seeds) * 0.6 + smooth_noise(dx * 15, dy * 40, seeds) * 0.4
    cover = ((puffs - 0.45) * 3).clamp(0, 1) * 0.7
    air, zenith = np.float32(scene.air).tolist(), np.float32(scene.zenith).tolist()
    for grid, low, top in zip(light, air, zenith, strict=True):
        above = low + (top - low) * high
        above = above + (low * 1.1 - above) * cover
        grid.view(-1)[where] = above * scene.gain


VERSION = 1
"""Changes with anything that decides a pixel or a label; frozen once results are recorded."""

SPLITS = {"train": 2975, "test": 500}  # as in Cityscapes, whose validation split is the test
TASKS = tasks.TaskSet((tasks.semseg(CLASSES), tasks.inverse_depth()))


def scene(split: str, index: int) -> tuple[Scene, np.random.Generator]:
    """The scene at ``index`` of a split, and the source of its sensor noise."""
    return seeded(build, "streets7", VERSION, split, index)


def render_image(
    split: str, index: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Rendering:
    """One image of a split with its labels, straight from the generator."""
    picture, noise = scene(split, index)
    return render(picture, height, width, noise, device)


@final
class Streets7(Rendered):
    """Generated streets with 7-class segmentation and inverse depth.

    The target ``depth`` is the disparity of the real set's 16-bit files, divided by 65535: near
    is large, 0.4 about 4.6 m. 128x256 is the size of the usual preprocessing; images take about
    200 kB there in the cache. Arguments are those of ``Rendered``.
    """

    name = "streets7"
    stands_for = "cityscapes"
    version = str(VERSION)
    splits = SPLITS
    tasks = TASKS

    @classmethod
    def layout(cls, height: int, width: int) -> Layout:
        return {
            "images": ((3, height, width), "uint8"),
            "semseg": ((height, width), "uint8"),
            "depth": ((height, width), "float16"),
        }

    @classmethod
    def draw(
        cls, split: str, index: int, height: int, width: int, device: torch.device | str
    ) -> Arrays:
        picture = render_image(split, index, height, width, device)
        return {"images": picture.image, "semseg": picture.semseg, "depth": picture.depth}

    def unpack(self, arrays: Arrays) -> tuple[Tensor, Arrays, Arrays]:
        semseg = arrays["semseg"].unsqueeze(1).long()
        depth = arrays["depth"].unsqueeze(1).float()
        valid = {"semseg": semseg != losses.IGNORE_INDEX, "depth": depth.isfinite()}
        return arrays["images"].float().div_(255), {"semseg": semseg, "depth": depth}, valid
