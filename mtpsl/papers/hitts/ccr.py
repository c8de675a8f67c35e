"""Contrastive regularization between tasks [CCR], a full-label row of [HiTTs, Table 2].

Siwei Yang, Hanrong Ye, Dan Xu. Contrastive Multi-Task Dense Prediction. AAAI 2023.
arXiv:2307.07934

Every task is a target. In each step it draws one other task, its source, whose labels say which
pixels of an image are alike. A projector of that pair embeds the target's feature, and there a
pixel must be nearer to one that is alike than to one that is not. That much is in the paper's
abstract and its overview figure, which this file is written from; there is no released code. What
they leave open, every number included, is decided in ``CHOICES`` and is not the authors'.
"""

from functools import partial
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import MultiTaskNet
from mtpsl.papers.xtc.pair_maps import key
from mtpsl.tasks import Task, TaskSet

CHOICES: dict[str, str] = {
    "feature of a task": "what the last convolution of its head reads",
    "projector": "two 1x1 convolutions as wide as the feature, a ReLU between them, for every "
    "ordered pair; its output has unit length",
    "source": "drawn uniformly from the other tasks that have a usable label in the batch",
    "alike": "classes and binary maps: the same value; depths: less than 10 % of the larger one "
    "apart; normals: within 11.25 degrees",
    "not alike": "another value; more than 20 % of the larger one apart, the usual ratio of 1.25; "
    "beyond 30 degrees; pixels in between are neither",
    "sampling": "up to 256 labeled pixels of an image, each an anchor with one random pixel of "
    "either kind; positives and negatives come from the anchor's image",
    "grid": "the feature's; a label is read at the pixel that lies in the middle of a cell",
    "loss": "max(0, margin + d(positive) - d(negative)), d the squared distance, margin 0.2",
    "reduction": "a mean over the triplets of an image, summed over images and targets, divided "
    "by the batch size",
    "weight": "1",
}
"""What abstract and overview figure leave open -> what this file does."""

# kind -> the largest gap of labels that agree, and the one that labels which disagree exceed
ALIKE = {"classes": 0.0, "binary": 0.0, "positive": 0.1, "direction": 11.25}
DIFFERENT = {"classes": 0.0, "binary": 0.0, "positive": 0.2, "direction": 30.0}


@final
class CCR(Method):
    """Labels of one task order the features of another; prediction costs what MTL's does.

    Args:
        tasks: The tasks; a single one has no source and learns from its labels alone.
        backbone: Returns ``Features``; its heads end in a convolution.
        weight: Of the contrastive term.
        margin: By how much nearer a pixel that is alike must be.
        pixels: Most pixels of an image that are anchors.
    """

    def __init__(
        self,
        tasks: TaskSet,
        backbone: nn.Module,
        *,
        weight: float = 1.0,
        margin: float = 0.2,
        pixels: int = 256,
    ) -> None:
        super().__init__()
        self.tasks, self.net = tasks, MultiTaskNet(backbone, tasks)
        self.weight, self.margin, self.pixels = weight, margin, pixels
        self.projectors = build_projectors(
            tasks, {t.name: last_convolution(self.net.heads[t.name]).in_channels for t in tasks}
        )

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        predictions, features = task_features(self.net, batch.images)
        terms = supervised_terms(self.tasks, predictions, batch)
        contrast = contrastive_loss(
            self.tasks, self.projectors, features, batch, margin=self.margin, pixels=self.pixels
        )
        return terms | {"contrastive": self.weight * contrast}


def build_projectors(tasks: TaskSet, channels: dict[str, int]) -> nn.ModuleDict:
    """A projector for every ordered pair of tasks, as wide as its target's feature."""

    def project(C: int) -> nn.Module:  # two 1x1 convolutions, on chosen pixels
        return nn.Sequential(nn.Linear(C, C), nn.ReLU(), nn.Linear(C, C))

    return nn.ModuleDict({key(s, t): project(channels[t.name]) for s, t in tasks.pairs()})


def contrastive_loss(
    tasks: TaskSet,
    projectors: nn.ModuleDict,
    features: dict[str, Tensor],
    batch: Batch,
    *,
    margin: float = 0.2,
    pixels: int = 256,
) -> Tensor:
    """The triplet loss of every target with a source of this step; fits any training loop.

    Args:
        tasks: The tasks.
        projectors: Of ``build_projectors``; learn with the network.
        features: task -> (B, C, h, w), what a task's last layer reads.
        batch: Whose labels define the triplets.
        margin: As in ``CCR``, in squared distance.
        pixels: As in ``CCR``.

    Returns:
        A scalar; 0 with a gradient of 0 where no image has a triplet. A projector whose pair was
        not drawn has a gradient of 0.
    """
    seed = int(torch.randint(2**62, ()))
    total = batch.images.new_zeros(())
    for layers in projectors.values():
        total = total + layers(batch.images.new_zeros(0, layers[0].in_features)).sum()
    for source, target in draw_sources(tasks, batch, seed):
        feature = features[target.name]
        place, numbers = tasks.names.index(target.name), batch.index.tolist()
        random = [generator(feature.device, seed, number, place) for number in numbers]
        mask = on_grid(batch.mask(source.name), feature)
        chosen = [draw_pixels(m[0], pixels, r) for m, r in zip(mask, random, strict=True)]
        counts = [len(places) for places in chosen]
        rows = torch.arange(len(batch)).repeat_interleave(torch.tensor(counts)).to(feature.device)
        y, x = torch.cat(chosen).T
        labels = on_grid(batch.targets[source.name], feature)[rows, :, y, x]  # (N, C)
        embedded = projectors[key(source, target)](feature[rows, :, y, x]).float()
        embedded = F.normalize(embedded, dim=1)  # (N, D)
        for z, label, r in zip(embedded.split(counts), labels.split(counts), random, strict=True):
            total = total + triplet_loss(z, draw_triplets(source, label, r), margin) / len(batch)
    return total


