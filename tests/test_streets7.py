"""streets7: deterministic, calibrated, exact geometry, and a stereo camera's blind spots."""

import hashlib

import numpy as np
import pytest
import torch
from acceptance import shared as acceptance
from acceptance import streets7 as streets7_acceptance

from mtpsl.data.readers import PUBLISHED
from mtpsl.data.scenes import (
    PERIOD,
    hashed,
    noise,
    raycast,
    streets7,
    streets7_layout,
    streets7_pieces,
)
from mtpsl.data.scenes.rooms13_scene import Draw, Paint
from mtpsl.data.scenes.streets7 import (
    BASELINE,
    CLASSES,
    Streets7,
    disparity,
    matched,
    render_image,
    surface,
)
from mtpsl.data.scenes.streets7_scene import ID, PATTERNS, VOID, Street

SIZE = {"height": 24, "width": 48}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(cache):
    return Streets7("train", **SIZE, images=6, cache_dir=cache)


def digest(picture):
    parts = (picture.image, picture.semseg, picture.depth)
    return hashlib.sha256(b"".join(p.cpu().numpy().tobytes() for p in parts)).hexdigest()


def test_classes_and_counts_are_those_of_the_real_set():
    assert CLASSES == tuple(PUBLISHED["cityscapes"].classes)
    assert streets7.TASKS.names == ("semseg", "depth") and Streets7.stand_in
    assert streets7.TASKS["semseg"].class_names == CLASSES
    assert Streets7.splits == {"train": 2975, "test": 500}


def test_batch_has_the_promised_shapes_and_ranges(dataset):
    batch = dataset.load([4, 0, 2])
    assert batch.index.tolist() == [4, 0, 2]
    assert batch.images.shape == (3, 3, 24, 48) and batch.images.dtype == torch.float32
    assert 0 <= batch.images.min() and batch.images.max() <= 1
    for task in dataset.tasks:
        target, valid = batch.targets[task.name], batch.valid[task.name]
        assert target.shape == (3, task.target_channels, 24, 48)
        assert target.dtype == task.target_dtype
        assert valid.shape == (3, 1, 24, 48) and valid.dtype == torch.bool
        hole = target[~valid].float()
        missing = torch.full_like(hole, task.missing)
        assert torch.equal(hole.nan_to_num(-1), missing.nan_to_num(-1))
    assert batch.targets["semseg"][batch.valid["semseg"]].max() < 7
    depth = batch.targets["depth"][batch.valid["depth"]]
    assert 0 < depth.min() and 0.2 < depth.max() < 1


def test_same_bits_whatever_the_order_count_and_threads(dataset, cache):
    again = {i: digest(render_image("train", i, 24, 48)) for i in (5, 2, 0)}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert {i: digest(render_image("train", i, 24, 48)) for i in (0, 2, 5)} == again
    finally:
        torch.set_num_threads(threads)
    fewer = Streets7("train", **SIZE, images=3, cache_dir=cache)
    assert torch.equal(fewer.load([2]).images, dataset.load([2]).images)


def test_splits_indices_and_versions_differ(monkeypatch):
    found = {digest(render_image(s, i, 24, 48)) for s in ("train", "test") for i in (0, 1)}
    monkeypatch.setattr(streets7, "VERSION", streets7.VERSION + 1)
    assert len(found | {digest(render_image("test", 0, 24, 48))}) == 5


def test_a_scene_is_the_same_at_every_size():
    scene = streets7.scene("test", 3)[0]
    small, large = surface(scene, 24, 48), surface(scene, 72, 144)
    # The middle of every 3x3 block is the center of the small picture's pixel.
    assert torch.allclose(large.depth[1::3, 1::3], small.depth, rtol=1e-3)
    assert (large.classes[1::3, 1::3] == small.classes).float().mean() > 0.999


@pytest.mark.gpu
def test_same_bits_on_a_gpu():
    for index in range(3):
        cpu, gpu = (digest(render_image("test", index, 128, 256, d)) for d in ("cpu", "cuda"))
        assert cpu == gpu


