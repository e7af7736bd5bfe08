"""Rejection of what cannot be a digit: by measures of the ink, and by the net's probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.framing import MNIST
from lenet5c.datasets.resampling import resize
from lenet5c.recognition.components import find_components
from lenet5c.recognition.digit import Digit, crop_ink, find_box, normalize_stroke
from lenet5c.recognition.filters import measure_stroke

#: Pixels of the longer side at which strokes are measured.
SIDE = 80


@dataclass(frozen=True)
class Measures:
    """Measures of the ink in a picture."""

    pixels: int  #: the digit's longer side, in pixels of the picture
    contrast: float  #: gray levels between ink and paper
    noise: float  #: of the paper, as a share of the contrast
    slenderness: float  #: longer side over stroke width: little of a blot, much of a tangle
    length: float  #: of all strokes, over the longer side
    parts: int  #: separate pieces of at least a twentieth of the largest
    holes: int  #: patches of paper that are enclosed by ink
    cover: float  #: share of the picture that lies in the box of the ink
    edge: float  #: share of the picture's edge that has ink
    gray: float  #: share of the ink that is neither full nor none: without clear strokes


def measure(digit: Digit) -> Measures:
    """Return the `Measures` of a `Digit`."""
    strength = digit.ink.strength
    top, left, bottom, right = find_box(strength)
    crop = crop_ink(strength)
    length, thin = 0.0, crop >= 128
    if max(crop.shape) > MNIST.stroke[1] * measure_stroke(thin):
        # A pen may be as thin as it likes: lines count as broad as the net sees them.
        length = np.count_nonzero(thin) / max(measure_stroke(thin), 1e-6) / max(crop.shape)
        crop = normalize_stroke(crop)
    scale = SIDE / max(crop.shape)
    height, width = (max(1, round(side * scale)) for side in crop.shape)
    fine = resize(crop, (height, width))
    mask = fine >= 128
    stroke = max(measure_stroke(mask), 1e-6)
    area = find_components(mask).area
    paper = find_components(np.pad(~mask, 1, constant_values=True))
    box = digit.box
    edge = np.concatenate([strength[0], strength[-1], strength[:, 0], strength[:, -1]]) >= 128
    inked = fine[fine >= 26]
    return Measures(
        pixels=max(box[2] - box[0], box[3] - box[1]),
        contrast=digit.ink.contrast,
        noise=digit.ink.noise,
        slenderness=SIDE / stroke,
        length=max(length, np.count_nonzero(mask) / stroke / SIDE),
        parts=int(np.count_nonzero(area >= 0.05 * area.max(initial=0))),
        holes=int(np.count_nonzero(paper.area >= 6)) - 1,
        cover=(bottom - top) * (right - left) / strength.size,
        edge=float(edge.mean()),
        gray=float(np.mean(inked < 180)) if inked.size else 1.0,
    )


def reject_ink(measured: Measures) -> str | None:
    """Return why the ink cannot be one digit, or None."""
    if measured.pixels < 8:
        return f"what is on it is too small for a digit: {measured.pixels} pixels"
    if measured.edge > 0.03 and not _is_clear(measured):
        return "what is on it runs out of the picture on all sides"
    if measured.noise > 0.13 or measured.gray > 0.93:
        return "there are no clear strokes on it"
    if measured.slenderness < 2.7 and measured.length < 2:
        return "what is on it is a blot, not a line"
    if measured.parts > 6 or measured.parts == 0:
        return f"it is in {measured.parts} pieces, not one digit"
    if measured.holes > 4 or measured.length > 4.6:
        return "it is full of lines, not one digit"
    return None


def _is_clear(measured: Measures) -> bool:
    """Return whether the ink is a few clear strokes in one piece: a digit may fill its picture."""
    return (
        measured.parts == 1
        and measured.holes <= 3
        and measured.length <= 3.6
        and measured.slenderness >= 3.5
        and measured.gray < 0.65
        and measured.noise < 0.08
    )


def reject_answer(
    probabilities: NDArray[np.floating],
    logits: NDArray[np.floating] | None = None,
    measured: Measures | None = None,
) -> str | None:
    """Return why the net's answer is rejected, or None.

    `logits`, with `measured`, are of the model in the package alone: its range is known.
    """
    best = float(probabilities.max())
    if best < 0.5:
        return f"the net is not sure: {best:.0%} at best"
    if logits is None or measured is None:
        return None
    if float(logits.max()) < _least_logit(measured, best):
        return "it resembles no digit"
    return None


def _least_logit(measured: Measures, best: float) -> float:
    """Return the least that the highest logit must reach, by how odd the ink is.

    Whatever the softmax makes of it, this logit is low for what resembles no class. It is over 1.7
    for 19 in 20 hard pictures of digits, and over 2 for 1 in 30 of the other things that come so
    far.
    """
    oddities = (
        (measured.edge > 0.015)
        + (measured.parts > 2)
        + (measured.length > 3.2)
        + (measured.gray > 0.75)
        + (not 3 <= measured.slenderness <= 22)
        + (best < 0.9)
    )
    least = (-3.2, -3.2, 0.5, 2.5)[min(oddities, 3)]
    if measured.edge > 0.015:
        least = max(least, 1.0 if _is_clear(measured) else 3.0)
    if measured.parts >= 2 and measured.cover > 0.3:
        least = max(least, 2.0)
    if measured.contrast < 9:
        least = max(least, 1.5)
    return least
