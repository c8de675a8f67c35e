"""Settings that every test and every notebook under test shares."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from mtpsl.reproduce import BATCH

SCRATCH = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Sets the variables under which the committed notebooks were built.

    Runs and rendered images go to a folder of their own, so that no test answers from what an
    earlier version of the code left behind, and none writes into the checkout.
    """
    config.stash[SCRATCH] = scratch = Path(tempfile.mkdtemp(prefix="mtpsl-test-"))
    variables = BATCH | {"MTPSL_RUNS": str(scratch / "runs"), "MTPSL_CACHE": str(scratch / "cache")}
    marks = config.option.markexpr.replace("not gpu", "")
    if "gpu" not in marks:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    if workers := len(getattr(config.option, "tx", None) or ()):  # processes of pytest-xdist
        variables["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[SCRATCH], ignore_errors=True)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """nbval must not compare what goes to stderr: warnings and progress."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
