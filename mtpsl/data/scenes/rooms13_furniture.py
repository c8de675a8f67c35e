"""The pieces of a rooms13 scene: what stands on the floor, hangs on a wall or lies on a top.

Every function puts one piece, with what belongs to it, into a ``Room``; it does nothing where no
free place is found. Sizes in meters, in the piece's frame (right, up, front).
"""

import math

from mtpsl.data.scenes.rooms13_scene import Item, Paint, Room, Spot, Top

WOODS = ("wood", "wood", "wood", "pale", "any")
METAL = Paint((0.55, 0.55, 0.56))


def _wood(room: Room, palettes: tuple[str, ...] = WOODS) -> Paint:
    return room.paint(room.draw.choice(palettes), "grain", (0.5, 0.03))


def _cloth(room: Room, palette: str = "any") -> Paint:
    pattern = room.draw.choice(("cloth", "cloth", "stripes", "plain", "tiles"))
    size = room.draw.uniform(0.08, 0.25)
    return room.paint(palette, pattern, (size, size))


def _legs(item: Item, right: float, up: float, front: float, thick: float, paint: Paint) -> None:
    shape = item.tube if item.room.draw.chance(0.5) else item.box
    for sx in (-1, 1):
        for sz in (-1, 1):
            shape((sx * right, up / 2, sz * front), (thick, up / 2, thick), paint)


def cabinet(room: Room, height: float | None = None) -> None:
    """A nightstand, a dresser or a wardrobe."""
    draw = room.draw
    h = height or draw.choice((0.55, 0.8, 0.95, 1.9), (0.2, 0.28, 0.2, 0.32)) * draw.uniform(
        0.9, 1.1
    )
    w, d = draw.uniform(0.3, 0.6 if h < 0.7 else 1.0), draw.uniform(0.2, 0.32)
    spot = room.against_wall(w, d, h)
    if spot is None:
        return
    door = draw.uniform(0.3, 0.5) if h > 0.7 else 2 * w
    paint = room.paint(draw.choice(WOODS), "panels", (door, draw.choice((0.22, 0.3, h))))
    item = room.item("furniture", spot)
    item.box((0, h / 2 + 0.03, 0), (w, h / 2 - 0.03, d), paint)
    item.box((0, 0.03, -0.03), (w - 0.02, 0.03, d - 0.03), Paint((0.1, 0.09, 0.08)))
    room.tops.append(Top(spot, w, d, h))


def kitchen(room: Room) -> None:
    """A counter with a worktop and, mostly, cabinets above it."""
    draw = room.draw
    w, d = draw.uniform(0.8, 1.6), 0.3
    spot = room.against_wall(w, d, 0.92)
    if spot is None:
        return
    paint = room.paint(draw.choice(WOODS), "panels", (draw.uniform(0.4, 0.6), 0.6))
    item = room.item("furniture", spot)
    item.box((0, 0.44, 0), (w, 0.44, d), paint)
    item.box((0, 0.9, 0.015), (w + 0.02, 0.02, d + 0.015), room.paint("dark"))
    room.tops.extend([Top(spot, w, d, 0.92)] * 2)
    if draw.chance(0.75):
        item = room.item("furniture", spot)
        item.box((0, 1.8, -0.13), (w, 0.36, 0.17), paint)


def shelf(room: Room) -> None:
    """Boards with rows of books and things."""
    draw = room.draw
    w, d, h = draw.uniform(0.35, 0.7), 0.16, draw.uniform(0.9, 2.05)
    spot = room.against_wall(w, d, h)
    if spot is None:
        return
    paint = _wood(room)
    item = room.item("furniture", spot)
    item.box((0, h / 2, -d + 0.01), (w, h / 2, 0.01), paint)
    boards = max(2, round(h / 0.38))
    for k in range(boards + 1):
        item.box((0, 0.02 + (h - 0.04) * k / boards, 0), (w, 0.015, d), paint)
    for sx in (-1, 1):
        item.box((sx * w, h / 2, 0), (0.015, h / 2, d), paint)
    room.tops.append(Top(spot, w, d, h))
    gap = (h - 0.04) / boards
    for k in range(boards):
        up = 0.04 + gap * k
        if draw.chance(0.8):
            _books(room, spot, w - 0.03, gap, up)


