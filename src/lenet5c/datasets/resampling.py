"""Resampling of images with a triangle filter, reproducible on every machine."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets._checks import check_size

UNIT = 20  # weights are multiples of 2**-20
#: Maximum side of a resampled image.
MAX_SIDE = 65_500
_AT_ONCE = 1 << 21  # bytes
#: Maximum size of a matrix product that is passed to BLAS, which uses one thread for it. More
#: threads would wait for each other when several pictures are resized in parallel or the machine
#: is busy.
_BLAS = 1 << 18
#: Minimum number of lines that are passed to it together; for fewer the banded product is faster.
_LINES = 4
#: Maximum number of weights of a cached matrix.
_SMALL = 1 << 12


def resize(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample images to a height and a width.

    Interpolation is bilinear between pixel centers, like OpenCV's ``INTER_LINEAR``; when shrinking,
    the filter is widened by the ratio so that every pixel counts. Results are rounded half up and
    are the same on every machine.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., h, w)
    size : tuple of int
        (H, W)

    Returns
    -------
    ndarray of uint8, shape (..., H, W)
        `images` itself if it already has this size.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import resize
    >>> resize(np.array([[0, 80]], np.uint8), (1, 4))
    array([[ 0, 20, 60, 80]], dtype=uint8)
    """
    height, width = check_size(size, MAX_SIDE)
    *outer, h, w = _check_shape(images)
    if (h, w) == (height, width):
        return images
    planes = images.reshape(-1, h, w)
    rows, columns = (
        _small_matrix(*ends) if ends[0] * ends[1] <= _SMALL else resize_matrix(*ends)
        for ends in ((height, h), (width, w))
    )
    resized = np.empty((len(planes), height, width), dtype=np.uint8)
    # A few small images at a time, or some rows of a large one, to limit the float64 memory.
    # All sums are exact, so their order only affects speed.
    chunk = max(1, _AT_ONCE // (8 * max(h, height) * max(w, width)))
    for start in range(0, len(planes), chunk):
        part = planes[start : start + chunk]
        if chunk == 1 and height < h:
            values = _resample(_shrink_rows(part, rows), columns)
        else:
            strip = max(1, _AT_ONCE // (8 * max(w, width)))
            strips = [
                _resample(part[:, y : y + strip].astype(np.float64), columns)
                for y in range(0, h, strip)
            ]
            values = strips[0] if len(strips) == 1 else np.concatenate(strips, axis=1)
            values = _resample(values.swapaxes(1, 2), rows).swapaxes(1, 2)
        # Truncation is the floor, as no value is negative.
        resized[start : start + chunk] = (values + 0.5).astype(np.uint8)
    return resized.reshape(*outer, height, width)


def _resample(values: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values (N, lines, source) resampled along the last axis, (N, lines, length)."""
    length, source = matrix.shape
    lines = _BLAS // (source * length)
    if values.shape[1] <= lines:
        return values @ matrix.T
    resampled = np.empty((*values.shape[:2], length))
    if lines >= _LINES:
        for start in range(0, values.shape[1], lines):
            part = slice(start, start + lines)
            np.matmul(values[:, part], matrix.T, out=resampled[:, part])
        return resampled
    for i, weights in enumerate(matrix):
        taps = np.flatnonzero(weights)
        band = slice(taps[0], taps[-1] + 1)
        np.einsum("nls,s->nl", values[..., band], weights[band], out=resampled[..., i])
    return resampled


def _shrink_rows(planes: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return planes (N, source, width) resampled along the rows, (N, length, width)."""
    shrunk = np.zeros((len(planes), len(matrix), planes.shape[2]))
    strip = max(1, _AT_ONCE // (8 * planes.shape[2]))
    for i, weights in enumerate(matrix):
        taps = np.flatnonzero(weights)
        for y in range(taps[0], taps[-1] + 1, strip):
            band = slice(y, min(y + strip, taps[-1] + 1))
            part = planes[:, band].astype(np.float64)
            shrunk[:, i] += np.einsum("nsw,s->nw", part, weights[band])
    return shrunk


def letterbox(
    images: NDArray[np.uint8], size: tuple[int, int], fill: ArrayLike | None = None
) -> NDArray[np.uint8]:
    """Resample images to fit into a height and a width, centered, without distortion.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., h, w)
    size : tuple of int
        (H, W)
    fill : array_like of int, shape (...), optional
        Gray level of the bars, or one for each plane. Default: the median of the plane's border.

    Returns
    -------
    ndarray of uint8, shape (..., H, W)
        `images` itself if it already has this size. An odd row or column is at the bottom or on the
        right.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.resampling import letterbox
    >>> letterbox(np.array([[10, 30]], np.uint8), (2, 2), fill=255)
    array([[ 10,  30],
           [255, 255]], dtype=uint8)
    """
    height, width = check_size(size, MAX_SIDE)
    *outer, h, w = _check_shape(images)
    fitted = fit_size((h, w), (height, width))
    small = resize(images, fitted)
    if fitted == (height, width):
        return small
    if fill is None:
        edge = [images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]]
        fill = np.median(np.concatenate(edge, axis=-1), axis=-1)
    boxed = np.empty((*outer, height, width), np.uint8)
    boxed[...] = np.asarray(fill)[..., np.newaxis, np.newaxis]
    top, left = ((side - own) // 2 for side, own in zip((height, width), fitted, strict=True))
    boxed[..., top : top + fitted[0], left : left + fitted[1]] = small
    return boxed


def fit_size(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size with the aspect ratio of the source that fits a height and width."""
    (h, w), (height, width) = source, size
    if height * w <= width * h:
        return height, max(1, (2 * w * height + h) // (2 * h))
    return max(1, (2 * h * width + w) // (2 * w)), width


def resize_matrix(length: int, source: int) -> NDArray[np.float64]:
    """Return the triangle filter that resamples `source` pixels to `length`, (length, source).

    The weights are multiples of 2**-20 and each row sums to exactly 1. Products of a pixel and two
    weights, and their sums, are exact in float64, so results depend neither on the summation order
    of BLAS nor on the machine, and a constant image stays constant.
    """
    ratio = source / length
    center = (np.arange(length)[:, np.newaxis] + 0.5) * ratio
    distance = np.abs(np.arange(source) + 0.5 - center) / max(ratio, 1.0)
    weight = np.maximum(1.0 - distance, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    units = np.rint(weight * 2**UNIT)
    units[np.arange(length), units.argmax(axis=1)] += 2**UNIT - units.sum(axis=1)
    return units / 2**UNIT


@lru_cache(maxsize=512)
def _small_matrix(length: int, source: int) -> NDArray[np.float64]:
    matrix = resize_matrix(length, source)
    matrix.flags.writeable = False
    return matrix


def _check_shape(images: NDArray[np.uint8]) -> tuple[int, ...]:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images must be a NumPy array with dtype uint8, got {found}")
    if images.ndim < 2 or 0 in images.shape[-2:]:
        raise ValueError(f"images must have a height and a width, got shape {images.shape}")
    return images.shape
