"""Dense maps as pictures: one grid and one set of legends for every figure that shows them."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from mtpsl.experiments.figure_arrays import Arrays
from mtpsl.plots.style import (
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

Column = tuple[str, str]  # (key of the arrays, label above it)
Group = tuple[str, Sequence[Column]]  # (title above it, columns)


def kind_of(arrays: Arrays, task: str) -> str:
    """The kind of a task, by its name: what a pixel of its maps holds."""
    return str(arrays["kinds"][list(arrays["tasks"]).index(task)])


def map_to_rgb(arrays: Arrays, key: str, index: int) -> Image:
    """Map ``index`` of ``arrays["<task>/..."]`` -> (H, W, 3) uint8, by the task's kind."""
    task, values = key.partition("/")[0], arrays[key][index]
    match kind_of(arrays, task):
        case "classes":
            return classes_to_rgb(values, list(arrays[f"{task}/classes"]))
        case "positive":
            return scalar_to_rgb(values, DEPTH_MAP, *value_range(arrays, task))
        case _:
            return normals_to_rgb(values)


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
    rows, height, width = arrays["images"].shape[:3]
    tall = panel * height / width
    columns = sum(len(group) for _, group in groups)
    gaps = (columns - len(groups)) * GAP + (len(groups) - 1) * GROUP_GAP
    below = legend + FOOTER
    sheet = Sheet(
        2 * SIDE + columns * panel + gaps, HEADER + rows * tall + (rows - 1) * GAP + below
    )
    left, spans = SIDE, {}
    for title, group in groups:
        wide = len(group) * panel + (len(group) - 1) * GAP
        spans[title] = left, wide
        sheet.text(left + wide / 2, 0.16, title, ha="center", va="center", weight="bold")
        if title:
            sheet.rule(left, 0.28, wide)
        for key, label in group:
            middle = left + panel / 2
            sheet.text(middle, 0.39, label, ha="center", va="center", fontsize=8, color=QUIET)
            for i in range(rows):
                top = HEADER + i * (tall + GAP)
                axes = sheet.picture(left, top, panel, tall, draw(key, i))
                note(axes, notes(key, i))
            left += panel + GAP
        left += GROUP_GAP - GAP
    return sheet, spans


def note(axes: Axes, text: str) -> None:
    """A word in the lower left corner of a panel, readable on any picture."""
    if text:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.2}
        axes.text(0.025, 0.045, text, transform=axes.transAxes, fontsize=6.5, va="bottom", bbox=box)


def legends(sheet: Sheet, arrays: Arrays, keys: Sequence[str], top: float) -> None:
    """One line of classes, and below it what the colors of depth and normals mean."""
    left = sheet.width / 2 - 2.2
    for task, title in zip(arrays["tasks"], arrays["titles"], strict=True):
        mine = [key for key in keys if key.partition("/")[0] == task]
        match kind_of(arrays, task):
            case "classes":
                ids = np.unique(np.concatenate([arrays[key].ravel() for key in mine]))
                class_legend(sheet, list(arrays[f"{task}/classes"]), ids.tolist(), top)
            case "positive":
                low, high = value_range(arrays, task)
                sheet.text(left, top + 0.38, title, va="center", fontsize=8)
                sheet.bar(left + 0.75, top + 0.33, 1.2, DEPTH_MAP, low, high, "m")
                left += 2.9
            case _:
                sheet.text(left, top + 0.38, title, va="center", fontsize=8)
                sheet.sphere(left + 0.62, top + 0.22, 0.32)
                words = "as on a ball seen from the camera"
                sheet.text(left + 1.02, top + 0.38, words, va="center", fontsize=8, color=QUIET)


def class_legend(sheet: Sheet, names: Sequence[str], ids: Sequence[int], top: float) -> None:
    """The classes ``ids`` in one centered line, or in as many as the sheet's width needs."""
    handles = class_handles(names, ids)
    sheet.figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - top / sheet.height),
        ncols=min(len(handles), int(sheet.width / 0.82)),
        handletextpad=0.1,
        columnspacing=1.0,
        borderpad=0,
    )
