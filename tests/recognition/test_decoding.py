"""The most probable sum of a line: compared with exhaustive search, and rules for rare signs."""

from itertools import product

import numpy as np
import pytest

from lenet5c.recognition.decoding import Choice, Place, decode, search, spell
from lenet5c.recognition.grammar import SumError, work_out


def place(gap=0.1, **chances):
    names = {"plus": "+", "minus": "-", "times": "*", "over": "/", "equals": "=", "point": "."}
    names |= {"left": "(", "right": ")", "comma": ","}
    signs = {names.get(name, name.lstrip("d")): chance for name, chance in chances.items()}
    return Place(
        tuple(Choice(sign, float(np.log(chance)), sign) for sign, chance in signs.items()), gap
    )


def line(text):
    return [place(**{name_of(sign): 0.95}) for sign in text]


def name_of(sign):
    names = {"+": "plus", "-": "minus", "*": "times", "/": "over", "=": "equals", ".": "point"}
    names |= {"(": "left", ")": "right", ",": "comma"}
    return names.get(sign, f"d{sign}")


@pytest.mark.parametrize(
    ("written", "expression"),
    [
        ("12+7=19", "12+7=19"),
        ("3*(4-1)", "3*(4-1)"),
        ("1,5*2", "1.5*2"),
        ("-3+5", "-3+5"),
        ("2(3+4)", "2*(3+4)"),
        ("(1+2)(3+4)", "(1+2)*(3+4)"),
        ("(3+4)2", "(3+4)*2"),
        ("3*-4", "3*-4"),
        ("1+2=3+0", "1+2=3+0"),
        ("42", "42"),
        ("7=", "7="),
        (".5+1", "0.5+1"),
        ("1.234.567+1", "1234567+1"),
        ("((2))", "((2))"),
        ("0-0", "0-0"),
    ],
)
def test_what_is_clear_is_read(written, expression):
    found = decode(line(written))
    assert found.expression == expression and found.text == written
    assert found.probability > 0.3
    work_out(found.expression)


@pytest.mark.parametrize(
    "written", ["12+", "+7", "=19", "*", "3)(4", "(1+2", "1+*2", "1.2.3", "5.", "..", "1==2", ")"]
)
def test_what_is_no_sum_is_none(written):
    assert decode(line(written)) is None


def test_grammar_decides_within_reason():
    # A bracket that looks like a one is closed by what looks like a one.
    signs = [place(left=0.4, d1=0.6), *line("2+3"), place(right=0.3, d1=0.7), *line("*4")]
    assert decode(signs).expression in ("(2+3)*4", "12+31*4")
    signs = [place(left=0.9, d1=0.1), *line("2+3"), place(right=0.3, d1=0.7), *line("*4")]
    assert decode(signs).expression == "(2+3)*4"
    # Two operators side by side: the second is the other thing that it may be.
    assert decode([*line("8-"), place(minus=0.6, d1=0.2), *line("2")]).expression == "8-12"
    # But what is hardly anything else makes the line doubtful.
    doubtful = decode([*line("8+"), place(plus=0.98, d4=0.002), *line("2")])
    assert doubtful.expression == "8+42" and doubtful.probability < 0.3


def test_the_answer_has_no_say():
    """Correct sums are not preferred, or verdicts would be useless."""
    signs = [*line("2+2="), place(d4=0.45, d5=0.55)]
    found = decode(signs)
    assert found.expression == "2+2=5" and 0.5 < found.probability < 0.6


def test_the_probability_is_that_among_all_strings():
    rng = np.random.default_rng(0)
    signs = list("12(+-)=.")
    for _ in range(40):
        places = []
        for _ in range(4):
            chosen = rng.choice(len(signs), 3, replace=False)
            share = rng.dirichlet([1, 1, 1]) * 0.98
            chances = {name_of(signs[k]): p for k, p in zip(chosen, share, strict=True)}
            places.append(place(0.0, **chances))
        found, total = search(places)
        scores = {}
        for path in product(*(each.choices for each in places)):
            one, ways = search([Place((choice,)) for choice in path])[0], path
            if one:
                scores[ways] = one[0][0]
        assert total == pytest.approx(np.logaddexp.reduce(list(scores.values()) or [-np.inf]))
        if found:
            assert found[0][0] == pytest.approx(max(scores.values()))


def test_whatever_keeps_to_the_grammar_has_a_value():
    """All strings of up to five signs: `search` and `work_out` agree, except for numbers."""
    for length in range(1, 6):
        for text in product("1+-*(=)", repeat=length):
            found, _ = search(line(text))
            if found:
                work_out(spell(found[0][1]))
            elif not {"(", ")"} & set(text) and "=" not in text and "--" not in "".join(text):
                with pytest.raises(SumError):
                    work_out("".join(text))


def test_digits_far_apart_are_seldom_one_number():
    near = decode([place(d1=0.9), place(0.3, d2=0.9)])
    far = decode([place(d1=0.9), place(2.0, d2=0.9)])
    assert near.probability > 0.8 and far.probability < 0.2


def test_long_lines():
    assert decode(line("1+" * 40 + "1")).expression == "1+" * 40 + "1"
    assert decode(line("1" * 121)) is None
    assert decode(line("1" * 30)) is None  # no number has so many digits


@pytest.mark.parametrize(("gap", "expression"), [(0.1, "512*3"), (0.4, "5/2*3")])
def test_room_about_a_stroke_makes_it_a_slash(gap, expression):
    stroke = {"d1": 0.5, "over": 0.5}
    places = [place(d5=0.95), place(gap, **stroke), place(gap, d2=0.95)]
    places += [place(0.4, times=0.95), place(0.4, d3=0.95)]
    assert decode(places).expression == expression


def test_gaps_are_judged_by_those_of_the_line():
    """For a writer with wide spacing, a wide gap is not informative."""
    stroke = place(0.35, d1=0.6, over=0.4)
    close = [place(0.1, **{name_of(sign): 0.95}) for sign in "234"] + [stroke, place(0.35, d5=0.95)]
    wide = [place(0.35, **{name_of(sign): 0.95}) for sign in "2346789"] + close[-2:]
    assert decode(close).expression == "234/5" and decode(wide).expression == "234678915"


def speck(chance, sign=".", other=0.9):
    choices = (Choice(sign, float(np.log(other)), sign), Choice("", float(np.log(chance)), ""))
    return Place(choices, 0.05, room=0.1)


def test_a_speck_may_be_left_out():
    places = [*line("12"), speck(0.05), *line("+3")]
    found = decode(places)
    assert (found.expression, found.text) == ("12+3", "12+3")
    assert found.probability > 0.5
    between = [*line("1"), speck(0.05), *line("2+3")]
    assert decode(between).expression == "1.2+3"
    assert decode([*line("1"), speck(0.9, other=0.05), *line("2+3")]).expression == "12+3"


def test_digits_on_both_sides_of_a_speck_are_no_number_if_they_are_far_apart():
    place = speck(0.6, "*", 0.3)
    near = decode([*line("3"), place, *line("5")])
    far = decode([*line("3"), Place(place.choices, 0.4, room=1.2), *line("5")])
    assert (near.expression, far.expression) == ("35", "3*5")
