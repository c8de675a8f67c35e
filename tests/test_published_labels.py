"""A published label-split file beside the data decides who keeps which label."""

import pytest
import test_pascal_context as pascal
import torch
from test_labels import write_ids
from test_nyud import write_tree

from mtpsl.data.labels import assignment_from_file, find_label_file
from mtpsl.data.readers.report import check
from mtpsl.runs.data import bind_data, label, open_split
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session

TINY = Experiment(
    height=32, width=32, width_factor=0.125, train_images=4, test_images=2, epochs=1, batch_size=2
)
ROWS = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])


@pytest.fixture
def tree(tmp_path):
    write_tree(tmp_path / "data")
    (tmp_path / "data/label_splits").mkdir()
    write_split(tmp_path / "data/label_splits/onelabel.pth", ROWS)
    return tmp_path / "data"


def write_split(path, rows):
    torch.save({"labels_weights": rows.float()}, path)


def test_its_rows_are_the_labels(tree):
    bound = bind_data(TINY, tree)
    images = open_split(bound, "train", Session(data_root=tree))
    _, assignment = label(bound, images, Session(data_root=tree))
    assert torch.equal(assignment.labeled, ROWS[:4].bool())  # of the first images
    assert assignment.setting == "file"
    single, _ = label(bound.replace(tasks=("depth",)), images, Session(data_root=tree))
    assert single.positions.tolist() == [0, 3]


def test_the_key_knows_the_content_not_the_place(tree, tmp_path):
    bound = bind_data(TINY, tree)
    assert len(bound.label_args["file"]) == 12
    other = tree.rename(tmp_path / "elsewhere")
    assert bind_data(TINY, other).key == bound.key
    write_split(other / "label_splits/onelabel.pth", ROWS.flip(0))
    assert bind_data(TINY, other).key != bound.key
    with pytest.raises(ValueError, match=r"digest [0-9a-f]{12}\.\.\. .* put the file back"):
        label(bound, open_split(bound, "train", Session(data_root=other)), Session(data_root=other))
    with pytest.raises(ValueError, match="found none; name that folder"):
        label(bound, open_split(bound, "train", Session(data_root=other)))


def test_other_settings_and_stand_ins_are_drawn(tree):
    for setting in ("random_labels", "full"):
        assert not bind_data(TINY.replace(label_setting=setting), tree).label_args
    streets = bind_data(TINY.replace(dataset="streets7", tasks=("semseg", "depth")), tree)
    assert streets.dataset == "streets7" and not streets.label_args
    few = TINY.replace(label_setting="few_shot", label_args={"task": "depth", "shots": 2})
    assert bind_data(few, tree).label_args == {"task": "depth", "shots": 2}


def test_a_teacher_learns_from_the_same_file(tree):
    student = TINY.replace(method="hitts", teacher=TINY.replace(method="hitts"))
    bound = bind_data(student, tree)
    assert bound.label_args == bound.teacher.label_args != {}


def test_a_run_records_it(tree, tmp_path):
    record = run(TINY, Session(RunStore(tmp_path / "runs"), "cpu", tree))
    bound = bind_data(TINY, tree)
    _, assignment = label(
        bound, open_split(bound, "train", Session(data_root=tree)), Session(data_root=tree)
    )
    assert record.labels["hash"] == assignment.hash
    assert record.labels["counts"] == {"semseg": 1, "depth": 2, "normals": 1}
    assert record.experiment["label_args"] == bound.label_args


def test_two_files_for_a_setting_are_refused(tree):
    write_split(tree / "label_splits/nyuv2_onelabel.pth", ROWS)
    with pytest.raises(ValueError, match="expected one file for one_label, found nyuv2_onelabel"):
        find_label_file(tree, "one_label")
    assert find_label_file(tree, "random_labels") is None


def test_rows_count_the_files_of_the_preprocessed_layout(tree):
    """Another layout has another order, in which these rows would mean other images."""
    path = find_label_file(tree, "one_label")
    tasks = ("semseg", "depth", "normals")
    assert len(assignment_from_file(path, tasks, 2, ids=["0", "1", "2"])) == 2
    with pytest.raises(ValueError, match="numbered as its rows are.*found 'a'; use it with"):
        assignment_from_file(path, tasks, 2, ids=["a", "1", "2"])


def test_a_file_of_names(tmp_path):
    pascal.write_tree(tmp_path)
    ids = pascal.IDS["train"]
    content = {"human_parts": [], "normals": ids[:1], "edge": [], "semseg": ids[1:], "sal": []}
    (tmp_path / "label_splits").mkdir()
    write_ids(tmp_path / "label_splits/randomlabels.npy", content)
    experiment = TINY.replace(
        dataset="people21",
        tasks=("normals", "semseg"),
        label_setting="random_labels",
        train_images=2,
        height=16,
        width=16,
    )
    bound = bind_data(experiment, tmp_path)
    images = open_split(bound, "train", Session(data_root=tmp_path))
    _, assignment = label(bound, images, Session(data_root=tmp_path))
    assert assignment.select(("normals", "semseg")).labeled.tolist() == [
        [True, False],
        [False, True],
    ]
    assert assignment.counts["edges"] == 0


def test_the_report_on_a_folder_counts_them(tree):
    text, fine = check(tree)
    assert "one_label as in onelabel.pth: semseg 2, depth 2, normals 1 of 5 images" in text
    assert fine
    write_split(tree / "label_splits/onelabel.pth", ROWS[:3])
    text, fine = check(tree)
    assert "problems: 1\n- " in text and "expected at least 5 rows" in text and not fine
    assert "problems: none" not in text
