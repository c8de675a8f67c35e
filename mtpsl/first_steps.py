"""How hard each term pulls on a network that has learned nothing yet, recorded as JSON.

``python -m mtpsl.first_steps`` writes what ``21_xtc_tables`` reads: the length of the gradient of
the labels and of what ties two tasks, in networks as a table's rows begin with them.
"""

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from mtpsl import files
from mtpsl.engine import seeded
from mtpsl.experiments.fill import row_experiments
from mtpsl.experiments.register import TABLES
from mtpsl.lessons import pulls, untrained
from mtpsl.records import environment

ROWS = (
    ("xtc/table2", "one/Semi-supervised Learning"),
    ("xtc/table2", "one/Direct-Map"),
    ("xtc/table2", "one/Perceptual-Map"),
    ("xtc/table2", "one/Ours"),
    ("xtc/table5", "Ours"),
    ("xtc/table1", "one/Ours"),
    ("xtc/table3", "one/Ours"),
    ("xtc/table3", "random/Ours"),
)


def first_steps(
    rows: Iterable[tuple[str, str]] = ROWS, profile: str = "quick", batches: int = 3
) -> Iterator[dict[str, Any]]:
    """``table``, ``row``, ``data``, ``labels`` and ``terms``: lengths by ``lessons.pulls``.

    Args:
        rows: Name of a table and of its row, which has one experiment.
        profile: A key of ``PROFILES``.
        batches: Of the first epoch, whose mean is taken.
    """
    for table, row in rows:
        (experiment,) = row_experiments(TABLES[table].row(row), profile, 0)
        method, loader = untrained(experiment)
        with seeded(torch.device("cpu"), experiment.seed, "first steps"):  # of the Gumbel noise
            terms = pulls(method, list(islice(loader.epoch(0), batches)))
        yield {
            "table": table,
            "row": row,
            "data": experiment.dataset,
            "label_setting": experiment.label_setting,
            "terms": {name: round(length, 2) for name, length in terms.items()},
        }


def main(argv: list[str] | None = None) -> int:
    """Prints a line a row and writes all of them."""
    parser = argparse.ArgumentParser(prog="python -m mtpsl.first_steps", description=__doc__)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("figures/checks/first_steps.json"))
    args = parser.parse_args(argv)
    found = []
    for entry in first_steps(ROWS, args.profile, args.batches):
        print(f"{entry['table']} {entry['row']}: {entry['terms']}", flush=True)
        found.append(entry)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report = {"profile": args.profile, **environment(torch.device("cpu")), "rows": found}
    files.write_json(args.out, report)
    print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
