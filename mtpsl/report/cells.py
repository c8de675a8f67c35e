"""What stands in the places of a diagram: boxes, pictures, tokens and remarks, with small print.

Heights come before widths, in inches from the sheet's top left corner.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle

from mtpsl.report.arrays import Arrays
from mtpsl.report.style import (
    AFFINITY_MAP,
    CYCLE,
    DPI,
    INK,
    QUIET,
    SCORE_MAP,
    Image,
    Sheet,
    scalar_to_rgb,
)

SHARED, TASK, MAPPING, PAIRWISE = CYCLE[0], CYCLE[2], CYCLE[1], CYCLE[3]  # colors of networks
SIGN, TEXT, SMALL = 10.5, 8.0, 7.0  # points
CAPTION, SHEET = 0.05, 0.045  # inches from a body to its caption, from sheet to sheet of a pile
CRISP = 32  # pixels of the shorter side up to which an image is a matrix, whose cells have edges
DASHES = (0, (3, 2))


class Line(NamedTuple):
    """A line of text."""

    text: str
    size: float
    color: str = INK
    weight: str = "normal"

    @property
    def width(self) -> float:
        return text_size(self.text, self.size, self.weight)[0]

    @property
    def height(self) -> float:
        return max(text_size(self.text, self.size, self.weight)[1] + 0.03, 1.5 * self.size / 72)


@cache
def text_size(text: str, size: float, weight: str) -> tuple[float, float]:
    """Width and height of a text in inches."""
    drawn = Sheet(1, 1).figure.text(0, 0, text, fontsize=size, weight=weight)
    box = drawn.get_window_extent()
    return box.width / DPI, box.height / DPI


def total(lines: Iterable[Line]) -> float:
    return sum(line.height for line in lines)


def captions(lines: str | Sequence[str]) -> list[Line]:
    """Small print, of one line or several; what names no sign is quiet."""
    lines = [lines] if isinstance(lines, str) else lines
    return [Line(line, SMALL, INK if "$" in line else QUIET) for line in lines]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What stands in a place: a body, and small print around it."""

    width: float = 0.0  # of an image in pictures; of text at least so many inches
    height: float = 0.0
    text: Sequence[Line] = ()  # in the body
    image: Image | None = None
    frame: str = ""  # its color
    dashed: bool = False
    stretch: bool = False  # fills all its places; otherwise it stands in their middle
    sheets: int = 0  # of a pile
    numbers: Image | None = None  # written on the image
    above: str | Sequence[str] = ()
    below: str | Sequence[str] = ()
    rows: Sequence[str] = ()  # names of the image's rows, at its left
    columns: Sequence[str] = ()  # names of its columns, above it

    def body(self, picture: float) -> tuple[float, float]:
        """Height and width in inches, where a picture is ``picture`` inches wide."""
        if self.image is not None or self.sheets:
            pile = SHEET * max(0, self.sheets - 1)
            return self.height * picture + pile, self.width * picture + pile
        pad = 0.1 if self.frame else 0.04
        wide = max((line.width + 2 * pad for line in self.text), default=0.0)
        high = total(self.text) + (pad if self.text else 0)
        return max(high, self.height), max(wide, self.width)

    def reach(self, picture: float) -> list[list[float]]:
        """Inches from the middle up and down, and to the left and right, of body and print."""
        high, wide = self.body(picture)
        printed = captions(self.above or self.columns[:1]), captions(self.below)
        down = [high / 2 + total(lines) + CAPTION * bool(lines) for lines in printed]
        half = max([wide, *(line.width for lines in printed for line in lines)]) / 2
        left = max([half, *(wide / 2 + CAPTION + line.width for line in captions(self.rows))])
        return [down, [left, half]]


def box(title: str, *lines: str, color: str, **how: Any) -> Cell:
    """A part of a network: its name or sign, and what is known about it; a star makes it bold."""
    text = [Line(title, SIGN if title.startswith("$") else TEXT, weight="bold")]
    for line in lines:
        bold = line.startswith("*")
        text += [Line(line[1:], TEXT, weight="bold") if bold else Line(line, SMALL, QUIET)]
    return Cell(**{"text": text, "frame": color, "width": 0.6, "height": 0.42} | how)


def remark(*lines: str, size: float = TEXT, weight: str = "normal", **how: Any) -> Cell:
    """Lines of text alone."""
    return Cell(text=[Line(line, size, weight=weight) for line in lines], **how)


def picture(image: Image, color: str = QUIET, *, wide: float = 1.0, **how: Any) -> Cell:
    """An image (H, W, 3) in its own proportions, ``wide`` times as wide as others."""
    high = wide * image.shape[0] / image.shape[1]
    return Cell(**{"image": image, "frame": color, "width": wide, "height": high} | how)


def missing(image: Image, reason: str, **how: Any) -> Cell:
    """The empty place of a picture like ``image``."""
    blank = np.full((*image.shape[:2], 3), 255, dtype=np.uint8)
    return picture(blank, dashed=True, text=captions([reason]), **how)


