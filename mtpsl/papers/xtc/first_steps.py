"""How hard each term pulls on a network, before it has learned anything and after, as JSON.

``python -m mtpsl.papers.xtc.first_steps`` writes what ``21_xtc_tables`` reads: the length of the
gradient of the labels and of what ties two tasks, in networks as a table's rows begin with them.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl import files, papers
from mtpsl.batch import Batch
from mtpsl.data.dataset import TrainLoader
from mtpsl.engine import seeded
from mtpsl.methods import Method
from mtpsl.report.records import row_experiments
from mtpsl.runs.data import bind_data, label, open_split, training_batches
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import build, load_method
from mtpsl.runs.store import RunStore, Session, environment

ROWS = (
    ("xtc/table2", "one/Semi-supervised Learning"),
    ("xtc/table2", "one/Direct-Map"),
    ("xtc/table2", "one/Perceptual-Map"),
    ("xtc/table2", "one/Ours"),
    ("xtc/table5", "Ours"),
    ("xtc/table1", "one/Ours"),
    ("xtc/table3", "one/Ours"),
    ("xtc/table3", "random/Ours"),
)
FULL_SIZE = (("xtc/table2", "one/Ours"),)  # at profile "full": a batch takes minutes
TRAINED = (("xtc/table2", "one/Semi-supervised Learning"),)  # looked at when training is over


def untrained(experiment: Experiment) -> tuple[Method, TrainLoader]:
    """What an experiment on a stand-in begins with, for methods that need no ``prepare``."""
    experiment = bind_data(experiment)
    method = build(experiment)
    partial, _ = label(experiment, open_split(experiment, "train"))
    return method, training_batches(experiment, method, partial)


def gradient_lengths(method: Method, batches: Sequence[tuple[Batch, ...]]) -> dict[str, float]:
    """How hard each term of the loss pulls on the backbone that all tasks share.

    Args:
        method: Has a ``net`` with a ``backbone``; left as it is but for BatchNorm's statistics.
        batches: Of a ``TrainLoader``.

    Returns:
        Means over the batches: the length of the gradient of ``"labels"``, the tasks' own terms
        together, then of each other term, all with their weights.
    """
    lengths = Counter[str]()
    for gradients in _gradients(method, batches):
        for name, gradient in gradients.items():
            lengths[name] += float(gradient.norm()) / len(batches)
    return dict(lengths)


def gradient_cosines(method: Method, batches: Sequence[tuple[Batch, ...]]) -> dict[str, float]:
    """The mean cosine between each further term's gradient and that of the labels."""
    cosines = Counter[str]()
    for gradients in _gradients(method, batches):
        labels = gradients.pop("labels")
        for name, gradient in gradients.items():
            cosines[name] += float(F.cosine_similarity(labels, gradient, dim=0)) / len(batches)
    return dict(cosines)


def _gradients(method: Method, batches: Iterable[tuple[Batch, ...]]) -> Iterator[dict[str, Tensor]]:
    """For each batch, a term's name -> its gradient at the shared backbone, one float64 vector."""
    shared = list(method.net.backbone.parameters())

    def gradient(term: Tensor) -> Tensor:
        if not term.requires_grad:  # nothing in this batch that it compares
            return torch.zeros(sum(p.numel() for p in shared), dtype=torch.float64)
        parts = torch.autograd.grad(term, shared, retain_graph=True, materialize_grads=True)
        return torch.cat([part.double().flatten() for part in parts])

    training = method.training
    method.train()
    for views in batches:
        terms = method.training_step(*views, progress=1.0)
        labels = torch.stack([terms.pop(name) for name in method.tasks.names]).sum()
        yield {name: gradient(term) for name, term in {"labels": labels, **terms}.items()}
    method.train(training)


def adam_step_lengths(
    method: Method, batches: Iterable[tuple[Batch, ...]], *, lr: float, total: int
) -> dict[str, list[float]]:
    """Trains with Adam at a constant rate and watches the backbone that all tasks share.

    Args:
        method: Is trained.
        batches: One step each.
        lr: Adam's learning rate.
        total: Steps of the training that these are the beginning of.

    Returns:
        A number a step: the length of the ``gradient``; that of the root of Adam's bias-corrected
        second moments, as ``remembered``; how far weights ``moved``, root mean square in ``lr``.
    """
    shared = list(method.net.backbone.parameters())
    optimizer = torch.optim.Adam(method.param_groups(lr), lr=lr)
    lengths: dict[str, list[float]] = {"gradient": [], "remembered": [], "moved": []}
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
        lengths["gradient"].append(sum(float(p.grad.square().sum()) for p in used) ** 0.5)
        lengths["remembered"].append((second / (1 - beta ** (step + 1))) ** 0.5)
        lengths["moved"].append(float(torch.stack(moved).mean()) ** 0.5 / lr)
    return lengths


def first_steps(
    rows: Iterable[tuple[str, str]] = ROWS,
    profile: str = "quick",
    batches: int = 3,
    store: RunStore | None = None,
    images: int | None = None,
) -> Iterator[dict[str, Any]]:
    """``table``, ``row``, ``data``, ``label_setting`` and ``terms``, the ``gradient_lengths``.

    Args:
        rows: Name of a table and of its row, which has one experiment.
        profile: A key of ``PROFILES``.
        batches: How many of the first epoch.
        store: Has the rows' finished runs: the weights they ended with are looked at, and their
            ``gradient_cosines`` are added as ``agreement``. None: untrained networks.
        images: Of the training split, where not all of them are wanted.

    Raises:
        FileNotFoundError: If the store lacks a run.
    """
    measures = {"terms": gradient_lengths} | ({"agreement": gradient_cosines} if store else {})
    for table, row in rows:
        (experiment,) = row_experiments(papers.tables()[table].row(row), profile, 0)
        experiment = experiment.replace(train_images=images or experiment.train_images)
        method, loader = untrained(experiment)
        if store:
            method = load_method(experiment, Session(store, "cpu"))
        entry = {"table": table, "row": row, "data": experiment.dataset}
        entry["label_setting"] = experiment.label_setting
        for name, measure in measures.items():
            with seeded(torch.device("cpu"), experiment.seed, "first steps"):  # of Gumbel noise
                measured = measure(method, list(islice(loader.epoch(0), batches)))
            entry[name] = {term: round(value, 2) for term, value in measured.items()}
        yield entry


def main(argv: list[str] | None = None) -> int:
    """Prints a line a row and writes all of them."""
    program = "python -m mtpsl.papers.xtc.first_steps"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--full-size", action="store_true", help="the papers' size too; 16 GB")
    parser.add_argument("--runs", type=Path, help="folder of finished runs: their last steps too")
    parser.add_argument("--out", type=Path, default=Path("figures/companion/first_steps.json"))
    args = parser.parse_args(argv)
    parts = {"rows": first_steps(ROWS, args.profile, args.batches)}
    if args.full_size:
        parts["full_size"] = first_steps(FULL_SIZE, "full", batches=1, images=24)
    if args.runs:
        parts["trained"] = first_steps(TRAINED, args.profile, args.batches, RunStore(args.runs))
    report: dict[str, Any] = {"profile": args.profile, **environment(torch.device("cpu"))}
    for part, entries in parts.items():
        report[part] = []
        for entry in entries:
            shown = {k: v for k, v in entry.items() if k in ("terms", "agreement")}
            print(f"{part}: {entry['table']} {entry['row']}: {shown}", flush=True)
            report[part].append(entry)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(args.out, report)
    print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
