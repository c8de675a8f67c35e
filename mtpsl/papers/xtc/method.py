"""XTC, the method: one network with the cross-task consistency of ``loss`` [XTC].

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893
"""

from collections.abc import Sequence
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import MultiTaskNet
from mtpsl.papers.xtc.loss import FILM_STEP, CrossTaskLoss, film_groups
from mtpsl.papers.xtc.mapping import Pass, Statistics, build_mapping
from mtpsl.tasks import TaskSet


@final
class XTC(Method):
    """Learns from labels and from ``CrossTaskLoss``, each on a view of its own [XTC, Eq. 4].

    Args:
        tasks: The tasks.
        backbone: Returns ``Features`` with a bottleneck.
        weight: See ``CrossTaskLoss``, as for all that follow.
        per_image_mean: Divide by |T_n| too, where labels teach.
        two_views: Ask for two crops of each image.
    """

    views = 2
    loss: CrossTaskLoss

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
        self.tasks = tasks
        self.net = MultiTaskNet(backbone, tasks)
        self.mapping = build_mapping(tasks, backbone, condition=condition)
        loss = CrossTaskLoss(
            tasks,
            backbone.bottleneck_channels,
            mapping=self.mapping,
            weight=weight,
            regularizer=regularizer,
            regularize=regularize,
            film_lr=film_lr,
            film_step=film_step,
            ramp_up=ramp_up,
            statistics=statistics,
            pair_of=pair_of,
            distance=distance,
            per_image_mean=per_image_mean,
        )
        # Saved runs have its weights below "mapping"; a second registration would list them twice.
        self.__dict__["loss"] = loss
        self.views = 2 if two_views else 1

    def training_step(self, *views: Batch, progress: float) -> Terms:
        predictions, others, features = two_views(self.net, views)
        mean = self.loss.per_image_mean
        terms = supervised_terms(self.tasks, predictions, views[0], per_image_mean=mean)
        return terms | self.loss(others, features, views[-1], progress=progress)

    def counted(self) -> list[nn.Module]:
        """A pass of training for each task that may have the only label [HiTTs, Table 8]."""
        return [TrainingPasses(self, target) for target in self.tasks.names]

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return film_groups(self, self.mapping, lr, self.loss.film_lr, self.loss.film_step)


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
class TrainingPasses(nn.Module):
    """What an image with the label of ``target`` costs in training [HiTTs, Table 8].

    The network once and the mapping network twice a pair, as a loop over pairs would run it: two
    pairs and four passes for an image with one of three labels. A training step here needs less,
    because the label's first layers are shared by its pairs.
    """

    def __init__(self, method: XTC, target: str) -> None:
        super().__init__()
        self.tasks, self.target = method.tasks, target
        self.net, self.mapping = method.net, method.mapping

    def forward(self, images: Tensor) -> None:
        self.net(images)
        t = self.tasks[self.target]
        for s in self.tasks:
            for task in (s, t) if s is not t else ():
                maps = images.new_zeros(len(images), task.channels, *images.shape[2:])
                self.mapping([Pass(task.name, (s.name, t.name), maps)])
