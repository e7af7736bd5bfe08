"""From a grey picture of one digit to the form of MNIST's: white on black, 28 by 28, centred by mass.

NumPy alone; reading files is `lenet5c.recognition.reader`.
"""

from dataclasses import dataclass, field

import numpy as np

from lenet5c.datasets.resampling import resize_plane
from lenet5c.errors import UserError
from lenet5c.recognition.components import components
from lenet5c.recognition.paper import flattened, noise_of, smoothed

#: Pixels on the longer side at which ink is looked for; larger pictures are reduced first.
WORKING_SIDE = 640
#: Of the ink's full strength: what a pixel needs to belong to a stroke, and what one pixel of a stroke must reach.
EDGE, CORE = 0.3, 0.55
#: What is fainter than this share joins nothing: noise is stronger in shadows than the paper's on average.
FAINT = 0.15
#: Longer side over stroke width, as MNIST's digits have it; strokes outside are thickened or thinned.
THINNEST, THICKEST = 11.0, 5.0


class BlankImageError(UserError):
    """There is no ink in the picture."""


@dataclass(frozen=True, eq=False)
class Ink:
    """What is written in a picture.

    Attributes
    ----------
    strength : ndarray of uint8, shape (h, w)
        0 is paper, 255 full ink.
    flat : ndarray of uint8, shape (h, w)
        The picture with even paper, before noise and specks were removed; 128 is the paper.
    dark : bool
        Whether the ink is darker than the paper.
    contrast : float
        Grey levels, 0 to 255, between ink and paper.
    noise : float
        Standard deviation of the paper's noise, as a share of the contrast.
    scale : int
        Pixels of the picture, on a side, to one of `strength`.
    """

    strength: np.ndarray
    flat: np.ndarray
    dark: bool
    contrast: float
    noise: float
    scale: int = 1


@dataclass(frozen=True, eq=False)
class Digit:
    """One digit in MNIST's form.

    Attributes
    ----------
    image : ndarray of uint8, shape (size, size)
    ink : Ink
        Of the whole picture.
    box : tuple of int
        (top, left, bottom, right) of the digit in pixels of the picture, bottom and right one past it.
    steps : dict of ndarray of uint8
        What was made on the way, by name, in order: 'grey', 'flat', 'ink', 'stroke', 'centred'.
    """

    image: np.ndarray
    ink: Ink
    box: tuple[int, int, int, int]
    steps: dict = field(default_factory=dict)


def prepare_digit(grey, size=28, box=20):
    """Find the digit in a grey picture and give it the form of MNIST's digits.

    Parameters
    ----------
    grey : ndarray of uint8, shape (h, w)
        Dark ink on light paper, or the reverse; the paper may be lit unevenly.
    size : int, optional
        Side of the result.
    box : int, optional
        The digit's longer side in it.

    Returns
    -------
    Digit

    Raises
    ------
    BlankImageError
        There is no ink.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.recognition.digit import prepare_digit
    >>> grey = np.full((200, 300), 230, np.uint8)
    >>> grey[60:140, 40:50] = 30
    >>> digit = prepare_digit(grey)
    >>> digit.image.shape, digit.box, digit.ink.dark
    ((28, 28), (60, 40, 140, 50), True)
    """
    ink = ink_of(grey)
    stroke = with_usual_stroke(cropped(ink.strength), box)
    image = centred(stroke, size, box)
    scale = ink.scale
    top, left, bottom, right = box_of(ink.strength)
    height, width = grey.shape
    where = (top * scale, left * scale, min(bottom * scale, height), min(right * scale, width))
    steps = {
        "grey": grey,
        "flat": ink.flat,
        "ink": ink.strength,
        "stroke": stroke,
        "centred": image,
    }
    return Digit(image, ink, where, steps)


