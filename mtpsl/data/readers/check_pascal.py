"""The report on PASCAL-Context on disk: counts, classes, people, normals, saliency and edges."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
from mtpsl.data.readers.pascal import SEMSEG, SPLITS, Archive, PascalContext, find_root
from mtpsl.data.readers.pascal_npy import PEOPLE as PEOPLE_LIST
from mtpsl.data.readers.pascal_npy import NpyTree
from mtpsl.data.scenes.people21_acceptance import BACKGROUND, NORMALS, PEOPLE, VOC, VOID
from mtpsl.tasks import HUMAN_PARTS

PUBLISHED = {"train": 4998, "test": 5105}  # images
CLASSES = tuple(VOC)


def report(path: str | Path, *, images: int = 32, read_all: bool = False) -> tuple[str, bool]:
    """A report on PASCAL-Context in any of its layouts.

    Args:
        path: As ``root`` of ``PascalContext``.
        images: How many to read of each split, evenly spread.
        read_all: Reads them all.

    Returns:
        The text, and False if anything is damaged, missing or out of range. Unusual statistics
        are pointed out but are no failure.

    Raises:
        FileNotFoundError: If the folder has another layout.
    """
    root = find_root(path)
    title = (NpyTree if NpyTree.is_at(root) else Archive).title
    return disk.folder_report(
        f"PASCAL-Context as {title}: {root}",
        lambda split: PascalContext(split, root=root),
        _survey,
        _describe,
        None if read_all else images,
    )


@dataclass
class _Survey:
    """Sums over the images that were read."""

    read: int = 0
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    fallback: int = 0  # images whose labels are not those of VOC 2012
    pixels: Tensor = field(default_factory=lambda: torch.zeros(len(CLASSES)))
    shown: Tensor = field(default_factory=lambda: torch.zeros(len(CLASSES)))  # images with it
    parts: Tensor = field(default_factory=lambda: torch.zeros(len(HUMAN_PARTS)))
    people: int = 0  # images with a part
    shares: dict[str, float] = field(default_factory=dict)  # summed shares of pixels

    def add(self, sample: Sample) -> None:
        self.read += 1
        self.heights.append(sample.image.shape[1])
        self.widths.append(sample.image.shape[2])
        targets, valid = sample.targets, sample.valid
        counts = torch.bincount(targets["semseg"][valid["semseg"]], minlength=len(CLASSES))
        self.pixels, self.shown = self.pixels + counts, self.shown + (counts > 0)
        parts = torch.bincount(
            targets["human_parts"][valid["human_parts"]], minlength=len(HUMAN_PARTS)
        )
        self.parts, self.people = self.parts + parts, self.people + bool(parts.sum())
        z = targets["normals"][2][valid["normals"][0]]
        for name, share in {
            "void": (~valid["semseg"]).float().mean(),
            "normals": valid["normals"].float().mean(),
            "toward": (z < -0.5).float().mean() if len(z) else torch.zeros(()),
            "away": (z > 0.5).float().mean() if len(z) else torch.zeros(()),
            "saliency": targets["saliency"].mean(),
            "edges": targets["edges"].mean(),
        }.items():
            self.shares[name] = self.shares.get(name, 0.0) + float(share)

    def percent(self, name: str) -> float:
        return 100 * self.shares[name] / self.read


def _survey(dataset: PascalContext, images: int) -> tuple[_Survey, list[str]]:
    found, problems = _Survey(), []
    for index in disk.spread(len(dataset), images):
        try:
            sample = dataset.read(index)
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        found.add(sample)
        if isinstance(dataset.layout, Archive):
            name = f"{dataset.ids[index]}.png"
            found.fallback += not (dataset.root / SEMSEG[0] / name).is_file()
    return found, problems


def _describe(dataset: PascalContext, found: _Survey, problems: list[str]) -> Iterator[str]:
    published = PUBLISHED[dataset.split]
    note = "" if len(dataset) == published else f" (published: {published})"
    yield f"{dataset.split}: {len(dataset)} images{note}; {found.read} of them read"
    yield from _describe_people(dataset, problems)
    if not found.read:
        return
    yield (
        f"  sizes      {min(found.heights)} to {max(found.heights)} high, "
        f"{min(found.widths)} to {max(found.widths)} wide; 8 bits"
    )
    low, high = (100 * share for share in VOID)
    odd = "" if low <= found.percent("void") <= high else "   unusual"
    origin = ""
    if isinstance(dataset.layout, Archive):
        origin = f"{found.read - found.fallback} of VOC12, {found.fallback} of pascal-context; "
    yield (
        f"  labels     {origin}"
        f"{found.percent('void'):.1f} % void (VOC: {low:.0f} to {high:.0f}){odd}; classes as "
        "percent of"
    )
    yield "             " + " " * 13 + "   pixels      VOC     images      VOC"
    shares = 100 * found.pixels / found.pixels.sum().clamp(min=1)
    for name, share, images in zip(CLASSES, shares.tolist(), found.shown.tolist(), strict=True):
        usual, usual_images = VOC[name]
        often = "" if usual_images is None else f"{usual_images:8.0f}"
        low, high = (
            (100 * BACKGROUND[0], 100 * BACKGROUND[1])
            if usual_images is None
            else (usual / 2, usual * 2)
        )
        odd = "" if low <= share <= high else "   unusual"
        yield (
            f"             {name:<13} {share:8.2f} {usual:8.2f}   "
            f"{100 * images / found.read:8.0f} {often}{odd}"
        )
    parts = 100 * found.parts / found.parts.sum().clamp(min=1)
    text = ", ".join(f"{n} {s:.1f}" for n, s in zip(HUMAN_PARTS, parts.tolist(), strict=True))
    yield f"  parts      in {found.people} of {found.read} images; percent there: {text}"
    low, high = (100 * share for share in NORMALS)
    odd = "" if low <= found.percent("normals") <= high else " (unusual)"
    yield (
        f"  normals    on {found.percent('normals'):.1f} % of pixels{odd}, whose context is known "
        f"from rooms; z < -0.5 on {found.percent('toward'):.0f} % of them, z > 0.5 on "
        f"{found.percent('away'):.0f} %"
    )
    yield (
        f"  saliency   {found.percent('saliency'):.1f} % of pixels; "
        f"edges {found.percent('edges'):.1f} %, one pixel wide"
    )


def _describe_people(dataset: PascalContext, problems: list[str]) -> Iterator[str]:
    folder = SPLITS[dataset.split]
    listed = dataset.root / "ImageSets" / "Parts" / f"{folder}.txt"
    if isinstance(dataset.layout, NpyTree):
        listed = dataset.root / folder / PEOPLE_LIST
    if not listed.is_file():
        yield f"  people     {listed} is missing; who shows people is read from human_parts"
        return
    try:
        people = dataset.carries("human_parts").tolist()
    except ValueError as error:
        problems.append(str(error))
        yield "  people     unknown"
        return
    share = sum(people) / len(people)
    odd = "" if PEOPLE[0] <= share <= PEOPLE[1] else "   unusual"
    yield f"  people     in {sum(people)} images ({100 * share:.0f} %), by {listed.name}{odd}"
