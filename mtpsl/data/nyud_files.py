"""Reading single files of a data set; every refusal is one sentence that names the file."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mtpsl.data.matfile import read_variables

TOLERANCE = 1e-3  # of ranges, for files written in half precision
MOST_PIXELS = 1 << 26  # of a picture; more is a damaged header
COLOR = ("RGB", "RGBA", "L", "P")
CLASS_IDS = ("L", "P")
SIXTEEN_BITS = ("I;16", "I;16B", "I")


def refusal(path: Path, expected: str, found: str, remedy: str = "copy it again") -> ValueError:
    """The error for a file that does not hold what it should."""
    return ValueError(f"{path}: expected {expected}, found {found}; {remedy}")


def missing(path: Path, expected: str, remedy: str = "copy it from the source") -> OSError:
    return FileNotFoundError(f"{path}: expected {expected}, found no such file; {remedy}")


def read_npy(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    """A ``.npy`` array of that shape, None for any length; objects are never loaded.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, an archive, empty or of another shape.
    """
    wanted = " x ".join("any" if n is None else str(n) for n in shape)
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise missing(path, "an array") from error
    except Exception as error:  # what a damaged header makes NumPy raise is no fixed set
        found = f"a damaged file or objects ({reason(error)})"
        raise refusal(path, f"a .npy array of {wanted}", found) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise refusal(path, f"a .npy array of {wanted}", "an archive of arrays", "unpack it")
    check_shape(path, array, shape)
    return array


def read_mat(path: Path, key: str) -> np.ndarray:
    """The numbers of the variable ``key`` of a MATLAB file of version 5 to 7.

    Of a single struct these are the ones of its first numeric field.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or has no such variable.
    """
    try:
        content = read_variables(path.read_bytes())
    except FileNotFoundError as error:
        raise missing(path, f"a MATLAB file with {key!r}") from error
    except (OSError, ValueError, MemoryError) as error:
        found = f"a damaged file ({reason(error)})"
        raise refusal(path, f"a MATLAB file with {key!r}", found) from error
    if key not in content:
        raise refusal(
            path, f"a variable {key!r}", f"{sorted(content)[:5]}", "use the published file"
        )
    value = content[key]
    if isinstance(value, list):
        fields = value[0].values() if len(value) == 1 else ()
        value = next((v for v in fields if isinstance(v, np.ndarray)), None)
    if not isinstance(value, np.ndarray):
        raise refusal(path, f"numbers in {key!r}", "none", "use the published file")
    return value


def read_picture(path: Path, modes: Sequence[str], what: str) -> np.ndarray:
    """A picture: (H, W, 3) uint8 where ``modes`` is ``COLOR``, otherwise (H, W) as stored.

    Args:
        path: PNG or JPEG.
        modes: The pixel types allowed, in Pillow's names.
        what: What the picture shows, for the error.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or of another type.
    """
    color = "RGB" in modes
    try:
        with Image.open(path) as picture:
            mode, pixels = picture.mode, picture.width * picture.height
            fits = mode in modes and pixels <= MOST_PIXELS
            array = np.array(picture.convert("RGB") if color else picture) if fits else None
    except FileNotFoundError as error:
        raise missing(path, what) from error
    except Exception as error:  # as for NumPy
        raise refusal(path, what, f"a damaged picture ({reason(error)})") from error
    if array is None:
        found = f"{pixels} pixels of type {mode}"
        raise refusal(path, f"{what} of type {' or '.join(modes)}", found, "use the published file")
    return array


def check_shape(path: Path, array: np.ndarray, shape: Sequence[int | None]) -> None:
    """Raises ValueError unless ``array`` has that shape (None: any length) and is not empty."""
    wanted = " x ".join("any" if n is None else str(n) for n in shape)
    fits = len(array.shape) == len(shape) and all(
        n is None or n == m for n, m in zip(shape, array.shape, strict=True)
    )
    if not fits or 0 in array.shape:
        found = " x ".join(map(str, array.shape)) or "a single number"
        raise refusal(path, f"the shape {wanted}", found, "use files made together")


def check_range(path: Path, array: np.ndarray, low: float, high: float, kinds: str = "f") -> None:
    """Raises ValueError unless all values are in [low, high], so finite, and of such a type.

    Args:
        path: For the error.
        array: Not empty.
        low: Least allowed value.
        high: Largest allowed value.
        kinds: NumPy's letters of the types allowed: ``"f"`` floats, ``"iu"`` integers.
    """
    words = {"f": "a float type", "iu": "an integer type", "fiu": "an integer or float type"}
    if array.dtype.kind not in kinds:
        raise refusal(path, words[kinds], str(array.dtype), "convert it")
    least, most = float(array.min()), float(array.max())  # NaN if any value is
    if not (low - TOLERANCE <= least and most <= high + TOLERANCE):
        found = f"{least:g} to {most:g}"
        raise refusal(path, f"values in [{low:g}, {high:g}]", found, "convert its unit or classes")


def fingerprint_files(kind: str, root: Path, groups: Iterable[Sequence[Path]]) -> str:
    """Names and sizes of all files and parts of a few: the same for the same data anywhere.

    Args:
        kind: Goes before the 12 hex digits.
        root: Names are relative to it.
        groups: Files of a kind each, in order; eight or so of each are looked into.

    Raises:
        ValueError: If one is no file.
    """
    digest = hashlib.sha256()
    for paths in groups:
        for path in paths:
            name = path.relative_to(root).as_posix()
            digest.update(f"{name} {_size(path)}\n".encode())
        for path in paths[:: max(1, len(paths) // 8)]:
            with path.open("rb") as file:
                digest.update(file.read(4096))
                file.seek(_size(path) // 2)
                digest.update(file.read(4096))
    return f"{kind}-{digest.hexdigest()[:12]}"


def _size(path: Path) -> int:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file, or a link to none"
        raise refusal(path, "a file", found)
    return path.stat().st_size


def listing(path: Path) -> str:
    """What a folder holds, for errors."""
    if not path.is_dir():
        return "no such folder" if not path.exists() else "a file"
    names = sorted(p.name for p in path.iterdir())
    return f"{', '.join(names[:6]) or 'an empty folder'}{', ...' if len(names) > 6 else ''}"


def reason(error: Exception) -> str:
    """Another library's error on one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
