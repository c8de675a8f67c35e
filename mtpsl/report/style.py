"""Colors, the sheet of paper that every figure is drawn on, and the cells of diagrams.

In cells heights come before widths, in inches from the sheet's top left corner.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle
from numpy.typing import NDArray

Image = NDArray[Any]

DPI = 150
INK, QUIET, PAPER = "#222222", "#767676", "#FFFFFF"
RULES = {
    "figure.dpi": DPI,
    "font.size": 9,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
}

# Okabe and Ito's palette for all kinds of color vision; a marker says the same again.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d")
DEPTH_MAP, SCORE_MAP, AFFINITY_MAP = "viridis", "magma", "RdBu_r"
BINARY_MAP = "Blues"  # of a probability, or of a label that is 0 or 1

# Large and dull regions get pale colors, small and telling ones get strong ones. A name has one
# color in every data set; within a set no two colors are alike.
CLASS_COLORS = {
    # rooms13
    "bed": "#3B6FB6",
    "books": "#8C2D5E",
    "ceiling": "#F1E9D2",
    "chair": "#D1432B",
    "floor": "#B08A63",
    "furniture": "#2E7D4F",
    "objects": "#F0932B",
    "picture": "#B05CC6",
    "sofa": "#23A6A6",
    "table": "#F4D03F",
    "tv": "#1F2A54",
    "wall": "#C3CFD9",
    "window": "#7CC8F2",
    # streets7
    "flat": "#B9AEC4",
    "construction": "#C9A27C",
    "object": "#F2C230",
    "nature": "#5E9E52",
    "sky": "#BFE3F7",
    "human": "#C2255C",
    "vehicle": "#2B4C9B",
    # people21
    "background": "#ECE9E2",
    "aeroplane": "#9DC3E6",
    "bicycle": "#F2C230",
    "bird": "#8FD14F",
    "boat": "#1F6FB2",
    "bottle": "#00C2A8",
    "bus": "#F77F00",
    "car": "#24396E",
    "cat": "#B5651D",
    "cow": "#6B3E26",
    "diningtable": "#C9B458",
    "dog": "#F4A98A",
    "horse": "#8A8F2A",
    "motorbike": "#6A3D9A",
    "person": "#E0218A",
    "pottedplant": "#1E7B3A",
    "sheep": "#A0A0B8",
    "train": "#7B1E3A",
    "tvmonitor": "#5B6BD6",
    # human parts, from the head down
    "head": "#D1432B",
    "torso": "#2B4C9B",
    "upper arm": "#F0932B",
    "lower arm": "#F4D03F",
    "upper leg": "#2E7D4F",
    "lower leg": "#8FD14F",
}
OTHER_COLORS = tuple(to_rgb(colormaps["tab20"](i)) for i in range(20))
VOID_COLOR, HOLE_COLOR = "#6B6B6B", "#DADADA"  # no class; no depth or normal


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws under this module's rules, whatever the caller's settings, and restores those."""

    @wraps(draw)
    def under_rules(*args: Any, **kwargs: Any) -> Figure:
        with style.context(["default", RULES]):
            return draw(*args, **kwargs)

    return under_rules


class Sheet:
    """A figure laid out in inches from its top left corner, so that text moves no panel."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def picture(
        self, left: float, top: float, width: float, height: float, image: Image, **how: Any
    ) -> Axes:
        """An image that fills the box, without axes."""
        axes = self.axes(left, top, width, height)
        axes.imshow(np.asarray(image), aspect="auto", **how)
        axes.set_axis_off()
        return axes

    def text(self, left: float, top: float, text: str, **how: Any) -> None:
        self.figure.text(left / self.width, 1 - top / self.height, text, **how)

    def rule(self, left: float, top: float, width: float) -> None:
        """A thin horizontal line."""
        x, y = np.array([left, left + width]) / self.width, 1 - top / self.height
        line = Line2D(x, [y, y], color=QUIET, linewidth=0.6, transform=self.figure.transFigure)
        self.figure.add_artist(line)

    def bar(
        self, left: float, top: float, width: float, cmap: str, low: float, high: float, label: str
    ) -> None:
        """A horizontal color bar 0.1 inches high with its range written beside it."""
        ramp = np.linspace(0, 1, 256)[None]
        self.picture(left, top, width, 0.1, ramp, cmap=cmap)
        ends = {"va": "center", "fontsize": 8, "color": QUIET}
        self.text(left - 0.06, top + 0.05, f"{low:.2g}", ha="right", **ends)
        self.text(left + width + 0.06, top + 0.05, f"{high:.2g}  {label}", ha="left", **ends)

    def sphere(self, left: float, top: float, size: float) -> None:
        """The key to the colors of normals: a ball as the camera sees it."""
        y, x = np.mgrid[-1:1:65j, -1:1:65j]
        inside = x**2 + y**2 <= 1
        z = -np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))
        ball = normals_to_rgb(np.stack([x, y, z], axis=-1), hole=PAPER)
        ball[~inside] = 255
        self.picture(left, top, size, size, ball)


def class_color(name: str, index: int) -> tuple[float, float, float]:
    """RGB in [0, 1]; classes without a color of their own take the one at their index."""
    return to_rgb(CLASS_COLORS.get(name, OTHER_COLORS[index % len(OTHER_COLORS)]))


def classes_to_rgb(ids: Image, names: Sequence[str]) -> Image:
    """(H, W) class ids -> (H, W, 3) uint8."""
    table = np.empty((256, 3))
    table[:] = to_rgb(VOID_COLOR)
    table[: len(names)] = [class_color(name, i) for i, name in enumerate(names)]
    return (table[ids] * 255).round().astype(np.uint8)


def scalar_to_rgb(values: Image, cmap: str, low: float, high: float) -> Image:
    """(H, W) values on a color map over [low, high] -> (H, W, 3) uint8; NaN is a hole."""
    shares = (values.astype(np.float32) - low) / max(high - low, 1e-6)
    rgb = (colormaps[cmap](np.nan_to_num(shares).clip(0, 1))[..., :3] * 255).round()
    rgb[np.isnan(shares)] = np.multiply(to_rgb(HOLE_COLOR), 255).round()
    return rgb.astype(np.uint8)


def normals_to_rgb(normals: Image, hole: str = HOLE_COLOR) -> Image:
    """(H, W, 3) unit normals, x right, y down, z forward -> (H, W, 3) uint8; NaN is a hole.

    Red grows to the right, green upwards and blue towards the camera, as is usual.
    """
    normals = normals.astype(np.float32)
    holes = np.isnan(normals).any(-1)
    rgb = 127.5 + 127.5 * np.nan_to_num(normals) * np.array([1, -1, -1])
    rgb[holes] = np.multiply(to_rgb(hole), 255)
    return rgb.round().clip(0, 255).astype(np.uint8)


# ----------------------------------------------------------- cells of diagrams

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
