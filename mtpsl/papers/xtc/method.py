"""Cross-task consistency in joint pairwise spaces [XTC].

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893

Symbols of the paper: ``s`` the source, a task without label, ``t`` the target, a task with one,
``m`` the mapping network (``models.mapping``), ``f`` the backbone's feature, ``T_n`` and ``U_n``
the labeled and unlabeled tasks of image n. Defaults follow the released code; ``CHOICES`` says
where that is not what the paper says, and which argument gives the paper's reading.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, ramp, supervised_terms
from mtpsl.models import MultiTaskNet
from mtpsl.papers.xtc.mapping import Pass, Statistics, build_mapping, label_input, prediction_input
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
    "Gumbel noise": "one sample an image, task and step, whatever the batch order; the code draws "
    "again for every pair",
    "full labels": "an image with every label contributes all ordered pairs (code); one that "
    "cannot carry a task counts as withholding it",
    "empty labels": "a label without a single valid pixel is no target; the code maps zeros",
    "holes of labels": "0 in every channel; of normals the code's are 0.5, like the number zero",
}
"""What paper and released code leave open or see differently -> what this file does."""


@dataclass(frozen=True)
class Link:
    """An ordered pair of tasks and the images of a batch that it is applied to."""

    source: Task  # without label; or any other task where all have labels
    target: Task  # with a label
    rows: tuple[int, ...]  # positions in the batch, at least one


def find_links(tasks: TaskSet, batch: Batch) -> list[Link]:
    """The pairs (s in U_n, t in T_n) of every image, gathered by pair [XTC, Eq. 3].

    An image with every label takes part in all ordered pairs. A target needs a usable pixel.
    """
    labeled = torch.stack([batch.labeled[n] for n in tasks.names])  # (K, B)
    usable = torch.stack([batch.mask(n).flatten(1).any(dim=1) for n in tasks.names])
    source = ~labeled | labeled.all(dim=0)
    source, usable = (dict(zip(tasks.names, m.tolist(), strict=True)) for m in (source, usable))
    links = []
    for s, t in tasks.pairs():
        both = zip(source[s.name], usable[t.name], strict=True)
        rows = tuple(row for row, (unlabeled, known) in enumerate(both) if unlabeled and known)
        if rows:
            links.append(Link(s, t, rows))
    return links


@final
class Inputs:
    """What the mapping network reads, made once for every task and choice of images.

    Rows are taken before anything else happens: what other images have in their place of a
    withheld label is never part of a computation.

    Args:
        predictions: task -> (B, C, H, W).
        batch: Its labels, and the images' numbers, which the Gumbel noise depends on.
    """

    def __init__(self, predictions: dict[str, Tensor], batch: Batch) -> None:
        self.predictions, self.batch = predictions, batch
        self.index = batch.index.tolist()
        self.seed = int(torch.randint(2**62, ()))
        self._made: dict[tuple[str, str, tuple[int, ...]], Tensor] = {}
        self._noise: dict[tuple[str, int], Tensor] = {}

    def prediction(self, task: Task, rows: tuple[int, ...]) -> Tensor:
        """(n, C, H, W) of ``prediction_input``; the same object whenever it is asked for again."""
        key = ("prediction", task.name, rows)
        if key not in self._made:
            maps = self.predictions[task.name][list(rows)]
            self._made[key] = prediction_input(task, maps, self.noise(task, rows))
        return self._made[key]

    def label(self, task: Task, rows: tuple[int, ...]) -> Tensor:
        """(n, C, H, W) of ``label_input``; the same object whenever it is asked for again."""
        key = ("label", task.name, rows)
        if key not in self._made:
            target = self.batch.targets[task.name][list(rows)]
            mask = self.batch.mask(task.name)[list(rows)]
            self._made[key] = label_input(task, target, mask)
        return self._made[key]

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


def two_views(
    net: MultiTaskNet, views: Sequence[Batch]
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Predictions of the first view, predictions and bottleneck of the last, from one forward.

    BatchNorm sees the images of both [XTC, released code]. One view is both.
    """
    output = net(torch.cat([view.images for view in views]))
    first, last = slice(len(views[0])), slice(-len(views[-1]), None)
    return (
        {name: maps[first] for name, maps in output.predictions.items()},
        {name: maps[last] for name, maps in output.predictions.items()},
        output.bottleneck[last],
    )


