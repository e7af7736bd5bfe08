"""Signs in place: what ink may be by its shape, its size, and where it stands among the others.

A net tells shapes: a blob, a bar, a slash. A low blob is a point, one at half height a
multiplication, two above each other a colon; a bar is a minus, half of an equals sign, the middle
of a division sign, or has a fraction above and below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.decoding import Choice, Place, make_fraction
from lenet5c.recognition.digit import Box
from lenet5c.recognition.pieces import Piece, unite

#: Sizes and distances are shares of the usual digit's height.
DOT, BOLD = 0.3, 0.42  #: longer side of a dot at most, and of one that the net is sure of
FLAT, THICK = 2.0, 0.4  #: width over height of a bar at least, and its height at most
TALL = 0.55  #: height of a digit at least
MARK = 0.62  #: height of a comma at most
REACH = 0.85  #: from a fraction bar to what is above and below it, at most
DASH = 1.5  #: width over height of a hyphen at least
HALF = (0.55, 0.15)  #: place of a hyphen: mean and spread
LEVEL = 0.2  #: spread of the place of a minus sign
#: Places of a point and of a multiplication, from the top of a digit (0) to its foot (1): mean and
#: spread of each, and the share of them that are anywhere.
POINT, TIMES, ANYWHERE = (0.97, 0.09), (0.54, 0.1), 0.02
SPECKS = (0.05, 1.5)  #: places beyond which a dot is a speck
#: Height over a digit's, bow and slant of what is one stroke: mean and spread of each.
STROKES = {
    "1": ((1.0, 0.1), (0.01, 0.045), (0.17, 0.18)),
    "/": ((1.2, 0.14), (0.0, 0.04), (0.38, 0.12)),
    "(": ((1.25, 0.13), (-0.13, 0.035), (0.08, 0.1)),
    ")": ((1.25, 0.13), (0.13, 0.035), (0.08, 0.1)),
}
TRUST = 0.6  #: power of the net's probabilities among these, which it knows by shape alone
WIDTHS = (1.0, 0.5, 1.5)  #: ranges of these, within which a few are anywhere
#: What a net's shape may be, and how it is shown.
SHOWN = {"+": "+", "-": "−", "x": "×", "/": "/", "=": "=", "(": "(", ")": ")"}
LEAST = 1e-4
#: Probability that what is much smaller than a digit is a rest of one, or of a rule; and its
#: shorter side at most.
REST, THIN = 0.1, 0.18
SURELY = 0.3  #: probability up to which what may be a speck is a dot of a division sign
LEAST_ROWS = 6  #: of what has a bow


@dataclass(frozen=True, eq=False)
class Mark:
    """Ink of one sign, or of several that stand for one."""

    box: Box
    probabilities: dict[str, float]  #: of each shape; what is missing to 1 is no sign
    place: Place | None = None  #: what is known already, of signs put together
    bow: float = 0.0  #: see `measure_bow`
    slant: float = 0.0
    speck: float = 0.0  #: probability that a dot is none

    @property
    def height(self) -> int:
        """Rows of the box."""
        return self.box[2] - self.box[0]

    @property
    def width(self) -> int:
        """Columns of the box."""
        return self.box[3] - self.box[1]

    @property
    def center(self) -> tuple[float, float]:
        """Row and column of the middle."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Layout:
    """The lines of a sheet, each a list of places from left to right."""

    lines: list[list[Place]]
    raised: Box | None = None  #: the box of a sign that stands above the line, as exponents do


def lay_out(marks: Sequence[Mark]) -> Layout:
    """Return the lines of the marks on a sheet."""
    usual = measure_height(marks)
    if usual == 0:
        return Layout([])
    marks = _join_bars(_join_dots(list(marks), usual), usual)
    marks = _join_fractions(marks, usual)
    lines, raised = [], None
    for row in _group_rows(marks, usual):
        if all(_is_dot(mark, usual) for mark in row):
            continue  # specks
        raised = raised or _find_raised(row, usual)
        lines.append(_place_row(row, usual))
    return Layout(_join_lines(lines), raised)


