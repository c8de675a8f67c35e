"""Hierarchical task tokens over any feature map [HiTTs, Sec. 3.1 and 3.2, Eq. 1 to 4].

Jingdong Zhang, Hanrong Ye, Xin Li, Wenping Wang, Dan Xu. Multi-Task Label Discovery via
Hierarchical Task Tokens for Partially Annotated Dense Predictions.

``TaskTokens`` needs no network, loop or experiment of this package: it reads what an encoder
makes of images and says everything up to the predictions. ``method.MixtureLoss`` trains it,
``discover`` labels images with it. Symbols of the paper, used as names here: ``theta`` global task
token, ``phi`` fine-grained task tokens, ``F_s`` shared feature, ``F_i`` task feature, ``G_i``
fine-grained task feature, ``o`` orthogonal embedding, ``A`` inter-task affinity, a prime for
"after interaction". Query and inter-task learning, on one scale or several, are in ``scales``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Discovered
from mtpsl.models.segnet import conv_stage
from mtpsl.papers.hitts.quantize import Centers, Quantizers
from mtpsl.papers.hitts.scales import (
    Answers,
    MultiScaleTokens,
    Scale,
    ask,
    init_weights,
    per_task,
    pick,
)
from mtpsl.tasks import Task, TaskSet

MLP_WIDTH = 128  # of MLP_i
Pseudo = Literal["argmax", "soft"]


@dataclass(frozen=True)
class Trace:
    """Everything between the image and the prediction; dicts are keyed by task name.

    H' x W' is the grid of F_s, which is the image's on SegNet; h x w is the coarse grid.
    """

    affinities: tuple[Tensor, ...]  # (B, T, T) each: A of every scale, rows sum to 1
    global_tokens: dict[str, Tensor]  # (B, C): theta'; empty without global tokens
    maps: dict[str, Tensor]  # (B, C, H', W'): F', which Eq. 4 reads
    task_features: dict[str, Tensor]  # (B, C, h, w): F', a mean over each cell of the coarse grid
    feature_confidence: dict[str, Tensor]  # (B, 1, h, w) in [0, 1]: M^f; empty without tokens
    fine_tokens: dict[str, Tensor]  # (B, C_p, C): phi; empty without fine-grained tokens
    fine_features: dict[str, Tensor]  # (B, C_p, H', W'): G
    scores: dict[str, Tensor]  # (B, C_p, H', W') > 0: Softplus(phi x F'); empty without
    refined: dict[str, Tensor]  # (B, C_p, H, W): G', the class logits
    predictions: dict[str, Tensor]  # (B, D, H, W): Y^

    @property
    def affinity(self) -> Tensor:
        """(B, T, T): A; the mean of them where there are several scales, so rows sum to 1."""
        return torch.stack(self.affinities).mean(0) if self.affinities[1:] else self.affinities[0]


class TaskTokens(nn.Module):
    """Global and fine-grained task tokens, from a feature map to predictions [HiTTs, Eq. 1 to 4].

    Which defaults are the paper's and which fill its gaps is in ``choices.CHOICES``.

    Args:
        tasks: The tasks, in the order of the affinity matrix.
        channels: Of the feature map F_s and of the tokens that query it.
        stride: Image size / size of the feature map.
        stage_channels: C_j of the maps of several scales, from fine to coarse, for the tokens of
            App. A.2; empty: tokens query F_s alone.
        fusion_stride: Image size / size of the grid on which several scales are fused, and which
            then takes the place of F_s; None: ``stride``.
        build_head: Number of channels -> a fresh module (B, channels, h, w) -> (B, that number, h,
            w), which stands between inter- and intra-task learning; None: nothing stands there.
        head_channels: C, of F'_i, theta'_i and phi, which the head makes; None: ``channels``.
        reduction: Side of an image's pixel block that makes one cell of the coarse grid, on which
            attention works and on which features are discovered; a coarser map is its own grid.
        orthogonal_embeddings: Eq. 3; otherwise the MLP reads copies of theta'_i alone.
        inter_task: Eq. 1 and 2; otherwise A is the identity.
        intra_task: Self-attention over [theta'_i; F'_i]; otherwise both pass through.
        global_tokens: Otherwise there is no theta: no query, no affinities, phi from o alone.
        fine_tokens: Eq. 4's score masks; otherwise G'_i = Conv(G_i).
        **bins: Of ``quantize.build_quantizer``: how regression becomes classification. Quantizers
            whose bins depend on data need ``quantizers.fit`` before training.

    Raises:
        ValueError: If the switches contradict each other.
    """

    def __init__(
        self,
        tasks: TaskSet,
        channels: int,
        *,
        stride: int = 1,
        stage_channels: Sequence[int] = (),
        fusion_stride: int | None = None,
        build_head: Callable[[int], nn.Module] | None = None,
        head_channels: int | None = None,
        reduction: int = 8,
        orthogonal_embeddings: bool = True,
        inter_task: bool = True,
        intra_task: bool = True,
        global_tokens: bool = True,
        fine_tokens: bool = True,
        **bins: object,
    ) -> None:
        super().__init__()
        if not global_tokens and not orthogonal_embeddings:
            raise ValueError(
                "global_tokens: expected True without orthogonal_embeddings, got False; "
                "phi would have no source"
            )
        self.tasks, self.fusion_stride = tasks, fusion_stride
        self.quantizers = Quantizers(tasks, **bins)
        # side of a block of F_s that makes one cell of the coarse grid
        self.block = max(1, reduction // (fusion_stride or stride))
        C = (head_channels or channels) if build_head else channels
        read = global_tokens and fine_tokens  # whether anything but M^f reads theta'_i

        # global task tokens [Sec. 3.1]
        self.theta = nn.Parameter(torch.randn(len(tasks), channels)) if global_tokens else None
        self.single = self.scales = self.head = self.narrow = None
        switches = {"global_tokens": global_tokens, "inter_task": inter_task}
        if stage_channels:  # [App. A.2]
            self.scales = MultiScaleTokens(tasks, channels, stage_channels, C, **switches)
        else:
            self.single = Scale(tasks, channels, **switches)
            if global_tokens and C != channels:
                self.narrow = per_task(tasks, lambda t: nn.Linear(channels, C))
        self.attention = None
        if intra_task:
            self.attention = per_task(tasks, lambda t: TokenAttention(C, self.block, token=read))
        self.conv = per_task(tasks, lambda t: conv_stage(C, C, 1))

        # fine-grained task tokens [Sec. 3.2]
        self.fine = per_task(tasks, lambda t: nn.Linear(C, self.bins(t)))  # Conv1x1, of pixels
        self.embed = self.token_mlp = self.answers = None
        if fine_tokens:
            if orthogonal_embeddings:
                self.embed = per_task(tasks, lambda t: nn.Linear(self.bins(t), C))  # W^o
            self.token_mlp = per_task(tasks, lambda t: mlp(self.bins(t)))
            self.answers = per_task(tasks, lambda t: Answers(C))
        self.refine = per_task(tasks, lambda t: nn.Conv2d(self.bins(t), self.bins(t), 3, padding=1))
        init_weights(self)
        if build_head:  # whose weights start as they do elsewhere
            self.head = per_task(tasks, lambda t: build_head(C))

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
        only: Mapping[str, Tensor] | None = None,
    ) -> Trace:
        """Every quantity of the paper's Figures 2 to 4 for a batch of images.

        Args:
            features: (B, channels, H / stride, W / stride) float, F_s.
            size: (H, W) of the images, and of the predictions.
            stages: (B, C_j, H_j, W_j) each, F_s^(j), where tokens have several scales.
            decode: Whether to make ``predictions``, which are empty otherwise: losses and
                ``discover`` read the logits.
            only: task -> (B,) bool: images whose logits are read. Fine-grained quantities, logits
                included, are made for them alone; None: for all.

        Raises:
            ValueError: If there are not as many stages as scales.
        """
        theta, mixed, affinities = self.learn_inter_task(features, size, stages)
        tokens, maps, cells, phi, G, scores, refined = {}, {}, {}, {}, {}, {}, {}
        for i, t in enumerate(self.tasks):
            token = None if theta is None else theta[i].expand(len(mixed[i]), -1)
            token, own = self.learn_intra_task(t, token, mixed[i])
            if token is not None:
                tokens[t.name] = token
            maps[t.name] = own  # F'_i
            cells[t.name] = F.avg_pool2d(own, self.block) if self.block > 1 else own
            if only is not None:
                own = pick(own, only[t.name])
                token = None if token is None else token[only[t.name]]
            masked = G[t.name] = self.fine[t.name](own.movedim(1, -1)).movedim(-1, 1)
            if self.token_mlp is not None:
                phi[t.name] = self.derive_fine_tokens(t, token, len(own))
                scores[t.name] = F.softplus(self.answers[t.name](phi[t.name], own))
                masked = G[t.name] * scores[t.name]  # Eq. (4)
            refined[t.name] = to_size(self.refine[t.name](masked), size)
        return Trace(
            affinities=tuple(A.expand(len(features), -1, -1) for A in affinities),
            global_tokens=tokens,
            maps=maps,
            task_features=cells,
            feature_confidence={n: feature_confidence(tokens[n], cells[n]) for n in tokens},
            fine_tokens=phi,
            fine_features=G,
            scores=scores,
            refined=refined,
            predictions=self.quantizers.decode(refined) if decode else {},
        )

    def learn_inter_task(
        self, features: Tensor, size: tuple[int, int], stages: Sequence[Tensor] = ()
    ) -> tuple[Tensor | None, list[Tensor], tuple[Tensor, ...]]:
        """Query and affine combinations across tasks, then the heads [HiTTs, Eq. 1, 2].

        Arguments are those of ``forward``.

        Returns:
            theta' (T, C) or None, F'_i (B, C, H', W') of every task, A (T, T) of every scale.
        """
        if self.scales is None:
            theta, maps, *affinities = self.single(self.theta, features)
            if self.narrow is not None:
                narrow = zip(self.narrow.values(), theta, strict=True)
                theta = torch.stack([linear(token) for linear, token in narrow])
        else:
            if len(stages) != len(self.scales.scales):
                raise ValueError(
                    f"stages: expected {len(self.scales.scales)} maps, got {len(stages)}"
                )
            grid = tuple(features.shape[2:])
            if self.fusion_stride:
                grid = tuple(-(-side // self.fusion_stride) for side in size)
            theta, maps, affinities = self.scales(self.theta, stages, grid)
        if self.head is not None:
            maps = [head(m) for head, m in zip(self.head.values(), maps, strict=True)]
        return theta, maps, tuple(affinities)

    def learn_intra_task(
        self, task: Task, theta: Tensor | None, features: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """Self-attention over [theta'_i; F'_i] and a convolution [Sec. 3.1].

        (B, C) or None, and (B, C, H', W') -> the same.
        """
        if self.attention is not None:
            theta, features = self.attention[task.name](theta, features)
        return theta, self.conv[task.name](features)

    def derive_fine_tokens(self, task: Task, theta: Tensor | None, batch: int) -> Tensor:
        """phi_i (B, C_p, C) from theta'_i (B, C) and the orthogonal embeddings [Eq. 3]."""
        total = 0.0 if theta is None else theta[:, :, None].expand(-1, -1, self.bins(task))
        if self.embed is not None:
            W = self.embed[task.name]
            total = W.weight + W.bias[:, None] + total  # W^o x o, o the identity: (C, C_p)
        phi = self.token_mlp[task.name](total).mT  # Eq. (3)
        return phi if phi.ndim == 3 else phi.expand(batch, -1, -1)


