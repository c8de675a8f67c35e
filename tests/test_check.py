"""The report on a folder: counts, statistics, axes of the normals, and every damage named."""

import math

import numpy as np
import nyud_trees
import pytest
import torch
from PIL import Image

from mtpsl.data import DATASETS
from mtpsl.data.readers import PUBLISHED, class_colors, to_picture
from mtpsl.data.readers.disk import FIELD_OF_VIEW, OURS, axes_name, rank_axes
from mtpsl.data.readers.nyud_files import CLASSES
from mtpsl.data.readers.report import check, check_folder, write_sheet
from mtpsl.tasks import depth, semseg

H, W = 48, 64


def room(yaw):
    """Depth (H, W, 1) and unit normals (H, W, 3) of a box seen from inside, turned by yaw."""
    focal = W / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
    v, u = np.mgrid[:H, :W]
    rays = np.stack(
        [(u - (W - 1) / 2) / focal, (v - (H - 1) / 2) / focal, np.ones((H, W))], axis=-1
    )
    c, s = math.cos(yaw), math.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    planes = [((0, -1, 0), 0.8), ((0, 1, 0), 0.7), ((0, 0, -1), 3), ((1, 0, 0), 1), ((-1, 0, 0), 1)]
    depth, normal = np.full((H, W), np.inf), np.zeros((H, W, 3))
    for inward, distance in planes:
        inward = turn @ np.array(inward, dtype=float)
        closing = -(rays @ inward)
        t = np.where(closing > 1e-6, distance / np.maximum(closing, 1e-6), np.inf)
        normal[t < depth] = inward
        depth = np.minimum(depth, t)
    return depth[..., None], normal


def write_rooms(root, train=4, val=3, axes=OURS):
    channels, signs = axes
    for split, images in (("train", train), ("val", val)):
        for i in range(images):
            rng = np.random.default_rng([i, split == "val"])
            depth, normal = room(0.4 + 0.1 * i)
            written = np.zeros_like(normal)
            for axis, (channel, sign) in enumerate(zip(channels, signs, strict=True)):
                written[..., channel] = sign * normal[..., axis]
            depth[:4] = 0
            arrays = {
                "image": rng.uniform(size=(H, W, 3)),
                "label": np.where(np.arange(H * W).reshape(H, W) % 4 == 0, -1, 11),
                "depth": depth,
                "normal": written,
            }
            for folder, array in arrays.items():
                path = root / "nyuv2" / split / folder / f"{i}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array)
    return root


def test_a_sound_folder(tmp_path):
    text, ok = check(write_rooms(tmp_path))
    assert ok and text.endswith("problems: none")
    assert "train: 4 images (published: 795); 4 of them read" in text
    assert "test: 3 images (published: 654)" in text
    assert "sizes        48x64" in text
    assert "image float64, label int64, depth float64, normal float64" in text
    assert "25.0 % of pixels without (NYUD-v2: 10 to 20, unusual); classes" in text
    assert "8.3 % of pixels without; mean" in text and "near is small" in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert lines["wall"] == ["100.00", "28.40", "100", "97.00", "unusual"]
    assert lines["bed"] == ["0.00", "4.90", "0", "24.00", "never"]
    assert "fit the depth best as (x, y, z), as they should" in text
    assert "flips" not in text


@pytest.mark.parametrize(
    ("axes", "name", "flips"),
    [
        (((0, 1, 2), (1, -1, -1)), "(x, -y, -z)", False),
        (((2, 1, 0), (1, 1, 1)), "(z, y, x)", True),
        (((1, 2, 0), (-1, 1, 1)), "(z, -x, y)", True),
    ],
)
def test_other_axes_are_recognized(tmp_path, axes, name, flips):
    text, ok = check(write_rooms(tmp_path, axes=axes))
    assert ok  # unusual, but nothing is broken
    assert f"as {name}, not as (x, y, z)" in text
    assert ("do not train with flips" in text) == flips


def test_axes_by_hand():
    implied = torch.eye(3)
    (best, angle), (_, second) = rank_axes(torch.eye(3)[:, [1, 0, 2]], implied)[:2]
    assert best == ((1, 0, 2), (1, 1, 1)) and angle == 0 and second > 50
    assert axes_name(best) == "(y, x, z)"
    assert len(rank_axes(implied, implied)) == 48


def test_a_subset_is_read_unless_asked_for_all(tmp_path):
    write_rooms(tmp_path, train=6)
    np.save(tmp_path / "nyuv2/train/depth/3.npy", -np.ones((H, W, 1)))
    text, ok = check(tmp_path, images=2)
    assert ok and "6 images (published: 795); 2 of them read" in text
    text, ok = check(tmp_path / "nyuv2", images=2, read_all=True)
    assert not ok and "problems: 1" in text and "train/depth/3.npy" in text
    assert "5 of them read" in text


def test_every_damage_is_listed(tmp_path):
    write_rooms(tmp_path)
    folder = tmp_path / "nyuv2"
    (folder / "val/normal/2.npy").unlink()
    (folder / "train/image/1.npy").write_bytes(b"")
    np.save(folder / "train/label/2.npy", np.full((H, W), 40))
    text, ok = check_folder(tmp_path)
    assert not ok and "problems: 3" in text and "test: cannot be read" in text
    for words in ("image/1.npy", "label/2.npy: expected class ids in [-1, 12]", "'normal': 2"):
        assert words in text
    np.save(folder / "train/image/1.npy", np.zeros((H, W - 2, 3)))
    assert "image/1.npy" not in check_folder(tmp_path)[0]
    assert "label/1.npy: expected the shape 48 x 62" in check_folder(tmp_path)[0]


