"""The grammar of sums compared with Python, exact arithmetic, and invalid sums."""

import ast
from fractions import Fraction
from itertools import product

import pytest

from lenet5c.recognition.grammar import SumError, join_number, show_value, work_out

OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def by_python(text):
    """Return the value of a side by Python's grammar: a Fraction, 'zero', or None if it is none."""
    if text != text.strip() or any(each in text for each in ("**", "//", "()", "+-", "-+", "++")):
        return None
    try:
        tree = ast.parse(text, mode="eval").body
        return value_of(tree)
    except ZeroDivisionError:
        return "zero"
    except (SyntaxError, ValueError):
        return None


def value_of(node):
    match node:
        case ast.Constant(value=int() as value):
            return Fraction(value)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -value_of(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            a, b = value_of(left), value_of(right)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
            return a / b
    raise ValueError(node)


def test_every_string_of_few_signs_is_read_as_python_reads_it():
    """All 299,592 strings of up to six of eight signs; Python rejects the same ones."""
    agreed = 0
    for length in range(1, 7):
        for signs in product("2+-*/()0", repeat=length):
            text = "".join(signs)
            if any(each in text for each in ("**", "//", "()", "+-", "-+", "++", "02", "00")):
                continue  # Python's powers, calls, unary plus and octal zeros
            if text[0] == "+" or any(f"{before}+" in text for before in "(*/"):
                continue
            if "2(" in text or "0(" in text or ")(" in text:
                continue  # a call to Python
            expected = by_python(text)
            try:
                result = work_out(text)
            except SumError:
                assert expected is None, text
                continue
            assert expected is not None, text
            assert result.value == (None if expected == "zero" else expected), text
            assert (result.remark == "it divides by zero") == (expected == "zero")
            agreed += 1
    assert agreed > 1500


@pytest.mark.parametrize(
    ("text", "value", "correct"),
    [
        ("12+7=19", "19", True),
        ("12+7=18", "19", False),
        ("12+7=", "19", None),
        ("12+7", "19", None),
        ("3*(4-1)", "9", None),
        ("24/12=2", "2", True),
        ("1.5*2=3", "3", True),
        ("1.5*2=3.0", "3", True),
        ("0.1+0.2=0.3", "0.3", True),  # not so in binary
        ("1/3+1/3+1/3=1", "1", True),
        ("2-5=-3", "-3", True),
        ("-3+5", "2", None),
        ("-(2+3)*-2", "10", None),
        ("7-3-2=2", "2", True),
        ("48/4/3=4", "4", True),
        ("1+2=3+0", "3", True),
        ("1+2=3=6/2", "3", True),
        ("2+3=5+4=9", "5", False),  # a chain that goes on as one speaks
        ("42", "42", None),
        ("1/7", "1/7", None),
        ("1/8=0.125", "0.125", True),
    ],
)
def test_value_and_verdict(text, value, correct):
    result = work_out(text)
    assert (show_value(result.value), result.correct) == (value, correct)


@pytest.mark.parametrize("text", ["5/0", "1/(2-2)", "0/0", "3+4/(1-1)*0", "2=1/0", "-(1/0)"])
def test_division_by_zero_is_told(text):
    result = work_out(text)
    assert result.correct is None and result.remark == "it divides by zero"


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("1/3=0.33", "0.33 is 1/3 rounded"),
        ("2/3=0.67", "0.67 is 2/3 rounded"),
        ("2/3=0.66", None),
        ("-2/3=-0.67", "-0.67 is -2/3 rounded"),
        ("7/2=4", "4 is 3.5 rounded"),
    ],
)
def test_a_rounded_answer_is_wrong_but_named(text, remark):
    result = work_out(text)
    assert result.correct is False and result.remark == remark


@pytest.mark.parametrize(
    "text",
    [
        *["", "=", "=3", "1++2", "1+", "*2", "(1", "1)", "()", "2(3)", "1..2", "1.", ".5", "a"],
        *["1 + 2", "1=+2", "1==2", "12_3", "1e5", "٣+1", "(" * 13 + "1" + ")" * 13, "-" * 20 + "1"],
    ],
)
def test_what_is_no_sum(text):
    with pytest.raises(SumError):
        work_out(text)


def test_bounds():
    assert work_out("9" * 18).value == 10**18 - 1
    with pytest.raises(SumError, match="at most 18 digits"):
        work_out("9" * 20)
    with pytest.raises(SumError, match="at most 120 signs"):
        work_out("1+" * 60 + "1")
    # The largest value that there is room for is shown in full.
    product = "*".join(["9" * 18] * 6)
    assert len(show_value(work_out(product).value)) == 108


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("12", "12"),
        ("1,5", "1.5"),
        ("1.5", "1.5"),
        ("1,500", "1.500"),  # one mark is a decimal point
        (",5", "0.5"),
        ("1.234.567", "1234567"),
        ("1,234,567", "1234567"),
        ("1,234,567.89", "1234567.89"),
        ("1.234,5", "1234.5"),
        ("12.34.56", None),
        ("1,2,3", None),
        ("1234.567,8", None),
        ("1,23.4,5", None),
        ("5,", None),
        ("", None),
    ],
)
def test_points_and_commas(written, number):
    assert join_number(written) == number


def test_values_are_exact():
    shown = {"1/3": "1/3", "-7/2": "-3.5", "1/1024": "0.0009765625", "1/2048": "1/2048"}
    assert {text: show_value(Fraction(text)) for text in shown} == shown
