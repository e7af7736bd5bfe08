"""Handling of signals that end a command, with at most one line of output.

SIGINT, SIGTERM and SIGHUP end the process with exit code 130, 143 and 129: immediately at startup
and exit, by a KeyboardInterrupt while the command is running, so that temporary files are removed.
Signals soon after the first one are ignored; a later one does not wait for the cleanup.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager

TYPE_CHECKING = False  # instead of importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
GRACE = 1.0  # seconds in which further signals are ignored
_at_work = False
_first: int | None = None
_came = 0.0


def install() -> None:
    """Install these signal handlers, except for ignored signals.

    `nohup` ignores SIGHUP, and a shell without job control ignores SIGINT for background processes.
    """
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    # An interrupt where Python cannot raise an exception, such as in a destructor.
    sys.excepthook = sys.unraisablehook = _report


@contextmanager
def at_work() -> Iterator[None]:
    """Let a signal raise KeyboardInterrupt in this context."""
    global _at_work, _first
    _first = None  # from an earlier command in this process
    try:
        _at_work = True
        yield
    finally:
        _at_work = False


def exit_code() -> int | None:
    """Return the exit code of the received signal, None if there was none."""
    return None if _first is None else 128 + _first


def settle(number: int) -> None:
    """Record a signal that the command has handled and is about to exit with."""
    global _first, _came
    _first, _came = number, time.monotonic()


def _end(number: int, frame: FrameType | None) -> None:
    if _first is not None:
        if time.monotonic() - _came > GRACE:
            os._exit(128 + _first)
        return
    settle(number)
    if not _at_work:
        os._exit(128 + number)
    raise KeyboardInterrupt


def _report(*arguments: Any) -> None:
    """Report an unhandled exception, except an interrupt."""
    kind = arguments[0] if len(arguments) == 3 else arguments[0].exc_type
    if issubclass(kind, KeyboardInterrupt):
        os._exit(exit_code() or 128 + signal.SIGINT)
    (sys.__excepthook__ if len(arguments) == 3 else sys.__unraisablehook__)(*arguments)
