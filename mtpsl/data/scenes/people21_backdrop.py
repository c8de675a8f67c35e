"""Where a people21 scene takes place: a room or the open, its scenery, light and camera."""

import math
from dataclasses import dataclass

import numpy as np

from mtpsl.data.scenes.people21_objects import WOODS, legs, wooden
from mtpsl.data.scenes.people21_scene import Frame, Piece, Stage, on_ground, turn
from mtpsl.data.scenes.raycast import Camera
from mtpsl.data.scenes.rooms13_scene import Color, Draw, Paint

OPEN = 150.0  # m, half the size of the world outdoors
COUNTER_TOP = 0.85  # m
GROUNDS = ("grass", "road", "soil", "water")


@dataclass(frozen=True)
class Light:
    """What lights a scene."""

    position: np.ndarray  # (3,)
    tint: np.ndarray  # (3,)
    power: float  # of the light, against 1 - power from everywhere


@dataclass(frozen=True)
class Shell:
    """What encloses the scene: its faces are left, right, down, up, back and front."""

    contexts: tuple[str, ...]
    paints: tuple[Paint, ...]
    light: Light


def look(draw: Draw, focal: float, target: np.ndarray, height: float) -> Camera:
    """A camera ``height`` m above the origin that looks about at ``target``."""
    position = np.array([0.0, -height, 0.0])
    away = float(np.linalg.norm(target - position)) / focal
    jitter = np.array([draw.normal(0, 0.09), draw.normal(0, 0.06), 0.0]) * away
    forward = target + jitter - position
    forward /= np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    roll = draw.normal(0, 0.035)
    c, s = math.cos(roll), math.sin(roll)
    rotation = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    return Camera(position, rotation, focal)


def room(stage: Stage, reach: float, width: float) -> Shell:
    """A room with the camera near one end.

    Args:
        stage: Empty.
        reach: How far from the camera things stand, m.
        width: That they take, m.
    """
    draw = stage.draw
    beyond, high = draw.uniform(0.4, 2.4), draw.uniform(2.4, 3.1)
    yaw = draw.choice((0.0, draw.normal(0, 0.35)))
    z = (reach + beyond + 1.6) / 2
    x = max(draw.uniform(1.5, 3.5), width * 0.8 + 0.8)
    x, z = x + abs(math.sin(yaw)) * z, z / math.cos(yaw) + abs(math.sin(yaw)) * width / 2
    frame = on_ground(0.0, reach + beyond - z * math.cos(yaw), yaw)
    shell = stage.piece("wall", frame, shadow=False)
    wall = stage.paint("pale" if draw.chance(0.55) else draw.choice(("any", "earth")))
    if draw.chance(0.25):
        wall = stage.paint(
            draw.choice(("pale", "any")), draw.choice(("stripes", "tiles")), (0.3, 0.3)
        )
    shell.box((0, high / 2, 0), (x, high / 2, z), wall)
    floor = draw.choice(
        (
            stage.paint("wood", "planks", (1.1, draw.uniform(0.08, 0.16))),
            stage.paint(draw.choice(("pale", "earth", "any")), "turf", (0.08, 0.08)),
            stage.paint(draw.choice(("pale", "earth")), "tiles", (0.35, 0.35)),
        ),
        (0.45, 0.35, 0.2),
    )
    _on_walls(stage, frame, x, z, high)
    lamp = frame.at((draw.uniform(-0.5, 0.5) * x, high - 0.25, draw.uniform(-0.6, 0.1) * z))
    warm = draw.uniform(0, 1)
    light = Light(lamp, np.array([1.0, 1 - 0.12 * warm, 1 - 0.3 * warm]), draw.uniform(0.3, 0.55))
    ceiling = stage.plain((0.88, 0.88, 0.86))
    contexts = ("wall", "wall", "floor", "ceiling", "wall", "wall")
    return Shell(contexts, (wall, wall, floor, ceiling, wall, wall), light)


def _on_walls(stage: Stage, frame: Frame, x: float, z: float, high: float) -> None:
    draw = stage.draw
    walls = (
        (frame.moved((0, 0, z)), x),
        (frame.moved((-x, 0, 0), yaw=-math.pi / 2), z),
        (frame.moved((x, 0, 0), yaw=math.pi / 2), z),
    )
    for far, (wall, half) in zip((True, False, False), walls, strict=True):
        taken: list[tuple[float, float]] = []
        for _ in range(draw.count(2.6 if far else 1.2)):
            name = draw.choice(
                ("picture", "window", "door", "curtain", "cabinet"), (4, 3, 2, 1.5, 3)
            )
            w = {"picture": 0.35, "window": 0.6, "door": 0.45, "curtain": 0.5, "cabinet": 0.5}[name]
            w *= draw.uniform(0.7, 1.3)
            at = draw.uniform(-1, 1) * max(half - w, 0.0)
            if any(abs(at - other) < w + wide + 0.05 for other, wide in taken):
                continue
            taken.append((at, w))
            _hang(stage.piece(name, wall.moved((at, 0, 0)), shadow=False), name, w, high)


