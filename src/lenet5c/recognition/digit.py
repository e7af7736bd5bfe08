"""One digit in a gray picture, brought to a form: MNIST's is 20 of 28 pixels, centered by mass."""

from dataclasses import dataclass, field

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
    measure_stroke,
    reduce,
    smooth,
)
from lenet5c.recognition.paper import flatten_paper, measure_margin, pad_margin
from lenet5c.recognition.rules import Rule, remove_rules

#: Pixels on the longer side at which ink is looked for; larger pictures are reduced first.
WORKING_SIDE = 640
#: Pixels on the longer side at which strokes are measured, at most.
FINE = 200
#: Share of full ink that a stroke's strongest pixel has at least.
CORE = 0.55
#: Fainter pixels join nothing: noise is stronger in shadows than the paper's on average.
FAINT = 0.15
#: Share of the brightest light on light ink, from which the faintest is due to the pen.
EVEN = 0.75


@dataclass(frozen=True, eq=False)
class Ink:
    """The ink in a picture.

    Attributes
    ----------
    strength : ndarray of uint8, shape (h, w)
        0 is paper, 255 full ink.
    flat : ndarray of uint8, shape (h, w)
        The picture with even paper, before noise and specks were removed; 128 is the paper.
    dark : bool
        Whether the ink is darker than the paper.
    contrast : float
        Gray levels, 0 to 255, between ink and paper.
    noise : float
        Standard deviation of the paper's noise, as a share of the contrast.
    scale : int
        Pixels of the picture, on a side, to one of `strength`.
    rules : tuple of Rule
        Lines that were taken out: of the paper, underlines, boxes.
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
    """One digit in a form.

    Attributes
    ----------
    image : ndarray of uint8, shape (H, W)
        0 is paper, 255 full ink.
    ink : Ink
        Of the whole picture.
    box : tuple of int
        (top, left, bottom, right) of the digit in pixels of the picture, bottom and right one past
        it.
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
    """Find the digit in a gray picture and bring it to a form, by default that of MNIST's digits.

    Parameters
    ----------
    gray : ndarray of uint8, shape (h, w)
        Dark ink on light paper, or the reverse; the paper may be lit unevenly.
    framing : Framing, optional
        Place and size of the digit in the result, and the width of its strokes.
    size : (int, int), optional
        Height and width of the result.
    marks : bool, optional
        Take out lines below, through and above the digit, too, not the paper's and frames alone.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    BlankImageError
        If there is no ink.

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
    """Find the ink in a gray picture (h, w): its polarity, on even paper, without noise and specks.

    A longer side over `working_side` is reduced by a whole factor first. Components are left out
    that have less ink than the share `specks` of the largest one's, or nowhere reach the share
    `core` of full ink. A BlankImageError says that nothing stands out from the paper.
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
        # A stroke is wider than a grain of noise.
        signed = smooth(signed)
    if not dark:
        strength /= _find_light(strength, contrast)
    relative = _relate(strength, contrast, noise)
    cleaned, rules = remove_rules((255.0 * relative + 0.5).astype(np.uint8), marks)
    if rules:
        strength[(cleaned == 0) & (relative > 0)] = 0
        # The rules may be darker than the pen.
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


def _flatten(plane: NDArray[np.uint8]) -> tuple[NDArray[np.float32], bool]:
    """Return a picture's distance from its paper, and whether its ink is dark."""
    margin = measure_margin(plane)
    if margin is None:
        return flatten_paper(plane)
    # A digit that fills the picture gets paper around it, to tell the paper by.
    wide = 1 + max(plane.shape) // 8
    signed, dark = flatten_paper(pad_margin(plane, margin, wide))
    return signed[wide:-wide, wide:-wide], dark


def form(
    strength: NDArray[np.uint8], framing: Framing = MNIST, size: tuple[int, int] = (28, 28)
) -> NDArray[np.uint8]:
    """Return ink (h, w) cropped, with strokes of usual width, and centered: uint8 (H, W)."""
    return center(normalize_stroke(crop_ink(strength), framing, size), framing, size)


def normalize_stroke(
    crop: NDArray[np.uint8],
    framing: Framing = MNIST,
    size: tuple[int, int] = (28, 28),
    longer: int | None = None,
) -> NDArray[np.uint8]:
    """Thicken hairlines and thin broad strokes to the form's range; others stay as they are.

    A net misreads a pen that it has not seen: at 20 pixels, a hairline is a gray shadow. `longer`
    is the longer side of a digit, by default that of the ink.
    """
    longer = max(crop.shape) if longer is None else longer
    if longer < max(framing.box_size(size)):
        return crop
    # Fine enough for a fraction of a stroke, small enough to be quick.
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
    """Return the gray levels of the stronger half of what is above the noise."""
    above = strength[strength > max(3.0 * noise, 2.0)]
    if above.size == 0:
        return 0.0
    return float(np.quantile(above[above >= find_threshold(above)], 0.7))


def _find_light(strength: NDArray[np.float32], contrast: float) -> NDArray[np.float32]:
    """Return the light on light ink, 1 where it has the contrast: a plane above most of the ink.

    Dark ink is compared with the paper around it; of dark paper, too little light comes back.
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
        # Little ink tells little of the slope.
        normal = basis.T @ weighted + np.diag([1e-6, 20.0, 20.0])
        plane = np.linalg.solve(normal, weighted.T @ level)
        # Soft edges and noise are below.
        weight = np.where(basis @ plane > level, 0.1, 1.0)
    lit = basis @ plane
    if lit.min() > EVEN * lit.max():
        return np.ones((1, 1), np.float32)
    rows, columns = np.arange(height) / height - 0.5, np.arange(width) / width - 0.5
    light = plane[0] + plane[1] * rows[:, np.newaxis] + plane[2] * columns
    return np.clip(light, 0.4, 1.6).astype(np.float32)


def _relate(strength: NDArray[np.float32], contrast: float, noise: float) -> NDArray[np.float32]:
    """Return the share of full ink, 0 to 1, without what noise may be."""
    relative = np.minimum(strength / contrast, 1.0)
    floor = min(3.0 * noise / contrast, 0.4)
    return np.maximum(relative - floor, 0.0) / (1.0 - floor) if floor > 0 else relative


def _find_strokes(relative: NDArray[np.float32], specks: float, core: float) -> NDArray[np.bool_]:
    """Return the mask of components that are dark enough somewhere and large beside the largest."""
    parts = find_components(relative > FAINT)
    if len(parts) == 0:
        return np.zeros(relative.shape, bool)
    inside = parts.labels >= 0
    peak = np.zeros(len(parts))
    np.maximum.at(peak, parts.labels[inside], relative[inside])
    mass = parts.sum(relative)
    kept = parts.mask((peak >= core) & (mass >= specks * mass.max()))
    # With the soft edges of the strokes.
    return smooth(smooth(kept.astype(np.float32))) > 0
