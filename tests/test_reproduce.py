"""The runner of ``make reproduce``: what it runs, repeats, skips, names and refuses.

Most tests put a small program in papermill's place; one runs papermill itself.
"""

import argparse
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from mtpsl import reproduce
from mtpsl.__main__ import main, make_parser
from mtpsl.reproduce import Notebook, UsageError, last_error, select

PYTHON = sys.executable  # before a test puts something else there

HEAD = """# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
"""

# Writes the notebook it is given and does what its first line of code asks for.
STAND_IN = """#!{python}
import json, os, sys, time
from pathlib import Path
source, target = map(Path, sys.argv[-2:])
parameters = json.loads(sys.argv[sys.argv.index("--parameters_yaml") + 1])
target.write_text(json.dumps({{"parameters": parameters, "seeds": os.environ["MTPSL_SEEDS"]}}))
with open("{calls}", "a") as file:
    file.write(source.stem + "\\n")
text = source.read_text()
if "fail" in text:
    sys.exit("Traceback\\nValueError: seed: expected 0\\n")
if "sleep" in text:
    time.sleep(60)
if "table" in text:
    Path("{table}").write_text("a table")
"""


def parse(*options: str) -> argparse.Namespace:
    return make_parser()[0].parse_args(" ".join(("reproduce", *options)).split())


