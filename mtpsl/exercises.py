"""The exercises edition: the method notebooks without solutions and outputs (``make exercises``).

The copies in ``notebooks/exercises/`` belong to whoever writes answers into them, so one that is
there already stays as it is; delete it to get a fresh one.
"""

import re
import sys
from pathlib import Path
from typing import Any

from mtpsl.places import checkout
from mtpsl.reproduce import select

SOLUTION = re.compile(r"<details><summary>Solutions?</summary>.*?</details>", re.DOTALL)
LINK = re.compile(r"\]\((?=[\w./-]+\.(?:ipynb|md|png|py)\b)")  # of another file
YOURS = "*Your answer:*"


def without_solutions(source: Path) -> Any:
    """The notebook, not run, with ``YOURS`` for each folded solution; links lead one folder up."""
    import jupytext

    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub("](../", SOLUTION.sub(YOURS, cell.source))
    notebook.metadata.pop("jupytext", None)  # a copy is nobody's source
    return notebook


def write_exercises(root: Path) -> dict[Path, bool]:
    """Writes the edition; returns for each notebook whether it is new."""
    import jupytext

    folder, written = root / "notebooks" / "exercises", {}
    folder.mkdir(exist_ok=True)
    for source in select(root, "_method"):
        target = folder / f"{source.stem}.ipynb"
        written[target] = not target.exists()
        if written[target]:
            jupytext.write(without_solutions(source), target)
    return written


def main() -> int:
    """Writes the edition of this checkout and says which notebooks are new."""
    for path, new in write_exercises(root := checkout()).items():
        print(f"{path.relative_to(root)}: {'written' if new else 'kept, with what is in it'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
