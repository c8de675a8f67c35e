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

from mtpsl.data.cache import cache_root, cached_arrays
from mtpsl.data.readers.published import PUBLISHED
from mtpsl.data.scenes import rendered, rooms13
from mtpsl.data.scenes.rooms13 import CLASSES, Rooms13, render_image
from mtpsl.data.scenes.rooms13_render import surface

SIZE = {"height": 24, "width": 32}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(cache):
    return Rooms13("train", **SIZE, images=6, cache_dir=cache)


def digest(picture):
    parts = (picture.image, picture.semseg, picture.depth, picture.normals)
    return hashlib.sha256(b"".join(p.cpu().numpy().tobytes() for p in parts)).hexdigest()


def test_classes_are_those_of_nyud_in_order():
    assert CLASSES == tuple(PUBLISHED["nyud"].classes)
    assert len(CLASSES) == 13 and rooms13.TASKS["semseg"].class_names == CLASSES


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
    again = {i: digest(render_image("train", i, 24, 32)) for i in (5, 2, 0)}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert {i: digest(render_image("train", i, 24, 32)) for i in (0, 2, 5)} == again
    finally:
        torch.set_num_threads(threads)
    fewer = Rooms13("train", **SIZE, images=3, cache_dir=cache)
    assert torch.equal(fewer.load([2]).images, dataset.load([2]).images)


def test_splits_and_indices_differ():
    assert len({digest(render_image(s, i, 24, 32)) for s in ("train", "test") for i in (0, 1)}) == 4


def test_version_is_part_of_the_seed(monkeypatch):
    before = digest(render_image("test", 0, 24, 32))
    monkeypatch.setattr(rooms13, "VERSION", rooms13.VERSION + 1)
    assert digest(render_image("test", 0, 24, 32)) != before


def test_a_scene_is_the_same_at_every_size():
    scene = rooms13.scene("test", 3)[0]
    small, large = surface(scene, 24, 32), surface(scene, 72, 96)
    # The middle of every 3x3 block is the center of the small picture's pixel.
    middle = large.depth[1::3, 1::3]
    assert torch.allclose(middle, small.depth, rtol=1e-4)
    assert (large.classes[1::3, 1::3] == small.classes).float().mean() > 0.999


@pytest.mark.gpu
def test_same_bits_on_a_gpu():
    for index in range(3):
        cpu, gpu = (digest(render_image("test", index, 96, 128, d)) for d in ("cpu", "cuda"))
        assert cpu == gpu


def test_geometry_is_exact():
    findings = rooms13_acceptance.geometry(scenes=3)
    assert [f for f in findings if not f.ok] == []


def test_slope_check_notices_wrong_normals():
    """The check above can fail: normals of a mirrored camera do not fit the depth."""
    picture = rooms13.scene("test", 0)[0]
    seen = surface(picture, 72, 96)
    mirrored = type(seen)(
        **{**vars(seen), "normals": seen.normals * torch.tensor([-1, 1, 1]).view(3, 1, 1)}
    )
    assert acceptance.slope_error(mirrored, picture.camera).quantile(0.99) > 10


def test_statistics_are_close_to_nyud(cache):
    """A coarse version of the report's: 150 images, a quarter of the size."""
    dataset = Rooms13("test", **SIZE, images=150, cache_dir=cache)
    batch = dataset.load(range(150))
    shares, depths = rooms13_acceptance.class_shares([batch]), rooms13_acceptance.depths([batch])
    findings = {f.name: f for f in shares + depths}
    # Borders take more of a small picture, and rare classes vary more between few images.
    del findings["void"]
    failed = [f for f in findings.values() if not f.ok]
    assert all(f.name in ("tv", "books", "ceiling") for f in failed), failed
    assert len(failed) <= 1, failed


def test_report_is_readable():
    text = acceptance.format_report(
        [
            acceptance.Finding("one", "1", "< 2", True),
            acceptance.Finding("two", "5", "< 2", False),
        ]
    )
    assert "two" in text and "FAILS" in text and text.endswith("1 of 2 fail")


def test_second_opening_renders_nothing(dataset, cache, monkeypatch):
    monkeypatch.setattr(rooms13, "render_image", lambda *_: pytest.fail("rendered again"))
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
    monkeypatch.setattr(rendered, "MANY", 0)
    monkeypatch.setattr(rendered, "cores", lambda: 3)
    other = Rooms13("train", **SIZE, images=6, cache_dir=tmp_path)
    assert torch.equal(other.load(range(6)).images, dataset.load(range(6)).images)
