"""The confusion matrix as a picture."""

import numpy as np

from lenet5c.report.names import drawable, text_width
from lenet5c.report.style import BLUE, GREY, INK, ORANGE, new_figure, styled
from lenet5c.training.confusion import class_scores

NUMBERED = 24  # with more classes, cells have a colour only
WIDEST = 24  # columns of a name


@styled
def confusion(matrix, class_names):
    """What each class is taken for.

    Parameters
    ----------
    matrix : ndarray of int (K, K)
        As `lenet5c.training.confusion_matrix` has it.
    class_names : sequence of str

    Returns
    -------
    matplotlib.figure.Figure
        Rows are given classes, columns predicted ones. Right answers are blue, mistakes orange, the stronger the larger
        their share of the row.

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
            f"class_names has {len(class_names)} names; the matrix has {classes} classes"
        )
    names = drawable(class_names, WIDEST)
    numbered = classes <= NUMBERED
    cell = min(0.62, max(0.42, 2.4 / classes)) if numbered else min(0.17, 11 / classes)
    digits = max(len(f"{matrix.max():,}"), 3)
    if numbered:
        cell = max(cell, 0.085 * digits)
    size = 8 if numbered else min(8, max(4.5, 62 * cell))
    side = cell * classes
    widest = text_width(names, size)
    upright = widest > 0.9 * cell
    left = widest + 0.5
    right = 0.7 if numbered else 0.2
    bottom = (widest if upright else 0.15) + 0.42
    width, height = left + side + right, side + bottom + (0.36 if numbered else 0.15)
    figure = new_figure(width, height)
    ax = figure.add_axes((left / width, bottom / height, side / width, side / height))
    ax.imshow(_colours(matrix), interpolation="nearest", aspect="auto")
    step = max(
        1, int(np.ceil(0.075 / cell))
    )  # where rows are finer than letters, some have no name
    ticks = range(0, classes, step)
    ax.set_xticks(ticks, names[::step], rotation=90 if upright else 0, fontsize=size)
    ax.set_yticks(ticks, names[::step], fontsize=size)
    ax.tick_params(length=0, pad=3)
    ax.spines[:].set(visible=True, color=GREY, linewidth=0.6)
    if numbered:
        for draw in (ax.hlines, ax.vlines):
            draw(np.arange(classes - 1) + 0.5, -0.5, classes - 0.5, color="white", linewidth=0.5)
        _numbers(ax, matrix, size)
    figure.text(
        0.06 / width, (bottom + side / 2) / height, "given", rotation=90, va="center", ha="left"
    )
    figure.text((left + side / 2) / width, 0.06 / height, "predicted", va="bottom", ha="center")
    return figure


def _colours(matrix):
    """(K, K, 3), 0 to 1: right answers from white to blue, mistakes from white to orange."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    right = np.eye(len(matrix), dtype=bool)
    strength = np.where(right, 0.15 + 0.55 * share, 0)
    mistakes = np.where(right, 0, share)
    # Each picture uses the colours as far as its mistakes go; 1 in 50 is the least that gets the full one.
    full = min(max(mistakes.max(), 0.02), 0.25)
    strength = np.where(
        ~right & (matrix > 0), 0.1 + 0.9 * np.sqrt(np.minimum(mistakes / full, 1)), strength
    )
    strength[right & (matrix == 0)] = 0
    colour = np.where(right[..., None], rgb(BLUE), rgb(ORANGE))
    return 1 - strength[..., None] * (1 - colour)


def _numbers(ax, matrix, size):
    """Counts in the cells, and each class's recall on the right and precision below."""
    scores = class_scores(matrix)
    dark = _colours(matrix) @ (0.3, 0.59, 0.11) < 0.55
    classes = len(matrix)
    for given, predicted in zip(*np.nonzero(matrix), strict=True):
        ax.text(
            predicted,
            given,
            f"{matrix[given, predicted]:,}",
            ha="center",
            va="center",
            fontsize=size - 0.5,
            color="white" if dark[given, predicted] else INK,
        )
    for number in range(classes):
        for value, known, at, align in (
            (
                scores.recall[number],
                scores.count[number],
                (classes - 0.42, number),
                {"ha": "left", "va": "center"},
            ),
            (
                scores.precision[number],
                scores.predicted[number],
                (number, -0.62),
                {"ha": "center", "va": "bottom"},
            ),
        ):
            text = f"{100 * value:.1f}" if known else "–"
            ax.text(*at, text, color=GREY, fontsize=size - 1, **align)
    ax.text(classes - 0.42, -0.62, "% right", color=GREY, fontsize=size - 1, ha="left", va="bottom")


def rgb(colour):
    """'#rrggbb' as three values, 0 to 1."""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
