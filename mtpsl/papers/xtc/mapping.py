"""The mapping network of cross-task consistency: task maps -> the joint space of a task pair.

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022. arXiv:2111.14893

One network serves every ordered pair of tasks. Only its first layer knows which task comes in,
and only a scale and a shift behind every BatchNorm (FiLM) know the pair. On one-hot pairs the
paper's auxiliary network is a table: ``gamma`` and ``beta`` have a row per pair.

Many small maps go through it in a step. A ``Pass`` holds those of one task and one pair; all
passes travel together, so that a large kernel is read, and gets its gradient, once a step and
not once a pass, and work before the first FiLM that passes have in common is done once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models.resnet import WIDTHS as RESNET_WIDTHS
from mtpsl.models.resnet import init_residual_weights
from mtpsl.models.segnet import CONVS as SEGNET_CONVS
from mtpsl.models.segnet import WIDTHS as SEGNET_WIDTHS
from mtpsl.models.segnet import SegNet, init_weights, scale_channels
from mtpsl.tasks import Task, TaskSet

Form = Literal["resnet18", "segnet"]
Statistics = Literal["pass", "image"]
PEAK = 1e-6  # a smaller largest depth divides like this one: its inverse must stay finite


@dataclass(frozen=True)
class Pass:
    """Maps of one task on their way into the joint space of one ordered pair."""

    task: str  # whose maps these are: the source or the target of the pair
    pair: tuple[str, str]  # whose gamma and beta apply
    maps: Tensor  # (n, task.channels, H, W), from ``prediction_input`` or ``label_input``


# -------------------------------------------------------------------- inputs


def prediction_input(task: Task, prediction: Tensor, gumbel: Tensor | None = None) -> Tensor:
    """A prediction as the mapping network reads it, with a gradient [XTC, released code].

    Args:
        task: Decides by its kind. Classes become a hard sample, one-hot, whose gradient is that
            of the soft one (straight-through); depth is divided by the image's largest value,
            directions move from [-1, 1] to [0, 1], and logits of binary tasks become
            probabilities.
        prediction: (n, task.channels, H, W), as the network predicts.
        gumbel: Like a prediction of classes, standard Gumbel noise; None takes the likeliest.

    Returns:
        (n, task.channels, H, W).
    """
    match task.kind:
        case "classes":
            soft = (prediction if gumbel is None else prediction + gumbel).softmax(dim=1)
            hard = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
            return hard - soft.detach() + soft
        case "positive":
            return by_its_peak(prediction)
        case "direction":
            return (prediction + 1) / 2
        case "binary":
            return prediction.sigmoid()


def label_input(task: Task, target: Tensor, mask: Tensor) -> Tensor:
    """A label as the mapping network reads it; zero, in every channel, where there is none.

    Args:
        task: See ``prediction_input``; classes become one-hot.
        target: (n, task.target_channels, H, W); whatever stands outside the mask is not read.
        mask: (n, 1, H, W) bool.

    Returns:
        (n, task.channels, H, W) float.
    """
    if task.kind == "classes":
        ids = torch.where(mask, target, 0)
        one_hot = mask.new_zeros(len(ids), task.channels, *ids.shape[2:], dtype=torch.float32)
        return one_hot.scatter_(1, ids, mask.float())
    target = torch.where(mask, target, 0.0)
    match task.kind:
        case "positive":
            return by_its_peak(target)
        case "direction":
            return torch.where(mask, (target + 1) / 2, 0.0)
        case "binary":
            return target


def by_its_peak(maps: Tensor) -> Tensor:
    """Each map divided by its largest value, as in the released code but for maps of zeros."""
    peak = maps.amax(dim=(1, 2, 3), keepdim=True)
    return maps / torch.where(peak.abs() < PEAK, PEAK, peak)


# ------------------------------------------------------------------- network


@final
class PairNorm(nn.BatchNorm2d):
    """BatchNorm, then the scale and shift of a task pair, in one step.

    ``gamma`` (1 at the start) and ``beta`` (0) have a row per pair; without pairs neither exists.
    """

    def __init__(self, channels: int, pairs: int = 0) -> None:
        super().__init__(channels)
        self.gamma = nn.Parameter(torch.ones(pairs, channels)) if pairs else None
        self.beta = nn.Parameter(torch.zeros(pairs, channels)) if pairs else None

    def forward(self, x: Tensor, pair: int, statistics: Statistics = "pass") -> Tensor:
        """(n, C, h, w) -> (n, C, h, w), normalized over all n images or each by its own values."""
        weight, bias = self.weight, self.bias
        if self.gamma is not None:
            gamma, beta = self.gamma[pair], self.beta[pair]
            weight, bias = gamma * weight, gamma * bias + beta  # the affine map of both at once
        mean, var = self.running_mean, self.running_var
        if statistics == "pass" or not self.training:
            return F.batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)
        # An image's channels are channels of one large image: the same kernel, n times as wide.
        n = len(x)
        each_mean, each_var = mean.repeat(n), var.repeat(n)
        wide = x.reshape(1, -1, *x.shape[2:])
        weight, bias = weight.repeat(n), bias.repeat(n)
        wide = F.batch_norm(wide, each_mean, each_var, weight, bias, True, self.momentum, self.eps)
        mean.copy_(each_mean.view(n, -1).mean(0))
        var.copy_(each_var.view(n, -1).mean(0))
        return wide.reshape(x.shape)


def convolve(conv: nn.Conv2d, xs: Sequence[Tensor]) -> list[Tensor]:
    """The same convolution of several stacks of maps; stacks that are one object, once.

    Where a kernel holds more numbers than a map, one more gradient of the kernel costs more than
    a copy of the maps, and they are put together first.
    """
    if len(xs) > 1 and conv.weight.numel() > xs[0][0].numel():
        return list(conv(torch.cat(list(xs))).split([len(x) for x in xs]))
    return once(conv, xs)


def once(function: Callable[[Tensor], Tensor], xs: Sequence[Tensor]) -> list[Tensor]:
    """``function`` of every tensor, called once for one object that occurs several times."""
    different = {id(x): x for x in xs}
    results = {key: function(x) for key, x in different.items()}
    return [results[id(x)] for x in xs]


Route = tuple[Sequence[int], Statistics]  # row of gamma and beta, by pass; what is averaged over


def normalized(conv: nn.Conv2d, norm: PairNorm, xs: Sequence[Tensor], route: Route) -> list[Tensor]:
    """A convolution of every stack, and its BatchNorm with the FiLM of the stack's pair."""
    pairs, statistics = route
    xs = convolve(conv, xs)
    return [norm(x, pair, statistics) for x, pair in zip(xs, pairs, strict=True)]


