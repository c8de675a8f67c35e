"""Data sets as memory maps that are written once, checked at every start and rebuilt when damaged.

Its users are the generated stand-ins (``scenes.Rendered``) and data on disk (``cached.Cached``).
"""

import json
import logging
import os
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from mtpsl import files
from mtpsl.batch import Batch
from mtpsl.data.dataset import Dataset, Sample

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
MOST_PROCESSES = 8
CHUNKS = 50  # of the images, each a message to a process and a step of the progress bar

Layout = Mapping[str, tuple[tuple[int, ...], str]]  # array -> (shape, dtype)
Maps = dict[str, Tensor]  # task -> values
Write = Callable[[dict[str, np.ndarray], int], None]  # an image's entries of all arrays


def cache_root(cache_dir: str | os.PathLike | None = None) -> Path:
    """``cache_dir``, or the environment's ``MTPSL_CACHE``, or ``~/.cache/mtpsl``."""
    chosen = cache_dir or os.environ.get("MTPSL_CACHE") or Path.home() / ".cache" / "mtpsl"
    return Path(chosen).expanduser()


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
        OSError: If the disk is too small, or damages what is written.
    """
    arrays = _open(folder, identity, layout)
    if arrays is not None:
        return arrays
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
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
            np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()
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
    complaint = _damage(folder, identity, layout)
    if complaint:
        log.warning("cache: %s; building %s again", complaint, folder)
        return None
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in layout}


def _damage(folder: Path, identity: Mapping[str, Any], layout: Layout) -> str | None:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        identity_then, expected = manifest["identity"], manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{path} cannot be read ({type(error).__name__}: {error})"
    if identity_then != dict(identity):
        return f"{path} describes other data"
    paths = {name: folder / f"{name}.npy" for name in layout}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        return f"{missing[0]} is missing"
    actual = _checksums(folder, layout)
    damaged = [str(paths[name]) for name in layout if actual[name] != expected.get(name)]
    if damaged:
        return f"{', '.join(damaged)} does not match its checksum"
    for name, (shape, dtype) in layout.items():
        array = np.load(paths[name], mmap_mode="r")
        if array.shape != shape or array.dtype != np.dtype(dtype):
            return f"{paths[name]} has another layout"
    return None


def _checksums(folder: Path, layout: Layout) -> dict[str, str]:
    with ThreadPoolExecutor(len(layout)) as pool:  # hashing releases the interpreter's lock
        digests = pool.map(lambda name: files.sha256(folder / f"{name}.npy"), layout)
        return dict(zip(layout, digests, strict=True))


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Holds a lock between processes; the system lets go of it when the holder dies."""
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("cache: waiting for another process that builds %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# ------------------------------------------------------------------ writing

Item, Result = TypeVar("Item"), TypeVar("Result")


def side_by_side(
    function: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Iterator[Result]:
    """Calls a function with every item in several processes, and yields the results in order.

    The processes do not run the caller's script again, as those of ``multiprocessing`` would.

    Args:
        function: Can be pickled, like the items. What it raises is raised here.
        items: Each large enough to be worth a message.
        processes: At least 1, which means this one.

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


def write_images(folder: Path, write: Write, count: int, processes: int, title: str) -> None:
    """Writes all images into the arrays of a folder, side by side, with a progress bar.

    Args:
        folder: Of arrays of ``count`` images.
        write: Writes one image; can be pickled where there are several processes.
        count: Images.
        processes: That share them.
        title: Of the bar.
    """
    size = -(-count // CHUNKS)
    chunks = [range(first, min(first + size, count)) for first in range(0, count, size)]
    function = partial(_write_chunk, folder, write)
    with tqdm(total=count, desc=title, disable=None, leave=False) as bar:
        for written in side_by_side(function, chunks, processes):
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


# ------------------------------------------------------------------ data sets


class Stored(Dataset):
    """A data set whose samples are kept in a folder of arrays. Abstract: see ``unpack_rows``.

    A subclass sets ``count`` and calls ``_keep``.
    """

    count: int

    def _keep(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        layout: Layout,
        fill: Callable[[Path], None],
    ) -> None:
        self.folder = folder
        self._map(cached_arrays(folder, identity, layout, fill))

    def _map(self, maps: Mapping[str, np.ndarray]) -> None:
        # The same memory as plain arrays, which are faster to slice.
        self._arrays = {name: np.asarray(array) for name, array in maps.items()}

    @abstractmethod
    def unpack_rows(self, rows: np.ndarray) -> tuple[Tensor, Maps, Maps]:
        """The rows' images (B, 3, H, W) float32 in [0, 1], targets and valid pixels."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"index: expected one in [0, {self.count}), got {index}")
        images, targets, valid = self.unpack_rows(np.array([index]))
        return Sample(
            image=images[0],
            targets={name: target[0] for name, target in targets.items()},
            valid={name: known[0] for name, known in valid.items()},
        )

    def load(self, indices: Sequence[int]) -> Batch:
        """The images at ``indices``, clean and fully labeled, in that order."""
        rows = np.asarray(indices, dtype=np.int64)
        if rows.size and not (0 <= rows.min() and rows.max() < self.count):
            raise IndexError(f"index: expected 0 to {self.count - 1}, got {rows.tolist()}")
        images, targets, valid = self.unpack_rows(rows)
        return Batch(
            images=images,
            targets=targets,
            valid=valid,
            labeled={t: torch.ones(len(rows), dtype=torch.bool) for t in self.tasks.names},
            index=torch.from_numpy(rows.copy()),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the arrays, which another process maps itself."""
        return vars(self) | {"_arrays": list(self._arrays)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        names = state.pop("_arrays")
        vars(self).update(state)
        self._map({n: np.load(self.folder / f"{n}.npy", mmap_mode="r") for n in names})
