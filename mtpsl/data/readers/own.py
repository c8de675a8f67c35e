"""Your own images, with whatever labels you have: a missing file is a missing label.

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
``classes``, the names in the order of the ids; ``OPTIONS`` lists the others. Nothing is
repaired or skipped silently; hidden files do not count.
"""

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from mtpsl import tasks
from mtpsl.batch import Batch
from mtpsl.data.dataset import Sample
from mtpsl.data.fingerprint import fingerprint
from mtpsl.data.readers import disk, own_files
from mtpsl.data.readers.disk import Axes, axes_name
from mtpsl.data.readers.own_files import (
    DESCRIPTION,
    IMAGE,
    IMAGES,
    INVERSE_STEP,
    LABELS,
    MILLIMETERS,
)
from mtpsl.data.readers.reading import listing, missing, reason, refusal
from mtpsl.losses import IGNORE_INDEX
from mtpsl.tasks import Task, TaskSet

OPTIONS: dict[str, dict[str, Any]] = {
    "semseg": {"classes": None},
    "depth": {"inverse": False, "png_scale": None},
    "normals": {"axes": ["x", "y", "z"]},
    "human_parts": {},
    "saliency": {"threshold": None},
    "edges": {"threshold": None},
}
"""Task -> its settings in ``mtpsl.toml`` and what they are by default; each has ``weight``, too."""

Paths = dict[str, Path]  # "image" and the names of tasks -> file; a task without one has no label


@final
class Own(disk.FolderDataset):
    """A split of a folder of your own images.

    Images come in the order of their names, and are rounded to 8 bits after resizing. ``root`` is
    the folder that holds ``mtpsl.toml``.
    """

    name = "own"
    default_size = (288, 384)
    rounds_images = True  # to 8 bits, as photographs have them
    one_size = False

    def open_root(self, path: Path) -> tuple[str, ...]:
        self.root = path
        self.description = read_description(path / DESCRIPTION)
        self.tasks = tasks_from(self.description)
        self._files = {name: read_names(path, name, self.tasks.names) for name in disk.SPLITS}
        images = [paths for split in self._files.values() for paths in split.values()]
        every = [path for paths in images for path in paths.values()]
        self.version = fingerprint("own", path, [path / DESCRIPTION, *every])
        return tuple(self._files[self.split])

    def files(self, index: int) -> Paths:
        """The image and the labels that it has, by their folders' names."""
        return self._files[self.split][self.ids[index]]

    def read(self, index: int) -> Sample:
        """The image at its own size; a label without a file is a hole everywhere."""
        paths = self.files(index)
        pixels = own_files.read_photo(paths[IMAGE])
        size = pixels.shape[:2]
        targets = {}
        for task in self.tasks:
            path = paths.get(task.name)
            if path is None:
                shape = (task.target_channels, *size)
                target = torch.full(shape, task.missing, dtype=task.target_dtype)
            else:
                target = read_label(task, path, size, self.description[task.name])
            targets[task.name] = target
        return disk.sample_of(disk.to_image(pixels), targets, self.tasks)

    def load(self, indices: Sequence[int]) -> Batch:
        """Loads a batch in which ``labeled`` is False where there is no file."""
        batch = super().load(indices)
        paths = [self.files(int(index)) for index in indices]
        labeled = {t: torch.tensor([t in p for p in paths]) for t in self.tasks.names}
        return replace(batch, labeled=labeled)

    def carries(self, task: str) -> Tensor:
        """(N,) bool: images that have a file with the task's label."""
        self.tasks[task]  # a KeyError that names the tasks
        return torch.tensor([task in self.files(index) for index in range(len(self))])

    @classmethod
    def describe_root(cls, path: str | Path) -> str:
        root = find_root(path)
        used = {DESCRIPTION, *disk.SPLITS}
        others = [p.name for p in sorted(root.iterdir()) if p.name not in used and p.name[0] != "."]
        ignored = f"\nnot looked at: {', '.join(others)}" if others else ""
        return f"a folder of your own: {root}{ignored}"

    def notes(self) -> Iterator[str]:
        able = {task: self.carries(task) for task in self.tasks.names}
        counts = {task: int(images.sum()) for task, images in able.items()}
        labels = torch.stack(list(able.values())).sum(dim=0)
        listed = ", ".join(f"{task} {count}" for task, count in counts.items())
        every, none = int((labels == len(counts)).sum()), int((labels == 0).sum())
        yield f"labels: {listed}; all of them on {every} images, none on {none}"
        for task in (task for task, count in counts.items() if not count):
            yield f"none of {task}, so nothing will be measured of it"

    def problems(self) -> Iterator[str]:
        """A sentence for each test image whose file is also a training image."""
        if self.split != "test":
            return
        train: dict[int, list[Path]] = {}
        for paths in self._files["train"].values():
            train.setdefault(paths[IMAGE].stat().st_size, []).append(paths[IMAGE])
        for path in (paths[IMAGE] for paths in self._files["test"].values()):
            for other in train.get(path.stat().st_size, ()):
                if path.read_bytes() == other.read_bytes():
                    expected, found = f"no image of {other.parent}", f"the content of {other.name}"
                    remedy = "a test image must not be trained on, remove one"
                    yield str(refusal(path, expected, found, remedy))
                    break

    def axes_remedies(self, axes: Axes) -> Iterator[str]:
        (settings,) = (self.description[t.name] for t in self.tasks if t.kind == "direction")
        channels, signs = to_axes(settings["axes"])
        of_file = (
            tuple(channels[c] for c in axes[0]),
            tuple(s * signs[c] for c, s in zip(*axes, strict=True)),
        )
        names = json.dumps(axes_name(of_file)[1:-1].split(", "))
        yield f"if that camera is yours, set axes = {names} under [normals]"


