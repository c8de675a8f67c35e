"""Every task as pixel-wise classification [HiTTs, App. A.1, Eq. 10 to 13].

A quantizer turns a task's targets into class ids and class logits back into predictions. Its
centers are found once on the labeled training pixels (``fit``) and live in buffers.
"""

from abc import ABC, abstractmethod
from typing import final

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from mtpsl.losses import per_image_mean
from mtpsl.tasks import Task, to_unit_length

DEPTH_BINS = 30  # NYUD-v2 [HiTTs, App. A.1]
NORMAL_CENTERS = 20  # NYUD-v2 [HiTTs, App. A.1]
LARGEST_ZOOM = 1.5  # of the training augmentation; depth is divided by it


def build_quantizer(
    task: Task, depth_bins: int = DEPTH_BINS, normal_centers: int = NORMAL_CENTERS
) -> "Quantizer":
    """The quantizer that fits what the task's pixels hold."""
    match task.kind:
        case "classes":
            return ClassIds(task.channels)
        case "positive":
            return LogBins(depth_bins)
        case "direction":
            return UnitVectors(normal_centers)
        case "binary":
            raise ValueError(
                f"{task.name}: expected a task of classes, positive numbers or directions, got a "
                "binary one, which has no quantizer here yet; leave it out"
            )


class Quantizer(nn.Module, ABC):
    """Targets <-> class ids <-> predictions of one task.

    Attributes:
        bins: C_p, the number of classes.
    """

    bins: int

    @abstractmethod
    def fit(self, values: Tensor) -> None:
        """(N, D) labeled values of the training set -> centers."""

    @abstractmethod
    def encode(self, target: Tensor) -> Tensor:
        """(B, D, H, W) targets -> (B, 1, H, W) int64 class ids; any id where a target is NaN."""

    @abstractmethod
    def decode(self, logits: Tensor) -> Tensor:
        """(B, C_p, H, W) logits -> the prediction that loss and metric accept."""

    @abstractmethod
    def values(self, ids: Tensor) -> Tensor:
        """(B, 1, H, W) int64 class ids -> what they stand for, as a target."""


class Centers(Quantizer):
    """A regression task, whose classes stand for the rows of ``centers`` (C_p, D)."""

    centers: Tensor

    def __init__(self, bins: int, dims: int) -> None:
        super().__init__()
        self.bins = bins
        self.register_buffer("centers", torch.ones(bins, dims))

    @abstractmethod
    def expectation(self, probabilities: Tensor) -> Tensor:
        """Sum(c^T x p) [Eq. 10]: (B, H, W, C_p) -> (B, D, H, W), a valid prediction."""

    @final
    def decode(self, logits: Tensor) -> Tensor:
        return self.expectation(class_last(logits).softmax(-1))

    @final
    def values(self, ids: Tensor) -> Tensor:
        return self.centers[ids.squeeze(1)].movedim(-1, 1)


@final
class ClassIds(Quantizer):
    """A task that is classification already: ids are targets, logits are predictions."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bins = classes

    def fit(self, values: Tensor) -> None:
        """Nothing to find."""

    def encode(self, target: Tensor) -> Tensor:
        return target

    def decode(self, logits: Tensor) -> Tensor:
        return logits

    def values(self, ids: Tensor) -> Tensor:
        return ids


@final
class LogBins(Centers):
    """Bins of equal width in log depth over the labeled range [HiTTs, App. A.1].

    The range runs from the smallest labeled value divided by the largest zoom, because zooming
    in divides depth, to the largest; values beyond it fall into the outermost bins. A center is
    its bin's geometric mean.
    """

    def __init__(self, bins: int) -> None:
        super().__init__(bins, dims=1)
        self.register_buffer("log_edges", torch.zeros(bins - 1))  # inner edges

    def fit(self, values: Tensor) -> None:
        low, high = values.min().double() / LARGEST_ZOOM, values.max().double()
        edges = torch.linspace(low.log().item(), high.log().item(), self.bins + 1)
        self.log_edges.copy_(edges[1:-1])
        self.centers.copy_(((edges[1:] + edges[:-1]) / 2).exp()[:, None])

    def encode(self, target: Tensor) -> Tensor:
        return torch.bucketize(target.nan_to_num(1.0).clamp_min(1e-6).log(), self.log_edges)

    def expectation(self, probabilities: Tensor) -> Tensor:
        return (probabilities @ self.centers).movedim(-1, 1)


@final
class UnitVectors(Centers):
    """Unit vectors from K-means over the labeled normals; a normal's class is the nearest one."""

    def __init__(self, bins: int) -> None:
        super().__init__(bins, dims=3)

    def fit(self, values: Tensor) -> None:
        kmeans = KMeans(self.bins, n_init=4, random_state=0).fit(values.double().cpu().numpy())
        centers = torch.from_numpy(kmeans.cluster_centers_).float()
        self.centers.copy_(F.normalize(centers, dim=1))

    def encode(self, target: Tensor) -> Tensor:
        usable = target.nan_to_num(0.0)
        similarity = torch.einsum("bdhw,kd->bkhw", usable, self.centers)
        return similarity.argmax(1, keepdim=True)

    def expectation(self, probabilities: Tensor) -> Tensor:
        return to_unit_length((probabilities @ self.centers).movedim(-1, 1))


def class_last(maps: Tensor) -> Tensor:
    """(B, K, H, W) -> (B, H, W, K) contiguous: softmax over a contiguous dimension is faster."""
    return maps.movedim(1, -1).contiguous()


def mixture_loss(
    task: Task,
    quantizer: Quantizer,
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    regression_weight: float,
) -> Tensor:
    """lambda L_reg(Y^, Y) + L_cls(G', Y^oh), one number per image [HiTTs, Eq. 11 to 13].

    Eq. 12 names its argument G but uses G' on its right side; it is G' here. lambda is 0 for
    a task that is classification already, whose L_cls is its usual loss.

    Args:
        task: Gives L_reg (L1 or angle) through ``task.loss``.
        quantizer: The task's.
        logits: (B, C_p, H, W) float, G'.
        target: (B, D, H, W) float values, or (B, 1, H, W) int64 class ids.
        mask: (B, 1, H, W) bool, True where the pixel counts.
        regression_weight: lambda, 0.1 in the paper.

    Returns:
        (B,); exactly 0 for an image without usable pixels.
    """
    ids = quantizer.encode(target).masked_fill(~mask, 0)
    log_probs = class_last(logits).log_softmax(-1)  # (B, H, W, C_p), shared by both losses
    surprise = -log_probs.gather(-1, class_last(ids))  # Eq. (12)
    loss = per_image_mean(surprise.movedim(-1, 1), mask)
    if task.kind != "classes":
        prediction = quantizer.expectation(log_probs.exp())
        loss = loss + regression_weight * task.loss(prediction, target, mask)  # Eq. (11), (13)
    return loss
