"""The floor that a table stands on: what one gets without looking at the image."""

from collections.abc import Sequence
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.dataset import Dataset, EvalLoader
from mtpsl.tasks import Task

BATCHES, IMAGES = 8, 8  # training batches that a constant guess looks at, and images in each


def constant_guess(train: Dataset, test: Dataset) -> dict[str, float]:
    """Scores a network that never looks at its image and gives the same answer everywhere.

    The answer is the most frequent class, the median or the mean direction of labeled training
    pixels: those of the first ``BATCHES`` batches.

    Returns:
        ``"task/metric"`` -> value on the test images, as ``engine.evaluate``.
    """
    batches = list(islice(EvalLoader(train, IMAGES), BATCHES))
    answers = {t.name: typical_pixel(t, batches) for t in train.tasks}  # (D,)
    metrics = {t.name: t.metric() for t in train.tasks}
    for batch in EvalLoader(test, IMAGES):
        for name, metric in metrics.items():
            target = batch.targets[name]
            size = (len(target), -1, *target.shape[2:])
            guess = answers[name].view(1, -1, 1, 1).expand(size)
            metric.update(guess, target, batch.mask(name))
    return {f"{n}/{k}": v for n, metric in metrics.items() for k, v in metric.compute().items()}


def typical_pixel(task: Task, batches: Sequence[Batch]) -> Tensor:
    """The best constant prediction for the labeled pixels of some batches, (D,)."""
    values = torch.cat(
        [b.targets[task.name].movedim(1, -1)[b.mask(task.name)[:, 0]] for b in batches]
    )  # (pixels, D)
    match task.kind:
        case "classes":
            return torch.bincount(values[:, 0], minlength=task.channels).float()  # as logits
        case "positive":
            return values.median(0).values
        case "direction":
            return F.normalize(values.mean(0), dim=0)
        case "binary":
            return values.mean(0).logit(eps=1e-6)
