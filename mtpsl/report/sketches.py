"""Small drawings that explain a method: toy matrices, bins, ellipses, pictures, points, views."""

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mtpsl.report.arrays import Arrays
from mtpsl.report.maps import Grid, draw_grids, map_to_rgb, titles_of
from mtpsl.report.plots import chart_row, draw_curves, legend_below
from mtpsl.report.style import (
    AFFINITY_MAP,
    CYCLE,
    INK,
    MARKERS,
    QUIET,
    SCORE_MAP,
    Image,
    Sheet,
    normals_to_rgb,
    scalar_to_rgb,
    styled,
)


@styled
def draw_matrices(
    panels: Mapping[str, Image], ranges: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """Matrices side by side with their numbers written into the cells.

    Args:
        panels: Title -> (n, m) numbers or truth values.
        ranges: Title -> what the darkest and the brightest cell stand for; a panel that is not
            named here spans its own range.
    """
    cell, gap, top = 0.5, 0.45, 0.42
    sizes = [np.shape(values) for values in panels.values()]
    wide = sum(cell * columns for _, columns in sizes) + gap * len(sizes)
    sheet = Sheet(wide + gap, top + cell * max(rows for rows, _ in sizes) + 0.15)
    left = gap
    for (title, values), (rows, columns) in zip(panels.items(), sizes, strict=True):
        kind, form = (int, "d") if np.asarray(values).dtype.kind in "bi" else (float, ".2f")
        numbers = np.asarray(values, dtype=kind)
        low, high = (ranges or {}).get(title, (numbers.min(), numbers.max()))
        how = {"vmin": low, "vmax": max(high, low + 1e-6), "cmap": "cividis", "cbar": False}
        axes = sheet.axes(left, top, cell * columns, cell * rows)
        seaborn.heatmap(numbers, ax=axes, annot=True, fmt=form, annot_kws={"fontsize": 8}, **how)
        axes.set_axis_off()
        middle = left + cell * columns / 2
        sheet.text(middle, top / 2, title, ha="center", va="center", fontsize=9, weight="bold")
        left += cell * columns + gap
    return sheet.figure


@styled
def draw_similarities(panels: Mapping[str, Image]) -> Figure:
    """Cosine similarities of tokens, a matrix a panel; above it the mean between two tokens."""
    sheet, columns = chart_row([*panels], 2.0, wide=2.0, gap=0.3, left=0.3, top=0.55, below=0.5)
    for (axes,), (title, values) in zip(columns, panels.items(), strict=True):
        axes.imshow(values, cmap=AFFINITY_MAP, vmin=-1, vmax=1, interpolation="nearest")
        axes.set_axis_off()
        others = np.abs(values[~np.eye(len(values), dtype=bool)]).mean()
        axes.set_title(f"{title}\nmean |off-diagonal| {others:.2f}", fontsize=8.5)
    sheet.bar(sheet.width / 2 - 0.7, sheet.height - 0.3, 1.4, AFFINITY_MAP, -1, 1, "cosine")
    return sheet.figure


@styled
def draw_activations(curves: Mapping[str, tuple[Image, Image]], x: Image) -> Figure:
    """Candidates for a positive mask: their values on the left, their slopes on the right."""
    titles = ("value: what multiplies $G$", "slope: what reaches the token")
    sheet, columns = chart_row(titles, 2.0, wide=3.45)
    for column, (axes,) in enumerate(columns):
        draw_curves(axes, {n: (x, pair[column]) for n, pair in curves.items()})
        axes.lines[0].set_linewidth(2.4)
        axes.set(xlim=(x[0], x[-1]), ylim=(-0.15, (4.2, 1.6)[column]))
        axes.set_xlabel(r"$\varphi_i \times U_i$")
    legend_below(sheet)
    return sheet.figure


@styled
def draw_depth_bins(depth: Image, edges: Image, centers: Image) -> Figure:
    """Where labeled depth lies among the bins, and what a pixel loses by its bin's center.

    Args:
        depth: (N,) m.
        edges: (C_p - 1,) m, the inner edges.
        centers: (C_p,) m.
    """
    first = f"{len(centers)} bins, equally wide in log depth"
    titles = (first, "the same relative error near and far")
    sheet, ((shares,), (errors,)) = chart_row(titles, 2.1, wide=3.5)
    low, high = centers[0] ** 2 / edges[0], centers[-1] ** 2 / edges[-1]  # geometric means
    bounds = np.concatenate([[low], edges, [high]])
    counts, _ = np.histogram(depth, bounds)
    colors = colormaps["viridis"](np.linspace(0, 1, len(centers)))
    how = {"width": np.diff(bounds), "align": "edge", "edgecolor": "white", "linewidth": 0.5}
    shares.bar(bounds[:-1], 100 * counts / len(depth), color=colors, **how)
    shares.set_ylabel("labeled pixels (%)")
    true = np.geomspace(low, high, 2000)
    ids = np.searchsorted(edges, true)
    errors.plot(true, 100 * (centers[ids] / true - 1), color=CYCLE[0], linewidth=1.2)
    errors.set_ylabel("error of the bin's center (%)")
    ticks = [t for t in (0.25, 0.5, 1, 2, 4, 8, 16) if low <= t <= high]
    for axes in (shares, errors):
        axes.set(xscale="log", xlim=(low, high), xlabel="depth (m)")
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_xticks([], minor=True)
    return sheet.figure


@styled
def draw_normal_centers(normals: Image, ids: Image, centers: Image) -> Figure:
    """Labeled normals on the ball as the camera sees it, colored by direction and by center.

    Args:
        normals: (N, 3) unit vectors, x right, y down, z forward.
        ids: (N,) the class of each.
        centers: (C_p, 3) unit vectors.
    """
    titles = ("labeled normals", f"their classes: {len(centers)} K-means centers")
    sheet, columns = chart_row(titles, 2.9, wide=2.9, gap=0.35, left=0.35, below=0.5)
    angle = np.linspace(0, 2 * np.pi, 200)
    for (axes,), rgb in zip(columns, (normals, centers[ids]), strict=True):
        colors = normals_to_rgb(rgb) / 255
        axes.scatter(normals[:, 0], -normals[:, 1], s=9, c=colors, linewidths=0)
        axes.plot(np.cos(angle), np.sin(angle), color=QUIET, linewidth=0.8)
        axes.set(xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), aspect="equal")
        axes.set_axis_off()
    crosses = {"marker": "X", "edgecolors": INK, "linewidths": 0.8, "s": 60}
    axes.scatter(centers[:, 0], -centers[:, 1], c=normals_to_rgb(centers) / 255, **crosses)
    key = "right of the ball: facing right; top: facing up; middle: facing the camera; X: a center"
    how = {"ha": "center", "va": "center", "fontsize": 8, "color": QUIET}
    sheet.text(sheet.width / 2, sheet.height - 0.25, key, **how)
    return sheet.figure


