"""Kinds of values: what a setting may be, in words and as a test, and how an option spells it."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, signature
from math import inf
from typing import Any

import numpy as np

from lenet5c.training.weights import BALANCED, LEAST, MOST


@dataclass(frozen=True, eq=False, repr=False)
class Kind:
    """The values that a setting takes."""

    form: str  # in words, such as "an integer of at least 1"
    accepts: Callable[[Any], bool]
    parse: Callable[[str], Any] = str  # makes a value of the text of an option
    metavar: str = "NAME"  # of the option; empty if it takes no text
    choices: tuple[str, ...] = ()  # values that are names
    many: bool = False  # a dict, of an option pairs NAME=VALUE
    optional: bool = False  # None is a value, too

    def check(self, name: str, value: object) -> None:
        """Raise a ValueError that names the setting, unless this is one of its values."""
        if not (self.accepts(value) or (self.optional and value is None)):
            none = ", or None" if self.optional else ""
            raise ValueError(f"{name} must be {self.form}{none}, got {value!r}")

    def read(self, text: str) -> Any:
        """Return the value that the text of an option means; a ValueError says what it must be."""
        with suppress(ValueError):
            if self.accepts(value := self.parse(text)):
                return value
        raise ValueError(f"must be {self.form}, got {text}")


def is_number(value: object) -> bool:
    """Return whether a value is a finite number, and no bool."""
    return isinstance(value, (int, float)) and type(value) is not bool and abs(value) < 1e300


def whole(least: int, most: float = inf, optional: bool = False) -> Kind:
    """Integers from `least` to `most`."""
    form = (
        f"an integer of at least {least}" if most == inf else f"an integer from {least} to {most}"
    )
    accepts = lambda value: type(value) is int and least <= value <= most  # noqa: E731
    return Kind(form, accepts, int, "N", optional=optional)


def number(above: bool = False, below: float = 1e300, metavar: str = "F") -> Kind:
    """Numbers of at least 0, without 0 if `above`, and less than `below`."""
    form = f"a number of {'more than' if above else 'at least'} 0"
    form += f" and less than {below:g}" if below < 1e300 else ""

    def accepts(value: Any) -> bool:
        return is_number(value) and 0 <= value < below and not (above and value == 0)

    return Kind(form, accepts, float, metavar)


def choice(
    names: Iterable[str], metavar: str = "NAME", optional: bool = False, dicts: bool = False
) -> Kind:
    """One of some names; also a dict of settings if `dicts`."""
    names = tuple(names)
    form = ("a dict of settings, or " if dicts else "") + "one of " + ", ".join(names)

    def accepts(value: Any) -> bool:
        return (isinstance(value, dict) and dicts) or (isinstance(value, str) and value in names)

    return Kind(form, accepts, str, metavar, names, optional=optional)


FLAG = Kind("True or False", lambda value: isinstance(value, bool), metavar="")
TEXT = Kind("a text", lambda value: isinstance(value, str))
ANY = Kind("", lambda value: True)  # checked by whom it goes to
FINITE = Kind("a number", is_number)
DICT = Kind(
    "a dict of settings", lambda value: isinstance(value, dict), metavar="NAME=VALUE", many=True
)

LAYERS = Kind(
    "a list of names of layers",
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    lambda text: [name.strip() for name in text.split(",")],
    "LAYERS",
)


def _parse_weight(text: str) -> str | dict[str, float]:
    name, sign, weight = text.rpartition("=")
    return {name: float(weight)} if sign else text


def _is_class_weight(value: object) -> bool:
    if not isinstance(value, dict):
        return value == BALANCED
    return all(
        isinstance(name, str) and is_number(weight) and LEAST <= weight <= MOST
        for name, weight in value.items()
    )


CLASS_WEIGHT = Kind(
    f"balanced, or class names with weights from {LEAST:g} to {MOST:g}",
    _is_class_weight,
    _parse_weight,
    "NAME=WEIGHT",
    many=True,
    optional=True,
)


def numbers(count: int | None) -> Kind:
    """List of so many numbers, of any length if None."""

    def accepts(value: Any) -> bool:
        fits = isinstance(value, list) and count in (None, len(value))
        return fits and all(is_number(each) for each in value)

    return Kind("a list of " + ("numbers" if count is None else f"{count} numbers"), accepts)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: numbers of NumPy as Python's, tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def arguments(kind: Any) -> Mapping[str, Parameter]:
    """Return the arguments that a class takes, by name."""
    return _arguments(kind)


@cache
def _arguments(kind: Any) -> Mapping[str, Parameter]:
    return {} if kind.__init__ is object.__init__ else signature(kind).parameters


def further_settings(kind: Callable[..., Any], without: Iterable[str]) -> dict[str, Kind]:
    """Return the arguments that a class takes, but for some, with the values of each.

    The default of an argument, or else its annotation, says which values it takes; the class
    itself checks their range.
    """
    left_out = set(without)
    return {name: _kind_of(each) for name, each in arguments(kind).items() if name not in left_out}


def _kind_of(parameter: Parameter) -> Kind:
    default = parameter.default
    if isinstance(default, tuple):
        return numbers(len(default))
    value = parameter.annotation if default is Parameter.empty else type(default)
    kinds = {bool: FLAG, str: TEXT, int: whole(0)}
    return kinds.get(value) or (numbers(None) if "tuple" in str(value) else FINITE)


def offer(names: Iterable[str], further: Callable[[str], Mapping[str, Kind]]) -> str:
    """Return a text of the further settings that each of some names takes."""
    return "; ".join(f"{name}: {', '.join(found)}" for name in names if (found := further(name)))


def check_further(name: str, given: Mapping[str, Any], known: Mapping[str, Kind], of: str) -> None:
    """Raise a ValueError unless these are settings that `of` takes, with values of their kinds."""
    for key, value in given.items():
        if key not in known:
            offered = ", ".join(known) or "no settings"
            raise ValueError(f"{name} must hold {offered}, as {of} takes, got {key!r}")
        known[key].check(key, value)
