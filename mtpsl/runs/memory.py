"""The memory that training takes, measured in a process of its own [HiTTs, Table 8].

On CUDA it is the allocator's peak, on a CPU the growth of the resident set: weights, gradients,
optimizer state, maps that the backward pass needs and the libraries' scratch space. The steps are
those of ``engine.fit``; images and labels are noise, because memory does not depend on them.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mtpsl.batch import Batch, Discovered
from mtpsl.engine import fit
from mtpsl.methods import Method
from mtpsl.runs.data import tasks_of
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import build, without_pretrained
from mtpsl.tasks import TaskSet
from mtpsl.training import Optimization
from mtpsl.weighting import build_weighting

try:
    import resource
except ImportError:  # Windows
    resource = None

BATCH = 2  # images; the papers' four or eight do not fit into a small machine's memory
STEPS = 2  # the optimizer's state exists from the first step on
WARM_UP = {"height": 32, "width": 32, "width_factor": 0.125}


@dataclass(frozen=True)
class Memory:
    """What one network takes in training, and how that was measured."""

    bytes: int
    device: str  # "cpu": growth of the resident set; "cuda": peak of the allocator
    height: int
    width: int
    batch: int
    width_factor: float

    @property
    def conditions(self) -> dict[str, Any]:
        """Everything but the number, for a results file."""
        return {name: value for name, value in vars(self).items() if name != "bytes"}


def at_size(experiment: Experiment) -> Experiment:
    """The experiment as its memory is measured: at its own size, with ``BATCH`` images."""
    return experiment.replace(batch_size=BATCH)


@functools.cache
def training_memory(experiment: Experiment, device: str = "cpu") -> Memory:
    """What an experiment's training step takes, at its own size and batch size.

    Args:
        experiment: A second stage's discoveries are made from noise too.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        RuntimeError: If the measuring process failed, such as for lack of memory.
    """
    experiment = without_pretrained(experiment)
    done = subprocess.run(
        [sys.executable, "-m", "mtpsl.runs.memory", device],
        input=json.dumps(experiment.to_dict()),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = done.stderr.strip().split("\n")[-1]
        raise RuntimeError(
            f"memory of {experiment.method} at {experiment.height}x{experiment.width}: expected a "
            f"measurement, got exit status {done.returncode}{': ' + last if last else ''}"
        )
    return Memory(
        bytes=int(done.stdout),
        device=torch.device(device).type,
        height=experiment.height,
        width=experiment.width,
        batch=experiment.batch_size,
        width_factor=experiment.width_factor,
    )


# ------------------------------------------------------------ in the process of its own


def measure(experiment: Experiment, device: torch.device) -> int:
    """Bytes that training adds to what this process has taken so far; meant for a fresh one."""
    few = experiment.replace(**WARM_UP)
    train_on_noise(few, device)  # what the libraries load at first use is nobody's memory
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        train_on_noise(experiment, device)
        return torch.cuda.max_memory_allocated(device) - before
    before = high_water_mark()
    if not before:
        raise RuntimeError(
            "memory: expected a system that says what a process has had resident at most, Linux "
            f"or macOS, got {sys.platform}; measure there, or on a GPU"
        )
    train_on_noise(experiment, device)
    return high_water_mark() - before


def train_on_noise(experiment: Experiment, device: torch.device, steps: int = STEPS) -> Method:
    """A few steps of ``engine.fit`` on one batch."""
    tasks = tasks_of(experiment)
    method = build(experiment)
    method.prepare([noise_batch(tasks, 32, 32, 2 * len(tasks))])
    batch = noise_batch(tasks, experiment.height, experiment.width, experiment.batch_size)
    if experiment.teacher:
        batch = replace(batch, discovered=discovered_by(method, batch))
    method.to(device)
    fit(
        method,
        OneBatch((batch.to(device),) * method.views, steps),
        epochs=1,
        lr=experiment.lr,
        weighting=build_weighting(experiment.weighting, tasks, experiment.weighting_args),
        optimization=Optimization(
            weight_decay=experiment.weight_decay,
            precision=experiment.precision,
            channels_last=experiment.channels_last,
        ),
        progress=False,
    )
    return method


@dataclass(frozen=True)
class OneBatch:
    """A loader that gives the same views at every step."""

    each: tuple[Batch, ...]
    steps: int

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
        for _ in range(self.steps):
            yield self.each


def noise_batch(tasks: TaskSet, height: int, width: int, images: int) -> Batch:
    """Noise of the right types and ranges; image i has the label of task i modulo K."""
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(images)
    labeled = {name: index % len(tasks) == k for k, name in enumerate(tasks.names)}
    valid = {n: rows.view(-1, 1, 1, 1).expand(-1, 1, height, width) for n, rows in labeled.items()}
    targets = {}
    for t in tasks:
        noise = torch.rand(images, t.target_channels, height, width, generator=generator)
        match t.kind:
            case "classes":
                target = (noise * t.channels).long()
            case "binary":
                target = noise.round()
            case "positive":
                target = 0.5 + 8 * noise
            case "direction":
                target = torch.nn.functional.normalize(noise - 0.5, dim=1)
        targets[t.name] = torch.where(valid[t.name], target, t.fill_missing(target))
    image_maps = torch.rand(images, 3, height, width, generator=generator)
    return Batch(image_maps, targets, valid, labeled, index)


@torch.no_grad()
def discovered_by(method: Method, batch: Batch) -> Discovered:
    """What a method as it is finds on a batch, without what has a label."""
    training = method.training
    discovered = method.eval().discover(batch.images, {}).withhold(batch)
    method.train(training)
    return discovered


# ------------------------------------------------------------ what a process has had at most


def peak_memory(device: torch.device, *, start: bool = False) -> int:
    """Bytes: the peak so far of the process, or on a GPU since ``start``."""
    if device.type != "cuda":
        return high_water_mark()
    if start:
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    return torch.cuda.max_memory_allocated(device)


def high_water_mark() -> int:
    """Bytes this process has had resident at most; 0 on a system that does not say, as Windows.

    Linux's VmHWM; elsewhere ru_maxrss, which a process may inherit from the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024  # what the kernel counts in
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(argv: list[str]) -> int:
    """Reads an experiment as JSON from stdin and prints bytes."""
    (device,) = argv
    print(measure(Experiment.from_dict(json.load(sys.stdin)), torch.device(device)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
