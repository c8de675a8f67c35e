"""Figures 1 and 2 of XTC: what partial labels are, and what the method makes of them.

Shapes, counts and distances are those of the network, read off while an image passes it.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.data.labels import assign
from mtpsl.models.multitask import Output
from mtpsl.papers.xtc.mapping import MappingNet, Pass, label_input, prediction_input
from mtpsl.papers.xtc.method import XTC
from mtpsl.report.arrays import (
    SCENES,
    Arrays,
    FigureInputs,
    describe,
    most_varied,
    principal_components,
    shown,
    true_maps,
)
from mtpsl.report.arrays import picture as pixels
from mtpsl.report.diagram import Diagram
from mtpsl.report.maps import count_of, map_to_rgb, shape_of, titles_of
from mtpsl.report.style import (
    INK,
    MAPPING,
    PAIRWISE,
    SCORE_MAP,
    SHARED,
    SMALL,
    TASK,
    Cell,
    Image,
    box,
    missing,
    picture,
    remark,
    scalar_to_rgb,
)
from mtpsl.tasks import Task

EXAMPLES = 4  # images in Figure 1
PAIR = ("semseg", "normals")  # source and target of Figures 1 to 3 [XTC, Sec. 4.4]
SIDES = {"s": "source", "t": "target"}


# -------------------------------------------------------------------- arrays


@torch.no_grad()
def overview(inputs: FigureInputs) -> Arrays:
    """Figure 1: what full and partial labels are, and how a pair of tasks is compared.

    ``images`` (N, H, W, 3), for each task one that the one-label rule leaves its label, the pair's
    target first, and then again; ``<task>/truth`` their labels, ``labeled`` (N, T). The rest is of
    the first of them: ``<task>/ours`` (1, H, W, ...), and what ``_pair`` adds.
    """
    method, batch, order = _candidates(inputs)
    names = method.tasks.names
    labeled = assign("one_label", len(batch), names).labeled
    columns = sorted(range(len(names)), key=lambda column: names[column] != PAIR[1])
    best = [[i for i in order if labeled[i, column]][:2] for column in columns]
    chosen = [images[turn] for turn in range(2) for images in best if turn < len(images)][:EXAMPLES]
    arrays = _scenes(method, batch, chosen) | {"labeled": labeled[chosen].numpy()}
    return arrays | _pair(method, batch, chosen[0])


@torch.no_grad()
def architecture(inputs: FigureInputs) -> Arrays:
    """Figure 2: the method on one test image, with the shape of everything that passes through.

    ``images`` (1, H, W, 3) and ``<task>/truth`` of the image that shows most classes, and what
    ``_pair`` adds.
    """
    method, batch, order = _candidates(inputs)
    return _scenes(method, batch, order[:1]) | _pair(method, batch, order[0])


def _candidates(inputs: FigureInputs) -> tuple[XTC, Batch, list[int]]:
    """The method, the first test images, and an order to choose in: most classes first."""
    (method,) = inputs.methods.values()
    batch = inputs.load(range(min(len(inputs.test), SCENES)))
    return method, batch, most_varied(method.tasks, true_maps(method.tasks, batch))


def _scenes(method: XTC, batch: Batch, chosen: Sequence[int]) -> Arrays:
    """The chosen images of a batch with all their labels."""
    maps = true_maps(method.tasks, batch) | {"images": pixels(batch.images)}
    arrays = describe(method.tasks) | {name: values[chosen] for name, values in maps.items()}
    return arrays | {"index": np.array(chosen)}


def _pair(method: XTC, batch: Batch, chosen: int) -> Arrays:
    """What both diagrams show of image ``chosen`` of a batch.

    ``<task>/ours`` (1, H, W, ...) predictions; ``pair`` names source and target; ``embedding/
    source``, ``embedding/target`` and ``embedding/image`` (h, w) are m(y^_s), m(y_t) and f, each
    position of unit length, on the first principal component of all three; ``consistency`` (1,)
    and ``regularizer`` (2,) their cosine distances. ``shape/...`` is the shape, without the batch,
    of what leaves a module and ``parameters/...`` how many numbers it learns, both from
    ``trace_shapes``; ``weight`` and ``regularizer_weight`` are the method's.
    """
    tasks, loss, one = method.tasks, method.loss, slice(chosen, chosen + 1)
    s, t = (tasks[name] for name in PAIR)
    output = method.net(batch.images)
    arrays = {f"{u.name}/ours": shown(u, output.predictions[u.name])[[chosen]] for u in tasks}
    (m_s, m_t), f = embed(method, s, t, output.predictions, batch), output.bottleneck.float()
    stacked = torch.stack([m_s[chosen], m_t[chosen], f[chosen]])
    stacked = F.normalize(stacked, dim=1)  # as their cosines see them
    points, _ = principal_components(stacked.movedim(1, -1).double().cpu(), count=1)
    for name, plane in zip((*SIDES.values(), "image"), points[..., 0], strict=True):
        arrays[f"embedding/{name}"] = np.round(plane.numpy(), 4).astype(np.float32)
    distances = {
        "consistency": [loss.compare(m_s[one], m_t[one])],
        "regularizer": [loss.compare(m[one], f[one]) for m in (m_s, m_t)],
    }
    for name, values in distances.items():
        arrays[name] = np.round(torch.cat(values).double().cpu().numpy(), 6)
    arrays |= {"weight": np.array(loss.weight), "pair": np.array(PAIR)}
    arrays["regularizer_weight"] = np.array(loss.regularizer * loss.regularize)
    return arrays | trace_shapes(method, batch, s, t)


@torch.no_grad()
def trace_shapes(method: XTC, batch: Batch, source: Task, target: Task) -> Arrays:
    """What leaves every part of the method while the first image passes, seen by forward hooks.

    Returns:
        ``shape/image``, ``/bottleneck``, ``/decoder``, ``/<task>`` (predictions), ``/input/<task>``
        (what enters the mapping network), ``/layer/<task>`` (its input layers) and ``/stage/<i>``,
        each (dims,) without the batch; ``/gamma/<i>`` (pairs, channels) of a stage's last FiLM,
        absent without conditioning; ``parameters/backbone``, ``/<task>``, ``/layer/<task>``,
        ``/mapping`` and ``/film``.
    """
    net, mapping, seen = method.net, method.mapping, {}
    modules: dict[str, nn.Module] = {"backbone": net.backbone}
    modules |= {f"layer/{u.name}": mapping.inputs[u.name] for u in (source, target)}
    modules |= {f"stage/{i}": stage for i, stage in enumerate(mapping.stages)}

    with ExitStack() as hooks:
        for name, module in modules.items():
            note = lambda *passing, name=name: seen.update({name: passing[-1]})  # noqa: E731
            hooks.enter_context(module.register_forward_hook(note))
        output = net(batch.images)
        passes = pair_passes(method, source, target, output.predictions, batch)
        mapping(passes)
    features = seen.pop("backbone")
    maps = {"image": batch.images, "bottleneck": features.bottleneck, "decoder": features.decoder}
    maps |= output.predictions | {f"input/{p.task}": p.maps for p in passes}
    for name, leaving in seen.items():  # a stage returns a list, one entry a pass
        maps[name] = leaving if isinstance(leaving, Tensor) else leaving[0]
    arrays = {f"shape/{name}": np.array(m.shape[1:]) for name, m in maps.items()}
    for i, stage in enumerate(mapping.stages):
        films = [norm.gamma for norm in stage.norms if norm.gamma is not None]
        arrays |= {f"shape/gamma/{i}": np.array(gamma.shape) for gamma in films}
    parts = {"backbone": net.backbone, "mapping": mapping}
    parts |= {t.name: net.heads[t.name] for t in method.tasks}
    parts |= {f"layer/{name}": layer for name, layer in mapping.inputs.items()}
    learned = {name: part.parameters() for name, part in parts.items()}
    for name, each in (learned | {"film": mapping.film_parameters()}).items():
        arrays[f"parameters/{name}"] = np.array(sum(p.numel() for p in each))
    return arrays


# --------------------------------------------------------------- joint space


def pair_distances(
    method: XTC, source: Task, target: Task, output: Output, batch: Batch
) -> dict[str, float]:
    """Mean cosine distances of a pair's embeddings: ``same`` image, ``other``, ``feature``."""
    m_s, m_t = embed(method, source, target, output.predictions, batch)
    f, compare = output.bottleneck.float(), method.loss.compare
    distances = {
        "same": compare(m_s, m_t),
        "other": compare(m_s, m_t.roll(1, dims=0)),  # every image with the one before it
        "feature": torch.cat([compare(m_s, f), compare(m_t, f)]),
    }
    return {name: float(values.double().mean()) for name, values in distances.items()}


