"""The pieces of a rooms13 scene: what stands on the floor, hangs on a wall or lies on a top.

Every function puts one piece, with what belongs to it, into a ``Room``; it does nothing where no
free place is found. Sizes in meters, in the piece's frame (right, up, front).
"""

import math

from mtpsl.data.scenes.stage import Frame, Paint, Room, turn

WOODS = ("wood", "wood", "wood", "earth", "pale")
METAL = Paint((0.55, 0.55, 0.56))
DARK = Paint((0.09, 0.09, 0.1))


def wooden(room: Room, palettes: tuple[str, ...] = WOODS) -> Paint:
    return room.paint(room.draw.choice(palettes), "grain", (0.6, 0.05))


def fabric(room: Room, palette: str = "any") -> Paint:
    return room.paint(palette, "cloth", (0.09, 0.09))


def panels(room: Room, size: tuple[float, float], palettes=("wood", "wood", "earth")) -> Paint:
    return room.paint(room.draw.choice(palettes), "panels", size)


# ------------------------------------------------------------------- furniture


def cabinet(room: Room, height: float | None = None) -> None:
    """A dresser or a wardrobe."""
    draw = room.draw
    high = height or draw.choice((0.8, 0.95, 1.9), (0.35, 0.25, 0.4)) * draw.uniform(0.9, 1.1)
    w, d = draw.uniform(0.45, 0.8), draw.uniform(0.22, 0.32)
    if (frame := room.against_wall(w, d, high)) is None:
        return
    paint = panels(room, (w, 0.3 if high < 1.2 else high))
    room.piece("furniture", frame).box((0, high / 2, 0), (w, high / 2, d), paint)
    room.tops.append((frame.moved((0, high, 0)), w, d))


def kitchen(room: Room) -> None:
    """A counter with a dark worktop and, mostly, cabinets above it."""
    draw, d = room.draw, 0.3
    w = draw.uniform(0.8, 1.4)
    if (frame := room.against_wall(w, d, 0.92)) is None:
        return
    paint, piece = panels(room, (0.5, 0.6), ("wood", "pale")), room.piece("furniture", frame)
    piece.box((0, 0.44, 0), (w, 0.44, d), paint)
    piece.box((0, 0.9, 0.015), (w + 0.02, 0.025, d + 0.015), room.paint("dark"))
    room.tops.append((frame.moved((0, 0.92, 0)), w, d))
    if draw.chance(0.7):
        room.piece("furniture", frame).box((0, 1.8, -0.13), (w, 0.36, 0.17), paint)


def shelf(room: Room) -> None:
    """Boards with rows of books, rarely of other things."""
    draw, d, gap = room.draw, 0.17, 0.38
    w, rows = draw.uniform(0.45, 0.75), draw.choice((3, 4, 5))
    high = rows * gap + 0.03
    if (frame := room.against_wall(w, d, high)) is None:
        return
    wood, piece = wooden(room), room.piece("furniture", frame)
    piece.box((0, high / 2, -d + 0.01), (w, high / 2, 0.01), wood)
    for k in range(rows + 1):
        piece.box((0, 0.015 + gap * k, 0), (w, 0.018, d), wood)
    piece.pair((w, high / 2, 0), (0.02, high / 2, d), wood)
    for k in range(rows):
        wide = (w - 0.03) * draw.uniform(0.7, 1.0)
        tall, right = draw.uniform(0.12, 0.16), draw.choice((-1, 1)) * (w - 0.03 - wide)
        name, paint = "books", room.paint("any", "books", (0.06, 1.0))
        if draw.chance(0.2):
            name, paint = "objects", fabric(room)
        at = (right, 0.035 + gap * k + tall, 0.02)
        room.piece(name, frame, shadow=False).box(at, (wide, tall, 0.12), paint)


