"""Corruptions drawn over an image: stripes, fog, spatter and lines.

Arguments and results are those of `corruption_filters`. The overlay has the color of ink: white on
a dark background, black on a light one.
"""

from math import pi

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.corruption_filters import Images, Rng, find_ink, unit

#: Distance between the dots of a dotted line, in dot radii.
GAP = 3.4
#: Wavelength and height of a zigzag line, in pixels of a 28 by 28 image.
WAVE, AMPLITUDE = (6.0, 10.0), (1.5, 3.5)


def stripe(images: Images, share: float, rng: Rng) -> Images:
    """Invert a band of this fraction of the width on each side."""
    w = images.shape[3]
    width = max(1, round(share * w))
    out = images.copy()
    for band in (slice(0, width), slice(w - width, w)):
        out[..., band] = 255 - images[..., band]
    return out


def fog(images: Images, density: float, rng: Rng) -> Images:
    """Overlay clouds, light on a dark background and dark on a light one."""
    clouds = draw_clouds(images, rng, octaves=4)
    clouds -= clouds.min(axis=(1, 2), keepdims=True)
    clouds /= np.maximum(clouds.max(axis=(1, 2), keepdims=True), 1e-6)
    cover = np.float32(density) * clouds[:, None]
    return (images + find_ink(images) * cover) / (1 + cover)


def spatter(images: Images, share: float, rng: Rng) -> Images:
    """Cover a fraction of the image with drops."""
    h, w = images.shape[2:]
    side = max(3, round(10 * min(h, w) / 28 / unit(images)))
    drops = _enlarge(rng.standard_normal((len(images), side, side), np.float32), (h, w))
    edge = np.quantile(drops.reshape(len(images), -1), 1 - share, axis=1)
    cover = np.clip((drops - edge[:, None, None].astype(np.float32)) * 4 + 0.5, 0, 1)
    return _paint(images, cover)


def dotted_line(images: Images, strength: tuple[int, float], rng: Rng) -> Images:
    """Draw a number of dotted lines with dots of this radius across the image."""
    lines, radius = strength
    reach = radius * unit(images)
    cover = np.zeros((len(images), *images.shape[2:]), np.float32)
    for _ in range(lines):
        along, beside = _lay_line(images, rng)
        phase = rng.random((len(images), 1, 1), np.float32)
        step = np.float32(GAP * reach)
        along = (along / step + phase) % 1 - np.float32(0.5)
        distance = np.hypot(along * step, beside)
        np.maximum(cover, np.clip(np.float32(reach + 0.5) - distance, 0, 1), out=cover)
    return _paint(images, cover)


def zigzag(images: Images, strength: tuple[int, float], rng: Rng) -> Images:
    """Draw a number of zigzag lines of this width across the image."""
    lines, width = strength
    cover = np.zeros((len(images), *images.shape[2:]), np.float32)
    for _ in range(lines):
        along, beside = _lay_line(images, rng)
        wave, height, phase = (
            rng.uniform(low, high, (len(images), 1, 1)).astype(np.float32)
            for low, high in (WAVE, AMPLITUDE, (0, 1))
        )
        wave, height = wave * np.float32(unit(images)), height * np.float32(unit(images))
        saw = np.abs((along / wave + phase) % 1 - np.float32(0.5)) * 4 - 1
        # Measured across the line only, a steep stroke would be too wide.
        slope = 4 * height / wave
        distance = np.abs(beside - height * saw) / np.sqrt(1 + slope * slope)
        half = np.float32(width * unit(images) / 2)
        np.maximum(cover, np.clip(half + np.float32(0.5) - distance, 0, 1), out=cover)
    return _paint(images, cover)


def draw_clouds(images: Images, rng: Rng, octaves: int) -> NDArray[np.float32]:
    """Return clouds (N, H, W): random numbers on grids, each twice as fine and half as strong."""
    h, w = images.shape[2:]
    clouds = np.zeros((len(images), h, w), np.float32)
    for octave in range(octaves):
        side = 2 ** (octave + 1) + 1
        grid = rng.random((len(images), side, side), np.float32)
        clouds += _enlarge(grid, (h, w)) * np.float32(0.5**octave)
    return clouds


def _enlarge(grid: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate values on a grid (N, h, w), aligned at the corners, smoothly to all pixels."""
    rows, columns = (
        _weights(length, side) for length, side in zip(size, grid.shape[1:], strict=True)
    )
    return np.asarray(rows @ grid @ columns.T, np.float32)


def _weights(length: int, side: int) -> NDArray[np.float32]:
    place = np.linspace(0, side - 1, length)
    first = np.minimum(place.astype(int), side - 2)
    share = place - first
    share = share * share * (3 - 2 * share)
    weights = np.zeros((length, side), np.float32)
    weights[np.arange(length), first] = 1 - share
    weights[np.arange(length), first + 1] = share
    return weights


def _lay_line(images: Images, rng: Rng) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the position of each pixel along a random line (N, H, W), and its distance from it.

    The line passes near the center.
    """
    n, _, h, w = images.shape
    angle = pi * rng.random((n, 1, 1))
    across, down = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    away = rng.uniform(-0.25, 0.25, (n, 1, 1)).astype(np.float32) * np.float32(min(h, w))
    y = np.arange(h, dtype=np.float32)[:, None] - np.float32((h - 1) / 2)
    x = np.arange(w, dtype=np.float32) - np.float32((w - 1) / 2)
    return across * x + down * y, across * y - down * x + away


def _paint(images: Images, cover: NDArray[np.float32]) -> Images:
    """Draw ink with opacity `cover` (N, H, W)."""
    return images + (find_ink(images) - images) * cover[:, None]
