"""What a training step costs: methods side by side on one machine, as JSON.

Times are taken alternately in one process (one step of each method in turn): trust the ratios.
Memory is measured as for [HiTTs, Table 8] (``runs.network``): each method in a process of its own,
on a CPU the growth of the resident set, on CUDA the allocator's peak. ``--stages`` measures the two
stages of HiTTs at profile quick instead.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mtpsl.batch import Batch
from mtpsl.data import open_dataset
from mtpsl.methods import Method, Terms
from mtpsl.papers import tables
from mtpsl.papers.hitts import tables as hitts
from mtpsl.runs.data import bind_data, label, open_split, tasks_of
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import build, noise_batch, training_memory
from mtpsl.runs.profiles import quick
from mtpsl.runs.run import discover, run
from mtpsl.runs.store import RunStore, Session
from tests.benchmarks.common import product_flops, take_turns, timed_step, write_report

METHODS = {  # on the three tasks of NYUD-v2, one label per image; the first is the measure
    "mtl": Experiment(method="supervised"),
    "mtan": Experiment(method="mtan"),
    "xtc": Experiment(method="xtc"),
    "hitts": Experiment(method="hitts"),
}
SIZES = {  # name -> height, width, batch, width factor of the backbone; empty: profile quick
    "quick": (),
    "quarter_width": (96, 128, 8, 0.25),
    "full_width": (96, 128, 8, 1.0),
    "table8": (288, 384, 2, 1.0),
}
SHOWN = ("height", "width", "batch_size", "width_factor")  # of a size, in the report
TRAINING_SET = 795  # images of NYUD-v2
STAGE_LIMIT = 1.5  # the second stage, discovery included, over the first
DISCOVERY_LIMIT = 20.0  # seconds for TRAINING_SET images at profile quick on two cores
RENDERED = (  # data set, height, width, images
    ("rooms13", 96, 128, 800),
    ("rooms13", 288, 384, 160),
    ("streets7", 128, 256, 400),
    ("people21", 128, 128, 600),
)


def at_size(chosen: Experiment, size: str) -> Experiment:
    """The same experiment at one of ``SIZES``."""
    if not SIZES[size]:
        return quick(chosen)
    height, width, images, factor = SIZES[size]
    return chosen.replace(height=height, width=width, batch_size=images, width_factor=factor)


def prepared(chosen: Experiment, device: str) -> tuple[Method, torch.optim.Adam, Batch]:
    tasks, images = tasks_of(chosen), chosen.batch_size
    method = build(chosen).to(device)
    batch = noise_batch(tasks, chosen.height, chosen.width, images).to(device)
    method.prepare([noise_batch(tasks, chosen.height, chosen.width, max(images, 3)).to(device)])
    groups = method.param_groups(1e-4)
    return method.train(), torch.optim.Adam(groups, lr=1e-4, fused=True), batch


def step(method: Method, optimizer: torch.optim.Adam, batch: Batch) -> float:
    """Takes one optimizer step -> seconds."""
    return timed_step(partial(terms, method, batch), optimizer)


def terms(method: Method, batch: Batch) -> Terms:
    return method.training_step(*[batch] * method.views, progress=0.0)


def step_times(rows: Mapping[str, Experiment], device: str, steps: int) -> dict[str, Any]:
    """Median seconds and products of a step of each method, interleaved, and ratios to the first.

    Products are the multiplications and additions of convolutions and matrices, both ways: a
    method whose step has four times as many will hardly take three times as long.
    """
    ready = {name: prepared(chosen, device) for name, chosen in rows.items()}
    seconds = take_turns({name: partial(step, *parts) for name, parts in ready.items()}, steps)
    first = next(iter(rows))
    report: dict[str, Any] = {"steps": steps}
    for name, taken in seconds.items():
        middle, (method, _, batch) = statistics.median(taken), ready[name]
        report[name] = {"seconds": middle, "images_per_s": len(batch) / middle}
        report[name]["products"] = product_flops(partial(terms, method, batch))
        if name != first:
            pairs = zip(taken, seconds[first], strict=True)
            report[f"{name}_over_{first}"] = statistics.median(a / b for a, b in pairs)
    return report


def memory(rows: Mapping[str, Experiment], device: str) -> dict[str, float]:
    """Peak MiB of a training step of each method, and the ratios to the first."""
    peaks = {n: training_memory(chosen, device).bytes / 2**20 for n, chosen in rows.items()}
    first = next(iter(rows))
    return peaks | {f"{n}_over_{first}": peaks[n] / peaks[first] for n in rows if n != first}


def stage_times(
    second: Experiment, device: str, cache_dir: Path | str | None = None
) -> dict[str, float]:
    """Seconds of both stages of a two-stage method, trained from nothing as ``run`` does it.

    Args:
        second: Its teacher is the first stage and takes as many steps.
        device: "cpu", "cuda" or "cuda:N".
        cache_dir: Of rendered scenes; None for the default.
    """
    second = bind_data(second)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(RunStore(folder), device, cache_dir=cache_dir, progress=False)
        record = run(second, session)
        first = session.store.load(second.teacher.key).seconds["train"]
    train, found = record.seconds["train"], record.seconds["discover"]
    steps = second.epochs * -(-second.train_images // second.batch_size)
    ratio = (found + train) / first
    return {"steps": steps, "first": first, "discover": found, "second": train, "ratio": ratio}


def discovery_time(
    second: Experiment, images: int, device: str, cache_dir: Path | str | None = None
) -> dict[str, float]:
    """Seconds in which a teacher labels so many images, thresholds and files included.

    Args:
        second: Its teacher is trained for one epoch on a few images: what it says takes as long.
        images: Of the training split.
        device: "cpu", "cuda" or "cuda:N".
        cache_dir: Of rendered scenes; None for the default.
    """
    few = {"train_images": 4 * len(second.tasks), "test_images": 1, "epochs": 1}
    teacher = second.teacher.replace(**few)
    second = bind_data(second.replace(train_images=images, teacher=teacher))
    with tempfile.TemporaryDirectory() as folder:
        session = Session(RunStore(folder), device, cache_dir=cache_dir, progress=False)
        labeled, _ = label(second, open_split(second, "train", session))
        run(second.teacher, session)
        start = time.perf_counter()
        discover(second, labeled, session)
        return {"images": images, "seconds": time.perf_counter() - start}


def rendering(name: str, height: int, width: int, images: int) -> float:
    """Images a second of a generator: a cache built from nothing, on all cores, checksums included.

    This is what a user waits for; starting the helper processes counts.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        open_dataset(name, "train", height=height, width=width, images=images, cache_dir=folder)
        return images / (time.perf_counter() - start)


