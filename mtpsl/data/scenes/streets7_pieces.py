"""The pieces of a streets7 scene: what stands beside the road and what moves on it.

Every function puts one piece at a ``Place``. Sizes in meters, in the piece's frame (right, up,
front). Pieces far away are built of fewer shapes, which nobody can tell apart there.
"""

import math

from mtpsl.data.scenes.rooms13_scene import Color, Paint
from mtpsl.data.scenes.streets7_scene import ID, Item, Place, Street

FAR = 30.0  # m from which on pieces are coarse
METAL = (0.42, 0.43, 0.44)
RUBBER = Paint((0.08, 0.08, 0.085))


def _gray(street: Street, low: float, high: float) -> Color:
    value = street.draw.uniform(low, high)
    return (value, value, value * 1.02)


# ---------------------------------------------------------------- construction


def building(
    street: Street, place: Place, half_width: float, half_depth: float, tall: float | None = None
) -> None:
    """A house, along the street as deep as it is."""
    draw = street.draw
    tall = tall or draw.choice(
        (draw.uniform(3.2, 6), draw.uniform(6, 13), draw.uniform(12, 22)), (1, 4.5, 4.5)
    )
    facade = draw.choice(("facade", "facade", "brick"))
    cell = (draw.uniform(1.3, 3.4), draw.uniform(2.6, 3.6))
    paint = street.paint(draw.choice(("pale", "pale", "earth", "earth", "any", "dark")), facade)
    glass = draw.uniform(0.1, 0.35)
    paint = Paint(paint.color, facade, (glass, glass * 1.05, glass * 1.12), cell, paint.seed)
    item = street.item(ID["construction"], place)
    item.box((0, tall / 2 - 1, 0), (half_width, tall / 2 + 1, half_depth), paint)
    near = place.z - half_depth < FAR
    if near and draw.chance(0.6):  # shops
        shop = street.paint(draw.choice(("dark", "any", "pale")), "shop", (draw.uniform(2, 4), 3.2))
        item.box((0, 0.6, 0), (half_width + 0.12, 2.6, half_depth - 0.1), shop)
    if tall < 13 and place.z < 2 * FAR and draw.chance(0.5):  # a roof
        roof = street.paint(draw.choice(("dark", "earth", "any")), "tiles", (0.5, 0.4))
        lean = draw.uniform(0.5, 0.9) * half_width
        item.box((0, tall + 0.1, 0), (half_width + 0.3, 0.12, half_depth + 0.2), roof)
        item.box((0, tall + lean / 2, 0), (half_width * 0.55, lean / 2, half_depth), roof)


def wall(street: Street, place: Place, half_length: float) -> None:
    """A wall or a fence along the street, or a hedge where a garden has no other."""
    draw = street.draw
    tall = draw.uniform(0.9, 2.4)
    pattern = draw.choice(("brick", "stripes", "plain"))
    paint = street.paint(draw.choice(("pale", "earth", "wood", "dark")), pattern, (0.5, 0.4))
    item = street.item(ID["construction"], place)
    item.box((0, tall / 2 - 0.3, 0), (0.1, tall / 2 + 0.3, half_length), paint)


def bridge(street: Street, z: float) -> None:
    """A bridge across the street."""
    draw = street.draw
    place, low = street.place(0.0, z), draw.uniform(5.0, 6.5)
    paint = street.paint(draw.choice(("pale", "earth", "dark")), "brick", (2.0, 1.0))
    item = street.item(ID["construction"], place)
    thick = draw.uniform(0.5, 1.2)
    item.box((0, low + thick, 0), (60, thick, draw.uniform(2, 5)), paint)
    for side in (-1, 1):
        right = side * (street.road + street.pavement + 1.0)
        item.box((right, low / 2 - 0.5, 0), (0.9, low / 2 + 0.5, 2.0), paint)


# ---------------------------------------------------------------- nature


def _leaves(street: Street) -> Paint:
    draw = street.draw
    if draw.chance(0.12):  # autumn, or bare
        color = (draw.uniform(0.35, 0.6), draw.uniform(0.28, 0.42), draw.uniform(0.12, 0.28))
    else:
        green = draw.uniform(0.3, 0.55)
        color = (green * draw.uniform(0.5, 0.98), green, green * draw.uniform(0.3, 0.75))
    grain = draw.uniform(0.25, 0.6)
    return Paint(color, "leaves", (0.1, 0.13, 0.09), (grain, grain), draw.integer(1 << 20))


