"""The triangle filter that makes images larger and smaller, the same on every machine."""

import numpy as np

UNIT = 20  # weights are multiples of 2**-20


def resize_matrix(length, source):
    """Return the triangle filter that resamples `source` pixels to `length`, (length, source).

    The weights are multiples of 2**-20 and each row sums to exactly 1. Pixels times two such
    weights, and sums of them, are exact in float64, so neither the order in which a BLAS adds nor
    the machine changes a bit, and a constant image stays constant.
    """
    ratio = source / length
    centre = (np.arange(length)[:, np.newaxis] + 0.5) * ratio
    distance = np.abs(np.arange(source) + 0.5 - centre) / max(ratio, 1.0)
    weight = np.maximum(1.0 - distance, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    units = np.rint(weight * 2**UNIT)
    units[np.arange(length), units.argmax(axis=1)] += 2**UNIT - units.sum(axis=1)
    return units / 2**UNIT


def resize_plane(plane, size):
    """Resample one uint8 plane (h, w) to `size`, rounded half up: uint8 of shape `size`."""
    height, width = plane.shape
    if (height, width) == tuple(size):
        return plane
    resized = resize_matrix(size[0], height) @ (
        plane.astype(np.float64) @ resize_matrix(size[1], width).T
    )
    return (resized + 0.5).astype(np.uint8)
