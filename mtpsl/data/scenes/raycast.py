"""Analytic ray casting: boxes, spheres and capped cylinders under affine maps.

Every shape is the unit one (cube [-1, 1]^3, sphere of radius 1, cylinder of radius 1 along y from
-1 to 1) seen through a world-to-local map. A camera ray has z = 1 in the camera frame, so the ray
parameter of a hit *is* its depth along the optical axis, in meters.

Only +, -, *, /, sqrt and comparisons, one elementwise operation at a time: each of them rounds the
same way on every device and under every number of threads, so the bits of a picture depend on
neither. That rules out matrix products, reductions and transcendental functions here.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BOX, SPHERE, CYLINDER = 0, 1, 2
FAR = 1e9  # ray parameter of a miss
NEAR = 0.05  # m, shapes that reach behind this plane are not culled
SELF = 1e-3  # a hit closer than this is the ray's own start

Vector = tuple[Tensor, Tensor, Tensor]  # x, y, z, each of one shape
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Shapes:
    """P shapes: local = linear[p] @ world + offset[p]."""

    kind: np.ndarray  # (P,) int: BOX, SPHERE or CYLINDER
    linear: np.ndarray  # (P, 3, 3) float32
    offset: np.ndarray  # (P, 3) float32

    def __len__(self) -> int:
        return len(self.kind)

    def corners(self) -> np.ndarray:
        """(P, 8, 3) float64: the world corners of each shape's bounding box."""
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
        local = signs[None] - self.offset[:, None].astype(np.float64)
        return local @ np.linalg.inv(self.linear.astype(np.float64)).transpose(0, 2, 1)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in a world whose y axis points down."""

    position: np.ndarray  # (3,) m
    rotation: np.ndarray  # (3, 3): columns are the camera's right, down and forward in the world
    focal: float  # in image widths: 0.5 / tan(horizontal field of view / 2)


@dataclass(frozen=True)
class Rays:
    """A grid of camera rays that covers the pixel centers and one sample around them.

    Sample (1 + s * row, 1 + s * column) with s = ``per_pixel`` passes the center of a pixel.
    """

    camera: Camera
    height: int
    width: int
    per_pixel: int
    direction: Vector  # each (rows, columns), world frame; z = 1 in the camera frame

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.direction[0].shape)

    def centers(self, grid: Tensor) -> Tensor:
        """(..., rows, columns) -> (..., height, width): the samples at the pixel centers."""
        return grid[..., 1 : -1 : self.per_pixel, 1 : -1 : self.per_pixel]

    def tent(self, grid: Tensor) -> Tensor:
        """(..., rows, columns) -> (..., height, width): a 3x3 tent filter around each center."""
        across = grid[..., :-2] + 2 * grid[..., 1:-1] + grid[..., 2:]
        both = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
        return both[..., :: self.per_pixel, :: self.per_pixel] * (1 / 16)


def make_rays(
    camera: Camera, height: int, width: int, per_pixel: int, device: torch.device | str = "cpu"
) -> Rays:
    """The rays of a (height, width) picture, ``per_pixel`` samples a pixel and direction."""
    step = 1 / per_pixel
    rows = 0.5 + (np.arange(per_pixel * (height - 1) + 3) - 1) * step
    columns = 0.5 + (np.arange(per_pixel * (width - 1) + 3) - 1) * step
    y = ((rows - height / 2) / (camera.focal * width))[:, None]
    x = ((columns - width / 2) / (camera.focal * width))[None, :]
    world = [x * r[0] + y * r[1] + r[2] for r in camera.rotation]
    direction = tuple(torch.from_numpy(w.astype(np.float32)).to(device) for w in world)
    return Rays(camera, height, width, per_pixel, direction)


def intersect(kind: int, origin: Vector | Point, direction: Vector, starts_inside=False) -> Tensor:
    """Ray parameter of the first hit with a unit shape, all in its frame; ``FAR`` for a miss.

    Directions need no unit length. ``starts_inside``: the way out of a box, not in (a room).
    """
    if kind == BOX:
        return _box(origin, direction, starts_inside)
    return _sphere(origin, direction) if kind == SPHERE else _cylinder(origin, direction)


def _nonzero(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1e-9, 1e-9, x)


def _box(origin: Vector | Point, direction: Vector, starts_inside: bool) -> Tensor:
    enter, leave = None, None
    for o, d in zip(origin, direction, strict=True):
        inverse = 1 / _nonzero(d)
        a, b = (-1 - o) * inverse, (1 - o) * inverse
        first, last = torch.minimum(a, b), torch.maximum(a, b)
        enter = first if enter is None else torch.maximum(enter, first)
        leave = last if leave is None else torch.minimum(leave, last)
    t = leave if starts_inside else enter
    return torch.where((leave >= enter) & (t > SELF), t, FAR)


def _sphere(origin: Vector | Point, direction: Vector) -> Tensor:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dy * dy + dz * dz
    b = dx * ox + dy * oy + dz * oz
    c = ox * ox + oy * oy + oz * oz - 1
    discriminant = b * b - a * c
    t = (-b - discriminant.clamp_min(0).sqrt()) / a
    return torch.where((discriminant > 0) & (t > SELF), t, FAR)


def _cylinder(origin: Vector | Point, direction: Vector) -> Tensor:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dz * dz + 1e-12
    b = dx * ox + dz * oz
    discriminant = b * b - a * (ox * ox + oz * oz - 1)
    t = (-b - discriminant.clamp_min(0).sqrt()) / a
    side = (discriminant > 0) & (t > SELF) & ((dy * t + oy).abs() <= 1)
    t = torch.where(side, t, FAR)
    facing = torch.where(dy > 0, -1.0, 1.0)  # the cap that looks at the ray
    cap = (facing - oy) / _nonzero(dy)
    x, z = dx * cap + ox, dz * cap + oz
    return torch.where((cap > SELF) & (x * x + z * z <= 1) & (cap < t), cap, t)


def apply(linear: list[list[float]], vector: Vector | Point, offset: list[float] | None = None):
    """linear @ vector (+ offset), one component at a time."""
    x, y, z = vector
    rows = [row[0] * x + row[1] * y + row[2] * z for row in linear]
    return tuple(rows if offset is None else [r + o for r, o in zip(rows, offset, strict=True)])


def cast(shapes: Shapes, rays: Rays, kept: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
    """Depth (rows, columns) in m and index of the nearest shape of every ray.

    Shape 0 is the room: seen from inside, it ends every ray, so every ray hits something.
    The others are tried only inside the rectangle they project to, and if they are ``kept``.
    """
    position = tuple(float(p) for p in np.float32(rays.camera.position))
    depth = torch.full(rays.shape, FAR, device=rays.direction[0].device)
    index = torch.zeros(rays.shape, dtype=torch.int64, device=depth.device)
    linear, offset = shapes.linear.tolist(), shapes.offset.tolist()
    for p, window in enumerate(_rectangles(shapes, rays)):
        if window is None or (kept is not None and not kept[p]):
            continue
        origin = tuple(float(np.float32(v)) for v in apply(linear[p], position, offset[p]))
        local = apply(linear[p], tuple(d[window] for d in rays.direction))
        t = intersect(int(shapes.kind[p]), origin, local, starts_inside=p == 0)
        nearer = t < depth[window]
        depth[window] = torch.where(nearer, t, depth[window])
        index[window] = torch.where(nearer, p, index[window])
    return depth, index


def _rectangles(shapes: Shapes, rays: Rays) -> list[tuple[slice, slice] | None]:
    """The grid window every shape can show up in; None for one that cannot be seen."""
    low, high, crosses, hidden = _projected(shapes, rays.camera, rays.height, rays.width)
    low = np.floor((low - 0.5) * rays.per_pixel + 1).clip(0)
    high = (np.ceil((high - 0.5) * rays.per_pixel + 1) + 1).clip(max=rays.shape)
    low[crosses], high[crosses] = 0, rays.shape  # the projection is unbounded
    hidden |= (low >= high).any(axis=1)
    bounds = zip(hidden, low.astype(int), high.astype(int), strict=True)
    return [None if h else (slice(a[0], b[0]), slice(a[1], b[1])) for h, a, b in bounds]


def _projected(shapes: Shapes, camera: Camera, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Where shapes project to: low and high (P, 2) rows and columns in pixels, of a bounding box;
    (P,) whether it reaches behind the camera, and whether it is outside the view."""
    seen = (shapes.corners() - camera.position) @ camera.rotation  # camera frame
    scale = camera.focal * width
    z = seen[..., 2].clip(NEAR)
    u = seen[..., 0] / z * scale + width / 2
    v = seen[..., 1] / z * scale + height / 2
    behind = seen[..., 2] < NEAR
    hidden = behind.all(axis=1)
    for axis, size in ((0, width), (1, height)):
        border = seen[..., 2] * (size / 2 + 1) / scale  # of the view, where z > 0
        hidden |= (seen[..., axis] > border).all(axis=1) | (-seen[..., axis] > border).all(axis=1)
    grid = np.stack([v, u], axis=2)
    return grid.min(axis=1), grid.max(axis=1), behind.any(axis=1), hidden


