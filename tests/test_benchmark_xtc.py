import json

import pytest
import torch

from tests.benchmarks import xtc as benchmark_xtc
from tests.benchmarks.xtc import TASKS, pair_growth, parity, product_flops, step_times

TINY = {"images": 5, "height": 32, "width": 32, "width_factor": 0.125, "steps": 1}


@pytest.mark.parametrize("count", TASKS)
def test_the_loop_computes_the_same_loss(count):
    totals = parity(TASKS[count], 5, 32, 0.125)
    assert totals["image"] == pytest.approx(totals["loop"], rel=1e-5)


def test_times_and_ratios():
    report = step_times(TASKS[3], clock="cpu", **TINY)
    assert report["pass_over_loop"] == report["pass"] / report["loop"]
    assert set(report) > {"supervised", "pass", "image", "loop"}
    assert report["loop_floor"] > report["floor"] > 0  # the loop repeats what pairs share


def test_products_are_counted_both_ways():
    a, w = torch.rand(3, 4), torch.rand(4, 5, requires_grad=True)
    assert product_flops(lambda: {"term": (a @ w).sum()}) == 2 * (2 * 3 * 4 * 5)


def test_passes_grow_with_the_pairs(monkeypatch):
    times = {"pass": 3.0, "supervised": 1.0}
    monkeypatch.setattr(benchmark_xtc, "step_times", lambda *args, **kwargs: times)
    report = pair_growth("cpu", **TINY)
    assert report[3]["seconds_a_pass"] == pytest.approx(2.0 / 20)
    assert {k: row["passes"] for k, row in report.items()} == {2: 10, 3: 20, 5: 40}


def test_the_report_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_xtc, "step_times", lambda *a, **k: {"pass": 1.0})
    monkeypatch.setattr(
        benchmark_xtc, "pair_growth", lambda *a, **k: {3: {"passes": 4, "seconds_a_pass": 0.5}}
    )
    monkeypatch.setattr(benchmark_xtc, "table8_cost", lambda: {"depth": {"flops_g": 1.0}})
    out = tmp_path / "bench.json"
    assert benchmark_xtc.main(["--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert set(report) == {"environment", "threads", "step", "parity", "growth", "table8"}
    assert "223.16" in capsys.readouterr().out
