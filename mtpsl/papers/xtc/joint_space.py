"""What the mapping network makes of a pair's prediction and label, as figures look at it.

Computed as in training, where BatchNorm uses the statistics of a pass over many images, from a
copy of the network that nothing else sees.
"""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.models.backbone import Output
from mtpsl.papers.xtc.mapping import MappingNet, Pass, label_input, prediction_input
from mtpsl.papers.xtc.method import XTC
from mtpsl.tasks import Task

PAIR = ("semseg", "normals")  # source and target of Figures 1 to 3 [XTC, Sec. 4.4]


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
    passes = pair_passes(method, source, target, predictions, batch, slice(None))
    m_s, m_t = as_in_training(method)(passes, method.loss.statistics)
    return m_s.float(), m_t.float()


def pair_passes(
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
