"""From the rows of tables to measured numbers: planned once, trained where missing, recorded.

Seed 0 of every row comes first, then seed 1, and so on, so that a table says something as early
as possible. Every finished run is kept and every finished row written at once: stop and start
again at any time.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch

from mtpsl import files
from mtpsl.engine import evaluate
from mtpsl.report.floors import floor_scores, measured_batches
from mtpsl.report.results import Entry, Results, floor_key, read_recorded, results_of, write_results
from mtpsl.report.tables import MeasuredOn, Row, Table
from mtpsl.runs.data import bind_data, forget_data
from mtpsl.runs.experiment import Experiment, write_experiment
from mtpsl.runs.network import at_size, full_size_cost, load_method, training_memory
from mtpsl.runs.profiles import get_profile
from mtpsl.runs.run import Job, missing_runs, run, train_all
from mtpsl.runs.store import RunRecord, Session, environment

ANEW = "made again"  # a damaged file of results, see ``read_recorded``

# ---------------------------------------------------------------------- plan


@dataclass(frozen=True)
class RowRun:
    """A row of a table at one seed: what is trained for one entry of its results."""

    table: Table
    row: Row
    seed: int
    experiments: tuple[Experiment, ...]  # at a profile, bound to their data

    @property
    def trained(self) -> tuple[Experiment, ...]:
        """The experiments that must have run; none where a table only counts costs."""
        return self.experiments if self.table.trains else ()

    @property
    def identity(self) -> tuple[str, int, tuple[str, ...]]:
        """What its entry is known by (``Entry.identity``)."""
        return self.row.name, self.seed, tuple(e.key for e in self.experiments)

    def labeled(self) -> Iterator[tuple[Experiment, str]]:
        """What is trained, each with what progress calls it."""
        for e in self.trained:
            tasks = f" ({', '.join(e.tasks)})" if len(self.trained) > 1 else ""
            yield e, f"{self.table.name} {self.row.name}{tasks} seed {self.seed}"


def row_experiments(
    row: Row, profile: str, seed: int, data_root: Path | str = ""
) -> tuple[Experiment, ...]:
    """What a row of a table trains at a profile, bound to its data and ready to run."""
    scale = get_profile(profile)
    return tuple(bind_data(scale(e), data_root).with_seed(seed) for e in row.experiments)


def plan(
    tables: Iterable[Table],
    session: Session,
    *,
    profile: str,
    seeds: Iterable[int],
    ceilings: bool = False,
) -> list[RowRun]:
    """Every row that has experiments, seed by seed; a table that only counts costs, once.

    With ``ceilings``, those that stand beside a table's rows as well (``Table.ceiling``).
    """
    tables = tuple(tables)
    return [
        RowRun(table, row, at, row_experiments(row, profile, at, session.data_root))
        for number, seed in enumerate(seeds)
        for table in tables
        if table.trains or not number  # costs have no spread over seeds
        for at in [seed if table.trains else 0]
        for row in (table.recorded_rows if ceilings else table.rows)
        if row.experiments
    ]


# --------------------------------------------------------------------- train


def train_missing(
    tables: Iterable[Table],
    session: Session,
    *,
    profile: str = "smoke",
    seeds: Iterable[int] = (0,),
    jobs: int = 1,
    force: bool = False,
) -> int:
    """Trains what tables need and the store lacks, in order, seed by seed.

    Args:
        tables: Their rows are trained.
        session: Where runs are kept, and how they are computed.
        profile: A key of ``PROFILES``.
        seeds: In order.
        jobs: 1 trains in this process; more start worker processes.
        force: Trains again what is finished, on data read anew; teachers that are no rows stay.

    Returns:
        How many runs failed in worker processes. Here, the first error ends it.
    """
    if force:
        forget_data(session)
    planned = plan(tables, session, profile=profile, seeds=seeds)
    labeled = [pair for row_run in planned for pair in row_run.labeled()]
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


def run_table(
    table: Table,
    session: Session,
    *,
    profile: str = "smoke",
    seeds: Iterable[int] = (0,),
    train: bool = True,
    once: bool = False,
) -> Results:
    """Runs every row that has experiments, one after the other: the "computed now" numbers.

    Args:
        table: Whose rows are run.
        session: Where runs are kept, and how they are computed.
        profile: A key of ``PROFILES``.
        seeds: Of the training; the label assignment does not change with it.
        train: False takes only rows whose runs are in the store already.
        once: So for rows that run the same code as one before them (``code_path``).
    """
    entries, seen = [], set()
    for row_run in plan([table], session, profile=profile, seeds=seeds):
        paths = {(row_run.seed, code_path(e)) for e in row_run.trained}
        wanted = train and not (once and paths <= seen)
        seen |= paths
        if wanted or not missing_runs(row_run.labeled(), session.store):
            records = [run(e, session) for e in row_run.trained]
            entries.append(row_entry(row_run, records, session))
    return results_of(table, profile, entries)


def code_path(experiment: Experiment) -> Experiment:
    """What decides which code runs: the experiment without labels and values of numbers."""
    args = {
        name: value if isinstance(value, bool) or not isinstance(value, int | float) else 0
        for name, value in experiment.method_args.items()
    }
    plain = {"label_setting": "full", "label_args": {}, "region_args": {}, "method_args": args}
    return experiment.replace(**plain)


# ------------------------------------------------------------------- measure


def row_entry(
    row_run: RowRun, records: Sequence[RunRecord], session: Session, *, memory: bool = False
) -> Entry:
    """A row's finished runs as an entry of its table's results.

    Args:
        row_run: A column of costs has them counted, at the size that the table states.
        records: Of ``row_run.trained``, in that order; none for a table that only counts costs.
        session: Where the runs and their images are.
        memory: Measures ``cost/memory``, in seconds to minutes at the paper's size.
    """
    table, row, began = row_run.table, row_run.row, time.monotonic()
    measured, conditions, by_class = {}, {}, {}
    for record, task in zip_longest(records, row.task_of_each):
        metrics = metrics_on(row.measured_on, record, session)
        measured |= {n: v for n, v in metrics.items() if not task or n.startswith(f"{task}/")}
        if row.measured_on == "test":
            by_class |= {t: v for t, v in record.by_class.items() if task in ("", None, t)}
    on_gpu = [r.device == "cuda" for r in records] or [torch.cuda.is_available()]
    device = "cuda" if all(on_gpu) else "cpu"
    if table.has_costs:  # of all networks of a row together
        full = [full_size_cost(experiment) for experiment in row.experiments]
        measured["cost/params"] = sum(c.params for c in full)
        measured["cost/flops"] = sum(c.thop_flops for c in full)
        measured["cost/memory"] = math.nan
    if memory and "cost/memory" in table.columns:
        peaks = [training_memory(at_size(e), device) for e in row.experiments]
        measured["cost/memory"] = sum(peak.bytes for peak in peaks)
        conditions = peaks[0].conditions
    environments = [r.environment for r in records] or [environment(device)]
    seconds = sum(sum(r.seconds.values()) for r in records) or time.monotonic() - began
    noise = {"name": "noise of the size above", "version": "", "stand_in": True}
    return Entry(
        row=row.name,
        seed=row_run.seed,
        keys=tuple(e.key for e in row_run.experiments),
        experiments=tuple(e.to_dict() for e in row_run.experiments),
        metrics=measured,
        seconds=round(seconds, 1),
        commit=", ".join(dict.fromkeys(e["commit"] for e in environments)),
        versions=environments[0]["versions"],
        hardware=", ".join(dict.fromkeys(e["hardware"] for e in environments)),
        date=max(e["date"] for e in environments),
        data=records[0].data if records else noise,
        memory=conditions,
        by_class=by_class,
    )


def metrics_on(images: MeasuredOn, record: RunRecord, session: Session) -> dict[str, float]:
    """``"semseg/miou"`` and the like of a finished run, on images that its table names.

    What a run records is the test split. Tables on the training set [HiTTs, Table 6] measure the
    same weights again, each task on the images that show its label, or on those that hide it; the
    file with what was measured before lies in the run's folder.

    Raises:
        FileNotFoundError: If the run's weights are not in the store any more.
    """
    if images == "test":
        return dict(record.metrics["test"])
    path = session.store.folder(record.key) / f"{images}.json"
    if path.exists():
        try:
            known = files.read_json(path)
            if known["weights"] == record.weights_sha256:
                return files.null_to_nan(known["metrics"])
        except files.Damaged as error:
            print(f"metrics are damaged and measured again: {error}", file=sys.stderr)
    experiment = Experiment.from_dict(record.experiment)
    device = torch.device(record.device if torch.cuda.is_available() else "cpu")
    session = dataclasses.replace(session, device=device)
    batches = measured_batches(images, experiment, session)
    metrics = evaluate(load_method(experiment, session), batches)
    files.write_json(path, {"weights": record.weights_sha256, "metrics": metrics})
    return metrics


# -------------------------------------------------------------------- record


def fill_records(
    tables: Iterable[Table],
    folder: Path | str,
    session: Session,
    *,
    profile: str = "quick",
    seeds: Iterable[int] = (0, 1, 2),
    jobs: int = 1,
    others: Iterable[Table] = (),
    plan_folder: Path | str = "",
) -> int:
    """Trains what is not recorded yet and writes ``<folder>/<paper>/<table>.json``.

    Args:
        tables: In order of urgency.
        folder: Of the results files; an entry counts as recorded if its keys are today's.
        session: Where runs are kept, and how they are computed.
        profile: A key of ``PROFILES``. A file of another profile is replaced.
        seeds: In order of urgency.
        jobs: Worker processes, on a GPU all on the same one.
        others: More tables whose records may be of the same runs.
        plan_folder: Gets the missing runs, for others to train (``write_plan``); empty: they are
            trained here.

    Returns:
        How many runs failed; what they said is printed.
    """
    folder, tables, store = Path(folder), tuple(tables), session.store
    consulted = {t.key: t for t in (*tables, *others)}
    known = {k: read_recorded(folder, t, profile, damaged=ANEW) for k, t in consulted.items()}
    recorded = {key: results.entries if results else () for key, results in known.items()}
    missing = []
    for table in tables:
        if recorded[table.key]:  # before there were floors, or of an interrupted call
            _record(folder, profile, table, [], session)
    for row_run in plan(tables, session, profile=profile, seeds=seeds, ceilings=True):
        if any(entry.identity == row_run.identity for entry in recorded[row_run.table.key]):
            continue
        if entry := entry_of_same_runs(row_run, consulted, recorded):
            _record(folder, profile, row_run.table, [entry], session)
        else:
            missing.append(row_run)
    todo = missing_runs((pair for row_run in missing for pair in row_run.labeled()), store)
    print(f"profile {profile}: {len(missing)} rows to record, {len(todo)} runs to train for them")

    def record_what_is_complete() -> None:
        for row_run in list(missing):
            if any(e.key in todo for e in row_run.trained):
                continue
            records = [store.load(e.key) for e in row_run.trained]
            entry = row_entry(row_run, records, session, memory=profile != "smoke")
            _record(folder, profile, row_run.table, [entry], session)
            missing.remove(row_run)

    if plan_folder:  # first: it takes seconds, and evaluating what is complete may take minutes
        write_plan(todo, Path(plan_folder), session)
    record_what_is_complete()
    if plan_folder:
        return 0
    failed = 0
    for job in train_all(todo.values(), session, jobs):
        if job.error:
            failed += 1
        else:
            del todo[job.experiment.key]
            record_what_is_complete()
    return failed


def write_plan(todo: Mapping[str, Job], folder: Path, session: Session) -> None:
    """Writes runs for ``workflow/Snakefile``: each as ``<key>.json``, and all in ``plan.json``.

    Args:
        todo: key -> run, with every teacher that is missing.
        folder: What it says of these runs being done, from an earlier plan, is taken back.
        session: Where the runs are to be kept, and on which device and data they are computed.
    """
    for key, job in todo.items():
        write_experiment(job.experiment, folder / f"{key}.json")
        (folder / f"{key}.done").unlink(missing_ok=True)
    jobs = {
        key: {"label": job.label, "teacher": teacher.key if teacher and teacher.key in todo else ""}
        for key, job in todo.items()
        for teacher in [job.experiment.teacher]
    }
    how = {"device": str(session.device), "data": str(session.data_root)}
    how["runs"] = str(session.store.root.absolute())
    files.write_json(folder / "plan.json", {"jobs": jobs, **how})


def entry_of_same_runs(
    row_run: RowRun, tables: Mapping[str, Table], recorded: Mapping[str, Sequence[Entry]]
) -> Entry | None:
    """The entry that another table has of the same runs, as one of this table; None without any.

    Baselines are in the tables of several papers. Nothing else is taken over: an entry that is
    measured on other images, counts otherwise or has costs is made from the runs themselves.
    """
    *_, keys = row_run.identity
    asked = row_run.row
    if row_run.table.has_costs:
        return None
    for key, table in tables.items():
        rows = {row.name: row for row in table.recorded_rows}
        for entry in recorded[key]:
            row = rows.get(entry.row)
            if entry.keys != keys or row is None or table.has_costs:
                continue
            if (row.measured_on, row.task_of_each) == (asked.measured_on, asked.task_of_each):
                return dataclasses.replace(entry, row=asked.name)
    return None


def _record(folder: Path, profile: str, table: Table, new: Sequence[Entry], session) -> None:
    """Adds or replaces entries, with their floors; those that answer no row of today's table go."""
    rows = {row.name: (number, row) for number, row in enumerate(table.recorded_rows)}
    with session.store.lock("results"):
        known = read_recorded(folder, table, profile, damaged=ANEW)
        current = [e for e in known.current() if e.row in rows] if known else []
        kept = {(e.row, e.seed): e for e in current}
        kept |= {(e.row, e.seed): e for e in new}
        entries = sorted(kept.values(), key=lambda e: (rows[e.row][0], e.seed))
        asked = {
            floor_key(ran, measured_on): (ran, measured_on)
            for entry in entries
            if table.trains
            for measured_on in [rows[entry.row][1].measured_on]
            for ran in entry.experiments
        }
        floors = {key: known.floors[key] for key in asked if known and key in known.floors}
        floors |= {k: floor_scores(*asked[k], session) for k in asked if k not in floors}
        results = dataclasses.replace(results_of(table, profile, entries), floors=floors)
        if results != known:
            with files.writing(folder, "MTPSL_FIGURES"):
                write_results(folder, results)
