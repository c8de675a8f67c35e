"""Drawings of discovered labels and of gains by share show the numbers they are given."""

from pathlib import Path

import numpy as np
import pytest

from mtpsl.papers.companion.figures import draw_gains
from mtpsl.papers.hitts.discovery import draw_acceptance, draw_places, draw_reliability
from mtpsl.report.arrays import Arrays, describe
from mtpsl.report.figure import png_bytes
from mtpsl.tasks import TaskSet, depth, semseg

TASKS = TaskSet((semseg(("bed", "wall")), depth()))
NAN = float("nan")


def arrays() -> Arrays:
    """Two bins of confidence, of which depth uses the first; a curve of two points."""
    found = describe(TASKS) | {
        "class_names": np.array(["bed", "wall", "void"]),
        "limits": np.array([0, 1]),
    }
    values = {
        "reliability/pixels": {"semseg": [30, 10], "depth": [40, 0]},
        "reliability/right": {"semseg": [0.2, 0.9], "depth": [0.1, NAN]},
        "reliability/near": {"semseg": [0.2, 0.9], "depth": [0.3, NAN]},
        "reliability/confidence": {"semseg": [0.4, 0.8], "depth": [0.25, NAN]},
        "reliability/ece": {"semseg": 0.175, "depth": 0.15},
        "reliability/overconfidence": {"semseg": 0.125, "depth": 0.15},
        "curve/threshold": {"semseg": [0.0, 0.5], "depth": [0.0, 0.2]},
        "curve/coverage": {"semseg": [1.0, 0.25], "depth": [1.0, 0.5]},
        "curve/quality": {"semseg": [37.5, 90.0], "depth": [0.8, 0.4]},
        "used": {"semseg": [0.5, 0.25, 90.0], "depth": [0.2, 0.5, 0.4]},
        "floor": {"semseg": 100.0, "depth": 0.1},
        "distance/right": {"semseg": [0.1, 0.4, NAN], "depth": [0.1, 0.1, NAN]},
        "distance/confidence": {"semseg": [0.5, 0.5, NAN], "depth": [0.2, 0.2, NAN]},
        "class/right": {"semseg": [0.6, 0.3, NAN], "depth": [0.1, 0.2, 0.3]},
        "class/confidence": {"semseg": [0.5, 0.5, NAN], "depth": [0.2, 0.2, 0.2]},
    }
    for key, tasks in values.items():
        found |= {f"{task}/{key}": np.array(value) for task, value in tasks.items()}
    found["semseg/curve/miou"] = np.array([0.2, 0.3])
    found["semseg/label"], found["depth/label"] = np.array("pAcc ↑"), np.array("AbS ↓")
    return found


def heights(axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches]


def test_reliability_draws_bins_that_have_pixels() -> None:
    figure = draw_reliability(arrays())
    classes, shares, depths, depth_shares = figure.axes
    assert heights(classes) == pytest.approx([0.2, 0.9])
    assert [height for height in heights(depths) if height] == [0.1]
    assert heights(shares) == [75, 25] and heights(depth_shares) == [100, 0]
    assert "ECE 0.175, too sure by +0.125" in classes.get_title()
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_within_a_bin_is_drawn_where_it_differs() -> None:
    classes, _, depths, _ = draw_reliability(arrays()).axes
    labels = [[line.get_label() for line in axes.lines] for axes in (classes, depths)]
    assert "within a bin" not in labels[0] and "within a bin" in labels[1]


def test_acceptance_draws_the_curve_the_floor_and_the_threshold() -> None:
    classes, depths = draw_acceptance(arrays()).axes
    accepted, miou, used = classes.lines
    np.testing.assert_allclose(accepted.get_xdata(), [100, 25])
    np.testing.assert_allclose(accepted.get_ydata(), [37.5, 90])
    np.testing.assert_allclose(miou.get_ydata(), [20, 30])
    assert (used.get_xdata()[0], used.get_ydata()[0]) == (25, 90)
    assert depths.lines[-1].get_ydata() == [0.1, 0.1]  # the floor, of bins alone
    assert "τ = 0.200" in depths.get_title() and depths.get_ylabel() == "AbS ↓"


def test_places_draw_bands_and_classes() -> None:
    near, by_class, *_ = draw_places(arrays()).axes
    right, sure = near.lines
    np.testing.assert_allclose(right.get_ydata(), [0.1, 0.4])
    np.testing.assert_allclose(sure.get_ydata(), [0.5, 0.5])
    assert [t.get_text() for t in near.get_xticklabels()] == ["on it", "≤ 1", "> 1"]
    widths = [bar.get_width() for bar in by_class.patches]
    assert widths == [0.6, 0.3]
    assert [t.get_text() for t in by_class.get_yticklabels()] == ["bed", "wall", "void"]


def gains() -> Arrays:
    """The second column has no value of the first method; a seed is missing."""
    values = np.full((2, 2, 3, 2), 10.0)
    values[0, 1] = [[20, 30], [40, NAN], [NAN, NAN]]
    values[1, 0] = NAN
    return {
        "groups": np.array(["1/4", "1/2", "full"]),
        "shares": np.array([0.25, 0.5, 1.0]),
        "methods": np.array(["MTL baseline", "Ours"]),
        "columns": np.array(["semseg/miou", "delta_mtl"]),
        "labels": np.array(["mIoU ↑", "Δ_MTL (%) ↑"]),
        "values": values,
    }


def test_gains_are_means_over_the_seeds_there_are() -> None:
    first, second = draw_gains(gains()).axes
    baseline, ours = first.lines
    np.testing.assert_allclose(baseline.get_ydata(), [10, 10, 10])
    np.testing.assert_allclose(ours.get_ydata(), [25, 40])
    np.testing.assert_allclose(ours.get_xdata(), [-2, -1])
    assert len(first.collections[1].get_offsets()) == 3
    assert first.get_title() == "semseg mIoU ↑"


def test_a_method_without_values_is_left_out() -> None:
    _, delta = draw_gains(gains()).axes
    assert [line.get_label() for line in delta.lines if line.get_marker() != "None"] == ["Ours"]
    assert [t.get_text() for t in delta.get_xticklabels()] == ["1/4", "1/2", "full"]


@pytest.mark.parametrize("draw", [draw_reliability, draw_acceptance, draw_places])
def test_nothing_withheld_still_draws(draw) -> None:
    empty = arrays()
    for key in ("threshold", "coverage", "quality", "miou"):
        empty[f"semseg/curve/{key}"] = np.zeros(0)
    empty["semseg/used"] = np.array([0.5, NAN, NAN])
    empty["semseg/reliability/pixels"] = np.zeros(2)
    assert png_bytes(draw(empty)).startswith(b"\x89PNG")


def test_one_more_threshold_lies_on_the_curve() -> None:
    from mtpsl.papers.hitts.discovery import draw_threshold

    arrays = dict(np.load(Path(__file__).parents[1] / "figures/hitts/discovery.npz"))
    curve = {k: arrays[f"semseg/curve/{k}"] for k in ("threshold", "coverage", "quality")}
    figure, words = draw_threshold(arrays, "semseg", curve["threshold"][7])
    x, y = figure.axes[0].lines[-1].get_data()
    assert (x[0], y[0]) == (100 * curve["coverage"][7], curve["quality"][7])
    assert f"{curve['threshold'][7]:.3f}: {x[0]:.0f} % accepted" in words
