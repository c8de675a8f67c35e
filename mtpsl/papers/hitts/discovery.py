"""What labels that a teacher discovers are worth: Figures 10 and 16, and what [HiTTs] leaves out.

How pixels are counted is in ``pseudo_quality``.
"""

import math

import numpy as np
import seaborn
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mtpsl.data.supervision import resolve_thresholds
from mtpsl.metrics import COLUMNS
from mtpsl.papers.hitts.pseudo_quality import (
    BATCH,
    LIMITS,
    QUALITY,
    acceptance,
    accepted,
    by_group,
    calibration,
    compare,
    complete,
    count,
)
from mtpsl.report.arrays import (
    EXAMPLES,
    Arrays,
    FigureInputs,
    describe,
    evenly_spaced,
    picture,
    shown,
)
from mtpsl.report.maps import Grid, draw_grids, map_to_rgb, titles_of
from mtpsl.report.plots import chart_row, draw_curves, legend_below, three_digits
from mtpsl.report.style import (
    CYCLE,
    HOLE_COLOR,
    INK,
    MARKERS,
    QUIET,
    VOID_COLOR,
    Image,
    class_color,
    styled,
)
from mtpsl.tasks import Task

QUALITY_IMAGES = 240  # training images without a task's label that the curve of Figure 10 counts
COVERAGES = 20  # points of that curve: 100 %, 95 %, ... of the withheld pixels
SHEET = 15.0  # inches of Figure 10
ACCEPTED, REJECTED = CYCLE[0], HOLE_COLOR  # pixels of a mask


# ------------------------------------------------------- Figures 10 and 16


@torch.no_grad()
def pseudo_labels(inputs: FigureInputs) -> Arrays:
    """Figures 10 and 16: what the teacher finds where the label setting withholds labels.

    Every task has its own training images, N from all over those without its label:
    ``<task>/images`` (N, H, W, 3), ``/index`` (N,) among the training images, ``/truth`` the
    withheld label and ``/pseudo`` Y~ (N, H, W, ...), ``/mask`` (N, H, W) bool, M^p.

    A curve has K thresholds, chosen to accept 100 %, 95 %, ... of the withheld pixels:
    ``/threshold`` (K,) rising, ``/coverage`` (K,) the share in [0, 1] that exceeds it, and
    ``/quality`` (K,) of those pixels whose truth is known, by ``pixel_quality`` and in the units
    of the tables, NaN where nothing does. ``/used`` (3,) is tau_i with its coverage and quality.
    ``/label`` and ``/higher_is_better`` say how the quality reads, ``/withheld`` () how
    many training images lack the label, ``/counted`` () on how many of them the curve stands.
    """
    (teacher,) = inputs.methods.values()
    train, tasks = inputs.train, inputs.train.tasks
    taus = resolve_thresholds(teacher, train, inputs.thresholds, BATCH, inputs.device)
    withheld = {
        t.name: (~train.assignment.labeled[:, column]).nonzero().flatten().tolist()
        for column, t in enumerate(tasks)
    }
    chosen = {n: [ids[i] for i in evenly_spaced(len(ids), EXAMPLES)] for n, ids in withheld.items()}
    few = {n: evenly_spaced(len(ids), QUALITY_IMAGES) for n, ids in withheld.items()}
    counted = {n: {ids[i] for i in few[n]} for n, ids in withheld.items()}
    # The teacher sees every image once, whatever tasks lack their label there.
    asked = sorted(set().union(*counted.values(), *chosen.values()))
    pixels: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in tasks.names}
    examples: dict[tuple[str, int], Arrays] = {}
    for start in range(0, len(asked), BATCH):
        indices = asked[start : start + BATCH]
        truth = complete(train, indices).to(inputs.device)
        refined = teacher.trace(truth.images, decode=False).refined
        for t in tasks:
            target, valid = truth.targets[t.name], truth.valid[t.name]
            maps = compare(t, teacher.quantizers[t.name], refined[t.name].float(), target)
            quality = torch.where(valid, maps["quality"], math.nan)
            labels = teacher.quantizers[t.name].values(maps["found"])
            for row, index in enumerate(indices):
                one = slice(row, row + 1)
                if index in counted[t.name]:
                    pixels[t.name].append((maps["confidence"][one].cpu(), quality[one].cpu()))
                if index in chosen[t.name]:
                    examples[t.name, index] = {
                        "images": picture(truth.images[one]),
                        "truth": shown(t, target[one], valid[one]),
                        "pseudo": shown(t, labels[one]),
                        "mask": (maps["confidence"][one, 0] > taus.get(t.name, 0.0)).cpu().numpy(),
                    }
    arrays = describe(tasks)
    for t in tasks:
        rows = [examples[t.name, index] for index in chosen[t.name]]
        values = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
        values |= _threshold_curve(t, pixels[t.name], taus.get(t.name, 0.0))
        values |= {"index": np.array(chosen[t.name]), "withheld": np.array(len(withheld[t.name]))}
        values["counted"] = np.array(len(counted[t.name]))
        arrays |= {f"{t.name}/{key}": value for key, value in values.items()}
    return arrays


