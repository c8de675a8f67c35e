"""Recorded results are read with care, summarized correctly and rendered for people."""

import copy
import csv
import io
import json
import math
from dataclasses import replace

import pytest

from mtpsl import files
from mtpsl.data import find_class
from mtpsl.papers.hitts.tables import TABLES
from mtpsl.report.ledger import (
    count_states,
    judge,
    printed_gains,
    printed_text,
    summary,
    verdict_text,
)
from mtpsl.report.provenance import origins, stamp
from mtpsl.report.render import (
    headline_cells,
    render_csv,
    render_html,
    render_markdown,
    table_lines,
    write_table,
)
from mtpsl.report.results import GUESSES, column_of, floor_key, load_recorded, parse_results
from mtpsl.report.tables import Claim, Row, Table
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.profiles import get_profile
from mtpsl.tasks import TaskSet, depth, normals, semseg

STL, MTL = Experiment(tasks=("depth",)), Experiment(lr=2e-4)
NAN = float("nan")

SMALL = Table(
    name="table0",
    paper="toy",
    title="A | B",
    source="[Toy, Table 0]",
    columns=("semseg/miou", "depth/abs_err", "delta_mtl"),
    rows=(
        Row(name="STL", label="STL", experiments=(STL,), printed=(20.0, 0.8, NAN)),
        Row(name="MTL", label="<MTL>", experiments=(MTL,), printed=(25.0, 0.6, 25.0)),
        Row(name="Old", label="Old", printed=(22.0, 0.7, 11.25), why_not_run="no code"),
    ),
    reference={"": "STL"},
    claims=(
        Claim(text="better overall", better="MTL", worse="STL", columns=("semseg/miou",)),
        Claim(text="lower is better", better="MTL", worse="STL", columns=("depth/abs_err",)),
        Claim(text="beats the old", better="MTL", worse="Old"),
    ),
)
MEASURED = {  # row -> seed -> (mIoU, AbS)
    "STL": [(0.20, 0.80), (0.10, 1.00), (0.20, 0.80)],
    "MTL": [(0.25, 0.60), (0.12, 1.00), (0.23, 0.88)],
}


def recorded(table=SMALL, measured=None, profile="smoke"):
    """A results file of the documented format."""
    measured = MEASURED if measured is None else measured
    scale = get_profile(profile)
    return {
        "table": table.name,
        "paper": table.paper,
        "profile": profile,
        "entries": [
            {
                "row": row,
                "seed": seed,
                "keys": [scale(e).with_seed(seed).key for e in table.row(row).experiments],
                "experiments": [
                    scale(e).with_seed(seed).to_dict() for e in table.row(row).experiments
                ],
                "metrics": dict(zip(table.columns, values, strict=False)),
                "seconds": 1.5,
                "commit": "abc1234",
                "versions": {"torch": "2.13.0"},
                "hardware": "2 cores",
                "date": "2026-01-02T03:04:05",
                "data": {"name": "rooms13", "version": "1", "stand_in": True},
            }
            for row, seeds in measured.items()
            for seed, values in enumerate(seeds)
        ],
    }


def results(measured=None, profile="smoke"):
    return parse_results(recorded(measured=measured, profile=profile), SMALL)


# --- reading -------------------------------------------------------------------------------------


def test_load_recorded(tmp_path):
    path = tmp_path / "table0.json"
    files.write_json(path, recorded())
    found = load_recorded(path, SMALL)
    assert found == results()
    assert [entry.seed for entry in found.of("MTL")] == [0, 1, 2]
    assert not any(entry.stale for entry in found.entries)


