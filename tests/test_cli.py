"""The command line: what people type, what they get wrong, and what they are told."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import nyud_trees
import pytest

import mtpsl.__main__ as cli
from mtpsl import papers
from mtpsl.data import DATASETS
from mtpsl.data.readers import PUBLISHED
from mtpsl.report.tables import Row, Table
from mtpsl.runs import run as workers
from mtpsl.runs.experiment import Experiment, write_experiment

TINY = Experiment(
    height=32, width=32, width_factor=0.125, train_images=6, test_images=2, epochs=1, batch_size=3
)
TABLE = Table(
    name="table1",
    paper="tiny",
    title="A table",
    source="[Tiny, Table 1]",
    columns=("depth/abs_err",),
    rows=(Row(name="MTL", label="MTL", experiments=(TINY,), printed=(0.6,)),),
)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty checkout."""
    (tmp_path / "notebooks" / "src").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTPSL_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MTPSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MTPSL_PROGRESS", "0")
    monkeypatch.delenv("MTPSL_TRACEBACK", raising=False)
    return tmp_path


@pytest.fixture
def tiny(monkeypatch) -> None:
    """One small table in place of the papers'."""
    monkeypatch.setattr(papers, "tables", lambda: {"tiny/table1": TABLE})


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    try:
        status = cli.main(arguments)
    except SystemExit as exit:  # argparse
        status = exit.code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return status, said.out, said.err


# --- help --------------------------------------------------------------------------------------


def test_help_teaches_and_answers_at_once() -> None:
    code = "import sys\nfrom mtpsl.__main__ import main\ntry:\n    main(['--help'])\n"
    code += "except SystemExit as e:\n    sys.exit(f'{e.code} {\"torch\" in sys.modules}')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "0 False\n"
    for words in ("python -m mtpsl run hitts/table1", "exit status", "MTPSL_RUNS", "reproduce"):
        assert words in done.stdout


@pytest.mark.parametrize(
    "command",
    ["list", "run", "show", "predict", "audit", "cost", "data", "records", "reproduce"],
)
def test_every_command_has_help(capsys, command) -> None:
    status, out, _ = call(capsys, command, "--help")
    assert status == 0
    assert f"python -m mtpsl {command}" in out


# --- bad usage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["lst"], "did you mean 'list'?"),
        (["run"], "a table's name or --experiment"),
        (["run", "hitts/table1", "--experiment", "x.json"], "a table's name or --experiment"),
        (["show", "table1"], "say xtc/table1 or hitts/table1"),
        (["run", "tabel1"], "did you mean 'table1'?"),
        (["show", "hits/table1"], "did you mean 'hitts/table1'?"),
        (["run", "hitts/table1", "--profile", "smok"], "did you mean 'smoke'?"),
        (["run", "hitts/table1", "--seeds", "0"], "--seeds: expected at least 1, got 0"),
        (["run", "hitts/table1", "--seeds", "x"], "--seeds"),
        (["records", "--jobs", "0"], "--jobs: expected at least 1, got 0"),
        (["records", "--only", "tabel5"], "did you mean 'table5'?"),
        (["run", "hitts/table1", "--device", "gpu"], "--device: expected auto, cpu"),
        (["run", "hitts/table1", "--data", "nowhere"], "--data: expected a folder, got"),
        (["run", "--experiment", "nowhere.json"], "expected a file, got nowhere.json"),
        (["run", "--experiment", __file__, "--seeds", "3"], "--seeds: expected none with"),
        (["run", "--experiment", __file__, "--profile", "quick"], "--profile: expected none"),
        (["data", "check", "rooms"], "did you mean 'rooms13'?"),
        (["data"], "ACTION"),
        (["data", "convert", "nowhere", "out"], "SOURCE: expected a folder, got nowhere"),
        (["data", "convert", ".", "out", "--workers", "0"], "--workers: expected at least 1"),
        (["data", "convert", ".", "out", "--height", "0"], "--height: expected at least 1, got 0"),
    ],
)
def test_bad_usage_is_one_sentence_and_status_2(here, capsys, arguments, words) -> None:
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.splitlines()[-1]) < 250
    assert not (here / "runs").exists()


