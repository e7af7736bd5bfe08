"""What all commands share: how OpenMP's threads wait, what is printed where, errors of one line.

Imports nothing compiled, so that `wait_briefly` can come before OpenMP is loaded.
"""

import argparse
import errno
import os
import sys
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path

from lenet5c._text import printable
from lenet5c.errors import UserError

FAILED, BAD_USE, INTERRUPTED = 1, 2, 130
#: Why text cannot be written although somebody waits for it.
LOSSES = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO") if hasattr(errno, name)
}
_lost: list[OSError] = []


def wait_briefly():
    """Let GNU OpenMP's threads sleep after some microseconds instead of milliseconds, unless the user has decided.

    A thread that spins at a barrier keeps the processor from the very thread it waits for, once other programs share
    the machine: an epoch beside a busy process on each core took 5 to 25 times as long as alone, with brief waiting 4
    times. Libraries must not decide this for a program, so only commands call it.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "2000"


def one_blas_thread():
    """Let NumPy's linear algebra work on one thread, unless the user has decided; before NumPy is imported.

    Matrices of a picture's size gain nothing from two (50 ms a picture with one and with two on a quiet machine, at half
    the processor time), and on a busy machine threads that wait for each other lose much.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@contextmanager
def loading(prog, module):
    """A context in which a command's module, of this `__name__`, imports what it is made of.

    For ``python -m``, an ImportError, such as for an unknown LENET5C_ISA, or Ctrl-C is one line, as it is for the
    ``lenet5c`` command; who imports the module gets the exception.
    """
    try:
        yield
    except (ImportError, KeyboardInterrupt) as error:
        if module != "__main__":
            raise
        interrupted = isinstance(error, KeyboardInterrupt)
        sys.exit(fail(prog, "interrupted", INTERRUPTED) if interrupted else fail(prog, error))


def prepare_streams():
    """Never fail on a character that the terminal or log cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(text):
    """Print to standard output; once nobody reads it any more, go on in silence.

    What a full disk does not take does not stop the work either, but `run` then ends with an error.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        if error.errno in LOSSES:
            _lost.append(error)
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(prog, message, code=BAD_USE):
    """Print one line to standard error; returns the exit code."""
    if sys.stderr is not None:
        print(f"{prog}: error: {printable(message)}", file=sys.stderr)
    return code


def warn(prog, message):
    """Print one line to standard error, and go on whether or not somebody reads it."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"{prog}: warning: {printable(message)}", file=sys.stderr)


def run(prog, action, *arguments, interrupted="interrupted"):
    """The exit code of a command's work, or, of what went wrong with it, one line and a code that is not 0.

    0 done, 1 failed, 2 bad use, 130 interrupted.
    """
    _lost.clear()
    try:
        code = action(*arguments) or 0
        return fail(prog, f"standard output: {_lost[0].strerror}", FAILED) if _lost else code
    except (UserError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        return fail(prog, described(error), BAD_USE)
    except (OSError, MemoryError) as error:
        return fail(prog, described(error), FAILED)
    except KeyboardInterrupt:
        return fail(prog, interrupted, INTERRUPTED)


def described(error):
    """An error as a line: the system's come without their number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return (
        error
        if str(error)
        else "out of memory"
        if isinstance(error, MemoryError)
        else type(error).__name__
    )


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose examples, in `epilog`, keep their lines."""

    def __init__(self, *arguments, **options):
        options.setdefault("formatter_class", _Help)
        super().__init__(*arguments, **options)

    def error(self, message):
        sys.exit(fail(self.prog, f"{message} (--help lists the options)"))


class _Help(argparse.HelpFormatter):
    def _fill_text(self, text, width, indent):
        # A text of several lines was laid out by hand.
        if "\n" in text:
            return "\n".join(indent + line for line in text.splitlines())
        return super()._fill_text(text, width, indent)


def directory(text):
    """An argparse type: a path that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a folder is empty")
    return Path(text)


def whole(least, most=2**63 - 1):
    """An argparse type: an integer in this range."""

    def integer(text):
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not an integer from {least} to {most}")
        return value

    return integer


def number(least, most=float("inf"), above=False):
    """An argparse type: a finite number in this range, `least` itself excluded if `above`."""

    def real(text):
        value = float(text)
        if not (isfinite(value) and least <= value <= most) or (above and value == least):
            bounds = f"{'more than' if above else 'at least'} {least}" + (
                f", at most {most}" if isfinite(most) else ""
            )
            raise argparse.ArgumentTypeError(f"{text} is not a number of {bounds}")
        return value

    return real
