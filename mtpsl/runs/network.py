"""The network of an experiment: built, loaded with what a run learned, and what it costs.

The memory that training takes [HiTTs, Table 8] is measured in a process of its own. On CUDA it is
the allocator's peak, on a CPU the growth of the resident set: weights, gradients, optimizer state,
maps that the backward pass needs and the libraries' scratch space. The steps are those of
``engine.fit``; images and labels are noise, because memory does not depend on them.
"""

import functools
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F

from mtpsl import files
from mtpsl.batch import Batch, Discovered
from mtpsl.engine import fit, seeded
from mtpsl.methods import Method
from mtpsl.models.cost import COMPUTED, Cost, cost
from mtpsl.papers import build_method
from mtpsl.runs.data import bind_data, tasks_of
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.store import Session
from mtpsl.tasks import TaskSet
from mtpsl.training import Optimization
from mtpsl.weighting import build_weighting

try:
    import resource
except ImportError:  # Windows
    resource = None

COSTLY = (
    "dataset", "data_args", "height", "width", "tasks",
    "backbone", "width_factor", "backbone_args", "method", "method_args",
)  # fmt: skip
"""Fields of an experiment that decide what its network costs."""
BATCH = 2  # images; the papers' four or eight do not fit into a small machine's memory
STEPS = 2  # the optimizer's state exists from the first step on
WARM_UP = {"height": 32, "width": 32, "width_factor": 0.125}


def build(experiment: Experiment) -> Method:
    """The method on fresh weights, which depend on the experiment's seed alone.

    Raises:
        ValueError: If no such network can be made, naming what was asked for.
    """
    args = experiment.method_args, experiment.backbone_args
    try:
        with seeded(torch.device("cpu"), experiment.seed, "weights"):
            tasks, width = tasks_of(experiment), experiment.width_factor
            return build_method(experiment.method, tasks, experiment.backbone, width, *args)
    except (TypeError, ArithmeticError, LookupError) as error:
        raise ValueError(
            f"method_args, backbone_args: expected a network of {experiment.method!r} on "
            f"{experiment.backbone!r}, got {error!r} from {args}; correct them"
        ) from error


def without_pretrained(experiment: Experiment) -> Experiment:
    """The same network on random weights: nothing is read or downloaded to build it."""
    args = experiment.backbone_args
    return experiment.replace(
        backbone_args={k: v for k, v in args.items() if not k.startswith("weights")}
    )


def load_method(experiment: Experiment, session: Session) -> Method:
    """The trained network of a finished run, in evaluation mode on the session's device.

    Raises:
        FileNotFoundError: If the run is not in the store, or damaged there.
    """
    experiment, store = bind_data(experiment, session.data_root), session.store
    if store.load(experiment.key) is None:
        raise FileNotFoundError(
            f"run {experiment.key}: expected a finished run in {store.root}, found none; "
            "run it first"
        )
    method = build(without_pretrained(experiment))
    files.load_weights(method, store.weights(experiment.key))
    return method.to(session.torch_device).eval()


# ------------------------------------------------------------- parameters and operations


def network_cost(experiment: Experiment) -> Cost:
    """What the network costs at its own size; counted once for all experiments that share it."""
    return _counted(_costly(experiment))


def full_size_cost(experiment: Experiment) -> Cost:
    """What a table of costs counts, at the experiment's own size, without training anything.

    The mean over what its method says is counted (``Method.counted``).
    """
    return _counted(_costly(experiment), in_table=True)


def _costly(experiment: Experiment) -> Experiment:
    fresh = without_pretrained(experiment)
    return Experiment(**{name: getattr(fresh, name) for name in COSTLY})


@functools.cache
def _counted(network: Experiment, *, in_table: bool = False) -> Cost:
    # Without numbers at sizes where ``cost`` needs none: drawing them takes longer.
    large = network.height * network.width > COMPUTED
    with torch.device("meta" if large else "cpu"):
        method = build(network)
    modules = method.counted() if in_table else (method,)
    counted = [cost(module, network.height, network.width) for module in modules]
    return Cost(
        params=counted[0].params,
        macs=round(statistics.fmean(c.macs for c in counted)),
        thop_flops=round(statistics.fmean(c.thop_flops for c in counted)),
    )


# -------------------------------------------------------------------------- memory


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
        [sys.executable, "-m", "mtpsl.runs.network", device],
        input=json.dumps(experiment.to_dict()),
        capture_output=True,
        text=True,
    )
    size = experiment.height, experiment.width
    if done.returncode:
        last = done.stderr.strip().split("\n")[-1]
        raise RuntimeError(
            f"memory of {experiment.method} at {size[0]}x{size[1]}: expected a "
            f"measurement, got exit status {done.returncode}{': ' + last if last else ''}"
        )
    kind, batch = torch.device(device).type, experiment.batch_size
    return Memory(int(done.stdout), kind, *size, batch, experiment.width_factor)


def measure(experiment: Experiment, device: torch.device) -> int:
    """Bytes that training adds to what this process has taken so far; meant for a fresh one."""
    few = experiment.replace(**WARM_UP)
    train_on_noise(few, device)  # what the libraries load at first use is nobody's memory
    before = high_water_mark()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    elif not before:
        raise RuntimeError(
            "memory: expected a system that says what a process has had resident at most, Linux "
            f"or macOS, got {sys.platform}; measure there, or on a GPU"
        )
    train_on_noise(experiment, device)
    return peak_memory(device) - before


def train_on_noise(experiment: Experiment, device: torch.device, steps: int = STEPS) -> Method:
    """A few steps of ``engine.fit`` on one batch."""
    tasks = tasks_of(experiment)
    method = build(experiment)
    method.prepare([noise_batch(tasks, 32, 32, 2 * len(tasks))])
    batch = noise_batch(tasks, experiment.height, experiment.width, experiment.batch_size)
    if experiment.teacher:
        batch = replace(batch, discovered=discovered_by(method, batch))
    method.to(device)
    views = (batch.to(device),) * method.views
    fit(
        method,
        SimpleNamespace(steps=steps, epoch=lambda epoch: iter([views] * steps)),  # always the same
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


def noise_batch(tasks: TaskSet, height: int, width: int, images: int) -> Batch:
    """Noise of the right types and ranges; image i has the label of task i modulo K.

    Regions are windows of 16 x 16 pixels.
    """
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
                target = F.normalize(noise - 0.5, dim=1)
        targets[t.name] = torch.where(valid[t.name], target, t.fill_missing(target))
    image_maps = torch.rand(images, 3, height, width, generator=generator)
    down, right = torch.arange(height).unsqueeze(1) // 16, torch.arange(width) // 16
    regions = (down * -(-width // 16) + right).expand(images, 1, -1, -1)
    return Batch(image_maps, targets, valid, labeled, index, regions=regions)


@torch.no_grad()
def discovered_by(method: Method, batch: Batch) -> Discovered:
    """What a method as it is finds on a batch, without what has a label."""
    training = method.training
    discovered = method.eval().discover(batch.images, {}).withhold(batch)
    method.train(training)
    return discovered


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
