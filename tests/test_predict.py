"""From a trained run and a folder of pictures to maps, a summary and a sheet."""

import json
import shutil

import numpy as np
import own_trees
import pytest
import torch
import torch.nn.functional as F
from own_trees import write_own
from PIL import Image

import mtpsl.__main__ as cli
from mtpsl import files
from mtpsl.data.readers.own import Own
from mtpsl.metrics import ConfusionMatrix
from mtpsl.report import predict as predicting
from mtpsl.report.predict import _printable, at_size, predict_folder, to_steps
from mtpsl.report.style import classes_to_rgb
from mtpsl.runs.data import bind_data, experiment_on
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import load_method
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session
from mtpsl.tasks import depth, normals, semseg

SMALL = {"height": 32, "width": 32, "width_factor": 0.125, "epochs": 1, "batch_size": 4, "lr": 1e-3}
ODD = "Küche $x$ 部屋"  # blanks, accents, what is a formula elsewhere, letters that fonts lack


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTPSL_PROGRESS", "0")
        patch.setenv("MTPSL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network for all six tasks: its experiment, its store, its folder."""
    place = tmp_path_factory.mktemp("trained")
    root = write_own(place / "own")
    experiment = experiment_on(root, **SMALL)
    store = RunStore(place / "runs")
    run(experiment, Session(store, "cpu", root))
    return experiment, store, root


@pytest.fixture
def pictures(tmp_path):
    """One of the network's size, one high, one wide and smaller."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (32, 32)), (f"{ODD}.jpg", (50, 40)), ("wide.JPEG", (20, 45))):
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(folder / name)
    return folder


def opened(path):
    with Image.open(path) as picture:
        return picture.mode, np.array(picture)


SIZES = {"a": (32, 32), ODD: (50, 40), "wide": (20, 45)}


# --- files ---------------------------------------------------------------------------------------


def test_every_picture_gets_every_map(trained, pictures, tmp_path):
    experiment, store, _ = trained
    summary = predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *SIZES,
        "predictions.json",
        "overview.png",
    }
    for name, size in SIZES.items():
        place = tmp_path / "out" / name
        assert {path.name for path in place.iterdir()} == {
            *("semseg.png", "semseg_color.png", "human_parts.png", "human_parts_color.png"),
            *("depth.npy", "depth.png", "depth.json", "normals.npy", "normals.png"),
            *("saliency.npy", "saliency.png", "edges.npy", "edges.png"),
        }
        for task, classes in (("semseg", 3), ("human_parts", 7)):
            mode, ids = opened(place / f"{task}.png")
            assert (mode, ids.shape) == ("L", size) and ids.max() < classes
            names = summary["tasks"][task]["classes"]
            colored = opened(place / f"{task}_color.png")[1]
            assert np.array_equal(colored, classes_to_rgb(ids, names))
        meters = np.load(place / "depth.npy")
        mode, steps = opened(place / "depth.png")
        assert meters.dtype == np.float32 and meters.shape == size and mode.startswith("I;16")
        said = json.loads((place / "depth.json").read_text())
        assert (said["step"], said["unit"], said["largest"]) == (0.001, "m", pytest.approx(65.535))
        inside = (meters >= 0.0005) & (meters < 65.535)
        assert np.allclose(steps[inside] * said["step"], meters[inside], atol=0.0006)
        assert (steps[~inside] == 1).all() and said["cut_off"] == {
            "above": 0,
            "below": int((~inside).sum()),
        }
        vectors = np.load(place / "normals.npy")
        assert vectors.shape == (*size, 3) and vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-3)
        mode, colors = opened(place / "normals.png")
        assert mode == "RGB" and np.allclose(colors / 127.5 - 1, vectors, atol=0.005)
        for task in ("saliency", "edges"):
            probability, (mode, shades) = (
                np.load(place / f"{task}.npy"),
                opened(place / f"{task}.png"),
            )
            assert probability.shape == size and 0 <= probability.min() <= probability.max() <= 1
            assert mode == "L" and np.allclose(shades / 255, probability, atol=0.0021)


def test_the_maps_are_those_of_the_network(trained, pictures, tmp_path):
    experiment, store, _ = trained
    predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "out")
    method = load_method(experiment, Session(store, "cpu"))
    image = torch.from_numpy(opened(pictures / "a.png")[1]).movedim(-1, 0)[None].float() / 255
    with torch.no_grad():
        wanted = method.predict(image)
    place = tmp_path / "out/a"
    assert np.array_equal(opened(place / "semseg.png")[1], wanted["semseg"].argmax(1)[0])
    for task in ("depth", "saliency"):
        values = wanted[task].sigmoid() if task == "saliency" else wanted[task]
        assert np.allclose(np.load(place / f"{task}.npy"), values[0, 0], atol=1e-4)
    vectors = torch.from_numpy(np.load(place / "normals.npy")).movedim(-1, 0)
    assert torch.allclose(vectors, wanted["normals"][0], atol=1e-3)


def test_predictions_of_the_test_split_score_as_recorded(trained, tmp_path):
    experiment, store, root = trained
    dataset = Own("test", height=32, width=32, root=root)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, image in zip(dataset.ids, dataset.load([0, 1]).images, strict=True):
        pixels = (image * 255).round().byte().movedim(0, -1).numpy()
        Image.fromarray(pixels).save(pictures / f"{name}.png")
    predict_folder(experiment.key, Session(store, "cpu"), pictures, tmp_path / "out")
    metric, batch = ConfusionMatrix(3), dataset.load([0, 1])
    ids = [opened(tmp_path / f"out/{name}/semseg.png")[1] for name in dataset.ids]
    logits = F.one_hot(torch.from_numpy(np.stack(ids)).long(), 3).movedim(-1, 1).float()
    metric.update(logits, batch.targets["semseg"], batch.mask("semseg"))
    recorded = store.load(experiment.key).metrics["test"]
    assert metric.compute()["miou"] == pytest.approx(recorded["semseg/miou"])


def test_the_summary_says_what_made_them(trained, pictures, tmp_path):
    experiment, store, _ = trained
    summary = predict_folder(experiment.key, Session(store, "cpu"), pictures, tmp_path / "out")
    assert files.read_json(tmp_path / "out/predictions.json") == json.loads(json.dumps(summary))
    assert summary["run"] == experiment.key and summary["seen_at"] == [32, 32]
    assert Experiment.from_dict(summary["experiment"]) == experiment
    assert summary["tasks"]["semseg"]["classes"] == list(own_trees.CLASSES)
    assert summary["tasks"]["depth"]["unit"] == "m"
    entries = {e["folder"]: (e["file"], e["height"], e["width"]) for e in summary["pictures"]}
    assert entries[ODD] == (f"{ODD}.jpg", 50, 40) and entries["wide"] == ("wide.JPEG", 20, 45)
    assert summary["problems"] == []


def test_neither_training_data_nor_batches_matter(trained, pictures, tmp_path, monkeypatch):
    experiment, store, root = trained
    predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "one")
    root.rename(tmp_path / "elsewhere")
    try:
        monkeypatch.setattr(predicting, "EVAL_BATCH", 2)
        predict_folder(experiment.key, Session(store, "cpu"), pictures, tmp_path / "two")
    finally:
        (tmp_path / "elsewhere").rename(root)
    for name in SIZES:
        one, two = (np.load(tmp_path / f"{out}/{name}/depth.npy") for out in ("one", "two"))
        assert np.allclose(one, two, atol=1e-4)


@pytest.mark.parametrize(
    ("dataset", "tasks", "step"),
    [
        ("rooms13", ("depth", "normals"), 0.001),
        ("streets7", ("semseg", "depth"), 1 / 65535),
        ("people21", ("human_parts", "edges"), None),
    ],
)
def test_any_run_predicts(tmp_path, pictures, dataset, tasks, step):
    few = {"train_images": 6, "test_images": 2, "label_setting": "full"}
    wanted = Experiment(dataset=dataset, tasks=tasks, **few, **SMALL)
    store = RunStore(tmp_path / "runs")
    run(wanted, Session(store, "cpu"))
    out = tmp_path / "out"
    summary = predict_folder(wanted, Session(store, "cpu"), pictures, out)
    assert tuple(summary["tasks"]) == tasks and (out / "overview.png").is_file()
    if step:
        assert json.loads((out / "a/depth.json").read_text())["step"] == step
        assert ("none" in summary["tasks"]["depth"]["unit"]) == (dataset == "streets7")


def test_inverse_depth_keeps_the_step_of_its_labels(tmp_path, pictures):
    toml = "[depth]\ninverse = true\npng_scale = 0.25"
    root = write_own(tmp_path / "own", tasks=("depth",), toml=toml)
    store = RunStore(tmp_path / "runs")
    experiment = experiment_on(root, **SMALL)
    run(experiment, Session(store, "cpu", root))
    predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "out")
    said = json.loads((tmp_path / "out/a/depth.json").read_text())
    assert said["step"] == 0.25 and said["largest"] == 0.25 * 65535


# --- by hand -------------------------------------------------------------------------------------


def test_sixteen_bits_by_hand():
    values = np.float32([[1.2344, 65.535, 65.536], [0.0004, -3, 0.0006]])
    steps, cut = to_steps(values, 0.001)
    assert steps.dtype == np.uint16
    assert steps.tolist() == [[1234, 65535, 65535], [1, 1, 1]]
    assert cut == {"above": 1, "below": 2}


def test_sizes_by_hand():
    ids = torch.tensor([[[[0, 2]]]])
    assert at_size(semseg(("a", "b", "c")), ids, (2, 4)).tolist() == [[[0, 0, 2, 2]] * 2]
    meters = torch.tensor([[[[1.0, 3.0]]]])
    assert at_size(depth(), meters, (1, 4)).tolist() == [[[1.0, 1.5, 2.5, 3.0]]]
    x, y = torch.eye(3)[:2]
    vectors = torch.stack([x, y], dim=-1)[None, :, None]  # (1, 3, 1, 2)
    middle = at_size(normals(), vectors, (1, 3))[:, 0, 1]
    assert torch.allclose(middle, torch.tensor([0.5**0.5, 0.5**0.5, 0.0]), atol=1e-6)


def test_names_on_the_sheet_can_be_printed():
    assert _printable("Küche") == "Küche"
    assert _printable("a$b$") == r"a\$b\$"
    assert _printable("部屋") == "??"
    assert len(_printable("x" * 99)) == 24


# --- the sheet -----------------------------------------------------------------------------------


def test_the_sheet_keeps_proportions(trained, pictures, tmp_path):
    experiment, store, _ = trained
    predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "out")
    mode, sheet = opened(tmp_path / "out/overview.png")
    assert mode.startswith("RGB") and sheet.shape[0] > 500 and sheet.shape[1] > 1200
    assert (sheet[..., :3] != 255).any(axis=-1).mean() > 0.2


def test_at_most_six_rows(trained, tmp_path):
    experiment, store, _ = trained
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(9):
        Image.fromarray(np.full((8, 8, 3), number * 20, np.uint8)).save(pictures / f"{number}.png")
    predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "out")
    nine = opened(tmp_path / "out/overview.png")[1].shape
    for number in range(6, 9):
        (pictures / f"{number}.png").unlink()
    predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "six")
    assert opened(tmp_path / "six/overview.png")[1].shape[1] == nine[1]
    assert len(list((tmp_path / "out").glob("*/semseg.png"))) == 9


# --- what is refused -----------------------------------------------------------------------------


def test_what_cannot_be_read_is_said_and_the_rest_is_done(trained, pictures, tmp_path):
    experiment, store, _ = trained
    (pictures / "b.png").write_bytes((pictures / "a.png").read_bytes()[:500])
    (pictures / "notes.txt").touch()
    (pictures / "more").mkdir()
    (pictures / ".hidden").touch()
    with pytest.raises(ValueError) as caught:
        predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "out")
    said = str(caught.value).splitlines()
    assert len(said) == 3
    for line, words in zip(sorted(said), ("b.png: ", "more: ", "notes.txt: "), strict=True):
        assert words in line and "expected" in line and "found" in line and "; " in line
    assert files.read_json(tmp_path / "out/predictions.json")["problems"] == said
    for name in SIZES:
        assert (tmp_path / f"out/{name}/semseg_color.png").is_file()
    assert (tmp_path / "out/overview.png").is_file() and not (tmp_path / "out/b").exists()


def test_a_network_that_is_broken_is_not_believed(trained, pictures, tmp_path, monkeypatch):
    experiment, store, _ = trained
    method = load_method(experiment, Session(store, "cpu"))
    with torch.no_grad():
        for weights in method.parameters():
            weights.fill_(float("nan"))
    monkeypatch.setattr(predicting, "load_method", lambda *arguments: method)
    with pytest.raises(ValueError, match="expected finite predictions, found NaN"):
        predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "out")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "expected a folder of pictures, found none"),
        (lambda folder: [p.unlink() for p in folder.iterdir()], "found an empty folder"),
        (lambda folder: (folder / "a.png").rename(folder / "wide.png"), "found wide.JPEG, too"),
        (lambda folder: (folder / "a.png").rename(folder / "overview.png.png"), "that is taken"),
    ],
)
def test_a_wrong_folder_is_refused_before_anything_is_written(
    trained, pictures, tmp_path, damage, words
):
    experiment, store, _ = trained
    damage(pictures)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        predict_folder(experiment, Session(store, "cpu"), pictures, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_run_or_target_is_refused(trained, pictures, tmp_path):
    experiment, store, _ = trained
    with pytest.raises(
        FileNotFoundError, match="run nowhere: expected a finished run in .*, found"
    ):
        predict_folder("nowhere", Session(store, "cpu"), pictures, tmp_path / "out")
    unfinished = RunStore(tmp_path / "others")
    (unfinished.root / "halfway").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="found one that is not; finish it: .*halfway"):
        predict_folder("halfway", Session(unfinished, "cpu"), pictures, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="run it first"):
        predict_folder(bind_data(Experiment()), Session(store, "cpu"), pictures, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    for out in (tmp_path / "full", tmp_path / "full/thesis.tex"):
        with pytest.raises(ValueError, match="a new or empty folder, found"):
            predict_folder(experiment, Session(store, "cpu"), pictures, out)


# --- command line --------------------------------------------------------------------------------


def test_the_command_line(trained, pictures, tmp_path, monkeypatch, capsys):
    experiment, store, _ = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTPSL_RUNS", str(store.root))
    for run_name, out in ((experiment.key, "by key"), (str(store.folder(experiment.key)), "path")):
        assert cli.main(["predict", run_name, "my pictures", out, "--device", "cpu"]) == 0
        told = capsys.readouterr().out
        assert f"{out}: 3 pictures; overview.png" in told
        assert (tmp_path / out / ODD / "depth.png").is_file()
    (pictures / "b.png").write_bytes(b"")
    assert cli.main(["predict", experiment.key, "my pictures", "third"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("mtpsl: my pictures/b.png: expected a picture of 8 bits")
    assert len(told.err.splitlines()) == 1 and (tmp_path / "third/overview.png").is_file()
    monkeypatch.chdir(store.folder(experiment.key))  # from within the run's own folder
    (pictures / "b.png").unlink()
    assert cli.main(["predict", ".", str(pictures), str(tmp_path / "fifth")]) == 0
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert cli.main(["predict", "nowhere", "my pictures", "fourth"]) == 1
    assert "expected a finished run" in capsys.readouterr().err
