"""What is in a data set: a report for people who bring their own copy, or wonder about a stand-in.

One report serves them all: what a label holds follows from ``Task.kind``, what is usual from
``published.toml``, and what one layout alone can say from the reader's ``notes``.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtpsl.data import DATASETS, find_class, open_dataset, recognize
from mtpsl.data.dataset import Dataset, Sample
from mtpsl.data.labels import FILES, assignment_from_file, find_label_file
from mtpsl.data.readers import PUBLISHED, Published, draw_sheet
from mtpsl.data.readers.disk import (
    CERTAIN,
    FIELD_OF_VIEW,
    OURS,
    SPLITS,
    FolderDataset,
    axes_name,
    pairs,
    rank_axes,
    spread,
)
from mtpsl.data.readers.own import has_pictures
from mtpsl.data.readers.own_files import DESCRIPTION
from mtpsl.data.readers.reading import refusal, stored_type
from mtpsl.tasks import Task

SHEET_ROWS = 6  # samples on a sheet
SAMPLED = 4000  # pixels an image that numbers are judged on
ENOUGH = 100  # pixels with normals and depth that axes are judged on
FACING = 0.5  # of z; beyond it, a normal clearly faces the camera, or away from it
GENERATED = {"height": 96, "width": 128}  # size of a stand-in's images in its report
LISTED = 10  # problems that are written out


def check(
    name_or_path: str | Path,
    *,
    images: int = 32,
    read_all: bool = False,
    cache_dir: str | Path | None = None,
) -> tuple[str, bool]:
    """Reports on a stand-in, by name, or on the folder of a data set in any known layout.

    Args:
        name_or_path: A stand-in's key in ``DATASETS``, a folder, or a file that is a data set.
        images: How many to read of each split, evenly spread; of a stand-in, the first.
        read_all: Reads them all.
        cache_dir: Of generated images.

    Returns:
        The text, and False if anything is damaged, missing or out of range. Unusual statistics
        are pointed out but are no failure.

    Raises:
        ValueError: If it is neither a folder nor a known name, suggesting the nearest.
        FileNotFoundError: If the folder has another layout.
    """
    name = str(name_or_path)
    if name not in DATASETS and Path(name).exists():
        return check_folder(Path(name), images=images, read_all=read_all)
    kind = find_class(name)
    if not kind.stand_in:
        expected = f"the folder of {name} on disk"
        raise ValueError(f"path: expected {expected}, got its name; name the folder")
    what = {**GENERATED, "images": None if read_all else images, "cache_dir": cache_dir}
    lines = [f"{name}, generated as a stand-in for {PUBLISHED[kind.stands_for].name}"]
    for split in SPLITS:
        dataset = open_dataset(name, split, **what)
        lines += ["", *_describe(dataset, _Survey(dataset, range(len(dataset))))]
    return "\n".join([*lines, *problem_lines([])]), True


def check_folder(path: Path, *, images: int = 32, read_all: bool = False) -> tuple[str, bool]:
    """Reports on a folder; see ``check``. One that is not recognized is taken for NYUD-v2."""
    name = recognize(path) or "nyud"
    if name != "own" and has_pictures(path):
        expected = "one beside train/image with pictures"
        remedy = "write which tasks your labels are of, as in notebooks/99_your_own_data"
        problem = str(refusal(path / DESCRIPTION, expected, "none", remedy))
        return "\n".join([f"a folder of pictures: {path}", *problem_lines([problem])]), False
    kind, lines, problems = find_class(name), [], []
    title = kind.describe_root(path)
    for split in SPLITS:
        try:
            dataset = kind(split, root=path)
        except (ValueError, FileNotFoundError) as error:
            lines += ["", f"{split}: cannot be read"]
            problems += [] if str(error) in problems else [str(error)]
            continue
        if not lines:
            lines.append(f"version {dataset.version}")
        survey = _Survey(dataset, spread(len(dataset), len(dataset) if read_all else images))
        problems += [*survey.problems, *dataset.problems()]
        lines += ["", *_describe(dataset, survey)]
    if not problems and name != "own":  # there, the files that are missing decide
        splits, problems = check_label_files(path, name)
        lines += splits
    return "\n".join([title, *lines, *problem_lines(problems)]), not problems


def check_label_files(root: Path, name: str) -> tuple[list[str], list[str]]:
    """A line for each label-split file beside the data, and a sentence for each that is wrong."""
    lines, problems = [], []
    for setting in FILES:
        try:
            path = find_label_file(root, setting)
            if path is None:
                continue
            dataset = find_class(name)("train", root=root)
            tasks = dataset.tasks.names
            carries = {task: dataset.carries(task) for task in tasks}
            known = {"ids": dataset.ids, "carries": carries}
            labels = assignment_from_file(path, tasks, len(dataset), **known)
        except ValueError as error:
            problems.append(str(error))
        else:
            counts = ", ".join(f"{task} {count}" for task, count in labels.counts.items())
            lines.append(f"labels    {setting} as in {path.name}: {counts} of {len(labels)} images")
    return lines, problems


def problem_lines(problems: Sequence[str]) -> Iterator[str]:
    """The end of a report: how many problems, and the first of them."""
    yield ""
    yield f"problems: {len(problems) or 'none'}"
    yield from (f"- {problem}" for problem in problems[:LISTED])
    if len(problems) > LISTED:
        yield f"- and {len(problems) - LISTED} more"


def write_sheet(
    name_or_path: str | Path,
    file: str | Path,
    *,
    rows: int = SHEET_ROWS,
    width: int = 320,
    cache_dir: str | Path | None = None,
) -> None:
    """Draws images of the test split and their labels into a PNG file.

    Args:
        name_or_path, cache_dir: As for ``check``.
        file: Written anew.
        rows: Images, evenly spread.
        width: Of a picture, in pixels, three quarters as high.

    Raises:
        ValueError: If an image to be drawn is damaged; ``check`` lists all of these.
        FileNotFoundError: If the folder has another layout.
    """
    name = str(name_or_path)
    size = {"height": width * 3 // 4, "width": width}
    if name in DATASETS:
        dataset = open_dataset(name, "test", images=rows, cache_dir=cache_dir, **size)
    else:
        dataset = open_dataset(recognize(name) or "nyud", "test", root=name, **size)
    draw_sheet(dataset, Path(file), rows)


# ------------------------------------------------------------------- counting


class _Labels:
    """Sums and samples over the labels of one task."""

    def __init__(self, task: Task) -> None:
        self.task, self.images = task, 0  # images with a label somewhere
        self.without = 0.0  # summed share of pixels
        count = len(task.class_names) if task.kind == "classes" else 2
        self.pixels = torch.zeros(count)  # with each class, or with no and yes
        self.shown = torch.zeros(count)  # images with it
        self.numbers: list[Tensor] = []  # some of the values, or the z of some of the vectors
        self.below = 0.0  # summed mean of the lower half minus that of the upper one

    def add(self, target: Tensor, valid: Tensor) -> None:
        self.images += 1
        self.without += float((~valid).float().mean())
        if self.task.kind in ("classes", "binary"):
            counts = torch.bincount(target[valid].long(), minlength=len(self.pixels))
            self.pixels, self.shown = self.pixels + counts, self.shown + (counts > 0)
            return
        channel = 0 if self.task.kind == "positive" else 2
        numbers = target[channel][valid[0]]
        self.numbers.append(numbers[:: max(1, len(numbers) // SAMPLED)])
        upper, lower = target[channel].nan_to_num(0.0).tensor_split(2)
        self.below += float(lower.mean() - upper.mean())


class _Survey:
    """What was found in those images of a split that were read."""

    def __init__(self, dataset: Dataset, indices: Iterable[int]) -> None:
        self.read = 0
        self.problems: list[str] = []
        self.sizes: set[tuple[int, int]] = set()
        self.types: dict[str, set[str]] = {}  # kind of file -> what its values are
        self.brightness: list[float] = []  # least and largest value of every image
        self.labels = {task.name: _Labels(task) for task in dataset.tasks}
        self.pairs: list[tuple[Tensor, Tensor]] = []  # (n, 3): normals of the label, of the depth
        on_disk = dataset if isinstance(dataset, FolderDataset) else None
        for index in indices:
            try:
                sample = on_disk.read(index) if on_disk else dataset[index]
            except (ValueError, FileNotFoundError) as error:
                self.problems.append(str(error))
                continue
            self._add(sample)
            for part, path in on_disk.files(index).items() if on_disk else ():
                self.types.setdefault(part, set()).add(stored_type(path))
        if on_disk and on_disk.one_size and len(self.sizes) > 1:
            self.problems.append(
                f"{on_disk.root}: expected images of one size in {dataset.split}, found "
                f"{_sizes(self.sizes)}; use files made together"
            )

    def _add(self, sample: Sample) -> None:
        self.read += 1
        self.sizes.add(tuple(sample.image.shape[1:]))
        self.brightness += [float(sample.image.min()), float(sample.image.max())]
        there = [n for n in self.labels if sample.valid[n].any()]
        for name in there:
            self.labels[name].add(sample.targets[name], sample.valid[name])
        tasks = [self.labels[name].task for name in there]
        meters = [t.name for t in tasks if t.kind == "positive" and t.unit]
        normals = [t.name for t in tasks if t.kind == "direction"]
        for depth, normal in zip(meters, normals, strict=False):
            self.pairs.append(pairs(sample.targets[normal], sample.targets[depth][0]))


# ----------------------------------------------------------------- describing


def _describe(dataset: Dataset, survey: _Survey) -> Iterator[str]:
    known = PUBLISHED[dataset.stands_for or dataset.name]
    published = known.published.get(dataset.split, len(dataset))
    note = "" if len(dataset) == published else f" (published: {published})"
    yield f"{dataset.split}: {len(dataset)} images{note}; {survey.read} of them read"
    if isinstance(dataset, FolderDataset):
        yield from (f"  {'note':<12} {note}" for note in dataset.notes())
    if not survey.read:
        return
    yield f"  {'sizes':<12} {_sizes(survey.sizes)}"
    if survey.types:
        types = ", ".join(f"{part} {'/'.join(sorted(t))}" for part, t in survey.types.items())
        yield f"  {'types':<12} {types}"
    yield f"  {'images':<12} {min(survey.brightness):.3f} to {max(survey.brightness):.3f}"
    for labels in survey.labels.values():
        yield from _describe_labels(labels, survey.read, known)
    yield from _describe_axes(dataset, survey)


def _sizes(sizes: set[tuple[int, int]]) -> str:
    if len(sizes) < 4:
        return ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
    heights, widths = zip(*sizes, strict=True)
    return f"{min(heights)} to {max(heights)} high, {min(widths)} to {max(widths)} wide"


def _describe_labels(labels: _Labels, read: int, known: Published) -> Iterator[str]:
    """The lines on one task, with what is known of published copies."""

    def usual(statistic: str, value: float) -> str:
        if statistic not in known.usual:
            return ""
        low, high = known.usual[statistic]
        odd = "" if low <= value <= high else ", unusual"
        return f" ({known.name}: {low:g} to {high:g}{odd})"

    task, name = labels.task, labels.task.name
    if not labels.images:
        yield f"  {name:<12} no label in these images"
        return
    share = usual(f"{name} images", 100 * labels.images / read)
    # Published sets label every image, so one without a label counts; one's own need not.
    bare = read - labels.images if known.name else 0
    without = 100 * (labels.without + bare) / (labels.images + bare)
    begin = (
        f"  {name:<12} in {labels.images} of {read} images{share}; "
        f"{without:.1f} % of pixels without{usual(f'{name} without', without)}"
    )
    if task.kind == "classes":
        yield f"{begin}; classes in percent"
        yield from _describe_classes(labels, known)
    elif task.kind == "binary":
        yield f"{begin}; yes on {100 * float(labels.pixels[1] / labels.pixels.sum()):.1f} %"
    elif task.kind == "positive":
        numbers, unit = torch.cat(labels.numbers).numpy(), f" {task.unit}".rstrip()
        low, middle, high = np.quantile(numbers, [0.01, 0.5, 0.99])
        mean = float(numbers.mean())
        yield (
            f"{begin}; mean {mean:.3g}{unit}{usual(f'{name} mean', mean)}, median {middle:.3g}, "
            f"from {low:.3g} (1 %) to {high:.3g} (99 %)"
        )
        near_is_large = task.zoom_power > 0
        as_it_should = (labels.below > 0) == near_is_large or not known.name
        halves = f"{'larger' if labels.below > 0 else 'smaller'} in the lower half of the images"
        near = f"near is {'large' if near_is_large else 'small'}"
        yield f"{'':15}{halves}" + (f"; {near}" if as_it_should else f", unusual: {near}")
    else:
        z = torch.cat(labels.numbers)
        toward, away = (100 * float(part.float().mean()) for part in (z < -FACING, z > FACING))
        yield (
            f"{begin}; {toward:.0f} % of the others clearly face the camera (z < -{FACING}), "
            f"{away:.0f} % face away from it"
        )


def _describe_classes(labels: _Labels, known: Published) -> Iterator[str]:
    same = set(known.classes) == set(labels.task.class_names)
    title = f"{'published' if same else '':>10}"
    yield f"{'':15}{'':16}   pixels {title}   images {title}".rstrip()
    shares = (100 * labels.pixels / labels.pixels.sum()).tolist()
    often = (100 * labels.shown / labels.images).tolist()
    for name, share, frequency in zip(labels.task.class_names, shares, often, strict=True):
        usual = known.classes[name] if same else ()
        low, high = (usual[0] / 2, usual[0] * 2) if usual else (0.0, 100.0)
        low, high = known.usual.get(name, (low, high)) if same else (low, high)
        of_pixels, of_images = (*(f"{value:.2f}" for value in usual), "", "")[:2]
        odd = "never" if not frequency else "" if low <= share <= high else "unusual"
        row = f"{name:<16} {share:8.2f} {of_pixels:>10} {frequency:8.0f} {of_images:>10}   {odd}"
        yield f"{'':15}{row}".rstrip()


def _describe_axes(dataset: Dataset, survey: _Survey) -> Iterator[str]:
    """Which axes the normals have, judged by the depth, where images have both."""
    if not survey.pairs:
        return
    annotated, implied = (torch.cat(part) for part in zip(*survey.pairs, strict=True))
    if len(annotated) < ENOUGH:
        yield f"  {'axes':<12} unknown: too few pixels with both depth and normals"
        return
    (best, angle), (_, second) = rank_axes(annotated, implied)[:2]
    _, most, better = CERTAIN
    certain = angle <= most and second - angle >= better
    verdict = "as they should" if best == OURS else "not as (x, y, z)"
    yield (
        f"  {'axes':<12} the normals fit the depth best as {axes_name(best)}, "
        f"{verdict if certain else 'which proves nothing'}:"
    )
    yield (
        f"{'':15}{angle:.1f} degrees off on average, next best {second:.1f}, in {len(annotated)} "
        f"pixels, assuming a field of view of {FIELD_OF_VIEW:g} degrees"
    )
    if certain and best != OURS and isinstance(dataset, FolderDataset):
        yield from (f"{'':15}{remedy}" for remedy in dataset.axes_remedies(best))
