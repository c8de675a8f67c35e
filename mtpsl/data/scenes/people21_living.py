"""Those who live in people21: a person of six labeled parts, and animals.

Horse, cow, sheep, dog and cat are of one template; the bird has its own.

Built in a frame on the ground (right, up, front), in meters.
"""

import math
from dataclasses import dataclass

from mtpsl.data.scenes.people21_scene import (
    HEAD,
    LOWER_ARM,
    LOWER_LEG,
    TORSO,
    UPPER_ARM,
    UPPER_LEG,
    Frame,
    Piece,
    Stage,
    Triple,
    turn,
)
from mtpsl.data.scenes.rooms13_scene import Draw, Paint

SKINS = ((0.86, 0.67, 0.55), (0.78, 0.58, 0.45), (0.6, 0.42, 0.3), (0.36, 0.25, 0.19))
HAIRS = ((0.1, 0.08, 0.07), (0.22, 0.14, 0.09), (0.45, 0.3, 0.15), (0.7, 0.56, 0.32), (0.6,) * 3)
THIGH, SHIN, UPPER, FORE = 0.43, 0.43, 0.29, 0.25  # m, of a grown person


@dataclass(frozen=True)
class Clothes:
    """What a person wears, or shows."""

    skin: Paint
    hair: Paint
    shirt: Paint
    trousers: Paint
    shoes: Paint
    sleeve: Paint  # the lower arm: skin or shirt
    shin: Paint  # the lower leg: skin or trousers


def person(stage: Stage, frame: Frame, pose: str) -> None:
    """A person in a pose.

    Args:
        stage: Where to.
        frame: On the ground, or on the seat for ``"sit"`` and ``"ride"``; faces front.
        pose: ``"stand"``, ``"walk"``, ``"sit"`` or ``"ride"``.
    """
    draw = stage.draw
    child = pose in ("stand", "walk") and draw.chance(0.13)
    size = draw.uniform(0.6, 0.78) if child else draw.uniform(0.92, 1.06)
    piece = stage.piece("person", frame.moved(scale=size))
    girth = draw.uniform(0.88, 1.2)
    clothes = _clothes(stage)
    hip = _legs(piece, clothes, pose, girth)
    lean = {"ride": -draw.uniform(0.1, 0.55), "sit": draw.normal(0.05, 0.12)}.get(
        pose, draw.normal(-0.03, 0.08)
    )
    turned = draw.normal(0, 0.15)
    _upper_body(piece.within(piece.frame.moved((0, hip, 0), yaw=turned, pitch=lean)), clothes, pose)
    torso = piece.within(piece.frame.moved((0, hip, 0), yaw=turned, pitch=lean))
    torso.ball((0, 0.3, 0), (0.182 * girth, 0.25, 0.12 * girth), clothes.shirt, part=TORSO)
    torso.ball((0, 0.06, 0), (0.165 * girth, 0.17, 0.12 * girth), clothes.shirt, part=TORSO)
    _head(torso.within(torso.frame.moved(scale=1.3 if child else 1.1)), clothes, child)


def _clothes(stage: Stage) -> Clothes:
    draw = stage.draw
    skin = stage.plain(draw.choice(SKINS))
    pattern = draw.choice(("plain", "cloth", "stripes", "cloth", "tiles"))
    size = draw.uniform(0.04, 0.14)
    shirt = stage.paint(draw.choice(("any", "any", "pale", "dark")), pattern, (size, size))
    trousers = stage.paint(draw.choice(("any", "dark", "dark", "earth")), "cloth")
    return Clothes(
        skin,
        stage.plain(draw.choice(HAIRS), "fur", (0.02, 0.1)),
        shirt,
        trousers,
        stage.paint(draw.choice(("dark", "any"))),
        skin if draw.chance(0.55) else shirt,
        skin if draw.chance(0.25) else trousers,
    )


