"""Hierarchical task tokens, trained on partial labels in two stages [HiTTs].

Jingdong Zhang, Hanrong Ye, Xin Li, Wenping Wang, Dan Xu. Multi-Task Label Discovery via
Hierarchical Task Tokens for Partially Annotated Dense Predictions.

The network is ``tokens.TaskTokens``. The losses read logits or features and a ``Batch``, and fit
any training loop; all are sums over images divided by the batch size and by the number of tasks.
What the paper leaves open is decided once, in ``CHOICES``.

Two stages: train with L_s, freeze, discover on the clean training images, then train again from
scratch with L_s + L_p + L_f. The second stage is the same class with ``pseudo_labels`` and
``pseudo_features``; its experiment names the first as its teacher.
"""

from collections.abc import Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from mtpsl.batch import Batch, Discovered
from mtpsl.losses import per_image_mean
from mtpsl.methods.base import Method, Terms, require_discoveries
from mtpsl.models import Backbone
from mtpsl.papers.hitts.quantize import (
    DEPTH_BINS,
    NORMAL_CENTERS,
    CentersFrom,
    Quantizer,
    Quantizers,
    class_last,
)
from mtpsl.papers.hitts.tokens import TaskTokens, Trace, discover
from mtpsl.tasks import Task, TaskSet

CHOICES: dict[str, str] = {
    "F_s": "the decoder's output, 64 channels at full resolution (Table 8 excludes the bottleneck)",
    "F_s on ResNet-18": "the last stage's output, 512 channels at 1/8; its heads read the same",
    "grid of F_i": "1/8 of the image by average pooling; attention over every pixel is impossible",
    "query of F_s": "a gate sigmoid(W_q theta . W_k F_s / sqrt(C)) on a linear value of F_s",
    "token init": "normal with standard deviation 1/sqrt(C), so that logits of Eq. 1 start small",
    "Eq. 1": "as printed: no 1/sqrt(C)",
    "self-attention": "pre-norm, residual, 16 channels a head, no position code, no feed-forward",
    "H x W": "F'_i, upsampled, is added to a 3x3 convolution of F_s; a second 3x3 gives U_i",
    "ASPP": "the baseline's head, with C outputs, makes U_i of F_s + F'_i at 1/8; what Eq. 4 takes "
    "linearly of U_i is upsampled, which is the same as upsampling U_i",
    "Eq. 3": "o is the identity, W^o absorbs other bases; it starts orthogonal with unit entries",
    "MLP_i": "two linear layers of width C with a GELU; of theta'_i, as in Eq. 3",
    "Eq. 4": "phi_i x U_i with C channels, because phi_i x G_i is not defined",
    "M^f": "of theta'_i and F'_i after intra-task learning, divided by sqrt(C)",
    "pseudo label": "argmax bin; its center is the target of L_reg, re-binned after augmentation",
    "M^f in L_f": "the frozen teacher's, saved with its features and warped like them",
    "L_mse": "mean over channels and positions of the 1/8 grid; those beyond a turned image are 0",
    "M^p in L_p": "a mean over the accepted pixels of an image, as over the valid ones in L_s",
    "L_reg of normals": "1 - cosine; on PASCAL-Context the L1 of its protocol",
    "batch": "per-image losses, summed over labeled images, divided by the batch size",
    "loss weights": "1 for every task and term on NYUD-v2 and Cityscapes; on PASCAL-Context the "
    "protocol's multiply the losses they were chosen for, so not L_cls of normals, nor L_f",
    "saliency, edges": "two classes; L_cls is the task's balanced loss of their logits' difference",
    "uniform normals": "a golden-angle spiral over the whole sphere",
    "Eq. 14 to 18": "tokens of scale j have its C_j channels; all W start by keeping lengths",
    "one grid in Eq. 17": "that of F_i, 1/8: the finer first stage is averaged over its cells",
    "sum of Eq. 18": "over the four scales of Eq. 14 and 17; it is printed to 5",
}
"""What the paper leaves open -> what this folder does."""