def embed(
    method: XTC, source: Task, target: Task, predictions: Mapping[str, Tensor], batch: Batch
) -> tuple[Tensor, Tensor]:
    """m(y^_s) and m(y_t) of all images of a batch, each (B, D, h, w).

    As in training, but for the Gumbel noise: classes are the likeliest ones.
    """
    passes = pair_passes(method, source, target, predictions, batch)
    m_s, m_t = as_in_training(method)(passes, method.loss.statistics)
    return m_s.float(), m_t.float()


def pair_passes(
    method: XTC, source: Task, target: Task, predictions: Mapping[str, Tensor], batch: Batch
) -> list[Pass]:
    """The prediction of the source and the label of the target, on their way into the mapping."""
    pair = (source.name, target.name)
    label_pair = pair if method.loss.pair_of == "pair" else pair[::-1]
    label = label_input(target, batch.targets[target.name], batch.mask(target.name))
    prediction = prediction_input(source, predictions[source.name])
    return [Pass(source.name, pair, prediction), Pass(target.name, label_pair, label)]


def as_in_training(method: XTC) -> MappingNet:
    """A copy of the mapping network that normalizes by the maps it is given.

    Running averages mix the passes of all tasks and pairs, which no pass ever is normalized by.
    """
    return deepcopy(method.mapping).train()


