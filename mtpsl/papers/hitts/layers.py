"""Layers of the hierarchical task tokens [HiTTs] that are no equation of their own."""

from collections.abc import Callable
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.tasks import Task, TaskSet


def per_task(tasks: TaskSet, build: Callable[[Task], nn.Module]) -> nn.ModuleDict:
    """One module a task, by name."""
    return nn.ModuleDict({t.name: build(t) for t in tasks})


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

    Args:
        head: (B, C, h, w) -> the same; on ResNets atrous pooling with its two convolutions.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, shared: Tensor, features: Tensor) -> Tensor:
        return self.head(shared + to_size(features, shared.shape[2:]))
