"""What data sets on disk share, and what a depth map implies about normals.

Nothing here knows one of them. Convention of the package: camera frame, x right, y down, z forward,
unit length, toward the camera.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.data.dataset import Dataset, Sample
from mtpsl.tasks import TaskSet

Axes = tuple[tuple[int, int, int], tuple[int, int, int]]  # channel of x, y, z and its sign
OURS: Axes = ((0, 1, 2), (1, 1, 1))

FIELD_OF_VIEW = 63.0  # degrees, horizontal: what the preprocessing left of NYUD-v2's camera
SAMPLED = 4000  # pixels an image that axes are judged on
JUMP = 0.2  # of the depth; more between neighbors is an edge
CERTAIN = 500, 30.0, 5.0  # pixels, degrees off at most, degrees better than the next


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, in pixels; pixel (0, 0) has its center at (0, 0)."""

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def centered(cls, height: int, width: int, degrees: float = FIELD_OF_VIEW) -> "Camera":
        """A camera with that horizontal field of view and square pixels."""
        focal = width / 2 / math.tan(math.radians(degrees / 2))
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2)

    @classmethod
    def nyud(cls, height: int, width: int) -> "Camera":
        """The color camera of NYUD-v2, calibrated at 480x640, for whole images of another size.

        Values of the toolbox that is published with the data set.
        """
        v, u = height / 480, width / 640
        fx, fy, cx, cy = 518.8579, 519.4696, 325.5824, 253.7362
        return cls(fx * u, fy * v, (cx + 0.5) * u - 0.5, (cy + 0.5) * v - 0.5)


