"""Removal of lines from a plane of ink, preserving the strokes that cross them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.components import find_runs
from lenet5c.recognition.lines import Ints, Line

#: Minimum strength of ink beside a line that counts as a stroke meeting it.
MEETING = 64
#: Columns of soft ends beyond each end of a line, in addition to the thickness for corners.
BEYOND = 2

Interval = tuple[int, int]


def erase_lines(strength: NDArray[np.uint8], lines: list[Line]) -> NDArray[np.uint8]:
    """Return a plane of ink with the given lines erased.

    Pixels within a line are kept where a stroke continues on its other side, where an arc dips
    into the line and comes out again, and where ink is much darker than the line.
    """
    plane = strength.copy()
    for line in lines:
        _erase(plane.T if line.upright else plane, line)
    return plane


def _erase(plane: NDArray[np.uint8], line: Line) -> None:
    height, width = plane.shape
    beyond = BEYOND + round(line.thickness)
    start, end = line.start - beyond, line.end + beyond
    # A line that ends near the edge is assumed to reach it.
    near = 8 * beyond
    start, end = 0 if start < near else start, width if end > width - near else end
    pad = (line.start - start, end - line.end)
    middle, rows = (np.pad(each, pad, mode="edge") for each in (line.middle, line.width))
    columns = np.arange(start, end)
    # The line with its soft edges, plus one row on either side.
    top = np.rint(middle - rows / 2 - 1.5 + 1e-6).astype(np.intp)
    bottom = np.rint(middle + rows / 2 + 1.5 - 1e-6).astype(np.intp)
    deep = int((bottom - top).max()) + 1
    # Band rows are counted from its upper side in each column, since the line may be slanted.
    steps = np.arange(deep)[:, np.newaxis]
    places = np.minimum(top + steps, bottom)
    inside = (places >= 0) & (places < height)
    places = np.clip(places, 0, height - 1)
    band = np.where(inside, plane[places, columns], np.uint8(0))
    upper, lower = band[0] >= MEETING, band[-1] >= MEETING
    kept = np.zeros(band.shape, bool)
    kept[0] = True
    kept[places == bottom] = True
    if upper.any() or lower.any():
        _keep_strokes(kept, _intervals(upper), _intervals(lower), plane, top, bottom, start)
    # The column sum does not depend on whether the line falls between two pixel rows.
    mass = band[1:-1].sum(axis=0, dtype=np.float64)
    usual = float(np.quantile(mass[pad[0] : len(mass) - pad[1]][line.known], 0.75))
    kept |= (band > 1.2 * line.level + 25.0) & (mass > 1.5 * usual + 60.0)
    gone = inside & ~kept
    plane[places[gone], np.broadcast_to(columns, band.shape)[gone]] = 0


def _intervals(inked: NDArray[np.bool_]) -> list[Interval]:
    _, first, end = find_runs(inked[np.newaxis])
    return list(zip(first.tolist(), end.tolist(), strict=True))


def _keep_strokes(
    kept: NDArray[np.bool_],
    above: list[Interval],
    below: list[Interval],
    plane: NDArray[np.uint8],
    top: Ints,
    bottom: Ints,
    start: int,
) -> None:
    """Mark the pixels of a band that belong to the strokes above and below it."""
    deep = len(kept)
    reach = deep + 1
    through_above, through_below = set(), set()
    begin = 0
    for one in above:
        while begin < len(below) and below[begin][1] + reach < one[0]:
            begin += 1
        for other in below[begin:]:
            if other[0] > one[1] + reach:
                break
            if one[0] <= other[1] + reach:
                a, b = _narrow(one, other, reach), _narrow(other, one, reach)
                share = np.linspace(0, 1, deep)
                firsts = np.floor(a[0] + (b[0] - a[0]) * share).astype(int)
                ends = np.ceil(a[1] + (b[1] - a[1]) * share).astype(int)
                for row, first, end in zip(kept, firsts.tolist(), ends.tolist(), strict=True):
                    row[max(0, first) : end] = True
                through_above.add(one)
                through_below.add(other)
    for side, intervals, through, direction in (
        (top, above, through_above, -1),
        (bottom, below, through_below, 1),
    ):
        lone = [each for each in intervals if each not in through]
        for one, other in pairwise(lone):
            if _converge(plane, side, start, one, other, direction, deep):
                kept[:, one[1] - 1 : other[0] + 1] = True
                kept[:, one[0] : one[1]] = kept[:, other[0] : other[1]] = True


def _narrow(one: Interval, other: Interval, reach: int) -> Interval:
    """Return the part of interval `one` near `other` if it is much wider, else all of it."""
    if one[1] - one[0] <= 2 * (other[1] - other[0]) + 2:
        return one
    return max(one[0], other[0] - reach), min(one[1], other[1] + reach)


def _converge(
    plane: NDArray[np.uint8],
    side: Ints,
    start: int,
    one: Interval,
    other: Interval,
    direction: int,
    deep: int,
) -> bool:
    """Return whether two strokes would meet within the band, as the ends of an arc do."""
    far = max(3, deep)
    shifts = []
    for interval in (one, other):
        shift = _trace(plane, side, start, interval, direction, far)
        if shift is None:
            return False
        shifts.append(shift)
    closing = shifts[0] - shifts[1]
    # Within the band, an arc closes about twice as fast as its ends suggest.
    return closing > 0 and (other[0] - one[1]) / closing <= 2.5 * deep


def _trace(
    plane: NDArray[np.uint8], side: Ints, start: int, interval: Interval, direction: int, far: int
) -> float | None:
    """Return a stroke's shift toward the band in columns per row, or None if it ends too soon."""
    first, end = interval
    begin = (first + end) / 2
    row = int(side[(first + end) // 2])
    for step in range(1, far + 1):
        y = row + direction * step
        if not 0 <= y < len(plane):
            return None
        low = max(0, start + first - 2)
        runs = _intervals(plane[y, low : start + end + 2] >= MEETING)
        if not runs:
            return None
        *others, (first, end) = sorted(runs, key=lambda run: run[1] - run[0])
        # A contact that divides is the foot of a digit on the line, not an end of an arc.
        if others and others[-1][1] - others[-1][0] >= (end - first) / 2:
            return None
        first, end = first + low - start, end + low - start
        # Stop where the stroke joins another one and so becomes much wider.
        if end - first > 3 * (interval[1] - interval[0]) + 4:
            return None
    return (begin - (first + end) / 2) / far
