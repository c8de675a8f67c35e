"""Ways to divide one image into regions: integer maps that say which pixels belong together.

``PROVIDERS`` names them. Ids are whole numbers from 0 on, in any order and with gaps, and ``NONE``
where a pixel is in no region. All providers give the same ids every time and under every number of
threads, except for ``sam``, which [RDC] uses: the last bits of a network depend on both.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from mtpsl.data.formats import refusal
from mtpsl.data.readers import reading
from mtpsl.losses import IGNORE_INDEX

NONE = -1  # the id of pixels in no region
STORED_NONE = 65535  # the same in files of 16 bits, ours and other people's
HEIGHT = 288  # of an image in pixels, for which felzenszwalb's least size is 200 pixels


@dataclass(frozen=True)
class Picture:
    """What a provider sees of one image."""

    image: np.ndarray  # (H, W, 3) float64 in [0, 1], RGB
    index: int  # in its data set
    name: str  # what its data set calls it; generated ones have their index
    classes: np.ndarray | None  # (H, W) class ids of semseg, for a provider that sees labels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[:2]


Divide = Callable[..., np.ndarray]  # (picture, **settings) -> (H, W) ids, in any order, with gaps


# ------------------------------------------------------------------- providers


def felzenszwalb(
    picture: Picture, *, scale: float = 100, sigma: float = 0.8, min_size: int | None = None
) -> np.ndarray:
    """Regions of similar color by the graph of pixels (Felzenszwalb and Huttenlocher, 2004).

    Args:
        picture: The image.
        scale: Larger values give fewer regions.
        sigma: Width of the blur before, in pixels.
        min_size: Pixels of the smallest region; None: 200 at 288 rows, in proportion to the area
            of smaller and larger images, and at least 8.
    """
    if min_size is None:
        min_size = max(8, round(200 * (picture.size[0] / HEIGHT) ** 2))
    divide = _skimage().felzenszwalb
    return divide(picture.image, scale=scale, sigma=sigma, min_size=min_size)


def slic(picture: Picture, *, segments: int = 64, compactness: float = 10) -> np.ndarray:
    """Superpixels: about ``segments`` clusters of color and place (Achanta et al., 2012)."""
    return _skimage().slic(
        picture.image, n_segments=segments, compactness=compactness, start_label=0
    )


def grid(picture: Picture, *, size: int = 16) -> np.ndarray:
    """Squares of ``size`` pixels, cut off at the right and at the bottom."""
    rows, columns = (np.arange(side) // _at_least_1(size) for side in picture.size)
    return rows[:, None] * (columns[-1] + 1) + columns


def voronoi(picture: Picture, *, count: int | None = None, seed: int = 0) -> np.ndarray:
    """A random control: every pixel belongs to the nearest of ``count`` random points.

    Args:
        picture: The image; only its size and its index matter.
        count: How many points; None: as many as ``felzenszwalb`` finds regions in this image.
        seed: Of the points, together with the image's index.
    """
    count = len(np.unique(felzenszwalb(picture))) if count is None else _at_least_1(count)
    random = np.random.Generator(np.random.PCG64([seed, picture.index]))
    points = random.random((count, 2)) * picture.size
    y, x = (np.arange(side) + 0.5 for side in picture.size)
    nearest, ids = np.full(picture.size, np.inf), np.zeros(picture.size, dtype=np.int64)
    for point, (row, column) in enumerate(points):
        distance = (y[:, None] - row) ** 2 + (x - column) ** 2
        ids[distance < nearest] = point
        np.minimum(nearest, distance, out=nearest)
    return ids


def ground_truth(picture: Picture) -> np.ndarray:
    """Connected pixels of one class of the semseg label; void pixels are in no region."""
    from scipy.ndimage import label

    ids, found = np.full(picture.size, NONE), 0
    for name in np.unique(picture.classes[picture.classes != IGNORE_INDEX]):
        parts, count = label(picture.classes == name)
        ids = np.where(parts > 0, parts - 1 + found, ids)
        found += count
    return ids


def whole(picture: Picture) -> np.ndarray:
    """The whole image as one region."""
    return np.zeros(picture.size, dtype=np.int64)


def from_files(picture: Picture, *, folder: str) -> np.ndarray:
    """Reads ``<name>.png`` or ``.npy``, or the image's number in place of its name.

    Args:
        picture: The image.
        folder: Relative to the folder of the data set, or absolute. Its files hold 16-bit unsigned
            ids at the size that networks see, 65535 for pixels in no region.

    Raises:
        FileNotFoundError: If there is no file of the image.
        ValueError: If it is damaged, or has another size or type.
    """
    names = [f"{n}{e}" for n in (picture.name, str(picture.index)) for e in (".png", ".npy")]
    path = next((p for p in (Path(folder) / name for name in names) if p.is_file()), None)
    if path is None:
        remedy = "give every training image a file of regions"
        expected = f"{' or '.join(dict.fromkeys(names))} with regions"
        raise reading.missing(Path(folder), expected, reading.listing(Path(folder)), remedy)
    if path.suffix == ".npy":
        ids = reading.read_npy(path, picture.size)
    else:
        ids = reading.read_picture(path, ("I;16", "I;16B"), "regions")
        reading.check_size(path, ids, picture.size, "resize it to the nearest pixel")
    if ids.dtype.kind != "u" or ids.dtype.itemsize != 2:
        raise refusal(path, "ids as uint16", str(ids.dtype), "convert them")
    return np.where(ids == STORED_NONE, NONE, ids.astype(np.int64))


def sam(
    picture: Picture,
    *,
    model: str,
    points: int = 32,
    points_per_batch: int = 64,
    pred_iou_thresh: float = 0.88,
    stability_score_thresh: float = 0.95,
    drop_rest: bool = False,
) -> np.ndarray:
    """Masks of Segment Anything, SlimSAM or SAM 2 by the ``transformers`` package.

    Args:
        picture: The image.
        model: A name on Hugging Face, such as ``"facebook/sam-vit-base"``, or a folder.
        points: A side of the grid of points that masks are asked for.
        points_per_batch: How many at once; memory grows with it.
        pred_iou_thresh, stability_score_thresh: Masks below them are left out.
        drop_rest: See ``paint_masks``.

    Raises:
        ImportError: If ``transformers`` or the compiled operators of torchvision are missing.
        ConnectionError: If the model is not on this machine and cannot be downloaded.
    """
    from PIL import Image

    image = Image.fromarray((picture.image * 255).round().astype(np.uint8))
    found = _mask_generator(model)(
        image,
        points_per_crop=points,
        points_per_batch=points_per_batch,
        pred_iou_thresh=pred_iou_thresh,
        stability_score_thresh=stability_score_thresh,
    )
    masks = [torch.as_tensor(mask).cpu().numpy() > 0 for mask in found["masks"]]
    masks = np.stack(masks) if masks else np.zeros((0, *picture.size), dtype=bool)
    return paint_masks(masks, drop_rest=drop_rest)


def paint_masks(masks: np.ndarray, *, drop_rest: bool = False) -> np.ndarray:
    """Overlapping masks (n, H, W) bool -> ids (H, W), painted by falling area.

    Small masks stay on top; of equal ones the later. Pixels without a mask are one more region, or
    in none if ``drop_rest``.
    """
    ids = np.full(masks.shape[1:], NONE if drop_rest else len(masks))
    for number in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
        ids[masks[number]] = number
    return ids


def _at_least_1(number: int) -> int:
    if type(number) is not int or number < 1:
        raise ValueError(f"region_args: expected a whole number, at least 1, got {number!r}")
    return number


def _skimage() -> ModuleType:
    try:
        return importlib.import_module("skimage.segmentation")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"regions: expected scikit-image to be installed for this provider, got no module "
            f'{error.name!r}; run pip install "mtpsl[regions]"'
        ) from error


@cache
def _mask_generator(model: str) -> Callable[..., Mapping[str, Any]]:
    """The pipeline of ``transformers`` that finds masks, on a GPU if there is one."""
    try:
        transformers = importlib.import_module("transformers")
        importlib.import_module("torchvision")
        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"regions: expected transformers and torchvision to be installed for sam, got no "
            f"module {error.name!r}; run pip install transformers"
        ) from error
    except (RuntimeError, AttributeError) as error:
        raise ImportError(
            "regions: expected torchvision with its compiled operators for sam, got one that does "
            f"not fit this torch ({reading.reason(error)}); install both from one index, or make "
            "the regions elsewhere and give their folder to the provider file"
        ) from error
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return transformers.pipeline("mask-generation", model=model, device=device)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"regions: expected a folder or a name on Hugging Face that can be downloaded, got "
            f"{model!r} ({reading.reason(error)}); fetch it elsewhere and give its folder"
        ) from error


@dataclass(frozen=True)
class Provider:
    """One way to divide images, and what is to be known about it."""

    divide: Divide
    version: str = "1"  # raise it when the same settings give other ids than before
    folder: str = ""  # the setting that names a folder whose files are a part of the version
    network: bool = False  # runs in one process, and its folder may be a name on Hugging Face
    sees_labels: bool = False  # of semseg, which must then not be withheld


PROVIDERS: dict[str, Provider] = {
    "felzenszwalb": Provider(felzenszwalb),
    "slic": Provider(slic),
    "grid": Provider(grid),
    "voronoi": Provider(voronoi),
    "ground_truth": Provider(ground_truth, sees_labels=True),
    "whole": Provider(whole),
    "file": Provider(from_files, folder="folder"),
    "sam": Provider(sam, folder="model", network=True),
}
"""Name -> provider. A setting is a keyword of its function."""
