"""Check of cut ink as a whole, so that a heart, for example, is not read as two touching digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lenet5c.recognition.filters import grow
from lenet5c.recognition.forms import form_pieces
from lenet5c.recognition.pieces import FIRM, Piece, join_pieces
from lenet5c.recognition.segment import Cell
from lenet5c.recognition.signs import P_NONE, open_signs

#: Minimum probability that the whole is not a character for its parts to be discounted.
NONE = 0.95
#: Maximum ratio of width to height of ink that the net can judge as a whole; wider ink becomes too
#: small in its input.
WIDEST = 2.2


def judge_uncut(lines: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """Lower the probabilities of cells whose ink, before cutting, is not a character as a whole."""
    groups = [group for line in lines for group in _group(line) if len(group) > 1]
    wholes = [join_pieces([cell.piece for cell in group]) for group in groups]
    known = [k for k, whole in enumerate(wholes) if whole.width <= WIDEST * whole.height]
    if not known:
        return [list(line) for line in lines]
    seen = open_signs().probabilities(form_pieces([wholes[k] for k in known])[:, np.newaxis])
    less = {
        id(cell): 1 - none
        for k, none in zip(known, seen[:, P_NONE].tolist(), strict=True)
        for cell in groups[k]
        if none >= NONE
    }
    return [
        [replace(cell, probabilities=cell.probabilities * less.get(id(cell), 1.0)) for cell in line]
        for line in lines
    ]


def _group(line: Sequence[Cell]) -> list[list[Cell]]:
    """Group the cells of a line whose ink was connected before it was cut."""
    groups: list[list[Cell]] = []
    for cell in line:
        if groups and _touch(groups[-1][-1].piece, cell.piece):
            groups[-1].append(cell)
        else:
            groups.append([cell])
    return groups


def _touch(left: Piece, right: Piece) -> bool:
    """Return whether the ink of two pieces overlaps or touches."""
    if right.box[1] > left.box[3]:
        return False
    whole = join_pieces([left, right])
    masks = []
    for piece in (left, right):
        mask = np.zeros((whole.height, whole.width), bool)
        y, x = piece.box[0] - whole.box[0], piece.box[1] - whole.box[1]
        mask[y : y + piece.height, x : x + piece.width] = piece.strength >= FIRM
        masks.append(mask)
    return bool((grow(masks[0]) & masks[1]).any())
