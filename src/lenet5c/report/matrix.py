"""The confusion matrix as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.report.names import drawable, text_width
from lenet5c.report.tables import defined_scores
from lenet5c.training.confusion import class_scores
from lenet5c.training.plot_style import BLUE, GREY, INK, ORANGE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED = 24  # with more classes, cells have a color only
WIDEST = 24  # columns of a name


@styled
def confusion(matrix: ArrayLike, class_names: Sequence[str]) -> "Figure":
    """Draw a confusion matrix.

    Parameters
    ----------
    matrix : ndarray of int (K, K)
        As `lenet5c.training.confusion_matrix` has it.
    class_names : sequence of str

    Returns
    -------
    matplotlib.figure.Figure
        Rows are true labels, columns predicted ones. Correct predictions are blue, others orange,
        the stronger the larger their share of the row.

    Raises
    ------
    ValueError
        There is not one name for each class.
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    matrix = np.asarray(matrix)
    classes = len(matrix)
    if len(class_names) != classes:
        raise ValueError(
            f"class_names must be one for each of {classes} classes, got {len(class_names)}"
        )
    names = drawable(class_names, WIDEST)
    numbered = classes <= NUMBERED
    if numbered:
        cell = max(min(0.62, max(0.42, 2.4 / classes)), 0.085 * max(len(f"{matrix.max():,}"), 3))
        size = 8.0
    else:
        cell = min(0.17, 11 / classes)
        size = min(8, max(4.5, 62 * cell))
    side = cell * classes
    widest = text_width(names, size)
    upright = widest > 0.9 * cell
    left, right, top = widest + 0.5, 0.7 if numbered else 0.2, 0.36 if numbered else 0.15
    bottom = (widest if upright else 0.15) + 0.42
    width, height = left + side + right, bottom + side + top
    figure = new_figure(width, height)
    ax = figure.add_axes((left / width, bottom / height, side / width, side / height))
    ax.imshow(_colors(matrix), interpolation="nearest", aspect="auto")
    # Where rows are finer than letters, some have no name.
    step = max(1, int(np.ceil(0.075 / cell)))
    ticks = range(0, classes, step)
    ax.set_xticks(ticks, names[::step], rotation=90 if upright else 0, fontsize=size)
    ax.set_yticks(ticks, names[::step], fontsize=size)
    ax.tick_params(length=0, pad=3)
    ax.spines[:].set(visible=True, color=GREY, linewidth=0.6)
    if numbered:
        for draw in (ax.hlines, ax.vlines):
            draw(np.arange(classes - 1) + 0.5, -0.5, classes - 0.5, color="white", linewidth=0.5)
        _write_numbers(ax, matrix, size)
    middle = (left + side / 2) / width, (bottom + side / 2) / height
    figure.text(0.06 / width, middle[1], "true", rotation=90, va="center", ha="left")
    figure.text(middle[0], 0.06 / height, "predicted", va="bottom", ha="center")
    return figure


def _colors(matrix: NDArray[np.integer]) -> NDArray[np.floating]:
    """Return (K, K, 3), 0 to 1: correct from white to blue, misclassified from white to orange."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    correct = np.eye(len(matrix), dtype=bool)
    # The largest share of mistakes has the full color, if it is between 1 in 50 and 1 in 4.
    full = min(max(share[~correct].max(initial=0), 0.02), 0.25)
    mistakes = 0.1 + 0.9 * np.sqrt(np.minimum(share / full, 1))
    strength = np.where(correct, 0.15 + 0.55 * share, mistakes) * (matrix > 0)
    color = np.where(correct[..., None], rgb(BLUE), rgb(ORANGE))
    return 1 - strength[..., None] * (1 - color)


def _write_numbers(ax: Any, matrix: NDArray[np.integer], size: float) -> None:
    """Write counts into the cells, each class's recall on the right and precision on top."""
    dark = _colors(matrix) @ (0.3, 0.59, 0.11) < 0.55
    classes = len(matrix)
    for label, predicted in zip(*np.nonzero(matrix), strict=True):
        ax.text(
            predicted,
            label,
            f"{matrix[label, predicted]:,}",
            ha="center",
            va="center",
            fontsize=size - 0.5,
            color="white" if dark[label, predicted] else INK,
        )

    def write(x: float, y: float, text: str, ha: str, va: str) -> None:
        ax.text(x, y, text, color=GREY, fontsize=size - 1, ha=ha, va=va)

    scores = class_scores(matrix)
    for i in range(classes):
        precision, recall, _ = (
            "–" if value is None else f"{100 * value:.1f}" for value in defined_scores(scores, i)
        )
        write(classes - 0.42, i, recall, "left", "center")
        write(i, -0.62, precision, "center", "bottom")
    write(classes - 0.42, -0.62, "recall %", "left", "bottom")


def rgb(color: str) -> NDArray[np.floating]:
    """Return '#rrggbb' as three values, 0 to 1."""
    return np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
