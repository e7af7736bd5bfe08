"""The ``lenet5c`` command: ``lenet5c NAME`` and ``python -m lenet5c NAME``."""

import sys
from importlib import import_module

try:
    from argparse import Namespace
    from collections.abc import Sequence

    import lenet5c
    from lenet5c.commands import cli
except KeyboardInterrupt:
    sys.exit(130)

#: The commands: a module each in `lenet5c.commands`, with DESCRIPTION, EXAMPLES,
#: ``add_arguments(parser)`` and ``run(options)``, which returns the exit code.
COMMANDS = {
    "train": "train LeNet-5 on MNIST or on images of your own",
    "evaluate": "measure a trained model, or compare two",
    "predict": "read the digits in pictures",
    "demo": "draw a digit in the browser, and watch the net classify it",
    "export": "take a model elsewhere: ONNX, one C file, PyTorch",
    "summary": "show a model layer by layer",
    "data": "look at a folder of images, or fetch a data set",
    "recipes": "list the recipes of train, and what they reproduce",
    "reproduce": "train recipes with several seeds and report on them",
    "doctor": "show what lenet5c runs on here, and what stands in its way",
    "completion": "print what makes your shell complete these commands",
}


def make_parser(*names: str) -> cli.Parser:
    """Return the parser of all commands; only those of `names` are loaded and have options."""
    parser = cli.Parser("lenet5c", description="LeNet-5 on a CPU.")
    parser.add_argument("--version", "-V", action="store_true", help="print the version")
    version = f"lenet5c {lenet5c.__version__}\n"
    parser.set_defaults(
        run=lambda options: cli.say(version if options.version else parser.format_help(), end="")
    )
    commands = parser.add_subparsers(
        title="commands (lenet5c COMMAND --help tells more)", metavar="COMMAND", prog="lenet5c"
    )
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name in names:
            module = import_module(f"lenet5c.commands.{name}")
            command.description, command.epilog = module.DESCRIPTION, module.EXAMPLES
            command.set_defaults(run=module.run)
            module.add_arguments(command)
    return parser


def main(argv: Sequence[object] | None = None) -> int:
    """Run the command with these arguments, by default the process's; return the exit code."""
    arguments = sys.argv[1:] if argv is None else [str(argument) for argument in argv]
    cli.prepare_streams()
    name = arguments[0] if arguments else "-"
    if name not in COMMANDS and not name.startswith("-"):
        from difflib import get_close_matches

        close = "".join(
            f"did you mean {match}?" for match in get_close_matches(name.lower(), COMMANDS, 1)
        )
        remedy = close or "lenet5c --help lists them"
        return cli.fail("lenet5c", f"COMMAND must be the name of a command, got {name!r}; {remedy}")
    cli.prepare_environment(name)
    try:
        parser = make_parser(name)
    except cli.EXPECTED as error:
        return cli.fail_with(f"lenet5c {name}", error)
    options = parser.parse_args(arguments)
    return cli.run(options.prog, _run, options)


def _run(options: Namespace) -> int | None:
    if getattr(options, "threads", None) is not None:
        lenet5c.set_num_threads(options.threads)
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
