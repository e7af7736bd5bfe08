"""Pen strokes drawn as images in the framing of MNIST's digits.

A shape consists of strokes through control points (see `lenet5c.datasets.stroke_shapes`). A
simulated writer has a slant, proportions, curvature, tremor, overshooting strokes and hooks, and a
pen: round or broad, dry or wet. Each image is drawn by one writer, with random deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.framing import MNIST

Floats = NDArray[np.float64]
#: Strokes of one shape for n images: a bool for smooth curves, and control points (n, K, 2).
Strokes = list[tuple[bool, Floats]]

SIDE = 28
#: Longer side of the ink, in pixels.
BOX = round(MNIST.box[0] * SIDE)
_MARGIN = 2  # pixels around the box for soft edges
_GRID = BOX + 2 * _MARGIN
_CHUNK = 64  # images whose planes fit in the cache
_SAMPLES = 3  # points of a stroke between two control points; at least 8 in total


def bell(rng: np.random.Generator, *shape: int) -> Floats:
    """Return sums of uniform numbers with mean 0, standard deviation 1 and magnitude up to 3.5.

    Uniform doubles come directly from the bit generator, so they are the same with any NumPy
    version.
    """
    total: Floats = rng.random((4, *shape)).sum(axis=0)
    return (total - 2) * 3**0.5


@dataclass(frozen=True, eq=False)
class Writers:
    """Properties of n writers and their pens, arrays (n,) in units of the shape's box."""

    slant: Floats  #: columns to the right for each row up
    proportion: Floats  #: logarithm of the relative width
    turn: Floats  #: radians
    loose: Floats  #: deviation of control points, lengths and positions of strokes
    tremor: Floats  #: amplitude of waves along a stroke
    bend: Floats  #: amplitude of waves across the shape
    over: Floats  #: length by which strokes overshoot or stop short
    hook: Floats  #: turn of the ends of strokes, to the left or right
    round: Floats  #: fraction by which corners are rounded
    width: Floats  #: of the pen, relative to the longer side of the shape
    broad: Floats  #: fraction by which a broad nib is thinner along its edge; 0 is a round pen
    nib: Floats  #: angle of the nib, radians
    pressure: Floats  #: change of the width along a stroke
    dry: Floats  #: fraction of the ink that is missing in places
    wet: Floats  #: contrast beyond full ink, which sharpens edges
    skip: Floats  #: probability that a stroke is interrupted

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int) -> Writers:
        """Draw writers at random."""

        def some(share: float, low: float, high: float) -> Floats:
            """Return values from low to high for a fraction of the writers, 0 for the others."""
            return (rng.random(count) < share) * (low + (high - low) * rng.random(count))

        return cls(
            slant=0.1 + 0.17 * bell(rng, count),
            proportion=0.16 * bell(rng, count),
            turn=0.05 * bell(rng, count),
            loose=0.01 + 0.035 * rng.random(count) ** 2,
            tremor=some(0.5, 0.0, 0.018),
            bend=some(0.8, 0.0, 0.06),
            over=0.045 * bell(rng, count),
            hook=some(0.35, -0.16, 0.16),
            round=some(0.7, 0.0, 1.0),
            width=np.exp(np.log(0.085) + np.log(0.23 / 0.085) * rng.random(count)),
            broad=some(0.3, 0.2, 0.65),
            nib=np.pi * rng.random(count),
            pressure=some(0.6, 0.0, 0.35),
            dry=some(0.25, 0.1, 0.6),
            wet=some(0.7, 0.0, 0.7),
            skip=some(0.12, 0.1, 0.5),
        )

    @classmethod
    def draw_type(cls, rng: np.random.Generator, count: int) -> Writers:
        """Draw writers who write like printed type: even, upright or slanted."""
        none = np.zeros(count)
        # Some are bent, like paper in a photograph.
        bent = rng.random(count) < 0.5
        return cls(
            slant=(rng.random(count) < 0.35) * 0.25 * rng.random(count) + 0.05 * bell(rng, count),
            proportion=0.15 * bell(rng, count),
            turn=0.03 * bell(rng, count),
            loose=0.002 + 0.012 * bent * rng.random(count),
            tremor=none,
            bend=0.07 * bent * rng.random(count),
            over=none,
            hook=none,
            round=none,
            width=np.exp(np.log(0.07) + np.log(0.27 / 0.07) * rng.random(count)),
            # Vertical strokes are thicker than horizontal ones, if they differ.
            broad=(rng.random(count) < 0.5) * (0.25 + 0.5 * rng.random(count)),
            nib=0.2 * bell(rng, count),
            pressure=none,
            dry=(rng.random(count) < 0.1) * 0.4 * rng.random(count),
            wet=(rng.random(count) < 0.7) * 0.7 * rng.random(count),
            skip=none,
        )

    def __len__(self) -> int:
        return len(self.slant)

    def take(self, indices: NDArray[np.integer]) -> Writers:
        """Return the writers at `indices`, which may contain duplicates."""
        return Writers(**{each.name: getattr(self, each.name)[indices] for each in fields(self)})


