"""The figures of [XTC]: what each computes, draws and says, and the runs that it needs.

The diagrams are in ``diagrams``.
"""

from collections.abc import Sequence
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import seaborn
import torch
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator, NullFormatter

from mtpsl.papers.xtc import diagrams, storm
from mtpsl.papers.xtc.diagrams import PAIR, as_in_training, pair_distances
from mtpsl.papers.xtc.mapping import Pass, label_input, prediction_input
from mtpsl.report.arrays import (
    Arrays,
    FigureInputs,
    compact,
    describe,
    evenly_spaced,
    picture,
    principal_components,
    qualitative,
    shown,
)
from mtpsl.report.figure import Figure
from mtpsl.report.maps import GAP, HEADER, Grid, draw_grids, map_to_rgb, shape_text, titles_of
from mtpsl.report.plots import chart_row, draw_curves, draw_qualitative, legend_below
from mtpsl.report.style import CYCLE, INK, MARKERS, QUIET, SCORE_MAP, Image, scalar_to_rgb, styled

STATISTICS_IMAGES = 32  # that the mapping network normalizes over
EXAMPLES = 2  # test images in Figures 3 and 4
METHODS = {"sl": "SL", "ssl": "SSL", "ours": "XTC"}  # role -> what its row is called
LAYERS = {"first": "first stage", "second_to_last": "second-to-last stage"}  # of the mapping
VARIANTS = ("with", "without")  # the regularizer R
MARKS = {  # the smaller marker comes later, as it may lie on the larger one
    "other": "prediction and label of two images",
    "same": "prediction and label of one image",
    "feature": "embeddings to their image's feature",
}
SMALLEST = 1e-6  # a distance that is drawn


# -------------------------------------------------------------------- arrays


@torch.no_grad()
def mapped_outputs(inputs: FigureInputs) -> Arrays:
    """Figure 3: what a pair's mapping makes of predictions and labels, a little inside it.

    For every of N test images, ``<task>/ours`` and ``<task>/truth`` of the pair's two tasks, and
    ``<layer>/<task>/<role>`` (N, h, w) what leaves the first and the second-to-last stage of the
    mapping network for them. A layer has one set of principal components, of all these maps of
    all its channels together, so that one color says the same in all four; the first is shown.
    ``<layer>/explained`` is its share of the variance.
    """
    (method,) = inputs.methods.values()
    s, t = (method.tasks[name] for name in PAIR)
    indices = evenly_spaced(len(inputs.test), STATISTICS_IMAGES)
    rows = evenly_spaced(len(indices), EXAMPLES)
    batch = inputs.load(indices)
    predictions = method.net(batch.images).predictions
    arrays = describe(method.tasks) | {"pair": np.array(PAIR), "index": np.array(indices)[rows]}
    arrays["images"] = picture(batch.images)[rows]
    passes, names = [], []
    for u in (s, t):
        arrays[f"{u.name}/ours"] = shown(u, predictions[u.name])[rows]
        truth = shown(u, batch.targets[u.name], batch.valid[u.name])
        arrays[f"{u.name}/truth"] = truth[rows]
        label = label_input(u, batch.targets[u.name], batch.mask(u.name))
        for role, maps in (("ours", prediction_input(u, predictions[u.name])), ("truth", label)):
            passes.append(Pass(u.name, PAIR, maps))
            names.append(f"{u.name}/{role}")
    leaving = as_in_training(method).trace(passes, method.loss.statistics)
    for layer, maps in (("first", leaving[1]), ("second_to_last", leaving[-2])):
        stacked = torch.stack([m[rows] for m in maps]).movedim(2, -1).double().cpu()
        points, shares = principal_components(stacked, count=1)  # (4, N, h, w, 1)
        arrays[f"{layer}/explained"] = np.round(shares.numpy(), 4)
        for name, plane in zip(names, points[..., 0], strict=True):
            arrays[f"{layer}/{name}"] = compact(plane)
    return arrays


