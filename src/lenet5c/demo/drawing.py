"""Strokes of a pen, as the page sends them, become ink."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.errors import UserError

SIDE = 112  # pixels of the square that is drawn on, four to each of MNIST's
GRID = 28  # units of the pen's width to a side
MAX_STROKES, MAX_POINTS = 2000, 20_000
WIDTH = (0.6, 6.0)
USUAL_WIDTH = 2.4

# Discs of a stroke and of all, about: where a drawing wants more, they lie further apart.
MOST_DISCS, MOST_DISCS_IN_ALL = 8000, 20_000
# Discs at a time: memory does not grow with the drawing.
CHUNK = 1024


class DrawingError(UserError):
    """Strokes of a request are not a drawing."""


def parse_strokes(value: Any) -> list[NDArray[np.float64]]:
    """Return the strokes of a request as arrays (points, 3); those without a point are left out.

    A request has a flat list for each stroke: x, y and the pen's thickness, again and again. x and
    y are shares of the side, from the top left corner; thickness is a factor of the width.

    Examples
    --------
    >>> from lenet5c.demo.drawing import parse_strokes
    >>> [stroke.shape for stroke in parse_strokes([[0.5, 0.1, 1, 0.5, 0.9, 1], []])]
    [(2, 3)]
    """
    if not isinstance(value, list) or len(value) > MAX_STROKES:
        raise DrawingError(f"strokes must be a list of at most {MAX_STROKES:,}")
    if not all(isinstance(stroke, list) and len(stroke) % 3 == 0 for stroke in value):
        raise DrawingError("a stroke must be a list of x, y and thickness, again and again")
    if sum(map(len, value)) > 3 * MAX_POINTS:
        raise DrawingError(f"a drawing must have at most {MAX_POINTS:,} points; clear it")
    if not all(type(number) in (int, float) for stroke in value for number in stroke):
        raise DrawingError("a stroke must have numbers only")
    try:
        strokes = [np.array(stroke, float).reshape(-1, 3) for stroke in value if stroke]
    except OverflowError:
        strokes = [np.full((1, 3), np.inf)]
    if not all(np.isfinite(stroke).all() for stroke in strokes):
        raise DrawingError("a stroke must have finite numbers only")
    # The pen may leave the square, not by much.
    return [np.clip(stroke, [-0.5, -0.5, 0.1], [1.5, 1.5, 3.0]) for stroke in strokes]


def render(
    strokes: list[NDArray[np.float64]], width: float = USUAL_WIDTH, side: int = SIDE
) -> NDArray[np.uint8]:
    """Return the ink (side, side) of strokes: 0 is paper, 255 full ink, smooth at the edges.

    The width of the pen is in 28ths of the side.

    Examples
    --------
    >>> from lenet5c.demo.drawing import parse_strokes, render
    >>> ink = render(parse_strokes([[0.5, 0.25, 1, 0.5, 0.75, 1]]), width=4, side=28)
    >>> ink[[2, 14, 14], [14, 14, 2]].tolist()
    [0, 255, 0]
    """
    if not strokes:
        return np.zeros((side, side), np.uint8)
    most = min(MOST_DISCS, max(1, MOST_DISCS_IN_ALL // len(strokes)))
    radius = width / GRID * side / 2
    discs = np.concatenate([_place_discs(stroke, radius, side, most) for stroke in strokes])
    reach = int(np.ceil(discs[:, 2].max() + 0.5))
    window = 2 * reach + 1
    # A margin takes what lies beside the paper.
    margin = side // 2 + window
    ink = np.zeros((side + 2 * margin, side + 2 * margin), np.float32)
    around = np.arange(-reach, reach + 1, dtype=np.float32)
    for start in range(0, len(discs), CHUNK):
        x, y, r = discs[start : start + CHUNK].T
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        # From the centers of pixels.
        dx = around + 0.5 - (x - left).astype(np.float32)[:, None]
        dy = around + 0.5 - (y - top).astype(np.float32)[:, None]
        distance = np.sqrt((dy * dy)[:, :, None] + (dx * dx)[:, None, :])
        inside = (r + 0.5).astype(np.float32)[:, None, None] - distance
        rows, columns = top + margin - reach, left + margin - reach
        for i, j, disc in zip(rows.tolist(), columns.tolist(), inside, strict=True):
            place = ink[i : i + window, j : j + window]
            np.maximum(place, disc, out=place)
    paper = ink[margin : margin + side, margin : margin + side]
    return (np.minimum(paper, 1) * 255 + 0.5).astype(np.uint8)


def _place_discs(
    stroke: NDArray[np.float64], radius: float, side: int, most: int
) -> NDArray[np.float64]:
    """Return (x, y, radius) in pixels along a stroke, so close that no notch shows between them.

    There are about `most`, or as many as points, at most.
    """
    x, y, thickness = stroke[:, 0] * side, stroke[:, 1] * side, stroke[:, 2] * radius
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    step = max(min(2.0, 0.7 * thickness.min()), along[-1] / most)
    at = np.linspace(0, along[-1], int(np.ceil(along[-1] / step)) + 1)
    if len(along) < len(at):  # no corner is cut; where points lie closer together there are none
        at = np.union1d(at, along)
    return np.stack([np.interp(at, along, values) for values in (x, y, thickness)], axis=1)
