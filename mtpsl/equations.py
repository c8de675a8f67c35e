"""A paper's symbols and equations in this package's words, and where each is computed.

The places are read from the source, so nobody has to keep a list: a statement that computes
equation n ends in the comment ``# Eq. (n)``, and a function that is the equation as a whole says
``[Eq. n]`` in the first line of its docstring.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

PACKAGE = Path(__file__).parent
FILES: dict[str, tuple[str, ...]] = {
    "xtc": ("methods/base.py", "methods/cross_task.py", "methods/consistency.py"),
    "hitts": (
        "methods/hitts.py",
        "methods/hitts_scales.py",
        "methods/quantize.py",
        "metrics.py",
    ),
}
"""Paper -> the files of the package that its equations are in."""

_COMMENT = re.compile(r"Eq\. \(\d+\)(?:, \(\d+\))*")
_BRACKET = re.compile(r"\[(?:[^\[\]]*, )?Eq\. (\d+(?:(?:, | to )\d+)*)\]")


@dataclass(frozen=True, order=True)
class Place:
    """Where an equation is computed."""

    equation: int
    file: str  # relative to the package
    line: int
    function: str  # "HiTTs.trace", as it is called inside its file
    code: str  # the statement, or the docstring's first line where the whole function is meant


def find_equations(paper: str) -> list[Place]:
    """Every marked place of a paper, by equation and then as the paper's files list them.

    Args:
        paper: A key of ``FILES``.
    """
    places = [p for file in FILES[paper] for p in scan(file, (PACKAGE / file).read_text())]
    return sorted(places, key=lambda place: place.equation)


def scan(file: str, source: str) -> list[Place]:
    """The marked places of one file, in the order of its lines."""
    tree = ast.parse(source)
    functions = dict(_functions(tree))
    places = []
    for line, comment in _comments(source):
        statement = _innermost(line, (n for n in ast.walk(tree) if isinstance(n, _SIMPLE)))
        inside = _innermost(line, functions)
        for number in _numbers(_COMMENT.findall(comment)):
            code = ast.unparse(statement) if statement else ""
            if not comment.startswith("Eq."):  # says what the equation has to do with the line
                code = f"{code}  # {comment}"
            places.append(Place(number, file, line, functions.get(inside, ""), code))
    marked = {(place.equation, place.function) for place in places}
    for node, name in functions.items():
        first = (ast.get_docstring(node) or "").split("\n")[0]
        for number in _numbers(_BRACKET.findall(first)):
            if (number, name) not in marked:
                places.append(Place(number, file, node.lineno, name, first))
    return sorted(places, key=lambda place: place.line)


_SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the comments that name an equation."""
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.COMMENT and _COMMENT.search(token.string):
            yield token.start[0], token.string.lstrip("# ")


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[_Function, str]]:
    """Every function with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _Function | ast.ClassDef):
            name = f"{prefix}{node.name}"
            if isinstance(node, _Function):
                yield node, name
            yield from _functions(node, f"{name}.")
        else:
            yield from _functions(node, prefix)


def _innermost(line: int, nodes) -> ast.AST | None:
    """The shortest of the nodes that the line is part of."""
    around = [n for n in nodes if n.lineno <= line <= n.end_lineno]
    return min(around, key=lambda n: n.end_lineno - n.lineno, default=None)


def _numbers(texts: list[str]) -> list[int]:
    """["1, 2", "11 to 13"] -> [1, 2, 11, 12, 13]."""
    found = []
    for text in texts:
        for first, last in re.findall(r"(\d+)\)?(?: to \(?(\d+))?", text):
            found += range(int(first), int(last or first) + 1)
    return found


# ------------------------------------------------------------------- symbols


@dataclass(frozen=True)
class Term:
    """A symbol of a paper and what it is called here."""

    symbol: str  # HTML
    code: str  # "Trace.affinity": an attribute, or what a function returns
    shape: str  # sizes by name; "" for a number or a choice
    where: str  # equation or section of the paper

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Cells for ``notebook.show_terms``."""
        shape = re.sub(r"_(\w)", r"<sub>\1</sub>", self.shape.replace(" ", " × "))
        return self.symbol, f"<code>{self.code}</code>", shape or "–", self.where


