"""Registers are literal dicts; this is how every one of them is asked."""

import difflib
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Range:
    """Which numbers an annotation means: ``Annotated[float, Range(0, 1)]``; ends included."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False  # ``least`` itself is left out

    def __contains__(self, number: float) -> bool:
        return self.least <= number <= self.most and not (self.above and number == self.least)

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"{'above' if self.above else 'from'} {self.least:g} to {self.most:g}"
        return f"above {self.least:g}" if self.above else f"at least {self.least:g}"


Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Share = Annotated[float, Range(0, 1)]
NonNegative = Annotated[float, Range(0)]
AboveZero = Annotated[float, Range(0, above=True)]


def fits(value: Any, hint: Any) -> bool:
    """Whether a value, as JSON or Python gives it, is what an annotation says.

    A boolean is no number, NaN and infinity are none either, and a whole number is a ``float``.
    """
    kind, args = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return fits(value, args[0]) and all(value in limits for limits in args[1:])
    if kind in (Union, UnionType):
        return any(fits(value, one) for one in args)
    if kind is Literal:
        return any(type(value) is type(one) and value == one for one in args)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(
            fits(k, args[0]) and fits(v, args[1]) for k, v in value.items()
        )
    if isinstance(kind, type) and issubclass(kind, Sequence):
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        sized = kind is not tuple or ... in args or (listed and len(value) == len(args))
        return listed and sized and all(fits(item, args[0]) for item in value)
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max
    if hint in (int, bool):
        return type(value) is hint
    if hint in (None, Any, inspect.Parameter.empty) or not isinstance(hint, type):
        return hint is not None or value is None  # what says nothing takes all
    return isinstance(value, hint)


_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}


def in_words(hint: Any) -> str:
    """An annotation for people, such as "a whole number, at least 1"."""
    kind, args = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return ", ".join([in_words(args[0]), *map(str, args[1:])])
    if kind in (Union, UnionType):
        return " or ".join(in_words(one) for one in args)
    if kind is Literal:
        return f"one of {', '.join(map(repr, args))}" if len(args) > 1 else repr(args[0])
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "an object" + ("" if args[1] is Any else f", name to {in_words(args[1])}")
    if isinstance(kind, type) and issubclass(kind, Sequence):
        return f"a list of {in_words(args[0])}"
    if hint in (None, type(None)):
        return "null"
    return _WORDS.get(hint) or getattr(hint, "__name__", str(hint))


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
    """Refuses keyword arguments that a function or class does not have, or that are no such value.

    Args:
        what: The mapping's name, for the message: "method_args".
        function: What will be called with them.
        args: Name -> value; what must come by position is not known by name.

    Raises:
        ValueError: If one is unknown, suggesting the nearest, is not what its annotation says, or
            is missing.
    """
    if not isinstance(args, Mapping):
        raise ValueError(f"{what}: expected an object of settings, got {args!r:.40}")
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
    for name, value in args.items():
        if name not in known:
            raise ValueError(f"{what}: expected some of {[*known]}, got {suggest(name, known)}")
        if not fits(value, hint := known[name].annotation):
            raise ValueError(f"{what}: expected {name} to be {in_words(hint)}, got {value!r:.40}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in args:
            raise ValueError(f"{what}: expected {name!r}, which has no default, got {dict(args)}")


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
