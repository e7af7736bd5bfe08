"""Declared settings: fields of dataclasses with valid values, option and description.

Checks, command line options and docstring entries are derived from the declaration.
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from inspect import cleandoc
from typing import Any

from lenet5c.nn.kind import Kind

#: Groups of options, in the order of the help text.
GROUPS = RUN, DATA, NET, TRAINING = "the run", "data", "net", "training"


@dataclass(frozen=True, eq=False, repr=False)
class Setting:
    """A declared field."""

    kind: Kind
    help: str  # a phrase
    group: str = ""  # of its option; empty if there is none
    default_text: str = ""  # description of the default, if its value does not explain it
    more: Callable[[], str] | None = None  # rest of the help text, created only when needed
    named: str = ""  # name of its option, if not that of the field

    def describe(self, default: object) -> str:
        """Return the help text, with the choices and the default."""
        choices = f": {', '.join(self.kind.choices)}" if self.kind.choices else ""
        more = f", {self.more()}" if self.more else ""
        return f"{self.help}{more}{choices} (default: {self.default_text or in_words(default)})"


def declare(
    default: Any,
    kind: Kind,
    help: str,
    group: str = "",
    default_text: str = "",
    more: Callable[[], str] | None = None,
    named: str = "",
) -> Any:
    """Return a dataclass field with this default, and with its `Setting` as metadata."""
    metadata = {"setting": Setting(kind, help, group, default_text, more, named)}
    if isinstance(default, (dict, list)):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


run, data, training = (partial(declare, group=group) for group in (RUN, DATA, TRAINING))


def settings(owner: Any) -> dict[str, Setting]:
    """Return the declared fields of a dataclass by name, in order."""
    return {f.name: f.metadata["setting"] for f in fields(owner) if "setting" in f.metadata}


def option(name: str, setting: Setting) -> str:
    """Return the option of a declared field."""
    return "--" + (setting.named or name).replace("_", "-")


def document(owner: type) -> type:
    """Class decorator that documents the declared fields of a dataclass as attributes."""
    # Without the indentation of the source, as CPython stores it from 3.13 on.
    lines = [cleandoc(owner.__doc__ or ""), "", "Attributes", "----------"]
    for name, setting in settings(owner).items():
        text = f"{setting.help[:1].upper()}{setting.help[1:]}."
        lines.append(f"{name} : {setting.kind.form or 'str'}")
        lines += textwrap.wrap(text, 92, initial_indent=" " * 4, subsequent_indent=" " * 4)
    owner.__doc__ = "\n".join(lines) + "\n"
    return owner


def in_words(value: object) -> str:
    """Format a value for help texts, messages and pages."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(each)}" for key, each in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(in_words, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
