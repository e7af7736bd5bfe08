"""Position, size and colors of the digits in a data set, measured from its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets._checks import check_choice, check_number
from lenet5c.datasets.resampling import resize

CENTERS = ("mass", "box")
#: Number of images to measure, evenly spaced in the data set.
MEASURED = 300
#: Maximum difference between colors of one data set, in gray levels.
ALIKE = 24
#: Fraction of the contrast by which thin ink of one color may be fainter.
THIN = 0.5
#: Minimum difference between ink and background, in gray levels.
MIN_CONTRAST = 24
#: Minimum fraction of images that are strokes on a plain background.
USUAL = 0.8
#: Maximum noise of a plain background, as a fraction of the contrast.
PLAIN = 0.12
#: Minimum fraction of plain border pixels if ink may fill the image.
FULL = 0.15
#: Fraction of the contrast above which a pixel counts as ink.
EDGE = 0.3
#: Ratio of longer side to stroke width; below is a blot, above are specks.
BLOT, SPECKS = 2.5, 20.0
#: Tolerance of position, as a fraction of the sides, and of scale.
TOLERANCE = 0.1
#: Minimum side of images to measure.
MIN_SIDE = 6
_FINE = 60  # image size in pixels at which strokes are measured


@dataclass(frozen=True)
class Framing:
    """Position, size and colors of the digits in a data set, by default those of MNIST.

    Parameters
    ----------
    paper, ink : tuple of int, optional
        Gray levels of the background and of full ink: one for all channels, or one for each.
    box : (float, float), optional
        Height and width to which ink is scaled, as fractions of the image.
    stretched : bool, optional
        If True, ink fills the box in both directions instead of preserving the aspect ratio.
    center : {'mass', 'box'}, optional
        The point of the ink at `place`: its center of mass, or the center of its box.
    place : (float, float), optional
        Position of that point from the top and left, as fractions of the image.
    spread : (float, float), optional
        Typical deviation of the scale from 1, and of the point from `place`.
    stroke : (float, float), optional
        Minimum and maximum ratio of the longer side of the ink to the width of its strokes.
    binary : bool, optional
        If True, all pixels are either background or full ink.
    varied : bool, optional
        If True, colors differ between images; `paper` and `ink` are those of one image.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message names it.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.datasets.framing import Framing, measure_framing
    >>> train, _ = mnist()
    >>> measure_framing(train.images) == Framing()
    True
    >>> measure_framing(255 - train.images).dark
    True
    """

    paper: tuple[int, ...] = (0,)
    ink: tuple[int, ...] = (255,)
    box: tuple[float, float] = (20 / 28, 20 / 28)
    stretched: bool = False
    center: str = "mass"
    place: tuple[float, float] = (14.5 / 28, 14.5 / 28)  # the center of pixel 14, counted from 0
    spread: tuple[float, float] = (0.05, 0.05)
    stroke: tuple[float, float] = (5.0, 11.0)
    binary: bool = False
    varied: bool = False

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("paper", "ink"):
            levels = getattr(self, name)
            if not (
                isinstance(levels, (tuple, list))
                and len(levels) in (1, 3)
                and all(type(level) is int and 0 <= level <= 255 for level in levels)
            ):
                raise ValueError(
                    f"{name} must be one or three ints from 0 to 255, got {levels!r:.60}"
                )
            put(self, name, tuple(levels))
        if len(self.paper) != len(self.ink) or self.paper == self.ink:
            raise ValueError(
                f"ink must have as many channels as paper and a different color, got {self.ink} on "
                f"{self.paper}"
            )
        for name, low, high in (
            ("box", 1e-3, 1.0),
            ("place", 0.0, 1.0),
            ("spread", 0.0, 1.0),
            ("stroke", 1.0, 100.0),
        ):
            put(self, name, _check_pair(name, getattr(self, name), low, high))
        if self.stroke[0] > self.stroke[1]:
            raise ValueError(f"stroke must be (smallest, largest), got {self.stroke}")
        check_choice("center", self.center, CENTERS)
        for name in ("stretched", "binary", "varied"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, got {getattr(self, name)!r:.40}")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Framing:
        """Create a framing from the dict returned by `to_dict`, which is not trusted."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            found = sorted(map(str, values)) if isinstance(values, dict) else values
            raise ValueError(f"values must have the keys {', '.join(sorted(names))}, got {found!r}")
        return cls(**values)

    def box_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of the box in pixels, for an image of this size."""
        height, width = (max(1, round(share * n)) for share, n in zip(self.box, size, strict=True))
        return height, width

    @property
    def dark(self) -> bool:
        """True if the ink is darker than the background."""
        return sum(self.ink) < sum(self.paper)

    def color(self, strength: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
        """Convert ink, uint8 (h, w), to an image (C, h, w) in the colors of the data."""
        if self.binary:
            strength = np.where(strength >= 128, np.uint8(255), np.uint8(0))
        share = strength.astype(np.int32)
        planes = [
            (510 * paper + 2 * (ink - paper) * share + 255) // 510
            for paper, ink in zip(self.paper, self.ink, strict=True)
        ]
        made = np.stack(planes).astype(np.uint8)
        return made if len(made) == channels else np.repeat(made[:1], channels, axis=0)

    def matches(self, image: NDArray[np.uint8]) -> bool:
        """Return True if an image (C, h, w) matches this framing in color, size and position."""
        sample = image[np.newaxis]
        paper = np.median(_take_ring(sample), axis=2)
        if not self.varied:
            paper = np.broadcast_to(np.array(self.paper, np.float32), paper.shape)
        full = not self.varied and max(self.box) > 0.9
        strength, ink, rough = _find_strength(sample, paper, FULL if full else 0.5)
        most = PLAIN * np.abs(ink - paper).max()
        if rough[0] > (most if self.varied else min(most, ALIKE / 2)):
            return False
        if not (self.varied or _is_near(ink, np.array(self.ink), paper)):
            return False
        found, sides = _measure_ink(strength), np.array(image.shape[1:])
        point = found.mass if self.center == "mass" else found.middle
        off = (
            np.abs(point / sides - self.place).max(),
            _deviate(found, np.array(self.box) * sides, self.stretched),
        )
        return bool(off[0] <= self.spread[1] + TOLERANCE and off[1] <= self.spread[0] + TOLERANCE)


def measure_framing(images: Any, known: Framing | None = None) -> Framing | None:
    """Measure the framing of the digits in images.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, C, H, W)
        Or an object that returns such arrays for arrays of indices; a few hundred images are used.
    known : Framing, optional
        A framing to return if most of the images match it.

    Returns
    -------
    Framing or None
        None if the images are not strokes on a plain background. A result close to MNIST's framing
        is replaced by it.
    """
    places = np.linspace(0, len(images) - 1, min(MEASURED, len(images)))
    sample = np.asarray(images[np.unique(places.astype(np.int64))])
    if known and np.mean([known.matches(image) for image in sample]) >= USUAL:
        return known
    if min(sample.shape[2:]) < MIN_SIDE or sample.shape[1] not in (1, 3):
        return None
    paper = np.median(_take_ring(sample), axis=2)
    usual = np.median(paper, axis=0)
    same = bool(np.mean(_is_near(paper, usual)) >= USUAL)
    if same:
        # Ink may fill the border of some images.
        paper = np.broadcast_to(usual, paper.shape)
    strength, ink, rough = _find_strength(sample, paper, FULL if same else 0.5)
    contrast = np.abs(ink - paper).max(axis=1)
    plain = (contrast >= MIN_CONTRAST) & (rough <= PLAIN * contrast)
    if np.mean(plain) < USUAL:
        return None
    strength, ink, paper = strength[plain], ink[plain], paper[plain]
    found = _measure_ink(strength)
    stroke = _measure_strokes(strength, found)
    if not BLOT <= np.median(stroke) <= SPECKS:
        return None
    same = same and bool(np.mean(_is_near(ink, np.median(ink, axis=0), paper)) >= USUAL)
    made = Framing(
        **_describe_colors(paper, ink, same),
        **_describe_place(found, np.array(sample.shape[2:])),
        stroke=_round(np.clip(np.quantile(stroke, [0.05, 0.95]), 1, 100)),
        binary=bool(np.mean((strength > 0.1) & (strength < 0.9)) < 0.03 * np.mean(strength > 0.1)),
    )
    return MNIST if sample.shape[2:] == (28, 28) and _is_like_mnist(made) else made


@dataclass(frozen=True, eq=False)
class _Ink:
    """Ink of images: sides of its box (N, 2) and its center points (N, 2), in pixels."""

    sides: NDArray[np.int64]
    middle: NDArray[np.float64]
    mass: NDArray[np.float64]


def _take_ring(sample: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the border pixels of images (N, C, H, W) as (N, C, pixels)."""
    edges = sample[:, :, 0], sample[:, :, -1], sample[..., 0], sample[..., -1]
    return np.concatenate(edges, axis=2)


