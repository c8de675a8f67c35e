"""Colors, markers and the sheet of paper that every figure of this package is drawn on."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
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
