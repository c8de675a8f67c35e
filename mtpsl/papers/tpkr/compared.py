"""Figures of trained networks: predictions, affinities and slots [TPKR, Fig. 5, 6, 7]."""

from functools import partial
from typing import Any

import numpy as np
import seaborn
import torch
from matplotlib.figure import Figure as Drawing

from mtpsl.papers.tpkr.printed import FEATURE, OURS, at_optimum
from mtpsl.report.arrays import (
    Arrays,
    FigureInputs,
    describe,
    evenly_spaced,
    most_varied,
    qualitative,
    shown,
    true_maps,
)
from mtpsl.report.figure import Figure
from mtpsl.report.maps import GAP, HEADER, Grid, map_to_rgb, titles_of
from mtpsl.report.plots import draw_qualitative
from mtpsl.report.style import AFFINITY_MAP, QUIET, SCORE_MAP, Image, Sheet, scalar_to_rgb, styled
from mtpsl.runs.network import build

METHODS = {"diffusion": "DiffusionMTL", "ours": "TPKR"}  # role -> what its column is called
EXAMPLES = 4  # test images of Figure 5
IMAGES = 32  # test images that means of affinities are taken over
PANEL, CELL = 1.0, 0.5  # inches of a map of affinities, and of an entry of a matrix
LABELS, BELOW = 0.85, 1.2  # inches at the left of a matrix and below it, for what is written there

# -------------------------------------------------------------------- arrays


@torch.no_grad()
def affinities(inputs: FigureInputs) -> Arrays:
    """Which slots the features of every task are near to: on one image, and on many.

    ``maps`` (T, T, h, w) is A of the image that shows most classes, by target task and slot; it is
    in ``images`` (1, H, W, 3), and predictions are in ``<task>/ours`` (1, H, W, ...). Over all
    ``looked_at`` images ``mean`` (T, T) is their mean affinity, ``within`` (T, T) the standard
    deviation over the positions of an image, and ``between`` (T, T) that of the images' means.
    ``ceiling`` is the largest affinity that all tasks can have with their own slots at once.
    """
    (method,) = inputs.methods.values()
    tasks, indices = inputs.test.tasks, evenly_spaced(len(inputs.test), IMAGES)
    batch = inputs.load(indices)
    example = inputs.load([indices[most_varied(tasks, true_maps(tasks, batch))[0]]])
    one = method.trace(example.images)
    traces = (method.trace(b.images).affinity for b in inputs.batches(indices))
    every = torch.cat([torch.stack([*found.values()]) for found in traces], dim=1)  # (T, B, n, T)
    means = every.mean(dim=2)  # (T, B, T)
    spread = every.std(dim=2, correction=0).mean(dim=1)
    found = {"mean": means.mean(1), "within": spread, "between": means.std(1, correction=0)}
    maps = torch.stack([*one.affinity.values()])[:, 0].mT.unflatten(2, one.encoded.shape[2:])
    arrays = describe(tasks, example) | true_maps(tasks, example)
    arrays |= {"ceiling": np.round(at_optimum(len(tasks))[0], 4)}
    arrays |= {f"{t.name}/ours": shown(t, one.predictions[t.name]) for t in tasks}
    arrays |= {key: np.round(x.cpu().numpy(), 4) for key, x in (found | {"maps": maps}).items()}
    return arrays | {"looked_at": np.array(len(indices))}


@torch.no_grad()
def slots(inputs: FigureInputs) -> Arrays:
    """What the tasks' slots hold after training.

    ``slots`` (T, d) are V, and ``cosine`` (T, T) those of one with another; ``start/cosine`` (T, T)
    are those before training, and ``kept`` (T,) cosines of a slot with its own start.
    """
    (method,), (experiment,) = inputs.methods.values(), inputs.experiments.values()
    before, after = (net.prototypes.slots.cpu() for net in (build(experiment), method))
    start, end = (torch.nn.functional.normalize(V, dim=1) for V in (before, after))
    found = {
        "slots": after,
        "cosine": end @ end.T,
        "start/cosine": start @ start.T,
        "kept": (start * end).sum(dim=1),
    }
    return describe(method.tasks) | {key: np.round(x.numpy(), 4) for key, x in found.items()}


