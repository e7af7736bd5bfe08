"""Most probable sum for the sign candidates of a line, found by dynamic programming.

Each sign has several candidates with a probability each. A string of candidates is a sum if it
follows the grammar. A small finite-state machine tracks the grammar from left to right, so that
nearly all strings are scored in one pass, and the probability of the best string is normalized over
all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lenet5c.recognition.digit import Box
from lenet5c.recognition.grammar import (
    DIGITS,
    MOST_DEPTH,
    MOST_SIGNS,
    Result,
    SumError,
    join_number,
    work_out,
)

#: Beam width: hypotheses per state, and readings of each side of a fraction.
KEPT = 6
#: Prior odds that a picture shows a sum rather than random signs.
PRIOR = 100.0
#: Slope and offset of the calibrated log odds of a line, as a linear function of the raw ones;
#: fitted by benchmarks/sum_probabilities.py --count 30 --seed 21.
CALIBRATION = (0.74, 0.07)
#: Relative probabilities of unusual notation.
SELDOM = {
    "minus after a sign": 0.02,  # 3×−4 without brackets
    "no sign before a bracket": 0.1,
    "no sign after a bracket": 0.03,
    "leading zero": 0.02,
    "leading mark": 0.02,
    "second equals sign": 0.1,
    "mixed number": 0.5,
    "leading minus": 0.3,
    "several marks": 0.05,
}
#: Logarithms of `SELDOM`.
COST = {name: float(np.log(share)) for name, share in SELDOM.items()}
#: Widest normal gap between two digits of a number, as a fraction of their height.
NEAR = 0.55
#: Log-probability penalty per digit height of gap beyond `NEAR`.
WIDE = 5.0
#: Gaps within a number and beside a sign, in digit heights: prior means, weight of the priors in
#: observed gaps, standard deviation, and minimum difference between the two means.
WITHIN, BESIDE, KNOWN = 0.14, 0.32, 2.0
SPREAD, APART = 0.11, 0.08
#: Maximum log odds that a gap contributes either way.
MOST_LEAN = 1.5


@dataclass(frozen=True)
class Choice:
    """One candidate for a sign.

    `sign` is a digit, one of ``+-*/=()``, a mark ``.`` or ``,``, 'fraction', or '' for a speck.
    `shown` is its written form. `ascii` is the expression and is set for fractions only.
    """

    sign: str
    score: float  #: logarithm of the probability
    shown: str
    ascii: str = ""
    parts: tuple[Choice, ...] = ()  #: signs of a fraction: numerator, bar, denominator


@dataclass(frozen=True)
class Place:
    """A position in a line: its candidates, and the gap before it in digit heights."""

    choices: tuple[Choice, ...]
    gap: float = 0.0
    box: Box = (0, 0, 0, 0)
    parts: tuple[Place, ...] = ()  #: of a fraction: numerator, bar, denominator
    room: float = 0.0  #: gap between its neighbors, used if it is a speck


@dataclass(frozen=True)
class Sum:
    """A line read as a sum."""

    choices: tuple[Choice, ...]
    expression: str  #: in ASCII
    probability: float
    result: Result  #: value, and correctness of the answer

    @property
    def text(self) -> str:
        """The line as written."""
        return "".join(choice.shown for choice in self.choices)


# State of the grammar after part of a line: kind of the last sign, open brackets, marks in the
# current number, leading zero in it, equals signs so far.
@dataclass(frozen=True)
class _State:
    last: str = "start"  # start, sign, minus, number, mark, closed, fraction
    depth: int = 0
    marks: int = 0
    zero: bool = False
    equals: int = 0


_Way = tuple[float, tuple[Choice, ...]]


def decode(places: Sequence[Place]) -> Sum | None:
    """Return the most probable sum of a line, or None if no string follows the grammar."""
    found, total = search(places)
    for score, choices in found:
        expression = spell(choices)
        if expression is None:
            continue
        try:
            result = work_out(expression)
        except SumError:
            continue
        among = np.exp(total) + (1.0 - min(1.0, float(np.exp(total)))) / PRIOR
        return Sum(choices, expression, calibrate(float(np.exp(score) / among)), result)
    return None


def calibrate(probability: float) -> float:
    """Calibrate a line's probability by Platt scaling (Platt, 1999).

    The normalized probability of the best string is too high if a sign is wrong in every string.
    """
    slope, offset = CALIBRATION
    kept = min(max(probability, 1e-6), 1 - 1e-6)
    return float(1 / (1 + np.exp(-slope * np.log(kept / (1 - kept)) - offset)))


def search(places: Sequence[Place], equals: bool = True) -> tuple[list[_Way], float]:
    """Return the best strings that follow the grammar, and the log of their total probability."""
    if not 0 < len(places) <= MOST_SIGNS:
        return [], -np.inf
    ways: dict[_State, list[_Way]] = {_State(): [(0.0, ())]}
    total: dict[_State, float] = {_State(): 0.0}
    for place, lean in zip(places, _weigh_gaps(places), strict=True):
        next_ways: dict[_State, list[_Way]] = {}
        next_total: dict[_State, float] = {}
        for state, hypotheses in ways.items():
            for choice in place.choices:
                gap = place.gap if choice.sign else place.room
                for after, cost in _step(state, choice.sign, gap, lean, equals):
                    score = choice.score + cost
                    next_ways.setdefault(after, []).extend(
                        (before + score, (*path, choice)) for before, path in hypotheses
                    )
                    sofar = next_total.get(after, -np.inf)
                    next_total[after] = float(np.logaddexp(sofar, total[state] + score))
        ways = {
            state: sorted(found, key=lambda way: -way[0])[:KEPT]
            for state, found in next_ways.items()
        }
        total = next_total
    ends = [state for state in ways if _may_end(state)]
    found = sorted((way for state in ends for way in ways[state]), key=lambda way: -way[0])
    return found, float(np.logaddexp.reduce([total[state] for state in ends] or [-np.inf]))


def _may_end(state: _State) -> bool:
    closed = state.last in ("number", "closed", "fraction")
    return state.depth == 0 and (closed or (state.last == "start" and state.equals > 0))


def _weigh_gaps(places: Sequence[Place]) -> list[float]:
    """Return half the log odds that the gap before each place borders a sign.

    Spacing varies between writers, so the typical gaps are estimated from the places of the line
    that are known with confidence. A gap as wide as those beside known signs favors reading a
    stroke as a slash rather than a one.
    """
    known = [_find_kind(place) for place in places]
    gaps: dict[bool, list[float]] = {False: [], True: []}
    for before, after, place in zip(known, known[1:], places[1:], strict=False):
        if before and after and (before, after) != ("sign", "sign"):
            gaps["sign" in (before, after)].append(min(place.gap, NEAR))
    within, beside = (
        (KNOWN * mean + sum(gaps[kind])) / (KNOWN + len(gaps[kind]))
        for kind, mean in ((False, WITHIN), (True, BESIDE))
    )
    beside = max(beside, within + APART)
    middle, slope = (within + beside) / 2, (beside - within) / SPREAD**2
    return [
        float(np.clip(slope * (place.gap - middle), -MOST_LEAN, MOST_LEAN)) / 2 for place in places
    ]


def _find_kind(place: Place) -> str:
    """Return 'digit' or 'sign' for a confident place, '' otherwise; a 1 may be a slash."""
    best = max(place.choices, key=lambda choice: choice.score, default=None)
    if best is None or best.score < np.log(0.9):
        return ""
    return "digit" if best.sign in DIGITS - {"1"} else "sign" if best.sign in "+-*=" else ""


def _step(
    state: _State, sign: str, gap: float, lean: float, equals: bool
) -> Iterator[tuple[_State, float]]:
    """Yield each state that a sign leads to, with its log probability, if the grammar allows it."""
    last, depth, count = state.last, state.depth, state.equals
    operand = last in ("start", "sign", "minus")
    if not sign:
        yield state, -WIDE * max(0.0, gap - NEAR) * (last == "number")
    elif sign in DIGITS:
        wide = -lean - WIDE * max(0.0, gap - NEAR)
        if operand:
            yield _State("number", depth, 0, sign == "0", count), lean * (last == "sign")
        elif last == "number":
            cost = wide + (COST["leading zero"] if state.zero else 0.0)
            yield _State("number", depth, state.marks, False, count), cost
        elif last == "mark":
            yield _State("number", depth, state.marks, False, count), wide
        elif last == "closed":
            cost = COST["no sign after a bracket"]
            yield _State("number", depth, 0, sign == "0", count), cost
    elif sign in (".", ","):
        if last == "number":
            wide = -lean - WIDE * max(0.0, gap - NEAR)
            cost = wide + (COST["several marks"] if state.marks else 0.0)
            yield _State("mark", depth, min(3, state.marks + 1), False, count), cost
        elif operand:
            yield _State("mark", depth, 1, False, count), COST["leading mark"]
    elif sign == "-":
        if last == "start":
            yield _State("minus", depth, 0, False, count), COST["leading minus"]
        elif last == "sign":
            yield _State("minus", depth, 0, False, count), COST["minus after a sign"]
        elif not operand and last != "mark":
            yield _State("sign", depth, 0, False, count), lean
    elif sign in ("+", "*", "/"):
        if not operand and last != "mark":
            yield _State("sign", depth, 0, False, count), lean
    elif sign == "=":
        if equals and depth == 0 and not operand and last != "mark":
            cost = lean + COST["second equals sign"] * count
            yield _State("start", 0, 0, False, min(count + 1, 4)), cost
    elif sign == "(":
        if depth < MOST_DEPTH and last != "mark":
            cost = 0.0 if operand else COST["no sign before a bracket"]
            yield _State("start", depth + 1, 0, False, count), cost
    elif sign == ")":
        if depth > 0 and not operand and last != "mark":
            yield _State("closed", depth - 1, 0, False, count), 0.0
    elif sign == "fraction":
        if operand:
            yield _State("fraction", depth, 0, False, count), 0.0
        elif last == "number" and state.marks == 0:
            yield _State("fraction", depth, 0, False, count), COST["mixed number"]


def spell(choices: Sequence[Choice]) -> str | None:
    """Return the ASCII expression of a string that follows the grammar, or None if it is invalid.

    Implied signs are inserted and numbers normalized.
    """
    out: list[str] = []
    written = ""
    for choice in (*(each for each in choices if each.sign), Choice("", 0.0, "")):
        if choice.sign and (choice.sign in DIGITS or choice.sign in ".,"):
            if not written and out and out[-1].endswith(")"):
                out.append("*")
            written += choice.sign
            continue
        number = None
        if written:
            if (number := join_number(written)) is None:
                return None
            written = ""
        if choice.sign == "fraction":
            if number is not None:
                out.append(f"({number}+{choice.ascii})")
            else:
                out.append(f"({choice.ascii})" if out and out[-1] == "/" else choice.ascii)
            continue
        if number is not None:
            out.append(number)
        if choice.sign == "(" and out and out[-1][-1] not in "+-*/=(":
            out.append("*")
        if choice.sign:
            out.append(choice.sign)
    return "".join(out)


def make_fraction(above: Sequence[Place], bar: Place, below: Sequence[Place], box: Box) -> Place:
    """Return the place of a fraction, with candidates from its numerator and denominator."""
    sides = []
    for places in (above, below):
        found, _ = search(places, equals=False)
        spelled = ((score, path, spell(path)) for score, path in found)
        sides.append([(score, path, text) for score, path, text in spelled if text][:KEPT])
    line = bar.choices[0]
    choices = tuple(
        Choice(
            "fraction",
            a + line.score + b,
            f"{_group(_show(over))}/{_group(_show(under))}",
            f"{_group(top)}/{_group(bottom)}",
            (*over, line, *under),
        )
        for a, over, top in sides[0]
        for b, under, bottom in sides[1]
    )
    return Place(choices, 0.0, box, (*above, bar, *below))


def _show(path: Sequence[Choice]) -> str:
    return "".join(choice.shown for choice in path)


def _group(text: str) -> str:
    """Return a number unchanged, and anything else in brackets."""
    return text if set(text) <= DIGITS | {".", ","} else f"({text})"
