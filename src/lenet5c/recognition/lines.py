"""Detection of long thin lines in a plane of ink, straight or slightly bent.

A line is traced from column to column as vertical runs of ink of similar height. Where a stroke
crosses it, the run is taller and the line is interrupted. Pieces that continue each other across
ink or a small gap are joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.components import find_runs, find_touching, join
from lenet5c.recognition.filters import measure_stroke

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Minimum strength of a pixel that may belong to a line.
FAINT = 40
#: Minimum strength of ink that bridges an interruption of a line.
TRACE = 12
#: Maximum slope of a horizontal line, in rows per column.
SLOPE = 0.3
#: Number of columns at either end of a piece from which its direction is estimated.
END = 40
#: Minimum length of a piece, in columns.
SHORTEST = 8


@dataclass(frozen=True, eq=False)
class Line:
    """A line that runs from left to right or, if `upright`, from top to bottom.

    Positions of upright lines refer to the transposed plane.
    """

    start: int  #: first column
    middle: Floats  #: (n,), center row in each column
    width: Floats  #: (n,), rows of ink in each column; the median where it is interrupted
    known: NDArray[np.bool_]  #: (n,), columns in which the line is not crossed or interrupted
    level: float  #: 75th percentile of the strength along the line
    upright: bool = False

    @property
    def end(self) -> int:
        """One past the last column."""
        return self.start + len(self.middle)

    @property
    def length(self) -> int:
        """Number of columns."""
        return len(self.middle)

    @cached_property
    def thickness(self) -> float:
        """Median width in rows."""
        return float(np.median(self.width))

    @property
    def coverage(self) -> float:
        """Fraction of the columns in which the line is not crossed or interrupted."""
        return float(self.known.mean())

    def at(self, column: float) -> float:
        """Return the center row at a column, clipped to the nearest end."""
        return float(self.middle[min(max(round(column) - self.start, 0), self.length - 1)])

    @cached_property
    def straight(self) -> tuple[float, float]:
        """Intercept at column 0 and slope of the fitted straight line."""
        columns = np.arange(self.start, self.end) - (self.start + self.end - 1) / 2
        slope = float(columns @ self.middle / max(float(columns @ columns), 1.0))
        return float(self.middle.mean()) - slope * (self.start + self.end - 1) / 2, slope

    @property
    def box(self) -> tuple[float, float, float, float]:
        """End points in the plane: (y0, x0, y1, x1)."""
        one, other = float(self.middle[0]), float(self.middle[-1])
        if self.upright:
            return float(self.start), one, float(self.end - 1), other
        return one, float(self.start), other, float(self.end - 1)


def find_lines(strength: NDArray[np.uint8]) -> list[Line]:
    """Find the lines in a plane of ink (h, w): first horizontal, then upright, longest first."""
    mask = strength >= FAINT
    if not mask.any():
        return []
    thickest = max(3.0, 2.0 * measure_stroke(mask) + 1.0)
    return _find_horizontal(strength, mask, thickest, False) + _find_horizontal(
        strength.T, mask.T, thickest, True
    )


def _find_horizontal(
    strength: NDArray[np.uint8], mask: NDArray[np.bool_], thickest: float, upright: bool
) -> list[Line]:
    pieces = _find_pieces(mask, thickest)
    lines = [
        _make_line(strength, pieces, chain, upright) for chain in _chain(pieces, strength >= TRACE)
    ]
    return sorted(lines, key=lambda line: -line.length)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Uninterrupted pieces of lines, ordered by their first column."""

    first: Ints  # (n,), first column
    last: Ints  # (n,), last column
    width: Floats  # (n,), mean width in rows
    heads: Floats  # (n, 2), row and slope at the first column
    tails: Floats  # (n, 2), row and slope at the last column
    middles: list[Floats]  # center row in each column of each piece
    widths: list[Ints]

    def __len__(self) -> int:
        return len(self.first)


