"""Figures 10 and 16 of HiTTs: pseudo labels, and how good they are where their masks accept."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mtpsl.report.arrays import Arrays
from mtpsl.report.maps import (
    FOOTER,
    Group,
    grid_size,
    legend_height,
    legends,
    map_to_rgb,
    panel_width,
    put_grid,
    three_digits,
    titles_of,
)
from mtpsl.report.style import CYCLE, HOLE_COLOR, INK, QUIET, Image, Sheet, styled

WIDE = 15.0  # inches of the sheet
COLUMNS = (
    ("images", "Image"),
    ("truth", "Withheld truth"),
    ("pseudo", "Pseudo label"),
    ("mask", "Mask $M^p$"),
)
ACCEPTED, REJECTED = CYCLE[0], HOLE_COLOR  # pixels of a mask
QUALITY, COVERAGE, BETWEEN = 1.3, 0.8, 0.12  # inches of the two charts, and between them


@styled
def draw_pseudo_labels(arrays: Arrays) -> Figure:
    """Task by task: rows of images with their labels, and below them what a threshold does."""
    titles = titles_of(arrays)
    groups: list[Group] = [
        (_title(arrays, task, title), [(f"{task}/{key}", words) for key, words in COLUMNS])
        for task, title in titles.items()
    ]
    grid = arrays | {"images": arrays[f"{next(iter(titles))}/images"]}
    panel = panel_width(groups, WIDE)
    _, height = grid_size(grid, groups, panel)
    keys = [f"{task}/{key}" for task in titles for key in ("truth", "pseudo")]
    charts = height + 0.35
    below = charts + QUALITY + BETWEEN + COVERAGE + 0.5
    sheet = Sheet(WIDE, below + legend_height(arrays, keys, WIDE) + FOOTER)

    def show(key: str, i: int) -> Image:
        match key.partition("/")[2]:
            case "images":
                return arrays[key][i]
            case "mask":
                return mask_to_rgb(arrays[key][i])
            case _:
                return map_to_rgb(arrays, key, i)

    def share(key: str, i: int) -> str:
        return f"{100 * arrays[key][i].mean():.0f} % accepted" if key.endswith("/mask") else ""

    spans = put_grid(sheet, 0.0, grid, groups, show, panel=panel, notes=share)
    for task, (left, wide) in zip(titles, spans.values(), strict=True):
        inside = left + 0.6, wide - 0.75
        quality = sheet.axes(inside[0], charts, inside[1], QUALITY)
        coverage = sheet.axes(inside[0], charts + QUALITY + BETWEEN, inside[1], COVERAGE)
        _curves(quality, coverage, arrays, task)
    legends(sheet, arrays, keys, below)
    return sheet.figure


def _title(arrays: Arrays, task: str, title: str) -> str:
    return f"{title}: withheld on {int(arrays[f'{task}/withheld'])} training images"


def mask_to_rgb(mask: Image) -> Image:
    """(H, W) bool -> (H, W, 3) uint8."""
    colors = np.array([to_rgb(REJECTED), to_rgb(ACCEPTED)])
    return (255 * colors[mask.astype(int)]).round().astype(np.uint8)


def _curves(quality: Axes, coverage: Axes, arrays: Arrays, task: str) -> None:
    """Quality above coverage, over one axis of thresholds; tau_i is a dashed line."""
    thresholds = arrays[f"{task}/threshold"]
    tau, share, value = arrays[f"{task}/used"]
    how = {"linewidth": 1.6, "markersize": 3.5, "clip_on": False}
    quality.plot(thresholds, arrays[f"{task}/quality"], color=CYCLE[0], marker="o", **how)
    shares = 100 * arrays[f"{task}/coverage"]
    coverage.plot(thresholds, shares, color=CYCLE[1], marker="s", **how)
    low, high = min(thresholds.min(), tau), max(thresholds.max(), tau)
    margin = 0.03 * max(high - low, 1e-6)
    for axes in (quality, coverage):
        axes.axvline(tau, color=INK, linestyle=(0, (3, 2)), linewidth=1.0)
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    quality.tick_params(labelbottom=False)
    quality.set_ylabel(str(arrays[f"{task}/label"]))
    quality.margins(y=0.12)
    coverage.set(ylabel="accepted (%)", ylim=(0, 105), yticks=(0, 50, 100))
    coverage.set_xlabel(r"threshold of $\max\,\mathrm{softmax}(G')$")
    measure = str(arrays[f"{task}/label"]).split()[0]
    known = f", {measure} {three_digits(value)}" if np.isfinite(value) else ""
    words = rf"used: $\tau$ = {tau:.3g}, {100 * share:.0f} % accepted{known}"
    quality.set_title(words, fontsize=8, color=QUIET, pad=3)
