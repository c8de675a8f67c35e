"""Dilated ResNets with DeepLab heads, the networks of the PASCAL protocol [XTC, HiTTs].

Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun. Deep Residual Learning for Image Recognition.
CVPR 2016. arXiv:1512.03385

The last two stages dilate their convolutions instead of halving the map, so that it stays at 1/8
of the image. Blocks and names are torchvision's, and its weights fit.
"""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models._torchvision import import_torchvision
from mtpsl.models.backbone import Features, conv_norm_relu, require_positive, scale_channels
from mtpsl.models.pretrained import load_pretrained

WIDTHS = (64, 128, 256, 512)  # of the stages, before a bottleneck block multiplies them by 4
STEM_WIDTH = 64
HEAD_WIDTH = 256
STRIDES, DILATIONS = (1, 2, 2, 2), (1, 1, 2, 4)  # of the stages, as ``residual_stage`` takes them
DEPTHS = {  # torchvision's block, and how many of them a stage has
    18: ("BasicBlock", (2, 2, 2, 2)),
    50: ("Bottleneck", (3, 4, 6, 3)),
}
ASPP_RATES = (12, 24, 36)  # dilations for features at 1/8 of the image [Chen et al. 2017]
ASPP_DROPOUT = 0.5  # behind the projection, in the PASCAL protocol
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's images, red green blue


@final
class ResNet(nn.Module):
    """An encoder at output stride 8; the heads read its last map.

    Args:
        depth: A key of ``DEPTHS``.
        width_factor: Multiplies all channel counts, those of the heads too (rounded to multiples
            of 8, at least 8).
        weights: None for random weights, the name of torchvision's ("IMAGENET1K_V1"; downloaded
            once), or a local file; see ``load_pretrained``.
        weights_sha256: Hex digest that the file must have; empty to skip the check.
        dilated: Whether the last two stages dilate; else they stride, and the last map is at 1/32.

    Raises:
        ValueError: If an argument makes no sense, or the weights do not fit.
        Damaged: If the file is not the one with that digest.
        ConnectionError: If torchvision's weights cannot be downloaded.
    """

    reduction = 8  # image size / map size; other sizes than its multiples are rounded up
    stride = 8  # image size / size of ``Features.decoder``

    def __init__(
        self,
        depth: int,
        width_factor: float = 1.0,
        *,
        weights: str | None = None,
        weights_sha256: str = "",
        dilated: bool = True,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth: expected one of {list(DEPTHS)}, got {depth}")
        require_positive(width_factor)
        torchvision = import_torchvision("models.resnet")
        block_name, counts = DEPTHS[depth]
        block = getattr(torchvision, block_name)
        self.width_factor = width_factor
        widths = [scale_channels(width, width_factor) for width in WIDTHS]
        stem = scale_channels(STEM_WIDTH, width_factor)

        self.conv1 = nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.stage_channels = tuple(width * block.expansion for width in widths)
        enters = (stem, *self.stage_channels[:-1])  # a stage
        if not dilated:
            self.reduction = self.stride = 32
        dilations = DILATIONS if dilated else (1, 1, 1, 1)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            residual_stage(block, *stage)
            for stage in zip(enters, widths, counts, STRIDES, dilations, strict=True)
        )
        self.channels = self.bottleneck_channels = self.stage_channels[-1]
        self.head_channels = scale_channels(HEAD_WIDTH, width_factor)
        # Constants, and no part of torchvision's weights.
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        init_residual_weights(self)
        published = getattr(torchvision, f"ResNet{depth}_Weights")
        self.pretrained = load_pretrained(
            self, weights, published, sha256=weights_sha256, skip=("fc.",)
        )

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) in [0, 1] -> features, a map (B, C, H / stride, W / stride) in both places.

        The stages are at 1/4, 1/8, 1/8 and 1/8 of the image, or without dilation at 1/4, 1/8, 1/16
        and 1/32; the last is that map.
        """
        x = F.relu(self.bn1(self.conv1((images - self.mean) / self.std)), inplace=True)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        stages = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            stages.append(x)
        return Features(decoder=x, bottleneck=x, stages=tuple(stages))

    def build_head(self, out: int) -> nn.Module:
        """A fresh head: ``Features.decoder`` -> (B, out, H / 8, W / 8), before ``activate``."""
        return AsppHead(self.channels, out, self.head_channels)


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
        self.pixel = conv_norm_relu(channels, hidden, 1)
        self.rings = nn.ModuleList(conv_norm_relu(channels, hidden, 3, rate) for rate in ASPP_RATES)
        self.pooled = nn.Sequential(
            nn.Conv2d(channels, hidden, kernel_size=1, bias=False), PooledNorm(hidden), nn.ReLU()
        )
        self.project = conv_norm_relu((2 + len(ASPP_RATES)) * hidden, hidden, 1)
        self.dropout = nn.Dropout(ASPP_DROPOUT)
        self.smooth = conv_norm_relu(hidden, hidden, 3)
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


def residual_stage(
    block: type[nn.Module], channels_in: int, width: int, blocks: int, stride: int, dilation: int
) -> nn.Sequential:
    """``blocks`` residual blocks; only the first one changes channels and resolution.

    Args:
        block: torchvision's ``BasicBlock`` or ``Bottleneck``.
        channels_in: Channels of the map that enters.
        width: Channels of the blocks; the map that leaves has ``block.expansion`` times as many.
        blocks: How many.
        stride: What an undilated stage would do to the resolution.
        dilation: Above 1, it takes the stride's place: a 3x3 convolution that would have strode
            looks ``dilation / stride`` pixels far, the others ``dilation``. So every one sees the
            pixels that it sees in the undilated network, whose weights it can therefore use.
    """
    channels_out = width * block.expansion
    shortcut = None
    if stride != 1 or channels_in != channels_out:
        shortcut = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(channels_out),
        )
    stage = nn.Sequential(
        block(channels_in, width, stride, shortcut),
        *(block(channels_out, width) for _ in range(blocks - 1)),
    )
    if dilation > 1:
        # Afterwards, because torchvision's BasicBlock takes no dilation.
        for layer in stage.modules():
            if isinstance(layer, nn.Conv2d):
                rate = dilation // layer.stride[0]
                layer.stride = (1, 1)
                if layer.kernel_size == (3, 3):
                    layer.dilation = layer.padding = (rate, rate)
    return stage


def init_residual_weights(module: nn.Module) -> None:
    """He-normal convolutions, as torchvision starts its ResNets; a fresh BatchNorm is identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
