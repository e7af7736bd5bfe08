"""Recognition of digits in pictures: photographs, scans and arrays of one or several digits.

`predict` is the entry point. Its steps are `digit` (extract the ink and normalize it as MNIST
does), `judge` (reject what cannot be a digit), `segment` (separate several digits) and `explain`
(draw the steps). Everything is computed with NumPy; Pillow only decodes files.
"""

from lenet5c.recognition.digit import BlankImageError, prepare_digit
from lenet5c.recognition.predictor import Reader, predict
from lenet5c.recognition.reading import Prediction

__all__ = ["BlankImageError", "Prediction", "Reader", "predict", "prepare_digit"]
