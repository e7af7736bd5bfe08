"""What all commands share: how OpenMP's threads wait, what is printed where, errors of one line.

Imports nothing compiled, so that `wait_briefly` can come before OpenMP is loaded.
"""

import argparse
import os
import sys

BAD_USE = 2


def wait_briefly():
    """Let GNU OpenMP's threads sleep after some microseconds instead of milliseconds, unless the user has decided.

    A thread that spins at a barrier keeps the processor from the very thread it waits for, once other programs share
    the machine: an epoch beside a busy process on each core took 5 to 25 times as long as alone, with brief waiting 4
    times. Libraries must not decide this for a program, so only commands call it.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "2000"


def prepare_streams():
    """Never fail on a character that the terminal or log cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(text):
    """Print to standard output; once nobody reads it any more, go on in silence."""
    try:
        print(text, flush=True)
    except OSError:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(prog, message, code=BAD_USE):
    """Print one line to standard error; returns the exit code."""
    if sys.stderr is not None:
        print(f"{prog}: error: {message}", file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message):
        sys.exit(fail(self.prog, f"{message} (--help lists the options)"))