def _legs(piece: Piece, clothes: Clothes, pose: str, girth: float) -> float:
    """Both legs; returns the height of the hip."""
    draw = piece.stage.draw
    bends = []
    for side in (-1, 1):
        if pose == "sit":
            swing, knee, out = (
                draw.normal(1.45, 0.06),
                draw.normal(1.4, 0.18),
                draw.normal(0.1, 0.1),
            )
        elif pose == "ride":
            swing, knee, out = draw.uniform(0.75, 1.15), draw.uniform(0.8, 1.3), 0.42
        elif pose == "walk":
            swing, knee, out = side * draw.uniform(0.2, 0.55), abs(draw.normal(0.25, 0.25)), 0.04
        else:
            swing, knee, out = draw.normal(0.03, 0.06), abs(draw.normal(0, 0.08)), 0.07
        bends.append((side, swing, knee, out))
    if pose in ("sit", "ride"):
        hip = 0.07
    else:  # the lower foot is on the ground
        hip = max(THIGH * math.cos(g) + SHIN * math.cos(g - k) for _, g, k, _ in bends) + 0.06
    for side, swing, knee, out in bends:
        start = (side * 0.09 * girth, hip, 0.0)
        middle = _reach(start, THIGH, swing, side * out)
        end = _reach(middle, SHIN, swing - knee, side * 0.02)
        piece.limb(start, middle, 0.092 * girth, clothes.trousers, UPPER_LEG)
        piece.limb(middle, end, 0.06 * girth, clothes.shin, LOWER_LEG)
        foot = (end[0], end[1] - 0.02, end[2] + 0.06)
        piece.ball(foot, (0.05, 0.045, 0.13), clothes.shoes, part=LOWER_LEG)
    return hip


def _reach(start: Triple, length: float, swing: float, out: float) -> Triple:
    """The end of a limb that hangs down, swung forwards and outwards (radians)."""
    x, y, z = start
    flat = math.cos(out)
    return (
        x + length * math.sin(out),
        y - length * flat * math.cos(swing),
        z + length * flat * math.sin(swing),
    )


def _arms(draw: Draw, pose: str) -> tuple[float, float, float]:
    """Swing and outward angle of an upper arm, and how far its elbow is bent."""
    if pose == "ride":
        return draw.uniform(0.7, 1.2), draw.uniform(0.1, 0.3), draw.uniform(0.1, 0.6)
    kind = draw.choice(("hang", "bend", "raise", "aside"), (0.45, 0.35, 0.1, 0.1))
    if kind == "hang":
        return draw.normal(0.05, 0.2), draw.uniform(0.12, 0.3), draw.uniform(0.1, 0.4)
    if kind == "bend":
        return draw.uniform(0.0, 0.6), draw.uniform(0.15, 0.4), draw.uniform(1.1, 2.0)
    if kind == "raise":
        return draw.uniform(1.6, 2.8), draw.uniform(0.1, 0.4), draw.uniform(0.0, 0.7)
    return draw.normal(0, 0.2), draw.uniform(0.9, 1.5), draw.uniform(0.0, 0.4)


def _upper_body(piece: Piece, clothes: Clothes, pose: str) -> None:
    draw = piece.stage.draw
    for side in (-1, 1):
        swing, out, elbow = _arms(draw, pose)
        start = (side * 0.195, 0.45, 0.0)
        middle = _reach(start, UPPER, swing, side * out)
        end = _reach(middle, FORE, swing + elbow, side * out * (0.2 if elbow > 0.5 else 0.8))
        piece.limb(start, middle, 0.058, clothes.shirt, UPPER_ARM)
        piece.limb(middle, end, 0.045, clothes.sleeve, LOWER_ARM)
        hand = _reach(end, 0.06, swing + elbow, side * 0.1)
        piece.ball(hand, (0.045, 0.055, 0.05), clothes.skin, part=LOWER_ARM)


def _head(piece: Piece, clothes: Clothes, child: bool) -> None:
    draw = piece.stage.draw
    neck = 0.5 if not child else 0.42
    piece.limb((0, neck - 0.08, 0), (0, neck + 0.06, 0.02), 0.055, clothes.skin, TORSO)
    face = piece.frame.moved((0, neck + 0.16, 0.03), yaw=draw.normal(0, 0.4))
    head = piece.within(face.moved(pitch=draw.normal(-0.05, 0.12)))
    head.ball((0, 0, 0), (0.082, 0.125, 0.1), clothes.skin, part=HEAD)
    head.ball((0, -0.015, 0.1), (0.017, 0.03, 0.022), clothes.skin, part=HEAD)  # the nose
    for side in (-1, 1):
        eye = piece.stage.plain((0.1, 0.09, 0.09))
        head.ball((side * 0.034, 0.025, 0.088), (0.015, 0.009, 0.012), eye, part=HEAD)
        head.ball((side * 0.083, -0.01, 0), (0.014, 0.03, 0.02), clothes.skin, part=HEAD)
    style = draw.choice(("short", "long", "cap", "bald"), (0.5, 0.28, 0.14, 0.08))
    if style != "bald":
        cover = piece.stage.paint("any") if style == "cap" else clothes.hair
        head.ball((0, 0.045, -0.022), (0.092, 0.105, 0.1), cover, part=HEAD)
        if style == "long":
            head.ball((0, -0.09, -0.055), (0.095, 0.17, 0.06), cover, part=HEAD)
        elif style == "cap":
            head.ball((0, 0.07, 0.09), (0.075, 0.014, 0.075), cover, part=HEAD)


