"""Images of strokes, drawn like on the page, by distances to segments."""

import numpy as np
from drawn.demo_digits import strokes_of

from lenet5c.recognition.digit import form


def draw(strokes, width=2.4, side=112):
    """Return ink (side, side) of strokes, lists of x, y and thickness, again and again."""
    y, x = np.mgrid[:side, :side] + 0.5
    ink = np.zeros((side, side))
    for stroke in strokes:
        points = np.reshape(stroke, (-1, 3))[:, :2] * side
        ends = points[1:] if len(points) > 1 else points
        for a, b in zip(points[: max(1, len(points) - 1)], ends, strict=True):
            d = b - a
            t = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / max(d @ d, 1e-12), 0, 1)
            distance = np.hypot(x - a[0] - t * d[0], y - a[1] - t * d[1])
            ink = np.maximum(ink, np.clip(width / 28 * side / 2 + 0.5 - distance, 0, 1))
    return (ink * 255 + 0.5).astype(np.uint8)


def image_of(digit):
    """Return a digit as an image of MNIST's form, (1, 28, 28)."""
    return form(draw(strokes_of(digit)))[np.newaxis]
