"""A folder of arrays that is built once, checked at every start and rebuilt when damaged."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"

Layout = Mapping[str, tuple[tuple[int, ...], str]]  # array -> (shape, dtype)


def cache_root(cache_dir: str | os.PathLike | None = None) -> Path:
    """``cache_dir``, or the environment's ``MTPSL_CACHE``, or ``~/.cache/mtpsl``."""
    chosen = cache_dir or os.environ.get("MTPSL_CACHE") or Path.home() / ".cache" / "mtpsl"
    return Path(chosen).expanduser()


def cached_arrays(
    folder: Path, identity: Mapping[str, Any], layout: Layout, fill: Callable[[Path], None]
) -> dict[str, np.ndarray]:
    """Memory maps of the arrays in a folder, built first where they are not there or damaged.

    Safe with several processes: one builds, the others wait for it. A folder appears complete
    or not at all, so an interrupted build leaves nothing that could be mistaken for data.

    Args:
        folder: Where the arrays are kept, one ``.npy`` each, with a manifest of their checksums.
        identity: What the arrays are made of; arrays of another identity are rebuilt.
        layout: Shape and dtype of every array.
        fill: Gets a folder of zeroed arrays in this layout and writes all of them.

    Returns:
        Array name -> read-only memory map.
    """
    arrays = _open(folder, identity, layout)
    if arrays is not None:
        return arrays
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_name(folder.name + ".lock")):
        if not folder.exists() or (arrays := _open(folder, identity, layout)) is None:
            _build(folder, identity, layout, fill)
            arrays = _open(folder, identity, layout)
    if arrays is None:
        raise OSError(f"cache: {folder} is damaged right after it was written; check the disk")
    return arrays


def _build(
    folder: Path, identity: Mapping[str, Any], layout: Layout, fill: Callable[[Path], None]
) -> None:
    work = folder.with_name(folder.name + ".part")
    shutil.rmtree(work, ignore_errors=True)  # of a build that was interrupted
    work.mkdir()
    for name, (shape, dtype) in layout.items():
        np.lib.format.open_memmap(_file(work, name), mode="w+", dtype=dtype, shape=shape).flush()
    fill(work)
    manifest = {"identity": dict(identity), "sha256": _checksums(work, layout)}
    (work / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(work, folder)


def _open(
    folder: Path, identity: Mapping[str, Any], layout: Layout
) -> dict[str, np.ndarray] | None:
    """The arrays, or None where there are none that can be used; says what is damaged."""
    if not folder.exists():
        return None
    complaint = _damage(folder, identity, layout)
    if complaint:
        log.warning("cache: %s; building %s again", complaint, folder)
        return None
    arrays = {name: np.load(_file(folder, name), mmap_mode="r") for name in layout}
    for name, (shape, dtype) in layout.items():
        if arrays[name].shape != shape or arrays[name].dtype != np.dtype(dtype):
            log.warning("cache: %s has another layout; building again", _file(folder, name))
            return None
    return arrays


def _damage(folder: Path, identity: Mapping[str, Any], layout: Layout) -> str | None:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        identity_then, expected = manifest["identity"], manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{path} cannot be read ({type(error).__name__}: {error})"
    if identity_then != dict(identity):
        return f"{path} describes other data"
    missing = [name for name in layout if not _file(folder, name).is_file()]
    if missing:
        return f"{_file(folder, missing[0])} is missing"
    actual = _checksums(folder, layout)
    damaged = [str(_file(folder, name)) for name in layout if actual[name] != expected.get(name)]
    return f"{', '.join(damaged)} does not match its checksum" if damaged else None


def _checksums(folder: Path, layout: Layout) -> dict[str, str]:
    with ThreadPoolExecutor(len(layout)) as pool:  # hashing releases the interpreter's lock
        return dict(zip(layout, pool.map(lambda n: _sha256(_file(folder, n)), layout), strict=True))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds a lock between processes; the system lets go of it when the holder dies."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("cache: waiting for another process that builds %s", path.with_suffix(""))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file unlocks it
