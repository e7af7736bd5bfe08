"""Metrics of a run as CSV."""

import io
from collections.abc import Sequence
from typing import Any

COLUMNS = (
    "epoch",
    "step",
    "lr",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_accuracy",
)


def format_csv(history: Sequence[dict[str, Any]]) -> str:
    """Return CSV text with a header and a row for each epoch (RFC 4180 with line feeds).

    The columns are `COLUMNS`, followed by any others; missing values are empty. Numbers are written
    with enough digits to restore the same value.

    Examples
    --------
    >>> from lenet5c.training.metrics import format_csv
    >>> row = {"epoch": 1, "step": 32, "lr": 0.004, "train_loss": 0.1, "train_accuracy": 0.97}
    >>> print(format_csv([row]), end="")
    epoch,step,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,test_accuracy
    1,32,0.004,0.1,0.97,,,
    """
    import csv  # used once per run

    others = dict.fromkeys(name for row in history for name in row if name not in COLUMNS)
    table = io.StringIO()
    writer = csv.DictWriter(table, [*COLUMNS, *others], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return table.getvalue()
