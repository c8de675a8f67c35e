"""The stage of a people21 scene: classes, parts, frames, and pieces built of shapes.

Lengths in meters. Everything is built in a frame of its own (right, up, front); the world is the
camera's convention, x right, y down, z away from the camera, with the ground at y = 0.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from mtpsl.data.scenes.raycast import BOX, CYLINDER, SPHERE, Camera, Shapes
from mtpsl.data.scenes.rooms13_scene import Color, Draw, Paint

CLASSES = tuple(
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor".split()
)
ID = {name: i for i, name in enumerate(CLASSES)}
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)  # 0: not a person

SCENERY = (
    "sky grass road soil water floor wall ceiling tree building fence mountain track"
).split()
OTHERS = "window door picture curtain cabinet rock pole bag box ball lamp book bench cup".split()
CONTEXTS = (*CLASSES[1:], *SCENERY, *OTHERS)
"""What the edges separate: finer than the classes, which call all but the first 20 background."""
CONTEXT_ID = {name: i for i, name in enumerate(CONTEXTS)}

# Regions without a normal in the real set: those a network for rooms was never shown.
WITHOUT_NORMALS = (
    "aeroplane bird boat bus cow horse motorbike pottedplant sheep train "
    "sky grass road soil water tree building fence mountain track rock"
).split()

Triple = tuple[float, float, float]


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

    def moved(
        self,
        place: Triple = (0.0, 0.0, 0.0),
        *,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        scale: float = 1.0,
    ) -> "Frame":
        return Frame(self.at(place), self.axes @ turn(yaw, pitch, roll) * scale)


def on_ground(x: float, z: float, yaw: float, up: float = 0.0) -> Frame:
    """A frame at a point of the ground; yaw 0 faces away from the camera, pi towards it."""
    return Frame(np.array([x, -up, z]), np.diag([1.0, -1.0, 1.0]) @ turn(yaw))


@dataclass
class Scene:
    """Everything a renderer needs. Rows P to P + 5 of the tables are the faces of the shell."""

    shapes: Shapes
    part: np.ndarray  # (P + 6,) int64: of a person, 0 elsewhere
    instance: np.ndarray  # (P + 6,) int64
    paints: list[Paint]  # P + 6
    classes: np.ndarray  # (I,) int64: class of an instance
    context: np.ndarray  # (I,) int64: context of an instance
    casters: list[list[int]]  # shapes that cast shadows, by instance
    camera: Camera
    indoors: bool
    light: np.ndarray  # (3,) position of the lamp, or far away, of the sun
    tint: np.ndarray  # (3,) its color
    power: float  # of the light, against 1 - power from everywhere
    gain: float  # exposure
    unlabeled: np.ndarray  # instances the annotator marked as void
    appeal: np.ndarray  # (I,) how much an instance draws the eye beyond its looks, 0: scenery
    wobble: int  # seed of the imperfections of the saliency labels


@dataclass
class Stage:
    """A scene being built. Shape 0 is the shell around it: a room, or the open air."""

    draw: Draw
    kinds: list[int] = field(default_factory=list)
    centers: list[np.ndarray] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)  # unit shape -> world
    part: list[int] = field(default_factory=list)
    instance: list[int] = field(default_factory=list)
    paints: list[Paint] = field(default_factory=list)
    context: list[int] = field(default_factory=list)  # of instances
    casters: dict[int, list[int]] = field(default_factory=dict)

    def piece(self, context: str, frame: Frame, shadow: bool = True) -> "Piece":
        """Starts a new instance of a context, which names the class too."""
        self.context.append(CONTEXT_ID[context])
        return Piece(self, frame, len(self.context) - 1, shadow)

    def paint(
        self, palette: str, pattern: str = "plain", size: tuple[float, float] = (0.1, 0.1)
    ) -> Paint:
        draw = self.draw
        accent = draw.color(draw.choice(("pale", "dark", "any")))
        return Paint(draw.color(palette), pattern, accent, size, draw.integer(1 << 20))

    def plain(self, color: Color, pattern: str = "plain", size=(0.1, 0.1)) -> Paint:
        dark = tuple(0.5 * c for c in color)
        return Paint(color, pattern, dark, size, self.draw.integer(1 << 20))

    def shapes(self) -> Shapes:
        linear = np.linalg.inv(np.array(self.maps))
        offset = -np.einsum("pij,pj->pi", linear, np.array(self.centers))
        return Shapes(np.array(self.kinds), linear.astype(np.float32), offset.astype(np.float32))


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

    def box(self, at: Triple, half: Triple, paint: Paint, *, part=0, axes=None) -> None:
        """A box around ``at`` with half sizes (right, up, front), turned by ``axes`` (3, 3)."""
        self._add(BOX, at, half, paint, part, axes)

    def ball(self, at: Triple, half: Triple, paint: Paint, *, part=0, axes=None) -> None:
        """An ellipsoid, like ``box``."""
        self._add(SPHERE, at, half, paint, part, axes)

    def tube(self, at: Triple, half: Triple, paint: Paint, *, part=0, axes=None) -> None:
        """A cylinder along up, like ``box``."""
        self._add(CYLINDER, at, half, paint, part, axes)

    def limb(self, start: Triple, end: Triple, radius: float, paint: Paint, part=0) -> None:
        """An ellipsoid that reaches a little beyond both ends."""
        at, axes, reach = _between(start, end)
        self._add(SPHERE, at, (radius, 1.16 * reach, radius), paint, part, axes)

    def bar(self, start: Triple, end: Triple, radius: float, paint: Paint, part=0) -> None:
        """A cylinder from one point to another."""
        at, axes, reach = _between(start, end)
        self._add(CYLINDER, at, (radius, reach, radius), paint, part, axes)

    def ring(self, at: Triple, radius: float, thick: float, paint: Paint, sides: int = 10) -> None:
        """A wheel's rim in the plane of up and front."""
        x, y, z = at
        angles = [2 * math.pi * k / sides for k in range(sides + 1)]
        rim = [(x, y + radius * math.sin(a), z + radius * math.cos(a)) for a in angles]
        for start, end in zip(rim[:-1], rim[1:], strict=True):
            self.bar(start, end, thick, paint)

    def _add(self, kind: int, at: Triple, half: Triple, paint: Paint, part: int, axes) -> None:
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


def _between(start: Triple, end: Triple) -> tuple[Triple, np.ndarray, float]:
    """Middle, axes (the second along the way) and half of the distance of two points."""
    a, b = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    length = max(float(np.linalg.norm(b - a)), 1e-6)
    along = (b - a) / length
    other = np.array([0.0, 0.0, 1.0]) if abs(along[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    side = np.cross(along, other)
    side /= np.linalg.norm(side)
    axes = np.stack([side, along, np.cross(side, along)], axis=1)
    middle = (a + b) / 2
    return (float(middle[0]), float(middle[1]), float(middle[2])), axes, length / 2
