"""Furniture, things and vehicles of people21, built in a frame (right, up, front) in meters."""

import math

from mtpsl.data.scenes.people21_scene import Frame, Piece, Stage, turn
from mtpsl.data.scenes.rooms13_scene import Paint

TABLE_TOP = 0.76  # m
FLAT = turn(roll=math.pi / 2)  # a cylinder's axis to the side: a wheel
WOODS = ("wood", "wood", "wood", "pale", "dark", "any")


def wooden(stage: Stage) -> Paint:
    return stage.paint(stage.draw.choice(WOODS), "grain", (0.4, 0.03))


def _fabric(stage: Stage) -> Paint:
    pattern = stage.draw.choice(("cloth", "cloth", "stripes", "plain", "tiles"))
    size = stage.draw.uniform(0.07, 0.2)
    return stage.paint(stage.draw.choice(("any", "any", "earth", "dark")), pattern, (size, size))


def legs(piece: Piece, x: float, up: float, z: float, thick: float, paint: Paint) -> None:
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
    wood, seat = wooden(stage), _fabric(stage)
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
    legs(piece, 0.195, 0.43, 0.195, 0.022, wood)
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
    wood = wooden(stage)
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
    legs(piece, x - 0.06, TABLE_TOP - 0.03, z - 0.06, 0.04, wood)


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


def _wheel(piece: Piece, x: float, z: float, radius: float, wide: float) -> None:
    tire, hub = piece.stage.plain((0.07, 0.07, 0.075)), piece.stage.plain((0.6, 0.6, 0.62))
    piece.tube((x, radius, z), (radius, wide, radius), tire, axes=FLAT)
    piece.tube((x, radius, z), (radius * 0.55, wide + 0.012, radius * 0.55), hub, axes=FLAT)


def _glass(stage: Stage) -> Paint:
    tone = stage.draw.uniform(0.08, 0.3)
    return Paint((tone, tone * 1.05, tone * 1.12), "screen", (0.6, 0.68, 0.75), (1.0, 1.0))