def _hang(piece: Piece, name: str, w: float, high: float) -> None:
    """Something at a wall; the piece's front looks into the wall."""
    stage = piece.stage
    draw = stage.draw
    if name == "picture":
        up, h = draw.uniform(1.4, 1.8), w * draw.uniform(0.5, 1.1)
        piece.box(
            (0, up, -0.02), (w + 0.04, h + 0.04, 0.02), stage.paint(draw.choice(("wood", "dark")))
        )
        piece.box((0, up, -0.03), (w, h, 0.02), stage.paint("any", "art", (0.4, 0.4)))
    elif name == "window":
        frame, h = stage.plain((0.85, 0.85, 0.83)), draw.uniform(0.5, 0.7)
        piece.box((0, 1.5, -0.02), (w + 0.06, h + 0.06, 0.03), frame)
        pane = Paint((0.7, 0.8, 0.9), "panes", (0.85, 0.85, 0.83), (w, h), draw.integer(1 << 20))
        piece.box((0, 1.5, -0.025), (w, h, 0.03), pane)
    elif name == "door":
        piece.box(
            (0, 1.0, -0.02),
            (w, 1.03, 0.03),
            stage.paint(draw.choice(("wood", "pale")), "panels", (2 * w, 0.9)),
        )
    elif name == "curtain":
        low = draw.uniform(0.05, 0.9)
        piece.box(
            (0, (low + high - 0.1) / 2, -0.05),
            (w, (high - 0.1 - low) / 2, 0.04),
            stage.paint("any", "folds", (0.12, 1.0)),
        )
    else:
        h, deep = draw.choice((0.45, 0.5, 0.95)), draw.uniform(0.15, 0.25)
        wood = stage.paint(draw.choice(("wood", "wood", "pale", "dark")), "panels", (0.45, 0.5))
        piece.box((0, h, -deep), (w, h, deep), wood)


def outdoors(stage: Stage, reach: float, ground: str) -> Shell:
    """Open ground with scenery behind ``reach`` m.

    Args:
        stage: Empty.
        reach: How far from the camera things stand, m.
        ground: One of ``GROUNDS``.
    """
    draw = stage.draw
    shell = stage.piece("sky", on_ground(0.0, 0.0, 0.0), shadow=False)
    overcast = draw.chance(0.4)
    high: Color = (0.72, 0.75, 0.79) if overcast else (0.3, 0.5, draw.uniform(0.75, 0.95))
    low: Color = (0.84, 0.86, 0.88) if overcast else (0.72, 0.82, 0.92)
    sky = Paint(high, "plain", low)
    shell.box((0, OPEN, 0), (OPEN, OPEN, OPEN), sky)
    floor = _ground(stage, ground)
    near = reach + draw.uniform(1.5, 10.0)
    for _ in range(draw.count(1.0)):
        _hills(stage, draw.uniform(90, 130))
    for _ in range(draw.count(2.4)):
        kind = draw.choice(("trees", "buildings", "fence", "bushes"), (3.2, 2.6, 1.6, 2.2))
        z = near + (draw.uniform(0, 5) if kind in ("fence", "bushes") else draw.uniform(2, 35))
        if ground == "water":
            z += draw.uniform(5, 40)
        SCENERY[kind](stage, z)
    if ground in ("road", "soil") and draw.chance(0.7):
        for side in (-1, 1):  # the verges
            verge = stage.piece("grass", on_ground(side * (reach * 0.4 + 44), 60, 0), shadow=False)
            turf = stage.plain((0.25, 0.36, 0.14), "turf", (0.15, 0.15))
            verge.box((0, 0.01, 0), (40.0, 0.01, 80.0), turf)
    azimuth, rise = draw.uniform(-math.pi, math.pi), draw.uniform(0.4, 1.2)
    sun = 70 * np.array(
        [math.cos(rise) * math.sin(azimuth), -math.sin(rise), math.cos(rise) * math.cos(azimuth)]
    )
    power = draw.uniform(0.1, 0.3) if overcast else draw.uniform(0.5, 0.7)
    light = Light(sun + [0.0, 0.0, reach], np.array([1.0, 0.97, 0.9]), power)
    contexts = ("sky", "sky", ground, "sky", "sky", "sky")
    return Shell(contexts, (sky, sky, floor, sky, sky, sky), light)


