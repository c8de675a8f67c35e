"""What people21 shows: tables of primitives, a person of six labeled parts, and animals.

Lengths are in meters, in a piece's own frame (right, up, front). An entry of a table is a material
(``name: colors, pattern period``, where a color is ``base`` or ``base/accent``) or a primitive: its
kind, numbers, material, and by how much it is turned (pitch, yaw, roll in radians). A kind that
ends in ``x``, ``z`` or ``xz`` is repeated in the mirror across these axes. ``box``, ``ball`` and
``tube`` have a middle and half sizes, ``bar`` and ``limb`` two ends and a radius, and ``ring`` and
``disc``, which are wheels, have a middle, a radius and half a thickness.
"""

import colorsys
import math
import re
from functools import cache
from itertools import product

from mtpsl.data.scenes.stage import Color, Draw, Frame, Paint, Stage, Triple, turn

CLASSES = tuple(
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor".split()
)
SCENERY = "sky grass road soil water floor wall ceiling tree building fence mountain track".split()
OTHERS = "window door picture curtain cabinet rock box ball lamp".split()
CONTEXTS = (*CLASSES[1:], *SCENERY, *OTHERS)
"""What the edges separate: finer than the classes, which call all but the first 20 background."""
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)  # 0: not a person

COLORS = {  # hue, saturation, value
    "red": (0.0, 0.78, 0.72), "orange": (0.075, 0.75, 0.8), "yellow": (0.135, 0.75, 0.85),
    "lime": (0.26, 0.6, 0.7), "green": (0.38, 0.65, 0.4), "teal": (0.49, 0.6, 0.55),
    "sky": (0.57, 0.5, 0.85), "blue": (0.61, 0.7, 0.7), "navy": (0.63, 0.6, 0.3),
    "purple": (0.76, 0.45, 0.55), "pink": (0.91, 0.62, 0.82), "wine": (0.96, 0.6, 0.42),
    "white": (0.12, 0.04, 0.92), "cream": (0.11, 0.16, 0.86), "silver": (0.58, 0.06, 0.68),
    "grey": (0.1, 0.05, 0.5), "black": (0.6, 0.12, 0.09), "glass": (0.58, 0.25, 0.2),
    "wood": (0.075, 0.5, 0.6), "brown": (0.05, 0.62, 0.36), "tan": (0.09, 0.45, 0.74),
    "clay": (0.04, 0.6, 0.66), "bark": (0.08, 0.4, 0.32), "leaf": (0.29, 0.6, 0.42),
    "grass": (0.24, 0.5, 0.5), "soil": (0.09, 0.32, 0.6), "road": (0.6, 0.04, 0.42),
    "water": (0.56, 0.5, 0.5), "hill": (0.4, 0.16, 0.44), "skin": (0.06, 0.42, 0.8),
    "dusk": (0.055, 0.5, 0.46), "bottle": (0.38, 0.7, 0.28), "bright": (0.6, 0.1, 0.9),
}  # fmt: skip

