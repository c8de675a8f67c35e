"""Reads and writes the files of a folder of your own: names, photographs and labels.

Reading takes a path and gives what the file says at its own size, or one sentence: what was
expected, what was found, and what to do. Writing leaves out what a data set withholds.
"""

import json
import math
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mtpsl import files
from mtpsl.data.dataset import Dataset
from mtpsl.data.readers import disk, reading
from mtpsl.data.readers.disk import Axes, apply_axes
from mtpsl.data.readers.reading import refusal
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import Task, TaskSet

DESCRIPTION = "mtpsl.toml"
MILLIMETERS, INVERSE_STEP = 1e-3, 1 / 65535  # a step of a picture of depth, of inverse depth
IMAGE = "image"  # the folder of the photographs; those of labels are called like their tasks
IMAGES = (".png", ".jpg", ".jpeg")
LABELS = (".png", ".npy")
TRANSPARENT = ("RGBA", "LA", "PA")
UNPRINTABLE = ("Cc", "Cs")  # line breaks and the like, and bytes that are no text
NO, UNKNOWN, YES = 0, 128, 255  # of a picture that says yes or no
MOST_METERS = 1000.0  # beyond, a depth was not written in meters
SHORTEST, LONGEST = 0.5, 1.5  # lengths of a normal that has a direction
MOST_STEPS = 65535  # of a 16-bit picture
NO_NORMAL = 0.05  # below this length, an 8-bit vector is gray: none


# -------------------------------------------------------------------- names


def files_by_name(folder: Path, endings: Sequence[str], what: str) -> dict[str, Path]:
    """Name without ending -> its file, sorted; hidden files do not count.

    A name is the same however its accents are composed, as systems differ in that. Endings are in
    lower case, files may have them in upper case; ``what`` they are, such as images, is for errors.
    """
    files_of: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        problem = unfit(path, endings, what)
        if problem:
            raise problem
        name = unicodedata.normalize("NFC", path.stem)
        if name in files_of:
            other = f"{files_of[name].name}, too"
            raise refusal(path, f"one of the {what} named {name!r}", other, "remove one")
        files_of[name] = path
    return dict(sorted(files_of.items()))


def unfit(path: Path, endings: Sequence[str], what: str) -> ValueError | None:
    """Why something in a folder cannot be one of its files, or None if it can."""
    if any(unicodedata.category(letter) in UNPRINTABLE for letter in path.name):
        return refusal(path.parent, "names one can print", ascii(path.name), "rename it")
    expected = f"{' or '.join(endings)} files as {what}"
    if not path.is_file():
        found = "a folder" if path.is_dir() else "a link to no file"
        return refusal(path, expected, found, "move it out")
    if path.suffix.lower() not in endings:
        found = f"the ending {path.suffix}" if path.suffix else "no ending"
        return refusal(path, expected, found, "convert it or move it out")
    return None


# ------------------------------------------------------------------- images


def read_photo(path: Path) -> np.ndarray:
    """A photograph as viewers show it: (H, W, 3) uint8, turned as its camera noted.

    Gray becomes color.
    """
    expected, accepted = "a picture of 8 bits, color or gray", ("RGB", "L", "P", "1", *TRANSPARENT)
    picture = reading.open_picture(
        path, accepted, expected, remedy="save it as 8-bit RGB", upright=True
    )
    if picture.mode in TRANSPARENT or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema()[0] < 255:
            found = "transparent pixels"
            raise refusal(path, expected, found, "save it without transparency")
    return np.array(picture.convert("RGB"))


def _label_picture(
    path: Path, modes: Sequence[str], size: tuple[int, int], expected: str, remedy: str
) -> np.ndarray:
    pixels = np.array(reading.open_picture(path, modes, expected, remedy=remedy, upright=True))
    reading.check_size(path, pixels, size, "resize both alike, labels to the nearest pixel")
    return pixels


# ------------------------------------------------------------------- labels


