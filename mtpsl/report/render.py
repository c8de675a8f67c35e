"""A table for people: what the paper prints, what was recorded, what was just computed.

Under each row's printed line stand its measured lines, so that the numbers to compare are above
one another and a table stays as narrow as the paper's. The three sources are never blended. Below
stand a ceiling and two floors, then, folded, what not every reader needs: further columns, and the
ledger of the paper's sentences.
"""

import csv
import html
import io
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from mtpsl import files
from mtpsl.metrics import COLUMNS
from mtpsl.report.ledger import RULE, judge, printed_text, summary, verdict_text
from mtpsl.report.provenance import COMPUTED, RECORDED, distinct, stamp
from mtpsl.report.results import GUESSES, Results, column_of
from mtpsl.report.tables import Row, Table
from mtpsl.tasks import TaskSet

PAPER = "paper"
DASH = "–"
MARK = " †"  # of a cell below the floor


class Number(NamedTuple):
    """A cell of a table, in the paper's units; NaN where there is none."""

    mean: float
    std: float = math.nan  # sample standard deviation over seeds; NaN below two
    n: int = 0  # seeds: a gain needs its reference's, too
    below: bool = False  # no better than a guess that does not look at the image

    def text(self, most: int) -> str:
        """Three digits, with at most ``most`` decimals."""
        if math.isnan(self.mean):
            return DASH
        whole = math.floor(math.log10(abs(self.mean))) if self.mean else 0
        decimals = min(most, max(0, 2 - whole))
        spread = "" if math.isnan(self.std) else f" ± {self.std:.{decimals}f}"
        return f"{self.mean:.{decimals}f}{spread}{MARK * self.below}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One source's numbers for one row, or what a guess scores."""

    group: str
    label: str
    source: str
    numbers: tuple[Number, ...]  # one per column of the table
    name: str = ""  # of the row
    n: int = 0  # seeds; 0 for the paper's line

    def cells(self, table: Table) -> list[str]:
        """The numbers as text; one of fewer seeds than the row has says so."""
        return [
            number.text(column_of(column).decimals)
            + (f" (n = {number.n})" if 0 < number.n < self.n else "")
            for column, number in zip(table.columns, self.numbers, strict=True)
        ]


def table_lines(table: Table, recorded: Results | None, computed: Results | None) -> list[Line]:
    """The printed line of every row, each followed by the measured lines there are.

    A row that no paper prints has measured lines alone, or one empty line without a source. At the
    end stand the ceiling and what guesses score, where they are recorded.
    """
    lines = []
    for row in table.recorded_rows:
        who = {"group": row.group, "label": table.in_words(row.label), "name": row.name}
        mine = [
            _measured_line(table, row, source, results, who)
            for source, results in ((RECORDED, recorded), (COMPUTED, computed))
            if results is not None and results.of(row.name)
        ]
        printed = row.printed or (math.nan,) * len(table.columns)
        if not all(map(math.isnan, printed)):
            mine.insert(0, Line(source=PAPER, numbers=tuple(map(Number, printed)), **who))
        elif not mine and row in table.rows:
            mine = [Line(source="", numbers=tuple(map(Number, printed)), **who)]
        lines += mine
    return lines + (_guess_lines(table, recorded) if recorded else [])


def _measured_line(table: Table, row: Row, source: str, results: Results, who: dict) -> Line:
    numbers = []
    for column in table.columns:
        scale = column_of(column).scale
        values = list(results.values(table, row.name, column).values())
        mean = scale * statistics.fmean(values) if values else math.nan
        std = scale * statistics.stdev(values) if len(values) > 1 else math.nan
        below = bool(values) and results.below_floor(table, row, column)
        numbers.append(Number(mean, std, len(values), below))
    return Line(source=source, numbers=tuple(numbers), n=len(results.of(row.name)), **who)


def _guess_lines(table: Table, recorded: Results) -> list[Line]:
    """A line for each guess, or for each block where its labels make a difference."""
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for guess, row in product(GUESSES, table.rows):  # a single-task row knows its tasks alone
        scores.setdefault((guess, row.group), {}).update(recorded.floor(row, guess))
    found = {
        place: tuple(Number(column_of(c).scale * known.get(c, math.nan)) for c in table.columns)
        for place, known in scores.items()
        if known
    }
    lines = []
    for guess in GUESSES:
        of_group = {group: numbers for (g, group), numbers in found.items() if g == guess}
        if len(set(map(repr, of_group.values()))) == 1:  # repr: NaN equals nothing
            of_group = {"": next(iter(of_group.values()))}
        for group, numbers in of_group.items():
            lines.append(Line(group=group, label=guess, source=RECORDED, numbers=numbers))
    return lines