THINGS = {
    "aeroplane": """body: white silver; fin: navy; dark: black; steel: grey;
        tube 0 0 0 1.6 5.5 1.6 body 1.571; ball 0 0 5.4 1.6 1.6 2.6 body;
        ball 0 .3 -5.4 1.6 1.3 3.6 body; ball 0 .7 6.6 1.15 .7 1 dark;
        boxx 1.5 .5 .4 .1 .25 4.6 dark; boxx 4.8 -.5 -.8 4.6 .25 1.9 body 0 -.42;
        boxx 2.2 .7 -7.6 2.2 .18 1 fin 0 -.42; ballx 3.8 -1.4 .8 .85 .85 1.9 steel;
        box 0 2.9 -7.4 .22 2.2 1.5 fin .45""",
    "bicycle": """paint: lime; tire: black; steel: silver grey; ring 0 .34 -.5 .31 .04 tire;
        ring 0 .34 .55 .31 .04 tire; disc 0 .34 -.5 .3 .012 steel; disc 0 .34 .55 .3 .012 steel;
        bar 0 .34 -.5 0 .3 -.06 .034 paint; bar 0 .3 -.06 0 .64 .43 .034 paint;
        bar 0 .3 -.06 0 .82 -.22 .034 paint; bar 0 .34 -.5 0 .72 -.19 .03 paint;
        bar 0 .72 -.19 0 .8 .39 .034 paint; bar 0 .34 .55 0 .95 .34 .032 paint;
        bar -.27 .97 .3 .27 .97 .3 .026 tire; ball 0 .86 -.24 .09 .045 .15 tire;
        disc 0 .3 -.06 .11 .05 steel""",
    "boat, sail": """hull: white; rail: red; sail: red, folds .5; mast: wood;
        ball 0 .5 0 .8 .75 2.6 hull; ball 0 .75 0 .83 .2 2.65 rail; box 0 1.05 -.5 .5 .2 .8 hull;
        bar 0 .6 .3 0 6 .3 .06 mast; ball 0 3.3 -.5 .05 2.5 .85 sail .16;
        ball 0 2.8 1.2 .05 2.2 .6 sail .3""",
    "boat, motor": """hull: white; rail: red; cabin: cream white; window: glass;
        ball 0 .55 0 .95 .8 2.8 hull; ball 0 .85 0 .98 .22 2.85 rail; box 0 1.4 -.4 .65 .45 1 cabin;
        box 0 1.5 -.4 .67 .2 .9 window; box 0 1.5 -.4 .5 .2 1.03 window;
        box 0 1.9 -.5 .72 .05 1.2 rail""",
    "bottle": """glass: bottle, screen .2; label: cream yellow, art .08; cap: red yellow;
        tube 0 .11 0 .042 .11 .042 glass; ball 0 .22 0 .042 .055 .042 glass;
        tube 0 .29 0 .015 .04 .015 glass; tube 0 .33 0 .019 .016 .019 cap;
        tube 0 .12 0 .0435 .055 .0435 label""",
    "bus": """body: yellow; trim: white cream; window: glass, pickets 1.3; lamp: cream; dark: black;
        box 0 1.8 0 1.23 1.4 4.4 body; box 0 .8 0 1.25 .14 4.42 trim;
        box 0 2.15 -.2 1.25 .5 3.9 window; box 0 2.05 4.4 1.08 .6 .03 dark;
        box 0 2.15 -4.4 .95 .4 .03 dark; box 0 2.95 4.4 .8 .14 .05 lamp;
        ballx .92 .85 4.4 .18 .16 .06 lamp; discx 1.13 .48 -2.5 .48 .14 dark;
        discx 1.13 .48 -2.5 .288 .15 lamp; discx 1.13 .48 2.7 .48 .14 dark;
        discx 1.13 .48 2.7 .288 .15 lamp""",
    "car": """paint: red; window: glass; dark: black; lamp: cream; rear: red;
        box 0 .6 0 .86 .3 1.95 paint; ball 0 .82 1.15 .82 .16 .9 paint;
        box 0 1.08 -.35 .72 .3 1 window; box 0 1.4 -.35 .72 .05 .98 paint;
        boxx .73 1.1 -.3 .025 .3 .06 paint; box 0 1.1 .7 .7 .36 .06 window .7;
        box 0 1.1 -1.35 .7 .36 .06 window -.6; box 0 .36 0 .88 .07 2 dark;
        box 0 .6 1.96 .4 .09 .03 dark; ballx .62 .68 1.93 .16 .1 .08 lamp;
        boxx .66 .72 -1.95 .14 .09 .04 rear; discx .78 .34 -1.25 .34 .12 dark;
        discx .78 .34 -1.25 .204 .13 lamp; discx .78 .34 1.25 .34 .12 dark;
        discx .78 .34 1.25 .204 .13 lamp""",
    "chair": """seat: teal, cloth .1; leg: wood, grain .4; box 0 .46 0 .24 .04 .24 seat;
        box 0 .8 -.23 .22 .2 .035 seat .08; boxx .2 .68 -.22 .03 .27 .03 leg .08;
        boxxz .2 .22 .2 .032 .22 .032 leg""",
    "diningtable": """top: wood, grain .4; cloth: white cream, tiles .15; plate: white;
        food: orange lime; box 0 .72 0 .85 .04 .5 top; box 0 .68 0 .55 .09 .51 cloth;
        boxxz .78 .34 .43 .05 .34 .05 top; tubex .38 .775 .1 .14 .014 .14 plate;
        ballx .38 .79 .1 .08 .04 .08 food""",
    "motorbike": """paint: orange; dark: black; steel: silver; lamp: cream;
        ring 0 .33 -.68 .25 .08 dark; ring 0 .33 .7 .25 .08 dark; disc 0 .33 -.68 .2 .03 steel;
        disc 0 .33 .7 .2 .03 steel; ball 0 .84 .14 .17 .16 .36 paint; ball 0 .8 -.4 .16 .1 .42 dark;
        box 0 .45 0 .18 .2 .28 steel .2; ball 0 .66 -.72 .11 .09 .3 paint;
        ball 0 .64 .7 .1 .06 .28 paint; barx .08 .33 .7 .07 .98 .42 .04 steel;
        barx .05 1.02 .4 .36 1.04 .28 .03 dark; barx .17 .3 .1 .21 .38 -.9 .06 steel;
        ball 0 .94 .56 .13 .14 .1 lamp""",
    "pottedplant, bush": """pot: clay; leaf: leaf/lime, leaves .08; stem: bark;
        tube 0 .14 0 .16 .14 .16 pot; tube 0 .27 0 .19 .035 .19 pot; bar 0 .28 0 0 .6 0 .03 stem;
        ball 0 .75 0 .26 .3 .26 leaf; ballx .2 .6 .05 .16 .15 .16 leaf;
        ball .03 .62 .2 .16 .16 .15 leaf; ball -.06 .95 -.04 .17 .17 .17 leaf""",
    "pottedplant, palm": """pot: clay; leaf: leaf/lime, leaves .08; flower: pink yellow;
        tube 0 .14 0 .16 .14 .16 pot; tube 0 .27 0 .19 .035 .19 pot;
        limbx 0 .28 0 .3 .75 .1 .075 leaf; limbx 0 .28 0 .2 .95 -.1 .08 leaf;
        limbx 0 .28 0 .12 .7 .3 .08 leaf; limb 0 .28 0 .02 1.05 .02 .09 leaf;
        ballx .14 .82 .14 .06 .06 .06 flower; ball .02 1.02 .06 .07 .07 .07 flower""",
    "sofa": """fabric: purple, cloth .2; cushion: yellow pink cream, stripes .1; foot: bark;
        box 0 .22 .02 1 .16 .42 fabric; boxx .49 .42 .06 .48 .08 .38 fabric;
        box 0 .5 -.4 1 .4 .1 fabric; boxx .49 .68 -.27 .47 .24 .09 fabric .2;
        boxx 1.1 .32 0 .12 .3 .45 fabric; tubex 1.1 .62 0 .13 .46 .09 fabric 1.571;
        ball .6 .64 -.08 .22 .2 .08 cushion .3; boxxz .95 .03 .35 .04 .04 .04 foot""",
    "train": """body: silver; trim: green; window: glass, pickets 1.9; dark: black; lamp: cream;
        box 0 2.1 -7 1.4 1.3 7 body; ball 0 3.35 -7 1.38 .4 7.2 trim; box 0 1.3 -7 1.42 .3 7 trim;
        box 0 .6 -7 1.15 .35 6.8 dark; box 0 2.45 -7.2 1.42 .45 6.5 window;
        ball 0 1.9 -.2 1.39 1.45 1.6 trim; ball 0 2.6 .35 1.1 .6 .95 dark;
        ballx .85 1.35 1.05 .2 .2 .12 lamp; discx .8 .42 -1.9 .42 .1 dark;
        discx .8 .42 -3.4 .42 .1 dark; discx .8 .42 -10.6 .42 .1 dark;
        discx .8 .42 -12.1 .42 .1 dark""",
    "tvmonitor": """frame: black; shown: sky/bright, show .3; box 0 .36 0 .45 .27 .035 frame;
        box 0 .365 .025 .41 .23 .015 shown; bar 0 0 -.03 0 .3 -.03 .04 frame;
        box 0 .014 0 .22 .014 .13 frame""",
    "bird, stand": """body: blue, fur .04; wing: navy/blue, fur .04; belly: cream orange;
        beak: yellow; ball 0 .2 0 .085 .09 .16 body .45; ball 0 .18 .035 .07 .075 .12 belly .45;
        limb 0 .15 -.1 0 .06 -.26 .04 wing; ball 0 .31 .12 .06 .06 .065 body;
        limb 0 .3 .17 0 .295 .25 .022 beak; ballx .045 .325 .145 .012 .012 .012 wing;
        ballx .075 .19 -.03 .025 .065 .15 wing .45; barx .03 .12 .02 .035 0 .03 .011 beak""",
    "bird, fly": """body: blue, fur .04; wing: navy/blue, fur .04; belly: cream orange;
        beak: yellow; ball 0 0 0 .08 .08 .18 body; ball 0 -.02 .02 .065 .065 .14 belly;
        limb 0 .01 -.14 0 .02 -.32 .05 wing; ball 0 .05 .17 .055 .055 .065 body;
        limb 0 .045 .22 0 .04 .3 .02 beak; ballx .2 .1 0 .2 .018 .1 body 0 0 .45;
        ballx .46 .21 -.04 .18 .014 .07 wing 0 -.25 .4""",
    "track": """bed: soil, speckle .12; rail: grey; box 0 .03 0 1.9 .03 60 bed;
        boxx .75 .08 0 .06 .07 60 rail""",
    "cabinet": """wood: cream white, panels .45; top: cream white; box 0 .41 0 .6 .41 .35 wood;
        box 0 .835 0 .64 .025 .38 top""",
    "window": """frame: white; pane: sky/white, panes .7; box 0 1.5 -.02 .76 .66 .03 frame;
        box 0 1.5 -.03 .7 .6 .03 pane""",
    "picture": """frame: bark black; shown: soil/navy grey/cream, art .4;
        box 0 1.6 -.02 .45 .36 .02 frame; box 0 1.6 -.03 .4 .31 .02 shown""",
    "curtain": "cloth: cream silver, folds .14; box 0 1.3 -.06 .5 1.1 .04 cloth",
    "door": "wood: cream silver, panels .8; box 0 1 -.02 .45 1 .03 wood",
    "tree": """bark: bark, fur .2; leaf: green, leaves .5; bar 0 0 0 0 4 0 .22 bark;
        ball 0 5 0 2 2.2 2 leaf; ballx 1.1 4.2 .3 1.2 1.1 1.2 leaf""",
    "fence": "wood: wood cream, pickets .3; box 0 .55 0 14 .55 .05 wood",
    "building": """wall: cream/glass silver/glass clay/glass, facade 2.4; roof: clay brown;
        box 0 3.5 0 6 3.5 4 wall; box 0 7 0 6.3 2.8 2.8 roof .785""",
    "mountain": "rock: hill, patches 14; ballx 45 0 0 50 22 12 rock; ball 5 0 0 40 14 12 rock",
    "box": "side: soil, stripes .3; box 0 .5 0 .5 .5 .4 side",
    "ball": "side: navy/white, stripes .4; ball 0 .5 0 .5 .5 .5 side",
    "lamp": """shade: cream, glow 1; foot: black; tube 0 .03 0 .3 .03 .3 foot;
        bar 0 0 0 0 1.3 0 .04 foot; tube 0 1.5 0 .35 .25 .35 shade""",
    "rock": """stone: grey soil, blotches .4; ball 0 .25 0 .65 .45 .5 stone;
        ball .5 .1 .1 .35 .3 .35 stone""",
}

