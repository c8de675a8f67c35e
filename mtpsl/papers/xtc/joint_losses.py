"""XTC with other losses in its joint space: contrastive and discriminator [XTC, Sec. 3.2].

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893

Both replace consistency and regularizer by a loss that a constant mapping does not minimize. The
prediction and the label of one image are a positive pair, those of different images a negative
one. There is no released code; what the paper leaves open is decided in ``CHOICES``.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import MultiTaskNet
from mtpsl.models.segnet import init_weights
from mtpsl.papers.xtc.loss import Inputs, Link, embed_links, film_groups, find_links
from mtpsl.papers.xtc.mapping import Statistics, build_mapping
from mtpsl.papers.xtc.method import two_views
from mtpsl.tasks import TaskSet

CHOICES: dict[str, str] = {
    "negatives": "the predictions of all other images that the batch has for the same pair; a pair "
    "with one image contributes nothing",
    "distance": "one minus the cosine over channels, averaged over positions, as in XTC",
    "contrastive loss": "max(0, margin + d(positive) - d(negative)), a mean over negatives; margin "
    "0.2",
    "discriminator": "three 3x3 convolutions on the two embeddings, one above the other in "
    "channels, a mean over positions, one logit; no normalization that would mix pairs",
    "whose side the networks are on": "the discriminator's: both minimize its cross-entropy, in "
    "alternating steps; only so is a constant mapping no solution",
    "balance": "positives and negatives weigh the same",
    "|T_n|, |U_n|": "no division, like XTC here; per_image_mean=True divides as in Eq. 1 and 3",
    "weights": "2, and the learning rate of gamma and beta, as in XTC on NYUD-v2",
}
"""What the paper leaves open -> what this file does."""


Embedded = tuple[Link, Tensor, Tensor]  # m(y^_s) and m(y_t) of its images, (n, D, h, w), n > 1


class JointSpaceMethod(Method):
    """The network and the mapping of XTC, for losses that compare images of a batch.

    Args:
        tasks: The tasks.
        backbone: Returns ``Features`` with a bottleneck.
        weight: Multiplies the loss in the joint space.
        film_lr: As in ``CrossTaskLoss``, like ``statistics``.
        per_image_mean: Divide by |T_n| and |U_n|.
    """

    views = 2

    def __init__(
        self,
        tasks: TaskSet,
        backbone: nn.Module,
        weight: float,
        film_lr: float,
        statistics: Statistics,
        per_image_mean: bool,
    ) -> None:
        super().__init__()
        self.tasks, self.net = tasks, MultiTaskNet(backbone, tasks)
        self.mapping = build_mapping(tasks, backbone)
        self.weight, self.film_lr = weight, film_lr
        self.statistics, self.per_image_mean = statistics, per_image_mean

    def supervise(self, views: Sequence[Batch]) -> tuple[Terms, list[Embedded]]:
        """Computes the tasks' own terms on the first view, and embeds the pairs of the last."""
        predictions, others, _ = two_views(self.net, views)
        mean = self.per_image_mean
        terms = supervised_terms(self.tasks, predictions, views[0], per_image_mean=mean)
        return terms, self.embed(others, views[-1])

    def embed(self, predictions: dict[str, Tensor], batch: Batch) -> list[Embedded]:
        """Embeds the task pairs that at least two images of a batch have."""
        links = find_links(self.tasks, batch, per_image_mean=self.per_image_mean)
        links = [link for link in links if len(link.rows) > 1]
        if not links:  # draws no noise
            return []
        maps = embed_links(self.mapping, links, Inputs(predictions, batch), self.statistics)
        return [(link, *pair) for link, pair in zip(links, maps, strict=True)]

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return film_groups(self, self.mapping, lr, self.film_lr)


@final
class Contrastive(JointSpaceMethod):
    """A label is nearer to the prediction of its own image than to those of others.

    Args:
        tasks: See ``JointSpaceMethod``, as all others.
        margin: By how much nearer.
    """

    def __init__(
        self,
        tasks: TaskSet,
        backbone: nn.Module,
        *,
        weight: float = 2.0,
        margin: float = 0.2,
        film_lr: float = 10.0,
        statistics: Statistics = "pass",
        per_image_mean: bool = False,
    ) -> None:
        super().__init__(tasks, backbone, weight, film_lr, statistics, per_image_mean)
        self.margin = margin

    def training_step(self, *views: Batch, progress: float) -> Terms:
        terms, pairs = self.supervise(views)
        total = views[0].images.new_zeros(())
        for link, m_s, m_t in pairs:
            total = total + link.weigh(triplet_loss(m_s, m_t, self.margin)).sum()
        return terms | {"contrastive": self.weight * total / len(views[0])}


