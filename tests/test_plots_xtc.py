"""What the drawings of XTC promise: nothing overlaps, nothing is typed, every kind has a key."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_figures import Noise, all_arrays

from mtpsl import papers
from mtpsl.data.scenes import people21, streets7
from mtpsl.papers.xtc import figures as xtc
from mtpsl.report import maps
from mtpsl.report.arrays import describe
from mtpsl.report.style import Sheet, styled
from mtpsl.tasks import TaskSet

NAMES = ("xtc/fig1", "xtc/fig2", "xtc/fig3", "xtc/fig4", "xtc/consistency", "xtc/storm")


@pytest.fixture(scope="module")
def every() -> dict[str, dict[str, np.ndarray]]:
    return all_arrays(NAMES)


def texts(figure: Figure) -> list[Text]:
    """Those that are drawn: not the names of ticks beyond the ends of an axis."""
    figure.draw_without_rendering()
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            drawn = axis._update_ticks() if axes.axison else []
            beyond |= {id(t.label1) for t in ticks} - {id(t.label1) for t in drawn}
    words = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [t for t in words if id(t) not in beyond]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie on each other."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    return [
        (a, b)
        for (a, one), (b, two) in combinations(boxes, 2)
        if min(one.x1, two.x1) - max(one.x0, two.x0) > 1
        and min(one.y1, two.y1) - max(one.y0, two.y0) > 1
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_on_another_or_leaves_the_sheet(every: dict, name: str) -> None:
    figure = papers.figures()[name].draw(every[name])
    assert overlaps(figure) == []
    width, height = figure.canvas.get_width_height()
    for text in texts(figure):
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, text.get_text()


def test_sees_texts_that_overlap() -> None:
    sheet = Sheet(2, 1)
    sheet.text(1.0, 0.5, "one")
    sheet.text(1.1, 0.5, "two")
    sheet.text(1.0, 0.9, "three")
    assert overlaps(sheet.figure) == [("one", "two")]


@pytest.mark.parametrize("name", ["xtc/fig1", "xtc/fig2"])
def test_shapes_in_a_diagram_come_from_the_arrays(every: dict, name: str) -> None:
    arrays = dict(every[name])
    said = " ".join(t.get_text() for t in texts(papers.figures()[name].draw(arrays)))
    assert "4 × 32 × 64" in said and "64 × 1 × 2" in said
    arrays["shape/semseg"] = np.array([777, 32, 64])
    assert "777 × 32 × 64" in " ".join(
        t.get_text() for t in texts(papers.figures()[name].draw(arrays))
    )


def test_figure_1_says_who_has_how_many_labels(every: dict) -> None:
    said = [t.get_text() for t in texts(papers.figures()["xtc/fig1"].draw(every["xtc/fig1"]))]
    assert said.count("no label") == (~every["xtc/fig1"]["labeled"]).sum() == 8
    assert said.count("4 of 4") == 3
    for count in every["xtc/fig1"]["labeled"].sum(0):
        assert f"{count} of 4" in said


def test_the_best_score_is_bold(every: dict) -> None:
    arrays = every["xtc/fig4"] | {
        f"depth/{role}/score": np.array(scores)
        for role, scores in {"sl": [0.5, 2.0], "ssl": [0.25, np.nan], "ours": [0.75, 1.0]}.items()
    }
    notes = [
        t for t in texts(papers.figures()["xtc/fig4"].draw(arrays)) if t.axes and t in t.axes.texts
    ]
    weights = {t.get_text(): t.get_weight() for t in notes}
    assert weights["0.250"] == weights["1.00"] == "bold"
    assert weights["0.500"] == weights["0.750"] == weights["2.00"] == "normal"
    assert weights["no label"] == "normal"


def test_consistency_shows_the_arrays_and_survives_a_collapse(every: dict) -> None:
    arrays = every["xtc/consistency"]
    figure = papers.figures()["xtc/consistency"].draw(arrays)
    drawn = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert drawn[:2] == [arrays["with/consistency"].tolist(), arrays["with/regularizer"].tolist()]
    flat = arrays | {f"without/{name}": np.zeros(6) for name in ("same", "other")}
    marks = papers.figures()["xtc/consistency"].draw(flat).axes[2].collections
    assert min(float(m.get_offsets()[:, 0].min()) for m in marks) == xtc.SMALLEST


@styled
def legend_of(tasks: TaskSet, width: float) -> tuple[Sheet, float]:
    rng, size = np.random.default_rng(0), (2, 16, 16)
    arrays = describe(tasks)
    for t in tasks:
        values = rng.random(size).astype(np.float16)
        if t.kind == "classes":
            values = rng.integers(0, t.channels, size).astype(np.uint8)
            values[:, 0] = 255
        arrays[f"{t.name}/truth"] = values
    keys = [f"{t.name}/truth" for t in tasks]
    height = maps.legend_height(arrays, keys, width)
    sheet = Sheet(width, height + maps.FOOTER)
    maps.legends(sheet, arrays, keys, 0.05)
    return sheet, height


@pytest.mark.parametrize("width", [8.5, 11.0, 15.0])
@pytest.mark.parametrize("tasks", [Noise.tasks, streets7.TASKS, people21.TASKS])
def test_legends_fit_where_they_are_put(tasks: TaskSet, width: float) -> None:
    sheet, height = legend_of(tasks, width)
    assert overlaps(sheet.figure) == []
    for text in texts(sheet.figure):
        box = text.get_window_extent()
        assert box.y0 > (maps.FOOTER - 0.1) * 150 and box.x0 > 0 and box.x1 < width * 150
    said = [t.get_text() for t in texts(sheet.figure)]
    for t in tasks:
        assert set(t.class_names) <= set(said)
        assert t.kind == "classes" or t.title.rstrip(".") in said


def test_classes_of_a_legend_read_line_by_line() -> None:
    sheet, _ = legend_of(people21.TASKS, 8.5)
    # Read as people do: from the top, then from the left.
    places = [(t.get_text(), t.get_window_extent()) for t in texts(sheet.figure)]
    order = sorted(
        places, key=lambda place: (-round((place[1].y0 + place[1].y1) / 24), place[1].x0)
    )
    said = [text for text, _ in order]
    assert said[:23] == ["Semseg:", *people21.CLASSES, "void"]
    assert said[23:25] == ["Parsing:", "background"]


@pytest.mark.parametrize(
    ("count", "text"), [(51, "51"), (1936, "1.94 k"), (24_943_296, "24.9 M"), (940_000, "940 k")]
)
def test_counts_have_three_digits(count: int, text: str) -> None:
    assert maps.count_text(count) == text
