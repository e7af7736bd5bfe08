"""Grouping of pieces of ink into lines of text, which may be sloped or curved."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.digit import Box

#: Maximum vertical distance of a piece from its line, in digit heights.
ASIDE = 0.6
#: Factor by which the trend of a line's last three boxes is extrapolated.
BEND = 0.7
#: Gap widths in digit heights: minimum width of a space, default limit, and upper bound of the
#: limit.
SPACE, SURELY_SPACE, WIDEST = 0.45, 1.6, 2.5
#: Minimum ratio of the width of a space to that of the gaps within numbers.
CLEARLY = 1.8


def group_lines(boxes: NDArray[np.int64], usual: float) -> list[list[int]]:
    """Group boxes (n, 4) into lines; return their indices by line, each from left to right.

    After correction for the common slope of all lines, a box is added to the line whose last boxes
    are level with it. So a line may rise, fall or bend.
    """
    if len(boxes) == 0:
        return []
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    level = center[:, 0] - measure_slope(boxes, usual) * center[:, 1]
    lines: list[list[int]] = []
    for i in np.argsort(boxes[:, 1], kind="stable").tolist():
        nearest, least = None, ASIDE * usual
        for line in lines:
            aside = abs(_follow(level[line[-3:]]) - float(level[i]))
            # Allow more deviation after a wide gap.
            gap = max(0.0, float(boxes[i, 1] - boxes[line[-1], 3]))
            if aside < min(least, ASIDE * usual) + 0.04 * min(gap, 5 * usual):
                nearest, least = line, aside
        if nearest is None:
            lines.append([i])
        else:
            nearest.append(i)
    for line in lines:
        line.sort(key=lambda i: center[i, 1])
    return sorted(lines, key=lambda line: float(np.mean(level[line])))


def _follow(last: NDArray[np.float64]) -> float:
    """Extrapolate the level of a line from its last boxes."""
    return float(last.mean() + BEND * (last[-1] - last[0]))


def measure_slope(boxes: NDArray[np.int64], usual: float) -> float:
    """Return the slope of the lines, in rows down per column: the median over adjacent boxes."""
    if len(boxes) < 3:
        return 0.0
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    right = center[np.newaxis, :, 1] - center[:, np.newaxis, 1]
    down = center[np.newaxis, :, 0] - center[:, np.newaxis, 0]
    far = right + 2.5 * np.abs(down)
    far[(right <= 0.25 * usual) | (right > 4 * usual) | (np.abs(down) > 0.35 * right)] = np.inf
    nearest = far.argmin(axis=1)
    first = np.flatnonzero(np.isfinite(far.min(axis=1)))
    if len(first) < 2:
        return 0.0
    return float(np.median(down[first, nearest[first]] / right[first, nearest[first]]))


def find_spaces(lines: Sequence[Sequence[Box]]) -> list[list[bool]]:
    """Classify each gap of each line; True marks a space between numbers.

    The gaps of a sheet, in digit heights, are divided at the largest jump in width into those
    within and those between numbers. Without a clear jump, a gap wider than about 1.6 heights is a
    space.
    """
    gaps = [_measure_gaps(line) for line in lines]
    limit = _divide(np.sort(np.concatenate([np.empty(0), *gaps])))
    return [(own > limit).tolist() for own in gaps]


def _measure_gaps(line: Sequence[Box]) -> NDArray[np.float64]:
    """Return the gaps in digit heights."""
    if not line:
        return np.empty(0)
    height = max(1.0, float(np.median([box[2] - box[0] for box in line])))
    return np.array([later[1] - earlier[3] for earlier, later in pairwise(line)]) / height


def _divide(gaps: NDArray[np.float64]) -> float:
    """Return the gap width above which gaps are spaces; `gaps` are in ascending order."""
    wide = np.maximum(gaps, 0.12)
    limit, most = SURELY_SPACE, CLEARLY
    for i in range(1, len(gaps)):
        if gaps[i] >= SPACE and wide[i] / wide[i - 1] > most:
            limit, most = float(gaps[i] + gaps[i - 1]) / 2, float(wide[i] / wide[i - 1])
    if limit == SURELY_SPACE and len(gaps) and gaps[0] > SPACE:
        # All gaps are alike: the digits of one number, widely spaced.
        limit = min(max(SURELY_SPACE, CLEARLY * float(np.median(gaps))), WIDEST)
    return limit
