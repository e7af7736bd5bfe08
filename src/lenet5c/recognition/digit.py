"""Preparation of one digit: ink extraction, and normalization to the model's format.

MNIST's format is a digit of 20 pixels in an image of 28 x 28, centered by its center of mass.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets._checks import check_size
from lenet5c.datasets.centering import BlankImageError, Box, center, crop_ink, find_box
from lenet5c.datasets.framing import MNIST, Framing
from lenet5c.datasets.resampling import resize
from lenet5c.recognition.components import find_components
from lenet5c.recognition.filters import (
    dilate,
    estimate_noise,
    find_threshold,
    grow,
    measure_stroke,
    reduce,
    smooth,
)
from lenet5c.recognition.paper import flatten_paper, measure_margin, pad_margin
from lenet5c.recognition.rules import Rule, remove_rules

#: Maximum longer side, in pixels, for ink detection; larger pictures are reduced first.
WORKING_SIDE = 640
#: Maximum longer side, in pixels, for measuring strokes.
FINE = 200
#: Minimum strength of a stroke's darkest pixel, as a fraction of full ink.
CORE = 0.55
#: Strength below which pixels do not connect components; noise in shadows exceeds the average.
FAINT = 0.15
#: Maximum size and ink of a stray dot, and its minimum distance from the digit, relative to it.
DOT, SPOT, STRAY = 0.15, 0.1, 0.2
#: Ratio of dimmest to brightest light above which differences in light ink are due to the pen.
EVEN = 0.75


@dataclass(frozen=True, eq=False)
class Ink:
    """The ink in a picture.

    Attributes
    ----------
    strength : ndarray of uint8, shape (h, w)
        0 is paper, 255 full ink.
    flat : ndarray of uint8, shape (h, w)
        The picture with its background flattened, before noise and specks are removed; paper is
        128.
    dark : bool
        True if the ink is darker than the paper.
    contrast : float
        Difference between ink and paper in gray levels, 0 to 255.
    noise : float
        Standard deviation of the paper's noise, as a fraction of the contrast.
    scale : int
        Reduction factor: picture pixels per pixel of `strength` along each axis.
    rules : tuple of Rule
        Removed lines: ruled lines, underlines, boxes.
    """

    strength: NDArray[np.uint8]
    flat: NDArray[np.uint8]
    dark: bool
    contrast: float
    noise: float
    scale: int = 1
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, eq=False)
class Digit:
    """One digit in the model's format.

    Attributes
    ----------
    image : ndarray of uint8, shape (H, W)
        0 is paper, 255 full ink.
    ink : Ink
        Ink of the whole picture.
    box : tuple of int
        (top, left, bottom, right) of the digit in picture pixels, bottom and right exclusive.
    steps : dict of ndarray of uint8
        Intermediate results by name, in order: 'gray', 'flat', 'ink', 'stroke', 'centered'.
    """

    image: NDArray[np.uint8]
    ink: Ink
    box: Box
    steps: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


def prepare_digit(
    gray: NDArray[np.uint8],
    framing: Framing = MNIST,
    size: tuple[int, int] = (28, 28),
    marks: bool = True,
) -> Digit:
    """Find the digit in a gray picture and normalize it, by default to MNIST's format.

    Parameters
    ----------
    gray : ndarray of uint8, shape (h, w)
        Dark ink on light paper or the reverse; the lighting may be uneven.
    framing : Framing, optional
        Position and size of the digit in the result, and its stroke width.
    size : (int, int), optional
        Height and width of the result.
    marks : bool, optional
        Also remove lines below, through and above the digit. If False, only ruled lines and frames
        are removed.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    BlankImageError
        If no ink is found.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.recognition import prepare_digit
    >>> gray = np.full((200, 300), 230, np.uint8)
    >>> gray[60:140, 40:50] = 30
    >>> digit = prepare_digit(gray)
    >>> digit.image.shape, digit.box, digit.ink.dark
    ((28, 28), (60, 40, 140, 50), True)
    """
    if not isinstance(framing, Framing):
        raise TypeError(f"framing must be a Framing, got {framing!r:.40}")
    size = check_size(size, WORKING_SIDE)
    ink = find_ink(gray, marks=marks)
    ink = replace(ink, strength=_drop_stray_dots(ink.strength))
    stroke = normalize_stroke(crop_ink(ink.strength), framing, size)
    image = center(stroke, framing, size)
    top, left, bottom, right = (ink.scale * n for n in find_box(ink.strength))
    height, width = gray.shape
    return Digit(
        image,
        ink,
        (top, left, min(bottom, height), min(right, width)),
        {"gray": gray, "flat": ink.flat, "ink": ink.strength, "stroke": stroke, "centered": image},
    )


def find_ink(
    gray: NDArray[np.uint8],
    working_side: int = WORKING_SIDE,
    specks: float = 0.02,
    core: float = CORE,
    marks: bool = True,
) -> Ink:
    """Find the ink in a gray picture (h, w).

    The polarity is detected, the background flattened, and noise and specks are removed. A picture
    whose longer side exceeds `working_side` is first reduced by an integer factor. Components are
    dropped if their ink is less than the fraction `specks` of the largest component's, or if no
    pixel reaches the fraction `core` of full ink. Raises `BlankImageError` if nothing stands out
    from the paper.
    """
    if not (
        isinstance(gray, np.ndarray) and gray.dtype == np.uint8 and gray.ndim == 2 and gray.size
    ):
        found = getattr(gray, "dtype", type(gray).__name__), getattr(gray, "shape", "")
        raise ValueError(f"gray must be a uint8 array of shape (h, w), got {found[0]} {found[1]}")
    scale = -(-max(gray.shape) // working_side)
    plane = reduce(gray, scale)
    signed, dark = _flatten(plane)
    for attempt in range(4):
        noise = estimate_noise(signed)
        strength = np.maximum(signed, 0.0)
        contrast = _measure_contrast(strength, noise)
        if contrast < max(6.0, 3.0 * noise):
            raise BlankImageError("there is no writing: no ink stands out from the paper")
        if noise <= 0.12 * contrast or min(plane.shape) < 32 or attempt == 3:
            break
        # Strokes are wider than noise, so smoothing preserves them.
        signed = smooth(signed)
    if not dark:
        strength /= _find_light(strength, contrast)
    relative = _relate(strength, contrast, noise)
    cleaned, rules = remove_rules((255.0 * relative + 0.5).astype(np.uint8), marks)
    if rules:
        strength[(cleaned == 0) & (relative > 0)] = 0
        # The rules may have been darker than the pen.
        contrast = _measure_contrast(strength, noise)
        if contrast < max(6.0, 3.0 * noise):
            raise BlankImageError("there is no writing, only straight lines")
        relative = _relate(strength, contrast, noise)
    kept = relative * _find_strokes(relative, specks, core)
    if not kept.any():
        raise BlankImageError("there is no writing, only specks on the paper")
    flat = np.clip(128.0 - 127.0 * signed / contrast, 0, 255).astype(np.uint8)
    strength = (255.0 * kept + 0.5).astype(np.uint8)
    return Ink(strength, flat, dark, float(contrast), float(noise / contrast), scale, tuple(rules))


def _drop_stray_dots(strength: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Remove dots far from the largest component, which would change the size of the digit."""
    parts = find_components(strength > 255 * FAINT)
    if len(parts) < 2:
        return strength
    top, left, bottom, right = parts.boxes.T
    longer, mass = np.maximum(bottom - top, right - left), parts.sum(strength)
    main = int(mass.argmax())
    size = longer[main]
    small = (longer <= DOT * size) & (mass <= SPOT * mass[main])
    # Distance between boxes, from each part to the nearest one that is not small.
    large = np.flatnonzero(~small)
    down = np.maximum(top[:, None] - bottom[large], top[large] - bottom[:, None])
    across = np.maximum(left[:, None] - right[large], left[large] - right[:, None])
    far = np.maximum(down, across).min(axis=1) > STRAY * size
    return strength * ~grow(parts.mask(small & far))


