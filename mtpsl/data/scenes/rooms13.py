"""rooms13: generated rooms, the stand-in for NYUD-v2.

The same tasks, classes and counts as the real set; every table made from it says so. A room is
planned for what it is used for and furnished with few, large pieces of materials that are typical
of their class; the camera stands near its rear wall.
"""

import math
from collections.abc import Callable
from typing import final

import numpy as np
from torch import Tensor

from mtpsl import tasks
from mtpsl.data.scenes import Arrays, Rendered, voided
from mtpsl.data.scenes import rooms13_pieces as pieces
from mtpsl.data.scenes.raycast import Camera
from mtpsl.data.scenes.render import Surface, borders, chosen
from mtpsl.data.scenes.stage import Draw, Light, Paint, Room, Scene, aim, on_ground

CLASSES = tuple(
    "bed books ceiling chair floor furniture objects picture sofa table tv wall window".split()
)
USES = {"bed": 0.28, "living": 0.25, "dining": 0.15, "office": 0.16, "kitchen": 0.08, "bath": 0.08}
UNLABELED = 0.06  # chance of an instance that the annotator left out
BLIND = 0.4  # chance of shiny things that the depth sensor does not see
RANGE, GRAZING, DARK = 9.5, 0.12, 12  # m, cosine, of 255: beyond these the sensor sees nothing

Put = Callable[[Room], None]


def _plan(draw: Draw) -> list[Put]:
    """What is put into a room, in this order."""
    use = draw.choice(tuple(USES), tuple(USES.values()))
    maybe = lambda p, put: [put] * draw.chance(p)  # noqa: E731
    low = lambda room: pieces.table(room, 0.0, low=True, wall=0.0)  # noqa: E731
    desk = lambda room: pieces.table(room, 1.2, wall=0.7)  # noqa: E731
    dine = lambda room: pieces.table(room, 3.0, wall=0.05)  # noqa: E731
    armchair = lambda room: pieces.sofa(room, 0.33, "chair")  # noqa: E731
    plan: dict[str, list[Put]] = {
        "bed": [pieces.bed, pieces.cabinet],
        "living": [pieces.sofa, *maybe(0.6, pieces.television), *maybe(0.7, low), pieces.shelf],
        "dining": [dine, pieces.cabinet, *maybe(0.4, pieces.shelf)],
        "office": [desk, pieces.shelf, *maybe(0.5, pieces.cabinet)],
        "kitchen": [pieces.kitchen, pieces.appliance, *maybe(0.5, desk)],
        "bath": [pieces.bathroom, lambda room: pieces.cabinet(room, 0.85)],
    }
    more = {pieces.television: 0.18, armchair: 0.3, pieces.chair: 0.35, pieces.sofa: 0.15}
    more |= {pieces.shelf: 0.2, pieces.cabinet: 0.4, pieces.picture: 1.4, pieces.standing: 1.3}
    return plan[use] + [put for put, mean in more.items() for _ in range(draw.count(mean))]


def compose(seed: np.random.SeedSequence) -> Scene:
    """The scene of a seed, whatever size it is rendered at."""
    draw = Draw(seed)
    width, height = draw.uniform(2.6, 3.8), draw.uniform(2.1, 2.6)
    depth = 2.4 + 3.2 * draw.uniform(0.0, 1.0) ** 2  # most rooms are small
    room = Room(draw, CLASSES, width=width, height=height, depth=depth)
    shell = room.piece("wall", on_ground(0.0, 0.0), shadow=False)
    shell.box((0, height / 2, 0), (width / 2, height / 2, depth / 2), Paint((1.0, 1.0, 1.0)))
    x = room.camera_x = draw.uniform(-0.4, 0.4) * (width - 1.0)
    z = room.camera_z = -depth / 2 + draw.uniform(0.2, 0.5)
    room.taken.append((x - 0.4, x + 0.4, -depth / 2, z + 0.7))
    for _ in range(draw.count(0.9)):
        pieces.window(room)
    if draw.chance(0.4):
        pieces.door(room)
    for put in _plan(draw):
        put(room)
    for _ in range(draw.count(2.5) if room.tops else 0):
        pieces.lying(room)
    return room.scene(_faces(room), _camera(room), _light(room))