def bed(room: Room) -> None:
    """A mattress with a quilt, a headboard and pillows (objects)."""
    draw = room.draw
    w, d, high = draw.choice((0.55, 0.8, 0.95)), 1.0, draw.uniform(0.45, 0.6)
    if (frame := room.against_wall(w, d, 0.7, tries=40)) is None:
        return
    piece = room.piece("bed", frame)
    quilt = room.paint(draw.choice(("pale", "pale", "any")), "tiles", (0.22, 0.22))
    piece.box((0, high * 0.3, 0), (w - 0.02, high * 0.3, d - 0.02), wooden(room))
    piece.box((0, high * 0.75, 0), (w, high * 0.22, d), fabric(room, "pale"))
    piece.box((0, high * 0.7, 0.22), (w + 0.02, high * 0.3, 0.79), quilt)
    piece.box((0, 0.5, -d), (w + 0.03, 0.48, 0.04), wooden(room))
    pillow = fabric(room, draw.choice(("any", "pale")))
    for right in (-0.5, 0.5) if w > 0.6 else (0.0,):
        one = room.piece("objects", frame, shadow=False)
        one.ball((right * w, high + 0.09, -d + 0.28), (w * 0.42, 0.13, 0.22), pillow)
    for side in (-1, 1):
        beside = frame.moved((side * (w + 0.3), 0, -d + 0.24))
        if draw.chance(0.6) and room.inside(beside) and room.free(beside, 0.22, 0.2):
            stand, up = room.piece("furniture", beside), draw.uniform(0.45, 0.6)
            stand.box((0, up / 2, 0), (0.23, up / 2, 0.2), panels(room, (0.46, 0.25)))
            room.tops.append((beside.moved((0, up, 0)), 0.2, 0.18))


def sofa(room: Room, half: float | None = None, name: str = "sofa") -> None:
    """A sofa or an armchair (a chair) with a cushion (an object)."""
    draw, w = room.draw, half or room.draw.uniform(0.75, 1.15)
    wide, at_wall = w + 0.19, draw.chance(0.75)
    frame = room.against_wall(wide, 0.45, 0.85) if at_wall else room.on_floor(wide, 0.45)
    if frame is None:
        return
    piece, seats = room.piece(name, frame), max(1, round(w / 0.4))
    cloth = fabric(room, draw.choice(("any", "dark", "earth")))
    piece.box((0, 0.2, 0), (w, 0.17, 0.44), cloth)
    for k in range(seats):
        at = (w * ((2 * k + 1) / seats - 1), 0.43, 0.06)
        piece.box(at, (w / seats - 0.012, 0.08, 0.38), cloth)
    piece.box((0, 0.6, -0.32), (w, 0.3, 0.12), cloth, axes=turn(pitch=0.12))
    piece.pair((w + 0.09, 0.32, 0), (0.1, 0.31, 0.45), cloth)
    if draw.chance(0.35):
        cushion, at = room.piece("objects", frame, shadow=False), draw.uniform(-0.6, 0.6) * w
        cushion.ball((at, 0.68, -0.1), (0.23, 0.2, 0.1), fabric(room))


def table(room: Room, chairs: float = 1.0, low: bool = False, wall: float = 0.3) -> None:
    """A dining table, a desk or a coffee table, with chairs around it."""
    draw = room.draw
    w, d = draw.uniform(0.55, 0.95), draw.uniform(0.4, 0.55)
    up = draw.uniform(0.4, 0.48) if low else draw.uniform(0.7, 0.78)
    frame = room.against_wall(w, d, up) if draw.chance(wall) else room.on_floor(w, d)
    if frame is None:
        return
    piece, wood = room.piece("table", frame), wooden(room, ("wood",))
    if draw.chance(0.25):
        piece.tube((0, up - 0.025, 0), (w, 0.025, d), wood)
        piece.tube((0, up / 2, 0), (0.06, up / 2, 0.06), wood)
        piece.tube((0, 0.02, 0), (0.28, 0.02, 0.28), wood)
    else:
        piece.box((0, up - 0.03, 0), (w, 0.03, d), wood)
        piece.legs(w - 0.05, up - 0.04, d - 0.05, 0.035, wood)
    room.tops.append((frame.moved((0, up, 0)), w * 0.8, d * 0.8))
    for _ in range(draw.count(chairs)):
        ahead, behind = (draw.uniform(-0.4, 0.4) * w for _ in range(2))
        ends = ((ahead, d + 0.24, math.pi), (behind, -d - 0.24, 0.0))
        sides = ((w + 0.24, 0.0, -math.pi / 2), (-w - 0.24, 0.0, math.pi / 2))
        right, front, yaw = draw.choice((ends[0], *sides, ends[1]))
        place = frame.moved((right, 0, front), yaw=yaw + draw.normal(0, 0.1))
        if room.inside(place) and room.free(place, 0.17, 0.17):
            _chair(room, place)


def _chair(room: Room, frame: Frame) -> None:
    """On four legs, of wood with a seat and a back, all of one kind."""
    piece, wood, w, up = room.piece("chair", frame), wooden(room, ("wood", "dark")), 0.22, 0.46
    seat = wood if room.draw.chance(0.4) else fabric(room, "dark")
    piece.box((0, up, 0), (w, 0.035, w), seat)
    back = room.draw.uniform(0.2, 0.27)
    piece.box((0, up + 0.12 + back, -w + 0.02), (w, back, 0.025), seat)
    piece.legs(w - 0.025, up, w - 0.025, 0.025, wood)


