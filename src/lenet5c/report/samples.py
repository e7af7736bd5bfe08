"""The images that a model has wrong."""

import numpy as np

from lenet5c.report.mosaic import DPI, bounded, canvas, frames, place, shown, tiled, write
from lenet5c.report.names import drawable, text_width
from lenet5c.report.style import GREY, INK, ORANGE, styled

SLOTS = 40
WIDTH = 1180  # pixels
SIDE = 96  # pixels of an image, about
WIDEST = 16  # columns of a name


@styled
def errors(images, evaluation, class_names, *, most=SLOTS, inverted=True):
    """The wrong images of which the model is surest, with their given and predicted class.

    Parameters
    ----------
    images : ndarray of uint8 (N, C, H, W)
    evaluation : lenet5c.training.Evaluation
        Of these images.
    class_names : sequence of str
    most : int
        How many to show.
    inverted : bool
        Show grey images with ink black on white.

    Returns
    -------
    matplotlib.figure.Figure
        Under each image the given class, an arrow, the predicted class, its probability, and the image's index.

    Raises
    ------
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    worst = evaluation.worst(most)
    if len(worst) == 0:
        figure, ax = canvas(720, 100)
        write(
            ax,
            f"None of the {evaluation.count:,} images is wrong.",
            360,
            50,
            ha="center",
            va="center",
        )
        return figure
    names = drawable(class_names, WIDEST)
    given, taken = (
        [names[c] for c in classes[worst]]
        for classes in (evaluation.labels, evaluation.predictions)
    )
    in_one_line = (
        text_width([f"{a} → {b}" for a, b in zip(given, taken, strict=True)], 8) * DPI < SIDE + 8
    )
    cells = shown(bounded(images[worst], 128), inverted)
    h, w = cells.shape[1:3]
    scale = max(1, round(SIDE / max(h, w)))
    widest = (
        SIDE if in_one_line else text_width([*given, *(f"→ {name}" for name in taken)], 8) * DPI
    )
    slot = max(w * scale, widest) + 16
    across = max(1, min(len(worst), int(WIDTH / slot)))
    line = 17
    tall = h * scale + line * (2 if in_one_line else 3) + 16
    # Cells and the space between them, in whole pixels of the mosaic, are one image.
    gap = (round((slot - w * scale) / scale), round((tall - h * scale) / scale))
    width, height = (
        (w + gap[0]) * scale * across + 16,
        (h + gap[1]) * scale * -(-len(worst) // across) + 16,
    )
    figure, ax = canvas(width, height)
    padded = np.pad(cells, ((0, 0), (0, gap[1]), (0, gap[0]), (0, 0)), constant_values=1)
    left = 8 + gap[0] * scale // 2
    place(ax, tiled(padded, across, 0), left, 8, scale)
    frames(ax, left, 8, scale, len(cells), (h, w), across, gap[::-1])
    for i, index in enumerate(worst):
        x = 8 + (i % across + 0.5) * (w + gap[0]) * scale
        y = 8 + i // across * (h + gap[1]) * scale + h * scale + 15
        lines = [f"{given[i]} → {taken[i]}"] if in_one_line else [given[i], f"→ {taken[i]}"]
        for text, colour in zip(lines, (INK, ORANGE), strict=False):
            write(ax, text, x, y, ha="center", va="baseline", fontsize=8, color=colour)
            y += line
        confidence = 100 * evaluation.confidences[index]
        write(
            ax,
            f"{_percent(confidence)} · {index}",
            x,
            y,
            ha="center",
            va="baseline",
            fontsize=6.5,
            color=GREY,
        )
    return figure


def _percent(value):
    return "over 99.9 %" if value > 99.95 else f"{value:.1f} %"
