"""Cross-task consistency in joint pairwise spaces, as a loss for any training loop [XTC].

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893

Symbols of the paper: ``s`` the source, a task without label, ``t`` the target, a task with one,
``m`` the mapping network (``mapping``), ``f`` the backbone's feature, ``T_n`` and ``U_n`` the
labeled and unlabeled tasks of image n. Defaults follow the released code; ``CHOICES`` says where
that is not what the paper says, and which argument gives the paper's reading.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Terms, ramp
from mtpsl.models.backbone import to_size
from mtpsl.papers.xtc.mapping import (
    Form,
    MappingNet,
    Pass,
    Statistics,
    label_input,
    mapping_for_channels,
    prediction_input,
)
from mtpsl.tasks import Task, TaskSet

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
    "Gumbel noise": "one sample per image, task and step, whatever the batch order; the code draws "
    "again for every pair",
    "full labels": "an image with every label contributes all ordered pairs (code); one that "
    "cannot carry a task counts as withholding it",
    "empty labels": "a label without a single valid pixel is no target; the code maps zeros",
    "holes of labels": "0 in every channel; of normals the code's are 0.5, like the number zero",
}
"""What paper and released code leave open or see differently -> what is done here."""


# ------------------------------------- which predictions and labels a pair ties


@dataclass(frozen=True)
class Link:
    """An ordered pair of tasks and the images of a batch that it is applied to."""

    source: Task  # without label; or any other task where all have labels
    target: Task  # with a label
    rows: tuple[int, ...]  # positions in the batch, at least one
    shares: tuple[float, ...] | None = None  # by row, what a loss is multiplied by; None: 1

    def weigh(self, losses: Tensor) -> Tensor:
        """(n,) losses of its images, times their shares where it has any."""
        return losses if self.shares is None else losses * torch.tensor(self.shares).to(losses)


def find_links(tasks: TaskSet, batch: Batch, *, per_image_mean: bool = False) -> list[Link]:
    """Finds the pairs (s in U_n, t in T_n) of every image, gathered by pair [XTC, Eq. 3].

    An image with every label takes part in all ordered pairs. A target needs a usable pixel.
    ``per_image_mean``: see ``with_shares``.
    """
    labeled = torch.stack([batch.labeled[n] for n in tasks.names])  # (K, B)
    links = gather_links(tasks, ~labeled | labeled.all(dim=0), usable_labels(tasks, batch))
    return with_shares(links) if per_image_mean else links


def with_shares(links: Sequence[Link]) -> list[Link]:
    """The same links, divided by |U_n|: 1 / K where every task has a label and is a source."""
    sources = defaultdict(set)
    for link in links:
        for row in link.rows:
            sources[row].add(link.source.name)
    return [replace(x, shares=tuple(1 / len(sources[row]) for row in x.rows)) for x in links]


def usable_labels(tasks: TaskSet, batch: Batch) -> Tensor:
    """(K, B) bool: whether a task's label of an image has a single valid pixel."""
    return torch.stack([batch.mask(n).flatten(1).any(dim=1) for n in tasks.names])


def gather_links(tasks: TaskSet, sources: Tensor, targets: Tensor) -> list[Link]:
    """Gathers for every ordered pair the images where one is a source and the other a target.

    ``sources`` and ``targets`` are (K, B) bool, by task and image.
    """
    place, links = tasks.names.index, []
    for s, t in tasks.pairs():
        images = sources[place(s.name)] & targets[place(t.name)]
        if rows := tuple(images.nonzero().flatten().tolist()):
            links.append(Link(s, t, rows))
    return links


