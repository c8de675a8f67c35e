"""The state of a training between two steps, which checkpoints keep to the last bit."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtpsl import distributed, files
from mtpsl.methods.base import Terms
from mtpsl.training import Best, ScheduledAdam, WeightMean


class NonFiniteLoss(RuntimeError):
    """A loss term is NaN or infinite; the message names term, epoch, step and images."""


class EpochLosses:
    """Sums an epoch's loss terms and stops at one that is not finite.

    Values stay on the device and are looked at every so many steps.
    """

    def __init__(self, epoch: int, every: int) -> None:
        self.epoch, self.every = epoch, every
        self.count, self.sums = 0, dict[str, Tensor]()
        self.recent: list[tuple[int, Terms, Tensor]] = []

    def add(self, step: int, terms: Terms, index: Tensor) -> None:
        """Takes the terms of batch ``step`` of this epoch, and the numbers of its images."""
        terms = {name: value.detach().float() for name, value in terms.items()}
        self.count = step + 1  # batches: each turn of one has terms of its own
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.recent.append((step, terms, index))
        if len(self.recent) >= self.every:
            self.check()

    def check(self) -> None:
        """Raises ``NonFiniteLoss`` if a term since the last look is not finite."""
        totals = [sum(terms.values()) for _, terms, _ in self.recent]
        if totals and not torch.stack(totals).isfinite().all():
            for step, terms, index in self.recent:
                for name, value in terms.items():
                    if not value.isfinite():
                        raise NonFiniteLoss(
                            f"loss term {name!r}: expected a finite number, got {value.item()} in "
                            f"epoch {self.epoch + 1}, step {step + 1}, images {index.tolist()}; "
                            "look at these images or lower lr"
                        )
        self.recent.clear()

    def means(self) -> dict[str, float]:
        """Term -> its mean over the batches so far."""
        return {name: float(total) / self.count for name, total in self.sums.items()}


@dataclass
class TrainingState:
    """Everything that the rest of a run depends on; checkpoints lose no bit of it."""

    method: nn.Module
    weighting: nn.Module
    optimizer: ScheduledAdam
    best: Best
    mean: WeightMean = field(default_factory=WeightMean)
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per epoch
    folder: Path | None = None  # for ``log.jsonl`` and ``checkpoint/``; None keeps nothing
    checkpoints: files.Checkpoints | None = None
    save_every: float = math.inf  # seconds
    midway: dict[str, Any] = field(default_factory=dict)  # how far an interrupted epoch is
    began: float = 0.0  # when the epoch would have begun without an interruption

    def resume(self, folder: Path, settings: Mapping[str, Any], save_every: float) -> None:
        """Begins to keep the run in a folder, and takes over the newest intact state there.

        Args:
            folder: For ``log.jsonl`` and ``checkpoint/``.
            settings: What the run was asked for.
            save_every: Seconds between states inside an epoch.

        Raises:
            ValueError: If ``folder`` holds a run with other settings.
        """
        self.folder, self.save_every = folder, save_every
        checkpoints = files.Checkpoints(folder / "checkpoint", settings)
        if saved := distributed.agree(checkpoints.load):
            self._restore(*saved)
        if distributed.is_first():  # the others keep nothing
            self.checkpoints = checkpoints
            files.write_lines(folder / "log.jsonl", self.history)

    @property
    def device(self) -> torch.device:
        return next(self.method.parameters()).device

    def end_epoch(self, entry: dict[str, Any], *, last: bool) -> None:
        """Adds an epoch's entry to history and log, and saves the state if that is due."""
        self.history.append(entry)
        if self.checkpoints:
            files.append_line(self.folder / "log.jsonl", entry)
            if last or self.checkpoints.due():
                self._save({})

    def begin_epoch(self, losses: EpochLosses) -> int:
        """Goes on inside an epoch that was interrupted; the caller has seeded everything random.

        Returns:
            How many of its batches are trained; ``losses`` then holds their terms.
        """
        midway, self.midway = self.midway, {}
        self.began = time.perf_counter() - midway.get("seconds", 0.0)
        if midway:
            losses.count = midway["batches"]
            losses.sums = dict(zip(midway["terms"], midway["sums"], strict=True))
            self.optimizer.gradients = list(midway["gradients"])
            torch.set_rng_state(midway["cpu"])
            if "cuda" in midway:
                torch.cuda.set_rng_state(midway["cuda"], self.device)
        return midway.get("batches", 0)

    def end_step(self, batches: int, losses: EpochLosses) -> None:
        """Saves the state after so many batches of an epoch if ``save_every`` has passed."""
        if not self.checkpoints or not self.checkpoints.due(self.save_every):
            return
        losses.check()
        midway = {"batches": batches, "terms": list(losses.sums), "cpu": torch.get_rng_state()}
        midway["seconds"] = time.perf_counter() - self.began
        midway["sums"] = torch.tensor([float(value) for value in losses.sums.values()])
        midway["gradients"] = torch.tensor([float(norm) for norm in self.optimizer.gradients])
        if self.device.type == "cuda":
            midway["cuda"] = torch.cuda.get_rng_state(self.device)
        self._save(midway)

    def _save(self, midway: Mapping[str, Any]) -> None:
        sums = {name: value for name, value in midway.items() if isinstance(value, Tensor)}
        tensors = {
            "midway": sums,
            "live": self.method.state_dict(),
            "weighting": self.weighting.state_dict(),
            "mean": self.mean.tensors,
            "best": self.best.tensors,
        }
        facts = {
            "history": self.history,
            "averaged": self.mean.count,
            "best": {"epoch": self.best.epoch, "metrics": self.best.metrics},
            "midway": {name: value for name, value in midway.items() if name not in sums},
        }
        optimizer, batches = self.optimizer.state_dict(), midway.get("batches", 0)
        self.checkpoints.save(len(self.history), batches, tensors, optimizer, facts)

    def _restore(
        self, tensors: dict[str, dict[str, Tensor]], optimizer: dict, facts: dict[str, Any]
    ) -> None:
        self.method.load_state_dict(tensors["live"])
        self.weighting.load_state_dict(tensors.get("weighting", {}))
        self.optimizer.load_state_dict(optimizer)
        live = self.method.state_dict()  # for device and memory format

        def like_live(group: str) -> dict[str, Tensor]:
            return {n: live[n].clone().copy_(t) for n, t in tensors.get(group, {}).items()}

        self.mean.count, self.mean.tensors = facts["averaged"], like_live("mean")
        self.best.epoch, self.best.metrics = facts["best"]["epoch"], facts["best"]["metrics"]
        self.best.tensors = like_live("best")
        self.history = facts["history"]
        self.midway = facts.get("midway", {}) | tensors.get("midway", {})
