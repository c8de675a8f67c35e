"""Reading single files; every refusal is one sentence that names the file.

It says what was expected, what was found and what to do. Nothing here knows a data set.

Every function of a reader raises ``FileNotFoundError`` for a file or folder that is missing, and
``ValueError`` for one that is damaged or holds anything but what the function's text says.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mtpsl.data.formats import Value, read_variables, refusal

TOLERANCE = 1e-3  # of ranges, for files written in half precision
MOST_PIXELS = 1 << 26  # of a picture; more is a damaged header
KINDS = {
    "1": "black and white",
    "L": "8-bit gray",
    "LA": "8-bit gray with transparency",
    "P": "8-bit palette",
    "PA": "8-bit palette with transparency",
    "RGB": "8-bit color",
    "RGBA": "8-bit color with transparency",
    "I;16": "16-bit gray",
    "I;16B": "16-bit gray",
    "I": "32-bit gray",
}
"""Pillow's name of what a pixel of a picture holds -> what reports and errors call it."""

COLOR = ("RGB", "RGBA", "L", "P")
CLASS_IDS = ("L", "P")
SIXTEEN_BITS = ("I;16", "I;16B", "I")


def missing(
    path: Path, expected: str, found: str = "no such file", remedy: str = ""
) -> FileNotFoundError:
    """The error for a file or a folder that is not there."""
    remedy = remedy or ("copy it from the source" if found == "no such file" else "")
    end = f"; {remedy}" if remedy else ""
    return FileNotFoundError(f"{path}: expected {expected}, found {found}{end}")


def read_npy(
    path: Path, shape: tuple[int | None, ...], between: tuple[float, float] | None = None
) -> np.ndarray:
    """Reads a ``.npy`` array of that shape, None for any length; objects are never loaded.

    If it must lie ``between`` two numbers, it is of floats.
    """
    expected = f"a .npy array of {_sides(shape)}"
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise missing(path, "an array") from error
    except Exception as error:  # what a damaged header makes NumPy raise is no fixed set
        found = f"a damaged file or objects ({reason(error)})"
        raise refusal(path, expected, found) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise refusal(path, expected, "an archive of arrays", "unpack it")
    check_shape(path, array, shape)
    if between is not None:
        check_range(path, array, *between, kinds="f")
    return array


def read_mat(path: Path, key: str) -> Value:
    """Reads the variable ``key`` of a MATLAB file of version 5 to 7."""
    try:
        content = read_variables(path.read_bytes())
    except FileNotFoundError as error:
        raise missing(path, f"a MATLAB file with {key!r}") from error
    except (OSError, ValueError, MemoryError) as error:
        found = f"a damaged or another file ({reason(error)})"
        raise refusal(path, f"a MATLAB file with {key!r}", found) from error
    if key not in content:
        names = ", ".join(sorted(content)[:5]) or "nothing"
        raise refusal(path, f"a variable {key!r}", names, "use the published file")
    return content[key]


def read_numbers(path: Path, key: str) -> np.ndarray:
    """Reads the numbers of a variable of a MATLAB file, or of its struct's first numeric field."""
    value = read_mat(path, key)
    if isinstance(value, list):
        fields = value[0].values() if len(value) == 1 else ()
        value = next((v for v in fields if isinstance(v, np.ndarray)), None)
    if not isinstance(value, np.ndarray):
        raise refusal(path, f"numbers in {key!r}", "none", "use the published file")
    return value


