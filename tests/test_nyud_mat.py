"""The published MATLAB file, written as MATLAB stores it and read back."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from nyud_trees import LADICKY, H, W, scene, write_mat
from test_nyud_folders import degrees_off, same_labels

from mtpsl.data.readers.nyud import Nyud
from mtpsl.data.readers.nyud_files import Labeled

FILE = "nyu_depth_v2_labeled.mat"


def nyud(root, split="train", **changes):
    return Nyud(split, **{"height": H, "width": W, "root": root, **changes})


@pytest.mark.parametrize("mapping13", [True, False])
def test_reads_the_published_file(tmp_path, mapping13):
    root = write_mat(tmp_path, mapping13=mapping13)
    train, test = nyud(root), nyud(root, "test")
    assert isinstance(train.layout, Labeled)
    assert train.ids == ("00002", "00004", "00005") and test.ids == ("00001", "00003")
    for dataset, index, number in ((train, 0, 2), (train, 2, 5), (test, 1, 3)):
        image, forty, depth, normal = scene(number - 1)
        sample = dataset[index]
        same_labels(sample, forty, depth)
        assert np.array_equal((sample.image * 255).round().movedim(0, -1).numpy(), image)
        assert degrees_off(sample, normal) < 6  # computed
    assert "computed from the depth" in train.layout.notes[0]
    assert train.version == test.version and train.version.startswith("mat-")
    assert train.files(0) == {}


def test_the_file_itself_may_be_named(tmp_path):
    root = write_mat(tmp_path)
    assert nyud(root / FILE).version == nyud(root).version


def test_normals_beside_it_are_read(tmp_path):
    dataset = nyud(write_mat(tmp_path, normals=True), "test")
    assert dataset.layout.axes == LADICKY
    assert degrees_off(dataset[1], scene(2)[3]) < 1
    path = tmp_path / "nyu_normals_gt/test/00003.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"test/00003\.png: .* damaged"):
        nyud(tmp_path, "test")[1]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"test/00003\.png"):
        nyud(tmp_path, "test")[1]


def test_another_size(tmp_path):
    sample = nyud(write_mat(tmp_path), height=18, width=24)[1]
    assert sample.image.shape == (3, 18, 24)
    lengths = sample.targets["normals"].norm(dim=0)[sample.valid["normals"][0]]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_damaged_files_are_named(tmp_path):
    root = write_mat(tmp_path)
    path = root / FILE
    whole = path.read_bytes()
    for damage in (b"", whole[:600], whole[: len(whole) // 2], whole[::-1]):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=rf"{FILE}: expected a MATLAB 7.3 .* damaged") as error:
            nyud(root)
        assert "\n" not in str(error.value)
    path.write_bytes(whole)
    for name in ("splits.mat", "classMapping40.mat", "class13Mapping.mat"):
        companion = (root / name).read_bytes()
        (root / name).write_bytes(companion[:150])
        with pytest.raises(ValueError, match=f"{name}: expected a MATLAB file"):
            nyud(root)
        (root / name).unlink()
        if name != "class13Mapping.mat":  # the published one is built in
            with pytest.raises(FileNotFoundError, match=f"{name}: expected .* no such file"):
                nyud(root)
        (root / name).write_bytes(companion)
    assert len(nyud(root)) == 3


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("images", lambda a: a[:, :2], r"images \(N, 3, W, H\)"),
        ("depths", lambda a: a[:-1], r"images \(N, 3, W, H\)"),
        ("labels", lambda a: a[0], "'labels' of 3 dimensions, found"),
        ("labels", None, "'labels' of 3 dimensions, found none"),
        ("images", lambda a: a.astype(float), "an integer type, found float64"),
        ("labels", lambda a: a * 0 + 81, r"\[0, 80\], found 81"),
        ("depths", lambda a: a * np.nan, "nan"),
        ("depths", lambda a: a * 1000, r"\[0, 50\]"),
    ],
)
def test_wrong_variables_are_named(tmp_path, name, change, words):
    root = write_mat(tmp_path)
    with h5py.File(root / FILE, "r+") as file:
        array = file[name][()]
        del file[name]
        if change:
            file[name] = change(array)
    with pytest.raises(ValueError, match=words) as error:
        nyud(root)[0]
    assert FILE in str(error.value) and ";" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("splits.mat", {"trainNdxs": [[1], [2]]}, "'testNdxs'"),
        ("splits.mat", {"trainNdxs": [[1], [6]], "testNdxs": [[2]]}, r"\[1, 5\], found 1 to 6"),
        ("splits.mat", {"trainNdxs": [[0], [3]], "testNdxs": [[2]]}, r"\[1, 5\], found 0 to 3"),
        ("splits.mat", {"trainNdxs": [[1], [1]], "testNdxs": [[2]]}, "once .*found one twice"),
        ("splits.mat", {"trainNdxs": np.zeros((0, 1)), "testNdxs": [[2]]}, "whole numbers"),
        ("classMapping40.mat", {"mapClass": [[1, 41]]}, r"\[0, 40\], found 1 to 41"),
        ("classMapping40.mat", {"mapClass": np.ones((1, 895), int)}, "up to 894"),
        ("class13Mapping.mat", {"classMapping13": np.ones((1, 41), int)}, "40 classes from 1"),
        ("class13Mapping.mat", {"classMapping13": {"a": np.ones((1, 39), int)}}, "found 39"),
        ("class13Mapping.mat", {"classMapping13": {"a": np.full((1, 40), 14)}}, "from 1 to 13"),
    ],
)
def test_wrong_companions_are_named(tmp_path, name, content, words):
    root = write_mat(tmp_path)
    scipy.io.savemat(root / name, content)
    with pytest.raises(ValueError, match=rf"{name}: expected .*{words}|{words}") as error:
        nyud(root)
    assert name in str(error.value)


def test_without_h5py_one_sentence_says_what_to_install(tmp_path):
    write_mat(tmp_path)
    program = f"""
import sys
sys.modules["h5py"] = None
from mtpsl.data.readers.nyud import Nyud
try:
    Nyud("train", root={str(tmp_path)!r})
except RuntimeError as error:
    sys.exit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "expected the package h5py to read it, found none; pip install h5py" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
