"""What networks cost at the papers' size, beside what the papers print."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from mtpsl.papers import PAPERS
from mtpsl.report.tables import Row, Table
from mtpsl.runs.network import full_size_cost

WIDTHS = (12, 10, 12, 12, 10)  # of the columns of ``cost_text``


def cost_tables() -> Iterator[tuple[Table, list[Row]]]:
    """Every table that has costs, with its rows and the further ones that its paper counts."""
    for paper in PAPERS.values():
        for table in paper.tables.values():
            if table.has_costs:
                yield table, [*(row for row in table.rows if row.experiments), *paper.costs]


def cost_rows() -> Iterator[dict[str, Any]]:
    """One row of a table each: exact counts, and the printed millions and billions or None."""
    for table, rows in cost_tables():
        for row in rows:
            counted = [full_size_cost(experiment) for experiment in row.experiments]
            yield {
                "table": table.key,
                "name": row.name,
                "params": sum(c.params for c in counted),
                "macs": sum(c.macs for c in counted),
                "thop_flops": sum(c.thop_flops for c in counted),
                "printed_params_m": _printed(table, row, "cost/params"),
                "printed_flops_g": _printed(table, row, "cost/flops"),
            }


def _printed(table: Table, row: Row, column: str) -> float | None:
    cells = dict(zip(table.columns, row.printed, strict=False))
    return None if math.isnan(cells.get(column, math.nan)) else cells[column]


def cost_text() -> str:
    """``cost_rows`` as a plain text table for each table of a paper."""
    blocks = []
    counted = list(cost_rows())
    for table, rows in cost_tables():
        size = next(f"{e.height}x{e.width}" for row in rows for e in row.experiments)
        lines = [
            f"{table.source}: one image of {size}; FLOPs in the convention of the papers "
            "(mtpsl/models/cost.py)",
            "",
            _line("", ("params (M)", "printed", "MACs (G)", "FLOPs (G)", "printed")),
        ]
        for row in (row for row in counted if row["table"] == table.key):
            cells = (
                f"{row['params'] / 1e6:.2f}",
                _cell(row["printed_params_m"]),
                f"{row['macs'] / 1e9:.2f}",
                f"{row['thop_flops'] / 1e9:.2f}",
                _cell(row["printed_flops_g"]),
            )
            lines.append(_line(row["name"], cells))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "no table of a paper has a column of costs"


def _line(name: str, cells: Sequence[str]) -> str:
    return name.ljust(14) + "".join(map(str.rjust, cells, WIDTHS))


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