def test_a_truncated_or_edited_file_is_named(tmp_path):
    path = tmp_path / "table0.json"
    files.write_json(path, recorded())
    text = path.read_text()
    for damaged in (text[: len(text) // 2], text.replace("0.25", "0.35")):
        path.write_text(damaged)
        with pytest.raises(files.Damaged, match="table0.json"):
            load_recorded(path, SMALL)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda v: v.update(table="table1"), "table: expected 'table0', got 'table1'"),
        (lambda v: v.update(profile="fast"), "profile: expected one of"),
        (lambda v: v.update(entries=None), "entries: a list"),
        (lambda v: v["entries"][1].pop("commit"), r"entries\[1\]: expected commit: text"),
        (lambda v: v["entries"][1].update(seed=True), r"entries\[1\]: expected seed: an integer"),
        (lambda v: v["entries"][0]["metrics"].update(x="high"), "a number for 'x', got 'high'"),
        (lambda v: v["entries"][0]["keys"].append("0"), "as many keys as experiments"),
        (lambda v: v["entries"].append(v["entries"][0]), "a second for row 'STL', seed 0"),
    ],
)
def test_a_file_of_another_format_is_refused(damage, words):
    values = copy.deepcopy(recorded())
    damage(values)
    with pytest.raises(ValueError, match=words):
        parse_results(values, SMALL, source="here.json")


def test_stale_entries_are_marked_and_left_out():
    values = recorded()
    last = values["entries"][-1]
    changed = Experiment.from_dict(last["experiments"][0]).replace(lr=0.5, epochs=7)
    last["experiments"], last["keys"] = [changed.to_dict()], [changed.key]
    found = parse_results(values, SMALL)
    assert found.stale("MTL") == "changed since: epochs, lr" and found.stale("STL") == ""
    assert [entry.seed for entry in found.of("MTL")] == [0, 1]
    text = render_markdown(SMALL, found, None)
    assert "Stale records, not shown (changed since: epochs, lr): <MTL>." in text
    assert "| <MTL> | paper |" in text and "18.5 ± 9.2" in text  # of two seeds alone


@pytest.mark.parametrize("name", ["numerics", "data_version"])
def test_records_of_another_version_are_not_shown(name):
    """Of the code that decides numbers, or of a stand-in: their keys are not today's."""
    values = recorded()
    for entry in values["entries"]:
        old = Experiment.from_dict(entry["experiments"][0])
        old = old.replace(**{name: 0 if name == "numerics" else "0"})
        entry["experiments"], entry["keys"] = [old.to_dict()], [old.key]
    found = parse_results(values, SMALL)
    assert not found.current() and found.stale("MTL") == f"changed since: {name}"
    text = render_markdown(SMALL, found, None)
    assert "recorded |" not in text.partition("Stale records")[0]
    assert {verdict.state for verdict in judge(SMALL, found)} == {"not tested"}


def test_entries_of_a_removed_row_are_stale():
    values = recorded()
    values["entries"][0]["row"] = "Gone"
    found = parse_results(values, SMALL)
    assert found.stale("Gone") == "the table has no such row any more"


def test_a_table_with_nothing_but_its_ceiling_is_shown():
    found = parse_results(recorded(measured={SMALL.ceiling.name: [(0.4, 0.3)]}), SMALL)
    assert "n = 1 seed per row" in render_markdown(SMALL, found, None)


def test_label_splits_beside_the_data_make_no_entry_stale():
    values = recorded()
    for entry in values["entries"]:
        ran = Experiment.from_dict(entry["experiments"][0]).replace(
            dataset="nyud", data_version="npy-0", label_args={"file": "0123456789ab"}
        )
        entry["experiments"], entry["keys"] = [ran.to_dict()], [ran.key]
    assert len(parse_results(values, SMALL).current()) == 6


def test_data_are_those_of_the_entry():
    """A table does not say on which data it ran."""
    values = recorded()
    for entry in values["entries"]:
        bound = Experiment.from_dict(entry["experiments"][0]).replace(
            data_version=find_class("rooms13").version
        )
        entry["experiments"], entry["keys"] = [bound.to_dict()], [bound.key]
    assert len(parse_results(values, SMALL).current()) == 6


# --- numbers -------------------------------------------------------------------------------------


def test_delta_is_paired_with_the_single_task_run_of_the_same_seed():
    found = results().values(SMALL, "MTL", "delta_mtl")
    # seed 0: (0.25 / 0.20 - 1 + 1 - 0.60 / 0.80) / 2; seeds 1 and 2 alike
    assert found == pytest.approx({0: 0.25, 1: 0.10, 2: 0.025})
    assert results().values(SMALL, "STL", "delta_mtl") == {}
    only = results({"STL": MEASURED["STL"][:1], "MTL": MEASURED["MTL"]})
    assert only.values(SMALL, "MTL", "delta_mtl") == pytest.approx({0: 0.25})


