"""Random scale-crop and flip: one geometry for an image and everything that belongs to it.

As in the released code [XTC]: a crop of 1, 1/1.2 or 1/1.5 of the height and width, at a random
place, is resized back to the full size. Images and normals are interpolated bilinearly with
aligned corners, class ids and depth take the nearest pixel, and depth is divided by the zoom.
Unlike there, normals are renormalized and holes never bleed into their neighbors.

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
        height: Of images and views, in pixels.
        width: Of images and views, in pixels.
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


def identity(batch: int, height: int, width: int) -> Geometry:
    """The geometry of views that show the whole image."""
    box = torch.tensor([0.0, 0.0, height, width]).repeat(batch, 1)
    return Geometry(box, torch.ones(batch), torch.zeros(batch, dtype=torch.bool))


def compose(first: Geometry, second: Geometry, height: int, width: int) -> Geometry:
    """The geometry of a view that ``second`` cuts from the view that ``first`` cuts."""
    (top, left, h, w), (top2, left2, h2, w2) = first.box.unbind(1), second.box.unbind(1)
    step_y, step_x = (h - 1) / (height - 1), (w - 1) / (width - 1)
    left2 = torch.where(first.flip, width - left2 - w2, left2)
    box = [top + top2 * step_y, left + left2 * step_x, (h2 - 1) * step_y + 1, (w2 - 1) * step_x + 1]
    return Geometry(torch.stack(box, dim=1), first.scale * second.scale, first.flip ^ second.flip)


def relative(first: Geometry, second: Geometry, height: int, width: int) -> Geometry:
    """What cuts the view ``second`` from the view ``first``: ``compose`` undone.

    Exact where ``second`` lies inside ``first``; else the box reaches outside the view.
    """
    (top, left, h, w), (top2, left2, h2, w2) = first.box.unbind(1), second.box.unbind(1)
    step_y, step_x = (h - 1) / (height - 1), (w - 1) / (width - 1)
    box_h, box_w = (h2 - 1) / step_y + 1, (w2 - 1) / step_x + 1
    box_left = (left2 - left) / step_x
    box_left = torch.where(first.flip, width - box_left - box_w, box_left)
    box = torch.stack([(top2 - top) / step_y, box_left, box_h, box_w], dim=1)
    return Geometry(box, second.scale / first.scale, first.flip ^ second.flip)


def warp_batch(batch: Batch, geometry: Geometry, tasks: TaskSet) -> Batch:
    """The views of ``batch`` that ``geometry`` describes: images, targets, holes, discoveries.

    Pseudo targets follow like targets. A teacher's features and confidence are read from their
    coarse grid at the places that the view's cells show; no sign changes in a mirror.

    Args:
        batch: Clean, or views already; then the result's geometry is the composition.
        geometry: One row an image, on the device of the batch, boxes inside the image.
        tasks: Those of the batch.

    Returns:
        Views of the same height and width. A target is ``Task.missing`` wherever it is not valid.
    """
    height, width = batch.images.shape[2:]
    grid = _places(geometry, height, width, height, width)
    index = _nearest(geometry, height, width)
    targets, valid = _warp_targets(batch.targets, batch.valid, tasks, geometry, grid, index)
    found = batch.discovered
    if found is not None:
        pseudo = _warp_targets(found.targets, found.valid, tasks, geometry, grid, index)
        found = Discovered(
            *pseudo,
            features=_warp_cells(found.features, geometry, height, width),
            confidence=_warp_cells(found.confidence, geometry, height, width),
        )
    seen = geometry
    if batch.geometry is not None:
        seen = compose(batch.geometry, geometry, height, width)
    return replace(
        batch,
        images=_bilinear(batch.images, grid),
        targets=targets,
        valid=valid,
        geometry=seen,
        discovered=found,
    )


Maps = dict[str, Tensor]


def _warp_targets(
    targets: Maps, valid: Maps, tasks: TaskSet, geometry: Geometry, grid: Tensor, index: Tensor
) -> tuple[Maps, Maps]:
    warped, holes = {}, {}
    for task in tasks:
        target, mask = targets[task.name], valid[task.name]
        shown = _take(mask, index)
        if task.resize == "nearest":
            target = _take(target, index)
        else:
            target, weight = _interpolate(task, target, mask, grid)
            shown = shown & (weight > 1e-6)
        if task.divide_by_zoom:
            target = target / geometry.scale.view(-1, 1, 1, 1)
        if task.flip_channel is not None:
            target = _mirror_sign(target, task.flip_channel, geometry.flip)
        warped[task.name] = torch.where(shown, target, task.missing)
        holes[task.name] = shown
    return warped, holes


def _interpolate(task: Task, target: Tensor, mask: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear over the valid neighbors alone, and a weight that is 0 where there is nothing.

    Holes are filled first, because they hold NaN and NaN times 0 is NaN.
    """
    mask = mask.to(target.dtype)
    filled = torch.cat([target.nan_to_num(0.0) * mask, mask], dim=1)
    values, weight = _bilinear(filled, grid).split([target.shape[1], 1], dim=1)
    if task.kind == "direction":  # the length takes care of the weight; opposite vectors cancel
        weight = values.square().sum(dim=1, keepdim=True).sqrt()  # norm(dim=1) is 20 times slower
    return values / weight.clamp(min=1e-6), weight


