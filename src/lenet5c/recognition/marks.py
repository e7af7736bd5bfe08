"""Marks: pieces of ink on a sheet that may be signs, and their measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.decoding import Place
from lenet5c.recognition.digit import Box
from lenet5c.recognition.pieces import Piece

#: Sizes are in typical digit heights.
DOT, BOLD = 0.3, 0.42  #: maximum longer side of a dot, and of one recognized by the net
FLAT, THICK = 2.0, 0.4  #: minimum ratio of width to height of a bar, and its maximum height
LEAST_ROWS = 6  #: minimum height, in rows, for measuring bow and slant
LEAN = 0.12  #: default slant for a line without certain digits


@dataclass(frozen=True, eq=False)
class Mark:
    """The ink of one sign, or of several joined into one."""

    box: Box
    probabilities: dict[str, float]  #: of each shape; the rest, up to 1, is that of no sign
    place: Place | None = None  #: the candidates, if they are already known from joining
    bow: float = 0.0  #: see `measure_bow`
    slant: float = 0.0
    speck: float = 0.0  #: probability that it is a speck, not a sign

    @property
    def height(self) -> int:
        """Rows of the box."""
        return self.box[2] - self.box[0]

    @property
    def width(self) -> int:
        """Columns of the box."""
        return self.box[3] - self.box[1]

    @property
    def center(self) -> tuple[float, float]:
        """Row and column of the center of the box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


def measure_bow(strength: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the bow and slant of a stroke, as fractions of its height.

    The bow is the offset of the stroke's middle to the right of the line between its ends. The
    slant is positive for a stroke that leans to the right, as a slash does.
    """
    if len(strength) < LEAST_ROWS:
        return 0.0, 0.0
    ink = strength.astype(np.float64)
    mass, rows = ink.sum(axis=1), len(ink)
    column = ink @ np.arange(ink.shape[1]) / np.maximum(mass, 1e-9)
    end, middle = max(1, round(0.15 * rows)), slice(round(0.3 * rows), max(1, round(0.7 * rows)))
    top, bottom = (
        float(np.average(column[part], weights=mass[part] + 1e-9))
        for part in (slice(0, end), slice(rows - end, rows))
    )
    share = (np.arange(rows) - (end - 1) / 2) / max(1, rows - end)
    offset = column - (top + (bottom - top) * share)
    bow = float(np.average(offset[middle], weights=mass[middle] + 1e-9))
    return bow / rows, (top - bottom) / rows


def measure_height(marks: Sequence[Mark]) -> float:
    """Return the typical digit height: the median over the marks that are certainly digits.

    If there are none, the median over the tall marks that are not bars.
    """
    sure = [mark.height for mark in marks if _is_digit(mark)]
    if sure:
        return float(np.median(sure))
    heights = np.array([mark.height for mark in marks if mark.width < FLAT * mark.height])
    if len(heights) == 0:
        heights = np.array([max(mark.height, 0.6 * mark.width) for mark in marks])
    if len(heights) == 0:
        return 0.0
    return float(np.median(heights[heights >= 0.5 * np.quantile(heights, 0.8)]))


def measure_lean(marks: Sequence[Mark]) -> float:
    """Return the median slant of the marks that are certainly digits."""
    return float(np.median([mark.slant for mark in marks if _is_digit(mark)] or [LEAN]))


def _is_digit(mark: Mark) -> bool:
    """Return whether a mark is certainly a digit other than 1, which resembles a bracket."""
    return sum(mark.probabilities.get(name, 0.0) for name in "023456789") >= 0.8


def is_dot(mark: Mark | Piece, usual: float) -> bool:
    """Return whether ink is small enough for a point and roughly as wide as tall."""
    longer, shorter = max(mark.height, mark.width), max(1, min(mark.height, mark.width))
    return longer <= DOT * usual and longer < 2.2 * shorter


def is_bar(mark: Mark | Piece, usual: float) -> bool:
    """Return whether ink is flat like a minus sign."""
    flat = mark.width >= FLAT * mark.height and mark.height <= THICK * usual
    return flat and mark.width > 0.2 * usual


def may_be_dot(mark: Mark, usual: float) -> bool:
    """Return whether a mark may be a dot, by its size or, if larger, by the net."""
    if mark.place is not None:
        return False
    # Points written with a broad pen or set in bold type are large.
    longer = max(mark.height, mark.width)
    bold = longer <= BOLD * usual and mark.probabilities.get(".", 0.0) >= 0.5
    return bold or is_dot(mark, usual)


def may_be_bar(mark: Mark, usual: float) -> bool:
    """Return whether a mark may be a bar, by its shape or, if slanted, by the net."""
    slanted = mark.probabilities.get("-", 0.0) >= 0.5 and mark.height <= 0.6 * mark.width
    return mark.place is None and (is_bar(mark, usual) or (slanted and mark.width > 0.2 * usual))
