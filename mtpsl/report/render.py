"""A table for people: what the paper prints, what was recorded, what was just computed.

Under each row's printed line stand its measured lines, so that the numbers to compare are above
one another and a table stays as narrow as the paper's. Recorded and computed numbers are never
blended. Every table ends with its claims and what each source says about them.
"""

import html
import io
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mtpsl import files
from mtpsl.report.results import (
    DELTA,
    RULE,
    Results,
    Verdict,
    column_of,
    decide,
    decide_printed,
)
from mtpsl.report.tables import Claim, Row, Table

PAPER, RECORDED, COMPUTED = "paper", "recorded", "computed now"
DASH = "–"
STATUSES = ("holds", "does not hold", "undecided", "not run")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One source's numbers for one row, in the paper's units; NaN where there is none."""

    row: Row
    source: str
    means: tuple[float, ...]  # one per column of the table
    stds: tuple[float, ...]  # sample standard deviation over seeds; NaN below two
    n: int  # seeds; 0 for the paper's line
    status: str  # of the row, in its first line alone
    counts: tuple[int, ...] = ()  # seeds by column, where there are any

    def cells(self, table: Table) -> list[str]:
        """A column with fewer seeds than the row says so: a gain needs its reference's seed."""
        return [
            _number(mean, std, column_of(column).decimals)
            + (f" (n = {count})" if 0 < count < self.n else "")
            for column, mean, std, count in zip(
                table.columns, self.means, self.stds, self.by_column(table), strict=True
            )
        ]

    def by_column(self, table: Table) -> tuple[int, ...]:
        """How many seeds the number of each column has."""
        return self.counts or (self.n,) * len(table.columns)


def table_lines(table: Table, recorded: Results | None, computed: Results | None) -> list[Line]:
    """The printed line of every row, each followed by the measured lines there are.

    A row that no paper prints has measured lines alone, or one empty line without a source.
    """
    lines = []
    for row in table.rows:
        nothing = (math.nan,) * len(table.columns)
        measured = [
            _measured_line(table, row, source, results)
            for source, results in ((RECORDED, recorded), (COMPUTED, computed))
            if results is not None and results.of(row.name)
        ]
        status = _status(row, recorded, measured)
        printed = row.printed or nothing
        source = "" if all(map(math.isnan, printed)) else PAPER
        if source or not measured:
            first = Line(row=row, source=source, means=printed, stds=nothing, n=0, status=status)
            lines += [first, *measured]
        else:
            lines += [replace(measured[0], status=status), *measured[1:]]
    return lines


def stamp(table: Table, recorded: Results | None, computed: Results | None) -> list[str]:
    """The sentences without which the numbers mean nothing, provenance first."""
    sentences = [f"{table.source} {table.title}."]
    for source, results in ((RECORDED, recorded), (COMPUTED, computed)):
        entries = results.current() if results else ()
        if results is None or not entries:
            sentences.append(f"{source.capitalize()}: nothing.")
            continue
        data = _distinct(
            f"{e.data.get('name', '?')} {e.data.get('version', '')}".strip()
            + (" (generated stand-in)" if e.data.get("stand_in") else " (real data)")
            for e in entries
        )
        began = [e.data["pretrained"] for e in entries if "pretrained" in e.data]
        names = _distinct(f"{p['weights']} (sha256 {p['sha256']:.12})" for p in began)
        pretrained = f"pretrained weights {names}; " if began else ""
        seeds = sorted({len(results.of(row.name)) for row in table.rows} - {0})
        n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        spread = ", mean ± sample standard deviation" if seeds[-1] > 1 else ""
        ran = [x for e in entries for x in e.experiments]
        select = _distinct(str(x.get("select", "?")) for x in ran)
        averaged = [f"{100 * x['average_last']:g} %" for x in ran if x.get("average_last")]
        average = f", averaged over the last {_distinct(averaged)} of the steps" if averaged else ""
        levels = [tau for x in ran for tau in x.get("thresholds", {}).values()]
        shares = [tau for tau in levels if isinstance(tau, str)]
        accepted = (
            f"pseudo labels where confidence is in its upper {_distinct(shares)}, not above the "
            "paper's thresholds; "
            if shares
            else ""
        )
        sentences.append(
            f"{source.capitalize()}: profile {results.profile}; data {data}; {pretrained}"
            f"n = {n} seed{'s' * (seeds[-1] > 1)} a row{spread}; "
            f"weights of the epoch selected by: {select}"
            f"{average}; {accepted}"
            f"commit {_distinct(c for e in entries for c in e.commit.split(', '))}; "
            f"hardware {_distinct(e.hardware for e in entries)}; "
            f"{_distinct(e.date[:10] for e in entries)}."
        )
        if measured := [e.memory for e in entries if e.memory]:
            how = _distinct(
                f"{m['device']}, {m['batch']} images of {m['height']}x{m['width']}, "
                f"width factor {m['width_factor']:g}"
                for m in measured
            )
            sentences.append(f"{source.capitalize()} memory: on {how}.")
    if DELTA in table.columns:
        references = set(table.reference.values())  # of which a part of a table may lack some
        against = {row.label for row in table.rows if row.name in references}
        words = (
            "single-task networks" if against == {"STL"} else f"row {_distinct(sorted(against))}"
        )
        sentences.append(
            "Δ_MTL: mean relative gain over all metrics of the table, against the "
            f"{words} of the same block, source and seed."
        )
    return [*sentences, *table.notes]


