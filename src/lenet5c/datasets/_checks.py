"""Checks of arguments that several modules share."""

from numbers import Real
from typing import Any

import numpy as np


def check_images(images: Any, *, empty: bool = True) -> None:
    """Raise an error unless `images` is uint8 of shape (N, C, H, W); N may be 0 if `empty`."""
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images must be a NumPy array, got {type(images).__name__}")
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 (pixels 0 to 255), got {images.dtype}")
    if images.ndim != 4 or 0 in images.shape[empty:]:
        remedy = "; add the channel axis: images[:, np.newaxis]" if images.ndim == 3 else ""
        raise ValueError(
            f"images must be of shape (N, C, H, W) without a zero, got {images.shape}{remedy}"
        )


def check_number(name: str, value: Any) -> float:
    """Return `value` as a finite float, or raise a TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a float, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r:.40}")
    return number