@torch.no_grad()
def consistency(inputs: FigureInputs) -> Arrays:
    """What the cross-task terms do in training, and whether mappings end in a constant.

    Roles are ``with`` and ``without`` the regularizer. ``<role>/epochs`` (E,), and over them
    ``<role>/consistency`` and, where there is one, ``<role>/regularizer``: cosine distances, the
    terms of the history without their weights, a mean over pairs, which are K - 1 an image with
    one label. After training, on test images, for every ordered pair of ``pairs`` (P, 2):
    ``<role>/same`` (P,), the distance between m(y^_s) and m(y_t) of the same image, ``/other``
    that of different ones, and ``/feature`` that to the image's own feature. A constant mapping
    has no distance between different images. ``<role>/two_features`` is how far features of
    different images are apart: what an embedding could retain of an image.
    """
    tasks = inputs.test.tasks
    arrays = describe(tasks) | {"pairs": np.array(list(permutations(tasks.names, 2)))}
    indices = evenly_spaced(len(inputs.test), STATISTICS_IMAGES)
    batch = inputs.load(indices)
    for role, history in inputs.histories.items():
        method, loss = inputs.methods[role], inputs.methods[role].loss
        pairs = len(method.tasks) - 1
        weight = method.loss.weight * pairs
        terms = {"consistency": ("cross_task", weight)}
        if method.loss.regularize:  # two distances a pair
            terms["regularizer"] = ("regularizer", 2 * weight * method.loss.regularizer)
        arrays[f"{role}/epochs"] = np.array([entry["epoch"] for entry in history])
        for name, (term, divisor) in terms.items():
            values = np.array([entry["terms"][term] for entry in history]) / divisor
            arrays[f"{role}/{name}"] = np.round(values, 6)
        output = method.net(batch.images)
        f = output.bottleneck.float()
        apart = loss.compare(f, f.roll(1, dims=0)).double().mean()
        arrays[f"{role}/two_features"] = np.round(float(apart), 6)
        distances = [pair_distances(method, s, t, output, batch) for s, t in method.tasks.pairs()]
        for name in distances[0]:
            arrays[f"{role}/{name}"] = np.round([pair[name] for pair in distances], 6)
    return arrays


# ------------------------------------------------------------------- drawings


@styled
def draw_mapped(arrays: Arrays) -> Drawing:
    """Image by image: maps of the pair, and below them what two layers of the mapping made of them.

    A layer has one color map over all its panels, because they share their component.
    """
    titles, columns = titles_of(arrays), {"ours": "prediction", "truth": "label"}
    groups = [("", [("images", "")])]
    for task, words in zip(map(str, arrays["pair"]), ("source $s$", "target $t$"), strict=True):
        maps = [(f"{task}/{role}", label) for role, label in columns.items()]
        groups.append((f"{titles[task]}: {words} of the pair", maps))
    keys = [key for _, group in groups[1:] for key, _ in group]
    ranges = {}
    for layer in LAYERS:
        values = np.concatenate([arrays[f"{layer}/{key}"].ravel() for key in keys])
        ranges[layer] = np.percentile(values.astype(float), [1, 99])
    images, *size = arrays["images"].shape[:3]

    def paint(arrays: Arrays, key: str, row: int) -> Image | None:
        i, below = divmod(row, 1 + len(LAYERS))
        if not below:
            return map_to_rgb(arrays, key, i)
        layer = list(LAYERS)[below - 1]
        if key == "images":
            return None
        return scalar_to_rgb(arrays[f"{layer}/{key}"][i], SCORE_MAP, *ranges[layer])

    shape = (images * (1 + len(LAYERS)), *size)
    grid = Grid(arrays=arrays, groups=groups, paint=paint, legend=keys, shape=shape)
    sheet, (spans,), top = draw_grids(grid, panel=1.9, below=0.35)
    left, wide = spans[""]
    _, tall = grid.rows_and_height(wide)
    for i in range(images):
        for number, (layer, words) in enumerate(LAYERS.items(), start=1):
            middle = HEADER + (i * (1 + len(LAYERS)) + number) * (tall + GAP) + tall / 2
            share = 100 * float(arrays[f"{layer}/explained"][0])
            positions = shape_text(arrays[f"{layer}/{keys[0]}"].shape[1:])
            lines = (words, f"{positions} positions", f"{share:.0f} % of the variance")
            for at, line in zip((-0.19, 0, 0.19), lines, strict=True):
                how = {"weight": "bold"} if line == words else {"fontsize": 8, "color": QUIET}
                sheet.text(left + wide, middle + at, line, ha="right", va="center", **how)
    words = "low to high: first principal component over the channels, one for all maps of a layer"
    ramp, middle = np.linspace(0, 1, 256)[None], sheet.width / 2
    sheet.picture(middle - 3.6, top + 0.13, 1.4, 0.1, ramp, cmap=SCORE_MAP)
    sheet.text(sheet.width / 2 - 2.1, top + 0.18, words, va="center", fontsize=8, color=QUIET)
    return sheet.figure


