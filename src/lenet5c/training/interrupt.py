"""Ctrl-C and a polite kill ask the run to stop after the stretch of steps it is in."""

import signal
import threading
import time


class StopRequest:
    """While entered, the first of these signals sets `signal`; a second one acts as it would have.

    Parameters
    ----------
    numbers : sequence of signal numbers
    grace : float
        Seconds after the first in which a second one is ignored.
    """

    def __init__(self, numbers=(signal.SIGINT, signal.SIGTERM), grace=0.0):
        self.numbers = numbers
        self.grace = grace

    def __enter__(self):
        self.signal = None
        self.previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                self.previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception):
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def __call__(self):
        return self.signal is not None

    def _on_signal(self, number, frame):
        if self.signal is None:
            self.asked = time.monotonic()
        self.signal = number
        if self.grace == 0:
            signal.signal(number, self.previous[number])
        elif time.monotonic() - self.asked > self.grace:
            signal.signal(number, self.previous[number])
            signal.raise_signal(number)