def ink_of(grey, working_side=WORKING_SIDE, specks=0.02, core=CORE):
    """Find the ink in a grey picture: its polarity, on paper made even, without noise and specks.

    Parameters
    ----------
    grey : ndarray of uint8, shape (h, w)
    working_side : int, optional
        A longer side over this is reduced by a whole factor first.
    specks : float, optional
        Parts with less ink than this share of the largest part's are left out.
    core : float, optional
        So are those that nowhere reach this share of full ink.

    Returns
    -------
    Ink

    Raises
    ------
    BlankImageError
        Nothing stands out from the paper.
    """
    _check_grey(grey)
    scale = -(-max(grey.shape) // working_side)
    plane = reduced(grey, scale)
    signed, dark = flattened(plane)
    for attempt in range(4):
        noise = noise_of(signed)
        strength = np.maximum(signed, 0.0)
        contrast = _contrast(strength, noise)
        if contrast < max(6.0, 3.0 * noise):
            raise BlankImageError("nothing is written on it: no ink stands out from the paper")
        if noise <= 0.12 * contrast or min(plane.shape) < 32 or attempt == 3:
            break
        # A stroke is wider than a grain of noise.
        signed = smoothed(signed)
    relative = np.minimum(strength / contrast, 1.0)
    floor = min(3.0 * noise / contrast, 0.4)
    if floor > 0:
        relative = np.maximum(relative - floor, 0.0) / (1.0 - floor)
    kept = relative * _strokes(relative, specks, core)
    if not kept.any():
        raise BlankImageError("nothing is written on it: what stands out from the paper is specks")
    flat = np.clip(128.0 - 127.0 * signed / contrast, 0, 255).astype(np.uint8)
    strength = (255.0 * kept + 0.5).astype(np.uint8)
    return Ink(strength, flat, dark, float(contrast), float(noise / contrast), scale)


def centred(ink, size=28, box=20):
    """Crop the ink, scale its longer side to `box`, and put its centre of mass at the centre.

    As MNIST was made: the aspect is kept, the filter makes grey levels, and the digit is shifted by whole pixels. A
    digit whose mass lies far to one side stays as far from the centre as it takes not to be cut.

    Parameters
    ----------
    ink : ndarray of uint8, shape (h, w), or Ink
        0 is paper.
    size, box : int, optional

    Returns
    -------
    ndarray of uint8, shape (size, size)

    Raises
    ------
    BlankImageError
        There is no ink.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.recognition.digit import centred
    >>> ink = np.zeros((50, 90), np.uint8)
    >>> ink[5:45, 70:74] = 255
    >>> image = centred(ink)
    >>> np.argwhere(image.any(axis=1)).ravel()[[0, -1]], np.argwhere(image.any(axis=0)).ravel()
    (array([ 4, 23]), array([13, 14]))
    """
    crop = cropped(ink.strength if isinstance(ink, Ink) else ink)
    height, width = crop.shape
    longer = max(height, width)
    shape = tuple(max(1, (2 * side * box + longer) // (2 * longer)) for side in (height, width))
    small = resize_plane(crop, shape)
    if not small.any():
        raise BlankImageError("nothing is written on it: its ink is too faint")
    image = np.zeros((size, size), np.uint8)
    place = []
    for axis, length in enumerate(shape):
        mass = small.sum(axis=1 - axis, dtype=np.int64)
        centre = (mass @ (2 * np.arange(length) + 1)) / (2 * mass.sum())
        place.append(int(np.clip(np.floor(size / 2 - centre + 0.5), 0, size - length)))
    top, left = place
    image[top : top + shape[0], left : left + shape[1]] = small
    return image


def cropped(strength):
    """The part of a picture of ink that holds its strokes."""
    top, left, bottom, right = box_of(strength)
    return strength[top:bottom, left:right]


def box_of(strength):
    """(top, left, bottom, right) of the strokes: of what reaches a share of the strongest ink."""
    peak = strength.max() if strength.size else 0
    if peak == 0:
        raise BlankImageError("nothing is written on it")
    mask = strength >= max(1, EDGE * peak)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def with_usual_stroke(crop, box=20):
    """Thicken hairlines and thin broad strokes, as far as MNIST's digits go; others are left as they are.

    A net that has seen one kind of pen reads another through it: at 20 pixels, a hairline is a grey shadow.
    """
    height, width = crop.shape
    longer = max(height, width)
    if longer < box:
        return crop
    # Fine enough for a fraction of a stroke, small enough to be quick.
    factor = -(-longer // 200)
    crop = reduced(crop, factor)
    if max(crop.shape) < 60:
        enlarge = -(-60 // max(crop.shape))
        fine = resize_plane(crop, (crop.shape[0] * enlarge, crop.shape[1] * enlarge))
    else:
        fine = crop
    stroke = stroke_width(fine >= 128)
    longer = max(fine.shape)
    if stroke < longer / THINNEST:
        grow = (longer / THINNEST - stroke) / 2
    elif stroke > longer / THICKEST:
        grow = (longer / THICKEST - stroke) / 2
    else:
        return crop
    radius = round(abs(grow))
    if radius == 0:
        return crop
    if grow > 0:
        return dilated(np.pad(fine, radius), radius)
    thinner = 255 - dilated(255 - np.pad(fine, 1), radius)
    return thinner if thinner.any() else crop


def stroke_width(mask):
    """Mean width of the strokes of a mask in pixels: twice the area over the length of the outline."""
    padded = np.pad(mask, 1)
    area = np.count_nonzero(mask)
    edges = np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(
        padded[:, 1:] != padded[:, :-1]
    )
    # Steps along the grid overstate a slanted line; pi / 4 is right on average over its directions.
    return 2 * area / max(edges * np.pi / 4, 1)


def dilated(plane, radius):
    """The maximum over an octagon of this radius about each pixel."""
    for step in range(radius):
        wider = plane.copy()
        np.maximum(wider[1:], plane[:-1], out=wider[1:])
        np.maximum(wider[:-1], plane[1:], out=wider[:-1])
        sideways = wider.copy() if step % 2 else plane
        np.maximum(wider[:, 1:], sideways[:, :-1], out=wider[:, 1:])
        np.maximum(wider[:, :-1], sideways[:, 1:], out=wider[:, :-1])
        plane = wider
    return plane


def reduced(grey, factor):
    """Means over squares of `factor` pixels a side, rounded; what is left over below and on the right is dropped."""
    if factor == 1:
        return grey
    height, width = grey.shape
    # A strip that is narrower than the factor is reduced along its length alone.
    down, across = min(factor, height), min(factor, width)
    rows, columns = height // down, width // across
    total = np.zeros((rows, columns), np.uint32)
    for i in range(down):
        for j in range(across):
            total += grey[i : rows * down : down, j : columns * across : across]
    count = down * across
    return ((2 * total + count) // (2 * count)).astype(np.uint8)


def _contrast(strength, noise):
    """Grey levels of full ink over the paper: that of the stronger half of what is above the noise."""
    above = strength[strength > max(3.0 * noise, 2.0)]
    if above.size == 0:
        return 0.0
    threshold = _otsu(above)
    return float(np.quantile(above[above >= threshold], 0.7))


def _otsu(values):
    """The value that parts these into two classes of least variance."""
    top = values.max()
    counts, edges = np.histogram(values, bins=128, range=(0, top))
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    weighted = np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (weighted / below - (weighted[-1] - weighted) / above) ** 2
    return edges[1:][np.nanargmax(np.where((below > 0) & (above > 0), between, 0))]


def _strokes(relative, specks, core):
    """Where strokes are: what hangs together, is dark enough somewhere, and is no speck beside the largest part."""
    parts = components(relative > FAINT)
    if len(parts) == 0:
        return np.zeros(relative.shape, bool)
    inside = parts.labels >= 0
    peak = np.zeros(len(parts))
    np.maximum.at(peak, parts.labels[inside], relative[inside])
    mass = np.bincount(parts.labels[inside], relative[inside], minlength=len(parts))
    keep = (peak >= core) & (mass >= specks * mass.max())
    # With the soft edges of the strokes.
    return smoothed(smoothed(parts.mask(keep).astype(np.float32))) > 0


def _check_grey(grey):
    if (
        not isinstance(grey, np.ndarray)
        or grey.dtype != np.uint8
        or grey.ndim != 2
        or grey.size == 0
    ):
        kind = (
            f"{grey.dtype} of shape {grey.shape}"
            if isinstance(grey, np.ndarray)
            else type(grey).__name__
        )
        raise ValueError(f"grey must be a uint8 array of shape (h, w), got {kind}")
