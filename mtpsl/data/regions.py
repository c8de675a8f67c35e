"""Regions of images, found once, kept in the cache and put into training batches.

A provider (``region_providers``) divides one clean image; ``Regions`` does so for a whole data set;
``WithRegions`` puts the ids into training batches, where they follow every view of the image. Ids
count from 0, mean nothing across images, and are -1 where a pixel is in no region.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.cache import cache_root, cached_arrays, cores, write_images
from mtpsl.data.dataset import Dataset, Sample, Stored
from mtpsl.data.fingerprint import fingerprint
from mtpsl.data.labels import WITHHOLD_NONE, PartialLabels
from mtpsl.data.readers import reading
from mtpsl.data.region_providers import NONE, PROVIDERS, STORED_NONE, Divide, Picture, Provider
from mtpsl.losses import IGNORE_INDEX
from mtpsl.registry import look_up, require_known

MANY = 5_000_000  # pixels; a data set this large is divided by several processes


def region_version(name: str, settings: Mapping[str, Any], root: str | Path = "") -> str:
    """The provider's version, or the fingerprint of the folder that it reads.

    Raises:
        ValueError: If the provider or a setting is unknown, or one that it needs is missing.
        FileNotFoundError: If it reads a folder that is not there.
    """
    provider = look_up("regions", name, PROVIDERS)
    require_known("region_args", provider.divide, settings)
    if not provider.folder:
        return provider.version
    folder = Path(_resolve(provider, settings, root)[provider.folder])
    if not folder.is_dir():
        if provider.network:
            return provider.version
        raise reading.missing(folder, "a folder of regions", reading.listing(folder))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return f"{provider.version}-{fingerprint(name, folder, files)}"


def _resolve(provider: Provider, settings: Mapping[str, Any], root: str | Path) -> dict[str, Any]:
    """The settings, with a folder's place on this machine."""
    settings = dict(settings)
    if provider.folder:
        folder = Path(root, Path(settings[provider.folder]).expanduser())
        if folder.is_dir() or not provider.network:
            settings[provider.folder] = str(folder)
    return settings


# ------------------------------------------------------------- whole data sets


