"""What a trained network says of pictures: a folder of them in, files that anyone can open out.

For each picture ``<name>.jpg`` a folder ``<name>/``, every map at the size of the picture:

    classes    semseg.png, 8-bit class ids, and semseg_color.png; the same for human_parts
    depth      depth.npy, float32; depth.png, 16 bits, and depth.json, which says what a step is
    normals    normals.npy, (H, W, 3) float32; normals.png, (n + 1) * 255 / 2
    yes or no  saliency.npy, float32 probabilities; saliency.png, 255 times as much; also edges

and ``predictions.json``, which says which run made them, what the files hold and, class by class,
how much was predicted and how well the run did on its test split, and ``overview.png``, a sheet of
some of them. Pictures are seen by the network at the size it was
trained on; its maps are brought back to theirs: class ids by the nearest pixel, all else
bilinearly, normals at unit length.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image, ImageOps
from torch import Tensor

from mtpsl import files
from mtpsl.data.dataset import Sample
from mtpsl.data.readers import disk
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
from mtpsl.data.readers.reading import listing
from mtpsl.methods import Method
from mtpsl.report.arrays import Arrays, evenly_spaced
from mtpsl.report.arrays import describe as describe_tasks
from mtpsl.report.figure import footer, png_bytes
from mtpsl.report.maps import Grid, draw_grids, map_to_rgb, titles_of
from mtpsl.report.style import classes_to_rgb, styled
from mtpsl.runs.data import EVAL_BATCH, bind_data, tasks_of
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import load_method
from mtpsl.runs.store import RunStore, Session
from mtpsl.tasks import Task, TaskSet, to_unit_length

SUMMARY, OVERVIEW = "predictions.json", "overview.png"  # beside the pictures' folders
ROWS = 6  # pictures on a sheet
SIDE = 240  # pixels of the longer side of a picture on a sheet
PANEL = 1.6  # inches
LONGEST = 24  # letters of a name on a sheet


def predict_folder(
    run: Experiment | str, session: Session, pictures: Path | str, out: Path | str
) -> dict[str, Any]:
    """Predicts every picture of a folder with a trained network, and draws a sheet of some.

    Args:
        run: A finished experiment, bound to its data, or its key.
        session: Where finished runs are kept, and where the network runs.
        pictures: A folder of .png, .jpg and .jpeg files of any size.
        out: A new or empty folder.

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
    method, record = load_method(experiment, session), session.store.load(experiment.key)
    pixels = {t.name: np.zeros(t.channels, int) for t in method.tasks if t.class_names}
    scales = {t.name: step_of(t, experiment) for t in method.tasks if t.kind == "positive"}
    done, places = [], list(named.items())
    for start in range(0, len(places), EVAL_BATCH):
        images, entries = [], []
        for name, path in places[start : start + EVAL_BATCH]:
            try:
                (height, width), image = _read(path, experiment)
            except (ValueError, FileNotFoundError) as error:
                problems.append(str(error))
                continue
            entries.append({"file": path.name, "folder": name, "height": height, "width": width})
            images.append(image)
        maps = _predict(method, torch.stack(images).to(device)) if images else {}
        for row, entry in enumerate(entries):
            ours = {t.name: maps[t.name][row : row + 1] for t in method.tasks}
            size = entry["height"], entry["width"]
            for name in pixels:
                pixels[name] += np.bincount(ours[name].flatten(), minlength=len(pixels[name]))
            cut = write_maps(method.tasks, ours, size, out / entry["folder"], scales)
            done.append(entry | {"cut_off": cut})
    summary = {
        "run": experiment.key,
        "experiment": experiment.to_dict(),
        "seen_at": [experiment.height, experiment.width],
        "tasks": {t.name: describe(t, scales.get(t.name)) for t in method.tasks},
        "by_class": _by_class(method.tasks, pixels, record.by_class),
        "pictures": done,
        "problems": problems,
    }
    files.write_json(out / SUMMARY, summary)
    if done:
        content = png_bytes(draw_overview(out, pictures, summary))
        files.write(out / OVERVIEW, lambda file: file.write(content))
    if problems:
        raise ValueError("\n".join(problems))
    return summary


def _by_class(
    tasks: TaskSet, pixels: dict[str, np.ndarray], measured: dict[str, Any]
) -> dict[str, Any]:
    """Task -> class -> the share of predicted pixels, and what the run measured on its test split.

    ``iou`` and ``test_pixels`` are missing where the run is too old to have recorded them.
    """
    found: dict[str, Any] = {}
    for name, counts in pixels.items():
        shares = (counts / max(1, counts.sum())).round(6).tolist()
        for label, share in zip(tasks[name].class_names, shares, strict=True):
            test = measured.get(name, {}).get(label)
            known = {"iou": test["iou"], "test_pixels": test["pixels"]} if test else {}
            found.setdefault(name, {})[label] = {"predicted": share} | known
    return found


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
        if path.name.startswith("."):
            continue
        if problem := unfit(path, IMAGES, "pictures"):
            problems.append(str(problem))
            continue
        name = path.stem
        if name in named or name in (SUMMARY, OVERVIEW):
            other = f"{named[name].name}, too" if name in named else "a name that is taken"
            raise ValueError(
                f"{path}: expected one picture named {name!r}, found {other}; rename one"
            )
        named[name] = path
    if not named:
        raise ValueError(
            f"{folder}: expected pictures ({', '.join(IMAGES)}), found {listing(folder)}; "
            "name another folder"
        )
    return named, problems


