"""Ctrl-C and SIGTERM as a request to stop after the current stretch of steps."""

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Self


class StopRequest:
    """A context in which the first signal sets `signal`; a second one acts as it would have.

    Parameters
    ----------
    numbers : sequence of signal numbers
    grace : float
        Seconds after the first in which a second one is ignored.
    """

    def __init__(
        self, numbers: Sequence[int] = (signal.SIGINT, signal.SIGTERM), grace: float = 0.0
    ) -> None:
        self.numbers = numbers
        self.grace = grace
        self.signal: int | None = None

    def __enter__(self) -> Self:
        """Handle the signals."""
        self.signal = None
        self.previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                self.previous[number] = signal.signal(number, self._on_signal)
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
            self.asked = time.monotonic()
        self.signal = number
        if self.grace == 0:
            signal.signal(number, self.previous[number])
        elif time.monotonic() - self.asked > self.grace:
            signal.signal(number, self.previous[number])
            signal.raise_signal(number)
