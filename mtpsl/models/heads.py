"""Heads: from a backbone's features to a task's raw map, at the resolution of the features."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ASPP_RATES = (12, 24, 36)  # dilations for features at 1/8 of the image [Chen et al. 2017]
ASPP_DROPOUT = 0.5  # behind the projection, in the PASCAL protocol


@final
class SegNetHead(nn.Sequential):
    """Conv3x3, then Conv1x1, with nothing between them [XTC, released code].

    Args:
        channels: Channels of the features.
        out: Channels of the map (``Task.channels``).
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.Conv2d(channels, out, kernel_size=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, H, W), before ``Task.activate``."""
        return super().forward(features)


@final
class PointwiseHead(nn.Sequential):
    """Conv1x1 with BatchNorm and ReLU, then Conv1x1: every position by itself.

    The head of HRNet [Sun et al., arXiv:1904.04514] on its joined maps, and with 256 channels
    between the two that of SETR-Naive on a transformer's last map [Zheng et al., CVPR 2021].

    Args:
        channels: Channels of the features.
        out: Channels of the map (``Task.channels``).
        hidden: Channels between the two convolutions.
    """

    def __init__(self, channels: int, out: int, hidden: int) -> None:
        super().__init__(
            _conv_norm_relu(channels, hidden, 1),
            nn.Conv2d(hidden, out, kernel_size=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, out, h, w), before ``Task.activate``."""
        return super().forward(features)


@final
class AsppHead(nn.Module):
    """DeepLab's head: atrous spatial pyramid pooling, then two convolutions.

    Liang-Chieh Chen, George Papandreou, Florian Schroff, Hartwig Adam. Rethinking Atrous
    Convolution for Semantic Image Segmentation. 2017. arXiv:1706.05587

    Five views of the same features (a pixel, three rings around it, the whole image) are
    concatenated and projected. As in the PASCAL protocol that XTC and HiTTs use; weights start
    as PyTorch's layers do.

    Args:
        channels: Channels of the features.
        out: Channels of the map (``Task.channels``).
        hidden: Channels of every layer between them; 256 in the protocol.
    """

    def __init__(self, channels: int, out: int, hidden: int = 256) -> None:
        super().__init__()
        self.pixel = _conv_norm_relu(channels, hidden, 1)
        self.rings = nn.ModuleList(
            _conv_norm_relu(channels, hidden, 3, rate) for rate in ASPP_RATES
        )
        self.pooled = nn.Sequential(
            nn.Conv2d(channels, hidden, kernel_size=1, bias=False), PooledNorm(hidden), nn.ReLU()
        )
        self.project = _conv_norm_relu((2 + len(ASPP_RATES)) * hidden, hidden, 1)
        self.dropout = nn.Dropout(ASPP_DROPOUT)
        self.smooth = _conv_norm_relu(hidden, hidden, 3)
        self.predict = nn.Conv2d(hidden, out, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, out, h, w), before ``Task.activate``."""
        whole = self.pooled(features.mean(dim=(2, 3), keepdim=True)).expand(
            -1, -1, *features.shape[2:]
        )
        views = [self.pixel(features), *(ring(features) for ring in self.rings), whole]
        return self.predict(self.smooth(self.dropout(self.project(torch.cat(views, dim=1)))))


@final
class PooledNorm(nn.BatchNorm2d):
    """BatchNorm of (B, C, 1, 1) that a batch of one image does not stop.

    One value per channel has no variance, and ``BatchNorm2d`` refuses to train on it; the last
    batch of an epoch can be that small. Such a batch is normalized like at evaluation, with the
    running statistics, and leaves them alone.
    """

    def forward(self, pooled: Tensor) -> Tensor:
        if len(pooled) > 1 or not self.training:
            return super().forward(pooled)
        return F.batch_norm(
            pooled, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def _conv_norm_relu(enters: int, leaves: int, kernel: int, rate: int = 1) -> nn.Sequential:
    padding = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(enters, leaves, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(leaves),
        nn.ReLU(inplace=True),
    )
