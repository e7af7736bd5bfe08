"""Reading of a sheet with several digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.digit import BlankImageError, Ink, find_ink
from lenet5c.recognition.filters import reduce_to_gray
from lenet5c.recognition.forms import form_pieces
from lenet5c.recognition.judge import REJECT
from lenet5c.recognition.pieces import FIRM, LEAST, Piece
from lenet5c.recognition.reading import Prediction, get_framing, is_mnist, to_picture
from lenet5c.recognition.rules import Rule
from lenet5c.recognition.segment import Cell, Scorer, read_lines
from lenet5c.recognition.signs import DIGITS, P_NONE, digit_share, open_signs, reads_digits
from lenet5c.recognition.text_lines import find_spaces
from lenet5c.recognition.uncut import judge_uncut
from lenet5c.training import TrainedModel

#: Maximum longer side of a sheet, in pixels; larger ones are reduced.
SHEET_SIDE = 1600
#: Minimum fraction of a sheet's characters that are digits.
LEAST_DIGITS = 0.5
#: Weight of the model of digits and signs in deciding which digit a piece is.
SHARE = 0.3
#: Prior fraction of non-characters on a sheet, its weight in characters, and the range of the
#: factor by which the odds may change.
STRANGE, LOOKED, CHANGE = 0.1, 3.0, (1.0, 300.0)
#: Undetected box sides: minimum ratio of height to width; maximum distance in pixels of the ends
#: from other sides; minimum number of upright sides detected on the sheet; number of crossed
#: horizontal lines from which a stroke is a side in any case; maximum thickness, in that of the
#: detected sides and in pixels beyond it.
UPRIGHT, REACH, SIDES, CROSSED, THICK = 2.2, 2.0, 3, 4, (2.0, 1.0)


def read_sheet(
    picture: NDArray[np.uint8], trained: TrainedModel, reject: float = REJECT
) -> Prediction:
    """Read all digits in a picture, line by line, as a `Prediction` with `digits` and `text`.

    Characters with a confidence of less than `reject` are rejected, such as signs, letters or
    halves of digits.
    """
    get_framing(trained)  # raises an error if the model has none
    try:
        ink, factor = find_sheet_ink(picture)
    except BlankImageError as error:
        return Prediction(rejected=str(error), steps={"picture": picture})
    steps = {"picture": picture, "ink": ink.strength}
    lines = read_lines(ink.strength, make_scorer(trained), digits=_find_digits(trained))
    if reads_digits(trained):
        lines = judge_by_company(judge_uncut(lines))
    # Bent sides of hand-drawn boxes are not removed along with the straight ones.
    lines = [[cell for cell in line if not is_side(cell.piece, ink.rules)] for line in lines]
    digits = tuple(
        tuple(_decide(cell, line, trained, factor, reject) for cell in line)
        for line in lines
        if line
    )
    labels = [digit.label for line in digits for digit in line]
    if len(labels) - labels.count(None) < max(1, LEAST_DIGITS * len(labels)):
        return Prediction(rejected="no digits are found in it", digits=digits, steps=steps)
    return Prediction(digits=digits, text=_join_labels(digits), steps=steps)


def find_sheet_ink(picture: NDArray[np.uint8]) -> tuple[Ink, int]:
    """Return the ink on a sheet, including specks, and the reduction factor.

    Raises `BlankImageError` if there is no ink.
    """
    factor = -(-max(picture.shape[:2]) // SHEET_SIDE)
    ink = find_ink(reduce_to_gray(picture, factor), SHEET_SIDE, specks=0.0, core=0.35)
    return ink, factor


def make_scorer(trained: TrainedModel) -> Scorer:
    """Return a scorer of pieces that uses a model.

    The scores are the probabilities of the model's classes and, in the last column, of a sign. For
    models of digits, the class probabilities are multiplied by the probability that the piece is a
    digit.
    """
    framing, (channels, *size) = get_framing(trained), trained.image_shape

    def score(pieces: list[Piece]) -> NDArray[np.floating]:
        formed = form_pieces(pieces, framing, (size[0], size[1]))
        images = np.stack([framing.color(image, channels) for image in formed])
        classes = trained.probabilities(images)
        if not reads_digits(trained):
            return np.pad(classes, ((0, 0), (0, 1)))
        if not is_mnist(trained):
            formed = form_pieces(pieces)
        seen = open_signs().probabilities(formed[:, np.newaxis])
        share = digit_share(seen)
        classes = _mix(classes, seen[:, [int(name) for name in trained.class_names]])
        none = seen[:, P_NONE:].sum(axis=1) / (seen[:, : len(DIGITS)].sum(axis=1) + 1e-12) * share
        return np.column_stack([classes * share[:, np.newaxis], np.maximum(1 - share - none, 0)])

    return score


def _mix(classes: NDArray[np.floating], seen: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the weighted geometric mean of the two nets' digit probabilities, (N, K).

    The nets make different errors.
    """
    seen = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1e-9)
    both = np.maximum(classes, 1e-9) ** (1 - SHARE) * np.maximum(seen, 1e-6) ** SHARE
    return np.asarray(both / both.sum(axis=1, keepdims=True))


