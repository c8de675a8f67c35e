"""The cache gives what the reader gives, is rebuilt when damaged, and never depends on how."""

import json
import logging
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import nyud_trees
import pytest
import torch
from test_cityscapes import official_path, write_npy, write_official
from test_pascal_context import FAINT, IDS, PEOPLE, path_of, write_tree

from mtpsl.data import cache, open_dataset
from mtpsl.data.cache import Cached, layout, pack, pack_image
from mtpsl.data.dataset import Dataset, Sample, TrainLoader
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.readers.nyud import Nyud
from mtpsl.data.scenes.rooms13 import Rooms13
from mtpsl.tasks import TaskSet, saliency, semseg

SIZE = {"height": 20, "width": 28}


SOURCES = {  # name, writer, whether images have 8 bits
    "files": ("nyud", nyud_trees.write_archive, False),
    "official": ("cityscapes", write_official, True),
    "npy": ("cityscapes", write_npy, False),
    "PASCAL_MT": ("pascal_context", write_tree, True),
}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def nyud(tmp_path):
    return nyud_trees.write_archive(tmp_path / "nyud")


def opened(root, name="nyud", split="train", **changes):
    return open_dataset(name, split, **{**SIZE, "root": root, **changes})


def same(a, b):
    """The same bits, NaN where NaN."""
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_it_gives_what_the_reader_gives(tmp_path, store, source, split):
    name, write, exact = SOURCES[source]
    reader = opened(write(tmp_path / "data"), name, split)
    kept = Cached(reader, cache_dir=store)
    for field in ("name", "version", "split", "stand_in", "tasks", "height", "width", "ids"):
        assert getattr(kept, field) == getattr(reader, field), field
    assert len(kept) == len(reader) > 0
    for task in reader.tasks.names:
        assert torch.equal(kept.carries(task), reader.carries(task))
    for index in range(len(reader)):
        a, b = reader[index], kept[index]
        assert b.image.dtype == torch.float32 and b.image.shape == a.image.shape
        assert (a.image - b.image).abs().max() <= (0 if exact else 1e-5)
        for task in reader.tasks:
            target, found = a.targets[task.name], b.targets[task.name]
            assert found.dtype == target.dtype and found.shape == target.shape
            assert torch.equal(a.valid[task.name], b.valid[task.name])
            if task.kind != "direction":
                same(target, found)
                continue
            assert torch.equal(target.isnan(), found.isnan())
            known = a.valid[task.name][0]
            v, w = target[:, known].double(), found[:, known].double()
            off = torch.linalg.cross(v, w, dim=0).norm(dim=0).asin().rad2deg()
            assert known.any() and off.max() < 0.002 and (w.norm(dim=0) - 1).abs().max() < 1e-6


def test_a_batch_is_its_images(nyud, store):
    kept = Cached(opened(nyud), cache_dir=store)
    batch = kept.load([2, 0, 0])
    assert batch.index.tolist() == [2, 0, 0]
    for row, index in enumerate([2, 0, 0]):
        same(batch.images[row], kept[index].image)
        for task in kept.tasks.names:
            same(batch.targets[task][row], kept[index].targets[task])
            same(batch.valid[task][row], kept[index].valid[task])
    before = kept[0].image.clone()
    batch.images.zero_()  # of a batch alone
    same(kept[0].image, before)
    assert all(mask.all() and mask.shape == (3,) for mask in batch.labeled.values())


def test_it_is_read_once(nyud, store, monkeypatch):
    first = Cached(opened(nyud), cache_dir=store)
    monkeypatch.setattr(cache, "read_all", lambda *args, **how: pytest.fail("read again"))
    again = Cached(opened(nyud), cache_dir=store)
    same(first[1].targets["normals"], again[1].targets["normals"])


def test_who_carries_a_task_is_asked_of_the_reader(tmp_path, store):
    root = write_tree(tmp_path)
    expected = [name in (*PEOPLE, FAINT) for name in IDS["train"]]
    kept = Cached(opened(root, "pascal_context"), cache_dir=store)
    assert kept.carries("human_parts").tolist() == expected
    table = dict.fromkeys(IDS["train"], [15])
    (root / "ImageSets/Parts/train.txt").write_text(json.dumps(table))
    again = Cached(opened(root, "pascal_context"), cache_dir=store)
    assert again.version != kept.version and again.carries("human_parts").all()
    with pytest.raises(KeyError, match="expected one of"):
        kept.carries("parts")


