"""Do the printed numbers of [XTC] agree with its text and with each other?

The paper says more in words than in numbers, so here the claims of its tables are put to its own
cells: those that they contradict are errata.
"""

from collections.abc import Iterator

from mtpsl.papers.xtc import printed as p
from mtpsl.papers.xtc import tables as xtc
from mtpsl.report.audit import Check, Erratum, PaperAudit, quoted
from mtpsl.report.results import decide_printed
from mtpsl.report.tables import Claim, Table

# Images that keep 1, 2, 3 and 4 labels in the released random split of PASCAL-Context.
_KEPT = (1538, 1529, 1541, 390)


def audit() -> PaperAudit:
    """Recomputes what the paper prints and puts its claims to its cells."""
    return PaperAudit(
        checks=tuple(_prose_checks()),
        errata=(*_displaced(), *_contradicted(), _fewer_labels(), *_DOCUMENTED),
        contradictions=tuple(_new_contradictions()),
    )


def _prose_checks() -> Iterator[Check]:
    """The text's two numbers that are not in a table."""
    tasks = len(p.PASCAL)
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
        ((f"one/{p.DIRECT}", "depth/abs_err"), (f"one/{p.CONTRASTIVE}", "depth/abs_err")),
    ),
    (
        "table2",
        "random-label is better than one-label",
        "More labels help",
        ((f"random/{p.SL}", "depth/abs_err"),),
    ),
    (
        "table2",
        "cross-task consistency is beneficial except for Direct-Map with one label",
        "Cross-task consistency helps",
        ((f"random/{p.DIRECT}", "normals/mean_err"), (f"one/{p.PERCEPTUAL}", "normals/mean_err")),
    ),
    (
        "table3",
        "SSL improves over SL with random labels",
        "SSL improves over SL",
        ((f"random/{p.SSL}", "edges/ods_f"),),
    ),
    (
        "table3",
        "SSL is worse than SL with one label",
        "SSL is worse than SL",
        ((f"one/{p.SL}", "normals/mean_err"), (f"one/{p.SL}", "saliency/sal_miou")),
    ),
    (
        "table3",
        "Ours gains over SL and SSL, most with one label",
        "Ours gains over",
        (
            (f"random/{p.OURS}", "edges/ods_f"),
            (f"one/{p.OURS}", "normals/mean_err"),
            (f"one/{p.OURS}", "saliency/sal_miou"),
        ),
    ),
)


def _failing(table: str, beginning: str = "") -> list[Claim]:
    """Claims of a table that its printed cells do not bear out, ties included."""
    answers = xtc.TABLES[table]
    return [
        claim
        for claim in answers.claims
        if claim.text.startswith(beginning) and decide_printed(claim, answers).status != "holds"
    ]


def _new_contradictions() -> Iterator[str]:
    """Claims that fail in print and that no erratum explains."""
    for name, table in xtc.TABLES.items():
        known = [(begins, places) for where, _, begins, places in _CONTRADICTED if where == name]
        for claim in _failing(name):
            place = (claim.better, claim.column)
            if not any(claim.text.startswith(b) and place in places for b, places in known):
                yield f"{table.source} {claim.text}"


def _contradicted() -> Iterator[Erratum]:
    """Sentences of the text against the cells of its tables."""
    for name, sentence, beginning, places in _CONTRADICTED:
        table = xtc.TABLES[name]
        failing = [c for c in _failing(name, beginning) if (c.better, c.column) in places]
        yield Erratum(
            table.source.strip("[]").removeprefix("XTC, "),
            f"the text: {sentence}; not so in every cell",
            "; ".join(_cells(table, claim) for claim in failing),
            remains={(c.better, c.column) for c in failing} == set(places),
        )


def _cells(table: Table, claim: Claim) -> str:
    """The printed cells of a claim's two rows, in words."""
    place = table.columns.index(claim.column)
    better, worse = (
        f"{name} {table.row(name).printed[place]:g}" for name in (claim.better, claim.worse)
    )
    return f"{claim.column}: {better}, {worse}"


