"""Cityscapes on small trees written in exactly the two formats that people have."""

import numpy as np
import pytest
import torch
from PIL import Image

from mtpsl.data import DATASETS, find_class, open_dataset, recognize
from mtpsl.data.loader import EvalLoader
from mtpsl.data.readers.cityscapes import (
    GROUPS,
    NOT_EVALUATED,
    OF_19,
    Cityscapes,
    decode,
    id_table,
    sniff_encoding,
)
from mtpsl.data.readers.report import check_folder as report
from mtpsl.data.scenes.streets7 import Streets7
from mtpsl.losses import IGNORE_INDEX
from mtpsl.runs.data import bind_data, open_split
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session

H, W = 32, 64


def to_pixels(disparity):
    """A target in pixels of the full width of 2048."""
    return (disparity * 65535 - 1) / 256


CITIES = {"train": ("zürich", "aachen"), "val": ("lindau",)}


def official_arrays(city, i, height=H, width=W):
    rng = np.random.default_rng([i, len(city), ord(city[0])])
    label = rng.integers(0, 34, (height, width), dtype=np.uint8)
    label[0, :34] = np.arange(34)
    disparity = rng.integers(1, 32258, (height, width), dtype=np.uint16)
    disparity[height // 2 :] |= 1 << 12  # near is large, below
    disparity[1, 2], disparity[1, 3], disparity[1, 4] = 0, 1, 32257
    return {
        "leftImg8bit": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "gtFine": label,
        "disparity": disparity,
    }


def official_path(root, part, split, city, i):
    ending = {"leftImg8bit": "leftImg8bit", "gtFine": "gtFine_labelIds", "disparity": "disparity"}
    return root / part / split / city / f"{city}_{i:06d}_000019_{ending[part]}.png"


def write_official(root, images=3, **size):
    for split, cities in CITIES.items():
        for city in cities:
            for i in reversed(range(images)):
                for part, array in official_arrays(city, i, **size).items():
                    path = official_path(root, part, split, city, i)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array).save(path)
                for other in ("color.png", "instanceIds.png", "polygons.json"):
                    folder = root / "gtFine" / split / city
                    (folder / f"{city}_{i:06d}_000019_gtFine_{other}").write_bytes(b"")
    return root


