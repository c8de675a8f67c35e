"""ResNets whose four stages are joined at 1/8 of the image, the network of DiffusionMTL and TPKR.

Hanrong Ye, Dan Xu. DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially
Annotated Data. CVPR 2024. arXiv:2403.15389

The stages keep torchvision's strides. They are resized to the second one's size, concatenated, and
one 3x3 convolution, with neither norm nor activation, makes the 512 channels that every task's
decoder reads. A head is that decoder, two residual blocks, and a 1x1 convolution.
"""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models._torchvision import import_torchvision
from mtpsl.models.backbone import Features, scale_channels
from mtpsl.models.resnet import ResNet

CHANNELS = 512  # of the joined map
BLOCKS = 2  # residual blocks of a task's decoder


@final
class FusedResNet(nn.Module):
    """An encoder that hands on its stages and their joined map; the heads read the latter.

    With ResNet-18 and three tasks of 13, 1 and 3 channels, a ``MultiTaskNet`` of it has 43,933,265
    parameters.

    Args:
        depth: A key of ``resnet.DEPTHS``.
        width_factor: Multiplies all channel counts, those of the heads too (rounded to multiples
            of 8, at least 8).
        channels: Of the joined map, before they are multiplied.
        weights, weights_sha256: As of ``ResNet``.
    """

    reduction = 8  # image size / map size; other sizes than its multiples are rounded up
    stride = 8  # image size / size of ``Features.decoder``

    def __init__(
        self,
        depth: int,
        width_factor: float = 1.0,
        *,
        channels: int = CHANNELS,
        weights: str | None = None,
        weights_sha256: str = "",
    ) -> None:
        super().__init__()
        start = {"weights": weights, "weights_sha256": weights_sha256}
        self.encoder = ResNet(depth, width_factor, dilated=False, **start)
        self.width_factor, self.pretrained = width_factor, self.encoder.pretrained
        self.stage_channels = self.encoder.stage_channels
        self.channels = self.bottleneck_channels = scale_channels(channels, width_factor)
        self.join = nn.Conv2d(sum(self.stage_channels), self.channels, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) in [0, 1] -> features, the joined map (B, C, H / 8, W / 8) in both places.

        The stages are at 1/4, 1/8, 1/16 and 1/32 of the image.
        """
        stages = self.encoder(images).stages
        size = stages[1].shape[2:]
        resized = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in stages]
        joined = self.join(torch.cat(resized, dim=1))
        return Features(decoder=joined, bottleneck=joined, stages=stages)

    def build_head(self, out: int) -> nn.Sequential:
        """A fresh head: ``Features.decoder`` -> (B, out, H / 8, W / 8), before ``activate``.

        Its two parts are the task's decoder (``residual_decoder``) and a 1x1 convolution.
        """
        return nn.Sequential(
            residual_decoder(self.channels), nn.Conv2d(self.channels, out, kernel_size=1)
        )


def residual_decoder(channels: int) -> nn.Sequential:
    """Two of torchvision's ``BasicBlock`` that keep size and channels of a map."""
    block = import_torchvision("models.resnet").BasicBlock
    return nn.Sequential(*(block(channels, channels) for _ in range(BLOCKS)))
