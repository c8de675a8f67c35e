"""Where a checkout keeps what it computes, and how a wrong command line is answered."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


class UsageError(Exception):
    """The command line asks for something that does not exist; the message says what does."""


def checkout() -> Path:
    """The folder of the project: the nearest one upwards that has ``notebooks/``.

    Raises:
        UsageError: If there is none.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise UsageError(
        f"folder: expected a checkout of mtpsl, got {Path.cwd()}; change into the one with "
        "notebooks/ and pyproject.toml"
    )


def runs_folder(root: Path) -> Path:
    """Where trainings are kept: ``MTPSL_RUNS`` or ``runs/`` of the checkout."""
    return Path(os.environ.get("MTPSL_RUNS") or root / "runs").absolute()


def figures_folder(root: Path) -> Path:
    """Where recorded results are: ``MTPSL_FIGURES`` or ``figures/`` of the checkout."""
    return Path(os.environ.get("MTPSL_FIGURES") or root / "figures").absolute()


def output_folder(profile: str, root: Path) -> Path:
    """Where a profile's tables and figures go: only smoke leaves recorded results alone."""
    return runs_folder(root) / "smoke" if profile == "smoke" else figures_folder(root)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """A question such as ``; did you mean 'table1'?``, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""
