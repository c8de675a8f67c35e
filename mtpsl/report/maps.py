"""Dense maps as pictures: one grid and one set of legends for every figure that shows them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mtpsl.report.arrays import Arrays
from mtpsl.report.style import (
    BINARY_MAP,
    DEPTH_MAP,
    QUIET,
    Image,
    Sheet,
    class_handles,
    classes_to_rgb,
    normals_to_rgb,
    scalar_to_rgb,
)

GAP, GROUP_GAP = 0.05, 0.2  # inches between panels, between groups of panels
HEADER, SIDE, LEGEND, FOOTER = 0.5, 0.1, 0.6, 0.24  # inches around them
ENTRY, LETTER = 0.34, 0.066  # inches of a class in a legend without its name, of one letter of it
LINE = 0.2  # inches of a line of classes
KEY_WIDTHS = {"positive": 2.9, "binary": 1.9, "direction": 3.15}  # inches that a key takes
KEY_LINE = 0.38  # inches of a line of those keys

Column = tuple[str, str]  # (key of the arrays, label above it)
Group = tuple[str, Sequence[Column]]  # (title above it, columns)


def kind_of(arrays: Arrays, task: str) -> str:
    """The kind of a task, by its name: what a pixel of its maps holds."""
    return str(arrays["kinds"][list(arrays["tasks"]).index(task)])


def titles_of(arrays: Arrays) -> dict[str, str]:
    """Task -> its title, in order."""
    return dict(zip(map(str, arrays["tasks"]), map(str, arrays["titles"]), strict=True))


def map_to_rgb(arrays: Arrays, key: str, index: int) -> Image:
    """Map ``index`` of ``arrays["<task>/..."]`` -> (H, W, 3) uint8, by the task's kind."""
    task, values = key.partition("/")[0], arrays[key][index]
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


def image_grid(
    arrays: Arrays,
    groups: Sequence[Group],
    draw: Callable[[str, int], Image],
    *,
    panel: float,
    legend: float = LEGEND,
    notes: Callable[[str, int], str] = lambda key, index: "",
) -> tuple[Sheet, dict[str, tuple[float, float]]]:
    """A row an image, columns in titled groups.

    Args:
        arrays: ``images`` (N, H, W, 3) gives the number of rows and the panels' shape.
        groups: What to show, from left to right.
        draw: (key, image) -> (h, w, 3) uint8.
        panel: Width of a panel in inches.
        legend: Inches to leave free below, above the footer.
        notes: (key, image) -> a word in the panel's lower left corner.

    Returns:
        The sheet, and for every group's title where it begins and how wide it is, in inches.
    """
    width, height = grid_size(arrays, groups, panel)
    sheet = Sheet(width, height + (legend + FOOTER))
    return sheet, put_grid(sheet, 0.0, arrays, groups, draw, panel=panel, notes=notes)


def grid_size(arrays: Arrays, groups: Sequence[Group], panel: float) -> tuple[float, float]:
    """Inches that ``put_grid`` takes: the sheet's whole width, and a height."""
    rows, height, width = arrays["images"].shape[:3]
    tall = panel * height / width
    columns, gaps = _across(groups)
    return 2 * SIDE + columns * panel + gaps, HEADER + rows * tall + (rows - 1) * GAP


def panel_width(groups: Sequence[Group], width: float) -> float:
    """Of panels that make a grid ``width`` inches wide."""
    columns, gaps = _across(groups)
    return (width - 2 * SIDE - gaps) / columns


def _across(groups: Sequence[Group]) -> tuple[int, float]:
    """How many columns stand side by side, and the inches between all of them."""
    columns = sum(len(group) for _, group in groups)
    return columns, (columns - len(groups)) * GAP + (len(groups) - 1) * GROUP_GAP


def put_grid(
    sheet: Sheet,
    top: float,
    arrays: Arrays,
    groups: Sequence[Group],
    draw: Callable[[str, int], Image],
    *,
    panel: float,
    notes: Callable[[str, int], str] = lambda key, index: "",
    best: Callable[[str, int], bool] = lambda key, index: False,
) -> dict[str, tuple[float, float]]:
    """``image_grid`` on a sheet that holds other things too, from ``top`` inches on.

    ``best`` says whose note is bold.
    """
    rows, height, width = arrays["images"].shape[:3]
    tall = panel * height / width
    left, spans = SIDE, {}
    for title, group in groups:
        wide = len(group) * panel + (len(group) - 1) * GAP
        spans[title] = left, wide
        sheet.text(left + wide / 2, top + 0.16, title, ha="center", va="center", weight="bold")
        if title:
            sheet.rule(left, top + 0.28, wide)
        for key, label in group:
            middle, quiet = left + panel / 2, {"fontsize": 8, "color": QUIET}
            sheet.text(middle, top + 0.39, label, ha="center", va="center", **quiet)
            for i in range(rows):
                high = top + HEADER + i * (tall + GAP)
                axes = sheet.picture(left, high, panel, tall, draw(key, i))
                note(axes, notes(key, i), **({"weight": "bold"} if best(key, i) else {}))
            left += panel + GAP
        left += GROUP_GAP - GAP
    return spans


def note(axes: Axes, text: str, **how: Any) -> None:
    """A word in the lower left corner of a panel, readable on any picture."""
    if text:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.2}
        how = {"fontsize": 6.5, "va": "bottom", "bbox": box} | how
        axes.text(0.025, 0.045, text, transform=axes.transAxes, **how)