def test_delta_needs_every_metric_of_the_table():
    short = results({"STL": MEASURED["STL"], "MTL": [(0.25,)]})
    assert short.values(SMALL, "MTL", "delta_mtl") == {}


def test_a_missing_number_is_not_a_zero():
    values = recorded()
    values["entries"][3]["metrics"]["semseg/miou"] = None
    found = parse_results(values, SMALL)
    assert found.values(SMALL, "MTL", "semseg/miou") == {1: 0.12, 2: 0.23}


def test_lines_hold_mean_and_sample_deviation_in_printed_units():
    lines = table_lines(SMALL, results(), results({"MTL": MEASURED["MTL"][:1]}))
    assert [(line.name, line.source, line.n) for line in lines] == [
        ("STL", "paper", 0),
        ("STL", "recorded", 3),
        ("MTL", "paper", 0),
        ("MTL", "recorded", 3),
        ("MTL", "computed now", 1),
        ("Old", "paper", 0),
    ]
    assert [x.mean for x in lines[3].numbers] == pytest.approx([20.0, 2.48 / 3, 12.5])
    # deviations of 5, -8, 3 from the mean, squared, over n - 1
    assert lines[3].numbers[0].std == pytest.approx(math.sqrt((25 + 64 + 9) / 2))
    assert lines[3].cells(SMALL) == ["20.0 ± 7.0", "0.827 ± 0.205", "12.5 ± 11.5"]
    assert lines[4].cells(SMALL) == ["25.0", "0.600", "–"]  # no single-task run beside it


def test_a_row_that_no_paper_prints_has_no_line_of_the_paper():
    unprinted = tuple(replace(row, printed=(NAN,) * 3) for row in SMALL.rows[:2])
    table = replace(SMALL, rows=unprinted, claims=SMALL.claims[:2])
    found = parse_results(recorded(table, {"MTL": MEASURED["MTL"]}), table)
    lines = table_lines(table, found, found)
    assert [(line.name, line.source, line.n) for line in lines] == [
        ("STL", "", 0),
        ("MTL", "recorded", 3),
        ("MTL", "computed now", 3),
    ]
    text = render_markdown(table, found, found).splitlines()
    assert "| Sentence | On | recorded | computed now |" in text
    (row,) = [line for line in text if line.startswith("| <MTL>")]
    assert row.startswith("| <MTL> | recorded | 20.0 ± 7.0 |")


def test_a_gain_over_fewer_seeds_than_the_row_has_says_so():
    found = results({"STL": MEASURED["STL"][:1], "MTL": MEASURED["MTL"]})
    (line,) = [line for line in table_lines(SMALL, found, None) if line.n == 3]
    assert line.cells(SMALL)[0] == "20.0 ± 7.0"
    assert line.cells(SMALL)[2] == "25.0 (n = 1)"
    cells = list(csv.DictReader(io.StringIO(render_csv(SMALL, found, None))))
    counts = {r["column"]: r["n"] for r in cells if (r["row"], r["source"]) == ("MTL", "recorded")}
    assert counts == {"semseg/miou": "3", "depth/abs_err": "3", "delta_mtl": "1"}


def test_the_stamp_says_what_a_profile_changed():
    assert "averaged" not in " ".join(stamp(SMALL, results(), None))
    values = recorded(profile="quick")
    shares = {"semseg": "50%", "depth": "50%"}
    for entry in values["entries"]:
        ran = Experiment.from_dict(entry["experiments"][0]).replace(thresholds=shares)
        entry["experiments"] = [ran.to_dict()]
        entry["keys"] = [ran.key]
    measured = parse_results(values, SMALL)
    current = tuple(replace(entry, stale="") for entry in measured.entries)
    text = " ".join(stamp(SMALL, replace(measured, entries=current), None))
    assert "selected by: last, averaged over the last 25 % of the steps; " in text
    assert "pseudo labels where confidence is in its upper 50%, not above" in text


