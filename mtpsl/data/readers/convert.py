"""Converts NYUD-v2 or Cityscapes from any layout to its preprocessed ``.npy`` tree.

These trees are what other code reads. A conversion can be stopped at any time: beside the tree lies
``manifest.jsonl``, a line that says what was asked for, and one an image with the sha256 of its
files. A file counts as done while its content is the one of that line.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mtpsl import files
from mtpsl.data import find_class, recognize
from mtpsl.data.cache import side_by_side
from mtpsl.data.dataset import Dataset, Sample
from mtpsl.data.readers.nyud import ARCHIVES, find_layout
from mtpsl.data.readers.reading import listing, missing, refusal
from mtpsl.losses import IGNORE_INDEX

MANIFEST = "manifest.jsonl"
SPLITS = {"train": "train", "test": "val"}  # ours -> the folder's name, of both trees

Entry = dict[str, Any]  # split, index, name of the source, sha256: folder -> hex digest


@dataclass(frozen=True)
class Tree:
    """How a data set is written.

    Half precision keeps 8-bit colors, and is within 0.06 degrees for normals.
    """

    tasks: Mapping[str, str]  # folder -> the task whose labels it holds; "" of images
    types: Mapping[str, str]  # folder -> type of its files
    size: tuple[int, int]  # height and width that the papers use

    def to_arrays(self, sample: Sample) -> dict[str, np.ndarray]:
        """Folder -> what its file holds: channels last, class ids -1 and all else 0 in holes."""
        arrays = {}
        for folder, task in self.tasks.items():
            maps = sample.targets[task] if task else sample.image
            if maps.is_floating_point():
                maps = maps.nan_to_num(0.0).movedim(0, -1)
            else:
                maps = maps[0].masked_fill(maps[0] == IGNORE_INDEX, -1)
            arrays[folder] = np.ascontiguousarray(maps.numpy().astype(self.types[folder]))
        return arrays


TREES = {
    "nyud": Tree(
        {"image": "", "label": "semseg", "depth": "depth", "normal": "normals"},
        {"image": "float16", "label": "int8", "depth": "float32", "normal": "float16"},
        (288, 384),
    ),
    "cityscapes": Tree(
        {"image": "", "label_7": "semseg", "depth": "depth"},
        {"image": "float16", "label_7": "int8", "depth": "float32"},
        (128, 256),
    ),
}
"""Data set, as ``recognize`` names it -> how it is written."""


def convert(
    source: str | Path,
    target: str | Path,
    *,
    height: int | None = None,
    width: int | None = None,
    workers: int = 1,
    progress: bool = False,
) -> dict[str, int]:
    """Writes ``target/{train,val}/{image,label,depth,normal}/{i}.npy`` from ``source``.

    These are the folders of NYUD-v2; those of Cityscapes are in ``TREES``. Class ids and depths
    are what the source's reader gives, exactly. Colors are too within half precision, normals
    within 0.06 degrees. Stop it at any time: the same call goes on, and writes again what was
    damaged since.

    Args:
        source: Folder of NYUD-v2 or Cityscapes in a layout that ``recognize`` knows. Of NYUD-v2
            both splits where it has both.
        target: New, or of an earlier call for the same source and size.
        height, width: Of the files; None for the papers'. Class ids and depth are taken from the
            nearest pixel.
        workers: Processes.
        progress: Shows a bar.

    Returns:
        ``written`` and ``kept``: how many images were.

    Raises:
        ValueError: If an argument is out of range, ``target`` holds something else, or a file of
            the source is damaged.
        FileNotFoundError: If ``source`` has no known layout.
    """
    for name, value in (("height", height), ("width", width), ("workers", workers)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    source, target = Path(source), Path(target)
    name = recognize(source)
    if name not in TREES:
        found = f"{listing(source)}; name the folder of the data set"
        if name is not None:
            found = f"those of {name}; they need no conversion"
        elif source.is_file() and source.suffix in ARCHIVES:
            found = "an archive; unpack it"
        expected = "a folder with NYUD-v2 or Cityscapes as `data sources` describes them"
        raise missing(source, expected, found)
    tree = TREES[name]
    size = {"height": height or tree.size[0], "width": width or tree.size[1]}
    datasets = open_splits(name, source, **size)
    first = next(iter(datasets.values()))
    asked = {
        "source": first.version,
        "layout": first.layout.title,
        **size,
        "types": tree.types,
        "images": {split: len(dataset) for split, dataset in datasets.items()},
    }
    entries = read_manifest(target, asked)
    every = [(split, index) for split, data in datasets.items() for index in range(len(data))]
    done = {at: e for at, e in entries.items() if at in every and is_intact(target, tree, e)}
    todo = [at for at in every if at not in done]
    files.write_lines(target / MANIFEST, [asked, *done.values()])
    write = partial(write_image, datasets, tree, target)
    with tqdm(total=len(every), initial=len(done), unit="image", disable=not progress) as bar:
        for entry in side_by_side(write, todo, min(workers, max(1, len(todo)))):
            files.append_line(target / MANIFEST, entry)
            done[entry["split"], entry["index"]] = entry
            bar.update()
    files.write_lines(target / MANIFEST, [asked, *(done[at] for at in every)])
    return {"written": len(todo), "kept": len(every) - len(todo)}


def open_splits(name: str, source: Path, height: int, width: int) -> dict[str, Dataset]:
    """The splits that the source has; of NYUD-v2, one may be absent as a whole."""
    datasets, absent = {}, []
    for split in SPLITS:
        try:
            datasets[split] = find_class(name)(split, root=source, height=height, width=width)
        except FileNotFoundError as error:
            if name != "nyud":
                raise
            kind, root = find_layout(source)
            if kind.has(root, split):
                raise
            absent.append(error)
    if not datasets:
        raise absent[0]
    return datasets


def write_image(
    datasets: Mapping[str, Dataset], tree: Tree, target: Path, at: tuple[str, int]
) -> Entry:
    """Writes the files of the image ``at`` a split and an index, each complete or absent.

    Returns its line of the manifest.
    """
    split, index = at
    digests = {}
    for folder, array in tree.to_arrays(datasets[split][index]).items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        blob = buffer.getvalue()
        path = file_of(target, split, folder, index)
        files.write(path, lambda file, blob=blob: file.write(blob))
        digests[folder] = hashlib.sha256(blob).hexdigest()
    return {"split": split, "index": index, "name": datasets[split].ids[index], "sha256": digests}


def read_manifest(target: Path, asked: Mapping[str, Any]) -> dict[tuple[str, int], Entry]:
    """What an earlier call wrote, by split and index; lines cut by an interrupt are left out.

    A target that is a file, or was made from something else, is refused.
    """
    path = target / MANIFEST
    if target.exists() and not target.is_dir():
        raise refusal(target, "a folder", "a file", "name another one")
    if not path.is_file():
        if target.is_dir() and any(target.iterdir()):
            expected = f"a new folder or one with {MANIFEST}"
            raise refusal(target, expected, "other files", "name another one")
        return {}
    head, *lines = [_parse(line) for line in path.read_bytes().split(b"\n")]
    if head != json.loads(json.dumps(asked)):
        different = [key for key in asked if not head or head.get(key) != asked[key]]
        found = f"another {' and '.join(different) or 'one'}"
        expected = "a conversion of this source at this size"
        raise refusal(path, expected, found, "name another folder")
    known = [line for line in lines if line and {"split", "index", "sha256"} <= set(line)]
    return {(line["split"], line["index"]): line for line in known}


def is_intact(target: Path, tree: Tree, entry: Entry) -> bool:
    """Whether an image has all of its files, each as its line says."""
    paths = {f: file_of(target, entry["split"], f, entry["index"]) for f in tree.tasks}
    return set(entry["sha256"]) == set(paths) and all(
        path.is_file() and files.sha256(path) == entry["sha256"][folder]
        for folder, path in paths.items()
    )


def file_of(target: Path, split: str, folder: str, index: int) -> Path:
    return target / SPLITS[split] / folder / f"{index}.npy"


def _parse(line: bytes) -> Entry:
    """A line's object; empty if it is damaged."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
