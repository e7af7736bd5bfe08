"""Argument checks shared by several modules."""

import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from lenet5c.datasets.mapped import MappedImages


def check_images(images: Any, *, empty: bool = True) -> None:
    """Raise an error unless `images` is uint8 of shape (N, C, H, W); N may be 0 if `empty`."""
    if not isinstance(images, np.ndarray | MappedImages):
        raise TypeError(f"images must be a NumPy array, got {type(images).__name__}")
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 (pixels 0 to 255), got {images.dtype}")
    if images.ndim != 4 or 0 in images.shape[empty:]:
        remedy = "; add the channel axis: images[:, np.newaxis]" if images.ndim == 3 else ""
        raise ValueError(
            f"images must have a nonempty shape (N, C, H, W), got {images.shape}{remedy}"
        )


def check_path(name: str, value: Any) -> Path:
    """Return `value` as a path, or raise a TypeError."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"{name} must be a str or path-like, got {value!r:.40}")
    return Path(value)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise a ValueError unless `value` is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        shown = " or ".join(map(repr, choices))
        raise ValueError(f"{name} must be {shown}, got {value!r:.40}")


def check_size(size: Any, most: int) -> tuple[int, int]:
    """Return `size` as height and width, or raise a ValueError."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"size must be a pair (height, width), got {size!r:.40}")
    for side in size:
        whole = isinstance(side, Integral) and not isinstance(side, bool)
        if not (whole and 1 <= int(side) <= most):
            raise ValueError(f"size must be two ints from 1 to {most}, got {size!r:.40}")
    return int(size[0]), int(size[1])


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
