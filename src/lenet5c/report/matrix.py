"""The confusion matrix as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.report.names import drawable, text_width
from lenet5c.report.tables import defined_scores
from lenet5c.training.confusion import class_scores, confused_pairs
from lenet5c.training.plot_style import BLUE, GREY, INK, ORANGE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED = (
    26  # with more classes, cells have no numbers, and the most confused classes are repeated below
)
ZOOMED = 12  # number of classes repeated with numbers
WIDEST = 24  # columns of a name
LEGEND, TITLE = 0.7, 0.4  # inches of the color bars below a matrix without numbers, and a title


@styled
def confusion(matrix: ArrayLike, class_names: Sequence[str]) -> "Figure":
    """Draw a confusion matrix.

    Parameters
    ----------
    matrix : ndarray of int (K, K)
        See `lenet5c.training.confusion_matrix`.
    class_names : sequence of str

    Returns
    -------
    matplotlib.figure.Figure
        Rows are true labels, columns predicted labels. Correct predictions are blue, others orange,
        with an intensity that increases with their fraction of the row. With more than 26 classes,
        the matrix has no numbers, and the most confused classes are repeated below with numbers.

    Raises
    ------
    ValueError
        If there is not one name for each class.
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    matrix = np.asarray(matrix)
    classes = len(matrix)
    if len(class_names) != classes:
        raise ValueError(
            f"class_names must have one name for each of the {classes} classes, got "
            f"{len(class_names)}"
        )
    names = drawable(class_names, WIDEST)
    if classes <= NUMBERED:
        grid = Grid(matrix, names, numbered=True)
        figure = new_figure(grid.width, grid.height)
        grid.draw(figure, 0, 0)
        return figure
    whole = Grid(matrix, names, numbered=False)
    chosen = most_confused(matrix, ZOOMED)
    if not chosen:
        figure = new_figure(whole.width, whole.height + LEGEND)
        whole.draw(figure, 0, LEGEND)
        _draw_legend(figure, matrix, whole.left, 0)
        return figure
    others = matrix[chosen].sum(axis=1) - matrix[np.ix_(chosen, chosen)].sum(axis=1)
    part = Grid(matrix, names, numbered=True, chosen=chosen, others=others)
    width = max(whole.width, part.width)
    figure = new_figure(width, part.height + TITLE + LEGEND + whole.height)
    whole.draw(figure, 0, part.height + TITLE + LEGEND)
    _draw_legend(figure, matrix, whole.left, part.height + TITLE)
    part.draw(figure, 0, 0)
    title = f"The {len(chosen)} most confused classes"
    figure.text(part.left / width, (part.height + 0.12) / figure.get_figheight(), title, size=10)
    return figure


def most_confused(matrix: NDArray[np.integer], most: int) -> list[int]:
    """Return the classes of the most frequent mistakes, in class order.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.report.matrix import most_confused
    >>> most_confused(np.array([[9, 0, 1, 0], [0, 9, 0, 0], [3, 0, 9, 0], [0, 1, 0, 9]]), 3)
    [0, 2]
    """
    chosen: set[int] = set()
    for true, predicted, _ in confused_pairs(matrix):
        if len(chosen | {true, predicted}) > most:
            break
        chosen |= {true, predicted}
    return sorted(chosen)


