"""Rules, which are no part of a digit: lines of the paper, underlines, strikes, boxes, tables.

A line is a rule by its place among the others and by its length beside the digits': a minus sign, a
fraction bar, a 1 and the bars of 2, 4, 5 and 7 stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.centering import bound
from lenet5c.recognition.components import find_components
from lenet5c.recognition.erasing import erase_lines
from lenet5c.recognition.filters import find_quantile
from lenet5c.recognition.lines import Line, find_lines

#: Strength of a digit's ink.
INK = 96
#: Length over thickness of a rule, at least.
SLENDER = 12.0
#: Lines of the paper: share of the picture's side, and how many of them.
PAPER, FAMILY = 0.6, 3
#: Sides of boxes that are found by their ends: length over thickness, and how many, at least.
SHORT, SIDES = 4.0, 4
#: Length over thickness of the sides of a box about ink, at least.
BROAD = 5.0
#: Times the height of digits that a line beside them has, at least.
LONG = 1.35
#: From a fraction bar to the numbers above and below it, at most, in usual heights; and of the
#: smaller distance to the larger, at least.
FAR, ALIKE = 1.0, 0.35


@dataclass(frozen=True)
class Rule:
    """A line that was taken out.

    Attributes
    ----------
    line : tuple of float
        Its ends: (y0, x0, y1, x1).
    width : float
        Its thickness.
    kind : {'paper', 'frame', 'underline', 'strike', 'overline', 'mark'}
        One of many lines over the picture; a side of boxes or a table; a line below, through or
        above digits; another one.
    """

    line: tuple[float, float, float, float]
    width: float
    kind: str


def remove_rules(
    strength: NDArray[np.uint8], marks: bool = True
) -> tuple[NDArray[np.uint8], list[Rule]]:
    """Return a plane of ink (h, w) without rules, and the rules.

    Strokes that cross a rule are whole in the result. With `marks` false, only lines of the paper
    and frames are taken out.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.recognition.rules import remove_rules
    >>> strength = np.zeros((100, 100), np.uint8)
    >>> strength[20:70, 48:52] = strength[76:78, 10:90] = 255
    >>> cleaned, rules = remove_rules(strength)
    >>> bool(cleaned[20:70, 48:52].all()), bool(cleaned[74:].any())
    (True, False)
    >>> [rule.kind for rule in rules]
    ['underline']
    """
    lines = [line for line in find_lines(strength) if line.coverage >= 0.4]
    chosen = _find_paper(lines, strength.shape)
    chosen |= _find_frames(strength, lines, chosen)
    rest = erase_lines(strength, list(chosen))
    by_itself = _find_marks(rest, [line for line in lines if line not in chosen]) if marks else {}
    found = chosen | by_itself
    more = _find_rests(lines, found)
    more |= _find_sides([line for line in lines if line not in found], found)
    rest = erase_lines(rest, list(by_itself | more))
    found |= more
    return rest, [Rule(line.box, line.thickness, kind) for line, kind in found.items()]


def _find_paper(lines: list[Line], shape: tuple[int, ...]) -> dict[Line, str]:
    """Return lines of which there are many over the whole picture."""
    found: dict[Line, str] = {}
    for upright in (False, True):
        side = shape[0] if upright else shape[1]
        along = [
            line
            for line in lines
            if line.upright == upright and line.length >= SLENDER * line.thickness
        ]
        over = [line for line in along if line.length >= PAPER * side]
        if len(over) >= FAMILY:
            alike = _describe_family(over)
            found |= dict.fromkeys(_find_margins(lines, over), "paper")
            # Some are seen in part: from the edge on, or at the distance of the others.
            found |= {
                line: "paper"
                for line in along
                if line in over
                or (
                    alike.has(line)
                    and (
                        (
                            line.length >= PAPER / 2 * side
                            and (line.start <= 0.02 * side or line.end >= 0.98 * side)
                        )
                        or alike.fits(line)
                    )
                )
            }
    return found


def _find_margins(lines: list[Line], family: list[Line]) -> list[Line]:
    """Return the lines of a margin: straight across nearly all of a family."""
    first = min(line.middle.min() for line in family)
    last = max(line.middle.max() for line in family)
    return [
        line
        for line in lines
        if line.upright != family[0].upright
        and line.length >= max(SLENDER * line.thickness, 0.9 * (last - first))
    ]


@dataclass(frozen=True, eq=False)
class _Family:
    """Measures of lines that are alike and at equal distances."""

    thickness: float
    level: float
    slope: float
    rows: NDArray[np.float64]  # of the lines at column 0, in order
    distance: float

    def has(self, line: Line) -> bool:
        """Return whether a line is as thick and as strong as these."""
        return (
            line.thickness <= 1.5 * self.thickness + 1
            and abs(line.level - self.level) <= 0.25 * self.level + 15
        )

    def fits(self, line: Line) -> bool:
        """Return whether a line, longer than the distance, is where these have one."""
        if line.length < self.distance:
            return False
        row = float(line.middle.mean()) - self.slope * (line.start + line.end) / 2
        off = row - self.rows[np.abs(self.rows - row).argmin()]
        count = round(off / self.distance)
        near = abs(off - count * self.distance) <= 0.08 * self.distance + 1
        return abs(count) <= 2 and near


def _describe_family(lines: list[Line]) -> _Family:
    slope = float(np.median([line.straight[1] for line in lines]))
    rows = np.sort(
        [float(line.middle.mean()) - slope * (line.start + line.end) / 2 for line in lines]
    )
    steps = np.diff(rows)
    distance = float(np.median(steps[steps > 2])) if (steps > 2).any() else np.inf
    thickness = float(np.median([line.thickness for line in lines]))
    return _Family(
        thickness, float(np.median([line.level for line in lines])), slope, rows, distance
    )


def _find_frames(
    strength: NDArray[np.uint8], lines: list[Line], chosen: dict[Line, str]
) -> dict[Line, str]:
    """Return lines that meet at the corners of boxes."""
    flat = [line for line in lines if not line.upright and line.length >= BROAD * line.thickness]
    upright = [line for line in lines if line.upright and line.length >= BROAD * line.thickness]
    if len(flat) < 2 or len(upright) < 2:
        return {}
    meets, crossing = _meet(flat, upright)
    common = meets.astype(int).T @ meets.astype(int)
    found: dict[Line, str] = {}
    for i, j in np.argwhere(np.triu(common >= 2, 1)):
        shared = np.flatnonzero(meets[:, i] & meets[:, j])
        rows = crossing[shared, i]
        # Two lines through two strokes are no box.
        if rows.max() - rows.min() >= 0.6 * min(upright[i].length, upright[j].length):
            top, bottom = (flat[shared[place]] for place in (rows.argmin(), rows.argmax()))
            sides = [flat[k] for k in shared if _is_slender(flat[k])] + [upright[i], upright[j]]
            if len(sides) < 4 or not all(map(_is_slender, sides)):
                if not _has_ink(strength, top, bottom, upright[i], upright[j]):
                    continue
                sides = [top, bottom, upright[i], upright[j]]
            found |= {line: "frame" for line in sides if line not in chosen}
    return found


def _has_ink(strength: NDArray[np.uint8], top: Line, bottom: Line, one: Line, other: Line) -> bool:
    """Return whether broad lines are a box about something high, not strokes of one digit."""
    left, right = sorted((one, other), key=lambda line: float(line.middle.mean()))
    sides = (top, left, bottom, right)
    thick = [line.thickness for line in sides]
    if max(thick) > 1.6 * min(thick) + 1:
        return False
    near = 2 * max(thick) + 2
    height, width = (min(line.length for line in pair) for pair in ((left, right), (top, bottom)))
    # The sides end at the corners.
    if max(left.length, right.length) > height + 2 * near:
        return False
    if max(top.length, bottom.length) > width + 2 * near:
        return False
    first, start = (round(line.middle.max() + line.thickness / 2 + 2) for line in (top, left))
    last, end = (round(line.middle.min() - line.thickness / 2 - 1) for line in (bottom, right))
    inside = bound(strength[max(0, first) : max(0, last), max(0, start) : max(0, end)] >= INK)
    return inside is not None and inside[2] - inside[0] >= 0.3 * height


def _find_sides(lines: list[Line], found: dict[Line, str]) -> dict[Line, str]:
    """Return short upright lines from one rule to another, if there are some with the frames'.

    They are the sides of boxes whose other sides have been taken for one line.
    """
    flat = [line for line in found if not line.upright]
    upright = [kind for line, kind in found.items() if line.upright]
    lines = [line for line in lines if line.upright and line.length >= SHORT * line.thickness]
    sides = []
    for line in lines:
        ends = ((line.start, line.middle[0]), (line.end, line.middle[-1]))
        on = [{rule for rule in flat if _is_on(rule, y, float(x), line)} for y, x in ends]
        if on[0] and on[1] - on[0]:
            sides.append(line)
    # On squared paper some strokes of digits end at lines, too.
    squared = upright.count("paper") >= FAMILY
    enough = len(sides) + upright.count("frame") >= SIDES
    if not enough or (squared and len(sides) < len(lines) / 2):
        return {}
    return dict.fromkeys(sides, "frame")


def _is_on(rule: Line, row: int, column: float, line: Line) -> bool:
    """Return whether the end of an upright line is on a rule, or nearly."""
    near = (rule.thickness + line.thickness) / 2 + 2
    inside = rule.start - 2 * near <= column <= rule.end + 2 * near
    return inside and abs(rule.at(column) - row) <= near


def _is_slender(line: Line) -> bool:
    return line.length >= SLENDER * line.thickness


def _meet(flat: list[Line], upright: list[Line]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which lines meet, or nearly, and the row where they would: (horizontal, upright)."""
    row, slope, first, end, thick = np.array(
        [(*line.straight, line.start, line.end, line.thickness) for line in flat]
    ).T[:, :, np.newaxis]
    column, lean, top, bottom, wide = np.array(
        [(*line.straight, line.start, line.end, line.thickness) for line in upright]
    ).T[:, np.newaxis]
    y = (row + slope * column) / (1 - slope * lean)
    x = column + lean * y
    near = 2 * (thick + wide) + 2
    across = (x >= first - near) & (x <= end + near)
    return across & (y >= top - near) & (y <= bottom + near), y


