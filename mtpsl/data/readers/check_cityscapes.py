"""The report on a folder of Cityscapes: layout, counts, classes, and what the disparity is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
from mtpsl.data.readers.cityscapes import Cityscapes, find_root
from mtpsl.data.readers.cityscapes_files import GROUPS, OF_19, Official, to_pixels
from mtpsl.data.readers.files import read_npy, whole_ids
from mtpsl.data.scenes.streets7_acceptance import CITYSCAPES, INVALID, MEAN, VOID

PUBLISHED = {"train": 2975, "test": 500}  # images
SAMPLED = 4000  # pixels an image that the disparity is judged on
ENCODINGS = {
    "16-bit": "16-bit pictures, 0 where there is none",
    "scaled": "16-bit values divided by 65535, 0 where there is none",
    "raw": "16-bit values, 0 where there is none",
    "pixels": "pixels of the full width, at most 0 where there is none",
}


def report(path: str | Path, *, images: int = 32, read_all: bool = False) -> tuple[str, bool]:
    """A report on a folder in one of the layouts of ``Cityscapes``.

    Args:
        path: As ``root`` of ``Cityscapes``.
        images: How many to read of each split, evenly spread.
        read_all: Reads them all.

    Returns:
        The text, and False if anything is damaged, missing or out of range. Unusual statistics
        are pointed out but are no failure.

    Raises:
        FileNotFoundError: If the folder has another layout.
    """
    root, kind = find_root(path)
    return disk.folder_report(
        f"Cityscapes as {kind.name}: {root}",
        lambda split: Cityscapes(split, root=root),
        _survey,
        lambda dataset, found, _: _describe(dataset, found),
        None if read_all else images,
    )


@dataclass
class _Survey:
    """Sums and samples over the images that were read."""

    read: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    types: dict[str, set[str]] = field(default_factory=dict)
    brightness: list[float] = field(default_factory=list)  # least and largest value an image
    pixels: Tensor = field(default_factory=lambda: torch.zeros(len(GROUPS)))
    shown: Tensor = field(default_factory=lambda: torch.zeros(len(GROUPS)))  # images with it
    void: float = 0.0  # summed share of pixels
    without: float = 0.0  # summed share of pixels without a disparity
    disparity: list[Tensor] = field(default_factory=list)
    below: float = 0.0  # summed mean of the lower half minus that of the upper one

    def add(self, sample: Sample) -> None:
        self.read += 1
        self.sizes.add(tuple(sample.image.shape[1:]))
        self.brightness += [float(sample.image.min()), float(sample.image.max())]
        counts = torch.bincount(
            sample.targets["semseg"][sample.valid["semseg"]], minlength=len(GROUPS)
        )
        self.pixels, self.shown = self.pixels + counts, self.shown + (counts > 0)
        self.void += float((~sample.valid["semseg"]).float().mean())
        known = sample.valid["depth"]
        self.without += float((~known).float().mean())
        values = sample.targets["depth"][known]
        self.disparity.append(values[:: max(1, len(values) // SAMPLED)])
        upper, lower = sample.targets["depth"][0].nan_to_num(0.0).chunk(2)
        self.below += float(lower.mean() - upper.mean())


def _survey(dataset: Cityscapes, images: int) -> tuple[_Survey, list[str]]:
    found, problems = _Survey(), []
    for index in disk.spread(len(dataset), images):
        try:
            sample = dataset.read(index)
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        found.add(sample)
        for part, kind in _types(dataset, index):
            found.types.setdefault(part, set()).add(kind)
    if len(found.sizes) > 1:
        folder = dataset.layout.files()[0].parent
        sizes = ", ".join(f"{h}x{w}" for h, w in sorted(found.sizes))
        problems.append(f"{folder}: expected images of one size, found {sizes}; use one download")
    return found, problems


def _types(dataset: Cityscapes, index: int) -> Iterator[tuple[str, str]]:
    if isinstance(dataset.layout, Official):
        yield from (("images", "8-bit"), ("labels", "8-bit"), ("disparity", "16-bit"))
        return
    for name in dataset.layout.folders:
        path = dataset.layout.folder / name / f"{index}.npy"
        yield name, str(np.load(path, mmap_mode="r").dtype)


def _describe(dataset: Cityscapes, found: _Survey) -> Iterator[str]:
    sizes = ", ".join(f"{h}x{w}" for h, w in sorted(found.sizes)) or "unknown size"
    published = PUBLISHED[dataset.split]
    note = "" if len(dataset) == published else f" (published: {published})"
    yield f"{dataset.split}: {len(dataset)} images{note} of {sizes}; {found.read} of them read"
    if not found.read:
        return
    types = ", ".join(f"{part} {'/'.join(sorted(t))}" for part, t in found.types.items())
    yield f"  types      {types}"
    yield f"  images     {min(found.brightness):.3f} to {max(found.brightness):.3f}"
    low, high = VOID
    void = found.void / found.read
    odd = "" if low <= void <= high else "   unusual"
    yield (
        f"  labels     {dataset.layout.labels}: {100 * void:.1f} % void "
        f"(Cityscapes: {100 * low:.0f} to {100 * high:.0f}){odd}; classes as percent of"
    )
    yield "             " + " " * 13 + "   pixels  Cityscapes     images"
    shares = 100 * found.pixels / found.pixels.sum().clamp(min=1)
    for name, share, images in zip(GROUPS, shares.tolist(), found.shown.tolist(), strict=True):
        usual = CITYSCAPES[name]
        odd = "" if usual / 2 <= share <= usual * 2 else "   unusual"
        yield (
            f"             {name:<13} {share:8.2f} {usual:11.2f}   {100 * images / found.read:8.0f}"
            f"{odd}"
        )
    yield from _describe_others(dataset)
    yield from _describe_disparity(dataset, found)


def _describe_others(dataset: Cityscapes) -> Iterator[str]:
    """How label_7 counts the classes that are not evaluated, told by label_19 beside it."""
    layout = dataset.layout
    if isinstance(layout, Official):
        yield "             classes that are not evaluated, such as parking, are read as void"
        return
    fine = layout.folder / "label_19"
    if layout.labels != "label_7" or not fine.is_dir():
        return
    extra = wrong = pixels = 0
    for index in disk.spread(len(dataset), 8):
        try:
            coarse = read_npy(layout.folder / "label_7" / f"{index}.npy", (None, None))
            nineteen = read_npy(fine / f"{index}.npy", coarse.shape)
            ids = whole_ids(fine / f"{index}.npy", nineteen, -1, 18)
        except (ValueError, FileNotFoundError) as error:
            yield f"             label_19 cannot be compared: {error}"
            return
        group = np.append(OF_19, -1)[ids]
        extra += int(((group < 0) & (coarse >= 0)).sum())
        wrong += int(((group >= 0) & (group != coarse)).sum())
        pixels += ids.size
    reading = "void" if extra == 0 else f"members of their groups ({100 * extra / pixels:.2f} %)"
    yield f"             classes that are not evaluated, such as parking, are {reading} here"
    if wrong:
        share = 100 * wrong / pixels
        yield f"             label_7 and label_19 disagree in {share:.2f} % of pixels: unusual"


def _describe_disparity(dataset: Cityscapes, found: _Survey) -> Iterator[str]:
    yield f"  disparity  {ENCODINGS[dataset.layout.encoding]}"
    without = found.without / found.read
    low, high = INVALID
    odd = "" if low / 2 <= without <= high * 2 else "   unusual"
    yield (
        f"             {100 * without:.1f} % without "
        f"(three frames of Cityscapes: {100 * low:.0f} to {100 * high:.0f}){odd}"
    )
    values = torch.cat(found.disparity)
    if not len(values):
        return
    low, middle, high = torch.quantile(values, torch.tensor([0.01, 0.5, 0.99])).tolist()
    odd = "" if MEAN / 2 <= float(values.mean()) <= MEAN * 2 else "   unusual"
    yield (
        f"             as a target: mean {float(values.mean()):.3f} (three frames: {MEAN:.3f}), "
        f"median {middle:.3f}, from {low:.3f} (1 %) to {high:.3f} (99 %){odd}"
    )
    pixels = to_pixels(torch.tensor([low, middle, high])).tolist()
    yield "             in pixels of 2048: median {1:.1f}, from {0:.1f} to {2:.1f}".format(*pixels)
    near = "near is large" if found.below > 0 else "near is SMALL, as if these were depths: unusual"
    yield f"             lower and upper half of the images differ: {near}"
