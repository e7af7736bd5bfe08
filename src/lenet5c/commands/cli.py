"""Common parts of all commands: environment, streams, one-line errors, argument types.

Imports nothing compiled, so that `prepare_environment` can be called before OpenMP is loaded.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from math import isfinite
from pathlib import Path

from lenet5c._text import printable, reason, suggest
from lenet5c.commands import signals
from lenet5c.errors import RankError, UserError

TYPE_CHECKING = False  # instead of importing typing, which takes as long as the parser
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, NoReturn, TextIO

    from lenet5c.datasets.records import ReadOptions

FAILED, BAD_USE, INTERRUPTED = 1, 2, 130
MODEL_HELP = "a model file, the folder of a run, or best, the model included in lenet5c"
#: Errors reported in one line; an unknown LENET5C_ISA, for example, is an ImportError.
EXPECTED = (UserError, RankError, ImportError, OSError, MemoryError, KeyboardInterrupt)
#: Errors of writing output that are not caused by a closed reader.
LOSSES = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EAGAIN")
    if hasattr(errno, name)
}
_lost: list[OSError] = []


def prepare_environment(command: str) -> None:
    """Set the environment of a command before it imports NumPy and the kernels."""
    if command != "doctor":  # shows the unchanged environment
        wait_briefly()
    if command in ("demo", "predict"):
        # For arrays as small as a picture, a second BLAS thread saves no time (50 ms per picture
        # in both cases), costs processor time, and waits when the machine is busy.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def wait_briefly() -> None:
    """Let waiting threads of GNU OpenMP sleep after microseconds, not milliseconds.

    Has no effect if the user has set the wait policy. If other programs share the machine, a thread
    that spins at a barrier may occupy the core of the thread it waits for: with one busy process
    per core, an epoch took 5 to 25 times as long as alone, but 4 times with brief waiting. A
    library must not decide this for a program, so only commands call it.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "2000"


def prepare_streams() -> None:
    """Escape characters that the standard streams cannot represent.

    Closed streams are redirected to the null device, because the next opened file would get their
    file descriptor and receive output of libraries.
    """
    _lost.clear()
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def silence() -> None:
    """Disable all output, for ranks other than the first."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115


@contextmanager
def silent() -> Iterator[None]:
    """Print nothing in this context."""
    with open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
        yield


def say(text: object, end: str = "\n") -> None:
    """Print to standard output, unless its reader has closed it.

    Other errors, such as a full disk, do not stop the work either, but are reported by `finish`.
    """
    error = _write(f"{text}{end}", sys.stdout)
    if error and error.errno in LOSSES:
        _lost.append(error)


def note(text: object) -> None:
    """Print to standard error, if it is open."""
    _write(f"{text}\n", sys.stderr)


def _write(text: str, stream: TextIO | None) -> OSError | None:
    """Write to a standard stream, None if it is closed; return the error if that fails."""
    if stream is None:
        return None
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # Otherwise Python would report the error again or change the exit code at exit.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def warn(prog: str, message: object) -> None:
    """Print a one-line warning to standard error."""
    note(f"{prog}: warning: {printable(message)}")


def fail(prog: str, message: object, code: int = BAD_USE) -> int:
    """Print a one-line error to standard error; return the exit code."""
    note(f"{prog}: error: {printable(message)}")
    return code


def fail_with(prog: str, error: BaseException) -> int:
    """Print an error of `EXPECTED` as one line; return its exit code.

    After a signal, an error is the consequence of the interrupt.
    """
    if signals.exit_code() is not None and not isinstance(error, KeyboardInterrupt):
        error = KeyboardInterrupt()
    bad_use = (UserError, ImportError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
    if isinstance(error, KeyboardInterrupt):
        return fail(prog, describe_error(error), signals.exit_code() or INTERRUPTED)
    code = BAD_USE if isinstance(error, bad_use) else FAILED
    return fail(prog, describe_error(error), code)


def describe_error(error: BaseException) -> str:
    """Format an error as one line, without error numbers of the system."""
    names = {MemoryError: "out of memory", KeyboardInterrupt: "interrupted"}
    return reason(error) or names.get(type(error), type(error).__name__)


def finish(prog: str, code: int) -> int:
    """Return the exit code of a finished command, 1 if its output was lost.

    The codes are 0 done, 1 failed, 2 bad use, 129, 130 or 143 interrupted, and others by command.
    """
    if (interrupted := signals.exit_code()) is not None:
        return interrupted
    if _lost and code == 0:
        return fail(prog, f"cannot write standard output: {_lost[0].strerror}", FAILED)
    return code


def describe_model(name: str) -> str:
    """Return the name of a model for a page."""
    return "the model included in lenet5c" if name == "best" else str(name)


def add_read_options(parser: argparse._ActionsContainer) -> None:
    """Add the options for reading data of `lenet5c train`."""
    for name, text in (
        ("--skip-bad", "skip images that cannot be read"),
        ("--follow-links", "follow links in a folder of images, to files and folders anywhere"),
        ("--transpose", "transpose the images (default: only IDX files named like EMNIST's)"),
    ):
        parser.add_argument(name, action=argparse.BooleanOptionalAction, default=None, help=text)
    text = "name or position (from 0) of the label column of a table (default: by names and values)"
    parser.add_argument("--label-column", metavar="NAME_OR_NUMBER", help=text)
    text = "shape of images stored as rows of values (default: square)"
    parser.add_argument("--image-shape", metavar="HxW", help=text)


def read_options(options: argparse.Namespace, of_run: dict[str, Any] | None = None) -> ReadOptions:
    """Return the reader settings from the options, or else from the record of a run."""
    from dataclasses import fields

    from lenet5c.datasets.records import ReadOptions

    chosen: dict[str, Any] = {}
    for name in (each.name for each in fields(ReadOptions)):
        value = getattr(options, name, None)
        if value is None:
            value = (of_run or {}).get(name)
        if isinstance(value, (bool, str)):
            chosen[name] = value
    return ReadOptions(**chosen)


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors that keeps the line breaks of `epilog`.

    The parsed options have `prog`, the name of the innermost subcommand.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", _Help)
        super().__init__(*arguments, **options)
        self.set_defaults(prog=self.prog)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; exit if there are unknown ones, here or in a subcommand."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [word for action in self._actions for word in action.option_strings]
            meant = suggest(unknown[0].partition("=")[0], known)
            fail_parsing(self.prog, f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Exit with a one-line error."""
        subject, sign, fault = message.partition(": ")
        if sign and subject.startswith("argument ") and fault.startswith("must be "):
            message = f"{subject.removeprefix('argument ')} {fault}"
        fail_parsing(self.prog, message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise an error with the choices and a suggestion.

        Settings given instead of a name are checked elsewhere.
        """
        if isinstance(value, dict):
            return
        if action.choices is not None and value not in action.choices:
            names = list(map(str, action.choices))
            raise argparse.ArgumentError(
                action, f"must be one of {', '.join(names)}, got {value!r}{suggest(value, names)}"
            )

    def print_help(self, file: Any = None) -> None:
        """Print the help to standard output."""
        say(self.format_help(), end="")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exit after the help."""
        sys.exit(finish(self.prog, status))


def fail_parsing(prog: str, message: str) -> NoReturn:
    """Print a one-line error that refers to the help, and exit."""
    sys.exit(fail(prog, f"{message} (see --help)"))


class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str, **options: Any) -> None:
        # argparse would import shutil, which takes as long as the whole parser.
        try:
            width = int(os.environ.get("COLUMNS", 0)) or os.get_terminal_size().columns
        except (OSError, ValueError):
            width = 0
        super().__init__(prog, **{"width": (width or 80) - 2} | options)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:  # preformatted
            return "\n".join(indent + line for line in text.splitlines())
        return super()._fill_text(text, width, indent)


