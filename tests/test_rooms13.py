"""rooms13: deterministic, calibrated, exact, and safely cached."""

import hashlib
import json
import logging
import threading

import numpy as np
import pytest
import torch
from acceptance import rooms13 as rooms13_acceptance
from acceptance import shared as acceptance

from mtpsl.data import scenes
from mtpsl.data.cache import cache_root, cached_arrays
from mtpsl.data.readers import PUBLISHED
from mtpsl.data.scenes.patterns import PATTERNS
from mtpsl.data.scenes.raycast import built
from mtpsl.data.scenes.render import surface
from mtpsl.data.scenes.rooms13 import CLASSES, TASKS, Rooms13

SIZE = {"height": 24, "width": 32}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(cache):
    return Rooms13("train", **SIZE, images=6, cache_dir=cache)


def digest(split, index, height=24, width=32, device="cpu"):
    picture = Rooms13.picture(split, index, height, width, device)
    parts = (picture.image, *(picture.labels[name] for name in TASKS.names))
    return hashlib.sha256(b"".join(p.cpu().numpy().tobytes() for p in parts)).hexdigest()


def test_classes_are_those_of_nyud_in_order():
    assert CLASSES == tuple(PUBLISHED["nyud"].classes)
    assert len(CLASSES) == 13 and TASKS["semseg"].class_names == CLASSES


def test_batch_has_the_promised_shapes_and_ranges(dataset):
    batch = dataset.load([4, 0, 2])
    assert batch.index.tolist() == [4, 0, 2] and batch.geometry is None
    assert batch.images.shape == (3, 3, 24, 32) and batch.images.dtype == torch.float32
    assert 0 <= batch.images.min() and batch.images.max() <= 1
    for task in dataset.tasks:
        target, valid = batch.targets[task.name], batch.valid[task.name]
        assert target.shape == (3, task.target_channels, 24, 32)
        assert target.dtype == task.target_dtype
        assert valid.shape == (3, 1, 24, 32) and valid.dtype == torch.bool
        assert batch.labeled[task.name].tolist() == [True] * 3
        hole = target[(~valid).expand_as(target)].float()
        missing = torch.full_like(hole, task.missing)
        assert torch.equal(hole.nan_to_num(-1), missing.nan_to_num(-1))
    assert batch.targets["semseg"][batch.valid["semseg"]].max() < 13
    depth = batch.targets["depth"][batch.valid["depth"]]
    assert 0.05 < depth.min() and depth.max() < 12
    normals = batch.targets["normals"].movedim(1, -1)[batch.valid["normals"].squeeze(1)]
    assert torch.allclose(normals.norm(dim=1), torch.ones(len(normals)), atol=1e-6)


def test_one_image_is_that_row_of_a_batch(dataset):
    sample, batch = dataset[3], dataset.load([5, 3])
    assert torch.equal(sample.image, batch.images[1])
    for name in dataset.tasks.names:
        assert torch.equal(
            sample.targets[name].nan_to_num(-9), batch.targets[name][1].nan_to_num(-9)
        )
        assert torch.equal(sample.valid[name], batch.valid[name][1])


@pytest.mark.parametrize("index", [-1, 6])
def test_index_outside_is_an_error(dataset, index):
    with pytest.raises(IndexError, match=r"expected one in \[0, 6\), got"):
        dataset[index]
    with pytest.raises(IndexError, match="expected 0 to 5"):
        dataset.load([index])


@pytest.mark.parametrize(
    ("change", "word"),
    [({"split": "val"}, "split"), ({"images": 0}, "images"), ({"height": 4}, "size")],
)
def test_wrong_arguments_are_named(tmp_path, change, word):
    arguments = {"split": "train", **SIZE, "images": 1, "cache_dir": tmp_path, **change}
    with pytest.raises(ValueError, match=f"{word}: expected"):
        Rooms13(**arguments)


def test_same_bits_whatever_the_order_count_and_threads(dataset, cache):
    again = {i: digest("train", i) for i in (5, 2, 0)}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert {i: digest("train", i) for i in (0, 2, 5)} == again
    finally:
        torch.set_num_threads(threads)
    fewer = Rooms13("train", **SIZE, images=3, cache_dir=cache)
    assert torch.equal(fewer.load([2]).images, dataset.load([2]).images)


def test_splits_and_indices_differ():
    assert len({digest(s, i) for s in ("train", "test") for i in (0, 1)}) == 4


def test_version_is_part_of_the_seed(monkeypatch):
    before = digest("test", 0)
    monkeypatch.setattr(Rooms13, "version", "99")
    assert digest("test", 0) != before


def test_a_scene_is_the_same_at_every_size_but_for_detail():
    same = []
    for index in range(10):
        scene = Rooms13.scene("test", index)[0]
        small, large = surface(scene, 64, 96), surface(scene, 320, 480)
        # The middle of every 5x5 block is the center of the small picture's pixel.
        classes, depth = large.classes[2::5, 2::5], large.depth[2::5, 2::5]
        close = (depth - small.depth).abs() < 1e-4 * depth
        same.append([float(x.float().mean()) for x in (classes == small.classes, close)])
        assert large.instance.unique().numel() >= small.instance.unique().numel()
    assert np.min(same) > 0.97 and np.mean(same) > 0.99


