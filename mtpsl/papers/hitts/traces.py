"""What HiTTs' Figures 1 to 4 and 12 show, read off networks while a test image passes them.

Roles are ``teacher``, which was trained with L_s alone, and ``ours``, which learned again with
L_s + L_p + L_f from what the teacher found. Figure 12 shows sizes and no values, so its two
networks are the paper's own, at full size, traced without weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.data import find_class, open_dataset
from mtpsl.data.labels import assign
from mtpsl.papers import build_method
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.papers.hitts.scales import to_grid
from mtpsl.papers.hitts.tables import PASCAL, hitts
from mtpsl.report.arrays import (
    SCENES,
    Arrays,
    FigureInputs,
    compact,
    describe,
    most_varied,
    picture,
    principal_components,
    shown,
    true_maps,
)
from mtpsl.runs.experiment import Experiment, LabelSetting
from mtpsl.runs.profiles import PSEUDO_SHARE

EXAMPLES = 4  # images in Figure 1
THUMBNAIL = 128  # pixels of the side of the picture in Figure 12
SINGLE, MULTI = hitts("one_label", PASCAL, multi_scale=False), hitts("one_label", PASCAL)
OUTER = 0.02  # share of a component's values that lie beyond its color at either end
BY_TASK = ("attention", "conv", "fine", "embed", "token_mlp", "answers", "refine")
SUPERVISION = {"pseudo": "L_p", "feature": "L_f"}  # ends of the names of terms; others are L_s


# -------------------------------------------------------------------- scenes


@dataclass(frozen=True)
class Scene:
    """One test image as a label setting leaves it, and what both networks make of it."""

    ours: HiTTs
    batch: Batch  # one image, with what the teacher discovered
    labeled: tuple[bool, ...]  # one per task
    steps: dict[str, Tensor]  # ``follow`` of ours
    taus: dict[str, float]  # thresholds of M^p

    @property
    def example(self) -> int:
        """The column of the first task that has no label."""
        return self.labeled.index(False)


def _candidates(
    inputs: FigureInputs, setting: LabelSetting
) -> tuple[Batch, Tensor, Arrays, list[int]]:
    """The first test images, who is labeled (N, T), their maps, and an order to choose in.

    First come images without the first task's label, so that a pseudo label shows; among equals
    those that show many classes.
    """
    tasks = inputs.test.tasks
    batch = inputs.load(range(min(len(inputs.test), SCENES)))
    labeled, truth = assign(setting, len(batch), tasks.names).labeled, true_maps(tasks, batch)
    order = sorted(most_varied(tasks, truth), key=lambda i: bool(labeled[i, 0]))
    return batch, labeled, truth, order


def _scene(inputs: FigureInputs, batch: Batch, labeled: Tensor, chosen: int) -> Scene:
    """The image at ``chosen``; thresholds accept a share of the pixels of all candidates."""
    teacher, ours = (inputs.methods[role] for role in ("teacher", "ours"))
    share = float(PSEUDO_SHARE.removesuffix("%")) / 100
    taus = {
        name: round(float(maps.float().quantile(1 - share)), 4)
        for name, maps in teacher.label_confidence(batch.images).items()
    }
    one = inputs.load([chosen])
    columns = labeled[[chosen]].to(one.images.device).T  # (T, 1)
    one = replace(one, labeled=dict(zip(ours.tasks.names, columns, strict=True)))
    discovered = teacher.discover(one.images, taus).withhold(one)
    one, known = replace(one, discovered=discovered), tuple(labeled[chosen].tolist())
    return Scene(ours, one, known, follow(ours, one.images), taus)


@torch.no_grad()
def follow(method: HiTTs, images: Tensor) -> dict[str, Tensor]:
    """Every tensor of the paper's Figures 2 to 4, by name; all keep the batch.

    Args:
        method: In evaluation mode, with all its components and one scale.
        images: (B, 3, H, W).

    Returns:
        ``image``; ``shared`` F_s; ``theta`` Theta; ``affinity`` A; ``theta_mixed`` Theta'. For
        every task ``gate/<task>`` (B, 1, H, W), how much each pixel answers the token,
        ``queried/<task>`` F_i, ``mixed_gate/<task>`` A x gates, ``mixed/<task>`` F'_i after
        inter-task learning, ``token/<task>`` theta'_i and ``projected/<task>`` F'_i after
        intra-task learning, ``feature/<task>`` its means over the cells, ``joint/<task>`` (B, 1 +
        n, C) token and cells as one sequence, ``mask/<task>`` M^f, ``basis/<task>`` o,
        ``embedded/<task>`` W^o o, ``phi/<task>``, ``fine/<task>`` G_i, ``score/<task>``
        Softplus(phi_i x F'_i), ``masked/<task>`` its product with G_i, ``refined/<task>`` G'_i,
        ``prediction/<task>``.

    Raises:
        ValueError: If the method has several scales, or lacks a component.
    """
    scale = method.single
    if scale is None or scale.Q is None or method.embed is None:
        raise ValueError(
            "method: expected HiTTs with one scale and all its components, got another one; "
            "Figure 12 shows several scales"
        )
    trace, shared = method.trace(images), method.backbone(images).decoder
    gates = scale.query(method.theta, shared)
    mixed_theta, mixed_gates = scale.mix(scale.affinity(method.theta), method.theta, gates)
    _, mixed, _ = scale(method.theta, shared)
    tensors = {"image": images, "shared": shared, "theta": method.theta[None]}
    tensors |= {"affinity": trace.affinity, "theta_mixed": mixed_theta[None]}
    for i, t in enumerate(method.tasks):
        feature, token = trace.task_features[t.name], trace.global_tokens[t.name]
        G, S, embed = trace.fine_features[t.name], trace.scores[t.name], method.embed[t.name]
        cells = feature.flatten(2).mT
        steps = {
            "gate": gates[:, i, None],
            "queried": gates[:, i, None] * shared,
            "mixed_gate": mixed_gates[:, i, None],
            "mixed": mixed[i],
            "token": token,
            "feature": feature,
            "joint": torch.cat([token[:, None], cells], dim=1),
            "mask": trace.feature_confidence[t.name],
            "basis": torch.eye(embed.in_features, device=images.device)[None],
            "embedded": (embed.weight.T + embed.bias)[None],
            "phi": trace.fine_tokens[t.name],
            "projected": trace.maps[t.name],
            "fine": G,
            "score": S,
            "masked": G * S,
            "refined": trace.refined[t.name],
            "prediction": trace.predictions[t.name],
        }
        tensors |= {f"{name}/{t.name}": tensor for name, tensor in steps.items()}
    return tensors


def learned(method: HiTTs) -> dict[str, int]:
    """How many numbers every part learns: together, all that the method learns."""
    parts: dict[str, nn.Module | Sequence[Tensor]] = {
        "backbone": method.backbone,
        "theta": [method.theta],
        "query": method.single.answers,
        "inter": nn.ModuleList([method.single.Q, method.single.K]),
    }
    by_task = {name: getattr(method, name) for name in BY_TASK} | {"mix": method.single.convs}
    for name, modules in by_task.items():
        parts |= {f"{name}/{t.name}": modules[t.name] for t in method.tasks if modules is not None}
    return {name: count(part) for name, part in parts.items()}


def count(part: nn.Module | Sequence[Tensor]) -> int:
    """Numbers that a part learns."""
    parameters = part.parameters() if isinstance(part, nn.Module) else part
    return sum(p.numel() for p in parameters)


def shapes(steps: Mapping[str, Tensor]) -> Arrays:
    """``shape/<name>`` of every tensor, without the batch."""
    return {f"shape/{name}": np.array(tensor.shape[1:]) for name, tensor in steps.items()}


def _counts(parts: Mapping[str, int]) -> Arrays:
    return {f"parameters/{name}": np.array(number) for name, number in parts.items()}


def feature_pictures(maps: Mapping[str, Tensor]) -> Arrays:
    """(1, C, h, w) features -> (h, w, 3) uint8: three principal components as red, green, blue.

    All maps have one set of components, so that a color says the same in each; every component
    spans nearly all of its values.
    """
    flat = [m[0].movedim(0, -1).flatten(0, 1).double().cpu() for m in maps.values()]
    points, _ = principal_components(torch.cat(flat))
    low, high = (points.quantile(q, dim=0) for q in (OUTER, 1 - OUTER))
    rgb = ((points - low) / (high - low).clamp(min=1e-9)).clamp(0, 1) * 255
    parts = rgb.round().byte().split([len(part) for part in flat])
    return {
        name: part.view(*m.shape[2:], 3).numpy()
        for (name, m), part in zip(maps.items(), parts, strict=True)
    }


def rounded(values: Tensor) -> NDArray[np.float32]:
    """Values that are drawn as colors, the same on any machine."""
    return np.round(values.double().cpu().numpy(), 4).astype(np.float32)


# ------------------------------------------------------------------- figures


def _common(scene: Scene) -> Arrays:
    """What Figures 1 to 4 say of their image.

    ``images`` (1, H, W, 3), ``known`` (T,) who has a label, ``example`` the name of the first task
    without one; ``<task>/truth``, ``/ours`` and ``/pseudo`` (1, H, W, ...), the last where M^p is
    1; ``tau/<task>`` and ``accepted/<task>``, the share of pixels that exceed it; as pictures
    ``feature/<task>`` and the teacher's ``teacher/<task>``, and its ``mask/<task>``;
    ``values/token/<task>`` and ``/phi/<task>``; shapes of ``follow``; ``parameters/...`` of
    ``learned``.
    """
    tasks, batch, steps = scene.ours.tasks, scene.batch, scene.steps
    discovered = batch.discovered
    arrays = describe(tasks, batch) | {"known": np.array(scene.labeled)}
    arrays["example"] = np.array(tasks.names[scene.example])
    arrays |= true_maps(tasks, batch)
    for t in tasks:
        name = t.name
        arrays[f"{name}/ours"] = shown(t, steps[f"prediction/{name}"])
        arrays[f"{name}/pseudo"] = shown(t, discovered.targets[name], discovered.valid[name])
        arrays[f"tau/{name}"] = np.array(scene.taus[name])
        accepted = discovered.valid[name].double().mean()
        arrays[f"accepted/{name}"] = np.round(np.array(float(accepted)), 4)
        features = {f"feature/{name}": steps[f"feature/{name}"]}
        arrays |= feature_pictures(features | {f"teacher/{name}": discovered.features[name]})
        arrays[f"mask/{name}"] = compact(discovered.confidence[name][0, 0])
        for kind in ("token", "phi"):
            arrays[f"values/{kind}/{name}"] = rounded(steps[f"{kind}/{name}"][0])
    return arrays | shapes(steps) | _counts(learned(scene.ours))


@torch.no_grad()
def setting(inputs: FigureInputs) -> Arrays:
    """Figure 1: images of which each has some labels, and what tokens discover for one of them.

    Under ``random_labels``: ``examples/images`` (N, H, W, 3), ``examples/labeled`` (N, T) and
    ``<task>/examples``; the first image is the one of ``_common``.
    """
    batch, labeled, truth, order = _candidates(inputs, "random_labels")
    first_of: dict[tuple[bool, ...], int] = {}  # who is labeled -> the first image in order
    for i in order:
        first_of.setdefault(tuple(labeled[i].tolist()), i)
    chosen = list(first_of.values())[:EXAMPLES]
    arrays = _common(_scene(inputs, batch, labeled, order[0]))
    arrays["examples/images"] = picture(batch.images)[chosen]
    arrays["examples/labeled"] = labeled[chosen].numpy()
    examples = {key.replace("/truth", "/examples"): maps[chosen] for key, maps in truth.items()}
    return arrays | examples


@torch.no_grad()
def walk(inputs: FigureInputs) -> Arrays:
    """Figures 2 to 4: the whole method on one image, step by step, and its losses on it.

    ``shared``, ``queried/<task>`` and ``mixed/<task>`` as pictures; ``gate/<task>`` and
    ``mixed_gate/<task>`` (H, W) in [0, 1]; ``values/theta``, ``/theta_mixed``, ``/affinity`` (T,
    T); ``block``, the side of a block of F_s that makes one cell; ``score/<task>`` (H, W) of the
    token whose scores vary most; ``confidence/<task>`` (H, W), the largest probability of G'.
    ``loss/L_s``, ``/L_p`` and ``/L_f`` are the method's own terms in evaluation mode. Of the task
    ``example``: ``projected`` as a picture, ``values/token``, ``/basis``, ``/embedded`` and
    ``/phi``; of the ``channel`` whose scores vary most ``fine``, ``score``, ``masked`` and
    ``refined`` (H, W); ``confidence`` (H, W) of the teacher and ``accept`` (H, W), M^p.
    """
    batch, labeled, _, order = _candidates(inputs, "one_label")
    scene = _scene(inputs, batch, labeled, order[0])
    names, steps, arrays = scene.ours.tasks.names, scene.steps, _common(scene)
    arrays |= feature_pictures({"shared": steps["shared"]})
    arrays |= {f"values/{n}": rounded(steps[n][0]) for n in ("theta", "theta_mixed", "affinity")}
    for n in names:
        stages = (f"queried/{n}", f"mixed/{n}")
        arrays |= feature_pictures({stage: steps[stage] for stage in stages})
        for gate in (f"gate/{n}", f"mixed_gate/{n}"):
            arrays[gate] = compact(steps[gate][0, 0])
        arrays[f"score/{n}"] = compact(steps[f"score/{n}"][0, _telling_token(scene, n)])
        arrays[f"confidence/{n}"] = compact(steps[f"refined/{n}"][0].softmax(0).amax(0))
    losses = dict.fromkeys(("L_s", *SUPERVISION.values()), 0.0)
    for name, term in scene.ours.training_step(scene.batch, progress=0.0).items():
        task = next(n for n in sorted(names, key=len, reverse=True) if name.startswith(n))
        losses[SUPERVISION.get(name[len(task) + 1 :], "L_s")] += float(term)
    arrays |= {f"loss/{name}": np.round(np.array(value), 4) for name, value in losses.items()}
    task = names[scene.example]
    channel, teacher = _telling_token(scene, task), inputs.methods["teacher"]
    arrays |= {"block": np.array(scene.ours.block), "channel": np.array(channel)}
    arrays |= feature_pictures({"projected": steps[f"projected/{task}"]})
    for name in ("token", "basis", "embedded", "phi"):
        arrays[f"values/{name}"] = rounded(steps[f"{name}/{task}"][0])
    for name in ("fine", "score", "masked", "refined"):
        arrays[name] = compact(steps[f"{name}/{task}"][0, channel])
    arrays["confidence"] = compact(teacher.label_confidence(scene.batch.images)[task][0, 0])
    arrays["accept"] = scene.batch.discovered.valid[task][0, 0].cpu().numpy()
    return arrays


def _telling_token(scene: Scene, task: str) -> int:
    """The token whose scores vary most over the image."""
    return int(scene.steps[f"score/{task}"][0].flatten(1).std(1).argmax())


# -------------------------------------------------------------------- scales


@torch.no_grad()
def scales(inputs: FigureInputs) -> Arrays:
    """Figure 12: sizes in global task token learning on one and on several scales.

    Of the paper's own experiments, whatever the profile: sizes are what the figure shows, and a
    network without weights has them too. ``single/...`` and ``multi/...`` are ``trace_scales`` of
    both; ``images`` (1, h, w, 3) is a picture of the data set, smaller than the experiment's.
    """
    side = {"height": THUMBNAIL, "width": THUMBNAIL}
    data = open_dataset(MULTI.dataset, "test", **side, images=SCENES)
    batch = data.load(range(len(data)))
    chosen = most_varied(data.tasks, true_maps(data.tasks, batch))[0]
    arrays = describe(data.tasks) | {"backbone": np.array(MULTI.backbone)}
    arrays |= {"images": picture(batch.images)[[chosen]], "index": np.array([chosen])}
    for name, experiment in (("single", SINGLE), ("multi", MULTI)):
        traced = trace_scales(*without_weights(experiment))
        arrays |= {f"{name}/{key}": values for key, values in traced.items()}
    return arrays


def without_weights(experiment: Experiment) -> tuple[HiTTs, Tensor]:
    """An experiment's network and one of its images, on torch's ``meta`` device: shapes alone."""
    e, tasks = experiment, find_class(experiment.dataset).tasks.subset(experiment.tasks)
    with torch.device("meta"):
        method = build_method(e.method, tasks, e.backbone, e.width_factor, e.method_args)
        return method.eval(), torch.empty(1, 3, e.height, e.width)


@torch.no_grad()
def trace_scales(method: HiTTs, images: Tensor) -> Arrays:
    """Shapes and counts of global task token learning, from the stages to F' and theta'.

    Returns:
        ``shape/image``, ``/shared`` F_s, ``/affinity``, ``/feature`` F'_i, ``/token`` theta'_i,
        ``/mask`` M^f, ``/theta``, ``/stage/<j>`` of the backbone, without the batch; with several
        scales ``/theta/<j>`` Theta^(j), ``/feature/<j>`` F'^(j), ``/affinity/<j>``,
        ``/cell/<j>`` F'^(j) on the common grid, ``/joined`` the input of Conv1x1. Features of a
        scale are (T, C_j, H_j, W_j). ``parameters/tokens`` is all between the backbone and the
        heads, and of its parts ``/split/<j>`` W^{s->m(j)}, ``/scale/<j>``,
        ``/merge/<j>`` W^{m->s(j)}, ``/fuse``, of all tasks.
    """
    first, tokens = method.tasks.names[0], method.scales
    trace, seen = method.trace(images, decode=False), method.backbone(images)
    steps = {"image": images, "shared": seen.decoder, "theta": method.theta[None]}
    steps |= {"affinity": trace.affinity, "feature": trace.task_features[first]}
    steps |= {"token": trace.global_tokens[first], "mask": trace.feature_confidence[first]}
    steps |= {f"stage/{j}": stage for j, stage in enumerate(seen.stages)}
    parts = {"tokens": count(tokens or method.single) + method.theta.numel()}
    if tokens is not None:
        steps |= _scale_steps(method, seen.stages, steps["feature"].shape[2:])
        parts["fuse"] = count(tokens.fuse)
        for name, modules in (("split", "split"), ("scale", "scales"), ("merge", "merge")):
            learned = map(count, getattr(tokens, modules))
            parts |= {f"{name}/{j}": number for j, number in enumerate(learned)}
    return shapes(steps) | _counts(parts)


def _scale_steps(method: HiTTs, stages: Sequence[Tensor], grid: Sequence[int]) -> dict[str, Tensor]:
    """What every scale holds, and what leaves all of them, by name."""
    tokens, steps = method.scales, {}
    for j, (own, stage) in enumerate(zip(tokens.split_tokens(method.theta), stages, strict=True)):
        mixed, maps, A = tokens.scales[j](own, stage)
        cells = torch.stack([to_grid(m, tuple(grid)) for m in maps], dim=1)
        now = {"theta": own[None], "theta_mixed": mixed[None], "affinity": A[None]}
        now |= {"feature": torch.stack(maps, dim=1), "cell": cells}
        steps |= {f"{name}/{j}": tensor for name, tensor in now.items()}
    cells = [steps[f"cell/{j}"] for j in range(len(stages))]
    return steps | {"joined": torch.cat(cells, dim=2)}