# ------------------------------------------------------------------- losses


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

        Arguments are those of ``forward``; the result is ``"<task>_pseudo"`` -> scalar.

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


# ------------------------------------------------------------------- method


@final
class HiTTs(Method, TaskTokens):
    """Task tokens with a backbone of their own, learning in two stages [HiTTs, Eq. 1 to 18].

    Args:
        tasks: The tasks, in the order of the affinity matrix.
        backbone: Returns ``Features`` whose decoder output is F_s; has ``channels``. One whose
            ``stride`` is above 1 also makes the heads, by ``build_head``.
        pseudo_labels: Add L_p [Eq. 7]; needs a teacher.
        pseudo_features: Add L_f [Eq. 6]; needs a teacher.
        regression_weight: lambda_i of Eq. 13 for regression tasks.
        multi_scale: Eq. 14 to 18 on the stages of the backbone; None: if it has stages.
        depth_bins: As in ``TaskTokens``, like all that follow.

    Raises:
        ValueError: If the switches contradict each other or the backbone.
    """

    def __init__(
        self,
        tasks: TaskSet,
        backbone: Backbone,
        *,
        pseudo_labels: bool = False,
        pseudo_features: bool = False,
        regression_weight: float = 0.1,
        multi_scale: bool | None = None,
        depth_bins: int = DEPTH_BINS,
        normal_centers: int = NORMAL_CENTERS,
        normal_centers_from: CentersFrom = "kmeans",
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
            build_head=backbone.build_head if stride > 1 else None,
            reduction=reduction,
            depth_bins=depth_bins,
            normal_centers=normal_centers,
            normal_centers_from=normal_centers_from,
            orthogonal_embeddings=orthogonal_embeddings,
            inter_task=inter_task,
            intra_task=intra_task,
            global_tokens=global_tokens,
            fine_tokens=fine_tokens,
        )
        self.backbone, self.regression_weight = backbone, regression_weight
        self.pseudo_labels, self.pseudo_features = pseudo_labels, pseudo_features

    @property
    def mixture_loss(self) -> MixtureLoss:
        """L_s and L_p; no submodule, which would store the quantizers a second time."""
        return MixtureLoss(self.tasks, self.quantizers, self.regression_weight)

    def trace(self, images: Tensor, *, decode: bool = True) -> Trace:
        """(B, 3, H, W) images -> every quantity of the paper's Figures 2 to 4.

        ``predictions`` is empty without ``decode``: the losses read the logits.
        """
        seen = self.backbone(images)
        return self(seen.decoder, images.shape[2:], seen.stages, decode=decode)

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        trace = self.trace(batch.images, decode=False)
        terms = self.mixture_loss(trace.refined, batch)  # Eq. (5)
        if self.pseudo_labels:
            terms |= self.mixture_loss.pseudo(trace.refined, batch)  # Eq. (7)
        if self.pseudo_features:
            terms |= feature_terms(self.tasks, trace.task_features, batch)  # Eq. (6)
        return terms  # their sum is Eq. (8)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.trace(images).predictions

    @torch.no_grad()
    def discover(self, images: Tensor, thresholds: Mapping[str, float]) -> Discovered:
        """Argmax bins of G' where Max(Softmax(G')) > tau, F' and M^f [Sec. 3.3]."""
        return discover(self.trace(images, decode=False), self.quantizers, thresholds)

    @torch.no_grad()
    def label_confidence(self, images: Tensor) -> dict[str, Tensor]:
        """Max(Softmax(G')), which M^p compares with tau [Sec. 3.3]."""
        refined = self.trace(images, decode=False).refined
        return {n: logits.float().softmax(1).amax(1, keepdim=True) for n, logits in refined.items()}

    def prepare(self, batches: Iterable[Batch]) -> None:
        self.quantizers.fit(batches)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """One group: tokens, backbone, then the rest, as optimizers of stored runs have them."""
        first = ("theta", "backbone.")
        named = sorted(self.named_parameters(), key=lambda item: not item[0].startswith(first))
        return [{"params": [parameter for _, parameter in named], "lr": lr}]
