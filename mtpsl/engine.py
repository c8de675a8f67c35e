"""The training loop: plain PyTorch on one device, read from top to bottom.

Everything random in an epoch (order, augmentation, dropout) is a function of the seed and the
epoch's number, and the learning rate one of the step's number. So a checkpoint between two epochs
holds weights and optimizer state and nothing else; one inside an epoch adds how far it is, its sums
and its random state. Either way a resumed run is the uninterrupted run, bit for bit.
"""

import hashlib
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from mtpsl import distributed
from mtpsl.batch import Batch
from mtpsl.data.dataset import TrainLoader
from mtpsl.methods.base import Method
from mtpsl.metrics import ConfusionMatrix, Metric
from mtpsl.state import EpochLosses, NonFiniteLoss, TrainingState
from mtpsl.tasks import Task, TaskSet
from mtpsl.training import Best, Optimization, ScheduledAdam, Selection
from mtpsl.weighting import Uniform, Weighting

CHECK_EVERY = 32  # steps between looks at the loss on a GPU, where every look makes it wait


@dataclass(frozen=True)
class Fit:
    """What a training run leaves beside the weights."""

    history: list[dict[str, Any]]  # one entry per epoch: epoch (from 1), lr, terms, seconds, steps
    # (``ScheduledAdam.describe_epoch``, of the backbone), and where there are any: weights, metrics
    epoch: int  # after which the method's weights were taken


def fit(
    method: Method,
    loader: TrainLoader,
    *,
    epochs: int,
    lr: float,
    optimization: Optimization | None = None,
    selection: Selection | None = None,
    weighting: Weighting | None = None,
    seed: int = 0,
    folder: Path | None = None,
    save_every: float = 300.0,
    progress: bool = True,
) -> Fit:
    """Trains ``method`` in place and leaves it with the selected weights.

    Args:
        method: On the device it is to train on.
        loader: Its ``epoch(e)`` yields tuples of ``method.views`` batches, a function of e alone;
            where several processes share a step, ``epoch(e, numbers)`` yields some of them.
        epochs: Passes over the images.
        lr: Adam's learning rate; the method may give groups of parameters their own.
        optimization: Schedule, precision and the like; by default plain Adam in float32.
        selection: Which weights to keep, and the learning curve; by default the last, and none.
        weighting: How loss terms become one scalar; by default their plain sum.
        seed: Decides everything random in the method.
        folder: For ``log.jsonl`` and ``checkpoint/``; training goes on where these stop.
        save_every: Seconds after which a state is saved inside an epoch, too.
        progress: Shows a bar on stderr, unless the environment says MTPSL_PROGRESS=0.

    Raises:
        NonFiniteLoss: At the first loss that is not a number.
        ValueError: If ``folder`` holds a run with other settings, or settings exclude each other.
    """
    optimization, selection = optimization or Optimization(), selection or Selection()
    weighting = weighting or Uniform(method.tasks)
    _require_suited(method, loader, optimization, weighting)
    device = next(method.parameters()).device
    if optimization.channels_last:
        method.to(memory_format=torch.channels_last)
    weighting = weighting.to(device)
    division = distributed.Division(method, optimization.accumulate)
    steps = loader.steps * epochs
    groups = [*method.param_groups(lr), *weighting.param_groups(lr)]
    watched = method.backbone_parameters() or list(method.parameters())
    optimizer = ScheduledAdam(groups, lr, optimization, epochs, steps, watched)
    best = Best(method.tasks, selection.select_reference)
    state = TrainingState(method, weighting, optimizer, best)
    settings = {"steps": steps, "epochs": epochs, "lr": lr, "seed": seed}
    settings |= optimization.settings() | selection.settings()
    if not isinstance(weighting, Uniform):  # which the states of older runs do not name
        settings["weighting"] = repr(weighting)
    if folder:  # what a process has added up inside an epoch is its own part
        state.resume(folder, settings, save_every if distributed.processes() == 1 else math.inf)

    silent = not (progress and distributed.is_first()) or os.environ.get("MTPSL_PROGRESS") == "0"
    done = loader.steps * len(state.history) + state.midway.get("batches", 0)
    bar = tqdm(total=steps, initial=done, unit="step", disable=silent)
    for epoch in range(len(state.history), epochs):
        with seeded(device, seed, "epoch", epoch):
            terms = train_epoch(state, loader, epoch, optimization, selection, division, bar)
        entry = {"epoch": epoch + 1, "lr": optimizer.param_groups[0]["lr"], "terms": terms}
        entry["steps"] = optimizer.describe_epoch()
        if weights := weighting.after_epoch(terms):
            entry["weights"] = weights
        require_finite_weights(method, epoch)
        entry["seconds"] = round(time.perf_counter() - state.began, 3)
        if selection.measures(epoch + 1, epochs):
            with state.mean.applied(method):  # the weights that stopping here would give
                entry["metrics"] = selection.curve()
                if selection.select == "best_on_test":
                    best.consider(method, epoch + 1, entry["metrics"]["test"])
        state.end_epoch(entry, last=epoch + 1 == epochs)
    bar.close()

    state.mean.swap(method)
    best.apply(method)
    if selection.select == "best_on_test" and not best.epoch:
        print("no point of the curve has every task's metric: last weights kept", file=sys.stderr)
    return Fit(state.history, best.epoch or epochs)