def three_digits(value: float) -> str:
    """27.4, 3.10, 0.512, 0.0163: enough to tell two methods apart."""
    decimals = 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{decimals}f}"


def legends(sheet: Sheet, arrays: Arrays, keys: Sequence[str], top: float) -> None:
    """Lines of classes for each task that has some, and below them what other colors mean.

    It takes ``legend_height`` inches, ``LEGEND`` at most where one task has classes that fit into
    one line.

    Args:
        sheet: Wide enough for one key.
        arrays: What is drawn from.
        keys: The maps that are drawn; only classes that occur in them are named.
        top: Where the legend begins, in inches.
    """
    parts = _legend_parts(arrays, keys, sheet.width)
    several = len(parts.classes) > 1
    for task, title, ids, lines in parts.classes:
        prefix = f"{title}:" if several else ""
        class_legend(sheet, list(arrays[f"{task}/classes"]), ids, top, prefix)
        top += lines * LINE
    for line in parts.keys:
        left = sheet.width / 2 - sum(KEY_WIDTHS[kind] for _, _, kind in line) / 2
        for task, title, kind in line:
            _key(sheet, arrays, task, title, kind, left, top + KEY_LINE / 2)
            left += KEY_WIDTHS[kind]
        top += KEY_LINE


def legend_height(arrays: Arrays, keys: Sequence[str], width: float) -> float:
    """Inches that ``legends`` needs below a grid, with some air."""
    parts = _legend_parts(arrays, keys, width)
    return 0.1 + LINE * sum(lines for *_, lines in parts.classes) + KEY_LINE * len(parts.keys)


class _Parts(NamedTuple):
    """What a legend holds, line by line."""

    classes: list[tuple[str, str, list[int], int]]  # task, its title, class ids, lines they take
    keys: list[list[tuple[str, str, str]]]  # lines of (task, its title, its kind)


def _legend_parts(arrays: Arrays, keys: Sequence[str], width: float) -> _Parts:
    drawn = {key.partition("/")[0] for key in keys}
    named = titles_of(arrays).items()
    tasks = [(task, title, kind_of(arrays, task)) for task, title in named if task in drawn]
    several = sum(kind == "classes" for *_, kind in tasks) > 1  # then each begins with a title
    classes, lines, taken = [], [], width
    for task, title, kind in tasks:
        if kind == "classes":
            mine = [arrays[key].ravel() for key in keys if key.partition("/")[0] == task]
            ids = np.unique(np.concatenate(mine)).tolist()
            names = _labels(list(arrays[f"{task}/classes"]), ids, f"{title}:" if several else "")
            classes.append((task, title, ids, -(-len(names) // _columns(names, width))))
            continue
        if taken + KEY_WIDTHS[kind] > width:
            lines.append([])
            taken = 0.0
        lines[-1].append((task, title, kind))
        taken += KEY_WIDTHS[kind]
    return _Parts(classes, lines)


def _labels(names: Sequence[str], ids: Sequence[int], title: str) -> list[str]:
    """What a legend of classes says, in order."""
    said = [str(handle.get_label()) for handle in class_handles(names, ids)]
    return [title, *said] if title else said


def _columns(labels: Sequence[str], width: float) -> int:
    """Into how many columns of a legend these words fit, read line by line."""
    for columns in range(len(labels), 1, -1):
        longest = (max(map(len, labels[column::columns])) for column in range(columns))
        if sum(ENTRY + LETTER * letters for letters in longest) <= width:
            return columns
    return 1


def _key(
    sheet: Sheet, arrays: Arrays, task: str, title: str, kind: str, left: float, middle: float
) -> None:
    """The colors of one task that has no classes, around the height ``middle``."""
    sheet.text(left, middle, title, va="center", fontsize=8)
    match kind:
        case "positive":
            low, high = value_range(arrays, task)
            unit = unit_of(arrays, task)
            sheet.bar(left + 0.95, middle - 0.05, 1.2, DEPTH_MAP, low, high, unit)
        case "binary":
            sheet.bar(left + 0.55, middle - 0.05, 0.9, BINARY_MAP, 0, 1, "")
        case _:
            sheet.sphere(left + 0.62, middle - 0.16, 0.32)
            words = "as on a ball seen from the camera"
            sheet.text(left + 1.02, middle, words, va="center", fontsize=8, color=QUIET)


def class_legend(
    sheet: Sheet, names: Sequence[str], ids: Sequence[int], top: float, title: str = ""
) -> None:
    """The classes ``ids`` in one centered line, or in as many as the sheet's width needs.

    A title comes first, in the place of a class.
    """
    handles = class_handles(names, ids)
    if title:
        handles.insert(0, Line2D([], [], linestyle="", label=title))
    columns = _columns([str(handle.get_label()) for handle in handles], sheet.width)
    lines = -(-len(handles) // columns)
    # A legend is filled column by column; put so, it reads line by line.
    order = [line * columns + column for column in range(columns) for line in range(lines)]
    handles = [handles[i] for i in order if i < len(handles)]
    sheet.figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - top / sheet.height),
        ncols=columns,
        handletextpad=0.1,
        columnspacing=1.0,
        borderpad=0,
    )
