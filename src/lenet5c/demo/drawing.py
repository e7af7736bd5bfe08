"""Strokes of a pen, as the page sends them, become ink."""

import numpy as np

from lenet5c.errors import UserError

SIDE = 112  # pixels of the square that is drawn on, four to each of MNIST's
GRID = 28  # what the width of the pen is measured in: so many units to a side
MAX_STROKES, MAX_POINTS = 2000, 20_000
WIDTH = (0.6, 6.0)
USUAL_WIDTH = 2.4

# Discs at a time: memory does not grow with the drawing.
CHUNK = 1024


class DrawingError(UserError):
    """What was sent is not a drawing."""


def checked_strokes(value):
    """The strokes of a request as arrays.

    Parameters
    ----------
    value : list of list of number
        A flat list for each stroke: x, y and the pen's thickness, again and again. x and y are shares of the side, from
        the top left corner; thickness is a factor of the width, usually 1.

    Returns
    -------
    list of ndarray of float64, shape (n, 3)
        Strokes without a point are left out.

    Raises
    ------
    DrawingError
        It is not as above, too long, or holds what is no finite number.

    Examples
    --------
    >>> from lenet5c.demo.drawing import checked_strokes
    >>> [stroke.shape for stroke in checked_strokes([[0.5, 0.1, 1, 0.5, 0.9, 1], []])]
    [(2, 3)]
    """
    if not isinstance(value, list) or len(value) > MAX_STROKES:
        raise DrawingError(f"strokes should be a list of at most {MAX_STROKES}")
    if not all(isinstance(stroke, list) and len(stroke) % 3 == 0 for stroke in value):
        raise DrawingError("a stroke should be a list of x, y and thickness, again and again")
    if sum(map(len, value)) > 3 * MAX_POINTS:
        raise DrawingError(
            f"the drawing has more than {MAX_POINTS:,} points; clear it and start anew"
        )
    if not all(type(number) in (int, float) for stroke in value for number in stroke):
        raise DrawingError("a stroke should hold numbers alone")
    try:
        strokes = [np.array(stroke, float).reshape(-1, 3) for stroke in value if stroke]
    except OverflowError:
        raise DrawingError("a stroke holds a number that is too large") from None
    if not all(np.isfinite(stroke).all() for stroke in strokes):
        raise DrawingError("a stroke holds what is no finite number")
    # The pen may leave the square, not by much.
    return [np.clip(stroke, [-0.5, -0.5, 0.1], [1.5, 1.5, 3.0]) for stroke in strokes]


def render(strokes, width=USUAL_WIDTH, side=SIDE):
    """The ink of strokes: 0 is paper, 255 full ink, smooth at the edges.

    Parameters
    ----------
    strokes : list of ndarray, shape (n, 3)
        As `checked_strokes` returns them.
    width : float
        Of the pen, in 28ths of the side.
    side : int

    Returns
    -------
    ndarray of uint8, shape (side, side)

    Examples
    --------
    >>> from lenet5c.demo.drawing import checked_strokes, render
    >>> ink = render(checked_strokes([[0.5, 0.25, 1, 0.5, 0.75, 1]]), width=4, side=28)
    >>> ink[[2, 14, 14], [14, 14, 2]].tolist()
    [0, 255, 0]
    """
    radius = width / GRID * side / 2
    discs = [_discs(stroke, radius, side) for stroke in strokes]
    if not discs:
        return np.zeros((side, side), np.uint8)
    discs = np.concatenate(discs)
    reach = int(np.ceil(discs[:, 2].max() + 0.5))
    window = 2 * reach + 1
    # A margin takes what falls beside the paper.
    margin = side // 2 + window
    ink = np.zeros((side + 2 * margin, side + 2 * margin), np.float32)
    around = np.arange(-reach, reach + 1, dtype=np.float32)
    for start in range(0, len(discs), CHUNK):
        x, y, r = discs[start : start + CHUNK].T
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        # From the centres of pixels.
        dx = around + 0.5 - (x - left).astype(np.float32)[:, None]
        dy = around + 0.5 - (y - top).astype(np.float32)[:, None]
        inside = (r + 0.5).astype(np.float32)[:, None, None] - np.sqrt(
            (dy * dy)[:, :, None] + (dx * dx)[:, None, :]
        )
        for i, j, disc in zip(
            (top + margin - reach).tolist(), (left + margin - reach).tolist(), inside, strict=True
        ):
            place = ink[i : i + window, j : j + window]
            np.maximum(place, disc, out=place)
    paper = ink[margin : margin + side, margin : margin + side]
    return (np.minimum(paper, 1) * 255 + 0.5).astype(np.uint8)


def _discs(stroke, radius, side):
    """(x, y, radius) in pixels along a stroke, so close together that no notch shows between them."""
    x, y, thickness = stroke[:, 0] * side, stroke[:, 1] * side, stroke[:, 2] * radius
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    step = max(min(2.0, 0.7 * thickness.min()), along[-1] / 8000)
    at = np.linspace(0, along[-1], int(np.ceil(along[-1] / step)) + 1)
    if len(along) < len(at):
        at = np.union1d(
            at, along
        )  # no corner is cut; where points lie closer together there are none
    return np.stack([np.interp(at, along, values) for values in (x, y, thickness)], axis=1)
