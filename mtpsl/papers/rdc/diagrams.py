"""Figures 1 to 3 of RDC: what agrees with what, the way to it, and the Gaussians of one region.

Shapes are those of a training step, read off while it runs; maps, Gaussians and distances are those
of a trained network. The paper's letters are the other way round: here s has no label and t has.
"""

from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.engine import seeded
from mtpsl.papers.rdc.compared import (
    Compared,
    compare,
    ellipses,
    found,
    matrix,
    mosaic,
    outline,
    with_regions,
)
from mtpsl.papers.rdc.method import RDC
from mtpsl.papers.xtc.diagrams import PAIR
from mtpsl.report.arrays import (
    SCENES,
    Arrays,
    FigureInputs,
    describe,
    most_varied,
    shown,
    true_maps,
)
from mtpsl.report.arrays import picture as pixels
from mtpsl.report.diagram import Diagram
from mtpsl.report.maps import count_of, map_to_rgb, shape_of, shape_text, titles_of
from mtpsl.report.style import (
    CYCLE,
    INK,
    MAPPING,
    PAIRWISE,
    QUIET,
    SHARED,
    SMALL,
    TASK,
    Cell,
    Image,
    box,
    missing,
    picture,
    remark,
)

REGIONS = CYCLE[4], CYCLE[5]  # colors of two of them
SIDES = ("s", "t")


# -------------------------------------------------------------------- arrays


@torch.no_grad()
def agreement(inputs: FigureInputs) -> Arrays:
    """Figure 1: distances between images, and between regions of one, in a pair of tasks.

    ``images`` (2, H, W, 3), of those with the label of the pair's target the two that show most
    classes, ``<source>/ours`` and ``<target>/truth`` (2, H, W, ...). ``image/...`` is what
    ``Compared.arrays`` says of each image as one region, ``region/...`` of the first one's regions.
    """
    method, batch, compared = _scenes(inputs)
    arrays = _show(method, batch, compared.only(0, 1))
    for name, part in (("image", compared.only(0, 1).whole()), ("region", compared.only(0))):
        arrays |= {f"{name}/{key}": values for key, values in part.arrays().items()}
    return arrays


@torch.no_grad()
def architecture(inputs: FigureInputs) -> Arrays:
    """Figure 2: a training step, with the shape of everything that passes through.

    ``images`` (1, H, W, 3), ``<task>/ours`` (1, H, W, ...), the target's ``/truth``, and
    ``region/...`` as in Figure 1. ``shape/<name>`` is what ``trace`` saw, and what becomes of this
    image's regions; ``parameters/<name>`` how many numbers a part learns. ``loss/contrast`` is
    Eq. 6 of the step, ``weight`` what it is multiplied by at the end of training, ``provider`` what
    divides images.
    """
    method, batch, compared = _scenes(inputs)
    one, loss = compared.only(0), method.loss
    arrays = _show(method, batch, one)
    arrays |= {f"region/{key}": values for key, values in one.arrays().items()}
    D, *size = one.maps.shape[2:]
    M = len(arrays["region/sizes"])
    shapes = {"contrast": (D, *size), "mean": (M, D), "covariance": (M, D, D), "distance": (M, M)}
    arrays |= {f"shape/{name}": np.array(shape) for name, shape in shapes.items()}
    parts = {"backbone": method.net.backbone, "mapping": loss.mapping}
    parts |= {t.name: method.net.heads[t.name] for t in method.tasks}
    learned = {name: part.parameters() for name, part in parts.items()}
    for name, each in (learned | {"film": loss.mapping.film_parameters()}).items():
        arrays[f"parameters/{name}"] = np.array(sum(p.numel() for p in each))
    (experiment,) = inputs.experiments.values()
    arrays |= {"weight": np.array(loss.weight), "provider": np.array(experiment.regions)}
    return arrays | trace(method, batch)


def trace(method: RDC, batch: Batch) -> Arrays:
    """What passes through a training step: ``shape/...`` without the batch, ``loss/contrast``.

    Shapes of ``image``, ``features``, ``<task>`` (predictions), and ``map`` (what leaves the
    mapping network); the loss is without its weight.
    """
    step, seen = deepcopy(method).train(), {}
    modules: dict[str, nn.Module] = {"net": step.net, "backbone": step.net.backbone}
    with ExitStack() as hooks:
        for name, module in (modules | {"mapping": step.loss.mapping}).items():
            note = lambda *passing, name=name: seen.update({name: passing[-1]})  # noqa: E731
            hooks.enter_context(module.register_forward_hook(note))
        with seeded(batch.images.device, "step"):  # Gumbel noise
            terms = step.training_step(*[batch] * step.views, progress=1.0)
    maps: dict[str, Tensor] = {"image": batch.images, "features": seen["backbone"].decoder}
    maps |= seen["net"].predictions | {"map": seen["mapping"][0]}
    contrast = float(terms["region_contrast"]) / step.loss.weight
    arrays = {f"shape/{name}": np.array(m.shape[1:]) for name, m in maps.items()}
    return arrays | {"loss/contrast": np.round(contrast, 4)}


