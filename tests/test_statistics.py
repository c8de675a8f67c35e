"""The test behind the ledgers: what it computes, and how often it errs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mtpsl.report.ledger import judge
from mtpsl.report.results import Entry, Results
from mtpsl.report.statistics import BlockDesign, adjust, combine, paired
from mtpsl.report.tables import Claim, Row, Table
from mtpsl.runs.experiment import Experiment

ROWS, SEEDS = 10, 3


def column(values: np.ndarray) -> dict[str, dict[int, float]]:
    """(rows, seeds) as cells; NaN is missing."""
    return {
        f"r{i}": {seed: float(v) for seed, v in enumerate(row) if not math.isnan(v)}
        for i, row in enumerate(values)
    }


def noise(rows: int = 6, seeds: int = 3, at: int = 0) -> np.ndarray:
    rng = np.random.default_rng(at)
    return rng.normal(size=(rows, seeds)) + 5 * rng.normal(size=seeds)


# --- the fit -------------------------------------------------------------------------------------


def test_an_effect_is_the_two_way_analysis_of_variance() -> None:
    values = noise()
    found = BlockDesign(column(values)).effect("r1", "r4")
    left = values - values.mean(0) - values.mean(1)[:, None] + values.mean()
    spread = math.sqrt((left**2).sum() / 10)
    error = spread * math.sqrt(2 / 3)
    assert (found.df, found.pooled) == (10, True)
    assert found.mean == pytest.approx((values[1] - values[4]).mean())
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 10) * error)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.mean) / error, 10))


def test_rows_may_lack_seeds() -> None:
    values = noise(at=5)
    values[2, 1] = values[4, 0] = math.nan
    found = BlockDesign(column(values))
    assert not found.noisy
    row, seed = np.nonzero(~np.isnan(values))
    design = np.hstack([np.eye(6)[row], np.eye(3)[seed][:, 1:]])
    fit = sm.OLS(values[row, seed], design).fit()
    assert found.noise == pytest.approx(math.sqrt(fit.mse_resid))
    test = fit.t_test(np.eye(8)[2] - np.eye(8)[1])
    assert found.effect("r2", "r1").p == pytest.approx(float(test.pvalue))


def test_rows_that_share_no_block_are_fitted_side_by_side() -> None:
    one, two = noise(3, at=1), noise(4, at=2)
    cells = {f"a{i}": {("a", s): v for s, v in enumerate(row)} for i, row in enumerate(one)}
    cells |= {f"b{i}": {("b", s): v for s, v in enumerate(row)} for i, row in enumerate(two)}
    design = BlockDesign(cells)
    apart = [BlockDesign(column(values)) for values in (one, two)]
    squares = sum(d.noise**2 * df for d, df in zip(apart, (4, 6), strict=True))
    assert design.noise == pytest.approx(math.sqrt(squares / 10))
    assert design.effect("a0", "a1").df == 10
    assert design.effect("a0", "b0") is None


def test_two_rows_alone_are_paired() -> None:
    values = noise(2)
    found = BlockDesign(column(values)).effect("r0", "r1")
    assert found.p == pytest.approx(stats.ttest_rel(*values).pvalue)
    alone = paired(list(values[0] - values[1]))
    assert (alone.low, alone.high) == pytest.approx((found.low, found.high))
    assert alone.p == pytest.approx(found.p)


def test_in_a_small_table_a_large_ratio_is_nothing_rare() -> None:
    rng = np.random.default_rng(3)
    found = [len(BlockDesign(column(rng.normal(size=(4, 3)))).noisy) for _ in range(500)]
    assert 0 < np.mean(found) < 0.1


def test_a_far_noisier_row_is_tested_by_its_own_pairs() -> None:
    values = noise(8)
    values[3] += [40, -40, 0]
    design = BlockDesign(column(values))
    assert design.noisy == {"r3"}
    found = design.effect("r3", "r0")
    assert not found.pooled and found.df == 2
    assert found.p == pytest.approx(stats.ttest_rel(values[3], values[0]).pvalue)
    rest = BlockDesign(column(np.delete(values, 3, axis=0)))
    assert design.effect("r0", "r1").p == pytest.approx(rest.effect("r0", "r1").p)


def test_without_two_shared_seeds_or_any_spread_nothing_is_tested() -> None:
    one = column(np.array([[1.0, 2, 3], [2, math.nan, math.nan], [3, 1, 2]]))
    assert BlockDesign(one).effect("r0", "r1") is None
    same = column(np.arange(4.0)[:, None] + np.array([0.1, 0.2, 0.3]))
    assert BlockDesign(same).noise == 0
    assert BlockDesign(same).effect("r0", "r1") is None
    assert paired([1.0, 1.0, 1.0]) is None


def test_columns_become_one_in_their_own_units() -> None:
    up, down = noise(at=3), 1000 * noise(at=4)
    found = combine([column(up), column(down)], [0.5, -100.0])
    assert found["r2"][1] == pytest.approx((up[2, 1] / 0.5 - down[2, 1] / 100) / 2)
    down[2, 1] = math.nan
    assert set(combine([column(up), column(down)], [1, 1])["r2"]) == {0, 2}


def test_holm_is_that_of_statsmodels() -> None:
    p = np.random.default_rng(0).uniform(0, 0.2, size=12)
    assert adjust(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert adjust([]) == []


# --- the whole procedure -------------------------------------------------------------------------

METRICS = ("semseg/miou", "depth/abs_err", "normals/mean_err")
LEVELS = np.array([0.3, 0.7, 35.0])  # what a network has, and the standard deviations of a run
NOISES = np.array([0.01, 0.02, 0.3])
RUN = Experiment()
TABLE = Table(
    name="table0",
    paper="toy",
    title="",
    source="",
    columns=METRICS,
    rows=tuple(
        Row(name=f"r{i}", label=f"r{i}", experiments=(RUN,), printed=()) for i in range(ROWS)
    ),
    claims=tuple(
        Claim(text="", better="r0", worse=f"r{i}", columns=METRICS) for i in range(1, ROWS)
    ),
)
ENTRY = Entry(
    row="r0", seed=0, keys=("",), experiments=({},), metrics={}, seconds=1.0, commit="",
    versions={}, hardware="", date="", data={},
)  # fmt: skip
SIGNS = np.array([1, -1, -1])


def simulated(rng: np.random.Generator, gains: np.ndarray, spread: np.ndarray) -> Results:
    """Results with noise of seeds, of runs, and of runs in all metrics alike.

    Args:
        gains: (rows,) in standard deviations of a run.
        spread: (rows,) times the noise.
    """
    size = (ROWS, SEEDS, 3)
    runs = math.sqrt(0.7) * rng.normal(size=size) + math.sqrt(0.3) * rng.normal(size=(*size[:2], 1))
    seeds = rng.normal(size=(1, *size[1:]))
    better = gains[:, None, None] + spread[:, None, None] * runs + seeds
    values = LEVELS + SIGNS * NOISES * better
    entries = tuple(
        replace(ENTRY, row=f"r{i}", seed=s, metrics=dict(zip(METRICS, values[i, s], strict=True)))
        for i in range(ROWS)
        for s in range(SEEDS)
    )
    return Results(paper="toy", table="table0", profile="quick", entries=entries)


def decided(count: int, gains: np.ndarray, spread: np.ndarray) -> list[list[str]]:
    rng = np.random.default_rng(15)
    tables = (judge(TABLE, simulated(rng, gains, spread)) for _ in range(count))
    return [[verdict.state for verdict in verdicts] for verdicts in tables]


DECIDED = {"holds", "contradicted"}


def test_a_true_null_is_decided_in_at_most_five_percent_of_tables() -> None:
    tables = decided(2000, np.zeros(ROWS), np.ones(ROWS))
    assert 0.02 <= np.mean([bool(DECIDED & set(states)) for states in tables]) <= 0.05


def test_a_noisy_row_leaves_the_level_of_the_others_alone() -> None:
    spread = np.ones(ROWS)
    spread[-1] = 6.0  # the row of the last claim
    tables = decided(400, np.zeros(ROWS), spread)
    assert np.mean([bool(DECIDED & set(states[:-1])) for states in tables]) <= 0.05


@pytest.mark.parametrize(("sign", "state"), [(1, "holds"), (-1, "contradicted")])
def test_a_gain_of_two_and_a_half_deviations_is_found(sign, state) -> None:
    gains = np.zeros(ROWS)
    gains[0] = sign * 2.5
    tables = decided(150, gains, np.ones(ROWS))
    found = [states[: ROWS - 1].count(state) for states in tables]
    assert sum(found) / (len(tables) * (ROWS - 1)) > 0.9
