"""Prediction, evaluation and checking of written sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lenet5c.errors import UserError
from lenet5c.recognition.decoding import Choice, Place, decode
from lenet5c.recognition.digit import BlankImageError, Box, Ink
from lenet5c.recognition.grammar import MOST_SIGNS, show_value
from lenet5c.recognition.judge import REJECT
from lenet5c.recognition.layout import lay_out
from lenet5c.recognition.marks import Mark, is_bar, is_dot, measure_bow
from lenet5c.recognition.pieces import Piece, find_pieces, join_pieces, unite
from lenet5c.recognition.reading import Prediction
from lenet5c.recognition.segment import MOST_PIECES, read_lines
from lenet5c.recognition.sheet import find_sheet_ink
from lenet5c.recognition.sign_scorer import SignScorer
from lenet5c.recognition.signs import DIGITS, P_NONE, open_signs
from lenet5c.recognition.small_signs import FLAT, part_small_signs, weigh_specks
from lenet5c.training import TrainedModel, open_model

#: Probability below which a piece is not a sign by itself, and the maximum number of such pieces
#: for which joining is tried.
WEAK, MOST_WEAK = 0.5, 40
#: Minimum probability and maximum ratio of width to height of a piece that is not divided.
WHOLE, BROAD = 0.5, 1.3
#: The same for a piece that is certainly one sign, and for one too narrow for two signs.
SURE, BROADEST = 0.9, 2.2
LIKELY, NARROW = 0.15, 0.75
#: Maximum distance between two parts of one sign, in typical digit heights.
BESIDE = 0.2

#: Probability of the best sum below which a rejected line is described sign by sign.
DOUBT = 0.1


def read_sum(
    picture: NDArray[np.uint8], trained: TrainedModel | None = None, reject: float = REJECT
) -> Prediction:
    """Read the written sums in a picture, one per line.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w) or (h, w, 3)
    trained : TrainedModel, optional
        A model of the ten digits, which contributes to their recognition. Default: the model in the
        package. Signs are recognized by another model of the package.
    reject : float, optional
        Minimum probability of a line; lines below it are rejected.

    Returns
    -------
    Prediction
        A prediction with `text` as written, `expression`, `value`, `correct`, and `sums`, which has
        them for each line; `digits` has the signs. If a line is rejected, `rejected` is the reason.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.recognition.sums import read_sum
    >>> paper = np.full((120, 260), 240, np.uint8)
    >>> paper[20:100, 30:38] = paper[20:100, 210:218] = 40
    >>> paper[56:64, 90:150] = paper[30:90, 116:124] = 40
    >>> reading = read_sum(paper)
    >>> reading.expression, reading.value
    ('1+1', '2')
    """
    trained = trained or open_model()
    if tuple(trained.class_names) != DIGITS:
        raise UserError("model must have the ten digits as classes to read sums, got other classes")
    steps = {"picture": picture}
    try:
        ink, factor = find_sheet_ink(picture)
    except BlankImageError as error:
        return Prediction(rejected=str(error), steps=steps)
    steps["ink"] = ink.strength
    marks = _find_marks(ink, SignScorer(trained), factor)
    if not marks:
        return Prediction(rejected="no signs are found in it", steps=steps)
    layout = lay_out(marks)
    sums = [_read_line(places, reject) for places in layout.lines]
    if layout.raised:
        reason = "it has a raised sign, as exponents are; write powers as products, such as 5×5"
        sums = [
            replace(line, expression=None, value=None, correct=None, rejected=reason)
            if _holds(line, layout.raised)
            else line
            for line in sums
        ]
    return replace(_unite(sums), steps=steps)


def _find_marks(ink: Ink, scorer: SignScorer, factor: int) -> list[Mark]:
    """Return the signs on a sheet with the probabilities of their shapes."""
    strength, ruled = ink.strength, any(rule.kind == "paper" for rule in ink.rules)
    small, rest = part_small_signs(strength)
    scored, rest = _take_whole(small, rest, scorer)
    cells = read_lines(rest, scorer, digits=range(len(DIGITS))) if rest.any() else []
    scored += [(cell.piece, cell.probabilities) for line in cells for cell in line]
    names = open_signs().class_names[:P_NONE]
    marks = []
    scored = _join_broken(scored, scorer)
    specks = weigh_specks([piece for piece, _ in scored], ruled).tolist()
    for (piece, row), speck in zip(scored, specks, strict=True):
        bow, slant = measure_bow(piece.strength)
        row = row / max(1.0, float(row.sum()))
        shapes = dict(zip(names, map(float, row), strict=True))
        marks.append(Mark(_scale(piece.box, factor), shapes, None, bow, slant, speck))
    return marks


_Scored = list[tuple[Piece, NDArray[np.floating]]]


def _take_whole(
    small: list[Piece], strength: NDArray[np.uint8], scorer: SignScorer
) -> tuple[_Scored, NDArray[np.uint8]]:
    """Return the small signs and the pieces that are one sign, and the ink left to be divided."""
    pieces, _ = find_pieces(strength)
    pieces = small + (pieces if len(pieces) <= MOST_PIECES else [])
    if not pieces:
        return [], strength
    rest, whole = strength.copy(), []
    alone = {id(piece) for piece in small}
    for piece, row in _join_broken(list(zip(pieces, scorer(pieces), strict=True)), scorer):
        if id(piece) in alone:
            whole.append((piece, row))
        elif _is_whole(piece, float(row.max())):
            whole.append((piece, row))
            top, left, bottom, right = piece.box
            rest[top:bottom, left:right][piece.strength > 0] = 0
        else:
            # Restore the ink of small signs that were joined to it.
            top, left, bottom, right = piece.box
            part = rest[top:bottom, left:right]
            np.maximum(part, piece.strength, out=part)
    return whole, rest


def _is_whole(piece: Piece, likely: float) -> bool:
    """Return whether a piece is one sign, by its probability and proportions."""
    broad = NARROW if likely < WHOLE else BROAD if likely < SURE else BROADEST
    return likely >= LIKELY and piece.width <= broad * piece.height


def _join_broken(scored: _Scored, scorer: SignScorer) -> _Scored:
    """Join pieces that are not signs by themselves to neighbors with which they form one."""
    scored = list(scored)
    sure = [piece for piece, row in scored if row.max() >= WEAK]
    upright = [piece for piece in sure if piece.width < FLAT * piece.height]
    usual = float(np.median([piece.height for piece in upright or sure] or [0]))
    minus = open_signs().class_names.index("-")
    small = [
        is_dot(piece, usual) or is_bar(piece, usual) or _is_slanted_bar(piece, row[minus])
        for piece, row in scored
    ]
    weak = [k for k, (_, row) in enumerate(scored) if row.max() < WEAK and not small[k]]
    if len(weak) > MOST_WEAK:
        return scored
    boxes = [piece.box for piece, _ in scored]
    pairs = [
        (k, j)
        for k in weak
        for j, (other, _) in enumerate(scored)
        if j != k and _may_belong(scored[k][0].box, other.box, usual)
    ]
    pairs += [
        (k, j)
        for k in np.flatnonzero(small).tolist()
        for j in np.flatnonzero(~np.array(small)).tolist()
        if (j not in weak and _may_be_flag(scored[k][0].box, scored[j][0].box, usual))
        or _is_at_top(scored[k][0].box, scored[j][0].box, boxes, usual)
        or _is_at_foot(scored[k][0].box, scored[j][0].box, boxes, usual)
    ]
    pairs += _pair_brackets(scored, usual)
    if not pairs:
        return scored
    joined = [join_pieces([scored[k][0], scored[j][0]]) for k, j in pairs]
    ways = sorted(
        zip(pairs, joined, scorer(joined), strict=True), key=lambda way: -float(way[2].max())
    )
    gone: set[int] = set()
    for (k, j), piece, row in ways:
        apart = float(scored[k][1].max() * scored[j][1].max())
        least = max(WEAK, apart)
        if small[k]:
            at_top = _is_at_top(scored[k][0].box, scored[j][0].box, boxes, usual)
            least = WEAK if at_top else SURE
        likely = float(row[: len(DIGITS)].max() if small[k] else row.max())
        if likely > least and not {k, j} & gone:
            gone |= {k, j}
            scored.append((piece, row))
    return [each for k, each in enumerate(scored) if k not in gone]


def _may_belong(one: Box, other: Box, usual: float) -> bool:
    """Return whether two boxes are near each other and overlap horizontally."""
    down, aside = (max(one[k] - other[k + 2], other[k] - one[k + 2], 0) for k in (0, 1))
    shared = min(one[3], other[3]) - max(one[1], other[1])
    narrow = min(one[3] - one[1], other[3] - other[1])
    return bool(np.hypot(down, aside) <= BESIDE * usual) and shared >= 0.25 * narrow


def _pair_brackets(scored: _Scored, usual: float) -> list[tuple[int, int]]:
    """Return pairs that look like ) and ( back to back, which are the halves of an x."""
    names = open_signs().class_names
    looks = [names[int(row.argmax())] for _, row in scored]
    return [
        (k, j)
        for k, (left, _) in enumerate(scored)
        for j, (right, _) in enumerate(scored)
        if (looks[k], looks[j]) == (")", "(")
        and -BESIDE * usual <= right.box[1] - left.box[3] <= BESIDE * usual
        and max(left.height, right.height) <= 0.9 * usual
        and max(left.box[0], right.box[0]) < min(left.box[2], right.box[2])
    ]


def _may_be_flag(bar: Box, digit: Box, usual: float) -> bool:
    """Return whether a bar or dot may be a stroke of a digit, at its top or on its right."""
    wide, narrow = bar[3] - bar[1], digit[3] - digit[1]
    # A fraction bar is wider and centered.
    aside = (bar[1] + bar[3] - digit[1] - digit[3]) / 2
    shared = min(bar[3], digit[3]) - max(bar[1], digit[1])
    place = ((bar[0] + bar[2]) / 2 - digit[0]) / (digit[2] - digit[0])
    return bool(
        (wide <= narrow or (wide <= 1.5 * narrow and aside >= 0.25 * wide))
        and shared >= -0.05 * usual
        and digit[0] - bar[2] <= BESIDE * usual
        and place <= 0.45
    )


def _is_slanted_bar(piece: Piece, minus: float) -> bool:
    return minus >= 0.5 and piece.height <= 0.6 * piece.width


def _is_at_top(bar: Box, digit: Box, boxes: Sequence[Box], usual: float) -> bool:
    """Return whether a bar is placed like that of a five or seven, above a minus sign's height."""
    wide, shared = bar[3] - bar[1], min(bar[3], digit[3]) - max(bar[1], digit[1])
    place = ((bar[0] + bar[2]) / 2 - digit[0]) / (digit[2] - digit[0])
    # A fraction bar has something above it.
    above = any(
        bar[0] - 1.2 * usual <= box[2] <= bar[0] + 0.1 * usual
        and min(box[3], bar[3]) > max(box[1], bar[1])
        for box in boxes
    )
    return bool(
        0.2 * usual < wide <= 1.2 * usual
        and digit[2] - digit[0] >= 0.3 * usual
        and -0.5 <= place <= 0.2
        and digit[0] - bar[2] <= 0.3 * usual
        and shared >= -0.1 * usual
        and not above
    )


def _is_at_foot(bar: Box, digit: Box, boxes: Sequence[Box], usual: float) -> bool:
    """Return whether a bar is placed like the foot of a two, with nothing below it."""
    wide, narrow = bar[3] - bar[1], digit[3] - digit[1]
    shared = min(bar[3], digit[3]) - max(bar[1], digit[1])
    middle = (digit[0] + digit[2]) / 2
    below = any(
        bar[2] - 0.1 * usual <= box[0] <= bar[2] + 0.5 * usual
        and min(box[3], bar[3]) > max(box[1], bar[1])
        for box in boxes
    )
    return bool(
        0.2 * usual < wide <= 1.2 * usual
        and 0.4 * usual <= digit[2] - digit[0]
        and bar[2] - digit[0] <= 1.25 * usual
        and (bar[0] + bar[2]) / 2 > middle + 0.25 * (digit[2] - digit[0])
        and bar[0] - digit[2] <= 0.2 * usual
        and shared >= 0.4 * min(wide, narrow)
        and not below
    )


def _scale(box: Box, factor: int) -> Box:
    top, left, bottom, right = (factor * n for n in box)
    return top, left, bottom, right


def _read_line(places: Sequence[Place], reject: float) -> Prediction:
    """Read one line, with its signs as `digits`."""
    box = unite(place.box for place in places)
    if len(places) > MOST_SIGNS:
        return Prediction(
            rejected=f"a line has {len(places)} signs; {MOST_SIGNS} are read", box=box
        )
    found = decode(places)
    if found is None or found.probability < reject:
        guess = [_guess(place) for place in places]
        text = "".join(choice.shown if choice else "?" for choice in guess)
        reason = f"it looks like {text}, which is no sum"
        if found is not None and (found.probability >= DOUBT or text == found.text):
            reason = f"the net is uncertain: {found.text} has {found.probability:.0%}"
        signs = _list_signs(places, guess)
        return Prediction(rejected=reason, text=text, box=box, digits=(tuple(signs),))
    result = found.result
    value = None if result.value is None else show_value(result.value)
    return Prediction(
        probability=found.probability,
        confidence=found.probability,
        expression=found.expression,
        value=value,
        correct=result.correct,
        remark=result.remark,
        text=found.text,
        box=box,
        digits=(tuple(_list_signs(places, found.choices)),),
    )


def _guess(place: Place) -> Choice | None:
    """Return the most probable choice of a place on its own, or None if it is below 0.5."""
    best = max(place.choices, key=lambda choice: choice.score, default=None)
    return best if best is not None and best.score >= np.log(0.5) else None


def _list_signs(places: Sequence[Place], choices: Sequence[Choice | None]) -> Iterator[Prediction]:
    """Yield a prediction for each sign, including each sign of a fraction."""
    for place, choice in zip(places, choices, strict=True):
        if choice is not None and not choice.sign:
            continue  # a speck
        if place.parts:
            parts = choice.parts if choice else [_guess(part) for part in place.parts]
            yield from _list_signs(place.parts, parts)
            continue
        by_name = {each.shown: float(np.exp(each.score)) for each in place.choices}
        if choice is None:
            yield Prediction(rejected="it resembles no sign", probabilities=by_name, box=place.box)
        else:
            share = float(np.exp(choice.score))
            yield Prediction(choice.shown, share, by_name, confidence=share, box=place.box)


def _holds(line: Prediction, box: Box) -> bool:
    return any(sign.box == box for row in line.digits for sign in row)


def _unite(sums: Sequence[Prediction]) -> Prediction:
    """Combine the predictions for all lines into one."""
    rejected = [(k, line.rejected) for k, line in enumerate(sums, start=1) if line.rejected]
    reason = None
    if rejected:
        number, reason = rejected[0]
        reason = reason if len(sums) == 1 else f"line {number}: {reason}"
    verdicts = {line.correct for line in sums}
    remarks = [line.remark for line in sums if line.remark]
    whole = Prediction(
        rejected=reason,
        text="\n".join(line.text or "?" for line in sums),
        digits=tuple(row for line in sums for row in line.digits),
        sums=tuple(sums),
    )
    if rejected:
        return whole
    share = float(np.prod([line.probability or 0.0 for line in sums]))
    return replace(
        whole,
        probability=share,
        confidence=share,
        expression="\n".join(line.expression or "" for line in sums),
        value="\n".join(line.value or "-" for line in sums)
        if any(line.value for line in sums)
        else None,
        correct=False if False in verdicts else None if None in verdicts else True,
        remark="; ".join(remarks) or None,
    )
