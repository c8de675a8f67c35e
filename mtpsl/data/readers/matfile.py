"""Numbers from MATLAB files of versions 5 to 7, read with every length checked.

Written for this package because damaged files can crash the process in SciPy's reader. Known are
arrays of numbers, texts, and struct arrays of these and of one another: all that is read of the
files of NYUD-v2 and PASCAL.
"""

import math
import zlib
from collections.abc import Iterator
from itertools import islice

import numpy as np

HEADER = 128  # bytes of text, version and byte order
MATRIX, COMPRESSED = 14, 15  # types of an element
STRUCT, TEXT = 2, 4  # classes of an array
LETTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
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
