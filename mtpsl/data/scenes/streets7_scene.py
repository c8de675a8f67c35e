"""The stage of a streets7 scene: places along a street and the pieces that stand there.

Lengths in meters. The world is the camera's convention, x right, y down, z along the street; the
road's middle is x = 0 and its surface y = 0 at the camera. Pieces are built in their own frame
(right, up, front) around a ``Place`` on the ground, which may rise or fall further down the street.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from mtpsl.data.scenes.raycast import BOX, CYLINDER, SPHERE, Camera, Shapes
from mtpsl.data.scenes.rooms13_scene import Draw, Paint

CLASSES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
ID = {name: i for i, name in enumerate(CLASSES)}
VOID = 255  # class of what the annotators leave out, such as the car that carries the camera

Half = tuple[float, float, float]
At = tuple[float, float, float]


@dataclass(frozen=True)
class Place:
    """A point of the ground and the direction a piece faces there."""

    x: float
    z: float
    yaw: float  # 0 faces down the street (+z), pi faces the camera
    ground: float  # height of the ground there

    def world(self, right: float, up: float, front: float) -> np.ndarray:
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        x, z = self.x + c * right + s * front, self.z - s * right + c * front
        return np.array([x, -up - self.ground, z])

    def rotation(self, turn: float, lean: float) -> np.ndarray:
        """How a shape is turned around the vertical, after leaning to the front."""
        c, s = math.cos(self.yaw + turn), math.sin(self.yaw + turn)
        a, b = math.cos(lean), math.sin(lean)
        turned = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
        return turned @ np.array([[1.0, 0.0, 0.0], [0.0, a, b], [0.0, -b, a]])


@dataclass(frozen=True)
class Scene:
    """Everything a renderer needs. Shape 0 is the sky, seen from inside."""

    shapes: Shapes
    classes: np.ndarray  # (P,) int64 class ids, VOID for what has none
    instance: np.ndarray  # (P,) int64
    paints: list[Paint]  # P
    casters: list[list[int]]  # shapes that cast shadows, by instance
    camera: Camera
    sun: np.ndarray  # (3,) position, far away
    shine: float  # strength of the sun's light; the sky's is 1
    haze: float  # m, distance at which half of the light is the air's
    air: np.ndarray  # (3,) linear color of the haze and of the sky's lower end
    zenith: np.ndarray  # (3,) linear color of the sky's upper end
    clouds: int  # seed of the sky's pattern and of the disparity's in it
    gain: float  # exposure
    unlabeled: np.ndarray  # instances the annotator left out
    blind: np.ndarray  # instances without disparity


@dataclass
class Street:
    """A street being furnished."""

    draw: Draw
    road: float  # half width
    pavement: float  # width of each sidewalk
    bend: float  # z from which on the ground rises
    grade: float  # by this much a meter
    kinds: list[int] = field(default_factory=list)
    centers: list[np.ndarray] = field(default_factory=list)
    halves: list[Half] = field(default_factory=list)
    rotations: list[np.ndarray] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    instance: list[int] = field(default_factory=list)
    paints: list[Paint] = field(default_factory=list)
    casters: dict[int, list[int]] = field(default_factory=dict)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)  # x0, x1, z0, z1
    instances: int = 0

    def place(self, x: float, z: float, yaw: float = 0.0) -> Place:
        return Place(x, z, yaw, self.grade * max(z - self.bend, 0.0))

    def item(self, class_id: int, place: Place, shadow: bool = True) -> "Item":
        """Starts a new instance of a class."""
        self.instances += 1
        return Item(self, class_id, place, self.instances - 1, shadow)

    def paint(self, palette: str, pattern: str = "plain", size=(0.1, 0.1)) -> Paint:
        draw = self.draw
        accent = draw.color(draw.choice(("pale", "dark", "any")))
        return Paint(draw.color(palette), pattern, accent, size, draw.integer(1 << 20))

    def free(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Whether the ground is free there; if so, it is taken from now on."""
        x0, x1, z0, z1 = x - half_x, x + half_x, z - half_z, z + half_z
        if any(x0 < b and a < x1 and z0 < d and c < z1 for a, b, c, d in self.taken):
            return False
        self.taken.append((x0, x1, z0, z1))
        return True

    def shapes(self) -> Shapes:
        halves = np.maximum(np.array(self.halves), 1e-3)
        linear = np.array(self.rotations).transpose(0, 2, 1) / halves[:, :, None]
        offset = -np.einsum("pij,pj->pi", linear, np.array(self.centers))
        return Shapes(np.array(self.kinds), linear.astype(np.float32), offset.astype(np.float32))


@dataclass(frozen=True)
class Item:
    """One instance of a class, built of shapes around a place."""

    street: Street
    id: int
    place: Place
    instance: int
    shadow: bool

    def box(self, at: At, half: Half, paint: Paint, turn: float = 0.0, lean: float = 0.0) -> None:
        """A box around ``at`` = (right, up, front) with half sizes (right, up, front)."""
        self.put(BOX, self.place.world(*at), half, paint, self.place.rotation(turn, lean))

    def ball(self, at: At, half: Half, paint: Paint, turn: float = 0.0, lean: float = 0.0) -> None:
        """An ellipsoid, like ``box``."""
        self.put(SPHERE, self.place.world(*at), half, paint, self.place.rotation(turn, lean))

    def tube(self, at: At, half: Half, paint: Paint, turn: float = 0.0, lean: float = 0.0) -> None:
        """An upright cylinder, like ``box``."""
        self.put(CYLINDER, self.place.world(*at), half, paint, self.place.rotation(turn, lean))

    def wheel(self, at: At, radius: float, half_width: float, paint: Paint) -> None:
        """A cylinder whose axis points to the right."""
        over = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        rotation = self.place.rotation(0.0, 0.0) @ over
        self.put(CYLINDER, self.place.world(*at), (radius, half_width, radius), paint, rotation)

    def put(
        self, kind: int, center: np.ndarray, half: Half, paint: Paint, rotation: np.ndarray
    ) -> None:
        """Any shape, in the world's frame."""
        street = self.street
        if self.shadow:
            street.casters.setdefault(self.instance, []).append(len(street.kinds))
        street.kinds.append(kind)
        street.centers.append(center)
        street.halves.append(half)
        street.rotations.append(rotation)
        street.classes.append(self.id)
        street.instance.append(self.instance)
        street.paints.append(paint)
