"""Difficult single digits: on large pages, thin, cropped, broken, underlined, boxed."""

import numpy as np
from drawn.papers import Page, wobble
from drawn.pens import enlarge, redraw

from lenet5c.recognition.components import find_components

A4 = (3508, 2480)


def far_out(digit, rng, shape=None):
    """Draw a digit of 60 to 200 pixels anywhere on a clean page of 1 to 12 megapixels, uint8."""
    if shape is None:
        area, aspect = np.exp(rng.uniform(np.log(1e6), np.log(12e6))), rng.uniform(0.7, 1.42)
        shape = round(np.sqrt(area / aspect)), round(np.sqrt(area * aspect))
    ink = enlarge(digit, int(rng.integers(60, 201)))
    top, left = (int(rng.integers(0, a - b)) for a, b in zip(shape, ink.shape, strict=True))
    page = np.full(shape, 255, np.uint8)
    page[top : top + ink.shape[0], left : left + ink.shape[1]] -= ink
    return page


def on_a4(digit, rng):
    """Draw the same on an A4 page at 300 dpi."""
    return far_out(digit, rng, A4)


def thin(percent):
    """Return a function that draws a digit by a pen of this share of its height, on white."""

    def draw(digit, rng):
        pixels = int(np.exp(rng.uniform(np.log(100), np.log(800))))
        ink = redraw(digit, pixels, max(1.0, percent / 100 * pixels))
        around = [(round(pixels * rng.uniform(0.1, 1)), round(pixels * rng.uniform(0.1, 1)))] * 2
        return 255 - np.pad(ink, around)

    return draw


def cropped(digit, rng):
    """Crop a digit to its bounding box."""
    return 255 - enlarge(digit, int(rng.integers(40, 400)))


def with_a_pixel(digit, rng):
    """Crop a digit to its box with one pixel around."""
    return 255 - np.pad(enlarge(digit, int(rng.integers(40, 400))), 1)


def at_an_edge(digit, rng):
    """Draw a digit that touches one edge of the picture."""
    return _against(digit, rng, [int(rng.integers(4))])


def in_a_corner(digit, rng):
    """Draw a digit that touches two edges."""
    return _against(digit, rng, [int(rng.integers(2)), 2 + int(rng.integers(2))])


def _against(digit, rng, sides):
    pixels = int(rng.integers(40, 400))
    ink = enlarge(digit, pixels)
    free = [round(pixels * rng.uniform(0.2, 1.5)) for _ in range(4)]
    for side in sides:
        free[side] = 0
    return 255 - np.pad(ink, (tuple(free[:2]), tuple(free[2:])))


def in_pieces(least, most):
    """Return a function that draws a digit broken by gaps across its strokes."""

    def draw(digit, rng):
        small, pixels = enlarge(digit, 100), int(rng.integers(80, 400))
        wanted, points = int(rng.integers(least, most + 1)), np.argwhere(small > 127) / 100
        for _ in range(100):
            gaps = [
                (
                    *points[rng.integers(len(points))],
                    rng.uniform(0, np.pi),
                    rng.uniform(0.015, 0.035),
                )
                for _ in range(int(rng.integers(1, 2 * most)))
            ]
            area = find_components(_cut(small, 100, gaps) > 127).area
            if (area > 0.02 * area.sum()).sum() == wanted and area.min() > 0.003 * area.sum():
                break
        return 255 - np.pad(_cut(enlarge(digit, pixels), pixels, gaps), pixels // 3)

    return draw


def _cut(ink, pixels, gaps):
    """Return ink with gaps of (y, x, angle, width), in shares of `pixels`."""
    ink = ink.copy()
    y, x = (axis / pixels for axis in np.mgrid[: ink.shape[0], : ink.shape[1]])
    for cy, cx, angle, width in gaps:
        across = np.abs((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle))
        ink[(across < width / 2) & (np.hypot(x - cx, y - cy) < 0.2)] = 0
    return ink


def _on_page(digit, rng):
    """Return (page, box, pixels) of a digit near the middle of a small page."""
    pixels = int(np.exp(rng.uniform(np.log(60), np.log(400))))
    ink = enlarge(digit, pixels)
    page = Page(round(pixels * rng.uniform(1.8, 3)), round(pixels * rng.uniform(1.8, 3)))
    top, left = (
        (a - b) / 2 + pixels * rng.uniform(-0.15, 0.15)
        for a, b in zip(page.shape, ink.shape, strict=True)
    )
    page.put(ink, top, left)
    return page, (top, left, top + ink.shape[0], left + ink.shape[1]), pixels


def underlined(digit, rng):
    """Draw a digit with a line of the same pen below it, one in four touching it."""
    page, (_, left, bottom, right), pixels = _on_page(digit, rng)
    gap = pixels * (rng.uniform(-0.02, 0.03) if rng.random() < 0.25 else rng.uniform(0.06, 0.25))
    y, beyond, slope = (
        bottom + gap,
        pixels * rng.uniform(0, 0.4, 2),
        pixels * rng.uniform(-0.04, 0.04),
    )
    path = wobble((left - beyond[0], y + slope), (right + beyond[1], y - slope), rng, 0.01 * pixels)
    page.line(path, pixels * rng.uniform(0.025, 0.1))
    return page.take(rng)


def struck(digit, rng):
    """Draw a digit crossed by a printed line of ruled paper."""
    page, (top, _, bottom, _), pixels = _on_page(digit, rng)
    y = top + (bottom - top) * rng.uniform(0.1, 0.95)
    tilt = page.shape[1] * rng.uniform(-0.01, 0.01)
    width = pixels * rng.uniform(0.012, 0.04)
    page.line([(-1, y - tilt), (page.shape[1] + 1, y + tilt)], max(1, width), printed=True)
    return page.take(rng)


def boxed(digit, rng):
    """Draw a digit alone in a box, printed or drawn by the same pen."""
    page, (top, left, bottom, right), pixels = _on_page(digit, rng)
    near = pixels * rng.uniform(0.06, 0.4, 4)
    corners = np.array(
        [
            (left - near[0], top - near[1]),
            (right + near[2], top - near[1]),
            (right + near[2], bottom + near[3]),
            (left - near[0], bottom + near[3]),
        ]
    )
    printed = rng.random() < 0.5
    if not printed:
        corners += rng.normal(0, 0.012 * pixels, (4, 2))
    width = pixels * (rng.uniform(0.01, 0.04) if printed else rng.uniform(0.025, 0.08))
    for k in range(4):
        start, end = corners[k], corners[(k + 1) % 4]
        page.line(
            [start, end] if printed else wobble(start, end, rng, 0.005 * pixels), max(1, width)
        )
    return page.take(rng)


#: Part -> row -> function of (digit of MNIST, generator) that draws a picture.
SINGLES = {
    "pages": {"1 to 12 megapixels": far_out, "A4 at 300 dpi": on_a4},
    "thin": {f"stroke of {p} % of the height": thin(p) for p in (1, 1.5, 2, 3)},
    "cropped": {
        "cropped to its box": cropped,
        "one pixel around": with_a_pixel,
        "touches an edge": at_an_edge,
        "touches a corner": in_a_corner,
    },
    "pieces": {"in 2 or 3 pieces": in_pieces(2, 3), "in 4 to 8 pieces": in_pieces(4, 8)},
    "marked": {"underlined": underlined, "struck by a rule": struck, "in a box": boxed},
}
