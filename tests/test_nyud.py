"""The NYUD-v2 reader on a small tree written in exactly the published format."""

import numpy as np
import pytest
import torch

from mtpsl.data import DATASETS, open_dataset
from mtpsl.data.dataset import EvalLoader
from mtpsl.data.readers.nyud import CLASSES, Nyud
from mtpsl.losses import IGNORE_INDEX

H, W = 12, 16


def write_tree(root, train=5, val=3, height=H, width=W):
    """float64 images and depth, float32 normals, int64 labels, as users have them."""
    for split, images in (("train", train), ("val", val)):
        for i in range(images):
            rng = np.random.default_rng([i, split == "val"])
            label = rng.integers(-1, 13, (height, width))
            label[0, 0], label[0, 1] = -1, 12
            depth = rng.uniform(0.7, 9.9, (height, width, 1))
            depth[1, 2] = 0
            normal = rng.normal(size=(height, width, 3))
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            normal[2, 3] = 0
            normal[4, 5] = (np.sqrt(0.5), -np.sqrt(0.5), 0)  # real, but its components sum to 0
            arrays = {
                "image": rng.uniform(size=(height, width, 3)),
                "label": label,
                "depth": depth,
                "normal": normal.astype(np.float32),
            }
            for folder, array in arrays.items():
                path = root / "nyuv2" / split / folder / f"{i}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array)
    return root


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path)


def nyud(tree, split="train", **changes):
    return Nyud(split, **{"height": H, "width": W, "root": tree, **changes})


def test_reads_the_published_layout(tree):
    dataset = nyud(tree)
    assert len(dataset) == 5 and len(nyud(tree, "test")) == 3
    assert dataset.name == "nyud" and not dataset.stand_in and len(CLASSES) == 13
    sample = dataset[1]
    image = np.load(tree / "nyuv2/train/image/1.npy")
    label = np.load(tree / "nyuv2/train/label/1.npy")
    depth = np.load(tree / "nyuv2/train/depth/1.npy")
    normal = np.load(tree / "nyuv2/train/normal/1.npy")
    assert sample.image.shape == (3, H, W) and sample.image.dtype == torch.float32
    np.testing.assert_allclose(sample.image[2, 4, 7], image[4, 7, 2], atol=1e-6)
    ids = sample.targets["semseg"]
    assert ids.dtype == torch.int64 and ids[0, 0, 0] == IGNORE_INDEX and ids[0, 0, 1] == 12
    assert np.array_equal(sample.valid["semseg"][0], label >= 0)
    assert np.array_equal(ids[0][label >= 0], label[label >= 0])
    assert sample.targets["depth"][0, 1, 2].isnan() and not sample.valid["depth"][0, 1, 2]
    np.testing.assert_allclose(sample.targets["depth"][0, 5, 5], depth[5, 5, 0], rtol=1e-6)
    assert sample.targets["normals"][:, 2, 3].isnan().all()
    assert sample.valid["normals"].sum() == sample.valid["depth"].sum() == H * W - 1
    np.testing.assert_allclose(sample.targets["normals"][:, 7, 8], normal[7, 8], atol=1e-6)


def test_open_dataset_by_name(tree):
    assert DATASETS["nyud"] is Nyud
    assert DATASETS["rooms13"].tasks.names == Nyud.tasks.names
    assert DATASETS["rooms13"].tasks["semseg"].class_names == CLASSES
    dataset = open_dataset("nyud", "test", height=H, width=W, images=2, root=tree)
    assert isinstance(dataset, Nyud) and len(dataset) == 2
    with pytest.raises(ValueError, match="did you mean 'rooms13'"):
        open_dataset("rooms", "train", height=H, width=W)
    with pytest.raises(ValueError, match="root: expected the folder of nyud"):
        open_dataset("nyud", "train", height=H, width=W)
    with pytest.raises(ValueError, match="root: expected none, because rooms13 is generated"):
        open_dataset("rooms13", "train", height=H, width=W, root=tree)


def test_open_dataset_makes_a_stand_in(tmp_path):
    dataset = open_dataset("rooms13", "test", height=32, width=48, images=2, cache_dir=tmp_path)
    assert len(dataset) == 2 and dataset.stand_in and dataset[1].image.shape == (3, 32, 48)


def test_batches_fit_the_tasks(tree):
    (batch,) = EvalLoader(nyud(tree, "test"), 8)
    for task in batch.targets:
        expected = nyud(tree).tasks[task]
        assert batch.targets[task].dtype == expected.target_dtype
        assert batch.targets[task].shape == (3, expected.target_channels, H, W)
        hole = ~batch.valid[task].expand_as(batch.targets[task])
        values = batch.targets[task][hole]
        assert (values == IGNORE_INDEX if task == "semseg" else values.isnan()).all()


def test_the_component_sum_test_is_the_released_codes(tree):
    strict = nyud(tree, normals_test="sum")[0]
    assert not strict.valid["normals"][0, 4, 5] and nyud(tree)[0].valid["normals"][0, 4, 5]
    assert strict.targets["normals"][:, 4, 5].isnan().all()
    with pytest.raises(ValueError, match="normals_test"):
        nyud(tree, normals_test="component")


