"""How a training went, epoch by epoch."""

import numpy as np

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

PARTS = (
    ("train", GREY, "training, while the net changed"),
    ("validation", GREEN, "validation"),
    ("test", BLUE, "test"),
)
MARKED = 40  # with more epochs than this, single ones are no longer marked


@styled
def curves(history_rows, *, kept_epoch=None):
    """Loss, accuracy and learning rate by epoch.

    Parameters
    ----------
    history_rows : list of dict
        As `lenet5c.training.Trainer.history` has them: epoch, lr, train_loss, train_accuracy and, where there are any,
        validation_loss, validation_accuracy, test_loss and test_accuracy. At least one; others of their values are not
        looked at.
    kept_epoch : int, optional
        The epoch whose weights were kept is marked.

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
        raise ValueError(
            "history_rows is empty; it should have a row for each finished epoch, at least one"
        )
    epochs = np.array([row.get("epoch", number) for number, row in enumerate(rows, start=1)], float)
    rates = _column(rows, "lr")
    with_rates = len(rows) > 1 and np.nanmax(rates, initial=0) > np.nanmin(rates, initial=np.inf)
    figure = new_figure(10.2 if with_rates else 7.8, 3.3, layout="constrained")
    axes = figure.subplots(
        1, 3 if with_rates else 2, width_ratios=(3, 3, 2)[: 3 if with_rates else 2]
    )
    _losses(axes[0], epochs, rows)
    _accuracies(axes[1], epochs, rows)
    if with_rates:
        axes[2].plot(epochs, rates, color=ORANGE, **_points(len(rows)))
        axes[2].set_title("learning rate")
        axes[2].set_ylim(bottom=0)
        ticker = require("matplotlib.ticker", "plots", PURPOSE)
        axes[2].yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    for ax in axes:
        _epoch_axis(ax, epochs)
        if kept_epoch is not None:
            ax.axvline(kept_epoch, color=INK, linewidth=0.8, linestyle=":", zorder=1)
    if kept_epoch is not None:
        axes[1].annotate(
            " kept", (kept_epoch, 0.02), xycoords=("data", "axes fraction"), fontsize=8, va="bottom"
        )
    lines, labels = axes[1].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(lines))
    return figure


def _losses(ax, epochs, rows):
    drawn = []
    for part, colour, label in PARTS:
        values = _column(rows, f"{part}_loss")
        if np.isfinite(values).any():
            ax.plot(epochs, values, color=colour, label=label, **_points(len(rows)))
            drawn += values[np.isfinite(values)].tolist()
    if drawn and min(drawn) > 0 and max(drawn) > 3 * min(drawn):
        log_axis(ax, "y", drawn)
    elif drawn:
        ax.margins(y=0.1)
    ax.set_title("loss")


def _accuracies(ax, epochs, rows):
    """Of the accuracies near 100 % as much is seen as of others: the axis is logarithmic in the error."""
    errors = {part: 100 - 100 * _column(rows, f"{part}_accuracy") for part, _, _ in PARTS}
    errors = {part: values for part, values in errors.items() if np.isfinite(values).any()}
    drawn = np.concatenate(
        [values[np.isfinite(values)] for values in errors.values()] or [np.zeros(0)]
    )
    in_errors = len(drawn) > 0 and drawn.min() > 0 and drawn.max() > 3 * drawn.min()
    for part, colour, label in PARTS:
        if part in errors:
            values = errors[part] if in_errors else 100 - errors[part]
            ax.plot(epochs, values, color=colour, label=label, **_points(len(rows)))
    if in_errors:
        log_axis(ax, "y", drawn.tolist())
        ax.set_ylim(*reversed(ax.get_ylim()))
        ticker = require("matplotlib.ticker", "plots", PURPOSE)
        ax.yaxis.set_major_formatter(ticker.FuncFormatter(_accuracy_of))
        if ax.get_ylim()[0] > 100:
            ax.set_ylim(bottom=100)
    else:
        ax.margins(y=0.1)
        ax.set_ylim(top=min(ax.get_ylim()[1], 100.5))
    ax.set_title("accuracy in %")


def _epoch_axis(ax, epochs):
    first, last = epochs.min(), epochs.max()
    ticker = require("matplotlib.ticker", "plots", PURPOSE)
    ax.set_xlim((first - 0.5, last + 0.5) if len(epochs) <= MARKED else (first - 1, last))
    ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True, min_n_ticks=1))
    ax.set_xlabel("epoch")
    ax.grid()


def _column(rows, name):
    """The values of a name, NaN where a row has none."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)


def _points(count):
    return (
        {"linewidth": 1.6, "marker": "o", "markersize": 3.5}
        if count <= MARKED
        else {"linewidth": 1.1}
    )


def _accuracy_of(error, _):
    """What a tick of an axis of errors says; not a lambda, so that figures can be pickled."""
    return f"{100 - error:.6g}"
