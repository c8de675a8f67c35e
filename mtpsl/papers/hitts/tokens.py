"""Hierarchical task tokens over any feature map [HiTTs, Sec. 3.1 and 3.2, Eq. 1 to 4].

Jingdong Zhang, Hanrong Ye, Xin Li, Wenping Wang, Dan Xu. Multi-Task Label Discovery via
Hierarchical Task Tokens for Partially Annotated Dense Predictions.

``TaskTokens`` needs no network, loop or experiment of this package: it reads what an encoder
makes of images and says everything up to the predictions. ``method.MixtureLoss`` trains it,
``discover`` labels images with it. Symbols of the paper, used as names here: ``theta`` global task
token, ``phi`` fine-grained task tokens, ``F_s`` shared feature, ``F_i`` task feature, ``G_i``
fine-grained task feature, ``o`` orthogonal embedding, ``A`` inter-task affinity, a prime for
"after interaction". A backbone with several scales has its global tokens in ``scales``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Discovered
from mtpsl.models.backbone import SelfAttention
from mtpsl.papers.hitts.quantize import DEPTH_BINS, NORMAL_CENTERS, CentersFrom, Quantizers
from mtpsl.papers.hitts.scales import (
    MultiScaleTokens,
    mix_tasks,
    per_task,
    query_cells,
    query_layers,
)
from mtpsl.tasks import Task, TaskSet


@dataclass(frozen=True)
class Trace:
    """Everything between the image and the prediction; dicts are keyed by task name."""

    affinities: tuple[Tensor, ...]  # (B, T, T) each: A of every scale, rows sum to 1
    global_tokens: dict[str, Tensor]  # (B, C): theta'; empty without global tokens
    task_features: dict[str, Tensor]  # (B, C, h, w): F', on the coarse grid
    feature_confidence: dict[str, Tensor]  # (B, 1, h, w) in [0, 1]: M^f; empty without tokens
    fine_tokens: dict[str, Tensor]  # (B, C_p, C): phi; empty without fine-grained tokens
    fine_features: dict[str, Tensor]  # (B, C_p, H, W): G
    scores: dict[str, Tensor]  # (B, C_p, H, W) > 0: Softplus(phi x U); empty without
    refined: dict[str, Tensor]  # (B, C_p, H, W): G', the class logits
    predictions: dict[str, Tensor]  # (B, D, H, W): Y^

    @property
    def affinity(self) -> Tensor:
        """(B, T, T): A; the mean of them where there are several scales, so rows sum to 1."""
        return torch.stack(self.affinities).mean(0) if self.affinities[1:] else self.affinities[0]


class TaskTokens(nn.Module):
    """Global and fine-grained task tokens, from a feature map to predictions [HiTTs, Eq. 1 to 4].

    ``quantizers`` need ``fit`` before training, if a task is a regression. Which defaults are the
    paper's and which fill its gaps is in ``method.CHOICES``.

    Args:
        tasks: The tasks, in the order of the affinity matrix.
        channels: C, of the feature map F_s and of every token.
        stride: Image size / size of the feature map.
        stage_channels: C_j of the maps of several scales, from fine to coarse, for the tokens of
            App. A.2; empty: tokens query F_s alone.
        build_head: Number of channels -> a fresh module (B, C, h, w) -> (B, that number, h, w),
            which makes U_i of F_s + F'_i; None: two 3x3 convolutions, between which F'_i enters.
        reduction: Side of an image pixel block that makes one position of F_i.
        depth_bins: Logarithmic bins of a positive quantity; the paper has 100 on Cityscapes.
        normal_centers: Unit vectors of a direction; the paper has 40 on PASCAL-Context.
        normal_centers_from: ``"kmeans"``, or ``"uniform"`` as in the paper on PASCAL-Context.
        orthogonal_embeddings: Eq. 3; otherwise phi_i is an MLP of theta'_i alone.
        inter_task: Eq. 1 and 2; otherwise A is the identity.
        intra_task: Self-attention over [theta'_i; F'_i]; otherwise both pass through.
        global_tokens: Otherwise there is no theta: no query, no affinities, phi from o alone.
        fine_tokens: Eq. 4's score masks; otherwise G'_i = Conv(G_i).

    Raises:
        ValueError: If the switches contradict each other, or ``reduction`` the stride.
    """

    def __init__(
        self,
        tasks: TaskSet,
        channels: int,
        *,
        stride: int = 1,
        stage_channels: Sequence[int] = (),
        build_head: Callable[[int], nn.Module] | None = None,
        reduction: int = 8,
        depth_bins: int = DEPTH_BINS,
        normal_centers: int = NORMAL_CENTERS,
        normal_centers_from: CentersFrom = "kmeans",
        orthogonal_embeddings: bool = True,
        inter_task: bool = True,
        intra_task: bool = True,
        global_tokens: bool = True,
        fine_tokens: bool = True,
    ) -> None:
        super().__init__()
        if not global_tokens and not orthogonal_embeddings:
            raise ValueError(
                "global_tokens: expected True without orthogonal_embeddings, got False; "
                "phi would have no source"
            )
        if reduction % stride:
            raise ValueError(
                f"reduction: expected a multiple of the backbone's {stride}, got {reduction}"
            )
        self.tasks, self.reduction = tasks, reduction
        self.block = reduction // stride  # side of a block of F_s that makes one position of F_i
        self.quantizers = Quantizers(tasks, depth_bins, normal_centers, normal_centers_from)
        C, T = channels, len(tasks)

        # global task tokens [Sec. 3.1]
        self.theta = nn.Parameter(torch.randn(T, C) / C**0.5) if global_tokens else None
        self.scales = self.query = self.key = self.value = self.Q = self.K = None
        switches = {"global_tokens": global_tokens, "inter_task": inter_task}
        if stage_channels:  # [App. A.2]
            self.scales = MultiScaleTokens(tasks, C, stage_channels, **switches)
        else:
            query_layers(self, tasks, C, **switches)
        self.attention = per_task(tasks, lambda t: SelfAttention(C)) if intra_task else None

        # fine-grained task tokens [Sec. 3.2]
        self.project = per_task(
            tasks, lambda t: HeadProjection(build_head(C)) if build_head else FineProjection(C)
        )
        self.fine = per_task(tasks, lambda t: nn.Conv2d(C, self.bins(t), 1))
        self.embed = self.token_mlp = None
        if fine_tokens and orthogonal_embeddings:
            self.embed = per_task(tasks, lambda t: orthogonal_embedding(self.bins(t), C))
            self.token_mlp = per_task(tasks, lambda t: mlp(C, C))
        elif fine_tokens:
            self.token_mlp = per_task(tasks, lambda t: mlp(C, C * self.bins(t)))
        self.refine = per_task(tasks, lambda t: nn.Conv2d(self.bins(t), self.bins(t), 3, padding=1))

    def bins(self, task: Task) -> int:
        """C_p of a task."""
        return self.quantizers[task.name].bins

    def forward(
        self,
        features: Tensor,
        size: tuple[int, int],
        stages: Sequence[Tensor] = (),
        *,
        decode: bool = True,
    ) -> Trace:
        """Every quantity of the paper's Figures 2 to 4 for a batch of images.

        Args:
            features: (B, C, H / stride, W / stride) float, F_s.
            size: (H, W) of the images, and of the predictions.
            stages: (B, C_j, H_j, W_j) each, F_s^(j), where tokens have several scales.
            decode: Whether to make ``predictions``, which are empty otherwise: losses and
                ``discover`` read the logits.

        Raises:
            ValueError: If there are not as many stages as scales.
        """
        scales = len(self.scales.scales) if self.scales else 0
        if self.scales and len(stages) != scales:
            raise ValueError(f"stages: expected {scales} maps, got {len(stages)}")
        h, w = features.shape[2] // self.block, features.shape[3] // self.block
        if self.scales is None:  # theta is (B, T, C) or None, own (B, T, n, C)
            theta, own, *affinities = self.learn_inter_task(*self.query_shared(features))
        else:
            theta, own, affinities = self.scales(self.theta, stages, (h, w))
        theta, own = self.learn_intra_task(theta, own)

        tokens, maps, phi, G, scores, refined = {}, {}, {}, {}, {}, {}
        for i, t in enumerate(self.tasks):
            maps[t.name] = own[:, i].transpose(1, 2).unflatten(2, (h, w))  # F'_i
            U = self.project[t.name](features, maps[t.name])  # (B, C, H, W), or smaller
            G[t.name] = to_size(self.fine[t.name](U), size)  # (B, C_p, H, W)
            if theta is not None:
                tokens[t.name] = theta[:, i]
            masked = G[t.name]
            if self.token_mlp is not None:
                phi[t.name] = self.derive_fine_tokens(t, tokens.get(t.name), len(features))
                scores[t.name] = score_mask(phi[t.name], U, size)
                masked = G[t.name] * scores[t.name]  # Eq. (4)
            refined[t.name] = self.refine[t.name](masked)
        return Trace(
            affinities=tuple(affinities),
            global_tokens=tokens,
            task_features=maps,
            feature_confidence={n: feature_confidence(tokens[n], maps[n]) for n in tokens},
            fine_tokens=phi,
            fine_features=G,
            scores=scores,
            refined=refined,
            predictions=self.quantizers.decode(refined) if decode else {},
        )

    def query_shared(self, shared: Tensor) -> tuple[Tensor | None, Tensor]:
        """Each global token queries F_s (B, C, H, W) for its task's feature [Sec. 3.1].

        Returns:
            theta (B, T, C) or None, and F (B, T, n, C) with n = hw positions of the coarse grid.
        """
        cells = F.avg_pool2d(shared, self.block).flatten(2).transpose(1, 2)  # (B, n, C)
        return query_cells(self, self.theta, cells)

    def learn_inter_task(
        self, theta: Tensor | None, features: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Affine combinations across tasks [Eq. 1, 2]: adds the affinity A (B, T, T)."""
        return mix_tasks(self, theta, features)

    def learn_intra_task(
        self, theta: Tensor | None, features: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """Self-attention over [theta'_i; F'_i], n + 1 tokens, task by task [Sec. 3.1]."""
        if self.attention is None:
            return theta, features
        joint = features if theta is None else torch.cat([theta.unsqueeze(2), features], dim=2)
        joint = torch.stack(
            [self.attention[t.name](joint[:, i]) for i, t in enumerate(self.tasks)], dim=1
        )
        return (None, joint) if theta is None else (joint[:, :, 0], joint[:, :, 1:])

    def derive_fine_tokens(self, task: Task, theta: Tensor | None, batch: int) -> Tensor:
        """phi_i (B, C_p, C) from theta'_i (B, C) and the orthogonal embeddings [Eq. 3]."""
        if self.embed is None:
            return self.token_mlp[task.name](theta).unflatten(1, (self.bins(task), -1))
        embedded = self.embed[task.name].weight.T  # W^o x o, o the identity: (C_p, C)
        if theta is None:
            return self.token_mlp[task.name](embedded).expand(batch, -1, -1)
        return self.token_mlp[task.name](embedded + theta.unsqueeze(1))  # Eq. (3)


def score_mask(phi: Tensor, U: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Softplus(phi_i x U_i), the positive score of every class at every pixel [Eq. 4].

    Args:
        phi: (B, C_p, C).
        U: (B, C, H, W), or smaller.
        size: (H, W); None: that of U.

    Returns:
        (B, C_p, H, W), channels last in memory like the convolution's output it will mask.
    """
    pixels = U.movedim(1, -1).flatten(1, 2)  # (B, HW, C)
    answers = (pixels @ phi.transpose(1, 2)).unflatten(1, U.shape[2:]).movedim(-1, 1)
    return F.softplus(to_size(answers, size or U.shape[2:]))


def feature_confidence(theta: Tensor, features: Tensor) -> Tensor:
    """M^f = Sigmoid(theta'^T F') [Sec. 3.3]: (B, C), (B, C, h, w) -> (B, 1, h, w)."""
    C = features.shape[1]
    return (torch.einsum("bc,bchw->bhw", theta, features) / C**0.5).sigmoid().unsqueeze(1)


@torch.no_grad()
def discover(trace: Trace, quantizers: Quantizers, thresholds: Mapping[str, float]) -> Discovered:
    """Argmax bins of G' where Max(Softmax(G')) > tau, F' and M^f [HiTTs, Sec. 3.3].

    Args:
        trace: Of a frozen teacher in evaluation mode on clean images.
        quantizers: The teacher's.
        thresholds: task -> tau; a task that is not there accepts every pixel.

    Returns:
        What was found for all tasks, without gradients; ``Discovered.withhold`` drops what a
        student may not learn from.
    """
    targets, valid = {}, {}
    for name, logits in trace.refined.items():
        confidence, ids = logits.float().softmax(1).max(1, keepdim=True)
        targets[name] = quantizers[name].values(ids)  # Y~
        valid[name] = confidence > thresholds.get(name, 0.0)  # M^p
    soft = (trace.task_features, trace.feature_confidence)
    return Discovered(targets, valid, *({n: m.detach() for n, m in by.items()} for by in soft))


# --- layers that are no equation of their own ----------------------------------------------------


def mlp(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, out))


def orthogonal_embedding(bins: int, channels: int) -> nn.Linear:
    """W^o of Eq. 3, (C, C_p); its columns start orthogonal as far as C allows.

    Entries start at unit scale, as an MLP's inputs should: with unit columns its biases drown
    them, and the tokens of a task start nearly parallel.
    """
    linear = nn.Linear(bins, channels, bias=False)
    nn.init.orthogonal_(linear.weight, gain=channels**0.5)
    return linear


def to_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinearly; unchanged where it has that size already."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


@final
class FineProjection(nn.Module):
    """F'_i on the coarse grid and F_s at full resolution -> U_i, C channels at full resolution.

    Table 8's FLOPs leave room for two 3x3 convolutions a task at full resolution and no more.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lift = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.project = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, shared: Tensor, features: Tensor) -> Tensor:
        coarse = F.interpolate(features, shared.shape[2:], mode="bilinear", align_corners=False)
        return self.project(F.relu(self.norm(self.lift(shared) + coarse), inplace=True))


@final
class HeadProjection(nn.Module):
    """U_i of a backbone whose F_s is smaller than the image: the baseline's head of F_s + F'_i.

    On ResNets the head is atrous pooling with its two convolutions.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, shared: Tensor, features: Tensor) -> Tensor:
        return self.head(shared + to_size(features, shared.shape[2:]))