def tree(street: Street, place: Place, tall: float) -> None:
    draw = street.draw
    item, leaves = street.item(ID["nature"], place), _leaves(street)
    trunk, thick = tall * draw.uniform(0.3, 0.45), 0.05 + tall * draw.uniform(0.012, 0.025)
    wide, high = tall * draw.uniform(0.22, 0.36), (tall - trunk) / 2
    if place.z < 2 * FAR:
        bark = street.paint(draw.choice(("wood", "dark")), "leaves", (0.2, 0.5))
        item.tube((0, trunk * 0.6 - 0.5, 0), (thick, trunk * 0.6 + 0.5, thick), bark)
    if place.z > FAR:
        item.ball((0, trunk + high, 0), (wide, high, wide), leaves)
        return
    for _ in range(draw.choice((3, 4))):
        size, angle = draw.uniform(0.55, 0.8), draw.uniform(0, 2 * math.pi)
        right, front = 0.55 * wide * math.cos(angle), 0.55 * wide * math.sin(angle)
        up = trunk + high * draw.uniform(0.6, 1.45)
        item.ball((right, up, front), (wide * size, high * size, wide * size), leaves)


def bush(street: Street, place: Place) -> None:
    """One or two, low."""
    draw = street.draw
    item, leaves = street.item(ID["nature"], place), _leaves(street)
    for _ in range(draw.choice((1, 2))):
        wide, high = draw.uniform(0.5, 1.7), draw.uniform(0.4, 1.5)
        at = (draw.uniform(-1, 1), high * 0.7, draw.uniform(-1.5, 1.5))
        item.ball(at, (wide, high, wide), leaves)


def hedge(street: Street, place: Place, half_length: float) -> None:
    draw = street.draw
    item, tall = street.item(ID["nature"], place), draw.uniform(0.5, 1.3)
    item.box((0, tall - 0.5, 0), (draw.uniform(0.3, 0.6), tall + 0.5, half_length), _leaves(street))


def wood(street: Street, place: Place, half_width: float, half_length: float) -> None:
    """A mass of crowns, such as a park."""
    draw = street.draw
    item, leaves = street.item(ID["nature"], place), _leaves(street)
    crowns = 4 if place.z < 1.5 * FAR else 2
    for i in range(crowns):
        tall, wide = draw.uniform(2.5, 7.5), half_width * draw.uniform(0.6, 1.1)
        front = half_length * ((2 * i + 1) / crowns - 1) + draw.uniform(-1, 1)
        right = draw.uniform(-0.4, 0.4) * half_width
        size = half_length * draw.uniform(0.3, 0.5) * 4 / crowns
        item.ball((right, tall * 0.75, front), (wide, tall, size), leaves)


# ---------------------------------------------------------------- objects


def lamp(street: Street, place: Place, side: int) -> None:
    """A street lamp, its arm over the road."""
    draw = street.draw
    item, tall = street.item(ID["object"], place), draw.uniform(4.5, 9.0)
    paint, thick = Paint(_gray(street, 0.2, 0.6)), draw.uniform(0.06, 0.11)
    item.tube((0, tall / 2 - 0.2, 0), (thick, tall / 2 + 0.2, thick), paint)
    arm = draw.uniform(0.4, 1.6)
    item.box((-side * arm / 2, tall, 0), (arm / 2 + 0.15, 0.05, 0.09), paint)


def sign(street: Street, place: Place) -> None:
    """A pole with one or two signs, facing the camera."""
    draw = street.draw
    item, tall = street.item(ID["object"], place), draw.uniform(2.2, 3.4)
    item.tube(
        (0, tall / 2 - 0.2, 0), (0.045, tall / 2 + 0.2, 0.045), Paint(_gray(street, 0.3, 0.7))
    )
    up = tall - 0.25
    for _ in range(draw.choice((1, 1, 2))):
        size, paint = draw.uniform(0.26, 0.42), street.paint("any", "sign", (0.3, 0.3))
        if draw.chance(0.5):
            paint = Paint(paint.color, "sign", (0.9, 0.9, 0.9), (0.3, 0.3), paint.seed)
        item.box((0, up, -0.06), (size, size * draw.uniform(0.7, 1.2), 0.02), paint)
        up -= 2 * size


