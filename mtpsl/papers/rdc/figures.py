"""The figures of [RDC]: what each computes, draws and says, and the runs that it needs.

The diagrams are in ``diagrams``.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from mtpsl.data import open_dataset
from mtpsl.engine import seeded
from mtpsl.metrics import NormalErrors
from mtpsl.models.backbone import to_size
from mtpsl.papers import build_method
from mtpsl.papers.rdc import diagrams, printed
from mtpsl.papers.rdc.compared import RIGHT, WRONG, compare, found, matrix, mosaic, with_regions
from mtpsl.papers.rdc.printed import GAUSSIAN, PATCH, REGION, XTC_HRNET
from mtpsl.report.arrays import (
    Arrays,
    FigureInputs,
    describe,
    evenly_spaced,
    most_varied,
    picture,
    qualitative,
    true_maps,
)
from mtpsl.report.figure import Figure
from mtpsl.report.plots import chart_row, draw_curves, draw_qualitative, legend_below
from mtpsl.report.style import CYCLE, MARKERS, QUIET, styled
from mtpsl.runs.network import build

EXAMPLES = 2  # test images in Figures 4 to 6 [RDC]
METHODS = {"xtc": "XTC", "ours": "RDC"}  # role -> what its column is called
IMAGES = 32  # whose regions are looked for
WHEN = {"before": "untrained", "after": "trained"}
KINDS = WHEN | {"mismatched": "trained, labels of another image"}
DRIFT: dict[str, Any] = {"height": 32, "width": 64}  # of a training of seconds
TRAIN, TEST, STEPS, BATCH, RATE, EVERY = 24, 8, 60, 4, 3e-3, 4
LENGTHS = np.linspace(1, 5, 41)  # of the predictions that the released meter is given
CELLS = {  # what the paper prints of normals on HRNet18, with one label and with all
    "XTC": printed.TABLE1.rows[f"one/{XTC_HRNET}"][2],
    "RDC by patch": printed.TABLE1.rows[f"one/{PATCH}"][2],
    "MTL, all labels": printed.TABLE6.rows["MTL"][2],
    "RDC by region": printed.TABLE1.rows[f"one/{REGION}"][2],
    "RDC, all labels": printed.TABLE6.rows[GAUSSIAN][2],
}


# -------------------------------------------------------------------- arrays


@torch.no_grad()
def retrieval(inputs: FigureInputs) -> Arrays:
    """Which regions of test images are nearest to themselves in another task's label.

    The pair is that of the diagrams. ``sizes`` (R,) in pixels of the map that is compared, of all
    regions of all images, and ``before/found``, ``after/found`` (R,): whether no other region's
    label is as near to the prediction, by an untrained and by the trained network; and in
    ``mismatched/found``, by the trained one, if labels are those of another image: what is found
    then is where a region lies and not what it shows. ``chance`` is what a guess finds. Of the
    image that shows most classes ``images`` (1, H, W, 3), ``numbers`` (h, w), ``example/sizes``
    (M,) and ``<when>/distance`` (M, M).
    """
    (method,), (experiment,) = inputs.methods.values(), inputs.experiments.values()
    batch = with_regions(inputs, evenly_spaced(len(inputs.test), IMAGES), "full")
    example = most_varied(method.tasks, true_maps(method.tasks, batch))[0]
    arrays = describe(method.tasks) | {"index": batch.index[[example]].cpu().numpy()}
    arrays["images"] = picture(batch.images)[[example]]
    untrained = build(experiment).to(inputs.device).train()  # its BatchNorm has seen nothing yet
    networks = {"before": untrained, "after": method, "mismatched": method}
    for kind, network in networks.items():
        compared = compare(network, batch)
        compared = compared.mismatched() if kind == "mismatched" else compared
        each = [compared.only(i).distances().cpu().numpy() for i in range(len(batch))]
        arrays[f"{kind}/found"] = np.concatenate([found(distance) for distance in each])
        arrays[f"{kind}/distance"] = np.round(each[example], 4)
    shown = compared.only(example).arrays()
    arrays |= {"numbers": shown["numbers"][0], "example/sizes": shown["sizes"]}
    counts = np.array([len(distance) for distance in each])
    arrays["chance"] = np.round((counts > 0).sum() / counts.sum(), 4)
    return arrays | {"sizes": compared.regions.sizes.cpu().numpy()}


def norm_drift(inputs: FigureInputs) -> Arrays:
    """A training of seconds of normals that nobody gives length 1, measured in two ways.

    Over ``steps`` (P,) ``length``, the mean length of predicted vectors on test images, and
    ``true`` and ``released``, their mean error in degrees by a meter that asks for directions
    alone and by the released one. With the directions of the end and all ``lengths`` (L,),
    ``rescaled`` (L,) is what the released meter says; ``cells`` (C,) are printed by the paper,
    ``cell_names`` say where.
    """
    splits = {"train": TRAIN, "test": TEST}
    train, test = (open_dataset("rooms13", s, **DRIFT, images=n) for s, n in splits.items())
    tasks = train.tasks.subset(("normals",))
    with seeded(torch.device("cpu"), "norm drift"):
        method = build_method("supervised", tasks, "hrnet_w18_small_v2", 0.125)
        optimizer = torch.optim.Adam(method.net.parameters(), lr=RATE)
        order = torch.randint(len(train), (STEPS, BATCH))

    def predict(images: Tensor) -> Tensor:
        features = method.net.backbone(images).decoder
        return to_size(method.net.heads["normals"](features), images)  # without ``Task.activate``

    held_out, points = test.load(range(len(test))), []
    target, mask = held_out.targets["normals"], held_out.mask("normals")
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            with torch.no_grad():
                raw = predict(held_out.images)  # in training mode: as the training sees them
            length = raw.norm(dim=1, keepdim=True)[mask].mean()
            points.append(
                (step, length, true_error(raw, target, mask), released_error(raw, target, mask))
            )
        if step == STEPS:
            break
        batch = train.load(order[step].tolist())
        valid = batch.mask("normals")
        normals = batch.targets["normals"].masked_fill(~valid, 0.0)
        # As released: the loss divides by the length, so that its gradient cannot shorten.
        loss = 1 - F.cosine_similarity(predict(batch.images), normals)[valid.squeeze(1)].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unit = F.normalize(raw, dim=1)
    rescaled = [released_error(unit * length, target, mask) for length in LENGTHS.tolist()]
    columns = zip(("steps", "length", "true", "released"), zip(*points, strict=True), strict=True)
    arrays = {name: np.round(np.array(values, dtype=float), 4) for name, values in columns}
    return (
        describe(tasks)
        | arrays
        | {
            "lengths": np.round(LENGTHS, 2),
            "rescaled": np.round(rescaled, 4),
            "cells": np.array([*CELLS.values()]),
            "cell_names": np.array([*CELLS]),
        }
    )


def true_error(prediction: Tensor, target: Tensor, mask: Tensor) -> float:
    """Mean angle in degrees; lengths do not matter."""
    metric = NormalErrors()
    metric.update(prediction, target, mask)
    return metric.compute()["mean_err"]


def released_error(prediction: Tensor, target: Tensor, mask: Tensor) -> float:
    """Mean arc cosine of the inner product, cut off at 1, in degrees [RDC, released code].

    That is an angle for vectors of length 1 alone; longer ones have smaller errors.
    """
    cosine = (prediction * target.masked_fill(~mask, 0.0)).sum(dim=1, keepdim=True)
    return float(torch.rad2deg(cosine.double().clamp(-1, 1).acos())[mask].mean())


# ------------------------------------------------------------------- drawings


@styled
def draw_retrieval(arrays: Arrays) -> Drawing:
    """All distances of an image before and after training, and what is found by size."""
    sheet, (*columns, (shares, counts)) = chart_row(
        ["", "", "Regions of many images"],
        2.45,
        1.63,
        wide=2.45,
        between=0.35,
        left=0.25,
        gap=0.72,
        below=1.1,
    )
    for (large, small), (when, words) in zip(columns, WHEN.items(), strict=True):
        hits = found(arrays[f"{when}/distance"])
        tints = {i: RIGHT if hit else WRONG for i, hit in enumerate(hits.tolist())}
        drawn = mosaic(arrays["images"][0], arrays["numbers"], tints)
        large.set_title(
            f"{words.capitalize()}: {hits.sum()} of {len(hits)} found", weight="bold", fontsize=9
        )
        rgb = matrix(arrays[f"{when}/distance"], arrays["example/sizes"])
        for axes, shown in ((large, rgb), (small, drawn)):
            axes.imshow(shown, aspect="auto")
            axes.set_axis_off()
    _by_size(shares, counts, arrays)
    words = (
        "above: rows are predictions, columns labels, large regions first; bright is near",
        "green: a region's own label is nearest; orange: that of another one is (dot)",
    )
    for line, text in enumerate(words):
        at = sheet.height - 0.87 + 0.17 * line
        sheet.text(0.25, at, text, va="center", fontsize=7.5, color=QUIET)
    middle = sheet.width - 0.25 - 2.45 / 2
    legend_below(sheet, middle, sheet.height - 0.17, ncols=2, columnspacing=1.2)
    return sheet.figure


def _by_size(shares: Axes, counts: Axes, arrays: Arrays) -> None:
    """The share of regions that are found, and how many there are, in bins of doubling size."""
    bins = np.floor(np.log2(arrays["sizes"])).astype(int)
    used, numbers = np.unique(bins, return_counts=True)
    middle = 2.0 ** (used + 0.5)
    curves = {
        words: (middle, np.array([100 * arrays[f"{when}/found"][bins == b].mean() for b in used]))
        for when, words in KINDS.items()
    }
    draw_curves(shares, curves, markers=MARKERS, linewidth=1.8)
    shares.axhline(
        100 * float(arrays["chance"]), color=QUIET, linestyle=":", linewidth=1.2, label="chance"
    )
    shares.set(ylabel="found (%)", ylim=(-4, 104))
    counts.bar(middle, numbers, width=middle * 0.62, color=CYCLE[5])
    counts.set(ylabel="regions", xlabel="pixels of the region")
    for axes in (shares, counts):
        axes.set(xscale="log", xlim=(2.0 ** used[0], 2.0 ** (used[-1] + 1)))
        axes.set_xticks(ticks := 2.0 ** np.arange(used[0], used[-1] + 2), [f"{t:g}" for t in ticks])
        axes.set_xticks([], minor=True)


@styled
def draw_norm_drift(arrays: Arrays) -> Drawing:
    """Length and errors over the steps; the released meter on the same directions, made longer."""
    heads = (
        "Length of predicted normals",
        "Their error, by two meters",
        "The same directions, longer",
    )
    sheet, ((length,), (errors,), (meter,)) = chart_row(heads, 2.4, wide=2.9, gap=0.85)
    steps, dotted = arrays["steps"], {"color": QUIET, "linestyle": ":", "linewidth": 1}
    draw_curves(length, {"length": (steps, arrays["length"])}, linewidth=2, colors=CYCLE[3:])
    length.set(xlabel="step", ylabel="mean length", ylim=(0, None))
    length.axhline(1, **dotted)
    two = {"angle": (steps, arrays["true"]), "released meter": (steps, arrays["released"])}
    draw_curves(errors, two, linewidth=2)
    errors.set(xlabel="step", ylabel="mean error (degrees)", ylim=(0, None))
    curve = {"released meter": (arrays["lengths"], arrays["rescaled"])}
    draw_curves(meter, curve, linewidth=2, colors=CYCLE[1:], dashes=[(5, 2)])
    meter.set(xlabel="length of every vector", xlim=(1, 5), ylim=(0, 1.08 * arrays["rescaled"][0]))
    for name, value in zip(arrays["cell_names"], arrays["cells"], strict=True):
        meter.axhline(value, **dotted)
        words = f"{name}: {value:.2f}"
        meter.text(4.95, value, words, fontsize=6.5, color=QUIET, ha="right", va="bottom")
    legend_below(sheet)
    return sheet.figure


# ------------------------------------------------------------------- register

_RDC = ("rdc/table1", f"one/{REGION}")


def _figure(number: int, **fields: Any) -> Figure:
    return Figure(name=f"fig{number}", paper="rdc", source=f"[RDC, Fig. {number}]", **fields)


def _predictions(number: int, words: str, data: str, table: str, *rows: str) -> Figure:
    """A figure of truth, XTC and RDC; ``words`` is the label setting, ``data`` what is shown."""
    kinds = "class maps and depth maps" if data == "street" else "class, depth and normal maps"
    return _figure(
        number,
        title=f"Predictions of XTC and RDC from {words} per image: {data}s",
        caption=f"Test images from all over the split with the truth and the predictions of XTC "
        f"and RDC, both on HRNet18, from {words} per image; each score is of that image alone.",
        alt=f"Grid of {data} images, each followed by its true and two predicted {kinds}, with a "
        "score in every prediction.",
        arrays=partial(qualitative, images=EXAMPLES),
        draw=partial(draw_qualitative, methods=METHODS),
        runs={role: (table, row) for role, row in zip(METHODS, rows, strict=True)},
    )


FIGURES: tuple[Figure, ...] = (
    _figure(
        1,
        title="What agrees: views of an image, or regions in two tasks",
        caption="Prediction and label of two images, each one distribution in the space of the "
        "mapping network (a), and of two regions of one image (b), as ellipses at one and two "
        "standard deviations in two principal directions, with the squared Wasserstein distances "
        "of the trained network.",
        alt="Two panels: two room images with a class map and a normal map each, and two regions "
        "of one room in both maps, with arrows to planes in which ellipses lie.",
        arrays=diagrams.agreement,
        draw=diagrams.draw_fig1,
        runs={"ours": _RDC},
    ),
    _figure(
        2,
        title="Region-aware distribution contrast, with the shapes of a training step",
        caption="A network with a head for each task, and regions of the image (a); one mapping "
        "network for prediction and label (b); and a Gaussian for each region in each of its two "
        "maps, which the contrast compares (c), where every shape, count and loss was read off "
        "while a training step ran.",
        alt="Diagram of the method from an image over predictions, feature maps and ellipses to a "
        "matrix of distances, with tensor shapes at every box.",
        arrays=diagrams.architecture,
        draw=diagrams.draw_fig2,
        runs={"ours": _RDC},
    ),
    _figure(
        3,
        title="The Gaussians of one region",
        caption="A region (a), in a prediction and in the label of another task (b), in the maps "
        "that the mapping network makes of them (c), as two Gaussians among those of the other "
        "regions (d), and the squared Wasserstein distances of all regions of the image, its own "
        "on the diagonal (e).",
        alt="A room image with one region cut out, the region outlined in a class map, a normal "
        "map and two feature maps, two ellipses among gray ones, and a square heatmap.",
        arrays=diagrams.one_region,
        draw=diagrams.draw_fig3,
        runs={"ours": _RDC},
    ),
    _predictions(4, "one label", "room", "rdc/table1", f"one/{XTC_HRNET}", f"one/{REGION}"),
    _predictions(
        5, "random labels", "room", "rdc/table1", f"random/{XTC_HRNET}", f"random/{REGION}"
    ),
    _predictions(6, "one label", "street", "rdc/table2", XTC_HRNET, GAUSSIAN),
    Figure(
        name="retrieval",
        paper="rdc",
        title="Which regions find themselves in another task's label",
        source="[beyond RDC: region by region]",
        caption="Squared Wasserstein distances between all regions of a test image in prediction "
        "and label, before and after training, with the regions that another one's label is "
        "nearer to outlined below, and for regions of many test images the share that is found, "
        "by size.",
        alt="Two square heatmaps with framed diagonals above two room images with outlined "
        "regions, a line chart of shares over region size, and a bar chart of counts.",
        arrays=retrieval,
        draw=draw_retrieval,
        runs={"ours": _RDC},
    ),
    Figure(
        name="norm_drift",
        paper="rdc",
        title="Normals grow longer, and the released meter calls that better",
        source="embedded data, rooms13, a training of seconds",
        caption="The mean length of predicted normals over the steps of a short training that "
        "never normalizes them, their mean angle to the truth and what the released meter says of "
        "it, and that meter on the last directions at lengths from 1 to 5, with printed cells as "
        "dotted lines.",
        alt="Three line charts: a rising length over steps, two error curves over steps, and a "
        "curve that falls with the length of vectors and crosses dotted lines.",
        arrays=norm_drift,
        draw=draw_norm_drift,
    ),
)
