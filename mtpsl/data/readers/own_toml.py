"""``mtpsl.toml``: what a folder of one's own says about its tasks."""

import difflib
import math
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mtpsl.data.readers.axes import Axes
from mtpsl.data.readers.files import reason, refusal
from mtpsl.losses import IGNORE_INDEX

DESCRIPTION = "mtpsl.toml"
MILLIMETERS, SIXTEEN_BITS = 1e-3, 1 / 65535  # of a step of a depth picture, of an inverse depth's

OPTIONS: dict[str, dict[str, Any]] = {
    "semseg": {"classes": None},
    "depth": {"inverse": False, "png_scale": None},
    "normals": {"axes": ["x", "y", "z"]},
    "human_parts": {},
    "saliency": {"threshold": None},
    "edges": {"threshold": None},
}
"""Task -> its settings in ``mtpsl.toml`` and what they are by default; each has ``weight``, too."""


def read_description(path: Path) -> dict[str, dict[str, Any]]:
    """Task -> all of its settings, in the order of the file; plain JSON types.

    Args:
        path: Of ``mtpsl.toml``: a table for each task, such as ``[depth]``, with the settings
            that ``OPTIONS`` lists.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or a task or setting is unknown or out of range.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: expected a file that names the tasks, with lines such as [depth], found no "
            "such file; write it"
        ) from error
    except (ValueError, OSError) as error:
        raise refusal(path, "TOML such as [depth]", reason(error), "correct it") from error
    if not content:
        raise refusal(path, "a table for each task, such as [depth]", "none", "add one")
    description = {}
    for task, settings in content.items():
        if task not in OPTIONS:
            hint = nearest_name(task, OPTIONS)
            raise refusal(path, f"tasks among {list(OPTIONS)}", repr(task), f"correct it{hint}")
        if not isinstance(settings, dict):
            raise refusal(path, f"a table [{task}]", repr(settings), f"write [{task}]")
        description[task] = _settings(path, task, settings)
    return description


def _settings(path: Path, task: str, given: dict[str, Any]) -> dict[str, Any]:
    known = OPTIONS[task] | {"weight": 1.0}
    for name in given:
        if name not in known:
            hint = nearest_name(name, known)
            expected = f"settings of [{task}] among {list(known)}"
            raise refusal(path, expected, repr(name), f"correct it{hint}")
    settings = known | given
    if "png_scale" in settings and settings["png_scale"] is None:
        settings["png_scale"] = SIXTEEN_BITS if settings["inverse"] else MILLIMETERS
    for name, value in settings.items():
        expected, fits = _RULES[name]
        if not fits(value):
            found = "none" if value is None else repr(value)
            raise refusal(path, f"{name} of [{task}] to be {expected}", found, "correct it")
    return settings


def _names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 2 <= len(value) <= IGNORE_INDEX
        and all(isinstance(name, str) and name.strip() for name in value)
        and len(set(value)) == len(value)
    )


def _axes(value: Any) -> bool:
    texts = isinstance(value, list) and all(isinstance(axis, str) for axis in value)
    return texts and sorted(axis.removeprefix("-") for axis in value) == ["x", "y", "z"]


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


_RULES = {
    "classes": ("a list of 2 to 255 different names", _names),
    "inverse": ("true or false", lambda value: isinstance(value, bool)),
    "png_scale": ("a number above 0", _positive),
    "axes": ('x, y and z with or without a sign, such as ["x", "-y", "-z"]', _axes),
    "threshold": (
        "a whole number, 1 to 255",
        lambda value: value is None or (type(value) is int and 1 <= value <= 255),
    ),
    "weight": ("a number above 0", _positive),
}


def to_axes(names: Sequence[str]) -> Axes:
    """What the channels of a file hold, such as ``("x", "-y", "-z")`` -> where x, y and z are."""
    plain = [name.removeprefix("-") for name in names]
    channels = tuple(plain.index(axis) for axis in "xyz")
    signs = tuple(-1 if names[channel].startswith("-") else 1 for channel in channels)
    return channels, signs


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A hint for the end of a sentence, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
