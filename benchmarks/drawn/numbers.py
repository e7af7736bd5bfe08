"""Numbers of several digits: plain, underlined, in boxes and combs, on ruled and squared paper."""

import numpy as np
from drawn.papers import Page, wobble
from drawn.pens import crop, enlarge
from PIL import Image


def number(test, rng, least=2, most=8):
    """Return (text, inks, size) of a number of MNIST digits of one size and pen."""
    count, size = int(rng.integers(least, most + 1)), int(rng.integers(36, 110))
    chosen = rng.integers(0, len(test), count)
    inks = [enlarge(test.images[j, 0], size * rng.uniform(0.9, 1.1)) for j in chosen]
    return "".join(str(test.labels[j]) for j in chosen), inks, size


def write(page, inks, size, left, base, rng, gaps=(0.1, 0.45), slope=0.0):
    """Write digits on a line from the left; return the column after the last."""
    for ink in inks:
        page.put(ink, base + slope * left + size * rng.uniform(-0.06, 0.06) - ink.shape[0], left)
        left += ink.shape[1] + size * rng.uniform(*gaps)
    return left


def _page(inks, size, rng, spare=0.6):
    width = sum(ink.shape[1] for ink in inks) + size * (spare * len(inks) + rng.uniform(1, 3))
    return Page(round(size * rng.uniform(2.4, 4)), round(width))


def plain(test, rng):
    """Draw a number on plain paper, on a line that may climb or fall."""
    text, inks, size = number(test, rng)
    page, slope = _page(inks, size, rng), rng.uniform(-0.08, 0.08)
    base = page.shape[0] / 2 + size / 2 - slope * page.shape[1] / 2
    write(page, inks, size, size * rng.uniform(0.4, 0.9), base, rng, slope=slope)
    return page.take(rng), text


def underlined(test, rng):
    """Draw a number with one or two lines below it, one in five touching digits."""
    text, inks, size = number(test, rng)
    page = _page(inks, size, rng)
    base, left = page.shape[0] / 2 + size / 2, size * rng.uniform(0.5, 0.9)
    right = write(page, inks, size, left, base, rng)
    near = rng.uniform(-0.03, 0.05) if rng.random() < 0.2 else rng.uniform(0.1, 0.3)
    width, tilt = size * rng.uniform(0.03, 0.1), size * rng.uniform(-0.06, 0.06)
    for k in range(2 if rng.random() < 0.2 else 1):
        y = base + size * (near + 0.2 * k)
        ends = (
            (left - size * rng.uniform(0, 0.4), y + tilt),
            (right + size * rng.uniform(-0.2, 0.3), y - tilt),
        )
        page.line(wobble(*ends, rng, 0.012 * size), width)
    return page.take(rng), text


def in_boxes(test, rng):
    """Draw a number in the boxes of a form, side by side or apart, printed or by hand."""
    return _in_cells(test, rng, "boxes")


def in_comb(test, rng):
    """Draw a number in a comb: a base line with short lines between the digits."""
    return _in_cells(test, rng, "comb")


def in_frame(test, rng):
    """Draw a number in one frame."""
    return _in_cells(test, rng, "frame")


def _in_cells(test, rng, kind):
    text, inks, size = number(test, rng)
    cell = size * rng.uniform(1.15, 1.7) * np.array([rng.uniform(0.85, 1.1), 1.0])
    cell[0] = max(cell[0], 1.08 * max(ink.shape[1] for ink in inks))
    apart = size * rng.uniform(0.1, 0.5) if kind == "boxes" and rng.random() < 0.5 else 0.0
    count = len(inks)
    page = Page(
        round(cell[1] + size * rng.uniform(1, 2)),
        round(count * (cell[0] + apart) + size * rng.uniform(1, 2)),
    )
    x0 = (page.shape[1] - count * cell[0] - (count - 1) * apart) / 2
    y0 = (page.shape[0] - cell[1]) / 2
    y1, printed = y0 + cell[1], rng.random() < 0.75
    width = max(1.0, size * rng.uniform(0.012, 0.05))
    lines = []
    if kind == "boxes":
        for k in range(count):
            a = x0 + k * (cell[0] + apart)
            b = a + cell[0]
            lines += [
                ((a, y0), (b, y0)),
                ((b, y0), (b, y1)),
                ((b, y1), (a, y1)),
                ((a, y1), (a, y0)),
            ]
    elif kind == "comb":
        end, tick = x0 + count * cell[0], cell[1] * rng.uniform(0.25, 0.6)
        lines.append(((x0, y1), (end, y1)))
        lines += [((x0 + k * cell[0], y1), (x0 + k * cell[0], y1 - tick)) for k in range(count + 1)]
    else:
        end = x0 + count * cell[0]
        lines += [
            ((x0, y0), (end, y0)),
            ((end, y0), (end, y1)),
            ((end, y1), (x0, y1)),
            ((x0, y1), (x0, y0)),
        ]
    for start, end in lines:
        path = [start, end] if printed else wobble(start, end, rng, 0.01 * size)
        page.line(path, width, printed=printed)
    for k, ink in enumerate(inks):
        y = (y0 + y1 - ink.shape[0]) / 2 + (cell[1] - size) * rng.uniform(-0.35, 0.35)
        x = x0 + k * (cell[0] + apart) + (cell[0] - ink.shape[1]) * rng.uniform(0.25, 0.75)
        page.put(ink, y, x)
    return page.take(rng), text


