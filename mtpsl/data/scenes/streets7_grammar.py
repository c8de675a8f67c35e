"""How a streets7 scene is laid out: the street, what lines it, the traffic, the camera, the light.

Materials are typical of their class, yet no color belongs to one class alone. What the place of a
pixel cannot tell varies widely: tilt, heading and focal length of the camera, slopes, curves, the
width and length of the street, and how near the next car, passer-by and house are. Depth is
therefore read from the picture or not at all. The height of the camera and the sizes of things
vary little, so that the picture tells it.
"""

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from mtpsl.data.scenes.raycast import Camera
from mtpsl.data.scenes.stage import (
    Draw,
    Frame,
    Light,
    Paint,
    Scene,
    Sky,
    Stage,
    aim,
    on_ground,
    turn,
)

Pair = tuple[float, float]  # from, to

CLASSES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
VOID = "void"  # the name of what has no class, such as the car that carries the camera
STRETCHES = (2.0, 13.0, 27.0, 47.0, 75.0, 120.0)  # m, where straight ground ends
SHADOWS = 40.0  # m, no shadow of anything beyond

COLORS = (  # of cars and coats
    *((0.72, 0.1, 0.1), (0.1, 0.25, 0.6), (0.85, 0.86, 0.88), (0.6, 0.62, 0.65)),
    *((0.1, 0.1, 0.12), (0.85, 0.7, 0.1), (0.1, 0.35, 0.3), (0.85, 0.5, 0.1)),
)
VEHICLES = {  # half width, half length, height and radius of a wheel, m
    "car": (0.9, (1.9, 2.35), (1.42, 1.65), 0.33),
    "van": (1.0, (2.4, 3.2), (2.1, 2.9), 0.38),
    "bus": (1.25, (4.5, 7.0), (2.9, 3.2), 0.48),
}
POSTS = {"lamp": ((5.0, 8.0), 0.12), "sign": ((2.6, 3.6), 0.08), "signal": ((3.2, 4.2), 0.1)}
"""Height and radius, m."""
SIGNS = ((0.1, 0.25, 0.65), (0.75, 0.1, 0.1), (0.95, 0.75, 0.1))
SIGNALS = ((0.95, 0.2, 0.12), (0.95, 0.65, 0.1), (0.2, 0.9, 0.5))  # from the top
GLASS, RUBBER, WHITE = (0.12, 0.15, 0.18), Paint((0.06, 0.06, 0.065)), Paint((0.92, 0.92, 0.92))
FRONT, REAR = Paint((0.95, 0.95, 0.85), "glow"), Paint((0.8, 0.08, 0.05), "glow")
AXLE = turn(roll=math.pi / 2)  # of a wheel


@dataclass(frozen=True)
class Style:
    """Ranges of what makes a street, in meters, and chances."""

    road: Pair  # half width
    pavement: Pair
    setback: Pair  # from the pavement to the houses
    lawn: float  # chance that the setback is one
    trees: float  # chance of one at every place along the curb
    sides: tuple[float, float, float]  # weights of house, wood and gap


STYLES = {
    "lane": Style((2.8, 4.2), (0.8, 1.6), (0, 0.8), 0.05, 0.15, (9, 0.5, 0.5)),
    "city": Style((5.0, 8.0), (2.0, 4.0), (0, 2), 0.1, 0.35, (8, 1, 1)),
    "suburb": Style((3.5, 6.0), (1.2, 2.5), (2, 7), 0.85, 0.5, (5, 3, 0.7)),
    "avenue": Style((6.0, 11.0), (2.0, 4.0), (2, 9), 0.8, 0.8, (2.5, 5, 0.7)),
}


