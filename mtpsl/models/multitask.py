"""One backbone with a head for each task: the multi-task network with hard parameter sharing."""

from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models.backbone import Backbone
from mtpsl.tasks import TaskSet


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
        self.heads = nn.ModuleDict(
            {task.name: backbone.build_head(task.channels) for task in tasks}
        )

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
