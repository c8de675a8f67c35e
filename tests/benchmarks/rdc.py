"""What the contrast of regions costs beside the network that it trains, as JSON.

On one thread and by the processor's clock; everything takes turns in one process: trust the ratios.
``step`` is the network's own, on two views as RDC trains it; ``one_view`` that of plain supervised
training; ``contrast`` everything from the maps of the mapping network to their gradient: statistics
of all regions, all distances, InfoNCE; ``rdc`` the whole step. ``sqrtm_one_image`` is a plain loop
over the regions of a single image, as the code of RDC has it: numpy's covariances and scipy's
matrix root for a positive and two negatives, without any gradient.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.methods.base import Terms, supervised_terms
from mtpsl.papers import build_method
from mtpsl.papers.rdc.gaussians import find_regions
from mtpsl.papers.rdc.method import RDC
from mtpsl.papers.xtc.loss import Inputs, find_links
from mtpsl.papers.xtc.method import two_views
from mtpsl.runs.network import noise_batch
from mtpsl.tasks import TaskSet, depth, normals, semseg
from tests.benchmarks.common import CLOCKS, take_turns, timed_step, write_report

TASKS = TaskSet((semseg(13), depth(), normals()))
REGIONS = 30
SIZES: dict[str, tuple[int, int, float, dict[str, Any]]] = {  # height, width, factor, method_args
    "quick": (64, 96, 0.25, {"pools": 2}),
    "8 negatives": (96, 128, 1.0, {"pools": 2, "negatives": 8}),
}
LIMITS = {"quick": 0.5, "8 negatives": 1.0}  # contrast over step


def cells(images: int, height: int, width: int) -> Tensor:
    """(images, 1, height, width) int64: each pixel's nearest of ``REGIONS`` random places."""
    draw = torch.Generator().manual_seed(0)
    size = torch.tensor([height, width])
    pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()
    places = torch.rand(images, REGIONS, 2, generator=draw) * size
    return torch.cdist(pixels, places).argmin(-1).view(images, 1, height, width)


def pieces(method: RDC, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """What ``contrast_maps`` starts from: maps and regions of all links; and of image 0 alone."""
    links = find_links(TASKS, batch)
    with torch.no_grad():
        inputs = Inputs(method.net(batch.images).predictions, batch)
        maps, labels = method.loss.embed(links, inputs)
    size = maps.shape[2:]
    every = [maps, labels, torch.cat([method.loss.region_ids(x, batch, size) for x in links])]
    rows = [row for link in links for row in link.rows]
    return every, [x[[i for i, row in enumerate(rows) if row == 0]] for x in every]


def contrast(method: RDC, maps: Tensor, labels: Tensor, ids: Tensor) -> None:
    """The contrast of all regions, and its gradient in the maps."""
    leaves = [m.clone().requires_grad_() for m in (maps, labels)]
    losses, _ = method.loss.contrast_maps(*leaves, ids, torch.Generator().manual_seed(0))
    torch.autograd.grad(losses.sum(), leaves)


def sqrtm_loop(method: RDC, maps: Tensor, labels: Tensor, ids: Tensor) -> float:
    """The mean -log similarity ratio of one image's regions, region by region."""
    least, tau, total = method.loss.min_pixels, method.loss.temperature, []
    for p, k, owner in zip(maps.numpy(), labels.numpy(), ids.numpy(), strict=True):
        found = []
        for region in np.unique(owner[owner >= 0]):
            inside = owner == region
            if inside.sum() >= least:
                found.append([(x[:, inside].mean(1), np.cov(x[:, inside])) for x in (p, k)])
        for anchor, positive in found:
            others = (positive, *(one for _, one in found[:2]))
            near = [np.exp(-plain_wasserstein(*anchor, *other) / tau) for other in others]
            total.append(-np.log(near[0] / sum(near)))
    return float(np.mean(total))


def plain_wasserstein(mean_p: Any, of_p: Any, mean_k: Any, of_k: Any) -> float:
    """[RDC, Eq. 5] as printed, with 1e-6 on the diagonals."""
    small = 1e-6 * np.eye(len(of_p))
    root = scipy.linalg.sqrtm((of_p + small) @ (of_k + small)).real
    return np.square(mean_p - mean_k).sum() + np.trace(of_p + of_k - 2 * root)


def measure(
    size: str, *, backbone: str = "hrnet_w18_small_v2", turns: int = 3, clock: str = "cpu"
) -> dict[str, float]:
    """Median seconds of each part for a batch of 8 with one label each, and what counts."""
    height, width, factor, options = SIZES[size]
    torch.manual_seed(0)
    method: RDC = build_method("rdc", TASKS, backbone, factor, options).train()
    batch = noise_batch(TASKS, height, width, images=8)
    batch = replace(batch, regions=cells(8, height, width))
    optimizer = torch.optim.Adam(method.param_groups(1e-4), lr=1e-4)
    every, first = pieces(method, batch)

    def supervised(*views: Batch) -> Terms:
        predictions, _, _ = two_views(method.net, views)
        return supervised_terms(TASKS, predictions, batch)

    def timed(compute: Callable[[], Any]) -> Callable[[], float]:
        def way() -> float:
            start = CLOCKS[clock]()
            compute()
            return CLOCKS[clock]() - start

        return way

    def step(compute: Callable[[], Terms]) -> Callable[[], float]:
        return lambda: timed_step(compute, optimizer, clock)

    ways = {
        "one_view": step(lambda: supervised(batch)),
        "step": step(lambda: supervised(batch, batch)),
        "contrast": timed(lambda: contrast(method, *every)),
        "rdc": step(lambda: method.training_step(batch, batch, progress=0.5)),
        "sqrtm_one_image": timed(lambda: sqrtm_loop(method, *first)),
    }
    seconds = take_turns(ways, turns)
    report = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name in ("contrast", "rdc"):
        for other in ("step", "one_view"):
            report[f"{name}_over_{other}"] = report[name] / report[other]
    regions = find_regions(every[2], method.loss.min_pixels)
    return report | {"limit": LIMITS[size], "regions": len(regions.sizes) / len(every[2])}


def main(argv: list[str] | None = None) -> int:
    """Prints a report and writes it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rdc", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_rdc.json"))
    args = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    report = {}
    for size in args.sizes:
        report[size] = times = measure(size, turns=args.turns, clock=args.clock)
        print(
            f"RDC, {size}, {times['regions']:.0f} regions: network {times['step']:.2f} s a step; "
            f"contrast x{times['contrast_over_step']:.2f} (at most x{times['limit']}), of one view "
            f"x{times['contrast_over_one_view']:.2f}; all of RDC {times['rdc']:.2f} s; sqrtm loop "
            f"{times['sqrtm_one_image']:.2f} s an image",
            flush=True,
        )
    status = write_report(report, args.out)
    torch.set_num_threads(threads)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
