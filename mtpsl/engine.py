"""The training loop: plain PyTorch on one device, read from top to bottom.

Everything random in an epoch (order, augmentation, dropout) is a function of the seed and the
epoch's number, and the learning rate one of the step's number. So a checkpoint holds weights and
optimizer state and nothing else, and a resumed run is the uninterrupted run, bit for bit.
"""

import hashlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from mtpsl import files
from mtpsl.batch import Batch
from mtpsl.data.loader import TrainLoader
from mtpsl.methods.base import Method, Terms
from mtpsl.precision import Precision, fast_products
from mtpsl.registry import look_up, require_known
from mtpsl.tasks import Task, TaskSet
from mtpsl.weight_selection import Best, WeightMean
from mtpsl.weighting import Uniform, Weighting

CHECK_EVERY = 32  # steps between looks at the loss on a GPU, where every look makes it wait


class NonFiniteLoss(RuntimeError):
    """A loss term is NaN or infinite; the message names term, epoch, step and images."""


@dataclass(frozen=True)
class Fit:
    """What a training run leaves beside the weights."""

    history: list[dict[str, Any]]  # one entry an epoch: epoch (from 1), lr, terms, seconds, and
    # where there are any: weights, metrics
    epoch: int  # after which the method's weights were taken


def fit(
    method: Method,
    loader: TrainLoader,
    *,
    epochs: int,
    lr: float,
    weighting: Weighting | None = None,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    schedule_args: Mapping[str, Any] | None = None,
    precision: Precision = "fp32",
    channels_last: bool = False,
    accumulate: int = 1,
    average_last: float = 0.0,
    select: Literal["last", "best_on_test"] = "last",
    select_reference: Mapping[str, float] | None = None,
    eval_every: int = 0,
    curve: Callable[[], dict[str, dict[str, float]]] | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: bool = True,
) -> Fit:
    """Trains ``method`` in place and leaves it with the selected weights.

    Args:
        method: On the device it is to train on.
        loader: Its ``epoch(e)`` yields tuples of ``method.views`` batches, a function of e alone.
        epochs: Passes over the images.
        lr: Adam's learning rate; the method may give groups of parameters their own.
        weighting: How loss terms become one scalar; by default their plain sum.
        weight_decay: Adam's L2 penalty.
        schedule: A key of ``SCHEDULES``.
        schedule_args: Keyword arguments of the schedule.
        precision: "bf16" runs forward passes under autocast.
        channels_last: Stores weights, hence all maps, with channels innermost: faster on GPUs.
        accumulate: Batches whose mean gradient makes one optimizer step.
        average_last: Share of the steps, at the end, whose weights are averaged.
        select: "best_on_test" keeps the weights of the best point of the curve, as the released
            codes do, though it looks at the test set; the last weights, and a word on stderr,
            where no point has all tasks' headline metrics.
        select_reference: Headline metrics, ``"semseg/miou"`` and so on, that a point's gains are
            relative to: fixed single-task results in the released codes. Without any a point
            gains over the best before it, which may choose another.
        eval_every: Epochs between points of the learning curve; 0 for none.
        curve: Measures such a point, split -> metrics; it cannot change the run.
        seed: Of everything random in the method.
        folder: For ``log.jsonl`` and ``checkpoint/``; training goes on where these stop.
        progress: Shows a bar on stderr, unless the environment says MTPSL_PROGRESS=0.

    Raises:
        NonFiniteLoss: At the first loss that is not a number.
        ValueError: If ``folder`` holds a run with other settings, or settings exclude each other
            or are unknown.
    """
    offered = getattr(loader, "views", method.views)
    if offered != method.views:
        raise ValueError(
            f"loader: expected {method.views} views of each image for {type(method).__name__}, got "
            f"{offered}; make it with views={method.views}"
        )
    if method.turns > 1 and accumulate > 1:
        raise ValueError(
            f"accumulate: expected 1 for a method that takes turns, got {accumulate}; "
            "raise batch_size instead"
        )
    if select == "best_on_test" and not (curve and eval_every):
        raise ValueError("select: best_on_test needs a learning curve; set eval_every")
    if select_reference and select == "last":
        raise ValueError("select_reference: expected none with select='last', which has no gains")
    device = next(method.parameters()).device
    if channels_last:
        method.to(memory_format=torch.channels_last)
    weighting = (weighting or Uniform(method.tasks)).to(device)
    shared = method.shared_parameters() if weighting.needs_shared else []
    groups = [*method.param_groups(lr), *weighting.param_groups(lr)]
    optimizer = torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay, fused=True)
    base_lrs = [group["lr"] for group in optimizer.param_groups]
    rate = look_up("schedule", schedule, SCHEDULES)
    schedule_args = dict(schedule_args or {})
    require_known("schedule_args", rate, schedule_args)
    own = {"step_size"} if schedule == "step" else set()  # what a group may know better
    rate_args = [
        schedule_args | {name: group[name] for name in own & group.keys()}
        for group in optimizer.param_groups
    ]
    steps = loader.steps * epochs
    mixed = precision == "bf16"
    averaged_from = steps - round(average_last * steps)

    history: list[dict[str, Any]] = []
    mean, best = WeightMean(), Best(method.tasks, select_reference)
    checkpoints = None
    if folder:
        settings = {
            "steps": steps, "epochs": epochs, "lr": lr, "weight_decay": weight_decay,
            "schedule": schedule, "schedule_args": schedule_args, "precision": precision,
            "channels_last": channels_last, "accumulate": accumulate, "select": select,
            "average_last": average_last, "eval_every": eval_every, "seed": seed,
        }  # fmt: skip
        if not isinstance(weighting, Uniform):  # which the states of older runs do not name
            settings["weighting"] = repr(weighting)
        if select_reference:
            settings["select_reference"] = dict(select_reference)
        checkpoints = files.Checkpoints(folder / "checkpoint", settings)
        history = restore(checkpoints, method, weighting, optimizer, mean, best)
        files.write_lines(folder / "log.jsonl", history)

    silent = not progress or os.environ.get("MTPSL_PROGRESS") == "0"
    bar = tqdm(total=steps, initial=loader.steps * len(history), unit="step", disable=silent)
    for epoch in range(len(history), epochs):
        began = time.perf_counter()
        losses = EpochLosses(epoch, every=1 if device.type == "cpu" else CHECK_EVERY)
        method.train()
        with seeded(device, seed, "epoch", epoch):
            for i, views in enumerate(loader.epoch(epoch)):
                step = epoch * loader.steps + i
                views = [view.to(device) for view in views]
                first = i - i % accumulate  # of the batches that share this optimizer step
                size = min(accumulate, loader.steps - first)
                for turn in range(method.turns):  # one, unless networks learn alternately
                    method.turn = turn
                    with fast_products(device, precision):
                        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                            terms = method.training_step(*views, progress=step / steps)
                        losses.add(i, terms, views[0].index)
                        (weighting(terms, shared) / size).backward()
                    if i == first + size - 1:
                        for group, base, args in zip(
                            optimizer.param_groups, base_lrs, rate_args, strict=True
                        ):
                            group["lr"] = base * rate(epoch, epochs, step, steps, **args)
                        optimizer.step()
                        optimizer.zero_grad()
                        method.after_step()
                        weighting.after_step()
                        if step >= averaged_from and turn == method.turns - 1:
                            mean.update(method)
                if bar.update():  # the bar was just redrawn, so reading values slows nothing down
                    bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", **losses.latest(), refresh=False)
        entry = {"epoch": epoch + 1, "lr": optimizer.param_groups[0]["lr"], "terms": losses.means()}
        if weights := weighting.after_epoch(entry["terms"]):
            entry["weights"] = weights
        require_finite_weights(method, epoch)
        entry["seconds"] = round(time.perf_counter() - began, 3)

        last = epoch + 1 == epochs
        if curve and eval_every and (last or (epoch + 1) % eval_every == 0):
            with mean.applied(method):  # a point shows the weights that stopping here would give
                entry["metrics"] = curve()
                if select == "best_on_test":
                    best.consider(method, epoch + 1, entry["metrics"]["test"])
        history.append(entry)
        if checkpoints:
            files.append_line(folder / "log.jsonl", entry)
            if last or checkpoints.due():
                save(checkpoints, method, weighting, optimizer, mean, best, history)
    bar.close()

    mean.apply(method)
    best.apply(method)
    if select == "best_on_test" and not best.epoch:
        print("no point of the curve has every task's metric: last weights kept", file=sys.stderr)
    return Fit(history, best.epoch or epochs)


