"""Furniture and things of people21, and what is background to its classes.

Built in a frame on the ground or on a top (right, up, front), in meters; a person who uses a
piece of furniture looks to its front.
"""

import math

from mtpsl.data.scenes.people21_scene import Frame, Piece, Stage, turn
from mtpsl.data.scenes.rooms13_scene import Paint

TABLE_TOP = 0.76  # m
COUNTER_TOP = 0.85  # m
WOODS = ("wood", "wood", "wood", "pale", "dark", "any")


def _wood(stage: Stage) -> Paint:
    return stage.paint(stage.draw.choice(WOODS), "grain", (0.4, 0.03))


def _fabric(stage: Stage) -> Paint:
    pattern = stage.draw.choice(("cloth", "cloth", "stripes", "plain", "tiles"))
    size = stage.draw.uniform(0.07, 0.2)
    return stage.paint(stage.draw.choice(("any", "any", "earth", "dark")), pattern, (size, size))


def _legs(piece: Piece, x: float, up: float, z: float, thick: float, paint: Paint) -> None:
    for sx in (-1, 1):
        for sz in (-1, 1):
            piece.box((sx * x, up / 2, sz * z), (thick, up / 2, thick), paint)


def bottle(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    piece = stage.piece("bottle", frame)
    glass = draw.choice(
        (
            stage.plain((0.1, 0.25, 0.12), "screen", (0.2, 0.2)),
            stage.plain((0.3, 0.16, 0.06), "screen", (0.2, 0.2)),
            stage.paint("any"),
            stage.paint("pale"),
        )
    )
    high, wide = draw.uniform(0.085, 0.13), draw.uniform(0.032, 0.045)
    piece.tube((0, high, 0), (wide, high, wide), glass)
    piece.ball((0, 2 * high, 0), (wide, wide * draw.uniform(0.8, 1.6), wide), glass)
    neck = draw.uniform(0.03, 0.055)
    piece.tube((0, 2 * high + wide + neck * 0.6, 0), (0.013, neck, 0.013), glass)
    top = 2 * high + wide + neck * 1.6
    piece.tube((0, top, 0), (0.016, 0.012, 0.016), stage.paint("any"))
    if draw.chance(0.75):
        label = stage.paint(draw.choice(("any", "pale")), "art", (0.08, 0.08))
        at = (0, high * draw.uniform(0.8, 1.2), 0)
        piece.tube(at, (wide + 0.001, high * 0.5, wide + 0.001), label)


def chair(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    piece = stage.piece("chair", frame)
    wood, seat = _wood(stage), _fabric(stage)
    kind = draw.choice(("plain", "slats", "office", "arm"), (0.35, 0.25, 0.15, 0.25))
    if kind == "office":
        dark = stage.plain((0.12,) * 3)
        piece.ball((0, 0.46, 0), (0.26, 0.06, 0.25), seat)
        piece.box((0, 0.82, -0.24), (0.22, 0.26, 0.04), seat, axes=turn(pitch=0.1))
        piece.bar((0, 0.08, 0), (0, 0.44, 0), 0.035, dark)
        for k in range(5):
            a = 2 * math.pi * k / 5
            piece.bar((0, 0.09, 0), (0.28 * math.sin(a), 0.04, 0.28 * math.cos(a)), 0.025, dark)
        return
    if kind == "arm":
        piece.box((0, 0.24, 0), (0.36, 0.2, 0.36), seat)
        piece.box((0, 0.6, -0.31), (0.36, 0.36, 0.1), seat, axes=turn(pitch=0.12))
        for side in (-1, 1):
            piece.box((side * 0.38, 0.34, 0), (0.08, 0.3, 0.36), seat)
        return
    piece.box((0, 0.45, 0), (0.22, 0.03, 0.22), seat)
    _legs(piece, 0.195, 0.43, 0.195, 0.022, wood)
    for side in (-1, 1):
        piece.box((side * 0.2, 0.7, -0.21), (0.02, 0.25, 0.02), wood)
    if kind == "plain":
        piece.box((0, 0.76, -0.21), (0.2, 0.17, 0.022), seat)
    else:
        for up in (0.62, 0.76, 0.9):
            piece.box((0, up, -0.21), (0.2, 0.04, 0.015), wood)


def diningtable(stage: Stage, frame: Frame) -> None:
    """A table with its top at ``TABLE_TOP``, about 1.5 m wide."""
    draw = stage.draw
    piece = stage.piece("diningtable", frame)
    wood = _wood(stage)
    cloth = stage.paint(draw.choice(("pale", "any")), draw.choice(("plain", "tiles")), (0.15, 0.15))
    x, z = draw.uniform(0.65, 0.95), draw.uniform(0.42, 0.55)
    if draw.chance(0.3):
        piece.tube((0, TABLE_TOP - 0.02, 0), (0.62, 0.02, 0.62), wood)
        piece.tube((0, 0.36, 0), (0.06, 0.36, 0.06), wood)
        piece.tube((0, 0.03, 0), (0.3, 0.03, 0.3), wood)
        return
    piece.box((0, TABLE_TOP - 0.02, 0), (x, 0.02, z), wood)
    if draw.chance(0.35):
        piece.box((0, TABLE_TOP - 0.13, 0), (x + 0.01, 0.135, z + 0.01), cloth)
    else:
        piece.box((0, TABLE_TOP - 0.07, 0), (x - 0.06, 0.04, z - 0.06), wood)
    _legs(piece, x - 0.06, TABLE_TOP - 0.03, z - 0.06, 0.04, wood)


def sofa(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    piece = stage.piece("sofa", frame)
    fabric = _fabric(stage)
    x = draw.choice((0.75, 1.0, 1.0))
    piece.box((0, 0.2, 0.02), (x, 0.16, 0.42), fabric)
    seats = 2 if x < 0.9 else draw.choice((2, 3))
    for k in range(seats):
        at = -x + x * (2 * k + 1) / seats
        piece.box((at, 0.4, 0.06), (x / seats - 0.012, 0.07, 0.37), fabric)
        cushion = fabric if draw.chance(0.75) else _fabric(stage)
        back = (x / seats - 0.012, 0.24, 0.09)
        piece.box((at, 0.64, -0.28), back, cushion, axes=turn(pitch=0.2))
    piece.box((0, 0.45, -0.42), (x, 0.4, 0.08), fabric)
    for side in (-1, 1):
        piece.box((side * (x + 0.1), 0.3, 0), (0.11, 0.28, 0.45), fabric)
        piece.tube(
            (side * (x + 0.1), 0.58, 0), (0.12, 0.45, 0.08), fabric, axes=turn(pitch=math.pi / 2)
        )
    if draw.chance(0.4):
        at = (draw.uniform(-0.6, 0.6) * x, 0.6, -0.1)
        piece.ball(
            at, (0.2, 0.18, 0.07), _fabric(stage), axes=turn(pitch=0.4, roll=draw.normal(0, 0.3))
        )


def pottedplant(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    size = draw.uniform(0.7, 1.25)
    piece = stage.piece("pottedplant", frame.moved(scale=size))
    pot = stage.paint(draw.choice(("wood", "earth", "any", "pale")))
    piece.tube((0, 0.13, 0), (0.14, 0.13, 0.14), pot)
    piece.tube((0, 0.26, 0), (0.165, 0.03, 0.165), pot)
    piece.tube((0, 0.285, 0), (0.14, 0.01, 0.14), stage.plain((0.15, 0.1, 0.07)))
    leaf = stage.plain(
        (draw.uniform(0.08, 0.3), draw.uniform(0.28, 0.55), draw.uniform(0.05, 0.2)),
        "leaves",
        (0.05, 0.05),
    )
    kind = draw.choice(("bush", "palm", "flowers"))
    count = draw.integer(4) + 8
    for k in range(count):
        a = 2.4 * k
        out = draw.uniform(0.12, 0.34)
        up = draw.uniform(0.5, 0.95) if kind == "bush" else draw.uniform(0.6, 1.05)
        tip = (out * math.sin(a), up, out * math.cos(a))
        if kind == "bush":
            half = draw.uniform(0.07, 0.13)
            piece.ball(tip, (half, half * 1.1, half), leaf)
        else:
            piece.limb((0, 0.3, 0), tip, draw.uniform(0.03, 0.06), leaf)
            if kind == "flowers":
                piece.ball(tip, (0.05, 0.05, 0.05), stage.paint("any"))
    if kind == "bush":
        piece.bar((0, 0.27, 0), (0, 0.7, 0), 0.025, stage.paint("wood"))


def tvmonitor(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    piece = stage.piece("tvmonitor", frame.moved(scale=draw.uniform(0.75, 1.3)))
    body = stage.plain(draw.choice(((0.06, 0.06, 0.07), (0.06, 0.06, 0.07), (0.55, 0.55, 0.57))))
    if draw.chance(0.3):
        shown = Paint((0.07, 0.08, 0.09), "screen", (0.5, 0.55, 0.6), (0.6, 0.6))
    else:
        shown = stage.paint("any", "show", (0.3, 0.3))
    tube = draw.chance(0.3)
    x, y = (0.3, 0.24) if tube else (draw.uniform(0.3, 0.46), draw.uniform(0.2, 0.26))
    up = y + 0.02 if tube else y + 0.1
    piece.box((0, up, 0), (x, y, 0.03), body)
    piece.box((0, up + 0.01, 0.02), (x - 0.03, y - 0.035, 0.013), shown)
    if tube:
        piece.box((0, up, -0.2), (x * 0.8, y * 0.8, 0.2), body)
    else:
        piece.bar((0, 0.0, -0.03), (0, up, -0.03), 0.035, body)
        piece.box((0, 0.012, 0), (x * 0.5, 0.012, 0.12), body)


def counter(stage: Stage, frame: Frame, half_width: float) -> None:
    """A cabinet with its top at ``COUNTER_TOP``."""
    piece = stage.piece("cabinet", frame)
    wood = stage.paint(stage.draw.choice(WOODS), "panels", (0.45, 0.6))
    piece.box((0, COUNTER_TOP / 2 - 0.02, 0), (half_width, COUNTER_TOP / 2 - 0.02, 0.35), wood)
    piece.box((0, COUNTER_TOP - 0.02, 0), (half_width + 0.02, 0.02, 0.37), _wood(stage))


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
        wood = _wood(stage)
        piece.box((0, s * 0.8, 0), (s * 1.8, s * 0.08, s * 0.45), wood)
        piece.box((0, s * 1.4, -s * 0.5), (s * 1.8, s * 0.35, s * 0.06), wood)
        _legs(piece, s * 1.6, s * 0.8, s * 0.35, s * 0.07, wood)