def test_every_request_has_a_folder_of_its_own(tmp_path, nyud, store):
    root = write_official(tmp_path / "cities")
    readers = [
        *(opened(nyud, split=split) for split in ("train", "test")),
        opened(nyud, images=2),
        opened(nyud, height=22),
        Nyud("train", root=nyud, **SIZE, normals_test="sum"),
        opened(root, "cityscapes"),
    ]
    folders = {Cached(reader, cache_dir=store).folder for reader in readers}
    assert len(folders) == len(readers)
    assert folders == {path for path in store.iterdir() if path.is_dir()}
    before = Cached(opened(nyud), cache_dir=store)
    path = nyud / "NYUD_MT/depth/0000.npy"
    np.save(path, np.load(path) + np.float32(1))
    after = Cached(opened(nyud), cache_dir=store)
    assert after.folder != before.folder and before.version != after.version
    same(after[0].targets["depth"], before[0].targets["depth"] + 1)


@pytest.mark.parametrize("damage", ["flip", "cut", "unlink", "manifest"])
def test_damage_is_named_and_repaired(nyud, store, caplog, damage):
    folder = Cached(opened(nyud), cache_dir=store).folder
    intact = {path.name: path.read_bytes() for path in folder.iterdir()}
    path = folder / ("manifest.json" if damage == "manifest" else "depth.npy")
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    if damage == "unlink":
        path.unlink()
    else:
        path.write_bytes(content[:-80] if damage in ("cut", "manifest") else content)
    with caplog.at_level(logging.WARNING):
        Cached(opened(nyud), cache_dir=store)
    assert str(path) in caplog.messages[0] and "building" in caplog.messages[0]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == intact


def test_several_processes_write_the_same_bytes(tmp_path, store):
    root = write_tree(tmp_path)
    one = Cached(opened(root, "pascal_context"), cache_dir=store, processes=1).folder
    two = Cached(opened(root, "pascal_context"), cache_dir=tmp_path / "other", processes=3).folder
    names = {path.name for path in one.iterdir()}
    assert one.name == two.name and names == {path.name for path in two.iterdir()}
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_damaged_source_is_named(tmp_path, store, processes):
    root = write_official(tmp_path / "cities")
    path = official_path(root, "disparity", "train", "aachen", 1)  # read by the second of two
    path.write_bytes(path.read_bytes()[:100])
    reader = opened(root, "cityscapes")
    with pytest.raises(ValueError, match=rf"{path.name}: expected a picture .* damaged file"):
        Cached(reader, cache_dir=store, processes=processes)
    assert not [entry for entry in store.iterdir() if entry.is_dir()]
    assert Cached(opened(root, "cityscapes", "test"), cache_dir=store)[0].valid["depth"].any()
    path = path_of(write_tree(tmp_path), "sal_distill", IDS["train"][0])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
        opened(tmp_path, "pascal_context")


def die(item):
    os._exit(3)


def test_a_process_that_dies_is_an_error():
    with pytest.raises(RuntimeError, match="a process that worked on images has died"):
        list(cache.side_by_side(die, range(4), 2))


def test_slow_files_are_read_by_several_processes(nyud, store, monkeypatch):
    asked = []
    monkeypatch.setattr(cache, "write_images", lambda *args: asked.append(args[3]))
    monkeypatch.setattr(cache, "cores", lambda: 2)
    Cached(opened(nyud), cache_dir=store)
    monkeypatch.setattr(cache, "SLOW", 0.0)
    Cached(opened(nyud), cache_dir=store / "other")
    assert asked == [1, 2]


def test_another_process_maps_the_files_itself(nyud, store):
    reader = opened(nyud, height=96, width=128)
    kept = Cached(reader, cache_dir=store)
    message = pickle.dumps(kept)
    assert len(message) < 20_000
    same(pickle.loads(message)[1].targets["normals"], kept[1].targets["normals"])


