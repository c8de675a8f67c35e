# ruff: noqa: F401
"""Multi-task dense prediction from partially labeled data: four papers, one protocol.

Every name below comes lazily from the module that defines it: ``import mtpsl`` imports nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; ``_HOMES`` says the same at run time
    from mtpsl import losses, metrics
    from mtpsl.batch import Batch, Discovered
    from mtpsl.boundary import Boundary
    from mtpsl.data import open_dataset
    from mtpsl.data.labels import PartialLabels, assign
    from mtpsl.data.loader import EvalLoader, TrainLoader
    from mtpsl.engine import evaluate, fit
    from mtpsl.losses import balanced_bce, cosine, cross_entropy, l1
    from mtpsl.methods.base import Method, supervised_terms
    from mtpsl.methods.mtan import MTAN
    from mtpsl.methods.semi_supervised import SemiSupervised
    from mtpsl.methods.supervised import Supervised
    from mtpsl.metrics import (
        ConfusionMatrix,
        DepthErrors,
        NormalErrors,
        PartsConfusion,
        Saliency,
        delta_mtl,
    )
    from mtpsl.models import Backbone, Encoder, build_backbone
    from mtpsl.optimization import Optimization
    from mtpsl.papers import build_method
    from mtpsl.papers.hitts.method import HiTTs, MixtureLoss
    from mtpsl.papers.hitts.tokens import TaskTokens
    from mtpsl.papers.xtc.loss import CrossTaskLoss
    from mtpsl.papers.xtc.method import XTC
    from mtpsl.tasks import (
        Task,
        TaskSet,
        depth,
        edges,
        human_parts,
        inverse_depth,
        normals,
        saliency,
        semseg,
    )
    from mtpsl.training_state import Selection
    from mtpsl.weighting import build_weighting

__version__ = "0.1.0"

NUMERICS = 1
"""Version of everything in this package that decides a number; part of every run's key.

Raise it with any change that alters a trained weight or a metric. ``tests/test_tables.py``
holds golden losses of every method and fails when they move while this number stands still.
"""

_HOMES = {  # module -> the names it hands out here
    "batch": ("Batch", "Discovered"),
    "boundary": ("Boundary",),
    "data": ("open_dataset",),
    "data.labels": ("PartialLabels", "assign"),
    "data.loader": ("EvalLoader", "TrainLoader"),
    "engine": ("evaluate", "fit"),
    "losses": ("balanced_bce", "cosine", "cross_entropy", "l1"),
    "methods.base": ("Method", "supervised_terms"),
    "methods.mtan": ("MTAN",),
    "methods.semi_supervised": ("SemiSupervised",),
    "methods.supervised": ("Supervised",),
    "metrics": (
        *("ConfusionMatrix", "DepthErrors", "NormalErrors", "PartsConfusion", "Saliency"),
        "delta_mtl",
    ),
    "models": ("Backbone", "Encoder", "build_backbone"),
    "optimization": ("Optimization",),
    "papers": ("build_method",),
    "papers.hitts.method": ("HiTTs", "MixtureLoss"),
    "papers.hitts.tokens": ("TaskTokens",),
    "papers.xtc.loss": ("CrossTaskLoss",),
    "papers.xtc.method": ("XTC",),
    "tasks": (
        *("Task", "TaskSet", "depth", "edges", "human_parts", "inverse_depth", "normals"),
        *("saliency", "semseg"),
    ),
    "training_state": ("Selection",),
    "weighting": ("build_weighting",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["NUMERICS", "losses", "metrics", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name in ("losses", "metrics"):
        return import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value  # the next look finds it without this function
        return value
    from difflib import get_close_matches

    near = get_close_matches(name, __all__, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"module 'mtpsl' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