def test_cost_columns_have_their_own_units():
    assert column_of("cost/params").scale * 25_055_185 == pytest.approx(25.055185)
    assert column_of("cost/memory").scale * 2**30 == 1


# --- sentences -----------------------------------------------------------------------------------


def verdict(better, worse, columns=("semseg/miou",), others=(), **claim):
    """Of rows given as (mIoU, AbS), seed by seed; ``Old`` is a row like them."""
    runs = {row.name: row for row in SMALL.rows} | {
        "Old": Row(name="Old", label="Old", experiments=(STL.replace(lr=1.0),), printed=(NAN,) * 3)
    }
    said = Claim(text="", better="MTL", worse="STL", columns=columns, **claim)
    table = replace(SMALL, rows=tuple(runs.values()), claims=(said,))
    measured = {"MTL": better, "STL": worse} | ({"Old": others} if others else {})
    (found,) = judge(table, parse_results(recorded(table, measured), table))
    return found


def pairs(*values):
    return [(value, 0.5) for value in values]


def test_a_clear_difference_decides():
    found = verdict(pairs(0.30, 0.32, 0.31), pairs(0.20, 0.21, 0.22))
    assert (found.state, found.seeds) == ("holds", 3)
    assert found.gain == pytest.approx(100 * 0.1 / 0.21)
    reach = 4.303 * 0.01 / math.sqrt(3) / 0.21  # two rows alone: Student's t with two degrees
    assert found.high - found.gain == pytest.approx(100 * reach, rel=1e-3)
    assert verdict(pairs(0.20, 0.21, 0.22), pairs(0.30, 0.32, 0.31)).state == "contradicted"


def test_direction_is_that_of_the_column():
    depths = [[(0.3, v) for v in values] for values in ((0.6, 0.6, 0.6), (0.8, 0.9, 0.85))]
    found = verdict(*depths, columns=("depth/abs_err",))
    assert found.state == "holds" and found.gain == pytest.approx(100 * 0.25 / 0.85)


def test_what_seeds_share_is_no_noise():
    assert verdict(pairs(0.12, 0.32, 0.521), pairs(0.10, 0.30, 0.50)).state == "holds"


def test_within_the_spread_is_inconclusive():
    assert verdict(pairs(0.30, 0.10, 0.25), pairs(0.20, 0.20, 0.20)).state == "inconclusive"
    # mean 1 percent point at 3.5 and 5.8 standard errors; Student's limit for 3 seeds is 4.3
    assert verdict(pairs(0.205, 0.21, 0.215), pairs(*[0.20] * 3)).state == "inconclusive"
    assert verdict(pairs(0.207, 0.21, 0.213), pairs(*[0.20] * 3)).state == "holds"


def test_other_rows_tell_how_large_the_noise_is():
    better, worse = pairs(0.205, 0.21, 0.215), pairs(0.20, 0.20, 0.20)
    assert verdict(better, worse, others=pairs(0.30, 0.301, 0.299)).state == "holds"


def test_metrics_are_decided_together():
    both = ("semseg/miou", "depth/abs_err")
    better = [(0.30, 0.50), (0.32, 0.52), (0.31, 0.49)]
    worse = [(0.20, 0.51), (0.21, 0.50), (0.22, 0.49)]
    found = verdict(better, worse, columns=both)
    assert (found.state, found.agree, found.metrics) == ("holds", 1, 2)
    worse = [(0.20, 0.53), (0.21, 0.53), (0.22, 0.50)]
    assert verdict(better, worse, columns=both).agree == 2


def test_one_seed_is_not_tested_but_shown():
    found = verdict(pairs(0.90), pairs(0.10))
    assert (found.state, found.reason, found.seeds) == ("not tested", "one seed", 1)
    assert found.gain == pytest.approx(800.0) and math.isnan(found.low)
    assert verdict(pairs(0.2, 0.2), pairs(0.1, 0.1)).reason == "no spread over seeds"