@styled
def draw_distances(
    panels: Mapping[str, Mapping[str, Image]], levels: Mapping[str, float] | None = None
) -> Figure:
    """Cosine distances over optimizer steps, a panel a training, all on one scale.

    Args:
        panels: Title -> name -> (steps,) values.
        levels: Name -> a value that the curves are to be compared with: a dotted line.
    """
    sheet, columns = chart_row(list(panels), 2.1, wide=3.4)
    highest = max(float(np.max(y)) for curves in panels.values() for y in curves.values())
    highest = 1.1 * max(highest, *(levels or {"": 0}).values())
    for (axes,), curves in zip(columns, panels.values(), strict=True):
        steps = {name: np.arange(1, len(values) + 1) for name, values in curves.items()}
        curves = {name: (steps[name], values) for name, values in curves.items()}
        draw_curves(axes, curves, linewidth=2)
        for name, value in (levels or {}).items():
            axes.axhline(value, color=QUIET, linestyle=":", linewidth=1)
            how = {"fontsize": 7, "color": QUIET, "va": "bottom", "ha": "right"}
            axes.text(max(map(len, steps.values())), value, name, **how)
        axes.set(ylim=(-0.02, highest), xlabel="step")
    columns[0][0].set_ylabel("cosine distance")
    legend_below(sheet)
    return sheet.figure


@styled
def draw_ellipses(panels: Mapping[str, Mapping[str, tuple[Image, Image]]]) -> Figure:
    """Gaussians in the plane: the ellipse one standard deviation around each mean.

    Args:
        panels: Title -> name -> mean (2,) and covariance (2, 2).
    """
    sheet, columns = chart_row(list(panels), 2.0, wide=2.0, gap=0.3, left=0.35, below=0.6)
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for (axes,), gaussians in zip(columns, panels.values(), strict=True):
        ways = zip(gaussians.items(), CYCLE, MARKERS, strict=False)
        for (name, (mean, covariance)), color, marker in ways:
            x, y = np.reshape(mean, (2, 1)) + np.linalg.cholesky(covariance) @ circle
            axes.fill(x, y, color=color, alpha=0.15, linewidth=0)
            axes.plot(x, y, color=color, linewidth=1.6, label=name)
            axes.plot(*mean, color=color, marker=marker, markersize=5)
        axes.set_aspect("equal", adjustable="datalim")
    legend_below(sheet)
    return sheet.figure


