"""How fast images come from the cache, beside a model that trains on them, as JSON.

Without ``--data``, scenes of the stand-in for NYUD-v2 are written as its preprocessed files and
read back. Rates are of one epoch after the other, without and with the papers' augmentation, read
in this process or by two workers. Other programs slow the clock on the wall, so look at the best
epoch, and at images per second of the processor: that of this process, with all its threads.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtpsl.data import DATASETS, open_dataset, recognize
from mtpsl.data.cache import Cached
from mtpsl.data.dataset import Dataset, TrainLoader
from mtpsl.data.readers.convert import TREES, file_of
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import build, noise_batch
from tests.benchmarks.common import take_turns, timed_step, write_report

SCENES = {kind.stands_for: name for name, kind in DATASETS.items() if kind.stand_in}
WRITTEN = "nyud"  # the data set whose files are written
DRAWN = 16  # scenes of the training split that differ
TARGETS = {  # height, width -> images a second on two cores, without and with augmentation
    (96, 128): (1500, 40),
    (288, 384): (150, 8),
}
BATCH = 8  # images, as in [HiTTs]
WIDTH_FACTOR = 0.25  # of the backbone, as at profile "quick": the fastest to be fed


def write_tree(root: Path, images: int, height: int, width: int, cache_dir: Path | str) -> None:
    """Preprocessed files of ``WRITTEN`` with generated scenes: ``images`` and one test image."""
    for split, count in (("train", images), ("test", 1)):
        size = {"height": height, "width": width, "images": min(count, DRAWN)}
        scenes = open_dataset(SCENES[WRITTEN], split, cache_dir=cache_dir, **size)
        for index in range(count):
            for folder, array in TREES[WRITTEN].to_arrays(scenes[index % len(scenes)]).items():
                path = file_of(root, split, folder, index)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array)


def rates(dataset: Dataset, *, augment: bool, workers: int, epochs: int) -> dict[str, float]:
    """Images a second over some epochs; the first one, which starts the workers, is left out."""
    loader = TrainLoader(dataset, batch_size=BATCH, seed=0, augment=augment, workers=workers)
    clock, processor = [], []
    for epoch in range(epochs + 1):
        began = time.perf_counter(), time.process_time()
        images = sum(len(views[0]) for views in loader.epoch(epoch))
        clock.append(images / (time.perf_counter() - began[0]))
        processor.append(images / (time.process_time() - began[1]))
    found = {"best": max(clock[1:]), "median": statistics.median(clock[1:])}
    if not workers:  # whose time is not that of this process
        found["per_cpu_second"] = statistics.median(processor[1:])
    return found


def reading(dataset: Dataset, images: int) -> float:
    """Images a second of a reader that has kept none yet."""
    images = min(images, len(dataset))
    began = time.perf_counter()
    for index in range(images):
        dataset[index]
    return images / (time.perf_counter() - began)


def training(dataset: Dataset, steps: int) -> float:
    """Images a second of plain multi-task training, the median step, once data is in memory."""
    experiment = Experiment(
        dataset=dataset.name,
        tasks=dataset.tasks.names,
        method="supervised",
        height=dataset.height,
        width=dataset.width,
        batch_size=BATCH,
        width_factor=WIDTH_FACTOR,
    )
    method = build(experiment).train()
    batch = noise_batch(dataset.tasks, dataset.height, dataset.width, BATCH)
    optimizer = torch.optim.Adam(method.param_groups(1e-4), lr=1e-4)
    step = lambda: method.training_step(*[batch] * method.views, progress=0.0)  # noqa: E731
    seconds = take_turns({"step": lambda: timed_step(step, optimizer)}, steps)["step"]
    return BATCH / statistics.median(seconds)


def measure(
    root: Path,
    name: str,
    height: int,
    width: int,
    *,
    images: int,
    epochs: int,
    steps: int,
    workers: Iterable[int],
    cache_dir: Path,
) -> dict[str, Any]:
    """Prints and returns what one size gives."""

    def reader() -> Dataset:
        return open_dataset(name, "train", height=height, width=width, images=images, root=root)

    found: dict[str, Any] = {"reader": reading(reader(), 2 * BATCH)}
    began = time.perf_counter()
    cached = Cached(reader(), cache_dir=cache_dir)
    found["images"], found["making"] = len(cached), len(cached) / (time.perf_counter() - began)
    began = time.perf_counter()
    reader()
    found["opening"] = time.perf_counter() - began  # s, with the digests of all files kept
    found["training"] = training(cached, steps)
    print(
        f"{name} {height}x{width}, {len(cached)} images: files {found['reader']:.0f} images/s, "
        f"making the cache {found['making']:.0f}; opened again in {found['opening']:.2f} s; "
        f"training {found['training']:.1f}",
        flush=True,
    )
    wanted = dict(zip(("plain", "augmented"), TARGETS.get((height, width), ()), strict=False))
    for kind in ("plain", "augmented"):
        for count in workers:
            rate = rates(cached, augment=kind == "augmented", workers=count, epochs=epochs)
            found[f"{kind}, {count} workers"] = rate
            goal = f" (wanted: {wanted[kind]})" if kind in wanted else ""
            parts = ", ".join(f"{key} {value:.0f}" for key, value in rate.items())
            print(f"  {kind:<9} {count} workers: {parts} images/s{goal}", flush=True)
    return found


def size_of(text: str) -> tuple[int, int]:
    """``"96x128"`` -> (96, 128); sides are multiples of 32, as the network wants them."""
    sides = text.split("x")
    if len(sides) != 2 or not all(n.isdecimal() and int(n) and int(n) % 32 == 0 for n in sides):
        raise argparse.ArgumentTypeError(
            f"expected a size in multiples of 32 such as 96x128, got {text!r}"
        )
    return int(sides[0]), int(sides[1])


def main(argv: list[str] | None = None) -> int:
    """Prints a report and writes it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.data", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of a data set; by default one is written")
    parser.add_argument("--sizes", nargs="+", type=size_of, default=list(TARGETS), metavar="HxW")
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="of training")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_data.json"))
    args = parser.parse_args(argv)
    for name in ("images", "epochs", "steps"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(args, name)}")
    if min(args.workers) < 0:
        parser.error(f"--workers: expected at least 0, got {min(args.workers)}")
    if args.data and recognize(args.data) is None:
        parser.error(f"--data: expected the folder of a data set, got {args.data}")
    how = {key: getattr(args, key) for key in ("images", "epochs", "steps", "workers")}
    report: dict[str, Any] = {"batch": BATCH, "sizes": {}}
    with tempfile.TemporaryDirectory() as folder:
        root, name = args.data or Path(folder) / "nyuv2", args.data and recognize(args.data)
        if name is None:
            name, (height, width) = WRITTEN, TREES[WRITTEN].size
            write_tree(root, args.images, height, width, Path(folder) / "scenes")
        for height, width in args.sizes:
            found = measure(root, name, height, width, cache_dir=Path(folder) / "cache", **how)
            report["sizes"][f"{height}x{width}"] = found
    return write_report(report, args.out)


if __name__ == "__main__":
    raise SystemExit(main())
