"""metrics.csv."""

import csv
import io
import json
from math import nan

from lenet5c.training.metrics import COLUMNS, format_csv


def test_what_is_written_is_read_again():
    history = [
        {"epoch": 1, "step": 10, "lr": 0.1 + 0.2, "train_loss": 1 / 3, "train_accuracy": 1e-300},
        {"epoch": 2, "step": 20, "lr": 6e-07, "train_loss": nan, "validation_loss": 0.5},
    ]
    text = format_csv(history)
    assert text.endswith("\n") and "\r" not in text and len(text.splitlines()) == 3
    header, *rows = csv.reader(io.StringIO(text))
    assert header == list(COLUMNS)
    first, second = (dict(zip(header, row, strict=True)) for row in rows)
    assert (
        float(first["lr"]) == 0.1 + 0.2
        and float(first["train_loss"]) == 1 / 3
        and first["epoch"] == "1"
    )
    assert first["validation_loss"] == first["test_accuracy"] == second["train_accuracy"] == ""
    assert second["train_loss"] == "nan" and second["lr"] == "6e-07"


def test_further_columns_are_behind_and_quoted():
    text = format_csv([{"epoch": 1, 'a "b", c': "x\ny"}, {"epoch": 2, "late": json.dumps([1])}])
    header, first, second = csv.reader(io.StringIO(text))
    assert header == [*COLUMNS, 'a "b", c', "late"]
    assert first[-2:] == ["x\ny", ""] and second[-2:] == ["", "[1]"]


def test_of_no_epoch_there_is_the_header():
    assert format_csv([]) == ",".join(COLUMNS) + "\n"
