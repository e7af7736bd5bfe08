"""Written sums of two independent kinds: MNIST digits with drawn signs, and distorted fonts.

The signs beside MNIST digits are polylines, in a random style for each sum. The glyphs of fonts are
warped, slanted and shifted from the line.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
from drawn.clutter import smooth
from drawn.papers import Page, wobble
from drawn.pens import crop, draw, enlarge, has_loops, has_specks, trace
from PIL import Image, ImageDraw, ImageFont

FONTS = (
    *("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic"),
    *("DejaVuSans-Bold", "DejaVuSansMono-Oblique", "STIXGeneral", "STIXGeneralItalic", ""),
)
RANK = {"+": 1, "-": 1, "*": 2, "/": 2}


def invent(rng, count, decimals=0.0, brackets=True):
    """Return a sum of `count` numbers in ASCII, such as '12*(3-4)=-12'; the answer may be wrong."""
    while True:
        text, value, _ = _combine(rng, count, decimals, brackets)
        answer = _write_value(value)
        ending = rng.random()
        if ending < 0.3:
            return text
        if ending < 0.5:
            return text + "="
        if answer is None:
            continue
        if rng.random() < 0.25:
            answer = _write_value(value + int(rng.choice([-10, -2, -1, 1, 2, 3, 10])))
        return f"{text}={answer}"


def _combine(rng, count, decimals, brackets):
    if count == 1:
        digits = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
        number = int(rng.integers(1 if digits == 1 else 10 ** (digits - 1), 10**digits))
        if rng.random() < decimals:
            text = f"{number / 10 ** int(rng.integers(1, 3)):g}"
            return text, Fraction(text), 3
        return str(number), Fraction(number), 3
    while True:
        first = int(rng.integers(1, count))
        left, a, left_rank = _combine(rng, first, decimals, brackets)
        right, b, right_rank = _combine(rng, count - first, decimals, brackets)
        sign = str(rng.choice(list("++--**/")))
        rank = RANK[sign]
        open_left = left_rank < rank
        open_right = right_rank < rank or (right_rank == rank and sign in "-/")
        if (open_left or open_right) and not brackets:
            continue
        if sign == "/" and b == 0:
            continue
        value = a + b if sign == "+" else a - b if sign == "-" else a * b if sign == "*" else a / b
        left = f"({left})" if open_left else left
        right = f"({right})" if open_right else right
        return f"{left}{sign}{right}", value, rank


def _write_value(value):
    """Return a number of few digits as it is written, None if it is not one."""
    if value.denominator == 1 and abs(value) < 100_000:
        return str(value.numerator)
    if 100 % value.denominator == 0 and abs(value) < 1000:
        return f"{float(value):g}"
    return None


class Pen:
    """A writer: signs of one style, and MNIST digits with the same pen."""

    def __init__(self, rng, test):
        self.rng, self.test = rng, test
        self.size = int(rng.integers(40, 100))
        self.width = self.size * rng.uniform(0.055, 0.12)
        self.traced = rng.random() < 0.5
        self.times = str(rng.choice(["cross", "cross", "cross", "dot", "letter"]))
        self.over = str(rng.choice(["slash", "colon", "colon", "obelus", "obelus"]))
        self.point = str(rng.choice(["point", "comma"])) if self.times != "dot" else "comma"
        self.gap, self.apart = rng.uniform(0.06, 0.22), rng.uniform(0.16, 0.5)
        self.slant = rng.uniform(-0.05, 0.2)

    def ink(self, sign):
        """Return (ink, top), rows of the ink from the top of the line, a digit's height being 1."""
        rng = self.rng
        if sign.isdigit():
            alike = np.flatnonzero(self.test.labels == int(sign))
            while True:
                image = self.test.images[rng.choice(alike), 0]
                content = image.tobytes()
                if not has_specks(content) and (not self.traced or has_loops(content, sign)):
                    break
            pixels = self.size * rng.uniform(0.88, 1.1)
            if self.traced:
                strokes = trace(content)
                extent = np.concatenate(strokes).max()
                scaled = [stroke * ((pixels - self.width) / extent) for stroke in strokes]
                ink = draw(scaled, self.width, 0.25, rng)
            else:
                ink = enlarge(image, pixels)
            return ink, self.size * (1 + rng.uniform(-0.06, 0.06)) - ink.shape[0]
        strokes = self.strokes(sign)
        x, y = rng.normal(0, 0.02, 2)
        strokes = [
            np.asarray(stroke, float) + rng.normal(0, 0.018, (len(stroke), 2)) for stroke in strokes
        ]
        strokes = [
            np.stack([s[:, 0] + x + self.slant * (0.5 - s[:, 1]), s[:, 1] + y], axis=1)
            for s in strokes
        ]
        strokes = [smooth(stroke) * self.size for stroke in strokes]
        top = np.concatenate(strokes)[:, 1].min() - self.width / 2
        return draw(strokes, self.width * rng.uniform(0.9, 1.1), 0.25, rng), top

    def strokes(self, sign):
        """Return the strokes of a sign, digits reaching from y = 0 to 1."""
        rng = self.rng
        a, m = rng.uniform(0.19, 0.34), rng.uniform(0.48, 0.62)
        if sign == "+":
            across, down = [(0, m), (2 * a, m)], [(a, m - a), (a, m + a)]
            return [across, down] if rng.random() < 0.5 else [down, across]
        if sign == "-":
            return [[(0, m), (a, m + rng.uniform(-0.03, 0.03)), (2 * a, m)]]
        if sign == "=":
            d = rng.uniform(0.1, 0.16)
            return [
                [(0, m - d), (2 * a, m - d)],
                [(rng.uniform(-0.05, 0.05), m + d), (2 * a, m + d)],
            ]
        if sign == "*":
            if self.times == "dot":
                return [self._dab(m)]
            if self.times == "letter":
                return [
                    [(0, m - a), (0.7 * a, m - 0.6 * a), (0.7 * a, m + 0.6 * a), (0, m + a)],
                    [
                        (1.7 * a, m - a),
                        (0.9 * a, m - 0.6 * a),
                        (0.9 * a, m + 0.6 * a),
                        (1.7 * a, m + a),
                    ],
                ]
            b = 0.85 * a
            return [[(0, m - b), (2 * b, m + b)], [(2 * b, m - b), (0, m + b)]]
        if sign == "/":
            d = rng.uniform(0.14, 0.24)
            if self.over == "colon":
                return [self._dab(m - d), self._dab(m + d)]
            if self.over == "obelus":
                d = max(d, 0.19)
                return [[(0, m), (2 * a, m)], self._dab(m - d, a), self._dab(m + d, a)]
            return [[(rng.uniform(0.35, 0.55), -0.08), (0, 1.08)]]
        if sign in "()":
            w, h = rng.uniform(0.16, 0.3), rng.uniform(0.03, 0.2)
            t = np.linspace(-1, 1, 9)
            x = w * t**2
            return [np.stack([x if sign == "(" else -x, 0.5 + (0.5 + h) * t], axis=1)]
        if sign == ".":
            if self.point == "point":
                return [self._dab(rng.uniform(0.93, 1.0))]
            return [[(0.05, 0.93), (rng.uniform(-0.06, 0.0), rng.uniform(1.12, 1.22))]]
        raise ValueError(f"sign must be one of a sum, got {sign!r}")

    def _dab(self, y, x=0.0):
        dx, dy = self.rng.normal(0, 0.015, 2)
        return [(x, y), (x + dx, y + dy)]

    def fraction_bar(self, width):
        """Return the ink of a fraction bar, so many pixels wide."""
        path = wobble(
            (0, 0), (width, width * self.rng.normal(0, 0.02)), self.rng, 0.012 * self.size
        )
        return draw([path], self.width, 0.2, self.rng)


