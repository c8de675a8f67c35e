import json

import pytest

from tests.benchmarks import tpkr as benchmark


def test_the_report_has_what_counts(tmp_path, monkeypatch, capsys) -> None:
    for name, value in (("POSITIONS", 48), ("DIMENSION", 32), ("CHANNELS", 16)):
        monkeypatch.setattr(benchmark, name, value)
    monkeypatch.setattr(benchmark, "QUICK", (32, 32, 2, 0.125))
    real = (benchmark.codes, benchmark.retrieval)
    monkeypatch.setattr(benchmark, "codes", lambda: real[0](300, 20, 16))
    monkeypatch.setattr(benchmark, "retrieval", lambda turns: real[1](turns, positions=48))
    path = tmp_path / "bench.json"
    assert benchmark.main(["--turns", "1", "--out", str(path)]) == 0
    report = json.loads(path.read_text())
    assert {"wall", "cpu", "mb"} == report["codes"].keys() and report["codes"]["mb"] >= 0
    for name in ("training", "inference"):
        slots, direct = (report["retrieval"][f"{name}_{way}"] for way in ("slots", "direct"))
        assert report["retrieval"][f"{name}_speedup"] == pytest.approx(direct / slots)
    step = report["step"]
    assert step["ratio"] == pytest.approx(step["tpkr"] / step["supervised"])
    assert "cross-attention at 48 positions, training" in capsys.readouterr().out
