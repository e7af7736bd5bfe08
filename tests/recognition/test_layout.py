"""Layout of signs: interpretation by size and position."""

import numpy as np
import pytest

from lenet5c.recognition.decoding import decode
from lenet5c.recognition.layout import lay_out
from lenet5c.recognition.marks import Mark, measure_bow

WIDTHS = {"+": 40, "-": 40, "x": 36, "/": 30, "=": 40, "(": 18, ")": 18}


def digit(name, left, top=100, height=60, width=30, chance=0.97):
    return Mark((top, left, top + height, left + width), {name: chance})


def sign(name, left, middle=130):
    width = WIDTHS[name]
    height = {"-": 6, "=": 22, "(": 78, ")": 78, "/": 76}.get(name, width)
    box = (middle - height // 2, left, middle + height // 2, left + width)
    return Mark(box, {name: 0.97})


def dot(left, middle, size=8):
    box = (middle - size // 2, left, middle + size // 2, left + size)
    return Mark(box, {".": 0.6, "x": 0.1})


def bar(left, middle, width=40, height=6):
    box = (middle - height // 2, left, middle + height // 2, left + width)
    return Mark(box, {"-": 0.9})


def read(marks):
    layout = lay_out(marks)
    lines = [decode(places) for places in layout.lines]
    return [line and line.expression for line in lines], [line and line.text for line in lines]


def test_a_line():
    marks = [digit("1", 0), digit("2", 40), sign("+", 90), digit("7", 150), sign("=", 200)]
    assert read([*marks, digit("1", 260), digit("9", 300)]) == (["12+7=19"], ["12+7=19"])


@pytest.mark.parametrize(
    ("middle", "expression", "text"),
    [(157, "1.5", "1.5"), (163, "1.5", "1.5"), (130, "1*5", "1·5"), (126, "1*5", "1·5")],
)
def test_a_dot_is_a_point_or_a_multiplication_by_its_height(middle, expression, text):
    assert read([digit("1", 0), dot(45, middle), digit("5", 70)]) == ([expression], [text])


def test_a_dot_on_a_line_that_climbs():
    marks = [
        digit("1", 0, 140),
        dot(45, 184),
        digit("5", 70, 118),
        dot(120, 130),
        digit("2", 150, 96),
    ]
    assert read(marks) == (["1.5*2"], ["1.5·2"])


def test_a_comma():
    comma = Mark((150, 42, 172, 52), {"/": 0.6, "1": 0.3})
    assert read([digit("1", 0), comma, digit("5", 70)]) == (["1.5"], ["1,5"])
    slash = Mark((92, 42, 168, 70), {"/": 0.6, "1": 0.3}, slant=0.4)
    assert read([digit("1", 0), slash, digit("5", 90)]) == (["1/5"], ["1/5"])


def test_colon_and_division_sign():
    assert read([digit("8", 0), dot(45, 118), dot(45, 148), digit("2", 70)]) == (["8/2"], ["8:2"])
    marks = [digit("8", 0), dot(62, 116), bar(45, 130), dot(62, 144), digit("2", 110)]
    assert read(marks) == (["8/2"], ["8÷2"])


def test_equals_of_two_bars():
    marks = [digit("8", 0), bar(45, 122), bar(47, 140), digit("8", 110)]
    assert read(marks) == (["8=8"], ["8=8"])
    assert read([digit("8", 0), bar(45, 131), digit("8", 110)]) == (["8-8"], ["8−8"])


def test_leading_minus():
    assert read([bar(0, 130), digit("8", 60)]) == (["-8"], ["−8"])


@pytest.mark.parametrize(("middle", "expression"), [(132, "2-8"), (156, "2.8")])
def test_a_hyphen_is_a_minus_by_its_shape_and_place(middle, expression):
    hyphen = bar(50, middle, width=20, height=6)
    found, _ = read([digit("2", 0), hyphen, digit("8", 90)])
    assert found == [expression]


def test_fractions():
    over = [digit("1", 20, 30), digit("2", 60, 30)]
    marks = [*over, bar(10, 110, 100), digit("4", 45, 125)]
    assert read(marks) == (["12/4"], ["12/4"])
    # Beside others, at the height of its bar.
    marks = [*marks, sign("+", 130, 110), digit("3", 190, 80)]
    assert read(marks) == (["12/4+3"], ["12/4+3"])


def test_fractions_of_sums_get_brackets():
    over = [digit("1", 20, 30), sign("+", 60, 60), digit("2", 110, 30)]
    marks = [*over, bar(10, 110, 150), digit("4", 70, 125)]
    assert read(marks) == (["(1+2)/4"], ["(1+2)/4"])


def test_a_fraction_in_a_fraction():
    upper = [digit("1", 30, 0), bar(20, 75, 50), digit("2", 30, 85)]
    marks = [*upper, bar(5, 160, 90), digit("3", 35, 175)]
    assert read(marks)[0] == ["(1/2)/3"]


def test_a_mixed_number():
    fraction = [digit("1", 60, 60), bar(50, 130, 50), digit("2", 60, 140)]
    assert read([digit("3", 10), *fraction])[0] == ["(3+1/2)"]


def test_an_underline_is_left_out():
    marks = [digit("1", 0), digit("2", 40), sign("+", 90), digit("7", 150)]
    assert read([*marks, bar(-10, 175, 220)])[0] == ["12+7"]


def test_several_lines_and_lines_that_go_on():
    first = [digit("1", 0), sign("+", 50), digit("2", 110)]
    second = [digit("3", 0, 220), sign("-", 50, 250), digit("4", 110, 220)]
    assert read(first + second)[0] == ["1+2", "3-4"]
    assert read([*first, sign("=", 0, 250), digit("3", 60, 220)])[0] == ["1+2=3"]
    assert read([*first, sign("+", 150), digit("3", 0, 220)])[0] == ["1+2+3"]


def test_a_minus_between_lines_is_no_fraction_bar():
    marks = []
    for row in range(3):
        top = 100 * row
        marks += [digit("5", 0, top), bar(45, top + 30), digit("2", 100, top)]
        marks += [digit("7", 140, top)]
    assert read(marks)[0] == ["5-27"] * 3


def test_an_exponent_is_told():
    layout = lay_out([digit("5", 0), digit("2", 35, 80, 32, 18), sign("+", 80), digit("3", 140)])
    assert layout.raised == (80, 35, 112, 53)
    assert lay_out([digit("5", 0), digit("2", 35), digit("3", 80, 112, 45)]).raised is None


def stroke(start, height, bow, slant, **chances):
    names = {"left": "(", "right": ")", "over": "/", "d1": "1"}
    box = (130 - height // 2, start, 130 + height // 2, start + 15)
    return Mark(box, {names[name]: chance for name, chance in chances.items()}, None, bow, slant)


def test_a_stroke_is_a_one_a_slash_or_a_bracket_by_height_bow_and_slant():
    inner = [digit("2", 25), sign("x", 62), digit("3", 105, width=15)]

    def read_between(left, right):
        return read([left, *inner, right])[0]

    left = {"left": 0.1, "d1": 0.8}
    right = {"right": 0.1, "d1": 0.8}
    high = stroke(0, 76, -0.13, 0.05, **left), stroke(130, 76, 0.13, 0.05, **right)
    assert read_between(*high) == ["(2*3)"]
    low = stroke(0, 60, 0.0, 0.1, **left), stroke(130, 60, 0.0, 0.1, **right)
    assert read_between(*low) == ["12*31"]
    leaning = stroke(60, 74, 0.0, 0.4, over=0.1, d1=0.8)
    assert read([digit("6", 20), leaning, digit("3", 90)])[0] == ["6/3"]
    upright = stroke(60, 60, 0.0, 0.1, over=0.1, d1=0.8)
    assert read([digit("6", 20), upright, digit("3", 90)])[0] == ["613"]


def test_bow_and_slant():
    bracket = np.zeros((60, 30), np.uint8)
    slash = bracket.copy()
    for y in range(60):
        x = round(4 + 18 * ((y - 29.5) / 30) ** 2)
        bracket[y, x : x + 5] = 255
        slash[y, 24 - 2 * y // 5 : 29 - 2 * y // 5] = 255
    bow, slant = measure_bow(bracket)
    assert -0.25 < bow < -0.15 and abs(slant) < 0.02
    assert measure_bow(bracket[:, ::-1])[0] == pytest.approx(-bow)
    bow, slant = measure_bow(slash)
    assert abs(bow) < 0.02 and 0.3 < slant < 0.45


def test_nothing():
    assert lay_out([]).lines == []
    assert read([bar(0, 0)]) == ([None], [None])


def test_a_thin_point_is_a_point_where_one_may_be_and_a_speck_elsewhere():
    def thin(left, middle):
        mark = dot(left, middle, 4)
        return Mark(mark.box, mark.probabilities, speck=0.4)

    assert read([digit("1", 0), thin(40, 160), digit("5", 60)])[0] == ["1.5"]
    assert read([digit("1", 0), thin(36, 103), digit("5", 42)])[0] == ["15"]


def test_a_large_dot_is_one_if_the_net_is_sure():
    large = (120, 50, 142, 72)
    marks = [digit("4", 0), Mark(large, {".": 0.95}), digit("5", 100)]
    assert read(marks)[0] == ["4*5"]


def test_a_tick_beside_a_digit_is_no_one():
    tick = Mark((100, 78, 120, 84), {"1": 0.95, "/": 0.03})
    assert read([digit("3", 0), digit("4", 40), tick, sign("+", 100), digit("2", 150)])[0] == [
        "34+2"
    ]


def test_a_bar_as_high_as_the_tops_of_digits_is_hardly_a_minus():
    middle, top = (lay_out([digit("3", 0), bar(45, y), digit("4", 100)]) for y in (130, 101))
    chances = [
        max(np.exp(choice.score) for choice in layout.lines[0][1].choices if choice.sign == "-")
        for layout in (middle, top)
    ]
    assert chances[0] > 0.8 and chances[1] < 0.1


def test_a_line_that_ends_in_a_one_does_not_go_on():
    slanted = Mark((100, 100, 160, 125), {"1": 0.45, "/": 0.5}, slant=0.4)
    first = [digit("2", 0), sign("+", 50), slanted]
    second = [digit("3", 0, 260), sign("+", 50, 290), digit("4", 100, 260)]
    assert len(lay_out([*first, *second]).lines) == 2
