"""A small language for diagrams: named cells in a grid, and arrows between their names.

    diagram = Diagram()
    grid = diagram.grid("(a) Encoder", "(b) Tokens")
    grid.row("image | theta  meet")
    grid.row("image | shared meet")
    diagram["image"] = picture(rgb, below=["3 × 64 × 96"])
    diagram.join("image -|-> shared -> meet", SHARED)
    figure = diagram.draw()

In a row a bar begins a new card, a dot leaves a place free, and a name in several places spans
them; a name without a cell is a bare point that lines pass through. Places follow from measured
text; shapes, counts and pictures come from arrays. Arrows are drawn as they run: ``->`` straight,
``-|>`` and ``|->`` around a corner, ``-|->`` and ``|-|>`` with a turn right after the start,
``--|->`` and ``|--|>`` right before the end, ``|_|>`` and ``|^|>`` below and above what lies
between. ``<`` puts a head at the start, too; without ``>`` there is none at the end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

from mtpsl.report.style import (
    DASHES,
    INK,
    SMALL,
    TEXT,
    Cell,
    Line,
    Sheet,
    captions,
    draw_cell,
    mix,
    round_box,
    styled,
    write,
)

WIDTH, MARGIN, PAD, HEAD, FOOT = 11.0, 0.1, 0.14, 0.42, 0.17  # inches of a sheet and its cards
AIR, ARROW, TURN = 0.09, 0.21, 0.32  # inches between cells, for an arrow and for one with a turn
BAND, TITLE = 0.12, 9.5  # inches around what stands on a band; points of a card's title
CARD = "#F6F6F3"
ROUTES = ("-", "-|", "|-", "-|-", "--|-", "|-|", "|--|", "|_|", "|^|")

Span = tuple[int, int]  # of rows or columns, both ends included
Point = tuple[float, float]  # (y, x) in inches from the top left corner


class Arrow(NamedTuple):
    """A line from one name to another."""

    start: str
    route: str  # one of ROUTES
    end: str
    heads: tuple[bool, bool]  # at the start, at the end
    color: str
    label: Line | None
    frame: str  # color around the name of a loss, which lies on its dashed line


@dataclass
class Place:
    """Where a name stands, down and across: its rows and columns; in inches its middle and ends."""

    spans: list[Span]
    middle: Sequence[float] = ()
    body: Sequence[Sequence[float]] = ()
    outer: Sequence[Sequence[float]] = ()  # with all that is printed around the body


@final
class Axis:
    """Where the rows of a grid lie, or its columns, in inches from the start of the first gap."""

    def __init__(self, gaps: Sequence[float], spans: Iterable[tuple[Span, Sequence[float]]]):
        """Takes the gaps around all rows; the span of each cell, its reach to either side."""
        self.start, self.gaps = 0.0, np.array(gaps, dtype=float)
        self.reach = np.zeros((len(gaps) - 1, 2))
        for (first, last), reach in sorted(spans, key=lambda cell: cell[0][1] - cell[0][0]):
            if first == last:
                self.reach[first] = np.maximum(self.reach[first], reach)
            else:
                lacking = sum(reach) - (self.end(last) - self.begin(first))
                self.gaps[first + 1 : last + 1] += max(0.0, lacking) / (last - first)

    def begin(self, i: int) -> float:
        """Where row ``i`` begins; of one more than there are, where the grid ends."""
        return self.start + float(self.gaps[: i + 1].sum() + self.reach[:i].sum())

    def end(self, i: int) -> float:
        return self.begin(i + 1) - float(self.gaps[i + 1])

    @property
    def length(self) -> float:
        return self.begin(len(self.reach)) - self.start

    def inside(self, gap: int, share: float) -> float:
        """A place in the gap before row ``gap``."""
        return self.begin(gap) - (1 - share) * float(self.gaps[gap])

    def middle(self, first: int, last: int) -> float:
        if first == last:
            return self.begin(first) + float(self.reach[first, 0])
        return (self.begin(first) + self.end(last)) / 2

    def spread(self, start: float, length: float) -> None:
        """Begins at ``start`` and takes ``length``; what is left over widens the gaps."""
        shares = np.ones_like(self.gaps)
        shares[[0, -1]] = 0.5
        self.gaps += (length - self.length) * shares / shares.sum()
        self.start = start


@final
class Grid:
    """Rows of names in cards side by side.

    Args:
        cards: Their titles; behind a bar, what stands at the right of the title.
    """

    def __init__(self, *cards: str) -> None:
        self.cards = [[part.strip() for part in card.partition("|")[::2]] for card in cards]
        self.rows: list[list[str]] = []
        self.walls: list[int] = []  # the first column of every card, and the end
        self.bands: list[tuple[list[str], str, str]] = []

    def row(self, names: str) -> None:
        """Adds a row of all cards.

        Raises:
            ValueError: If its columns are not those of the first row.
        """
        parts = [part.split() for part in names.split("|")]
        walls = [0, *np.cumsum([len(part) for part in parts]).tolist()]
        if len(parts) != len(self.cards) or walls != (self.walls or walls):
            raise ValueError(
                f"row: expected {len(self.cards)} cards with the columns of the first row, got "
                f"{names!r}; write a dot where nothing stands"
            )
        self.walls = walls
        self.rows.append([name for part in parts for name in part])

    def band(self, names: str, color: str, title: str = "") -> None:
        """Puts a colored ground below these names and all between them."""
        self.bands.append((names.split(), color, title))

    def arrange(self, cells: dict[str, Cell], arrows: Sequence[Arrow], size: float) -> None:
        """Finds the places of names, and the room that cells, arrows, titles and bands need."""
        positions: dict[str, list[tuple[int, int]]] = {}
        for i, j in np.ndindex(len(self.rows), self.walls[-1]):
            positions.setdefault(self.rows[i][j], []).append((i, j))
        self.places = {name: Place(_hull(at)) for name, at in positions.items() if name != "."}
        self.arrows = [a for a in arrows if a.start in self.places and a.end in self.places]
        gaps = [[HEAD, *[AIR] * (len(self.rows) - 1), PAD], [AIR] * (self.walls[-1] + 1)]
        for wall in self.walls:
            gaps[1][wall] = 2 * PAD + MARGIN if 0 < wall < self.walls[-1] else PAD
        reach = {name: cells.get(name, Cell()).reach(size) for name in self.places}
        around = [a for a in self.arrows if a.route in ("|_|", "|^|")]
        for name, side in {(n, "_" in a.route) for a in around for n in (a.start, a.end)}:
            reach[name][0][side] += ARROW
        for arrow in (a for a in self.arrows if a not in around):
            _make_way(arrow, self.places[arrow.start].spans, self.places[arrow.end].spans, gaps)
        self.axes = [
            Axis(gaps[k], [(p.spans[k], reach[name][k]) for name, p in self.places.items()])
            for k in (0, 1)
        ]
        down, across = self.axes
        for (title, note), (first, end) in zip(self.cards, pairwise(self.walls), strict=True):
            needed = Line(title, TITLE, weight="bold").width + Line(note, SMALL).width + 0.1
            lacking = max(0.0, needed - (across.end(end - 1) - across.begin(first)))
            across.gaps[first + 1 : end] += lacking / max(1, end - 1 - first)
            across.reach[first] += lacking / 2 * (end - first == 1)
        for names, _, title in self.bands:
            rows, columns = self.covered(names)
            down.reach[rows[0], 0] += 0.28 if title else BAND
            down.reach[rows[1], 1] += BAND
            across.reach[columns, (0, 1)] += BAND

    def covered(self, names: Sequence[str]) -> list[Span]:
        """The rows and the columns of these names and all between them."""
        spans = [self.places[name].spans for name in names]
        return _hull([(rows[i], columns[i]) for rows, columns in spans for i in (0, 1)])

    def settle(self, cells: dict[str, Cell], size: float) -> None:
        """Puts every cell on the middle of its rows and columns, or all over them."""
        for name, place in self.places.items():
            cell = cells.get(name, Cell())
            middle, ends, outer = [], [], []
            spread = zip(self.axes, place.spans, cell.body(size), cell.reach(size), strict=True)
            for axis, span, length, reach in spread:
                at = axis.middle(*span)
                body = [at - length / 2, at + length / 2]
                if cell.stretch and span[0] < span[1]:
                    body = [axis.begin(span[0]), axis.end(span[1])]
                middle.append(at)
                ends.append(body)
                outer.append([min(at - reach[0], body[0]), max(at + reach[1], body[1])])
            outer[1] = [outer[1][0] if cell.rows else ends[1][0], ends[1][1]]  # arrows reach bodies
            place.middle, place.body, place.outer = middle, ends, outer


def _hull(points: Sequence[tuple[int, int]]) -> list[Span]:
    """The rows and the columns from the first to the last of some points."""
    return [(min(at), max(at)) for at in zip(*points, strict=True)]


def _make_way(arrow: Arrow, a: list[Span], b: list[Span], gaps: list[list[float]]) -> None:
    """Widens the gaps that an arrow crosses for its head, its turn and its label.

    Raises:
        ValueError: If a straight arrow joins names that share no row and no column.
    """
    if arrow.route == "-" and not any(a[k][0] <= b[k][1] and b[k][0] <= a[k][1] for k in (0, 1)):
        raise ValueError(
            f"join: expected a turn between {arrow.start!r} and {arrow.end!r}, which share no row "
            "and no column, got a straight arrow; draw it as -|>"
        )
    for k, sign in enumerate("|-"):
        if a[k][1] >= b[k][0] and b[k][1] >= a[k][0]:
            continue
        forward = a[k][1] < b[k][0]
        near, far = (a[k][1] + 1, b[k][0]) if forward else (a[k][0], b[k][1] + 1)
        along = arrow.route == "-" or arrow.route[0] == sign
        turn = far if "--" in arrow.route else near
        if along and len(arrow.route) > 2:
            gaps[k][turn] = max(gaps[k][turn], TURN)
        elif near == far:
            gaps[k][near] = max(gaps[k][near], ARROW)
        if arrow.label and along and near == far:
            wide = arrow.label.width + (0.42 if arrow.frame else 0.12)
            gaps[k][near] = max(gaps[k][near], wide if k else 0.42)


# ------------------------------------------------------------------- drawing


@final
class Diagram:
    """Grids of cells, one below or beside the other, with arrows between the cells of each.

    Args:
        picture: Inches across a picture.
    """

    def __init__(self, picture: float = 0.8) -> None:
        self.size = picture
        self.cells: dict[str, Cell] = {}
        self.arrows: list[Arrow] = []
        self.grids: list[list[Grid]] = []

    def grid(self, *cards: str, beside: bool = False) -> Grid:
        """A new grid, below the last one or beside it; its arguments are those of ``Grid``."""
        if not beside:
            self.grids.append([])
        self.grids[-1].append(Grid(*cards))
        return self.grids[-1][-1]

    def __setitem__(self, name: str, cell: Cell) -> None:
        self.cells[name] = cell

    def join(self, names: str, color: str = INK, *, label: str = "", loss: str = "") -> None:
        """Draws arrows from name to name, as in ``"image -> encoder -|> tokens"``.

        Args:
            names: Names and the arrows between them, with spaces; a semicolon begins anew.
            color: Of the lines, or of the frame around a loss.
            label: What stands above the line.
            loss: What compares the two ends; it lies on a dashed line.

        Raises:
            ValueError: If what stands between two names is no arrow.
        """
        label_line = Line(loss, TEXT) if loss else Line(label, SMALL) if label else None
        ink, frame = (INK, color) if loss else (color, "")
        for parts in (chain.split() for chain in names.split(";")):
            for start, drawn, end in zip(parts[:-2:2], parts[1:-1:2], parts[2::2], strict=True):
                route, heads = drawn.strip("<>"), (drawn[0] == "<", drawn[-1] == ">")
                if route not in ROUTES:
                    raise ValueError(f"join: expected an arrow such as -> or -|>, got {drawn!r}")
                self.arrows.append(Arrow(start, route, end, heads, ink, label_line, frame))

    @styled
    def draw(self) -> Figure:
        """The figure, ``WIDTH`` inches wide, or wider where its cells need more.

        Raises:
            ValueError: If an arrow joins two names that do not stand in one grid.
        """
        grids = [grid for line in self.grids for grid in line]
        for grid in grids:
            grid.arrange(self.cells, self.arrows, self.size)
        for arrow in self.arrows:
            if not any(arrow in grid.arrows for grid in grids):
                pair = f"{arrow.start!r} and {arrow.end!r}"
                raise ValueError(f"join: expected two names of one grid, got {pair}")
        used = [sum(g.axes[1].length + MARGIN for g in line) + MARGIN for line in self.grids]
        tall = [max(g.axes[0].length for g in line) for line in self.grids]
        sheet = Sheet(max(WIDTH, *used), sum(tall) + MARGIN * len(tall) + MARGIN + FOOT)
        axes = sheet.axes(0, 0, sheet.width, sheet.height)
        axes.set_axis_off()
        axes.set(xlim=(0, sheet.width), ylim=(sheet.height, 0))
        axes.set_autoscale_on(False)  # pictures would move the limits
        top = MARGIN
        for line, high, width in zip(self.grids, tall, used, strict=True):
            left, gaps = MARGIN, sum(len(grid.axes[1].gaps) for grid in line)
            for grid in line:
                down, across = grid.axes
                down.spread(top, high)
                surplus = (sheet.width - width) * len(across.gaps) / gaps
                across.spread(left, across.length + surplus)
                grid.settle(self.cells, self.size)
                self._draw(axes, grid)
                left += across.length + MARGIN
            top += high + MARGIN
        return sheet.figure

    def _draw(self, axes: Axes, grid: Grid) -> None:
        down, across = grid.axes
        high = down.start, down.start + down.length
        inner = [across.inside(wall, 0.5) for wall in grid.walls[1:-1]]
        starts = [across.start, *(wall + MARGIN / 2 for wall in inner)]
        ends = [*(wall - MARGIN / 2 for wall in inner), across.start + across.length]
        for left, right, (title, note) in zip(starts, ends, grid.cards, strict=True):
            round_box(axes, high, (left, right), CARD, "none", 0)
            write(axes, high[0] + 0.2, left + 0.12, Line(title, TITLE, weight="bold"), "left")
            write(axes, high[0] + 0.2, right - 0.14, captions([note])[0], "right")
        for names, color, title in grid.bands:
            (top, bottom), (first, last) = grid.covered(names)
            place = (down.begin(top), down.end(bottom)), (across.begin(first), across.end(last))
            round_box(axes, *place, mix(color, 0.93), color, 0.5)
            write(axes, place[0][0] + 0.14, sum(place[1]) / 2, captions([title])[0])
        for name, place in grid.places.items():
            draw_cell(axes, self.cells.get(name, Cell()), *place.body, place.middle[1])
        for arrow in grid.arrows:
            _draw_arrow(axes, arrow, _points(arrow, grid), bare=arrow.end not in self.cells)


def _points(arrow: Arrow, grid: Grid) -> list[Point]:
    a, b, route = grid.places[arrow.start], grid.places[arrow.end], arrow.route
    (rows_a, columns_a), (rows_b, columns_b) = a.spans, b.spans
    (y_a, x_a), (y_b, x_b) = a.middle, b.middle
    left, right = a.outer[1][x_a < x_b], b.outer[1][x_b < x_a]
    top, bottom = a.outer[0][y_a < y_b], b.outer[0][y_b < y_a]
    if route in ("|_|", "|^|"):
        side, sign = "_" in route, 1 if "_" in route else -1
        ends = a.outer[0][side], b.outer[0][side]
        y = sign * (max(sign * end for end in ends) + TURN / 2)
        return [(ends[0], x_a), (y, x_a), (y, x_b), (ends[1], x_b)]
    if route == "-" and (columns_a[1] < columns_b[0] or columns_b[1] < columns_a[0]):
        y = y_a if rows_a[1] - rows_a[0] < rows_b[1] - rows_b[0] else y_b
        return [(y, left), (y, right)]
    if route == "-":
        x = x_a if columns_a[1] - columns_a[0] < columns_b[1] - columns_b[0] else x_b
        return [(top, x), (bottom, x)]
    if route == "-|":
        return [(y_a, left), (y_a, x_b), (bottom, x_b)]
    if route == "|-":
        return [(top, x_a), (y_b, x_a), (y_b, right)]
    if route.strip("-") == "|":
        x = _turn(grid.axes[1], columns_a, columns_b, "--" in route)
        return [(y_a, left), (y_a, x), (y_b, x), (y_b, right)]
    y = _turn(grid.axes[0], rows_a, rows_b, "--" in route)
    return [(top, x_a), (y, x_a), (y, x_b), (bottom, x_b)]


def _turn(axis: Axis, a: Span, b: Span, late: bool) -> float:
    """Where a line from one span to another turns: in a gap, in a third that others leave free."""
    if a[1] < b[0]:
        return axis.inside(b[0], 2 / 3) if late else axis.inside(a[1] + 1, 1 / 3)
    return axis.inside(b[1] + 1, 1 / 3) if late else axis.inside(a[0], 2 / 3)


def _draw_arrow(axes: Axes, arrow: Arrow, points: list[Point], bare: bool) -> None:
    """A line with its heads, of which a bare point gets none, and its label."""
    head = "<|" * arrow.heads[0] + "-" + "|>" * (arrow.heads[1] and not bare)
    style = f"{head},head_length=3.2,head_width=1.7" if len(head) > 1 else head
    path = Path([(x, y) for y, x in points])
    line = {"linewidth": 1.1, "linestyle": DASHES if arrow.frame else "solid", "zorder": 4}
    join = {"capstyle": "butt", "joinstyle": "round"}
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle=style, color=arrow.color, **line, **join))
    if arrow.label:
        part = len(points) // 4  # the first one, or the one between two turns
        y, x = np.mean(points[part : part + 2], axis=0)
        ground = {"fc": "white", "ec": arrow.frame, "lw": 0.7, "boxstyle": "round,pad=0.25"}
        if arrow.frame:
            write(axes, y, x, arrow.label, bbox=ground)
        else:
            write(axes, y - 0.1, x, arrow.label)
