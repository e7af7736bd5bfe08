"""Corruptions that filter or transform an image: noise, blur, brightness and affine maps.

Each function takes float32 images (N, C, H, W) from 0 to 255, its strength and a random generator,
and returns new images, which may exceed this range. Lengths are in pixels of a 28 by 28 image;
`unit` scales them to other sizes.
"""

from collections.abc import Iterator
from math import ceil, cos, pi, sin

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Rng = np.random.Generator
#: Number of directions of motion blur, one of which is drawn for each image.
DIRECTIONS = 16
#: Thresholds of edges, relative to the largest gradient of the image; edges above LOW count if
#: they are connected to edges above HIGH.
HIGH, LOW = 0.3, 0.12


def unit(images: Images) -> float:
    """Return the length in pixels that corresponds to one pixel of a 28 by 28 image."""
    return min(images.shape[2:]) / 28


def find_paper(images: Images) -> Images:
    """Return the background color (N, C, 1, 1), the median of the border pixels."""
    rows, columns = images[:, :, [0, -1]], images[:, :, :, [0, -1]]
    n, c = images.shape[:2]
    border = np.concatenate([rows.reshape(n, c, -1), columns.reshape(n, c, -1)], axis=2)
    return np.median(border, axis=2).astype(np.float32)[..., None, None]


def find_ink(images: Images) -> Images:
    """Return a contrasting color (N, 1, 1, 1): white on a dark background, black on a light one."""
    light = find_paper(images).mean(axis=1, keepdims=True) >= 128
    return np.where(light, 0, 255).astype(np.float32)


def shot_noise(images: Images, photons: float, rng: Rng) -> Images:
    """Add shot noise, with this number of photons for white."""
    counted = rng.poisson(np.clip(images, 0, 255) * np.float32(photons / 255))
    return counted.astype(np.float32) * np.float32(255 / photons)


def impulse_noise(images: Images, share: float, rng: Rng) -> Images:
    """Set a fraction of the pixels to black or white."""
    n, _, h, w = images.shape
    drawn = rng.random((n, 1, h, w), np.float32)
    noisy = np.where(drawn < share / 2, np.float32(0), np.float32(255))
    return np.where(drawn < share, noisy, images)


def glass_blur(images: Images, strength: tuple[float, float, int], rng: Rng) -> Images:
    """Blur, repeatedly replace a fraction of the pixels by neighbors, and blur again."""
    sigma, share, times = strength
    n, c, h, w = images.shape
    most = max(1, round(unit(images)))
    blurred = gaussian(images, sigma * unit(images))
    y, x = np.arange(h)[:, None], np.arange(w)
    for _ in range(times):
        moves = rng.integers(-most, most, (2, n, h, w), np.int16, endpoint=True)
        moves[:, rng.random((n, h, w), np.float32) >= share] = 0
        rows, columns = np.clip(y + moves[0], 0, h - 1), np.clip(x + moves[1], 0, w - 1)
        place = (rows * w + columns).reshape(n, 1, h * w)
        blurred = np.take_along_axis(blurred.reshape(n, c, h * w), place, axis=2)
        blurred = blurred.reshape(n, c, h, w)
    return gaussian(blurred, sigma * unit(images))


def motion_blur(images: Images, length: float, rng: Rng) -> Images:
    """Blur along a line of this length, in a random direction."""
    drawn, out = rng.integers(0, DIRECTIONS, len(images)), np.empty_like(images)
    for number in range(DIRECTIONS):
        chosen = np.flatnonzero(drawn == number)
        if len(chosen):
            taps = _line_taps(length * unit(images), pi * number / DIRECTIONS)
            out[chosen] = _add_shifted(images[chosen], taps)
    return out


def brightness(images: Images, more: float, rng: Rng) -> Images:
    """Add a fraction of white to all pixels."""
    return images + np.float32(255 * more)


