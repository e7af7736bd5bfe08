"""Points, bars and specks beside digits."""

import numpy as np

from lenet5c.recognition.small_signs import part_small_signs


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
    pieces, rest = part_small_signs(sheet((60, 120, 62, 122), (30, 150, 32, 180)))
    assert pieces == [] and np.array_equal(rest, sheet())


def test_what_is_near_a_digit_stays_with_it():
    flag = (20, 244, 28, 262 - 6)
    pieces, rest = part_small_signs(sheet(flag))
    assert pieces == [] and np.array_equal(rest, sheet(flag))
