"""The papers, a folder each: the only list of them.

A paper is a package with one ``PAPER`` value and, where they are needed, modules of these names:
``tables`` with ``TABLES`` and ``COSTS``, ``figures`` with ``FIGURES``, ``printed`` with ``audit``.
Whatever lists, runs, renders, audits or draws loops over ``PAPERS``; deleting a folder and its name
below deletes the paper.

Folders named in the environment variable ``MTPSL_PAPERS`` are searched for further papers, so that
one of your own needs no place in this package.
"""

import functools
import os
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mtpsl.registry import look_up, require_known

if TYPE_CHECKING:
    from mtpsl.methods import Method
    from mtpsl.models import Backbone
    from mtpsl.report.equations import Term
    from mtpsl.report.figure import Figure
    from mtpsl.report.tables import Table
    from mtpsl.tasks import TaskSet

NAMES = ("xtc", "hitts", "rdc", "tpkr", "companion")  # an earlier one is never built on a later one


def _part(module: str, name: str, missing: Any, doc: str) -> property:
    """A value of one of a paper's modules, where it has that module."""

    def read(self: "Paper") -> Any:
        full = f"{__name__}.{self.name}.{module}"
        return getattr(import_module(full), name, missing) if find_spec(full) else missing

    return property(read, doc=doc)


@dataclass(frozen=True, kw_only=True)
class Paper:
    """What the rest of the package knows of a paper. Its modules are imported when asked for."""

    name: str  # of its folder, and of its place below ``figures/``
    key: str  # how texts cite it: "XTC"; empty for tables of our own
    title: str
    citation: str = ""
    methods: Mapping[str, str] = field(default_factory=dict)  # name -> "module.Class" in its folder
    backbones: Mapping[str, str] = field(default_factory=dict)  # likewise
    symbols: tuple[tuple[str, str, str, str], ...] = ()  # fields of ``report.equations.Term``
    equation_files: tuple[str, ...] = ()  # files of the package that its equations are in

    def method(self, name: str) -> "type[Method]":
        """The class of a method of this paper."""
        return self._find(self.methods[name])

    def backbone(self, name: str) -> "Callable[..., Backbone]":
        """The class of a backbone of this paper."""
        return self._find(self.backbones[name])

    def _find(self, place: str) -> Any:
        """What stands at ``"module.Class"`` in its folder."""
        module, _, cls = place.rpartition(".")
        return getattr(import_module(f"{__name__}.{self.name}.{module}"), cls)

    tables = _part("tables", "TABLES", {}, "Name -> table, such as ``table1``.")
    costs = _part("tables", "COSTS", (), "Rows whose costs are counted beside those of its tables.")
    figures = _part("figures", "FIGURES", (), "Its figures (``report.figure``).")
    audit = _part("printed", "audit", None, "Recomputes its printed numbers (``report.audit``).")

    @property
    def terms(self) -> "tuple[Term, ...]":
        """Its symbols in this package's words, in the order of its equations."""
        from mtpsl.report.equations import Term

        return tuple(Term(*symbol) for symbol in self.symbols)


def _load() -> dict[str, Paper]:
    folders = [f for f in os.environ.get("MTPSL_PAPERS", "").split(os.pathsep) if f]
    __path__.extend(folders)
    names = [*NAMES, *(m.name for m in pkgutil.iter_modules(folders) if m.name not in NAMES)]
    return {name: import_module(f"{__name__}.{name}").PAPER for name in names}


@functools.cache
def tables() -> "dict[str, Table]":
    """Every table of the project, by ``paper/table``."""
    return {f"{p.name}/{name}": t for p in PAPERS.values() for name, t in p.tables.items()}


@functools.cache
def figures() -> "dict[str, Figure]":
    """Every figure of the project, by ``paper/figure``."""
    return {figure.key: figure for p in PAPERS.values() for figure in p.figures}


def methods() -> "dict[str, type[Method]]":
    """Every method by name: those that belong to no paper, then each paper's."""
    from mtpsl.methods import METHODS

    return METHODS | {name: p.method(name) for p in PAPERS.values() for name in p.methods}


def method_class(name: str) -> "type[Method]":
    """The class of a method; imports no other paper's.

    Raises:
        ValueError: If there is none of that name, suggesting the nearest.
    """
    from mtpsl.methods import METHODS

    papers = {method: paper for paper in PAPERS.values() for method in paper.methods}
    known = look_up("method", name, METHODS | papers)
    return known.method(name) if isinstance(known, Paper) else known


def backbone_builder(name: str) -> "Callable[..., Backbone]":
    """What builds a backbone, of ``models.BACKBONES`` or of a paper; called with a width factor.

    Raises:
        ValueError: If there is none of that name, suggesting the nearest.
    """
    from mtpsl.models import BACKBONES

    papers = {backbone: paper for paper in PAPERS.values() for backbone in paper.backbones}
    known = look_up("backbone", name, BACKBONES | papers)
    return known.backbone(name) if isinstance(known, Paper) else known


def build_method(
    name: str,
    tasks: "TaskSet",
    backbone: "str | Backbone" = "segnet",
    width_factor: float = 1.0,
    method_args: Mapping[str, Any] | None = None,
    backbone_args: Mapping[str, Any] | None = None,
) -> "Method":
    """A method on a fresh backbone; random weights come from torch's global generator.

    Args:
        name: Of a method (``methods``).
        tasks: The tasks it learns.
        backbone: A key of ``models.BACKBONES`` or of a paper's, or one that is built already.
        width_factor: Scales the backbone's channels.
        method_args: Keyword arguments of the method's constructor.
        backbone_args: Further keyword arguments of the backbone's, such as ``weights``.

    Raises:
        ValueError: If there is no method or backbone of that name, or it does not know an
            argument, suggesting the nearest.
    """
    method = method_class(name)
    require_known("method_args", method, method_args or {})
    if isinstance(backbone, str):
        build = backbone_builder(backbone)
        require_known("backbone_args", build, backbone_args or {})
        backbone = build(width_factor, **dict(backbone_args or {}))
    return method(tasks, backbone, **dict(method_args or {}))


PAPERS = _load()
