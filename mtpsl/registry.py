"""Registers are literal dicts; this is how every one of them is asked."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


def look_up(what: str, name: str, register: Mapping[str, Entry]) -> Entry:
    """The entry of that name.

    Args:
        what: Of what it is the name, for the message: "method", "profile".
        name: What a user asked for.
        register: Name -> entry.

    Raises:
        ValueError: If there is no such entry, suggesting the nearest.
    """
    if name not in register:
        near = difflib.get_close_matches(name, register, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{what}: expected one of {list(register)}, got {name!r}{hint}")
    return register[name]
