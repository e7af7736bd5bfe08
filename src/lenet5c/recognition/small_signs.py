"""Points, commas and bars among digits: ink that is parted from the rest before digits are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.components import Components, find_components
from lenet5c.recognition.filters import grow, measure_stroke
from lenet5c.recognition.pieces import FAINT, FIRM, Piece

#: Shares of the usual digit's height: longer side of a small sign, and height of a bar, at most.
SMALL, BAR = 0.42, 0.35
#: Width over height of a bar, at least.
FLAT = 2.0
#: Distance below which a small part belongs to a digit: beside its top, as the flag of a five does,
#: and below it.
NEAR, FOOT = 0.15, 0.07
#: Width of such a part at most.
PART = 0.85
#: Share of a stroke's width below which ink may be a speck, and is one: points are lighter than
#: strokes.
SPECK, NOTHING = 0.4, 0.18
#: How many thin points there are at most, where they are no noise.
FEW = 4
#: Probability that a small sign is a speck, by its shorter side as a share of a stroke's width;
#: that of faint ones, of those beside a digit's strokes, and of those where rules were taken out.
DOUBT = ((0.1, 0.97), (0.18, 0.6), (0.4, 0.15), (0.41, 0.02))
FAINT_ONES, BESIDE, RULED = 0.15, 0.15, 0.7
#: Share of the width of a stroke that a bar's height has at least to tell the pen of the signs.
BAR_STROKE = 0.2


def part_small_signs(strength: NDArray[np.uint8]) -> tuple[list[Piece], NDArray[np.uint8]]:
    """Return the pieces of ink that are points, commas or bars, and the ink of all that is large.

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
    # Of a narrow bar most is soft edge.
    faint = mean < np.where(bar, 0.7, 1.0) * FAINT * np.median(mean[large])
    # What is thinner than the pen is a speck, or the rest of a rule.
    pen = measure_stroke(parts.mask(large))
    least = np.full(len(parts), SPECK * pen)
    least[bar] = 0.5 * SPECK * pen
    # The dots of a division sign may be of a thinner pen than the digits.
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
    # Specks are gone, too: read as points, they would make a sum of noise.
    rest[grow(parts.mask(alone)) & ~parts.mask(~alone)] = 0
    return pieces, rest


def weigh_specks(pieces: Sequence[Piece], ruled: bool) -> NDArray[np.float64]:
    """Return the probability of each piece that it is a speck, or the rest of a digit or a rule.

    That of what is large is 0. `ruled` tells that lines of the paper have been taken out, and may
    have broken digits.
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
    """Return the height of the usual digit, by what is high and no bar."""
    height, width = (parts.boxes[:, 2 + axis] - parts.boxes[:, axis] for axis in (0, 1))
    upright = height[(width < FLAT * height) & (parts.area >= 12)]
    if len(upright) == 0:
        return 0.0
    return float(np.median(upright[upright >= 0.5 * np.quantile(upright, 0.8)]))


def _belongs(box: NDArray[np.int64], large: NDArray[np.int64], usual: float, bar: bool) -> bool:
    """Return whether a small part is one of a large one: beside its upper half, or inside it."""
    down = np.maximum(np.maximum(large[:, 0] - box[2], box[0] - large[:, 2]), 0)
    aside = np.maximum(np.maximum(large[:, 1] - box[3], box[1] - large[:, 3]), 0)
    center = (box[:2] + box[2:]) / 2
    place = (center[0] - large[:, 0]) / (large[:, 2] - large[:, 0])
    shared = np.minimum(large[:, 3], box[3]) - np.maximum(large[:, 1], box[1])
    inside = (shared >= 0.6 * (box[3] - box[1])) & (place > 0.05) & (place < 0.75)
    near = np.hypot(down, aside) <= NEAR * usual
    # What is longer is a fraction bar.
    short = box[3] - box[1] <= PART * usual
    top = short & (place <= (0.3 if bar else 0.4))
    # The foot of a two is nearer than a fraction bar.
    foot = bar & (shared >= 0.5 * (box[3] - box[1])) & (down <= FOOT * usual)
    return bool(np.any(near & (inside | top | foot)))
