"""What is in a data set: a report for people who bring their own copy, or wonder about ours."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import permutations, product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtpsl.data import DATASETS, find_class
from mtpsl.data.embedded import people21_acceptance, rooms13_acceptance, streets7_acceptance
from mtpsl.data.embedded.acceptance import Finding, format_report
from mtpsl.data.embedded.rooms13_acceptance import NYUD
from mtpsl.data.nyud import CLASSES, FOLDERS, SPLITS, Nyud, find_root, fingerprint
from mtpsl.data.sample import Sample

REPORTS: dict[str, Callable[..., list[Finding]]] = {
    "rooms13": rooms13_acceptance.acceptance_report,
    "streets7": streets7_acceptance.acceptance_report,
    "people21": people21_acceptance.acceptance_report,
}
"""Stand-in -> its acceptance tests, called with a device and the folder of the cache."""

PUBLISHED = {"train": 795, "test": 654}  # images
FIELD_OF_VIEW = 63.0  # degrees, horizontal: what the preprocessing left of NYUD-v2's camera
SAMPLED = 4000  # pixels an image that depth and axes are judged on
LISTED = 10  # problems printed

Axes = tuple[tuple[int, int, int], tuple[int, int, int]]  # channel of x, y, z and its sign
OURS: Axes = ((0, 1, 2), (1, 1, 1))


def check(
    name_or_path: str | Path,
    *,
    images: int = 32,
    read_all: bool = False,
    device: torch.device | str = "cpu",
    cache_dir: str | Path | None = None,
) -> tuple[str, bool]:
    """A report on a stand-in, by name, or on a folder in the NYUD-v2 ``.npy`` layout.

    Args:
        name_or_path: A key of ``REPORTS``, or the folder ``nyuv2`` or its parent.
        images: How many to read of each split of a folder, evenly spread.
        read_all: Reads them all.
        device: Where a stand-in's acceptance tests run; they take minutes on a CPU.
        cache_dir: Of generated images.

    Returns:
        The text, and False if anything is damaged, missing or out of range, or a stand-in fails
        an acceptance test. Unusual statistics are pointed out but are no failure.

    Raises:
        ValueError: If it is neither a folder nor a known name, suggesting the nearest.
        FileNotFoundError: If the folder has another layout.
    """
    name = str(name_or_path)
    if name not in DATASETS and Path(name).exists():
        return check_folder(Path(name), images=images, read_all=read_all)
    if find_class(name).stand_in:
        findings = REPORTS[name](device, cache_dir)
        return format_report(findings), all(finding.ok for finding in findings)
    raise ValueError(f"path: expected the folder of {name} on disk, got its name; name the folder")


def check_folder(path: Path, *, images: int = 32, read_all: bool = False) -> tuple[str, bool]:
    """The report on a folder in the NYUD-v2 ``.npy`` layout; see ``check``."""
    root = find_root(path)
    lines = [f"NYUD-v2 as .npy files: {root}", f"version {fingerprint(root)}"]
    problems: list[str] = []
    for split in SPLITS:
        try:
            dataset = Nyud(split, root=root)
        except (ValueError, FileNotFoundError) as error:
            lines += ["", f"{split}: cannot be read"]
            problems.append(str(error))
            continue
        found, wrong = _survey(dataset, len(dataset) if read_all else images)
        problems += wrong
        lines += ["", *_describe(dataset, found)]
    lines += ["", f"problems: {len(problems) or 'none'}"]
    lines += [f"- {problem}" for problem in problems[:LISTED]]
    if len(problems) > LISTED:
        lines.append(f"- and {len(problems) - LISTED} more")
    return "\n".join(lines), not problems


@dataclass
class _Survey:
    """Sums and samples over the images that were read."""

    read: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    types: dict[str, set[str]] = field(default_factory=lambda: {f: set() for f in FOLDERS})
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
        self.pairs.append(normal_pairs(sample))


def _survey(dataset: Nyud, images: int) -> tuple[_Survey, list[str]]:
    found, problems = _Survey(), []
    count = min(images, len(dataset))
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        try:
            sample = dataset.read(index)
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        found.add(sample)
        for folder in FOLDERS:
            array = np.load(dataset.folder / folder / f"{index}.npy", mmap_mode="r")
            found.types[folder].add(str(array.dtype))
    if len(found.sizes) > 1:
        problems.append(f"{dataset.folder}: expected images of one size, found {found.sizes}")
    return found, problems


def _describe(dataset: Nyud, found: _Survey) -> Iterator[str]:
    sizes = ", ".join(f"{h}x{w}" for h, w in sorted(found.sizes)) or "unknown size"
    published = PUBLISHED[dataset.split]
    note = "" if len(dataset) == published else f" (published: {published})"
    yield f"{dataset.split}: {len(dataset)} images{note} of {sizes}; {found.read} of them read"
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


# ---------------------------------------------------------------- axis check


def normal_pairs(sample: Sample) -> tuple[Tensor, Tensor]:
    """Annotated normals, and those that the depth implies: two (n, 3), n at most ``SAMPLED``.

    Depth is back-projected with a pinhole camera of ``FIELD_OF_VIEW``; normals are cross products
    of central differences, away from depth edges and holes.
    """
    meters = sample.targets["depth"][0]
    height, width = meters.shape
    focal = width / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
    y = (torch.arange(height) - (height - 1) / 2)[:, None] / focal
    x = (torch.arange(width) - (width - 1) / 2)[None, :] / focal
    points = torch.stack([x * meters, y * meters, meters], dim=-1)  # (H, W, 3), NaN in holes
    k = max(1, width // 128)  # pixels; one is too few for a real sensor's noise
    middle = points[k:-k, k:-k]
    right = points[k:-k, 2 * k :] - points[k:-k, : -2 * k]
    down = points[2 * k :, k:-k] - points[: -2 * k, k:-k]
    normal = torch.linalg.cross(right, down, dim=-1)
    normal = normal / normal.square().sum(dim=-1, keepdim=True).sqrt()
    away = (normal * middle).sum(dim=-1, keepdim=True) > 0
    normal = torch.where(away, -normal, normal)
    jump = torch.maximum(right[..., 2].abs(), down[..., 2].abs()) / middle[..., 2]
    annotated = sample.targets["normals"].movedim(0, -1)[k:-k, k:-k]
    usable = (jump < 0.2) & normal.isfinite().all(dim=-1) & annotated.isfinite().all(dim=-1)
    step = max(1, int(usable.sum()) // SAMPLED)
    return annotated[usable][::step], normal[usable][::step]


def rank_axes(annotated: Tensor, implied: Tensor) -> list[tuple[Axes, float]]:
    """All 48 readings of the channels, best first, with their mean angle in degrees.

    Args:
        annotated: (n, 3) unit vectors, channels in unknown order and sign.
        implied: (n, 3) unit vectors in our convention.
    """
    ranked = []
    for channels, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        read = annotated[:, list(channels)] * torch.tensor(signs)
        cosine = (read * implied).sum(dim=1).clamp(-1, 1)
        ranked.append(((channels, signs), float(torch.rad2deg(cosine.acos()).mean())))
    return sorted(ranked, key=lambda entry: entry[1])


def axes_name(axes: Axes) -> str:
    """What the file's channels 0, 1 and 2 hold, such as ``(x, -y, -z)``."""
    held = [""] * 3
    for letter, channel, sign in zip("xyz", *axes, strict=True):
        held[channel] = letter if sign > 0 else f"-{letter}"
    return f"({', '.join(held)})"
