"""How hard each term pulls on a network that has learned nothing yet, recorded as JSON.

``python -m mtpsl.papers.xtc.first_steps`` writes what ``21_xtc_tables`` reads: the length of the
gradient of the labels and of what ties two tasks, in networks as a table's rows begin with them.
"""

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from mtpsl import files, papers
from mtpsl.engine import seeded
from mtpsl.report.lessons import agreement, pulls, untrained
from mtpsl.report.records import row_experiments
from mtpsl.runs.network import load_method
from mtpsl.runs.session import Session
from mtpsl.runs.store import RunStore, environment

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


FULL_SIZE = (("xtc/table2", "one/Ours"),)  # at profile "full": a batch takes minutes
TRAINED = (("xtc/table2", "one/Semi-supervised Learning"),)  # looked at when training is over


def first_steps(
    rows: Iterable[tuple[str, str]] = ROWS,
    profile: str = "quick",
    batches: int = 3,
    store: RunStore | None = None,
    images: int | None = None,
) -> Iterator[dict[str, Any]]:
    """``table``, ``row``, ``data``, ``labels`` and ``terms``: lengths by ``lessons.pulls``.

    Args:
        rows: Name of a table and of its row, which has one experiment.
        profile: A key of ``PROFILES``.
        batches: Of the first epoch, whose mean is taken.
        store: Has the rows' finished runs: the weights they ended with are looked at, and
            ``agreement`` is added, by ``lessons.agreement``. None: untrained networks.
        images: Of the training split, where not all of them are wanted.

    Raises:
        FileNotFoundError: If the store lacks a run.
    """
    for table, row in rows:
        (experiment,) = row_experiments(papers.tables()[table].row(row), profile, 0)
        experiment = experiment.replace(train_images=images or experiment.train_images)
        method, loader = untrained(experiment)
        if store:
            method = load_method(experiment, Session(store, "cpu"))
        entry = {
            "table": table,
            "row": row,
            "data": experiment.dataset,
            "label_setting": experiment.label_setting,
        }
        for name, measure in {
            "terms": pulls,
            **({"agreement": agreement} if store else {}),
        }.items():
            with seeded(torch.device("cpu"), experiment.seed, "first steps"):  # of Gumbel noise
                found = measure(method, list(islice(loader.epoch(0), batches)))
            entry[name] = {term: round(value, 2) for term, value in found.items()}
        yield entry


def main(argv: list[str] | None = None) -> int:
    """Prints a line a row and writes all of them."""
    parser = argparse.ArgumentParser(
        prog="python -m mtpsl.papers.xtc.first_steps", description=__doc__
    )
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--full-size", action="store_true", help="the papers' size too; 16 GB")
    parser.add_argument("--runs", type=Path, help="folder of finished runs: their last steps too")
    parser.add_argument("--out", type=Path, default=Path("figures/companion/first_steps.json"))
    args = parser.parse_args(argv)
    parts = {"rows": first_steps(ROWS, args.profile, args.batches)}
    if args.full_size:
        parts["full_size"] = first_steps(FULL_SIZE, "full", batches=1, images=24)
    if args.runs:
        parts["trained"] = first_steps(TRAINED, args.profile, args.batches, RunStore(args.runs))
    report: dict[str, Any] = {"profile": args.profile, **environment(torch.device("cpu"))}
    for part, entries in parts.items():
        report[part] = []
        for entry in entries:
            told = {k: v for k, v in entry.items() if k in ("terms", "agreement")}
            print(f"{part}: {entry['table']} {entry['row']}: {told}", flush=True)
            report[part].append(entry)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(args.out, report)
    print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
