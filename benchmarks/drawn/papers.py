"""Pages to write on, plain, ruled or squared, and their scans and photographs."""

import io

import numpy as np
from drawn.hard_pictures import COLORS, lit
from PIL import Image, ImageDraw

#: Ink of scans and drawings on white.
PENS = [(0, 0, 0), (25, 25, 30), (20, 40, 140), (40, 60, 170), (70, 70, 75)]
#: Colors of the printed lines of paper and forms.
RULES = [(150, 180, 220), (190, 190, 195), (170, 200, 180), (120, 130, 150), (225, 160, 160)]


class Page:
    """A page of ink, float32 from 0 to 1, and of printed lines in a color of their own."""

    def __init__(self, height, width):
        self.ink = np.zeros((height, width), np.float32)
        self.print = None

    @property
    def shape(self):
        return self.ink.shape

    def put(self, ink, top, left):
        """Write ink, uint8, at a position; parts outside the page are cut."""
        top, left = round(top), round(left)
        y, x = max(0, -top), max(0, -left)
        part = self.ink[top + y : top + ink.shape[0], left + x : left + ink.shape[1]]
        ink = ink[y : y + part.shape[0], x : x + part.shape[1]]
        np.maximum(part, ink / np.float32(255), out=part)

    def line(self, points, width, printed=False):
        """Draw a polyline of (x, y), by the pen or printed."""
        fine = 2
        points = np.asarray(points, float)
        low = np.floor(points.min(axis=0) - width - 2).astype(int)
        size = np.ceil(points.max(axis=0) + width + 2).astype(int) - low
        canvas = Image.new("L", tuple((size * fine).tolist()))
        path = [tuple(point) for point in ((points - low + 0.5) * fine).tolist()]
        brush, thick = ImageDraw.Draw(canvas), max(1, round(width * fine))
        brush.line(path, fill=255, width=thick, joint="curve")
        if not printed:
            for x, y in (path[0], path[-1]):
                r = thick / 2
                brush.ellipse([x - r, y - r, x + r, y + r], fill=255)
        drawn = np.asarray(canvas.resize(tuple(size.tolist()), Image.Resampling.BOX))
        if not printed:
            return self.put(drawn, low[1], low[0])
        if self.print is None:
            self.print = np.zeros(self.shape, np.float32)
        self.ink, kept = self.print, self.ink
        self.put(drawn, low[1], low[0])
        self.ink = kept

    def rule(self, kind, distance, width, rng):
        """Print the lines of ruled or squared paper."""
        height, across = self.shape
        for y in np.arange(rng.uniform(0.2, 1) * distance, height, distance):
            self.line([(-1, y), (across + 1, y)], width, printed=True)
        if kind == "squared":
            for x in np.arange(rng.uniform(0.2, 1) * distance, across, distance):
                self.line([(x, -1), (x, height + 1)], width, printed=True)

    def scan(self, pen=(0, 0, 0), rules=(150, 180, 220)):
        """Return the page on white: uint8 (h, w, 3)."""
        return self._color((255, 255, 255), pen, rules)

    def take(self, rng, photo=None):
        """Return a photograph or a scan of the page, with equal probability: uint8 (h, w, 3)."""
        photo = rng.random() < 0.5 if photo is None else photo
        rules = RULES[rng.integers(len(RULES))]
        if not photo:
            return self.scan(PENS[rng.integers(len(PENS))], rules)
        paper, pen = COLORS[rng.integers(len(COLORS))]
        if sum(paper) < sum(
            pen
        ):  # rules of a blackboard are lighter than it, and fainter than chalk
            rules = tuple(round(0.6 * a + 0.4 * b) for a, b in zip(paper, pen, strict=True))
        else:
            rules = tuple(
                round(0.55 * a + 0.45 * min(a, b)) for a, b in zip(paper, rules, strict=True)
            )
        picture = self._color(paper, pen, rules).astype(np.float32)
        picture *= (
            lit(self.shape, str(rng.choice(["even", "slope", "vignette"])), rng)[..., np.newaxis]
            if rng.random() < 0.7
            else 1
        )
        picture += np.float32(rng.choice([2, 4, 8])) * rng.standard_normal(
            (*self.shape, 1), np.float32
        )
        picture = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "jpeg", quality=int(rng.integers(50, 93)))
        return np.asarray(Image.open(file))

    def _color(self, paper, pen, rules):
        planes = []
        for ground, dark, pale in zip(paper, pen, rules, strict=True):
            plane = np.full(self.shape, ground, np.float32)
            if self.print is not None:
                plane += self.print * np.float32(pale - ground)
            plane += self.ink * (np.float32(dark) - plane)
            planes.append(np.clip(plane + 0.5, 0, 255).astype(np.uint8))
        return np.stack(planes, axis=-1)


def wobble(start, end, rng, amount):
    """Return a hand-drawn line from one point to another: (n, 2)."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    share = np.linspace(0, 1, 12)[:, np.newaxis]
    across = np.array([start[1] - end[1], end[0] - start[0]])
    across = across / max(np.hypot(*across), 1e-9)
    waves = rng.normal(0, 1, 3)
    offset = sum(waves[k] * np.sin((k + 1) * np.pi * share) / (k + 1) for k in range(3))
    return start + share * (end - start) + amount * offset * across
