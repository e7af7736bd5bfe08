"""``lenet5c completion``: print what makes a shell complete lenet5c's commands, options and choices.

Exit codes: 0 done, 2 bad use.
"""

import argparse
from importlib import import_module

from lenet5c._optional import require
from lenet5c.commands.cli import Parser, directory, prepare_streams, run, say

PROG = "lenet5c completion"
SHELLS = ("bash", "zsh", "tcsh")
EXAMPLES = """examples:
  eval "$(lenet5c completion bash)"                      in this shell; in ~/.bashrc, in all
  lenet5c completion zsh > ~/.zfunc/_lenet5c             with fpath+=~/.zfunc before compinit in ~/.zshrc
  lenet5c completion tcsh | source /dev/stdin            in this shell"""
# Of arguments that name something on the disk, by what the help calls them.
PATHS = {
    "MODEL": "FILE",
    "OTHER": "FILE",
    "IMAGE": "FILE",
    "FILE": "FILE",
    "DIR": "DIRECTORY",
    "NAME_OR_DIR": "DIRECTORY",
}


def main(argv=None):
    """Run the command with these arguments (those of the process if not given); returns the exit code."""
    prepare_streams()
    return run(PROG, show, make_parser().parse_args(argv))


def make_parser():
    parser = Parser(
        prog=PROG,
        description="Print what makes your shell complete lenet5c's commands, options and choices.",
        epilog=EXAMPLES,
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    return parser


def show(options):
    shtab = require("shtab", "completion", "completions of a shell")
    say(shtab.complete(whole_parser(shtab), options.shell))


def whole_parser(shtab):
    """All commands as one parser, which knows where a file or folder is asked for."""
    from lenet5c.__main__ import COMMANDS

    parser = argparse.ArgumentParser("lenet5c")
    parser.add_argument("--version", "-V", action="store_true", help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, what in COMMANDS.items():
        own = import_module(f"lenet5c.commands.{name}").make_parser()
        mark_paths(own, shtab)
        commands.add_parser(name, help=what, description=what, parents=[own], add_help=False)
    return parser


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
