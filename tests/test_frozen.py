"""What moving code must leave alone: keys of runs, generated scenes, parameters and operations.

``frozen.json`` was written before the first move. A change that means to alter a number says so in
its commit and writes the file again with ``python tests/test_frozen.py``.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor

from mtpsl import papers
from mtpsl.data import open_dataset
from mtpsl.report.records import row_experiments
from mtpsl.report.results import load_recorded
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import full_size_cost

FILE = Path(__file__).parent / "frozen.json"
FROZEN = json.loads(FILE.read_text())
FIGURES = Path(__file__).parents[1] / "figures"
PROFILES = ("smoke", "quick", "full")
SCENES = ("rooms13", "streets7", "people21")


def digest(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()[:16]


def keys(name: str) -> dict[str, dict[str, list[str]]]:
    """Row -> profile -> keys of its runs at seed 0."""
    return {
        row.name: {p: [e.key for e in row_experiments(row, p, 0)] for p in PROFILES}
        for row in papers.tables()[name].rows
        if row.experiments
    }


def scenes(name: str, cache_dir: Path | str) -> dict[str, str]:
    """The first 8 images of a generator and their labels."""
    dataset = open_dataset(name, "train", height=48, width=64, images=8, cache_dir=cache_dir)
    batch = dataset.load(range(8))
    found = {"images": digest(batch.images)}
    for task in sorted(batch.targets):
        found |= {task: digest(batch.targets[task]), f"{task}/valid": digest(batch.valid[task])}
    return found


def networks() -> Iterator[tuple[str, Experiment]]:
    """The networks whose cost is frozen, by the first row that has them."""
    for name, table in papers.tables().items():
        for row in table.rows:
            for e in row.experiments:
                part = f" ({', '.join(e.tasks)})" if len(row.experiments) > 1 else ""
                if (label := f"{name} {row.name}{part}") in FROZEN["costs"]:
                    yield label, e


def costs(experiment: Experiment) -> list[int]:
    counted = full_size_cost(experiment)
    return [counted.params, counted.macs, counted.thop_flops]


@pytest.mark.parametrize("name", FROZEN["keys"])
def test_rows_keep_their_keys(name: str) -> None:
    assert keys(name) == FROZEN["keys"][name]


RECORDED = [name for name in papers.tables() if (FIGURES / f"{name}.json").exists()]


def test_every_table_is_frozen_and_something_is_recorded() -> None:
    assert set(FROZEN["keys"]) == set(papers.tables())
    assert "hitts/table1" in RECORDED


@pytest.mark.parametrize("name", RECORDED)
def test_every_record_answers_its_row(name: str) -> None:
    entries = json.loads((FIGURES / f"{name}.json").read_text())["entries"]
    for entry in entries:
        row = papers.tables()[name].row(entry["row"])
        today = [e.key for e in row_experiments(row, "quick", entry["seed"])]
        assert entry["keys"] == today, entry["row"]
    recorded = load_recorded(FIGURES / f"{name}.json", papers.tables()[name])
    assert not any(recorded.stale(entry["row"]) for entry in entries)


@pytest.mark.parametrize("name", SCENES)
def test_scenes_keep_their_bits(name: str, tmp_path: Path) -> None:
    assert scenes(name, tmp_path) == FROZEN["scenes"][name]


def test_networks_keep_their_size() -> None:
    assert {name: costs(experiment) for name, experiment in networks()} == FROZEN["costs"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        frozen = {
            "keys": {name: keys(name) for name in papers.tables()},
            "scenes": {name: scenes(name, folder) for name in SCENES},
            "costs": {name: costs(experiment) for name, experiment in networks()},
        }
    FILE.write_text(json.dumps(frozen, indent=1, sort_keys=True) + "\n")