def test_outside_a_checkout(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = call(capsys, "show", "hitts/table1")
    assert status == 0 and "| recorded |" in out  # of the package that runs
    status, _, err = call(capsys, "records")
    assert status == 2
    assert "expected a checkout" in err


# --- what fails ----------------------------------------------------------------------------------


def test_what_fails_is_one_sentence_and_status_1(here, capsys, monkeypatch) -> None:
    (here / "e.json").write_text("{")
    status, _, err = call(capsys, "run", "--experiment", "e.json")
    assert status == 1
    assert err.startswith("mtpsl: e.json: expected an experiment as JSON")
    assert len(err.splitlines()) == 1
    (here / "e.json").write_text("[" * 100_000)
    assert "e.json: expected an experiment" in call(capsys, "run", "--experiment", "e.json")[2]
    (here / "e.json").write_text(json.dumps({"metod": "hitts"}))
    assert "got ['metod']" in call(capsys, "run", "--experiment", "e.json")[2]
    (here / "e.json").write_text(json.dumps({"dataset": "rooms14"}))
    assert "did you mean 'rooms13'?" in call(capsys, "run", "--experiment", "e.json")[2]
    (here / "e.json").write_text("{}")  # rooms13 by default: not what is in the folder
    (here / "own").mkdir()
    (here / "own/mtpsl.toml").write_text("[depth]\n")
    status, _, err = call(capsys, "run", "--experiment", "e.json", "--data", "own")
    assert status == 2 and "the experiment is on rooms13, which" in err
    monkeypatch.setenv("MTPSL_TRACEBACK", "1")
    (here / "e.json").write_text(json.dumps({"dataset": "rooms14"}))
    with pytest.raises(ValueError, match="rooms14"):
        cli.main(["run", "--experiment", "e.json"])


@pytest.mark.parametrize("command", ["run hitts/table1", "records", "reproduce"])
def test_a_folder_in_no_known_layout_is_refused_with_all_of_them(here, capsys, command) -> None:
    (here / "empty").mkdir()
    status, out, err = call(capsys, *command.split(), "--data", "empty")
    assert (status, out) == (1, "") and len(err.splitlines()) == 1
    assert f"mtpsl: {here / 'empty'}: expected a folder of data" in err
    for name, kind in DATASETS.items():
        assert kind.stand_in or f"{name} with " in err
    for place in ("mtpsl.toml", "leftImg8bit", "ImageSets/Context", "nyu_depth_v2_labeled.mat"):
        assert place in err


def test_an_interrupt_is_no_traceback(here, tiny, capsys, monkeypatch) -> None:
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("mtpsl.report.records.train_missing", interrupt)
    status, _, err = call(capsys, "run", "tiny/table1")
    assert status == 1
    assert "goes on from here" in err


def test_failed_records_are_status_1(here, tiny, capsys, monkeypatch) -> None:
    def fail(job, *_):
        job.process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    monkeypatch.setattr(workers, "_start", fail)
    monkeypatch.setattr(workers, "_last_words", lambda job, store: "the reason")
    status, out, err = call(capsys, "records", "--profile", "smoke")
    assert status == 1
    assert "failed: the reason" in out
    assert "6 runs failed" in err  # a row and its ceiling, three seeds


# --- what works ----------------------------------------------------------------------------------


def test_an_experiment_in_a_file_is_a_run(here, capsys) -> None:
    write_experiment(TINY, here / "e.json")
    status, out, _ = call(capsys, "run", "--experiment", "e.json", "--device", "cpu")
    assert status == 0
    said = json.loads(out)
    assert (here / "runs" / said["key"] / "record.json").is_file()
    assert "depth/abs_err" in said["metrics"]["test"]


def test_a_table_is_run_recorded_and_shown(here, tiny, capsys, monkeypatch) -> None:
    monkeypatch.setattr("mtpsl.runs.profiles.PROFILES", {"smoke": lambda e: e, "quick": 0})
    status, out, err = call(capsys, "run", "tiny/table1", "--device", "cpu", "--profile", "smoke")
    assert status == 0
    assert "[1/1] table1 MTL seed 0" in err
    assert "computed now" in out and "0.600" in out
    status, out, err = call(capsys, "run", "tiny/table1", "--device", "cpu", "--profile", "smoke")
    assert status == 0 and err == ""  # nothing left to train

    status, out, _ = call(capsys, "records", "--profile", "smoke", "--seeds", "1")
    assert status == 0
    assert (here / "runs/smoke/tiny/table1.json").is_file()

    (here / "figures").symlink_to(here / "runs/smoke")  # as if they were committed
    status, out, _ = call(capsys, "show", "tiny/table1")
    assert status == 0 and "recorded" in out
    status, out, _ = call(capsys, "show", "tiny/table1", "--format", "csv")
    assert status == 0 and out.startswith("setting,method,row")
    status, out, _ = call(capsys, "list")
    assert "recorded 1 of 1 rows at smoke, 1 seed\n" in out
    (here / "figures/tiny/table1.json").write_text("{}")
    status, out, err = call(capsys, "show", "tiny/table1")
    assert status == 0 and "damaged" in err


def test_a_forest_is_drawn(here, capsys) -> None:
    status, out, _ = call(capsys, "show", "hitts/table1", "--forest", str(here / "forest.png"))
    assert status == 0 and "printed +13.12" in out
    assert (here / "forest.png").read_bytes().startswith(b"\x89PNG")


def test_list_names_everything(here, capsys) -> None:
    (here / "notebooks/src/00_tour.py").touch()
    status, out, _ = call(capsys, "list")
    assert status == 0
    for words in ("hitts/table1", "recorded 0 of 10 rows", "fig9", "00_tour", "not built yet"):
        assert words in out
    assert "hitts            0 of 9 tables with every row recorded, 0 of 17 figures recorded" in out
    (here / "figures/hitts").mkdir(parents=True)
    (here / "runs/smoke/hitts").mkdir(parents=True)
    facts = {"made_from": {"profile": "quick"}}
    (here / "figures/hitts/fig9.json").write_text(json.dumps(facts))
    (here / "figures/hitts/fig8.json").write_text("{}")
    (here / "runs/smoke/hitts/fig9.png").touch()
    status, out, _ = call(capsys, "list")
    (fig8,), (fig9,) = ([s for s in out.splitlines() if f"/fig{n} " in s] for n in (8, 9))
    assert fig9.endswith(": recorded at quick and drawn at smoke")
    assert "hitts/fig8" in fig8 and fig8.endswith(": not drawn yet")
    assert "hitts            0 of 9 tables with every row recorded, 1 of 17 figures recorded" in out


def test_the_audit_passes(capsys) -> None:
    status, out, _ = call(capsys, "audit")
    assert status == 0
    assert "54" in out


def test_costs_stand_beside_the_printed_ones(capsys) -> None:
    status, out, _ = call(capsys, "cost", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["MTL baseline"]["params"] == 25_055_185
    assert round(rows["MTL baseline"]["thop_flops"] / 1e9, 2) == 68.81
    assert rows["MTL baseline"]["printed_flops_g"] == 68.81
    assert abs(rows["Ours"]["params"] / 25.32e6 - 1) < 0.01
    assert abs(rows["Ours"]["thop_flops"] / 83.14e9 - 1) < 0.05
    assert rows["STL depth"]["params"] == 24_980_289
    assert rows["STL depth"]["printed_params_m"] is None
    status, out, _ = call(capsys, "cost")
    assert status == 0
    (line,) = (line for line in out.splitlines() if line.startswith("MTL baseline  "))
    assert line.split()[2:] == ["25.06", "25.06", "68.60", "68.81", "68.81"]


def test_data_is_checked_drawn_and_converted(here, capsys) -> None:
    nyud_trees.write_archive(here / "my data")
    status, out, _ = call(capsys, "data", "check", "my data", "--sheet", "sheet.png")
    assert status == 0
    assert "NYUD-v2 as the folders of the NYUD_MT archive" in out
    assert "sheet of samples: sheet.png" in out and (here / "sheet.png").is_file()
    size = ("--height", "18", "--width", "24")
    status, out, _ = call(capsys, "data", "convert", "my data", "nyuv2", *size)
    assert (status, out) == (0, "nyuv2: 5 images written, 0 kept\n")
    status, out, _ = call(capsys, "data", "convert", "my data", "nyuv2", *size)
    assert (status, out) == (0, "nyuv2: 0 images written, 5 kept\n")
    status, out, _ = call(capsys, "data", "check", "nyuv2")
    assert status == 0 and "3 of them read\n  sizes        18x24" in out
    (here / "my data/NYUD_MT/depth/0000.npy").write_bytes(b"")
    status, out, err = call(capsys, "data", "convert", "my data", "new", *size)
    assert (status, out) == (1, "") and err.startswith("mtpsl: ") and "0000.npy" in err
    assert len(err.splitlines()) == 1


def test_data_sources_names_every_set_on_disk(capsys) -> None:
    status, out, _ = call(capsys, "data", "sources")
    assert status == 0
    assert set(PUBLISHED) == {name for name, kind in DATASETS.items() if not kind.stand_in}
    for words in (
        "795 training and 654 test",
        "MIT license",
        "nyu_depth_v2_labeled.mat",
        *PUBLISHED,
    ):
        assert words in out


def test_a_reader_that_stops_is_no_error() -> None:
    program = (
        "import sys\nfrom mtpsl import __main__ as cli, commands\n"
        "def count(args):\n    'Count.'\n    for i in range(99999): print(i)\n"
        "commands.COMMANDS['list'] = (count, (), '')\n"
        "sys.exit(cli.main(['list']))"
    )
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout == "0\n" and not done.stderr