def judge_by_company(lines: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """Lower the digit probabilities of cells on a sheet with many non-characters.

    Among letters, even a shape that looks like a digit is probably a letter. The fraction of
    non-characters and the probability of each cell are estimated jointly by expectation
    maximization.
    """
    cells = [cell for line in lines for cell in line]
    none = 1 - np.array([min(1.0, float(cell.probabilities.sum())) for cell in cells])
    before = STRANGE / (1 - STRANGE)
    odds, own = 1.0, none
    for _ in range(20):
        share = (LOOKED * STRANGE + own.sum()) / (LOOKED + len(cells))
        odds = float(np.clip(share / (1 - share) / before, *CHANGE))
        own = none * odds / (none * odds + 1 - none)
    less = iter((1 - own) / np.maximum(1 - none, 1e-12))
    return [
        [replace(cell, probabilities=cell.probabilities * next(less)) for cell in line]
        for line in lines
    ]


def _find_digits(trained: TrainedModel) -> list[int] | None:
    """Return the digit of each class of a model, or None if some class is not a digit."""
    return [int(name) for name in trained.class_names] if reads_digits(trained) else None


def _show(piece: Piece, trained: TrainedModel) -> NDArray[np.uint8]:
    """Return the net's input for a piece, as a picture."""
    framing, (channels, height, width) = get_framing(trained), trained.image_shape
    (image,) = form_pieces([piece], framing, (height, width))
    return to_picture(framing.color(image, channels))


def _decide(
    cell: Cell, line: Sequence[Cell], trained: TrainedModel, factor: int, reject: float
) -> Prediction:
    """Return the prediction for a cell of a line."""
    *classes, sign = map(float, cell.probabilities)
    share = max(sum(classes), 1e-12)
    confidence = max(classes)
    best = classes.index(confidence)
    top, left, bottom, right = cell.piece.box
    prediction = Prediction(
        trained.class_names[best],
        confidence / share,
        {name: own / share for name, own in zip(trained.class_names, classes, strict=True)},
        confidence=confidence,
        box=(factor * top, factor * left, factor * bottom, factor * right),
        steps={"image": _show(cell.piece, trained)},
    )
    usual = float(np.median([other.piece.height for other in line]))
    rejected = None
    if len(line) > 1 and cell.piece.size < LEAST * usual:
        rejected = "it is too small for a digit beside the others: a point, a comma or a dash"
    elif confidence < reject or sign > confidence:
        if sign > 1 - share - sign and share < 0.5:
            rejected = "it is a sign, not a digit; --digits sum reads signs"
        elif share < confidence / share:
            rejected = "it does not look like a digit"
        else:
            rejected = f"the net is uncertain: the most probable class has {confidence / share:.0%}"
    if rejected:
        return replace(prediction, label=None, probability=None, rejected=rejected)
    return prediction


def is_side(piece: Piece, rules: Sequence[Rule]) -> bool:
    """Return whether an upright stroke is a side of a box, which would look like a 1.

    A side extends from one horizontal line of a table to another, and is about as thick as the
    other sides, while the pen of a 1 is often thicker.
    """
    top, left, bottom, right = piece.box
    if bottom - top < UPRIGHT * (right - left):
        return False
    middle = (left + right) / 2
    sides: list[float] = []
    crossed, ends = 0, [False, False]
    for rule in rules:
        y0, x0, y1, x1 = rule.line
        if abs(y1 - y0) > abs(x1 - x0):
            if rule.kind == "frame":
                sides.append(rule.width)
            continue
        far = REACH + rule.width
        level = y0 + (y1 - y0) * (middle - x0) / ((x1 - x0) or 1.0)
        if min(x0, x1) - far <= middle <= max(x0, x1) + far:
            ends = [
                seen or abs(level - end) <= far
                for seen, end in zip(ends, (top, bottom), strict=True)
            ]
            crossed += top + far < level < bottom - far
    if crossed >= CROSSED:
        return True
    if not all(ends) or len(sides) < SIDES:
        return False
    thick = np.count_nonzero(piece.strength >= FIRM) / piece.height
    return bool(thick <= THICK[0] * float(np.median(sides)) + THICK[1])


def _join_labels(lines: Sequence[Sequence[Prediction]]) -> str:
    """Return the labels as lines of text, ``?`` for rejected ones, with spaces between numbers."""
    spaces = find_spaces(
        [[prediction.box or (0, 0, 0, 0) for prediction in line] for line in lines]
    )
    return "\n".join(
        "".join(
            " " * before + (prediction.label or "?")
            for before, prediction in zip([False, *gaps], line, strict=True)
        )
        for line, gaps in zip(lines, spaces, strict=True)
    )
