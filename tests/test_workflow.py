"""Missing runs are planned as files and trained by ``workflow/Snakefile``, on any machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtpsl import papers
from mtpsl.report.records import fill_records, plan
from mtpsl.report.results import read_recorded
from mtpsl.report.tables import Row, Table
from mtpsl.runs.data import bind_data
from mtpsl.runs.experiment import Experiment, read_experiment
from mtpsl.runs.store import RunStore, Session

ROOT = Path(__file__).parents[1]
TINY = Experiment(
    height=32, width=32, width_factor=0.125, train_images=6, test_images=2, epochs=1, batch_size=3
)
FULL = TINY.replace(label_setting="full")  # which is its own ceiling
TEACHER = TINY.replace(method="hitts")
STUDENT = TEACHER.replace(method_args={"pseudo_labels": True}, teacher=TEACHER)
DIVERGES = TEACHER.replace(lr=1e30)
UNTAUGHT = STUDENT.replace(teacher=DIVERGES)
KEYS = {
    name: bind_data(e).key
    for name, e in {"full": FULL, "teacher": TEACHER, "ours": STUDENT}.items()
    | {"diverges": DIVERGES, "untaught": UNTAUGHT}.items()
}


def table(*experiments: Experiment) -> Table:
    rows = tuple(Row(name=e.key, label=e.key, experiments=(e,)) for e in experiments)
    how = {"title": "A table", "source": "[Tiny, Table 1]", "columns": ("depth/abs_err",)}
    return Table(name="table1", paper="tiny", rows=rows, **how)


def planned(tmp_path: Path, *experiments: Experiment) -> dict[str, dict[str, str]]:
    """Plans a table of these rows, records those that are complete, and returns the plan's jobs."""
    session = Session(RunStore(tmp_path / "runs"), "cpu")
    how = {"profile": "full", "seeds": [0], "plan_folder": tmp_path / "plan"}
    assert fill_records([table(*experiments)], tmp_path / "figures", session, **how) == 0
    return json.loads((tmp_path / "plan/plan.json").read_text())["jobs"]


def recorded(tmp_path: Path, *experiments: Experiment) -> list[str]:
    return [e.row for e in read_recorded(tmp_path / "figures", table(*experiments)).entries]


def test_a_plan_holds_what_is_missing_and_trains_nothing(tmp_path: Path) -> None:
    jobs = planned(tmp_path, STUDENT, FULL)
    teachers = {key: job["teacher"] for key, job in jobs.items()}
    expected = {KEYS["teacher"]: "", KEYS["ours"]: KEYS["teacher"], KEYS["full"]: ""}
    assert teachers == expected and list(teachers) == list(expected)
    for key in jobs:
        assert read_experiment(tmp_path / f"plan/{key}.json").key == key
    assert jobs[KEYS["ours"]]["label"] == f"table1 {STUDENT.key} seed 0"
    assert not (tmp_path / "figures").exists() and not list(tmp_path.rglob("record.json"))


def test_a_run_that_is_missing_again_is_not_called_done(tmp_path: Path) -> None:
    planned(tmp_path, FULL)
    done, other = tmp_path / f"plan/{KEYS['full']}.done", tmp_path / "plan/mine.done"
    done.touch(), other.touch()
    planned(tmp_path, FULL)
    assert not done.exists() and other.exists()


def snakemake(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")]
    command += ["--directory", str(tmp_path), "--config", "plan=plan", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    how = {"capture_output": True, "text": True, "cwd": tmp_path}
    return subprocess.run([*command], env=environment, **how)


@pytest.mark.slow
def test_a_failing_run_stops_only_its_students_and_only_what_is_missing_runs_again(
    tmp_path: Path,
) -> None:
    pytest.importorskip("snakemake", reason="needs the extra fanout")
    rows = (UNTAUGHT, STUDENT, FULL)
    assert set(planned(tmp_path, *rows)) == set(KEYS.values())
    first = snakemake(tmp_path, "--cores", "1", "--keep-going")
    assert first.returncode == 1, first.stderr
    finished = {path.parent.name for path in (tmp_path / "runs").glob("*/record.json")}
    assert finished == {KEYS[name] for name in ("full", "teacher", "ours")}
    assert "lower lr" in (tmp_path / f"plan/{KEYS['diverges']}.log").read_text()
    assert not (tmp_path / f"plan/{KEYS['untaught']}.log").exists()  # never tried
    written = {key: (tmp_path / f"runs/{key}/record.json").stat().st_mtime_ns for key in finished}

    again = snakemake(tmp_path, "--cores", "1", "--keep-going")
    assert again.returncode == 1
    assert f"{FULL.key} seed 0" not in again.stderr and f"{UNTAUGHT.key} seed 0" in again.stderr

    assert set(planned(tmp_path, *rows)) == {KEYS["diverges"], KEYS["untaught"]}
    assert recorded(tmp_path, *rows) == [STUDENT.key, FULL.key]
    for key, time in written.items():
        assert (tmp_path / f"runs/{key}/record.json").stat().st_mtime_ns == time

    assert planned(tmp_path, STUDENT, FULL) == {}
    nothing = snakemake(tmp_path, "--cores", "1")
    assert nothing.returncode == 0 and "Nothing to be done" in nothing.stderr


@pytest.mark.slow
def test_the_profile_of_a_cluster_fits_the_workflow(tmp_path: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="needs the extra fanout")
    planned(tmp_path, STUDENT)
    dry = snakemake(tmp_path, "--profile", str(ROOT / "workflow/slurm"), "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert f"{STUDENT.key} seed 0: teacher" in dry.stdout + dry.stderr


PRINT_KEYS = """
from mtpsl import papers
from mtpsl.report.records import plan
from mtpsl.runs.store import Session
tables = papers.tables().values()
for row in plan(tables, Session(device="cpu"), profile="quick", seeds=(0, 1), ceilings=True):
    print(row.table.name, *row.identity)
"""


def test_machines_agree_on_every_key(tmp_path: Path) -> None:
    """Neither hash seed, place, language, time zone nor threads enter a key."""
    here = [
        f"{row.table.name} {' '.join(map(str, row.identity))}"
        for row in plan(
            papers.tables().values(), Session(), profile="quick", seeds=(0, 1), ceilings=True
        )
    ]
    elsewhere = {
        "PYTHONHASHSEED": "123", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path), "USER": "nobody", "TZ": "Pacific/Auckland", "LC_ALL": "tr_TR.UTF-8",
        "LANG": "tr_TR.UTF-8", "OMP_NUM_THREADS": "3", "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip
    how = {"capture_output": True, "text": True, "encoding": "utf-8", "check": True}
    there = subprocess.run(
        [sys.executable, "-c", PRINT_KEYS], env=elsewhere, cwd=tmp_path, **how
    ).stdout.splitlines()
    assert len(here) > 100 and there == here
