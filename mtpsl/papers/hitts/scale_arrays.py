"""The arrays of HiTTs' Figure 12: sizes in global token learning on one and on several scales.

The figure shows sizes, and no values. So its two networks are the paper's own, at full size,
traced without weights.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mtpsl.data import find_class, open_dataset
from mtpsl.papers import build_method
from mtpsl.papers.hitts.diagram_arrays import count, shapes
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.papers.hitts.rows import PASCAL, hitts
from mtpsl.papers.hitts.scales import as_maps, to_grid
from mtpsl.report.arrays import (
    SCENES,
    Arrays,
    FigureInputs,
    describe,
    picture,
    shown,
    variety,
)
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
    arrays |= {"images": picture(batch.images)[[chosen]], "index": np.array([chosen])}
    for name, experiment in (("single", SINGLE), ("multi", MULTI)):
        traced = trace_scales(*without_weights(experiment))
        arrays |= {f"{name}/{key}": values for key, values in traced.items()}
    return arrays


def without_weights(experiment: Experiment) -> tuple[HiTTs, Tensor]:
    """An experiment's network and one of its images, on torch's ``meta`` device.

    Nothing is computed or stored there, and every tensor still has its shape.
    """
    tasks = find_class(experiment.dataset).tasks.subset(experiment.tasks)
    with torch.device("meta"):
        method = build_method(
            experiment.method,
            tasks,
            experiment.backbone,
            experiment.width_factor,
            experiment.method_args,
        )
        return method.eval(), torch.empty(1, 3, experiment.height, experiment.width)


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
    steps = {
        "image": images,
        "shared": seen.decoder,
        "theta": method.theta[None],
        "affinity": trace.affinity,
        "feature": trace.task_features[first],
        "token": trace.global_tokens[first],
        "mask": trace.feature_confidence[first],
    }
    steps |= {f"stage/{j}": stage for j, stage in enumerate(seen.stages)}
    if tokens is None:
        parts = [method.query, method.key, method.value, method.Q, method.K]
        arrays = shapes(steps)
        arrays["parameters/tokens"] = np.array(count(nn.ModuleList(parts)) + method.theta.numel())
        return arrays
    steps |= dict(_scale_steps(method, seen.stages, trace.task_features[first].shape[2:]))
    arrays = shapes(steps)
    arrays["parameters/tokens"] = np.array(count(tokens) + method.theta.numel())
    arrays["parameters/fuse"] = np.array(count(tokens.fuse))
    for j in range(len(seen.stages)):
        for name, parts in (("split", tokens.split), ("scale", tokens.scales)):
            arrays[f"parameters/{name}/{j}"] = np.array(count(parts[j]))
        arrays[f"parameters/merge/{j}"] = np.array(count(tokens.merge[j]))
    return arrays


def _scale_steps(
    method: HiTTs, stages: Sequence[Tensor], grid: Sequence[int]
) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of what every scale holds, and of what leaves all of them."""
    tokens, cells = method.scales, []
    for j, (own, stage) in enumerate(zip(tokens.split_tokens(method.theta), stages, strict=True)):
        mixed, features, A = tokens.scales[j](own, stage)
        maps = as_maps(features, stage.shape[2:])
        cells.append(to_grid(maps, tuple(grid)))
        yield f"theta/{j}", own[None]
        yield f"theta_mixed/{j}", mixed
        yield f"feature/{j}", maps
        yield f"affinity/{j}", A
        yield f"cell/{j}", cells[-1]
    yield "joined", torch.cat(cells, dim=2)
