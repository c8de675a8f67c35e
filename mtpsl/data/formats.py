"""MATLAB files and published label splits, read without crashing on them or executing them.

Numbers from MATLAB files of versions 5 to 7 are read with every length checked, because damaged
files can crash the process in SciPy's reader. Known are arrays of numbers, texts, and struct arrays
of these and of one another: all that is read of the files of NYUD-v2 and PASCAL.

Label splits, as the authors of [XTC] publish them, are of two kinds: a ``.pth`` file with a 0/1
tensor, a row per image and a column per task (NYUD-v2, Cityscapes), and a ``.npy`` file with a
pickled dictionary, task -> names of images (PASCAL).
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from pickle import UnpicklingError, _Unpickler
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor


def refusal(path: Path, expected: str, found: str, remedy: str = "copy it again") -> ValueError:
    """The error for a file that does not hold what it should."""
    return ValueError(f"{path}: expected {expected}, found {found}; {remedy}")


# ------------------------------------------------------------ MATLAB files

HEADER = 128  # bytes of text, version and byte order
MATRIX, COMPRESSED = 14, 15  # types of an element
STRUCT, TEXT = 2, 4  # classes of an array
LETTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
STORED |= {12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"}
CLASSES |= {14: "i8", 15: "u8"}  # class of an array -> its type, however compactly it is stored
LARGEST = 1 << 30  # bytes of an unpacked variable
DEEPEST = 16  # structs inside one another

Value = np.ndarray | str | list[dict[str, "Value"]] | None  # None: of a class that is not read


def read_variables(content: bytes) -> dict[str, Value]:
    """Name -> array, text, list of structs (field -> value), or None for what is not read.

    Args:
        content: Of the whole file.

    Raises:
        ValueError: If it is damaged or of another version.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if len(content) < HEADER or order is None:
        raise ValueError("no header of version 5 to 7")
    variables = {}
    for kind, data in elements(content[HEADER:], order):
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            try:
                data = unpacker.decompress(data, LARGEST)
            except zlib.error as error:
                raise ValueError("compressed data that cannot be unpacked") from error
            if not unpacker.eof:
                raise ValueError("compressed data that ends too early")
            ((kind, data),) = _exactly(data, order, 1)
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind} in place of a variable")
        name, value = _matrix(data, order)
        variables[name] = value
    return variables


def elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element; small ones share eight bytes with their tag."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("an element that ends too early")
        kind, size = (int(n) for n in np.frombuffer(data, order + "u4", 2, at))
        small = kind >> 16
        start, size, kind = (at + 4, small, kind & 0xFFFF) if small else (at + 8, size, kind)
        end = start + size
        if (small > 4) or end > len(data):
            raise ValueError("an element that ends too early")
        yield kind, data[start:end]
        at = at + 8 if small else end if kind == COMPRESSED else start + -(-size // 8) * 8


def _exactly(data: bytes, order: str, count: int) -> list[tuple[int, bytes]]:
    """The first ``count`` elements, which must be there."""
    first = list(islice(elements(data, order), count))
    if len(first) < count:
        raise ValueError(f"{len(first)} parts of a variable in place of {count}")
    return first


def _matrix(data: bytes, order: str, depth: int = 0) -> tuple[str, Value]:
    flags, dimensions, name = _exactly(data, order, 3)
    if len(flags[1]) < 4 or len(dimensions[1]) % 4:
        raise ValueError("a variable without class or shape")
    code = int(np.frombuffer(flags[1], order + "u4", 1)[0])
    shape = tuple(int(n) for n in np.frombuffer(dimensions[1], order + "i4"))
    if any(n < 0 for n in shape):
        raise ValueError(f"a variable of shape {shape}")
    title, kind = name[1].decode("ascii", errors="replace"), code & 0xFF
    if kind == STRUCT:
        return title, _structs(data, order, math.prod(shape), depth)
    if kind == TEXT:
        return title, _text(data, order, shape)
    if kind not in CLASSES or code & 0x800:  # 0x800: complex
        return title, None
    stored, values = _exactly(data, order, 4)[3]
    if stored not in STORED or len(values) % np.dtype(STORED[stored]).itemsize:
        raise ValueError(f"numbers of type {stored}")
    array = np.frombuffer(values, order + STORED[stored])
    if array.size != math.prod(shape):
        raise ValueError(f"{array.size} numbers of an array of shape {shape}")
    with np.errstate(invalid="ignore"):
        array = array.astype(CLASSES[kind])
    return title, array.reshape(shape, order="F")


def _text(data: bytes, order: str, shape: tuple[int, ...]) -> str | None:
    """A row of letters; None for a matrix of them."""
    if math.prod(shape) == 0:
        return ""
    if len(shape) != 2 or shape[0] != 1:
        return None
    stored, letters = _exactly(data, order, 4)[3]
    if stored not in LETTERS:
        raise ValueError(f"text of type {stored}")
    encoding = LETTERS[stored]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    return letters.decode(encoding, errors="replace")


def _structs(data: bytes, order: str, count: int, depth: int) -> list[dict[str, Value]]:
    """The structs of an array, column by column, each with its fields in order."""
    if depth == DEEPEST:
        raise ValueError(f"more than {DEEPEST} structs inside one another")
    length, names = _exactly(data, order, 5)[3:]
    width = int(np.frombuffer(length[1], order + "i4", 1)[0]) if len(length[1]) >= 4 else 0
    if width < 1 or len(names[1]) % width:
        raise ValueError("a struct without names of its fields")
    titles = [names[1][i : i + width] for i in range(0, len(names[1]), width)]
    titles = [title.split(b"\0")[0].decode("ascii", errors="replace") for title in titles]
    if 8 * count * len(titles) > len(data):  # every field has a tag at least
        raise ValueError("structs that end too early")
    parts = iter(_exactly(data, order, 5 + count * len(titles))[5:])
    return [
        {title: _field(*next(parts), order, depth + 1) for title in titles} for _ in range(count)
    ]


def _field(kind: int, part: bytes, order: str, depth: int) -> Value:
    return _matrix(part, order, depth)[1] if kind == MATRIX and part else None


# ------------------------------------------------------------ label splits

TASKS = {"sal": "saliency", "edge": "edges"}  # their names -> ours, where they differ
LARGEST_SPLIT = 1 << 26  # bytes of a dictionary; PASCAL's have 1.3 million
KINDS = "USbiuf"  # of NumPy values that are allowed: text and numbers
REMEDY = "use the published file"
SAFE = "text, numbers, lists and dictionaries"


def read_label_split(
    path: str | Path,
    *,
    tasks: Sequence[str] = (),
    ids: Sequence[str] = (),
    carries: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Reads which image keeps which label, from either kind of file.

    Args:
        path: ``.pth`` or ``.npy``.
        tasks: All tasks of the data set, for a ``.npy`` file, which names them. A ``.pth`` file
            names none: its columns are semseg, depth, normals for NYUD-v2.
        ids: Names of all images of the split, in order, for a ``.npy`` file, which names them. In
            a ``.pth`` file row i is the image ``{i}.npy``.
        carries: task -> (N,) bool, images that can have the task's label at all
            (``Dataset.carries``); every image where a task is not named.

    Returns:
        (N, K) bool. Images that a ``.npy`` file does not name keep no label.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything else, or names another data set's tasks or images.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a label-split file, found none")
    if path.suffix != ".npy":
        return _read_weights(path)
    if not tasks or not ids:
        expected = "the tasks and the names of the images that the file speaks of"
        raise refusal(path, expected, "none", "pass tasks and ids of the data set")
    return _to_rows(path, read_label_ids(path), tasks, ids, carries or {})


def read_label_ids(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Task, by our name -> names of the images that keep its label, in the file's order.

    Raises:
        ValueError: If the file is damaged, or holds anything but a dictionary of lists of names.
    """
    path = Path(path)
    content = _read_dictionary(path)
    if not isinstance(content, dict) or not content:
        expected = "a dictionary, task -> names of images"
        raise refusal(path, expected, _describe(content), REMEDY)
    named: dict[str, tuple[str, ...]] = {}
    for key, values in content.items():
        rows = values.tolist() if isinstance(values, np.ndarray) else values
        plain = isinstance(rows, list | tuple) and all(isinstance(name, str) for name in rows)
        if not isinstance(key, str) or not plain:
            found = f"{_describe(values)} for {str(key)[:40]!r}"
            raise refusal(path, "a list of names for each task", found, REMEDY)
        task = TASKS.get(str(key), str(key))
        double = [name for name, times in Counter(rows).items() if times > 1]
        if double or task in named:
            found = f"{str((double or [task])[0])!r} twice"
            raise refusal(path, f"every image once for {task!r}", found, REMEDY)
        named[task] = tuple(map(str, rows))
    return named


def _to_rows(
    path: Path,
    named: Mapping[str, Sequence[str]],
    tasks: Sequence[str],
    ids: Sequence[str],
    carries: Mapping[str, Tensor],
) -> Tensor:
    split = "use the split of this data set"
    if set(named) != set(tasks):
        raise refusal(path, f"labels of {sorted(tasks)}", str(sorted(named)), split)
    position = {name: row for row, name in enumerate(ids)}
    if len(position) < len(ids):
        raise ValueError(f"ids: expected every name once, got {len(ids) - len(position)} again")
    labeled = torch.zeros(len(ids), len(tasks), dtype=torch.bool)
    for column, task in enumerate(tasks):
        strange = next((name for name in named[task] if name not in position), None)
        if strange is not None:
            known = f"the {len(ids)} images of the data set, such as {ids[0]!r}"
            raise refusal(path, f"names among {known}", f"{strange!r} for {task!r}", split)
        rows = [position[name] for name in named[task]]
        labeled[rows, column] = True
        able = carries.get(task)
        unable = [] if able is None else [row for row in rows if not able[row]]
        if unable:
            expected = f"{task!r} only for images that can carry it"
            found = f"{ids[unable[0]]!r} and {len(unable) - 1} more"
            raise refusal(path, expected, found, "check that the data set is complete")
    return labeled


# ---------------------------------------------------------------------- files


def _read_weights(path: Path) -> Tensor:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the reader raise many types
        expected = "a .pth file of plain tensors"
        raise refusal(path, expected, "a damaged or unsafe one", REMEDY) from error
    weights = content.get("labels_weights") if isinstance(content, dict) else None
    if not isinstance(weights, Tensor) or weights.ndim != 2 or 0 in weights.shape:
        expected = "a dict with an (images, tasks) tensor 'labels_weights'"
        raise refusal(path, expected, _describe(content), REMEDY)
    if not ((weights == 0) | (weights == 1)).all():
        raise refusal(path, "only 0 and 1 in 'labels_weights'", "other values", REMEDY)
    return weights.bool()


def _read_dictionary(path: Path) -> Any:
    """The one object of an object ``.npy`` file."""
    if path.stat().st_size > LARGEST_SPLIT:
        raise refusal(path, f"at most {LARGEST_SPLIT} bytes", str(path.stat().st_size), REMEDY)
    try:
        with path.open("rb") as file:
            shape, dtype = _read_header(file)
            if shape != () or dtype.kind != "O":
                raise ValueError(f"an array of {dtype} and shape {shape}")
            content = _PlainUnpickler(file).load()
        return content.item() if isinstance(content, np.ndarray) and content.ndim == 0 else content
    except Exception as error:  # as above
        found = " ".join(str(error).split())[:100] or type(error).__name__
        expected = f"a .npy file of one dictionary of {SAFE}"
        raise refusal(path, expected, f"a damaged or unsafe one ({found})", REMEDY) from error


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of the format")
    return shape, dtype


class _PlainUnpickler(_Unpickler):
    """Loads ``SAFE`` and NumPy arrays of them; whatever else is named is refused, never called.

    In Python, not C: there a damaged number can ask for all memory before anything is checked.
    """

    def find_class(self, module: str, name: str) -> Any:
        known = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        for package in ("numpy.core.multiarray", "numpy._core.multiarray"):  # before and since 2.0
            known[package, "_reconstruct"] = _reconstruct
            known[package, "scalar"] = _scalar
        if (module, name) not in known:
            raise UnpicklingError(f"{module}.{name} is neither of {SAFE}")
        return known[module, name]


def _reconstruct(kind: type, shape: Any, code: Any) -> np.ndarray:
    """An empty array, which its state fills."""
    if kind is not np.ndarray or shape != (0,):
        raise UnpicklingError(f"an array of {kind} and shape {shape} to start from")
    return np.ndarray((0,), np.int8)


def _scalar(dtype: np.dtype, data: bytes = b"") -> Any:
    if dtype.kind not in KINDS:
        raise UnpicklingError(f"a value of {dtype}")
    (value,) = np.frombuffer(data, dtype)
    return value


def _describe(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dict with {sorted(map(str, content))[:5]}"
    return f"a {type(content).__name__}"
