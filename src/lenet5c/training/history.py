"""Training history: metrics by epoch as rows, columns, text, table or plot."""

import sys
from collections.abc import Iterable
from math import nan
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import html_table, table, to_html
from lenet5c.training.metrics import COLUMNS
from lenet5c.training.selection import best_row
from lenet5c.training.sparkline import BLOCKS, blocks_for, sparkline, summarize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
ENDS = 5  # rows shown at each end of a long history


class History(list[dict[str, Any]]):
    """Rows of metrics, one for each finished epoch, as in `Trainer.history`.

    A list of dicts; indexing with the name of a column, ``history["train_loss"]``, returns it as an
    array. Notebooks display it as a table.

    Parameters
    ----------
    rows : iterable of dict
    epochs : int, optional
        Total number of epochs; the number of `rows` by default.
    done : bool
        True if training is finished, possibly early because of `patience`.
    kept_epoch : int, optional
        Epoch whose weights were kept as the best; marked by `plot`.
    loss : str
        Description of the loss, shown by `plot`.

    Examples
    --------
    >>> from lenet5c.training import History
    >>> rows = [{"epoch": 1, "lr": 0.01, "train_loss": 0.41, "train_accuracy": 0.881},
    ...         {"epoch": 2, "lr": 0.001, "train_loss": 0.09, "train_accuracy": 0.972}]
    >>> history = History(rows, epochs=3, done=False)
    >>> history["train_loss"], history[-1]["epoch"], history.done
    (array([0.41, 0.09]), 2, False)
    >>> history
    epoch  learning rate  train loss  train acc.
        1       1.00e-02      0.4100      88.10%
        2       1.00e-03      0.0900      97.20%
    train  loss 0.4100 █▁ 0.0900   accuracy 88.10% ▁█ 97.20%
    2 of 3 epochs; call the trainer's fit() to continue.
    """

    def __init__(
        self,
        rows: Iterable[dict[str, Any]] = (),
        epochs: int | None = None,
        done: bool = True,
        kept_epoch: int | None = None,
        loss: str = "",
    ) -> None:
        super().__init__(rows)
        self.epochs = len(self) if epochs is None else epochs
        self.done = done
        self.kept_epoch = kept_epoch
        self.loss = loss

    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, key: SupportsIndex) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, key: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, key: Any) -> Any:
        """Return a row, a slice of rows, or a column by name, with NaN for missing values."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        if not any(key in row for row in self):
            known = ", ".join(self.columns) or "none: no epoch is finished"
            raise KeyError(f"key must be a row or one of the columns {known}, got {key!r}")
        values = [row.get(key, nan) for row in self]
        return np.array(values, None if any(isinstance(v, float) for v in values) else int)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        present = dict.fromkeys(name for row in self for name in row)
        return (
            *(name for name in COLUMNS if name in present),
            *(name for name in present if name not in COLUMNS),
        )

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """Return the columns by name, for example for ``pandas.DataFrame(history.to_dict())``."""
        return {name: self[name] for name in self.columns}

    @property
    def best(self) -> dict[str, Any] | None:
        """Row of the best epoch: highest validation accuracy, then lowest loss.

        None without a validation set, as training metrics do not show which epoch is the best.
        """
        rows = [row for row in self if {"validation_loss", "validation_accuracy"} <= row.keys()]
        return best_row(rows)

    def plot(self) -> "Figure":
        """Draw loss, accuracy and learning rate by epoch.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, which notebooks display; ``history.plot().savefig("run.png")`` saves it.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        from lenet5c.training.curves import curves

        return curves(self, kept_epoch=self.kept_epoch, loss=self.loss)

    def __repr__(self) -> str:
        """Return a table, a sparkline of each metric and the position of unfinished training."""
        if not (cells := self._cells()):
            return self._state()
        lines = summarize(self, blocks=blocks_for(sys.stdout))
        return "\n".join([table(cells, "r" * len(cells[0])), lines, self._state()]).rstrip("\n")

    def _repr_html_(self) -> str:
        heading, *rows = self._cells() or [[]]
        parts = [html_table(heading, rows)] if rows else []
        lines = ""
        for name, label in HEADINGS.items():
            if name.endswith(("_loss", "_accuracy")) and len(self) > 1 and name in self.columns:
                line = sparkline(self[name], 40, BLOCKS, logarithmic=name.endswith("_loss"))
                lines += (
                    f"<tr><td style='text-align: left'>{to_html(label)}</td>"
                    f"<td><code>{line}</code></td></tr>"
                )
        if lines:
            parts.append(f"<table><tbody>{lines}</tbody></table>")
        if state := self._state():
            parts.append(f"<p>{to_html(state)}</p>")
        return f"<div>{''.join(parts)}</div>"

    def _state(self) -> str:
        """Return the position of unfinished training, '' if it is finished."""
        if self.done:
            return "" if self else "0 epochs."
        return f"{len(self)} of {self.epochs} epochs; call the trainer's fit() to continue."

    def _cells(self) -> list[list[str]]:
        """Return the table as text with a header, abbreviated in the middle if it is long."""
        names = [name for name in self.columns if name != "step"]
        if not names:
            return []
        rows = [[_text(name, row.get(name)) for name in names] for row in self]
        if len(rows) > 2 * ENDS + 2:
            rows = [*rows[:ENDS], ["..."] * len(names), *rows[-ENDS:]]
        return [[HEADINGS.get(name, name) for name in names], *rows]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    if name.endswith("accuracy"):
        return f"{value:.2%}"
    if name == "lr":
        return f"{value:.2e}"
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4g}"
