"""The table that a check of gradients ends with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lenet5c._text import html_table, listing, table, to_html
from lenet5c.nn.layer import Shape

HEADING = ("gradient by", "shape", "error", "at", "float32", "verdict")


class GradientRow(NamedTuple):
    """A line of a `GradientCheck`: the gradient by the input, or by one parameter.

    Attributes
    ----------
    name : str
        'input', or the name of the parameter.
    shape : tuple of int
    error : float
        The largest relative error; not a number where there is no gradient.
    place : tuple of int or None
        The element with that error.
    float32 : float or None
        The largest difference of the gradient in float32 from that in float64, relative to the
        largest gradient; None unless all gradients are right in float64.
    verdict : str
        'ok', or the fault.
    ok : bool
    """

    name: str
    shape: Shape
    error: float
    place: tuple[int, ...] | None
    float32: float | None
    verdict: str
    ok: bool


class GradientCheck:
    """The outcome of `check_gradients`: a table, which is true if all gradients are right.

    Attributes
    ----------
    rows : list of GradientRow
    notes : list of str
        Remarks on the layer, and on how it was checked.
    """

    def __init__(self, title: str, rows: list[GradientRow], notes: list[str]) -> None:
        self.title, self.rows, self.notes = title, rows, notes

    @property
    def ok(self) -> bool:
        """True if all gradients are right."""
        return all(row.ok for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        shown = table([HEADING, *self._cells()], "lrrlrl")
        return "\n".join([self.title, shown, self._conclusion(), *self.notes])

    def _repr_html_(self) -> str:
        shown = html_table(HEADING, self._cells())
        notes = "".join(f"<p>{to_html(note)}</p>" for note in [self._conclusion(), *self.notes])
        return f"<div><b>{to_html(self.title)}</b>{shown}{notes}</div>"

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            yield (
                row.name,
                times(row.shape),
                "-" if np.isnan(row.error) else f"{row.error:.0e}",
                "-" if row.place is None else ", ".join(map(str, row.place)),
                "-" if row.float32 is None else f"{row.float32:.0e}",
                row.verdict,
            )

    def _conclusion(self) -> str:
        wrong = [row.name for row in self.rows if not row.ok]
        return f"Wrong: {listing(wrong)}." if wrong else "All gradients are right."


def times(shape: Shape) -> str:
    """Return a shape as text."""
    return " x ".join(map(str, shape)) or "1"
