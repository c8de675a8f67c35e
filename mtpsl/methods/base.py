"""The contract between a paper's idea and the training engine."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from mtpsl.batch import Batch, Discovered
from mtpsl.tasks import TaskSet

Terms = dict[str, Tensor]  # loss term -> weighted scalar; the engine minimizes their sum


class Method(nn.Module, ABC):
    """How a network learns from partly labeled images: the part a paper contributes.

    A method owns its networks and returns loss terms. The engine owns devices, backward,
    optimizer steps, evaluation and checkpoints. Subclass ``Method`` directly; share code
    through functions such as ``supervised_terms``, never by subclassing another method.
    """

    learns_from_unlabeled: ClassVar[bool] = True  # False: an image without labels adds nothing
    views: ClassVar[int] = 1  # augmented views of each image the method asks for
    small_images: ClassVar[Mapping[str, Any]] = {}  # arguments that suit images below 128 pixels
    turns: ClassVar[int] = 1  # optimizer steps per batch; more where networks learn alternately
    turn: int = 0  # which of them is taken; set by the engine
    online: bool = False  # whether its teacher labels the views it learns from, as they come
    teacher: "OnlineTeacher | None" = None  # the one that does; set by whoever trains the method
    readings: Mapping[str, Tensor] = {}  # scalars of the last step to log beside its terms: no loss
    tasks: TaskSet

    @abstractmethod
    def training_step(self, *views: Batch, progress: float) -> Terms:
        """Computes the loss terms of one step.

        A term named like a task is an objective, which ``mtpsl.weighting`` may weigh; the others
        are not touched. With several turns this is called once per turn, each with its own terms.

        Args:
            *views: As many batches as ``self.views``: augmented views of the same images.
            progress: In [0, 1), the share of training done.
        """

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> task -> (B, C, H, W), ready for the task's metric.

        By default what ``self.net``, a ``models.MultiTaskNet``, predicts.
        """
        return self.net(images).predictions

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Sees the clean labeled training images once, before training (bins, centroids).

        What it finds must live in buffers, so that it travels with the weights.
        """

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Puts every parameter into exactly one group for the optimizer.

        A group may have a rate of its own and, under schedule "step", its own ``step_size``.
        """
        return [{"params": list(self.parameters()), "lr": lr}]

    def backbone_parameters(self) -> list[nn.Parameter]:
        """The trained parameters of ``self.backbone`` or ``self.net.backbone``, if there is one."""
        backbone = getattr(getattr(self, "net", self), "backbone", None)
        return [p for p in backbone.parameters() if p.requires_grad] if backbone else []

    def shared_parameters(self) -> list[nn.Parameter]:
        """What the tasks' gradients are compared on (``mtpsl.weighting``), in forward order.

        By default ``backbone_parameters``.

        Raises:
            ValueError: If there is no backbone, or a frozen one.
        """
        shared = self.backbone_parameters()
        if not shared:
            raise ValueError(
                f"shared_parameters: expected {type(self).__name__} to train a backbone, got none; "
                "override it or choose a weighting that compares no gradients"
            )
        return shared

    def counted(self) -> list[nn.Module]:
        """What a table of costs counts, as a mean over these modules; each maps one image.

        A method whose training is what its paper counts returns that instead of itself.
        """
        return [self]

    def after_step(self) -> None:
        """Runs after the optimizer step (moving-average teachers, schedules)."""


@runtime_checkable
class Teacher(Protocol):
    """A method that can label images for a student (self-training)."""

    def discover(self, images: Tensor, thresholds: Mapping[str, float]) -> Discovered:
        """(B, 3, H, W) clean images -> pseudo supervision for *all* tasks, without gradients.

        A pixel is accepted where the task's confidence exceeds ``thresholds[task]``; a task that
        is not in ``thresholds`` accepts every pixel. Dropping what was found for tasks that have
        a label is the caller's job (``Discovered.withhold``).
        """

    def label_confidence(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> task -> (B, 1, H, W) in [0, 1], for tasks that have a confidence.

        What ``discover`` compares with its thresholds.
        """


@dataclass(frozen=True)
class OnlineTeacher:
    """A frozen teacher that labels the very views its student learns from; no part of the student.

    Args:
        method: In evaluation mode, on the student's device.
        thresholds: task -> confidence that a pseudo label must exceed.
    """

    method: Teacher
    thresholds: Mapping[str, float]

    def label(self, batch: Batch) -> Batch:
        """The batch with what the teacher finds in its images, without what has a label."""
        found = self.method.discover(batch.images, self.thresholds)
        return replace(batch, discovered=found.withhold(batch))


def ramp(progress: float, share: float) -> float:
    """Rises from 0 to 1 over the first ``share`` of training, linearly; 1 if there is no ramp."""
    return min(1.0, progress / share) if share else 1.0


def supervised_terms(
    tasks: TaskSet, predictions: dict[str, Tensor], batch: Batch, *, per_image_mean: bool = False
) -> Terms:
    """Learns each task from the images that are labeled for it [XTC, Eq. 1].

    Per-image losses are summed over the labeled images and divided by *all* B images, as in the
    authors' code: an image without the label counts as 0. Each task's mean is multiplied by its
    ``Task.weight``. Where the tasks ask for it (``TaskSet.rescale``), an image's losses are also
    multiplied by T / |T_n|, so that one with few labels counts as much as one with all of them.
    Works in any training loop.

    Args:
        tasks: The tasks.
        predictions: task -> (B, C, H, W), after ``Task.activate``, at the size of the labels.
        batch: The labels (``Batch.from_targets`` makes one of whatever there is).
        per_image_mean: Divide each image's losses by how many labels it has, as [XTC, Eq. 1] is
            printed.

    Returns:
        task -> scalar; exactly 0, with zero gradient, for a task that no image is labeled for.

    Raises:
        ValueError: If a prediction's shape is not that of its labels.
    """
    labels = sum(batch.labeled[n].float() for n in tasks.names).clamp(min=1)  # |T_n|, (B,)
    terms = {}
    for t in tasks:
        loss = t.loss(predictions[t.name], batch.targets[t.name], batch.mask(t.name))
        loss = loss / labels if per_image_mean or tasks.rescale else loss
        loss = loss * len(tasks) if tasks.rescale else loss
        terms[t.name] = t.weight * loss.mean()  # Eq. (1)
    return terms


def require_discoveries(batch: Batch) -> Discovered:
    """Returns what the teacher found for this batch; ValueError if there is no teacher."""
    if batch.discovered is None:
        raise ValueError(
            "pseudo supervision: expected a batch with a teacher's discoveries, got none; "
            "give the experiment a teacher"
        )
    return batch.discovered
