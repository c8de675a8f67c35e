"""Label settings: counts, balance, seeds, files, and that withheld labels are gone."""

import hashlib
import os
import pickle

import numpy as np
import pytest
import torch

from mtpsl.data.dataset import Dataset, Sample
from mtpsl.data.formats import read_label_ids, read_label_split
from mtpsl.data.labels import (
    Assignment,
    PartialLabels,
    assign,
    assignment_from_file,
)
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = ("semseg", "depth", "normals")


class Tiny(Dataset):
    """N images of 2x3 pixels whose maps hold the image's number."""

    name, version, split, stand_in, height, width = "tiny", "1", "train", True, 2, 3
    tasks = TaskSet((semseg(("a", "b", "c")), depth(), normals()))

    def __init__(self, images: int, secret: float = 0.0) -> None:
        self.images, self.secret = images, secret

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Sample:
        value = index + 1.0 + self.secret
        return Sample(
            image=torch.full((3, 2, 3), index / 100),
            targets={
                "semseg": torch.full((1, 2, 3), int(value) % 3),
                "depth": torch.full((1, 2, 3), value),
                "normals": torch.full((3, 2, 3), value),
            },
            valid={task: torch.ones(1, 2, 3, dtype=torch.bool) for task in TASKS},
        )


def test_full_labels_everything():
    assignment = assign("full", 7, TASKS)
    assert assignment.counts == {"semseg": 7, "depth": 7, "normals": 7}


def test_one_label_is_exactly_balanced():
    assignment = assign("one_label", 795, TASKS, seed=3)
    assert assignment.counts == {"semseg": 265, "depth": 265, "normals": 265}
    assert (assignment.labeled.sum(dim=1) == 1).all()
    assert sorted(assign("one_label", 10, TASKS).counts.values()) == [3, 3, 4]


def test_one_label_mixes_the_tasks_over_the_images():
    labeled = assign("one_label", 795, TASKS).labeled
    for chunk in labeled.split(159):
        assert chunk.sum(dim=0).min() > 30  # 53 expected; a sorted assignment gives 0


def test_random_labels_are_one_to_all_but_one_with_even_patterns():
    labeled = assign("random_labels", 795, TASKS).labeled
    sizes = torch.bincount(labeled.sum(dim=1), minlength=4).tolist()
    assert sizes == [0, 398, 397, 0]
    patterns, counts = labeled.long().unique(dim=0, return_counts=True)
    assert len(patterns) == 6 and counts.min() >= 132 and counts.max() <= 133
    two = assign("random_labels", 9, ("semseg", "depth"))
    assert (two.labeled.sum(dim=1) == 1).all()
    five = assign("random_labels", 400, ("a", "b", "c", "d", "e")).labeled
    assert torch.bincount(five.sum(dim=1)).tolist() == [0, 100, 100, 100, 100]


def test_few_shot_and_ratio():
    few = assign("few_shot", 50, TASKS, task="depth", shots=4)
    assert few.counts == {"semseg": 50, "depth": 4, "normals": 50}
    assert assign("few_shot", 50, TASKS, task="semseg").counts["semseg"] == 10
    pair = ("semseg", "depth")
    text = assign("ratio", 100, pair, ratio="1:9")
    named = assign("ratio", 100, pair, ratio={"depth": 9, "semseg": 1})
    assert text.counts == named.counts == {"semseg": 10, "depth": 90}
    assert text.hash == named.hash
    assert assign("ratio", 10, TASKS, ratio="1:0:1").counts == {
        "semseg": 5,
        "depth": 0,
        "normals": 5,
    }


@pytest.mark.parametrize(
    ("images", "share", "kept"), [(240, 1 / 8, 30), (20, 1 / 8, 3), (16, 1 / 4, 4), (5, 0.01, 1)]
)
def test_a_share_is_exact_for_every_task(images, share, kept):
    assert assign("share", images, TASKS, share=share).counts == dict.fromkeys(TASKS, kept)


def test_a_whole_share_is_full():
    assert assign("share", 7, TASKS, share=1).hash == assign("full", 7, TASKS).hash


def test_a_larger_share_keeps_what_a_smaller_one_has():
    eighth, quarter, half = (
        assign("share", 240, TASKS, share=share).labeled for share in (1 / 8, 1 / 4, 1 / 2)
    )
    assert (quarter | ~eighth).all() and (half | ~quarter).all()
    assert not torch.equal(eighth, assign("share", 240, TASKS, share=1 / 8, seed=1).labeled)