@lru_cache(maxsize=512)
def read_shape(text: str) -> tuple[tuple[bool, Floats], ...]:
    """Parse the text of a shape into strokes, (smooth, points (K, 2))."""
    strokes = []
    for part in text.split("|"):
        kind, *points = part.split()
        table = np.array([[float(n) for n in point.split(",")] for point in points])
        strokes.append((kind == "s", table))
    return tuple(strokes)


def repeat_shape(text: str, count: int) -> Strokes:
    """Return the strokes of a shape's text for `count` images."""
    return [(smooth, np.repeat(table[None], count, axis=0)) for smooth, table in read_shape(text)]


def draw_strokes(
    strokes: Strokes,
    writers: Writers,
    rng: np.random.Generator,
    *,
    width: tuple[float, float] | None = None,
    aspect: tuple[float, float] = (1.0, 1.0),
    turn: float = 0.0,
) -> NDArray[np.uint8]:
    """Draw a shape in n handwritings, one image for each.

    Parameters
    ----------
    strokes : list of (bool, ndarray)
        For each stroke, True if it is smooth, and its control points (n, K, 2), x and y.
    writers : Writers
        The n writers.
    rng : numpy.random.Generator
    width : (float, float), optional
        Range of the pen width relative to the longer side. Default: that of the writer.
    aspect : (float, float), optional
        Range of a factor of the width of the shape.
    turn : float, optional
        Maximum rotation in radians.

    Returns
    -------
    ndarray of uint8, shape (n, 28, 28)
        Images from 0, paper, to 255, full ink. The longer side is 20 pixels, and the center of mass
        is at the same position as in MNIST.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.strokes import Writers, draw_strokes, repeat_shape
    >>> rng = np.random.default_rng(0)
    >>> shapes = repeat_shape("l .5,0 .5,1 | l 0,.5 1,.5", 5)
    >>> images = draw_strokes(shapes, Writers.draw(rng, 5), rng)
    >>> images.shape, images.dtype
    ((5, 28, 28), dtype('uint8'))
    """
    count = len(writers)
    paths = [
        _bend(_trace(smooth, points, writers, rng), writers, rng) for smooth, points in strokes
    ]
    low, high = np.log(aspect[0]), np.log(aspect[1])
    stretch = np.exp(low + (high - low) * rng.random(count) + writers.proportion)
    angle = writers.turn + turn * (2 * rng.random(count) - 1) + 0.03 * bell(rng, count)
    slant = writers.slant + 0.04 * bell(rng, count)
    cos, sin = np.cos(angle), np.sin(angle)
    # Scaled in width, then slanted, then rotated.
    matrix = np.array([[cos * stretch, -cos * slant - sin], [sin * stretch, cos - sin * slant]])
    paths = [np.einsum("abn,nmb->nma", matrix, path) for path in paths]
    pen = writers.width * np.exp(0.08 * bell(rng, count))
    if width is not None:
        pen = width[0] + (width[1] - width[0]) * rng.random(count)
    starts = np.concatenate([path[:, :-1] for path in paths], axis=1)
    ends = np.concatenate([path[:, 1:] for path in paths], axis=1)
    thick = np.concatenate([_press(path, writers, rng) for path in paths], axis=1)
    return _ink(starts, ends, thick, pen, writers, rng)


