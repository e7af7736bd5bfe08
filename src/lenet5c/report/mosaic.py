"""Mosaics of small images, drawn as one large image, which is faster."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._optional import require
from lenet5c.datasets import resize
from lenet5c.report.matrix import rgb
from lenet5c.training.plot_style import DIVERGING, GREY, INK, PALE, PURPOSE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144
BAR_SIZE, BAR_ROOM = (72, 9), 48  # pixels of a color bar, and of the number to its left
Floats = NDArray[np.floating]


def to_diverging(values: Floats, limit: float) -> Floats:
    """Convert values to colors (..., 3): blue at -`limit`, white at zero, red at `limit`."""
    colors = require("matplotlib", "plots", PURPOSE).colormaps[DIVERGING]
    return np.asarray(colors(0.5 + values / (2 * (limit or 1)))[..., :3])


def find_limit(values: Floats) -> float:
    """Return the value with the full color: the largest except for some outliers."""
    return float(np.quantile(np.abs(values), 0.995)) if values.size else 1.0


def tile(cells: Floats, across: int, gap: int = 1) -> Floats:
    """Combine images (N, h, w, 3) row by row, with white gaps between them."""
    count, h, w, _ = cells.shape
    rows = -(-count // across)
    sheet = np.ones((rows * across, h + gap, w + gap, 3))
    sheet[:count, :h, :w] = cells
    grid = sheet.reshape(rows, across, h + gap, w + gap, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * (h + gap), across * (w + gap), 3)[
        : rows * (h + gap) - gap, : across * (w + gap) - gap
    ]


def to_colors(images: NDArray[np.uint8], inverted: bool) -> Floats:
    """Return images (N, C, H, W) as colors (N, H, W, 3), 0 to 1.

    Gray images are black on white if `inverted`; only the first channel is used unless there are
    three.
    """
    channels = images.shape[1]
    colors = images[:, :3] if channels in (3, 4) else images[:, :1].repeat(3, axis=1)
    values = colors.transpose(0, 2, 3, 1) / 255
    return 1 - values if inverted and channels == 1 else values


def to_bytes(colors: Floats) -> NDArray[np.uint8]:
    """Convert colors to bytes, which are drawn much faster."""
    return np.rint(255 * np.asarray(colors)).astype(np.uint8)


def shrink(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return images of at most `side` by `side` pixels."""
    height, width = images.shape[2:]
    if max(height, width) <= side:
        return images
    factor = side / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return resize(images, size)


def paste(
    sheet: NDArray[np.uint8],
    colors: Floats,
    left: int,
    top: int,
    size: tuple[int, int],
    frame: str = PALE,
) -> None:
    """Put a picture (h, w, 3) on a sheet, enlarged to `size` by repeated pixels, in a thin frame.

    The size is (height, width).
    """
    tall, wide = size
    rows, columns = (np.arange(n) * own // n for n, own in zip(size, colors.shape, strict=False))
    sheet[top - 1 : top + tall + 1, left - 1 : left + wide + 1] = to_bytes(rgb(frame))
    sheet[top : top + tall, left : left + wide] = to_bytes(colors)[rows[:, np.newaxis], columns]


def canvas(width: int, height: int) -> tuple["Figure", Any]:
    """Return a figure of this size in pixels, and axes that fill it.

    The unit is a pixel, the origin the upper left corner. Creating axes takes most of the time of a
    picture, so all images and texts of a picture share them.
    """
    figure = new_figure(width / DPI, height / DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    ax.set_axis_off()
    return figure, ax


def place(
    ax: Any,
    picture: Floats | NDArray[np.uint8],
    left: float,
    top: float,
    scale: int | tuple[int, int],
) -> None:
    """Put a picture (h, w, 3) on a canvas, with pixels of size `scale` or (h, w)."""
    tall, wide = scale if isinstance(scale, tuple) else (scale, scale)
    extent = (left, left + picture.shape[1] * wide, top + picture.shape[0] * tall, top)
    ax.imshow(picture, extent=extent, interpolation="nearest", aspect="auto")


def frames(
    ax: Any,
    left: float,
    top: float,
    scale: int,
    count: int,
    size: tuple[int, int],
    across: int,
    gap: int | tuple[int, int],
) -> None:
    """Draw a thin line around each of `count` images (h, w) placed by `tile`."""
    collections = require("matplotlib.collections", "plots", PURPOSE)
    (h, w), (down, right) = size, gap if isinstance(gap, tuple) else (gap, gap)
    y, x = np.arange(count) // across * (h + down), np.arange(count) % across * (w + right)
    corners = [np.stack([x + dx, y + dy], 1) for dx, dy in ((0, 0), (w, 0), (w, h), (0, h))]
    boxes = collections.PolyCollection(
        np.stack(corners, 1) * scale + (left, top),
        facecolors="none",
        edgecolors=PALE,
        linewidths=0.6,
    )
    ax.add_collection(boxes, autolim=False)


def color_bar(ax: Any, left: float, top: float, values: Floats, limit: float) -> None:
    """Draw the color bar of `to_diverging`, from zero or -`limit` to `limit`.

    Numbers are next to the bar, in `BAR_ROOM` pixels.
    """
    low = -1.0 if (values < 0).any() else 0.0
    wide, tall = BAR_SIZE
    middle, start = top + tall / 2, left + BAR_ROOM
    # Boxes of two pixels, and a frame: an image would take much longer.
    edges, count = np.linspace(start, start + wide, wide // 2 + 1), wide // 2
    sides = np.stack([[*edges[:-1], start], [*edges[1:], start + wide]], 1)
    corners = [
        np.stack([sides[:, x], np.full(count + 1, y)], 1)
        for x, y in ((0, top), (1, top), (1, top + tall), (0, top + tall))
    ]
    colors = np.ones((count + 1, 4))
    colors[:-1, :3] = to_diverging(np.linspace(low, 1, count), 1)
    colors[-1, 3] = 0
    lines = np.where(np.arange(count + 1)[:, None] < count, colors, (*rgb(GREY), 1))
    collections = require("matplotlib.collections", "plots", PURPOSE)
    style = {"facecolors": colors, "edgecolors": lines, "linewidths": 0.5}
    ax.add_collection(collections.PolyCollection(np.stack(corners, 1), **style), autolim=False)
    for number, x, side in ((low * limit, start - 5, "right"), (limit, start + wide + 5, "left")):
        write(ax, short(number), x, middle, ha=side, va="center", fontsize=7, color=INK)


def short(number: float) -> str:
    """Return a number with three digits, for a legend.

    Examples
    --------
    >>> from lenet5c.report.mosaic import short
    >>> short(0.12345), short(-12.34), short(0.0), short(123456.0)
    ('0.123', '−12.3', '0', '1.23e+05')
    """
    return f"{number:.3g}" if number >= 0 else f"−{-number:.3g}"


def write(ax: Any, text: str, left: float, top: float, **options: Any) -> None:
    """Write a text on a canvas with its upper left corner at (left, top)."""
    ax.text(left, top, text, **{"va": "top", "ha": "left"} | options)
