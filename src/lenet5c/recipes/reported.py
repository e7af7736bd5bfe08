"""Results of recipes: those reported for the reproduced systems, and those obtained here."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

REACHED = Path(__file__).with_name("reached.json")


@dataclass(frozen=True)
class Reported:
    """Results reported by others for the system that a recipe reproduces."""

    accuracy: float | None = None  # in percent
    on: str = "test"  # part of the data: 'test' or 'train'
    beside: str = ""  # another reported accuracy
    figure: str = ""  # a remark on the accuracy
    time: str = ""  # training time and machine
    epochs: int | None = None
    test_errors: tuple[float, ...] = ()  # in percent after each epoch, if a curve was published
    train_errors: tuple[float, ...] = ()  # during each epoch
    sizes: dict[int, float] = field(
        default_factory=dict
    )  # training images -> test error in percent
    seeds: int = 20  # default number of trainings in a report, fewer if they take over a minute

    def __str__(self) -> str:
        own = "" if self.accuracy is None else f"{self.accuracy:g} % {self.on}"
        return ", ".join(filter(None, [own, self.beside]))


def percents(text: str) -> tuple[float, ...]:
    """Return evenly spaced numbers."""
    return tuple(map(float, text.split()))


REPORTED = {
    "best": Reported(seeds=8),
    "record": Reported(seeds=5),
    "paper1998": Reported(
        accuracy=99.05,
        figure="an error of 0.95 %, stated to about 0.1 %",
        time="2 to 3 days (200 MHz R10000)",
        epochs=20,
        # From the vector data of the paper's Fig. 5, accurate to about 0.02. It has 21 points; in
        # the last eight, the training error decreases from 0.38 to 0.36.
        test_errors=percents("2.67 2.24 1.47 1.42 1.42 1.08 1.03 1.05 0.97 0.95 0.95 0.97 0.95")
        + (0.95,) * 8,
        train_errors=percents("4.89 3.06 1.76 1.47 1.21 0.90 0.77 0.69 0.56 0.49 0.46 0.44 0.41")
        + tuple(0.38 - 0.02 * i / 7 for i in range(8)),
        sizes={15_000: 1.68, 30_000: 1.14, 60_000: 0.94},
        seeds=8,
    ),
    "paper1998-distorted": Reported(
        accuracy=99.2,
        figure="an error of 0.8 %, stated to about 0.1 %; 0.82 % in Fig. 6",
        time="not stated",
        epochs=20,
        sizes={60_000: 0.82},
        seeds=8,
    ),
    "mean-image": Reported(accuracy=99.08, time="2 h 18 min (6:53 per epoch)", epochs=20),
    "pynet": Reported(
        accuracy=99.04,
        beside="99.99 % train",
        time="46 h (166 s per epoch, i7-8700)",
        epochs=1000,
        seeds=4,
    ),
    "conv3x3": Reported(accuracy=98.29, time="10 min (60 s per epoch, i7-11800H)", epochs=10),
    "average-pool": Reported(
        accuracy=98.77, beside="98.88 % validation", time="not stated (RTX 3060 Laptop)", epochs=10
    ),
    "mirrored": Reported(
        accuracy=97.28,
        on="train",
        figure="the mean accuracy on training images during training",
        time="not stated",
        epochs=5,
    ),
}


def reported(name: str) -> Reported:
    """Return the reported results for a recipe, empty if it reproduces none."""
    return REPORTED.get(name, Reported())


def reached(name: str) -> str:
    """Return the recorded test accuracy of the runs of a recipe, '' if there is none.

    Examples
    --------
    >>> from lenet5c.recipes import reached, reported
    >>> reached("fast"), str(reported("pynet"))
    ('99.06 % ± 0.06 (20 seeds)', '99.04 % test, 99.99 % train')
    """
    found = _record().get(name)
    if found is None:
        return ""
    spread = "" if found["sd"] is None else f" ± {found['sd']:.2f}"
    seeds = "seed" if found["count"] == 1 else "seeds"
    return f"{found['mean']:.2f} %{spread} ({found['count']} {seeds})"


@cache
def _record() -> dict[str, Any]:
    # Written by ``lenet5c reproduce --reached`` from the runs in docs/reproductions.json.
    return json.loads(REACHED.read_text("utf-8"))
