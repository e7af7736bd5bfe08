"""Recognition of digits in pictures: photographs and scans of one digit or several, arrays.

`predict` reads; its steps are `digit` (ink, in MNIST's form), `judge` (rejection of what cannot be
a digit), `segment` (several digits) and `explain` (pictures of the steps). NumPy alone: Pillow
only decodes files.
"""

from lenet5c.recognition.digit import BlankImageError, prepare_digit
from lenet5c.recognition.predictor import Reader, predict
from lenet5c.recognition.reading import Reading

__all__ = ["BlankImageError", "Reader", "Reading", "predict", "prepare_digit"]
