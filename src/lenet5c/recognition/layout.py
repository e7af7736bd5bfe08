"""Layout of a written sum: candidates for each sign from its shape, size and position.

The net recognizes shapes only, such as a blob, a bar or a slash; the position gives their meaning.
A low blob is a point, one at half height a multiplication dot, and two above each other a colon. A
bar is a minus, half of an equals sign, the middle of a division sign, or a fraction bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lenet5c.recognition.decoding import Choice, Place, make_fraction
from lenet5c.recognition.digit import Box
from lenet5c.recognition.mark_choices import weigh
from lenet5c.recognition.marks import Mark, may_be_bar, may_be_dot, measure_height, measure_lean
from lenet5c.recognition.pieces import unite

#: Sizes and distances are in typical digit heights.
TALL = 0.55  #: minimum height of a digit
REACH = 0.85  #: maximum distance of a fraction bar from its numerator and denominator
SPECKS = (0.05, 1.5)  #: vertical positions beyond which a dot is a speck
SURELY = 0.3  #: maximum speck probability of a dot in a division sign


@dataclass(frozen=True)
class Layout:
    """The lines of a sheet, each a list of places from left to right."""

    lines: list[list[Place]]
    raised: Box | None = None  #: box of a sign raised above the line like an exponent


def lay_out(marks: Sequence[Mark]) -> Layout:
    """Arrange the marks of a sheet in lines."""
    usual = measure_height(marks)
    if usual == 0:
        return Layout([])
    marks = _join_bars(_join_dots(list(marks), usual), usual)
    marks = _join_fractions(marks, usual)
    lines, raised = [], None
    for row in _group_rows(marks, usual):
        if all(may_be_dot(mark, usual) for mark in row):
            continue  # specks
        raised = raised or _find_raised(row, usual)
        lines.append(_place_row(row, usual))
    return Layout(_join_lines(lines), raised)


def _join(marks: Sequence[Mark], sign: str, shown: str) -> Mark:
    """Combine marks into one sign of high probability."""
    box = unite(mark.box for mark in marks)
    return Mark(box, {}, Place((Choice(sign, float(np.log(0.98)), shown),), 0.0, box))


def _join_dots(marks: list[Mark], usual: float) -> list[Mark]:
    """Join bars with dots above and below to division signs, and pairs of dots to colons."""
    dots = [mark for mark in marks if may_be_dot(mark, usual) and mark.speck <= SURELY]
    gone: set[int] = set()
    joined = []
    for bar in (mark for mark in marks if may_be_bar(mark, usual)):
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
    """Join pairs of bars of similar width, one above the other, to equals signs."""
    bars = sorted((mark for mark in marks if may_be_bar(mark, usual)), key=lambda bar: bar.center)
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
    """Join fraction bars with the marks above and below, shortest bars first; drop underlines."""
    bars = sorted((mark for mark in marks if may_be_bar(mark, usual)), key=lambda bar: bar.width)
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
                # The bar sets the vertical position of a fraction in its line.
                marks.append(Mark(box, {}, place))
        elif len(above) >= 2 and bar.width >= 1.6 * usual:
            marks = [mark for mark in marks if mark is not bar]
    return marks


def _axis(mark: Mark) -> float:
    """Return the row that aligns a mark in its line: its center, or the bar of a fraction."""
    if mark.place is not None and mark.place.parts:
        bar = next(part for part in mark.place.parts if part.choices[0].shown == "/")
        return (bar.box[0] + bar.box[2]) / 2
    return mark.center[0]


def _find_beside(bar: Mark, marks: list[Mark], usual: float, side: int) -> list[Mark]:
    """Return the marks near a bar, above it (`side` -1) or below it (1), with small ones."""
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
    """Return whether a bar has digits on both sides at its height, which makes it a minus."""
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
    """Group marks into lines, each from left to right; small marks join the nearest line."""
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
    """Interpolate the center row and height of a line's digits at column `x`."""
    tall = [mark for mark in row if mark.place is None and mark.height >= TALL * usual] or row
    tall = sorted(tall, key=lambda mark: mark.center[1])
    columns = [mark.center[1] for mark in tall]
    middle = float(np.interp(x, columns, [_axis(mark) for mark in tall]))
    height = float(np.interp(x, columns, [mark.height for mark in tall]))
    return middle, min(max(height, 0.8 * usual), 1.2 * usual) if usual else height


def _find_raised(row: Sequence[Mark], usual: float) -> Box | None:
    """Return the box of a digit raised after another sign, as an exponent is, or None."""
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
    places, right, lean = [], None, measure_lean(row)
    for k, mark in enumerate(row):
        gap = 0.0 if right is None else (mark.box[1] - right) / usual
        if mark.place is not None:
            place = mark.place
        else:
            others = [other for j, other in enumerate(row) if j != k]
            middle, height = _interpolate(others or [mark], mark.center[1], usual)
            low = 0.5 + (mark.center[0] - middle) / height
            if may_be_dot(mark, usual) and not SPECKS[0] <= low <= SPECKS[1]:
                continue
            place = Place(weigh(mark, usual, middle, height, lean), 0.0, mark.box)
        room = 0.0
        if right is not None and k + 1 < len(row):
            room = (row[k + 1].box[1] - right) / usual
        places.append(replace(place, gap=gap, room=room))
        if mark.speck <= 0.5:
            right = max(right or 0, mark.box[3])
    return places


def _join_lines(lines: list[list[Place]]) -> list[list[Place]]:
    """Join lines where one ends or the next begins with a sign such as an equals sign or a plus."""
    joined: list[list[Place]] = []
    for line in lines:
        if joined and line and (_may_go_on(line[0], "=+*") or _may_go_on(joined[-1][-1], "+-*")):
            joined[-1] = joined[-1] + line
        elif line:
            joined.append(line)
    return joined


def _may_go_on(place: Place, signs: str) -> bool:
    """Return whether a line may continue at a place, by its sign.

    A slash does not count, since it may be a 1.
    """
    return _best(place) in set(signs) or any(choice.shown in set("÷:") for choice in place.choices)


def _best(place: Place) -> str:
    """Return the most probable sign of a place, which may be 'fraction'."""
    signs = [choice for choice in place.choices if choice.sign]
    return max(signs, key=lambda choice: choice.score).sign if signs else "none"
