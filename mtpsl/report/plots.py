"""Drawings that papers share: comparisons of predictions, maps of scores, and charts."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mtpsl.report.arrays import Arrays
from mtpsl.report.maps import (
    WIDE,
    Column,
    Grid,
    draw_grids,
    kind_of,
    parts_of,
    task_groups,
    titles_of,
    unit_of,
)
from mtpsl.report.style import (
    AFFINITY_MAP,
    CYCLE,
    DEPTH_MAP,
    INK,
    MARKERS,
    QUIET,
    SCORE_MAP,
    Image,
    Sheet,
    class_color,
    normals_to_rgb,
    scalar_to_rgb,
    styled,
)

DASHES = ("", (5, 2), (1, 1.5), (5, 1, 1, 1))  # of a chart's first, second, ... curve
LEFT, TOP, GAP, KEYS = 0.7, 0.38, 0.7, 0.85  # inches: before and above panels, between, below

Curves = Mapping[str, tuple[Image, Image]]  # name -> (P,) places and (P,) values


# -------------------------------------------------------------------- images


@styled
def draw_qualitative(arrays: Arrays, methods: Mapping[str, str]) -> Figure:
    """Rows are images; columns are the image and, task by task, truth and predictions.

    Every prediction has its score, the best of an image in bold. Data sets stand one below the
    other.

    Args:
        arrays: As ``arrays.qualitative`` makes them, or ``in_parts`` of it.
        methods: Role -> what its column is called.
    """
    grids = []
    for part in parts_of(arrays):
        columns = [("truth", "Truth"), *((str(role), methods[str(role)]) for role in part["roles"])]
        groups = task_groups(part, columns, str(part.get("data", "")), labels=True)
        grids.append(Grid(arrays=part, groups=groups, note=_score, bold=is_best))
    return draw_grids(*grids, width=WIDE)[0].figure


def _score(arrays: Arrays, key: str, i: int) -> str:
    if f"{key}/score" not in arrays:
        return ""
    score = arrays[f"{key}/score"][i]
    return three_digits(score) if np.isfinite(score) else "no label"


def is_best(arrays: Arrays, key: str, i: int) -> bool:
    """Whether no other method's score on image ``i`` beats that of the prediction ``key``."""
    task = key.partition("/")[0]
    if not np.isfinite(arrays.get(f"{key}/score", [np.nan] * (i + 1))[i]):
        return False
    best = np.nanmax if arrays[f"{task}/higher_is_better"] else np.nanmin
    scores = [arrays[f"{task}/{role}/score"][i] for role in arrays["roles"]]
    return bool(arrays[f"{key}/score"][i] == best(scores))


def three_digits(value: float) -> str:
    """27.4, 3.10, 0.512, 0.0163: enough to tell two methods apart."""
    decimals = 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{decimals}f}"


@styled
def draw_score_maps(
    arrays: Arrays,
    columns: Sequence[Column],
    note: Callable[[Arrays, str, int], str],
    bar: str,
    *,
    shared: bool = False,
) -> Figure:
    """Rows are images; columns are the image and, task by task, maps of scores.

    Args:
        arrays: (N, h, w) maps ``<task>/<key>`` for the keys of ``columns``, data set by data set.
        columns: (key, label above it) of a task's maps.
        note: (arrays of the data set, key, image) -> a word in the panel.
        bar: What the color bar says.
        shared: All maps of a task share the range from 0 to their largest value, and each task
            has a bar; otherwise every map spans its own range.
    """

    def highest(arrays: Arrays, task: str) -> float:
        return max(float(arrays[f"{task}/{key}"].max()) for key, _ in columns)

    def paint(arrays: Arrays, key: str, i: int) -> Image:
        values = arrays[key][i]
        if key == "images":
            return values
        own = float(values.min()), float(values.max())
        low, high = (0.0, highest(arrays, key.partition("/")[0])) if shared else own
        return scalar_to_rgb(values, SCORE_MAP, low, high)

    grids = []
    for part in parts_of(arrays):
        groups = task_groups(part, columns, str(part.get("data", "")))
        grids.append(Grid(arrays=part, groups=groups, paint=paint, note=note, legend=()))
    sheet, spans, top = draw_grids(*grids, width=WIDE if len(grids) > 1 else None, below=0.3)
    if not shared:
        sheet.bar(sheet.width / 2 - 1, top + 0.12, 2.0, SCORE_MAP, 0, 1, bar)
        return sheet.figure
    for task, (left, wide) in zip(titles_of(part), list(spans[-1].values())[1:], strict=True):
        sheet.bar(left + wide / 2 - 1.0, top + 0.12, 1.4, SCORE_MAP, 0, highest(part, task), bar)
    return sheet.figure


# -------------------------------------------------------------------- tokens