def measure_bow(strength: NDArray[np.uint8]) -> tuple[float, float]:
    """Return how far a stroke's middle lies right of the line of its ends, and how far it leans.

    Both are shares of its height; one that leans to the right, as a slash does, has a slant over 0.
    """
    if len(strength) < LEAST_ROWS:
        return 0.0, 0.0
    ink = strength.astype(np.float64)
    mass, rows = ink.sum(axis=1), len(ink)
    column = ink @ np.arange(ink.shape[1]) / np.maximum(mass, 1e-9)
    end, middle = max(1, round(0.15 * rows)), slice(round(0.3 * rows), max(1, round(0.7 * rows)))
    top, bottom = (
        float(np.average(column[part], weights=mass[part] + 1e-9))
        for part in (slice(0, end), slice(rows - end, rows))
    )
    share = (np.arange(rows) - (end - 1) / 2) / max(1, rows - end)
    offset = column - (top + (bottom - top) * share)
    bow = float(np.average(offset[middle], weights=mass[middle] + 1e-9))
    return bow / rows, (top - bottom) / rows


def measure_height(marks: Sequence[Mark]) -> float:
    """Return the height of the usual digit: the median of those that are surely digits.

    If there are none, that of all that is tall and no bar.
    """
    sure = [mark.height for mark in marks if _is_digit(mark)]
    if sure:
        return float(np.median(sure))
    heights = np.array([mark.height for mark in marks if mark.width < FLAT * mark.height])
    if len(heights) == 0:
        heights = np.array([max(mark.height, 0.6 * mark.width) for mark in marks])
    if len(heights) == 0:
        return 0.0
    return float(np.median(heights[heights >= 0.5 * np.quantile(heights, 0.8)]))


def _is_digit(mark: Mark) -> bool:
    """Return whether a mark is surely a digit other than 1, which a bracket may look like."""
    return sum(mark.probabilities.get(name, 0.0) for name in "023456789") >= 0.8


def is_dot(mark: Mark | Piece, usual: float) -> bool:
    """Return whether ink is small enough for a point, and as wide as high, or nearly."""
    longer, shorter = max(mark.height, mark.width), max(1, min(mark.height, mark.width))
    return longer <= DOT * usual and longer < 2.2 * shorter


def is_bar(mark: Mark | Piece, usual: float) -> bool:
    """Return whether ink is flat, as a minus is."""
    flat = mark.width >= FLAT * mark.height and mark.height <= THICK * usual
    return flat and mark.width > 0.2 * usual


def _is_dot(mark: Mark, usual: float) -> bool:
    if mark.place is not None:
        return False
    # The points of a broad pen, and of bold type, are large.
    longer = max(mark.height, mark.width)
    bold = longer <= BOLD * usual and mark.probabilities.get(".", 0.0) >= 0.5
    return bold or is_dot(mark, usual)


def _is_bar(mark: Mark, usual: float) -> bool:
    slanted = mark.probabilities.get("-", 0.0) >= 0.5 and mark.height <= 0.6 * mark.width
    return mark.place is None and (is_bar(mark, usual) or (slanted and mark.width > 0.2 * usual))


def _join(marks: Sequence[Mark], sign: str, shown: str) -> Mark:
    """Return marks as one sign, as probable as its shape lets it be."""
    box = unite(mark.box for mark in marks)
    return Mark(box, {}, Place((Choice(sign, float(np.log(0.98)), shown),), 0.0, box))


