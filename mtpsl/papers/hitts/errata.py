"""Do the printed numbers of [HiTTs] agree with each other, and with those of [XTC]?

Recomputes from the printed cells the Delta_MTL column of [HiTTs, Tables 1 to 5 and 9], that of its
rows from [XTC], and what the text says in numbers; lists the known errata with their evidence.
"""

import math
from collections.abc import Iterator

from mtpsl.metrics import delta_mtl
from mtpsl.papers.hitts import printed as p
from mtpsl.papers.xtc import printed as x
from mtpsl.report.audit import Cells, Check, Erratum, PaperAudit, Printed, quoted

TOLERANCE = 0.011  # percent points: the cells are rounded, and so is the delta
DELTA_TABLES = (p.TABLE1, p.TABLE2, p.TABLE3, p.TABLE4, p.TABLE5, p.TABLE9)
DELTAS = "Delta_MTL as the mean over all metrics"
BORROWED = "Delta_MTL that [HiTTs, Table 2] prints for [XTC, Table 5], which prints none"
FEW_SHOT_DEPTH, FEW_SHOT_QUOTED = "Sec. 4.3, few-shot STL depth", 0.9633


def audit() -> PaperAudit:
    """Recomputes what the paper prints."""
    deltas, prose = tuple(_delta_checks()), tuple(_prose_checks())
    return PaperAudit(
        checks=(*deltas, *_borrowed_checks(), *prose), errata=(*_recomputed(deltas), *_DOCUMENTED)
    )


# --- the delta column ----------------------------------------------------------------------------


def _delta_rows() -> Iterator[tuple[Printed, str]]:
    for table in DELTA_TABLES:
        for row in table.rows:
            if not math.isnan(table.cell(row, "delta_mtl")):
                yield table, row


def _percent_delta(table: Printed, row: str) -> float:
    """Units cancel in a relative gain, so the printed cells serve as they are."""
    result, reference = (table.metrics(name) for name in (row, table.reference(row)))
    return 100 * delta_mtl(result, reference, average="metrics")


def _delta_checks() -> Iterator[Check]:
    for table, row in _delta_rows():
        yield Check(
            where=f"{table.source} {row}",
            printed=table.cell(row, "delta_mtl"),
            computed=_percent_delta(table, row),
            tolerance=TOLERANCE,
            about=DELTAS,
        )


def _borrowed_checks() -> Iterator[Check]:
    """The deltas of rows taken from [XTC, Table 5], from the cells printed there."""
    single = x.TABLE5.metrics("STL")
    for row in (row for row in x.TABLE5.rows if row != "STL"):
        yield Check(
            where=f"{x.TABLE5.source} {row}, delta of [HiTTs, Table 2]",
            printed=p.TABLE2.cell(_NAMES.get(row, row), "delta_mtl"),
            computed=100 * delta_mtl(x.TABLE5.metrics(row), single, average="metrics"),
            tolerance=TOLERANCE,
            about=BORROWED,
        )


def _plain_sum_agrees(table: Printed, row: str) -> bool:
    """Whether Eq. 9 holds as printed: a sum over the N metrics, without 1/N."""
    total = _percent_delta(table, row) * len(table.metrics(row))
    return abs(total - table.cell(row, "delta_mtl")) <= TOLERANCE


# --- the text ------------------------------------------------------------------------------------


