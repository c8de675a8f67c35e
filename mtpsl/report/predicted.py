"""Predictions as pictures: a colored map of each that has classes, and a sheet of all."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image

from mtpsl import files
from mtpsl.data.readers.own_files import read_photo, write_picture
from mtpsl.report.arrays import Arrays, compact, describe, evenly_spaced
from mtpsl.report.files import footer, png_bytes
from mtpsl.report.maps import FOOTER, grid_size, image_grid, legend_height, legends, map_to_rgb
from mtpsl.report.predict import OVERVIEW, SUMMARY, predict
from mtpsl.report.style import classes_to_rgb, styled
from mtpsl.runs.data import tasks_of
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.session import Session
from mtpsl.tasks import Task, TaskSet

ROWS = 6  # pictures on a sheet
SIDE = 240  # pixels of the longer side of a picture on a sheet
PANEL = 1.6  # inches
LONGEST = 24  # letters of a name on a sheet
PAPER = 255


def predict_folder(
    run: Experiment | str,
    session: Session,
    pictures: Path | str,
    out: Path | str,
) -> dict[str, Any]:
    """``experiments.predict.predict``, and colored maps and ``overview.png`` beside its files.

    Args:
        run: A finished experiment, bound to its data, or its key.
        session: Where finished runs are kept, and where the network runs.
        pictures: A folder of .png, .jpg and .jpeg files of any size.
        out: A new or empty folder.

    Returns:
        What ``predictions.json`` holds.

    Raises:
        FileNotFoundError: As ``predict``.
        ValueError: As ``predict``; what could be read is predicted and drawn all the same.
    """
    source = Path(pictures)

    def draw(folder: Path) -> None:
        summary = files.read_json(folder / SUMMARY)
        write_colors(folder, summary)
        content = png_bytes(draw_overview(folder, source, summary))
        files.write(folder / OVERVIEW, lambda file: file.write(content))

    return predict(run, session, source, out, draw=draw)


def write_colors(folder: Path, summary: dict[str, Any]) -> None:
    """``<name>/<task>_color.png`` for every task with classes, in the colors of all figures."""
    for name, words in summary["tasks"].items():
        for entry in summary["pictures"] if words["kind"] == "classes" else ():
            place = folder / entry["folder"]
            with Image.open(place / f"{name}.png") as picture:
                colored = classes_to_rgb(np.array(picture), words["classes"])
            write_picture(place / f"{name}_color.png", colored)


@styled
def draw_overview(folder: Path, pictures: Path, summary: dict[str, Any]) -> Figure:
    """A row a picture, at most ``ROWS`` from all over the folder; columns are the tasks."""
    tasks = tasks_of(Experiment.from_dict(summary["experiment"]))
    every = summary["pictures"]
    shown = [every[i] for i in evenly_spaced(len(every), ROWS)]
    arrays, inside = overview_arrays(tasks, shown, folder, pictures)
    titles = zip(tasks.names, map(str, arrays["titles"]), strict=True)
    keys = [f"{name}/truth" for name in tasks.names]  # which is what a legend looks at
    groups = [("", [("images", "Picture"), *((f"{n}/truth", title) for n, title in titles)])]

    def draw(key: str, index: int) -> Any:
        rgb = arrays[key][index] if key == "images" else map_to_rgb(arrays, key, index)
        return np.where(inside[index][..., None], rgb, np.uint8(PAPER))

    def note(key: str, index: int) -> str:
        return _printable(shown[index]["folder"]) if key == "images" else ""

    width, _ = grid_size(arrays, groups, PANEL)
    below = legend_height(arrays, keys, width)
    sheet, _ = image_grid(arrays, groups, draw, panel=PANEL, legend=below, notes=note)
    legends(sheet, arrays, keys, sheet.height - FOOTER - below + 0.1)
    footer(sheet.figure, f"{len(shown)} of {len(every)} pictures, run {summary['run']}")
    return sheet.figure


def overview_arrays(
    tasks: TaskSet, entries: list[dict[str, Any]], folder: Path, pictures: Path
) -> tuple[Arrays, np.ndarray]:
    """Arrays for ``plots.maps``, and where in their frames the pictures are: (N, h, w) bool.

    Pictures keep their proportions: all frames are as high as the highest and as wide as the
    widest, and what lies beyond a picture repeats its border.
    """
    small = [_shrunk(entry["height"], entry["width"]) for entry in entries]
    height, width = max(h for h, _ in small), max(w for _, w in small)
    inside = np.zeros((len(entries), height, width), dtype=bool)
    columns: dict[str, list[np.ndarray]] = {"images": []}
    columns |= {f"{task.name}/truth": [] for task in tasks}
    for row, (entry, (h, w)) in enumerate(zip(entries, small, strict=True)):
        inside[row, height - h :, :w] = True  # its name stands in the lower left corner
        maps = {f"{t.name}/truth": _read_map(t, folder / entry["folder"]) for t in tasks}
        maps["images"] = read_photo(pictures / entry["file"])
        for key, array in maps.items():
            columns[key].append(_frame(array, (h, w), (height, width)))
    return describe(tasks) | {key: np.stack(rows) for key, rows in columns.items()}, inside


def _read_map(task: Task, place: Path) -> np.ndarray:
    """(H, W) class ids, numbers or probabilities, or (H, W, 3) vectors."""
    if task.kind == "classes":
        with Image.open(place / f"{task.name}.png") as picture:
            return np.array(picture)
    return compact(torch.from_numpy(np.load(place / f"{task.name}.npy", allow_pickle=False)))


def _shrunk(height: int, width: int) -> tuple[int, int]:
    share = SIDE / max(height, width)
    return max(1, round(height * share)), max(1, round(width * share))


def _frame(array: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> np.ndarray:
    """An array at another size, by the nearest pixel, in the lower left corner of a frame."""
    (height, width), (tall, wide) = size, frame
    rows = np.maximum(np.arange(tall) - (tall - height), 0)
    columns = np.minimum(np.arange(wide), width - 1)
    rows, columns = (
        ((at + 0.5) * length // part).astype(int)
        for at, part, length in zip((rows, columns), size, array.shape, strict=False)
    )
    return array[rows][:, columns]


def _printable(name: str) -> str:
    """A name as the figures' font can show it, shortened; what it lacks is a question mark."""
    font = get_font(findfont(FontProperties()))
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    known = (letter if font.get_char_index(ord(letter)) else "?" for letter in name)
    return "".join(known).replace("$", r"\$")
