"""What a provider makes of the images of a data set: how many regions, how large, how good."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtpsl.data import DATASETS, find_class, open_dataset, recognize
from mtpsl.data.dataset import Dataset
from mtpsl.data.readers import draw_sheet
from mtpsl.data.readers.report import GENERATED, SHEET_ROWS
from mtpsl.data.regions import Regions, achievable_accuracy, region_version

ENOUGH = 10  # pixels at half size, below which [RDC] leaves regions out
LINE = (255, 255, 0)  # between regions on a sheet


def check_regions(
    name_or_path: str | Path,
    provider: str,
    settings: Mapping[str, Any] | None = None,
    *,
    height: int | None = None,
    width: int | None = None,
    images: int | None = 32,
    sheet: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> str:
    """Reports on the regions of training images, and draws some of them.

    Args:
        name_or_path: A stand-in's key in ``DATASETS``, or the folder of a data set.
        provider, settings: As of ``Regions``.
        height, width: Those that networks see; None: 96 and 128, or the data set's own on disk.
        images: How many, from the first on; None: all.
        sheet: PNG file to write: each image, its regions in their mean color with lines between
            them, and its labels.
        cache_dir: Of generated images and of regions.

    Raises:
        ValueError: If data set, provider, settings or files do not fit.
        FileNotFoundError: If a folder or a file is missing.
        ImportError: If a package is missing.
    """
    name, settings = str(name_or_path), settings or {}
    root = "" if name in DATASETS else Path(name)
    version = region_version(provider, settings, root)
    how = {"height": height, "width": width, "images": images}
    if name in DATASETS:
        how |= {side: value for side, value in GENERATED.items() if not how[side]}
        dataset = open_dataset(name, "train", cache_dir=cache_dir, **how)
    else:
        dataset = find_class(recognize(root) or "nyud")("train", root=root, **how)
    regions = Regions(dataset, provider, settings, root=root, cache_dir=cache_dir)
    if sheet:
        draw_sheet(dataset, Path(sheet), SHEET_ROWS, partial(_painted, dataset, regions))
    title = f"regions by {provider}{f' {settings}' if settings else ''}, version {version}"
    end = [f"sheet of samples: {sheet}"] if sheet else []
    return "\n".join([title, "", *_describe(dataset, regions), *end])


def _describe(dataset: Dataset, regions: Regions) -> list[str]:
    counts, kept, sizes, without, accuracy = [], [], [], [], []
    for index in range(len(dataset)):
        (ids,) = regions.load([index])
        pixels = _pixels(ids)
        sizes.append(pixels)
        counts.append(len(pixels))
        kept.append(int((_pixels(ids[:, ::2, ::2]) >= ENOUGH).sum()))
        without.append(float((ids < 0).float().mean()))
        if "semseg" in dataset.tasks.names:
            accuracy.append(achievable_accuracy(ids, dataset[index].targets["semseg"]))
    small, middle, large = np.quantile(torch.cat(sizes).numpy(), [0.01, 0.5, 0.99])
    lines = [
        f"{dataset.split}: {len(dataset)} images of {dataset.height}x{dataset.width}",
        f"  {'regions':<12} {np.mean(counts):.1f} an image, from {min(counts)} to {max(counts)}",
        f"  {'kept':<12} {np.mean(kept):.1f} an image with at least {ENOUGH} pixels at half size",
        f"  {'pixels':<12} median {middle:.0f}, from {small:.0f} (1 %) to {large:.0f} (99 %)",
        f"  {'without':<12} {100 * np.mean(without):.1f} % of pixels in no region",
    ]
    if accuracy:
        share = f"{100 * np.nanmean(accuracy):.1f} % of labeled pixels"
        lines.append(f"  {'achievable':<12} {share} are right with one semseg class a region")
    return lines


def _pixels(ids: Tensor) -> Tensor:
    """Pixels of each region that has some."""
    return ids[ids >= 0].unique(return_counts=True)[1]


def _painted(dataset: Dataset, regions: Regions, index: int) -> list[np.ndarray]:
    """(H, W, 3) uint8: regions in their mean color with lines between them; black without."""
    ids = regions.load([index])[0, 0].numpy()
    image = dataset[index].image.movedim(0, -1).numpy()
    known, count = ids >= 0, max(int(ids.max()) + 1, 1)
    pixels = np.bincount(ids[known], minlength=count).clip(1)
    means = [np.bincount(ids[known], image[known][:, c], count) / pixels for c in range(3)]
    picture = np.stack(means, axis=-1)[ids] * known[..., None]
    lines = np.zeros_like(known)
    lines[:, :-1] = ids[:, 1:] != ids[:, :-1]
    lines[:-1] |= ids[1:] != ids[:-1]
    picture = (picture * 255).round().astype(np.uint8)
    return [np.where(lines[..., None], np.array(LINE, dtype=np.uint8), picture)]
