"""The printed cells of the tables of [RDC], each typed once, in the paper's own units.

Meixuan Li, Tianyu Li, Guoqing Wang, Peng Wang, Yang Yang, Heng Tao Shen. Region-aware Distribution
Contrast: A Novel Approach to Multi-Task Partially Supervised Learning. ECCV 2024. arXiv:2403.10252

The text they are typed from has lost the check marks that say which strategy a row has;
``CHECK_MARKS`` says how each was found again. ``audit`` recomputes the gains that Tables 1 and 2
print in brackets, and puts what the text says of the tables to their cells.
"""

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
    read_cells,
    read_errata,
)
from mtpsl.report.ledger import against

NYUD, CITYSCAPES = x.NYUD, x.CITYSCAPES

XTC, DEJAVU, OURS = (f"{name} on SegNet" for name in ("XTC", "DejaVu", "RDC"))
XTC_HRNET, DEJAVU_HRNET = "XTC on HRNet18", "DejaVu on HRNet18"
PATCH, REGION = "RDC by patch on HRNet18", "RDC by region on HRNet18"
EXPERT, EXPERT_OURS = "TaskExpert on ViT-L", "TaskExpert + RDC on ViT-L"
VECTOR, PIXEL, GAUSSIAN = "vector", "pixel", "gaussian"
KL, WASSERSTEIN = "KL divergence", "Wasserstein distance"

TABLE3 = Printed(
    "[RDC, Table 3]",
    NYUD,
    read_cells("""
one/vector by patch: 40.24 0.4998 7.9518
one/pixel by patch: 41.50 0.4934 8.3648
one/gaussian by patch: 41.56 0.4884 7.7141
one/vector by region: 41.84 0.4727 5.8098
one/pixel by region: 42.05 0.4663 4.9150
one/gaussian by region: 42.28 0.4641 4.8613
random/vector by patch: 43.98 0.4795 7.4464
random/pixel by patch: 44.62 0.4777 7.8873
random/gaussian by patch: 45.79 0.4619 7.3747
random/vector by region: 45.83 0.4630 4.8393
random/pixel by region: 46.41 0.4518 4.8442
random/gaussian by region: 46.21 0.4482 4.4907
"""),
)


def _again(row: str) -> Cells:
    """A row of Table 3 as Tables 1 and 5 print it, normals to two digits."""
    semseg, depth, normals = TABLE3.rows[row]
    return semseg, depth, round(normals, 2)


# fmt: off
# XTC's rows on SegNet are those of its own paper, cell by cell.
TABLE1 = Printed("[RDC, Table 1]", NYUD, {
    f"full/{EXPERT}": (57.58, 0.3730, 5.90),
    f"one/{XTC}": x.TABLE2.rows[f"one/{x.OURS}"],
    f"one/{DEJAVU}": (31.02, 0.5959, 32.15),
    f"one/{OURS}": (31.79, 0.5835, 30.38),
    f"one/{XTC_HRNET}": (39.42, 0.5071, 14.79),
    f"one/{DEJAVU_HRNET}": (NONE, NONE, NONE),
    f"one/{PATCH}": _again("one/gaussian by patch"),
    f"one/{REGION}": _again("one/gaussian by region"),
    f"one/{EXPERT}": (49.53, 0.4305, 11.12),
    f"one/{EXPERT_OURS}": (55.81, 0.4092, 8.46),
    f"random/{XTC}": x.TABLE2.rows[f"random/{x.OURS}"],
    f"random/{DEJAVU}": (35.72, 0.5665, 29.82),
    f"random/{OURS}": (37.40, 0.5428, 28.97),
    f"random/{XTC_HRNET}": (41.35, 0.4845, 14.34),
    f"random/{DEJAVU_HRNET}": (NONE, NONE, NONE),
    f"random/{PATCH}": _again("random/gaussian by patch"),
    f"random/{REGION}": _again("random/gaussian by region"),
    f"random/{EXPERT}": (56.32, 0.4282, 6.47),
    f"random/{EXPERT_OURS}": (57.14, 0.3977, 4.78),
})