@dataclass(frozen=True)
class Build:
    """The measures of a kind of quadruped, in m."""

    length: float  # half, of the trunk
    girth: float  # radius of the trunk
    leg: float  # from the ground to the trunk's middle
    neck: float
    head: float  # half, from the back of the head to the nose
    wide: float  # radius of the head
    thick: float  # radius of a leg
    tail: float


BUILDS = {
    "horse": Build(0.66, 0.28, 1.12, 0.62, 0.28, 0.115, 0.075, 0.6),
    "cow": Build(0.72, 0.36, 0.98, 0.36, 0.25, 0.14, 0.085, 0.6),
    "sheep": Build(0.42, 0.27, 0.6, 0.2, 0.15, 0.09, 0.045, 0.12),
    "dog": Build(0.28, 0.115, 0.42, 0.16, 0.12, 0.075, 0.035, 0.28),
    "cat": Build(0.19, 0.085, 0.21, 0.06, 0.062, 0.06, 0.024, 0.26),
}


def animal(stage: Stage, frame: Frame, name: str, pose: str) -> None:
    """A quadruped that faces front.

    Args:
        stage: Where to.
        frame: On the ground.
        name: A key of ``BUILDS``.
        pose: ``"stand"``, ``"graze"``, ``"lie"`` or ``"sit"``.
    """
    b = BUILDS[name]
    piece = stage.piece(name, frame)
    coat, points = _coats(stage, name)
    up = b.leg if pose in ("stand", "graze") else b.girth * 0.95
    if pose == "sit":
        slope = 0.85
        trunk = piece.within(piece.frame.moved((0, b.girth + 0.75 * b.length, 0), pitch=slope))
    else:
        slope = 0.0
        trunk = piece.within(piece.frame.moved((0, up, 0)))
    fat = 1.15 if name == "sheep" else 1.0
    trunk.ball((0, 0, 0), (b.girth * fat, b.girth * fat, b.length * 1.12), coat)
    trunk.ball((0, 0.02, 0.55 * b.length), (b.girth, b.girth * 1.06, b.length * 0.5), coat)
    trunk.ball((0, 0, -0.6 * b.length), (b.girth * 0.98, b.girth * 1.04, b.length * 0.5), coat)
    if pose in ("stand", "graze"):
        _standing_legs(piece, b, points if name in ("horse", "sheep", "cat") else coat)
    elif pose == "lie":
        for side in (-1, 1):
            paw = (side * b.girth * 0.8, b.thick, b.length * 0.7)
            end = (paw[0], b.thick, paw[2] + 0.45 * b.leg + 0.05)
            piece.limb(paw, end, b.thick * 1.2, coat)
            thigh = (side * b.girth * 0.85, b.girth * 0.6, -b.length * 0.6)
            piece.ball(thigh, (b.girth * 0.5, b.girth * 0.62, b.length * 0.42), coat)
    else:
        for side in (-1, 1):
            top = (side * b.girth * 0.5, b.girth + 1.2 * b.length, 0.55 * b.length)
            foot = (top[0], b.thick, 0.65 * b.length)
            piece.limb(top, foot, b.thick * 1.25, coat)
            piece.ball((foot[0], b.thick, foot[2] + b.thick), (b.thick * 1.2,) * 3, points)
            haunch = (side * b.girth * 0.8, b.girth * 0.8, -0.2 * b.length)
            piece.ball(haunch, (b.girth * 0.55, b.girth * 0.85, b.length * 0.5), coat)
            piece.limb((haunch[0], b.thick, haunch[2]), (haunch[0], b.thick, 0.3), b.thick, coat)
    _neck_and_head(trunk, b, name, pose, slope, coat, points)
    _tail(trunk, b, pose, points if name == "horse" else coat)


