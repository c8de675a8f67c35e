"""SegNet, the backbone of the partially labeled setting [XTC, HiTTs], written after its papers.

The encoder is VGG-16's 13 convolutions with batch normalization; the decoder mirrors it and puts
values back where the encoder's max-pooling found them [Badrinarayanan et al., TPAMI 2017]. The
channel reduction of a decoder stage happens in its first convolution, as in the split baseline
of MTAN that all papers here build on. All convolutions have a bias, although batch
normalization cancels it: the published parameter count includes them.
"""

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models.backbone import (
    Features,
    require_multiples,
    require_positive,
    scale_channels,
)
from mtpsl.models.heads import SegNetHead

WIDTHS = (64, 128, 256, 512, 512)  # channels of the encoder's stages
CONVS = (2, 2, 3, 3, 3)  # convolutions of a stage, in the encoder and in the decoder


@final
class SegNet(nn.Module):
    """Encoder and decoder without heads.

    Args:
        width_factor: Multiplies all channel counts (rounded to multiples of 8, at least 8).
            1 is the published network: 24,943,296 parameters.

    Raises:
        ValueError: If ``width_factor`` is not positive.

    Note:
        ``max_unpool2d`` refuses ``torch.use_deterministic_algorithms(True)`` because indices may
        repeat in general. Those of 2x2 pooling with stride 2 cannot, so the result is
        deterministic on any device; use that mode with ``warn_only=True``.
    """

    reduction = 32  # image size / bottleneck size
    stride = 1  # image size / size of ``Features.decoder``
    stage_channels = ()  # one scale: what its heads read is the decoder's

    def __init__(self, width_factor: float = 1.0) -> None:
        super().__init__()
        require_positive(width_factor)
        widths = [scale_channels(width, width_factor) for width in WIDTHS]
        self.channels, self.bottleneck_channels = widths[0], widths[-1]
        before = [3, *widths[:-1]]  # channels that enter an encoder stage
        after = [widths[0], *widths[:-1]]  # channels that leave the decoder stage of that depth
        self.encoder = nn.ModuleList(map(conv_stage, before, widths, CONVS))
        self.decoder = nn.ModuleList(map(conv_stage, widths[::-1], after[::-1], CONVS[::-1]))
        init_weights(self)

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) in [0, 1] -> features; H and W must be multiples of 32.

        Raises:
            ValueError: If they are not.
        """
        require_multiples(images, self.reduction)
        x, indices = images, []
        for stage in self.encoder:
            x, index = F.max_pool2d(stage(x), kernel_size=2, return_indices=True)
            indices.append(index)
        bottleneck = x  # (B, 512, H / 32, W / 32) at width 1
        for stage in self.decoder:
            x = stage(F.max_unpool2d(x, indices.pop(), kernel_size=2))
        return Features(decoder=x, bottleneck=bottleneck)

    def build_head(self, out: int) -> nn.Module:
        """A fresh head: ``Features.decoder`` -> (B, out, H, W), before ``Task.activate``."""
        head = SegNetHead(self.channels, out)
        init_weights(head)
        return head


def conv_stage(channels_in: int, channels_out: int, convs: int) -> nn.Sequential:
    """``convs`` times Conv3x3, BatchNorm, ReLU; the first one changes the channels."""
    layers: list[nn.Module] = []
    for i in range(convs):
        layers += [
            nn.Conv2d(channels_out if i else channels_in, channels_out, kernel_size=3, padding=1),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),  # the gradient of BatchNorm needs its input, not its output
        ]
    return nn.Sequential(*layers)


def init_weights(module: nn.Module) -> None:
    """Xavier-normal convolutions with zero bias, identity BatchNorm [XTC, released code]."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