@dataclass
class Street(Stage):
    """A stage along a street that may turn and climb."""

    road: float = 0.0  # half width
    edge: float = 0.0  # where the pavement ends
    end: float = 0.0  # what it runs towards
    course: np.ndarray = field(default_factory=lambda: np.zeros((4, 2)))  # x, z, heading, height

    def lay(self, curve: float, bend: float, grade: float) -> None:
        """Turns it right by ``curve`` rad a meter; from ``bend`` m on it climbs by ``grade``."""
        s = np.arange(200.0)
        heading = curve * np.clip(s - 4, 0, 60)
        x, z = (np.concatenate([[0], np.cumsum(f(heading))[:-1]]) for f in (np.sin, np.cos))
        self.course = np.stack([x, z, heading, grade * np.clip(s - bend, 0, None)])

    def at(self, right: float, along: float, yaw: float = 0.0) -> Frame:
        """A frame on the ground, ``along`` meters down the street; yaw 0 faces down it."""
        x, z, heading, up = self._middle(along)
        c, f = math.cos(heading), math.sin(heading)
        return on_ground(x + right * c, z - right * f, yaw + heading, up)

    def _middle(self, along: float) -> list[float]:
        """x, z, heading and height of the street's middle."""
        i, share = int(along), along % 1
        return (self.course[:, i] * (1 - share) + self.course[:, i + 1] * share).tolist()

    def slab(self, name: str, across: Pair, along: Pair, up: float, paint: Paint) -> None:
        """Straight ground between two distances, its top ``up`` above the street."""
        (x0, x1), (start, end) = across, along
        (ax, az, _, low), (bx, bz, _, high) = self._middle(start), self._middle(end)
        flat, yaw = math.hypot(bx - ax, bz - az), math.atan2(bx - ax, bz - az)
        slope = math.atan2(high - low, flat)
        middle = on_ground((ax + bx) / 2, (az + bz) / 2, yaw, (low + high) / 2)
        reach = flat / 2 / math.cos(slope) + 0.3 * (start > STRETCHES[0])
        half = (abs(x1 - x0) / 2, 0.5, reach)
        piece = self.piece(name, middle.moved(pitch=slope), shadow=False)
        piece.box(((x0 + x1) / 2, up - 0.5, 0.0), half, paint)


def build(seed: np.random.SeedSequence) -> Scene:
    """The scene of a seed, whatever size it is rendered at."""
    draw = Draw(seed)
    style = STYLES[draw.choice(tuple(STYLES), (0.25, 0.3, 0.25, 0.2))]
    road, end = draw.uniform(*style.road), 35 * math.exp(draw.uniform(0, 1.2))
    edge = road + draw.uniform(*style.pavement)
    street = Street(draw, (*CLASSES, VOID), road=road, edge=edge, end=end)
    grade = float(np.clip(draw.normal(0, 0.02), -0.05, 0.05))
    street.lay(draw.normal(0, 0.005), draw.uniform(6, 40), grade)
    air = Paint((1.0, 1.0, 1.0), "sky")
    street.piece("sky", on_ground(0.0, 0.0), shadow=False).box((0, 0, 0), (900, 900, 900), air)
    camera = _camera(street)
    lawns = {side: draw.chance(style.lawn) for side in (-1, 1)}
    _ground(street, lawns)
    for side in (-1, 1):
        _line(street, style, side)
        _curb(street, style, side)
        _parked(street, side)
    _traffic(street, float(camera.position[0]))
    _people(street)
    light = _light(draw)
    sunny = light.power > 1
    low = {street.names.index(name) for name in ("vehicle", "human")}
    casters = [
        shapes
        for instance, shapes in street.casters.items()
        if street.centers[shapes[0]][2] < SHADOWS and (sunny or street.classes[instance] in low)
    ]
    return street.scene([("sky", air)] * 6, camera, light, casters)


def _camera(street: Street) -> Camera:
    """Looks down the street from the right lane; often the hood of its car is seen."""
    draw = street.draw
    yaw, pitch, height = draw.normal(0, 0.1), draw.uniform(-0.11, 0.18), draw.uniform(1.25, 1.4)
    forward = turn(yaw, -pitch)[:, 2] * (1, -1, 1)
    position = np.array([draw.uniform(0.1, 0.7) * street.road, -height, 0.0])
    camera = aim(position, forward, draw.normal(0, 0.012), draw.uniform(0.9, 1.3))
    street.free(on_ground(float(position[0]), 0.0), 1.2, 4.5)
    if draw.chance(0.75):
        frame = Frame(position, camera.rotation @ np.diag([1.0, -1.0, 1.0]))
        top = 1.5 * 0.25 / camera.focal * draw.uniform(0.8, 0.93)
        paint, hood = Paint((draw.uniform(0.03, 0.2),) * 3), street.piece(VOID, frame, shadow=False)
        hood.ball((0, -top - 0.3, 1.5), (1.1, 0.3, 0.9), paint)
    return camera


