"""Pictures of the data itself: scenes, their labels, and which labels a setting withholds."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mtpsl.report.arrays import Arrays
from mtpsl.report.maps import FOOTER, GAP, LEGEND, legends, map_to_rgb, note
from mtpsl.report.style import CYCLE, INK, QUIET, Image, Sheet, styled

PALE = 0.72  # how much of a withheld label is bleached away
SHOWN, CELL = 48, 22  # images of a label setting, and pixels of each


@styled
def draw_overview(arrays: Arrays) -> Figure:
    """A column an image; below it its labels, vivid where labeled and pale where withheld."""
    images, tasks = arrays["images"], [str(task) for task in arrays["tasks"]]
    count, height, width = images.shape[:3]
    panel, side, header = 2.0, 0.42, 0.12
    tall = panel * height / width
    sheet = Sheet(
        side + count * (panel + GAP) + 0.1,
        header + (1 + len(tasks)) * (tall + GAP) + 0.1 + LEGEND + FOOTER,
    )
    rows = [("Image", lambda i: images[i])]
    rows += [
        (str(title), lambda i, task=task: map_to_rgb(arrays, f"{task}/truth", i))
        for task, title in zip(tasks, arrays["titles"], strict=True)
    ]
    for row, (title, show) in enumerate(rows):
        top = header + row * (tall + GAP) + (0.08 if row else 0)
        middle = {"rotation": 90, "ha": "center", "va": "center", "weight": "bold"}
        sheet.text(0.22, top + tall / 2, title, **middle)
        for i in range(count):
            withheld = row > 0 and not arrays["labeled"][i, row - 1]
            picture = bleach(show(i)) if withheld else show(i)
            axes = sheet.picture(side + i * (panel + GAP), top, panel, tall, picture)
            if withheld:
                note(axes, "withheld")
            elif row:
                frame = {"fill": False, "edgecolor": INK, "linewidth": 2.0}
                axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, **frame))
    keys = [f"{task}/truth" for task in tasks]
    legends(sheet, arrays, keys, sheet.height - FOOTER - LEGEND + 0.08)
    return sheet.figure


def bleach(image: Image) -> Image:
    """The same picture, pale."""
    return (255 - (1 - PALE) * (255 - image.astype(np.float32))).round().astype(np.uint8)


@styled
def draw_label_settings(arrays: Arrays) -> Figure:
    """A strip a setting, a row a task, a column an image; the count of labels at its end."""
    settings, titles = [str(s) for s in arrays["settings"]], list(arrays["titles"])
    images = len(arrays[f"{settings[0]}/labeled"])
    first, cell, gap = 1.95, 0.15, 0.24
    wide, tall = cell * min(images, SHOWN), cell * len(titles)
    sheet = Sheet(first + wide + 0.7, 0.45 + len(settings) * (tall + gap) + 0.1)
    words = f"the first {min(images, SHOWN)} of {images} training images"
    sheet.text(first + wide / 2, 0.2, words, ha="center", va="center", fontsize=8, color=QUIET)
    sheet.text(first + wide + 0.1, 0.2, "labels", va="center", color=QUIET, fontsize=8)
    for row, setting in enumerate(settings):
        top = 0.4 + row * (tall + gap)
        args, middle = str(arrays[f"{setting}/args"]), top + tall / 2
        height = middle - 0.07 * bool(args)
        sheet.text(0.1, height, setting.replace("_", " "), va="center", weight="bold")
        sheet.text(0.1, middle + 0.1, args, va="center", fontsize=6.5, color=QUIET)
        labeled = arrays[f"{setting}/labeled"]  # (N, T)
        sheet.picture(first, top, wide, tall, _cells(labeled[:SHOWN]))
        for i, title in enumerate(titles):
            line = top + (i + 0.5) * cell
            sheet.text(first - 0.06, line, title, ha="right", va="center", fontsize=7)
            count = {"va": "center", "fontsize": 7, "color": QUIET}
            sheet.text(first + wide + 0.1, line, f"{labeled[:, i].sum()}", **count)
    return sheet.figure


def _cells(labeled: Image) -> Image:
    """(N, T) bool -> a picture of T rows of N squares, colored by task where True."""
    images, tasks = labeled.shape
    picture = np.full((tasks, CELL, images, CELL, 3), 255, dtype=np.uint8)
    for task in range(tasks):
        color = np.multiply(to_rgb(CYCLE[task % len(CYCLE)]), 255).round()
        fill = np.where(labeled[:, task, None], color, 236)  # (N, 3)
        picture[task, 1:-1, :, 1:-1] = fill[:, None]
    return picture.reshape(tasks * CELL, images * CELL, 3)
