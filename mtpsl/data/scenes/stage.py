"""What a scene is and how it is built: random draws, paint, frames, pieces, camera and light.

Lengths in meters. Pieces are built in frames of their own (right, up, front); the world is the
camera's convention: x right, y down, z ahead, the ground at y = 0.
"""

import colorsys
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partialmethod
from typing import TypeVar

import numpy as np

from mtpsl.data.scenes.raycast import BOX, CYLINDER, SPHERE, Camera, Shapes

Color = tuple[float, float, float]
Triple = tuple[float, float, float]
Span = tuple[float, float, float, float]  # from, to, and from, to on the other axis
T = TypeVar("T")

PALETTES = {  # hue (mean, deviation), None: any; ranges of saturation and value
    "wood": ((0.075, 0.015), (0.25, 0.65), (0.3, 0.8)),
    "pale": ((0.11, 0.03), (0.02, 0.18), (0.7, 0.9)),
    "earth": ((0.09, 0.05), (0.08, 0.4), (0.3, 0.7)),
    "dark": (None, (0.0, 0.3), (0.08, 0.28)),
    "any": (None, (0.2, 0.62), (0.28, 0.82)),
    "brick": ((0.03, 0.012), (0.3, 0.5), (0.35, 0.6)),
    "stone": ((0.6, 0.05), (0.0, 0.08), (0.35, 0.55)),
    "green": ((0.29, 0.04), (0.35, 0.65), (0.22, 0.5)),
}


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
        """A display color of one of the ``PALETTES``."""
        hues, saturation, value = PALETTES[palette]
        hue = self.normal(*hues) if hues else self.uniform(0, 1)
        return colorsys.hsv_to_rgb(hue % 1, self.uniform(*saturation), self.uniform(*value))


@dataclass(frozen=True)
class Paint:
    """How a surface looks."""

    color: Color  # display values in [0, 1]
    pattern: str = "plain"  # or a key of ``patterns.PATTERNS``; "sky" on a shell's faces
    accent: Color = (0.1, 0.1, 0.1)
    size: tuple[float, float] = (0.1, 0.1)  # m, the pattern's period along and up the surface
    seed: int = 0


