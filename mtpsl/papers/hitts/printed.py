"""The printed cells of the tables of [HiTTs], each typed once, in the paper's own units.

Jingdong Zhang, Hanrong Ye, Xin Li, Wenping Wang, Dan Xu. Multi-Task Label Discovery via
Hierarchical Task Tokens for Partially Annotated Dense Predictions.

``tables`` answers them with runs. ``audit`` recomputes from them the Delta_MTL column of Tables 1
to 5 and 9, that of the rows from [XTC], and what the text says in numbers.
"""

import math
from collections.abc import Iterator

from mtpsl.metrics import delta_mtl
from mtpsl.papers.xtc import printed as x
from mtpsl.report.audit import (
    NONE,
    Cells,
    Check,
    Erratum,
    PaperAudit,
    Printed,
    quoted,
    read_cells,
    read_errata,
)

NYUD_METRICS = (
    "semseg/miou",
    "semseg/pixel_acc",
    "depth/abs_err",
    "depth/rmse",
    "normals/mean_err",
    "normals/angle_rmse",
    "normals/within_11_25",
    "normals/within_22_5",
    "normals/within_30",
)
NYUD = (*NYUD_METRICS, "delta_mtl")
NYUD_HEADLINES = (*x.NYUD, "delta_mtl")
CITYSCAPES = (*NYUD_METRICS[:4], "delta_mtl")
PASCAL = (*x.PASCAL, "delta_mtl")
COST = ("cost/params", "cost/flops", "cost/memory")

# fmt: off
TABLE1 = Printed("[HiTTs, Table 1]", NYUD, read_cells("""
one-label/STL: 29.28 55.41 0.7182 1.0151 30.1971 37.7115 23.1532 46.4046 58.5216 -
one-label/MTL baseline: 30.92 58.23 0.5982 0.8544 31.8509 38.6313 19.7083 41.2614 53.6381 0.11
one-label/MTAN: 30.92 57.14 0.6196 0.8477 30.0278 36.7808 21.4199 44.7805 57.5720 3.26
one-label/XTC: 33.46 60.95 0.5728 0.8056 31.1492 37.8211 19.8410 42.2268 54.9997 3.60
one-label/Ours: 35.81 63.22 0.5540 0.7939 28.5131 36.1738 26.4985 50.2357 61.8343 13.23
random-labels/STL: 34.49 60.52 0.6272 0.8824 27.9681 34.9293 24.6011 49.7888 62.4425 -
random-labels/MTL baseline: 35.49 61.81 0.5503 0.7874 29.9541 36.7726 21.6933 45.0412 57.7516 -1.47
random-labels/MTAN: 35.96 61.64 0.6120 0.8272 28.6933 35.3528 23.0253 47.2287 60.1113 -0.48
random-labels/XTC: 38.11 64.37 0.5387 0.7755 29.6549 36.3992 21.7058 45.4801 58.4236 0.66
random-labels/Ours: 41.78 66.50 0.5177 0.7472 27.3488 34.6820 27.1619 51.8924 63.7670 9.28
"""))

TABLE2 = Printed("[HiTTs, Table 2]", NYUD_HEADLINES, {
    "STL": (37.45, 0.6079, 25.94, NONE),
    "MTL baseline": (36.95, 0.5510, 29.51, -1.91),
    "MTAN": (39.39, 0.5696, 28.89, 0.03),
    "X-Task": (38.91, 0.5342, 29.94, 0.20),
    "Uncertainty": (36.46, 0.5376, 27.58, 0.87),
    "GradNorm": (37.19, 0.5775, 28.51, -1.87),
    "MGDA": (38.65, 0.5572, 28.89, 0.06),
    "DWA": (36.46, 0.5429, 29.45, -1.83),
    "XTC": (41.00, 0.5148, 28.58, 4.87),
    "XTC+": (41.09, 0.5090, 26.78, 7.58),
    "CCR": (43.09, 0.4894, 27.87, 9.04),
    "Ours": (44.32, 0.4813, 25.76, 13.29),
    "Ours + L_f": (45.47, 0.4763, 25.72, 14.64),
})

