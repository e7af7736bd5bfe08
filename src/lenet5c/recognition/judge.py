"""Rejection of non-digits, by measures of the ink and by the net's probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.centering import crop_ink, find_box
from lenet5c.datasets.framing import MNIST
from lenet5c.datasets.resampling import resize
from lenet5c.recognition.components import find_components
from lenet5c.recognition.digit import FINE, Digit, normalize_stroke
from lenet5c.recognition.filters import close, measure_stroke, reduce
from lenet5c.recognition.signs import ALONE, describe, digit_share

#: Longer side, in pixels, at which strokes are measured.
SIDE = 80
#: Radius, in pixels at the size FINE, of gaps within a stroke that are filled.
GRAIN = 2
#: Default minimum confidence of an accepted prediction.
REJECT = 0.5


@dataclass(frozen=True)
class Measures:
    """Measures of the ink in a picture."""

    pixels: int  #: longer side of the digit, in picture pixels
    contrast: float  #: difference between ink and paper in gray levels
    noise: float  #: noise of the paper, as a fraction of the contrast
    slenderness: float  #: longer side over stroke width: small for a blot, large for a tangle
    length: float  #: total stroke length over the longer side
    parts: int  #: number of components of at least a twentieth of the largest one's area
    holes: int  #: number of background regions enclosed by ink
    cover: float  #: fraction of the picture covered by the bounding box of the ink
    edge: float  #: fraction of the picture's border pixels that are ink
    gray: float  #: fraction of the ink at intermediate gray levels: high without clear strokes


def measure(digit: Digit) -> Measures:
    """Return the `Measures` of a `Digit`."""
    strength = digit.ink.strength
    top, left, bottom, right = find_box(strength)
    crop = crop_ink(strength)
    # Reduced and closed, since noise and the gaps in chalk lengthen outlines.
    length, thin = 0.0, close(reduce(crop, -(-max(crop.shape) // FINE)), GRAIN) >= 128
    if max(thin.shape) > MNIST.stroke[1] * measure_stroke(thin):
        # Thin pens are allowed, so strokes are measured at the width that the net sees.
        length = np.count_nonzero(thin) / max(measure_stroke(thin), 1e-6) / max(thin.shape)
        crop = normalize_stroke(crop)
    scale = SIDE / max(crop.shape)
    height, width = (max(1, round(side * scale)) for side in crop.shape)
    fine = close(resize(crop, (height, width)), 1)
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
    """Return the reason why the ink cannot be one digit, or None."""
    if measured.pixels < 8:
        return f"the ink is too small for a digit: {measured.pixels} pixels"
    if measured.edge > 0.03 and not _is_clear(measured):
        return "the ink extends beyond the picture on all sides"
    if measured.noise > 0.13 or measured.gray > 0.93:
        return "there are no clear strokes"
    if measured.slenderness < 2.7 and measured.length < 2:
        return "the ink is a blot without strokes"
    if measured.parts > 6 or measured.parts == 0:
        return f"the ink has {measured.parts} separate parts, not one digit"
    if measured.holes > 4 or measured.length > 4.6:
        return "the ink has too many strokes for one digit"
    return None


def _is_clear(measured: Measures) -> bool:
    """Return whether the ink is a few clear strokes, as of a digit that fills the picture."""
    return (
        1 <= measured.parts <= 2
        and measured.holes <= 3
        and measured.length <= 3.6
        and measured.slenderness >= 3.5
        and measured.gray < 0.65
        and measured.noise < 0.08
    )


def reject_answer(
    combined: NDArray[np.floating], seen: NDArray[np.floating] | None = None, reject: float = REJECT
) -> str | None:
    """Return the reason why an answer is rejected, or None.

    Parameters
    ----------
    combined : ndarray, shape (K,)
        Class probabilities; those of `weigh_digits` if `seen` is given.
    seen : ndarray, shape (20,), optional
        Probabilities that the model of `lenet5c.recognition.signs` gives the same ink; for models
        of digits only.
    reject : float, optional
        Minimum confidence, as returned by `measure_confidence`.
    """
    if measure_confidence(combined, seen) >= reject:
        return None
    best = float(combined.max())
    if seen is not None and float(digit_share(seen, ALONE)) < best:
        return describe(seen)
    return f"the net is uncertain: the most probable class has {best:.0%}"


def measure_confidence(
    combined: NDArray[np.floating], seen: NDArray[np.floating] | None = None
) -> float:
    """Return the probability that ink is a digit and that the predicted digit is right.

    The parameters are those of `reject_answer`.
    """
    share = 1.0 if seen is None else float(digit_share(seen, ALONE))
    return float(combined.max()) * share