def _books(room: Room, spot: Spot, half: float, gap: float, up: float) -> None:
    draw = room.draw
    kind = "books" if draw.chance(0.62) else "objects"
    wide = half * draw.uniform(0.45, 0.98)
    right = draw.uniform(-1, 1) * (half - wide)
    tall = gap * draw.uniform(0.3, 0.42)
    paint = room.paint("any", "books", (0.035, 1.0)) if kind == "books" else _cloth(room)
    item = room.item(kind, spot, shadow=False)
    item.box((right, up + tall, 0), (wide, tall, 0.11), paint)


def bed(room: Room) -> None:
    """A mattress with a cover, a headboard and pillows."""
    draw = room.draw
    w, d, h = draw.choice((0.5, 0.75, 0.95)), 1.0, draw.uniform(0.45, 0.6)
    spot = room.against_wall(w, d, 0.7, tries=40)
    if spot is None:
        return
    item = room.item("bed", spot)
    cover, sheet = _cloth(room), _cloth(room, "pale")
    item.box((0, h * 0.3, 0), (w - 0.02, h * 0.3, d - 0.02), _wood(room))
    item.box((0, h * 0.75, 0), (w, h * 0.2, d), sheet)
    item.box((0, h * 0.7, 0.25), (w + 0.02, h * 0.28, 0.76), cover)
    item.box((0, 0.5, -d), (w + 0.03, 0.5 * draw.uniform(0.8, 1.1), 0.03), _wood(room))
    pillow = room.paint("any" if draw.chance(0.5) else "pale", "cloth")
    for sx in (-0.5, 0.5) if w > 0.6 else (0.0,):
        one = room.item("objects", spot, shadow=False)
        one.ball((sx * w, h + 0.07, -d + 0.25), (w * 0.4, 0.1, 0.19), pillow)
    if draw.chance(0.5):
        room.tops.append(Top(spot, w * 0.8, d * 0.6, h))
    for sx in (-1, 1):
        if draw.chance(0.6):
            _nightstand(room, spot.shifted(sx * (w + 0.3), -d + 0.25))


def _nightstand(room: Room, spot: Spot) -> None:
    if not room.free(spot, 0.2, 0.18):
        return
    item = room.item("furniture", spot)
    h = room.draw.uniform(0.45, 0.6)
    paint = room.paint(room.draw.choice(WOODS), "panels", (0.44, 0.2))
    item.box((0, h / 2, 0), (0.22, h / 2, 0.2), paint)
    if room.draw.chance(0.7):
        lamp(room, spot, h)
    else:
        room.tops.append(Top(spot, 0.2, 0.18, h))


def armchair(room: Room) -> None:
    """A chair that looks like a narrow sofa."""
    sofa(room, 0.32, "chair", 0.4)


def sofa(room: Room, half: float | None = None, name: str = "sofa", cushions: float = 1.3) -> None:
    """A sofa with cushions (objects)."""
    draw = room.draw
    w, d = half or draw.uniform(0.7, 1.15), 0.44
    if draw.chance(0.75):
        spot = room.against_wall(w + 0.08, d, 0.85, tries=16)
    else:
        spot = room.on_floor(w + 0.08, d)
    if spot is None:
        return
    item, paint = room.item(name, spot), _cloth(room, draw.choice(("any", "any", "dark", "pale")))
    item.box((0, 0.2, 0), (w, 0.16, d), paint)
    for k in range(2):
        item.box(((k - 0.5) * w, 0.42, 0.06), (w / 2 - 0.01, 0.07, d - 0.05), paint)
    item.box((0, 0.45, -d + 0.1), (w, 0.42, 0.1), paint)
    for sx in (-1, 1):
        item.box((sx * (w + 0.02), 0.32, 0), (0.09, 0.31, d), paint)
    for _ in range(draw.count(cushions)):
        cushion = room.item("objects", spot, shadow=False)
        at = (draw.uniform(-0.75, 0.75) * w, 0.62, -0.12)
        cushion.ball(at, (0.2, 0.17, 0.09), _cloth(room), draw.uniform(-0.3, 0.3))