def rectify(xs: Sequence[Tensor]) -> list[Tensor]:
    return [F.relu(x, inplace=True) for x in xs]  # BatchNorm's gradient needs its input alone


@final
class PlainStage(nn.Module):
    """A stage of SegNet's encoder: Conv3x3, BatchNorm, FiLM, ReLU; several times; then pooling."""

    def __init__(
        self, channels_in: int, channels: int, convs: int, pairs: int, pool: bool = True
    ) -> None:
        super().__init__()
        self.pool = pool
        before = [channels_in, *[channels] * (convs - 1)]
        self.convs = nn.ModuleList(nn.Conv2d(c, channels, 3, padding=1) for c in before)
        self.norms = nn.ModuleList(PairNorm(channels, pairs) for _ in before)

    def forward(self, xs: Sequence[Tensor], route: Route) -> list[Tensor]:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            xs = rectify(normalized(conv, norm, xs, route))
        return [F.max_pool2d(x, kernel_size=2) for x in xs] if self.pool else list(xs)


@final
class ResidualStage(nn.Module):
    """Two basic residual blocks of ResNet-18 with FiLM behind every BatchNorm.

    ``stride`` is that of the first convolution, ``dilation`` that of the others; the first one's
    is half of it, as in the backbone.
    """

    def __init__(
        self, channels_in: int, channels: int, stride: int, dilation: int, pairs: int
    ) -> None:
        super().__init__()

        def conv(before: int, stride: int, rate: int) -> nn.Conv2d:
            return nn.Conv2d(before, channels, 3, stride, rate, rate, bias=False)

        first = conv(channels_in, stride, max(1, dilation // 2))
        self.convs = nn.ModuleList([first, *(conv(channels, 1, dilation) for _ in range(3))])
        self.norms = nn.ModuleList(PairNorm(channels, pairs) for _ in self.convs)
        self.shortcut = self.shortcut_norm = None
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut_norm = PairNorm(channels, pairs)

    def forward(self, xs: Sequence[Tensor], route: Route) -> list[Tensor]:
        for block in (0, 2):
            kept = xs
            if block == 0 and self.shortcut is not None:
                kept = normalized(self.shortcut, self.shortcut_norm, xs, route)
            xs = rectify(normalized(self.convs[block], self.norms[block], xs, route))
            xs = normalized(self.convs[block + 1], self.norms[block + 1], xs, route)
            xs = rectify([x + k for x, k in zip(xs, kept, strict=True)])
        return xs


@final
class InputLayer(nn.Module):
    """The layer that only maps of one task pass: a convolution, BatchNorm and ReLU, no FiLM.

    ``pool`` adds ResNet's first max-pooling.
    """

    def __init__(self, conv: nn.Conv2d, pool: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.pool = conv, PairNorm(conv.out_channels), pool

    def forward(self, maps: Tensor, statistics: Statistics) -> Tensor:
        x = F.relu(self.norm(self.conv(maps), 0, statistics), inplace=True)
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1) if self.pool else x


@final
class MappingNet(nn.Module):
    """m of [XTC, Eq. 4]: built by ``build_mapping``, to fit a backbone's bottleneck.

    Args:
        tasks: Their ordered pairs number the rows of gamma and beta: entries of the K x K matrix
            A row by row, the diagonal left out.
        inputs: One layer per task, in their order.
        stages: The shared encoder.
    """

    def __init__(
        self, tasks: TaskSet, inputs: Sequence[InputLayer], stages: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.inputs = nn.ModuleDict(zip(tasks.names, inputs, strict=True))
        self.stages = nn.ModuleList(stages)
        self.pairs = {(s.name, t.name): row for row, (s, t) in enumerate(tasks.pairs())}

    def forward(self, passes: Sequence[Pass], statistics: Statistics = "pass") -> list[Tensor]:
        """Embeddings (n, D, h, w) of every pass, at the size of the backbone's bottleneck.

        Args:
            passes: At least one; none of them empty.
            statistics: What BatchNorm averages over in training: a ``"pass"``, or every
                ``"image"`` by itself, which is what a loop over single images computes.
        """
        return self.trace(passes, statistics)[-1]

    def trace(self, passes: Sequence[Pass], statistics: Statistics = "pass") -> list[list[Tensor]]:
        """What leaves the input layers and every stage, the embeddings last; by pass."""
        route = [self.pairs[p.pair] for p in passes], statistics
        layer = {id(p.maps): self.inputs[p.task] for p in passes}
        xs = once(lambda maps: layer[id(maps)](maps, statistics), [p.maps for p in passes])
        leaving = [xs]
        for stage in self.stages:
            leaving.append(stage(leaving[-1], route))
        return leaving

    def film_parameters(self) -> list[nn.Parameter]:
        """All gamma and beta; empty for a network without conditioning."""
        norms = [m for m in self.modules() if isinstance(m, PairNorm) and m.gamma is not None]
        return [p for norm in norms for p in (norm.gamma, norm.beta)]


def build_mapping(tasks: TaskSet, backbone: nn.Module, *, condition: bool = True) -> MappingNet:
    """Makes a mapping network whose output has the shape of the backbone's bottleneck.

    For a SegNet it is the encoder of an equally wide SegNet behind a Conv3x3 a task: 14,819,328
    parameters at full width on NYUD-v2, 50,688 of them in gamma and beta and 10,368 in the input
    layers. For any other backbone it is ResNet-18 with a Conv7x7 of stride 2 a task; its last
    stages are dilated where that keeps the backbone's resolution.

    Args:
        tasks: The tasks.
        backbone: Has ``bottleneck_channels`` and ``reduction``.
        condition: With gamma and beta; otherwise one mapping serves all pairs, "w/o cond" in
            [XTC, Table 6].

    Raises:
        ValueError: If no such network has the backbone's resolution.
    """
    if isinstance(backbone, SegNet):
        convs = [[m for m in stage if isinstance(m, nn.Conv2d)] for stage in backbone.encoder]
        widths = [stage[0].out_channels for stage in convs]
        return plain_mapping(tasks, widths, [len(stage) for stage in convs], condition=condition)
    return _residual_mapping(tasks, backbone.bottleneck_channels, backbone.reduction, condition)


def mapping_for_channels(
    tasks: TaskSet, channels: int, *, form: Form, reduction: int, condition: bool = True
) -> MappingNet:
    """Makes a mapping network for features of any network; see ``build_mapping``.

    Args:
        tasks: The tasks.
        channels: D, the channels of the features.
        form: ``"segnet"`` or ``"resnet18"``.
        reduction: Image size / size of the features: 4, 8, 16 or 32.
        condition: As in ``build_mapping``.

    Raises:
        ValueError: If there is no such form, or none of that reduction.
    """
    if form == "resnet18":
        return _residual_mapping(tasks, channels, reduction, condition)
    if form != "segnet":
        raise ValueError(f"mapping: expected 'segnet', 'resnet18' or a MappingNet, got {form!r}")
    stages = _halvings(reduction)  # one less for each halving that the features lack
    widths = _scaled(SEGNET_WIDTHS[:stages], channels)
    return plain_mapping(tasks, widths, SEGNET_CONVS[:stages], condition=condition)


def plain_mapping(
    tasks: TaskSet,
    widths: Sequence[int],
    convs: Sequence[int],
    *,
    pools: int | None = None,
    condition: bool = True,
) -> MappingNet:
    """Makes a mapping network of ``PlainStage``s behind a Conv3x3 a task.

    Args:
        tasks: The tasks.
        widths: Channels of each stage; the last is D.
        convs: Convolutions of each stage.
        pools: How many stages, from the first, end in a pooling: the image's size over that of an
            embedding is 2 to this power. None: all.
        condition: As in ``build_mapping``.
    """
    inputs = [InputLayer(nn.Conv2d(t.channels, widths[0], 3, padding=1), False) for t in tasks]
    pairs = len(list(tasks.pairs())) if condition else 0
    sizes = enumerate(zip([widths[0], *widths], widths, convs, strict=False))
    stages = [PlainStage(*size, pairs, pools is None or i < pools) for i, size in sizes]
    net = MappingNet(tasks, inputs, stages)
    init_weights(net)
    return net


def _residual_mapping(tasks: TaskSet, channels: int, reduction: int, condition: bool) -> MappingNet:
    widths = _scaled(RESNET_WIDTHS, channels)
    halvings = _halvings(reduction) - 2  # of the stages: the input layer halves twice
    first = [nn.Conv2d(t.channels, widths[0], 7, 2, 3, bias=False) for t in tasks]
    pairs = len(list(tasks.pairs())) if condition else 0
    stages, dilation = [], 1
    for i, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False)):
        stride = 2 if 0 < i <= halvings else 1
        dilation = dilation * 2 if i > halvings else 1
        stages.append(ResidualStage(before, width, stride, dilation, pairs))
    net = MappingNet(tasks, [InputLayer(conv, pool=True) for conv in first], stages)
    init_residual_weights(net)
    return net


def _halvings(reduction: int) -> int:
    if reduction not in (4, 8, 16, 32):
        raise ValueError(
            f"mapping: expected a reduction of 4, 8, 16 or 32, got {reduction}; "
            "give the mapping network stages that fit"
        )
    return int(math.log2(reduction))


def _scaled(widths: Sequence[int], last: int) -> list[int]:
    """A network's widths, scaled to end in ``last``; a wider end does not widen the rest."""
    factor = min(1.0, last / widths[-1])
    return [*(scale_channels(width, factor) for width in widths[:-1]), last]
