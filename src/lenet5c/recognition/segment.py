"""Segmentation of the ink on a sheet into lines of characters.

The connected components of the ink are the pieces. Pieces that may be several characters are cut
along paths of little ink. The net scores all runs of adjacent parts in one batch, and dynamic
programming finds the best segmentation of each line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.centering import bound
from lenet5c.recognition.components import find_components
from lenet5c.recognition.filters import grow, reduce
from lenet5c.recognition.lattice import Lattice, Run
from lenet5c.recognition.pieces import FIRM, LEAST, Piece, Ruler, find_pieces, measure_writing
from lenet5c.recognition.strings import FLOOR, NONE, NOTHING, judge_strings, weigh_part, weigh_whole
from lenet5c.recognition.text_lines import group_lines, measure_slope

__all__ = ["Cell", "Scorer", "read_lines"]

#: Minimum height of a typical digit in rows, and minimum stroke width in pixels, after reduction.
ROWS, PEN = 44, 2.5
#: Maximum number of pieces on a sheet, and of unsure pieces to be cut or joined.
MOST_PIECES, MOST_UNSURE = 2000, 400
#: Minimum probability that a part is one digit for it to be scored.
HOPELESS = 0.02
#: Minimum number of narrow unsure pieces on a sheet of letters.
LETTERS = 3
#: Specks beside a digit: maximum longer side and maximum gap to the digit, in typical digit
#: heights; minimum ratio of the gap to the next digit; start of a digit's foot, from its top (0).
TINY, CLOSE, FARTHER, FOOT = 0.2, 0.15, 3.0, 0.7

#: Maps N pieces to class probabilities (N, K). A row sums to at most 1; the rest is the probability
#: that the piece is not a character, part of one, or several.
Scorer = Callable[[list[Piece]], NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class Cell:
    """One character of a line."""

    piece: Piece  #: ink of the character
    probabilities: NDArray[np.floating]  #: (K,), class probabilities


def read_lines(
    strength: NDArray[np.uint8], scorer: Scorer, *, digits: Sequence[int] | None = tuple(range(10))
) -> list[list[Cell]]:
    """Segment ink into lines of characters, each from left to right.

    Parameters
    ----------
    strength : ndarray of uint8, shape (h, w)
        0 is paper, 255 full ink.
    scorer : callable
        Maps N pieces to probabilities, (N, K); see `Scorer`.
    digits : sequence of int, optional
        Digits that the first columns of the scores stand for. None for other classes, in which case
        touching characters are separated by the scorer alone.

    Returns
    -------
    list of list of Cell
        Lines from top to bottom; empty if there is no ink or there are too many pieces.
    """
    mask = strength >= FIRM
    parts = find_components(mask)
    ruler = measure_writing(parts)
    if ruler is None:
        return []
    strength = strength * grow(mask)
    factor = max(1, int(min(ruler.height / ROWS, ruler.pen / PEN)))
    reduced = reduce(strength, factor)
    pieces, ruler = find_pieces(reduced, parts if factor == 1 else None)
    if ruler is None or len(pieces) > MOST_PIECES:
        return []
    lines = [Lattice(line, ruler.pen, _measure_height(line)) for line in _line_up(pieces, ruler)]
    _score([run for line in lines for run in line.whole], scorer)
    if digits is not None:
        _judge(lines, list(digits))
    wide, narrow = (sum(line.count_unsure(wide) for line in lines) for wide in (True, False))
    if wide + narrow <= MOST_UNSURE:
        cut = not _are_letters(lines, wide, narrow)
        runs = [run for line in lines for run in line.divide(cut)]
        if digits is None:
            _score(runs, scorer)
        else:
            _score_parts(lines, scorer, list(digits))
    return [[_to_cell(run, strength, factor) for run in line.best()] for line in lines]


def _line_up(pieces: list[Piece], ruler: Ruler) -> list[list[Piece]]:
    """Group pieces into lines; small pieces that belong to no line are dropped."""
    boxes = np.array([piece.box for piece in pieces], np.int64).reshape(-1, 4)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    large = np.array([piece.size >= LEAST * ruler.height for piece in pieces], bool)
    numbers = np.flatnonzero(large)
    lines = [numbers[line].tolist() for line in group_lines(boxes[large], ruler.height)]
    slope = measure_slope(boxes[large], ruler.height)
    line_of = {i: k for k, line in enumerate(lines) for i in line}
    for i in np.flatnonzero(~large).tolist():
        down = center[numbers, 0] - center[i, 0] - slope * (center[numbers, 1] - center[i, 1])
        half = (boxes[numbers, 2] - boxes[numbers, 0]) / 2
        aside = np.maximum(boxes[numbers, 1] - boxes[i, 3], boxes[i, 1] - boxes[numbers, 3])
        out = np.maximum(np.abs(down) - half, 0) / (0.25 * ruler.height)
        far = np.maximum(aside, 0) / (1.5 * ruler.height)
        distance = np.maximum(out, far)
        if len(distance) and distance.min() <= 1:
            lines[line_of[int(numbers[distance.argmin()])]].append(i)
    lines = [
        sorted(_leave_specks(line, boxes), key=lambda i: float(center[i, 1])) for line in lines
    ]
    lines.sort(key=lambda line: float(np.mean(center[line, 0] - slope * center[line, 1])))
    return [[pieces[i] for i in line] for line in lines]


def _leave_specks(line: list[int], boxes: NDArray[np.int64]) -> list[int]:
    """Drop specks close to a single digit and above its foot from a line, given as box indices.

    Lifting the pen leaves such dots. Points and commas are at the foot, and intended dots lie
    between two digits.
    """
    height, width = boxes[line, 2] - boxes[line, 0], boxes[line, 3] - boxes[line, 1]
    usual = float(np.median(height[height >= LEAST * height.max()]))
    digits = boxes[[i for i, rows in zip(line, height, strict=True) if rows >= LEAST * usual]]
    left = []
    for i, size in zip(line, np.maximum(height, width).tolist(), strict=True):
        top, start, bottom, end = boxes[i].tolist()
        if size <= TINY * usual:
            gaps = np.maximum(start - digits[:, 3], digits[:, 1] - end)
            near, *others = np.argsort(gaps).tolist()
            gap = max(float(gaps[near]), 0.03 * usual)
            share = ((top + bottom) / 2 - digits[near, 0]) / (digits[near, 2] - digits[near, 0])
            alone = not others or gaps[others[0]] >= FARTHER * gap
            if gap <= CLOSE * usual and 0 < share < FOOT and alone:
                continue
        left.append(i)
    return left


def _measure_height(line: list[Piece]) -> float:
    """Return the typical digit height of a line."""
    heights = np.array([piece.height for piece in line])
    return float(np.median(heights[heights >= LEAST * heights.max()]))


def _are_letters(lines: list[Lattice], wide: int, narrow: int) -> bool:
    """Return whether the unsure pieces are letters, which must not be cut.

    They are if many of them are as narrow as single characters, since touching digits are wide. Cut
    into parts, letters would be misread as ones and sevens.
    """
    sure = sum(len(line.pieces) for line in lines) - wide - narrow
    return narrow >= LETTERS and narrow > 0.5 * (sure + 3 * wide)


def _score(runs: Sequence[Run], scorer: Scorer) -> None:
    """Set the probabilities of runs, in one batch."""
    if runs:
        for run, row in zip(runs, scorer([run.piece for run in runs]), strict=True):
            run.probabilities = row


def _judge(lines: Sequence[Lattice], digits: Sequence[int]) -> None:
    """Run the model of strings on the pieces of lines and update the scores of whole pieces."""
    for line in lines:
        numbers = [c for c, piece in enumerate(line.pieces) if not line.is_mark(piece)]
        pieces = [line.pieces[c] for c in numbers]
        line.strings = dict(zip(numbers, judge_strings(pieces, line.usual), strict=True))
        for c, string in line.strings.items():
            line.several[c] = _weigh(line.whole[c], string.judge(), digits)


def _score_parts(lines: Sequence[Lattice], scorer: Scorer, digits: Sequence[int]) -> None:
    """Set the probabilities of joined and partial runs, using the model of strings."""
    joined = [(run, line) for line in lines for run in line.divided if run.span is None]
    parts = [
        (run, line.strings[run.start[0]].judge(*run.span))
        for line in lines
        for run in line.divided
        if run.span is not None
    ]
    likely = [(run, judged) for run, judged in parts if judged[:NONE].sum() >= HOPELESS]
    _score([run for run, _ in joined + likely], scorer)
    for line in lines:
        runs = [run for run, own in joined if own is line and not line.is_mark(run.piece)]
        strings = judge_strings([run.piece for run in runs], line.usual)
        for run, string in zip(runs, strings, strict=True):
            _weigh(run, string.judge(), digits)
    for run, _ in parts:
        if run.probabilities is None:
            run.probabilities = np.zeros_like(lines[0].whole[0].probabilities)
    for run, judged in likely:
        assert run.probabilities is not None
        run.probabilities = weigh_part(run.probabilities, judged, digits)


def _weigh(run: Run, judged: NDArray[np.floating], digits: Sequence[int]) -> float:
    """Combine the two models' probabilities of whole ink; return the log gain of dividing it.

    Both models contribute to the digit and to the probability that there are several.
    """
    assert run.probabilities is not None
    run.probabilities, run.none, several = weigh_whole(run.probabilities, judged, digits)
    own = max(float(judged[NOTHING]), FLOOR)
    return min(0.0, float(np.log(max(several, FLOOR) / own)))


def _to_cell(run: Run, strength: NDArray[np.uint8], factor: int) -> Cell:
    """Convert a run, scored on reduced ink, to a cell at full resolution."""
    assert run.probabilities is not None
    if factor == 1:
        return Cell(run.piece, run.probabilities)
    y, x = factor * run.piece.box[0], factor * run.piece.box[1]
    own = (run.piece.strength > 0).repeat(factor, axis=0).repeat(factor, axis=1)
    full = strength[y : y + len(own), x : x + own.shape[1]] * own
    top, left, bottom, right = bound(full >= FIRM) or (0, 0, *full.shape)
    box = (y + top, x + left, y + bottom, x + right)
    return Cell(Piece(box, full[top:bottom, left:right]), run.probabilities)
