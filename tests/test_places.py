"""Full and read-only disks: one sentence with path and variable, and everything works elsewhere."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtpsl import files
from mtpsl.__main__ import main
from mtpsl.data import open_dataset
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.papers import tables
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


def mtpsl(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MTPSL_")}
    environment |= {"PYTHONPATH": str(checkout), "MTPSL_PROGRESS": "0", **variables}
    command = [sys.executable, "-m", "mtpsl", *arguments]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done


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

    data = PartialLabels(
        open_dataset("rooms13", "train", height=32, width=32, images=4),
        assign("one_label", 4, TINY.tasks),
    )
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
    assert len(data) == 4


# --- a checkout that cannot be written ---------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["run hitts/table1", "records --only hitts/table1 --profile smoke", "reproduce --only 99"],
)
def test_a_read_only_checkout_names_the_variable(read_only, line) -> None:
    done = mtpsl(read_only, *line.split(), "--jobs", "2")
    assert done.returncode == 1
    (last,) = done.stderr.strip().splitlines()[-1:]
    assert str(read_only / "runs") in last and last.endswith("name another place in MTPSL_RUNS")


@pytest.mark.slow
def test_a_read_only_checkout_runs_shows_records_and_opens_notebooks(read_only, tmp_path) -> None:
    figures = tmp_path / "figures"
    shutil.copytree(ROOT / "figures", figures, ignore=shutil.ignore_patterns("*.npz", "*.png"))
    (figures / "hitts/table8.json").unlink()
    elsewhere = {f"MTPSL_{name}": str(tmp_path / name.lower()) for name in ("RUNS", "CACHE")}
    write_experiment(TINY, tmp_path / "e.json")
    done = mtpsl(read_only, "run", "--experiment", str(tmp_path / "e.json"), **elsewhere)
    assert done.returncode == 0 and json.loads(done.stdout)["metrics"], done.stderr
    assert mtpsl(read_only, "list", **elsewhere).returncode == 0
    assert mtpsl(read_only, "show", "hitts/table1", **elsewhere).returncode == 0
    costs = [table.name for table in tables().values() if not table.trains]
    assert costs
    only = ["--only", "99_your_own_data", "--jobs", "1"]
    done = mtpsl(read_only, "reproduce", *only, **elsewhere)
    assert done.returncode == 0, done.stdout


def test_results_are_recorded_where_the_variable_says(read_only, tmp_path) -> None:
    variables = {"MTPSL_RUNS": str(tmp_path / "runs"), "MTPSL_FIGURES": str(tmp_path / "figures")}
    assert "0 of" in mtpsl(read_only, "list", **variables).stdout