class Project:
    """A checkout with notebooks of one line each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls.txt"
        self.table = root / "runs" / "smoke" / "hitts" / "table1.md"
        self.table.parent.mkdir(parents=True)
        (root / "notebooks" / "src").mkdir(parents=True)
        (root / "pyproject.toml").touch()

    def write(self, **bodies: str) -> None:
        for name, body in bodies.items():
            (self.root / "notebooks" / "src" / f"{name[1:]}.py").write_text(HEAD + body + "\n")

    def run(self, *options: str) -> int:
        return reproduce.reproduce(parse("--jobs 1", *options), self.root, [self.table])

    def called(self) -> list[str]:
        """Names of the notebooks run since the last question."""
        names = self.calls.read_text().split() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return sorted(names)

    def result(self, name: str) -> dict:
        return json.loads((self.root / f"runs/smoke/notebooks/{name}.ipynb").read_text())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("MTPSL_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture
def stand_in(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    program = project.root / "papermill"
    program.write_text(
        STAND_IN.format(python=sys.executable, calls=project.calls, table=project.table)
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(reproduce.sys, "executable", str(program))
    return project


def test_runs_everything_then_nothing_then_what_was_edited(stand_in, capsys) -> None:
    stand_in.write(_00_tour="1", _10_tables="'table'")
    assert stand_in.run("--jobs 2") == 0
    assert stand_in.called() == ["00_tour", "10_tables"]
    words = capsys.readouterr().out
    assert "[2/2] ok" in words and "1 of 1 files" in words
    assert "look first at runs/smoke/notebooks/10_tables.ipynb" in words

    assert stand_in.run("--jobs 2") == 0
    assert stand_in.called() == []
    assert "[2/2] unchanged" in capsys.readouterr().out

    stand_in.write(_00_tour="2")
    assert stand_in.run() == 0
    assert stand_in.called() == ["00_tour"]

    assert stand_in.run("--seeds 2") == 0  # a parameter changed
    assert stand_in.called() == ["00_tour", "10_tables"]
    assert stand_in.run("--seeds 2 --force --only tour") == 0
    assert stand_in.called() == ["00_tour"]


def test_a_deleted_table_is_made_again(stand_in) -> None:
    stand_in.write(_00_tour="1", _10_tables="'table'")
    assert stand_in.run() == 0
    stand_in.called()
    stand_in.table.unlink()
    assert stand_in.run() == 0
    assert stand_in.called() == ["10_tables"]


def test_a_table_nobody_wrote_is_a_failure(stand_in, capsys) -> None:
    stand_in.write(_00_tour="1")
    assert stand_in.run() == 1
    assert "missing: runs/smoke/hitts/table1.md" in capsys.readouterr().out
    stand_in.table.write_text("from an earlier run")
    os.utime(stand_in.table, (1, 1))
    assert stand_in.run() == 1
    assert "not written by this run: runs/smoke/hitts/table1.md" in capsys.readouterr().out


def test_goes_on_after_a_failure_and_says_how_to_repeat_it(stand_in, capsys) -> None:
    stand_in.write(_00_tour="'fail'", _10_tables="'table'")
    assert stand_in.run() == 1
    words = capsys.readouterr().out
    assert "failed 00_tour" in words and "ok 10_tables" in words
    assert "ValueError: seed: expected 0" in words
    assert "make reproduce PROFILE=smoke ONLY=00_tour" in words
    folder = stand_in.root / "runs/smoke/notebooks"
    assert (folder / "00_tour.failed.ipynb").exists() and not (folder / "00_tour.ipynb").exists()
    assert "ValueError" in (folder / "00_tour.log").read_text()

    stand_in.called()
    stand_in.write(_00_tour="'mended'")
    assert stand_in.run() == 0
    assert stand_in.called() == ["00_tour"]
    assert not (folder / "00_tour.failed.ipynb").exists()


def test_gives_every_notebook_typed_parameters(stand_in) -> None:
    stand_in.write(_00_tour="'table'")
    assert stand_in.run("--device cpu --seeds 3") == 0
    result = stand_in.result("00_tour")
    assert result["parameters"] == {
        "profile": "smoke",
        "data_root": "",
        "device": "cpu",
        "seed": 0,
        "use_cache": True,
    }
    assert result["seeds"] == "3"


def test_refuses_a_notebook_without_the_parameters(stand_in) -> None:
    stand_in.write(_00_tour="1")
    path = stand_in.root / "notebooks" / "src" / "00_tour.py"
    path.write_text(path.read_text().replace("use_cache", "use_cash"))
    with pytest.raises(UsageError, match=r"00_tour.py: expected parameters .* add \['use_cache'\]"):
        stand_in.run()


def test_refuses_names_that_do_not_exist(project) -> None:
    project.write(_00_tour="1", _11_hitts_tables="1")
    folder = project.root
    assert [p.stem for p in select(folder, "hitts")] == ["11_hitts_tables"]
    with pytest.raises(UsageError, match="did you mean '11_hitts_tables'"):
        select(folder, "hits_tables")
    with pytest.raises(UsageError, match="got none"):
        select(project.root.parent, "")


def test_two_at_once_do_not_mix(stand_in) -> None:
    stand_in.write(_00_tour="'table'")
    assert stand_in.run() == 0
    with (
        filelock.FileLock(stand_in.root / "runs/smoke/notebooks/.lock"),
        pytest.raises(UsageError, match="another reproduce is running"),
    ):
        stand_in.run()


def start_in_a_process(project: Project) -> subprocess.Popen[str]:
    """Runs the notebooks in another process and waits until the slow one is at work."""
    program = (
        "import sys; from pathlib import Path; from mtpsl import reproduce;"
        "from mtpsl.__main__ import make_parser;"
        f"reproduce.sys.executable = {reproduce.sys.executable!r};"
        "options = make_parser()[0].parse_args(['reproduce', '--jobs=1']);"
        f"root = Path({str(project.root)!r});"
        f"sys.exit(reproduce.reproduce(options, root, [Path({str(project.table)!r})]))"
    )
    runner = subprocess.Popen(
        [PYTHON, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        # A job in a shell's background ignores SIGINT, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while "10_slow" not in (project.calls.read_text() if project.calls.exists() else ""):
        assert runner.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return runner


def test_ctrl_c_leaves_what_is_done(stand_in, capsys) -> None:
    stand_in.write(_00_tour="'table'", _10_slow="'sleep'")
    runner = start_in_a_process(stand_in)
    runner.send_signal(signal.SIGINT)
    words, _ = runner.communicate(timeout=30)
    assert runner.returncode == 1
    assert "interrupted; the same command goes on from here" in words
    folder = stand_in.root / "runs/smoke/notebooks"
    assert (folder / "00_tour.ipynb").exists() and not list(folder.glob("10_slow*.ipynb"))

    stand_in.called()
    stand_in.write(_10_slow="'quick now'")
    assert stand_in.run() == 0
    assert stand_in.called() == ["10_slow"]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waited for has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_killed_one_leaves_no_orphans(project) -> None:
    """Neither papermill nor the notebook's kernel outlives ``reproduce``."""
    note = f"open({str(project.calls)!r}, 'a').write(f'10_slow {{os.getppid()}} {{os.getpid()}}')"
    project.write(_10_slow=f"import os, time\n{note}\ntime.sleep(600)")
    runner = start_in_a_process(project)
    _, *processes = project.calls.read_text().split()
    papermill, kernel = map(int, processes)
    assert not gone(papermill) and not gone(kernel)
    runner.kill()
    runner.communicate()
    deadline = time.monotonic() + 60
    while not (gone(papermill) and gone(kernel)):
        assert time.monotonic() < deadline, "an orphan goes on"
        time.sleep(0.1)