def train_epoch(
    state: TrainingState,
    loader: TrainLoader,
    epoch: int,
    optimization: Optimization,
    selection: Selection,
    division: distributed.Division,
    bar: tqdm,
) -> dict[str, float]:
    """Trains on every image once.

    Returns:
        The loss terms and the method's readings, each a mean over the batches.
    """
    method, weighting, optimizer = state.method, state.weighting, state.optimizer
    device, accumulate = next(method.parameters()).device, optimization.accumulate
    shared = method.shared_parameters() if weighting.needs_shared else []
    mixed = optimization.precision == "bf16"
    losses = EpochLosses(epoch, every=1 if device.type == "cpu" else CHECK_EVERY)
    method.train()
    draws = torch.initial_seed()
    done = state.begin_epoch(losses)  # batches that an interrupted process has trained
    batches = division.batches(loader, epoch, done)
    for i in range(done, loader.steps):
        step = epoch * loader.steps + i
        first = i - i % accumulate  # of the batches that share this optimizer step
        size = min(accumulate, loader.steps - first)
        views = [v.to(device) for v in next(batches)] if division.trains(i) else []
        if accumulate > 1:  # what a batch draws does not depend on who trained the one before
            torch.manual_seed(draws + i)
        for turn in range(method.turns):  # one, unless networks learn alternately
            method.turn = turn
            if views:
                with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                    terms = method.training_step(*views, progress=step / optimizer.steps)
                losses.add(i, terms | dict(method.readings), views[0].index)
                (weighting(terms, shared) / size).backward()
            if i == first + size - 1:
                division.combine(p for group in optimizer.param_groups for p in group["params"])
                optimizer.step_at(epoch, step)
                method.after_step()
                weighting.after_step()
                if selection.averages(step, optimizer.steps) and turn == method.turns - 1:
                    state.mean.update(method)
        if first + size - 1 == i < loader.steps - 1:
            state.end_step(i + 1, losses)
        if bar.update():  # the bar was just redrawn, so reading values slows nothing down
            shown = {name: f"{mean:.3f}" for name, mean in losses.means().items()}
            bar.set_postfix(epoch=f"{epoch + 1}/{optimizer.epochs}", **shown, refresh=False)
    next(batches, None)  # lets a loader with workers end its epoch
    losses.check()
    losses.count = loader.steps
    return distributed.add_up(losses.means())


def _require_suited(
    method: Method, loader: TrainLoader, optimization: Optimization, weighting: Weighting
) -> None:
    offered = getattr(loader, "views", method.views)
    if offered != method.views:
        raise ValueError(
            f"loader: expected {method.views} views of each image for {type(method).__name__}, got "
            f"{offered}; make it with views={method.views}"
        )
    if method.turns > 1 and optimization.accumulate > 1:
        raise ValueError(
            "accumulate: expected 1 for a method that takes turns, got "
            f"{optimization.accumulate}; raise batch_size instead"
        )
    if distributed.processes() > 1 and not isinstance(weighting, Uniform):
        raise ValueError(
            f"weighting: expected uniform in {distributed.processes()} processes, got "
            f"{weighting!r}; train it in one"
        )


