"""Measured numbers of a table, recorded or just computed.

A results file holds one entry per row and seed; this is the whole format::

    {"table": "table1", "paper": "hitts", "profile": "quick", "entries": [
      {"row": "one-label/Ours", "seed": 0, "keys": ["3f..."], "experiments": [{...}],
       "metrics": {"semseg/miou": 0.31}, "seconds": 12.5, "commit": "ed28694",
       "versions": {"torch": "2.13.0"}, "hardware": "...", "date": "2026-11-20",
       "data": {"name": "rooms13", "version": "1", "stand_in": true}}],
     "floors": {"5d...": {"closed eyes": {"semseg/miou": 0.03},
                          "position lookup": {"semseg/miou": 0.08}}}}

Metrics are fractions, meters and degrees (``metrics.COLUMNS``); ``cost/params`` and
``cost/flops`` are counts and ``cost/memory`` bytes; null stands for not measured. Where memory
was measured, "memory" says on what: device, batch, height, width and width factor. Where a network
began with pretrained weights, "data" has "pretrained" with their "weights" (a name) and "sha256".
"by_class", which older entries lack, has task -> class -> "iou" and "pixels" of the test split.
"floors" holds what guesses score (``floors``), by what they are made from (``floor_key``).
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from mtpsl import files, metrics
from mtpsl.data import DATASETS
from mtpsl.data.region_providers import PROVIDERS
from mtpsl.registry import fits
from mtpsl.report.tables import MeasuredOn, Row, Table
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.profiles import get_profile

DELTA = "delta_mtl"
GUESSES = ("closed eyes", "position lookup")  # what scores without looking at the image: ``floors``
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


_GUESSED_FROM = (
    *("dataset", "data_version", "data_args", "height", "width", "train_images", "test_images"),
    *("label_setting", "label_args", "label_seed", "score_size", "numerics"),
)


def floor_key(ran: Mapping[str, Any], measured_on: MeasuredOn) -> str:
    """Names the scores of ``GUESSES`` for an experiment, as ``Experiment.to_dict``: 12 hex digits.

    They depend on its data, its labels, its protocol and the images that it is measured on alone.
    """
    decides = [ran.get(name) for name in _GUESSED_FROM]
    if protocol := ran.get("protocol"):  # which older runs do not name
        decides.append(protocol)
    text = json.dumps([*decides, measured_on], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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
    by_class: Mapping[str, Any] = field(default_factory=dict)  # ``RunRecord.by_class``
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
    floors: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    # ``floor_key`` -> a key of ``GUESSES`` -> "task/metric" -> value

    def current(self) -> tuple[Entry, ...]:
        """The entries that answer today's table."""
        return tuple(entry for entry in self.entries if not entry.stale)

    def of(self, row: str) -> tuple[Entry, ...]:
        """The current entries of a row, by seed."""
        return tuple(sorted((e for e in self.current() if e.row == row), key=lambda e: e.seed))

    def stale(self, row: str) -> str:
        """Why entries of the row are out of date; empty if none is."""
        reasons = [entry.stale for entry in self.entries if entry.row == row and entry.stale]
        return "; ".join(dict.fromkeys(reasons))

    def values(self, table: Table, row: str, column: str) -> dict[int, float]:
        """seed -> value of a column, ``delta_mtl`` included, where it was measured.

        Delta refers to the single-task row of the same group and the same seed, over the metrics
        that are columns of the table.
        """
        by_seed = {e.seed: e.metrics.get(column, math.nan) for e in self.of(row)}
        if column == DELTA:
            reference = table.reference.get(table.row(row).group, "")
            singles = {e.seed: e for e in self.of(reference)} if row != reference else {}
            by_seed = {
                e.seed: _delta(table, e, singles[e.seed]) for e in self.of(row) if e.seed in singles
            }
        return {seed: value for seed, value in by_seed.items() if not math.isnan(value)}

    def floor(self, row: Row, guess: str) -> dict[str, float]:
        """What one of ``GUESSES`` scores on the images of a row, with its labels; empty: unknown.

        A row of several experiments has from each the metrics that it has from it.
        """
        scores: dict[str, float] = {}
        for entry in self.of(row.name)[:1]:
            for ran, task in zip_longest(entry.experiments, row.task_of_each):
                found = self.floors.get(floor_key(ran, row.measured_on), {}).get(guess, {})
                tasks = (task,) if task else ran["tasks"]
                scores |= {n: v for n, v in found.items() if n.partition("/")[0] in tasks}
        return scores

    def below_floor(self, table: Table, row: Row, column: str) -> bool:
        """Whether a row's mean is no better than the better guess; of a delta, on every metric."""
        if not self.floors:
            return False
        if column == DELTA:
            metric = [c for c in table.columns if c != DELTA]
            return all(self.below_floor(table, row, c) for c in metric)
        values = self.values(table, row.name, column).values()
        guesses = [self.floor(row, guess).get(column, math.nan) for guess in GUESSES]
        guesses = [value for value in guesses if not math.isnan(value)]
        if not values or not guesses:
            return False
        if column_of(column).higher_is_better:
            return fmean(values) <= max(guesses)
        return fmean(values) >= min(guesses)


