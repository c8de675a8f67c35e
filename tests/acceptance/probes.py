"""How hard a stand-in is: small networks that see only a part of what there is to see.

A stand-in is useful if color and position alone do not solve it, a network that sees shapes does
better, and the tasks inform each other without one settling the other pixel by pixel.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from acceptance.shared import Finding
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.tasks import TaskSet


@dataclass(frozen=True)
class Ladder:
    """What the probes of a stand-in are asked. The bounds are of the first task's headline."""

    tasks: TaskSet
    text: str  # a format of one headline metric per task, in order
    perfect: Mapping[str, float]  # task -> headline that no function of a single pixel reaches
    most: float  # that position and color of a pixel may reach
    gain: float  # of a small network over that, a ratio
    weights: Mapping[str, float] = field(default_factory=dict)  # of losses trained jointly, else 1

    def format(self, found: Mapping[str, float]) -> str:
        return self.text.format(*(found[name] for name in self.tasks.names))


def ladder(spec: Ladder, train: Batch, test: Batch) -> list[Finding]:
    """The probe ladder, one finding a rung.

    Args:
        spec: Tasks and bounds.
        train: Fully labeled images that the probes are trained on; sides divisible by 8.
        test: Those they are judged on.
    """
    tasks, first = spec.tasks, spec.tasks.names[0]
    prior = _pixel_probe(spec, train, test, (), rgb=False)
    pixel = _pixel_probe(spec, train, test, (), rgb=True)
    most = f"mIoU <= {spec.most:.0%}"
    findings = [
        Finding("position only", spec.format(prior), "", True),
        Finding("position and color", spec.format(pixel), most, pixel[first] <= spec.most),
    ]
    for source in tasks:
        found = _pixel_probe(spec, train, test, (source.name,), rgb=False)
        for name, value in found.items():
            low, high = sorted((prior[name], spec.perfect[name]))
            expected = f"between {low:.3f} and {high:.3f}"
            name = f"{source.name} -> {name}, a pixel"
            findings.append(Finding(name, f"{value:.3f}", expected, low < value < high))
    everything = torch.ones(len(train), len(tasks), dtype=torch.bool)
    one = F.one_hot(torch.arange(len(train)) % len(tasks), len(tasks)).bool()
    full, partial = (_network_probe(spec, train, test, labeled) for labeled in (everything, one))
    gain = f"mIoU >= {spec.gain:g} x the pixel's"
    enough = full[first] / pixel[first] >= spec.gain
    worse = all(
        full[t.name] > partial[t.name] if t.higher_is_better else full[t.name] < partial[t.name]
        for t in tasks
    )
    return [
        *findings,
        Finding("small network", spec.format(full), gain, enough),
        Finding("small network, one label", spec.format(partial), "worse on every task", worse),
    ]


def _pixel_probe(
    spec: Ladder, train: Batch, test: Batch, sources: tuple[str, ...], *, rgb: bool
) -> dict[str, float]:
    """A perceptron on single pixels: their position, perhaps color, and labels of other tasks."""
    tasks = spec.tasks.subset(tuple(t for t in spec.tasks.names if t not in sources))
    inputs, test_inputs = (
        _inputs(batch, spec.tasks.subset(sources), rgb) for batch in (train, test)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        channels, out = inputs.shape[1], sum(t.channels for t in tasks)
        net = nn.Sequential(
            *(nn.Conv2d(channels, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU()),
            nn.Conv2d(64, out, 1),
        ).to(inputs.device)
    labeled = torch.ones(len(train), len(tasks), dtype=torch.bool)
    # Every fourth pixel in both directions is plenty for a function of a single pixel.
    weights = spec.weights
    _fit(net, tasks, inputs, train, labeled, weights, epochs=16, lr=6e-3, batch_size=24, stride=4)
    return _score(net, tasks, test_inputs, test)


def _network_probe(spec: Ladder, train: Batch, test: Batch, labeled: Tensor) -> dict[str, float]:
    """A small U-Net on the image, with the labels marked in ``labeled`` (N, K)."""
    tasks = spec.tasks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _UNet(16, sum(t.channels for t in tasks)).to(train.images.device)
    inputs, test_inputs = (_inputs(batch, tasks.subset(()), True) for batch in (train, test))
    _fit(net, tasks, inputs, train, labeled, spec.weights, epochs=18, lr=6e-3, batch_size=8)
    return _score(net, tasks, test_inputs, test)


def _inputs(batch: Batch, sources: TaskSet, rgb: bool) -> Tensor:
    count, _, height, width = batch.images.shape
    device = batch.images.device
    y = torch.linspace(-1, 1, height, device=device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=device).view(1, 1, 1, -1)
    parts = [x.expand(count, 1, height, width), y.expand(count, 1, height, width)]
    if rgb:
        parts.append(batch.images * 2 - 1)
    for task in sources:
        target, valid = batch.targets[task.name], batch.valid[task.name]
        if task.kind == "classes":
            ids = torch.where(valid, target, task.channels).squeeze(1)
            parts.append(F.one_hot(ids, task.channels + 1).movedim(-1, 1).float())
        else:
            parts.append(torch.where(valid, target, 0.0))
    return torch.cat(parts, dim=1)


def _split(raw: Tensor, tasks: TaskSet) -> Iterator[Tensor]:
    for task, part in zip(tasks, raw.split([t.channels for t in tasks], dim=1), strict=True):
        yield task.activate(part)


def _fit(
    net: nn.Module,
    tasks: TaskSet,
    inputs: Tensor,
    batch: Batch,
    labeled: Tensor,
    weights: Mapping[str, float],
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    stride: int = 1,
) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    steps = epochs * -(-len(inputs) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(batch_size):
            i, j = torch.randint(0, stride, (2,), generator=generator).tolist()
            grid = (..., slice(i, None, stride), slice(j, None, stride))
            loss = inputs.new_zeros(())
            predictions = _split(net(inputs[rows][grid]), tasks)
            for k, (task, prediction) in enumerate(zip(tasks, predictions, strict=True)):
                weight = labeled[rows, k].to(inputs.device).float()
                mask, target = batch.valid[task.name][rows], batch.targets[task.name][rows]
                error = task.loss(prediction, target[grid], mask[grid])
                mean = (error * weight).sum() / weight.sum().clamp(min=1)
                loss = loss + mean * weights.get(task.name, 1.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def _score(net: nn.Module, tasks: TaskSet, inputs: Tensor, batch: Batch) -> dict[str, float]:
    """Task -> headline metric."""
    net.eval()
    metrics = {task.name: task.metric() for task in tasks}
    for rows in torch.arange(len(inputs)).split(20):
        for task, prediction in zip(tasks, _split(net(inputs[rows]), tasks), strict=True):
            target, valid = batch.targets[task.name][rows], batch.valid[task.name][rows]
            metrics[task.name].update(prediction, target, valid)
    return {task.name: metrics[task.name].compute()[task.headline] for task in tasks}


class _UNet(nn.Module):
    """Four levels, with skips."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList(
            [_block(5, w), _block(w, 2 * w), _block(2 * w, 4 * w), _block(4 * w, 6 * w)]
        )
        self.up = nn.ModuleList([_block(10 * w, 4 * w), _block(6 * w, 2 * w), _block(3 * w, w)])
        self.out = nn.Conv2d(w, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))
        return self.out(x)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
