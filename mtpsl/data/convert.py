"""NYUD-v2 in any layout -> the preprocessed ``.npy`` tree, resumable and checked.

Beside the tree lies ``manifest.jsonl``: a line that says what was asked for, and one an image with
the sha256 of its files. A file counts as done while its content is the one of that line.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from mtpsl import files
from mtpsl.data.nyud import Nyud, find_layout
from mtpsl.data.nyud_layout import SPLITS
from mtpsl.data.nyud_npy import FOLDERS
from mtpsl.data.sample import Sample
from mtpsl.losses import IGNORE_INDEX

MANIFEST = "manifest.jsonl"
TYPES = {"image": "float16", "label": "int8", "depth": "float32", "normal": "float16"}
"""Folder -> type. Half precision keeps 8-bit colors and is within 0.06 degrees for normals."""
CHUNK = 4  # images that a worker process takes at a time

Entry = dict[str, Any]  # split, index, name of the source, sha256: folder -> hex digest


def convert(
    source: str | Path,
    target: str | Path,
    *,
    height: int = 288,
    width: int = 384,
    workers: int = 1,
    progress: bool = False,
) -> dict[str, int]:
    """Writes ``target/{train,val}/{image,label,depth,normal}/{i}.npy`` from ``source``.

    Stop it at any time: the same call goes on, and writes again what was damaged since.

    Args:
        source: As ``root`` of ``Nyud``. Both splits where it has both.
        target: New, or of an earlier call for the same source and size.
        height: Of the files. Class ids and depth are taken from the nearest pixel.
        width: Of the files.
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
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    source, target = Path(source), Path(target)
    datasets = open_splits(source, height, width)
    first = next(iter(datasets.values()))
    asked = {
        "source": first.version,
        "layout": first.layout.title,
        "height": height,
        "width": width,
        "types": TYPES,
        "images": {split: len(dataset) for split, dataset in datasets.items()},
    }
    entries = read_manifest(target, asked)
    wanted = [(split, i) for split, dataset in datasets.items() for i in range(len(dataset))]
    done = {at: entry for at, entry in entries.items() if at in wanted and is_intact(target, entry)}
    todo = [at for at in wanted if at not in done]
    files.write_lines(target / MANIFEST, [asked, *done.values()])
    with tqdm(total=len(wanted), initial=len(done), unit="image", disable=not progress) as bar:
        for entry in _write_all(source, target, height, width, todo, workers):
            files.append_line(target / MANIFEST, entry)
            done[entry["split"], entry["index"]] = entry
            bar.update()
    files.write_lines(target / MANIFEST, [asked, *(done[at] for at in wanted)])
    return {"written": len(todo), "kept": len(wanted) - len(todo)}


def open_splits(source: Path, height: int, width: int) -> dict[str, Nyud]:
    """The splits that the source has; one may be absent as a whole.

    Raises:
        ValueError: If a split is damaged.
        FileNotFoundError: If there is none, or a file of one is missing.
    """
    kind, root = find_layout(source)
    datasets, absent = {}, []
    for split in SPLITS:
        try:
            datasets[split] = Nyud(split, height=height, width=width, root=root)
        except FileNotFoundError as error:
            if kind.has(root, split):
                raise
            absent.append(error)
    if not datasets:
        raise absent[0]
    return datasets


def to_arrays(sample: Sample) -> dict[str, np.ndarray]:
    """Folder -> what its file holds: the format of ``nyud_npy``, in ``TYPES``."""
    ids = sample.targets["semseg"][0]
    arrays = {
        "image": sample.image.movedim(0, -1),
        "label": ids.masked_fill(ids == IGNORE_INDEX, -1),
        "depth": sample.targets["depth"].nan_to_num(0.0).movedim(0, -1),
        "normal": sample.targets["normals"].nan_to_num(0.0).movedim(0, -1),
    }
    return {folder: array.numpy().astype(TYPES[folder]) for folder, array in arrays.items()}


def read_manifest(target: Path, asked: Mapping[str, Any]) -> dict[tuple[str, int], Entry]:
    """What an earlier call wrote, by split and index; lines cut by an interrupt are left out.

    Raises:
        ValueError: If ``target`` is a file, has no manifest but other content, or was made from
            something else.
    """
    path = target / MANIFEST
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: expected a folder, found a file; name another one")
    if not path.is_file():
        if target.is_dir() and any(target.iterdir()):
            raise ValueError(
                f"{target}: expected a new folder or one with {MANIFEST}, found other files; "
                "name another one"
            )
        return {}
    head, *lines = [_parse(line) for line in path.read_bytes().split(b"\n")]
    if head != json.loads(json.dumps(asked)):
        different = [key for key in asked if not head or head.get(key) != asked[key]]
        raise ValueError(
            f"{path}: expected a conversion of this source at this size, found another "
            f"{' and '.join(different) or 'one'}; name another folder"
        )
    known = [line for line in lines if line and {"split", "index", "sha256"} <= set(line)]
    return {(line["split"], line["index"]): line for line in known}


def is_intact(target: Path, entry: Entry) -> bool:
    """Whether all files of an image have the content that its line says."""
    for folder, expected in entry["sha256"].items():
        path = file_of(target, entry["split"], folder, entry["index"])
        if not path.is_file() or files.sha256(path) != expected:
            return False
    return set(entry["sha256"]) == set(FOLDERS)


def file_of(target: Path, split: str, folder: str, index: int) -> Path:
    return target / SPLITS[split] / folder / f"{index}.npy"


def _write_all(
    source: Path, target: Path, height: int, width: int, todo: list[tuple[str, int]], workers: int
) -> Iterator[Entry]:
    if workers == 1 or len(todo) < 2:
        write = Writer(source, target, height, width)
        yield from map(write, todo)
        return
    start = partial(_start, source, target, height, width)
    with ProcessPoolExecutor(workers, get_context("spawn"), start) as pool:
        yield from pool.map(_write, todo, chunksize=CHUNK)


class Writer:
    """Writes one image after the other; splits are opened when first asked for."""

    def __init__(self, source: Path, target: Path, height: int, width: int) -> None:
        self.source, self.target, self.size = source, target, (height, width)
        self.open: dict[str, Nyud] = {}

    def __call__(self, at: tuple[str, int]) -> Entry:
        """The four files of an image, each complete or absent; returns its line."""
        split, index = at
        if split not in self.open:
            height, width = self.size
            self.open[split] = Nyud(
                split, height=height, width=width, root=find_layout(self.source)[1]
            )
        dataset = self.open[split]
        digests = {}
        for folder, array in to_arrays(dataset.make(index)).items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            blob = buffer.getvalue()
            path = file_of(self.target, split, folder, index)
            files.write(path, lambda file, blob=blob: file.write(blob))
            digests[folder] = hashlib.sha256(blob).hexdigest()
        return {"split": split, "index": index, "name": dataset.ids[index], "sha256": digests}


_writer: list[Writer] = []  # of this worker process


def _start(source: Path, target: Path, height: int, width: int) -> None:
    torch.set_num_threads(1)
    _writer.append(Writer(source, target, height, width))


def _write(at: tuple[str, int]) -> Entry:
    return _writer[0](at)


def _parse(line: bytes) -> Entry:
    """A line's object; empty if it is damaged."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
