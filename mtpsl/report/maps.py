"""Dense maps as pictures: one grid and one legend for every figure that shows them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextToPath

from mtpsl.losses import IGNORE_INDEX
from mtpsl.report.arrays import Arrays
from mtpsl.report.style import (
    BINARY_MAP,
    DEPTH_MAP,
    QUIET,
    VOID_COLOR,
    Image,
    Sheet,
    class_color,
    classes_to_rgb,
    normals_to_rgb,
    scalar_to_rgb,
)

GAP, GROUP_GAP = 0.05, 0.2  # inches between panels, between groups of panels
HEADER, SIDE, FOOTER = 0.5, 0.1, 0.24  # inches around them
LINE, KEY_LINE, SPACE = 0.2, 0.38, 0.16  # inches: a line of classes, of other keys, between entries
KEY_WIDTHS = {"positive": 2.9, "binary": 1.9, "direction": 3.15}  # inches that a key takes
PANEL, WIDE = 1.75, 16.0  # inches: one picture of a small figure; a figure of many pictures

Column = tuple[str, str]  # (key of the arrays, label above it)
Group = tuple[str, Sequence[Column]]  # (title above it, columns)
Spans = dict[str, tuple[float, float]]  # title of a group -> where it begins, how wide it is


# ---------------------------------------------------------------------- maps


def kind_of(arrays: Arrays, task: str) -> str:
    """The kind of a task, by its name: what a pixel of its maps holds."""
    return str(arrays["kinds"][list(arrays["tasks"]).index(task)])


def titles_of(arrays: Arrays) -> dict[str, str]:
    """Task -> its title, in order."""
    return dict(zip(map(str, arrays["tasks"]), map(str, arrays["titles"]), strict=True))


def map_to_rgb(arrays: Arrays, key: str, index: int) -> Image:
    """Map ``index`` of ``arrays["<task>/..."]`` -> (H, W, 3) uint8, by the task's kind.

    What a key ending with ``images`` names is a picture already.
    """
    task, values = key.partition("/")[0], arrays[key][index]
    if key.endswith("images"):
        return values
    match kind_of(arrays, task):
        case "classes":
            return classes_to_rgb(values, list(arrays[f"{task}/classes"]))
        case "binary":
            return scalar_to_rgb(values, BINARY_MAP, 0, 1)
        case "positive":
            return scalar_to_rgb(values, DEPTH_MAP, *value_range(arrays, task))
        case _:
            return normals_to_rgb(values)


def unit_of(arrays: Arrays, task: str) -> str:
    """The unit of a task's values, empty where it has none."""
    if "units" not in arrays:  # older files name none, and hold meters
        return "m"
    return str(arrays["units"][list(arrays["tasks"]).index(task)])


def value_range(arrays: Arrays, task: str) -> tuple[float, float]:
    """What the color map of a positive task spans: nearly all of the truth in the figure."""
    truth = arrays[f"{task}/truth"].astype(np.float64)
    low, high = np.nanpercentile(truth, [1, 99])
    return float(low), float(high)


# --------------------------------------------------------------------- words


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


