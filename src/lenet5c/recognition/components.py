"""Connected components of a mask: which pixels hang together, and how large the parts are."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Components:
    """The parts of a mask, numbered from 0 in the order of their first pixel, row by row.

    Attributes
    ----------
    labels : ndarray of int32, shape (h, w)
        The number of the part a pixel belongs to, -1 where the mask is empty.
    area : ndarray of int64, shape (n,)
        Pixels of each part.
    top, left, bottom, right : ndarray of int64, shape (n,)
        The box of each part; bottom and right are one past its last pixel.
    """

    labels: np.ndarray
    area: np.ndarray
    top: np.ndarray
    left: np.ndarray
    bottom: np.ndarray
    right: np.ndarray

    def __len__(self):
        return len(self.area)

    def mask(self, chosen):
        """Where the chosen parts are; `chosen` is a bool for each part, shape (n,)."""
        return np.append(chosen, False)[self.labels]


def components(mask):
    """The parts of a mask whose pixels touch at an edge or a corner.

    Pixels are taken as runs along the rows, and runs of neighbouring rows that touch are joined, all at once: the work
    is in array operations, so a picture of noise is not slower than one of lines by more than the number of its runs.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)

    Returns
    -------
    Components

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.recognition.components import components
    >>> parts = components(np.array([[1, 0, 0, 1], [0, 1, 0, 1]], bool))
    >>> parts.labels
    array([[ 0, -1, -1,  1],
           [-1,  0, -1,  1]], dtype=int32)
    >>> parts.area
    array([2, 2])
    """
    height, width = mask.shape
    row, start, end = runs(mask)
    n = len(row)
    upper, lower = _touching(row, start, end, width)
    root = _joined(n, upper, lower)
    _, number = np.unique(root, return_inverse=True)
    count = number.max() + 1 if n else 0

    area = np.bincount(number, end - start, minlength=count).astype(np.int64)
    top, left = np.full(count, height), np.full(count, width)
    bottom, right = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.minimum.at(top, number, row)
    np.minimum.at(left, number, start)
    np.maximum.at(bottom, number, row + 1)
    np.maximum.at(right, number, end)

    labels = np.full((height, width), -1, np.int32)
    labels[mask] = np.repeat(number, end - start)
    return Components(labels, area, top, left, bottom, right)


def runs(mask):
    """(row, start, end) of each run of true pixels along the rows, row by row."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    row, start = np.nonzero(change == 1)
    _, end = np.nonzero(change == -1)
    return row, start, end


def _touching(row, start, end, width):
    """Pairs of runs, each in the row above the other's, that touch at an edge or a corner."""
    # Positions in rows laid end to end, far enough apart that rows do not meet.
    step = width + 2
    first = np.searchsorted(row * step + end, (row + 1) * step + start, side="left")
    last = np.searchsorted(row * step + start, (row + 1) * step + end, side="right")
    # Run i with the runs of the next row from first[i] on: those that end at or behind its start ...
    first = np.maximum(first, np.searchsorted(row, row + 1, side="left"))
    last = np.maximum(np.minimum(last, np.searchsorted(row, row + 1, side="right")), first)
    counts = last - first
    upper = np.repeat(np.arange(len(row)), counts)
    # ... and start at or before its end.
    lower = (
        np.arange(counts.sum())
        - np.repeat(np.cumsum(counts) - counts, counts)
        + np.repeat(first, counts)
    )
    return upper, lower


def _joined(n, upper, lower):
    """The smallest member of each member's set, after joining the pairs."""
    parent = np.arange(n)
    while True:
        a, b = parent[upper], parent[lower]
        apart = a != b
        if not apart.any():
            return parent
        upper, lower, a, b = upper[apart], lower[apart], a[apart], b[apart]
        smaller = np.minimum(a, b)
        np.minimum.at(parent, a, smaller)
        np.minimum.at(parent, b, smaller)
        while True:
            higher = parent[parent]
            if np.array_equal(higher, parent):
                break
            parent = higher
