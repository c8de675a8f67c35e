"""What is known of the data sets on disk: where they come from, and what published copies hold.

The facts are in ``published.toml`` beside this file.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FACTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


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
    stand_in: str = ""  # what is generated in its manner
    published: Mapping[str, int] = field(default_factory=dict)  # split -> images
    classes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Class -> percent of labeled pixels and, where that is known, of images that show it."""
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Statistic, such as ``"depth mean"`` or the name of a class -> the range that is usual."""


PUBLISHED = {name: Published(**facts) for name, facts in FACTS.items() if isinstance(facts, dict)}
"""Data set on disk, as in ``DATASETS`` -> what is known of it."""


def reference(name: str) -> Published:
    """What a data set, or the stand-in for one, is compared with."""
    return next((p for n, p in PUBLISHED.items() if name in (n, p.stand_in)), PUBLISHED["own"])


def sources_text() -> str:
    """Where the data sets come from, for the command line."""
    generated = [facts.stand_in for facts in PUBLISHED.values() if facts.stand_in]
    listed = f"{', '.join(generated[:-1])} and {generated[-1]}"
    lines = [f"Stand-ins need no download: {listed} are generated."]
    for name, facts in PUBLISHED.items():
        lines += ["", f"{name}: {facts.title}", f"  owner    {facts.owner}"]
        lines += [f"  terms    {facts.terms}", f"  holds    {facts.sizes}"]
        lines += [f"  layout   {layout}" for layout in facts.layouts]
        lines += [f"  note     {note}" for note in facts.notes]
    lines += ["", f"label splits: {FACTS['split_files']}", ""]
    lines += ["then: python -m mtpsl data check FOLDER"]
    return "\n".join(lines)