def signal(street: Street, place: Place, side: int) -> None:
    """A traffic light."""
    draw = street.draw
    item, tall = street.item(ID["object"], place), draw.uniform(3.0, 5.2)
    paint, dark = Paint(_gray(street, 0.25, 0.55)), Paint((0.09, 0.1, 0.09))
    item.tube((0, tall / 2 - 0.2, 0), (0.08, tall / 2 + 0.2, 0.08), paint)
    rights = [0.0]
    if tall > 4.2:
        arm = draw.uniform(1.5, 4.0)
        item.box((-side * arm / 2, tall - 0.1, 0), (arm / 2, 0.06, 0.06), paint)
        rights.append(-side * arm)
    color = draw.choice(((0.95, 0.2, 0.12), (0.2, 0.9, 0.5), (0.95, 0.65, 0.1)))
    for right in rights:
        up = tall - 0.5 if right else 2.6
        item.box((right, up, -0.1), (0.17, 0.45, 0.12), dark)
        item.ball((right, up + 0.27, -0.22), (0.1, 0.1, 0.04), Paint(color, "glow"))


def bollards(street: Street, place: Place) -> None:
    draw = street.draw
    item, paint = street.item(ID["object"], place), street.paint("any", "stripes", (9.0, 0.4))
    step = draw.uniform(1.3, 2.0)
    for i in range(draw.choice((2, 3, 4))):
        item.tube((0, 0.35, i * step), (0.07, 0.5, 0.07), paint)


# ---------------------------------------------------------------- people


def person(street: Street, place: Place, child: bool = False) -> None:
    """Somebody walking or standing."""
    draw = street.draw
    item = street.item(ID["human"], place)
    h = draw.uniform(1.0, 1.4) if child else draw.normal(1.72, 0.08)
    skin = Paint((0.72 * (k := draw.uniform(0.45, 1.0)), 0.55 * k, 0.45 * k))
    coat = street.paint(draw.choice(("any", "dark", "dark", "pale")), "cloth", (0.1, 0.1))
    legs = street.paint(draw.choice(("dark", "dark", "any", "earth")), "cloth", (0.1, 0.1))
    broad = h * draw.uniform(0.125, 0.155)
    item.ball((0, h * 0.925, 0), (h * 0.05, h * 0.075, h * 0.06), skin)
    item.ball((0, h * 0.65, 0), (broad, h * 0.21, h * 0.085), coat)
    if place.z > FAR:
        item.box((0, h * 0.24, 0), (broad * 0.75, h * 0.25, h * 0.06), legs)
        return
    stride, swing = draw.uniform(0, 0.35), draw.uniform(-0.3, 0.4)
    leg, arm = (h * 0.048, h * 0.26, h * 0.05), (h * 0.032, h * 0.18, h * 0.036)
    for side in (-1, 1):
        lean = side * stride
        at = (side * broad * 0.5, h * 0.25, -h * 0.24 * math.tan(lean))
        item.tube(at, leg, legs, lean=lean)
        if place.z < 0.6 * FAR:
            item.tube((side * broad, h * 0.62, 0), arm, coat, lean=side * swing)
    if draw.chance(0.3):  # a bag
        bag = street.paint("any", "cloth", (0.1, 0.1))
        item.ball((broad, h * 0.42, 0), (0.09, 0.16, 0.18), bag)


def cyclist(street: Street, place: Place) -> None:
    """A bicycle, a vehicle, mostly with somebody on it."""
    draw = street.draw
    item, paint = street.item(ID["vehicle"], place), street.paint("any")
    for front in (-0.52, 0.52):
        item.wheel((0, 0.34, front), 0.34, 0.025, RUBBER)
    item.box((0, 0.62, 0), (0.03, 0.04, 0.5), paint)
    item.box((0, 0.95, 0.42), (0.26, 0.03, 0.03), paint)
    if not draw.chance(0.75):
        return
    rider = street.item(ID["human"], place)
    coat = street.paint(draw.choice(("any", "dark", "pale")), "cloth", (0.1, 0.1))
    legs = street.paint(draw.choice(("dark", "any")), "cloth", (0.1, 0.1))
    rider.ball((0, 1.58, 0.18), (0.1, 0.13, 0.11), Paint((0.6, 0.45, 0.38)))
    rider.ball((0, 1.22, 0.0), (0.22, 0.34, 0.16), coat, lean=0.3)
    for side in (-1, 1):
        rider.tube((side * 0.13, 0.68, 0.1), (0.075, 0.36, 0.08), legs, lean=side * 0.2)