def _ground(street: Street, lawns: dict[int, bool]) -> None:
    draw, road, edge = street.draw, street.road, street.edge
    gray, stone, size = draw.uniform(0.24, 0.42), draw.uniform(0.5, 0.68), draw.uniform(0.7, 1.0)
    ink = (0.85,) * 3 if draw.chance(0.85) else (gray,) * 3
    asphalt = street.plain((gray,) * 3, "asphalt", (draw.uniform(3.0, 3.4), road), ink)
    slabs = street.plain((stone, stone * 0.96, stone * 0.9), "slabs", (size, size))
    turf = street.plain((0.32, 0.43, 0.17), "turf", (1, 1))
    for along in pairwise(STRETCHES):
        street.slab("flat", (-45, 45), along, 0.0, asphalt)
        for side, lawn in lawns.items():
            outer = edge if lawn else edge + 12
            street.slab("flat", (side * road, side * outer), along, 0.14, slabs)
            if lawn:
                street.slab("nature", (side * edge, side * (edge + 25)), along, 0.16, turf)


def _line(street: Street, style: Style, side: int) -> None:
    """Houses and woods behind the pavement, and what the street runs towards."""
    draw, edge, setback = street.draw, street.edge, street.draw.uniform(*style.setback)
    along = STRETCHES[0]
    while along < street.end + 5:
        length = draw.uniform(8, 18) * (1.0 if along < 40 else 1.7)
        middle, kind = along + length / 2, draw.choice(("house", "wood", "gap"), style.sides)
        if kind == "house":
            half = draw.uniform(4.5, 7)
            deep = length / 2 - draw.choice((0.0, 0.0, 1.2))
            house(street, street.at(side * (edge + setback + half), middle), half, deep)
        elif kind == "wood":
            half = draw.uniform(2.5, 4.5)
            wood(street, street.at(side * (edge + 1 + half), middle), half, length / 2)
        if kind != "house" and draw.chance(0.6):  # something behind it, instead of the sky
            off = edge + draw.uniform(17, 27)
            house(street, street.at(side * off, middle), 5.0, length / 2 + 3)
        along += length
    if side > 0:
        end = street.at(draw.uniform(-5, 5), street.end + 8)
        if draw.chance(0.6):
            house(street, end, draw.uniform(15, 25), 8.0)
        elif draw.chance(0.9):
            wood(street, end, 20.0, 8.0)


def _curb(street: Street, style: Style, side: int) -> None:
    """Trees, lamps and signs at the edge of the pavement."""
    draw = street.draw
    along, step, tall = draw.uniform(6, 14), draw.uniform(7, 13), draw.uniform(5.5, 8.0)
    while along < min(50, street.end - 3):
        frame = street.at(side * (street.road + draw.uniform(0.5, 0.9)), along)
        if draw.chance(style.trees):
            tree(street, frame, tall * draw.uniform(0.85, 1.15))
        elif draw.chance(0.6):
            post(street, frame, draw.choice(("lamp", "sign", "sign", "signal")), side)
        along += step * draw.uniform(0.8, 1.2)


def _parked(street: Street, side: int) -> None:
    draw = street.draw
    if street.road < 4.4 or draw.chance(0.3):
        return
    along, often = draw.uniform(6, 16), draw.uniform(0.2, 0.8)
    while along < min(45, street.end - 3):
        yaw = (0.0 if side > 0 else math.pi) + draw.normal(0, 0.03)
        frame = street.at(side * (street.road - 1.15), along, yaw)
        if draw.chance(often) and street.free(frame, 1.0, 2.5):
            vehicle(street, frame, draw.choice(("car", "van"), (8, 1)))
        along += draw.uniform(5.4, 7)


def _traffic(street: Street, lane: float) -> None:
    """Often somebody drives ahead in the camera's lane; others come towards it or cross."""
    draw = street.draw
    ahead = draw.chance(0.6)
    for i in range(ahead + draw.choice((0, 1, 2, 3))):
        kind = draw.choice(("car", "van", "bus"), (6, 1.6, 1.2))
        along = 6 + min(30, street.end - 14) * draw.uniform(0, 1) ** 1.5 + 6 * (kind == "bus")
        right, yaw = lane + draw.normal(0, 0.3), draw.normal(0, 0.05)
        if i >= ahead and draw.chance(0.8):
            right, yaw = -draw.uniform(0.25, 0.6) * street.road, yaw + math.pi
        elif i >= ahead:
            right = draw.uniform(-0.6, 0.6) * street.road
            yaw = draw.choice((-1, 1)) * math.pi / 2 + draw.normal(0, 0.2)
        frame = street.at(right, along, yaw)
        if street.free(frame, 1.3, 5.5 if kind == "bus" else 2.7):
            vehicle(street, frame, kind)


