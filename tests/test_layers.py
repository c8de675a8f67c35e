"""The rules of the design, read from the source: who imports whom, and who may know what."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtpsl import papers

PACKAGE = Path(__file__).parents[1] / "mtpsl"

# From the bottom up. A module may import from the rows below its own; its siblings it may not.
ROWS = (
    ("boundary", "files", "losses", "metrics", "papers/__init__", "registry"),
    ("places", "processes", "distributed"),
    ("tasks",),
    ("batch",),
    ("models", "data"),
    ("training", "methods", "weighting"),
    ("state",),
    ("engine",),
    ("runs",),
    ("report",),
    ("papers",),
    ("notebook", "reproduce"),
    ("lookups",),
    ("commands", "exercises"),
    ("__main__",),
)
ROW = {name: number for number, names in enumerate(ROWS) for name in names}
TOGETHER = {("boundary", "metrics"), ("notebook", "reproduce")}  # siblings, the first on top
PAPERS = ("xtc", "hitts", "rdc", "tpkr", "companion")  # none may import a later one

# What decides is an attribute of a method or a paper, never its name.
METHOD_NAMES = {*papers.methods(), *papers.PAPERS}
LONGEST_FILE, LONGEST_FUNCTION = 400, 80  # lines

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
    found = [
        *bad_imports(path, tree),
        *bad_names(path, tree),
        *bad_loads(tree),
        *bad_shapes(source, tree),
    ]
    return [f"{path}:{line}: {what}" for line, what in sorted(found)]


def bad_imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    parts = Path(path).with_suffix("").parts
    top, below = parts[0], parts[1] if len(parts) > 1 else ""
    inside = place(parts)
    for node, name in imports(tree, parts):
        root, *rest = name.split(".")
        if root == "mtpsl" and rest and parts != ("__init__",):
            other = place(tuple(rest))
            if other in ROW and other != inside and ROW[other] >= ROW[inside]:
                if (inside, other) not in TOGETHER and inside != "papers/__init__":
                    yield node.lineno, f"{inside} may not import {other}"
            if inside == other == "papers" and rest[1] in PAPERS and below in PAPERS:
                if PAPERS.index(rest[1]) > PAPERS.index(below):
                    yield node.lineno, f"papers/{below} may not import papers/{rest[1]}"
        if root in DRAWING and top not in ("report", "papers", "notebook"):
            yield node.lineno, f"{root} only in report, papers and notebook"
        if root in VISION and parts != ("models", "_torchvision"):
            yield node.lineno, f"{root} only through models/_torchvision.py"
        if root in NOTEBOOK and top != "notebook":
            if top not in ("reproduce", "exercises") or node in tree.body:
                yield node.lineno, f"{root} only in notebook.py, and inside the runner's functions"


def place(parts: tuple[str, ...]) -> str:
    """The row's entry that a module belongs to: the register of papers is not a paper."""
    if parts[0] == "papers" and (len(parts) < 2 or parts[1] not in PAPERS):
        return "papers/__init__"
    return parts[0]


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
        if named := texts & METHOD_NAMES:
            yield node.lineno, f"compares a name with {sorted(named)}; ask an attribute"


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


OWED: tuple[str, ...] = ()  # files that still break a rule


def bad_shapes(source: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Files and functions that nobody reads in one go; docstrings that are no sentence."""
    if (lines := len(source.splitlines())) > LONGEST_FILE:
        yield lines, f"{lines} lines, at most {LONGEST_FILE}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            if (lines := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION:
                yield node.lineno, f"{node.name} has {lines} lines, at most {LONGEST_FUNCTION}"
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            if (ast.get_docstring(node) or "").startswith("Of "):
                yield getattr(node, "lineno", 1), 'a docstring begins with "Of": write a sentence'


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
        ("models/segnet.py", "from ..data import dataset", "models may not import data"),
        ("methods/baselines.py", "def f():\n    from mtpsl import engine", "may not import engine"),
        ("runs/run.py", "from mtpsl import report", "runs may not import report"),
        ("runs/run.py", "from mtpsl.papers.xtc import method", "runs may not import papers"),
        ("report/render.py", "from mtpsl.papers.xtc import tables", "report may not import papers"),
        (
            "papers/xtc/method.py",
            "from mtpsl.papers.hitts import method",
            "not import papers/hitts",
        ),
        ("engine.py", "import pandas as pd", "pandas only in report"),
        ("runs/store.py", "from matplotlib import pyplot", "matplotlib only in report"),
        ("models/resnet.py", "import torchvision", "only through models/_torchvision"),
        ("engine.py", "import IPython", "IPython only in notebook.py"),
        ("reproduce.py", "import papermill", "inside the runner's functions"),
        ("engine.py", "if task.name == 'depth':\n    pass", "ask task.kind"),
        ("engine.py", "x = 1 if name in ('depth', 'normals') else 2", "ask task.kind"),
        ("engine.py", "x = t.name != 'flow'", "ask task.kind"),
        ("report/maps.py", "match name:\n    case 'semseg': pass", "ask task.kind"),
        ("runs/run.py", "if experiment.method != 'xtc':\n    pass", "ask an attribute"),
        ("runs/data.py", "x = method in ('supervised', 'mtan')", "ask an attribute"),
        ("runs/run.py", "def f():\n" + "    x = 1\n" * 80, "f has 81 lines, at most 80"),
        ("runs/run.py", "x = 1\n" * 401, "401 lines, at most 400"),
        ("runs/run.py", 'def f():\n    """Of a run."""', "write a sentence"),
        ("runs/store.py", "pickle.load(file)", "pickle.load executes what it reads"),
        ("runs/store.py", "torch.load(path)", "torch.load without weights_only=True"),
        ("runs/store.py", "np.load(path, allow_pickle=True)", "allow_pickle"),
    ],
)
def test_sees_a_seeded_defect(path: str, source: str, complaint: str) -> None:
    (found,) = violations(path, source)
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tasks.py", "x = task.name == 'depth'"),
        ("data/readers/report.py", "x = name in ('depth',)"),
        ("report/render.py", "import pandas"),
        ("runs/run.py", "from mtpsl import papers"),
        ("report/figure.py", "from mtpsl.papers import PAPERS"),
        ("papers/hitts/rows.py", "from mtpsl.papers.xtc.tables import NYUD"),
        ("models/_torchvision.py", "import torchvision"),
        ("reproduce.py", "def f():\n    import papermill"),
        ("papers/hitts/tables.py", "x = column == 'depth/abs_err'"),
        ("data/labels.py", "import pickle\ntry: f()\nexcept pickle.UnpicklingError: raise"),
        ("engine.py", "torch.load(path, weights_only=True)"),
    ],
)
def test_allows_what_is_meant(path: str, source: str) -> None:
    assert violations(path, source) == []
