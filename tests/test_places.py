"""Full and read-only disks: one sentence with path and variable, and everything works elsewhere."""

import dataclasses
import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtpsl import commands, files
from mtpsl.__main__ import main
from mtpsl.data import open_dataset
from mtpsl.papers import tables
from mtpsl.report import records
from mtpsl.report.tables import Row
from mtpsl.runs import run as side_by_side
from mtpsl.runs.data import bind_data
from mtpsl.runs.experiment import Experiment, write_experiment
from mtpsl.runs.store import RunStore, Session

ROOT = Path(__file__).parents[1]
TINY = Experiment(
    dataset="rooms13",
    tasks=("semseg", "depth", "normals"),
    height=32,
    width=32,
    train_images=4,
    test_images=2,
    epochs=1,
    batch_size=2,
    width_factor=0.125,
    backbone_args={"stages": 2},
)

ROW = Row(name="MTL", label="MTL", experiments=(TINY,))


def mount(*options: str) -> bool:
    return not subprocess.run(["mount", *options], capture_output=True).returncode


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of one megabyte, where this machine lets tests mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)):
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory) -> Path:
    """A checkout that cannot be written, made where this machine lets tests mount one."""
    place = tmp_path_factory.mktemp("checkout")
    if not mount("--bind", str(ROOT), str(place)):
        pytest.skip("needs the right to mount")
    assert mount("-o", "remount,ro,bind", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


FILL = """
import shutil, sys
from pathlib import Path
from mtpsl.data import open_dataset
usage = shutil.disk_usage("/")._replace(free=10**12)
shutil.disk_usage = lambda path: usage  # another process fills the disk after the look at it
try:
    open_dataset("rooms13", "train", height=96, width=128, images=64, cache_dir=Path(sys.argv[1]))
except OSError as error:
    print(error)
"""


def test_a_disk_that_fills_up_is_an_error_not_the_end_of_the_process(small_disk) -> None:
    done = subprocess.run([sys.executable, "-c", FILL, small_disk], capture_output=True, text=True)
    assert done.returncode == 0, done.returncode
    assert str(small_disk) in done.stdout and "in MTPSL_CACHE" in done.stdout
    assert "No space left on device" in done.stdout
    assert [p.suffix for p in small_disk.iterdir()] == [".lock"]  # room is given back


@pytest.mark.parametrize("reserves", [True, False])
def test_a_map_has_its_room_before_it_is_written(tmp_path, monkeypatch, reserves) -> None:
    if not reserves:  # as on a Mac
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    array = files.new_array(tmp_path / "a.npy", np.float32, (300, 1001))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes
    assert not array.any()
    array[:] = 7
    array.flush()
    assert (np.load(tmp_path / "a.npy") == 7).all()


def test_a_full_disk_under_the_runs_names_path_and_variable(small_disk, tmp_path, capsys) -> None:
    write_experiment(TINY, tmp_path / "e.json")
    (small_disk / "filler").write_bytes(bytes(2**20 - 20_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTPSL_RUNS", str(small_disk / "runs"))
        assert main(["run", "--experiment", str(tmp_path / "e.json"), "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert str(small_disk / "runs") in said and "No space left on device" in said
    assert said.rstrip().endswith("make room there, or name another place in MTPSL_RUNS")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_every_place_of_writing_names_path_and_variable(tmp_path, monkeypatch, number) -> None:
    def fail(self: Path, *args, **how):
        raise OSError(number, os.strerror(number), str(self))

    session = Session(RunStore(tmp_path / "runs"), "cpu")
    job = side_by_side.Job(bind_data(TINY), "tiny")
    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(OSError, match=f"{tmp_path}/runs/.* in MTPSL_RUNS"):
        side_by_side.run(TINY, session)
    with pytest.raises(OSError, match=f"{tmp_path}/runs/.* in MTPSL_RUNS"):
        list(side_by_side.train_all([job], session, 2))
    with pytest.raises(OSError, match=f"{tmp_path}/cache.* in MTPSL_CACHE"):
        open_dataset(
            "rooms13", "train", height=40, width=32, images=4, cache_dir=tmp_path / "cache"
        )


# --- a checkout that cannot be written ---------------------------------------------------------


@pytest.fixture
def inside(read_only, monkeypatch) -> Path:
    monkeypatch.chdir(read_only)
    monkeypatch.delenv("MTPSL_RUNS", raising=False)
    return read_only


@pytest.mark.parametrize(
    "line", ["run hitts/table1", "records --only hitts/table1 --profile smoke", "reproduce"]
)
def test_a_read_only_checkout_names_the_variable(inside, capsys, line) -> None:
    assert main([*line.split(), "--jobs", "2"]) == 1
    (last,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert str(inside / "runs") in last and last.endswith("name another place in MTPSL_RUNS")


def test_a_read_only_checkout_runs_lists_and_shows(inside, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MTPSL_RUNS", str(tmp_path / "runs"))
    write_experiment(TINY, tmp_path / "e.json")
    assert main(["run", "--experiment", str(tmp_path / "e.json"), "--device", "cpu"]) == 0
    for line in (["list"], ["show", "hitts/table1"]):
        assert main(line) == 0
    assert "recorded" in capsys.readouterr().out


def test_a_read_only_checkout_records_elsewhere(inside, tmp_path, monkeypatch, capsys) -> None:
    table = dataclasses.replace(tables()["hitts/table1"], rows=(ROW,), claims=())
    monkeypatch.setattr(commands, "choose_tables", lambda only: [table])
    monkeypatch.setattr(records, "row_experiments", lambda *args: (bind_data(TINY),))
    monkeypatch.setenv("MTPSL_RUNS", str(tmp_path / "runs"))
    assert main(["records", "--seeds", "1", "--device", "cpu"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(inside / "figures") in last and last.endswith("in MTPSL_FIGURES")
    monkeypatch.setenv("MTPSL_FIGURES", str(tmp_path / "figures"))
    assert main(["records", "--seeds", "1", "--device", "cpu"]) == 0
    assert [p.name for p in tmp_path.glob("figures/hitts/*")] == ["table1.json"]


@pytest.mark.slow
def test_a_read_only_checkout_opens_notebooks(inside, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MTPSL_RUNS", str(tmp_path / "runs"))
    assert main(["reproduce", "--only", "99_your_own_data", "--jobs", "1"]) == 0
