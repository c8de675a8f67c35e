"""What task tokens learn from: labels, discovered labels, discovered features [HiTTs, Eq. 5 to 13].

Each term reads logits or features and a ``Batch``, and fits any training loop. All of them are
sums over images divided by the batch size and by the number of tasks.
"""

from typing import final

import torch
from torch import Tensor, nn

from mtpsl.batch import Batch, Discovered
from mtpsl.losses import per_image_mean
from mtpsl.methods.base import Terms, require_discoveries
from mtpsl.papers.hitts.quantize import Quantizer, Quantizers, class_last
from mtpsl.tasks import Task, TaskSet


@final
class MixtureLoss(nn.Module):
    """Classification and regression of quantized tasks [HiTTs, Eq. 5, 7, 11 to 13].

    Calling it gives L_s, from labels; ``pseudo`` gives L_p, from what a teacher found.

    Args:
        tasks: The tasks; ``Task.weight`` multiplies the protocol's own loss of a task.
        quantizers: Their bins and centers, fitted (``TaskTokens.quantizers``).
        regression_weight: lambda_i of Eq. 13 for regression tasks.
    """

    def __init__(
        self, tasks: TaskSet, quantizers: Quantizers, regression_weight: float = 0.1
    ) -> None:
        super().__init__()
        self.tasks, self.quantizers = tasks, quantizers
        self.regression_weight = regression_weight

    def forward(self, logits: dict[str, Tensor], batch: Batch) -> Terms:
        """L_s, where an image has the task's label [HiTTs, Eq. 5].

        Args:
            logits: task -> (B, C_p, H, W), G' (``Trace.refined``).
            batch: Its labels.

        Returns:
            task -> scalar; exactly 0 for a task that no image is labeled for.
        """
        return {
            t.name: self.mixture(t, logits[t.name], batch, batch.labeled[t.name])  # alpha_i
            for t in self.tasks
        }

    def pseudo(self, logits: dict[str, Tensor], batch: Batch) -> Terms:
        """L_p, where an image lacks the task's label and a teacher found one [HiTTs, Eq. 7].

        Args:
            logits: As in ``forward``.
            batch: With ``discovered``.

        Returns:
            ``"<task>_pseudo"`` -> scalar.

        Raises:
            ValueError: If the batch carries no discoveries.
        """
        discovered = require_discoveries(batch)
        return {
            f"{t.name}_pseudo": self.mixture(t, logits[t.name], discovered, ~batch.labeled[t.name])
            for t in self.tasks
        }

    def mixture(
        self, task: Task, logits: Tensor, labels: Batch | Discovered, rows: Tensor
    ) -> Tensor:
        """1/T of L_i [Eq. 13] on the images where ``rows`` (B,) is set, as a mean over all B."""
        losses = mixture_loss(
            task,
            self.quantizers[task.name],
            logits[rows].float(),
            labels.targets[task.name][rows],
            labels.valid[task.name][rows],
            self.regression_weight,
        )
        return losses.sum() / (len(rows) * len(self.tasks))


def feature_terms(tasks: TaskSet, features: dict[str, Tensor], batch: Batch) -> Terms:
    """L_f: features like the teacher's, where it was sure or has a label [HiTTs, Eq. 6].

    A teacher's feature of a labeled task counts everywhere, that of an unlabeled one as much as
    its confidence M^f; places beyond the image, whose confidence is 0, never count.

    Args:
        tasks: The tasks.
        features: task -> (B, C, h, w), F' (``Trace.task_features``).
        batch: With ``discovered``, whose features have the same shape.

    Returns:
        ``"<task>_feature"`` -> scalar.

    Raises:
        ValueError: If the batch carries no discoveries.
    """
    discovered, terms = require_discoveries(batch), {}
    for t in tasks:
        confidence = discovered.confidence[t.name]  # M^f, 0 beyond the image alone
        inside = (confidence > 0).to(confidence.dtype)
        weight = torch.where(batch.labeled[t.name].view(-1, 1, 1, 1), inside, confidence)
        distance = (features[t.name] - discovered.features[t.name]).square()
        terms[f"{t.name}_feature"] = (weight * distance).mean() / len(tasks)  # Eq. (6)
    return terms


def mixture_loss(
    task: Task,
    quantizer: Quantizer,
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    regression_weight: float,
) -> Tensor:
    """lambda L_reg(Y^, Y) + L_cls(G', Y^oh), one number per image [HiTTs, Eq. 11 to 13].

    Eq. 12 names its argument G but uses G' on its right side; it is G' here. lambda is 0 for
    a task that is classification already, whose L_cls is its usual loss: balanced, if it is
    binary. ``task.weight``, which a protocol chose for the task's own loss, multiplies that loss:
    L_cls of such a task, L_reg of the others. Eq. 12's cross-entropy over bins is none of the
    protocol's, and counts like that of semantic segmentation.

    Under bfloat16 autocast the products with the centers are rounded like all others: of normals
    in rooms, 0.4 % of the pixels get a class next to the nearest, and predictions in training have
    lengths from 0.993 to 1.006. Float32, which is the papers', and evaluation are exact.

    Args:
        task: Gives L_reg (L1 or angle) or a binary task's L_cls through ``task.loss``.
        quantizer: The task's.
        logits: (B, C_p, H, W) float, G'.
        target: (B, D, H, W) float values, or (B, 1, H, W) int64 class ids.
        mask: (B, 1, H, W) bool, True where the pixel counts.
        regression_weight: lambda, 0.1 in the paper.

    Returns:
        (B,); exactly 0 for an image without usable pixels.
    """
    if task.kind == "binary":
        return task.weight * task.loss(quantizer.decode(logits), target, mask)
    ids = quantizer.encode(target).masked_fill(~mask, 0)
    log_probs = class_last(logits).log_softmax(-1)  # (B, H, W, C_p), shared by both losses
    surprise = -log_probs.gather(-1, class_last(ids))  # Eq. (12)
    loss = per_image_mean(surprise.movedim(-1, 1), mask)
    if task.kind == "classes":
        return task.weight * loss
    prediction = quantizer.expectation(log_probs.exp())
    share = regression_weight * task.weight
    return loss + share * task.loss(prediction, target, mask)  # Eq. (11), (13)
