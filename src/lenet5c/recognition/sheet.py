"""Readings of a sheet of several digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.framing import MNIST
from lenet5c.recognition.digit import BlankImageError, find_ink, form
from lenet5c.recognition.filters import reduce_to_gray
from lenet5c.recognition.judge import REJECT
from lenet5c.recognition.pieces import LEAST
from lenet5c.recognition.reading import Reading, decide, get_framing
from lenet5c.recognition.segment import Cell, Piece, Scorer, read_lines
from lenet5c.recognition.signs import open_signs, reads_digits
from lenet5c.recognition.text_lines import find_spaces
from lenet5c.training import TrainedModel

#: Pixels on the longer side of a sheet of several digits; larger ones are reduced.
SHEET_SIDE = 1600
#: Signs that resemble no digit; a slash or a bracket may be a 1.
UNLIKE_DIGITS = ("+", "-", "x", "=", ".")
#: The least share of a sheet's characters that are digits.
LEAST_DIGITS = 0.2


def read_sheet(
    picture: NDArray[np.uint8], trained: TrainedModel, reject: float = REJECT
) -> Reading:
    """Read all digits in a picture, line by line: a `Reading` with `digits` and `text`.

    For models of digits, `open_signs` finds signs and what is no character.
    """
    factor = -(-max(picture.shape[:2]) // SHEET_SIDE)
    try:
        ink = find_ink(reduce_to_gray(picture, factor), SHEET_SIDE, specks=0.0, core=0.35)
    except BlankImageError as error:
        return Reading(rejected=str(error), steps={"picture": picture})
    steps = {"picture": picture, "ink": ink.strength}
    signs = open_signs() if reads_digits(trained) else None
    lines = read_lines(ink.strength, make_scorer(trained, signs))
    count = len(trained.class_names)
    digits = tuple(
        tuple(
            decide(
                cell.probabilities[:count],
                trained,
                tuple(factor * n for n in cell.piece.box),
                reject,
                _reject(cell, line, count),
            )
            for cell in line
        )
        for line in lines
    )
    labels = [digit.label for line in digits for digit in line]
    if len(labels) - labels.count(None) <= LEAST_DIGITS * len(labels):
        reason = "no digits are found in it"
        return Reading(rejected=reason, digits=digits, steps=steps)
    return Reading(digits=digits, text=_join_labels(digits), steps=steps)


def make_scorer(trained: TrainedModel, signs: TrainedModel | None = None) -> Scorer:
    """Return a scorer of pieces by a model, and by one of signs and what is no character.

    The probabilities are those of the model's classes, and in the last column of a sign. The
    former are multiplied by the probability that the piece is a digit.
    """
    framing, (channels, *size) = get_framing(trained), trained.image_shape

    def score(pieces: list[Piece]) -> NDArray[np.floating]:
        formed = np.stack([form(piece.strength, framing, (size[0], size[1])) for piece in pieces])
        images = np.stack([framing.color(image, channels) for image in formed])
        classes = trained.probabilities(images)
        if signs is None:
            return np.pad(classes, ((0, 0), (0, 1)))
        if (framing, *size) != (MNIST, 28, 28):
            formed = np.stack([form(piece.strength) for piece in pieces])
        by_sign = signs.probabilities(formed[:, np.newaxis])
        names = signs.class_names
        sign = by_sign[:, [k for k, name in enumerate(names) if name in UNLIKE_DIGITS]].sum(axis=1)
        digit = 1 - by_sign[:, names.index("none")] - sign
        return np.column_stack([classes * digit[:, np.newaxis], sign])

    return score


def _reject(cell: Cell, line: Sequence[Cell], count: int) -> str | None:
    """Return why a cell of a line is no digit, or None."""
    if cell.probabilities[count] > 0.5:
        return "it is a sign, not a digit; --digits sum reads signs"
    usual = float(np.median([other.piece.size for other in line]))
    if len(line) > 1 and cell.piece.size < LEAST * usual:
        return "it is too small for a digit beside the others: a point or a dash"
    return None


def _join_labels(lines: Sequence[Sequence[Reading]]) -> str:
    """Return the labels of lines, ``?`` for none, with spaces between numbers."""
    spaces = find_spaces([[reading.box or (0, 0, 0, 0) for reading in line] for line in lines])
    return "\n".join(
        "".join(
            " " * before + (reading.label or "?")
            for before, reading in zip([False, *gaps], line, strict=True)
        )
        for line, gaps in zip(lines, spaces, strict=True)
    )
