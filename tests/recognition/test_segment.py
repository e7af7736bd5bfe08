"""Sheets and written numbers."""

import numpy as np
import pytest

pytest.importorskip("PIL")

from drawn.sheets import sheet

from lenet5c.datasets import mnist
from lenet5c.recognition import Reader
from lenet5c.recognition.pieces import find_pieces
from lenet5c.recognition.segment import read_lines
from lenet5c.training import TrainedModel, open_model


@pytest.fixture(scope="module")
def test_set():
    return mnist()[1]


@pytest.fixture(scope="module")
def reader():
    return Reader(digits="many")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"light": "vignette", "noise": 6.0},
        {"slope": 0.06, "gap": 0.6},
        {"rules": "ruled"},
        {"rules": "squared"},
        {"digit": 26, "noise": 3.0},
        {"rows": 1, "gap": 0.15, "columns": 12},
        {"rows": 3, "digit": 120, "columns": 6},
    ],
    ids=str,
)
def test_sheets_are_read(test_set, reader, options):
    picture, labels = sheet(test_set, np.random.default_rng(5), **options)
    reading = reader(picture)
    assert len(reading.digits) == len(labels)
    found = [[digit.label for digit in line] for line in reading.digits]
    right = sum(
        a == b
        for got, want in zip(found, labels, strict=True)
        if len(got) == len(want)
        for a, b in zip(got, map(str, want), strict=True)
    )
    # A line in which a digit is lost or cut in two counts as wrong from end to end.
    assert right >= 0.8 * sum(map(len, labels))


def test_a_written_number_is_one_word(test_set, reader):
    places = [int(np.flatnonzero(test_set.labels == d)[3]) for d in (1, 9, 9, 8)]
    picture = np.full((60, 160), 255, np.uint8)
    for k, j in enumerate(places):
        picture[16:44, 12 + 26 * k : 40 + 26 * k] = np.minimum(
            picture[16:44, 12 + 26 * k : 40 + 26 * k], 255 - test_set.images[j, 0]
        )
    assert reader(picture).text == "1998"


def test_numbers_apart_stay_apart(test_set, reader):
    digits = {
        d: test_set.images[int(np.flatnonzero(test_set.labels == d)[0]), 0] for d in (4, 2, 7)
    }
    picture = np.zeros((40, 300), np.uint8)
    for left, d in [(10, 4), (40, 2), (170, 7), (200, 4)]:
        picture[6:34, left : left + 28] = digits[d]
    assert reader(picture).text == "42 74"


def test_boxes_are_where_the_digits_are(test_set, reader):
    picture = np.zeros((1000, 3000), np.uint8)
    for left, j in [(100, 0), (900, 1), (2100, 2)]:
        picture[200:480, left : left + 280] = (
            test_set.images[j, 0].repeat(10, axis=0).repeat(10, axis=1)
        )
    (line,) = reader(picture).digits
    assert [digit.label for digit in line] == ["7", "2", "1"]
    for digit, left in zip(line, (100, 900, 2100), strict=True):
        assert (
            200 <= digit.box[0] < digit.box[2] <= 480
            and left <= digit.box[1] < digit.box[3] <= left + 280
        )


def test_touching_digits_are_parted(test_set, reader):
    exact = 0
    for i in range(20):
        picture, labels = sheet(
            test_set, np.random.default_rng([3, i]), rows=1, columns=3, gap=-0.03, color=False
        )
        exact += reader(picture).text == "".join(map(str, labels[0]))
    assert exact >= 12


def one_class(pieces):
    """Score ink as high as a digit, and not wider, as a digit."""
    return np.array([[0.9 if p.height >= 50 and p.width <= 40 else 0.1] for p in pieces])


def test_a_flag_belongs_to_its_five():
    ink = np.zeros((100, 160), np.uint8)
    ink[20:80, 20:26] = ink[50:56, 20:50] = ink[50:80, 46:52] = 255
    ink[20:26, 32:52] = 255  # near, apart
    ink[20:80, 110:116] = 255  # another digit
    ink[5:8, 80:83] = 255  # a speck
    pieces, ruler = find_pieces(ink)
    assert sorted(piece.box for piece in pieces) == [(20, 20, 80, 52), (20, 110, 80, 116)]
    assert ruler.height == 60 and 5 < ruler.pen < 8
    lines = read_lines(ink, one_class, digits=None)
    assert [[cell.piece.box for cell in line] for line in lines] == [
        [(20, 20, 80, 52), (20, 110, 80, 116)]
    ]


@pytest.mark.parametrize("picture", [np.full((50, 50), 200, np.uint8), np.zeros((1, 1), np.uint8)])
def test_blank_sheets(reader, picture):
    reading = reader(picture)
    assert reading.digits == () and reading.rejected and reading.label is None


def test_noise_ends_soon(reader):
    reading = reader(np.random.default_rng(0).integers(0, 256, (1200, 1200), dtype=np.uint8))
    assert reading.rejected or reading.text is not None


def draw_row(test_set, text, step=26):
    """Draw a row of digits, white on black, with '.', '-' and 'x' between them."""
    picture = np.zeros((52, 24 + step * len(text)), np.uint8)
    for k, character in enumerate(text):
        left = 12 + step * k
        if character.isdigit():
            j = int(np.flatnonzero(test_set.labels == int(character))[3])
            picture[12:40, left : left + 28] |= test_set.images[j, 0]
        elif character == ".":
            picture[33:36, left + 12 : left + 15] = 255
        elif character == "-":
            picture[25:28, left + 7 : left + 22] = 255
        else:
            for i in range(18):
                picture[17 + i, left + 5 + i : left + 8 + i] = 255
                picture[17 + i, left + 22 - i : left + 25 - i] = 255
    return picture


@pytest.mark.parametrize(
    ("text", "expected"), [("12.34", "12?34"), ("7-4", "7?4"), ("31x6", "31?6"), ("0.5", "0?5")]
)
def test_what_is_no_digit_is_a_question_mark(test_set, reader, text, expected):
    reading = reader(draw_row(test_set, text))
    assert reading.text.replace(" ", "") == expected
    (mark,) = [digit for line in reading.digits for digit in line if digit.label is None]
    assert mark.rejected and mark.box


@pytest.mark.parametrize(
    ("row", "gap", "expected"),
    [(22, 2, "1998"), (36, 2, "199?8"), (26, 6, "199?8")],
    ids=["a speck", "a point", "a dot between two"],
)
def test_a_speck_close_beside_one_digit_is_nothing(test_set, reader, row, gap, expected):
    picture = draw_row(test_set, "1998", step=30)
    end = 72 + int(np.flatnonzero(picture[12:40, 72:100].any(axis=0))[-1])
    picture[row : row + 3, end + gap : end + gap + 3] = 255
    assert reader(picture).text.replace(" ", "") == expected


@pytest.mark.parametrize("text", ["-", "x", "."])
def test_a_sign_alone_is_no_digit(test_set, reader, text):
    reading = reader(draw_row(test_set, text))
    assert reading.rejected and reading.text is None


def test_a_model_of_other_classes_reads_sheets(test_set):
    """Without the models of signs and parts, which only support digits."""
    trained = open_model()
    letters = TrainedModel(
        trained.model, trained.preparation, tuple("abcdefghij"), trained.image_shape, "ink"
    )
    letters.framing = trained.framing
    assert Reader(letters, digits="many")(draw_row(test_set, "1998")).text == "bjji"
