"""Do the printed numbers of the papers follow from each other?

A paper that prints numbers recomputes them in the ``audit`` of its ``printed``; here every paper is
asked. ``python -m mtpsl audit`` exits 0 only if exactly the known errata remain, so a slip in a
typed cell and a change of ``delta_mtl`` are both found.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mtpsl.papers import PAPERS

NONE = float("nan")  # the paper prints a dash, or has no such column

Cells = tuple[float, ...]


def read_cells(text: str) -> dict[str, Cells]:
    """Reads lines such as ``"one-label/Ours: 35.81 0.5540 -"``: a row's name and its cells."""
    rows = (line.rsplit(":", 1) for line in text.strip().splitlines())
    return {
        name.strip(): tuple(NONE if cell == "-" else float(cell) for cell in cells.split())
        for name, cells in rows
    }


@dataclass(frozen=True)
class Printed:
    """A table as printed: row name -> one cell per column.

    A row's name is its label, with ``group/`` before it where the table has blocks.
    """

    source: str
    columns: tuple[str, ...]
    rows: Mapping[str, Cells]

    def cell(self, row: str, column: str) -> float:
        return self.rows[row][self.columns.index(column)]

    def metrics(self, row: str) -> dict[str, float]:
        """The row without its delta: metric key -> printed value."""
        cells = zip(self.columns, self.rows[row], strict=True)
        return {column: cell for column, cell in cells if column != "delta_mtl"}

    def reference(self, row: str) -> str:
        """The single-task row that the row's delta refers to: the one of its own group."""
        own = f"{row.partition('/')[0]}/STL"
        return own if own in self.rows else "STL"


@dataclass(frozen=True, kw_only=True)
class Check:
    """A printed number beside the one that follows from the printed cells."""

    where: str
    printed: float
    computed: float
    tolerance: float
    about: str  # what kind of number; the report counts each kind

    @property
    def agrees(self) -> bool:
        return abs(self.printed - self.computed) <= self.tolerance

    def __str__(self) -> str:
        return f"{self.where}: printed {self.printed:g}, computed {self.computed:.4f}"


def quoted(where: str, printed: float, computed: float, decimals: int = 2) -> Check:
    """A number that a text quotes: right if it follows to its last digit."""
    tolerance = 0.5 * 10**-decimals * 1.001  # half a digit, and what floating point adds to a tie
    about = "Numbers that the texts quote"
    return Check(where=where, printed=printed, computed=computed, tolerance=tolerance, about=about)


@dataclass(frozen=True)
class Erratum:
    """A known slip of a paper, or of the text that its cells were typed from."""

    where: str  # that of a check, where it explains why that one does not agree
    what: str
    evidence: str
    remains: bool | None = None  # recomputed: is it still there? None: nothing to recompute


def read_errata(text: str) -> tuple[Erratum, ...]:
    """Reads pairs of lines: ``where: what``, and the evidence below it."""
    lines = text.strip().splitlines()
    return tuple(
        Erratum(*slip.split(": ", 1), evidence.strip())
        for slip, evidence in zip(lines[::2], lines[1::2], strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class PaperAudit:
    """What can be recomputed of one paper, and what is known to be wrong with it."""

    checks: tuple[Check, ...]
    errata: tuple[Erratum, ...]
    contradictions: tuple[str, ...] = ()  # claims that its own cells contradict, and nobody knew

    @property
    def problems(self) -> tuple[str, ...]:
        """What differs from the known state of the paper; empty: exactly the known errata."""
        known = {erratum.where for erratum in self.errata}
        return (
            *(f"new mismatch: {c}" for c in self.checks if not c.agrees and c.where not in known),
            *(f"new contradiction: {claim}" for claim in self.contradictions),
            *(f"known erratum vanished: {e.where}" for e in self.errata if e.remains is False),
        )


@dataclass(frozen=True)
class Audit:
    """Everything recomputed, and what it means; ``papers`` by the key that texts cite."""

    papers: Mapping[str, PaperAudit]

    @property
    def checks(self) -> tuple[Check, ...]:
        return tuple(check for paper in self.papers.values() for check in paper.checks)

    @property
    def errata(self) -> tuple[Erratum, ...]:
        return tuple(erratum for paper in self.papers.values() for erratum in paper.errata)

    @property
    def problems(self) -> tuple[str, ...]:
        """Empty: exactly the known errata."""
        return tuple(problem for paper in self.papers.values() for problem in paper.problems)

    def to_text(self) -> str:
        """For a terminal and for a notebook."""
        lines = []
        for kind in dict.fromkeys(check.about for check in self.checks):
            checks = [check for check in self.checks if check.about == kind]
            slips = [check for check in checks if not check.agrees]
            agree = len(checks) - len(slips)
            lines.append(f"{kind}: {agree} of {len(checks)} follow from the printed cells.")
            lines += [f"  {slip}" for slip in slips]
        for key, paper in self.papers.items():
            lines.append(f"Known errata of [{key}]:")
            for erratum in paper.errata:
                how = "documented" if erratum.remains is None else "recomputed"
                lines.append(f"  {erratum.where}: {erratum.what} [{how}]")
                lines.append(f"      {erratum.evidence}")
        lines += [f"PROBLEM: {problem}" for problem in self.problems]
        lines.append("Exactly the known errata remain." if not self.problems else "Audit failed.")
        return "\n".join(lines)


def audit() -> Audit:
    """Recomputes everything; takes milliseconds."""
    return Audit({p.key: p.audit() for p in PAPERS.values() if p.audit})
