"""The package runs where Unix does not: no module that only Unix has, but for one guarded place."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mtpsl"
UNIX = {"fcntl", "resource", "pwd", "grp", "termios"}
GUARDED = "runs/network.py"  # what a process has had resident at most


def imported(tree: ast.AST) -> set[str]:
    """The names of the modules that a piece of source imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


FILES = sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_no_file_imports_what_only_unix_has(path: str) -> None:
    tree = ast.parse((PACKAGE / path).read_text())
    if path == GUARDED:
        (guard,) = (node for node in tree.body if isinstance(node, ast.Try))
        assert imported(guard) == {"resource"} and len(guard.body) == 1
        tree.body.remove(guard)
    assert not imported(tree) & UNIX


def test_runs_are_imported_without_them() -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({sorted(UNIX)}))\n"
    code += "import mtpsl.runs.run\nfrom mtpsl.runs import network as memory\n"
    code += "assert memory.resource is None"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
