"""Pictures of the data itself, of what label settings withhold, and of gains by share of labels."""

from typing import Any

import numpy as np
import seaborn
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Drawing

from mtpsl.data import open_dataset
from mtpsl.data.labels import assign
from mtpsl.papers.companion.prototypes import RELATEDNESS
from mtpsl.report.arrays import (
    SCENES,
    Arrays,
    FigureInputs,
    describe,
    most_varied,
    picture,
    true_maps,
)
from mtpsl.report.evidence import (
    draw_glance,
    draw_rulers,
    draw_scoreboard,
    read_all,
    rulers,
    scoreboard,
)
from mtpsl.report.figure import Figure
from mtpsl.report.maps import Grid, draw_grids, map_to_rgb, titles_of
from mtpsl.report.plots import DASHES, chart_row, legend_below
from mtpsl.report.style import CYCLE, MARKERS, QUIET, Image, styled
from mtpsl.runs.experiment import Experiment
from mtpsl.tasks import TaskSet, depth, normals, semseg

PALE = 0.72  # how much of a withheld label is bleached away
SHOWN = 48  # images of a label setting
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {},
    "one_label": {},
    "random_labels": {},
    "few_shot": {"task": "semseg", "shots": 10},
    "ratio": {"ratio": "1:1:8"},
}


STAND_INS = ("rooms13", "streets7", "people21")

# -------------------------------------------------------------------- arrays


def recorded_rulers(inputs: FigureInputs) -> Arrays:
    """``parts`` (P,), such as "rooms13/segnet", and of each ``<part>/`` what ``ruler`` gives."""
    parts = rulers(STAND_INS, read_all(inputs.records).values())
    arrays = {f"{part}/{key}": a for part, found in parts.items() for key, a in found.items()}
    return {"parts": np.array(list(parts), dtype=str)} | arrays


def overview(inputs: FigureInputs) -> Arrays:
    """Scenes of the embedded data with their dense labels (N, H, W, ...) ``<task>/truth``.

    ``labeled`` (N, T) says which of them the one-label setting leaves a network: each task's
    label in two scenes, those of its first few that show the most classes and the least void.
    """
    dataset = open_dataset("rooms13", "train", height=240, width=320, images=SCENES)
    tasks = dataset.tasks
    labeled = assign("one_label", Experiment().train_images, tasks.names).labeled[:SCENES]
    batch = dataset.load(range(SCENES))
    truth = true_maps(tasks, batch)
    order = most_varied(tasks, truth)
    best = [[i for i in order if labeled[i, column]][:2] for column in range(len(tasks))]
    chosen = [pair[turn] for turn in range(2) for pair in best]
    maps = truth | {"images": picture(batch.images), "labeled": labeled.numpy()}
    maps = {name: values[chosen] for name, values in maps.items()}
    return describe(tasks) | maps | {"index": np.array(chosen)}


def label_settings(inputs: FigureInputs) -> Arrays:
    """Which labels each setting leaves the paper's training images.

    ``settings`` names them; ``<setting>/labeled`` is (N, T), ``<setting>/args`` in words.
    """
    images, tasks = Experiment().train_images, TaskSet((semseg(()), depth(), normals()))
    arrays = describe(tasks) | {"settings": np.array(tuple(SETTINGS))}
    for setting, args in SETTINGS.items():
        labeled = assign(setting, images, tasks.names, **args).labeled
        arrays[f"{setting}/labeled"] = labeled.cpu().numpy()
        arrays[f"{setting}/args"] = np.array(", ".join(f"{k} {v}" for k, v in args.items()))
    return arrays


# ------------------------------------------------------------------- drawings


@styled
def draw_overview(arrays: Arrays) -> Drawing:
    """A column per image; below it its labels, vivid where labeled and pale where withheld."""
    count, height, width = arrays["images"].shape[:3]
    tasks, titles = list(titles_of(arrays)), list(titles_of(arrays).values())

    def withheld(arrays: Arrays, column: str, row: int) -> bool:
        return row > 0 and not arrays["labeled"][int(column), row - 1]

    def paint(arrays: Arrays, column: str, row: int) -> Image:
        key = f"{tasks[row - 1]}/truth" if row else "images"
        image = map_to_rgb(arrays, key, int(column))
        return bleach(image) if withheld(arrays, column, row) else image

    def words(arrays: Arrays, column: str, row: int) -> str:
        state = "withheld" if withheld(arrays, column, row) else "label"
        return f"{titles[row - 1]}: {state}" if row else ""

    grid = Grid(
        arrays=arrays,
        groups=[("", [(str(i), f"image {i + 1}") for i in range(count)])],
        paint=paint,
        note=words,
        bold=lambda arrays, column, row: row > 0 and not withheld(arrays, column, row),
        legend=[f"{task}/truth" for task in tasks],
        shape=(1 + len(tasks), height, width),
    )
    return draw_grids(grid, panel=2.0)[0].figure


def bleach(image: Image) -> Image:
    """The same picture, pale."""
    return (255 - (1 - PALE) * (255 - image.astype(np.float32))).round().astype(np.uint8)


