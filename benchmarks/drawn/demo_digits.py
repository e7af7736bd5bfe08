"""Digits as people draw them, for the tests of the demo."""

import numpy as np

# Polylines in shares of the drawing area, as people write these digits.
TURN = [2 * np.pi * i / 24 for i in range(25)]
DIGITS = {
    "0": [[(0.5 - 0.2 * float(np.sin(a)), 0.5 - 0.33 * float(np.cos(a))) for a in TURN]],
    "1": [[(0.42, 0.26), (0.52, 0.15), (0.5, 0.5), (0.49, 0.85)]],
    "2": [
        [
            (0.32, 0.28),
            (0.42, 0.17),
            (0.56, 0.16),
            (0.66, 0.26),
            (0.63, 0.42),
            (0.5, 0.6),
            (0.33, 0.82),
            (0.5, 0.8),
            (0.7, 0.82),
        ]
    ],
    "3": [
        [
            (0.31, 0.24),
            (0.42, 0.16),
            (0.58, 0.17),
            (0.66, 0.28),
            (0.6, 0.42),
            (0.46, 0.48),
            (0.61, 0.53),
            (0.69, 0.66),
            (0.62, 0.81),
            (0.47, 0.86),
            (0.31, 0.79),
        ]
    ],
    "7": [[(0.28, 0.2), (0.5, 0.19), (0.72, 0.18), (0.62, 0.4), (0.52, 0.62), (0.45, 0.86)]],
}


def strokes_of(digit, thickness=1):
    """Return a digit as the page sends it."""
    return [[number for x, y in stroke for number in (x, y, thickness)] for stroke in DIGITS[digit]]
