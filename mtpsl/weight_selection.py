"""Which weights a training run ends with: the last, their mean, or those of its best point."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mtpsl.metrics import COLUMNS
from mtpsl.tasks import TaskSet


class WeightMean:
    """Running mean of weights and buffers, normalization statistics included."""

    def __init__(self) -> None:
        self.count, self.tensors = 0, dict[str, Tensor]()

    @torch.no_grad()
    def update(self, method: nn.Module) -> None:
        self.count += 1
        for name, live in method.state_dict().items():
            if live.is_floating_point():
                if name not in self.tensors:
                    self.tensors[name] = live.clone()
                self.tensors[name].lerp_(live, 1 / self.count)

    @torch.no_grad()
    def apply(self, method: nn.Module) -> None:
        """Exchanges the method's weights and the mean; nothing to do before the first update."""
        live = method.state_dict()
        for name, mean in self.tensors.items():
            now = live[name].clone()
            live[name].copy_(mean)
            mean.copy_(now)

    @contextmanager
    def applied(self, method: nn.Module) -> Iterator[None]:
        self.apply(method)
        try:
            yield
        finally:
            self.apply(method)  # the second exchange restores every bit


class Best:
    """The best point of a learning curve, by the mean gain over the tasks' headline metrics.

    Args:
        tasks: Whose headline metrics.
        reference: What gains are relative to; none: the best point before.

    Raises:
        ValueError: If the reference is not one positive number for each of these metrics.
    """

    def __init__(self, tasks: TaskSet, reference: Mapping[str, float] | None = None) -> None:
        self.columns = [f"{t.name}/{t.headline}" for t in tasks]
        self.reference = dict(reference or {})
        fits = sorted(self.reference) == sorted(self.columns)
        if reference and not (fits and all(v > 0 for v in self.reference.values())):
            raise ValueError(
                f"select_reference: expected a positive number for each of {self.columns}, got "
                f"{self.reference}"
            )
        self.epoch, self.metrics, self.tensors = 0, dict[str, float](), dict[str, Tensor]()

    def consider(self, method: nn.Module, epoch: int, metrics: dict[str, float]) -> None:
        metrics = {column: metrics[column] for column in self.columns}
        if not all(map(math.isfinite, metrics.values())):
            return
        if self.epoch and not sum(self._gain(c, value) for c, value in metrics.items()) > 0:
            return
        self.epoch, self.metrics = epoch, metrics
        self.tensors = {name: t.clone() for name, t in method.state_dict().items()}

    def _gain(self, column: str, value: float) -> float:
        """Over the best point, relative to the reference.

        Without one to the larger of both values, because the first of a young network may be 0.
        """
        known = self.metrics[column]
        sign = 1 if COLUMNS[column.rpartition("/")[2]].higher_is_better else -1
        unit = self.reference.get(column) or max(abs(value), abs(known)) or 1.0
        return sign * (value - known) / unit

    def apply(self, method: nn.Module) -> None:
        if self.epoch:
            method.load_state_dict(self.tensors)