TABLE3 = Printed("[HiTTs, Table 3]", CITYSCAPES, {
    "one-label/STL": (69.69, 91.91, 0.0142, 0.0271, NONE),
    "one-label/MTL baseline": (69.94, 91.62, 0.0159, 0.0292, -4.92),
    "one-label/MTAN": (71.12, 92.35, 0.0146, 0.0278, -0.72),
    "one-label/XTC": (73.23, 92.73, 0.0159, 0.0293, -3.53),
    "one-label/Ours": (73.65, 92.81, 0.0135, 0.0265, 3.45),
})

TABLE4 = Printed("[HiTTs, Table 4]", PASCAL, {
    "one-label/STL": (47.7, 56.2, 16.0, 61.9, 64.0, NONE),
    "one-label/MTL baseline": (48.4, 55.1, 16.0, 61.6, 66.5, 0.59),
    "one-label/MTL ssl": (45.0, 54.0, 16.9, 61.7, 62.4, -3.60),
    "one-label/MTL w. CL": (48.5, 55.4, 17.1, 61.3, 64.6, -1.33),
    "one-label/MTL w. DL": (48.2, 56.0, 17.1, 61.7, 64.7, -1.08),
    "one-label/XTC": (49.5, 55.8, 17.0, 61.7, 65.1, -0.36),
    "one-label/Ours": (56.3, 57.3, 15.4, 63.0, 68.5, 6.51),
    "random-labels/STL": (60.9, 55.3, 14.7, 64.8, 66.8, NONE),
    "random-labels/MTL baseline": (58.4, 55.3, 16.0, 63.9, 67.8, -2.57),
    "random-labels/MTL ssl": (59.0, 55.8, 15.9, 64.0, 66.9, -2.29),
    "random-labels/MTL w. CL": (59.0, 55.3, 16.0, 63.8, 67.8, -2.40),
    "random-labels/MTL w. DL": (57.9, 55.2, 16.2, 63.4, 67.4, -3.31),
    "random-labels/XTC": (59.0, 55.6, 15.9, 64.0, 67.8, -2.10),
    "random-labels/Ours": (62.2, 55.7, 14.7, 64.8, 70.7, 1.74),
})

# The rows that Table 1 also prints agree with it cell by cell, so they are taken from there.
TABLE5 = Printed("[HiTTs, Table 5]", NYUD, {
    "STL": TABLE1.rows["one-label/STL"],
    "MTL baseline": TABLE1.rows["one-label/MTL baseline"],
    **read_cells("""
HiTTs: 32.48 59.61 0.5844 0.8382 30.0847 37.5827 23.9975 46.4790 58.2146 6.51
w/o Orthogonal Embeddings: 27.38 55.08 0.6049 0.8626 30.5904 38.1046 23.5233 45.7012 57.1902 2.13
w/o Inter-Task Learning: 31.26 57.99 0.5966 0.8592 30.2911 37.7714 22.7802 46.2590 58.0880 4.51
w/o Intra-Task Learning: 31.44 58.50 0.5910 0.8533 30.1432 37.6719 23.3251 46.4354 58.1508 5.23
w/o Global Task Tokens: 30.03 58.21 0.5823 0.8389 30.0005 37.3750 23.4160 46.1824 58.2909 5.08
w/o Fine-grained Task Tokens: 30.53 57.18 0.5842 0.8565 30.0891 37.4465 23.2297 45.9603 58.0509 4.60
STL w. L_p*: 30.78 58.94 0.6693 0.9362 30.2420 37.8601 23.5830 46.4743 58.3739 3.03
MTL w. L_p*: 33.59 61.79 0.5882 0.8554 29.8174 36.9781 23.2875 45.8803 58.1061 6.89
HiTTs w. L_f: 33.24 60.74 0.5708 0.8200 29.2227 36.9305 25.7968 48.8173 60.2608 9.75
HiTTs w. L_p: 35.22 62.93 0.5613 0.8014 28.8852 36.4316 25.3873 49.1251 60.9806 11.57
"""),
    "HiTTs w. L_p + L_f": TABLE1.rows["one-label/Ours"],
})

