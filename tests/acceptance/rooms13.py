"""What rooms13 has to fulfill: exact geometry, every class, a near camera, and the ladder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from acceptance import probes, shared
from acceptance.shared import Finding, between

from mtpsl.batch import Batch
from mtpsl.data.scenes.render import surface
from mtpsl.data.scenes.rooms13 import TASKS, Rooms13

DEPTH_MEDIAN = (2.0, 2.8)  # m, of an image; nearer than NYUD-v2's 2.5 to 3.3
VOID = (0.05, 0.17)  # share of pixels without a class

LADDER = probes.Ladder(
    tasks=TASKS,
    text="mIoU {:.1%}, depth {:.3f} m, normals {:.1f} deg",
    perfect={"semseg": 0.95, "depth": 0.05, "normals": 2.0},
    most=0.25,
    gain=1.4,
)


def acceptance_report(
    device: torch.device | str = "cpu", cache_dir: str | Path | None = None
) -> list[Finding]:
    """All acceptance tests, the probe ladder included: a few minutes on two cores."""
    dataset = Rooms13("test", height=96, width=128, images=400, cache_dir=cache_dir)
    batches = shared.in_batches(dataset)
    train, test = (
        Rooms13(split, height=48, width=64, images=n, cache_dir=cache_dir).load(range(n)).to(device)
        for split, n in (("train", 600), ("test", 150))
    )
    ladder = probes.ladder(LADDER, train, test)
    return [*geometry(), *class_shares(batches), *depths(batches), *ladder]


def geometry(scenes: int = 8) -> list[Finding]:
    """The shared geometry checks on the first scenes of the test split."""
    pictures = [Rooms13.scene("test", i)[0] for i in range(scenes)]
    return shared.geometry([(surface(p, 288, 384), p.camera) for p in pictures])


def class_shares(batches: Sequence[Batch]) -> list[Finding]:
    """Shares of classes and of pixels without one."""
    return shared.class_shares(batches, TASKS["semseg"], void=VOID)


def depths(batches: Sequence[Batch]) -> list[Finding]:
    """Depth statistics of single images, averaged."""
    medians, holes = [], []
    for batch in batches:
        for depth in batch.targets["depth"]:
            known = depth[depth.isfinite()]
            medians.append(float(known.median()))
            holes.append(1 - known.numel() / depth.numel())
    hole = float(np.mean(holes))
    return [
        between("median depth", float(np.mean(medians)), *DEPTH_MEDIAN, unit="m"),
        Finding("depth holes", f"{100 * hole:.1f} % of pixels", "0.5 to 15 %", 0.005 < hole < 0.15),
    ]