# ------------------------------------------------------------------- pieces


def last_convolution(head: nn.Module) -> nn.Conv2d:
    """The layer whose input is a task's own feature."""
    return [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)][-1]


def task_features(net: MultiTaskNet, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Predictions of a network, and what the last convolution of each head read: (B, C, h, w)."""
    features: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (features[name],) = inputs

    hooks = [
        last_convolution(head).register_forward_pre_hook(partial(keep, name))
        for name, head in net.heads.items()
    ]
    try:
        return net(images).predictions, features
    finally:
        for hook in hooks:
            hook.remove()


def generator(device: torch.device | str, *numbers: int) -> torch.Generator:
    """Random numbers that depend on ``numbers`` alone."""
    return torch.Generator(device).manual_seed(hash(numbers) & (2**63 - 1))


def draw_sources(tasks: TaskSet, batch: Batch, seed: int) -> list[tuple[Task, Task]]:
    """A pair (source, target) for every target that has another task with a usable label."""
    usable = [t for t in tasks if batch.mask(t.name).any()]
    pairs = []
    for place, target in enumerate(tasks):
        others = [t for t in usable if t.name != target.name]
        if others:
            drawn = torch.randint(len(others), (), generator=generator("cpu", seed, place))
            pairs.append((others[int(drawn)], target))
    return pairs


def on_grid(maps: Tensor, feature: Tensor) -> Tensor:
    """(B, C, H, W) read in the middle of the cells of ``feature`` (B, C', h, w): (B, C, h, w)."""
    y, x = (
        ((torch.arange(cells, device=maps.device) + 0.5) * pixels / cells).long()
        for cells, pixels in zip(feature.shape[2:], maps.shape[2:], strict=True)
    )
    return maps[:, :, y[:, None], x]


def draw_pixels(mask: Tensor, most: int, random: torch.Generator) -> Tensor:
    """Different places (P, 2), row and column, where ``mask`` (h, w) is set; P at most ``most``."""
    places = mask.nonzero()
    order = torch.randperm(len(places), generator=random, device=mask.device)
    return places[order[:most]]


def label_gap(task: Task, labels: Tensor) -> Tensor:
    """How far labels (P, C) are from each other, (P, P).

    0 or 1 for classes and binary maps; the difference as a share of the larger one for positive
    numbers; degrees for directions.
    """
    a, b = labels[:, None], labels[None]
    match task.kind:
        case "classes" | "binary":
            return (a != b).any(dim=2).float()
        case "positive":
            return ((a - b).abs() / torch.maximum(a, b).clamp(min=1e-6)).amax(dim=2)
        case "direction":
            return (a * b).sum(dim=2).clamp(-1, 1).acos().rad2deg()


def draw_triplets(task: Task, labels: Tensor, random: torch.Generator) -> Tensor:
    """For each pixel one that is alike and one that is not, where it has both.

    Args:
        task: The source.
        labels: (P, C), its labels of P pixels.
        random: On their device.

    Returns:
        (3, n) positions among the P: anchors, positives, negatives.
    """
    if not len(labels):
        return torch.zeros(3, 0, dtype=torch.int64, device=labels.device)
    gap = label_gap(task, labels)
    alike = (gap <= ALIKE[task.kind]).fill_diagonal_(False)
    different = gap > DIFFERENT[task.kind]
    picked = []
    for allowed in (alike, different):
        score = torch.rand(allowed.shape, generator=random, device=allowed.device)
        picked.append(score.masked_fill(~allowed, -1).argmax(1))
    anchors = (alike.any(1) & different.any(1)).nonzero().flatten()
    return torch.stack([anchors, *(choice[anchors] for choice in picked)])


def triplet_loss(embedded: Tensor, triplets: Tensor, margin: float) -> Tensor:
    """Hinge of squared distances of (P, D) at (3, n) triplets, a mean over n.

    A scalar; 0 with a gradient of 0 without a triplet.
    """
    anchor, positive, negative = (embedded[places] for places in triplets)
    near, far = ((anchor - other).square().sum(1) for other in (positive, negative))
    return (margin + near - far).relu().sum() / max(1, triplets.shape[1])
