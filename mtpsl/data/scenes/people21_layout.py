"""How a people21 scene is composed: one large subject, perhaps company, and a simple backdrop."""

import math
from dataclasses import dataclass

import numpy as np

from mtpsl.data.scenes.people21_things import ANIMALS, CONTEXTS, animal, painted, person, thing
from mtpsl.data.scenes.stage import Draw, Frame, Light, Paint, Scene, Sky, Stage, aim, on_ground

Place = tuple[float, float]  # x, z
Faces = list[tuple[str, Paint]]  # see ``Stage.scene``


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
    "aeroplane": Kind(11, 18, 2.6, 0.9, 0, "road grass", ("aeroplane",), 0.3, "car"),
    "bicycle": Kind(9, 1.8, 0.55, 0.95, 0, "road soil", ("bicycle",), 0.6, "car"),
    "bird": Kind(9, 0.42, 0.18, 0.65, 0, "grass water", ("stand", "stand", "fly"), 0.1, "bird"),
    "boat": Kind(12, 5.2, 1.6, 0.75, 0, "water", ("boat, sail", "boat, motor"), 0.4, "boat"),
    "bottle": Kind(9, 0.32, 0.17, 0.9, 1, "grass", ("bottle",), 0.5, "pottedplant"),
    "bus": Kind(9, 9, 1.7, 0.95, 0, "road", ("bus",), 0.4, "car"),
    "car": Kind(8, 4.2, 0.75, 0.9, 0, "road soil", ("car",), 0.4, "bus bicycle"),
    "cat": Kind(9, 0.62, 0.2, 0.95, 0.9, "grass", ("stand", "lie", "sit"), 0.1, "chair sofa"),
    "chair": Kind(8, 1.0, 0.5, 0.75, 0.9, "grass", ("chair",), 0.4, "diningtable pottedplant"),
    "cow": Kind(10, 2.5, 0.85, 0.95, 0, "grass", ("stand", "graze"), 0.3, "cow"),
    "diningtable": Kind(8, 1.8, 0.5, 0.95, 1, "grass", ("diningtable",), 0.6, "chair"),
    "dog": Kind(9, 0.95, 0.35, 0.95, 0.5, "grass soil", ("stand", "sit"), 0.4, "sofa chair"),
    "horse": Kind(12, 2.4, 1.0, 1.0, 0, "grass soil", ("stand", "stand", "graze"), 0.6, "horse"),
    "motorbike": Kind(11, 2.1, 0.6, 0.95, 0, "road soil", ("motorbike",), 0.6, "car"),
    "person": Kind(22, 1.75, 1.0, 1.25, 0.5, "grass road soil", ("stand", "walk"), 0.4, "dog"),
    "pottedplant": Kind(9, 1.1, 0.55, 0.8, 0.8, "road", ("pottedplant, bush", "pottedplant, palm"),
                        0.3, "chair"),
    "sheep": Kind(9, 1.3, 0.55, 0.85, 0, "grass", ("stand", "graze"), 0.2, "sheep dog"),
    "sofa": Kind(9, 2.3, 0.45, 0.9, 1, "grass", ("sofa",), 0.6, "chair pottedplant"),
    "train": Kind(9, 9, 2.0, 1.05, 0, "soil grass", ("train",), 0.4, "person"),
    "tvmonitor": Kind(11, 0.9, 0.33, 0.8, 1, "grass", ("tvmonitor",), 0.3, "chair"),
}  # fmt: skip
SEATS = {  # where a person sits, in the piece's frame
    "horse": (0.0, 1.36, 0.05), "bicycle": (0.0, 0.84, -0.24), "motorbike": (0.0, 0.84, -0.3),
    "chair": (0.0, 0.45, 0.02), "sofa": (0.35, 0.45, 0.08), "boat": (0.0, 1.1, -1.2),
}  # fmt: skip
HEIGHTS = {"cabinet": 0.86, "diningtable": 0.76}  # m, of what others stand on
OPEN = 150.0  # m, half the size of the world outdoors
FLOORS = ("wood, planks .5", "bark brown, planks .5", "clay, tiles .4")
GROUNDS = {
    "grass": "grass/tan, turf .15", "road": "road, speckle .15", "soil": "soil, turf .2",
    "water": "water/white, ripple .8",
}  # fmt: skip
BEHIND = ("tree", "tree tree", "building", "fence", "mountain", "tree mountain", "")
FACING = "chair sofa tvmonitor diningtable bottle pottedplant person".split()


