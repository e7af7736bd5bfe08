"""Cut ink that is judged again as a whole."""

import numpy as np
import pytest

from lenet5c.datasets import mnist
from lenet5c.datasets.doodles import SHAPES
from lenet5c.datasets.strokes import Writers, draw_strokes
from lenet5c.recognition.forms import form_pieces
from lenet5c.recognition.pieces import FIRM, Piece
from lenet5c.recognition.segment import Cell
from lenet5c.recognition.uncut import judge_uncut


def cut(ink, column, left=0):
    """Return two confident digit cells of ink that is cut at a column."""
    cells = []
    for first, last in ((0, column), (column, ink.shape[1])):
        part = ink[:, first:last]
        piece = Piece((0, left + first, len(ink), left + last), part)
        cells.append(Cell(piece, np.array([0.9, 0.05, 0.0])))
    return cells


def crop(image):
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    large = np.kron(image, np.ones((3, 3), np.uint8))
    return large[3 * rows[0] : 3 * rows[-1] + 3, 3 * columns[0] : 3 * columns[-1] + 3]


def sure(lines):
    return [[float(cell.probabilities[0]) for cell in line] for line in lines]


@pytest.mark.parametrize("name", ["face", "star", "house", "spiral"])
def test_halves_of_a_doodle_are_no_digits(name):
    rng = np.random.default_rng(1)
    images = draw_strokes(SHAPES[name](6, rng), Writers.draw(rng, 6), rng, width=(0.07, 0.1))
    lines = judge_uncut([cut(crop(image), crop(image).shape[1] // 2) for image in images])
    assert np.mean([max(line) < 0.1 for line in sure(lines)]) >= 5 / 6


def test_digits_that_touch_stay_digits():
    images = mnist()[1].images[:20, 0]
    lines = []
    for one, other in zip(images[::2], images[1::2], strict=True):
        left, right = crop(one), crop(other)
        ink = np.zeros((60, left.shape[1] + right.shape[1] - 2), np.uint8)
        ink[: len(left), : left.shape[1]] = left[:60]
        part = ink[: len(right), left.shape[1] - 2 :]
        np.maximum(part, right[:60], out=part)
        lines.append(cut(ink, left.shape[1] - 1))
    assert np.mean([min(line) > 0.8 for line in sure(judge_uncut(lines))]) >= 0.9


def test_what_is_apart_is_not_looked_at_together():
    rng = np.random.default_rng(1)
    (image,) = draw_strokes(SHAPES["heart"](1, rng), Writers.draw(rng, 1), rng)
    one, other = cut(crop(image), 30)
    top, left, bottom, right = other.piece.box
    apart = Cell(Piece((top, left + 4, bottom, right + 4), other.piece.strength), one.probabilities)
    assert sure(judge_uncut([[one, apart]])) == [[0.9, 0.9]]
    assert judge_uncut([]) == [] and judge_uncut([[]]) == [[]]


def test_a_piece_is_formed_once():
    strength = np.zeros((40, 30), np.uint8)
    strength[5:35, 12:17] = FIRM + 100
    piece = Piece((0, 0, 40, 30), strength)
    first = form_pieces([piece])
    again = form_pieces([piece, piece])
    first[:] = 0  # a copy
    assert again.shape == (2, 28, 28) and again[0].any() and np.array_equal(again[0], again[1])
    assert np.array_equal(form_pieces([piece]), again[:1])
