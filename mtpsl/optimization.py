"""How weights follow the gradient: Adam, and its learning rates as functions of the step."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, final

import torch

from mtpsl.precision import Precision
from mtpsl.registry import look_up, require_known


def constant(epoch: int, epochs: int, step: int, steps: int) -> float:
    """Always the base learning rate."""
    return 1.0


def stairs(
    epoch: int, epochs: int, step: int, steps: int, *, step_size: int = 100, gamma: float = 0.5
) -> float:
    """Halved every 100 epochs [HiTTs, Sec. 4.1]."""
    return gamma ** (epoch // step_size)


def poly(epoch: int, epochs: int, step: int, steps: int, *, power: float = 0.9) -> float:
    """Falls to 0 epoch by epoch, as on PASCAL-Context [HiTTs, Sec. 4.1]."""
    return (1 - epoch / epochs) ** power


def cosine(
    epoch: int, epochs: int, step: int, steps: int, *, warmup: float = 0.0, floor: float = 0.0
) -> float:
    """Half a cosine from 1 to ``floor``, step by step, after a linear rise over a share."""
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

    Raises:
        ValueError: If the schedule or one of its arguments is unknown, suggesting the nearest.
    """

    weight_decay: float = 0.0
    schedule: str = "constant"
    schedule_args: Mapping[str, Any] = field(default_factory=dict)
    precision: Precision = "fp32"
    channels_last: bool = False
    accumulate: int = 1

    def __post_init__(self) -> None:
        rate = look_up("schedule", self.schedule, SCHEDULES)
        require_known("schedule_args", rate, self.schedule_args)

    def settings(self) -> dict[str, Any]:
        """Plain JSON, by which a checkpoint knows its run."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"schedule_args": dict(self.schedule_args)}


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
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        lr: float,
        optimization: Optimization,
        epochs: int,
        steps: int,
    ) -> None:
        super().__init__(groups, lr=lr, weight_decay=optimization.weight_decay, fused=True)
        schedule = optimization.schedule
        self.epochs, self.steps, self.rate = epochs, steps, SCHEDULES[schedule]
        own = OWN_ARGS.get(schedule, set())
        self.base_rates = [group["lr"] for group in self.param_groups]
        self.rate_args = [
            {**optimization.schedule_args, **{name: group[name] for name in own & group.keys()}}
            for group in self.param_groups
        ]

    def step_at(self, epoch: int, step: int) -> None:
        """Steps as after batch ``step`` (from 0), at that batch's rates, and clears gradients."""
        for group, base, args in zip(
            self.param_groups, self.base_rates, self.rate_args, strict=True
        ):
            group["lr"] = base * self.rate(epoch, self.epochs, step, self.steps, **args)
        self.step()
        self.zero_grad()