@torch.no_grad()
def one_region(inputs: FigureInputs) -> Arrays:
    """Figure 3: of one image everything that Figure 1 has of its regions, and which is shown.

    ``chosen`` is the largest region that does not touch the border of the image.
    """
    method, batch, compared = _scenes(inputs)
    one = compared.only(0)
    arrays, values = _show(method, batch, one), one.arrays()
    numbers = values["numbers"][0]
    edge = {*numbers[[0, -1]].ravel().tolist(), *numbers[:, [0, -1]].ravel().tolist()}
    order = np.argsort(-values["sizes"], kind="stable").tolist()
    inner = [number for number in order if number not in edge]
    arrays["chosen"] = np.array([*inner, *order][0])
    return arrays | {f"region/{key}": array for key, array in values.items()}


def _scenes(inputs: FigureInputs) -> tuple[RDC, Batch, Compared]:
    """The method, the first test images under the one-label rule, and what is compared of them.

    Images that have the pair follow each other by how many classes they show.
    """
    (method,) = inputs.methods.values()
    indices = range(min(len(inputs.test), SCENES))
    order = most_varied(method.tasks, true_maps(method.tasks, inputs.load(indices)))
    batch = with_regions(inputs, indices, "one_label")
    compared = compare(method, batch)
    rows = sorted(range(len(compared.rows)), key=lambda i: order.index(compared.rows[i]))
    return method, batch, compared.only(*rows)


def _show(method: RDC, batch: Batch, compared: Compared) -> Arrays:
    """The images that are compared, their predictions, and the label of the target."""
    rows, t = list(compared.rows), method.tasks[PAIR[1]]
    output = method.net(batch.images)
    arrays = describe(method.tasks) | {"pair": np.array(PAIR), "index": np.array(rows)}
    arrays |= {f"{u.name}/ours": shown(u, output.predictions[u.name])[rows] for u in method.tasks}
    arrays[f"{t.name}/truth"] = shown(t, batch.targets[t.name], batch.valid[t.name])[rows]
    arrays |= {f"{u.name}/truth": arrays[f"{u.name}/ours"] for u in method.tasks if u != t}
    return arrays | {"images": pixels(batch.images)[rows]}


# ------------------------------------------------------------------ Figure 1


def draw_fig1(arrays: Arrays) -> Figure:
    """Two images of which each is compared with itself, then two regions of which each is."""
    diagram, maps, two = Diagram(picture=0.7), _maps(arrays), _largest(arrays, 2)
    grid = diagram.grid("(a) Views of an image")
    for i, color in enumerate(REGIONS):
        for side in SIDES:
            grid.row(f"image{i} view{i}{side} plane")
            diagram[f"view{i}{side}"] = picture(maps[side][i], color)
            diagram.join(f"image{i} -|-> view{i}{side} -> plane", color)
        diagram[f"image{i}"] = picture(arrays["images"][i], color, above=f"image {i + 1}")
    grid.row(". . words")
    everything = np.arange(2), arrays["image/distance"], "an image and itself"
    diagram["plane"], diagram["words"] = _plane(arrays, "image", *everything)
    grid = diagram.grid("(b) A region in two tasks", beside=True)
    colors, numbers = dict(zip(two, REGIONS, strict=False)), arrays["region/numbers"][0]
    for side, name in _names(arrays).items():
        grid.row(f"scene region_{side} plane_b")
        drawn = outline(maps[side][0], numbers, colors)
        diagram[f"region_{side}"] = picture(drawn, wide=1.9, below=name)
        diagram.join(f"scene -|-> region_{side} -> plane_b", MAPPING)
    scene, words = outline(arrays["images"][0], numbers, colors), "its two largest regions"
    diagram["scene"] = picture(scene, wide=1.9, above="image 1", below=words)
    grid.row(". . words_b")
    known = two, arrays["region/distance"][np.ix_(two, two)], "a region and itself"
    diagram["plane_b"], diagram["words_b"] = _plane(arrays, "region", *known)
    return diagram.draw()


