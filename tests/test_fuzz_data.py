"""Damage of any kind to a small tree is either harmless or one sentence that names a file."""

import shutil

import numpy as np
import nyud_trees
import pytest
import torch
from nyud_trees import H, W

from mtpsl.data.readers.convert import convert
from mtpsl.data.readers.nyud import Nyud
from mtpsl.data.readers.report import check_folder as report

FEW = {"train": 1, "val": 1}


def npy(root):
    nyud_trees.write_archive(root / "source", "survey", **FEW)
    convert(root / "source", root / "nyuv2", height=H, width=W)
    shutil.rmtree(root / "source")


TREES = {
    "npy": npy,
    "astmt": lambda root: nyud_trees.write_archive(root, "astmt", **FEW),
    "survey": lambda root: nyud_trees.write_archive(root, "survey", **FEW),
    "invpt": lambda root: nyud_trees.write_archive(root, "invpt", **FEW),
    "pngs": lambda root: nyud_trees.write_pngs(root, train=1, test=1),
    "mat": lambda root: nyud_trees.write_mat(root, images=3, normals=True),
}


def flip(rng, path, others):
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), rng.integers(1, 8)):
        content[place] = rng.integers(256)
    path.write_bytes(content)


def flip_start(rng, path, others):
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, min(len(content), 200), rng.integers(1, 4)):
        content[place] = rng.integers(256)
    path.write_bytes(content)


def cut(rng, path, others):
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(0, len(content))])


def blank(rng, path, others):
    content = bytearray(path.read_bytes())
    start = rng.integers(0, len(content))
    content[start : start + 64] = bytes(min(64, len(content) - start))
    path.write_bytes(content)


def extend(rng, path, others):
    path.write_bytes(path.read_bytes() + rng.bytes(40))


def double(rng, path, others):
    path.write_bytes(path.read_bytes() * 2)


def swap(rng, path, others):
    path.write_bytes(others[rng.integers(len(others))].read_bytes())


def remove(rng, path, others):
    path.unlink()


def rename(rng, path, others):
    path.rename(path.with_name(f"{rng.integers(99)} é{path.suffix}"))


def folder(rng, path, others):
    path.unlink()
    path.mkdir()


def link(rng, path, others):
    path.unlink()
    path.symlink_to("nowhere")


def another_array(rng, path, others):
    kinds = (np.float16, np.int64, np.uint8, np.complex64, "U3", "M8[s]", bool)
    shape = tuple(rng.integers(0, 5, rng.integers(0, 4)))
    with path.open("wb") as file:
        np.save(file, np.zeros(shape, dtype=kinds[rng.integers(len(kinds))]))


MUTATIONS = (flip, flip_start, cut, blank, extend, double)
MUTATIONS += (swap, remove, rename, folder, link, another_array)


def is_sound(sample):
    assert torch.isfinite(sample.image).all() and 0 <= sample.image.min() <= sample.image.max() <= 1
    ids = sample.targets["semseg"][sample.valid["semseg"]]
    assert ((ids >= 0) & (ids < 13)).all()
    meters = sample.targets["depth"][sample.valid["depth"]]
    assert ((meters > 0) & (meters < 51)).all()
    lengths = sample.targets["normals"].norm(dim=0)[sample.valid["normals"][0]]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def is_ours(sentence, root):
    assert "\n" not in sentence and len(sentence) < 1000
    assert sentence.startswith(str(root)) and ": expected " in sentence, sentence
    assert "found" in sentence and ";" in sentence, sentence


def fuzz(tmp_path, tree, seed, count):
    """Damages fresh copies of a tree; returns how many were refused."""
    whole = tmp_path / "whole"
    TREES[tree](whole)
    files = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    rng = np.random.default_rng([seed, *tree.encode()])
    refused = 0
    for turn in range(count):
        root = tmp_path / "damaged"
        shutil.copytree(whole, root)
        path = root / files[rng.integers(len(files))]
        mutate = MUTATIONS[turn % len(MUTATIONS)]
        mutate(rng, path, [whole / file for file in files])
        failed = False
        for split in ("train", "test"):
            try:
                dataset = Nyud(split, height=H, width=W, root=root)
                for index in range(len(dataset)):
                    is_sound(dataset[index])
            except (ValueError, FileNotFoundError) as error:
                is_ours(str(error), root)
                failed = True
            except Exception as error:
                raise AssertionError(f"{mutate.__name__} of {path}: {error!r}") from error
        if turn % 8 == 0:
            try:
                text, fine = report(root)
            except FileNotFoundError as error:
                is_ours(str(error), root)
            else:
                assert fine or failed or "images of one size" in text, text
        refused += failed
        shutil.rmtree(root)
    return refused


@pytest.mark.parametrize("tree", TREES)
def test_damage_is_named(tmp_path, tree):
    assert 20 < fuzz(tmp_path, tree, 0, 60) < 60


@pytest.mark.slow
@pytest.mark.parametrize("tree", TREES)
def test_much_damage_is_named(tmp_path, tree):
    assert 120 < fuzz(tmp_path, tree, 1, 334) < 334  # 2,004 over all trees
