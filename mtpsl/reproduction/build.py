"""Builds the committed ``.ipynb`` from their ``.py`` and runs them at smoke: ``make notebooks``.

The outputs are those that the tests compare with, so they are made under the same variables.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mtpsl.reproduction.notebooks import UsageError, checkout, last_error, select

BATCH = {  # one thread: with two, sums round differently
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "MTPSL_PROGRESS": "0",
}
CHURN = ("papermill", "widgets", "language_info")  # metadata that changes with every run


def build(source: Path, environment: dict[str, str]) -> str:
    """Makes and runs the notebook beside ``source``; keeps cell ids where cells stayed.

    Returns:
        What went wrong, in a line; empty if nothing.
    """
    target = source.with_suffix(".ipynb")
    convert = ["jupytext", "--quiet", "--set-kernel", "python3", "--to", "ipynb", "--update"]
    execute = ["nbconvert", "--log-level", "ERROR", "--to", "notebook", "--execute", "--inplace"]
    for command in ([*convert, str(source)], [*execute, str(target)]):
        done = subprocess.run(
            [sys.executable, "-m", *command], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            return last_error(done.stderr) or f"{command[0]} exited with {done.returncode}"
    strip(target)
    return ""


def strip(path: Path) -> None:
    """Removes metadata that says when and where a notebook ran, not what it is."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for name in CHURN:
        notebook.metadata.pop(name, None)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.NotebookNode({"tags": tags} if tags else {})
    nbformat.write(notebook, path)


def main(argv: Sequence[str] | None = None) -> int:
    """``make notebooks``."""
    parser = argparse.ArgumentParser(prog="make notebooks", description=__doc__)
    parser.add_argument("--only", default="", help="parts of names, comma-separated")
    args = parser.parse_args(argv)
    try:
        sources = select(checkout() / "notebooks", args.only.replace(",", " ").split())
    except UsageError as error:
        print(f"make notebooks: {error}", file=sys.stderr)
        return 2
    failed = 0
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        scratch_folders = {"MTPSL_RUNS": f"{scratch}/runs", "MTPSL_CACHE": f"{scratch}/cache"}
        environment = os.environ | BATCH | {"CUDA_VISIBLE_DEVICES": ""} | scratch_folders
        for source, error in zip(
            sources, pool.map(lambda s: build(s, environment), sources), strict=True
        ):
            failed += bool(error)
            print(f"{'failed' if error else 'ok':<6} {source.stem} {error}".rstrip(), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
