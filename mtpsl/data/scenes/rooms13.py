"""rooms13: generated rooms, the stand-in for NYUD-v2.

The same tasks, classes and counts as the real set, and statistics close to its own; every table
made from it says so. Scene i of a split is a function of (name, version, split, i) alone: the plan
of a room, its clutter, its camera and its light.
"""

import math
from collections.abc import Callable
from typing import final

import numpy as np
import torch
from torch import Tensor

from mtpsl import losses, tasks
from mtpsl.data.cache import Layout
from mtpsl.data.scenes import Arrays, Rendered, seeded
from mtpsl.data.scenes import rooms13_furniture as furniture
from mtpsl.data.scenes.raycast import Camera
from mtpsl.data.scenes.rooms13_render import Rendering, render
from mtpsl.data.scenes.rooms13_scene import CLASSES, ID, Draw, Paint, Room, Scene, Spot, Top

ROOMS = {
    "bedroom": 0.31,
    "living": 0.21,
    "dining": 0.15,
    "office": 0.17,
    "kitchen": 0.14,
    "bath": 0.09,
}
FACES = ("wall", "wall", "ceiling", "floor", "wall", "wall")  # -x, +x, -y (up), +y, -z, +z


def build(seed: np.random.SeedSequence) -> Scene:
    """The scene of a seed, whatever size it is rendered at."""
    draw = Draw(seed)
    room = Room(draw, draw.uniform(2.8, 5.8), draw.uniform(2.4, 3.0), draw.uniform(3.2, 6.4))
    if draw.chance(0.25):
        room.depth += draw.uniform(1.0, 5.0)
    _shell(room)
    room.camera_x = draw.uniform(-0.5, 0.5) * (room.width - 1.0)
    room.camera_z = -room.depth / 2 + draw.uniform(0.25, 1.1)
    room.taken.append(
        (room.camera_x - 0.4, room.camera_x + 0.4, -room.depth / 2, room.camera_z + 0.45)
    )
    kind = draw.choice(tuple(ROOMS), tuple(ROOMS.values()))
    _openings(room)
    for put in PLANS[kind](draw):
        put(room)
    _extras(room)
    _clutter(room)
    return _finish(room)


def _shell(room: Room) -> None:
    """The room's own box; its six faces get their rows in ``_finish``."""
    item = room.item("wall", Spot(0.0, 0.0, 0.0), shadow=False)
    half = (room.width / 2, room.height / 2, room.depth / 2)
    item.box((0, room.height / 2, 0), half, Paint((1.0, 1.0, 1.0)))


def _openings(room: Room) -> None:
    draw = room.draw
    for _ in range(draw.count(1.0)):
        furniture.window(room)
    if draw.chance(0.6):
        furniture.door(room)


Put = Callable[[Room], None]


def _bedroom(draw: Draw) -> list[Put]:
    more = [furniture.cabinet] * (1 + draw.chance(0.6)) + [furniture.chair] * draw.chance(0.3)
    return [furniture.bed, *([furniture.bed] * draw.chance(0.15)), *more]


def _living(draw: Draw) -> list[Put]:
    sofas = [furniture.sofa] * draw.choice((1, 2, 2))
    low = lambda room: furniture.table(room, 0.0, low=True, wall=0.0)  # noqa: E731
    screen = [furniture.television] * draw.chance(0.5)
    return [*sofas, *screen, *([low] * draw.chance(0.9)), furniture.shelf, furniture.cabinet]


def _dining(draw: Draw) -> list[Put]:
    dine = lambda room: furniture.table(room, 3.5, wall=0.1)  # noqa: E731
    return [dine, furniture.cabinet, *([furniture.shelf] * draw.chance(0.4)), furniture.cabinet]


def _office(draw: Draw) -> list[Put]:
    def desk(room: Room) -> None:
        before = len(room.tops)
        furniture.table(room, 1.5, wall=0.7)
        if len(room.tops) > before and draw.chance(0.75):
            furniture.desk_things(room, room.tops[-1])

    return [desk] * draw.choice((1, 2)) + [furniture.shelf] * 2 + [furniture.cabinet]


def _kitchen(draw: Draw) -> list[Put]:
    eat = lambda room: furniture.table(room, 2.5)  # noqa: E731
    counters = [furniture.kitchen] * draw.choice((1, 2, 2))
    return [furniture.appliance, *counters, furniture.appliance, *([eat] * draw.chance(0.4))]


def _bath(draw: Draw) -> list[Put]:
    return [furniture.bathroom, lambda room: furniture.cabinet(room, 0.85), furniture.cabinet]


PLANS: dict[str, Callable[[Draw], list[Put]]] = {
    "bedroom": _bedroom,
    "living": _living,
    "dining": _dining,
    "office": _office,
    "kitchen": _kitchen,
    "bath": _bath,
}


