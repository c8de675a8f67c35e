"""Figure 12 of HiTTs: global task tokens on one scale, and on several scales of a backbone.

Every size and count is that of the paper's own network, whose shapes were traced.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mtpsl.papers.hitts.parts import GLOBAL, parameters, shape
from mtpsl.report.arrays import Arrays
from mtpsl.report.diagram import SHARED, SMALL, TASK, TEXT, Box, Canvas, mix, shape_text
from mtpsl.report.maps import titles_of
from mtpsl.report.style import QUIET, Image, styled

FIRST, ROW = 1.16, 0.96  # inches to the middle of the first scale, from one scale to the next
LIFT = 0.27  # inches that tokens are above features
SLABS = 6  # sheets that the deepest feature is drawn with
PICTURE = 0.8  # inches across the image


@styled
def draw_fig12(arrays: Arrays) -> Figure:
    """Above one scale, below all of them: what is projected, mixed and fused, with its sizes."""
    scales = _scales(arrays)
    canvas = Canvas(11.0, 1.98 + FIRST + ROW * scales + 0.05)
    single = Box(0.1, 0.1, canvas.width - 0.2, 1.78)
    multi = Box(0.1, single.bottom + 0.1, single.width, FIRST + ROW * scales - 0.31)
    tasks = ", ".join(titles_of(arrays).values())
    for card, title, key in (
        (single, "(a) Single-scale global task token learning", "single"),
        (multi, "(b) Multi-scale global task token learning", "multi"),
    ):
        canvas.card(card, title)
        count = parameters(_part(arrays, key), "tokens")
        line = f"{len(titles_of(arrays))} tasks: {tasks}; {count} parameters before intra-task"
        canvas.text(card.right - 0.14, card.top + 0.19, line, size=SMALL, color=QUIET, ha="right")
    _single(canvas, single, arrays)
    _multi(canvas, multi, arrays)
    return canvas.figure


def _single(canvas: Canvas, card: Box, arrays: Arrays) -> None:
    """The last map alone is asked by one token a task."""
    part, last = _part(arrays, "single"), _scales(arrays) - 1
    y = card.top + 1.1
    image = _image(canvas, card, arrays, part, y)
    net = Box(card.left + 1.3, y - 0.24, 0.86, 0.48)
    canvas.arrow((image.right, y), (net.left, y), color=SHARED)
    canvas.box(net, str(arrays["backbone"]), ["last stage"], color=SHARED)
    map_ = _slab(canvas, card.left + 2.85, y, part, f"stage/{last}", SHARED)
    canvas.arrow((net.right, y), (map_.left, y), color=SHARED)
    shape(canvas, map_.x, y + 0.48, part, "shared", "$F_s$")
    scale = Box(card.left + 4.95, y - LIFT - 0.18, 1.15, LIFT + 0.48)
    tokens = _bars(canvas, card.left + 3.95, y - LIFT, part["shape/theta"][0])
    canvas.text(tokens.x, tokens.top - 0.11, r"$\Theta$", size=TEXT)
    shape(canvas, tokens.x, tokens.bottom + 0.1, part, "theta")
    canvas.arrow((tokens.right, tokens.y), (scale.left, tokens.y), color=GLOBAL)
    canvas.arrow((map_.right, y + 0.14), (scale.left, y + 0.14), color=SHARED)
    canvas.box(scale, "query", ["inter-task"], color=GLOBAL)
    grid = _grid(canvas, scale.right + 0.16, y - LIFT - 0.1, part["shape/affinity"])
    shape(canvas, grid.x, grid.bottom + 0.12, part, "affinity", "$A$")
    _out(canvas, card, part, y, grid.right)


def _multi(canvas: Canvas, card: Box, arrays: Arrays) -> None:
    """Every scale has tokens of its own; they and the features meet before intra-task learning."""
    part, scales = _part(arrays, "multi"), _scales(arrays)
    rows = [card.top + FIRST + ROW * j for j in range(scales)]
    middle = (rows[0] + rows[-1]) / 2
    image = _image(canvas, card, arrays, part, rows[0])
    trunk = card.left + 3.5
    theta = _bars(canvas, trunk - 0.11, card.top + 0.44, part["shape/theta"][0])
    words = rf"$\Theta$  {shape_text(part['shape/theta'])}"
    canvas.text(theta.right + 0.08, theta.y, words, size=SMALL, ha="left")
    canvas.line((trunk, theta.bottom), (trunk, rows[-1] - LIFT), color=GLOBAL)
    fused, merged = card.left + 7.68, card.left + 7.5  # lines that gather features and tokens
    before = image
    for j, y in enumerate(rows):
        net = Box(card.left + 1.3, y - 0.24, 0.86, 0.48)
        start = (image.right, y) if j == 0 else (net.x, before.bottom)
        canvas.arrow(start, (net.left, y) if j == 0 else (net.x, net.top), color=SHARED)
        canvas.box(net, f"stage {j + 1}", color=SHARED)
        before = net
        map_ = _slab(canvas, card.left + 2.85, y, part, f"stage/{j}", SHARED)
        canvas.arrow((net.right, y), (map_.left, y), color=SHARED)
        shape(canvas, map_.x, y + 0.48, part, f"stage/{j}", rf"$F_s^{{({j})}}$")
        split = Box(trunk + 0.18, y - LIFT - 0.17, 0.86, 0.34)
        canvas.arrow((trunk, y - LIFT), (split.left, y - LIFT), color=GLOBAL)
        sign = rf"$W^{{s\to m({j})}}$"
        canvas.box(split, sign, [parameters(part, f"split/{j}")], color=GLOBAL)
        scale = Box(split.right + 0.3, split.top, 0.98, LIFT + 0.5)
        canvas.arrow((split.right, y - LIFT), (scale.left, y - LIFT), color=GLOBAL)
        canvas.arrow((map_.right, y + 0.18), (scale.left, y + 0.18), color=SHARED)
        words = rf"$\Theta^{{({j})}}$  {shape_text(part[f'shape/theta/{j}'])}"
        canvas.text(split.x, y + 0.03, words, size=SMALL)
        canvas.box(scale, "query", ["inter-task", parameters(part, f"scale/{j}")], color=GLOBAL)
        grid = _grid(canvas, scale.right + 0.1, split.top, part[f"shape/affinity/{j}"])
        canvas.text(grid.x, grid.bottom + 0.11, rf"$A^{{({j})}}$", size=SMALL)
        merge = Box(grid.right + 0.14, y - LIFT - 0.17, 0.86, 0.34)
        canvas.arrow((grid.right, y - LIFT), (merge.left, y - LIFT), color=GLOBAL)
        sign = rf"$W^{{m\to s({j})}}$"
        canvas.box(merge, sign, [parameters(part, f"merge/{j}")], color=GLOBAL)
        canvas.line((merge.right, y - LIFT), (merged, y - LIFT), color=GLOBAL)
        low = y + 0.18
        canvas.line((scale.right, low), (fused, low), color=TASK)
        channels = part[f"shape/feature/{j}"][1:]
        cell = part[f"shape/cell/{j}"][2:]
        words = rf"$F_i'^{{({j})}}$  {shape_text(channels)}"
        if tuple(cell) != tuple(channels[1:]):
            words += f" → {shape_text(cell)}"
        canvas.text(scale.right + 0.08, low + 0.13, words, size=SMALL, ha="left")
    fuse = Box(fused + 0.22, middle + 0.12, 0.9, 0.56)
    total = Box(fused + 0.22, middle - LIFT - 0.68, 0.9, 0.46)
    canvas.line((fused, rows[0] + 0.18), (fused, rows[-1] + 0.18), color=TASK)
    canvas.line((merged, rows[0] - LIFT), (merged, rows[-1] - LIFT), color=GLOBAL)
    canvas.arrow((fused, fuse.y), (fuse.left, fuse.y), color=TASK)
    canvas.arrow((merged, total.y), (total.left, total.y), color=GLOBAL)
    canvas.box(total, "sum", [f"{scales} scales"], color=GLOBAL)
    canvas.box(fuse, "Conv 1 × 1", [parameters(part, "fuse")], color=TASK)
    joined = shape_text(part["shape/joined"][1:])
    canvas.text(fuse.x, fuse.bottom + 0.14, joined, size=SMALL, color=QUIET)
    intra = Box(fuse.right + 0.22, total.top, 0.66, fuse.bottom - total.top)
    canvas.arrow((total.right, total.y), (intra.left, total.y), color=GLOBAL)
    canvas.arrow((fuse.right, fuse.y), (intra.left, fuse.y), color=TASK)
    canvas.box(intra, "attend", ["intra-task"], color=TASK)
    _ends(canvas, card, part, intra, total.y, fuse.y)


def _out(canvas: Canvas, card: Box, part: Arrays, y: float, left: float) -> None:
    """Intra-task learning and what leaves it, on one scale."""
    intra = Box(card.left + 9.02, y - LIFT - 0.18, 0.66, LIFT + 0.48)
    for at, color, name, sign in (
        (y - LIFT, GLOBAL, "token", r"\theta'_i"),
        (y + 0.14, TASK, "feature", "F'_i"),
    ):
        canvas.arrow((left + 0.06, at), (intra.left, at), color=color)
        words = f"${sign}$  {shape_text(part[f'shape/{name}'])}"
        canvas.text((left + intra.left) / 2, at - 0.12, words, size=SMALL)
    canvas.box(intra, "attend", ["intra-task"], color=TASK)
    _ends(canvas, card, part, intra, y - LIFT, y + 0.14)


def _ends(
    canvas: Canvas, card: Box, part: Arrays, intra: Box, token: float, feature: float
) -> None:
    """theta'_i and F'_i, which the fine-grained stage takes over."""
    for y, color, name, sign in (
        (token, GLOBAL, "token", r"\theta'_i"),
        (feature, TASK, "feature", "F'_i"),
    ):
        end = intra.right + 0.22
        canvas.arrow((intra.right, y), (end, y), color=color)
        canvas.text(end + 0.4, y - 0.07, f"${sign}$", size=TEXT)
        lines = shape_text(part[f"shape/{name}"])
        canvas.text(end + 0.4, y + 0.09, lines, size=SMALL, color=QUIET)


def _image(canvas: Canvas, card: Box, arrays: Arrays, part: Arrays, y: float) -> Box:
    tall = PICTURE * arrays["images"].shape[1] / arrays["images"].shape[2]
    image = canvas.picture(card.left + 0.16, y - tall / 2, PICTURE, arrays["images"][0])
    shape(canvas, image.x, image.bottom + 0.13, part, "image")
    return image


def _slab(canvas: Canvas, x: float, y: float, part: Arrays, name: str, color: str) -> Box:
    """A feature (C, H, W) as sheets: larger for a larger map, more of them for more channels."""
    sizes = [v for key, v in part.items() if key.startswith("shape/stage/")]
    channels, height, width = part[f"shape/{name}"]
    most, largest = max(v[0] for v in sizes), max(max(v[1:]) for v in sizes)
    sheets = max(1, round(SLABS * channels / most))
    wide, tall = (0.56 * size / largest for size in (width, height))
    shift = 0.045
    left, top = x - (wide + shift * (sheets - 1)) / 2, y - (tall - shift * (sheets - 1)) / 2
    for k in reversed(range(sheets)):
        corner = (left + shift * k, top - shift * k)
        how = {"facecolor": mix(color, 0.75), "edgecolor": color, "linewidth": 0.8, "zorder": 2}
        canvas.axes.add_patch(Rectangle(corner, wide, tall, **how))
    reach = shift * (sheets - 1)
    return Box(left, top - reach, wide + reach, tall + reach)


def _bars(canvas: Canvas, left: float, y: float, count: int) -> Box:
    """One token a task, without values; left, and in height around y."""
    high, gap, wide = 0.035, 0.02, 0.22
    top = y - (count * (high + gap) - gap) / 2
    for k in range(count):
        corner = (left, top + k * (high + gap))
        patch = Rectangle(corner, wide, high, facecolor=GLOBAL, edgecolor="none", zorder=2)
        canvas.axes.add_patch(patch)
    return Box(left, top, wide, count * (high + gap) - gap)


def _grid(canvas: Canvas, left: float, top: float, size: Image) -> Box:
    """An affinity of these sizes, without values."""
    cell = 0.32 / int(size[0])
    for row, column in np.ndindex(*(int(n) for n in size)):
        corner = (left + column * cell, top + row * cell)
        how = {"facecolor": mix(GLOBAL, 0.8), "edgecolor": GLOBAL, "linewidth": 0.5, "zorder": 2}
        canvas.axes.add_patch(Rectangle(corner, cell, cell, **how))
    return Box(left, top, cell * int(size[1]), cell * int(size[0]))


def _part(arrays: Arrays, name: str) -> Arrays:
    """What was traced of one of the two networks."""
    return {k.partition("/")[2]: v for k, v in arrays.items() if k.startswith(f"{name}/")}


def _scales(arrays: Arrays) -> int:
    return sum(key.startswith("multi/shape/stage/") for key in arrays)