def _find_marks(rest: NDArray[np.uint8], lines: list[Line]) -> dict[Line, str]:
    """Return lines below, through and above digits, and long upright ones beside them."""
    # Most are strokes of digits: those that are short beside the ink need no closer look.
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
    sides = [line for line in upright if line.length >= 0.8 * usual and _is_slender(line)]
    for line in flat:
        kind = _judge(line, bodies, usual) if line.length >= 0.5 * usual else None
        # A stroke of a digit goes on at an end of its flat part.
        if kind and not (line.length < LONG * usual and _goes_on(rest, line, sides)):
            found[line] = kind
    for line in upright:
        if line.length >= 2.5 * usual and line.length >= 0.4 * len(rest) and _is_slender(line):
            found[line] = "mark"
    for base in [line for line, kind in found.items() if kind == "underline"]:
        found |= dict.fromkeys(_find_ticks(base, upright, usual), "frame")
    return found


def _find_bodies(rest: NDArray[np.uint8]) -> tuple[NDArray[np.int64], float]:
    """Return the boxes of what may be digits or parts of some, and the digits' usual height."""
    parts = find_components(rest >= INK)
    if len(parts) == 0:
        return parts.boxes, 0.0
    height = parts.boxes[:, 2] - parts.boxes[:, 0]
    usual = find_quantile(height, parts.area, 2)
    return parts.boxes[height >= 0.1 * usual], usual


