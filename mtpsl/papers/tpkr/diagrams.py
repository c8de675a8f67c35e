"""Figures 1 to 4 of TPKR: from prototypes to refined features, and what both signs of Eq. 5 teach.

Shapes are those of a training step, read off while it runs; maps and affinities are those of a
trained network. Figure 4 needs none: its features are free, and follow the losses alone.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mtpsl.engine import seeded
from mtpsl.papers.tpkr.loss import Sign, TaskPrototypes, normalize
from mtpsl.tasks import TaskSet, depth

FREE_IMAGES, FREE_POSITIONS, FREE_LENGTH, FREE_RATE = 4, 24, 64, 0.01  # of free features


@dataclass(frozen=True)
class FreeFeatures:
    """Where the losses alone take features that no network stands behind."""

    features: Tensor  # x^, (T, B, n, d), of length 1
    anchors: Tensor  # x~, (T, n, d), their means over images
    slots: Tensor  # V, (T, d)
    affinity: Tensor  # (T, T), mean A of the features of each task (rows) with each slot
    cosines: Tensor  # (T, T), mean cosine of the anchors of each task (rows) and features of each
    right: float  # share of positions whose largest affinity is with their own slot
    terms: dict[str, float]  # "tke" and, unless the sign is "none", "tc", at the end

    @property
    def own_affinity(self) -> float:
        """The mean affinity of features with their own slot."""
        return float(self.affinity.diagonal().mean())

    @property
    def same(self) -> float:
        """The mean cosine of anchors and features of one task."""
        return float(self.cosines.diagonal().mean())

    @property
    def cross(self) -> float:
        """The mean cosine of anchors and features of two tasks."""
        return float(self.cosines[~torch.eye(len(self.cosines), dtype=torch.bool)].mean())


def free_features(
    sign: Sign, tasks: int = 3, temperature: float = 1.0, steps: int = 600, seed: int = 0
) -> FreeFeatures:
    """Descends L_tke + L_tc from random features and slots [TPKR, Eq. 4, 5]; takes seconds.

    Features have length 1, since both losses read directions alone: a longer image would draw the
    mean over images to itself.

    Args:
        sign: Of L_tc, as of ``TaskPrototypes``; all images are labeled.
        tasks: T.
        temperature: Of the affinity.
        steps: Of Adam.
        seed: Of the start.
    """
    named = TaskSet(tuple(replace(depth(), name=f"task {t + 1}") for t in range(tasks)))
    counted = torch.ones(tasks, FREE_IMAGES, dtype=torch.bool)
    with seeded(torch.device("cpu"), "free features", seed):
        prototypes = TaskPrototypes(named, FREE_LENGTH, temperature=temperature, tc_sign=sign)
        free = torch.randn(tasks, FREE_IMAGES, FREE_POSITIONS, FREE_LENGTH)
    free = normalize(free).requires_grad_()
    optimizer = torch.optim.Adam([free, prototypes.slots], lr=FREE_RATE)
    for _ in range(steps):
        x = normalize(free)
        terms = {"tke": prototypes.embedding_loss(prototypes.similarity(x), counted)}
        if sign != "none":
            terms["tc"] = prototypes.consistency_loss(x, counted)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    with torch.no_grad():
        x, slots = normalize(free), prototypes.slots.detach()
        affinity, anchors = prototypes.affinity(prototypes.similarity(x)), x.mean(dim=1)
        near = torch.einsum("tnd,sbnd->tsbn", normalize(anchors), x).mean(dim=(2, 3))
        own = torch.arange(tasks).view(-1, 1, 1)
        right = float((affinity.argmax(dim=3) == own).float().mean())
    ended = {name: term.item() for name, term in terms.items()}
    return FreeFeatures(x, anchors, slots, affinity.mean(dim=(1, 2)), near, right, ended)
