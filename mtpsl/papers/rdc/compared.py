"""What the contrast of regions compares, taken apart for figures, and pictures of it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import to_rgb
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.regions import WithRegions
from mtpsl.papers.rdc.gaussians import Regions, find_regions, region_moments
from mtpsl.papers.rdc.loss import RegionContrastLoss
from mtpsl.papers.rdc.method import RDC
from mtpsl.papers.xtc.diagrams import PAIR
from mtpsl.papers.xtc.loss import Inputs, find_links
from mtpsl.report.arrays import Arrays, FigureInputs, principal_components
from mtpsl.report.style import CYCLE, INK, QUIET, SCORE_MAP, TASK, Image, scalar_to_rgb
from mtpsl.runs.experiment import Experiment
from mtpsl.tasks import Task

RIGHT, WRONG = TASK, CYCLE[4]  # colors of a region that is found in the other map, and of others
OUTER = 0.01  # share of values that lies beyond either end of a color
SIDE = 480  # pixels across a picture that is drawn on
CELL = 10  # pixels of an entry of a matrix
LINE = 2.6  # pixels of a contour


def with_regions(inputs: FigureInputs, indices: Sequence[int], setting: str) -> Batch:
    """Test images with the labels that a label setting leaves them, and the regions of the run."""
    experiment: Experiment = next(iter(inputs.experiments.values()))
    labels = assign(setting, len(inputs.test), inputs.test.tasks.names)
    partial = PartialLabels(inputs.test, labels)
    data = WithRegions(partial, experiment.regions, experiment.region_args)
    return data.load(indices).to(inputs.device)


@final
class Likeliest(Inputs):
    """What the mapping network reads in training, but for the Gumbel noise of classes."""

    def noise(self, task: Task, rows: tuple[int, ...]) -> None:
        return None


@dataclass(frozen=True)
class Compared:
    """Regions of n images in the map of a prediction and in that of another task's label."""

    rows: tuple[int, ...]  # positions of the images in their batch
    maps: Tensor  # (2, n, D, h, w) of predictions, then of labels
    ids: Tensor  # (n, h, w), -1 where there is no region
    loss: RegionContrastLoss

    def only(self, *images: int) -> "Compared":
        """The same of some of the images."""
        chosen = list(images)
        rows = tuple(self.rows[i] for i in chosen)
        return replace(self, rows=rows, maps=self.maps[:, chosen], ids=self.ids[chosen])

    def whole(self) -> "Compared":
        """The same with everything that is in a region as one region an image."""
        return replace(self, ids=self.ids.clamp(max=0))

    def mismatched(self) -> "Compared":
        """The same with every image's labels in the place of the next one's."""
        return replace(self, maps=torch.stack([self.maps[0], self.maps[1].roll(1, dims=0)]))

    @property
    def regions(self) -> Regions:
        return find_regions(self.ids, self.loss.min_pixels)

    def distances(self) -> Tensor:
        """(M, M) of all regions: from predictions (rows) to labels (columns)."""
        p, t = (self.loss.describe(maps, self.regions) for maps in self.maps)
        return self.loss.distance(p.unsqueeze(1), t.unsqueeze(0))

    def arrays(self) -> Arrays:
        """What drawings show.

        ``numbers`` (n, h, w), which of M regions a pixel is in, -1 for none; ``sizes`` (M,) in
        pixels; ``distance`` (M, M); in the first two principal directions of all pixels of both
        maps ``mean`` (2, M, 2) and ``covariance`` (2, M, 2, 2), with the share of the variance in
        ``explained`` (2,); and the first three as colors, ``features`` (2, n, h, w, 3).
        """
        regions = self.regions
        numbers = torch.full_like(self.ids, -1).flatten()
        numbers[regions.pixels] = regions.owner
        points, shares = principal_components(self.maps.movedim(2, -1).double().cpu())
        low, high = (points.flatten(0, -2).quantile(q, dim=0) for q in (OUTER, 1 - OUTER))
        rgb = ((points - low) / (high - low).clamp(min=1e-9)).clamp(0, 1) * 255
        on_cpu = find_regions(self.ids.cpu(), self.loss.min_pixels)
        planes = points[..., :2].movedim(-1, 2)  # (2, n, 2, h, w)
        moments = [region_moments(on_cpu.gather(plane), on_cpu) for plane in planes]
        mean, covariance = (torch.stack(parts).numpy() for parts in zip(*moments, strict=True))
        return {
            "numbers": numbers.view(self.ids.shape).cpu().numpy().astype(np.int16),
            "sizes": regions.sizes.cpu().numpy(),
            "distance": np.round(self.distances().double().cpu().numpy(), 4),
            "mean": np.round(mean, 4),
            "covariance": np.round(covariance, 5),
            "explained": np.round(shares[:2].numpy(), 4),
            "features": rgb.round().byte().numpy(),
        }


@torch.no_grad()
def compare(method: RDC, batch: Batch) -> Compared:
    """What the loss compares for ``PAIR``, on all images of a batch that have it.

    As in training, where BatchNorm averages over these images, but for the Gumbel noise.
    """
    loss = deepcopy(method.loss).train()
    predictions = method.net(batch.images).predictions
    links = find_links(method.tasks, batch)
    (link,) = (x for x in links if (x.source.name, x.target.name) == PAIR)
    maps = torch.stack(loss.embed([link], Likeliest(predictions, batch)))
    return Compared(link.rows, maps, loss.region_ids(link, batch, maps.shape[3:]), loss)


