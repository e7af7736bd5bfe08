"""Filters of gray planes and masks, and the gray plane of a picture in which ink shows best.

In NumPy rather than SciPy: see docs/explanation/recognition.md for the times.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.conversion import to_gray

#: Factor by which ink must stand out more in a color than in brightness, for the color to be taken.
CLEARLY = 1.5


def reduce(gray: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return rounded means over squares of `factor` pixels a side, without an incomplete rest."""
    return gray if factor == 1 else _average(gray[..., np.newaxis], factor)[0]


def _average(picture: NDArray[np.uint8], factor: int) -> list[NDArray[np.uint8]]:
    """Return the rounded means of each channel of a picture (h, w, C)."""
    height, width = picture.shape[:2]
    # A strip that is narrower than the factor is reduced along its length alone.
    down, across = min(factor, height), min(factor, width)
    rows, columns = height // down, width // across
    count = down * across
    kind = np.uint16 if 255 * count < 1 << 16 else np.uint32
    # Whole rows first: they lie one after the other in memory.
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
    """Return a picture, (h, w) or (h, w, 3), as gray levels, a side reduced by `factor`.

    The gray levels are the brightness, unless ink stands out clearly more in one of red, green and
    blue: yellow on white does in blue alone.
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
    """Return the contrast of ink and paper over the noise."""
    small = reduce(plane, -(-max(plane.shape) // 160)).astype(np.float32)
    low, high = np.quantile(smooth(smooth(small)), [0.002, 0.998])
    return (float(high) - float(low)) / (estimate_noise(small) + 4.0)


def smooth(plane: NDArray[Any]) -> NDArray[Any]:
    """Filter a plane by 1 2 1 along both axes, its edge repeated."""
    padded = np.pad(plane, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16


def grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with the eight neighbors of its pixels."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def dilate(plane: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Return the maximum over an octagon of this radius about each pixel."""
    for step in range(radius):
        wider = plane.copy()
        np.maximum(wider[1:], plane[:-1], out=wider[1:])
        np.maximum(wider[:-1], plane[1:], out=wider[:-1])
        sideways = wider.copy() if step % 2 else plane
        np.maximum(wider[:, 1:], sideways[:, :-1], out=wider[:, 1:])
        np.maximum(wider[:, :-1], sideways[:, 1:], out=wider[:, :-1])
        plane = wider
    return plane


def estimate_noise(plane: NDArray[Any]) -> float:
    """Return the standard deviation of pixel noise, of what no slope or straight edge explains."""
    if min(plane.shape) < 2:
        return 0.0
    mixed = plane[1:, 1:] + plane[:-1, :-1] - plane[1:, :-1] - plane[:-1, 1:]
    return float(np.median(np.abs(mixed))) / (2 * 0.6745)


def measure_stroke(mask: NDArray[np.bool_]) -> float:
    """Return the mean width of strokes in pixels: twice the area over the length of the outline."""
    padded = np.pad(mask, 1)
    edges = np.count_nonzero(np.diff(padded, axis=0)) + np.count_nonzero(np.diff(padded, axis=1))
    # Steps along the grid overstate a slanted line; pi / 4 is right on average over its directions.
    return 2 * np.count_nonzero(mask) / max(edges * np.pi / 4, 1)


def find_quantile(values: NDArray[Any], weight: NDArray[Any], parts: int) -> float:
    """Return the value below which one of so many parts of the weight lies; 2 for the median."""
    order = np.argsort(values, axis=None, kind="stable")
    total = np.cumsum(weight.ravel()[order])
    return float(values.ravel()[order[np.searchsorted(total, total[-1] / parts)]])


def find_threshold(values: NDArray[Any]) -> float:
    """Return Otsu's threshold: it divides the values into two classes of least variance."""
    counts, edges = np.histogram(values, bins=128, range=(0, values.max()))
    below = np.cumsum(counts)
    weighted = np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (weighted / below - (weighted[-1] - weighted) / above) ** 2
    return float(edges[1:][np.nanargmax(np.where((below > 0) & (above > 0), between, 0))])