def test_shares_of_tasks_are_independent():
    labeled = assign("share", 4000, TASKS, share=1 / 2).labeled
    patterns = (labeled.long() * torch.tensor([1, 2, 4])).sum(dim=1).bincount(minlength=8)
    assert (patterns - 500).abs().max() < 80  # 500 +- 21 by chance; disjoint tasks would give 0


def test_a_share_is_of_the_images_that_can_carry_the_task():
    able = torch.arange(90) < 20
    assignment = assign("share", 90, TASKS, share=0.5, carries={"semseg": able})
    assert not assignment.labeled[20:, 0].any()
    assert assignment.counts == {"semseg": 10, "depth": 45, "normals": 45}


@pytest.mark.parametrize("setting", ["one_label", "random_labels"])
def test_images_that_cannot_carry_a_task_never_get_it(setting):
    able = torch.arange(90) < 20
    assignment = assign(setting, 90, TASKS, carries={"semseg": able})
    assert not assignment.labeled[20:, 0].any()
    assert assignment.labeled.any(dim=1).all()
    if setting == "one_label":  # every carrier is needed, and the others share the rest evenly
        assert assignment.counts == {"semseg": 20, "depth": 35, "normals": 35}


def test_seeds_decide_and_global_state_does_not():
    np.random.seed(0)
    torch.manual_seed(0)
    first = assign("one_label", 60, TASKS, seed=1)
    np.random.seed(5)
    torch.manual_seed(5)
    assert assign("one_label", 60, TASKS, seed=1).hash == first.hash
    assert assign("one_label", 60, TASKS, seed=2).hash != first.hash


def test_draws_are_the_ones_that_records_were_made_with():
    assert assign("one_label", 795, TASKS).hash == "fe0674e52a5f"
    assert assign("random_labels", 795, TASKS).hash == "42626dc77f4f"
    assert assign("share", 795, TASKS, share=0.125).hash == "294e13ec090a"


def test_hash_is_the_content_on_every_machine():
    labeled = torch.tensor([[True, False], [False, True]])
    assignment = Assignment(labeled, ("a", "b"), "file")
    by_hand = hashlib.sha256(b"2 a b\n" + bytes([0b10010000])).hexdigest()
    assert assignment.hash == by_hand[:12]
    assert Assignment(labeled, ("a", "b"), "one_label").hash == assignment.hash
    assert Assignment(labeled, ("b", "a"), "file").hash != assignment.hash
    assert Assignment(~labeled, ("a", "b"), "file").hash != assignment.hash


def test_select_takes_columns_of_the_shared_assignment():
    full = assign("one_label", 30, TASKS)
    assert torch.equal(full.select(("depth",)).labeled[:, 0], full.labeled[:, 1])
    swapped = full.select(("normals", "semseg"))
    assert swapped.tasks == ("normals", "semseg")
    assert torch.equal(swapped.labeled, full.labeled[:, [2, 0]])
    with pytest.raises(ValueError, match="edges"):
        full.select(("edges",))


@pytest.mark.parametrize(
    ("setting", "args", "words"),
    [
        ("onelabel", {}, "one_label"),
        ("one_label", {"shots": 3}, "shots"),
        ("few_shot", {"task": "edges"}, "edges"),
        ("few_shot", {"task": "depth", "shots": 99}, "1 to 20"),
        ("ratio", {}, "None"),
        ("ratio", {"ratio": "1:9"}, "1:9"),
        ("ratio", {"ratio": "1:a:2"}, "1:a:2"),
        ("ratio", {"ratio": {"depth": 1}}, "depth"),
        ("ratio", {"ratio": "0:0:0"}, "not all 0"),
        ("share", {}, "None"),
        ("share", {"share": 0}, "in \\(0, 1\\], got 0"),
        ("share", {"share": 1.5}, "1.5"),
        ("share", {"share": True}, "True"),
        ("share", {"share": "1/8"}, "1/8"),
    ],
)
def test_wrong_arguments_are_named(setting, args, words):
    with pytest.raises(ValueError, match=words):
        assign(setting, 20, TASKS, **args)


def test_impossible_carriers_are_named():
    with pytest.raises(ValueError, match="two tasks"):
        assign("random_labels", 4, ("depth",))
    able = torch.tensor([True, False])
    with pytest.raises(ValueError, match="image 1"):
        assign("one_label", 2, ("depth",), carries={"depth": able})
    with pytest.raises(ValueError, match="carries"):
        assign("one_label", 3, ("depth",), carries={"depth": able})


def write_split(path, weights):
    torch.save({"labels_weights": weights}, path)
    return path


