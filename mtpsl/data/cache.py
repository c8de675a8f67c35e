"""Data sets as memory maps that are written once, checked at every start and rebuilt when damaged.

Its users are the generated stand-ins (``scenes.Rendered``) and data on disk (``Cached``). Every run
on data from disk reads through this cache, so no number depends on whether it was there. It gives
what the reader gives: class ids, binary maps, positive numbers and holes exactly; the image exactly
where the reader rounds it to 8 bits, else within 0.00001; directions within 0.002 degrees.

A batch is made image by image with NumPy: what one needs fits into the processor's cache, there is
too little of it to wait for other threads, and no number depends on the batch it is in.
"""

import copy
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from mtpsl import files, places
from mtpsl.data.dataset import Dataset, Maps, Stored
from mtpsl.tasks import Task

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
MOST_PROCESSES = 8
CHUNKS = 50  # of the images, each a message to a process and a step of the progress bar

Layout = Mapping[str, tuple[tuple[int, ...], str]]  # array -> (shape, dtype)
Write = Callable[[dict[str, np.ndarray], int], None]  # an image's entries of all arrays


def cache_root(cache_dir: str | os.PathLike | None = None) -> Path:
    """``cache_dir``, or where the environment and the system keep caches."""
    return Path(cache_dir or places.cache_folder()).expanduser()


# ------------------------------------------------------------ folders of arrays