TABLE2 = Printed("[RDC, Table 2]", CITYSCAPES, {
    XTC: x.TABLE1.rows[f"one/{x.OURS}"],
    XTC_HRNET: (81.73, 0.0157),
    VECTOR: (82.76, 0.0145),
    PIXEL: (83.20, 0.0141),
    GAUSSIAN: (83.92, 0.0121),
})

TABLE4 = Printed("[RDC, Table 4]", NYUD, {
    VECTOR: (49.00, 0.4206, 8.1878),
    GAUSSIAN: (51.14, 0.3982, 4.8108),
})

TABLE5 = Printed("[RDC, Table 5]", NYUD, {
    f"one/{KL}": (41.15, 0.4739, 4.94),
    f"one/{WASSERSTEIN}": _again("one/gaussian by region"),
    f"random/{KL}": (45.53, 0.4539, 5.04),
    f"random/{WASSERSTEIN}": _again("random/gaussian by region"),
})

TABLE6 = Printed("[RDC, Table 6]", NYUD, {
    "MTL": (46.38, 0.4660, 6.7298),
    "XTC": (47.20, 0.4477, 5.1192),
    VECTOR: (47.64, 0.4231, 5.1072),
    PIXEL: (50.06, 0.4168, 4.5318),
    GAUSSIAN: (50.83, 0.4051, 3.2878),
})

# fmt: on

CHECK_MARKS: dict[str, str] = {
    "Table 1": 'of two rows on HRNet18 the second is "Ours", and the text says that patches '
    "improve and regions improve further",
    "Table 2": "three rows in the order of the columns Vector, Pixel, Gaussian, the last one "
    '"Ours"',
    "Table 3": "rows 3 and 6 of both blocks are the rows by patch and by region of Table 1, so "
    "rows 1 to 3 are by patch and each third one is Gaussian; of the two before it, 46.41 mIoU is "
    'above the Gaussian 46.21, while Gaussian "consistently outperforms" Vector: it is Pixel',
    "Table 4": 'two rows in the order of the columns Vector, Gaussian, the second one "Ours"',
    "Table 6": "as in Table 2",
}
"""Table -> how it is known which strategy a row has."""

# fmt: off
GAINS: dict[str, tuple[Printed, str, dict[str, Cells]]] = {
    "Table 1, SegNet": (TABLE1, DEJAVU, {
        f"one/{OURS}": (2.48, 2.25, 5.51), f"random/{OURS}": (4.70, 4.18, 2.85),
    }),
    "Table 1, HRNet18": (TABLE1, XTC_HRNET, {
        f"one/{PATCH}": (5.43, 3.69, 47.87), f"one/{REGION}": (7.26, 8.48, 67.14),
        f"random/{PATCH}": (10.74, 4.66, 48.61), f"random/{REGION}": (11.75, 7.49, 68.69),
    }),
    "Table 1, ViT-L": (TABLE1, EXPERT, {
        f"one/{EXPERT_OURS}": (12.68, 4.95, 23.92), f"random/{EXPERT_OURS}": (1.46, 7.12, 26.12),
    }),
    "Table 2": (TABLE2, XTC_HRNET, {
        VECTOR: (1.26, 7.64), PIXEL: (1.80, 10.19), GAUSSIAN: (2.68, 22.73),
    }),
}
# fmt: on
"""Block -> table, the label of the row that is gained over, and the per cent in brackets."""

# --- audit ---------------------------------------------------------------------------------------

BRACKETS = "Gains in brackets over the row of the same block"


def audit() -> PaperAudit:
    """Recomputes what the paper prints and puts its claims to its cells."""
    from mtpsl.papers.rdc.tables import TABLES  # which are made of the cells above

    checks = tuple(_gain_checks())
    failing = [
        (n, c.text) for n, table in TABLES.items() for c in table.claims if against(c, table)
    ]
    return PaperAudit(
        checks=checks,
        errata=(*_wrong_gains(checks), _surpasses(failing), _perfect_segments(), *_DOCUMENTED),
        contradictions=tuple(f"{n} {text}" for n, text in failing if (n, text) != SURPASSES),
    )


