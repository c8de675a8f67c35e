"""RDC, the method: one network with the region contrast of ``loss`` [RDC].

Meixuan Li, Tianyu Li, Guoqing Wang, Peng Wang, Yang Yang, Heng Tao Shen. Region-aware Distribution
Contrast: A Novel Approach to Multi-Task Partially Supervised Learning. ECCV 2024. arXiv:2403.10252
"""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import Backbone, MultiTaskNet
from mtpsl.papers.rdc.loss import RegionContrastLoss
from mtpsl.papers.xtc.loss import CrossTaskLoss
from mtpsl.papers.xtc.mapping import build_mapping
from mtpsl.papers.xtc.method import two_views as predict_views
from mtpsl.registry import with_options_of
from mtpsl.tasks import TaskSet


@final
@with_options_of(RegionContrastLoss)
class RDC(Method):
    """Learns from labels and from ``RegionContrastLoss``, each on a view of its own [RDC, Eq. 1].

    ``weight=0`` is supervised training on two views; ``gradient=False``, which is what the released
    code trains, has the same weights after any number of steps.

    Args:
        tasks: The tasks.
        backbone: Its ``width_factor`` scales the mapping network too.
        two_views: Ask for two crops of each image.
        with_xtc: Add XTC's loss, with a mapping network of its own.
        **options: Those of ``RegionContrastLoss``.
    """

    views = 2
    small_images: ClassVar[Mapping[str, Any]] = {"pools": 2}  # more than a cell or two per region

    def __init__(
        self,
        tasks: TaskSet,
        backbone: Backbone,
        *,
        two_views: bool = True,
        with_xtc: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.tasks, self.views = tasks, 2 if two_views else 1
        self.net = MultiTaskNet(backbone, tasks)
        options = {"width_factor": getattr(backbone, "width_factor", 1.0)} | options
        self.loss = RegionContrastLoss(tasks, **options)
        self.xtc = None
        if with_xtc:
            channels, mapping = backbone.bottleneck_channels, build_mapping(tasks, backbone)
            self.xtc = CrossTaskLoss(tasks, channels, mapping=mapping)

    def training_step(self, *views: Batch, progress: float) -> Terms:
        predictions, others, features = predict_views(self.net, views)
        mean = self.loss.per_image_mean
        terms = supervised_terms(self.tasks, predictions, views[0], per_image_mean=mean)
        if self.xtc:
            terms |= self.xtc(others, features, views[-1], progress=progress)
        return terms | self.loss(others, views[-1], progress=progress)  # their sum is Eq. (1)

    @property
    def readings(self) -> dict[str, Tensor]:
        """Region retrieval, which shows what the contrast has learned as no loss does."""
        return {"region_retrieval": self.loss.retrieval}

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        losses = [loss for loss in (self.loss, self.xtc) if loss]
        groups = [group for loss in losses for group in loss.param_groups(lr)]
        return [{"params": list(self.net.parameters()), "lr": lr}, *groups]
