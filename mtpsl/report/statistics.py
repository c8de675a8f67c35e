"""By how much the rows of a table differ, tested with everything that was run.

A column of a table is a block design: rows are treatments, seeds are blocks, because the same seed
gives every row the same data order and the same withheld labels. The model ``row + seed`` is fitted
by least squares over all rows at once, and its residual, pooled over the rows, measures the noise:
ten rows over three seeds leave 18 degrees of freedom, where three paired differences leave two. A
row that is far noisier than the others would spoil the pool and is tested by its own pairs alone.

A sentence such as "better on all metrics" is one question. Its columns become one by expressing
each in its own noise and averaging, and that column is tested like any other. The sentences of a
table are tested together, so the level holds for the table (Holm).

The level is that of rows that are alike. Three seeds do not always show that a row is noisier, and
sentences about such a row err more often: about a tenth of tables where it is three times so.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc, stdtr, stdtrit

LEVEL = 0.05
NOISY = 3.0  # times the spread of the other rows: such a row is left out of the pool
CHANCE = 0.01  # how likely that spread may be where all rows are alike, or it is no sign
ROUNDING = 1e-12  # of the largest value: less is no spread

Cells = Mapping[str, Mapping[Hashable, float]]  # row -> block, such as a seed -> value


@dataclass(frozen=True, kw_only=True)
class Effect:
    """By how much one row exceeds another, over the blocks that both have."""

    mean: float
    low: float  # of the 95 % confidence interval
    high: float
    p: float  # two-sided, of this effect alone
    df: int  # degrees of freedom of the noise estimate
    pooled: bool  # False: from the pairs of the two rows alone


class BlockDesign:
    """The fit of ``row + block`` to a column, from which any two rows are compared.

    Args:
        cells: Row -> block -> value. Rows need not have the same blocks; a row with fewer than two
            says nothing about noise and is left out.
        scaled: How many columns were scaled by their own noise to become this one. Each after the
            first costs a degree of freedom: what is noisy by chance gets a small weight.
    """

    def __init__(self, cells: Cells, scaled: int = 1) -> None:
        from statsmodels.regression.linear_model import OLS  # takes a second, and few ask for it

        self.cells = {row: dict(values) for row, values in cells.items() if len(values) > 1}
        self.noisy = _noisy_rows(self.cells)
        pool = {row: v for row, v in self.cells.items() if row not in self.noisy}
        self.columns = {row: column for column, row in enumerate(pool)}
        self.fit = OLS(*_design(pool)).fit() if len(pool) > 1 else None
        self.df = int(self.fit.df_resid) + 1 - scaled if self.fit else 0

    @property
    def noise(self) -> float:
        """Standard deviation of a run around ``row + block``.

        NaN without degrees of freedom, 0 where only rounding is left.
        """
        if self.df < 1:
            return math.nan
        noise = math.sqrt(self.fit.ssr / self.df)
        return noise if noise > ROUNDING * np.abs(self.fit.model.endog).max() else 0.0

    def effect(self, row: str, other: str) -> Effect | None:
        """Row minus other; None if they share fewer than two blocks or nothing varies."""
        shared = self.cells.get(row, {}).keys() & self.cells.get(other, {}).keys()
        if len(shared) < 2:
            return None
        if row in self.columns and other in self.columns and self.noise > 0:
            i, j, spread = self.columns[row], self.columns[other], self.fit.normalized_cov_params
            error = self.noise * math.sqrt(spread[i, i] + spread[j, j] - 2 * spread[i, j])
            mean = float(self.fit.params[i] - self.fit.params[j])
            return _student(mean, error, self.df, pooled=True)
        mine, others = self.cells[row], self.cells[other]
        return paired([value - others[block] for block, value in mine.items() if block in shared])


def paired(differences: Sequence[float]) -> Effect | None:
    """Student's test of paired differences, two at least; None if nothing varies."""
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    if not error > ROUNDING * np.abs(differences).max():
        return None
    return _student(float(np.mean(differences)), error, len(differences) - 1, pooled=False)


def _student(mean: float, error: float, df: int, pooled: bool) -> Effect:
    reach = float(stdtrit(df, 1 - LEVEL / 2)) * error
    p = 2 * float(stdtr(df, -abs(mean) / error))
    return Effect(mean=mean, low=mean - reach, high=mean + reach, p=p, df=df, pooled=pooled)


