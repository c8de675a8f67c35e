"""The exercises edition of a method notebook is the notebook itself, less its solutions."""

import difflib
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from mtpsl.exercises import YOURS, without_solutions, write_exercises
from mtpsl.reproduce import select

ROOT = Path(__file__).parents[1]
SOURCES = select(ROOT, "_method")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_solutions_are_all_that_is_missing(source: Path) -> None:
    whole, stripped = jupytext.read(source).cells, without_solutions(source).cells
    assert [c.cell_type for c in whole] == [c.cell_type for c in stripped]
    taken = 0
    for before, after in zip(whole, stripped, strict=True):
        assert before.metadata == after.metadata and not after.get("outputs")
        back = after.source.replace("](../", "](") if "](../" not in before.source else after.source
        lines = difflib.ndiff(before.source.splitlines(), back.splitlines())
        lines = [line for line in lines if line[0] in "+-"]
        if not lines:
            continue
        taken += 1
        assert before.cell_type == "markdown"
        folded = False
        for line in (line[2:] for line in lines if line[0] == "-"):
            folded |= line.startswith("<details><summary>Solution")
            assert folded, f"not part of a solution: {line}"
            folded &= line != "</details>"
        assert {line[2:] for line in lines if line[0] == "+"} == {YOURS}
    assert taken and not any("Solution" in c.source for c in stripped if c.cell_type == "markdown")


def test_every_folded_answer_of_the_method_notebooks_is_found() -> None:
    """A solution under another heading would stay in the edition."""
    known = {"Solution", "Solutions"}
    for source in SOURCES:
        cells = [c.source for c in jupytext.read(source).cells if c.cell_type == "markdown"]
        headings = re.findall(r"<summary>(.*?)</summary>", "\n".join(cells))
        answers = {h for h in headings if re.search("solution|answer", h, re.IGNORECASE)}
        assert answers <= known and answers, f"{source.name}: {answers}"


def test_is_written_beside_the_notebooks_and_never_over_answers(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks" / "src"
    folder.mkdir(parents=True)
    text = "# %% [markdown]\n# See [that](00_tour.ipynb) and [this](https://a.b/c.md).\n#\n"
    text += "# <details><summary>Solution</summary>\n#\n# 42\n#\n# </details>\n#\n# End\n"
    (folder / "10_a_method.py").write_text(text)
    (folder / "11_a_tables.py").write_text(text)
    (target,) = write_exercises(tmp_path)
    assert target == folder.parent / "exercises" / "10_a_method.ipynb"
    (cell,) = nbformat.read(target, as_version=4).cells
    assert cell.source == (
        f"See [that](../00_tour.ipynb) and [this](https://a.b/c.md).\n\n{YOURS}\n\nEnd"
    )
    target.write_text("my answers")
    assert write_exercises(tmp_path) == {target: False}
    assert target.read_text() == "my answers"
