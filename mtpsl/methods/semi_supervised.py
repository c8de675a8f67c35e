"""Semi-supervised baseline: predictions must follow a crop of the image [XTC, Eq. 2].

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893

There is no released code for this baseline. What the paper leaves open is decided in ``CHOICES``.
"""

from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.transforms import relative, warp_batch
from mtpsl.methods.base import Method, Terms, ramp, supervised_terms
from mtpsl.models import Backbone, MultiTaskNet
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
class SemiSupervised(Method):
    """Labeled tasks learn from labels, unlabeled ones from their own crops [XTC, Eq. 2].

    Args:
        tasks: The tasks.
        backbone: The network that all tasks share.
        weight: Multiplies L_u.
        ramp_up: Share of training over which ``weight`` grows linearly from 0; 0: at once.
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
        ramp_up: float = 0.0,
        stop_gradient: bool = False,
        per_image_mean: bool = False,
    ) -> None:
        super().__init__()
        self.tasks, self.net = tasks, MultiTaskNet(backbone, tasks)
        self.weight, self.ramp_up = weight, ramp_up
        self.stop_gradient, self.per_image_mean = stop_gradient, per_image_mean

    def training_step(self, *views: Batch, progress: float) -> Terms:
        first, second = views
        images = torch.cat([first.images, second.images])
        predictions = self.net(images).predictions
        whole = {n: maps[: len(first)] for n, maps in predictions.items()}
        crop = {n: maps[len(first) :] for n, maps in predictions.items()}
        mean = self.per_image_mean
        terms = supervised_terms(self.tasks, whole, first, per_image_mean=mean)
        weight = self.weight * ramp(progress, self.ramp_up)
        terms["consistency"] = weight * self.consistency(whole, crop, first, second)
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
        unlabeled = {n: ~first.labeled[n] for n in self.tasks.names}  # (B,)
        count = sum(rows.float() for rows in unlabeled.values()).clamp(min=1)  # |U_n|
        whole = {t.name: comparable(t, whole[t.name]) for t in self.tasks}
        if self.stop_gradient:
            whole = {n: maps.detach() for n, maps in whole.items()}
        whole = crop_predictions(self.tasks, whole, first, second)
        total = first.images.new_zeros(())
        for t in self.tasks:
            error = (whole[t.name] - comparable(t, crop[t.name])).square().mean(dim=(1, 2, 3))
            rows = unlabeled[t.name]
            error = torch.where(rows, error, 0.0)
            total = total + (error / count if self.per_image_mean else error).mean()
        return total  # L_u of Eq. (2)


def comparable(task: Task, prediction: Tensor) -> Tensor:
    """A prediction in the space where errors are squared: probabilities in place of logits."""
    match task.kind:
        case "classes":
            return prediction.softmax(dim=1)
        case "binary":
            return prediction.sigmoid()
        case "positive" | "direction":
            return prediction


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