class Type:
    """A font with glyphs warped by a smooth field, slanted, and shifted from the line."""

    SHOWN = {"-": "−", "*": "×", "/": "÷"}

    def __init__(self, rng, test=None):
        self.rng = rng
        self.size = int(rng.integers(40, 100))
        name = FONTS[rng.integers(len(FONTS))]
        self.font = _load_font(name, round(2 * self.size / 0.73))
        self.shown = self.SHOWN | {
            "*": str(rng.choice(["×", "×", "·"])),
            "/": str(rng.choice(["÷", "÷", ":", "/"])),
        }
        if not name:  # Pillow's own font has ASCII alone
            self.shown |= {"-": "-", "*": "x", "/": str(rng.choice([":", "/"]))}
        self.shown["."] = "," if self.shown["*"] == "·" else str(rng.choice([".", ","]))
        self.bend, self.slant = rng.uniform(0.02, 0.07), rng.uniform(-0.1, 0.2)
        self.gap, self.apart = rng.uniform(0.1, 0.2), rng.uniform(0.14, 0.4)
        self.width = self.size * 0.08

    def ink(self, sign):
        """Return (ink, top) as `Pen` does."""
        rng, glyph = self.rng, self.shown.get(sign, sign)
        side = self.font.size * 2
        canvas = Image.new("L", (side, side))
        base = round(1.4 * self.font.size)
        ImageDraw.Draw(canvas).text((side // 4, base), glyph, fill=255, font=self.font, anchor="ls")
        bent = warp(np.asarray(canvas), rng, self.bend * 2 * self.size, self.slant)
        top = np.flatnonzero(bent.max(axis=1) > 100)[0] - base
        cut = crop(np.where(bent > 12, bent, 0))
        size = (max(1, round(cut.shape[1] / 2)), max(1, round(cut.shape[0] / 2)))
        ink = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BOX))
        return ink, self.size + top / 2 + self.size * rng.uniform(-0.04, 0.04)

    def fraction_bar(self, width):
        """Return the ink of a fraction bar."""
        return np.full((max(2, round(self.width * 0.7)), round(width)), 255, np.uint8)


