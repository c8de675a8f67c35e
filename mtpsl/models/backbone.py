"""What a backbone is, and how any encoder becomes one."""

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from torch import Tensor, nn

from mtpsl.models.heads import PointwiseHead


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
        stride: Image size / map size. ``XTC`` takes 4, 8, 16 or 32; ``HiTTs`` needs a
            ``reduction`` that is a multiple of it.
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
        return PointwiseHead(self.channels, out, self.head_channels)


def require_multiples(images: Tensor, reduction: int) -> None:
    """Raises ValueError unless height and width (the last two) are multiples of ``reduction``."""
    if images.shape[-2] % reduction or images.shape[-1] % reduction:
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