# On the training set, apart for the images that carry the task's label and those that do not.
TABLE6 = Printed("[HiTTs, Table 6]", NYUD_METRICS, read_cells("""
labeled/MTL baseline: 89.00 96.04 0.2041 0.3434 25.9280 32.0824 25.8276 52.0758 65.4135
unlabeled/MTL baseline: 34.31 61.56 0.5823 0.8375 31.7697 38.5071 19.5042 41.2401 53.8490
labeled/HiTTs: 86.04 95.00 0.3016 0.4625 21.7911 28.9368 38.8125 63.6280 73.8326
unlabeled/HiTTs: 34.69 61.48 0.5699 0.8319 29.8920 37.3331 23.9788 46.4809 58.4659
labeled/HiTTs w. L_p + L_f: 86.63 94.89 0.3173 0.4770 20.9220 28.1260 41.2846 66.0712 75.6904
unlabeled/HiTTs w. L_p + L_f: 37.25 63.72 0.5563 0.8074 28.5169 36.1536 26.4528 50.0344 61.5778
"""))

# Each task's columns come from its own few-shot run.
TABLE7 = Printed("[HiTTs, Table 7]", NYUD_METRICS, read_cells("""
STL: 5.80 26.06 0.9533 1.2907 47.5281 53.6422 5.4343 17.8888 27.9915
MTL baseline: 16.75 41.01 0.9165 1.2968 40.0456 46.3370 12.0348 26.8520 37.2863
HiTTs: 18.05 44.69 0.7803 1.1272 39.8508 47.1113 14.1108 29.4719 39.5924
HiTTs w. L_p + L_f: 20.07 45.62 0.7366 1.0206 38.5029 46.9907 17.1082 34.7171 45.1765
"""))

TABLE8 = Printed("[HiTTs, Table 8]", COST, {
    "MTL baseline": (25.06, 68.81, 9.36),
    "MTAN": (44.23, 217.26, 43.46),
    "XTC": (39.84, 223.16, 31.42),
    "Ours": (25.32, 83.14, 21.19),
})

# STL and MTL baseline are Table 4's, cell by cell.
TABLE9 = Printed("[HiTTs, Table 9]", PASCAL, {
    "one-label/STL": TABLE4.rows["one-label/STL"],
    "one-label/MTL baseline": TABLE4.rows["one-label/MTL baseline"],
    "one-label/HiTTs (SS)": (51.0, 54.7, 16.2, 61.7, 66.1, 1.19),
    "one-label/HiTTs (MS)": (52.3, 56.2, 15.8, 62.0, 67.9, 3.43),
    "random-labels/STL": TABLE4.rows["random-labels/STL"],
    "random-labels/MTL baseline": TABLE4.rows["random-labels/MTL baseline"],
    "random-labels/HiTTs (SS)": (59.1, 53.4, 15.0, 64.1, 67.8, -1.60),
    "random-labels/HiTTs (MS)": (60.3, 55.3, 14.7, 64.6, 70.2, 0.76),
})
# fmt: on

# --- audit ---------------------------------------------------------------------------------------

TOLERANCE = 0.011  # percent points: the cells are rounded, and so is the delta
DELTA_TABLES = (TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, TABLE9)
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


def _delta(where: str, printed: float, computed: float, about: str) -> Check:
    return Check(where=where, printed=printed, computed=computed, tolerance=TOLERANCE, about=about)


def _delta_checks() -> Iterator[Check]:
    for table, row in _delta_rows():
        computed = _percent_delta(table, row)
        yield _delta(f"{table.source} {row}", table.cell(row, "delta_mtl"), computed, DELTAS)


