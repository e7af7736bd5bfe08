"""The figures of a run as a table for spreadsheets and data frames."""

import csv
import io

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


def csv_text(history):
    """RFC 4180 with line feeds: a header and a row for each epoch, an empty cell where there is no figure.

    The columns are always `COLUMNS`, and behind them whatever else rows have. Numbers have the digits that give the
    same number back.

    Examples
    --------
    >>> from lenet5c.training.metrics import csv_text
    >>> print(csv_text([{"epoch": 1, "step": 32, "lr": 0.004, "train_loss": 0.1, "train_accuracy": 0.97}]), end="")
    epoch,step,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,test_accuracy
    1,32,0.004,0.1,0.97,,,
    """
    others = dict.fromkeys(name for row in history for name in row if name not in COLUMNS)
    table = io.StringIO()
    writer = csv.DictWriter(table, [*COLUMNS, *others], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return table.getvalue()
