"""What scores without looking at the image: the floors below which a number says nothing.

Both guesses know the labels that the networks of a row learn from and give every image the same
answer. ``closed eyes`` gives every pixel the same one: the most frequent class, the median depth,
the mean normal, the share of pixels of a binary task. ``position lookup`` asks what the labelled
training maps have at the pixel's position, and answers as with closed eyes where they have nothing.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl import files
from mtpsl.batch import Batch
from mtpsl.data.dataset import Dataset, EvalLoader
from mtpsl.data.labels import PartialLabels
from mtpsl.engine import evaluate
from mtpsl.report.results import GUESSES, floor_key
from mtpsl.report.tables import MeasuredOn
from mtpsl.runs.data import EVAL_BATCH, label, open_split, test_batches
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.store import Session
from mtpsl.tasks import Task, TaskSet

Scores = Mapping[str, Mapping[str, float]]  # a key of ``GUESSES`` -> "task/metric" -> value


def floor_scores(ran: Mapping[str, Any], measured_on: MeasuredOn, session: Session) -> Scores:
    """What the guesses score on the data of an experiment, for all tasks of its data set.

    Args:
        ran: A bound experiment, as ``Experiment.to_dict``.
        measured_on: Which images.
        session: Where the data are; the scores are kept beside its runs.
    """
    path = session.store.root / "floors" / f"{floor_key(ran, measured_on)}.json"
    if path.exists():
        try:
            return {name: files.null_to_nan(s) for name, s in files.read_json(path).items()}
        except files.Damaged as error:
            print(f"scores of guesses are damaged and made again: {error}", file=sys.stderr)
    experiment = Experiment.from_dict(ran)
    train = open_split(experiment, "train", session)
    experiment = experiment.replace(tasks=train.tasks.names)
    _, assignment = label(experiment, train, session)
    batches = measured_batches(measured_on, experiment, session)
    scores = score_guesses(PartialLabels(train, assignment), batches)
    files.write_json(path, scores)
    return scores


def measured_batches(
    measured_on: MeasuredOn, experiment: Experiment, session: Session
) -> EvalLoader:
    """The images that a table's row is measured on, with the labels that count."""
    if measured_on == "test":
        return test_batches(experiment, session)
    train = open_split(experiment, "train", session)
    _, assignment = label(experiment, train, session)
    if measured_on == "unlabeled":
        assignment = replace(assignment, labeled=~assignment.labeled)
    shown = PartialLabels(train, assignment.select(experiment.tasks))
    return EvalLoader(shown, EVAL_BATCH, session.torch_device)


def score_guesses(train: Dataset, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
    """Scores of both guesses.

    Args:
        train: The images with the labels that count, such as ``PartialLabels``.
        batches: What is asked, with labels; read twice.

    Returns:
        A key of ``GUESSES`` -> ``"task/metric"`` -> value, as ``engine.evaluate``.
    """
    labels = {task.name: _Labels(task, train.height, train.width) for task in train.tasks}
    for batch in EvalLoader(train, EVAL_BATCH):
        for name, seen in labels.items():
            seen.add(batch.targets[name], batch.mask(name))
    answers = {name: seen.answers() for name, seen in labels.items()}
    return {
        guess: evaluate(Guess(train.tasks, {n: pair[i] for n, pair in answers.items()}), batches)
        for i, guess in enumerate(GUESSES)
    }


class Guess(nn.Module):
    """Gives every image the same maps: what ``engine.evaluate`` asks of a method, and no more.

    Args:
        tasks: What it answers.
        answers: Task -> (1, C, H, W), as ``Method.predict`` would give it.
    """

    def __init__(self, tasks: TaskSet, answers: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.tasks = tasks
        maps = {name: nn.Parameter(a, requires_grad=False) for name, a in answers.items()}
        self.answers = nn.ParameterDict(maps)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return {name: a.expand(len(images), -1, -1, -1) for name, a in self.answers.items()}


class _Labels:
    """What the labelled pixels of a task hold, position by position."""

    def __init__(self, task: Task, height: int, width: int) -> None:
        self.task, size = task, (height, width)
        self.total = torch.zeros(task.channels, *size, dtype=torch.float64)
        self.count = torch.zeros(1, *size, dtype=torch.float64)
        self.values: list[Tensor] = []  # of a positive task, whose median needs them all

    def add(self, target: Tensor, mask: Tensor) -> None:
        """Takes a batch's labels (B, D, H, W) where ``mask`` (B, 1, H, W) allows."""
        self.count += mask.sum(0)
        match self.task.kind:
            case "positive":
                self.values.append(torch.where(mask, target, math.nan))
            case "classes":
                place = torch.arange(self.count.numel()).view(self.count.shape)
                places = (target * self.count.numel() + place)[mask]
                counts = torch.bincount(places, minlength=self.total.numel())
                self.total += counts.view(self.total.shape)
            case _:
                self.total += torch.where(mask, target, 0.0).sum(0)

    def answers(self) -> tuple[Tensor, Tensor]:
        """The one answer for every pixel, and the one of every position, (1, C, H, W) each."""
        if self.task.kind == "positive":
            values = torch.cat(self.values)
            at_position, anywhere = values.nanmedian(0).values, values.nanmedian()
        else:
            at_position = self._typical(self.total, self.count)
            sums = (s.sum((1, 2), keepdim=True) for s in (self.total, self.count))
            anywhere = self._typical(*sums)
        anywhere = anywhere.expand_as(self.total)
        at_position = torch.where(self.count > 0, at_position, anywhere)
        return anywhere.float()[None].contiguous(), at_position.float()[None]

    def _typical(self, total: Tensor, count: Tensor) -> Tensor:
        """The best single answer for pixels whose sums these are, as a network would give it."""
        match self.task.kind:
            case "classes":
                return total  # as logits
            case "direction":
                return F.normalize(total, dim=0)
            case _:
                return (total / count).logit(eps=1e-6)
