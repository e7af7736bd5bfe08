"""Learning curves: loss, accuracy and learning rate by epoch."""

from collections.abc import Iterable
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._optional import require
from lenet5c.training.plot_style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPOSE,
    log_axis,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = (
    ("train", GREY, "training, while the net changed"),
    ("validation", GREEN, "validation"),
    ("test", BLUE, "test"),
)
MARKED = 40  # with more epochs than this, single ones are no longer marked
Rows = list[dict[str, Any]]


@styled
def curves(
    history_rows: Iterable[dict[str, Any]], *, kept_epoch: int | None = None, loss: str = ""
) -> "Figure":
    """Draw loss, accuracy and learning rate by epoch.

    Parameters
    ----------
    history_rows : list of dict
        As `lenet5c.training.Trainer.history` has them, at least one: epoch, lr, train_loss,
        train_accuracy and, where there are any, validation_loss, validation_accuracy, test_loss
        and test_accuracy. Other values are ignored.
    kept_epoch : int, optional
        The epoch whose weights were kept is marked.
    loss : str
        What the loss is of, written beside it.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There is no row.
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.

    Examples
    --------
    ::

        figure = curves(trainer.history)
        figure.savefig("curves.png")
    """
    rows = list(history_rows)
    if not rows:
        raise ValueError("history_rows must have a row for each finished epoch, got none")
    epochs = np.array([row.get("epoch", number) for number, row in enumerate(rows, start=1)], float)
    rates = _column(rows, "lr")
    with_rates = len(rows) > 1 and np.nanmax(rates, initial=0) > np.nanmin(rates, initial=np.inf)
    figure = new_figure(10.2 if with_rates else 7.8, 3.3, layout="constrained")
    ratios = (3, 3, 2) if with_rates else (3, 3)
    axes = figure.subplots(1, len(ratios), width_ratios=ratios)
    _draw_losses(axes[0], epochs, rows)
    if loss:
        place = {"ha": "right", "va": "top", "color": GREY, "transform": axes[0].transAxes}
        axes[0].text(0.98, 0.97, fill(loss, 36), fontsize=7, **place)
    _draw_accuracies(axes[1], epochs, rows)
    if with_rates:
        axes[2].plot(epochs, rates, color=ORANGE, **_points(len(rows)))
        axes[2].set_title("learning rate")
        axes[2].set_ylim(bottom=0)
        axes[2].yaxis.set_major_formatter(_ticker().StrMethodFormatter("{x:g}"))
    for ax in axes:
        _draw_epoch_axis(ax, epochs)
        if kept_epoch is not None:
            ax.axvline(kept_epoch, color=INK, linewidth=0.8, linestyle=":", zorder=1)
    if kept_epoch is not None:
        place = {"xycoords": ("data", "axes fraction"), "fontsize": 8, "va": "bottom"}
        axes[1].annotate(" kept", (kept_epoch, 0.02), **place)
    lines, labels = axes[1].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(lines))
    return figure


def _draw_losses(ax: "Axes", epochs: NDArray[np.float64], rows: Rows) -> None:
    drawn: list[float] = []
    for part, color, label in PARTS:
        values = _column(rows, f"{part}_loss")
        if np.isfinite(values).any():
            ax.plot(epochs, values, color=color, label=label, **_points(len(rows)))
            drawn += values[np.isfinite(values)].tolist()
    if drawn and min(drawn) > 0 and max(drawn) > 3 * min(drawn):
        log_axis(ax, "y", drawn)
    elif drawn:
        ax.margins(y=0.1)
    ax.set_title("loss")


def _draw_accuracies(ax: "Axes", epochs: NDArray[np.float64], rows: Rows) -> None:
    """Draw accuracies on an axis that is logarithmic in the error, to spread those near 100 %."""
    errors = {part: 100 - 100 * _column(rows, f"{part}_accuracy") for part, _, _ in PARTS}
    errors = {part: values for part, values in errors.items() if np.isfinite(values).any()}
    drawn = [value for values in errors.values() for value in values[np.isfinite(values)].tolist()]
    in_errors = bool(drawn) and min(drawn) > 0 and max(drawn) > 3 * min(drawn)
    for part, color, label in PARTS:
        if part in errors:
            values = errors[part] if in_errors else 100 - errors[part]
            ax.plot(epochs, values, color=color, label=label, **_points(len(rows)))
    if in_errors:
        log_axis(ax, "y", drawn)
        ax.set_ylim(*reversed(ax.get_ylim()))
        ax.yaxis.set_major_formatter(_ticker().FuncFormatter(_format_accuracy))
        if ax.get_ylim()[0] > 100:
            ax.set_ylim(bottom=100)
    else:
        ax.margins(y=0.1)
        ax.set_ylim(top=min(ax.get_ylim()[1], 100.5))
    ax.set_title("accuracy in %")


def _draw_epoch_axis(ax: "Axes", epochs: NDArray[np.float64]) -> None:
    first, last = epochs.min(), epochs.max()
    ax.set_xlim((first - 0.5, last + 0.5) if len(epochs) <= MARKED else (first - 1, last))
    ax.xaxis.set_major_locator(_ticker().MaxNLocator(8, integer=True, min_n_ticks=1))
    ax.set_xlabel("epoch")
    ax.grid()


def _ticker() -> Any:
    return require("matplotlib.ticker", "plots", PURPOSE)


def _column(rows: Rows, name: str) -> NDArray[np.float64]:
    """Return the values of a name, NaN where a row has none."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)


def _points(count: int) -> dict[str, Any]:
    if count <= MARKED:
        return {"linewidth": 1.6, "marker": "o", "markersize": 3.5}
    return {"linewidth": 1.1}


def _format_accuracy(error: float, _: object) -> str:
    """Return the tick of an axis of errors; not a lambda, so that figures can be pickled."""
    return f"{100 - error:.6g}"