def read_classes(path: Path, size: tuple[int, int], classes: int) -> Tensor:
    """(1, H, W) int64 ids in [0, classes), ``IGNORE_INDEX`` where void."""
    expected = f"class ids 0 to {classes - 1}, or {IGNORE_INDEX} for void"
    if path.suffix.lower() == ".npy":
        ids = reading.read_npy(path, size)
        if ids.dtype.kind not in "iu":
            raise refusal(path, f"{expected}, of an integer type", str(ids.dtype), "convert it")
    else:
        remedy = "write ids, not colors, as 8-bit gray"
        ids = _label_picture(path, reading.CLASS_IDS, size, f"{expected}, as 8-bit gray", remedy)
    wrong = (ids < 0) | ((ids >= classes) & (ids != IGNORE_INDEX))
    if wrong.any():
        found = str(ids[wrong].max())
        raise refusal(path, expected, found, f"map it to a class or to {IGNORE_INDEX}")
    return _saying_something(path, torch.from_numpy(ids.astype(np.int64))[None], IGNORE_INDEX)


def read_depth(path: Path, size: tuple[int, int], scale: float, inverse: bool) -> Tensor:
    """(1, H, W) float32, NaN where the file has 0: meters, or an inverse depth as it is.

    A 16-bit picture, a step of which is worth ``scale``, or a ``.npy`` file of floats. A number in
    meters is at most ``MOST_METERS``; the range of an inverse depth is anyone's.
    """
    most = float(np.finfo(np.float32).max) if inverse else MOST_METERS
    what = "an inverse depth" if inverse else f"meters up to {MOST_METERS:g}"
    expected = f"{what}, 0 where there is none"
    if path.suffix.lower() == ".npy":
        values = reading.read_npy(path, size)
        if values.dtype.kind != "f":
            raise refusal(
                path, f"{expected}, of a float type", str(values.dtype), "convert it to that"
            )
    else:
        remedy = "write 16 bits, or a .npy file"
        values = (
            _label_picture(path, reading.SIXTEEN_BITS, size, "depth as 16-bit gray", remedy) * scale
        )
    if not np.isfinite(values).all():
        found = "NaN" if np.isnan(values).any() else "infinity"
        raise refusal(path, expected, found, "write 0 there")
    least, largest = float(values.min()), float(values.max())
    if least < 0 or largest > most:
        found = f"{least:g} to {largest:g}"
        raise refusal(path, expected, found, "convert its unit, or set png_scale of a picture")
    meters = torch.from_numpy(values.astype(np.float32))[None]
    return _saying_something(path, meters.masked_fill(meters == 0, float("nan")))


def read_normals(path: Path, size: tuple[int, int], axes: Axes) -> Tensor:
    """(3, H, W) float32 unit vectors x, y, z; NaN where the file has none.

    None are zeros in a ``.npy`` file; in a picture, where a channel is (n + 1) * 255 / 2, they
    are middle gray or black. Vectors that are nearly of unit length are made so.
    """
    expected = "unit normals (n + 1) * 255 / 2 as 8-bit color, gray or black where there are none"
    if path.suffix.lower() == ".npy":
        expected = "unit normals, zeros where there are none"
        vectors = reading.read_npy(path, (*size, 3))
        if vectors.dtype.kind != "f":
            raise refusal(path, f"{expected}, of a float type", str(vectors.dtype), "convert it")
        if not np.isfinite(vectors).all():
            found = "NaN" if np.isnan(vectors).any() else "infinity"
            raise refusal(path, expected, found, "write zeros there")
        if np.abs(vectors).max() > LONGEST:
            found = f"a component of {float(np.abs(vectors).max()):.3g}"
            raise refusal(path, expected, found, "divide each by its length, after any resizing")
        vectors = vectors.astype(np.float32)
        none = (vectors == 0).all(axis=-1)
    else:
        pixels = _label_picture(path, ("RGB",), size, expected, "write 8-bit RGB or a .npy file")
        vectors = pixels.astype(np.float32) * np.float32(2 / 255) - 1
        none = (pixels == 0).all(axis=-1) | (np.linalg.norm(vectors, axis=-1) < NO_NORMAL)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    known = length[~none]
    if known.size and not (SHORTEST <= known.min() and known.max() <= LONGEST):
        found = f"lengths from {known.min():.3g} to {known.max():.3g}"
        raise refusal(path, expected, found, "divide each by its length, after any resizing")
    unit = apply_axes(vectors / np.where(none[..., None], 1, length), axes)
    unit[none] = np.nan
    return _saying_something(path, disk.channels_first(unit))


