"""One backbone, one head a task: the supervised multi-task network (hard parameter sharing)."""

from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from mtpsl.models.heads import SegNetHead
from mtpsl.tasks import TaskSet


@dataclass(frozen=True)
class Output:
    """What a multi-task network returns."""

    predictions: dict[str, Tensor]  # task -> (B, C, H, W) float32, after ``Task.activate``
    features: Tensor  # (B, backbone.channels, H, W), shared by the heads
    bottleneck: Tensor  # (B, backbone.bottleneck_channels, H / reduction, W / reduction)


@final
class MultiTaskNet(nn.Module):
    """A backbone with a SegNet head for each task; one task makes it the single-task network.

    Args:
        backbone: Such as ``SegNet``: images -> ``Features``, with a ``channels`` attribute.
        tasks: The heads, in this order.
    """

    def __init__(self, backbone: nn.Module, tasks: TaskSet) -> None:
        super().__init__()
        self.backbone, self.tasks = backbone, tasks
        self.heads = nn.ModuleDict(
            {task.name: SegNetHead(backbone.channels, task.channels) for task in tasks}
        )

    def forward(self, images: Tensor) -> Output:
        """(B, 3, H, W) in [0, 1] -> predictions that the tasks' losses and metrics accept."""
        features = self.backbone(images)
        predictions = {  # in float32 also under autocast: losses divide, take logs and sum
            task.name: task.activate(self.heads[task.name](features.decoder).float())
            for task in self.tasks
        }
        return Output(predictions, features.decoder, features.bottleneck)
