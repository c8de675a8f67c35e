"""Writing a data set as a folder of one's own: what it withholds gets no file."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mtpsl import files
from mtpsl.data.dataset import Dataset
from mtpsl.data.readers.own import IMAGE
from mtpsl.data.readers.own_files import UNKNOWN, YES
from mtpsl.data.readers.own_toml import DESCRIPTION, MILLIMETERS
from mtpsl.tasks import Task, TaskSet

MOST_STEPS = 65535  # of a 16-bit picture


def write_split(dataset: Dataset, root: str | Path) -> None:
    """Writes the images of a split, the labels that it has, and ``mtpsl.toml``.

    Class ids and what is yes or no become 8-bit pictures, depth 16-bit pictures in millimeters
    where these suffice, all else ``.npy`` files. Names are the positions of the images.

    Args:
        dataset: Of split ``"train"`` or ``"test"``, such as a ``PartialLabels``.
        root: Of the folder; made if there is none. Files of the same names are replaced.
    """
    root = Path(root)
    _write_text(root / DESCRIPTION, describe(dataset.tasks))
    digits = len(str(len(dataset) - 1))
    for index in range(len(dataset)):
        batch, name = dataset.load([index]), f"{index:0{digits}d}"
        pixels = (batch.images[0].movedim(0, -1) * 255).round().to(torch.uint8).numpy()
        write_picture(root / dataset.split / IMAGE / f"{name}.png", pixels)
        for task in dataset.tasks:
            if batch.labeled[task.name][0] and batch.valid[task.name][0].any():
                place = root / dataset.split / task.name / name
                write_label(task, batch.targets[task.name][0], place)


def describe(tasks: TaskSet) -> str:
    """What ``mtpsl.toml`` says of these tasks."""
    parts = []
    for task in tasks:
        lines = [f"[{task.name}]"]
        if task.name == "semseg":
            lines.append(f"classes = {json.dumps(list(task.class_names))}")
        if task.name == "depth" and not task.unit:
            lines.append("inverse = true")
        if task.weight != 1:
            lines.append(f"weight = {task.weight}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def write_label(task: Task, target: Tensor, place: Path) -> Path:
    """Writes a label as ``own.read_label`` reads it, with the ending that fits; returns its path.

    Args:
        task: Whose label it is.
        target: (C, H, W) with ``Task.missing`` in its holes.
        place: The path without the ending.
    """
    picture, array = (place.with_name(place.name + ending) for ending in (".png", ".npy"))
    if task.kind == "classes":
        return write_picture(picture, target[0].to(torch.uint8).numpy())
    if task.kind == "binary":
        shades = (target[0] * YES).nan_to_num(UNKNOWN)
        return write_picture(picture, shades.to(torch.uint8).numpy())
    if task.kind == "direction":
        return write_array(array, target.nan_to_num(0.0).movedim(0, -1).numpy())
    values = target[0].nan_to_num(0.0).numpy()
    steps = np.round(values / MILLIMETERS)
    fits = steps.max() <= MOST_STEPS and not ((values > 0) & (steps == 0)).any()
    if task.unit and fits:
        return write_picture(picture, steps.astype(np.uint16))
    return write_array(array, values)


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    """(H, W) or (H, W, 3) uint8, or (H, W) uint16, as PNG."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _write(path, lambda file: image.save(file, format="PNG"))


def write_array(path: Path, values: np.ndarray) -> Path:
    """float32 as ``.npy``."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    return _write(path, lambda file: np.save(file, array, allow_pickle=False))


def _write_text(path: Path, text: str) -> Path:
    return _write(path, lambda file: file.write(text.encode()))


def _write(path: Path, fill: Callable) -> Path:
    files.write(path, fill)
    return path