def combine(columns: Sequence[Cells], noises: Sequence[float]) -> dict[str, dict[Hashable, float]]:
    """Several columns as one: each in units of its own noise, averaged.

    Args:
        columns: Each row -> block -> value.
        noises: One for each column; negative where lower values are better.

    Returns:
        Row -> block -> mean over the columns; a run that lacks one of them is left out.
    """
    combined: dict[str, dict[Hashable, float]] = {}
    for row in columns[0]:
        shared = set.intersection(*(set(cells.get(row, {})) for cells in columns))
        combined[row] = {
            block: sum(c[row][block] / n for c, n in zip(columns, noises, strict=True))
            / len(noises)
            for block in columns[0][row]
            if block in shared
        }
    return combined


def adjust(p_values: Sequence[float]) -> list[float]:
    """Holm's p-values of the sentences of a table, in the same order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()


def _design(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Values (N,) and the 0/1 matrix of ``row + block``, of full rank: its first columns are rows.

    One block is left out, or one for each set of rows that shares no block with the others.
    """
    rows = {row: column for column, row in enumerate(cells)}
    blocks = {b: i for i, b in enumerate(dict.fromkeys(b for v in cells.values() for b in v))}
    lines = [(rows[row], blocks[b], value) for row, v in cells.items() for b, value in v.items()]
    at_row, at_block, values = map(np.array, zip(*lines, strict=True))
    within = np.zeros((len(rows), len(blocks)))
    within[at_row, at_block] = 1
    linked = np.linalg.matrix_power(within @ within.T, len(rows))  # rows that blocks lead between
    part = (linked > 0).argmax(1)
    _, left_out = np.unique(part[within.argmax(0)], return_index=True)
    free = np.delete(np.eye(len(blocks)), left_out, axis=1)
    return values, np.hstack([np.eye(len(rows))[at_row], free[at_block]])


def _noisy_rows(cells: Cells) -> set[str]:
    """Rows whose spread around ``row + block`` is over ``NOISY`` times that of all others.

    The noisiest row is judged against the fit without it, then the next one. What is left after a
    row's own mean and the blocks' means of the other rows is its spread. In a small table so large
    a ratio is nothing rare; it must be rarer than ``CHANCE`` by Fisher's test as well.
    """
    names, blocks = list(cells), list(dict.fromkeys(b for v in cells.values() for b in v))
    table = np.array([[cells[row].get(b, math.nan) for b in blocks] for row in names])
    noisy: set[int] = set()
    while len(noisy) < len(names) - 3:
        kept = [row for row in range(len(names)) if row not in noisy]
        left, _ = _centered(table[kept])
        row = kept[int(np.nanstd(left, axis=1).argmax())]
        others = table[[other for other in kept if other != row]]
        others = others[(~np.isnan(others[:, ~np.isnan(table[row])])).any(axis=1)]
        if not _is_noisy(table[row], others):
            break
        noisy.add(row)
    return {names[row] for row in noisy}


def _is_noisy(row: np.ndarray, others: np.ndarray) -> bool:
    """Whether the spread of a row (B,) is far over that of the others (R, B)."""
    seen = ~np.isnan(others)
    df = seen.sum() - len(others) - seen.any(axis=0).sum() + 1
    left, block_means = _centered(others)
    own = (row - block_means)[~np.isnan(row) & seen.any(axis=0)]
    if df < 1 or len(own) < 2 or not np.nansum(left**2) > 0:
        return False
    ratio = own.var(ddof=1) / (np.nansum(left**2) / df)
    return bool(ratio > NOISY**2 and fdtrc(len(own) - 1, df, ratio) < CHANCE)


def _centered(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What ``row + block`` leaves of (R, B), NaN where nothing was measured, and (B,) blocks."""
    seen = ~np.isnan(table)
    left, blocks = np.where(seen, table, 0.0), np.zeros(table.shape[1])
    for _ in range(1 if seen.all() else 50):  # the means of rows and blocks in turn
        left = left - seen * (left.sum(1) / seen.sum(1).clip(1))[:, None]
        step = left.sum(0) / seen.sum(0).clip(1)
        left, blocks = left - seen * step, blocks + step
    return np.where(seen, left, math.nan), blocks
