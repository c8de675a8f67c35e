"""Any layout becomes the preprocessed tree; stopping and damage cost nothing else."""

import json

import numpy as np
import nyud_trees
import pytest
import torch
from nyud_trees import H, W
from test_cityscapes import official_path, write_npy, write_official
from test_pascal_context import write_tree

from mtpsl import files
from mtpsl.__main__ import main
from mtpsl.data import open_dataset, recognize
from mtpsl.data.readers.convert import MANIFEST, TREES, convert
from mtpsl.data.readers.nyud import Nyud
from mtpsl.data.readers.nyud_files import NpyTree
from mtpsl.data.readers.report import check

WRITERS = {
    "archive": nyud_trees.write_archive,
    "pngs": nyud_trees.write_pngs,
    "mat": nyud_trees.write_mat,
}


def same(root, target, height=H, width=W):
    """Both hold the same labels, and the same numbers within the precision of the files."""
    for split in ("train", "test"):
        size = {"height": height, "width": width}
        before, after = Nyud(split, root=root, **size), Nyud(split, root=target, **size)
        assert isinstance(after.layout, NpyTree) and len(before) == len(after)
        for a, b in zip((before[i] for i in range(min(3, len(before)))), after, strict=False):
            for task in a.valid:
                assert torch.equal(a.valid[task], b.valid[task])
            assert torch.equal(a.targets["semseg"], b.targets["semseg"])
            known = a.valid["depth"]
            assert torch.equal(a.targets["depth"][known], b.targets["depth"][known])
            known = a.valid["normals"].expand(3, -1, -1)
            cosine = (a.targets["normals"] * b.targets["normals"]).nan_to_num(0.5).sum(dim=0)
            assert cosine[known[0]].min() > np.cos(np.radians(0.06))
            assert (a.image - b.image).abs().max() < 0.5 / 255 / 4


@pytest.mark.parametrize("layout", WRITERS)
def test_a_round_trip_from_every_layout(tmp_path, layout):
    root, target = WRITERS[layout](tmp_path / "source"), tmp_path / "nyuv2"
    assert convert(root, target, height=H, width=W) == {"written": 5, "kept": 0}
    same(root, target)
    for folder, kind in TREES["nyud"].types.items():
        assert np.load(target / f"train/{folder}/0.npy").dtype == kind
    text, ok = check(target)
    assert ok and "NYUD-v2 as preprocessed .npy files" in text and "as they should" in text
    again = tmp_path / "again"
    convert(target, again, height=H, width=W)  # its own output is a source too
    same(target, again)


def test_another_size(tmp_path):
    root, target = nyud_trees.write_archive(tmp_path), tmp_path / "out"
    convert(root, target, height=18, width=24)
    assert np.load(target / "val/image/1.npy").shape == (18, 24, 3)
    same(root, target, 18, 24)


def test_two_processes_write_the_same_bytes(tmp_path):
    root = nyud_trees.write_archive(tmp_path)
    convert(root, tmp_path / "one", height=18, width=24)
    convert(root, tmp_path / "two", height=18, width=24, workers=2)
    names = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(names) == 5 * 4 + 1
    for file in names:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_it_goes_on_where_it_stopped_and_repairs_damage(tmp_path, monkeypatch):
    root, target = nyud_trees.write_archive(tmp_path), tmp_path / "out"
    size = {"height": H, "width": W}
    lines = []

    def stop_early(path, entry):
        if len(lines) == 3:
            raise KeyboardInterrupt
        lines.append(entry)
        append_line(path, entry)

    append_line = files.append_line
    monkeypatch.setattr(files, "append_line", stop_early)
    with pytest.raises(KeyboardInterrupt):
        convert(root, target, **size)
    monkeypatch.undo()
    assert convert(root, target, **size) == {"written": 2, "kept": 3}
    lines = (target / MANIFEST).read_text().splitlines()
    assert [json.loads(line).get("name") for line in lines] == [
        None,
        *(f"{i:04d}" for i in range(5)),
    ]
    kept = {path: path.stat().st_mtime_ns for path in target.rglob("*.npy")}

    path = target / "train/label/1.npy"
    intact = path.read_bytes()
    path.write_bytes(intact[:-1])
    (target / "val/normal/0.npy").unlink()
    with (target / MANIFEST).open("a") as file:
        file.write('{"split": "tr')  # cut by an interrupt
    assert convert(root, target, **size) == {"written": 2, "kept": 3}
    assert path.read_bytes() == intact
    assert convert(root, target, **size) == {"written": 0, "kept": 5}
    untouched = target / "train/image/0.npy"
    assert untouched.stat().st_mtime_ns == kept[untouched]
    assert not list(target.rglob("*.partial"))


def test_one_split_alone_is_converted(tmp_path):
    root = nyud_trees.write_archive(tmp_path)
    (tmp_path / "NYUD_MT/gt_sets/val.txt").unlink()
    assert convert(root, tmp_path / "out", height=H, width=W)["written"] == 3
    assert not (tmp_path / "out/val").exists()
    (tmp_path / "NYUD_MT/depth/0000.npy").unlink()  # damaged, not absent
    with pytest.raises(FileNotFoundError, match=r"depth/0000\.npy"):
        convert(root, tmp_path / "other", height=H, width=W)