@styled
def draw_consistency(arrays: Arrays) -> Drawing:
    """Distances while training, then, for every pair, within and between images.

    On logarithmic axes, for collapse is a matter of magnitude.
    """
    headings = ["While training", *(f"Test images, {role} $R$" for role in VARIANTS)]
    sheet, ((training,), *columns) = chart_row(headings, 2.6, wide=2.6, gap=1.15, below=1.05)
    curves, how = {}, {"colors": [], "dashes": [], "markers": []}
    for role, color, marker in zip(VARIANTS, CYCLE, MARKERS, strict=False):
        terms = {"consistency": (f"$L_{{ct}}$ {role} $R$", ""), "regularizer": ("$R$", (3, 2))}
        for term, (words, dashes) in terms.items():
            if f"{role}/{term}" in arrays:
                curves[words] = arrays[f"{role}/epochs"], _positive(arrays[f"{role}/{term}"])
                for key, value in zip(how, (color, dashes, marker), strict=True):
                    how[key].append(value)
    draw_curves(training, curves, linewidth=1.6, markersize=5, **how)
    training.set(xlabel="epoch", ylabel="cosine distance, mean over pairs", yscale="log")
    training.set_ylim(_decades([values for _, values in curves.values()]))
    training.yaxis.set_minor_formatter(NullFormatter())
    training.xaxis.set_major_locator(MaxNLocator(integer=True))
    titles = titles_of(arrays)
    pairs = [f"{titles[str(s)]} → {titles[str(t)]}" for s, t in arrays["pairs"]]
    keys = [f"{role}/{name}" for role in VARIANTS for name in (*MARKS, "two_features")]
    limits = _decades([_positive(arrays[key]) for key in keys])
    for (axes,), role in zip(columns, VARIANTS, strict=True):
        values = [_positive(arrays[f"{role}/{name}"]) for name in MARKS]
        kinds = np.repeat([*MARKS.values()], len(pairs))
        shapes = {"style": kinds, "markers": ["D", "o", "^"], "size": kinds, "sizes": [60, 18, 45]}
        colors = {"hue": kinds, "palette": [CYCLE[5], CYCLE[0], CYCLE[4]], "edgecolor": INK}
        rows = np.tile(np.arange(len(pairs)), len(MARKS))
        seaborn.scatterplot(x=np.concatenate(values), y=rows, **shapes, **colors, ax=axes)
        axes.get_legend().remove()  # below the sheet there is one for all
        dashed = {"color": QUIET, "linestyle": (0, (3, 2)), "linewidth": 1.2}
        reference = float(_positive(arrays[f"{role}/two_features"]))
        axes.axvline(reference, label="features of two images", **dashed)
        axes.set(xscale="log", xlim=limits, ylim=(len(pairs) - 0.5, -0.5), xlabel="cosine distance")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(range(len(pairs)), pairs, fontsize=7)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    legend_below(sheet, ncols=4)
    return sheet.figure


def _positive(values: Image) -> Image:
    """What a logarithmic axis can show: rounding leaves zeros where a mapping has collapsed."""
    return np.maximum(values, SMALLEST)


def _decades(values: Sequence[Image]) -> tuple[float, float]:
    """The powers of ten around positive values, with room for a marker."""
    every = np.concatenate([np.ravel(part) for part in values])
    low, high = np.log10([every.min() / 1.3, every.max() * 1.3])
    return float(10.0 ** np.floor(low)), float(10.0 ** np.ceil(high))


# ------------------------------------------------------------------- register

_XTC = ("xtc/table2", "one/Ours")


def _figure(number: int, **fields: Any) -> Figure:
    return Figure(name=f"fig{number}", paper="xtc", source=f"[XTC, Fig. {number}]", **fields)


