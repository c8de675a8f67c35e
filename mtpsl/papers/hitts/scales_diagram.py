"""Figure 12 of HiTTs: global task tokens on one scale, and on several scales of a backbone.

The figure shows sizes, and no values. So its two networks are the paper's own, at full size, traced
without weights.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from mtpsl.data import find_class, open_dataset
from mtpsl.papers import build_method
from mtpsl.papers.hitts.diagrams import GLOBAL
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.papers.hitts.scales import as_maps, to_grid
from mtpsl.papers.hitts.tables import PASCAL, hitts
from mtpsl.papers.hitts.traces import count, shapes
from mtpsl.report.arrays import SCENES, Arrays, FigureInputs, describe, shown, variety
from mtpsl.report.arrays import picture as pixels
from mtpsl.report.cells import (
    SHARED,
    SMALL,
    TASK,
    Cell,
    box,
    count_of,
    mix,
    picture,
    remark,
    shape_of,
    shape_text,
)
from mtpsl.report.diagram import Diagram
from mtpsl.report.maps import titles_of
from mtpsl.report.style import Image
from mtpsl.runs.experiment import Experiment

THUMBNAIL = 128  # pixels of the side of the picture
SINGLE, MULTI = hitts("one_label", PASCAL, multi_scale=False), hitts("one_label", PASCAL)


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
    classes = [t for t in data.tasks if t.kind == "classes"]
    maps = [shown(t, batch.targets[t.name], batch.valid[t.name]) for t in classes]
    chosen = max(range(len(data)), key=lambda i: sum(variety(ids[i]) for ids in maps))
    arrays = describe(data.tasks) | {"backbone": np.array(MULTI.backbone)}
    arrays |= {"images": pixels(batch.images)[[chosen]], "index": np.array([chosen])}
    for name, experiment in (("single", SINGLE), ("multi", MULTI)):
        traced = trace_scales(*without_weights(experiment))
        arrays |= {f"{name}/{key}": values for key, values in traced.items()}
    return arrays


def without_weights(experiment: Experiment) -> tuple[HiTTs, Tensor]:
    """An experiment's network and one of its images, on torch's ``meta`` device.

    Nothing is computed or stored there, and every tensor still has its shape.
    """
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
        scale are (T, C_j, H_j, W_j). ``parameters/tokens`` is all between the backbone and
        intra-task learning, and of its parts ``/split/<j>`` W^{s->m(j)}, ``/scale/<j>``,
        ``/merge/<j>`` W^{m->s(j)}, ``/fuse``, of all tasks.
    """
    first, tokens = method.tasks.names[0], method.scales
    trace, seen = method.trace(images, decode=False), method.backbone(images)
    steps = {"image": images, "shared": seen.decoder, "theta": method.theta[None]}
    steps |= {"affinity": trace.affinity, "feature": trace.task_features[first]}
    steps |= {"token": trace.global_tokens[first], "mask": trace.feature_confidence[first]}
    steps |= {f"stage/{j}": stage for j, stage in enumerate(seen.stages)}
    single = nn.ModuleList([method.query, method.key, method.value, method.Q, method.K])
    parts = {"tokens": count(tokens or single) + method.theta.numel()}
    if tokens is not None:
        steps |= _scale_steps(method, seen.stages, steps["feature"].shape[2:])
        parts["fuse"] = count(tokens.fuse)
        for name, modules in (("split", "split"), ("scale", "scales"), ("merge", "merge")):
            learned = map(count, getattr(tokens, modules))
            parts |= {f"{name}/{j}": number for j, number in enumerate(learned)}
    return shapes(steps) | {f"parameters/{name}": np.array(n) for name, n in parts.items()}


def _scale_steps(method: HiTTs, stages: Sequence[Tensor], grid: Sequence[int]) -> dict[str, Tensor]:
    """What every scale holds, and what leaves all of them, by name."""
    tokens, steps = method.scales, {}
    for j, (own, stage) in enumerate(zip(tokens.split_tokens(method.theta), stages, strict=True)):
        mixed, features, A = tokens.scales[j](own, stage)
        maps = as_maps(features, stage.shape[2:])
        cell = to_grid(maps, tuple(grid))
        now = {"theta": own[None], "theta_mixed": mixed, "feature": maps, "affinity": A}
        steps |= {f"{name}/{j}": tensor for name, tensor in (now | {"cell": cell}).items()}
    cells = [steps[f"cell/{j}"] for j in range(len(stages))]
    return steps | {"joined": torch.cat(cells, dim=2)}


