"""What ``import mtpsl`` hands out, and that it costs nothing until it is asked for."""

import subprocess
import sys
from importlib import import_module

import pytest

import mtpsl


def loaded_by(code: str) -> set[str]:
    """Modules of a fresh interpreter that has run ``code``, but for those it starts with."""
    script = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_else() -> None:
    loaded = loaded_by("import mtpsl")
    assert {name for name in loaded if name.startswith("mtpsl")} == {"mtpsl"}
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"mtpsl"}
    assert foreign == set()


def test_one_method_does_not_bring_what_it_does_not_need() -> None:
    loaded = {name.split(".")[0] for name in loaded_by("from mtpsl import XTC")}
    assert "torch" in loaded
    unneeded = {"matplotlib", "pandas", "seaborn", "IPython", "papermill", "timm", "torchvision"}
    assert loaded & unneeded == set()


@pytest.mark.parametrize("name", mtpsl.__all__)
def test_every_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(mtpsl, name)
    assert name in dir(mtpsl)
    if name in mtpsl._MODULE_OF:
        assert value is getattr(import_module(mtpsl._MODULE_OF[name]), name)


def test_a_slip_of_the_pen_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'TaskSets'; did you mean 'TaskSet'?"):
        mtpsl.TaskSets  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'zebra'$"):
        mtpsl.zebra  # noqa: B018
    with pytest.raises(ImportError, match="zebra"):
        exec("from mtpsl import zebra")
