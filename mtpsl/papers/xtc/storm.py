"""The storm that XTC begins with: how hard its consistency pulls before anything is learned.

Gradients are long because they pass a deep mapping network of random weights, Adam remembers their
length for thousands of steps, and a mapping that they have made constant says nothing more. The
figure draws all three from finished runs and from a network that has learned nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import NullFormatter
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.dataset import TrainLoader
from mtpsl.engine import seeded
from mtpsl.methods import Method
from mtpsl.papers.xtc.diagrams import embed, pair_distances
from mtpsl.papers.xtc.loss import Inputs, find_links
from mtpsl.papers.xtc.mapping import Pass
from mtpsl.papers.xtc.method import XTC, two_views
from mtpsl.report.arrays import Arrays, FigureInputs, describe, evenly_spaced
from mtpsl.report.plots import chart_row, draw_curves, legend_below
from mtpsl.report.style import CYCLE, INK, QUIET, styled
from mtpsl.runs.data import bind_data, label, open_split, training_batches
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import build

UNCLIPPED = 1e9  # a bound that no gradient reaches; 0 would leave the bound to the profile
RELEASED_STEPS = 79_400  # of a training with the released code, 200 epochs
BATCHES, IMAGES = 3, 32  # at the start of a training; of the test images that embeddings are of
ROLES = {  # role -> what its curve is called; the last one is taken apart
    "labels": "labels alone",
    "labels_unclipped": "labels alone, unclipped",
    "xtc": "XTC",
    "ramped_unclipped": "XTC, ramped up, unclipped",
    "xtc_unclipped": "XTC, unclipped",
}
STEPS = {  # of ``ScheduledAdam.describe_epoch``
    "gradient": "length of the gradient",
    "remembered": "length that Adam remembers",
    "moved": "step length (learning rates)",
}
SPREAD = ("images", "positions")  # over which embeddings vary
SHORT = {"xtc": "clipped", "ramped_unclipped": "ramped up", "xtc_unclipped": "unclipped"}


def untrained(experiment: Experiment) -> tuple[Method, TrainLoader]:
    """What an experiment on a stand-in begins with, for methods that need no ``prepare``."""
    experiment = bind_data(experiment)
    method = build(experiment)
    partial, _ = label(experiment, open_split(experiment, "train"))
    return method, training_batches(experiment, method, partial)


# ----------------------------------------------------- at the start of a training


def gradient_lengths(method: Method, batches: Sequence[tuple[Batch, ...]]) -> dict[str, float]:
    """How hard each term of the loss pulls on the backbone that all tasks share.

    Args:
        method: Has a ``net`` with a ``backbone``; left as it is but for BatchNorm's statistics.
        batches: Of a ``TrainLoader``.

    Returns:
        Means over the batches: the length of the gradient of ``"labels"``, the tasks' own terms
        together, then of each other term, all with their weights.
    """
    lengths = Counter[str]()
    method.train()
    for views in batches:
        terms = method.training_step(*views, progress=1.0)
        labels = torch.stack([terms.pop(name) for name in method.tasks.names]).sum()
        for name, term in {"labels": labels, **terms}.items():
            lengths[name] += _length(term, method.backbone_parameters()) / len(batches)
    return dict(lengths)


def pair_lengths(method: XTC, batches: Sequence[tuple[Batch, ...]]) -> dict[str, dict[str, float]]:
    """``gradient_lengths`` of L_ct and R pair by pair: ``"depth > semseg"`` -> two lengths.

    Means over the batches that have the pair.
    """
    loss, lengths = method.loss, defaultdict[str, list[tuple[float, float]]](list)
    method.train()
    for views in batches:
        _, others, features = two_views(method.net, views)
        batch, features = views[-1], features.detach().float()
        for link in find_links(method.tasks, batch):
            ((m_s, m_t),) = loss.embed([link], Inputs(others, batch))
            f = features[list(link.rows)]
            tie = loss.weight * loss.compare(m_s, m_t).sum() / len(batch)
            anchor = (loss.compare(m_s, f) + loss.compare(m_t, f)).sum() / len(batch)
            pulls = (tie, loss.weight * loss.regularizer * anchor)
            name = f"{link.source.name} > {link.target.name}"
            shared = method.backbone_parameters()
            lengths[name].append(tuple(_length(term, shared) for term in pulls))
    means = {name: np.mean(pulls, axis=0).tolist() for name, pulls in lengths.items()}
    return {name: {"consistency": ct, "regularizer": r} for name, (ct, r) in means.items()}


def path_lengths(method: XTC, batches: Sequence[tuple[Batch, ...]]) -> dict[str, float]:
    """How the gradient of L_ct grows on its way back through the mapping network.

    Returns:
        Its length per image and pair, a mean, at the embedding of a prediction first, then at what
        enters each stage, the first layer, and at the prediction itself.
    """
    lengths = defaultdict[str, list[float]](list)
    method.train()
    for views in batches:
        _, others, _ = two_views(method.net, views)
        batch, loss = views[-1], method.loss
        for link in find_links(method.tasks, batch):
            s, t, rows = link.source, link.target, list(link.rows)
            inputs, pair = Inputs(others, batch), (link.source.name, link.target.name)
            maps = inputs.prediction(s, link.rows)
            passes = [Pass(s.name, pair, maps), Pass(t.name, pair, inputs.label(t, link.rows))]
            leaving = loss.mapping.trace(passes, loss.statistics)
            tie = loss.weight * loss.compare(leaving[-1][0].float(), leaving[-1][1].float()).sum()
            places = {"embedding": leaving[-1][0]}
            for number in range(len(leaving) - 1, 0, -1):
                places[f"before stage {number}"] = leaving[number - 1][0]
            places |= {"mapping's input": maps, "prediction": others[s.name]}
            found = torch.autograd.grad(tie, list(places.values()), retain_graph=True)
            for name, gradient in zip(places, found, strict=True):
                each = gradient[rows] if name == "prediction" else gradient
                lengths[name] += each.flatten(1).norm(dim=1).tolist()
    return {name: float(np.mean(values)) for name, values in lengths.items()}


def _length(term: Tensor, parameters: Sequence[Tensor]) -> float:
    """The length of a term's gradient; 0 where nothing in a batch is compared."""
    if not term.requires_grad:
        return 0.0
    parts = torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True)
    return float(torch.cat([part.double().flatten() for part in parts]).norm())