SHAPE = re.compile("(box|ball|tube|bar|limb|ring|disc)(x?z?)")
FLAT = turn(roll=math.pi / 2)  # a cylinder's axis to the side: a wheel


def painted(draw: Draw, text: str) -> Paint:
    """A paint as a table writes it, ``"red navy/white, cloth .1"``: one of the colors, varied."""
    colors, _, pattern = text.partition(", ")
    name, _, period = pattern.partition(" ")
    base, _, accent = draw.choice(colors.split()).partition("/")
    color, size = _shade(draw, base), float(period or 0.3)
    other = _shade(draw, accent) if accent else tuple(0.5 * c for c in color)
    return Paint(color, name or "plain", other, (size, size), draw.integer(1 << 20))


def _shade(draw: Draw, name: str) -> Color:
    hue, saturation, value = COLORS[name]
    saturation *= draw.uniform(0.85, 1.15)
    value *= draw.uniform(0.85, 1.1)
    return colorsys.hsv_to_rgb((hue + draw.normal(0, 0.012)) % 1, saturation, value)


@cache
def _parsed(name: str) -> tuple[dict[str, str], list[tuple[str, str, list[float], str, Triple]]]:
    """Materials, and the primitives: kind, mirrors, numbers, material, turn."""
    materials, rows = {}, []
    for words in map(str.split, THINGS[name].split(";")):
        if words[0][-1] == ":":
            materials[words[0][:-1]] = " ".join(words[1:])
            continue
        kind, mirrors = SHAPE.fullmatch(words[0]).groups()
        at = next(i for i, word in enumerate(words) if i and word.isalpha())
        turned = (*map(float, words[at + 1 :]), 0.0, 0.0, 0.0)[:3]
        rows.append((kind, mirrors, [*map(float, words[1:at])], words[at], turned))
    return materials, rows


