"""The cell after the parameters: what it accepts, what it refuses, what is shown how."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from mtpsl import files, notebook
from mtpsl.data import open_dataset
from mtpsl.notebook import (
    draw_predictions,
    setup,
    show,
    show_figures,
    show_results,
    show_table,
    show_terms,
    slide,
)
from mtpsl.papers.hitts.tables import TABLE1, TABLE8
from mtpsl.report.arrays import describe
from mtpsl.report.figure import FinishedFigure
from mtpsl.report.results import parse_results
from mtpsl.runs.profiles import smoke


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.delenv("MTPSL_RUNS", raising=False)
    monkeypatch.delenv("MTPSL_SEEDS", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list:
    calls = []
    monkeypatch.setattr(notebook, "display", lambda thing, **how: calls.append((thing, how)))
    return calls


def test_says_in_one_line_what_the_parameters_mean(checkout: Path, capsys) -> None:
    session = setup(device="cpu")
    assert capsys.readouterr().out == (
        "profile smoke, embedded data (a stand-in), cpu, seed 0; "
        "tables and figures go to runs/smoke/\n"
    )
    assert (session.seeds, session.seed, session.data_root) == ((0,), 0, "")
    assert session.output == checkout / "runs" / "smoke"
    assert session.store.root == checkout / "runs"
    assert session.recorded == checkout / "figures"


def test_larger_profiles_write_where_the_recorded_results_are(checkout: Path) -> None:
    assert setup(profile="quick", device="cpu").output == checkout / "figures"


def test_the_environment_asks_for_more_seeds(checkout: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MTPSL_SEEDS", "3")
    assert setup(device="cpu", seed=4).seeds == (4, 5, 6)
    assert "seeds 4, 5, 6" in capsys.readouterr().out
    monkeypatch.setenv("MTPSL_SEEDS", "some")
    with pytest.raises(ValueError, match="MTPSL_SEEDS: expected how many seeds"):
        setup(device="cpu")


def test_without_cache_every_run_is_new(checkout: Path) -> None:
    session = setup(device="cpu", use_cache=False)
    assert session.store.root.is_dir() and not session.store.root.is_relative_to(checkout)


def test_paths_read_the_same_everywhere(checkout: Path, tmp_path_factory, monkeypatch) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("MTPSL_RUNS", str(elsewhere))
    session = setup(device="cpu")
    assert session.short_path(session.output / "hitts" / "fig7.png") == "runs/smoke/hitts/fig7.png"
    assert session.short_path(checkout / "figures" / "table1.json") == "figures/table1.json"


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"profile": "smok"}, ValueError, "did you mean 'smoke'"),
        ({"profile": 1}, TypeError, "profile: expected str, got 1"),
        ({"data_root": "no/such/folder"}, ValueError, "data_root: expected a folder"),
        ({"device": "gpu"}, ValueError, "device: expected auto, cpu, cuda or cuda:N"),
        ({"device": f"cuda:{torch.cuda.device_count()}"}, ValueError, "CUDA devices"),
        ({"seed": "0"}, TypeError, "seed: expected int, got '0'"),
        ({"seed": True}, TypeError, "seed: expected int, got True"),
        ({"seed": -1}, ValueError, "seed: expected an integer >= 0, got -1"),
        ({"use_cache": "true"}, TypeError, "use_cache: expected bool, got 'true'"),
    ],
)
def test_refuses_in_a_sentence(checkout: Path, given: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        setup(**given)


def test_a_figure_is_shown_with_words_for_those_who_cannot_see_it(displayed, capsys) -> None:
    show(Figure(figsize=(1, 1)), alt="An empty square.", caption="Nothing yet.")
    ((picture, how),) = displayed
    assert picture.data.startswith(b"\x89PNG")
    assert how == {"metadata": {"image/png": {"alt": "An empty square."}}}
    assert capsys.readouterr().out == "Nothing yet.\n"
    with pytest.raises(ValueError, match="alt: expected a sentence"):
        show(Figure(), alt=" ")


class Widget(SimpleNamespace):
    """A slider as ipywidgets makes it, as far as ``slide`` is concerned."""

    def observe(self, move: Callable, names: str) -> None:
        self.slide_to = lambda value: move({"name": names, "new": value})


@pytest.mark.parametrize(
    ("installed", "batch", "slides"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_a_slider_draws_anew_and_without_one_there_is_a_picture(
    installed, batch, slides, displayed, monkeypatch, capsys
) -> None:
    widgets = ModuleType("ipywidgets") if installed else None  # None: as if it were missing
    if installed:
        widgets.SelectionSlider, widgets.__spec__ = Widget, ModuleSpec("ipywidgets", None)
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    monkeypatch.setenv("MTPSL_PROGRESS", "0" if batch else "1")
    shown, drawn = [], []
    handle = SimpleNamespace(
        display=lambda picture, metadata: shown.append(("new", picture.data, metadata)),
        update=lambda picture, metadata: shown.append(("again", picture.data, metadata)),
    )
    monkeypatch.setattr(notebook, "DisplayHandle", lambda: handle)

    def draw(value: float) -> tuple[Figure, str]:
        drawn.append(value)
        return Figure(figsize=(value, 1)), f"At {value}."

    slide(draw, [1.0, 2.0, 3.0], 2.0, caption="Wider.")
    assert capsys.readouterr().out == "Wider.\n"
    assert [(how, words["image/png"]["alt"]) for how, _, words in shown] == [("new", "At 2.0.")]
    assert len(displayed) == slides
    if slides:
        ((slider, how),) = displayed
        assert how == {"exclude": ["text/plain"]}
        assert slider.value == 2.0 and slider.options[2] == ("3.000", 3.0)
        slider.slide_to(3.0)
        (_, before, _), (how, after, words) = shown
        assert (how, words) == ("again", {"image/png": {"alt": "At 3.0."}})
        assert before != after and drawn == [2.0, 3.0]


def test_a_table_has_the_same_bytes_each_time(displayed) -> None:
    frame = pd.DataFrame({"miou": [0.25]})
    for table in (frame, frame, frame.style, "<table></table>"):
        show_table(table)
    first, second, styled, text = (thing.data for thing, _ in displayed)
    assert first == second == styled and "T_mtpsl" in first
    assert text == "<table></table>"


def test_the_table_of_symbols_has_a_line_a_symbol(displayed) -> None:
    show_terms([("θ", "global_tokens", "(T, C)", "1")])
    assert "<td>θ</td><td>global_tokens</td>" in displayed[0][0].data


# --- recorded and computed -----------------------------------------------------------------------


def entries(*items: dict) -> dict:
    return {"paper": "hitts", "table": "table8", "profile": "smoke", "entries": list(items)}


def entry(row: str, seed: int, **metrics: float) -> dict:
    ran = smoke(TABLE8.row(row).experiments[0]).with_seed(seed)
    return {
        "row": row, "seed": seed, "keys": [ran.key], "experiments": [ran.to_dict()],
        "metrics": metrics, "seconds": 1.0, "commit": "abc", "versions": {"torch": "2"},
        "hardware": "CPU", "date": "2026-01-01T00:00",
        "data": {"name": "rooms13", "version": "1", "stand_in": True},
    }  # fmt: skip


def test_recorded_and_computed_results_stay_apart(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, displayed, capsys
) -> None:
    computed = parse_results(entries(), TABLE8)
    asked = []
    monkeypatch.setattr(notebook, "run_table", lambda *a, **how: asked.append(how) or computed)
    session = setup(device="cpu", seed=3)
    assert session.results(TABLE8, train=False) == (None, computed)
    assert asked == [{"profile": "smoke", "seeds": (3,), "train": False, "once": False}]

    files.write_json(checkout / "figures/hitts/table8.json", entries(entry("Ours", 0)))
    recorded, now = session.results(TABLE8)
    assert [e.row for e in recorded.entries] == ["Ours"] and now is computed
    show_results(TABLE8, recorded, now)
    assert 'id="T_hitts-table8"' in displayed[0][0].data
    assert capsys.readouterr().out.endswith("Recorded: 5 not tested of 5 sentences.\n")
    session.write(TABLE8, recorded, now)
    assert capsys.readouterr().out.split() == [
        "runs/smoke/hitts/table8.md",
        "runs/smoke/hitts/table8.csv",
    ]


def test_numbers_of_smoke_are_not_shown_but_costs_are(displayed, monkeypatch) -> None:
    shown = []
    monkeypatch.setattr(
        notebook, "render_html", lambda t, r, computed: shown.append(computed) or ""
    )
    costs = parse_results(entries(), TABLE8)
    trained = replace(costs, table=TABLE1.name)
    show_results(TABLE8, None, costs)
    show_results(TABLE1, None, trained)
    show_results(TABLE1, None, replace(trained, profile="quick"))
    assert [each is not None for each in shown] == [True, False, True]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory):
    size = {"height": 32, "width": 32, "images": 4}
    return open_dataset("rooms13", "test", **size, cache_dir=tmp_path_factory.mktemp("cache"))


def test_a_recorded_figure_is_drawn_again(
    rooms, checkout: Path, monkeypatch: pytest.MonkeyPatch, displayed, capsys
) -> None:
    words = {"caption": "New.", "alt": "A"}
    new = FinishedFigure(figure=Figure((1, 1)), arrays={}, path=checkout, rough=False, **words)
    monkeypatch.setattr(notebook, "make_figure", lambda name, **options: new)
    session = setup(device="cpu")
    assert session.figure("hitts/fig9") == {"computed now": new}

    arrays = describe(rooms.tasks)
    for task in rooms.tasks.names:
        arrays[f"{task}/label"] = np.array("error")
        for role in ("without", "with"):
            arrays[f"epochs/{role}"] = np.array([1, 2])
            arrays |= {f"{task}/{s}/{role}": np.array([2.0, 1.0]) for s in ("train", "test")}
    (session.recorded / "hitts").mkdir(parents=True)
    np.savez(session.recorded / "hitts" / "fig9.npz", **arrays)
    texts = {"made_from": {"data": "rooms13, profile quick"}}
    (session.recorded / "hitts" / "fig9.json").write_text(json.dumps(texts))
    figures = session.figure("hitts/fig9")
    assert list(figures) == ["recorded", "computed now"]
    assert [text.get_text() for text in figures["recorded"].figure.texts] == [
        texts["made_from"]["data"]
    ]
    assert setup(profile="quick", device="cpu").figure("hitts/fig9") == {"computed now": new}

    capsys.readouterr()
    show_figures(figures, first=True)
    assert capsys.readouterr().out.startswith("Recorded. ")
    show_figures(figures)
    assert capsys.readouterr().out.endswith("Computed now. New.\n")
    assert len(displayed) == 3
    show_figures({"computed now": replace(new, rough=True)})
    assert capsys.readouterr().out.startswith("Not recorded yet") and len(displayed) == 3


def test_predictions_have_a_panel_for_every_map(rooms) -> None:
    batch = rooms.load([0, 1])
    arrays = describe(rooms.tasks) | {"images": np.zeros((2, 32, 32, 3), np.uint8)}
    arrays["semseg/truth"] = batch.targets["semseg"][:, 0].byte().numpy()
    arrays["depth/truth"] = batch.targets["depth"][:, 0].numpy()
    arrays["normals/truth"] = batch.targets["normals"].movedim(1, -1).numpy()
    sheet = draw_predictions(arrays, [("truth", "ground truth")])
    pictures = [axes for axes in sheet.figure.axes if axes.images]
    assert len(pictures) >= 2 * 4
    assert sum(text.get_text() == "ground truth" for text in sheet.figure.texts) == 3