# ------------------------------------------------------------------- drawings


@styled
def draw_affinities(arrays: Arrays) -> Drawing:
    """A row a target task: its prediction, A of every slot, and its own slot's on its own range."""
    titles, maps, ceiling = titles_of(arrays), arrays["maps"], float(arrays["ceiling"])
    names, count = [*titles.values()], len(titles)

    def paint(arrays: Arrays, key: str, row: int) -> Image:
        if key == "ours":
            return map_to_rgb(arrays, f"{[*titles][row]}/ours", 0)
        own = maps[row, row]
        if key == "own":
            return scalar_to_rgb(own, SCORE_MAP, own.min(), own.max())
        return scalar_to_rgb(maps[row, int(key)], SCORE_MAP, 0, ceiling)

    def note(arrays: Arrays, key: str, row: int) -> str:
        if key == "ours":
            return names[row]
        values = maps[row, row if key == "own" else int(key)]
        if key == "own":
            return f"{values.min():.3f} to {values.max():.3f}"
        return f"{values.mean():.2f} ± {values.std():.4f}"

    groups = (
        ("Target task", [("ours", "prediction")]),
        ("Affinity with the slot of", [(str(i), name) for i, name in enumerate(names)]),
        ("Own slot", [("own", "on its own range")]),
    )
    grid = Grid(
        arrays=arrays, groups=groups, paint=paint, note=note, shape=(count, *maps.shape[2:])
    )
    (columns, around), (_, tall) = grid.across, grid.rows_and_height(PANEL)
    left, below = columns * PANEL + around + LABELS, HEADER + count * (tall + GAP)
    sheet = Sheet(left + CELL * count + 0.2, max(below + 0.35, 2.5 + CELL * count + BELOW))
    start, wide = grid.put(sheet, 0, PANEL)[groups[1][0]]
    sheet.bar(start + wide / 2 - 0.9, below + 0.08, 1.4, SCORE_MAP, 0, ceiling, "affinity")
    example = arrays["images"][0]
    sheet.text(left, 0.16, "Image", weight="bold", va="center")
    sheet.picture(left, 0.3, 1.8 * example.shape[1] / example.shape[0], 1.8, example)
    within, between = (float(arrays[key].diagonal().mean()) for key in ("within", "between"))
    _matrix(
        sheet,
        (left, 2.5),
        f"Mean of {int(arrays['looked_at'])} test images",
        arrays["mean"],
        names,
        f"All own slots at once: {ceiling:.3f} at most",
        f"Own slot: ± {within:.4f} over positions,",
        f"± {between:.4f} from image to image",
        cmap=SCORE_MAP,
        vmin=0,
        vmax=ceiling,
    )
    return sheet.figure


@styled
def draw_slots(arrays: Arrays) -> Drawing:
    """Elements of all slots, columns in the order of the first slot, beside their cosines."""
    names, values = [*titles_of(arrays).values()], arrays["slots"]
    tall, wide, left, top = CELL * len(names), 7.5, LABELS, 0.38
    matrix = left + wide + LABELS
    sheet = Sheet(matrix + tall + 0.2, top + tall + BELOW)
    reach = float(np.percentile(np.abs(values), 99))
    rows = values[:, np.argsort(values[0], kind="stable")]
    axes = sheet.axes(left, top, wide, tall)
    how = {"vmin": -reach, "vmax": reach, "cmap": AFFINITY_MAP, "interpolation": "nearest"}
    axes.imshow(rows, aspect="auto", **how)
    axes.grid(False)
    axes.tick_params(length=0, labelsize=7)
    words = f"{values.shape[1]} elements, in the order of those of {names[0]}"
    axes.set(yticks=range(len(names)), yticklabels=names, xticks=[], xlabel=words)
    sheet.text(left, top - 0.16, "Elements of the slots", weight="bold", va="center")
    sheet.bar(left + wide / 2 - 0.7, top + tall + 0.42, 1.4, AFFINITY_MAP, -reach, reach, "")
    now, before = (_off_diagonal(arrays[key]).mean() for key in ("cosine", "start/cosine"))
    _matrix(
        sheet,
        (matrix, top),
        "Cosines of slots",
        arrays["cosine"],
        names,
        f"Mean of two slots: {now:.3f}, before training {before:.3f}",
        f"Least possible of {len(names)} slots: {-1 / (len(names) - 1):.3f}",
        f"Mean of a slot and its own start: {arrays['kept'].mean():.2f}",
        cmap=AFFINITY_MAP,
        vmin=-1,
        vmax=1,
    )
    return sheet.figure


