"""Records and the store: complete or absent, shared between processes, damage named."""

import json
import math
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mtpsl import files
from mtpsl.runs import store as records
from mtpsl.runs.store import RunRecord, RunStore, environment


def make_record(**changes) -> RunRecord:
    record = RunRecord(
        experiment={"method": "supervised", "seed": 0},
        key="abc",
        metrics={"test": {"semseg/miou": 0.25, "depth/abs_err": math.nan}},
        history=[
            {"epoch": 1, "lr": 0.1, "seconds": 1.5, "terms": {"depth": 2.0}},
            {"epoch": 2, "lr": 0.1, "seconds": 1.5, "terms": {"depth": 1.0},
             "metrics": {"test": {"depth/abs_err": math.nan}}},
        ],
        selected_epoch=2,
        params=10,
        macs=20,
        thop_flops=21,
        seconds={"train": 3.0, "discover": 0.0, "test": 0.5},
        images_per_s=5.0,
        device="cpu",
        peak_memory=1 << 20,
        labels={"hash": "0123", "counts": {"depth": 3}, "images": 3},
        data={"name": "rooms13", "version": "1", "stand_in": True},
        environment=environment(),
        weights_sha256="",
    )  # fmt: skip
    return replace(record, **changes)


def save(store: RunStore, key: str = "abc") -> RunRecord:
    digest = files.save_weights(nn.Linear(2, 3), store.weights(key))
    record = make_record(key=key, weights_sha256=digest)
    store.save(record)
    return record


def test_a_record_returns_as_it_was_saved(tmp_path) -> None:
    store = RunStore(tmp_path)
    record = save(store)
    found = store.load("abc")
    assert repr(found) == repr(record)  # repr, because NaN is not equal to itself
    assert math.isnan(found.metrics["test"]["depth/abs_err"])
    text = (store.folder("abc") / "record.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["metrics"]["test"]["depth/abs_err"] is None


def test_what_was_never_run_is_absent(tmp_path, capsys) -> None:
    assert RunStore(tmp_path / "nowhere").load("abc") is None
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "nowhere").exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def edit(path: Path) -> None:
    """A digit in the middle, which JSON would not mind."""
    content = bytearray(path.read_bytes())
    at = next(i for i in range(len(content) // 2, len(content)) if chr(content[i]).isdigit())
    content[at] = ord("1") if content[at] != ord("1") else ord("2")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("record.json", truncate),
        ("record.json", edit),
        ("weights.safetensors", truncate),
        ("weights.safetensors", Path.unlink),
        ("record.json", lambda path: path.write_text("[]")),
        ("record.json", lambda path: files.write_json(path, {"key": "abc"})),
    ],
)
def test_damage_is_named_and_never_used(tmp_path, capsys, name, damage) -> None:
    store = RunStore(tmp_path)
    save(store)
    damage(store.folder("abc") / name)
    assert store.load("abc") is None
    said = capsys.readouterr().err
    assert "abc" in said and name.split(".")[0] in said


def test_weights_return_whatever_their_format(tmp_path) -> None:
    class Tied(nn.Module):
        """Shares a tensor, which safetensors alone refuses, and stores images channels last."""

        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)
            self.b = self.a
            self.register_buffer("count", torch.tensor(3))

    saved, loaded = Tied(), Tied()
    loaded.count += 1
    digest = files.save_weights(saved, tmp_path / "weights.safetensors")
    assert digest == files.sha256(tmp_path / "weights.safetensors")
    files.load_weights(loaded, tmp_path / "weights.safetensors")
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def fail(file) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write(path, fail)
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# --- locks -------------------------------------------------------------------------------------

HOLD = """
import sys, time
from mtpsl.runs.store import RunStore
with RunStore(sys.argv[1]).lock("abc"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_lets_go(tmp_path, capsys) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    assert (tmp_path / "abc" / "holder").read_text() == str(holder.pid)

    def wait() -> None:
        with RunStore(tmp_path).lock("abc"):
            (tmp_path / "entered").touch()

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.3)
    assert not (tmp_path / "entered").exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    waiter.join(timeout=10)
    assert (tmp_path / "entered").exists()
    assert f"waiting for process {holder.pid}" in capsys.readouterr().err
    holder.stdout.close()


def test_runs_have_locks_of_their_own(tmp_path) -> None:
    store = RunStore(tmp_path)
    with store.lock("abc"), store.lock("other"):
        pass
    with store.lock("abc"):  # and it was released
        pass


# --- environment ---------------------------------------------------------------------------------


def test_the_environment_says_where_a_number_comes_from() -> None:
    found = environment("cpu")
    assert found["versions"]["torch"] == torch.__version__
    assert ("timm" in found["versions"]) is ("timm" in sys.modules)
    assert re.search(r", [1-9]\d* threads?$", found["hardware"])
    assert found["date"].endswith("+00:00")
    json.dumps(found, allow_nan=False)


def test_the_commit_says_whether_the_package_was_changed(tmp_path, monkeypatch) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    package = tmp_path / "mtpsl"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(records.mtpsl, "__file__", str(package / "__init__.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert records.commit.__wrapped__() == "unknown"
    git("init", "-q")
    assert records.commit.__wrapped__() == "unknown"
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    clean = records.commit.__wrapped__()
    assert len(clean) == 12
    (tmp_path / "results.json").write_text("{}")  # outside the package: decides no number
    assert records.commit.__wrapped__() == clean
    (package / "new.py").write_text("x = 1")
    assert records.commit.__wrapped__() == f"{clean}-dirty"