def _gain_checks() -> Iterator[Check]:
    for block, (table, over, rows) in GAINS.items():
        for row, gains in rows.items():
            reference = table.rows[row.rpartition("/")[0] + "/" * ("/" in row) + over]
            for column, gain, *cells in zip(
                table.columns, gains, table.rows[row], reference, strict=True
            ):
                result, base = ({column: cell} for cell in cells)
                yield Check(
                    where=f"{block}, {row}, {column}",
                    printed=gain,
                    computed=100 * delta_mtl(result, base),
                    tolerance=0.00501,  # half a digit, and what floating point adds to a tie
                    about=BRACKETS,
                )


_SLIPS = {  # where -> what the printed per cent would need
    f"Table 1, SegNet, one/{OURS}, depth/abs_err": "0.5825 in place of 0.5835; the text repeats it",
    f"Table 2, {GAUSSIAN}, depth/abs_err": "0.01213 in place of 0.0121",
}


def _wrong_gains(checks: tuple[Check, ...]) -> Iterator[Erratum]:
    by_place = {check.where: check for check in checks}
    for where, needs in _SLIPS.items():
        check = by_place[where]
        printed, computed = f"{check.printed:.2f}", f"{check.computed:.2f}"
        what = f"the gain of {printed} % is {computed} % by the cells"
        yield Erratum(where, what, f"it would need {needs}", remains=not check.agrees)


# Table and text of the one claim that its cells do not bear out on every column.
SURPASSES = (
    "table3",
    "Gaussian surpasses pixel contrast: random/gaussian by region beats random/pixel by region on "
    "semseg mIoU, depth AbS and normals mErr",
)


def _surpasses(failing: list[tuple[str, str]]) -> Erratum:
    gaussian, pixel = (TABLE3.rows[f"random/{row} by region"][0] for row in (GAUSSIAN, PIXEL))
    return Erratum(
        "Table 3",
        'the text: Gaussian "approaches or even surpasses" pixel contrast; not in every cell',
        f"it does in 11 of 12; random labels by region, semseg mIoU: {gaussian} and {pixel}",
        remains=failing == [SURPASSES] and gaussian < pixel,
    )


def _perfect_segments() -> Erratum:
    """Table 4 has the segments of the labels where Table 6 has those of SAM."""
    pairs = [(TABLE4.rows[row], TABLE6.rows[row]) for row in (VECTOR, GAUSSIAN)]
    normals = " and ".join(f"{labels[2]:g} against {sam[2]:g}" for labels, sam in pairs)
    return Erratum(
        "Tables 4 and 6",
        "segments of the labels beat those of SAM on semseg and depth, and lose on normals",
        f"normals mErr, vector and Gaussian contrast: {normals}",
        remains=all(a[0] > b[0] and a[1] < b[1] and a[2] > b[2] for a, b in pairs),
    )


# Read in the paper's text and in the released code, with nothing to recompute.
_DOCUMENTED = read_errata("""
Eq. 5: W is called the Wasserstein distance
    the formula is that of its square
Eq. 3: similar regions of two tasks attract each other
    in the released code the positive term is divided by its own maximum, so it is always 1
Eq. 3: all other regions are negatives
    in the released code two are, the oldest entries of a bank of 1,000 over images and tasks
Eq. 5: the trace of the root of a product of covariances
    the released code sums the absolute values of its diagonal, the byte code beside it has others
Eq. 6: the loss trains the network
    in every released variant its value is detached from it: labels train alone, on two views
Sec. 3: released code
    it cannot be imported: two names that one of its modules asks another for do not exist
Sec. 3.2: areas of SAM
    the released code reads grey values, at most 256, on which a colored map lets areas coincide
Sec. 4: "the exact same evaluation metrics" as earlier work
    the released code measures the angle of normals that nobody gave length 1; a length of 1.03 to \
2.15 explains every cell of 3.3 to 14.8 degrees
Sec. 4: 20 epochs on NYU-V2
    of the rows on SegNet, from random weights, the text says no other; XTC takes 200 for its own
Sec. 4: backbones, learning rate, batch size, schedule, temperature, weight of the loss, number of \
negatives, map and its channels, second view, and choice of the epoch on the test set
    the text says "HRNet18" and nothing else; all are in the released code
Sec. 4.1: Gaussian contrast is faster than pixel contrast
    no number is printed
Sec. 4.3: "Tab. 6 in our article" and a supplement with details of the KL divergence
    the supplement is not public with the text
""")
