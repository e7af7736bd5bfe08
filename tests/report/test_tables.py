"""Text tables: columns, names of all kinds, many classes."""

import re

import numpy as np
import pytest
from evaluations import make_evaluation

from lenet5c._text import columns, plain, shorten
from lenet5c.report.tables import class_table, matrix_table, worst_table


def test_ten_classes_fit_into_100_columns_and_their_cells_are_in_line():
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 3, (10, 10)) * 1000 + np.diag([98765] * 10)
    lines = matrix_table(matrix, [f"class of {i} things" for i in range(10)]).splitlines()
    assert len(lines) == 12 and max(map(len, lines)) <= 100
    for line, row in zip(lines[2:], matrix, strict=True):
        assert [int(cell.replace(".", "0")) for cell in line.split()[-10:]] == row.tolist()
    ends = {tuple(at.end() for at in re.finditer(r"\S+", line))[-10:] for line in lines[1:]}
    assert len(ends) == 1


def test_wide_characters_take_two_columns():
    lines = matrix_table(np.array([[1, 0], [2, 3]]), ["犬", "ab"]).splitlines()
    assert columns(lines[2]) == columns(lines[3]) == columns(lines[1])


def test_many_classes_become_the_most_frequent_mistakes():
    matrix = np.diag([100] * 50)
    matrix[3, 7], matrix[7, 3], matrix[1, 2] = 5, 9, 5
    lines = matrix_table(matrix, [f"c{i}" for i in range(50)]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["c7", "c3", "9"],
        ["c1", "c2", "5"],
        ["c3", "c7", "5"],
    ]
    matrix[:] = 1
    assert matrix_table(matrix, [f"c{i}" for i in range(50)]).endswith(
        "and 2,430 images in 2,430 other pairs"
    )
    assert matrix_table(np.diag([1] * 50), [""] * 50) == "No images are misclassified."
    table = class_table(np.diag([100] * 50), [f"c{i}" for i in range(50)]).splitlines()
    assert table[0].startswith("The 20 classes") and len(table) == 1 + 1 + 20 + 1


def test_what_is_not_defined_is_a_dash():
    lines = class_table(np.array([[3, 0, 0], [1, 0, 0], [0, 0, 0]]), ["a", "b", "c"]).splitlines()
    assert lines[2].split() == ["b", "1", "-", "0.00%", "0.00%"]
    assert lines[3].split() == ["c", "0", "-", "-", "-"]


def test_worst_first():
    result = make_evaluation([0, 1, 1], [1, 1, 0], [0.5, 1, 0.75], 2)
    lines = worst_table(result, ["no", "yes"], 5).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["2", "yes", "no", "75.00%"],
        ["0", "no", "yes", "50.00%"],
    ]


@pytest.mark.parametrize(
    "name, width, expected",
    [
        ("short", 10, "short"),
        ("golden retriever", 7, "gol…ver"),
        ("犬猫鳥魚馬", 7, "犬猫…馬"),
        ("a\x1b[31mb\u202e", 20, "a [31mb"),
        (" \n", 9, "(no name)"),
    ],
)
def test_names_are_shortened(name, width, expected):
    assert shorten(name, width) == expected and columns(shorten(name, width)) <= width


def test_plain_names_are_one_line():
    assert plain("a\r\nb\tc\u2028d") == "a b c d"
