import math

import pytest
import torch

from mtpsl import benchmark


def test_the_batch_is_one_label():
    batch = benchmark.random_batch(32, 32, 6, "cpu")
    labeled = torch.stack([batch.labeled[t] for t in benchmark.TASKS.names])
    assert labeled.sum(0).tolist() == [1] * 6
    for task in benchmark.TASKS.names:
        assert torch.equal(batch.mask(task).any(dim=(1, 2, 3)), batch.labeled[task])


@pytest.mark.parametrize("name", benchmark.METHODS)
def test_a_step_trains_and_takes_time(name, monkeypatch):
    monkeypatch.setitem(benchmark.SIZES, "tiny", (32, 32, 3, 0.125))
    method, optimizer, batch = benchmark.prepared(name, "tiny", "cpu")
    before = [p.detach().clone() for p in method.parameters()]
    assert benchmark.step(method, optimizer, batch) > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))


def test_times_are_interleaved_and_compared(monkeypatch):
    monkeypatch.setitem(benchmark.SIZES, "tiny", (32, 32, 3, 0.125))
    report = benchmark.step_times("tiny", "cpu", steps=2)
    assert report["steps"] == 2 and math.isfinite(report["hitts_over_mtl"])
    assert report["mtl"]["images_per_s"] == pytest.approx(3 / report["mtl"]["seconds"])


def test_memory_is_what_a_method_adds_to_an_idle_process(monkeypatch):
    marks = iter((100.0, 150.0, 220.0))
    monkeypatch.setattr(benchmark, "baseline_memory", lambda device: next(marks))
    monkeypatch.setattr(benchmark, "peak_memory", lambda name, size, device: next(marks))
    monkeypatch.setattr(benchmark, "multiprocessing", InThisProcess)
    report = benchmark.memory("tiny", "cpu")
    assert report == {"mtl": 50.0, "hitts": 120.0, "hitts_over_mtl": 2.4, "idle": 100.0}


def test_the_high_water_mark_sees_what_was_allocated():
    before = benchmark.high_water_mark()
    kept = torch.ones(int(before * 2**18) + 2**26)  # more than was ever resident, plus 256 MiB
    assert benchmark.high_water_mark() > before + kept.numel() / 2**18 / 4


class InThisProcess:
    """A stand-in for ``multiprocessing`` whose pool calls at once."""

    @staticmethod
    def get_context(method):
        assert method == "spawn", "a forked process would inherit this one's memory"
        return InThisProcess

    @staticmethod
    def Pool(processes, maxtasksperchild):
        assert maxtasksperchild == 1
        return InThisProcess()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def apply(self, function, arguments):
        return function(*arguments)