def _remarks(table: Table, recorded: Results | None, lines: Sequence[Line]) -> list[str]:
    """What the lines of a table cannot say: what a mark means, and why rows have no numbers."""
    said = []
    if any(number.below for line in lines for number in line.numbers):
        said.append(
            f"{MARK.strip()} No better than a guess that does not look at the image: the most "
            f"frequent class, the median, the mean direction ({GUESSES[0]}), or the same at the "
            f"pixel's position in the labelled training maps ({GUESSES[1]})."
        )
    for reason in dict.fromkeys(row.why_not_run for row in table.rows if not row.experiments):
        rows = distinct(_in_block(row) for row in table.rows if row.why_not_run == reason)
        said.append(f"Printed only, {reason}: {rows}.")
    stale = {row: recorded.stale(row.name) for row in table.rows} if recorded else {}
    for reason in dict.fromkeys(filter(None, stale.values())):
        rows = distinct(_in_block(row) for row, why in stale.items() if why == reason)
        said.append(f"Stale records, not shown ({reason}): {rows}.")
    return said


def _in_block(row: Row) -> str:
    return f"{row.group} {row.label}".strip()


# --- sentences -----------------------------------------------------------------------------------


def _ledger(table: Table, sources: Mapping[str, Results]) -> list[list[str]]:
    """Head and body of the ledger: a line per sentence, and what each source says of it."""
    judged = [judge(table, results) for results in sources.values()]
    rows = [["Sentence", "On", PAPER, *sources]]
    for claim, *verdicts in zip(table.claims, *judged, strict=True):
        count = len(claim.columns)
        on = _label(claim.columns[0]) if count == 1 else f"{count} metrics"
        words = (verdict_text(claim, verdict) for verdict in verdicts)
        rows.append([table.in_words(claim.text), on, printed_text(claim, table), *words])
    if all(cells[2] == DASH for cells in rows[1:]):  # no paper prints it
        return [[*cells[:2], *cells[3:]] for cells in rows]
    return rows


# --- renderers -----------------------------------------------------------------------------------


