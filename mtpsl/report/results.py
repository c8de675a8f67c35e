"""Measured numbers of a table, recorded or just computed, and what they say about its claims.

A results file holds one entry per row and seed; this is the whole format::

    {"table": "table1", "paper": "hitts", "profile": "quick", "entries": [
      {"row": "one-label/Ours", "seed": 0, "keys": ["3f..."], "experiments": [{...}],
       "metrics": {"semseg/miou": 0.31}, "seconds": 12.5, "commit": "ed28694",
       "versions": {"torch": "2.13.0"}, "hardware": "...", "date": "2026-11-20",
       "data": {"name": "rooms13", "version": "1", "stand_in": true}}]}

Metrics are fractions, meters and degrees (``metrics.COLUMNS``); ``cost/params`` and
``cost/flops`` are counts and ``cost/memory`` bytes; null stands for not measured. Where memory
was measured, "memory" says on what: device, batch, height, width and width factor. Where a network
began with pretrained weights, "data" has "pretrained" with their "weights" (a name) and "sha256".
"""

import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mtpsl import files, metrics
from mtpsl.report.tables import Claim, Table
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.profiles import get_profile

DELTA = "delta_mtl"
AVERAGE: Literal["metrics"] = "metrics"  # reproduces every printed delta of [HiTTs]; see ``audit``

COST_COLUMNS: dict[str, metrics.Column] = {
    "params": metrics.Column("params", "Params (M) ↓", False, 1e-6, 2),
    "flops": metrics.Column("flops", "FLOPs (G) ↓", False, 1e-9, 2),
    "memory": metrics.Column("memory", "Memory (G) ↓", False, 2**-30, 2),
}


def column_of(key: str) -> metrics.Column:
    """How a column of a table reads: ``"depth/rmse"``, ``"cost/params"`` or ``"delta_mtl"``."""
    group, _, metric = key.rpartition("/")
    return COST_COLUMNS[metric] if group == "cost" else metrics.COLUMNS[metric]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of a table, trained once."""

    row: str
    seed: int
    keys: tuple[str, ...]  # of the row's experiments, in its order
    experiments: tuple[Mapping[str, Any], ...]  # what ran: ``Experiment.to_dict``
    metrics: Mapping[str, float]  # of all the row's experiments together
    seconds: float
    commit: str
    versions: Mapping[str, str]
    hardware: str
    date: str
    data: Mapping[str, Any]  # name, version, stand_in
    memory: Mapping[str, Any] = field(default_factory=dict)  # how ``cost/memory`` was measured
    stale: str = ""  # why it no longer answers the table; empty: it does

    @property
    def identity(self) -> tuple[str, int, tuple[str, ...]]:
        """What it is known by: row, seed and the keys of its runs."""
        return self.row, self.seed, self.keys


@dataclass(frozen=True, kw_only=True)
class Results:
    """The measured numbers of one table at one profile."""

    paper: str
    table: str
    profile: str
    entries: tuple[Entry, ...]

    def current(self) -> tuple[Entry, ...]:
        """The entries that answer today's table."""
        return tuple(entry for entry in self.entries if not entry.stale)

    def of(self, row: str) -> tuple[Entry, ...]:
        """The current entries of a row, by seed."""
        return tuple(sorted((e for e in self.current() if e.row == row), key=lambda e: e.seed))

    def stale(self, row: str) -> str:
        """Why entries of the row are out of date; empty if none is."""
        reasons = {entry.stale: None for entry in self.entries if entry.row == row and entry.stale}
        return "; ".join(reasons)

    def values(self, table: Table, row: str, column: str) -> dict[int, float]:
        """seed -> value of a column, ``delta_mtl`` included, where it was measured.

        Delta refers to the single-task row of the same group and the same seed, over the metrics
        that are columns of the table.
        """
        by_seed = {entry.seed: _value(entry, column) for entry in self.of(row)}
        if column == DELTA:
            reference = table.reference.get(table.row(row).group, "")
            if row == reference:
                return {}
            singles = {entry.seed: entry for entry in self.of(reference)}
            by_seed = {
                entry.seed: _delta(table, entry, singles[entry.seed])
                for entry in self.of(row)
                if entry.seed in singles
            }
        return {seed: value for seed, value in by_seed.items() if not math.isnan(value)}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What measured (or printed) numbers say about a claim.

    ``difference`` is positive where the claim points, in the column's printed unit; for a claim
    with ``max_ratio`` it is the ratio.
    """

    status: Literal["holds", "does not hold", "undecided", "not run"]
    n: int = 0  # seeds that both rows have
    difference: float = math.nan
    error: float = math.nan  # standard error of the paired differences; NaN below two seeds


# Student's t, two-sided at 95 %, by number of seeds; more seeds than listed use the last.
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}

RULE = (
    "holds / does not hold: the difference between the two rows, paired by seed, is not zero by "
    "Student's t test at 95 % (beyond 4.3 standard errors with 3 seeds); otherwise undecided, and "
    "always undecided with one seed. A cost claim compares the ratio of the means with its limit; "
    "without a limit, the lower mean decides."
)


def decide(claim: Claim, table: Table, results: Results | None) -> Verdict:
    """A claim against measured numbers, by ``RULE``."""
    if results is None:
        return Verdict(status="not run")
    better = results.values(table, claim.better, claim.column)
    worse = results.values(table, claim.worse, claim.column)
    seeds = sorted(better.keys() & worse.keys())
    if not seeds:
        return Verdict(status="not run")
    column, n = column_of(claim.column), len(seeds)
    if claim.max_ratio is not None:
        ratio = sum(better[s] for s in seeds) / sum(worse[s] for s in seeds)
        return Verdict(status=_status(ratio <= claim.max_ratio), n=n, difference=ratio)
    sign = column.scale if column.higher_is_better else -column.scale
    differences = [sign * (better[s] - worse[s]) for s in seeds]
    mean, error = statistics.fmean(differences), math.nan
    decided = claim.column.startswith("cost/")  # counted or a peak: seeds are no source of spread
    if not decided and n > 1:
        error = statistics.stdev(differences) / math.sqrt(n)
        decided = abs(mean) > T_95[min(n, max(T_95))] * error
    status = _status(mean > 0) if decided else "undecided"
    return Verdict(status=status, n=n, difference=mean, error=error)


def _status(holds: bool) -> Literal["holds", "does not hold"]:
    return "holds" if holds else "does not hold"


def decide_printed(claim: Claim, table: Table) -> Verdict:
    """A claim against the paper's own cells, which carry no spread."""
    place = table.columns.index(claim.column)
    better, worse = (table.row(name).printed[place] for name in (claim.better, claim.worse))
    if math.isnan(better) or math.isnan(worse):
        return Verdict(status="not run")
    if claim.max_ratio is not None:
        ratio = better / worse
        return Verdict(status=_status(ratio <= claim.max_ratio), n=1, difference=ratio)
    sign = 1 if column_of(claim.column).higher_is_better else -1
    difference = sign * (better - worse)
    return Verdict(status=_status(difference > 0), n=1, difference=difference)


