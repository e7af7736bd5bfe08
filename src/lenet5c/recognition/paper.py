"""The paper under the ink: its brightness at each place, and whether ink is darker or lighter."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.centering import bound
from lenet5c.datasets.resampling import resize_matrix
from lenet5c.recognition.components import find_components
from lenet5c.recognition.filters import (
    estimate_noise,
    find_quantile,
    find_threshold,
    grow,
    measure_stroke,
    reduce,
    smooth,
)

Plane = NDArray[Any]

#: Points on the longer side at which the paper's brightness is fitted.
GRID = 72
#: The widest stroke that is looked for in a shadow, as a share of the longer side.
WIDEST = 0.25
#: Pixels on the longer side at which ink in the margin is looked for.
FINE = 160
#: Pixels from the edge, of so many, within which paper is too narrow to tell by.
NEAR = 3
#: Share of the steepest slope from which an edge is a stroke's; a shadow's are soft.
STEEP = 0.4
#: Share of the variance that is left within ink and paper where nothing else is in a picture.
LEVEL = 0.12
#: Width of a soft edge, over the picture's longer side, from which it is a shadow's.
SOFT = 0.025


def flatten_paper(plane: NDArray[np.uint8]) -> tuple[Plane, bool]:
    """Return a gray picture's distance from its paper, float32, and whether its ink is dark.

    Gray levels, positive where it is ink. Dark ink on unevenly lit paper is compared with the
    paper around it: the same ink in a shadow gets the same value.
    """
    height, width = plane.shape
    longer = max(height, width)
    rows, columns = (max(1, min(side, round(side * GRID / longer))) for side in (height, width))
    values = plane.astype(np.float32)
    small, dark = _estimate_paper(_resample(values, rows, columns))
    paper = _resample(small.astype(np.float32), height, width)
    if dark:
        bright = float(np.median(paper))
        return (paper - values) * (bright / np.maximum(paper, 0.2 * bright + 1)), True
    return values - paper, False


def measure_margin(plane: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Return where the picture is ink, if it is one digit that runs into the margin; else None.

    Of the dark and the light pixels, one class must be lines in one piece.
    """
    small = reduce(plane, -(-max(plane.shape) // FINE))
    edge = np.concatenate([_take_border(small), _take_border(small, NEAR)]).astype(np.float32)
    low, high = np.quantile(small, [0.01, 0.99])
    if high - low < 24 or edge.max() - edge.min() < 0.5 * (high - low):
        return None
    threshold = low + find_threshold((small - np.minimum(small, low)).astype(np.float32))
    dark = small < threshold
    # Light falls off by degrees, and ink in a shadow is darker than the shadow.
    within = [float(part.var()) * part.size for part in (small[dark], small[~dark])]
    if sum(within) > LEVEL * float(small.var()) * small.size:
        return None
    fits = [_is_digit(mask) for mask in (dark, ~dark)]
    if fits[0] == fits[1] or _measure_edge(small, dark) > SOFT * max(small.shape):
        return None
    return plane < threshold if fits[0] else plane >= threshold


def _is_digit(mask: NDArray[np.bool_]) -> bool:
    """Return whether a mask is lines in one piece, and at the edge."""
    box = bound(mask)
    border = _take_border(mask)
    # What is all around is paper, be it one pixel wide.
    if box is None or border.all() or not (border.any() or _take_border(mask, NEAR).any()):
        return False
    area = find_components(mask).area
    stroke, longer = measure_stroke(mask), max(box[2] - box[0], box[3] - box[1])
    return bool(
        mask.mean() < 0.7
        and area.max() > 0.9 * area.sum()
        and stroke < 0.35 * longer
        and area.sum() / stroke < 4.6 * longer
    )


def _measure_edge(plane: NDArray[np.uint8], dark: NDArray[np.bool_]) -> float:
    """Return how many pixels there are across the edge between dark and light, in the mean.

    Those are counted whose level is in the middle half between the two.
    """
    low, high = float(np.median(plane[dark])), float(np.median(plane[~dark]))
    quarter = (high - low) / 4
    between = int(np.count_nonzero((plane > low + quarter) & (plane < high - quarter)))
    along = int(np.count_nonzero(grow(dark) & ~dark))
    return between / max(along, 1)


def pad_margin(plane: NDArray[np.uint8], ink: NDArray[np.bool_], wide: int) -> NDArray[np.uint8]:
    """Return a picture with so much more paper on all sides, continued from its edge's paper."""
    picture, plane, ink = plane, plane.copy(), grow(ink)
    for values, inked in (
        (plane[0], ink[0]),
        (plane[-1], ink[-1]),
        (plane[:, 0], ink[:, 0]),
        (plane[:, -1], ink[:, -1]),
    ):
        paper = np.flatnonzero(~inked)
        if len(paper) == 0:
            paper, known = np.array([0]), np.array([np.median(plane[~ink])])
        else:
            known = values[paper]
        values[inked] = np.interp(np.flatnonzero(inked), paper, known)
    padded = np.pad(plane, wide, mode="edge")
    padded[wide:-wide, wide:-wide] = picture
    return padded


def _take_border(plane: NDArray[Any], depth: int = 0) -> NDArray[Any]:
    """Return the pixels that are so far from the edge."""
    depth = min(depth, (min(plane.shape) - 1) // 2)
    plane = plane[depth : len(plane) - depth, depth : plane.shape[1] - depth]
    return np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])


def _resample(plane: Plane, height: int, width: int) -> Plane:
    rows = resize_matrix(height, plane.shape[0]).astype(np.float32)
    columns = resize_matrix(width, plane.shape[1]).astype(np.float32)
    return rows @ plane @ columns.T


def _estimate_paper(small: Plane) -> tuple[Plane, bool]:
    """Return the brightness of the paper on a coarse grid, and whether ink is darker than it."""
    trust = _weigh_points(small.shape)
    surface = _fit_surface(small, trust, 1)
    for degree in (0, 1, 1, 2, 2, 3):
        rest = small - surface
        rest -= find_quantile(rest, trust, 2)
        weight = trust * np.clip(1 - (rest / (4 * _estimate_spread(rest, trust))) ** 2, 0, 1) ** 2
        surface = _fit_surface(small, weight, degree)
    rest = small - surface
    spread = _estimate_spread(rest, trust)
    beyond = np.maximum(np.abs(rest) - 3 * spread, 0)
    dark = float(beyond[rest < 0].sum()) >= float(beyond[rest > 0].sum())
    if _is_uneven(-rest if dark else rest, spread):
        calm = smooth(small) if estimate_noise(small) >= 1 else small
        dark = _find_polarity(calm - surface)
        # Without the slope of the light: on it, squares beside a digit have paper of many levels.
        slope = _fit_surface(small, trust, 1)
        surface = slope + _remove_strokes(calm - slope, dark)
        rest = small - surface
        spread = _estimate_spread(rest, trust)
    # What the surface misses of the paper is taken from around the ink and its gray edge.
    signed = -rest if dark else rest
    ink = grow(signed > 3 * spread + 0.1 * float(signed.max()))
    return surface + _fill(rest, ~ink), dark


def _is_uneven(signed: Plane, spread: float) -> bool:
    """Return whether much of the edge is like ink, or some is its opposite: there is a shadow."""
    # A small digit on a large page has less than that share of the points.
    contrast = max(float(np.quantile(signed, 0.995)), 0.5 * float(signed.max()), 3 * spread)
    edge = np.ones(signed.shape, bool)
    edge[2:-2, 2:-2] = False
    # Rules of the paper run to the edge, too, but are thin.
    broad = _filter_extremes(signed, 2, np.min, np.max)
    inked, opposite = broad[edge] > 0.2 * contrast, signed < -0.25 * contrast
    return bool(np.mean(inked) > 0.05 or np.mean(opposite) > 0.003)


def _find_polarity(rest: Plane) -> bool:
    """Return whether ink is dark on paper with a shadow, of which the broad light is taken away.

    Dark strokes vanish under a closing, light ones under an opening. So do gaps between strokes
    under the other one; but gaps lie between strokes, so the ink reaches further out.
    """
    sharp = _find_edges(rest)
    closed, opened = (_remove_strokes(rest, dark) for dark in (True, False))
    responses = (closed - rest) * sharp, (rest - opened) * sharp
    strongest = [float(response.max()) for response in responses]
    # Of what is weaker by far, as rounding on a clean page or a shadow is, the reach tells nothing.
    least = max(1.0, 0.4 * max(strongest))
    reach = [_measure_reach(response, least) for response in responses]
    lead = float(np.sum(reach[0] > reach[1])) - float(np.sum(reach[0] < reach[1]))
    return (lead or strongest[0] - strongest[1]) >= 0


def _find_edges(plane: Plane) -> NDArray[np.bool_]:
    """Return the points beside steep edges, those of a shadow's soft edge not among them."""
    slope = np.zeros(plane.shape)
    down, across = (np.abs(np.diff(plane, axis=axis)) for axis in (0, 1))
    slope[1:] = down
    slope[:, 1:] = np.maximum(slope[:, 1:], across)
    return grow(slope >= STEEP * float(slope.max()))


def _remove_strokes(plane: Plane, dark: bool) -> Plane:
    """Return paper with a shadow: all that is wider than a stroke, by a closing or an opening."""
    radius = max(1, round(WIDEST * max(plane.shape) / 2))
    return _filter_extremes(plane, radius, *((np.max, np.min) if dark else (np.min, np.max)))


def _filter_extremes(plane: Plane, radius: int, *extremes: Callable[..., Plane]) -> Plane:
    """Take one extreme after the other over a square about each point; the edge is repeated."""
    plane = np.pad(plane, len(extremes) * radius, mode="edge")
    for extreme in extremes:
        for axis in (0, 1):
            windows = np.lib.stride_tricks.sliding_window_view(plane, 2 * radius + 1, axis=axis)
            plane = extreme(windows, axis=-1)
    return plane


def _measure_reach(response: Plane, least: float) -> NDArray[np.int64]:
    """Return how far up, left, down and right a response of half the strongest reaches."""
    box = bound(response >= max(0.5 * float(response.max()), least))
    if box is None:
        return np.full(4, -max(response.shape))
    return np.array([-box[0], -box[1], box[2], box[3]])


def _weigh_points(shape: tuple[int, ...]) -> Plane:
    """Return how far each point is taken for paper at first: 4 in the margin, 1 in the middle."""
    margin = max(1, round(0.06 * max(shape)))
    if min(shape) <= 2 * margin:
        return np.ones(shape)
    trust = np.full(shape, 4.0)
    trust[margin:-margin, margin:-margin] = 1.0
    return trust


def _estimate_spread(rest: Plane, weight: Plane) -> float:
    """Return the standard deviation of the paper, from the nearest third: the others may be ink."""
    return max(find_quantile(np.abs(rest), weight, 3) / 0.43, 1.5)


def _fit_surface(small: Plane, weight: Plane, degree: int) -> Plane:
    """Return the weighted least-squares polynomial of this degree in both axes."""
    rows, columns = small.shape
    y, x = np.linspace(-1, 1, rows)[:, np.newaxis], np.linspace(-1, 1, columns)
    terms = [y**i * x**j for i in range(degree + 1) for j in range(degree + 1 - i)]
    basis = np.stack([np.broadcast_to(term, small.shape).ravel() for term in terms], axis=1)
    weighted = basis * weight.reshape(-1, 1)
    # A little of each term is held back: where all is ink, the paper stays near the plain.
    penalty = np.diag([0.0] + [1e-3 * weight.sum()] * (len(terms) - 1))
    normal = basis.T @ weighted + penalty + 1e-9 * np.eye(len(terms))
    return (basis @ np.linalg.solve(normal, weighted.T @ small.ravel())).reshape(small.shape)


def _fill(rest: Plane, known: NDArray[np.bool_]) -> Plane:
    """Return smoothed values, where unknown from the known around, fading to 0 far from any."""
    total, weight = np.where(known, rest, 0.0), known.astype(np.float64)
    for _ in range(12):
        total, weight = smooth(total), smooth(weight)
    return total / (weight + 0.05)
