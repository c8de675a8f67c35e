"""The printed cells of the tables of [XTC], each typed once, in the paper's own units.

Wei-Hong Li, Xialei Liu, Hakan Bilen. Learning Multiple Dense Prediction Tasks from Partially
Annotated Data. CVPR 2022.

Typed from a text extraction of the PDF, which repeats rows and displaces labels of blocks. Here
is what the paper means; ``EXTRACTED`` keeps what the extraction has in those places. ``tables``
answers the tables with runs. ``audit`` shows why what was extracted cannot stand and, because the
paper says more in words than in numbers, puts the claims of its tables to its own cells: those that
they contradict are errata.
"""

from collections.abc import Iterable, Iterator, Mapping

from mtpsl.report.audit import Cells, Check, Erratum, PaperAudit, Printed, quoted, read_errata
from mtpsl.report.ledger import against
from mtpsl.report.tables import Claim, Table

CITYSCAPES = ("semseg/miou", "depth/abs_err")
NYUD = (*CITYSCAPES, "normals/mean_err")
PASCAL = ("semseg/miou", "human_parts/miou", "normals/mean_err", "saliency/sal_miou", "edges/ods_f")

SELECTION: dict[tuple[str, str], dict[str, float]] = {
    ("nyud", labels): dict(zip(NYUD, values, strict=True))
    for labels, values in {
        "full": (0.374474, 0.607902, 25.938105),
        "one_label": (0.261113, 0.771502, 30.073763),
        "random_labels": (0.287153, 0.754012, 28.946388),
    }.items()
} | {
    ("cityscapes", labels): dict(zip(CITYSCAPES, values, strict=True))
    for labels, values in {"full": (0.7407, 0.0124), "one_label": (0.7004, 0.0140)}.items()
}
"""Data set and label setting -> the single-task results over which the released code's gains are
taken where it selects an epoch on the test set, as fractions, meters and degrees: they are typed
into its scripts. ``Experiment(select="best_on_test", select_reference=SELECTION[...])``."""

SL, SSL = "Supervised Learning", "Semi-supervised Learning"
PERCEPTUAL, DIRECT = "Perceptual-Map", "Direct-Map"
CONTRASTIVE, DISCRIMINATOR = "Contrastive-Loss", "Discriminator-Loss"
OURS, NO_COND, NO_REG = "Ours", "Ours (w/o cond)", "Ours (w/o reg)"

# fmt: off
TABLE1 = Printed("[XTC, Table 1]", CITYSCAPES, {
    f"full/{SL}": (73.36, 0.0165),
    f"one/{SL}": (69.50, 0.0186),
    f"one/{SSL}": (71.67, 0.0178),
    f"one/{PERCEPTUAL}": (72.82, 0.0169),
    f"one/{DIRECT}": (72.33, 0.0179),
    f"one/{CONTRASTIVE}": (71.79, 0.0183),
    f"one/{DISCRIMINATOR}": (68.94, 0.0208),
    f"one/{OURS}": (74.90, 0.0161),
})

TABLE2 = Printed("[XTC, Table 2]", NYUD, {
    f"full/{SL}": (36.95, 0.5510, 29.51),
    f"random/{SL}": (27.05, 0.6624, 33.58),
    f"random/{SSL}": (29.50, 0.6224, 33.31),
    f"random/{PERCEPTUAL}": (32.20, 0.6037, 32.07),
    f"random/{DIRECT}": (29.17, 0.6128, 33.63),
    f"random/{OURS}": (34.26, 0.5787, 31.06),
    f"one/{SL}": (25.75, 0.6511, 33.73),
    f"one/{SSL}": (27.52, 0.6499, 33.58),
    f"one/{PERCEPTUAL}": (26.94, 0.6342, 34.30),
    f"one/{DIRECT}": (19.98, 0.6960, 37.56),
    f"one/{OURS}": (30.36, 0.6088, 32.08),
})

