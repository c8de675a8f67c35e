"""The arrays that the figures of XTC show: plain numbers and strings, nothing drawn yet.

What the mapping network does is computed as in training, where BatchNorm uses the statistics of
a pass over many images, from a copy of the network that nothing else sees.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import permutations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.data.labels import assign
from mtpsl.metrics import COLUMNS
from mtpsl.models.multitask import Output
from mtpsl.papers.xtc.mapping import MappingNet, Pass, label_input, prediction_input
from mtpsl.papers.xtc.method import XTC
from mtpsl.report.arrays import (
    SCENES,
    Arrays,
    Material,
    compact,
    describe,
    evenly_spaced,
    picture,
    principal_components,
    shown,
    variety,
)
from mtpsl.tasks import Task, TaskSet

PAIR = ("semseg", "normals")  # source and target of Figures 1 to 3 [XTC, Sec. 4.4]
STATISTICS_IMAGES = 32  # that the mapping network normalizes over
OVERVIEW_EXAMPLES = 4  # images in Figure 1
MAPPED_EXAMPLES, COMPARED_EXAMPLES = 2, 2  # test images in Figures 3 and 4
SIDES = ("source", "target")


# ----------------------------------------------------------------- diagrams


@torch.no_grad()
def overview(material: Material) -> Arrays:
    """Figure 1: what full and partial labels are, and how a pair of tasks is compared.

    ``images`` (N, H, W, 3), for each task one that the one-label rule leaves its label, the pair's
    target first, and then again; ``<task>/truth`` their labels, ``labeled`` (N, T). The rest is of
    the first of them: ``<task>/ours`` (1, H, W, ...), and what ``_diagram`` adds.
    """
    (method,) = material.methods.values()
    tasks = method.tasks
    count = min(len(material.test), SCENES)
    labeled = assign("one_label", count, tasks.names).labeled
    batch = _load(material, range(count))
    arrays = describe(tasks) | _truth(tasks, batch)
    ids = [arrays[f"{t.name}/truth"] for t in tasks if t.kind == "classes"]
    order = sorted(range(count), key=lambda i: -sum(variety(classes[i]) for classes in ids))
    first = tasks.names.index(PAIR[1])
    columns = sorted(range(len(tasks)), key=lambda column: (column != first, column))
    best = [[i for i in order if labeled[i, column]] for column in columns]
    chosen = [images[turn] for turn in range(2) for images in best if turn < len(images)]
    chosen = chosen[:OVERVIEW_EXAMPLES]
    arrays["images"] = picture(batch.images)
    for name in ("images", *(f"{t.name}/truth" for t in tasks)):
        arrays[name] = arrays[name][chosen]
    arrays |= {"labeled": labeled[chosen].numpy(), "index": np.array(chosen)}
    return arrays | _diagram(method, batch, chosen[0])


@torch.no_grad()
def architecture(material: Material) -> Arrays:
    """Figure 2: the method on one test image, with the shape of everything that passes through.

    ``images`` (1, H, W, 3) and ``<task>/truth`` of the image that shows most classes, and what
    ``_diagram`` adds.
    """
    (method,) = material.methods.values()
    tasks = method.tasks
    batch = _load(material, range(min(len(material.test), SCENES)))
    arrays = describe(tasks) | _truth(tasks, batch)
    ids = [arrays[f"{t.name}/truth"] for t in tasks if t.kind == "classes"]
    chosen = max(range(len(batch)), key=lambda i: sum(variety(classes[i]) for classes in ids))
    arrays["images"] = picture(batch.images)
    for name in ("images", *(f"{t.name}/truth" for t in tasks)):
        arrays[name] = arrays[name][[chosen]]
    arrays["index"] = np.array([chosen])
    return arrays | _diagram(method, batch, chosen)


def _diagram(method: XTC, batch: Batch, chosen: int) -> Arrays:
    """What both diagrams show of image ``chosen`` of a batch.

    ``<task>/ours`` (1, H, W, ...) predictions; ``pair`` names source and target; ``embedding/
    source``, ``embedding/target`` and ``embedding/image`` (h, w) are m(y^_s), m(y_t) and f, each
    position of unit length, on the first principal component of all three; ``consistency`` (1,)
    and ``regularizer`` (2,) their cosine distances. ``shape/...`` is the shape, without the batch,
    of what leaves a module and ``parameters/...`` how many numbers it learns, both from
    ``trace_shapes``; ``weight`` and ``regularizer_weight`` are the method's.
    """
    tasks = method.tasks
    s, t = (tasks[name] for name in PAIR)
    output = method.net(batch.images)
    arrays = {f"{u.name}/ours": shown(u, output.predictions[u.name])[[chosen]] for u in tasks}
    (m_s, m_t), f = embed(method, s, t, output.predictions, batch), output.bottleneck.float()
    one = slice(chosen, chosen + 1)
    stacked = torch.stack([m_s[chosen], m_t[chosen], f[chosen]])
    stacked = F.normalize(stacked, dim=1)  # as their cosines see them
    points, _ = principal_components(stacked.movedim(1, -1).double().cpu(), count=1)
    for name, plane in zip((*SIDES, "image"), points[..., 0], strict=True):
        arrays[f"embedding/{name}"] = np.round(plane.numpy(), 4).astype(np.float32)
    distances = {
        "consistency": [method.loss.compare(m_s[one], m_t[one])],
        "regularizer": [method.loss.compare(m[one], f[one]) for m in (m_s, m_t)],
    }
    for name, values in distances.items():
        arrays[name] = np.round(torch.cat(values).double().cpu().numpy(), 6)
    arrays |= {"weight": np.array(method.loss.weight), "pair": np.array(PAIR)}
    arrays["regularizer_weight"] = np.array(method.loss.regularizer * method.loss.regularize)
    return arrays | trace_shapes(method, batch, s, t)


@torch.no_grad()
def trace_shapes(method: XTC, batch: Batch, source: Task, target: Task) -> Arrays:
    """What leaves every part of the method while one image passes, seen by forward hooks.

    Returns:
        ``shape/image``, ``/bottleneck``, ``/decoder``, ``/<task>`` (predictions), ``/input/<task>``
        (what enters the mapping network), ``/layer/<task>`` (its input layers) and ``/stage/<i>``,
        each (dims,) without the batch; ``/gamma/<i>`` (pairs, channels) of a stage's last FiLM,
        absent without conditioning; ``parameters/backbone``, ``/<task>``, ``/layer/<task>``,
        ``/mapping`` and ``/film``.
    """
    net, mapping = method.net, method.mapping
    modules: dict[str, nn.Module] = {"backbone": net.backbone}
    modules |= {f"layer/{u.name}": mapping.inputs[u.name] for u in (source, target)}
    modules |= {f"stage/{i}": stage for i, stage in enumerate(mapping.stages)}
    seen: dict[str, Any] = {}
    with _watched(modules, seen):
        output = net(batch.images[:1])
        mapping(_passes(method, source, target, output.predictions, batch, slice(1)))
    maps = {"image": batch.images, "bottleneck": seen["backbone"].bottleneck}
    maps["decoder"] = seen["backbone"].decoder
    maps |= output.predictions
    for p in _passes(method, source, target, output.predictions, batch, slice(1)):
        maps[f"input/{p.task}"] = p.maps
    for name in modules.keys() - {"backbone"}:
        leaves = seen[name]  # a stage returns a list, one entry a pass
        maps[name] = leaves if isinstance(leaves, Tensor) else leaves[0]
    arrays = {f"shape/{name}": np.array(m.shape[1:]) for name, m in maps.items()}
    for i, stage in enumerate(mapping.stages):
        films = [norm.gamma for norm in stage.norms if norm.gamma is not None]
        if films:
            arrays[f"shape/gamma/{i}"] = np.array(films[-1].shape)
    learned = {name: _count(modules[name].parameters()) for name in modules if "/" not in name}
    learned |= {u.name: _count(net.heads[u.name].parameters()) for u in method.tasks}
    learned |= {f"layer/{n}": _count(layer.parameters()) for n, layer in mapping.inputs.items()}
    learned |= {"mapping": _count(mapping.parameters()), "film": _count(mapping.film_parameters())}
    return arrays | {f"parameters/{name}": np.array(count) for name, count in learned.items()}


@contextmanager
def _watched(modules: Mapping[str, nn.Module], seen: dict[str, Any]) -> Iterator[None]:
    """Notes what modules return, by name."""

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            seen[name] = output

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _count(parameters: Sequence[Tensor] | Iterator[Tensor]) -> int:
    return sum(p.numel() for p in parameters)


# ------------------------------------------------------------------ networks


@torch.no_grad()
def mapped_outputs(material: Material) -> Arrays:
    """Figure 3: what a pair's mapping makes of predictions and labels, a little inside it.

    For every of N test images, ``<task>/ours`` and ``<task>/truth`` of the pair's two tasks, and
    ``<layer>/<task>/<role>`` (N, h, w) what leaves the first and the second-to-last stage of the
    mapping network for them. A layer has one set of principal components, of all these maps of
    all its channels together, so that one color says the same in all four; the first is shown.
    ``<layer>/explained`` is its share of the variance.
    """
    (method,) = material.methods.values()
    s, t = (method.tasks[name] for name in PAIR)
    indices, rows = _with_company(material, MAPPED_EXAMPLES)
    batch = _load(material, indices)
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
def compared(material: Material) -> Arrays:
    """Figure 4: (N, H, W, ...) maps ``<task>/truth`` and ``<task>/<role>``, with scores.

    ``<task>/<role>/score`` (N,) is the task's headline metric on that image alone, in the units
    of the tables; ``<task>/label``, ``/decimals`` and ``/higher_is_better`` say how it reads.
    """
    tasks = material.test.tasks
    indices = evenly_spaced(len(material.test), COMPARED_EXAMPLES)
    batch = _load(material, indices)
    arrays = describe(tasks) | _truth(tasks, batch)
    arrays |= {"images": picture(batch.images), "index": np.array(indices)}
    arrays["roles"] = np.array(list(material.methods))
    for t in tasks:
        column = COLUMNS[t.headline]
        arrays[f"{t.name}/label"] = np.array(column.label)
        arrays[f"{t.name}/higher_is_better"] = np.array(column.higher_is_better)
    for role, method in material.methods.items():
        predictions = method.predict(batch.images)
        for t in tasks:
            arrays[f"{t.name}/{role}"] = shown(t, predictions[t.name])
            values = [image_score(t, predictions, batch, i) for i in range(len(batch))]
            arrays[f"{t.name}/{role}/score"] = np.round(np.array(values), 4)
    return arrays


def image_score(task: Task, predictions: Mapping[str, Tensor], batch: Batch, i: int) -> float:
    """The headline metric of one image, in the units of the tables."""
    metric, one = task.metric(), slice(i, i + 1)
    prediction = predictions[task.name][one].float()
    metric.update(prediction, batch.targets[task.name][one], batch.mask(task.name)[one])
    return COLUMNS[task.headline].scale * metric.compute()[task.headline]


@torch.no_grad()
def consistency(material: Material) -> Arrays:
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
    tasks = material.test.tasks
    arrays = describe(tasks) | {"pairs": np.array(list(permutations(tasks.names, 2)))}
    indices = evenly_spaced(len(material.test), STATISTICS_IMAGES)
    batch = _load(material, indices)
    for role, history in material.histories.items():
        method, loss = material.methods[role], material.methods[role].loss
        pairs = len(method.tasks) - 1
        terms = {"consistency": ("cross_task", loss.weight * pairs)}
        if loss.regularize:  # two distances a pair
            terms["regularizer"] = ("regularizer", 2 * loss.weight * loss.regularizer * pairs)
        arrays[f"{role}/epochs"] = np.array([entry["epoch"] for entry in history])
        for name, (term, divisor) in terms.items():
            values = np.array([entry["terms"][term] for entry in history]) / divisor
            arrays[f"{role}/{name}"] = np.round(values, 6)
        output = method.net(batch.images)
        f = output.bottleneck.float()
        apart = loss.compare(f, f.roll(1, dims=0)).double().mean()
        arrays[f"{role}/two_features"] = np.round(float(apart), 6)
        found = [pair_distances(method, s, t, output, batch) for s, t in method.tasks.pairs()]
        for name in found[0]:
            arrays[f"{role}/{name}"] = np.round([pair[name] for pair in found], 6)
    return arrays


def pair_distances(
    method: XTC, source: Task, target: Task, output: Output, batch: Batch
) -> dict[str, float]:
    """Mean cosine distances of a pair's embeddings: ``same`` image, ``other``, ``feature``."""
    m_s, m_t = embed(method, source, target, output.predictions, batch)
    f, compare = output.bottleneck.float(), method.loss.compare
    anchors = torch.cat([compare(m_s, f), compare(m_t, f)])
    distances = {
        "same": compare(m_s, m_t),
        "other": compare(m_s, m_t.roll(1, dims=0)),  # every image with the one before it
        "feature": anchors,
    }
    return {name: float(values.double().mean()) for name, values in distances.items()}


