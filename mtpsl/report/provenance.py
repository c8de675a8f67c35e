"""Where a table's numbers come from: data, profile, seeds, commit, hardware and date.

Numbers come from three sources that are never blended: what the paper prints, what was recorded
with this package, and what has just been computed.
"""

from collections import Counter
from collections.abc import Iterable

from mtpsl.report.results import DELTA, Entry, Results
from mtpsl.report.tables import Table

PAPER, RECORDED, COMPUTED = "paper", "recorded", "computed now"


def stamp(table: Table, recorded: Results | None, computed: Results | None) -> list[str]:
    """The sentences without which the numbers mean nothing, provenance first."""
    sentences = [f"{table.source} {table.title}."]
    for source, results in ((RECORDED, recorded), (COMPUTED, computed)):
        if results and results.current():
            sentences += _provenance(table, source.capitalize(), results)
        else:
            sentences.append(f"{source.capitalize()}: nothing.")
    if DELTA in table.columns:
        references = set(table.reference.values())  # of which a part of a table may lack some
        against = {row.label for row in table.rows if row.name in references}
        single = against == {"STL"}
        row = "single-task networks" if single else f"row {_distinct(sorted(against))}"
        sentences.append(
            "Δ_MTL: mean relative gain over all metrics of the table, against the "
            f"{row} of the same block, source and seed."
        )
    return [*sentences, *table.notes]


def _provenance(table: Table, source: str, results: Results) -> list[str]:
    """What the numbers of one source were measured on, how and when."""
    entries = results.current()
    ran = [experiment for entry in entries for experiment in entry.experiments]
    seeds = sorted({len(results.of(row.name)) for row in table.rows} - {0})
    span = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    spread = ", mean ± sample standard deviation" if seeds[-1] > 1 else ""
    select = _distinct(str(x.get("select", "?")) for x in ran)
    if averaged := [f"{100 * x['average_last']:g} %" for x in ran if x.get("average_last")]:
        select += f", averaged over the last {_distinct(averaged)} of the steps"
    parts = [f"profile {results.profile}", f"data {_distinct(map(_data, entries))}"]
    if began := [e.data["pretrained"] for e in entries if "pretrained" in e.data]:
        names = _distinct(f"{p['weights']} (sha256 {p['sha256']:.12})" for p in began)
        parts.append(f"pretrained weights {names}")
    parts.append(f"n = {span} seed{'s' * (seeds[-1] > 1)} per row{spread}")
    parts.append(f"weights of the epoch selected by: {select}")
    thresholds = [tau for x in ran for tau in x.get("thresholds", {}).values()]
    if shares := [tau for tau in thresholds if isinstance(tau, str)]:
        parts.append(
            f"pseudo labels where confidence is in its upper {_distinct(shares)}, not above the "
            "paper's thresholds"
        )
    parts.append(f"commit {_distinct(c for e in entries for c in e.commit.split(', '))}")
    parts.append(f"hardware {_distinct(e.hardware for e in entries)}")
    parts.append(_distinct(e.date[:10] for e in entries))
    sentences = [f"{source}: {'; '.join(parts)}."]
    if measured := [e.memory for e in entries if e.memory]:
        how = _distinct(
            f"{m['device']}, {m['batch']} images of {m['height']}x{m['width']}, "
            f"width factor {m['width_factor']:g}"
            for m in measured
        )
        sentences.append(f"{source} memory: on {how}.")
    return sentences


def origins(
    table: Table, recorded: Results | None, computed: Results | None
) -> list[dict[str, str | int]]:
    """Lists every distinct origin of a table's numbers; "results" counts rows times seeds."""
    counts: Counter[tuple[tuple[str, str], ...]] = Counter()
    for source, results in ((RECORDED, recorded), (COMPUTED, computed)):
        for entry in results.entries if results else ():
            line = {
                "table": table.source,
                "source": source,
                "profile": results.profile,
                "data": _data(entry),
                "commit": entry.commit,
                "torch": entry.versions["torch"],
                "hardware": entry.hardware,
                "date": entry.date[:10],
                "stale": entry.stale,
            }
            counts[tuple(line.items())] += 1
    return [{**dict(line), "results": n} for line, n in counts.items()]


def _data(entry: Entry) -> str:
    kind = "generated stand-in" if entry.data.get("stand_in") else "real data"
    name = f"{entry.data.get('name', '?')} {entry.data.get('version', '')}".strip()
    return f"{name} ({kind})"


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value)) or "unknown"