def shear(images: Images, slope: float, rng: Rng) -> Images:
    """Shear to the left or right."""
    matrices = _identities(len(images))
    matrices[:, 1, 0] = slope * _signs(len(images), rng)
    return warp(images, matrices)


def scale(images: Images, size: float, rng: Rng) -> Images:
    """Shrink the content of the image."""
    return warp(images, _identities(len(images)) / np.float32(size))


def rotate(images: Images, degrees: float, rng: Rng) -> Images:
    """Rotate to the left or right."""
    angle = pi / 180 * degrees * _signs(len(images), rng)
    matrices = _identities(len(images))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 0, 1], matrices[:, 1, 0] = np.sin(angle), -np.sin(angle)
    return warp(images, matrices)


def translate(images: Images, distance: float, rng: Rng) -> Images:
    """Translate in a random direction."""
    angle = 2 * pi * rng.random(len(images))
    moves = distance * unit(images) * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return warp(images, _identities(len(images)), moves.astype(np.float32))


def canny_edges(images: Images, rest: float, rng: Rng) -> Images:
    """Reduce the image to its Canny edges, mixed with a fraction of the image itself."""
    edges = find_edges(gaussian(images.mean(axis=1), 0.7 * unit(images)))[:, None]
    paper = find_paper(images)
    drawn = paper + (find_ink(images) - paper) * edges
    return np.asarray(rest * images + (1 - rest) * drawn, np.float32)


