"""The ``.npy`` tree of PASCAL-Context: found, read, and every damage named."""

import numpy as np
import pytest
import torch
from test_pascal_context import IDS, PEOPLE, H, W, pascal, write_tree

from mtpsl.data import open_dataset, recognize
from mtpsl.data.label_files import read_label_split
from mtpsl.data.readers.convert import convert
from mtpsl.data.readers.pascal_npy import TYPES, NpyTree
from mtpsl.data.readers.report import check
from mtpsl.losses import IGNORE_INDEX

WITH_PERSON = 1  # index of a training image that shows one


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("pascal")
    convert(write_tree(root), root / "out", height=H, width=W)
    return root / "out"


@pytest.fixture
def tree(made, tmp_path):
    root = tmp_path / "mes données"
    for path in made.rglob("*.*"):
        copy = root / path.relative_to(made)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return root


def test_it_is_recognized_and_keeps_the_names(tree, tmp_path):
    assert recognize(tree) == "pascal_context"
    dataset = pascal(tree)
    assert isinstance(dataset.layout, NpyTree) and dataset.ids == IDS["train"]
    assert dataset.version.startswith("npy-") and pascal(tree, "test").version == dataset.version
    tree.rename(tmp_path / "pascal_context")
    assert recognize(tmp_path) == "pascal_context" and pascal(tmp_path).version == dataset.version
    for name in ("nyud", "cityscapes"):
        with pytest.raises(ValueError, match=f"folder of {name}, found that of pascal_context"):
            open_dataset(name, "train", height=H, width=W, root=tmp_path)


def test_maps_and_who_carries_human_parts(tree):
    dataset = pascal(tree)
    assert dataset.carries("human_parts").tolist() == [False, True, True, True]
    assert pascal(tree, images=2).carries("human_parts").tolist() == [False, True]
    assert not (tree / "train/human_parts/0.npy").exists()
    for index, name in enumerate(dataset.ids):
        sample = dataset[index]
        assert sample.valid["human_parts"].any() == (name in PEOPLE)
        for task in dataset.tasks:
            target, valid = sample.targets[task.name], sample.valid[task.name]
            assert target.dtype == task.target_dtype
            hole = target[~valid.expand_as(target)]
            assert (hole == IGNORE_INDEX if task.kind == "classes" else hole.isnan()).all()
    half = pascal(tree, height=H // 2, width=W // 2)[1]
    whole = dataset[1].targets["semseg"]
    assert torch.equal(half.targets["semseg"], whole[:, 1::2, 1::2])


def test_a_published_label_split_speaks_of_its_images(tree, tmp_path):
    dataset = pascal(tree)
    named = {task: np.array(dataset.ids[1:3]) for task in dataset.tasks.names}
    np.save(tmp_path / "split.npy", named)
    carries = {task: dataset.carries(task) for task in dataset.tasks.names}
    rows = read_label_split(
        tmp_path / "split.npy", tasks=dataset.tasks.names, ids=dataset.ids, carries=carries
    )
    assert rows.all(dim=1).tolist() == [False, True, True, False]


def test_a_changed_file_changes_the_version(tree):
    before = pascal(tree).version
    path = tree / "train/people.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    (tree / "train/human_parts/3.npy").unlink()
    assert pascal(tree).version != before
    assert pascal(tree).carries("human_parts").tolist() == [False, True, True, False]


def test_nobody_shows_a_person(tree):
    for split in ("train", "val"):
        (tree / split / "people.txt").write_text("")
        for path in (tree / split / "human_parts").iterdir():
            path.unlink()
        (tree / split / "human_parts").rmdir()
    assert not pascal(tree).carries("human_parts").any()
    assert not pascal(tree)[1].valid["human_parts"].any()


NORMALS = np.zeros((H, W, 3), np.float16)


@pytest.mark.parametrize(
    ("folder", "content", "words"),
    [
        ("image", np.zeros((H, W, 3), np.float32), r"8-bit colors \(uint8\), found float32"),
        ("image", np.zeros((H, W), np.uint8), "any x any x 3"),
        ("semseg", np.full((H, W), 21, np.uint8), "0 to 20, or 255 for void, found 21"),
        ("semseg", np.full((H, W), -1), r"\[0, 255\], found -1"),
        ("semseg", np.zeros((H, W + 1), np.uint8), f"the shape {H} x {W}, found"),
        ("semseg", np.full((H, W), 0.5), "whole class ids, found fractions"),
        ("human_parts", np.full((H, W), 7, np.uint8), "0 to 6, or 255 for void, found 7"),
        ("normals", NORMALS + np.float16(0.5), "length 1, or zeros, found the length 0.87"),
        ("normals", NORMALS + np.float16(2), r"\[-1, 1\], found 2"),
        ("normals", NORMALS + np.float16("nan"), "found nan"),
        ("normals", NORMALS[..., 0], f"{H} x {W} x 3"),
        ("saliency", np.full((H, W), 2, np.uint8), r"\[0, 1\], found 2"),
        ("edges", np.full((H, W), 255, np.uint8), r"\[0, 1\], found 255"),
        ("edges", None, "damaged file"),
    ],
)
def test_damage_is_named(tree, folder, content, words):
    path = tree / "train" / folder / f"{WITH_PERSON}.npy"
    if content is None:
        path.write_bytes(path.read_bytes()[:100])
    else:
        np.save(path, content)
    dataset = pascal(tree)
    dataset[0]
    with pytest.raises(ValueError, match=rf"{folder}/1\.npy: expected .*{words}"):
        dataset[WITH_PERSON]


@pytest.mark.parametrize("folder", TYPES)
def test_missing_and_strange_files_are_named(tree, folder):
    base = tree / "val" / folder
    np.save(base / "7.npy", np.zeros((H, W), np.uint8))
    with pytest.raises(ValueError, match=rf"val/{folder}/7\.npy: expected files of .*remove it"):
        pascal(tree)
    (base / "7.npy").unlink()
    (base / "1.npy").unlink()
    words = rf"val/{folder}/1\.npy: expected .* none of that name; run the conversion again"
    with pytest.raises(FileNotFoundError, match=words):
        pascal(tree)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("val/ids.txt", b"9\n9\n", "expected every id once, found 9 twice"),
        ("val/ids.txt", b"2008_000008\n9\n", "found 2008_000008 in both"),
        ("val/ids.txt", None, "expected a list of image ids, found no such file"),
        ("train/people.txt", b"somebody\n", "expected ids of ids.txt, found 'somebody'"),
        ("train/people.txt", b"\xff\n", "expected image ids as text"),
        ("train/people.txt", None, "expected a list of the images that show a person, found no"),
    ],
)
def test_wrong_lists_are_named(tree, file, content, words):
    if content is None:
        (tree / file).unlink()
    else:
        (tree / file).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=f"{file}: {words}|{file}: .*{words}"):
        pascal(tree)


def test_report(tree):
    text, ok = check(tree)
    assert ok and text.endswith("problems: none") and "version npy-" in text
    (tree / "val/edges/0.npy").write_bytes(b"")
    text, ok = check(tree)
    assert not ok and "edges/0.npy: expected" in text