# ------------------------------------------------------------------ Figure 1


def draw_fig1(arrays: Arrays) -> Figure:
    """All labels, some labels, and what ties a prediction to the label of another task."""
    diagram, titles, shape = Diagram(picture=0.74), titles_of(arrays), partial(shape_of, arrays)
    _training_set(diagram, "(a) Every label", arrays, np.ones_like(arrays["labeled"]))
    _training_set(diagram, "(b) Partial labels", arrays, arrays["labeled"])
    source, target = map(str, arrays["pair"])
    grid = diagram.grid("(c) Joint pairwise task-space", beside=True)
    grid.row("image extractor tasks")
    grid.row("h_s   h_t       .")
    grid.row("y_s   y_t       label")
    grid.row("m_s   .         m_t")
    grid.row("z_s   .         z_t")
    grid.band("z_s z_t", PAIRWISE, f"joint space of (s, t), {shape(_stages(arrays)[-1])}")
    diagram["image"] = picture(arrays["images"][0], above=shape("image"))
    diagram["extractor"] = box(r"$f_\phi$", color=SHARED, above=shape("decoder"))
    lines = (f"s: {titles[source]},", "without label", f"t: {titles[target]},", "with label")
    diagram["tasks"] = remark(*lines, size=SMALL)
    for sign, task in (("s", source), ("t", target)):
        predicted = map_to_rgb(arrays, f"{task}/ours", 0)
        diagram[f"h_{sign}"] = box(rf"$h_{{\psi^{sign}}}$", color=TASK)
        diagram[f"y_{sign}"] = picture(predicted, TASK, below=shape(task, rf"$\hat{{y}}^{sign}$"))
        diagram[f"m_{sign}"] = box(rf"$m^{{{sign}\to st}}$", color=MAPPING)
        diagram[f"z_{sign}"] = _embedding(arrays, SIDES[sign], MAPPING)
    label = map_to_rgb(arrays, f"{target}/truth", 0)
    diagram["label"] = picture(label, INK, below=shape(target, "$y^t$"))
    diagram.join("image -> extractor")
    diagram.join("extractor |-|> h_s; extractor -> h_t", SHARED)
    diagram.join("h_s -> y_s; h_t -> y_t", TASK)
    diagram.join("y_t <-> label", TASK, loss="$L^t$")
    diagram.join("y_s -> m_s -> z_s; label -> m_t -> z_t", MAPPING)
    diagram.join("z_s <-> z_t", PAIRWISE, loss=_distance("L_{ct}", arrays["consistency"][0]))
    return diagram.draw()


