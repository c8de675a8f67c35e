"""What the tour, the tables and the figures of the notebooks share.

Everything measured comes from two sources that are never blended: what was recorded before, and
what the notebook has just computed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.dataset import Dataset
from mtpsl.data.loader import EvalLoader
from mtpsl.metrics import COLUMNS
from mtpsl.report.arrays import Arrays
from mtpsl.report.figure import FinishedFigure, make_figure, redraw
from mtpsl.report.maps import Grid, draw_grids, task_groups
from mtpsl.report.records import run_table
from mtpsl.report.render import COMPUTED, PAPER, RECORDED
from mtpsl.report.results import Results, decide, decide_printed, load_recorded
from mtpsl.report.style import Sheet, styled
from mtpsl.report.tables import Table
from mtpsl.runs.session import Session
from mtpsl.tasks import Task, TaskSet

BATCHES, IMAGES = 8, 8  # training batches that a constant guess looks at, and images in each


# -------------------------------------------------------------------- tables


def measure(
    table: Table, recorded: Path, *, session: Session, **options: Any
) -> tuple[Results | None, Results]:
    """A table's recorded results, None where there are none yet, and those computed now.

    Args:
        table: Whose rows are run.
        recorded: Folder of the recorded results of all papers.
        session: Where finished runs are taken from and missing ones go.
        **options: Of ``run_table``; ``train=False`` takes what the store has.
    """
    path = recorded / table.paper / f"{table.name}.json"
    known = load_recorded(path, table) if path.exists() else None
    return known, run_table(table, session, **options)


def ledger(
    table: Table, recorded: Results | None, computed: Results | None
) -> dict[str, Counter[str]]:
    """Source -> verdict -> how many of the table's claims."""
    return {
        PAPER: Counter(decide_printed(claim, table).status for claim in table.claims),
        RECORDED: Counter(decide(claim, table, recorded).status for claim in table.claims),
        COMPUTED: Counter(decide(claim, table, computed).status for claim in table.claims),
    }


def origins(
    table: Table, recorded: Results | None, computed: Results | None
) -> list[dict[str, str | int]]:
    """A line for every distinct origin of a table's numbers; "results" are rows times seeds."""
    counts: Counter[tuple[tuple[str, str], ...]] = Counter()
    for source, results in ((RECORDED, recorded), (COMPUTED, computed)):
        for entry in results.entries if results else ():
            kind = "generated stand-in" if entry.data["stand_in"] else "real data"
            line = {
                "table": table.source,
                "source": source,
                "profile": results.profile,
                "data": f"{entry.data['name']} {entry.data['version']} ({kind})",
                "commit": entry.commit,
                "torch": entry.versions["torch"],
                "hardware": entry.hardware,
                "date": entry.date[:10],
                "stale": entry.stale,
            }
            counts[tuple(line.items())] += 1
    return [{**dict(line), "results": n} for line, n in counts.items()]


def headlines(metrics: Mapping[str, float], tasks: TaskSet) -> dict[str, str]:
    """Each task's headline metric as a table prints it, such as ``{"semseg mIoU ↑": "31.2"}``."""
    columns = {t.name: COLUMNS[t.headline] for t in tasks}
    return {
        f"{name} {column.label}": f"{column.scale * metrics[f'{name}/{column.name}']:.2f}"
        for name, column in columns.items()
    }


# ------------------------------------------------------------------- figures


def both(name: str, recorded: Path, *, folder: Path, **options: Any) -> dict[str, FinishedFigure]:
    """A figure from each source: drawn again from recorded arrays, and made now.

    Args:
        name: A key of ``FIGURES``.
        recorded: Folder of the recorded figures of all papers; where it is ``folder``, or holds
            no such figure, only the new one is returned.
        folder: Where the new one goes.
        **options: Of ``make_figure``.
    """
    saved = (recorded / f"{name}.npz").exists() and recorded != folder
    found = {RECORDED: redraw(name, recorded)} if saved else {}
    return found | {COMPUTED: make_figure(name, folder=folder, **options)}


@styled
def draw_predictions(arrays: Arrays, columns: Sequence[tuple[str, str]]) -> Sheet:
    """A row an image; the image and, task by task, its maps.

    Args:
        arrays: As ``arrays.qualitative`` makes them.
        columns: (role, label above it): what to show of each task, truth included.
    """
    return draw_grids(Grid(arrays=arrays, groups=task_groups(arrays, columns)), panel=1.4)[0]


# ---------------------------------------------------------------------- data


def constant_guess(train: Dataset, test: Dataset) -> dict[str, float]:
    """What a network would get that never looks at its image: the same answer everywhere.

    The answer is the most frequent class, the median or the mean direction of labeled training
    pixels: those of the first ``BATCHES`` batches.

    Returns:
        ``"task/metric"`` -> value on the test images, as ``engine.evaluate``.
    """
    seen = list(islice(EvalLoader(train, IMAGES), BATCHES))
    answers = {t.name: _typical(t, seen) for t in train.tasks}  # (D,)
    metrics = {t.name: t.metric() for t in train.tasks}
    for batch in EvalLoader(test, IMAGES):
        for name, metric in metrics.items():
            target = batch.targets[name]
            size = (len(target), -1, *target.shape[2:])
            guess = answers[name].view(1, -1, 1, 1).expand(size)
            metric.update(guess, target, batch.mask(name))
    return {f"{n}/{k}": v for n, metric in metrics.items() for k, v in metric.compute().items()}


def _typical(task: Task, batches: Sequence[Batch]) -> Tensor:
    """(D,): one pixel of a prediction."""
    values = torch.cat(
        [b.targets[task.name].movedim(1, -1)[b.mask(task.name)[:, 0]] for b in batches]
    )  # (pixels, D)
    match task.kind:
        case "classes":
            return torch.bincount(values[:, 0], minlength=task.channels).float()  # as logits
        case "positive":
            return values.median(0).values
        case "direction":
            return torch.nn.functional.normalize(values.mean(0), dim=0)
        case "binary":
            return values.mean(0).logit(eps=1e-6)
