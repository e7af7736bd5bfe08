"""Kinds of values of settings: description, validation and conversion from and to text."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from lenet5c.errors import UserError


def plain(value: Any) -> Any:
    """Return a value in JSON form: NumPy numbers as Python numbers, tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True, eq=False, repr=False)
class Kind:
    """Kind of values of a setting."""

    form: str  # in words, such as "an integer of at least 1"
    accepts: Callable[[Any], bool]
    parse: Callable[[str], Any] = str  # converts the text of an option
    metavar: str = "NAME"  # of the option; empty for a flag
    choices: tuple[str, ...] = ()  # valid names
    many: bool = False  # a dict, given as NAME=VALUE pairs
    several: bool = False  # a list, given as several words
    optional: bool = False  # None is valid
    normal: Callable[[Any], Any] = plain  # converts to the normal form, in JSON

    def check(self, name: str, value: object) -> Any:
        """Return the normal form of a value, or raise a ValueError that names the setting."""
        value = self.normal(value)
        if not (self.accepts(value) or (self.optional and value is None)):
            none = ", or None" if self.optional else ""
            raise ValueError(f"{name} must be {self.form}{none}, got {value!r}")
        return value

    def read(self, text: str) -> Any:
        """Convert the text of an option, or raise a ValueError with the expected form."""
        try:
            if self.accepts(value := self.normal(self.parse(text))):
                return value
        except UserError:  # has more details
            raise
        except ValueError:
            pass
        raise ValueError(f"must be {self.form}, got {text}")


def is_number(value: object) -> bool:
    """Return True if a value is a finite number and not a bool."""
    return isinstance(value, (int, float)) and type(value) is not bool and abs(value) < 1e300


def whole(least: int, most: float = inf, optional: bool = False) -> Kind:
    """Return the kind of integers from `least` to `most`."""
    accepts = lambda value: type(value) is int and least <= value <= most  # noqa: E731
    return Kind(f"an integer {_bounds(least, most)}", accepts, int, "N", optional=optional)


def _bounds(least: int, most: float) -> str:
    return f"of at least {least}" if most == inf else f"from {least} to {most}"


def wholes(least: int, fewest: int = 0, most: float = inf) -> Kind:
    """Return the kind of lists of at least `fewest` integers from `least` to `most`.

    The text form is 6+16, or ``none`` for an empty list.
    """
    empty = "possibly empty, " if fewest == 0 else ""
    return Kind(
        f"a list{', ' if empty else ' '}{empty}of integers {_bounds(least, most)}",
        lambda value: _are_whole(value, least, most) and len(value) >= fewest,
        _parse_list,
        "N",
        several=True,
    )


def one_or_each(
    least: int, most: float = inf, of: str = "each convolution", count: int | None = None
) -> Kind:
    """Return the kind of integers from `least` to `most`, or lists of `count`, one for each `of`.

    A list of equal integers is the same as one integer. The text form is 5 or 5+3.
    """

    def accepts(value: Any) -> bool:
        values = value if isinstance(value, list) else [value]
        fits = not isinstance(value, list) or len(value) == (count or len(value) or -1)
        return fits and _are_whole(values, least, most)

    def parse(text: str) -> Any:
        values = _parse_list(text)
        return values[0] if len(values) == 1 else values

    def normal(value: Any) -> Any:
        value = plain(value)
        one = isinstance(value, list) and accepts(value) and len(set(value)) == 1
        return value[0] if one else value

    return Kind(
        f"an integer {_bounds(least, most)}, or a list with one for {of}",
        accepts,
        parse,
        "N",
        several=True,
        normal=normal,
    )


def _parse_list(text: str) -> list[int]:
    """Return the integers in a text, separated by plus signs, commas or spaces."""
    text = text.strip()
    return [] if text in ("", "none") else [int(word) for word in re.split(r"[+,\s]+", text)]


def _are_whole(values: object, least: int, most: float) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and least <= value <= most for value in values
    )


def number(above: bool = False, below: float = 1e300, metavar: str = "F") -> Kind:
    """Return the kind of numbers from 0, or above 0 if `above`, to less than `below`."""
    form = f"a number {'greater than' if above else 'of at least'} 0"
    form += f" and less than {below:g}" if below < 1e300 else ""

    def accepts(value: Any) -> bool:
        return is_number(value) and 0 <= value < below and not (above and value == 0)

    return Kind(form, accepts, float, metavar)


def choice(
    names: Iterable[str], metavar: str = "NAME", optional: bool = False, dicts: bool = False
) -> Kind:
    """Return the kind of names from a list, and also dicts of settings if `dicts`."""
    names = tuple(names)
    form = ("a dict of settings, or " if dicts else "") + "one of " + ", ".join(names)

    def accepts(value: Any) -> bool:
        return (isinstance(value, dict) and dicts) or (isinstance(value, str) and value in names)

    return Kind(form, accepts, str, metavar, names, optional=optional)


def numbers(count: int | None) -> Kind:
    """Return the kind of lists of `count` numbers, of any length if None."""

    def accepts(value: Any) -> bool:
        fits = isinstance(value, list) and count in (None, len(value))
        return fits and all(is_number(each) for each in value)

    return Kind("a list of " + ("numbers" if count is None else f"{count} numbers"), accepts)


FLAG = Kind("True or False", lambda value: isinstance(value, bool), metavar="")
TEXT = Kind("a text", lambda value: isinstance(value, str))
ANY = Kind("", lambda value: True, normal=lambda value: value)  # checked elsewhere
FINITE = Kind("a number", is_number)
DICT = Kind(
    "a dict of settings", lambda value: isinstance(value, dict), metavar="NAME=VALUE", many=True
)


def _parse_names(text: str) -> list[str]:
    """Return the names in a text, separated by commas or else by spaces."""
    names = text.split(",") if "," in text else text.split()
    return [name.strip() for name in names if name.strip()]


NAMES = Kind(
    "a list of names",
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    _parse_names,
    "NAMES",
    several=True,
)