def scores(values: Image, color: str, **how: Any) -> Cell:
    """(h, w) scores on the range that they span."""
    values = values.astype(np.float32)
    return picture(scalar_to_rgb(values, SCORE_MAP, values.min(), values.max()), color, **how)


def tokens(values: Image, color: str, **how: Any) -> Cell:
    """A token (C,) as a strip, or several (K, C) as its rows; white is 0."""
    values = np.atleast_2d(values)
    high = 0.15 if len(values) == 1 else min(0.64, 0.2 * len(values))
    return picture(signed_rgb(values), color, **{"wide": 0.9, "height": high} | how)


def signed_rgb(values: Image) -> Image:
    """(h, w) values of either sign, up to their largest -> (h, w, 3) uint8, white at 0."""
    reach = float(np.abs(values).max())
    return scalar_to_rgb(values, AFFINITY_MAP, -reach, reach)


def shape_text(shape: Image) -> str:
    """A shape as one reads it: 13 × 64 × 96."""
    return " × ".join(str(int(size)) for size in shape)


def shape_of(arrays: Arrays, name: str, sign: str = "") -> str:
    """The traced shape of ``name``, behind its sign."""
    return f"{sign}  {shape_text(arrays[f'shape/{name}'])}".strip()


def count_text(count: float) -> str:
    """A number of parameters to three digits: 51, 1.94 k, 24.9 M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):g} {unit}"
    return str(int(count))


def count_of(arrays: Arrays, *names: str) -> str:
    """How many numbers these parts learn together."""
    return count_text(sum(int(arrays[f"parameters/{name}"]) for name in names))


def draw_cell(
    axes: Axes, cell: Cell, y: tuple[float, float], x: tuple[float, float], middle: float
) -> None:
    """Draws a body between two heights and two sides, and what is printed around its middle."""
    (top, bottom), (left, right) = y, x
    high, wide = bottom - top, right - left
    line = {"edgecolor": cell.frame, "linewidth": 0.8, "linestyle": DASHES if cell.dashed else "-"}
    if cell.image is not None:
        crisp = "nearest" if min(cell.image.shape[:2]) <= CRISP else "auto"
        how = {"extent": (left, right, bottom, top), "aspect": "auto", "interpolation": crisp}
        axes.imshow(cell.image, zorder=2, **how)
        axes.add_patch(Rectangle((left, top), wide, high, fill=False, zorder=3, **line))
    elif cell.frame and cell.text:
        round_box(axes, y, x, mix(cell.frame, 0.86), cell.frame, 2)
    pile = SHEET * (cell.sheets - 1)
    for k in reversed(range(cell.sheets)):
        corner, size = (left + SHEET * k, top + pile - SHEET * k), (wide - pile, high - pile)
        axes.add_patch(Rectangle(corner, *size, fc=mix(cell.frame, 0.75), zorder=2, **line))
    above, below = captions(cell.above), captions(cell.below)
    _stack(axes, (top + bottom - total(cell.text)) / 2, (left + right) / 2, cell.text)
    _stack(axes, top - CAPTION - total(above), middle, above)
    _stack(axes, bottom + CAPTION, middle, below)
    for i, name in enumerate(captions(cell.rows)):
        write(axes, top + high * (i + 0.5) / len(cell.rows), left - CAPTION, name, "right")
    for i, name in enumerate(captions(cell.columns)):
        at = left + wide * (i + 0.5) / len(cell.columns)
        write(axes, top - CAPTION - name.height / 2, at, name)
    if cell.numbers is not None:
        step = np.divide((high, wide), cell.numbers.shape)
        for at, value in np.ndenumerate(cell.numbers):
            corner = (top, left) + step * (np.array(at) + 0.5)
            write(axes, *corner, Line(f"{value:.2f}", SMALL, "white" if value > 0.6 else INK))


def _stack(axes: Axes, top: float, x: float, lines: Iterable[Line]) -> None:
    for line in lines:
        write(axes, top + line.height / 2, x, line)
        top += line.height


def write(axes: Axes, y: float, x: float, line: Line, align: str = "center", **how: Any) -> None:
    """Writes a line around a point, or from it, or up to it."""
    look = {"fontsize": line.size, "color": line.color, "weight": line.weight, "zorder": 6}
    axes.text(x, y, line.text, ha=align, va="center_baseline", **look, **how)


def round_box(
    axes: Axes, y: Sequence[float], x: Sequence[float], fill: Any, edge: Any, level: float
) -> None:
    """Draws a rectangle with round corners between two heights and two sides."""
    look = {"boxstyle": "round,pad=0,rounding_size=0.05", "fc": fill, "ec": edge, "zorder": level}
    axes.add_patch(FancyBboxPatch((x[0], y[0]), x[1] - x[0], y[1] - y[0], linewidth=1.0, **look))


def mix(color: str, white: float) -> tuple[float, ...]:
    """A color with a share of white."""
    return tuple(1 - (1 - channel) * (1 - white) for channel in to_rgb(color))