@styled
def draw_tokens(arrays: Arrays, roles: Mapping[str, str]) -> Figure:
    """Rows are tasks; the left half shows affinities of tokens, the right half where they lie.

    Args:
        arrays: Of every task and role ``/affinity`` (C_p, C_p), ``/off_diagonal`` (),
            ``/points`` (N, C_p, 3) and ``/explained`` (3,), and of a task ``/values`` (C_p, D).
        roles: Role -> what it is called; two of them.
    """
    titles, side, gap = titles_of(arrays), 2.2, 0.42
    place = {"wide": side, "between": gap, "gap": gap, "left": 1.05, "top": 0.62, "below": 1.1}
    sheet, columns = chart_row([""] * 4, *[side] * len(titles), **place)
    lefts = [1.05 + column * (side + gap) for column in range(4)]
    headings = ("Self-affinity: cosine similarity of tokens", "Principal components of the tokens")
    for left, heading in zip(lefts[::2], headings, strict=True):
        middle = left + side + gap / 2
        sheet.text(middle, 0.14, heading, ha="center", va="center", weight="bold")
        sheet.rule(left, 0.27, 2 * side + gap)
    for row, (task, title) in enumerate(titles.items()):
        reach = 1.08 * max(np.abs(arrays[f"{task}/{r}/points"][..., :2]).max() for r in roles)
        for column, (role, words) in enumerate(roles.items()):
            axes, places = columns[column][row], columns[2 + column][row]
            affinity = arrays[f"{task}/{role}/affinity"]
            axes.imshow(affinity, cmap=AFFINITY_MAP, vmin=-1, vmax=1, interpolation="nearest")
            axes.grid(False)
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0, labelsize=7.5, pad=1)
            names = arrays.get(f"{task}/classes", ()) if column == 0 else ()
            axes.set(xticks=[], yticks=range(len(names)), yticklabels=names)
            mean = float(arrays[f"{task}/{role}/off_diagonal"])
            axes.set_title(f"{words}: mean |off-diagonal| {mean:.2f}", fontsize=8, pad=3)
            _scatter(places, arrays, task, role, reach)
            places.set_title(words, fontsize=8, pad=3)
        columns[0][row].set_ylabel(title, weight="bold", fontsize=10)
        columns[0][row].yaxis.set_label_coords(-0.4, 0.5)
    low, middle = sheet.height - 0.52, lefts[2] + side + gap / 2
    sheet.bar(lefts[0] + side - 0.6, low - 0.05, 1.4, AFFINITY_MAP, -1, 1, "cosine")
    classes = max(len(arrays.get(f"{task}/classes", ())) for task in titles)
    how = {"ncols": -(-classes // 2), "fontsize": 7.5, "handletextpad": 0.0, "columnspacing": 0.7}
    legend_below(sheet, middle, low + 0.17, **how)
    words = "; ".join(filter(None, (_color_words(arrays, task) for task in titles)))
    quiet = {"ha": "center", "va": "center", "fontsize": 6.5, "color": QUIET}
    sheet.text(middle, low + 0.24, words, **quiet)
    return sheet.figure


def _scatter(axes: Axes, arrays: Arrays, task: str, variant: str, reach: float) -> None:
    """First two principal components, one color and marker a token, a point an image."""
    points = arrays[f"{task}/{variant}/points"]  # (N, C_p, 3)
    images, count = points.shape[:2]
    names = [str(name) for name in arrays.get(f"{task}/classes", range(count))]
    seaborn.scatterplot(
        x=points[..., 0].ravel(),
        y=points[..., 1].ravel(),
        hue=names * images,
        style=names * images,
        palette=token_colors(arrays, task),
        markers=[MARKERS[i % len(MARKERS)] for i in range(count)],
        s=22,
        edgecolor=INK,
        linewidth=0.3,
        legend="full" if f"{task}/classes" in arrays else False,
        ax=axes,
    )
    if axes.get_legend():
        axes.get_legend().remove()  # below the sheet there is one for all
    shares = 100 * arrays[f"{task}/{variant}/explained"]
    axes.set_xlabel(f"PC 1 ({shares[0]:.0f} %)", fontsize=7, labelpad=1)
    axes.set_ylabel(f"PC 2 ({shares[1]:.0f} %)", fontsize=7, labelpad=0)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticklabels=[], yticklabels=[])
    axes.tick_params(length=0)


def token_colors(arrays: Arrays, task: str) -> list[tuple[float, float, float]]:
    """A color for each fine-grained token: its class's, its depth's or its direction's."""
    values = arrays[f"{task}/values"]
    if f"{task}/classes" in arrays:
        return [class_color(str(name), i) for i, name in enumerate(arrays[f"{task}/classes"])]
    rank = np.argsort(np.argsort(values[:, 0])) / max(1, len(values) - 1)
    directions = kind_of(arrays, task) == "direction"
    rgb = normals_to_rgb(values) if directions else scalar_to_rgb(rank, DEPTH_MAP, 0, 1)
    return [tuple(color) for color in (rgb / 255).tolist()]


def _color_words(arrays: Arrays, task: str) -> str:
    near, far = ("near", "far") if unit_of(arrays, task) else ("low", "high")
    said = {
        "positive": f"{task}: from {near} (purple) to {far} (yellow)",
        "direction": f"{task}: the direction as a color",
    }
    return said.get(kind_of(arrays, task), "")


# -------------------------------------------------------------------- charts


def chart_row(
    titles: Sequence[str],
    *heights: float,
    wide: float = 2.5,
    between: float = 0.75,
    gap: float = GAP,
    left: float = LEFT,
    top: float = TOP,
    below: float = KEYS,
) -> tuple[Sheet, list[list[Axes]]]:
    """A sheet with a column of charts for each title and room for a legend below.

    Args:
        titles: Of the columns.
        *heights: Of the charts of a column, from top to bottom, in inches as all that follows.
        wide: Of a chart.
        between: From chart to chart of a column.
        gap: From column to column; ``left`` and ``top`` lie before and above all of them.
        below: Below them, for their names and a legend.
    """
    tall = sum(heights) + between * (len(heights) - 1)
    sheet = Sheet(left + len(titles) * (wide + gap) - gap + 0.25, top + tall + below)
    tops = [top + sum(heights[:row]) + between * row for row in range(len(heights))]
    columns = []
    for i, title in enumerate(titles):
        place = left + i * (wide + gap)
        columns.append([sheet.axes(place, t, wide, h) for t, h in zip(tops, heights, strict=True)])
        columns[-1][0].set_title(title, fontsize=9, weight="bold")
    return sheet, columns


def draw_curves(
    axes: Axes,
    curves: Curves,
    *,
    colors: Sequence[str] = CYCLE,
    dashes: Sequence[Any] = DASHES,
    markers: Sequence[str] = (),
    **how: Any,
) -> None:
    """Named curves; values that are NaN are left out.

    Args:
        axes: What to draw into; a legend is left to ``legend_below``.
        curves: What to draw.
        colors: Of the curves, in order, and again after the last one, as for ``dashes`` (points of
            dash and gap, empty for a solid line) and ``markers`` (none if empty).
        **how: Of ``seaborn.lineplot``, such as ``linewidth``.
    """
    known = {name: (x, y) for name, (x, y) in curves.items() if np.isfinite(y).any()}
    if not known:
        return
    names = np.repeat(list(known), [len(x) for x, _ in known.values()])
    before = len(axes.lines)
    seaborn.lineplot(
        x=np.concatenate([x for x, _ in known.values()]),
        y=np.concatenate([y for _, y in known.values()]),
        hue=names,
        style=names,
        palette=dict(zip(curves, cycle(colors), strict=False)),
        dashes=dict(zip(curves, cycle(dashes), strict=False)),
        markers=dict(zip(curves, cycle(markers), strict=False)) if markers else False,
        estimator=None,
        sort=False,
        **{"legend": False, "markeredgecolor": "none", "ax": axes} | how,
    )
    for line, name in zip(axes.lines[before:], known, strict=True):
        line.set_label(name)


def legend_below(
    sheet: Sheet, middle: float | None = None, bottom: float | None = None, **how: Any
) -> None:
    """One legend for all charts of a sheet, in one line below them.

    Args:
        sheet: With charts that were drawn into its axes.
        middle: Inches from the left; None: of the sheet.
        bottom: Inches from the top; None: above the footer.
        **how: Of matplotlib's ``legend``, such as ``ncols``.
    """
    handles: dict[str, Any] = {}
    for axes in sheet.figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        low = 0.14 if bottom is None else sheet.height - bottom
        place = (middle or sheet.width / 2) / sheet.width, low / sheet.height
        how = {"loc": "lower center", "bbox_to_anchor": place, "ncols": len(handles)} | how
        sheet.figure.legend(list(handles.values()), list(handles), **how)


@styled
def draw_learning_curves(arrays: Arrays, roles: Mapping[str, str]) -> Figure:
    """One panel per task: its headline metric over epochs, on the training and the test split.

    Args:
        arrays: As ``arrays.curves`` makes them.
        roles: Role -> what its curves are called.
    """
    sheet, columns = chart_row(list(titles_of(arrays).values()), 2.3, wide=3.1)
    for (axes,), task in zip(columns, titles_of(arrays), strict=True):
        for split, dashes in (("train", (3, 2)), ("test", "")):
            curves = {
                f"{split}, {words}": (arrays[f"epochs/{role}"], arrays[f"{task}/{split}/{role}"])
                for role, words in roles.items()
            }
            draw_curves(axes, curves, dashes=[dashes], markers=MARKERS, linewidth=1.6)
            for line, color in zip(axes.lines[-len(roles) :], CYCLE, strict=False):
                line.set(markersize=4, markeredgecolor=color, markeredgewidth=1)
                line.set_markerfacecolor("white" if split == "train" else color)
        axes.set(xlabel="epoch", ylabel=str(arrays[f"{task}/label"]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(sheet)
    return sheet.figure
