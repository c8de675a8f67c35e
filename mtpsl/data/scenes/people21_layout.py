"""How a people21 scene is composed: one large subject, perhaps company, and a simple backdrop."""

import math
from dataclasses import dataclass

import numpy as np

from mtpsl.data.scenes.people21_scene import (
    CONTEXT_ID,
    CONTEXTS,
    ID,
    SCENERY,
    Frame,
    Scene,
    Stage,
    on_ground,
)
from mtpsl.data.scenes.people21_things import ANIMALS, animal, painted, person, thing
from mtpsl.data.scenes.raycast import Camera
from mtpsl.data.scenes.rooms13_scene import Draw, Paint


@dataclass(frozen=True)
class Kind:
    """How a class shows up as the subject of a picture."""

    weight: float  # how often
    size: float  # m, its extent
    up: float  # m, where its middle is
    fill: float  # median share of the picture's width that its extent takes
    indoors: float  # how often
    grounds: str  # outdoors
    poses: tuple[str, ...]  # of the living, or names of tables
    people: float  # how often a person is with it
    company: str  # of which one may be with it


KINDS = {
    "aeroplane": Kind(9, 17, 2.2, 1.0, 0, "road grass", ("aeroplane",), 0.3, "car"),
    "bicycle": Kind(9, 1.8, 0.55, 0.95, 0, "road soil", ("bicycle",), 0.6, "car"),
    "bird": Kind(9, 0.42, 0.18, 0.65, 0, "grass water", ("stand", "stand", "fly"), 0.1, "boat"),
    "boat": Kind(10, 5.2, 1.6, 0.75, 0, "water", ("boat, sail", "boat, motor"), 0.3, "bird"),
    "bottle": Kind(9, 0.32, 0.17, 0.75, 1, "grass", ("bottle",), 0.5, "pottedplant"),
    "bus": Kind(9, 9, 1.7, 0.95, 0, "road", ("bus",), 0.4, "car"),
    "car": Kind(8, 4.2, 0.75, 0.9, 0, "road soil", ("car",), 0.4, "bus bicycle"),
    "cat": Kind(9, 0.62, 0.2, 0.95, 0.9, "grass", ("stand", "lie", "sit"), 0.1, "chair sofa"),
    "chair": Kind(8, 1.0, 0.5, 0.75, 0.9, "grass", ("chair",), 0.4, "diningtable pottedplant"),
    "cow": Kind(9, 2.5, 0.85, 0.95, 0, "grass", ("stand", "graze"), 0.3, "cow"),
    "diningtable": Kind(8, 1.8, 0.5, 0.95, 1, "grass", ("diningtable",), 0.6, "chair bottle"),
    "dog": Kind(9, 0.95, 0.35, 0.95, 0.5, "grass soil", ("stand", "sit"), 0.4, "sofa chair"),
    "horse": Kind(9, 2.4, 1.0, 0.95, 0, "grass soil", ("stand", "stand", "graze"), 0.6, "horse"),
    "motorbike": Kind(9, 2.1, 0.6, 0.95, 0, "road soil", ("motorbike",), 0.6, "car"),
    "person": Kind(22, 1.75, 0.95, 1.0, 0.5, "grass road soil", ("stand", "walk"), 0.4, "dog"),
    "pottedplant": Kind(9, 1.1, 0.55, 0.8, 0.8, "road", ("pottedplant, bush", "pottedplant, palm"),
                        0.3, "chair"),
    "sheep": Kind(9, 1.3, 0.55, 0.85, 0, "grass", ("stand", "graze"), 0.2, "sheep dog"),
    "sofa": Kind(9, 2.3, 0.45, 0.9, 1, "grass", ("sofa",), 0.6, "tvmonitor pottedplant"),
    "train": Kind(9, 9, 2.0, 1.05, 0, "soil grass", ("train",), 0.4, "person"),
    "tvmonitor": Kind(9, 0.9, 0.33, 0.8, 1, "grass", ("tvmonitor",), 0.3, "chair bottle"),
}  # fmt: skip
SEATS = {  # where a person sits, in the piece's frame
    "horse": (0.0, 1.36, 0.05), "bicycle": (0.0, 0.84, -0.24), "motorbike": (0.0, 0.84, -0.3),
    "chair": (0.0, 0.45, 0.02), "sofa": (0.35, 0.45, 0.08),
}  # fmt: skip
HEIGHTS = {"cabinet": 0.86, "diningtable": 0.76}  # m, of what others stand on
OPEN = 150.0  # m, half the size of the world outdoors
FACING = "chair sofa tvmonitor diningtable bottle pottedplant person".split()


