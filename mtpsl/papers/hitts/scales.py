"""Global task tokens on several scales of a backbone [HiTTs, App. A.2, Eq. 14 to 18].

Every scale asks its own map with its own tokens and mixes its tasks by its own affinities; then
features and tokens of all scales become one feature and one token a task. What is asked and mixed
at one scale is the same as without scales, so ``tokens`` shares these functions.
"""

from collections.abc import Callable, Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.tasks import Task, TaskSet


def query_layers(
    layers: nn.Module, tasks: TaskSet, C: int, *, global_tokens: bool, inter_task: bool
) -> None:
    """Gives a module what ``query_cells`` and ``mix_tasks`` ask for, C channels wide."""
    layers.query = nn.Linear(C, C) if global_tokens else None  # W_q, shared by tasks
    layers.key = nn.Linear(C, C) if global_tokens else None  # W_k
    layers.value = per_task(tasks, lambda t: nn.Linear(C, C))
    layers.Q = nn.Linear(C, C, bias=False) if global_tokens and inter_task else None  # of Eq. 1
    layers.K = nn.Linear(C, C, bias=False) if global_tokens and inter_task else None


def per_task(tasks: TaskSet, build: Callable[[Task], nn.Module]) -> nn.ModuleDict:
    """One module a task, by name."""
    return nn.ModuleDict({t.name: build(t) for t in tasks})


def query_gate(q: Tensor, k: Tensor) -> Tensor:
    """How much each cell answers each task: q (T, C), k (B, n, C) -> (B, T, n) in [0, 1]."""
    return (q @ k.transpose(1, 2) / q.shape[1] ** 0.5).sigmoid()


def query_cells(
    layers: nn.Module, theta: Tensor | None, cells: Tensor
) -> tuple[Tensor | None, Tensor]:
    """Each task's token queries every cell of a map [HiTTs, Sec. 3.1].

    Args:
        layers: See ``query_layers``.
        theta: (T, C), or None without tokens: features are linear maps alone.
        cells: (B, n, C).

    Returns:
        theta (B, T, C) or None, and F (B, T, n, C).
    """
    features = torch.stack([value(cells) for value in layers.value.values()], dim=1)
    if theta is None:
        return None, features
    gate = query_gate(layers.query(theta), layers.key(cells))  # (B, T, n)
    return theta.expand(len(cells), -1, -1), features * gate.unsqueeze(-1)


