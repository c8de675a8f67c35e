"""The table over shares of labels: what its rows compare, and what is drawn of its results."""

import numpy as np
import pytest

from mtpsl.data.dataset import TrainLoader
from mtpsl.papers.companion import tables as checks
from mtpsl.papers.companion.tables import (
    HITTS,
    LABEL_SHARE,
    MTL,
    OURS,
    SHARES,
    share_gains,
    share_row,
)
from mtpsl.papers.hitts.tables import THRESHOLDS
from mtpsl.papers.xtc import tables as xtc
from mtpsl.report.ledger import judge
from mtpsl.report.results import Results, column_of, parse_results
from mtpsl.report.tables import Table
from mtpsl.runs import data
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import build
from mtpsl.runs.profiles import smoke


def experiment(group: str, label: str) -> Experiment:
    (found,) = LABEL_SHARE.row(share_row(group, label)).experiments
    return found


def test_every_share_has_three_rows() -> None:
    assert [row.name for row in LABEL_SHARE.rows] == [
        share_row(group, label) for group in SHARES for label in (MTL, HITTS, OURS)
    ]
    for group, share in SHARES.items():
        for label in (MTL, HITTS, OURS):
            e = experiment(group, label)
            if group == "full":
                assert e.label_setting == "full" and not e.label_args
            else:
                assert (e.label_setting, dict(e.label_args)) == ("share", {"share": share})


def test_the_second_stage_learns_from_the_row_above() -> None:
    for group in SHARES:
        ours = experiment(group, OURS)
        assert ours.teacher == experiment(group, HITTS)
        assert ours.method_args["pseudo_features"]


def test_with_every_label_nothing_is_discovered() -> None:
    full = experiment("full", OURS)
    assert not full.method_args["pseudo_labels"] and not full.thresholds
    assert LABEL_SHARE.row(share_row("full", OURS)).label == "Ours, L_f alone"
    eighth = experiment("1/8", OURS)
    assert eighth.method_args["pseudo_labels"]
    assert dict(eighth.thresholds) == THRESHOLDS["one_label"]


def test_full_labels_are_the_run_of_the_separation() -> None:
    (full,) = checks.SEPARATION.row(checks.FULL).experiments
    assert experiment("full", MTL).key == full.key


@pytest.mark.parametrize("table", [LABEL_SHARE, checks.CONSISTENCY], ids=lambda t: t.name)
def test_claims_compare_different_rows_of_the_table(table: Table) -> None:
    assert len({claim.text for claim in table.claims}) == len(table.claims)
    references = table.reference.values()
    for claim in table.claims:
        assert table.row(claim.better) != table.row(claim.worse)
        assert set(claim.columns) <= set(table.columns)
        assert all(column_of(column).label for column in claim.columns)
        if "delta_mtl" in claim.columns:  # a reference has no gain over itself
            assert not {claim.better, claim.worse} & set(references)


def test_the_parts_of_xtc_differ_from_their_neighbors_in_one_thing() -> None:
    def differs(better: str, worse: str) -> set[str]:
        a, b = (checks.CONSISTENCY.row(r).experiments[0].to_dict() for r in (better, worse))
        assert a["method"] == b["method"]
        args = ({**a.pop("method_args")}, {**b.pop("method_args")})
        assert a == b
        return {k for k in args[0] | args[1] if args[0].get(k) != args[1].get(k)}

    assert differs(checks.TWO_VIEWS, checks.SSL) == {"weight"}
    assert differs(checks.ONE_VIEW, checks.XTC) == {"two_views"}
    assert differs(checks.RAMPED_FREE, checks.XTC_FREE) == {"ramp_up"}


def test_the_parts_of_xtc_share_their_runs_with_its_table() -> None:
    for label in (checks.SL, checks.SSL, checks.XTC):
        (here,) = checks.CONSISTENCY.row(label).experiments
        (there,) = xtc.TABLE2.row(f"one/{label}").experiments
        assert here.key == there.key


