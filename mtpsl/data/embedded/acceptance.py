"""What rooms13 has to fulfill: exact geometry and the statistics of the set it stands in for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.embedded import probes, rooms13
from mtpsl.data.embedded.raycast import BOX, SPHERE, Camera, Rays, Shapes, make_rays, trace
from mtpsl.data.embedded.rooms13_render import Surface, surface

# NYUD-v2, 654 test images: percent of labeled pixels, and of images, that show the class.
NYUD = {
    "bed": (4.9, 24),
    "books": (0.79, 22),
    "ceiling": (1.6, 25),
    "chair": (3.9, 44),
    "floor": (11.8, 86),
    "furniture": (16.7, 85),
    "objects": (14.6, 99),
    "picture": (2.7, 59),
    "sofa": (3.7, 23),
    "table": (4.3, 48),
    "tv": (0.51, 8),
    "wall": (28.4, 97),
    "window": (6.1, 51),
}
DEPTH_MEAN, DEPTH_MEDIAN = (2.8, 4.1), (2.5, 3.3)  # m, the range over NYUD-v2 images
TOLERANCE = 0.15  # relative, on the depth ranges
VOID = (0.10, 0.17)  # share of pixels without a class
LEAST_SHARE, LEAST_IMAGES = 0.2, 4.0  # percent, of every class

EXACT = 1e-4  # m and unit length: float32 against a closed form in float64
SLOPE = 2.0  # degrees between a normal and the finite differences of depth


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    measured: str
    expected: str
    ok: bool


def acceptance_report(
    device: torch.device | str = "cpu", cache_dir: str | Path | None = None
) -> list[Finding]:
    """All acceptance tests, the probe ladder included: a few minutes on two cores."""
    dataset = rooms13.Rooms13("test", height=96, width=128, images=400, cache_dir=cache_dir)
    batches = [dataset.load(range(i, i + 50)) for i in range(0, len(dataset), 50)]
    findings = [*geometry(), *class_shares(batches), *depths(batches)]
    return findings + [Finding(*line) for line in probes.ladder(device, cache_dir)]


def format_report(findings: Sequence[Finding]) -> str:
    """The findings as an aligned table with a verdict in the last line."""
    rows = [("test", "measured", "expected"), *(f[:3] for f in findings)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    marks = ["", *("ok" if f.ok else "FAILS" for f in findings)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), mark])
        for row, mark in zip(rows, marks, strict=True)
    ]
    failed = sum(not f.ok for f in findings)
    verdict = f"{failed} of {len(findings)} fail" if failed else f"all {len(findings)} pass"
    return "\n".join([line.rstrip() for line in lines] + [verdict])


def geometry(scenes: int = 8) -> list[Finding]:
    """Depth and normals against closed forms, and against each other on generated scenes."""
    sphere, box = sphere_error(), box_error()
    seen = [surface(rooms13.scene("test", i)[0], 288, 384) for i in range(scenes)]
    length = max(float((s.normals.square().sum(dim=0).sqrt() - 1).abs().max()) for s in seen)
    facing = min(float(s.cosine.min()) for s in seen)
    slope = float(torch.cat([slope_error(s, i) for i, s in enumerate(seen)]).quantile(0.99))
    return [
        Finding("sphere against closed form", f"{sphere:.1e}", f"< {EXACT:.0e}", sphere < EXACT),
        Finding("box against closed form", f"{box:.1e}", f"< {EXACT:.0e}", box < EXACT),
        Finding("length of normals - 1", f"{length:.1e}", f"< {EXACT:.0e}", length < EXACT),
        Finding("least cosine to the view", f"{facing:.1e}", "> 0", facing > 0),
        Finding("normals against depth", f"{slope:.2f} deg", f"< {SLOPE:.0f}", slope < SLOPE),
    ]


def _stage(kind: int, center: Sequence[float], half: Sequence[float]) -> tuple[Rays, Shapes]:
    """One shape in a room of 20 m, seen by a level camera in its middle."""
    halves = np.array([[10.0, 10.0, 10.0], half])
    linear = np.stack([np.diag(1 / h) for h in halves])
    offset = np.array([[0.0, 0.0, 0.0], -np.asarray(center) / halves[1]])
    shapes = Shapes(np.array([BOX, kind]), linear.astype(np.float32), offset.astype(np.float32))
    return make_rays(Camera(np.zeros(3), np.eye(3), 0.8), 60, 80, 1), shapes


def sphere_error() -> float:
    """Largest error of depth (m) and normals of a sphere ahead of the camera."""
    center, radius = np.array([0.3, -0.2, 4.0]), 1.5
    rays, shapes = _stage(SPHERE, center, [radius] * 3)
    hits = trace(shapes, rays)
    d = np.stack([x.double().numpy() for x in rays.direction])
    # |z d - center| = radius, solved for the nearer z
    a, b = (d * d).sum(axis=0), np.einsum("i...,i->...", d, center)
    root = b * b - a * (center @ center - radius**2)
    inside = root > 0.05  # well inside the outline, where the closed form is stable too
    depth = (b - np.sqrt(root.clip(0))) / a
    normal = (depth * d - center[:, None, None]) / radius
    seen = np.stack([n.numpy() for n in hits.normal])
    return float(
        max(
            np.abs(hits.depth.numpy() - depth)[inside].max(),
            np.abs(seen - normal)[:, inside].max(),
        )
    )


def box_error() -> float:
    """Largest error of depth (m) and normals of a box that shows its front and right faces."""
    rays, shapes = _stage(BOX, [-1.5, 0.0, 4.0], [1.0, 0.8, 1.0])
    hits = trace(shapes, rays)
    x, y = (d.double().numpy() for d in rays.direction[:2])
    front, side = 3.0, -0.5  # the planes z = 3 and x = -0.5
    depth, normal = np.full(x.shape, np.nan), np.zeros((3, *x.shape))
    with np.errstate(divide="ignore"):
        on_side = (side / x > 3.0) & (side / x < 5.0) & (np.abs(side / x * y) < 0.79)
    on_front = (x * front > -2.49) & (x * front < side) & (np.abs(y * front) < 0.79)
    depth[on_side], normal[0][on_side] = (side / x)[on_side], 1.0
    depth[on_front], normal[2][on_front] = front, -1.0
    known = on_side | on_front
    seen = np.stack([n.numpy() for n in hits.normal])
    error = np.abs(hits.depth.numpy() - depth)[known].max()
    return float(max(error, np.abs(seen - normal)[:, known].max()))


def slope_error(seen: Surface, index: int) -> Tensor:
    """Degrees between normals and central differences of depth, where the surface is smooth.

    Args:
        seen: Scene ``index`` of the test split.
    """
    camera = rooms13.scene("test", index)[0].camera
    height, width = seen.depth.shape
    level = make_rays(Camera(np.zeros(3), np.eye(3), camera.focal), height, width, 1)
    point = torch.stack([level.centers(d) for d in level.direction]).double() * seen.depth
    across = point[:, 1:-1, 2:] - point[:, 1:-1, :-2]
    along = point[:, 2:, 1:-1] - point[:, :-2, 1:-1]
    normal = torch.nn.functional.normalize(torch.linalg.cross(along, across, dim=0), dim=0)
    inner, smooth = seen.normals[:, 1:-1, 1:-1].double(), seen.cosine[1:-1, 1:-1] > 0.1
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        window = (..., slice(dy, height - 2 + dy), slice(dx, width - 2 + dx))
        smooth = smooth & (seen.instance[window] == seen.instance[1:-1, 1:-1])
        smooth = smooth & ((seen.normals[window] * inner).sum(dim=0) > 0.999)
        # A step between parallel planes: the neighbor leaves the tangent plane.
        off = ((point[window] - point[:, 1:-1, 1:-1]) * inner).sum(dim=0).abs()
        smooth = smooth & (off < 0.004)
    cosine = (normal * inner).sum(dim=0)[smooth].clamp(-1, 1)
    return torch.rad2deg(torch.acos(cosine))


def class_shares(batches: Sequence[Batch]) -> list[Finding]:
    """Shares of pixels and images of every class, and of pixels without a class."""
    classes = len(rooms13.CLASSES)
    pixels, images, total, void = torch.zeros(classes), torch.zeros(classes), 0, 0.0
    for batch in batches:
        for ids, valid in zip(batch.targets["semseg"], batch.valid["semseg"], strict=True):
            counts = torch.bincount(ids[valid], minlength=classes)
            pixels, images = pixels + counts, images + (counts > 0)
            total, void = total + 1, void + float((~valid).float().mean())
    findings = []
    for name, n, shown in zip(rooms13.CLASSES, pixels.tolist(), images.tolist(), strict=True):
        share, frequency, real = 100 * n / float(pixels.sum()), 100 * shown / total, NYUD[name][0]
        low, high = max(real / 2, LEAST_SHARE), real * 2
        ok = low <= share <= high and frequency >= LEAST_IMAGES
        measured = f"{share:.2f} % of pixels, {frequency:.0f} % of images"
        expected = f"{low:.2f} to {high:.2f} %, >= {LEAST_IMAGES:.0f} %"
        findings.append(Finding(name, measured, expected, ok))
    void /= total
    expected = f"{100 * VOID[0]:.0f} to {100 * VOID[1]:.0f} %"
    ok = VOID[0] <= void <= VOID[1]
    return [*findings, Finding("void", f"{100 * void:.1f} % of pixels", expected, ok)]


def depths(batches: Sequence[Batch]) -> list[Finding]:
    """Depth statistics of single images, averaged."""
    means, medians, holes = [], [], []
    for batch in batches:
        for depth in batch.targets["depth"]:
            known = depth[depth.isfinite()]
            means.append(float(known.mean()))
            medians.append(float(known.median()))
            holes.append(1 - known.numel() / depth.numel())
    findings = []
    for name, values, (low, high) in (
        ("mean depth", means, DEPTH_MEAN),
        ("median depth", medians, DEPTH_MEDIAN),
    ):
        low, high, value = low * (1 - TOLERANCE), high * (1 + TOLERANCE), float(np.mean(values))
        expected = f"{low:.2f} to {high:.2f} m"
        findings.append(Finding(name, f"{value:.2f} m", expected, low <= value <= high))
    hole = float(np.mean(holes))
    return [
        *findings,
        Finding("depth holes", f"{100 * hole:.1f} % of pixels", "0.5 to 15 %", 0.005 < hole < 0.15),
    ]
