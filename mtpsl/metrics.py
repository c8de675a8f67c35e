"""Metrics over a whole split: counts are added image by image, divided once at the end.

``Metric.update(prediction, target, mask)`` adds the pixels where ``mask`` is True, in float64;
``Metric.compute()`` divides, and ``Metric.reset()`` forgets everything. So the batch size does not
matter, and large images or a small last batch weigh by their pixels. Counting happens on the
device of the predictions, wherever that is; a metric has no device of its own to choose. Targets
and predictions may hold anything outside the mask, NaN included. A prediction that is NaN *inside*
the mask makes the result NaN: a broken network must not score well.

Values are fractions in [0, 1], meters and degrees; ``COLUMNS`` says how a table prints them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, final

import torch
from torch import Tensor


class Metric(ABC):
    """An accumulator over a split; one object for each evaluation, or one that is reset between."""

    sums: dict[str, Tensor]  # what was counted so far, float64; empty before the first batch

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything seen so far."""
        self.sums = {}

    def add(self, **counts: Tensor) -> None:
        """Takes a batch's counts into the sums, which follow it from device to device."""
        for name, count in counts.items():
            total = self.sums.get(name, torch.zeros_like(count, dtype=torch.float64))
            self.sums[name] = total.to(count.device) + count

    def mean(self, name: str) -> float:
        """A sum divided by that of ``pixels``; NaN where no pixel was counted."""
        return _ratio(float(self.sums[name]), float(self.sums["pixels"])) if self.sums else math.nan

    @abstractmethod
    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Adds a batch.

        Args:
            prediction: (B, C, H, W) float, after ``Task.activate``.
            target: As in ``Batch.targets``, at the same height and width, on the same device.
            mask: (B, 1, H, W) bool, True where the pixel counts (``Batch.mask``).

        Raises:
            ValueError: If the shapes do not agree.
        """

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The metrics of everything seen so far; NaN where no pixel was counted."""


