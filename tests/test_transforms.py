"""Augmentation against arithmetic by hand, ``torch``'s own resizing, and invariances."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mtpsl.batch import Batch, Discovered, Geometry
from mtpsl.data.transforms import compose, draw_geometry, identity, relative, warp_batch
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple("abcde")), depth(), normals()))
B, H, W = 4, 24, 32


def geometry(*rows, flip=False):
    """Rows are (top, left, height, width, scale)."""
    table = torch.tensor(rows, dtype=torch.float32)
    return Geometry(table[:, :4], table[:, 4], torch.full((len(rows),), flip))


def a_batch(seed=0, holes=True, discovered=False):
    g = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(B, 3, H, W, generator=g), dim=1)
    targets = {
        "semseg": torch.randint(0, 5, (B, 1, H, W), generator=g),
        "depth": torch.rand(B, 1, H, W, generator=g) + 1,
        "normals": vectors,
    }
    valid = {t: torch.rand(B, 1, H, W, generator=g) > (0.1 if holes else -1) for t in TASKS.names}
    targets = {t.name: targets[t.name].masked_fill(~valid[t.name], t.missing) for t in TASKS}
    found = None
    if discovered:
        cells = {t: torch.randn(B, 5, H // 8, W // 8, generator=g) for t in TASKS.names}
        found = Discovered(targets, valid, cells, {t: c[:, :1] for t, c in cells.items()})
    return Batch(
        images=torch.rand(B, 3, H, W, generator=g),
        targets=targets,
        valid=valid,
        labeled={t: torch.ones(B, dtype=torch.bool) for t in TASKS.names},
        index=torch.arange(B),
        discovered=found,
    )


def same(a, b, names=TASKS.names):
    torch.testing.assert_close(a.images, b.images, rtol=0, atol=1e-5)
    for t in names:
        assert torch.equal(a.valid[t], b.valid[t])
        torch.testing.assert_close(a.targets[t], b.targets[t], rtol=0, atol=1e-5, equal_nan=True)


def test_drawn_boxes_are_the_released_codes():
    g = draw_geometry(torch.Generator().manual_seed(0), 3000, 288, 384, flip=True)
    top, left, height, width = g.box.unbind(1)
    for scale, size in ((1.0, (288, 384)), (1.2, (240, 320)), (1.5, (192, 256))):
        rows = g.scale == scale
        assert 900 < rows.sum() < 1100
        assert (height[rows] == size[0]).all() and (width[rows] == size[1]).all()
        assert top[rows].min() == 0 and top[rows].max() == 288 - size[0]
        assert left[rows].min() == 0 and left[rows].max() == 384 - size[1]
    assert torch.equal(g.box, g.box.floor())
    assert 1400 < g.flip.sum() < 1600
    again = draw_geometry(torch.Generator().manual_seed(0), 3000, 288, 384)
    assert torch.equal(again.box, g.box) and not again.flip.any()


def test_scales_below_one_are_refused():
    with pytest.raises(ValueError, match="scales"):
        draw_geometry(torch.Generator(), 1, 8, 8, scales=(0.5,))


def test_the_whole_image_is_the_identity():
    batch = a_batch(discovered=True)
    view = warp_batch(batch, identity(B, H, W), TASKS)
    same(view, batch)
    for t in TASKS.names:
        torch.testing.assert_close(view.discovered.features[t], batch.discovered.features[t])


def test_crops_equal_torchs_resizing_of_the_slice():
    batch = a_batch(holes=False)
    view = warp_batch(batch, geometry(*[(3, 5, 16, 21, 1.5)] * B), TASKS)
    crop = lambda maps: maps[:, :, 3:19, 5:26]  # noqa: E731
    resize = lambda maps: F.interpolate(  # noqa: E731
        crop(maps), (H, W), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(view.images, resize(batch.images), rtol=0, atol=1e-5)
    expected = F.normalize(resize(batch.targets["normals"]), dim=1)
    torch.testing.assert_close(view.targets["normals"], expected, rtol=0, atol=1e-4)
    nearest = F.interpolate(crop(batch.targets["depth"]), (H, W), mode="nearest")
    torch.testing.assert_close(view.targets["depth"], nearest / 1.5)
    ids = F.interpolate(crop(batch.targets["semseg"]).float(), (H, W), mode="nearest")
    assert torch.equal(view.targets["semseg"], ids.long())


def test_a_flip_mirrors_and_negates_x_alone():
    batch = a_batch()
    whole = replace(identity(B, H, W), flip=torch.tensor([True, False, True, False]))
    view = warp_batch(batch, whole, TASKS)
    assert torch.equal(view.targets["semseg"][0], batch.targets["semseg"][0].flip(-1))
    torch.testing.assert_close(view.images[2], batch.images[2].flip(-1))
    torch.testing.assert_close(view.images[1], batch.images[1])
    mirrored = batch.targets["normals"][0].flip(-1) * torch.tensor([-1.0, 1, 1]).view(3, 1, 1)
    torch.testing.assert_close(view.targets["normals"][0], mirrored, equal_nan=True)
    same(warp_batch(view, whole, TASKS), batch)


def test_a_flip_of_a_crop_is_the_mirrored_crop():
    rows = [(3, 5, 16, 21, 1.5), (0, 1, 20, 26, 1.2)] * 2
    plain = warp_batch(a_batch(), geometry(*rows), TASKS)
    mirrored = warp_batch(a_batch(), geometry(*rows, flip=True), TASKS)
    again = replace(identity(B, H, W), flip=torch.ones(B, dtype=torch.bool))
    same(warp_batch(plain, again, TASKS), mirrored)


def test_depth_is_divided_by_the_zoom():
    batch = a_batch(holes=False)
    batch.targets["depth"].fill_(3.0)
    view = warp_batch(batch, geometry((0, 0, 24, 32, 1), *[(1, 1, 16, 21, 1.5)] * 3), TASKS)
    assert torch.equal(view.targets["depth"][:, 0, 5, 5], torch.tensor([3.0, 2, 2, 2]))


def test_holes_neither_bleed_nor_become_labels():
    batch = a_batch()
    up = torch.tensor([0.0, -1.0, 0.0]).view(1, 3, 1, 1)
    batch.targets["normals"].copy_(up.expand(B, 3, H, W))
    batch.targets["normals"][~batch.valid["normals"].expand(-1, 3, -1, -1)] = torch.nan
    g = draw_geometry(torch.Generator().manual_seed(1), B, H, W, flip=True, scales=(1.2, 1.5))
    view = warp_batch(batch, g, TASKS)
    shown = view.valid["normals"]
    assert 0.8 < shown.float().mean() < 1
    seen = view.targets["normals"].movedim(1, -1)[shown[:, 0]]
    torch.testing.assert_close(seen, up.view(1, 3).expand_as(seen))  # as if there were no holes
    for t in TASKS.names:
        target, hole = view.targets[t], ~view.valid[t].expand_as(view.targets[t])
        missing = target == IGNORE_INDEX if t == "semseg" else target.isnan()
        assert torch.equal(missing, hole)


def test_withheld_labels_stay_withheld():
    batch = a_batch()
    for t in TASKS:
        batch.targets[t.name][2] = t.missing
        batch.valid[t.name][2] = False
    g = draw_geometry(torch.Generator().manual_seed(1), B, H, W, flip=True)
    view = warp_batch(batch, g, TASKS)
    assert torch.equal(view.images, warp_batch(a_batch(), g, TASKS).images)
    for t in TASKS:
        assert not view.valid[t.name][2].any()
        assert torch.equal(
            view.targets[t.name][2].nan_to_num(7),
            torch.full_like(view.targets[t.name][2], t.missing).nan_to_num(7),
        )


def test_normals_keep_unit_length():
    g = draw_geometry(torch.Generator().manual_seed(2), B, H, W, scales=(1.5,))
    view = warp_batch(a_batch(), g, TASKS)
    lengths = view.targets["normals"].norm(dim=1)[view.valid["normals"][:, 0]]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_pseudo_targets_follow_exactly_like_targets():
    batch = a_batch(discovered=True)
    g = draw_geometry(torch.Generator().manual_seed(3), B, H, W, flip=True)
    view = warp_batch(warp_batch(batch, g, TASKS), g, TASKS)
    for t in TASKS.names:
        assert torch.equal(view.discovered.valid[t], view.valid[t])
        assert torch.equal(view.discovered.targets[t].nan_to_num(9), view.targets[t].nan_to_num(9))


@pytest.mark.parametrize("flip", [False, True])
def test_features_show_the_places_that_the_view_shows(flip):
    """A linear ramp over the image, sampled on an 1/8 grid, warps to the ramp of the view."""
    height, width, stride = 96, 128, 8
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    ramp = torch.stack([x, y])[None]  # exact at every pixel
    cells = F.avg_pool2d(ramp, stride)  # the ramp at cell centers
    g = geometry((10, 14, 80, 106, 1.2), flip=flip)
    grid = {t: cells for t in TASKS.names}
    nothing = {
        t.name: torch.full((1, t.target_channels, height, width), t.missing).to(t.target_dtype)
        for t in TASKS
    }
    empty = {t: torch.zeros(1, 1, height, width, dtype=torch.bool) for t in TASKS.names}
    labeled = {t: torch.zeros(1, dtype=torch.bool) for t in TASKS.names}
    found = Discovered(nothing, empty, grid, {t: cells[:, :1] for t in TASKS.names})
    image = torch.cat([ramp, ramp[:, :1]], dim=1)
    batch = Batch(image, nothing, empty, labeled, torch.zeros(1), discovered=found)
    view = warp_batch(batch, g, TASKS)
    expected = F.avg_pool2d(view.images[:, :2], stride)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    features = view.discovered.features["depth"]
    torch.testing.assert_close(features[inside], expected[inside], rtol=0, atol=1e-3)
    step = 105 / 127 * stride  # by hand: cell 3 of a row
    first = 14 + (3 * stride + 3.5) * 105 / 127
    row = features[0, 0, 5].flip(0) if flip else features[0, 0, 5]
    assert row[3] == pytest.approx(first, abs=1e-3)
    assert row[4] - row[3] == pytest.approx(step, abs=1e-3)
    assert torch.equal(view.discovered.confidence["depth"], features[:, :1])


def test_a_view_of_a_view_is_the_view_of_the_composition():
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    batch = replace(a_batch(), images=torch.stack([x, y, x + y]).repeat(B, 1, 1, 1))
    generator = torch.Generator().manual_seed(4)
    first = draw_geometry(generator, B, H, W, flip=True, scales=(1.2, 1.5))
    second = draw_geometry(generator, B, H, W, flip=True, scales=(1.2, 1.5))
    both = compose(first, second, H, W)
    twice = warp_batch(warp_batch(batch, first, TASKS), second, TASKS)
    assert torch.equal(twice.geometry.box, both.box)
    once = warp_batch(batch, both, TASKS)
    torch.testing.assert_close(twice.images, once.images, rtol=0, atol=1e-3)
    back = relative(first, both, H, W)
    torch.testing.assert_close(back.box, second.box, rtol=0, atol=1e-3)
    assert torch.equal(back.flip, second.flip)
    torch.testing.assert_close(back.scale, second.scale)