def _prose_checks() -> Iterator[Check]:
    """The text's numbers in its order."""

    def less(table: Printed, row: str, other: str, column: str = "delta_mtl") -> float:
        return table.cell(row, column) - table.cell(other, column)

    t1, t3, t4, t5, t7, t8, t9 = (
        p.TABLE1, p.TABLE3, p.TABLE4, p.TABLE5, p.TABLE7, p.TABLE8, p.TABLE9)  # fmt: skip
    sec = "Sec. 4.2, NYUD-v2, Ours - XTC, delta"
    yield quoted(f"{sec}, one-label", 9.63, less(t1, "one-label/Ours", "one-label/XTC"))
    yield quoted(f"{sec}, random-labels", 8.62, less(t1, "random-labels/Ours", "random-labels/XTC"))
    sec = "Sec. 4.2, Cityscapes, Ours against XTC"
    ours, xtc = (t3.cell(f"one-label/{row}", "depth/abs_err") for row in ("Ours", "XTC"))
    yield quoted(f"{sec}, depth AbS in %", 15.09, 100 * (xtc - ours) / xtc)
    yield quoted(f"{sec}, delta", 6.98, less(t3, "one-label/Ours", "one-label/XTC"))
    sec = "Sec. 4.2, PASCAL-Context, Ours - XTC"
    for group, miou, delta in (("one-label", 6.8, 6.87), ("random-labels", 3.2, 3.84)):
        ours, xtc = f"{group}/Ours", f"{group}/XTC"
        yield quoted(f"{sec}, semseg, {group}", miou, less(t4, ours, xtc, "semseg/miou"), 1)
        yield quoted(f"{sec}, delta, {group}", delta, less(t4, ours, xtc))
    sec = "Sec. 4.3, components, delta"
    base = "MTL baseline"
    yield quoted(f"{sec}, HiTTs - MTL", 6.40, less(t5, "HiTTs", base))
    yield quoted(f"{sec}, w/o OE", -4.38, less(t5, "w/o Orthogonal Embeddings", "HiTTs"))
    sec = "Sec. 4.3, pseudo supervision, delta"
    yield quoted(f"{sec}, L_f - MTL", 9.64, less(t5, "HiTTs w. L_f", base))
    yield quoted(f"{sec}, L_p - MTL", 11.46, less(t5, "HiTTs w. L_p", base))
    yield quoted(f"{sec}, both - MTL", 13.12, less(t5, "HiTTs w. L_p + L_f", base))
    yield quoted(f"{sec}, MTL - STL, L_p*", 3.86, less(t5, "MTL w. L_p*", "STL w. L_p*"))
    yield quoted(f"{sec}, HiTTs L_p - MTL L_p*", 4.68, less(t5, "HiTTs w. L_p", "MTL w. L_p*"))
    yield quoted(FEW_SHOT_DEPTH, FEW_SHOT_QUOTED, t7.cell("STL", "depth/abs_err"), 4)
    sec = "Sec. 4.3, few-shot, gain over MTL in %"
    for row, gains in (
        ("HiTTs", (7.76, 14.86, 0.49)),
        ("HiTTs w. L_p + L_f", (19.82, 19.63, 3.85)),
    ):
        for column, gain in zip(p.NYUD_HEADLINES, gains, strict=False):
            result, reference = ({column: t7.cell(name, column)} for name in (row, base))
            yield quoted(f"{sec}, {row}, {column}", gain, 100 * delta_mtl(result, reference))
    sec = "Sec. 4.3, cost over the MTL baseline"
    for row, params, flops in (("XTC", 14.78, 154.35), ("Ours", 0.26, 14.33)):
        yield quoted(f"{sec}, {row}, M parameters", params, less(t8, row, base, "cost/params"))
        yield quoted(f"{sec}, {row}, G FLOPs", flops, less(t8, row, base, "cost/flops"))
    sec = "App. C.1, delta over the MTL baseline"
    for group, single, multi in (("one-label", 0.60, 2.84), ("random-labels", 0.97, 3.33)):
        for scale, gain in (("SS", single), ("MS", multi)):
            row = f"{group}/HiTTs ({scale})"
            yield quoted(f"{sec}, {scale}, {group}", gain, less(t9, row, f"{group}/{base}"))


# --- errata --------------------------------------------------------------------------------------

# Rows of [XTC] that [HiTTs, Tables 2 and 4] show in another protocol, by their names there.
_NAMES = {"MTL": "MTL baseline", "X-task": "X-Task", "Ours": "XTC", "Ours + Uncertainty": "XTC+"}
_XTC_TABLE5 = {_NAMES.get(row, row): cells for row, cells in x.TABLE5.rows.items()}
_XTC_TABLE3 = {
    f"{group}-label{plural}/{there}": x.TABLE3.rows[f"{group}/{here}"]
    for group, plural in (("one", ""), ("random", "s"))
    for here, there in ((x.SL, "MTL baseline"), (x.SSL, "MTL ssl"), (x.OURS, "XTC"))
}
# Trainable parameters of the mapping networks in the released code of [XTC], counted.
_MAPPING_RELEASED, _MAPPING_OLDER = 14_819_328, 14_779_008


def _same(table: Printed, cells: dict[str, Cells]) -> list[str]:
    """The rows that print exactly these cells."""
    return [row for row, values in cells.items() if tuple(table.metrics(row).values()) == values]


