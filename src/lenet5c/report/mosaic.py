"""Many small images as one, because each image of its own in a figure costs as much time as a large one."""

import numpy as np

from lenet5c._optional import require
from lenet5c.datasets import Preparation
from lenet5c.report.matrix import rgb
from lenet5c.training.plot_style import BLUE, ORANGE, PALE, PURPOSE, new_figure

DPI = 144


def signed(values, limit):
    """Values as colours (..., 3): orange below zero, white at zero, blue above; `limit` has the full colour."""
    strength = np.clip(values / (limit or 1), -1, 1)[..., None]
    return np.where(strength < 0, 1 + strength * (1 - rgb(ORANGE)), 1 - strength * (1 - rgb(BLUE)))


def limit_of(values):
    """The value that gets the full colour: the largest but for some outliers."""
    return float(np.quantile(np.abs(values), 0.995)) if values.size else 1.0


def tiled(cells, across, gap=1):
    """Images (N, h, w, 3) as one, row by row, with gaps of white between them."""
    count, h, w, _ = cells.shape
    rows = -(-count // across)
    sheet = np.ones((rows * (h + gap) - gap, across * (w + gap) - gap, 3))
    for i, cell in enumerate(cells):
        y, x = i // across * (h + gap), i % across * (w + gap)
        sheet[y : y + h, x : x + w] = cell
    return sheet


def shown(images, inverted):
    """uint8 images (N, C, H, W) as people look at them, (N, H, W, 3), 0 to 1; `inverted` has ink black on white."""
    channels = images.shape[1]
    kept = images[:, :3] if channels in (3, 4) else images[:, :1].repeat(3, axis=1)
    kept = kept.transpose(0, 2, 3, 1) / 255
    return 1 - kept if inverted and channels == 1 else kept


def bounded(images, side):
    """Images that are larger than `side` are shrunk to it."""
    height, width = images.shape[2:]
    if max(height, width) <= side:
        return images
    factor = side / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return Preparation(size=size, fit="resize").fit_images(np.ascontiguousarray(images))


def canvas(width, height):
    """A figure of so many pixels, and the one axes that fills it, whose unit is the pixel and which begins at the top.

    Axes take most of the time of a picture, so that all images and texts of a picture share this one.
    """
    figure = new_figure(width / DPI, height / DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    ax.set_axis_off()
    return figure, ax


def place(ax, picture, left, top, scale):
    """Put a picture (h, w, 3) on a canvas, each of its pixels a square of `scale` pixels, or a rectangle of (h, w)."""
    tall, wide = (scale, scale) if np.isscalar(scale) else scale
    extent = (left, left + picture.shape[1] * wide, top + picture.shape[0] * tall, top)
    ax.imshow(picture, extent=extent, interpolation="nearest", aspect="auto")


def frames(ax, left, top, scale, count, size, across, gap):
    """A fine line around each of `count` images of this size (h, w) that were `tiled` and placed on a canvas."""
    collections = require("matplotlib.collections", "plots", PURPOSE)
    (h, w), (down, right) = size, (gap, gap) if np.isscalar(gap) else gap
    y, x = np.arange(count) // across * (h + down), np.arange(count) % across * (w + right)
    corners = np.stack(
        [np.stack([x + dx, y + dy], 1) for dx, dy in ((0, 0), (w, 0), (w, h), (0, h))], 1
    )
    corners = corners * scale + (left, top)
    ax.add_collection(
        collections.PolyCollection(corners, facecolors="none", edgecolors=PALE, linewidths=0.6),
        autolim=False,
    )


def write(ax, text, left, top, **options):
    """A text whose upper left corner is at (left, top) on a canvas."""
    ax.text(left, top, text, **{"va": "top", "ha": "left"} | options)