def turn(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """A rotation of (right, up, front): radians to the right, front up, and right side up."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    a = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    b = np.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])
    return a @ b @ np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Frame:
    """Where a piece is, which way it faces and how large it is."""

    origin: np.ndarray  # (3,) world
    axes: np.ndarray  # (3, 3): columns are one unit right, up and front, in the world

    def at(self, place: Triple) -> np.ndarray:
        return self.origin + self.axes @ np.asarray(place)

    def moved(self, place: Triple = (0, 0, 0), *, scale: float = 1.0, **angles: float) -> "Frame":
        """At a place of this frame, turned by ``angles`` (see ``turn``)."""
        return Frame(self.at(place), self.axes @ turn(**angles) * scale)


def on_ground(x: float, z: float, yaw: float = 0.0, up: float = 0.0) -> Frame:
    """A frame at a point of the ground; yaw 0 faces away from the camera, pi towards it."""
    return Frame(np.array([x, -up, z]), np.diag([1.0, -1.0, 1.0]) @ turn(yaw))


def aim(position: np.ndarray, forward: np.ndarray, roll: float, focal: float) -> Camera:
    """A camera that looks along ``forward``, any vector that is not vertical."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = math.cos(roll), math.sin(roll)
    rotation = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    return Camera(position, rotation, focal)


@dataclass(frozen=True)
class Sky:
    """The open air. Colors are linear light."""

    low: Color  # at the horizon, and of the haze
    high: Color  # at the zenith
    clouds: float = 0.0  # how dense, up to 1
    haze: float = 1e6  # m, distance at which half of the light is the air's


@dataclass(frozen=True)
class Light:
    """What lights a scene: a lamp or the sun, and what comes from everywhere."""

    position: np.ndarray  # (3,) m, of the lamp; of the sun far away
    power: float  # of the direct light, near the lamp
    ambient: float  # light from everywhere
    tint: Color = (1.0, 1.0, 1.0)  # of the direct light
    fade: float = 0.0  # per m^2: direct light is halved at 1 / sqrt(fade) m; 0 for the sun
    radius: float = 0.1  # m, of lamp or sun: makes the shadows' borders soft
    shaded: float = 1e6  # m from the camera; no shadows beyond
    sky: Sky | None = None  # None: indoors, where corners are darker
    gain: float = 1.0  # exposure
    cool: float = 0.0  # by this share ambient light is bluer from the right, redder from the left


@dataclass
class Scene:
    """Everything a renderer needs: P shapes of I instances.

    Shape 0 is the shell around the scene, a box seen from inside: a room, or the open air. Its six
    faces are rows P to P + 5 of the tables: left, right, down, up, back and front in its frame.
    """

    shapes: Shapes
    part: np.ndarray  # (P + 6,) int64: label of a shape within its instance, 0: none
    instance: np.ndarray  # (P + 6,) int64
    paints: list[Paint]  # P + 6
    classes: np.ndarray  # (I,) int64: index of an instance's name in the stage's names
    lots: np.ndarray  # (I, 2) in [0, 1): what happens to the labels of an instance
    seed: int  # of what varies over the picture: clouds, errors of labels
    casters: list[list[int]]  # shapes that cast shadows, by instance
    camera: Camera
    light: Light


@dataclass
class Stage:
    """A scene being built. The first shape of the first piece is the shell."""

    draw: Draw
    names: tuple[str, ...]  # what pieces may be called; their order gives the ids
    kinds: list[int] = field(default_factory=list)
    centers: list[np.ndarray] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)  # unit shape -> world
    part: list[int] = field(default_factory=list)
    instance: list[int] = field(default_factory=list)
    paints: list[Paint] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)  # of instances
    casters: dict[int, list[int]] = field(default_factory=dict)
    taken: list[Span] = field(default_factory=list)  # of the ground: x, z

    def piece(self, name: str, frame: Frame, shadow: bool = True) -> "Piece":
        """Starts a new instance of a name."""
        self.classes.append(self.names.index(name))
        return Piece(self, frame, len(self.classes) - 1, shadow)

    def paint(self, palette: str, pattern: str = "plain", size=(0.1, 0.1)) -> Paint:
        """A paint of a palette's color, with an accent of another one."""
        draw = self.draw
        accent = draw.color(draw.choice(("pale", "dark", "any")))
        return Paint(draw.color(palette), pattern, accent, size, self.seed())

    def plain(self, color: Color, pattern: str = "plain", size=(0.1, 0.1), accent=None) -> Paint:
        """A paint of a given color; the accent is that color, darker, unless given."""
        return Paint(color, pattern, accent or tuple(0.5 * c for c in color), size, self.seed())

    def seed(self) -> int:
        return self.draw.integer(1 << 20)

    def free(self, frame: Frame, half_right: float, half_front: float) -> bool:
        """Whether the ground is free there; if so, it is taken from now on."""
        (dx, _, dz) = np.abs(frame.axes) @ (half_right, 0.0, half_front)
        x, _, z = frame.origin
        span = (x - dx, x + dx, z - dz, z + dz)
        if _meets(span, self.taken):
            return False
        self.taken.append(span)
        return True

    def scene(
        self, faces: Sequence[tuple[str, Paint]], camera: Camera, light: Light, casters=None
    ) -> Scene:
        """The scene as it is built by now.

        Args:
            faces: Name and paint of the shell's six faces: left, right, down, up, back, front.
                Those of one name are one instance.
            camera, light: As in ``Scene``.
            casters: As there; None: all shapes that may.
        """
        names = list(dict.fromkeys(name for name, _ in faces))
        first = len(self.classes)
        instance = [*self.instance, *(first + names.index(name) for name, _ in faces)]
        classes = [*self.classes, *(self.names.index(name) for name in names)]
        linear = np.linalg.inv(np.array(self.maps))
        offset = -np.einsum("pij,pj->pi", linear, np.array(self.centers))
        shapes = Shapes(np.array(self.kinds), linear.astype(np.float32), offset.astype(np.float32))
        return Scene(
            shapes=shapes,
            part=np.array([*self.part, *([0] * 6)], dtype=np.int64),
            instance=np.array(instance, dtype=np.int64),
            paints=[*self.paints, *(paint for _, paint in faces)],
            classes=np.array(classes, dtype=np.int64),
            lots=self.draw.generator.random((len(classes), 2)),
            seed=self.seed(),
            casters=list(self.casters.values()) if casters is None else casters,
            camera=camera,
            light=light,
        )


