"""The arrays that the diagrams of XTC show: plain numbers and strings, nothing drawn yet."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.data.labels import assign
from mtpsl.papers.xtc.joint_space import PAIR, embed, pair_passes
from mtpsl.papers.xtc.method import XTC
from mtpsl.report.arrays import (
    SCENES,
    Arrays,
    FigureInputs,
    describe,
    picture,
    principal_components,
    shown,
    true_maps,
    variety,
)
from mtpsl.tasks import Task

OVERVIEW_EXAMPLES = 4  # images in Figure 1
SIDES = ("source", "target")


# ----------------------------------------------------------------- diagrams


@torch.no_grad()
def overview(inputs: FigureInputs) -> Arrays:
    """Figure 1: what full and partial labels are, and how a pair of tasks is compared.

    ``images`` (N, H, W, 3), for each task one that the one-label rule leaves its label, the pair's
    target first, and then again; ``<task>/truth`` their labels, ``labeled`` (N, T). The rest is of
    the first of them: ``<task>/ours`` (1, H, W, ...), and what ``_diagram`` adds.
    """
    (method,) = inputs.methods.values()
    tasks = method.tasks
    count = min(len(inputs.test), SCENES)
    labeled = assign("one_label", count, tasks.names).labeled
    batch = inputs.load(range(count))
    arrays = describe(tasks) | true_maps(tasks, batch)
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
def architecture(inputs: FigureInputs) -> Arrays:
    """Figure 2: the method on one test image, with the shape of everything that passes through.

    ``images`` (1, H, W, 3) and ``<task>/truth`` of the image that shows most classes, and what
    ``_diagram`` adds.
    """
    (method,) = inputs.methods.values()
    tasks = method.tasks
    batch = inputs.load(range(min(len(inputs.test), SCENES)))
    arrays = describe(tasks) | true_maps(tasks, batch)
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
        mapping(pair_passes(method, source, target, output.predictions, batch, slice(1)))
    maps = {"image": batch.images, "bottleneck": seen["backbone"].bottleneck}
    maps["decoder"] = seen["backbone"].decoder
    maps |= output.predictions
    for p in pair_passes(method, source, target, output.predictions, batch, slice(1)):
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
