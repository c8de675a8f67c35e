import json

import pytest

from tests.benchmarks import commits

TINY = {"height": 32, "width": 32, "images": 3, "width_factor": 0.125}


def test_a_commit_beside_itself_computes_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commits, "SIZE", TINY)
    out = tmp_path / "bench.json"
    command = [str(commits.ROOT), "--methods", "supervised", "xtc", "--steps", "2"]
    assert commits.main([*command, "--out", str(out)]) == 0
    report = json.loads(out.read_text())["methods"]
    assert set(report) == {"supervised", "xtc"}
    for row in report.values():
        assert row["before"] > 0 and row["now"] > 0 and row["ratio"] > 0
        assert row["same_losses"] is True
    assert "xtc" in capsys.readouterr().out


def test_a_folder_without_the_package_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        commits.main([str(tmp_path)])
    assert error.value.code == 2
    assert "before: expected a checkout with a folder mtpsl" in capsys.readouterr().err
