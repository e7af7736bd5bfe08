"""Explanations of predictions as pictures: ``lenet5c predict --why``."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lenet5c._optional import require
from lenet5c.datasets import DatasetError
from lenet5c.datasets.records import ReadOptions
from lenet5c.datasets.source import open_source
from lenet5c.errors import UserError
from lenet5c.recognition.predictor import Reader
from lenet5c.recognition.reading import Prediction
from lenet5c.recognition.signs import reads_digits
from lenet5c.recognition.why import Neighbors, explain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Number of digits of a sheet to explain, the least probable ones.
MAX_DIGITS = 6
#: Margin shown around a digit, as a fraction of its longer side.
AROUND = 0.4


class Reasons:
    """Draws explanations of the predictions of a reader.

    Parameters
    ----------
    reader : Reader
    data : str or None
        Data set for the nearest images, see ``--data`` of ``lenet5c train``. Default: MNIST for
        models of digits, else none.
    on_message : callable
        Called with a line of text before a download.
    """

    def __init__(
        self, reader: Reader, data: str | None, on_message: Callable[[str], object]
    ) -> None:
        if reader.digits == "sum":
            raise UserError("--why requires --digits one or many, got sum")
        require("matplotlib", "plots", "pictures of explanations")
        self.reader, self.data, self.on_message = reader, data, on_message

    @cached_property
    def neighbors(self) -> Neighbors | None:
        """Data set to search for the nearest images."""
        trained = self.reader.trained
        if self.data is None:
            fits = reads_digits(trained) and trained.image_shape[0] == 1
            preparation = trained.preparation
            if preparation.fit == "pad" and min(preparation.size) < 28:
                fits = False  # the images of MNIST are larger
            return Neighbors(trained) if fits else None
        levels = ReadOptions(levels=trained.white)
        dataset = open_source(self.data, levels, on_message=self.on_message).train
        try:
            return Neighbors(trained, dataset)
        except ValueError as error:
            raise DatasetError(f"--neighbors: {error}") from None

    def draw(self, prediction: Prediction) -> "Figure | None":
        """Return explanations for the digit of a prediction, or for the least probable of several.

        None if the net was not used, as for a blank picture.
        """
        from lenet5c.report.pictures import why

        trained = self.reader.trained
        found = [digit for line in prediction.digits for digit in line] or [prediction]
        asked = [each for each in found if each.probabilities and _saw(each) is not None]
        if not asked:
            return None
        if len(asked) > MAX_DIGITS:
            order = np.argsort([max(each.probabilities.values()) for each in asked], kind="stable")
            asked = [asked[i] for i in sorted(order[:MAX_DIGITS])]
        rows, captions = [], []
        for each in asked:
            image = _to_channels(_saw(each), trained.image_shape[0])
            rows.append(explain(trained, image, neighbors=self.neighbors))
            name = trained.class_names[rows[-1].label]
            note = f"{100 * rows[-1].probability:.1f} %"
            captions.append([name if each.label else f"? ({name})", note])
        pictures = [_crop(prediction.steps["picture"], each) for each in asked]
        return why(trained, rows, captions=captions, pictures=pictures, neighbors=self.neighbors)


def _saw(prediction: Prediction) -> NDArray[np.uint8] | None:
    """Return the input picture of the net, None if it was not used."""
    steps = prediction.steps
    return steps.get("image", steps.get("centered"))


def _to_channels(picture: NDArray[np.uint8] | None, channels: int) -> NDArray[np.uint8]:
    """Return a picture (h, w) or (h, w, 3) as an image (C, h, w)."""
    assert picture is not None
    if picture.ndim == 3:
        return picture.transpose(2, 0, 1)
    return np.repeat(picture[np.newaxis], channels, axis=0)


def _crop(picture: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.uint8]:
    """Return a digit in its picture, with a margin."""
    if prediction.box is None:
        return picture
    top, left, bottom, right = prediction.box
    around = round(AROUND * max(bottom - top, right - left))
    return picture[max(0, top - around) : bottom + around, max(0, left - around) : right + around]
