"""What the parts of TPKR cost that could be large, as JSON.

``codes``: the nearest of 4,096 codes for the tokens of six images of PASCAL-Context, first with
more memory than before. ``retrieval``: cross-attention at the 36 x 48 positions of NYUD-v2, with
keys and values through the slots, against those of every position; a training pass, and a pass
without gradient. ``step``: a training step of TPKR beside that of the network it stands on. These
two are on one thread, by the processor's clock; their ways take turns: trust the ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mtpsl.papers import build_method
from mtpsl.papers.tpkr.codebook import nearest_code
from mtpsl.papers.tpkr.retrieval import SlotAttention
from mtpsl.runs.network import high_water_mark, noise_batch
from mtpsl.tasks import TaskSet, depth, normals, semseg
from tests.benchmarks.common import CLOCKS, take_turns, timed_step, write_report

TASKS = TaskSet((semseg(13), depth(), normals()))
TOKENS, CODES, CHANNELS = 6 * 64 * 64, 4096, 512
POSITIONS, DIMENSION, HEADS, IMAGES = 36 * 48, 1024, 8, 2
QUICK = (64, 96, 4, 0.25)  # height, width, images, width factor
LIMITS = {"seconds": 2.5, "mb": 450.0, "speedup": 5.0}


def codes(tokens: int = TOKENS, size: int = CODES, channels: int = CHANNELS) -> dict[str, float]:
    """Seconds and MB of a search, tokens and codes included; alone in its process, if it may be."""
    before = high_water_mark()
    draw = torch.Generator().manual_seed(0)
    x, z = (torch.randn(n, channels, generator=draw) for n in (tokens, size))
    began = [clock() for clock in CLOCKS.values()]
    nearest_code(x, z)
    taken = [clock() - start for clock, start in zip(CLOCKS.values(), began, strict=True)]
    return dict(zip(CLOCKS, taken, strict=True)) | {"mb": (high_water_mark() - before) / 1e6}


def retrieval(turns: int, positions: int = POSITIONS, slots: int = 3) -> dict[str, float]:
    """Median seconds an image of both ways, and how many times faster the slots are."""
    torch.manual_seed(0)
    module = SlotAttention(CHANNELS, DIMENSION, CHANNELS, HEADS)
    x, values = torch.randn(IMAGES, positions, CHANNELS), torch.randn(slots, DIMENSION)
    affinity = torch.randn(IMAGES, positions, slots).softmax(-1)

    def timed(way: Callable[..., Tensor], gradient: bool) -> float:
        inputs = [leaf.clone().requires_grad_(gradient) for leaf in (x, affinity, values)]
        start = time.process_time()
        with torch.set_grad_enabled(gradient):
            out = way(*inputs)
            if gradient:
                out.sum().backward()
        return (time.process_time() - start) / IMAGES

    report = {}
    for name, gradient in (("training", True), ("inference", False)):
        ways = {"slots": partial(timed, module, gradient)}
        ways["direct"] = partial(timed, module.direct, gradient)
        seconds = {n: statistics.median(t) for n, t in take_turns(ways, turns).items()}
        report |= {f"{name}_{n}": value for n, value in seconds.items()}
        report[f"{name}_speedup"] = seconds["direct"] / seconds["slots"]
    return report


def steps(turns: int) -> dict[str, float]:
    """Median seconds a step at profile quick, and the ratio."""
    height, width, images, factor = QUICK
    batch, ways = noise_batch(TASKS, height, width, images), {}
    for name in ("supervised", "tpkr"):
        torch.manual_seed(0)
        method = build_method(name, TASKS, "resnet18_fused", factor).train()
        optimizer = torch.optim.Adam(method.param_groups(1e-4), lr=1e-4)
        compute = partial(method.training_step, batch, progress=0.0)
        ways[name] = partial(timed_step, compute, optimizer, "cpu")
    seconds = {name: statistics.median(t) for name, t in take_turns(ways, turns).items()}
    return seconds | {"ratio": seconds["tpkr"] / seconds["supervised"]}


def main(argv: list[str] | None = None) -> int:
    """Prints a report and writes it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tpkr", description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/bench_tpkr.json"))
    args = parser.parse_args(argv)
    search = codes()
    print(
        f"nearest of {CODES} codes for {TOKENS} tokens: {search['wall']:.2f} s on "
        f"{torch.get_num_threads()} threads (at most {LIMITS['seconds']} s on two), "
        f"{search['mb']:.0f} MB (at most {LIMITS['mb']:.0f})",
        flush=True,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    attention = retrieval(args.turns)
    for name in ("training", "inference"):
        print(
            f"cross-attention at {POSITIONS} positions, {name}: "
            f"{1e3 * attention[f'{name}_slots']:.0f} ms an image through the slots, "
            f"{1e3 * attention[f'{name}_direct']:.0f} ms by positions, "
            f"x{attention[f'{name}_speedup']:.1f} (wanted: x{LIMITS['speedup']:.0f})",
            flush=True,
        )
    step = steps(args.turns)
    print(f"a step of TPKR: {step['tpkr']:.2f} s, x{step['ratio']:.2f} of the network alone")
    torch.set_num_threads(threads)
    report = {"codes": search, "retrieval": attention, "step": step, "limits": LIMITS}
    return write_report(report, args.out)


if __name__ == "__main__":
    raise SystemExit(main())
