"""Detection of single lines below, through, above and beside digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.components import find_components
from lenet5c.recognition.erasing import erase_lines
from lenet5c.recognition.filters import find_quantile
from lenet5c.recognition.lines import Line

#: Minimum strength of a digit's ink.
INK = 96
#: Minimum ratio of length to thickness of a rule.
SLENDER = 12.0
#: Minimum length of a rule below, through or above digits, in typical digit heights.
LONG = 1.35
#: Maximum distance of a fraction bar from the numbers above and below it, in typical digit heights,
#: and minimum ratio of the smaller distance to the larger.
FAR, ALIKE = 1.0, 0.35


def is_slender(line: Line) -> bool:
    """Return whether a line is long enough for a rule."""
    return line.length >= SLENDER * line.thickness


def find_marks(rest: NDArray[np.uint8], lines: list[Line]) -> dict[Line, str]:
    """Return lines below, through and above digits, and long upright ones, with their kinds."""
    # Most lines are strokes of digits; those that are short relative to the ink are skipped.
    _, high = _find_bodies(rest)
    flat = [
        line
        for line in lines
        if not line.upright and line.length >= max(6 * line.thickness, 0.4 * high)
    ]
    bodies, usual = _find_bodies(erase_lines(rest, flat))
    if usual == 0:
        return {}
    found = {}
    upright = [line for line in lines if line.upright]
    sides = [line for line in upright if line.length >= 0.8 * usual and is_slender(line)]
    for line in flat:
        kind = _judge(line, bodies, usual) if line.length >= 0.5 * usual else None
        # A digit's stroke continues at an end of its flat part.
        if kind and not (line.length < LONG * usual and _goes_on(rest, line, sides)):
            found[line] = kind
    for line in upright:
        if line.length >= 2.5 * usual and line.length >= 0.4 * len(rest) and is_slender(line):
            found[line] = "mark"
    for base in [line for line, kind in found.items() if kind == "underline"]:
        found |= dict.fromkeys(_find_ticks(base, upright, usual), "frame")
    return found


def _find_bodies(rest: NDArray[np.uint8]) -> tuple[NDArray[np.int64], float]:
    """Return the boxes of possible digits or parts of them, and the typical digit height."""
    parts = find_components(rest >= INK)
    if len(parts) == 0:
        return parts.boxes, 0.0
    height = parts.boxes[:, 2] - parts.boxes[:, 0]
    usual = find_quantile(height, parts.area, 2)
    return parts.boxes[height >= 0.1 * usual], usual


def _goes_on(rest: NDArray[np.uint8], line: Line, sides: list[Line]) -> bool:
    """Return whether a stroke goes up from an end of a horizontal line that is not in a box."""
    little = max(2, round(line.thickness))
    for end, step in ((line.start, 1), (line.end - 1, -1)):
        edge = line.at(end + step * little) - line.thickness / 2
        top, bottom = (max(0, round(edge - far)) for far in (little + 2, 2))
        left, right = sorted((end - step * little, end + step * little))
        part = rest[top:bottom, max(0, left) : right + 1] >= INK
        corner = any(abs(float(side.middle[-1]) - end) <= 3 * little for side in sides)
        if part.size and part.any(axis=1).all() and not corner:
            return True
    return False


def _are_about(up: NDArray[np.float64], down: NDArray[np.float64], usual: float) -> bool:
    """Return whether the nearest digits above and below a line are at similar distances."""
    over, under = (float(gap[gap >= 0].min(initial=np.inf)) for gap in (up, down))
    near, far = sorted((over, under))
    return far <= FAR * usual and near >= ALIKE * far


def _judge(line: Line, bodies: NDArray[np.int64], usual: float) -> str | None:
    """Return the kind of rule that a horizontal line is, or None if it is not a rule."""
    start, end = line.start, line.end
    parts = bodies
    bodies = bodies[bodies[:, 2] - bodies[:, 0] >= 0.4 * usual]
    tops, lefts, bottoms, rights = bodies.T

    def row_at(boxes: NDArray[np.int64]) -> NDArray[np.float64]:
        columns = np.clip((boxes[:, 1] + boxes[:, 3]) // 2 - start, 0, line.length - 1)
        return line.middle[columns]

    row = row_at(bodies)
    over = (np.minimum(rights, end) - np.maximum(lefts, start)) > 0.3 * np.minimum(
        rights - lefts, line.length
    )
    little = 0.15 * usual
    through = over & (tops < row - little) & (bottoms > row + little)
    # Same arithmetic as for all parts below, so that both comparisons agree to the last bit.
    up, down = row - bottoms, tops - row
    above = over & ~through & (-little <= up) & (up <= 0.6 * usual)
    below = over & ~through & (-little <= down) & (down <= 0.6 * usual)
    if line.length >= LONG * usual:
        if 0 < 2 * through.sum() <= min(above.sum(), below.sum()):
            return None  # fraction bars joined with a sign between them
        if not through.any() and _are_about(up[over], down[over], usual):
            # Numbers may be farther from a fraction bar than digits from an underline.
            above = over & (-little <= up) & (up <= FAR * usual)
            below = over & (-little <= down) & (down <= FAR * usual)
        if through.any():
            whole = through & (start <= lefts + little) & (end >= rights - little)
            # A minus sign that meets a flat stroke of a digit is not a strike.
            strike = whole.any() or line.length > 3 * usual
            return "strike" if strike and is_slender(line) else None
        if above.any() and below.any():
            # Include signs, and digits farther from the line than their neighbors.
            inside = (parts[:, 1] < end) & (parts[:, 3] > start)
            up, down = row_at(parts) - parts[:, 2], parts[:, 0] - row_at(parts)
            sides = [inside & (-little <= gap) & (gap <= 1.2 * usual) for gap in (up, down)]
            widest = max(parts[side, 3].max() - parts[side, 1].min() for side in sides)
            if line.length <= 2 * widest + 0.5 * usual:
                return None  # a fraction bar
            return "mark"
        if above.any():
            return "underline"
        if below.any():
            hanging = tops[below] - row[below] <= line.thickness / 2 + 2
            if hanging.all() and line.length <= 1.2 * usual * len(hanging):
                return None  # touching bars of sevens and fives
            return "overline"
        beside = (tops < row) & (bottoms > row) & ~over
        before, after = (np.abs(gap) <= usual for gap in (start - rights, lefts - end))
        if (beside & (before | after)).any() and line.length <= 2 * usual and start > 0:
            return None  # a minus sign
        if (beside & before).any() and (beside & after).any():
            return None  # an equals sign followed by a minus sign
        return "mark"
    if through.any() or below.any() or not above.any():
        return None
    # A short line under one digit: detached from it, or extending past it on both sides.
    left, right, bottom = lefts[above].min(), rights[above].max(), bottoms[above].max()
    if right - left > 1.5 * usual:
        return None
    gap = line.at((left + right) / 2) - line.thickness / 2 - bottom
    over_left, over_right = left - start, end - right
    little = min(over_left, over_right)
    if (
        line.length >= 0.5 * usual
        and little >= 0.03 * usual
        and over_left + over_right >= 0.2 * usual
    ):
        return "underline"
    if gap >= 0.5 * line.thickness and little >= -0.1 * usual:
        return "underline"
    return None


def _find_ticks(base: Line, upright: list[Line], usual: float) -> list[Line]:
    """Return the teeth of a comb: ticks of equal length on a line, the outer ones at its ends."""
    near = 2 * base.thickness + 4
    teeth = []
    for line in upright:
        column = float(line.middle[-1])
        on = abs(line.end - base.at(column)) <= near or abs(line.start - base.at(column)) <= near
        if on and 0.12 * usual <= line.length <= 1.8 * usual and column >= base.start - near:
            teeth.append(line)
    teeth = [line for line in teeth if line.middle[-1] <= base.end + near]
    if len(teeth) < 2:
        return []
    first = min(teeth, key=lambda line: float(line.middle[-1]))
    last = max(teeth, key=lambda line: float(line.middle[-1]))
    if first.middle[-1] > base.start + near or last.middle[-1] < base.end - near:
        return []
    length = (first.length + last.length) / 2
    return [line for line in teeth if abs(line.length - length) <= 0.15 * length + 2]
