"""Hierarchical task tokens [HiTTs].

Jingdong Zhang, Hanrong Ye, Xin Li, Wenping Wang, Dan Xu. Multi-Task Label Discovery via
Hierarchical Task Tokens for Partially Annotated Dense Predictions.

Symbols of the paper, used as names here: ``theta`` global task token, ``phi`` fine-grained task
tokens, ``F_s`` shared feature, ``F_i`` task feature, ``G_i`` fine-grained task feature, ``o``
orthogonal embedding, ``A`` inter-task affinity, a prime for "after interaction". What the paper
leaves open is decided once, in ``CHOICES``.

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
from mtpsl.methods.quantize import DEPTH_BINS, NORMAL_CENTERS, build_quantizer, mixture_loss
from mtpsl.models.attention import SelfAttention
from mtpsl.tasks import Task, TaskSet

CHOICES: dict[str, str] = {
    "F_s": "the decoder's output, 64 channels at full resolution (Table 8 excludes the bottleneck)",
    "grid of F_i": "1/8 of the image by average pooling; attention over every pixel is impossible",
    "query of F_s": "a gate sigmoid(W_q theta . W_k F_s / sqrt(C)) on a linear value of F_s",
    "token init": "normal with standard deviation 1/sqrt(C), so that logits of Eq. 1 start small",
    "Eq. 1": "as printed: no 1/sqrt(C)",
    "self-attention": "pre-norm, residual, 16 channels a head, no position code, no feed-forward",
    "H x W": "F'_i, upsampled, is added to a 3x3 convolution of F_s; a second 3x3 gives U_i",
    "Eq. 3": "o is the identity, W^o absorbs other bases; it starts orthogonal with unit entries",
    "MLP_i": "two linear layers of width C with a GELU; of theta'_i, as in Eq. 3",
    "Eq. 4": "phi_i x U_i with C channels, because phi_i x G_i is not defined",
    "M^f": "of theta'_i and F'_i after intra-task learning, divided by sqrt(C)",
    "pseudo label": "argmax bin; its center is the target of L_reg, re-binned after augmentation",
    "M^f in L_f": "the frozen teacher's, saved with its features and warped like them",
    "L_mse": "mean over channels and positions of the 1/8 grid",
    "batch": "per-image losses, summed over labeled images, divided by the batch size",
    "loss weights": "1 for every task and term",
}
"""What the paper leaves open -> what this file does."""

SAMPLED_PIXELS = 100_000  # labeled pixels a task that quantizers are fitted on


@dataclass(frozen=True)
class Trace:
    """Everything between the image and the prediction; dicts are keyed by task name."""

    affinity: Tensor  # (B, T, T): A, rows sum to 1
    global_tokens: dict[str, Tensor]  # (B, C): theta'; empty without global tokens
    task_features: dict[str, Tensor]  # (B, C, h, w): F', on the coarse grid
    feature_confidence: dict[str, Tensor]  # (B, 1, h, w) in [0, 1]: M^f; empty without tokens
    fine_tokens: dict[str, Tensor]  # (B, C_p, C): phi; empty without fine-grained tokens
    fine_features: dict[str, Tensor]  # (B, C_p, H, W): G
    scores: dict[str, Tensor]  # (B, C_p, H, W) > 0: Softplus(phi x U); empty without
    refined: dict[str, Tensor]  # (B, C_p, H, W): G', the class logits
    predictions: dict[str, Tensor]  # (B, D, H, W): Y^


@final
class HiTTs(Method):
    """Global and fine-grained task tokens on a single-scale backbone [HiTTs, Eq. 1 to 13].

    Args:
        tasks: The tasks, in the order of the affinity matrix.
        backbone: Returns ``Features`` whose decoder output is F_s; has ``channels``.
        pseudo_labels: Add L_p [Eq. 7]; needs a teacher.
        pseudo_features: Add L_f [Eq. 6]; needs a teacher.
        regression_weight: lambda_i of Eq. 13 for regression tasks.
        depth_bins: Logarithmic bins of a positive quantity.
        normal_centers: K-means centers of a direction.
        reduction: Side of an image pixel block that makes one position of F_i.
        orthogonal_embeddings: Eq. 3; otherwise phi_i is an MLP of theta'_i alone.
        inter_task: Eq. 1 and 2; otherwise A is the identity.
        intra_task: Self-attention over [theta'_i; F'_i]; otherwise both pass through.
        global_tokens: Otherwise there is no theta: no query, no affinities, phi from o alone.
        fine_tokens: Eq. 4's score masks; otherwise G'_i = Conv(G_i).

    Raises:
        ValueError: If the switches contradict each other.
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
        self.tasks, self.backbone = tasks, backbone
        self.pseudo_labels, self.pseudo_features = pseudo_labels, pseudo_features
        self.regression_weight, self.reduction = regression_weight, reduction
        self.inter_task = inter_task and global_tokens
        C, T = backbone.channels, len(tasks)
        self.quantizers = nn.ModuleDict(
            {t.name: build_quantizer(t, depth_bins, normal_centers) for t in tasks}
        )

        # global task tokens [Sec. 3.1]
        self.theta = nn.Parameter(torch.randn(T, C) / C**0.5) if global_tokens else None
        self.query = nn.Linear(C, C) if global_tokens else None  # W_q, shared by tasks
        self.key = nn.Linear(C, C) if global_tokens else None  # W_k
        self.value = per_task(tasks, lambda t: nn.Linear(C, C))
        self.Q = nn.Linear(C, C, bias=False) if self.inter_task else None  # of Eq. 1
        self.K = nn.Linear(C, C, bias=False) if self.inter_task else None
        self.attention = per_task(tasks, lambda t: SelfAttention(C)) if intra_task else None

        # fine-grained task tokens [Sec. 3.2]
        self.project = per_task(tasks, lambda t: FineProjection(C))
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
        shared = self.backbone(images).decoder  # F_s (B, C, H, W)
        theta, features = self.query_shared(shared)  # (B, T, C) or None, (B, T, n, C)
        theta, features, affinity = self.learn_inter_task(theta, features)
        theta, features = self.learn_intra_task(theta, features)

        h, w = shared.shape[2] // self.reduction, shared.shape[3] // self.reduction
        tokens, maps, phi, G, scores, refined = {}, {}, {}, {}, {}, {}
        for i, t in enumerate(self.tasks):
            maps[t.name] = features[:, i].transpose(1, 2).unflatten(2, (h, w))  # F'_i
            U = self.project[t.name](shared, maps[t.name])  # (B, C, H, W)
            G[t.name] = self.fine[t.name](U)  # (B, C_p, H, W)
            if theta is not None:
                tokens[t.name] = theta[:, i]
            if self.token_mlp is not None:
                phi[t.name] = self.derive_fine_tokens(t, tokens.get(t.name), len(images))
                scores[t.name] = score_mask(phi[t.name], U)
                refined[t.name] = self.refine[t.name](G[t.name] * scores[t.name])  # Eq. (4)
            else:
                refined[t.name] = self.refine[t.name](G[t.name])
        return Trace(
            affinity=affinity,
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
        pooled = F.avg_pool2d(shared, self.reduction).flatten(2).transpose(1, 2)  # (B, n, C)
        features = torch.stack([self.value[t.name](pooled) for t in self.tasks], dim=1)
        if self.theta is None:
            return None, features
        q = self.query(self.theta)  # (T, C)
        gate = (q @ self.key(pooled).transpose(1, 2) / q.shape[1] ** 0.5).sigmoid()  # (B, T, n)
        return self.theta.expand(len(shared), -1, -1), features * gate.unsqueeze(-1)

    def learn_inter_task(
        self, theta: Tensor | None, features: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Affine combinations across tasks [Eq. 1, 2]: adds the affinity A (B, T, T)."""
        B, T = features.shape[:2]
        if theta is None or not self.inter_task:
            return theta, features, torch.eye(T, device=features.device).expand(B, T, T)
        A = (self.Q(theta) @ self.K(theta).transpose(1, 2)).softmax(-1)  # Eq. (1)
        features = torch.einsum("bst,btnc->bsnc", A, features)  # Eq. (2)
        return A @ theta, features, A

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
                weight = torch.where(  # 1 where the task is labeled, M^f elsewhere
                    labeled.view(-1, 1, 1, 1), 1.0, found.confidence[t.name]
                )
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
            ValueError: If a task has no labeled pixel at all.
        """
        samples = {t.name: [] for t in self.tasks}
        batches = list(batches)
        for batch in batches:
            for t in self.tasks:
                mask = batch.mask(t.name)[:, 0]
                samples[t.name].append(batch.targets[t.name].movedim(1, -1)[mask])  # (N, D)
        for name, parts in samples.items():
            values = torch.cat(parts)
            if not len(values):
                raise ValueError(f"{name}: expected labeled pixels to fit bins on, got none")
            self.quantizers[name].fit(values[:: max(1, len(values) // SAMPLED_PIXELS)])


# ------------------------------------------------------------------- pieces


def per_task(tasks: TaskSet, build) -> nn.ModuleDict:
    """One module a task, by name."""
    return nn.ModuleDict({t.name: build(t) for t in tasks})


def mlp(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, out))


def orthogonal_embedding(bins: int, channels: int) -> nn.Linear:
    """W^o of Eq. 3, (C, C_p); its columns start orthogonal as far as C allows.

    Entries start at unit scale, as an MLP's inputs should: with unit columns its biases drown
    them, and the tokens of a task start nearly parallel.
    """
    linear = nn.Linear(bins, channels, bias=False)
    nn.init.orthogonal_(linear.weight, gain=channels**0.5)
    return linear


def score_mask(phi: Tensor, U: Tensor) -> Tensor:
    """Softplus(phi_i x U_i), the positive score of every class at every pixel [Eq. 4].

    Args:
        phi: (B, C_p, C).
        U: (B, C, H, W).

    Returns:
        (B, C_p, H, W), channels last in memory like the convolution's output it will mask.
    """
    pixels = U.movedim(1, -1).flatten(1, 2)  # (B, HW, C)
    return F.softplus((pixels @ phi.transpose(1, 2)).unflatten(1, U.shape[2:]).movedim(-1, 1))


def feature_confidence(theta: Tensor, features: Tensor) -> Tensor:
    """M^f = Sigmoid(theta'^T F') [Sec. 3.3]: (B, C), (B, C, h, w) -> (B, 1, h, w)."""
    C = features.shape[1]
    return (torch.einsum("bc,bchw->bhw", theta, features) / C**0.5).sigmoid().unsqueeze(1)


@final
class FineProjection(nn.Module):
    """F'_i on the coarse grid and F_s at full resolution -> U_i, C channels at full resolution.

    Table 8's FLOPs leave room for two 3x3 convolutions a task at full resolution and no more.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lift = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.project = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, shared: Tensor, features: Tensor) -> Tensor:
        coarse = F.interpolate(features, shared.shape[2:], mode="bilinear", align_corners=False)
        return self.project(F.relu(self.norm(self.lift(shared) + coarse), inplace=True))
