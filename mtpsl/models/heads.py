"""Heads: from a backbone's features to a task's raw map."""

from typing import final

from torch import Tensor, nn

from mtpsl.models.segnet import init_weights


@final
class SegNetHead(nn.Sequential):
    """Conv3x3, then Conv1x1, with nothing between them [XTC, released code].

    Args:
        channels: Of the features.
        out: Channels of the map (``Task.channels``).
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.Conv2d(channels, out, kernel_size=1),
        )
        init_weights(self)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, H, W), before ``Task.activate``."""
        return super().forward(features)