def _extras(room: Room) -> None:
    """What any room may have, whatever it is for."""
    draw = room.draw
    for put, mean in (
        (furniture.television, 0.26),
        (lambda r: furniture.table(r, 1.2), 0.45),
        (furniture.armchair, 0.4),
        (furniture.chair, 0.6),
        (furniture.sofa, 0.2),
        (furniture.shelf, 0.2),
        (furniture.cabinet, 3.0),
        (furniture.picture, 2.3),
    ):
        for _ in range(draw.count(mean)):
            put(room)


def _clutter(room: Room) -> None:
    draw = room.draw
    for _ in range(draw.count(draw.uniform(4, 9))):
        if room.tops:
            _small(room, draw.choice(room.tops))
    for _ in range(draw.count(3.6)):
        spot = room.on_floor(0.2, 0.2, tries=6)
        if spot is not None:
            _large(room, spot)


def _small(room: Room, top: Top) -> None:
    """One thing on a table, a cabinet or a bed."""
    draw = room.draw
    margin_x, margin_z = max(top.half_width - 0.12, 0.0), max(top.half_depth - 0.1, 0.0)
    spot = top.spot.shifted(
        draw.uniform(-1, 1) * margin_x, draw.uniform(-1, 1) * margin_z, draw.uniform(-1.5, 1.5)
    )
    kind = draw.choice(
        ("books", "lamp", "plant", "box", "bottle", "ball"), (0.8, 1.0, 0.5, 3.5, 2.5, 1.8)
    )
    if kind == "lamp":
        furniture.lamp(room, spot, top.up)
        return
    if kind == "plant":
        furniture.plant(room, spot, top.up, draw.uniform(0.5, 0.9))
        return
    item = room.item("books" if kind == "books" else "objects", spot)
    if kind == "books":
        up = top.up
        for _ in range(draw.choice((1, 2, 3, 4))):
            half = (draw.uniform(0.09, 0.14), draw.uniform(0.012, 0.03), draw.uniform(0.07, 0.11))
            item.box((0, up + half[1], 0), half, room.paint("any"), draw.normal(0, 0.25))
            up += 2 * half[1]
    elif kind == "box":
        half = (draw.uniform(0.05, 0.19), draw.uniform(0.04, 0.17), draw.uniform(0.05, 0.13))
        pattern = draw.choice(("plain", "stripes", "cloth", "art"))
        item.box((0, top.up + half[1], 0), half, room.paint("any", pattern, (0.08, 0.08)))
    elif kind == "bottle":
        thick, tall = draw.uniform(0.03, 0.07), draw.uniform(0.06, 0.16)
        paint = room.paint("any", draw.choice(("plain", "stripes")), (10.0, 0.12))
        item.tube((0, top.up + tall, 0), (thick, tall, thick), paint)
        item.tube((0, top.up + 2.3 * tall, 0), (thick * 0.4, tall * 0.3, thick * 0.4), paint)
    else:
        size = draw.uniform(0.05, 0.14)
        item.ball((0, top.up + size * 0.8, 0), (size, size * 0.8, size), room.paint("any", "cloth"))


def _large(room: Room, spot: Spot) -> None:
    """One thing that stands on the floor."""
    draw = room.draw
    kind = draw.choice(("carton", "bag", "bin", "lamp", "plant"), (4, 3, 2, 0.7, 0.7))
    if kind == "lamp":
        furniture.lamp(room, spot, 0.0)
    elif kind == "plant":
        furniture.plant(room, spot, 0.0, draw.uniform(1.0, 1.9))
    elif kind == "bin":
        item, r, h = room.item("objects", spot), draw.uniform(0.12, 0.2), draw.uniform(0.14, 0.28)
        item.tube((0, h, 0), (r, h, r), room.paint("any", "stripes", (10.0, 0.2)))
    elif kind == "bag":
        half = (draw.uniform(0.15, 0.28), draw.uniform(0.15, 0.3), draw.uniform(0.12, 0.2))
        paint = room.paint(draw.choice(("any", "dark")), "cloth")
        room.item("objects", spot).ball((0, half[1] * 0.9, 0), half, paint)
    else:
        item, up = room.item("objects", spot), 0.0
        for _ in range(draw.choice((1, 1, 2))):
            half = (draw.uniform(0.15, 0.28), draw.uniform(0.1, 0.25), draw.uniform(0.15, 0.24))
            paint = room.paint(draw.choice(("wood", "pale", "any")), "panels", (1.0, 0.4))
            item.box((0, up + half[1], 0), half, paint, draw.normal(0, 0.2))
            up += 2 * half[1]


