"""Separation of points, commas and bars from the larger ink before digits are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.components import Components, find_components
from lenet5c.recognition.filters import grow, measure_stroke
from lenet5c.recognition.pieces import FAINT, FIRM, Piece

#: Maximum longer side of a small sign, and maximum height of a bar, in typical digit heights.
SMALL, BAR = 0.42, 0.35
#: Minimum ratio of width to height of a bar.
FLAT = 2.0
#: Maximum distance at which a small part belongs to a digit, in typical digit heights: beside its
#: top, as the flag of a five, and below it.
NEAR, FOOT = 0.15, 0.07
#: Maximum width of such a part, in typical digit heights.
PART = 0.85
#: Fractions of the stroke width below which ink may be a speck, and certainly is one; points are
#: thinner than strokes.
SPECK, NOTHING = 0.4, 0.18
#: Maximum number of thin points; more are noise.
FEW = 4
#: Speck probability of a small sign, as pairs (shorter side in stroke widths, probability), and
#: minimum probabilities for faint ones, and for those beside a digit on plain and ruled paper.
DOUBT = ((0.1, 0.97), (0.18, 0.6), (0.4, 0.15), (0.41, 0.02))
FAINT_ONES, BESIDE, RULED = 0.15, 0.15, 0.7
#: Minimum height of a bar, in stroke widths, from which the pen width of its dots is estimated.
BAR_STROKE = 0.2


def part_small_signs(strength: NDArray[np.uint8]) -> tuple[list[Piece], NDArray[np.uint8]]:
    """Separate the points, commas and bars, returned as pieces, from the larger ink.

    Parameters
    ----------
    strength : ndarray of uint8, shape (h, w)
        0 is paper, 255 full ink.
    """
    parts = find_components(strength >= FIRM)
    usual = _measure_height(parts)
    if usual == 0:
        return [], strength
    height, width = (parts.boxes[:, 2 + axis] - parts.boxes[:, axis] for axis in (0, 1))
    bar = (width >= FLAT * height) & (height <= BAR * usual) & (width > 0.2 * usual)
    small = (np.maximum(height, width) <= SMALL * usual) & ~bar
    large = ~(bar | small)
    mean = parts.sum(strength) / parts.area
    # A thin bar consists mostly of soft edges.
    faint = mean < np.where(bar, 0.7, 1.0) * FAINT * np.median(mean[large])
    # Ink much thinner than the pen is a speck or a remnant of a rule.
    pen = measure_stroke(parts.mask(large))
    least = np.full(len(parts), SPECK * pen)
    least[bar] = 0.5 * SPECK * pen
    # The dots of a division sign may be thinner than the strokes of the digits.
    for i in np.flatnonzero(bar & (height >= BAR_STROKE * pen) & (width <= usual)).tolist():
        y, x = ((parts.boxes[:, axis] + parts.boxes[:, 2 + axis]) / 2 for axis in (0, 1))
        near = (np.abs(x - x[i]) <= 0.3 * width[i]) & (np.abs(y - y[i]) <= 0.5 * usual)
        least[small & near] = np.minimum(least[small & near], 0.6 * height[i])
    shorter = np.minimum(height, width)
    thin = shorter < least
    alone = np.zeros(len(parts), bool)
    for i in np.flatnonzero(bar | small).tolist():
        alone[i] = not _belongs(parts.boxes[i], parts.boxes[large], usual, bool(bar[i]))
    chosen = alone & ~(faint | thin)
    # A thin pen leaves thin points.
    unsure = alone & small & (faint | thin) & (shorter >= max(1.5, NOTHING * pen))
    if np.count_nonzero(unsure) <= FEW:
        chosen |= unsure
    pieces = []
    rest = strength.copy()
    for i in np.flatnonzero(chosen).tolist():
        top, left, bottom, right = parts.boxes[i].tolist()
        own = parts.labels[top:bottom, left:right] == i
        pieces.append(
            Piece((top, left, bottom, right), strength[top:bottom, left:right] * grow(own))
        )
    # Specks are removed as well; read as points, they would turn noise into a sum.
    rest[grow(parts.mask(alone)) & ~parts.mask(~alone)] = 0
    return pieces, rest


def weigh_specks(pieces: Sequence[Piece], ruled: bool) -> NDArray[np.float64]:
    """Return the probability that each piece is a speck or a remnant of a digit or rule.

    It is 0 for large pieces. `ruled` is True if ruled lines were removed, which may have broken
    digits.
    """
    specks = np.zeros(len(pieces))
    boxes = np.array([piece.box for piece in pieces], np.int64).reshape(-1, 4)
    height, width = (boxes[:, 2 + axis] - boxes[:, axis] for axis in (0, 1))
    upright = height[width < FLAT * height]
    if len(upright) == 0:
        return specks
    usual = float(np.median(upright[upright >= 0.5 * np.quantile(upright, 0.8)]))
    large = np.flatnonzero(height >= 0.6 * usual)
    masks = [piece.strength >= FIRM for piece in pieces]
    pen = float(np.median([measure_stroke(masks[i]) for i in large]))
    mean = [
        float(piece.strength[mask].mean()) if mask.any() else 0.0
        for piece, mask in zip(pieces, masks, strict=True)
    ]
    faint = FAINT * float(np.median([mean[i] for i in large]))
    sides, doubts = zip(*DOUBT, strict=True)
    for i, (top, left, bottom, right) in enumerate(boxes.tolist()):
        flat = width[i] >= FLAT * height[i]
        if max(height[i], width[i]) > SMALL * usual:
            continue
        if not flat:
            specks[i] = np.interp(min(height[i], width[i]) / pen, sides, doubts)
            if mean[i] < faint:
                specks[i] = max(specks[i], FAINT_ONES)
        shared = np.minimum(boxes[large, 3], right) - np.maximum(boxes[large, 1], left)
        middle = (top + bottom) / 2
        within = (boxes[large, 0] <= middle) & (middle <= boxes[large, 2])
        if (within & (shared >= 0.5 * (right - left))).any():
            specks[i] = max(specks[i], RULED if ruled else BESIDE)
    return specks


def _measure_height(parts: Components) -> float:
    """Return the typical digit height: the median over tall components that are not bars."""
    height, width = (parts.boxes[:, 2 + axis] - parts.boxes[:, axis] for axis in (0, 1))
    upright = height[(width < FLAT * height) & (parts.area >= 12)]
    if len(upright) == 0:
        return 0.0
    return float(np.median(upright[upright >= 0.5 * np.quantile(upright, 0.8)]))


def _belongs(box: NDArray[np.int64], large: NDArray[np.int64], usual: float, bar: bool) -> bool:
    """Return whether a small part belongs to a large one: at its top, inside it or at its foot."""
    down = np.maximum(np.maximum(large[:, 0] - box[2], box[0] - large[:, 2]), 0)
    aside = np.maximum(np.maximum(large[:, 1] - box[3], box[1] - large[:, 3]), 0)
    center = (box[:2] + box[2:]) / 2
    place = (center[0] - large[:, 0]) / (large[:, 2] - large[:, 0])
    shared = np.minimum(large[:, 3], box[3]) - np.maximum(large[:, 1], box[1])
    inside = (shared >= 0.6 * (box[3] - box[1])) & (place > 0.05) & (place < 0.75)
    near = np.hypot(down, aside) <= NEAR * usual
    # A longer bar is a fraction bar.
    short = box[3] - box[1] <= PART * usual
    top = short & (place <= (0.3 if bar else 0.4))
    # The foot of a two is closer to it than a fraction bar would be.
    foot = bar & (shared >= 0.5 * (box[3] - box[1])) & (down <= FOOT * usual)
    return bool(np.any(near & (inside | top | foot)))