TABLE3 = Printed("[XTC, Table 3]", PASCAL, {
    f"full/{SL}": (63.9, 58.9, 15.1, 65.4, 69.4),
    f"random/{SL}": (58.4, 55.3, 16.0, 63.9, 67.8),
    f"random/{SSL}": (59.0, 55.8, 15.9, 64.0, 66.9),
    f"random/{OURS}": (59.0, 55.6, 15.9, 64.0, 67.8),
    f"one/{SL}": (48.0, 55.6, 17.2, 61.5, 64.6),
    f"one/{SSL}": (45.0, 54.0, 16.9, 61.7, 62.4),
    f"one/{OURS}": (49.5, 55.8, 17.0, 61.7, 65.1),
})

# Shares of labels, segmentation to depth.
TABLE4 = Printed("[XTC, Table 4]", CITYSCAPES, {
    f"full/{SL}": TABLE1.rows[f"full/{SL}"],
    f"1:9/{SL}": (63.37, 0.0161),
    f"1:9/{SSL}": (64.40, 0.0179),
    f"1:9/{PERCEPTUAL}": (68.84, 0.0141),
    f"1:9/{DIRECT}": (67.04, 0.0153),
    f"1:9/{OURS}": (71.89, 0.0131),
    f"9:1/{SL}": (72.77, 0.0250),
    f"9:1/{SSL}": (72.97, 0.0395),
    f"9:1/{PERCEPTUAL}": (73.36, 0.0237),
    f"9:1/{DIRECT}": (73.13, 0.0288),
    f"9:1/{OURS}": (74.23, 0.0235),
})

TABLE5 = Printed("[XTC, Table 5]", NYUD, {
    "STL": (37.45, 0.6079, 25.94),
    "MTL": TABLE2.rows[f"full/{SL}"],
    "MTAN": (39.39, 0.5696, 28.89),
    "X-task": (38.91, 0.5342, 29.94),
    "Uncertainty": (36.46, 0.5376, 27.58),
    "GradNorm": (37.19, 0.5775, 28.51),
    "MGDA": (38.65, 0.5572, 28.89),
    "DWA": (36.46, 0.5429, 29.45),
    "Ours": (41.00, 0.5148, 28.58),
    "Ours + Uncertainty": (41.09, 0.5090, 26.78),
})

TABLE6 = Printed("[XTC, Table 6]", NYUD, {
    f"random/{SL}": TABLE2.rows[f"random/{SL}"],
    f"random/{NO_COND}": (34.13, 0.5968, 31.65),
    f"random/{NO_REG}": (33.87, 0.5887, 31.24),
    f"random/{OURS}": TABLE2.rows[f"random/{OURS}"],
    f"one/{SL}": TABLE2.rows[f"one/{SL}"],
    f"one/{NO_COND}": (29.19, 0.6181, 32.62),
    f"one/{NO_REG}": (28.36, 0.6407, 32.92),
    f"one/{OURS}": TABLE2.rows[f"one/{OURS}"],
})
# fmt: on

# A block's label and its first row as the extraction has them, where they cannot be right.
EXTRACTED: dict[str, tuple[tuple[str, Cells], ...]] = {
    "table1": ((f"full/{OURS}", (74.90, 0.0161)),),
    "table2": (
        (f"full/{OURS}", (34.26, 0.5787, 31.06)),
        (f"random/{OURS}", (30.36, 0.6088, 32.08)),  # a second row of that name
        (f"one/{OURS}", (30.36, 0.6088, 32.08)),  # again
    ),
    "table3": (
        (f"full/{SL}", (58.4, 55.3, 16.0, 63.9, 67.8)),
        (f"random/{SL}", (48.0, 55.6, 17.2, 61.5, 64.6)),
    ),
    "table4": (
        (f"full/{SL}", (63.37, 0.0161)),
        (f"1:9/{SL}", (72.77, 0.0250)),
    ),
}

# --- audit ---------------------------------------------------------------------------------------

# Images that keep 1, 2, 3 and 4 labels in the released random split of PASCAL-Context.
_KEPT = (1538, 1529, 1541, 390)


