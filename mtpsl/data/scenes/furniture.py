"""Furniture of more than one grammar: each function builds a piece in its own frame, in meters.

What stands has its back to the rear (-front) and its foot at up = 0.
"""

import math

from mtpsl.data.scenes.stage import Paint, Piece, Stage, turn

WOODS = ("wood", "wood", "wood", "earth", "pale")
METAL = Paint((0.55, 0.55, 0.56))
DARK = Paint((0.09, 0.09, 0.1))


def wooden(stage: Stage, palettes: tuple[str, ...] = WOODS) -> Paint:
    return stage.paint(stage.draw.choice(palettes), "grain", (0.6, 0.05))


def fabric(stage: Stage, palette: str = "any") -> Paint:
    return stage.paint(palette, "cloth", (0.09, 0.09))


def chair(piece: Piece, up: float = 0.46) -> None:
    """A chair on four legs, of wood with a seat and a back, all of one kind."""
    stage, w = piece.stage, 0.22
    wood = wooden(stage, ("wood", "dark"))
    seat = wood if stage.draw.chance(0.4) else fabric(stage, "dark")
    piece.box((0, up, 0), (w, 0.035, w), seat)
    back = stage.draw.uniform(0.2, 0.27)
    piece.box((0, up + 0.12 + back, -w + 0.02), (w, back, 0.025), seat)
    piece.legs(w - 0.025, up, w - 0.025, 0.025, wood)


def sofa(piece: Piece, half: float, cloth: Paint | None = None) -> None:
    """A sofa, ``2 * half`` m wide between its arms; an armchair if that is little."""
    cloth = cloth or fabric(piece.stage, piece.stage.draw.choice(("any", "dark", "earth")))
    seats = max(1, round(half / 0.4))
    piece.box((0, 0.2, 0), (half, 0.17, 0.44), cloth)
    for k in range(seats):
        right = half * ((2 * k + 1) / seats - 1)
        piece.box((right, 0.43, 0.06), (half / seats - 0.012, 0.08, 0.38), cloth)
    piece.box((0, 0.6, -0.32), (half, 0.3, 0.12), cloth, axes=turn(pitch=0.12))
    for side in (-1, 1):
        piece.box((side * (half + 0.09), 0.32, 0), (0.1, 0.31, 0.45), cloth)


def table(piece: Piece, right: float, front: float, up: float, wood: Paint, *, round_=False):
    """A table with its top at ``up``, on four legs or, round, on one."""
    if round_:
        piece.tube((0, up - 0.025, 0), (right, 0.025, front), wood)
        piece.tube((0, up / 2, 0), (0.06, up / 2, 0.06), wood)
        piece.tube((0, 0.02, 0), (0.28, 0.02, 0.28), wood)
        return
    piece.box((0, up - 0.03, 0), (right, 0.03, front), wood)
    piece.legs(right - 0.05, up - 0.04, front - 0.05, 0.035, wood)


def television(piece: Piece, half: float, up: float, shown: Paint | None = None) -> None:
    """A flat screen with its middle at ``up``, on a foot of 0.06 m."""
    high = 0.58 * half
    glass = Paint((0.04, 0.045, 0.055), "screen", (0.3, 0.35, 0.42), (2 * half, 2 * high))
    piece.box((0, up, 0), (half, high, 0.03), DARK)
    piece.box((0, up, 0.025), (half - 0.025, high - 0.025, 0.01), shown or glass)
    piece.box((0, up - high - 0.03, 0), (0.3 * half, 0.03, 0.09), DARK)


def lamp(piece: Piece, tall: float, wide: float = 0.15) -> None:
    """A foot, a pole and a lit shade."""
    piece.tube((0, 0.015, 0), (0.8 * wide, 0.015, 0.8 * wide), DARK)
    piece.tube((0, tall / 2, 0), (0.02, tall / 2, 0.02), DARK)
    shade = Paint((0.95, 0.86, 0.66), "glow")
    piece.tube((0, tall + 0.1, 0), (wide, 0.13, wide), shade)


def plant(piece: Piece, leaves: int = 4) -> None:
    """A pot, about 0.25 m wide, with a crown of leaves up to about 0.9 m; scale the frame."""
    draw = piece.stage.draw
    pot = piece.stage.paint(draw.choice(("wood", "earth", "pale")))
    piece.tube((0, 0.14, 0), (0.14, 0.14, 0.14), pot)
    leaf = piece.stage.paint("green", "leaves", (0.09, 0.09))
    for k in range(leaves):
        angle, size = 2 * math.pi * k / leaves + draw.uniform(0, 1), draw.uniform(0.13, 0.2)
        at = (0.13 * math.cos(angle), draw.uniform(0.42, 0.75), 0.13 * math.sin(angle))
        piece.ball(at, (size, 1.2 * size, size), leaf)
