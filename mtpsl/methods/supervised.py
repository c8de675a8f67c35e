"""Supervised baselines: one network per task (STL) or one shared network (MTL) [XTC, Sec. 4].

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893

STL is this method with one task. With ``pseudo_labels`` it is the naive self-training of
[HiTTs, Table 5], rows "STL w. L_p*" and "MTL w. L_p*": no task tokens, no feature supervision.
"""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from mtpsl.batch import Batch, Discovered
from mtpsl.methods.base import Method, Terms, require_discoveries, supervised_terms
from mtpsl.models import Backbone, MultiTaskNet
from mtpsl.tasks import TaskSet


@final
class Supervised(Method):
    """Learns each task from the images that are labeled for it, and nothing else.

    Args:
        tasks: One task for STL, several for MTL.
        backbone: The network that all tasks share.
        pseudo_labels: Also learn from what a teacher found on unlabeled images, L_p*. The paper
            gives no recipe; here a pseudo label counts like a label where its mask allows it.
        per_image_mean: Divide by |T_n|, as [XTC, Eq. 1] is printed; pseudo labels are not counted.
    """

    learns_from_unlabeled = False

    def __init__(
        self,
        tasks: TaskSet,
        backbone: Backbone,
        *,
        pseudo_labels: bool = False,
        per_image_mean: bool = False,
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.net = MultiTaskNet(backbone, tasks)
        self.pseudo_labels, self.per_image_mean = pseudo_labels, per_image_mean

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        predictions = self.net(batch.images).predictions
        mean = self.per_image_mean
        terms = supervised_terms(self.tasks, predictions, batch, per_image_mean=mean)
        if self.pseudo_labels:
            pseudo = require_discoveries(batch)
            for t in self.tasks:
                loss = t.loss(predictions[t.name], pseudo.targets[t.name], pseudo.valid[t.name])
                terms[f"{t.name}_pseudo"] = t.weight * loss.mean()
        return terms

    @torch.no_grad()
    def discover(self, images: Tensor, thresholds: Mapping[str, float]) -> Discovered:
        """Labels images by the network's own predictions, made hard.

        Only probabilities have a confidence that a threshold can act on; a regression head has
        none, so its prediction is accepted everywhere.
        """
        targets, valid = {}, {}
        predictions = self.predict(images)
        for t in self.tasks:
            prediction = predictions[t.name].float()
            if t.kind == "classes":
                confidence, targets[t.name] = prediction.softmax(1).max(1, keepdim=True)
                valid[t.name] = confidence > thresholds.get(t.name, 0.0)
            elif t.kind == "binary":
                yes = prediction.sigmoid()
                targets[t.name] = (yes > 0.5).float()
                valid[t.name] = torch.maximum(yes, 1 - yes) > thresholds.get(t.name, 0.0)
            else:
                targets[t.name] = prediction
                valid[t.name] = torch.ones_like(prediction[:, :1], dtype=torch.bool)
        return Discovered(targets, valid, features={}, confidence={})

    @torch.no_grad()
    def label_confidence(self, images: Tensor) -> dict[str, Tensor]:
        """Task -> (B, 1, H, W), the largest class probability; regression heads have none."""
        predictions = self.predict(images)
        confidence = {}
        for t in self.tasks:
            prediction = predictions[t.name].float()
            if t.kind == "classes":
                confidence[t.name] = prediction.softmax(1).amax(1, keepdim=True)
            elif t.kind == "binary":
                confidence[t.name] = torch.maximum(prediction.sigmoid(), (-prediction).sigmoid())
        return confidence