def _people(street: Street) -> None:
    """On the pavements and on the road, alone or in pairs, on foot or on a bicycle."""
    draw = street.draw
    for _ in range(draw.choice((0, 1, 2, 3, 4))):
        along = 4.5 + 16 * draw.uniform(0, 1) ** 1.3
        right = draw.choice((-1, 1)) * draw.uniform(street.road + 0.3, street.edge - 0.2)
        if draw.chance(0.35):
            right = draw.uniform(-0.9, 0.9) * street.road
        yaw = draw.choice((0.0, math.pi, math.pi / 2, -math.pi / 2)) + draw.normal(0, 0.3)
        for i in range(draw.choice((1, 1, 2))):
            frame = street.at(right + 0.7 * i, along + draw.normal(0, 0.3), yaw)
            if street.free(frame, 0.3, 0.3):
                person(street, frame, rides=draw.chance(0.15))


def _light(draw: Draw) -> Light:
    sunny, level = draw.chance(0.5), draw.uniform(0.8, 1.0)
    high = draw.uniform(0.6, 1.1) if sunny else 1.45  # rad, elevation
    blue = draw.uniform(0.4, 1.0) if sunny else draw.uniform(0.0, 0.3)
    return Light(
        position=300 * turn(draw.uniform(0, 2 * math.pi), high)[:, 2] * (1, -1, 1),
        power=draw.uniform(1.1, 1.7) if sunny else draw.uniform(0.25, 0.45),
        ambient=0.62,
        tint=(1.0, 0.95, 0.86),
        radius=2.0,
        shaded=50.0,
        sky=Sky(
            low=(level * (0.80 - 0.12 * blue), level * (0.86 - 0.05 * blue), level * 0.92),
            high=(level * (0.78 - 0.5 * blue), level * (0.84 - 0.33 * blue), level * 0.88),
            clouds=0.7,
            haze=draw.uniform(400, 1200),
        ),
        gain=draw.uniform(0.8, 1.05),
    )


# ---------------------------------------------------------------------- pieces


def house(street: Street, frame: Frame, half_right: float, half_front: float) -> None:
    draw = street.draw
    piece, glass = street.piece("construction", frame), draw.uniform(0.12, 0.3)
    tall = draw.choice((draw.uniform(4, 7), draw.uniform(7, 16)), (1, 2))
    cell = (draw.uniform(2.0, 2.8), draw.uniform(2.8, 3.2))
    color = draw.color(draw.choice(("pale", "pale", "earth", "brick")))
    paint = street.plain(color, "facade", cell, (glass, glass * 1.08, glass * 1.2))
    piece.box((0, tall / 2 - 1, 0), (half_right, tall / 2 + 1, half_front), paint)
    if tall < 11 and draw.chance(0.7):
        roof = street.plain(draw.color(draw.choice(("brick", "stone"))), "tiles", (0.6, 0.5))
        piece.box((0, tall + 0.5, 0), (half_right + 0.3, 0.5, half_front + 0.2), roof)


def _leaves(street: Street) -> Paint:
    grain, autumn = street.draw.uniform(0.4, 0.8), street.draw.chance(0.06)
    return street.plain(street.draw.color("earth" if autumn else "green"), "leaves", (grain,) * 2)


def tree(street: Street, frame: Frame, tall: float) -> None:
    draw, piece, leaves = street.draw, street.piece("nature", frame), _leaves(street)
    trunk, thick = tall * draw.uniform(0.3, 0.4), 0.08 + tall * draw.uniform(0.015, 0.025)
    wide, high = tall * draw.uniform(0.24, 0.34), (tall - trunk) / 2
    bark = street.plain((0.3, 0.22, 0.15), "grain", (0.2, 0.5))
    piece.tube((0, trunk * 0.6 - 0.5, 0), (thick, trunk * 0.6 + 0.5, thick), bark)
    for _ in range(2):
        at = (draw.normal(0, 0.25) * wide, trunk + high * draw.uniform(0.8, 1.2), 0.0)
        piece.ball(at, (wide, high, wide), leaves)


def wood(street: Street, frame: Frame, half_right: float, half_front: float) -> None:
    """A mass of crowns, such as a park."""
    draw, piece, leaves = street.draw, street.piece("nature", frame), _leaves(street)
    for i in (-0.5, 0.5):
        tall, right = draw.uniform(2.5, 6.5), draw.uniform(-0.3, 0.3) * half_right
        half = (half_right, tall, half_front * draw.uniform(0.6, 0.8))
        piece.ball((right, tall * 0.7, half_front * i), half, leaves)


