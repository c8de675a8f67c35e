"""PASCAL-Context on a small tree written in exactly the format of PASCAL_MT."""

import json

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from mtpsl.data import DATASETS, find_class, open_dataset, recognize
from mtpsl.data.dataset import EvalLoader
from mtpsl.data.readers import PUBLISHED
from mtpsl.data.readers.pascal import (
    FOLDERS,
    PART_ID,
    PARTS_OF,
    WITH_NORMALS,
    PascalContext,
    edges_of,
    read_objects,
)
from mtpsl.data.readers.report import check_folder as report
from mtpsl.data.scenes.people21 import People21
from mtpsl.engine import evaluate
from mtpsl.losses import IGNORE_INDEX
from mtpsl.methods.base import Method
from mtpsl.runs.data import bind_data
from mtpsl.runs.data import test_batches as scored_batches
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session
from mtpsl.tasks import HUMAN_PARTS

H, W = 40, 56
IDS = {
    "train": ("2008_000015", "2008_000008", "2009 später", "2010_000001"),
    "val": ("2008_1", "9"),
}
PEOPLE = ("2008_000008", "2009 später", "9")  # have parts
FAINT = "2010_000001"  # a person without parts
ENDINGS = {folders[0]: ending for folders, ending in FOLDERS.values()}
FALLBACK = ("2008_000008", "9")  # labels in semseg/pascal-context
WALL, PERSON, SKY, DOG = 440, 284, 360, 113


