"""Random views: one geometry for an image and everything that belongs to it.

``draw_geometry`` is the scale-crop of the released code [XTC]: a crop of 1, 1/1.2 or 1/1.5 of
the height and width, at a random place, is resized back to the full size. Images and normals are
interpolated bilinearly with aligned corners, class ids and depth take the nearest pixel, and depth
is divided by the zoom. Unlike there, normals are renormalized and holes never bleed into their
neighbors, and an inverse depth is multiplied by the zoom.

``draw_turned`` is the augmentation of the protocol that [XTC] follows on PASCAL-Context: zoom by
0.75 to 1.25 and rotation by up to 20 degrees around the center. What a view shows beyond the image
is black and *missing*. The released code fills it with 0 in the targets too, which teaches that
it is background, not salient and without edges.

Boxes follow the aligned-corners rule: the center of the view's first pixel lies on the center of
the box's first pixel, and the last on the last. Boxes of views of views are therefore exact.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.batch import Batch, Discovered, Geometry
from mtpsl.tasks import Task, TaskSet

SCALES = (1.0, 1.2, 1.5)  # of the released code
ZOOMS = (0.75, 1.25)  # of the PASCAL-Context protocol
DEGREES = 20.0  # of the PASCAL-Context protocol, to either side


def draw_geometry(
    generator: torch.Generator,
    batch: int,
    height: int,
    width: int,
    *,
    flip: bool = False,
    scales: Sequence[float] = SCALES,
) -> Geometry:
    """A random scale-crop for each of ``batch`` images, mirrored with probability 1/2 if ``flip``.

    Args:
        generator: Of the CPU; decides everything, and advances the same whatever the arguments.
        batch: B, the number of images.
        height, width: Of images and views, in pixels.
        flip: Whether views may be mirrored.
        scales: Zoom factors to choose from, each >= 1.
    """
    if min(scales) < 1:
        raise ValueError(f"scales: expected zoom factors >= 1, got {tuple(scales)}")
    which, y, x, mirror = torch.rand(4, batch, generator=generator, dtype=torch.float64)
    scale = torch.tensor(scales, dtype=torch.float64)[(which * len(scales)).long()]
    box_height, box_width = (height / scale).floor(), (width / scale).floor()
    top = (y * (height - box_height + 1)).floor()
    left = (x * (width - box_width + 1)).floor()
    box = torch.stack([top, left, box_height, box_width], dim=1)
    return Geometry(box.float(), scale.float(), (mirror < 0.5) & flip)


def draw_turned(
    generator: torch.Generator,
    batch: int,
    height: int,
    width: int,
    *,
    flip: bool = False,
    zooms: tuple[float, float] = ZOOMS,
    degrees: float = DEGREES,
) -> Geometry:
    """A random zoom and rotation around the center, mirrored with probability 1/2 if ``flip``.

    Args:
        generator, batch, height, width, flip: As of ``draw_geometry``.
        zooms: The least and the largest zoom factor, both positive.
        degrees: The largest angle, to either side.
    """
    low, high = zooms
    if not 0 < low <= high:
        raise ValueError(f"zooms: expected 0 < least <= largest, got {zooms}")
    zoom, turn, mirror = torch.rand(3, batch, generator=generator, dtype=torch.float64)
    scale = low + (high - low) * zoom
    box_height, box_width = (height - 1) / scale + 1, (width - 1) / scale + 1
    top, left = (height - box_height) / 2, (width - box_width) / 2
    box = torch.stack([top, left, box_height, box_width], dim=1)
    angle = degrees * (2 * turn - 1)
    return Geometry(box.float(), scale.float(), (mirror < 0.5) & flip, angle.float())


def compose(first: Geometry, second: Geometry, height: int, width: int) -> Geometry:
    """The geometry of a view that ``second`` cuts from the view that ``first`` cuts.

    A turned view of a crop is exact where the crop has the image's proportions, as a shear has no
    place in a ``Geometry``; the crops of ``draw_geometry`` have them up to a pixel.
    """
    (top, left, h, w), (top2, left2, h2, w2) = first.box.unbind(1), second.box.unbind(1)
    step_y, step_x = (h - 1) / (height - 1), (w - 1) / (width - 1)
    scale, flip = first.scale * second.scale, first.flip ^ second.flip
    box_h, box_w = (h2 - 1) * step_y + 1, (w2 - 1) * step_x + 1
    if first.angle is None and second.angle is None:
        left2 = torch.where(first.flip, width - left2 - w2, left2)
        box = [top + top2 * step_y, left + left2 * step_x, box_h, box_w]
        return Geometry(torch.stack(box, dim=1), scale, flip)
    mirror = _mirror(first.flip)
    y, x = top2 + (h2 - height) / 2, (left2 + (w2 - width) / 2) * mirror  # between the centers
    y, x = _turn(y * step_y, x * step_x, _angle(first))
    box = [top + (h - box_h) / 2 + y, left + (w - box_w) / 2 + x, box_h, box_w]
    angle = _angle(first) + mirror * _angle(second)
    return Geometry(torch.stack(box, dim=1), scale, flip, angle)


def relative(first: Geometry, second: Geometry, height: int, width: int) -> Geometry:
    """What cuts the view ``second`` from the view ``first``: ``compose`` undone.

    Exact where ``second`` lies inside ``first``; else the box reaches outside the view.
    """
    (top, left, h, w), (top2, left2, h2, w2) = first.box.unbind(1), second.box.unbind(1)
    step_y, step_x = (h - 1) / (height - 1), (w - 1) / (width - 1)
    scale, flip = second.scale / first.scale, first.flip ^ second.flip
    box_h, box_w = (h2 - 1) / step_y + 1, (w2 - 1) / step_x + 1
    if first.angle is None and second.angle is None:
        box_left = (left2 - left) / step_x
        box_left = torch.where(first.flip, width - box_left - box_w, box_left)
        box = torch.stack([(top2 - top) / step_y, box_left, box_h, box_w], dim=1)
        return Geometry(box, scale, flip)
    mirror = _mirror(first.flip)
    y, x = top2 - top + (h2 - h) / 2, left2 - left + (w2 - w) / 2  # between the centers
    y, x = _turn(y, x, -_angle(first))
    y, x = y / step_y, mirror * x / step_x
    box = [(height - box_h) / 2 + y, (width - box_w) / 2 + x, box_h, box_w]
    angle = mirror * (_angle(second) - _angle(first))
    return Geometry(torch.stack(box, dim=1), scale, flip, angle)


def warp_batch(batch: Batch, geometry: Geometry, tasks: TaskSet) -> Batch:
    """The views of ``batch`` that ``geometry`` describes: images, targets, discoveries, regions.

    Pseudo targets follow like targets, and region ids like class ids. A teacher's features and
    confidence are read from their coarse grid at the places that the view's cells show; no sign
    changes in a mirror.

    Args:
        batch: Clean, or views already; then the result's geometry is the composition.
        geometry: One row per image, on the device of the batch, boxes inside the image unless they
            have an angle.
        tasks: Those of the batch.

    Returns:
        Views of the same height and width. A target is ``Task.missing`` wherever it is not valid.
        Beyond the image, everything is 0, no target is valid and regions are -1.
    """
    height, width = batch.images.shape[2:]
    sight = _Sight(geometry, height, width)
    targets, valid = _warp_targets(batch.targets, batch.valid, tasks, sight)
    discovered = batch.discovered
    if discovered is not None:
        pseudo = _warp_targets(discovered.targets, discovered.valid, tasks, sight)
        discovered = Discovered(
            *pseudo,
            features=_warp_cells(discovered.features, sight),
            confidence=_warp_cells(discovered.confidence, sight),
            weights={name: sight.nearest(maps) for name, maps in discovered.weights.items()},
        )
    seen = geometry
    if batch.geometry is not None:
        seen = compose(batch.geometry, geometry, height, width)
    return replace(
        batch,
        images=sight.bilinear(batch.images),
        targets=targets,
        valid=valid,
        geometry=seen,
        discovered=discovered,
        regions=None if batch.regions is None else sight.shown(batch.regions, -1),
    )


Maps = dict[str, Tensor]


class _Sight:
    """Where a view looks: ``grid_sample`` places, pixel indices, and what lies in the image."""

    def __init__(self, geometry: Geometry, height: int, width: int) -> None:
        self.geometry, self.height, self.width = geometry, height, width
        self.grid = _places(geometry, height, width, height, width)
        self.index, self.inside = _nearest(geometry, height, width)
        # A crop lies in the image: at its rim, there is nothing else to mix with than the rim.
        self.padding = "border" if geometry.angle is None else "zeros"

    def bilinear(self, maps: Tensor, grid: Tensor | None = None) -> Tensor:
        grid = self.grid if grid is None else grid
        return F.grid_sample(maps, grid, padding_mode=self.padding, align_corners=False)

    def nearest(self, maps: Tensor) -> Tensor:
        flat = maps.flatten(2)
        return flat.gather(2, self.index.expand(-1, flat.shape[1], -1)).view_as(maps)

    def shown(self, maps: Tensor, beyond: int) -> Tensor:
        """The nearest pixels, and a value of its own beyond the image."""
        maps = self.nearest(maps)
        return maps if self.inside is None else maps.masked_fill(~self.inside, beyond)


def _warp_targets(targets: Maps, valid: Maps, tasks: TaskSet, sight: _Sight) -> tuple[Maps, Maps]:
    geometry = sight.geometry
    warped, holes = {}, {}
    for task in tasks:
        target, mask = targets[task.name], valid[task.name]
        shown = sight.shown(mask, beyond=False)
        if task.resize == "nearest":
            target = sight.nearest(target)
        else:
            target, weight = _interpolate(task, target, mask, sight)
            shown = shown & (weight > 1e-6)
        if task.zoom_power:
            target = target / geometry.scale.view(-1, 1, 1, 1) ** -task.zoom_power
        if task.kind == "direction" and geometry.angle is not None:
            # Directions turn with what they belong to; the places of ``_turn`` go the other way.
            angle = -geometry.angle.view(-1, 1, 1)
            y, x = _turn(target[:, 1], target[:, 0], angle)
            target = torch.stack([x, y, target[:, 2]], dim=1)
        if task.flip_channel is not None:
            target = _mirror_sign(target, task.flip_channel, geometry.flip)
        warped[task.name] = torch.where(shown, target, task.missing)
        holes[task.name] = shown
    return warped, holes


def _interpolate(task: Task, target: Tensor, mask: Tensor, sight: _Sight) -> tuple[Tensor, Tensor]:
    """Bilinear over the valid neighbors alone, and a weight that is 0 where there is nothing.

    Holes are filled first, because they hold NaN and NaN times 0 is NaN.
    """
    mask = mask.to(target.dtype)
    filled = torch.cat([target.nan_to_num(0.0) * mask, mask], dim=1)
    values, weight = sight.bilinear(filled).split([target.shape[1], 1], dim=1)
    if task.kind == "direction":  # the length takes care of the weight; opposite vectors cancel
        weight = values.square().sum(dim=1, keepdim=True).sqrt()  # norm(dim=1) is 20 times slower
    return values / weight.clamp(min=1e-6), weight


def _mirror_sign(target: Tensor, channel: int, flip: Tensor) -> Tensor:
    sign = torch.ones(len(flip), target.shape[1], 1, 1, device=target.device)
    sign[:, channel, 0, 0] = _mirror(flip).to(sign.dtype)
    return target * sign


def _warp_cells(maps: Maps, sight: _Sight) -> Maps:
    """Cells that lie mostly beyond a turned image are 0, others a mean of what lies in it."""
    warped, size = {}, (sight.height, sight.width)
    for name, cells in maps.items():
        places = _places(sight.geometry, *size, *cells.shape[2:])
        warped[name] = sight.bilinear(cells, places)
        if sight.padding == "zeros":
            share = sight.bilinear(torch.ones_like(cells[:, :1]), places)
            warped[name] = torch.where(share > 0.5, warped[name] / share, 0)
    return warped


def _places(geometry: Geometry, height: int, width: int, rows: int, columns: int) -> Tensor:
    """(B, rows, columns, 2) x and y that ``grid_sample`` reads for each cell of a view.

    Cells tile the image evenly; pixels are the cells of the finest grid. The result is in the
    convention of ``align_corners=False``, where a place does not depend on the grid it is read
    from.
    """
    y, x = _pixels(geometry, height, width, rows, columns)
    y, x = (2 * y + 1) / height - 1, (2 * x + 1) / width - 1
    return torch.stack([x.expand(-1, rows, -1), y.expand(-1, -1, columns)], dim=-1)


def _pixels(
    geometry: Geometry, height: int, width: int, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """y and x, in pixels of the image, of what each cell of a view shows.

    Of shapes (B, rows, 1) and (B, 1, columns) where nothing is turned, else (B, rows, columns).
    """
    top, left, box_height, box_width = geometry.box.unbind(1)
    y = _centers(height, rows, geometry.box)  # pixels of the view
    x = _mirrored(_centers(width, columns, geometry.box), width, geometry.flip)
    step_y, step_x = (box_height - 1) / (height - 1), (box_width - 1) / (width - 1)
    if geometry.angle is None:
        y, x = top[:, None] + y * step_y[:, None], left[:, None] + x * step_x[:, None]
        return y[:, :, None], x[:, None, :]
    y, x = (y - (height - 1) / 2) * step_y[:, None], (x - (width - 1) / 2) * step_x[:, None]
    y, x = _turn(y[:, :, None], x[:, None, :], geometry.angle.view(-1, 1, 1))
    center_y, center_x = top + (box_height - 1) / 2, left + (box_width - 1) / 2
    return center_y.view(-1, 1, 1) + y, center_x.view(-1, 1, 1) + x


def _nearest(geometry: Geometry, height: int, width: int) -> tuple[Tensor, Tensor | None]:
    """Which pixels a view shows: (B, 1, H*W) flat indices, and (B, 1, H, W) bool: in the image.

    Crops round down as in [XTC], and show nothing else than the image: None.
    """
    if geometry.angle is not None:
        y, x = (p.round().long() for p in _pixels(geometry, height, width, height, width))
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        return index.flatten(1).unsqueeze(1), inside.unsqueeze(1)
    top, left, box_height, box_width = geometry.box.unbind(1)
    y = _centers(height, height, geometry.box)
    x = _mirrored(_centers(width, width, geometry.box), width, geometry.flip)
    y = (top[:, None] + y * box_height[:, None] / height).floor().clamp(0, height - 1)
    x = (left[:, None] + x * box_width[:, None] / width).floor().clamp(0, width - 1)
    return (y[:, :, None] * width + x[:, None, :]).long().flatten(1).unsqueeze(1), None


def _centers(size: int, cells: int, like: Tensor) -> Tensor:
    """(1, cells) pixel coordinates of cell centers along one side of a view."""
    cell = torch.arange(cells, device=like.device, dtype=like.dtype)
    return ((cell + 0.5) * size / cells - 0.5)[None]


def _mirrored(x: Tensor, width: int, flip: Tensor) -> Tensor:
    return torch.where(flip[:, None], width - 1 - x, x)


def _mirror(flip: Tensor) -> Tensor:
    """(B,) bool -> (B,) -1 or 1."""
    return 1 - 2 * flip.float()


def _angle(geometry: Geometry) -> Tensor:
    return torch.zeros_like(geometry.scale) if geometry.angle is None else geometry.angle


def _turn(y: Tensor, x: Tensor, degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets in a view -> offsets in the image that the view shows turned counterclockwise."""
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    return sin * x + cos * y, cos * x - sin * y