def test_what_is_too_small_to_be_seen_is_not_built():
    few, many = ([], [])
    for index in range(10):
        scene = Rooms13.scene("test", index)[0]
        instance = scene.instance[: len(scene.shapes)]
        kept = [built(scene.shapes, instance, scene.camera, 12 * k, 16 * k) for k in (1, 4, 24)]
        assert all(k[0] for k in kept)  # the room itself
        for small, large in zip(kept[:-1], kept[1:], strict=True):
            assert not (small & ~large).any()  # more pixels show more
        few.append(kept[0].sum())
        many.append(kept[2].sum())
    assert sum(few) < 0.8 * sum(many)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_colors_every_point_of_a_surface_on_its_own(name):
    draw = torch.Generator().manual_seed(0)
    u, v = (torch.rand(2, 4000, generator=draw) - 0.5) * 6
    size, seeds = torch.full_like(u, 0.5), torch.full((4000,), 77)
    color = [torch.full_like(u, c) for c in (0.4, 0.5, 0.6)], [torch.full_like(u, 0.1)] * 3
    red, green, blue = PATTERNS[name](u, v, size, size, seeds, *color)[0]
    for channel in (red, green, blue):
        assert 0 <= channel.min() and channel.max() < 1.6
    assert name == "glow" or red.std() > 0.01
    few = slice(100, 107)
    parts = [[c[few] for c in group] for group in color]
    alone = PATTERNS[name](u[few], v[few], size[few], size[few], seeds[few], *parts)[0]
    assert all(torch.equal(a, c[few]) for a, c in zip(alone, (red, green, blue), strict=True))


@pytest.mark.gpu
def test_same_bits_on_a_gpu():
    for index in range(3):
        cpu, gpu = (digest("test", index, 96, 128, device) for device in ("cpu", "cuda"))
        assert cpu == gpu


def test_geometry_is_exact():
    findings = rooms13_acceptance.geometry(scenes=3)
    assert [f for f in findings if not f.ok] == []


def test_slope_check_notices_wrong_normals():
    """The check above can fail: normals of a mirrored camera do not fit the depth."""
    picture = Rooms13.scene("test", 3)[0]
    seen = surface(picture, 72, 96)
    mirrored = type(seen)(
        **{**vars(seen), "normals": seen.normals * torch.tensor([-1, 1, 1]).view(3, 1, 1)}
    )
    assert acceptance.slope_error(mirrored, picture.camera, step=1.0).quantile(0.99) > 10


def test_every_class_is_there_and_the_camera_is_near(cache):
    """A coarse version of the report's: 150 images, a quarter of the size."""
    batch = Rooms13("test", **SIZE, images=150, cache_dir=cache).load(range(150))
    findings = rooms13_acceptance.class_shares([batch]) + rooms13_acceptance.depths([batch])
    # Borders take more of a small picture.
    assert [f for f in findings if not f.ok and f.name != "void"] == []


def test_report_is_readable():
    text = acceptance.format_report(
        [
            acceptance.Finding("one", "1", "< 2", True),
            acceptance.Finding("two", "5", "< 2", False),
        ]
    )
    assert "two" in text and "FAILS" in text and text.endswith("1 of 2 fail")


def test_second_opening_renders_nothing(dataset, cache, monkeypatch):
    monkeypatch.setattr(Rooms13, "picture", lambda *_: pytest.fail("rendered again"))
    assert torch.equal(
        Rooms13("train", **SIZE, images=6, cache_dir=cache)[0].image, dataset[0].image
    )


@pytest.mark.parametrize("file", ["images.npy", "normals.npy", "manifest.json"])
def test_damage_is_named_and_repaired(tmp_path, caplog, file):
    good = Rooms13("test", **SIZE, images=2, cache_dir=tmp_path).load([0, 1])
    (path,) = tmp_path.glob(f"rooms13-v*/{file}")
    content = bytearray(path.read_bytes())
    content[10 if file == "manifest.json" else -20] ^= 0x55
    path.write_bytes(bytes(content))
    with caplog.at_level(logging.WARNING):
        again = Rooms13("test", **SIZE, images=2, cache_dir=tmp_path).load([0, 1])
    assert str(path) in caplog.text
    assert torch.equal(again.images, good.images)
    caplog.clear()
    Rooms13("test", **SIZE, images=2, cache_dir=tmp_path)
    assert caplog.text == ""


def test_cache_root_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MTPSL_CACHE", str(tmp_path / "there"))
    assert cache_root() == tmp_path / "there"
    assert cache_root(tmp_path / "here") == tmp_path / "here"


def test_an_interrupted_build_leaves_no_data(tmp_path):
    layout = {"a": ((3,), "uint8")}

    def breaks(work):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_arrays(tmp_path / "x", {}, layout, breaks)
    assert not (tmp_path / "x").exists()

    def fills(work):
        array = np.load(work / "a.npy", mmap_mode="r+")
        array[:] = 7
        array.flush()

    assert cached_arrays(tmp_path / "x", {}, layout, fills)["a"].tolist() == [7, 7, 7]
    assert json.loads((tmp_path / "x" / "manifest.json").read_text())["sha256"].keys() == {"a"}


def test_two_builders_build_once(tmp_path):
    layout, built, results = {"a": ((3,), "uint8")}, [], []
    both = threading.Barrier(2)

    def fills(work):
        built.append(work)

    def opens():
        both.wait()
        results.append(cached_arrays(tmp_path / "x", {"k": 1}, layout, fills)["a"].tolist())

    threads = [threading.Thread(target=opens) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[0, 0, 0]] * 2 and len(built) == 1


@pytest.mark.slow
def test_several_processes_make_the_same_bits(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "MANY", 0)
    monkeypatch.setattr(scenes, "cores", lambda: 3)
    other = Rooms13("train", **SIZE, images=6, cache_dir=tmp_path)
    assert torch.equal(other.load(range(6)).images, dataset.load(range(6)).images)
