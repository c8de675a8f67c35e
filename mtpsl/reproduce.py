"""Runs the notebooks side by side: ``make reproduce``, and ``make notebooks`` with ``--build``.

A notebook that finished before is not run again as long as its text, the package, the recorded
results and its parameters are what they were and everything it wrote is still there. One that
fails does not stop the others. Ctrl-C leaves a state from which the same command goes on.
"""

import difflib
import hashlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtpsl.places import UsageError, output_folder, runs_folder

BATCH = {  # variables under which committed notebooks are built; with two threads, sums differ
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "MTPSL_PROGRESS": "0",
}


def select(folder: Path, only: str) -> list[Path]:
    """The notebooks' sources in order; ``only`` holds parts of names, comma-separated.

    Raises:
        UsageError: If a part fits no notebook, or there is none at all.
    """
    sources, parts = sorted(folder.glob("[0-9][0-9]*_*.py")), only.replace(",", " ").split()
    names = [source.stem for source in sources]
    if not sources:
        raise UsageError(f"notebooks: expected NN_name.py files in {folder}, got none")
    for part in parts:
        if not any(part in name for name in names):
            hint = nearest(part, names, cutoff=0.3)
            raise UsageError(f"only: expected a part of one of {names}, got {part!r}{hint}")
    return [s for s in sources if not parts or any(part in s.stem for part in parts)]


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """A question such as ``; did you mean 'table1'?``, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""


# ------------------------------------------------------------- one notebook


@dataclass
class Notebook:
    """One notebook, where its results go, and how far it is."""

    source: Path  # the .py
    folder: Path  # of the executed notebooks
    digest: str = ""  # changes with everything that decides the result
    built: Path | None = None  # the notebook to run, made from the source
    state: str = "waiting"  # then unchanged, ok, failed or stopped
    seconds: float = 0.0  # of this run, or of the last one until this has ended
    error: str = ""

    @property
    def name(self) -> str:
        return self.source.stem

    def path(self, ending: str) -> Path:
        return self.folder / f"{self.name}{ending}"

    def stamp(self) -> dict[str, Any]:
        """What is known about the last successful run; empty where there is none or half a one."""
        try:
            return json.loads(self.path(".stamp.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}  # so the notebook runs again

    def is_done(self) -> bool:
        """Whether the last run was of the same digest and all it wrote is still there."""
        stamp = self.stamp()
        results = [self.path(".ipynb"), *map(Path, stamp.get("wrote", ()))]
        return stamp.get("digest") == self.digest and all(map(Path.is_file, results))

    def run(
        self,
        given: Mapping[str, Any],
        expected: Sequence[Path],
        environment: Mapping[str, str],
        stop: threading.Event,
    ) -> None:
        """Runs the notebook in papermill, which writes its output on failure, too.

        So the output is called ``.partial.ipynb`` until it is known what became of it.
        """
        for ending in (".ipynb", ".failed.ipynb", ".partial.ipynb", ".stamp.json"):
            self.path(ending).unlink(missing_ok=True)
        partial, began = self.path(".partial.ipynb"), time.time()
        command = [sys.executable, "-m", "papermill", "--kernel", "python3", "--log-output"]
        command += ["--cwd", str(self.source.parent), "--start-timeout", "300"]
        command += ["--no-progress-bar", "--parameters_yaml", json.dumps(given)]
        command += [str(self.built), str(partial)]
        with self.path(".log").open("wb") as log:
            # In a session of its own, so that Ctrl-C reaches only this program.
            how = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, env=environment, start_new_session=True, **how)
        code = _wait(process, stop)
        self.seconds = time.time() - began
        if not code:
            self.state = "ok"
            partial.replace(self.path(".ipynb"))
            wrote = [str(p) for p in expected if p.is_file() and p.stat().st_mtime >= began]
            stamp = {"digest": self.digest, "seconds": self.seconds, "wrote": wrote}
            self.path(".stamp.json").write_text(json.dumps(stamp))
        elif stop.is_set():
            self.state = "stopped"
            partial.unlink(missing_ok=True)
        else:
            error = last_error(self.path(".log").read_text(errors="replace"))
            self.state, self.error = "failed", error or f"papermill exited with {code}"
            if partial.exists():
                partial.replace(self.path(".failed.ipynb"))


def _wait(process: subprocess.Popen[bytes], stop: threading.Event) -> int:
    """Waits for papermill's end, or ends it; it takes its kernel with it."""
    while process.poll() is None and not stop.wait(0.1):
        pass
    process.terminate()  # does nothing where it has ended
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def last_error(log: str) -> str:
    """The line of a traceback that says what went wrong, or the log's last line."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in log.splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (errors or lines or [""])[-1]


# ------------------------------------------------------------ all notebooks


def parameters(options: Namespace) -> dict[str, Any]:
    """What every notebook is given; its ``parameters`` cell must know each name."""
    given = {"profile": options.profile, "data_root": options.data, "device": options.device}
    return given | {"seed": 0, "use_cache": True}


def register(output: Path) -> list[Path]:
    """Every file of a table or a figure that the notebooks must write."""
    from mtpsl import papers

    files = [f"{key}.{kind}" for key in papers.tables() for kind in ("md", "csv")]
    files += [f"{key}.{kind}" for key in papers.figures() for kind in ("png", "json", "npz")]
    return [output / file for file in files]


def reproduce(options: Namespace, root: Path, expected: Sequence[Path]) -> int:
    """Runs what is not done yet; returns 0 if every notebook finished and every file is there.

    Args:
        options: The parsed command line.
        root: The checkout.
        expected: The files that must exist afterwards and be newer than the run.

    Raises:
        UsageError: If a notebook does not exist or lacks a parameter, or another runner is at work.
    """
    import filelock

    folder = runs_folder(root) / options.profile / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    given = parameters(options)
    shared = _digest_of_code(root, [given, options.seeds])
    notebooks = [
        Notebook(source, folder, hashlib.sha256(shared + source.read_bytes()).hexdigest())
        for source in select(root / "notebooks", options.only)
    ]
    print(
        f"{options.profile}: notebooks to do: {len(notebooks)}, {options.jobs} at a time; "
        f"logs in {_short(folder, root)}/"
    )
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
    environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "MTPSL_PROGRESS": "0"}
    environment |= os.environ  # where they are set already, they stay
    environment |= {"MTPSL_RUNS": str(runs_folder(root)), "MTPSL_SEEDS": str(options.seeds)}
    began = time.time()
    try:
        with filelock.FileLock(folder / ".lock", timeout=0), tempfile.TemporaryDirectory() as built:
            for notebook in notebooks:
                notebook.seconds = notebook.stamp().get("seconds", 0.0)
                if not options.force and notebook.is_done():
                    notebook.state = "unchanged"
                    print(progress(notebooks, notebook, options.jobs), flush=True)
                else:
                    notebook.built = Path(built, f"{notebook.name}.ipynb")
                    _convert(notebook, given)
            stopped = _run_all(notebooks, options.jobs, given, expected, environment)
    except filelock.Timeout:
        raise UsageError(f"{folder}: another reproduce is running here; wait for it") from None
    _summarize(notebooks, options, root)
    print(f"took {_time(time.time() - began)}")
    if stopped:
        print("interrupted; the same command goes on from here")
        return 1
    complete = _check(notebooks, expected, options, root)
    return 0 if complete and all(n.state != "failed" for n in notebooks) else 1


def _digest_of_code(root: Path, settings: Sequence[Any]) -> bytes:
    """Hash of what notebooks share: package, recorded results, settings, torch and Python."""
    shared = [*settings, sys.version, importlib.metadata.version("torch")]
    digest = hashlib.sha256(json.dumps(shared).encode())
    package, recorded = Path(__file__).parent.rglob("*.py"), root.glob("figures/*/table*.json")
    for path in (*sorted(package), *sorted(recorded)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()


def _convert(notebook: Notebook, given: Mapping[str, Any]) -> None:
    """Makes the notebook to run from its source, which must declare what papermill gives it."""
    import jupytext
    import papermill

    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = jupytext.read(notebook.source)
    content.metadata["kernelspec"] = kernel
    jupytext.write(content, notebook.built)
    declared = papermill.inspect_notebook(str(notebook.built))
    if missing := [name for name in given if name not in declared]:
        raise UsageError(
            f"{notebook.source.name}: expected parameters {list(given)} in the cell tagged "
            f"'parameters', got {list(declared)}; add {missing}"
        )


def _run_all(notebooks: Sequence[Notebook], jobs: int, *given: Any) -> bool:
    """Keeps ``jobs`` notebooks running until none is left; True if interrupted."""
    stop = threading.Event()
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            waiting = [n for n in notebooks if n.state == "waiting"]
            running = {pool.submit(n.run, *given, stop): n for n in waiting}
            for future in as_completed(running):
                future.result()
                print(progress(notebooks, running[future], jobs), flush=True)
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(cancel_futures=True)
        finally:
            signal.signal(signal.SIGTERM, previous)
    return stop.is_set()


def progress(notebooks: Sequence[Notebook], ended: Notebook, jobs: int) -> str:
    """One line such as ``[3/14] ok 11_hitts_tables 4.9 s, about 20 s left``."""
    left = [n.seconds for n in notebooks if n.state == "waiting"]
    known = [n.seconds for n in notebooks if n.state == "ok"] or [s for s in left if s]
    guess = sum(known) / len(known) if known else 0.0
    seconds = sum(s or guess for s in left) / max(1, min(jobs, len(left)))
    rest = f", about {_time(seconds)} left" if seconds else ""
    took = "nothing changed" if ended.state == "unchanged" else _time(ended.seconds)
    count = f"[{len(notebooks) - len(left)}/{len(notebooks)}]"
    return f"{count} {ended.state} {ended.name} {took}{rest}"


def _summarize(notebooks: Sequence[Notebook], options: Namespace, root: Path) -> None:
    """Prints how every notebook ended, and how to run again those that failed."""
    width = max(len(n.name) for n in notebooks)
    print()
    for n in notebooks:
        print(f"  {n.name:<{width}}  {n.state:<9}  {_time(n.seconds):>10}  {n.error}".rstrip())
    failed = [n for n in notebooks if n.state == "failed"]
    for n in failed:
        print(f"see {_short(n.path('.failed.ipynb'), root)} and {_short(n.path('.log'), root)}")
    if failed:
        again = {"PROFILE": options.profile, "DATA": options.data, "DEVICE": options.device}
        again |= {"SEEDS": options.seeds, "ONLY": ",".join(n.name for n in failed)}
        settings = [f"{k}={v}" for k, v in again.items() if v not in ("", "auto", 1)]
        print("to run again what failed: make reproduce", *settings)


def _check(
    notebooks: Sequence[Notebook], expected: Sequence[Path], options: Namespace, root: Path
) -> bool:
    """Whether every file of the register is there, written by one of these runs."""
    output = _short(output_folder(options.profile, root), root)
    wrote = {p for n in notebooks for p in n.stamp().get("wrote", ())}
    missing = [p for p in expected if str(p) not in wrote or not p.is_file()]
    there = len(expected) - len(missing)
    print(f"tables and figures: {there} of {len(expected)} files in {output}/")
    if options.only:  # a part of the notebooks writes a part of the files
        missing = []
    for path in missing:
        problem = "not written by this run" if path.is_file() else "missing"
        print(f"  {problem}: {_short(path, root)}")
    if all(n.path(".ipynb").is_file() for n in notebooks):
        print(f"look first at {_short(notebooks[-1].path('.ipynb'), root)}, then into {output}/")
    return not missing


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


# ------------------------------------------------------ committed notebooks


def build_all(root: Path, only: str) -> int:
    """Makes the committed ``.ipynb`` anew, under the variables under which tests run them."""
    sources = select(root / "notebooks", only)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        folders = {"MTPSL_RUNS": f"{scratch}/runs", "MTPSL_CACHE": f"{scratch}/cache"}
        environment = os.environ | BATCH | {"CUDA_VISIBLE_DEVICES": ""} | folders
        failed = 0
        results = pool.map(lambda source: build(source, environment), sources)
        for source, error in zip(sources, results, strict=True):
            failed += bool(error)
            print(f"{'failed' if error else 'ok':<6} {source.stem} {error}".rstrip(), flush=True)
    return 1 if failed else 0


def build(source: Path, environment: Mapping[str, str]) -> str:
    """Makes and runs the notebook beside ``source``; keeps cell ids where cells stayed.

    Metadata that says when and where a notebook ran, not what it is, is removed.

    Returns:
        What went wrong, in a line; empty if nothing.
    """
    import nbformat

    target = source.with_suffix(".ipynb")
    convert = ["jupytext", "--quiet", "--set-kernel", "python3", "--to", "ipynb", "--update"]
    execute = ["nbconvert", "--log-level", "ERROR", "--to", "notebook", "--execute", "--inplace"]
    for command in ([*convert, str(source)], [*execute, str(target)]):
        command = [sys.executable, "-m", *command]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            return last_error(done.stderr) or f"{command[2]} exited with {done.returncode}"
    notebook = nbformat.read(target, as_version=4)
    for name in ("papermill", "widgets", "language_info"):
        notebook.metadata.pop(name, None)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.NotebookNode({"tags": tags} if tags else {})
    nbformat.write(notebook, target)
    return ""
