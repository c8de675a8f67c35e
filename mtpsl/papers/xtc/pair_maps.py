"""Baselines that map one task to another, a whole network for every ordered pair [XTC, Sec. 3.2].

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893
Amir Zamir, Alexander Sax, Teresa Yeo, Oguzhan Kar, Nikhil Cheerla, Rohan Suri, Zhangjie Cao,
Jitendra Malik, Leonidas Guibas. Robust Learning Through Cross-Task Consistency. CVPR 2020.
arXiv:2006.04096 [X-Task]

There is no released code for their use here. What the papers leave open is decided in ``CHOICES``.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mtpsl.batch import Batch
from mtpsl.losses import per_image_mean
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.methods.baselines import comparable
from mtpsl.models import MultiTaskNet
from mtpsl.models.segnet import WIDTHS, SegNet, init_weights
from mtpsl.papers.xtc.loss import (
    Inputs,
    Link,
    find_links,
    gather_links,
    usable_labels,
    with_shares,
)
from mtpsl.tasks import Task, TaskSet

CHOICES: dict[str, str] = {
    "input of a map": "as in XTC: sampled classes, depth by its largest value, normals in [0, 1]",
    "L_ct of Direct-Map": "the target task's own supervised loss on its labeled pixels",
    "L_ct of Perceptual-Map, X-Task": "mean absolute difference in the target task's space, "
    "probabilities for classes; where the source's label has a hole, nothing is compared",
    "how Perceptual-Map's maps learn": "as those of Direct-Map, from predictions to labels, but "
    "without a gradient to the prediction; the perceptual loss passes through constant maps, "
    "because a map that it may change becomes constant",
    "pairs of Perceptual-Map": "from a task with a label to one without; all with every label",
    "pretraining of X-Task": "inside the run: maps learn from label to label on images that have "
    "both, from the first step to the last, while the perceptual loss starts after a share of "
    "training; [X-Task] trains them to the end beforehand",
    "statistics of a constant map": "BatchNorm uses the batch, its running statistics stay",
    "|T_n|, |U_n|": "no division, like XTC here; per_image_mean=True divides as in Eq. 1 and 3",
    "weights": "1",
}
"""What the papers leave open -> what this file does."""


@final
class TaskMap(nn.Module):
    """m^{s->t}: a whole SegNet that reads the source and predicts the target."""

    def __init__(self, source: Task, target: Task, width_factor: float) -> None:
        super().__init__()
        self.target = target
        self.net = SegNet(width_factor)
        first = self.net.encoder[0]
        first[0] = nn.Conv2d(source.channels, first[0].out_channels, kernel_size=3, padding=1)
        init_weights(first)
        self.head = self.net.build_head(target.channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(n, source.channels, H, W) -> (n, target.channels, H, W), a prediction of the target."""
        return self.target.activate(self.head(self.net(maps).decoder).float())


@final
class PairMaps(nn.ModuleDict):
    """A ``TaskMap`` for every ordered pair."""

    def __init__(self, tasks: TaskSet, width_factor: float) -> None:
        super().__init__({key(s, t): TaskMap(s, t, width_factor) for s, t in tasks.pairs()})

    def constant(self, source: Task, target: Task) -> Callable[[Tensor], Tensor]:
        """The map of a pair as a function that gradients pass through and do not train."""
        network = self[key(source, target)]

        def apply(maps: Tensor) -> Tensor:
            state = {name: p.detach() for name, p in network.named_parameters()}
            state |= {name: b.clone() for name, b in network.named_buffers()}
            return functional_call(network, state, (maps,))

        return apply


def key(source: Task, target: Task) -> str:
    return f"{source.name} to {target.name}"


def width_for(backbone: nn.Module, width_factor: float | None) -> float:
    """A SegNet's width factor; by default one as wide as the backbone, and never wider than 1."""
    own = min(1.0, backbone.bottleneck_channels / WIDTHS[-1])
    return own if width_factor is None else width_factor


class PairMapMethod(Method):
    """A network, a map for every ordered pair of its tasks, and what ties the two.

    Args:
        tasks: The tasks.
        backbone: Returns ``Features``.
        weight: Multiplies the term that teaches the network through the maps.
        map_width: Width factor of the maps; None: see ``width_for``.
        per_image_mean: Divide by |T_n| and |U_n|.
    """

    def __init__(
        self,
        tasks: TaskSet,
        backbone: nn.Module,
        *,
        weight: float = 1.0,
        map_width: float | None = None,
        per_image_mean: bool = False,
    ) -> None:
        super().__init__()
        self.tasks, self.weight = tasks, weight
        self.net = MultiTaskNet(backbone, tasks)
        self.maps = PairMaps(tasks, width_for(backbone, map_width))
        self.per_image_mean = per_image_mean

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        predictions, mean = self.net(batch.images).predictions, self.per_image_mean
        terms = supervised_terms(self.tasks, predictions, batch, per_image_mean=mean)
        return terms | self.mapped_terms(Inputs(predictions, batch), batch, progress)

    @abstractmethod
    def mapped_terms(self, inputs: Inputs, batch: Batch, progress: float) -> Terms:
        """The terms that the maps have a part in."""


