"""What the records say of a paper's sentences: one line per sentence, decided for a whole table.

The states are ``holds`` and ``contradicted``, ``inconclusive`` (tested, and chance could explain
it), ``not tested`` (fewer than two seeds that both rows have) and ``below floor`` (a guess that
never looks at the image does as well). ``statistics`` has the test.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from statistics import fmean
from typing import Literal, get_args

from mtpsl.report.results import DELTA, Results, column_of
from mtpsl.report.statistics import LEVEL, BlockDesign, Cells, Effect, adjust, combine, paired
from mtpsl.report.tables import Claim, Table

State = Literal["holds", "contradicted", "inconclusive", "not tested", "below floor"]
STATES: tuple[State, ...] = get_args(State)

RULE = (
    "A line is one sentence, decided over all its metrics together. Its gain is "
    "relative to the row that should lose; metrics weigh as much as they are measured precisely, "
    "and the brackets hold the 95 % confidence interval. The gain of a printed line weighs them "
    "equally and has no spread, so it decides nothing. The noise is what the fit of row + seed to "
    "all rows of the table leaves; a row over three times as noisy as the others is tested by its "
    "own pairs. Holds, contradicted: the gain is not zero, at a level of 5 % for all sentences of "
    "the table together (Holm). Inconclusive: tested, and it may be zero. Not tested: fewer than "
    "two seeds that both rows have. Below floor: on every metric one of the two rows is no better "
    "than a guess that does not look at the image; a metric on which it is so does not count. "
    "Costs are counted and compared as they are."
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What records say of a claim.

    Gains are percentages of what the row that should lose has, those of ``delta_mtl`` points;
    they are positive where the claim points. For a claim with ``max_ratio``, ``gain`` is the ratio.
    """

    state: State
    gain: float = math.nan
    low: float = math.nan  # of the 95 % confidence interval; NaN without a test
    high: float = math.nan
    p: float = math.nan  # adjusted for the sentences of the table (Holm)
    seeds: int = 0  # that both rows have
    agree: int = 0  # metrics that point where the claim does
    metrics: int = 0  # that count
    reason: str = ""  # why it is not tested


def judge(table: Table, results: Results | None) -> list[Verdict]:
    """Decides all claims of a table together, in their order."""
    judge = _Judge(table, results) if results else None
    missing = Verdict(state="not tested", reason="nothing is recorded")
    verdicts = [judge.verdict(claim) if judge else missing for claim in table.claims]
    tested = [i for i, verdict in enumerate(verdicts) if not math.isnan(verdict.p)]
    adjusted = adjust([verdicts[i].p for i in tested])
    for i, p in zip(tested, adjusted, strict=True):
        points: State = "holds" if verdicts[i].gain > 0 else "contradicted"
        verdicts[i] = replace(verdicts[i], p=p, state=points if p <= LEVEL else "inconclusive")
    return verdicts


def printed_gains(claim: Claim, table: Table) -> dict[str, float]:
    """Column -> the gain by the paper's own cells, as in a ``Verdict``; NaN without one of them."""
    rows = (dict(zip(table.columns, table.row(r).printed, strict=False)) for r in _rows(claim))
    better, worse = rows
    nan = math.nan
    return {c: _gain(claim, c, better.get(c, nan), worse.get(c, nan), 1) for c in claim.columns}


def against(claim: Claim, table: Table) -> tuple[str, ...]:
    """The columns whose printed cells do not bear the claim out, ties and gaps included."""
    gains = printed_gains(claim, table).items()
    if claim.max_ratio is not None:
        return tuple(column for column, ratio in gains if not ratio <= claim.max_ratio)
    return tuple(column for column, gain in gains if not gain > 0)


def count_states(table: Table, results: Results | None) -> Counter[State]:
    """Counts how many of a table's sentences are in which state."""
    return Counter(verdict.state for verdict in judge(table, results))


# ------------------------------------------------------------------- testing