def warp(image, rng, amount, slant):
    """Move each pixel by a smooth random field, and slant the image."""
    height, width = image.shape
    fields = [
        np.asarray(
            Image.fromarray(rng.normal(0, amount, (5, 5)).astype(np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for _ in range(2)
    ]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x += fields[0] + np.float32(slant) * (y - height / 2)
    y += fields[1]
    x, y = np.clip(x, 0, width - 1.001), np.clip(y, 0, height - 1.001)
    left, top = x.astype(int), y.astype(int)
    u, v = x - left, y - top
    plane = image.astype(np.float32)
    above = plane[top, left] * (1 - u) + plane[top, left + 1] * u
    below = plane[top + 1, left] * (1 - u) + plane[top + 1, left + 1] * u
    return (above * (1 - v) + below * v + 0.5).astype(np.uint8)


def _load_font(name, size):
    if not name:
        return ImageFont.load_default(size)
    import matplotlib

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), "fonts/ttf", f"{name}.ttf")), size
    )


def set_line(hand, text):
    """Return a list of (ink, top, left) for a line of signs, from 0, and its width, in pixels."""
    placed, left, rng = [], 0.0, hand.rng
    for before, sign in zip(" " + text, text, strict=False):
        ink, top = hand.ink(sign)
        if placed:
            close = (before.isdigit() and sign in "0123456789.") or before == "."
            if before in "(" or sign in ")":
                close = True
            left += hand.size * (hand.gap if close else hand.apart) * rng.uniform(0.8, 1.25)
        placed.append((ink, top, left))
        left += ink.shape[1]
    return placed, left