def table(room: Room, chairs: float = 1.0, low: bool = False, wall: float = 0.35) -> None:
    """A dining, coffee or side table, with chairs around it."""
    draw = room.draw
    w, d = draw.uniform(0.45, 1.0), draw.uniform(0.35, 0.55)
    h = draw.uniform(0.38, 0.48) if low else draw.uniform(0.7, 0.78)
    spot = room.against_wall(w, d, h) if draw.chance(wall) else room.on_floor(w, d)
    if spot is None:
        return
    item, paint = room.item("table", spot), _wood(room, ("wood", "wood", "pale", "dark"))
    if draw.chance(0.25):
        item.tube((0, h - 0.02, 0), (w, 0.02, d), paint)
        item.tube((0, h / 2, 0), (0.05, h / 2, 0.05), paint)
        item.tube((0, 0.02, 0), (0.25, 0.02, 0.25), paint)
    else:
        item.box((0, h - 0.02, 0), (w, 0.02, d), paint)
        if draw.chance(0.5):
            item.box((0, h - 0.09, 0), (w - 0.05, 0.05, d - 0.05), paint)
        _legs(item, w - 0.05, h - 0.04, d - 0.05, draw.uniform(0.02, 0.035), paint)
    room.tops.extend([Top(spot, w * 0.9, d * 0.9, h)] * 2)
    look = (_cloth(room), _wood(room, ("wood", "dark", "pale")))
    for _ in range(draw.count(chairs)):
        side = draw.choice((0, 1, 2, 3))
        right, front, turn = (
            (draw.uniform(-0.5, 0.5) * w, d + 0.22, math.pi),
            (w + 0.22, 0.0, -math.pi / 2),
            (-w - 0.22, 0.0, math.pi / 2),
            (draw.uniform(-0.5, 0.5) * w, -d - 0.22, 0.0),
        )[side]
        chair(room, spot.shifted(right, front, turn + draw.normal(0, 0.3)), look)


def chair(room: Room, spot: Spot | None = None, look: tuple[Paint, Paint] | None = None) -> None:
    """A chair on four legs or an office chair."""
    draw = room.draw
    if spot is None:
        spot = room.on_floor(0.25, 0.25)
    elif not room.free(spot, 0.17, 0.17):
        spot = None
    if spot is None:
        return
    cloth, wood = look or (_cloth(room), _wood(room, ("wood", "dark", "pale")))
    seat = cloth if draw.chance(0.5) else wood
    w, up = draw.uniform(0.2, 0.25), draw.uniform(0.43, 0.48)
    item = room.item("chair", spot)
    item.box((0, up, 0), (w, 0.03, w), seat)
    back = draw.uniform(0.2, 0.27)
    item.box((0, up + 0.12 + back, -w + 0.02), (w - 0.01, back, 0.02), seat)
    if draw.chance(0.3):
        dark = room.paint("dark")
        item.tube((0, up / 2, 0), (0.03, up / 2, 0.03), dark)
        item.box((0, 0.05, 0), (w, 0.02, 0.03), dark, 0.4)
        item.box((0, 0.05, 0), (w, 0.02, 0.03), dark, 0.4 + math.pi / 2)
        item.box((0, up + 0.07, -w + 0.02), (0.03, 0.1, 0.015), dark)
    else:
        _legs(item, w - 0.025, up, w - 0.025, 0.02, wood)
        for sx in (-1, 1):
            item.box((sx * (w - 0.025), up + 0.12, -w + 0.02), (0.02, 0.14, 0.015), wood)


def television(room: Room) -> None:
    """A screen on a low stand or on the wall."""
    draw = room.draw
    w = draw.uniform(0.42, 0.75)
    h, dark = w * 0.6, room.paint("dark")
    screen = Paint((0.06, 0.07, 0.08), "screen", (0.3, 0.35, 0.4), (2 * w, 2 * h))
    if draw.chance(0.3):
        up = draw.uniform(1.1, 1.5)
        spot = room.hang(w, up - h, up + h, 0.04)
    else:
        up = draw.uniform(0.4, 0.6) + h + 0.05
        spot = room.against_wall(w + 0.1, 0.22, up + h)
        if spot is not None:
            stand = room.item("furniture", spot)
            paint = room.paint(draw.choice(WOODS), "panels", (w, 0.3))
            low = up - h - 0.05
            stand.box((0, low / 2, 0), (w + 0.1, low / 2, 0.22), paint)
    if spot is None:
        return
    item = room.item("tv", spot)
    item.box((0, up, 0), (w, h, 0.03), dark)
    item.box((0, up, 0.025), (w - 0.03, h - 0.03, 0.01), screen)
    item.box((0, up - h - 0.03, 0), (0.2, 0.03, 0.08), dark)