def implied_normals(meters: Tensor, camera: Camera) -> tuple[Tensor, int]:
    """Computes the normals of the surface that a depth map (H, W) in m draws, NaN without depth.

    Depth is back-projected; normals are cross products of central differences over 2k + 1 pixels,
    k = 1 for each 128 pixels of width, since one is too few for a real sensor's noise.

    Returns:
        (H - 2k, W - 2k, 3) unit vectors, NaN at depth edges and holes, and k.
    """
    height, width = meters.shape
    y = (torch.arange(height) - camera.cy)[:, None] / camera.fy
    x = (torch.arange(width) - camera.cx)[None, :] / camera.fx
    points = torch.stack([x * meters, y * meters, meters], dim=-1)
    k = max(1, width // 128)
    middle = points[k:-k, k:-k]
    right = points[k:-k, 2 * k :] - points[k:-k, : -2 * k]
    down = points[2 * k :, k:-k] - points[: -2 * k, k:-k]
    normal = torch.linalg.cross(right, down, dim=-1)
    normal = normal / normal.square().sum(dim=-1, keepdim=True).sqrt()
    away = (normal * middle).sum(dim=-1, keepdim=True) > 0
    normal = torch.where(away, -normal, normal)
    jump = torch.maximum(right[..., 2].abs(), down[..., 2].abs()) / middle[..., 2]
    return normal.masked_fill(~(jump < JUMP)[..., None], float("nan")), k


def normals_from_depth(meters: np.ndarray, camera: Camera) -> np.ndarray:
    """(H, W) m, 0 without depth -> (H, W, 3) float32 normals, 0 at holes, edges and the border."""
    normals = np.zeros((*meters.shape, 3), dtype=np.float32)
    depth = torch.from_numpy(meters.astype(np.float32))
    if min(meters.shape) > 2 * max(1, meters.shape[1] // 128):
        inner, k = implied_normals(depth.masked_fill(depth == 0, float("nan")), camera)
        normals[k:-k, k:-k] = inner.nan_to_num(0.0).numpy()
    return normals


def pairs(annotated: Tensor, meters: Tensor) -> tuple[Tensor, Tensor]:
    """Annotated normals, and those that the depth implies: two (n, 3), n at most ``SAMPLED``.

    Takes (3, H, W) normals and (H, W) m, both NaN where there is none.
    """
    height, width = meters.shape
    if min(height, width) <= 2 * max(1, width // 128):
        return torch.zeros(0, 3), torch.zeros(0, 3)
    normal, k = implied_normals(meters, Camera.centered(height, width))
    annotated = annotated.movedim(0, -1)[k:-k, k:-k]
    usable = normal.isfinite().all(dim=-1) & annotated.isfinite().all(dim=-1)
    step = -(-max(1, int(usable.sum())) // SAMPLED)
    return annotated[usable][::step], normal[usable][::step]


def rank_axes(annotated: Tensor, implied: Tensor) -> list[tuple[Axes, float]]:
    """Ranks all 48 readings of the channels, best first, with their mean angle in degrees.

    Takes (n, 3) unit vectors with channels in unknown order and sign, and in our convention.
    """
    ranked = []
    for channels, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        read = annotated[:, list(channels)] * torch.tensor(signs)
        cosine = (read * implied).sum(dim=1).clamp(-1, 1)
        ranked.append(((channels, signs), float(torch.rad2deg(cosine.acos()).mean())))
    return sorted(ranked, key=lambda entry: entry[1])


def settle_axes(seen: list[tuple[Tensor, Tensor]]) -> Axes | None:
    """The reading of the channels that the depth proves, from ``pairs``; None if it does not."""
    if not seen:
        return None
    annotated, implied = (torch.cat(part) for part in zip(*seen, strict=True))
    pixels, off, better = CERTAIN
    if len(annotated) < pixels:
        return None
    (best, angle), (_, second) = rank_axes(annotated, implied)[:2]
    return best if angle <= off and second - angle >= better else None


def apply_axes(normal: np.ndarray, axes: Axes) -> np.ndarray:
    """(H, W, 3) in the file's channels -> (H, W, 3) as x, y, z."""
    channels, signs = axes
    return normal[..., list(channels)] * np.array(signs, dtype=normal.dtype)


def axes_name(axes: Axes) -> str:
    """What the file's channels 0, 1 and 2 hold, such as ``(x, -y, -z)``."""
    held = [""] * 3
    for letter, channel, sign in zip("xyz", *axes, strict=True):
        held[channel] = letter if sign > 0 else f"-{letter}"
    return f"({', '.join(held)})"


SPLITS = ("train", "test")


def resize(sample: Sample, tasks: TaskSet, height: int, width: int) -> Sample:
    """Resizes a sample: the image and normals bilinearly, all else to the nearest pixel.

    Bilinear means averaged over a pixel's whole area when the size shrinks. Normals keep unit
    length, holes do not bleed, and numbers stay what they are.
    """
    if sample.image.shape[1:] == (height, width):
        return sample
    targets, valid = {}, {}
    for task in tasks:
        target = sample.targets[task.name]
        known = nearest(sample.valid[task.name].to(torch.uint8), height, width).bool()
        if task.kind == "direction":
            target = _smooth(target.nan_to_num(0.0), height, width)
            length = target.square().sum(dim=0, keepdim=True).sqrt()
            known &= length > 1e-6
            target = target / length.clamp(min=1e-6)
        else:
            target = nearest(target, height, width)
        targets[task.name] = target.masked_fill(~known, task.missing)
        valid[task.name] = known
    return Sample(_smooth(sample.image, height, width).clamp(0, 1), targets, valid)


def _smooth(maps: Tensor, height: int, width: int) -> Tensor:
    how = {"mode": "bilinear", "align_corners": False, "antialias": True}
    return F.interpolate(maps[None], (height, width), **how).squeeze(0)


def nearest(maps: Tensor, height: int, width: int) -> Tensor:
    """The pixel whose center is nearest, so that it fits ``_smooth``."""
    wide = maps[None].double()
    return F.interpolate(wide, (height, width), mode="nearest-exact")[0].to(maps.dtype)


def channels_first(array: np.ndarray) -> Tensor:
    """(H, W, C) -> (C, H, W) float32."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0), dtype=np.float32))


def to_image(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(pixels.copy()).movedim(-1, 0).float() / 255


def sample_of(image: Tensor, targets: dict[str, Tensor], tasks: TaskSet) -> Sample:
    """A sample whose holes are where a target is missing: void, or not finite."""
    valid = {}
    for task in tasks:
        target = targets[task.name]
        known = target != task.missing if task.kind == "classes" else target.isfinite()
        valid[task.name] = known[:1]
    return Sample(image, targets, valid)


class FolderDataset(Dataset):
    """A split of a data set of files, read and resized at every look.

    ``cache.Cached`` keeps what it gives. Nothing is repaired or skipped silently.

    Args:
        split: ``"train"`` or ``"test"``.
        height: Wanted height; None for ``default_size``. Every image is resized to height x
            width, whatever its proportions: images and normals bilinearly, averaging where they
            shrink, all else to the nearest pixel.
        width: Wanted width.
        images: Use the first so many images; None, or more than there are: all of them.
        root: The folder of one of the layouts, or the folder that contains it.
        **choices: Of ``choices``, which become attributes, too.

    Raises:
        FileNotFoundError: If a folder or a file of the layout is missing, naming it.
        ValueError: If an argument is wrong or files do not fit together; or, when an image is
            read, if its files do not hold what they should.
    """

    stand_in = False
    default_size: tuple[int, int]  # height and width
    rounds_images = False  # to 8 bits, as its files have them
    root: Path
    images: int  # of the split, as many as were asked for
    ids: tuple[str, ...]  # what the source calls them, in order

    def __init__(
        self,
        split: str,
        *,
        height: int | None = None,
        width: int | None = None,
        images: int | None = None,
        root: str | Path,
        **choices: str,
    ) -> None:
        for name, values in self.choices.items():
            value = choices.pop(name, values[0])
            if value not in values:
                expected = " or ".join(map(repr, values))
                raise ValueError(f"{name}: expected {expected}, got {value!r}")
            setattr(self, name, value)
        if choices:
            raise TypeError(f"{self.name}: expected {sorted(self.choices)}, got {sorted(choices)}")
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {list(SPLITS)}, got {split!r}")
        if images is not None and images < 1:
            raise ValueError(f"images: expected at least 1, got {images}")
        self.split = split
        self.height, self.width = height or self.default_size[0], width or self.default_size[1]
        names = self.open_root(Path(root))
        self.images = min(images or len(names), len(names))
        self.ids = tuple(names[: self.images])

    @abstractmethod
    def open_root(self, path: Path) -> Sequence[str]:
        """Sets ``root``, ``version`` and what ``read`` needs; returns the names of all images."""

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected one in [0, {len(self)}), got {index}")
        sample = resize(self.read(index), self.tasks, self.height, self.width)
        if not self.rounds_images:
            return sample
        return replace(sample, image=(sample.image * 255).round() / 255)

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The image at the size of its files.

        Raises:
            ValueError: If a file is damaged or does not hold what it should.
        """

    # What the report on a folder asks for:

    one_size = True  # False: the images of one copy may differ in size

    @classmethod
    @abstractmethod
    def describe_root(cls, path: str | Path) -> str:
        """The title of a report: which layout lies where."""

    @abstractmethod
    def files(self, index: int) -> dict[str, Path]:
        """Kind of file -> the file of the image at ``index``, where it has one of its own."""

    def notes(self) -> Iterator[str]:
        """What is to be known about this copy beyond the numbers of its labels."""
        yield from ()

    def problems(self) -> Iterator[str]:
        """What is wrong with this copy beyond files that cannot be read."""
        yield from ()

    def axes_remedies(self, axes: Axes) -> Iterator[str]:
        """What to do about normals whose channels are these axes, by the depth."""
        if axes[0][0] != 0:
            yield "do not train with flips: channel 0 is not the image's x"


@final
class AtFileSize(Dataset):
    """The same images with labels as their files have them, for scoring predictions at that size.

    One image per batch, since files differ in size: ``EvalLoader(AtFileSize(dataset, reader), 1)``.

    Args:
        dataset: Gives the images, at the size that a network sees.
        reader: Of the same images; reads the labels.
    """

    def __init__(self, dataset: Dataset, reader: FolderDataset) -> None:
        self.dataset, self.reader, self.tasks = dataset, reader, dataset.tasks
        self.name, self.version, self.split = dataset.name, dataset.version, dataset.split
        self.stand_in, self.height, self.width = False, dataset.height, dataset.width

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """The image at the network's size, the labels at the file's.

        Raises:
            ValueError: If a file is damaged, naming it.
        """
        image = self.dataset[index].image
        return replace(self.reader.read(index), image=image)

    def carries(self, task: str) -> Tensor:
        return self.dataset.carries(task)


def spread(total: int, most: int) -> list[int]:
    """At most so many indices in [0, total), evenly spread, the first and last among them."""
    if total == 0:
        return []
    return sorted({round(i) for i in np.linspace(0, total - 1, min(most, total)).tolist()})