def thing(stage: Stage, frame: Frame, name: str, shadow: bool = True) -> None:
    """Builds a table's piece; what follows a comma in its name is only a variant."""
    piece = stage.piece(name.partition(",")[0], frame, shadow)
    materials, rows = _parsed(name)
    paints = {key: painted(stage.draw, text) for key, text in materials.items()}
    for kind, mirrors, numbers, material, (pitch, yaw, roll) in rows:
        paint = paints[material]
        for x, z in product((1, -1)[: 1 + ("x" in mirrors)], (1, -1)[: 1 + ("z" in mirrors)]):
            a, b = (x * numbers[0], numbers[1], z * numbers[2]), numbers[3:6]
            if kind in ("bar", "limb"):
                getattr(piece, kind)(a, (x * b[0], b[1], z * b[2]), numbers[6], paint)
            elif kind == "ring":
                piece.ring(a, *b, paint)
            elif kind == "disc":
                piece.tube(a, (b[0], b[1], b[0]), paint, axes=FLAT)
            else:
                axes = turn(x * z * yaw, z * pitch, x * roll)
                getattr(piece, kind)(a, b, paint, axes=axes)


POSES = {  # swing of the thighs, bend of the knees, outward angle, height of the hip on its base
    "stand": (0.03, 0.03, 0.07, 0.0),
    "walk": (0.35, 0.25, 0.04, 0.0),
    "sit": (1.45, 1.4, 0.12, 0.07),
    "ride": (0.95, 1.05, 0.42, 0.07),
}
ARMS = {  # swing of an upper arm, its outward angle, bend of the elbow
    "hang": (0.05, 0.25, 0.25), "bend": (0.35, 0.3, 1.5), "raise": (2.2, 0.35, 0.3),
    "aside": (0.0, 1.2, 0.2), "ride": (0.95, 0.2, 0.35),
}  # fmt: skip
SHIRTS = ("pink", "pink wine", "white/pink, stripes .14")
THIGH, SHIN, UPPER, FORE = 0.43, 0.43, 0.29, 0.26  # m


