"""Sheets with several digits and other marks."""

import numpy as np
import pytest

from lenet5c.recognition import predict
from lenet5c.recognition.pieces import Piece
from lenet5c.recognition.segment import Cell
from lenet5c.recognition.sheet import judge_by_company


def table(bent):
    """Draw six separate boxes, one of them with a wavy left side."""
    page = np.full((260, 420), 245, np.uint8)
    for top in (30, 140):
        for left in (30, 160, 290):
            page[top : top + 3, left : left + 100] = page[
                top + 77 : top + 80, left : left + 100
            ] = 40
            page[top : top + 80, left + 97 : left + 100] = 40
            if (top, left) != (30, 160) or not bent:
                page[top : top + 80, left : left + 3] = 40
    if bent:
        rows = np.arange(34, 103)
        columns = 160 + np.rint(6 * np.sin((rows - 30) / 78 * 2 * np.pi)).astype(int)
        for k in range(3):
            page[rows, columns + k] = 40
    return page


@pytest.mark.parametrize("bent", [False, True])
def test_an_empty_table_has_no_digits(bent):
    reading = predict(table(bent), digits="many")
    assert reading.text is None and reading.rejected


def test_a_one_in_a_box_is_a_digit():
    page = table(False)
    page[46:94, 78:84] = 40
    assert predict(page, digits="many").text == "1"


def cells(*rows):
    piece = Piece((0, 0, 20, 10), np.full((20, 10), 255, np.uint8))
    return [[Cell(piece, np.array([digit, 0.0, sign])) for digit, sign in row] for row in rows]


def shares(lines):
    return np.array([cell.probabilities[0] for line in judge_by_company(lines) for cell in line])


def test_what_looks_like_a_digit_among_letters_is_rather_a_letter():
    alone, digits = shares(cells([(0.9, 0.0)])), shares(cells([(0.99, 0.0)] * 8 + [(0.9, 0.0)]))
    letters = shares(cells([(0.01, 0.0)] * 5, [(0.02, 0.0)] * 3 + [(0.9, 0.0)]))
    assert alone[0] > 0.85 and digits[-1] >= alone[0]
    assert letters[-1] < 0.3 and (letters[:-1] < 0.01).all()


def test_signs_are_good_company():
    signs = shares(cells([(0.01, 0.98)] * 4 + [(0.9, 0.0)]))
    assert signs[-1] > 0.85


def test_strokes_across_many_level_lines_are_sides_of_a_table():
    page = np.full((300, 460), 245, np.uint8)
    for left in (30, 180, 330):
        page[30:271:40, left : left + 100] = 40
        page[31:272:40, left : left + 100] = 40
        rows = np.arange(36, 266)
        columns = left + np.rint(5 * np.sin((rows - 30) / 60)).astype(int)
        for k in range(3):
            page[rows, columns + k] = page[rows, columns + 98 + k] = 40
    assert predict(page, digits="many").text is None
