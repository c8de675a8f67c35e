"""The rules of the design, read from the source: who imports whom, and who may know what."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mtpsl"

# From the bottom up. A module may import from the rows below its own; its siblings it may not.
ROWS = (
    ("equations", "files", "losses", "metrics", "precision", "registry"),
    ("boundary",),
    ("tasks",),
    ("batch",),
    ("models", "data"),
    ("kept_weights", "methods", "weighting"),
    ("engine", "records"),
    ("experiments",),
    ("plots",),
    ("benchmark", "benchmark_data", "benchmark_xtc", "lessons", "notebook"),
    ("commands", "first_steps"),
    ("__main__",),
)
ROW = {name: number for number, names in enumerate(ROWS) for name in names}
# Inside experiments: those not named here stand between profiles and run, and may share.
STAGE = {"spec": 0, "profiles": 1, "run": 3, "notebooks": 3, "build_notebooks": 4, "reproduce": 4}

TASK_NAMES = {"semseg", "depth", "normals", "human_parts", "saliency", "edges"}
DRAWING = {"matplotlib", "seaborn", "pandas"}
VISION = {"torchvision", "timm", "huggingface_hub"}
PICKLES = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
NOTEBOOK = {
    *("IPython", "ipykernel", "ipywidgets", "jupyter_client", "jupyter_core", "jupyterlab"),
    *("jupytext", "nbclient", "nbconvert", "nbformat", "nbval", "papermill"),
}


def sources() -> list[str]:
    return sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py"))


def violations(path: str, source: str) -> list[str]:
    """What the file at ``path`` (relative to the package) does that it may not do."""
    tree = ast.parse(source)
    found = [*bad_imports(path, tree), *bad_names(path, tree), *bad_loads(tree)]
    return [f"{path}:{line}: {what}" for line, what in sorted(found)]


def bad_imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    parts = Path(path).with_suffix("").parts
    top, below = parts[0], parts[1] if len(parts) > 1 else ""
    for node, name in imports(tree, parts):
        root, *rest = name.split(".")
        if root == "mtpsl" and rest and top != "__init__" and rest[0] in ROW:
            other = rest[0]
            if other != top and ROW[other] >= ROW[top]:
                yield node.lineno, f"{top} may not import {other}"
            if other == top == "experiments" and len(rest) > 1 and below != "__init__":
                mine, its = STAGE.get(below, 2), STAGE.get(rest[1], 2)
                if its > mine or (its == mine != 2):
                    yield node.lineno, f"experiments.{below} may not import {rest[1]}"
        elif root == "mtpsl" and top == "__init__" and rest:
            yield node.lineno, f"the package's own __init__ may not import {rest[0]}"
        if root in DRAWING and top != "plots" and parts[:2] != ("experiments", "render"):
            yield node.lineno, f"{root} only in plots and experiments/render"
        if root in VISION and parts != ("models", "_torchvision"):
            yield node.lineno, f"{root} only through models/_torchvision.py"
        if root in NOTEBOOK and top != "notebook":
            runner = top == "experiments" and below in ("notebooks", "build_notebooks")
            if not runner or node in tree.body:
                yield node.lineno, f"{root} only in notebook.py, and inside the runner's functions"


def imports(tree: ast.Module, parts: tuple[str, ...]) -> Iterator[tuple[ast.stmt, str]]:
    """Every import statement with the full name of each module it names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ("mtpsl", *parts)[: len(parts) + 1 - node.level] if node.level else ()
            base = ".".join((*package, *([node.module] if node.module else [])))
            yield from ((node, f"{base}.{alias.name}") for alias in node.names)