def _read(path: Path, experiment: Experiment) -> tuple[tuple[int, int], Tensor]:
    """A picture's size, and (3, H, W) as data sets on disk give it; raises where it is damaged."""
    pixels = read_photo(path)
    sample = Sample(torch.from_numpy(pixels).movedim(-1, 0).float() / 255, {}, {})
    image = disk.resize(sample, TaskSet(()), experiment.height, experiment.width).image
    return pixels.shape[:2], (image * 255).round() / 255


# ---------------------------------------------------------------------- maps


@torch.no_grad()
def _predict(method: Method, images: Tensor) -> dict[str, Tensor]:
    """Task -> (B, D, h, w) on the CPU: class ids, probabilities, numbers or unit vectors."""
    predictions, maps = method.predict(images), {}
    for task in method.tasks:
        raw = predictions[task.name].float().cpu()
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
    """Writes the maps of one picture, task -> (1, D, h, w), at its ``size`` (height, width).

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
            colored = classes_to_rgb(values[0].astype(np.uint8), task.class_names)
            write_picture(folder / f"{task.name}_color.png", colored)
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
            text = json.dumps(words, indent=1) + "\n"
            files.write(folder / f"{task.name}.json", lambda f, text=text: f.write(text.encode()))
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
        ids = "8-bit class ids, by position in classes"
        return words | {"png": ids, "classes": list(task.class_names)}
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


# --------------------------------------------------------------------- sheet


@styled
def draw_overview(folder: Path, pictures: Path, summary: dict[str, Any]) -> Figure:
    """A row a picture, at most ``ROWS`` from all over the folder; columns are the tasks.

    Pictures keep their proportions: each lies in the lower left corner of a frame for the largest.
    """
    tasks = tasks_of(Experiment.from_dict(summary["experiment"]))
    every = summary["pictures"]
    entries = [every[i] for i in evenly_spaced(len(every), ROWS)]
    rows = [
        {f"{t.name}/map": _read_map(t, folder / entry["folder"]) for t in tasks}
        | {"images": read_photo(pictures / entry["file"])}
        for entry in entries
    ]
    # Color maps span all rows, which differ in size.
    flat = {f"{n}/truth": [row[f"{n}/map"].ravel() for row in rows] for n in tasks.names}
    maps = describe_tasks(tasks) | {key: np.concatenate(values) for key, values in flat.items()}
    sizes = np.array([(entry["height"], entry["width"]) for entry in entries])
    height, width = (SIDE * sizes / sizes.max(1, keepdims=True)).max(0).round().astype(int).tolist()

    def paint(maps: Arrays, key: str, row: int) -> np.ndarray:
        picture = Image.fromarray(map_to_rgb(maps | {key: [rows[row][key]]}, key, 0))
        how = {"method": Image.Resampling.NEAREST, "color": "white", "centering": (0, 1)}
        return np.array(ImageOps.pad(picture, (width, height), **how))

    def note(maps: Arrays, key: str, row: int) -> str:
        return _printable(entries[row]["folder"]) if key == "images" else ""

    columns = [(f"{task}/map", title) for task, title in titles_of(maps).items()]
    grid = Grid(
        arrays=maps,
        groups=[("", [("images", "Picture"), *columns])],
        paint=paint,
        note=note,
        legend=list(flat),
        shape=(len(rows), height, width),
    )
    sheet, _, _ = draw_grids(grid, panel=PANEL)
    footer(sheet.figure, f"{len(entries)} of {len(every)} pictures, run {summary['run']}")
    return sheet.figure


def _read_map(task: Task, place: Path) -> np.ndarray:
    """(H, W) class ids, numbers or probabilities, or (H, W, 3) vectors."""
    if task.kind == "classes":
        with Image.open(place / f"{task.name}.png") as picture:
            return np.array(picture)
    return np.load(place / f"{task.name}.npy", allow_pickle=False)


def _printable(name: str) -> str:
    """A name as the figures' font can show it, shortened; what it lacks is a question mark."""
    font = get_font(findfont(FontProperties()))
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    known = (letter if font.get_char_index(ord(letter)) else "?" for letter in name)
    return "".join(known).replace("$", r"\$")
