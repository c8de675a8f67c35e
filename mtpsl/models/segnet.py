"""SegNet, the backbone of the partially labeled setting [XTC, HiTTs], written after its papers.

The encoder is VGG-16's 13 convolutions with batch normalization; the decoder mirrors it and puts
values back where the encoder's max-pooling found them [Badrinarayanan et al., TPAMI 2017]. The
channel reduction of a decoder stage happens in its first convolution, as in the split baseline
of MTAN that all papers here build on. All convolutions have a bias, although batch
normalization cancels it: the published parameter count includes them.
"""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models.backbone import (
    Backbone,
    Features,
    require_multiples,
    require_positive,
    scale_channels,
    to_size,
)
from mtpsl.tasks import TaskSet

WIDTHS = (64, 128, 256, 512, 512)  # channels of the encoder's stages
CONVS = (2, 2, 3, 3, 3)  # convolutions of a stage, in the encoder and in the decoder
CONV = 3  # modules of a convolution in ``conv_stage``: Conv3x3, BatchNorm, ReLU


@final
class SegNet(nn.Module):
    """Encoder and decoder without heads.

    Args:
        width_factor: Multiplies all channel counts (rounded to multiples of 8, at least 8).
            1 is the published network: 24,943,296 parameters.
        stages: How many of the five poolings there are, from the first. At a sixteenth of the
            published images' area, three leave a bottleneck of about the published size.

    Raises:
        ValueError: If ``width_factor`` is not positive, or ``stages`` is not from 1 to 5.

    Note:
        ``max_unpool2d`` refuses ``torch.use_deterministic_algorithms(True)`` because indices may
        repeat in general. Those of 2x2 pooling with stride 2 cannot, so the result is
        deterministic on any device; use that mode with ``warn_only=True``.
    """

    stride = 1  # image size / size of ``Features.decoder``
    stage_channels = ()  # one scale: what its heads read is the decoder's

    def __init__(self, width_factor: float = 1.0, *, stages: int = len(WIDTHS)) -> None:
        super().__init__()
        require_positive(width_factor)
        self.width_factor = width_factor
        if type(stages) is not int or not 1 <= stages <= len(WIDTHS):
            raise ValueError(f"stages: expected 1 to {len(WIDTHS)}, got {stages!r}")
        widths = [scale_channels(width, width_factor) for width in WIDTHS[:stages]]
        self.reduction = 2**stages  # image size / bottleneck size
        self.channels, self.bottleneck_channels = widths[0], widths[-1]
        before = [3, *widths[:-1]]  # channels that enter an encoder stage
        after = [widths[0], *widths[:-1]]  # channels that leave the decoder stage of that depth
        self.encoder = nn.ModuleList(map(conv_stage, before, widths, CONVS[:stages]))
        self.decoder = nn.ModuleList(
            map(conv_stage, widths[::-1], after[::-1], CONVS[:stages][::-1])
        )
        init_weights(self)

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) in [0, 1] -> features; H and W in multiples of ``reduction``.

        Raises:
            ValueError: If they are not.
        """
        require_multiples(images, self.reduction)
        x, indices = images, []
        for stage in self.encoder:
            x, index = F.max_pool2d(stage(x), kernel_size=2, return_indices=True)
            indices.append(index)
        bottleneck = x  # (B, 512, H / 32, W / 32) at its published size
        for stage in self.decoder:
            x = stage(F.max_unpool2d(x, indices.pop(), kernel_size=2))
        return Features(decoder=x, bottleneck=bottleneck)

    def build_head(self, out: int) -> nn.Module:
        """A fresh head: ``Features.decoder`` -> (B, out, H, W), before ``Task.activate``.

        Two convolutions with nothing between them [XTC, released code].
        """
        head = nn.Sequential(
            nn.Conv2d(self.channels, self.channels, kernel_size=3, padding=1),
            nn.Conv2d(self.channels, out, kernel_size=1),
        )
        init_weights(head)
        return head


@final
class AttentionSegNet(nn.Module):
    """The multi-task attention network: 44,229,073 parameters on NYUD-v2 (3 tasks, 13 classes).

    Shikun Liu, Edward Johns, Andrew J. Davison. End-to-End Multi-Task Learning with Attention.
    CVPR 2019. arXiv:1803.10704

    A task follows the shared network through its ten stages with a map of its own. At every stage
    it looks at the shared features that enter the stage and at its own map so far, and decides
    which of the features that leave the stage it takes over. The convolutions that carry a task's
    map from stage to stage are shared by all tasks; only attention and heads are its own.

    Raises:
        ValueError: If the backbone is not a SegNet: attention reads inside its stages.

    Note:
        The published count is 44,229,076. The released module also holds three log-variances
        that only its uncertainty weighting uses; here they belong to the weighting. It aligns the
        corners of a task's map where it is enlarged; here pixels keep their place in the image.
    """

    def __init__(self, backbone: Backbone, tasks: TaskSet) -> None:
        super().__init__()
        if not isinstance(backbone, SegNet):
            raise ValueError(
                f"backbone: expected segnet, got {type(backbone).__name__}; MTAN attends to the "
                "maps inside SegNet's stages"
            )
        self.backbone, self.tasks = backbone, tasks
        enters = [stage[0].in_channels for stage in (*backbone.encoder, *backbone.decoder)]
        leaves = [stage[0].out_channels for stage in (*backbone.encoder, *backbone.decoder)]
        depth = len(backbone.encoder)
        # Encoder: a task's map takes the next stage's width before it is pooled, so that it meets
        # the features there as an equal; the last one has no next stage.
        carried = [*leaves[1:depth], leaves[depth - 1]]
        once = (1,) * depth  # convolutions
        self.carry_down = nn.ModuleList(map(conv_stage, leaves[:depth], carried, once))
        self.carry_up = nn.ModuleList(map(conv_stage, enters[depth:], leaves[depth:], once))
        # What attention reads: the features after a stage's first convolution and the map carried
        # there; in the decoder the unpooled features, before the first convolution.
        down = [leaves[0], *(2 * width for width in leaves[1:depth])]
        up = map(sum, zip(enters[depth:], leaves[depth:], strict=True))
        reads = [*down, *up]
        self.attention = nn.ModuleDict(  # task -> stage by stage
            {task.name: nn.ModuleList(map(attention, reads, leaves)) for task in tasks}
        )
        for part in (self.carry_down, self.carry_up, self.attention):
            init_weights(part)
        self.heads = nn.ModuleDict({t.name: backbone.build_head(t.channels) for t in tasks})

    def shared_parameters(self) -> list[nn.Parameter]:
        """The parameters that all tasks use, in forward order by part."""
        shared = nn.ModuleList([self.backbone, self.carry_down, self.carry_up])
        return list(shared.parameters())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) in [0, 1] -> task -> prediction (B, C, H, W); H and W multiples of 32.

        Raises:
            ValueError: If they are not.
        """
        require_multiples(images, self.backbone.reduction)
        encoder, decoder = self.shared(images)
        predictions = {}
        for task in self.tasks:
            x = self.attend(self.attention[task.name], encoder, decoder)
            predictions[task.name] = task.activate(to_size(self.heads[task.name](x), images))
        return predictions

    def shared(self, images: Tensor) -> tuple[list[tuple[Tensor, Tensor]], ...]:
        """What tasks attend to, for every stage of the encoder and of the decoder.

        Returns:
            Twice a list of (read, take) by stage: what attention reads, and what it weighs.
        """
        encoder, decoder, indices = [], [], []
        x = images
        for stage in self.backbone.encoder:
            first = stage[:CONV](x)
            last = stage[CONV:](first)
            encoder.append((first, last))
            x, index = F.max_pool2d(last, kernel_size=2, return_indices=True)
            indices.append(index)
        for stage in self.backbone.decoder:
            unpooled = F.max_unpool2d(x, indices.pop(), kernel_size=2)
            x = stage(unpooled)
            decoder.append((unpooled, x))
        return encoder, decoder

    def attend(
        self,
        attention: nn.ModuleList,
        encoder: list[tuple[Tensor, Tensor]],
        decoder: list[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """One task's way through ``shared``'s features -> (B, backbone.channels, H, W)."""
        masks = iter(attention)
        x: Tensor | None = None
        for carry, (read, take) in zip(self.carry_down, encoder, strict=True):
            seen = read if x is None else torch.cat((read, x), dim=1)
            x = F.max_pool2d(carry(next(masks)(seen) * take), kernel_size=2)
        for carry, (read, take) in zip(self.carry_up, decoder, strict=True):
            x = carry(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
            x = next(masks)(torch.cat((read, x), dim=1)) * take
        return x


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
    """Xavier-normal convolutions with zero bias [XTC, released code]; BatchNorm is identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def attention(channels_in: int, channels: int) -> nn.Sequential:
    """What a task reads -> a weight in (0, 1) for every value that it may take over."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel_size=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, kernel_size=1),
        nn.BatchNorm2d(channels),
        nn.Sigmoid(),
    )
