"""Candidate signs for a mark, from its shape, size and position relative to the digits."""

from __future__ import annotations

import numpy as np

from lenet5c.recognition.decoding import Choice
from lenet5c.recognition.marks import DOT, Mark, may_be_bar, may_be_dot

#: Sizes and distances are in typical digit heights.
MARK = 0.62  #: maximum height of a comma
DASH = 1.5  #: minimum ratio of width to height of a hyphen
HALF = (0.55, 0.15)  #: vertical position of a hyphen: mean and standard deviation
LEVEL = 0.2  #: standard deviation of the vertical position of a minus sign
#: Vertical positions of a point and of a multiplication dot, from the top of a digit (0) to its
#: foot (1): mean and standard deviation of each, and the fraction at arbitrary positions.
POINT, TIMES, ANYWHERE = (0.97, 0.09), (0.54, 0.1), 0.02
#: Measures of single-stroke signs: height relative to a digit, bow, and slant relative to the
#: line's digits; mean and standard deviation of each.
STROKES = {
    "1": ((1.0, 0.1), (0.01, 0.045), (0.03, 0.18)),
    "/": ((1.2, 0.14), (0.0, 0.04), (0.25, 0.12)),
    "(": ((1.25, 0.13), (-0.13, 0.035), (-0.04, 0.1)),
    ")": ((1.25, 0.13), (0.13, 0.035), (-0.04, 0.1)),
}
TRUST = 0.6  #: exponent of the net's probabilities for these, since it sees the shape only
WIDTHS = (1.0, 0.5, 1.5)  #: ranges of the measures, over which outliers are uniform
#: Written form of each sign shape of the net.
SHOWN = {"+": "+", "-": "−", "x": "×", "/": "/", "=": "=", "(": "(", ")": ")"}
LEAST = 1e-4
#: Probability that a mark much smaller than a digit is a remnant of a digit or rule, and the
#: maximum shorter side of a remnant.
REST, THIN = 0.1, 0.18


def weigh(
    mark: Mark, usual: float, middle: float, height: float, lean: float
) -> tuple[Choice, ...]:
    """Return the candidates for a mark, from its shape and position.

    `middle` and `height` describe the line's digits at the mark's column; `lean` is their slant.
    """
    p, chances = mark.probabilities, {}
    low = 0.5 + (mark.center[0] - middle) / height
    longer = max(mark.height, mark.width)
    if may_be_dot(mark, usual) or (may_be_bar(mark, usual) and longer <= 1.3 * DOT * usual):
        # A hyphen is short and a dot may be flat; the net's shape and the position decide.
        flat = mark.width / mark.height
        share = (p.get("-", 0.0) + 0.01) / (p.get("-", 0.0) + p.get(".", 0.0) + 0.02)
        share = float(np.clip(share, 0.02, 0.98) if flat >= DASH else min(share, 0.02))
        share *= float(np.exp(-(((low - HALF[0]) / HALF[1]) ** 2) / 2))
        chances = {"-": ("−", 0.97 * share)} | _weigh_dot(low, 0.97 * (1 - share), mark.speck)
    elif may_be_bar(mark, usual):
        # A bar level with the tops or the feet of the digits is a stroke of a digit.
        off = (low - HALF[0]) / LEVEL
        share = 0.03 + 0.97 * float(np.exp(-(off**2) / 2))
        share *= (1 - mark.speck) * max(p.get("-", 0.0), 0.9)
        chances = {"-": ("−", share), "": ("", mark.speck)}
    else:
        for name, chance in p.items():
            if name.isdigit():
                chances[name] = (name, chance)
            elif name in SHOWN:
                chances["*" if name == "x" else name] = (SHOWN[name], chance)
        chances = _weigh_stroke(chances, mark, usual, lean)
        if mark.height <= MARK * usual:
            chances = _weigh_small(mark, chances, low, height)
        elif (dot := p.get(".", 0.0)) > LEAST and longer < 2 * DOT * usual:
            chances |= _weigh_dot(low, dot)
    return tuple(
        Choice(sign, float(np.log(chance)), shown)
        for sign, (shown, chance) in chances.items()
        if chance >= LEAST
    )


_Chances = dict[str, tuple[str, float]]


def _weigh_dot(low: float, chance: float, speck: float = 0.0) -> _Chances:
    """Return the candidates for a dot: a low point, a multiplication dot, or a speck."""
    point, times = (
        ANYWHERE + (1 - ANYWHERE) * np.exp(-(((low - mean) / spread) ** 2) / 2) / (2.5 * spread)
        for mean, spread in (POINT, TIMES)
    )
    weights = np.array([(1 - speck) / 2 * point, (1 - speck) / 2 * times, speck / 2])
    signs = ((".", "."), ("*", "·"), ("", ""))
    shares = chance * weights / weights.sum()
    return {sign: (shown, float(own)) for (sign, shown), own in zip(signs, shares, strict=True)}


def _weigh_stroke(chances: _Chances, mark: Mark, usual: float, lean: float) -> _Chances:
    """Reweight the single-stroke candidates (one, slash, brackets) by the mark's measures."""
    total = sum(chances[name][1] for name in STROKES if name in chances)
    measured = (mark.height / usual, mark.bow, mark.slant - lean)
    weighed = {}
    for name, forms in STROKES.items():
        if name in chances:
            shown, chance = chances[name]
            chance = (chance / max(total, 1e-12)) ** TRUST
            for value, (mean, spread), width in zip(measured, forms, WIDTHS, strict=True):
                bell = np.exp(-(((value - mean) / spread) ** 2) / 2) / (2.5066 * spread)
                chance *= float(0.97 * bell + 0.03 / width)
            weighed[name] = (shown, chance)
    scale = total / max(sum(chance for _, chance in weighed.values()), 1e-12)
    return chances | {name: (shown, chance * scale) for name, (shown, chance) in weighed.items()}


def _weigh_small(mark: Mark, chances: _Chances, low: float, height: float) -> _Chances:
    """Reweight the candidates for a mark shorter than a digit; a low stroke may be a comma."""
    foot = 0.5 + (mark.box[2] - (mark.center[0] - (low - 0.5) * height)) / height
    stroke = sum(chances.get(name, ("", 0.0))[1] for name in ("1", "/", ")", "(", "-"))
    comma = 1 / (1 + np.exp(-(low - 0.8) / 0.06)) if mark.width < 0.45 * height else 0.0
    if foot > 0.9 and mark.height <= 0.5 * height:
        # A comma of a broad pen looks like a nine, but no digit is that small and low.
        stroke = max(stroke, 0.85)
    # A digit is rarely so much smaller than the others, least of all one of a single stroke.
    small, stroke_small = (
        max(0.02, min(1.0, (mark.height / height - least) / (0.6 - least)))
        for least in (0.35, 0.45)
    )
    weighed = {}
    for sign, (shown, chance) in chances.items():
        share = stroke_small if sign in STROKES else small if sign.isdigit() else 1.0
        weighed[sign] = (shown, chance * share * (1 - comma))
    rest = max(REST * (1 - stroke_small), mark.speck) * (1 - comma)
    if min(mark.height, mark.width) > THIN * height:
        rest = 0.0
    return weighed | {",": (",", float(comma * stroke)), "": ("", float(rest))}
