"""Recorded results: what a table still lacks, trained by worker processes side by side.

Seed 0 of every row comes first, then seed 1, and so on, so that a table says something as early
as possible. Every finished run is kept and every finished row written at once: stop and start
again at any time.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from mtpsl import files
from mtpsl.report.costs import full_size_cost
from mtpsl.report.tables import Row, Table
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.memory import at_size, training_memory
from mtpsl.runs.parts import metrics_on
from mtpsl.runs.profiles import get_profile
from mtpsl.runs.session import Session
from mtpsl.runs.store import RunRecord, RunStore, environment
from mtpsl.runs.train import bind_data, write_experiment

POLL = 0.1  # seconds between looks at the workers


# ---------------------------------------------------------------------- rows


def row_experiments(
    row: Row, profile: str, seed: int, data_root: Path | str = ""
) -> tuple[Experiment, ...]:
    """What a row of a table trains at a profile, ready to run."""
    scale = get_profile(profile)
    return tuple(bind_data(scale(e), data_root).with_seed(seed) for e in row.experiments)


def row_entry(
    table: Table,
    row: Row,
    seed: int,
    records: Sequence[RunRecord],
    session: Session,
    *,
    memory: bool = False,
) -> dict[str, Any]:
    """A row's finished runs as an entry of a results file (``results``).

    Args:
        table: A column of costs has them counted, at the size that the table states.
        row: Of the table. Says which images are measured, and what each run contributes.
        seed: Of the runs.
        records: In the order of the row's experiments.
        session: Where the runs and their images are.
        memory: Measures ``cost/memory``, in seconds to minutes at the paper's size.
    """
    metrics = {}
    for record, task in zip_longest(records, row.takes):
        found = metrics_on(row.part, record, session)
        metrics |= {n: v for n, v in found.items() if not task or n.startswith(f"{task}/")}
    on_gpu = all(r.device == "cuda" for r in records)
    costs, conditions = row_costs(table, row, "cuda" if on_gpu else "cpu", memory)
    return {
        "row": row.name,
        "seed": seed,
        "keys": [r.key for r in records],
        "experiments": [r.experiment for r in records],
        "metrics": metrics | costs,
        "seconds": round(sum(sum(r.seconds.values()) for r in records), 1),
        "commit": ", ".join(dict.fromkeys(r.environment["commit"] for r in records)),
        "versions": records[0].environment["versions"],
        "hardware": ", ".join(dict.fromkeys(r.environment["hardware"] for r in records)),
        "date": max(r.environment["date"] for r in records),
        "data": records[0].data,
        **conditions,
    }


def cost_entry(
    table: Table, row: Row, experiments: Sequence[Experiment], *, memory: bool = False
) -> dict[str, Any]:
    """An entry of a table that trains nothing (``Table.trains``).

    Args:
        table: All of whose columns are costs.
        row: Of the table.
        experiments: The row's at a profile; they tell later whether the entry is up to date.
        memory: As in ``row_entry``; on a GPU where there is one.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.monotonic()
    costs, conditions = row_costs(table, row, device, memory)
    return {
        "row": row.name,
        "seed": 0,
        "keys": [e.key for e in experiments],
        "experiments": [e.to_dict() for e in experiments],
        "metrics": costs,
        "seconds": round(time.monotonic() - began, 1),
        **environment(device),
        "data": {"name": "noise of the size above", "version": "", "stand_in": True},
        **conditions,
    }


