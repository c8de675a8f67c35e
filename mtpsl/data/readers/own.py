"""Images of one's own with the labels one has: a folder in which a missing file is a missing label.

The whole layout::

    mtpsl.toml               a line for each task, such as [depth], and its settings
    train/image/<name>.jpg   photographs, .png or .jpg, of any size
    train/semseg/<name>.png  class ids as 8-bit gray or palette, 255 void
    train/depth/<name>.png   16 bits, millimeters, 0 where there is none; or .npy, in meters
    train/normals/<name>.npy (H, W, 3): x right, y down, z forward, zeros where there are none; or
                             .png, (n + 1) * 255 / 2
    train/human_parts/...    class ids of ``tasks.HUMAN_PARTS``
    train/saliency/...       0 no, 255 yes, 128 unknown; or .npy, 0 and 1
    train/edges/...          the same
    test/image/...           as in train; a label that is missing here is not measured

An image may lack every label: methods that learn without use it, the supervised baselines leave it
out. Any label may be a ``.png`` or a ``.npy`` file, of its image's size. ``[semseg]`` has a setting
``classes``, the names in the order of the ids; ``own_toml.OPTIONS`` lists the others. Nothing is
repaired or skipped silently; hidden files do not count.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from mtpsl import files, tasks
from mtpsl.batch import Batch
from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk, own_files
from mtpsl.data.readers.files import listing, refusal
from mtpsl.data.readers.own_files import IMAGES, LABELS
from mtpsl.data.readers.own_toml import (
    DESCRIPTION,
    OPTIONS,
    nearest_name,
    read_description,
    to_axes,
)
from mtpsl.tasks import Task, TaskSet

SPLITS = ("train", "test")
IMAGE = "image"  # the folder of the photographs; those of labels are called like their tasks

Paths = dict[str, Path]  # "image" and the names of tasks -> file; a task without one has no label


@final
class Own(disk.FolderDataset):
    """A split of a folder of one's own.

    Images come in the order of their names, and are rounded to 8 bits after resizing.

    Args:
        split: ``"train"`` or ``"test"``.
        height: Wanted height; every image is resized to height x width, whatever its proportions:
            images and normals bilinearly, averaging where they shrink, all else to the nearest
            pixel.
        width: Wanted width.
        images: Use the first so many images; None, or more than there are: all of them.
        root: The folder that holds ``mtpsl.toml``.

    Raises:
        FileNotFoundError: If ``mtpsl.toml`` or a folder of images is missing.
        ValueError: If an argument or a setting is wrong, names repeat, a label has no image, a
            task has no label to train on, or, when an image is read, its files are not as above.
    """

    name = "own"
    rounds_images = True  # to 8 bits, as photographs have them

    def __init__(
        self,
        split: str,
        *,
        height: int = 288,
        width: int = 384,
        images: int | None = None,
        root: str | Path,
    ) -> None:
        disk.check_choice(split, images)
        self.root = Path(root)
        self.split, self.height, self.width = split, height, width
        self.description = read_description(self.root / DESCRIPTION)
        self.tasks = tasks_from(self.description)
        both = {name: read_names(self.root, name, self.tasks.names) for name in SPLITS}
        self.available = len(both[split])
        self.images = min(images or self.available, self.available)
        self.ids = tuple(both[split])[: self.images]
        self._paths = [both[split][i] for i in self.ids]
        self.version = version(self.root, both)
        self._labeled = {
            task: torch.tensor([task in paths for paths in self._paths])
            for task in self.tasks.names
        }

    def path(self, what: str, index: int) -> Path | None:
        """Of the image (``"image"``) or the label of a task; None where there is no label."""
        return self._paths[index].get(what)

    def read(self, index: int) -> Sample:
        """The image at its own size; a label without a file is a hole everywhere.

        Raises:
            ValueError: If a file is damaged or does not hold what its folder should.
        """
        pixels = own_files.read_photo(self._paths[index][IMAGE])
        size = pixels.shape[:2]
        targets, valid = {}, {}
        for task in self.tasks:
            path = self.path(task.name, index)
            if path is None:
                shape = (task.target_channels, *size)
                target = torch.full(shape, task.missing, dtype=task.target_dtype)
            else:
                target = read_label(task, path, size, self.description[task.name])
            targets[task.name] = target
            known = target != task.missing if task.kind == "classes" else target.isfinite()
            valid[task.name] = known[:1]
        return Sample(torch.from_numpy(pixels).movedim(-1, 0).float() / 255, targets, valid)

    def load(self, indices: Sequence[int]) -> Batch:
        """As ``Dataset.load``, but ``labeled`` is False where there is no file."""
        batch = super().load(indices)
        return replace(batch, labeled={t: able[batch.index] for t, able in self._labeled.items()})

    def carries(self, task: str) -> Tensor:
        """(N,) bool: images that have a file with the task's label."""
        self.tasks[task]
        return self._labeled[task].clone()


# ------------------------------------------------------------------- folders