def _coats(stage: Stage, name: str) -> tuple[Paint, Paint]:
    """The coat, and the paint of legs, mane or face."""
    draw = stage.draw
    if name == "sheep":
        tone = draw.uniform(0.5, 0.85)
        coat = stage.plain((tone, tone * 0.96, tone * 0.86), "wool", (0.09, 0.09))
        return coat, draw.choice((coat, stage.plain((0.13, 0.11, 0.1)), stage.paint("pale")))
    palette = draw.choice(("wood", "wood", "dark", "pale", "earth"))
    pattern = (
        "blotches" if draw.chance({"cow": 0.6, "dog": 0.3, "horse": 0.12}.get(name, 0.1)) else "fur"
    )
    size = (
        {"cow": 0.45, "horse": 0.5, "dog": 0.2, "cat": 0.15}[name]
        if pattern == "blotches"
        else 0.04
    )
    coat = stage.paint(palette, pattern, (size, size))
    if name == "cat" and draw.chance(0.5):
        coat = Paint(
            coat.color, "tabby", tuple(0.45 * c for c in coat.color), (0.05, 0.05), coat.seed
        )
    other = stage.paint(draw.choice(("dark", "dark", "pale")), "fur", (0.03, 0.03))
    return coat, other if name == "horse" or draw.chance(0.4) else coat


def _standing_legs(piece: Piece, b: Build, lower: Paint) -> None:
    draw = piece.stage.draw
    coat = piece.stage.paints[-1]
    for side in (-1, 1):
        for end in (-1, 1):
            step = draw.normal(0, 0.12) * b.leg
            x, z = side * b.girth * 0.58, end * b.length * 0.74
            top, knee = (x, b.leg * 0.95, z), (x, b.leg * 0.5, z + step * 0.3)
            foot = (x, b.thick * 0.5, z + step)
            piece.limb(top, knee, b.thick * 1.55, coat)
            piece.limb(knee, foot, b.thick * 0.9, lower)
            toe = (x, b.thick * 0.5, foot[2] + b.thick * 0.4)
            piece.ball(toe, (b.thick, b.thick * 0.6, b.thick * 1.4), lower)


def _neck_and_head(
    trunk: Piece, b: Build, name: str, pose: str, slope: float, coat: Paint, points: Paint
) -> None:
    draw = trunk.stage.draw
    base: Triple = (0.0, b.girth * 0.35, b.length * 0.85)
    rise = -0.6 if pose == "graze" else draw.normal(0.85 if name == "horse" else 0.65, 0.15)
    rise -= slope * 0.3
    tip: Triple = (
        0.0,
        base[1] + b.neck * math.sin(rise) + b.wide * 0.4,
        base[2] + b.neck * math.cos(rise) + b.wide * 0.3,
    )
    trunk.limb(base, tip, max(b.girth * 0.44, b.wide * 0.85), coat)
    if name == "horse":
        over = (0.0, base[1] + 0.16, base[2] - 0.06), (0.0, tip[1] + 0.1, tip[2] - 0.1)
        trunk.limb(*over, 0.05, points)
    nod = -slope - (0.9 if pose == "graze" else draw.normal(0.45 if name == "horse" else 0.2, 0.12))
    yaw = draw.normal(0, 0.15 if pose == "graze" else 0.45)
    head = trunk.within(trunk.frame.moved(tip, yaw=yaw, pitch=nod))
    face = points if name == "sheep" or draw.chance(0.15) else coat
    round_head = name == "cat"
    head.ball(
        (0, 0, b.head * 0.4), (b.wide, b.wide * 1.02, b.head * (1.0 if round_head else 0.8)), face
    )
    nose = b.head * (0.9 if round_head else 1.25)
    blunt = b.wide * (0.42 if round_head else 0.62)
    muzzle = trunk.stage.paint("pale") if round_head or draw.chance(0.25) else face
    head.ball(
        (0, -b.wide * 0.3, nose),
        (blunt, blunt * 0.85, b.head * (0.3 if round_head else 0.6)),
        muzzle,
    )
    dark = trunk.stage.plain((0.07, 0.06, 0.06))
    tip_of_nose = nose + b.head * (0.28 if round_head else 0.56)
    head.ball((0, -b.wide * 0.22, tip_of_nose), (blunt * 0.4, blunt * 0.3, blunt * 0.25), dark)
    for side in (-1, 1):
        eye = (side * b.wide * 0.52, b.wide * 0.25, b.head * (1.1 if round_head else 0.85))
        head.ball(eye, (b.wide * 0.17,) * 3, dark)
        _ear(head, b, name, side, coat)
        if name == "cow":
            start = (side * b.wide * 0.7, b.wide * 0.8, 0.0)
            bone = trunk.stage.plain((0.75, 0.7, 0.6))
            head.limb(start, (side * b.wide * 1.6, b.wide * 1.7, b.head * 0.2), 0.025, bone)