# ------------------------------------------------------------------- folders


def find_root(path: str | Path) -> Path:
    """The folder, if it is one of these."""
    root = Path(path)
    if not (root / DESCRIPTION).is_file():
        raise missing(root, DESCRIPTION, listing(root))
    return root


def has_pictures(path: str | Path) -> bool:
    """Whether a folder has photographs where ``Own`` has them, and looks like no other layout."""
    folder = Path(path) / "train" / IMAGE
    endings = {p.suffix.lower() for p in folder.iterdir()} if folder.is_dir() else set()
    return bool(endings & set(IMAGES)) and ".npy" not in endings


def tasks_from(description: Mapping[str, Mapping[str, Any]]) -> TaskSet:
    """The tasks that ``read_description`` found, in their order."""
    made = []
    for name, settings in description.items():
        if name not in OPTIONS:
            raise ValueError(f"task: expected one of {list(OPTIONS)}, got {name!r}")
        if name == "semseg":
            task = tasks.semseg(tuple(settings["classes"]))
        else:
            task = getattr(tasks, "inverse_depth" if settings.get("inverse") else name)()
        made.append(replace(task, weight=float(settings["weight"])))
    return TaskSet(tuple(made))


def read_label(
    task: Task, path: Path, size: tuple[int, int], settings: Mapping[str, Any]
) -> Tensor:
    """A label (C, H, W) with ``Task.missing`` in its holes, of the (height, width) of its image."""
    if task.kind == "classes":
        return own_files.read_classes(path, size, task.channels)
    if task.kind == "positive":
        return own_files.read_depth(path, size, settings["png_scale"], settings["inverse"])
    if task.kind == "direction":
        return own_files.read_normals(path, size, to_axes(settings["axes"]))
    return own_files.read_binary(path, size, settings["threshold"])


