"""Declared settings: the values a field takes, the option of a command that sets it, its description.

A field is declared once, by `declare` in its dataclass; its checks, its option on a command line and
its entry in the docstring follow from that.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from inspect import Parameter, signature
from math import inf
from typing import Any

import numpy as np

RUN, DATA, NET, TRAINING = "the run", "data", "net", "training"
#: The groups of options, in the order in which a command lists them.
GROUPS = (RUN, DATA, NET, TRAINING)


@dataclass(frozen=True)
class Kind:
    """The values that a setting takes.

    Attributes
    ----------
    form : str
        A description of them, such as "an integer of at least 1".
    accepts : callable
        Return whether a value is one of them.
    parse : callable
        Make a value of the text of an option.
    metavar : str
        The name of the value in a help text; empty if the option takes none.
    choices : tuple of str
        The values, where they are names.
    many : bool
        Whether the value is a dict, of an option pairs ``NAME=VALUE``.
    optional : bool
        Whether None is a value, too.
    """

    form: str
    accepts: Callable[[Any], bool]
    parse: Callable[[str], Any] = str
    metavar: str = "NAME"
    choices: tuple[str, ...] = ()
    many: bool = False
    optional: bool = False

    def check(self, name: str, value: object) -> None:
        """Raise a ValueError that names the setting, unless this is one of its values."""
        if not (self.accepts(value) or self.optional and value is None):
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
    return Kind(
        "an integer " + (f"of at least {least}" if most == inf else f"from {least} to {most}"),
        lambda value: type(value) is int and least <= value <= most,
        int,
        "N",
        optional=optional,
    )


def number(above: bool = False, below: float = 1e300, metavar: str = "F") -> Kind:
    """Numbers of at least 0, without 0 if `above`, and less than `below`."""
    bounds = ("more than" if above else "at least") + " 0"
    bounds += f" and less than {below:g}" if below < 1e300 else ""
    return Kind(
        f"a number of {bounds}",
        lambda value: is_number(value) and 0 <= value < below and not (above and value == 0),
        float,
        metavar,
    )


def choice(
    names: Iterable[str], optional: bool = False, metavar: str = "NAME", dicts: bool = False
) -> Kind:
    """One of some names; also a dict of settings if `dicts`."""
    names = tuple(names)
    return Kind(
        ("a dict of settings, or " if dicts else "") + "one of " + ", ".join(names),
        lambda value: (
            isinstance(value, dict) and dicts or isinstance(value, str) and value in names
        ),
        str,
        metavar,
        names,
        optional=optional,
    )


def flag() -> Kind:
    """True or False."""
    return Kind("True or False", lambda value: isinstance(value, bool), metavar="")


def text(metavar: str = "NAME") -> Kind:
    """Any text."""
    return Kind("a text", lambda value: isinstance(value, str), str, metavar)


def anything(metavar: str = "NAME") -> Kind:
    """Whatever those take who use it; they check it."""
    return Kind("", lambda value: True, str, metavar)


def mapping() -> Kind:
    """A dict of further settings; of an option pairs ``NAME=VALUE``."""
    return Kind(
        "a dict of settings", lambda value: isinstance(value, dict), metavar="NAME=VALUE", many=True
    )


@dataclass(frozen=True)
class Setting:
    """A declared field: the values it takes, the group of its option, its description.

    Attributes
    ----------
    kind : Kind
    group : str
        Of its option, one of `GROUPS`; empty if it has none.
    help : str
        A phrase for the help text.
    more : str
        Sentences that follow it in the docstring.
    usual : str
        The default in words, where it is not a value that says so itself.
    """

    kind: Kind
    group: str = ""
    help: str = ""
    more: str = ""
    usual: str = ""

    def describe(self, default: object) -> str:
        """Return the help text, with the choices and the default."""
        choices = f": {', '.join(self.kind.choices)}" if self.kind.choices else ""
        return f"{self.help}{choices} (default: {self.usual or in_words(default)})"


def declare(default: Any, kind: Kind, group: str = "", help: str = "", **texts: str) -> Any:
    """Return the field of a dataclass with this default, and with its `Setting` as metadata."""
    metadata = {"setting": Setting(kind, group, help, **texts)}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def settings(owner: Any) -> dict[str, Setting]:
    """Return the declared fields of a dataclass by name, in order."""
    return {f.name: f.metadata["setting"] for f in fields(owner) if "setting" in f.metadata}


def document(owner: type) -> type:
    """Add the declared fields of a dataclass to its docstring, as attributes; a decorator."""
    lines = [(owner.__doc__ or "").rstrip(), "", "    Attributes", "    ----------"]
    for name, setting in settings(owner).items():
        lines.append(f"    {name} : {setting.kind.form or 'str'}")
        words = f"{setting.help[:1].upper()}{setting.help[1:]}. {setting.more}".strip()
        lines += textwrap.wrap(words, 90, initial_indent=" " * 8, subsequent_indent=" " * 8)
    owner.__doc__ = "\n".join(lines) + "\n    "
    return owner


def plain(value: Any) -> Any:
    """Return a value as JSON has it: numbers of NumPy, as searches have them, as Python's, tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def in_words(value: object) -> str:
    """Return a value as a help text or a message has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, {}) else str(value)


def further_settings(kind: Callable[..., Any], without: Iterable[str]) -> dict[str, Kind]:
    """Return the further arguments that a class or function takes, with the values of each.

    Parameters
    ----------
    kind : class or function
        The default of an argument, or else its annotation, says which values it takes; their
        range is checked by `kind` itself.
    without : iterable of str
        The arguments to leave out.
    """
    parameters = signature(kind).parameters.values()
    return {each.name: _kind_of(each) for each in parameters if each.name not in set(without)}


def _kind_of(parameter: Parameter) -> Kind:
    default = parameter.default
    if isinstance(default, bool):
        return flag()
    if isinstance(default, str):
        return text()
    if isinstance(default, tuple) and default:
        return _numbers(len(default))
    annotation = parameter.annotation
    if type(default) is int or annotation in (int, "int"):
        return whole(0)
    if default is Parameter.empty and "tuple" in str(annotation):
        return _numbers(None)
    return Kind("a number", is_number)


def _numbers(count: int | None) -> Kind:
    return Kind(
        "a list of " + ("numbers" if count is None else f"{count} numbers"),
        lambda value: (
            isinstance(value, list)
            and count in (None, len(value))
            and all(is_number(each) for each in value)
        ),
    )


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