def _faces(room: Room) -> list[Paint]:
    """Paint of the six faces of the room."""
    draw = room.draw
    wall = room.paint("pale" if draw.chance(0.8) else "any")
    if draw.chance(0.12):
        wall = room.paint("pale", "stripes", (draw.uniform(0.15, 0.4), 100.0))
        wall = Paint(wall.color, wall.pattern, tuple(0.9 * c for c in wall.color), wall.size)
    accent = room.paint("any") if draw.chance(0.2) else wall
    ceiling = Paint(tuple(draw.uniform(0.86, 0.93) for _ in range(3)))
    floor = draw.choice(
        (
            room.paint("wood", "planks", (1.1, draw.uniform(0.08, 0.16))),
            room.paint(draw.choice(("pale", "earth", "earth")), "cloth", (0.05, 0.05)),
            room.paint(draw.choice(("pale", "wood", "earth")), "tiles", (0.35, 0.35)),
        ),
        (0.45, 0.3, 0.25),
    )
    return [wall, wall, ceiling, floor, wall, accent]


def _camera(room: Room) -> Camera:
    """A person's view into the room, a little downwards."""
    draw = room.draw
    yaw = draw.normal(0, 0.36) - 0.35 * room.camera_x / room.width
    pitch, roll = draw.normal(0.232, 0.095), draw.normal(0, 0.03)
    forward = np.array(
        [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
    )
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = math.cos(roll), math.sin(roll)
    rotation = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    position = np.array([room.camera_x, -draw.uniform(1.2, 1.65), room.camera_z])
    return Camera(position, rotation, 0.81 * draw.uniform(0.94, 1.06))


def _finish(room: Room) -> Scene:
    draw = room.draw
    shells = np.arange(room.instances, room.instances + 6)
    instance = np.concatenate([room.instance, shells])
    classes = np.concatenate([room.classes, [ID[name] for name in FACES]]).astype(np.int64)
    lamp = np.array(
        [
            draw.uniform(-0.25, 0.25) * room.width,
            -room.height + 0.3,
            draw.uniform(-0.3, 0.2) * room.depth,
        ]
    )
    daylight = None
    if room.windows:
        daylight = room.windows[0].world(0.0, 1.6, 0.3)
    total = room.instances + 6
    chance = np.full(total, 0.11)
    chance[shells] = 0.06
    unlabeled = np.flatnonzero(draw.generator.random(total) < chance)
    shiny = [ID["window"], ID["tv"]]
    blind = np.isin(classes, shiny) & (draw.generator.random(total)[instance] < 0.5)
    warm = draw.uniform(0, 1)
    return Scene(
        shapes=room.shapes(),
        classes=classes,
        instance=instance,
        paints=room.paints + _faces(room),
        casters=list(room.casters.values()),
        camera=_camera(room),
        size=(room.width, room.height, room.depth),
        lamp=lamp,
        daylight=daylight,
        tint=np.array([1.0, 1.0 - 0.1 * warm, 1.0 - 0.25 * warm]),
        gain=draw.uniform(0.8, 1.1),
        unlabeled=unlabeled,
        blind=np.unique(instance[blind]),
    )


VERSION = 1
"""Changes with anything that decides a pixel or a label; frozen once results are recorded."""

SPLITS = {"train": 795, "test": 654}  # as in NYUD-v2
TASKS = tasks.TaskSet((tasks.semseg(CLASSES), tasks.depth(), tasks.normals()))


def scene(split: str, index: int) -> tuple[Scene, np.random.Generator]:
    """The scene at ``index`` of a split, and the source of its sensor noise."""
    return seeded(build, "rooms13", VERSION, split, index)


def render_image(
    split: str, index: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Rendering:
    """One image of a split with its labels, straight from the generator."""
    picture, noise = scene(split, index)
    return render(picture, height, width, noise, device)


@final
class Rooms13(Rendered):
    """Generated rooms with 13-class segmentation, depth and surface normals.

    About 150 kB per image at 96x128 in the cache. Arguments are those of ``Rendered``.
    """

    name = "rooms13"
    stands_for = "nyud"
    version = str(VERSION)
    splits = SPLITS
    tasks = TASKS

    @classmethod
    def layout(cls, height: int, width: int) -> Layout:
        return {
            "images": ((3, height, width), "uint8"),
            "semseg": ((height, width), "uint8"),
            "depth": ((height, width), "float16"),
            "normals": ((3, height, width), "float16"),
        }

    @classmethod
    def draw(
        cls, split: str, index: int, height: int, width: int, device: torch.device | str
    ) -> Arrays:
        picture = render_image(split, index, height, width, device)
        return {
            "images": picture.image,
            "semseg": picture.semseg,
            "depth": picture.depth,
            "normals": picture.normals,
        }

    def unpack(self, arrays: Arrays) -> tuple[Tensor, Arrays, Arrays]:
        semseg = arrays["semseg"].unsqueeze(1).long()
        depth = arrays["depth"].unsqueeze(1).float()
        normals = arrays["normals"].float()
        # Half precision leaves lengths off by up to 1e-3; NaN stays NaN.
        normals /= normals.square().sum(dim=1, keepdim=True).sqrt()
        valid = {
            "semseg": semseg != losses.IGNORE_INDEX,
            "depth": depth.isfinite(),
            "normals": normals[:, :1].isfinite(),
        }
        targets = {"semseg": semseg, "depth": depth, "normals": normals}
        return arrays["images"].float().div_(255), targets, valid
