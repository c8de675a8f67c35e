"""A data set in any layout -> its preprocessed ``.npy`` tree, resumable and checked.

NYUD-v2, Cityscapes and PASCAL-Context; which one it is, is found out. Beside the tree lies
``manifest.jsonl``: a line that says what was asked for, and one an image with the sha256 of its
files. A file counts as done while its content is the one of that line.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from mtpsl import files
from mtpsl.data import find_class, recognize
from mtpsl.data.dataset import Dataset, Sample
from mtpsl.data.readers import nyud_layout, pascal_npy
from mtpsl.data.readers.files import listing
from mtpsl.data.readers.nyud import ARCHIVES, find_layout
from mtpsl.losses import IGNORE_INDEX

MANIFEST = "manifest.jsonl"
TYPES = {"image": "float16", "label": "int8", "depth": "float32", "normal": "float16"}
"""Of NYUD-v2, folder -> type. Half precision keeps 8-bit colors and is within 0.06 degrees for
normals."""

CITYSCAPES = {"image": "float16", "label_7": "int8", "depth": "float32"}
SPLITS = nyud_layout.SPLITS  # ours -> the folder's name, of all three trees
CHUNK = 4  # images that a worker process takes at a time

Entry = dict[str, Any]  # split, index, name of the source, sha256: folder -> hex digest


@dataclass(frozen=True)
class Tree:
    """How a data set is written."""

    types: Mapping[str, str]  # folder -> type of its files
    size: tuple[int, int]  # height and width that the papers use
    to_arrays: Callable[[Sample], dict[str, np.ndarray]]  # folder -> what its file holds
    carried: Mapping[str, str]  # folder -> task: images that cannot carry it have no file there


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

    These are the folders of NYUD-v2; those of Cityscapes and PASCAL-Context are the keys of
    ``TREES``. Class ids, depths and binary maps are what the source's reader gives, exactly.
    Colors are too within half precision (PASCAL-Context: exactly), normals within 0.06 degrees.
    Stop it at any time: the same call goes on, and writes again what was damaged since.

    Args:
        source: Folder of a data set that ``recognize`` knows. Of NYUD-v2 both splits where it has
            both.
        target: New, or of an earlier call for the same source and size.
        height: Of the files; None for the papers'. Class ids and depth are taken from the nearest
            pixel.
        width: Of the files; None for the papers'.
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
        raise FileNotFoundError(_no_layout(source))
    tree = TREES[name]
    height, width = height or tree.size[0], width or tree.size[1]
    datasets = open_splits(name, source, height, width)
    first = next(iter(datasets.values()))
    asked = {
        "source": first.version,
        "layout": getattr(first.layout, "title", None) or first.layout.name,
        "height": height,
        "width": width,
        "types": tree.types,
        "images": {split: len(dataset) for split, dataset in datasets.items()},
    }
    entries = read_manifest(target, asked)
    wanted = {
        (split, index): folders
        for split, dataset in datasets.items()
        for index, folders in enumerate(folders_of(tree, dataset))
    }
    done = {at: e for at, e in entries.items() if is_intact(target, e, wanted.get(at, ()))}
    todo = [(*at, folders) for at, folders in wanted.items() if at not in done]
    files.write_lines(target / MANIFEST, [asked, *done.values()])
    for split, dataset in datasets.items():
        write_lists(name, target / SPLITS[split], dataset)
    writer = partial(Writer, name, source, target, height, width)
    with tqdm(total=len(wanted), initial=len(done), unit="image", disable=not progress) as bar:
        for entry in _write_all(writer, todo, workers):
            files.append_line(target / MANIFEST, entry)
            done[entry["split"], entry["index"]] = entry
            bar.update()
    files.write_lines(target / MANIFEST, [asked, *(done[at] for at in wanted)])
    return {"written": len(todo), "kept": len(wanted) - len(todo)}


def open_splits(name: str, source: Path, height: int, width: int) -> dict[str, Dataset]:
    """The splits that the source has; of NYUD-v2, one may be absent as a whole.

    Raises:
        ValueError: If a split is damaged.
        FileNotFoundError: If there is none, or a file of one is missing.
    """
    size = {"height": height, "width": width}
    if name != "nyud":
        return {split: find_class(name)(split, root=source, **size) for split in SPLITS}
    kind, root = find_layout(source)
    datasets, absent = {}, []
    for split in SPLITS:
        try:
            datasets[split] = find_class(name)(split, root=root, **size)
        except FileNotFoundError as error:
            if kind.has(root, split):
                raise
            absent.append(error)
    if not datasets:
        raise absent[0]
    return datasets


def folders_of(tree: Tree, dataset: Dataset) -> Iterator[tuple[str, ...]]:
    """Of each image, the folders that have a file of it."""
    able = {folder: dataset.carries(task).tolist() for folder, task in tree.carried.items()}
    for index in range(len(dataset)):
        yield tuple(f for f in tree.types if f not in able or able[f][index])


# ------------------------------------------------------------------- formats


def nyud_arrays(sample: Sample) -> dict[str, np.ndarray]:
    """Folder -> what its file holds: the format of ``nyud_npy``, in ``TYPES``."""
    return {
        "image": _channels_last(sample.image, TYPES["image"]),
        "label": _ids(sample),
        "depth": _channels_last(sample.targets["depth"].nan_to_num(0.0), TYPES["depth"]),
        "normal": _channels_last(sample.targets["normals"].nan_to_num(0.0), TYPES["normal"]),
    }


def cityscapes_arrays(sample: Sample) -> dict[str, np.ndarray]:
    """Folder -> what its file holds: the format of ``cityscapes_files.Npy``."""
    return {
        "image": _channels_last(sample.image, CITYSCAPES["image"]),
        "label_7": _ids(sample),
        "depth": _channels_last(sample.targets["depth"].nan_to_num(0.0), CITYSCAPES["depth"]),
    }


def pascal_arrays(sample: Sample) -> dict[str, np.ndarray]:
    """Folder -> what its file holds: the format of ``pascal_npy``."""
    types, targets = pascal_npy.TYPES, sample.targets
    flat = {f: targets[f][0].numpy().astype(kind) for f, kind in types.items() if f in targets}
    return flat | {
        "image": _channels_last((sample.image * 255).round(), types["image"]),
        "normals": _channels_last(targets["normals"].nan_to_num(0.0), types["normals"]),
    }


def write_lists(name: str, folder: Path, dataset: Dataset) -> None:
    """The names of the images, which only the tree of PASCAL-Context keeps."""
    if name != "pascal_context":
        return
    people = dataset.carries("human_parts").tolist()
    named = [i for i, shown in zip(dataset.ids, people, strict=True) if shown]
    for file, ids in ((pascal_npy.IDS, dataset.ids), (pascal_npy.PEOPLE, named)):
        text = "".join(f"{i}\n" for i in ids).encode()
        files.write(folder / file, lambda out, text=text: out.write(text))


TREES = {
    "nyud": Tree(TYPES, (288, 384), nyud_arrays, {}),
    "cityscapes": Tree(CITYSCAPES, (128, 256), cityscapes_arrays, {}),
    "pascal_context": Tree(
        pascal_npy.TYPES, (512, 512), pascal_arrays, {"human_parts": "human_parts"}
    ),
}
"""Data set, as ``recognize`` names it -> how it is written."""


def _ids(sample: Sample) -> np.ndarray:
    """(H, W) int8 of the classes, -1 where void."""
    ids = sample.targets["semseg"][0]
    return ids.masked_fill(ids == IGNORE_INDEX, -1).numpy().astype("int8")


def _channels_last(maps: torch.Tensor, kind: str) -> np.ndarray:
    return np.ascontiguousarray(maps.movedim(0, -1).numpy().astype(kind))


# -------------------------------------------------------- manifest and files


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


def is_intact(target: Path, entry: Entry, folders: tuple[str, ...]) -> bool:
    """Whether an image has a file in exactly these folders, each as its line says."""
    for folder, expected in entry["sha256"].items():
        path = file_of(target, entry["split"], folder, entry["index"])
        if not path.is_file() or files.sha256(path) != expected:
            return False
    return set(entry["sha256"]) == set(folders)


def file_of(target: Path, split: str, folder: str, index: int) -> Path:
    return target / SPLITS[split] / folder / f"{index}.npy"


At = tuple[str, int, tuple[str, ...]]  # split, index, folders


class Writer:
    """Writes one image after the other; splits are opened when first asked for."""

    def __init__(self, name: str, source: Path, target: Path, height: int, width: int) -> None:
        root = find_layout(source)[1] if name == "nyud" else source
        self.open = partial(find_class(name), height=height, width=width, root=root)
        self.target, self.tree = target, TREES[name]
        self.datasets: dict[str, Dataset] = {}

    def __call__(self, at: At) -> Entry:
        """The files of an image, each complete or absent; returns its line."""
        split, index, folders = at
        if split not in self.datasets:
            self.datasets[split] = self.open(split)
        dataset = self.datasets[split]
        arrays, digests = self.tree.to_arrays(dataset[index]), {}
        for folder in set(arrays) - set(folders):
            if (arrays[folder] != IGNORE_INDEX).any():
                raise ValueError(
                    f"{dataset.root}: expected nothing in {folder} of {dataset.ids[index]}, which "
                    "the list of people leaves out, found a label; delete the lists in "
                    "ImageSets/Parts: without them, the files themselves say who shows a person"
                )
        for folder in folders:
            buffer = io.BytesIO()
            np.save(buffer, arrays[folder])
            blob = buffer.getvalue()
            path = file_of(self.target, split, folder, index)
            files.write(path, lambda file, blob=blob: file.write(blob))
            digests[folder] = hashlib.sha256(blob).hexdigest()
        return {"split": split, "index": index, "name": dataset.ids[index], "sha256": digests}


def _write_all(writer: Callable[[], Writer], todo: list[At], workers: int) -> Iterator[Entry]:
    if workers == 1 or len(todo) < 2:
        yield from map(writer(), todo)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), partial(_start, writer)) as pool:
        yield from pool.map(_write, todo, chunksize=CHUNK)


_writer: list[Writer] = []  # of this worker process


def _start(writer: Callable[[], Writer]) -> None:
    torch.set_num_threads(1)
    _writer.append(writer())


def _write(at: At) -> Entry:
    return _writer[0](at)


def _no_layout(source: Path) -> str:
    found = f"{listing(source)}; name the folder of the data set"
    if source.is_file() and source.suffix in ARCHIVES:
        found = "an archive; unpack it"
    return (
        f"{source}: expected a folder with NYUD-v2, Cityscapes or PASCAL-Context as `data sources` "
        f"describes them, found {found}"
    )


def _parse(line: bytes) -> Entry:
    """A line's object; empty if it is damaged."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
