"""The directive ``commands``: what each command says to ``--help``, from its own parser."""

import argparse
import os
from importlib import import_module
from importlib.util import find_spec

from docutils import nodes
from docutils.parsers.rst import Directive

from lenet5c.__main__ import COMMANDS


def help_of(name):
    """The help text of a command, 100 columns wide; None if it cannot tell."""
    module = f"lenet5c.{name}"
    if find_spec(module) is None:
        return None
    module = import_module(module)
    if hasattr(module, "__path__"):
        module = import_module(f"{module.__name__}.__main__")
    make_parser = getattr(module, "make_parser", None)
    if make_parser is None:
        return None
    # argparse asks the environment how wide the terminal is, and whether it has colours.
    before = {variable: os.environ.get(variable) for variable in ("COLUMNS", "NO_COLOR")}
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    try:
        return "\n\n".join(
            parser.format_help().rstrip("\n") for parser in with_subcommands(make_parser())
        )
    finally:
        for variable, value in before.items():
            os.environ.pop(variable)
            if value is not None:
                os.environ[variable] = value


def with_subcommands(parser):
    """A parser and those of its subcommands, each once."""
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [each for each in action.choices.values() if each not in found]
    return found


class Commands(Directive):
    def run(self):
        sections = []
        for name, what in COMMANDS.items():
            text = help_of(name)
            if text is None:
                continue
            section = nodes.section(
                ids=[nodes.make_id(f"lenet5c-{name}")], names=[f"lenet5c {name}"]
            )
            section += nodes.title("", "", nodes.literal("", f"lenet5c {name}"))
            section += nodes.paragraph("", f"{what[0].upper()}{what[1:]}.")
            section += nodes.literal_block(text, text, language="text")
            self.state.document.note_explicit_target(section)
            sections.append(section)
        return sections


def setup(app):
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