def test_without_common_seeds_nothing_is_said():
    assert {v.reason for v in judge(SMALL, None)} == {"nothing is recorded"}
    reasons = [v.reason for v in judge(SMALL, results({"STL": MEASURED["STL"]}))]
    assert reasons == ["<MTL> is not recorded"] * 2 + ["<MTL> is not recorded"]
    assert judge(SMALL, results())[2].reason == "Old is printed only"


def test_the_sentences_of_a_table_are_corrected_together():
    better, worse = pairs(0.206, 0.21, 0.214), pairs(0.20, 0.20, 0.20)
    assert verdict(better, worse).state == "holds"
    both = replace(SMALL, claims=(*SMALL.claims[:1], *SMALL.claims[1:2] * 4))
    measured = {
        "MTL": [(0.206, 0.5), (0.21, 0.6), (0.214, 0.7)],
        "STL": [(0.20, 0.6), (0.20, 0.5), (0.20, 0.7)],
    }
    found = judge(both, parse_results(recorded(both, measured), both))
    assert [v.state for v in found] == ["inconclusive"] * 5
    alone = judge(
        replace(both, claims=both.claims[:1]), parse_results(recorded(both, measured), both)
    )
    assert found[0].p == pytest.approx(5 * alone[0].p)
    assert (found[0].low, found[0].high) == (alone[0].low, alone[0].high)


def test_a_ratio_is_compared_with_its_limit():
    rows = (
        Row(name="a", label="a", experiments=(STL,)),
        Row(name="b", label="b", experiments=(MTL,)),
    )
    limits = (1.06, 1.04)
    claims = [
        Claim(text="", better="a", worse="b", columns=("cost/params",), max_ratio=r) for r in limits
    ]
    fewer = Claim(text="", better="b", worse="a", columns=("cost/params", "cost/flops"))
    columns = ("cost/params", "cost/flops")
    table = replace(SMALL, rows=rows, claims=(*claims, fewer), columns=columns, reference={})
    found = parse_results(recorded(table, {"a": [(21, 5)], "b": [(20, 6)]}), table)
    verdicts = judge(table, found)
    assert [v.state for v in verdicts] == ["holds", "contradicted", "contradicted"]
    assert verdicts[1].gain == pytest.approx(1.05) and math.isnan(verdicts[1].p)
    assert (verdicts[2].agree, verdicts[2].metrics) == (1, 2)


def test_what_is_printed_is_said_and_never_decided():
    assert [printed_text(claim, SMALL) for claim in SMALL.claims] == [
        "printed +25.0 %",
        "printed +25.0 %",
        "printed +13.75",
    ]
    assert printed_gains(SMALL.claims[2], SMALL) == {"delta_mtl": pytest.approx(13.75)}
    both = replace(SMALL.claims[0], columns=("semseg/miou", "depth/abs_err"))
    assert printed_text(both, SMALL) == "printed +25.0 %, 2 of 2 metrics"
    assert printed_text(replace(both, worse="STL", columns=("delta_mtl",)), SMALL) == "–"


def test_every_sentence_is_counted_once():
    assert count_states(SMALL, None) == {"not tested": 3}
    assert count_states(SMALL, results()) == {"inconclusive": 2, "not tested": 1}
    assert summary(SMALL, None) == "nothing yet"
    assert summary(SMALL, results()) == "2 inconclusive, 1 not tested of 3 sentences"


# --- floors --------------------------------------------------------------------------------------


def with_floors(measured, miou, depth):
    """Results beside what both guesses score, the second one half as much."""
    found = results(measured)
    keys = {floor_key(e, "test") for entry in found.entries for e in entry.experiments}
    scores = {"semseg/miou": miou, "depth/abs_err": depth}
    lookup = {name: value / 2 for name, value in scores.items()}
    return replace(
        found, floors={k: dict(zip(GUESSES, (scores, lookup), strict=True)) for k in keys}
    )


