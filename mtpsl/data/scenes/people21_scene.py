"""The stage of a people21 scene, and the labels that are read off its picture.

Lengths in meters. Everything is built in a frame of its own (right, up, front); the world is the
camera's convention, x right, y down, z away from the camera, with the ground at y = 0. Labels come
from grids of integers, or one elementwise operation at a time: the same bits on every device.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.data.scenes.first import noise
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


SMALLEST, LARGEST = 0.004, 0.55  # share of the picture that a salient instance takes
MOST_SALIENT = 3
FAINT = 0.45  # an instance below this share of the best score is not salient


def borders(instance: Tensor, marked: Tensor, reach: int) -> Tensor:
    """Pixels with another instance up to ``reach`` right of or below them.

    Args:
        instance: (H, W) int64.
        marked: (H, W) bool; a border counts where one of its sides is marked.
        reach: In pixels.
    """
    found = torch.zeros_like(marked)
    for k in range(1, reach + 1):
        for axis in (0, 1):
            size = instance.shape[axis] - k
            near, far = instance.narrow(axis, 0, size), instance.narrow(axis, k, size)
            either = marked.narrow(axis, 0, size) | marked.narrow(axis, k, size)
            found.narrow(axis, 0, size).logical_or_((near != far) & either)
    return found


def changes(context: Tensor) -> Tensor:
    """(H, W) bool: where the Laplacian of the context ids is not zero, as in the real set."""
    ids = F.pad(context.float()[None, None], (1, 1, 1, 1), mode="reflect")[0, 0]
    middle = ids[1:-1, 1:-1]
    around = ids[:-2, 1:-1] + ids[2:, 1:-1] + ids[1:-1, :-2] + ids[1:-1, 2:]
    return around != 4 * middle


def thin(lines: Tensor) -> Tensor:
    """Lines of one pixel: the parallel thinning of Guo and Hall (1989) until nothing changes.

    Args:
        lines: (H, W) bool.

    Returns:
        (H, W) bool, a subset.
    """
    kept = lines.clone()
    while True:
        before = kept
        for second in (False, True):
            kept = kept & ~_removable(kept, second)
        if torch.equal(kept, before):
            return kept


def _removable(lines: Tensor, second: bool) -> Tensor:
    p = F.pad(lines[None, None].to(torch.uint8), (1, 1, 1, 1))[0, 0].bool()
    n, s, w, e = p[:-2, 1:-1], p[2:, 1:-1], p[1:-1, :-2], p[1:-1, 2:]
    ne, nw, se, sw = p[:-2, 2:], p[:-2, :-2], p[2:, 2:], p[2:, :-2]
    crossings = sum(
        (~a & (b | c)).to(torch.uint8)
        for a, b, c in ((n, ne, e), (e, se, s), (s, sw, w), (w, nw, n))
    )
    one = sum((a | b).to(torch.uint8) for a, b in ((nw, n), (ne, e), (se, s), (sw, w)))
    other = sum((a | b).to(torch.uint8) for a, b in ((n, ne), (e, se), (s, sw), (w, nw)))
    neighbors = torch.minimum(one, other)
    keeps = (s | sw | ~nw) & w if second else (n | ne | ~se) & e
    return (crossings == 1) & (neighbors >= 2) & (neighbors <= 3) & ~keeps


def salient(image: Tensor, instance: Tensor, appeal: np.ndarray) -> Tensor:
    """What stands out, whatever its class: large, central, and of another color than the rest.

    Args:
        image: (3, H, W) uint8.
        instance: (H, W) int64 in [0, I).
        appeal: (I,) factor of every instance's score; 0 for scenery, which is never salient.

    Returns:
        (H, W) bool: the one to ``MOST_SALIENT`` instances with the best scores.
    """
    height, width = instance.shape
    ids, count = instance.cpu().numpy().ravel(), len(appeal)
    pixels = np.bincount(ids, minlength=count)
    share = pixels / ids.size
    y = ((np.arange(height) + 0.5) / height * 2 - 1) ** 2
    x = ((np.arange(width) + 0.5) / width * 2 - 1) ** 2
    near = (1 / (1 + 1.5 * (y[:, None] + x[None, :]))).ravel()
    center = np.bincount(ids, near, count) / np.maximum(pixels, 1)
    flat = image.cpu().numpy().reshape(3, -1)
    sums = np.stack([np.bincount(ids, channel, count) for channel in flat])
    inside = sums / np.maximum(pixels, 1)
    outside = (sums.sum(axis=1, keepdims=True) - sums) / np.maximum(ids.size - pixels, 1)
    contrast = np.linalg.norm(inside - outside, axis=0) / 255
    score = share**0.4 * center * (0.18 + contrast) * appeal
    score[(share < SMALLEST) | (share > LARGEST)] = 0
    best = np.argsort(-score, kind="stable")[:MOST_SALIENT]
    chosen = np.zeros(count, dtype=bool)
    chosen[best] = (score[best] > FAINT * score.max()) & (score[best] > 0)
    return torch.from_numpy(chosen).to(instance.device)[instance]


def distilled(mask: Tensor, seed: int) -> Tensor:
    """A mask as a network predicts it: thin pieces lost, corners round, borders a little off.

    Args:
        mask: (H, W) bool.
        seed: Of the errors, which are the same at every size of the picture.
    """
    height, width = mask.shape
    soft = mask.float()
    for _ in range(2):
        soft = _averaged(
            _averaged(soft, max(1, round(height / 64)), 0), max(1, round(width / 64)), 1
        )
    row = torch.arange(height, device=mask.device).view(-1, 1) / height
    column = torch.arange(width, device=mask.device) / width
    u, v = (row * 0 + column) * 9, (row + column * 0) * 9
    key = torch.full((height, width), seed, device=mask.device)
    level = 0.5 + (noise(u, v, key) - 0.5) * 0.25
    return soft > level


def _averaged(values: Tensor, reach: int, axis: int) -> Tensor:
    """The mean of 2 * reach + 1 neighbors along an axis, the border's value repeated outside."""
    size = values.shape[axis]
    first = values.narrow(axis, 0, 1).repeat_interleave(reach, axis)
    last = values.narrow(axis, size - 1, 1).repeat_interleave(reach, axis)
    padded = torch.cat([first, values, last], dim=axis)
    total = padded.narrow(axis, 0, size)
    for k in range(1, 2 * reach + 1):
        total = total + padded.narrow(axis, k, size)
    return total / (2 * reach + 1)