def evaluate(
    method: Method, loader: Iterable[Batch], tasks: TaskSet | None = None
) -> dict[str, float]:
    """What ``measure`` counts: ``{"semseg/miou": 0.31, ...}``, task and metric.

    ``metrics.COLUMNS`` says what the values are; NaN where nothing was labeled.
    """
    return values_of(measure(method, loader, tasks))


def values_of(counted: dict[str, Metric]) -> dict[str, float]:
    return {f"{t}/{k}": v for t, metric in counted.items() for k, v in metric.compute().items()}


@torch.no_grad()
def measure(
    method: Method, loader: Iterable[Batch], tasks: TaskSet | None = None
) -> dict[str, Metric]:
    """Measures a method on a whole split; changes neither the run nor the random state.

    Args:
        method: Any mode, any device; its mode is restored.
        loader: Clean batches. Only what ``Batch.mask`` allows counts. Where labels have another
            size than images, predictions are brought to theirs (``at_label_size``).
        tasks: Which to measure; by default all of the method's.

    Returns:
        Task -> its metric, with the split counted.
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
    return metrics


@torch.no_grad()
def require_measured(
    metrics: dict[str, float], method: Method, test: Iterable[Batch]
) -> dict[str, float]:
    """The metrics; raises ``NonFiniteLoss`` where they show that a network has come apart.

    A metric is NaN where nothing was labeled, too; but there are predictions.
    """
    broken = {name for name, value in metrics.items() if math.isinf(value)}
    unknown = {name for name, value in metrics.items() if math.isnan(value)}
    device = next(method.parameters()).device
    for batch in test if unknown else ():
        maps = method.eval().predict(batch.images.to(device))
        broken |= {n for n in unknown if not maps[n.partition("/")[0]].isfinite().all()}
    broken |= unknown if len(unknown) == len(metrics) else set()
    if broken:
        names = ", ".join(sorted(broken))
        raise NonFiniteLoss(
            f"metrics: expected finite numbers after training, got none for {names}; lower lr, or "
            "look at the test images"
        )
    return metrics


def classes_of(tasks: TaskSet, counted: dict[str, Metric]) -> dict[str, Any]:
    """Task -> class -> its IoU, None without a pixel, and how many pixels are truly of it."""
    found = {}
    for task, metric in counted.items():
        confusion = getattr(metric, "confusion", metric)
        if isinstance(confusion, ConfusionMatrix) and confusion.sums:
            values = confusion.iou().tolist(), confusion.sums["matrix"].sum(dim=1).tolist()
            rows = zip(tasks[task].class_names, *values, strict=True)
            found[task] = {
                name: {"iou": None if math.isnan(iou) else iou, "pixels": int(n)}
                for name, iou, n in rows
            }
    return found


def at_label_size(task: Task, prediction: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes a prediction to the size it is scored at, as the protocol of PASCAL-Context does.

    Classes go to the nearest pixel, all else bilinearly: probabilities, not logits, of binary
    tasks. There is no rounding to 8 bits in between, which that protocol's files cause.

    Args:
        task: Decides how: ids, probabilities or numbers.
        prediction: (B, C, h, w), as ``Method.predict`` gives it.
        size: Height and width of the label, in pixels.

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


@contextmanager
def seeded(device: torch.device, *purpose: int | str) -> Iterator[None]:
    """Draws inside depend on ``purpose`` alone; draws outside do not notice."""
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        yield


def require_finite_weights(method: Method, epoch: int) -> None:
    """Raises ``NonFiniteLoss`` if a finite loss has led to weights that are not."""
    for name, parameter in method.named_parameters():
        if not parameter.isfinite().all():
            raise NonFiniteLoss(
                f"weights {name!r}: expected finite numbers after epoch {epoch + 1}, got NaN or "
                "infinity from a finite loss; lower lr"
            )