LEAST_SHAPE, LEAST_INSTANCE = 2.0, 4.0  # pixels, of the longer side


def built(shapes: Shapes, instance: np.ndarray, camera: Camera, height, width) -> np.ndarray:
    """(P,) bool: level of detail, the shapes that a picture of this size is made of.

    A shape whose projection has a longer side below ``LEAST_SHAPE`` pixels is not built, nor is an
    instance whose whole projection is below ``LEAST_INSTANCE``: neither seen nor shading anything.
    Shape 0, around the scene, and what reaches behind the camera always are.

    Args:
        shapes: P of them.
        instance: (P,) int64: which of them belong together.
        camera, height, width: Of the picture, in pixels.
    """
    low, high, crosses, _ = _projected(shapes, camera, height, width)
    low, high = np.where(crosses[:, None], -np.inf, low), np.where(crosses[:, None], np.inf, high)
    whole = np.zeros((instance.max() + 1, 2)) + np.inf, np.zeros((instance.max() + 1, 2)) - np.inf
    np.minimum.at(whole[0], instance, low)
    np.maximum.at(whole[1], instance, high)
    size = (whole[1][instance] - whole[0][instance]).max(axis=1)
    return ((high - low).max(axis=1) >= LEAST_SHAPE) & (size >= LEAST_INSTANCE)


