"""The paper under the ink: how bright it is at each place, how noisy, and whether ink is darker or lighter."""

import numpy as np

from lenet5c.datasets.resampling import resize_matrix

#: Points on the longer side at which the paper's brightness is fitted.
GRID = 72
#: The widest stroke that is looked for in a shadow, as a share of the longer side.
WIDEST = 0.25


def flattened(plane):
    """A picture as distance from its paper, and whether its ink is dark.

    Parameters
    ----------
    plane : ndarray of uint8, shape (h, w)

    Returns
    -------
    signed : ndarray of float32, shape (h, w)
        Positive where it is ink; in grey levels. Dark ink on unevenly lit paper is compared with the paper around it:
        the same ink in a shadow gets the same value.
    dark : bool
    """
    height, width = plane.shape
    longer = max(height, width)
    rows, columns = (max(1, min(side, round(side * GRID / longer))) for side in (height, width))
    values = plane.astype(np.float32)
    down, across = (
        resize_matrix(rows, height).astype(np.float32),
        resize_matrix(columns, width).astype(np.float32),
    )
    small = down @ values @ across.T
    paper, dark = _paper(small)
    up, along = (
        resize_matrix(height, rows).astype(np.float32),
        resize_matrix(width, columns).astype(np.float32),
    )
    paper = up @ paper.astype(np.float32) @ along.T
    if dark:
        bright = float(np.median(paper))
        return (paper - values) * (bright / np.maximum(paper, 0.2 * bright + 1)), True
    return values - paper, False


def _paper(small):
    """The brightness of the paper on a coarse grid, and whether ink is darker than it."""
    trust = _trust(small.shape)
    surface = _surface(small, trust, 1)
    for degree in (0, 1, 1, 2, 2, 3):
        rest = small - surface
        rest -= _weighted_median(rest, trust)
        weight = trust * np.clip(1 - (rest / (4 * _spread(rest, trust))) ** 2, 0, 1) ** 2
        surface = _surface(small, weight, degree)
    rest = small - surface
    spread = _spread(rest, trust)
    beyond = np.maximum(np.abs(rest) - 3 * spread, 0)
    dark = float(beyond[rest < 0].sum()) >= float(beyond[rest > 0].sum())
    if _is_uneven(-rest if dark else rest):
        surface, dark = _shadowed(small)
        rest = small - surface
        spread = _spread(rest, trust)
    # What the surface misses of the paper, from the paper around: the ink is left out, and what the ink's edge greys.
    signed = -rest if dark else rest
    ink = _grown(signed > 3 * spread + 0.1 * float(signed.max()))
    return surface + _filled(rest, ~ink), dark


def _is_uneven(signed):
    """Whether a smooth surface does not describe the paper: much of the edge is like ink, or some is its opposite."""
    contrast = float(np.quantile(signed, 0.995))
    edge = np.ones(signed.shape, bool)
    edge[2:-2, 2:-2] = False
    return (
        np.mean(signed[edge] > 0.2 * contrast) > 0.05 or np.mean(signed < -0.25 * contrast) > 0.003
    )


def _shadowed(small):
    """Paper with the edge of a shadow, and whether ink is darker: what is wider than a stroke is paper.

    Dark strokes vanish under a closing, light ones under an opening. So do gaps between strokes under the other one;
    but gaps lie between strokes, so the ink is what reaches further out.
    """
    calm = smoothed(small) if noise_of(small) >= 1 else small
    radius = max(1, round(WIDEST * max(small.shape) / 2))
    without_dark = _window_extremes(calm, radius, np.max, np.min)
    without_light = _window_extremes(calm, radius, np.min, np.max)
    reach = [_extent(without_dark - calm), _extent(calm - without_light)]
    lead = int(np.sum(reach[0] > reach[1])) - int(np.sum(reach[0] < reach[1]))
    if lead == 0:
        lead = float((without_dark - calm).max()) - float((calm - without_light).max())
    return (without_dark, True) if lead >= 0 else (without_light, False)


def _window_extremes(plane, radius, *extremes):
    """One extreme after the other over a square about each point, the plane continued by its edge."""
    plane = np.pad(plane, len(extremes) * radius, mode="edge")
    for extreme in extremes:
        for axis in (0, 1):
            plane = extreme(
                np.lib.stride_tricks.sliding_window_view(plane, 2 * radius + 1, axis=axis), axis=-1
            )
    return plane


def _extent(response):
    """How far up, left, down and right a response of half the strongest reaches."""
    strong = response >= 0.5 * max(float(response.max()), 1e-9)
    if not strong.any():
        return np.full(4, -max(response.shape))
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    return np.array([-rows[0], -columns[0], rows[-1], columns[-1]])


def _trust(shape):
    """How much each point is held to be paper at first: the margin more than the middle."""
    trust = np.ones(shape)
    margin = max(1, round(0.06 * max(shape)))
    if min(shape) > 2 * margin:
        inner = (slice(margin, -margin), slice(margin, -margin))
        trust[:] = 4.0
        trust[inner] = 1.0
    return trust


def _weighted_median(values, weight):
    order = np.argsort(values, axis=None)
    total = np.cumsum(weight.ravel()[order])
    return values.ravel()[order[np.searchsorted(total, total[-1] / 2)]]


def _spread(rest, weight):
    """Standard deviation of the paper, from the nearest third: most of a picture of a bold digit may be ink."""
    order = np.argsort(np.abs(rest), axis=None)
    total = np.cumsum(weight.ravel()[order])
    return max(
        float(np.abs(rest).ravel()[order[np.searchsorted(total, total[-1] / 3)]]) / 0.43, 1.5
    )


def _surface(small, weight, degree):
    """The weighted least-squares polynomial of this degree in both axes."""
    rows, columns = small.shape
    y, x = np.linspace(-1, 1, rows)[:, np.newaxis], np.linspace(-1, 1, columns)
    terms = [y**i * x**j for i in range(degree + 1) for j in range(degree + 1 - i)]
    basis = np.stack([np.broadcast_to(term, small.shape).ravel() for term in terms], axis=1)
    weighted = basis * weight.reshape(-1, 1)
    # A little of each term is held back: where all is ink, the paper stays near the plain.
    penalty = np.diag([0.0] + [1e-3 * weight.sum()] * (len(terms) - 1))
    factors = np.linalg.solve(
        basis.T @ weighted + penalty + 1e-9 * np.eye(len(terms)), weighted.T @ small.ravel()
    )
    return (basis @ factors).reshape(small.shape)


def _grown(mask):
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def _filled(rest, known):
    """Smoothed values, where unknown from the known around, fading to 0 far from any."""
    total, weight = np.where(known, rest, 0.0), known.astype(np.float64)
    for _ in range(12):
        total, weight = smoothed(total), smoothed(weight)
    return total / (weight + 0.05)


def smoothed(plane):
    """The plane under a filter of 1 2 1 along both axes, its edge repeated."""
    padded = np.pad(plane, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16


def noise_of(plane):
    """Standard deviation of pixel noise: of what neither a slope nor an edge along an axis explains, by its median."""
    if min(plane.shape) < 2:
        return 0.0
    mixed = plane[1:, 1:] + plane[:-1, :-1] - plane[1:, :-1] - plane[:-1, 1:]
    return float(np.median(np.abs(mixed))) / (2 * 0.6745)
