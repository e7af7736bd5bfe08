"""Signals that end a program as a request to stop after the current stretch of steps."""

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Self

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class StopRequest:
    """A context in which the first signal sets `signal`; a later one acts as it would have.

    A signal that is ignored stays so: SIGHUP is by `nohup`, SIGINT in the background of a shell
    without job control.

    Parameters
    ----------
    numbers : sequence of signal numbers
        By default SIGINT, SIGTERM and, where there is one, SIGHUP.
    grace : float
        Seconds after the first in which further ones mean the same.
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
                if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                    self.previous[number] = handler
                    signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the handlers of before."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Return whether there was a signal."""
        return self.signal is not None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self.asked = number, time.monotonic()
        elif time.monotonic() - self.asked > self.grace:
            signal.signal(number, self.previous[number])
            signal.raise_signal(number)