@final
class Inputs:
    """What the mapping network reads, made once for every task and choice of images.

    Rows are taken before anything else happens: what other images have in their place of a
    withheld label is never part of a computation. Gumbel noise depends on the images' numbers.
    """

    def __init__(self, predictions: dict[str, Tensor], batch: Batch) -> None:
        self.predictions, self.batch = predictions, batch
        self.index = batch.index.tolist()
        self.seed = int(torch.randint(2**62, ()))
        self._maps: dict[tuple[str, str, tuple[int, ...]], Tensor] = {}
        self._noise: dict[tuple[str, int], Tensor] = {}

    def prediction(self, task: Task, rows: tuple[int, ...]) -> Tensor:
        """(n, C, H, W) of ``prediction_input``; the same object whenever it is asked for again."""
        key = ("prediction", task.name, rows)
        if key not in self._maps:
            maps = self.predictions[task.name][list(rows)]
            self._maps[key] = prediction_input(task, maps, self.noise(task, rows))
        return self._maps[key]

    def label(self, task: Task, rows: tuple[int, ...]) -> Tensor:
        """(n, C, H, W) of ``label_input``; the same object whenever it is asked for again."""
        key = ("label", task.name, rows)
        if key not in self._maps:
            target = self.batch.targets[task.name][list(rows)]
            mask = self.batch.mask(task.name)[list(rows)]
            self._maps[key] = label_input(task, target, mask)
        return self._maps[key]

    def noise(self, task: Task, rows: tuple[int, ...]) -> Tensor | None:
        """Standard Gumbel noise for classes, a function of this step's seed, image and task."""
        if task.kind != "classes":
            return None
        like = self.predictions[task.name]
        for row in rows:
            if (task.name, row) not in self._noise:
                position = list(self.predictions).index(task.name)
                seed = hash((self.seed, self.index[row], position)) & (2**63 - 1)
                generator = torch.Generator(like.device).manual_seed(seed)
                waiting = torch.empty(like.shape[1:], device=like.device)
                waiting.exponential_(generator=generator).clamp_(min=1e-30)
                self._noise[task.name, row] = -waiting.log()
        return torch.stack([self._noise[task.name, row] for row in rows])


def embed_links(
    mapping: MappingNet,
    links: Sequence[Link],
    inputs: Inputs,
    statistics: Statistics = "pass",
    *,
    swapped: bool = False,
) -> list[tuple[Tensor, Tensor]]:
    """Maps the images of every link: m(y^_s) and m(y_t), each (n, D, h, w) float32.

    ``swapped`` conditions the label on A[t, s] in place of A[s, t].
    """
    passes = []
    for link in links:
        s, t = link.source, link.target
        pair = (s.name, t.name)
        passes.append(Pass(s.name, pair, inputs.prediction(s, link.rows)))
        label = inputs.label(t, link.rows)
        passes.append(Pass(t.name, pair[::-1] if swapped else pair, label))
    maps = [m.float() for m in mapping(passes, statistics)] if passes else []
    return list(zip(maps[::2], maps[1::2], strict=True))


# ------------------------------------------------------------------- the loss


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
        require_predictions(self.tasks, predictions, batch)
        shape = tuple(features.shape)
        if len(shape) != 4 or shape[:2] != (len(batch), self.feature_channels):
            raise ValueError(
                f"features: expected ({len(batch)}, {self.feature_channels}, h, w), got {shape}; "
                "build the loss with the channels of your features"
            )
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

        Arguments are those of ``forward``; both are exactly 0 for a batch without pairs.
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
        """Groups the parameters beside a network of rate ``lr``; gamma and beta have their own."""
        return film_groups(self, self.mapping, lr, self.film_lr, self.film_step)


# ------------------------------------------------------------------- pieces


def require_predictions(tasks: TaskSet, predictions: dict[str, Tensor], batch: Batch) -> None:
    """Raises ValueError unless there is a prediction and a label of each task for every image."""
    for what, maps in {"predictions": predictions, "batch": batch.targets}.items():
        if missing := [name for name in tasks.names if name not in maps]:
            raise ValueError(
                f"{what}: expected the tasks {list(tasks.names)}, got {list(maps)}; "
                f"add {missing}, or build the loss for fewer tasks"
            )
    for t in tasks:
        shape = tuple(predictions[t.name].shape)
        if len(shape) != 4 or shape[:2] != (len(batch), t.channels):
            raise ValueError(
                f"predictions[{t.name!r}]: expected ({len(batch)}, {t.channels}, H, W), "
                f"got {shape}; give what the task's loss takes"
            )


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
    """Groups a module's parameters: everything else at ``lr``, gamma and beta at a multiple.

    Args:
        module: Whose parameters are listed.
        mapping: The mapping network in it.
        lr: Learning rate of everything else.
        multiple: What gamma and beta multiply it by.
        step_size: Epochs between halvings of their rate under schedule "step"; None: as the rest.
    """
    film = mapping.film_parameters()
    apart = {id(p) for p in film}
    groups = [{"params": [p for p in module.parameters() if id(p) not in apart], "lr": lr}]
    if film:
        own = {} if step_size is None else {"step_size": step_size}
        groups.append({"params": film, "lr": multiple * lr, **own})
    return groups
