"""Cross-task consistency in joint pairwise spaces, as a loss for any training loop [XTC].

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893

Symbols of the paper: ``s`` the source, a task without label, ``t`` the target, a task with one,
``m`` the mapping network (``mapping``), ``f`` the backbone's feature, ``T_n`` and ``U_n`` the
labeled and unlabeled tasks of image n. Defaults follow the released code; ``CHOICES`` says where
that is not what the paper says, and which argument gives the paper's reading.
"""

from collections.abc import Sequence
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Terms, ramp
from mtpsl.models.backbone import to_size
from mtpsl.papers.xtc.links import Inputs, Link, embed_links, find_links
from mtpsl.papers.xtc.mapping import Form, MappingNet, Statistics, mapping_for_channels
from mtpsl.tasks import TaskSet

FILM_STEP = 30  # epochs [XTC, released code]

CHOICES: dict[str, str] = {
    "|T_n|, |U_n|": "no division, plain sums over tasks and pairs (code); per_image_mean=True "
    "divides as in Eq. 1 to 4",
    "A": "A[s, t] for the prediction and for the label (code); pair_of='input' gives the label "
    "A[t, s], so that A tells the input task (paper)",
    "R^D": "an embedding is a map, compared at each position of the bottleneck (code); "
    "distance='vector' compares whole maps as one vector (paper)",
    "weights": "2 for consistency on NYUD-v2, 1 on Cityscapes, half of it for R (code); the paper "
    "prints neither: weight=1, regularizer=1 is Eq. 4 as printed",
    "two views": "the second crop is cut from the first, both go through the network at once; "
    "labels teach the first and consistency the second (code); two_views=False uses one",
    "learning rate": "gamma and beta have their own, 10 times the network's on NYUD-v2 and a tenth "
    "on Cityscapes, and under schedule='step' it is halved every 30 epochs (code); film_step=None "
    "lets it follow the network's, as under every other schedule",
    "PASCAL-Context": "neither paper nor code has values for it: those of NYUD-v2; its mapping "
    "network is a ResNet-18 with gamma and beta behind every BatchNorm of a stage, shortcuts too",
    "BatchNorm of m": "over the images of a pass, one task and one pair; the code maps images one "
    "by one, which statistics='image' computes",
    "Gumbel noise": "one sample an image, task and step, whatever the batch order; the code draws "
    "again for every pair",
    "full labels": "an image with every label contributes all ordered pairs (code); one that "
    "cannot carry a task counts as withholding it",
    "empty labels": "a label without a single valid pixel is no target; the code maps zeros",
    "holes of labels": "0 in every channel; of normals the code's are 0.5, like the number zero",
}
"""What paper and released code leave open or see differently -> what is done here."""


