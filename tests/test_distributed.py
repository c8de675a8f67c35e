"""One run in several processes: the same key, the same weights but for the order of sums."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mtpsl import distributed
from mtpsl.engine import fit
from mtpsl.papers import build_method
from mtpsl.runs.data import bind_data
from mtpsl.runs.experiment import Experiment, write_experiment
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session
from mtpsl.tasks import TaskSet, depth, semseg
from mtpsl.training import Optimization
from mtpsl.weighting import build_weighting

SMALL = {"height": 32, "width": 32, "width_factor": 0.125, "train_images": 10, "test_images": 2}
STEPS = {"epochs": 3, "batch_size": 2, "accumulate": 2, "lr": 1e-3}  # the last step has one batch
TEACHER = Experiment(method="hitts", **SMALL, **STEPS)
STUDENT = TEACHER.replace(
    method_args={"pseudo_labels": True, "pseudo_features": True},
    teacher=TEACHER,
    thresholds={"semseg": "50%"},
    average_last=0.5,
    eval_every=2,
)
XTC = Experiment(method="xtc", channels_last=True, **SMALL, **STEPS)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTPSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def train_together(experiment: Experiment, folder: Path) -> subprocess.CompletedProcess:
    """``torchrun`` with two processes on the CPU."""
    path = folder / "experiment.json"
    write_experiment(experiment, path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", "-m", "mtpsl", "run", "--brief"]
    command += ["--device", "cpu", "--experiment", str(path)]
    variables = os.environ | {"MTPSL_RUNS": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize("experiment", [STUDENT, pytest.param(XTC, marks=pytest.mark.slow)])
def test_two_processes_train_what_one_trains(experiment, tmp_path) -> None:
    """Running statistics, averaged weights, the learning curve and the log included."""
    experiment, store = bind_data(experiment), RunStore(tmp_path)
    alone = run(experiment, Session(store, "cpu", progress=False))
    expected = load_file(store.weights(alone.key))
    shutil.rmtree(store.folder(alone.key))  # the teacher stays
    done = train_together(experiment, tmp_path)
    assert not done.returncode, done.stderr
    assert done.stdout.count(alone.key) == 1  # one process speaks for both
    together = store.load(alone.key)
    assert together.environment["hardware"].endswith("2 processes")
    found = load_file(store.weights(alone.key))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=2e-6)
    for ours, its in zip(together.history, alone.history, strict=True):
        assert ours["terms"] == pytest.approx(its["terms"], rel=1e-4)
        assert ours.get("metrics", {}).keys() == its.get("metrics", {}).keys()
    assert together.metrics["test"] == pytest.approx(alone.metrics["test"], rel=1e-3, nan_ok=True)
    assert not (store.folder(alone.key) / "checkpoint").exists()


@pytest.mark.slow
def test_a_method_that_remembers_batches_is_refused(tmp_path) -> None:
    options = {"negatives": "bank", "pools": 2, "map_stride": 1}
    experiment = Experiment(method="rdc", method_args=options, regions="grid", **SMALL, **STEPS)
    done = train_together(bind_data(experiment), tmp_path)
    assert done.returncode and "got one that changes 'loss.bank'" in done.stderr, done.stderr


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 1)


def test_the_batches_of_a_step_are_divided_in_order(two) -> None:
    division = distributed.Division(torch.nn.Linear(1, 1), accumulate=4)
    assert [i for i in range(10) if division.trains(i)] == [2, 3, 6, 7]


def test_a_step_that_cannot_be_divided_is_refused(two) -> None:
    with pytest.raises(ValueError, match="accumulate: expected a multiple of 2, .* got 3"):
        distributed.Division(torch.nn.Linear(1, 1), accumulate=3)


def test_weights_of_tasks_are_not_learned_together(two) -> None:
    tasks = TaskSet((semseg(3), depth()))
    method = build_method("supervised", tasks, "segnet", 0.125, {})
    how = {"optimization": Optimization(accumulate=2), "epochs": 1, "lr": 1e-3}
    with pytest.raises(ValueError, match="weighting: expected uniform in 2 processes, got Uncert"):
        fit(method, None, weighting=build_weighting("uncertainty", tasks, {}), **how)
