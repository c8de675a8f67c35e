"""Figures on disk: the picture, what it says in words, and the arrays it was drawn from."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtpsl import files, papers
from mtpsl.report.arrays import Arrays
from mtpsl.report.style import DPI, QUIET


def save(
    name: str,
    figure: Figure,
    arrays: Arrays,
    folder: Path | str,
    *,
    stamp: Mapping[str, Any] | None = None,
) -> Path:
    """Writes ``<name>.png``, ``.npz`` and ``.json`` below ``folder``; returns the picture's path.

    The same arrays give the same bytes: no file holds a date or a version of a library. The
    picture is written last, so where it is new, so is the rest.

    Args:
        name: A key of ``papers.figures``, which knows the caption and the alt text.
        figure: Drawn from ``arrays``.
        arrays: Plain arrays of numbers and strings.
        folder: Of all figures; those of a paper go into a folder of its name.
        stamp: Where the numbers come from: profile, data, commit, keys of runs.

    Raises:
        KeyError: If there is no figure of that name.
    """
    known, place = papers.figures()[name], Path(folder) / name
    words = {
        "name": known.name,
        "title": known.title,
        "source": known.source,
        "caption": known.caption,
        "alt": known.alt,
        "made_from": dict(stamp or {}),
        "arrays": {key: f"{a.dtype} {list(a.shape)}" for key, a in arrays.items()},
    }
    packed = io.BytesIO()
    np.savez_compressed(packed, **{key: arrays[key] for key in sorted(arrays)})
    contents = {
        ".npz": packed.getvalue(),
        ".json": (json.dumps(words, indent=1, sort_keys=True) + "\n").encode(),
        ".png": png_bytes(figure),
    }
    for suffix, content in contents.items():
        files.write(place.with_suffix(suffix), lambda file, content=content: file.write(content))
    return place.with_suffix(".png")


def load_arrays(path: Path | str) -> Arrays:
    """The arrays beside a picture; ``path`` is that of the ``.npz``. Executes nothing."""
    with np.load(path, allow_pickle=False) as packed:
        return dict(packed)


def png_bytes(figure: Figure, dpi: int = DPI) -> bytes:
    """The picture without the date and the version that matplotlib would add."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def footer(figure: Figure, text: str) -> None:
    """Says in small print, in the picture itself, what data and what profile it shows."""
    figure.text(0.995, 0.006, text, ha="right", va="bottom", fontsize=6.5, color=QUIET)