@lru_cache(maxsize=64)
def _curve(points: int) -> tuple[Floats, Floats]:
    """Return the matrices from K control points to points of polylines and of splines.

    The splines are Catmull-Rom splines, which pass through their control points.
    """
    spans = points - 1
    t = np.linspace(0, spans, max(8, _SAMPLES * spans) + 1)
    i = np.minimum(t.astype(int), spans - 1)
    u = t - i
    rows = np.arange(len(t))
    straight = np.zeros((len(t), points))
    straight[rows, i] = 1 - u
    straight[rows, i + 1] += u
    # With a mirrored point before the first and after the last.
    longer = np.zeros((len(t), points + 2))
    for k, weight in enumerate(
        (
            -0.5 * u + u**2 - 0.5 * u**3,
            1 - 2.5 * u**2 + 1.5 * u**3,
            0.5 * u + 2 * u**2 - 1.5 * u**3,
            -0.5 * u**2 + 0.5 * u**3,
        )
    ):
        longer[rows, i + k] += weight
    smooth = longer[:, 1:-1].copy()
    smooth[:, 0] += 2 * longer[:, 0]
    smooth[:, 1] -= longer[:, 0]
    smooth[:, -1] += 2 * longer[:, -1]
    smooth[:, -2] -= longer[:, -1]
    return straight, smooth


def _trace(smooth: bool, control: Floats, writers: Writers, rng: np.random.Generator) -> Floats:
    """Return the points (n, M, 2) of one stroke for each writer."""
    count, points, _ = control.shape
    loose = writers.loose[:, None, None]
    control = control + loose * bell(rng, count, points, 2)
    # The whole stroke is scaled, rotated and shifted.
    middle = control.mean(axis=1, keepdims=True)
    angle = 1.5 * loose * bell(rng, count)[:, None, None]
    offset = control - middle
    offset = offset + angle * np.stack([-offset[..., 1], offset[..., 0]], axis=-1)
    scale = np.exp(3.0 * loose * bell(rng, count)[:, None, None])
    control = middle + scale * offset + loose * bell(rng, count, 1, 2)
    straight, curved = _curve(points)
    if smooth:
        path = curved @ control
    else:
        share = np.minimum(0.7 * writers.round, 0.7)[:, None, None]
        path = (1 - share) * (straight @ control) + share * (curved @ control)
    return path


def _bend(path: Floats, writers: Writers, rng: np.random.Generator) -> Floats:
    """Return a stroke (n, M, 2) with tremor, waves, hooks and overshooting ends."""
    count, points, _ = path.shape
    u = np.linspace(0, 1, points)
    for low, high, amplitude in ((0.5, 1.5, 1.5), (2.0, 6.0, 1.0)):
        frequency = low + (high - low) * rng.random((count, 1, 2))
        phase = rng.random((count, 1, 2))
        wave = np.sin(2 * np.pi * (frequency * u[:, None] + phase))
        path = path + amplitude * writers.tremor[:, None, None] * wave
    frequency, phase = 0.3 + 0.5 * rng.random((count, 1, 2)), rng.random((count, 1, 2))
    wave = np.sin(2 * np.pi * (frequency * path[..., ::-1] + phase))
    path = path + writers.bend[:, None, None] * wave
    for first, second, chance in ((0, 1, 0.3), (-1, -2, 0.8)):
        step = path[:, first] - path[:, second]
        length = np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-6)
        along = step / length[:, None]
        over = np.maximum(writers.over + 0.02 * bell(rng, count), -0.6 * length)
        hook = writers.hook * (rng.random(count) < chance)
        near = np.maximum((u if first else 1 - u) - 0.8, 0) / 0.2
        aside = np.stack([-along[:, 1], along[:, 0]], axis=-1) * hook[:, None]
        path = path + near[:, None] ** 2 * aside[:, None]
        path[:, first] += over[:, None] * along
    return path


