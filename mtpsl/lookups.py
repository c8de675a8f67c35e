"""Tables by the names that people give them."""

from typing import TYPE_CHECKING

from mtpsl import papers
from mtpsl.places import UsageError, nearest

if TYPE_CHECKING:
    from mtpsl.report.tables import Table


def choose_table(name: str) -> "Table":
    """By ``paper/table``, or by the table's own name where only one paper has it."""
    known = papers.tables()
    fitting = [full for full in known if name in (full, full.partition("/")[2])]
    if len(fitting) > 1:
        raise UsageError(f"table: expected one paper's, got {name!r}; say {' or '.join(fitting)}")
    if not fitting:
        raise unknown_table("table: expected one", name)
    return known[fitting[0]]


def choose_tables(only: str) -> list["Table"]:
    """Those whose name contains one of the comma-separated parts; all without any."""
    known, parts = papers.tables(), only.replace(",", " ").split()
    for part in parts:
        if not any(part in name for name in known):
            raise unknown_table("--only: expected a part of one", part)
    return [t for name, t in known.items() if not parts or any(part in name for part in parts)]


def unknown_table(expected: str, name: str) -> UsageError:
    """What to raise where no table is called so; suggests the nearest, or names all of them."""
    known = papers.tables()
    hint = nearest(name, [*known, *(full.partition("/")[2] for full in known)])
    known = "that `mtpsl list` names" if hint else f"of {list(known)}"
    return UsageError(f"{expected} {known}, got {name!r}{hint}")
