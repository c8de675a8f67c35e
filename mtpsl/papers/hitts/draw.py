"""The figures of HiTTs, each drawn from its arrays alone (``experiments.figures``)."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mtpsl.report.arrays import Arrays
from mtpsl.report.maps import (
    FOOTER,
    Group,
    image_grid,
    kind_of,
    map_to_rgb,
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

EMBEDDINGS = (("without", "Without OE"), ("with", "With OE"))
SCORES = (("global", "global: $M^f$"), ("fine", "fine-grained"))
SUPERVISION = (("without", "without P"), ("with", "with P"))


@styled
def draw_fig7(arrays: Arrays) -> Figure:
    """Rows are tasks; the left half shows affinities of tokens, the right half where they lie.

    Figure 13 is drawn alike.
    """
    tasks = [str(task) for task in arrays["tasks"]]
    side, gap, first, top = 2.2, 0.42, 1.05, 0.62
    sheet = Sheet(first + 4 * side + 3 * gap + 0.35, top + len(tasks) * (side + gap) + 0.75)
    right = first + 2 * (side + gap)
    for left, title in (
        (first, "Self-affinity: cosine similarity of tokens"),
        (right, "Principal components of the tokens"),
    ):
        wide = 2 * side + gap
        sheet.text(left + wide / 2, 0.14, title, ha="center", va="center", weight="bold")
        sheet.rule(left, 0.27, wide)
    for row, task in enumerate(tasks):
        y = top + row * (side + gap)
        names = list(arrays[f"{task}/classes"]) if f"{task}/classes" in arrays else []
        reach = 1.08 * max(abs(arrays[f"{task}/{v}/points"][..., :2]).max() for v, _ in EMBEDDINGS)
        for column, (variant, title) in enumerate(EMBEDDINGS):
            key = f"{task}/{variant}"
            axes = sheet.axes(first + column * (side + gap), y, side, side)
            _affinity(axes, arrays[f"{key}/affinity"], names if column == 0 else [])
            axes.set_title(
                f"{title}: mean |off-diagonal| {float(arrays[f'{key}/off_diagonal']):.2f}",
                fontsize=8,
                pad=3,
            )
            if column == 0:
                axes.set_ylabel(str(arrays["titles"][row]), weight="bold", fontsize=10)
                axes.yaxis.set_label_coords(-0.4, 0.5)
            axes = sheet.axes(right + column * (side + gap), y, side, side)
            _scatter(axes, arrays, task, variant, reach)
            axes.set_title(title, fontsize=8, pad=3)
    low = sheet.height - 0.52
    sheet.bar(first + side - 0.6, low - 0.05, 1.4, AFFINITY_MAP, -1, 1, "cosine")
    for task in tasks:
        if f"{task}/classes" in arrays:
            names = list(arrays[f"{task}/classes"])
            _class_markers(sheet, names, right + side + gap / 2, low - 0.2)
    words = "; ".join(filter(None, (_color_words(arrays, task) for task in tasks)))
    how = {"ha": "center", "va": "center", "fontsize": 6.5, "color": QUIET}
    sheet.text(right + side + gap / 2, low + 0.24, words, **how)
    return sheet.figure


def _color_words(arrays: Arrays, task: str) -> str:
    """What the color of a token says, for tasks without classes."""
    match kind_of(arrays, task):
        case "positive":
            ends = ("near", "far") if unit_of(arrays, task) else ("low", "high")
            return f"{task}: from {ends[0]} (purple) to {ends[1]} (yellow)"
        case "direction":
            return f"{task}: the direction as a color"
        case _:
            return ""


def _affinity(axes: Axes, affinity: Image, names: list[str]) -> None:
    axes.imshow(affinity, cmap=AFFINITY_MAP, vmin=-1, vmax=1, interpolation="nearest")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=7.5, pad=1)
    axes.set_xticks([])
    axes.set_yticks(range(len(names)), names)


def _scatter(axes: Axes, arrays: Arrays, task: str, variant: str, reach: float) -> None:
    """First two principal components, one color and marker a token, a point an image."""
    points = arrays[f"{task}/{variant}/points"]
    for i, color in enumerate(token_colors(arrays, task)):
        axes.scatter(
            points[:, i, 0],
            points[:, i, 1],
            s=22,
            color=color,
            marker=MARKERS[i % len(MARKERS)],
            edgecolors=INK,
            linewidths=0.3,
        )
    shares = 100 * arrays[f"{task}/{variant}/explained"]
    axes.set_xlabel(f"PC 1 ({shares[0]:.0f} %)", fontsize=7, labelpad=1)
    axes.set_ylabel(f"PC 2 ({shares[1]:.0f} %)", fontsize=7, labelpad=0)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticklabels=[], yticklabels=[])
    axes.tick_params(length=0)


def token_colors(arrays: Arrays, task: str) -> list[tuple[float, float, float]]:
    """A color for each fine-grained token: its class's, its depth's or its direction's."""
    values = arrays[f"{task}/values"]
    match kind_of(arrays, task):
        case "classes":
            names = arrays[f"{task}/classes"]
            return [class_color(str(name), i) for i, name in enumerate(names)]
        case "positive" | "binary":
            rank = np.argsort(np.argsort(values[:, 0])) / max(1, len(values) - 1)
            rgb = scalar_to_rgb(rank, DEPTH_MAP, 0, 1)
        case _:
            rgb = normals_to_rgb(values)
    return [tuple(color) for color in (rgb / 255).tolist()]


