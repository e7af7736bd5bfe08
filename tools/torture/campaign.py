"""The attempts of a part, with a seed, a time limit and counters."""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

import numpy as np


class Campaign:
    """The attempts of one part and their results.

    Parameters
    ----------
    name : str
        Name of the part.
    seconds : float
        Time after which no attempt begins.
    seed : int
    only : int, optional
        The only attempt to make.
    first : int
        The first attempt.
    answer_within : float, optional
        Time limit of a response in seconds; by default the limit of the part.

    Attributes
    ----------
    attempts : int
    failures : list of str
    counts : collections.Counter
        How often what happened, by a word or two; `count` adds to it.
    """

    def __init__(
        self,
        name: str,
        seconds: float,
        seed: int,
        only: int | None = None,
        first: int = 0,
        answer_within: float | None = None,
    ) -> None:
        self.name, self.seconds, self.seed, self.only = name, seconds, seed, only
        self.first = first if only is None else only
        self.answer_within = answer_within
        self.began = time.monotonic()
        self.attempts = 0
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()

    @property
    def left(self) -> float:
        """Remaining seconds, at least 0."""
        return max(0.0, self.began + self.seconds - time.monotonic())

    @property
    def skipped(self) -> str:
        """Reason why the part, or some of it, was skipped; empty otherwise."""
        return next((what for what in self.counts if what.startswith("skipped: ")), "")

    def tries(self, most: float = inf) -> Iterator[tuple[int, np.random.Generator]]:
        """Yield the numbers of attempts, below `most`, and their random generators.

        There is at least one, however long the preparations took.
        """
        number = self.first
        while (self.left > 0 or self.attempts == 0) and number < most:
            self.attempts += 1
            yield number, np.random.default_rng([self.seed, number])
            if self.only is not None:
                return
            number += 1

    def count(self, what: str, times: int = 1) -> None:
        """Increase a counter."""
        self.counts[what] += times

    def fail(self, number: int, what: str) -> None:
        """Record a failure; the first ones are printed at once."""
        self.failures.append(f"attempt {number}: {what}")
        if len(self.failures) <= 20:
            print(f"{self.name}: FAILED {self.failures[-1]}", file=sys.stderr, flush=True)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield a temporary folder."""
        with tempfile.TemporaryDirectory(prefix=f"torture-{self.name}-") as path:
            yield Path(path)

    def figures(self) -> dict[str, object]:
        """Return the figures for JSON."""
        return {
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.began, 1),
            "attempts": self.attempts,
            "failures": self.failures,
            "counts": dict(sorted(self.counts.items())),
        }

    def report(self) -> str:
        """Return the figures as lines of text."""
        seconds = time.monotonic() - self.began
        head = f"{self.name}: {self.attempts:,} attempts in {seconds:.0f} s, seed {self.seed}"
        lines = [f"{head}: {len(self.failures):,} failed"]
        lines += [f"  {times:>12,}  {what}" for what, times in sorted(self.counts.items())]
        return "\n".join(lines)
