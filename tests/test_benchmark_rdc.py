import json
import math
from dataclasses import replace

import pytest
import torch

from mtpsl.papers import build_method
from mtpsl.papers.rdc.gaussians import shrink, wasserstein, with_factor
from mtpsl.runs.network import noise_batch
from tests.benchmarks import rdc as benchmark


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark.SIZES, "quick", (32, 32, 0.125, {"pools": 1, "min_pixels": 2}))
    monkeypatch.setattr(benchmark, "REGIONS", 6)


def test_the_report_has_what_counts(tiny, tmp_path, monkeypatch, capsys) -> None:
    real = benchmark.measure
    monkeypatch.setattr(benchmark, "measure", lambda size, **a: real(size, backbone="segnet", **a))
    path = tmp_path / "bench.json"
    assert benchmark.main(["--sizes", "quick", "--turns", "1", "--out", str(path)]) == 0
    report = json.loads(path.read_text())["quick"]
    assert report["contrast_over_step"] == pytest.approx(report["contrast"] / report["step"])
    assert report["contrast_over_one_view"] > 0 and 4 < report["regions"] <= 6
    assert "sqrtm loop" in capsys.readouterr().out


def test_the_plain_loop_is_equation_5() -> None:
    x = torch.randn(2, 40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean, covariance = x.mean(1), torch.stack([torch.cov(one.T) for one in x])
    p, k = with_factor(mean, shrink(covariance, 0.0))
    args = [y.numpy() for pair in zip(mean, covariance, strict=True) for y in pair]
    assert benchmark.plain_wasserstein(*args) == pytest.approx(wasserstein(p, k).item(), abs=1e-5)


def test_the_plain_loop_counts_a_region_among_its_own_negatives() -> None:
    """Of two regions its two negatives are both, ours are the other one: its loss is larger."""
    torch.manual_seed(0)
    batch = noise_batch(benchmark.TASKS, 32, 32, 3)
    halves = (torch.arange(32) // 16).expand(3, 1, 32, 32)
    options = {"pools": 1, "anchors": "prediction", "shrinkage": 0.0, "temperature": 100.0}
    method = build_method("rdc", benchmark.TASKS, "segnet", 0.125, options)
    (maps, labels, ids), _ = benchmark.pieces(method, replace(batch, regions=halves))
    ours, _ = method.loss.contrast_maps(maps.double(), labels.double(), ids, torch.Generator())
    assert ours.mean().item() == pytest.approx(math.log(2), abs=0.05)
    assert benchmark.sqrtm_loop(method, maps, labels, ids) == pytest.approx(math.log(3), abs=0.05)