def score_mask(phi: Tensor, features: Tensor) -> Tensor:
    """Softplus(phi_i x F'_i), the positive score of every class at every pixel [Eq. 4].

    (B, C_p, C) and (B, C, H, W) -> (B, C_p, H, W).
    """
    return F.softplus(ask(phi, features))


def feature_confidence(theta: Tensor, features: Tensor) -> Tensor:
    """M^f = Sigmoid(theta'^T F') [Sec. 3.3]: (B, C), (B, C, h, w) -> (B, 1, h, w)."""
    return ask(theta[:, None], features).sigmoid()


@torch.no_grad()
def discover(
    trace: Trace,
    quantizers: Quantizers,
    thresholds: Mapping[str, float],
    *,
    pseudo: Pseudo = "argmax",
    temperature: float = 5.0,
) -> Discovered:
    """Argmax bins of G' where Max(Softmax(G')) > tau, F' and M^f [HiTTs, Sec. 3.3].

    Args:
        trace: Of a frozen teacher in evaluation mode on clean images.
        quantizers: The teacher's.
        thresholds: task -> tau; a task that is not there accepts every pixel.
        pseudo: ``"soft"`` labels a regression by the prediction of Eq. 10, and pixels count as much
            as they are sure.
        temperature: What logits of a regression are multiplied by before confidence is taken of
            them, where labels are soft.

    Returns:
        What was found for all tasks, without gradients; ``Discovered.withhold`` drops what a
        student may not learn from.
    """
    targets, valid, weights = {}, {}, {}
    sure = label_confidence(trace, quantizers, pseudo, temperature)
    for name, logits in trace.refined.items():
        quantizer = quantizers[name]
        if pseudo == "soft" and isinstance(quantizer, Centers):
            targets[name], weights[name] = quantizer.decode(logits.float()), sure[name]
        else:
            targets[name] = quantizer.values(logits.argmax(1, keepdim=True))  # Y~
        valid[name] = sure[name] > thresholds.get(name, 0.0)  # M^p
    soft = (trace.task_features, trace.feature_confidence)
    kept = ({n: m.detach() for n, m in by.items()} for by in soft)
    return Discovered(targets, valid, *kept, weights)


