"""Hierarchical task tokens, trained on partial labels in two stages [HiTTs].

Jingdong Zhang, Hanrong Ye, Xin Li, Wenping Wang, Dan Xu. Multi-Task Label Discovery via
Hierarchical Task Tokens for Partially Annotated Dense Predictions.

The network is ``tokens.TaskTokens``. The losses read logits or features and a ``Batch``, and fit
any training loop; all are sums over images divided by the batch size and by the number of tasks.
What the paper leaves open is decided once, in ``choices.CHOICES``.

Two stages: train with L_s, freeze, discover on the clean training images, then train again from
scratch with L_s + L_p + L_f. The second stage is the same class with ``pseudo_labels`` and
``pseudo_features``; its experiment names the first as its teacher.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, final

import torch
from torch import Tensor, nn

from mtpsl.batch import Batch, Discovered
from mtpsl.losses import l1_sum, per_image_mean
from mtpsl.methods.base import Method, Terms, require_discoveries
from mtpsl.models import Backbone
from mtpsl.papers.hitts.quantize import (
    DEPTH_BINS,
    NORMAL_CENTERS,
    Centers,
    CentersFrom,
    Quantizer,
    Quantizers,
    class_last,
)
from mtpsl.papers.hitts.scales import pick
from mtpsl.papers.hitts.tokens import Pseudo, TaskTokens, Trace, discover, label_confidence
from mtpsl.registry import look_up
from mtpsl.tasks import Task, TaskSet

# ------------------------------------------------------------------- losses


@final
class MixtureLoss(nn.Module):
    """Classification and regression of quantized tasks [HiTTs, Eq. 5, 7, 11 to 13].

    Calling it gives L_s, from labels; ``pseudo`` gives L_p, from what a teacher found.

    Args:
        tasks: The tasks; ``Task.weight`` multiplies the protocol's own loss of a task.
        quantizers: Their bins and centers, fitted (``TaskTokens.quantizers``).
        regression_weight: lambda_i of Eq. 13 for regression tasks.
        mixture: ``"printed"`` as in Eq. 13; ``"released"`` puts lambda on L_cls instead, and the
            task's weight on both.
        pseudo: ``"soft"`` where the teacher's labels are (``discover``).
        normals_loss: ``"task"`` for the task's own L_reg of directions; ``"l1"`` for the sum of
            absolute differences of their components.

    Raises:
        ValueError: If one of them is unknown.
    """

    def __init__(
        self,
        tasks: TaskSet,
        quantizers: Quantizers,
        regression_weight: float = 0.1,
        *,
        mixture: Literal["printed", "released"] = "printed",
        pseudo: Pseudo = "argmax",
        normals_loss: Literal["task", "l1"] = "task",
    ) -> None:
        super().__init__()
        self.tasks, self.quantizers = tasks, quantizers
        self.regression_weight = regression_weight
        self.released = look_up("mixture", mixture, {"printed": False, "released": True})
        self.soft = look_up("pseudo", pseudo, {"argmax": False, "soft": True})
        if look_up("normals_loss", normals_loss, {"task": False, "l1": True}):
            self.tasks = TaskSet(
                tuple(replace(t, loss=l1_sum) if t.kind == "direction" else t for t in tasks)
            )

    def forward(self, logits: dict[str, Tensor], batch: Batch) -> Terms:
        """L_s, where an image has the task's label [HiTTs, Eq. 5].

        Args:
            logits: task -> (B, C_p, H, W), G' (``Trace.refined``); or those of the labeled images
                alone, in their order.
            batch: Its labels.

        Returns:
            task -> scalar; exactly 0 for a task that no image is labeled for.
        """
        return {
            t.name: self.mixture(t, logits[t.name], batch, batch.labeled[t.name]).sum()  # alpha_i
            for t in self.tasks
        }

    def pseudo(self, logits: dict[str, Tensor], batch: Batch) -> Terms:
        """L_p, where an image lacks the task's label and a teacher found one [HiTTs, Eq. 7].

        Arguments are those of ``forward``; the result is ``"<task>_pseudo"`` -> scalar. An image's
        loss is a mean over all of its pixels: those that M^p rejects are 0.

        Raises:
            ValueError: If the batch carries no discoveries, or no soft ones where they should be.
        """
        found, terms = require_discoveries(batch), {}
        for t in self.tasks:
            rows = ~batch.labeled[t.name]
            if self.soft and isinstance(self.quantizers[t.name], Centers):
                loss = self.soft_loss(t, logits[t.name], found, rows)
            else:
                accepted = found.valid[t.name][rows].float().mean((1, 2, 3))  # M^p
                loss = accepted * self.mixture(t, logits[t.name], found, rows)
            terms[f"{t.name}_pseudo"] = loss.sum()  # Eq. (7)
        return terms

    def mixture(
        self, task: Task, logits: Tensor, labels: Batch | Discovered, rows: Tensor
    ) -> Tensor:
        """1/(BT) of L_i [Eq. 13] for each of the images where ``rows`` (B,) is set."""
        losses = mixture_loss(
            task,
            self.quantizers[task.name],
            self.logits_of(logits, rows),
            labels.targets[task.name][rows],
            labels.valid[task.name][rows],
            self.regression_weight,
            released=self.released,
        )
        return losses / (len(rows) * len(self.tasks))

    @staticmethod
    def logits_of(logits: Tensor, rows: Tensor) -> Tensor:
        """The logits of the images in ``rows`` (B,), float32; they may be all that there are."""
        return (logits if len(logits) == rows.sum() else pick(logits, rows)).float()

    def soft_loss(self, task: Task, logits: Tensor, found: Discovered, rows: Tensor) -> Tensor:
        """1/(BT) of a regression's L1 to a soft label, a pixel counting as much as it is sure."""
        if task.name not in found.weights:
            raise ValueError(
                f"{task.name}: expected soft pseudo labels with weights, got none; let the teacher "
                "discover with pseudo='soft', too"
            )
        valid = found.valid[task.name][rows]
        prediction = self.quantizers[task.name].decode(self.logits_of(logits, rows))
        target = found.targets[task.name][rows].masked_fill(~valid, 0.0)
        error = (prediction - target).abs().mean(1, keepdim=True)
        losses = (error * found.weights[task.name][rows] * valid).mean((1, 2, 3))
        return task.weight * losses / (len(rows) * len(self.tasks))


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
    *,
    released: bool = False,
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
        released: L_reg + lambda L_cls instead, both times ``task.weight``.

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
    regression = task.weight * task.loss(prediction, target, mask)  # Eq. (11)
    if released:
        return regression + regression_weight * task.weight * loss
    return regression_weight * regression + loss  # Eq. (13)