def _recomputed(deltas: tuple[Check, ...]) -> Iterator[Erratum]:
    """What is wrong and can be shown from printed cells."""
    sums = sum(_plain_sum_agrees(table, row) for table, row in _delta_rows())
    means = sum(check.agrees for check in deltas)
    yield Erratum(
        "Eq. 9",
        "the sum over the N metrics lacks a factor 1/N",
        f"as printed it gives {sums} of {len(deltas)} printed deltas, with 1/N {means}",
        remains=sums == 0 and means == len(deltas),
    )
    few_shot = p.TABLE7.cell("STL", "depth/abs_err")
    yield Erratum(
        FEW_SHOT_DEPTH,
        "the text and Table 7 disagree",
        f"text {FEW_SHOT_QUOTED}, Table 7 {few_shot}",
        remains=few_shot != FEW_SHOT_QUOTED,
    )
    copied = _same(p.TABLE2, _XTC_TABLE5)
    yield Erratum(
        "Table 2",
        "rows of [XTC] (200 epochs, batch 2) stand beside Ours (400 epochs, batch 8)",
        f"{len(copied)} rows equal [XTC, Table 5] in every cell, STL among them",
        remains=len(copied) == len(_XTC_TABLE5),
    )
    copied = _same(p.TABLE4, _XTC_TABLE3)
    yield Erratum(
        "Table 4",
        "mixed provenance: the two settings have different kinds of MTL baselines",
        f"equal to [XTC, Table 3] in every cell: {', '.join(copied)}",
        remains=set(_XTC_TABLE3) - set(copied) == {"one-label/MTL baseline"},
    )
    baseline, tokens = (
        p.TABLE6.cell(f"unlabeled/{row}", "semseg/pixel_acc") for row in ("MTL baseline", "HiTTs")
    )
    yield Erratum(
        "Table 6",
        'HiTTs "generalizes better" on unlabeled data in eight of nine metrics only',
        f"semseg pAcc: MTL {baseline}, HiTTs {tokens}",
        remains=tokens < baseline,
    )
    extra = p.TABLE8.cell("XTC", "cost/params") - p.TABLE8.cell("MTL baseline", "cost/params")
    released, older = (count / 1e6 for count in (_MAPPING_RELEASED, _MAPPING_OLDER))
    yield Erratum(
        "Table 8",
        "XTC's parameters are those of an older mapping network than the released one",
        f"+{extra:.2f} M printed; released {released:.2f} M, older file {older:.2f} M",
        remains=abs(extra - older) < 0.006 < abs(extra - released),
    )


# Read in the paper's text, with nothing to recompute; formulas come from an extraction of the PDF.
_DOCUMENTED = (
    Erratum(
        "Sec. 3.2",
        "MLP_i(theta_i) in the sentence, theta'_i in Eq. 3",
        "only theta'_i has passed through Sec. 3.1",
    ),
    Erratum(
        "Eq. 4",
        "phi_i x G_i is not defined",
        "phi_i is C_p x C and G_i has C_p channels; the factor needs C channels",
    ),
    Erratum(
        "Eq. 8",
        "the rows are said to be prediction-level and feature-level",
        "as typeset they are labeled (alpha_i) and unlabeled (1 - alpha_i) tasks",
    ),
    Erratum(
        "Eq. 12",
        "the loss is a function of G_i, its formula uses G'_i",
        "Eq. 10 and Eq. 13 predict from G'_i and pass G'_i",
    ),
    Erratum(
        "Sec. 4.3",
        "cross-task interactions are credited to intra-task learning",
        "by Sec. 3.1 inter-task learning is what lets tasks interact",
    ),
    Erratum(
        "Fig. 16",
        'the caption takes pseudo labels from the "gloabl" tokens',
        "App. C.2 and Sec. 3.3 take them from the fine-grained ones",
    ),
    Erratum(
        "Eq. 18",
        "the sum over scales ends at 5",
        "Eq. 14 has the scales j = 0, 1, 2, 3 (or a 3 was misread when extracted)",
    ),
    Erratum(
        "App. A.2",
        "\"after intra-task learning\" for F'^(j) and theta'^(j)",
        "the scales are fused before intra-task learning, so inter-task is meant",
    ),
    Erratum(
        "Sec. 4.2",
        '"MTAN [17]" and "Table 4.1"',
        "MTAN is [20] and the numbers are in Table 1",
    ),
)
