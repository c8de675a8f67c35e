"""Regions: who divides an image into them, and that they follow it wherever it goes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.batch import Batch, Geometry
from mtpsl.data.transforms import compose, draw_geometry, draw_turned, warp_batch
from mtpsl.losses import IGNORE_INDEX
from mtpsl.runs.experiment import Experiment
from mtpsl.tasks import TaskSet, semseg

TASKS = TaskSet((semseg(tuple("abcde")),))
B, SIDE = 3, 24


def a_batch() -> Batch:
    """Square images whose class ids and red values are their region ids, with a gap in each."""
    ids = torch.randint(0, 5, (B, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    ids[:, :, 3:6, 2:9] = -1
    classes = ids.masked_fill(ids < 0, IGNORE_INDEX)
    batch = Batch.from_targets(torch.rand(B, 3, SIDE, SIDE), {"semseg": classes}, TASKS)
    return replace(batch, regions=ids)


def whole(flip: bool = False, angle: float | None = None) -> Geometry:
    box = torch.tensor([0.0, 0.0, SIDE, SIDE]).repeat(B, 1)
    turned = None if angle is None else torch.full((B,), angle)
    return Geometry(box, torch.ones(B), torch.full((B,), flip), turned)


def ids_of(batch: Batch) -> Tensor:
    """What the class ids say the regions are."""
    return batch.targets["semseg"].masked_fill(~batch.valid["semseg"], -1)


# ------------------------------------------------------------------ they travel along


def test_regions_follow_flips_crops_and_turns_exactly() -> None:
    batch = a_batch()
    ids = batch.regions
    assert torch.equal(warp_batch(batch, whole(), TASKS).regions, ids)
    assert torch.equal(warp_batch(batch, whole(flip=True), TASKS).regions, ids.flip(-1))
    for turns in range(4):
        view = warp_batch(batch, whole(angle=90.0 * turns), TASKS)
        assert torch.equal(view.regions, torch.rot90(ids, turns, (2, 3)))
    box = torch.tensor([5.0, 4.0, 16.0, 16.0]).repeat(B, 1)
    crop = Geometry(box, torch.full((B,), 1.5), torch.zeros(B, dtype=torch.bool))
    cut = F.interpolate(ids[:, :, 5:21, 4:20].double(), (SIDE, SIDE), mode="nearest").long()
    assert torch.equal(warp_batch(batch, crop, TASKS).regions, cut)


def test_beyond_the_image_there_is_no_region() -> None:
    batch = replace(a_batch(), regions=torch.zeros(B, 1, SIDE, SIDE, dtype=torch.int64))
    view = warp_batch(batch, whole(angle=45.0), TASKS)
    corners = view.regions[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == -1).all() and (view.regions[:, 0, SIDE // 2, SIDE // 2] == 0).all()
    octagon = 2 * 2**0.5 - 2  # share of a square that it still shows after half of a right angle
    assert (view.regions == 0).float().mean() == pytest.approx(octagon, abs=0.03)


@pytest.mark.parametrize("draw", [draw_geometry, draw_turned])
def test_regions_of_nested_views_are_those_of_their_pixels(draw) -> None:
    generator, batch = torch.Generator().manual_seed(1), a_batch()
    first = draw(generator, B, SIDE, SIDE, flip=True)
    view = warp_batch(batch, first, TASKS)
    inner = warp_batch(view, draw_geometry(generator, B, SIDE, SIDE, flip=True), TASKS)
    for seen in (view, inner):
        assert seen.regions.dtype == torch.int64 and seen.regions.shape == (B, 1, SIDE, SIDE)
        assert torch.equal(seen.regions, ids_of(seen))
    composed = compose(first, whole(), SIDE, SIDE)
    assert torch.equal(warp_batch(batch, composed, TASKS).regions, view.regions)


def test_batches_without_regions_have_none() -> None:
    batch = replace(a_batch(), regions=None)
    assert warp_batch(batch, whole(flip=True), TASKS).regions is None
    assert batch.to("cpu").regions is None


# ------------------------------------------------------------------ experiments


def test_keys_change_with_regions_alone() -> None:
    plain = Experiment()
    assert plain.key == Experiment(regions="", region_args={}, region_version="").key
    chosen = plain.replace(regions="felzenszwalb", region_version="1")
    keys = {
        plain.key,
        chosen.key,
        chosen.replace(regions="slic").key,
        chosen.replace(region_args={"scale": 200}).key,
        chosen.replace(region_version="2").key,
    }
    assert len(keys) == 5
    assert Experiment.from_dict(chosen.to_dict()) == chosen


@pytest.mark.parametrize(
    "field, value", [("regions", 3), ("region_args", "x"), ("region_version", 1)]
)
def test_experiments_refuse_what_is_no_region_setting(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Experiment.from_dict({field: value})