def _delta(table: Table, entry: Entry, single: Entry) -> float:
    """Over all the table's metrics, or NaN: a delta of fewer would not be the same number."""
    columns = [column for column in table.columns if column != DELTA]
    result, reference = ({c: e.metrics.get(c, math.nan) for c in columns} for e in (entry, single))
    return metrics.delta_mtl(result, reference, average=AVERAGE)


# -------------------------------------------------------------------- files


def write_results(folder: Path, results: Results) -> None:
    """Writes ``<folder>/<paper>/<table>.json``."""
    entries = [
        {n: v for n, v in vars(entry).items() if n != "stale" and (v or n not in OPTIONAL)}
        for entry in results.entries
    ]
    values = vars(results) | {"entries": entries}
    if not results.floors:
        del values["floors"]
    files.write_json(folder / results.paper / f"{results.table}.json", values)


def read_recorded(
    folder: Path, table: Table, profile: str = "", *, damaged: str = "left out"
) -> Results | None:
    """The results in ``<folder>/<paper>/<table>.json``, out-of-date entries marked.

    Args:
        folder: Of the results files.
        table: The table that the file answers.
        profile: Results of another one count as none; empty takes those of any.
        damaged: What becomes of a damaged file, which is reported on stderr.

    Returns:
        None where there are none.
    """
    try:
        results = load_recorded(folder / f"{table.key}.json", table)
    except FileNotFoundError:
        return None
    except files.Damaged as error:
        print(f"recorded results are damaged and {damaged}: {error}", file=sys.stderr)
        return None
    return results if profile in ("", results.profile) else None


def results_of(table: Table, profile: str, entries: Iterable[Entry]) -> Results:
    """The measured numbers of a table."""
    return Results(paper=table.paper, table=table.name, profile=profile, entries=tuple(entries))


def load_recorded(path: str | Path, table: Table) -> Results:
    """The recorded results of a table, out-of-date entries marked.

    A table does not say on which data it runs, so each entry is compared with its row on its own.

    Args:
        path: A results file, such as ``figures/hitts/table1.json``.
        table: The table it answers.

    Raises:
        FileNotFoundError: If there is no such file.
        mtpsl.files.Damaged: If its checksum does not fit, naming it.
        ValueError: If its content is not of the format or answers another table, naming it.
    """
    return parse_results(files.read_json(Path(path)), table, source=str(path))


def parse_results(values: Any, table: Table, *, source: str = "results") -> Results:
    """``load_recorded`` of the content of a file."""
    _expect(values, dict, "an object", source)
    for name, expected in (("paper", table.paper), ("table", table.name)):
        if values.get(name) != expected:
            raise ValueError(f"{source}: {name}: expected {expected!r}, got {values.get(name)!r}")
    profile = _expect(values.get("profile"), str, "profile: a name", source)
    get_profile(profile)
    entries: dict[tuple[str, int], Entry] = {}
    for i, item in enumerate(_expect(values.get("entries"), list, "entries: a list", source)):
        entry = _entry(item, f"{source}: entries[{i}]")
        if (entry.row, entry.seed) in entries:
            raise ValueError(
                f"{source}: entries[{i}]: expected one entry per row and seed, got a second for "
                f"row {entry.row!r}, seed {entry.seed}; {_REDO}"
            )
        stale = _why_stale(entry, table, profile)
        entries[entry.row, entry.seed] = replace(entry, stale=stale)
    floors = _expect(values.get("floors", {}), dict, "floors: an object", source)
    known = {
        key: {
            guess: files.null_to_nan(_expect(scores, dict, f"{guess}: an object", source))
            for guess, scores in _expect(found, dict, "floors: objects", source).items()
        }
        for key, found in floors.items()
    }
    return replace(results_of(table, profile, entries.values()), floors=known)