def _press(path: Floats, writers: Writers, rng: np.random.Generator) -> Floats:
    """Return the relative width (n, M - 1) of each part of a stroke; 0 where the pen is lifted."""
    count, points, _ = path.shape
    step = np.diff(path, axis=1)
    direction = np.arctan2(step[..., 1], step[..., 0])
    thick = 1 - writers.broad[:, None] * (1 - np.abs(np.sin(direction - writers.nib[:, None])))
    u = np.linspace(0, 1, points - 1)
    wave = np.sin(2 * np.pi * (rng.random((count, 1)) + (0.2 + rng.random((count, 1))) * u))
    thick = thick * (1 + writers.pressure[:, None] * wave)
    at, size = rng.random((2, count, 1))
    lifted = (rng.random((count, 1)) < writers.skip[:, None]) & (
        np.abs(u - at) < 0.03 + 0.05 * size
    )
    return np.where(lifted, 0.0, thick)


def _ink(
    starts: Floats,
    ends: Floats,
    thick: Floats,
    pen: Floats,
    writers: Writers,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Draw lines (n, S, 2) of given widths as images (n, 28, 28) in the framing of MNIST."""
    count = len(starts)
    least, most = np.minimum(starts, ends), np.maximum(starts, ends)
    span = (most.max(axis=1) - least.min(axis=1)).max(axis=1)
    pen = np.minimum(pen, 0.98)
    # In units of the shape first; a nib that is thin at the ends leaves room for scaling.
    radii = (pen / (1 - pen) * np.maximum(span, 1e-6) / 2)[:, None] * thick
    lifted, edge = (thick == 0)[..., None], radii[..., None]
    low = np.where(lifted, np.inf, least - edge).min(axis=1)
    high = np.where(lifted, -np.inf, most + edge).max(axis=1)
    scale = BOX / (high - low).max(axis=1)
    sides = np.rint((high - low) * scale[:, None]).astype(int)
    first_ends, last_ends = (
        (_MARGIN + scale[:, None, None] * (each - low[:, None])).astype(np.float32)
        for each in (starts, ends)
    )
    radii = (radii * scale[:, None]).astype(np.float32)
    first = (SIDE - BOX) // 2
    soft = (0.7 + 0.6 * rng.random(count)).astype(np.float32)
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    waves = rng.random((3, count))
    inner = slice(first - _MARGIN, first + BOX + _MARGIN)
    for begin in range(0, count, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        cover = _cover(first_ends[part], last_ends[part], radii[part], soft[part])
        cover *= _dry(writers.dry[part], waves[:, part])
        cover *= (1 + writers.wet[part, None, None]).astype(np.float32)
        images[part, inner, inner] = (255 * np.minimum(cover, 1) + 0.5).astype(np.uint8)
    return place_by_mass(images, first, sides)


def _cover(
    starts: NDArray[np.float32],
    ends: NDArray[np.float32],
    radii: NDArray[np.float32],
    soft: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the coverage of each pixel by lines with round ends, (n, _GRID, _GRID), 0 to 1.

    The depth of each pixel inside the ink is computed in buffers that are reused for each line.
    """
    count = len(starts)
    middle = np.arange(_GRID, dtype=np.float32) + np.float32(0.5)
    depth, along, across = np.empty((3, count, _GRID, _GRID), np.float32)
    depth.fill(-np.inf)
    # Where the pen is lifted, the distance is large.
    radii = np.where(radii > 0, radii, -SIDE)
    step = ends - starts
    share = step / np.maximum((step * step).sum(axis=2, keepdims=True), np.float32(1e-8))
    for k in range(starts.shape[1]):
        x, y = middle - starts[:, k, :1], middle - starts[:, k, 1:]
        np.add((y * share[:, k, 1:])[:, :, None], (x * share[:, k, :1])[:, None, :], out=along)
        np.maximum(along, 0, out=along)
        np.minimum(along, 1, out=along)
        np.multiply(along, step[:, k, 0, None, None], out=across)
        np.subtract(x[:, None, :], across, out=across)
        along *= step[:, k, 1, None, None]
        np.subtract(y[:, :, None], along, out=along)
        across *= across
        along *= along
        across += along
        np.sqrt(across, out=across)
        np.subtract(radii[:, k, None, None], across, out=across)
        np.maximum(depth, across, out=depth)
    # Like downsampling with a triangle filter.
    wide = radii.max(axis=1)[:, None, None]
    soft = soft[:, None, None]
    return _edge(depth / soft) - _edge((depth - 2 * wide) / soft)


def _edge(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the integral of a triangle function on [-1, 1] up to `depth`."""
    depth = np.minimum(np.maximum(depth, -1), 1)
    return np.float32(0.5) + depth - np.float32(0.5) * depth * np.abs(depth)


def _dry(dry: Floats, waves: Floats) -> NDArray[np.float32]:
    """Return the fraction of ink left by a pen that may run dry, (n, _GRID, _GRID)."""
    shades = np.ones((len(dry), _GRID, _GRID), np.float32)
    some = dry > 0
    angle, phase, frequency = waves[:, some, None, None]
    y, x = np.mgrid[:_GRID, :_GRID] / _GRID
    across = x * np.cos(2 * np.pi * angle) + y * np.sin(2 * np.pi * angle)
    wave = np.sin(2 * np.pi * (phase + (0.3 + 2.5 * frequency) * across))
    shades[some] -= dry[some, None, None] * np.maximum(wave, 0)
    return shades


def place_by_mass(
    images: NDArray[np.uint8], first: int, sides: NDArray[np.integer]
) -> NDArray[np.uint8]:
    """Shift ink by whole pixels to the center of mass of MNIST's digits.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, H, W)
    first : int
        First row and column of the bounding box of the ink.
    sides : ndarray of int, shape (n, 2)
        Width and height of the box, which stays inside the image.

    Returns
    -------
    ndarray of uint8, shape (n, H, W)
    """
    count, *size = images.shape
    order = []
    for axis, length in enumerate(size):
        mass = images.sum(axis=2 - axis, dtype=np.int64)
        middle = (mass @ (np.arange(length) + 0.5)) / np.maximum(mass.sum(axis=1), 1)
        shift = np.floor(length * MNIST.place[axis] - middle + 0.5).astype(int)
        shift = np.clip(shift, -first, length - first - sides[:, 1 - axis])
        order.append((np.arange(length) - shift[:, None]) % length)
    rows, columns = order
    return images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def draw_texts(
    texts: Sequence[str],
    count: int,
    writers: Writers,
    rng: np.random.Generator,
    *,
    mirrored: bool = False,
    width: tuple[float, float] | None = None,
    aspect: tuple[float, float] = (1.0, 1.0),
    turn: float = 0.0,
) -> NDArray[np.uint8]:
    """Draw `count` images of shapes, each with a random text and a random writer.

    Other arguments are those of `draw_strokes`; `mirrored` exchanges left and right.
    """
    chosen = np.sort((len(texts) * rng.random(count)).astype(int))
    indices = (len(writers) * rng.random(count)).astype(int)
    parts = []
    for k, text in enumerate(texts):
        some = writers.take(indices[chosen == k])
        if not len(some):
            continue
        strokes = repeat_shape(text, len(some))
        if mirrored:
            strokes = [(smooth, points * [-1, 1]) for smooth, points in strokes]
        parts.append(draw_strokes(strokes, some, rng, width=width, aspect=aspect, turn=turn))
    return np.concatenate(parts)