def npy_arrays(i, split, height=H, width=W):
    rng = np.random.default_rng([i, split == "val"])
    fine = rng.integers(-1, 19, (height, width))
    raw = rng.integers(1, 20000, (height, width, 1))
    raw[height // 2 :] += 9000
    raw[1, 2] = 0
    return {
        "image": rng.uniform(size=(height, width, 3)),
        "label_7": np.append(OF_19, -1)[fine],
        "label_19": fine,
        "depth": (raw / 65535).astype(np.float32),
    }


def write_npy(root, train=5, val=3, **size):
    for split, images in (("train", train), ("val", val)):
        for i in range(images):
            for name, array in npy_arrays(i, split, **size).items():
                path = root / "cityscapes2" / split / name / f"{i}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array)
    return root


@pytest.fixture
def official(tmp_path):
    return write_official(tmp_path / "my städte")


@pytest.fixture
def npy(tmp_path):
    return write_npy(tmp_path)


def cityscapes(root, split="train", **changes):
    return Cityscapes(split, **{"height": H, "width": W, "root": root, **changes})


# --- the official tree --------------------------------------------------------------------------


def test_reads_the_official_tree(official):
    dataset = cityscapes(official)
    assert len(dataset) == 6 and len(cityscapes(official, "test")) == 3
    assert dataset.ids[0] == "aachen_000000_000019" and dataset.ids[5] == "zürich_000002_000019"
    assert dataset.name == "cityscapes" and not dataset.stand_in
    assert dataset.layout.encoding == "16-bit"
    for index, (city, i) in {0: ("aachen", 0), 4: ("zürich", 1)}.items():
        arrays, sample = official_arrays(city, i), dataset[index]
        assert sample.image.dtype == torch.float32
        image = torch.from_numpy(arrays["leftImg8bit"]).movedim(-1, 0)
        assert torch.equal((sample.image * 255).round().to(torch.uint8), image)
        ids = sample.targets["semseg"]
        assert ids.dtype == torch.int64 and ids.shape == (1, H, W)
        assert np.array_equal(ids[0], id_table("void")[arrays["gtFine"]])
        assert torch.equal(sample.valid["semseg"], ids != IGNORE_INDEX)
        known = arrays["disparity"] > 0
        assert np.array_equal(sample.valid["depth"][0], known) and not known[1, 2]
        found = sample.targets["depth"][0].double().numpy()
        np.testing.assert_allclose(found[known], arrays["disparity"][known] / 65535, rtol=1e-6)
        assert np.isnan(found[~known]).all()
        in_pixels = to_pixels(sample.targets["depth"][0]).numpy()
        expected = (arrays["disparity"][known].astype(float) - 1) / 256
        np.testing.assert_allclose(in_pixels[known], expected, atol=2e-5)


def test_the_eight_classes_that_are_not_evaluated():
    void, category = id_table("void"), id_table("category")
    assert (void[:7] == IGNORE_INDEX).all() and (category[:7] == IGNORE_INDEX).all()
    assert (category[7:] != IGNORE_INDEX).all()
    assert tuple(np.flatnonzero(void != category)) == NOT_EVALUATED
    evaluated = [i for i in range(7, 34) if i not in NOT_EVALUATED]
    assert tuple(void[evaluated]) == OF_19
    assert [category[i] for i in (7, 9, 15, 18, 21, 23, 25, 30)] == [0, 0, 1, 2, 3, 4, 5, 6]
    assert tuple(GROUPS) == Streets7.tasks["semseg"].class_names


def test_both_readings_are_read_and_have_versions(official):
    void, category = cityscapes(official), cityscapes(official, others="category")
    label = official_arrays("aachen", 0)["gtFine"]
    differs = void[0].targets["semseg"] != category[0].targets["semseg"]
    assert np.array_equal(differs[0], np.isin(label, NOT_EVALUATED))
    assert category.version == f"{void.version}-category"
    with pytest.raises(ValueError, match="others: expected 'void' or 'category', got 'both'"):
        cityscapes(official, others="both")


def test_archives_unpacked_beside_each_other(official):
    version = cityscapes(official).version
    for part in ("leftImg8bit", "gtFine", "disparity"):
        (official / f"{part}_trainvaltest").mkdir()
        (official / part).rename(official / f"{part}_trainvaltest" / part)
    dataset = cityscapes(official)
    assert len(dataset) == 6 and dataset[0].valid["depth"].any()
    assert version.startswith("official-") and dataset.version.startswith("official-")


def test_another_size_is_resized(tmp_path):
    root = write_official(tmp_path, images=1, height=4 * H, width=4 * W)
    path = official_path(root, "disparity", "train", "aachen", 0)
    raw = np.full((4 * H, 4 * W), 25600 + 1, dtype=np.uint16)  # 100 pixels of the full width
    raw[:, : 2 * W] = 0
    Image.fromarray(raw).save(path)
    picture = np.zeros((4 * H, 4 * W, 3), dtype=np.uint8)
    picture[:, ::2] = 200
    Image.fromarray(picture).save(official_path(root, "leftImg8bit", "train", "aachen", 0))
    sample = cityscapes(root)[0]
    assert sample.image.shape == (3, H, W)
    assert (sample.image[:, 2:-2, 2:-2] - 100 / 255).abs().max() < 2 / 255  # averaged, not sampled
    assert sample.valid["depth"][0].all(dim=0).tolist() == [False] * (W // 2) + [True] * (W // 2)
    known = sample.targets["depth"][0, :, W // 2 :]
    torch.testing.assert_close(to_pixels(known), torch.full_like(known, 100.0))
    label = official_arrays("aachen", 0, 4 * H, 4 * W)["gtFine"]
    assert np.array_equal(sample.targets["semseg"][0], id_table("void")[label[2::4, 2::4]])


def test_pictures_are_rounded_to_8_bits_at_any_size(official, npy):
    assert cityscapes(official).rounds_images and not cityscapes(npy).rounds_images
    image = cityscapes(official, height=H // 2, width=W // 2)[1].image
    assert torch.equal((image * 255).round() / 255, image)
    smooth = cityscapes(npy, height=H // 2, width=W // 2)[1].image
    assert not torch.equal((smooth * 255).round() / 255, smooth)


# --- .npy files ---------------------------------------------------------------------------------


def test_reads_the_npy_tree(npy):
    dataset = cityscapes(npy)
    assert len(dataset) == 5 and len(cityscapes(npy, "test")) == 3
    assert (dataset.layout.labels, dataset.layout.encoding) == ("label_7", "scaled")
    arrays, sample = npy_arrays(3, "train"), dataset[3]
    image = torch.from_numpy(arrays["image"]).movedim(-1, 0).float()
    assert torch.equal(sample.image, image)
    ids = sample.targets["semseg"][0]
    assert np.array_equal(ids, np.where(arrays["label_7"] < 0, IGNORE_INDEX, arrays["label_7"]))
    assert torch.equal(sample.valid["semseg"][0], ids != IGNORE_INDEX)
    depth = arrays["depth"][..., 0]
    assert np.array_equal(sample.valid["depth"][0], depth > 0)
    assert np.array_equal(sample.targets["depth"][0].numpy()[depth > 0], depth[depth > 0])
    assert sample.targets["depth"][0, 1, 2].isnan()


@pytest.mark.parametrize("kept", ["label_19", "label"])
def test_nineteen_classes_are_grouped(npy, kept):
    expected = cityscapes(npy)[0].targets["semseg"]
    for split in ("train", "val"):
        folder = npy / "cityscapes2" / split
        for path in (folder / "label_7").iterdir():
            path.unlink()
        (folder / "label_7").rmdir()
        (folder / "label_19").rename(folder / kept)
    dataset = cityscapes(npy)
    assert dataset.layout.labels == kept
    assert torch.equal(dataset[0].targets["semseg"], expected)


def test_a_folder_label_of_seven_classes(npy):
    expected = cityscapes(npy)[0].targets["semseg"]
    for split in ("train", "val"):
        folder = npy / "cityscapes2" / split
        (folder / "label_7").rename(folder / "label")
    assert cityscapes(npy).layout.labels == "label"
    assert torch.equal(cityscapes(npy)[0].targets["semseg"], expected)


def rewrite_depth(root, change):
    for path in (root / "cityscapes2").glob("*/depth/*.npy"):
        np.save(path, change(np.load(path)))


ENCODINGS = {
    "raw": lambda d: np.round(d * 65535).astype(np.uint16),
    "pixels": lambda d: (np.round(d * 65535.0) - 1) / 256,
    "scaled": lambda d: d.astype(np.float64),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_of_the_disparity_are_told_apart(npy, encoding):
    expected = cityscapes(npy)[2]
    rewrite_depth(npy, ENCODINGS[encoding])
    dataset = cityscapes(npy)
    assert dataset.layout.encoding == encoding == sniff_encoding(npy / "cityscapes2")
    assert torch.equal(dataset[2].valid["depth"], expected.valid["depth"])
    torch.testing.assert_close(
        dataset[2].targets["depth"], expected.targets["depth"], equal_nan=True, rtol=1e-6, atol=1e-7
    )


def test_one_disparity_in_all_encodings():
    p = np.array([0, 1, 257, 32257])
    for encoding, values in {
        "16-bit": p.astype(np.uint16),
        "raw": p.astype(float),
        "scaled": p / 65535,
        "pixels": (p - 1) / 256,
    }.items():
        if encoding == "pixels":
            values[1] = 1e-9  # 0 means none there
        found = decode(values, encoding)
        assert found[0].isnan()
        np.testing.assert_allclose(found[1:], p[1:] / 65535, rtol=1e-5)
    np.testing.assert_allclose(to_pixels(decode(p, "raw"))[1:], [0, 1, 126], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: 200 - 190 * d / d.max() + 0.5, "such as depths in meters"),
        (lambda d: d * 0, "found only zeros"),
        (lambda d: d * 900, "disparities divided by 65535"),
        (lambda d: np.where(d == d.max(), np.nan, d), r"disparity in \[-1, 65535\], found nan"),
        (lambda d: d - 5, "found -5"),
    ],
)
def test_other_numbers_are_refused(npy, change, words):
    rewrite_depth(npy, change)
    with pytest.raises(ValueError, match=f"depth.*: expected .*{words}"):
        cityscapes(npy)


def test_labels_of_npy_files_are_grouped_already(npy):
    with pytest.raises(ValueError, match=r"others: expected 'void' for \.npy files"):
        cityscapes(npy, others="category")


# --- both ---------------------------------------------------------------------------------------


def test_the_tasks_are_those_of_the_stand_in(official, npy):
    assert Cityscapes.tasks == Streets7.tasks == DATASETS["cityscapes"].tasks
    for root in (official, npy):
        (batch,) = EvalLoader(cityscapes(root, "test"), 8)
        for task in Cityscapes.tasks:
            target = batch.targets[task.name]
            assert target.dtype == task.target_dtype and target.shape == (3, 1, H, W)
            hole = target[~batch.valid[task.name]]
            assert (
                len(hole)
                and (hole == IGNORE_INDEX if task.name == "semseg" else hole.isnan()).all()
            )


def test_layouts_are_recognized(official, npy, tmp_path):
    assert recognize(official) == recognize(npy) == recognize(npy / "cityscapes2") == "cityscapes"
    (tmp_path / "data").mkdir()
    official.rename(tmp_path / "data" / "cityscapes")
    assert len(cityscapes(tmp_path / "data")) == 6
    assert recognize(tmp_path / "nowhere") is None
    with pytest.raises(FileNotFoundError, match="nowhere: expected Cityscapes .* no such folder"):
        cityscapes(tmp_path / "nowhere")


def test_another_data_set_is_named(official, npy):
    for root in (official, npy):
        for name in ("nyud", "pascal_context"):
            words = f"expected the folder of {name}, found that of cityscapes; name another folder"
            with pytest.raises(ValueError, match=words):
                open_dataset(name, "train", height=H, width=W, root=root)
    nyu = npy / "cityscapes2"
    for split in ("train", "val"):
        folder = nyu / split
        (folder / "label_7").rename(folder / "label")
        (folder / "normal").mkdir()
        for path in (folder / "image").iterdir():
            np.save(folder / "normal" / path.name, np.full((H, W, 3), np.sqrt(1 / 3)))
    with pytest.raises(ValueError, match="expected the folder of cityscapes, found that of nyud"):
        open_dataset("cityscapes", "train", height=H, width=W, root=nyu)


def test_the_first_images_and_wrong_arguments(official):
    few = cityscapes(official, images=2)
    assert len(few) == len(few.ids) == 2 and torch.equal(
        few[1].image, cityscapes(official)[1].image
    )
    many = cityscapes(official, images=400)
    assert len(many) == 6
    with pytest.raises(IndexError, match=r"\[0, 2\), got 2"):
        few[2]
    for wrong in ({"images": 0}, {"split": "val"}):
        with pytest.raises(ValueError, match="expected"):
            cityscapes(official, **wrong)


@pytest.mark.parametrize("write", [write_official, write_npy])
def test_version_is_the_content_wherever_it_lies(tmp_path, write):
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    version = cityscapes(a).version
    assert version == cityscapes(b).version == cityscapes(a, "test").version
    path = next(p for p in sorted(b.rglob("*")) if p.parent.name in ("aachen", "depth"))
    path.write_bytes(path.read_bytes() + b" ")
    assert cityscapes(b).version != version


# --- damage -------------------------------------------------------------------------------------


def picture(array):
    return lambda path: Image.fromarray(array).save(path)


def damage_png(path):
    path.write_bytes(path.read_bytes()[:-60])


@pytest.mark.parametrize(
    ("part", "write", "words"),
    [
        ("leftImg8bit", damage_png, "damaged file"),
        ("leftImg8bit", lambda p: p.write_bytes(b""), "damaged file"),
        ("leftImg8bit", picture(np.zeros((H, W), np.uint8)), r"8-bit color\), found 8-bit gray"),
        ("leftImg8bit", picture(np.zeros((H, W + 2, 3), np.uint8)), r"32 x 66 pixels as its image"),
        ("gtFine", damage_png, "damaged file"),
        ("gtFine", picture(np.full((H, W), 34, np.uint8)), r"label ids in \[0, 33\], found 34"),
        ("gtFine", picture(np.full((H, W), 255, np.uint8)), "found 255"),
        ("gtFine", picture(np.zeros((H, W, 3), np.uint8)), "found 8-bit color"),
        ("gtFine", picture(np.zeros((H - 2, W), np.uint8)), "32 x 64 pixels .* found 30 x 64"),
        ("disparity", damage_png, "damaged file"),
        ("disparity", picture(np.zeros((H, W), np.uint8)), "16-bit gray .* found 8-bit gray"),
        ("disparity", picture(np.zeros((W, H), np.uint16)), "32 x 64 pixels .* found 64 x 32"),
    ],
)
def test_damaged_pictures_are_named(official, part, write, words):
    write(official_path(official, part, "train", "aachen", 1))
    dataset = cityscapes(official)
    assert dataset[0].image.shape == (3, H, W)
    with pytest.raises(ValueError, match=rf"aachen_000001_000019_.*\.png: expected .*{words}"):
        dataset[1]


@pytest.mark.parametrize("part", ["leftImg8bit", "gtFine", "disparity"])
def test_a_file_without_partner_is_named(official, part):
    dataset = cityscapes(official)
    path = official_path(official, part, "train", "zürich", 2)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{path.name}: expected the partner of zürich_0"):
        cityscapes(official)
    with pytest.raises(FileNotFoundError, match=f"{path.name}: expected"):
        dataset[5]


def test_wrong_names_and_folders_are_named(official):
    path = official_path(official, "leftImg8bit", "train", "aachen", 2)
    path.rename(path.with_name("copy of it.png"))
    with pytest.raises(ValueError, match="copy of it.png: expected a name such as aachen_000000_"):
        cityscapes(official)
    path.with_name("copy of it.png").rename(path)
    copy = official_path(official, "gtFine", "train", "zürich", 0).parent
    path = official_path(official, "gtFine", "train", "aachen", 2)
    path.rename(copy / path.name)  # twice the same id, in two cities
    with pytest.raises(ValueError, match="put it into the folder of its city"):
        cityscapes(official)
    (copy / path.name).rename(path)
    (official / "disparity").rename(official / "disparities")
    with pytest.raises(FileNotFoundError, match=r"unpack disparity_trainvaltest\.zip there"):
        cityscapes(official)


@pytest.mark.parametrize(
    ("folder", "array", "words"),
    [
        ("image", np.zeros((3, H, W)), "any x any x 3, found 3 x 32 x 64"),
        ("image", np.zeros((H, W, 3), np.uint8), "float type, found uint8"),
        ("image", np.full((H, W, 3), 255.0), r"\[0, 1\], found 255"),
        ("image", np.full((H, W, 3), np.nan), "nan"),
        ("label_7", np.full((H, W), 7), r"class ids in \[-1, 6\], found 7"),
        ("label_7", np.full((H, W), 0.5), "fractions"),
        ("label_7", np.full((H, W), "sky"), "<U3"),
        ("label_7", np.full((H, W), None), "objects"),
        ("label_7", np.zeros((W, H), int), "32 x 64, found 64 x 32"),
        ("depth", np.ones((H, W)) / 9, "32 x 64 x 1, found 32 x 64"),
    ],
)
def test_wrong_arrays_are_named(npy, folder, array, words):
    dataset = cityscapes(npy)
    np.save(npy / f"cityscapes2/train/{folder}/2.npy", array)
    dataset[1]
    with pytest.raises(ValueError, match=rf"{folder}/2\.npy: expected .*{words}"):
        dataset[2]


@pytest.mark.parametrize("value", [np.nan, 3.0, -0.5, np.inf])
def test_a_file_in_another_encoding_is_named(npy, value):
    dataset = cityscapes(npy)
    np.save(npy / "cityscapes2/train/depth/2.npy", np.full((H, W, 1), value))
    with pytest.raises(
        ValueError, match=r"depth/2\.npy: expected disparity \(scaled\) in \[0, 1\]"
    ):
        dataset[2]


def test_missing_and_damaged_npy_files_are_named(npy):
    folder = npy / "cityscapes2/train"
    whole = (folder / "label_7/1.npy").read_bytes()
    dataset = cityscapes(npy)
    (folder / "label_7/1.npy").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"label_7/1\.npy: expected .* damaged"):
        dataset[1]
    with (folder / "label_7/1.npy").open("wb") as file:
        np.savez(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"label_7/1\.npy: .* archive"):
        dataset[1]
    (folder / "label_7/1.npy").rename(folder / "label_7/7.npy")
    with pytest.raises(FileNotFoundError, match=r"label_7/1\.npy: expected files 0\.npy to 4\.npy"):
        cityscapes(npy)
    (folder / "label_7/7.npy").rename(folder / "label_7/1.npy")
    (folder / "depth/4.npy").unlink()
    with pytest.raises(ValueError, match="as many files in each folder, found .*'depth': 4"):
        cityscapes(npy)
    (folder / "depth/4a.npy").touch()
    with pytest.raises(ValueError, match="expected"):
        cityscapes(npy)
    for name in ("label_7", "label_19"):
        (folder / name).rename(folder / f"old {name}")
    with pytest.raises(FileNotFoundError, match="expected a folder label_7 .* found depth, image"):
        cityscapes(npy)


# --- the report ---------------------------------------------------------------------------------


def test_report_on_the_official_tree(official):
    text, ok = report(official)
    assert ok and text.endswith("problems: none")
    assert text.startswith("Cityscapes as official tree:") and "version official-" in text
    assert "train: 6 images (published: 2975); 6 of them read" in text
    assert "test: 3 images (published: 500)" in text
    assert "16-bit pictures, 0 where there is none" in text and "near is large" in text
    assert "are read as void" in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert set(GROUPS) <= set(lines) and lines["sky"][2] == "100" and "sizes        32x64" in text


def test_report_on_npy_files(npy):
    text, ok = report(npy)
    assert ok and "Cityscapes as .npy files" in text and "labels from label_7" in text
    assert "16-bit values divided by 65535" in text
    assert "types        image float64, label_7 int64, depth float32" in text
    assert "such as parking, are void here" in text and "disagree" not in text
    path = npy / "cityscapes2/train/label_19/0.npy"
    fine = np.load(path)
    fine[:8] = -1
    np.save(path, fine)
    assert "are members of their groups (" in report(npy)[0]
    fine[8:] = 10
    np.save(path, fine)
    assert "label_7 and label_19 disagree in" in report(npy)[0]


def test_report_lists_every_damage(official):
    official_path(official, "disparity", "val", "lindau", 1).unlink()
    damage_png(official_path(official, "gtFine", "train", "aachen", 1))
    Image.fromarray(np.full((H, W), 99, np.uint8)).save(
        official_path(official, "gtFine", "train", "aachen", 2)
    )
    text, ok = report(official)
    assert not ok and "cannot be read" in text and "lindau_000001_000019_disparity.png" in text
    path = official_path(official, "disparity", "val", "lindau", 1)
    Image.fromarray(official_arrays("lindau", 1)["disparity"]).save(path)
    text, ok = report(official)
    assert not ok and "problems: 2" in text and "4 of them read" in text
    for words in ("aachen_000001_000019_gtFine_labelIds.png", "found 99 to 99"):
        assert words in text
    text, ok = report(official, images=2)
    assert ok and "2 of them read" in text


# --- an experiment ------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [write_official, write_npy])
def test_an_experiment_end_to_end(tmp_path, write, monkeypatch):
    monkeypatch.setenv("MTPSL_PROGRESS", "0")
    root = write(tmp_path / "data on disk")
    experiment = Experiment(
        dataset="streets7",
        tasks=("semseg", "depth"),
        label_setting="one_label",
        height=32,
        width=64,
        width_factor=0.125,
        train_images=4,
        test_images=2,
        epochs=1,
        batch_size=2,
    )
    bound = bind_data(experiment, root)
    assert bound.dataset == "cityscapes" == find_class("streets7").stands_for
    assert bound.data_version == cityscapes(root).version
    record = run(experiment, Session(RunStore(tmp_path / "runs"), "cpu", root))
    assert record.data == {
        "name": "cityscapes",
        "version": bound.data_version,
        "stand_in": False,
    }
    assert record.labels["counts"] == {"semseg": 2, "depth": 2}
    assert all(np.isfinite(v) for v in record.metrics["test"].values())
    rooms = bind_data(experiment.replace(dataset="rooms13"), root)
    assert rooms.dataset == "rooms13"  # the folder is another data set's: the stand-in stays
    assert open_split(rooms, "train", Session(data_root=root)).name == "rooms13"
    with pytest.raises(ValueError, match="expected the folder of nyud, found that of cityscapes"):
        open_dataset("nyud", "train", height=32, width=64, root=root)
