"""The stage of a rooms13 scene: random draws, paint, placement, and the room itself.

Lengths in meters. Furniture is built in its own frame (right, up, front) around a ``Spot`` on the
floor or a wall; the world is the camera's convention, x right, y down, z away from the near wall.
"""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from mtpsl.data.scenes.raycast import BOX, CYLINDER, SPHERE, Camera, Shapes

CLASSES = tuple(
    "bed books ceiling chair floor furniture objects picture sofa table tv wall window".split()
)
ID = {name: i for i, name in enumerate(CLASSES)}

Color = tuple[float, float, float]
T = TypeVar("T")


class Draw:
    """Random draws of one scene, a function of its seed alone."""

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self.generator = np.random.Generator(np.random.PCG64(seed))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.generator.random()

    def normal(self, mean: float, std: float) -> float:
        return mean + std * float(self.generator.standard_normal())

    def chance(self, p: float) -> bool:
        return self.generator.random() < p

    def choice(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        if weights is None:
            return options[int(self.generator.random() * len(options))]
        edges = np.cumsum(weights)
        return options[int(np.searchsorted(edges, self.generator.random() * edges[-1], "right"))]

    def count(self, mean: float) -> int:
        """A whole number with this mean, one of its two neighbors."""
        return int(mean) + self.chance(mean % 1)

    def integer(self, high: int) -> int:
        return int(self.generator.random() * high)

    def color(self, palette: str) -> Color:
        """Palettes are shared between classes, so that color alone tells little."""
        if palette == "wood":
            hue, saturation, value = self.normal(0.075, 0.015), (0.25, 0.65), (0.3, 0.8)
        elif palette == "pale":
            hue, saturation, value = self.choice((0.08, 0.1, 0.13, 0.55)), (0.02, 0.2), (0.66, 0.9)
        elif palette == "earth":
            hue, saturation, value = self.normal(0.09, 0.06), (0.05, 0.4), (0.3, 0.75)
        elif palette == "dark":
            hue, saturation, value = self.uniform(0, 1), (0.0, 0.3), (0.08, 0.3)
        else:
            hue, saturation, value = self.uniform(0, 1), (0.15, 0.62), (0.25, 0.82)
        rgb = colorsys.hsv_to_rgb(hue % 1, self.uniform(*saturation), self.uniform(*value))
        return rgb


@dataclass(frozen=True)
class Paint:
    """How a surface looks."""

    color: Color  # display values in [0, 1]
    pattern: str = "plain"  # or a key of ``rooms13_render.PATTERNS``
    accent: Color = (0.1, 0.1, 0.1)
    size: tuple[float, float] = (0.1, 0.1)  # m, the pattern's period along and up the surface
    seed: int = 0


@dataclass(frozen=True)
class Spot:
    """Where a piece stands: a point of the floor and the way it faces."""

    x: float
    z: float
    yaw: float  # 0 faces the far wall (+z), pi the camera's side

    def world(self, right: float, up: float, front: float) -> np.ndarray:
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([self.x + c * right + s * front, -up, self.z - s * right + c * front])

    def rotation(self, turn: float = 0.0) -> np.ndarray:
        c, s = math.cos(self.yaw + turn), math.sin(self.yaw + turn)
        return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])

    def shifted(self, right: float, front: float, turn: float = 0.0) -> "Spot":
        x, _, z = self.world(right, 0.0, front)
        return Spot(x, z, self.yaw + turn)


@dataclass(frozen=True)
class Top:
    """A free surface that clutter may stand on."""

    spot: Spot
    half_width: float
    half_depth: float
    up: float


@dataclass
class Scene:
    """Everything a renderer needs. Rows P to P + 5 of the tables are the room's six faces."""

    shapes: Shapes
    classes: np.ndarray  # (P + 6,) int64 class ids
    instance: np.ndarray  # (P + 6,) int64
    paints: list[Paint]  # P + 6
    casters: list[list[int]]  # shapes that cast shadows, by instance
    camera: Camera
    size: tuple[float, float, float]  # room: width, height, depth
    lamp: np.ndarray  # (3,) position
    daylight: np.ndarray | None  # (3,) position of a window's light
    tint: np.ndarray  # (3,) color of the lamp
    gain: float  # exposure
    unlabeled: np.ndarray  # instances the annotator left out
    blind: np.ndarray  # instances the depth sensor does not see


