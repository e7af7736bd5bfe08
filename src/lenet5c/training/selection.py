"""Selection of the best epoch of a run from its history."""

from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]


def best_row(history: Iterable[Row]) -> Row | None:
    """Return the row with the highest validation accuracy, then lowest loss, then earliest epoch.

    Examples
    --------
    >>> from lenet5c.training.selection import best_row
    >>> figures = [(0.3, 0.95), (0.1, 0.97), (0.2, 0.97)]
    >>> best_row([{"validation_loss": a, "validation_accuracy": b} for a, b in figures])
    {'validation_loss': 0.1, 'validation_accuracy': 0.97}
    """
    best = None
    for row in history:
        if best is None or _is_better(row, best):
            best = row
    return best


def epochs_since_best(history: list[Row]) -> int:
    """Return the number of epochs after the best one."""
    best = best_row(history)
    return 0 if best is None else len(history) - 1 - history.index(best)


def _is_better(row: Row, than: Row) -> bool:
    # Not a comparison of pairs, because a loss may be NaN.
    if row["validation_accuracy"] != than["validation_accuracy"]:
        return bool(row["validation_accuracy"] > than["validation_accuracy"])
    return bool(row["validation_loss"] < than["validation_loss"])