def _training_set(diagram: Diagram, title: str, arrays: Arrays, labeled: Image) -> None:
    """A card of images with the labels that they have, above the networks that learn from them."""
    titles, (count, columns) = titles_of(arrays), labeled.shape
    card = f"/{len(diagram.cells)}"  # names differ from card to card
    grid = diagram.grid(title, beside=bool(diagram.grids))
    for row in ("head", *range(count), "net", "taught"):
        grid.row(" ".join(f"{row}/{column}{card}" for column in range(1 + columns)))
    for column, head in enumerate(("Image", *titles.values())):
        diagram[f"head/{column}{card}"] = remark(head, size=SMALL)
    for k, image in enumerate(arrays["images"]):
        diagram[f"{k}/0{card}"] = picture(image)
    diagram[f"net/0{card}"] = box(r"$f_\phi$", color=SHARED)
    diagram[f"taught/0{card}"] = remark("shared", "extractor", size=SMALL)
    diagram.join(f"{count - 1}/0{card} -> net/0{card}", SHARED)
    for i, task in enumerate(titles, 1):
        for k, has in enumerate(labeled[:, i - 1]):
            label = map_to_rgb(arrays, f"{task}/truth", k)
            diagram[f"{k}/{i}{card}"] = picture(label, INK) if has else missing(label, "no label")
        diagram[f"net/{i}{card}"] = box(rf"$h_{{\psi^{i}}}$", color=TASK)
        taught = f"{int(labeled[:, i - 1].sum())} of {count}"
        diagram[f"taught/{i}{card}"] = remark(taught, "labels", size=SMALL)
        diagram.join(f"{count - 1}/{i}{card} -> net/{i}{card}", TASK, loss=f"$L^{i}$")
        diagram.join(f"net/0{card} |_|> net/{i}{card}", SHARED)


# ------------------------------------------------------------------ Figure 2


def draw_fig2(arrays: Arrays) -> Figure:
    """The network, the joint space of a pair with its two losses, and the mapping inside."""
    diagram, signs, titles = Diagram(picture=0.84), _signs(arrays), titles_of(arrays)
    shape, count = partial(shape_of, arrays), partial(count_of, arrays)
    weight, share = float(arrays["weight"]), float(arrays["regularizer_weight"])
    loss = rf"$L = L^t + {weight:g}\,\sum_{{(s,t)}}(L_{{ct}} + {share:g}\,\sum R)$"
    heads = ("(a) Shared extractor, a decoder per task", "(b) Joint space of the pair (s, t)")
    grid = diagram.grid(heads[0], f"{heads[1]} | {loss}")
    for task, sign in signs.items():
        pair = f"m_{sign} z_{sign} ." if sign in SIDES else ". . ."
        grid.row(f"image extractor h_{sign} y_{sign} label_{sign} | {pair}")
        head, predicted = rf"$h_{{\psi^{sign}}}$", map_to_rgb(arrays, f"{task}/ours", 0)
        diagram[f"h_{sign}"] = box(head, count(task), color=TASK, above=titles[task])
        diagram[f"y_{sign}"] = picture(predicted, TASK, below=shape(task, rf"$\hat{{y}}^{sign}$"))
        diagram[f"label_{sign}"] = missing(predicted, "no label")
        diagram.join(f"extractor -|-> h_{sign}", SHARED)
        diagram.join(f"h_{sign} -> y_{sign}", TASK)
    grid.row(". . . . . | . . bottleneck")
    diagram["label_s"] = remark("no label", size=SMALL)
    label = map_to_rgb(arrays, f"{arrays['pair'][1]}/truth", 0)
    diagram["label_t"] = picture(label, INK, below="$y^t$  label")
    diagram["image"] = picture(arrays["images"][0], below=("image $x$", shape("image")))
    extractor = box(r"$f_\phi$", count("backbone"), color=SHARED, height=0.7)
    diagram["extractor"] = replace(extractor, above=("features", shape("decoder")))
    for sign, of, side in (("s", r"\hat{y}^s", "above"), ("t", "y^t", "below")):
        mapping = rf"m^{{{sign}\to st}}"
        caption = {side: shape(_stages(arrays)[-1], f"${mapping}({of})$")}
        diagram[f"m_{sign}"] = box(f"${mapping}$", color=MAPPING)
        diagram[f"z_{sign}"] = _embedding(arrays, SIDES[sign], MAPPING, **caption)
    feature = shape("bottleneck", r"$f_\phi(x)$")
    diagram["bottleneck"] = _embedding(arrays, "image", SHARED, below=feature)
    diagram.join("image -> extractor")
    diagram.join("extractor |-> bottleneck", SHARED)
    diagram.join("y_t <-> label_t", TASK, loss="$L^t$")
    diagram.join("y_s - label_s -> m_s -> z_s; label_t -> m_t -> z_t", MAPPING)
    diagram.join("z_s <-> z_t", PAIRWISE, loss=_distance("L_{ct}", arrays["consistency"][0]))
    for sign, value in zip(SIDES, arrays["regularizer"], strict=True):
        diagram.join(f"z_{sign} <-|> bottleneck", SHARED, loss=_distance("R", value))
    _mapping(diagram, arrays)
    return diagram.draw()


