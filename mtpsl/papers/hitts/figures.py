"""The figures of [HiTTs]: what each computes, draws and says, and the runs that it needs.

Those of discovered labels are computed and drawn in ``discovery``, the diagrams drawn in
``diagrams`` from what ``traces`` computes.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.papers.hitts import diagrams, discovery, traces
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.papers.hitts.tables import CITYSCAPES, hitts
from mtpsl.report.arrays import (
    EXAMPLES,
    Arrays,
    FigureInputs,
    compact,
    curves,
    describe,
    evenly_spaced,
    in_parts,
    principal_components,
    qualitative,
)
from mtpsl.report.figure import Figure
from mtpsl.report.plots import draw_learning_curves, draw_qualitative, draw_score_maps, draw_tokens
from mtpsl.tasks import Task

MORE_EXAMPLES = 2  # test images a data set in the appendix; evenly spaced, they fall between three
TOKEN_IMAGES = 64  # test images whose fine-grained tokens Figure 7 collects
METHODS = {"baseline": "MTL baseline", "mtan": "MTAN", "xtc": "XTC", "ours": "HiTTs"}  # by role


# ----------------------------------------------------------- arrays of tokens


@torch.no_grad()
def tokens(inputs: FigureInputs) -> Arrays:
    """Figures 7 and 13: how alike and how spread a task's fine-grained tokens phi are.

    For ``<task>/without`` and ``<task>/with`` orthogonal embeddings: ``/affinity`` (C_p, C_p),
    mean cosine similarity of tokens of the same image; ``/off_diagonal``, its mean absolute
    value between different tokens; ``/points`` (N, C_p, 3), principal components of the unit
    tokens of N images; ``/explained`` (3,), the components' shares of variance. ``<task>/values``
    (C_p, D) is what each token stands for.
    """
    arrays = describe(inputs.test.tasks)
    indices = evenly_spaced(len(inputs.test), TOKEN_IMAGES)
    for role, method in inputs.methods.items():
        traced = [method.trace(b.images, decode=False) for b in inputs.batches(indices)]
        for t in method.tasks:
            phi = torch.cat([trace.fine_tokens[t.name] for trace in traced]).double().cpu()
            unit = F.normalize(phi, dim=-1)  # (N, C_p, C)
            affinity = (unit @ unit.transpose(1, 2)).mean(0)
            points, explained = principal_components(unit)
            others = ~torch.eye(len(affinity), dtype=torch.bool)
            parts = {"affinity": affinity, "points": points, "explained": explained}
            arrays |= {f"{t.name}/{role}/{key}": traces.rounded(v) for key, v in parts.items()}
            mean = affinity[others].abs().mean().numpy()
            arrays[f"{t.name}/{role}/off_diagonal"] = np.round(mean, 4)
            arrays[f"{t.name}/values"] = token_values(method, t).cpu().numpy()
    return arrays


@torch.no_grad()
def confidence(inputs: FigureInputs) -> Arrays:
    """Figure 8: (N, H, W) largest class probability ``<task>/before`` (G) and ``/after`` (G').

    The images are the one of median brightness and, as in the paper, a dark one.
    """
    (method,), every = inputs.methods.values(), range(len(inputs.test))
    brightness = torch.cat([b.images.mean((1, 2, 3)).cpu() for b in inputs.batches(every)])
    order = brightness.argsort(stable=True).tolist()
    batch = inputs.load([order[len(order) // 2], order[0]])
    trace = method.trace(batch.images, decode=False)
    arrays = describe(inputs.test.tasks, batch)
    for name in inputs.test.tasks.names:
        for stage, logits in (("before", trace.fine_features), ("after", trace.refined)):
            arrays[f"{name}/{stage}"] = compact(logits[name].softmax(1).amax(1))
    return arrays


@torch.no_grad()
def scores(inputs: FigureInputs, images: int = EXAMPLES) -> Arrays:
    """Figures 11 and 14: (N, h, w) ``<task>/global``, M^f, and (N, H, W) ``<task>/fine``.

    There is one fine-grained score map per token; shown is that of the token whose map varies
    most over the image, with its number (N,) ``/token`` and in words ``/token_name``. What the
    truth says to it: ``/own`` (N, 3) is the share of labeled pixels that are of the token's class
    or bin, in [0, 1], its mean score there and its mean score elsewhere, NaN where there is none.
    """
    (method,) = inputs.methods.values()
    batch = inputs.load(evenly_spaced(len(inputs.test), images))
    trace = method.trace(batch.images, decode=False)
    arrays = describe(inputs.test.tasks, batch)
    for t in inputs.test.tasks:
        masks = trace.scores[t.name]  # (N, C_p, H, W)
        chosen = masks.flatten(2).std(2).argmax(1)
        arrays[f"{t.name}/global"] = compact(trace.feature_confidence[t.name][:, 0])
        arrays[f"{t.name}/fine"] = compact(masks[torch.arange(len(masks)), chosen])
        arrays[f"{t.name}/token"] = chosen.cpu().numpy()
        names = token_names(t, token_values(method, t))
        arrays[f"{t.name}/token_name"] = np.array([names[i] for i in chosen.tolist()])
        ids = method.quantizers[t.name].encode(batch.targets[t.name])[:, 0]
        picked = zip(masks, chosen, ids, batch.mask(t.name)[:, 0], strict=True)
        own = [own_scores(maps[token], of == token, known) for maps, token, of, known in picked]
        arrays[f"{t.name}/own"] = np.round(np.array(own), 4)
    return arrays


def own_scores(scores: Tensor, own: Tensor, known: Tensor) -> tuple[float, float, float]:
    """Share of the known pixels that are a token's own, its mean score there and elsewhere.

    Without a known pixel, 0 and NaN twice: an image of a real set may lack a label altogether.
    """
    inside, outside = scores[known & own], scores[known & ~own]
    return len(inside) / max(1, int(known.sum())), float(inside.mean()), float(outside.mean())


def token_values(method: HiTTs, task: Task) -> Tensor:
    """What each fine-grained token of a task stands for, as a target: (C_p, D)."""
    ids = torch.arange(method.bins(task), device=next(method.parameters()).device).view(1, 1, 1, -1)
    return method.quantizers[task.name].values(ids)[0, :, 0].T


def token_names(task: Task, values: Tensor) -> list[str]:
    """``token_values`` in a word or two each."""
    match task.kind:
        case "classes":
            return list(task.class_names)
        case "binary":
            return ["no", "yes"]
        case "positive":  # a disparity, which has no unit, may be 0.0163
            form = "{:.1f} " + task.unit if task.unit else "{:.3g}"
            return [form.format(value) for value in values[:, 0].tolist()]
        case "direction":  # x right, y down, z forward
            words = ("right", "down", "away", "left", "up", "us")
            likest = torch.cat([values, -values], 1).argmax(1).tolist()
            return [f"facing {words[i]}" for i in likest]


# --------------------------------------------------------------- words in panels


def _mean(arrays: Arrays, key: str, i: int) -> str:
    return "" if key == "images" else f"mean {arrays[key][i].mean(dtype=float):.2f}"


def _token(arrays: Arrays, key: str, i: int) -> str:
    task, _, which = key.partition("/")
    if which != "fine":
        return ""
    share = 100 * arrays[f"{task}/own"][i, 0]
    return f"token: {arrays[f'{task}/token_name'][i]} ({share:.0f} % of pixels)"


draw_methods = partial(draw_qualitative, methods=METHODS)
draw_embeddings = partial(draw_tokens, roles={"without": "Without OE", "with": "With OE"})
draw_supervision = partial(draw_learning_curves, roles={"without": "without P", "with": "with P"})
draw_scores = partial(
    draw_score_maps,
    columns=[("global", "global: $M^f$"), ("fine", "fine-grained")],
    note=_token,
    bar="score, as a share of each map's range",
)
draw_confidence = partial(
    draw_score_maps,
    columns=[("before", "before: G"), ("after", "after: G'")],
    note=_mean,
    bar="largest probability",
    shared=True,
)


# ------------------------------------------------------------------- register

_PLAIN = ("hitts/table5", "HiTTs")
_STREETS = ("one_label", CITYSCAPES)
_SECOND = ("hitts/table5", "HiTTs w. L_p + L_f")
_STAGES = {"teacher": _PLAIN, "ours": _SECOND}


def _rows(table: str, *roles: str, part: str = "") -> dict[str, tuple[str, str]]:
    """Role -> its row of a table's one-label half."""
    names = METHODS | {"ours": "Ours"}
    return {f"{part}{role}": (table, f"one-label/{names[role]}") for role in roles}


def _figure(number: int, **fields: Any) -> Figure:
    return Figure(name=f"fig{number}", paper="hitts", source=f"[HiTTs, Fig. {number}]", **fields)


_COMPARED: dict[str, Any] = {
    "caption": "Test images from all over the split with the truth and what earlier methods and "
    "HiTTs predict from one label per image; each score is of that image alone, and on streets "
    "depth is inverse.",
    "alt": "Grid of images, each followed task by task by the true map and the one that every "
    "method predicts, with a score in every prediction.",
    "draw": draw_methods,
}
_EMBEDDED: dict[str, Any] = {
    "caption": "Cosine similarity between a task's fine-grained tokens, and the tokens of many "
    "test images on their first two principal components, without and with orthogonal "
    "embeddings (OE).",
    "alt": "For each task two heatmaps of similarities between tokens and two scatter plots of "
    "the tokens, one of each without and one with orthogonal embeddings.",
    "arrays": tokens,
    "draw": draw_embeddings,
}
_SCORED: dict[str, Any] = {
    "caption": "Where the pixels of test images respond to a task's global token (M^f), and to the "
    "fine-grained token whose scores vary most over the image; in brackets, how many pixels truly "
    "are of that class or bin.",
    "alt": "Images, each followed by a coarse and a detailed heatmap of scores for each task.",
    "draw": draw_scores,
}
_DISCOVERED: dict[str, Any] = {
    "caption": "Training images that lack a task's label, the withheld truth, the pseudo label "
    "that fine-grained tokens find and its mask M^p, and what the paper does not have, how many "
    "of the withheld pixels a mask accepts and how good these are as its threshold rises.",
    "alt": "For each task three images with true label, pseudo label and mask, above two curves "
    "over the threshold: quality and coverage of the accepted pixels.",
    "arrays": discovery.pseudo_labels,
    "draw": discovery.draw_pseudo_labels,
    "teachers": True,
}

FIGURES: tuple[Figure, ...] = (
    _figure(
        1,
        title="Partial labels, and what task tokens discover",
        caption="Every image has labels of some tasks only (a); global tokens meet features and "
        "discover feature supervision, and fine-grained tokens, which come from them, meet "
        "predictions and discover labels (b), drawn from networks trained with one label per "
        "image.",
        alt="Above a grid of room images with some of their label maps missing, below two bands "
        "with global and fine-grained tokens of three tasks, their features, predictions and "
        "what supervises them.",
        arrays=traces.setting,
        draw=diagrams.draw_fig1,
        runs=_STAGES,
    ),
    _figure(
        2,
        title="Overview of HiTTs, with the shapes of a traced forward pass",
        caption="A test image on its way through the encoder, global and fine-grained token "
        "learning to predictions, with the three losses on it; features are shown by three "
        "principal components, every score map spans its own range, and pseudo labels, with "
        "their share of this image, are the more confident half of the pixels of a few test "
        "images.",
        alt="Diagram in four columns from an image to predictions, a row for each task, with "
        "tokens, features, score masks, labels and tensor shapes.",
        arrays=traces.walk,
        draw=diagrams.draw_fig2,
        runs=_STAGES,
    ),
    _figure(
        3,
        title="Global task token learning, step by step",
        caption="Each task's token queries the shared feature (a), the affinity of the tokens "
        "mixes tasks (b, e), self-attention joins a token with its feature (c), and the frozen "
        "first stage's features supervise where its mask trusts them (d).",
        alt="Diagram with a row for each task of tokens and feature maps after query, inter-task "
        "and intra-task learning, and below it the matrix of affinities with its values.",
        arrays=traces.walk,
        draw=diagrams.draw_fig3,
        runs=_STAGES,
    ),
    _figure(
        4,
        title="Fine-grained task token learning of one task",
        caption="A global token and orthogonal embeddings become fine-grained tokens (a), whose "
        "score mask refines the logits (b), and confident pixels of the frozen first stage become "
        "pseudo labels (c); as in the code, tokens meet F', which has their channels, instead "
        "of G.",
        alt="Diagram of one task with tokens as matrices above and feature maps below, joined by "
        "a score mask, and at the right a confidence map, its binary mask and a pseudo label.",
        arrays=traces.walk,
        draw=diagrams.draw_fig4,
        runs=_STAGES,
    ),
    _figure(
        12,
        title="Single-scale and multi-scale global task token learning",
        caption="With one scale the tokens query the last map of the backbone (a), with four each "
        "scale has projected tokens and an affinity of its own before features and tokens are "
        "fused (b); sizes and counts are those of the paper's network on ResNet-18, traced "
        "without weights.",
        alt="Two flow diagrams with tensor shapes, above with one scale, below with four stages "
        "of a backbone that end in a convolution and a sum.",
        arrays=traces.scales,
        draw=diagrams.draw_fig12,
    ),
    _figure(
        5,
        title="Predictions from one label per image",
        arrays=qualitative,
        runs=_rows("hitts/table1", *METHODS),
        **_COMPARED,
    ),
    _figure(
        6,
        title="Predictions on streets, compared with earlier work",
        arrays=qualitative,
        runs=_rows("hitts/table3", "mtan", "xtc", "ours"),
        **_COMPARED,
    ),
    _figure(
        15,
        title="Predictions in rooms and on streets, compared with earlier work",
        arrays=in_parts(partial(qualitative, images=MORE_EXAMPLES)),
        runs=_rows("hitts/table1", "baseline", "xtc", "ours", part="rooms/")
        | _rows("hitts/table3", *METHODS, part="streets/"),
        **_COMPARED,
    ),
    _figure(
        7,
        title="Fine-grained tokens with and without orthogonal embeddings",
        runs={"without": ("hitts/table5", "w/o Orthogonal Embeddings"), "with": _PLAIN},
        **_EMBEDDED,
    ),
    _figure(
        13,
        title="Fine-grained tokens on streets with and without orthogonal embeddings",
        own={"without": hitts(*_STREETS, orthogonal_embeddings=False), "with": hitts(*_STREETS)},
        **_EMBEDDED,
    ),
    _figure(
        8,
        title="Confidence before and after refinement by fine-grained tokens",
        caption="Largest class probability of every pixel before (G) and after (G') the "
        "fine-grained tokens refine it, for a test image of median brightness and for the "
        "darkest one.",
        alt="Two room images, each followed by a pair of heatmaps for each task that show where "
        "the network is confident.",
        arrays=confidence,
        draw=draw_confidence,
        runs={"plain": _PLAIN},
    ),
    _figure(
        9,
        title="Learning curves with and without pseudo supervision",
        caption="Each task's headline metric over the epochs, on the training images where they "
        "keep its label and on the test images, for HiTTs without and with pseudo supervision "
        "(P).",
        alt="One line chart for each task with four curves: training and test performance, with "
        "and without pseudo supervision.",
        arrays=curves,
        draw=draw_supervision,
        runs={"without": _PLAIN, "with": _SECOND},
        curves=True,
    ),
    _figure(
        11,
        title="Score maps of global and of fine-grained tokens",
        arrays=scores,
        runs={"plain": _PLAIN},
        **_SCORED,
    ),
    _figure(
        14,
        title="Score maps of global and of fine-grained tokens, in rooms and on streets",
        arrays=in_parts(partial(scores, images=MORE_EXAMPLES)),
        runs={"rooms/plain": _PLAIN},
        own={"streets/plain": hitts(*_STREETS)},
        **_SCORED,
    ),
    _figure(
        10,
        title="Pseudo labels on streets, and how good they are",
        runs=_rows("hitts/table3", "ours"),
        **_DISCOVERED,
    ),
    _figure(
        16,
        title="Pseudo labels in rooms, and how good they are",
        runs=_rows("hitts/table1", "ours"),
        **_DISCOVERED,
    ),
    Figure(
        name="discovery",
        paper="hitts",
        title="Is a discovered label as good as its confidence says?",
        source="[beyond HiTTs, Sec. 3.3]",
        caption="Of the withheld training pixels whose discovered label has a confidence, how many "
        "are in the true bin: on the diagonal a teacher is calibrated, below it is too sure.",
        alt="For each task bars of the share of right discovered labels by confidence, against "
        "the diagonal, above a histogram of the confidence.",
        arrays=discovery.discoveries,
        draw=discovery.draw_reliability,
        runs=_rows("hitts/table1", "ours"),
        teachers=True,
    ),
)