def add_threads(parser: argparse._ActionsContainer, of: str = "") -> None:
    """Add the option ``--threads``, which is set before a command runs."""
    parser.add_argument(
        "--threads",
        type=whole(1, 1024),
        metavar="N",
        help=f"number of threads{of}; has no effect on the result (default: all cores)",
    )


def file(text: str) -> Path:
    """Parse a path that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("must be a file name, got ''")
    return Path(text)


def directory(text: str) -> Path:
    """Parse a path that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("must be a folder name, got ''")
    return Path(text)


def whole(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    """Return an argument type: an integer in this range."""

    def integer(text: str) -> int:
        with suppress(ValueError):
            if least <= (value := int(text)) <= most:
                return value
        bounds = f"of at least {least}" if most == 2**63 - 1 else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"must be an integer {bounds}, got {text}")

    return integer


def number(least: float, most: float = float("inf"), above: bool = False) -> Callable[[str], float]:
    """Return an argument type: a finite number in this range, without `least` if `above`."""

    def real(text: str) -> float:
        with suppress(ValueError):
            value = float(text)
            if isfinite(value) and least <= value <= most and not (above and value == least):
                return value
        bounds = f"{'greater than' if above else 'of at least'} {least}" + (
            f" and at most {most}" if isfinite(most) else ""
        )
        raise argparse.ArgumentTypeError(f"must be a number {bounds}, got {text}")

    return real


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """Return an argument type: one of some names; `choices` would reject an empty list."""

    def name(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(
                f"must be one of {', '.join(names)}, got {text!r}{suggest(text, names)}"
            )
        return text

    return name


def shape(text: str) -> tuple[int, int, int]:
    """Parse an image shape: CxHxW, or HxW for gray images."""
    parts = [part.strip() for part in text.lower().replace("×", "x").split("x")]
    if len(parts) == 2:
        parts.insert(0, "1")
    if len(parts) != 3 or not all(part.isdecimal() and 0 < int(part) <= 1024 for part in parts):
        raise argparse.ArgumentTypeError(
            f"must be CxHxW, such as 1x32x32, each from 1 to 1024, got {text}"
        )
    channels, height, width = map(int, parts)
    return channels, height, width


def setting(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE; the value is JSON or a word."""
    import json

    name, sign, value = text.partition("=")
    if name.isidentifier() and sign:
        with suppress(ValueError):
            return name, json.loads(value)
        if value.isidentifier():
            return name, value
    raise argparse.ArgumentTypeError(
        f"must be NAME=VALUE, where VALUE is a number, true, false, a list or a word, got {text}"
    )


def name_or_settings(text: str) -> str | dict[str, Any]:
    """Parse a name, or settings as a JSON object."""
    import json

    if not text.lstrip().startswith("{"):
        return text
    with suppress(ValueError, RecursionError):
        settings: dict[str, Any] = json.loads(text)
        return settings
    raise argparse.ArgumentTypeError(f"must be a name or settings as JSON, got {text}")


def pair(text: str) -> tuple[str, str]:
    """Parse OURS=THEIRS."""
    ours, sign, theirs = text.partition("=")
    if not (ours and sign):
        raise argparse.ArgumentTypeError(
            f"must be OURS=THEIRS, such as conv1=features.0, got {text!r}"
        )
    return ours, theirs
