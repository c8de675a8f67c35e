"""The report on a folder of one's own: which labels are there, and what they hold."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
from mtpsl.data.readers.nyud_axes import CERTAIN, FIELD_OF_VIEW, OURS, axes_name, pairs, rank_axes
from mtpsl.data.readers.own import IMAGE, SPLITS, Own, find_root
from mtpsl.data.readers.own_toml import DESCRIPTION, to_axes
from mtpsl.tasks import Task

SAMPLED = 4000  # pixels an image that numbers are judged on
ENOUGH = 100  # pixels with normals and depth that axes are judged on


def report(path: str | Path, *, images: int = 32, read_all: bool = False) -> tuple[str, bool]:
    """A report on a folder in the layout of ``own.Own``.

    Args:
        path: As ``root`` of ``Own``.
        images: How many to read of each split, evenly spread.
        read_all: Reads them all.

    Returns:
        The text, and False if anything is damaged, out of range or in both splits. Which labels
        are missing is said, and is no failure.

    Raises:
        FileNotFoundError: If the folder has another layout.
    """
    root = find_root(path)
    seen: dict[str, Own] = {}

    def describe(dataset: Own, found: "_Survey", problems: list[str]) -> Iterator[str]:
        seen[dataset.split] = dataset
        if len(seen) == len(SPLITS):
            problems += _in_both(*seen.values())
        return _describe(dataset, found)

    used = {DESCRIPTION, *SPLITS}
    others = [p.name for p in sorted(root.iterdir()) if p.name not in used and p.name[0] != "."]
    title = f"a folder of your own: {root}"
    if others:
        title += f"\nnot looked at: {', '.join(others)}"
    return disk.folder_report(
        title,
        lambda split: Own(split, root=root),
        _survey,
        describe,
        None if read_all else images,
    )


@dataclass
class _Survey:
    """Sums and samples over the images that were read."""

    read: int = 0
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)  # task -> labels read
    known: dict[str, float] = field(default_factory=dict)  # task -> summed share of pixels
    pixels: dict[str, Tensor] = field(default_factory=dict)  # task -> counts of classes, or of 0, 1
    shown: dict[str, Tensor] = field(default_factory=dict)  # task -> labels with the class
    values: dict[str, list[Tensor]] = field(default_factory=dict)  # task -> samples of its numbers
    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # (n, 3): file, from depth

    def add(self, dataset: Own, index: int, sample: Sample) -> None:
        self.read += 1
        self.heights.append(sample.image.shape[1])
        self.widths.append(sample.image.shape[2])
        there = [task for task in dataset.tasks if dataset.path(task.name, index)]
        for task in there:
            self._add_label(task, sample.targets[task.name], sample.valid[task.name])
        metric = [t.name for t in there if t.kind == "positive" and t.unit]
        turned = [t.name for t in there if t.kind == "direction"]
        for depth, normals in zip(metric, turned, strict=False):
            self.pairs.append(pairs(sample.targets[normals], sample.targets[depth][0]))

    def _add_label(self, task: Task, target: Tensor, valid: Tensor) -> None:
        name = task.name
        self.labels[name] = self.labels.get(name, 0) + 1
        self.known[name] = self.known.get(name, 0.0) + float(valid.float().mean())
        if task.kind in ("classes", "binary"):
            count = task.channels if task.kind == "classes" else 2
            found = torch.bincount(target[valid].long(), minlength=count)
            none = torch.zeros(count, dtype=found.dtype)
            self.pixels[name] = self.pixels.get(name, none) + found
            self.shown[name] = self.shown.get(name, none) + (found > 0)
        else:
            numbers = target[0][valid[0]] if task.kind == "positive" else target[2][valid[0]]
            step = max(1, len(numbers) // SAMPLED)
            self.values.setdefault(name, []).append(numbers[::step])


def _survey(dataset: Own, images: int) -> tuple[_Survey, list[str]]:
    found, problems = _Survey(), []
    for index in disk.spread(len(dataset), images):
        try:
            sample = dataset.read(index)
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        found.add(dataset, index, sample)
    return found, problems


def _in_both(train: Own, test: Own) -> list[str]:
    """A sentence for each test image whose file is also a training image."""
    sizes: dict[int, list[Path]] = {}
    for index in range(len(train)):
        path = train.path(IMAGE, index)
        sizes.setdefault(path.stat().st_size, []).append(path)
    problems = []
    for index in range(len(test)):
        path = test.path(IMAGE, index)
        for other in sizes.get(path.stat().st_size, ()):
            if path.read_bytes() == other.read_bytes():
                problems.append(
                    f"{path}: expected no image of {other.parent}, found the content of "
                    f"{other.name}; a test image must not be trained on, remove one"
                )
                break
    return problems


def _describe(dataset: Own, found: _Survey) -> Iterator[str]:
    yield f"{dataset.split}: {len(dataset)} images; {found.read} of them read"
    counts = {task: int(dataset.carries(task).sum()) for task in dataset.tasks.names}
    words = ", ".join(f"{task} {count}" for task, count in counts.items())
    carried = torch.stack([dataset.carries(task) for task in counts]).sum(dim=0)
    every, none = int((carried == len(counts)).sum()), int((carried == 0).sum())
    yield f"  labels       {words}; all of them on {every} images, none on {none}"
    for task, count in counts.items():
        if not count:
            yield f"               none of {task}, so nothing will be measured of it"
    if not found.read:
        return
    yield (
        f"  sizes        {min(found.heights)} to {max(found.heights)} high, "
        f"{min(found.widths)} to {max(found.widths)} wide"
    )
    for task in dataset.tasks:
        if task.name in found.labels:
            yield from _describe_task(task, found)
    yield from _describe_axes(dataset, found)


def _describe_task(task: Task, found: _Survey) -> Iterator[str]:
    labels = found.labels[task.name]
    without = 100 * (1 - found.known[task.name] / labels)
    begin = f"  {task.name:<12} {without:.1f} % of pixels without, in {labels} labels"
    if task.kind == "classes":
        yield f"{begin}; classes as percent of pixels, and of labels"
        counts, shown = found.pixels[task.name], found.shown[task.name]
        shares = (100 * counts / counts.sum()).tolist()
        for name, share, images in zip(task.class_names, shares, shown.tolist(), strict=True):
            often = 100 * images / labels
            odd = "" if images else "   never"
            yield f"               {name:<16} {share:8.2f} {often:8.0f}{odd}"
    elif task.kind == "binary":
        counts = found.pixels[task.name]
        yield f"{begin}; yes on {100 * float(counts[1] / counts.sum()):.1f} % of the others"
    elif task.kind == "positive":
        values = torch.cat(found.values[task.name])
        low, middle, high = np.quantile(values.numpy(), [0.01, 0.5, 0.99])
        yield (
            f"{begin}; median {middle:.3g}{task.unit and ' ' + task.unit}, from {low:.3g} (1 %) to "
            f"{high:.3g} (99 %)"
        )
    else:
        z = torch.cat(found.values[task.name])
        toward = 100 * float((z < -0.5).float().mean())
        yield f"{begin}; {toward:.0f} % of the others clearly face the camera (z < -0.5)"


def _describe_axes(dataset: Own, found: _Survey) -> Iterator[str]:
    """Which axes the normals have, judged by the depth, where images have both."""
    if not found.pairs:
        return
    ours, others = (torch.cat(part) for part in zip(*found.pairs, strict=True))
    if len(ours) < ENOUGH:
        return
    (best, angle), (_, second) = rank_axes(ours, others)[:2]
    _, off, better = CERTAIN
    certain = angle <= off and second - angle >= better
    verdict = "as they should" if best == OURS else "not as (x, y, z)"
    yield (
        f"  axes         the normals fit the depth best as {axes_name(best)}, "
        f"{verdict if certain else 'which proves nothing'}:"
    )
    yield (
        f"               {angle:.1f} degrees off on average, next best {second:.1f}, assuming a "
        f"field of view of {FIELD_OF_VIEW:g} degrees"
    )
    if certain and best != OURS:
        (settings,) = (dataset.description[t.name] for t in dataset.tasks if t.kind == "direction")
        channels, signs = to_axes(settings["axes"])
        of_file = (
            tuple(channels[c] for c in best[0]),
            tuple(s * signs[c] for c, s in zip(*best, strict=True)),
        )
        names = json.dumps(axes_name(of_file)[1:-1].split(", "))
        yield f"               if that camera is yours, set axes = {names} under [normals]"