def report_sizes(
    rows: Mapping[str, Experiment], sizes: Sequence[str], device: str, steps: int
) -> dict[str, Any]:
    """Prints and returns what steps cost, size by size."""
    report, first, wide = {}, next(iter(rows)), max(map(len, rows))
    for size in sizes:
        chosen = {name: at_size(one, size) for name, one in rows.items()}
        times, peaks = step_times(chosen, device, steps), memory(chosen, device)
        settings = {name: getattr(chosen[first], name) for name in SHOWN}
        report[size] = {"size": settings, "time": times, "peak_mib": peaks}
        for name in rows:
            compared = ""
            if name != first:
                ratios = [part[f"{name}_over_{first}"] for part in (times, peaks)]
                ratios.append(times[name]["products"] / times[first]["products"])
                compared = "; step time x{:.2f}, peak memory x{:.2f}, products x{:.2f}"
                compared = compared.format(*ratios)
            rate = times[name]["images_per_s"]
            line = f"{name:<{wide}} {rate:7.1f} images/s, {peaks[name]:6.0f} MiB{compared}"
            print(f"{size:<14} {line}", flush=True)
    return report


def report_stages(second: Experiment, images: int, device: str) -> dict[str, Any]:
    """Prints and returns what the second stage of HiTTs costs beside the first."""
    found = discovery_time(second, images, device)
    print(
        f"discovery on {images} images of {second.height}x{second.width}: "
        f"{found['seconds']:.1f} s (at most {DISCOVERY_LIMIT:.0f} s on two cores)",
        flush=True,
    )
    stages = stage_times(second, device)
    print(
        f"{stages['steps']} steps: first stage {stages['first']:.1f} s; second stage "
        f"{stages['discover']:.1f} s of discovery and {stages['second']:.1f} s of training, "
        f"x{stages['ratio']:.2f} (at most x{STAGE_LIMIT})",
        flush=True,
    )
    return {"stages": stages, "discovery": found}


def main(argv: list[str] | None = None) -> int:
    """Prints a report and writes it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.steps", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["mtl", "hitts"])
    parser.add_argument("--table", help="its rows of one training each, in place of methods")
    default = ["quick", "quarter_width", "full_width"]
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=default)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--epochs", type=int, help="of each stage; by default those of quick")
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    args = parser.parse_args(argv)
    report: dict[str, Any] = {}
    if args.stages:
        second = quick(hitts.ours("one_label"))
        if args.epochs:
            teacher = second.teacher.replace(epochs=args.epochs)
            second = second.replace(epochs=args.epochs, teacher=teacher)
        report |= report_stages(second, TRAINING_SET, args.device)
    else:
        rows = {name: METHODS[name] for name in args.methods}
        if args.table:
            trained = {row.name: row.experiments for row in tables()[args.table].rows}
            rows = {name: each[0] for name, each in trained.items() if len(each) == 1}
        report["sizes"] = report_sizes(rows, args.sizes, args.device, args.steps)
        report["rendered_images_per_s"] = {}
        for name, height, width, images in () if args.table else RENDERED:
            rate = rendering(name, height, width, images)
            report["rendered_images_per_s"][f"{name} {height}x{width}"] = rate
            print(f"{name} {height}x{width}: {rate:.1f} images/s rendered and cached", flush=True)
    return write_report(report, args.out)


if __name__ == "__main__":
    raise SystemExit(main())
