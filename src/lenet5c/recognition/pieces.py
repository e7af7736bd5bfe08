"""Pieces of ink on a sheet: components that may be characters or parts of characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.centering import Box, bound
from lenet5c.recognition.components import Components, find_components
from lenet5c.recognition.filters import find_quantile, grow, measure_stroke

#: Minimum strength of an ink pixel; characters whose soft edges meet stay separate.
FIRM = 96
#: Minimum height of a digit, as a fraction of the typical height.
LEAST = 0.45
#: Fraction of the median strength below which small ink is a remnant of a rule.
FAINT = 0.62
#: Minimum height, in stroke widths, of a component that is not a bar.
FLAT = 2.5
#: Fraction of the stroke width below which ink is a speck.
SPECK = 0.6
#: Minimum horizontal overlap and maximum height of stacked parts that form one digit.
SHARED, HIGHEST = 0.6, 1.35


@dataclass(frozen=True, eq=False)
class Piece:
    """The ink of one character, cropped to its box (top, left, bottom, right).

    Ink of neighbors that reaches into the box is removed.
    """

    box: Box
    strength: NDArray[np.uint8]

    @property
    def height(self) -> int:
        """Rows of the box."""
        return self.box[2] - self.box[0]

    @property
    def width(self) -> int:
        """Columns of the box."""
        return self.box[3] - self.box[1]

    @property
    def size(self) -> float:
        """Height, or 0.6 of the width if larger, for comparison with the height of a digit."""
        return max(self.height, 0.6 * self.width)

    def between(self, left: NDArray[np.intp], right: NDArray[np.intp]) -> Piece | None:
        """Return the ink in columns `left` <= x < `right`, given for each row, or None if empty."""
        across = np.arange(self.width)
        inside = (across >= left[:, np.newaxis]) & (across < right[:, np.newaxis])
        strength = self.strength * inside
        box = bound(strength >= FIRM)
        if box is None:
            return None
        top, start, bottom, end = box
        y, x = self.box[:2]
        return Piece((y + top, x + start, y + bottom, x + end), strength[top:bottom, start:end])


def unite(boxes: Iterable[Sequence[int]]) -> Box:
    """Return the bounding box of several boxes."""
    top, left, bottom, right = zip(*boxes, strict=True)
    return min(top), min(left), max(bottom), max(right)


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Combine several pieces into one."""
    if len(pieces) == 1:
        return pieces[0]
    top, left, bottom, right = unite(piece.box for piece in pieces)
    strength = np.zeros((bottom - top, right - left), np.uint8)
    for piece in pieces:
        y, x = piece.box[0] - top, piece.box[1] - left
        part = strength[y : y + piece.height, x : x + piece.width]
        np.maximum(part, piece.strength, out=part)
    return Piece((top, left, bottom, right), strength)


@dataclass(frozen=True, eq=False)
class Ruler:
    """Measures of the writing on a sheet, in pixels."""

    pen: float  #: stroke width
    height: float  #: typical digit height


def measure_writing(parts: Components) -> Ruler | None:
    """Measure the stroke width and digit height of components; None if there are none."""
    if len(parts) == 0:
        return None
    pen = measure_stroke(parts.labels >= 0)
    height = parts.boxes[:, 2] - parts.boxes[:, 0]
    # Median height weighted by area; bars are ignored if there is anything else.
    upright = height >= FLAT * pen
    area = np.where(upright, parts.area, 0) if upright.any() else parts.area
    return Ruler(pen, find_quantile(height, area, 2))


def find_pieces(
    strength: NDArray[np.uint8], parts: Components | None = None
) -> tuple[list[Piece], Ruler | None]:
    """Find the pieces of ink that may be characters or parts of characters.

    Specks and faint remnants are dropped. Stacked parts of one character form one piece.

    Parameters
    ----------
    strength : ndarray of uint8, shape (h, w)
        0 is paper, 255 full ink.
    parts : Components, optional
        Components of the pixels of strength `FIRM` and more, if already computed.
    """
    if parts is None:
        parts = find_components(strength >= FIRM)
    ruler = measure_writing(parts)
    if ruler is None:
        return [], None
    boxes = parts.boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    mean = parts.sum(strength) / parts.area
    large = sides.max(axis=1) >= LEAST * ruler.height
    faint = mean < FAINT * np.median(mean[large])
    least = max(1.0, SPECK * ruler.pen)
    kept = (sides.min(axis=1) >= least) & (parts.area >= 1.5 * least**2)
    kept = (kept | large) & ~(faint & (sides.max(axis=1) < 0.6 * ruler.height))
    numbers = np.flatnonzero(kept)
    group = _stack(boxes[numbers], ruler.height)
    pieces = []
    for g in np.unique(group):
        members = numbers[group == g]
        top, left, bottom, right = unite(boxes[members].tolist())
        # Include the soft edge around the firm pixels.
        near = parts.labels[top:bottom, left:right]
        own = np.isin(near, members)
        soft = grow(own) & ((near < 0) | own)
        pieces.append(Piece((top, left, bottom, right), strength[top:bottom, left:right] * soft))
    return pieces, ruler


def _stack(boxes: NDArray[np.int64], usual: float) -> NDArray[np.intp]:
    """Assign each component a group number, shared by the stacked parts of one digit."""
    group = np.arange(len(boxes))
    extent = boxes.copy()
    width = boxes[:, 3] - boxes[:, 1]
    # Widest components first, so that a digit grows from its largest part.
    for i in np.argsort(-width, kind="stable").tolist():
        own = extent[group[i]]
        shared = np.minimum(own[3], boxes[:, 3]) - np.maximum(own[1], boxes[:, 1])
        union = np.maximum(own[2], boxes[:, 2]) - np.minimum(own[0], boxes[:, 0])
        apart = np.maximum(own[0], boxes[:, 0]) - np.minimum(own[2], boxes[:, 2])
        stacked = (
            (shared >= SHARED * np.minimum(own[3] - own[1], width))
            & (union <= HIGHEST * usual)
            & (apart <= 0.25 * usual)
        )
        for j in np.flatnonzero(stacked).tolist():
            if group[j] != group[i]:
                group[group == group[j]] = group[i]
        extent[group[i]] = unite(boxes[group == group[i]].tolist())
    return group