def set_fraction(hand, above, below):
    """Return the same for a fraction."""
    (over, a), (under, b) = set_line(hand, above), set_line(hand, below)
    width, gap = (
        max(a, b) + hand.size * hand.rng.uniform(0.1, 0.4),
        hand.size * hand.rng.uniform(0.15, 0.35),
    )
    bar = hand.fraction_bar(width)
    middle = hand.size * 0.55
    rise = max(top + ink.shape[0] for ink, top, _ in over) + gap + bar.shape[0] / 2
    sink = min(top for _, top, _ in under) - gap - bar.shape[0] / 2
    placed = [(ink, top - rise + middle, left + (width - a) / 2) for ink, top, left in over]
    placed.append((bar, middle - bar.shape[0] / 2, 0.0))
    placed += [(ink, top - sink + middle, left + (width - b) / 2) for ink, top, left in under]
    return placed, width


def picture_of(hand, lines, paper=None):
    """Return the picture of lines, each a list of (ink, top, left)."""
    rng, size = hand.rng, hand.size
    rows, y = [], 0.0
    for placed in lines:
        top = min(top for _, top, _ in placed)
        bottom = max(top + ink.shape[0] for ink, top, _ in placed)
        rows.append((placed, y - top))
        y += bottom - top + size * rng.uniform(0.5, 0.9)
    width = max(left + ink.shape[1] for placed in lines for ink, _, left in placed)
    margin = size * rng.uniform(0.5, 1.2, 2)
    page = Page(round(y + 2 * margin[0]), round(width + 2 * margin[1]))
    if paper:
        page.rule(
            paper, size * rng.uniform(0.6, 1.1), max(1.0, size * rng.uniform(0.012, 0.03)), rng
        )
    slope = rng.uniform(-0.04, 0.04)
    for placed, down in rows:
        for ink, top, left in placed:
            page.put(ink, margin[0] + down + top + slope * left, margin[1] + left)
    return page.take(rng)


def one_line(kind, count, paper=None, **settings):
    """Return a function of (data set, generator) for a sum on one line."""

    def draw(test, rng):
        hand, text = kind(rng, test), invent(rng, count, **settings)
        return picture_of(hand, [set_line(hand, text)[0]], paper), text

    return draw


def several_lines(kind):
    """Return the same for two or three sums, one below the other."""

    def draw(test, rng):
        hand = kind(rng, test)
        texts = [invent(rng, 2) for _ in range(int(rng.integers(2, 4)))]
        return picture_of(hand, [set_line(hand, text)[0] for text in texts]), "\n".join(texts)

    return draw


def fractions(kind):
    """Return the same for a fraction, plus or minus a number or another fraction."""

    def draw(test, rng):
        hand = kind(rng, test)
        placed, text, left = [], "", 0.0
        for k in range(int(rng.integers(1, 3))):
            above = invent(rng, int(rng.integers(1, 3)), brackets=False).split("=")[0]
            below = str(int(rng.integers(1, 100)))
            if k:
                sign = str(rng.choice(["+", "-"]))
                part, width = set_line(hand, sign)
                placed += [(ink, top, x + left) for ink, top, x in part]
                left, text = left + width + hand.size * hand.apart, text + sign
            part, width = set_fraction(hand, above, below)
            placed += [(ink, top, x + left) for ink, top, x in part]
            left += width + hand.size * hand.apart
            text += f"({above})/{below}" if not above.isdigit() else f"{above}/{below}"
        return picture_of(hand, [placed]), text

    return draw


#: Row -> function of (data set, generator) that returns a picture and its expression in ASCII.
SUMS = {
    **{f"pen, {n} numbers": one_line(Pen, n) for n in (2, 3, 4)},
    **{f"type, {n} numbers": one_line(Type, n) for n in (2, 3, 4)},
    "pen, decimals": one_line(Pen, 2, decimals=0.7),
    "type, decimals": one_line(Type, 2, decimals=0.7),
    "pen, squared paper": one_line(Pen, 2, "squared"),
    "pen, ruled paper": one_line(Pen, 2, "ruled"),
    "pen, several lines": several_lines(Pen),
    "pen, fractions": fractions(Pen),
    "type, fractions": fractions(Type),
}