def _find_pieces(mask: NDArray[np.bool_], thickest: float) -> _Pieces:
    column, top, bottom = find_runs(np.ascontiguousarray(mask.T))
    thin = bottom - top <= thickest
    column, top, bottom = column[thin], top[thin], bottom[thin]
    left, right = find_touching(column, top, bottom, len(mask))
    # Lines end where they meet others.
    lone = (np.bincount(left, minlength=len(column))[left] == 1) & (
        np.bincount(right, minlength=len(column))[right] == 1
    )
    root = join(len(column), left[lone], right[lone])
    order = np.argsort(root, kind="stable")
    root, column = root[order], column[order].astype(np.float64)
    middle, width = (top[order] + bottom[order] - 1) / 2, bottom[order] - top[order]
    # A run that is much taller than the others touches a stroke.
    usual = width <= 1.5 * _find_medians(root, width) + 1
    root, column, middle, width = root[usual], column[usual], middle[usual], width[usual]
    begin = np.flatnonzero((np.diff(root, prepend=-1) != 0) | (np.diff(column, prepend=-9) != 1))
    end = np.append(begin[1:], len(root))
    count = end - begin
    sums = np.zeros((6, len(root) + 1))
    values = (column, middle, column**2, column * middle, middle**2, width)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    slope, _, spread = _fit(sums, begin, end)
    mean_width = (sums[5, end] - sums[5, begin]) / count
    kept = (
        (count >= np.maximum(SHORTEST, 2.5 * mean_width))
        & (np.abs(slope) <= SLOPE)
        & (spread <= 0.7 + 0.2 * mean_width + 0.004 * count)
    )
    begin, end = begin[kept], end[kept]
    near = np.minimum(end - begin, END)
    ends = []
    for one, other, place in ((begin, begin + near, begin), (end - near, end, end - 1)):
        slope, center, _ = _fit(sums, one, other)
        x, y = center
        ends.append(np.stack([y + slope * (column[place] - x), slope], axis=1))
    by_column = np.argsort(column[begin], kind="stable")
    begin, end = begin[by_column], end[by_column]
    return _Pieces(
        first=column[begin].astype(np.intp),
        last=column[end - 1].astype(np.intp),
        width=mean_width[kept][by_column],
        heads=ends[0][by_column],
        tails=ends[1][by_column],
        middles=[middle[a:b] for a, b in zip(begin, end, strict=True)],
        widths=[width[a:b] for a, b in zip(begin, end, strict=True)],
    )


