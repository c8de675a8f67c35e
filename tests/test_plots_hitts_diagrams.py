"""HiTTs' diagrams are readable, and say what their arrays say."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_hitts_diagram_arrays import FIGURES, NAMES, material
from test_plots_xtc import overlaps, texts

from mtpsl import papers
from mtpsl.losses import IGNORE_INDEX
from mtpsl.papers.hitts import diagrams, traces
from mtpsl.report.arrays import Arrays, FigureInputs
from mtpsl.report.maps import count_text, shape_text
from mtpsl.report.style import signed_rgb

DRAWN = ("fig1", "fig2", "fig3", "fig4", "fig12")
EVERY = pytest.mark.parametrize("name", DRAWN)


@pytest.fixture(scope="module")
def every() -> dict[str, Arrays]:
    setting, walk = (compute(material()) for compute in FIGURES.values())
    walked = dict.fromkeys(("fig2", "fig3", "fig4"), walk)
    return {"fig1": setting, "fig12": traces.scales(FigureInputs())} | walked


def said(figure: Figure) -> str:
    return "  ".join(t.get_text() for t in texts(figure))


@EVERY
def test_no_text_lies_on_another_or_leaves_the_sheet(every: dict[str, Arrays], name: str) -> None:
    figure = papers.figures()[f"hitts/{name}"].draw(every[name])
    assert overlaps(figure) == []
    width, height = figure.canvas.get_width_height()
    for text in texts(figure):
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, text.get_text()


@EVERY
def test_letters_can_be_read_on_a_slide(every: dict[str, Arrays], name: str) -> None:
    figure = papers.figures()[f"hitts/{name}"].draw(every[name])
    pixels = 1200 / figure.get_size_inches()[0]  # an inch of a picture 1200 pixels wide
    assert min(t.get_fontsize() / 72 * pixels for t in texts(figure)) > 10


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("fig2", ("shape/shared", "shape/feature/depth", "shape/refined/semseg", "shape/image")),
        ("fig3", ("shape/shared", "shape/joint/normals", "shape/theta", "shape/queried/semseg")),
        ("fig4", ("shape/basis/semseg", "shape/phi/semseg", "shape/projected/semseg")),
        ("fig12", ("multi/shape/stage/2", "multi/shape/theta/1", "single/shape/feature")),
    ],
)
def test_shapes_come_from_the_arrays(
    every: dict[str, Arrays], name: str, keys: tuple[str, ...]
) -> None:
    arrays, drawn = dict(every[name]), []
    for i, key in enumerate(keys):
        arrays[key] = np.array([7771 + i, *arrays[key][1:]])
        drawn.append(shape_text(arrays[key]))
    words = said(papers.figures()[f"hitts/{name}"].draw(arrays))
    assert all(shape in words for shape in drawn)
    assert not any(
        shape in said(papers.figures()[f"hitts/{name}"].draw(every[name])) for shape in drawn
    )


@pytest.mark.parametrize("name", ["fig2", "fig3", "fig4"])
def test_counts_come_from_the_arrays(every: dict[str, Arrays], name: str) -> None:
    part = {"fig2": "backbone", "fig3": "attention/semseg", "fig4": "embed/semseg"}[name]
    arrays = every[name] | {f"parameters/{part}": np.array(123_456_789)}
    assert count_text(123_456_789) in said(papers.figures()[f"hitts/{name}"].draw(arrays))
    assert count_text(int(every[name][f"parameters/{part}"])) in said(
        papers.figures()[f"hitts/{name}"].draw(every[name])
    )


def test_figure_1_says_who_has_how_many_labels(every: dict[str, Arrays]) -> None:
    labeled = every["fig1"]["examples/labeled"]
    words = [t.get_text() for t in texts(papers.figures()["hitts/fig1"].draw(every["fig1"]))]
    assert words.count("no label") == (~labeled).sum()
    for count in labeled.sum(0):
        assert f"{count} of {len(labeled)} images labeled" in words
    assert f"every image has {labeled.sum(1).min()} to {labeled.sum(1).max()} of 3 labels" in words


@pytest.mark.parametrize("name", ["fig1", "fig2"])
def test_a_task_has_the_loss_of_its_label(every: dict[str, Arrays], name: str) -> None:
    for known in ([False, True, False], [False, True, True]):
        arrays = every[name] | {"known": np.array(known)}
        words = [t.get_text() for t in texts(papers.figures()[f"hitts/{name}"].draw(arrays))]
        assert words.count(r"$\mathcal{L}_s$") == sum(known)
        assert words.count(r"$\mathcal{L}_p$") == len(known) - sum(known)
        assert words.count(r"$\mathcal{L}_f$") == len(known)


def test_figure_2_writes_the_losses_of_its_image(every: dict[str, Arrays]) -> None:
    losses = {"loss/L_s": 1.25, "loss/L_p": 0.5, "loss/L_f": 0.0625}
    arrays = every["fig2"] | {name: np.array(value) for name, value in losses.items()}
    assert "1.25 + 0.5 + 0.0625" in said(papers.figures()["hitts/fig2"].draw(arrays))


def test_figure_3_writes_the_affinity(every: dict[str, Arrays]) -> None:
    A = np.array([[0.91, 0.05, 0.04], [0.21, 0.62, 0.17], [0.33, 0.34, 0.33]])
    arrays = every["fig3"] | {"values/affinity": A}
    words = [t.get_text() for t in texts(papers.figures()["hitts/fig3"].draw(arrays))]
    for value in A.ravel():
        assert f"{value:.2f}" in words


def test_figure_3_without_attention_says_so(every: dict[str, Arrays]) -> None:
    arrays = {k: v for k, v in every["fig3"].items() if "attention" not in k}
    words = [t.get_text() for t in texts(papers.figures()["hitts/fig3"].draw(arrays))]
    assert words.count("none") == len(NAMES) and "attention" not in words


def test_figure_4_names_its_threshold(every: dict[str, Arrays]) -> None:
    arrays = every["fig4"] | {"tau/semseg": np.array(0.1234)}
    assert "= 0.12" in said(papers.figures()["hitts/fig4"].draw(arrays))


def test_figure_12_has_a_row_for_every_scale(every: dict[str, Arrays]) -> None:
    arrays = every["fig12"]
    words = said(papers.figures()["hitts/fig12"].draw(arrays))
    assert all(rf"W^{{s\to m({j})}}" in words for j in range(4))
    fewer = {k: v for k, v in arrays.items() if not k.startswith("multi/") or not k.endswith("/3")}
    words = said(papers.figures()["hitts/fig12"].draw(fewer))
    assert rf"W^{{m\to s({2})}}" in words and rf"W^{{m\to s({3})}}" not in words
    assert "3 scales" in words


def test_a_pseudo_label_is_empty_where_it_is_not_accepted(every: dict[str, Arrays]) -> None:
    arrays = every["fig2"]
    rejected = arrays["semseg/pseudo"][0] == IGNORE_INDEX
    assert rejected.any() and not rejected.all()
    rgb = diagrams.pseudo_rgb(arrays, "semseg")
    assert len(np.unique(rgb[rejected], axis=0)) == 1
    empty = rgb[rejected][0]
    assert not (rgb[~rejected] == empty).all(-1).any()


def test_tokens_are_white_at_zero_and_of_two_colors() -> None:
    rgb = signed_rgb(np.array([[-2.0, 0.0, 2.0]])).astype(int)[0]
    assert rgb[1].min() > 240 and rgb[0][2] > rgb[0][0] and rgb[2][0] > rgb[2][2]
    flat = signed_rgb(np.zeros((1, 3)))
    assert len(np.unique(flat, axis=1)[0]) == 1
