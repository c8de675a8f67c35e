"""The printed cells of the tables of [TPKR], each typed once, in the paper's own units.

Youngmin Oh, Hyung-Il Kim, Jung Uk Kim. Task Prototype-Based Knowledge Retrieval for Multi-Task
Learning from Partially Annotated Data. AAAI 2026. arXiv:2601.07474

The text they are typed from has lost the check marks of Table 3; ``CHECK_MARKS`` says how they were
found again. The paper derives none of its numbers from others. So ``audit`` finds the borrowed
cells in the paper that they come from, puts the claims to their own cells, and recomputes what the
errata say.
"""

import math
from collections.abc import Iterator

import torch

from mtpsl.data import find_class
from mtpsl.metrics import COLUMNS
from mtpsl.papers.protocols import HEADLINES
from mtpsl.papers.tpkr import sizes
from mtpsl.papers.tpkr.diffusion import Schedule
from mtpsl.papers.tpkr.loss import Sign, TaskPrototypes
from mtpsl.papers.xtc import printed as x
from mtpsl.report.audit import Check, Erratum, PaperAudit, Printed, read_cells, read_errata
from mtpsl.report.ledger import against

NYUD = x.NYUD
PASCAL = ("semseg/miou", "human_parts/miou", "saliency/max_f", "normals/mean_err", "edges/ods_f")

TITLES = HEADLINES | {
    "human_parts/miou": "parsing mIoU",
    "saliency/max_f": "saliency maxF",
    "edges/ods_f": "boundary odsF",
}

STL, MTL, SSL, XTC = "STL", "MTL baseline", "SSL (XTC's)", "MTPSL*"
PREDICTION, FEATURE, OURS = "DiffusionMTL (Prediction)", "DiffusionMTL (Feature)", "TPKR"
NO_LOSS, TAE, TKE, ALL = "none", "L_tae", "L_tae + L_tke", "L_tae + L_tke + L_tc"
NO_SLOTS = "no prototypes"
SLOTS = {d: f"d = {d}" for d in sizes.PRINTED}
B, PROMPTER, TSP = "B", "B + TaskPrompter", "B + TSP-Transformer"

# fmt: off
TABLE1 = Printed("[TPKR, Table 1]", PASCAL, read_cells(f"""
one-label/{STL}: 50.34 59.05 77.43 16.59 64.40
one-label/{MTL}: 44.73 57.03 75.69 16.47 64.30
one-label/{SSL}: 45.00 54.00 61.70 16.90 62.40
one-label/{XTC}: 55.08 56.72 77.06 16.93 63.70
one-label/{PREDICTION}: 59.43 56.79 77.57 16.20 64.00
one-label/{FEATURE}: 57.78 58.98 77.82 16.11 64.50
one-label/{OURS}: 59.78 59.08 78.62 15.63 65.10
random-labels/{STL}: 51.51 57.90 80.30 15.24 67.80
random-labels/{MTL}: 46.49 55.39 78.39 15.36 66.80
random-labels/{SSL}: 59.00 55.80 64.00 15.90 66.90
random-labels/{XTC}: 62.44 55.81 78.56 15.45 66.80
random-labels/{PREDICTION}: 63.68 55.84 79.87 15.38 66.80
random-labels/{FEATURE}: 62.55 56.84 80.44 14.85 67.10
random-labels/{OURS}: 64.30 56.87 80.51 14.48 67.30
"""))

TABLE2 = Printed("[TPKR, Table 2]", NYUD, read_cells(f"""
one-label/{STL}: 45.28 0.4802 25.93
one-label/{MTL}: 42.77 0.5134 26.99
one-label/{SSL}: 27.52 0.6499 33.58
one-label/{XTC}: 43.97 0.5140 26.30
one-label/{PREDICTION}: 44.97 0.5137 26.17
one-label/{FEATURE}: 44.47 0.5059 25.84
one-label/{OURS}: 45.95 0.4865 25.64
random-labels/{STL}: 48.25 0.4792 24.65
random-labels/{MTL}: 44.82 0.4886 25.92
random-labels/{SSL}: 29.50 0.6224 33.31
random-labels/{XTC}: 46.03 0.4811 25.97
random-labels/{PREDICTION}: 47.44 0.4803 25.26
random-labels/{FEATURE}: 46.82 0.4743 24.75
random-labels/{OURS}: 47.53 0.4621 24.67
"""))

