"""Multi-task attention network [MTAN], a supervised baseline of [XTC, Table 5].

Shikun Liu, Edward Johns, Andrew J. Davison. End-to-End Multi-Task Learning with Attention. CVPR
2019. arXiv:1803.10704

The contribution is a network, which learns like the plain multi-task baseline. A task follows the
shared network through its ten stages with a map of its own. At every stage it looks at the shared
features that enter the stage and at its own map so far, and decides which of the features that
leave the stage it takes over. The convolutions that carry a task's map from stage to stage are
shared by all tasks; only attention and heads are its own.
"""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import Backbone
from mtpsl.models.backbone import require_multiples
from mtpsl.models.multitask import to_size
from mtpsl.models.segnet import SegNet, conv_stage, init_weights
from mtpsl.tasks import TaskSet

CONV = 3  # modules of a convolution in ``conv_stage``: Conv3x3, BatchNorm, ReLU


@final
class MTAN(Method):
    """Each task attends to the features of one shared network, and learns from its labels.

    Args:
        tasks: The tasks.
        backbone: A ``SegNet``.
        per_image_mean: Divide by |T_n|, as [XTC, Eq. 1] is printed.
    """

    learns_from_unlabeled = False

    def __init__(self, tasks: TaskSet, backbone: Backbone, *, per_image_mean: bool = False) -> None:
        super().__init__()
        self.tasks, self.per_image_mean = tasks, per_image_mean
        self.net = AttentionSegNet(backbone, tasks)

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        predictions, mean = self.net(batch.images), self.per_image_mean
        return supervised_terms(self.tasks, predictions, batch, per_image_mean=mean)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.net(images)

    def shared_parameters(self) -> list[nn.Parameter]:
        return self.net.shared_parameters()


@final
class AttentionSegNet(nn.Module):
    """The network of MTAN, with 44,229,073 parameters on NYUD-v2 (3 tasks, 13 classes).

    Args:
        backbone: The shared network.
        tasks: Which attend.

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
        self.carry_down = nn.ModuleList(
            conv_stage(leaves[i], carried[i], convs=1) for i in range(depth)
        )
        self.carry_up = nn.ModuleList(
            conv_stage(enters[i], leaves[i], convs=1) for i in range(depth, 2 * depth)
        )
        # What attention reads: the features after a stage's first convolution and the map carried
        # there; in the decoder the unpooled features, before the first convolution.
        down = [leaves[0], *(2 * width for width in leaves[1:depth])]
        up = [enters[i] + leaves[i] for i in range(depth, 2 * depth)]
        self.attention = nn.ModuleDict(
            {
                task.name: nn.ModuleList(map(attention, [*down, *up], leaves))  # stage by stage
                for task in tasks
            }
        )
        for part in (self.carry_down, self.carry_up, self.attention):
            init_weights(part)
        self.heads = nn.ModuleDict({t.name: backbone.build_head(t.channels) for t in tasks})

    def shared_parameters(self) -> list[nn.Parameter]:
        """The parameters that all tasks use, in forward order by part."""
        return [
            parameter
            for part in (self.backbone, self.carry_down, self.carry_up)
            for parameter in part.parameters()
        ]

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
