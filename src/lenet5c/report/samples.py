"""Pictures of misclassified images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet5c._text import shorten
from lenet5c.datasets import Dataset
from lenet5c.datasets.mapped import Images
from lenet5c.report.mosaic import DPI, canvas, frames, place, shrink, tile, to_colors, write
from lenet5c.report.names import drawable, text_width
from lenet5c.training import Evaluation
from lenet5c.training.plot_style import GREY, INK, ORANGE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOTS = 40
WIDTH, MARGIN, LINE = 1180, 8, 17  # pixels
SIDE = 96  # approximate pixels of an image
WIDEST, WIDEST_ID = 16, 20  # columns of the name of a class, and of an image


@styled
def errors(
    images: Images | Dataset,
    result: Evaluation,
    class_names: Sequence[str],
    *,
    max_images: int = SLOTS,
    inverted: bool = True,
) -> "Figure":
    """Draw misclassified images, most confident first, with true and predicted labels.

    Parameters
    ----------
    images : ndarray of uint8 (N, C, H, W), or lenet5c.datasets.Dataset
    result : lenet5c.training.Evaluation
        Evaluation of these images.
    class_names : sequence of str
    max_images : int
        Maximum number of images to show.
    inverted : bool
        Show gray images black on white.

    Returns
    -------
    matplotlib.figure.Figure
        Below each image are the true label, an arrow, the predicted label, its probability, and the
        index, file or id of the image.

    Raises
    ------
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    worst = result.worst(max_images)
    if len(worst) == 0:
        figure, ax = canvas(720, 100)
        text = f"None of the {result.count:,} images is misclassified."
        write(ax, text, 360, 50, ha="center", va="center")
        return figure
    ids = []
    if isinstance(images, Dataset):
        if images.ids is not None:
            ids = [images.describe(index) for index in worst]
        images = images.images
    count = len(class_names)
    names = drawable(
        [*(shorten(name, WIDEST) for name in class_names), *ids],
        WIDEST_ID,
        lambda i: f"class {i}" if i < count else f"image {worst[i - count]}",
    )
    names, ids = names[:count], names[count:]
    true = [names[c] for c in result.labels[worst]]
    predicted = [f"→ {names[c]}" for c in result.predictions[worst]]
    labels = [[f"{a} {b}"] for a, b in zip(true, predicted, strict=True)]
    widest: float = SIDE
    if text_width([line for (line,) in labels], 8) * DPI >= SIDE + 8:
        labels = [list(pair) for pair in zip(true, predicted, strict=True)]
        widest = text_width([*true, *predicted], 8) * DPI
    widest = max(widest, text_width(ids, 6.5) * DPI)
    cells = to_colors(shrink(images[worst], 128), inverted)
    h, w = cells.shape[1:3]
    scale = max(1, round(SIDE / max(h, w)))
    slot = max(w * scale, widest) + 16
    across = max(1, min(len(worst), int(WIDTH / slot)))
    # Cells and gaps, in whole pixels of the mosaic, are one image.
    right = round((slot - w * scale) / scale)
    down = round((LINE * (len(labels[0]) + 1 + bool(ids)) + 16) / scale)
    wide, tall = (w + right) * scale, (h + down) * scale
    figure, ax = canvas(wide * across + 16, tall * -(-len(worst) // across) + 16)
    padded = np.pad(cells, ((0, 0), (0, down), (0, right), (0, 0)), constant_values=1)
    left = MARGIN + right * scale // 2
    place(ax, tile(padded, across, 0), left, MARGIN, scale)
    frames(ax, left, MARGIN, scale, len(cells), (h, w), across, (down, right))
    for i, index in enumerate(worst):
        x = MARGIN + (i % across + 0.5) * wide
        y = MARGIN + i // across * tall + h * scale + 15
        percent = 100 * result.confidences[index]
        probability = "over 99.9 %" if percent > 99.95 else f"{percent:.1f} %"
        colors = (INK, ORANGE)
        lines = [(text, 8, color) for text, color in zip(labels[i], colors, strict=False)]
        notes = [probability, ids[i]] if ids else [f"{probability} · {index}"]
        for text, size, color in [*lines, *((note, 6.5, GREY) for note in notes)]:
            write(ax, text, x, y, ha="center", va="baseline", fontsize=size, color=color)
            y += LINE
    return figure
