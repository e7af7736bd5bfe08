"""Points, bars and specks beside digits."""

import numpy as np
import pytest

from lenet5c.recognition.pieces import Piece
from lenet5c.recognition.small_signs import part_small_signs, weigh_specks


def sheet(*boxes):
    """Return ink with two digits of strokes 8 wide, and boxes of (top, left, bottom, right)."""
    strength = np.zeros((120, 260), np.uint8)
    for left in (20, 200):
        strength[20:100, left : left + 40] = 255
        strength[28:92, left + 8 : left + 32] = 0
    for top, left, bottom, right in boxes:
        strength[top:bottom, left:right] = 255
    return strength


def test_points_and_bars_are_parted_from_the_digits():
    point, bar = (90, 90, 99, 99), (56, 120, 64, 160)
    pieces, rest = part_small_signs(sheet(point, bar))
    assert sorted(piece.box for piece in pieces) == [bar, point]
    assert np.array_equal(rest, sheet())


def test_specks_are_dropped():
    pieces, rest = part_small_signs(sheet((60, 120, 61, 121), (30, 150, 32, 180)))
    assert pieces == [] and np.array_equal(rest, sheet())


def test_a_few_thin_points_are_signs_and_many_are_noise():
    point = (90, 90, 93, 93)
    assert [piece.box for piece in part_small_signs(sheet(point))[0]] == [point]
    noise = [(10 + 20 * k, 70 + 20 * k, 13 + 20 * k, 73 + 20 * k) for k in range(5)]
    assert part_small_signs(sheet(*noise))[0] == []


def piece(top, left, bottom, right):
    return Piece((top, left, bottom, right), np.full((bottom - top, right - left), 255, np.uint8))


@pytest.mark.parametrize("ruled", [False, True])
def test_small_ink_is_a_speck_the_more_likely_the_thinner_it_is(ruled):
    digits = [piece(20, left, 100, left + 8) for left in (20, 60, 200)]
    points = [piece(90, 100, 90 + side, 100 + side) for side in (9, 3, 2, 1)]
    specks = weigh_specks(digits + points, ruled)
    assert (specks[:3] == 0).all()
    assert specks[3] == pytest.approx(0.02)
    assert (np.diff(specks[3:]) > 0).all() and specks[-1] > 0.8


def test_small_ink_within_a_digit_is_rather_a_rest_on_ruled_paper():
    digit = Piece((20, 20, 100, 80), np.pad(np.zeros((64, 44), np.uint8), 8, constant_values=255))
    pieces = [digit, piece(50, 40, 58, 48), piece(90, 120, 98, 128)]
    plain, ruled = (weigh_specks(pieces, each) for each in (False, True))
    assert plain[2] == ruled[2] < plain[1] < ruled[1]


def test_what_is_near_a_digit_stays_with_it():
    flag = (20, 244, 28, 262 - 6)
    pieces, rest = part_small_signs(sheet(flag))
    assert pieces == [] and np.array_equal(rest, sheet(flag))