@styled
def draw_label_settings(arrays: Arrays) -> Drawing:
    """A strip per setting, a row per task, a column per image; the count of labels at its end."""
    settings, titles = [str(s) for s in arrays["settings"]], list(arrays["titles"])
    images, cell, gap = len(arrays[f"{settings[0]}/labeled"]), 0.15, 0.24
    wide, tall = cell * min(images, SHOWN), cell * len(titles)
    words = f"the first {min(images, SHOWN)} of {images} training images; right, how many labels"
    place = {"wide": wide, "between": gap, "left": 1.95, "top": 0.4, "below": 0.3}
    sheet, (strips,) = chart_row([""], *[tall] * len(settings), **place)
    sheet.text(1.95 + wide / 2, 0.2, words, ha="center", va="center", fontsize=8, color=QUIET)
    for row, (setting, axes) in enumerate(zip(settings, strips, strict=True)):
        labeled, args = arrays[f"{setting}/labeled"], str(arrays[f"{setting}/args"])  # (N, T)
        colors = np.array([to_rgb(CYCLE[i % len(CYCLE)]) for i in range(len(titles))])
        cells = np.where(labeled[:SHOWN].T[..., None], colors[:, None], 0.925)  # (T, N, 3)
        axes.pcolormesh(cells, edgecolor="white", linewidth=1.2)
        axes.invert_yaxis()
        counts = [str(count) for count in labeled.sum(0)]
        for side, names in ((axes, titles), (axes.twinx(), counts)):
            side.set(xticks=[], ylim=axes.get_ylim())
            side.set_yticks(np.arange(len(titles)) + 0.5, names, fontsize=7)
            side.tick_params(length=0)
            side.spines[:].set_visible(False)
            side.grid(False)
        middle = 0.4 + row * (tall + gap) + tall / 2
        title = setting.replace("_", " ")
        sheet.text(0.1, middle - 0.07 * bool(args), title, va="center", weight="bold")
        sheet.text(0.1, middle + 0.1, args, va="center", fontsize=6.5, color=QUIET)
    return sheet.figure


@styled
def draw_gains(gains: Arrays) -> Drawing:
    """A panel per column, over the share of labels: a line through the means, a dot per seed.

    Args:
        gains: As ``tables.share_gains`` makes them; a method without a value, as the baseline
            has none in its own gain, is left out of the panel.
    """
    names = [
        f"{str(c).rpartition('/')[0]} {label}"
        for c, label in zip(gains["columns"], gains["labels"], strict=True)
    ]
    sheet, columns = chart_row([name.strip() for name in names], 2.2)
    places = np.log2(gains["shares"])
    for (axes,), column, by_method in zip(columns, gains["columns"], gains["values"], strict=True):
        for i, (method, values) in enumerate(zip(gains["methods"], by_method, strict=True)):
            known = np.isfinite(values)  # (S, n)
            if known.any():
                x = np.broadcast_to(places[:, None], values.shape)[known]
                how = {"color": CYCLE[i], "ax": axes}
                line = {"marker": MARKERS[i], "markersize": 5, "linewidth": 1.8}
                line |= {"markeredgecolor": "none", "errorbar": None, "label": str(method)}
                line["linestyle"] = (0, DASHES[i]) if DASHES[i] else "-"
                seaborn.lineplot(x=x, y=values[known], legend=False, **line, **how)
                seaborn.scatterplot(x=x, y=values[known], s=9, alpha=0.5, linewidth=0, **how)
        if str(column) == "delta_mtl":
            axes.axhline(0, color=QUIET, linewidth=1, linestyle=":")
        axes.set_xticks(places, [str(group) for group in gains["groups"]])
        axes.set(xlabel="share of the labels that is kept")
    legend_below(sheet)
    return sheet.figure


# ------------------------------------------------------------------- register

FIGURES: tuple[Figure, ...] = (
    Figure(
        name="overview",
        paper="companion",
        title="Dense labels, and which of them one-label training sees",
        source="embedded data, rooms13",
        caption="Generated rooms with their three dense labels; under the one-label setting a "
        "network sees the vivid label of each image and never the pale ones.",
        alt="Six generated room images in a row, below each its class map, depth map and "
        "surface normal map, two of the three faded because they are withheld.",
        arrays=overview,
        draw=draw_overview,
    ),
    Figure(
        name="label_settings",
        paper="companion",
        title="Label settings",
        source="[HiTTs, Sec. 4.1]",
        caption="Which of 795 training images carry which task's label in each label setting; a "
        "column is an image.",
        alt="For each label setting a strip with a row for each task and a column for each image.",
        arrays=label_settings,
        draw=draw_label_settings,
    ),
    Figure(
        name="scoreboard",
        paper="companion",
        title="Every sentence of the papers, printed and recorded",
        source="recorded results",
        caption="For every sentence of the papers a square for the printed cells and one for the "
        "records: whether it holds, is contradicted, is inconclusive, was not tested, or is about "
        "a row no better than a guess.",
        alt="A list of all sentences in three columns, grouped by table, with two colored squares "
        "before each.",
        arrays=lambda inputs: scoreboard(read_all(inputs.records)),
        draw=draw_scoreboard,
    ),
    Figure(
        name="glance",
        paper="companion",
        title="What the records say of each table's sentences",
        source="recorded results",
        caption="A line for each table of the papers and a square for each of its sentences: "
        "whether the records show that it holds or that it does not, leave it open, have fewer "
        "than two seeds of it, or have a row in it that is no better than a guess.",
        alt="Each table as a line of colored squares, with the counts of its sentences by state.",
        arrays=lambda inputs: scoreboard(read_all(inputs.records)),
        draw=draw_glance,
    ),
    Figure(
        name="rulers",
        paper="companion",
        title="How far there is to go on each stand-in",
        source="recorded results, one label per image",
        caption="For each stand-in and backbone, each metric as an axis, better to the right: "
        "closed eyes, position lookup, supervised MTL with one label and with all, and a dot for "
        "each seed of every method with one label per image.",
        alt="For each stand-in and backbone a panel for each metric, with a line of dots for each "
        "method, and vertical lines for guesses, one label and full labels.",
        arrays=recorded_rulers,
        draw=draw_rulers,
    ),
    RELATEDNESS,
)