def _goes_on(rest: NDArray[np.uint8], line: Line, sides: list[Line]) -> bool:
    """Return whether ink goes up from an end of a horizontal line that is no side of a box."""
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
    """Return whether digits so far above and below a line are nearly as far from it on each side."""
    over, under = (float(gap[gap >= 0].min(initial=np.inf)) for gap in (up, down))
    near, far = sorted((over, under))
    return far <= FAR * usual and near >= ALIKE * far


def _judge(line: Line, bodies: NDArray[np.int64], usual: float) -> str | None:
    """Return the kind of a horizontal line as a rule, None if it is none."""
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
    # Written as for all parts below: what is above or below is among those, to the last bit.
    up, down = row - bottoms, tops - row
    above = over & ~through & (-little <= up) & (up <= 0.6 * usual)
    below = over & ~through & (-little <= down) & (down <= 0.6 * usual)
    if line.length >= LONG * usual:
        if 0 < 2 * through.sum() <= min(above.sum(), below.sum()):
            return None  # bars of fractions in a row, with a sign between them
        if not through.any() and _are_about(up[over], down[over], usual):
            # A fraction's numbers may be farther from its bar than digits from an underline.
            above = over & (-little <= up) & (up <= FAR * usual)
            below = over & (-little <= down) & (down <= FAR * usual)
        if through.any():
            whole = through & (start <= lefts + little) & (end >= rights - little)
            # A minus sign before a digit with a flat stroke at its height is no strike.
            strike = whole.any() or line.length > 3 * usual
            return "strike" if strike and _is_slender(line) else None
        if above.any() and below.any():
            # Signs, and digits that are farther from the line than their neighbors, count, too.
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
                return None  # bars of sevens and fives that touch
            return "overline"
        beside = (tops < row) & (bottoms > row) & ~over
        before, after = (np.abs(gap) <= usual for gap in (start - rights, lefts - end))
        if (beside & (before | after)).any() and line.length <= 2 * usual and start > 0:
            return None  # a minus sign
        if (beside & before).any() and (beside & after).any():
            return None  # that of an equals sign and a minus sign after it
        return "mark"
    if through.any() or below.any() or not above.any():
        return None
    # A short line under one digit, apart from it or further on either side.
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


