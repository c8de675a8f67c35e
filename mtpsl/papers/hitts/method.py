"""Hierarchical task tokens [HiTTs].

Jingdong Zhang, Hanrong Ye, Xin Li, Wenping Wang, Dan Xu. Multi-Task Label Discovery via
Hierarchical Task Tokens for Partially Annotated Dense Predictions.

Symbols of the paper, used as names here: ``theta`` global task token, ``phi`` fine-grained task
tokens, ``F_s`` shared feature, ``F_i`` task feature, ``G_i`` fine-grained task feature, ``o``
orthogonal embedding, ``A`` inter-task affinity, a prime for "after interaction". What the paper
leaves open is decided once, in ``CHOICES``. A backbone with several scales has its global tokens
in ``methods.hitts_scales``.

Two stages: train with L_s, freeze, discover on the clean training images, then train again from
scratch with L_s + L_p + L_f. The second stage is the same class with ``pseudo_labels`` and
``pseudo_features``; its experiment names the first as its teacher.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch, Discovered
from mtpsl.methods.base import Method, Terms, require_discoveries
from mtpsl.models.attention import SelfAttention
from mtpsl.papers.hitts.layers import (
    FineProjection,
    HeadProjection,
    mlp,
    orthogonal_embedding,
    per_task,
    to_size,
)
from mtpsl.papers.hitts.quantize import (
    DEPTH_BINS,
    NORMAL_CENTERS,
    CentersFrom,
    build_quantizer,
    mixture_loss,
)
from mtpsl.papers.hitts.scales import MultiScaleTokens, affinity, combine, no_affinity, query_gate
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
"""What the paper leaves open -> what this file does."""

SAMPLED_PIXELS = 100_000  # labeled pixels a task, to twice as many, that quantizers are fitted on


@dataclass(frozen=True)
class Trace:
    """Everything between the image and the prediction; dicts are keyed by task name."""

    affinities: tuple[Tensor, ...]  # (B, T, T) each: A of every scale, rows sum to 1
    global_tokens: dict[str, Tensor]  # (B, C): theta'; empty without global tokens
    task_features: dict[str, Tensor]  # (B, C, h, w): F', on the coarse grid
    feature_confidence: dict[str, Tensor]  # (B, 1, h, w) in [0, 1]: M^f; empty without tokens
    fine_tokens: dict[str, Tensor]  # (B, C_p, C): phi; empty without fine-grained tokens
    fine_features: dict[str, Tensor]  # (B, C_p, H, W): G
    scores: dict[str, Tensor]  # (B, C_p, H, W) > 0: Softplus(phi x U); empty without
    refined: dict[str, Tensor]  # (B, C_p, H, W): G', the class logits
    predictions: dict[str, Tensor]  # (B, D, H, W): Y^

    @property
    def affinity(self) -> Tensor:
        """(B, T, T): A; the mean of them where there are several scales, so rows sum to 1."""
        return torch.stack(self.affinities).mean(0) if self.affinities[1:] else self.affinities[0]


@final
class HiTTs(Method):
    """Global and fine-grained task tokens [HiTTs, Eq. 1 to 18].

    Args:
        tasks: The tasks, in the order of the affinity matrix.
        backbone: Returns ``Features`` whose decoder output is F_s; has ``channels``. One whose
            ``stride`` is above 1 also makes the heads, by ``build_head``.
        pseudo_labels: Add L_p [Eq. 7]; needs a teacher.
        pseudo_features: Add L_f [Eq. 6]; needs a teacher.
        regression_weight: lambda_i of Eq. 13 for regression tasks.
        depth_bins: Logarithmic bins of a positive quantity; the paper has 100 on Cityscapes.
        normal_centers: Unit vectors of a direction; the paper has 40 on PASCAL-Context.
        normal_centers_from: ``"kmeans"``, or ``"uniform"`` as in the paper on PASCAL-Context.
        multi_scale: Eq. 14 to 18 on the stages of the backbone; None: if it has stages.
        reduction: Side of an image pixel block that makes one position of F_i.
        orthogonal_embeddings: Eq. 3; otherwise phi_i is an MLP of theta'_i alone.
        inter_task: Eq. 1 and 2; otherwise A is the identity.
        intra_task: Self-attention over [theta'_i; F'_i]; otherwise both pass through.
        global_tokens: Otherwise there is no theta: no query, no affinities, phi from o alone.
        fine_tokens: Eq. 4's score masks; otherwise G'_i = Conv(G_i).

    Raises:
        ValueError: If the switches contradict each other or the backbone.
    """

    def __init__(
        self,
        tasks: TaskSet,
        backbone: nn.Module,
        *,
        pseudo_labels: bool = False,
        pseudo_features: bool = False,
        regression_weight: float = 0.1,
        depth_bins: int = DEPTH_BINS,
        normal_centers: int = NORMAL_CENTERS,
        normal_centers_from: CentersFrom = "kmeans",
        multi_scale: bool | None = None,
        reduction: int = 8,
        orthogonal_embeddings: bool = True,
        inter_task: bool = True,
        intra_task: bool = True,
        global_tokens: bool = True,
        fine_tokens: bool = True,
    ) -> None:
        super().__init__()
        if not global_tokens and (pseudo_features or not orthogonal_embeddings):
            raise ValueError(
                "global_tokens: expected True with pseudo_features or without "
                "orthogonal_embeddings, got False; M^f and phi would have no source"
            )
        # A backbone that says nothing has one scale, of the image's size.
        stride = getattr(backbone, "stride", 1)
        stage_channels = getattr(backbone, "stage_channels", ())
        if multi_scale and not stage_channels:
            raise ValueError(
                "multi_scale: expected False on a backbone with one scale, got True; use a ResNet"
            )
        if reduction % stride:
            raise ValueError(
                f"reduction: expected a multiple of the backbone's {stride}, got {reduction}"
            )
        multi_scale = bool(stage_channels) if multi_scale is None else multi_scale
        self.tasks, self.backbone = tasks, backbone
        self.pseudo_labels, self.pseudo_features = pseudo_labels, pseudo_features
        self.regression_weight, self.reduction = regression_weight, reduction
        self.block = reduction // stride  # side of a block of F_s that makes one position of F_i
        self.inter_task = inter_task and global_tokens
        C, T = backbone.channels, len(tasks)
        self.quantizers = nn.ModuleDict(
            {
                t.name: build_quantizer(t, depth_bins, normal_centers, normal_centers_from)
                for t in tasks
            }
        )

        # global task tokens [Sec. 3.1]
        self.theta = nn.Parameter(torch.randn(T, C) / C**0.5) if global_tokens else None
        self.scales = self.query = self.key = self.value = self.Q = self.K = None
        if multi_scale:  # [App. A.2]
            self.scales = MultiScaleTokens(
                tasks, C, stage_channels, global_tokens=global_tokens, inter_task=self.inter_task
            )
        else:
            self.query = nn.Linear(C, C) if global_tokens else None  # W_q, shared by tasks
            self.key = nn.Linear(C, C) if global_tokens else None  # W_k
            self.value = per_task(tasks, lambda t: nn.Linear(C, C))
            self.Q = nn.Linear(C, C, bias=False) if self.inter_task else None  # of Eq. 1
            self.K = nn.Linear(C, C, bias=False) if self.inter_task else None
        self.attention = per_task(tasks, lambda t: SelfAttention(C)) if intra_task else None

        # fine-grained task tokens [Sec. 3.2]
        self.project = per_task(
            tasks,
            lambda t: FineProjection(C) if stride == 1 else HeadProjection(backbone.build_head(C)),
        )
        self.fine = per_task(tasks, lambda t: nn.Conv2d(C, self.bins(t), 1))
        self.embed = self.token_mlp = None
        if fine_tokens and orthogonal_embeddings:
            self.embed = per_task(tasks, lambda t: orthogonal_embedding(self.bins(t), C))
            self.token_mlp = per_task(tasks, lambda t: mlp(C, C))
        elif fine_tokens:
            self.token_mlp = per_task(tasks, lambda t: mlp(C, C * self.bins(t)))
        self.refine = per_task(tasks, lambda t: nn.Conv2d(self.bins(t), self.bins(t), 3, padding=1))

    def bins(self, task: Task) -> int:
        """C_p of a task."""
        return self.quantizers[task.name].bins

    # ---------------------------------------------------------------- forward

    def trace(self, images: Tensor, *, decode: bool = True) -> Trace:
        """(B, 3, H, W) images -> every quantity of the paper's Figures 2 to 4.

        ``predictions`` is empty without ``decode``: the losses read the logits.
        """
        seen = self.backbone(images)
        shared, size = seen.decoder, images.shape[2:]  # F_s (B, C, H, W), or smaller
        h, w = shared.shape[2] // self.block, shared.shape[3] // self.block
        if self.scales is None:
            theta, features = self.query_shared(shared)  # (B, T, C) or None, (B, T, n, C)
            theta, features, A = self.learn_inter_task(theta, features)
            affinities = (A,)
        else:
            theta, features, affinities = self.scales(self.theta, seen.stages, (h, w))
        theta, features = self.learn_intra_task(theta, features)

        tokens, maps, phi, G, scores, refined = {}, {}, {}, {}, {}, {}
        for i, t in enumerate(self.tasks):
            maps[t.name] = features[:, i].transpose(1, 2).unflatten(2, (h, w))  # F'_i
            U = self.project[t.name](shared, maps[t.name])  # (B, C, H, W), or smaller
            G[t.name] = to_size(self.fine[t.name](U), size)  # (B, C_p, H, W)
            if theta is not None:
                tokens[t.name] = theta[:, i]
            if self.token_mlp is not None:
                phi[t.name] = self.derive_fine_tokens(t, tokens.get(t.name), len(images))
                scores[t.name] = score_mask(phi[t.name], U, size)
                refined[t.name] = self.refine[t.name](G[t.name] * scores[t.name])  # Eq. (4)
            else:
                refined[t.name] = self.refine[t.name](G[t.name])
        return Trace(
            affinities=affinities,
            global_tokens=tokens,
            task_features=maps,
            feature_confidence={n: feature_confidence(tokens[n], maps[n]) for n in tokens},
            fine_tokens=phi,
            fine_features=G,
            scores=scores,
            refined=refined,
            predictions={
                n: self.quantizers[n].decode(logits.float())
                for n, logits in refined.items()
                if decode
            },
        )

    def query_shared(self, shared: Tensor) -> tuple[Tensor | None, Tensor]:
        """Each global token queries F_s for its task's feature [Sec. 3.1].

        Args:
            shared: (B, C, H, W), F_s.

        Returns:
            theta (B, T, C) or None, and F (B, T, n, C) with n = hw positions of the coarse grid.
        """
        pooled = F.avg_pool2d(shared, self.block).flatten(2).transpose(1, 2)  # (B, n, C)
        features = torch.stack([self.value[t.name](pooled) for t in self.tasks], dim=1)
        if self.theta is None:
            return None, features
        gate = query_gate(self.query(self.theta), self.key(pooled))  # (B, T, n)
        return self.theta.expand(len(shared), -1, -1), features * gate.unsqueeze(-1)

    def learn_inter_task(
        self, theta: Tensor | None, features: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Affine combinations across tasks [Eq. 1, 2]: adds the affinity A (B, T, T)."""
        if theta is None or not self.inter_task:
            return theta, features, no_affinity(features)
        A = affinity(self.Q(theta), self.K(theta))  # Eq. (1)
        theta, features = combine(A, theta, features)  # Eq. (2)
        return theta, features, A

    def learn_intra_task(
        self, theta: Tensor | None, features: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """Self-attention over [theta'_i; F'_i], n + 1 tokens, task by task [Sec. 3.1]."""
        if self.attention is None:
            return theta, features
        joint = features if theta is None else torch.cat([theta.unsqueeze(2), features], dim=2)
        joint = torch.stack(
            [self.attention[t.name](joint[:, i]) for i, t in enumerate(self.tasks)], dim=1
        )
        return (None, joint) if theta is None else (joint[:, :, 0], joint[:, :, 1:])

    def derive_fine_tokens(self, task: Task, theta: Tensor | None, batch: int) -> Tensor:
        """phi_i (B, C_p, C) from theta'_i (B, C) and the orthogonal embeddings [Eq. 3]."""
        if self.embed is None:
            return self.token_mlp[task.name](theta).unflatten(1, (self.bins(task), -1))
        embedded = self.embed[task.name].weight.T  # W^o x o, o the identity: (C_p, C)
        if theta is None:
            return self.token_mlp[task.name](embedded).expand(batch, -1, -1)
        return self.token_mlp[task.name](embedded + theta.unsqueeze(1))  # Eq. (3)

    # ----------------------------------------------------------------- losses

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        found = require_discoveries(batch) if self.pseudo_labels or self.pseudo_features else None
        trace = self.trace(batch.images, decode=False)
        terms = {}
        for t in self.tasks:
            logits, labeled = trace.refined[t.name], batch.labeled[t.name]  # alpha_i, an image
            terms[t.name] = self.mixture(t, logits, batch.targets, batch.valid, labeled)  # Eq. (5)
            if self.pseudo_labels:
                terms[f"{t.name}_pseudo"] = self.mixture(  # Eq. (7)
                    t, logits, found.targets, found.valid, ~labeled
                )
            if self.pseudo_features:
                confidence = found.confidence[t.name]  # M^f, 0 beyond the image alone
                inside = (confidence > 0).to(confidence.dtype)
                weight = torch.where(labeled.view(-1, 1, 1, 1), inside, confidence)
                distance = (trace.task_features[t.name] - found.features[t.name]).square()
                terms[f"{t.name}_feature"] = (weight * distance).mean() / len(self.tasks)  # Eq. (6)
        return terms  # their sum is Eq. (8)

    def mixture(
        self,
        task: Task,
        logits: Tensor,
        targets: dict[str, Tensor],
        valid: dict[str, Tensor],
        rows: Tensor,
    ) -> Tensor:
        """1/T of L_i [Eq. 13] on the images where ``rows`` (B,) is set, as a mean over all B."""
        losses = mixture_loss(
            task,
            self.quantizers[task.name],
            logits[rows].float(),
            targets[task.name][rows],
            valid[task.name][rows],
            self.regression_weight,
        )
        return losses.sum() / (len(rows) * len(self.tasks))

    # ------------------------------------------------- prediction, discovery

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.trace(images).predictions

    @torch.no_grad()
    def discover(self, images: Tensor, thresholds: Mapping[str, float]) -> Discovered:
        """Argmax bins of G' where Max(Softmax(G')) > tau, F' and M^f [Sec. 3.3]."""
        trace = self.trace(images, decode=False)
        targets, valid = {}, {}
        for t in self.tasks:
            confidence, ids = trace.refined[t.name].float().softmax(1).max(1, keepdim=True)
            targets[t.name] = self.quantizers[t.name].values(ids)  # Y~
            valid[t.name] = confidence > thresholds.get(t.name, 0.0)  # M^p
        return Discovered(targets, valid, trace.task_features, trace.feature_confidence)

    @torch.no_grad()
    def label_confidence(self, images: Tensor) -> dict[str, Tensor]:
        """Max(Softmax(G')), which M^p compares with tau [Sec. 3.3]."""
        refined = self.trace(images, decode=False).refined
        return {n: logits.float().softmax(1).amax(1, keepdim=True) for n, logits in refined.items()}

    @torch.no_grad()
    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fits the depth bins and the normal centers on labeled training pixels.

        Raises:
            ValueError: If a task that needs them has no labeled pixel, or fewer than centers.
        """
        samples = {n: [] for n, quantizer in self.quantizers.items() if quantizer.needs_labels}
        for batch in batches if samples else ():
            for name, parts in samples.items():
                mask = batch.mask(name)[:, 0]
                parts.append(batch.targets[name].movedim(1, -1)[mask])  # (N, D)
        for name, parts in samples.items():
            values = torch.cat(parts)
            if not len(values):
                raise ValueError(f"{name}: expected labeled pixels to fit bins on, got none")
            self.quantizers[name].fit(values[:: max(1, len(values) // SAMPLED_PIXELS)])


# ------------------------------------------------------------------- pieces


def score_mask(phi: Tensor, U: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Softplus(phi_i x U_i), the positive score of every class at every pixel [Eq. 4].

    Args:
        phi: (B, C_p, C).
        U: (B, C, H, W), or smaller.
        size: (H, W); None: that of U.

    Returns:
        (B, C_p, H, W), channels last in memory like the convolution's output it will mask.
    """
    pixels = U.movedim(1, -1).flatten(1, 2)  # (B, HW, C)
    answers = (pixels @ phi.transpose(1, 2)).unflatten(1, U.shape[2:]).movedim(-1, 1)
    return F.softplus(to_size(answers, size or U.shape[2:]))


def feature_confidence(theta: Tensor, features: Tensor) -> Tensor:
    """M^f = Sigmoid(theta'^T F') [Sec. 3.3]: (B, C), (B, C, h, w) -> (B, 1, h, w)."""
    C = features.shape[1]
    return (torch.einsum("bc,bchw->bhw", theta, features) / C**0.5).sigmoid().unsqueeze(1)