def test_a_split_file_in_the_published_format(tmp_path):
    weights = torch.zeros(6, 3)
    weights[torch.arange(6), torch.arange(6) % 3] = 1
    path = write_split(tmp_path / "onelabel.pth", weights)
    assert torch.equal(read_label_split(path), weights.bool())
    assignment = assignment_from_file(path, TASKS, 6)
    assert assignment.counts == {"semseg": 2, "depth": 2, "normals": 2}
    assert len(assignment_from_file(path, TASKS, 4)) == 4  # a scaled run uses the first images
    with pytest.raises(ValueError, match="onelabel.pth: expected at least 7 rows"):
        assignment_from_file(path, TASKS, 7)
    with pytest.raises(ValueError, match="columns"):
        assignment_from_file(path, TASKS[:2], 6)


class Payload:
    """What a hostile file would contain."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_wrong_split_files_are_refused_and_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"labels_weights": Payload()}, "hostile.pth")
    with pytest.raises(ValueError, match="hostile.pth: expected a .pth file of plain tensors"):
        read_label_split("hostile.pth")
    assert not (tmp_path / "executed").exists()
    whole = write_split(tmp_path / "whole.pth", torch.ones(40, 3)).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("cut.pth", "empty.pth"):
        with pytest.raises(ValueError, match=name):
            read_label_split(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="none.pth"):
        read_label_split(tmp_path / "none.pth")
    torch.save({"weights": torch.ones(2, 3)}, "keys.pth")
    with pytest.raises(ValueError, match="weights"):
        read_label_split("keys.pth")
    with pytest.raises(ValueError, match="0 and 1"):
        read_label_split(write_split(tmp_path / "half.pth", torch.full((2, 3), 0.5)))


def test_withheld_labels_are_overwritten_everywhere():
    dataset = Tiny(9)
    partial = PartialLabels(dataset, assign("one_label", 9, TASKS))
    batch = partial.load([4, 0, 8])
    assert batch.index.tolist() == [4, 0, 8]
    for row, image in enumerate([4, 0, 8]):
        sample = partial[image]
        for column, task in enumerate(TASKS):
            target, valid = batch.targets[task][row], batch.valid[task][row]
            assert torch.equal(sample.valid[task], valid)
            assert target.dtype == partial.tasks[task].target_dtype
            torch.testing.assert_close(sample.targets[task], target, equal_nan=True)
            if partial.assignment.labeled[image, column]:
                assert batch.labeled[task][row] and valid.all()
                assert torch.equal(target, dataset[image].targets[task])
            else:
                assert not batch.labeled[task][row] and not valid.any()
                missing = target == IGNORE_INDEX if task == "semseg" else target.isnan()
                assert missing.all()


def test_rewriting_withheld_labels_changes_nothing():
    assignment = assign("one_label", 6, TASKS)
    shown = PartialLabels(Tiny(6), assignment).load(range(6))
    changed = PartialLabels(Tiny(6, secret=1.0), assignment).load(range(6))
    for task in TASKS:
        hidden = ~shown.labeled[task]
        before, after = shown.targets[task], changed.targets[task]
        torch.testing.assert_close(before[hidden], after[hidden], equal_nan=True)
        assert not torch.equal(before[~hidden], after[~hidden])


def test_single_task_baseline_keeps_only_its_labeled_images():
    full = assign("one_label", 9, TASKS)
    partial = PartialLabels(Tiny(9), full.select(("depth",)), drop_unlabeled=True)
    assert partial.tasks.names == ("depth",)
    assert partial.positions.tolist() == full.labeled[:, 1].nonzero().flatten().tolist()
    batch = partial.load(range(len(partial)))
    assert batch.labeled["depth"].all() and set(batch.targets) == {"depth"}
    assert torch.equal(batch.targets["depth"][:, 0, 0, 0], partial.positions + 1.0)
    assert partial.carries("depth").shape == (3,)
    with pytest.raises(IndexError):
        partial[3]
    with pytest.raises(ValueError, match="9 rows"):
        PartialLabels(Tiny(9), assign("full", 8, TASKS))


# --- dictionaries of names ---------------------------------------------------------------------

FIVE = ("semseg", "human_parts", "saliency", "edges", "normals")
NAMES = [f"2008_{i:06d}" for i in range(12)]


def by_task(rows=None):
    """A split as published: lists of NumPy strings by the authors' names of the tasks."""
    rows = rows or {"human_parts": [0, 1], "edge": [2, 3], "semseg": [4, 5, 0], "sal": [6, 7]}
    rows = {"normals": [8, 9], **rows}
    return {task: [np.str_(NAMES[i]) for i in numbers] for task, numbers in rows.items()}


def write_ids(path, content):
    array = np.empty((), dtype=object)
    array[()] = content
    np.save(path, array, allow_pickle=True)
    return path