def audit() -> PaperAudit:
    """Recomputes what the paper prints and puts its claims to its cells."""
    from mtpsl.papers.xtc.tables import TABLES  # which are made of the cells above

    return PaperAudit(
        checks=tuple(_prose_checks()),
        errata=(*_displaced(), *_contradicted(TABLES), _fewer_labels(), *_DOCUMENTED),
        contradictions=tuple(_new_contradictions(TABLES.values())),
    )


def _prose_checks() -> Iterator[Check]:
    """The text's two numbers that are not in a table."""
    tasks = len(PASCAL)
    yield quoted("[XTC, Sec. 4.1] mappings for five tasks", 20, tasks * (tasks - 1), 0)
    kept = range(1, tasks)  # "at least 1 and at most K - 1", every number as often
    fewer = 100 * (1 - len(kept) / sum(kept))
    yield quoted("[XTC, Sec. 4.1] fewer labels in one-label than in random, in %", 60, fewer, 0)


# What the text says and the cells of its tables contradict: table, the text, how a claim of the
# table begins that stands for it, and the claims' rows and columns.
_CONTRADICTED: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "table1",
        "cross-task consistency brings further improvements in all ways but one",
        "Further improvements over SSL",
        ((f"one/{DIRECT}", "depth/abs_err"), (f"one/{CONTRASTIVE}", "depth/abs_err")),
    ),
    (
        "table2",
        "random-label is better than one-label",
        "More labels help",
        ((f"random/{SL}", "depth/abs_err"),),
    ),
    (
        "table2",
        "cross-task consistency is beneficial except for Direct-Map with one label",
        "Cross-task consistency helps",
        ((f"random/{DIRECT}", "normals/mean_err"), (f"one/{PERCEPTUAL}", "normals/mean_err")),
    ),
    (
        "table3",
        "SSL improves over SL with random labels",
        "SSL improves over SL",
        ((f"random/{SSL}", "edges/ods_f"),),
    ),
    (
        "table3",
        "SSL is worse than SL with one label",
        "SSL is worse than SL",
        ((f"one/{SL}", "normals/mean_err"), (f"one/{SL}", "saliency/sal_miou")),
    ),
    (
        "table3",
        "Ours gains over SL and SSL, most with one label",
        "Ours gains over",
        (
            (f"random/{OURS}", "edges/ods_f"),
            (f"one/{OURS}", "normals/mean_err"),
            (f"one/{OURS}", "saliency/sal_miou"),
        ),
    ),
)


def _failing(table: Table, beginning: str = "") -> list[tuple[Claim, str]]:
    """Claims and the columns on which a table's printed cells do not bear them out."""
    claims = [claim for claim in table.claims if claim.text.startswith(beginning)]
    return [(claim, column) for claim in claims for column in against(claim, table)]


def _new_contradictions(tables: Iterable[Table]) -> Iterator[str]:
    """Claims that fail in print and that no erratum explains."""
    for table in tables:
        known = [(begins, places) for n, _, begins, places in _CONTRADICTED if n == table.name]
        for claim, column in _failing(table):
            place = (claim.better, column)
            if not any(claim.text.startswith(b) and place in places for b, places in known):
                yield f"{table.source} {claim.text}: {column}"


def _contradicted(tables: Mapping[str, Table]) -> Iterator[Erratum]:
    """Sentences of the text against the cells of its tables."""
    for name, sentence, beginning, places in _CONTRADICTED:
        table = tables[name]
        failing = [(c, at) for c, at in _failing(table, beginning) if (c.better, at) in places]
        yield Erratum(
            table.source.strip("[]").removeprefix("XTC, "),
            f"the text: {sentence}; not so in every cell",
            "; ".join(_cells(table, claim, column) for claim, column in failing),
            remains={(claim.better, column) for claim, column in failing} == set(places),
        )


