"""Damage to any file of a finished run or its cache is named, and the same result made again."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from own_trees import write_own
from torch import nn

from mtpsl import files
from mtpsl.data import fingerprint
from mtpsl.data.cache import MANIFEST
from mtpsl.data.readers.own import read_description
from mtpsl.runs.data import experiment_on
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session

SMALL = {"height": 32, "width": 32, "width_factor": 0.125, "epochs": 1, "batch_size": 4, "lr": 1e-3}


def flip(content, rng):
    """Another bit, unless it is one that says the same in JSON, as in 1E-05."""
    while True:
        changed = bytearray(content)
        changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
        try:
            if json.loads(changed) != json.loads(content):
                return changed
        except ValueError:
            return changed


def cut(content, rng):
    return content[: rng.integers(1, len(content))]


def empty(content, rng):
    return b""


KINDS = (flip, cut, empty)


@pytest.mark.parametrize("kinds", [(), pytest.param(KINDS, marks=pytest.mark.slow)])
def test_damage_is_named_and_mended(tmp_path, monkeypatch, capsys, caplog, kinds):
    """Each file of a teacher, a student and their data's cache, one kind of damage or all."""
    whole, here, root = tmp_path / "whole", tmp_path / "here", tmp_path / "own"
    monkeypatch.setenv("MTPSL_CACHE", str(here / "cache"))
    monkeypatch.setenv("MTPSL_PROGRESS", "0")
    monkeypatch.setattr(fingerprint, "SETTLED", -(10**20))  # so that digests are kept
    teacher = experiment_on(write_own(root, tasks=("semseg", "depth")), **SMALL, method="hitts")
    student = teacher.replace(
        method_args={"pseudo_labels": True, "pseudo_features": True},
        teacher=teacher,
        regions="grid",
        region_version="1",
    )
    store = RunStore(here / "runs")
    session = Session(store, "cpu", root)
    first = run(student, session)
    shutil.copytree(here, whole)
    paths = [p.relative_to(whole) for p in sorted(whole.rglob("*")) if p.is_file()]
    paths = [path for path in paths if "lock" not in path.name]  # which are empty
    assert len(paths) > 25
    for number, path in enumerate(paths):
        for kind in kinds or (KINDS[number % len(KINDS)],):
            rng = np.random.default_rng([number, *kind.__name__.encode()])
            shutil.rmtree(here)
            shutil.copytree(whole, here)
            (here / path).write_bytes(kind((whole / path).read_bytes(), rng))
            if student.key not in path.parts:  # which a finished student does not look at
                store.forget(student.key)
            capsys.readouterr()
            caplog.clear()
            run(teacher, session)
            again = run(student, session)
            said = capsys.readouterr().err + caplog.text
            named = here / (path.parent if path.name == MANIFEST else path)
            assert str(named) in said, (path, kind.__name__, said)
            assert again.weights_sha256 == first.weights_sha256, path
            assert again.metrics == first.metrics and again.labels == first.labels
            assert run(teacher, session) and run(student, session) == again
            assert not capsys.readouterr().err, path


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


def test_sentences_about_malicious_files_name_them(tmp_path, capsys):
    module, weights = nn.Linear(2, 2), tmp_path / "weights.safetensors"
    for content in (b"\xff" * 9, b"", safetensors.torch.save({"odd": torch.ones(1)})):
        weights.write_bytes(content)
        with pytest.raises(files.Damaged, match=r"weights\.safetensors: expected the weights of"):
            files.load_weights(module, weights)
    checkpoints = files.Checkpoints(tmp_path / "checkpoint", {})
    checkpoints.save(1, 0, {"model": dict(module.state_dict())}, {}, {})
    folder = tmp_path / "checkpoint" / "epoch-00001"
    manifest = files.read_json(folder / "manifest.json")
    torch.save(Evil(), folder / "optimizer.pt")
    manifest["files"]["optimizer.pt"] = files.sha256(folder / "optimizer.pt")
    files.write_json(folder / "manifest.json", manifest)
    assert checkpoints.load() is None
    assert f"{folder / 'optimizer.pt'}: expected plain tensors" in capsys.readouterr().err
    record = tmp_path / "record.json"
    record.write_text("[" * 100_000)
    with pytest.raises(files.Damaged, match=r"record\.json: expected a JSON object"):
        files.read_json(record)
    description = tmp_path / "mtpsl.toml"
    description.write_text("a = " + "[" * 5000)
    with pytest.raises(ValueError, match=r"mtpsl\.toml: expected TOML.*too many levels inside"):
        read_description(description)
