"""Pieces of diagrams: boxes, pictures and arrows, in inches from a canvas's top left corner.

A diagram states what was measured: shapes and counts come from arrays, never from here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path

from mtpsl.report.style import CYCLE, INK, QUIET, Image, Sheet

SHARED, TASK, MAPPING, PAIRWISE = CYCLE[0], CYCLE[2], CYCLE[1], CYCLE[3]  # colors of networks
CARD, PALE = "#F6F6F3", 0.86  # ground of a card; how much white a box's color is mixed with
ROUND = 0.05  # inches of a corner
TITLE, TEXT, SMALL = 9.5, 8.0, 7.0  # points
LEADING = 1.35  # lines of text, in font sizes

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle on a canvas, in inches, the top smaller than the bottom."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def x(self) -> float:
        """Of the center."""
        return self.left + self.width / 2

    @property
    def y(self) -> float:
        """Of the center."""
        return self.top + self.height / 2


@final
class Canvas:
    """A sheet with one pair of axes in inches, on which everything is drawn in order.

    Args:
        width: In inches.
        height: In inches.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.sheet = Sheet(width, height)
        self.axes = self.sheet.axes(0, 0, width, height)
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.set_autoscale_on(False)  # pictures would move the limits

    @property
    def figure(self) -> Figure:
        return self.sheet.figure

    def card(self, box: Box, title: str) -> None:
        """A quiet ground that holds a part of the diagram, its title on top."""
        self._round(box, CARD, "none", 0, radius=2 * ROUND)
        self.text(box.left + 0.12, box.top + 0.19, title, size=TITLE, weight="bold", ha="left")

    def box(
        self, box: Box, title: str, lines: Sequence[str] = (), *, color: str, size: float = TEXT
    ) -> Box:
        """A part of a network: its name, and below it what is known about it."""
        self._round(box, mix(color, PALE), color, 1.1)
        step, small = size * LEADING / 72, min(SMALL, size) * LEADING / 72
        y = box.y - (len(lines) * small) / 2
        self.text(box.x, y, title, size=size, weight="bold")
        for i, line in enumerate(lines):
            below = y + step / 2 + small * (i + 0.5)
            self.text(box.x, below, line, size=min(SMALL, size), color=QUIET)
        return box

    def picture(
        self, left: float, top: float, width: float, image: Image, *, frame: str = QUIET, **how: Any
    ) -> Box:
        """An image in its own proportions.

        Args:
            left: In inches.
            top: In inches.
            width: In inches.
            image: (H, W, 3) uint8.
            frame: Its color.
            **how: Of the frame's line.
        """
        height = width * image.shape[0] / image.shape[1]
        extent = (left, left + width, top + height, top)
        self.axes.imshow(image, extent=extent, aspect="auto", zorder=2)
        line = {"linewidth": 0.8, "edgecolor": frame, "zorder": 3} | how
        self.axes.add_patch(Rectangle((left, top), width, height, fill=False, **line))
        return Box(left, top, width, height)

    def missing(self, box: Box, words: str = "") -> Box:
        """The place of a picture that does not exist."""
        line = {"linewidth": 0.8, "edgecolor": QUIET, "linestyle": (0, (3, 2))}
        corner = (box.left, box.top)
        self.axes.add_patch(
            Rectangle(corner, box.width, box.height, facecolor="white", zorder=2, **line)
        )
        if words:
            self.text(box.x, box.y, words, size=SMALL, color=QUIET)
        return box

    def arrow(
        self, *points: Point, color: str = INK, both: bool = False, dashed: bool = False
    ) -> None:
        """Along the points, with a head at the last one, or at both ends."""
        style = "<|-|>" if both else "-|>"
        self.axes.add_patch(
            FancyArrowPatch(
                path=Path(points),
                arrowstyle=f"{style},head_length=3.2,head_width=1.7",
                color=color,
                linewidth=1.1,
                linestyle=(0, (3, 2)) if dashed else "solid",
                capstyle="butt",
                joinstyle="round",
                zorder=4,
            )
        )

    def line(self, *points: Point, color: str = INK, width: float = 1.1) -> None:
        x, y = zip(*points, strict=True)
        self.axes.plot(x, y, color=color, linewidth=width, zorder=1, solid_joinstyle="round")

    def text(self, x: float, y: float, text: str, *, size: float = TEXT, **how: Any) -> None:
        how = {"ha": "center", "va": "center_baseline", "zorder": 5} | how
        self.axes.text(x, y, text, fontsize=size, **how)

    def loss(self, x: float, y: float, text: str, color: str = INK) -> None:
        """The name of a loss on a white ground, as lines may pass below it."""
        ground = {"facecolor": "white", "edgecolor": color, "linewidth": 0.7}
        ground["boxstyle"] = "round,pad=0.25"
        self.text(x, y, text, size=TEXT, bbox=ground, zorder=6)

    def matrix(self, left: float, top: float, cell: float, marked: Iterable[Point], n: int) -> Box:
        """n x n cells; the marked (row, column) are filled, the diagonal is not part of it."""
        marked = set(marked)
        for row, column in np.ndindex(n, n):
            face = PAIRWISE if (row, column) in marked else "white"
            face = "#DDDDDA" if row == column else face
            corner = (left + column * cell, top + row * cell)
            line = {"edgecolor": QUIET, "linewidth": 0.6, "zorder": 2}
            self.axes.add_patch(Rectangle(corner, cell, cell, facecolor=face, **line))
        return Box(left, top, n * cell, n * cell)

    def _round(
        self, box: Box, face: Any, edge: Any, linewidth: float, radius: float = ROUND
    ) -> None:
        self.axes.add_patch(
            FancyBboxPatch(
                (box.left, box.top),
                box.width,
                box.height,
                boxstyle=f"round,pad=0,rounding_size={radius}",
                facecolor=face,
                edgecolor=edge,
                linewidth=linewidth,
                zorder=0 if face == CARD else 2,
            )
        )


def mix(color: str, white: float) -> tuple[float, float, float]:
    """A color with a share of white."""
    return tuple(1 - (1 - channel) * (1 - white) for channel in to_rgb(color))


def shape_text(shape: Image) -> str:
    """A shape as one reads it: 13 × 64 × 96."""
    return " × ".join(str(int(size)) for size in shape)


def count_text(count: float) -> str:
    """A number of parameters to three digits: 51, 1.94 k, 24.9 M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):g} {unit}"
    return str(int(count))
