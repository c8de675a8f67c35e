"""The augmentation that DiffusionMTL and TPKR train with, which comes from ATRC.

David Bruggemann, Menelaos Kanakis, Anton Obukhov, Stamatios Georgoulis, Luc Van Gool. Exploring
Relational Context for Multi-Task Dense Prediction. ICCV 2021. arXiv:2104.13874

An image is zoomed by 0.5 to 2. From a larger one a window of the image's size is cut; a smaller one
stands in the middle of black, where nothing is labeled (in the released code: of the mean color).
Colors are distorted. Everything that is random comes from one row of numbers per image.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from mtpsl.batch import Batch, Geometry
from mtpsl.data.transforms import warp_batch
from mtpsl.tasks import TaskSet

ZOOMS = (0.5, 2.0)
PLACES = 10  # windows that are tried
LARGEST_SHARE = 0.75  # of the labeled pixels of a window that one class may take
BRIGHTNESS, HUE = 32 / 255, 36.0  # the most that is added, in intensity and in degrees
FACTORS = (0.5, 1.5)  # of contrast and saturation
COLORS = 9  # numbers that a distortion needs


@final
@dataclass(frozen=True)
class AtrcViews:
    """What is random in the views of some images.

    Args:
        numbers: (N, 2 + 2 ``PLACES`` + ``COLORS``) in [0, 1), from ``draw``.
        flip: Whether views may be mirrored.
    """

    numbers: Tensor
    flip: bool

    @classmethod
    def draw(cls, generator: torch.Generator, images: int, *, flip: bool) -> "AtrcViews":
        """Draws the numbers of so many images."""
        return cls(torch.rand(images, 2 + 2 * PLACES + COLORS, generator=generator), flip)

    def rows(self, index: Tensor) -> "AtrcViews":
        """The numbers of some of the images."""
        return AtrcViews(self.numbers[index], self.flip)

    def to(self, device: torch.device | str) -> "AtrcViews":
        """The same on another device."""
        return AtrcViews(self.numbers.to(device), self.flip)

    def view(self, batch: Batch, tasks: TaskSet) -> Batch:
        """Distorts the colors of a clean batch, and cuts its views."""
        images = distort(batch.images, self.numbers[:, -COLORS:])
        return warp_batch(replace(batch, images=images), self.geometry(batch, tasks), tasks)

    def geometry(self, batch: Batch, tasks: TaskSet) -> Geometry:
        """The zoom of each image, and the first window in which no class takes too much.

        The classes are those of the first task that has some. An image without that label takes
        the first window: what is withheld decides nothing.
        """
        size = torch.tensor(batch.images.shape[2:], device=self.numbers.device)
        low, high = ZOOMS
        scale = low + (high - low) * self.numbers[:, 0]
        box = (size - 1) / scale.unsqueeze(1) + 1  # (B, 2), in pixels of the clean image
        room = (size - box).unsqueeze(1)  # negative where the view shows more than the image
        places = self.numbers[:, 2:-COLORS].unflatten(1, (PLACES, 2))
        corners = torch.where(room > 0, places * room, room / 2)  # (B, PLACES, 2)
        which = torch.zeros(len(scale), dtype=torch.int64, device=scale.device)
        classes = next((t.name for t in tasks if t.kind == "classes"), None)
        for row in batch.labeled[classes].nonzero().flatten().tolist() if classes else ():
            label = torch.where(batch.mask(classes), batch.targets[classes], -1)[row, 0]
            which[row] = _first_varied(label, corners[row], box[row])
        corner = corners[torch.arange(len(which), device=which.device), which]
        flip = (self.numbers[:, 1] < 0.5) & self.flip
        return Geometry(torch.cat([corner, box], dim=1), scale, flip, torch.zeros_like(scale))


def _first_varied(label: Tensor, corners: Tensor, box: Tensor) -> int:
    """Which window of an image has two classes and none with too large a share; else the last.

    Args:
        label: (H, W) int64, -1 where there is none.
        corners: (``PLACES``, 2), top and left of the windows.
        box: (2,), height and width of them all.
    """
    for place, corner in enumerate(corners):
        (top, left), (bottom, right) = (x.round().long().tolist() for x in (corner, corner + box))
        window = label[max(0, top) : bottom, max(0, left) : right]
        counts = window[window >= 0].unique(return_counts=True)[1]
        if len(counts) > 1 and counts.max() < LARGEST_SHARE * counts.sum():
            return place
    return len(corners) - 1


def distort(images: Tensor, numbers: Tensor) -> Tensor:
    """Changes brightness, contrast, saturation and hue, each with probability 1/2.

    Args:
        images: (B, 3, H, W) in [0, 1].
        numbers: (B, ``COLORS``) in [0, 1). Four decide whether, four how much, and one whether the
            contrast comes before saturation and hue or after them.
    """
    maybe, amount = numbers[:, :8].view(-1, 8, 1, 1, 1).split(4, dim=1)
    maybe, first = maybe < 0.5, numbers[:, 8].view(-1, 1, 1, 1) < 0.5
    low, high = FACTORS
    factors = torch.where(maybe, low + (high - low) * amount, 1.0)
    shifts = torch.where(maybe, 2 * amount - 1, 0.0)
    images = (images + BRIGHTNESS * shifts[:, 0]).clamp(0, 1)
    contrast = factors[:, 1]
    images = (images * torch.where(first, contrast, 1.0)).clamp(0, 1)
    images = change_colors(images, factors[:, 2], HUE * shifts[:, 3])
    return (images * torch.where(first, 1.0, contrast)).clamp(0, 1)


def change_colors(images: Tensor, saturation: Tensor, degrees: Tensor) -> Tensor:
    """Multiplies the saturation and turns the hue, as of the model HSV, whose value stays.

    Args:
        images: (B, 3, H, W) in [0, 1].
        saturation: (B, 1, 1, 1), factors; the result is at most 1.
        degrees: (B, 1, 1, 1), by which the hue turns.
    """
    value, darkest = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = value - darkest
    red, green, blue = ((images - darkest) / chroma.clamp(min=1e-8)).split(1, dim=1)
    # In sixths of a circle, from the channel that is strongest.
    hue = torch.where(red == 1, (green - blue) % 6, torch.where(green == 1, 2 - red + blue, 4))
    hue = torch.where((red < 1) & (green < 1), 4 + red - green, hue) + degrees / 60
    chroma = torch.minimum(chroma * saturation, value)
    n = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    k = (n + hue) % 6
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)
