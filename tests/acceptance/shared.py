"""What every stand-in has to fulfill: the shared parts of the acceptance reports.

Each stand-in has a module of its name beside this one, with a function
``acceptance_report(device, cache_dir)`` made of these parts.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.scenes import Rendered
from mtpsl.data.scenes.raycast import BOX, SPHERE, Camera, Rays, Shapes, make_rays, trace
from mtpsl.tasks import Task

LEAST_SHARE, LEAST_IMAGES = 0.2, 4.0  # percent, of every class

EXACT = 1e-4  # m and unit length: float32 against a closed form in float64
SLOPE = 2.0  # degrees between a normal and the finite differences of depth


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    measured: str
    expected: str
    ok: bool


class Surface(Protocol):
    """What is seen through the pixel centers, as far as the geometry checks need it."""

    @property
    def instance(self) -> Tensor:
        """(H, W) int64."""

    @property
    def depth(self) -> Tensor:
        """(H, W) float32 m; any number where nothing is hit."""

    @property
    def normals(self) -> Tensor:
        """(3, H, W) float32, camera frame; any numbers where nothing is hit."""

    @property
    def cosine(self) -> Tensor:
        """(H, W) float32: of the angle between normal and view; NaN where nothing is hit."""


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


def between(
    name: str, value: float, low: float, high: float, pattern: str = "{:.2f}", unit: str = ""
) -> Finding:
    """A finding that a value lies in a range."""
    value_text, low_text, high_text = (pattern.format(v) for v in (value, low, high))
    expected = f"{low_text} to {high_text} {unit}".rstrip()
    return Finding(name, f"{value_text} {unit}".rstrip(), expected, low <= value <= high)


def in_batches(dataset: Rendered, size: int = 50) -> list[Batch]:
    """A whole data set, some images at a time."""
    starts = range(0, len(dataset), size)
    return [dataset.load(range(i, min(i + size, len(dataset)))) for i in starts]


def geometry(seen: Sequence[tuple[Surface, Camera]], step: float = 0.004) -> list[Finding]:
    """Depth and normals against closed forms, and against each other on generated scenes.

    Args:
        seen: Surfaces of some scenes and the cameras that saw them.
        step: See ``slope_error``.
    """
    sphere, box = sphere_error(), box_error()
    surfaces = [(s, s.cosine.isfinite()) for s, _ in seen]
    length = max(
        float((s.normals.square().sum(dim=0).sqrt() - 1)[hit].abs().max()) for s, hit in surfaces
    )
    facing = min(float(s.cosine[hit].min()) for s, hit in surfaces)
    slope = float(torch.cat([slope_error(s, c, step) for s, c in seen]).quantile(0.99))
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


def slope_error(seen: Surface, camera: Camera, step: float = 0.004) -> Tensor:
    """Degrees between normals and central differences of depth, where the surface is smooth.

    Args:
        seen: What ``camera`` saw.
        camera: Of which only the focal length matters.
        step: Of depth, as far as a neighbor may leave the tangent plane of a smooth surface; m.
    """
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
        smooth = smooth & (off < step)
    cosine = (normal * inner).sum(dim=0)[smooth].clamp(-1, 1)
    return torch.rad2deg(torch.acos(cosine))


def class_shares(
    batches: Sequence[Batch], task: Task, *, void: tuple[float, float] | None = None
) -> list[Finding]:
    """Shares of pixels and images of every class, and of pixels without a class.

    Args:
        batches: With targets of ``task``.
        task: One whose pixels hold class ids.
        void: Range of the share of pixels without a class; None to leave it out.
    """
    classes = len(task.class_names)
    pixels, images, total, unlabeled = torch.zeros(classes), torch.zeros(classes), 0, 0.0
    for batch in batches:
        for ids, valid in zip(batch.targets[task.name], batch.valid[task.name], strict=True):
            counts = torch.bincount(ids[valid], minlength=classes)
            pixels, images = pixels + counts, images + (counts > 0)
            total, unlabeled = total + 1, unlabeled + float((~valid).float().mean())
    findings = []
    for name, n, shown in zip(task.class_names, pixels.tolist(), images.tolist(), strict=True):
        share, frequency = 100 * n / float(pixels.sum()), 100 * shown / total
        ok = share >= LEAST_SHARE and frequency >= LEAST_IMAGES
        measured = f"{share:.2f} % of pixels, {frequency:.0f} % of images"
        expected = f">= {LEAST_SHARE} %, >= {LEAST_IMAGES:.0f} %"
        findings.append(Finding(name, measured, expected, ok))
    if void is None:
        return findings
    unlabeled /= total
    expected = f"{100 * void[0]:.0f} to {100 * void[1]:.0f} %"
    ok = void[0] <= unlabeled <= void[1]
    return [*findings, Finding("void", f"{100 * unlabeled:.1f} % of pixels", expected, ok)]
