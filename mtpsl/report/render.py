"""A table for people: what the paper prints, what was recorded, what was just computed.

Under each row's printed line stand its measured lines, so that the numbers to compare are above
one another and a table stays as narrow as the paper's. The three sources are never blended. Every
table ends with where its numbers come from, its claims and what each source says about them.
"""

import csv
import html
import io
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from mtpsl import files
from mtpsl.metrics import COLUMNS
from mtpsl.report.results import (
    DELTA,
    RULE,
    Entry,
    Results,
    Verdict,
    column_of,
    decide,
    decide_printed,
)
from mtpsl.report.tables import Claim, Row, Table
from mtpsl.tasks import TaskSet

PAPER, RECORDED, COMPUTED = "paper", "recorded", "computed now"
DASH = "–"
STATUSES = ("holds", "does not hold", "undecided", "not run")


class Number(NamedTuple):
    """A cell of a table, in the paper's units; NaN where there is none."""

    mean: float
    std: float = math.nan  # sample standard deviation over seeds; NaN below two
    n: int = 0  # seeds: a gain needs its reference's, too

    def text(self, decimals: int) -> str:
        if math.isnan(self.mean):
            return DASH
        spread = "" if math.isnan(self.std) else f" ± {self.std:.{decimals}f}"
        return f"{self.mean:.{decimals}f}{spread}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One source's numbers for one row."""

    row: Row
    source: str
    numbers: tuple[Number, ...]  # one per column of the table
    n: int = 0  # seeds; 0 for the paper's line
    status: str = ""  # of the row, in its first line alone

    def cells(self, table: Table) -> list[str]:
        """The numbers as text; one of fewer seeds than the row has says so."""
        return [
            number.text(column_of(column).decimals)
            + (f" (n = {number.n})" if 0 < number.n < self.n else "")
            for column, number in zip(table.columns, self.numbers, strict=True)
        ]


def table_lines(table: Table, recorded: Results | None, computed: Results | None) -> list[Line]:
    """The printed line of every row, each followed by the measured lines there are.

    A row that no paper prints has measured lines alone, or one empty line without a source.
    """
    lines = []
    for row in table.rows:
        mine = [
            _measured_line(table, row, source, results)
            for source, results in ((RECORDED, recorded), (COMPUTED, computed))
            if results is not None and results.of(row.name)
        ]
        status = _status(row, recorded, mine)
        printed = row.printed or (math.nan,) * len(table.columns)
        if not all(map(math.isnan, printed)):
            mine.insert(0, Line(row=row, source=PAPER, numbers=tuple(map(Number, printed))))
        elif not mine:
            mine = [Line(row=row, source="", numbers=tuple(map(Number, printed)))]
        lines += [replace(mine[0], status=status), *mine[1:]]
    return lines


def _measured_line(table: Table, row: Row, source: str, results: Results) -> Line:
    numbers = []
    for column in table.columns:
        scale = column_of(column).scale
        values = list(results.values(table, row.name, column).values())
        mean = scale * statistics.fmean(values) if values else math.nan
        std = scale * statistics.stdev(values) if len(values) > 1 else math.nan
        numbers.append(Number(mean, std, len(values)))
    return Line(row=row, source=source, numbers=tuple(numbers), n=len(results.of(row.name)))


def _status(row: Row, recorded: Results | None, measured: Sequence[Line]) -> str:
    if not row.experiments:
        return f"printed only: {row.why_not_run}"
    done = " and ".join(line.source for line in measured) or "not run"
    stale = recorded.stale(row.name) if recorded else ""
    return f"{done}; some records are stale ({stale})" if stale else done


# --- where numbers come from --------------------------------------------------------------------


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
        row = f"row {_distinct(sorted(against))}"
        row = "single-task networks" if against == {"STL"} else row
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
    span = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
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
    names = "table source profile data commit torch hardware date stale".split()
    counts = Counter(
        (
            *(table.source, source, results.profile, _data(entry), entry.commit),
            *(entry.versions["torch"], entry.hardware, entry.date[:10], entry.stale),
        )
        for source, results in ((RECORDED, recorded), (COMPUTED, computed))
        for entry in (results.entries if results else ())
    )
    return [dict(zip(names, line, strict=True)) | {"results": n} for line, n in counts.items()]


def _data(entry: Entry) -> str:
    kind = "generated stand-in" if entry.data.get("stand_in") else "real data"
    name = f"{entry.data.get('name', '?')} {entry.data.get('version', '')}".strip()
    return f"{name} ({kind})"


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value)) or "unknown"


# --- claims --------------------------------------------------------------------------------------


def count_verdicts(
    table: Table, recorded: Results | None, computed: Results | None
) -> dict[str, Counter[str]]:
    """Counts, source by source, how many of a table's claims hold, do not, or are open."""
    counts = {PAPER: Counter(decide_printed(claim, table).status for claim in table.claims)}
    for source, results in ((RECORDED, recorded), (COMPUTED, computed)):
        counts[source] = Counter(decide(claim, table, results).status for claim in table.claims)
    return counts


