"""What a trained network says of pictures: a folder of them in, files that anyone can open out.

For each picture ``<name>.jpg`` a folder ``<name>/``, every map at the size of the picture:

    classes    semseg.png, 8-bit class ids; the same for human_parts
    depth      depth.npy, float32; depth.png, 16 bits, and depth.json, which says what a step is
    normals    normals.npy, (H, W, 3) float32; normals.png, (n + 1) * 255 / 2
    yes or no  saliency.npy, float32 probabilities; saliency.png, 255 times as much; also edges

and ``predictions.json``, which says which run made them and what the files hold. Pictures are
seen by the network at the size it was trained on; its maps are brought back to theirs: class ids
by the nearest pixel, all else bilinearly, normals at unit length.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl import files
from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
from mtpsl.data.readers.files import listing
from mtpsl.data.readers.own_files import (
    IMAGES,
    INVERSE_STEP,
    MILLIMETERS,
    MOST_STEPS,
    read_photo,
    unfit,
    write_array,
    write_picture,
)
from mtpsl.methods import Method
from mtpsl.runs.data import EVAL_BATCH, bind_data
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import load_method
from mtpsl.runs.session import Session
from mtpsl.runs.store import RunStore
from mtpsl.tasks import Task, TaskSet, to_unit_length

SUMMARY, OVERVIEW = "predictions.json", "overview.png"
"""What lies beside the pictures' folders; the second is drawn by ``plots.predicted``."""


def predict(
    run: Experiment | str,
    session: Session,
    pictures: Path | str,
    out: Path | str,
    *,
    draw: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """Predicts every picture of a folder with a trained network.

    Args:
        run: A finished experiment, bound to its data, or its key.
        session: Where finished runs are kept, and where the network runs.
        pictures: A folder of .png, .jpg and .jpeg files of any size.
        out: A new or empty folder.
        draw: Called with ``out`` when everything is written, whatever was wrong.

    Returns:
        What ``predictions.json`` holds.

    Raises:
        FileNotFoundError: If the run or the folder of pictures is missing.
        ValueError: If ``out`` holds something, two pictures have one name or there is none; or,
            at the end, if a file could not be read: one sentence each, and all others are done.
    """
    experiment, device = find_run(run, session.store), session.torch_device
    pictures, out = Path(pictures), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out}: expected a new or empty folder, found {listing(out)}; name another one"
        )
    named, problems = find_pictures(pictures)
    method = load_method(experiment, session)
    scales = {t.name: step_of(t, experiment) for t in method.tasks if t.kind == "positive"}
    done = []
    for chunk in _chunks(list(named.items()), EVAL_BATCH):
        seen, broken = _read(chunk, experiment)
        problems += broken
        if not seen:
            continue
        maps = _predict(method, torch.stack([picture.image for picture in seen]).to(device))
        for row, picture in enumerate(seen):
            ours = {t.name: maps[t.name][row : row + 1] for t in method.tasks}
            entry = {"file": picture.path.name, "folder": picture.name}
            entry |= {"height": picture.size[0], "width": picture.size[1]}
            cut = write_maps(method.tasks, ours, picture.size, out / picture.name, scales)
            done.append(entry | {"cut_off": cut})
    summary = {
        "run": experiment.key,
        "experiment": experiment.to_dict(),
        "seen_at": [experiment.height, experiment.width],
        "tasks": {t.name: describe(t, scales.get(t.name)) for t in method.tasks},
        "pictures": done,
        "problems": problems,
    }
    files.write_json(out / SUMMARY, summary)
    if draw and done:
        draw(out)
    if problems:
        raise ValueError("\n".join(problems))
    return summary


def find_run(run: Experiment | str, store: RunStore) -> Experiment:
    """The experiment of a finished run.

    Raises:
        FileNotFoundError: If the store has no such run.
    """
    if isinstance(run, Experiment):
        return bind_data(run)
    record = store.load(run)
    if record is None and run and (store.root / run).is_dir():
        raise FileNotFoundError(
            f"run {run}: expected a finished run in {store.root}, found one that is not; finish "
            f"it: python -m mtpsl run --experiment {store.root / run / 'experiment.json'}"
        )
    if record is None:
        raise FileNotFoundError(
            f"run {run}: expected a finished run in {store.root}, found "
            f"{listing(store.root)}; name one by the key of its folder"
        )
    return Experiment.from_dict(record.experiment)


def find_pictures(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Name -> picture, sorted, and a sentence for everything else that lies there.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no picture, or two of one name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: expected a folder of pictures, found none; name the folder, not a picture"
        )
    named, problems = {}, []
    for path in sorted(folder.iterdir()):
        problem = unfit(path, IMAGES, "pictures")
        if path.name.startswith("."):
            continue
        if problem:
            problems.append(str(problem))
            continue
        name = path.stem
        if name in named or name in (SUMMARY, OVERVIEW):
            found = f"{named[name].name}, too" if name in named else "a name that is taken"
            raise ValueError(
                f"{path}: expected one picture named {name!r}, found {found}; rename one"
            )
        named[name] = path
    if not named:
        raise ValueError(
            f"{folder}: expected pictures ({', '.join(IMAGES)}), found {listing(folder)}; "
            "name another folder"
        )
    return named, problems


# ------------------------------------------------------------------ pictures


@dataclass(frozen=True)
class _Picture:
    name: str
    path: Path
    size: tuple[int, int]  # its own
    image: Tensor  # (3, H, W) float32 in [0, 1], at the size the network was trained on


