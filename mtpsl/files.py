"""Files that are complete or absent, and that tell when they were damaged.

Reading one never executes code: JSON with its own checksum, weights as safetensors, optimizer
state through ``weights_only=True``.
"""

import errno
import hashlib
import io
import json
import math
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.torch
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn

SAVING_SHARE = 0.1  # of a run's time that checkpoints may take; epochs are skipped to keep it


class Damaged(RuntimeError):
    """A file on disk is not what was written; the message names the file and what is wrong."""


class NoPlace(OSError):
    """A full or read-only disk; the message names the path and the variable that moves it."""


NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def writing(path: Path, variable: str) -> Iterator[None]:
    """Inside, an error of a disk that is full or read-only becomes ``NoPlace``.

    Args:
        path: What is named where the error names no file.
        variable: Of the environment, which moves what is written here.
    """
    try:
        yield
    except NoPlace:
        raise  # what is written farther in has a variable of its own
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        remedy = f"make room there, or name another place in {variable}"
        raise NoPlace(f"{error.filename or path}: {error.strerror}; {remedy}") from error


def write(path: Path, fill: Callable[[BinaryIO], None]) -> None:
    """Lets ``fill`` write a file atomically: a reader sees the old content or the new, never half.

    The folder is made if there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the bytes do
        os.replace(partial, path)
    except OSError as error:
        if error.errno in NO_PLACE:
            error.filename = error.filename or str(path)  # which a full disk does not name
        raise
    finally:
        partial.unlink(missing_ok=True)


def new_array(path: Path, dtype: str | type, shape: tuple[int, ...]) -> np.memmap:
    """Makes a ``.npy`` file of zeros as a memory map that has its room on the disk.

    Without the room, the first write that finds the disk full would end the process (SIGBUS).

    Raises:
        OSError: If the disk is full, naming the file.
    """
    try:
        array = open_memmap(path, "w+", dtype, shape)
        with open(path, "r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except (AttributeError, OSError) as error:  # a system or a disk that cannot
                if getattr(error, "errno", None) in NO_PLACE:
                    raise
                file.seek(array.offset)
                for first in range(0, array.nbytes, 2**20):
                    file.write(bytes(min(2**20, array.nbytes - first)))
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    return array


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON object with its own ``sha256``; NaN and infinity become null."""
    values = _finite(values)
    values["sha256"] = _digest(values)
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    write(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """What ``write_json`` wrote, without the checksum.

    Raises:
        FileNotFoundError: If there is no such file.
        Damaged: If it is truncated or was changed.
    """
    try:
        values = json.loads(path.read_bytes())
        expected = values.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        found = f"{type(error).__name__}: {error}"
        raise Damaged(f"{path}: expected a JSON object with a sha256, got {found}") from error
    actual = _digest(values)
    if actual != expected:
        raise Damaged(f"{path}: expected sha256 {expected!s:.12}, got {actual:.12}")
    return values


def null_to_nan(values: Mapping[str, float | None]) -> dict[str, float]:
    """Numbers that ``write_json`` wrote: null stands for NaN."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Raises ``Damaged`` if the file is missing or its content is not the expected one."""
    actual = sha256(path) if path.is_file() else "no file"
    if actual != expected:
        raise Damaged(f"{path}: expected sha256 {expected:.12}, got {actual:.12}")


def write_lines(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """One JSON object a line; for logs, which people read and nothing depends on."""
    write(path, lambda file: file.write("".join(map(to_line, entries)).encode()))


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    with open(path, "a") as file:
        file.write(to_line(entry))


def save_weights(module: nn.Module, path: Path) -> str:
    """Writes parameters and buffers as safetensors, atomically; returns the file's sha256."""
    blob = _pack(module.state_dict())
    write(path, lambda file: file.write(blob))
    return hashlib.sha256(blob).hexdigest()


def load_weights(module: nn.Module, path: Path) -> None:
    """Reads what ``save_weights`` wrote into a module of the same shape.

    Raises:
        Damaged: If the file holds anything else.
    """
    try:
        module.load_state_dict(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, RuntimeError) as error:
        found = " ".join(str(error).split())[:120]
        raise Damaged(f"{path}: expected the weights of this network, got {found}") from error


class Checkpoints:
    """The two newest states of a run, a folder each, complete or absent.

    ``weights.safetensors``, ``optimizer.pt`` and ``manifest.json`` with their checksums. A
    damaged one is named on stderr and the one before is used, or none: where every epoch depends
    on its number alone, going on from an earlier one ends with the same weights.

    Args:
        folder: Made by the first save.
        settings: What the run was asked for; a state of another run is refused.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, _finite(settings)
        # Seconds of the last save, one until the first is measured, and when it ended.
        self.cost, self.saved = 1.0, time.perf_counter()

    def due(self, every: float = 0.0) -> bool:
        """Whether ``every`` seconds have passed and a save takes at most ``SAVING_SHARE``."""
        return time.perf_counter() - self.saved > max(every, self.cost / SAVING_SHARE)

    def save(
        self,
        epoch: int,
        batches: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        optimizer: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> None:
        """Writes the state after ``epoch`` epochs and deletes all but the one before.

        Args:
            epoch: Names the folder.
            batches: Trained of the next epoch.
            tensors: group -> name -> tensor.
            optimizer: Its ``state_dict``.
            facts: Plain JSON.
        """
        began = time.perf_counter()
        buffer = io.BytesIO()
        torch.save(optimizer, buffer)
        flat = {f"{group}/{n}": t for group, named in tensors.items() for n, t in named.items()}
        blobs = {"weights.safetensors": _pack(flat), "optimizer.pt": buffer.getvalue()}
        partial = self.folder / f".partial.{os.getpid()}"
        for name, blob in blobs.items():
            write(partial / name, lambda file, blob=blob: file.write(blob))
        digests = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
        manifest = {"settings": self.settings, "files": digests, "facts": facts}
        write_json(partial / "manifest.json", manifest)
        name = f"epoch-{epoch:05d}" + (f"-{batches:07d}" if batches else "")
        os.rename(partial, self.folder / name)
        for old in self._newest_first()[2:]:
            shutil.rmtree(old)
        self.saved = time.perf_counter()
        self.cost = self.saved - began

    def load(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any], dict[str, Any]] | None:
        """``tensors, optimizer, facts`` of the newest intact state, or None.

        Raises:
            ValueError: If it is the state of a run with other settings.
        """
        for leftover in self.folder.glob(".partial.*"):
            shutil.rmtree(leftover)
        for path in self._newest_first():
            try:
                manifest = read_json(path / "manifest.json")
                for name, digest in manifest["files"].items():
                    check_sha256(path / name, digest)
                optimizer = _read_optimizer(path / "optimizer.pt")
            except (Damaged, FileNotFoundError) as error:
                print(f"checkpoint damaged, going back to the one before: {error}", file=sys.stderr)
                shutil.rmtree(path)
                continue
            if manifest["settings"] != self.settings:
                raise ValueError(
                    f"{path}: expected a run with {self.settings}, got {manifest['settings']}; "
                    "use another folder"
                )
            tensors: dict[str, dict[str, Tensor]] = {}
            for key, tensor in safetensors.torch.load_file(path / "weights.safetensors").items():
                group, name = key.split("/", 1)
                tensors.setdefault(group, {})[name] = tensor
            return tensors, optimizer, manifest["facts"]
        return None

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"), reverse=True)


def _read_optimizer(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise Damaged(f"{path}: expected plain tensors, got a damaged or unsafe file") from error


def _pack(tensors: Mapping[str, Tensor]) -> bytes:
    """safetensors bytes; tensors may share memory, live anywhere and have any memory format."""
    plain = {k: t.detach().to("cpu", copy=True).contiguous() for k, t in tensors.items()}
    return safetensors.torch.save(plain)


def to_line(entry: Mapping[str, Any]) -> str:
    """A line of JSON; NaN and infinity become null."""
    return json.dumps(_finite(entry), allow_nan=False) + "\n"


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _finite(value: Any) -> Any:
    """Plain JSON types; a float that JSON cannot hold becomes None."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