@styled
def draw_pictures(panels: Mapping[str, Image], columns: int = 4) -> Figure:
    """Pictures (H, W, 3) of one shape below their titles, row by row."""
    wide, gap, head = 1.9, 0.12, 0.24
    height, width = next(iter(panels.values())).shape[:2]
    high, rows = wide * height / width, -(-len(panels) // columns)
    sheet = Sheet(columns * (wide + gap) + gap, rows * (high + head + gap) + gap)
    for place, (title, image) in enumerate(panels.items()):
        row, column = divmod(place, columns)
        left, top = gap + column * (wide + gap), gap + row * (high + head + gap)
        sheet.text(left + wide / 2, top + head / 2, title, ha="center", va="center", fontsize=8.5)
        sheet.picture(left, top + head, wide, high, image)
    return sheet.figure


@styled
def draw_points(points: Mapping[str, tuple[float, Sequence[float]]], x: str, y: str) -> Figure:
    """A dot a value and a line through the means, above the place of each name.

    Args:
        points: Name -> its place, and the values there.
        x, y: What the axes say.
    """
    sheet, ((axes,),) = chart_row([""], 2.6, wide=5.2, top=0.2, below=0.95)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    for (name, (place, values)), color, marker in zip(points.items(), CYCLE, MARKERS, strict=False):
        how = {"color": color, "marker": marker, "linestyle": "", "label": name}
        axes.plot([place] * len(values), values, markersize=5, **how)
    means = sorted((place, float(np.mean(values))) for place, values in points.values())
    axes.plot(*zip(*means, strict=True), color=QUIET, linewidth=1, zorder=1)
    axes.set(xlabel=x, ylabel=y)
    legend_below(sheet, ncols=4)
    return sheet.figure


@styled
def draw_lines(charts: Mapping[str, Mapping[str, tuple[Image, Image]]], x: str) -> Figure:
    """Named curves side by side, a chart for each title, over what ``x`` names."""
    wide = 4.6 if len(charts) == 1 else 2.4
    sheet, columns = chart_row([*charts], 2.1, wide=wide, below=0.5)
    for (axes,), curves in zip(columns, charts.values(), strict=True):
        draw_curves(axes, curves)
        axes.set_xlabel(x)
        axes.legend(fontsize=7.5)
    return sheet.figure


@styled
def draw_known(arrays: Arrays) -> Figure:
    """A row per image: the image and, task by task, its label or the prediction in its place.

    Args:
        arrays: ``describe(tasks)``, ``images`` (N, H, W, 3), ``<task>/known`` (N, H, W, ...) as it
            is shown, ``<task>/truth`` for the colors of depth, and ``labeled`` (N, K) bool.
    """
    titles = titles_of(arrays)
    known = [(f"{task}/known", title) for task, title in titles.items()]
    groups = [("", [("images", "Image")]), ("What is known of it", known)]

    def note(arrays: Arrays, key: str, i: int) -> str:
        if key == "images":
            return ""
        column = list(titles).index(key.partition("/")[0])
        return "label" if arrays["labeled"][i][column] else "prediction"

    return draw_grids(Grid(arrays=arrays, groups=groups, note=note))[0].figure


@styled
def draw_views(
    arrays: Arrays, title: str = "Pseudo labels", names: tuple[str, str] = ("clean", "view")
) -> Figure:
    """Two rows per image: one with the box that its view shows, then the view; maps follow.

    Args:
        arrays: ``describe(tasks)``, ``images`` (2N, H, W, 3) with every clean image before its
            view, ``<task>/truth`` of the same rows, ``box`` (N, 4) top, left, height, width in
            pixels and, if there is one to show, ``confidence`` (2N, h, w) in [0, 1].
        title: Above the maps.
        names: Of the two rows of an image.
    """
    maps = [(f"{task}/truth", words) for task, words in titles_of(arrays).items()]
    groups = [("", [("images", "Image")]), (title, maps)]
    if "confidence" in arrays:
        groups += [("Features", [("confidence", "one channel")])]

    def paint(arrays: Arrays, key: str, i: int) -> Image:
        if key == "confidence":
            return scalar_to_rgb(arrays[key][i], SCORE_MAP, 0, 1)
        return map_to_rgb(arrays, key, i)

    def note(arrays: Arrays, key: str, i: int) -> str:
        return names[i % 2] if key == "images" else ""

    legend = [key for key, _ in maps]
    grid = Grid(arrays=arrays, groups=groups, paint=paint, note=note, legend=legend)
    figure = draw_grids(grid)[0].figure
    rows, height, width = arrays["images"].shape[:3]
    for number, axes in enumerate(figure.axes[: rows * sum(len(group) for _, group in groups)]):
        if number % rows % 2 == 0:  # a clean image, or a map of one
            top, left, tall, wide = arrays["box"][number % rows // 2]
            y, x = np.divide(axes.images[0].get_array().shape[:2], (height, width))
            for color, line, dashes in (("white", 1.6, "-"), (INK, 0.8, (0, (3, 2)))):
                frame = {"edgecolor": color, "linewidth": line, "linestyle": dashes}
                corner = (left * x - 0.5, top * y - 0.5)
                axes.add_patch(Rectangle(corner, wide * x, tall * y, fill=False, **frame))
    return figure