class _Judge:
    """Fits each set of columns once, for all claims about it."""

    def __init__(self, table: Table, results: Results) -> None:
        self.table, self.results = table, results
        self.fits: dict[tuple[str, ...], tuple[dict[str, float], BlockDesign | None]] = {}

    @cached_property
    def values(self) -> dict[str, dict[str, dict[int, float]]]:
        """Column -> row -> seed -> value, where there is one."""
        names = [row.name for row in self.table.rows if self.results.of(row.name)]
        return {
            column: {name: self.results.values(self.table, name, column) for name in names}
            for column in self.table.columns
        }

    @cached_property
    def below(self) -> set[tuple[str, str]]:
        """(Row, column) where a guess does as well."""
        cells = [(row, c) for row in self.table.rows for c in self.table.columns]
        found = ((row.name, c) for row, c in cells if self.results.below_floor(self.table, row, c))
        return set(found)

    def verdict(self, claim: Claim) -> Verdict:
        """A claim before the correction for several; ``state`` is final where there is no ``p``."""
        rows = _rows(claim)
        measured = {c: [self.values[c].get(row, {}) for row in rows] for c in claim.columns}
        seeds = set.intersection(*(set(v) for pair in measured.values() for v in pair))
        if not seeds:
            return Verdict(state="not tested", reason=self._gap(claim))
        means = {c: [fmean(v[s] for s in seeds) for v in pair] for c, pair in measured.items()}
        if claim.columns[0].startswith("cost/"):
            return _counted(claim, means, len(seeds))
        low = {column for row, column in self.below if row in rows}
        kept = [column for column, (_, worse) in means.items() if worse and column not in low]
        if not kept:
            return Verdict(state="below floor", seeds=len(seeds))
        gains = [_gain(claim, column, *means[column]) for column in kept]
        counts = {"agree": sum(gain > 0 for gain in gains), "metrics": len(gains)}
        verdict = Verdict(state="not tested", gain=fmean(gains), seeds=len(seeds), **counts)
        if len(seeds) < 2:
            return replace(verdict, reason="one seed")
        effect = self._effect(claim, kept, {c: means[c][1] for c in kept}, seeds)
        if effect is None:
            return replace(verdict, reason="no spread over seeds")
        return replace(verdict, gain=effect.mean, low=effect.low, high=effect.high, p=effect.p)

    def _gap(self, claim: Claim) -> str:
        """Which of a claim's rows lacks what."""
        for row in map(self.table.row, _rows(claim)):
            if not row.experiments:
                return f"{row.label} is printed only"
            if not self.results.of(row.name):
                return f"{row.label} is not recorded"
        return "a metric is missing, or no seed is shared"

    def _effect(
        self, claim: Claim, kept: Sequence[str], worse: Mapping[str, float], seeds: set[int]
    ) -> Effect | None:
        """The gain over all columns that count, in the unit of a ``Verdict``."""
        noises, design = self._fit(tuple(kept))
        if design is None:
            return None
        ratios = ((1 if c == DELTA else abs(worse[c])) / abs(n) for c, n in noises.items())
        unit = 100 * len(noises) / sum(ratios)
        effect = design.effect(*_rows(claim))
        if effect is None:  # gains over different references share no block: their own pairs
            better, other = (
                {seed: value for (_, seed), value in design.cells.get(row, {}).items()}
                for row in _rows(claim)
            )
            shared = sorted(seeds & better.keys() & other.keys())
            effect = paired([better[s] - other[s] for s in shared]) if len(shared) > 1 else None
        return effect and replace(
            effect, mean=unit * effect.mean, low=unit * effect.low, high=unit * effect.high
        )

    def _fit(self, columns: tuple[str, ...]) -> tuple[dict[str, float], BlockDesign | None]:
        """Column -> its signed noise where it has some, and the fit of all of these together."""
        if columns not in self.fits:
            by_group = DELTA in columns
            cells = {c: self._cells(c, by_group) for c in columns}
            noises = {c: self._noise(c, by_group) for c in columns}
            noises = {c: noise for c, noise in noises.items() if abs(noise) > 0}
            joint = combine([cells[c] for c in noises], [*noises.values()]) if noises else {}
            self.fits[columns] = noises, BlockDesign(joint, len(noises)) if joint else None
        return self.fits[columns]

    @cache  # noqa: B019 (a judge lives as long as its table is judged)
    def _noise(self, column: str, by_group: bool) -> float:
        """Standard deviation of a run around ``row + seed``, negative where lower is better."""
        noise = BlockDesign(self._cells(column, by_group)).noise
        return noise if column_of(column).higher_is_better else -noise

    def _cells(self, column: str, by_group: bool) -> Cells:
        """Row -> block -> value, without rows below the floor, whose spread is no measure.

        A gain over the single-task run of its group and seed shares that run's noise with its
        group alone, so its blocks are those of a group.
        """
        group = {row.name: row.group if by_group else "" for row in self.table.rows}
        return {
            row: {(group[row], seed): value for seed, value in values.items()}
            for row, values in self.values[column].items()
            if (row, column) not in self.below
        }


