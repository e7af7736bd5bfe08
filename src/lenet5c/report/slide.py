"""Picture of the scores of a net along a long image."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.datasets.conversion import to_pixels
from lenet5c.datasets.resampling import resize
from lenet5c.report.mosaic import DPI, Floats, canvas, paste, place, to_bytes, to_colors, write
from lenet5c.report.names import drawable, text_width
from lenet5c.training import TrainedModel
from lenet5c.training.explanation import Slide
from lenet5c.training.plot_style import BLUE, GREY, INK, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, MARGIN = 1180, 16  # pixels
TALLEST = 200  # maximum height of the image
CELL, HEAD, ANSWERS = 14, 22, 26  # height of a row of scores, of the title, and of the answers
WIDEST, MAX_ROWS = 12, 40
#: Minimum probability of a displayed label.
SURE = 0.5


@styled
def slide(
    trained: TrainedModel, image: ArrayLike, found: Slide, *, inverted: bool | None = None
) -> "Figure":
    """Draw a long image with the outputs of a net sliding over it.

    Parameters
    ----------
    trained : TrainedModel
    image : array_like (h, w) or (C, h, w)
    found : Slide
        Result of `lenet5c.recognition.why.slide` for this image.
    inverted : bool, optional
        Show gray images black on white. Default: as the model's training images suggest.

    Returns
    -------
    matplotlib.figure.Figure
        Rows are classes, at most 40; columns are windows, at their centers; darker is more
        probable. Between them and the image are the predicted labels with a probability of at least
        50 %; adjacent equal labels are shown once, and long names only if there is room.

    Raises
    ------
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition import why
    >>> from lenet5c.report import pictures
    >>> from lenet5c.training import open_model
    >>> trained, digits = open_model(), np.concatenate(mnist()[1].images[:3, 0], axis=1)
    >>> figure = pictures.slide(trained, digits, why.slide(trained, digits))
    """
    pixels = to_pixels(image)
    pixels = pixels[np.newaxis] if pixels.ndim == 2 else pixels
    probabilities = trained.softmax(found.scores.astype(np.float64))
    order = np.argsort(-probabilities.max(axis=0), kind="stable")[:MAX_ROWS]
    classes = np.sort(order)
    names = drawable([trained.class_names[i] for i in classes], WIDEST)
    left = MARGIN + round(text_width(names, 7) * DPI) + 10
    _, h, w = pixels.shape
    scale = min((WIDTH - left - MARGIN) / w, TALLEST / h)
    tall, wide = round(scale * h), round(scale * w)
    top = MARGIN + HEAD
    rows = CELL * len(classes)
    below = top + rows + ANSWERS
    figure, ax = canvas(left + wide + MARGIN, below + tall + MARGIN)
    shown = to_colors(pixels[np.newaxis], trained.inverted if inverted is None else inverted)[0]
    if scale < 1:
        shown = resize((shown.transpose(2, 0, 1) * 255).astype(np.uint8), (tall, wide))
        shown = shown.transpose(1, 2, 0) / 255
    sheet = np.full((below + tall + MARGIN, left + wide + MARGIN, 3), 255, np.uint8)
    paste(sheet, shown, left, below, (tall, wide))
    middles = (found.positions + found.width / 2) * scale
    step = float(np.diff(middles).min()) if len(middles) > 1 else float(found.width * scale)
    paste(sheet, np.ones((1, 1, 3)), left, top, (rows, wide))
    for column, middle in enumerate(middles):
        ends = (max(0, round(middle - step / 2)), min(wide, round(middle + step / 2)))
        # From white to black by probability, perceptually uniform.
        tones = 1 - probabilities[column, classes, np.newaxis, np.newaxis]
        block = np.repeat(tones, CELL, axis=0)
        sheet[top : top + rows, left + ends[0] : left + ends[1]] = to_bytes(block)
    place(ax, sheet, 0, 0, 1)
    write(ax, "probability of each class by window position", left, MARGIN - 4, fontsize=8)
    for number, name in enumerate(names):
        at = top + (number + 0.5) * CELL
        write(ax, name, left - 6, at, ha="right", va="center", fontsize=7, color=INK)
    _write_answers(ax, probabilities, middles + left, trained, top + rows)
    bar = round(found.width * scale)
    words = f"window: {found.width:.3g} columns"
    y = below + tall + 8
    ax.plot([left, left + bar], [y, y], color=GREY, linewidth=2, solid_capstyle="butt")
    write(ax, words, left + bar + 6, y, va="center", fontsize=6, color=GREY)
    return figure


def _write_answers(
    ax: Any, probabilities: Floats, middles: Floats, trained: TrainedModel, top: int
) -> None:
    """Write the probable predicted labels, each run of equal labels once."""
    predicted, best = probabilities.argmax(axis=1), probabilities.max(axis=1)
    shown = np.where(best >= SURE, predicted, -1)
    ends = np.flatnonzero(np.diff(shown)) + 1
    names = drawable(trained.class_names, WIDEST)
    for run in np.split(np.arange(len(shown)), ends):
        text = names[shown[run[0]]] if shown[run[0]] >= 0 else ""
        at, long = float(middles[run].mean()), float(np.ptp(middles[run]))
        # A long name would run into the next one.
        if not text or (len(text) > 1 and text_width([text], 9) * DPI > long):
            continue
        write(ax, text, at, top + ANSWERS / 2, ha="center", va="center", fontsize=9, color=BLUE)
