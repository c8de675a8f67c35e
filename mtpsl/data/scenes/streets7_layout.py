"""How a streets7 scene is laid out: the street, what lines it, the traffic, the camera, the light.

Drawn so that statistics come close to those of Cityscapes, as ``tests/acceptance`` checks.
"""

import math
from dataclasses import dataclass

import numpy as np

from mtpsl.data.scenes import streets7_pieces as pieces
from mtpsl.data.scenes.raycast import BOX, SPHERE, Camera
from mtpsl.data.scenes.rooms13_scene import Draw, Paint
from mtpsl.data.scenes.streets7_scene import ID, VOID, Place, Scene, Street

FOCAL = 2262 / 2048  # image widths
CAMERA_HEIGHT = 1.22  # m
PITCH = 0.038  # rad, a little downwards
START, END = 3.0, 150.0  # m, nothing is put before and behind
SHADOWS = 40.0  # m, no shadow of anything beyond


@dataclass(frozen=True)
class Style:
    """What lines a street. Weights of what fills the next stretch behind the sidewalk."""

    stretches: dict[str, float]
    setback: tuple[float, float]  # m between sidewalk and houses
    trees: float  # chance of one at every place for it along the curb
    green: float  # chance that the setback is a lawn
    parked: float  # chance of a car at every place for one
    people: float  # mean number
    traffic: float  # mean number


STYLES = {
    "city": Style(
        {"building": 12, "wall": 0.4, "wood": 0.5, "gap": 0.8},
        (0, 2), 0.35, 0.1, 0.45, 14.0, 2.6,
    ),
    "suburb": Style(
        {"building": 5, "wall": 1.2, "hedge": 1.4, "wood": 1.3, "gap": 0.5},
        (2, 7), 0.5, 0.8, 0.35, 6.5, 1.8,
    ),
    "avenue": Style(
        {"building": 4, "wood": 3, "hedge": 1, "wall": 0.5, "gap": 0.4},
        (1, 8), 0.8, 0.7, 0.28, 7.5, 2.8,
    ),
}  # fmt: skip


def build(seed: np.random.SeedSequence) -> Scene:
    """The scene of a seed, whatever size it is rendered at."""
    draw = Draw(seed)
    style = STYLES[draw.choice(tuple(STYLES), (0.42, 0.27, 0.31))]
    street = Street(
        draw,
        road=draw.uniform(4.0, 9.0),
        pavement=draw.uniform(1.5, 4.5),
        bend=draw.uniform(12, 60),
        grade=float(np.clip(draw.normal(0, 0.018), -0.04, 0.04)),
    )
    sky = street.item(ID["sky"], street.place(0.0, 0.0), shadow=False)
    sky.put(BOX, np.zeros(3), (900.0, 900.0, 900.0), Paint((1.0, 1.0, 1.0)), np.eye(3))
    camera = _camera(street)
    _carrier(street, camera)
    _ground(street, style)
    for side in (-1, 1):
        _line(street, style, side)
        _curbside(street, style, side)
        _parked(street, style, side)
    _end(street)
    _traffic(street, style, float(camera.position[0]))
    _people(street, style)
    return _finish(street, camera)


