"""The NYUD_MT archives and the PNG tree, written in exactly their formats and read back."""

import numpy as np
import pytest
import scipy.io
import torch
from nyud_trees import (
    LADICKY,
    OURS,
    TO_13,
    VARIANTS,
    H,
    W,
    scene,
    thirteen,
    write_archive,
    write_pngs,
)
from PIL import Image

from mtpsl.data.readers.disk import Camera, implied_normals, normals_from_depth
from mtpsl.data.readers.nyud import Archive, Nyud, PngTree, find_layout
from mtpsl.data.readers.nyud_files import FORTY_TO_13
from mtpsl.losses import IGNORE_INDEX


def nyud(root, split="train", **changes):
    return Nyud(split, **{"height": H, "width": W, "root": root, **changes})


def degrees_off(sample, normal):
    """Mean angle between a sample's normals and (H, W, 3), over the valid ones."""
    valid = sample.valid["normals"][0]
    cosine = (sample.targets["normals"].movedim(0, -1) * torch.from_numpy(normal)).sum(-1)[valid]
    return float(torch.rad2deg(cosine.clamp(-1, 1).acos()).mean())


def same_labels(sample, forty, depth, least=0.0):
    ids = thirteen(forty)
    assert np.array_equal(sample.targets["semseg"][0], np.where(ids < 0, IGNORE_INDEX, ids))
    assert np.array_equal(sample.valid["semseg"][0], ids >= 0)
    assert sample.valid["depth"].all()
    assert np.abs(sample.targets["depth"][0].numpy() - depth).max() <= least


def test_the_table_of_classes_is_the_published_one():
    assert (FORTY_TO_13 + 1).tolist() == [0, *TO_13]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_the_archive(tmp_path, variant):
    root = write_archive(tmp_path, variant)
    dataset, test = nyud(root), nyud(root, "test")
    assert len(dataset) == 3 and len(test) == 2 and test.ids == ("0003", "0004")
    assert isinstance(dataset.layout, Archive) and dataset.layout.notes == ()
    for split, index, number in ((dataset, 2, 2), (test, 1, 4)):
        image, forty, depth, normal = scene(number)
        sample = split[index]
        same_labels(sample, forty, depth)
        loss = 0 if variant == "invpt" else 30  # JPEG
        assert np.abs(sample.image.movedim(0, -1).numpy() * 255 - image).max() <= loss + 1e-4
        assert degrees_off(sample, normal) < (0.01 if variant == "survey" else 2)
        lengths = sample.targets["normals"].norm(dim=0)[sample.valid["normals"][0]]
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert dataset.version == test.version and dataset.version.startswith("files-")


@pytest.mark.parametrize("labels", [("seg13", "seg40"), ("seg40",), ("seg13",)])
@pytest.mark.parametrize("normals", [".png", ".npy"])
def test_the_tree_of_pngs(tmp_path, labels, normals):
    dataset = nyud(write_pngs(tmp_path, labels=labels, normals=normals), "test")
    assert isinstance(dataset.layout, PngTree) and dataset.ids == ("00004", "00005")
    image, forty, depth, normal = scene(3)
    same_labels(dataset[0], forty, depth, least=1.01e-3)
    assert np.array_equal((dataset[0].image * 255).round().movedim(0, -1).numpy(), image)
    assert degrees_off(dataset[0], normal) < 2  # the file's channels are (z, y, x)
    assert dataset.layout.axes == LADICKY
    assert dataset.layout.notes == (
        "channels of the normals are (z, y, x), as the depth proves; read so",
    )


def test_both_splits_read_the_normals_alike(tmp_path):
    root = write_pngs(tmp_path)
    for path in (root / "NYUv2/depth/test").iterdir():
        Image.fromarray(np.full((H, W), 2000, dtype=np.uint16)).save(path)  # proves nothing
    assert nyud(root, "test").layout.axes == LADICKY
    axes = ((0, 1, 2), (1, -1, -1))
    assert nyud(write_archive(tmp_path / "b", axes=axes)).layout.axes == axes


def test_normals_that_the_depth_cannot_judge_stay_as_stored(tmp_path):
    root = write_pngs(tmp_path)
    for path in (root / "NYUv2/depth").rglob("*.png"):
        Image.fromarray(np.full((H, W), 2000, dtype=np.uint16)).save(path)
    layout = nyud(root).layout
    assert layout.axes == OURS and "the depth proves none" in layout.notes[0]


def test_normals_are_computed_where_there_are_none(tmp_path):
    dataset = nyud(write_pngs(tmp_path, normals=""))
    assert "computed from the depth" in dataset.layout.notes[0]
    sample, normal = dataset[1], scene(1)[3]
    assert sample.valid["normals"].float().mean() > 0.6
    assert not sample.valid["normals"][0, 0].any()  # the border has no neighbors
    assert degrees_off(sample, normal) < 6  # millimeters, and a slightly different camera
    assert "normal" not in dataset.files(1)


