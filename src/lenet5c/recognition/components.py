"""Connected components of a mask."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Components:
    """The components of a mask, numbered from 0 in row-major order of their first pixels."""

    labels: NDArray[np.int32]  #: (h, w), component number of each pixel; -1 for background
    area: NDArray[np.int64]  #: (n,), number of pixels of each component
    boxes: NDArray[np.int64]  #: (n, 4), (top, left, bottom, right), bottom and right exclusive

    def __len__(self) -> int:
        return len(self.area)

    def mask(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the mask of the components selected by `chosen`, a Boolean array of shape (n,)."""
        return np.append(chosen, False)[self.labels]

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the sums, shape (n,), of `values`, shape (h, w), over each component."""
        inside = self.labels >= 0
        return np.bincount(self.labels[inside], values[inside], minlength=len(self))


def find_components(mask: NDArray[np.bool_]) -> Components:
    """Label the 8-connected components of a mask (h, w).

    Runs of pixels in each row are merged with the runs of the next row that they touch, in
    vectorized passes.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.recognition.components import find_components
    >>> parts = find_components(np.array([[1, 0, 0, 1], [0, 1, 0, 1]], bool))
    >>> parts.labels
    array([[ 0, -1, -1,  1],
           [-1,  0, -1,  1]], dtype=int32)
    >>> parts.boxes
    array([[0, 0, 2, 2],
           [0, 3, 2, 4]])
    """
    height, width = mask.shape
    row, start, end = find_runs(mask)
    root = join(len(row), *find_touching(row, start, end, width))
    _, number = np.unique(root, return_inverse=True)
    count = number.max() + 1 if len(row) else 0

    area = np.bincount(number, end - start, minlength=count).astype(np.int64)
    boxes = np.tile(np.array([height, width, 0, 0], np.int64), (count, 1))
    np.minimum.at(boxes[:, 0], number, row)
    np.minimum.at(boxes[:, 1], number, start)
    np.maximum.at(boxes[:, 2], number, row + 1)
    np.maximum.at(boxes[:, 3], number, end)

    labels = np.full((height, width), -1, np.int32)
    labels[mask] = np.repeat(number, end - start)
    return Components(labels, area, boxes)


Runs = NDArray[np.intp]


def find_runs(mask: NDArray[np.bool_]) -> tuple[Runs, Runs, Runs]:
    """Return (row, start, end) of each horizontal run of true pixels, in row order."""
    change = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(change == 1)
    _, end = np.nonzero(change == -1)
    return row, start, end


def find_touching(row: Runs, start: Runs, end: Runs, width: int) -> tuple[Runs, Runs]:
    """Return the pairs of touching runs in consecutive rows, as (upper, lower)."""
    # Flat positions; the row stride is wide enough that runs at the ends of two rows cannot touch.
    step = width + 2
    # A run touches the runs of the next row that end at or after its start and start by its end.
    first = np.searchsorted(row * step + end, (row + 1) * step + start, side="left")
    last = np.searchsorted(row * step + start, (row + 1) * step + end, side="right")
    first = np.maximum(first, np.searchsorted(row, row + 1, side="left"))
    last = np.maximum(np.minimum(last, np.searchsorted(row, row + 1, side="right")), first)
    counts = last - first
    upper = np.repeat(np.arange(len(row)), counts)
    return upper, np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)


def join(n: int, upper: Runs, lower: Runs) -> Runs:
    """Join the pairs into sets and return, for each member, the smallest member of its set."""
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
        while not np.array_equal(higher := parent[parent], parent):
            parent = higher