def _join_dots(marks: list[Mark], usual: float) -> list[Mark]:
    """Join bars with a dot above and below, and two dots above each other."""
    dots = [mark for mark in marks if _is_dot(mark, usual) and mark.speck <= SURELY]
    gone: set[int] = set()
    joined = []
    for bar in (mark for mark in marks if _is_bar(mark, usual)):
        y, x = bar.center
        near = [
            dot
            for dot in dots
            if abs(dot.center[1] - x) <= 0.4 * max(bar.width, 0.3 * usual)
            and 0 < abs(dot.center[0] - y) <= 0.55 * usual
        ]
        above = [dot for dot in near if dot.center[0] < y]
        below = [dot for dot in near if dot.center[0] > y]
        if len(above) == len(below) == 1 and bar.width <= 1.3 * usual:
            joined.append(_join([above[0], bar, below[0]], "/", "÷"))
            gone |= {id(above[0]), id(bar), id(below[0])}
    left = sorted((dot for dot in dots if id(dot) not in gone), key=lambda dot: dot.center)
    for k, upper in enumerate(left):
        for lower in left[k + 1 :]:
            down, aside = (b - a for a, b in zip(upper.center, lower.center, strict=True))
            apart = max(upper.height, lower.height) < down <= 0.85 * usual
            if apart and abs(aside) <= 0.35 * usual and not {id(upper), id(lower)} & gone:
                joined.append(_join([upper, lower], "/", ":"))
                gone |= {id(upper), id(lower)}
    return [mark for mark in marks if id(mark) not in gone] + joined


def _join_bars(marks: list[Mark], usual: float) -> list[Mark]:
    """Join two bars of like width above each other: an equals sign."""
    bars = sorted((mark for mark in marks if _is_bar(mark, usual)), key=lambda bar: bar.center)
    gone: set[int] = set()
    joined = []
    for k, upper in enumerate(bars):
        for lower in bars[k + 1 :]:
            shared = min(upper.box[3], lower.box[3]) - max(upper.box[1], lower.box[1])
            narrow, wide = sorted((upper.width, lower.width))
            down = lower.center[0] - upper.center[0]
            alike = shared >= 0.5 * narrow and wide <= 2.2 * narrow and wide <= 1.4 * usual
            if alike and down <= 0.6 * usual and not {id(upper), id(lower)} & gone:
                joined.append(_join([upper, lower], "=", "="))
                gone |= {id(upper), id(lower)}
    return [mark for mark in marks if id(mark) not in gone] + joined


def _join_fractions(marks: list[Mark], usual: float) -> list[Mark]:
    """Join bars with what is above and below them, the shortest first; drop underlines."""
    bars = sorted((mark for mark in marks if _is_bar(mark, usual)), key=lambda bar: bar.width)
    for bar in bars:
        if bar.width < 0.55 * usual:
            continue
        above, below = (_find_beside(bar, marks, usual, side) for side in (-1, 1))
        if above and below:
            if bar.width < usual and _has_neighbors(bar, marks, above + below, usual):
                continue
            box = unite([bar.box, *(mark.box for mark in above + below)])
            rows = [_group_rows(side, usual) for side in (above, below)]
            if any(len(row) != 1 for row in rows):
                continue
            line = Choice("-", float(np.log(0.98)), "/")
            sides = [_place_row(row[0], usual) for row in rows]
            place = make_fraction(sides[0], Place((line,), 0.0, bar.box), sides[1], box)
            if place.choices:
                gone = {id(mark) for mark in (bar, *above, *below)}
                marks = [mark for mark in marks if id(mark) not in gone]
                # It stands in its line as high as its bar does.
                marks.append(Mark(box, {}, place))
        elif len(above) >= 2 and bar.width >= 1.6 * usual:
            marks = [mark for mark in marks if mark is not bar]
    return marks


def _axis(mark: Mark) -> float:
    """Return the row by which a mark stands in its line: of a fraction its bar's."""
    if mark.place is not None and mark.place.parts:
        bar = next(part for part in mark.place.parts if part.choices[0].shown == "/")
        return (bar.box[0] + bar.box[2]) / 2
    return mark.center[0]


def _find_beside(bar: Mark, marks: list[Mark], usual: float, side: int) -> list[Mark]:
    """Return the marks above (-1) or below (1) a bar: near ones, and small ones among them."""
    inside = [
        mark
        for mark in marks
        if mark is not bar
        and bar.box[1] - 0.15 * usual <= mark.center[1] <= bar.box[3] + 0.15 * usual
        and side * (mark.center[0] - bar.center[0]) > 0
    ]
    edge = bar.center[0]

    def distance(mark: Mark) -> float:
        return edge - mark.box[2] if side < 0 else mark.box[0] - edge

    tall = [
        mark
        for mark in inside
        if (mark.height >= TALL * 0.8 * usual or mark.place is not None)
        and -0.15 * usual <= distance(mark) <= REACH * usual
    ]
    if not tall:
        return []
    top, _, bottom, _ = unite(mark.box for mark in tall)
    return [mark for mark in inside if top - 0.2 * usual <= mark.center[0] <= bottom + 0.2 * usual]