@dataclass
class Room(Stage):
    """A stage with walls; the camera looks ahead from near the rear one."""

    width: float = 0.0
    height: float = 0.0
    depth: float = 0.0
    camera_x: float = 0.0
    camera_z: float = 0.0
    hung: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    """By wall, along it and up."""
    tops: list[tuple[Frame, float, float]] = field(default_factory=list)  # and halves of its size

    def against_wall(self, right: float, front: float, height: float, tries=14) -> Frame | None:
        """A free place with its back to a wall, clear of what hangs there above ``height``."""
        for _ in range(tries):
            wall = self.draw.choice(("far", "left", "right"), (0.5, 0.25, 0.25))
            frame, along = self._at_wall(wall, right, front + 0.01)
            span = (along - right, along + right, 0.0, height - 0.25)
            if not _meets(span, self.hung[wall]) and self.free(frame, right, front):
                self.hung[wall].append((*span[:3], height))
                return frame
        return None

    def on_floor(self, right: float, front: float, tries: int = 14) -> Frame | None:
        """A free place anywhere within view, mostly parallel to the walls."""
        draw = self.draw
        for _ in range(tries):
            yaw = draw.choice((0.0, math.pi / 2, math.pi, -math.pi / 2)) + draw.normal(0, 0.08)
            reach_x, far = self.width / 2 - right, self.depth / 2 - front
            x, z = draw.uniform(-reach_x, reach_x), draw.uniform(self.camera_z + 1.1, far)
            frame = on_ground(x, z, yaw)
            if far > self.camera_z + 1.1 and self.free(frame, right, front):
                return frame
        return None

    def hang(self, right: float, low: float, high: float, thick: float) -> Frame | None:
        """A free place on a wall between two heights."""
        for _ in range(10):
            wall = self.draw.choice(("far", "left", "right"), (0.7, 0.15, 0.15))
            frame, along = self._at_wall(wall, right, thick)
            span = (along - right - 0.04, along + right + 0.04, low, high)
            if not _meets(span, self.hung[wall]):
                self.hung[wall].append(span)
                return frame
        return None

    def _at_wall(self, wall: str, right: float, off: float) -> tuple[Frame, float]:
        draw = self.draw
        if wall == "far":
            along = draw.uniform(-1, 1) * max(self.width / 2 - right, 0.0)
            return on_ground(along, self.depth / 2 - off, math.pi), along
        low, high = self.camera_z + 0.9 + right, self.depth / 2 - right
        along = draw.uniform(low, high) if high > low else (low + high) / 2
        side = -1 if wall == "left" else 1
        return on_ground(side * (self.width / 2 - off), along, -side * math.pi / 2), along

    def inside(self, frame: Frame) -> bool:
        """Whether a point of the floor is at least 0.2 m from all walls."""
        x, _, z = frame.origin
        return abs(x) < self.width / 2 - 0.2 and abs(z) < self.depth / 2 - 0.2


def _meets(span: Span, others: Iterable[Span]) -> bool:
    a, b, c, d = span
    return any(a < f and e < b and c < h and g < d for e, f, g, h in others)


@dataclass(frozen=True)
class Piece:
    """One instance, built of shapes in a frame."""

    stage: Stage
    frame: Frame
    instance: int
    shadow: bool

    def within(self, frame: Frame) -> "Piece":
        """The same instance, seen from another frame."""
        return Piece(self.stage, frame, self.instance, self.shadow)

    def _put(self, kind: int, at: Triple, half: Triple, paint: Paint, part=0, axes=None) -> None:
        """A shape around ``at`` with half sizes (right, up, front), turned by ``axes`` (3, 3)."""
        stage, frame = self.stage, self.frame
        if self.shadow:
            stage.casters.setdefault(self.instance, []).append(len(stage.kinds))
        stage.kinds.append(kind)
        stage.centers.append(frame.at(at))
        turned = frame.axes if axes is None else frame.axes @ axes
        stage.maps.append(turned * np.maximum(half, 1e-3))
        stage.part.append(part)
        stage.instance.append(self.instance)
        stage.paints.append(paint)

    box = partialmethod(_put, BOX)
    ball = partialmethod(_put, SPHERE)  # an ellipsoid
    tube = partialmethod(_put, CYLINDER)  # along up

    def _join(
        self, kind: int, stretch: float, start: Triple, end: Triple, radius: float, paint, part=0
    ) -> None:
        """A shape from one point to another."""
        a, b = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
        length = max(float(np.linalg.norm(b - a)), 1e-6)
        along = (b - a) / length
        other = np.array([0.0, 0.0, 1.0]) if abs(along[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
        side = np.cross(along, other)
        side /= np.linalg.norm(side)
        axes = np.stack([side, along, np.cross(side, along)], axis=1)
        half = (radius, stretch * (length / 2), radius)
        self._put(kind, (a + b) / 2, half, paint, part, axes)

    bar = partialmethod(_join, CYLINDER, 1.0)
    limb = partialmethod(_join, SPHERE, 1.16)  # an ellipsoid, a little beyond both ends

    def ring(self, at: Triple, radius: float, thick: float, paint: Paint, sides: int = 10) -> None:
        """A wheel's rim in the plane of up and front."""
        x, y, z = at
        angles = [2 * math.pi * k / sides for k in range(sides + 1)]
        rim = [(x, y + radius * math.sin(a), z + radius * math.cos(a)) for a in angles]
        for start, end in zip(rim[:-1], rim[1:], strict=True):
            self.bar(start, end, thick, paint)

    def pair(self, at: Triple, half: Triple, paint: Paint) -> None:
        """A box and its mirror image on the left, which comes first."""
        for side in (-1, 1):
            self.box((side * at[0], *at[1:]), half, paint)

    def legs(self, right: float, up: float, front: float, thick: float, paint: Paint) -> None:
        """Four upright ones, ``up`` high, at the corners of a rectangle."""
        for x in (-right, right):
            for z in (-front, front):
                self.box((x, up / 2, z), (thick, up / 2, thick), paint)