def write_results(folder: Path, results: Results) -> None:
    """Writes ``<folder>/<paper>/<table>.json``."""
    entries = []
    for entry in results.entries:
        values = {name: value for name, value in vars(entry).items() if name != "stale"}
        if not entry.memory:
            del values["memory"]
        entries.append(values)
    values = vars(results) | {"entries": entries}
    files.write_json(folder / results.paper / f"{results.table}.json", values)


def read_recorded(folder: Path, table: Table, profile: str) -> Results:
    """What ``write_results`` wrote, out-of-date entries and all, to go on from there.

    Returns:
        No entries where the file is absent, damaged (which is reported on stderr) or of another
        profile.
    """
    path = folder / f"{table.key}.json"
    try:
        results = _parse(files.read_json(path), table, str(path))
        if results.profile == profile:
            return results
    except FileNotFoundError:
        pass  # nothing is recorded yet
    except files.Damaged as error:
        print(f"recorded results are damaged and made again: {error}", file=sys.stderr)
    return results_of(table, profile, ())


def results_of(table: Table, profile: str, entries: Iterable[Entry]) -> Results:
    """The measured numbers of a table."""
    return Results(paper=table.paper, table=table.name, profile=profile, entries=tuple(entries))


def load_recorded(path: str | Path, table: Table) -> Results:
    """The recorded results of a table, out-of-date entries marked.

    A table does not say on which data it runs, so each entry is compared with its row on its own.

    Args:
        path: A results file, such as ``figures/hitts/table1.json``, by ``files.write_json``.
        table: The table it answers.

    Raises:
        FileNotFoundError: If there is no such file.
        mtpsl.files.Damaged: If its checksum does not fit, naming it.
        ValueError: If its content is not of the format or answers another table, naming it.
    """
    return parse_results(files.read_json(Path(path)), table, source=str(path))


def parse_results(values: Any, table: Table, *, source: str = "results") -> Results:
    """``load_recorded`` of the content of a file."""
    results = _parse(values, table, source)
    entries = tuple(_mark(entry, table, results.profile) for entry in results.entries)
    return replace(results, entries=entries)


