import json
from dataclasses import replace

import nyud_trees
import pytest

from mtpsl.data import open_dataset, recognize
from mtpsl.data.cache import Cached
from tests.benchmarks import data as benchmark_data
from tests.benchmarks.data import main, rates, size_of

FEW = ["--images", "3", "--epochs", "1", "--steps", "1", "--workers", "0"]


@pytest.fixture
def nyud(tmp_path):
    return nyud_trees.write_archive(tmp_path / "data")


def test_a_written_tree_is_measured_and_reported(tmp_path, monkeypatch, capsys):
    trees = {"nyud": replace(benchmark_data.TREES["nyud"], size=(24, 32))}
    monkeypatch.setattr(benchmark_data, "TREES", trees)
    monkeypatch.setattr(benchmark_data, "TARGETS", {(32, 32): (1500, 40)})
    out = tmp_path / "new" / "bench.json"
    assert main([*FEW, "--sizes", "32x32", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert set(report) == {"environment", "threads", "batch", "sizes"}
    found = report["sizes"]["32x32"]
    assert found["images"] == 3 and set(found) == {
        *("reader", "images", "making", "opening", "training"),
        *("plain, 0 workers", "augmented, 0 workers"),
    }
    assert all(rate > 0 for rate in found["plain, 0 workers"].values())
    said = capsys.readouterr().out
    assert "nyud 32x32, 3 images" in said and "(wanted: 1500)" in said and "(wanted: 40)" in said


def test_the_written_tree_is_one_that_is_read(tmp_path):
    benchmark_data.write_tree(tmp_path / "out", 2, 24, 32, tmp_path / "cache")
    assert recognize(tmp_path / "out") == "nyud"
    for split, images in (("train", 2), ("test", 1)):
        dataset = open_dataset("nyud", split, height=24, width=32, root=tmp_path / "out")
        scenes = open_dataset(
            "rooms13", split, height=24, width=32, images=images, cache_dir=tmp_path / "cache"
        )
        assert len(dataset) == images
        ids = [data[0].targets["semseg"].tolist() for data in (dataset, scenes)]
        assert ids[0] == ids[1]


def test_a_folder_of_data(nyud, tmp_path, capsys):
    out = tmp_path / "bench.json"
    command = [*FEW, "--data", str(nyud), "--sizes", "32x64", "--out", str(out)]
    assert main(command) == 0
    assert "nyud 32x64, 3 images" in capsys.readouterr().out
    assert "wanted" not in out.read_text()


def test_rates_count_every_image(nyud, tmp_path, monkeypatch):
    data = open_dataset("nyud", "train", height=32, width=48, root=nyud)
    kept = Cached(data, cache_dir=tmp_path)
    ticks = iter(range(100))
    monkeypatch.setattr(benchmark_data.time, "perf_counter", lambda: next(ticks))
    found = rates(kept, augment=True, workers=0, epochs=2)
    assert found["best"] == found["median"] == 3  # images in one tick
    assert found["per_cpu_second"] > 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--sizes", "96"], "multiples of 32 such as 96x128, got '96'"),
        (["--sizes", "0x32"], "multiples of 32 such as 96x128, got '0x32'"),
        (["--images", "0"], "--images: expected at least 1, got 0"),
        (["--workers", "-1"], "--workers: expected at least 0, got -1"),
        (["--data", "nowhere"], "--data: expected the folder of a data set, got nowhere"),
    ],
)
def test_wrong_arguments(wrong, words, capsys):
    with pytest.raises(SystemExit) as error:
        main(wrong)
    assert error.value.code == 2 and words in capsys.readouterr().err
    assert size_of("96x128") == (96, 128)
