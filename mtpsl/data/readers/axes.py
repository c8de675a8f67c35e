"""Normals and depth: what a depth map implies, and which channel of a normal is which axis.

Convention of the package: camera frame, x right, y down, z forward, unit length, toward the camera.
"""

import math
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor

Axes = tuple[tuple[int, int, int], tuple[int, int, int]]  # channel of x, y, z and its sign
OURS: Axes = ((0, 1, 2), (1, 1, 1))

FIELD_OF_VIEW = 63.0  # degrees, horizontal: what the preprocessing left of NYUD-v2's camera
SAMPLED = 4000  # pixels an image that axes are judged on
JUMP = 0.2  # of the depth; more between neighbors is an edge
CERTAIN = 500, 30.0, 5.0  # pixels, degrees off at most, degrees better than the next


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, in pixels; pixel (0, 0) has its center at (0, 0)."""

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def centered(cls, height: int, width: int, degrees: float = FIELD_OF_VIEW) -> "Camera":
        """A camera with that horizontal field of view and square pixels."""
        focal = width / 2 / math.tan(math.radians(degrees / 2))
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2)

    @classmethod
    def nyud(cls, height: int, width: int) -> "Camera":
        """The color camera of NYUD-v2, calibrated at 480x640, for whole images of another size.

        Values of the toolbox that is published with the data set.
        """
        v, u = height / 480, width / 640
        fx, fy, cx, cy = 518.8579, 519.4696, 325.5824, 253.7362
        return cls(fx * u, fy * v, (cx + 0.5) * u - 0.5, (cy + 0.5) * v - 0.5)


def implied_normals(meters: Tensor, camera: Camera) -> tuple[Tensor, int]:
    """Computes the normals of the surface that a depth map draws.

    Depth is back-projected; normals are cross products of central differences over 2k + 1 pixels,
    k = 1 for each 128 pixels of width, since one is too few for a real sensor's noise.

    Args:
        meters: (H, W) float, NaN where there is no depth.
        camera: Of the image.

    Returns:
        (H - 2k, W - 2k, 3) unit vectors, NaN at depth edges and holes, and k.
    """
    height, width = meters.shape
    y = (torch.arange(height) - camera.cy)[:, None] / camera.fy
    x = (torch.arange(width) - camera.cx)[None, :] / camera.fx
    points = torch.stack([x * meters, y * meters, meters], dim=-1)
    k = max(1, width // 128)
    middle = points[k:-k, k:-k]
    right = points[k:-k, 2 * k :] - points[k:-k, : -2 * k]
    down = points[2 * k :, k:-k] - points[: -2 * k, k:-k]
    normal = torch.linalg.cross(right, down, dim=-1)
    normal = normal / normal.square().sum(dim=-1, keepdim=True).sqrt()
    away = (normal * middle).sum(dim=-1, keepdim=True) > 0
    normal = torch.where(away, -normal, normal)
    jump = torch.maximum(right[..., 2].abs(), down[..., 2].abs()) / middle[..., 2]
    return normal.masked_fill(~(jump < JUMP)[..., None], float("nan")), k


def normals_from_depth(meters: np.ndarray, camera: Camera) -> np.ndarray:
    """(H, W) m, 0 without depth -> (H, W, 3) float32 normals, 0 at holes, edges and the border."""
    normals = np.zeros((*meters.shape, 3), dtype=np.float32)
    depth = torch.from_numpy(meters.astype(np.float32))
    if min(meters.shape) > 2 * max(1, meters.shape[1] // 128):
        inner, k = implied_normals(depth.masked_fill(depth == 0, float("nan")), camera)
        normals[k:-k, k:-k] = inner.nan_to_num(0.0).numpy()
    return normals


def pairs(annotated: Tensor, meters: Tensor) -> tuple[Tensor, Tensor]:
    """Annotated normals, and those that the depth implies: two (n, 3), n at most ``SAMPLED``.

    Args:
        annotated: (3, H, W) float, NaN where there is none.
        meters: (H, W) float, NaN where there is none.
    """
    height, width = meters.shape
    if min(height, width) <= 2 * max(1, width // 128):
        return torch.zeros(0, 3), torch.zeros(0, 3)
    normal, k = implied_normals(meters, Camera.centered(height, width))
    annotated = annotated.movedim(0, -1)[k:-k, k:-k]
    usable = normal.isfinite().all(dim=-1) & annotated.isfinite().all(dim=-1)
    step = -(-max(1, int(usable.sum())) // SAMPLED)
    return annotated[usable][::step], normal[usable][::step]


def rank_axes(annotated: Tensor, implied: Tensor) -> list[tuple[Axes, float]]:
    """Ranks all 48 readings of the channels, best first, with their mean angle in degrees.

    Args:
        annotated: (n, 3) unit vectors, channels in unknown order and sign.
        implied: (n, 3) unit vectors in our convention.
    """
    ranked = []
    for channels, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        read = annotated[:, list(channels)] * torch.tensor(signs)
        cosine = (read * implied).sum(dim=1).clamp(-1, 1)
        ranked.append(((channels, signs), float(torch.rad2deg(cosine.acos()).mean())))
    return sorted(ranked, key=lambda entry: entry[1])


def settle_axes(seen: list[tuple[Tensor, Tensor]]) -> Axes | None:
    """The reading of the channels that the depth proves, from ``pairs``; None if it does not."""
    if not seen:
        return None
    annotated, implied = (torch.cat(part) for part in zip(*seen, strict=True))
    pixels, off, better = CERTAIN
    if len(annotated) < pixels:
        return None
    (best, angle), (_, second) = rank_axes(annotated, implied)[:2]
    return best if angle <= off and second - angle >= better else None


def apply_axes(normal: np.ndarray, axes: Axes) -> np.ndarray:
    """(H, W, 3) in the file's channels -> (H, W, 3) as x, y, z."""
    channels, signs = axes
    return normal[..., list(channels)] * np.array(signs, dtype=normal.dtype)


def axes_name(axes: Axes) -> str:
    """What the file's channels 0, 1 and 2 hold, such as ``(x, -y, -z)``."""
    held = [""] * 3
    for letter, channel, sign in zip("xyz", *axes, strict=True):
        held[channel] = letter if sign > 0 else f"-{letter}"
    return f"({', '.join(held)})"
