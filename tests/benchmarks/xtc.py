"""What a training step of XTC costs beside a plain loop over images and task pairs, as JSON.

``plain_loop`` is the consistency as the paper writes it and the released code runs it: image by
image, pair by pair, one map at a time through the mapping network, layer by layer. Its loss is
that of ``XTC(statistics="image")``. Steps are timed alternately in one process; trust the ratios.
With ``--clock cpu`` time is that of the processor, which other programs do not disturb.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.methods.base import Terms, supervised_terms
from mtpsl.models import build_backbone
from mtpsl.models.cost import cost
from mtpsl.papers.xtc.loss import Inputs, cosine_distance
from mtpsl.papers.xtc.mapping import PairNorm, Pass
from mtpsl.papers.xtc.method import XTC, TrainingPasses, two_views
from mtpsl.runs.network import noise_batch
from mtpsl.tasks import TaskSet, depth, edges, human_parts, normals, saliency, semseg
from mtpsl.training import Precision
from tests.benchmarks.common import CLOCKS, product_flops, take_turns, timed_step, write_report

TASKS = {  # how many -> which, as on Cityscapes, NYUD-v2 and PASCAL-Context
    2: TaskSet((semseg(7), depth())),
    3: TaskSet((semseg(13), depth(), normals())),
    5: TaskSet((semseg(21), human_parts(), normals(), saliency(), edges())),
}
SETTINGS: dict[str, Precision] = {  # how the engine may run it, maps with channels innermost
    "channels_last": "fp32",
    "channels_last_bf16": "bf16",
}


def plain_loop(method: XTC, *views: Batch) -> Terms:
    """``XTC.training_step`` as a loop, with the defaults of the released code."""
    predictions, others, features = two_views(method.net, views)
    terms = supervised_terms(method.tasks, predictions, views[0])
    batch, features = views[-1], features.detach()
    inputs = Inputs(others, batch)
    total = features.new_zeros(())
    for n in range(len(batch)):
        for s, t in method.tasks.pairs():
            if batch.labeled[s.name][n] or not batch.labeled[t.name][n]:
                continue
            pair, row = (s.name, t.name), (n,)
            m_s = mapped(method, Pass(s.name, pair, inputs.prediction(s, row)))
            m_t = mapped(method, Pass(t.name, pair, inputs.label(t, row)))
            f = features[n : n + 1]
            anchor = cosine_distance(m_s, f) + cosine_distance(m_t, f)
            total = total + (cosine_distance(m_s, m_t) + method.loss.regularizer * anchor).sum()
    terms["cross_task"] = method.loss.weight * total / len(batch)
    return terms


def mapped(method: XTC, one: Pass) -> Tensor:
    """m of one map of a SegNet's size: convolution, BatchNorm, gamma and beta, ReLU, in turn."""
    net = method.mapping
    pair, layer = net.pairs[one.pair], net.inputs[one.task]
    x = F.relu(normalized(layer.norm, layer.conv(one.maps)))
    for stage in net.stages:
        for conv, norm in zip(stage.convs, stage.norms, strict=True):
            gamma, beta = (table[pair].view(-1, 1, 1) for table in (norm.gamma, norm.beta))
            x = F.relu(normalized(norm, conv(x)) * gamma + beta)
        x = F.max_pool2d(x, kernel_size=2)
    return x


def normalized(norm: PairNorm, x: Tensor) -> Tensor:
    """BatchNorm in training, without what ``PairNorm`` adds to it."""
    mean, var, weight, bias = norm.running_mean, norm.running_var, norm.weight, norm.bias
    return F.batch_norm(x, mean, var, weight, bias, True, norm.momentum, norm.eps)