def find_root(path: str | Path) -> Path:
    """The folder, if it is one of these.

    Raises:
        FileNotFoundError: If it holds no ``mtpsl.toml``.
    """
    root = Path(path)
    if not (root / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{root}: expected {DESCRIPTION}, found {listing(root)}")
    return root


def has_pictures(path: str | Path) -> bool:
    """Whether a folder has photographs where ``Own`` has them, and looks like no other layout."""
    folder = Path(path) / "train" / IMAGE
    found = {p.suffix.lower() for p in folder.iterdir()} if folder.is_dir() else set()
    return bool(found & set(IMAGES)) and ".npy" not in found


def tasks_from(description: Mapping[str, Mapping[str, Any]]) -> TaskSet:
    """The tasks that ``own_toml.read_description`` found, in their order."""
    return TaskSet(tuple(_task(name, settings) for name, settings in description.items()))


def _task(name: str, settings: Mapping[str, Any]) -> Task:
    match name:
        case "semseg":
            task = tasks.semseg(tuple(settings["classes"]))
        case "depth":
            task = tasks.inverse_depth() if settings["inverse"] else tasks.depth()
        case "normals":
            task = tasks.normals()
        case "human_parts":
            task = tasks.human_parts()
        case "saliency":
            task = tasks.saliency()
        case "edges":
            task = tasks.edges()
        case _:
            raise ValueError(f"task: expected one of {list(OPTIONS)}, got {name!r}")
    return replace(task, weight=float(settings["weight"]))


def read_label(
    task: Task, path: Path, size: tuple[int, int], settings: Mapping[str, Any]
) -> Tensor:
    """A label (C, H, W) with ``Task.missing`` in its holes; see ``own_files`` for what it raises.

    Args:
        task: Whose label it is.
        path: A ``.png`` or a ``.npy`` file.
        size: (height, width) of its image.
        settings: Of the task, as ``own_toml.read_description`` gives them.
    """
    if task.kind == "classes":
        return own_files.read_classes(path, size, task.channels)
    if task.kind == "positive":
        return own_files.read_depth(path, size, settings["png_scale"], settings["inverse"])
    if task.kind == "direction":
        return own_files.read_normals(path, size, to_axes(settings["axes"]))
    return own_files.read_binary(path, size, settings["threshold"])


def read_names(root: Path, split: str, tasks: Sequence[str]) -> dict[str, Paths]:
    """Name of an image -> its files, sorted by name.

    Raises:
        FileNotFoundError: If there is no folder of images.
        ValueError: If a folder is no task's, a label has no image or, in the training split, a
            task has no label; or as ``own_files.files_by_name`` says.
    """
    folder = root / split
    if not (folder / IMAGE).is_dir():
        raise FileNotFoundError(
            f"{folder / IMAGE}: expected a folder of photographs, found "
            f"{listing(folder)} in {folder}; make it"
        )
    known = (IMAGE, *tasks)
    for path in sorted(folder.iterdir()):
        if path.name not in known and not path.name.startswith("."):
            remedy = f"rename it{nearest_name(path.name, known)}, or describe it in {DESCRIPTION}"
            raise refusal(path, f"folders among {list(known)}", path.name, remedy)
    images = own_files.files_by_name(folder / IMAGE, IMAGES, "images")
    if not images:
        raise refusal(folder / IMAGE, "a photograph", "an empty folder", "put some in")
    found = {name: {IMAGE: path} for name, path in images.items()}
    for task in tasks:
        place = folder / task
        labels = own_files.files_by_name(place, LABELS, "labels") if place.is_dir() else {}
        for name, path in labels.items():
            if name not in found:
                hint = nearest_name(name, found)
                expected = f"an image of that name in {folder / IMAGE}"
                raise refusal(path, expected, "none", f"rename one{hint}, or remove this label")
            found[name][task] = path
        if not labels and split == "train":
            remedy = f"add some, or take [{task}] out of {DESCRIPTION}"
            raise refusal(place, f"a label of {task} to train on", "none", remedy)
    return found


def version(root: Path, splits: Mapping[str, Mapping[str, Paths]]) -> str:
    """A fingerprint of all files of both splits, whole: people correct labels in place.

    Takes as long as reading them once; in one process, only what changes is read again.
    """
    named = {DESCRIPTION: root / DESCRIPTION}
    for split, images in splits.items():
        for name, paths in images.items():
            for what, path in paths.items():
                named[f"{split}/{what}/{name}{path.suffix}"] = path
    digest = hashlib.sha256()
    for name, path in named.items():
        facts = path.stat()
        found = _sha256(path.absolute(), facts.st_size, facts.st_mtime_ns)
        digest.update(f"{name} {found}\n".encode())
    return f"own-{digest.hexdigest()[:12]}"


@functools.lru_cache(maxsize=1 << 20)
def _sha256(path: Path, size: int, changed: int) -> str:
    """Of a file that is the same as long as these are."""
    return files.sha256(path)