def read_names(root: Path, split: str, tasks: Sequence[str]) -> dict[str, Paths]:
    """Name of an image -> its files, sorted by name."""
    folder = root / split
    if not (folder / IMAGE).is_dir():
        found = f"{listing(folder)} in {folder}"
        raise missing(folder / IMAGE, "a folder of photographs", found, "make it")
    known = (IMAGE, *tasks)
    for path in sorted(folder.iterdir()):
        if path.name not in known and not path.name.startswith("."):
            remedy = f"rename it{nearest_name(path.name, known)}, or describe it in {DESCRIPTION}"
            raise refusal(path, f"folders among {list(known)}", path.name, remedy)
    images = own_files.files_by_name(folder / IMAGE, IMAGES, "images")
    if not images:
        raise refusal(folder / IMAGE, "a photograph", "an empty folder", "put some in")
    files_of = {name: {IMAGE: path} for name, path in images.items()}
    for task in tasks:
        place = folder / task
        labels = own_files.files_by_name(place, LABELS, "labels") if place.is_dir() else {}
        for name, path in labels.items():
            if name not in files_of:
                hint = nearest_name(name, files_of)
                expected = f"an image of that name in {folder / IMAGE}"
                raise refusal(path, expected, "none", f"rename one{hint}, or remove this label")
            files_of[name][task] = path
        if not labels and split == "train":
            remedy = f"add some, or take [{task}] out of {DESCRIPTION}"
            raise refusal(place, f"a label of {task} to train on", "none", remedy)
    return files_of


# -------------------------------------------------------------- mtpsl.toml


def read_description(path: Path) -> dict[str, dict[str, Any]]:
    """Task -> all of its settings, in the order of the file; plain JSON types.

    ``mtpsl.toml`` has a table for each task, such as ``[depth]``, with the settings that
    ``OPTIONS`` lists; a task or setting that is unknown or out of range is refused.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        expected = "a file that names the tasks, with lines such as [depth]"
        raise missing(path, expected, remedy="write it") from error
    except (ValueError, OSError, RecursionError) as error:
        raise refusal(path, "TOML such as [depth]", reason(error), "correct it") from error
    if not content:
        raise refusal(path, "a table for each task, such as [depth]", "none", "add one")
    return check_description(path, content)


def check_description(path: Path, content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Task -> all of its settings; what is unknown or out of range is refused, naming ``path``."""
    description = {}
    for task, settings in content.items():
        if task not in OPTIONS:
            hint = nearest_name(task, OPTIONS)
            raise refusal(path, f"tasks among {list(OPTIONS)}", repr(task), f"correct it{hint}")
        if not isinstance(settings, dict):
            raise refusal(path, f"a table [{task}]", repr(settings), f"write [{task}]")
        description[task] = _settings(path, task, settings)
    return description


def _settings(path: Path, task: str, given: dict[str, Any]) -> dict[str, Any]:
    known = OPTIONS[task] | {"weight": 1.0}
    for name in given:
        if name not in known:
            hint = nearest_name(name, known)
            expected = f"settings of [{task}] among {list(known)}"
            raise refusal(path, expected, repr(name), f"correct it{hint}")
    settings = known | given
    if "png_scale" in settings and settings["png_scale"] is None:
        settings["png_scale"] = INVERSE_STEP if settings["inverse"] else MILLIMETERS
    for name, value in settings.items():
        expected, fits = _RULES[name]
        if not fits(value):
            found = "none" if value is None else repr(value)
            raise refusal(path, f"{name} of [{task}] to be {expected}", found, "correct it")
    return settings


def _names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 2 <= len(value) <= IGNORE_INDEX
        and all(isinstance(name, str) and name.strip() for name in value)
        and len(set(value)) == len(value)
    )


def _axes(value: Any) -> bool:
    texts = isinstance(value, list) and all(isinstance(axis, str) for axis in value)
    return texts and sorted(axis.removeprefix("-") for axis in value) == ["x", "y", "z"]


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


_RULES = {
    "classes": ("a list of 2 to 255 different names", _names),
    "inverse": ("true or false", lambda value: isinstance(value, bool)),
    "png_scale": ("a number above 0", _positive),
    "axes": ('x, y and z with or without a sign, such as ["x", "-y", "-z"]', _axes),
    "threshold": (
        "a whole number, 1 to 255",
        lambda value: value is None or (type(value) is int and 1 <= value <= 255),
    ),
    "weight": ("a number above 0", _positive),
}


def to_axes(names: Sequence[str]) -> Axes:
    """What the channels of a file hold, such as ``("x", "-y", "-z")`` -> where x, y and z are."""
    plain = [name.removeprefix("-") for name in names]
    channels = tuple(plain.index(axis) for axis in "xyz")
    signs = tuple(-1 if names[channel].startswith("-") else 1 for channel in channels)
    return channels, signs


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A hint for the end of a sentence, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
