"""Removal of rules: ruled lines of the paper, underlines, strikes, boxes and tables.

Rules are recognized by their position among the other lines and by their length relative to the
digits. Minus signs, fraction bars, ones, and the bars of 2, 4, 5 and 7 are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.centering import bound
from lenet5c.recognition.erasing import erase_lines
from lenet5c.recognition.lines import Line, find_lines
from lenet5c.recognition.rule_marks import INK, SLENDER, find_marks, is_slender

#: Minimum length of ruled lines, as a fraction of the picture's side, and their minimum number.
PAPER, FAMILY = 0.6, 3
#: Minimum ratio of length to thickness, and minimum number, of box sides found by their ends.
SHORT, SIDES = 4.0, 4
#: Minimum ratio of length to thickness of the sides of a box around ink.
BROAD = 5.0
#: Number of places where ink joins the sides of a broad box, from which it is no box around ink.
JOINTS = 2
#: Minimum difference in slant, in columns per row, between a stroke and the sides of boxes.
LEANING = 0.1


@dataclass(frozen=True)
class Rule:
    """A removed line.

    Attributes
    ----------
    line : tuple of float
        End points (y0, x0, y1, x1).
    width : float
        Thickness.
    kind : {'paper', 'frame', 'underline', 'strike', 'overline', 'mark'}
        Ruled line of the paper; side of a box or table; line below, through or above digits; any
        other line.
    """

    line: tuple[float, float, float, float]
    width: float
    kind: str


def remove_rules(
    strength: NDArray[np.uint8], marks: bool = True
) -> tuple[NDArray[np.uint8], list[Rule]]:
    """Remove the rules from a plane of ink (h, w); return the result and the rules.

    Strokes that cross a rule are preserved. If `marks` is False, only ruled lines of the paper and
    frames are removed.

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
    chosen |= _leave_strokes(_find_frames(strength, lines, chosen))
    rest = erase_lines(strength, list(chosen))
    by_itself = find_marks(rest, [line for line in lines if line not in chosen]) if marks else {}
    found = chosen | by_itself
    more = _find_rests(lines, found)
    sides = _find_sides([line for line in lines if line not in found], found)
    more |= {line: kind for line, kind in _leave_strokes(found | sides).items() if line in sides}
    more |= _find_spaced([line for line in lines if line not in found | more], found)
    more |= _find_twins([line for line in lines if line not in found | more], found)
    rest = erase_lines(rest, list(by_itself | more))
    found |= more
    return rest, [Rule(line.box, line.thickness, kind) for line, kind in found.items()]


def _find_paper(lines: list[Line], shape: tuple[int, ...]) -> dict[Line, str]:
    """Return the ruled lines: many similar lines across the picture."""
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
            # Add lines that are partly visible: at an edge, or spaced like the others.
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
    """Return the margin lines, which cross nearly all lines of a family at right angles."""
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
    """Common properties of similar, equally spaced lines."""

    thickness: float
    level: float
    slope: float
    rows: NDArray[np.float64]  # sorted rows of the lines at column 0
    distance: float

    def has(self, line: Line) -> bool:
        """Return whether a line matches the family in thickness and strength."""
        off = min(
            abs(line.level - self.level),
            # A line that falls between two pixel rows is spread over both.
            abs(line.level * line.thickness - self.level * self.thickness) / self.thickness,
        )
        return line.thickness <= 1.5 * self.thickness + 1 and off <= 0.25 * self.level + 15

    def fits(self, line: Line) -> bool:
        """Return whether a line is longer than the spacing and is spaced like the family."""
        return line.length >= self.distance and self.is_spaced(line)

    def is_spaced(self, line: Line) -> bool:
        """Return whether a line is a multiple of the spacing away from the nearest line."""
        if not np.isfinite(self.distance):
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
    """Return the lines that meet at the corners of boxes."""
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
        # Two lines that cross two strokes do not form a box.
        if rows.max() - rows.min() >= 0.6 * min(upright[i].length, upright[j].length):
            top, bottom = (flat[shared[place]] for place in (rows.argmin(), rows.argmax()))
            sides = [flat[k] for k in shared if is_slender(flat[k])] + [upright[i], upright[j]]
            if len(sides) < 4 or not all(map(is_slender, sides)):
                if not _has_ink(strength, top, bottom, upright[i], upright[j]):
                    continue
                sides = [top, bottom, upright[i], upright[j]]
            found |= {line: "frame" for line in sides if line not in chosen}
    return found


