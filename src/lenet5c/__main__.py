"""The ``lenet5c`` command: ``lenet5c NAME`` and ``python -m lenet5c NAME``."""

import sys
from importlib import import_module

try:
    import lenet5c
    from lenet5c.commands.cli import INTERRUPTED, fail
except KeyboardInterrupt:
    sys.exit(130)

COMMANDS = {
    "train": "train LeNet-5 on MNIST or on images of your own",
    "evaluate": "measure a trained model, or compare two",
    "predict": "read the digits in pictures",
    "demo": "draw a digit in the browser, and watch the net read it",
    "export": "take a model elsewhere: ONNX, one C file, PyTorch",
    "summary": "show a model layer by layer",
    "data": "look at a folder of images, or fetch a data set",
    "recipes": "list the ways train knows, and what they reproduce",
    "reproduce": "train recipes with several seeds and report on them",
    "doctor": "show what lenet5c runs on here, and what stands in its way",
    "completion": "print what makes your shell complete these commands",
}


def main(argv=None):
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in COMMANDS:
        try:
            command = import_module(f"lenet5c.commands.{arguments[0]}")
        except ImportError as error:  # such as an unknown LENET5C_ISA
            return fail(f"lenet5c {arguments[0]}", error)
        except KeyboardInterrupt:
            return fail(f"lenet5c {arguments[0]}", "interrupted", INTERRUPTED)
        return command.main(arguments[1:])
    if arguments in (["--version"], ["-V"]):
        print(f"lenet5c {lenet5c.__version__}")
        return 0
    usage = "\n".join(f"  {name:12}{what}" for name, what in COMMANDS.items())
    usage = f"usage: lenet5c COMMAND [options]\n\ncommands:\n{usage}\n\nlenet5c COMMAND --help tells more."
    if arguments in ([], ["--help"], ["-h"]):
        print(usage)
        return 0
    return fail(
        "lenet5c",
        f"there is no command {arguments[0]!r}; it should be one of {', '.join(COMMANDS)}",
    )


if __name__ == "__main__":
    sys.exit(main())