def draw_fig12(arrays: Arrays) -> Figure:
    """Above one scale, below all of them: what is projected, mixed and fused, with its sizes."""
    diagram, titles = Diagram(picture=0.66), titles_of(arrays)
    single, multi = (
        {k.partition("/")[2]: v for k, v in arrays.items() if k.startswith(f"{name}/")}
        for name in ("single", "multi")
    )
    scales = sum(key.startswith("shape/stage/") for key in multi)
    largest = np.max([multi[f"shape/stage/{j}"] for j in range(scales)], axis=0)
    tasks = f"{len(titles)} tasks: {', '.join(titles.values())}"
    counts = [f"{count_of(p, 'tokens')} parameters before intra-task" for p in (single, multi)]
    grid = diagram.grid(f"(a) Single-scale global task token learning | {tasks}; {counts[0]}")
    grid.row(".     .   .   theta query A token   attend token'")
    grid.row("image net map .     query . feature attend feature'")
    grid = diagram.grid(f"(b) Multi-scale global task token learning | {tasks}; {counts[1]}")
    ends = ["total attend' token''"] * scales + ["fuse attend' feature''"] * scales
    for j in range(scales):
        theta, image = ("theta'", "image'") if j == 0 else (".", ".")
        grid.row(f".       .        .      {theta} split{j} query{j} A{j} merge{j} {ends[2 * j]}")
        grid.row(f"{image} stage{j} map{j} .       .        query{j} F{j} F{j} {ends[2 * j + 1]}")
        _scale(diagram, multi, j, largest)
        diagram.join(
            f"theta' {'|->' if j else '->'} split{j} -> query{j} -> A{j} -> merge{j}", GLOBAL
        )
        diagram.join(f"merge{j} -|-> total", GLOBAL)
        diagram.join(f"query{j} -> F{j} --|-> fuse", TASK)
        diagram.join(f"{f'stage{j - 1}' if j else image} -> stage{j} -> map{j} -> query{j}", SHARED)
    image, last = [shape_of(single, "image")], single[f"shape/stage/{scales - 1}"]
    for name in ("image", "image'"):
        diagram[name] = picture(arrays["images"][0], below=image)
    diagram["net"] = box(str(arrays["backbone"]), "last stage", color=SHARED)
    diagram["map"] = _pile(last, largest, below=shape_of(single, "shared", "$F_s$"))
    theta = [shape_of(single, "theta", r"$\Theta$")]
    diagram["theta"] = _matrix((len(titles), 1), below=theta)
    diagram["theta'"] = _matrix((len(titles), 1), rows=theta)
    diagram["query"] = box("query", "inter-task", color=GLOBAL, stretch=True)
    A = shape_of(single, "affinity", "$A$")
    diagram["A"] = _matrix(single["shape/affinity"], below=A)
    diagram["attend"] = diagram["attend'"] = box("attend", "intra-task", color=TASK, stretch=True)
    for name, sign in (("token", r"$\theta'_i$"), ("feature", "$F'_i$")):
        for end in ("", "'", "''"):
            diagram[name + end] = remark(shape_of(single, name, sign), size=SMALL)
    diagram["total"] = box("sum", f"{scales} scales", color=GLOBAL)
    fuse, joined = count_of(multi, "fuse"), shape_text(multi["shape/joined"][1:])
    diagram["fuse"] = box("Conv 1 × 1", fuse, color=TASK, below=joined)
    diagram.join("image -> net -> map -> query", SHARED)
    diagram.join("theta -> query -> A -> token -> attend -> token'", GLOBAL)
    diagram.join("query -> feature -> attend -> feature'", TASK)
    diagram.join("total -> attend' -> token''", GLOBAL)
    diagram.join("fuse -> attend' -> feature''", TASK)
    return diagram.draw()


def _scale(diagram: Diagram, multi: Arrays, j: int, largest: Image) -> None:
    """The cells of one scale of Figure 12."""
    own, cell = multi[f"shape/feature/{j}"][1:], multi[f"shape/cell/{j}"][2:]
    size = shape_text(own) + (f" → {shape_text(cell)}" if (own[1:] != cell).any() else "")
    feature = shape_of(multi, f"stage/{j}", rf"$F_s^{{({j})}}$")
    theta = shape_of(multi, f"theta/{j}", rf"$\Theta^{{({j})}}$")
    split, query, merge = (count_of(multi, f"{part}/{j}") for part in ("split", "scale", "merge"))
    diagram[f"stage{j}"] = box(f"stage {j + 1}", color=SHARED)
    diagram[f"map{j}"] = _pile(multi[f"shape/stage/{j}"], largest, below=feature)
    diagram[f"split{j}"] = box(rf"$W^{{s\to m({j})}}$", split, color=GLOBAL, below=theta)
    diagram[f"query{j}"] = box("query", "inter-task", query, color=GLOBAL, stretch=True)
    diagram[f"A{j}"] = _matrix(multi[f"shape/affinity/{j}"], below=rf"$A^{{({j})}}$")
    diagram[f"merge{j}"] = box(rf"$W^{{m\to s({j})}}$", merge, color=GLOBAL)
    diagram[f"F{j}"] = remark(rf"$F_i'^{{({j})}}$  {size}", size=SMALL)


def _matrix(size: tuple[int, int], **how: Any) -> Cell:
    """Tokens or affinities without values."""
    shades = np.array([mix(GLOBAL, 0.8), mix(GLOBAL, 0.3)])
    image = shades[np.indices(size).sum(0) % 2]
    return picture(image, GLOBAL, wide=0.6, height=0.6, **how)


def _pile(shape: Image, largest: Image, **how: Any) -> Cell:
    """A feature (C, H, W) without values: larger for a larger map, more sheets for more of C."""
    high, wide = 0.7 * shape[1:] / max(largest[1:])
    sheets = max(1, round(6 * shape[0] / largest[0]))
    return Cell(width=wide, height=high, sheets=sheets, frame=SHARED, **how)
