"""Every change to a file of a data set on disk is noticed, at once and at the next start."""

import json
import os
import shutil
import time

import numpy as np
import own_trees
import pytest
import test_cityscapes
import test_fuzz_data
import test_pascal_context

from mtpsl import files
from mtpsl.data import find_class, fingerprint, recognize
from mtpsl.data.readers.convert import MANIFEST
from mtpsl.runs.data import bind_data, forget_data, open_split
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.store import RunStore, Session

TREES = test_fuzz_data.TREES | {
    "official": test_cityscapes.write_official,
    "cityscapes npy": lambda root: test_cityscapes.write_npy(root, train=2, val=1),
    "pascal": test_pascal_context.write_tree,
    "own": own_trees.write_own,
}
AGES = 10**20  # ns
UNREAD = {"edge", "seg40", "label_19", MANIFEST}  # what layouts leave alone


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of its own; files count as settled once they are older than 50 ms."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MTPSL_CACHE", str(folder))
    monkeypatch.setattr(fingerprint, "SETTLED", 50_000_000)
    return folder


def bound(root):
    name = recognize(root)
    tasks = ("semseg",)
    return bind_data(Experiment(dataset=name, tasks=tasks, train_images=9, test_images=9), root)


def edit(path, rng):
    """Changes one byte and leaves the size and the time of the change as they were."""
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("tree", TREES)
def test_any_edit_of_any_file_changes_the_key(tmp_path, tree):
    TREES[tree](tmp_path)
    time.sleep(0.06)
    rng, keys = np.random.default_rng(list(tree.encode())), [bound(tmp_path).key]
    assert bound(tmp_path).key == keys[0]
    paths = sorted(p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size)
    read = [p for p in paths if not set(p.relative_to(tmp_path).parts) & UNREAD]
    assert len(read) > 3
    for path in (read[i] for i in rng.permutation(len(read))[:40]):
        whole = path.read_bytes()
        edit(path, rng)
        try:
            keys.append(bound(tmp_path).key)
        except (ValueError, FileNotFoundError) as error:  # no longer such a file: noticed, too
            assert str(tmp_path) in str(error)
        path.write_bytes(whole)
    assert len(set(keys)) == len(keys) > 1
    assert bound(tmp_path).key == keys[0]


def test_what_has_not_moved_is_not_read_again(tmp_path, monkeypatch):
    own_trees.write_own(tmp_path)
    monkeypatch.setattr(fingerprint, "SETTLED", -AGES)
    read = []
    digest = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: read.append(path) or digest(path))
    open_own = lambda: find_class("own")("train", root=tmp_path).version  # noqa: E731
    version, every = open_own(), len(read)
    assert every > 30 and open_own() == version and len(read) == every
    (path,) = (tmp_path / "train" / "depth").glob("c.*")
    os.utime(path, ns=(0, 0))
    assert [open_own(), open_own()] == [version] * 2 and read[every:] == [path]
    monkeypatch.setattr(fingerprint, "SETTLED", AGES)  # all are too young to be kept
    os.utime(path)
    assert [open_own(), open_own()] == [version] * 2 and read[every:] == [path] * 2 + read[:every]


@pytest.mark.parametrize("damage", [lambda text: text[:99], lambda text: "", lambda text: "{}"])
def test_damaged_digests_are_made_again(tmp_path, cache, caplog, damage):
    own_trees.write_own(tmp_path)
    time.sleep(0.06)
    version = find_class("own")("train", root=tmp_path).version
    (manifest,) = (cache / fingerprint.FOLDER).iterdir()
    text = manifest.read_text()
    manifest.write_text(damage(text))
    assert find_class("own")("train", root=tmp_path).version == version
    assert str(manifest) in caplog.text and "reading all files again" in caplog.text
    assert manifest.read_text() == text


def test_force_forgets_what_was_kept_of_the_data(tmp_path, cache):
    root = own_trees.write_own(tmp_path / "own")
    session = Session(RunStore(tmp_path / "runs"), "cpu", root)
    time.sleep(0.06)
    folder = open_split(bound(root), "train", session).folder
    other = cache / "rooms13-kept"
    shutil.copytree(folder, other)
    (manifest,) = (cache / fingerprint.FOLDER).iterdir()
    values = json.loads(manifest.read_text())
    forget_data(session)
    assert not folder.exists() and not manifest.exists() and other.exists()
    assert open_split(bound(root), "train", session).folder == folder
    assert json.loads(manifest.read_text()) == values
