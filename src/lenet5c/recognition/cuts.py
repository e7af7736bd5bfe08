"""Paths along which ink may be cut between characters that touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.filters import reduce

#: Slants of cuts that are tried, columns to the right for each row up.
SLANTS = (0.0, -0.3, 0.3)
#: Rows at which paths are looked for; higher ink is reduced.
ROWS = 40
#: Columns by which a path may leave its slanted line, as a share of the height.
REACH = 0.14
#: The dearest path, in strokes that it crosses.
DEAREST = 4.5
#: Strokes that a path may cross more for being nearer to where it is wanted, by a height.
PER_HEIGHT = 5.0
#: Least ink between two paths, and beside one: in strokes as long as the ink is high.
APART, LEAST_SIDE = 0.12, 0.3


def find_cuts(
    strength: NDArray[np.uint8],
    pen: float,
    most: int,
    wanted: Sequence[tuple[float, float, float]] = (),
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find paths of little ink from the top of some ink to its bottom.

    Parameters
    ----------
    strength : ndarray of uint8, shape (h, w)
    pen : float
        Width of the strokes in pixels.
    most : int
        Paths to return at most.
    wanted : sequence of (float, float, float), optional
        Columns at which there is a path in any case, or near it: on average over the rows it is
        between the two others.

    Returns
    -------
    paths : ndarray of int, shape (n, h)
        The first column on the right of each path, in each row; from left to right.
    cost : ndarray of float, shape (n,)
        The strokes that each crosses.
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
    # The ink on the left of each path, by row.
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
    """Return the path of least ink beside each line of a slant, (n, rows), and its ink, (n,).

    Last of each, its ink and how crooked it is, (n,): what it should be chosen by.
    """
    rows, columns = ink.shape
    reach = max(2, round(REACH * rows))
    shift = np.rint(slant * ((rows - 1) / 2 - np.arange(rows))).astype(np.intp)
    margin = reach + int(np.abs(shift).max()) + 2
    # A path through as little ink as another is the better the straighter it is.
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