_REDO = "delete it or take it from version control, then run `make records`"

_LIST, _OBJECT, _TEXT = (list, "a list"), (dict, "an object"), (str, "text")
_FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **{"row": (str, "a name"), "seed": (int, "an integer"), "keys": _LIST, "experiments": _LIST},
    **{"metrics": _OBJECT, "seconds": ((int, float), "a number"), "commit": _TEXT},
    **{"versions": _OBJECT, "hardware": _TEXT, "date": _TEXT, "data": _OBJECT, "memory": _OBJECT},
    "by_class": _OBJECT,
}
OPTIONAL = ("memory", "by_class")  # left out where they are empty


def _entry(item: Any, source: str) -> Entry:
    item = {name: {} for name in OPTIONAL} | _expect(item, dict, "an object", source)
    for name, (kind, expected) in _FIELDS.items():
        _expect(item.get(name), kind, f"{name}: {expected}", source)
    if not item["keys"] or len(item["keys"]) != len(item["experiments"]):
        counts = f"{len(item['keys'])} and {len(item['experiments'])}"
        raise ValueError(f"{source}: expected as many keys as experiments, got {counts}; {_REDO}")
    for experiment in item["experiments"]:
        _expect(experiment, dict, "experiments: objects", source)
    for name, value in item["metrics"].items():
        _expect(value, (int, float, type(None)), f"metrics: a number for {name!r}", source)
    if not fits(item["by_class"], Mapping[str, Mapping[str, Mapping[str, float | None]]]):
        raise ValueError(f"{source}: expected by_class: task, class, number; {_REDO}")
    fields = {name: item[name] for name in _FIELDS}
    fields |= {name: tuple(item[name]) for name in ("keys", "experiments")}
    return Entry(**fields | {"metrics": files.null_to_nan(item["metrics"])})


def _expect(value: Any, kind: type | tuple[type, ...], expected: str, source: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{source}: expected {expected}, got {value!r:.60}; {_REDO}")
    return value


def _why_stale(entry: Entry, table: Table, profile: str) -> str:
    """What the table would run differently today; empty for nothing."""
    rows = {row.name: row for row in table.recorded_rows}
    if entry.row not in rows:
        return "the table has no such row any more"
    scale, ran = get_profile(profile), entry.experiments
    today = [
        _on_same_data(scale(e), ran[0]).with_seed(entry.seed) for e in rows[entry.row].experiments
    ]
    if tuple(e.key for e in today) == entry.keys:
        return ""
    if len(ran) != len(today):
        return f"{len(ran)} experiments ran, the row has {len(today)} today"
    names = {
        name: None
        for old, new in zip(ran, (e.to_dict() for e in today), strict=True)
        for name in (*new, *old)
        if old.get(name) != new.get(name)
    }
    return f"changed since: {', '.join(names)}" if names else "its key does not match its settings"


def _on_same_data(experiment: Experiment, ran: Mapping[str, Any]) -> Experiment:
    """The experiment on the data of what ran; of a stand-in, on today's version of it."""
    teacher = experiment.teacher and _on_same_data(experiment.teacher, ran)
    data = {name: ran[name] for name in ("dataset", "data_version") if name in ran}
    kind = DATASETS.get(data.get("dataset", ""))
    if kind and kind.stand_in and data.get("data_version"):
        data["data_version"] = kind.version
    if experiment.regions:  # by today's version of who divides, unless they were read from files
        divides = PROVIDERS[experiment.regions]
        found = ran.get("region_version", "") if divides.folder else divides.version
        data["region_version"] = found
    if "file" in ran.get("label_args", {}):  # label splits lie beside the data
        data["label_args"] = ran["label_args"]
    return experiment.replace(teacher=teacher, **data)
