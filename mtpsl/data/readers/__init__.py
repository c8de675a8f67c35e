"""Data sets on disk: where they come from, and what published copies hold.

The facts are in ``published.toml`` beside this file. A sheet shows samples of any data set, each
row an image and, side by side, all its labels as pictures.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mtpsl import files
from mtpsl.data.dataset import Dataset
from mtpsl.tasks import Task

FACTS = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Published:
    """One data set on disk."""

    title: str
    owner: str
    terms: str
    sizes: str  # how many images of which size, in a sentence
    layouts: tuple[str, ...]  # what is read, each with where it comes from
    notes: tuple[str, ...] = ()
    name: str = ""  # what papers call it; none of a folder of one's own
    published: Mapping[str, int] = field(default_factory=dict)  # split -> images
    classes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Class -> percent of labeled pixels and, where that is known, of images that show it."""
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Statistic, such as ``"depth mean"`` or the name of a class -> the range that is usual."""


PUBLISHED = {name: Published(**facts) for name, facts in FACTS.items() if isinstance(facts, dict)}
"""Data set on disk, as in ``DATASETS`` -> what is known of it."""


def sources_text() -> str:
    """Where the data sets come from, for the command line."""
    lines = ["Stand-ins need no download: rooms13, streets7 and people21 are generated."]
    for name, facts in PUBLISHED.items():
        lines += ["", f"{name}: {facts.title}", f"  owner    {facts.owner}"]
        lines += [f"  terms    {facts.terms}", f"  holds    {facts.sizes}"]
        lines += [f"  layout   {layout}" for layout in facts.layouts]
        lines += [f"  note     {note}" for note in facts.notes]
    lines += ["", f"label splits: {FACTS['split_files']}", ""]
    lines += ["then: python -m mtpsl data check FOLDER"]
    return "\n".join(lines)


# ------------------------------------------------------------------- a sheet

GAP = 4  # pixels between pictures
PAPER, HOLE = 255, (225, 0, 225)  # the ground, and where there is no label
RANGE = (0.02, 0.98)  # quantiles that a positive number's gray spans
SPARSE = 4  # every so many pixels decide it


def draw_sheet(
    dataset: Dataset,
    path: Path,
    rows: int,
    more: Callable[[int], list[np.ndarray]] = lambda index: [],
) -> None:
    """Writes ``path`` as PNG; columns are the image and the data set's tasks, in order.

    Between them stand ``more`` pictures (H, W, 3) uint8 of the image at an index.

    Classes have the colors of PASCAL VOC by id, binary labels are black and white, positive
    numbers are gray with near ones bright, directions show (x, -y, -z) as red, green and blue.
    Pixels without a label are magenta.
    """
    chosen = np.linspace(0, len(dataset) - 1, min(rows, len(dataset))).round().astype(int)
    lines = []
    for index in chosen.tolist():
        sample = dataset[index]
        pictures = [_bytes(sample.image.movedim(0, -1)), *more(index)]
        for task in dataset.tasks:
            pictures.append(to_picture(task, sample.targets[task.name], sample.valid[task.name]))
        lines.append(_join(pictures, axis=1))
    sheet = Image.fromarray(_join(lines, axis=0))
    files.write(path, lambda file: sheet.save(file, format="PNG"))


def to_picture(task: Task, target: Tensor, valid: Tensor) -> np.ndarray:
    """A label (C, H, W) and where it holds (1, H, W) -> (H, W, 3) uint8."""
    shown = valid[0]
    if task.kind == "classes":
        picture = class_colors(256)[target[0].clamp(0, 255).numpy()]
    elif task.kind == "direction":
        signs = torch.tensor([1.0, -1.0, -1.0])
        picture = _bytes((target.movedim(0, -1).nan_to_num(0.0) * signs + 1) / 2)
    else:
        values = target[0].nan_to_num(0.0).float()
        if task.kind != "binary" and shown.any():
            low, high = torch.quantile(values[shown][::SPARSE], torch.tensor(RANGE))
            values = 1 - (values - low) / (high - low).clamp(min=1e-6)
        picture = np.repeat(_bytes(values)[..., None], 3, axis=-1)
    return np.where(shown.numpy()[..., None], picture, np.array(HOLE, dtype=np.uint8))


def class_colors(count: int) -> np.ndarray:
    """(count, 3) uint8: PASCAL VOC's colors, the bits of id + 1 spread over the channels."""
    ids = np.arange(1, count + 1)
    colors = np.zeros((count, 3), dtype=np.int64)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (ids >> (3 * bit + channel) & 1) << (7 - bit)
    return colors.astype(np.uint8)


def _bytes(values: Tensor) -> np.ndarray:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _join(pictures: list[np.ndarray], axis: int) -> np.ndarray:
    """Side by side or one above the other, with a gap between them."""
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, PAPER, dtype=np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=axis)
