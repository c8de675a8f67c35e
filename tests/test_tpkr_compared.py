"""TPKR's figures of trained networks: what a smoke run gives, and what drawings say of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_plots_xtc import overlaps, texts

from mtpsl import papers
from mtpsl.papers.tpkr.compared import IMAGES
from mtpsl.report.arrays import Arrays
from mtpsl.report.figure import FinishedFigure, make_figure, png_bytes, redraw
from mtpsl.runs.data import open_split
from mtpsl.runs.network import load_method
from mtpsl.runs.profiles import smoke
from mtpsl.runs.store import RunStore, Session

NAMES = ("tpkr/fig5", "tpkr/fig6", "tpkr/fig7")

every_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tpkr")


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    return Session(store=RunStore(folder / "runs"), device="cpu", progress=False)


@pytest.fixture(scope="module")
def made(folder: Path, session: Session) -> dict[str, FinishedFigure]:
    """The figures of smoke runs, which are trained once."""
    return {n: make_figure(n, profile="smoke", session=session, folder=folder) for n in NAMES}


@pytest.fixture(scope="module")
def trained(session: Session, made: dict[str, FinishedFigure]) -> torch.nn.Module:
    return load_method(papers.figures()["tpkr/fig6"].experiments(smoke)["ours"], session)


def said(name: str, arrays: Arrays) -> str:
    return "  ".join(t.get_text() for t in texts(papers.figures()[name].draw(arrays)))


@every_name
def test_arrays_come_out_equal_again(
    name: str, made: dict[str, FinishedFigure], session: Session, tmp_path: Path
) -> None:
    again = make_figure(name, profile="smoke", session=session, folder=tmp_path).arrays
    assert again.keys() == made[name].arrays.keys()
    for key, values in again.items():
        np.testing.assert_array_equal(values, made[name].arrays[key], err_msg=key)


@every_name
def test_a_picture_can_be_drawn_from_its_file_alone(
    name: str, made: dict[str, FinishedFigure], folder: Path
) -> None:
    drawn = redraw(name, folder).figure
    assert png_bytes(drawn) == made[name].path.read_bytes()
    assert overlaps(drawn) == []


def test_predictions_are_of_all_five_tasks(made: dict[str, FinishedFigure]) -> None:
    found = made["tpkr/fig5"].arrays
    assert len(found["tasks"]) == 5 and list(found["roles"]) == ["diffusion", "ours"]
    labels = {task: str(found[f"{task}/label"]) for task in found["tasks"]}
    assert "maxF" in labels["saliency"] and "odsF" in labels["edges"]  # of this protocol


def test_rows_of_affinities_sum_to_one(made: dict[str, FinishedFigure]) -> None:
    found = made["tpkr/fig6"].arrays
    assert np.abs(found["maps"].sum(axis=1) - 1).max() < 5e-4
    assert np.abs(found["mean"].sum(axis=1) - 1).max() < 5e-4


def test_affinities_are_those_of_the_network(
    made: dict[str, FinishedFigure], trained: torch.nn.Module, session: Session
) -> None:
    found = made["tpkr/fig6"].arrays
    images = torch.from_numpy(found["images"]).movedim(-1, 1) / 255
    with torch.no_grad():
        trace = trained.trace(images)
    for maps, task in zip(found["maps"], trained.tasks.names, strict=True):
        (A,) = trace.affinity[task].numpy()  # of an image that was rounded to 8 bits
        np.testing.assert_allclose(maps.reshape(len(maps), -1).T, A, atol=2e-3)
    test = open_split(papers.figures()["tpkr/fig6"].experiments(smoke)["ours"], "test", session)
    assert found["looked_at"] == len(test) <= IMAGES
    with torch.no_grad():
        affinity = trained.trace(test.load(range(len(test))).images).affinity
    for i, (A, mean) in enumerate(zip(affinity.values(), found["mean"], strict=True)):
        np.testing.assert_allclose(mean, A.mean(dim=(0, 1)), atol=1e-4)
        within, between = A.numpy().std(axis=1).mean(axis=0), A.numpy().mean(axis=1).std(axis=0)
        np.testing.assert_allclose(found["within"][i], within, atol=1e-4)
        np.testing.assert_allclose(found["between"][i], between, atol=1e-4)


def test_the_drawing_writes_means_and_deviations(made: dict[str, FinishedFigure]) -> None:
    found = made["tpkr/fig6"].arrays
    words = said("tpkr/fig6", found)
    for row in found["maps"]:
        for values in row:
            assert f"{values.mean():.2f} ± {values.std():.4f}" in words
    assert f"{found['ceiling']:.3f} at most" in words and found["ceiling"] == 0.466
    flat = found | {"within": np.full((5, 5), 0.0123), "between": np.full((5, 5), 0.0456)}
    assert "0.0123 over positions" in said("tpkr/fig6", flat)
    assert "0.0456 from image to image" in said("tpkr/fig6", flat)


def test_slots_are_those_of_the_network(
    made: dict[str, FinishedFigure], trained: torch.nn.Module
) -> None:
    found, V = made["tpkr/fig7"].arrays, trained.prototypes.slots.detach().numpy()
    np.testing.assert_allclose(found["slots"], V, atol=1e-4)
    lengths = np.linalg.norm(V, axis=1)
    np.testing.assert_allclose(found["cosine"], V @ V.T / np.outer(lengths, lengths), atol=1e-3)
    assert (found["kept"] < 1).any() and (found["kept"] > 0.9).all()  # four steps go not far


def test_the_first_slot_goes_up(made: dict[str, FinishedFigure]) -> None:
    drawn = papers.figures()["tpkr/fig7"].draw(made["tpkr/fig7"].arrays)
    rows = drawn.axes[0].images[0].get_array()
    assert (np.diff(rows[0]) >= 0).all() and (np.diff(rows[1]) < 0).any()
    columns = {tuple(c) for c in made["tpkr/fig7"].arrays["slots"].T}
    assert {tuple(c) for c in np.asarray(rows).T} == columns
