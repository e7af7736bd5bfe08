"""Digits of MNIST as large ink: enlarged as they are, or as center lines redrawn by a round pen."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lenet5c.recognition.components import find_components

#: Factor by which an image of 28 pixels is enlarged before its center line is looked for.
FINE = 4
#: Branches of a center line shorter than this share of the digit's height are no strokes.
SPUR = 0.11


def crop(ink):
    """Return the bounding box of nonzero pixels."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def enlarge(digit, pixels, unit=16):
    """Return a digit of MNIST with crisp edges, its longer side of so many pixels: uint8."""
    part = np.pad(crop(digit), 4)
    large = Image.fromarray(part).resize(
        (part.shape[1] * unit, part.shape[0] * unit), Image.Resampling.BICUBIC
    )
    large = large.filter(ImageFilter.GaussianBlur(unit * 0.35))
    large = large.point(lambda v: 255 if v >= 110 else 0)
    large = large.crop(large.getbbox())
    scale = pixels / max(large.size)
    size = tuple(max(2, round(side * scale)) for side in large.size)
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return crop(np.asarray(large.resize(size, method)))


def redraw(digit, pixels, width):
    """Return a digit of MNIST redrawn by a pen: its longer side, and the pen, in pixels."""
    strokes = trace(digit.tobytes())
    extent = np.concatenate(strokes).max(axis=0).max()
    return draw([stroke * ((pixels - width) / extent) for stroke in strokes], width)


def draw(strokes, width, taper=0.0, rng=None):
    """Draw polylines, arrays (n, 2) of x and y in pixels, with a round pen: cropped, uint8.

    With `taper` the pen presses less at the ends of a stroke, and unevenly.
    """
    fine = 8 if width < 3 else 4 if width < 12 else 2
    points = np.concatenate(strokes)
    low, high = points.min(axis=0) - width - 1, points.max(axis=0) + width + 1
    size = tuple(int(side) for side in np.ceil(high - low))
    canvas = Image.new("L", (size[0] * fine, size[1] * fine))
    brush = ImageDraw.Draw(canvas)
    for stroke in strokes:
        path = (densify(stroke, max(0.7, width / 4)) - low) * fine
        pen = np.full(len(path), width * fine / 2)
        if taper and rng is not None and len(path) > 2:
            along = np.linspace(0, 1, len(path))
            ends = np.minimum(1, 0.5 + 4 * np.minimum(along, 1 - along))
            wave = np.interp(along, np.linspace(0, 1, 5), rng.uniform(-1, 1, 5))
            pen = pen * (1 - taper * (1 - ends)) * (1 + 0.5 * taper * wave)
        for (x, y), r in zip(path, pen, strict=True):
            brush.ellipse([x - r, y - r, x + r, y + r], fill=255)
    return crop(np.asarray(canvas.resize(size, Image.Resampling.BOX)))


def densify(stroke, step):
    """Return a polyline with points at most `step` apart."""
    stroke = np.asarray(stroke, float)
    if len(stroke) < 2:
        return stroke
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
    wanted = np.linspace(0, along[-1], max(2, int(np.ceil(along[-1] / step)) + 1))
    return np.stack([np.interp(wanted, along, stroke[:, axis]) for axis in (0, 1)], axis=1)


@lru_cache(maxsize=20_000)
def has_loops(content, label):
    """Return True if the loops of an MNIST digit are open, so its center line is recognizable."""
    paper = find_components(np.pad(~_enlarge_mask(content), 1, constant_values=True))
    return int((paper.area >= FINE**2).sum()) - 1 >= {0: 1, 6: 1, 8: 2, 9: 1}.get(int(label), 0)


@lru_cache(maxsize=20_000)
def trace(content):
    """Return the center lines of a digit of MNIST, its 784 bytes: polylines from (0, 0)."""
    strokes = follow(skeletonize(_enlarge_mask(content)), SPUR * 20 * FINE)
    strokes = [calm(stroke) for stroke in strokes]
    least = np.concatenate(strokes).min(axis=0)
    return [stroke - least for stroke in strokes]


@lru_cache(maxsize=20_000)
def has_specks(content):
    """Return True if there is a dot beside an MNIST digit, which may look like a decimal point."""
    area = find_components(_enlarge_mask(content)).area
    return bool(area.min() < 0.06 * area.sum())


def _enlarge_mask(content):
    part = np.pad(crop(np.frombuffer(content, np.uint8).reshape(28, 28)), 2)
    large = Image.fromarray(part).resize(
        (part.shape[1] * FINE, part.shape[0] * FINE), Image.Resampling.BICUBIC
    )
    mask = np.asarray(large.filter(ImageFilter.GaussianBlur(FINE * 0.35))) >= 110
    return np.pad(mask, 2)


def skeletonize(mask):
    """Thin a mask to lines of one pixel: Zhang and Suen, 1984."""
    mask = mask.copy()
    while True:
        before = mask.copy()
        for first in (True, False):
            n, ne, e, se, s, sw, w, nw = (
                np.roll(mask, shift, (0, 1))
                for shift in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
            )
            ring = [n, ne, e, se, s, sw, w, nw]
            count = sum(side.astype(int) for side in ring)
            turns = sum(
                (~a & b).astype(int) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)
            )
            free = ~(n & e & s) & ~(e & s & w) if first else ~(n & e & w) & ~(n & s & w)
            mask = mask & ~((count >= 2) & (count <= 6) & (turns == 1) & free)
        if np.array_equal(mask, before):
            return mask


def follow(thin, spur):
    """Return the lines of a skeleton as polylines between ends and branches, without spurs."""
    points = {(int(x), int(y)) for y, x in np.argwhere(thin)}

    def near(point):
        x, y = point
        sides = [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
        found = [side for side in sides if side in points]
        for dx, dy in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            # A corner counts unless a side leads to it.
            if (x + dx, y + dy) in points and not {(x + dx, y), (x, y + dy)} & points:
                found.append((x + dx, y + dy))
        return found

    nodes = {point for point in points if len(near(point)) != 2}
    lines, seen = [], set()
    for node in nodes:
        for first in near(node):
            if (node, first) in seen:
                continue
            line = [node, first]
            while line[-1] not in nodes:
                line.append(next(p for p in near(line[-1]) if p != line[-2]))
            seen |= {(line[0], line[1]), (line[-1], line[-2])}
            lines.append(line)
    left = points - {point for line in lines for point in line} - nodes
    while left:  # closed loops without a branch
        line = [left.pop()]
        while step := [p for p in near(line[-1]) if p in left]:
            line.append(step[0])
            left.discard(step[0])
        lines.append([*line, line[0]])
    ends = {point for point in nodes if len(near(point)) <= 1}
    kept = [line for line in lines if len(line) > spur or not {line[0], line[-1]} & ends]
    return [np.array(line, float) for line in kept or lines or [[(0, 0), (0, 1)]]]


def calm(stroke, reach=5):
    """Smooth a polyline; its ends stay."""
    if len(stroke) < 4:
        return stroke
    closed = np.array_equal(stroke[0], stroke[-1])
    mode = "wrap" if closed else "reflect"
    reach = min(reach, len(stroke) - 2)
    inner = stroke[:-1] if closed else stroke
    padded = np.pad(
        inner, ((reach, reach), (0, 0)), mode, **({} if closed else {"reflect_type": "odd"})
    )
    kernel = np.hanning(2 * reach + 3)[1:-1]
    kernel /= kernel.sum()
    smooth = np.stack([np.convolve(padded[:, a], kernel, mode="valid") for a in (0, 1)], axis=1)
    return np.concatenate([smooth, smooth[:1]]) if closed else smooth