def post(street: Street, frame: Frame, kind: str, side: int) -> None:
    """A street lamp, a traffic light or a sign that faces the camera."""
    draw, piece, metal = street.draw, street.piece("object", frame), Paint((0.45, 0.46, 0.48))
    heights, thick = POSTS[kind]
    tall = draw.uniform(*heights)
    piece.tube((0, tall / 2 - 0.2, 0), (thick, tall / 2 + 0.2, thick), metal)
    if kind == "lamp":
        piece.box((-side * 0.8, tall, 0), (1.0, 0.1, 0.16), metal)
    elif kind == "sign":
        size, high = draw.uniform(0.4, 0.7), draw.uniform(0.8, 1.2)
        piece.box((0, tall - 0.2, -0.1), (size, size * high, 0.03), Paint(draw.choice(SIGNS)))
        mark = (size * draw.uniform(0.2, 0.7), size * high * draw.uniform(0.2, 0.7), 0.03)
        piece.box((0, tall - 0.2, -0.13), mark, WHITE)
    else:
        piece.box((0, tall - 0.4, -0.15), (0.25, 0.6, 0.15), RUBBER)
        lit = draw.choice((0, 1, 2))
        at = (0, tall - 0.04 - 0.36 * lit, -0.3)
        piece.ball(at, (0.16, 0.16, 0.05), Paint(SIGNALS[lit], "glow"))


def person(street: Street, frame: Frame, rides: bool = False) -> None:
    """Somebody who walks, or rides a bicycle, which is a vehicle."""
    draw = street.draw
    if rides:
        bicycle = street.piece("vehicle", frame)
        bicycle.box((0, 0.62, 0), (0.04, 0.05, 0.5), Paint(draw.choice(COLORS)))
        for z in (-0.52, 0.52):
            bicycle.tube((0, 0.34, z), (0.34, 0.04, 0.34), RUBBER, axes=AXLE)
        frame = frame.moved((0, 0.25, -0.1), pitch=-0.15)
    piece = street.piece("human", frame.moved(scale=draw.normal(1.72, 0.08)))
    skin, broad, stride = draw.uniform(0.45, 1.0), draw.uniform(0.13, 0.155), draw.uniform(0, 0.13)
    coat = street.plain(draw.choice(COLORS), "cloth")
    trousers = street.plain(draw.color("dark"), "cloth")
    piece.ball((0, 0.92, 0), (0.06, 0.08, 0.065), Paint((0.78 * skin, 0.58 * skin, 0.47 * skin)))
    piece.ball((0, 0.65, 0), (broad, 0.22, 0.095), coat)
    for x in (-1, 1):
        piece.bar((x * broad / 2, 0.5, 0), (x * broad / 2, 0, x * stride), 0.055, trousers)
        piece.bar((x * broad, 0.8, 0), (x * broad, 0.44, -x * stride), 0.036, coat)


def vehicle(street: Street, frame: Frame, kind: str) -> None:
    """A car, or a van or bus, which is a box with a row of windows."""
    draw, piece = street.draw, street.piece("vehicle", frame)
    body, (wide, longs, heights, radius) = draw.choice(COLORS), VEHICLES[kind]
    long, tall, belt = draw.uniform(*longs), draw.uniform(*heights), 0.95
    if kind == "car":
        piece.box((0, belt / 2 + 0.13, 0), (wide, belt / 2 - 0.13, long), street.plain(body))
        cabin = street.plain(body, "cabin", (0.68 * (tall - belt), 1.0), GLASS)
        piece.ball((0, belt, -0.25), (wide * 0.9, tall - belt, long * 0.62), cabin)
    else:
        windows = street.plain(body, "cabin", (0.36 * tall, 0.05), GLASS)
        piece.box((0, tall / 2 + 0.2, 0), (wide, tall / 2 - 0.2, long), windows)
    detail, away = replace(piece, shadow=False), frame.axes[2, 2] > 0
    lamp, end = (REAR, -long) if away else (FRONT, long)  # those that can be seen
    for x in (-1, 1):
        detail.box((x * 0.75 * wide, belt - 0.2, end), (0.17, 0.11, 0.03), lamp)
        for z in (-0.6, 0.6):
            at = (x * 0.9 * wide, radius, z * long)
            detail.tube(at, (radius, 0.3 * radius, radius), RUBBER, axes=AXLE)
