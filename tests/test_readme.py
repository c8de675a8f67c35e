"""The README's commands exist, its code runs, its links lead somewhere."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mtpsl.models._torchvision import import_torchvision

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
CHEAP = ("list", "audit", "cost")  # subcommands that are run, not only looked up


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[str]:
    lines = "".join(blocks("console")).splitlines()
    assert all(line.startswith("$ ") for line in lines)
    return [line[2:] for line in lines if line.startswith(f"$ {program}")]


def table_commands(program: str) -> list[str]:
    """Those in running text and tables, with nothing to fill in."""
    return [c for c in re.findall(rf"`({program} [^`]*)`", TEXT) if "<" not in c and "NN" not in c]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("command", commands("make") + table_commands("make"))
def test_make_knows_the_target_and_the_variables(command: str) -> None:
    done = run(*shlex.split(command), "-n", "--no-print-directory")
    assert done.returncode == 0, done.stderr
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"\b([A-Z_]+)=", command):
        assert re.search(rf"\b{name}\b", makefile), name


@pytest.mark.parametrize("command", commands("python -m mtpsl"))
def test_the_command_line_knows_the_command(command: str) -> None:
    _, _, _, *words = shlex.split(command)
    names = words[:2] if words[0] == "data" else words[:1]
    done = run(sys.executable, "-m", "mtpsl", *names, "--help")
    assert done.returncode == 0, done.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in done.stdout, f"{option} is not in the help of {' '.join(names)}"
    if words[0] in CHEAP:
        done = run(sys.executable, "-m", "mtpsl", *words)
        assert done.returncode == 0 and done.stdout, done.stderr


def test_the_two_commands_come_first() -> None:
    assert blocks("console")[0] == "$ make reproduce\n$ make test\n"


def test_the_loop_of_your_own_runs() -> None:
    code, _ = blocks("python")
    assert len(code.splitlines()) <= 25
    import_torchvision("models.resnet")  # as "Troubleshooting" says
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(3, 64, 64, generator=generator), dim=0)
    ids = torch.randint(13, (2, 64, 64), generator=generator)
    labels = {"semseg": ids, "depth": None, "normals": [normals, None]}
    seen = {"loader": [(torch.rand(2, 3, 64, 64, generator=generator), labels)] * 3}
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), seen)
    terms = seen["terms"]
    assert set(terms) == {"semseg", "depth", "normals", "cross_task", "regularizer"}
    assert all(term.isfinite() for term in terms.values())
    assert terms["depth"] == 0 and all(terms[n] > 0 for n in set(terms) - {"depth"})
    without = [n for n, p in seen["encoder"].named_parameters() if not p.grad.abs().sum() > 0]
    assert without == []


def test_the_code_with_our_engine_runs(capsys: pytest.CaptureFixture) -> None:
    _, code = blocks("python")
    assert len(code.splitlines()) <= 12
    exec(compile(code, "README.md", "exec"), {})
    measured = ast.literal_eval(capsys.readouterr().out.replace("nan", "None"))
    assert {"semseg/miou", "depth/abs_err", "normals/mean_err"} <= set(measured)


def test_links_and_files_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    files = re.findall(r"`((?:mtpsl|tests|notebooks|figures)/[\w./]+\.\w+)`", TEXT)
    here = {link for link in links if not link.startswith("http")}
    for name in here | {name for name in files if "NN_" not in name}:
        assert (ROOT / name).is_file(), name


def test_the_map_names_functions_that_exist() -> None:
    named = re.findall(r"`(mtpsl/[\w/]+\.py)`: `(\w+)`", TEXT)
    assert len(named) >= 7
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, name


def test_every_notebook_and_target_is_mentioned() -> None:
    for source in (ROOT / "notebooks").glob("*.py"):
        assert f"notebooks/{source.stem}.ipynb" in TEXT
    for target in ("reproduce", "test", "lab", "help", "records", "notebooks", "venv", "clean"):
        assert f"make {target}" in TEXT


def test_all_four_papers_can_be_cited() -> None:
    (bibtex,) = blocks("bibtex")
    assert re.findall(r"^@\w+\{(\w+),$", bibtex, re.MULTILINE) == [
        "zhang2024hitts",
        "li2022xtc",
        "li2024rdc",
        "oh2026tpkr",
    ]
    assert bibtex.count("{") == bibtex.count("}")