def _class_markers(sheet: Sheet, names: list[str], middle: float, top: float) -> None:
    """Which marker is which class."""
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=MARKERS[i % len(MARKERS)],
            color=class_color(name, i),
            markeredgecolor=INK,
            markeredgewidth=0.3,
            markersize=5,
            label=name,
        )
        for i, name in enumerate(names)
    ]
    sheet.figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(middle / sheet.width, 1 - top / sheet.height),
        ncols=(len(handles) + 1) // 2,
        fontsize=7.5,
        handletextpad=0.0,
        columnspacing=0.7,
        borderpad=0,
    )


@styled
def draw_fig8(arrays: Arrays) -> Figure:
    """Rows are images; columns are the image and, task by task, confidence before and after.

    Both maps of a task share one range, since 30 bins never get as sure as 13 classes.
    """
    groups = task_groups(arrays, (("before", "before: G"), ("after", "after: G'")))
    highest = {
        str(task): max(float(arrays[f"{task}/{stage}"].max()) for stage in ("before", "after"))
        for task in arrays["tasks"]
    }

    def show(key: str, i: int) -> Image:
        return _show_score(arrays, key, i, 0, highest.get(key.partition("/")[0], 1))

    def mean(key: str, i: int) -> str:
        return "" if key == "images" else f"mean {arrays[key][i].mean(dtype=float):.2f}"

    sheet, spans = image_grid(arrays, groups, show, panel=1.75, legend=0.3, notes=mean)
    for task, title in zip(highest, arrays["titles"], strict=True):
        left, wide = spans[str(title)]
        bar = (left + wide / 2 - 1.0, sheet.height - FOOTER - 0.18, 1.4)
        sheet.bar(*bar, SCORE_MAP, 0, highest[task], "largest probability")
    return sheet.figure


@styled
def draw_fig9(arrays: Arrays) -> Figure:
    """One panel a task: its headline metric over epochs, on the training and the test split."""
    tasks = [str(task) for task in arrays["tasks"]]
    wide, tall, gap = 3.1, 2.3, 0.75
    sheet = Sheet(0.7 + len(tasks) * (wide + gap) - gap + 0.15, tall + 1.35)
    for column, task in enumerate(tasks):
        axes = sheet.axes(0.7 + column * (wide + gap), 0.35, wide, tall)
        for (variant, _), color, marker in zip(SUPERVISION, CYCLE, MARKERS, strict=False):
            for split, dashes, fill in (("train", (0, (3, 2)), "white"), ("test", "-", color)):
                axes.plot(
                    arrays[f"epochs/{variant}"],
                    arrays[f"{task}/{split}/{variant}"],
                    color=color,
                    linestyle=dashes,
                    linewidth=1.6,
                    marker=marker,
                    markersize=4,
                    markerfacecolor=fill,
                )
        axes.set_title(str(arrays["titles"][column]), weight="bold", fontsize=10)
        axes.set_ylabel(str(arrays[f"{task}/label"]))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [
        Line2D(
            [],
            [],
            color=color,
            marker=marker,
            markersize=4,
            linestyle=dashes,
            markerfacecolor="white" if split == "train" else color,
            label=f"{split}, {words}",
        )
        for split, dashes in (("train", (0, (3, 2))), ("test", "-"))
        for (_, words), color, marker in zip(SUPERVISION, CYCLE, MARKERS, strict=False)
    ]
    sheet.figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.22 / sheet.height), ncols=4
    )
    return sheet.figure


@styled
def draw_fig11(arrays: Arrays) -> Figure:
    """Rows are images; columns are the image and, task by task, global and fine-grained scores.

    Each map spans its own range, because softplus has no upper end.
    """
    groups = task_groups(arrays, SCORES)
    show, token = score_show(arrays), token_note(arrays)
    sheet, _ = image_grid(arrays, groups, show, panel=1.75, legend=0.3, notes=token)
    share_bar(sheet)
    return sheet.figure


def score_show(arrays: Arrays) -> Callable[[str, int], Image]:
    def show(key: str, i: int) -> Image:
        values = arrays[key][i].astype(np.float32)
        return _show_score(arrays, key, i, float(values.min()), float(values.max()))

    return show


def token_note(arrays: Arrays) -> Callable[[str, int], str]:
    def token(key: str, i: int) -> str:
        task, _, which = key.partition("/")
        if which != "fine":
            return ""
        share = arrays[f"{task}/own"][i, 0]
        return f"token: {arrays[f'{task}/token_name'][i]} ({100 * share:.0f} % of pixels)"

    return token


def share_bar(sheet: Sheet) -> None:
    top = sheet.height - FOOTER - 0.18
    sheet.bar(
        sheet.width / 2 - 1, top, 2.0, SCORE_MAP, 0, 1, "score, as a share of each map's range"
    )


def task_groups(
    arrays: Arrays, columns: tuple[tuple[str, str], ...], first: str = ""
) -> list[Group]:
    """The image, below the title ``first``, then the same columns for every task."""
    groups: list[Group] = [(first, [("images", "Image")])]
    for task, title in zip(arrays["tasks"], arrays["titles"], strict=True):
        groups.append((str(title), [(f"{task}/{key}", label) for key, label in columns]))
    return groups


def show_map(arrays: Arrays, key: str, index: int) -> Image:
    return arrays[key][index] if key == "images" else map_to_rgb(arrays, key, index)


def _show_score(arrays: Arrays, key: str, index: int, low: float, high: float) -> Image:
    values = arrays[key][index]
    return values if key == "images" else scalar_to_rgb(values, SCORE_MAP, low, high)