@torch.no_grad()
def evaluate(
    method: Method, loader: Iterable[Batch], tasks: TaskSet | None = None
) -> dict[str, float]:
    """Metrics over a whole split, ``{"semseg/miou": 0.31, ...}``; changes neither run nor RNG.

    Args:
        method: Any mode, any device; its mode is restored.
        loader: Clean batches. Only what ``Batch.mask`` allows counts. Where labels have another
            size than images, predictions are brought to theirs (``at_label_size``).
        tasks: Which to measure; by default all of the method's.
    """
    tasks = tasks or method.tasks
    device, training = next(method.parameters()).device, method.training
    metrics = {t.name: t.metric() for t in tasks}
    method.eval()
    with seeded(device, "evaluate"):
        for batch in loader:
            batch = batch.to(device)
            predictions = method.predict(batch.images)
            for t in tasks:
                target = batch.targets[t.name]
                prediction = at_label_size(t, predictions[t.name].float(), target.shape[2:])
                metrics[t.name].update(prediction, target, batch.mask(t.name))
    method.train(training)
    return {f"{t.name}/{k}": v for t in tasks for k, v in metrics[t.name].compute().items()}


def at_label_size(task: Task, prediction: Tensor, size: Sequence[int]) -> Tensor:
    """A prediction at the size it is scored at, as the protocol of PASCAL-Context resizes it.

    Classes go to the nearest pixel, all else bilinearly: probabilities, not logits, of binary
    tasks. There is no rounding to 8 bits in between, which that protocol's files cause.

    Args:
        task: Whose prediction.
        prediction: (B, C, h, w), as ``Method.predict`` gives it.
        size: Height and width.

    Returns:
        (B, C, *size); the prediction itself where it has that size.
    """
    size = tuple(size)
    if prediction.shape[2:] == size:
        return prediction
    if task.kind == "classes":
        return F.interpolate(prediction, size, mode="nearest-exact")
    maps = prediction.sigmoid() if task.kind == "binary" else prediction
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    return maps.logit() if task.kind == "binary" else maps