def _plane(arrays: Arrays, name: str, two: Any, distance: Image, same: str) -> tuple[Cell, Cell]:
    """The Gaussians of two images or regions in both maps, and how far they are apart."""
    mean, S = (arrays[f"{name}/{key}"][:, two] for key in ("mean", "covariance"))
    colors, dashed = [*REGIONS[: len(two)]] * 2, np.repeat([False, True], len(two))
    drawn = ellipses(mean.reshape(-1, 2), S.reshape(-1, 2, 2), colors, dashed)
    own, others = distance.diagonal(), distance[~np.eye(len(distance), dtype=bool)]
    lines = [f"{same}: W = {_values(own)}", f"and the other: W = {_values(others)}"]
    return picture(drawn, wide=3.2), remark(*lines, *_key(arrays, name), size=SMALL)


# ------------------------------------------------------------------ Figure 2


def draw_fig2(arrays: Arrays) -> Figure:
    """From the image through network, mapping and regions to the matrix of distances."""
    diagram, titles = Diagram(picture=0.74), titles_of(arrays)
    shape, count, maps = partial(shape_of, arrays), partial(count_of, arrays), _maps(arrays)
    s, t = map(str, arrays["pair"])
    tasks = {"s": s, "u": next(task for task in titles if task not in (s, t)), "t": t}
    loss = rf"at the end $L = L_{{Sup}} + {float(arrays['weight']):g}\,L_{{RC}}$"
    heads = "(a) Network, and regions", "(b) One mapping", "(c) Gaussians of regions"
    grid = diagram.grid(*heads[:2], f"{heads[2]} | {loss}")
    for sign, task in tasks.items():
        f, g = (f"{letter}_{sign}" if sign in SIDES else "." for letter in "fg")
        grid.row(f"image extractor h_{sign} y_{sign} label_{sign} | a {f} | meet {g} W")
        head, predicted = rf"$h_{{\psi^{sign}}}$", map_to_rgb(arrays, f"{task}/ours", 0)
        diagram[f"h_{sign}"] = box(head, count(task), color=TASK, above=titles[task])
        diagram[f"y_{sign}"] = picture(predicted, TASK, below=shape(task, rf"$\hat{{y}}^{sign}$"))
        diagram[f"label_{sign}"] = missing(predicted, "no label")
        diagram.join(f"extractor -|-> h_{sign}", SHARED)
        diagram.join(f"h_{sign} -> y_{sign}", TASK)
    grid.row(". provider provider regions . | . . | . . .")
    diagram["label_s"] = remark("no label", size=SMALL)
    diagram["label_t"] = picture(maps["t"][0], INK, below="$y^t$  label")
    diagram["image"] = picture(arrays["images"][0], below=("image $x$", shape("image")))
    above = "features", shape("features")
    diagram["extractor"] = box(r"$f_\phi$", count("backbone"), color=SHARED, above=above)
    divide = box(str(arrays["provider"]), "in place of SAM;", "not at test time", color=PAIRWISE)
    drawn = mosaic(arrays["images"][0], arrays["region/numbers"][0])
    below = f"{len(arrays['region/sizes'])} regions $r_i$"
    diagram["provider"], diagram["regions"] = divide, picture(drawn, PAIRWISE, below=below)
    words = count("mapping"), "", "γ, β of (s, t)", count("film"), "", "in training", "alone"
    diagram["a"] = box(r"$a_\theta$", *words, color=MAPPING, stretch=True)
    diagram["meet"] = box("by region", "mean,", "covariance", color=PAIRWISE, stretch=True)
    most = _largest(arrays, len(CYCLE) - 1)
    for k, side in enumerate(SIDES):
        below = shape("map", f"$f_{side}$"), f"at {shape('contrast')}"
        diagram[f"f_{side}"] = picture(arrays["region/features"][k][0], MAPPING, below=below)
        mean, S = (arrays[f"region/{key}"][k, most] for key in ("mean", "covariance"))
        drawn = ellipses(mean, S, CYCLE[: len(most)], [bool(k)] * len(most))
        above = rf"$\mathcal{{N}}(\mu_{{i,{side}}}, \Sigma_{{i,{side}}})$"
        below = shape("mean", r"$\mu$"), shape("covariance", r"$\Sigma$")
        diagram[f"g_{side}"] = picture(drawn, PAIRWISE, above=above, below=below)
        diagram.join(f"a -> f_{side} -> meet -> g_{side} -|-> W", MAPPING)
    drawn = matrix(arrays["region/distance"], arrays["region/sizes"])
    below = shape("distance", "$W$"), "near: bright"
    diagram["W"] = picture(drawn, PAIRWISE, wide=1.9, above=_retrieved(arrays), below=below)
    diagram.join("image -> extractor; y_s - label_s -> a; label_t -> a")
    diagram.join("image |-> provider -> regions -|> meet", PAIRWISE)
    diagram.join("y_t <-> label_t", TASK, loss="$L_{Sup}$")
    contrast = f"$L_{{RC}}$ = {float(arrays['loss/contrast']):.2f}"
    diagram.join("g_s <-> g_t", PAIRWISE, loss=contrast)
    return diagram.draw()