def bicycle(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    piece = stage.piece("bicycle", frame)
    paint, tire = stage.paint(draw.choice(("any", "any", "dark"))), stage.plain((0.08,) * 3)
    steel = stage.plain((0.55, 0.55, 0.57))
    rear, front, crank = (0, 0.34, -0.5), (0, 0.34, 0.55), (0, 0.3, -0.06)
    saddle, bars = (0, 0.82, -0.22), (0, 0.9, 0.36)
    for hub in (rear, front):
        piece.ring(hub, 0.325, 0.026, tire)
        for k in range(3):
            a = math.pi * k / 3
            y, z = 0.31 * math.sin(a), 0.31 * math.cos(a)
            piece.bar((0, hub[1] - y, hub[2] - z), (0, hub[1] + y, hub[2] + z), 0.006, steel)
    low, high = (0, 0.62, 0.43), (0, 0.78, 0.39)
    for start, end in ((rear, crank), (crank, low), (crank, saddle), (rear, (0, 0.72, -0.19))):
        piece.bar(start, end, 0.024, paint)
    piece.bar((0, 0.72, -0.19), high, 0.024, paint)
    piece.bar(front, bars, 0.022, paint)
    piece.bar((-0.27, 0.95, 0.3), (0.27, 0.95, 0.3), 0.018, tire)
    piece.bar(bars, (0, 0.96, 0.31), 0.02, steel)
    piece.ball((0, 0.86, -0.24), (0.075, 0.035, 0.14), tire)
    piece.tube(crank, (0.1, 0.012, 0.1), steel, axes=FLAT)
    if draw.chance(0.35):
        piece.box((0, 0.82, 0.55), (0.16, 0.1, 0.12), stage.paint("wood", "tiles", (0.06, 0.06)))


def motorbike(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    piece = stage.piece("motorbike", frame)
    paint = stage.paint(draw.choice(("any", "any", "dark")))
    dark, steel = stage.plain((0.09, 0.09, 0.1)), stage.plain((0.6, 0.6, 0.62))
    for z in (-0.66, 0.68):
        piece.ring((0, 0.31, z), 0.25, 0.07, dark, 9)
        piece.tube((0, 0.31, z), (0.14, 0.03, 0.14), steel, axes=FLAT)
    piece.ball((0, 0.82, 0.12), (0.15, 0.13, 0.32), paint)
    piece.ball((0, 0.78, -0.38), (0.14, 0.08, 0.4), dark)
    piece.box((0, 0.42, 0.0), (0.16, 0.17, 0.24), steel, axes=turn(pitch=0.2))
    piece.ball((0, 0.62, -0.7), (0.09, 0.07, 0.26), paint)
    piece.ball((0, 0.58, 0.7), (0.09, 0.05, 0.25), paint)
    for side in (-1, 1):
        piece.bar((side * 0.08, 0.31, 0.68), (side * 0.07, 0.95, 0.42), 0.035, steel)
        piece.bar((side * 0.05, 1.0, 0.4), (side * 0.36, 1.02, 0.28), 0.025, dark)
        piece.bar((side * 0.16, 0.3, 0.1), (side * 0.2, 0.38, -0.85), 0.05, steel)
    piece.ball((0, 0.9, 0.58), (0.11, 0.12, 0.09), stage.plain((0.8, 0.8, 0.75)))
    if draw.chance(0.5):
        piece.ball((0, 1.02, 0.5), (0.2, 0.22, 0.08), paint, axes=turn(pitch=0.4))


def car(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    piece = stage.piece("car", frame.moved(scale=draw.uniform(0.9, 1.08)))
    paint = stage.paint(draw.choice(("any", "any", "pale", "dark")))
    glass, dark = _glass(stage), stage.plain((0.08,) * 3)
    van = draw.chance(0.25)
    piece.box((0, 0.52, 0), (0.86, 0.24, 1.95), paint)
    piece.box((0, 0.72, 0), (0.8, 0.12, 1.98), paint)
    roof, back, front = (1.85, -1.7, 0.95) if van else (1.42, -1.35, 0.6)
    half, middle = (front - back) / 2, (front + back) / 2
    low = 0.82
    # Upright pillars, with slanted glass before and behind.
    piece.box((0, (low + roof) / 2, middle), (0.74, (roof - low) / 2 - 0.03, half), glass)
    piece.box((0, roof, middle), (0.73, 0.05, half + 0.02), paint)
    for z in (back, middle - 0.1, front):
        piece.box((0, (low + roof) / 2, z), (0.755, (roof - low) / 2, 0.05), paint)
    slant, reach = 0.62, (roof - low) * 0.62
    piece.box((0, (low + roof) / 2, front + 0.1), (0.7, reach, 0.1), glass, axes=turn(pitch=slant))
    if not van:
        tail = turn(pitch=-slant)
        piece.box((0, (low + roof) / 2, back - 0.1), (0.7, reach, 0.1), glass, axes=tail)
    piece.box((0, 0.35, 0), (0.88, 0.07, 2.02), dark)
    piece.box((0, 0.6, 1.97), (0.4, 0.08, 0.03), dark)
    for side in (-1, 1):
        piece.ball((side * 0.62, 0.64, 1.93), (0.16, 0.09, 0.08), stage.plain((0.9, 0.9, 0.85)))
        piece.box((side * 0.66, 0.68, -1.96), (0.14, 0.09, 0.04), stage.plain((0.7, 0.1, 0.08)))
        piece.box((side * 0.87, 0.95, 0.62), (0.07, 0.06, 0.04), paint)
        for z in (-1.25, 1.25):
            _wheel(piece, side * 0.78, z, 0.33, 0.11)


def _windows(
    piece: Piece, x: float, up: float, high: float, ends: tuple[float, float], each: float
):
    """A row of dark windows along both sides."""
    glass = _glass(piece.stage)
    count = max(1, round((ends[1] - ends[0]) / each))
    step = (ends[1] - ends[0]) / count
    for k in range(count):
        z = ends[0] + (k + 0.5) * step
        piece.box((0, up, z), (x, high, 0.42 * step), glass)


def bus(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    piece = stage.piece("bus", frame)
    paint, trim = (stage.paint(draw.choice(("any", "any", "pale"))) for _ in range(2))
    glass, long = _glass(stage), draw.uniform(3.6, 5.4)
    tall = draw.choice((1.35, 1.35, 2.0))
    piece.box((0, 0.45 + tall, 0), (1.23, tall, long), paint)
    piece.box((0, 0.75, 0), (1.25, 0.2, long + 0.02), trim)
    for level in (2.0,) if tall < 1.5 else (1.85, 3.4):
        _windows(piece, 1.25, level, 0.48, (-long + 0.4, long - 0.9), 1.25)
        piece.box((0, level, long), (1.08, 0.5, 0.03), glass)
        piece.box((0, level + 0.1, -long), (0.95, 0.36, 0.03), glass)
    piece.box((0, 0.45 + 2 * tall - 0.16, long), (0.8, 0.12, 0.05), stage.plain((0.9, 0.7, 0.1)))
    piece.box((1.24, 1.5, long - 0.55), (0.03, 0.95, 0.4), glass)
    for side in (-1, 1):
        piece.ball((side * 0.92, 0.8, long), (0.16, 0.14, 0.06), stage.plain((0.92, 0.92, 0.86)))
        for z in (-0.55 * long, 0.62 * long):
            _wheel(piece, side * 1.13, z, 0.48, 0.14)


def train(stage: Stage, frame: Frame) -> None:
    draw = stage.draw
    piece = stage.piece("train", frame)
    paint, trim = (stage.paint(draw.choice(("any", "any", "pale", "dark"))) for _ in range(2))
    glass, dark = _glass(stage), stage.plain((0.1,) * 3)
    cars, long = draw.choice((2, 3)), draw.uniform(6.0, 8.5)
    for k in range(cars):
        z = -k * (2 * long + 0.6)
        piece.box((0, 2.1, z), (1.4, 1.3, long), paint)
        piece.ball((0, 3.35, z), (1.38, 0.4, long * 1.02), trim)
        piece.box((0, 1.25, z), (1.42, 0.25, long - 0.01), trim)
        piece.box((0, 0.55, z), (1.1, 0.35, long - 0.3), dark)
        _windows(piece, 1.42, 2.35, 0.42, (z - long + 0.5, z + long - 0.8), 1.9)
        for end in (-0.72, 0.72):
            for side in (-1, 1):
                for near in (-0.9, 0.9):
                    at = (side * 0.8, 0.42, z + end * long + near)
                    piece.tube(at, (0.42, 0.08, 0.42), dark, axes=FLAT)
    if draw.chance(0.6):  # a rounded nose
        piece.ball((0, 1.75, long - 0.1), (1.38, 1.2, 1.5), paint)
        piece.ball((0, 2.45, long + 0.35), (1.1, 0.55, 0.85), glass)
    else:
        piece.box((0, 2.55, long), (1.15, 0.5, 0.04), glass)
    for side in (-1, 1):
        at = (side * 0.85, 1.3, long + 0.02)
        piece.ball(at, (0.17, 0.17, 0.06), stage.plain((0.95, 0.93, 0.8)))
    piece.box((0, 0.75, long + 0.1), (1.2, 0.14, 0.15), dark)


def boat(stage: Stage, frame: Frame) -> None:
    """A boat whose water is at height 0."""
    draw = stage.draw
    piece = stage.piece("boat", frame.moved(roll=draw.normal(0, 0.04)))
    paint, deck = stage.paint(draw.choice(("any", "pale", "pale"))), stage.paint("wood", "planks")
    kind = draw.choice(("sail", "motor", "row"), (0.45, 0.3, 0.25))
    long = {"sail": 2.6, "motor": 2.9, "row": 1.7}[kind]
    wide, high = long * 0.3, long * 0.2 + 0.12
    piece.ball((0, high, 0), (wide, high * 1.25, long), paint)
    piece.box((0, high * 1.15, -long * 0.3), (wide * 0.86, high * 0.55, long * 0.52), paint)
    piece.box((0, high * 1.75, -long * 0.25), (wide * 0.7, high * 0.12, long * 0.5), deck)
    if kind == "sail":
        mast, foot = stage.plain((0.75, 0.72, 0.68)), (0, high, long * 0.15)
        piece.bar(foot, (0, 6.2, long * 0.15), 0.05, mast)
        cloth = stage.paint(draw.choice(("pale", "pale", "any")))
        for k in range(12):  # a sail, narrower towards the top
            half = (1 - k / 12) * long * 0.33
            at = (0, 1.4 + 0.38 * k, long * 0.12 - half)
            piece.box(at, (0.025, 0.19, half), cloth)
        piece.bar((0, 1.05, long * 0.15), (0, 1.05, -long * 0.6), 0.04, mast)
    elif kind == "motor":
        cabin = stage.paint("pale")
        piece.box((0, high * 2.2, -long * 0.15), (wide * 0.62, 0.42, long * 0.3), cabin)
        glass = _glass(stage)
        piece.box((0, high * 2.2 + 0.1, -long * 0.15), (wide * 0.64, 0.17, long * 0.27), glass)
        piece.box((0, high * 2.2 + 0.1, -long * 0.15), (wide * 0.5, 0.17, long * 0.31), glass)
    else:
        for z in (-0.4, 0.25):
            piece.box((0, high * 1.9, z * long), (wide * 0.85, 0.03, 0.14), deck)
        for side in (-1, 1):
            piece.bar((side * 0.2, high * 2, 0), (side * 1.8, 0.05, -0.2), 0.03, deck)


def aeroplane(stage: Stage, frame: Frame) -> None:
    """An aeroplane, its fuselage's axis at height 0, about 20 m long."""
    draw = stage.draw
    piece = stage.piece("aeroplane", frame)
    paint = stage.paint(draw.choice(("pale", "pale", "any", "dark")))
    trim, steel = stage.paint("any"), stage.plain((0.5, 0.5, 0.53))
    dark = stage.plain((0.12, 0.13, 0.15))
    piece.tube((0, 0, 0), (1.0, 7.5, 1.0), paint, axes=turn(pitch=math.pi / 2))
    piece.ball((0, 0, 7.4), (1.0, 1.0, 2.2), paint)
    piece.ball((0, 0.15, -7.4), (1.0, 0.85, 3.6), paint)
    piece.ball((0, 0.42, 8.2), (0.7, 0.42, 1.0), dark)
    for z in range(-5, 7):
        piece.box((0, 0.25, z), (1.02, 0.16, 0.2), dark)
    if draw.chance(0.5):
        piece.box((0, -0.25, 0), (1.015, 0.12, 7.0), trim)
    for side in (-1, 1):
        sweep = turn(yaw=-side * 0.42)
        piece.box(
            (side * 4.6, -0.35, -1.3), (4.7, 0.13, 1.05), paint, axes=turn(roll=side * 0.06) @ sweep
        )
        piece.box((side * 1.9, 0.5, -9.2), (1.9, 0.1, 0.65), trim, axes=sweep)
        piece.ball((side * 3.1, -1.0, 0.2), (0.55, 0.55, 1.3), steel)
        if draw.chance(0.5):
            piece.ball((side * 6.0, -0.8, -1.4), (0.45, 0.45, 1.1), steel)
    piece.box((0, 2.0, -9.2), (0.11, 1.7, 0.9), trim, axes=turn(pitch=0.45))


def wheels_down(stage: Stage, piece_frame: Frame) -> None:
    """The wheels that carry an aeroplane on the ground, 2.3 m below its axis."""
    piece = Piece(stage, piece_frame, len(stage.context) - 1, True)
    steel = stage.plain((0.45,) * 3)
    for x, z in ((0.0, 6.2), (-1.6, -1.0), (1.6, -1.0)):
        piece.bar((x, -0.5, z), (x, -1.9, z), 0.12, steel)
        at = (x, -1.9, z)
        piece.tube(at, (0.4, 0.3, 0.4), stage.plain((0.07,) * 3), axes=FLAT)
