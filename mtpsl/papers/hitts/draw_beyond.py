"""Drawings of what [HiTTs] does not show: discovered labels against the truth, and gains by share.

All but the last are drawn from the arrays of ``experiments.beyond_figures``.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtpsl.report.arrays import Arrays
from mtpsl.report.style import (
    CYCLE,
    INK,
    MARKERS,
    QUIET,
    VOID_COLOR,
    Image,
    Sheet,
    class_color,
    styled,
)

WIDE, GAP, LEFT, TOP = 2.5, 0.7, 0.7, 0.38  # inches: a panel, what lies between and before them


@styled
def draw_reliability(arrays: Arrays) -> Figure:
    """Above, how many labels of a confidence are right; below, how many there are.

    The gap between a bar and the diagonal counts by the pixels below it; their mean is the ECE.
    """
    sheet, tasks = _sheet(arrays, tall=2.2 + 0.75)
    for column, task in enumerate(tasks):
        values = {k: arrays[f"{task}/reliability/{k}"] for k in ("right", "near", "confidence")}
        pixels = arrays[f"{task}/reliability/pixels"]
        edges = np.arange(len(pixels) + 1) / len(pixels)
        middle, known = (edges[1:] + edges[:-1]) / 2, pixels > 0
        axes = _panel(sheet, column, TOP, 2.2)
        how = {"width": 1 / len(pixels), "edgecolor": "white", "linewidth": 0.8}
        axes.bar(middle[known], values["right"][known], color=CYCLE[0], label="true bin", **how)
        if (values["near"][known] > values["right"][known]).any():
            style = {"color": CYCLE[1], "marker": "_", "markersize": 9, "linestyle": ""}
            axes.plot(middle[known], values["near"][known], label="within a bin", **style)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 2)), label="calibrated")
        confidence = values["confidence"][known]
        axes.plot(confidence, confidence, "D", color=INK, markersize=3, label="mean confidence")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xticklabels=[])
        error, over = (float(arrays[f"{task}/reliability/{k}"]) for k in ("ece", "overconfidence"))
        words = f"{arrays['titles'][column]}: ECE {error:.3f}, too sure by {over:+.3f}"
        axes.set_title(words, fontsize=9, weight="bold")
        below = _panel(sheet, column, TOP + 2.3, 0.55)
        below.bar(middle, 100 * pixels / max(float(pixels.sum()), 1.0), color=QUIET, **how)
        below.set(xlim=(0, 1), xlabel="confidence")
        if column == 0:
            axes.set_ylabel("share that is right")
            below.set_ylabel("pixels (%)", fontsize=8)
    _legend(sheet)
    return sheet.figure


@styled
def draw_acceptance(arrays: Arrays) -> Figure:
    """A panel a task: how good the accepted labels are as a threshold accepts fewer of them.

    The marked point is the threshold that training used; dotted is what the true bins would give.
    """
    sheet, tasks = _sheet(arrays, tall=2.2)
    for column, task in enumerate(tasks):
        axes = _panel(sheet, column, TOP, 2.2)
        coverage = 100 * arrays[f"{task}/curve/coverage"]
        line = {"linewidth": 1.8, "color": CYCLE[0]}
        axes.plot(coverage, arrays[f"{task}/curve/quality"], label="accepted labels", **line)
        if f"{task}/curve/miou" in arrays:
            style = {"linewidth": 1.8, "color": CYCLE[1], "linestyle": (0, (5, 2))}
            axes.plot(coverage, 100 * arrays[f"{task}/curve/miou"], label="their mIoU", **style)
        tau, used, quality = arrays[f"{task}/used"]
        how = {"marker": "o", "markersize": 7, "color": INK, "linestyle": ""}
        axes.plot([100 * used], [quality], label="threshold in training", **how)
        if f"{task}/curve/miou" not in arrays:
            floor = float(arrays[f"{task}/floor"])
            axes.axhline(floor, color=QUIET, linestyle=":", linewidth=1.2, label="true bins")
        axes.set_title(f"{arrays['titles'][column]}: τ = {tau:.3f}", fontsize=9, weight="bold")
        axes.set(xlim=(0, 102), xlabel="accepted share of withheld pixels (%)")
        axes.set_ylabel(str(arrays[f"{task}/label"]))
    _legend(sheet)
    return sheet.figure


@styled
def draw_places(arrays: Arrays) -> Figure:
    """Above by distance to a class boundary, below by true class: right, and how sure."""
    classes = len(arrays["class_names"])
    tall = 0.19 * classes
    sheet, tasks = _sheet(arrays, tall=1.7 + 0.75 + tall)
    limits = [str(limit) for limit in arrays["limits"]]
    bands = ["on it", *(f"≤ {limit}" for limit in limits[1:]), f"> {limits[-1]}"]
    for column, task in enumerate(tasks):
        axes = _panel(sheet, column, TOP, 1.7)
        where = np.arange(len(bands))
        for key, label, i in (("right", "true bin", 0), ("confidence", "mean confidence", 1)):
            values = arrays[f"{task}/distance/{key}"]
            style = {"color": CYCLE[i], "marker": MARKERS[i], "markersize": 4, "linewidth": 1.6}
            axes.plot(where, values, linestyle=("-", (0, (4, 2)))[i], label=label, **style)
        axes.set_xticks(where, bands, fontsize=7)
        axes.set(ylim=(0, 1.02), xlabel="pixels to a class boundary")
        axes.set_title(str(arrays["titles"][column]), fontsize=9, weight="bold")
        below = _panel(sheet, column, TOP + 1.7 + 0.75, tall)
        _by_class(below, arrays, task, named=column == 0)
    _legend(sheet)
    return sheet.figure


def _by_class(axes: Axes, arrays: Arrays, task: str, *, named: bool) -> None:
    """A bar a class for what is right, a marker for how sure the teacher was."""
    names, places = [str(n) for n in arrays["class_names"]], np.arange(len(arrays["class_names"]))
    colors = [*(class_color(name, i) for i, name in enumerate(names[:-1])), VOID_COLOR]
    style = {"color": colors, "edgecolor": QUIET, "linewidth": 0.4}
    axes.barh(places, arrays[f"{task}/class/right"], **style)
    marker = {"marker": MARKERS[1], "color": CYCLE[1], "markersize": 3.5, "linestyle": ""}
    axes.plot(arrays[f"{task}/class/confidence"], places, **marker)
    axes.set_yticks(places, names if named else [], fontsize=7)
    axes.set(xlim=(0, 1.02), ylim=(len(names) - 0.4, -0.6), xlabel="share that is right")


@styled
def draw_gains(gains: Arrays) -> Figure:
    """A panel a column, over the share of labels: a line through the means, a dot a seed.

    Args:
        gains: As ``experiments.checks.share_gains`` makes them; a method without a value, as the
            baseline has none in its own gain, is left out of the panel.
    """
    count = len(gains["columns"])
    sheet = Sheet(LEFT + count * (WIDE + GAP) - 0.3, TOP + 2.2 + 0.85)
    where = np.log2(gains["shares"])
    for column in range(count):
        axes = sheet.axes(LEFT + column * (WIDE + GAP), TOP, WIDE, 2.2)
        for i, method in enumerate(gains["methods"]):
            values = gains["values"][column, i]  # (S, n)
            if np.isfinite(values).any():
                _over_shares(axes, where, values, str(method), i)
        if str(gains["columns"][column]) == "delta_mtl":
            axes.axhline(0, color=QUIET, linewidth=1, linestyle=":")
        axes.set_xticks(where, [str(group) for group in gains["groups"]])
        axes.set(xlabel="share of the labels that is kept")
        task = str(gains["columns"][column]).rpartition("/")[0]
        axes.set_title(f"{task} {gains['labels'][column]}".strip(), fontsize=9, weight="bold")
    _legend(sheet)
    return sheet.figure


def _over_shares(axes: Axes, where: Image, values: Image, label: str, i: int) -> None:
    known = np.isfinite(values)
    means = [row[k].mean() if k.any() else np.nan for row, k in zip(values, known, strict=True)]
    dashes = ("-", (0, (5, 2)), (0, (1, 1.5)))[i % 3]
    style = {"color": CYCLE[i], "marker": MARKERS[i], "markersize": 5}
    axes.plot(where, means, linestyle=dashes, linewidth=1.8, label=label, **style)
    x = np.broadcast_to(where[:, None], values.shape)[known]
    axes.scatter(x, values[known], s=9, color=CYCLE[i], alpha=0.5, linewidths=0)


def _sheet(arrays: Arrays, tall: float) -> tuple[Sheet, list[str]]:
    """A sheet with a column a task, and room for the x axis and a legend."""
    tasks = [str(task) for task in arrays["tasks"]]
    return Sheet(LEFT + len(tasks) * (WIDE + GAP) - 0.4, TOP + tall + 0.85), tasks


def _panel(sheet: Sheet, column: int, top: float, tall: float) -> Axes:
    return sheet.axes(LEFT + column * (WIDE + GAP), top, WIDE, tall)


def _legend(sheet: Sheet) -> None:
    """One for all panels, below them."""
    found = {}
    for axes in sheet.figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    how = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.14 / sheet.height), "ncols": len(found)}
    sheet.figure.legend(list(found.values()), list(found), **how)
