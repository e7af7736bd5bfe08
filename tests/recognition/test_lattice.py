"""Cuts between touching characters, and the best path through a line."""

import numpy as np
import pytest

from lenet5c.recognition.cuts import find_cuts
from lenet5c.recognition.lattice import Lattice, best_of
from lenet5c.recognition.pieces import Piece, find_pieces, join_pieces
from lenet5c.recognition.segment import read_lines


def bar(sheet, top, left, bottom, right):
    sheet[top:bottom, left:right] = 255


def two_bars():
    """Two upright bars, joined by a stroke at half their height."""
    sheet = np.zeros((60, 60), np.uint8)
    bar(sheet, 5, 5, 55, 11)
    bar(sheet, 5, 45, 55, 51)
    bar(sheet, 27, 5, 33, 51)
    return sheet


def test_a_cut_crosses_the_stroke_between():
    paths, cost = find_cuts(two_bars(), pen=6.0, most=10)
    assert len(paths) >= 1 and paths.shape[1] == 60
    assert cost.min() == pytest.approx(1, abs=0.25)  # one stroke
    assert any(((path > 11) & (path < 45)).all() for path in paths)


def test_a_cut_follows_the_gap_of_slanted_strokes():
    sheet = np.zeros((60, 90), np.uint8)
    for y in range(5, 55):
        for left in (45, 62):
            x = round(left - 0.4 * (y - 30))
            sheet[y, x : x + 6] = 255
    bar(sheet, 50, 30, 55, 60)
    paths, cost = find_cuts(sheet, pen=6.0, most=10)
    # Between the strokes from top to bottom: at the right of one, at the left of the other.
    assert any(61 <= path[5] <= 72 and 43 <= path[48] <= 55 for path in paths[cost < 1.5])


def test_a_cut_that_is_wanted_is_found_whatever_it_crosses():
    sheet = np.full((40, 60), 255, np.uint8)
    paths, cost = find_cuts(sheet, pen=4.0, most=2, wanted=[(20.0, 15.0, 25.0), (42.0, 40.0, 44.0)])
    middle = paths.mean(axis=1)
    assert len(paths) == 2 and (cost > 4.5).all()
    assert 15 < middle[0] < 25 and 40 < middle[1] < 44


def test_blots_and_specks_have_no_cut():
    for shape in ((4, 4), (40, 3), (1, 50)):
        paths, cost = find_cuts(np.full(shape, 255, np.uint8), pen=3.0, most=10)
        assert paths.shape == (0, shape[0]) and cost.shape == (0,)


def narrow(pieces):
    """Score ink as narrow as one bar, or two joined bars, as a character."""
    return np.array(
        [[0.9 if piece.width <= 30 and piece.height > 40 else 0.05] for piece in pieces]
    )


def test_touching_characters_are_parted():
    (line,) = read_lines(np.pad(two_bars(), 20), narrow, digits=None)
    assert [cell.probabilities[0] for cell in line] == [0.9, 0.9]
    left, right = (cell.piece for cell in line)
    assert left.box[1] == 25 and right.box[3] == 71 and left.box[3] <= right.box[1] + 8
    # Nothing is lost: the parts are all of the ink.
    np.testing.assert_array_equal(
        join_pieces([left, right]).strength >= 96, two_bars()[5:55, 5:51] >= 96
    )


def test_a_piece_that_is_sure_is_not_cut():
    def sure(pieces):
        return np.full((len(pieces), 1), 0.99)

    (line,) = read_lines(np.pad(two_bars(), 20), sure, digits=None)
    assert len(line) == 1


def test_a_broken_character_is_joined():
    sheet = np.zeros((100, 200), np.uint8)
    bar(sheet, 20, 20, 80, 26)
    bar(sheet, 20, 30, 80, 36)

    def both(pieces):
        return np.array([[0.95 if 14 <= piece.width <= 20 else 0.3] for piece in pieces])

    assert [len(line) for line in read_lines(sheet, both, digits=None)] == [1]
    bar(sheet, 20, 120, 80, 136)  # far away
    assert [len(line) for line in read_lines(sheet, both, digits=None)] == [2]


