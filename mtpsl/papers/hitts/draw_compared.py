"""Figures of HiTTs that compare methods, or that show several data sets one below the other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mtpsl.papers.hitts.draw import SCORES, score_show, share_bar, show_map, task_groups, token_note
from mtpsl.report.arrays import Arrays
from mtpsl.report.maps import (
    FOOTER,
    Group,
    grid_size,
    legend_height,
    legends,
    panel_width,
    put_grid,
    three_digits,
)
from mtpsl.report.style import Sheet, styled

METHODS = {"baseline": "MTL baseline", "mtan": "MTAN", "xtc": "XTC", "ours": "Ours"}  # by role
WIDE = 16.0  # inches of a figure that compares many methods


@styled
def draw_fig5(arrays: Arrays) -> Figure:
    """Rows are images; columns are the image and, task by task, truth and predictions.

    Every prediction has its score, the best of an image in bold.
    """
    return _comparisons([arrays])


draw_fig6 = draw_fig5  # of streets


@styled
def draw_fig14(arrays: Arrays) -> Figure:
    """As Figure 11, part below part."""
    parts = parts_of(arrays)
    groups = [task_groups(part, SCORES, str(part["data"])) for part in parts]
    below = [*[0.12] * (len(parts) - 1), 0.3]
    sheet, tops = _stacked(parts, groups, below)
    for part, group, top in zip(parts, groups, tops, strict=True):
        panel, show, token = panel_width(group, WIDE), score_show(part), token_note(part)
        put_grid(sheet, top, part, group, show, panel=panel, notes=token)
    share_bar(sheet)
    return sheet.figure


@styled
def draw_fig15(arrays: Arrays) -> Figure:
    """As Figure 6, part below part."""
    return _comparisons(parts_of(arrays))


def parts_of(arrays: Arrays) -> list[Arrays]:
    """The arrays of every part of a figure of several data sets, from top to bottom."""
    return [
        {key.removeprefix(head): v for key, v in arrays.items() if key.startswith(head)}
        for head in (f"{part}/" for part in arrays["parts"])
    ]


def _comparisons(parts: Sequence[Arrays]) -> Figure:
    """Grids of truth and predictions, equally wide, each with its legend below."""
    groups, keys = [], []
    for part in parts:
        roles = [str(role) for role in part["roles"]]
        columns = (("truth", "Ground truth"), *((role, METHODS[role]) for role in roles))
        image, *tasks = task_groups(part, columns, str(part.get("data", "")))
        labels = [str(part[f"{task}/label"]) for task in part["tasks"]]
        tasks = [(f"{t}  ({label})", c) for (t, c), label in zip(tasks, labels, strict=True)]
        groups.append([image, *tasks])
        keys.append([key for _, group in tasks for key, _ in group])
    below = [legend_height(p, k, WIDE) + 0.1 for p, k in zip(parts, keys, strict=True)]
    sheet, tops = _stacked(parts, groups, below)
    for part, group, legend, top, space in zip(parts, groups, keys, tops, below, strict=True):
        best = _best(part)
        put_grid(
            sheet,
            top,
            part,
            group,
            lambda key, i, part=part: show_map(part, key, i),
            panel=panel_width(group, WIDE),
            notes=lambda key, i, part=part: _score_note(part, key, i),
            best=lambda key, i, best=best: (key, i) in best,
        )
        _, height = grid_size(part, group, panel_width(group, WIDE))
        legends(sheet, part, legend, top + height + space - legend_height(part, legend, WIDE))
    return sheet.figure


def _stacked(
    parts: Sequence[Arrays], groups: Sequence[list[Group]], below: Sequence[float]
) -> tuple[Sheet, list[float]]:
    """A sheet for grids ``WIDE`` inches wide with room below each, and where each begins."""
    tops, top = [], 0.0
    for part, group, space in zip(parts, groups, below, strict=True):
        tops.append(top)
        top += grid_size(part, group, panel_width(group, WIDE))[1] + space
    return Sheet(WIDE, top + FOOTER), tops


def _score_note(arrays: Arrays, key: str, index: int) -> str:
    scores = arrays.get(f"{key}/score")
    if scores is None:
        return ""
    return three_digits(scores[index]) if np.isfinite(scores[index]) else "no label"


def _best(arrays: Arrays) -> set[tuple[str, int]]:
    """(key, image) of the predictions that no other method's score on that image beats."""
    best = set()
    for task in arrays["tasks"]:
        keys = [f"{task}/{role}" for role in arrays["roles"]]
        sign = 1 if arrays[f"{task}/higher_is_better"] else -1
        values = sign * np.array([arrays[f"{key}/score"] for key in keys])  # (M, N)
        known = np.isfinite(values).any(0)
        highest = np.max(np.where(np.isfinite(values), values, -np.inf), axis=0)
        rows, images = np.nonzero((values == highest) & known)
        best |= {(keys[row], int(i)) for row, i in zip(rows, images, strict=True)}
    return best
