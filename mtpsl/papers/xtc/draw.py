"""Figures 3 and 4 of XTC and how its consistency moves, each drawn from its arrays alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from mtpsl.report.arrays import Arrays
from mtpsl.report.diagram import shape_text
from mtpsl.report.maps import (
    FOOTER,
    GAP,
    GROUP_GAP,
    legend_height,
    legends,
    map_to_rgb,
    note,
    three_digits,
    titles_of,
)
from mtpsl.report.style import (
    CYCLE,
    INK,
    MARKERS,
    QUIET,
    SCORE_MAP,
    Image,
    Sheet,
    scalar_to_rgb,
    styled,
)

METHODS = {"sl": "SL", "ssl": "SSL", "ours": "XTC"}  # role -> what its row is called
VARIANTS = (("with", "with"), ("without", "without"))  # the regularizer R
MARKS = (
    ("same", "prediction and label of one image", "o"),
    ("other", "prediction and label of two images", "D"),
    ("feature", "embeddings to their image's feature", "^"),
)
TERMS = (("consistency", "-"), ("regularizer", (0, (3, 2))))
SMALLEST = 1e-6  # a distance that is drawn
LAYERS = (("first", "first stage"), ("second_to_last", "second-to-last stage"))


# -------------------------------------------------------------------- images


@styled
def draw_fig3(arrays: Arrays) -> Figure:
    """Image by image: maps of the pair, and below them what two layers of the mapping made of them.

    A layer has one color map over all its panels, because they share their component.
    """
    titles = titles_of(arrays)
    images, height, width = arrays["images"].shape[:3]
    columns = [
        (str(task), sign, role, words)
        for task, sign in zip(arrays["pair"], "st", strict=True)
        for role, words in (("ours", "prediction"), ("truth", "label"))
    ]
    panel, side, header = 1.9, 0.1, 0.52
    tall = panel * height / width
    block = (1 + len(LAYERS)) * (tall + GAP) + 0.16
    keys = [f"{task}/{role}" for task, _, role, _ in columns]
    full = 2 * side + 5 * panel + 2 * GAP + 2 * GROUP_GAP
    legend = 0.45 + legend_height(arrays, keys, full)
    sheet = Sheet(full, header + images * block + legend + FOOTER)
    lefts = [side + panel + GROUP_GAP, side + 3 * panel + 2 * GROUP_GAP + GAP]
    lefts = [left + i * (panel + GAP) for left in lefts for i in range(2)]
    center = {"ha": "center", "va": "center"}
    for first, (task, sign, _, _) in zip((0, 2), (columns[0], columns[2]), strict=True):
        wide = 2 * panel + GAP
        what = {"s": "source", "t": "target"}[sign]
        title = f"{titles[task]}: {what} ${sign}$ of the pair"
        sheet.text(lefts[first] + wide / 2, 0.16, title, weight="bold", **center)
        sheet.rule(lefts[first], 0.28, wide)
    for left, (*_, words) in zip(lefts, columns, strict=True):
        sheet.text(left + panel / 2, 0.4, words, fontsize=8, color=QUIET, **center)
    ranges = {layer: _range([arrays[f"{layer}/{key}"] for key in keys]) for layer, _ in LAYERS}
    for i in range(images):
        top = header + i * block
        sheet.picture(side, top, panel, tall, arrays["images"][i])
        for left, key in zip(lefts, keys, strict=True):
            sheet.picture(left, top, panel, tall, map_to_rgb(arrays, key, i))
        for row, (layer, words) in enumerate(LAYERS, start=1):
            y = top + row * (tall + GAP)
            for left, key in zip(lefts, keys, strict=True):
                values = scalar_to_rgb(arrays[f"{layer}/{key}"][i], SCORE_MAP, *ranges[layer])
                sheet.picture(left, y, panel, tall, values)
            size = shape_text(arrays[f"{layer}/{keys[0]}"].shape[1:])
            share = 100 * float(arrays[f"{layer}/explained"][0])
            lines = (words, f"{size} positions", f"{share:.0f} % of the variance")
            for number, line in enumerate(lines):
                at = y + tall / 2 + 0.19 * (number - 1)
                style = {"weight": "bold"} if number == 0 else {"fontsize": 8, "color": QUIET}
                sheet.text(side + panel, at, line, ha="right", va="center", **style)
    y = header + images * block
    words = "low to high: first principal component over the channels, one for all maps of a layer"
    ramp = np.linspace(0, 1, 256)[None]
    sheet.picture(sheet.width / 2 - 3.6, y + 0.13, 1.4, 0.1, ramp, cmap=SCORE_MAP)
    sheet.text(sheet.width / 2 - 2.1, y + 0.18, words, va="center", fontsize=8, color=QUIET)
    legends(sheet, arrays, keys, y + 0.45)
    return sheet.figure


def _range(maps: Sequence[Image]) -> tuple[float, float]:
    low, high = np.percentile(np.concatenate([m.ravel() for m in maps]).astype(float), [1, 99])
    return float(low), float(high)


@styled
def draw_fig4(arrays: Arrays) -> Figure:
    """A column an image, task by task; downwards the image, the truth and the methods.

    The score of a panel stands in its corner, the best of a column in bold.
    """
    titles = titles_of(arrays)
    images, height, width = arrays["images"].shape[:3]
    roles = [str(role) for role in arrays["roles"]]
    rows = [("images", "Image"), ("truth", "Truth"), *((r, METHODS.get(r, r)) for r in roles)]
    columns = len(titles) * images
    panel, side, header = min(1.7, 10.2 / columns), 0.62, 0.42
    tall = panel * height / width
    full = side + columns * (panel + GAP) + (len(titles) - 1) * (GROUP_GAP - GAP) + 0.1
    keys = [f"{task}/{row}" for task in titles for row, _ in rows[1:]]
    legend = 0.08 + legend_height(arrays, keys, full)
    sheet = Sheet(full, header + len(rows) * (tall + GAP) + legend + FOOTER)
    for row, (_, title) in enumerate(rows):
        top = header + row * (tall + GAP)
        sheet.text(side - 0.08, top + tall / 2, title, ha="right", va="center", weight="bold")
    left = side
    for task, title in titles.items():
        wide = images * (panel + GAP) - GAP
        words = f"{title}  ({arrays[f'{task}/label']})"
        sheet.text(left + wide / 2, 0.15, words, ha="center", va="center", weight="bold")
        sheet.rule(left, 0.3, wide)
        scores = np.array([arrays[f"{task}/{role}/score"] for role in roles])  # (M, N)
        sign = 1 if arrays[f"{task}/higher_is_better"] else -1
        for i in range(images):
            for row, (key, _) in enumerate(rows):
                top = header + row * (tall + GAP)
                picture = arrays["images"][i]
                if row:
                    picture = map_to_rgb(arrays, f"{task}/{key}", i)
                axes = sheet.picture(left, top, panel, tall, picture)
                if key not in roles:
                    continue
                score = scores[roles.index(key), i]
                best = np.isfinite(score) and sign * score >= np.nanmax(sign * scores[:, i])
                words = three_digits(score) if np.isfinite(score) else "no label"
                note(axes, words, fontsize=8, weight="bold" if best else "normal")
            left += panel + GAP
        left += GROUP_GAP - GAP
    legends(sheet, arrays, keys, sheet.height - FOOTER - legend + 0.12)
    return sheet.figure


# -------------------------------------------------------------------- curves


@styled
def draw_consistency(arrays: Arrays) -> Figure:
    """Distances while training, then, for every pair, within and between images.

    On logarithmic axes, for collapse is a matter of magnitude.
    """
    wide, tall, top = 3.0, 2.6, 0.42
    left, across, gap = 0.75, 2.4, 0.45
    named = 1.7  # inches of the pairs' names
    right = left + wide + named
    sheet = Sheet(right + 2 * across + gap + 0.15, top + tall + 1.15)
    axes = sheet.axes(left, top, wide, tall)
    for (role, _), color, marker in zip(VARIANTS, CYCLE, MARKERS, strict=False):
        for term, dashes in TERMS:
            if f"{role}/{term}" in arrays:
                axes.plot(
                    arrays[f"{role}/epochs"],
                    _positive(arrays[f"{role}/{term}"]),
                    color=color,
                    linestyle=dashes,
                    linewidth=1.6,
                    marker=marker,
                    markersize=4,
                    markerfacecolor=color if term == "consistency" else "white",
                )
    axes.set_title("While training", weight="bold", fontsize=10)
    axes.set(xlabel="epoch", ylabel="cosine distance, mean over pairs", yscale="log")
    axes.set_ylim(_decades(np.concatenate([line.get_ydata() for line in axes.lines])))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    titles = titles_of(arrays)
    names = [f"{titles[str(s)]} → {titles[str(t)]}" for s, t in arrays["pairs"]]
    shown = [arrays[f"{role}/{name}"] for role, _ in VARIANTS for name, *_ in MARKS]
    shown += [arrays[f"{role}/two_features"] for role, _ in VARIANTS]
    shown = _positive(np.concatenate([np.ravel(values) for values in shown]))
    for column, ((role, title), color) in enumerate(zip(VARIANTS, CYCLE, strict=False)):
        axes = sheet.axes(right + column * (across + gap), top, across, tall)
        axes.set(xscale="log", xlim=_decades(shown))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _dumbbells(axes, arrays, role, color)
        axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="cosine distance")
        axes.set_yticks(range(len(names)), names if column == 0 else [])
        axes.set_title(f"Test images, {title} $R$", weight="bold", fontsize=10)
    _consistency_keys(sheet, left + wide / 2, right + across + gap / 2)
    return sheet.figure


def _positive(values: Image) -> Image:
    """What a logarithmic axis can show: rounding leaves zeros where a mapping has collapsed."""
    return np.maximum(values, SMALLEST)


def _decades(values: Image) -> tuple[float, float]:
    """The powers of ten around positive values, with room for a marker."""
    low, high = np.log10([values.min() / 1.3, values.max() * 1.3])
    return float(10.0 ** np.floor(low)), float(10.0 ** np.ceil(high))


def _dumbbells(axes: Axes, arrays: Arrays, role: str, color: str) -> None:
    """A line a pair, from the distance within an image to that between images."""
    values = {name: _positive(arrays[f"{role}/{name}"]) for name, *_ in MARKS}
    rows = np.arange(len(values["same"]))
    axes.hlines(rows, values["same"], values["other"], color=color, linewidth=2.4, alpha=0.35)
    reference = _positive(arrays[f"{role}/two_features"])
    axes.axvline(float(reference), color=QUIET, linestyle=(0, (3, 2)), linewidth=1.2)
    for name, _, marker in MARKS:
        axes.scatter(
            values[name],
            rows,
            s=16 if name == "same" else 52,  # inside the other where both agree
            marker=marker,
            color=color if name == "same" else "white",
            edgecolors=QUIET if name == "feature" else color,
            linewidths=1.3,
            zorder=4 if name == "same" else 3,
        )
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _consistency_keys(sheet: Sheet, middle: float, right: float) -> None:
    """What lines and markers say, below the panels they are in: the middles in inches."""

    def entry(color: str, label: str, **how: Any) -> Line2D:
        return Line2D([], [], color=color, label=label, markersize=4.5, **how)

    dashed = (0, (3, 2))
    curves = [
        entry(CYCLE[0], "$L_{ct}$ with $R$", marker=MARKERS[0]),
        entry(CYCLE[1], "$L_{ct}$ without $R$", marker=MARKERS[1]),
        entry(CYCLE[0], "$R$", marker=MARKERS[0], linestyle=dashed, markerfacecolor="white"),
    ]
    marks = [
        entry(
            QUIET if name == "feature" else INK,
            label,
            linestyle="",
            marker=marker,
            markerfacecolor=INK if name == "same" else "white",
        )
        for name, label, marker in MARKS
    ]
    marks.append(entry(QUIET, "features of two images", linestyle=dashed))
    y = 0.24 / sheet.height
    for handles, at, columns in ((curves, middle, 3), (marks, right, 2)):
        sheet.figure.legend(
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(at / sheet.width, y),
            ncols=columns,
            handletextpad=0.4,
            columnspacing=1.4,
            borderpad=0,
        )