def row_costs(
    table: Table, row: Row, device: str, memory: bool
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """The columns of costs, of all networks of a row together, and how memory was measured."""
    costs, conditions = {}, {}
    if any(column.startswith("cost/") for column in table.columns):
        full = [full_size_cost(experiment) for experiment in row.experiments]
        costs["cost/params"] = sum(c.params for c in full)
        costs["cost/flops"] = sum(c.thop_flops for c in full)
        costs["cost/memory"] = None
    if memory and "cost/memory" in table.columns:
        peaks = [training_memory(at_size(e), device) for e in row.experiments]
        costs["cost/memory"] = sum(peak.bytes for peak in peaks)
        conditions["memory"] = peaks[0].conditions
    return costs, conditions


# ------------------------------------------------------------------- records


@dataclass(frozen=True)
class Wanted:
    """An entry that a results file lacks."""

    table: Table
    row: Row
    seed: int
    experiments: tuple[Experiment, ...]

    @property
    def identity(self) -> tuple[str, int, tuple[str, ...]]:
        return self.row.name, self.seed, tuple(e.key for e in self.experiments)

    def label(self, experiment: Experiment) -> str:
        part = f" ({', '.join(experiment.tasks)})" if len(self.experiments) > 1 else ""
        return f"{self.table.name} {self.row.name}{part} seed {self.seed}"


def fill_records(
    tables: Iterable[Table],
    folder: Path | str,
    session: Session,
    *,
    profile: str = "quick",
    seeds: Iterable[int] = (0, 1, 2),
    jobs: int = 1,
    others: Iterable[Table] = (),
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

    Returns:
        How many runs failed; what they said is printed.
    """
    folder, tables, store = Path(folder), tuple(tables), session.store
    looked_at = {(t.paper, t.name): t for t in (*tables, *others)}
    recorded = {name: _read(folder, t, profile)["entries"] for name, t in looked_at.items()}
    wanted = []
    for seed in seeds:
        for table in tables:
            known = {_identity(e) for e in recorded[table.paper, table.name]}
            for row in table.rows:
                item = Wanted(
                    table, row, seed, row_experiments(row, profile, seed, session.data_root)
                )
                once = table.trains or not seed  # a cost has no spread over seeds
                if not item.experiments or not once or item.identity in known:
                    continue
                if entry := entry_of_same_runs(item, looked_at.values(), recorded.values()):
                    _record(folder, profile, table, entry, store)
                else:
                    wanted.append(item)
    labeled = [(e, w.label(e)) for w in wanted if w.table.trains for e in w.experiments]
    todo = missing_runs(labeled, store)
    print(f"profile {profile}: {len(wanted)} rows to record, {len(todo)} runs to train for them")

    def record_what_is_complete() -> None:
        for item in list(wanted):
            if item.table.trains and any(e.key in todo for e in item.experiments):
                continue
            if item.table.trains:
                records = [store.load(e.key) for e in item.experiments]
                memory = profile != "smoke"
                entry = row_entry(item.table, item.row, item.seed, records, session, memory=memory)
            else:
                memory = profile != "smoke"
                entry = cost_entry(item.table, item.row, item.experiments, memory=memory)
            _record(folder, profile, item.table, entry, store)
            wanted.remove(item)

    record_what_is_complete()
    failed = 0
    for job in train_all(todo.values(), session, jobs):
        if job.error:
            failed += 1
        else:
            del todo[job.experiment.key]
            record_what_is_complete()
    return failed


def entry_of_same_runs(
    item: Wanted, tables: Iterable[Table], recorded: Iterable[Sequence[Mapping[str, Any]]]
) -> dict[str, Any] | None:
    """The entry that another table has of the same runs, as one of this table; None without any.

    Baselines are in the tables of several papers. Nothing else is taken over: an entry that is
    measured on other images, counts otherwise or has costs is made from the runs themselves.

    Args:
        item: What is wanted.
        tables: Where to look.
        recorded: The entries of each of them.
    """
    keys = item.identity[2]
    if any(column.startswith("cost/") for column in item.table.columns):
        return None
    for table, entries in zip(tables, recorded, strict=True):
        rows = {row.name: row for row in table.rows}
        for entry in entries:
            row = rows.get(entry["row"])
            alike = row and (row.part, row.takes) == (item.row.part, item.row.takes)
            plain = not any(name.startswith("cost/") for name in entry["metrics"])
            if alike and plain and tuple(entry["keys"]) == keys:
                return {**entry, "row": item.row.name}
    return None


def _read(folder: Path, table: Table, profile: str) -> dict[str, Any]:
    """A results file, or an empty one where it is absent, damaged or of another profile."""
    path = folder / table.paper / f"{table.name}.json"
    empty = {"paper": table.paper, "table": table.name, "profile": profile, "entries": []}
    try:
        values = files.read_json(path)
    except FileNotFoundError:
        return empty
    except files.Damaged as error:
        print(f"recorded results are damaged and made again: {error}", file=sys.stderr)
        return empty
    return values if values["profile"] == profile else empty


def _record(
    folder: Path, profile: str, table: Table, entry: dict[str, Any], store: RunStore
) -> None:
    """Adds or replaces an entry; entries of rows that the table no longer has go."""
    order = {row.name: number for number, row in enumerate(table.rows)}
    with store.lock("results"):
        values = _read(folder, table, profile)
        others = [
            e
            for e in values["entries"]
            if e["row"] in order and (e["row"], e["seed"]) != (entry["row"], entry["seed"])
        ]
        entries = sorted([*others, entry], key=lambda e: (order[e["row"]], e["seed"]))
        path = folder / table.paper / f"{table.name}.json"
        files.write_json(path, values | {"entries": entries})


def _identity(entry: Mapping[str, Any]) -> tuple[str, int, tuple[str, ...]]:
    return entry["row"], entry["seed"], tuple(entry["keys"])


# ------------------------------------------------------------------- workers


@dataclass
class Job:
    """A run that a worker process trains."""

    experiment: Experiment
    label: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    error: str = ""  # the last thing a failed worker said


def missing_runs(labeled: Iterable[tuple[Experiment, str]], store: RunStore) -> dict[str, Job]:
    """key -> job for every run that the store lacks, teachers before their students.

    Args:
        labeled: Experiments, each with what progress calls it; the first name counts.
        store: Whose intact runs are left out.
    """
    jobs: dict[str, Job] = {}

    def add(experiment: Experiment, label: str) -> None:
        if experiment.key in jobs or store.load(experiment.key) is not None:
            return
        if experiment.teacher:
            add(experiment.teacher, f"{label}: teacher")
        jobs[experiment.key] = Job(experiment, label)

    for experiment, label in labeled:
        add(experiment, label)
    return jobs


def train_all(jobs: Iterable[Job], session: Session, workers: int) -> Iterator[Job]:
    """Keeps so many worker processes running and yields every job when it ends.

    A job waits for its teacher and fails with it. Leaving the loop stops the workers; their runs
    go on from their checkpoints next time.
    """
    waiting = {job.experiment.key: job for job in jobs}
    running: dict[str, Job] = {}
    failed: set[str] = set()
    total, seconds = len(waiting), list[float]()
    try:
        while waiting or running:
            for key, job in list(waiting.items()):
                teacher = job.experiment.teacher.key if job.experiment.teacher else ""
                if teacher in failed:
                    job.error = "its teacher failed"
                elif len(running) < workers and teacher not in waiting | running:
                    running[key] = waiting.pop(key)
                    _start(job, session, workers)
            over = {k: j for k, j in waiting.items() if j.error}
            over |= {k: j for k, j in running.items() if j.process.poll() is not None}
            for key, job in over.items():
                if running.pop(key, None):
                    seconds.append(time.monotonic() - job.started)
                    job.error = _last_words(job, session.store) if job.process.returncode else ""
                waiting.pop(key, None)
                if job.error:
                    failed.add(key)
                left = len(waiting) + len(running)
                _report(job, total - left, total, seconds, left / workers)
                yield job
            time.sleep(0 if over else POLL)
    finally:
        for job in running.values():
            job.process.terminate()
        for job in running.values():
            job.process.wait()


def _start(job: Job, session: Session, workers: int) -> None:
    """``python -m mtpsl run --experiment FILE``, with its share of the cores."""
    folder = session.store.folder(job.experiment.key)
    path = folder / "experiment.json"
    write_experiment(job.experiment, path)
    command = [sys.executable, "-m", "mtpsl", "run", "--experiment", str(path)]
    command += ["--device", str(session.device)]
    command += ["--data", str(session.data_root)] if session.data_root else []
    environment = os.environ | {"MTPSL_RUNS": str(session.store.root.absolute())}
    if workers > 1:  # bars of several processes would overwrite each other
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        environment |= {"MTPSL_PROGRESS": "0", "OMP_NUM_THREADS": threads}
    job.started = time.monotonic()
    with open(folder / "output.txt", "wb") as output:
        job.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if workers == 1 else output,
        )


def _last_words(job: Job, store: RunStore) -> str:
    path = store.folder(job.experiment.key) / "output.txt"
    lines = path.read_text(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return f"exit status {job.process.returncode}{': ' + said[-1] if said else ''} ({path})"


def _report(job: Job, done: int, total: int, seconds: Sequence[float], rounds: float) -> None:
    """One line, such as ``[7/39] table1 one-label/MTL baseline seed 0 48 s, 25 min left``."""
    if job.error:
        result = f"failed: {job.error}"
    else:
        rest = rounds * sum(seconds) / len(seconds)
        left = f"{rest / 60:.0f} min" if rest > 100 else f"{rest:.0f} s"
        result = f"{seconds[-1]:.0f} s" + (f", about {left} left" if rest else "")
    print(f"[{done}/{total}] {job.label} {result}", flush=True)
