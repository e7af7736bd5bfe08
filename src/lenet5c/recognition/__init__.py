"""From pictures to what a trained model reads in them: photographs and scans of digits, sheets of several, arrays.

`predict` reads; the steps it takes are `reader` (files), `digit` (ink, in MNIST's form), `judge` (whether it can be a
digit), `segment` (several) and `explain` (pictures of the way). Arrays do without Pillow.
"""

from lenet5c.recognition.digit import BlankImageError, prepare_digit
from lenet5c.recognition.predictor import Reader, predict
from lenet5c.recognition.reader import PictureError, read_picture
from lenet5c.recognition.reading import Reading

__all__ = [
    "BlankImageError",
    "PictureError",
    "Reader",
    "Reading",
    "predict",
    "prepare_digit",
    "read_picture",
]
