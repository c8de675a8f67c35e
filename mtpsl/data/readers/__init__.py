"""Data sets on disk: where they come from, and what published copies hold.

The facts are in ``published.toml`` beside this file.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FACTS = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Published:
    """One data set on disk."""

    title: str
    owner: str
    terms: str
    sizes: str  # how many images of which size, in a sentence
    layouts: tuple[str, ...]  # what is read, each with where it comes from
    notes: tuple[str, ...] = ()
    name: str = ""  # what papers call it; none of a folder of one's own
    published: Mapping[str, int] = field(default_factory=dict)  # split -> images
    classes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Class -> percent of labeled pixels and, where that is known, of images that show it."""
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Statistic, such as ``"depth mean"`` or the name of a class -> the range that is usual."""


PUBLISHED = {name: Published(**facts) for name, facts in FACTS.items() if isinstance(facts, dict)}
"""Data set on disk, as in ``DATASETS`` -> what is known of it."""


def sources_text() -> str:
    """Where the data sets come from, for the command line."""
    lines = ["Stand-ins need no download: rooms13, streets7 and people21 are generated."]
    for name, facts in PUBLISHED.items():
        lines += ["", f"{name}: {facts.title}", f"  owner    {facts.owner}"]
        lines += [f"  terms    {facts.terms}", f"  holds    {facts.sizes}"]
        lines += [f"  layout   {layout}" for layout in facts.layouts]
        lines += [f"  note     {note}" for note in facts.notes]
    lines += ["", f"label splits: {FACTS['split_files']}", ""]
    lines += ["then: python -m mtpsl data check FOLDER"]
    return "\n".join(lines)