# ------------------------------------------------------------------- method


@final
class HiTTs(Method, TaskTokens):
    """Task tokens with a backbone of their own, learning in two stages [HiTTs, Eq. 1 to 18].

    Args:
        tasks: The tasks, in the order of the affinity matrix.
        backbone: Returns ``Features`` whose decoder output is F_s; has ``channels``. One whose
            ``stride`` is above 1 also makes the heads, by ``build_head``, ``head_channels`` wide.
        pseudo_labels: Add L_p [Eq. 7]; needs a teacher.
        pseudo_features: Add L_f [Eq. 6]; needs a teacher.
        teacher: ``"offline"`` labels clean images before training; ``"online"`` the views.
        pseudo: What this network discovers as a teacher, and expects as a student; see
            ``discover``.
        temperature: As in ``discover``.
        regression_weight: As in ``MixtureLoss``, like ``mixture`` and ``normals_loss``.
        multi_scale: Eq. 14 to 18 on the stages of the backbone; None: if it has stages.
        depth_bins: As in ``build_quantizer``, like ``depth_range``, ``normal_centers`` and
            ``normal_centers_from``.
        fusion_stride: As in ``TaskTokens``, like all that follow.

    Raises:
        ValueError: If the switches contradict each other or the backbone, or one is unknown.
    """

    def __init__(
        self,
        tasks: TaskSet,
        backbone: Backbone,
        *,
        pseudo_labels: bool = False,
        pseudo_features: bool = False,
        teacher: Literal["offline", "online"] = "offline",
        pseudo: Pseudo = "argmax",
        temperature: float = 5.0,
        regression_weight: float = 0.1,
        mixture: Literal["printed", "released"] = "printed",
        normals_loss: Literal["task", "l1"] = "task",
        multi_scale: bool | None = None,
        depth_bins: int = DEPTH_BINS,
        depth_range: Sequence[float] | None = None,
        normal_centers: int = NORMAL_CENTERS,
        normal_centers_from: CentersFrom = "kmeans",
        fusion_stride: int | None = None,
        reduction: int = 8,
        orthogonal_embeddings: bool = True,
        inter_task: bool = True,
        intra_task: bool = True,
        global_tokens: bool = True,
        fine_tokens: bool = True,
    ) -> None:
        stride = getattr(backbone, "stride", 1)  # by default one scale, of the image's size
        stage_channels = getattr(backbone, "stage_channels", ())
        if pseudo_features and not global_tokens:
            raise ValueError(
                "global_tokens: expected True with pseudo_features, got False; "
                "M^f would have no source"
            )
        if multi_scale and not stage_channels:
            raise ValueError(
                "multi_scale: expected False on a backbone with one scale, got True; use a ResNet"
            )
        super().__init__(
            tasks,
            backbone.channels,
            stride=stride,
            stage_channels=() if multi_scale is False else stage_channels,
            fusion_stride=fusion_stride,
            build_head=backbone.build_head if stride > 1 else None,
            head_channels=getattr(backbone, "head_channels", None),
            reduction=reduction,
            depth_bins=depth_bins,
            depth_range=depth_range,
            normal_centers=normal_centers,
            normal_centers_from=normal_centers_from,
            orthogonal_embeddings=orthogonal_embeddings,
            inter_task=inter_task,
            intra_task=intra_task,
            global_tokens=global_tokens,
            fine_tokens=fine_tokens,
        )
        self.backbone = backbone
        self.pseudo_labels, self.pseudo_features = pseudo_labels, pseudo_features
        self.online = look_up("teacher", teacher, {"offline": False, "online": True})
        self.discovers = {"pseudo": pseudo, "temperature": temperature}
        self.mixes = {"regression_weight": regression_weight, "mixture": mixture}
        self.mixes |= {"pseudo": pseudo, "normals_loss": normals_loss}
        _ = self.mixture_loss  # refuses what is unknown

    @property
    def mixture_loss(self) -> MixtureLoss:
        """L_s and L_p; no submodule, which would store the quantizers a second time."""
        return MixtureLoss(self.tasks, self.quantizers, **self.mixes)

    def trace(
        self, images: Tensor, *, decode: bool = True, only: Mapping[str, Tensor] | None = None
    ) -> Trace:
        """(B, 3, H, W) images -> every quantity of the paper's Figures 2 to 4.

        ``predictions`` is empty without ``decode``: the losses read the logits. ``only`` is that
        of ``TaskTokens``.
        """
        seen = self.backbone(images)
        return self(seen.decoder, images.shape[2:], seen.stages, decode=decode, only=only)

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        if self.teacher and batch.discovered is None:
            batch = self.teacher.label(batch)
        only = None if self.pseudo_labels else batch.labeled  # whose logits a loss reads
        trace = self.trace(batch.images, decode=False, only=only)
        mixture_loss = self.mixture_loss
        terms = mixture_loss(trace.refined, batch)  # Eq. (5)
        if self.pseudo_labels:
            terms |= mixture_loss.pseudo(trace.refined, batch)  # Eq. (7)
        if self.pseudo_features:
            terms |= feature_terms(self.tasks, trace.task_features, batch)  # Eq. (6)
        return terms  # their sum is Eq. (8)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.trace(images).predictions

    @torch.no_grad()
    def discover(self, images: Tensor, thresholds: Mapping[str, float]) -> Discovered:
        """Argmax bins of G' where Max(Softmax(G')) > tau, F' and M^f [Sec. 3.3]."""
        trace = self.trace(images, decode=False)
        return discover(trace, self.quantizers, thresholds, **self.discovers)

    @torch.no_grad()
    def label_confidence(self, images: Tensor) -> dict[str, Tensor]:
        """Max(Softmax(G')), which M^p compares with tau [Sec. 3.3]."""
        return label_confidence(self.trace(images, decode=False), self.quantizers, **self.discovers)

    def prepare(self, batches: Iterable[Batch]) -> None:
        self.quantizers.fit(batches)