def _parse(values: Any, table: Table, source: str) -> Results:
    """The content of a results file, no entry of which is marked as out of date."""
    _expect(values, dict, "an object", source)
    for name, expected in (("paper", table.paper), ("table", table.name)):
        if values.get(name) != expected:
            raise ValueError(f"{source}: {name}: expected {expected!r}, got {values.get(name)!r}")
    profile = _expect(values.get("profile"), str, "profile: a name", source)
    get_profile(profile)
    entries = []
    for i, item in enumerate(_expect(values.get("entries"), list, "entries: a list", source)):
        entry = _entry(item, f"{source}: entries[{i}]")
        if any((entry.row, entry.seed) == (other.row, other.seed) for other in entries):
            raise ValueError(
                f"{source}: entries[{i}]: expected one entry per row and seed, got a second for "
                f"row {entry.row!r}, seed {entry.seed}; {_REDO}"
            )
        entries.append(entry)
    return results_of(table, profile, entries)


_REDO = "delete it or take it from version control, then run `make records`"

_FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "row": (str, "a name"),
    "seed": (int, "an integer"),
    "keys": (list, "a list"),
    "experiments": (list, "a list"),
    "metrics": (dict, "an object"),
    "seconds": ((int, float), "a number"),
    "commit": (str, "text"),
    "versions": (dict, "an object"),
    "hardware": (str, "text"),
    "date": (str, "text"),
    "data": (dict, "an object"),
}


def _entry(item: Any, source: str) -> Entry:
    _expect(item, dict, "an object", source)
    for name, (kind, expected) in _FIELDS.items():
        _expect(item.get(name), kind, f"{name}: {expected}", source)
    if not item["keys"] or len(item["keys"]) != len(item["experiments"]):
        counts = f"{len(item['keys'])} and {len(item['experiments'])}"
        raise ValueError(f"{source}: expected as many keys as experiments, got {counts}; {_REDO}")
    for experiment in item["experiments"]:
        _expect(experiment, dict, "experiments: objects", source)
    for name, value in item["metrics"].items():
        _expect(value, (int, float, type(None)), f"metrics: a number for {name!r}", source)
    fields = {name: item[name] for name in _FIELDS}
    fields |= {name: tuple(item[name]) for name in ("keys", "experiments")}
    fields["memory"] = _expect(item.get("memory", {}), dict, "memory: an object", source)
    fields["metrics"] = files.null_to_nan(item["metrics"])
    return Entry(**fields)


def _expect(value: Any, kind: type | tuple[type, ...], expected: str, source: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{source}: expected {expected}, got {value!r:.60}; {_REDO}")
    return value


def _mark(entry: Entry, table: Table, profile: str) -> Entry:
    """The entry, marked if the table would run something else today."""
    rows = {row.name: row for row in table.rows}
    if entry.row not in rows:
        return replace(entry, stale="the table has no such row any more")
    scale, ran = get_profile(profile), entry.experiments[0]
    today = [
        _on_same_data(scale(e), ran).with_seed(entry.seed) for e in rows[entry.row].experiments
    ]
    if tuple(e.key for e in today) == entry.keys:
        return entry
    return replace(entry, stale=_changes(entry.experiments, [e.to_dict() for e in today]))


def _on_same_data(experiment: Experiment, ran: Mapping[str, Any]) -> Experiment:
    teacher = experiment.teacher and _on_same_data(experiment.teacher, ran)
    data = {name: ran[name] for name in ("dataset", "data_version") if name in ran}
    if "file" in ran.get("label_args", {}):  # label splits lie beside the data
        data["label_args"] = ran["label_args"]
    return experiment.replace(teacher=teacher, **data)


def _changes(ran: Sequence[Mapping[str, Any]], today: Sequence[Mapping[str, Any]]) -> str:
    if len(ran) != len(today):
        return f"{len(ran)} experiments ran, the row has {len(today)} today"
    names = {
        name: None
        for old, new in zip(ran, today, strict=True)
        for name in (*new, *old)
        if old.get(name) != new.get(name)
    }
    return f"changed since: {', '.join(names)}" if names else "its key does not match its settings"


def _value(entry: Entry, column: str) -> float:
    return entry.metrics.get(column, math.nan)


def _delta(table: Table, entry: Entry, single: Entry) -> float:
    """Over all the table's metrics, or NaN: a delta of fewer would not be the same number."""
    columns = [column for column in table.columns if column != DELTA]
    result, reference = ({c: _value(e, c) for c in columns} for e in (entry, single))
    return metrics.delta_mtl(result, reference, average=AVERAGE)
