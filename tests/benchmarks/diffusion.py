"""What a step of DiffusionMTL costs, beside a plain loop over images and tasks, as JSON.

``together`` is the method: labeled images of all tasks go through the denoiser at once. ``loop``
computes the same loss with the same noise, and denoises image by image and task by task, as the
released code does. ``rest`` is the same step without a denoiser, the part that both ways share.
On one thread and by the processor's clock; ways take turns in one process: trust the ratios. With
one label an image there is little to put together, two images a task at most.
"""

import argparse
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.methods.base import Terms, supervised_terms
from mtpsl.papers import build_method
from mtpsl.papers.tpkr.diffusion import DiffusionMTL, ImageNoise
from mtpsl.runs.network import noise_batch
from mtpsl.tasks import TaskSet, edges, follow, human_parts, normals, saliency, semseg
from tests.benchmarks.common import CLOCKS, take_turns, timed_step, write_report

PEOPLE = (semseg(21), human_parts(weight=2), saliency(weight=5), normals(weight=10))
TASKS = follow("atrc", TaskSet((*PEOPLE, edges(weight=50))))
IMAGES, SIDE, WIDTH_FACTOR = 6, 96, 0.25
LABELS = {"one": 1, "some": 3, "every": len(TASKS)}  # name -> labels an image
LIMIT = 0.5  # together over loop
BETAS = (0.001, 0.010)


def labeled_batch(labels: int, images: int = IMAGES, side: int = SIDE) -> Batch:
    """Noise; image i has the labels of so many tasks from task i modulo T on."""
    batches = [noise_batch(TASKS.subset((t.name,)), side, side, images) for t in TASKS]
    order = (torch.arange(images) - torch.arange(len(TASKS)).view(-1, 1)) % len(TASKS)
    rows = dict(zip(TASKS.names, order < labels, strict=True))
    targets, valid = {}, {}
    for task, one in zip(TASKS, batches, strict=True):
        valid[task.name] = one.valid[task.name] & rows[task.name].view(-1, 1, 1, 1)
        targets[task.name] = torch.where(
            valid[task.name],
            one.targets[task.name],
            one.targets[task.name].new_tensor(task.missing),
        )
    return replace(batches[0], targets=targets, valid=valid, labeled=rows)


def denoise_one(
    method: DiffusionMTL, task: str, start: Tensor, condition: Tensor, draw: Callable[[int], Tensor]
) -> Tensor:
    """Denoises a map (1, C, h, w) in two steps -> a map (1, C, h, w), before ``activate``.

    Args:
        method: Its denoiser is used, and nothing else of what it does to many maps.
        task: Whose map it is.
        start: What is noised.
        condition: (1, width, h, w).
        draw: A step -> noise (1, C, h, w).
    """
    first, second = (1 - beta for beta in BETAS)
    both = first * second
    x = math.sqrt(both) * start + math.sqrt(1 - both) * draw(2)
    clean = method.denoiser({task: x}, condition, 1)[task]
    if method.variant == "prediction":
        clean = method.final[task](clean)
    x = (BETAS[1] * math.sqrt(first) * clean + BETAS[0] * math.sqrt(second) * x) / (1 - both)
    x = x + math.sqrt(BETAS[1] * BETAS[0] / (1 - both)) * draw(1)
    return method.final[task](method.denoiser({task: x}, condition, 0)[task])


def loop_terms(method: DiffusionMTL, batch: Batch) -> Terms:
    """What ``DiffusionMTL.training_step`` computes, image by image and task by task."""
    features, maps = method.look(batch.images)
    noise = ImageNoise.of_step(batch.index)
    condition = method.condition(torch.cat(list(maps.values()), 1).detach())
    refined: dict[str, list[Tensor]] = {name: [] for name in TASKS.names}
    for row in range(len(batch)):
        for number, name in enumerate(TASKS.names):
            if not batch.labeled[name][row]:
                refined[name].append(maps[name][row : row + 1].detach())
                continue
            start = (features if method.variant == "feature" else maps)[name][row : row + 1]

            def draw(step: int, row=row, number=number, like=start) -> Tensor:
                return noise.draw([row], number, step, like)

            given = condition[row : row + 1]
            refined[name].append(denoise_one(method, name, start, given, draw))
    every = {name: torch.cat(rows) for name, rows in refined.items()}
    terms = supervised_terms(TASKS, method.finish(every, batch.images), batch)
    first = supervised_terms(TASKS, method.finish(maps, batch.images), batch)
    return terms | {"preliminary": method.weight * sum(first.values())}


def rest_terms(method: DiffusionMTL, batch: Batch) -> Terms:
    """The terms of the preliminary maps alone."""
    _, maps = method.look(batch.images)
    return supervised_terms(TASKS, method.finish(maps, batch.images), batch)


def build(width_factor: float = WIDTH_FACTOR, variant: str = "feature") -> DiffusionMTL:
    """On a fused ResNet-18, in training mode."""
    torch.manual_seed(0)
    options = {"variant": variant}
    return build_method("diffusion_mtl", TASKS, "resnet18_fused", width_factor, options).train()


def measure(
    labels: str, *, turns: int = 5, clock: str = "cpu", width_factor: float = WIDTH_FACTOR
) -> dict[str, float]:
    """Median seconds of a step each way, and what counts."""
    method, batch = build(width_factor), labeled_batch(LABELS[labels])
    optimizer = torch.optim.Adam(method.param_groups(1e-4), lr=1e-4)
    computed: dict[str, Callable[[], Terms]] = {
        "together": lambda: method.training_step(batch, progress=0.5),
        "loop": lambda: loop_terms(method, batch),
        "rest": lambda: rest_terms(method, batch),
    }

    def step(compute: Callable[[], Terms]) -> Callable[[], float]:
        return lambda: timed_step(compute, optimizer, clock)

    seconds = take_turns({name: step(compute) for name, compute in computed.items()}, turns)
    report = {name: statistics.median(taken) for name, taken in seconds.items()}
    pairs = sum(int(rows.sum()) for rows in batch.labeled.values())
    return report | {
        "together_over_loop": report["together"] / report["loop"],
        "limit": LIMIT,
        "maps": pairs,
    }


def main(argv: list[str] | None = None) -> int:
    """Prints a report and writes it as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.diffusion", description=__doc__
    )
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=list(LABELS))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_diffusion.json"))
    args = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    report = {}
    for labels in args.labels:
        report[labels] = times = measure(labels, turns=args.turns, clock=args.clock)
        print(
            f"DiffusionMTL, labels: {labels}, {times['maps']} maps denoised: "
            f"{times['together']:.3f} s a step, in a loop {times['loop']:.3f} s, "
            f"x{times['together_over_loop']:.2f} (at most x{times['limit']}); without denoising "
            f"{times['rest']:.3f} s",
            flush=True,
        )
    status = write_report(report, args.out)
    torch.set_num_threads(threads)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