def _fewer_labels() -> Erratum:
    """What "60% less labels" is a share of."""
    mean = sum(n * images for n, images in enumerate(_KEPT, start=1)) / sum(_KEPT)
    return Erratum(
        "Sec. 4.1",
        '"60% less labels" with one label is the share of the setting, not of the split',
        f"2.5 labels an image are drawn, {mean:.2f} are in the released file (few images can "
        f"carry human parts), so one label is {100 * (1 - 1 / mean):.0f} % fewer",
        remains=round(100 * (1 - 1 / mean)) != 60,
    )


def _displaced() -> Iterator[Erratum]:
    """Rows that the text source repeats and labels that it shifts; the tables leave these out."""
    t1, t2, t3, t4, t5 = p.TABLE1.rows, p.TABLE2.rows, p.TABLE3.rows, p.TABLE4.rows, p.TABLE5.rows
    ((_, full),) = p.EXTRACTED["table1"]
    yield Erratum(
        "Table 1",
        'a row "Ours" under "full" in the text source',
        f"{full}: every cell is that of one/Ours, and the text speaks of no such row",
        remains=full == t1["one/Ours"],
    )
    full, random, one = (cells for _, cells in p.EXTRACTED["table2"])
    yield Erratum(
        "Table 2",
        'three rows "Ours" too many in the text source, one of them under "full"',
        f"full {full} is random/Ours, random {random} and one {one} are one/Ours; "
        f"full/Ours is {t5['Ours']} in Table 5",
        remains=full == t2["random/Ours"] != t5["Ours"] and random == one == t2["one/Ours"],
    )
    _, (_, random) = p.EXTRACTED["table3"]
    yield Erratum(
        "Table 3",
        'the label "random" stands beside the rows of one label in the text source',
        f"under it {random[0]} mIoU, above it {t3[f'random/{p.SL}'][0]}; [HiTTs, Table 4] "
        "prints the lower block as one-label",
        remains=random == t3[f"one/{p.SL}"] and random[0] < t3[f"random/{p.SL}"][0],
    )
    _, (_, shown) = p.EXTRACTED["table4"]
    rare, common = t4[f"1:9/{p.SL}"], t4[f"9:1/{p.SL}"]
    yield Erratum(
        "Table 4",
        'the label "1:9" stands beside the rows of 9:1 in the text source',
        f"by the caption 1:9 has 10 % of the segmentation labels; SL reaches {rare[0]} mIoU "
        f"and {rare[1]} in the first block, {common[0]} and {common[1]:.4f} under the label",
        remains=shown == common and rare[0] < common[0] and rare[1] < common[1],
    )


# Read in the paper's text and the released code, with nothing to recompute.
_DOCUMENTED = tuple(
    Erratum(*row)
    for row in (
        (
            "Eq. 1, 3, 4",
            "the terms are divided by the number of labeled and of unlabeled tasks",
            "the released code sums them",
        ),
        (
            "Sec. 3.2",
            "mapped labels are vectors in R^D",
            "in the released code they are maps, compared position by position",
        ),
        (
            "Sec. 3.2",
            "A encodes the input task and the pair",
            "in the released code both branches get the same A; only the input layers differ",
        ),
        (
            "Sec. 3.2",
            'R is called "cosine similarity loss"',
            "it is minimized, so it is one minus the similarity",
        ),
        (
            "Sec. 4",
            "weights of the two terms, Gumbel-softmax, scaling of depth, a rate of its own for the "
            "conditioning, two views and the choice of the epoch on the test set are not mentioned",
            "all are in the released code",
        ),
        (
            "Table 1",
            "on Cityscapes the released code mirrors images for Ours and not for SL",
            "two differences between the rows; its README announces other numbers than printed",
        ),
        (
            "Tables 1 to 4",
            "SSL, Perceptual- and Direct-Map, Contrastive- and Discriminator-Loss",
            "not in the released code, except variants of SSL that nothing calls",
        ),
        (
            "Table 5",
            "Uncertainty, DWA and Ours + Uncertainty",
            "uncertainty weighting is not in the released code, and its DWA weights act on nothing",
        ),
    )
)
