"""streets7: deterministic, calibrated, exact geometry, and a stereo camera's blind spots."""

import hashlib

import numpy as np
import pytest
import torch
from acceptance import shared as acceptance
from acceptance import streets7 as streets7_acceptance

from mtpsl.data.readers import PUBLISHED
from mtpsl.data.scenes import raycast, streets7, streets7_grammar
from mtpsl.data.scenes.patterns import PATTERNS
from mtpsl.data.scenes.render import surface
from mtpsl.data.scenes.stage import Draw, Paint
from mtpsl.data.scenes.streets7 import BASELINE, CLASSES, Streets7, disparity, matched
from mtpsl.data.scenes.streets7_grammar import VOID, Street

SIZE = {"height": 24, "width": 48}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(cache):
    return Streets7("train", **SIZE, images=6, cache_dir=cache)


def digest(picture):
    parts = (picture.image, picture.labels["semseg"], picture.labels["depth"])
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
    again = {i: digest(Streets7.picture("train", i, 24, 48)) for i in (5, 2, 0)}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert {i: digest(Streets7.picture("train", i, 24, 48)) for i in (0, 2, 5)} == again
    finally:
        torch.set_num_threads(threads)
    fewer = Streets7("train", **SIZE, images=3, cache_dir=cache)
    assert torch.equal(fewer.load([2]).images, dataset.load([2]).images)


def test_splits_indices_and_versions_differ(monkeypatch):
    found = {digest(Streets7.picture(s, i, 24, 48)) for s in ("train", "test") for i in (0, 1)}
    monkeypatch.setattr(Streets7, "version", str(int(Streets7.version) + 1))
    assert len(found | {digest(Streets7.picture("test", 0, 24, 48))}) == 5


def test_a_scene_is_the_same_at_every_size_but_for_what_is_too_small_there():
    scene = Streets7.scene("test", 3)[0]
    small, large = surface(scene, 32, 64), surface(scene, 96, 192)
    # The middle of every 3x3 block is the center of the small picture's pixel.
    same = (large.depth[1::3, 1::3] / small.depth - 1).abs() < 1e-3
    assert same.float().mean() > 0.98
    assert (large.classes[1::3, 1::3] == small.classes).float().mean() > 0.98
    shapes, instance = scene.shapes, scene.instance[:-6]
    few, many = (raycast.built(shapes, instance, scene.camera, h, 2 * h).sum() for h in (16, 512))
    assert few < many <= len(shapes)


@pytest.mark.gpu
def test_same_bits_on_a_gpu():
    for index in range(3):
        cpu, gpu = (digest(Streets7.picture("test", index, 128, 256, d)) for d in ("cpu", "cuda"))
        assert cpu == gpu


def test_geometry_is_exact():
    findings = streets7_acceptance.geometry(scenes=3)
    assert [f for f in findings if not f.ok] == []


def test_slope_check_notices_wrong_normals():
    picture = Streets7.scene("test", 0)[0]
    seen = surface(picture, 72, 144)
    mirrored = seen.normals * torch.tensor([1, -1, 1]).view(3, 1, 1)
    wrong = type(seen)(**{**vars(seen), "normals": mirrored})
    assert acceptance.slope_error(wrong, picture.camera, step=10.0).quantile(0.99) > 10


def test_statistics_are_close_to_cityscapes(cache):
    """A coarse version of the report's: fewer images, a sixteenth of the size."""
    data = Streets7("test", height=32, width=64, images=80, cache_dir=cache)
    batches = acceptance.in_batches(data, size=40)
    assert [len(b) for b in batches] == [40, 40]
    findings = streets7_acceptance.class_shares(batches)
    findings += streets7_acceptance.inverse_depths(batches)
    assert len(findings) == 13
    failed = [f for f in findings if not f.ok]
    # A thin band takes whole columns of a small picture.
    assert {f.name for f in failed} <= {"without inverse depth", "a guess for every pixel"}, failed


def test_statistics_notice_a_wrong_scale(dataset):
    batch = dataset.load(range(6))
    batch.targets["depth"].mul_(1.5)
    failed = {f.name for f in streets7_acceptance.inverse_depths([batch]) if not f.ok}
    assert {"inverse depth, mean", "inverse depth, std"} <= failed


def test_pixel_error_by_hand():
    nan = float("nan")
    maps = torch.tensor([[[1.0, 3.0], [5.0, nan]], [[3.0, 5.0], [nan, nan]]])
    # The pixels' means are 2, 4 and 5: errors of 1 four times and 0 once.
    assert streets7_acceptance.pixel_error(maps) == pytest.approx(4 / 5)


# ---------------------------------------------------------------- inverse depth


