"""A paper's table as data: rows as experiments, printed numbers, and its sentences as claims.

At the end, what the networks of all tables cost at the papers' size, beside what the papers print.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from mtpsl.data import find_class
from mtpsl.data.readers import PUBLISHED
from mtpsl.papers import PAPERS, tables
from mtpsl.runs.data import tasks_of
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import full_size_cost

# The test split; or the training images, each task on those that show its label, or hide it.
MeasuredOn = Literal["test", "labeled", "unlabeled"]

CEILING = "MTL, full labels"  # a row that a table gets where it has none like it


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper, as a comparison that records can decide (``report.ledger``).

    ``better`` beats ``worse`` on ``columns`` (of the table, ``delta_mtl`` included), all of them
    together. With ``max_ratio`` the sentence is about costs instead: ``better`` needs at most that
    many times what ``worse`` needs.
    """

    text: str
    better: str  # a row's name
    worse: str
    columns: tuple[str, ...] = ("delta_mtl",)
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

    def __post_init__(self) -> None:
        """Refuses to set numbers of two protocols in one column, where they cannot be compared."""
        protocols = {e.protocol for row in self.rows for e in row.experiments}
        if len(protocols) > 1:
            raise ValueError(
                f"table {self.key}: expected rows of one protocol, got {sorted(protocols)}; make "
                "two tables"
            )

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

    @property
    def ceiling(self) -> Row | None:
        """Supervised multi-task learning with every label: a row of the table, or one beside it.

        None where the table has no supervised row that is measured on the test split.
        """
        plain, ran = Experiment(), [(row, e) for row in self.rows for e in row.experiments]
        most = max((len(e.tasks) for _, e in ran), default=0)
        for row, e in ran if self.trains else ():
            supervised = (e.method, e.weighting) == (plain.method, plain.weighting)
            if supervised and not e.teacher and len(e.tasks) == most and row.measured_on == "test":
                full = e.replace(label_setting="full", label_args={})
                same = [row for row in self.rows if row.experiments == (full,)]
                beside = Row(name=CEILING, label=CEILING, experiments=(full,))
                return same[0] if same else beside
        return None

    @property
    def recorded_rows(self) -> tuple[Row, ...]:
        """The rows, and the ceiling where it stands beside them."""
        ceiling = self.ceiling
        return self.rows if ceiling is None or ceiling in self.rows else (*self.rows, ceiling)

    @property
    def data(self) -> str:
        """On which data the rows are measured, in words, unless a folder takes their place."""
        name = next((e.dataset for row in self.rows for e in row.experiments), "")
        kind = find_class(name) if name else None
        if kind is None or not kind.stands_for:
            return name
        return f"{name}, stand-in for {PUBLISHED[kind.stands_for].name}"

    @property
    def headlines(self) -> tuple[str, ...]:
        """The columns that sum a row up: each task's first metric, gains and costs."""
        ran = (e for row in self.rows for e in row.experiments)
        first = {f"{t.name}/{t.headline}" for e in ran for t in tasks_of(e)}
        return tuple(c for c in self.columns if c in first or c.rpartition("/")[0] in ("", "cost"))

    def in_words(self, text: str) -> str:
        """A label or a sentence with "Ours" by its name: "HiTTs, stages 1 and 2", "XTC"."""
        for row in self.rows:
            for e in row.experiments if row.label == "Ours" else ():
                key = next((p.key for p in PAPERS.values() if e.method in p.methods), "")
                name = f"{key}, stages 1 and 2" if e.teacher else key
                return text.replace("Ours", name) if key else text
        return text

    def row(self, name: str) -> Row:
        for row in self.rows:
            if row.name == name:
                return row
        if name == CEILING and self.ceiling:
            return self.ceiling
        raise KeyError(f"row of {self.key}: got {name!r}")


# --------------------------------------------------------------------- costs


def cost_rows() -> list[dict[str, Any]]:
    """Exact counts for each row of a table of costs, and the printed millions and billions or None.

    A paper's further rows (``Paper.costs``) come after those of the table, or stand alone, under
    the paper's name, where it prints no such table.
    """
    found = []
    for paper in PAPERS.values():
        of_costs = [table for table in paper.tables.values() if table.has_costs]
        for table in of_costs or [None]:
            rows = (*(table.rows if table else ()), *paper.costs)
            found += [_costs(paper.name, table, row) for row in rows if row.experiments]
    return found


def _costs(paper: str, table: Table | None, row: Row) -> dict[str, Any]:
    counted = [full_size_cost(experiment) for experiment in row.experiments]
    printed = dict(zip(table.columns, row.printed, strict=False)) if table else {}
    printed = {column: None if math.isnan(cell) else cell for column, cell in printed.items()}
    return {
        "table": table.key if table else paper,
        "name": row.name,
        "params": sum(c.params for c in counted),
        "macs": sum(c.macs for c in counted),
        "thop_flops": sum(c.thop_flops for c in counted),
        "printed_params_m": printed.get("cost/params"),
        "printed_flops_g": printed.get("cost/flops"),
    }


def cost_text() -> str:
    """``cost_rows`` as plain text, a block for each table of a paper."""
    import pandas

    units = {"params": 1e-6, "printed_params_m": 1, "macs": 1e-9, "thop_flops": 1e-9}
    units |= {"printed_flops_g": 1}
    heads = ["params (M)", "printed", "MACs (G)", "FLOPs (G)", "printed"]
    blocks = []
    for key, rows in groupby(cost_rows(), lambda row: row["table"]):
        table = tables().get(key)
        paper = PAPERS[table.paper if table else key]
        shown = (*(table.rows if table else ()), *paper.costs)
        size = next(f"{e.height}x{e.width}" for row in shown for e in row.experiments)
        source = table.source if table else f"[{paper.key}], which prints no costs"
        title = f"{source}: one image of {size}; FLOPs in the convention of the papers "
        cells = pandas.DataFrame(rows).set_index("name").rename_axis(None)[list(units)]
        cells = (cells.astype(float) * pandas.Series(units)).set_axis(heads, axis=1)
        text = cells.to_string(float_format="{:.2f}".format, na_rep="-")
        blocks.append(f"{title}(mtpsl/models/cost.py)\n\n{text}")
    return "\n\n".join(blocks) or "no table of a paper has a column of costs"
