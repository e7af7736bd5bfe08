"""Result table of a gradient check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lenet5c._text import html_table, listing, table, to_html
from lenet5c.nn.layer import Shape

HEADING = ("gradient by", "shape", "error", "at", "float32", "verdict")


class GradientRow(NamedTuple):
    """One row of a `GradientCheck`: the gradient with respect to the input or one parameter.

    Attributes
    ----------
    name : str
        'input', or the name of the parameter.
    shape : tuple of int
    error : float
        Largest relative error; NaN if there is no gradient.
    place : tuple of int or None
        Index of the element with that error.
    float32 : float or None
        Largest difference between the float32 and float64 gradients, relative to the largest
        gradient; None unless all float64 gradients are right.
    verdict : str
        'ok', or a description of the error.
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
    """Result of `check_gradients`: a table that is true if all gradients are right.

    Attributes
    ----------
    rows : list of GradientRow
    notes : list of str
        Remarks on the layer and the check.
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
    """Format a shape."""
    return " x ".join(map(str, shape)) or "1"
