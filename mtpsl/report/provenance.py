"""Where the numbers of a table come from: profile, data, weights, commit, hardware, date."""

import re
from collections import Counter
from collections.abc import Iterable

from mtpsl.report.results import DELTA, Entry, Results
from mtpsl.report.tables import Table

RECORDED, COMPUTED = "recorded", "computed now"


def stamp(table: Table, recorded: Results | None, computed: Results | None) -> list[str]:
    """The sentences without which the numbers mean nothing, provenance first."""
    sentences = [f"{table.source} {table.title}."]
    for source, results in ((RECORDED, recorded), (COMPUTED, computed)):
        if results and results.current():
            sentences += _provenance(source.capitalize(), results)
        elif source == RECORDED:
            sentences.append("Recorded: nothing.")
    if DELTA in table.columns:
        references = set(table.reference.values())  # of which a part of a table may lack some
        against = {row.label for row in table.rows if row.name in references}
        row = f"row {distinct(sorted(against))}"
        row = "single-task networks" if against == {"STL"} else row
        sentences.append(
            "Δ_MTL: mean relative gain over all metrics of the table, against the "
            f"{row} of the same block, source and seed."
        )
    return [*sentences, *table.notes]


def _provenance(source: str, results: Results) -> list[str]:
    """What the numbers of one source were measured on, how and when."""
    entries = results.current()
    ran = [experiment for entry in entries for experiment in entry.experiments]
    seeds = sorted(set(Counter(entry.row for entry in entries).values()))
    span = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    spread = ", mean ± sample standard deviation" if seeds[-1] > 1 else ""
    select = distinct(str(x.get("select", "?")) for x in ran)
    if averaged := [f"{100 * x['average_last']:g} %" for x in ran if x.get("average_last")]:
        select += f", averaged over the last {distinct(averaged)} of the steps"
    parts = [f"profile {results.profile}", f"data {distinct(map(data_text, entries))}"]
    if began := [e.data["pretrained"] for e in entries if "pretrained" in e.data]:
        names = distinct(f"{p['weights']} (sha256 {p['sha256']:.12})" for p in began)
        parts.append(f"pretrained weights {names}")
    parts.append(f"n = {span} seed{'s' * (seeds[-1] > 1)} per row{spread}")
    parts.append(f"weights of the epoch selected by: {select}")
    thresholds = [tau for x in ran for tau in x.get("thresholds", {}).values()]
    if shares := [tau for tau in thresholds if isinstance(tau, str)]:
        parts.append(
            f"pseudo labels where confidence is in its upper {distinct(shares)}, not above the "
            "paper's thresholds"
        )
    parts.append(f"commit {distinct(c for e in entries for c in e.commit.split(', '))}")
    hardware = (re.sub(r"\b1 threads", "1 thread", e.hardware) for e in entries)  # older records
    parts.append(f"hardware {distinct(hardware)}")
    parts.append(distinct(e.date[:10] for e in entries))
    sentences = [f"{source}: {'; '.join(parts)}."]
    if measured := [e.memory for e in entries if e.memory]:
        how = distinct(
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
    names = "table source profile data commit torch hardware date stale".split()
    counts = Counter(
        (
            *(table.source, source, results.profile, data_text(entry), entry.commit),
            *(entry.versions["torch"], entry.hardware, entry.date[:10], entry.stale),
        )
        for source, results in ((RECORDED, recorded), (COMPUTED, computed))
        for entry in (results.entries if results else ())
    )
    return [dict(zip(names, line, strict=True)) | {"results": n} for line, n in counts.items()]


def data_text(entry: Entry) -> str:
    """Its data set with the version, and whether it is real."""
    kind = "generated stand-in" if entry.data.get("stand_in") else "real data"
    name = f"{entry.data.get('name', '?')} {entry.data.get('version', '')}".strip()
    return f"{name} ({kind})"


def distinct(values: Iterable[str]) -> str:
    """The different values, in order, as a list in a sentence."""
    return ", ".join(dict.fromkeys(value for value in values if value)) or "unknown"