def _threshold_curve(task: Task, pixels: list[tuple[Tensor, Tensor]], tau: float) -> Arrays:
    """Coverage and quality of a task's masks as their threshold rises."""
    column = COLUMNS[QUALITY[task.kind]]
    confidence, quality = (torch.cat(maps).flatten().double() for maps in zip(*pixels, strict=True))
    descending = confidence.sort(descending=True).values
    kept = [len(descending) * (COVERAGES - k) // COVERAGES for k in range(1, COVERAGES)]
    below = max(0.0, math.floor(1e6 * float(descending[-1]) - 1) / 1e6)  # accepts every pixel
    thresholds = [below, *(round(float(descending[k]), 6) for k in kept)]

    def measure(threshold: float) -> tuple[float, float]:
        above = confidence > threshold
        mean = column.scale * float(quality[above].nanmean())
        return round(float(above.double().mean()), 4), round(mean, 4)

    points = np.array([measure(threshold) for threshold in thresholds])
    return {
        "threshold": np.array(thresholds),
        "coverage": points[:, 0],
        "quality": points[:, 1],
        "used": np.array([round(tau, 6), *measure(tau)]),
        "label": np.array(column.label),
        "higher_is_better": np.array(column.higher_is_better),
    }


@styled
def draw_pseudo_labels(arrays: Arrays) -> Figure:
    """Task by task: rows of images with their labels, and below them what a threshold does."""
    titles = titles_of(arrays)
    columns = {"images": "Image", "truth": "Withheld truth", "pseudo": "Pseudo label"}
    columns["mask"], groups = "Mask $M^p$", []
    for task, title in titles.items():
        heading = f"{title}: withheld on {int(arrays[f'{task}/withheld'])} training images"
        groups.append((heading, [(f"{task}/{key}", words) for key, words in columns.items()]))

    def paint(arrays: Arrays, key: str, i: int) -> Image:
        masks = key.endswith("/mask")
        return mask_to_rgb(arrays[key][i]) if masks else map_to_rgb(arrays, key, i)

    def share(arrays: Arrays, key: str, i: int) -> str:
        return f"{100 * arrays[key][i].mean():.0f} % accepted" if key.endswith("/mask") else ""

    grid = Grid(
        arrays=arrays,
        groups=groups,
        paint=paint,
        note=share,
        legend=[f"{task}/{key}" for task in titles for key in ("truth", "pseudo")],
        shape=arrays[f"{next(iter(titles))}/images"].shape[:3],
    )
    sheet, (spans,), top = draw_grids(grid, width=SHEET, below=2.9)
    for task, (left, wide) in zip(titles, spans.values(), strict=True):
        inside = left + 0.6, wide - 0.75
        quality = sheet.axes(inside[0], top + 0.3, inside[1], 1.3)
        coverage = sheet.axes(inside[0], top + 1.72, inside[1], 0.8)
        _threshold_charts(quality, coverage, arrays, task)
    return sheet.figure


def mask_to_rgb(mask: Image) -> Image:
    """(H, W) bool -> (H, W, 3) uint8."""
    colors = np.array([to_rgb(REJECTED), to_rgb(ACCEPTED)])
    return (255 * colors[mask.astype(int)]).round().astype(np.uint8)


def _threshold_charts(quality: Axes, coverage: Axes, arrays: Arrays, task: str) -> None:
    """Quality above coverage, over one axis of thresholds; tau_i is a dashed line."""
    thresholds, label = arrays[f"{task}/threshold"], str(arrays[f"{task}/label"])
    tau, share, value = arrays[f"{task}/used"]
    how = {"linewidth": 1.6, "markersize": 5, "clip_on": False}
    draw_curves(quality, {label: (thresholds, arrays[f"{task}/quality"])}, markers="o", **how)
    shares = {"accepted": (thresholds, 100 * arrays[f"{task}/coverage"])}
    draw_curves(coverage, shares, colors=CYCLE[1:], markers="s", **how)
    low, high = min(thresholds.min(), tau), max(thresholds.max(), tau)
    margin = 0.03 * max(high - low, 1e-6)
    for axes in (quality, coverage):
        axes.axvline(tau, color=INK, linestyle=(0, (3, 2)), linewidth=1.0)
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    quality.tick_params(labelbottom=False)
    quality.set_ylabel(label)
    quality.margins(y=0.12)
    coverage.set(ylabel="accepted (%)", ylim=(0, 105), yticks=(0, 50, 100))
    coverage.set_xlabel(r"threshold of $\max\,\mathrm{softmax}(G')$")
    known = f", {label.split()[0]} {three_digits(value)}" if np.isfinite(value) else ""
    words = rf"used: $\tau$ = {tau:.3g}, {100 * share:.0f} % accepted{known}"
    quality.set_title(words, fontsize=8, color=QUIET, pad=3)


# ------------------------------------------------ beyond the paper: its worth


def discoveries(inputs: FigureInputs) -> Arrays:
    """What ``pseudo_quality`` measures, for the one teacher of ``inputs``, as a figure keeps it.

    ``<task>/curve/...`` is ``acceptance``, ``/reliability/...`` ``calibration``, ``/class/...``
    and ``/distance/...`` the groups at threshold 0; ``/used`` (3,) is tau_i with its coverage and
    quality. Quality is in the units of the tables, whose column ``/label`` names, as is ``/floor``
    (), that of the true bins. ``class_names`` and ``limits`` name the groups.
    """
    (teacher,), tasks = inputs.methods.values(), inputs.train.tasks
    how = {"batch_size": BATCH, "device": inputs.device}
    taus = resolve_thresholds(teacher, inputs.train, inputs.thresholds, **how)
    counts = count(teacher, inputs.train, thresholds=taus, **how)
    arrays = describe(tasks) | {"limits": np.array(LIMITS)}
    arrays["class_names"] = np.array(counts[tasks.names[0]].classes)
    for name, of_task in counts.items():
        column = COLUMNS[QUALITY[of_task.task.kind]]
        tau = taus.get(name, 0.0)
        used = accepted(of_task, tau)
        groups = {
            "curve": acceptance(of_task),
            "reliability": calibration(of_task),
            "class": by_group(of_task, "class"),
            "distance": by_group(of_task, "band"),
        }
        values = {f"{group}/{key}": v for group, part in groups.items() for key, v in part.items()}
        scaled = {k: column.scale * v for k, v in values.items() if k.endswith("/quality")}
        values |= scaled | {"used": [tau, used["coverage"], column.scale * used["quality"]]}
        values["floor"] = column.scale * accepted(of_task, 0.0)["floor"]
        rounded = {key: np.round(np.asarray(v, dtype=float), 6) for key, v in values.items()}
        arrays |= {f"{name}/{key}": value for key, value in rounded.items()}
        arrays[f"{name}/label"] = np.array(column.label)
    return arrays


@styled
def draw_reliability(arrays: Arrays) -> Figure:
    """Above, how many labels of a confidence are right; below, how many there are.

    The gap between a bar and the diagonal counts by the pixels below it; their mean is the ECE.
    """
    titles = titles_of(arrays)
    sheet, columns = chart_row(list(titles.values()), 2.2, 0.55, between=0.1)
    for (axes, below), (task, title) in zip(columns, titles.items(), strict=True):
        values = {k: arrays[f"{task}/reliability/{k}"] for k in ("right", "near", "confidence")}
        pixels = arrays[f"{task}/reliability/pixels"]
        edges = np.linspace(0, 1, len(pixels) + 1)
        middle, known = (edges[1:] + edges[:-1]) / 2, pixels > 0
        right, near, sure = (value[known] for value in values.values())
        bars = {"bins": edges.tolist(), "edgecolor": "white", "linewidth": 0.8, "alpha": 1}
        bins = {"x": middle[known], "weights": right, "color": CYCLE[0], "label": "true bin"}
        seaborn.histplot(**bins, **bars, ax=axes)
        if (near > right).any():
            dash = {"color": CYCLE[1], "marker": "_", "markersize": 9, "linestyle": ""}
            axes.plot(middle[known], near, label="within a bin", **dash)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 2)), label="calibrated")
        axes.plot(sure, sure, "D", color=INK, markersize=3, label="mean confidence")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xticklabels=[], ylabel="")
        error, over = (float(arrays[f"{task}/reliability/{k}"]) for k in ("ece", "overconfidence"))
        words = f"{title}: ECE {error:.3f}, too sure by {over:+.3f}"
        axes.set_title(words, fontsize=9, weight="bold")
        shares = 100 * pixels / max(float(pixels.sum()), 1.0)
        seaborn.histplot(x=middle, weights=shares, color=QUIET, ax=below, **bars)
        below.set(xlim=(0, 1), xlabel="confidence", ylabel="")
    columns[0][0].set_ylabel("share that is right")
    columns[0][1].set_ylabel("pixels (%)", fontsize=8)
    legend_below(sheet)
    return sheet.figure


