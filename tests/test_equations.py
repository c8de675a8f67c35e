"""The method notebook's map of equations and symbols is true."""

import ast
import dataclasses
import importlib
from pathlib import Path

import pytest
import torch

from mtpsl import batch, metrics
from mtpsl.equations import FILES, PACKAGE, TERMS, find_equations, scan
from mtpsl.experiments.spec import Experiment
from mtpsl.methods import build_method
from mtpsl.methods.hitts import HiTTs, Trace
from mtpsl.methods.quantize import Centers
from mtpsl.models.segnet import Features
from mtpsl.tasks import TaskSet, depth, normals, semseg

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "10_hitts_method.py"
TASKS = TaskSet((semseg(tuple("abcd")), depth(), normals()))

# Read in the paper and in the package, not generated: equation -> functions that compute it.
EXPECTED = {
    1: {"HiTTs.learn_inter_task"},
    2: {"HiTTs.learn_inter_task"},
    3: {"HiTTs.derive_fine_tokens"},
    4: {"HiTTs.trace", "score_mask"},
    5: {"HiTTs.training_step"},
    6: {"HiTTs.training_step"},
    7: {"HiTTs.training_step"},
    8: {"HiTTs.training_step"},
    9: {"delta_mtl"},
    10: {"Centers.expectation"},
    11: {"mixture_loss"},
    12: {"mixture_loss"},
    13: {"mixture_loss", "HiTTs.mixture"},
}


def test_every_equation_is_where_the_map_says() -> None:
    found: dict[int, set[str]] = {}
    for place in find_equations("hitts"):
        found.setdefault(place.equation, set()).add(place.function)
    assert sorted(found) == list(range(1, 14))
    missing = {n: names - found[n] for n, names in EXPECTED.items() if names - found[n]}
    assert not missing, "mark the statement with `# Eq. (n)` again"


@pytest.mark.parametrize("place", find_equations("hitts"), ids=lambda p: f"{p.equation}-{p.line}")
def test_every_place_exists(place) -> None:
    module = "mtpsl." + place.file.removesuffix(".py").replace("/", ".")
    function = importlib.import_module(module)
    for part in place.function.split("."):
        function = getattr(function, part)
    line = (PACKAGE / place.file).read_text().splitlines()[place.line - 1]
    assert f"Eq. ({place.equation})" in line or f"({place.equation})" in line or "def " in line
    assert place.code


SOURCE = '''
"""A module [Paper, Eq. 1 to 13]."""

class Net:
    """A class names equations it does not compute [Paper, Eq. 4]."""

    def forward(self, x):
        """Something [Eq. 2, 3]."""
        y = self.f(  # Eq. (2)
            x
        )
        return y  # the sum of Eq. (5), (6)

def loss(x):
    """A loss [Paper, App. A, Eq. 11 to 13].

    Not here [Eq. 9].
    """
    z = x + 1  # close to Eq. 7
    return z
'''


def test_scan_reads_comments_and_first_lines_of_functions() -> None:
    found = [(p.equation, p.function, p.code) for p in scan("x.py", SOURCE)]
    whole = "A loss [Paper, App. A, Eq. 11 to 13]."
    assert found == [
        (3, "Net.forward", "Something [Eq. 2, 3]."),
        (2, "Net.forward", "y = self.f(x)"),
        (5, "Net.forward", "return y  # the sum of Eq. (5), (6)"),
        (6, "Net.forward", "return y  # the sum of Eq. (5), (6)"),
        (11, "loss", whole),
        (12, "loss", whole),
        (13, "loss", whole),
    ]


def test_an_unmarked_equation_is_missed() -> None:
    file = FILES["hitts"][0]
    source = (PACKAGE / file).read_text()
    numbers = {place.equation for place in scan(file, source.replace("  # Eq. (6)", ""))}
    assert 6 not in numbers and 7 in numbers


def test_every_symbol_has_the_name_it_is_said_to_have() -> None:
    net = build_method("hitts", TASKS, "segnet", 0.125)
    owners = {"HiTTs": dir(net), "metrics": dir(metrics), "Centers": [*Centers.__annotations__]}
    for kind in (Trace, batch.Batch, batch.Discovered, Features, Experiment):
        owners[kind.__name__] = [field.name for field in dataclasses.fields(kind)]
    for term in TERMS["hitts"]:
        owner, name = term.code.split(".")
        assert name in owners[owner], term.code


def test_every_symbol_has_the_shape_it_is_said_to_have() -> None:
    torch.manual_seed(0)
    net: HiTTs = build_method("hitts", TASKS, "segnet", 0.125)
    net.prepare([images := _batch()])
    trace, found = net.trace(images.images), net.discover(images.images, {})
    owners = {"HiTTs": net, "Trace": trace, "Discovered": found, "Batch": images}
    checked = set()
    for term in TERMS["hitts"]:
        owner, name = term.code.split(".")
        value = getattr(owners.get(owner), name, None)
        if not term.shape or value is None:
            continue
        of_a_task = isinstance(value, dict | torch.nn.ModuleDict)
        for task in TASKS if of_a_task else (None,):
            tensor = value[task.name] if of_a_task else value
            tensor = getattr(tensor, "weight", tensor)
            sizes = {"B": 2, "T": 3, "C": 8, "H": 32, "W": 64, "h": 4, "w": 8}
            if task:
                values = task.channels if owner == "Trace" else task.target_channels
                sizes |= {"C_p": net.bins(task), "D": values}
            expected = [sizes[s] if s in sizes else int(s) for s in term.shape.split()]
            assert list(tensor.shape) == expected, term.code
        checked.add(term.code)
    assert len(checked) == 17


def _batch() -> batch.Batch:
    images = torch.rand(2, 3, 32, 64)
    direction = torch.nn.functional.normalize(images - 0.5, dim=1)
    targets = {"semseg": images[:, :1].long(), "depth": 1 + images[:, :1], "normals": direction}
    shown = {t.name: torch.ones(2, 1, 32, 64, dtype=torch.bool) for t in TASKS}
    labeled = {t.name: torch.ones(2, dtype=torch.bool) for t in TASKS}
    return batch.Batch(images, targets, shown, labeled, torch.arange(2))


def test_the_notebook_checks_each_equation_in_a_cell() -> None:
    tree = ast.parse(NOTEBOOK.read_text())
    calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert {"find_equations", "show_terms"} <= calls
    called = {name.split(".")[-1] for name in calls}
    computed_by = {name.split(".")[-1] for names in EXPECTED.values() for name in names}
    inside = {"mixture", "expectation"}  # reached through training_step and decode
    assert computed_by - inside <= called
