"""What each term of a loss does to the backbone that all tasks share."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.loader import TrainLoader
from mtpsl.methods import Method
from mtpsl.runs.data import bind_data, label, open_split, training_batches
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import build


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