# ------------------------------------------------------------------ pieces of the loop


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


@contextmanager
def seeded(device: torch.device, *purpose: int | str) -> Iterator[None]:
    """Draws inside depend on ``purpose`` alone; draws outside do not notice."""
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        yield


class EpochLosses:
    """Sums an epoch's loss terms and stops at one that is not finite.

    Values stay on the device and are looked at every so many steps.
    """

    def __init__(self, epoch: int, every: int) -> None:
        self.epoch, self.every = epoch, every
        self.count, self.sums = 0, dict[str, Tensor]()
        self.recent: list[tuple[int, Terms, Tensor]] = []

    def add(self, step: int, terms: Terms, index: Tensor) -> None:
        terms = {name: value.detach().float() for name, value in terms.items()}
        self.count = step + 1  # batches: each turn of one has terms of its own
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.recent.append((step, terms, index))
        if len(self.recent) >= self.every:
            self.check()

    def check(self) -> None:
        if not self.recent:
            return
        if torch.stack([sum(terms.values()) for _, terms, _ in self.recent]).isfinite().all():
            self.recent.clear()
            return
        for step, terms, index in self.recent:
            for name, value in terms.items():
                if not value.isfinite():
                    raise NonFiniteLoss(
                        f"loss term {name!r}: expected a finite number, got {value.item()} in "
                        f"epoch {self.epoch + 1}, step {step + 1}, images {index.tolist()}; "
                        "look at these images or lower lr"
                    )

    def latest(self) -> dict[str, str]:
        return {name: f"{float(total) / self.count:.3f}" for name, total in self.sums.items()}

    def means(self) -> dict[str, float]:
        self.check()
        return {name: float(total) / self.count for name, total in self.sums.items()}


def require_finite_weights(method: Method, epoch: int) -> None:
    for name, parameter in method.named_parameters():
        if not parameter.isfinite().all():
            raise NonFiniteLoss(
                f"weights {name!r}: expected finite numbers after epoch {epoch + 1}, got NaN or "
                "infinity from a finite loss; lower lr"
            )


def save(
    checkpoints: files.Checkpoints,
    method: Method,
    weighting: Weighting,
    optimizer: torch.optim.Optimizer,
    mean: WeightMean,
    best: Best,
    history: list[dict[str, Any]],
) -> None:
    """Everything that the rest of the run depends on."""
    tensors = {
        "live": method.state_dict(),
        "weighting": weighting.state_dict(),
        "mean": mean.tensors,
        "best": best.tensors,
    }
    facts = {
        "history": history,
        "averaged": mean.count,
        "best": {"epoch": best.epoch, "metrics": best.metrics},
    }
    checkpoints.save(len(history), tensors, optimizer.state_dict(), facts)


def restore(
    checkpoints: files.Checkpoints,
    method: Method,
    weighting: Weighting,
    optimizer: torch.optim.Optimizer,
    mean: WeightMean,
    best: Best,
) -> list[dict[str, Any]]:
    """The inverse of ``save``; returns the history, empty where there is nothing to resume."""
    found = checkpoints.load()
    if found is None:
        return []
    tensors, optimizer_state, facts = found
    method.load_state_dict(tensors["live"])
    weighting.load_state_dict(tensors.get("weighting", {}))
    optimizer.load_state_dict(optimizer_state)
    live = method.state_dict()  # for device and memory format
    mean.count = facts["averaged"]
    mean.tensors = {n: live[n].clone().copy_(t) for n, t in tensors.get("mean", {}).items()}
    best.epoch, best.metrics = facts["best"]["epoch"], facts["best"]["metrics"]
    best.tensors = {n: live[n].clone().copy_(t) for n, t in tensors.get("best", {}).items()}
    return facts["history"]