def desk_things(room: Room, top: Top) -> None:
    """A computer screen and a keyboard; both are objects."""
    item = room.item("objects", top.spot)
    dark = room.paint(room.draw.choice(("dark", "dark", "pale")))
    right, w = room.draw.uniform(-0.4, 0.4) * top.half_width, room.draw.uniform(0.22, 0.3)
    screen = Paint((0.08, 0.09, 0.1), "screen", (0.4, 0.5, 0.6), (2 * w, 1.2 * w))
    item.box((right, top.up + 0.1 + w * 0.6, -0.1), (w, w * 0.6, 0.02), dark)
    item.box((right, top.up + 0.1 + w * 0.6, -0.075), (w - 0.02, w * 0.6 - 0.02, 0.006), screen)
    item.box((right, top.up + 0.06, -0.1), (0.08, 0.06, 0.05), dark)
    item.box(
        (right, top.up + 0.015, 0.14), (0.2, 0.012, 0.07), room.paint("pale", "tiles", (0.02, 0.02))
    )


def picture(room: Room) -> None:
    """A framed picture."""
    draw = room.draw
    w, h = draw.uniform(0.2, 0.65), draw.uniform(0.2, 0.46)
    up = draw.uniform(1.25, 1.75)
    spot = room.hang(w, up - h, up + h, 0.015)
    if spot is None:
        return
    item = room.item("picture", spot, shadow=False)
    item.box((0, up, 0), (w, h, 0.015), room.paint(draw.choice(("wood", "dark", "pale"))))
    art = room.paint("any", "art", (w, h))
    item.box((0, up, 0.008), (w - 0.03, h - 0.03, 0.012), art)


def window(room: Room) -> None:
    """A window, often with curtains (objects) or a lowered blind."""
    draw = room.draw
    w, h = draw.uniform(0.45, 1.2), draw.uniform(0.5, 0.8)
    up = min(draw.uniform(1.35, 1.6), room.height - h - 0.08)
    curtains = draw.chance(0.45)
    spot = room.hang(w + (0.3 if curtains else 0.06), up - h, up + h, 0.03)
    if spot is None:
        return
    item = room.item("window", spot, shadow=False)
    frame = room.paint("pale")
    glass = "stripes" if draw.chance(0.2) else "panes"
    sky = Paint(draw.color("pale"), glass, frame.color, (draw.choice((w, w, 2 * w)), h), frame.seed)
    if glass == "stripes":
        sky = Paint(frame.color, glass, draw.color("pale"), (10.0, 0.06), frame.seed)
    item.box((0, up, -0.01), (w, h, 0.012), sky)
    for sx in (-1, 1):
        item.box((sx * w, up, 0), (0.035, h + 0.035, 0.03), frame)
        item.box((0, up + sx * h, 0), (w, 0.035, 0.03), frame)
    item.box((0, up - h - 0.03, 0.04), (w + 0.06, 0.015, 0.07), frame)
    room.windows.append(spot)
    if curtains:
        paint = room.paint("any", "folds", (draw.uniform(0.07, 0.12), 1.0))
        low = draw.choice((0.05, up - h - 0.12))
        half = (up + h + 0.12 - low) / 2
        for sx in (-1, 1):
            wide = draw.uniform(0.14, 0.28)
            cloth = room.item("objects", spot)
            cloth.box((sx * (w + 0.2 - wide / 2), low + half, 0.07), (wide, half, 0.03), paint)