def read_binary(path: Path, size: tuple[int, int], threshold: int | None) -> Tensor:
    """(1, H, W) float32: 1 or 0, NaN where unknown.

    A picture, black for no, white for yes and 128 for unknown, or a ``.npy`` file of 0 and 1. From
    ``threshold`` on, a picture with shades of gray says yes, and nothing is unknown.
    """
    if path.suffix.lower() == ".npy":
        values = reading.read_npy(path, size)
        if values.dtype.kind not in "biuf" or not ((values == 0) | (values == 1)).all():
            odd = f"values of {values.dtype}" + _odd(values, (0, 1))
            raise refusal(path, "0 for no and 1 for yes", odd, "convert it")
        return torch.from_numpy(values.astype(np.float32))[None]
    expected = f"{NO} for no, {YES} for yes, {UNKNOWN} for unknown"
    remedy = "save it in 8-bit gray"
    pixels = _label_picture(path, ("L", "1"), size, f"{expected}, as 8-bit gray", remedy)
    if pixels.dtype == bool:
        pixels = np.where(pixels, YES, NO)
    elif threshold is not None:
        pixels = np.where(pixels >= threshold, YES, NO)
    if not np.isin(pixels, (NO, UNKNOWN, YES)).all():
        found = "values" + _odd(pixels, (NO, UNKNOWN, YES))
        raise refusal(path, expected, found, "multiply 1 by 255, or set a threshold for grays")
    answer = torch.from_numpy((pixels == YES).astype(np.float32))[None]
    unknown = torch.from_numpy(pixels == UNKNOWN)[None]
    return _saying_something(path, answer.masked_fill(unknown, float("nan")))


def _odd(values: np.ndarray, allowed: Sequence[int]) -> str:
    """The first value that is not allowed, for an error."""
    if values.dtype.kind not in "biuf":
        return ""
    odd = values[~np.isin(values, allowed)]
    return f" such as {odd.flat[0]:g}" if odd.size else ""


def _saying_something(path: Path, target: Tensor, missing: float = float("nan")) -> Tensor:
    """Returns the target, unless every pixel of the file is missing."""
    known = target.isfinite() if math.isnan(missing) else target != missing
    if not known.any():
        remedy = "remove it: a missing file is a missing label"
        raise refusal(path, "a label for some pixel", "none in the whole file", remedy)
    return target


# ------------------------------------------------------------------ writing


def write_split(dataset: Dataset, root: str | Path) -> None:
    """Writes the images of a split, the labels that it has, and ``mtpsl.toml``.

    Class ids and what is yes or no become 8-bit pictures, depth 16-bit pictures in millimeters
    where these suffice, all else ``.npy`` files. Names are the positions of the images.

    Args:
        dataset: Of split ``"train"`` or ``"test"``, such as a ``PartialLabels``.
        root: Of the folder; made if there is none. Files of the same names are replaced.
    """
    root = Path(root)
    text = describe(dataset.tasks).encode()
    _write(root / DESCRIPTION, lambda file: file.write(text))
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

    The target (C, H, W) has ``Task.missing`` in its holes; the place has no ending.
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
    """Writes (H, W) or (H, W, 3) uint8, or (H, W) uint16, as PNG."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _write(path, lambda file: image.save(file, format="PNG"))


def write_array(path: Path, values: np.ndarray) -> Path:
    """Writes float32 as ``.npy``."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    return _write(path, lambda file: np.save(file, array, allow_pickle=False))


def _write(path: Path, fill: Callable) -> Path:
    files.write(path, fill)
    return path