def label_confidence(
    trace: Trace, quantizers: Quantizers, pseudo: Pseudo = "argmax", temperature: float = 5.0
) -> dict[str, Tensor]:
    """Max(Softmax(G')), which M^p compares with tau: (B, 1, H, W); arguments as in ``discover``."""
    confidence = {}
    for name, logits in trace.refined.items():
        soft = pseudo == "soft" and isinstance(quantizers[name], Centers)
        logits = logits.float() * (temperature if soft else 1.0)
        confidence[name] = logits.softmax(1).amax(1, keepdim=True)
    return confidence


# --- layers that are no equation of their own ----------------------------------------------------


def mlp(bins: int, width: int = MLP_WIDTH) -> nn.Sequential:
    """MLP_i, along the class axis: (..., C_p) -> (..., C_p)."""
    hidden = [(nn.Linear(n, width), nn.LayerNorm(width), nn.GELU()) for n in (bins, width)]
    return nn.Sequential(*hidden[0], *hidden[1], nn.Linear(width, bins))


@final
class TokenAttention(nn.Module):
    """Self-attention of a task's token and cells, one head; no norm, no position code.

    Queries, keys and values of a cell are weighted sums over a block of pixels, channel by channel:
    three depthwise convolutions whose kernel is their stride, as one matrix product.

    Args:
        channels: C, of token and feature.
        block: Side of a block of pixels.
        token: Whether a linear layer makes theta'_i, which is of use where something reads it.
    """

    def __init__(self, channels: int, block: int, *, token: bool = True) -> None:
        super().__init__()
        C, pixels = channels, block * block
        self.block = block
        std = (2 / (pixels * (C + 1))) ** 0.5  # Xavier's, of a depthwise convolution
        self.cells = nn.Parameter(torch.randn(3, C, pixels) * std)
        self.qkv = nn.ModuleList(nn.Linear(C, C) for _ in range(3))
        self.feature = nn.Linear(C, C)
        self.token = nn.Linear(C, C) if token else None

    def forward(self, theta: Tensor | None, features: Tensor) -> tuple[Tensor | None, Tensor]:
        """theta (B, C) or None and F (B, C, H, W) -> the same; F with a residual, theta without."""
        size = tuple(features.shape[2:])
        h, w = (side // self.block for side in size)
        blocks = features[:, :, : h * self.block, : w * self.block]
        blocks = blocks.unflatten(3, (w, -1)).unflatten(2, (h, -1)).permute(1, 0, 2, 4, 3, 5)
        cells = blocks.flatten(4).flatten(1, 3) @ self.cells.permute(1, 2, 0)  # (C, Bhw, 3)
        cells = cells.unflatten(1, (-1, h * w)).permute(3, 1, 2, 0)  # (3, B, hw, C)
        if theta is not None:
            cells = torch.cat([theta[None, :, None].expand(3, -1, -1, -1), cells], dim=2)
        q, k, v = (linear(own) for linear, own in zip(self.qkv, cells, strict=True))
        attended = F.scaled_dot_product_attention(q, k, v)  # (B, 1 + hw, C)
        if theta is not None:
            theta, attended = attended[:, 0], attended[:, 1:]
            theta = theta if self.token is None else self.token(theta)
        coarse = self.feature(attended).unflatten(1, (h, w))  # (B, h, w, C)
        return theta, features + enlarge(coarse, size).permute(0, 3, 1, 2)


def enlarge(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h, w, C) -> (B, H, W, C) bilinearly; two products, whose gradients are fast on a CPU."""
    rows, columns = (
        F.interpolate(torch.eye(few, device=cells.device)[None], many, mode="linear")[0].T
        for few, many in zip(cells.shape[1:3], size, strict=True)
    )
    taller = (rows.to(cells.dtype) @ cells.flatten(2)).unflatten(2, cells.shape[2:])
    return columns.to(cells.dtype) @ taller


def to_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinearly; unchanged where it has that size already."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