def _summary(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """How many of a table's claims hold, in one sentence a source."""
    verdicts = count_verdicts(table, recorded, computed)
    counts = {
        source: ", ".join(f"{verdicts[source][s]} {s}" for s in STATUSES if verdicts[source][s])
        for source in (RECORDED, COMPUTED)
    }
    of_all = f"of {len(table.claims)} claims."
    return " ".join(f"{source.capitalize()}: {text} {of_all}" for source, text in counts.items())


def _claims(table: Table, recorded: Results | None, computed: Results | None) -> list[list[str]]:
    """Head and body of the table of claims: what each source says about each."""
    rows = [["Claim", "Column", PAPER, RECORDED, COMPUTED]]
    for claim in table.claims:
        printed = _verdict(claim, decide_printed(claim, table), printed=True)
        measured = (_verdict(claim, decide(claim, table, r)) for r in (recorded, computed))
        rows.append([claim.text, _label(claim.column), printed, *measured])
    if all(cells[2] == DASH for cells in rows[1:]):  # no paper prints it
        return [[*cells[:2], *cells[3:]] for cells in rows]
    return rows


def _verdict(claim: Claim, verdict: Verdict, *, printed: bool = False) -> str:
    if verdict.status == "not run":
        return DASH if printed else "not run"
    decimals = column_of(claim.column).decimals
    if claim.max_ratio is not None:
        size = f"{verdict.difference:.3f} times, at most {claim.max_ratio:g}"
    else:
        size = f"{verdict.difference:+.{decimals}f}"
        size += "" if math.isnan(verdict.error) else f" ± {verdict.error:.{decimals}f}"
    return f"{verdict.status} ({size}{'' if printed else f', n = {verdict.n}'})"


# --- renderers -----------------------------------------------------------------------------------


def render_markdown(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """The table and its claims as GitHub Markdown."""
    rows = _cells(table, recorded, computed)
    parts = [f"## {_title(table)}", _markdown_table(rows), *stamp(table, recorded, computed)]
    if table.claims:
        parts += ["### Claims", _summary(table, recorded, computed)]
        parts += [_markdown_table(_claims(table, recorded, computed)), RULE]
    return "\n\n".join(parts) + "\n"


def render_html(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """The table and its claims as an HTML fragment whose bytes depend on the numbers alone."""
    key = f"T_{table.paper}-{table.name}"
    parts = [_html_table(_cells(table, recorded, computed), key, _title(table), "right")]
    paragraphs = stamp(table, recorded, computed)
    parts += [f"<p>{html.escape(text)}</p>" for text in paragraphs]
    if table.claims:
        parts.append(f"<p>{html.escape(_summary(table, recorded, computed))}</p>")
        claims = _claims(table, recorded, computed)
        parts.append(_html_table(claims, f"{key}-claims", "Claims", "left"))
        parts.append(f"<p>{html.escape(RULE)}</p>")
    return "\n".join(parts) + "\n"


def render_csv(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """One line a number: setting, method, row, source, column, value, std, n, status."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow("setting method row source column value std n status".split())
    for line in table_lines(table, recorded, computed):
        names = [line.row.group, line.row.label, line.row.name, line.source]
        for column, number in zip(table.columns, line.numbers, strict=True):
            decimals = column_of(column).decimals
            cells = ["" if math.isnan(x) else round(x, decimals) for x in number[:2]]
            writer.writerow([*names, column, *cells, number.n or "", line.status])
    return text.getvalue()


def write_table(
    table: Table, recorded: Results | None, computed: Results | None, folder: str | Path
) -> list[Path]:
    """Writes ``<table>.md`` and ``.csv``; no reader ever sees half a file."""
    paths = []
    for suffix, render in ((".md", render_markdown), (".csv", render_csv)):
        content = render(table, recorded, computed).encode()
        paths.append(Path(folder) / f"{table.name}{suffix}")
        files.write(paths[-1], lambda file, content=content: file.write(content))
    return paths


def headline_cells(metrics: Mapping[str, float], tasks: TaskSet) -> dict[str, str]:
    """Each task's headline metric as a table prints it, such as ``{"semseg mIoU ↑": "31.2"}``."""
    columns = [f"{task.name}/{COLUMNS[task.headline].name}" for task in tasks]
    return {_label(c): f"{column_of(c).scale * metrics[c]:.2f}" for c in columns}


# --- text ----------------------------------------------------------------------------------------


def _cells(table: Table, recorded: Results | None, computed: Results | None) -> list[list[str]]:
    """Head and body of the table; the setting is left out where the table has none."""
    rows = [["Setting", "Method", "", *map(_label, table.columns), "n", "Status"]]
    for line in table_lines(table, recorded, computed):
        names = [line.row.group, line.row.label] if line.status else ["", ""]
        count = str(line.n) if line.n else ""
        rows.append([*names, line.source, *line.cells(table), count, line.status])
    start = 0 if any(row[0] for row in rows[1:]) else 1
    return [row[start:] for row in rows]


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = (head, ["---"] * len(head), *body)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


STYLE = """<style>
#{key} caption {{ caption-side: top; text-align: left; font-weight: bold }}
#{key} td {{ text-align: {align}; vertical-align: top; padding: 2px 8px; white-space: nowrap }}
#{key} th, #{key} td:first-child, #{key} td:last-child {{ text-align: left; white-space: normal }}
</style>"""


def _html_table(rows: Sequence[Sequence[str]], key: str, caption: str, align: str) -> str:
    """A table with a rule above every row's first line; printed numbers stand back."""
    lines = [STYLE.format(key=key, align=align), f'<table id="{key}">']
    lines.append(f"<caption>{html.escape(caption)}</caption>")
    for i, cells in enumerate(rows):
        tag = "td" if i else "th"
        look = "border-top: 1px solid; " * bool(cells[-1]) + "opacity: 0.7" * (PAPER in cells)
        inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
        lines.append(f'<tr style="{look}">{inside}</tr>')
    return "\n".join([*lines, "</table>"])


def _title(table: Table) -> str:
    return f"{table.source.strip('[]')}: {table.title}"


def _label(column: str) -> str:
    group = column.rpartition("/")[0].replace("cost", "")
    return f"{group} {column_of(column).label}".strip()