def test_a_split_of_names_in_the_published_format(tmp_path):
    path = write_ids(tmp_path / "onelabel.npy", by_task())
    assert read_label_ids(path)["edges"] == (NAMES[2], NAMES[3])
    labeled = read_label_split(path, tasks=FIVE, ids=NAMES)
    assert labeled.shape == (12, 5) and labeled.dtype == torch.bool
    assert labeled.sum(dim=0).tolist() == [3, 2, 2, 2, 2]
    assert labeled[0].tolist() == [True, True, False, False, False]
    assert labeled[3].tolist() == [False, False, False, True, False]
    assert not labeled[10:].any()
    carries = {"human_parts": torch.arange(12) < 2}
    assignment = assignment_from_file(path, FIVE, 5, ids=NAMES, carries=carries)
    assert len(assignment) == 5 and assignment.counts["saliency"] == 0
    reverse = read_label_split(path, tasks=FIVE, ids=NAMES[::-1])
    assert torch.equal(reverse, labeled.flip(0))


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_files_of_older_and_newer_numpy_are_read(tmp_path, module, protocol):
    content = {**by_task(), "normals": np.array(NAMES[8:10])}
    array = np.empty((), dtype=object)
    array[()] = content
    blob = pickle.dumps(array, protocol=protocol)
    if protocol < 4:
        assert b"numpy._core.multiarray" in blob
        blob = blob.replace(b"numpy._core.multiarray", module.encode())
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        file.write(blob)
    if protocol == 2:  # encodes bytes by a call of _codecs
        with pytest.raises(ValueError, match="_codecs.encode is neither of text"):
            read_label_ids(tmp_path / "a.npy")
    else:
        assert read_label_ids(tmp_path / "a.npy")["normals"] == (NAMES[8], NAMES[9])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Payload(), r"mkdir is neither of text"),
        ({"semseg": Payload()}, r"mkdir is neither of text"),
        ({"semseg": np.array([Payload()], dtype=object)}, "mkdir is neither"),
        ({"semseg": [torch.Tensor]}, "torch.*Tensor is neither"),
        ({"semseg": [print]}, "print is neither"),
        (["a"], "found a list"),
        ({}, "found a dict"),
        ({"semseg": "abc"}, "found a str for 'semseg'"),
        ({"semseg": [1, 2]}, "found a list for 'semseg'"),
        ({3: ["a"]}, "for '3'"),
        ({"semseg": ["a", "a"]}, "'semseg', found 'a' twice"),
        ({"sal": ["a"], "saliency": ["b"]}, "found 'saliency' twice"),
        ({"semseg": np.datetime64("2020-01-01")}, "datetime64"),
    ],
)
def test_wrong_dictionaries_are_refused_and_never_executed(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    path = write_ids(tmp_path / "split.npy", content)
    with pytest.raises(ValueError, match=rf"split\.npy: expected .*{words}.*; use"):
        read_label_ids(path)
    assert not (tmp_path / "executed").exists()


def test_damaged_dictionaries_are_refused(tmp_path):
    path = write_ids(tmp_path / "split.npy", by_task())
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 5, 60, 128, 140, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"split\.npy: expected"):
            read_label_ids(path)
    for _ in range(400):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_label_ids(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: expected")
    np.save(path, np.zeros(3))
    with pytest.raises(ValueError, match=r"an array of float64 and shape \(3,\)"):
        read_label_ids(path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tasks": (), "ids": NAMES}, "pass tasks and ids"),
        ({"tasks": FIVE, "ids": ()}, "pass tasks and ids"),
        ({"tasks": FIVE[:4], "ids": NAMES}, "expected labels of .* found .*normals"),
        ({"tasks": (*FIVE, "depth"), "ids": NAMES}, "expected labels of .*depth"),
        ({"tasks": FIVE, "ids": NAMES[:9]}, "'2008_000000', found '2008_000009' for 'normals'"),
        ({"tasks": FIVE, "ids": NAMES + NAMES[:1]}, "every name once, got 1 again"),
    ],
)
def test_a_split_of_another_data_set_is_refused(tmp_path, given, words):
    path = write_ids(tmp_path / "split.npy", by_task())
    with pytest.raises(ValueError, match=words):
        read_label_split(path, **given)


def test_labels_go_only_to_images_that_can_carry_them(tmp_path):
    path = write_ids(tmp_path / "split.npy", by_task())
    able = {"human_parts": torch.arange(12) == 0}
    with pytest.raises(ValueError, match="'human_parts' only .* found '2008_000001' and 0 more"):
        read_label_split(path, tasks=FIVE, ids=NAMES, carries=able)
