"""Features without a network, which follow the losses of TPKR alone [TPKR, Eq. 4, 5]."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mtpsl.engine import seeded
from mtpsl.papers.tpkr.loss import Sign, TaskPrototypes, normalize
from mtpsl.tasks import TaskSet, depth

IMAGES, POSITIONS, LENGTH, RATE = 4, 24, 64, 0.01


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
        steps: Of Adam; 0 leaves features at their start.
        seed: Of the start.
    """
    named = free_tasks(tasks)
    counted = torch.ones(tasks, IMAGES, dtype=torch.bool)
    with seeded(torch.device("cpu"), "free features", seed):
        prototypes = TaskPrototypes(named, LENGTH, temperature=temperature, tc_sign=sign)
        free = torch.randn(tasks, IMAGES, POSITIONS, LENGTH)
    free = normalize(free).requires_grad_()
    optimizer = torch.optim.Adam([free, prototypes.slots], lr=RATE)

    def losses() -> dict[str, Tensor]:
        x = normalize(free)
        terms = {"tke": prototypes.embedding_loss(prototypes.similarity(x), counted)}
        return terms | ({"tc": prototypes.consistency_loss(x, counted)} if sign != "none" else {})

    for _ in range(steps):
        optimizer.zero_grad()
        sum(losses().values()).backward()
        optimizer.step()
    with torch.no_grad():
        x, slots = normalize(free), prototypes.slots.detach()
        affinity, anchors = prototypes.affinity(prototypes.similarity(x)), x.mean(dim=1)
        near = torch.einsum("tnd,sbnd->tsbn", normalize(anchors), x).mean(dim=(2, 3))
        own = torch.arange(tasks).view(-1, 1, 1)
        right = float((affinity.argmax(dim=3) == own).float().mean())
        ended = {name: term.item() for name, term in losses().items()}
    return FreeFeatures(x, anchors, slots, affinity.mean(dim=(1, 2)), near, right, ended)


def free_tasks(count: int) -> TaskSet:
    """As many tasks, of which the losses need the names alone."""
    known = (replace(depth(), name=f"task {t + 1}", title=f"Task {t + 1}") for t in range(count))
    return TaskSet(tuple(known))