@dataclass
class Room:
    """A room being furnished."""

    draw: Draw
    width: float
    height: float
    depth: float
    camera_x: float = 0.0
    camera_z: float = 0.0
    kinds: list[int] = field(default_factory=list)
    centers: list[np.ndarray] = field(default_factory=list)
    halves: list[tuple[float, float, float]] = field(default_factory=list)
    rotations: list[np.ndarray] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    instance: list[int] = field(default_factory=list)
    paints: list[Paint] = field(default_factory=list)
    casters: dict[int, list[int]] = field(default_factory=dict)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)  # x0, x1, z0, z1
    hung: dict[str, list[tuple[float, float, float, float]]] = field(
        default_factory=lambda: {"left": [], "right": [], "far": []}
    )  # along0, along1, up0, up1
    tops: list[Top] = field(default_factory=list)
    windows: list[Spot] = field(default_factory=list)
    instances: int = 0

    def item(self, name: str, spot: Spot, shadow: bool = True) -> "Item":
        """Starts a new instance of a class at a spot."""
        self.instances += 1
        return Item(self, ID[name], spot, self.instances - 1, shadow)

    def paint(self, palette: str, pattern: str = "plain", size=(0.1, 0.1)) -> Paint:
        draw = self.draw
        accent = draw.color(draw.choice(("pale", "dark", "any")))
        return Paint(draw.color(palette), pattern, accent, size, draw.integer(1 << 20))

    def free(self, spot: Spot, half_width: float, half_depth: float) -> bool:
        """Whether the floor is free there; if so, it is taken from now on."""
        c, s = abs(math.cos(spot.yaw)), abs(math.sin(spot.yaw))
        dx, dz = c * half_width + s * half_depth, s * half_width + c * half_depth
        x0, x1, z0, z1 = spot.x - dx, spot.x + dx, spot.z - dz, spot.z + dz
        slack = 0.06
        inside = (
            x0 > -self.width / 2 - slack
            and x1 < self.width / 2 + slack
            and z0 > -self.depth / 2 - slack
            and z1 < self.depth / 2 + slack
        )
        if not inside or any(x0 < b and a < x1 and z0 < d and c < z1 for a, b, c, d in self.taken):
            return False
        self.taken.append((x0, x1, z0, z1))
        return True

    def against_wall(
        self, half_width: float, half_depth: float, height: float, tries: int = 10
    ) -> Spot | None:
        """A free place with its back to a wall, clear of what hangs there above ``height``."""
        for _ in range(tries):
            wall = self.draw.choice(("far", "left", "right"), (0.44, 0.28, 0.28))
            spot, along = self._wall_spot(wall, half_width, half_depth + 0.01)
            span = (along - half_width, along + half_width, 0.0, height - 0.25)
            if self._overlaps(wall, span):
                continue
            if self.free(spot, half_width, half_depth):
                self.hung[wall].append((*span[:3], height))
                return spot
        return None

    def on_floor(self, half_width: float, half_depth: float, tries: int = 10) -> Spot | None:
        """A free place anywhere, mostly parallel to the walls."""
        draw = self.draw
        for _ in range(tries):
            yaw = draw.choice((0.0, math.pi / 2, math.pi, -math.pi / 2)) + draw.normal(0, 0.25)
            x = draw.uniform(-0.5, 0.5) * self.width
            spot = Spot(x, draw.uniform(self.camera_z + 0.7, self.depth / 2), yaw)
            if self.free(spot, half_width, half_depth):
                return spot
        return None

    def hang(self, half_width: float, low: float, high: float, thick: float) -> Spot | None:
        """A free place on a wall between two heights."""
        for _ in range(8):
            wall = self.draw.choice(("far", "left", "right"), (0.5, 0.25, 0.25))
            spot, along = self._wall_spot(wall, half_width, thick)
            span = (along - half_width - 0.04, along + half_width + 0.04, low, high)
            if not self._overlaps(wall, span):
                self.hung[wall].append(span)
                return spot
        return None

    def _wall_spot(self, wall: str, half_width: float, off: float) -> tuple[Spot, float]:
        draw = self.draw
        if wall == "far":
            along = draw.uniform(-1, 1) * max(self.width / 2 - half_width, 0.0)
            return Spot(along, self.depth / 2 - off, math.pi), along
        low, high = self.camera_z + 0.6 + half_width, self.depth / 2 - half_width
        along = draw.uniform(low, high) if high > low else (low + high) / 2
        side = -1 if wall == "left" else 1
        return Spot(side * (self.width / 2 - off), along, -side * math.pi / 2), along

    def _overlaps(self, wall: str, span: tuple[float, float, float, float]) -> bool:
        a0, a1, u0, u1 = span
        return any(
            a0 < b1 and b0 < a1 and u0 < v1 and v0 < u1 for b0, b1, v0, v1 in self.hung[wall]
        )

    def shapes(self) -> Shapes:
        halves = np.maximum(np.array(self.halves), 1e-3)
        linear = np.array(self.rotations).transpose(0, 2, 1) / halves[:, :, None]
        offset = -np.einsum("pij,pj->pi", linear, np.array(self.centers))
        return Shapes(np.array(self.kinds), linear.astype(np.float32), offset.astype(np.float32))


@dataclass(frozen=True)
class Item:
    """One instance of a class, built of shapes around a spot."""

    room: Room
    id: int
    spot: Spot
    instance: int
    shadow: bool

    def _add(self, kind: int, at: tuple, half: tuple, paint: Paint, turn: float) -> None:
        room = self.room
        if self.shadow:
            room.casters.setdefault(self.instance, []).append(len(room.kinds))
        room.kinds.append(kind)
        room.centers.append(self.spot.world(*at))
        room.halves.append(half)
        room.rotations.append(self.spot.rotation(turn))
        room.classes.append(self.id)
        room.instance.append(self.instance)
        room.paints.append(paint)

    def box(self, at, half, paint: Paint, turn: float = 0.0) -> None:
        """A box around ``at`` = (right, up, front) with half sizes (right, up, front)."""
        self._add(BOX, at, half, paint, turn)

    def ball(self, at, half, paint: Paint, turn: float = 0.0) -> None:
        """An ellipsoid, like ``box``."""
        self._add(SPHERE, at, half, paint, turn)

    def tube(self, at, half, paint: Paint, turn: float = 0.0) -> None:
        """An upright cylinder, like ``box``."""
        self._add(CYLINDER, at, half, paint, turn)
