"""Runs the notebooks side by side and regenerates every table and figure: ``make reproduce``.

A notebook that finished before is not run again as long as its text, the package, the recorded
results and its parameters are what they were and everything it wrote is still there. One that
fails does not stop the others. Ctrl-C leaves a state from which the same command goes on.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtpsl.reproduction.notebooks import (
    Notebook,
    UsageError,
    checkout,
    digest_of_code,
    output_folder,
    runs_folder,
    select,
    write_inputs,
)

PROFILES = ("smoke", "quick", "full")  # those of ``profiles``, which is slow to import
POLL = 0.1  # seconds between looks at the running notebooks


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asks for."""

    profile: str = "smoke"
    data_root: str = ""
    device: str = "auto"
    seeds: int = 1
    jobs: int = 1
    only: tuple[str, ...] = ()
    force: bool = False

    def parameters(self) -> dict[str, Any]:
        """What every notebook is given; its ``parameters`` cell must know each name."""
        return {
            "profile": self.profile,
            "data_root": self.data_root,
            "device": self.device,
            "seed": 0,
            "use_cache": True,
        }

    def command(self, only: Sequence[str]) -> str:
        """What to type to run these notebooks again."""
        parts = ["make reproduce", f"PROFILE={self.profile}"]
        parts += [f"DATA={self.data_root}"] if self.data_root else []
        parts += [f"SEEDS={self.seeds}"] if self.seeds != 1 else []
        parts += [f"DEVICE={self.device}"] if self.device != "auto" else []
        return " ".join([*parts, f"ONLY={','.join(only)}"])


def register(output: Path) -> list[Path]:
    """Every file of a table or a figure that the notebooks must write."""
    from mtpsl import papers

    tables = [
        output / table.paper / f"{table.name}.{kind}"
        for table in papers.tables().values()
        for kind in ("md", "html", "csv")
    ]
    figures = [
        output / f"{name}.{kind}" for name in papers.figures() for kind in ("png", "json", "npz")
    ]
    return tables + figures


# ------------------------------------------------------------------- runner


def reproduce(options: Options, root: Path, expected: Sequence[Path]) -> int:
    """Runs what is not done yet and reports.

    Args:
        options: Which notebooks, how many at a time, and their parameters.
        root: The checkout.
        expected: The files that must exist afterwards and be newer than the run.

    Returns:
        0 if every notebook finished and every file is there, else 1.

    Raises:
        UsageError: If a notebook does not exist or lacks a parameter.
    """
    folder = runs_folder(root) / options.profile / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    code = digest_of_code(root, [options.parameters(), options.seeds])
    notebooks = [
        Notebook(source, folder, tuple(expected), code)
        for source in select(root / "notebooks", options.only)
    ]
    print(
        f"{options.profile}: notebooks to do: {len(notebooks)}, {options.jobs} at a time; "
        f"logs in {_short(folder, root)}/"
    )
    began = time.monotonic()
    with _alone(folder), tempfile.TemporaryDirectory() as inputs:
        for notebook in notebooks:
            if not options.force and notebook.is_done():
                notebook.state, notebook.seconds = "unchanged", notebook.stamp()["seconds"]
        todo = [n for n in notebooks if n.state == "waiting"]
        if todo:
            write_inputs(todo, Path(inputs), tuple(options.parameters()))
        interrupted = _run_all(notebooks, options, Path(inputs), _environment(options, root))
    _summary(notebooks, options, root, time.monotonic() - began)
    if interrupted:
        print("interrupted; the same command goes on from here")
        return 1
    complete = _check(notebooks, expected, options, root)
    return 0 if complete and all(n.state != "failed" for n in notebooks) else 1


def _run_all(
    notebooks: Sequence[Notebook], options: Options, inputs: Path, environment: Mapping[str, str]
) -> bool:
    """Keeps ``options.jobs`` notebooks running until none is left; True if interrupted."""
    usual = {n.name: n.stamp().get("seconds", 0.0) for n in notebooks}
    for n in notebooks:
        if n.state == "unchanged":
            _line(notebooks, n, "nothing changed", usual, options.jobs)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while any(n.state in ("waiting", "running") for n in notebooks):
            running = [n for n in notebooks if n.state == "running"]
            for n in running:
                code = n.process.poll()
                if code is not None:
                    n.finish(code)
                    again = n.state == "waiting"
                    what = "the kernel did not start; once more" if again else _time(n.seconds)
                    _line(notebooks, n, what, usual, options.jobs)
            waiting = [n for n in notebooks if n.state == "waiting"]
            free = options.jobs - sum(n.state == "running" for n in notebooks)
            for n in waiting[: max(free, 0)]:
                n.start(options.parameters(), inputs, environment)
            time.sleep(POLL)
    except KeyboardInterrupt:
        for n in notebooks:
            n.stop()
            if n.state == "running":
                n.state, n.seconds = "stopped", time.time() - n.started
        return True
    finally:
        signal.signal(signal.SIGTERM, previous)
    return False


