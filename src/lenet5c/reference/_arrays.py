"""Types of the arguments, their conversion to float64, and the order of their axes."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Size = int | tuple[int, int]  # one number for both axes, or (vertical, horizontal)
# for both axes, for each axis, for each side of each axis, or "same" or "valid"
Padding = Size | tuple[tuple[int, int], tuple[int, int]] | str


def float64(*arrays: ArrayLike) -> tuple[Array, ...]:
    """Return the arrays as float64, without a copy if they already have this dtype."""
    return tuple(np.asarray(array, np.float64) for array in arrays)


def to_nchw(x: Array) -> Array:
    """Return (N, H, W, C) as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)


def to_nhwc(x: Array) -> Array:
    """Return (N, C, H, W) as (N, H, W, C)."""
    return x.transpose(0, 2, 3, 1)


def to_oihw(weight: Array) -> Array:
    """Return (KH, KW, I, O) as (O, I, KH, KW)."""
    return weight.transpose(3, 2, 0, 1)


def to_hwio(weight: Array) -> Array:
    """Return (O, I, KH, KW) as (KH, KW, I, O)."""
    return weight.transpose(2, 3, 1, 0)


def choose(gradients: tuple[Array, Array, Array], need: Iterable[str]) -> tuple[Any, Any, Any]:
    """Return dx, dweight and dbias, with None for those that are not needed."""
    names = tuple(need)
    dx, dweight, dbias = gradients
    return (
        dx if "dx" in names else None,
        dweight if "dweight" in names else None,
        dbias if "dbias" in names else None,
    )
