"""Cropping and centering of ink."""

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.framing import EDGE, MNIST, Framing
from lenet5c.datasets.resampling import fit_size, resize
from lenet5c.errors import UserError

Box = tuple[int, int, int, int]


class BlankImageError(UserError):
    """Raised when a picture contains no ink."""


def center(
    strength: NDArray[np.uint8], framing: Framing = MNIST, size: tuple[int, int] = (28, 28)
) -> NDArray[np.uint8]:
    """Crop the ink, scale it to the box of a form, and center it by its center of mass.

    As in MNIST, the aspect ratio is preserved, resampling produces gray levels, and the digit is
    shifted by whole pixels. A digit whose center of mass is far to one side is shifted only so far
    that it is not cut off. Raises a BlankImageError if there is no ink.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.centering import center
    >>> ink = np.zeros((50, 90), np.uint8)
    >>> ink[5:45, 70:74] = 255
    >>> image = center(ink)
    >>> np.argwhere(image.any(axis=1)).ravel()[[0, -1]], np.argwhere(image.any(axis=0)).ravel()
    (array([ 5, 24]), array([14, 15]))
    """
    crop, box = crop_ink(strength), framing.box_size(size)
    height, width = box if framing.stretched else fit_size(crop.shape, box)
    small = resize(crop, (height, width))
    if not small.any():
        raise BlankImageError("there is no writing: the ink is too faint")
    place = []
    for axis, length in enumerate((height, width)):
        middle = length / 2
        if framing.center == "mass":
            mass = small.sum(axis=1 - axis, dtype=np.int64)
            middle = (mass @ (2 * np.arange(length) + 1)) / (2 * mass.sum())
        first = np.floor(size[axis] * framing.place[axis] - middle + 0.5)
        place.append(int(np.clip(first, 0, size[axis] - length)))
    image = np.zeros(size, np.uint8)
    image[place[0] : place[0] + height, place[1] : place[1] + width] = small
    return image


def crop_ink(strength: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop an ink image to its strokes."""
    top, left, bottom, right = find_box(strength)
    return strength[top:bottom, left:right]


def find_box(strength: NDArray[np.uint8]) -> Box:
    """Return (top, left, bottom, right) of the pixels above a fraction of the maximum ink."""
    box = bound(strength >= max(1, EDGE * strength.max(initial=0)))
    if box is None:
        raise BlankImageError("there is no writing")
    return box


def bound(mask: NDArray[np.bool_]) -> Box | None:
    """Return (top, left, bottom, right) of a mask, with exclusive ends; None if empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
