"""Grammar of written sums, and their exact evaluation.

    chain   = sum {'=' sum} ['=']
    sum     = ['-'] product {('+' | '-') product}
    product = factor {('*' | '/') factor}
    factor  = number | '(' sum ')' | '-' factor

This is the ASCII form in `lenet5c.recognition.Prediction.expression`. Handwriting may omit a sign:
``2(3+4)`` means ``2*(3+4)``, and a whole number before a fraction is a mixed number.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from lenet5c.errors import UserError

#: Maximum number of signs in a line, and maximum nesting of brackets.
MOST_SIGNS, MOST_DEPTH = 120, 12
#: Maximum number of digits in a number.
MOST_DIGITS = 18
DIGITS = frozenset("0123456789")


class SumError(UserError):
    """Raised if an expression is not a valid sum."""


@dataclass(frozen=True)
class Result:
    """Result of evaluating a line."""

    value: Fraction | None  #: value of the left side; None if undefined
    correct: bool | None  #: True if all sides are equal; None if there is only one side
    remark: str | None = None  #: reason why there is no value, or a remark on the answer


def work_out(expression: str) -> Result:
    """Evaluate a line in ASCII and compare the sides of its equals signs.

    Raises
    ------
    SumError
        If the expression is not a valid sum.

    Examples
    --------
    >>> from lenet5c.recognition.grammar import work_out
    >>> work_out("12*3-4=32")
    Result(value=Fraction(32, 1), correct=True, remark=None)
    >>> work_out("1/3=0.33")
    Result(value=Fraction(1, 3), correct=False, remark='0.33 is 1/3 rounded')
    >>> work_out("5/(2-2)").remark
    'it divides by zero'
    """
    if len(expression) > MOST_SIGNS:
        raise SumError(f"a sum must have at most {MOST_SIGNS} signs, got {len(expression)}")
    sides = expression.split("=")
    if sides[-1] == "":
        sides.pop()
    if not sides:
        raise SumError(f"a sum must have a number, got {expression!r}")
    values = [_Parser(side).value() for side in sides]
    if None in values:
        return Result(values[0], None, "it divides by zero")
    exact = [value for value in values if value is not None]
    if len(exact) == 1:
        return Result(exact[0], None)
    if all(value == exact[0] for value in exact):
        return Result(exact[0], True)
    answer = sides[-1].lstrip("-")
    places = len(answer.partition(".")[2])
    alone = set(answer) <= DIGITS | {"."}
    if len(sides) == 2 and alone and _round(exact[0], places) == exact[1]:
        return Result(exact[0], False, f"{sides[-1]} is {show_value(exact[0])} rounded")
    return Result(exact[0], False)


def _round(value: Fraction, places: int) -> Fraction:
    """Round a value to `places` decimals, halves away from zero."""
    scaled = abs(value) * 10**places + Fraction(1, 2)
    return Fraction(scaled.numerator // scaled.denominator, 10**places) * (1 if value >= 0 else -1)


def show_value(value: Fraction) -> str:
    """Format a value exactly: as an integer, a decimal of at most ten places, or p/q.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from lenet5c.recognition.grammar import show_value
    >>> [show_value(Fraction(text)) for text in ("19", "-5/4", "1/3")]
    ['19', '-1.25', '1/3']
    """
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, 11):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = str(abs(scaled.numerator)).rjust(places + 1, "0")
            sign = "-" if value < 0 else ""
            return f"{sign}{digits[:-places]}.{digits[-places:]}"
    return f"{value.numerator}/{value.denominator}"


class _Parser:
    """Recursive-descent parser for one side; a division by zero evaluates to None."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def value(self) -> Fraction | None:
        value = self._sum()
        if self.at < len(self.text):
            raise self._error()
        return value

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _error(self) -> SumError:
        found = repr(self._peek()) if self._peek() else "its end"
        return SumError(
            f"a sum must continue with a number or a sign, got {found} in {self.text!r}"
        )

    def _sum(self) -> Fraction | None:
        value = self._product()
        while (sign := self._peek()) and sign in "+-":
            self.at += 1
            other = self._product()
            if value is None or other is None:
                value = None
            else:
                value = value + other if sign == "+" else value - other
        return value

    def _product(self) -> Fraction | None:
        value = self._factor()
        while (sign := self._peek()) and sign in "*/":
            self.at += 1
            other = self._factor()
            if value is None or other is None or (sign == "/" and other == 0):
                value = None
            else:
                value = value * other if sign == "*" else value / other
        return value

    def _factor(self) -> Fraction | None:
        if self._peek() == "-":
            self.at += 1
            self._descend()
            value = self._factor()
            self.depth -= 1
            return None if value is None else -value
        if self._peek() == "(":
            self.at += 1
            self._descend()
            value = self._sum()
            if self._peek() != ")":
                raise self._error()
            self.at += 1
            self.depth -= 1
            return value
        return self._number()

    def _descend(self) -> None:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise SumError(f"a sum must have at most {MOST_DEPTH} nested brackets")

    def _number(self) -> Fraction:
        first = self.at
        while (sign := self._peek()) and (sign in DIGITS or sign == "."):
            self.at += 1
        number = self.text[first : self.at]
        whole, point, places = number.partition(".")
        if not whole or (point and not places) or "." in places:
            raise self._error()
        if len(number) > MOST_DIGITS + 1:
            raise SumError(f"a number must have at most {MOST_DIGITS} digits, got {number}")
        return Fraction(number)


def join_number(written: str) -> str | None:
    """Normalize a written number with points and commas to ASCII; None if it is malformed.

    A single mark, point or comma, is the decimal separator. Several identical marks separate
    thousands, and a mark of the other kind after them is the decimal separator.

    Examples
    --------
    >>> from lenet5c.recognition.grammar import join_number
    >>> [join_number(text) for text in ("1,5", "1.234", "1.234.567", "1,234,567.8", "1.2.3")]
    ['1.5', '1.234', '1234567', '1234567.8', None]
    """
    marks = [sign for sign in written if sign in ".,"]
    if not written or written[-1] in ".,":
        return None
    if written[0] in ".,":
        written = "0" + written
    if len(marks) <= 1:
        return written.replace(",", ".")
    *groups, last = written.replace(",", ".").split(".")
    places = marks[-1] != marks[0]
    if not places:
        groups.append(last)
    if len(set(marks[: len(marks) - places])) != 1 or len(groups[0]) > 3 or len(groups) < 2:
        return None
    if any(len(group) != 3 for group in groups[1:]):
        return None
    return "".join(groups) + (f".{last}" if places else "")