@final
class CrossTaskLoss(nn.Module):
    """Ties the prediction of an unlabeled task to the label of a labeled one [XTC, Eq. 4].

    It works in any training loop: give it what the heads predict, the features they predict it
    from, and a partially labeled batch. Its weights are those of the mapping network, which the
    optimizer gets from ``param_groups``.

    Args:
        tasks: The tasks; every ordered pair of them has its own conditioning.
        feature_channels: D, the channels of the features.
        mapping: Which encoder to build as mapping network; or a built one, taken as it is.
        reduction: Image size / size of the features, which a mapping network built here shrinks
            its maps by: 4, 8, 16 or 32. Embeddings are resized where the features differ.
        condition: Without it, one mapping serves all pairs: "w/o cond" [Table 6].
        weight: Multiplies consistency and regularizer; 2 on NYUD-v2, 1 on Cityscapes.
        regularizer: Multiplies R besides; 0.5 in the released code, 1 in Eq. 4.
        regularize: Without it, nothing keeps the mapping from a constant: "w/o reg" [Table 6].
        film_lr: Learning rate of gamma and beta, as a multiple of the network's; 10 on NYUD-v2,
            0.1 on Cityscapes.
        film_step: Epochs between halvings of that rate under schedule "step"; None: the network's.
        ramp_up: Share of training over which ``weight`` grows linearly from 0; 0: at once.
        statistics: What the mapping network's BatchNorm averages over; see ``CHOICES``.
        pair_of: ``"pair"`` or ``"input"``: which entry of A the label's mapping reads.
        distance: ``"position"`` or ``"vector"``: what a cosine is taken of.
        per_image_mean: Divide by |U_n|.

    Raises:
        ValueError: If an option is unknown, or no mapping network has that reduction.
    """

    def __init__(
        self,
        tasks: TaskSet,
        feature_channels: int,
        *,
        mapping: Form | MappingNet = "resnet18",
        reduction: int = 32,
        condition: bool = True,
        weight: float = 2.0,
        regularizer: float = 0.5,
        regularize: bool = True,
        film_lr: float = 10.0,
        film_step: int | None = FILM_STEP,
        ramp_up: float = 0.0,
        statistics: Statistics = "pass",
        pair_of: Literal["pair", "input"] = "pair",
        distance: Literal["position", "vector"] = "position",
        per_image_mean: bool = False,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("statistics", statistics, ("pass", "image")),
            ("pair_of", pair_of, ("pair", "input")),
            ("distance", distance, ("position", "vector")),
        ):
            if value not in allowed:
                raise ValueError(f"{name}: expected one of {allowed}, got {value!r}")
        self.tasks, self.feature_channels = tasks, feature_channels
        if not isinstance(mapping, MappingNet):
            mapping = mapping_for_channels(
                tasks, feature_channels, form=mapping, reduction=reduction, condition=condition
            )
        self.mapping = mapping
        self.weight, self.regularizer, self.regularize = weight, regularizer, regularize
        self.film_lr, self.film_step = film_lr, film_step
        self.ramp_up, self.statistics = ramp_up, statistics
        self.pair_of, self.distance, self.per_image_mean = pair_of, distance, per_image_mean

    def forward(
        self,
        predictions: dict[str, Tensor],
        features: Tensor,
        batch: Batch,
        *,
        progress: float = 1.0,
    ) -> Terms:
        """Computes weighted loss terms, each a scalar; exactly 0 for a batch without pairs.

        Args:
            predictions: task -> (B, task.channels, H, W), as the task's loss takes them: logits
                of classes and of binary tasks, depth in its unit, directions of unit length.
                Maps of another size than the images' are resized.
            features: (B, D, h, w) of the same images, at any stride; no gradient reaches them.
            batch: Labels of the same images.
            progress: The share of training done, which ``ramp_up`` asks for.

        Returns:
            ``cross_task`` and, unless ``regularize`` is off, ``regularizer``.

        Raises:
            ValueError: If predictions, features or batch do not fit the tasks or one another.
        """
        self._require_fit(predictions, features, batch)
        consistency, regularizer = self.consistency(predictions, features, batch)
        weight = self.weight * ramp(progress, self.ramp_up)
        terms = {"cross_task": weight * consistency}
        if self.regularize:
            terms["regularizer"] = weight * self.regularizer * regularizer
        return terms

    def consistency(
        self, predictions: dict[str, Tensor], features: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Sums L_ct and R over pairs and images, without weights, divided by the batch size.

        Args:
            predictions: See ``forward``.
            features: See ``forward``.
            batch: See ``forward``.

        Returns:
            Two scalars; exactly 0 for a batch without pairs.
        """
        features = features.detach().float()
        links = find_links(self.tasks, batch, per_image_mean=self.per_image_mean)
        if not links:
            return features.new_zeros(()), features.new_zeros(())
        predictions = {t.name: to_size(predictions[t.name], batch.images) for t in self.tasks}
        consistency, regularizer = [], []
        embeddings = self.embed(links, Inputs(predictions, batch))
        for link, pair in zip(links, embeddings, strict=True):
            f = features[list(link.rows)]
            m_s, m_t = (to_size(m, f) for m in pair)
            tie = self.compare(m_s, m_t)  # (n,)
            anchor = self.compare(m_s, f) + self.compare(m_t, f)
            consistency.append(link.weigh(tie).sum())
            regularizer.append(link.weigh(anchor).sum())
        total = torch.stack(consistency).sum() / len(batch)  # L_ct of Eq. (4)
        return total, torch.stack(regularizer).sum() / len(batch)  # R of Eq. (4)

    def embed(self, links: Sequence[Link], inputs: Inputs) -> list[tuple[Tensor, Tensor]]:
        """m(y^_s) and m(y_t) of every link, each (n, D, ., .) float32, before they are resized."""
        swapped = self.pair_of == "input"
        return embed_links(self.mapping, links, inputs, self.statistics, swapped=swapped)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosine distance of two (n, D, h, w) -> (n,)."""
        if self.distance == "vector":
            return 1 - F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)
        return cosine_distance(a, b)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Groups the mapping network's parameters; gamma and beta have a rate of their own.

        Args:
            lr: The learning rate of the network beside it.
        """
        return film_groups(self, self.mapping, lr, self.film_lr, self.film_step)

    def _require_fit(self, predictions: dict[str, Tensor], features: Tensor, batch: Batch) -> None:
        names, B = self.tasks.names, len(batch)
        for what, maps in {"predictions": predictions, "batch": batch.targets}.items():
            if missing := [name for name in names if name not in maps]:
                raise ValueError(
                    f"{what}: expected the tasks {list(names)}, got {list(maps)}; "
                    f"add {missing}, or build the loss for fewer tasks"
                )
        for t in self.tasks:
            shape = tuple(predictions[t.name].shape)
            if len(shape) != 4 or shape[:2] != (B, t.channels):
                raise ValueError(
                    f"predictions[{t.name!r}]: expected ({B}, {t.channels}, H, W), got {shape}; "
                    "give what the task's loss takes"
                )
        shape = tuple(features.shape)
        if len(shape) != 4 or shape[:2] != (B, self.feature_channels):
            raise ValueError(
                f"features: expected ({B}, {self.feature_channels}, h, w), got {shape}; "
                "build the loss with the channels of your features"
            )


# ------------------------------------------------------------------- pieces


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine over channels, averaged over positions [XTC, Eq. 3]: (n, D, h, w) x 2 -> (n,)."""
    return (1 - F.cosine_similarity(a, b, dim=1)).mean(dim=(1, 2))


def film_groups(
    module: nn.Module,
    mapping: MappingNet,
    lr: float,
    multiple: float,
    step_size: int | None = FILM_STEP,
) -> list[dict[str, Any]]:
    """Groups a module's parameters: gamma and beta with their own rate, and everything else.

    Args:
        module: Whose parameters are listed.
        mapping: The mapping network in it.
        lr: Learning rate of everything else.
        multiple: What gamma and beta multiply it by.
        step_size: Epochs between halvings of their rate under schedule "step"; None: as the rest.
    """
    film = mapping.film_parameters()
    apart = {id(p) for p in film}
    rest = [p for p in module.parameters() if id(p) not in apart]
    groups = [{"params": rest, "lr": lr}]
    if film:
        own = {} if step_size is None else {"step_size": step_size}
        groups.append({"params": film, "lr": multiple * lr, **own})
    return groups
