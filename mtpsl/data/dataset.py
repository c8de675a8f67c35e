"""What a dataset is, and the batches that are made of it for training and evaluation.

A dataset is an indexed set of clean images with dense labels for several tasks. Order and
augmentation of epoch e are drawn from (seed, e) for the whole data set at once, one entry per
image. So they depend on neither batch size nor workers nor how much random state anything else has
used, and a resumed run draws what the interrupted one would have drawn.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mtpsl.batch import Batch, Discovered, Geometry
from mtpsl.data.atrc import AtrcViews
from mtpsl.data.transforms import SCALES, draw_geometry, draw_turned, warp_batch
from mtpsl.tasks import TaskSet

Maps = dict[str, Tensor]  # task -> values


@dataclass(frozen=True)
class Sample:
    """One clean image with everything its annotation says."""

    image: Tensor  # (3, H, W) float32 in [0, 1], RGB
    targets: dict[str, Tensor]  # task -> (C, H, W) float32, or (1, H, W) int64 for class ids
    valid: dict[str, Tensor]  # task -> (1, H, W) bool, False where the annotation has a hole


class Dataset(ABC):
    """Clean images in a fixed order, everything labeled.

    Label settings and augmentation are wrapped around a dataset, never built into it. In a hole
    of the annotation (``valid`` False) the target holds ``Task.missing``.
    """

    name: str
    version: str  # part of every run's key: another version, other numbers
    split: str
    stand_in: bool  # True: generated scenes; every table made from them says so
    stands_for: ClassVar[str] = ""  # of a stand-in: the data set on disk that takes its place
    counts_steps: ClassVar[bool] = False  # the papers train for a number of steps, not of epochs
    scores_at_file_size: ClassVar[bool] = False  # predictions are scored at each file's size
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}  # argument -> values, the default first
    tasks: TaskSet
    height: int
    width: int

    @abstractmethod
    def __len__(self) -> int:
        """How many images."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """The image at ``index`` in [0, len); raises ``IndexError`` outside."""

    def load(self, indices: Sequence[int]) -> Batch:
        """The images at ``indices``, clean and fully labeled, in that order.

        Args:
            indices: At least one index in [0, len).
        """
        samples = [self[int(i)] for i in indices]
        images = torch.stack([s.image for s in samples])
        targets = {t: torch.stack([s.targets[t] for s in samples]) for t in self.tasks.names}
        valid = {t: torch.stack([s.valid[t] for s in samples]) for t in self.tasks.names}
        return self._labeled(indices, images, targets, valid)

    def _labeled(self, indices: Sequence[int], images: Tensor, targets: Maps, valid: Maps) -> Batch:
        labeled = {t: torch.ones(len(images), dtype=torch.bool) for t in self.tasks.names}
        index = torch.tensor([int(i) for i in indices], dtype=torch.int64)
        return Batch(images, targets, valid, labeled, index)

    def carries(self, task: str) -> Tensor:
        """(N,) bool: images whose annotation can carry a label of ``task`` at all."""
        self.tasks[task]  # a KeyError that names the tasks, instead of True for a typo
        return torch.ones(len(self), dtype=torch.bool)


class Stored(Dataset):
    """A data set whose samples are kept in a folder of arrays. Abstract: see ``unpack_rows``.

    A subclass sets ``count`` and ``folder``, and calls ``_map``.
    """

    count: int
    folder: Path

    def _map(self, maps: Mapping[str, np.ndarray]) -> None:
        # The same memory as plain arrays, which are faster to slice.
        self._arrays = {name: np.asarray(array) for name, array in maps.items()}

    @abstractmethod
    def unpack_rows(self, rows: np.ndarray) -> tuple[Tensor, Maps, Maps]:
        """The rows' images (B, 3, H, W) float32 in [0, 1], targets and valid pixels."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"index: expected one in [0, {self.count}), got {index}")
        (image,), targets, valid = self.unpack_rows(np.array([index]))
        first = lambda maps: {name: values[0] for name, values in maps.items()}  # noqa: E731
        return Sample(image, first(targets), first(valid))

    def load(self, indices: Sequence[int]) -> Batch:
        """The images at ``indices``, clean and fully labeled, in that order."""
        rows = np.asarray(indices, dtype=np.int64)
        if rows.size and not (0 <= rows.min() and rows.max() < self.count):
            raise IndexError(f"index: expected 0 to {self.count - 1}, got {rows.tolist()}")
        return self._labeled(indices, *self.unpack_rows(rows))

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the arrays, which another process maps itself."""
        return vars(self) | {"_arrays": list(self._arrays)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        names = state.pop("_arrays")
        vars(self).update(state)
        self._map({n: np.load(self.folder / f"{n}.npy", mmap_mode="r") for n in names})


Augmentation = Literal["scale_crop", "turned", "atrc"]  # of ``data.transforms``, ``data.atrc``


class Supervision(Protocol):
    """Where discoveries come from: ``data.supervision.SupervisionStore``."""

    def lookup(
        self, index: Tensor, labeled: dict[str, Tensor], device: torch.device | str
    ) -> Discovered:
        """What was found on the clean images of these indices, for tasks they do not label."""


class TrainLoader:
    """Shuffled, augmented batches; the last, smaller one of an epoch included.

    The released code [XTC] leaves that one out on NYUD-v2.

    Args:
        dataset: Usually a ``PartialLabels``.
        batch_size: Images a step.
        seed: Of order and augmentation.
        views: Views of each image; the second is cut from the first by a random scale-crop, and so
            on, as in the released code [XTC].
        augment: Random scale-crop of the first view too. Without it the first view is the image
            itself; the others, which a method asks for, are cut all the same.
        augmentation: ``"scale_crop"``, or in its place ``"turned"``, zoom and rotation as on
            PASCAL-Context, or ``"atrc"``, zoom and colors. Further views are scale-crops in any
            case.
        flip: Mirrors half of the views.
        supervision: Discoveries to attach, warped like the views; None: none.
        workers: Processes that read images; 0 reads in this process, which is faster for data in
            memory.
        device: Where batches go; they are augmented there.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int,
        views: int = 1,
        augment: bool = True,
        augmentation: Augmentation = "scale_crop",
        flip: bool = False,
        supervision: Supervision | None = None,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1 or views < 1:
            raise ValueError(f"batch_size, views: expected at least 1, got {batch_size}, {views}")
        self.dataset, self.batch_size, self.seed, self.views = dataset, batch_size, seed, views
        self.augment, self.augmentation, self.flip = augment, augmentation, flip
        self.supervision, self.device = supervision, device
        self._read = _Reader(dataset, workers)

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def epoch(
        self, epoch: int, numbers: Sequence[int] | None = None
    ) -> Iterator[tuple[Batch, ...]]:
        """The views of every image once, in the order of this epoch.

        Finish one epoch before starting another when there are workers.

        Args:
            epoch: From 0.
            numbers: Of the batches to yield, from 0 and rising; None: all.
        """
        images = len(self.dataset)
        order = torch.randperm(images, generator=_generator(self.seed, "order", epoch))
        drawn = [self._draw(view, epoch) for view in range(self.views)]
        batches = order.split(self.batch_size)
        for batch in self._read([batches[i] for i in numbers] if numbers is not None else batches):
            draws = [d.rows(batch.index).to(self.device) for d in drawn]
            discovered = None
            if self.supervision is not None:
                discovered = self.supervision.lookup(batch.index, batch.labeled, self.device)
            batch = replace(batch.to(self.device), discovered=discovered)
            yield self._views(batch, draws)

    def _draw(self, view: int, epoch: int) -> Geometry | AtrcViews:
        """What is random in one view of every image."""
        generator = _generator(self.seed, f"view {view}", epoch)
        images, height, width = len(self.dataset), self.dataset.height, self.dataset.width
        if view == 0 and self.augment and self.augmentation == "turned":
            return draw_turned(generator, images, height, width, flip=self.flip)
        if view == 0 and self.augment and self.augmentation == "atrc":
            return AtrcViews.draw(generator, images, flip=self.flip)
        scales = SCALES if self.augment or view else (1.0,)
        return draw_geometry(generator, images, height, width, flip=self.flip, scales=scales)

    def _views(self, batch: Batch, drawn: list[Geometry | AtrcViews]) -> tuple[Batch, ...]:
        if self.views == 1 and not (self.augment or self.flip):
            return (batch,)
        views, tasks = [], self.dataset.tasks
        for draw in drawn:
            colors = isinstance(draw, AtrcViews)
            batch = draw.view(batch, tasks) if colors else warp_batch(batch, draw, tasks)
            views.append(batch)
        return tuple(views)


