"""Pictures of evidence: what the records say of every sentence, every comparison, every stand-in.

All three are drawn from recorded results alone. ``forest`` and ``scoreboard`` show sentences as
``ledger`` decides them; ``ruler`` shows how far there is to go on a stand-in, from guesses that
never look at the image to a network that has every label, and where the methods are on that way.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mtpsl.papers import PAPERS, tables
from mtpsl.report.arrays import Arrays
from mtpsl.report.ledger import STATES, against, judge, printed_gains, printed_text
from mtpsl.report.results import GUESSES, Results, column_of, read_recorded
from mtpsl.report.style import CYCLE, INK, QUIET, Sheet, styled
from mtpsl.report.tables import Claim, Table
from mtpsl.runs.experiment import Experiment

COLORS = dict(zip(STATES, (CYCLE[2], CYCLE[1], "#C9C9C9", "#FFFFFF", CYCLE[3]), strict=True))
LINE = 0.165  # inches of a line of text
EDGE = 60.0  # per cent: a gain beyond is drawn at the edge of the forest
ONE_LABEL, FULL = "MTL, one label", "MTL, full labels"
ENDS = {GUESSES[0]: (QUIET, ":"), GUESSES[1]: (QUIET, "-"), ONE_LABEL: (CYCLE[0], "-"),
        FULL: (CYCLE[2], "-")}  # fmt: skip
"""Of the rulers: their color and line style."""


def read_all(folder: Path | None) -> dict[str, tuple[Table, Results | None]]:
    """Every table with what a folder of recorded results has of it; without a folder, nothing."""
    return {key: (t, folder and read_recorded(folder, t)) for key, t in tables().items()}


# -------------------------------------------------------------------- forest


def forest(table: Table, results: Results | None) -> Arrays:
    """The gains of a table's sentences, by the row that should lose; costs are left out.

    Returns:
        (S,) each: ``sentences``, ``rivals`` (that row), ``states``, ``seeds``, and in per cent
        ``gains``, ``lows``, ``highs`` (NaN without a test) and ``printed``.
    """
    order = {row.name: number for number, row in enumerate(table.rows)}
    pairs = zip(table.claims, judge(table, results), strict=True)
    judged = [pair for pair in pairs if not pair[0].columns[0].startswith("cost/")]
    judged.sort(key=lambda pair: order[pair[0].worse])
    claims, verdicts = [claim for claim, _ in judged], [verdict for _, verdict in judged]
    rows = [table.row(claim.worse) for claim in claims]
    rivals = [f"against {table.in_words(f'{row.group} {row.label}'.strip())}" for row in rows]
    printed = [float(np.mean([*printed_gains(claim, table).values()])) for claim in claims]
    return {
        "title": np.array(f"{table.source.strip('[]')}: {table.title}"),
        "sentences": np.array([table.in_words(claim.text) for claim in claims], dtype=str),
        "rivals": np.array(rivals, dtype=str),
        "states": np.array([verdict.state for verdict in verdicts], dtype=str),
        "seeds": np.array([verdict.seeds for verdict in verdicts], dtype=int),
        "gains": np.array([verdict.gain for verdict in verdicts], dtype=float),
        "lows": np.array([verdict.low for verdict in verdicts], dtype=float),
        "highs": np.array([verdict.high for verdict in verdicts], dtype=float),
        "printed": np.array(printed, dtype=float),
    }


def forest_lines(arrays: Arrays) -> list[str]:
    """What a forest shows, in words, a line a sentence that has a recorded gain."""
    lines = zip(*(arrays[name].tolist() for name in ("sentences", "states", "gains")), strict=True)
    return [f"{text}: {state}, {gain:+.1f}" for text, state, gain in lines if np.isfinite(gain)]


@styled
def draw_forest(arrays: Arrays) -> Figure:
    """A line for each sentence: its gain with the 95 % interval beside the printed gain.

    Filled: tested, in the color of its state. Hollow blue: one seed. Hollow grey: printed.

    Args:
        arrays: As ``forest`` makes them.
    """
    rivals, count = arrays["rivals"], len(arrays["sentences"])
    first = [i == 0 or rivals[i] != rivals[i - 1] for i in range(count)]
    places = np.arange(count) + np.cumsum(first)  # a line for each rival's name
    lines = int(places[-1]) + 1 if count else 1
    words = 0.062 * max([len(str(s)) for s in arrays["sentences"]] or [0]) + 0.3
    sheet = Sheet(words + 4.3, 0.45 + lines * LINE + 0.95)
    sheet.text(0.1, 0.2, str(arrays["title"]), weight="bold", va="center")
    axes = sheet.axes(words, 0.4, 4.1, lines * LINE)
    known = np.concatenate([arrays[k] for k in ("gains", "lows", "highs", "printed")])
    reach = float(min(EDGE, np.nanmax(np.abs(known), initial=5.0))) * 1.05
    axes.set(xlim=(-reach, reach), ylim=(lines - 0.5, -0.5))
    axes.set_yticks(places, arrays["sentences"], fontsize=7, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("gain where the sentence points, % (of Δ_MTL in points)", fontsize=8)
    for i in np.flatnonzero(first):
        axes.text(-0.01, places[i] - 1, rivals[i], transform=axes.get_yaxis_transform(),
                  ha="right", va="center", fontsize=7, weight="bold")  # fmt: skip
    tested = np.isfinite(arrays["lows"])
    colors = [COLORS[str(state)] for state in arrays["states"]]
    gains, lows, highs, printed = (
        arrays[k].clip(-reach, reach) for k in ("gains", "lows", "highs", "printed")
    )
    axes.hlines(places[tested], lows[tested], highs[tested], np.array(colors)[tested], linewidth=2)
    dots = {"s": 28, "linewidth": 1, "zorder": 3, "legend": False, "ax": axes}
    hollow = {"color": "none", "zorder": 2.5}
    seaborn.scatterplot(x=printed, y=places, edgecolor=QUIET, marker="D", **dots | hollow)
    one = ~tested & np.isfinite(gains)
    seaborn.scatterplot(x=gains[one], y=places[one], edgecolor=CYCLE[0], **dots | hollow)
    for state in np.unique(arrays["states"][tested]):
        mine = tested & (arrays["states"] == state)
        color = COLORS[str(state)]
        seaborn.scatterplot(x=gains[mine], y=places[mine], color=color, edgecolor=INK, **dots)
    _key(sheet, [
        ("printed", "D", "none", QUIET), ("one seed", "o", "none", CYCLE[0]),
        *((state, "o", COLORS[state], INK) for state in STATES[:3]),
    ])  # fmt: skip
    return sheet.figure


def _key(sheet: Sheet, entries: Sequence[tuple[str, str, str, str]]) -> None:
    """A legend below: name, marker, its color and that of its edge."""
    handles = [
        Line2D([], [], linestyle="", marker=m, markerfacecolor=fill, markeredgecolor=edge, label=n)
        for n, m, fill, edge in entries
    ]
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.16 / sheet.height)}
    sheet.figure.legend(handles=handles, ncols=len(handles), handletextpad=0.2, **place)


# --------------------------------------------------------------------- ruler


def rulers(
    datasets: Iterable[str], known: Collection[tuple[Table, Results | None]]
) -> dict[str, Arrays]:
    """``ruler`` of each stand-in and backbone of which something is recorded, by their names."""
    recorded = [r.experiments[0] for table, results in known if results
                for r in table.recorded_rows if r.experiments and results.of(r.name)]  # fmt: skip
    pairs = [(d, e.backbone) for d in datasets for e in recorded if e.dataset == d]
    return {"/".join(pair): ruler(*pair, known) for pair in dict.fromkeys(pairs)}


def ruler(dataset: str, backbone: str, known: Iterable[tuple[Table, Results | None]]) -> Arrays:
    """Everything that was recorded on a stand-in with one label per image, and its two ends.

    Args:
        dataset: A key of ``DATASETS``.
        backbone: Of every row, since methods on different networks cannot be compared.
        known: Tables with their recorded results, as ``read_all`` gives them.

    Returns:
        ``data``; ``columns``, ``labels`` and ``higher`` (M,) of the headline metrics; and for each
        number (N,): ``metric`` (an index), ``method`` (one of ``GUESSES``, ``ONE_LABEL``, ``FULL``,
        or the row's name), ``seed`` (-1: a guess) and ``value`` in the units of a table.
    """
    found: dict[tuple[str, str, int], float] = {}  # (column, method, seed) -> value
    title, columns = dataset, {}
    seen: set[tuple[str, ...]] = set()
    for table, results in known:
        ours = [r for r in table.recorded_rows if r.experiments and not r.task_of_each]
        ours = [r for r in ours if r.experiments[0].dataset == dataset and r.measured_on == "test"]
        ours = [r for r in ours if r.experiments[0].backbone == backbone]
        columns |= dict.fromkeys(c for c in table.headlines if ours and "/" in c[:-1])
        title = f"{table.data}, backbone {backbone}" if ours else title
        for row in ours if results else ():
            method = _method(table, row.name)
            for entry in results.of(row.name) if method else ():
                if entry.keys in seen:
                    continue
                seen.add(entry.keys)
                for column in columns:
                    if column in entry.metrics:
                        found.setdefault((column, method, entry.seed), entry.metrics[column])
            for guess in GUESSES if method and method != FULL else ():
                for column, value in results.floor(row, guess).items():
                    found.setdefault((column, guess, -1), value)
    columns = [c for c in columns if not c.startswith("cost/") and c != "delta_mtl"]
    kept = [(*key, value) for key, value in found.items() if key[0] in columns]
    scales = [column_of(column).scale for column in columns]
    labels = [f"{column.partition('/')[0]} {column_of(column).label}" for column in columns]
    return {
        "data": np.array(title),
        "columns": np.array(columns, dtype=str),
        "labels": np.array(labels, dtype=str),
        "higher": np.array([column_of(c).higher_is_better for c in columns], dtype=bool),
        "metric": np.array([columns.index(c) for c, *_ in kept], dtype=int),
        "method": np.array([method for _, method, *_ in kept], dtype=str),
        "seed": np.array([seed for *_, seed, _ in kept], dtype=int),
        "value": np.array([v * scales[columns.index(c)] for c, *_, v in kept], dtype=float),
    }


def _method(table: Table, name: str) -> str:
    """What the ruler calls a row; empty for one of another label setting."""
    row, plain = table.row(name), Experiment()
    first = row.experiments[0]
    settings = {e.label_setting for e in row.experiments}
    alone = len(row.experiments) == 1 and not first.teacher
    supervised = alone and (first.method, first.weighting) == (plain.method, plain.weighting)
    if settings == {"full"}:
        return FULL if supervised else ""
    if settings != {"one_label"}:
        return ""
    return ONE_LABEL if supervised else table.in_words(row.label)


@styled
def draw_rulers(arrays: Arrays) -> Figure:
    """A block for each stand-in: a panel for each metric, better to the right, a line per method.

    Args:
        arrays: As ``ruler`` makes them, under ``<part>/`` for each of ``parts``. One with nothing
            recorded is left out.
    """
    names = [str(part) for part in arrays["parts"] if arrays[f"{part}/value"].size]
    parts = [{k.removeprefix(f"{n}/"): v for k, v in arrays.items() if k[: len(n) + 1] == f"{n}/"}
             for n in names]  # fmt: skip
    methods = [_ordered(part) for part in parts]
    most = max([len(part["columns"]) for part in parts] or [2])
    tall = [max(1, len(m)) * LINE for m in methods]
    sheet = Sheet(2.3 + 2.6 * max(1, most), 0.3 + sum(t + 0.85 for t in tall) + 0.45)
    top = 0.3
    if not parts:
        sheet.text(0.1, top, "Nothing is recorded yet.", va="center")
    for part, rows, height in zip(parts, methods, tall, strict=True):
        sheet.text(0.1, top, str(part["data"]), weight="bold", va="center")
        for column in range(len(part["columns"])):
            axes = sheet.axes(2.2 + 2.6 * column, top + 0.2, 2.35, height)
            _ruler_panel(axes, part, rows, column)
        top += height + 0.85
    lines = [Line2D([], [], color=c, linestyle=s, label=name) for name, (c, s) in ENDS.items()]
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.16 / sheet.height)}
    sheet.figure.legend(handles=lines, ncols=len(lines), **place)
    return sheet.figure


def _ordered(part: Mapping[str, np.ndarray]) -> list[str]:
    """The methods of a stand-in, the supervised ends first and last."""
    names = [str(name) for name in dict.fromkeys(part["method"].tolist()) if name not in GUESSES]
    ends = [name for name in (ONE_LABEL, FULL) if name in names]
    return [*ends[:1], *(n for n in names if n not in ends), *ends[1:]]


def _ruler_panel(axes: Axes, part: Arrays, rows: Sequence[str], column: int) -> None:
    mine = part["metric"] == column
    method, value = part["method"][mine], part["value"][mine]
    for name, (color, style) in ENDS.items():
        if (method == name).any():
            axes.axvline(value[method == name].mean(), color=color, linestyle=style, linewidth=1.2)
    places = np.array([rows.index(str(m)) if m in rows else -1 for m in method])
    dots = {"s": 22, "edgecolor": "white", "linewidth": 0.5, "zorder": 3, "legend": False}
    colors = [ENDS.get(str(m), (INK,))[0] for m in method[places >= 0]]
    seaborn.scatterplot(x=value[places >= 0], y=places[places >= 0], c=colors, ax=axes, **dots)
    axes.set(ylim=(max(1, len(rows)) - 0.5, -0.5), yticks=range(len(rows)), xlabel="", ylabel="")
    axes.set_yticklabels(rows if column == 0 else [], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(str(part["labels"][column]), fontsize=8, labelpad=1)
    if not part["higher"][column]:
        axes.invert_xaxis()


# ---------------------------------------------------------------- scoreboard


def scoreboard(known: Mapping[str, tuple[Table, Results | None]]) -> Arrays:
    """Every sentence of every paper, with what is printed and what is recorded.

    Returns:
        (S,) each: ``tables`` (such as "HiTTs, Table 1"), ``sentences``, ``printed`` ("agrees",
        "contradicts" or empty: by the paper's own cells) and ``states``.
    """
    lines = [
        (table.source.strip("[]"), table.in_words(claim.text), _printed(claim, table), found.state)
        for table, results in known.values()
        if PAPERS[table.paper].key
        for claim, found in zip(table.claims, judge(table, results), strict=True)
    ]
    columns = zip(*lines, strict=True) if lines else [()] * 4
    names = ("tables", "sentences", "printed", "states")
    return {name: np.array(values, dtype=str) for name, values in zip(names, columns, strict=True)}


def _printed(claim: Claim, table: Table) -> str:
    if printed_text(claim, table) == "–":
        return ""
    return "contradicts" if against(claim, table) else "agrees"


@styled
def draw_scoreboard(arrays: Arrays, columns: int = 3) -> Figure:
    """A line for each sentence, table below table: a square for print, a square for the records.

    Args:
        arrays: As ``scoreboard`` makes them.
        columns: Side by side; a table is not broken.
    """
    names = list(dict.fromkeys(arrays["tables"].tolist()))
    blocks = {name: np.flatnonzero(arrays["tables"] == name) for name in names}
    share = sum(len(lines) + 2 for lines in blocks.values()) / columns
    wide, line = 5.6, 0.125
    placed, filled, column, tallest = [], 0.0, 0, 0.0
    for name, lines in blocks.items():
        if filled and filled + len(lines) / 2 > share and column < columns - 1:
            column, filled = column + 1, 0.0
        placed.append((column, filled, name, lines))
        filled += len(lines) + 2
        tallest = max(tallest, filled)
    sheet = Sheet(wide * columns + 0.2, 0.55 + tallest * line + 0.75)
    sheet.text(0.15, 0.22, "Every sentence of the papers: printed | recorded", weight="bold",
               va="center")  # fmt: skip
    for column, start, name, lines in placed:
        left, top = 0.15 + column * wide, 0.55 + start * line
        sheet.text(left, top, name, weight="bold", fontsize=7, va="center")
        for number, i in enumerate(lines, start=1):
            middle = top + number * line
            printed = {"agrees": QUIET, "contradicts": CYCLE[1], "": "none"}
            _square(sheet, left, middle, printed[str(arrays["printed"][i])])
            _square(sheet, left + 0.13, middle, COLORS[str(arrays["states"][i])])
            words = str(arrays["sentences"][i])
            words = words if len(words) < 112 else f"{words[:110]}…"
            sheet.text(left + 0.3, middle, words, fontsize=5.6, va="center")
    counts = {state: int((arrays["states"] == state).sum()) for state in STATES}
    cells = {"agree": QUIET, "contradict": CYCLE[1]}
    entries = [(f"printed cells {verb}", "s", color, INK) for verb, color in cells.items()]
    entries += [(f"{state} ({counts[state]})", "s", COLORS[state], INK) for state in STATES]
    _key(sheet, entries)
    return sheet.figure


@styled
def draw_glance(arrays: Arrays) -> Figure:
    """The scoreboard without its words: a line for each table, a square for each sentence.

    Args:
        arrays: As ``scoreboard`` makes them.
    """
    names = list(dict.fromkeys(arrays["tables"].tolist()))
    papers = list(dict.fromkeys(name.partition(",")[0] for name in names))
    most = max((np.count_nonzero(arrays["tables"] == name) for name in names), default=0)
    line, step, gap = 0.22, 0.2, 0.14
    sheet = Sheet(1.8 + step * most + 2.8, 0.35 + line * len(names) + gap * len(papers) + 0.65)
    for number, name in enumerate(names):
        states = arrays["states"][arrays["tables"] == name].tolist()
        middle = 0.25 + line * number + gap * papers.index(name.partition(",")[0])
        sheet.text(0.15, middle, name, fontsize=10, va="center")
        for place, state in enumerate(sorted(states, key=STATES.index)):
            _square(sheet, 1.6 + step * place, middle, COLORS[state], 0.15)
        words = ", ".join(f"{state}: {states.count(state)}" for state in STATES if state in states)
        sheet.text(1.75 + step * most, middle, words, fontsize=9, va="center", color=QUIET)
    counts = {state: int((arrays["states"] == state).sum()) for state in STATES}
    _key(sheet, [(f"{state} ({n})", "s", COLORS[state], INK) for state, n in counts.items()])
    return sheet.figure


def _square(sheet: Sheet, left: float, middle: float, color: str, side: float = 0.09) -> None:
    corner = left / sheet.width, 1 - (middle + side / 2) / sheet.height
    size, place = (side / sheet.width, side / sheet.height), sheet.figure.transFigure
    look = {"facecolor": color, "edgecolor": QUIET, "linewidth": 0.4, "transform": place}
    sheet.figure.add_artist(Rectangle(corner, *size, **look))