def found(distance: Image) -> Image:
    """(M, M) -> (M,) whether no other region's label is as near to a prediction as its own."""
    others = np.where(np.eye(len(distance), dtype=bool), np.inf, distance)
    return distance.diagonal() < others.min(axis=1, initial=np.inf)


# -------------------------------------------------------------------- pictures


def outline(image: Image, numbers: Image, colors: Mapping[int, str], pale: float = 0.0) -> Image:
    """Draws a line around some regions of an image (H, W, 3) uint8, enlarged.

    Args:
        image: Or a map of colors.
        numbers: (h, w) region numbers.
        colors: Region -> color of its line.
        pale: The share of white in whatever is in none of these regions.
    """
    rgb = enlarge(image, SIDE // image.shape[1]).astype(np.float64)
    rows, columns = (np.arange(n) * m // n for n, m in zip(rgb.shape, numbers.shape, strict=False))
    large = numbers[rows[:, None], columns]
    rgb[~np.isin(large, list(colors))] *= 1 - pale
    rgb[~np.isin(large, list(colors))] += 255 * pale
    for number, color in colors.items():
        inside = torch.from_numpy(large == number)[None].double()
        left = -F.max_pool2d(-inside, 3, 1, 1)
        for reach, ink in ((4, INK), (3, color)):
            grown = F.max_pool2d(inside, 2 * reach + 1, 1, reach)
            rgb[(grown > left)[0].numpy()] = np.multiply(to_rgb(ink), 255)
    return rgb.round().astype(np.uint8)


def mosaic(image: Image, numbers: Image, tints: Mapping[int, str] | None = None) -> Image:
    """Every region in its mean color or near its tint, with white borders; white where none is."""
    places = zip(numbers.shape, image.shape, strict=False)
    rows, columns = (((np.arange(n) + 0.5) * (m / n)).astype(int) for n, m in places)
    rgb = image[rows[:, None], columns].astype(np.float64)
    for number in np.unique(numbers):
        here = numbers == number
        rgb[here] = rgb[here].mean(0) if number >= 0 else 255
        if tint := (tints or {}).get(int(number)):
            rgb[here] = 0.4 * rgb[here] + 0.6 * np.multiply(to_rgb(tint), 255)
    large, rgb = (enlarge(x, SIDE // numbers.shape[1]) for x in (numbers, rgb))
    for axis, step in product((0, 1), (1, 2)):
        rgb[np.roll(large, step, axis) != large] = 255
    return rgb.round().astype(np.uint8)


def enlarge(image: Image, times: int) -> Image:
    """(h, w, ...) with every pixel as a square of ``times``, at least 1, pixels."""
    return image.repeat(max(1, times), 0).repeat(max(1, times), 1)


def matrix(distance: Image, sizes: Image) -> Image:
    """Distances as a picture, large regions first and near ones bright, the diagonal framed.

    Its frame is ``RIGHT`` if it is its row's smallest; otherwise ``WRONG``, and that has a dot.
    """
    order = np.argsort(-sizes, kind="stable")
    distance = distance[np.ix_(order, order)]
    near = -np.sqrt(distance.clip(min=0))
    rgb = enlarge(scalar_to_rgb(near, SCORE_MAP, *np.percentile(near, [5, 100])), CELL)
    for i, right in enumerate(found(distance)):
        color, nearest = np.multiply(to_rgb(RIGHT if right else WRONG), 255), distance[i].argmin()
        cell = rgb[i * CELL :, i * CELL :][:CELL, :CELL]
        cell[:2], cell[-2:], cell[:, :2], cell[:, -2:] = (color,) * 4
        if not right:
            rgb[i * CELL :, nearest * CELL :][3 : CELL - 3, 3 : CELL - 3] = color
    return rgb


def ellipses(
    mean: Image, covariance: Image, colors: Sequence[str], dashed: Sequence[bool]
) -> Image:
    """Gaussians in a plane, (n, 2) and (n, 2, 2), as a picture.

    Contours lie at 1 and 2 standard deviations; those in ``QUIET`` have the first alone.
    """
    reach = 2.3 * np.sqrt(covariance.diagonal(axis1=1, axis2=2))
    low, high = (mean - reach).min(0), (mean + reach).max(0)
    middle, half = (low + high) / 2, max(high - low) / 2
    steps = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    x, y = np.meshgrid(middle[0] + half * steps, middle[1] - half * steps)
    pixel, rgb = 2 * half / SIDE, np.ones((SIDE, SIDE, 3))
    for m, S, color, dash in zip(mean, covariance, colors, dashed, strict=True):
        root = np.linalg.cholesky(S + (pixel / 2) ** 2 * np.eye(2))
        white = np.linalg.solve(root, np.stack([x - m[0], y - m[1]]).reshape(2, -1))
        white = white.reshape(2, SIDE, SIDE)
        distance, quiet = np.hypot(*white), color == QUIET
        slope = np.hypot(*np.gradient(distance)).clip(min=1e-9)
        levels, width = ((1,), LINE / 2) if quiet else ((1, 2), LINE)
        away = np.min([np.abs(distance - level) for level in levels], axis=0) / slope  # in pixels
        alpha = (width / 2 + 0.5 - away).clip(0, 1)
        alpha *= np.arctan2(*white) * 12 / np.pi % 1 < (0.6 if dash else 2)
        alpha = np.maximum(alpha, 0 if quiet else 0.3 * np.exp(-0.5 * distance**2))
        rgb = rgb * (1 - alpha[..., None]) + np.array(to_rgb(color)) * alpha[..., None]
    return (rgb * 255).round().astype(np.uint8)