@styled
def draw_acceptance(arrays: Arrays) -> Figure:
    """A panel per task: how good the accepted labels are as a threshold accepts fewer of them.

    The marked point is the threshold that training used; dotted is what the true bins would give.
    """
    titles = titles_of(arrays)
    sheet, columns = chart_row(list(titles.values()), 2.2)
    for (axes,), (task, title) in zip(columns, titles.items(), strict=True):
        coverage = 100 * arrays[f"{task}/curve/coverage"]
        curves = {"accepted labels": (coverage, arrays[f"{task}/curve/quality"])}
        with_miou = f"{task}/curve/miou" in arrays
        if with_miou:
            curves["their mIoU"] = (coverage, 100 * arrays[f"{task}/curve/miou"])
        draw_curves(axes, curves, linewidth=1.8)
        tau, used, quality = arrays[f"{task}/used"]
        how = {"marker": "o", "markersize": 7, "color": INK, "linestyle": ""}
        axes.plot([100 * used], [quality], label="threshold in training", **how)
        if not with_miou:
            floor = float(arrays[f"{task}/floor"])
            axes.axhline(floor, color=QUIET, linestyle=":", linewidth=1.2, label="true bins")
        axes.set_title(f"{title}: τ = {tau:.3f}", fontsize=9, weight="bold")
        axes.set(xlim=(0, 102), xlabel="accepted share of withheld pixels (%)")
        axes.set_ylabel(str(arrays[f"{task}/label"]))
    legend_below(sheet)
    return sheet.figure