def test_computed_normals_are_exact_on_a_plane_and_toward_the_camera():
    camera = Camera.centered(24, 32)
    v, u = np.mgrid[:24, :32]
    ray = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, u * 0 + 1], -1)
    facing = np.array([0.3, -0.5, -0.8]) / np.linalg.norm([0.3, -0.5, -0.8])
    depth = -2 / (ray @ facing)
    depth[5, 6] = 0
    normal = normals_from_depth(depth, camera)
    known = normal.any(axis=-1)
    assert known.sum() == 22 * 30 - 5  # but for the border, the hole and its neighbors
    np.testing.assert_allclose(normal[known], np.tile(facing, (known.sum(), 1)), atol=1e-3)
    assert not normals_from_depth(np.ones((2, 9)), camera).any()


def test_edges_of_the_depth_have_no_normal():
    depth = torch.ones(20, 20)
    depth[:, 10:] = 3
    normal, k = implied_normals(depth, Camera.centered(20, 20))
    assert k == 1 and normal[:, 8:10].isnan().all() and normal[:, :8].isfinite().all()


def test_the_calibration_scales_with_the_image():
    whole, half = Camera.nyud(480, 640), Camera.nyud(240, 320)
    assert whole.fx == 518.8579 and whole.cy == 253.7362
    assert half.fx == pytest.approx(whole.fx / 2)
    assert half.cx + 0.5 == pytest.approx((whole.cx + 0.5) / 2)


def test_gray_and_black_normals_are_holes(tmp_path):
    root = write_archive(tmp_path)
    path = root / "NYUD_MT/normals/0000.png"
    array = np.array(Image.open(path))
    array[0, :3], array[1, :3] = 127, 0
    Image.fromarray(array).save(path)
    valid = nyud(root)[0].valid["normals"][0]
    assert not valid[:2, :3].any() and valid[2:].all()


def test_another_size(tmp_path):
    sample = nyud(write_archive(tmp_path), height=18, width=24)[1]
    assert sample.image.shape == (3, 18, 24) and sample.targets["semseg"].shape == (1, 18, 24)
    lengths = sample.targets["normals"].norm(dim=0)[sample.valid["normals"][0]]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_names_may_have_blanks_and_any_letters(tmp_path):
    root = write_archive(tmp_path / "mes données 深度", names="café {}")
    assert nyud(root).ids[0] == "café 0"
    assert nyud(root / "NYUD_MT", "test")[1].image.shape == (3, H, W)


def test_roots(tmp_path):
    write_archive(tmp_path / "a")
    write_pngs(tmp_path / "b")
    for path, kind in (("a", Archive), ("a/NYUD_MT", Archive), ("b/NYUv2", PngTree)):
        assert find_layout(tmp_path / path)[0] is kind
    archive = tmp_path / "NYUD_MT.tgz"
    archive.write_bytes(b"\x1f\x8b\0")
    with pytest.raises(FileNotFoundError, match=r"NYUD_MT\.tgz: .* found an archive; unpack it"):
        find_layout(archive)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match="found a file; name the folder"):
        find_layout(tmp_path / "notes.txt")


def test_content_decides_the_version(tmp_path):
    a, b = write_archive(tmp_path / "a"), write_archive(tmp_path / "b")
    assert nyud(a).version == nyud(b / "NYUD_MT").version
    np.save(b / "NYUD_MT/depth/0004.npy", scene(4)[2] * 0.9)
    assert nyud(a).version != nyud(b).version
    (a / "NYUD_MT/gt_sets/val.txt").unlink()
    assert len(nyud(a)) == 3  # one split alone is a data set


def save(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, array)
    else:
        Image.fromarray(array).save(path)