def test_two_views_without_weight_learn_from_labels_alone() -> None:
    (experiment,) = checks.CONSISTENCY.row(checks.TWO_VIEWS).experiments
    experiment = smoke(experiment)
    made = build(experiment)
    partial, _ = data.label(experiment, data.open_split(experiment, "train"))
    loader = TrainLoader(partial, batch_size=2, seed=0, views=made.views, augment=False)
    views = next(iter(loader.epoch(0)))
    assert len(views) == 2
    assert made.training_step(*views, progress=0.5)["consistency"] == 0


def results(*, seeds: int = 2) -> Results:
    """Every row is 1 better than the one before it, in a unit of its own; seeds differ by 0.1 %."""
    entries = []
    for number, row in enumerate(LABEL_SHARE.rows):
        for seed in range(seeds):
            better = number + seed / 1000
            metrics = {
                "semseg/miou": 0.1 + 0.01 * better,
                "depth/abs_err": 2 - 0.1 * better,
                "normals/mean_err": 60 - better,
            }
            run = row.experiments[0].with_seed(seed)
            entries.append(
                {
                    "row": row.name, "seed": seed, "keys": [run.key],
                    "experiments": [run.to_dict()], "metrics": metrics, "seconds": 1.0,
                    "commit": "0", "versions": {"torch": "2"}, "hardware": "none",
                    "date": "2026-01-01",
                    "data": {"name": "rooms13", "version": "", "stand_in": True},
                }
            )  # fmt: skip
    values = {"table": "label_share", "paper": "companion", "profile": "full", "entries": entries}
    return parse_results(values, LABEL_SHARE)


def test_gains_are_the_results_in_printed_units() -> None:
    found = share_gains(results())
    assert found["values"].shape == (4, 3, 4, 2)
    np.testing.assert_allclose(found["values"][0, :, 0, 0], [10, 11, 12])  # mIoU at 1/8, seed 0
    np.testing.assert_allclose(found["values"][1, 2, :, 0], [1.8, 1.5, 1.2, 0.9])  # depth of Ours
    assert np.isnan(found["values"][3, 0]).all()  # the baseline has no gain over itself
    by_hand = (0.02 / 0.1 + 0.2 / 2 + 2 / 60) / 3
    assert found["values"][3, 2, 0, 0] == pytest.approx(100 * by_hand)


def test_gains_are_against_the_same_share() -> None:
    found = share_gains(results())["values"][3]
    half = (0.02 / 0.16 + 0.2 / 1.4 + 2 / 54) / 3
    assert found[2, 2, 0] == pytest.approx(100 * half)


def test_claims_can_be_decided() -> None:
    """Every row is better than the one before it, and seeds differ by one and the same step."""
    measured = results(seeds=3)
    for entry in measured.entries:
        entry.metrics["depth/abs_err"] += 1e-4 * (entry.seed == 1) * len(entry.row)
    texts = [claim.text for claim in LABEL_SHARE.claims]
    verdicts = dict(zip(texts, judge(LABEL_SHARE, measured), strict=True))
    (eighth,) = (t for t in texts if t.startswith(f"1/8: Ours beats {MTL}"))
    (twice,) = (t for t in texts if t.startswith(f"Ours at 1/8 beats {MTL} at 1/4"))
    assert verdicts[eighth].state == "holds" and verdicts[twice].state == "contradicted"
    assert {verdict.seeds for verdict in verdicts.values()} == {3}


def test_gains_without_results_of_a_row_are_missing() -> None:
    full = results(seeds=1)
    kept = tuple(e for e in full.entries if not e.row.startswith("1/4"))
    found = share_gains(
        Results(paper="companion", table="label_share", profile="full", entries=kept)
    )
    assert np.isnan(found["values"][:, :, 1]).all()
    assert np.isfinite(found["values"][:3, :, [0, 2, 3]]).all()