def draw_threshold(arrays: Arrays, task: str, threshold: float) -> tuple[Figure, str]:
    """``draw_acceptance`` of one task with one more threshold of its curve, and that in words."""
    (place,) = np.flatnonzero(arrays[f"{task}/curve/threshold"] == threshold)
    share, quality = (arrays[f"{task}/curve/{key}"][place] for key in ("coverage", "quality"))
    column = str(arrays[f"{task}/label"]).split()[0]
    words = f"above {threshold:.3f}: {100 * share:.0f} % accepted, {column} {three_digits(quality)}"
    title = titles_of(arrays)[task]
    figure = draw_acceptance(arrays | {"tasks": np.array([task]), "titles": np.array([title])})
    figure.legends.clear()  # which is wider than one panel
    (axes,) = figure.axes
    axes.plot(100 * share, quality, "D", color=CYCLE[2], markersize=8)
    axes.set_title(words, fontsize=8, color=CYCLE[2])
    return figure, f"Curve of quality over the accepted share, {title}; {words}."


@styled
def draw_places(arrays: Arrays) -> Figure:
    """Above by distance to a class boundary, below by true class: right, and how sure."""
    names = [str(name) for name in arrays["class_names"]]
    colors = [*(class_color(name, i) for i, name in enumerate(names[:-1])), VOID_COLOR]
    limits = [str(limit) for limit in arrays["limits"]]
    bands = ["on it", *(f"≤ {limit}" for limit in limits[1:]), f"> {limits[-1]}"]
    titles = titles_of(arrays)
    sheet, columns = chart_row(list(titles.values()), 1.7, 0.19 * len(names))
    for column, ((axes, below), task) in enumerate(zip(columns, titles, strict=True)):
        places = np.arange(len(bands))
        shares = {"true bin": "right", "mean confidence": "confidence"}
        shares = {k: (places, arrays[f"{task}/distance/{v}"]) for k, v in shares.items()}
        draw_curves(axes, shares, markers=MARKERS, linewidth=1.6)
        axes.set_xticks(places, bands, fontsize=7)
        axes.set(ylim=(0, 1.02), xlabel="pixels to a class boundary")
        right = {"x": arrays[f"{task}/class/right"], "y": names, "hue": names, "palette": colors}
        frame = {"edgecolor": QUIET, "linewidth": 0.4, "saturation": 1, "legend": False}
        seaborn.barplot(**right, **frame, ax=below)
        sure = {"marker": "s", "color": CYCLE[1], "markersize": 3.5, "linestyle": ""}
        below.plot(arrays[f"{task}/class/confidence"], range(len(names)), **sure)
        below.set_yticks(range(len(names)), names if column == 0 else [], fontsize=7)
        below.set(xlim=(0, 1.02), ylim=(len(names) - 0.4, -0.6), xlabel="share that is right")
    legend_below(sheet)
    return sheet.figure