def test_training_batches(nyud, store):
    kept = Cached(opened(nyud), cache_dir=store)
    names = kept.tasks.names
    partial = PartialLabels(kept, assign("one_label", len(kept), names, seed=0))
    (views,) = TrainLoader(partial, batch_size=8, seed=0, views=2, flip=True).epoch(0)
    again = Cached(opened(nyud), cache_dir=store.with_name("another"))
    partial = PartialLabels(again, assign("one_label", len(kept), names, seed=0))
    (others,) = TrainLoader(partial, batch_size=8, seed=0, views=2, flip=True).epoch(0)
    for view, other in zip(views, others, strict=True):
        same(view.images, other.images)
        same(view.targets, other.targets)
        assert view.images.isfinite().all() and any(mask.any() for mask in view.valid.values())


def test_nothing_in_the_package_of_data_needs_posix():
    folder = Path(cache.__file__).parent
    posix = re.compile(r"^\s*(import|from) (fcntl|grp|pwd|resource|termios)\b", re.MULTILINE)
    named = [path.name for path in folder.rglob("*.py") if posix.search(path.read_text())]
    assert named == []


# --- what cannot be stored, and wrong arguments ---------------------------------------------------


def test_compact_types(nyud):
    types = {name: kind for name, (_, kind) in layout(opened(nyud)).items()}
    assert types == {
        "images": "uint16",
        "semseg": "uint8",
        "depth": "float32",
        "normals": "int16",
    }


def test_what_a_type_cannot_express_is_refused():
    task = semseg(("a",) * 300)
    ids = torch.full((1, 2, 2), 254)
    everywhere = torch.ones(1, 2, 2, dtype=torch.bool)
    assert pack(task, ids, everywhere).tolist() == [[[254, 254], [254, 254]]]
    for wrong, valid in ((ids + 1, everywhere), (ids + 3, everywhere), (-ids, everywhere)):
        with pytest.raises(ValueError, match="semseg: expected classes that fit uint8"):
            pack(task, wrong, valid)
    with pytest.raises(ValueError, match="saliency: expected binary that fit uint8"):
        pack(saliency(), torch.full((1, 2, 2), 0.5), everywhere)
    with pytest.raises(ValueError, match="rounds_images: expected an image of 8 bits"):
        pack_image(torch.full((3, 2, 2), 0.3), np.dtype("uint8"))


class Faint(Dataset):
    """Binary maps with holes, which no reader of ours has."""

    name, version, stand_in, ids = "faint", "1", False, ("a", "b")
    tasks = TaskSet((saliency(),))
    height, width = 2, 3

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return 2

    def __getitem__(self, index):
        target = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]])
        target[0, 0, index] = float("nan")
        return Sample(
            torch.full((3, 2, 3), 0.5), {"saliency": target}, {"saliency": target.isfinite()}
        )


def test_holes_of_binary_maps(store):
    kept = Cached(Faint("train"), cache_dir=store)
    for index in (0, 1):
        same(kept[index].targets["saliency"], Faint("train")[index].targets["saliency"])
        same(kept[index].valid["saliency"], Faint("train")[index].valid["saliency"])
    manifest = json.loads((kept.folder / "manifest.json").read_text())
    assert manifest["identity"]["split"] == "train" and set(manifest["sha256"]) == {
        "images",
        "saliency",
    }


def test_wrong_arguments(tmp_path, nyud, store, monkeypatch):
    rooms = Rooms13("test", height=16, width=16, images=1, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="expected one on disk, got rooms13, which has a cache"):
        Cached(rooms, cache_dir=store)
    with pytest.raises(ValueError, match="processes: expected at least 1, got 0"):
        Cached(opened(nyud), cache_dir=store, processes=0)
    kept = Cached(opened(nyud), cache_dir=store)
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match=rf"\[0, 3\), got {wrong}"):
            kept[wrong]
        with pytest.raises(IndexError, match=rf"expected 0 to 2, got \[0, {wrong}\]"):
            kept.load([0, wrong])
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="GB on the disk of .*found 0.0 GB; make room"):
        Cached(opened(nyud, height=30), cache_dir=store)
