"""What the papers' tables share: settings of three data sets, and builders of rows and claims.

The settings are those of [XTC], whose protocols later papers follow and change in a few fields.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mtpsl.report.audit import Printed
from mtpsl.report.tables import Claim, Row, Table
from mtpsl.runs.experiment import Experiment

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

WORDS = {
    "semseg/miou": "semseg mIoU",
    "depth/abs_err": "depth AbS",
    "normals/mean_err": "normals mErr",
    "delta_mtl": "Δ_MTL",
}
"""A column -> what a claim calls it."""

Runs = Mapping[str, tuple[Experiment, ...]]  # a row's name -> what it trains


def make_rows(runs: Runs, cells: Printed | None = None, columns: int = 0) -> tuple[Row, ...]:
    """Makes a row for each name; in ``"one/Ours"`` the block comes before the label.

    Args:
        runs: What the rows train.
        cells: What the paper prints of them; None: nothing.
        columns: How many the table has, at least those of ``cells``; the others hold no number.
    """
    rows = []
    for name, experiments in runs.items():
        group, label = name.split("/", 1) if "/" in name else ("", name)
        printed = cells.rows[name] if cells else ()
        printed = (*printed, *[float("nan")] * (columns - len(printed)))
        rows.append(
            Row(name=name, label=label, group=group, experiments=experiments, printed=printed)
        )
    return tuple(rows)


def beats(
    text: str,
    better: str,
    others: Sequence[str],
    columns: Iterable[str] = ("delta_mtl",),
    words: Mapping[str, str] = WORDS,
    block: str = "",
) -> Iterator[Claim]:
    """Claims that one row beats others, once for each of them and each column.

    Args:
        text: With ``{better}``, ``{worse}``, the names of the rows, and ``{column}``, in words.
        better: A row's name.
        others: Names.
        columns: Of the table.
        words: What ``{column}`` says of each.
        block: The block of all these rows, where their names are without it.
    """
    place = f"{block}/" if block else ""
    for worse in others:
        for column in columns:
            rows = {"better": place + better, "worse": place + worse}
            yield Claim(text=text.format(column=words[column], **rows), column=column, **rows)


def make_table(
    cells: Printed,
    title: str,
    rows: tuple[Row, ...],
    claims: Iterable[Claim],
    notes: Sequence[str],
    more_columns: Sequence[str] = (),
    reference: Mapping[str, str] | None = None,
) -> Table:
    """Makes the table that answers a printed one.

    Args:
        cells: What is printed; ``"[XTC, Table 1]"`` is ``table1`` of the paper ``xtc``.
        title: What it compares, and on which data.
        rows: See ``make_rows``.
        claims: See ``beats``.
        notes: A sentence or more each.
        more_columns: Columns that the paper does not print.
        reference: Block -> the row that its deltas refer to.
    """
    paper, name = cells.source.strip("[]").lower().replace(" ", "").split(",")
    return Table(
        name=name,
        paper=paper,
        title=title,
        source=cells.source,
        columns=(*cells.columns, *more_columns),
        rows=rows,
        reference=reference or {},
        claims=tuple(claims),
        notes=tuple(notes),
    )
