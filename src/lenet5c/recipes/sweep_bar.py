"""Progress bar over the epochs of all runs, read from their folders."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lenet5c._text import is_terminal
from lenet5c.training.progress import in_notebook, make_bar
from lenet5c.training.run_folder import RunFolder

if TYPE_CHECKING:
    from lenet5c.recipes.run_config import RunConfig


class SweepBar:
    """A progress bar on a terminal or in a notebook; elsewhere, nothing is shown.

    Parameters
    ----------
    configs : sequence of RunConfig
        Runs with folders. Runs are referred to by their position in this sequence.
    shown : bool
        If False, no bar is shown.
    """

    def __init__(self, configs: Sequence["RunConfig"], shown: bool) -> None:
        self.configs = configs
        self.epochs: dict[int, int] = {}  # finished epochs of each run that has begun
        self.ended = self.failed = 0
        notebook = shown and in_notebook()
        file = sys.stdout if notebook else sys.stderr
        total = sum(config.settings.epochs for config in configs)
        shown = shown and total > 0 and (notebook or is_terminal(file))
        self.bar = make_bar(total, 0, "epoch", file, notebook) if shown else None

    def begin(self, number: int) -> None:
        """Start tracking a run."""
        self.epochs[number] = 0

    def end(self, number: int, failed: bool = False) -> None:
        """Count a run as ended, regardless of the number of epochs it took."""
        self.epochs[number] = self.configs[number].settings.epochs
        self.ended, self.failed = self.ended + 1, self.failed + failed
        self._show()

    def look(self) -> None:
        """Update the bar from the finished epochs of the current runs."""
        if self.bar is None:
            return
        for number, before in self.epochs.items():
            if before < self.configs[number].settings.epochs:
                file = RunFolder(self.configs[number].folder or "").metrics_file
                with suppress(OSError):
                    self.epochs[number] = file.read_bytes().count(b"\n")
        if sum(self.epochs.values()) != self.bar.n:
            self._show()

    @contextmanager
    def above(self) -> Iterator[None]:
        """Context manager for printing lines above the bar."""
        if self.bar is None:
            yield
        else:
            with self.bar.external_write_mode(file=sys.stdout):
                yield

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()

    def _show(self) -> None:
        if self.bar is not None:
            failed = f", {self.failed} failed" if self.failed else ""
            text = f"{self.ended}/{len(self.configs)} runs{failed}"
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.n = sum(self.epochs.values())
            self.bar.refresh()