@final
class DirectMap(PairMapMethod):
    """The prediction of an unlabeled task, mapped to a labeled one, must match the label."""

    def mapped_terms(self, inputs: Inputs, batch: Batch, progress: float) -> Terms:
        links = find_links(self.tasks, batch, per_image_mean=self.per_image_mean)
        loss = direct_loss(self.maps, links, inputs, batch)
        return {"direct_map": self.weight * loss}


@final
class PerceptualMap(PairMapMethod):
    """A labeled task's prediction and label must agree after both are mapped to another task."""

    def mapped_terms(self, inputs: Inputs, batch: Batch, progress: float) -> Terms:
        links = find_links(self.tasks, batch, per_image_mean=self.per_image_mean)
        back = [replace(link, source=link.target, target=link.source) for link in links]
        loss = perceptual_loss(self.maps, back, inputs, batch)
        maps = direct_loss(self.maps, links, inputs, batch, detach=True)
        return {"perceptual": self.weight * loss, "maps": maps}


@final
class XTask(PairMapMethod):
    """Perceptual consistency through maps that learn from labels alone [X-Task].

    For images with several labels: a pair without a common image contributes nothing.

    Args:
        tasks: See ``PairMapMethod``, as all others.
        pretraining: Share of training before the perceptual term starts.

    Raises:
        ValueError: If ``pretraining`` is no share.
    """

    def __init__(
        self,
        tasks: TaskSet,
        backbone: nn.Module,
        *,
        weight: float = 1.0,
        pretraining: float = 0.2,
        map_width: float | None = None,
        per_image_mean: bool = False,
    ) -> None:
        if not 0 <= pretraining < 1:
            raise ValueError(f"pretraining: expected a share in [0, 1), got {pretraining}")
        options = {"weight": weight, "map_width": map_width, "per_image_mean": per_image_mean}
        super().__init__(tasks, backbone, **options)
        self.pretraining = pretraining

    def mapped_terms(self, inputs: Inputs, batch: Batch, progress: float) -> Terms:
        links = common_links(self.tasks, batch)
        links = with_shares(links) if self.per_image_mean else links
        terms = {"perceptual": batch.images.new_zeros(()), "maps": batch.images.new_zeros(())}
        if progress >= self.pretraining:
            terms["perceptual"] = self.weight * perceptual_loss(self.maps, links, inputs, batch)
        for link in links:
            read = inputs.label(link.source, link.rows)
            mapped = self.maps[key(link.source, link.target)](read)
            terms["maps"] = terms["maps"] + label_loss(link, mapped, batch)
        return terms


# ------------------------------------------------------------------- pieces


def direct_loss(
    maps: PairMaps, links: Sequence[Link], inputs: Inputs, batch: Batch, *, detach: bool = False
) -> Tensor:
    """Sums L_ct(m^{s->t}(y^_s), y_t) over pairs and images, divided by the batch size.

    With ``detach`` the maps learn, not the prediction.
    """
    total = batch.images.new_zeros(())
    for link in links:
        read = inputs.prediction(link.source, link.rows)
        mapped = maps[key(link.source, link.target)](read.detach() if detach else read)
        total = total + label_loss(link, mapped, batch)
    return total


def label_loss(link: Link, mapped: Tensor, batch: Batch) -> Tensor:
    """The target's loss on the link's images, as a mean over all images of the batch."""
    t, at = link.target, list(link.rows)
    loss = t.loss(mapped, batch.targets[t.name][at], batch.mask(t.name)[at])  # (n,)
    return t.weight * link.weigh(loss).sum() / len(batch)


def perceptual_loss(maps: PairMaps, links: Sequence[Link], inputs: Inputs, batch: Batch) -> Tensor:
    """L_ct(m^{s->t}(y^_s), m^{s->t}(y_s)) for sources with a label; reduced like ``direct_loss``.

    Prediction and label pass the map together, so that BatchNorm treats them alike.
    """
    total = batch.images.new_zeros(())
    for link in links:
        s, t = link.source, link.target
        mask = batch.mask(s.name)[list(link.rows)]
        # A hole of the label is zero in its input; what was predicted there must not differ.
        read = [inputs.prediction(s, link.rows) * mask, inputs.label(s, link.rows)]
        mapped = comparable(t, maps.constant(s, t)(torch.cat(read)))
        of_prediction, of_label = mapped.chunk(2)
        error = (of_prediction - of_label.detach()).abs()
        total = total + link.weigh(per_image_mean(error, mask)).sum() / len(batch)
    return total


def common_links(tasks: TaskSet, batch: Batch) -> list[Link]:
    """Gathers for every ordered pair the images that have a usable label of both tasks."""
    usable = usable_labels(tasks, batch)
    return gather_links(tasks, usable, usable)
