"""Conversion of rows of numbers to 8-bit images."""

import warnings
from math import isqrt, prod
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 22  # float64 values per block
WHOLE = (0.0, 255.0)


def find_image_shape(
    given: tuple[int, ...], features: int, asked: tuple[int, ...] | None
) -> tuple[int, int, int]:
    """Return the image shape (C, H, W) of samples.

    Parameters
    ----------
    given : tuple of int
        Original shape of a sample: (features,), (H, W) or (C, H, W).
    features : int
    asked : tuple of int or None
        The parameter `image_shape` of the estimator.
    """
    if asked is not None:
        shape = tuple(asked) if isinstance(asked, (tuple, list)) else ()
        whole = all(isinstance(n, Integral) and type(n) is not bool and n >= 1 for n in shape)
        if len(shape) not in (2, 3) or not whole:
            raise ValueError(f"image_shape must be (H, W) or (C, H, W), got {asked!r}")
        if prod(shape) != features:
            raise ValueError(
                f"image_shape must match the {features} features of X, got {asked!r}, which has "
                f"{prod(shape)} values"
            )
        gray = shape[1:] if shape[0] == 1 else shape
        if len(given) > 1 and given not in (shape, (1, *shape), gray):
            raise ValueError(
                f"image_shape must be the shape of the samples in X, {given}, got {asked!r}"
            )
    elif len(given) > 1:
        shape = given
    else:
        # The smallest nearly square image, padded with black.
        height = isqrt(features)
        shape = (height, -(-features // height))
    shape = tuple(map(int, shape))
    if len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4) and asked is None:
        raise ValueError(
            f"X must have channels first, got samples of shape {shape}, apparently with "
            f"channels last; use X.transpose(0, 3, 1, 2), or pass image_shape={shape} if this is "
            "intended"
        )
    channels, height, width = shape if len(shape) == 3 else (1, *shape)
    return channels, height, width


def find_pixel_range(X: NDArray[Any], asked: tuple[float, float] | None) -> tuple[float, float]:
    """Return (low, high), the values of black and white."""
    if asked is not None:
        pair = tuple(asked) if isinstance(asked, (tuple, list)) else ()
        numbers = all(isinstance(value, Real) and np.isfinite(value) for value in pair)
        if len(pair) != 2 or not numbers or not pair[0] < pair[1]:
            raise ValueError(
                f"pixel_range must be two increasing numbers, such as (0, 1), got {asked!r}"
            )
        return float(pair[0]), float(pair[1])
    if X.dtype == np.uint8:
        return WHOLE
    low, high = float(X.min()), float(X.max())
    return (low, high) if low < high else (low, low + 1.0)


def as_images(
    X: NDArray[Any], shape: tuple[int, int, int], pixel_range: tuple[float, float]
) -> NDArray[np.uint8]:
    """Convert rows (N, features) to images (N, C, H, W), scaling `pixel_range` to 0 to 255."""
    low, high = pixel_range
    images = np.zeros((len(X), prod(shape)), np.uint8)
    if X.dtype == np.uint8 and pixel_range == WHOLE:
        images[:, : X.shape[1]] = X
    else:
        _check_range(X, low, high)
        rows = max(1, CHUNK // X.shape[1])
        for start in range(0, len(X), rows):
            # Divided first, because the difference of the largest floats overflows.
            part = X[start : start + rows].astype(np.float64) / (high / 2 - low / 2)
            part -= low / (high / 2 - low / 2)
            part *= 127.5
            np.clip(np.rint(part, out=part), 0, 255, out=part)
            images[start : start + rows, : X.shape[1]] = part.astype(np.uint8)
    return images.reshape(-1, *shape)


def _check_range(X: NDArray[Any], low: float, high: float) -> None:
    """Warn if values have a very different scale from the training data."""
    span = high - low
    least, most = float(X.min()), float(X.max())
    far = most > high + 10 * span or least < low - 10 * span
    if far or (span > 100 and least >= 0 and 0 < most <= 1):
        warnings.warn(
            f"X has values from {least:g} to {most:g}, but pixel_range is {low:g} to "
            f"{high:g}; scale X like the training data, or set pixel_range",
            stacklevel=5,
        )