def _find_medians(group: Ints, values: Ints) -> Ints:
    """Return the median of the group of each value; groups are contiguous."""
    begin = np.flatnonzero(np.diff(group, prepend=-1))
    count = np.diff(np.append(begin, len(group)))
    ordered = values[np.lexsort((values, group))]
    return np.repeat(ordered[begin + (count - 1) // 2], count)


def _fit(sums: Floats, begin: Ints, end: Ints) -> tuple[Floats, tuple[Floats, Floats], Floats]:
    """Fit lines to the runs from `begin` to `end`; return slopes, centers and residual spreads."""
    count = end - begin
    x, y, xx, xy, yy = (sums[i, end] - sums[i, begin] for i in range(5))
    x, y = x / count, y / count
    across = np.maximum(xx / count - x * x, 1e-9)
    both = xy / count - x * y
    slope = both / across
    return slope, (x, y), np.sqrt(np.maximum(yy / count - y * y - slope * both, 0.0))


def _chain(pieces: _Pieces, trace: NDArray[np.bool_]) -> list[list[int]]:
    """Return the pieces of each line, from left to right."""
    count = len(pieces)
    following, preceding = np.full(count, -1), np.full(count, -1)
    cost = np.full(count, np.inf)
    length = pieces.last - pieces.first + 1
    tried: Ints = np.zeros(count, np.intp)
    for i, j, value in _pair(pieces, length):
        if following[i] >= 0 or tried[i] >= 3:
            continue
        tried[i] += 1
        space = pieces.first[j] - pieces.last[i] - 1
        if space <= max(4.0, 0.35 * min(length[i], length[j])) or _is_inked(trace, pieces, i, j):
            tried[i] = 3
            if value < cost[j]:
                if preceding[j] >= 0:
                    following[preceding[j]] = -1
                following[i], preceding[j], cost[j] = j, i, value
    chains = []
    for i in np.flatnonzero(preceding < 0).tolist():
        chain = [i]
        while following[chain[-1]] >= 0:
            chain.append(int(following[chain[-1]]))
        chains.append(chain)
    return chains


def _pair(pieces: _Pieces, length: Ints) -> list[tuple[int, int, float]]:
    """Return the pairs of pieces that may continue each other, with the cost of joining them.

    Pairs are ordered by their first piece, then by cost.
    """
    start = np.searchsorted(pieces.first, pieces.last)
    # The allowed gap grows with the length of the visible piece.
    counts = np.searchsorted(pieces.first, pieces.last + 3 * length + 60) - start
    one = np.repeat(np.arange(len(pieces)), counts)
    other = np.arange(counts.sum()) + np.repeat(start - np.cumsum(counts) + counts, counts)
    gap = pieces.first[other] - pieces.last[one] - 1.0
    half = (gap + 1) / 2
    ends = pieces.tails[one, 0] + pieces.tails[one, 1] * half
    off = np.abs(ends - pieces.heads[other, 0] + pieces.heads[other, 1] * half)
    thin = np.minimum(pieces.width[other], pieces.width[one])
    thick = np.maximum(pieces.width[other], pieces.width[one])
    # The direction of a short piece is uncertain.
    short = np.minimum(np.minimum(length[other], length[one]), END)
    fits = np.flatnonzero(
        (off <= 0.8 + 0.3 * thin + (0.02 + 0.5 / short) * np.maximum(gap, 0))
        & (thick <= 2 * thin + 1.5)
        & (gap <= 1.2 * (length[other] + length[one]))
    )
    # Prefer long pieces to fragments of strokes that lie between them.
    cost = gap + 4 * off - 0.5 * np.minimum(length[other], 60)
    fits = fits[np.lexsort((cost[fits], one[fits]))]
    return list(zip(one[fits].tolist(), other[fits].tolist(), cost[fits].tolist(), strict=True))


def _is_inked(trace: NDArray[np.bool_], pieces: _Pieces, i: int, j: int) -> bool:
    """Return whether there is ink along most of the way from one piece to the next."""
    columns = np.arange(pieces.last[i] + 1, pieces.first[j])
    rows = np.interp(
        columns, [pieces.last[i], pieces.first[j]], [pieces.tails[i, 0], pieces.heads[j, 0]]
    )
    rows = np.clip(np.rint(rows).astype(np.intp), 1, len(trace) - 2)
    inked: Any = trace[rows - 1, columns] | trace[rows, columns] | trace[rows + 1, columns]
    return bool(inked.mean() >= 0.8)


def _make_line(
    strength: NDArray[np.uint8], pieces: _Pieces, chain: list[int], upright: bool
) -> Line:
    start, end = int(pieces.first[chain[0]]), int(pieces.last[chain[-1]]) + 1
    columns = np.arange(start, end)
    middle, width = np.zeros(end - start), np.zeros(end - start)
    known = np.zeros(end - start, bool)
    for k in chain:
        place = slice(pieces.first[k] - start, pieces.last[k] + 1 - start)
        middle[place], width[place], known[place] = pieces.middles[k], pieces.widths[k], True
    # A run that is much taller than the others contains a stroke.
    usual = float(np.median(width[known]))
    known &= width <= 1.5 * usual + 1
    middle = np.interp(columns, columns[known], middle[known])
    width[~known] = usual
    rows = np.rint(middle[known]).astype(np.intp) + np.array([[-1], [0], [1]])
    peaks = strength[np.clip(rows, 0, len(strength) - 1), columns[known]].max(axis=0)
    level = float(np.quantile(peaks, 0.75))
    return Line(start, middle, width, known, level, upright)
