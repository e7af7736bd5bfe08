"""Candidate cut paths between touching characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.filters import reduce

#: Slants of cuts to try, in columns to the right per row upward.
SLANTS = (0.0, -0.3, 0.3)
#: Height in rows at which paths are searched; taller ink is reduced.
ROWS = 40
#: Maximum deviation of a path from its slanted line, as a fraction of the height.
REACH = 0.14
#: Maximum cost of a path, in strokes crossed.
DEAREST = 4.5
#: Penalty, in strokes, per height of distance from the requested column.
PER_HEIGHT = 5.0
#: Minimum ink between two paths and on either side of one, in units of a full-height stroke.
APART, LEAST_SIDE = 0.12, 0.3


def find_cuts(
    strength: NDArray[np.uint8],
    pen: float,
    most: int,
    wanted: Sequence[tuple[float, float, float]] = (),
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find paths from top to bottom that cross little ink.

    Parameters
    ----------
    strength : ndarray of uint8, shape (h, w)
    pen : float
        Stroke width in pixels.
    most : int
        Maximum number of paths to return.
    wanted : sequence of (float, float, float), optional
        Requested paths, as (column, low, high). For each, the best path near `column` whose mean
        column lies between `low` and `high` is included regardless of its cost, if there is one.

    Returns
    -------
    paths : ndarray of int, shape (n, h)
        First column to the right of each path, in each row; paths are ordered from left to right.
    cost : ndarray of float, shape (n,)
        Number of strokes that each path crosses.
    """
    height = len(strength)
    factor = max(1, round(height / ROWS))
    small = reduce(strength, factor)
    rows, columns = small.shape
    if columns < 4 or rows < 6:
        return np.empty((0, height), np.intp), np.empty(0)
    pen = max(1.0, pen / factor)
    ink = np.minimum(small.astype(np.float32) / 160.0, 1.0)
    found = [_trace(ink, slant) for slant in SLANTS]
    paths, cost, order = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    cost /= pen
    # Ink to the left of each path, by row.
    before = np.pad(np.cumsum(ink, axis=1), ((0, 0), (1, 0)))
    left = before[np.arange(rows), np.clip(paths, 0, columns)]
    unit = pen * rows
    mass = left.sum(axis=1) / unit
    total = float(before[:, -1].sum()) / unit
    aside = (mass < LEAST_SIDE) | (mass > total - LEAST_SIDE)
    kept: list[int] = []
    middle = paths.mean(axis=1) * factor
    ranked = np.argsort(order, kind="stable")
    for column, low, high in wanted:
        between = np.flatnonzero((middle > low) & (middle < high) & np.isfinite(order))
        if len(between):
            far = PER_HEIGHT * pen * np.abs(middle[between] - column) / height
            kept.append(int(between[(order[between] + far).argmin()]))
    kept = list(dict.fromkeys(kept))
    for i in ranked:
        if len(kept) >= most:
            break
        if cost[i] > DEAREST or aside[i]:
            continue
        if kept and np.abs(left[kept] - left[i]).sum(axis=1).min() < APART * unit:
            continue
        kept.append(int(i))
    chosen = np.array(kept, np.intp)
    chosen = chosen[np.argsort(mass[chosen], kind="stable")]
    fine = np.repeat(paths[chosen] * factor, factor, axis=1)
    fine = np.pad(fine, ((0, 0), (0, max(0, height - fine.shape[1]))), mode="edge")[:, :height]
    return fine, cost[chosen]


def _trace(
    ink: NDArray[np.float32], slant: float
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return the path of least ink near each line of the given slant.

    Returns the paths, (n, rows), the ink that each crosses, (n,), and a ranking cost, (n,): the ink
    plus a penalty for crookedness.
    """
    rows, columns = ink.shape
    reach = max(2, round(REACH * rows))
    shift = np.rint(slant * ((rows - 1) / 2 - np.arange(rows))).astype(np.intp)
    margin = reach + int(np.abs(shift).max()) + 2
    # Of two paths through equal ink, the straighter one is preferred.
    cost = np.pad(ink, ((0, 0), (margin, margin)))
    anchors = np.arange(1, columns)
    across = anchors[:, np.newaxis] + np.arange(-reach, reach + 1) + margin
    aside = 0.004 * np.abs(np.arange(-reach, reach + 1, dtype=np.float32))
    total = cost[0][across + shift[0]] + aside
    back = np.zeros((rows, *total.shape), np.int8)
    n = total.shape[1]
    for y in range(1, rows):
        step = int(shift[y] - shift[y - 1])
        padded = np.pad(total, ((0, 0), (2, 2)), constant_values=np.inf)
        ways = np.stack([padded[:, 2 + step + d : 2 + step + d + n] for d in (0, -1, 1)])
        ways[1:] += 0.02
        best = ways.argmin(axis=0)
        back[y] = np.array([0, -1, 1], np.int8)[best] + step
        total = np.take_along_axis(ways, best[np.newaxis], axis=0)[0]
        total += cost[y][across + shift[y]] + aside
    at = total.argmin(axis=1)
    order = total.min(axis=1).astype(np.float64)
    number = np.arange(len(anchors))
    paths = np.empty((len(anchors), rows), np.intp)
    for y in range(rows - 1, -1, -1):
        paths[:, y] = anchors + at - reach + shift[y]
        at = at + back[y][number, at]
    crossed = cost[np.arange(rows), paths + margin].sum(axis=1, dtype=np.float64)
    return paths, crossed, order
