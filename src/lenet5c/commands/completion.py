"""``lenet5c completion``: print a shell completion script.

Exit codes: 0 done, 2 bad use.
"""

import argparse
from typing import Any

from lenet5c._optional import require
from lenet5c.commands.cli import directory, say
from lenet5c.commands.parser import COMMANDS, make_parser

SHELLS = ("bash", "zsh", "tcsh")
DESCRIPTION = "Print a completion script for the commands, options and choices of lenet5c."
EXAMPLES = """examples:
  eval "$(lenet5c completion bash)"             for this shell; put it in ~/.bashrc for all
  lenet5c completion zsh > ~/.zfunc/_lenet5c    fpath+=~/.zfunc before compinit in ~/.zshrc
  lenet5c completion tcsh | source /dev/stdin   in this shell"""
# Path arguments by metavar, if they have no type.
PATHS = dict.fromkeys(("MODEL", "OTHER", "IMAGE", "FILE", "NAME_OR_PATH"), "FILE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(options: argparse.Namespace) -> None:
    """Print the completion of a shell."""
    shtab = require("shtab", "completion", "shell completion scripts")
    parser = make_parser(*COMMANDS)
    mark_paths(parser, shtab)
    say(shtab.complete(parser, options.shell))


def mark_paths(parser: argparse.ArgumentParser, shtab: Any) -> None:
    """Mark path arguments and convert choices for shtab."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                mark_paths(inner, shtab)
            continue
        if action.choices is not None:
            action.choices = list(action.choices)  # shtab treats a dict as subcommands
        kind = "DIRECTORY" if action.type is directory else PATHS.get(str(action.metavar))
        if kind:
            action.complete = getattr(shtab, kind)  # type: ignore[attr-defined]