TABLE3 = Printed("[TPKR, Table 3]", PASCAL, {
    NO_LOSS: (44.73, 57.03, 75.69, 16.47, 64.38),
    TAE: (44.83, 57.13, 76.13, 16.22, 64.50),
    TKE: (58.21, 58.87, 78.50, 15.67, 65.00),
    ALL: TABLE1.rows[f"one-label/{OURS}"],
})

TABLE4 = Printed("[TPKR, Table 4]", ("cost/params", *NYUD), {
    NO_SLOTS: (sizes.BASELINE, *TABLE2.rows[f"one-label/{MTL}"]),
    SLOTS[256]: (sizes.PRINTED[256], 44.91, 0.4931, 25.67),
    SLOTS[512]: (sizes.PRINTED[512], 45.65, 0.4878, 25.73),
    SLOTS[1024]: (sizes.PRINTED[1024], *TABLE2.rows[f"one-label/{OURS}"]),
    SLOTS[2048]: (sizes.PRINTED[2048], 45.33, 0.4867, 25.77),
})

TABLE5 = Printed("[TPKR, Table 5]", NYUD, {
    B: (45.41, 0.4277, 22.34),
    PROMPTER: (48.68, 0.4141, 20.65),
    TSP: (46.26, 0.4239, 21.00),
    OURS: (50.08, 0.3857, 20.57),
})

TABLE6 = Printed("[TPKR, Table 6]", PASCAL, {
    PREDICTION: (60.92, 59.94, 77.58, 17.31, 63.80),
    FEATURE: (58.78, 61.91, 77.07, 16.49, 66.20),
    OURS: (62.23, 62.14, 78.10, 16.19, 66.70),
})
# fmt: on

CHECK_MARKS: dict[str, str] = {
    "Table 3": "three dashes in the first row, two in the second and one in the third are left of "
    "the columns L_tae, L_tke and L_tc, and the text adds L_tae first and L_tc last; a public note "
    "of someone who read the PDF has the same marks",
}
"""Table -> how it is known which losses a row has."""

# --- audit ---------------------------------------------------------------------------------------

BORROWED = "Cells of a semi-supervised row that stand in a table of [XTC]"
_SAME = {"saliency/max_f": "saliency/sal_miou"}  # under which heading [XTC] prints the column


def audit() -> PaperAudit:
    """Recomputes what the paper prints and puts its claims to its cells."""
    from mtpsl.papers.tpkr.tables import TABLES  # which are made of the cells above

    checks = tuple(_borrowed())
    return PaperAudit(
        checks=checks,
        errata=(*_of_cells(checks), *_of_losses(), *_of_baselines(), *_DOCUMENTED),
        contradictions=tuple(
            f"{name} {claim.text}"
            for name, table in TABLES.items()
            for claim in table.claims
            if against(claim, table)
        ),
    )


def _borrowed() -> Iterator[Check]:
    for table, source in ((TABLE1, x.TABLE3), (TABLE2, x.TABLE2)):
        for block in ("one", "random"):
            row = f"{'one-label' if block == 'one' else 'random-labels'}/{SSL}"
            for column in table.columns:
                yield Check(
                    where=f"{table.source} {row}, {column}",
                    printed=table.cell(row, column),
                    computed=source.cell(f"{block}/{x.SSL}", _SAME.get(column, column)),
                    tolerance=0,
                    about=BORROWED,
                )