@final
class ConfusionMatrix(Metric):
    """``miou`` and ``pixel_acc`` of class logits, from one matrix over all pixels.

    Args:
        num_classes: K; logits are (B, K, H, W), targets (B, 1, H, W) int64 ids in [0, K).
    """

    IGNORE_INDEX = 255  # a target that never counts, masked or not: ``losses.IGNORE_INDEX``

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        super().__init__()

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Adds a batch; the predicted class is the largest logit's.

        Raises:
            ValueError: If shapes do not agree or a counted target is no class id.
        """
        classes = self.num_classes
        check_shapes(prediction, classes, target, 1, mask)
        usable = mask & (target != self.IGNORE_INDEX)
        top, predicted = prediction.max(dim=1, keepdim=True)  # the maximum is NaN if any logit is
        target, predicted, top = target[usable], predicted[usable], top[usable]
        if target.numel() and not (0 <= int(target.min()) and int(target.max()) < classes):
            raise ValueError(
                f"target: expected class ids in [0, {classes}) or {self.IGNORE_INDEX}, "
                f"got {int(target.min())} to {int(target.max())}; map the labels first"
            )
        counts = torch.bincount(target * classes + predicted, minlength=classes**2)
        # Rows are targets, columns predictions; one pixel without a largest logit spoils it all.
        matrix = counts.view(classes, classes).double()
        self.add(matrix=matrix.masked_fill(top.isnan().any(), math.nan))

    def compute(self) -> dict[str, float]:
        """``miou`` is averaged over the classes that occur, in the truth or in the prediction."""
        if not self.sums:
            return {"miou": math.nan, "pixel_acc": math.nan}
        matrix = self.sums["matrix"]
        accuracy = matrix.diag().sum() / matrix.sum()
        return {"miou": float(self.iou().nanmean()), "pixel_acc": float(accuracy)}

    def iou(self) -> Tensor:
        """(K,) of each class; NaN for one without a pixel."""
        matrix, hits = self.sums["matrix"], self.sums["matrix"].diag()
        return hits / (matrix.sum(dim=0) + matrix.sum(dim=1) - hits)


@final
class PartsConfusion(Metric):
    """``miou`` of body parts, over the images that show a part; the others are not looked at.

    Args:
        num_classes: K, the background (id 0) included; it counts as a class.
    """

    def __init__(self, num_classes: int) -> None:
        self.confusion = ConfusionMatrix(num_classes)

    def reset(self) -> None:
        self.confusion.reset()

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        check_shapes(prediction, self.confusion.num_classes, target, 1, mask)
        part = mask & (target != 0) & (target != self.confusion.IGNORE_INDEX)
        shown = part.flatten(1).any(dim=1).view(-1, 1, 1, 1)
        self.confusion.update(prediction, target, mask & shown)

    def compute(self) -> dict[str, float]:
        return {"miou": self.confusion.compute()["miou"]}


@final
class Saliency(Metric):
    """How well a map of logits finds the salient pixels, at the best of some thresholds.

    ``sal_miou``: the intersection over union of the salient pixels is averaged over images, and
    the best of 15 thresholds from 0.2 to 0.9 counts, as in the protocol of [XTC] and [HiTTs]. An
    image without a salient pixel has 1 where none is predicted, else 0. A pixel is predicted
    above the threshold.

    ``max_f``: precision and recall of all pixels of the split together, weighted by
    beta^2 = 0.3, at the best of the thresholds 0.05, 0.10, ..., 0.95, as in later papers. A pixel
    is predicted above or at the threshold.

    Args:
        measure: Which of the two; nothing relates their numbers, so there is never both.
        double_sigmoid: Map probabilities through another sigmoid first, as the meter of
            DiffusionMTL's release does, which leaves all of them between 0.5 and 0.731: of its 19
            thresholds, four tell maps apart.
    """

    BETA_SQUARED = 0.3

    def __init__(
        self, measure: Literal["miou", "max_f"] = "miou", *, double_sigmoid: bool = False
    ) -> None:
        if measure not in ("miou", "max_f"):
            raise ValueError(f"measure: expected 'miou' or 'max_f', got {measure!r}")
        self.measure, self.double_sigmoid = measure, double_sigmoid
        first, last, steps = (0.2, 0.9, 15) if measure == "miou" else (0.05, 0.95, 19)
        self.thresholds = torch.linspace(first, last, steps, dtype=torch.float64)
        super().__init__()

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Adds a batch of (B, 1, H, W) logits and truths."""
        check_shapes(prediction, 1, target, 1, mask)
        images, bins = len(target), len(self.thresholds) + 1
        probability = prediction.double().sigmoid()
        # Every pixel is counted once, under the number of thresholds that it passes.
        level = torch.bucketize(
            probability.sigmoid() if self.double_sigmoid else probability,
            self.thresholds.to(prediction.device),
            right=self.measure == "max_f",
        )
        image = torch.arange(images, device=level.device).view(-1, 1, 1, 1)
        entry = (2 * image + (target > 0.5)) * bins + level
        counts = torch.bincount(entry[mask], minlength=2 * images * bins)
        counts = counts.view(images, 2, bins).double()
        above = counts.flip(2).cumsum(2).flip(2)[:, :, 1:]  # (B, answer, thresholds)
        both, predicted = above[:, 1], above.sum(dim=1)
        true = counts[:, 1].sum(dim=1, keepdim=True).expand_as(both)
        union = predicted + true - both
        overlap = torch.where(union > 0, both / union.clamp(min=1), 1.0)
        counted = mask.flatten(1).any(dim=1)
        self.add(
            images=counted.sum(),  # with a pixel that counts
            overlap=overlap[counted].sum(dim=0),  # of the images' intersections over unions
            pixels=torch.stack([both, predicted, true]).sum(dim=1),
            undecided=prediction[mask].isnan().sum(),  # logits that pass no threshold
        )

    def compute(self) -> dict[str, float]:
        name = "sal_miou" if self.measure == "miou" else self.measure
        if not self.sums or self.sums["undecided"] > 0 or self.sums["images"] == 0:
            return {name: math.nan}
        if self.measure == "miou":
            return {name: float((self.sums["overlap"] / self.sums["images"]).max())}
        return {name: best_f(*self.sums["pixels"], self.BETA_SQUARED)}


