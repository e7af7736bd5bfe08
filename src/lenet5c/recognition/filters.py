"""Filters for gray planes and masks, and selection of the color channel that shows ink best.

Written in NumPy rather than SciPy; docs/explanation/recognition.md has the timings.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.conversion import to_gray

#: Factor by which the contrast in a color channel must exceed that in brightness to be chosen.
CLEARLY = 1.5


def reduce(gray: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return rounded means over blocks of `factor` x `factor` pixels; drop incomplete blocks."""
    return gray if factor == 1 else _average(gray[..., np.newaxis], factor)[0]


def _average(picture: NDArray[np.uint8], factor: int) -> list[NDArray[np.uint8]]:
    """Return the rounded means of each channel of a picture (h, w, C)."""
    height, width = picture.shape[:2]
    # A side shorter than the factor is averaged as a whole.
    down, across = min(factor, height), min(factor, width)
    rows, columns = height // down, width // across
    count = down * across
    kind = np.uint16 if 255 * count < 1 << 16 else np.uint32
    # Sum rows first, since they are contiguous in memory.
    lines: NDArray[Any] = picture[: rows * down : down].astype(kind)
    for i in range(1, down):
        lines += picture[i : rows * down : down]
    planes = []
    for channel in range(picture.shape[2]):
        line = np.ascontiguousarray(lines[..., channel])
        total = line[:, : columns * across : across].astype(np.uint32)
        for i in range(1, across):
            total += line[:, i : columns * across : across]
        planes.append(((2 * total + count) // (2 * count)).astype(np.uint8))
    return planes


def reduce_to_gray(picture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Convert a picture, (h, w) or (h, w, 3), to gray levels and reduce each side by `factor`.

    The gray levels are the brightness, unless ink stands out much more in the red, green or blue
    channel; yellow on white, for example, is visible only in blue.
    """
    if picture.ndim == 2:
        return reduce(picture, factor)
    planes = _average(picture, factor)
    luma = to_gray(np.stack(planes, axis=-1))
    if all(np.array_equal(plane, luma) for plane in planes):
        return luma
    standing_out = [_stand_out(plane) for plane in (luma, *planes)]
    best = int(np.argmax(standing_out[1:]))
    return planes[best] if standing_out[1 + best] > CLEARLY * standing_out[0] else luma


def _stand_out(plane: NDArray[np.uint8]) -> float:
    """Return the ratio of the contrast between ink and paper to the noise."""
    small = reduce(plane, -(-max(plane.shape) // 160)).astype(np.float32)
    low, high = np.quantile(smooth(smooth(small)), [0.002, 0.998])
    return (float(high) - float(low)) / (estimate_noise(small) + 4.0)


def smooth(plane: NDArray[Any]) -> NDArray[Any]:
    """Smooth a plane with the kernel [1, 2, 1] / 4 along both axes, repeating the edge."""
    padded = np.pad(plane, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16


def grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate a mask by one pixel in all eight directions."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def dilate(plane: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Dilate a gray plane with an octagon of the given radius."""
    for step in range(radius):
        wider = plane.copy()
        np.maximum(wider[1:], plane[:-1], out=wider[1:])
        np.maximum(wider[:-1], plane[1:], out=wider[:-1])
        sideways = wider.copy() if step % 2 else plane
        np.maximum(wider[:, 1:], sideways[:, :-1], out=wider[:, 1:])
        np.maximum(wider[:, :-1], sideways[:, 1:], out=wider[:, :-1])
        plane = wider
    return plane


def close(plane: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Fill gaps and holes of a gray plane that are narrower than twice the radius."""
    wider = dilate(np.pad(plane, radius), radius)
    return (255 - dilate(255 - wider, radius))[radius:-radius, radius:-radius]


def estimate_noise(plane: NDArray[Any]) -> float:
    """Estimate the standard deviation of pixel noise, ignoring slopes and straight edges."""
    if min(plane.shape) < 2:
        return 0.0
    mixed = plane[1:, 1:] + plane[:-1, :-1] - plane[1:, :-1] - plane[:-1, 1:]
    return float(np.median(np.abs(mixed))) / (2 * 0.6745)


def measure_stroke(mask: NDArray[np.bool_]) -> float:
    """Return the mean stroke width in pixels: twice the area divided by the outline length."""
    padded = np.pad(mask, 1)
    edges = np.count_nonzero(np.diff(padded, axis=0)) + np.count_nonzero(np.diff(padded, axis=1))
    # Counting grid edges overestimates slanted outlines; pi / 4 is the mean over all directions.
    return 2 * np.count_nonzero(mask) / max(edges * np.pi / 4, 1)


def find_quantile(values: NDArray[Any], weight: NDArray[Any], parts: int) -> float:
    """Return the value below which 1 / `parts` of the weight lies; 2 gives the median."""
    order = np.argsort(values, axis=None, kind="stable")
    total = np.cumsum(weight.ravel()[order])
    return float(values.ravel()[order[np.searchsorted(total, total[-1] / parts)]])


def find_threshold(values: NDArray[Any]) -> float:
    """Return Otsu's threshold, which minimizes the variance within two classes of values."""
    counts, edges = np.histogram(values, bins=128, range=(0, values.max()))
    below = np.cumsum(counts)
    weighted = np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (weighted / below - (weighted[-1] - weighted) / above) ** 2
    return float(edges[1:][np.nanargmax(np.where((below > 0) & (above > 0), between, 0))])
