"""Do the printed numbers of [HiTTs] and [XTC] agree with each other?

Recomputes from the printed cells the Delta_MTL column of [HiTTs, Tables 1 to 5 and 9], what the
texts say in numbers, and for [XTC] also what it says in words (``audit_xtc``); lists the known
errata with their evidence. Run it with ``python -m mtpsl audit``: it exits 0 only if exactly the
known errata remain, so a slip in a typed cell and a change of ``delta_mtl`` are both found.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mtpsl.metrics import delta_mtl
from mtpsl.papers.hitts import printed as p
from mtpsl.papers.xtc import errata as audit_xtc
from mtpsl.papers.xtc import printed as x
from mtpsl.report.audit_checks import Check, Erratum, quoted
from mtpsl.report.printed import Cells, Printed

TOLERANCE = 0.011  # percent points: the cells are rounded, and so is the delta
DELTA_TABLES = (p.TABLE1, p.TABLE2, p.TABLE3, p.TABLE4, p.TABLE5, p.TABLE9)


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """Everything recomputed, and what it means."""

    deltas: tuple[Check, ...]  # one a row that prints a delta
    prose: tuple[Check, ...]  # one a number that a text quotes
    errata: tuple[Erratum, ...]
    sums: int  # deltas that Eq. 9 reproduces as printed, without dividing by N
    borrowed: tuple[Check, ...]  # deltas that [HiTTs] prints for rows of [XTC]
    contradicted: tuple[str, ...]  # claims of [XTC] that its cells contradict, and nobody knew

    @property
    def problems(self) -> tuple[str, ...]:
        """What differs from the known state of the paper; empty: exactly the known errata."""
        unknown = [
            f"new mismatch: {c.where}: printed {c.printed:g}, computed {c.computed:.4f}"
            for c in (*self.deltas, *self.prose, *self.borrowed)
            if not c.agrees and c.where not in KNOWN
        ]
        vanished = [f"known erratum vanished: {e.where}" for e in self.errata if e.remains is False]
        return (*unknown, *(f"new contradiction: {c}" for c in self.contradicted), *vanished)

    def to_text(self) -> str:
        """For a terminal and for a notebook."""
        hits = sum(check.agrees for check in self.deltas)
        right = sum(check.agrees for check in self.prose)
        borrowed = sum(check.agrees for check in self.borrowed)
        lines = [
            f"Delta_MTL: {hits} of {len(self.deltas)} printed values follow from the printed "
            f"cells within {TOLERANCE} as the mean over all metrics; {self.sums} as the plain sum.",
            *_listed(check for check in self.deltas if not check.agrees),
            f"[XTC, Table 5] prints none; {borrowed} of {len(self.borrowed)} that [HiTTs, Table 2] "
            "prints for its rows follow from its cells.",
            *_listed(check for check in self.borrowed if not check.agrees),
            f"Texts: {right} of {len(self.prose)} quoted numbers follow from the tables.",
            *_listed(check for check in self.prose if not check.agrees),
        ]
        for paper in dict.fromkeys(erratum.paper for erratum in self.errata):
            lines.append(f"Known errata of [{paper}]:")
            for erratum in (e for e in self.errata if e.paper == paper):
                how = "documented" if erratum.remains is None else "recomputed"
                lines.append(f"  {erratum.where}: {erratum.what} [{how}]")
                lines.append(f"      {erratum.evidence}")
        lines += [f"PROBLEM: {problem}" for problem in self.problems]
        lines.append("Exactly the known errata remain." if not self.problems else "Audit failed.")
        return "\n".join(lines)


FEW_SHOT_DEPTH = "Sec. 4.3, few-shot STL depth"
KNOWN = (FEW_SHOT_DEPTH,)  # mismatches among the checks


def audit() -> AuditReport:
    """Recomputes everything; takes milliseconds."""
    deltas = tuple(_delta_checks())
    prose = (*_prose_checks(), *audit_xtc.prose_checks())
    sums = sum(_plain_sum_agrees(table, row) for table, row in _delta_rows())
    return AuditReport(
        deltas=deltas,
        prose=prose,
        errata=(*_errata(deltas, prose, sums), *audit_xtc.errata()),
        sums=sums,
        borrowed=tuple(audit_xtc.delta_checks()),
        contradicted=tuple(audit_xtc.new_contradictions()),
    )


def main() -> int:
    """Prints the report; the exit code is 0 only if exactly the known errata remain."""
    report = audit()
    print(report.to_text())
    return 1 if report.problems else 0


def _listed(checks: Iterator[Check]) -> list[str]:
    return [f"  {c.where}: printed {c.printed:g}, computed {c.computed:.4f}" for c in checks]


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
    yield quoted(FEW_SHOT_DEPTH, 0.9633, t7.cell("STL", "depth/abs_err"), 4)
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


def _errata(deltas: tuple[Check, ...], prose: tuple[Check, ...], sums: int) -> tuple[Erratum, ...]:
    (few_shot,) = (check for check in prose if check.where == FEW_SHOT_DEPTH)
    copied2, copied4 = _same(p.TABLE2, _XTC_TABLE5), _same(p.TABLE4, _XTC_TABLE3)
    extra = p.TABLE8.cell("XTC", "cost/params") - p.TABLE8.cell("MTL baseline", "cost/params")
    accuracy = {
        row: p.TABLE6.cell(f"unlabeled/{row}", "semseg/pixel_acc")
        for row in ("MTL baseline", "HiTTs")
    }
    recomputed = (
        Erratum(
            paper="HiTTs",
            where="Eq. 9",
            what="the sum over the N metrics lacks a factor 1/N",
            evidence=(
                f"as printed it gives {sums} of {len(deltas)} printed deltas, with 1/N "
                f"{sum(check.agrees for check in deltas)}"
            ),
            remains=sums == 0 and all(check.agrees for check in deltas),
        ),
        Erratum(
            paper="HiTTs",
            where=FEW_SHOT_DEPTH,
            what="the text and Table 7 disagree",
            evidence=f"text {few_shot.printed}, Table 7 {few_shot.computed}",
            remains=not few_shot.agrees,
        ),
        Erratum(
            paper="HiTTs",
            where="Table 2",
            what="rows of [XTC] (200 epochs, batch 2) stand beside Ours (400 epochs, batch 8)",
            evidence=f"{len(copied2)} rows equal [XTC, Table 5] in every cell, STL among them",
            remains=len(copied2) == len(_XTC_TABLE5),
        ),
        Erratum(
            paper="HiTTs",
            where="Table 4",
            what="mixed provenance: the two settings have different kinds of MTL baselines",
            evidence=f"equal to [XTC, Table 3] in every cell: {', '.join(copied4)}",
            remains=set(_XTC_TABLE3) - set(copied4) == {"one-label/MTL baseline"},
        ),
        Erratum(
            paper="HiTTs",
            where="Table 6",
            what='HiTTs "generalizes better" on unlabeled data in eight of nine metrics only',
            evidence=f"semseg pAcc: MTL {accuracy['MTL baseline']}, HiTTs {accuracy['HiTTs']}",
            remains=accuracy["HiTTs"] < accuracy["MTL baseline"],
        ),
        Erratum(
            paper="HiTTs",
            where="Table 8",
            what="XTC's parameters are those of an older mapping network than the released one",
            evidence=(
                f"+{extra:.2f} M printed; released {_MAPPING_RELEASED / 1e6:.2f} M, "
                f"older file {_MAPPING_OLDER / 1e6:.2f} M"
            ),
            remains=abs(extra - _MAPPING_OLDER / 1e6)
            < 0.006
            < abs(extra - _MAPPING_RELEASED / 1e6),
        ),
    )
    return (*recomputed, *_DOCUMENTED)


# Read in the paper's text, with nothing to recompute; formulas come from an extraction of the PDF.
_DOCUMENTED = (
    Erratum(
        paper="HiTTs",
        where="Sec. 3.2",
        what="MLP_i(theta_i) in the sentence, theta'_i in Eq. 3",
        evidence="only theta'_i has passed through Sec. 3.1",
    ),
    Erratum(
        paper="HiTTs",
        where="Eq. 4",
        what="phi_i x G_i is not defined",
        evidence="phi_i is C_p x C and G_i has C_p channels; the factor needs C channels",
    ),
    Erratum(
        paper="HiTTs",
        where="Eq. 8",
        what="the rows are said to be prediction-level and feature-level",
        evidence="as typeset they are labeled (alpha_i) and unlabeled (1 - alpha_i) tasks",
    ),
    Erratum(
        paper="HiTTs",
        where="Eq. 12",
        what="the loss is a function of G_i, its formula uses G'_i",
        evidence="Eq. 10 and Eq. 13 predict from G'_i and pass G'_i",
    ),
    Erratum(
        paper="HiTTs",
        where="Sec. 4.3",
        what="cross-task interactions are credited to intra-task learning",
        evidence="by Sec. 3.1 inter-task learning is what lets tasks interact",
    ),
    Erratum(
        paper="HiTTs",
        where="Fig. 16",
        what='the caption takes pseudo labels from the "gloabl" tokens',
        evidence="App. C.2 and Sec. 3.3 take them from the fine-grained ones",
    ),
    Erratum(
        paper="HiTTs",
        where="Eq. 18",
        what="the sum over scales ends at 5",
        evidence="Eq. 14 has the scales j = 0, 1, 2, 3 (or a 3 was misread when extracted)",
    ),
    Erratum(
        paper="HiTTs",
        where="App. A.2",
        what="\"after intra-task learning\" for F'^(j) and theta'^(j)",
        evidence="the scales are fused before intra-task learning, so inter-task is meant",
    ),
    Erratum(
        paper="HiTTs",
        where="Sec. 4.2",
        what='"MTAN [17]" and "Table 4.1"',
        evidence="MTAN is [20] and the numbers are in Table 1",
    ),
)