def door(room: Room) -> None:
    """A closed door in its frame."""
    draw = room.draw
    w, h = draw.uniform(0.38, 0.46), 1.01
    spot = room.hang(w + 0.06, 0.0, 2 * h, 0.02)
    if spot is None:
        return
    paint = room.paint(draw.choice(("wood", "pale")), "panels", (w, 0.95))
    item = room.item("objects", spot)
    item.box((0, h, 0), (w, h, 0.02), paint)
    for sx in (-1, 1):
        item.box((sx * (w + 0.03), h + 0.02, 0), (0.035, h + 0.02, 0.035), paint)
    item.box((0, 2 * h + 0.02, 0), (w, 0.035, 0.035), paint)
    item.ball((w - 0.07, 0.98, 0.05), (0.03, 0.03, 0.03), METAL)
    room.free(spot, w, 0.25)  # nothing stands in front of it


def appliance(room: Room) -> None:
    """A refrigerator, a stove or a washing machine: large objects."""
    draw = room.draw
    h = draw.choice((0.88, 1.5, 1.8))
    w = draw.uniform(0.3, 0.4)
    spot = room.against_wall(w, 0.32, h)
    if spot is None:
        return
    paint = room.paint(draw.choice(("pale", "pale", "dark")), "panels", (2 * w, h * 0.6))
    item = room.item("objects", spot)
    item.box((0, h / 2, 0), (w, h / 2, 0.32), paint)
    item.box((w - 0.06, h * 0.7, 0.34), (0.015, h * 0.15, 0.015), METAL)
    if h < 1:
        room.tops.append(Top(spot, w, 0.3, h))


def bathroom(room: Room) -> None:
    """A tub with a curtain, a toilet and a mirror: all of them objects."""
    draw = room.draw
    white = room.paint("pale")
    spot = room.against_wall(0.8, 0.36, 0.6, tries=16)
    if spot is not None:
        item = room.item("objects", spot)
        item.box((0, 0.28, 0), (0.8, 0.28, 0.36), white)
        item.box((0, 0.562, 0), (0.7, 0.004, 0.27), Paint((0.62, 0.63, 0.64)))
        if draw.chance(0.7):
            curtain = room.item("objects", spot)
            paint = room.paint("any", "folds", (0.1, 1.0))
            curtain.box((draw.choice((-0.45, 0.45)), 1.25, 0.33), (0.35, 0.72, 0.02), paint)
    spot = room.against_wall(0.22, 0.3, 0.8)
    if spot is not None:
        item = room.item("objects", spot)
        item.box((0, 0.55, -0.2), (0.2, 0.2, 0.1), white)
        item.tube((0, 0.2, 0.05), (0.17, 0.2, 0.22), white)
        item.tube((0, 0.42, 0.05), (0.2, 0.02, 0.25), white)
    up = 1.5
    spot = room.hang(0.4, up - 0.35, up + 0.35, 0.015)
    if spot is not None:
        item = room.item("objects", spot, shadow=False)
        mirror = Paint((0.5, 0.55, 0.58), "screen", (0.8, 0.85, 0.85), (0.8, 0.7))
        item.box((0, up, 0), (0.4, 0.35, 0.015), mirror)


def lamp(room: Room, spot: Spot, up: float) -> None:
    """A table lamp, or a floor lamp for ``up`` = 0."""
    tall = 1.4 if up == 0 else room.draw.uniform(0.25, 0.4)
    item = room.item("objects", spot)
    dark = room.paint("dark")
    item.tube((0, up + 0.015, 0), (0.1, 0.015, 0.1), dark)
    item.tube((0, up + tall / 2, 0), (0.018, tall / 2, 0.018), dark)
    shade = Paint((0.95, 0.88, 0.72), "glow")
    item.tube((0, up + tall + 0.08, 0), (0.14, 0.11, 0.14), shade)


def plant(room: Room, spot: Spot, up: float, scale: float) -> None:
    """A pot with leaves."""
    draw = room.draw
    item = room.item("objects", spot)
    item.tube(
        (0, up + 0.13 * scale, 0), (0.13 * scale, 0.13 * scale, 0.13 * scale), room.paint("any")
    )
    green = Paint((0.2, draw.uniform(0.35, 0.5), 0.18), "cloth", (0.1, 0.3, 0.1), (0.05, 0.05))
    for _ in range(5):
        size = draw.uniform(0.1, 0.2) * scale
        at = (
            draw.normal(0, 0.09) * scale,
            up + draw.uniform(0.3, 0.75) * scale,
            draw.normal(0, 0.09) * scale,
        )
        item.ball(at, (size * 0.7, size, size * 0.7), green)