def _ear(head: Piece, b: Build, name: str, side: int, coat: Paint) -> None:
    w = b.wide
    if name in ("cow", "sheep"):
        start, end = (side * w * 0.8, w * 0.4, 0.0), (side * w * 1.9, w * 0.25, 0.0)
    elif name == "dog" and coat.seed % 2:  # hanging
        start, end = (side * w * 0.9, w * 0.6, 0.0), (side * w * 1.15, -w * 0.6, w * 0.2)
    else:
        start, end = (side * w * 0.55, w * 0.7, 0.0), (side * w * 0.75, w * 1.65, 0.0)
    head.limb(start, end, w * 0.3, coat)


def _tail(trunk: Piece, b: Build, pose: str, paint: Paint) -> None:
    draw = trunk.stage.draw
    root: Triple = (0.0, b.girth * 0.5, -b.length * 1.05)
    hang = draw.uniform(-1.3, 0.9) if b.leg < 0.5 and pose != "lie" else -1.25
    end = (
        draw.normal(0, 0.15) * b.tail,
        root[1] + b.tail * math.sin(hang),
        root[2] - b.tail * math.cos(hang),
    )
    trunk.limb(root, end, b.thick * (0.85 if b.leg < 1.05 else 1.0), paint)


def bird(stage: Stage, frame: Frame, pose: str) -> None:
    """A bird of 30 cm that faces front.

    Args:
        stage: Where to.
        frame: On the ground, or in the air for ``"fly"``, where it may be banked.
        pose: ``"stand"``, ``"swim"`` or ``"fly"``.
    """
    draw = stage.draw
    piece = stage.piece("bird", frame.moved(scale=draw.uniform(0.8, 1.5)))
    size = draw.uniform(0.02, 0.06)
    body = stage.paint(draw.choice(("pale", "dark", "any", "earth")), "fur", (0.02, 0.05))
    wing = draw.choice((body, stage.paint(draw.choice(("dark", "any")), "blotches", (size, size))))
    beak = stage.plain((0.85, draw.uniform(0.4, 0.7), 0.15))
    long_neck = draw.chance(0.3)
    pitch = 0.0 if pose != "stand" else draw.uniform(0.1, 0.6)
    up = {"stand": 0.2, "swim": 0.05, "fly": 0.0}[pose]
    trunk = piece.within(piece.frame.moved((0, up, 0), pitch=pitch))
    trunk.ball((0, 0, 0), (0.075, 0.075, 0.15), body)
    trunk.limb((0, 0.01, -0.12), (0, 0.0, -0.26), 0.03, wing)  # the tail
    head = (0.0, 0.2, 0.15) if long_neck and pose != "fly" else (0.0, 0.075, 0.15)
    trunk.limb((0, 0.02, 0.1), head, 0.032, body)
    trunk.ball(head, (0.045, 0.045, 0.055), body)
    trunk.limb(
        (0, head[1] - 0.005, head[2] + 0.04), (0, head[1] - 0.012, head[2] + 0.11), 0.014, beak
    )
    for side in (-1, 1):
        trunk.ball(
            (side * 0.034, head[1] + 0.012, head[2] + 0.03), (0.009,) * 3, stage.plain((0.05,) * 3)
        )
        if pose == "fly":
            lift = draw.uniform(-0.3, 0.9)
            flat = turn(roll=side * lift)
            at = (side * (0.06 + 0.16 * math.cos(lift)), 0.03 + 0.16 * math.sin(lift), 0.0)
            trunk.ball(at, (0.2, 0.014, 0.085), wing, axes=flat)
            far = (side * (0.06 + 0.4 * math.cos(lift)), 0.03 + 0.38 * math.sin(lift), -0.04)
            trunk.ball(far, (0.16, 0.012, 0.055), wing, axes=turn(yaw=side * 0.3) @ flat)
        else:
            trunk.ball((side * 0.066, 0.01, -0.04), (0.02, 0.055, 0.14), wing)
        if pose == "stand":
            piece.bar((side * 0.03, 0.15, 0.0), (side * 0.035, 0.0, 0.02), 0.008, beak)