def read_list(path: Path, what: str, *, blank: bool = False) -> list[str]:
    """Reads a text file with one name per line, such as the images of a split, each of them once.

    ``what`` names such a line in errors, as ``"image id"``; ``blank``: empty lines are passed over.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise missing(path, f"a list of {what}s") from error
    except (OSError, UnicodeDecodeError) as error:
        found = f"a damaged file ({reason(error)})"
        raise refusal(path, f"a list of {what}s as text", found) from error
    lines = [line for line in lines if line] if blank else lines
    if not lines or not all(lines):
        place = f"none in line {lines.index('') + 1}" if lines else "an empty file"
        raise refusal(path, f"one {what} a line", place, "remove that line, or copy it again")
    double = next((line for line, times in Counter(lines).items() if times > 1), None)
    if double is not None:
        raise refusal(path, f"every {what} once", f"{double!r} twice", "remove one")
    return lines


def check_apart(path: Path, names: Sequence[str], other: Path, others: Sequence[str]) -> None:
    """Raises ``ValueError`` if a name is in the lists of both splits."""
    shared = set(names) & set(others)
    if shared:
        remedy = "a test image must not be trained on, remove it from one"
        raise refusal(path, f"no name of {other.name}", f"{min(shared)!r} in both", remedy)


def find_each(
    names: Sequence[str], folders: Sequence[Path], endings: Sequence[str], source: str, remedy: str
) -> dict[str, Path]:
    """Finds the file of every name, from the first folder and of the first type that has one.

    At least one folder must be there. ``source``, where the names come from, and ``remedy`` are for
    errors.
    """
    kinds = " or ".join(endings)
    present = {folder: {p.name for p in folder.iterdir()} for folder in folders if folder.is_dir()}
    if not present:
        place = folders[0]
        raise missing(place, f"a folder of {kinds} files", listing(place), remedy)
    files: dict[str, Path] = {}
    for name in names:
        for folder, ending in product(present, endings):
            if name + ending in present[folder]:
                files[name] = folder / (name + ending)
                break
    absent = next((name for name in names if name not in files), None)
    if absent is not None:
        ending = next((path.suffix for path in files.values()), endings[0])
        there = "".join(f", there or in {folder}" for folder in folders[1:])
        expected = f"a {ending if files else kinds} file for every name of {source}{there}"
        found = f"{len(files)} of {len(names)}"
        raise missing(folders[0] / (absent + ending), expected, found, remedy)
    return files


def count_numbered(folder: Path, names: Sequence[str]) -> int:
    """Counts the images of a split, each of whose folders must hold exactly 0.npy to N-1.npy."""
    counts = {}
    for name in names:
        inside = folder / name
        if not inside.is_dir():
            raise missing(inside, "a folder of .npy files", "none", "copy it")
        stems = [path.stem for path in inside.iterdir() if path.suffix == ".npy"]
        numbers = {s for s in stems if s.isascii() and s.isdecimal() and s == str(int(s))}
        odd = sorted(set(stems) - numbers)
        if odd:
            remedy = "remove or rename it"
            raise refusal(inside, "names such as 17.npy", f"{odd[0]}.npy", remedy)
        gap = next((i for i in range(len(stems)) if str(i) not in numbers), None)
        if gap is not None:
            expected = f"files 0.npy to {len(stems) - 1}.npy without gaps"
            raise missing(inside / f"{gap}.npy", expected, "none of that name", "copy it")
        counts[name] = len(stems)
    if len(set(counts.values())) > 1 or not counts[names[0]]:
        raise refusal(folder, "as many files in each folder", str(counts), "copy what is missing")
    return counts[names[0]]


def open_picture(
    path: Path,
    modes: Sequence[str],
    expected: str,
    *,
    remedy: str = "use the original file",
    upright: bool = False,
) -> Image.Image:
    """Opens a PNG or JPEG file of one of these kinds and loads its pixels.

    ``expected`` and ``remedy`` are for errors; ``upright``: turned as its camera noted.
    """
    try:
        with Image.open(path) as picture:
            mode, pixels = picture.mode, picture.width * picture.height
            if mode in modes and pixels <= MOST_PIXELS:
                return (ImageOps.exif_transpose(picture) if upright else picture).copy()
    except FileNotFoundError as error:
        raise missing(path, expected) from error
    except Exception as error:  # what damaged bytes make Pillow raise is no fixed set
        raise refusal(path, expected, f"a damaged file ({reason(error)})") from error
    if mode in modes:
        raise refusal(path, expected, f"{pixels} pixels", "make it smaller")
    raise refusal(path, expected, KINDS.get(mode, f"the kind {mode}"), remedy)


def read_picture(
    path: Path,
    modes: Sequence[str],
    expected: str = "a picture",
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Reads pixels: (H, W, 3) uint8 where ``modes`` have ``"RGB"``, else (H, W) as stored.

    It must be of the (height, width) ``size``, unless that is None; ``expected`` is for errors.
    """
    kinds = " or ".join(dict.fromkeys(KINDS[mode] for mode in modes))
    picture = open_picture(path, modes, f"{expected} ({kinds})")
    pixels = np.array(picture.convert("RGB") if "RGB" in modes else picture)
    if size:
        check_size(path, pixels, size)
    return pixels


