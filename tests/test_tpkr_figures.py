"""TPKR's Figures 1 to 4: traced shapes are the network's, and both signs of Eq. 5 differ."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from test_figures import Noise, all_arrays, method
from test_plots_xtc import overlaps, texts

from mtpsl import papers
from mtpsl.papers.tpkr import diagrams
from mtpsl.papers.tpkr.diagrams import free_features
from mtpsl.report.maps import count_text, shape_text

NAMES = ("fig1", "fig2", "fig3", "fig4")
Every = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def every() -> Iterator[Every]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagrams, "free_features", partial(free_features, steps=40))
        found = all_arrays([f"tpkr/{name}" for name in NAMES])
    yield {name.removeprefix("tpkr/"): arrays for name, arrays in found.items()}


def said(every: Every, name: str, **changed: np.ndarray) -> str:
    figure = papers.figures()[f"tpkr/{name}"].draw(every[name] | changed)
    return "  ".join(t.get_text() for t in texts(figure))


@pytest.mark.parametrize("name", NAMES)
def test_texts_can_be_read_and_lie_apart_on_the_sheet(every: Every, name: str) -> None:
    figure = papers.figures()[f"tpkr/{name}"].draw(every[name])
    assert overlaps(figure) == []
    width, height = figure.canvas.get_width_height()
    for text in texts(figure):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert text.get_fontsize() / 72 * 1200 / figure.get_size_inches()[0] > 10


def test_traced_shapes_are_those_of_the_network(every: Every) -> None:
    ours, found, T = method("tpkr", backbone="resnet18_fused", code_count=16), every["fig2"], 3
    c, d = ours.backbone.channels, ours.prototypes.slots.shape[1]
    h, w = Noise.height // 8, Noise.width // 8
    shapes = {"image": (3, 32, 64), "encoded": (c, h, w), "latent": (c, h, w)}
    shapes |= {"decoded": (c, h, w), "projected": (h * w, d), "similarity": (h * w, T)}
    shapes |= {"affinity": (h * w, T), "mixed": (h * w, d), "look": (h * w, c)}
    shapes |= {"ask": (h * w, c), "think": (h * w, c), "slots": (T, d)}
    shapes |= {"retrieved": (ours.out.out_features, h, w)}
    shapes |= {t.name: (t.channels, 32, 64) for t in ours.tasks}
    traced = {key[6:]: tuple(a) for key, a in found.items() if key.startswith("shape/")}
    assert traced == shapes
    counts = {key[11:]: int(a) for key, a in found.items() if key.startswith("parameters/")}
    assert counts.pop("transformer") == counts["blocks"] + counts["out"]
    assert sum(counts.values()) == sum(p.numel() for p in ours.parameters())
    changed = {"shape/latent": np.array([7771, 7772, 7773]), "parameters/codebook": np.array(777)}
    words = said(every, "fig2", **changed)
    assert shape_text([7771, 7772, 7773]) in words and count_text(777) in words


def test_affinities_are_those_of_the_trained_network(every: Every) -> None:
    found, ours = every["fig1"], method("tpkr", backbone="resnet18_fused", code_count=16)
    passed = ours.trace(Noise().load(found["index"].tolist()).images)
    for k, affinity in enumerate(passed.affinity.values()):
        drawn = found["affinity"][k].reshape(3, -1)
        np.testing.assert_allclose(drawn, affinity[0].detach().numpy().T, atol=1e-3)
    np.testing.assert_allclose(found["affinity/mean"].sum(1), 1, atol=1e-3)
    words = said(every, "fig1")
    assert all(f"{maps.mean(dtype=float):.2f} ± " in words for maps in found["affinity"][0])
    matrix = np.array([[0.61, 0.62, 0.63], [0.64, 0.65, 0.66], [0.67, 0.68, 0.69]])
    words = said(every, "fig3", **{"affinity/mean": matrix, "loss/tke": np.array(7.25)})
    assert all(f"{value:.2f}" in words for value in (*matrix.ravel(), 7.25))


def test_both_signs_move_features_in_opposite_directions() -> None:
    start, text, printed = (  # noqa
        free_features("text", steps=0),
        free_features("text", steps=150),
        free_features("printed", steps=150),
    )
    assert text.same > start.same and text.cross < start.cross
    assert printed.cross > start.cross + 0.3 and printed.cross > text.cross + 0.5
    assert printed.own_affinity < text.own_affinity and text.right == 1
    assert text.terms["tc"] < printed.terms["tc"]


def test_the_text_ends_at_the_simplex_of_slots() -> None:
    found = free_features("text", tasks=4, steps=400)
    assert found.same == pytest.approx(1, abs=0.01)
    assert found.cross == pytest.approx(-1 / 3, abs=0.02)
    bound = np.e / (np.e + 3 * np.exp(-1 / 3))
    assert found.own_affinity == pytest.approx(bound, abs=0.01)
    again = free_features("text", tasks=4, steps=400)
    assert torch.equal(found.features, again.features)


def test_without_a_consistency_loss_there_is_no_such_term() -> None:
    assert set(free_features("none", steps=1).terms) == {"tke"}


def test_figure_4_shows_points_and_numbers_of_all_three(every: Every) -> None:
    found = every["fig4"]
    for name in ("start", "text", "printed"):
        points = found[f"{name}/points"]
        assert points.shape[:2] == (3, 4)
        np.testing.assert_allclose(found[f"{name}/anchors"], points.mean(1), atol=1e-3)
        assert 0 < found[f"{name}/explained"].sum() <= 1.001
    numbers = np.array([0.123, 0.77, 5.25, 6.75])
    words = said(every, "fig4", **{"printed/numbers": numbers})
    assert "own affinity 0.12" in words and "77 % of positions" in words
    assert "5.25" in words and "6.75" in words