def render_markdown(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """The table and, folded, all its columns and its ledger, as GitHub Markdown."""
    return "\n\n".join(_parts(table, recorded, computed, _MARKDOWN)) + "\n"


def render_html(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """The same as an HTML fragment whose bytes depend on the numbers alone."""
    return "\n".join(_parts(table, recorded, computed, _HTML)) + "\n"


class _Format(NamedTuple):
    """How a kind of text writes a table, given its key, title and alignment, and a paragraph."""

    table: Callable[[Sequence[Sequence[str]], str, str, str], str]
    paragraph: Callable[[str], str]
    folded: str


def _parts(
    table: Table, recorded: Results | None, computed: Results | None, how: _Format
) -> Iterator[str]:
    lines, key = table_lines(table, recorded, computed), f"T_{table.paper}-{table.name}"
    headlines = table.headlines or table.columns
    title = _title(table, recorded, computed)
    yield how.table(_cells(table, lines, headlines), key, title, "right")
    yield from map(how.paragraph, _remarks(table, recorded, lines))
    if headlines != table.columns:
        every = how.table(_cells(table, lines, table.columns), f"{key}-all", "", "right")
        yield how.folded.format(title="All columns", inside=every)
    yield from map(how.paragraph, stamp(table, recorded, computed))
    given = ((RECORDED, recorded), (COMPUTED, computed))
    if table.claims:
        sources = {source: r for source, r in given if r} or {RECORDED: None}
        counts = (f"{source}: {summary(table, results)}" for source, results in sources.items())
        ledger = how.table(_ledger(table, sources), f"{key}-claims", "", "left")
        title = f"Ledger, {'; '.join(counts)}"
        yield how.folded.format(title=title, inside=f"{ledger}\n\n{how.paragraph(RULE)}")


def render_csv(table: Table, recorded: Results | None, computed: Results | None) -> str:
    """One line a number: setting, method, row, source, column, value, std, n, below_floor."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow("setting method row source column value std n below_floor".split())
    for line in table_lines(table, recorded, computed):
        names = [line.group, line.label, line.name, line.source]
        for column, number in zip(table.columns, line.numbers, strict=True):
            decimals = column_of(column).decimals
            cells = ["" if math.isnan(x) else round(x, decimals) for x in number[:2]]
            writer.writerow([*names, column, *cells, number.n or "", int(number.below) or ""])
    return text.getvalue()


def render_by_class(table: Table, recorded: Results | None) -> str:
    """Markdown: the IoU of every class in percent, means over seeds, a table for each task.

    Below the head stands how many pixels of the test split are of the class.
    """
    entries = [(row, recorded.of(row.name)) for row in table.recorded_rows if recorded]
    tasks = dict.fromkeys(task for _, known in entries for e in known for task in e.by_class)
    parts = []
    for task in tasks:
        rows = []
        for row, known in entries:
            found = [e.by_class[task] for e in known if task in e.by_class]
            for first in found[:1] if not rows else ():
                pixels = [f"{values['pixels']:.0f}" for values in first.values()]
                rows = [["IoU (%) ↑", *first], ["pixels", *pixels]]
            ious = [[one[name]["iou"] for one in found] for name in (*found, {})[0]]
            ious = [[iou for iou in seeds if iou is not None] for seeds in ious]
            means = [f"{100 * statistics.fmean(seeds):.2f}" if seeds else DASH for seeds in ious]
            rows += [[_in_block(row), *means]] if found else []
        parts.append(_markdown_table(rows, "", f"{task} by class", ""))
    return "\n\n".join(parts or ["no run of this table has recorded its classes yet"]) + "\n"


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


def _cells(table: Table, lines: Sequence[Line], columns: Sequence[str]) -> list[list[str]]:
    """Head and body of the table; the setting is left out where the table has none."""
    rows, last = [["Setting", "Method", "", *map(_label, columns), "n"]], ()
    for line in lines:
        who = (line.group, line.label)
        named = dict(zip(table.columns, line.cells(table), strict=True))
        count = str(line.n) if line.n else ""
        numbers = [named[column] for column in columns]
        rows.append([*(who if who != last else ("", "")), line.source, *numbers, count])
        last = who
    start = 0 if any(row[0] for row in rows[1:]) else 1
    return [row[start:] for row in rows]


def _markdown_table(rows: Sequence[Sequence[str]], key: str, title: str, align: str) -> str:
    head, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = (head, ["---"] * len(head), *body)
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {title}\n\n{text}" if title else text


STYLE = """<style>
#{key} caption {{ caption-side: top; text-align: left; font-weight: bold }}
#{key} td {{ text-align: {align}; vertical-align: top; padding: 2px 8px; white-space: nowrap }}
#{key} th, #{key} td:first-child {{ text-align: left; white-space: normal }}
</style>"""


def _html_table(rows: Sequence[Sequence[str]], key: str, title: str, align: str) -> str:
    """A table with a rule above every row's first line; printed numbers stand back."""
    lines = [STYLE.format(key=key, align=align), f'<table id="{key}">']
    lines += [f"<caption>{html.escape(title)}</caption>"] if title else []
    names = rows[0].index("") if "" in rows[0] else 1
    for i, cells in enumerate(rows):
        tag = "td" if i else "th"
        look = "border-top: 1px solid; " * any(cells[:names]) + "opacity: 0.7" * (PAPER in cells)
        inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
        lines.append(f'<tr style="{look}">{inside}</tr>')
    return "\n".join([*lines, "</table>"])


_FOLDED = "<details><summary>{title}</summary>\n\n{inside}\n\n</details>"
_MARKDOWN = _Format(_markdown_table, str, _FOLDED)
_HTML = _Format(_html_table, lambda text: f"<p>{html.escape(text)}</p>", _FOLDED)


def _title(table: Table, *sources: Results | None) -> str:
    entries = [entry for results in sources if results for entry in results.current()]
    real = dict.fromkeys(e.data["name"] for e in entries if not e.data["stand_in"])
    data = distinct(real) if real else table.data
    return f"{table.source.strip('[]')}: {table.title}{f' ({data})' if data else ''}"


def _label(column: str) -> str:
    group = column.rpartition("/")[0].replace("cost", "")
    return f"{group} {column_of(column).label}".strip()