def person(stage: Stage, frame: Frame, pose: str) -> None:
    """A person who faces front in a pose of ``POSES``; the frame is on the ground or the seat."""
    draw = stage.draw
    piece = stage.piece("person", frame.moved(scale=draw.uniform(0.92, 1.06)))
    skin, hair = painted(draw, "skin skin dusk"), painted(draw, "black bark tan, fur .05")
    shirt = painted(draw, draw.choice(SHIRTS))
    trousers, shoes = painted(draw, "navy blue, cloth .1"), painted(draw, "black brown")
    shin = draw.choice((skin, trousers, shoes))
    swing, knee, out, hip = POSES[pose]
    bends = []
    for side in (-1, 1):
        step = side * swing if pose == "walk" else swing + draw.normal(0, 0.06)
        bends.append((side, step, abs(knee + draw.normal(0, 0.1))))
    if hip == 0:  # the lower foot is on the ground
        hip = max(THIGH * math.cos(s) + SHIN * math.cos(s - k) for _, s, k in bends) + 0.06
    for side, step, bend in bends:
        start = (side * 0.1, hip, 0.0)
        middle = _hung(start, THIGH, step, side * out)
        end = _hung(middle, SHIN, step - bend, side * 0.02)
        piece.limb(start, middle, 0.1, trousers, UPPER_LEG)
        piece.limb(middle, end, 0.07, shin, LOWER_LEG)
        foot = (end[0], end[1] - 0.02, end[2] + 0.06)
        piece.ball(foot, (0.055, 0.05, 0.13), shoes, part=LOWER_LEG)
    lean = draw.normal({"ride": -0.3, "sit": 0.05}.get(pose, -0.03), 0.08)
    top = piece.within(piece.frame.moved((0, hip, 0), yaw=draw.normal(0, 0.15), pitch=lean))
    top.ball((0, 0.3, 0), (0.19, 0.26, 0.125), shirt, part=TORSO)
    top.ball((0, 0.06, 0), (0.17, 0.17, 0.125), shirt, part=TORSO)
    top.limb((0, 0.42, 0), (0, 0.56, 0.02), 0.055, skin, TORSO)
    for side in (-1, 1):
        kind = "ride" if pose == "ride" else draw.choice(tuple(ARMS)[:4], (4, 4, 1, 1))
        swing, out, elbow = (v + draw.normal(0, 0.12) for v in ARMS[kind])
        middle = _hung((side * 0.2, 0.45, 0.0), UPPER, swing, side * out)
        end = _hung(middle, FORE, swing + elbow, side * out * (0.2 if kind == "bend" else 0.8))
        top.limb((side * 0.2, 0.45, 0.0), middle, 0.066, shirt, UPPER_ARM)
        top.limb(middle, end, 0.052, skin, LOWER_ARM)
        top.ball(_hung(end, 0.06, swing + elbow, 0.0), (0.055, 0.065, 0.06), skin, part=LOWER_ARM)
    head = top.within(top.frame.moved((0, 0.68, 0.03), yaw=draw.normal(0, 0.3), scale=1.2))
    head.ball((0, 0, 0), (0.085, 0.125, 0.1), skin, part=HEAD)
    head.ball((0, -0.015, 0.1), (0.017, 0.03, 0.022), skin, part=HEAD)
    for side in (-1, 1):
        head.ball((side * 0.034, 0.025, 0.088), (0.016, 0.01, 0.013), hair, part=HEAD)
    head.ball((0, 0.045, -0.022), (0.094, 0.105, 0.1), hair, part=HEAD)
    if draw.chance(0.3):
        head.ball((0, -0.09, -0.055), (0.1, 0.17, 0.06), hair, part=HEAD)