def _borrowed_checks() -> Iterator[Check]:
    """The deltas of rows taken from [XTC, Table 5], from the cells printed there."""
    single = x.TABLE5.metrics("STL")
    for row in (row for row in x.TABLE5.rows if row != "STL"):
        where = f"{x.TABLE5.source} {row}, delta of [HiTTs, Table 2]"
        computed = 100 * delta_mtl(x.TABLE5.metrics(row), single, average="metrics")
        yield _delta(where, TABLE2.cell(_NAMES.get(row, row), "delta_mtl"), computed, BORROWED)


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
        TABLE1, TABLE3, TABLE4, TABLE5, TABLE7, TABLE8, TABLE9)  # fmt: skip
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
        for column, gain in zip(NYUD_HEADLINES, gains, strict=False):
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
    few_shot = TABLE7.cell("STL", "depth/abs_err")
    yield Erratum(
        FEW_SHOT_DEPTH,
        "the text and Table 7 disagree",
        f"text {FEW_SHOT_QUOTED}, Table 7 {few_shot}",
        remains=few_shot != FEW_SHOT_QUOTED,
    )
    copied = _same(TABLE2, _XTC_TABLE5)
    yield Erratum(
        "Table 2",
        "rows of [XTC] (200 epochs, batch 2) stand beside Ours (400 epochs, batch 8)",
        f"{len(copied)} rows equal [XTC, Table 5] in every cell, STL among them",
        remains=len(copied) == len(_XTC_TABLE5),
    )
    copied = _same(TABLE4, _XTC_TABLE3)
    yield Erratum(
        "Table 4",
        "mixed provenance: the two settings have different kinds of MTL baselines",
        f"equal to [XTC, Table 3] in every cell: {', '.join(copied)}",
        remains=set(_XTC_TABLE3) - set(copied) == {"one-label/MTL baseline"},
    )
    baseline, tokens = (
        TABLE6.cell(f"unlabeled/{row}", "semseg/pixel_acc") for row in ("MTL baseline", "HiTTs")
    )
    yield Erratum(
        "Table 6",
        'HiTTs "generalizes better" on unlabeled data in eight of nine metrics only',
        f"semseg pAcc: MTL {baseline}, HiTTs {tokens}",
        remains=tokens < baseline,
    )
    extra = TABLE8.cell("XTC", "cost/params") - TABLE8.cell("MTL baseline", "cost/params")
    released, older = (count / 1e6 for count in (_MAPPING_RELEASED, _MAPPING_OLDER))
    yield Erratum(
        "Table 8",
        "XTC's parameters are those of an older mapping network than the released one",
        f"+{extra:.2f} M printed; released {released:.2f} M, older file {older:.2f} M",
        remains=abs(extra - older) < 0.006 < abs(extra - released),
    )


# Read in the paper's text, with nothing to recompute; formulas come from an extraction of the PDF.
_DOCUMENTED = read_errata("""
Sec. 3.2: MLP_i(theta_i) in the sentence, theta'_i in Eq. 3
    only theta'_i has passed through Sec. 3.1
Eq. 4: phi_i x G_i is not defined
    phi_i is C_p x C and G_i has C_p channels; the factor needs C channels
Eq. 8: the rows are said to be prediction-level and feature-level
    as typeset they are labeled (alpha_i) and unlabeled (1 - alpha_i) tasks
Eq. 12: the loss is a function of G_i, its formula uses G'_i
    Eq. 10 and Eq. 13 predict from G'_i and pass G'_i
Sec. 4.3: cross-task interactions are credited to intra-task learning
    by Sec. 3.1 inter-task learning is what lets tasks interact
Fig. 16: the caption takes pseudo labels from the "gloabl" tokens
    App. C.2 and Sec. 3.3 take them from the fine-grained ones
Eq. 18: the sum over scales ends at 5
    Eq. 14 has the scales j = 0, 1, 2, 3 (or a 3 was misread when extracted)
App. A.2: "after intra-task learning" for F'^(j) and theta'^(j)
    the scales are fused before intra-task learning, so inter-task is meant
Sec. 4.2: "MTAN [17]" and "Table 4.1"
    MTAN is [20] and the numbers are in Table 1
""")
