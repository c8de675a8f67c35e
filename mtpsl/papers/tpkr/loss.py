"""Task prototypes: a slot of knowledge a task, and the losses that fill it [TPKR, Eq. 3 to 7].

Youngmin Oh, Hyung-Il Kim, Jung Uk Kim. Task Prototype-Based Knowledge Retrieval for Multi-Task
Learning from Partially Annotated Data. AAAI 2026. arXiv:2601.07474

``TaskPrototypes`` works in any training loop: give it one map of features a task, and a partially
labeled batch. Symbols of the paper: V are the slots, S the similarities, A the affinities, and
x^_i^t the features of image i and task t, of which x~^t is the mean over images.

Printed Eq. 5 teaches that the features of a task are *less* like their own mean than like other
tasks'; the text says the opposite, which is what happens here unless ``tc_sign="printed"``.
"""

from collections.abc import Mapping
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Terms
from mtpsl.papers.tpkr.codebook import in_float32, require_one_of
from mtpsl.tasks import TaskSet

Sign = Literal["text", "printed", "none"]
Images = Literal["labeled", "all"]
Compare = Literal["position", "map"]
Reduction = Literal["mean", "sum"]

DIMENSION = 1024  # d [TPKR, Table 4]
EPSILON = 1e-6  # added to lengths


