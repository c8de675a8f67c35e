"""A person of people21: joints, clothes, and the six labeled parts."""

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
