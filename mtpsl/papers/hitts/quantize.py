"""Every task as pixel-wise classification [HiTTs, App. A.1, Eq. 10 to 13].

A quantizer turns a task's targets into class ids and class logits back into predictions. Where
its centers depend on data, they are found once on the labeled training pixels (``fit``) and live
in buffers.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Literal, final, get_args

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.tasks import Task, TaskSet, to_unit_length

CentersFrom = Literal["kmeans", "uniform", "half_sphere"]

DEPTH_BINS = 30  # NYUD-v2; 100 on Cityscapes [HiTTs, App. A.1]
NORMAL_CENTERS = 20  # NYUD-v2; 40 on PASCAL-Context [HiTTs, App. A.1]
SAMPLED_PIXELS = 100_000  # labeled pixels per task, to twice as many, that quantizers are fitted on
LARGEST_ZOOM = 1.5  # of the training augmentation; depth is divided by it
GOLDEN_ANGLE = math.pi * (3 - 5**0.5)


def build_quantizer(
    task: Task,
    *,
    depth_bins: int = DEPTH_BINS,
    depth_range: Sequence[float] | None = None,
    normal_centers: int = NORMAL_CENTERS,
    normal_centers_from: CentersFrom = "kmeans",
) -> "Quantizer":
    """The quantizer that fits what the task's pixels hold.

    Args:
        task: Decides its kind.
        depth_bins: Logarithmic bins of a positive quantity; the paper has 100 on Cityscapes.
        depth_range: Smallest and largest value of the bins; None: of the labeled values.
        normal_centers: Unit vectors of a direction; the paper has 40 on PASCAL-Context.
        normal_centers_from: ``"kmeans"`` of the labeled normals, as on NYUD-v2; ``"uniform"``,
            spread over all directions, as on PASCAL-Context; or ``"half_sphere"``, spread over the
            directions that face the camera.

    Raises:
        ValueError: If ``normal_centers_from`` is none of them, a number of bins is below 2, or the
            range is none of positive numbers.
    """
    for name, bins in (("depth_bins", depth_bins), ("normal_centers", normal_centers)):
        if bins < 2:
            raise ValueError(f"{name}: expected at least 2, got {bins}")
    if normal_centers_from not in get_args(CentersFrom):
        raise ValueError(
            f"normal_centers_from: expected one of {list(get_args(CentersFrom))}, "
            f"got {normal_centers_from!r}"
        )
    if depth_range is not None and not 0 < depth_range[0] < depth_range[1]:
        raise ValueError(f"depth_range: expected 0 < low < high, got {tuple(depth_range)}")
    match task.kind:
        case "classes":
            return ClassIds(task.channels)
        case "binary":
            return YesNo()
        case "positive":
            return LogBins(depth_bins, task.zoom_power, limits=depth_range)
        case "direction":
            return UnitVectors(normal_centers, normal_centers_from)


@final
class Quantizers(nn.ModuleDict):
    """The quantizer of every task, by name; ``how`` as in ``build_quantizer``."""

    def __init__(self, tasks: TaskSet, **how: Any) -> None:
        super().__init__({t.name: build_quantizer(t, **how) for t in tasks})

    @torch.no_grad()
    def fit(self, batches: Iterable[Batch]) -> None:
        """Finds depth bins and normal centers on the labeled pixels of clean training images.

        Raises:
            ValueError: If a task that needs them has no labeled pixel, or fewer than centers.
        """
        samples = {n: [] for n, quantizer in self.items() if quantizer.needs_labels}
        for batch in batches if samples else ():
            for name, parts in samples.items():
                mask = batch.mask(name)[:, 0]
                parts.append(batch.targets[name].movedim(1, -1)[mask])  # (N, D)
        for name, parts in samples.items():
            values = torch.cat(parts)
            if not len(values):
                raise ValueError(f"{name}: expected labeled pixels to fit bins on, got none")
            self[name].fit(values[:: max(1, len(values) // SAMPLED_PIXELS)])

    def decode(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """Class logits (B, C_p, H, W) -> predictions (B, D, H, W), by task."""
        return {name: self[name].decode(maps.float()) for name, maps in logits.items()}


class Quantizer(nn.Module, ABC):
    """Targets <-> class ids <-> predictions of one task.

    Attributes:
        bins: C_p, the number of classes.
        needs_labels: Whether ``fit`` looks at its values; otherwise it may be left out.
    """

    bins: int
    needs_labels: bool = False

    def fit(self, values: Tensor) -> None:
        """(N, D) labeled values of the training set -> centers, where there are any."""

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

    def encode(self, target: Tensor) -> Tensor:
        return target

    def decode(self, logits: Tensor) -> Tensor:
        return logits

    def values(self, ids: Tensor) -> Tensor:
        return ids


@final
class YesNo(Quantizer):
    """A binary task as two classes: class 0 is no, class 1 is yes.

    The prediction is one logit, yes minus no, whose sigmoid is the softmax's second entry. So the
    task's balanced loss of it is the balanced cross-entropy of the two classes.
    """

    bins = 2

    def encode(self, target: Tensor) -> Tensor:
        return (target > 0.5).long()  # NaN is no

    def decode(self, logits: Tensor) -> Tensor:
        return logits[:, 1:] - logits[:, :1]

    def values(self, ids: Tensor) -> Tensor:
        return ids.float()


@final
class LogBins(Centers):
    """Bins of equal width in log depth over the labeled range, or a given one [HiTTs, App. A.1].

    The labeled range runs from the smallest of a sample of labeled values divided by the largest
    zoom, because zooming in divides depth, to the largest; an inverse depth is multiplied, so its
    range is extended at the other end. Values beyond it fall into the outermost bins. A center is
    its bin's geometric mean.

    Args:
        bins: How many.
        zoom_power: As ``Task.zoom_power``: negative where a zoom divides values, positive where it
            multiplies them.
        limits: The range, as it is; None: ``fit`` finds it.
    """

    def __init__(
        self, bins: int, zoom_power: int = -1, *, limits: Sequence[float] | None = None
    ) -> None:
        super().__init__(bins, dims=1)
        self.zoom_power, self.needs_labels = zoom_power, limits is None
        self.register_buffer("log_edges", torch.zeros(bins - 1))  # inner edges
        if limits is not None:
            self._divide(*limits)

    def fit(self, values: Tensor) -> None:
        if not self.needs_labels:
            return
        low, high = values.min().item(), values.max().item()
        zoom = LARGEST_ZOOM ** abs(self.zoom_power)
        self._divide(*((low / zoom, high) if self.zoom_power < 0 else (low, high * zoom)))

    def _divide(self, low: float, high: float) -> None:
        edges = torch.linspace(math.log(low), math.log(high), self.bins + 1)
        self.log_edges.copy_(edges[1:-1])
        self.centers.copy_(((edges[1:] + edges[:-1]) / 2).exp()[:, None])

    def encode(self, target: Tensor) -> Tensor:
        return torch.bucketize(target.nan_to_num(1.0).clamp_min(1e-6).log(), self.log_edges)

    def expectation(self, probabilities: Tensor) -> Tensor:
        return (probabilities @ self.centers).movedim(-1, 1)


@final
class UnitVectors(Centers):
    """Unit vectors; a normal's class is the nearest one [HiTTs, App. A.1].

    Args:
        bins: How many.
        centers_from: As ``normal_centers_from`` of ``build_quantizer``.
    """

    def __init__(self, bins: int, centers_from: CentersFrom = "kmeans") -> None:
        super().__init__(bins, dims=3)
        self.needs_labels = centers_from == "kmeans"
        if not self.needs_labels:
            self.centers.copy_(spread_directions(bins, half=centers_from == "half_sphere"))

    def fit(self, values: Tensor) -> None:
        if not self.needs_labels:
            return
        if len(values) < self.bins:
            raise ValueError(
                f"normals: expected at least {self.bins} labeled pixels to find as many centers, "
                f"got {len(values)}; choose fewer, or uniform ones"
            )
        kmeans = KMeans(self.bins, n_init=4, random_state=0).fit(values.double().cpu().numpy())
        centers = torch.from_numpy(kmeans.cluster_centers_).float()
        self.centers.copy_(F.normalize(centers, dim=1))

    def encode(self, target: Tensor) -> Tensor:
        usable = target.nan_to_num(0.0)
        return (usable.movedim(1, -1) @ self.centers.T).argmax(-1).unsqueeze(1)

    def expectation(self, probabilities: Tensor) -> Tensor:
        return to_unit_length((probabilities @ self.centers).movedim(-1, 1))


def spread_directions(count: int, *, half: bool = False) -> Tensor:
    """(count, 3) unit vectors, evenly over the sphere: a spiral of bands of equal area.

    From one to the next, the angle around the axis grows by the golden angle. ``half`` leaves out
    the half whose z, which points away from the camera, is positive.
    """
    k = torch.arange(count, dtype=torch.float64)
    z, around = (0 if half else 1) - (1 if half else 2) * (k + 0.5) / count, GOLDEN_ANGLE * k
    radius = (1 - z.square()).sqrt()
    return torch.stack([radius * around.cos(), radius * around.sin(), z], dim=1).float()


def class_last(maps: Tensor) -> Tensor:
    """(B, K, H, W) -> (B, H, W, K) contiguous: softmax over a contiguous dimension is faster."""
    return maps.movedim(1, -1).contiguous()