class EvalLoader:
    """Clean batches in the order of the dataset.

    Args:
        dataset: As it is; wrap it in ``PartialLabels`` to see training labels only.
        batch_size: Images a batch; metrics do not depend on it.
        device: Where batches go.
        workers: See ``TrainLoader``.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        device: torch.device | str = "cpu",
        *,
        workers: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        self.dataset, self.batch_size, self.device = dataset, batch_size, device
        self._read = _Reader(dataset, workers)

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._read(torch.arange(len(self.dataset)).split(self.batch_size)):
            yield batch.to(self.device)


class _Reader:
    """``dataset.load`` for a sequence of index tensors, in this process or in workers."""

    def __init__(self, dataset: Dataset, workers: int) -> None:
        self.dataset = dataset
        self.order: list[list[int]] = []  # changed in place, so workers live through all epochs
        self.loader = None
        if workers > 0:
            self.loader = DataLoader(
                range(len(dataset)),
                batch_sampler=self.order,
                collate_fn=dataset.load,
                num_workers=workers,
                persistent_workers=True,
                generator=torch.Generator(),  # else it would advance the global one
                multiprocessing_context="spawn",  # forking a process with threads can deadlock
            )

    def __call__(self, chunks: Sequence[Tensor]) -> Iterator[Batch]:
        self.order[:] = [chunk.tolist() for chunk in chunks]
        yield from self.loader if self.loader is not None else map(self.dataset.load, self.order)


def _generator(seed: int, purpose: str, epoch: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