def mix_tasks(
    layers: nn.Module, theta: Tensor | None, features: Tensor
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Affine combinations across tasks [HiTTs, Eq. 1, 2], or nothing without Q and K.

    Args:
        layers: See ``query_layers``; without ``Q`` and ``K``, A is the identity.
        theta: (B, T, C) or None.
        features: (B, T, n, C).

    Returns:
        theta' and F' like theta and F, and A (B, T, T).
    """
    if layers.Q is None:
        B, T = features.shape[:2]
        return theta, features, torch.eye(T, device=features.device).expand(B, T, T)
    A = (layers.Q(theta) @ layers.K(theta).transpose(1, 2)).softmax(-1)  # Eq. (1)
    features = torch.einsum("bst,btnc->bsnc", A, features)  # Eq. (2)
    return A @ theta, features, A


@final
class Scale(nn.Module):
    """Query and inter-task learning on one map of the backbone [HiTTs, Sec. 3.1, App. A.2].

    ``channels`` is C_j, of the map and of the tokens at this scale; for the switches see
    ``MultiScaleTokens``.
    """

    def __init__(self, tasks: TaskSet, channels: int, **switches: bool) -> None:
        super().__init__()
        query_layers(self, tasks, channels, **switches)

    def forward(self, theta: Tensor | None, stage: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Tokens (T, C_j) and the map F_s^(j) (B, C_j, H_j, W_j) of one scale.

        Returns:
            Theta'^(j) (B, T, C_j) or None, F'^(j) (B, T, H_j W_j, C_j) and A^(j) (B, T, T).
        """
        cells = stage.flatten(2).transpose(1, 2)  # (B, n, C_j)
        return mix_tasks(self, *query_cells(self, theta, cells))  # Eq. (15)


@final
class MultiScaleTokens(nn.Module):
    """From one token a task to four and back, with inter-task learning between [HiTTs, App. A.2].

    Args:
        tasks: The tasks, in the order of the affinity matrices.
        channels: C, of the tokens and of the fused features.
        stage_channels: C_j of the backbone's maps, from fine to coarse.
        global_tokens: Otherwise there are no tokens, and features are fused alone.
        inter_task: Eq. 1 and 2 on every scale.
    """

    def __init__(
        self,
        tasks: TaskSet,
        channels: int,
        stage_channels: Sequence[int],
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
            parts = len(stage_channels)
            self.split = nn.ModuleList(
                per_task(tasks, lambda t, c=c: token_map(channels, c)) for c in stage_channels
            )
            self.merge = nn.ModuleList(
                per_task(tasks, lambda t, c=c: token_map(c, channels, parts))
                for c in stage_channels
            )

    def forward(
        self, theta: Tensor | None, stages: Sequence[Tensor], grid: tuple[int, int]
    ) -> tuple[Tensor | None, Tensor, tuple[Tensor, ...]]:
        """Everything before intra-task learning.

        Args:
            theta: (T, C), or None without global tokens.
            stages: F_s^(j), (B, C_j, H_j, W_j) each.
            grid: (h, w) of the fused features.

        Returns:
            Theta' (B, T, C) or None, F' (B, T, hw, C), and A^(j) (B, T, T) of every scale.
        """
        tokens = self.split_tokens(theta)
        found = [scale(*own) for scale, *own in zip(self.scales, tokens, stages, strict=True)]
        tokens, features, affinities = zip(*found, strict=True)
        maps = [as_maps(f, s.shape[2:]) for f, s in zip(features, stages, strict=True)]
        return self.merge_tokens(tokens), self.fuse_features(maps, grid), affinities

    def split_tokens(self, theta: Tensor | None) -> list[Tensor | None]:
        """theta_i^(j) = W_i^{s->m(j)} x theta_i [Eq. 14]: (T, C) -> a (T, C_j) for each scale."""
        if self.split is None:
            return [None] * len(self.scales)
        return [
            torch.stack([W[t.name](theta[i]) for i, t in enumerate(self.tasks)])  # Eq. (16)
            for W in self.split
        ]

    def fuse_features(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """F'_i = Conv_i([F'_i^(0); ...; F'_i^(3)]) [Eq. 17], on one grid.

        (B, T, C_j, H_j, W_j) each -> (B, T, hw, C); a finer map is averaged over the cells.
        """
        joined = torch.cat([to_grid(m, grid) for m in maps], dim=2)  # (B, T, C_0 + ... , h, w)
        fused = [self.fuse[t.name](joined[:, i]) for i, t in enumerate(self.tasks)]
        return torch.stack(fused, dim=1).flatten(3).transpose(2, 3)

    def merge_tokens(self, tokens: Sequence[Tensor | None]) -> Tensor | None:
        """theta'_i = Sum_j W_i^{m->s(j)} x theta'_i^(j) [Eq. 18]: (B, T, C_j) each -> (B, T, C)."""
        if self.merge is None:
            return None
        merged = [
            torch.stack([W[t.name](own[:, i]) for W, own in zip(self.merge, tokens, strict=True)])
            for i, t in enumerate(self.tasks)
        ]
        return torch.stack([parts.sum(0) for parts in merged], dim=1)


def token_map(enters: int, leaves: int, parts: int = 1) -> nn.Linear:
    """A linear map of tokens that starts by keeping their length, as one of ``parts`` summands.

    Tokens start with length 1 and are asked at every scale what they are asked without scales.
    """
    linear = nn.Linear(enters, leaves, bias=False)
    nn.init.normal_(linear.weight, std=(leaves * parts) ** -0.5)
    return linear


def as_maps(features: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, T, HW, C) -> (B, T, C, H, W)."""
    return features.transpose(2, 3).unflatten(3, size)


def to_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, T, C, H, W) -> (B, T, C, h, w), the mean over each cell; unchanged where it fits."""
    if tuple(maps.shape[3:]) == tuple(grid):
        return maps
    return F.interpolate(maps.flatten(0, 1), grid, mode="area").unflatten(0, maps.shape[:2])
