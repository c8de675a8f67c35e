"""How the files of a folder of one's own are read: names, photographs and labels.

Every function takes a path and gives what the file says at its own size, or one sentence: what was
expected, what was found, and what to do.
"""

import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.readers.files import (
    CLASS_IDS,
    SIXTEEN_BITS,
    check_size,
    open_picture,
    read_npy,
    refusal,
)
from mtpsl.data.readers.nyud_axes import Axes, apply_axes
from mtpsl.losses import IGNORE_INDEX

IMAGES = (".png", ".jpg", ".jpeg")
LABELS = (".png", ".npy")
TRANSPARENT = ("RGBA", "LA", "PA")
UNPRINTABLE = ("Cc", "Cs")  # line breaks and the like, and bytes that are no text
NO, UNKNOWN, YES = 0, 128, 255  # of a picture that says yes or no
MOST_METERS = 1000.0  # beyond, a depth was not written in meters
SHORTEST, LONGEST = 0.5, 1.5  # lengths of a normal that has a direction
NO_NORMAL = 0.05  # below this length, an 8-bit vector is gray: none


# -------------------------------------------------------------------- names


def files_by_name(folder: Path, endings: Sequence[str], what: str) -> dict[str, Path]:
    """Name without ending -> its file, sorted; hidden files do not count.

    A name is the same however its accents are composed, as systems differ in that.

    Args:
        folder: Holds files of these endings and nothing else.
        endings: In lower case; files may have them in upper case.
        what: Of what they are, for errors: ``"images"``.

    Raises:
        ValueError: If something else is there, or a name occurs twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        problem = unfit(path, endings, what)
        if problem:
            raise problem
        name = unicodedata.normalize("NFC", path.stem)
        if name in found:
            raise refusal(
                path, f"one of the {what} named {name!r}", f"{found[name].name}, too", "remove one"
            )
        found[name] = path
    return dict(sorted(found.items()))


def unfit(path: Path, endings: Sequence[str], what: str) -> ValueError | None:
    """Why something in a folder cannot be one of its files, or None if it can."""
    if any(unicodedata.category(letter) in UNPRINTABLE for letter in path.name):
        return refusal(path.parent, "names one can print", ascii(path.name), "rename it")
    wanted = f"{' or '.join(endings)} files as {what}"
    if not path.is_file():
        found = "a folder" if path.is_dir() else "a link to no file"
        return refusal(path, wanted, found, "move it out")
    if path.suffix.lower() not in endings:
        found = f"the ending {path.suffix}" if path.suffix else "no ending"
        return refusal(path, wanted, found, "convert it or move it out")
    return None


# ------------------------------------------------------------------- images


def read_photo(path: Path) -> np.ndarray:
    """A photograph as viewers show it: (H, W, 3) uint8, turned as its camera noted.

    Gray becomes color.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, of another kind, or transparent somewhere.
    """
    expected, accepted = "a picture of 8 bits, color or gray", ("RGB", "L", "P", "1", *TRANSPARENT)
    picture = open_picture(path, accepted, expected, remedy="save it as 8-bit RGB", upright=True)
    if picture.mode in TRANSPARENT or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema()[0] < 255:
            found = "transparent pixels"
            raise refusal(path, expected, found, "save it without transparency")
    return np.array(picture.convert("RGB"))


def _label_picture(
    path: Path, modes: Sequence[str], size: tuple[int, int], expected: str, remedy: str
) -> np.ndarray:
    pixels = np.array(open_picture(path, modes, expected, remedy=remedy, upright=True))
    check_size(path, pixels, size, "resize both alike, labels to the nearest pixel")
    return pixels


# ------------------------------------------------------------------- labels


def read_classes(path: Path, size: tuple[int, int], classes: int) -> Tensor:
    """(1, H, W) int64 ids in [0, classes), ``IGNORE_INDEX`` where void.

    Raises:
        ValueError: If the file is damaged or of another kind, size or number of classes, or void
            everywhere.
    """
    expected = f"class ids 0 to {classes - 1}, or {IGNORE_INDEX} for void"
    if path.suffix.lower() == ".npy":
        ids = read_npy(path, size)
        if ids.dtype.kind not in "iu":
            raise refusal(path, f"{expected}, of an integer type", str(ids.dtype), "convert it")
    else:
        remedy = "write ids, not colors, as 8-bit gray"
        ids = _label_picture(path, CLASS_IDS, size, f"{expected}, as 8-bit gray", remedy)
    wrong = (ids < 0) | ((ids >= classes) & (ids != IGNORE_INDEX))
    if wrong.any():
        found = str(ids[wrong].max())
        raise refusal(path, expected, found, f"map it to a class or to {IGNORE_INDEX}")
    return _saying_something(path, torch.from_numpy(ids.astype(np.int64))[None], IGNORE_INDEX)


def read_depth(path: Path, size: tuple[int, int], scale: float, inverse: bool) -> Tensor:
    """(1, H, W) float32, NaN where the file has 0: meters, or an inverse depth as it is.

    Args:
        path: A 16-bit picture, or a ``.npy`` file of floats.
        size: (height, width) of its image.
        scale: What a step of a picture is worth.
        inverse: Of an inverse depth, whose range is anyone's.

    Raises:
        ValueError: If the file is damaged, of another kind or size, or has a number that is not
            finite, negative or, in meters, beyond ``MOST_METERS``, or if it is 0 everywhere.
    """
    most = float(np.finfo(np.float32).max) if inverse else MOST_METERS
    what = "an inverse depth" if inverse else f"meters up to {MOST_METERS:g}"
    expected = f"{what}, 0 where there is none"
    if path.suffix.lower() == ".npy":
        values = read_npy(path, size)
        if values.dtype.kind != "f":
            raise refusal(
                path, f"{expected}, of a float type", str(values.dtype), "convert it to that"
            )
    else:
        remedy = "write 16 bits, or a .npy file"
        values = _label_picture(path, SIXTEEN_BITS, size, "depth as 16-bit gray", remedy) * scale
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

    Raises:
        ValueError: If the file is damaged, of another kind or size, or has a number that is not
            finite, a vector too short or long to be a direction, or no vector at all.
    """
    expected = "unit normals (n + 1) * 255 / 2 as 8-bit color, gray or black where there are none"
    if path.suffix.lower() == ".npy":
        expected = "unit normals, zeros where there are none"
        vectors = read_npy(path, (*size, 3))
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
    normals = torch.from_numpy(np.ascontiguousarray(np.moveaxis(unit, -1, 0), dtype=np.float32))
    return _saying_something(path, normals)


def read_binary(path: Path, size: tuple[int, int], threshold: int | None) -> Tensor:
    """(1, H, W) float32: 1 or 0, NaN where unknown.

    Args:
        path: A picture, black for no, white for yes and 128 for unknown; or a ``.npy`` file of
            0 and 1.
        size: (height, width) of its image.
        threshold: Of a picture with shades of gray: from it on is yes, and nothing is unknown.

    Raises:
        ValueError: If the file is damaged, of another kind or size, has another value or only
            unknown ones.
    """
    if path.suffix.lower() == ".npy":
        values = read_npy(path, size)
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
    """The target; a file in which every pixel is missing is refused."""
    known = target.isfinite() if math.isnan(missing) else target != missing
    if not known.any():
        raise refusal(
            path,
            "a label for some pixel",
            "none in the whole file",
            "remove it: a missing file is a missing label",
        )
    return target
