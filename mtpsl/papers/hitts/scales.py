"""Query and inter-task learning on one map or several [HiTTs, App. A.2, Eq. 1, 2, 14 to 18].

With several, every scale asks its own map with its own tokens and mixes its tasks by its own
affinities; then features and tokens of all scales become one feature and one token per task.
"""

from collections.abc import Callable, Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models.segnet import conv_stage
from mtpsl.tasks import Task, TaskSet


def per_task(tasks: TaskSet, build: Callable[[Task], nn.Module]) -> nn.ModuleDict:
    """One module per task, by name."""
    return nn.ModuleDict({t.name: build(t) for t in tasks})


def init_weights(module: nn.Module) -> None:
    """Xavier-normal convolutions and linear layers with zero bias; norms are the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@final
class Answers(nn.Module):
    """What every pixel answers vectors that ask it: v . (f * x + o), f and o a number per channel.

    f starts with the standard deviation sqrt(2 / (C + 1)), so that the answer to a vector of
    normal entries starts near unit scale.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.randn(channels) * (2 / (channels + 1)) ** 0.5)
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, vectors: Tensor, maps: Tensor) -> Tensor:
        """(n, C) or (B, n, C), and (B, C, H, W) -> (B, n, H, W)."""
        return ask(vectors * self.factor, maps) + (vectors @ self.offset)[..., None, None]


def ask(vectors: Tensor, maps: Tensor) -> Tensor:
    """The dot product of every vector with every pixel, as one matrix product.

    (n, C) or (B, n, C), and (B, C, H, W) -> (B, n, H, W), channels last in memory.
    """
    return (maps.flatten(2).mT @ vectors.mT).mT.unflatten(2, maps.shape[2:])


def pick(maps: Tensor, rows: Tensor) -> Tensor:
    """The images of (B, C, H, W) where rows (B,) is set; channels last, as is their gradient."""
    return maps.movedim(1, -1)[rows].movedim(-1, 1)


@final
class Scale(nn.Module):
    """Query and inter-task learning on one map, then a convolution per task [HiTTs, Sec. 3.1].

    Task features are F_i = gate_i x F_s with one number a pixel as gate, so A F of Eq. 2 is
    (A x gates) F_s: what tasks exchange is T maps of one channel, and so it is computed.

    Args:
        tasks: The tasks, in the order of the affinity matrix.
        channels: Of the map and of the tokens.
        global_tokens: Otherwise nothing is asked, and every gate is 1.
        inter_task: Eq. 1 and 2; otherwise A is the identity.
    """

    def __init__(
        self, tasks: TaskSet, channels: int, *, global_tokens: bool = True, inter_task: bool = True
    ) -> None:
        super().__init__()
        self.tasks = tasks
        mixes = global_tokens and inter_task
        self.answers = Answers(channels) if global_tokens else None
        self.Q = nn.Linear(channels, channels) if mixes else None  # of Eq. 1
        self.K = nn.Linear(channels, channels) if mixes else None
        self.convs = per_task(tasks, lambda t: conv_stage(channels, channels, 1))
        init_weights(self)

    def forward(
        self, theta: Tensor | None, shared: Tensor
    ) -> tuple[Tensor | None, list[Tensor], Tensor]:
        """Tokens (T, C), or None without them, and the map F_s (B, C, H, W).

        Returns:
            Theta' (T, C) or None, F'_i (B, C, H, W) of every task, and A (T, T).
        """
        A = self.affinity(theta)
        theta, gates = self.mix(A, theta, self.query(theta, shared))
        gates = gates.contiguous()  # map by map, for the products
        convs = self.convs.values()
        maps = [conv(shared * gates[:, i, None]) for i, conv in enumerate(convs)]
        return theta, maps, A

    def query(self, theta: Tensor | None, shared: Tensor) -> Tensor:
        """How much each pixel of F_s answers each token: (B, T, H, W) in [0, 1]; F_i is its share.

        All ones without tokens.
        """
        if theta is None:
            return shared.new_ones(len(shared), len(self.tasks), *shared.shape[2:])
        return self.answers(theta, shared).sigmoid()

    def affinity(self, theta: Tensor | None) -> Tensor:
        """A (T, T), whose rows sum to 1 [HiTTs, Eq. 1]; the identity without Q and K."""
        if self.Q is None:
            return torch.eye(len(self.tasks), device=next(self.parameters()).device)
        products = self.Q(theta) @ self.K(theta).T
        return (products / theta.shape[1] ** 0.5).softmax(-1)  # Eq. (1), scaled

    def mix(self, A: Tensor, theta: Tensor | None, gates: Tensor) -> tuple[Tensor | None, Tensor]:
        """Affine combinations across tasks [HiTTs, Eq. 2]: of tokens (T, C) and of gates."""
        if self.Q is None:
            return theta, gates
        return A @ theta, ask(A, gates)