def _camera(street: Street) -> Camera:
    draw = street.draw
    yaw, pitch, roll = draw.normal(0, 0.055), draw.normal(PITCH, 0.0175), draw.normal(0, 0.008)
    forward = np.array(
        [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
    )
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = math.cos(roll), math.sin(roll)
    rotation = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    x = draw.uniform(0.1, 0.5) * street.road
    height = CAMERA_HEIGHT * draw.uniform(0.9, 1.12)
    return Camera(np.array([x, -height, 0.0]), rotation, FOCAL)


def _carrier(street: Street, camera: Camera) -> None:
    """The hood of the car that carries the camera, and the lane it needs."""
    draw = street.draw
    item = street.item(VOID, street.place(0.0, 0.0), shadow=False)
    value = draw.uniform(0.03, 0.3)
    below = draw.uniform(0.275, 0.31)
    center = camera.position + camera.rotation @ np.array([0.0, below + 0.3, 1.5])
    paint = Paint((value, value, value))
    item.put(SPHERE, center, (1.05, 0.3, 0.9), paint, camera.rotation)
    street.free(float(camera.position[0]), 0.0, 1.1, 6.5)


def _ground(street: Street, style: Style) -> None:
    draw, road, curb = street.draw, street.road, street.road + street.pavement
    value = draw.uniform(0.2, 0.45)
    marks = (0.8, 0.8, 0.78) if draw.chance(0.75) else (value, value, value)
    lane = draw.uniform(2.8, 3.5)
    warm = draw.uniform(0.94, 1.0)
    asphalt = Paint((value, value, value * warm), "asphalt", marks, (lane, road), _seed(draw))
    _slab(street, "flat", -30, 30, 0.0, asphalt, wide=6 * street.bend)
    size = draw.uniform(0.4, 1.2)
    value *= draw.uniform(0.9, 1.6)
    stone = (value, value * draw.uniform(0.93, 1.0), value * draw.uniform(0.86, 0.98))
    slabs = Paint(stone, "slabs", stone, (size, size), _seed(draw))
    for side in (-1, 1):
        _slab(street, "flat", side * road, side * curb, 0.12, slabs)
        if draw.chance(style.green):
            lawn = Paint((0.3, 0.38, 0.18), "grass", (0.45, 0.42, 0.25), (1, 1), _seed(draw))
            _slab(street, "nature", side * curb, side * (curb + 14), 0.14, lawn)
        elif draw.chance(0.5):
            _slab(street, "flat", side * curb, side * (curb + 14), 0.12, slabs)
        if road > 5.5 and draw.chance(0.25):  # a strip between road and sidewalk
            lawn = Paint((0.28, 0.36, 0.17), "grass", (0.42, 0.4, 0.24), (1, 1), _seed(draw))
            _slab(street, "nature", side * road, side * (road + 1.2), 0.15, lawn)


def _seed(draw: Draw) -> int:
    return draw.integer(1 << 20)


def _slab(
    street: Street, name: str, x0: float, x1: float, up: float, paint: Paint, wide: float = 0.0
) -> None:
    """Ground between two x, level as far as the bend and sloping from there.

    Narrow near the camera: what reaches behind it is tried for every ray, which takes time.

    Args:
        wide: Half width behind the bend, if larger.
    """
    item = street.item(ID[name], Place((x0 + x1) / 2, street.bend, 0.0, 0.0), shadow=False)
    half, thick, reach = abs(x1 - x0) / 2, 0.5, 200.0
    near = (street.bend - START) / 2
    item.box((0, up - thick, -near), (half, thick, near), paint)
    slope = math.atan(street.grade)
    s, c = math.sin(slope), math.cos(slope)
    at = (0, up + reach * s - thick * c, reach * c + thick * s)
    item.box(at, (max(half, wide), thick, reach), paint, lean=-slope)


def _line(street: Street, style: Style, side: int) -> None:
    """Houses, walls and greens behind the sidewalk, one stretch after the other."""
    draw = street.draw
    edge = street.road + street.pavement
    z = START
    setback = draw.uniform(*style.setback)
    while z < END:
        length = draw.uniform(8, 24) * (1.0 if z < 60 else 1.6)
        kind = draw.choice(tuple(style.stretches), tuple(style.stretches.values()))
        middle = z + length / 2
        if kind == "building":
            half_width = draw.uniform(4.5, 8)
            off = edge + setback + draw.uniform(0, 0.8) + half_width
            place = street.place(side * off, middle)
            pieces.building(street, place, half_width, length / 2 - draw.choice((0.02, 0.02, 1.5)))
            if setback > 1.5 and draw.chance(0.6):
                front = street.place(side * (edge + 0.4), middle)
                put = pieces.hedge if draw.chance(0.6) else pieces.wall
                put(street, front, length / 2)
            if setback > 2.5:
                for _ in range(draw.count(1.2)):
                    garden = street.place(
                        side * (edge + draw.uniform(0.8, setback)), z + draw.uniform(0, length)
                    )
                    pieces.bush(street, garden)
        elif kind == "wood":
            half_width = draw.uniform(2.5, 5)
            place = street.place(side * (edge + 1 + half_width), middle)
            pieces.wood(street, place, half_width, length / 2)
            _backdrop(street, side, edge + 14, middle, length / 2)
        elif kind in ("wall", "hedge"):
            place = street.place(side * (edge + 0.5), middle)
            getattr(pieces, kind)(street, place, length / 2)
            tall = draw.uniform(4, 9)
            spot = street.place(side * (edge + draw.uniform(3, 6)), middle)
            pieces.tree(street, spot, tall)
            _backdrop(street, side, edge + 12, middle, length / 2)
        else:  # a side street
            length = min(length, 14)
            _backdrop(street, side, edge + draw.uniform(12, 30), z + length / 2, length / 2)
        z += length


def _backdrop(street: Street, side: int, off: float, z: float, half: float) -> None:
    """Something behind a gap, mostly, that the sky does not reach down to the ground there."""
    draw = street.draw
    if draw.chance(0.55):
        pieces.building(street, street.place(side * (off + 5), z + 4), 5.0, half + 6)
    elif draw.chance(0.8):
        pieces.wood(street, street.place(side * (off + 5), z + 4), 5.0, half + 6)


def _curbside(street: Street, style: Style, side: int) -> None:
    """Trees, lamps and signs between the road and the sidewalk."""
    draw = street.draw
    z, step, tall = draw.uniform(6, 12), draw.uniform(5.5, 10), draw.uniform(5.0, 11.0)
    avenue = draw.chance(0.6)
    while z < 80:
        x = side * (street.road + draw.uniform(0.4, 0.9))
        place = street.place(x, z)
        if avenue and draw.chance(style.trees):
            pieces.tree(street, place, tall * draw.uniform(0.8, 1.2))
        elif draw.chance(0.72):
            kind = draw.choice(("lamp", "sign", "signal", "bollards"), (3.0, 4.0, 1.2, 0.7))
            if kind == "bollards":
                pieces.bollards(street, place)
            elif kind == "sign":
                pieces.sign(street, place)
            else:
                getattr(pieces, kind)(street, place, side)
        z += step * draw.uniform(0.7, 1.3) * (1 if z < 50 else 1.5)


def _parked(street: Street, style: Style, side: int) -> None:
    draw = street.draw
    z = draw.uniform(7, 18)
    if street.road < 4.6 or draw.chance(0.2):
        return
    while z < 85:
        if draw.chance(style.parked):
            yaw = (0.0 if side > 0 else math.pi) + draw.normal(0, 0.03)
            x = side * (street.road - draw.uniform(1.0, 1.25))
            if street.free(x, z, 1.0, 2.5):
                put = pieces.van if draw.chance(0.1) else pieces.car
                put(street, street.place(x, z, yaw))
        z += draw.uniform(5.3, 7.5)


def _end(street: Street) -> None:
    """What the street runs towards, and sometimes a bridge across it."""
    draw = street.draw
    if draw.chance(0.05):
        pieces.bridge(street, draw.uniform(30, 80))
    place = street.place(draw.uniform(-10, 10), draw.uniform(70, 130))
    if draw.chance(0.6):
        pieces.building(street, place, draw.uniform(12, 25), 8.0, draw.uniform(9, 22))
    elif draw.chance(0.9):
        pieces.wood(street, place, 18.0, 6.0)


def _traffic(street: Street, style: Style, camera_x: float) -> None:
    draw = street.draw
    for _ in range(draw.count(draw.uniform(0, 2 * style.traffic))):
        z = 11 + 62 * draw.uniform(0, 1) ** 1.3
        oncoming = draw.chance(0.45)
        x = -draw.uniform(0.25, 0.5) * street.road if oncoming else camera_x + draw.normal(0, 0.5)
        yaw = (math.pi if oncoming else 0.0) + draw.normal(0, 0.05)
        if draw.chance(0.07):
            x, yaw = draw.uniform(-0.6, 0.6) * street.road, draw.choice((-1, 1)) * math.pi / 2
        kind = draw.choice(("car", "van", "bus", "cyclist"), (6, 1, 0.7, 1.3))
        half_x, half_z = {"cyclist": (0.4, 0.9), "bus": (1.4, 7.0)}.get(kind, (1.1, 2.6))
        if abs(math.sin(yaw)) > 0.7:
            half_x, half_z = half_z, half_x
        if kind == "bus":
            z += 8
        if street.free(x, z, half_x, half_z):
            getattr(pieces, kind)(street, street.place(x, z, yaw))


def _people(street: Street, style: Style) -> None:
    """On the sidewalks, alone or in groups, and some on the road."""
    draw = street.draw
    left = draw.count(draw.uniform(0, 2 * style.people))
    while left > 0:
        group = min(left, draw.choice((1, 1, 2, 3)))
        z = 7 + 42 * draw.uniform(0, 1) ** 1.4
        if draw.chance(0.82):
            across = street.road + draw.uniform(0.3, 0.9) * street.pavement
            x = draw.choice((-1, 1)) * across
        else:
            x = draw.uniform(-1, 1) * street.road
        yaw = draw.choice((0.0, math.pi, math.pi / 2)) + draw.normal(0, 0.3)
        for i in range(group):
            spot = (x + 0.6 * i + draw.normal(0, 0.1), z + draw.normal(0, 0.4))
            if street.free(*spot, 0.25, 0.25):
                place = street.place(*spot, yaw)
                pieces.person(street, place, child=draw.chance(0.1))
        left -= group
    for _ in range(draw.count(0.25)):  # bicycles on the sidewalk
        x = draw.choice((-1, 1)) * (street.road + 0.4 * street.pavement)
        z = draw.uniform(7, 30)
        if street.free(x, z, 0.4, 0.9):
            pieces.cyclist(street, street.place(x, z, draw.uniform(-1, 1)))


def _finish(street: Street, camera: Camera) -> Scene:
    draw = street.draw
    total = street.instances
    classes = np.array(street.classes)
    chance = draw.generator.random(total)
    named = np.zeros(total, dtype=np.int64)
    named[street.instance] = classes
    static = np.isin(named, [ID[n] for n in ("construction", "object", "nature")])
    glossy = named == ID["vehicle"]
    sunny = draw.chance(0.5)
    high = draw.uniform(0.45, 1.1) if sunny else 1.45  # rad, elevation
    around = draw.uniform(0, 2 * math.pi)
    sun = 300 * np.array(
        [math.cos(high) * math.cos(around), -math.sin(high), math.cos(high) * math.sin(around)]
    )
    sun[2] += 20
    blue = draw.uniform(0.2, 1.0) if sunny else draw.uniform(0.0, 0.25)
    level = draw.uniform(0.55, 1.0)
    air = level * np.array([0.78 - 0.1 * blue, 0.84 - 0.05 * blue, 0.88])
    zenith = level * np.array([0.76 - 0.5 * blue, 0.82 - 0.35 * blue, 0.87 - 0.05 * blue])
    return Scene(
        shapes=street.shapes(),
        classes=classes,
        instance=np.array(street.instance),
        paints=street.paints,
        casters=_casters(street, sunny),
        camera=camera,
        sun=sun,
        shine=draw.uniform(1.2, 2.4) if sunny else draw.uniform(0.2, 0.45),
        haze=draw.uniform(150, 700),
        air=air,
        zenith=zenith,
        clouds=_seed(draw),
        gain=draw.uniform(0.55, 1.05),
        unlabeled=np.flatnonzero(static & (chance < 0.05)),
        blind=np.flatnonzero(glossy & (chance < 0.06)),
    )


def _casters(street: Street, sunny: bool) -> list[list[int]]:
    """What casts a shadow: everything near; without the sun, only what shades its own ground."""
    low = (ID["vehicle"], ID["human"])
    return [
        shapes
        for shapes in street.casters.values()
        if street.centers[shapes[0]][2] < SHADOWS and (sunny or street.classes[shapes[0]] in low)
    ]
