"""Three ways to install, one set of versions; and a core that needs no notebook package."""

import ast
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mtpsl

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
# Whoever fans runs out adds ``fanout``, which asks for an older ``packaging`` than the pinned one,
# and whoever wants a slider ``widgets``.
LEFT_OUT = ("fanout", "widgets")
EXTRAS = {k: v for k, v in PROJECT["optional-dependencies"].items() if k not in LEFT_OUT}
NOTEBOOK = ("IPython", "ipykernel", "jupytext", "nbconvert", "nbformat", "papermill", "nbval")
TARGETS = ("help", "reproduce", "test", "lab", "notebooks", "site", "records", "bench")
TARGETS += ("venv", "clean")


def pins() -> dict[str, Requirement]:
    """Package -> its line of constraints.txt."""
    text = (ROOT / "constraints.txt").read_text()
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    requirements = [Requirement(line) for line in lines if line]
    return {canonicalize_name(r.name): r for r in requirements}


def direct() -> list[Requirement]:
    """What pyproject.toml asks for, with the extras that ``make`` installs."""
    return [Requirement(text) for text in [*PROJECT["dependencies"], *sum(EXTRAS.values(), [])]]


def make(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), *arguments],
        capture_output=True,
        text=True,
        **options,
    )


def test_every_pin_is_exact() -> None:
    for name, pin in pins().items():
        assert re.fullmatch(r"==[^*]+", str(pin.specifier)), name
        assert "+" not in str(pin.specifier), f"{name}: a local build pins out all others"


def test_pins_fit_what_the_project_asks_for() -> None:
    for wanted in direct():
        pin = pins().get(canonicalize_name(wanted.name))
        assert pin, f"{wanted.name} is in pyproject.toml but not in constraints.txt"
        (version,) = pin.specifier
        assert version.version in wanted.specifier, wanted.name


def test_every_installed_dependency_is_pinned() -> None:
    missing, todo, seen = set(), [(r.name, "project") for r in direct()], set()
    while todo:
        name, parent = todo.pop()
        name = canonicalize_name(name)
        if name in seen:
            continue
        seen.add(name)
        if name not in pins() and parent != "torch":  # torch pins its CUDA libraries itself
            missing.add(name)
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append((requirement.name, name))
    assert not missing, f"add to constraints.txt: {sorted(missing)}"


def test_conda_users_get_the_same_packages() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    *packages, pip = environment["dependencies"]
    assert any(p.startswith(f"python{PROJECT['requires-python']}") for p in packages)
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{','.join(EXTRAS)}]"]}


def test_every_file_states_the_same_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == mtpsl.__version__
    assert citation["license"] == PROJECT["license"]
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest and latest[1] == mtpsl.__version__
    assert "MIT License" in (ROOT / "LICENSE").read_text()


