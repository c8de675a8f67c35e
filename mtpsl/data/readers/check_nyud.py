"""The report on a folder of NYUD-v2: layout, counts, types, classes, depth, and whose axes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
from mtpsl.data.readers.nyud import Nyud, find_layout, to_sample
from mtpsl.data.readers.nyud_axes import FIELD_OF_VIEW, OURS, SAMPLED, axes_name, pairs, rank_axes
from mtpsl.data.readers.nyud_layout import CLASSES
from mtpsl.data.scenes.rooms13_acceptance import NYUD

PUBLISHED = {"train": 795, "test": 654}  # images, of 1,449
STORED = ("image", "label", "depth", "normal")


def report(path: str | Path, *, images: int = 32, read_all: bool = False) -> tuple[str, bool]:
    """A report on a folder in one of the layouts of ``Nyud``.

    Args:
        path: As ``root`` of ``Nyud``.
        images: How many to read of each split, evenly spread.
        read_all: Reads them all.

    Returns:
        The text, and False if anything is damaged, missing or out of range. Unusual statistics
        are pointed out but are no failure.

    Raises:
        FileNotFoundError: If the folder has another layout.
    """
    kind, root = find_layout(path)
    return disk.folder_report(
        f"NYUD-v2 as {kind.title}: {root}",
        lambda split: Nyud(split, root=root),
        _survey,
        lambda dataset, found, _: _describe(dataset, found),
        None if read_all else images,
    )


@dataclass
class _Survey:
    """Sums and samples over the images that were read."""

    read: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    types: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in STORED})
    image_range: tuple[float, float] = (math.inf, -math.inf)
    pixels: Tensor = field(default_factory=lambda: torch.zeros(len(CLASSES)))
    shown: Tensor = field(default_factory=lambda: torch.zeros(len(CLASSES)))  # images with it
    holes: dict[str, float] = field(default_factory=dict)  # task -> summed share of pixels
    depth: list[Tensor] = field(default_factory=list)
    forward: float = 0.0  # summed share of normals that clearly face the camera
    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # (n, 3): file, from depth

    def add(self, sample: Sample) -> None:
        self.read += 1
        self.sizes.add(tuple(sample.image.shape[1:]))
        low, high = self.image_range
        self.image_range = min(low, float(sample.image.min())), max(high, float(sample.image.max()))
        ids = sample.targets["semseg"][sample.valid["semseg"]]
        counts = torch.bincount(ids, minlength=len(CLASSES))
        self.pixels, self.shown = self.pixels + counts, self.shown + (counts > 0)
        for task, valid in sample.valid.items():
            self.holes[task] = self.holes.get(task, 0.0) + float((~valid).float().mean())
        meters = sample.targets["depth"][sample.valid["depth"]]
        self.depth.append(meters[:: max(1, len(meters) // SAMPLED)])
        facing = sample.targets["normals"][2][sample.valid["normals"][0]] < -0.5
        self.forward += float(facing.float().mean()) if len(facing) else 0.0
        self.pairs.append(pairs(sample.targets["normals"], sample.targets["depth"][0]))


def _survey(dataset: Nyud, images: int) -> tuple[_Survey, list[str]]:
    found, problems = _Survey(), []
    count = min(images, len(dataset))
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        try:
            arrays = dataset.layout.read(index)
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        found.add(to_sample(arrays))
        for kind, stored in arrays.stored.items():
            found.types[kind].add(stored)
    if len(found.sizes) > 1:
        sizes = ", ".join(f"{h}x{w}" for h, w in sorted(found.sizes))
        problems.append(
            f"{dataset.root}: expected images of one size in {dataset.split}, found {sizes}; "
            "use files made together"
        )
    return found, problems


def _describe(dataset: Nyud, found: _Survey) -> Iterator[str]:
    sizes = ", ".join(f"{h}x{w}" for h, w in sorted(found.sizes)) or "unknown size"
    published = PUBLISHED[dataset.split]
    note = "" if len(dataset) == published else f" (published: {published})"
    yield f"{dataset.split}: {len(dataset)} images{note} of {sizes}; {found.read} of them read"
    yield from (f"  note     {note}" for note in dataset.layout.notes)
    if not found.read:
        return
    types = ", ".join(f"{f} {'/'.join(sorted(t))}" for f, t in found.types.items())
    yield f"  types    {types}"
    yield "  images   {:.3f} to {:.3f}".format(*found.image_range)
    hole = {task: 100 * share / found.read for task, share in found.holes.items()}
    yield f"  labels   {hole['semseg']:.1f} % void (NYUD-v2: 17.1), classes as percent of"
    yield "           " + " " * 10 + "   pixels  NYUD-v2     images  NYUD-v2"
    shares = 100 * found.pixels / found.pixels.sum().clamp(min=1)
    for name, share, images in zip(CLASSES, shares.tolist(), found.shown.tolist(), strict=True):
        usual, usual_images = NYUD[name]
        odd = "" if usual / 2 <= share <= usual * 2 else "   unusual"
        yield (
            f"           {name:<10} {share:8.2f} {usual:8.2f}   "
            f"{100 * images / found.read:8.0f} {usual_images:8.0f}{odd}"
        )
    meters = torch.cat(found.depth)
    if len(meters):
        low, middle, high = torch.quantile(meters, torch.tensor([0.01, 0.5, 0.99])).tolist()
        yield (
            f"  depth    {hole['depth']:.1f} % without; mean {meters.mean():.2f} m, "
            f"median {middle:.2f}, from {low:.2f} (1 %) to {high:.2f} (99 %)"
        )
    yield (
        f"  normals  {hole['normals']:.1f} % without; "
        f"{100 * found.forward / found.read:.0f} % clearly face the camera (z < -0.5)"
    )
    yield from _describe_axes(found)


def _describe_axes(found: _Survey) -> Iterator[str]:
    ours, others = (torch.cat(part) for part in zip(*found.pairs, strict=True))
    if len(ours) < 100:
        yield "  axes     unknown: too few pixels with both depth and normals"
        return
    (best, angle), (_, second) = rank_axes(ours, others)[:2]
    verdict = "our convention" if best == OURS else "not our convention, which is (x, y, z)"
    yield (
        f"  axes     normals agree best with the depth as {axes_name(best)}, {verdict}: "
        f"{angle:.1f} degrees off on average, next best {second:.1f}"
    )
    yield (
        f"           (x right, y down, z forward, toward the camera; from {len(ours)} pixels, "
        f"assuming a field of view of {FIELD_OF_VIEW:g} degrees)"
    )
    if best[0][0] != 0:
        yield "           do not train with flips: channel 0 is not the image's x"