def check_size(
    path: Path,
    pixels: np.ndarray,
    size: tuple[int, int],
    remedy: str = "use the files of one download",
) -> None:
    """Raises ValueError unless a picture, (H, W) or (H, W, 3), is of its image's size."""
    if pixels.shape[:2] != size:
        found = f"{pixels.shape[0]} x {pixels.shape[1]}"
        raise refusal(path, f"{size[0]} x {size[1]} pixels as its image", found, remedy)


def check_shape(path: Path, array: np.ndarray, shape: Sequence[int | None]) -> None:
    """Raises ValueError unless ``array`` has that shape (None: any length) and is not empty."""
    fits = len(array.shape) == len(shape) and all(
        n is None or n == m for n, m in zip(shape, array.shape, strict=True)
    )
    if not fits or 0 in array.shape:
        found = _sides(array.shape) or "a single number"
        raise refusal(path, f"the shape {_sides(shape)}", found, "use files made together")


def _sides(shape: Sequence[int | None]) -> str:
    return " x ".join("any" if n is None else str(n) for n in shape)


def check_range(
    path: Path,
    array: np.ndarray,
    low: float,
    high: float,
    what: str = "values",
    kinds: str = "fiu",
    remedy: str = "use the original file, or convert its unit or classes",
) -> None:
    """Raises ValueError unless all values are in [low, high], so finite, and of such a type.

    ``what`` the values are is for errors; ``kinds`` are NumPy's letters: ``"f"`` floats, ``"iu"``
    integers.
    """
    names = {"f": "a float type", "iu": "an integer type", "fiu": "an integer or float type"}
    if array.dtype.kind not in kinds:
        raise refusal(path, f"{what} of {names[kinds]}", str(array.dtype), "convert it")
    least, most = float(array.min()), float(array.max())  # NaN if any value is
    if not (low - TOLERANCE <= least and most <= high + TOLERANCE):
        found = f"{least:g} to {most:g}"
        raise refusal(path, f"{what} in [{low:g}, {high:g}]", found, remedy)


def whole_ids(path: Path, array: np.ndarray, low: int, high: int) -> np.ndarray:
    """Class ids in [low, high] as int64."""
    numbers = array.dtype.kind in "fiu"
    from_1 = numbers and low < 0 <= array.min() and array.max() == high + 1
    remedy = "subtract 1: ids start at 1 in this file, with 0 for void, and at 0 in this layout"
    how = {"remedy": remedy} if from_1 else {}
    check_range(path, array, low, high, "class ids", **how)
    if (array != np.round(array)).any():
        raise refusal(path, "whole class ids", "fractions", "resize to the nearest pixel")
    return array.astype(np.int64)


def stored_type(path: Path) -> str:
    """What the values of a file are, for reports: ``"float16"``, ``"8-bit color"``."""
    if path.suffix == ".npy":
        return str(np.load(path, mmap_mode="r").dtype)
    if path.suffix == ".mat":
        return "MATLAB"
    with Image.open(path) as picture:
        return KINDS.get(picture.mode, picture.mode)


def listing(path: Path) -> str:
    """What a folder holds, for errors."""
    if not path.is_dir():
        return "no such folder" if not path.exists() else "a file"
    names = sorted(p.name for p in path.iterdir())
    return f"{', '.join(names[:6]) or 'an empty folder'}{', ...' if len(names) > 6 else ''}"


def reason(error: Exception) -> str:
    """Puts another library's error on one line."""
    if isinstance(error, RecursionError):
        return "too many levels inside one another"
    return " ".join(str(error).split())[:120] or type(error).__name__