def _hung(start: Triple, length: float, swing: float, out: float) -> Triple:
    """The end of a limb that hangs down, swung forwards and outwards (radians)."""
    x, y, z = start
    flat = length * math.cos(out)
    return (x + length * math.sin(out), y - flat * math.cos(swing), z + flat * math.sin(swing))


ANIMALS = {  # half length and radius of trunk, leg, neck, half a head, its radius, a leg's, tail: m
    "horse": (0.66, 0.28, 1.12, 0.62, 0.28, 0.125, 0.085, 0.6),
    "cow": (0.72, 0.37, 0.98, 0.36, 0.25, 0.15, 0.095, 0.6),
    "sheep": (0.42, 0.3, 0.6, 0.2, 0.16, 0.1, 0.05, 0.12),
    "dog": (0.28, 0.125, 0.42, 0.16, 0.13, 0.09, 0.042, 0.28),
    "cat": (0.19, 0.095, 0.21, 0.06, 0.075, 0.075, 0.03, 0.26),
}
COATS = {  # coat, legs and muzzle, ears and mane
    "horse": ("brown, fur .06", "black", "black"),
    "cow": ("white/black, blotches .45", "cream", "black"),
    "sheep": ("cream white, wool .09", "black", "black"),
    "dog": ("tan, fur .04", "bark", "bark"),
    "cat": ("grey/black, tabby .06", "white", "grey"),
}
EARS = {"cow": (1.9, 0.3), "sheep": (1.8, 0.2), "dog": (1.2, -0.6)}  # where they end