class Regions:
    """The regions of all images of a data set, found once and kept in the cache.

    Args:
        dataset: Clean images at the size that networks see.
        provider: A key of ``PROVIDERS``.
        settings: Of the provider.
        root: The data set's folder, under which a provider's relative folder lies.
        cache_dir: Where to keep the ids, 2 bytes a pixel; see ``cache.cache_root``.

    Raises:
        ValueError: If provider and settings do not fit, or an image has 65,535 regions or more.
        ImportError: If the provider needs a package that is not installed.
    """

    def __init__(
        self,
        dataset: Dataset,
        provider: str,
        settings: Mapping[str, Any] | None = None,
        *,
        root: str | os.PathLike = "",
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        settings = json.loads(json.dumps(settings or {}, default=dict))  # as the manifest says it
        version, how = region_version(provider, settings, root), PROVIDERS[provider]
        size = f"{dataset.height}x{dataset.width}-{len(dataset)}"
        source = f"{dataset.name}-{dataset.version}-{dataset.split}-{size}"
        source = dataset.folder.name if isinstance(dataset, Stored) else source
        identity = {"data": source, "provider": provider, "version": version, "settings": settings}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        self.folder = cache_root(cache_dir) / f"{source}-{provider}-{version}-{digest}"
        layout = {"regions": ((len(dataset), dataset.height, dataset.width), "uint16")}
        divide = partial(how.divide, **_resolve(how, settings, root))
        fill = partial(_fill, dataset=dataset, how=how, divide=divide)
        self._ids = cached_arrays(self.folder, identity, layout, fill)

    def __len__(self) -> int:
        return len(self._ids["regions"])

    def load(self, indices: Sequence[int]) -> Tensor:
        """(B, 1, H, W) int64 ids of the images at ``indices``, from 0 on, -1 for none."""
        ids = self._ids["regions"][np.asarray(indices, dtype=np.int64)].astype(np.int64)
        return torch.from_numpy(np.where(ids == STORED_NONE, NONE, ids)[:, None])

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the ids, which another process maps itself."""
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.folder = state["folder"]
        self._ids = {"regions": np.load(self.folder / "regions.npy", mmap_mode="r")}


def _fill(folder: Path, dataset: Dataset, how: Provider, divide: Divide) -> None:
    many = len(dataset) * dataset.height * dataset.width >= MANY and not how.network
    write = partial(_write, dataset, how, divide)
    write_images(folder, write, dataset, cores() if many else 1, "dividing")


def _write(
    dataset: Dataset, how: Provider, divide: Divide, arrays: dict[str, np.ndarray], index: int
) -> None:
    ids = compact(divide(to_picture(dataset, index, with_labels=how.sees_labels)))
    if ids.max() >= STORED_NONE:
        raise ValueError(f"regions: expected fewer than {STORED_NONE}, got {ids.max() + 1}")
    arrays["regions"][index] = np.where(ids == NONE, STORED_NONE, ids)


def to_picture(dataset: Dataset, index: int, *, with_labels: bool = False) -> Picture:
    """The image at ``index`` as providers see it.

    Raises:
        ValueError: If labels are asked for and the data set has none of semseg.
    """
    sample: Sample = dataset[index]
    names = getattr(dataset, "ids", None)
    if with_labels and "semseg" not in dataset.tasks.names:
        raise ValueError(f"regions: expected semseg among {dataset.tasks.names} of {dataset.name}")
    return Picture(
        image=sample.image.movedim(0, -1).double().numpy(),
        index=index,
        name=names[index] if names else str(index),
        classes=sample.targets["semseg"][0].numpy() if with_labels else None,
    )


def compact(ids: np.ndarray) -> np.ndarray:
    """The same regions, numbered from 0 without gaps in the order of their ids; -1 stays."""
    known = ids != NONE
    compacted = np.full(ids.shape, NONE)
    compacted[known] = np.unique(ids[known], return_inverse=True)[1]
    return compacted


class WithRegions(Dataset):
    """A data set whose batches carry ``Batch.regions``.

    Args:
        dataset: Usually a ``PartialLabels``; regions are those of the images behind it.
        provider, settings, root, cache_dir: As of ``Regions``.

    Raises:
        ValueError: If the provider sees semseg labels that the label setting withholds, or for
            another reason of ``Regions``.
    """

    def __init__(
        self,
        dataset: Dataset,
        provider: str,
        settings: Mapping[str, Any] | None = None,
        *,
        root: str | os.PathLike = "",
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        self.dataset, self.tasks = dataset, dataset.tasks
        self.name, self.version, self.split = dataset.name, dataset.version, dataset.split
        self.stand_in, self.height, self.width = dataset.stand_in, dataset.height, dataset.width
        images, self.positions = dataset, torch.arange(len(dataset))
        if isinstance(dataset, PartialLabels):
            images, self.positions = dataset.dataset, dataset.positions
            if look_up("regions", provider, PROVIDERS).sees_labels:
                _require_semseg(provider, dataset)
        self.regions = Regions(images, provider, settings, root=root, cache_dir=cache_dir)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[index]

    def load(self, indices: Sequence[int]) -> Batch:
        batch = self.dataset.load(indices)
        positions = self.positions[torch.as_tensor([int(i) for i in indices], dtype=torch.int64)]
        return replace(batch, regions=self.regions.load(positions.numpy()))

    def carries(self, task: str) -> Tensor:
        return self.dataset.carries(task)


def _require_semseg(provider: str, dataset: PartialLabels) -> None:
    assignment = dataset.assignment
    kept = assignment.counts.get("semseg", 0)
    if assignment.setting not in WITHHOLD_NONE and kept < len(assignment):
        raise ValueError(
            f"regions: expected the label setting full, or semseg of every image, because "
            f"{provider} shows its labels, got {assignment.setting} with semseg of {kept} of "
            f"{len(assignment)} images; choose another provider"
        )


# ------------------------------------------------------------------- quality


def achievable_accuracy(ids: Tensor | np.ndarray, classes: Tensor | np.ndarray) -> float:
    """Share of pixels that are right if every region takes its most frequent class.

    The achievable segmentation accuracy (ASA): the best that anything can do that says one class a
    region. Pixels in no region are wrong, void pixels do not count.

    Args:
        ids: (H, W) of one image, or (B, ..., H, W) of several; -1 for none.
        classes: As many class ids, ``IGNORE_INDEX`` where void.

    Returns:
        In [0, 1]; NaN without any labeled pixel.
    """
    ids, classes = (np.asarray(maps).astype(np.int64) for maps in (ids, classes))
    if ids.size != classes.size:
        raise ValueError(f"classes: expected {ids.shape} as the ids, got {classes.shape}")
    images = len(ids) if ids.ndim > 2 else 1
    ids, classes = ids.reshape(images, -1), classes.reshape(images, -1)
    counted, kinds = classes != IGNORE_INDEX, IGNORE_INDEX + 1
    regions = ids + np.arange(images)[:, None] * (ids.max() + 1)
    pairs = (regions * kinds + classes)[counted & (ids != NONE)]
    pairs, pixels = np.unique(pairs, return_counts=True)
    best = np.zeros(images * (ids.max() + 1), dtype=np.int64)
    np.maximum.at(best, pairs // kinds, pixels)
    return float(best.sum() / counted.sum()) if counted.any() else float("nan")