def build(seed: np.random.SeedSequence) -> Scene:
    """The scene of a seed, whatever size it is rendered at."""
    draw = Draw(seed)
    stage = Stage(draw)
    name = draw.choice(tuple(KINDS), tuple(kind.weight for kind in KINDS.values()))
    kind = KINDS[name]
    indoors, ground = draw.chance(kind.indoors), draw.choice(kind.grounds.split())
    focal, fill = draw.uniform(1.0, 1.4), kind.fill * math.exp(draw.normal(0, 0.2))
    distance = max(focal * kind.size / fill, 0.55 * kind.size + 0.15)
    places = [(name, 0.0, distance)]
    people, seated = draw.chance(kind.people), name in SEATS and draw.chance(0.6)
    others = ["person"] if people and not seated else []
    if draw.chance(0.3):
        others.append(draw.choice(kind.company.split()))
    if draw.chance(0.35):
        others.append(draw.choice(("box", "ball", "lamp" if indoors else "rock")))
    places += [(other, *_beside(draw, other, kind, distance, focal)) for other in others]
    reach = max(z for _, _, z in places) + 0.6 * kind.size
    wide = max(abs(x) for _, x, _ in places) + 0.5 * kind.size
    backdrop = _room(stage, reach, wide) if indoors else _outdoors(stage, reach, ground)
    middle, seat = _subject(stage, name, distance, ground)
    if people and seated:
        person(stage, seat, "sit" if name in ("chair", "sofa") else "ride")
    for other, x, z in places[1:]:
        _put(stage, other, x, z, ground)
    height = middle + distance * math.tan(draw.normal(0.14, 0.08))
    height = min(max(height, 0.15 if distance < 2 else 0.5), 2.2 if indoors else middle + 4)
    target = np.array([0.0, -middle, distance])
    return _finish(stage, backdrop, _look(draw, focal, target, height), indoors)


def _beside(
    draw: Draw, name: str, subject: Kind, distance: float, focal: float
) -> tuple[float, float]:
    """Where company stands: large in view, to a side, and not inside of the subject."""
    size = KINDS[name].size if name in KINDS else 0.2 * distance / focal
    z = max(focal * size / draw.uniform(0.6, 0.85), 0.6 * size + 0.3)
    radius = (0.2 if name == "person" else 0.5) * size + 0.5 * subject.size
    if abs(z - distance) < radius:
        z = distance + radius
    return draw.choice((-1, 1)) * draw.uniform(0.24, 0.36) * z / focal, z


def _subject(stage: Stage, name: str, distance: float, ground: str) -> tuple[float, Frame]:
    """Builds the subject -> the height of its middle, and where one would sit on it."""
    return _put(stage, name, 0.0, distance, ground)


def _put(stage: Stage, name: str, x: float, z: float, ground: str) -> tuple[float, Frame]:
    """One piece in a fitting pose -> the height of its middle, and where one would sit on it."""
    draw = stage.draw
    if name not in KINDS:
        size = 0.3 * z
        thing(stage, on_ground(x, z, draw.normal(3.1, 0.4)).moved(scale=min(size, 0.7)), name)
        return 0.0, on_ground(x, z, 0.0)
    kind, pose = KINDS[name], draw.choice(KINDS[name].poses)
    if name in FACING:
        yaw = math.pi + draw.normal(0, 0.35)
    elif name in ("bus", "car", "train"):
        yaw = math.pi + draw.choice((-1, 1)) * draw.uniform(0.3, 1.1)
    else:
        yaw = draw.choice((-1, 1)) * (math.pi / 2 + draw.normal(0.15, 0.4))
    base = 0.0
    if name in ("bottle", "tvmonitor"):
        support = draw.choice(("diningtable", "cabinet") if name == "bottle" else ("cabinet",))
        thing(stage, on_ground(x + draw.uniform(-0.2, 0.2), z, math.pi), support)
        base = HEIGHTS[support]
    flies = pose == "fly" or (name == "aeroplane" and draw.chance(0.6))
    if flies:
        base = draw.uniform(9, 20) if name == "aeroplane" else draw.uniform(0.8, 2.0)
    frame = on_ground(x, z, yaw, base)
    if flies:
        frame = frame.moved(pitch=draw.normal(0.1, 0.1), roll=draw.normal(0, 0.2))
    elif name == "aeroplane":
        frame = frame.moved((0, 1.9, 0))
    if name == "person":
        person(stage, frame, pose)
    elif name in ANIMALS:
        animal(stage, frame, name, pose)
    elif name == "bird":
        size = draw.uniform(0.9, 1.3)
        thing(stage, frame.moved(scale=size), f"bird, {pose}")
    else:
        if name == "train":
            thing(stage, frame, "track", shadow=False)
        thing(stage, frame, pose)
    return base + kind.up, frame.moved(SEATS.get(name, (0.0, 0.0, 0.0)))


@dataclass(frozen=True)
class Backdrop:
    """What encloses a scene, and its light."""

    contexts: tuple[str, ...]  # of the faces left, right, down, up, back and front
    paints: tuple[Paint, ...]
    light: np.ndarray  # (3,) position
    tint: np.ndarray  # (3,)
    power: float