def _find_rests(lines: list[Line], found: dict[Line, str]) -> dict[Line, str]:
    """Return lines that continue rules at the other side of digits."""
    others = [line for line in lines if line not in found]
    if not others or not found:
        return {}
    starts, ends, middles, thick, levels, upright = np.array(
        [
            (
                *(each.start, each.end, each.at((each.start + each.end - 1) / 2)),
                *(each.thickness, each.level, each.upright),
            )
            for each in others
        ]
    ).T
    rests: dict[Line, str] = {}
    for line, kind in found.items():
        if line.length < 2 * SLENDER * line.thickness:
            continue
        row, slope = line.straight
        gap = np.maximum(starts - line.end, line.start - ends)
        middle = (starts + ends - 1) / 2
        # What bends is known by its nearer end.
        beyond = middle > line.end
        near = np.where(beyond, line.end - 1, line.start)
        expected = np.where(beyond, line.middle[-1], line.middle[0]) + slope * (middle - near)
        off = np.minimum(np.abs(middles - expected), np.abs(middles - row - slope * middle))
        same = (
            (upright == line.upright)
            & (thick >= 0.6 * line.thickness - 1)
            & (thick <= 1.3 * line.thickness + 0.5)
            & (np.abs(levels - line.level) <= 0.3 * line.level)
            & (gap >= 0)
            & (gap <= line.length + ends - starts)
            & (off <= 1 + 0.3 * line.thickness + 0.01 * gap)
        )
        for k in np.flatnonzero(same):
            rests.setdefault(others[k], kind)
    return rests


def _find_ticks(base: Line, upright: list[Line], usual: float) -> list[Line]:
    """Return the teeth of a comb: marks of one length on a line, the outer ones at its ends."""
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