def test_papermill_itself(project, capsys) -> None:
    project.write(
        _00_tour=f"open({str(project.table)!r}, 'w').write(profile + str(seed) + str(use_cache))",
        _10_fails="raise ValueError('expected to fail')",
    )
    assert project.run("--jobs 2") == 1
    words = capsys.readouterr().out
    assert project.table.read_text() == "smoke0True"
    assert "ok 00_tour" in words and "ValueError: expected to fail" in words
    folder = project.root / "runs/smoke/notebooks"
    assert sorted(p.name for p in folder.glob("*.ipynb")) == [
        "00_tour.ipynb",
        "10_fails.failed.ipynb",
    ]


def test_estimates_what_is_left(tmp_path: Path) -> None:
    done = Notebook(Path("00_a.py"), tmp_path, state="ok", seconds=4.0)
    left = {"1": 10.0, "2": 0.0, "3": 0.0}  # what they took the last time, if ever
    rest = [Notebook(Path(f"{i}0_b.py"), tmp_path, seconds=s) for i, s in left.items()]
    line = reproduce.progress([done, *rest], done, 2)
    assert line == "[1/4] ok 00_a 4.0 s, about 9.0 s left"  # (10 + 4 + 4) / 2


def test_finds_the_line_that_says_what_went_wrong() -> None:
    log = "Executing\n\x1b[31mFileNotFoundError\x1b[39m: no such folder\nat exit: done\n"
    assert last_error(log) == "FileNotFoundError: no such folder"
    assert last_error("killed\n") == "killed"
    assert last_error("") == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--jobs 0", "--jobs: expected at least 1, got 0"),
        ("--seeds 0", "--seeds: expected at least 1, got 0"),
        ("--data no/such/folder", "--data: expected a folder, got no/such/folder"),
        ("--profile smok", "did you mean 'smoke'?"),
    ],
)
def test_refuses_a_bad_command_line(line: str, words: str, capsys) -> None:
    assert main(["reproduce", *line.split()]) == 2
    assert words in capsys.readouterr().err


def test_outside_a_checkout_it_says_so(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce"]) == 2
    assert "change into the one with notebooks/" in capsys.readouterr().err


def test_only_smoke_leaves_the_committed_figures_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("MTPSL_RUNS", raising=False)
    assert reproduce.output_folder("smoke", tmp_path) == tmp_path / "runs" / "smoke"
    for profile in ("quick", "full"):
        assert reproduce.output_folder(profile, tmp_path) == tmp_path / "figures"