def _has_neighbors(bar: Mark, marks: list[Mark], beside: list[Mark], usual: float) -> bool:
    """Return whether digits stand left and right of a bar, at its height: it is a minus then."""
    y = bar.center[0]
    level = [
        mark
        for mark in marks
        if mark is not bar
        and all(mark is not other for other in beside)
        and mark.box[0] + 0.15 * mark.height < y < mark.box[2] - 0.15 * mark.height
        and mark.height >= TALL * usual
    ]
    left = any(0 <= bar.box[1] - mark.box[3] <= 0.8 * usual for mark in level)
    right = any(0 <= mark.box[1] - bar.box[3] <= 0.8 * usual for mark in level)
    return left and right


def _group_rows(marks: Sequence[Mark], usual: float) -> list[list[Mark]]:
    """Return marks by line, from left to right; small ones go to the nearest line."""
    rows: list[list[Mark]] = []
    tall = [mark for mark in marks if mark.height >= TALL * usual or mark.place is not None]
    tall = tall or list(marks)
    for mark in sorted(tall, key=lambda mark: mark.box[1]):
        best, least = None, 0.62
        for row in rows:
            last = row[-1]
            high = min(1.3 * usual, max(last.height, mark.height, usual))
            down = abs(_axis(mark) - _axis(last)) / high
            if down < least:
                best, least = row, down
        if best is None:
            rows.append([mark])
        else:
            best.append(mark)
    chosen = {id(mark) for mark in tall}
    for mark in marks:
        if id(mark) not in chosen:
            y, x = mark.center
            row = min(rows, key=lambda row: abs(y - _interpolate(row, x)[0]))
            row.append(mark)
    rows.sort(key=lambda row: float(np.mean([_axis(mark) for mark in row])))
    return [sorted(row, key=lambda mark: mark.center[1]) for row in rows]


def _interpolate(row: Sequence[Mark], x: float, usual: float = 0.0) -> tuple[float, float]:
    """Return the middle and the height of the digits of a row at a column."""
    tall = [mark for mark in row if mark.place is None and mark.height >= TALL * usual] or row
    tall = sorted(tall, key=lambda mark: mark.center[1])
    columns = [mark.center[1] for mark in tall]
    middle = float(np.interp(x, columns, [_axis(mark) for mark in tall]))
    height = float(np.interp(x, columns, [mark.height for mark in tall]))
    return middle, min(max(height, 0.8 * usual), 1.2 * usual) if usual else height


def _find_raised(row: Sequence[Mark], usual: float) -> Box | None:
    """Return the box of a sign that stands above the line behind another: an exponent."""
    for before, mark in pairwise(row):
        if before.place is not None or mark.place is not None or before.height < TALL * usual:
            continue
        digit = sum(mark.probabilities.get(str(n), 0.0) for n in range(10))
        small = 0.25 * usual < mark.height <= 0.75 * before.height
        high = mark.box[2] <= before.box[0] + 0.55 * before.height
        if digit >= 0.5 and small and high and mark.center[1] > before.center[1]:
            return mark.box
    return None


def _place_row(row: Sequence[Mark], usual: float) -> list[Place]:
    """Return the places of a row of marks."""
    places, right = [], None
    for k, mark in enumerate(row):
        gap = 0.0 if right is None else (mark.box[1] - right) / usual
        if mark.place is not None:
            place = mark.place
        else:
            others = [other for j, other in enumerate(row) if j != k]
            middle, height = _interpolate(others or [mark], mark.center[1], usual)
            low = 0.5 + (mark.center[0] - middle) / height
            if _is_dot(mark, usual) and not SPECKS[0] <= low <= SPECKS[1]:
                continue
            place = Place(weigh(mark, usual, middle, height), 0.0, mark.box)
        room = 0.0
        if right is not None and k + 1 < len(row):
            room = (row[k + 1].box[1] - right) / usual
        places.append(replace(place, gap=gap, room=room))
        if mark.speck <= 0.5:
            right = max(right or 0, mark.box[3])
    return places