def build(seed: np.random.SeedSequence) -> Scene:
    """The scene of a seed, whatever size it is rendered at."""
    draw = Draw(seed)
    stage = Stage(draw, CONTEXTS)
    name = draw.choice(tuple(KINDS), tuple(kind.weight for kind in KINDS.values()))
    kind = KINDS[name]
    indoors, ground = draw.chance(kind.indoors), draw.choice(kind.grounds.split())
    focal, fill = draw.uniform(1.0, 1.4), kind.fill * math.exp(draw.normal(0.1, 0.2))
    people, water = draw.chance(kind.people), ground == "water" and not indoors
    seated = name in SEATS and (water or draw.chance(0.6))
    above = 0.35 if people and seated else 0.0  # m, where the middle of the picture is, then
    distance = max(focal * (kind.size + above) / fill, 0.55 * kind.size + 0.15)
    others = ["person"] if people and not (seated or water) else []
    if draw.chance(0.3):
        others.append(draw.choice(kind.company.split()))
    if draw.chance(0.35) and not water:
        others.append(draw.choice(("box", "ball", "lamp" if indoors else "rock")))
    places = [(other, *_beside(draw, other, kind, distance, focal)) for other in others]
    reach = max([distance, *(z for _, _, z in places)]) + 0.6 * kind.size
    wide = max([0.0, *(abs(x) for _, x, _ in places)]) + 0.5 * kind.size
    faces, light = _room(stage, reach, wide) if indoors else _outdoors(stage, reach, ground)
    middle, seat = _put(stage, name, 0.0, distance)
    if people and seated:
        person(stage, seat, "sit" if name in ("boat", "chair", "sofa") else "ride")
    for place in places:
        _put(stage, *place)
    middle += above + (0.3 * max(fill - 1, 0) if name == "person" else 0)  # a close-up: the head
    height = middle + distance * math.tan(draw.normal(0.13, 0.07))
    height = min(max(height, 0.15 if distance < 2 else 0.5), 2.0)
    look = np.array([draw.normal(0, 0.05), draw.normal(0, 0.04), 0.0]) * distance / focal
    look += [0.0, height - middle, distance]
    camera = aim(np.array([0.0, -height, 0.0]), look, draw.normal(0, 0.02), focal)
    return stage.scene(faces, camera, light)


def _beside(draw: Draw, name: str, subject: Kind, distance: float, focal: float) -> Place:
    """Where company stands: large in view, to a side, and not inside of the subject."""
    size = KINDS[name].size if name in KINDS else 0.25 * distance / focal
    nearest, whole = focal * size / draw.uniform(0.75, 1.0), focal * size / 0.6
    apart = (0.2 if name == "person" else 0.5) * size + 0.5 * subject.size
    ahead = distance - apart > nearest and distance > 3
    z = min(whole, distance - apart) if ahead else max(whole, distance + apart)
    return draw.choice((-1, 1)) * draw.uniform(0.24, 0.36) * z / focal, z