# ---------------------------------------------------------------- vehicles


def car(street: Street, place: Place) -> None:
    draw = street.draw
    item = street.item(ID["vehicle"], place)
    palette = draw.choice(("dark", "dark", "pale", "any", "any"))
    body = street.paint(palette, "body", (0.6, 0.3))
    wide, length = draw.uniform(0.82, 0.95), draw.uniform(1.85, 2.35)
    belt, tall = draw.uniform(0.82, 1.0), draw.uniform(1.4, 1.72)
    item.box((0, (belt + 0.27) / 2, 0), (wide, (belt - 0.27) / 2, length), body)
    cabin = Paint(body.color, "cabin", (0.1, 0.11, 0.13), ((tall - belt) * 0.68, 1.0), body.seed)
    back, long = draw.uniform(-0.5, -0.1), length * draw.uniform(0.55, 0.68)
    if draw.chance(0.5):
        item.ball((0, belt - 0.05, back), (wide * 0.9, tall - belt + 0.05, long), cabin)
    else:
        half = (tall - belt) / 2
        cabin = Paint(body.color, "cabin", (0.1, 0.11, 0.13), (half * 0.55, 1.0), body.seed)
        item.box((0, belt + half, back), (wide * 0.88, half, long * 0.85), cabin)
    if place.z > FAR:
        return
    _wheels(item, 0.9 * wide, 0.62 * length, 0.32)
    _lights(item, wide * 0.72, belt - 0.2, length)


def _wheels(item: Item, right: float, front: float, radius: float) -> None:
    """Those that the camera can see: two at the end it looks at, two on the side."""
    place = item.place
    inner = -1 if (place.x > 0) == (math.cos(place.yaw) > 0) else 1  # the side of the road's middle
    end = -1 if math.cos(place.yaw) > 0 else 1
    for x, z in ((inner, end), (inner, -end), (-inner, end)):
        item.wheel((x * right, radius, z * front), radius, 0.3 * radius, RUBBER)


def _lights(item: Item, right: float, up: float, front: float) -> None:
    """At the end that the camera sees, and a number plate."""
    away = math.cos(item.place.yaw) > 0
    color = (0.6, 0.08, 0.06) if away else (0.85, 0.85, 0.8)
    end = -front if away else front
    for side in (-1, 1):
        item.box((side * right, up, end), (0.16, 0.08, 0.03), Paint(color))
    if item.place.z < FAR / 2:
        item.box((0, up - 0.22, end), (0.26, 0.06, 0.03), Paint((0.8, 0.8, 0.78)))


def van(street: Street, place: Place) -> None:
    """A delivery van or, larger, a lorry."""
    draw = street.draw
    item, lorry = street.item(ID["vehicle"], place), draw.chance(0.35)
    wide, tall = (1.2, draw.uniform(2.9, 3.6)) if lorry else (0.98, draw.uniform(1.9, 2.5))
    length = draw.uniform(3.0, 4.2) if lorry else draw.uniform(2.3, 2.8)
    body = street.paint(draw.choice(("pale", "pale", "any", "dark")), "body", (0.8, 0.5))
    item.box((0, (tall + 0.4) / 2, -0.5), (wide, (tall - 0.4) / 2, length - 0.5), body)
    nose = Paint(body.color, "cabin", (0.1, 0.11, 0.13), (0.15, 1.0), body.seed)
    item.box((0, 0.4 + tall * 0.33, length - 0.6), (wide * 0.95, tall * 0.33, 0.65), nose)
    _wheels(item, 0.88 * wide, 0.6 * length, 0.36)
    _lights(item, wide * 0.8, 0.8, length - 0.05)


def bus(street: Street, place: Place) -> None:
    """A bus or a tram."""
    draw = street.draw
    item, tall = street.item(ID["vehicle"], place), draw.uniform(2.9, 3.3)
    length = draw.uniform(5.0, 9.0)
    body = street.paint(draw.choice(("any", "any", "pale")), "bus", (1.6, tall))
    body = Paint(body.color, "bus", (0.12, 0.13, 0.15), (1.6, tall), body.seed)
    item.box((0, (tall + 0.35) / 2, 0), (1.25, (tall - 0.35) / 2, length), body)
    _wheels(item, 1.1, 0.65 * length, 0.45)
    _lights(item, 0.95, 0.8, length)