# ---------------------------------------------------------------------- grid


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows of pictures whose columns stand in titled groups.

    Attributes:
        arrays: What is shown; ``images`` (N, H, W, 3) gives the number of rows and the shape of
            a panel, unless ``shape`` does.
        groups: What to show, from left to right.
        paint: (arrays, key, row) -> (h, w, 3) uint8, or None for an empty place.
        note: (arrays, key, row) -> a word in the panel's lower left corner.
        bold: (arrays, key, row) -> whether that word is bold.
        legend: The keys whose colors are explained below the grid; by default all maps.
        shape: (rows, height, width).
    """

    arrays: Arrays
    groups: Sequence[Group]
    paint: Callable[[Arrays, str, int], Image | None] = map_to_rgb
    note: Callable[[Arrays, str, int], str] = lambda arrays, key, row: ""
    bold: Callable[[Arrays, str, int], bool] = lambda arrays, key, row: False
    legend: Sequence[str] | None = None
    shape: tuple[int, int, int] | None = None

    @property
    def explained(self) -> Sequence[str]:
        shown = [key for _, group in self.groups for key, _ in group if not key.endswith("images")]
        return shown if self.legend is None else self.legend

    @property
    def across(self) -> tuple[int, float]:
        """How many columns stand side by side, and the inches around and between all of them."""
        columns = sum(len(group) for _, group in self.groups)
        gaps = (len(self.groups) - 1) * GROUP_GAP + (columns - len(self.groups)) * GAP
        return columns, 2 * SIDE + gaps

    def rows_and_height(self, panel: float) -> tuple[int, float]:
        """How many rows there are, and inches of a panel ``panel`` inches wide."""
        rows, height, width = self.shape or self.arrays["images"].shape[:3]
        return rows, panel * height / width

    def put(self, sheet: Sheet, top: float, panel: float) -> Spans:
        """Draws the grid from ``top`` inches on, without its legend."""
        rows, tall = self.rows_and_height(panel)
        left, spans = SIDE, {}
        centered: dict[str, Any] = {"ha": "center", "va": "center"}
        for title, group in self.groups:
            wide = len(group) * panel + (len(group) - 1) * GAP
            spans[title] = left, wide
            sheet.text(left + wide / 2, top + 0.16, title, weight="bold", **centered)
            if title:
                sheet.rule(left, top + 0.28, wide)
            for key, label in group:
                quiet = {"fontsize": 8, "color": QUIET}
                sheet.text(left + panel / 2, top + 0.39, label, **quiet, **centered)
                for row in range(rows):
                    self._panel(sheet, key, row, left, top + HEADER + row * (tall + GAP), panel)
                left += panel + GAP
            left += GROUP_GAP - GAP
        return spans

    def _panel(
        self, sheet: Sheet, key: str, row: int, left: float, top: float, wide: float
    ) -> None:
        place = (self.arrays, key, row)
        picture, text = self.paint(*place), self.note(*place)
        if picture is None:
            return
        axes = sheet.picture(left, top, wide, self.rows_and_height(wide)[1], picture)
        if text:
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.2}
            weight = "bold" if self.bold(*place) else "normal"
            how = {"fontsize": 6.5, "va": "bottom", "bbox": box, "weight": weight}
            axes.text(0.025, 0.045, text, transform=axes.transAxes, **how)


def draw_grids(
    *grids: Grid, panel: float = PANEL, width: float | None = None, below: float = 0.0
) -> tuple[Sheet, list[Spans], float]:
    """Grids with their legends, one below the other.

    Args:
        *grids: From top to bottom.
        panel: Inches of a picture's width.
        width: Of the sheet; each grid fills it, whatever ``panel`` says.
        below: Inches to leave free under all grids, above the footer.

    Returns:
        The sheet; for every grid where its groups are, in inches; and where the free place begins.
    """
    panels = [panel if width is None else (width - g.across[1]) / g.across[0] for g in grids]
    sizes = [(g, *g.rows_and_height(p)) for g, p in zip(grids, panels, strict=True)]
    heights = [HEADER + rows * (tall + GAP) - GAP for _, rows, tall in sizes]
    full = width or max(g.across[0] * panel + g.across[1] for g in grids)
    legend = [legend_height(g.arrays, g.explained, full) for g in grids]
    sheet = Sheet(full, sum(heights) + sum(legend) + below + FOOTER)
    top, spans = 0.0, []
    for grid, wide, height, space in zip(grids, panels, heights, legend, strict=True):
        spans.append(grid.put(sheet, top, wide))
        legends(sheet, grid.arrays, grid.explained, top + height + 0.1)
        top += height + space
    return sheet, spans, top


def task_groups(
    arrays: Arrays, columns: Sequence[Column], first: str = "", *, labels: bool = False
) -> list[Group]:
    """The image, below the title ``first``, then the same columns for every task.

    With ``labels``, ``<task>/label`` stands beside the task's title.
    """
    groups: list[Group] = [(first, [("images", "Image")])]
    for task, title in titles_of(arrays).items():
        title = f"{title}  ({arrays[f'{task}/label']})" if labels else title
        groups.append((title, [(f"{task}/{key}", label) for key, label in columns]))
    return groups


def parts_of(arrays: Arrays) -> list[Arrays]:
    """The arrays of every data set of a figure, from top to bottom."""
    return [
        {key.removeprefix(head): v for key, v in arrays.items() if key.startswith(head)}
        for head in [f"{part}/" for part in arrays.get("parts", ())] or [""]
    ]


# ------------------------------------------------------------------- legends


class Entry(NamedTuple):
    """What a legend says of one class, or of one task without classes."""

    label: str
    wide: float  # inches
    tall: float
    draw: Callable[[Sheet, float, float], None]  # onto a sheet, from the left, around a height


def legends(sheet: Sheet, arrays: Arrays, keys: Sequence[str], top: float) -> None:
    """Lines of classes for each task that has some, and below them what other colors mean.

    It begins at ``top`` inches and takes ``legend_height``; only classes that occur in the maps
    ``keys`` are named.
    """
    for entries in legend_lines(arrays, keys, sheet.width):
        left = (sheet.width - sum(entry.wide for entry in entries)) / 2
        for entry in entries:
            entry.draw(sheet, left, top + entry.tall / 2)
            left += entry.wide
        top += entries[0].tall


def legend_height(arrays: Arrays, keys: Sequence[str], width: float) -> float:
    """Inches that ``legends`` needs below a grid, with some air."""
    lines = legend_lines(arrays, keys, width)
    return 0.1 + 0.1 * bool(lines) + sum(line[0].tall for line in lines)


def legend_lines(arrays: Arrays, keys: Sequence[str], width: float) -> list[list[Entry]]:
    """The entries of a legend, line by line, none wider than ``width``."""
    drawn = {key.partition("/")[0] for key in keys}
    tasks = {task: title for task, title in titles_of(arrays).items() if task in drawn}
    with_classes = [task for task in tasks if kind_of(arrays, task) == "classes"]
    blocks = []
    for task in with_classes:
        shown = [arrays[key].ravel() for key in keys if key.partition("/")[0] == task]
        ids, names = np.unique(np.concatenate(shown)).tolist(), list(arrays[f"{task}/classes"])
        words = [(f"{tasks[task]}:", None)] if len(with_classes) > 1 else []
        words += [(str(names[i]), class_color(names[i], i)) for i in ids if i < len(names)]
        words += [("void", VOID_COLOR)] * (IGNORE_INDEX in ids)
        blocks.append([_class(word, color) for word, color in words])
    blocks.append([_key(arrays, task, tasks[task]) for task in tasks if task not in with_classes])
    lines: list[list[Entry]] = []
    for block in blocks:
        for i, entry in enumerate(block):
            full = i and sum(e.wide for e in lines[-1]) + entry.wide > width - 2 * SIDE
            lines += [[]] if full or not i else []
            lines[-1].append(entry)
    return lines


def _class(word: str, color: Any) -> Entry:
    """A class with its color, or the title of a task without one."""

    def draw(sheet: Sheet, left: float, middle: float) -> None:
        if color is not None:
            look = {"facecolor": color, "edgecolor": QUIET, "linewidth": 0.4}
            corner = left / sheet.width, 1 - (middle + 0.055) / sheet.height
            size, place = (0.11 / sheet.width, 0.11 / sheet.height), sheet.figure.transFigure
            sheet.figure.add_artist(Rectangle(corner, *size, transform=place, **look))
        sheet.text(left + 0.17, middle, word, va="center", fontsize=8)

    font = FontProperties(size=8)
    wide = TextToPath().get_text_width_height_descent(word, font, False)[0] / 72
    return Entry(word, SPACE + 0.17 + wide, LINE, draw)


def _key(arrays: Arrays, task: str, title: str) -> Entry:
    """The colors of one task that has no classes."""
    kind = kind_of(arrays, task)

    def draw(sheet: Sheet, left: float, middle: float) -> None:
        sheet.text(left, middle, title, va="center", fontsize=8)
        if kind == "positive":
            low, high = value_range(arrays, task)
            unit = unit_of(arrays, task)
            sheet.bar(left + 0.95, middle - 0.05, 1.2, DEPTH_MAP, low, high, unit)
        elif kind == "binary":
            sheet.bar(left + 0.55, middle - 0.05, 0.9, BINARY_MAP, 0, 1, "")
        else:
            sheet.sphere(left + 0.62, middle - 0.16, 0.32)
            words = "as on a ball seen from the camera"
            sheet.text(left + 1.02, middle, words, va="center", fontsize=8, color=QUIET)

    return Entry(title, KEY_WIDTHS[kind], KEY_LINE, draw)
