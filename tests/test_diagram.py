"""The language of diagrams: names in a grid find their places, and arrows their ways."""

import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch
from test_plots_xtc import overlaps, texts

from mtpsl.report.diagram import ROUTES, WIDTH, Diagram, Grid
from mtpsl.report.style import Cell, box, missing, picture, remark, scores, tokens

IMAGE = np.zeros((64, 96, 3), dtype=np.uint8)


def nine(**cells: Cell) -> tuple[Diagram, Grid]:
    """A grid of three by three boxes, of which some are replaced."""
    diagram = Diagram()
    grid = diagram.grid("(a) One | a note", "(b) Two")
    for row in "abc":
        grid.row(f"{row}1 {row}2 | {row}3")
        for column in "123":
            diagram[f"{row}{column}"] = box(f"{row}{column}", color="green")
    diagram.cells |= cells
    return diagram, grid


def paths(diagram: Diagram) -> list[np.ndarray]:
    """The points (x, y) of every arrow, in inches."""
    (axes,) = diagram.draw().axes
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    return [arrow._path_original.vertices for arrow in arrows]


def test_bodies_stand_on_the_lines_of_their_rows_and_columns() -> None:
    cell = picture(IMAGE, below=["a caption that is wider than all pictures are"])
    diagram, grid = nine(b1=cell)
    diagram.draw()
    for row in "abc":
        assert len({grid.places[f"{row}{column}"].middle[0] for column in "123"}) == 1
    for column in "123":
        assert len({grid.places[f"{row}{column}"].middle[1] for row in "abc"}) == 1


def test_a_name_in_several_places_spans_them_and_a_box_fills_them() -> None:
    diagram = Diagram()
    grid = diagram.grid("(a)")
    grid.row("image tall a")
    grid.row("image tall b")
    diagram["image"], diagram["tall"] = picture(IMAGE), box("tall", color="green", stretch=True)
    diagram["a"], diagram["b"] = box("a", color="green"), picture(IMAGE, above=["b"])
    diagram.draw()
    image, tall, a, b = (grid.places[name] for name in ("image", "tall", "a", "b"))
    assert tall.body[0][0] <= a.body[0][0] and tall.body[0][1] >= b.body[0][1]
    height = image.body[0][1] - image.body[0][0]
    assert height == pytest.approx(0.8 * 64 / 96)
    assert image.middle[0] == pytest.approx((tall.body[0][0] + tall.body[0][1]) / 2)


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_text_is_measured_so_that_nothing_overlaps(size: int) -> None:
    long = " × ".join([str(size)] * 4)
    cells = {
        "a2": picture(IMAGE, below=[long]),
        "b2": remark(long, "and more"),
        "c2": missing(IMAGE, "no"),
    }
    diagram, grid = nine(**cells)
    grid.band("b1 b3", "green", "a band")
    diagram.join("a1 -> a2", label=long)
    diagram.join("b1 <-> b2", loss=long)
    diagram.join("a1 -> b1", loss=long)
    figure = diagram.draw()
    assert overlaps(figure) == []
    width, height = figure.canvas.get_width_height()
    for text in texts(figure):
        edges = text.get_window_extent()
        assert edges.x0 >= 0 and edges.y0 >= 0 and edges.x1 <= width and edges.y1 <= height


def test_a_diagram_is_as_wide_as_the_others_or_as_it_must_be() -> None:
    assert nine()[0].draw().get_size_inches()[0] == WIDTH
    wide, _ = nine(a1=picture(IMAGE, wide=20.0))
    assert wide.draw().get_size_inches()[0] > 16


@pytest.mark.parametrize("route", ROUTES)
def test_an_arrow_runs_as_it_is_drawn(route: str) -> None:
    diagram, grid = nine()
    diagram.join(f"a1 {route}> {'a3' if route in ('-', '|_|', '|^|') else 'c3'}")
    (points,) = paths(diagram)
    straight = [bool(a[0] == b[0]) for a, b in zip(points[:-1], points[1:], strict=True)]
    assert straight == [
        sign == "|" for sign in route.replace("_", "-").replace("^", "-").replace("--", "-")
    ]
    inside = [place.body for place in grid.places.values()]
    for x, y in points[1:-1] if len(points) > 3 else ():  # turns are in gaps
        assert not any(b[0][0] < y < b[0][1] and b[1][0] < x < b[1][1] for b in inside)


def test_turns_right_after_the_start_and_right_before_the_end_differ() -> None:
    diagram, _ = nine()
    diagram.join("a1 -|-> c2")
    diagram.join("a1 --|-> b2")
    early, late = paths(diagram)
    assert early[1, 0] < late[1, 0]


def test_a_bare_point_takes_no_head() -> None:
    diagram, _ = nine()
    del diagram.cells["a2"]
    diagram.join("a1 -> a2 -> a3")
    (axes,) = diagram.draw().axes
    into, out = (p for p in axes.patches if isinstance(p, FancyArrowPatch))
    assert type(into.get_arrowstyle()).__name__ == "Curve"
    assert type(out.get_arrowstyle()).__name__ == "CurveFilledB"


def test_tokens_keep_their_edges_and_scores_their_range() -> None:
    cell = tokens(np.array([-2.0, 0.0, 2.0]), "green")
    assert cell.image.shape == (1, 3, 3) and cell.height < cell.width
    shown = scores(np.array([[3.0, 4.0]]), "green").image
    np.testing.assert_array_equal(shown, scores(np.array([[0.0, 1.0]]), "green").image)


def test_says_what_a_row_and_an_arrow_must_be() -> None:
    diagram, grid = nine()
    with pytest.raises(ValueError, match="row: expected 2 cards .* got 'd1 d2 d3'"):
        grid.row("d1 d2 d3")
    with pytest.raises(ValueError, match="row: expected 2 cards"):
        grid.row("d1 | d2 d3")
    with pytest.raises(ValueError, match="join: expected an arrow such as -> .*, got '=>'"):
        diagram.join("a1 => a2")


@pytest.mark.parametrize(
    ("chain", "complaint"),
    [
        ("a1 -> b2", "expected a turn between 'a1' and 'b2'"),
        ("a1 -> elsewhere", "expected two names of one grid, got 'a1' and 'elsewhere'"),
    ],
)
def test_refuses_an_arrow_that_cannot_be_drawn(chain: str, complaint: str) -> None:
    diagram, _ = nine()
    diagram.join(chain)
    with pytest.raises(ValueError, match=f"join: {complaint}"):
        diagram.draw()
