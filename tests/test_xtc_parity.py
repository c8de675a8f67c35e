"""XTC beside its released code: the same losses, the same gradients, the same first steps.

``figures/xtc/parity.json`` holds what both computed in one process from the same weights, noise and
batch, which is in ``parity.npz``. The released code is no part of this package, so what it computed
is read from there, and only our side is computed again. Rounding grows about a hundredfold a step,
in float32 to some percent at once; in float64 the first four steps are still the same.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.models import build_backbone
from mtpsl.papers.xtc import loss, storm
from mtpsl.papers.xtc.mapping import label_input
from mtpsl.papers.xtc.method import XTC
from mtpsl.tasks import Task, TaskSet, depth, normals, semseg

FOLDER = Path(__file__).parents[1] / "figures/xtc"
TASKS = TaskSet((semseg(13), depth(), normals()))
TERMS = (*TASKS.names, "cross_task", "regularizer")  # weighted, as they are minimized
STEPS, LR = 20, 1e-4  # the rate of gamma and beta is 10 times LR
TO_FLOAT = Tensor.float


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads((FOLDER / "parity.json").read_text())


def recorded_views(dtype: torch.dtype) -> list[Batch]:
    """Two views of four rooms, each with one label."""
    views = []
    with np.load(FOLDER / "parity.npz") as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored}
    for view in "01":
        targets = {t.name: arrays[f"{view}/{t.name}"].to(t.target_dtype) for t in TASKS}
        batch = Batch.from_targets(arrays[f"{view}/images"].to(dtype) / 255, targets, TASKS)
        targets = {n: x.to(dtype) if x.is_floating_point() else x for n, x in targets.items()}
        views.append(replace(batch, targets=targets))
    return views


def waiting(step: int, image: int) -> Tensor:
    """(13, 64, 96) float64, exponential; an image's noise in a step is minus its logarithm."""
    generator = torch.Generator().manual_seed(100 * step + image)
    uniform = torch.rand(13, 64, 96, dtype=torch.float64, generator=generator)
    return -uniform.clamp(1e-12, 1 - 1e-12).log()


def untrained(dtype: torch.dtype, **options: object) -> XTC:
    """A quarter as wide, Xavier-uniform in float64, which every processor draws alike."""
    method = XTC(TASKS, build_backbone("segnet", 0.25), statistics="image", **options).double()
    generator = torch.Generator().manual_seed(0)
    for kernel in (p for p in method.parameters() if p.dim() == 4):
        torch.nn.init.xavier_uniform_(kernel, generator=generator)
    return method.to(dtype).train()


@contextmanager
def as_released(step: int, dtype: torch.dtype) -> Iterator[None]:
    """The step's noise, holes of normals at 0.5 (``loss.CHOICES``), and no cast to less."""

    def filled(task: Task, target: Tensor, mask: Tensor) -> Tensor:
        with patch.object(Tensor, "float", TO_FLOAT):
            maps = label_input(task, target, mask).to(dtype)
        return torch.where(mask, maps, 0.5) if task.kind == "direction" else maps

    def noise(_: loss.Inputs, task: Task, rows: tuple[int, ...]) -> Tensor | None:
        samples = [-waiting(step, row).to(dtype).log() for row in rows]
        return torch.stack(samples) if task.kind == "classes" else None

    with (
        patch.object(loss, "label_input", filled),
        patch.object(loss.Inputs, "noise", noise),
        patch.object(Tensor, "float", lambda maps: maps.to(dtype)),
    ):
        yield


def first_steps(method: XTC, views: list[Batch], steps: int) -> dict[str, list[float]]:
    """Term -> its value before each step of Adam."""
    optimizer = torch.optim.Adam(method.param_groups(LR), lr=LR)
    found = {name: [] for name in TERMS}
    for step in range(steps):
        with as_released(step, views[0].images.dtype):
            terms = method.training_step(*views, progress=1.0)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        for name in TERMS:
            found[name].append(terms[name].item())
    return found


def differences(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> list[float]:
    """Step -> the largest relative difference of any term."""
    pairs = [zip(ours[n], theirs[n], strict=False) for n in TERMS]
    each = [[abs(a - b) / abs(b) for a, b in pair] for pair in pairs]
    return [max(step) for step in zip(*each, strict=True)]


def test_the_record_is_complete(record: dict) -> None:
    assert record["released"]["commit"].startswith("e9d8859")
    for precision in ("float32", "float64"):
        steps = record["steps"][precision]
        for side in ("released", "ours"):
            assert set(steps[side]) == set(TERMS)
            assert all(len(v) == STEPS and all(map(math.isfinite, v)) for v in steps[side].values())
        assert steps["difference"] == differences(steps["ours"], steps["released"])
    for precision, near in (("float32", 1e-3), ("float64", 1e-8)):  # one sample falls elsewhere
        assert set(record["start"][precision]) == {"labels", "cross_task", "regularizer"}
        for term in record["start"][precision].values():
            assert term["loss"]["ours"] == pytest.approx(term["loss"]["released"], rel=near)
            assert term["gradient"]["ours"] == pytest.approx(term["gradient"]["released"], rel=near)
            assert term["cosine"] > 1 - near
    along = record["same_weights"]
    assert len(along["difference"]) == len(along["cosine"]) == STEPS
    assert max(along["difference"]) < 1e-8 and min(along["cosine"]) > 1 - 1e-8


def test_gradients_at_the_start_are_those_of_the_released_code(record: dict) -> None:
    views, method = recorded_views(torch.float64), untrained(torch.float64)
    with as_released(0, torch.float64):
        lengths = storm.gradient_lengths(method, [views])
    start = record["start"]["float64"]
    released = {name: term["gradient"]["released"] for name, term in start.items()}
    assert lengths == pytest.approx(released, rel=1e-7)


def test_first_steps_are_those_of_the_released_code(record: dict) -> None:
    released = record["steps"]["float64"]["released"]
    ours = first_steps(untrained(torch.float64), recorded_views(torch.float64), 3)
    assert np.less(differences(ours, released), [1e-9, 1e-7, 1e-5]).all()
    slow = first_steps(untrained(torch.float64, film_lr=1.0), recorded_views(torch.float64), 2)
    assert differences(slow, released)[1] > 1e-4  # what a tenth of FiLM's rate would change