def on_squares(test, rng):
    """Draw a number on squared paper, a digit one or two squares high."""
    return _on_rules(test, rng, "squared", rng.uniform(0.45, 1.1))


def on_rules(test, rng):
    """Draw a number on ruled paper, on a line or between two."""
    return _on_rules(test, rng, "ruled", rng.uniform(0.9, 1.8))


def _on_rules(test, rng, kind, distance):
    text, inks, size = number(test, rng)
    page = _page(inks, size, rng)
    page.rule(kind, distance * size, max(1.0, size * rng.uniform(0.012, 0.035)), rng)
    base = page.shape[0] / 2 + size / 2
    write(page, inks, size, size * rng.uniform(0.4, 0.9), base, rng)
    return page.take(rng), text


def touching(test, rng):
    """Draw a number whose neighboring digits touch, or nearly."""
    return _close(test, rng, 0.0)


def overlapping(test, rng):
    """Draw a number in which each digit reaches into the last."""
    return _close(test, rng, rng.uniform(0.02, 0.1))


def _close(test, rng, share):
    text, inks, size = number(test, rng, most=6)
    page = _page(inks, size, rng)
    middle, left = page.shape[0] / 2, size * rng.uniform(0.4, 0.9)
    for ink in inks:
        top = round(middle - ink.shape[0] / 2 + size * rng.uniform(-0.08, 0.08))
        x, before = left, page.ink[top : top + ink.shape[0]] > 0.5
        firm = ink > 127
        # From the right end of what is written, to the left until ink meets ink.
        while x > 0 and before.any():
            x -= 1
            if (before[:, x : x + firm.shape[1]] & firm).any():
                break
        x -= round(share * size)
        page.put(ink, top, x)
        left = round(x + ink.shape[1])
    return page.take(rng), text


def neighboring(test, rng):
    """Draw a number in which the boxes of digits overlap by 0 to 20 % of a width, inked or not."""
    count, size = int(rng.integers(2, 7)), int(rng.integers(30, 90))
    chosen, side = rng.integers(0, len(test), count), round(28 * size / 20)
    page, left = Page(3 * size, round(1.6 * size * (count + 1))), 0.5 * size
    for j in chosen:
        # Enlarged as they are, with soft edges.
        wide = round(side * rng.uniform(0.92, 1.08))
        ink = crop(np.asarray(Image.fromarray(test.images[j, 0]).resize((wide, wide))))
        page.put(ink, 1.5 * size - ink.shape[0] / 2 + size * rng.uniform(-0.08, 0.08), left)
        left += ink.shape[1] * (1 - rng.uniform(0, 0.2))
    return page.take(rng), "".join(str(test.labels[j]) for j in chosen)


#: Part -> row -> function of (data set, generator) that returns a picture and its text.
NUMBERS = {
    "numbers": {
        "plain": plain,
        "underlined": underlined,
        "in boxes": in_boxes,
        "in a comb": in_comb,
        "in a frame": in_frame,
        "on squared paper": on_squares,
        "on ruled paper": on_rules,
    },
    "touching": {
        "ink touches": touching,
        "ink overlaps": overlapping,
        "boxes overlap by 0 to 20 %": neighboring,
    },
}
