"""How `Preparation` resizes, as integer weights that any language can compute with exactly."""

import numpy as np

UNIT = 20  # weights are multiples of 2**-20


def axis_weights(length, source):
    """int64 (length, source): of each of `length` pixels the share of each of `source` ones, in units of 2**-20.

    The very weights of `Preparation.fit_images`. A pixel of the result is the sum over rows and columns of
    row weight times column weight times pixel, plus a half, rounded down.
    """
    ratio = source / length
    centre = (np.arange(length)[:, np.newaxis] + 0.5) * ratio
    distance = np.abs(np.arange(source) + 0.5 - centre) / max(ratio, 1.0)
    weight = np.maximum(1.0 - distance, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    units = np.rint(weight * 2**UNIT)
    units[np.arange(length), units.argmax(axis=1)] += 2**UNIT - units.sum(axis=1)
    return units.astype(np.int64)