# ------------------------------------------------------------------ Figure 3


def draw_fig3(arrays: Arrays) -> Figure:
    """A region, what two maps hold in it, its two Gaussians, and all distances of its image."""
    diagram, maps, names = Diagram(picture=1.3), _maps(arrays), _names(arrays)
    number, numbers = int(arrays["chosen"]), arrays["region/numbers"][0]
    image, sizes = arrays["images"][0], arrays["region/sizes"]
    heads = "(a) A region", "(b) In two tasks", "(c) Mapped", "(d) Its Gaussians"
    grid = diagram.grid(*heads, "(e) All distances")
    own, others = {number: REGIONS[0]}, [i for i in range(len(sizes)) if i != number]
    diagram["image"] = picture(mosaic(image, numbers), below=f"{len(sizes)} regions")
    below = f"the largest inside: {sizes[number]} pixels"
    diagram["cut"] = picture(outline(image, numbers, own, 0.75), below=below)
    for k, (side, first) in enumerate(zip(SIDES, ("image", "cut"), strict=True)):
        grid.row(f"{first} | y_{side} | f_{side} | plane | W")
        drawn = outline(maps[side][0], numbers, own)
        diagram[f"y_{side}"] = picture(drawn, TASK, below=names[side])
        drawn = outline(arrays["region/features"][k][0], numbers, own)
        diagram[f"f_{side}"] = picture(drawn, MAPPING, below=f"$f_{side}$: 3 principal components")
        diagram.join(f"y_{side} -> f_{side} -> plane", MAPPING)
    mean, S = (
        np.concatenate([arrays[f"region/{key}"][1, others], arrays[f"region/{key}"][:, number]])
        for key in ("mean", "covariance")
    )
    colors, dashed = [QUIET] * len(others) + [REGIONS[0]] * 2, [False] * (len(sizes)) + [True]
    grid.row("region | tasks | mapped | words | about")
    size = shape_text(numbers.shape)
    diagram["region"] = remark("above: all of them; white:", "no label, or too small", size=SMALL)
    diagram["tasks"] = remark("the line follows", "the same pixels", size=SMALL)
    diagram["mapped"] = remark("one set of components;", f"{size} positions", size=SMALL)
    distance, nearest = arrays["region/distance"], "no other"
    if others:
        nearest = f"W = {_values(distance[number, others].min(keepdims=True))} or more"
    lines = (
        f"pulled together: W = {_values(distance[number, [number]])}",
        f"pushed apart: {nearest}",
    )
    key = "gray: labels of other regions", *_key(arrays, "region")
    diagram["words"] = remark(*lines, *key, size=SMALL)
    diagram["plane"] = picture(ellipses(mean, S, colors, dashed), PAIRWISE, wide=1.65)
    lines = "rows: predictions, columns: labels", "large regions first, near: bright"
    diagram["about"] = remark(_retrieved(arrays), *lines, "frames: a region and itself", size=SMALL)
    diagram["W"] = picture(matrix(distance, sizes), PAIRWISE, wide=1.65)
    return diagram.draw()


def _names(arrays: Arrays) -> dict[str, str]:
    titles = titles_of(arrays)
    s, t = (titles[str(task)] for task in arrays["pair"])
    return {"s": f"$s$: {s}, predicted", "t": f"$t$: {t}, label"}


def _maps(arrays: Arrays) -> dict[str, list[Image]]:
    """The predictions of the source and the labels of the target, as they are shown."""
    s, t = (str(task) for task in arrays["pair"])
    keys, each = {"s": f"{s}/ours", "t": f"{t}/truth"}, range(len(arrays["images"]))
    return {side: [map_to_rgb(arrays, key, i) for i in each] for side, key in keys.items()}


def _largest(arrays: Arrays, count: int) -> list[int]:
    return np.argsort(-arrays["region/sizes"], kind="stable")[:count].tolist()


def _values(distances: Image) -> str:
    return " and ".join(f"{value:.3g}" for value in distances)


def _key(arrays: Arrays, name: str) -> tuple[str, str]:
    share = 100 * float(arrays[f"{name}/explained"].sum())
    return "solid: prediction, dashed: label", f"in 2 directions, {share:.0f} % of the variance"


def _retrieved(arrays: Arrays) -> str:
    hits = found(arrays["region/distance"])
    return f"own label nearest: {hits.sum()} of {len(hits)}"