@final
class DepthErrors(Metric):
    """``abs_err`` and ``rmse`` in meters and ``rel_err`` (a fraction) of positive depth maps."""

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Adds a batch of (B, 1, H, W) maps; predictions below 1e-9 count as 1e-9, as in [XTC]."""
        check_shapes(prediction, 1, target, 1, mask)
        # Filled, not selected: no copy of unknown size, so nothing waits for a GPU.
        target = target.masked_fill(~mask, 1.0).double()
        prediction = prediction.masked_fill(~mask, 1.0).double().clamp(min=1e-9)
        error = (prediction - target).abs()
        self.add(
            pixels=mask.sum(),
            abs_err=error.sum(),
            square=error.square().sum(),
            rel_err=(error / target).sum(),
        )

    def compute(self) -> dict[str, float]:
        return {
            "abs_err": self.mean("abs_err"),
            "rmse": math.sqrt(self.mean("square")),
            "rel_err": self.mean("rel_err"),
        }


@final
class NormalErrors(Metric):
    """The angle between predicted and true surface normals, pixels pooled over the split.

    ``mean_err`` and ``angle_rmse`` in degrees; ``within_11_25``, ``within_22_5`` and
    ``within_30`` are the fractions of pixels below that angle. The prediction's length does not
    matter: the released code of a later paper scores longer vectors better, which this cannot.
    """

    LIMITS = {"within_11_25": 11.25, "within_22_5": 22.5, "within_30": 30.0}  # degrees

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Adds a batch of (B, 3, H, W) maps; a prediction of length 0 counts as 90 degrees off."""
        check_shapes(prediction, 3, target, 3, mask)
        prediction, target = (m.masked_fill(~mask, 1.0).float() for m in (prediction, target))
        prediction, target = (m / _length(m).clamp(min=1e-12) for m in (prediction, target))
        # From both diagonals of the rhombus. The arc cosine would be off by 0.03 degrees near 0.
        across, along = _length(prediction - target), _length(prediction + target)
        angle = 2 * torch.rad2deg(torch.atan2(across, along)).double().squeeze(1)  # (B, H, W)
        usable = mask.squeeze(1)
        angle = angle.masked_fill(~usable, 0.0)
        within = {name: ((angle < v) & usable).sum() for name, v in self.LIMITS.items()}
        self.add(pixels=usable.sum(), mean_err=angle.sum(), square=angle.square().sum(), **within)

    def compute(self) -> dict[str, float]:
        mean = self.mean("mean_err")
        # Comparisons with a NaN angle are False: do not report those.
        within = {name: math.nan if math.isnan(mean) else self.mean(name) for name in self.LIMITS}
        return {"mean_err": mean, "angle_rmse": math.sqrt(self.mean("square")), **within}


@dataclass(frozen=True)
class Column:
    """How a metric reads in a table, and which way is better."""

    name: str
    label: str
    higher_is_better: bool
    scale: float  # printed value = value * scale
    decimals: int
    in_delta: bool = True  # one of the papers' metrics, so it enters ``delta_mtl``


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("miou", "mIoU ↑", True, 100, 2),
        Column("sal_miou", "mIoU ↑", True, 100, 2),
        Column("max_f", "maxF ↑", True, 100, 2),
        Column("ods_f", "odsF ↑", True, 100, 2),
        Column("pixel_acc", "pAcc ↑", True, 100, 2),
        Column("abs_err", "AbS ↓", False, 1, 4),
        Column("rmse", "rmse ↓", False, 1, 4),
        Column("rel_err", "rel ↓", False, 1, 4, in_delta=False),
        Column("mean_err", "mErr ↓", False, 1, 4),
        Column("angle_rmse", "rmse ↓", False, 1, 4),
        Column("within_11_25", "η₁ ↑", True, 100, 4),
        Column("within_22_5", "η₂ ↑", True, 100, 4),
        Column("within_30", "η₃ ↑", True, 100, 4),
        Column("delta_mtl", "Δ_MTL (%) ↑", True, 100, 2, in_delta=False),
    )
}


