"""The directive ``commands``: the help of each command, from its own parser."""

import argparse
import os

from docutils import nodes
from docutils.parsers.rst import Directive

from lenet5c.commands.parser import COMMANDS, make_parser


def help_of(name):
    """Return the help text of a command and its subcommands, 100 columns wide."""
    # argparse asks the environment how wide the terminal is, and whether it has colors.
    before = {variable: os.environ.get(variable) for variable in ("COLUMNS", "NO_COLOR")}
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    try:
        parsers = {each.prog: each for each in subcommands(make_parser(name))}
        parser = parsers[f"lenet5c {name}"]
        texts = [each.format_help().rstrip("\n") for each in (parser, *subcommands(parser))]
        return "\n\n".join(texts)
    finally:
        for variable, value in before.items():
            os.environ.pop(variable)
            if value is not None:
                os.environ[variable] = value


def subcommands(parser):
    """Return the parsers of a parser's subcommands."""
    actions = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return [inner for action in actions for inner in action.choices.values()]


class Commands(Directive):
    def run(self):
        sections = []
        for name, what in COMMANDS.items():
            text = help_of(name)
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
