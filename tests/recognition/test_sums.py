"""Written sums in pictures: two kinds of drawings, and rejections."""

import numpy as np
import pytest

pytest.importorskip("PIL")

from drawn.clutter import CLUTTER
from drawn.sums import SUMS, Pen, picture_of, set_line

from lenet5c.datasets import mnist
from lenet5c.errors import UserError
from lenet5c.recognition import Reader, predict
from lenet5c.recognition.explain import draw_prediction
from lenet5c.recognition.signs import open_signs
from lenet5c.recognition.sums import read_sum


@pytest.fixture(scope="module")
def digits():
    """Return held-out training digits; the benchmark uses the test digits."""
    return mnist()[0].take(np.arange(55_000, 60_000))


def write(digits, text, seed=0, **style):
    hand = Pen(np.random.default_rng(seed), digits)
    for name, value in style.items():
        setattr(hand, name, value)
    return picture_of(hand, [set_line(hand, line)[0] for line in text.splitlines()])


def test_most_sums_are_read(digits):
    """Pens and fonts of the benchmark; `python benchmarks/pictures.py --parts sums` has more."""
    right = wrong = 0
    rows = (
        "pen, 2 numbers",
        "pen, 3 numbers",
        "pen, decimals",
        "pen, fractions",
        "type, 2 numbers",
    )
    for number, row in enumerate(rows):
        for i in range(8):
            picture, text = SUMS[row](digits, np.random.default_rng([1, number, i]))
            reading = read_sum(picture)
            right += reading.expression == text
            wrong += reading.expression not in (text, None)
    assert right >= 34 and wrong <= 3


@pytest.mark.parametrize(
    ("written", "style", "text", "value", "correct"),
    [
        ("12+7=19", {}, "12+7=19", "19", True),
        ("12+7=18", {}, "12+7=18", "19", False),
        ("3*(4-1)", {"times": "cross"}, "3×(4−1)", "9", None),
        ("24/12", {"over": "slash"}, "24/12", "2", None),
        ("24/12", {"over": "colon"}, "24:12", "2", None),
        ("24/12", {"over": "obelus"}, "24÷12", "2", None),
        ("1.5*2", {"times": "dot", "point": "comma"}, "1,5·2", "3", None),
        ("1.5+2=", {"point": "point"}, "1.5+2=", "3.5", None),
        ("1+2\n3*4=12", {"times": "cross"}, "1+2\n3×4=12", "3\n12", None),
    ],
)
def test_what_a_reading_says(digits, written, style, text, value, correct):
    style = {"size": 70, "width": 5.0, "traced": True, "slant": 0.05, "apart": 0.35} | style
    readings = [read_sum(write(digits, written, seed, **style)) for seed in range(5)]
    read = [reading for reading in readings if reading.text == text]
    assert len(read) >= 3, [reading.text for reading in readings]
    assert read[0].expression == written
    assert (read[0].value, read[0].correct) == (value, correct)
    assert 0.5 <= read[0].probability <= 1 and len(read[0].sums) == len(text.splitlines())


def test_signs_have_boxes_and_probabilities(digits):
    picture = write(digits, "12+7=19", size=60, width=5.0, traced=True)
    reading = predict(picture, digits="sum")
    assert [sign.label for sign in reading.digits[0]] == list("12+7=19")
    lefts = [sign.box[1] for sign in reading.digits[0]]
    assert lefts == sorted(lefts)
    height, width = picture.shape[:2]
    for sign in reading.digits[0]:
        top, left, bottom, right = sign.box
        assert 0 <= top < bottom <= height and 0 <= left < right <= width
        assert 0 < sign.probability <= 1 and sign.label in sign.probabilities
    drawing = draw_prediction(reading)
    assert max(drawing.size) == 1400


def test_what_is_no_sum_is_rejected(digits):
    said = 0
    for name in ("letters", "words", "scribbles"):
        for i in range(4):
            reading = read_sum(CLUTTER[name](np.random.default_rng([2, i]))[0])
            said += reading.rejected is None
            assert (reading.expression is None) == (reading.rejected is not None)
    assert said <= 1
    reading = read_sum(write(digits, "12+", size=60, width=5.0, traced=True))
    assert "which is no sum" in reading.rejected and reading.expression is None


def test_blank_paper():
    reading = read_sum(np.full((100, 200), 240, np.uint8))
    assert reading.rejected.startswith("there is no writing")
    assert reading.sums == () and reading.text is None


def test_reject_sets_how_sure_a_line_must_be(digits):
    picture = write(digits, "12+7=19", size=60, width=5.0, traced=True)
    share = read_sum(picture).probability
    assert read_sum(picture, reject=0.0).rejected is None
    assert "the net is uncertain" in read_sum(picture, reject=min(0.9999, share + 1e-4)).rejected


def test_division_by_zero_is_told(digits):
    reading = read_sum(write(digits, "7/0", size=60, width=5.0, traced=True, over="colon"))
    assert (reading.expression, reading.value, reading.correct) == ("7/0", None, None)
    assert reading.remark == "it divides by zero" and reading.rejected is None


def test_models_of_other_classes_are_refused():
    picture = np.full((100, 200), 240, np.uint8)
    with pytest.raises(UserError, match="model must have the ten digits as classes to read sums"):
        read_sum(picture, open_signs())
    with pytest.raises(UserError, match="digits must be 'one' with the reading 'whole', got 'sum'"):
        Reader(digits="sum", reading="whole")
