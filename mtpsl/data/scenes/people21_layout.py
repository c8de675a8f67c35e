"""How a people21 scene is composed: a main subject, what goes with it, and where they are."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mtpsl.data.scenes import people21_backdrop as backdrop
from mtpsl.data.scenes import people21_objects as objects
from mtpsl.data.scenes.people21_backdrop import outdoors, room
from mtpsl.data.scenes.people21_living import BUILDS, animal, bird, person
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
from mtpsl.data.scenes.raycast import Camera
from mtpsl.data.scenes.rooms13_scene import Draw


@dataclass(frozen=True)
class Kind:
    """How a class shows up as the subject of a picture."""

    weight: float  # how often
    size: float  # m, its extent
    up: float  # m, where its middle is
    fill: float  # median share of the picture's width that its extent takes
    indoors: float  # how often
    grounds: tuple[str, ...]  # outdoors
    count: tuple[int, ...] = (1,)  # how many, drawn from these


FIELD, STREET = ("grass", "grass", "soil"), ("road", "road", "soil", "grass")
MEADOW, SHORE = ("grass",), ("grass", "soil", "water")
KINDS = {
    "aeroplane": Kind(15.0, 20.0, 2.2, 1.2, 0, ("road", "grass")),
    "bicycle": Kind(9.4, 1.8, 0.55, 0.98, 0.1, STREET, (1, 1, 2)),
    "bird": Kind(16.0, 0.36, 0.15, 0.45, 0.02, SHORE, (1, 1, 1, 2, 3)),
    "boat": Kind(13.0, 5.2, 1.3, 0.56, 0, ("water",), (1, 1, 2, 3)),
    "bottle": Kind(10.4, 0.32, 0.16, 0.68, 1.0, MEADOW, (1, 1, 2, 3, 4)),
    "bus": Kind(14.5, 9.0, 1.8, 0.95, 0, ("road",), (1, 1, 2)),
    "car": Kind(8.0, 4.2, 0.8, 0.72, 0, STREET, (1, 1, 2, 3)),
    "cat": Kind(16.0, 0.62, 0.2, 1.05, 0.9, ("grass", "soil"), (1, 1, 1, 2)),
    "chair": Kind(7.6, 1.0, 0.5, 0.62, 0.85, STREET, (1, 2, 2, 3)),
    "cow": Kind(11.0, 2.5, 0.9, 0.95, 0, FIELD, (1, 1, 2, 3, 4)),
    "diningtable": Kind(6.4, 1.8, 0.55, 1.4, 0.95, MEADOW),
    "dog": Kind(16.0, 0.95, 0.35, 1.1, 0.45, STREET, (1, 1, 1, 2)),
    "horse": Kind(15.0, 2.4, 1.0, 0.98, 0, FIELD, (1, 1, 1, 2)),
    "motorbike": Kind(12.5, 2.1, 0.6, 1.0, 0.04, STREET, (1, 1, 2)),
    "person": Kind(47.0, 1.75, 1.0, 1.4, 0.45, STREET, (1, 1, 1, 2, 3)),
    "pottedplant": Kind(9.4, 0.95, 0.5, 0.66, 0.75, STREET, (1, 1, 2)),
    "sheep": Kind(14.0, 1.3, 0.55, 0.6, 0, FIELD, (1, 2, 3, 4)),
    "sofa": Kind(9.4, 2.1, 0.45, 0.86, 1.0, MEADOW, (1, 1, 1, 2)),
    "train": Kind(13.5, 9.0, 2.1, 1.05, 0, ("soil", "grass")),
    "tvmonitor": Kind(8.6, 0.8, 0.3, 0.5, 1.0, MEADOW, (1, 1, 2)),
}
COMPANY: dict[str, dict[str, float]] = {  # other classes nearby, and how often
    "aeroplane": {"car": 0.08, "person": 0.08},
    "bicycle": {"person": 0.5, "car": 0.2, "chair": 0.05},
    "bird": {"boat": 0.12},
    "boat": {"person": 0.3},
    "bottle": {"diningtable": 0.1, "person": 0.3, "tvmonitor": 0.1, "pottedplant": 0.06},
    "bus": {"car": 0.4, "person": 0.25, "bicycle": 0.06},
    "car": {"person": 0.25, "bus": 0.06, "bicycle": 0.1, "motorbike": 0.1},
    "cat": {"sofa": 0.12, "chair": 0.12, "tvmonitor": 0.08, "pottedplant": 0.1},
    "chair": {
        "diningtable": 0.3,
        "person": 0.25,
        "tvmonitor": 0.14,
        "pottedplant": 0.2,
        "sofa": 0.1,
    },
    "cow": {"person": 0.12, "sheep": 0.06, "horse": 0.05},
    "diningtable": {"chair": 0.65, "bottle": 0.3, "person": 0.4, "pottedplant": 0.15},
    "dog": {"person": 0.25, "sofa": 0.08, "chair": 0.08, "cat": 0.04, "sheep": 0.03},
    "horse": {"person": 0.55, "car": 0.06, "cow": 0.06},
    "motorbike": {"person": 0.45, "car": 0.22},
    "pottedplant": {"chair": 0.25, "sofa": 0.1, "person": 0.08},
    "sheep": {"person": 0.1, "dog": 0.05, "cow": 0.08},
    "sofa": {
        "person": 0.3,
        "chair": 0.2,
        "pottedplant": 0.22,
        "cat": 0.06,
        "dog": 0.1,
        "tvmonitor": 0.1,
    },
    "train": {"person": 0.2, "car": 0.06},
    "tvmonitor": {
        "chair": 0.3,
        "bottle": 0.1,
        "pottedplant": 0.14,
        "person": 0.15,
        "diningtable": 0.08,
    },
}
WITH_A_PERSON = {
    "indoors": {
        "chair": 0.22, "bottle": 0.16, "diningtable": 0.1, "sofa": 0.1, "dog": 0.06,
        "pottedplant": 0.12, "tvmonitor": 0.1, "cat": 0.03,
    },
    "outdoors": {
        "bicycle": 0.12, "motorbike": 0.1, "car": 0.2, "horse": 0.06, "dog": 0.07, "chair": 0.06,
        "cow": 0.03, "pottedplant": 0.04,
    },
}  # fmt: skip
SEATS = {  # where a person sits, in the piece's frame
    "horse": (0.0, 1.36, 0.05),
    "bicycle": (0.0, 0.84, -0.24),
    "motorbike": (0.0, 0.82, -0.3),
    "boat": (0.0, 1.0, -0.8),
    "chair": (0.0, 0.43, 0.02),
    "sofa": (0.35, 0.43, 0.08),
}
RIDDEN = ("horse", "bicycle", "motorbike")


@dataclass
class Plan:
    """A scene being composed around a subject ahead of the camera."""

    stage: Stage
    distance: float  # m from the camera to the subject
    focal: float
    indoors: bool
    ground: str
    places: list[tuple[float, float, float]] = field(default_factory=list)  # x, z, radius
    seats: list[tuple[Frame, str]] = field(default_factory=list)
    top: Frame | None = None  # of a table or a counter, where things may stand
    flying: bool = False

    def beside(self, radius: float, spread: float = 1.0) -> tuple[float, float] | None:
        """A free place to the side of the subject, mostly behind it, within view."""
        draw = self.stage.draw
        for _ in range(12):
            z = self.distance * draw.uniform(0.85, 1.3) + draw.uniform(-0.2, 0.8) * radius
            x = draw.uniform(-1, 1) * (0.42 * z / self.focal + 0.6 * radius) * spread
            if z > 0.8 * radius + 0.3 and self._free(x, z, radius):
                return x, z
        return None

    def _free(self, x: float, z: float, radius: float) -> bool:
        clear = all(math.hypot(x - a, z - b) > 0.8 * (radius + r) for a, b, r in self.places)
        # Nothing else stands between the camera and the subject.
        blocks = z < self.distance and abs(x) < radius + 0.12 * self.distance / self.focal
        if clear and not blocks:
            self.places.append((x, z, radius))
        return clear and not blocks


def build(seed: np.random.SeedSequence) -> Scene:
    """The scene of a seed, whatever size it is rendered at."""
    draw = Draw(seed)
    stage = Stage(draw)
    name = draw.choice(tuple(KINDS), tuple(kind.weight for kind in KINDS.values()))
    kind = KINDS[name]
    focal = draw.uniform(0.9, 1.5)
    fill = min(max(kind.fill * math.exp(draw.normal(0, 0.4)), 0.16), 2.2)
    room_for = 0.65 if kind.size > 8 else 0.5  # what is long may point at the camera
    distance = max(focal * kind.size / fill, room_for * kind.size + 0.15)
    indoors = draw.chance(kind.indoors)
    flying = (name == "bird" and draw.chance(0.35)) or (name == "aeroplane" and draw.chance(0.5))
    plan = Plan(stage, distance, focal, indoors, draw.choice(kind.grounds), flying=flying)
    reach = distance + 0.6 * kind.size
    shell = room(stage, reach, kind.size) if indoors else outdoors(stage, reach, plan.ground)
    middle = _subjects(plan, name, kind)
    _company(plan, name)
    _distractors(plan)
    if name == "person" and fill > 1:  # a close-up shows the upper body
        middle += min(0.35 * (fill - 1), 0.3)
    target = np.array([0.0, -middle, distance])
    if flying:
        height = (
            1.6 if name == "aeroplane" else max(middle - distance * draw.uniform(-0.2, 0.7), 0.3)
        )
    else:
        height = middle + distance * math.tan(draw.normal(0.12, 0.12))
        height = min(max(height, 0.15 if distance < 2 else 0.6), 2.2 if indoors else 4.0)
    return _finish(plan, shell, backdrop.look(draw, focal, target, height))


def _subjects(plan: Plan, name: str, kind: Kind) -> float:
    """Puts the subject, perhaps several of it; returns the height of its middle."""
    draw = plan.stage.draw
    count = draw.choice(kind.count)
    base = 0.0
    if name in ("bottle", "tvmonitor") or (
        name == "pottedplant" and plan.indoors and draw.chance(0.3)
    ):
        base = _support(plan, name)
    if plan.flying:
        base = draw.uniform(8, 30) if name == "aeroplane" else draw.uniform(0.8, 3.0)
    for k in range(count):
        if k == 0:
            x, z = 0.0, plan.distance
            plan.places.append((x, z, kind.size / 2))
        elif plan.top is not None:
            x = draw.uniform(-0.4, 0.4) * min(kind.size * 3, 1.1) + (0.2 if k % 2 else -0.2)
            z = plan.distance + draw.uniform(-0.1, 0.2)
        else:
            place = plan.beside(kind.size * 0.42)
            if place is None:
                continue
            x, z = place
        _put(plan, name, on_ground(x, z, _heading(draw, name), base))
    return base + kind.up


def _support(plan: Plan, name: str) -> float:
    """A table or a counter below the subject; returns its height."""
    draw = plan.stage.draw
    frame = on_ground(draw.uniform(-0.25, 0.25), plan.distance + draw.uniform(-0.05, 0.15), math.pi)
    if draw.chance(0.3 if name == "bottle" else 0.12):
        objects.diningtable(plan.stage, frame)
        height = objects.TABLE_TOP
    else:
        backdrop.counter(plan.stage, frame, draw.uniform(0.7, 1.3))
        height = backdrop.COUNTER_TOP
    plan.top = frame.moved((0, height, 0))
    return height


def _heading(draw: Draw, name: str) -> float:
    """The yaw of a frame; pi faces the camera."""
    if name in ("chair", "sofa", "tvmonitor", "diningtable", "bottle", "pottedplant"):
        return math.pi + draw.normal(0, 0.55 if name != "tvmonitor" else 0.35)
    if name == "person":
        return math.pi + draw.normal(0, 0.8) if draw.chance(0.8) else draw.uniform(-3, 3)
    side = draw.choice((-1, 1))
    if name == "train":
        return math.pi + side * draw.uniform(0.12, 0.75)
    if name in ("car", "bus"):
        return math.pi * draw.choice((0, 1, 1)) + side * draw.uniform(0.15, 1.4)
    if name in ("aeroplane", "boat"):
        return side * draw.uniform(0.4, 2.7)
    return side * (
        math.pi / 2 + (draw.normal(0.1, 0.45) if draw.chance(0.75) else draw.uniform(0.3, 1.5))
    )


def _put(plan: Plan, name: str, frame: Frame) -> None:
    """One instance of a class in a fitting pose."""
    stage = plan.stage
    draw = stage.draw
    if name == "person":
        _person(plan, frame)
    elif name in BUILDS:
        size = draw.uniform(0.85, 1.15)
        poses = {"cat": ("stand", "lie", "sit", "sit"), "dog": ("stand", "stand", "lie", "sit")}
        pose = draw.choice(poses.get(name, ("stand", "stand", "graze")))
        scaled = frame.moved(scale=size)
        animal(stage, scaled, name, pose)
        if name == "horse" and pose == "stand":
            plan.seats.append((Frame(scaled.at(SEATS[name]), frame.axes), name))
    elif name == "bird":
        if plan.flying:
            pitch, roll = draw.normal(0.1, 0.2), draw.normal(0, 0.35)
            bird(stage, frame.moved(pitch=pitch, roll=roll), "fly")
        else:
            bird(stage, frame, "swim" if plan.ground == "water" and not plan.indoors else "stand")
    elif name == "aeroplane":
        if plan.flying:
            frame = frame.moved(pitch=draw.normal(0.12, 0.1), roll=draw.normal(0, 0.2))
            objects.aeroplane(stage, frame)
        else:
            frame = frame.moved((0, 2.3, 0))
            objects.aeroplane(stage, frame)
            objects.wheels_down(stage, frame)
    elif name == "train":
        backdrop.tracks(stage, frame)
        objects.train(stage, frame.moved((0, 0, -6.0)))
    else:
        BUILDERS[name](stage, frame)
        if name in SEATS:
            plan.seats.append((frame.moved(SEATS[name]), name))
        if name == "diningtable":
            plan.top = frame.moved((0, objects.TABLE_TOP, 0))
            for _ in range(draw.count(1.5)):
                at = (draw.uniform(-0.5, 0.5), 0, draw.uniform(-0.3, 0.3))
                backdrop.cup(stage, plan.top.moved(at))


BUILDERS: dict[str, Callable[[Stage, Frame], None]] = {
    "bicycle": objects.bicycle,
    "motorbike": objects.motorbike,
    "car": objects.car,
    "bus": objects.bus,
    "boat": objects.boat,
    "bottle": objects.bottle,
    "chair": objects.chair,
    "diningtable": objects.diningtable,
    "sofa": objects.sofa,
    "pottedplant": objects.pottedplant,
    "tvmonitor": objects.tvmonitor,
}


def _person(plan: Plan, frame: Frame) -> None:
    draw = plan.stage.draw
    if draw.chance(0.2):  # on something that is background
        seat = plan.stage.piece("box" if draw.chance(0.5) else "rock", frame)
        paint = plan.stage.paint(draw.choice(("wood", "earth", "any")), "cloth")
        seat.box((0, 0.21, -0.05), (0.3, 0.21, 0.22), paint)
        person(plan.stage, frame.moved((0, 0.42, 0)), "sit")
    else:
        person(plan.stage, frame, draw.choice(("stand", "stand", "walk")))


def _company(plan: Plan, name: str) -> None:
    """Other classes that go with the subject."""
    draw = plan.stage.draw
    around = WITH_A_PERSON["indoors" if plan.indoors else "outdoors"]
    for other, chance in (around if name == "person" else COMPANY[name]).items():
        if not draw.chance(chance) or (other == "boat" and plan.ground != "water"):
            continue
        if other == "person" and plan.seats and draw.chance(0.65):
            seat, where = draw.choice(plan.seats)
            person(plan.stage, seat, "ride" if where in RIDDEN else "sit")
            continue
        if other == "bottle" and plan.top is not None:
            for _ in range(draw.choice((1, 1, 2, 3))):
                at = (draw.uniform(-0.5, 0.5), 0, draw.uniform(-0.3, 0.3))
                objects.bottle(plan.stage, plan.top.moved(at))
            continue
        _beside(plan, other)


def _beside(plan: Plan, name: str) -> None:
    draw = plan.stage.draw
    kind = KINDS[name]
    for _ in range(draw.choice((1, 2, 2, 3)) if name == "chair" else draw.choice((1, 1, 2))):
        place = plan.beside(0.42 * kind.size, 1.05)
        if place is None:
            return
        frame = on_ground(*place, _heading(draw, name))
        if name in ("bottle", "tvmonitor"):
            backdrop.counter(plan.stage, frame, 0.5)
            frame = frame.moved((0, backdrop.COUNTER_TOP, 0))
        before = len(plan.seats)
        _put(plan, name, frame)
        if name in RIDDEN and len(plan.seats) > before and draw.chance(0.5):
            person(plan.stage, plan.seats[-1][0], "ride")
        if name not in ("person", "chair", "car", "bottle"):
            return


def _distractors(plan: Plan) -> None:
    draw = plan.stage.draw
    for _ in range(draw.count(3.3)):
        size = draw.uniform(0.1, 0.36) * plan.distance / plan.focal
        if plan.top is not None and draw.chance(0.6):
            at = (draw.uniform(-0.6, 0.6), 0, draw.uniform(-0.25, 0.25))
            backdrop.distractor(plan.stage, plan.top.moved(at), min(size, 0.3), True)
            continue
        place = plan.beside(size / 2)
        if place is not None and plan.ground != "water":
            frame = on_ground(*place, draw.uniform(-3, 3))
            backdrop.distractor(plan.stage, frame, size, plan.indoors)


def _finish(plan: Plan, shell: backdrop.Shell, camera: Camera) -> Scene:
    stage = plan.stage
    draw = stage.draw
    faces = []
    for name in shell.contexts:  # the same context, the same instance
        if name not in faces:
            faces.append(name)
    first = len(stage.context)
    context = np.array([*stage.context, *(CONTEXT_ID[name] for name in faces)], dtype=np.int64)
    instance = [*stage.instance, *(first + faces.index(name) for name in shell.contexts)]
    classes = np.array([ID.get(CONTEXTS[c], 0) for c in context], dtype=np.int64)
    thing = ~np.isin(context, [CONTEXT_ID[name] for name in SCENERY])
    appeal = np.where(thing, 0.35 + 1.3 * draw.generator.random(len(context)), 0.0)
    doubtful = (classes > 0) & (draw.generator.random(len(classes)) < 0.06)
    return Scene(
        shapes=stage.shapes(),
        part=np.array([*stage.part, *([0] * 6)], dtype=np.int64),
        instance=np.array(instance, dtype=np.int64),
        paints=[*stage.paints, *shell.paints],
        classes=classes,
        context=context,
        casters=list(stage.casters.values()),
        camera=camera,
        indoors=plan.indoors,
        light=shell.light.position,
        tint=shell.light.tint,
        power=shell.light.power,
        gain=draw.uniform(0.75, 1.15),
        unlabeled=np.flatnonzero(doubtful),
        appeal=appeal,
        wobble=draw.integer(1 << 20),
    )