def _read(
    chunk: Sequence[tuple[str, Path]], experiment: Experiment
) -> tuple[list[_Picture], list[str]]:
    """The pictures as data sets on disk give them, and a sentence for each that is damaged."""
    seen, problems = [], []
    for name, path in chunk:
        try:
            pixels = read_photo(path)
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        sample = Sample(torch.from_numpy(pixels).movedim(-1, 0).float() / 255, {}, {})
        image = disk.resize(sample, TaskSet(()), experiment.height, experiment.width).image
        seen.append(_Picture(name, path, pixels.shape[:2], (image * 255).round() / 255))
    return seen, problems


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


# ---------------------------------------------------------------------- maps


@torch.no_grad()
def _predict(method: Method, images: Tensor) -> dict[str, Tensor]:
    """Task -> (B, D, h, w) on the CPU: class ids, probabilities, numbers or unit vectors."""
    found = method.predict(images)
    maps = {}
    for task in method.tasks:
        raw = found[task.name].float().cpu()
        if not raw.isfinite().all():
            raise ValueError(
                f"{task.name}: expected finite predictions, found NaN or infinity; train the "
                "network again, with a smaller learning rate"
            )
        if task.kind == "classes":
            raw = raw.argmax(dim=1, keepdim=True)
        maps[task.name] = raw.sigmoid() if task.kind == "binary" else raw
    return maps


def at_size(task: Task, maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, D, h, w) -> (D, H, W): class ids by the nearest pixel, all else bilinearly."""
    if task.kind == "classes":
        return disk.nearest(maps[0], *size)
    smooth = F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)
    return (to_unit_length(smooth) if task.kind == "direction" else smooth)[0]


def write_maps(
    tasks: TaskSet,
    maps: dict[str, Tensor],
    size: tuple[int, int],
    folder: Path,
    scales: dict[str, float],
) -> dict[str, dict[str, int]]:
    """Writes the maps of one picture.

    Args:
        tasks: Whose maps.
        maps: Task -> (1, D, h, w), as the network's size has them.
        size: (height, width) of the picture.
        folder: Made if there is none.
        scales: Task with positive numbers -> what a step of its 16-bit picture is worth.

    Returns:
        Task -> how many pixels of its picture are ``"above"`` and ``"below"`` what 16 bits hold,
        for tasks with such pixels; the ``.npy`` files hold them as they are.
    """
    cut_off = {}
    for task in tasks:
        values = at_size(task, maps[task.name], size).numpy()
        array, picture = (folder / f"{task.name}{ending}" for ending in (".npy", ".png"))
        if task.kind == "classes":
            write_picture(picture, values[0].astype(np.uint8))
        elif task.kind == "direction":
            vectors = np.moveaxis(values, 0, -1)
            write_array(array, vectors)
            write_picture(picture, ((vectors + 1) * 127.5).round().clip(0, 255).astype(np.uint8))
        elif task.kind == "binary":
            write_array(array, values[0])
            write_picture(picture, (values[0] * 255).round().astype(np.uint8))
        else:
            write_array(array, values[0])
            steps, cut = to_steps(values[0], scales[task.name])
            write_picture(picture, steps)
            words = {"cut_off": cut} | describe(task, scales[task.name])
            _write_plain(folder / f"{task.name}.json", words)
            if any(cut.values()):
                cut_off[task.name] = cut
    return cut_off


def step_of(task: Task, experiment: Experiment) -> float:
    """What a step of a 16-bit picture is worth: a millimeter, where a task has a unit.

    An inverse depth has none; its steps are those of the pictures it was learned from.
    """
    if task.unit:
        return MILLIMETERS
    return experiment.data_args.get(task.name, {}).get("png_scale", INVERSE_STEP)


def to_steps(values: np.ndarray, step: float) -> tuple[np.ndarray, dict[str, int]]:
    """Positive numbers in 16 bits, 1 to 65535, since 0 stands for none.

    Returns:
        (H, W) uint16, and how many pixels were ``"above"`` and ``"below"`` that range.
    """
    steps = np.round(values.astype(np.float64) / step)
    cut = {"above": int((steps > MOST_STEPS).sum()), "below": int((steps < 1).sum())}
    return steps.clip(1, MOST_STEPS).astype(np.uint16), cut


def describe(task: Task, step: float | None = None) -> dict[str, Any]:
    """What the files of a task hold, in words and numbers, for ``predictions.json``."""
    words: dict[str, Any] = {"kind": task.kind}
    if task.kind == "classes":
        return words | {
            "png": "8-bit class ids, by position in classes",
            "classes": list(task.class_names),
        }
    if task.kind == "direction":
        return words | {
            "npy": "(height, width, 3) float32 unit vectors: x right, y down, z forward",
            "png": "(n + 1) * 255 / 2 in 8 bits, x as red, y as green, z as blue",
        }
    if task.kind == "binary":
        return words | {"npy": "float32 probability", "png": "255 * probability in 8 bits"}
    return words | {
        "unit": task.unit or "none: as the labels it was trained on",
        "npy": "float32, as predicted",
        "png": "16 bits: value = step * pixel, cut off at step and largest; cut_off counts pixels",
        "step": step,
        "largest": step * MOST_STEPS,
    }


def _write_plain(path: Path, words: dict[str, Any]) -> None:
    text = json.dumps(words, indent=1) + "\n"
    files.write(path, lambda file: file.write(text.encode()))