def chair(room: Room) -> None:
    """A chair that stands by itself."""
    if (frame := room.on_floor(0.24, 0.24)) is not None:
        _chair(room, frame)


def television(room: Room) -> None:
    """A large screen on a low stand or on the wall."""
    draw = room.draw
    w = draw.uniform(0.5, 0.8)
    high = 0.58 * w
    if draw.chance(0.3):
        up = draw.uniform(1.2, 1.5)
        frame = room.hang(w, up - high - 0.06, up + high, 0.04)
    else:
        low = draw.uniform(0.4, 0.6)
        up = low + high + 0.06
        if frame := room.against_wall(w + 0.1, 0.22, up + high):
            half, paint = (w + 0.1, low / 2, 0.22), panels(room, (w, 0.3))
            room.piece("furniture", frame).box((0, low / 2, 0), half, paint)
    if frame is not None:
        piece = room.piece("tv", frame)
        glass = Paint((0.04, 0.045, 0.055), "screen", (0.3, 0.35, 0.42), (2 * w, 2 * high))
        piece.box((0, up, 0), (w, high, 0.03), DARK)
        piece.box((0, up, 0.025), (w - 0.025, high - 0.025, 0.01), glass)
        piece.box((0, up - high - 0.03, 0), (0.3 * w, 0.03, 0.09), DARK)


def picture(room: Room) -> None:
    """A framed picture of strong colors."""
    draw = room.draw
    w, h, up = draw.uniform(0.3, 0.65), draw.uniform(0.25, 0.45), draw.uniform(1.45, 1.7)
    if (frame := room.hang(w, up - h, up + h, 0.015)) is None:
        return
    piece = room.piece("picture", frame, shadow=False)
    piece.box((0, up, 0), (w, h, 0.015), room.paint(draw.choice(("wood", "dark", "dark"))))
    art = room.paint("any", "art", (0.7 * w, 0.7 * h))
    piece.box((0, up, 0.01), (w - 0.035, h - 0.035, 0.014), art)


def window(room: Room) -> None:
    """A bright window, often with curtains (objects)."""
    draw = room.draw
    w, h = draw.uniform(0.45, 0.9), draw.uniform(0.45, 0.65)
    up, curtains = min(draw.uniform(1.4, 1.6), room.height - h - 0.08), draw.chance(0.45)
    if (frame := room.hang(w + (0.3 if curtains else 0.06), up - h, up + h, 0.03)) is None:
        return
    piece, white = room.piece("window", frame, shadow=False), room.plain((0.85, 0.85, 0.83))
    size = (draw.choice((w, 2 * w)), h)
    view = Paint((0.7, 0.8, 0.9), "panes", white.color, size, white.seed)
    piece.box((0, up, -0.01), (w, h, 0.012), view)
    for side in (-1, 1):
        piece.box((side * w, up, 0), (0.04, h + 0.04, 0.03), white)
        piece.box((0, up + side * h, 0), (w, 0.04, 0.03), white)
    if curtains:
        paint = room.paint("any", "folds", (draw.uniform(0.1, 0.16), 1.0))
        low = draw.choice((0.05, up - h - 0.12))
        half = (up + h + 0.12 - low) / 2
        for right in (-w - 0.1, w + 0.1):
            at = (right, low + half, 0.07)
            room.piece("objects", frame).box(at, (0.24, half, 0.03), paint)


# --------------------------------------------------------------------- objects


def door(room: Room) -> None:
    """A closed door in its frame."""
    w, h = room.draw.uniform(0.38, 0.46), 1.01
    if (frame := room.hang(w + 0.06, 0.0, 2 * h, 0.02)) is None:
        return
    paint, piece = panels(room, (w, 0.95), ("pale", "wood")), room.piece("objects", frame)
    piece.box((0, h, 0), (w, h, 0.02), paint)
    piece.pair((w + 0.03, h + 0.02, 0), (0.04, h + 0.02, 0.04), paint)
    piece.box((0, 2 * h + 0.02, 0), (w, 0.04, 0.04), paint)
    piece.ball((w - 0.07, 0.98, 0.05), (0.04, 0.04, 0.04), METAL)
    room.free(frame, w, 0.3)  # nothing stands in front of it


def appliance(room: Room) -> None:
    """A refrigerator, a stove or a washing machine: white or gray metal."""
    high, w = room.draw.choice((0.88, 1.5, 1.8)), room.draw.uniform(0.3, 0.4)
    if (frame := room.against_wall(w, 0.32, high)) is None:
        return
    gray = room.draw.uniform(0.5, 0.9)
    paint = room.plain((gray, gray, gray * 1.02), "panels", (2 * w, high * 0.6))
    piece = room.piece("objects", frame)
    piece.box((0, high / 2, 0), (w, high / 2, 0.32), paint)
    piece.box((w - 0.06, high * 0.7, 0.34), (0.02, high * 0.15, 0.02), METAL)


