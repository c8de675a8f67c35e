"""Pieces that the diagrams of HiTTs share: tokens, features, labels and their colors."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle

from mtpsl.losses import IGNORE_INDEX
from mtpsl.report.arrays import Arrays
from mtpsl.report.diagram import (
    MAPPING,
    PAIRWISE,
    ROUND,
    SMALL,
    TASK,
    Box,
    Canvas,
    count_text,
    mix,
    shape_text,
)
from mtpsl.report.maps import kind_of, map_to_rgb, titles_of
from mtpsl.report.style import (
    AFFINITY_MAP,
    HOLE_COLOR,
    INK,
    QUIET,
    SCORE_MAP,
    Image,
    scalar_to_rgb,
)

GLOBAL, FINE = MAPPING, PAIRWISE  # colors of the two hierarchies of tokens, and of their losses
LOSSES = {"L_s": TASK, "L_p": FINE, "L_f": GLOBAL}
BELOW = 0.13  # inches from a picture to the middle of the words under it


def loss_text(name: str) -> str:
    """``L_f`` as the paper prints it."""
    return rf"$\mathcal{{{name[0]}}}{name[1:]}$"


def numbered(arrays: Arrays) -> dict[str, int]:
    """Task -> its number i, from 1."""
    return {task: i + 1 for i, task in enumerate(titles_of(arrays))}


def parameters(arrays: Arrays, *names: str) -> str:
    """How many numbers these parts learn together."""
    return count_text(sum(int(arrays[f"parameters/{name}"]) for name in names))


def signed_rgb(values: Image, reach: float = 0.0) -> Image:
    """(h, w) values of either sign -> (h, w, 3) uint8, white at 0; ``reach`` 0: their largest."""
    reach = reach or float(np.abs(values).max())
    return scalar_to_rgb(values, AFFINITY_MAP, -reach, reach)


def score_rgb(values: Image) -> Image:
    """(h, w) scores on the range that they span -> (h, w, 3) uint8."""
    values = values.astype(np.float32)
    return scalar_to_rgb(values, SCORE_MAP, float(values.min()), float(values.max()))


def band(canvas: Canvas, box: Box, color: str) -> Box:
    """A ground in the color of what happens on it, below all lines."""
    style = f"round,pad=0,rounding_size={ROUND}"
    how = {"boxstyle": style, "facecolor": mix(color, 0.93), "edgecolor": color, "linewidth": 0.8}
    corner = (box.left, box.top)
    canvas.axes.add_patch(FancyBboxPatch(corner, box.width, box.height, zorder=0.5, **how))
    return box


def cells(canvas: Canvas, box: Box, rgb: Image, *, frame: str = QUIET) -> Box:
    """A matrix or a vector as cells that fill the box, whatever their proportions."""
    extent = (box.left, box.right, box.bottom, box.top)
    how = {"aspect": "auto", "interpolation": "nearest", "zorder": 2}
    canvas.axes.imshow(rgb, extent=extent, **how)
    line = {"linewidth": 0.8, "edgecolor": frame, "fill": False, "zorder": 3}
    canvas.axes.add_patch(Rectangle((box.left, box.top), box.width, box.height, **line))
    return box


def token(canvas: Canvas, box: Box, values: Image, *, frame: str = GLOBAL) -> Box:
    """A token (C,) as a strip, or several (K, C) as rows of one."""
    return cells(canvas, box, signed_rgb(np.atleast_2d(values)), frame=frame)


def affinity(
    canvas: Canvas, left: float, top: float, cell: float, values: Image, *, numbers: bool = True
) -> Box:
    """(T, T) affinities in [0, 1] as a matrix of colored cells, with their values."""
    n = len(values)
    box = Box(left, top, n * cell, n * cell)
    cells(canvas, box, scalar_to_rgb(values, "Oranges", 0, 1), frame=GLOBAL)
    for row, column in np.ndindex(n, n) if numbers else ():
        value = float(values[row, column])
        x, y = left + (column + 0.5) * cell, top + (row + 0.5) * cell
        canvas.text(x, y, f"{value:.2f}", size=SMALL, color="white" if value > 0.6 else INK)
    return box


def label_of(
    canvas: Canvas, arrays: Arrays, task: str, left: float, top: float, wide: float
) -> Box:
    """What supervises a task: its label, or the pseudo label where M^p accepts it."""
    if known(arrays)[task]:
        return canvas.picture(left, top, wide, map_to_rgb(arrays, f"{task}/truth", 0), frame=INK)
    picture = pseudo_rgb(arrays, task)
    return canvas.picture(left, top, wide, picture, frame=FINE, linestyle=(0, (3, 2)))


def pseudo_rgb(arrays: Arrays, task: str) -> Image:
    """A pseudo label -> (H, W, 3) uint8, a hole where M^p is 0, of classes too."""
    picture = map_to_rgb(arrays, f"{task}/pseudo", 0)
    if kind_of(arrays, task) == "classes":
        rejected = arrays[f"{task}/pseudo"][0] == IGNORE_INDEX
        picture[rejected] = np.multiply(to_rgb(HOLE_COLOR), 255).round()
    return picture


def known(arrays: Arrays) -> dict[str, bool]:
    """Task -> whether the image carries its label."""
    return dict(zip(titles_of(arrays), arrays["known"].tolist(), strict=True))


def percent(share: float) -> str:
    return f"{100 * float(share):.0f} %"


def shape(canvas: Canvas, x: float, y: float, arrays: Arrays, name: str, sign: str = "") -> None:
    """A shape in small print, behind the sign of what has it."""
    words = shape_text(arrays[f"shape/{name}"])
    if sign:
        canvas.text(x, y, f"{sign}  {words}", size=SMALL)
    else:
        canvas.text(x, y, words, size=SMALL, color=QUIET)


def words(
    canvas: Canvas,
    x: float,
    y: float,
    lines: Sequence[str],
    *,
    color: str = QUIET,
    ha: str = "center",
) -> None:
    """Lines of small print, downwards from y."""
    for i, line in enumerate(lines):
        canvas.text(x, y + i * 0.15, line, size=SMALL, color=color, ha=ha)
