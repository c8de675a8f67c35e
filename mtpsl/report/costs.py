"""What the networks of [HiTTs, Table 8] cost at the paper's size, ours beside the printed ones."""

import functools
import statistics
from collections.abc import Iterator
from typing import Any

from mtpsl.models.cost import Cost, cost
from mtpsl.papers.hitts import tables as hitts
from mtpsl.papers.hitts.printed import TABLE8
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.train import build, network_cost, without_pretrained

WIDTHS = (12, 10, 12, 12, 10)  # of the columns of ``cost_text``


@functools.cache
def full_size_cost(experiment: Experiment) -> Cost:
    """Of an experiment's network at its own size, without training anything.

    The mean over what its method says is counted (``Method.counted``).
    """
    modules = build(without_pretrained(experiment)).counted()
    if len(modules) == 1:
        return network_cost(experiment)
    counted = [cost(module, experiment.height, experiment.width) for module in modules]
    return Cost(
        params=counted[0].params,
        macs=round(statistics.fmean(c.macs for c in counted)),
        thop_flops=round(statistics.fmean(c.thop_flops for c in counted)),
    )


def cost_rows() -> Iterator[dict[str, Any]]:
    """One network a row: exact counts, and the printed millions and billions or None."""
    networks = {row.name: row.experiments[0] for row in hitts.TABLE8.rows}
    networks |= {f"STL {e.tasks[0]}": e for e in hitts.stl("one_label")}
    for name, experiment in networks.items():
        counted = full_size_cost(experiment)
        known = name in TABLE8.rows
        yield {
            "name": name,
            "params": counted.params,
            "macs": counted.macs,
            "thop_flops": counted.thop_flops,
            "printed_params_m": TABLE8.cell(name, "cost/params") if known else None,
            "printed_flops_g": TABLE8.cell(name, "cost/flops") if known else None,
        }


def cost_text() -> str:
    """``cost_rows`` as a plain text table."""
    lines = ["one image of 288x384; FLOPs in the convention of the papers (mtpsl/models/cost.py)"]
    lines += ["", _line("", "params (M)", "printed", "MACs (G)", "FLOPs (G)", "printed")]
    for row in cost_rows():
        lines.append(
            _line(
                row["name"],
                f"{row['params'] / 1e6:.2f}",
                _cell(row["printed_params_m"]),
                f"{row['macs'] / 1e9:.2f}",
                f"{row['thop_flops'] / 1e9:.2f}",
                _cell(row["printed_flops_g"]),
            )
        )
    return "\n".join(lines)


def _line(name: str, *cells: str) -> str:
    return name.ljust(14) + "".join(map(str.rjust, cells, WIDTHS))


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
