"""Running experiments: one, a row, a table, or everything that is not recorded yet.

Finished runs are looked up by key, so whatever is asked for twice is trained once: the plain
row of a table is also the teacher of the rows that build on it.
"""

import functools
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mtpsl
from mtpsl.report.results import Results, parse_results
from mtpsl.report.tables import Row, Table
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.fill import (
    cost_entry,
    fill_records,
    missing_runs,
    row_entry,
    row_experiments,
    train_all,
)
from mtpsl.runs.session import Session, resolve_device
from mtpsl.runs.store import RunRecord
from mtpsl.runs.train import (
    bind_data,
    data_version,
    load_method,
    open_split,
    tasks_of,
    train,
)

__all__ = [
    "bind_data",
    "fill_records",
    "load_method",
    "open_split",
    "resolve_device",
    "run",
    "run_row",
    "run_table",
    "tasks_of",
    "train_missing",
]


def run(experiment: Experiment, session: Session) -> RunRecord:
    """The record of an experiment, trained if the store does not have it.

    Two processes that ask for the same run share it: one trains, the other waits.

    Args:
        experiment: Its data are bound here where they are not yet (``bind_data``).
        session: Where runs are kept, and how they are computed.

    Raises:
        ValueError: If the experiment asks for data or code of another version than are here, or
            its teacher cannot teach it.
    """
    resolve_device(session.device)
    experiment = bind_data(experiment, session.data_root)
    _check_versions(experiment, session.data_root)
    _check_teacher(experiment)
    with session.store.lock(experiment.key):
        record = session.store.load(experiment.key)
        if record is not None:
            return record
        if experiment.teacher:  # a lock inside a lock, always the student's first: no cycle
            run(experiment.teacher, session)
        return train(experiment, session)


def run_row(
    table: Table,
    row: Row,
    session: Session,
    *,
    profile: str = "smoke",
    seed: int = 0,
) -> dict[str, Any]:
    """Runs a row and returns its entry of a results file (``results``).

    Args:
        table: Whose columns decide what is measured beside the metrics.
        row: With at least one experiment.
        session: Where runs are kept, and how they are computed.
        profile: A key of ``PROFILES``.
        seed: Of the training; the label assignment does not change with it.
    """
    experiments = row_experiments(row, profile, seed, session.data_root)
    if not table.trains:
        return cost_entry(table, row, experiments)
    records = [run(e, session) for e in experiments]
    return row_entry(table, row, seed, records, session)


def run_table(
    table: Table,
    session: Session,
    *,
    profile: str = "smoke",
    seeds: Iterable[int] = (0,),
    train: bool = True,
) -> Results:
    """Runs every row that has experiments, one after the other: the "computed now" numbers.

    With ``train=False`` only rows whose runs are in the store already.
    """

    def finished(row: Row, seed: int) -> bool:
        experiments = row_experiments(row, profile, seed, session.data_root)
        return not table.trains or all(session.store.load(e.key) is not None for e in experiments)

    entries = [
        run_row(table, row, session, profile=profile, seed=seed)
        for seed in seeds
        for row in table.rows
        if row.experiments and (train or finished(row, seed))
    ]
    values = {"paper": table.paper, "table": table.name, "profile": profile, "entries": entries}
    bind = functools.partial(bind_data, data_root=session.data_root)
    return parse_results(values, table, source="computed now", bind=bind)


def train_missing(
    tables: Iterable[Table],
    session: Session,
    *,
    profile: str = "smoke",
    seeds: Iterable[int] = (0,),
    jobs: int = 1,
    force: bool = False,
) -> int:
    """Trains what tables need and the store lacks, in this process or in several others.

    Args:
        tables: Their rows, in order, seed by seed.
        session: Where runs are kept, and how they are computed.
        profile: A key of ``PROFILES``.
        seeds: In order.
        jobs: 1 trains here; more start worker processes.
        force: Trains again what is finished; teachers that are no rows stay.

    Returns:
        How many runs failed in worker processes. Here, the first error ends it.
    """
    tables = tuple(tables)
    labeled = [
        (experiment, f"{table.name} {row.name} seed {seed}")
        for seed in seeds
        for table in tables
        if table.trains
        for row in table.rows
        for experiment in row_experiments(row, profile, seed, session.data_root)
    ]
    for experiment, _ in labeled if force else ():
        session.store.forget(experiment.key)
    todo = missing_runs(labeled, session.store)
    if jobs > 1:
        return sum(bool(job.error) for job in train_all(todo.values(), session, jobs))
    for number, job in enumerate(todo.values(), start=1):
        began = time.monotonic()
        run(job.experiment, session)
        seconds = time.monotonic() - began
        print(f"[{number}/{len(todo)}] {job.label} {seconds:.1f} s", file=sys.stderr, flush=True)
    return 0


def _check_versions(experiment: Experiment, data_root: Path | str | None) -> None:
    found = data_version(experiment.dataset, data_root)
    for name, wanted, here in (
        ("data_version", experiment.data_version, found),
        ("numerics", experiment.numerics, mtpsl.NUMERICS),
    ):
        if wanted != here:
            raise ValueError(
                f"{name}: expected {here!r}, which is what is here, got {wanted!r} from "
                f"experiment {experiment.key}; a number made with another one needs that version"
            )


def _check_teacher(experiment: Experiment) -> None:
    """What a teacher finds must be of the student's tasks and images, and features as wide."""
    teacher = experiment.teacher
    if teacher is None:
        return
    alike = ["dataset", "height", "width", "train_images"]
    if experiment.method_args.get("pseudo_features"):
        alike += ["backbone", "width_factor"]
    for name in alike:
        ours, its = getattr(experiment, name), getattr(teacher, name)
        if ours != its:
            raise ValueError(f"teacher: expected {name} {ours!r} as the student's, got {its!r}")
    if missing := [name for name in experiment.tasks if name not in teacher.tasks]:
        raise ValueError(f"teacher: expected all tasks of the student, got none of {missing}")
