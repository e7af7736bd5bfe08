"""Parser of all commands."""

from importlib import import_module

import lenet5c
from lenet5c.commands import cli

#: Commands, each a module in `lenet5c.commands` with DESCRIPTION, EXAMPLES,
#: ``add_arguments(parser)`` and ``run(options)``, which returns the exit code.
COMMANDS = {
    "train": "train LeNet-5 on MNIST or your own images",
    "evaluate": "evaluate a trained model, or compare two",
    "predict": "read digits in pictures, or classify a data set",
    "tune": "search for the best hyperparameters",
    "sweep": "train with many seeds and settings at once",
    "ensemble": "combine several trained models into one",
    "distill": "train one net on the predictions of a model, such as an ensemble",
    "runs": "compare runs in a table and a picture",
    "demo": "draw a digit in the browser and watch the model classify it",
    "export": "export a model to ONNX, C, HTML or PyTorch",
    "summary": "show a summary of a model, layer by layer",
    "data": "inspect images, or download a data set",
    "recipes": "list the recipes of train, and what they reproduce",
    "reproduce": "train recipes with several seeds and report on them",
    "doctor": "show the environment of lenet5c, and report problems",
    "completion": "print a shell completion script",
}


def make_parser(*names: str) -> cli.Parser:
    """Return the parser for the commands in `names`, importing their modules.

    If none of the names is a command, all commands are listed.
    """
    parser = cli.Parser("lenet5c", description="LeNet-5 on a CPU.")
    parser.add_argument("--version", "-V", action="store_true", help="print the version")
    version = f"lenet5c {lenet5c.__version__}\n"
    parser.set_defaults(
        run=lambda options: cli.say(version if options.version else parser.format_help(), end="")
    )
    commands = parser.add_subparsers(
        title="commands (see lenet5c COMMAND --help)", metavar="COMMAND", prog="lenet5c"
    )
    known = [name for name in names if name in COMMANDS]
    for name in known or COMMANDS:
        command = commands.add_parser(name, help=COMMANDS[name])
        if known:
            module = import_module(f"lenet5c.commands.{name}")
            command.description, command.epilog = module.DESCRIPTION, module.EXAMPLES
            command.set_defaults(run=module.run)
            module.add_arguments(command)
    return parser
