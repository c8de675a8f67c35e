"""Whether a training step takes longer than at another commit: two checkouts side by side, as JSON.

``git worktree add ../before <commit>``, then ``python -m tests.benchmarks.commits ../before``. Each
checkout runs in a process of its own that keeps its networks; steps are taken alternately on the
same noise, and the median of the ratios is reported. With ``--clock cpu`` time is that of the
processor, which other programs do not disturb.
"""

import argparse
import os
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.benchmarks.common import CLOCKS, take_turns, write_report

ROOT = Path(__file__).parents[2]
METHODS = ("supervised", "mtan", "xtc", "hitts")
SIZE = {"height": 96, "width": 128, "images": 8, "width_factor": 0.25}  # as at profile "quick"

# What a checkout's process runs: only names that have been the same for a long time.
WORKER = """
import sys, time
import torch
import torch.nn.functional as F
from mtpsl.batch import Batch
from mtpsl.tasks import TaskSet, depth, normals, semseg
try:
    from mtpsl.papers import build_method
except ImportError:  # before papers had folders of their own
    from mtpsl.methods import build_method

methods, clock = sys.argv[1].split(","), getattr(time, sys.argv[2])
height, width, images = map(int, sys.argv[3:6])
factor = float(sys.argv[6])
tasks = TaskSet((semseg(tuple(map(str, range(13)))), depth(), normals()))
draw = torch.Generator().manual_seed(0)
size = (images, 1, height, width)
full = {
    "semseg": torch.randint(13, size, generator=draw),
    "depth": 0.5 + 8 * torch.rand(size, generator=draw),
    "normals": F.normalize(torch.randn(images, 3, height, width, generator=draw), dim=1),
}
index = torch.arange(images)
labeled = {name: index % 3 == k for k, name in enumerate(full)}
valid = {n: rows.view(-1, 1, 1, 1).expand(size) for n, rows in labeled.items()}
targets = {n: torch.where(valid[n], m, tasks[n].fill_missing(m)) for n, m in full.items()}
pictures = torch.rand(images, 3, height, width, generator=draw)
batch = Batch(pictures, targets, valid, labeled, index)
ready = {}
for name in methods:
    torch.manual_seed(0)
    method = build_method(name, tasks, "segnet", factor)
    method.prepare([batch])
    method.train()
    ready[name] = method, torch.optim.Adam(method.param_groups(1e-4), lr=1e-4)
for line in sys.stdin:
    method, optimizer = ready[line.strip()]
    start = clock()
    terms = method.training_step(*[batch] * method.views, progress=0.0)
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    print(clock() - start, float(sum(terms.values()).detach()), flush=True)
"""


def start(checkout: Path, methods: tuple[str, ...], clock: str, size: dict) -> subprocess.Popen:
    """Starts a process that takes a step of the method whose name it reads, and says its time."""
    arguments = [",".join(methods), CLOCKS[clock].__name__, *map(str, size.values())]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(worker: subprocess.Popen, method: str, losses: list[float]) -> float:
    """Takes one step in a worker -> seconds; its loss is added to ``losses``.

    Raises:
        RuntimeError: If the worker has stopped; what it said is on stderr.
    """
    print(method, file=worker.stdin, flush=True)
    answer = worker.stdout.readline().split()
    if not answer:
        raise RuntimeError(f"{worker.args[0]}: expected a step of {method}, got no answer")
    losses.append(float(answer[1]))
    return float(answer[0])


def compare(
    before: Path, methods: tuple[str, ...], steps: int, clock: str, size: dict | None = None
) -> dict[str, dict[str, float]]:
    """Method -> median seconds of a step before and now, their ratio, and whether losses agree."""
    size = size or SIZE
    workers = {
        when: start(at, methods, clock, size) for when, at in (("before", before), ("now", ROOT))
    }
    report = {}
    try:
        for method in methods:
            losses: dict[str, list[float]] = {when: [] for when in workers}
            ways = {when: partial(ask, w, method, losses[when]) for when, w in workers.items()}
            seconds = take_turns(ways, steps)
            ratios = [b / a for a, b in zip(seconds["before"], seconds["now"], strict=True)]
            report[method] = {
                **{when: statistics.median(taken) for when, taken in seconds.items()},
                "ratio": statistics.median(ratios),
                "same_losses": losses["before"] == losses["now"],
            }
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
            worker.stdout.close()
    return report


def main(argv: list[str] | None = None) -> int:
    """Prints a report and writes it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.commits", description=__doc__)
    parser.add_argument("before", type=Path, help="folder of a checkout of the other commit")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_commits.json"))
    args = parser.parse_args(argv)
    if not (args.before / "mtpsl").is_dir():
        parser.error(f"before: expected a checkout with a folder mtpsl, got {args.before}")
    report = compare(args.before.resolve(), tuple(args.methods), args.steps, args.clock)
    for method, row in report.items():
        same = "the same losses" if row["same_losses"] else "other losses"
        print(
            f"{method:<12} {row['before']:.4f} s -> {row['now']:.4f} s, x{row['ratio']:.3f}; {same}"
        )
    return write_report({"methods": report}, args.out)


if __name__ == "__main__":
    raise SystemExit(main())