def test_everything_imported_is_a_dependency() -> None:
    modules = {"torch", "torchvision", "numpy", "pandas", "matplotlib", "seaborn", "tqdm"}
    modules |= {"safetensors", "scipy", "sklearn", "torchjd", "PIL", "h5py", "mtpsl"}
    modules |= {"filelock", "joblib", "platformdirs", "statsmodels"}
    modules |= set(sys.stdlib_module_names)
    optional = {
        "IPython",
        "ipywidgets",
        "jupytext",
        "nbformat",
        "papermill",
    }  # test_layers says where
    for path in (ROOT / "mtpsl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                assert name.split(".")[0] in modules | optional, f"{path}: {name}"


def test_the_core_imports_without_what_only_parts_of_it_need() -> None:
    program = f"""
import pkgutil, sys
for name in {NOTEBOOK}:
    sys.modules[name] = None  # importing it raises ImportError
sys.modules["torchjd"] = None  # "mgda" alone asks for it, and says so
sys.modules["h5py"] = None  # so does the published file of NYUD-v2
sys.modules["timm"] = sys.modules["huggingface_hub"] = None  # and HRNets and transformers
sys.modules["skimage"] = sys.modules["transformers"] = None  # and some providers of regions
import mtpsl
for module in pkgutil.walk_packages(mtpsl.__path__, "mtpsl."):
    if module.name not in ("mtpsl.notebook", "mtpsl.__main__"):
        __import__(module.name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_runner_starts_without_torch() -> None:
    program = "import sys, mtpsl.reproduce; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_make_alone_lists_every_target() -> None:
    words = make().stdout
    assert words == make("help").stdout
    for target in TARGETS:
        assert re.search(rf"^  {target} +\w", words, re.MULTILINE), target
    for variable in ("PROFILE", "DATA", "ONLY", "JOBS", "SEEDS", "DEVICE", "FORCE=1"):
        assert variable in words


def test_make_hands_its_variables_on() -> None:
    given = {"PROFILE": "quick", "DATA": "/a b", "JOBS": 2, "ONLY": "x", "SEEDS": 3}
    settings = [f"{name}={value}" for name, value in given.items()]
    done = make("-n", "reproduce", "PY=python", "FORCE=1", "DEVICE=cpu", *settings)
    line = " ".join(done.stdout.split())
    assert line == (
        'python -m mtpsl reproduce --profile "quick" --data "/a b" --jobs "2" --seeds "3" '
        '--device "cpu" --only "x" --force'
    )
    assert make("-n", "records", "PY=python").stdout.split()[-2:] == ["--profile", '"quick"']


@pytest.mark.parametrize(("version", "fine"), [("3.9", False), ("3.10", False), ("3.11", True)])
def test_make_names_a_python_that_is_too_old(tmp_path: Path, version: str, fine: bool) -> None:
    python = tmp_path / "python"  # answers as that version, and can do nothing else
    claim = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0); exec(sys.argv[2])"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || exit 7\nexec {sys.executable} -c "{claim}" "$@"\n'
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    done = make("venv", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode == 2
    complaint = f"PYTHON: expected Python 3.11 or newer, got {version};"
    assert (complaint in done.stderr) is not fine


def test_ci_calls_what_the_readme_says() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[-2].startswith("make test NOTEBOOK_ENV=") and lines[-1] == "make reproduce"


def test_notebooks_are_tested_on_another_processor_than_they_were_built_on() -> None:
    (line,) = re.findall("make test (.*)", (ROOT / ".ci" / "run").read_text())
    setting = line.replace('"', "")
    recipe = make("-n", "test", "PY=python", setting).stdout.splitlines()
    unit, notebooks = (each for each in recipe if "pytest" in each)
    assert notebooks.startswith("ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 python")
    assert unit.startswith("python")


# --------------------------------------------------------------- an installed package


def test_every_folder_of_the_package_is_installed() -> None:
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("mtpsl/**/__init__.py")}
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == found | {"mtpsl.figures"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel and what this one has, less the packages of notebooks."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q"]
    source = place / "source"  # a copy, in which the build leaves its folders
    for name in ("mtpsl", "figures"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(place), str(source)]
    subprocess.run([*pip, *wheel], check=True)
    (path,) = place.glob("mtpsl-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    python = place / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", path], check=True)
    (packages,) = (place / "venv").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    block = f"import sys\nsys.modules |= dict.fromkeys({NOTEBOOK})\n"  # importing one raises
    (packages / "sitecustomize.py").write_text(block)
    return python


@pytest.mark.slow
def test_an_installed_package_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    from mtpsl import papers
    from mtpsl.runs.data import bind_data
    from mtpsl.runs.experiment import write_experiment
    from mtpsl.runs.profiles import get_profile

    home, empty = tmp_path / "home", tmp_path / "empty"
    empty.mkdir()
    hidden = ("PYTHON", "MTPSL", "XDG")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    environment |= {"HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}

    def call(*arguments: str) -> str:
        command = [installed, "-m", *arguments]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert re.search(r"recorded [1-9]\d* of \d+ rows at quick", call("mtpsl", "list"))
    assert "| recorded |" in call("mtpsl", "show", "xtc/table2")
    (experiment, *_) = papers.tables()["xtc/table2"].rows[0].experiments
    experiment = bind_data(get_profile("smoke")(experiment), "")
    write_experiment(experiment, tmp_path / "e.json")
    call("mtpsl", "run", "--experiment", str(tmp_path / "e.json"))
    (record,) = home.rglob("record.json")
    assert record.parent.name == experiment.key and "mtpsl" in record.parts
    assert list(home.rglob("manifest.json"))  # of generated images
    assert not list(empty.iterdir())
