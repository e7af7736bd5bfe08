"""``lenet5c completion``: print what makes a shell complete lenet5c's commands, options and choices.

Exit codes: 0 done, 2 bad use.
"""

import argparse

from lenet5c._optional import require
from lenet5c.commands.cli import directory, say

SHELLS = ("bash", "zsh", "tcsh")
DESCRIPTION = "Print what makes your shell complete lenet5c's commands, options and choices."
EXAMPLES = """examples:
  eval "$(lenet5c completion bash)"                      in this shell; in ~/.bashrc, in all
  lenet5c completion zsh > ~/.zfunc/_lenet5c             with fpath+=~/.zfunc before compinit in ~/.zshrc
  lenet5c completion tcsh | source /dev/stdin            in this shell"""
# Arguments that name something on the disk, by their name in the help where no type tells.
PATHS = dict.fromkeys(("MODEL", "OTHER", "IMAGE", "FILE"), "FILE") | {"NAME_OR_DIR": "DIRECTORY"}


def add_arguments(parser):
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(options):
    """Print the completion of a shell."""
    shtab = require("shtab", "completion", "completions of a shell")
    from lenet5c.__main__ import COMMANDS, make_parser

    parser = make_parser(*COMMANDS)
    mark_paths(parser, shtab)
    say(shtab.complete(parser, options.shell))


def mark_paths(parser, shtab):
    """Tell shtab what to offer for arguments that are paths, and show it choices as it knows them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                mark_paths(inner, shtab)
            continue
        if action.choices is not None:
            action.choices = list(action.choices)  # shtab takes a dict for subcommands
        if action.type is directory:
            action.complete = shtab.DIRECTORY
        elif isinstance(action.metavar, str) and action.metavar in PATHS:
            action.complete = getattr(shtab, PATHS[action.metavar])
