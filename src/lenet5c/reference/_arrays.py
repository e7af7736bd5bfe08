"""Types of the arguments, and their conversion to float64."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Size = int | tuple[int, int]  # one number for both axes, or (vertical, horizontal)
# of both axes, of each, on each side of each, or "same" or "valid"
Padding = Size | tuple[tuple[int, int], tuple[int, int]] | str


def float64(*arrays: ArrayLike) -> tuple[Array, ...]:
    """Return the arrays as float64, without a copy where they are that already."""
    return tuple(np.asarray(array, np.float64) for array in arrays)