@final
class Discriminator(JointSpaceMethod):
    """A discriminator tells, from two embeddings, whether they are of one image.

    Every batch is used in two turns: the network and its mapping learn, then the discriminator,
    from the embeddings of the first turn. So BatchNorm's statistics see a batch once.

    Args:
        tasks: See ``JointSpaceMethod``, as all others.
        channels: Of the discriminator's hidden layers.
    """

    turns = 2

    def __init__(
        self,
        tasks: TaskSet,
        backbone: nn.Module,
        *,
        weight: float = 2.0,
        channels: int = 64,
        film_lr: float = 10.0,
        statistics: Statistics = "pass",
        per_image_mean: bool = False,
    ) -> None:
        super().__init__(tasks, backbone, weight, film_lr, statistics, per_image_mean)
        self.judge = Judge(backbone.bottleneck_channels, channels)
        self.embedded: list[Embedded] | None = None  # from first turn to second

    def training_step(self, *views: Batch, progress: float) -> Terms:
        if self.turn == 0:
            terms, pairs = self.supervise(views)
            self.judge.requires_grad_(False)  # gradients pass through it; they do not train it
            terms["mapping"] = self.weight * self.verdict(pairs, views[-1])
            self.judge.requires_grad_(True)
            self.embedded = [(link, m_s.detach(), m_t.detach()) for link, m_s, m_t in pairs]
            return terms
        if self.embedded is None:
            raise RuntimeError("turn 1: expected turn 0 of the same batch before it; take it first")
        pairs, self.embedded = self.embedded, None
        return {"discriminator": self.verdict(pairs, views[-1])}

    def verdict(self, pairs: Sequence[Embedded], batch: Batch) -> Tensor:
        """Cross-entropy of the discriminator, summed over pairs and images, by the batch size.

        Without a pair it is 0 with a gradient of 0: an optimizer can take a step on it.
        """
        D = self.net.backbone.bottleneck_channels
        total = self.judge(batch.images.new_zeros(0, 2 * D, 1, 1)).sum()
        for link, m_s, m_t in pairs:
            total = total + link.weigh(judged(self.judge, m_s, m_t)).sum()
        return total / len(batch)


# ------------------------------------------------------------------- pieces


@final
class Judge(nn.Module):
    """Two embeddings of ``embedding`` channels -> a logit, positive if they seem of one image."""

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * embedding, channels, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 1, kernel_size=3, padding=1),
        )
        init_weights(self)

    def forward(self, pairs: Tensor) -> Tensor:
        """(n, 2 D, h, w) -> (n,)."""
        return self.layers(pairs).mean(dim=(1, 2, 3))


def triplet_loss(m_s: Tensor, m_t: Tensor, margin: float) -> Tensor:
    """Hinge of a label's distances to its own prediction and to the others.

    Args:
        m_s: (n, D, h, w), embedded predictions, n > 1.
        m_t: (n, D, h, w), embedded labels of the same images.
        margin: Of the hinge.

    Returns:
        (n,), a mean over the n - 1 negatives of each label.
    """
    n, positions = len(m_s), m_s.shape[2] * m_s.shape[3]
    s, t = (F.normalize(m, dim=1).flatten(1) for m in (m_s, m_t))
    with torch.autocast(t.device.type, enabled=False):  # sums that differ little
        distance = 1 - t @ s.T / positions  # (n, n), label by prediction
    hinge = (margin + distance.diagonal()[:, None] - distance).relu()
    return hinge.masked_fill(torch.eye(n, dtype=torch.bool, device=s.device), 0).sum(1) / (n - 1)


def judged(judge: nn.Module, m_s: Tensor, m_t: Tensor) -> Tensor:
    """Cross-entropy of the positive pair of each label and of its n - 1 negatives -> (n,)."""
    n = len(m_s)
    size = (n, n, *m_s.shape[1:])
    every = torch.cat([m_s.unsqueeze(0).expand(size), m_t.unsqueeze(1).expand(size)], dim=2)
    logits = judge(every.flatten(0, 1)).view(n, n)  # label by prediction
    same = torch.eye(n, device=logits.device)
    error = F.binary_cross_entropy_with_logits(logits, same, reduction="none")
    weight = torch.where(same.bool(), 0.5, 0.5 / (n - 1))
    return (weight * error).sum(1)