def delta_mtl(
    result: Mapping[str, float],
    reference: Mapping[str, float],
    *,
    average: Literal["metrics", "tasks", "headline"] = "metrics",
    headlines: Mapping[str, str] | None = None,
) -> float:
    """Averages the relative gain over a reference, usually single-task networks [HiTTs, Eq. 9].

    A gain is (value - reference) / reference, negated where lower is better. Eq. 9 is printed
    without the division by the number of gains, but all printed numbers include it.

    Args:
        result: Flat ``"task/metric"`` keys, as ``engine.evaluate`` returns them. Keys of only
            one of the two mappings, without a task, or of columns outside ``delta_mtl``
            (``Column.in_delta``) are left out.
        reference: In the same units as ``result``.
        average: ``"metrics"``: every metric counts once, which reproduces all HiTTs tables;
            ``"tasks"``: every task counts once, by the mean of its metrics;
            ``"headline"``: every task counts once, by one metric, as in the XTC line of work.
        headlines: task -> metric (``Task.headline``); needed by ``"headline"`` only.

    Returns:
        A fraction: 0.1323 is the tables' 13.23. NaN where a metric is NaN or a reference is 0.

    Raises:
        ValueError: If no metric is common, ``average`` is unknown, a metric is not in
            ``COLUMNS``, or a headline is missing.
    """
    gains: dict[str, dict[str, float]] = {}  # task -> metric -> gain
    for key in result:
        if key not in reference or "/" not in key:
            continue
        task, metric = key.rsplit("/", 1)
        if metric not in COLUMNS:
            raise ValueError(f"result: expected metrics {sorted(COLUMNS)}, got {key!r}")
        if COLUMNS[metric].in_delta:
            sign = 1 if COLUMNS[metric].higher_is_better else -1
            gain = sign * _ratio(result[key] - reference[key], reference[key])
            gains.setdefault(task, {})[metric] = gain
    if not gains:
        raise ValueError(
            f"result: expected keys in common with the reference, got {sorted(result)} "
            f"and {sorted(reference)}; use 'task/metric' keys"
        )
    if average == "metrics":
        return fmean([gain for task in gains.values() for gain in task.values()])
    if average == "tasks":
        return fmean([fmean(task.values()) for task in gains.values()])
    if average == "headline":
        if not all((headlines or {}).get(task) in gains[task] for task in gains):
            raise ValueError(
                f"headlines: expected a common metric for each of {sorted(gains)}, "
                f"got {headlines}; pass {{task.name: task.headline}}"
            )
        return fmean([metrics[headlines[task]] for task, metrics in gains.items()])
    raise ValueError(f"average: expected 'metrics', 'tasks' or 'headline', got {average!r}")


def best_f(both: Tensor, predicted: Tensor, true: Tensor, beta_squared: float) -> float:
    """The best F-measure over thresholds, a weighted harmonic mean of precision and recall.

    Args:
        both: (T,) hits per threshold.
        predicted: (T,) what was found per threshold; precision is ``both / predicted``.
        true: (T,) what there is to find; recall is ``both / true``.
        beta_squared: 1 weighs precision and recall alike, less favors precision.

    Returns:
        In [0, 1], 0 without a hit; NaN if there was nothing to find.
    """
    # (1 + b) P R / (b P + R), multiplied out: no division by zero where nothing is predicted.
    f = (1 + beta_squared) * both / (beta_squared * true + predicted)
    return float(f.max()) if bool((true > 0).all()) else math.nan


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def _length(vectors: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W); ``norm`` is 100 times slower along a strided dimension."""
    return vectors.square().sum(dim=1, keepdim=True).sqrt()


def check_shapes(
    prediction: Tensor, channels: int, target: Tensor, target_channels: int, mask: Tensor
) -> None:
    batch, _, *size = target.shape
    for name, map_, expected in (
        ("prediction", prediction, (batch, channels, *size)),
        ("target", target, (batch, target_channels, *size)),
        ("mask", mask, (batch, 1, *size)),
    ):
        if map_.shape != expected:
            raise ValueError(
                f"{name}: expected shape {expected}, got {tuple(map_.shape)}; resize it first"
            )
    if mask.dtype != torch.bool:
        raise ValueError(f"mask: expected bool, got {mask.dtype}; use Batch.mask")
