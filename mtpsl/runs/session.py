"""Where runs are kept and how they are computed, passed as one value through the package."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mtpsl.runs.store import RunStore


def default_store() -> RunStore:
    """The store that ``MTPSL_RUNS`` names, or ``runs/`` in the current folder."""
    return RunStore(os.environ.get("MTPSL_RUNS") or "runs")


@dataclass(frozen=True)
class Session:
    """Everything that a run needs besides its experiment; nothing here decides a number."""

    store: RunStore = field(default_factory=default_store)
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