def _line(
    notebooks: Sequence[Notebook], n: Notebook, what: str, usual: Mapping[str, float], jobs: int
) -> None:
    """One line of progress, such as ``[3/14] ok 11_hitts_tables 4.9 s, about 20 s left``."""
    done = [m for m in notebooks if m.state not in ("waiting", "running")]
    left = [m for m in notebooks if m not in done]
    known = [m.seconds for m in done if m.state == "ok"] or [s for s in usual.values() if s]
    guess = sum(known) / len(known) if known else 0.0
    seconds = sum(
        max(0.0, (usual[m.name] or guess) - (time.time() - m.started if m.started else 0.0))
        for m in left
    )
    rest = f", about {_time(seconds / min(jobs, len(left)))} left" if left and guess else ""
    print(f"[{len(done)}/{len(notebooks)}] {n.state} {n.name} {what}{rest}", flush=True)


def _environment(options: Options, root: Path) -> dict[str, str]:
    """Of the kernels: the cores shared out, one folder of runs, no progress bars."""
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    mine = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "MTPSL_PROGRESS": "0"}
    wanted = {"MTPSL_RUNS": str(runs_folder(root)), "MTPSL_SEEDS": str(options.seeds)}
    return mine | dict(os.environ) | wanted


def _summary(notebooks: Sequence[Notebook], options: Options, root: Path, seconds: float) -> None:
    width = max(len(n.name) for n in notebooks)
    print()
    for n in notebooks:
        print(f"  {n.name:<{width}}  {n.state:<9}  {_time(n.seconds):>10}  {n.error}".rstrip())
    failed = [n for n in notebooks if n.state == "failed"]
    for n in failed:
        print(f"see {_short(n.path('.failed.ipynb'), root)} and {_short(n.path('.log'), root)}")
    if failed:
        print(f"to run again what failed: {options.command([n.name for n in failed])}")
    print(f"took {_time(seconds)}")


def _check(
    notebooks: Sequence[Notebook], expected: Sequence[Path], options: Options, root: Path
) -> bool:
    """Whether every file of the register is there, written by one of these runs."""
    output = _short(output_folder(options.profile, root), root)
    wrote = {p for n in notebooks for p in n.stamp().get("wrote", ())}
    missing = [p for p in expected if str(p) not in wrote or not p.is_file()]
    print(
        f"tables and figures: {len(expected) - len(missing)} of {len(expected)} files in {output}/"
    )
    if options.only:  # a part of the notebooks writes a part of the files
        missing = []
    for path in missing:
        words = "not written by this run" if path.is_file() else "missing"
        print(f"  {words}: {_short(path, root)}")
    if all(n.path(".ipynb").is_file() for n in notebooks):
        print(f"look first at {_short(notebooks[-1].path('.ipynb'), root)}, then into {output}/")
    return not missing


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuses to run twice into the same folder at the same time."""
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another reproduce is running here; wait for it") from None
        yield


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


# ------------------------------------------------------------- command line


def parse(argv: Sequence[str] | None) -> Options:
    """The command line, checked. Exits with 2 where it is wrong, like every argparse program."""
    parser = argparse.ArgumentParser(
        prog="python -m mtpsl reproduce",
        description="Regenerates every table and figure by running the notebooks.",
        epilog="Exit status: 0 all done, 1 something failed, 2 bad usage. "
        "Run it again after Ctrl-C or a failure: what is done stays done.",
    )
    parser.add_argument("--profile", choices=PROFILES, default="smoke")
    parser.add_argument("--data", default="", help="a folder on disk; default: the embedded data")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds a row is trained with")
    parser.add_argument("--jobs", type=int, help="notebooks side by side; default: one a core")
    parser.add_argument("--only", default="", help="parts of notebooks' names, comma-separated")
    parser.add_argument("--force", action="store_true", help="run again what is done")
    args = parser.parse_args(argv)
    jobs = args.jobs if args.jobs is not None else min(4, os.cpu_count() or 1)
    for name, value in (("--seeds", args.seeds), ("--jobs", jobs)):
        if value < 1:
            parser.error(f"{name}: expected at least 1, got {value}")
    data = args.data and Path(args.data).expanduser().resolve()
    if data and not data.is_dir():
        parser.error(f"--data: expected a folder, got {args.data}")
    return Options(
        profile=args.profile,
        data_root=str(data) if data else "",
        device=args.device,
        seeds=args.seeds,
        jobs=jobs,
        only=tuple(args.only.replace(",", " ").split()),
        force=args.force,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m mtpsl reproduce``."""
    options = parse(argv)
    try:
        root = checkout()
        return reproduce(options, root, register(output_folder(options.profile, root)))
    except UsageError as error:
        print(f"mtpsl reproduce: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
