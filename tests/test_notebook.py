"""The cell after the parameters: what it accepts, what it refuses, what is shown how."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from mtpsl import notebook
from mtpsl.notebook import setup, show, show_table, show_terms


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
    assert set(session.how) == {"profile", "session"}


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
    assert session.where(session.output / "hitts" / "fig7.png") == "runs/smoke/hitts/fig7.png"
    assert session.where(checkout / "figures" / "table1.json") == "figures/table1.json"


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