def _matrix(
    sheet: Sheet,
    place: tuple[float, float],
    title: str,
    values: Image,
    names: list[str],
    *lines: str,
    **how: Any,
) -> None:
    """Values (T, T) with their numbers; its corner is at ``place``, and ``lines`` are below it."""
    (left, top), side = place, CELL * len(names)
    sheet.text(left, top - 0.16, title, weight="bold", va="center")
    axes = sheet.axes(left, top, side, side)
    text = {"annot": True, "fmt": ".2f", "annot_kws": {"fontsize": 7.5}}
    seaborn.heatmap(values, ax=axes, cbar=False, xticklabels=names, **text, **how)
    axes.tick_params(length=0, labelsize=7)
    axes.set_xticklabels(names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticklabels(names, rotation=0)
    for i, line in enumerate(lines):
        at = top + side + 0.55 + 0.16 * i
        sheet.text(left, at, line, va="center", fontsize=7.5, color=QUIET)


def _off_diagonal(values: Image) -> Image:
    return values[~np.eye(len(values), dtype=bool)]


# ------------------------------------------------------------------- register

_TPKR = ("tpkr/table1", f"one-label/{OURS}")

COMPARED: tuple[Figure, ...] = (
    Figure(
        name="fig5",
        paper="tpkr",
        source="[TPKR, Fig. 5]",
        title="Predictions of DiffusionMTL and TPKR from one label per image",
        caption="Test images from all over the split with the truth and the predictions of "
        "DiffusionMTL (Feature) and TPKR for all five tasks, both from one label per image; each "
        "score is of that image alone.",
        alt="Grid of images with people, each followed by its true and two predicted maps of "
        "classes, parts, saliency, normals and edges, with a score in every prediction.",
        arrays=partial(qualitative, images=EXAMPLES),
        draw=partial(draw_qualitative, methods=METHODS),
        runs={"diffusion": ("tpkr/table1", f"one-label/{FEATURE}"), "ours": _TPKR},
    ),
    Figure(
        name="fig6",
        paper="tpkr",
        source="[TPKR, Fig. 6]",
        title="Which slots the features of a task are near to",
        caption="The affinity of every task's features with every slot, position by position on "
        "one test image, the own slot's once more on the range that it spans, and means over many "
        "test images beside the largest affinity that all tasks can have with their own slots.",
        alt="Grid of heatmaps, a row for each target task and a column for each slot, of which "
        "those of a task's own slot are bright, beside an image and a matrix of mean affinities.",
        arrays=affinities,
        draw=draw_affinities,
        runs={"ours": _TPKR},
    ),
    Figure(
        name="fig7",
        paper="tpkr",
        source="[TPKR, Fig. 7]",
        title="The elements of the tasks' slots",
        caption="The slots of the trained network, a row for each task, whose columns stand in the "
        "order of the first slot's elements, and the cosines of every two slots.",
        alt="Heatmap with a row for each task, of which the first goes from blue to red and the "
        "others look like noise, beside a square matrix of cosines.",
        arrays=slots,
        draw=draw_slots,
        runs={"ours": _TPKR},
    ),
)
