"""What a backbone is, and the parts around it: heads, attention, the multi-task network."""

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.tasks import TaskSet


@dataclass(frozen=True)
class Features:
    """What a backbone hands to the heads."""

    decoder: Tensor  # (B, backbone.channels, H, W); smaller where a backbone has no decoder
    bottleneck: Tensor  # (B, backbone.bottleneck_channels, H / reduction, W / reduction)
    stages: tuple[Tensor, ...] = ()  # (B, backbone.stage_channels[j], ., .), from fine to coarse


@runtime_checkable
class Backbone(Protocol):
    """A module that turns images into the features that heads and losses read.

    Every method takes one that is built already; ``Encoder`` makes one of any network that returns
    a feature map. A backbone normalizes images itself if it wants to. One that can begin with
    pretrained weights says in ``pretrained`` which it began with; None: random ones.
    """

    channels: int  # of ``Features.decoder``
    bottleneck_channels: int  # of ``Features.bottleneck``
    reduction: int  # image size / size of the bottleneck
    stride: int  # image size / size of ``Features.decoder``
    stage_channels: tuple[int, ...]  # of ``Features.stages``; empty for one scale

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) float in [0, 1], RGB -> features."""

    def build_head(self, out: int) -> nn.Module:
        """A fresh head: ``Features.decoder`` -> (B, out, H / stride, W / stride), raw."""


@final
class Encoder(nn.Module):
    """Makes a backbone of a network that returns one feature map, such as a ResNet without its end.

    The same map is decoder and bottleneck; a head is two 1x1 convolutions.

    Args:
        module: Maps images (B, 3, H, W) in [0, 1] to (B, channels, H / stride, W / stride). Where
            it expects normalized images, put the normalization in front (``nn.Sequential``).
        channels: Channels of that map.
        stride: Image size / map size. ``XTC`` takes 4, 8, 16 or 32.
        head_channels: Between the two convolutions of a head.
    """

    stage_channels: tuple[int, ...] = ()

    def __init__(
        self, module: nn.Module, channels: int, stride: int, *, head_channels: int = 256
    ) -> None:
        super().__init__()
        self.module, self.head_channels = module, head_channels
        self.channels = self.bottleneck_channels = channels
        self.stride = self.reduction = stride

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) -> features, the same map in both places.

        Raises:
            ValueError: If the module returns anything else than the map that was announced.
        """
        maps = self.module(images)
        height, width = (math.ceil(side / self.stride) for side in images.shape[2:])
        expected = (len(images), self.channels, height, width)
        shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        if shape != expected:
            raise ValueError(
                f"module: expected a map of shape {expected} for images of shape "
                f"{tuple(images.shape)}, got {shape}; give its channels and stride, and leave out "
                "pooling and classifier"
            )
        return Features(decoder=maps, bottleneck=maps)

    def build_head(self, out: int) -> nn.Module:
        """A fresh head: the map -> (B, out, H / stride, W / stride), before ``activate``."""
        return pointwise_head(self.channels, out, self.head_channels)


@dataclass(frozen=True)
class Output:
    """What a multi-task network returns."""

    predictions: dict[str, Tensor]  # task -> (B, C, H, W) float32, after ``Task.activate``
    features: Tensor  # (B, backbone.channels, h, w), shared by the heads
    bottleneck: Tensor  # (B, backbone.bottleneck_channels, H / reduction, W / reduction)


@final
class MultiTaskNet(nn.Module):
    """A backbone with a head for each task; one task makes it the single-task network.

    Args:
        backbone: Its ``build_head`` gives the heads.
        tasks: The heads, in this order.
    """

    def __init__(self, backbone: Backbone, tasks: TaskSet) -> None:
        super().__init__()
        self.backbone, self.tasks = backbone, tasks
        self.heads = nn.ModuleDict({t.name: backbone.build_head(t.channels) for t in tasks})

    def forward(self, images: Tensor) -> Output:
        """(B, 3, H, W) in [0, 1] -> predictions that the tasks' losses and metrics accept."""
        features = self.backbone(images)
        predictions = {
            task.name: task.activate(to_size(self.heads[task.name](features.decoder), images))
            for task in self.tasks
        }
        return Output(predictions, features.decoder, features.bottleneck)


def to_size(raw: Tensor, images: Tensor) -> Tensor:
    """A head's raw map (B, C, h, w) -> (B, C, H, W), bilinearly where it is not that size already.

    In float32 also under autocast: losses divide, take logs and sum.
    """
    raw, size = raw.float(), images.shape[2:]
    if raw.shape[2:] == size:
        return raw
    return F.interpolate(raw, size, mode="bilinear", align_corners=False)


def pointwise_head(channels: int, out: int, hidden: int) -> nn.Sequential:
    """Conv1x1 with BatchNorm and ReLU, then Conv1x1: (B, channels, h, w) -> (B, out, h, w).

    The head of HRNet [Sun et al., arXiv:1904.04514] on its joined maps, and with 256 channels
    between the two that of SETR-Naive on a transformer's last map [Zheng et al., CVPR 2021].
    """
    return nn.Sequential(conv_norm_relu(channels, hidden, 1), nn.Conv2d(hidden, out, kernel_size=1))


def conv_norm_relu(enters: int, leaves: int, kernel: int, rate: int = 1) -> nn.Sequential:
    padding = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(enters, leaves, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(leaves),
        nn.ReLU(inplace=True),
    )


@final
class SelfAttention(nn.Module):
    """x + Attention(LayerNorm(x)): pre-norm, residual, no position code.

    Args:
        channels: Width of the sequence's vectors.
        head_channels: Width of an attention head, or as little above it as splits ``channels`` into
            whole heads (18 of 270, the width of an HRNet-W18); one head where ``channels`` is
            smaller.
    """

    def __init__(self, channels: int, head_channels: int = 16) -> None:
        super().__init__()
        most = max(1, channels // head_channels)
        self.heads = next(heads for heads in range(most, 0, -1) if channels % heads == 0)
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, C) -> (B, n, C)."""
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)  # (B, heads, n, C / heads)
        return x + self.out(attended.transpose(1, 2).flatten(2))


def require_multiples(images: Tensor, reduction: int) -> None:
    """Raises ValueError unless height and width (the last two) are multiples of ``reduction``."""
    if any(side % reduction for side in images.shape[-2:]):
        raise ValueError(
            f"images: expected height and width in multiples of {reduction}, "
            f"got {tuple(images.shape[-2:])}; resize or pad them"
        )


def require_positive(width_factor: float) -> None:
    """Raises ValueError unless a network can have that factor."""
    if width_factor <= 0:
        raise ValueError(f"width_factor: expected a positive number, got {width_factor}")


def scale_channels(channels: int, factor: float) -> int:
    """A channel count times ``factor``, in multiples of 8."""
    return max(8, round(channels * factor / 8) * 8)
