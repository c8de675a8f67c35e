"""The stage of a streets7 scene: places along a street, the pieces that stand there, their paint.

Lengths in meters. The world is the camera's convention, x right, y down, z along the street; the
road's middle is x = 0 and its surface y = 0 at the camera. Pieces are built in their own frame
(right, up, front) around a ``Place`` on the ground, which may rise or fall further down the street.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from mtpsl.data.scenes.first import hashed, mix, noise, scaled, wave
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


def _asphalt(u, v, su, sv, seed, base, accent):
    """Lanes along v, ``su`` wide, dashed lines between them, on a road of half width ``sv``."""
    rough = 0.9 + 0.16 * noise(u * 6, v * 4, seed)
    patch = noise(u * 0.4, v * 0.1, seed + 2)
    lane = (u / su - (u / su).round()).abs() * su
    dash = (lane < 0.07) & (wave(v / 9) > 0.45) & (u.abs() < sv - 1.0)
    curb = ((u.abs() - sv + 0.35).abs() < 0.05) & (hashed(seed, seed, seed) < 0.4)
    worn = (dash | curb) * (0.5 + 0.5 * patch)
    return mix(scaled(base, rough - (patch > 0.72) * 0.08), accent, worn), None


def _slabs(u, v, su, sv, seed, base, accent):
    a, b = (u / su).floor(), (v / sv).floor()
    tint = 0.9 + 0.14 * hashed(a.long(), b.long(), seed) + 0.1 * noise(u, v * 0.3, seed)
    joint = (wave(u / su) > 0.94) | (wave(v / sv) > 0.94)
    return scaled(base, torch.where(joint, 0.78, tint)), None


def _grass(u, v, su, sv, seed, base, accent):
    share = 0.6 * noise(u * 2, v * 0.6, seed) + 0.4 * noise(u * 9, v * 5, seed + 1)
    return mix(base, accent, share * 0.45), None


def _facade(u, v, su, sv, seed, base, accent):
    a, b = (u / su).floor(), (v / sv).floor()
    across, up = u / su - a, v / sv - b
    broad = 0.2 + 0.2 * hashed(seed, seed + 1, seed)
    pane = ((across - 0.5).abs() < broad) & ((up - 0.5).abs() < 0.29)
    frame = ((across - 0.5).abs() < broad + 0.05) & ((up - 0.5).abs() < 0.34)
    shine = 0.6 + 1.5 * hashed(a.long(), b.long(), seed) * (0.4 + 0.6 * up)
    tone = 0.9 + 0.14 * noise(u * 0.5, v * 0.5, seed) - 0.06 * (up > 0.94)
    wall = scaled(base, torch.where(frame, tone * 1.12, tone))
    return mix(wall, scaled(accent, shine), pane.to(u.dtype)), None


def _brick(u, v, su, sv, seed, base, accent):
    rows = v / 0.28
    b = rows.floor()
    shifted = u / 0.6 + hashed(b.long(), b.long() * 0, seed)
    tint = 0.8 + 0.25 * hashed(shifted.floor().long(), b.long(), seed)
    wall = scaled(base, tint * (0.9 + 0.2 * noise(u * 0.6, v * 0.6, seed + 1)))
    a, c = (u / su).floor(), (v / sv).floor()
    pane = ((u / su - a - 0.5).abs() < 0.24) & ((v / sv - c - 0.5).abs() < 0.28) & (sv > 1.5)
    shine = 0.7 + 1.2 * hashed(a.long(), c.long(), seed + 2)
    return mix(wall, scaled(accent, shine), pane.to(u.dtype)), None


def _shop(u, v, su, sv, seed, base, accent):
    a = (u / su).floor()
    across = u / su - a
    pane = ((across - 0.5).abs() < 0.42) & (v < 1.4) & (v > -1.4)
    zero = a.long() * 0
    inside = 0.12 + 0.5 * hashed(a.long(), zero, seed) * noise(u * 2, v * 2, seed)
    board = (v > 1.7) & (v < 2.4)
    color = mix(base, accent, board * hashed(a.long(), zero + 1, seed))
    share = pane.to(u.dtype)
    return [c * (1 - share) + inside * share for c in color], None


def _tiles(u, v, su, sv, seed, base, accent):
    tint = 0.88 + 0.2 * hashed((u / su).floor().long(), (v / sv).floor().long(), seed)
    return scaled(base, tint), None


def _stripes(u, v, su, sv, seed, base, accent):
    on = (wave(u / su) > 0.5) | (wave(v / sv) > 0.8)
    return mix(base, accent, on * 0.6), None


def _leaves(u, v, su, sv, seed, base, accent):
    coarse, fine = noise(u / su * 0.6, v / sv * 0.6, seed), noise(u / su * 2, v / sv * 2, seed + 1)
    dark = ((fine * 0.6 + coarse * 0.4) < 0.42) * 0.5
    return mix(scaled(base, 0.6 + 0.75 * (fine * 0.5 + coarse * 0.5)), accent, dark), None


def _cloth(u, v, su, sv, seed, base, accent):
    return scaled(base, 0.82 + 0.3 * noise(u * 9, v * 9, seed)), None


def _sign(u, v, su, sv, seed, base, accent):
    spot = noise(u / su * 2.5, v / sv * 2.5, seed) > 0.55
    inner = (u.abs() < su * 0.75) & (v.abs() < sv * 0.75)
    return mix(base, accent, (spot & inner).to(u.dtype)), None


def _body(u, v, su, sv, seed, base, accent):
    seam = (wave(u / su * 0.5) > 0.985) * 0.35
    return scaled(base, (0.9 + 0.5 * v.clamp(-0.3, 0.3)) * (1 - seam)), None


def _cabin(u, v, su, sv, seed, base, accent):
    """Glass below the height ``su``, the roof's color above."""
    glass = (v < su) & (wave(u * 0.9) < 0.93)
    shine = 0.7 + 2.2 * (v + 0.2).clamp(0, 1) * noise(u * 2, v * 2, seed)
    return mix(base, scaled(accent, shine), glass.to(u.dtype)), None


def _bus(u, v, su, sv, seed, base, accent):
    """A row of windows in the upper half of ``sv``."""
    pane = (v > -0.05) & (v < sv * 0.36) & (wave(u / su) < 0.9)
    shine = 0.7 + 1.6 * noise(u, v * 2, seed)
    stripe = ((v + 0.7).abs() < 0.12) * hashed(seed, seed, seed)
    return mix(mix(base, [1 - c for c in base], stripe), scaled(accent, shine), pane * 1.0), None


def _glow(u, v, su, sv, seed, base, accent):
    return base, 0.8 + 0 * u


PATTERNS = {
    "asphalt": _asphalt,
    "slabs": _slabs,
    "grass": _grass,
    "facade": _facade,
    "brick": _brick,
    "shop": _shop,
    "tiles": _tiles,
    "stripes": _stripes,
    "leaves": _leaves,
    "cloth": _cloth,
    "sign": _sign,
    "body": _body,
    "cabin": _cabin,
    "bus": _bus,
    "glow": _glow,
}