def _ground(stage: Stage, name: str) -> Paint:
    draw = stage.draw
    if name == "grass":
        green = draw.uniform(0.3, 0.5)
        color = (green * draw.uniform(0.5, 0.95), green, green * draw.uniform(0.3, 0.5))
        return Paint(color, "turf", (0.5, 0.45, 0.25), (0.12, 0.12), draw.integer(1 << 20))
    if name == "road":
        tone = draw.uniform(0.3, 0.6)
        return stage.plain((tone, tone, tone * 1.02), "speckle", (0.1, 0.1))
    if name == "soil":
        tone = draw.uniform(0.4, 0.75)
        return stage.plain((tone, tone * 0.87, tone * 0.68), "turf", (0.2, 0.2))
    deep = (draw.uniform(0.15, 0.35), draw.uniform(0.3, 0.45), draw.uniform(0.4, 0.6))
    return Paint(deep, "ripple", (0.75, 0.82, 0.88), (1.2, 0.35), draw.integer(1 << 20))


def _hills(stage: Stage, z: float) -> None:
    draw = stage.draw
    piece = stage.piece("mountain", on_ground(0.0, z, 0.0), shadow=False)
    tone = draw.uniform(0.3, 0.5)
    paint = stage.plain((tone, tone * 1.1, tone * 1.15), "blotches", (14.0, 14.0))
    for _ in range(3):
        half = (draw.uniform(30, 70), draw.uniform(8, 26), 12.0)
        piece.ball((draw.uniform(-90, 90), 0, 0), half, paint)


def _foliage(stage: Stage, size: float) -> Paint:
    draw = stage.draw
    green = draw.uniform(0.22, 0.42)
    color = (green * draw.uniform(0.5, 1.05), green, green * draw.uniform(0.25, 0.5))
    return stage.plain(color, "leaves", (size, size))


def _trees(stage: Stage, z: float) -> None:
    draw = stage.draw
    for _ in range(draw.choice((1, 2, 3, 5))):
        at = on_ground(draw.uniform(-0.65, 0.65) * z, z + draw.uniform(0, 6), 0.0)
        piece = stage.piece("tree", at, shadow=False)
        high, wide = draw.uniform(3.5, 9), draw.uniform(1.2, 2.6)
        leaf, trunk = _foliage(stage, 0.5), stage.paint("wood", "fur", (0.05, 0.4))
        piece.bar((0, 0, 0), (0, high, 0), draw.uniform(0.12, 0.25), trunk)
        for k in range(4):
            a = 1.7 * k
            blob = (wide * 0.5 * math.sin(a), high * (0.85 + 0.12 * k), wide * 0.5 * math.cos(a))
            piece.ball(blob, (wide, wide * 0.85, wide), leaf)


def _bushes(stage: Stage, z: float) -> None:
    draw = stage.draw
    piece = stage.piece("tree", on_ground(0.0, z, 0.0), shadow=False)
    leaf, x = _foliage(stage, 0.25), -0.6 * z
    while x < 0.6 * z:
        half = draw.uniform(0.6, 1.4) * max(1.0, z / 18)
        piece.ball((x, half * 0.4, draw.uniform(-0.5, 0.5)), (half * 1.3, half, half), leaf)
        x += half * draw.uniform(1.0, 3.0)


def _buildings(stage: Stage, z: float) -> None:
    draw = stage.draw
    x = draw.uniform(-0.9, -0.3) * z
    for _ in range(draw.choice((1, 2, 3))):
        half, high = draw.uniform(3, 8), draw.uniform(2.5, 9)
        piece = stage.piece(
            "building", on_ground(x + half, z + 4, draw.normal(0, 0.1)), shadow=False
        )
        wall = stage.paint(draw.choice(("pale", "earth", "any")), "facade", (2.2, 2.8))
        piece.box((0, high, 0), (half, high, 4.0), wall)
        if high < 5:
            roof = stage.plain((0.45, 0.25, 0.2))
            piece.box((0, 2 * high, 0), (half + 0.3, 2.2, 2.2), roof, axes=turn(pitch=math.pi / 4))
        x += 2 * half + draw.uniform(0, 6)


def _fence(stage: Stage, z: float) -> None:
    draw = stage.draw
    piece = stage.piece("fence", on_ground(0.0, z, draw.normal(0, 0.15)), shadow=False)
    high = draw.uniform(0.5, 1.0)
    paint = stage.paint(
        draw.choice(("wood", "pale", "earth")), "pickets", (draw.uniform(0.12, 0.4), 1.0)
    )
    piece.box((0, high, 0), (2.0 * z + 5, high, 0.05), paint)