def _rows(claim: Claim) -> tuple[str, str]:
    return claim.better, claim.worse


def _gain(claim: Claim, column: str, better: float, worse: float, points: float = 100) -> float:
    """By how much better one value is than another; ``points`` of a gain that is relative already.

    The ratio of the two where the claim has a ``max_ratio``.
    """
    if claim.max_ratio is not None:
        return better / worse
    if column == DELTA:
        return points * (better - worse)
    gain = 100 * (better - worse) / abs(worse)
    return gain if column_of(column).higher_is_better else -gain


def _counted(claim: Claim, means: Mapping[str, Sequence[float]], seeds: int) -> Verdict:
    """Costs, which have no spread over seeds: the claim holds if it does on every one of them."""
    gains = [_gain(claim, column, *pair) for column, pair in means.items()]
    limit = claim.max_ratio
    agree = sum(gain > 0 if limit is None else gain <= limit for gain in gains)
    counts = {"agree": agree, "metrics": len(gains), "seeds": seeds}
    state: State = "holds" if agree == len(gains) else "contradicted"
    return Verdict(state=state, gain=fmean(gains), **counts)


# --------------------------------------------------------------------- words


def printed_text(claim: Claim, table: Table) -> str:
    """What the paper prints of a claim: "printed +13.12", or "–"."""
    gains = printed_gains(claim, table)
    if any(map(math.isnan, gains.values())):
        return "–"
    agree = len(gains) - len(against(claim, table))
    return f"printed {_size(claim, fmean(gains.values()))}{_share(agree, len(gains))}"


def verdict_text(claim: Claim, verdict: Verdict) -> str:
    """A verdict in words: "holds: +4.1 % (1.2 to 7.0), 7 of 9 metrics, n = 3"."""
    if math.isnan(verdict.gain):
        return f"{verdict.state}: {verdict.reason}" if verdict.reason else verdict.state
    text = f"{verdict.state}: {_size(claim, verdict.gain)}"
    if not math.isnan(verdict.low):
        text += f" ({_number(claim, verdict.low)} to {_number(claim, verdict.high)})"
    text += f"{_share(verdict.agree, verdict.metrics)}, n = {verdict.seeds}"
    return f"{text} ({verdict.reason})" if verdict.reason and verdict.seeds > 1 else text


def summary(table: Table, results: Results | None) -> str:
    """How many of a table's sentences are in which state, in a few words."""
    if not results or not results.current():
        return "nothing yet"
    counts = count_states(table, results)
    found = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return f"{found} of {len(table.claims)} sentence{'s' * (len(table.claims) != 1)}"


def _size(claim: Claim, gain: float) -> str:
    if claim.max_ratio is not None:
        return f"{gain:.3f} times, at most {claim.max_ratio:g}"
    return f"{_number(claim, gain, '+')}{'' if DELTA in claim.columns else ' %'}"


def _number(claim: Claim, value: float, sign: str = "") -> str:
    return f"{value:{sign}.{2 if DELTA in claim.columns else 1}f}"


def _share(agree: int, metrics: int) -> str:
    return f", {agree} of {metrics} metrics" if metrics > 1 else ""