def test_cells_below_the_better_floor_are_marked():
    found = with_floors(MEASURED, 0.05, 1.6)  # depth: the lookup's 0.8 is the better one
    assert not found.below_floor(SMALL, SMALL.row("MTL"), "semseg/miou")
    assert found.below_floor(SMALL, SMALL.row("MTL"), "depth/abs_err")
    assert not found.below_floor(SMALL, SMALL.row("MTL"), "delta_mtl")
    text = render_markdown(SMALL, found, None)
    assert "|  | recorded | 20.0 ± 7.0 | 0.827 ± 0.205 † | 12.5 ± 11.5 | 3 |" in text
    assert "† No better than a guess" in text
    assert "† No better" not in render_markdown(SMALL, results(), None)


def test_guesses_stand_below_the_rows():
    lines = render_markdown(SMALL, with_floors(MEASURED, 0.05, 1.6), None).splitlines()
    places = [
        lines.index(line)
        for line in lines
        if "| Old |" in line or line[:9] in ("| closed ", "| positio")
    ]
    assert places == sorted(places) and len(places) == 3
    assert "| closed eyes | recorded | 5.00 | 1.60 | – |  |" in lines
    assert "| position lookup | recorded | 2.50 | 0.800 | – |  |" in lines


def test_a_metric_below_the_floor_does_not_count():
    both = replace(SMALL.claims[0], columns=("semseg/miou", "depth/abs_err"))
    table = replace(SMALL, claims=(both,))
    (found,) = judge(table, with_floors(MEASURED, 0.05, 1.6))
    assert (found.metrics, found.state) == (1, "inconclusive")
    (found,) = judge(table, with_floors(MEASURED, 0.5, 1.6))
    assert (found.state, found.metrics) == ("below floor", 0)
    assert verdict_text(both, found) == "below floor"
    (found,) = judge(replace(SMALL, claims=SMALL.claims[2:]), with_floors(MEASURED, 0.5, 1.6))
    assert found.state == "not tested"  # of a row that never ran nothing is known


# --- text ----------------------------------------------------------------------------------------


def test_markdown_golden():
    text = render_markdown(SMALL, results(), None)
    assert text.startswith("## Toy, Table 0: A | B (rooms13, stand-in for NYUD-v2)\n")
    for line in (
        "| Method |  | semseg mIoU ↑ | depth AbS ↓ | Δ_MTL (%) ↑ | n |",
        "| <MTL> | paper | 25.0 | 0.600 | 25.0 |  |",
        "|  | recorded | 20.0 ± 7.0 | 0.827 ± 0.205 | 12.5 ± 11.5 | 3 |",
        "| Old | paper | 22.0 | 0.700 | 11.2 |  |",
        "Printed only, no code: Old.",
        "<details><summary>Ledger, recorded: 2 inconclusive, 1 not tested of 3 sentences</summary>",
        "| Sentence | On | paper | recorded |",
        "| beats the old | Δ_MTL (%) ↑ | printed +13.75 | not tested: Old is printed only |",
    ):
        assert line in text.splitlines(), line
    (line,) = [line for line in text.splitlines() if line.startswith("| better overall")]
    assert "| printed +25.0 % | inconclusive: +20.0 % (" in line and line.endswith("), n = 3 |")


def test_further_columns_are_folded():
    table = TABLES["table1"]
    shown, folded = render_markdown(table, None, None).split("<summary>All columns</summary>")
    assert "normals mErr ↓" in shown and "normals rmse ↓" not in shown
    assert "normals rmse ↓" in folded and "NYUD-v2" in shown.splitlines()[0]


def test_the_stamp_names_where_numbers_come_from():
    text = " ".join(stamp(SMALL, results(), None))
    for part in ("profile smoke", "rooms13 1 (generated stand-in)", "abc1234", "2 cores"):
        assert part in text
    for part in ("n = 3 seeds", "selected by: last", "2026-01-02", "same block"):
        assert part in text
    assert "Computed" not in text and "Recorded: nothing." in stamp(SMALL, None, results())


def test_the_stamp_names_pretrained_weights():
    assert "pretrained" not in " ".join(stamp(SMALL, results(), None))
    values = recorded()
    for entry in values["entries"]:
        entry["data"]["pretrained"] = {"weights": "timm/net.tag", "sha256": "0123456789abcdef" * 4}
    text = " ".join(stamp(SMALL, parse_results(values, SMALL), None))
    assert text.count("pretrained weights timm/net.tag (sha256 0123456789ab); n = 3 seeds") == 1