def find_edges(gray: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the edges of images (N, H, W), one pixel wide, by Canny's method [1]_.

    Gradients are computed with Sobel filters. A pixel belongs to an edge if its gradient is a
    maximum along its direction and above `HIGH`, or above `LOW` and connected to such a pixel.

    References
    ----------
    .. [1] J. Canny, "A computational approach to edge detection", IEEE Transactions on Pattern
       Analysis and Machine Intelligence 8 (1986), 679-698.
    """
    padded = np.pad(gray, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across, down = (padded[:, :, 2:] - padded[:, :, :-2]), (padded[:, 2:] - padded[:, :-2])
    dx = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
    dy = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
    size = np.hypot(dx, dy)
    greatest = size.max(axis=(1, 2), keepdims=True)
    around = np.pad(size, ((0, 0), (1, 1), (1, 1)))

    def neighbor(y: int, x: int) -> NDArray[np.float32]:
        return around[:, 1 + y : around.shape[1] - 1 + y, 1 + x : around.shape[2] - 1 + x]

    steep, flat = np.abs(dy) > 2.4142 * np.abs(dx), np.abs(dy) < 0.4142 * np.abs(dx)
    rising = dx * dy > 0
    peak = np.zeros(size.shape, bool)
    for which, (y, x) in (
        (flat, (0, 1)),
        (steep, (1, 0)),
        (~flat & ~steep & rising, (1, 1)),
        (~flat & ~steep & ~rising, (1, -1)),
    ):
        peak |= which & (size >= neighbor(y, x)) & (size > neighbor(-y, -x))
    weak = peak & (size > LOW * greatest)
    edges = peak & (size > HIGH * greatest)
    while True:
        near = np.pad(edges, ((0, 0), (1, 1), (1, 1)))
        near = near[:, :-2] | near[:, 1:-1] | near[:, 2:]
        grown = (near[:, :, :-2] | near[:, :, 1:-1] | near[:, :, 2:]) & weak
        if np.array_equal(grown, edges):
            return edges
        edges = grown


def gaussian(images: Images, sigma: float) -> Images:
    """Blur the last two axes, repeating the edge pixels outside the image."""
    reach = max(1, ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (-1, -2):
        before: list[tuple[int, int]] = [(0, 0)] * images.ndim
        before[axis] = (reach, reach)
        padded, length = np.pad(images, before, mode="edge"), images.shape[axis]
        views = (_slice(padded, axis, i, length) for i in range(len(weights)))
        images = sum(weight * view for weight, view in zip(weights, views, strict=True))
    return images


def warp(
    images: Images, matrices: NDArray[np.float32], moves: NDArray[np.float32] | None = None
) -> Images:
    """Sample images at ``matrix @ point - move`` for each point.

    Points are relative to the center. Values are interpolated linearly; outside the image is
    background.

    Parameters
    ----------
    images : ndarray of float32 (N, C, H, W)
    matrices : ndarray of float32 (N, 2, 2)
        Matrices for points (y, x).
    moves : ndarray of float32 (N, 2), optional
    """
    n, c, h, w = images.shape
    y = np.arange(h, dtype=np.float32)[:, None] - np.float32((h - 1) / 2)
    x = np.arange(w, dtype=np.float32) - np.float32((w - 1) / 2)
    m = matrices[:, :, :, None, None]
    v = m[:, 0, 0] * y + m[:, 0, 1] * x + np.float32((h - 1) / 2)
    u = m[:, 1, 0] * y + m[:, 1, 1] * x + np.float32((w - 1) / 2)
    if moves is not None:
        v, u = v - moves[:, 0, None, None], u - moves[:, 1, None, None]
    # A frame of background pixels for all points outside the image.
    framed = np.broadcast_to(find_paper(images), (n, c, h + 3, w + 3)).copy()
    framed[:, :, 1:-2, 1:-2] = images
    v, u = np.clip(v, -1, h) + 1, np.clip(u, -1, w) + 1
    top, left = v.astype(np.int32), u.astype(np.int32)
    v, u = (v - top.astype(np.float32))[:, None], (u - left.astype(np.float32))[:, None]
    place = (top * (w + 3) + left).reshape(n, 1, h * w)
    flat = framed.reshape(n, c, -1)

    def corner(offset: int) -> Images:
        return np.take_along_axis(flat, place + offset, axis=2).reshape(n, c, h, w)

    upper = corner(0) * (1 - u) + corner(1) * u
    lower = corner(w + 3) * (1 - u) + corner(w + 4) * u
    return np.asarray(upper * (1 - v) + lower * v, np.float32)


def _slice(images: Images, axis: int, start: int, length: int) -> Images:
    index: list[slice] = [slice(None)] * images.ndim
    index[axis] = slice(start, start + length)
    return images[tuple(index)]


def _line_taps(length: float, angle: float) -> dict[tuple[int, int], float]:
    """Return the weights of the pixels (y, x) on a line through the center."""
    count = max(2, 4 * ceil(length))
    taps: dict[tuple[int, int], float] = {}
    for i in range(count):
        along = length * ((i + 0.5) / count - 0.5)
        for place, weight in _corners(along * sin(angle), along * cos(angle)):
            taps[place] = taps.get(place, 0.0) + weight / count
    return {place: weight for place, weight in taps.items() if weight > 1e-6}


def _corners(y: float, x: float) -> Iterator[tuple[tuple[int, int], float]]:
    top, left = int(np.floor(y)), int(np.floor(x))
    for row, a in ((top, 1 - y + top), (top + 1, y - top)):
        for column, b in ((left, 1 - x + left), (left + 1, x - left)):
            yield (row, column), a * b


def _add_shifted(images: Images, taps: dict[tuple[int, int], float]) -> Images:
    h, w = images.shape[2:]
    reach = max(max(abs(y), abs(x)) for y, x in taps)
    padded = np.pad(images, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    out = np.zeros_like(images)
    for (y, x), weight in taps.items():
        out += np.float32(weight) * padded[:, :, reach + y :, reach + x :][:, :, :h, :w]
    return out


def _identities(count: int) -> NDArray[np.float32]:
    return np.tile(np.eye(2, dtype=np.float32), (count, 1, 1))


def _signs(count: int, rng: Rng) -> NDArray[np.float64]:
    return rng.choice([-1.0, 1.0], count)
