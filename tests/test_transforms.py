"""Augmentation against arithmetic by hand, ``torch``'s own resizing, and invariances."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mtpsl.batch import Batch, Discovered, Geometry
from mtpsl.data.transforms import (
    compose,
    draw_geometry,
    draw_turned,
    relative,
    warp_batch,
)
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import TaskSet, depth, edges, inverse_depth, normals, saliency, semseg

TASKS = TaskSet((semseg(tuple("abcde")), depth(), normals()))
B, H, W = 4, 24, 32


def geometry(*rows, flip=False):
    """Rows are (top, left, height, width, scale)."""
    table = torch.tensor(rows, dtype=torch.float32)
    return Geometry(table[:, :4], table[:, 4], torch.full((len(rows),), flip))


def identity(batch, height, width):
    """The geometry of views that show the whole image."""
    box = torch.tensor([0.0, 0.0, height, width]).repeat(batch, 1)
    return Geometry(box, torch.ones(batch), torch.zeros(batch, dtype=torch.bool))


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


def test_inverse_depth_is_multiplied_by_the_zoom():
    tasks = TaskSet((inverse_depth(),))
    plain = a_batch(holes=False)
    plain.targets["depth"].fill_(0.2)
    view = warp_batch(plain, geometry((0, 0, 24, 32, 1), *[(1, 1, 16, 21, 1.5)] * 3), tasks)
    values = view.targets["depth"][:, 0, 5, 5]
    torch.testing.assert_close(values, torch.tensor([0.2, 0.3, 0.3, 0.3]))


def test_binary_targets_stay_binary():
    tasks = TaskSet((saliency(), edges()))
    g = torch.Generator().manual_seed(0)
    truth = {t: (torch.rand(B, 1, H, W, generator=g) < 0.3).float() for t in tasks.names}
    valid = {t: torch.rand(B, 1, H, W, generator=g) > 0.1 for t in tasks.names}
    batch = replace(
        a_batch(),
        targets={t: truth[t].masked_fill(~valid[t], math.nan) for t in tasks.names},
        valid=valid,
    )
    for draw in (draw_geometry, draw_turned):
        view = warp_batch(batch, draw(g, B, H, W, flip=True), tasks)
        for t in tasks.names:
            shown = view.targets[t][view.valid[t]]
            assert set(shown.tolist()) == {0.0, 1.0}
            assert view.targets[t][~view.valid[t]].isnan().all()


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


# --- zoom and rotation --------------------------------------------------------------------------


def turned(angle, zoom=1.0, flip=False, size=(H, W)):
    g = draw_turned(torch.Generator(), B, *size, zooms=(zoom, zoom), degrees=0.0)
    return replace(g, angle=torch.full((B,), float(angle)), flip=torch.full((B,), flip))


def test_drawn_zooms_and_angles_are_the_protocols():
    g = draw_turned(torch.Generator().manual_seed(0), 3000, 375, 500, flip=True)
    assert 0.75 <= g.scale.min() < 0.76 and 1.24 < g.scale.max() <= 1.25
    assert -20 <= g.angle.min() < -19.9 and 19.9 < g.angle.max() <= 20
    assert 1400 < g.flip.sum() < 1600
    top, left, height, width = g.box.unbind(1)
    torch.testing.assert_close(top + height / 2, torch.full((3000,), 187.5))
    torch.testing.assert_close(left + width / 2, torch.full((3000,), 250.0))
    torch.testing.assert_close((width - 1) * g.scale, torch.full((3000,), 499.0))
    again = draw_turned(torch.Generator().manual_seed(0), 3000, 375, 500)
    assert torch.equal(again.angle, g.angle) and not again.flip.any()
    with pytest.raises(ValueError, match="zooms: expected"):
        draw_turned(torch.Generator(), 1, 8, 8, zooms=(0.0, 1.0))


def test_turning_by_nothing_changes_nothing():
    batch = a_batch(discovered=True)
    view = warp_batch(batch, turned(0), TASKS)
    same(view, batch)
    for t in TASKS.names:
        torch.testing.assert_close(view.discovered.features[t], batch.discovered.features[t])


def square(batch):
    cut = lambda maps: {t: m[..., :H] for t, m in maps.items()}  # noqa: E731
    images = batch.images[..., :H]
    return replace(batch, images=images, targets=cut(batch.targets), valid=cut(batch.valid))


@pytest.mark.parametrize("flip", [False, True])
def test_a_quarter_turn_is_torchs(flip):
    """Counterclockwise; a normal that points right then points up, and a mirror comes after."""
    batch = square(a_batch())
    view = warp_batch(batch, turned(90, flip=flip, size=(H, H)), TASKS)

    def by_torch(maps):
        maps = torch.rot90(maps, dims=(2, 3))
        return maps.flip(3) if flip else maps

    torch.testing.assert_close(view.images, by_torch(batch.images), rtol=0, atol=1e-4)
    for t in TASKS.names:
        assert torch.equal(view.valid[t], by_torch(batch.valid[t]))
    assert torch.equal(view.targets["semseg"], by_torch(batch.targets["semseg"]))
    x, y, z = by_torch(batch.targets["normals"]).unbind(1)
    expected = torch.stack([-y if flip else y, -x, z], dim=1)
    torch.testing.assert_close(view.targets["normals"], expected, rtol=0, atol=1e-4, equal_nan=True)


def test_beyond_the_image_there_is_no_label():
    """Zoomed out by 0.5: the image fills the middle, and around it everything is missing."""
    batch = a_batch(holes=False)
    view = warp_batch(batch, turned(0, zoom=0.5), TASKS)
    inside = torch.zeros(B, 1, H, W, dtype=torch.bool)
    inside[:, :, 6:18, 8:24] = True
    for t in TASKS:
        assert torch.equal(view.valid[t.name], inside)
        hidden = view.targets[t.name].movedim(1, 3)[~inside[:, 0]]
        assert (hidden == IGNORE_INDEX).all() if t.kind == "classes" else hidden.isnan().all()
    assert not view.images.movedim(1, 3)[:, :5].any()
    ratio = view.targets["depth"].nanmean() / batch.targets["depth"].mean()
    assert ratio == pytest.approx(2.0, rel=0.1)  # twice as far away


def test_cells_at_the_edge_of_a_turned_image_are_not_thinned():
    """Features and confidence that are 1 everywhere stay 1, or are 0 mostly beyond the image."""
    batch = a_batch(discovered=True)
    ones = {t: torch.ones(B, 5, 3, 4) for t in TASKS.names}
    found = Discovered(batch.targets, batch.valid, ones, {t: c[:, :1] for t, c in ones.items()})
    view = warp_batch(replace(batch, discovered=found), turned(20, zoom=0.6), TASKS)
    for maps in (view.discovered.features, view.discovered.confidence):
        for cells in maps.values():
            assert ((cells == 0) | torch.isclose(cells, torch.ones(()))).all()
            assert 0 < (cells == 0).float().mean() < 0.9


def test_a_turn_keeps_withheld_labels_withheld_and_normals_of_unit_length():
    batch = a_batch()
    for t in TASKS:
        batch.targets[t.name][2] = t.missing
        batch.valid[t.name][2] = False
    g = draw_turned(torch.Generator().manual_seed(1), B, H, W, flip=True)
    view = warp_batch(batch, g, TASKS)
    for t in TASKS:
        assert not view.valid[t.name][2].any()
        target, hole = view.targets[t.name], ~view.valid[t.name].expand_as(view.targets[t.name])
        missing = target == IGNORE_INDEX if t.kind == "classes" else target.isnan()
        assert torch.equal(missing, hole)
    lengths = view.targets["normals"].norm(dim=1)[view.valid["normals"][:, 0]]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


@pytest.mark.parametrize("draws", ["turned, turned", "turned, crop", "crop, turned"])
def test_turned_views_of_views_compose(draws):
    """On a ramp, which bilinear reading follows exactly, as far as both views lie inside it."""
    generator = torch.Generator().manual_seed(5)
    side = 65  # boxes of 1 + 64 / scale: crops that keep the proportions
    y, x = torch.meshgrid(torch.arange(65.0), torch.arange(65.0), indexing="ij")
    ramp = torch.stack([x, y, torch.full_like(x, 100.0)]).repeat(B, 1, 1, 1)

    def draw(kind):
        if kind == "turned":
            return draw_turned(generator, B, side, side, flip=True, zooms=(0.9, 1.25))
        return draw_geometry(generator, B, side, side, flip=True, scales=(1.25, 1.6))

    first, second = map(draw, draws.split(", "))
    empty = TaskSet(())
    blank = torch.zeros(B, dtype=torch.long)
    batch = Batch(ramp, {}, {}, {}, blank)
    twice = warp_batch(warp_batch(batch, first, empty), second, empty)
    both = compose(first, second, side, side)
    assert torch.equal(twice.geometry.box, both.box)
    assert torch.equal(twice.geometry.angle, both.angle)
    once = warp_batch(batch, both, empty)
    inside = (twice.images[:, 2:] > 99.999) & (once.images[:, 2:] > 99.999)
    assert inside.float().mean() > 0.5
    error = ((twice.images - once.images).abs() * inside).amax()
    assert error < 1e-3
    back = relative(first, both, side, side)
    torch.testing.assert_close(back.box, second.box, rtol=0, atol=1e-3)
    torch.testing.assert_close(back.scale, second.scale)
    assert torch.equal(back.flip, second.flip)
    angle = torch.zeros(B) if second.angle is None else second.angle
    torch.testing.assert_close(back.angle, angle, rtol=0, atol=1e-4)


def test_rows_and_devices_keep_the_angle():
    g = turned(7)
    rows = g.rows(torch.tensor([2, 0]))
    assert len(rows.box) == len(rows.flip) == 2 and rows.to("cpu").angle.tolist() == [7.0, 7.0]
    assert identity(B, H, W).rows(torch.tensor([1])).to("cpu").angle is None