def test_mixed_sizes_are_a_problem(tmp_path):
    write_rooms(tmp_path)
    for name, channels in (("image", (3,)), ("label", ()), ("depth", (1,)), ("normal", (3,))):
        np.save(tmp_path / f"nyuv2/train/{name}/2.npy", np.zeros((H, W + 2, *channels)))
    text, ok = check(tmp_path)
    assert not ok and "expected images of one size" in text


@pytest.mark.parametrize(
    ("name", "title", "images"),
    [
        ("rooms13", "NYUD-v2", 795),
        ("streets7", "Cityscapes", 2975),
        ("people21", "PASCAL-Context", 4998),
    ],
)
def test_a_stand_in_is_reported_like_a_folder(tmp_path, name, title, images):
    text, ok = check(name, images=3, cache_dir=tmp_path)
    assert ok and text.endswith("problems: none")
    assert text.startswith(f"{name}, generated as a stand-in for {title}\n")
    assert f"train: 3 images (published: {images}); 3 of them read" in text
    assert "test: 3 images" in text and "sizes        96x128" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for task in DATASETS[name].tasks:
        assert "% of pixels without" in lines[task.name]
        assert all(kind.split()[0] in lines for kind in task.class_names)
    assert ("fit the depth best as (x, y, z), as they should" in text) == (name == "rooms13")


def test_neither_folder_nor_name(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'nyud'"):
        check("nyut")
    with pytest.raises(ValueError, match="name the folder"):
        check("nyud")
    with pytest.raises(FileNotFoundError, match="expected a folder with train"):
        check(tmp_path)


def test_the_reference_covers_all_classes():
    assert tuple(PUBLISHED["nyud"].classes) == CLASSES
    assert sum(pixels for pixels, *_ in PUBLISHED["nyud"].classes.values()) == pytest.approx(
        100, abs=0.5
    )


@pytest.mark.parametrize(
    ("write", "title", "words"),
    [
        (
            nyud_trees.write_archive,
            "the folders of the NYUD_MT archive",
            "label 8-bit gray, depth float",
        ),
        (
            nyud_trees.write_pngs,
            "a tree of PNG files",
            "note         channels of the normals are (z,",
        ),
        (nyud_trees.write_mat, "the published MATLAB file", "normals are not on disk"),
    ],
)
def test_every_layout_of_nyud_has_its_report(tmp_path, write, title, words):
    text, ok = check(write(tmp_path))
    assert ok, text
    assert text.startswith(f"NYUD-v2 as {title}: ") and words in text
    assert "train: 3 images (published: 795); 3 of them read" in text
    assert "fit the depth best as (x, y, z), as they should" in text


def test_unreadable_files_of_other_layouts_are_listed(tmp_path):
    nyud_trees.write_archive(tmp_path)
    (tmp_path / "NYUD_MT/depth/0001.npy").write_bytes(b"")
    (tmp_path / "NYUD_MT/images/0004.png").unlink()
    text, ok = check(tmp_path)
    assert not ok and "problems: 2" in text and "test: cannot be read" in text
    for words in ("depth/0001.npy: expected", "images/0004.png: expected"):
        assert words in text


def test_a_sheet_shows_images_and_labels(tmp_path):
    write_rooms(tmp_path)
    write_sheet(tmp_path, tmp_path / "out/sheet.png", rows=2, width=64)
    sheet = np.array(Image.open(tmp_path / "out/sheet.png"))
    assert sheet.shape == (2 * 48 + 4, 4 * 64 + 3 * 4, 3)
    assert (sheet[:, 64:68] == 255).all() and (sheet[48:52] == 255).all()
    image = np.load(tmp_path / "nyuv2/val/image/0.npy")
    assert np.array_equal(sheet[:48, :64], np.round(image.astype(np.float32) * 255))
    depth_map = sheet[:48, 2 * 68 : 2 * 68 + 64]
    assert (depth_map[:4] == (225, 0, 225)).all()  # no depth there
    assert (depth_map[4:, :, 0] == depth_map[4:, :, 1]).all()
    write_sheet("rooms13", tmp_path / "rooms.png", rows=1, width=32, cache_dir=tmp_path / "cache")
    assert np.array(Image.open(tmp_path / "rooms.png")).shape == (24, 4 * 32 + 12, 3)


def test_pictures_by_hand():
    assert class_colors(3).tolist() == [[128, 0, 0], [0, 128, 0], [128, 128, 0]]  # PASCAL VOC
    ids, all_valid = torch.tensor([[[0, 2]]]), torch.ones(1, 1, 2, dtype=torch.bool)
    assert to_picture(semseg(CLASSES), ids, all_valid).tolist() == [[[128, 0, 0], [128, 128, 0]]]
    near, far = to_picture(depth(), torch.tensor([[[1.0, 9.0]]]), all_valid)[0, :, 0].tolist()
    assert near == 255 and far == 0
    hole = to_picture(
        depth(), torch.tensor([[[1.0, float("nan")]]]), torch.tensor([[[True, False]]])
    )
    assert hole[0, 1].tolist() == [225, 0, 225]