def cached_arrays(
    folder: Path, identity: Mapping[str, Any], layout: Layout, fill: Callable[[Path], None]
) -> dict[str, np.ndarray]:
    """Opens arrays in a folder as memory maps, after building them if they are absent or damaged.

    Safe with several processes: one builds, the others wait for it. A folder appears complete
    or not at all, so an interrupted build leaves nothing that could be mistaken for data.

    Args:
        folder: Where the arrays are kept, one ``.npy`` each, with a manifest of their checksums.
        identity: What the arrays are made of; arrays of another identity are rebuilt.
        layout: Shape and dtype of every array.
        fill: Gets a folder of zeroed arrays in this layout and writes all of them.

    Returns:
        Array name -> read-only memory map.

    Raises:
        OSError: If the disk is full, read-only, or damages what is written.
    """
    if (arrays := _open(folder, identity, layout)) is not None:
        return arrays
    with files.writing(folder, "MTPSL_CACHE"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):  # let go of when its holder dies
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
    needed = sum(np.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in layout.values())
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OSError(
            f"cache: expected {needed / 1e9:.1f} GB on the disk of {work}, found "
            f"{free / 1e9:.1f} GB; make room, or name another disk in MTPSL_CACHE"
        )
    work.mkdir()
    try:
        for name, (shape, dtype) in layout.items():
            path = work / f"{name}.npy"
            files.new_array(path, dtype, shape).flush()
        fill(work)
        manifest = {"identity": dict(identity), "sha256": _checksums(work, layout)}
        (work / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(work, folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)  # it may be large, and nothing goes on from it
        raise


def _open(
    folder: Path, identity: Mapping[str, Any], layout: Layout
) -> dict[str, np.ndarray] | None:
    """Opens the arrays; None where none can be used, after logging what is damaged."""
    if not folder.exists():
        return None
    try:
        return _load(folder, identity, layout)
    except ValueError as complaint:
        log.warning("cache: %s; building %s again", complaint, folder)
        return None


def _load(folder: Path, identity: Mapping[str, Any], layout: Layout) -> dict[str, np.ndarray]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        identity_then, expected = manifest["identity"], dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    if identity_then != dict(identity):
        raise ValueError(f"{path} describes other data")
    paths = {name: folder / f"{name}.npy" for name in layout}
    for path in paths.values():
        if not path.is_file():
            raise ValueError(f"{path} is missing")
    actual = _checksums(folder, layout)
    damaged = [str(paths[name]) for name in layout if actual[name] != expected.get(name)]
    if damaged:
        raise ValueError(f"{', '.join(damaged)} does not match its checksum")
    arrays = {name: np.load(path, mmap_mode="r") for name, path in paths.items()}
    for name, (shape, dtype) in layout.items():
        if arrays[name].shape != shape or arrays[name].dtype != np.dtype(dtype):
            raise ValueError(f"{paths[name]} has another layout")
    return arrays


def _checksums(folder: Path, layout: Layout) -> dict[str, str]:
    with ThreadPoolExecutor(len(layout)) as pool:  # hashing releases the interpreter's lock
        digests = pool.map(lambda name: files.sha256(folder / f"{name}.npy"), layout)
        return dict(zip(layout, digests, strict=True))


# ------------------------------------------------------------------ writing

Item, Result = TypeVar("Item"), TypeVar("Result")


def side_by_side(
    function: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Iterator[Result]:
    """Calls a function with every item in several processes, and yields the results in order.

    The processes, 1 being this one, do not run the caller's script again, as those of
    ``multiprocessing`` would. Function and items can be pickled.

    Raises:
        RuntimeError: If a process dies.
    """
    if processes == 1:
        yield from (_in_one_thread(function, item) for item in items)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = Parallel(processes, return_as="generator", max_nbytes=None)
    results = parallel(delayed(_in_one_thread)(function, item) for item in items)
    try:
        yield from results
    except TerminatedWorkerError as error:
        raise RuntimeError(f"a process that worked on images has died ({error})") from error
    finally:
        results.close()
        get_reusable_executor().shutdown(kill_workers=True)  # they would wait for minutes


def _in_one_thread(function: Callable[[Item], Result], item: Item) -> Result:
    """Calls the function without threads: pictures are too small for them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(item)
    finally:
        torch.set_num_threads(threads)


def write_images(folder: Path, write: Write, data: Dataset, processes: int, verb: str) -> None:
    """Writes a data set's images into the arrays of a folder, side by side, with a progress bar.

    ``write`` writes one image; it can be pickled where there are several processes.
    """
    count = len(data)
    title = f"{data.name} {data.split} {data.height}x{data.width}"
    title = f"{title}: {verb} {count} images, kept for next time"
    size = -(-count // CHUNKS)
    chunks = [range(first, min(first + size, count)) for first in range(0, count, size)]
    function = partial(_write_chunk, folder, write)
    with tqdm(total=count, desc=title, disable=None, leave=False) as bar:
        for written in side_by_side(function, chunks, min(processes, count)):
            bar.update(written)


def _write_chunk(folder: Path, write: Write, indices: range) -> int:
    arrays = {path.stem: np.load(path, mmap_mode="r+") for path in sorted(folder.glob("*.npy"))}
    for index in indices:
        write(arrays, index)
    for array in arrays.values():
        array.flush()
    return len(indices)


def cores() -> int:
    """Counts the processors that this process may use, up to ``MOST_PROCESSES``."""
    from joblib import cpu_count

    return min(cpu_count(), MOST_PROCESSES)


READERS = 1  # raise it when a reader gives other samples than before of the same files
HOLE = 255  # in a map of 8 bits; the ``missing`` of class ids
FULL = {"uint8": 255, "uint16": 65535}  # type of the images -> what stands for 1
UNIT = 32767  # what stands for 1 in a direction
STORED = {"classes": "uint8", "binary": "uint8", "positive": "float32", "direction": "int16"}
"""Kind of a task -> type of its maps. Masks are not stored: a hole is a value of its own."""

SLOW = 20.0  # seconds; what takes longer to read is read by several processes


@final
class Cached(Stored):
    """The samples of a data set on disk, read once and kept; see above for their precision.

    The cache belongs to the name, version, split, size and number of images, and to how the reader
    was told to read them. A file that changes without changing ``version`` is not seen.

    Args:
        dataset: A reader of files.
        cache_dir: Where to keep the arrays; see ``cache_root``. 8 to 17 bytes a pixel.
        processes: That read files when the cache is made; None: one, or if slow one a core.

    Raises:
        ValueError: If a file of the data set is damaged, naming it, or the data set is a stand-in.
        OSError: If the disk is too small.
    """

    stand_in = False

    def __init__(
        self,
        dataset: Dataset,
        *,
        cache_dir: str | os.PathLike | None = None,
        processes: int | None = None,
    ) -> None:
        if dataset.stand_in:
            found = f"{dataset.name}, which has a cache of its own"
            raise ValueError(f"dataset: expected one on disk, got {found}")
        if processes is not None and processes < 1:
            raise ValueError(f"processes: expected at least 1, got {processes}")
        self.dataset, self.tasks = dataset, dataset.tasks
        self.name, self.version, self.split = dataset.name, dataset.version, dataset.split
        self.height, self.width, self.count = dataset.height, dataset.width, len(dataset)
        identity = {
            "name": self.name,
            "version": self.version,
            "images": self.count,
            "readers": READERS,
            **{k: getattr(dataset, k) for k in ("split", "height", "width", *dataset.choices)},
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        size = f"{self.height}x{self.width}-{self.count}"
        name = f"{self.name}-{self.version}-{self.split}-{size}-{digest}"
        fill = partial(read_all, dataset=dataset, processes=processes)
        self.folder = cache_root(cache_dir) / name
        self._map(cached_arrays(self.folder, identity, layout(dataset), fill))

    @property
    def ids(self) -> tuple[str, ...]:
        """What the source calls the images, in order."""
        return self.dataset.ids

    def unpack_rows(self, rows: np.ndarray) -> tuple[Tensor, Maps, Maps]:
        images = unpack_images(self._arrays["images"], rows)
        targets, valid = {}, {}
        for task in self.tasks:
            maps = unpack(task, self._arrays[task.name], rows)
            targets[task.name], valid[task.name] = map(torch.from_numpy, maps)
        return torch.from_numpy(images), targets, valid

    def carries(self, task: str) -> Tensor:
        return self.dataset.carries(task)


def read_all(folder: Path, dataset: Dataset, processes: int | None) -> None:
    """Reads all samples into the arrays of a folder."""
    reader = copy.deepcopy(dataset)  # what it keeps in memory goes away with it
    write = partial(_write_sample, reader)
    if processes is None:
        began = time.perf_counter()
        reader[0]
        slow = (time.perf_counter() - began) * len(dataset) > SLOW
        processes = cores() if slow else 1
    write_images(folder, write, dataset, processes, "reading")


def _write_sample(reader: Dataset, arrays: dict[str, np.ndarray], index: int) -> None:
    sample = reader[index]
    arrays["images"][index] = pack_image(sample.image, arrays["images"].dtype)
    for task in reader.tasks:
        arrays[task.name][index] = pack(task, sample.targets[task.name], sample.valid[task.name])


# ---------------------------------------------------------------- as stored


def layout(dataset: Dataset) -> Layout:
    """Array name -> shape and type, of all images."""
    count, size = len(dataset), (dataset.height, dataset.width)
    color = "uint8" if getattr(dataset, "rounds_images", False) else "uint16"
    maps = {t.name: ((count, t.target_channels, *size), STORED[t.kind]) for t in dataset.tasks}
    return {"images": ((count, 3, *size), color), **maps}


def pack_image(image: Tensor, kind: np.dtype) -> np.ndarray:
    """An image (C, H, W) in [0, 1] as it is stored; it is of 8 bits if its reader says so."""
    stored = (image * FULL[str(kind)]).round()
    if kind == np.uint8 and not torch.equal(stored / FULL["uint8"], image):
        raise ValueError("rounds_images: expected an image of 8 bits, got one between them")
    return stored.numpy().astype(kind)


def pack(task: Task, target: Tensor, valid: Tensor) -> np.ndarray:
    """A target (C, H, W) as it is stored; holes are 255, NaN or a zero vector.

    An id or a hole that the type cannot express is a ``ValueError``.
    """
    known = valid.expand_as(target)
    if task.kind == "direction":
        stored = (target.masked_fill(~known, 0.0) * UNIT).round()
    else:
        stored = target.masked_fill(~known, float("nan") if task.kind == "positive" else HOLE)
    stored = stored.numpy().astype(STORED[task.kind])
    again, shown = map(torch.from_numpy, unpack(task, stored[None], [0]))
    exact = task.kind == "direction" or torch.equal(again[0][known], target[known])
    if not exact or not torch.equal(shown[0], valid):
        raise ValueError(f"{task.name}: expected {task.kind} that fit {STORED[task.kind]}")
    return stored


def unpack_images(stored: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """Images as they were stored -> those of the rows, (B, 3, H, W) float32 in [0, 1]."""
    images = np.empty((len(rows), *stored.shape[1:]), dtype=np.float32)
    full = np.float32(FULL[str(stored.dtype)])
    for image, row in zip(images, rows, strict=True):
        np.divide(stored[row], full, out=image, dtype=np.float32)
    return images


def unpack(task: Task, stored: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Targets as stored -> those of the rows (B, C, H, W), and what is no hole (B, 1, H, W)."""
    count, channels, height, width = len(rows), *stored.shape[1:]
    kind = np.int64 if task.kind == "classes" else np.float32
    targets = np.empty((count, channels, height, width), dtype=kind)
    valid = np.empty((count, 1, height, width), dtype=bool)
    for target, known, row in zip(targets, valid, rows, strict=True):
        target[...] = stored[row]
        if task.kind == "direction":
            _normalize(target, known[0])
        elif task.kind == "positive":
            np.isfinite(stored[row], out=known)
        else:  # of class ids, ``task.missing`` is ``HOLE``
            np.not_equal(stored[row], HOLE, out=known)
            if task.kind == "binary":
                target[~known] = task.missing
    return targets, valid


def _normalize(vectors: np.ndarray, known: np.ndarray) -> None:
    """Gives vectors (3, H, W) unit length in place; zero vectors become NaN and not known."""
    x, y, z = vectors
    square = x * x
    square += y * y
    square += z * z
    np.greater(square, 0, out=known)
    with np.errstate(divide="ignore", invalid="ignore"):
        vectors *= 1 / np.sqrt(square, out=square)  # of a zero vector 0 times infinity: NaN