def weigh(mark: Mark, usual: float, middle: float, height: float) -> tuple[Choice, ...]:
    """Return what a mark may be, by its shape and its place beside digits (middle, height)."""
    p, chances = mark.probabilities, {}
    low = 0.5 + (mark.center[0] - middle) / height
    longer = max(mark.height, mark.width)
    if _is_dot(mark, usual) or (_is_bar(mark, usual) and longer <= 1.3 * DOT * usual):
        # A hyphen is short, a dab of a pen may be flat: by its shape to the net, and by its place.
        flat = mark.width / mark.height
        share = (p.get("-", 0.0) + 0.01) / (p.get("-", 0.0) + p.get(".", 0.0) + 0.02)
        share = float(np.clip(share, 0.02, 0.98) if flat >= DASH else min(share, 0.02))
        share *= float(np.exp(-(((low - HALF[0]) / HALF[1]) ** 2) / 2))
        chances = {"-": ("−", 0.97 * share)} | _weigh_dot(low, 0.97 * (1 - share), mark.speck)
    elif _is_bar(mark, usual):
        # A bar as high as the tops of the digits, or as their feet, is one's stroke.
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
        chances = _weigh_stroke(chances, mark, usual)
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
    """Return what a dot may be: a point if it is low, a multiplication at half height, a speck."""
    point, times = (
        ANYWHERE + (1 - ANYWHERE) * np.exp(-(((low - mean) / spread) ** 2) / 2) / (2.5 * spread)
        for mean, spread in (POINT, TIMES)
    )
    weights = np.array([(1 - speck) / 2 * point, (1 - speck) / 2 * times, speck / 2])
    signs = ((".", "."), ("*", "·"), ("", ""))
    shares = chance * weights / weights.sum()
    return {sign: (shown, float(own)) for (sign, shown), own in zip(signs, shares, strict=True)}


def _weigh_stroke(chances: _Chances, mark: Mark, usual: float) -> _Chances:
    """Return what a mark may be if it is one stroke: to a net, a one, a slash or a bracket."""
    total = sum(chances[name][1] for name in STROKES if name in chances)
    measured = (mark.height / usual, mark.bow, mark.slant)
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
    """Return what a mark less high than a digit may be: low down, a comma in place of a stroke."""
    foot = 0.5 + (mark.box[2] - (mark.center[0] - (low - 0.5) * height)) / height
    stroke = sum(chances.get(name, ("", 0.0))[1] for name in ("1", "/", ")", "(", "-"))
    comma = 1 / (1 + np.exp(-(low - 0.8) / 0.06)) if mark.width < 0.45 * height else 0.0
    if foot > 0.9 and mark.height <= 0.5 * height:
        # A comma of a broad pen looks like a nine, but no digit is so small and low.
        stroke = max(stroke, 0.85)
    # A digit is seldom so small beside the others, least of all one of a stroke.
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


def _join_lines(lines: list[list[Place]]) -> list[list[Place]]:
    """Join lines that go on: after a sign, or with an equals sign, plus, times or over."""
    joined: list[list[Place]] = []
    for line in lines:
        if joined and line and (_may_go_on(line[0], "=+*") or _may_go_on(joined[-1][-1], "+-*")):
            joined[-1] = joined[-1] + line
        elif line:
            joined.append(line)
    return joined


def _may_go_on(place: Place, signs: str) -> bool:
    """Return whether a line goes on before or after this: a sign, but no slash, which may be a 1."""
    return _best(place) in set(signs) or any(choice.shown in set("÷:") for choice in place.choices)


def _best(place: Place) -> str:
    """Return the likeliest sign of a place; 'fraction' is one, too."""
    signs = [choice for choice in place.choices if choice.sign]
    return max(signs, key=lambda choice: choice.score).sign if signs else "none"