def _mirror_sign(target: Tensor, channel: int, flip: Tensor) -> Tensor:
    sign = torch.ones(len(flip), target.shape[1], 1, 1, device=target.device)
    sign[:, channel, 0, 0] = 1 - 2 * flip.to(sign.dtype)
    return target * sign


def _warp_cells(maps: Maps, geometry: Geometry, height: int, width: int) -> Maps:
    return {
        name: _bilinear(cells, _places(geometry, height, width, *cells.shape[2:]))
        for name, cells in maps.items()
    }


def _places(geometry: Geometry, height: int, width: int, rows: int, columns: int) -> Tensor:
    """(B, rows, columns, 2) x and y that ``grid_sample`` reads for each cell of a view.

    Cells tile the image evenly; pixels are the cells of the finest grid. The result is in the
    convention of ``align_corners=False``, where a place does not depend on the grid it is read
    from.
    """
    top, left, box_height, box_width = geometry.box.unbind(1)
    y = _centers(height, rows, geometry.box)  # pixels of the view
    x = _mirrored(_centers(width, columns, geometry.box), width, geometry.flip)
    y = top[:, None] + y * ((box_height - 1) / (height - 1))[:, None]  # pixels of the image
    x = left[:, None] + x * ((box_width - 1) / (width - 1))[:, None]
    y, x = (2 * y + 1) / height - 1, (2 * x + 1) / width - 1
    return torch.stack(
        [x[:, None, :].expand(-1, rows, -1), y[:, :, None].expand(-1, -1, columns)], dim=-1
    )


def _nearest(geometry: Geometry, height: int, width: int) -> Tensor:
    """(B, 1, H*W) flat indices of the pixels that a view shows, rounded down as in [XTC]."""
    top, left, box_height, box_width = geometry.box.unbind(1)
    y = _centers(height, height, geometry.box)
    x = _mirrored(_centers(width, width, geometry.box), width, geometry.flip)
    y = (top[:, None] + y * box_height[:, None] / height).floor().clamp(0, height - 1)
    x = (left[:, None] + x * box_width[:, None] / width).floor().clamp(0, width - 1)
    return (y[:, :, None] * width + x[:, None, :]).long().flatten(1).unsqueeze(1)


def _centers(size: int, cells: int, like: Tensor) -> Tensor:
    """(1, cells) pixel coordinates of cell centers along one side of a view."""
    cell = torch.arange(cells, device=like.device, dtype=like.dtype)
    return ((cell + 0.5) * size / cells - 0.5)[None]


def _mirrored(x: Tensor, width: int, flip: Tensor) -> Tensor:
    return torch.where(flip[:, None], width - 1 - x, x)


def _bilinear(maps: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def _take(maps: Tensor, index: Tensor) -> Tensor:
    flat = maps.flatten(2)
    return flat.gather(2, index.expand(-1, flat.shape[1], -1)).view_as(maps)