def animal(stage: Stage, frame: Frame, name: str, pose: str) -> None:
    """One of the ``ANIMALS`` that faces front.

    ``pose``: ``"stand"``, ``"graze"``, ``"lie"`` or ``"sit"``.
    """
    draw = stage.draw
    length, girth, leg, neck, skull, wide, thick, tail = ANIMALS[name]
    coat, points, mane = (painted(draw, text) for text in COATS[name])
    piece = stage.piece(name, frame.moved(scale=draw.uniform(0.9, 1.1)))
    slope = 0.85 if pose == "sit" else 0.0
    up = {"lie": 0.95 * girth, "sit": girth + 0.75 * length}.get(pose, leg)
    trunk = piece.within(piece.frame.moved((0, up, 0), pitch=slope))
    for z, long, fat in ((0.0, 1.12, 1.0), (0.55, 0.5, 1.05), (-0.6, 0.5, 1.03)):
        trunk.ball((0, 0, z * length), (girth * fat, girth * fat, length * long), coat)
    for side in (-1, 1):
        x = side * 0.58 * girth
        for end in (-1, 1):
            z = end * 0.72 * length
            if pose in ("stand", "graze"):
                foot = (x, 0.5 * thick, z + draw.normal(0, 0.1) * leg)
                piece.limb((x, 0.95 * leg, z), (x, 0.5 * leg, z), 1.6 * thick, coat)
                piece.limb((x, 0.5 * leg, z), foot, thick, points if name != "dog" else coat)
            elif end > 0:  # the fore legs reach ahead, or down from the chest
                high = girth + 1.2 * length if pose == "sit" else thick
                front = 0.65 * length if pose == "sit" else z + 0.45 * leg
                piece.limb((x, high, 0.8 * z), (x, thick, front), 1.3 * thick, coat)
            else:
                back = (-0.2 if pose == "sit" else -0.6) * length
                haunch = (side * 0.85 * girth, 0.75 * girth, back)
                piece.ball(haunch, (0.5 * girth, 0.75 * girth, 0.45 * length), coat)
    rise = -0.6 if pose == "graze" else draw.normal(0.75, 0.12) - 0.3 * slope
    base = (0.0, 0.35 * girth, 0.85 * length)
    tip = (0.0, base[1] + neck * math.sin(rise) + 0.4 * wide, base[2] + neck * math.cos(rise))
    trunk.limb(base, tip, max(0.45 * girth, 0.85 * wide), coat)
    if name == "horse":
        trunk.limb((0, base[1] + 0.16, base[2] - 0.06), (0, tip[1] + 0.1, tip[2] - 0.1), 0.06, mane)
    nod = -slope - (0.9 if pose == "graze" else draw.normal(0.3, 0.1))
    head = trunk.within(trunk.frame.moved(tip, yaw=draw.normal(0, 0.35), pitch=nod))
    face = points if name == "sheep" else coat
    head.ball((0, 0, 0.4 * skull), (wide, wide, 0.85 * skull), face)
    nose = (0.75 if name == "cat" else 1.2) * skull
    head.ball((0, -0.3 * wide, nose), (0.6 * wide, 0.5 * wide, 0.5 * skull), points)
    for side in (-1, 1):
        head.ball((side * 0.52 * wide, 0.25 * wide, 0.95 * skull), (0.17 * wide,) * 3, mane)
        out, high = (wide * v for v in EARS.get(name, (0.75, 1.7)))
        ear = (side * 0.6 * wide, 0.6 * wide, 0), (side * out, high, 0)
        head.limb(*ear, 0.33 * wide, mane)
    root, hang = (0.0, 0.5 * girth, -1.05 * length), draw.uniform(-1.3, -0.9 if leg > 0.5 else 0.8)
    end = (0.0, root[1] + tail * math.sin(hang), root[2] - tail * math.cos(hang))
    trunk.limb(root, end, thick, mane if name == "horse" else coat)
