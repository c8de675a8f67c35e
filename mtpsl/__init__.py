# ruff: noqa: F401
"""Multi-task dense prediction from partially labeled data: four papers, one protocol.

Every name below comes lazily from the module that defines it: ``import mtpsl`` imports nothing.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # editors and type checkers import these at once, ``__getattr__`` one by one
    from mtpsl import losses, metrics
    from mtpsl.batch import Batch, Discovered
    from mtpsl.boundary import Boundary
    from mtpsl.data import open_dataset
    from mtpsl.data.dataset import EvalLoader, TrainLoader
    from mtpsl.data.labels import PartialLabels, assign
    from mtpsl.engine import evaluate, fit
    from mtpsl.losses import balanced_bce, cosine, cross_entropy, l1
    from mtpsl.methods.base import Method, supervised_terms
    from mtpsl.methods.baselines import MTAN, SemiSupervised, Supervised
    from mtpsl.metrics import (
        ConfusionMatrix,
        DepthErrors,
        NormalErrors,
        PartsConfusion,
        Saliency,
        delta_mtl,
    )
    from mtpsl.models import Backbone, Encoder, build_backbone
    from mtpsl.papers import build_method
    from mtpsl.papers.hitts.method import HiTTs, MixtureLoss
    from mtpsl.papers.hitts.tokens import TaskTokens
    from mtpsl.papers.rdc.loss import RegionContrastLoss
    from mtpsl.papers.rdc.method import RDC
    from mtpsl.papers.tpkr.loss import TaskPrototypes
    from mtpsl.papers.tpkr.method import TPKR
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
    from mtpsl.training import Optimization, Selection
    from mtpsl.weighting import build_weighting

__version__ = "0.1.0"

NUMERICS = 2
"""Version of everything in this package that decides a number; part of every run's key.

Raise it with any change that alters a trained weight or a metric. ``tests/test_tables.py``
holds golden losses of every method and fails when they move while this number stands still.
"""

_source = ast.parse(Path(__file__).read_text(encoding="utf-8"))
_imports = next(node for node in _source.body if isinstance(node, ast.If)).body
_MODULE_OF = {alias.name: node.module for node in _imports for alias in node.names}

__all__ = ["NUMERICS", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if module := _MODULE_OF.get(name):
        if module == __name__:  # a submodule
            return import_module(f"{module}.{name}")
        value = getattr(import_module(module), name)
        globals()[name] = value  # the next look finds it without this function
        return value
    from mtpsl.registry import suggest

    raise AttributeError(f"module 'mtpsl' has no attribute {suggest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