def test_wrong_targets_and_arguments_are_named(tmp_path):
    root, target = nyud_trees.write_archive(tmp_path), tmp_path / "out"
    convert(root, target, height=18, width=24)
    with pytest.raises(ValueError, match=r"manifest\.jsonl: .* another height; name another"):
        convert(root, target, height=19, width=24)
    np.save(tmp_path / "NYUD_MT/depth/0000.npy", np.ones((H, W)))
    with pytest.raises(ValueError, match="found another source"):
        convert(root, target, height=18, width=24)
    with pytest.raises(ValueError, match="NYUD_MT: expected a new folder .* other files"):
        convert(root, tmp_path / "NYUD_MT", height=18, width=24)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file: expected a folder, found a file"):
        convert(root, tmp_path / "file", height=18, width=24)
    with pytest.raises(FileNotFoundError, match="expected a folder with"):
        convert(tmp_path / "nowhere", target)
    with pytest.raises(ValueError, match="workers: expected at least 1, got 0"):
        convert(root, target, workers=0)
    (tmp_path / "nyu.zip").touch()
    with pytest.raises(FileNotFoundError, match="nyu.zip: .* found an archive; unpack it"):
        convert(tmp_path / "nyu.zip", target)
    (target / MANIFEST).write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="found another source and layout"):
        convert(root, target, height=18, width=24)


# --- Cityscapes ----------------------------------------------------------------

OTHERS = {  # data set, writer, greatest difference of the images
    "official": ("cityscapes", write_official, 2**-12 + 1e-7),
    "npy": ("cityscapes", write_npy, 2**-12 + 1e-7),
}


def equal(name, root, target, height, width, image):
    for split in ("train", "test"):
        size = {"height": height, "width": width}
        before = open_dataset(name, split, root=root, **size)
        after = open_dataset(name, split, root=target, **size)
        assert len(before) == len(after) > 0 and after.version.startswith("npy-")
        for index in range(len(before)):
            a, b = before[index], after[index]
            assert (a.image - b.image).abs().max() <= image
            for task in before.tasks:
                x, y = a.targets[task.name], b.targets[task.name]
                assert torch.equal(a.valid[task.name], b.valid[task.name])
                if task.kind == "direction":
                    cosine = (x * y).sum(dim=0)[a.valid[task.name][0]]
                    assert cosine.min() > np.cos(np.radians(0.06))
                else:
                    torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)
            for task in before.tasks.names:
                assert torch.equal(before.carries(task), after.carries(task))


@pytest.mark.parametrize("layout", OTHERS)
@pytest.mark.parametrize("size", [(32, 64), (18, 40)])
def test_a_round_trip_of_the_others(tmp_path, layout, size):
    name, write, image = OTHERS[layout]
    root, target = write(tmp_path / "source"), tmp_path / "out"
    done = convert(root, target, height=size[0], width=size[1])
    assert recognize(target) == name and done["kept"] == 0
    equal(name, root, target, *size, image)
    assert convert(root, target, height=size[0], width=size[1]) == {
        "written": 0,
        "kept": done["written"],
    }
    for folder, kind in TREES[name].types.items():
        assert np.load(target / f"train/{folder}/1.npy").dtype == kind
    again = tmp_path / "again"
    convert(target, again, height=size[0], width=size[1])  # its own output is a source too
    equal(name, target, again, *size, image)


@pytest.mark.parametrize("layout", OTHERS)
def test_the_papers_sizes(tmp_path, layout):
    name, write, _ = OTHERS[layout]
    convert(write(tmp_path / "source"), tmp_path / "out")
    assert name == "cityscapes"
    assert np.load(tmp_path / "out/val/image/0.npy").shape == (128, 256, 3)
    convert(nyud_trees.write_archive(tmp_path), tmp_path / "rooms", width=30)
    assert np.load(tmp_path / "rooms/val/image/0.npy").shape == (288, 30, 3)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_damaged_file_is_named_and_stops_the_command(tmp_path, capsys, monkeypatch, workers):
    monkeypatch.setenv("MTPSL_PROGRESS", "0")
    root, target = write_official(tmp_path / "source"), tmp_path / "out"
    path = official_path(root, "gtFine", "train", "aachen", 1)
    intact = path.read_bytes()
    path.write_bytes(intact[:-30])
    command = ["data", "convert", str(root), str(target), "--workers", workers]
    command += ["--height", "32", "--width", "64"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.startswith("mtpsl: ") and said.count("\n") == 1
    assert f"{path}: expected a picture" in said and "damaged file" in said
    if workers == "2":
        return
    path.write_bytes(intact)
    assert main(command) == 1  # another source now
    assert "found another source" in capsys.readouterr().err


def test_pascal_context_is_not_converted(tmp_path):
    root = write_tree(tmp_path)
    with pytest.raises(FileNotFoundError, match="NYUD-v2 or Cityscapes .*, found those of pascal"):
        convert(root, tmp_path / "out")
