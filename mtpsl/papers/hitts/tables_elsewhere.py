"""The tables of [HiTTs] on Cityscapes and PASCAL-Context as rows and claims."""

from collections.abc import Mapping

from mtpsl.papers.hitts import printed
from mtpsl.papers.hitts.rows import (
    CITYSCAPES,
    PASCAL,
    SETTINGS,
    STEPS,
    hitts,
    make_row,
    mtl,
    other,
    ours,
    stl,
)
from mtpsl.papers.xtc.tables import PASCAL_SIZE
from mtpsl.report.audit import Printed
from mtpsl.report.tables import Claim, Row, Table
from mtpsl.runs.experiment import Experiment, LabelSetting

Runs = Mapping[str, tuple[Experiment, ...]]  # a row's label -> what it trains


def _rows(cells: Printed, group: str, runs: Runs) -> tuple[Row, ...]:
    return tuple(
        make_row(cells, f"{group.lower()}/{label}", experiments, group)
        for label, experiments in runs.items()
    )


def _claim(group: str, better: str, worse: str, words: str, column: str = "delta_mtl") -> Claim:
    """Words of two rows of a block; ``{}`` in them stands for the comparison."""
    block = group.lower()
    return Claim(
        text=f"{group}: {words.format(f'{better} beats {worse}')}",
        better=f"{block}/{better}",
        worse=f"{block}/{worse}",
        column=column,
    )


# --- Table 3 -------------------------------------------------------------------------------------

STREETS: LabelSetting = "one_label"
STREET_ROWS = ("MTL baseline", "MTAN", "XTC")


def _table3_claims(group: str) -> tuple[Claim, ...]:
    semseg, depth = "semseg/miou", "depth/abs_err"
    return (
        *(_claim(group, "Ours", row, "{} on Δ_MTL") for row in STREET_ROWS),
        *(_claim(group, "Ours", row, "{} on semseg mIoU", semseg) for row in STREET_ROWS),
        *(_claim(group, "Ours", row, "{} on depth AbS", depth) for row in STREET_ROWS),
        _claim(group, "Ours", "STL", "gain on both tasks: {} on semseg mIoU", semseg),
        _claim(group, "Ours", "STL", "gain on both tasks: {} on depth AbS", depth),
        *(
            _claim(group, "STL", row, "no other gains on both: {} on depth AbS", depth)
            for row in STREET_ROWS
        ),
    )


TABLE3 = Table(
    name="table3",
    paper="hitts",
    title="Comparison on Cityscapes under the one-label setting",
    source=printed.TABLE3.source,
    columns=printed.TABLE3.columns,
    rows=_rows(
        printed.TABLE3,
        "One-Label",
        {
            "STL": stl(STREETS, CITYSCAPES),
            "MTL baseline": (mtl(STREETS, CITYSCAPES),),
            "MTAN": (other("MTAN", STREETS, CITYSCAPES),),
            "XTC": (other("XTC", STREETS, CITYSCAPES),),
            "Ours": (ours(STREETS, CITYSCAPES),),
        },
    ),
    reference={"One-Label": "one-label/STL"},
    claims=_table3_claims("One-Label"),
    notes=(
        "Depth is inverse depth, as stored by everyone who uses this benchmark. Its 100 bins are "
        "logarithmic over the labeled values.",
        STEPS,
    ),
)

# --- Table 4 -------------------------------------------------------------------------------------

PEOPLE_ROWS = ("MTL baseline", "MTL ssl", "MTL w. CL", "MTL w. DL", "XTC")


def _table4_runs(setting: LabelSetting) -> Runs:
    return {
        "STL": stl(setting, PASCAL),
        "MTL baseline": (mtl(setting, PASCAL),),
        **{row: (other(row, setting, PASCAL),) for row in PEOPLE_ROWS[1:]},
        "Ours": (ours(setting, PASCAL),),
    }


def _table4_claims(group: str) -> tuple[Claim, ...]:
    tasks = [column for column in printed.PASCAL if column != "delta_mtl"]
    return (
        *(_claim(group, "Ours", row, "{} on Δ_MTL") for row in PEOPLE_ROWS),
        *(_claim(group, "Ours", "XTC", f"{{}} on {column}", column) for column in tasks),
    )


_WEIGHTS = "The encoder starts from random weights in every row, in the protocol from ImageNet's."

TABLE4 = Table(
    name="table4",
    paper="hitts",
    title="Comparison on PASCAL-Context under the one-label and random-labels settings",
    source=printed.TABLE4.source,
    columns=printed.TABLE4.columns,
    rows=tuple(
        row
        for group, s in SETTINGS.items()
        for row in _rows(printed.TABLE4, group, _table4_runs(s))
    ),
    reference={group: f"{group.lower()}/STL" for group in SETTINGS},
    claims=tuple(claim for group in SETTINGS for claim in _table4_claims(group)),
    notes=(
        "The paper takes the rows ssl and XTC of both settings, and the MTL baseline of "
        "random-labels, from [XTC, Table 3]. Here every row is trained alike.",
        _WEIGHTS,
        PASCAL_SIZE,
    ),
)

# --- Table 9 -------------------------------------------------------------------------------------

SINGLE, MULTI = "HiTTs (SS)", "HiTTs (MS)"


def _table9_runs(setting: LabelSetting) -> Runs:
    return {
        "STL": stl(setting, PASCAL),
        "MTL baseline": (mtl(setting, PASCAL),),
        SINGLE: (hitts(setting, PASCAL, multi_scale=False),),
        MULTI: (hitts(setting, PASCAL),),
    }


TABLE9 = Table(
    name="table9",
    paper="hitts",
    title="Global task tokens on one scale and on several, on PASCAL-Context",
    source=printed.TABLE9.source,
    columns=printed.TABLE9.columns,
    rows=tuple(
        row
        for group, s in SETTINGS.items()
        for row in _rows(printed.TABLE9, group, _table9_runs(s))
    ),
    reference={group: f"{group.lower()}/STL" for group in SETTINGS},
    claims=tuple(
        claim
        for group in SETTINGS
        for claim in (
            _claim(group, SINGLE, "MTL baseline", "{} on Δ_MTL"),
            _claim(group, MULTI, SINGLE, "Several scales help: {} on Δ_MTL"),
        )
    ),
    notes=(
        "Both rows of HiTTs are read as trained with L_s alone: their cells are below those of "
        "Ours in Table 4.",
        _WEIGHTS,
        PASCAL_SIZE,
    ),
)

TABLES = (TABLE3, TABLE4, TABLE9)