def _faces(room: Room) -> list[tuple[str, Paint]]:
    draw = room.draw
    foot = draw.choice(((0.9, 0.9, 0.88), (0.45, 0.32, 0.22)))
    size = (draw.uniform(0.3, 0.6), room.height / 2)
    tone = draw.uniform(0.78, 0.86)
    color = (tone, tone * draw.uniform(0.93, 1.0), tone * draw.uniform(0.85, 1.0))
    wall = room.plain(color, "wall", size, foot)
    floors = (
        room.paint("wood", "planks", (1.1, draw.uniform(0.1, 0.16))),
        room.paint("earth", "cloth", (0.1, 0.1)),
        room.paint("earth", "tiles", (0.4, 0.4)),
    )
    floor, side = draw.choice(floors, (0.5, 0.3, 0.2)), ("wall", wall)
    ceiling = room.plain((draw.uniform(0.9, 0.95),) * 3)
    return [side, side, ("floor", floor), ("ceiling", ceiling), side, side]


def _camera(room: Room) -> Camera:
    """A person's view into the room, a little downwards."""
    draw = room.draw
    yaw = draw.normal(0, 0.08) - 0.35 * room.camera_x / room.width
    pitch, roll = draw.normal(0.21, 0.04), draw.normal(0, 0.01)
    flat = math.cos(pitch)
    forward = np.array([math.sin(yaw) * flat, math.sin(pitch), math.cos(yaw) * flat])
    position = np.array([room.camera_x, -draw.uniform(1.4, 1.55), room.camera_z])
    return aim(position, forward, roll, 0.74 * draw.uniform(0.97, 1.03))


def _light(room: Room) -> Light:
    """From the left, above and behind the camera: sides of a thing differ, and so do the walls."""
    draw = room.draw
    side, behind = -room.width / 2 - draw.uniform(0.8, 1.0), room.camera_z - draw.uniform(0.1, 0.3)
    return Light(
        position=np.array([side, -room.height - 0.3, behind]),
        power=2.9,
        fade=0.12,
        radius=0.12,
        ambient=0.4,
        cool=0.6,
        tint=(1.0, 0.95, draw.uniform(0.78, 0.84)),
        gain=draw.uniform(0.95, 1.05),
    )


VERSION = "2"
"""Changes with anything that decides a pixel or a label; frozen once results are recorded."""

SPLITS = {"train": 795, "test": 654}  # as in NYUD-v2
TASKS = tasks.TaskSet((tasks.semseg(CLASSES), tasks.depth(), tasks.normals()))
SHINY = [CLASSES.index(name) for name in ("window", "tv")]


@final
class Rooms13(Rendered):
    """Generated rooms with 13-class segmentation, depth and surface normals.

    About 150 kB per image at 96x128 in the cache. Arguments are those of ``Rendered``.
    """

    name = "rooms13"
    stands_for = "nyud"
    version = VERSION
    splits = SPLITS
    tasks = TASKS

    compose = staticmethod(compose)

    @staticmethod
    def labels(scene: Scene, seen: Surface, image: Tensor, noise: np.random.Generator) -> Arrays:
        shiny = np.isin(scene.classes, SHINY) & (scene.lots[:, 1] < BLIND)
        hole = (seen.cosine < GRAZING) | (seen.depth > RANGE) | (image[1] < DARK)
        hole |= chosen(seen.instance, shiny)
        void = chosen(seen.instance, scene.lots[:, 0] < UNLABELED)
        void |= borders(seen.instance, max(1, round(len(seen.depth) / 128)))
        labels = {"depth": seen.depth, "normals": seen.normals}
        known = {task: label.masked_fill(hole, float("nan")) for task, label in labels.items()}
        return {"semseg": voided(seen.classes, void), **known}
