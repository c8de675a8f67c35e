"""What a training run is asked for, and the weights that it ends with."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from mtpsl.metrics import COLUMNS
from mtpsl.registry import Count, NonNegative, Positive, Share, look_up, require_known
from mtpsl.tasks import TaskSet

Precision = Literal["fp32", "bf16"]
Curve = Callable[[], dict[str, dict[str, float]]]  # measures a point: split -> metrics


def constant(epoch: int, epochs: int, step: int, steps: int) -> float:
    """Always the base learning rate."""
    return 1.0


def stairs(
    epoch: int,
    epochs: int,
    step: int,
    steps: int,
    *,
    step_size: Positive = 100,
    gamma: NonNegative = 0.5,
) -> float:
    """Halved every 100 epochs [HiTTs, Sec. 4.1]."""
    return gamma ** (epoch // step_size)


def poly(epoch: int, epochs: int, step: int, steps: int, *, power: NonNegative = 0.9) -> float:
    """Falls to 0 epoch by epoch, as on PASCAL-Context [HiTTs, Sec. 4.1]."""
    return (1 - epoch / epochs) ** power


def cosine(
    epoch: int,
    epochs: int,
    step: int,
    steps: int,
    *,
    warmup: Share = 0.0,
    floor: Share = 0.0,
    restart_every: Count = 0,
) -> float:
    """Half a cosine from 1 to ``floor``, step by step, after a linear rise over a share of them.

    With ``restart_every`` this begins anew every so many epochs, as in the released code of [RDC];
    a last period that has fewer is cut short.
    """
    if restart_every:
        period = restart_every * (steps // epochs)
        step, steps = step % period, period
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "step": stairs,
    "poly": poly,
    "cosine": cosine,
}
OWN_ARGS = {"step": {"step_size"}}  # schedule -> arguments that a group of parameters may override


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """What an optimizer step is; the defaults are plain Adam in float32.

    Args:
        weight_decay: Adam's L2 penalty.
        schedule: A key of ``SCHEDULES``.
        schedule_args: Keyword arguments of the schedule.
        precision: "bf16" runs forward passes under autocast.
        channels_last: Stores weights, hence all maps, with channels innermost: faster on GPUs.
        accumulate: Batches whose mean gradient makes one optimizer step.
        clip: Longest gradient that a step takes, as the L2 norm over all parameters; longer ones
            are scaled down. 0 for none.

    Raises:
        ValueError: If ``clip`` is negative, or the schedule or one of its arguments is unknown;
            then it suggests the nearest.
    """

    weight_decay: float = 0.0
    schedule: str = "constant"
    schedule_args: Mapping[str, Any] = field(default_factory=dict)
    precision: Precision = "fp32"
    channels_last: bool = False
    accumulate: int = 1
    clip: float = 0.0

    def __post_init__(self) -> None:
        if not self.clip >= 0:
            raise ValueError(f"clip: expected a norm, or 0 for no clipping, got {self.clip}")
        rate = look_up("schedule", self.schedule, SCHEDULES)
        require_known("schedule_args", rate, self.schedule_args)

    def settings(self) -> dict[str, Any]:
        """Plain JSON, by which a checkpoint knows its run."""
        return vars(self) | {"schedule_args": dict(self.schedule_args)}


@final
class ScheduledAdam(torch.optim.Adam):
    """Adam that knows the learning rates of every step in advance.

    Args:
        groups: Parameters with an ``lr`` each; under schedule "step" a group may have a
            ``step_size`` of its own.
        lr: The rate of groups without one.
        optimization: Says schedule and weight decay.
        epochs: Passes over the images.
        steps: Batches in all of them.
        watched: Parameters whose steps ``describe_epoch`` describes.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        lr: float,
        optimization: Optimization,
        epochs: int,
        steps: int,
        watched: Sequence[nn.Parameter] = (),
    ) -> None:
        super().__init__(groups, lr=lr, weight_decay=optimization.weight_decay, fused=True)
        self.epochs, self.steps, self.clip = epochs, steps, optimization.clip
        self.watched, self.gradients, self.moved = watched, list[Tensor](), math.nan
        own = OWN_ARGS.get(optimization.schedule, set())
        self.rates = []  # of each group: what it begins with, and the schedule
        for group in self.param_groups:
            args = {**optimization.schedule_args, **{n: group[n] for n in own & group.keys()}}
            rate = partial(SCHEDULES[optimization.schedule], **args)
            self.rates.append((group["lr"], rate))

    def step_at(self, epoch: int, step: int) -> None:
        """Steps as after batch ``step`` (from 0), at that batch's rates, and clears gradients."""
        for group, (first, rate) in zip(self.param_groups, self.rates, strict=True):
            group["lr"] = first * rate(epoch, self.epochs, step, self.steps)
        used = [p for p in self.watched if p.grad is not None]
        self.gradients.append(nn.utils.get_total_norm([p.grad for p in used]))
        if self.clip:
            trained = [p for group in self.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(trained, self.clip)
        last = (step + 1) % (self.steps // self.epochs) == 0  # of its epoch
        before = [p.detach().clone() for p in used] if last else []
        self.step()
        if before:
            square = sum((p.detach() - b).square().sum() for p, b in zip(used, before, strict=True))
            rate = self.param_groups[0]["lr"]
            self.moved = float(square / sum(p.numel() for p in used)) ** 0.5 / (rate or 1.0)
        self.zero_grad()

    def describe_epoch(self) -> dict[str, float]:
        """How the watched parameters fared since it was last asked.

        Returns:
            ``gradient``, the mean over steps of the gradient's L2 norm, before it is clipped;
            ``remembered``, that of the root of Adam's bias-corrected second moments; ``moved``,
            how far a weight went in the epoch's last step, root mean square, in learning rates.
        """
        states = [self.state[p] for p in self.watched if p in self.state]
        beta = self.param_groups[0]["betas"][1]
        second = sum(s["exp_avg_sq"].sum() / (1 - beta ** s["step"].double()) for s in states)
        lengths, self.gradients = self.gradients, []
        described = {
            "gradient": float(sum(lengths)) / len(lengths),
            "remembered": float(second) ** 0.5,
            "moved": self.moved,
        }
        return {name: float(f"{value:.6g}") for name, value in described.items()}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which weights a training ends with, and the learning curve that they may be chosen from.

    Args:
        average_last: Share of the steps, at the end, whose weights are averaged.
        select: "best_on_test" keeps the weights of the best point of the curve, as the released
            codes do, though it looks at the test set; the last weights, and a word on stderr,
            where no point has all tasks' headline metrics.
        select_reference: Headline metrics, ``"semseg/miou"`` and so on, that a point's gains are
            relative to: fixed single-task results in the released codes. Without any a point
            gains over the best before it, which may choose another.
        eval_every: Epochs between points of the learning curve; 0 for none.
        curve: Measures such a point, split -> metrics; it cannot change the run.

    Raises:
        ValueError: If settings exclude each other.
    """

    average_last: float = 0.0
    select: Literal["last", "best_on_test"] = "last"
    select_reference: Mapping[str, float] | None = None
    eval_every: int = 0
    curve: Curve | None = None

    def __post_init__(self) -> None:
        if self.select == "best_on_test" and not (self.curve and self.eval_every):
            raise ValueError("select: best_on_test needs a learning curve; set eval_every")
        if self.select_reference and self.select == "last":
            raise ValueError(
                "select_reference: expected none with select='last', which has no gains"
            )

    def averages(self, step: int, steps: int) -> bool:
        """Whether the weights after step ``step`` (from 0) of ``steps`` enter the mean."""
        return step >= steps - round(self.average_last * steps)

    def measures(self, epoch: int, epochs: int) -> bool:
        """Whether the curve has a point after epoch ``epoch`` (from 1) of ``epochs``."""
        due = self.eval_every and (epoch == epochs or epoch % self.eval_every == 0)
        return bool(self.curve and due)

    def settings(self) -> dict[str, Any]:
        """Plain JSON, by which a checkpoint knows its run."""
        known = {name: getattr(self, name) for name in ("average_last", "select", "eval_every")}
        if self.select_reference:  # which the states of older runs do not name
            known["select_reference"] = dict(self.select_reference)
        return known


class WeightMean:
    """Running mean of weights and buffers, normalization statistics included."""

    def __init__(self) -> None:
        self.count, self.tensors = 0, dict[str, Tensor]()

    @torch.no_grad()
    def update(self, method: nn.Module) -> None:
        """Takes the method's present weights into the mean."""
        self.count += 1
        for name, live in method.state_dict().items():
            if live.is_floating_point():
                if name not in self.tensors:
                    self.tensors[name] = live.clone()
                self.tensors[name].lerp_(live, 1 / self.count)

    @torch.no_grad()
    def swap(self, method: nn.Module) -> None:
        """Exchanges the method's weights and the mean; nothing to do before the first update."""
        live = method.state_dict()
        for name, mean in self.tensors.items():
            now = live[name].clone()
            live[name].copy_(mean)
            mean.copy_(now)

    @contextmanager
    def applied(self, method: nn.Module) -> Iterator[None]:
        """Inside, the method has the mean weights."""
        self.swap(method)
        try:
            yield
        finally:
            self.swap(method)  # the second exchange restores every bit


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
        """Keeps a copy of the weights if this point gains over the best; not where one is NaN."""
        metrics = {column: metrics[column] for column in self.columns}
        if not all(map(math.isfinite, metrics.values())):
            return
        if self.epoch and not sum(self._gain(c, value) for c, value in metrics.items()) > 0:
            return
        self.epoch, self.metrics = epoch, metrics
        self.tensors = {name: t.clone() for name, t in method.state_dict().items()}

    def _gain(self, column: str, value: float) -> float:
        """How much a value gains over the best point, relative to the reference.

        Without one to the larger of both values, because the first of a young network may be 0.
        """
        known = self.metrics[column]
        sign = 1 if COLUMNS[column.rpartition("/")[2]].higher_is_better else -1
        unit = self.reference.get(column) or max(abs(value), abs(known)) or 1.0
        return sign * (value - known) / unit

    def apply(self, method: nn.Module) -> None:
        """Gives the method the best weights, if there was a point."""
        if self.epoch:
            method.load_state_dict(self.tensors)