FIGURES: tuple[Figure, ...] = (
    _figure(
        1,
        title="Multi-task learning from partial labels",
        caption="With every label each decoder learns from each image (a), with partial labels "
        "only from the images that carry its task (b), and XTC compares the prediction of "
        "an unlabeled task s with the label of another task t in a space that they share (c).",
        alt="Three panels: images with all labels above a network, the same images with one "
        "label each, and a predicted class map and a surface normal label that two "
        "mappings send into a joint space.",
        arrays=diagrams.overview,
        draw=diagrams.draw_fig1,
        runs={"ours": _XTC},
    ),
    _figure(
        2,
        title="Cross-task consistency, with the shapes of a traced forward pass",
        caption="A shared extractor with a decoder for each task (a), the joint space of a pair "
        "with its consistency and the regularizer that ties both embeddings to the image's "
        "feature (b), and the one mapping network that a pair's scale and shift condition (c); "
        "every shape and count was read off the network while this image passed.",
        alt="Diagram of the method from an image over predictions to embeddings and losses, "
        "with tensor shapes at every box.",
        arrays=diagrams.architecture,
        draw=diagrams.draw_fig2,
        runs={"ours": _XTC},
    ),
    _figure(
        3,
        title="What the mapping makes of predictions and labels",
        caption="Test images with prediction and label of the pair segmentation and normals, and "
        "below them what leaves the first and the second-to-last stage of the mapping, "
        "reduced to the first principal component over the channels of all four maps.",
        alt="Two room images, each followed by predicted and true class maps and normals, and "
        "below each of these two heatmaps of features, a fine and a coarse one.",
        arrays=mapped_outputs,
        draw=draw_mapped,
        runs={"ours": _XTC},
    ),
    _figure(
        4,
        title="Predictions of SL, SSL and XTC from one label per image",
        caption="Test images from all over the split with the truth and the predictions of "
        "supervised learning (SL), semi-supervised learning (SSL) and XTC from one label "
        "per image; each score is of that image alone.",
        alt="Grid of room images, each followed by its true and three predicted class maps, depth "
        "maps and surface normal maps, with a score in every prediction.",
        arrays=partial(qualitative, images=EXAMPLES),
        draw=partial(draw_qualitative, methods=METHODS),
        runs={
            "sl": ("xtc/table2", "one/Supervised Learning"),
            "ssl": ("xtc/table2", "one/Semi-supervised Learning"),
            "ours": _XTC,
        },
    ),
    Figure(
        name="consistency",
        paper="xtc",
        title="Do mappings collapse without the regularizer?",
        source="[XTC, Table 6]",
        caption="Consistency and regularizer as cosine distances over the epochs, and after "
        "training the distances between prediction and label of a pair in the joint space, "
        "of the same and of another test image: a mapping that has collapsed to a constant "
        "has neither.",
        alt="A line chart of cosine distances over epochs with and without the regularizer, "
        "and two dot plots with a line for each pair of tasks.",
        arrays=consistency,
        draw=draw_consistency,
        runs={"with": ("xtc/table6", "one/Ours"), "without": ("xtc/table6", "one/Ours (w/o reg)")},
    ),
    Figure(
        name="storm",
        paper="xtc",
        title="The storm that XTC begins with, and what remains of it",
        source="[beyond XTC: its first steps]",
        caption="Over the steps of a training the length of the gradient at the backbone, the "
        "length that Adam remembers, and how far weights go in a step, with the number of steps "
        "that the released code takes as a dotted line; below, what pulls how hard before anything "
        "is learned, how a gradient grows on its way back through the mapping network, and what "
        "trained mapping networks still tell apart.",
        alt="Three line charts over training steps on logarithmic axes with a curve for each of "
        "five trainings, and three bar charts of gradient lengths and variances.",
        arrays=storm.storm,
        draw=storm.draw_storm,
        runs={
            "labels": ("companion/consistency", "Supervised Learning"),
            "labels_unclipped": ("companion/consistency", "SL, unclipped"),
            "xtc": ("companion/consistency", "Ours"),
            "ramped_unclipped": ("companion/consistency", "Ours, ramped up, unclipped"),
            "xtc_unclipped": ("companion/consistency", "Ours, unclipped"),
        },
    ),
)
