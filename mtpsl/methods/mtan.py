"""Multi-task attention network [MTAN], a supervised baseline of [XTC, Table 5].

Shikun Liu, Edward Johns, Andrew J. Davison. End-to-End Multi-Task Learning with Attention. CVPR
2019. arXiv:1803.10704

The contribution is a network (``models.mtan``); it learns like the plain multi-task baseline.
"""

from typing import final

from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models.mtan import AttentionSegNet
from mtpsl.tasks import TaskSet


@final
class MTAN(Method):
    """Each task attends to the features of one shared network, and learns from its labels.

    Args:
        tasks: The tasks.
        backbone: A ``SegNet``.
        per_image_mean: Divide by |T_n|, as [XTC, Eq. 1] is printed.
    """

    learns_from_unlabeled = False

    def __init__(
        self, tasks: TaskSet, backbone: nn.Module, *, per_image_mean: bool = False
    ) -> None:
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