@pytest.mark.parametrize(
    ("variant", "file", "array", "words"),
    [
        (
            "invpt",
            "segmentation/0002.png",
            np.full((H, W), 41, np.uint8),
            r"0, 40\], found 41",
        ),
        ("invpt", "segmentation/0002.png", np.ones((H, W - 1), np.uint8), "36 x 48, found 36 x 47"),
        ("invpt", "segmentation/0002.png", np.ones((H, W, 3), np.uint8), "class ids.*8-bit color"),
        ("invpt", "depth/0002.npy", np.full((H, W), np.nan), "nan"),
        ("invpt", "depth/0002.npy", np.full((H, W), 900.0), r"in \[0, 50\], found 900"),
        ("invpt", "depth/0002.npy", np.ones((H, W), int), "a float type, found int64"),
        ("invpt", "depth/0002.npy", np.ones((H, W, 2)), "any x any, found 36 x 48 x 2"),
        (
            "invpt",
            "normals/0002.png",
            np.full((H, W, 3), 127, np.uint8),
            "length, found zeros",
        ),
        ("invpt", "normals/0002.png", np.ones((H, W), np.uint16), "16-bit gray"),
        ("survey", "normals/0002.npy", np.zeros((H, W, 3)), "length, found zeros"),
        ("survey", "normals/0002.npy", np.full((H, W, 3), 1.5), r"\[-1, 1\]"),
        ("survey", "normals/0002.npy", np.full((H, W, 3), np.nan), "nan"),
        ("survey", "normals/0002.npy", np.ones((3, H, W)), "any x any x 3"),
        ("astmt", "segmentation/0002.mat", {"seg": np.ones((H, W))}, r"'segmentation', found seg"),
        ("astmt", "segmentation/0002.mat", {"segmentation": np.full((H, W), 2.5)}, "fractions"),
        ("astmt", "segmentation/0002.mat", {"segmentation": "wall"}, "numbers in .* found none"),
        ("astmt", "depth/0002.mat", {"depth": np.full((H, W), -1.0)}, "-1"),
        ("astmt", "depth/0002.mat", {"depth": np.ones((2, H, W))}, "2 x 36 x 48"),
    ],
)
def test_wrong_files_are_named(tmp_path, variant, file, array, words):
    dataset = nyud(write_archive(tmp_path, variant))
    save(tmp_path / "NYUD_MT" / file, array)
    dataset[1]
    with pytest.raises(ValueError, match=rf"{file}: expected .*{words}") as error:
        dataset[2]
    assert ";" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("folder", ["images", "segmentation", "depth", "normals"])
def test_damaged_files_are_named(tmp_path, variant, folder):
    dataset = nyud(write_archive(tmp_path, variant))
    (path,) = (tmp_path / "NYUD_MT" / folder).glob("0001.*")
    whole = path.read_bytes()
    for damage in (b"", whole[:9], whole[: len(whole) // 2], b"\0" * len(whole), whole[::-1]):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=rf"0001\{path.suffix}: expected .*damaged"):
            dataset[1]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{folder}/0001\{path.suffix}"):
        dataset[1]
    with pytest.raises(FileNotFoundError, match=rf"0001\{path.suffix}: .* every name of gt_sets"):
        nyud(tmp_path)


def test_wrong_lists_are_named(tmp_path):
    root = write_archive(tmp_path)
    path = root / "NYUD_MT/gt_sets/train.txt"
    path.write_text("0000\n\n0001\n0000\n")
    with pytest.raises(ValueError, match="train.txt: expected every name once, found '0000' twice"):
        nyud(root)
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="train.txt: expected one name a line, found an empty"):
        nyud(root)
    path.write_text("../0000\n")
    with pytest.raises(ValueError, match="names without folders"):
        nyud(root)
    val = path.with_name("val.txt").read_text().split()[0]
    path.write_text(f"{val}\n")
    with pytest.raises(ValueError, match=f"expected no name of val.txt, found '{val}' in both"):
        nyud(root)
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(
        ValueError, match="train.txt: expected a list of names as text, found a dam"
    ):
        nyud(root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="train.txt: expected a list of names"):
        nyud(root)
    path.write_text("0000\n")
    (root / "NYUD_MT/depth").rename(root / "NYUD_MT/depths")
    with pytest.raises(FileNotFoundError, match=r"depth: expected a folder of \.npy or \.mat"):
        nyud(root)


def test_an_image_without_partner_is_named(tmp_path):
    root = write_pngs(tmp_path)
    base = root / "NYUv2"
    (base / "depth/train/00002.png").rename(base / "depth/test/00002.png")
    with pytest.raises(FileNotFoundError, match=r"image/train/00002\.png: .* partner in depth"):
        nyud(root)
    with pytest.raises(FileNotFoundError, match=r"depth/test/00002\.png: expected an image of it"):
        nyud(root, "test")
    for path in (base / "image/train").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="image/train: expected a picture, found none"):
        nyud(root)
    (base / "depth").rename(base / "depths")
    with pytest.raises(FileNotFoundError, match="depth/train: expected a folder"):
        nyud(root)


def test_ids_of_the_png_tree_are_checked(tmp_path):
    root = write_pngs(tmp_path)
    Image.fromarray(np.full((H, W), 13, np.uint8)).save(root / "NYUv2/seg13/train/00002.png")
    with pytest.raises(ValueError, match=r"seg13/train/00002\.png: .* \[-1, 12\], found 13"):
        nyud(root)[1]
    Image.fromarray(np.full((H, W), 9, np.uint8)).save(root / "NYUv2/depth/train/00001.png")
    with pytest.raises(ValueError, match=r"depth/train/00001\.png: .*16-bit"):
        nyud(root)[0]
