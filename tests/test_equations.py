"""The method notebook's map of equations and symbols is true."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path

import pytest
import torch

from mtpsl import batch, metrics
from mtpsl.methods import base
from mtpsl.methods import baselines as consistency
from mtpsl.methods.baselines import SemiSupervised
from mtpsl.models import Features
from mtpsl.models.backbone import Output
from mtpsl.papers import PAPERS, build_method
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.papers.hitts.quantize import Centers
from mtpsl.papers.hitts.scales import MultiScaleTokens
from mtpsl.papers.hitts.tokens import Trace
from mtpsl.papers.rdc import gaussians
from mtpsl.papers.rdc.loss import RegionContrastLoss
from mtpsl.papers.tpkr.method import Traced
from mtpsl.papers.xtc import loss as cross_task
from mtpsl.papers.xtc.loss import CrossTaskLoss, Inputs, Link, find_links
from mtpsl.papers.xtc.mapping import MappingNet, PairNorm
from mtpsl.papers.xtc.method import XTC
from mtpsl.report.equations import PACKAGE, find_equations, scan
from mtpsl.runs.experiment import Experiment
from mtpsl.tasks import Task, TaskSet, depth, normals, semseg

NOTEBOOKS = Path(__file__).parents[1] / "notebooks" / "src"
NUMBERED = {"xtc": 4, "hitts": 18, "rdc": 6, "tpkr": 10}  # equations that a paper numbers
WALKED = {
    "xtc": 4,
    "hitts": 13,
    "rdc": 6,
    "tpkr": 10,
}  # the first ones, which its notebook works out by hand
TASKS = TaskSet((semseg(tuple("abcd")), depth(), normals()))

# Read in the papers and in the package, not generated: equation -> functions that compute it.
EXPECTED = {
    "xtc": {
        1: {"supervised_terms"},
        2: {"SemiSupervised.consistency"},
        3: {"find_links", "cosine_distance"},
        4: {"CrossTaskLoss.consistency"},
    },
    "rdc": {
        1: {"RDC.training_step"},
        2: {"region_moments"},
        3: {"RegionContrastLoss.contrast_image"},
        4: {"RegionContrastLoss.similarity"},
        5: {"wasserstein"},
        6: {"RegionContrastLoss.contrast_regions"},
    },
    "tpkr": {
        1: {"TPKR.trace", "Codebook.forward"},
        2: {"Reconstruction.forward"},
        3: {"TaskPrototypes.similarity"},
        4: {"TaskPrototypes.affinity", "TaskPrototypes.embedding_loss"},
        5: {"TaskPrototypes.consistency_loss"},
        6: {"TaskPrototypes.forward"},
        7: {"TaskPrototypes.affinity_features"},
        8: {"RetrievalBlock.forward"},
        9: {"SlotAttention.forward", "SlotAttention.direct"},
        10: {"TPKR.training_step"},
    },
    "hitts": {
        1: {"TaskTokens.learn_inter_task", "Scale.affinity"},
        2: {"TaskTokens.learn_inter_task", "Scale.mix"},
        3: {"TaskTokens.derive_fine_tokens"},
        4: {"TaskTokens.forward", "score_mask"},
        5: {"HiTTs.training_step", "MixtureLoss.forward"},
        6: {"HiTTs.training_step", "feature_terms"},
        7: {"HiTTs.training_step", "MixtureLoss.pseudo"},
        8: {"HiTTs.training_step"},
        9: {"delta_mtl"},
        10: {"Centers.expectation"},
        11: {"mixture_loss"},
        12: {"mixture_loss"},
        13: {"mixture_loss", "MixtureLoss.mixture"},
        14: {"MultiScaleTokens.split_tokens"},
        15: {"MultiScaleTokens.forward"},
        16: {"MultiScaleTokens.split_tokens"},
        17: {"MultiScaleTokens.fuse_features"},
        18: {"MultiScaleTokens.merge_tokens"},
    },
}
PLACES = [place for paper in PAPERS for place in find_equations(paper)]

every_paper = pytest.mark.parametrize("paper", [name for name in PAPERS if PAPERS[name].terms])


@every_paper
def test_every_equation_is_where_the_map_says(paper: str) -> None:
    found: dict[int, set[str]] = {}
    for place in find_equations(paper):
        found.setdefault(place.equation, set()).add(place.function)
    assert sorted(found) == list(range(1, NUMBERED[paper] + 1))
    missing = {n: names - found[n] for n, names in EXPECTED[paper].items() if names - found[n]}
    assert not missing, "mark the statement with `# Eq. (n)` again"


def test_no_citation_names_an_equation_that_the_paper_lacks() -> None:
    cited = re.compile(r"\[(XTC|HiTTs|RDC|TPKR), (?:[^\[\]]*, )?Eq\. ([^\]]+)\]")
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for paper, numbers in cited.findall(file.read_text()):
            known = range(1, NUMBERED[paper.lower()] + 1)
            assert {int(n) for n in re.findall(r"\d+", numbers)} <= set(known), (file, numbers)
            found.add(paper)
    assert found == {"XTC", "HiTTs", "RDC", "TPKR"}


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.file}-{p.equation}-{p.line}")
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
    file = PAPERS["hitts"].equation_files[0]
    source = (PACKAGE / file).read_text()
    numbers = {
        place.equation for place in scan(file, source.replace("  # their sum is Eq. (8)", ""))
    }
    assert 8 not in numbers and 7 in numbers


def test_every_symbol_has_the_name_it_is_said_to_have() -> None:
    hitts, xtc = (build_method(name, TASKS, "segnet", 0.125) for name in ("hitts", "xtc"))
    rdc = build_method("rdc", TASKS, "segnet", 0.125)
    tpkr = build_method("tpkr", TASKS, "segnet", 0.125)
    scales: MultiScaleTokens = build_method("hitts", TASKS, "resnet18", 0.125).scales
    owners = {
        "HiTTs": dir(hitts),
        "TaskTokens": dir(hitts),
        "MixtureLoss": dir(hitts.mixture_loss),
        "MultiScaleTokens": dir(scales),
        "Scale": dir(scales.scales[0]),
        "CrossTaskLoss": dir(xtc.loss),
        "RegionContrastLoss": dir(rdc.loss),
        "TPKR": dir(tpkr),
        "Codebook": dir(tpkr.codebook),
        "Reconstruction": dir(tpkr.reconstruction),
        "TaskPrototypes": dir(tpkr.prototypes),
        "MappingNet": dir(xtc.mapping),
        "PairNorm": dir(xtc.mapping.stages[0].norms[0]),
        "Centers": [*Centers.__annotations__],
    }
    for kind in (metrics, base, cross_task, consistency, gaussians, Inputs, SemiSupervised):
        owners[kind.__name__.split(".")[-1]] = dir(kind)
    for kind in (
        Trace,
        Traced,
        batch.Batch,
        batch.Discovered,
        Features,
        Output,
        Link,
        Task,
        Experiment,
    ):
        owners[kind.__name__] = [*vars(kind), *(field.name for field in dataclasses.fields(kind))]
    for term in (term for paper in PAPERS.values() for term in paper.terms):
        owner, name = term.code.split(".")
        assert name in owners[owner], term.code


def test_every_symbol_of_hitts_has_the_shape_it_is_said_to_have() -> None:
    torch.manual_seed(0)
    net: HiTTs = build_method("hitts", TASKS, "segnet", 0.125)
    net.prepare([images := _batch()])
    trace, found = net.trace(images.images), net.discover(images.images, {})
    owners = {"TaskTokens": net, "Trace": trace, "Discovered": found, "Batch": images}
    checked = set()
    for term in PAPERS["hitts"].terms:
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


def test_every_symbol_of_a_scale_has_the_shape_it_is_said_to_have() -> None:
    torch.manual_seed(0)
    net: HiTTs = build_method("hitts", TASKS, "resnet18", 0.125)
    scales, stages = net.scales, net.backbone(_batch().images).stages
    shapes = {term.code: term.shape.split() for term in PAPERS["hitts"].terms}
    tokens = scales.split_tokens(net.theta)
    for j, c in enumerate((8, 16, 32, 64)):
        rows, columns = (8, 16) if j == 0 else (4, 8)
        sizes = {"B": 2, "T": 3, "C": 64, "C′": 32, "C_j": c, "H_j": rows, "W_j": columns}
        values = {"Features.stages": stages[j], "MultiScaleTokens.split_tokens": tokens[j]}
        values |= {f"MultiScaleTokens.{n}": getattr(scales, n)[j] for n in ("split", "merge")}
        for code, value in values.items():
            of_tasks = isinstance(value, torch.nn.ModuleDict)
            for tensor in [m.weight for m in value.values()] if of_tasks else [value]:
                assert list(tensor.shape) == [sizes[s] for s in shapes[code]], code


def test_every_symbol_of_xtc_has_the_shape_it_is_said_to_have() -> None:
    torch.manual_seed(0)
    net: XTC = build_method("xtc", TASKS, "segnet", 0.125)
    images = _batch()
    output, inputs = net.net(images.images), Inputs({}, images)
    maps, labels = output.predictions, images.targets
    links = find_links(TASKS, images, per_image_mean=True)
    loss: CrossTaskLoss = net.loss
    embedded = loss.embed(links, Inputs(output.predictions, images))
    sizes = {"B": 2, "n": 2, "H": 32, "W": 64, "D": 64, "h": 1, "w": 2, "P": 6}
    norms = [m for m in net.mapping.stages.modules() if isinstance(m, PairNorm)]
    values = {  # code name -> (shape, sizes that differ between tasks and layers)
        "Batch.images": [(images.images.shape, {})],
        "Output.predictions": [(maps[t.name].shape, {"O": t.channels}) for t in TASKS],
        "Inputs.label": [(inputs.label(t, (0, 1)).shape, {"O": t.channels}) for t in TASKS],
        "Output.bottleneck": [(output.bottleneck.shape, {})],
        "Batch.labeled": [(m.shape, {}) for m in images.labeled.values()],
        "Task.loss": [
            (t.loss(maps[t.name], labels[t.name], images.mask(t.name)).shape, {}) for t in TASKS
        ],
        "Link.shares": [((len(link.shares),), {}) for link in links],
        "CrossTaskLoss.embed": [(m.shape, {}) for pair in embedded for m in pair],
        "loss.cosine_distance": [(cross_task.cosine_distance(*embedded[0]).shape, {})],
        "PairNorm.gamma": [(m.gamma.shape, {"M": m.num_features}) for m in norms],
        "PairNorm.beta": [(m.beta.shape, {"M": m.num_features}) for m in norms],
    }  # fmt: skip
    assert set(values) == {term.code for term in PAPERS["xtc"].terms if term.shape}
    for term in PAPERS["xtc"].terms:
        for shape, own in values.get(term.code, ()):
            known = sizes | own
            expected = [known[s] if s in known else int(s) for s in term.shape.split()]
            assert list(shape) == expected, term.code
    assert isinstance(net.mapping, MappingNet) and len(net.mapping.pairs) == 6


def test_every_symbol_of_rdc_has_the_shape_it_is_said_to_have() -> None:
    torch.manual_seed(0)
    net = build_method("rdc", TASKS, "segnet", 0.125, {"pools": 1, "min_pixels": 2})
    images = _batch()
    loss: RegionContrastLoss = net.loss
    predictions = net.net(images.images).predictions
    links = find_links(TASKS, images)
    maps = loss.embed(links, Inputs(predictions, images))
    ids = torch.cat([loss.region_ids(link, images, (16, 32)) for link in links])
    regions = gaussians.find_regions(ids)
    p, k = (loss.describe(m, regions)[regions.image == 0] for m in maps)
    every = p[:, None], k[None]
    sizes = {"B": 2, "N": 12, "H": 32, "W": 64, "D": 8, "h": 16, "w": 32, "M": 8, "R": 96, "n": 72}
    values = {
        "Batch.images": [images.images],
        "Batch.regions": [images.regions],
        "RegionContrastLoss.embed": maps,
        "RegionContrastLoss.describe": [loss.describe(m, regions) for m in maps],
        "RegionContrastLoss.similarity": [loss.similarity(*every)],
        "gaussians.wasserstein": [gaussians.wasserstein(*every)],
    }
    assert set(values) == {term.code for term in PAPERS["rdc"].terms if term.shape}
    for term in PAPERS["rdc"].terms:
        for value in values.get(term.code, ()):
            expected = [sizes[s] if s in sizes else int(s) for s in term.shape.split()]
            assert list(value.shape) == expected, term.code


def _batch() -> batch.Batch:
    images = torch.rand(2, 3, 32, 64)
    direction = torch.nn.functional.normalize(images - 0.5, dim=1)
    targets = {"semseg": images[:, :1].long(), "depth": 1 + images[:, :1], "normals": direction}
    shown = {t.name: torch.ones(2, 1, 32, 64, dtype=torch.bool) for t in TASKS}
    labeled = {t.name: torch.ones(2, dtype=torch.bool) for t in TASKS}
    regions = (torch.arange(64) // 8).expand(2, 1, 32, 64)
    return batch.Batch(images, targets, shown, labeled, torch.arange(2), regions=regions)


@pytest.mark.parametrize(
    "paper, name",
    [
        ("xtc", "20_xtc_method"),
        ("hitts", "10_hitts_method"),
        ("rdc", "30_rdc_method"),
        ("tpkr", "40_tpkr_method"),
    ],
)
def test_the_notebook_checks_each_equation_in_a_cell(paper: str, name: str) -> None:
    tree = ast.parse((NOTEBOOKS / f"{name}.py").read_text())
    calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert {"find_equations", "show_terms"} <= calls
    called = {name.split(".")[-1] for name in calls}
    walked = [EXPECTED[paper][n] for n in range(1, WALKED[paper] + 1)]
    computed_by = {f.split(".")[-1] for names in walked for f in names}
    # Reached through trace, training_step and decode.
    inside = {"forward", "learn_inter_task", "mixture", "pseudo", "feature_terms", "expectation"}
    assert computed_by - inside <= called
