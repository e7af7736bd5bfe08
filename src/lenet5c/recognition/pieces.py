"""Pieces of ink on a sheet: components that may be characters, alone or with their neighbors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.centering import Box, bound
from lenet5c.recognition.components import Components, find_components
from lenet5c.recognition.filters import find_quantile, grow, measure_stroke

#: Strength from which a pixel counts as ink: neighbors whose soft edges meet stay apart.
FIRM = 96
#: The least height of a digit, as a share of the usual one.
LEAST = 0.45
#: Share of the usual strength below which small ink is the rest of a rule.
FAINT = 0.62
#: Widths of a stroke that is no bar, upright, at least.
FLAT = 2.5
#: Share of a stroke's width below which ink is a speck.
SPECK = 0.6
#: Parts above each other are one digit if they share so much of their width, and are so high.
SHARED, HIGHEST = 0.6, 1.35


@dataclass(frozen=True, eq=False)
class Piece:
    """The ink of one character in its box, (top, left, bottom, right), without its neighbors'."""

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
        """Height, or most of the width of what is flat, to compare with a digit's height."""
        return max(self.height, 0.6 * self.width)

    def between(self, left: NDArray[np.intp], right: NDArray[np.intp]) -> Piece | None:
        """Return the ink from a column to before another in each row, None if there is none."""
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
    """Return the box of several boxes."""
    top, left, bottom, right = zip(*boxes, strict=True)
    return min(top), min(left), max(bottom), max(right)


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Return the ink of several pieces as one."""
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

    pen: float  #: width of the strokes
    height: float  #: of the usual digit


def measure_writing(parts: Components) -> Ruler | None:
    """Return the measures of the writing that some components are; None if there are none."""
    if len(parts) == 0:
        return None
    pen = measure_stroke(parts.labels >= 0)
    height = parts.boxes[:, 2] - parts.boxes[:, 0]
    # Of the component at the middle of the ink, in order of height; bars have none.
    upright = height >= FLAT * pen
    area = np.where(upright, parts.area, 0) if upright.any() else parts.area
    return Ruler(pen, find_quantile(height, area, 2))


def find_pieces(
    strength: NDArray[np.uint8], parts: Components | None = None
) -> tuple[list[Piece], Ruler | None]:
    """Find the pieces of ink that may be characters, or parts of some.

    Specks and faint rests are left out. Parts of one character that are above each other are one
    piece.

    Parameters
    ----------
    strength : ndarray of uint8, shape (h, w)
        0 is paper, 255 full ink.
    parts : Components, optional
        Those of the pixels of strength `FIRM` and more, if they are known.
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
        # The soft edge around the firm pixels belongs to the character, too.
        near = parts.labels[top:bottom, left:right]
        own = np.isin(near, members)
        soft = grow(own) & ((near < 0) | own)
        pieces.append(Piece((top, left, bottom, right), strength[top:bottom, left:right] * soft))
    return pieces, ruler


def _stack(boxes: NDArray[np.int64], usual: float) -> NDArray[np.intp]:
    """Return a number for each component, equal for those above each other in one digit."""
    group = np.arange(len(boxes))
    extent = boxes.copy()
    width = boxes[:, 3] - boxes[:, 1]
    # The widest take up the others, so that a digit grows from its largest part.
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
