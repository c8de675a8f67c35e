"""What a finished run leaves: its numbers with everything needed to judge them; and sessions.

A run's folder is ``<root>/<key>/`` with ``experiment.json``, ``record.json``,
``weights.safetensors``, ``log.jsonl``, ``checkpoint/``, ``supervision/`` and ``lock``; ``holder``
beside it while a process works there. The record is written last, so where it is intact the run is
complete.
"""

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

import mtpsl
from mtpsl import distributed, files, places


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One trained network: what ran, what came out, where and when."""

    experiment: dict[str, Any]  # ``Experiment.to_dict``
    key: str
    metrics: dict[str, dict[str, float]]  # split -> "task/metric" -> fraction, meters or degrees
    history: list[dict[str, Any]]  # one entry per epoch, see ``engine.Fit``
    selected_epoch: int  # whose weights were stored and measured
    params: int  # trainable
    macs: int  # multiply-adds of one image at the size it was trained on
    thop_flops: int  # the same in the papers' convention (``models.cost``)
    seconds: dict[str, float]  # "train", "discover", "test"
    images_per_s: float  # while training
    device: str  # "cpu" or "cuda"
    peak_memory: int  # bytes while training; of the GPU, or by which the process grew on a CPU
    labels: dict[str, Any]  # "hash" and "counts" by task, of how many "available"; "images" trained
    data: dict[str, Any]  # "name", "version", "stand_in"; "pretrained": weights it began with
    environment: dict[str, Any]  # ``environment()``
    weights_sha256: str
    by_class: dict[str, Any] = field(
        default_factory=dict
    )  # task -> class -> "iou", a fraction, and
    # how many "pixels" of the test split are of it; older records have none

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunRecord":
        """From JSON, where null stands for a metric that is NaN.

        Raises:
            ValueError: If the fields are not those of a record.
        """
        expected = {f.name for f in fields(cls)}
        if set(values) | {"by_class"} != expected:
            differing = sorted(expected ^ set(values))
            raise ValueError(f"record: expected fields {sorted(expected)}, differing: {differing}")
        record = cls(**values)
        for entry in (vars(record), *record.history):
            for split, metrics in entry.get("metrics", {}).items():
                entry["metrics"][split] = files.null_to_nan(metrics)
        return record


class RunStore:
    """Finished runs by key, shared by any number of processes on one machine.

    Args:
        root: Their folder; made when the first run needs it.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def folder(self, key: str) -> Path:
        return self.root / key

    def weights(self, key: str) -> Path:
        return self.folder(key) / "weights.safetensors"

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Waits until no other process works on this run; a killed one lets go by itself."""
        folder = self.folder(key)
        with files.writing(folder, "MTPSL_RUNS"):
            folder.mkdir(parents=True, exist_ok=True)
            lock, holder = FileLock(folder / "lock"), folder / "holder"
            try:
                lock.acquire(blocking=False)
            except Timeout:
                try:
                    process = holder.read_text(errors="replace")
                except FileNotFoundError:
                    process = "that has just begun or ended"
                print(f"run {key}: waiting for process {process}", file=sys.stderr)
                lock.acquire()
            try:
                holder.write_text(str(os.getpid()))
                yield
            finally:
                holder.unlink(missing_ok=True)
                lock.release()

    def load(self, key: str) -> RunRecord | None:
        """The record of a complete, intact run; None where it has to be done (again).

        What is damaged is named on stderr.
        """
        path = self.folder(key) / "record.json"
        try:
            record = RunRecord.from_dict(files.read_json(path))
            files.check_sha256(self.weights(key), record.weights_sha256)
        except FileNotFoundError:
            return None
        except (files.Damaged, ValueError) as error:
            print(f"run {key} is damaged and has to be done again: {error}", file=sys.stderr)
            return None
        return record

    def forget(self, key: str) -> None:
        """Makes a run be done again from the start; what it found for students stays."""
        with files.writing(self.folder(key), "MTPSL_RUNS"):
            (self.folder(key) / "record.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder(key) / "checkpoint", ignore_errors=True)

    def mend(self, record: RunRecord) -> None:
        """Writes again what people read beside a record that is not as the record has it."""
        experiment = json.dumps(record.experiment, indent=1) + "\n"
        log = "".join(map(files.to_line, record.history))
        for name, text in {"experiment.json": experiment, "log.jsonl": log}.items():
            path, content = self.folder(record.key) / name, text.encode()
            if not path.is_file() or path.read_bytes() != content:
                print(f"{path} is damaged and written again, as the record has it", file=sys.stderr)
                files.write(path, lambda file, content=content: file.write(content))

    def save(self, record: RunRecord) -> None:
        """Completes a run; its weights must be in place."""
        files.write_json(self.folder(record.key) / "record.json", asdict(record))


@dataclass(frozen=True)
class Session:
    """Everything that a run needs besides its experiment; nothing here decides a number."""

    store: RunStore = field(default_factory=lambda: RunStore(places.runs_folder()))
    device: torch.device | str = "auto"  # a GPU where there is one; "cpu", "cuda" or "cuda:N"
    data_root: Path | str = ""  # folder of a data set on disk; empty: the embedded data
    cache_dir: Path | str | None = None  # of generated scenes; None: the default
    progress: bool = True  # shows a bar

    @property
    def torch_device(self) -> torch.device:
        """The device, with ``auto`` decided.

        Raises:
            ValueError: If there is no such device.
        """
        return resolve_device(self.device)


def resolve_device(name: torch.device | str) -> torch.device:
    """The device of that name; ``auto`` is the GPU where there is one.

    Raises:
        ValueError: If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f"device: expected one of {count} CUDA devices, got {name!r}; use cpu")
    return device


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Versions, commit, hardware and date, for the record of a run on that device."""
    device = torch.device(device)
    names = ["torch", "numpy", "safetensors"]
    names += [name for name in ("torchvision", "timm") if name in sys.modules]  # who builds blocks
    versions = {name: metadata.version(name) for name in names}
    versions = {"mtpsl": mtpsl.__version__, "python": platform.python_version(), **versions}
    threads = torch.get_num_threads()
    hardware = f"{_cpu_name()}, {threads} thread{'s' * (threads > 1)}"
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
        versions["cuda"] = str(torch.version.cuda)
    if distributed.processes() > 1:
        hardware += f", {distributed.processes()} processes"
    return {
        "versions": versions,
        "commit": commit(),
        "hardware": hardware,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def commit() -> str:
    """The package's commit, ``-dirty`` where its source differs from it; "unknown" outside git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(mtpsl.__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        git("ls-files", "--error-unmatch", "__init__.py")  # another project's repository
        # Only the package decides numbers; notebooks and results may change meanwhile.
        changed = git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-dirty" if changed else head


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