def _room(stage: Stage, reach: float, wide: float) -> Backdrop:
    """A room with the camera near one end."""
    draw = stage.draw
    yaw, high = draw.normal(0, 0.2), draw.uniform(2.5, 3.0)
    far = reach + draw.uniform(0.3, 1.2)
    z = (far + 1.6) / 2
    x = max(wide + 0.6, draw.uniform(1.8, 3.0)) + abs(math.sin(yaw)) * z
    frame = on_ground(0.0, far - z, yaw)
    wall = painted(draw, "cream white sky pink lime tan".replace("sky pink lime ", ""))
    stage.piece("wall", frame, shadow=False).box((0, high / 2, 0), (x, high / 2, z), wall)
    floor = painted(
        draw, draw.choice(("wood bark, planks .5", "grey soil, turf .1", "tan silver, tiles .4"))
    )
    at = draw.uniform(-1.2, 1.2)
    for name in draw.choice((("picture",), ("window",), ("curtain",), ("door",), ("cabinet",), ())):
        thing(stage, frame.moved((at, 0, z - 0.02), yaw=math.pi * (name == "cabinet")), name, False)
    lamp = frame.at((draw.uniform(-0.4, 0.4) * x, high - 0.2, -0.3 * z))
    ceiling = painted(draw, "white")
    return Backdrop(
        ("wall", "wall", "floor", "ceiling", "wall", "wall"),
        (wall, wall, floor, ceiling, wall, wall),
        lamp, np.array([1.0, 0.95, 0.88]), draw.uniform(0.3, 0.45),
    )  # fmt: skip


GROUNDS = {
    "grass": "grass/tan, turf .15", "road": "road, speckle .15", "soil": "soil, turf .2",
    "water": "water/white, ripple .8",
}  # fmt: skip


def _outdoors(stage: Stage, reach: float, ground: str) -> Backdrop:
    """Open ground, with scenery behind ``reach`` m."""
    draw = stage.draw
    sky = painted(draw, "sky/white")
    shell = stage.piece("sky", on_ground(0.0, 0.0, 0.0), shadow=False)
    shell.box((0, OPEN, 0), (OPEN, OPEN, OPEN), sky)
    floor = painted(draw, GROUNDS[ground])
    for name in draw.choice(
        (("tree",), ("building",), ("fence",), ("mountain",), ("tree", "mountain"), ())
    ):
        z = {"mountain": 110.0, "fence": reach + 1.5}.get(name, reach + draw.uniform(6, 14))
        count = 2 if name == "tree" else 1
        for k in range(count):
            x = draw.uniform(-0.4, 0.4) * z + (k - 0.5) * 3 * (count > 1)
            thing(stage, on_ground(x, z, draw.normal(0, 0.1)), name, False)
    azimuth, rise = draw.uniform(-1.3, 1.3), draw.uniform(0.5, 1.1)
    away = (
        math.cos(rise) * math.sin(azimuth),
        -math.sin(rise),
        -math.cos(rise) * math.cos(azimuth),
    )
    sun = 70 * np.array(away) + [0.0, 0.0, reach]
    return Backdrop(
        ("sky", "sky", ground, "sky", "sky", "sky"), (sky, sky, floor, sky, sky, sky),
        sun, np.array([1.0, 0.97, 0.9]), draw.uniform(0.35, 0.55),
    )  # fmt: skip


def _look(draw: Draw, focal: float, target: np.ndarray, height: float) -> Camera:
    """A camera ``height`` m above the origin that looks about at ``target``."""
    position = np.array([0.0, -height, 0.0])
    away = float(np.linalg.norm(target - position)) / focal
    aim = target + np.array([draw.normal(0, 0.05), draw.normal(0, 0.04), 0.0]) * away
    forward = (aim - position) / np.linalg.norm(aim - position)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    roll = draw.normal(0, 0.02)
    c, s = math.cos(roll), math.sin(roll)
    rotation = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    return Camera(position, rotation, focal)


def _finish(stage: Stage, backdrop: Backdrop, camera: Camera, indoors: bool) -> Scene:
    draw = stage.draw
    faces = list(dict.fromkeys(backdrop.contexts))  # the same context, the same instance
    first = len(stage.context)
    context = np.array([*stage.context, *(CONTEXT_ID[name] for name in faces)], dtype=np.int64)
    instance = [*stage.instance, *(first + faces.index(name) for name in backdrop.contexts)]
    classes = np.array([ID.get(CONTEXTS[c], 0) for c in context], dtype=np.int64)
    thing = ~np.isin(context, [CONTEXT_ID[name] for name in SCENERY])
    appeal = np.where(thing, 0.8 + 0.4 * draw.generator.random(len(context)), 0.0)
    doubtful = (classes > 0) & (draw.generator.random(len(classes)) < 0.03)
    return Scene(
        shapes=stage.shapes(),
        part=np.array([*stage.part, *([0] * 6)], dtype=np.int64),
        instance=np.array(instance, dtype=np.int64),
        paints=[*stage.paints, *backdrop.paints],
        classes=classes,
        context=context,
        casters=list(stage.casters.values()),
        camera=camera,
        indoors=indoors,
        light=backdrop.light,
        tint=backdrop.tint,
        power=backdrop.power,
        gain=draw.uniform(0.85, 1.05),
        unlabeled=np.flatnonzero(doubtful),
        appeal=appeal,
        wobble=draw.integer(1 << 20),
    )