def test_a_point_stays_a_piece():
    sheet = np.zeros((100, 200), np.uint8)
    bar(sheet, 20, 20, 80, 28)
    bar(sheet, 72, 36, 80, 44)
    bar(sheet, 20, 60, 80, 68)
    bar(sheet, 5, 190, 8, 192)  # a speck

    def greedy(pieces):
        return np.full((len(pieces), 1), 0.9)

    (line,) = read_lines(sheet, greedy, digits=None)
    assert [cell.piece.box for cell in line] == [
        (20, 20, 80, 28),
        (72, 36, 80, 44),
        (20, 60, 80, 68),
    ]


@pytest.mark.parametrize("place", [22, 46, 72])
def test_a_point_at_any_height_stays_apart_from_digits_that_need_none(place):
    sheet = np.zeros((100, 200), np.uint8)
    bar(sheet, 20, 20, 80, 28)
    bar(sheet, place, 33, place + 8, 41)
    bar(sheet, 20, 48, 80, 56)

    def tall(pieces, sure):
        return np.array([[sure if piece.width <= 8 else 0.99] for piece in pieces])

    (line,) = read_lines(sheet, lambda pieces: tall(pieces, 0.99), digits=None)
    assert [cell.piece.width for cell in line] == [8, 8, 8]
    if place == 46:  # it is part of a digit that is none without it
        (line,) = read_lines(sheet, lambda pieces: tall(pieces, 0.1), digits=None)
        assert [cell.piece.width for cell in line] != [8, 8, 8]


def test_bars_above_each_other_are_one():
    sheet = np.zeros((100, 200), np.uint8)
    bar(sheet, 20, 20, 80, 26)
    bar(sheet, 40, 60, 46, 100)
    bar(sheet, 56, 60, 62, 100)
    pieces, ruler = find_pieces(sheet)
    assert len(pieces) == 2 and ruler.height == 60


@pytest.mark.parametrize(("several", "parts"), [(0.0, 2), (-0.3, 2), (-1.2, 1)])
def test_dividing_a_piece_is_worth_what_is_known_of_several(several, parts):
    """The parts, 0.9 each, are worth more than the whole, 0.5, unless several are unlikely."""
    bars = Piece((5, 5, 55, 51), two_bars()[5:55, 5:51])
    lattice = Lattice([bars], 6.0, 50.0)
    lattice.whole[0].probabilities = np.array([0.5])
    lattice.several[0] = several
    runs = lattice.divide()
    assert bool(runs) == (several > np.log(0.5))
    for run in runs:
        run.probabilities = np.array([0.9 if run.piece.width <= 30 else 0.1])
    assert len(lattice.best()) == parts


def test_what_is_none_for_sure_is_not_two_doubtful_characters():
    bars = Piece((5, 5, 55, 51), two_bars()[5:55, 5:51])
    lengths = []
    for none in (0.0, 0.95):
        lattice = Lattice([bars], 6.0, 50.0)
        lattice.whole[0].probabilities, lattice.whole[0].none = np.array([0.001]), none
        for run in lattice.divide():
            run.probabilities = np.array([0.15 if run.piece.width <= 30 else 0.001])
        lengths.append(len(lattice.best()))
    assert lengths == [2, 1]


def test_unscored_runs_are_left_out():
    piece = Piece((0, 0, 40, 20), np.full((40, 20), 255, np.uint8))
    lattice = Lattice([piece], 5.0, 40.0)
    lattice.whole[0].probabilities = np.array([0.2, 0.7])
    assert best_of(lattice.whole[0]) == 0.7
    assert lattice.best() == lattice.whole
    assert read_lines(np.zeros((40, 40), np.uint8), narrow) == []