def _flatten(plane: NDArray[np.uint8]) -> tuple[NDArray[np.float32], bool]:
    """Return the signed difference of a picture from its paper, and whether its ink is dark."""
    margin = measure_margin(plane)
    if margin is None:
        return flatten_paper(plane)
    # A digit that fills the picture is padded with paper so that the background can be estimated.
    wide = 1 + max(plane.shape) // 8
    signed, dark = flatten_paper(pad_margin(plane, margin, wide))
    return signed[wide:-wide, wide:-wide], dark


def form(
    strength: NDArray[np.uint8], framing: Framing = MNIST, size: tuple[int, int] = (28, 28)
) -> NDArray[np.uint8]:
    """Crop ink (h, w), normalize its stroke width and center it; returns uint8 (H, W)."""
    return center(normalize_stroke(crop_ink(strength), framing, size), framing, size)


def normalize_stroke(
    crop: NDArray[np.uint8],
    framing: Framing = MNIST,
    size: tuple[int, int] = (28, 28),
    longer: int | None = None,
) -> NDArray[np.uint8]:
    """Adjust hairlines and broad strokes to the format's range of widths; leave others unchanged.

    The net misclassifies stroke widths that it was not trained on: at 20 pixels, a hairline becomes
    a gray shadow. `longer` is the longer side of a digit, by default that of the ink.
    """
    longer = max(crop.shape) if longer is None else longer
    if longer < max(framing.box_size(size)):
        return crop
    # Fine enough to resolve a fraction of a stroke, small enough to be fast.
    factor = -(-longer // FINE)
    crop = fine = reduce(crop, factor)
    longer //= factor
    enlarge = -(-60 // longer)
    if enlarge > 1:
        fine = resize(crop, (crop.shape[0] * enlarge, crop.shape[1] * enlarge))
    longer *= enlarge
    stroke = measure_stroke(fine >= 128)
    thickest, thinnest = framing.stroke
    usual = min(max(stroke, longer / thinnest), longer / thickest)
    radius = round(abs(usual - stroke) / 2)
    if radius == 0:
        return crop
    if usual > stroke:
        return dilate(np.pad(fine, radius), radius)
    thinner = 255 - dilate(255 - np.pad(fine, 1), radius)
    return thinner if thinner.any() else crop


def _measure_contrast(strength: NDArray[np.float32], noise: float) -> float:
    """Return the contrast: the 0.7 quantile of the ink above the noise and Otsu's threshold."""
    above = strength[strength > max(3.0 * noise, 2.0)]
    if above.size == 0:
        return 0.0
    return float(np.quantile(above[above >= find_threshold(above)], 0.7))


def _find_light(strength: NDArray[np.float32], contrast: float) -> NDArray[np.float32]:
    """Estimate the lighting of light ink, relative to `contrast`: a plane above most of the ink.

    Dark ink is compared with the paper around it, but dark paper reflects too little light for
    that.
    """
    y, x = np.nonzero(strength >= 0.3 * contrast)
    some = slice(None, None, 1 + len(y) // 10_000)
    y, x = y[some], x[some]
    height, width = strength.shape
    basis = np.stack([np.ones(len(y)), y / height - 0.5, x / width - 0.5], axis=1)
    level = strength[y, x] / contrast
    weight = np.ones(len(y))
    for _ in range(6):
        weighted = basis * weight[:, np.newaxis]
        # Regularize the slopes, which little ink determines poorly.
        normal = basis.T @ weighted + np.diag([1e-6, 20.0, 20.0])
        plane = np.linalg.solve(normal, weighted.T @ level)
        # Soft edges and noise lie below the plane.
        weight = np.where(basis @ plane > level, 0.1, 1.0)
    lit = basis @ plane
    if lit.min() > EVEN * lit.max():
        return np.ones((1, 1), np.float32)
    rows, columns = np.arange(height) / height - 0.5, np.arange(width) / width - 0.5
    light = plane[0] + plane[1] * rows[:, np.newaxis] + plane[2] * columns
    return np.clip(light, 0.4, 1.6).astype(np.float32)


def _relate(strength: NDArray[np.float32], contrast: float, noise: float) -> NDArray[np.float32]:
    """Return the strength as a fraction of full ink, 0 to 1, with the noise floor removed."""
    relative = np.minimum(strength / contrast, 1.0)
    floor = min(3.0 * noise / contrast, 0.4)
    return np.maximum(relative - floor, 0.0) / (1.0 - floor) if floor > 0 else relative


def _find_strokes(relative: NDArray[np.float32], specks: float, core: float) -> NDArray[np.bool_]:
    """Return the mask of components with a strong enough core that are not specks."""
    parts = find_components(relative > FAINT)
    if len(parts) == 0:
        return np.zeros(relative.shape, bool)
    inside = parts.labels >= 0
    peak = np.zeros(len(parts))
    np.maximum.at(peak, parts.labels[inside], relative[inside])
    mass = parts.sum(relative)
    kept = parts.mask((peak >= core) & (mass >= specks * mass.max()))
    # Include the soft edges of the strokes.
    return smooth(smooth(kept.astype(np.float32))) > 0
