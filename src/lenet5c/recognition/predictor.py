"""The public functions: pictures of any kind in, readings out."""

import os
from typing import Any, Literal, overload

from lenet5c.datasets._checks import check_choice, check_number
from lenet5c.datasets.dataset import READINGS
from lenet5c.datasets.pictures import is_nested, measure_whites, read_picture
from lenet5c.errors import UserError
from lenet5c.recognition.judge import REJECT
from lenet5c.recognition.reading import Reading, get_framing, read_digit, read_whole
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
) -> list[Reading]: ...
@overload
def predict(
    pictures: Any,
    model: Model = None,
    *,
    digits: Literal["one", "many", "sum"] = "one",
    reading: Literal["ink", "whole"] | None = None,
    reject: float = REJECT,
) -> Reading: ...
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
        Files, or pictures in memory, as `lenet5c.datasets.read_picture` takes them. Dark on light
        or light on dark, of any size. Those of a list have one level of white.
    model : TrainedModel, str or path-like, optional
        A model, a model file, or the folder of a run. Default: the model in the package.
    digits : {'one', 'many', 'sum'}, optional
        One digit in a picture, a number or sheet of several, or written sums.
    reading : {'ink', 'whole'}, optional
        Find the ink and bring it to the form of the model's training images, or resize the
        picture. Default: the model's. A picture that looks like one of them is taken as it is.
    reject : float, optional
        Reject what has a confidence below this, from 0 to less than 1: the probability that it is
        a digit, and the predicted one; for models of other classes the probability of the class.

    Returns
    -------
    Reading, or list of Reading
        One for each picture; a list if a list was given. Of a rejected picture `label` is None,
        and `rejected` the reason.

    Raises
    ------
    UserError
        If a picture or the model cannot be read (FileNotFoundError if there is no such model).
    MissingExtraError
        If Pillow is not installed, for files: ``pip install 'lenet5c[images]'``.

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
    """A model, and how pictures are read for it: called with a picture, it returns a `Reading`.

    Parameters are those of `predict`; `white` may be set to what
    `lenet5c.datasets.pictures.measure_whites` finds for pictures that belong together.
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
            get_framing(self.trained)  # or say that there is none

    def __call__(self, picture: Any) -> Reading:
        """Read one picture, as `predict` takes it."""
        pixels = read_picture(picture, self.white)
        if self.reading == "whole":
            return read_whole(pixels, self.trained, self.reject)
        if self.digits == "sum":
            return read_sum(pixels, self.trained, self.reject)
        if self.digits == "many":
            return read_sheet(pixels, self.trained, self.reject)
        return read_digit(pixels, self.trained, self.reject)
