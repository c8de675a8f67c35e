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


def with_options_of(
    other: Callable[..., Any],
) -> Callable[[Callable[..., Entry]], Callable[..., Entry]]:
    """Decorates what passes its ``**options`` on to another: its signature names them all.

    So help and ``require_known`` know every option.
    """

    def decorate(cls: Callable[..., Entry]) -> Callable[..., Entry]:
        own, more = (list(inspect.signature(x).parameters.values()) for x in (cls, other))
        named = [p for p in own if p.kind is not p.VAR_KEYWORD]
        options = [p for p in more if p.kind is p.KEYWORD_ONLY]
        cls.__signature__ = inspect.Signature([*named, *options])
        return cls

    return decorate


def suggest(name: str, known: Iterable[str]) -> str:
    """The name in quotes, and the known one that is nearest if any is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"{name!r}; did you mean {near[0]!r}?" if near else repr(name)
