"""Drawings of the method notebooks show the numbers they are given."""

import numpy as np
import pytest

from mtpsl.report.arrays import describe
from mtpsl.report.figure import png_bytes
from mtpsl.report.sketches import (
    draw_activations,
    draw_depth_bins,
    draw_ellipses,
    draw_lines,
    draw_matrices,
    draw_normal_centers,
    draw_pictures,
    draw_points,
    draw_similarities,
    draw_views,
)
from mtpsl.tasks import TaskSet, depth, normals, semseg


def words(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_matrices_carry_their_numbers() -> None:
    figure = draw_matrices({"A": np.array([[0.25, 1.0]]), "M": np.array([[True], [False]])})
    first, second = figure.axes
    assert words(first) == ["0.25", "1.00"]
    assert words(second) == ["1", "0"]
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_a_matrix_spans_its_own_range_unless_told() -> None:
    half = np.full((1, 1), 0.5)
    (own,) = draw_matrices({"p": half}).axes
    (told,) = draw_matrices({"p": half}, ranges={"p": (0, 1)}).axes
    own.figure.draw_without_rendering()
    told.figure.draw_without_rendering()
    colors = [axes.collections[0].get_facecolors() for axes in (own, told)]
    assert not np.allclose(*colors)


def test_similarities_state_the_mean_between_two_tokens() -> None:
    values = np.array([[1.0, -0.5], [-0.5, 1.0]])
    figure = draw_similarities({"x": values})
    assert "mean |off-diagonal| 0.50" in figure.axes[0].get_title()


def test_ellipses_are_one_deviation_around_the_mean() -> None:
    gaussian = np.array([1.0, 2.0]), np.array([[4.0, 1.0], [1.0, 1.0]])
    (axes,) = draw_ellipses({"a pair": {"p": gaussian}}).axes
    line, mean = (np.array(drawn.get_data()).T for drawn in axes.lines)
    away = line - gaussian[0]
    distance = np.einsum("na,ab,nb->n", away, np.linalg.inv(gaussian[1]), away)
    np.testing.assert_allclose(distance, 1)
    assert mean.tolist() == [[1, 2]]


def test_pictures_fill_rows() -> None:
    black = np.zeros((2, 4, 3), dtype=np.uint8)
    figure = draw_pictures({name: black + i for i, name in enumerate("abc")}, columns=2)
    assert [axes.images[0].get_array().max() for axes in figure.axes] == [0, 1, 2]
    tops = [axes.get_position().y1 for axes in figure.axes]
    assert tops[0] == tops[1] > tops[2]
    assert [text.get_text() for text in figure.texts] == ["a", "b", "c"]


def test_points_have_a_line_through_their_means() -> None:
    (axes,) = draw_points({"b": (0.9, [3.0, 5.0]), "a": (0.8, [1.0])}, x="ASA", y="gain").axes
    *_, b, a, means = (np.array(line.get_data()) for line in axes.lines)
    np.testing.assert_allclose(b, [[0.9, 0.9], [3, 5]])
    np.testing.assert_allclose(a, [[0.8], [1]])
    np.testing.assert_allclose(means, [[0.8, 0.9], [1, 4]])


def test_lines_have_a_chart_for_each_title() -> None:
    curves = {"a": ([1, 2, 4], [0.5, 0.3, 0.2]), "b": ([1, 2], [1.0, 1.0])}
    left, right = draw_lines({"both": curves, "first": {"a": curves["a"]}}, "tasks").axes
    assert [axes.get_title() for axes in (left, right)] == ["both", "first"]
    assert [len(axes.lines) for axes in (left, right)] == [2, 1]
    np.testing.assert_allclose(right.lines[0].get_data(), curves["a"])
    assert right.get_xlabel() == "tasks"


def test_activations_draw_value_and_slope() -> None:
    x = np.linspace(-1, 1, 5)
    left, right = draw_activations({"line": (2 * x, 2 * np.ones(5))}, x).axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), 2 * x)
    np.testing.assert_allclose(right.lines[0].get_ydata(), 2)


def test_depth_bins_by_hand() -> None:
    centers = 2.0 ** np.array([0.5, 1.5, 2.5])  # edges 1, 2, 4, 8
    figure = draw_depth_bins(np.array([1.5, 1.6, 3.0, 5.0]), np.array([2.0, 4.0]), centers)
    shares, error = figure.axes
    assert [bar.get_height() for bar in shares.patches] == [50, 25, 25]
    worst = np.abs(error.lines[0].get_ydata()).max()
    assert worst == pytest.approx(100 * (2**0.5 - 1), rel=1e-2)


def test_normal_centers_are_seen_from_the_camera() -> None:
    up = np.array([[0.0, -1.0, 0.0]])  # y points down
    left, _ = draw_normal_centers(up, np.array([0]), up).axes
    np.testing.assert_allclose(left.collections[0].get_offsets(), [[0, 1]])


def test_views_frame_the_box_on_the_clean_image_alone() -> None:
    tasks = TaskSet((semseg(("bed", "wall")), depth(), normals()))
    direction = np.zeros((2, 32, 48, 3)) + np.array([0, 0, -1.0])
    arrays = describe(tasks) | {
        "images": np.zeros((2, 32, 48, 3), dtype=np.uint8),
        "semseg/truth": np.zeros((2, 32, 48), dtype=np.uint8),
        "depth/truth": np.ones((2, 32, 48)) + np.arange(48),
        "normals/truth": direction,
        "confidence": np.zeros((2, 4, 6)),
        "box": np.array([[8.0, 12.0, 16.0, 24.0]]),
    }
    panels = draw_views(arrays).axes
    clean, view, *others = panels
    assert clean.patches[0].get_bbox().bounds == (11.5, 7.5, 24.0, 16.0)
    assert not view.patches
    coarse = others[6].patches[0].get_bbox().bounds  # the same box on cells of 8 pixels
    assert coarse == (12 / 8 - 0.5, 8 / 8 - 0.5, 3.0, 2.0)