def peak_flops(clock: str, size: int = 2048, repeats: int = 5) -> float:
    """Of a large product of float32 matrices, per second: the most a convolution can reach."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    seconds = []
    for _ in range(repeats):
        start = CLOCKS[clock]()
        a @ b
        seconds.append(CLOCKS[clock]() - start)
    return 2 * size**3 / min(seconds)


def step_times(
    tasks: TaskSet,
    *,
    images: int = 8,
    height: int = 96,
    width: int = 128,
    width_factor: float = 1.0,
    steps: int = 3,
    clock: str = "wall",
    loop: bool = True,
) -> dict[str, float]:
    """Median seconds of a step in the loop, in both modes of XTC, and without consistency.

    With ``loop`` also in ``SETTINGS``; everything else is in float32, channels outermost.
    ``floor`` is what the products of a step would take at the best ``peak_flops`` of all turns:
    hardly anything that computes the same products in float32 will be faster.
    """
    batch = noise_batch(tasks, height, width, images)
    views = (batch, batch)

    def prepare(channels_last: bool) -> tuple[XTC, torch.optim.Optimizer]:
        torch.manual_seed(0)
        method = XTC(tasks, build_backbone("segnet", width_factor)).train()
        if channels_last:
            method.to(memory_format=torch.channels_last)
        return method, torch.optim.Adam(method.param_groups(1e-4), lr=1e-4, fused=True)

    method, optimizer = prepare(channels_last=False)
    fast, fast_optimizer = prepare(channels_last=True)

    def by(statistics: str) -> Terms:
        method.loss.statistics = statistics
        return method.training_step(*views, progress=0.0)

    def supervised() -> Terms:
        predictions, _, _ = two_views(method.net, views)
        return supervised_terms(tasks, predictions, batch)

    def in_channels_last() -> Terms:
        return fast.training_step(*views, progress=0.0)

    def way(compute: Callable[[], Terms]) -> Callable[[], float]:
        return lambda: timed_step(compute, optimizer, clock)

    def fast_way(precision: Precision) -> Callable[[], float]:
        return lambda: timed_step(in_channels_last, fast_optimizer, clock, precision)

    ways = {"supervised": way(supervised), "pass": way(lambda: by("pass"))}
    if loop:
        ways["image"] = way(lambda: by("image"))
        ways |= {name: fast_way(precision) for name, precision in SETTINGS.items()}
        ways["loop"] = way(lambda: plain_loop(method, *views))
    ways["peak"] = lambda: peak_flops(clock)
    seconds = take_turns(ways, steps)
    peak = max(seconds.pop("peak"))
    report = {name: statistics.median(s) for name, s in seconds.items()}
    if loop:
        report["floor"] = product_flops(lambda: by("pass")) / peak
        report["loop_floor"] = product_flops(lambda: plain_loop(method, *views)) / peak
        for name in ("pass", "image", *SETTINGS, "supervised", "floor", "loop_floor"):
            report[f"{name}_over_loop"] = report[name] / report["loop"]
    return report


def parity(tasks: TaskSet, images: int, side: int, width_factor: float) -> dict[str, float]:
    """Sum of the terms in the loop and in ``statistics="image"``, from one state and one seed."""
    torch.manual_seed(0)
    method = XTC(tasks, build_backbone("segnet", width_factor), statistics="image").train()
    batch = noise_batch(tasks, side, side, images)
    totals = {}
    for name, compute in {
        "image": lambda: method.training_step(batch, batch, progress=0.0),
        "loop": lambda: plain_loop(method, batch, batch),
    }.items():
        torch.manual_seed(1)
        totals[name] = float(sum(compute().values()).detach())
    return totals


def pair_growth(clock: str = "wall", **size: Any) -> dict[int, dict[str, float]]:
    """K -> mapping passes of a one-label batch, seconds of the consistency, seconds a pass."""
    report = {}
    images = size.get("images", 8)
    for count, tasks in TASKS.items():
        times = step_times(tasks, clock=clock, loop=False, **size)
        passes = 2 * images * (count - 1)
        extra = times["pass"] - times["supervised"]
        report[count] = {"passes": passes, "seconds": extra, "seconds_a_pass": extra / passes}
    return report


def table8_cost() -> dict[str, dict[str, float]]:
    """Label of the image -> millions of parameters, billions of FLOPs in the papers' convention."""
    tasks = TASKS[3]
    method = XTC(tasks, build_backbone("segnet"))
    report = {}
    for name in tasks.names:
        counted = cost(TrainingPasses(method, name), 288, 384)
        report[name] = {"params_m": counted.params / 1e6, "flops_g": counted.thop_flops / 1e9}
    return report


def main(argv: list[str] | None = None) -> int:
    """Prints a report and writes it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.xtc", description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--width-factor", type=float, default=1.0)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_xtc.json"))
    args = parser.parse_args(argv)
    size = {"images": args.images, "width_factor": args.width_factor, "steps": args.steps}
    report: dict[str, Any] = {}
    report["step"] = times = step_times(TASKS[3], clock=args.clock, **size)
    print("step, 96x128, one label: " + ", ".join(f"{n} {v:.2f}" for n, v in times.items()))
    report["parity"] = parity(TASKS[3], 3, 64, 0.25)
    print(f"same loss: {report['parity']}")
    report["growth"] = pair_growth(args.clock, **size)
    for count, row in report["growth"].items():
        print(f"{count} tasks: {row['passes']} passes, {row['seconds_a_pass']:.4f} s a pass")
    report["table8"] = table8_cost()
    print(f"[HiTTs, Table 8] prints 39.84 M and 223.16 G: {report['table8']}")
    return write_report(report, args.out)


if __name__ == "__main__":
    raise SystemExit(main())
