"""Ctrl-C and a polite kill ask the run to stop after the stretch of steps it is in."""

import signal
import threading


class StopRequest:
    """While entered, the first SIGINT or SIGTERM sets `signal`; a second one acts as it would have."""

    def __enter__(self):
        self.signal = None
        self.previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception):
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def __call__(self):
        return self.signal is not None

    def _on_signal(self, number, frame):
        self.signal = number
        signal.signal(number, self.previous[number])