@final
class XTC(Method):
    """Ties the prediction of an unlabeled task to the label of a labeled one [XTC, Eq. 4].

    Args:
        tasks: The tasks.
        backbone: Returns ``Features`` with a bottleneck.
        weight: Of the consistency and its regularizer together; 2 on NYUD-v2, 1 on Cityscapes.
        regularizer: Of R inside that; 0.5 in the released code, 1 in Eq. 4.
        regularize: Without it, nothing keeps the mapping from a constant: "w/o reg" [Table 6].
        condition: Without it, one mapping serves all pairs: "w/o cond" [Table 6].
        film_lr: Learning rate of gamma and beta, as a multiple of the network's; 10 on NYUD-v2,
            0.1 on Cityscapes.
        film_step: Epochs between halvings of that rate under schedule "step"; None: the network's.
        ramp_up: Share of training over which ``weight`` grows linearly from 0; 0: at once.
        statistics: What the mapping network's BatchNorm averages over; see ``CHOICES``.
        pair_of: ``"pair"`` or ``"input"``: which entry of A the label's mapping reads.
        distance: ``"position"`` or ``"vector"``: what a cosine is taken of.
        per_image_mean: Divide by |T_n| and |U_n|.
        two_views: Ask for two crops of each image.
    """

    views = 2

    def __init__(
        self,
        tasks: TaskSet,
        backbone: nn.Module,
        *,
        weight: float = 2.0,
        regularizer: float = 0.5,
        regularize: bool = True,
        condition: bool = True,
        film_lr: float = 10.0,
        film_step: int | None = FILM_STEP,
        ramp_up: float = 0.0,
        statistics: Statistics = "pass",
        pair_of: Literal["pair", "input"] = "pair",
        distance: Literal["position", "vector"] = "position",
        per_image_mean: bool = False,
        two_views: bool = True,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("statistics", statistics, ("pass", "image")),
            ("pair_of", pair_of, ("pair", "input")),
            ("distance", distance, ("position", "vector")),
        ):
            if value not in allowed:
                raise ValueError(f"{name}: expected one of {allowed}, got {value!r}")
        self.tasks = tasks
        self.net = MultiTaskNet(backbone, tasks)
        self.mapping = build_mapping(tasks, backbone, condition=condition)
        self.weight, self.regularizer, self.regularize = weight, regularizer, regularize
        self.film_lr, self.film_step = film_lr, film_step
        self.ramp_up, self.statistics = ramp_up, statistics
        self.pair_of, self.distance, self.per_image_mean = pair_of, distance, per_image_mean
        self.views = 2 if two_views else 1

    def training_step(self, *views: Batch, progress: float) -> Terms:
        predictions, others, features = two_views(self.net, views)
        mean = self.per_image_mean
        terms = supervised_terms(self.tasks, predictions, views[0], per_image_mean=mean)
        consistency, regularizer = self.consistency(others, features, views[-1])
        weight = self.weight * ramp(progress, self.ramp_up)
        terms["cross_task"] = weight * consistency
        if self.regularize:
            terms["regularizer"] = weight * self.regularizer * regularizer
        return terms

    def consistency(
        self, predictions: dict[str, Tensor], features: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """L_ct and R, summed over the pairs and images of a batch, divided by its size.

        Args:
            predictions: task -> (B, C, H, W).
            features: (B, D, h, w), the bottleneck; no gradient reaches it.
            batch: Labels of the same view.

        Returns:
            Two scalars; exactly 0 for a batch without pairs.
        """
        features = features.detach().float()
        links = find_links(self.tasks, batch)
        if not links:
            return features.new_zeros(()), features.new_zeros(())
        weights = source_weights(links, len(batch)) if self.per_image_mean else None
        consistency, regularizer = [], []
        embeddings = self.embed(links, Inputs(predictions, batch))
        for link, (m_s, m_t) in zip(links, embeddings, strict=True):
            f = features[list(link.rows)]
            pair = self.compare(m_s, m_t)  # (n,)
            anchor = self.compare(m_s, f) + self.compare(m_t, f)
            consistency.append(weighted(pair, link.rows, weights).sum())
            regularizer.append(weighted(anchor, link.rows, weights).sum())
        total = torch.stack(consistency).sum() / len(batch)  # L_ct of Eq. (4)
        return total, torch.stack(regularizer).sum() / len(batch)  # R of Eq. (4)

    def embed(self, links: Sequence[Link], inputs: Inputs) -> list[tuple[Tensor, Tensor]]:
        """m(y^_s) and m(y_t) of every link, each (n, D, h, w) float32."""
        passes = []
        for link in links:
            s, t = link.source, link.target
            pair = (s.name, t.name)
            of_label = pair if self.pair_of == "pair" else pair[::-1]
            passes.append(Pass(s.name, pair, inputs.prediction(s, link.rows)))
            passes.append(Pass(t.name, of_label, inputs.label(t, link.rows)))
        maps = [m.float() for m in self.mapping(passes, self.statistics)]
        return list(zip(maps[::2], maps[1::2], strict=True))

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosine distance of two (n, D, h, w) -> (n,)."""
        if self.distance == "vector":
            return 1 - F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)
        return cosine_distance(a, b)

    def counted(self) -> list[nn.Module]:
        """A pass of training for each task that may have the only label [HiTTs, Table 8]."""
        return [TrainingPasses(self, target) for target in self.tasks.names]

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.net(images).predictions

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        film = self.mapping.film_parameters()
        return film_groups(self, film, lr, self.film_lr, self.film_step)


# ------------------------------------------------------------------- pieces


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine over channels, averaged over positions [XTC, Eq. 3]: (n, D, h, w) x 2 -> (n,)."""
    return (1 - F.cosine_similarity(a, b, dim=1)).mean(dim=(1, 2))


def source_weights(links: Sequence[Link], images: int) -> Tensor:
    """(B,) 1 / |U_n|; where every task has a label, 1 / K: the number of its sources."""
    sources = [set[str]() for _ in range(images)]
    for link in links:
        for row in link.rows:
            sources[row].add(link.source.name)
    return torch.tensor([1 / max(1, len(names)) for names in sources])


def weighted(losses: Tensor, rows: Sequence[int], weights: Tensor | None) -> Tensor:
    """(n,) losses of some images of a batch, times what ``source_weights`` (B,) says of them."""
    return losses if weights is None else losses * weights[list(rows)].to(losses)


def film_groups(
    method: nn.Module,
    film: Sequence[nn.Parameter],
    lr: float,
    multiple: float,
    step_size: int | None = FILM_STEP,
) -> list[dict[str, Any]]:
    """Optimizer groups: gamma and beta with their own learning rate, everything else."""
    apart = {id(p) for p in film}
    rest = [p for p in method.parameters() if id(p) not in apart]
    groups = [{"params": rest, "lr": lr}]
    if film:
        own = {} if step_size is None else {"step_size": step_size}
        groups.append({"params": list(film), "lr": multiple * lr, **own})
    return groups


@final
class TrainingPasses(nn.Module):
    """What one image costs while XTC trains on it, for ``models.cost.cost`` [HiTTs, Table 8].

    The network once and the mapping network twice a pair, as a loop over pairs would run it: two
    pairs and four passes for an image with one of three labels. A training step here needs less,
    because the label's first layers are shared by its pairs.

    Args:
        method: Left untouched.
        target: The task whose label the image has.
    """

    def __init__(self, method: XTC, target: str) -> None:
        super().__init__()
        self.tasks, self.net, self.mapping, self.target = (
            method.tasks, method.net, method.mapping, target,
        )  # fmt: skip

    def forward(self, images: Tensor) -> None:
        self.net(images)
        t = self.tasks[self.target]
        for s in self.tasks:
            if s is t:
                continue
            for task in (s, t):
                maps = images.new_zeros(len(images), task.channels, *images.shape[2:])
                self.mapping([Pass(task.name, (s.name, t.name), maps)])