TERMS: dict[str, tuple[Term, ...]] = {
    "xtc": (
        Term("x", "Batch.images", "B 3 H W", "Sec. 3.1"),
        Term("ŷ<sup>t</sup>(x)", "Output.predictions", "B O H W", "Sec. 3.1"),
        Term("y<sup>t</sup>", "Inputs.label", "n O H W", "Sec. 3.1"),
        Term("f<sub>φ</sub>(x)", "Output.bottleneck", "B D h w", "Sec. 3.1, Eq. 4"),
        Term("t ∈ 𝒯<sub>n</sub>", "Batch.labeled", "B", "Eq. 1"),
        Term("L<sup>t</sup>", "Task.loss", "B", "Eq. 1"),
        Term("e<sub>r</sub>", "consistency.crop_predictions", "", "Eq. 2"),
        Term("L<sub>u</sub>", "SemiSupervised.consistency", "", "Eq. 2"),
        Term("s ∈ 𝒰<sub>n</sub>, t ∈ 𝒯<sub>n</sub>", "Link.rows", "", "Eq. 3"),
        Term("1 / |𝒰<sub>n</sub>|", "cross_task.source_weights", "B", "Eq. 3"),
        Term(
            "m<sup>s→st</sup>(ŷ<sup>s</sup>), m<sup>t→st</sup>(y<sup>t</sup>)",
            "XTC.embed",
            "n D h w",
            "Eq. 3",
        ),
        Term("L<sub>ct</sub>", "cross_task.cosine_distance", "n", "Eq. 3"),
        Term("m̃<sub>ϑ</sub>", "XTC.mapping", "", "Sec. 3.2"),
        Term("A", "MappingNet.pairs", "", "Sec. 3.2"),
        Term("a<sup>c</sup><sub>i</sub>", "PairNorm.gamma", "P M", "Sec. 3.2"),
        Term("a<sup>b</sup><sub>i</sub>", "PairNorm.beta", "P M", "Sec. 3.2"),
        Term("R", "XTC.consistency", "", "Eq. 4"),
    ),
    "hitts": (
        Term("X", "Batch.images", "B 3 H W", "Sec. 3.1"),
        Term("F<sub>s</sub>", "Features.decoder", "B C H W", "Sec. 3.1"),
        Term("Θ = [θ<sub>1</sub>; …; θ<sub>T</sub>]", "HiTTs.theta", "T C", "Sec. 3.1"),
        Term("A", "Trace.affinity", "B T T", "Eq. 1"),
        Term("θ′<sub>i</sub>", "Trace.global_tokens", "B C", "Eq. 2"),
        Term("F′<sub>i</sub>", "Trace.task_features", "B C h w", "Eq. 2"),
        Term("W<sub>i</sub><sup>o</sup>", "HiTTs.embed", "C C_p", "Eq. 3"),
        Term("φ<sub>i</sub>", "Trace.fine_tokens", "B C_p C", "Eq. 3"),
        Term("G<sub>i</sub>", "Trace.fine_features", "B C_p H W", "Sec. 3.2"),
        Term("Softplus(φ<sub>i</sub> × ·)", "Trace.scores", "B C_p H W", "Eq. 4"),
        Term("G′<sub>i</sub>", "Trace.refined", "B C_p H W", "Eq. 4"),
        Term("α<sub>i</sub>", "Batch.labeled", "B", "Eq. 5"),
        Term("Y<sub>i</sub>", "Batch.targets", "B D H W", "Eq. 5"),
        Term("F̃<sub>i</sub>", "Discovered.features", "B C h w", "Eq. 6"),
        Term("M<sub>i</sub><sup>f</sup>", "Discovered.confidence", "B 1 h w", "Eq. 6"),
        Term("Ỹ<sub>i</sub>", "Discovered.targets", "B D H W", "Eq. 7"),
        Term("M<sub>i</sub><sup>p</sup>", "Discovered.valid", "B 1 H W", "Eq. 7"),
        Term("τ<sub>i</sub>", "Experiment.thresholds", "", "Sec. 3.3"),
        Term(
            "L<sub>s</sub>, L<sub>p</sub>, L<sub>f</sub>", "HiTTs.training_step", "", "Eq. 5 to 8"
        ),
        Term("Δ<sub>MTL</sub>", "metrics.delta_mtl", "", "Eq. 9"),
        Term("c<sub>i</sub>", "Centers.centers", "C_p D", "Eq. 10"),
        Term("Ŷ<sub>i</sub>", "Trace.predictions", "B D H W", "Eq. 10"),
        Term("λ<sub>i</sub>", "HiTTs.regression_weight", "", "Eq. 13"),
        Term("F<sub>s</sub><sup>(j)</sup>", "Features.stages", "B C_j H_j W_j", "App. A.2"),
        Term("W<sub>i</sub><sup>s→m(j)</sup>", "MultiScaleTokens.split", "C_j C", "Eq. 14"),
        Term("Θ<sup>(j)</sup>", "MultiScaleTokens.split_tokens", "T C_j", "Eq. 14, 16"),
        Term("ℱ′<sup>(j)</sup>, Θ′<sup>(j)</sup>", "Scale.forward", "", "Eq. 15, 16"),
        Term("Conv<sub>i</sub><sup>1×1</sup>", "MultiScaleTokens.fuse", "", "Eq. 17"),
        Term("W<sub>i</sub><sup>m→s(j)</sup>", "MultiScaleTokens.merge", "C C_j", "Eq. 18"),
    ),
}
"""Paper -> its symbols in the order of its equations."""