def bad_names(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Comparisons of a task's name with a literal: ask ``task.kind`` instead."""
    if path == "tasks.py" or path.startswith("data/"):
        return
    for node in ast.walk(tree):
        sides: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            sides = [node.value]
        texts = {text for side in sides for text in literals(side)}
        of_a_task = any(is_task_name(side) for side in sides)
        if texts & TASK_NAMES or (of_a_task and texts):
            yield node.lineno, f"compares a task's name with {sorted(texts)}; ask task.kind"


def literals(node: ast.AST) -> Iterator[str]:
    """The strings a comparison names: itself, or the items of a tuple, list, set or dict."""
    items = [node]
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        items = node.elts
    elif isinstance(node, ast.Dict):
        items = [key for key in node.keys if key]
    for item in items:
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value


def is_task_name(node: ast.AST) -> bool:
    """Whether this is ``task.name``, or ``.name`` of a variable called like a task."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "name"
        and isinstance(node.value, ast.Name)
        and (node.value.id in ("t", "source", "target") or "task" in node.value.id)
    )


def bad_loads(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Ways to read a file that could execute what stands in it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        flags = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        called = ast.unparse(node.func)
        module, _, function = called.rpartition(".")
        if module in PICKLES and function not in ("dump", "dumps"):
            yield node.lineno, f"{called} executes what it reads"
        if called == "torch.load" and flags.get("weights_only") is not True:
            yield node.lineno, "torch.load without weights_only=True"
        if flags.get("allow_pickle"):
            yield node.lineno, f"{called} with allow_pickle"
        if called in ("eval", "exec"):
            yield node.lineno, f"{called} executes text"


@pytest.mark.parametrize("path", sources())
def test_keeps_the_rules(path: str) -> None:
    assert violations(path, (PACKAGE / path).read_text()) == []


def test_every_module_has_a_row() -> None:
    names = {Path(path).parts[0].removesuffix(".py") for path in sources()} - {"__init__"}
    assert names <= set(ROW), f"no row for {sorted(names - set(ROW))}"


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("losses.py", "from mtpsl.tasks import Task", "losses may not import tasks"),
        ("losses.py", "import mtpsl.metrics", "losses may not import metrics"),
        ("models/segnet.py", "from mtpsl.data import DATASETS", "models may not import data"),
        ("models/segnet.py", "from ..data import sample", "models may not import data"),
        ("methods/hitts.py", "def f():\n    from mtpsl import engine", "may not import engine"),
        ("experiments/run.py", "from mtpsl import plots", "experiments may not import plots"),
        ("experiments/spec.py", "from mtpsl.experiments import run", "spec may not import run"),
        ("experiments/render.py", "from mtpsl.experiments.run import run", "may not import run"),
        ("__init__.py", "from mtpsl import engine", "__init__ may not import engine"),
        ("engine.py", "import pandas as pd", "pandas only in plots"),
        ("records.py", "from matplotlib import pyplot", "matplotlib only in plots"),
        ("models/heads.py", "import torchvision", "only through models/_torchvision"),
        ("engine.py", "import IPython", "IPython only in notebook.py"),
        ("experiments/notebooks.py", "import papermill", "inside the runner's functions"),
        ("engine.py", "if task.name == 'depth':\n    pass", "ask task.kind"),
        ("engine.py", "x = 1 if name in ('depth', 'normals') else 2", "ask task.kind"),
        ("engine.py", "x = t.name != 'flow'", "ask task.kind"),
        ("plots/maps.py", "match name:\n    case 'semseg': pass", "ask task.kind"),
        ("records.py", "pickle.load(file)", "pickle.load executes what it reads"),
        ("records.py", "torch.load(path)", "torch.load without weights_only=True"),
        ("records.py", "np.load(path, allow_pickle=True)", "allow_pickle"),
    ],
)
def test_sees_a_seeded_defect(path: str, source: str, complaint: str) -> None:
    (found,) = violations(path, source)
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tasks.py", "x = task.name == 'depth'"),
        ("data/check.py", "x = name in ('depth',)"),
        ("experiments/render.py", "import pandas"),
        ("models/_torchvision.py", "import torchvision"),
        ("experiments/figures.py", "from mtpsl.experiments.hitts import TABLES"),
        ("experiments/notebooks.py", "def f():\n    import papermill"),
        ("experiments/hitts.py", "x = column == 'depth/abs_err'"),
        ("data/labels.py", "import pickle\ntry: f()\nexcept pickle.UnpicklingError: raise"),
        ("engine.py", "torch.load(path, weights_only=True)"),
    ],
)
def test_allows_what_is_meant(path: str, source: str) -> None:
    assert violations(path, source) == []
