"""The ``lenet5c`` command: ``lenet5c NAME`` and ``python -m lenet5c NAME``."""

import os
import sys
from contextlib import nullcontext

from lenet5c.commands import signals

#: Prefixes of options with which ``train`` may read other data than MNIST, or none.
OTHER_DATA = ("-h", "--h", "--da", "--config", "--resume")
TYPE_CHECKING = False  # instead of importing typing
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from typing import NoReturn


def start(*before: str) -> "NoReturn":
    """Run a command as the whole process, with additional first arguments."""
    signals.install()
    code = main([*before, *sys.argv[1:]])
    if signals.exit_code() is not None:
        # A normal exit would restore the signal handlers first, and may wait for threads.
        os._exit(code)
    sys.exit(code)


def main(argv: "Sequence[object] | None" = None) -> int:
    """Run the command with `argv`, by default that of the process; return the exit code."""
    # Imported here, because a signal may arrive during the imports.
    import lenet5c
    from lenet5c._text import suggest
    from lenet5c.commands import cli
    from lenet5c.commands.parser import COMMANDS, make_parser

    arguments = sys.argv[1:] if argv is None else [str(argument) for argument in argv]
    cli.prepare_streams()
    name = arguments[0] if arguments else "-"
    if name not in COMMANDS and not name.startswith("-"):
        remedy = suggest(name, COMMANDS) or "; see lenet5c --help"
        return cli.fail("lenet5c", f"COMMAND must be the name of a command, got {name!r}{remedy}")
    cli.prepare_environment(name)
    if name == "train" and not any(word.startswith(OTHER_DATA) for word in arguments):
        from lenet5c.commands import preload

        preload.begin()
    later = is_later_rank()
    try:
        # What is wrong with the arguments is wrong on all ranks: the first one says it.
        with cli.silent() if later else nullcontext():
            parser = make_parser(name)
            options = parser.parse_args(arguments)
    except cli.EXPECTED as error:
        return cli.fail_with(f"lenet5c {name}", error)
    try:
        if later and works_for_first(options):
            cli.silence()
        with signals.at_work():
            if getattr(options, "threads", None) is not None:
                lenet5c.set_num_threads(options.threads)
            code = options.run(options)
    except cli.EXPECTED as error:
        return cli.fail_with(options.prog, error)
    except Exception as error:
        if signals.exit_code() is None:
            raise
        return cli.fail_with(options.prog, error)
    return cli.finish(options.prog, code or 0)


def is_later_rank() -> bool:
    """Return True if this is a rank other than the first of ``mpiexec`` or a similar launcher."""
    if not any(name.endswith("_RANK") for name in os.environ):
        return False
    from lenet5c.training.parallel import launched_rank

    return launched_rank() > 0


def works_for_first(options: "Namespace") -> bool:
    """Return True if a later rank shares the work of the first one, and should print nothing.

    Otherwise each process executes a separate command.
    """
    executor = getattr(options, "executor", None)
    return executor == "mpi" or (executor is None and getattr(options, "mpi", False) is not False)


if __name__ == "__main__":
    start()
