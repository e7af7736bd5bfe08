"""Learning curves: loss, accuracy and learning rate by epoch."""

from collections.abc import Iterable, Mapping
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
    ("train", GREY, "training (mean over the epoch)"),
    ("validation", GREEN, "validation"),
    ("test", BLUE, "test"),
)
MARKED = 40  # maximum number of epochs with markers
FIGURES = ("loss", "accuracy")
#: Colors, then line styles, of several runs in one figure.
RUN_COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
STROKES = ("-", "--", ":")
Rows = list[dict[str, Any]]
Line = tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]]  # epochs, values, style


@styled
def curves(
    history_rows: Iterable[dict[str, Any]], *, kept_epoch: int | None = None, loss: str = ""
) -> "Figure":
    """Draw loss, accuracy and learning rate by epoch.

    Parameters
    ----------
    history_rows : list of dict
        At least one row of `lenet5c.training.Trainer.history`: epoch, lr, train_loss,
        train_accuracy and optionally validation_loss, validation_accuracy, test_loss and
        test_accuracy. Other values are ignored.
    kept_epoch : int, optional
        Epoch to mark as the one whose weights were kept.
    loss : str
        Description of the loss, shown as a label.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no row.
    lenet5c.errors.MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    ::

        figure = curves(trainer.history)
        figure.savefig("curves.png")
    """
    rows = list(history_rows)
    if not rows:
        raise ValueError("history_rows must have a row for each finished epoch, got none")
    epochs = _number_epochs(rows)
    rates = _column(rows, "lr")
    with_rates = len(rows) > 1 and np.nanmax(rates, initial=0) > np.nanmin(rates, initial=np.inf)
    figure = new_figure(10.2 if with_rates else 7.8, 3.3, layout="constrained")
    ratios = (3, 3, 2) if with_rates else (3, 3)
    axes = figure.subplots(1, len(ratios), width_ratios=ratios)
    _draw_losses(axes[0], _find_lines(epochs, rows, "loss"))
    if loss:
        place = {"ha": "right", "va": "top", "color": GREY, "transform": axes[0].transAxes}
        axes[0].text(0.98, 0.97, fill(loss, 36), fontsize=7, **place)
    _draw_accuracies(axes[1], _find_lines(epochs, rows, "accuracy"))
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


def compare_curves(histories: Mapping[str, Rows]) -> "Figure":
    """Draw loss and accuracy of several runs by epoch, on validation images if available.

    Parameters
    ----------
    histories : mapping of str to list of dict
        Rows of each run (see `curves`) by its name in the legend.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(9.6, 4.2, layout="constrained")
    axes = figure.subplots(1, 2)
    of_runs = {name: _number_epochs(rows) for name, rows in histories.items()}
    for ax, draw, what in zip(axes, (_draw_losses, _draw_accuracies), FIGURES, strict=True):
        lines = []
        for i, (name, rows) in enumerate(histories.items()):
            part = "validation" if f"validation_{what}" in rows[-1] else "train"
            values = _column(rows, f"{part}_{what}")
            style: dict[str, Any] = {"color": RUN_COLORS[i % len(RUN_COLORS)], "label": name}
            style |= {"linestyle": STROKES[i // len(RUN_COLORS) % len(STROKES)]}
            style |= {"alpha": 1.0 if part == "validation" else 0.5}
            lines.append((of_runs[name], values, style))
        draw(ax, lines)
        if all(f"validation_{what}" in rows[-1] for rows in histories.values()):
            ax.set_title(f"validation {ax.get_title()}")
        _draw_epoch_axis(ax, np.concatenate(list(of_runs.values())))
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)))
    return figure


def _number_epochs(rows: Rows) -> NDArray[np.float64]:
    return np.array([row.get("epoch", number) for number, row in enumerate(rows, start=1)], float)


def _find_lines(epochs: NDArray[np.float64], rows: Rows, what: str) -> list[Line]:
    """Return the line of each part whose loss or accuracy is known."""
    found = [
        (epochs, _column(rows, f"{part}_{what}"), {"color": color, "label": label})
        for part, color, label in PARTS
    ]
    return [line for line in found if np.isfinite(line[1]).any()]


def _draw_losses(ax: "Axes", lines: list[Line]) -> None:
    drawn: list[float] = []
    for epochs, values, style in lines:
        ax.plot(epochs, values, **style, **_points(len(epochs)))
        drawn += values[np.isfinite(values)].tolist()
    if drawn and min(drawn) > 0 and max(drawn) > 3 * min(drawn):
        log_axis(ax, "y", drawn)
    elif drawn:
        ax.margins(y=0.1)
    ax.set_title("loss")


def _draw_accuracies(ax: "Axes", lines: list[Line]) -> None:
    """Draw accuracies on an axis that is logarithmic in the error."""
    errors = [100 - 100 * values for _, values, _ in lines]
    drawn = [value for each in errors for value in each[np.isfinite(each)].tolist()]
    in_errors = bool(drawn) and min(drawn) > 0 and max(drawn) > 3 * min(drawn)
    for each, (epochs, _, style) in zip(errors, lines, strict=True):
        values = each if in_errors else 100 - each
        ax.plot(epochs, values, **style, **_points(len(epochs)))
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
    """Return the values of a column, NaN where a row has none."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)


def _points(count: int) -> dict[str, Any]:
    if count <= MARKED:
        return {"linewidth": 1.6, "marker": "o", "markersize": 3.5}
    return {"linewidth": 1.1}


def _format_accuracy(error: float, _: object) -> str:
    """Format a tick of an axis of errors; not a lambda, so that figures can be pickled."""
    return f"{100 - error:.6g}"