def better(column: str, a: float, b: float) -> bool:
    """Whether a cell beats another one of its column."""
    return a > b if COLUMNS[column.rpartition("/")[2]].higher_is_better else a < b


def stl_over_ours(table: Printed) -> list[str]:
    """Where single-task learning beats TPKR in print, in words."""
    found = []
    for row, cells in table.rows.items():
        block, _, label = row.partition("/")
        ours = table.rows[f"{block}/{OURS}"]
        for column, single, own in zip(table.columns, cells, ours, strict=True):
            if label == STL and better(column, single, own):
                found.append(f"{TITLES[column]}, {block}: {single:g}, TPKR {own:g}")
    return found


def _of_cells(checks: tuple[Check, ...]) -> Iterator[Erratum]:
    """What cells say, and the words around them do not."""
    yield Erratum(
        "Tables 1 and 2, SSL",
        "a mean IoU stands in the column maxF, and SegNet among networks on ResNet-18",
        "cells are those of [XTC, Tables 2 and 3], whose saliency is a mean IoU; on NYUD-v2 27.52 "
        "mIoU stand below a baseline of 42.77",
        remains=all(check.agrees for check in checks),
    )
    cells = [cell for table in (TABLE1, TABLE2) for cell in stl_over_ours(table)]
    yield Erratum(
        "Tables 1 and 2",
        "the best results of all tasks are not always those of TPKR",
        f"STL is better in {len(cells)} cells: {'; '.join(cells)}",
        remains=len(cells) == 5,
    )
    first, baseline = TABLE3.rows[NO_LOSS], TABLE1.rows[f"one-label/{MTL}"]
    yield Erratum(
        "Table 3, boundary of the first row",
        "the row is the MTL baseline of Table 1, but for this cell",
        f"{first[-1]:.2f} and {baseline[-1]:.2f}",
        remains=first[:-1] == baseline[:-1] and first != baseline,
    )
    normals = [TABLE4.cell(row, "normals/mean_err") for row in SLOTS.values()]
    yield Erratum(
        "Table 4",
        "performance does not simply grow with the slots up to d = 1024",
        f"normals mErr for d of {', '.join(map(str, SLOTS))}: {normals}",
        remains=normals[1] > normals[0] > normals[2],
    )
    low, high = sizes.slope_band()
    found = len(list(sizes.designs()))
    yield Erratum(
        "Table 4, Param",
        "the counts do not say which network it is",
        f"{low:,.0f} to {high:,.0f} parameters for each dimension of a slot fit {found} networks "
        f"of ordinary widths; none of the framework has the baseline's {sizes.BASELINE} M, its MTL "
        "baseline has 43.93 M",
        remains=found > 1,
    )
    changes = [(TABLE1.cell(f"one-label/{OURS}", c), TABLE6.cell(OURS, c)) for c in PASCAL]
    worse = {c: pair for c, pair in zip(PASCAL, changes, strict=True) if better(c, *pair)}
    yield Erratum(
        "Table 6",
        "the larger ResNet-50 does not improve every task of TPKR",
        "; ".join(
            f"{TITLES[c]}: {small:g}, with ResNet-50 {large:g}"
            for c, (small, large) in worse.items()
        ),
        remains=list(worse) == ["saliency/max_f", "normals/mean_err"],
    )


def at_optimum(tasks: int, sign: Sign = "text", temperature: float = 1.0) -> tuple[float, float]:
    """Affinity with the own slot and L_tc, where L_tke can fall no further.

    There features equal their slots, and slots are as far apart as so many vectors can be.
    """
    five = find_class("people21").tasks
    simplex = torch.eye(tasks) - 1 / tasks
    how = {"tc_sign": sign, "temperature": temperature}
    prototypes = TaskPrototypes(five.subset(five.names[:tasks]), tasks, **how)
    with torch.no_grad():
        prototypes.slots.copy_(simplex)
        own = prototypes.affinity(prototypes.similarity(simplex)).diagonal().mean()
        features = simplex.view(tasks, 1, 1, tasks)  # of one position of one image
        loss = prototypes.consistency_loss(features, torch.ones(tasks, 1, dtype=torch.bool))
    return float(own), float(loss)