def embed(
    method: XTC, source: Task, target: Task, predictions: Mapping[str, Tensor], batch: Batch
) -> tuple[Tensor, Tensor]:
    """m(y^_s) and m(y_t) of all images of a batch, each (B, D, h, w).

    As in training, but for the Gumbel noise: classes are the likeliest ones.
    """
    passes = _passes(method, source, target, predictions, batch, slice(None))
    m_s, m_t = as_in_training(method)(passes, method.loss.statistics)
    return m_s.float(), m_t.float()


def _passes(
    method: XTC,
    source: Task,
    target: Task,
    predictions: Mapping[str, Tensor],
    batch: Batch,
    rows: slice,
) -> list[Pass]:
    """The prediction of the source and the label of the target, on their way into the mapping."""
    pair = (source.name, target.name)
    mask = batch.mask(target.name)[rows]
    return [
        Pass(source.name, pair, prediction_input(source, predictions[source.name][rows])),
        Pass(
            target.name,
            pair if method.loss.pair_of == "pair" else pair[::-1],
            label_input(target, batch.targets[target.name][rows], mask),
        ),
    ]


def as_in_training(method: XTC) -> MappingNet:
    """A copy of the mapping network that normalizes by the maps it is given.

    Running averages mix the passes of all tasks and pairs, which no pass ever is normalized by.
    """
    return deepcopy(method.mapping).train()


# ---------------------------------------------------------------------- data


def _load(material: Material, indices: Sequence[int]) -> Batch:
    (batch,) = material.batches(indices, size=len(indices))
    return batch


def _truth(tasks: TaskSet, batch: Batch) -> Arrays:
    return {f"{t.name}/truth": shown(t, batch.targets[t.name], batch.valid[t.name]) for t in tasks}


def _with_company(material: Material, count: int) -> tuple[list[int], list[int]]:
    """Test images to normalize over, and the positions of ``count`` among them to show."""
    indices = evenly_spaced(len(material.test), STATISTICS_IMAGES)
    return indices, evenly_spaced(len(indices), count)
