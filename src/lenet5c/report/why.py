"""Pictures of explanations of predictions, a row for each image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import shorten
from lenet5c.datasets import Dataset
from lenet5c.report.mosaic import (
    Floats,
    canvas,
    find_limit,
    paste,
    place,
    short,
    shrink,
    to_colors,
    to_diverging,
    write,
)
from lenet5c.report.names import drawable
from lenet5c.training import Evaluation, TrainedModel
from lenet5c.training.explanation import Explanation, Neighbors, explain
from lenet5c.training.plot_style import GREY, INK, ORANGE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN, SIDE, PITCH = 16, 140, 162  # pixels of the margin, a picture, and their distance
HEAD, LINE = 26, 16  # of the titles, and of a line of text
THUMB, THUMB_PITCH, ACROSS = 56, 62, 3  # of the nearest images
BAR = (64, 8)  # width and height of a color bar
WIDEST = 16  # columns of the name of a class
#: Minimum fraction of its side that a picture fills with integer scaling.
WHOLE = 0.75
#: Opacity of full ink under the colors of a map.
SHADE = 0.3
#: Number of rows; maximum multiply-adds of all rows and of nearest images.
MAX_ROWS, WORK, NEAR_WORK = 4, 5_000_000_000, 2_000_000_000
#: Steps of the search for the smallest change; approximate passes for it and the gradients.
FEW_STEPS, PASSES = 20, 800
TITLES = ("gradient", "Grad-CAM", "occlusion", "smallest change", "difference")


@styled
def why(
    trained: TrainedModel,
    explanations: Sequence[Explanation],
    *,
    captions: Sequence[Sequence[str]] | None = None,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
    neighbors: Neighbors | None = None,
    inverted: bool | None = None,
) -> "Figure":
    """Draw explanations of predictions, a row for each.

    Parameters
    ----------
    trained : TrainedModel
    explanations : sequence of Explanation
        At least one explanation from `lenet5c.recognition.why.explain`, of images of one size.
    captions : sequence of sequence of str, optional
        Up to two lines under each image. Default: the class and its probability.
    pictures : sequence of ndarray of uint8 (h, w) or (h, w, 3), optional
        The original pictures of the images, drawn first.
    neighbors : Neighbors, optional
        The data set with the nearest images, which are drawn only if it is passed.
    inverted : bool, optional
        Show gray images black on white. Default: as the model's training images suggest.

    Returns
    -------
    matplotlib.figure.Figure
        Each row has the image; the gradient of the class's logit with respect to the pixels;
        Grad-CAM; the decrease of the logit when a patch is covered; the smallest change that
        changes the prediction, and its difference; and the nearest training images. Red supports
        the class, blue opposes it, white is zero; the image is shown in gray.

    Raises
    ------
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition.why import explain
    >>> from lenet5c.report.pictures import why
    >>> from lenet5c.training import open_model
    >>> trained, image = open_model(), mnist()[1].images[0]
    >>> figure = why(trained, [explain(trained, image)])
    """
    if not explanations:
        raise ValueError("explanations must have at least one explanation, got none")
    inverted = trained.inverted if inverted is None else inverted
    names = drawable(trained.class_names, WIDEST)
    titles = [*(["picture"] if pictures else []), "image", *TITLES]
    row = SIDE + 2 * LINE + 26
    near = ACROSS * THUMB_PITCH if neighbors else 0
    size = (
        2 * MARGIN + len(titles) * PITCH + near - (0 if near else PITCH - SIDE),
        MARGIN + HEAD + len(explanations) * row,
    )
    sheet = _Sheet(size)
    for column, title in enumerate([*titles, *(["nearest training images"] if near else [])]):
        sheet.write(title, MARGIN + column * PITCH, MARGIN, size=8)
    for number, each in enumerate(explanations):
        top = MARGIN + HEAD + number * row
        left = MARGIN
        if pictures:
            sheet.picture(_fit(pictures[number]), left, top)
            left += PITCH
        lines = captions[number] if captions else _caption(each, names)
        _draw_row(sheet, each, names, lines, (left, top), inverted)
        if neighbors and each.nearest:
            left += (len(TITLES) + 1) * PITCH
            _draw_nearest(sheet, each, neighbors, (left, top), inverted)
    return sheet.finish()


@styled
def why_wrong(
    trained: TrainedModel, dataset: Dataset, result: Evaluation, train_set: Dataset | None = None
) -> "Figure":
    """Draw explanations of the most confident misclassified images, at most four.

    Parameters
    ----------
    trained : TrainedModel
    dataset : lenet5c.datasets.Dataset
    result : lenet5c.training.Evaluation
        Evaluation of this data set. If no image is misclassified, the least confident predictions
        are drawn.
    train_set : lenet5c.datasets.Dataset, optional
        Data set to search for the nearest images.

    Returns
    -------
    matplotlib.figure.Figure
        See `why`; the smallest change is to the true label. For large nets, fewer rows are drawn,
        and fewer training images are searched, to limit the time.

    Raises
    ------
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    work = max(1, trained.model.multiply_adds(trained.input_shape))
    passes = np.prod(dataset.images.shape[2:]) + PASSES
    rows = int(np.clip(WORK // (work * passes), 1, MAX_ROWS))
    chosen = result.worst(rows)
    if len(chosen) == 0:
        chosen = np.argsort(result.confidences, kind="stable")[:rows]
    neighbors = None
    if train_set is not None and len(train_set):
        count = int(np.clip(NEAR_WORK // work, 1, len(train_set)))
        some = np.arange(count) * len(train_set) // count
        neighbors = Neighbors(trained, train_set.take(some))
    names = drawable(trained.class_names, WIDEST)
    explanations, captions = [], []
    for index in chosen.tolist():
        true, predicted = int(result.labels[index]), int(result.predictions[index])
        target = None if true == predicted else true
        each = explain(
            trained,
            np.asarray(dataset.images[index]),
            predicted,
            neighbors=neighbors,
            target=target,
            steps=FEW_STEPS,
        )
        explanations.append(each)
        arrow = names[true] if target is None else f"{names[true]} → {names[predicted]}"
        note = str(index) if dataset.ids is None else shorten(dataset.describe(index), WIDEST)
        captions.append([arrow, f"{100 * each.probability:.1f} % · {note}"])
    return why(trained, explanations, captions=captions, neighbors=neighbors)


def _caption(each: Explanation, names: Sequence[str]) -> list[str]:
    return [names[each.label], f"{100 * each.probability:.1f} %"]


def _draw_row(
    sheet: "_Sheet",
    each: Explanation,
    names: Sequence[str],
    lines: Sequence[str],
    at: tuple[int, int],
    inverted: bool,
) -> None:
    left, top = at
    shown = to_colors(each.image[np.newaxis], inverted)[0]
    sheet.picture(shown, left, top)
    sheet.below(lines, left, top, (INK, GREY))
    change = each.change
    # For a change of 255 levels, from no ink to full ink.
    maps = [255 * each.saliency.sum(axis=0), each.cam, each.occlusion]
    for column, values in enumerate(maps, start=1):
        if values is None:
            sheet.below(["no maps"], left + column * PITCH, top, (GREY,))
            continue
        sheet.map(values, shown, left + column * PITCH, top)
    left += (len(maps) + 1) * PITCH
    if change is None:
        sheet.below(["none found"], left, top, (GREY,))
        return
    sheet.picture(to_colors(change.image[np.newaxis], inverted)[0], left, top)
    words = f"{change.norm:.0f} gray levels (L2)"
    sheet.below([f"→ {names[change.label]}", words], left, top, (ORANGE, GREY))
    sheet.map(change.difference.sum(axis=0).astype(float), shown, left + PITCH, top)


def _draw_nearest(
    sheet: "_Sheet", each: Explanation, neighbors: Neighbors, at: tuple[int, int], inverted: bool
) -> None:
    nearest = each.nearest
    assert nearest is not None
    names = drawable(neighbors.dataset.class_names, 8)
    own = neighbors.trained.class_names[each.label]
    images = np.asarray(neighbors.dataset.images[nearest.indices])
    for number, (image, label) in enumerate(zip(images, nearest.labels, strict=True)):
        x = at[0] + number % ACROSS * THUMB_PITCH
        y = at[1] + number // ACROSS * (THUMB + LINE + 4)
        sheet.picture(to_colors(image[np.newaxis], inverted)[0], x, y, THUMB)
        same = neighbors.dataset.class_names[label] == own
        sheet.write(names[label], x + THUMB / 2, y + THUMB + 2, INK if same else ORANGE, "center")


def _fit(picture: NDArray[np.uint8]) -> Floats:
    """Return a picture as colors (h, w, 3), 0 to 1, shrunk to fit if necessary."""
    planes = picture[np.newaxis] if picture.ndim == 2 else picture.transpose(2, 0, 1)
    return to_colors(shrink(planes[np.newaxis], SIDE), inverted=False)[0]


class _Sheet:
    """A canvas that is composed as one image, because each image of a figure takes time."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.figure, self.ax = canvas(*size)
        self.pixels = np.full((size[1], size[0], 3), 255, np.uint8)

    def picture(self, colors: Floats, left: int, top: int, side: int = SIDE) -> None:
        """Put colors (h, w, 3) into a square of `side`, with integer scaling if possible."""
        height, width = colors.shape[:2]
        factor = side / max(height, width)
        # Integer scaling, unless it would leave too much empty space.
        factor = int(factor) if int(factor) >= WHOLE * factor else factor
        tall, wide = (max(1, round(factor * n)) for n in (height, width))
        y, x = top + (side - tall) // 2, left + (side - wide) // 2
        paste(self.pixels, colors, x, y, (tall, wide))

    def map(self, values: Any, shown: Floats, left: int, top: int) -> None:
        """Draw a map over its image, with a color bar below."""
        limit = find_limit(values) or float(np.abs(values).max())
        shade = 1 - SHADE * (1 - shown.mean(axis=2, keepdims=True))
        self.picture(to_diverging(values, limit) * shade, left, top)
        low = -1.0 if (values < 0).any() else 0.0
        bar = to_diverging(np.linspace(low, 1, BAR[0])[np.newaxis], 1)
        x, y = left + (SIDE - BAR[0]) // 2, top + SIDE + 9
        paste(self.pixels, bar, x, y, BAR[::-1], GREY)
        middle = y + BAR[1] / 2
        for number, at, side in ((low * limit, x - 5, "right"), (limit, x + BAR[0] + 5, "left")):
            text = short(float(f"{number:.2g}"))
            write(self.ax, text, at, middle, ha=side, va="center", fontsize=6, color=INK)

    def below(self, lines: Sequence[str], left: int, top: int, colors: Sequence[str]) -> None:
        """Write centered lines below a picture."""
        for number, (line, color) in enumerate(zip(lines, colors, strict=False)):
            self.write(line, left + SIDE / 2, top + SIDE + 5 + number * LINE, color, "center")

    def write(
        self,
        text: str,
        left: float,
        top: float,
        color: str = INK,
        side: str = "left",
        size: float = 7,
    ) -> None:
        """Write a text."""
        write(self.ax, text, left, top, ha=side, fontsize=size, color=color)

    def finish(self) -> "Figure":
        """Return the figure."""
        place(self.ax, self.pixels, 0, 0, 1)
        return self.figure
