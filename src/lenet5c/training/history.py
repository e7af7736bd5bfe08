"""What a training in a notebook leaves behind: figures by epoch, as rows, columns, text, table or picture."""

import sys
from functools import partial
from html import escape
from math import nan

import numpy as np

from lenet5c.training.metrics import COLUMNS
from lenet5c.training.selection import best_row
from lenet5c.training.sparkline import BLOCKS, blocks_for, course, sparkline

HEADINGS = {
    "epoch": "epoch",
    "lr": "learning rate",
    "train_loss": "train loss",
    "train_accuracy": "train acc.",
    "validation_loss": "valid. loss",
    "validation_accuracy": "valid. acc.",
    "test_loss": "test loss",
    "test_accuracy": "test acc.",
}
ENDS = 5  # rows shown of each end of a long history


class History(list):
    """The rows of a training, one for each finished epoch, as in `Trainer.history`.

    A list of dicts. With the name of a column in brackets, it gives that column as an array: ``history["train_loss"]``.
    In a notebook it shows as a table.

    Parameters
    ----------
    rows : iterable of dict
    epochs : int, optional
        How many there are to be; as many as there are rows, if not given.
    done : bool
        Whether the training is at its end. It may be before all epochs, by `patience`.
    kept_epoch : int, optional
        The epoch whose weights the model has, if they were chosen; `plot` marks it.

    Examples
    --------
    >>> from lenet5c.training import History
    >>> history = History([{"epoch": 1, "lr": 0.01, "train_loss": 0.41, "train_accuracy": 0.881},
    ...                    {"epoch": 2, "lr": 0.001, "train_loss": 0.09, "train_accuracy": 0.972}], epochs=3, done=False)
    >>> history["train_loss"], history[-1]["epoch"], history.done
    (array([0.41, 0.09]), 2, False)
    >>> history
    epoch  learning rate  train loss  train acc.
        1       1.00e-02      0.4100      88.10%
        2       1.00e-03      0.0900      97.20%
    train  loss 0.4100 █▁ 0.0900   accuracy 88.10% ▁█ 97.20%
    2 of 3 epochs; the trainer's fit() goes on.
    """

    def __init__(self, rows=(), epochs=None, done=True, kept_epoch=None):
        super().__init__(rows)
        self.epochs = len(self) if epochs is None else epochs
        self.done = done
        self.kept_epoch = kept_epoch

    def __getitem__(self, key):
        if not isinstance(key, str):
            return super().__getitem__(key)
        if not any(key in row for row in self):
            known = ", ".join(self.columns) or "none: no epoch is finished"
            raise KeyError(f"there is no column {key!r}; there are {known}")
        values = [row.get(key, nan) for row in self]
        return np.array(
            values, None if any(isinstance(value, float) for value in values) else np.int64
        )

    @property
    def columns(self):
        """The names of the columns."""
        present = dict.fromkeys(name for row in self for name in row)
        return (
            *(name for name in COLUMNS if name in present),
            *(name for name in present if name not in COLUMNS),
        )

    def to_dict(self):
        """name -> array of all epochs, as for ``pandas.DataFrame(history.to_dict())``; NaN where a row has no figure."""
        return {name: self[name] for name in self.columns}

    @property
    def best(self):
        """The row of the best epoch: the highest validation accuracy, and the lowest loss of several.

        None if there are no validation images: training figures do not tell which epoch was the best.
        """
        rows = [row for row in self if {"validation_loss", "validation_accuracy"} <= row.keys()]
        return best_row(rows)

    def plot(self):
        """Loss and accuracy by epoch.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; ``history.plot().savefig("run.png")`` writes it into a file.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        """
        from lenet5c.report.pictures import curves
        from lenet5c.report.style import png

        figure = curves(self, kept_epoch=self.kept_epoch)
        # Notebooks know how to show a figure once pyplot is imported, which it need not be.
        figure._repr_png_ = partial(png, figure)
        return figure

    def __repr__(self):
        shown = self._cells()
        if not shown:
            return self._state()
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)).rstrip() for row in shown]
        return "\n".join(
            [*lines, course(self, blocks=blocks_for(sys.stdout)), *filter(None, [self._state()])]
        )

    def _repr_html_(self):
        heading, *rows = self._cells() or [()]
        text = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        lines = []
        for name, label in HEADINGS.items():
            if name.endswith(("_loss", "_accuracy")) and len(self) > 1 and name in self.columns:
                line = sparkline(self[name], 40, BLOCKS, logarithmic=name.endswith("_loss"))
                lines.append(
                    f"<tr><td style='text-align: left'>{escape(label)}</td><td><code>{line}</code></td></tr>"
                )
        table = (
            f"<table><thead><tr>{text}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
        )
        charts = f"<table><tbody>{''.join(lines)}</tbody></table>" if lines else ""
        state = self._state()
        return f"<div>{table}{charts}{f'<p>{escape(state)}</p>' if state else ''}</div>"

    def _state(self):
        """Where an unfinished training stands; nothing of a finished one."""
        if self.done:
            return "" if self else "0 epochs."
        return f"{len(self)} of {self.epochs} epochs; the trainer's fit() goes on."

    def _cells(self):
        """The rows of the table as text, the heading first; of a long history both ends."""
        names = [name for name in self.columns if name != "step"]
        if not names:
            return []
        rows = [[_text(name, row.get(name)) for name in names] for row in self]
        if len(rows) > 2 * ENDS + 2:
            rows = [*rows[:ENDS], ["..."] * len(names), *rows[-ENDS:]]
        return [[HEADINGS.get(name, name) for name in names], *rows]


def _text(name, value):
    if isinstance(value, float):
        if name.endswith("accuracy"):
            return f"{100 * value:.2f}%"
        return (
            f"{value:.2e}"
            if name == "lr"
            else f"{value:.4f}"
            if abs(value) < 1e6
            else f"{value:.4g}"
        )
    return "" if value is None else str(value)