def _is_near(
    colors: NDArray[Any], usual: NDArray[Any], paper: NDArray[Any] | None = None
) -> NDArray[np.bool_]:
    """Return a mask of the colors (N, C) close to `usual`; thin ink on `paper` may be fainter."""
    most = ALIKE if paper is None else THIN * np.abs(usual - paper).max(axis=1)
    return np.abs(colors - usual).max(axis=1) <= most


def _find_strength(
    sample: NDArray[np.uint8], paper: NDArray[Any], share: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Return the ink intensity of each pixel, the ink color, and the background roughness.

    Intensities (N, H, W) are from 0, the paper (N, C), to 1, full ink; colors are (N, C). The
    fraction `share` of the border pixels is within the roughness (N,) of the paper, in gray levels.
    """
    distance = sample - paper[..., np.newaxis, np.newaxis].astype(np.float32)
    far = np.abs(distance).max(axis=1)
    contrast = np.quantile(far, 0.995, axis=(1, 2))
    core = far >= 0.95 * contrast[:, np.newaxis, np.newaxis]
    ink = np.einsum("nchw,nhw->nc", sample, core, dtype=np.float64)
    ink /= core.sum(axis=(1, 2))[:, np.newaxis]
    axis = ink - paper
    length = np.maximum((axis**2).sum(axis=1), 1)
    strength = np.einsum("nchw,nc->nhw", distance, axis / length[:, np.newaxis])
    rough = np.quantile(np.abs(_take_ring(distance)).max(axis=1), share, axis=1)
    return np.clip(strength, 0, 1).astype(np.float32), ink, rough


def _measure_ink(strength: NDArray[np.float32]) -> _Ink:
    mask = strength >= EDGE
    mass = np.where(strength > 0.1, strength, 0)
    ends, centers = [], []
    for axis in (2, 1):
        line: Any = mask.any(axis=axis)
        weight = mass.sum(axis=axis, dtype=np.float64)
        length = line.shape[1]
        ends.append((line.argmax(axis=1), length - line[:, ::-1].argmax(axis=1)))
        centers.append(np.einsum("nl,l->n", weight, np.arange(length) + 0.5))
        centers[-1] /= np.maximum(weight.sum(axis=1), 1e-9)
    first, last = (np.stack(each, axis=1) for each in zip(*ends, strict=True))
    return _Ink(last - first, (first + last) / 2, np.stack(centers, axis=1))


def _measure_strokes(strength: NDArray[np.float32], found: _Ink) -> NDArray[np.float64]:
    """Return the ratio of longer side to mean stroke width for some of the images."""
    some = slice(None, None, max(1, len(strength) // 150))
    levels = (255 * strength[some] + 0.5).astype(np.uint8)
    enlarge = -(-_FINE // max(levels.shape[1:]))
    fine = resize(levels, (enlarge * levels.shape[1], enlarge * levels.shape[2]))
    mask = np.pad(fine >= 128, ((0, 0), (1, 1), (1, 1)))
    edges = sum(np.diff(mask, axis=axis).sum(axis=(1, 2)) for axis in (1, 2))
    # Like measure_stroke of lenet5c.recognition, for all images at once.
    width = 2 * mask.sum(axis=(1, 2)) / np.maximum(edges * np.pi / 4, 1)
    return enlarge * found.sides[some].max(axis=1) / np.maximum(width, 1e-6)


def _describe_colors(paper: NDArray[Any], ink: NDArray[Any], same: bool) -> dict[str, Any]:
    if same:
        chosen = np.median(paper, axis=0), np.median(ink, axis=0)
    else:
        # An image whose ink is clearly visible.
        order = np.argsort(np.abs(ink - paper).max(axis=1), kind="stable")
        i = order[3 * len(order) // 4]
        chosen = paper[i], ink[i]
    colors = [tuple(map(int, np.rint(color))) for color in chosen]
    if all(len(set(color)) == 1 for color in colors):
        colors = [color[:1] for color in colors]
    return {"paper": colors[0], "ink": colors[1], "varied": not same}


def _describe_place(found: _Ink, sides: NDArray[np.int64]) -> dict[str, Any]:
    longer = found.sides.max(axis=1)
    usual, most = np.median(found.sides, axis=0), np.quantile(found.sides, 0.98, axis=0)
    vary = _vary(found.sides)
    stretched = bool((vary <= np.maximum(1, 0.15 * usual)).all())
    if stretched:
        box = usual
    elif _vary(longer) <= vary.min():
        box = np.repeat(np.median(longer), 2)
    else:  # height or width is constant
        box = np.where(vary == vary.min(), usual, most)
    box = np.minimum(box, sides)
    center, point = min(
        (("mass", found.mass), ("box", found.middle)), key=lambda each: _vary(each[1]).sum()
    )
    place = np.median(point, axis=0)
    off = np.abs(point - place) / sides
    spread = np.quantile(_deviate(found, box, stretched), 0.95), np.quantile(off.max(axis=1), 0.95)
    return {
        "box": _round(box / sides),
        "stretched": stretched,
        "center": center,
        "place": _round(place / sides),
        "spread": _round(np.minimum(spread, 1)),
    }


def _deviate(found: _Ink, box: NDArray[Any], stretched: bool) -> NDArray[np.float64]:
    """Return the deviation from 1 of the factor that scales the ink of each image to the box."""
    factors = box / np.maximum(found.sides, 1)
    if stretched:
        return np.abs(factors - 1).max(axis=1)
    return np.abs(factors.min(axis=1) - 1)


def _vary(values: NDArray[Any]) -> Any:
    """Return the range of the middle four fifths of values (N, ...)."""
    low, high = np.quantile(values, [0.1, 0.9], axis=0)
    return high - low


def _round(pair: Any) -> tuple[float, float]:
    return tuple(round(float(value), 4) for value in pair)  # type: ignore[return-value]


def _is_like_mnist(made: Framing) -> bool:
    if made.paper[0] > 8 or made.ink[0] < 240 or len(made.paper) > 1:
        return False
    if made.stretched or made.binary or made.varied or made.center != "mass":
        return False
    off = np.abs([*np.subtract(made.box, 20 / 28), *np.subtract(made.place, 14.5 / 28)]) * 28
    return bool(off.max() <= 1.0)


def _check_pair(name: str, pair: Any, low: float, high: float) -> tuple[float, float]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"{name} must be a pair of numbers, got {pair!r:.60}")
    first, second = (check_number(name, value) for value in pair)
    if not (low <= first <= high and low <= second <= high):
        raise ValueError(f"{name} must be two numbers from {low:g} to {high:g}, got {pair!r}")
    return first, second


MNIST = Framing()