def _mapping(diagram: Diagram, arrays: Arrays) -> None:
    """The card of Figure 2 with the input layers, the stages, and the pair's scale and shift."""
    signs, (source, target) = _signs(arrays), map(str, arrays["pair"])
    shape, count = partial(shape_of, arrays), partial(count_of, arrays)
    note = f"{count('mapping')} parameters, {count('film')} of them γ and β; used in training alone"
    grid = diagram.grid(f"(c) One mapping for all pairs, conditioned on the pair | {note}")
    stages = _stages(arrays)
    films = [f"film{i}" if f"shape/gamma/{i}" in arrays else "." for i in range(len(stages))]
    grid.row(f". . . {' '.join(films)} .")
    for task, role, of in ((source, "ours", r"$\hat{y}^s$"), (target, "truth", "$y^t$")):
        sign, entering = signs[task], map_to_rgb(arrays, f"{task}/{role}", 0)
        grid.row(f"A in_{sign} layer_{sign} {' '.join(stages)} out")
        diagram[f"in_{sign}"] = picture(entering, below=shape(f"input/{task}", of))
        layer, learned = shape(f"layer/{task}"), count(f"layer/{task}")
        diagram[f"layer_{sign}"] = box(f"input {sign}", learned, color=TASK, below=layer)
        diagram.join(f"in_{sign} -> layer_{sign} -|-> stage/0", MAPPING)
    tasks, letters = list(signs), [f"${sign}$" for sign in signs.values()]
    pair = np.full((len(tasks), len(tasks), 3), 255, dtype=np.uint8)
    pair[np.diag_indices(len(tasks))] = 221
    pair[tasks.index(source), tasks.index(target)] = np.multiply(to_rgb(PAIRWISE), 255)
    caption = ("A names the pair", f"{len(tasks)} × {len(tasks)}")
    diagram["A"] = picture(pair, wide=0.85, rows=letters, columns=letters, below=caption)
    for i, (stage, film) in enumerate(zip(stages, films, strict=True)):
        side, whole = arrays[f"shape/{stage}"][1], arrays["shape/image"][1]
        high = 0.5 + 0.6 * np.log2(side + 1) / np.log2(whole + 1)
        diagram[stage] = box(f"stage {i + 1}", shape(stage), color=MAPPING, height=high)
        if film != ".":
            diagram[film] = box("γ, β", shape(f"gamma/{i}"), color=PAIRWISE)
            diagram.join(f"A |^|> {film} -> {stage}", PAIRWISE)
    diagram["out"] = _embedding(arrays, "source", MAPPING, below=r"$m^{s\to st}(\hat{y}^s)$")
    diagram.join(" -> ".join([*stages, "out"]), MAPPING)


def _embedding(arrays: Arrays, name: str, color: str, **how: Any) -> Cell:
    """One of the three embeddings on the range of all three."""
    values = [arrays[f"embedding/{key}"] for key in (*SIDES.values(), "image")]
    low, high = float(np.min(values)), float(np.max(values))
    return picture(scalar_to_rgb(arrays[f"embedding/{name}"], SCORE_MAP, low, high), color, **how)


def _signs(arrays: Arrays) -> dict[str, str]:
    """Task -> its letter: s, t, and from u on for the others; s first and t last."""
    source, target = (str(name) for name in arrays["pair"])
    others = [name for name in titles_of(arrays) if name not in (source, target)]
    return {source: "s"} | dict(zip(others, "uvwxyz", strict=False)) | {target: "t"}


def _stages(arrays: Arrays) -> list[str]:
    """The names under which the stages of the mapping network were traced; the last embeds."""
    count = sum(key.startswith("shape/stage/") for key in arrays)
    return [f"stage/{i}" for i in range(count)]


def _distance(name: str, value: float) -> str:
    """A measured cosine distance behind its name, to two digits."""
    return f"${name}$ = {value:.2f}" if value >= 0.1 else f"${name}$ = {value:.2g}"
