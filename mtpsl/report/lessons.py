"""What the tour, the tables and the figures of the notebooks share.

Everything measured comes from two sources that are never blended: what was recorded before, and
what the notebook has just computed.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl import papers
from mtpsl.batch import Batch
from mtpsl.data.dataset import Dataset
from mtpsl.data.loader import EvalLoader, TrainLoader
from mtpsl.methods import Method
from mtpsl.metrics import COLUMNS
from mtpsl.report.arrays import Arrays
from mtpsl.report.files import footer, load_arrays
from mtpsl.report.make import Made, make_figure
from mtpsl.report.maps import FOOTER, LEGEND, image_grid, legends, map_to_rgb
from mtpsl.report.records import run_table
from mtpsl.report.render import COMPUTED, PAPER, RECORDED
from mtpsl.report.results import Results, decide, decide_printed, load_recorded
from mtpsl.report.style import Sheet, styled
from mtpsl.report.tables import Table
from mtpsl.runs.data import bind_data, label, open_split, training_batches
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import build
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


def both(name: str, recorded: Path, *, folder: Path, **options: Any) -> dict[str, Made]:
    """A figure from each source: drawn again from recorded arrays, and made now.

    Args:
        name: A key of ``FIGURES``.
        recorded: Folder of the recorded figures of all papers; where it is ``folder``, or holds
            no such figure, only the new one is returned.
        folder: Where the new one goes.
        **options: Of ``make_figure``.
    """
    known = papers.figures()[name]
    path = recorded / f"{name}.npz"
    found = {}
    if recorded != folder and path.exists():
        arrays = load_arrays(path)
        figure = known.draw(arrays)
        footer(figure, json.loads(path.with_suffix(".json").read_text())["made_from"]["data"])
        words = {"caption": known.caption, "alt": known.alt}
        found[RECORDED] = Made(figure=figure, arrays=arrays, path=path.with_suffix(".png"), **words)
    return found | {COMPUTED: make_figure(name, folder=folder, **options)}


@styled
def draw_predictions(arrays: Arrays, columns: Sequence[tuple[str, str]]) -> Sheet:
    """A row an image; the image and, task by task, its maps.

    Args:
        arrays: As ``figure_arrays.qualitative`` makes them.
        columns: (role, label above it): what to show of each task, truth included.
    """
    groups = [("", [("images", "Image")])]
    for task, title in zip(arrays["tasks"], arrays["titles"], strict=True):
        groups.append((str(title), [(f"{task}/{role}", label) for role, label in columns]))
    keys = [key for _, group in groups[1:] for key, _ in group]

    def draw(key: str, index: int) -> Any:
        return arrays[key][index] if key == "images" else map_to_rgb(arrays, key, index)

    sheet, _ = image_grid(arrays, groups, draw, panel=1.4)
    legends(sheet, arrays, keys, sheet.height - FOOTER - LEGEND + 0.1)
    return sheet


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


# ------------------------------------------------------------------ training


def untrained(experiment: Experiment) -> tuple[Method, TrainLoader]:
    """What an experiment on a stand-in begins with, for methods that need no ``prepare``."""
    experiment = bind_data(experiment)
    method = build(experiment)
    partial, _ = label(experiment, open_split(experiment, "train"))
    return method, training_batches(experiment, method, partial)


def pulls(method: Method, batches: Sequence[tuple[Batch, ...]]) -> dict[str, float]:
    """How hard each term of the loss pulls on the backbone that all tasks share.

    Args:
        method: Has a ``net`` with a ``backbone``; left as it is but for BatchNorm's statistics.
        batches: Of a ``TrainLoader``; the lengths are their mean.

    Returns:
        The length of the gradient of ``"labels"``, the tasks' own terms together, then of each
        other term, all with their weights.
    """
    lengths = Counter[str]()
    for gradients in _pulls(method, batches):
        for name, gradient in gradients.items():
            lengths[name] += float(gradient.norm()) / len(batches)
    return dict(lengths)


def agreement(method: Method, batches: Sequence[tuple[Batch, ...]]) -> dict[str, float]:
    """Whether each further term of the loss pulls where the labels pull.

    Args:
        method: As in ``pulls``.
        batches: As in ``pulls``.

    Returns:
        The mean cosine between its gradient and that of the labels.
    """
    cosines = Counter[str]()
    for gradients in _pulls(method, batches):
        labels = gradients.pop("labels")
        for name, gradient in gradients.items():
            cosines[name] += float(F.cosine_similarity(labels, gradient, dim=0)) / len(batches)
    return dict(cosines)


def _pulls(method: Method, batches: Iterable[tuple[Batch, ...]]) -> Iterator[dict[str, Tensor]]:
    """Of each batch: name of a term -> its gradient at the shared backbone, one float64 vector."""
    shared = list(method.net.backbone.parameters())
    training = method.training
    method.train()
    for views in batches:
        terms = method.training_step(*views, progress=1.0)
        own = [terms.pop(name) for name in method.tasks.names]
        named = {"labels": torch.stack(own).sum(), **terms}
        yield {name: _gradient(term, shared) for name, term in named.items()}
    method.train(training)


def _gradient(term: Tensor, shared: Sequence[Tensor]) -> Tensor:
    if not term.requires_grad:  # nothing in this batch that it compares
        return torch.zeros(sum(p.numel() for p in shared), dtype=torch.float64)
    found = torch.autograd.grad(term, shared, retain_graph=True, materialize_grads=True)
    return torch.cat([gradient.double().flatten() for gradient in found])


def adam_steps(
    method: Method, batches: Iterable[tuple[Batch, ...]], *, lr: float, total: int
) -> dict[str, list[float]]:
    """Trains with Adam at a constant rate and watches the backbone that all tasks share.

    Args:
        method: Is trained.
        batches: One step each.
        lr: Adam's learning rate.
        total: Steps of the training that these are the beginning of.

    Returns:
        A number a step: the length of the ``gradient``; the length that Adam remembers, of the
        root of its bias-corrected second moments, as ``remembered``; and how far weights moved,
        root mean square in units of ``lr``, as ``moved``.
    """
    shared = list(method.net.backbone.parameters())
    optimizer = torch.optim.Adam(method.param_groups(lr), lr=lr)
    found: dict[str, list[float]] = {"gradient": [], "remembered": [], "moved": []}
    method.train()
    for step, views in enumerate(batches):
        before = [p.detach().clone() for p in shared]
        optimizer.zero_grad(set_to_none=True)
        terms = method.training_step(*views, progress=step / total)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        used = [p for p in shared if p.grad is not None]
        beta = optimizer.param_groups[0]["betas"][1]
        second = sum(float(optimizer.state[p]["exp_avg_sq"].sum()) for p in used)
        moved = [(p.detach() - b).square().mean() for p, b in zip(shared, before, strict=True)]
        found["gradient"].append(sum(float(p.grad.square().sum()) for p in used) ** 0.5)
        found["remembered"].append((second / (1 - beta ** (step + 1))) ** 0.5)
        found["moved"].append(float(torch.stack(moved).mean()) ** 0.5 / lr)
    return found