def _has_ink(strength: NDArray[np.uint8], top: Line, bottom: Line, one: Line, other: Line) -> bool:
    """Return whether broad lines form a box around tall ink, not the strokes of one digit."""
    left, right = sorted((one, other), key=lambda line: float(line.middle.mean()))
    sides = (top, left, bottom, right)
    thick = [line.thickness for line in sides]
    if max(thick) > 1.6 * min(thick) + 1:
        return False
    near = 2 * max(thick) + 2
    height, width = (min(line.length for line in pair) for pair in ((left, right), (top, bottom)))
    # The sides of a box end at its corners.
    if max(left.length, right.length) > height + 2 * near:
        return False
    if max(top.length, bottom.length) > width + 2 * near:
        return False
    first, start = (round(line.middle.max() + line.thickness / 2 + 2) for line in (top, left))
    last, end = (round(line.middle.min() - line.thickness / 2 - 1) for line in (bottom, right))
    ink = strength[max(0, first) : max(0, last), max(0, start) : max(0, end)] >= INK
    inside = bound(ink)
    if inside is None or inside[2] - inside[0] < 0.3 * height:
        return False
    # A digit may touch a side; lines that join the sides, as in a cube, belong to them.
    return _count_joints(ink) < JOINTS


def _count_joints(ink: NDArray[np.bool_]) -> int:
    """Return the number of places where the ink in a box reaches its sides."""
    ring = np.concatenate([ink[0], ink[1:, -1], ink[-1, -2::-1], ink[-2:0:-1, 0]])
    return int(np.count_nonzero(ring & ~np.roll(ring, 1)))


def _leave_strokes(rules: dict[Line, str]) -> dict[Line, str]:
    """Drop upright frame lines that differ from the others, such as ones written in boxes."""
    upright = [line for line, kind in rules.items() if line.upright and kind == "frame"]
    if len(upright) < SIDES:
        return rules
    thick, level, lean = np.median(
        [(line.thickness, line.level, line.straight[1]) for line in upright], axis=0
    )
    strokes = {
        line
        for line in upright
        if line.thickness > 1.6 * thick + 1
        and (abs(line.level - level) > 0.25 * level + 15 or abs(line.straight[1] - lean) > LEANING)
    }
    return {line: kind for line, kind in rules.items() if line not in strokes}


def _find_spaced(lines: list[Line], found: dict[Line, str]) -> dict[Line, str]:
    """Return broken sides of boxes: spaced like the other sides, with an end on a rule."""
    sides = [line for line, kind in found.items() if line.upright and kind == "frame"]
    flat = [line for line in found if not line.upright]
    if len(sides) < SIDES:
        return {}
    alike = _describe_family(sides)
    least = 0.25 * float(np.median([line.length for line in sides]))
    return {
        line: "frame"
        for line in lines
        if line.upright
        and line.length >= least
        and alike.has(line)
        and alike.is_spaced(line)
        and any(
            _is_on(rule, y, float(x), line)
            for y, x in ((line.start, line.middle[0]), (line.end, line.middle[-1]))
            for rule in flat
        )
    }


def _find_twins(lines: list[Line], found: dict[Line, str]) -> dict[Line, str]:
    """Return lines that run along rules so closely that they belong to them.

    Rules drawn by hand are not straight and may be detected as several lines.
    """
    twins: dict[Line, str] = {}
    starts, ends, thick, upright = (
        np.array([(line.start, line.end, line.thickness, line.upright) for line in lines])
        .reshape(-1, 4)
        .T
    )
    for rule, kind in found.items():
        along = (
            (upright == rule.upright)
            & (starts >= rule.start - 2)
            & (ends <= rule.end + 2)
            & (thick <= 1.3 * rule.thickness + 0.5)
        )
        for k in np.flatnonzero(along):
            columns = np.arange(lines[k].start, lines[k].end) - rule.start
            middle = rule.middle[np.clip(columns, 0, rule.length - 1)]
            if float(np.abs(lines[k].middle - middle).mean()) <= rule.thickness + 1:
                twins[lines[k]] = kind
    return twins


def _find_sides(lines: list[Line], found: dict[Line, str]) -> dict[Line, str]:
    """Return short upright lines from one rule to another, if there are enough of them.

    They are sides of adjacent boxes whose horizontal sides were detected as single lines. Known
    frame sides count toward the minimum number.
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
    # On squared paper, strokes of digits may also end at lines.
    squared = upright.count("paper") >= FAMILY
    enough = len(sides) + upright.count("frame") >= SIDES
    if not enough or (squared and len(sides) < len(lines) / 2):
        return {}
    return dict.fromkeys(sides, "frame")


def _is_on(rule: Line, row: int, column: float, line: Line) -> bool:
    """Return whether the end of an upright line is on or near a rule."""
    near = (rule.thickness + line.thickness) / 2 + 2
    inside = rule.start - 2 * near <= column <= rule.end + 2 * near
    return inside and abs(rule.at(column) - row) <= near


def _meet(flat: list[Line], upright: list[Line]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which lines (nearly) meet and the row of each intersection, (horizontal, upright)."""
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


def _find_rests(lines: list[Line], found: dict[Line, str]) -> dict[Line, str]:
    """Return the lines that continue rules on the other side of digits."""
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
        # A bent rule is extrapolated from its nearer end.
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
