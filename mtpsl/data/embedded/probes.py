"""How hard rooms13 is: small networks that see only a part of what there is to see.

A stand-in is useful if color and position alone do not solve it, a network that sees shapes does
better, and the tasks inform each other without one settling the other pixel by pixel.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.data.embedded.rooms13 import TASKS, Rooms13
from mtpsl.tasks import TaskSet

SIZE = (48, 64)
IMAGES, TESTED = 600, 150
MOST_MIOU, LEAST_GAIN = 0.20, 1.4  # of the pixel probe; of the small network over it
PERFECT = {"semseg": 0.95, "depth": 0.05, "normals": 2.0}

Line = tuple[str, str, str, bool]  # name, measured, expected, ok


def ladder(device: torch.device | str = "cpu", cache_dir: str | Path | None = None) -> list[Line]:
    """The probe ladder, one line a rung."""
    train, test = (
        Rooms13(split, height=SIZE[0], width=SIZE[1], images=n, cache_dir=cache_dir)
        .load(range(n))
        .to(device)
        for split, n in (("train", IMAGES), ("test", TESTED))
    )
    prior = _pixel_probe(train, test, (), rgb=False)
    pixel = _pixel_probe(train, test, (), rgb=True)
    miou = pixel["semseg"]
    lines = [
        ("position only", _text(prior), "", True),
        ("position and color", _text(pixel), f"mIoU <= {MOST_MIOU:.0%}", miou <= MOST_MIOU),
    ]
    for source in TASKS:
        found = _pixel_probe(train, test, (source.name,), rgb=False)
        for name, value in found.items():
            low, high = sorted((prior[name], PERFECT[name]))
            between = f"between {low:.3f} and {high:.3f}"
            line = (f"{source.name} -> {name}, a pixel", f"{value:.3f}", between)
            lines.append((*line, low < value < high))
    everything = torch.ones(IMAGES, len(TASKS), dtype=torch.bool)
    one = F.one_hot(torch.arange(IMAGES) % len(TASKS), len(TASKS)).bool()
    full, partial = (_network_probe(train, test, labeled) for labeled in (everything, one))
    gain = full["semseg"] / miou
    lines.append(
        ("small network", _text(full), f"mIoU >= {LEAST_GAIN} x the pixel's", gain >= LEAST_GAIN)
    )
    worse = all(
        full[t.name] > partial[t.name] if t.higher_is_better else full[t.name] < partial[t.name]
        for t in TASKS
    )
    lines.append(("small network, one label", _text(partial), "worse on every task", worse))
    return lines


def _text(found: dict[str, float]) -> str:
    values = (found[t.name] for t in TASKS)
    return "mIoU {:.1%}, depth {:.3f} m, normals {:.1f} deg".format(*values)


def _pixel_probe(
    train: Batch, test: Batch, sources: tuple[str, ...], *, rgb: bool
) -> dict[str, float]:
    """A perceptron on single pixels: their position, perhaps color, and labels of other tasks."""
    tasks = TASKS.subset(tuple(t for t in TASKS.names if t not in sources))
    inputs, test_inputs = (_inputs(batch, sources, rgb) for batch in (train, test))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        channels, out = inputs.shape[1], sum(t.channels for t in tasks)
        net = nn.Sequential(
            *(nn.Conv2d(channels, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU()),
            nn.Conv2d(64, out, 1),
        ).to(inputs.device)
    labeled = torch.ones(len(train), len(tasks), dtype=torch.bool)
    # Every fourth pixel in both directions is plenty for a function of a single pixel.
    _fit(net, tasks, inputs, train, labeled, epochs=16, lr=6e-3, batch_size=24, stride=4)
    return _score(net, tasks, test_inputs, test)


def _network_probe(train: Batch, test: Batch, labeled: Tensor) -> dict[str, float]:
    """A small U-Net on the image, with the labels marked in ``labeled`` (N, K)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _UNet(16, sum(t.channels for t in TASKS)).to(train.images.device)
    inputs, test_inputs = (_inputs(batch, (), True) for batch in (train, test))
    _fit(net, TASKS, inputs, train, labeled, epochs=18, lr=6e-3, batch_size=8)
    return _score(net, TASKS, test_inputs, test)


def _inputs(batch: Batch, sources: tuple[str, ...], rgb: bool) -> Tensor:
    count, _, height, width = batch.images.shape
    device = batch.images.device
    y = torch.linspace(-1, 1, height, device=device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=device).view(1, 1, 1, -1)
    parts = [x.expand(count, 1, height, width), y.expand(count, 1, height, width)]
    if rgb:
        parts.append(batch.images * 2 - 1)
    for name in sources:
        target, valid = batch.targets[name], batch.valid[name]
        if TASKS[name].kind == "classes":
            ids = torch.where(valid, target, TASKS[name].channels).squeeze(1)
            parts.append(F.one_hot(ids).movedim(-1, 1).float())
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
                loss = loss + (error * weight).sum() / weight.sum().clamp(min=1)
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
