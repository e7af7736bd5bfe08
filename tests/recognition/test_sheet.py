"""Sheets of several digits: what is on them that is none."""

import numpy as np
import pytest

from lenet5c.recognition import predict


def table(bent):
    """Draw six boxes apart from each other, and bend the left side of one to and fro."""
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
