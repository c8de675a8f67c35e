"""Hierarchical task tokens, trained on partial labels in two stages [HiTTs].

Jingdong Zhang, Hanrong Ye, Xin Li, Wenping Wang, Dan Xu. Multi-Task Label Discovery via
Hierarchical Task Tokens for Partially Annotated Dense Predictions.

The network is ``tokens.TaskTokens``, the losses are in ``loss``. What the paper leaves open is
decided once, in ``CHOICES``.

Two stages: train with L_s, freeze, discover on the clean training images, then train again from
scratch with L_s + L_p + L_f. The second stage is the same class with ``pseudo_labels`` and
``pseudo_features``; its experiment names the first as its teacher.
"""

from collections.abc import Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor

from mtpsl.batch import Batch, Discovered
from mtpsl.methods.base import Method, Terms
from mtpsl.models import Backbone
from mtpsl.papers.hitts.loss import MixtureLoss, feature_terms
from mtpsl.papers.hitts.quantize import DEPTH_BINS, NORMAL_CENTERS, CentersFrom
from mtpsl.papers.hitts.tokens import TaskTokens, Trace, discover
from mtpsl.tasks import TaskSet

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
        # A backbone that says nothing has one scale, of the image's size.
        stride = getattr(backbone, "stride", 1)
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
