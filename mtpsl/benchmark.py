"""What a training step costs: methods side by side on one machine, as JSON.

Times are taken alternately (one step of each method in turn) in one process, because machines
are shared and noisy: trust the ratios. Peak memory is the growth of the resident set over the
step, each method in a process of its own; on CUDA it is the allocator's peak.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from mtpsl.batch import Batch
from mtpsl.data import open_dataset
from mtpsl.methods import Method, build_method
from mtpsl.records import environment
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple(str(i) for i in range(13))), depth(), normals()))
METHODS = {"mtl": "supervised", "hitts": "hitts"}  # name in the report -> method
SIZES = {  # name -> height, width, batch, width factor of the backbone
    "quarter_width": (96, 128, 8, 0.25),
    "full_width": (96, 128, 8, 1.0),
    "table8": (288, 384, 2, 1.0),
}
RENDERED = (  # data set, height, width, images
    ("rooms13", 96, 128, 800),
    ("rooms13", 288, 384, 160),
    ("streets7", 128, 256, 400),
    ("people21", 128, 128, 600),
)


def random_batch(height: int, width: int, images: int, device: str) -> Batch:
    """A one-label batch of noise in the right types and ranges."""
    generator = torch.Generator().manual_seed(0)
    image_maps = torch.rand(images, 3, height, width, generator=generator)
    targets = {
        "semseg": torch.randint(0, 13, (images, 1, height, width), generator=generator),
        "depth": 0.5 + 8 * torch.rand(images, 1, height, width, generator=generator),
        "normals": torch.nn.functional.normalize(image_maps - 0.5, dim=1),
    }
    labeled = {n: torch.arange(images) % 3 == i for i, n in enumerate(targets)}
    valid = {n: rows.view(-1, 1, 1, 1).expand(-1, 1, height, width) for n, rows in labeled.items()}
    index = torch.arange(images)
    return Batch(image_maps, targets, valid, labeled, index).to(device)


def prepared(name: str, size: str, device: str) -> tuple[Method, torch.optim.Adam, Batch]:
    height, width, images, factor = SIZES[size]
    torch.manual_seed(0)
    method = build_method(METHODS[name], TASKS, "segnet", factor).to(device)
    batch = random_batch(height, width, images, device)
    method.prepare([random_batch(height, width, max(images, 3), device)])
    return method.train(), torch.optim.Adam(method.parameters(), lr=1e-4), batch


def step(method: Method, optimizer: torch.optim.Adam, batch: Batch) -> float:
    """One optimizer step -> seconds."""
    start = time.perf_counter()
    terms = method.training_step(batch, progress=0.0)
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    if batch.images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def step_times(size: str, device: str, steps: int) -> dict[str, Any]:
    """Median seconds a step of each method, interleaved, and the ratio to the first."""
    ready = {name: prepared(name, size, device) for name in METHODS}
    for parts in ready.values():
        step(*parts)  # warm up
    seconds = {name: [] for name in ready}
    for _ in range(steps):
        for name, parts in ready.items():
            seconds[name].append(step(*parts))
    images = SIZES[size][2]
    ratios = [h / m for h, m in zip(seconds["hitts"], seconds["mtl"], strict=True)]
    return {
        name: {"seconds": statistics.median(s), "images_per_s": images / statistics.median(s)}
        for name, s in seconds.items()
    } | {"hitts_over_mtl": statistics.median(ratios), "steps": steps}


def peak_memory(name: str, size: str, device: str) -> float:
    """MiB that two training steps add to what building the method took."""
    method, optimizer, batch = prepared(name, size, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step(method, optimizer, batch), step(method, optimizer, batch)
        return torch.cuda.max_memory_allocated() / 2**20
    step(method, optimizer, batch), step(method, optimizer, batch)
    return high_water_mark()


def high_water_mark() -> float:
    """MiB this process has had resident at most.

    Linux's VmHWM; elsewhere ru_maxrss, which a process may inherit from the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def baseline_memory(device: str) -> float:
    """MiB of a process that has imported everything and trained nothing."""
    return 0.0 if device == "cuda" else high_water_mark()


def memory(size: str, device: str) -> dict[str, float]:
    """Peak MiB of each method in a fresh process, less an idle one's, and their ratio."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        idle = pool.apply(baseline_memory, (device,))
        peaks = {n: pool.apply(peak_memory, (n, size, device)) - idle for n in METHODS}
    return peaks | {"hitts_over_mtl": peaks["hitts"] / peaks["mtl"], "idle": idle}


def rendering(name: str, height: int, width: int, images: int) -> float:
    """Images a second of a generator: a cache built from nothing, on all cores, checksums included.

    This is what a user waits for; starting the helper processes counts.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        open_dataset(name, "train", height=height, width=width, images=images, cache_dir=folder)
        return images / (time.perf_counter() - start)


def main(argv: list[str] | None = None) -> int:
    """Prints a report and writes it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m mtpsl bench", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    default = ["quarter_width", "full_width"]
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=default)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    args = parser.parse_args(argv)
    report: dict[str, Any] = {"environment": environment(), "sizes": {}}
    for size in args.sizes:
        times, peaks = step_times(size, args.device, args.steps), memory(size, args.device)
        report["sizes"][size] = {"size": SIZES[size], "time": times, "peak_mib": peaks}
        print(
            f"{size:<12} MTL {times['mtl']['images_per_s']:7.1f} images/s, "
            f"HiTTs {times['hitts']['images_per_s']:7.1f}; "
            f"step time x{times['hitts_over_mtl']:.2f}, "
            f"peak memory x{peaks['hitts_over_mtl']:.2f} "
            f"({peaks['mtl']:.0f} -> {peaks['hitts']:.0f} MiB)",
            flush=True,
        )
    report["rendered_images_per_s"] = {}
    for name, height, width, images in RENDERED:
        rate = rendering(name, height, width, images)
        report["rendered_images_per_s"][f"{name} {height}x{width}"] = rate
        print(f"{name} {height}x{width}: {rate:.1f} images/s rendered and cached", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1))
    print(f"written to {args.out}")
    return 0