# --------------------------------------------------------- at the end of a training


@torch.no_grad()
def embedding_spread(method: XTC, batch: Batch) -> dict[str, float]:
    """What the mapping still tells apart, on clean images; means over all ordered pairs.

    Returns:
        ``images`` and ``positions``: the variance of a label's embeddings, of unit length, over
        the images of the batch and over the positions of one image. ``same`` and ``other``: the
        cosine distance of a prediction's embedding to that of the same image's label, and to that
        of another image's.
    """
    found = Counter[str]()
    output, pairs = method.net(batch.images), list(method.tasks.pairs())
    for s, t in pairs:
        _, m_t = embed(method, s, t, output.predictions, batch)
        unit = F.normalize(m_t.double(), dim=1)  # (B, D, h, w)
        found["images"] += float(unit.var(dim=0, correction=0).sum(dim=0).mean())
        found["positions"] += float(unit.var(dim=(2, 3), correction=0).sum(dim=1).mean())
        distances = pair_distances(method, s, t, output, batch)
        found.update({name: distances[name] for name in ("same", "other")})
    return {name: total / len(pairs) for name, total in found.items()}


# -------------------------------------------------------------------- the figure


def storm(inputs: FigureInputs) -> Arrays:
    """The storm over a training, taken apart at its start, and what it leaves of the mapping.

    ``<role>/steps`` (E,) and over them the three of ``STEPS``, a point an epoch. ``terms``,
    ``pairs`` and ``places`` name ``term_lengths``, ``pair_lengths`` (P, 2) and ``place_lengths``,
    of "XTC, unclipped" before it has learned anything. ``<role>/spread`` (2,) and
    ``<role>/distances`` (2,) of trained mapping networks, as ``embedding_spread`` has them.
    """
    tasks = inputs.test.tasks
    arrays = describe(tasks) | {"roles": np.array(list(inputs.methods))}
    batch = inputs.load(evenly_spaced(len(inputs.test), IMAGES))
    for role, history in inputs.histories.items():
        per_epoch = inputs.experiments[role].train_images // inputs.experiments[role].batch_size
        arrays[f"{role}/steps"] = np.array([entry["epoch"] * per_epoch for entry in history])
        for name in STEPS:
            arrays[f"{role}/{name}"] = np.array([entry["steps"][name] for entry in history])
        if isinstance(inputs.methods[role], XTC):
            found = embedding_spread(inputs.methods[role], batch)
            arrays[f"{role}/spread"] = np.array([found[name] for name in SPREAD])
            arrays[f"{role}/distances"] = np.array([found["same"], found["other"]])
    method, loader = untrained(inputs.experiments["xtc_unclipped"])
    batches = list(islice(loader.epoch(0), BATCHES))
    with seeded(torch.device("cpu"), "storm"):  # of Gumbel noise
        terms, pairs, places = (
            measure(method, batches) for measure in (gradient_lengths, pair_lengths, path_lengths)
        )
    return arrays | {
        "terms": np.array(list(terms)),
        "term_lengths": np.array(list(terms.values())),
        "pairs": np.array(list(pairs)),
        "pair_lengths": np.array([list(pulls.values()) for pulls in pairs.values()]),
        "places": np.array(list(places)),
        "place_lengths": np.array(list(places.values())),
    }


