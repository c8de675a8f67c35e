"""The baselines of [XTC, Sec. 4]: supervised, semi-supervised, and the attention network MTAN.

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893

There is no released code for the semi-supervised baseline [XTC, Eq. 2]. What the paper leaves open
there is decided in ``CHOICES``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn

from mtpsl.batch import Batch, Discovered
from mtpsl.data.transforms import relative, warp_batch
from mtpsl.methods.base import Method, Terms, require_discoveries, supervised_terms
from mtpsl.models import Backbone, MultiTaskNet
from mtpsl.models.segnet import AttentionSegNet
from mtpsl.tasks import Task, TaskSet

CHOICES: dict[str, str] = {
    "x and e_r(x)": "the two views: the second is a crop of the first, resized back",
    "e_r of a prediction": "what the augmentation does to a label: depth changes with the zoom, "
    "mirrored normals change sign, normals are renormalized; everything is interpolated bilinearly",
    "L_u": "squared error of class and edge probabilities, depth and normals, a mean over channels "
    "and pixels (the paper names the squared error alone)",
    "gradient": "through both predictions, as printed",
    "|T_n|, |U_n|": "no division, like XTC here; per_image_mean=True is Eq. 2 as printed",
    "weight": "1 for L_u, as printed",
}
"""What the paper leaves open -> what this file does."""


@final
class Supervised(Method):
    """Learns each task from the images that are labeled for it, and nothing else.

    One task makes it the single-task baseline STL, several the multi-task baseline MTL. With
    ``pseudo_labels`` it is the naive self-training of [HiTTs, Table 5], rows "STL w. L_p*" and
    "MTL w. L_p*": no task tokens, no feature supervision.

    Args:
        tasks: The tasks.
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
        self.tasks, self.net = tasks, MultiTaskNet(backbone, tasks)
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


@final
class MTAN(Method):
    """Each task attends to the features of one shared network, and learns from its labels [MTAN].

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
class SemiSupervised(Method):
    """Labeled tasks learn from labels, unlabeled ones from their own crops [XTC, Eq. 2].

    Args:
        tasks: The tasks.
        backbone: The network that all tasks share.
        weight: Multiplies L_u.
        stop_gradient: Let only the prediction of the crop learn from L_u.
        per_image_mean: Divide by |T_n| and |U_n|.
    """

    views = 2

    def __init__(
        self,
        tasks: TaskSet,
        backbone: Backbone,
        *,
        weight: float = 1.0,
        stop_gradient: bool = False,
        per_image_mean: bool = False,
    ) -> None:
        super().__init__()
        self.tasks, self.net = tasks, MultiTaskNet(backbone, tasks)
        self.weight, self.stop_gradient = weight, stop_gradient
        self.per_image_mean = per_image_mean

    def training_step(self, *views: Batch, progress: float) -> Terms:
        first, second = views
        images = torch.cat([first.images, second.images])
        predictions = self.net(images).predictions
        whole = {n: maps[: len(first)] for n, maps in predictions.items()}
        crop = {n: maps[len(first) :] for n, maps in predictions.items()}
        mean = self.per_image_mean
        terms = supervised_terms(self.tasks, whole, first, per_image_mean=mean)
        terms["consistency"] = self.weight * self.consistency(whole, crop, first, second)
        return terms

    def consistency(
        self, whole: dict[str, Tensor], crop: dict[str, Tensor], first: Batch, second: Batch
    ) -> Tensor:
        """L_u of the unlabeled tasks, summed over them and averaged over the batch.

        Args:
            whole: task -> (B, C, H, W), predictions on the first view.
            crop: task -> (B, C, H, W), predictions on the second.
            first: Its geometry, and which labels there are.
            second: Its geometry; it lies inside the first view.

        Returns:
            A scalar; exactly 0 where every image has every label.
        """
        count = sum((~first.labeled[n]).float() for n in self.tasks.names).clamp(min=1)  # |U_n|
        whole = {t.name: comparable(t, whole[t.name]) for t in self.tasks}
        if self.stop_gradient:
            whole = {n: maps.detach() for n, maps in whole.items()}
        whole = crop_predictions(self.tasks, whole, first, second)
        total = first.images.new_zeros(())
        for t in self.tasks:
            error = (whole[t.name] - comparable(t, crop[t.name])).square().mean(dim=(1, 2, 3))
            error = torch.where(first.labeled[t.name], 0.0, error)
            total = total + (error / count if self.per_image_mean else error).mean()
        return total  # L_u of Eq. (2)


def comparable(task: Task, prediction: Tensor) -> Tensor:
    """A prediction in the space where errors are squared: probabilities in place of logits."""
    if task.kind == "classes":
        return prediction.softmax(dim=1)
    return prediction.sigmoid() if task.kind == "binary" else prediction


def crop_predictions(
    tasks: TaskSet, maps: dict[str, Tensor], first: Batch, second: Batch
) -> dict[str, Tensor]:
    """e_r: predictions on the first view -> what they say about the second, differentiably.

    Predictions travel as labels without holes do; only that all of them are interpolated.
    Views without geometry show the same image.
    """
    if first.geometry is None or second.geometry is None:
        return maps
    height, width = first.images.shape[2:]
    between = relative(first.geometry, second.geometry, height, width)
    everywhere = torch.ones_like(first.images[:, :1], dtype=torch.bool)
    smooth = TaskSet(tuple(replace(t, resize="bilinear") for t in tasks))
    source = replace(
        first, targets=maps, valid=dict.fromkeys(tasks.names, everywhere), discovered=None
    )
    return warp_batch(source, between, smooth).targets