def _cells(table: Table, claim: Claim, column: str) -> str:
    """The printed cells of a claim's two rows in a column, in words."""
    place, rows = table.columns.index(column), (claim.better, claim.worse)
    cells = ", ".join(f"{name} {table.row(name).printed[place]:g}" for name in rows)
    return f"{column}: {cells}"


def _fewer_labels() -> Erratum:
    """What "60% less labels" is a share of."""
    mean = sum(n * images for n, images in enumerate(_KEPT, start=1)) / sum(_KEPT)
    return Erratum(
        "Sec. 4.1",
        '"60% less labels" with one label is the share of the setting, not of the split',
        f"2.5 labels per image are drawn, {mean:.2f} are in the released file (few images can "
        f"carry human parts), so one label is {100 * (1 - 1 / mean):.0f} % fewer",
        remains=round(100 * (1 - 1 / mean)) != 60,
    )


def _displaced() -> Iterator[Erratum]:
    """Rows that the text source repeats and labels that it shifts; the tables leave these out."""
    t1, t2, t3, t4, t5 = TABLE1.rows, TABLE2.rows, TABLE3.rows, TABLE4.rows, TABLE5.rows
    ((_, full),) = EXTRACTED["table1"]
    yield Erratum(
        "Table 1",
        'a row "Ours" under "full" in the text source',
        f"{full}: every cell is that of one/Ours, and the text speaks of no such row",
        remains=full == t1["one/Ours"],
    )
    full, random, one = (cells for _, cells in EXTRACTED["table2"])
    yield Erratum(
        "Table 2",
        'three rows "Ours" too many in the text source, one of them under "full"',
        f"full {full} is random/Ours, random {random} and one {one} are one/Ours; "
        f"full/Ours is {t5['Ours']} in Table 5",
        remains=full == t2["random/Ours"] != t5["Ours"] and random == one == t2["one/Ours"],
    )
    _, (_, random) = EXTRACTED["table3"]
    yield Erratum(
        "Table 3",
        'the label "random" stands beside the rows of one label in the text source',
        f"under it {random[0]} mIoU, above it {t3[f'random/{SL}'][0]}; [HiTTs, Table 4] "
        "prints the lower block as one-label",
        remains=random == t3[f"one/{SL}"] and random[0] < t3[f"random/{SL}"][0],
    )
    _, (_, shown) = EXTRACTED["table4"]
    rare, common = t4[f"1:9/{SL}"], t4[f"9:1/{SL}"]
    yield Erratum(
        "Table 4",
        'the label "1:9" stands beside the rows of 9:1 in the text source',
        f"by the caption 1:9 has 10 % of the segmentation labels; SL reaches {rare[0]} mIoU "
        f"and {rare[1]} in the first block, {common[0]} and {common[1]:.4f} under the label",
        remains=shown == common and rare[0] < common[0] and rare[1] < common[1],
    )


# Read in the paper's text and the released code, with nothing to recompute.
_DOCUMENTED = read_errata("""
Eq. 1, 3, 4: the terms are divided by the number of labeled and of unlabeled tasks
    the released code sums them
Sec. 3.2: mapped labels are vectors in R^D
    in the released code they are maps, compared position by position
Sec. 3.2: A encodes the input task and the pair
    in the released code both branches get the same A; only the input layers differ
Sec. 3.2: R is called "cosine similarity loss"
    it is minimized, so it is one minus the similarity
Sec. 4: weights of the two terms, Gumbel-softmax, scaling of depth, a rate of its own for the \
conditioning, two views and the choice of the epoch on the test set are not mentioned
    all are in the released code
Table 1: on Cityscapes the released code mirrors images for Ours and not for SL
    two differences between the rows; its README announces other numbers than printed
Tables 1 to 4: SSL, Perceptual- and Direct-Map, Contrastive- and Discriminator-Loss
    not in the released code, except variants of SSL that nothing calls
Table 5: Uncertainty, DWA and Ours + Uncertainty
    uncertainty weighting is not in the released code, and its DWA weights act on nothing
""")
