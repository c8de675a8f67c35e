"""Where things are kept, in a checkout and without one, and how a wrong command is answered."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

PACKAGE = Path(__file__).parent


class UsageError(Exception):
    """The command line asks for something that does not exist; the message says what does."""


def find_checkout() -> Path | None:
    """The nearest folder upwards that has ``notebooks/``; None where there is none."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    return None


def checkout() -> Path:
    """The folder of the project, for what cannot do without it.

    Raises:
        UsageError: If there is none.
    """
    if root := find_checkout():
        return root
    raise UsageError(
        f"folder: expected a checkout of mtpsl, got {Path.cwd()}; change into the one with "
        "notebooks/ and pyproject.toml"
    )


def runs_folder(root: Path | None = None) -> Path:
    """Where trainings are kept: ``MTPSL_RUNS``, ``runs/`` of the checkout, or the user's data."""
    home = root or find_checkout() or user_data_path("mtpsl", appauthor=False)
    return Path(os.environ.get("MTPSL_RUNS") or home / "runs").absolute()


def figures_folder(root: Path | None = None) -> Path:
    """Where recorded results are: ``MTPSL_FIGURES``, the checkout, or the copy installed."""
    if home := root or find_checkout():
        found = home / "figures"
    else:  # an editable installation has them beside the package
        found = next(p for p in (PACKAGE, PACKAGE.parent) if (p / "figures").is_dir()) / "figures"
    return Path(os.environ.get("MTPSL_FIGURES") or found).absolute()


def output_folder(profile: str, root: Path | None = None) -> Path:
    """Where a profile's tables and figures go: only smoke leaves recorded results alone."""
    return runs_folder(root) / "smoke" if profile == "smoke" else figures_folder(root)


def cache_folder() -> Path:
    """Where generated images are kept: ``MTPSL_CACHE``, or the user's cache."""
    return Path(os.environ.get("MTPSL_CACHE") or user_cache_path("mtpsl", appauthor=False))


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """A question such as ``; did you mean 'table1'?``, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""