def box(top, bottom, left, right):
    mask = np.zeros((H, W), dtype=np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def structure(objects):
    """``anno`` as PASCAL-Part has it: nested struct arrays, (1, N) each."""
    part_type = [("part_name", object), ("mask", object)]
    types = [("class", object), ("class_ind", object), ("mask", object), ("parts", object)]
    listed = np.empty((1, len(objects)), dtype=types)
    for k, (name, kind, mask, parts) in enumerate(objects):
        inner = np.zeros((0, 0))
        if parts:
            inner = np.empty((1, len(parts)), dtype=part_type)
            for i, part in enumerate(parts.items()):
                inner[0, i] = part
        listed[0, k] = (name, kind, mask, inner)
    anno = np.empty((1, 1), dtype=[("imname", object), ("objects", object)])
    anno[0, 0] = ("name", listed)
    return {"anno": anno}


def objects_of(name):
    found = [
        ("dog", 12, box(30, 40, 0, 20), {"head": box(30, 34, 0, 8), "tail": box(36, 38, 0, 4)})
    ]
    if name in PEOPLE:
        parts = {
            "hair": box(4, 6, 20, 30),
            "torso": box(8, 20, 18, 32),
            "rlarm": box(8, 12, 18, 22),
        }
        found.append(("person", 15, box(4, 36, 18, 34), parts))
        found.append(("person", 15, box(2, 8, 40, 50), {"lfoot": box(6, 8, 40, 44)}))
    if name == FAINT:
        found.append(("person", 15, box(4, 8, 18, 22), {}))
    return found


def arrays(name):
    rng = np.random.default_rng([*name.encode()])
    contexts = np.full((H, W), WALL, dtype=np.uint16)
    contexts[: H // 2, W // 2 :] = SKY
    contexts[H // 2 :, : W // 2] = PERSON
    semseg = rng.integers(0, 21, (H, W), dtype=np.uint8)
    semseg[0, 0] = 255
    normal = rng.normal(size=(H, W, 3)) - [0, 0, 2]
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    normals = np.round((normal + 1) * 255 / 2).astype(np.uint8)
    normals[H - 1, 3] = 127, 128, 127  # no direction
    saliency = rng.integers(0, 256, (H, W), dtype=np.uint8)
    saliency[0, :2] = 127, 128
    return {
        "JPEGImages": np.full((H, W, 3), (200, 100, 50), dtype=np.uint8),
        "semseg/VOC12": semseg,
        "normals_distill": normals,
        "sal_distill": saliency,
        "pascal-context/trainval": {"LabelMap": contexts},
        "human_parts": structure(objects_of(name)),
    }, normal


def path_of(root, folder, name):
    if folder == "semseg/VOC12" and name in FALLBACK:
        folder = "semseg/pascal-context"
    return root / folder / f"{name}{ENDINGS.get(folder, '.png')}"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        scipy.io.savemat(path, content, do_compression=True)
    else:
        Image.fromarray(content).save(path, **({"quality": 100} if path.suffix == ".jpg" else {}))


def write_tree(root, people=True):
    root = root / "PASCAL_MT"
    for split, names in IDS.items():
        lists = root / "ImageSets"
        for kind in ("Context", "Parts"):
            (lists / kind).mkdir(parents=True, exist_ok=True)
        (lists / "Context" / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        if people:
            table = {n: [kind for _, kind, _, _ in objects_of(n)] for n in names}
            (lists / "Parts" / f"{split}.txt").write_text(json.dumps(table))
        for name in names:
            for folder, content in arrays(name)[0].items():
                write(path_of(root, folder, name), content)
    return root


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "mes données")


def pascal(root, split="train", **changes):
    return PascalContext(split, **{"height": H, "width": W, "root": root, **changes})


def test_reads_the_published_layout(tree):
    dataset = pascal(tree)
    assert len(dataset) == 4 and len(pascal(tree, "test")) == 2
    assert dataset.ids == IDS["train"] and pascal(tree, "test").ids == IDS["val"]
    assert dataset.name == "pascal_context" and not dataset.stand_in
    for index, name in enumerate(dataset.ids):
        sample, (files, _) = dataset[index], arrays(name)
        color = torch.tensor([200, 100, 50]) / 255
        assert sample.image.shape == (3, H, W)
        torch.testing.assert_close(sample.image.mean(dim=(1, 2)), color, atol=0.01, rtol=0)
        semseg = sample.targets["semseg"]
        assert semseg.dtype == torch.int64
        assert np.array_equal(semseg[0], files["semseg/VOC12"])
        assert torch.equal(sample.valid["semseg"], semseg != IGNORE_INDEX)
        salient = sample.targets["saliency"][0]
        assert salient[0, :2].tolist() == [0, 1]
        assert np.array_equal(salient, files["sal_distill"] > 127.5)
        assert sample.valid["saliency"].all() and sample.valid["edges"].all()


def test_normals_count_where_rooms_teach_them(tree):
    sample, (files, exact) = pascal(tree)[0], arrays(IDS["train"][0])
    contexts = files["pascal-context/trainval"]["LabelMap"]
    known = np.isin(contexts, (WALL, PERSON))
    known[H - 1, 3] = False
    valid = sample.valid["normals"][0]
    assert np.array_equal(valid, known) and 0 < known.sum() < known.size
    normals = sample.targets["normals"]
    assert normals[:, ~valid].isnan().all()
    torch.testing.assert_close(normals[:, valid].norm(dim=0), torch.ones(int(valid.sum())))
    off = normals[:, valid].double().numpy() - exact[known].T
    assert np.abs(off).max() < 0.01  # of 8 bits, and of 16 in memory


def test_contexts_whose_normals_count():
    assert len(WITH_NORMALS) == len(set(WITH_NORMALS)) == 170
    assert {WALL, PERSON, DOG, 68, 72, 158, 397, 59, 23, 427} <= set(WITH_NORMALS)
    assert not {SKY, 2, 25, 31, 45, 98, 187, 207, 258, 324, 347, 416, 420, 431} & set(WITH_NORMALS)


def test_human_parts(tree):
    dataset = pascal(tree)
    for index, name in enumerate(dataset.ids):
        parts, valid = dataset[index].targets["human_parts"], dataset[index].valid["human_parts"]
        if name not in PEOPLE:
            assert (parts == IGNORE_INDEX).all() and not valid.any()
            continue
        expected = np.zeros((H, W), dtype=np.int64)
        expected[4:6, 20:30] = HUMAN_PARTS.index("head")
        expected[8:20, 18:32] = HUMAN_PARTS.index("torso")
        expected[8:12, 18:22] = HUMAN_PARTS.index("lower arm")
        expected[6:8, 40:44] = HUMAN_PARTS.index("lower leg")
        assert np.array_equal(parts[0], expected) and valid.all()


def test_part_names():
    assert len(PART_ID) == 24 and set(PARTS_OF) == set(HUMAN_PARTS[1:])
    assert (PART_ID["lhand"], PART_ID["rfoot"], PART_ID["neck"], PART_ID["lear"]) == (4, 6, 2, 1)


@pytest.mark.parametrize("listed", [True, False])
def test_who_can_carry_human_parts(tmp_path, listed):
    root = write_tree(tmp_path, people=listed)
    dataset = pascal(root)
    expected = [name in (*PEOPLE, FAINT) for name in IDS["train"]]
    assert dataset.carries("human_parts").tolist() == expected == [False, True, True, True]
    assert pascal(root, images=2).carries("human_parts").tolist() == expected[:2]
    assert pascal(root, "test").carries("human_parts").tolist() == [False, True]
    assert dataset.carries("semseg").all() and len(dataset.carries("edges")) == 4
    with pytest.raises(KeyError):
        dataset.carries("parts")


def test_edges_are_thin_lines_between_contexts(tree):
    edges = pascal(tree)[0].targets["edges"][0]
    expected = torch.zeros(H, W)
    near = torch.zeros(H, W)
    near[H // 2 - 1 : H // 2 + 1] = near[:, W // 2 - 1 : W // 2 + 1] = 1  # both sides differ
    assert (edges <= near).all()
    assert (edges[5:15].sum(dim=1) == 1).all() and (edges[-10:].sum(dim=1) == 1).all()
    assert (edges[:, 5:20].sum(dim=0) == 1).all() and (edges[:, -15:-5].sum(dim=0) == 1).all()
    assert torch.equal(edges_of(torch.full((H, W), 7)), expected[None])


def test_another_size_is_resized(tree):
    sample, whole = pascal(tree, height=H // 2, width=W // 2)[1], pascal(tree)[1]
    for task in PascalContext.tasks:
        assert sample.targets[task.name].shape == (task.target_channels, H // 2, W // 2)
    for name in ("semseg", "human_parts", "saliency", "edges"):
        assert torch.equal(sample.targets[name], whole.targets[name][:, 1::2, 1::2])
    length = sample.targets["normals"].norm(dim=0)[sample.valid["normals"][0]]
    torch.testing.assert_close(length, torch.ones_like(length))
    assert pascal(tree, height=64, width=64)[0].image.shape == (3, 64, 64)
    assert PascalContext("test", root=tree).height == 512


def test_a_saliency_map_of_another_size(tree):
    path = path_of(tree, "sal_distill", IDS["train"][0])
    small = np.zeros((H // 2, W // 2), dtype=np.uint8)
    small[:, W // 4 :] = 255
    write(path, small)
    assert pascal(tree)[0].targets["saliency"][0].mean(dim=0).tolist() == [0] * 28 + [1] * 28
    write(path, np.zeros((W, H), dtype=np.uint8))
    with pytest.raises(
        ValueError, match=r"expected the proportions of its image, 40 x 56, found 56"
    ):
        pascal(tree)[0]


def test_the_tasks_are_those_of_the_stand_in(tree):
    assert PascalContext.tasks == People21.tasks == DATASETS["pascal_context"].tasks
    assert PascalContext.tasks["semseg"].class_names == tuple(PUBLISHED["pascal_context"].classes)
    (batch,) = EvalLoader(pascal(tree, "test"), 8)
    for task in PascalContext.tasks:
        target, valid = batch.targets[task.name], batch.valid[task.name]
        assert target.dtype == task.target_dtype
        assert target.shape == (2, task.target_channels, H, W)
        hole = target[~valid.expand_as(target)]
        assert (hole == IGNORE_INDEX if task.kind == "classes" else hole.isnan()).all()


def test_layout_is_recognized(tree, tmp_path):
    assert recognize(tree) == recognize(tree.parent) == "pascal_context"
    assert len(open_dataset("pascal_context", "test", height=8, width=8, root=tree.parent)) == 2
    for name in ("nyud", "cityscapes"):
        words = f"expected the folder of {name}, found that of pascal_context; name another folder"
        with pytest.raises(ValueError, match=words):
            open_dataset(name, "train", height=H, width=W, root=tree)
    with pytest.raises(FileNotFoundError, match="expected PASCAL_MT with JPEGImages .* found mes"):
        pascal(tmp_path)


def test_the_first_images_and_wrong_arguments(tree):
    few = pascal(tree, images=2)
    assert len(few) == len(few.ids) == 2 and torch.equal(few[1].image, pascal(tree)[1].image)
    assert len(pascal(tree, images=400)) == 4
    with pytest.raises(IndexError, match=r"\[0, 2\), got 2"):
        few[2]
    for wrong in ({"images": 0}, {"split": "val"}):
        with pytest.raises(ValueError, match="expected"):
            pascal(tree, **wrong)


def test_version_is_the_content_wherever_it_lies(tmp_path):
    a, b = write_tree(tmp_path / "a"), write_tree(tmp_path / "b")
    for root in (a, b):  # MATLAB files carry the time they were written at
        for path in root.rglob("*.mat"):
            path.write_bytes(b"-" * 128 + path.read_bytes()[128:])
    version = pascal(a).version
    assert version == pascal(b).version == pascal(b, "test", images=1).version
    assert version.startswith("pascal-mt-")
    path = path_of(b, "sal_distill", "9")
    path.write_bytes(path.read_bytes() + b" ")
    assert pascal(b).version != version


# --- damage -------------------------------------------------------------------------------------


def shorten(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_part(name, mask=None, kind=15):
    mask = box(1, 9, 1, 9) if mask is None else mask
    return structure([("person", kind, mask, {name: mask})])


@pytest.mark.parametrize(
    ("folder", "content", "words"),
    [
        ("JPEGImages", shorten, "damaged file"),
        ("JPEGImages", np.zeros((H, W), np.uint8), r"8-bit color\), found 8-bit gray"),
        ("semseg/VOC12", shorten, "damaged file"),
        ("semseg/VOC12", np.full((H, W), 21, np.uint8), "0 to 20, or 255 for void, found 21"),
        ("semseg/VOC12", np.zeros((H, W + 1), np.uint8), "40 x 56 pixels .* found 40 x 57"),
        ("semseg/VOC12", np.zeros((H, W, 3), np.uint8), "found 8-bit color"),
        ("normals_distill", shorten, "damaged file"),
        ("normals_distill", np.full((H, W, 3), 128, np.uint8), "vectors of the length 0.01"),
        ("normals_distill", np.zeros((H, W, 3), np.uint8), "vectors of the length 1.73"),
        ("normals_distill", np.zeros((H, W), np.uint8), "found 8-bit gray"),
        ("normals_distill", np.zeros((W, H, 3), np.uint8), "40 x 56 pixels .* found 56 x 40"),
        ("sal_distill", shorten, "damaged file"),
        ("sal_distill", np.zeros((H, W, 3), np.uint8), r"8-bit gray\), found 8-bit color"),
        ("pascal-context/trainval", shorten, "damaged or another file"),
        ("pascal-context/trainval", lambda p: p.write_bytes(b""), "damaged or another file"),
        ("pascal-context/trainval", {"labels": np.ones((H, W))}, "'LabelMap', found labels"),
        ("pascal-context/trainval", {"LabelMap": np.ones((H, 2))}, "40 x 56 .* found 40 x 2"),
        ("pascal-context/trainval", {"LabelMap": np.full((H, W), 460)}, r"\[0, 459\], found 460"),
        ("pascal-context/trainval", {"LabelMap": np.full((H, W), 1.5)}, "fractions"),
        ("pascal-context/trainval", {"LabelMap": np.full((H, W), np.nan)}, "found nan"),
        ("human_parts", shorten, "damaged or another file"),
        ("human_parts", {"anno": np.ones((2, 2))}, "another structure"),
        ("human_parts", {"parts": np.ones((2, 2))}, "'anno', found parts"),
        ("human_parts", with_part("wing"), "parts of a person .* found 'wing'"),
        ("human_parts", with_part("head", np.ones((W, H), np.uint8)), "40 x 56 .* found 56 x 40"),
    ],
)
def test_damage_is_named(tree, folder, content, words):
    path = path_of(tree, folder, IDS["train"][0])
    content(path) if callable(content) else write(path, content)
    dataset = pascal(tree)
    dataset[1]
    with pytest.raises(ValueError, match=rf"{path.name}: expected .*{words}"):
        dataset[0]


def test_parts_of_other_things_are_left_alone(tree):
    path = path_of(tree, "human_parts", IDS["train"][0])
    write(path, with_part("wing", kind=3))
    assert (pascal(tree)[0].targets["human_parts"] == IGNORE_INDEX).all()
    write(path, structure([]))
    assert read_objects(path) == []


@pytest.mark.parametrize("folder", ENDINGS)
def test_missing_files_are_named(tree, folder):
    dataset = pascal(tree)
    path = path_of(tree, folder, IDS["train"][0])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name}: expected a .*PASCAL_MT.tgz again"):
        pascal(tree, "test")
    with pytest.raises(FileNotFoundError, match=f"{path.name}: expected .* no such file"):
        dataset[0]
    if folder != "semseg/VOC12":
        (tree / folder).rename(tree / "elsewhere")
        with pytest.raises(FileNotFoundError, match="expected"):
            pascal(tree)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9\n9\n", "expected every image id once, found '9' twice"),
        ("9\n\n2008_1\n", "found none in line 2"),
        ("", "found an empty file"),
        ("2008_000008\n", "found '2008_000008' in both"),
        ("8\n", "8.png: expected a .png file for every name of ImageSets/Context"),
        (b"\xff\xfe\x00", "image ids as text"),
    ],
)
def test_wrong_lists_are_named(tree, text, words):
    path = tree / "ImageSets/Context/val.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        pascal(tree)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"val\.txt: expected a list of image ids"):
        pascal(tree)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "JSON with a list"),
        ("[1]", "another structure"),
        ('{"2008_000015": [1]}', "an entry for 2008_000008, found none; delete the file"),
    ],
)
def test_a_wrong_list_of_people_is_named(tree, text, words):
    (tree / "ImageSets/Parts/train.txt").write_text(text)
    dataset = pascal(tree)
    with pytest.raises(ValueError, match=rf"Parts/train\.txt: expected .*{words}"):
        dataset.carries("human_parts")
    text, ok = report(tree)
    assert not ok and "by train.txt" not in text and "problems: 1" in text


# --- the report ---------------------------------------------------------------------------------


def test_report(tree):
    text, ok = report(tree)
    assert ok and text.endswith("problems: none")
    assert text.startswith("PASCAL-Context as PASCAL_MT:") and "version pascal-mt-" in text
    assert "train: 4 images (published: 4998); 4 of them read" in text
    assert "test: 2 images (published: 5105); 2 of them read" in text
    assert "people in 3 images (75 %), by train.txt" in text
    assert "labels: 3 of VOC12, 1 of pascal-context" in text
    assert "sizes        40x56" in text
    assert "human_parts  in 2 of 4 images (PASCAL-Context: 25 to 35, unusual)" in text
    assert "normals      in 4 of 4 images; 2" in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert set(PUBLISHED["pascal_context"].classes) <= set(lines) and lines["cow"][-1] == "unusual"


def test_report_lists_every_damage(tree):
    path_of(tree, "sal_distill", IDS["train"][1]).write_bytes(b"")
    write(path_of(tree, "normals_distill", "9"), np.zeros((H, W, 3), np.uint8))
    text, ok = report(tree)
    assert not ok and "problems: 2" in text and "3 of them read" in text
    for words in ("2008_000008.png: expected a picture", "9.png: expected unit normals"):
        assert words in text
    text, ok = report(tree, images=1)
    assert ok and report(tree, images=1, read_all=True)[1] is False
    path_of(tree, "JPEGImages", "9").unlink()
    (tree / "ImageSets/Parts/train.txt").unlink()
    text, ok = report(tree)
    assert not ok and text.count("cannot be read") == 2 and "problems: 1" in text


# --- an experiment ------------------------------------------------------------------------------


def test_an_experiment_end_to_end(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("MTPSL_PROGRESS", "0")
    experiment = Experiment(
        dataset="people21",
        tasks=PascalContext.tasks.names,
        label_setting="random_labels",
        height=32,
        width=32,
        width_factor=0.125,
        train_images=4,
        test_images=2,
        epochs=1,
        batch_size=2,
    )
    bound = bind_data(experiment, tree)
    assert bound.dataset == "pascal_context" == find_class("people21").stands_for
    record = run(experiment, Session(RunStore(tmp_path / "runs"), "cpu", tree))
    assert record.data == {
        "name": "pascal_context",
        "version": pascal(tree).version,
        "stand_in": False,
    }
    assert set(record.labels["counts"]) == set(PascalContext.tasks.names)
    assert record.labels["counts"]["human_parts"] <= 3
    assert all(np.isfinite(v) for v in record.metrics["test"].values())
    assert bound.score_size == "file"
    assert bind_data(experiment.replace(score_size="network"), tree).score_size == "network"
    assert bind_data(experiment.replace(dataset="streets7"), tree).dataset == "streets7"
    with pytest.raises(ValueError, match="folder of cityscapes, found that of pascal_context"):
        open_dataset("cityscapes", "train", height=32, width=32, root=tree)


class Oracle(Method):
    """Says at 32x32 what the files of two images say there, whatever it is shown."""

    def __init__(self, dataset):
        super().__init__()
        self.tasks, self.dataset, self.asked = dataset.tasks, dataset, 0
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, *views, progress):
        return {}

    def predict(self, images):
        assert images.shape == (1, 3, 32, 32)
        batch, said = self.dataset.load([self.asked]), {}
        self.asked += 1
        for task in self.tasks:
            target = batch.targets[task.name]
            if task.kind == "classes":
                ids = torch.where(batch.valid[task.name], target, 0)
                said[task.name] = torch.nn.functional.one_hot(ids[:, 0], task.channels).movedim(
                    -1, 1
                )
            else:
                said[task.name] = target.nan_to_num(0.5)
                if task.kind == "binary":
                    said[task.name] = (target - 0.5) * 20  # logits
        return said


def test_predictions_are_scored_at_the_size_of_the_files(tree):
    experiment = Experiment(
        dataset="people21", tasks=PascalContext.tasks.names, height=32, width=32, test_images=2
    )
    bound = bind_data(experiment, tree)
    batches = list(scored_batches(bound, Session(device="cpu", data_root=tree)))
    assert [len(batch) for batch in batches] == [1, 1]
    files_of = pascal(tree, "test")  # at the size of its files
    for index, batch in enumerate(batches):
        assert batch.images.shape == (1, 3, 32, 32)
        for name in files_of.tasks.names:
            target, valid = files_of[index].targets[name], files_of[index].valid[name]
            assert torch.equal(batch.targets[name][0].nan_to_num(), target.nan_to_num())
            assert torch.equal(batch.valid[name][0], valid)
    small = pascal(tree, "test", height=32, width=32)
    there = evaluate(Oracle(small), scored_batches(bound, Session(device="cpu", data_root=tree)))
    here = evaluate(Oracle(small), EvalLoader(small, 1))
    assert here["semseg/pixel_acc"] == 1  # resized noise is not the noise
    assert 1 / 21 < there["semseg/pixel_acc"] < 0.8
    assert here["human_parts/miou"] == 1 > there["human_parts/miou"] > 0.5
    assert here.keys() == there.keys() and np.isfinite(list(there.values())).all()


def test_stand_ins_have_no_files_to_score_at():
    experiment = Experiment(dataset="people21", test_images=1, score_size="file")
    with pytest.raises(ValueError, match="score_size: expected 'network' on people21"):
        scored_batches(experiment.replace(height=32, width=32), Session())
