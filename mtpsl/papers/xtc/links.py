"""Which predictions and labels of a batch a task pair ties, and what the mapping network reads.

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893 [XTC]

Shared by the loss and by all baselines of the paper that compare tasks with one another.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.papers.xtc.mapping import (
    MappingNet,
    Pass,
    Statistics,
    label_input,
    prediction_input,
)
from mtpsl.tasks import Task, TaskSet


@dataclass(frozen=True)
class Link:
    """An ordered pair of tasks and the images of a batch that it is applied to."""

    source: Task  # without label; or any other task where all have labels
    target: Task  # with a label
    rows: tuple[int, ...]  # positions in the batch, at least one
    shares: tuple[float, ...] | None = None  # by row, what a loss is multiplied by; None: 1

    def weigh(self, losses: Tensor) -> Tensor:
        """(n,) losses of its images, times their shares where it has any."""
        return losses if self.shares is None else losses * torch.tensor(self.shares).to(losses)


def find_links(tasks: TaskSet, batch: Batch, *, per_image_mean: bool = False) -> list[Link]:
    """Finds the pairs (s in U_n, t in T_n) of every image, gathered by pair [XTC, Eq. 3].

    An image with every label takes part in all ordered pairs. A target needs a usable pixel.

    Args:
        tasks: The tasks.
        batch: Its labels.
        per_image_mean: See ``with_shares``.
    """
    labeled = torch.stack([batch.labeled[n] for n in tasks.names])  # (K, B)
    links = gather_links(tasks, ~labeled | labeled.all(dim=0), usable_labels(tasks, batch))
    return with_shares(links) if per_image_mean else links


def with_shares(links: Sequence[Link]) -> list[Link]:
    """The same links, divided by |U_n|: 1 / K where every task has a label and is a source."""
    sources = defaultdict(set)
    for link in links:
        for row in link.rows:
            sources[row].add(link.source.name)
    return [replace(x, shares=tuple(1 / len(sources[row]) for row in x.rows)) for x in links]


def usable_labels(tasks: TaskSet, batch: Batch) -> Tensor:
    """(K, B) bool: whether a task's label of an image has a single valid pixel."""
    return torch.stack([batch.mask(n).flatten(1).any(dim=1) for n in tasks.names])


def gather_links(tasks: TaskSet, sources: Tensor, targets: Tensor) -> list[Link]:
    """Gathers for every ordered pair the images where one is a source and the other a target.

    Args:
        tasks: K tasks.
        sources: (K, B) bool, by task and image.
        targets: (K, B) bool.
    """
    sources, targets = (dict(zip(tasks.names, m.tolist(), strict=True)) for m in (sources, targets))
    links = []
    for s, t in tasks.pairs():
        images = enumerate(zip(sources[s.name], targets[t.name], strict=True))
        rows = tuple(row for row, (as_source, as_target) in images if as_source and as_target)
        if rows:
            links.append(Link(s, t, rows))
    return links


@final
class Inputs:
    """What the mapping network reads, made once for every task and choice of images.

    Rows are taken before anything else happens: what other images have in their place of a
    withheld label is never part of a computation.

    Args:
        predictions: task -> (B, C, H, W).
        batch: Its labels, and the images' numbers, which the Gumbel noise depends on.
    """

    def __init__(self, predictions: dict[str, Tensor], batch: Batch) -> None:
        self.predictions, self.batch = predictions, batch
        self.index = batch.index.tolist()
        self.seed = int(torch.randint(2**62, ()))
        self._maps: dict[tuple[str, str, tuple[int, ...]], Tensor] = {}
        self._noise: dict[tuple[str, int], Tensor] = {}

    def prediction(self, task: Task, rows: tuple[int, ...]) -> Tensor:
        """(n, C, H, W) of ``prediction_input``; the same object whenever it is asked for again."""
        key = ("prediction", task.name, rows)
        if key not in self._maps:
            maps = self.predictions[task.name][list(rows)]
            self._maps[key] = prediction_input(task, maps, self.noise(task, rows))
        return self._maps[key]

    def label(self, task: Task, rows: tuple[int, ...]) -> Tensor:
        """(n, C, H, W) of ``label_input``; the same object whenever it is asked for again."""
        key = ("label", task.name, rows)
        if key not in self._maps:
            target = self.batch.targets[task.name][list(rows)]
            mask = self.batch.mask(task.name)[list(rows)]
            self._maps[key] = label_input(task, target, mask)
        return self._maps[key]

    def noise(self, task: Task, rows: tuple[int, ...]) -> Tensor | None:
        """Standard Gumbel noise for classes, a function of this step's seed, image and task."""
        if task.kind != "classes":
            return None
        like = self.predictions[task.name]
        for row in rows:
            if (task.name, row) not in self._noise:
                position = list(self.predictions).index(task.name)
                seed = hash((self.seed, self.index[row], position)) & (2**63 - 1)
                generator = torch.Generator(like.device).manual_seed(seed)
                waiting = torch.empty(like.shape[1:], device=like.device)
                waiting.exponential_(generator=generator).clamp_(min=1e-30)
                self._noise[task.name, row] = -waiting.log()
        return torch.stack([self._noise[task.name, row] for row in rows])


def embed_links(
    mapping: MappingNet,
    links: Sequence[Link],
    inputs: Inputs,
    statistics: Statistics = "pass",
    *,
    swapped: bool = False,
) -> list[tuple[Tensor, Tensor]]:
    """Maps the images of every link: m(y^_s) and m(y_t), each (n, D, h, w) float32.

    Args:
        mapping: m.
        links: Pairs and their images.
        inputs: What m reads.
        statistics: What its BatchNorm averages over.
        swapped: Condition the label on A[t, s] in place of A[s, t].
    """
    passes = []
    for link in links:
        s, t = link.source, link.target
        pair = (s.name, t.name)
        passes.append(Pass(s.name, pair, inputs.prediction(s, link.rows)))
        label = inputs.label(t, link.rows)
        passes.append(Pass(t.name, pair[::-1] if swapped else pair, label))
    maps = [m.float() for m in mapping(passes, statistics)] if passes else []
    return list(zip(maps[::2], maps[1::2], strict=True))