def test_geometry_is_exact():
    findings = streets7_acceptance.geometry(scenes=3)
    assert [f for f in findings if not f.ok] == []


def test_slope_check_notices_wrong_normals():
    picture = streets7.scene("test", 0)[0]
    seen = surface(picture, 72, 144)
    mirrored = seen.normals * torch.tensor([1, -1, 1]).view(3, 1, 1)
    wrong = type(seen)(**{**vars(seen), "normals": mirrored})
    assert acceptance.slope_error(wrong, picture.camera).quantile(0.99) > 10


def test_statistics_are_close_to_cityscapes(cache):
    """A coarse version of the report's: fewer images, a sixteenth of the size."""
    data = Streets7("test", height=32, width=64, images=80, cache_dir=cache)
    batches = acceptance.in_batches(data, size=40)
    assert [len(b) for b in batches] == [40, 40]
    findings = streets7_acceptance.class_shares(batches)
    findings += streets7_acceptance.inverse_depths(batches)
    assert len(findings) == 17
    failed = [f for f in findings if not f.ok]
    # A thin band takes whole columns of a small picture.
    assert {f.name for f in failed} <= {"without inverse depth", "a guess for every row"}, failed


def test_statistics_notice_a_wrong_scale(dataset):
    batch = dataset.load(range(6))
    batch.targets["depth"].mul_(1.5)
    failed = {f.name for f in streets7_acceptance.inverse_depths([batch]) if not f.ok}
    assert {"inverse depth, mean", "constant guess"} <= failed


def test_row_error_by_hand():
    nan = float("nan")
    maps = torch.tensor([[[1.0, 3.0], [5.0, nan]], [[nan, 5.0], [5.0, 5.0]]])
    # The rows' means are 3 and 5: errors 2, 0, 2 and three times 0, over six values.
    assert streets7_acceptance.row_error(maps) == pytest.approx(4 / 6)


# ---------------------------------------------------------------- inverse depth


def test_disparity_in_the_units_of_the_files():
    # f = 2262 px at 2048: 10 m make 0.209313 * 2262 / 10 = 47.35 px, 0.185 in the file.
    shift = disparity(torch.tensor([10.0]), 2262 / 2048)
    assert shift.item() == pytest.approx(BASELINE * 226.2, rel=1e-5)
    scene = streets7.scene("test", 0)[0]
    seen, value = surface(scene, 32, 64), render_image("test", 0, 32, 64).depth
    known = value.isfinite() & (seen.classes != ID["sky"])
    expected = (256 * BASELINE * 2262 / seen.depth + 1) / 65535
    assert known.float().mean() > 0.5
    assert (value - expected)[known].abs().max() < 0.005  # the matching's noise
    assert (value - expected)[known].mean().abs() < 1e-4


def test_what_the_right_camera_cannot_see():
    # A wall at disparity 0 with a post at 2 in columns 4 and 5: the post lies at 2 and 3 of the
    # right image and hides the wall's columns 2 and 3, left of it.
    shift = torch.tensor([[0.0, 0, 0, 0, 2, 2, 0, 0]])
    assert matched(shift).tolist() == [[True, True, False, False, True, True, True, True]]
    # Everything at 3: the first three columns are outside of the right image.
    assert matched(torch.full((1, 6), 3.0)).tolist() == [[False] * 3 + [True] * 3]


def test_holes_are_where_they_should_be():
    scene = streets7.scene("test", 1)[0]
    seen, picture = surface(scene, 64, 128), render_image("test", 1, 64, 128)
    hole = picture.depth.isnan()
    assert hole[:, :3].all() and not hole[:, 8:].all(dim=0).any()
    assert hole[seen.classes == VOID].all()
    assert (picture.semseg[seen.classes == VOID] == 255).all()
    assert (picture.semseg[-1] == 255).float().mean() > 0.5  # the hood
    known = picture.semseg != 255
    assert torch.equal(picture.semseg[known].long(), seen.classes[known])


# ---------------------------------------------------------------- the street