def render_markdown(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """The table and its claims as GitHub Markdown."""
    head = ["Setting", "Method", "", *(_label(c) for c in table.columns), "n", "Status"]
    body = []
    for line in table_lines(table, recorded, computed):
        names = [line.row.group, line.row.label] if line.status else ["", ""]
        body.append([*names, line.source, *line.cells(table), _count(line), line.status])
    parts = [
        f"## {_title(table)}",
        _markdown_table(_without_empty(head, body)),
        "\n\n".join(stamp(table, recorded, computed)),
    ]
    if table.claims:
        ledger = _markdown_table(_ledger(table, recorded, computed))
        parts += ["### Claims", summary(table, recorded, computed), ledger, RULE]
    return "\n\n".join(parts) + "\n"


def render_html(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """The table and its claims as an HTML fragment whose bytes depend on the numbers alone."""
    lines = table_lines(table, recorded, computed)
    names = [(line.row.group, line.row.label, line.source) for line in lines]
    head = [*(_header(column) for column in table.columns), ("", "n"), ("", "Status")]
    frame = pd.DataFrame(
        [[*line.cells(table), _count(line), line.status] for line in lines],
        index=_levels(names, ["Setting", "Method", ""]),
        columns=_levels(head, ["", ""]),
    )
    # A line above every method, and its printed numbers stand back behind the measured ones.
    styles = [
        {"selector": f"tbody tr:nth-child({i}) {cells}", "props": props}
        for i, line in enumerate(lines, start=1)
        for there, cells, props in (
            (line.status, "> *", "border-top: 1px solid"),
            (line.source == PAPER, "> td", "opacity: 0.7"),
        )
        if there
    ]
    parts = [
        _styled(frame, f"{table.paper}-{table.name}", _title(table), [*_NUMBERS, *styles]),
        *(f"<p>{html.escape(sentence)}</p>" for sentence in stamp(table, recorded, computed)),
    ]
    if table.claims:
        head, *body = _ledger(table, recorded, computed)
        ledger = pd.DataFrame(body, columns=head).set_index(head[0])
        parts.append(f"<p>{html.escape(summary(table, recorded, computed))}</p>")
        parts.append(_styled(ledger, f"{table.paper}-{table.name}-claims", "Claims", _WORDS))
        parts.append(f"<p>{html.escape(RULE)}</p>")
    return "\n".join(parts) + "\n"


def render_csv(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """One line a number: setting, method, row, source, column, value, std, n, status."""
    records = [
        {
            "setting": line.row.group,
            "method": line.row.label,
            "row": line.row.name,
            "source": line.source,
            "column": column,
            "value": _round(mean, column_of(column).decimals),
            "std": _round(std, column_of(column).decimals),
            "n": count or None,
            "status": line.status,
        }
        for line in table_lines(table, recorded, computed)
        for column, mean, std, count in zip(
            table.columns, line.means, line.stds, line.by_column(table), strict=True
        )
    ]
    text = io.StringIO()
    pd.DataFrame(records).astype({"n": "Int64"}).to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()


def write_table(
    table: Table, recorded: Results | None, computed: Results | None, folder: str | Path
) -> list[Path]:
    """Writes ``<table>.md``, ``.html`` and ``.csv``; no reader ever sees half a file."""
    page = (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{html.escape(_title(table))}</title></head>\n<body>\n"
        f"{render_html(table, recorded, computed)}</body>\n</html>\n"
    )
    texts = {
        ".md": render_markdown(table, recorded, computed),
        ".html": page,
        ".csv": render_csv(table, recorded, computed),
    }
    folder = Path(folder)
    paths = {folder / f"{table.name}{suffix}": text.encode() for suffix, text in texts.items()}
    for path, content in paths.items():
        files.write(path, lambda file, content=content: file.write(content))
    return list(paths)


# --- lines ---------------------------------------------------------------------------------------


def _measured_line(table: Table, row: Row, source: str, results: Results) -> Line:
    means, stds, counts = [], [], []
    for column in table.columns:
        values = list(results.values(table, row.name, column).values())
        counts.append(len(values))
        scale = column_of(column).scale
        means.append(scale * statistics.fmean(values) if values else math.nan)
        stds.append(scale * statistics.stdev(values) if len(values) > 1 else math.nan)
    n = len(results.of(row.name))
    return Line(
        row=row,
        source=source,
        means=tuple(means),
        stds=tuple(stds),
        n=n,
        status="",
        counts=tuple(counts),
    )


def _status(row: Row, recorded: Results | None, measured: Sequence[Line]) -> str:
    if not row.experiments:
        return f"printed only: {row.why_not_run}"
    done = " and ".join(line.source for line in measured) or "not run"
    stale = recorded.stale(row.name) if recorded else ""
    return f"{done}; some records are stale ({stale})" if stale else done


def _count(line: Line) -> str:
    return str(line.n) if line.n else ""


# --- claims --------------------------------------------------------------------------------------


def summary(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """How many of a table's claims hold, in one sentence a source."""
    sentences = []
    for source, results in ((RECORDED, recorded), (COMPUTED, computed)):
        counts = Counter(decide(claim, table, results).status for claim in table.claims)
        said = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        sentences.append(f"{source.capitalize()}: {said} of {len(table.claims)} claims.")
    return " ".join(sentences)


def _ledger(table: Table, recorded: Results | None, computed: Results | None) -> list[list[str]]:
    """Head and body of the ledger: what each source says about each claim."""
    printed = [decide_printed(claim, table) for claim in table.claims]
    on_paper = any(verdict.status != "not run" for verdict in printed)
    body = [["Claim", "Column", *([PAPER] if on_paper else []), RECORDED, COMPUTED]]
    for claim, verdict in zip(table.claims, printed, strict=True):
        said = [_verdict(claim, verdict, printed=True)] if on_paper else []
        found = [_verdict(claim, decide(claim, table, results)) for results in (recorded, computed)]
        body.append([claim.text, _label(claim.column), *said, *found])
    return body


def _verdict(claim: Claim, verdict: Verdict, *, printed: bool = False) -> str:
    if verdict.status == "not run":
        return DASH if printed else "not run"
    column = column_of(claim.column)
    if claim.max_ratio is not None:
        size = f"{verdict.difference:.3f} times, at most {claim.max_ratio:g}"
    else:
        size = f"{verdict.difference:+.{column.decimals}f}"
        if not math.isnan(verdict.error):
            size += f" ± {verdict.error:.{column.decimals}f}"
    return f"{verdict.status} ({size}{'' if printed else f', n = {verdict.n}'})"


# --- text ----------------------------------------------------------------------------------------


def _title(table: Table) -> str:
    return f"{table.source.strip('[]')}: {table.title}"


def _header(column: str) -> tuple[str, str]:
    group = column.rpartition("/")[0]
    return ("" if group == "cost" else group), column_of(column).label


def _label(column: str) -> str:
    return " ".join(part for part in _header(column) if part)


def _number(mean: float, std: float, decimals: int) -> str:
    if math.isnan(mean):
        return DASH
    spread = "" if math.isnan(std) else f" ± {std:.{decimals}f}"
    return f"{mean:.{decimals}f}{spread}"


def _round(value: float, decimals: int) -> float | None:
    return None if math.isnan(value) else round(value, decimals)


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value)) or "unknown"


def _without_empty(head: list[str], body: list[list[str]]) -> list[list[str]]:
    """Leaves out the setting where the table has none."""
    first = 0 if any(row[0] for row in body) else 1
    return [row[first:] for row in (head, *body)]


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = (head, ["---"] * len(head), *body)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _levels(rows: Sequence[tuple[str, ...]], names: list[str]) -> pd.Index:
    """The levels that say something: a table without settings has no column for them."""
    used = [i for i in range(len(names)) if any(row[i] for row in rows)]
    if len(used) == 1:
        return pd.Index([row[used[0]] for row in rows])
    picked = [tuple(row[i] for i in used) for row in rows]
    return pd.MultiIndex.from_tuples(picked, names=[names[i] for i in used])


_WORDS = [
    {"selector": "caption", "props": "caption-side: top; text-align: left; font-weight: bold"},
    {"selector": "th, td", "props": "text-align: left; vertical-align: top; padding: 2px 8px"},
    {"selector": "th", "props": "font-weight: normal"},
]
_NUMBERS = [
    *_WORDS,
    {"selector": "td", "props": "text-align: right; white-space: nowrap"},
    {"selector": "td:last-child", "props": "text-align: left; white-space: normal"},
]


def _styled(
    frame: pd.DataFrame, uuid: str, caption: str, styles: Sequence[Mapping[str, str]]
) -> str:
    """HTML whose ids come from ``uuid``, not from chance."""
    styler = frame.style.set_uuid(uuid).set_caption(html.escape(caption)).hide(names=True)
    styler.set_table_styles(list(styles)).format(escape="html")
    return styler.format_index(escape="html").format_index(escape="html", axis=1).to_html()
