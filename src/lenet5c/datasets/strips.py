"""Conversion of pictures strip by strip: bit depth, transparency and reduction.

Gray levels of more than eight bits are divided by the level of white, the largest value of 8, 10,
12, 14 or 16 bits. It is the smallest one that is not exceeded by the brightest pixel of all
pictures of a data set, nor by the significant bits declared by a PNG or TIFF. Floats are from 0 to
1 or to one of these.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Levels of white, of floats and of 8 and more bits.
WHITES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
#: Reduction factors of pictures that would take too much memory.
SCALES = (1, 2, 4, 8)
_STRIP = 1 << 18  # pixels

Whites = Mapping[str, float]
NO_WHITES: Whites = {}
Strip = tuple[slice, NDArray[Any]]
Strips = Callable[[], Iterator[Strip]]


def merge_white(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the common levels of white of pictures."""
    merged: dict[str, float] = {}
    for each in found:
        for kind, level in each.items():
            merged[kind] = max(level, merged.get(kind, 0.0))
    return merged


def reduce_depth(values: NDArray[Any], white: Whites = NO_WHITES) -> NDArray[np.uint8]:
    """Convert gray levels of more than eight bits; for `white`, see `decode`."""
    return _join(reduce_strips(_split(values), white, 0), values.shape)


def measure_array_white(values: NDArray[Any]) -> dict[str, float]:
    """Return the level of white of an array by its kind, 'int' or 'float'."""
    return find_white(_split(values))


def flatten_alpha(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compose a picture with transparency on a background.

    The opaque part is a drawing, or a picture with holes or round corners. A drawing gets the
    background with the highest contrast, white or black; holes get the median color of the picture.
    """
    return _join(flatten_strips(_split(rgba)), (*rgba.shape[:2], 3))


def _split(array: NDArray[Any]) -> Strips:
    return lambda: ((rows, array[rows]) for rows in split_rows(array))


def _join(strips: Iterator[Strip], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    joined = np.empty(shape, np.uint8)
    for rows, strip in strips:
        joined[rows] = strip
    return joined


def shrink_strip(strip: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Return the means of complete square blocks of pixels."""
    if scale == 1:
        return strip
    rows, columns = (side // scale for side in strip.shape[:2])
    squares = strip[: rows * scale, : columns * scale]
    squares = squares.reshape(rows, scale, columns, scale, *strip.shape[2:])
    total = squares.sum(axis=(1, 3), dtype=np.uint32)
    return ((2 * total + scale**2) // (2 * scale**2)).astype(np.uint8)


def split_rows(picture: Any) -> Iterator[slice]:
    """Return the rows of each strip of an array or image."""
    if isinstance(picture, np.ndarray):
        height, width = picture.shape[:2]
    else:
        width, height = picture.size
    step = max(1, _STRIP // width // SCALES[-1]) * SCALES[-1]
    return (slice(y, min(y + step, height)) for y in range(0, height, step))


def find_white(strips: Strips, bits: int = 0) -> dict[str, float]:
    """Return the level of white of a picture by its kind, 'int' or 'float'."""
    _, most, kind = _find_range(strips)
    return {kind: _choose_white(most, kind, bits)}


def _choose_white(most: float, kind: str, bits: int) -> float:
    if kind == "int":
        most = max(most, 2.0**bits - 1)
    return next((level for level in WHITES if most <= level), most)


def _find_range(strips: Strips) -> tuple[float, float, str]:
    """Return the smallest and largest finite values, and their kind."""
    least, most, kind = np.inf, -np.inf, "int"
    for _, values in strips():
        if values.dtype.kind == "f":
            values, kind = values[np.isfinite(values)], "float"
        if values.size:
            least, most = min(least, float(values.min())), max(most, float(values.max()))
    return (least, most, kind) if least <= most else (0.0, 0.0, kind)


def reduce_strips(strips: Strips, white: Whites, bits: int) -> Iterator[Strip]:
    """Convert strips of gray levels with a declared number of significant bits."""
    low, top, kind = _find_range(strips)
    least = low
    if low >= 0:
        low, top = 0.0, white[kind] if kind in white else _choose_white(top, kind, bits)
    for rows, values in strips():
        values = values.astype(np.float64)
        values[~np.isfinite(values)] = least
        values -= low
        values /= max(top - low, 1e-300)
        np.clip(values, 0, 1, out=values)
        values *= 255
        values += 0.5
        yield rows, values.astype(np.uint8)


def flatten_strips(strips: Strips) -> Iterator[Strip]:
    """Compose RGBA strips on a background, see `flatten_alpha`."""
    opaque, pixels, least, most = 0, 0, 255, 0
    for _, rgba in strips():
        alpha = rgba[..., 3]
        pixels += alpha.size
        opaque += int(np.count_nonzero(alpha > 127))
        least, most = min(least, int(alpha.min())), max(most, int(alpha.max()))
    if least == 255:
        for rows, rgba in strips():
            yield rows, rgba[..., :3]
        return
    paper: Any = np.full(3, 255)
    if most > 0:
        paper = _choose_paper(strips, 128 if opaque else 1, covered=opaque > 0.5 * pixels)
    # Lookup table for each color level and alpha.
    level = np.arange(256, dtype=np.float32)[:, np.newaxis]
    share = np.arange(256, dtype=np.float32) / 255
    tables = [
        (level * share + np.float32(color) * (1 - share) + 0.5).astype(np.uint8).ravel()
        for color in paper
    ]
    for rows, rgba in strips():
        places = (rgba[..., i].astype(np.uint16) << 8 | rgba[..., 3] for i in range(3))
        flat = [table.take(place) for table, place in zip(tables, places, strict=True)]
        yield rows, np.stack(flat, axis=-1)


def _choose_paper(strips: Strips, least: int, covered: bool) -> Any:
    """Return the background color for a picture, from its pixels with at least `alpha`."""
    colors = np.zeros((3, 256), np.int64)
    lumas = np.zeros(255_001, np.int64)  # in thousandths
    for _, rgba in strips():
        pixels = np.ascontiguousarray(rgba).view(np.uint32)[..., 0]  # separate channels are slow
        seen = pixels[rgba[..., 3] >= least].view(np.uint8).reshape(-1, 4)
        luma = np.zeros(len(seen), np.int64)
        for i, weight in enumerate((299, 587, 114)):
            colors[i] += np.bincount(seen[:, i], minlength=256)
            luma += seen[:, i].astype(np.uint32) * np.uint32(weight)
        lumas += np.bincount(luma, minlength=len(lumas))
    if covered:
        levels, total = np.arange(len(lumas)) / 1000, lumas.sum()
        mean = lumas @ levels / total
        if np.sqrt(lumas @ (levels - mean) ** 2 / total) > 12:
            return [_find_median(counts) for counts in colors]
    return np.full(3, 255 if _find_median(lumas) <= 128_000 else 0)


def _find_median(counts: NDArray[np.int64]) -> float:
    """Return the median of values with the given counts."""
    total, upto = counts.sum(), np.cumsum(counts)
    low, high = (
        int(np.searchsorted(upto, place, "right")) for place in ((total - 1) // 2, total // 2)
    )
    return (low + high) / 2