def bathroom(room: Room) -> None:
    """A tub with a curtain and a toilet, white; a mirror."""
    white = room.plain((0.87, 0.87, 0.88))
    if (frame := room.against_wall(0.8, 0.36, 0.6)) is not None:
        piece = room.piece("objects", frame)
        piece.box((0, 0.28, 0), (0.8, 0.28, 0.36), white)
        piece.box((0, 0.562, 0), (0.7, 0.004, 0.27), room.plain((0.62, 0.63, 0.64)))
        if room.draw.chance(0.6):
            paint = room.paint("any", "folds", (0.12, 1.0))
            at = (room.draw.choice((-0.45, 0.45)), 1.25, 0.33)
            room.piece("objects", frame).box(at, (0.35, 0.72, 0.02), paint)
    if (frame := room.against_wall(0.22, 0.3, 0.8)) is not None:
        piece = room.piece("objects", frame)
        piece.box((0, 0.55, -0.2), (0.2, 0.2, 0.1), white)
        piece.tube((0, 0.22, 0.05), (0.19, 0.22, 0.24), white)
    if (frame := room.hang(0.4, 1.15, 1.85, 0.015)) is not None:
        glass = Paint((0.5, 0.55, 0.58), "screen", (0.8, 0.85, 0.85), (0.8, 0.7))
        room.piece("objects", frame, shadow=False).box((0, 1.5, 0), (0.4, 0.35, 0.015), glass)


def standing(room: Room) -> None:
    """A plant, a lamp, a bin or a carton on the floor."""
    draw = room.draw
    if (frame := room.on_floor(0.22, 0.22, tries=6)) is not None:
        kind = draw.choice(("plant", "lamp", "vase", "box"), (2, 2, 1, 3))
        thing(room, frame.moved(scale=draw.uniform(1.1, 1.7)), kind, 0.9)


def lying(room: Room) -> None:
    """One thing on a table or a cabinet."""
    draw = room.draw
    frame, *halves = draw.choice(room.tops)
    x, z = (draw.uniform(-1, 1) * max(half - 0.15, 0.0) for half in halves)
    kind = draw.choice(("lamp", "plant", "books", "vase", "box"), (2, 1.5, 1, 1, 3))
    scale = draw.uniform(0.5, 0.8) if kind == "plant" else 1.0
    thing(room, frame.moved((x, 0, z), yaw=draw.uniform(-0.3, 0.3), scale=scale), kind, 0.3)


def thing(room: Room, frame: Frame, kind: str, tall: float) -> None:
    """An object of a kind, or books; ``tall``: the height of a lamp, m."""
    draw, piece = room.draw, room.piece("books" if kind == "books" else "objects", frame)
    if kind == "lamp":
        piece.tube((0, 0.015, 0), (0.12, 0.015, 0.12), DARK)
        piece.tube((0, tall / 2, 0), (0.02, tall / 2, 0.02), DARK)
        piece.tube((0, tall + 0.1, 0), (0.15, 0.13, 0.15), Paint((0.95, 0.86, 0.66), "glow"))
    elif kind == "plant":
        piece.tube((0, 0.14, 0), (0.14, 0.14, 0.14), room.paint(draw.choice(("wood", "earth"))))
        leaf = room.paint("green", "leaves", (0.09, 0.09))
        for k in range(4):
            angle, size = math.pi * k / 2 + draw.uniform(0, 1), draw.uniform(0.13, 0.2)
            at = (0.13 * math.cos(angle), draw.uniform(0.42, 0.75), 0.13 * math.sin(angle))
            piece.ball(at, (size, 1.2 * size, size), leaf)
    elif kind == "books":
        for k in range(3):
            half, axes = (0.15, 0.03, 0.11), turn(yaw=draw.normal(0, 0.2))
            piece.box((0, 0.03 + 0.06 * k, 0), half, room.paint("any"), axes=axes)
    elif kind == "vase":
        high, paint = draw.uniform(0.1, 0.16), room.paint("any")
        piece.ball((0, high, 0), (0.1, high, 0.1), paint)
        piece.tube((0, 2 * high, 0), (0.045, 0.06, 0.045), paint)
    else:
        half = (draw.uniform(0.12, 0.2), draw.uniform(0.08, 0.16), draw.uniform(0.1, 0.15))
        piece.box((0, half[1], 0), half, room.paint("any", "stripes", (0.2, 0.2)))