def street(grade=0.0):
    draw = Draw(np.random.SeedSequence(3))
    return Street(draw, road=5.0, pavement=2.0, bend=20.0, grade=grade)


def test_ground_follows_the_bend():
    rising = street(grade=0.03)
    assert rising.place(1.0, 10.0).ground == 0.0
    assert rising.place(1.0, 120.0).ground == pytest.approx(3.0)
    streets7_layout._slab(rising, "flat", -5, 5, 0.0, Paint((0.3, 0.3, 0.3)))
    near, far = rising.shapes().corners()
    # y points down: the tops are the smallest y at either end of a box.
    assert near[:, 1].min() == pytest.approx(0.0, abs=1e-4)
    assert near[:, 2].max() == pytest.approx(20.0, abs=1e-3)
    # 400 m along the slope it is 400 sin(atan(.03)) = 11.995 m higher.
    assert far[:, 1].min() == pytest.approx(-11.9946, abs=1e-3)


def test_a_lean_turns_the_top_to_the_front():
    item = street().item(ID["object"], street().place(0.0, 10.0))
    item.tube((0, 1.0, 0), (0.1, 1.0, 0.1), Paint((0.5, 0.5, 0.5)), lean=0.5)
    corners = item.street.shapes().corners()[0]
    top, foot = corners[corners[:, 1] < -1], corners[corners[:, 1] > -1]
    assert top[:, 2].mean() - foot[:, 2].mean() == pytest.approx(2 * np.sin(0.5), rel=1e-3)


@pytest.mark.parametrize("kind", ["car", "van", "bus", "cyclist", "person", "tree", "sign"])
def test_pieces_stand_on_the_ground(kind):
    for seed in range(5):
        here = Street(Draw(np.random.SeedSequence(seed)), 5.0, 2.0, bend=20.0, grade=0.03)
        size = (6.0,) if kind == "tree" else ()
        getattr(streets7_pieces, kind)(here, here.place(2.0, 12.0, 0.1), *size)
        y = here.shapes().corners()[..., 1]
        assert -12 < y.min() < -0.9 and -0.1 < y.max() < 1.1
        assert set(here.classes) <= {ID[n] for n in ("vehicle", "human", "nature", "object")}


def test_taken_ground_is_not_free():
    here = street()
    assert here.free(0.0, 10.0, 1.0, 2.0) and not here.free(1.5, 11.0, 1.0, 2.0)
    assert here.free(2.5, 10.0, 1.0, 2.0)


def test_every_pattern_is_used_and_known():
    used = {p.pattern for i in range(25) for p in streets7.scene("train", i)[0].paints}
    assert used - {"plain"} == set(PATTERNS)


def test_noise_is_smooth_repeatable_and_fills_its_range():
    u, v = torch.rand(2, 20000, generator=torch.Generator().manual_seed(0)) * 60
    seed = torch.full((20000,), 5)
    value = noise(u, v, seed)
    assert 0 <= value.min() < 0.1 and 0.9 < value.max() < 1
    assert value.mean().item() == pytest.approx(0.5, abs=0.03)
    assert (noise(u + 1e-3, v, seed) - value).abs().max() < 0.01
    assert torch.equal(noise(u, v, seed), value)
    # At the corners of its cells it is the hash.
    cell = torch.arange(50)
    assert torch.equal(noise(cell.float(), cell.float(), cell), hashed(cell, cell, cell))
    assert torch.equal(hashed(cell, cell, cell), hashed(cell + PERIOD, cell, cell))


def test_nothing_but_the_sky_reaches_behind_the_camera_in_most_scenes():
    """What does is tried for every ray: the generator's speed hangs on it."""
    behind = 0
    for i in range(10):
        scene = streets7.scene("train", i)[0]
        rays = raycast.make_rays(scene.camera, 32, 64, 1)
        corners = (scene.shapes.corners() - scene.camera.position) @ scene.camera.rotation
        behind += int((corners[1:, :, 2].min(axis=1) < raycast.NEAR).sum())
        assert len(raycast._rectangles(scene.shapes, rays)) == len(scene.shapes)
    assert behind < 40
