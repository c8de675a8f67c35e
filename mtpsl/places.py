"""Where things are kept: inside a checkout of the project, and on a machine that has none."""

import os
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


def recorded_folder(root: Path | None = None) -> Path:
    """Where the committed results are: in the checkout, or the copy that was installed."""
    if home := root or find_checkout():
        return home / "figures"
    installed = PACKAGE / "figures"
    return installed if installed.is_dir() else PACKAGE.parent / "figures"  # of an editable one


def output_folder(profile: str, root: Path | None = None) -> Path:
    """Where a profile's tables and figures go: only smoke leaves ``figures/`` alone."""
    return runs_folder(root) / "smoke" if profile == "smoke" else recorded_folder(root)


def cache_folder() -> Path:
    """Where generated images are kept: ``MTPSL_CACHE``, or the user's cache."""
    return Path(os.environ.get("MTPSL_CACHE") or user_cache_path("mtpsl", appauthor=False))