@final
class MultiScaleTokens(nn.Module):
    """From one token a task to several and back, with inter-task learning between [App. A.2].

    Args:
        tasks: The tasks, in the order of the affinity matrices.
        channels: C, of the tokens and of the fused features.
        stage_channels: C_j of the backbone's maps, from fine to coarse.
        merged: Channels of the tokens that leave.
        global_tokens: Otherwise there are no tokens, and features are fused alone.
        inter_task: Eq. 1 and 2 on every scale.
    """

    def __init__(
        self,
        tasks: TaskSet,
        channels: int,
        stage_channels: Sequence[int],
        merged: int,
        *,
        global_tokens: bool = True,
        inter_task: bool = True,
    ) -> None:
        super().__init__()
        self.tasks = tasks
        switches = {"global_tokens": global_tokens, "inter_task": inter_task}
        self.scales = nn.ModuleList(Scale(tasks, c, **switches) for c in stage_channels)
        self.fuse = per_task(tasks, lambda t: nn.Conv2d(sum(stage_channels), channels, 1))
        self.split = self.merge = None  # W_i^{s->m(j)} and W_i^{m->s(j)}
        if global_tokens:
            linear = lambda a, b: per_task(tasks, lambda t: nn.Linear(a, b))  # noqa: E731
            self.split = nn.ModuleList(linear(channels, c) for c in stage_channels)
            self.merge = nn.ModuleList(linear(c, merged) for c in stage_channels)
        for part in (self.fuse, self.split, self.merge):
            if part is not None:
                init_weights(part)

    def forward(
        self, theta: Tensor | None, stages: Sequence[Tensor], grid: tuple[int, int]
    ) -> tuple[Tensor | None, list[Tensor], tuple[Tensor, ...]]:
        """Everything before intra-task learning.

        Args:
            theta: (T, C), or None without global tokens.
            stages: F_s^(j), (B, C_j, H_j, W_j) each.
            grid: (H', W') of the fused features.

        Returns:
            Theta' (T, merged) or None, F'_i (B, C, H', W') of every task, and A^(j) (T, T) of
            every scale.
        """
        tokens = self.split_tokens(theta)
        found = [scale(*own) for scale, *own in zip(self.scales, tokens, stages, strict=True)]
        tokens, features, affinities = zip(*found, strict=True)  # Eq. (15)
        return self.merge_tokens(tokens), self.fuse_features(features, grid), affinities

    def split_tokens(self, theta: Tensor | None) -> list[Tensor | None]:
        """theta_i^(j) = W_i^{s->m(j)} x theta_i [Eq. 14]: (T, C) -> a (T, C_j) for each scale."""
        if self.split is None:
            return [None] * len(self.scales)
        return [
            torch.stack([W[t.name](theta[i]) for i, t in enumerate(self.tasks)])  # Eq. (16)
            for W in self.split
        ]

    def fuse_features(
        self, maps: Sequence[Sequence[Tensor]], grid: tuple[int, int]
    ) -> list[Tensor]:
        """F'_i = Conv_i([F'_i^(0); ...; F'_i^(3)]) [Eq. 17], on one grid.

        Of every scale a (B, C_j, H_j, W_j) for each task -> (B, C, H', W') for each task.
        """
        return [
            conv(torch.cat([to_grid(m, grid) for m in own], dim=1))
            for conv, own in zip(self.fuse.values(), zip(*maps, strict=True), strict=True)
        ]

    def merge_tokens(self, tokens: Sequence[Tensor | None]) -> Tensor | None:
        """theta'_i = Sum_j W_i^{m->s(j)} x theta'_i^(j) [Eq. 18]: (T, C_j) each -> (T, merged)."""
        if self.merge is None:
            return None
        scales = list(zip(self.merge, tokens, strict=True))
        parts = [[W[t.name](own[i]) for W, own in scales] for i, t in enumerate(self.tasks)]
        return torch.stack([torch.stack(own).sum(0) for own in parts])


def to_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, h, w): a finer map is averaged, a coarser one bilinear."""
    if tuple(maps.shape[2:]) == tuple(grid):
        return maps
    if maps.shape[2] > grid[0]:
        return F.interpolate(maps, grid, mode="area")
    return F.interpolate(maps, grid, mode="bilinear", align_corners=False)