class Grid:
    """A confusion matrix, or a part of it, on a figure; lengths are in inches."""

    def __init__(
        self,
        matrix: NDArray[np.integer],
        names: Sequence[str],
        numbered: bool,
        chosen: Sequence[int] | None = None,
        others: NDArray[np.integer] | None = None,
    ) -> None:
        self.matrix, self.names, self.numbered, self.others = matrix, names, numbered, others
        self.chosen = list(range(len(matrix))) if chosen is None else list(chosen)
        classes, longest = len(self.chosen), max(len(f"{matrix.max():,}"), 3)
        if numbered:
            self.size = 8.0 if classes <= 20 else 6.5
            least = 0.0106 * self.size * longest
            self.cell = max(min(0.62, max(0.42 if classes <= 20 else 0.33, 2.4 / classes)), least)
        else:
            self.cell = min(0.17, 11 / classes)
            self.size = min(8, max(4.5, 62 * self.cell))
        self.shown = [names[i] for i in self.chosen]
        widest = text_width(self.shown, self.size)
        self.upright = widest > 0.9 * self.cell
        self.left = widest + 0.5
        self.bottom = (widest if self.upright else 0.15) + 0.42
        beyond = 0.85 if others is not None else 0.0
        self.side = self.cell * classes
        self.width = self.left + self.side + beyond + (0.7 if numbered else 0.2)
        self.height = self.bottom + self.side + (0.36 if numbered else 0.15)

    def draw(self, figure: "Figure", left: float, bottom: float) -> None:
        """Draw the matrix with its lower left corner at this position."""
        width, height = figure.get_size_inches()
        x, y, classes = left + self.left, bottom + self.bottom, len(self.chosen)
        ax = figure.add_axes((x / width, y / height, self.side / width, self.side / height))
        at = np.ix_(self.chosen, self.chosen)
        colors = _colors(self.matrix)[at]
        ax.imshow(colors, interpolation="nearest", aspect="auto")
        # If rows are smaller than letters, some have no name.
        step = max(1, int(np.ceil(0.075 / self.cell)))
        ticks, names = range(0, classes, step), self.shown[::step]
        ax.set_xticks(ticks, names, rotation=90 if self.upright else 0, fontsize=self.size)
        ax.set_yticks(ticks, names, fontsize=self.size)
        ax.tick_params(length=0, pad=3)
        ax.spines[:].set(visible=True, color=GREY, linewidth=0.6)
        if self.numbered:
            for line in (ax.hlines, ax.vlines):
                line(
                    np.arange(classes - 1) + 0.5, -0.5, classes - 0.5, color="white", linewidth=0.5
                )
            self._write_numbers(ax, self.matrix[at], colors)
        middle = (x + self.side / 2) / width, (y + self.side / 2) / height
        side = (left + 0.06) / width
        figure.text(side, middle[1], "true", rotation=90, va="center", ha="left")
        figure.text(middle[0], (bottom + 0.06) / height, "predicted", va="bottom", ha="center")

    def _write_numbers(
        self, ax: Any, counts: NDArray[np.integer], colors: NDArray[np.floating]
    ) -> None:
        """Write counts into the cells, each class's recall on the right and precision on top."""
        dark = colors @ (0.3, 0.59, 0.11) < 0.55
        for label, predicted in zip(*np.nonzero(counts), strict=True):
            ax.text(
                predicted,
                label,
                f"{counts[label, predicted]:,}",
                ha="center",
                va="center",
                fontsize=self.size - 0.5,
                color="white" if dark[label, predicted] else INK,
            )

        def write(x: float, y: float, text: str, ha: str, va: str) -> None:
            ax.text(x, y, text, color=GREY, fontsize=self.size - 1, ha=ha, va=va)

        scores, end = class_scores(self.matrix), len(counts) - 0.42
        more = 0.85 / self.cell if self.others is not None else 0.0
        for i, label in enumerate(self.chosen):
            precision, recall, _ = (
                "–" if value is None else f"{100 * value:.1f}"
                for value in defined_scores(scores, label)
            )
            write(end + more, i, recall, "left", "center")
            write(i, -0.62, precision, "center", "bottom")
            if self.others is not None:
                write(end, i, f"{self.others[i]:,}" if self.others[i] else "–", "left", "center")
        write(end + more, -0.62, "recall %", "left", "bottom")
        if self.others is not None:
            write(end, -0.62, "other", "left", "bottom")


def _draw_legend(figure: "Figure", matrix: NDArray[np.integer], left: float, bottom: float) -> None:
    """Draw the color bars of a matrix without numbers."""
    width, height = figure.get_size_inches()
    shares = np.linspace(0, 1, 101)
    full = full_share(matrix)
    bars = (
        ("correct, % of a row", BLUE, _strength(shares, True, full), 1.0),
        ("misclassified, % of a row", ORANGE, _strength(shares * full, False, full), full),
    )
    for number, (text, color, strength, most) in enumerate(bars):
        x = (left + 2.1 * number) / width
        ax = figure.add_axes((x, (bottom + 0.28) / height, 1.7 / width, 0.1 / height))
        bar = 1 - strength[None, :, None] * (1 - rgb(color))
        ax.imshow(bar, extent=(0, 100 * most, 0, 1), aspect="auto")
        ax.set_yticks([])
        ticks = (0, 50 * most, 100 * most)
        ax.set_xticks(ticks, [f"{each:.3g}" for each in ticks])
        ax.tick_params(length=2, labelsize=7, pad=2)
        ax.spines[:].set(visible=True, color=GREY, linewidth=0.6)
        ax.set_title(text, fontsize=7.5, pad=3)


def full_share(matrix: NDArray[np.integer]) -> float:
    """Return the fraction of a row at which a mistake has the full color.

    This is the largest fraction, limited to 1 in 50 to 1 in 4.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return float(min(max(share[~np.eye(len(matrix), dtype=bool)].max(initial=0), 0.02), 0.25))


def _strength(
    share: NDArray[np.floating], correct: NDArray[np.bool_] | bool, full: float
) -> NDArray[np.floating]:
    """Return the color intensity of cells, from 0 to 1."""
    mistakes = 0.1 + 0.9 * np.sqrt(np.minimum(share / full, 1))
    return np.where(correct, 0.15 + 0.55 * share, mistakes)


def _colors(matrix: NDArray[np.integer]) -> NDArray[np.floating]:
    """Return (K, K, 3), 0 to 1: correct from white to blue, misclassified from white to orange."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    correct = np.eye(len(matrix), dtype=bool)
    strength = _strength(share, correct, full_share(matrix)) * (matrix > 0)
    color = np.where(correct[..., None], rgb(BLUE), rgb(ORANGE))
    return 1 - strength[..., None] * (1 - color)


def rgb(color: str) -> NDArray[np.floating]:
    """Return '#rrggbb' as three values, 0 to 1."""
    return np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
