"""What a dataset is: an indexed set of clean images with dense labels for several tasks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.tasks import TaskSet


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
        return Batch(
            images=torch.stack([s.image for s in samples]),
            targets={t: torch.stack([s.targets[t] for s in samples]) for t in self.tasks.names},
            valid={t: torch.stack([s.valid[t] for s in samples]) for t in self.tasks.names},
            labeled={t: torch.ones(len(samples), dtype=torch.bool) for t in self.tasks.names},
            index=torch.tensor([int(i) for i in indices], dtype=torch.int64),
        )

    def carries(self, task: str) -> Tensor:
        """(N,) bool: images whose annotation can carry a label of ``task`` at all."""
        self.tasks[task]  # a KeyError that names the tasks, instead of True for a typo
        return torch.ones(len(self), dtype=torch.bool)