SCENERY = {"trees": _trees, "buildings": _buildings, "fence": _fence, "bushes": _bushes}


def tracks(stage: Stage, frame: Frame) -> None:
    """Rails and their bed, under a train's frame."""
    piece = stage.piece("track", frame, shadow=False)
    piece.box((0, 0.03, 0), (1.9, 0.03, 90.0), stage.paint("earth", "speckle", (0.12, 0.12)))
    for side in (-1, 1):
        piece.box((side * 0.75, 0.08, 0), (0.05, 0.06, 90.0), stage.plain((0.4, 0.36, 0.33)))


def counter(stage: Stage, frame: Frame, half_width: float) -> None:
    """A cabinet with its top at ``COUNTER_TOP``."""
    piece = stage.piece("cabinet", frame)
    wood = stage.paint(stage.draw.choice(WOODS), "panels", (0.45, 0.6))
    piece.box((0, COUNTER_TOP / 2 - 0.02, 0), (half_width, COUNTER_TOP / 2 - 0.02, 0.35), wood)
    piece.box((0, COUNTER_TOP - 0.02, 0), (half_width + 0.02, 0.02, 0.37), wooden(stage))


def cup(stage: Stage, frame: Frame) -> None:
    piece = stage.piece("cup", frame)
    paint = stage.paint(stage.draw.choice(("pale", "any")))
    if stage.draw.chance(0.5):
        piece.tube((0, 0.05, 0), (0.04, 0.05, 0.04), paint)
    else:
        piece.tube((0, 0.012, 0), (0.13, 0.012, 0.13), paint)
        piece.ball((0, 0.03, 0), (0.08, 0.03, 0.07), stage.paint("any", "speckle", (0.03, 0.03)))


def distractor(stage: Stage, frame: Frame, size: float, indoors: bool) -> None:
    """A thing of about ``size`` m that is background to the 20 classes."""
    draw = stage.draw
    s = size / 2
    names = (
        ("box", "bag", "ball", "book", "lamp")
        if indoors
        else ("box", "bag", "ball", "rock", "pole", "bench")
    )
    name = draw.choice(names)
    piece = stage.piece(name, frame)
    paint = stage.paint(
        draw.choice(("any", "any", "wood")),
        draw.choice(("plain", "stripes", "tiles", "art")),
        (s, s),
    )
    if name == "box":
        y = s * draw.uniform(0.5, 1.1)
        piece.box((0, y, 0), (s, y, s * draw.uniform(0.5, 1.0)), paint)
    elif name == "bag":
        piece.ball((0, s * 0.85, 0), (s * 0.9, s, s * 0.6), paint)
        piece.ring((0, s * 1.8, 0), s * 0.4, s * 0.06, paint, 8)
    elif name == "ball":
        piece.ball((0, s * 0.8, 0), (s * 0.8,) * 3, paint)
    elif name == "rock":
        stone = stage.paint("earth", "blotches", (s, s))
        piece.ball((0, s * 0.4, 0), (s * 1.1, s * 0.7, s * 0.8), stone)
        piece.ball((s * 0.7, s * 0.2, 0.1), (s * 0.5, s * 0.5, s * 0.5), stone)
    elif name == "book":
        for k in range(4):
            at = (0, s * (0.12 + 0.24 * k), 0)
            piece.box(
                at, (s, s * 0.11, s * 0.7), stage.paint("any"), axes=turn(yaw=draw.normal(0, 0.2))
            )
    elif name == "lamp":
        piece.tube((0, 0.02, 0), (s * 0.5, 0.02, s * 0.5), paint)
        piece.bar((0, 0, 0), (0, 2.4 * s, 0), s * 0.07, stage.plain((0.3,) * 3))
        piece.tube((0, 2.8 * s, 0), (s * 0.7, s * 0.5, s * 0.7), stage.paint("pale", "glow"))
    elif name == "pole":
        piece.bar((0, 0, 0), (0, 5 * s, 0), s * 0.12, stage.plain((0.45,) * 3))
        piece.box((0, 4.6 * s, 0), (s * 0.8, s * 0.6, s * 0.06), paint)
    else:
        wood = wooden(stage)
        piece.box((0, s * 0.8, 0), (s * 1.8, s * 0.08, s * 0.45), wood)
        piece.box((0, s * 1.4, -s * 0.5), (s * 1.8, s * 0.35, s * 0.06), wood)
        legs(piece, s * 1.6, s * 0.8, s * 0.35, s * 0.07, wood)