@final
class TaskPrototypes(nn.Module):
    """Says how much every position of a task's features has to do with each of the tasks.

    Args:
        tasks: The tasks; slot t belongs to the t-th.
        dimension: d, of the features and of a slot.
        weight: Multiplies both terms, lambda_2 of [TPKR, Eq. 10].
        temperature: Divides the similarities in the softmax. At 1, as printed, the affinity of T
            tasks with their own slots cannot exceed e / (e + (T - 1) exp(-1 / (T - 1))): 0.69 for
            three, 0.47 for five.
        tke_on: Whether L_tke is a mean over the labeled images of a task, or over all.
        tc_sign: L_tc as the text tells, as Eq. 5 is printed, or none.
        alpha: The margin of L_tc.
        anchors: Whether x~ is a mean over the labeled images of a task, or over all.
        stop_anchor: No gradient through x~.
        compare: In L_tc, cosines of positions, averaged; or of whole maps.
        reduction: ``"mean"`` over images, and over tasks or pairs of them; ``"sum"`` as printed.
        frozen: Slots stay at their random start.

    Raises:
        ValueError: If an option is unknown, or the temperature is not positive.
    """

    def __init__(
        self,
        tasks: TaskSet,
        dimension: int = DIMENSION,
        *,
        weight: float = 1.0,
        temperature: float = 1.0,
        tke_on: Images = "labeled",
        tc_sign: Sign = "text",
        alpha: float = 0.5,
        anchors: Images = "labeled",
        stop_anchor: bool = False,
        compare: Compare = "position",
        reduction: Reduction = "mean",
        frozen: bool = False,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("tke_on", tke_on, Images),
            ("tc_sign", tc_sign, Sign),
            ("anchors", anchors, Images),
            ("compare", compare, Compare),
            ("reduction", reduction, Reduction),
        ):
            require_one_of(name, value, choices)
        if not temperature > 0:
            raise ValueError(f"temperature: expected a positive number, got {temperature}")
        self.tasks, self.weight, self.temperature = tasks, weight, temperature
        self.tke_on, self.tc_sign, self.alpha = tke_on, tc_sign, alpha
        self.anchors, self.stop_anchor = anchors, stop_anchor
        self.compare, self.reduction = compare, reduction
        slots = torch.randn(len(tasks), dimension) * dimension**-0.5
        self.slots = nn.Parameter(slots, requires_grad=not frozen)  # V

    def similarity(self, features: Tensor) -> Tensor:
        """Cosines of features and slots, in float32 [TPKR, Eq. 3]: (..., d) -> (..., T)."""
        with in_float32(features):
            return normalize(features.float()) @ normalize(self.slots.float()).T

    def affinity(self, similarity: Tensor) -> Tensor:
        """Softmax over the slots [TPKR, Eq. 4]: (..., T), cosines -> shares that sum to 1."""
        return (similarity / self.temperature).softmax(dim=-1)

    def affinity_features(self, affinity: Tensor) -> Tensor:
        """f^ta, slots mixed by their affinity [TPKR, Eq. 7]: (..., T) -> (..., d)."""
        return affinity @ self.slots

    def forward(self, features: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Computes the losses of a batch; their sum is lambda_2 L_akg [TPKR, Eq. 6].

        Args:
            features: task -> f^^t, (B, n, d), a row per position.
            batch: Says which image has a label of which task. What the labels are is not read: the
                class that L_tke teaches is the task's own number.

        Returns:
            ``tke`` and, unless ``tc_sign`` is ``"none"``, ``tc``; each a scalar, and exactly 0
            where no image of the batch counts.
        """
        stacked = torch.stack([features[name] for name in self.tasks.names]).float()  # (T, B, n, d)
        labeled = torch.stack([batch.labeled[name] for name in self.tasks.names])  # (T, B)
        everything = torch.ones_like(labeled)
        with in_float32(stacked):
            counted = labeled if self.tke_on == "labeled" else everything
            terms = {"tke": self.weight * self.embedding_loss(self.similarity(stacked), counted)}
            if self.tc_sign != "none":
                counted = labeled if self.anchors == "labeled" else everything
                terms["tc"] = self.weight * self.consistency_loss(stacked, counted)
        return terms

    def embedding_loss(self, similarity: Tensor, counted: Tensor) -> Tensor:
        """L_tke: every task's features shall be near its own slot [TPKR, Eq. 4].

        Args:
            similarity: (T, B, n, T), of ``similarity``.
            counted: (T, B) bool, which images of which tasks it learns from.

        Returns:
            A scalar, at most log T at an even affinity.
        """
        logs = (similarity / self.temperature).log_softmax(dim=-1)
        own = logs.diagonal(dim1=0, dim2=3).mean(dim=1).T  # (T, B), of a task's own slot
        total = torch.where(counted, -own, 0.0).sum()  # Eq. (4)
        return total / counted.sum().clamp(min=1) if self.reduction == "mean" else total

    def consistency_loss(self, features: Tensor, counted: Tensor) -> Tensor:
        """L_tc: nearer to the task's mean over images than other tasks are [TPKR, Eq. 5].

        Args:
            features: x^, (T, B, n, d).
            counted: (T, B) bool, which images the means x~ are taken of. A task without any is
                left out.

        Returns:
            A scalar of at least 0.
        """
        T, B = counted.shape
        images = counted.sum(dim=1)
        anchor = (features * counted.view(T, B, 1, 1)).sum(dim=1) / images.clamp(min=1).view(
            -1, 1, 1
        )
        if self.stop_anchor:
            anchor = anchor.detach()
        if self.compare == "map":
            anchor, features = anchor.flatten(1).unsqueeze(1), features.flatten(2).unsqueeze(2)
        near = torch.einsum("tnd,sbnd->tsbn", normalize(anchor), normalize(features)).mean(dim=3)
        own, other = near.diagonal(dim1=0, dim2=1).T.unsqueeze(1), near  # (T, 1, B), (T, T, B)
        gap = other - own if self.tc_sign == "text" else own - other
        pairs = (images > 0).unsqueeze(1) & ~torch.eye(T, dtype=torch.bool, device=near.device)
        total = torch.where(pairs.unsqueeze(2), F.relu(gap + self.alpha), 0.0).sum()  # Eq. (5)
        return total / (pairs.sum() * B).clamp(min=1) if self.reduction == "mean" else total


def normalize(vectors: Tensor) -> Tensor:
    """(..., d) divided by their lengths; a zero vector stays zero, with a finite gradient."""
    return vectors / (vectors.square().sum(dim=-1, keepdim=True) + EPSILON**2).sqrt()
