"""Recorded results are read with care, summarized correctly and rendered for people."""

import copy
import csv
import io
import json
import math
from dataclasses import replace

import pytest

from mtpsl import files
from mtpsl.papers.hitts.tables import TABLES
from mtpsl.report.render import (
    count_verdicts,
    headline_cells,
    origins,
    render_csv,
    render_html,
    render_markdown,
    stamp,
    table_lines,
    write_table,
)
from mtpsl.report.results import column_of, decide, load_recorded, parse_results
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
        Claim(text="better overall", better="MTL", worse="STL", column="semseg/miou"),
        Claim(text="lower is better", better="MTL", worse="STL", column="depth/abs_err"),
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
    assert "stale (changed since: epochs, lr)" in render_markdown(SMALL, found, None)


def test_entries_of_a_removed_row_are_stale():
    values = recorded()
    values["entries"][0]["row"] = "Gone"
    found = parse_results(values, SMALL)
    assert found.stale("Gone") == "the table has no such row any more"


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
        bound = Experiment.from_dict(entry["experiments"][0]).replace(data_version="1")
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
    assert [(line.row.name, line.source, line.n) for line in lines] == [
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
    assert lines[3].cells(SMALL) == ["20.00 ± 7.00", "0.8267 ± 0.2053", "12.50 ± 11.46"]
    assert lines[4].cells(SMALL) == ["25.00", "0.6000", "–"]  # no single-task run beside it


def test_a_row_that_no_paper_prints_has_no_line_of_the_paper():
    unprinted = tuple(replace(row, printed=(NAN,) * 3) for row in SMALL.rows[:2])
    table = replace(SMALL, rows=unprinted, claims=SMALL.claims[:2])
    found = parse_results(recorded(table, {"MTL": MEASURED["MTL"]}), table)
    lines = table_lines(table, found, found)
    assert [(line.row.name, line.source, line.n, line.status) for line in lines] == [
        ("STL", "", 0, "not run"),
        ("MTL", "recorded", 3, "recorded and computed now"),
        ("MTL", "computed now", 3, ""),
    ]
    text = render_markdown(table, found, found).splitlines()
    assert "| Claim | Column | recorded | computed now |" in text
    (row,) = [line for line in text if line.startswith("| <MTL>")]
    assert row.startswith("| <MTL> | recorded | 20.00 ± 7.00 |")


def test_a_gain_over_fewer_seeds_than_the_row_has_says_so():
    found = results({"STL": MEASURED["STL"][:1], "MTL": MEASURED["MTL"]})
    (line,) = [line for line in table_lines(SMALL, found, None) if line.n == 3]
    assert line.cells(SMALL)[0] == "20.00 ± 7.00"
    assert line.cells(SMALL)[2] == "25.00 (n = 1)"
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


# --- claims --------------------------------------------------------------------------------------


def verdict(better, worse, column="semseg/miou", **claim):
    """Rows given as values of one column, seed by seed."""
    place = SMALL.columns.index(column)
    pad = lambda value: tuple(value if i == place else 0.5 for i in range(2))  # noqa: E731
    found = results({"MTL": [pad(v) for v in better], "STL": [pad(v) for v in worse]})
    return decide(Claim(text="", better="MTL", worse="STL", column=column, **claim), SMALL, found)


def test_a_clear_difference_decides():
    found = verdict([0.30, 0.32, 0.31], [0.20, 0.21, 0.22])
    assert (found.status, found.n) == ("holds", 3)
    assert found.difference == pytest.approx(10.0)  # mean of 10, 11, 9 percent points
    assert found.error == pytest.approx(1 / math.sqrt(3))
    assert verdict([0.20, 0.21, 0.22], [0.30, 0.32, 0.31]).status == "does not hold"


def test_direction_is_that_of_the_column():
    assert verdict([0.6, 0.6, 0.6], [0.8, 0.9, 0.85], "depth/abs_err").status == "holds"


def test_pairing_by_seed_removes_what_seeds_share():
    assert verdict([0.12, 0.32, 0.52], [0.10, 0.30, 0.50]).status == "holds"


def test_within_the_spread_is_undecided():
    assert verdict([0.30, 0.10, 0.25], [0.20, 0.20, 0.20]).status == "undecided"
    # mean 1 percent point at 3.5 and 5.8 standard errors; Student's limit for 3 seeds is 4.3
    assert verdict([0.205, 0.21, 0.215], [0.20] * 3).status == "undecided"
    assert verdict([0.207, 0.21, 0.213], [0.20] * 3).status == "holds"
    assert verdict([0.20, 0.20], [0.20, 0.20]).status == "undecided"


def test_one_seed_is_always_undecided_but_shown():
    found = verdict([0.90], [0.10])
    assert (found.status, found.n) == ("undecided", 1)
    assert found.difference == pytest.approx(80.0)


def test_without_common_seeds_nothing_is_said():
    assert decide(SMALL.claims[0], SMALL, None).status == "not run"
    assert decide(SMALL.claims[2], SMALL, results()).status == "not run"


def test_a_ratio_is_compared_with_its_limit():
    assert verdict([0.21], [0.20], max_ratio=1.06).status == "holds"
    found = verdict([0.21], [0.20], max_ratio=1.04)
    assert found.status == "does not hold" and found.difference == pytest.approx(1.05)


def test_every_claim_is_counted_once_a_source():
    counts = count_verdicts(SMALL, None, results())
    assert counts["paper"] == {"holds": 3}
    assert counts["recorded"] == {"not run": 3}
    assert counts["computed now"] == {"undecided": 2, "not run": 1}


# --- text ----------------------------------------------------------------------------------------


def test_markdown_golden():
    text = render_markdown(SMALL, results(), None)
    assert text.startswith("## Toy, Table 0: A | B\n")
    for line in (
        "| Method |  | semseg mIoU ↑ | depth AbS ↓ | Δ_MTL (%) ↑ | n | Status |",
        "| <MTL> | paper | 25.00 | 0.6000 | 25.00 |  | recorded |",
        "|  | recorded | 20.00 ± 7.00 | 0.8267 ± 0.2053 | 12.50 ± 11.46 | 3 |  |",
        "| Old | paper | 22.00 | 0.7000 | 11.25 |  | printed only: no code |",
        "Recorded: 2 undecided, 1 not run of 3 claims. Computed now: 3 not run of 3 claims.",
        "| better overall | semseg mIoU ↑ | holds (+5.00) "
        "| undecided (+3.33 ± 0.88, n = 3) | not run |",
        "| beats the old | Δ_MTL (%) ↑ | holds (+13.75) | not run | not run |",
    ):
        assert line in text.splitlines(), line


def test_the_stamp_names_where_numbers_come_from():
    text = " ".join(stamp(SMALL, results(), None))
    for part in ("profile smoke", "rooms13 1 (generated stand-in)", "abc1234", "2 cores"):
        assert part in text
    for part in ("n = 3 seeds", "selected by: last", "2026-01-02", "same block", "Computed now: n"):
        assert part in text


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
    assert "not run" in paths[0].read_text(encoding="utf-8")


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
    for claim in table.claims:
        run = table.row(claim.better).experiments and table.row(claim.worse).experiments
        assert decide(claim, table, found).status == ("holds" if run else "not run"), claim.text
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
