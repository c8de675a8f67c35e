"""Registers are literal dicts; this is how every one of them is asked."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

Entry = TypeVar("Entry")


def look_up(what: str, name: str, register: Mapping[str, Entry]) -> Entry:
    """Returns the entry of that name.

    Args:
        what: What kind of name it is, for the message: "method", "profile".
        name: What a user asked for.
        register: Name -> entry.

    Raises:
        ValueError: If there is no such entry, suggesting the nearest.
    """
    if name not in register:
        raise ValueError(f"{what}: expected one of {list(register)}, got {suggest(name, register)}")
    return register[name]


def require_known(what: str, function: Callable[..., Any], args: Mapping[str, Any]) -> None:
    """Refuses keyword arguments that a function or class does not have.

    Args:
        what: The mapping's name, for the message: "method_args".
        function: What will be called with them.
        args: Name -> value; what must come by position is not known by name.

    Raises:
        ValueError: If one is unknown, suggesting the nearest.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for name in args:
        if name not in known:
            raise ValueError(f"{what}: expected some of {known}, got {suggest(name, known)}")


def suggest(name: str, known: Iterable[str]) -> str:
    """The name in quotes, and the known one that is nearest if any is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"{name!r}; did you mean {near[0]!r}?" if near else repr(name)
