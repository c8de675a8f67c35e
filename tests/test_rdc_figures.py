"""RDC's figures: arrays say what the drawings claim, and nothing in a drawing is typed."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from scipy.linalg import sqrtm
from test_figures import Noise, all_arrays, method
from test_plots_xtc import overlaps, texts

from mtpsl import papers
from mtpsl.papers.rdc import compared, diagrams, figures, printed
from mtpsl.report.arrays import FigureInputs
from mtpsl.report.maps import count_text, shape_text
from mtpsl.runs.profiles import smoke

DIAGRAMS = ("fig1", "fig2", "fig3")
NAMES = tuple(name for name in papers.figures() if name.startswith("rdc/"))
Every = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def every() -> Every:
    return {name.removeprefix("rdc/"): found for name, found in all_arrays(NAMES).items()}


@pytest.fixture(scope="module")
def inputs() -> Iterator[FigureInputs]:
    experiments = papers.figures()["rdc/fig1"].experiments(smoke)
    ours = method("rdc", pools=2)
    before = {name: values.clone() for name, values in ours.state_dict().items()}
    yield FigureInputs(methods={"ours": ours}, experiments=experiments, test=Noise())
    assert not ours.training
    assert all(torch.equal(before[name], values) for name, values in ours.state_dict().items())


def said(every: Every, name: str, **changed: np.ndarray) -> str:
    figure = papers.figures()[f"rdc/{name}"].draw(every[name] | changed)
    return "  ".join(t.get_text() for t in texts(figure))


# ------------------------------------------------------------------- readable


@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_on_another_or_leaves_the_sheet(every: Every, name: str) -> None:
    figure = papers.figures()[name].draw(every[name.removeprefix("rdc/")])
    assert overlaps(figure) == []
    width, height = figure.canvas.get_width_height()
    for text in texts(figure):
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, text.get_text()


@pytest.mark.parametrize("name", DIAGRAMS)
def test_letters_can_be_read_on_a_slide(every: Every, name: str) -> None:
    figure = papers.figures()[f"rdc/{name}"].draw(every[name])
    pixels = 1200 / figure.get_size_inches()[0]
    assert min(t.get_fontsize() / 72 * pixels for t in texts(figure)) > 10


# ------------------------------------------------------------------- compared


def test_distances_are_equation_5_of_the_regions_that_are_drawn(inputs: FigureInputs) -> None:
    ours, _, scenes = diagrams._scenes(inputs)
    one = scenes.only(0)
    arrays, share = one.arrays(), ours.loss.shrinkage
    gaussians = []
    for maps in one.maps[:, 0].double().numpy():
        for number in range(len(arrays["sizes"])):
            inside = maps[:, arrays["numbers"][0] == number]
            S, eye = np.cov(inside), np.eye(len(maps))
            gaussians.append(
                (inside.mean(1), (1 - share) * S + (share * S.trace() / len(S) + 1e-6) * eye)
            )
    M = len(arrays["sizes"])
    assert M > 3
    for i in range(M):
        for j in range(M):
            (m, S), (n, T) = gaussians[i], gaussians[M + j]
            W = np.square(m - n).sum() + np.trace(S + T - 2 * sqrtm(S @ T).real)
            assert arrays["distance"][i, j] == pytest.approx(W, rel=1e-3, abs=2e-3)


def test_regions_lie_where_there_is_a_label(inputs: FigureInputs) -> None:
    ours, batch, scenes = diagrams._scenes(inputs)
    assert all(batch.labeled["normals"][row] for row in scenes.rows)
    assert not any(batch.labeled["semseg"][row] for row in scenes.rows)
    found = scenes.only(0).arrays()
    counts = np.bincount(found["numbers"][found["numbers"] >= 0])
    assert counts.tolist() == found["sizes"].tolist() and counts.min() >= ours.loss.min_pixels
    assert (found["numbers"][0, :2] == -1).all()  # the first four rows of Noise have no label


def test_means_in_a_plane_are_no_further_apart_than_gaussians(every: Every) -> None:
    for name in ("region", "image"):
        found = every["fig1"]
        p, t = found[f"{name}/mean"]
        apart = np.square(p[:, None] - t[None]).sum(-1)
        assert (apart <= found[f"{name}/distance"] + 1e-3).all()
        assert 0 < found[f"{name}/explained"].sum() <= 1
        assert (np.linalg.eigvalsh(found[f"{name}/covariance"]) > -1e-6).all()


def test_an_image_is_one_region_of_all_its_pixels(every: Every) -> None:
    found = every["fig1"]
    assert found["image/distance"].shape == (2, 2)
    assert found["image/sizes"][0] >= found["region/sizes"].sum()


def test_labels_of_another_image_keep_the_regions(inputs: FigureInputs) -> None:
    _, _, scenes = diagrams._scenes(inputs)
    swapped = scenes.mismatched()
    assert torch.equal(swapped.ids, scenes.ids)
    assert torch.equal(swapped.maps[0], scenes.maps[0])
    assert torch.equal(swapped.maps[1, 1], scenes.maps[1, 0])
    assert not torch.equal(swapped.maps[1, 1], scenes.maps[1, 1])


def test_a_region_is_found_where_its_own_label_is_nearest() -> None:
    distance = np.array([[1.0, 2.0, 3.0], [0.5, 0.6, 9.0], [4.0, 4.0, 4.0]])
    assert compared.found(distance).tolist() == [True, False, False]
    assert compared.found(np.zeros((1, 1))).tolist() == [True]


# ------------------------------------------------------------------- diagrams


def test_figure_1_writes_its_distances(every: Every) -> None:
    numbers = np.array([[0.125, 77.0], [88.0, 0.25]])
    words = said(every, "fig1", **{"image/distance": numbers})
    assert "W = 0.125 and 0.25" in words and "W = 77 and 88" in words


def test_figure_2_takes_shapes_from_a_training_step(every: Every) -> None:
    names = ("image", "features", "semseg", "map", "contrast", "mean", "covariance", "distance")
    shapes = {f"shape/{name}": every["fig2"][f"shape/{name}"] for name in names}
    changed = {key: np.array([7771 + i, *shapes[key][1:]]) for i, key in enumerate(shapes)}
    before, after = said(every, "fig2"), said(every, "fig2", **changed)
    for key in shapes:
        assert shape_text(shapes[key]) in before
        assert shape_text(changed[key]) in after and shape_text(changed[key]) not in before


def test_figure_2_counts_and_losses(every: Every, inputs: FigureInputs) -> None:
    found, loss = every["fig2"], inputs.methods["ours"].loss
    assert found["parameters/mapping"] == sum(p.numel() for p in loss.mapping.parameters())
    assert found["loss/contrast"] > 0
    words = said(every, "fig2")
    for text in (count_text(int(found["parameters/mapping"])), "felzenszwalb"):
        assert text in words
    assert f"= {float(found['loss/contrast']):.2f}" in words
    M, D = found["shape/mean"]
    assert found["shape/covariance"].tolist() == [M, D, D]
    assert found["region/distance"].shape == tuple(found["shape/distance"]) == (M, M)


@pytest.mark.parametrize("name", ["fig2", "fig3"])
def test_the_count_of_found_regions_is_that_of_the_matrix(every: Every, name: str) -> None:
    M = len(every[name]["region/sizes"])
    diagonal = np.ones((M, M)) - np.eye(M)
    for distance, hits in ((diagonal, M), (1 - diagonal, 0)):
        words = said(every, name, **{"region/distance": distance})
        assert f"own label nearest: {hits} of {M}" in words


def test_figure_3_writes_what_is_pulled_and_pushed(every: Every) -> None:
    found, i = every["fig3"], int(every["fig3"]["chosen"])
    others = np.delete(found["region/distance"][i], i)
    words = said(every, "fig3")
    assert f"pulled together: W = {found['region/distance'][i, i]:.3g}" in words
    assert f"pushed apart: W = {others.min():.3g} or more" in words
    assert f"{found['region/sizes'][i]} pixels" in words


def test_diagrams_do_not_depend_on_what_was_drawn_before(inputs: FigureInputs) -> None:
    for arrays in (diagrams.agreement, diagrams.architecture, diagrams.one_region):
        first, again = arrays(inputs), arrays(inputs)
        for key in first:
            np.testing.assert_array_equal(first[key], again[key])


# ------------------------------------------------------------------- pictures


def test_a_matrix_frames_its_diagonal_by_what_is_found() -> None:
    rgb = compared.matrix(np.array([[1.0, 2.0], [0.5, 3.0]]), np.array([5, 9]))  # largest first
    right, wrong = (
        np.multiply(to_rgb(c), 255).astype(np.uint8) for c in (compared.RIGHT, compared.WRONG)
    )
    cell = compared.CELL
    assert (rgb[0, 0] == wrong).all() and (rgb[cell, cell] == right).all()
    assert (rgb[cell // 2, cell + cell // 2] == wrong).all()  # what is nearer has a dot
    assert rgb.shape == (2 * cell, 2 * cell, 3)


def test_ellipses_are_as_wide_as_their_gaussians() -> None:
    S = np.array([[[4.0, 0.0], [0.0, 0.25]]])
    ink = compared.ellipses(np.zeros((1, 2)), S, ["#000000"], [False])[..., 0] < 40  # the lines
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(4, rel=0.1)
    assert np.ptp(columns) == pytest.approx(compared.SIDE * 2 / 2.3, rel=0.03)  # two deviations


def test_outlines_leave_other_pixels_alone() -> None:
    image = np.full((16, 24, 3), 100, dtype=np.uint8)
    numbers = np.zeros((8, 12), dtype=int)
    numbers[2:5, 3:7] = 1
    drawn = compared.outline(image, numbers, {1: "#FF0000"})
    red = (drawn == (255, 0, 0)).all(-1)
    assert red.any() and not red[:20].any() and (drawn[:20] == 100).all()
    pale = compared.outline(image, numbers, {1: "#FF0000"}, 0.5)
    assert (pale[:20] == 178).all() and (pale[140, 200] == 100).all()


# ------------------------------------------------------------- beyond the paper


def test_retrieval_counts_every_region_once(every: Every) -> None:
    found = every["retrieval"]
    for kind in figures.KINDS:
        assert found[f"{kind}/found"].shape == found["sizes"].shape
    M, drawn = len(found["example/sizes"]), said(every, "retrieval")
    for when in figures.WHEN:
        hits = compared.found(found[f"{when}/distance"]).sum()
        words = f"{figures.WHEN[when].capitalize()}: {hits} of {M} found"
        assert words in drawn
    assert 0 < found["chance"] < 1
    assert not np.array_equal(found["before/distance"], found["after/distance"])


def test_the_released_meter_is_an_angle_for_unit_vectors_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    target, near = torch.randn(2, 2, 3, 8, 8, generator=generator)
    target, unit = (torch.nn.functional.normalize(v, dim=1) for v in (target, target + near))
    mask = torch.rand(2, 1, 8, 8, generator=generator) > 0.3
    angle = figures.true_error(unit, target, mask)
    assert figures.released_error(unit, target, mask) == pytest.approx(angle, abs=0.05)
    errors = [figures.released_error(n * unit, target, mask) for n in (1, 1.5, 2, 5)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 2
    assert figures.true_error(5 * unit, target, mask) == pytest.approx(angle, abs=1e-3)


def test_normals_grow_and_the_meter_rewards_it(every: Every) -> None:
    found = every["norm_drift"]
    assert found["length"][-1] > 1.5 * found["length"][0]
    assert (np.diff(found["rescaled"]) < 0).all()
    assert found["rescaled"][0] == pytest.approx(found["true"][-1], abs=0.2)
    assert found["true"][-1] < found["true"][0]
    assert found["cells"].tolist() == list(figures.CELLS.values())
    assert figures.CELLS["RDC by region"] == printed.TABLE5.rows["one/Wasserstein distance"][2]
    words = said(every, "norm_drift")
    assert all(f"{value:.2f}" in words for value in found["cells"])
