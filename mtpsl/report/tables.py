"""A paper's table as data: rows as experiments, printed numbers, and its sentences as claims."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mtpsl.runs.experiment import Experiment

# The test split; or the training images, each task on those that show its label, or hide it.
MeasuredOn = Literal["test", "labeled", "unlabeled"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a table says in words, as a comparison that records can decide.

    ``better`` beats ``worse`` on ``column`` (a column of the table, ``delta_mtl`` included).
    With ``max_ratio`` the claim is about a cost instead: ``better`` needs at most that many times
    what ``worse`` needs.
    """

    text: str
    better: str  # a row's name
    worse: str
    column: str = "delta_mtl"
    max_ratio: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: one experiment, or one a task for single-task baselines."""

    name: str  # unique in its table, such as "one-label/Ours"
    label: str  # what the paper prints in the first column
    group: str = ""  # the paper's block, such as "One-Label"
    experiments: tuple[Experiment, ...] = ()  # empty: printed only
    printed: tuple[float, ...] = ()  # one per column of the table, in the paper's units
    why_not_run: str = ""  # one line; required when ``experiments`` is empty
    measured_on: MeasuredOn = "test"  # which images
    task_of_each: tuple[str, ...] = ()  # whose metrics each experiment gives; empty: all of all


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a paper: rows as experiments, printed numbers as data, words as claims."""

    name: str  # "table1"
    paper: str  # "hitts"
    title: str
    source: str  # "[HiTTs, Table 1]"
    columns: tuple[str, ...]  # "semseg/miou", ..., "delta_mtl"
    rows: tuple[Row, ...]
    reference: Mapping[str, str] = field(default_factory=dict)  # group -> row that delta refers to
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What the papers' tables are listed under: ``"hitts/table1"``."""
        return f"{self.paper}/{self.name}"

    @property
    def has_costs(self) -> bool:
        """Whether a column counts what networks cost."""
        return any(column.startswith("cost/") for column in self.columns)

    @property
    def trains(self) -> bool:
        """Whether a column needs trained networks; costs are those of untrained ones."""
        return not all(column.startswith("cost/") for column in self.columns)

    def row(self, name: str) -> Row:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"row of {self.key}: got {name!r}")
