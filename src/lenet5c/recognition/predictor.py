"""Public interface for reading digits in pictures."""

import os
from typing import Any, Literal, overload

from lenet5c.datasets._checks import check_choice, check_number
from lenet5c.datasets.dataset import READINGS
from lenet5c.datasets.pictures import is_nested, measure_whites, read_picture
from lenet5c.errors import UserError
from lenet5c.recognition.judge import REJECT
from lenet5c.recognition.reading import Prediction, get_framing, read_digit, read_whole
from lenet5c.recognition.sheet import read_sheet
from lenet5c.recognition.sums import read_sum
from lenet5c.training import TrainedModel, open_model

DIGITS = ("one", "many", "sum")

Model = TrainedModel | str | os.PathLike[str] | None


@overload
def predict(
    pictures: list[Any] | tuple[Any, ...],
    model: Model = None,
    *,
    digits: Literal["one", "many", "sum"] = "one",
    reading: Literal["ink", "whole"] | None = None,
    reject: float = REJECT,
) -> list[Prediction]: ...
@overload
def predict(
    pictures: Any,
    model: Model = None,
    *,
    digits: Literal["one", "many", "sum"] = "one",
    reading: Literal["ink", "whole"] | None = None,
    reject: float = REJECT,
) -> Prediction: ...
def predict(
    pictures: Any,
    model: Any = None,
    *,
    digits: Any = "one",
    reading: Any = None,
    reject: float = REJECT,
) -> Any:
    """Read the digits in pictures.

    Parameters
    ----------
    pictures : str, path-like, bytes, binary file, PIL.Image.Image, ndarray, or a list of these
        Files or pictures in memory, as accepted by `lenet5c.datasets.read_picture`, dark on light
        or light on dark, of any size. The pictures of a list share one level of white.
    model : TrainedModel, str or path-like, optional
        A model, a model file, or the folder of a run. Default: the model in the package.
    digits : {'one', 'many', 'sum'}, optional
        Expected content: one digit per picture, several digits on one or more lines, or written
        sums.
    reading : {'ink', 'whole'}, optional
        'ink' finds the ink and normalizes it to the format of the model's training images; 'whole'
        resizes the picture. Default: the setting of the model. A picture that already looks like a
        training image is used unchanged.
    reject : float, optional
        Minimum confidence, at least 0 and less than 1; pictures below it are rejected. The
        confidence is the probability that the ink is a digit and that the predicted digit is right;
        for models of other classes, the probability of the predicted class.

    Returns
    -------
    Prediction, or list of Prediction
        One prediction per picture; a list if `pictures` is a list. For a rejected picture, `label`
        is None and `rejected` is the reason.

    Raises
    ------
    UserError
        If a picture or the model cannot be read (FileNotFoundError if the model does not exist).
    MissingExtraError
        If a file is given and Pillow is not installed: ``pip install 'lenet5c[images]'``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.recognition import predict
    >>> paper = np.full((120, 100), 240, np.uint8)
    >>> predict(paper).rejected
    'there is no writing: no ink stands out from the paper'
    >>> paper[20:100, 50:58] = 40
    >>> predict(paper).label
    '1'
    """
    reader = Reader(model, digits=digits, reading=reading, reject=reject)
    if isinstance(pictures, (list, tuple)) and not is_nested(pictures):
        again = (each for each in pictures if not hasattr(each, "read"))
        reader.white = measure_whites(again) | reader.white
        return [reader(picture) for picture in pictures]
    return reader(pictures)


class Reader:
    """Callable that reads a picture with a model and returns a `Prediction`.

    The parameters are those of `predict`. The attribute `white` may be set to the result of
    `lenet5c.datasets.pictures.measure_whites` for pictures that belong together.
    """

    def __init__(
        self,
        model: Model = None,
        *,
        digits: Literal["one", "many", "sum"] = "one",
        reading: Literal["ink", "whole"] | None = None,
        reject: float = REJECT,
    ) -> None:
        check_choice("digits", digits, DIGITS)
        if reading is not None:
            check_choice("reading", reading, READINGS)
        if model is not None and not isinstance(model, (TrainedModel, str, os.PathLike)):
            raise TypeError(
                f"model must be a TrainedModel, a path or None, got {type(model).__name__}"
            )
        self.trained = model if isinstance(model, TrainedModel) else open_model(model)
        self.reject = check_number("reject", reject)
        if not 0 <= self.reject < 1:
            raise ValueError(f"reject must be at least 0 and less than 1, got {reject}")
        self.digits, self.white = digits, self.trained.white
        self.reading = reading or self.trained.reading
        if self.reading == "whole" and digits != "one":
            raise UserError(f"digits must be 'one' with the reading 'whole', got {digits!r}")
        if self.reading == "ink":
            get_framing(self.trained)  # raises an error if the model has none

    def __call__(self, picture: Any) -> Prediction:
        """Read one picture, as accepted by `predict`."""
        pixels = read_picture(picture, self.white)
        if self.reading == "whole":
            return read_whole(pixels, self.trained, self.reject)
        if self.digits == "sum":
            return read_sum(pixels, self.trained, self.reject)
        if self.digits == "many":
            return read_sheet(pixels, self.trained, self.reject)
        return read_digit(pixels, self.trained, self.reject)
