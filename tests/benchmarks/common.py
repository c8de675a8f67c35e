"""What all benchmarks share: one timed optimizer step, ways that take turns, the report."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mtpsl.methods import Terms
from mtpsl.runs.store import environment
from mtpsl.training import Precision

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def timed_step(
    compute: Callable[[], Terms],
    optimizer: torch.optim.Optimizer,
    clock: str = "wall",
    precision: Precision = "fp32",
) -> float:
    """Takes one optimizer step, as the engine makes it.

    Args:
        compute: The loss terms.
        optimizer: Of the parameters, which say the device.
        clock: A key of ``CLOCKS``; that of the processor is not disturbed by other programs.
        precision: "bf16" computes the terms under autocast.

    Returns:
        Seconds.
    """
    device = optimizer.param_groups[0]["params"][0].device
    start = CLOCKS[clock]()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        terms = compute()
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return CLOCKS[clock]() - start


def product_flops(compute: Callable[[], Terms]) -> int:
    """Multiplications and additions of a step's convolutions and matrix products, both ways."""
    with FlopCounterMode(display=False) as counter:
        torch.stack(list(compute().values())).sum().backward()
    return counter.get_total_flops()


def take_turns(ways: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Measures every way once a turn, because machines are shared and noisy: trust the ratios.

    Args:
        ways: Name -> what measures it.
        turns: How often; one more turn goes first, to warm up, and is not counted.

    Returns:
        Name -> ``turns`` measurements.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns + 1):
        for name, measure in ways.items():
            taken[name].append(measure())
    return {name: values[1:] for name, values in taken.items()}


def write_report(measured: Mapping[str, Any], path: Path) -> int:
    """Writes what was measured, and where, as JSON -> the exit status."""
    report = {"environment": environment(), "threads": torch.get_num_threads(), **measured}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1))
    print(f"written to {path}")
    return 0
