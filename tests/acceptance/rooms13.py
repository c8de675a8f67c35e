"""What rooms13 has to fulfill: exact geometry and the statistics of NYUD-v2."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from acceptance import probes, shared
from acceptance.shared import Finding, between

from mtpsl.batch import Batch
from mtpsl.data.readers import PUBLISHED
from mtpsl.data.scenes import rooms13
from mtpsl.data.scenes.rooms13_render import surface

DEPTH_MEAN, DEPTH_MEDIAN = (2.8, 4.1), (2.5, 3.3)  # m, the range over NYUD-v2 images
TOLERANCE = 0.15  # relative, on the depth ranges
VOID = (0.10, 0.17)  # share of pixels without a class

LADDER = probes.Ladder(
    tasks=rooms13.TASKS,
    text="mIoU {:.1%}, depth {:.3f} m, normals {:.1f} deg",
    perfect={"semseg": 0.95, "depth": 0.05, "normals": 2.0},
    most=0.20,
    gain=1.4,
)


def acceptance_report(
    device: torch.device | str = "cpu", cache_dir: str | Path | None = None
) -> list[Finding]:
    """All acceptance tests, the probe ladder included: a few minutes on two cores."""
    dataset = rooms13.Rooms13("test", height=96, width=128, images=400, cache_dir=cache_dir)
    batches = shared.in_batches(dataset)
    train, test = (
        rooms13.Rooms13(split, height=48, width=64, images=n, cache_dir=cache_dir)
        .load(range(n))
        .to(device)
        for split, n in (("train", 600), ("test", 150))
    )
    ladder = probes.ladder(LADDER, train, test)
    return [*geometry(), *class_shares(batches), *depths(batches), *ladder]


def geometry(scenes: int = 8) -> list[Finding]:
    """The shared geometry checks on the first scenes of the test split."""
    pictures = [rooms13.scene("test", i)[0] for i in range(scenes)]
    return shared.geometry([(surface(p, 288, 384), p.camera) for p in pictures])


def class_shares(batches: Sequence[Batch]) -> list[Finding]:
    """Shares of classes and of pixels without one, against those of NYUD-v2."""
    return shared.class_shares(
        batches, rooms13.TASKS["semseg"], PUBLISHED["nyud"].classes, void=VOID
    )


def depths(batches: Sequence[Batch]) -> list[Finding]:
    """Depth statistics of single images, averaged."""
    means, medians, holes = [], [], []
    for batch in batches:
        for depth in batch.targets["depth"]:
            known = depth[depth.isfinite()]
            means.append(float(known.mean()))
            medians.append(float(known.median()))
            holes.append(1 - known.numel() / depth.numel())
    findings = [
        between(
            name, float(np.mean(values)), low * (1 - TOLERANCE), high * (1 + TOLERANCE), unit="m"
        )
        for name, values, (low, high) in (
            ("mean depth", means, DEPTH_MEAN),
            ("median depth", medians, DEPTH_MEDIAN),
        )
    ]
    hole = float(np.mean(holes))
    return [
        *findings,
        Finding("depth holes", f"{100 * hole:.1f} % of pixels", "0.5 to 15 %", 0.005 < hole < 0.15),
    ]