@dataclass(frozen=True)
class Hits:
    """What the rays hit; every field has the grid's shape."""

    depth: Tensor  # m, along the optical axis
    shape: Tensor  # int64: index of the shape
    face: Tensor  # int64: 2 * axis + (1 on the positive side) of a box, 6 elsewhere
    world: Vector  # m
    local: Vector  # in the unit shape's frame
    normal: Vector  # world frame, unit length, towards the camera


def trace(shapes: Shapes, rays: Rays, kept: np.ndarray | None = None) -> Hits:
    """Casts all rays and describes the points they hit; ``kept``: (P,) bool, None for all."""
    depth, index = cast(shapes, rays, kept)
    device, position = depth.device, np.float32(rays.camera.position).tolist()
    world = tuple(d * depth + o for d, o in zip(rays.direction, position, strict=True))
    table = np.concatenate([shapes.linear.reshape(-1, 9), shapes.offset], axis=1)
    rows = torch.from_numpy(np.ascontiguousarray(table.T)).to(device)
    gathered = rows[:, index.flatten()].view(12, *index.shape)
    local = apply(gathered[:9].view(3, 3, *index.shape), world, gathered[9:])
    kind = torch.from_numpy(shapes.kind.astype(np.int64)).to(device)[index]
    unit, face = _local_normal(kind, local)
    columns = gathered[:9].view(3, 3, *index.shape).transpose(0, 1)  # normals map by the transpose
    x, y, z = apply(columns, unit)
    length = (x * x + y * y + z * z).sqrt()
    dx, dy, dz = rays.direction
    length = torch.where(x * dx + y * dy + z * dz > 0, -length, length)
    return Hits(depth, index, face, world, local, (x / length, y / length, z / length))


def _local_normal(kind: Tensor, q: Vector) -> tuple[Vector, Tensor]:
    """An outward normal in the unit shape's frame, and the face for a box."""
    x, y, z = q
    ax, ay, az = x.abs(), y.abs(), z.abs()
    on_x = (ax >= ay) & (ax >= az)
    on_y = ~on_x & (ay >= az)
    box, sphere = kind == BOX, kind == SPHERE
    # On the side of the cylinder x^2 + z^2 = 1, on a cap |y| = 1: the larger one tells.
    cap = ~box & ~sphere & (y * y > x * x + z * z)
    flat = box | cap
    normal = (
        torch.where(flat, torch.where(box & on_x, x.sign(), 0.0), x),
        torch.where((box & on_y) | cap, y.sign(), torch.where(sphere, y, 0.0)),
        torch.where(flat, torch.where(box & ~on_x & ~on_y, z.sign(), 0.0), z),
    )
    axis = torch.where(on_x, 0, torch.where(on_y, 1, 2))
    positive = torch.where(on_x, x > 0, torch.where(on_y, y > 0, z > 0))
    return normal, torch.where(box, 2 * axis + positive, 6)


def occluded(
    shapes: Shapes, casters: list[list[int]], points: Vector, lights: Vector, center, radius: float
) -> Tensor:
    """(N,) bool: points that a shape hides from their light.

    Args:
        casters: The shapes that cast a shadow, in groups that lie close together.
        points: Three (N,) tensors.
        lights: Three (N,) tensors, all within ``radius`` of ``center``, a (3,) array: the culling
            uses that.
    """
    hidden = torch.zeros_like(points[0], dtype=torch.bool)
    away = tuple(p - float(c) for p, c in zip(points, np.float32(center), strict=True))
    distance = (away[0] * away[0] + away[1] * away[1] + away[2] * away[2]).sqrt()
    corners = shapes.corners()
    linear, offset = shapes.linear.tolist(), shapes.offset.tolist()
    for group in casters:
        spread = corners[group].reshape(-1, 3)
        middle = (spread.min(axis=0) + spread.max(axis=0)) / 2
        reach = float(np.linalg.norm(spread - middle, axis=1).max()) + radius + 0.02
        far = float(np.linalg.norm(middle - center))
        if far > reach:  # only points inside the cone behind the group can be in its shadow
            x, y, z = ((middle - center) / far).astype(np.float32).tolist()
            cosine = float(np.sqrt(1 - (reach / far) ** 2))
            along = away[0] * x + away[1] * y + away[2] * z
            behind = (along >= distance * cosine) & (distance > far - reach)
            where = behind.nonzero().squeeze(1)
        else:
            where = torch.arange(len(hidden), device=hidden.device)
        if len(where) == 0:
            continue
        start = tuple(v[where] for v in points)
        path = tuple(q[where] - p for p, q in zip(start, lights, strict=True))
        blocked = hidden[where]
        for p in group:
            origin = apply(linear[p], start, offset[p])
            blocked |= intersect(int(shapes.kind[p]), origin, apply(linear[p], path)) < 1
        hidden[where] = blocked
    return hidden
