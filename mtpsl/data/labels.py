"""Which image keeps which label: the settings of partially labeled learning.

An ``Assignment`` decides; ``PartialLabels`` wraps a dataset and overwrites what is withheld, so
that nothing behind it can see those labels.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.dataset import Dataset, Sample
from mtpsl.data.formats import read_label_split, refusal


@dataclass(frozen=True, eq=False)
class Assignment:
    """Which label every image keeps."""

    labeled: Tensor  # (N, K) bool, columns in the order of ``tasks``
    tasks: tuple[str, ...]
    setting: str  # "one_label", ..., or "file"

    def __len__(self) -> int:
        return len(self.labeled)

    @property
    def counts(self) -> dict[str, int]:
        """task -> how many images keep its label."""
        return dict(zip(self.tasks, self.labeled.sum(dim=0).tolist(), strict=True))

    @property
    def hash(self) -> str:
        """12 hex digits of the content: the same on every machine, whatever the origin."""
        head = f"{len(self)} {' '.join(self.tasks)}\n".encode()
        bits = np.packbits(self.labeled.numpy()).tobytes()
        return hashlib.sha256(head + bits).hexdigest()[:12]

    def select(self, tasks: Sequence[str]) -> "Assignment":
        """Keeps the columns of ``tasks``: what a network for fewer tasks gets of the assignment.

        Raises:
            ValueError: If a task has no column.
        """
        missing = [task for task in tasks if task not in self.tasks]
        if missing:
            raise ValueError(f"tasks: expected some of {self.tasks}, got {missing}")
        columns = [self.tasks.index(task) for task in tasks]
        return replace(self, labeled=self.labeled[:, columns], tasks=tuple(tasks))


def assign(
    setting: str,
    images: int,
    tasks: Sequence[str],
    *,
    seed: int = 0,
    carries: Mapping[str, Tensor] | None = None,
    **args: Any,
) -> Assignment:
    """Draws an assignment; the same arguments give the same one on every machine.

    Args:
        setting: ``"full"``: every label. ``"as_found"``: the same, where the files of one's own
            data decide who has which. ``"one_label"``: one per image, the same number for
            every task. ``"random_labels"``: 1 to K-1 an image, every pattern of that size about
            as often. ``"few_shot"``: ``task`` keeps ``shots`` (10) labels, the others all.
            ``"ratio"``: one per image, task shares as in ``ratio``: ``"1:9"`` in the order of
            ``tasks``, or ``{"semseg": 1, "depth": 9}``. ``"share"``: every task on that ``share``
            of its images, drawn task by task, so that an image may keep all labels or none.
        images: N.
        tasks: All tasks of the dataset. A network for fewer of them takes
            ``Assignment.select``, so that it learns from the labels they would share.
        seed: Which images; independent of NumPy's and torch's global state.
        carries: task -> (N,) bool, images that can have the task's label at all
            (``Dataset.carries``); every image where a task is not named. Shares then hold as
            nearly as the images allow.
        **args: Of the setting, as above.

    Raises:
        ValueError: If an argument is unknown or out of range, or an image can carry no task and
            the setting gives a label to each.
    """
    if setting not in SETTINGS:
        raise ValueError(f"setting: expected one of {list(SETTINGS)}, got {setting!r}")
    draw, known = SETTINGS[setting]
    unknown = sorted(set(args) - set(known))
    if unknown:
        raise ValueError(f"{setting}: expected arguments among {list(known)}, got {unknown}")
    if images < 1 or not tasks:
        raise ValueError(f"images, tasks: expected at least one of each, got {images}, {tasks}")
    possible = np.ones((images, len(tasks)), dtype=bool)
    for task, able in (carries or {}).items():
        if task not in tasks or able.shape != (images,):
            expected = f"({images},) a task of {tuple(tasks)}"
            raise ValueError(f"carries: expected {expected}, got {tuple(able.shape)} for {task!r}")
        possible[:, list(tasks).index(task)] = able.numpy()
    if setting in GIVE_EACH and not possible.any(axis=1).all():
        image = int(np.flatnonzero(~possible.any(axis=1))[0])
        remedy = "leave it out, or take the setting full"
        got = f"none for image {image}"
        raise ValueError(f"carries: expected a task for every image, got {got}; {remedy}")
    rng = np.random.Generator(np.random.PCG64([seed, *setting.encode()]))
    labeled = draw(rng, possible, tuple(tasks), **args)
    return Assignment(torch.from_numpy(labeled), tuple(tasks), setting)


def find_label_file(root: str | Path, setting: str) -> Path | None:
    """Finds the label-split file that lies beside a data set, None where there is none.

    It lies in ``root/label_splits``, ``.pth`` or ``.npy``, and its name ends in ``onelabel`` or
    ``randomlabels``, as the authors of [XTC] call them; other settings are always drawn.

    Raises:
        ValueError: If there are several.
    """
    ending = FILES.get(setting)
    if ending is None:
        return None
    folder = Path(root) / "label_splits"
    paths = sorted(p for suffix in (".npy", ".pth") for p in folder.glob(f"*{ending}{suffix}"))
    if len(paths) > 1:
        names = f"{paths[0].name} and {paths[1].name}"
        raise refusal(folder, f"one file for {setting}", names, "keep the one of this data set")
    return paths[0] if paths else None


def assignment_from_file(
    path: str | Path,
    tasks: Sequence[str],
    images: int,
    *,
    ids: Sequence[str] = (),
    carries: Mapping[str, Tensor] | None = None,
) -> Assignment:
    """Reads the assignment of a label-split file, for the first ``images`` of its rows.

    Args:
        path, carries: See ``read_label_split``.
        tasks: All tasks of the dataset, in the order of the file's columns, if it has columns.
        images: N, at most the file's number of rows.
        ids: Names of all images of the split, in order, for a file that names them. One of rows
            counts the files of the preprocessed layout: "0", "1", ..., where names are given.

    Raises:
        ValueError: If the file is damaged or too small, its columns are not the tasks, or its
            rows not the images.
    """
    if ids and Path(path).suffix != ".npy" and list(ids) != [str(row) for row in range(len(ids))]:
        expected = "images that are numbered as its rows are, 0.npy, 1.npy, ..."
        remedy = "use it with the preprocessed layout, or remove it to have labels drawn"
        raise refusal(Path(path), expected, repr(ids[0]), remedy)
    labeled = read_label_split(path, tasks=tasks, ids=ids, carries=carries)
    if labeled.shape[1] != len(tasks) or len(labeled) < images:
        raise ValueError(
            f"{path}: expected at least {images} rows of {len(tasks)} columns {tuple(tasks)}, "
            f"got {len(labeled)} rows of {labeled.shape[1]}; use the split of this dataset"
        )
    return Assignment(labeled[:images].clone(), tuple(tasks), "file")


class PartialLabels(Dataset):
    """A dataset as a label setting shows it: withheld labels are overwritten here.

    In a withheld label the target holds only ``Task.missing`` and ``valid`` only False. Indices,
    ``Batch.index`` included, are positions in this dataset.

    Args:
        dataset: Everything labeled.
        assignment: One row per image of ``dataset``. Its tasks, in its order, are the tasks of
            this dataset; the others are left out.
        drop_unlabeled: Leaves out images that keep no label, as the single-task baselines of
            [XTC] do.
    """

    def __init__(
        self, dataset: Dataset, assignment: Assignment, *, drop_unlabeled: bool = False
    ) -> None:
        if len(assignment) != len(dataset):
            expected = f"{len(dataset)} rows, one per image"
            raise ValueError(f"assignment: expected {expected}, got {len(assignment)}")
        self.tasks = dataset.tasks.subset(assignment.tasks)
        self.name, self.version, self.split = dataset.name, dataset.version, dataset.split
        self.stand_in, self.height, self.width = dataset.stand_in, dataset.height, dataset.width
        self.dataset = dataset
        keep = assignment.labeled.any(dim=1) | (not drop_unlabeled)
        self.positions = keep.nonzero().flatten()  # (M,) in ``dataset``
        self.assignment = replace(assignment, labeled=assignment.labeled[self.positions])
        if not len(self.positions):
            raise ValueError("assignment: expected at least one label, got none to train on")

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected one in [0, {len(self)}), got {index}")
        sample = self.dataset[int(self.positions[index])]
        targets, valid = {}, {}
        for task, labeled in zip(self.tasks, self.assignment.labeled[index].tolist(), strict=True):
            target, holes = sample.targets[task.name], sample.valid[task.name]
            targets[task.name] = target if labeled else task.fill_missing(target)
            valid[task.name] = holes if labeled else torch.zeros_like(holes)
        return Sample(sample.image, targets, valid)

    def load(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor([int(i) for i in indices], dtype=torch.int64)
        batch = self.dataset.load(self.positions[index].tolist())
        rows = self.assignment.labeled[index]  # (B, K)
        targets, valid, labeled = {}, {}, {}
        for column, task in enumerate(self.tasks):
            keep = rows[:, column].to(batch.images.device)
            shown = keep.view(-1, 1, 1, 1)
            targets[task.name] = batch.targets[task.name].masked_fill(~shown, task.missing)
            valid[task.name] = batch.valid[task.name] & shown
            labeled[task.name] = keep
        index = index.to(batch.images.device)
        return Batch(batch.images, targets, valid, labeled, index)

    def carries(self, task: str) -> Tensor:
        self.tasks[task]
        return self.dataset.carries(task)[self.positions]


# ----------------------------------------------------------------- settings

Names = tuple[str, ...]  # of the tasks, in the order of the columns
Random = np.random.Generator
Draw = Callable[..., np.ndarray]  # (rng, possible (N, K), tasks, **args) -> labeled (N, K) bool


def _ratio(
    rng: Random,
    possible: np.ndarray,
    tasks: Names,
    *,
    ratio: Mapping[str, float] | str | None = None,
) -> np.ndarray:
    expected = f"ratio: expected '1:9' or a weight for each of {tasks}, got {ratio!r}"
    if isinstance(ratio, str):
        parts = ratio.split(":")
        try:
            ratio = dict(zip(tasks, map(float, parts), strict=True))
        except ValueError as error:
            raise ValueError(expected) from error
    if not isinstance(ratio, Mapping) or set(ratio) != set(tasks):
        raise ValueError(expected)
    weights = np.array([ratio[task] for task in tasks], dtype=float)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(f"{expected}; use weights >= 0 that are not all 0")
    return _one_each(rng, possible, weights)


def _random_labels(rng: Random, possible: np.ndarray, tasks: Names) -> np.ndarray:
    images, count = possible.shape
    if count < 2:
        raise ValueError(f"random_labels: expected at least two tasks, got {tasks}")
    labeled = np.zeros_like(possible)
    chunks = np.array_split(rng.permutation(images), count - 1)  # one per number of labels
    for size, chunk in enumerate(chunks, start=1):
        patterns = np.zeros((math.comb(count, size), count), dtype=bool)
        for row, chosen in enumerate(combinations(range(count), size)):
            patterns[row, list(chosen)] = True
        rng.shuffle(patterns)
        labeled[chunk] = patterns[np.arange(len(chunk)) % len(patterns)]
    labeled &= possible
    bare = ~labeled.any(axis=1)  # the pattern asked for nothing that these images can carry
    labeled[bare] = _one_each(rng, possible[bare], np.ones(count))
    return labeled


def _few_shot(
    rng: Random, possible: np.ndarray, tasks: Names, *, task: str = "", shots: int = 10
) -> np.ndarray:
    if task not in tasks:
        raise ValueError(f"task: expected one of {tasks}, got {task!r}")
    column = tasks.index(task)
    able = np.flatnonzero(possible[:, column])
    if not 1 <= shots <= len(able):
        raise ValueError(f"shots: expected 1 to {len(able)} images for {task!r}, got {shots}")
    labeled = possible.copy()
    labeled[:, column] = False
    labeled[rng.permutation(able)[:shots], column] = True
    return labeled


def _share(
    rng: Random, possible: np.ndarray, tasks: Names, *, share: float | None = None
) -> np.ndarray:
    """Each task's label on the first ``share`` of an order of its own, rounded half up.

    Orders are independent, as if every task had been annotated for itself: which other labels an
    image keeps says nothing, and images with none or several are as frequent as chance makes them.
    A design that spreads labels over as many images as possible would change its kind with the
    share: disjoint up to 1/K, overlapping above. The orders do not depend on ``share``, so a larger
    one keeps every label of a smaller one and adds some; share 1 is ``"full"``. Every task keeps
    one label at least.
    """
    known = isinstance(share, int | float) and not isinstance(share, bool)
    if not known or not 0 < share <= 1:
        raise ValueError(f"share: expected a number in (0, 1], got {share!r}")
    labeled = np.zeros_like(possible)
    for column in range(len(tasks)):
        able = rng.permutation(np.flatnonzero(possible[:, column]))
        keep = max(1, math.floor(share * len(able) + 0.5))
        labeled[able[:keep], column] = True
    return labeled


WITHHOLD_NONE = ("full", "as_found")
"""Settings that keep every label."""

SETTINGS: dict[str, tuple[Draw, tuple[str, ...]]] = {
    **dict.fromkeys(WITHHOLD_NONE, (lambda rng, possible, tasks: possible, ())),
    "one_label": (lambda rng, possible, tasks: _one_each(rng, possible, np.ones(len(tasks))), ()),
    "random_labels": (_random_labels, ()),
    "few_shot": (_few_shot, ("task", "shots")),
    "ratio": (_ratio, ("ratio",)),
    "share": (_share, ("share",)),
}
"""Setting -> how it is drawn, and the arguments it takes."""

FILES = {"one_label": "onelabel", "random_labels": "randomlabels"}
"""Setting -> how the name of a published label-split file ends."""

GIVE_EACH = ("one_label", "random_labels", "ratio")
"""Settings that give every image a label."""


def _one_each(rng: Random, possible: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """One label per image; shares of the tasks follow ``weights``, exact up to rounding.

    Images with the fewest options choose first; each takes the task that lacks the largest part
    of its share.
    """
    images, count = possible.shape
    exact = images * weights / weights.sum()
    quota = np.floor(exact).astype(int)
    rest = np.argsort(quota - exact, kind="stable")[: images - quota.sum()]  # largest remainders
    quota[rest] += 1
    order = rng.permutation(images)
    order = order[np.argsort(possible[order].sum(axis=1), kind="stable")]
    given = np.zeros(count, dtype=int)
    labeled = np.zeros_like(possible)
    for image in order:
        lack = np.where(possible[image], (quota - given) / np.maximum(quota, 1), -np.inf)
        task = int(lack.argmax())
        labeled[image, task] = True
        given[task] += 1
    return labeled
