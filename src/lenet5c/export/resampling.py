"""How `Preparation` resizes, as integer weights that any language can compute with exactly."""

import numpy as np

from lenet5c.datasets.resampling import UNIT, resize_matrix


def axis_weights(length, source):
    """int64 (length, source): of each of `length` pixels the share of each of `source` ones, in units of 2**-20.

    The very weights of `Preparation.fit_images`. A pixel of the result is the sum over rows and columns of
    row weight times column weight times pixel, plus a half, rounded down.
    """
    return np.rint(resize_matrix(length, source) * 2**UNIT).astype(np.int64)
