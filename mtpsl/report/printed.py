"""What a paper's table prints: the type behind ``hitts_printed`` and ``xtc_printed``."""

from collections.abc import Mapping
from dataclasses import dataclass

NONE = float("nan")  # the paper prints a dash, or has no such column

Cells = tuple[float, ...]


@dataclass(frozen=True)
class Printed:
    """A table as printed: row name -> one cell a column.

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
