"""A folder of one's own: what is read of it, what a missing file means, and what is refused."""

import json
import shutil
import unicodedata

import numpy as np
import own_trees
import pytest
import torch
from own_trees import TASKS, TRAIN, H, W, content, write_own
from PIL import Image

import mtpsl.__main__ as cli
from mtpsl.data import DATASETS, open_dataset, recognize
from mtpsl.data.dataset import EvalLoader
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.readers.disk import OURS, axes_name
from mtpsl.data.readers.own import OPTIONS, Own, read_description, to_axes
from mtpsl.data.readers.own_files import describe, read_photo, write_split
from mtpsl.data.readers.report import check, write_sheet
from mtpsl.runs.data import bind_data, experiment_on, label, open_split, tasks_of
from mtpsl.runs.experiment import Experiment, write_experiment
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session
from mtpsl.tasks import HUMAN_PARTS

SMALL = {"height": 32, "width": 32, "width_factor": 0.125, "epochs": 1, "batch_size": 4, "lr": 1e-3}


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MTPSL_PROGRESS", "0")
    monkeypatch.setenv("MTPSL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def read_all(root):
    """Every image of both splits, at the size of its files."""
    for split in ("train", "test"):
        dataset = Own(split, root=root)
        for index in range(len(dataset)):
            dataset.read(index)


def refusal(act):
    """The message of what ``act`` raises: one sentence that says what to do."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text and ": expected " in text and ", found " in text
    return text


# --- what is read ------------------------------------------------------------------------------


def test_files_become_targets(tmp_path):
    dataset = Own("train", root=write_own(tmp_path))
    assert dataset.ids == tuple(sorted(TRAIN)) and dataset.tasks.names == TASKS
    assert dataset.tasks["semseg"].class_names == own_trees.CLASSES
    assert dataset.tasks["human_parts"].class_names == HUMAN_PARTS
    sample, raw = dataset.read(dataset.ids.index("g")), content("g", "train")
    image = (sample.image * 255).round().movedim(0, -1).numpy()
    assert np.array_equal(image, raw["image"])
    for task in ("semseg", "human_parts"):
        assert np.array_equal(sample.targets[task][0], raw[task])
        assert sample.targets[task].dtype == torch.int64
    assert torch.equal(sample.valid["semseg"][0], torch.from_numpy(raw["semseg"] != 255))
    known = raw["depth"] > 0
    assert np.array_equal(sample.valid["depth"][0], known)
    assert np.allclose(sample.targets["depth"][0][known], raw["depth"][known] / 1000)
    assert sample.targets["depth"][0, 0].isnan().all()
    assert np.allclose(sample.targets["normals"][:, 1:].movedim(0, -1), raw["normals"][1:])
    assert not sample.valid["normals"][0, 0].any() and sample.valid["normals"][0, 1:].all()
    assert np.array_equal(sample.targets["saliency"][0, 1:], raw["saliency"][1:] / 255)
    assert not sample.valid["saliency"][0, 0].any()
    assert np.array_equal(sample.targets["edges"][0], raw["edges"] / 255)


def test_a_missing_file_is_a_missing_label(tmp_path):
    dataset = Own("train", height=H, width=W, root=write_own(tmp_path))
    batch = dataset.load(range(len(dataset)))
    for number, name in enumerate(TRAIN):
        row = dataset.ids.index(name)
        for task in dataset.tasks:
            there = task.name not in own_trees.missing(number)
            assert bool(dataset.carries(task.name)[row]) == there
            assert bool(batch.labeled[task.name][row]) == there
            assert bool(batch.valid[task.name][row].any()) == there
            if not there:
                target = batch.targets[task.name][row]
                assert (
                    torch.equal(target, torch.full_like(target, task.missing))
                    or target.isnan().all()
                )
    with pytest.raises(KeyError, match="flow"):
        dataset.carries("flow")


def test_missing_labels_never_reach_a_loss(tmp_path):
    dataset = Own("train", height=H, width=W, root=write_own(tmp_path))
    able = {t: dataset.carries(t) for t in dataset.tasks.names}
    assignment = assign("full", len(dataset), dataset.tasks.names, carries=able)
    assert assignment.counts == dict.fromkeys(TASKS, len(TRAIN) - 1)
    batch = PartialLabels(dataset, assignment).load(range(len(dataset)))
    for task in dataset.tasks:
        shape = (len(dataset), task.channels, H, W)
        prediction = task.activate(torch.ones(shape)).requires_grad_()
        loss = task.loss(prediction, batch.targets[task.name], batch.mask(task.name))
        (gradient,) = torch.autograd.grad(loss.sum(), prediction)
        (bare,) = (~able[task.name]).nonzero().flatten().tolist()
        assert loss[bare] == 0 and not gradient[bare].any() and loss.sum() > 0


def test_missing_labels_do_not_count_in_metrics(tmp_path):
    dataset = Own("test", height=H, width=W, root=write_own(tmp_path))
    row = {"semseg": 0, "depth": 1}  # the image without it
    generator = torch.Generator().manual_seed(0)
    (batch,) = EvalLoader(dataset, batch_size=8)
    for name, bare in row.items():
        task = dataset.tasks[name]
        shape = (2, task.channels, H, W)
        prediction, found = torch.rand(shape, generator=generator), []
        for junk in (0.0, 9.0):
            prediction[bare] = junk
            metric = task.metric()
            metric.update(prediction, batch.targets[name], batch.mask(name))
            found.append(metric.compute())
        assert found[0] == found[1] and all(np.isfinite(list(found[0].values())))


def test_names_are_matched_however_they_are_written(tmp_path):
    write_own(tmp_path, tasks=("semseg", "depth"), train=("ä b", "é", "c"))
    place = tmp_path / "train/semseg"
    (place / "é.png").rename(place / unicodedata.normalize("NFD", "é.PNG"))
    (tmp_path / "train/image/.DS_Store").write_bytes(b"hidden")
    dataset = Own("train", root=tmp_path)
    assert dataset.ids == ("c", "ä b", "é")
    assert dataset.carries("semseg").tolist() == [True, False, True]
    assert dataset.carries("depth").tolist() == [True, True, False]


def test_every_label_may_be_an_array(tmp_path):
    write_own(tmp_path)
    before = Own("train", root=tmp_path).read(6)
    for task in TASKS:
        path = tmp_path / f"train/{task}/g.png"
        if task == "normals":
            vectors = np.load(path.with_suffix(".npy"))
            path.with_suffix(".npy").unlink()
            Image.fromarray(((vectors + 1) * 127.5).round().astype(np.uint8)).save(path)
            continue
        with Image.open(path) as picture:
            array = np.array(picture)
        path.unlink()
        if task == "depth":
            array = (array / 1000).astype(np.float32)
        if task == "saliency":
            array[0] = 0
        if task in ("saliency", "edges"):
            array = array == 255
        np.save(path.with_suffix(".npy"), array)
    after = Own("train", root=tmp_path).read(6)
    for task in TASKS:
        rows = slice(1, None) if task == "saliency" else slice(None)
        ours, theirs = after.targets[task][:, rows], before.targets[task][:, rows]
        close = torch.isclose(ours.double(), theirs.double(), atol=0.01, equal_nan=True)
        assert close.all(), task


@pytest.mark.parametrize("stand_in", ["rooms13", "streets7", "people21"])
def test_what_is_written_is_read_again(tmp_path, stand_in):
    source = open_dataset(stand_in, "train", height=32, width=64, images=12)
    names = source.tasks.names
    able = {t: source.carries(t) for t in names}
    partial = PartialLabels(source, assign("random_labels", 12, names, carries=able))
    write_split(partial, tmp_path)
    write_split(open_dataset(stand_in, "test", height=32, width=64, images=6), tmp_path)
    dataset = Own("train", height=32, width=64, root=tmp_path)
    assert dataset.tasks.names == names
    ours, theirs = dataset.load(range(12)), partial.load(range(12))
    assert torch.allclose(ours.images, theirs.images, atol=0.5 / 255 + 1e-6)
    for task in source.tasks:
        t = task.name
        assert dataset.tasks[t].weight == task.weight and dataset.tasks[t].unit == task.unit
        assert torch.equal(dataset.carries(t), theirs.valid[t].flatten(1).any(1))
        assert torch.equal(ours.valid[t], theirs.valid[t])
        valid = theirs.valid[t].expand_as(theirs.targets[t])
        assert torch.allclose(
            ours.targets[t][valid].double(), theirs.targets[t][valid].double(), atol=2e-3
        )


def test_images_are_resized_when_they_are_loaded(tmp_path):
    dataset = Own("test", height=12, width=16, root=write_own(tmp_path))
    batch = dataset.load([0, 1])
    assert batch.images.shape == (2, 3, 12, 16)
    assert not batch.valid["semseg"][0].any() and batch.valid["semseg"][1].any()
    lengths = batch.targets["normals"].norm(dim=1, keepdim=True)[batch.valid["normals"]]
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3)
    assert torch.equal(dataset.load([1]).images[0], batch.images[1])  # from memory


def test_photographs_are_read_as_they_are_looked_at(tmp_path):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_photo(tmp_path / "turned.png"), np.rot90(pixels, -1))
    for mode in ("L", "P", "1", "RGBA", "LA"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / f"{mode}.png")
        assert read_photo(tmp_path / f"{mode}.png").shape == (2, 3, 3)
    clear = np.zeros((2, 3, 4), dtype=np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert "transparent" in refusal(lambda: read_photo(tmp_path / "clear.png"))
    Image.fromarray(clear[..., 0].astype(np.uint16)).save(tmp_path / "sixteen.png")
    assert "16-bit gray" in refusal(lambda: read_photo(tmp_path / "sixteen.png"))


def test_settings_change_what_files_mean(tmp_path):
    toml = '[depth]\ninverse = true\npng_scale = 0.5\nweight = 3\n[normals]\naxes = ["z","-y","x"]'
    write_own(tmp_path, tasks=("depth", "normals"), toml=toml)
    dataset = Own("train", root=tmp_path)
    raw, sample = content("g", "train"), dataset.read(dataset.ids.index("g"))
    assert np.allclose(sample.targets["depth"][0, 1:], raw["depth"][1:] * 0.5)
    x, y, z = raw["normals"][1:].transpose(2, 0, 1)[[2, 1, 0]]
    assert np.allclose(sample.targets["normals"][:, 1:], np.stack([x, -y, z]))
    assert dataset.tasks["depth"].unit == "" and dataset.tasks["depth"].weight == 3
    toml = "\ufeff[saliency]\nthreshold = 100\n[depth]"  # as some editors begin a file
    root = write_own(tmp_path / "other", tasks=("saliency", "depth"), toml=toml)
    gray = np.arange(H * W).reshape(H, W).astype(np.uint8)
    Image.fromarray(gray).save(root / "train/saliency/g.png")
    dataset = Own("train", root=root)
    sample = dataset.read(dataset.ids.index("g"))
    assert np.array_equal(sample.targets["saliency"][0], gray >= 100)
    assert sample.valid["saliency"].all()


def test_axes_by_name():
    assert to_axes(["x", "y", "z"]) == OURS
    for names in (["x", "-y", "-z"], ["z", "-x", "y"], ["-y", "z", "-x"]):
        assert axes_name(to_axes(names)) == f"({', '.join(names)})"


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("", "a table for each task"),
        ("[semseg", "TOML such as [depth]"),
        ("[depht]", "did you mean 'depth'?"),
        ("depth = 1", "a table [depth], found 1"),
        ("[semseg]", "a list of 2 to 255 different names, found none"),
        ('[semseg]\nclasses = ["a", "a"]', "different names, found ['a', 'a']"),
        ('[semseg]\nclasses = ["a", ""]', "different names"),
        ("[semseg]\nclasses = 13", "different names, found 13"),
        ('[depth]\nunit = "mm"', "settings of [depth] among"),
        ("[depth]\npng_scal = 1", "did you mean 'png_scale'?"),
        ("[depth]\npng_scale = 0", "a number above 0, found 0"),
        ("[depth]\npng_scale = nan", "a number above 0, found nan"),
        ("[depth]\ninverse = 1", "true or false, found 1"),
        ('[normals]\naxes = ["x", "y", "y"]', "with or without a sign"),
        ("[edges]\nthreshold = 0.5", "a whole number, 1 to 255, found 0.5"),
        ("[edges]\nweight = true", "a number above 0, found True"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path, toml, words):
    path = tmp_path / "mtpsl.toml"
    path.write_text(toml)
    said = refusal(lambda: read_description(path))
    assert words in said and said.startswith(str(path))


def test_a_description_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mtpsl.toml"
    assert "no such file" in refusal(lambda: read_description(path))
    path.write_bytes(b"\xff\xfe[depth]")
    assert str(path) in refusal(lambda: read_description(path))


def test_what_is_described_is_read_again(tmp_path):
    toml = own_trees.TOML.replace("[edges]", "[edges]\nweight = 50.0")
    dataset = Own("train", root=write_own(tmp_path, toml=toml))
    path = tmp_path / "again.toml"
    path.write_text(describe(dataset.tasks))
    assert read_description(path) == dataset.description
    assert set(dataset.description) == set(OPTIONS)


def picture(array, mode=None):
    return lambda path: Image.fromarray(array).convert(mode).save(path.with_suffix(".png"))


def array(values):
    def save(path):
        path.unlink()
        np.save(path.with_suffix(".npy"), values)

    return save


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


def with_value(task, value, dtype=np.float32):
    """The label of ``task`` in meters, or as it is, with one odd value in it."""
    values = np.full((H, W, 3) if task == "normals" else (H, W), 0.57735, dtype=dtype)
    values[5, 5] = value
    return array(values)


ids = np.zeros((H, W), dtype=np.uint8)


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("image/g.png", cut, "a damaged file"),
        ("image/g.png", lambda p: p.write_bytes(b""), "a damaged file"),
        ("image/g.png", picture(np.zeros((H, W + 2, 3), np.uint8)), "24 x 34 pixels as its image"),
        ("semseg/g.png", cut, "a damaged file"),
        ("semseg/g.png", picture(ids + 3), "class ids 0 to 2, or 255 for void, found 3"),
        ("semseg/g.png", picture(ids, "RGB"), "found 8-bit color; write ids, not colors"),
        ("semseg/g.png", picture(ids[1:]), "24 x 32 pixels as its image, found 23 x 32"),
        ("semseg/g.png", picture(ids + 255), "none in the whole file; remove it"),
        ("semseg/g.png", array(np.full((H, W), -1)), "found -1"),
        ("semseg/g.png", array(np.zeros((H, W))), "an integer type, found float64"),
        ("semseg/g.png", array(np.zeros((H, W, 1), int)), "the shape 24 x 32, found 24 x 32 x 1"),
        ("semseg/g.png", array(np.array([{}])), "a damaged file or objects"),
        ("human_parts/g.png", picture(ids + 7), "class ids 0 to 6"),
        ("depth/g.png", picture(ids + 9), "depth as 16-bit gray, found 8-bit gray"),
        ("depth/g.png", picture(ids.astype(np.uint16)), "none in the whole file"),
        ("depth/g.png", with_value("depth", np.nan), "found NaN; write 0 there"),
        ("depth/g.png", with_value("depth", np.inf), "found infinity; write 0 there"),
        ("depth/g.png", with_value("depth", -1), "found -1 to"),
        ("depth/g.png", with_value("depth", 1800), "to 1800; convert its unit"),
        ("depth/g.png", array(np.full((H, W), 1800)), "a float type, found int64"),
        ("normals/g.npy", with_value("normals", np.nan), "found NaN; write zeros there"),
        ("normals/g.npy", with_value("normals", 1e-3), "lengths from 0.00173 to 1"),
        ("normals/g.npy", with_value("normals", 2), "found a component of 2"),
        ("normals/g.npy", with_value("normals", 1), "lengths from 1 to 1.73"),
        ("normals/g.npy", array(np.zeros((H, W, 3))), "none in the whole file"),
        ("normals/g.npy", array(np.zeros((3, H, W))), "the shape 24 x 32 x 3, found 3 x 24 x 32"),
        ("normals/g.npy", array(np.ones((H, W, 3), int)), "a float type, found int64"),
        ("saliency/g.png", picture(ids + 1), "found values such as 1; multiply 1 by 255"),
        ("saliency/g.png", picture(ids + 128), "none in the whole file"),
        ("edges/g.png", array(np.full((H, W), 0.5)), "found values of float64 such as 0.5"),
        ("edges/g.png", array(np.full((H, W), np.nan)), "found values of float64 such as nan"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, file, damage, words):
    write_own(tmp_path)
    read_all(tmp_path)
    path = tmp_path / "train" / file
    damage(path)
    said = refusal(lambda: read_all(tmp_path))
    assert words in said and path.stem in said and path.parent.parent.name in said
    text, ok = check(tmp_path)
    assert not ok and said in text and "problems: 1" in text


def move(source, target):
    return lambda root: (root / source).rename(root / target)


def copy(source, target):
    return lambda root: (
        shutil.copytree(root / source, root / target)
        if (root / source).is_dir()
        else shutil.copy(root / source, root / target)
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: shutil.rmtree(root / "test"), "test/image: expected a folder of photographs"),
        (move("test/image", "test/images"), "test/image: expected a folder of photographs"),
        (move("train/normals", "train/normal"), "rename it (did you mean 'normals'?)"),
        (move("train/depth/g.png", "train/depth/gg.png"), "gg.png: expected an image of that name"),
        (move("train/image/g.png", "train/image/h.png"), "rename one"),
        (copy("train/image/g.png", "train/image/g.jpg"), "images named 'g', found g.jpg, too"),
        (copy("train/depth/g.png", "train/depth/g.npy"), "labels named 'g', found g.npy, too"),
        (copy("train/depth/g.png", "train/depth/g.tif"), "found the ending .tif; convert it"),
        (lambda root: (root / "train/image/note.txt").touch(), "found the ending .txt"),
        (lambda root: (root / "train/image/more").mkdir(), "found a folder; move it out"),
        (lambda root: (root / "train/image/a\nb.png").touch(), "'a\\nb.png'; rename it"),
        (lambda root: open(bytes(root / "train/depth") + b"/\xff.png", "w").close(), "udcff.png'"),
        (lambda root: (root / "train/image/l.png").symlink_to("gone"), "a link to no file"),
        (lambda root: shutil.rmtree(root / "train/edges"), "take [edges] out of mtpsl.toml"),
        (lambda root: (root / "mtpsl.toml").write_text("[flow]"), "[flow]"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, damage, words):
    write_own(tmp_path)
    damage(tmp_path)
    if words == "[flow]":
        words = "'flow'"
    said = refusal(lambda: read_all(tmp_path))
    assert words in said
    text, ok = check(tmp_path)
    assert not ok and said in text


def test_an_empty_folder_is_refused(tmp_path):
    write_own(tmp_path, test=())
    (tmp_path / "test/image").mkdir(parents=True)
    assert "a photograph, found an empty folder" in refusal(lambda: Own("test", root=tmp_path))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"split": "val"}, "one of \\['train', 'test'\\]"), ({"images": 0}, "at least 1")],
)
def test_wrong_arguments(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        Own(**({"split": "train", "root": write_own(tmp_path)} | arguments))


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_is_harmless_or_one_sentence(tmp_path, seed):
    rng = np.random.default_rng(seed)
    write_own(tmp_path / "sound", train=TRAIN[-2:], test=own_trees.TEST[-1:])
    for number in range(25):
        root = tmp_path / f"damaged {number}"
        shutil.copytree(tmp_path / "sound", root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        path = files[rng.integers(len(files))]
        data = bytearray(path.read_bytes())
        match rng.integers(4):
            case 0:
                path.write_bytes(data[: rng.integers(len(data))])
            case 1:
                for place in rng.integers(0, len(data), 5):
                    data[place] = rng.integers(256)
                path.write_bytes(data)
            case 2:
                path.write_bytes(files[rng.integers(len(files))].read_bytes())
            case _:
                path.unlink()
        try:
            read_all(root)
        except (ValueError, FileNotFoundError) as error:
            assert "\n" not in str(error) and str(root) in str(error), error
        check(root)  # never raises
        shutil.rmtree(root)


# --- as a data set among others ------------------------------------------------------------------


def test_it_is_registered_and_recognized(tmp_path):
    assert DATASETS["own"] is Own
    write_own(tmp_path)
    assert recognize(tmp_path) == "own"
    dataset = open_dataset("own", "test", height=H, width=W, root=tmp_path)
    assert isinstance(dataset, Own) and len(dataset) == len(own_trees.TEST)
    (tmp_path / "mtpsl.toml").unlink()
    said = refusal(lambda: open_dataset("own", "test", height=H, width=W, root=tmp_path))
    assert "mtpsl.toml" in said and "write it" in said


def test_the_version_is_that_of_the_content(tmp_path):
    root = write_own(tmp_path / "one")
    first = Own("train", root=root).version
    assert Own("test", height=8, width=8, images=1, root=root).version == first
    shutil.copytree(root, tmp_path / "two")
    assert Own("train", root=tmp_path / "two").version == first
    path = root / "train/normals/g.npy"
    values = np.load(path)
    values[H // 2, W // 2] = -values[H // 2, W // 2]
    np.save(path, values)  # of the same size, and in the middle
    changed = Own("train", root=root).version
    assert changed != first
    (root / "mtpsl.toml").write_text(own_trees.TOML + "weight = 2")
    assert Own("train", root=root).version not in (first, changed)
    (tmp_path / "two/test/edges/x.png").unlink()
    assert Own("train", root=tmp_path / "two").version != first


def test_the_report_says_what_is_there(tmp_path):
    write_own(tmp_path)
    (tmp_path / "test/edges/x.png").unlink()
    (tmp_path / "test/edges/y.png").unlink()
    text, ok = check(tmp_path)
    assert ok, text
    assert text.startswith(f"a folder of your own: {tmp_path}\nversion own-")
    assert "train: 7 images; 7 of them read" in text
    assert "semseg 6, depth 6, normals 6" in text and "all of them on 1 images, none on 0" in text
    assert "none of edges, so nothing will be measured of it" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert lines["lower"].endswith(" 100") and "never" not in lines["chair"]
    assert "sizes        24x32" in text and "median" in lines["depth"]
    assert "not looked at" not in text
    (tmp_path / "val").mkdir()
    assert "not looked at: val\n" in check(tmp_path)[0]
    shutil.copy(tmp_path / "train/image/c.png", tmp_path / "test/image/x.png")
    text, ok = check(tmp_path)
    assert not ok and "found the content of c.png" in text


def test_the_report_names_other_axes(tmp_path):
    source = open_dataset("rooms13", "train", height=48, width=64, images=3)
    write_split(source, tmp_path)
    write_split(open_dataset("rooms13", "test", height=48, width=64, images=1), tmp_path)
    assert "depth best as (x, y, z), as they should" in check(tmp_path)[0]
    for path in tmp_path.rglob("normals/*.npy"):
        np.save(path, np.load(path)[..., [2, 0, 1]] * np.float32([1, -1, 1]))
    assert 'axes = ["z", "-x", "y"] under [normals]' in check(tmp_path)[0]
    toml = tmp_path / "mtpsl.toml"
    sound = toml.read_text()
    toml.write_text(sound.replace("[normals]", '[normals]\naxes = ["x", "z", "y"]'))
    assert 'axes = ["z", "-x", "y"] under [normals]' in check(tmp_path)[0]
    toml.write_text(sound.replace("[normals]", '[normals]\naxes = ["z", "-x", "y"]'))
    assert "as they should" in check(tmp_path)[0]


def test_the_report_advises_axes_only_where_the_depth_proves_them(tmp_path):
    source = open_dataset("rooms13", "train", height=48, width=64, images=3)
    write_split(source, tmp_path)
    write_split(open_dataset("rooms13", "test", height=48, width=64, images=1), tmp_path)
    rng = np.random.default_rng(0)
    for path in tmp_path.rglob("normals/*.npy"):
        noise = rng.normal(size=np.load(path).shape).astype(np.float32)
        np.save(path, noise / np.linalg.norm(noise, axis=-1, keepdims=True))
    text, _ = check(tmp_path)
    assert "which proves nothing" in text and "under [normals]" not in text


def test_pictures_without_a_description_are_not_taken_for_another_data_set(tmp_path):
    root = write_own(tmp_path)
    (root / "mtpsl.toml").unlink()
    text, ok = check(root)
    assert not ok and "mtpsl.toml: expected one beside train/image with pictures" in text


def test_a_sheet_can_be_drawn(tmp_path):
    write_sheet(write_own(tmp_path / "own"), tmp_path / "sheet.png", width=32)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (7 * 32 + 6 * 4, 2 * 24 + 4)


# --- to a trained model --------------------------------------------------------------------------


def test_an_experiment_takes_everything_from_the_folder(tmp_path):
    root = write_own(tmp_path)
    experiment = experiment_on(root, **SMALL)
    assert experiment.tasks == TASKS and experiment.dataset == "own"
    assert (experiment.train_images, experiment.test_images) == (7, 2)
    assert experiment.data_version == Own("train", root=root).version
    again = Experiment.from_dict(json.loads(json.dumps(experiment.to_dict())))
    assert again == experiment and again.key == experiment.key
    assert tasks_of(again)["semseg"].class_names == own_trees.CLASSES
    _, assignment = label(experiment, open_split(experiment, "train", Session(data_root=root)))
    assert assignment.counts == dict.fromkeys(TASKS, 6)
    with pytest.raises(TypeError, match="learning_rate"):
        experiment_on(root, learning_rate=1)
    with pytest.raises(ValueError, match="tasks: expected some of .*got \\('flow',\\)"):
        experiment_on(root, tasks=("flow",))
    with pytest.raises(ValueError, match="the folder with mtpsl.toml, got none"):
        bind_data(Experiment(dataset="own"))


def test_left_out_images_are_said(tmp_path, capsys):
    experiment_on(write_own(tmp_path), train_images=3)
    assert "the first 3 of 7 train images are used; set train_images" in capsys.readouterr().err


def test_it_trains_and_notices_corrections(tmp_path):
    root = write_own(tmp_path / "my images", tasks=("semseg", "depth", "normals"))
    store = RunStore(tmp_path / "runs")
    settings = SMALL | {"method": "hitts"}
    teacher = experiment_on(root, **settings)
    args = {"pseudo_labels": True, "pseudo_features": True}
    student = experiment_on(
        root,
        **settings,
        method_args=args,
        teacher=teacher,
        thresholds=dict.fromkeys(teacher.tasks, "50%"),
    )
    record = run(student, Session(store, "cpu", root))
    assert record.data == {"name": "own", "version": teacher.data_version, "stand_in": False}
    assert record.labels["counts"] == {"semseg": 6, "depth": 6, "normals": 6}
    assert {"semseg/miou", "depth/rmse", "normals/mean_err"} <= set(record.metrics["test"])
    assert store.load(teacher.key) is not None
    with Image.open(root / "train/semseg/g.png") as file:
        ids = np.array(file)
    Image.fromarray((ids + 1) % 3 * (ids < 3)).save(root / "train/semseg/g.png")
    assert experiment_on(root, **settings).key != teacher.key  # in the same process
    with pytest.raises(ValueError, match="data_version: expected 'own-"):
        run(teacher.replace(seed=1), Session(store, "cpu", root))


def test_images_without_any_label_are_for_methods_that_can_use_them(tmp_path):
    root = write_own(tmp_path, tasks=("semseg", "depth"))
    for name in ("bare", "naked"):
        shutil.copy(root / "train/image/g.png", root / f"train/image/{name}.png")
    assert "all of them on 5 images, none on 2" in check(tmp_path)[0]
    for method, images in (("supervised", 7), ("hitts", 9)):
        experiment = experiment_on(root, **SMALL, method=method)
        partial, assignment = label(
            experiment, open_split(experiment, "train", Session(data_root=root))
        )
        assert (len(partial), len(assignment)) == (images, 9)
        store = RunStore(tmp_path / "runs")
        record = run(experiment, Session(store, "cpu", root))
        assert record.labels["images"] == images
    with pytest.raises(ValueError, match="a task for every image"):
        run(experiment.replace(label_setting="one_label"), Session(store, "cpu", root))


def test_all_six_tasks_train(tmp_path):
    root = write_own(tmp_path / "own")
    record = run(experiment_on(root, **SMALL), Session(RunStore(tmp_path / "runs"), "cpu", root))
    assert {name.partition("/")[0] for name in record.metrics["test"]} == set(TASKS)


def test_the_command_line_trains_an_experiment_file(tmp_path, monkeypatch, capsys):
    root = write_own(tmp_path / "my images", tasks=("semseg", "depth"))
    monkeypatch.setenv("MTPSL_RUNS", str(tmp_path / "runs"))
    short = {"dataset": "own", "tasks": ["semseg", "depth"], "label_setting": "full"} | SMALL
    file = tmp_path / "short.json"
    file.write_text(json.dumps(short))
    asked = ["run", "--experiment", str(file), "--device", "cpu", "--data", str(root)]
    assert cli.main(asked) == 0
    first = json.loads(capsys.readouterr().out)
    settings = SMALL | {"train_images": 795, "test_images": 654}  # as the file has by default
    write_experiment(experiment_on(root, **settings), file)
    assert cli.main(asked) == 0
    assert json.loads(capsys.readouterr().out) == first
    file.write_text(json.dumps(short | {"tasks": ["normals"]}))
    assert cli.main(asked) == 1
    assert "mtpsl: tasks: expected some of ('semseg', 'depth')" in capsys.readouterr().err
    assert cli.main(["data", "check", str(root)]) == 0
    cut(root / "train/depth/g.png")
    assert cli.main(["data", "check", str(root)]) == 1
    capsys.readouterr()
    assert cli.main(asked) == 1


def test_labels_are_kept_as_found_unless_asked_otherwise(tmp_path, monkeypatch, capsys):
    root = write_own(tmp_path / "my images", tasks=("semseg", "depth"))
    monkeypatch.setenv("MTPSL_RUNS", str(tmp_path / "runs"))
    short = {"dataset": "own", "tasks": ["semseg", "depth"]} | SMALL
    file = tmp_path / "short.json"
    for setting, counts in (("", (6, 6)), ("as_found", (6, 6)), ("one_label", (4, 3))):
        file.write_text(json.dumps(short | ({"label_setting": setting} if setting else {})))
        cli.main(["run", "--experiment", str(file), "--device", "cpu", "--data", str(root)])
        said = capsys.readouterr()
        key = json.loads(said.out)["key"]
        labels = RunStore(tmp_path / "runs").load(key).labels
        assert labels["available"] == {"semseg": 6, "depth": 6}
        assert tuple(labels["counts"].values()) == counts
        if setting != "as_found":  # which was trained just before
            used = "semseg {} of 6, depth {} of 6".format(*counts)
            assert f"labels used by the setting {setting or 'as_found'}: {used}" in said.err
    assert Experiment().label_setting == "one_label"


def test_label_splits_beside_it_are_not_counted(tmp_path):
    """The files that are missing decide who keeps which label."""
    root = write_own(tmp_path / "data")
    (root / "label_splits").mkdir()
    (root / "label_splits/onelabel.pth").write_bytes(b"of another data set")
    text, _ = check(root)
    assert "onelabel.pth" not in text