@styled
def draw_storm(arrays: Arrays) -> Drawing:
    """Above, three lengths over the steps of a training; below, the start and the end."""
    sheet, columns = chart_row(
        list(STEPS.values()), 2.1, 1.9, wide=2.6, between=0.85, left=1.35, gap=1.45
    )
    roles = [str(role) for role in arrays["roles"]]
    for name, (axes, _) in zip(STEPS, columns, strict=True):
        curves = {
            ROLES[role]: (arrays[f"{role}/steps"], arrays[f"{role}/{name}"]) for role in roles
        }
        draw_curves(axes, curves)
        axes.set(xscale="log", yscale="log", xlabel="step")
        axes.axvline(RELEASED_STEPS, color=QUIET, linewidth=1, linestyle=":")
        axes.text(RELEASED_STEPS, 0.97, "released ", transform=axes.get_xaxis_transform(),
                  ha="right", va="top", fontsize=6.5, color=QUIET)  # fmt: skip
    (_, start), (_, path), (_, end) = columns
    _bars(start, _first_pulls(arrays), "gradient at the backbone, untrained")
    _bars(path, zip(arrays["places"], arrays["place_lengths"], strict=True), "on its way back")
    spread = [
        (f"{SHORT[role]}, over {what}", float(value))
        for role in roles
        if role in SHORT
        for what, value in zip(SPREAD, arrays[f"{role}/spread"], strict=True)
    ]
    _bars(end, spread, "variance of embeddings, trained")
    legend_below(sheet)
    return sheet.figure


def _first_pulls(arrays: Arrays) -> Iterator[tuple[str, float]]:
    yield from zip(arrays["terms"], arrays["term_lengths"], strict=True)
    for pair, (consistency, _) in zip(arrays["pairs"], arrays["pair_lengths"], strict=True):
        yield pair, consistency


def _bars(axes: Axes, values: Iterable[tuple[str, float]], title: str) -> None:
    """Named lengths as bars on a logarithmic axis, each with its number."""
    names, lengths = zip(*((str(name), float(value)) for name, value in values), strict=True)
    axes.barh(names, lengths, color=CYCLE[0], height=0.7)
    axes.set(xscale="log", xlabel=title, xlim=(min(lengths) / 3, max(lengths) * 6))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelsize=7, length=0)
    for row, length in enumerate(lengths):
        axes.text(length, row, f" {length:.3g}", va="center", fontsize=6, color=INK)
