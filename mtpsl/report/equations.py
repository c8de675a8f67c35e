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

from mtpsl import papers

PACKAGE = Path(__file__).parents[1]
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
        paper: A key of ``papers.PAPERS``.
    """
    places = [
        p
        for file in papers.PAPERS[paper].equation_files
        for p in scan(file, (PACKAGE / file).read_text())
    ]
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
    numbers = []
    for text in texts:
        for first, last in re.findall(r"(\d+)\)?(?: to \(?(\d+))?", text):
            numbers += range(int(first), int(last or first) + 1)
    return numbers


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
