"""Handling of termination signals as requests to stop between steps."""

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Self

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class StopRequest:
    """A context in which the first signal sets `signal`; later ones have their usual effect.

    Ignored signals remain ignored, such as SIGHUP with `nohup`, or SIGINT in the background of a
    shell without job control.

    Parameters
    ----------
    numbers : sequence of signal numbers
        Default: SIGINT, SIGTERM and, if available, SIGHUP.
    grace : float
        Seconds after the first signal in which further ones are ignored.
    """

    def __init__(self, numbers: Sequence[int] | None = None, grace: float = 1.0) -> None:
        if numbers is None:
            numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
        self.numbers = numbers
        self.grace = grace
        self.signal: int | None = None

    def __enter__(self) -> Self:
        """Handle the signals."""
        self.signal = None
        self.previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                # None if the handler was not installed from Python.
                if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None):
                    self.previous[number] = handler
                    signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Return True if there was a signal."""
        return self.signal is not None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self.asked = number, time.monotonic()
        elif time.monotonic() - self.asked > self.grace:
            signal.signal(number, self.previous[number])
            signal.raise_signal(number)