def test_disparity_in_the_units_of_the_files():
    # f = 2262 px at 2048: 10 m make 0.209313 * 2262 / 10 = 47.35 px, 0.185 in the file.
    shift = disparity(torch.tensor([10.0]), 2262 / 2048)
    assert shift.item() == pytest.approx(BASELINE * 226.2, rel=1e-5)
    scene = Streets7.scene("test", 0)[0]
    seen, value = surface(scene, 32, 64), Streets7.picture("test", 0, 32, 64).labels["depth"]
    known = value.isfinite() & (seen.classes != CLASSES.index("sky"))
    expected = (256 * BASELINE * scene.camera.focal * 2048 / seen.depth + 1) / 65535
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
    index = next(i for i in range(9) if len(CLASSES) in Streets7.scene("test", i)[0].classes)
    scene = Streets7.scene("test", index)[0]
    seen, picture = surface(scene, 64, 128), Streets7.picture("test", index, 64, 128)
    semseg, hole = picture.labels["semseg"], picture.labels["depth"].isnan()
    assert hole[:, :3].all() and not hole[:, 8:].all(dim=0).any()
    hood = seen.classes == len(CLASSES)
    assert hole[hood].all() and (semseg[hood] == 255).all()
    assert (semseg[-1] == 255).float().mean() > 0.5
    known = semseg != 255
    assert torch.equal(semseg[known].long(), seen.classes[known])


# ---------------------------------------------------------------- the street


def street(seed=3, curve=0.0, grade=0.0):
    draw = Draw(np.random.SeedSequence(seed))
    built = Street(draw, (*CLASSES, VOID), road=5.0, edge=7.0)
    built.lay(curve, 20.0, grade)
    return built


def boxes(built):
    """Corners of all shapes, (P, 8, 3)."""
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8)
    turned = np.array(built.maps) @ signs
    return (turned + np.array(built.centers)[:, :, None]).transpose(0, 2, 1)


def test_a_street_climbs_and_bends():
    rising = street(grade=0.03)
    assert rising.at(1.0, 10.0).origin.tolist() == pytest.approx([1.0, 0.0, 10.0])
    assert rising.at(1.0, 120.0).origin.tolist() == pytest.approx([1.0, -3.0, 120.0])
    frame = street(curve=0.01).at(0.0, 104.0)  # heading 0.6 from 64 m on
    x, _, z = frame.origin
    assert 38 < x < 42 and 90 < z < 96
    assert frame.axes[:, 2].tolist() == pytest.approx([np.sin(0.6), 0.0, np.cos(0.6)])


def test_slabs_lie_on_the_street():
    rising = street(curve=0.006, grade=0.04)
    rising.slab("flat", (5.0, 7.0), (30.0, 43.0), 0.14, Paint((0.3, 0.3, 0.3)))
    corners = boxes(rising)[0]
    top = corners[np.argsort(corners[:, 1])]  # y points down
    # On the street's own slope, but for the overlap of slabs.
    for along, height in ((30.0, 0.4), (43.0, 0.92)):
        end = rising.at(6.0, along).origin
        x, y, z = top[np.argsort(np.linalg.norm(top - end, axis=1))[:2]].mean(axis=0)
        assert y == pytest.approx(-height - 0.14, abs=0.04)
        assert abs(x - end[0]) < 0.2 and abs(z - end[2]) < 0.7


@pytest.mark.parametrize("kind", ["car", "van", "bus", "cyclist", "person", "tree", "sign"])
def test_pieces_stand_on_the_ground(kind):
    for seed in range(5):
        here = street(seed, grade=0.03)
        frame = here.at(2.0, 12.0, 0.1)
        if kind in ("car", "van", "bus"):
            streets7_grammar.vehicle(here, frame, kind)
        elif kind == "sign":
            streets7_grammar.post(here, frame, kind, 1)
        elif kind == "tree":
            streets7_grammar.tree(here, frame, 6.0)
        else:
            streets7_grammar.person(here, frame, rides=kind == "cyclist")
        y = boxes(here)[..., 1]
        assert -12 < y.min() < -0.9 and -0.12 < y.max() < 1.1
        names = {here.names[c] for c in here.classes}
        assert names <= {"vehicle", "human", "nature", "object"}


def test_every_scene_is_a_street():
    """Nothing is left empty, and what has no class is the hood alone."""
    seen, patterns = set(), set()
    for i in range(20):
        scene = Streets7.scene("train", i)[0]
        patterns |= {paint.pattern for paint in scene.paints}
        seen |= {(*CLASSES, VOID)[c] for c in scene.classes}
        assert (scene.classes == len(CLASSES)).sum() <= 1
        assert {"flat", "construction", "sky"} <= {CLASSES[c] for c in scene.classes if c < 7}
        assert 0.9 <= scene.camera.focal <= 1.3 and -1.4 <= scene.camera.position[1] <= -1.25
    assert seen == {*CLASSES, VOID}
    assert {"asphalt", "facade", "leaves", "sky"} < patterns <= {*PATTERNS, "plain", "sky"}


def test_few_shapes_reach_behind_the_camera():
    """What does is tried for every ray: the generator's speed hangs on it."""
    behind = 0
    for i in range(10):
        scene = Streets7.scene("train", i)[0]
        corners = (scene.shapes.corners() - scene.camera.position) @ scene.camera.rotation
        behind += int((corners[1:, :, 2].min(axis=1) < raycast.NEAR).sum())
    assert behind < 40