def _put(stage: Stage, name: str, x: float, z: float) -> tuple[float, Frame]:
    """One piece in a fitting pose -> the height of its middle, and where one would sit on it."""
    draw = stage.draw
    if name not in KINDS:
        frame = on_ground(x, z, draw.normal(math.pi, 0.4)).moved(scale=min(0.3 * z, 0.7))
        thing(stage, frame, name)
        return 0.0, frame
    kind, pose = KINDS[name], draw.choice(KINDS[name].poses)
    if name in FACING:
        yaw = math.pi + draw.normal(0, 0.35)
    elif name in ("bus", "car", "train"):
        yaw = math.pi + draw.choice((-1, 1)) * draw.uniform(0.3, 1.1)
    else:
        yaw = draw.choice((-1, 1)) * (math.pi / 2 + draw.normal(0.15, 0.4))
    base, tilt = 0.0, {}
    if name in ("bottle", "tvmonitor"):
        support = draw.choice(("diningtable", "cabinet") if name == "bottle" else ("cabinet",))
        thing(stage, on_ground(x + draw.uniform(-0.2, 0.2), z, math.pi), support)
        base = HEIGHTS[support]
    elif pose == "fly" or (name == "aeroplane" and draw.chance(0.6)):
        base = draw.uniform(9, 20) if name == "aeroplane" else draw.uniform(0.8, 2.0)
        tilt = {"pitch": draw.normal(0.1, 0.1), "roll": draw.normal(0, 0.2)}
    elif name == "aeroplane":
        base = 2.1
    frame = on_ground(x, z, yaw, base).moved(**tilt)
    if name == "person":
        person(stage, frame, pose)
    elif name in ANIMALS:
        animal(stage, frame, name, pose)
    else:
        if name == "train":
            thing(stage, frame, "track", shadow=False)
        thing(stage, frame, f"bird, {pose}" if name == "bird" else pose)
    return base + kind.up, frame.moved(SEATS.get(name, (0.0, 0.0, 0.0)))


def _room(stage: Stage, reach: float, wide: float) -> tuple[Faces, Light]:
    """A room with the camera near one end, and one thing at its far wall."""
    draw = stage.draw
    yaw, high = draw.normal(0, 0.3), draw.uniform(2.5, 3.0)
    far = reach + draw.uniform(0.3, 1.2)
    z = (far + 1.6) / 2
    x = max(wide + 0.6, draw.uniform(1.8, 3.0)) + abs(math.sin(yaw)) * z
    frame = on_ground(0.0, far - z, yaw)
    wall, ceiling = painted(draw, "cream white"), painted(draw, "white")
    stage.piece("wall", frame, shadow=False).box((0, high / 2, 0), (x, high / 2, z), wall)
    floor = painted(draw, draw.choice(FLOORS))
    if name := draw.choice(("picture", "window", "curtain", "door", "cabinet", None)):
        turned = math.pi if name == "cabinet" else 0.0
        place = frame.moved((draw.uniform(-1.2, 1.2), 0, z - 0.02), yaw=turned)
        thing(stage, place, name, shadow=False)
    lamp = frame.at((draw.uniform(-0.4, 0.4) * x, high - 0.2, -0.3 * z))
    power, gain = draw.uniform(0.3, 0.45), draw.uniform(0.85, 1.05)
    tint, side = (1.0, 0.95, 0.88), ("wall", wall)
    light = Light(lamp, 6.8 * power, 0.75 * (1 - power), tint, fade=0.22, gain=gain)
    return [side, side, ("floor", floor), ("ceiling", ceiling), side, side], light


def _outdoors(stage: Stage, reach: float, ground: str) -> tuple[Faces, Light]:
    """Open ground, with scenery behind ``reach`` m."""
    draw = stage.draw
    sky = Paint((0.5, 0.65, 0.85), "sky")
    stage.piece("sky", on_ground(0.0, 0.0), shadow=False).box((0, OPEN, 0), (OPEN,) * 3, sky)
    floor = painted(draw, GROUNDS[ground])
    for name in draw.choice(BEHIND).split():
        z = {"mountain": 110.0, "fence": reach + 1.5}.get(name, reach + draw.uniform(6, 14))
        thing(stage, on_ground(draw.uniform(-0.4, 0.4) * z, z), name, shadow=False)
    azimuth, rise = draw.uniform(-1.3, 1.3), draw.uniform(0.5, 1.1)
    flat, power = 70 * math.cos(rise), draw.uniform(0.35, 0.55)
    sun = (flat * math.sin(azimuth), -70 * math.sin(rise), reach - flat * math.cos(azimuth))
    air = Sky((0.72, 0.8, 0.86), (0.22, 0.4, 0.72), draw.uniform(0, 0.6))
    tint, gain, side = (1.0, 0.97, 0.9), draw.uniform(0.85, 1.05), ("sky", sky)
    light = Light(np.array(sun), 1.7 * power, 0.75 * (1 - power), tint, sky=air, gain=gain)
    return [side, side, (ground, floor), side, side, side], light