def _of_losses() -> Iterator[Erratum]:
    found = {sign: [at_optimum(n, sign) for n in (3, 5)] for sign in ("text", "printed")}
    losses = {sign: [round(loss, 2) for _, loss in pairs] for sign, pairs in found.items()}
    yield Erratum(
        "Eq. 5",
        "the sign is the opposite of what the text says",
        "where features are as near to their task and as far from others as they can be, it is "
        f"{losses['printed']} with three and five tasks as printed, {losses['text']} by the text",
        remains=all(loss > 0 for loss in losses["printed"]),
    )
    yield Erratum(
        "Eq. 6",
        "L_tc asks for nothing that L_tke does not teach already",
        f"where L_tke is least, L_tc of the text is {losses['text']} with a margin of 0.5",
        remains=not any(losses["text"]),
    )
    most = [own for own, _ in found["text"]]
    yield Erratum(
        "Eq. 4",
        "without a temperature, the affinity of a task with its own slot stays low",
        f"at most {most[0]:.2f} with three tasks and {most[1]:.2f} with five, and all other slots "
        "get the same; so at its optimum it says nothing of how tasks are related",
        remains=[round(own, 2) for own in most] == [0.69, 0.47],
    )


def _of_baselines() -> Iterator[Erratum]:
    """What the released code of the framework does that no paper says."""
    thresholds = [i / 20 for i in range(1, 20)]
    tell = [t for t in thresholds if 0.5 < t < 1 / (1 + math.exp(-1))]
    yield Erratum(
        "Sec. 4, maxF of saliency",
        "the released meter takes the sigmoid of what is a probability already",
        f"of {len(thresholds)} thresholds {len(tell)}, {tell[0]} to {tell[-1]}, tell maps apart",
        remains=len(tell) < len(thresholds),
    )
    schedule = Schedule(2, (1e-3, 1e-2))
    yield Erratum(
        "Tables 1, 2 and 6, DiffusionMTL",
        "the released network draws noise at evaluation too, so its numbers vary",
        f"features times {schedule.signal[-1]:.4f}, noise of deviation {schedule.noise[-1]:.3f}",
        remains=schedule.noise[-1] > 0,
    )


# Read in the paper's text, and in released code of others, with nothing to recompute.
_DOCUMENTED = read_errata("""
Eq. 9: its feature f-bar is defined by no equation
    keys and values are those of f^ta, Eq. 7
Eq. 10: only L_tae is summed over the images of a batch
    nothing says whether the other terms are sums or means
Eq. 1: the decoders read the sum of features and codes, so they can do without codes
    the row L_tae of Table 3 gains 0.1 mIoU; `tae_other_codes` logs the loss with other codes
Sec. 4, random labels: "at least one task and at most a predefined number"
    the number is not given; the setting is that of [XTC], at most all tasks but one
Sec. 4: weights of the losses, c, the transformer's width, blocks and position codes, alpha, \
lambda_1 and lambda_2 are not given
    what is done here is in `mtpsl.papers.tpkr.method.CHOICES`
Table 3: the step from 44.83 to 58.21 mIoU is said to be that of L_tke
    it also adds the whole transformer, which no row has without prototypes
Table 4: "slot T" is varied
    T is the number of slots, it is their dimension d that changes
Table 5: "TaskPrompter (ICLR'22)"
    it is of ICLR 2023
Table 5: TaskPrompter and TSP-Transformer "with the official source code"
    as released, neither runs on three tasks at 288x384
Table 5: prompts "only work when labeled data is available"
    both rows are above their baseline in every cell, with one label per image
Table 6: DiffusionMTL on ResNet-50
    the released rule would make its decoders 2,048 channels wide, 75 M parameters per block
""")