def test_normals_are_renormalized(tree):
    path = tree / "nyuv2/train/normal/0.npy"
    np.save(path, np.load(path) * 0.5)
    sample = nyud(tree)[0]
    lengths = sample.targets["normals"].norm(dim=0)[sample.valid["normals"][0]]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_another_size_is_resized_without_bleeding(tmp_path):
    tree = write_tree(tmp_path, train=1, val=1, height=24, width=32)
    folder = tree / "nyuv2/train"
    normal = np.zeros((24, 32, 3))
    normal[:, 6:, 2] = -1  # annotated from column 6 on
    np.save(folder / "normal/0.npy", normal)
    depth = np.full((24, 32, 1), 2.0)
    depth[:, :6] = 0
    np.save(folder / "depth/0.npy", depth)
    sample = nyud(tree)[0]
    assert sample.image.shape == (3, H, W)
    assert 0 <= sample.image.min() and sample.image.max() <= 1
    for task in ("depth", "normals"):
        assert sample.valid[task][0].all(dim=0).tolist() == [False] * 3 + [True] * 13
    assert (sample.targets["depth"][0, :, 3:] == 2).all()
    assert torch.equal(sample.targets["normals"][2, :, 3:], torch.full((H, 13), -1.0))
    ids = torch.from_numpy(np.load(folder / "label/0.npy"))
    assert sample.targets["semseg"].unique().numel() <= ids.unique().numel()


def test_root_may_be_the_folder_or_its_parent(tree):
    assert nyud(tree).root == nyud(tree / "nyuv2").root
    (tree / "outer").mkdir()
    (tree / "nyuv2").rename(tree / "outer" / "nyuv2")
    with pytest.raises(FileNotFoundError, match="expected a folder with .* found outer"):
        nyud(tree)


def test_the_first_images_are_used_and_never_more_than_there_are(tree):
    few = nyud(tree, images=2)
    assert len(few) == 2 and torch.equal(few[1].image, nyud(tree)[1].image)
    many = nyud(tree, images=400)
    assert len(many) == 5
    with pytest.raises(IndexError):
        few[2]
    for wrong in ({"images": 0}, {"split": "val"}):
        with pytest.raises(ValueError, match="expected"):
            nyud(tree, **wrong)


def test_version_is_the_content_wherever_it_lies(tmp_path):
    a, b = write_tree(tmp_path / "a"), write_tree(tmp_path / "b")
    version = nyud(a).version
    assert version == nyud(b).version == nyud(a, "test").version
    path = b / "nyuv2/val/depth/2.npy"
    np.save(path, np.load(path) * 0.9)
    assert nyud(b).version != version


def overwrite(tree, folder, array, index=2):
    np.save(tree / f"nyuv2/train/{folder}/{index}.npy", array)


@pytest.mark.parametrize(
    ("folder", "array", "words"),
    [
        ("image", np.zeros((3, H, W)), "3 x 12 x 16"),
        ("image", np.zeros((H, W)), "12 x 16"),
        ("image", np.zeros((H, W, 3), dtype=np.uint8), "uint8"),
        ("image", np.full((H, W, 3), 255.0), r"values in \[0, 1\], found 255"),
        ("image", np.full((H, W, 3), np.nan), "nan"),
        ("label", np.zeros((H, W, 1), dtype=int), "12 x 16 x 1"),
        ("label", np.full((H, W), 13), r"\[-1, 12\], found 13"),
        (
            "label",
            np.arange(H * W).reshape(H, W) % 14,
            "subtract 1: ids start at 1",
        ),
        ("label", np.full((H, W), 255), "255"),
        ("label", np.full((H, W), 0.5), "fractions"),
        ("label", np.full((H, W), "wall"), "<U4"),
        ("label", np.full((H, W), None), "objects"),
        ("depth", np.ones((H, W)), "12 x 16 x 1, found 12 x 16"),
        ("depth", np.full((H, W, 1), 2345.0), r"\[0, 50\], found 2345"),
        ("depth", -np.ones((H, W, 1)), "-1"),
        ("depth", np.full((H, W, 1), np.inf), "inf"),
        ("normal", np.ones((H - 2, W, 3)), "12 x 16 x 3, found 10 x 16 x 3"),
        ("normal", np.full((H, W, 3), 2.0), r"\[-1, 1\], found 2"),
        ("normal", np.float64(3), "a single number"),
    ],
)
def test_wrong_arrays_are_named(tree, folder, array, words):
    overwrite(tree, folder, array)
    dataset = nyud(tree)
    dataset[1]
    with pytest.raises(ValueError, match=rf"{folder}/2\.npy: expected .*{words}"):
        dataset[2]


def test_damaged_files_are_named(tree):
    path = tree / "nyuv2/train/depth/2.npy"
    whole = path.read_bytes()
    for damage in (b"", whole[:50], whole[:-8], b"\0" * len(whole), whole[::-1]):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"depth/2\.npy: expected .* damaged"):
            nyud(tree)[2]
    with path.open("wb") as file:
        np.savez(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"depth/2\.npy: .* archive"):
        nyud(tree)[2]


def test_missing_files_and_folders_are_named(tree):
    folder = tree / "nyuv2/train"
    dataset = nyud(tree)
    (folder / "label/1.npy").rename(folder / "label/7.npy")
    with pytest.raises(FileNotFoundError, match=r"label/1\.npy: expected files 0\.npy to 4\.npy"):
        nyud(tree)
    with pytest.raises(FileNotFoundError, match=r"label/1\.npy"):
        dataset[1]
    (folder / "label/7.npy").rename(folder / "label/1.npy")
    (folder / "normal/4.npy").unlink()
    with pytest.raises(ValueError, match="as many files in each folder, found .*'normal': 4"):
        nyud(tree)
    (folder / "normal/4a.npy").touch()
    with pytest.raises(ValueError, match="names such as 17.npy, found 4a.npy"):
        nyud(tree)
    (folder / "depth").rename(folder / "depths")
    with pytest.raises(FileNotFoundError, match="depth: expected a folder"):
        nyud(tree)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        nyud(tree / "nowhere")
