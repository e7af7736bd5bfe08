"""Cropping of pictures that show more than a digit on paper.

Examples are a note lying on a table, a sheet whose edge is in the picture, or a scan with punch
holes in the margin. Objects at the edge of the picture are excluded. If two or more remain, nothing
is cropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.components import Components, find_components
from lenet5c.recognition.digit import Ink

#: Minimum difference from flattened paper, out of 127, of a pixel that is not paper.
APART = 50
#: Minimum longer side of an object, in pixels.
LEAST = 22
#: Minimum fraction of its box that a note fills, and minimum ratio of its longer side to the
#: picture's.
SOLID, LARGE = 0.5, 0.3


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a picture, with the position of its top left corner."""

    picture: NDArray[np.uint8]
    top: int
    left: int


def cut_inside(picture: NDArray[np.uint8], ink: Ink, working_side: int) -> Iterator[Part]:
    """Yield crops of the only object that does not touch the edge of a picture.

    `ink` is the ink of the picture reduced to at most `working_side` pixels a side. If the object
    may be a note, the first crop is the note alone, its edges extended outward over its
    surroundings. The next crop is the object with the paper around it.
    """
    factor = -(-max(picture.shape[:2]) // working_side)
    if ink.flat.shape != tuple(side // factor for side in picture.shape[:2]):
        return  # the ink is from a close-up
    parts = find_components(np.abs(ink.flat.astype(np.int16) - 128) > APART)
    main = _find_main(parts, ink.flat.shape)
    if main is None:
        return
    top, left, bottom, right = parts.boxes[main].tolist()
    longer = max(bottom - top, right - left)
    area = (bottom - top) * (right - left)
    if parts.area[main] > SOLID * area and longer > LARGE * max(ink.flat.shape):
        note = parts.labels[top:bottom, left:right] == main
        if part := _cut_note(picture, note, top, left, factor):
            yield part
    if _lie_within(parts, main).all():
        return  # a crop would exclude nothing
    around = 2 + round(0.15 * longer)
    top, left = max(0, factor * (top - around)), max(0, factor * (left - around))
    bottom, right = factor * (bottom + around), factor * (right + around)
    yield Part(picture[top:bottom, left:right], top, left)


def _find_main(parts: Components, shape: tuple[int, ...]) -> int | None:
    """Return the only inner component that is neither small nor a punch hole, or None."""
    height, width = shape
    top, left, bottom, right = parts.boxes.T
    inner = (top > 1) & (left > 1) & (bottom < height - 1) & (right < width - 1)
    inner &= parts.area >= 0.02 * parts.area[inner].max(initial=0)
    if not inner.any():
        return None
    high, wide = bottom - top, right - left
    main = int(np.argmax(np.where(inner, np.maximum(high, wide), 0)))
    longer = int(max(high[main], wide[main]))
    holes = (
        (np.maximum(high, wide) <= 1.3 * np.minimum(high, wide))
        & (parts.area >= 0.65 * high * wide)
        & (np.minimum(left, width - right) <= 0.12 * width)
        & (np.maximum(left - right[main], left[main] - right) > 0.5 * longer)
    )
    # Writing on a note does not count as a separate object.
    within = _lie_within(parts, main)
    return None if longer < LEAST or (inner & ~holes & ~within).any() else main


def _lie_within(parts: Components, main: int) -> NDArray[np.bool_]:
    """Return a mask of the components that lie in the box of component `main`, including itself."""
    top, left, bottom, right = parts.boxes.T
    return (
        (top >= top[main])
        & (left >= left[main])
        & (bottom <= bottom[main])
        & (right <= right[main])
    )


def _cut_note(
    picture: NDArray[np.uint8], note: NDArray[np.bool_], top: int, left: int, factor: int
) -> Part | None:
    """Crop a note, given its mask and position, and extend each row's edge pixels outward."""
    inset = 3 + round(0.02 * max(note.shape))
    first, last = note.argmax(axis=1) + inset, note.shape[1] - note[:, ::-1].argmax(axis=1) - inset
    rows = np.flatnonzero(last - first > 0.3 * note.shape[1])[inset:-inset]
    if len(rows) < LEAST:
        return None
    start, end = int(rows[0]), int(rows[-1]) + 1
    y, x = factor * (top + start), factor * left
    cut = picture[y : y + factor * (end - start), x : x + factor * note.shape[1]].copy()
    for row, line in enumerate(cut):
        at = min(start + row // factor, end - 1)
        one, other = factor * int(first[at]), factor * int(last[at])
        if one < other:
            line[:one], line[other:] = line[one], line[other - 1]
    return Part(cut, y, x)
