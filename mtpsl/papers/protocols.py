"""What the papers' tables share: settings of three data sets, and builders of rows and claims.

The settings are those of [XTC], whose protocols later papers follow and change in a few fields.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mtpsl.report.audit import NONE, Printed
from mtpsl.report.tables import Claim, Row, Table
from mtpsl.runs.experiment import Experiment, LabelSetting

NYUD = Experiment(tasks=("semseg", "depth", "normals"), epochs=200, batch_size=2)

CITYSCAPES = Experiment(
    dataset="streets7",
    height=128,
    width=256,
    train_images=2975,
    test_images=500,
    tasks=("semseg", "depth"),
    epochs=200,
    batch_size=8,
)

PASCAL = Experiment(
    dataset="people21",
    height=512,
    width=512,
    train_images=4998,
    test_images=5105,
    tasks=("semseg", "human_parts", "normals", "saliency", "edges"),
    augmentation="turned",
    flip=True,
    backbone="resnet18",
    epochs=100,
    batch_size=6,
    weight_decay=1e-4,
    schedule="poly",
)

PASCAL_SIZE = (
    "On the stand-in predictions and labels are compared at the size the network sees, at which "
    "its images are made; on PASCAL-Context itself at the size of each image's files, as in the "
    "protocol."
)
"""A note on every table of that data set."""

SEMSEG, DEPTH, NORMALS, DELTA = "semseg/miou", "depth/abs_err", "normals/mean_err", "delta_mtl"
HEADLINES = {SEMSEG: "semseg mIoU", DEPTH: "depth AbS", NORMALS: "normals mErr"}
TITLES = HEADLINES | {DELTA: "Δ_MTL"}
"""A column -> what a claim calls it."""

BEATS = "{better} beats {worse}"  # begins many a claim's text

BLOCKS: dict[str, LabelSetting] = {"One-Label": "one_label", "Random-Labels": "random_labels"}

Runs = Mapping[str, tuple[Experiment, ...]]  # a row's label -> what it trains


def make_rows(
    runs: Runs, cells: Printed | None = None, group: str = "", columns: int = 0, **how: Any
) -> tuple[Row, ...]:
    """Makes a row for each label.

    Args:
        runs: What the rows train.
        cells: What the paper prints of them; None: nothing.
        group: The block; ``"One-Label"`` makes names such as ``"one-label/Ours"``.
        columns: How many the table has, at least those of ``cells``; the others hold no number.
        how: Further fields of the rows.
    """
    rows = []
    for label, experiments in runs.items():
        name = f"{group.lower()}/{label}" if group else label
        printed = cells.rows[name] if cells else ()
        printed = (*printed, *[NONE] * (columns - len(printed)))
        row = {"name": name, "label": label, "group": group, "printed": printed}
        rows.append(Row(experiments=experiments, **row, **how))
    return tuple(rows)


def beats(
    better: str,
    others: Iterable[str],
    columns: Iterable[str] = (DELTA,),
    text: str = f"{BEATS} on {{title}}",
    titles: Mapping[str, str] = TITLES,
) -> Iterator[Claim]:
    """Claims that one row beats others, once for each of them, on all columns together.

    Args:
        better: A row's name.
        others: Names of the rows that it beats.
        columns: Columns of the table.
        text: With ``{better}``, ``{worse}`` and ``{title}``, the columns'.
        titles: What ``{title}`` says of each column.
    """
    columns = tuple(columns)
    title = _listed([titles.get(column, column) for column in columns])
    for worse in others:
        rows = {"better": better, "worse": worse}
        yield Claim(text=text.format(title=title, **rows), columns=columns, **rows)


def because(*claims: tuple[str, str, str]) -> tuple[Claim, ...]:
    """Claims of (what would be so, better row, worse row), on the headlines together."""
    return tuple(
        claim
        for why, better, worse in claims
        for claim in beats(better, [worse], HEADLINES, f"{why}: {BEATS} on {{title}}")
    )


def _listed(names: Sequence[str], most: int = 5) -> str:
    """The names as a text lists them, or how many they are where that would be too long."""
    if len(names) > most:
        return f"{len(names)} metrics"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def make_blocks(cells: Printed, runs: Callable[[LabelSetting], Runs]) -> tuple[Row, ...]:
    """The same rows for every label setting, a block each."""
    return tuple(row for group, s in BLOCKS.items() for row in make_rows(runs(s), cells, group))


def in_blocks(*claims: Claim, groups: Iterable[str] = tuple(BLOCKS)) -> Iterator[Claim]:
    """The same claims, made by the rows' labels, for every block, whose name comes first."""
    for group in groups:
        for claim in claims:
            better, worse = (f"{group.lower()}/{row}" for row in (claim.better, claim.worse))
            yield replace(claim, text=f"{group}: {claim.text}", better=better, worse=worse)


def make_table(
    cells: Printed,
    title: str,
    rows: tuple[Row, ...],
    claims: Iterable[Claim],
    *notes: str,
    more_columns: Sequence[str] = (),
) -> Table:
    """Makes the table that answers a printed one; deltas refer to the row STL of their block.

    Args:
        cells: What is printed; ``"[XTC, Table 1]"`` is ``table1`` of the paper ``xtc``.
        title: What it compares, and on which data.
        rows: See ``make_rows``.
        claims: See ``beats``.
        notes: A sentence or more each.
        more_columns: Columns that the paper does not print.
    """
    paper, name = cells.source.strip("[]").lower().replace(" ", "").split(",")
    columns = (*cells.columns, *more_columns)
    references = {row.group: row.name for row in rows if row.label == "STL"}
    return Table(
        name=name,
        paper=paper,
        title=title,
        source=cells.source,
        columns=columns,
        rows=rows,
        reference=references if DELTA in columns else {},
        claims=tuple(claims),
        notes=notes,
    )
