"""A paper's symbols and equations in this package's words, and where each is computed.

The places are read from the source, so nobody has to keep a list: a statement that computes
equation n ends in the comment ``# Eq. (n)``, and a function that is the equation as a whole says
``[Eq. n]`` in the first line of its docstring.
"""

import ast
import re
import tokenize
from collections.abc import Iterable, Iterator
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


_SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def find_equations(paper: str) -> list[Place]:
    """Every marked place of a paper, by equation and then as the paper's files list them.

    Args:
        paper: A key of ``papers.PAPERS``.
    """
    files = papers.PAPERS[paper].equation_files
    places = [place for file in files for place in scan(file, (PACKAGE / file).read_text())]
    return sorted(places, key=lambda place: place.equation)


def scan(file: str, source: str) -> list[Place]:
    """The marked places of one file, in the order of its lines."""
    tree = ast.parse(source)
    functions = dict(_functions(tree))
    statements = [node for node in ast.walk(tree) if isinstance(node, _SIMPLE)]
    places = []
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type != tokenize.COMMENT or not _COMMENT.search(token.string):
            continue
        line, comment = token.start[0], token.string.lstrip("# ")
        statement, inside = _innermost(line, statements), _innermost(line, functions)
        code = ast.unparse(statement) if statement else ""
        if not comment.startswith("Eq."):  # says what the equation has to do with the line
            code = f"{code}  # {comment}"
        for number in _numbers(_COMMENT.findall(comment)):
            places.append(Place(number, file, line, functions.get(inside, ""), code))
    marked = {(place.equation, place.function) for place in places}
    for node, name in functions.items():
        first = (ast.get_docstring(node) or "").split("\n")[0]
        for number in _numbers(_BRACKET.findall(first)):
            if (number, name) not in marked:
                places.append(Place(number, file, node.lineno, name, first))
    return sorted(places, key=lambda place: place.line)


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Every function with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        below = prefix
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            below = f"{prefix}{node.name}."
        if isinstance(node, _FUNCTION):
            yield node, f"{prefix}{node.name}"
        yield from _functions(node, below)


def _innermost(line: int, nodes: Iterable[ast.AST]) -> ast.AST | None:
    """The shortest of the nodes that the line is part of."""
    around = [n for n in nodes if n.lineno <= line <= n.end_lineno]
    return min(around, key=lambda n: n.end_lineno - n.lineno, default=None)


def _numbers(texts: Iterable[str]) -> list[int]:
    """["1, 2", "11 to 13"] -> [1, 2, 11, 12, 13]."""
    spans = [span for text in texts for span in re.findall(r"(\d+)\)?(?: to \(?(\d+))?", text)]
    return [n for first, last in spans for n in range(int(first), int(last or first) + 1)]


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
