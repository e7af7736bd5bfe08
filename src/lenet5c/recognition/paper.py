"""Estimation of the paper under the ink: local brightness, and polarity of the ink."""

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

#: Grid points along the longer side at which the paper's brightness is fitted.
GRID = 72
#: Maximum stroke width considered in a shadow, as a fraction of the longer side.
WIDEST = 0.25
#: Longer side, in pixels, at which ink in the margin is detected.
FINE = 160
#: Width in pixels, at that size, of a border too narrow to estimate the paper from.
NEAR = 3
#: Fraction of the steepest slope above which an edge belongs to a stroke; shadows are softer.
STEEP = 0.4
#: Maximum fraction of the variance within ink and paper if the picture has nothing else.
LEVEL = 0.12
#: Minimum difference of ink from a shadow, as a fraction of the contrast.
BEYOND = 0.1
#: Edge width, relative to the picture's longer side, above which an edge is a shadow's.
SOFT = 0.025


def flatten_paper(plane: NDArray[np.uint8]) -> tuple[Plane, bool]:
    """Return the difference of a gray picture from its paper, and whether its ink is dark.

    The difference is float32, in gray levels, and positive for ink. Dark ink on unevenly lit paper
    is scaled by the brightness of the paper around it, so the same ink gets the same value in a
    shadow.
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
    """Return the mask of the ink if the picture is one digit that runs into the margin, else None.

    Exactly one of the two classes, dark and light pixels, must consist of connected strokes.
    """
    small = reduce(plane, -(-max(plane.shape) // FINE))
    edge = np.concatenate([_take_border(small), _take_border(small, NEAR)]).astype(np.float32)
    low, high = np.quantile(small, [0.01, 0.99])
    if high - low < 24 or edge.max() - edge.min() < 0.5 * (high - low):
        return None
    threshold = low + find_threshold((small - np.minimum(small, low)).astype(np.float32))
    dark = small < threshold
    # Uneven light or a shadow would leave variance within the two classes.
    within = [float(part.var()) * part.size for part in (small[dark], small[~dark])]
    if sum(within) > LEVEL * float(small.var()) * small.size:
        return None
    fits = [_is_digit(mask) for mask in (dark, ~dark)]
    if fits[0] == fits[1] or _measure_edge(small, dark) > SOFT * max(small.shape):
        return None
    # Holes of a digit are as bright as the paper; a digit beside a shadow is darker than that.
    sign = 1 if fits[0] else -1
    if _stands_out(sign * small.astype(np.float32), ~dark if fits[0] else dark, high - low):
        return None
    return plane < threshold if fits[0] else plane >= threshold


def _is_digit(mask: NDArray[np.bool_]) -> bool:
    """Return whether a mask consists of connected strokes and reaches the edge."""
    box = bound(mask)
    border = _take_border(mask)
    # A class that fills the whole border is paper, even if only one pixel wide.
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


def _stands_out(plane: Plane, paper: NDArray[np.bool_], contrast: float) -> bool:
    """Return whether paper enclosed by ink is clearly brighter than the paper at the edge."""
    parts = find_components(paper)
    top, left, bottom, right = parts.boxes.T
    inner = (top > 0) & (left > 0) & (bottom < paper.shape[0]) & (right < paper.shape[1])
    if not inner.any() or inner.all():
        return False
    enclosed, outside = (float(np.median(plane[parts.mask(each)])) for each in (inner, ~inner))
    return enclosed - outside > BEYOND * contrast


def _measure_edge(plane: NDArray[np.uint8], dark: NDArray[np.bool_]) -> float:
    """Return the mean width, in pixels, of the edges between dark and light.

    Only pixels whose level is in the middle half of the range between the two are counted.
    """
    low, high = float(np.median(plane[dark])), float(np.median(plane[~dark]))
    quarter = (high - low) / 4
    between = int(np.count_nonzero((plane > low + quarter) & (plane < high - quarter)))
    along = int(np.count_nonzero(grow(dark) & ~dark))
    return between / max(along, 1)


def pad_margin(plane: NDArray[np.uint8], ink: NDArray[np.bool_], wide: int) -> NDArray[np.uint8]:
    """Pad a picture by `wide` pixels of paper on all sides, extrapolated from its border."""
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
    """Return the ring of pixels at distance `depth` from the edge."""
    depth = min(depth, (min(plane.shape) - 1) // 2)
    plane = plane[depth : len(plane) - depth, depth : plane.shape[1] - depth]
    return np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])


def _resample(plane: Plane, height: int, width: int) -> Plane:
    rows = resize_matrix(height, plane.shape[0]).astype(np.float32)
    columns = resize_matrix(width, plane.shape[1]).astype(np.float32)
    return rows @ plane @ columns.T


def _estimate_paper(small: Plane) -> tuple[Plane, bool]:
    """Return the brightness of the paper on a coarse grid, and whether the ink is darker."""
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
        # Remove the slope of the lighting first, so that the paper within a window is level.
        slope = _fit_surface(small, trust, 1)
        surface = slope + _remove_strokes(calm - slope, dark)
        rest = small - surface
        spread = _estimate_spread(rest, trust)
    # Residuals of the paper are interpolated from around the ink and its gray edge.
    signed = -rest if dark else rest
    ink = grow(signed > 3 * spread + 0.1 * float(signed.max()))
    return surface + _fill(rest, ~ink), dark


def _is_uneven(signed: Plane, spread: float) -> bool:
    """Return whether there is a shadow: much of the border is ink-like, or some is the opposite."""
    # A small digit on a large page covers less than this fraction of the points.
    contrast = max(float(np.quantile(signed, 0.995)), 0.5 * float(signed.max()), 3 * spread)
    edge = np.ones(signed.shape, bool)
    edge[2:-2, 2:-2] = False
    # Ruled lines also reach the edge, but are thin.
    broad = _filter_extremes(signed, 2, np.min, np.max)
    inked, opposite = broad[edge] > 0.2 * contrast, signed < -0.25 * contrast
    return bool(np.mean(inked) > 0.05 or np.mean(opposite) > 0.003)


def _find_polarity(rest: Plane) -> bool:
    """Return whether ink is dark, for paper with a shadow after subtraction of the broad lighting.

    A morphological closing removes dark strokes, and an opening removes light ones. The opposite
    operation removes the gaps between strokes instead. Since gaps lie between strokes, the response
    of the ink extends further out.
    """
    sharp = _find_edges(rest)
    closed, opened = (_remove_strokes(rest, dark) for dark in (True, False))
    responses = (closed - rest) * sharp, (rest - opened) * sharp
    strongest = [float(response.max()) for response in responses]
    # The extent of a much weaker response, such as rounding errors or a shadow, is meaningless.
    least = max(1.0, 0.4 * max(strongest))
    reach = [_measure_reach(response, least) for response in responses]
    lead = float(np.sum(reach[0] > reach[1])) - float(np.sum(reach[0] < reach[1]))
    return (lead or strongest[0] - strongest[1]) >= 0


def _find_edges(plane: Plane) -> NDArray[np.bool_]:
    """Return the mask of points next to steep edges, which excludes the soft edges of shadows."""
    slope = np.zeros(plane.shape)
    down, across = (np.abs(np.diff(plane, axis=axis)) for axis in (0, 1))
    slope[1:] = down
    slope[:, 1:] = np.maximum(slope[:, 1:], across)
    return grow(slope >= STEEP * float(slope.max()))


def _remove_strokes(plane: Plane, dark: bool) -> Plane:
    """Remove everything narrower than a stroke, by a closing (dark ink) or an opening."""
    radius = max(1, round(WIDEST * max(plane.shape) / 2))
    return _filter_extremes(plane, radius, *((np.max, np.min) if dark else (np.min, np.max)))


def _filter_extremes(plane: Plane, radius: int, *extremes: Callable[..., Plane]) -> Plane:
    """Apply extremum filters one after another over square windows, repeating the edge."""
    plane = np.pad(plane, len(extremes) * radius, mode="edge")
    for extreme in extremes:
        for axis in (0, 1):
            windows = np.lib.stride_tricks.sliding_window_view(plane, 2 * radius + 1, axis=axis)
            plane = extreme(windows, axis=-1)
    return plane


def _measure_reach(response: Plane, least: float) -> NDArray[np.int64]:
    """Return the extent (up, left, down, right) of the points above half the maximum response."""
    box = bound(response >= max(0.5 * float(response.max()), least))
    if box is None:
        return np.full(4, -max(response.shape))
    return np.array([-box[0], -box[1], box[2], box[3]])


def _weigh_points(shape: tuple[int, ...]) -> Plane:
    """Return the initial weight of each point as paper: 4 in the margin, 1 elsewhere."""
    margin = max(1, round(0.06 * max(shape)))
    if min(shape) <= 2 * margin:
        return np.ones(shape)
    trust = np.full(shape, 4.0)
    trust[margin:-margin, margin:-margin] = 1.0
    return trust


def _estimate_spread(rest: Plane, weight: Plane) -> float:
    """Estimate the standard deviation of the paper from the smallest third of the residuals.

    The others may be ink.
    """
    return max(find_quantile(np.abs(rest), weight, 3) / 0.43, 1.5)


def _fit_surface(small: Plane, weight: Plane, degree: int) -> Plane:
    """Fit a bivariate polynomial of the given total degree by weighted least squares."""
    rows, columns = small.shape
    y, x = np.linspace(-1, 1, rows)[:, np.newaxis], np.linspace(-1, 1, columns)
    terms = [y**i * x**j for i in range(degree + 1) for j in range(degree + 1 - i)]
    basis = np.stack([np.broadcast_to(term, small.shape).ravel() for term in terms], axis=1)
    weighted = basis * weight.reshape(-1, 1)
    # A small ridge penalty keeps the surface flat where everything is ink.
    penalty = np.diag([0.0] + [1e-3 * weight.sum()] * (len(terms) - 1))
    normal = basis.T @ weighted + penalty + 1e-9 * np.eye(len(terms))
    return (basis @ np.linalg.solve(normal, weighted.T @ small.ravel())).reshape(small.shape)


def _fill(rest: Plane, known: NDArray[np.bool_]) -> Plane:
    """Smooth the known values and extrapolate them to unknown points, fading to 0 far away."""
    total, weight = np.where(known, rest, 0.0), known.astype(np.float64)
    for _ in range(12):
        total, weight = smooth(total), smooth(weight)
    return total / (weight + 0.05)