def test_origins_join_what_came_from_one_place():
    values = recorded()
    values["entries"][2]["commit"] = "def"
    lines = origins(SMALL, parse_results(values, SMALL), None)
    assert [(line["commit"], line["results"]) for line in lines] == [("abc1234", 5), ("def", 1)]
    assert {line["source"] for line in lines} == {"recorded"}
    assert lines[0]["data"] == "rooms13 1 (generated stand-in)"


def test_headlines_are_printed_as_in_a_table():
    tasks = TaskSet((semseg(("a", "b")), depth(), normals()))
    metrics = {"semseg/miou": 0.3125, "depth/abs_err": 0.5, "normals/mean_err": 30.126}
    assert headline_cells(metrics, tasks) == {
        "semseg mIoU ↑": "31.25",
        "depth AbS ↓": "0.50",
        "normals mErr ↓": "30.13",
    }


def test_html_is_stable_and_escaped():
    one, two = (render_html(SMALL, results(), results(profile="quick")) for _ in range(2))
    assert one == two
    assert "&lt;MTL&gt;" in one and "<MTL>" not in one
    assert 'id="T_toy-table0"' in one and 'id="T_toy-table0-claims"' in one
    assert one.count("<table") == one.count("</table>") == 2


def test_csv_can_be_read_back():
    rows = list(csv.DictReader(io.StringIO(render_csv(SMALL, results(), None))))
    assert len(rows) == 5 * len(SMALL.columns)
    (cell,) = [
        r for r in rows
        if (r["row"], r["source"], r["column"]) == ("MTL", "recorded", "semseg/miou")
    ]  # fmt: skip
    assert (cell["value"], cell["std"], cell["n"]) == ("20.0", "7.0", "3")


def test_a_table_without_measurements_still_renders(tmp_path):
    paths = write_table(SMALL, None, None, tmp_path / "new")
    assert [path.name for path in paths] == ["table0.md", "table0.csv"]
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())  # nothing temporary left
    assert "not tested: nothing is recorded" in paths[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_the_papers_tables_render(table):
    """With the printed numbers as measured ones, every claim that can hold does."""
    measured = {
        row.name: [
            tuple(
                value / column_of(column).scale * (1 + 1e-6 * seed)
                for column, value in zip(table.columns, row.printed, strict=True)
                if not math.isnan(value) and column != "delta_mtl"
            )
            for seed in range(3)
        ]
        for row in table.rows
        if row.experiments
    }
    values = json.loads(json.dumps(recorded(table, measured, "quick")))
    found = parse_results(values, table)
    assert len(found.current()) == 3 * len(measured)
    for claim, verdict in zip(table.claims, judge(table, found), strict=True):
        assert verdict.state in ("holds", "not tested"), claim.text
        assert verdict.gain > 0 and verdict.agree == verdict.metrics == len(claim.columns)
    for render in (render_markdown, render_html, render_csv):
        assert "nan" not in render(table, found, None).lower()
    for row in table.rows:  # and the delta of each row is the printed one
        delta = found.values(table, row.name, "delta_mtl") if "delta_mtl" in table.columns else {}
        for value in delta.values():
            assert 100 * value == pytest.approx(row.printed[-1], abs=0.011)


def test_the_stamp_says_what_delta_refers_to():
    def words(table):
        (sentence,) = [s for s in stamp(table, None, None) if s.startswith("Δ_MTL")]
        return sentence

    table1 = TABLES["table1"]
    assert "against the single-task networks" in words(table1)
    few = [row for row in table1.rows if row.group == "One-Label"]
    part = Table(**(vars(table1) | {"rows": tuple(few), "claims": ()}))  # as in the tour
    assert words(part) == words(table1)
    other = Table(**(vars(table1) | {"reference": {"One-Label": "one-label/MTL baseline"}}))
    assert "against the row MTL baseline" in words(other)
