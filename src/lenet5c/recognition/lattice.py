"""Lattice of the possible segmentations of a line of ink, and search for the best one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.cuts import find_cuts
from lenet5c.recognition.pieces import FIRM, LEAST, Piece, join_pieces
from lenet5c.recognition.strings import String

#: Minimum probability, and maximum ratio of width to height, of a piece that is neither cut nor
#: joined.
SURE, WIDE = 0.97, 1.15
#: Maximum width of a run, and maximum gap within one, in typical digit heights.
WIDEST, GAP = 1.5, 0.3
#: Maximum longer side of a point, in typical digit heights.
POINT = 0.24
#: Maximum number of parts in a run.
MOST = 5
#: Minimum probabilities credited to a run: to an unknown character, to one that is certainly no
#: character, and to a small mark.
UNKNOWN, STRANGE, MARK = 0.005, 0.05, 0.3
#: Penalties in log probability: per stroke cut, per excess width, per gap.
PER_CUT, PER_WIDTH, PER_GAP = 0.03, 8.0, 1.0
#: Overlap of both sides at a cut stroke, in pen widths.
BOTH = 0.5

Node = tuple[int, int]


@dataclass(eq=False)
class Run:
    """An edge of the lattice: adjacent parts of a line that may form one character."""

    start: Node
    end: Node
    piece: Piece
    cut: float = 0.0  #: strokes crossed by the cut at its end
    gap: float = 0.0  #: total width of its gaps, in typical digit heights
    span: tuple[float, float] | None = None  #: columns within the piece, if it is part of just one
    probabilities: NDArray[np.floating] | None = None
    none: float = 0.0  #: probability that it is not a character


class Lattice:
    """The lattice of one line.

    A node is a pair (piece, cut). The start of a piece is its cut 0, and its end is the start of
    the next piece.

    Parameters
    ----------
    pieces : list of Piece
        Pieces from left to right.
    pen : float
        Stroke width.
    usual : float
        Typical digit height in the line.
    """

    def __init__(self, pieces: list[Piece], pen: float, usual: float) -> None:
        self.pieces, self.pen, self.usual = pieces, pen, usual
        self.whole = [
            Run((c, 0), (c + 1, 0), piece, span=(-np.inf, np.inf)) for c, piece in enumerate(pieces)
        ]
        self.divided: list[Run] = []
        self.strings: dict[int, String] = {}
        self.several: dict[int, float] = {}  #: log-probability gain from dividing a piece

    def is_sure(self, c: int) -> bool:
        """Return whether a scored piece is one character with high confidence."""
        run = self.whole[c]
        if self.is_mark(run.piece):
            return False
        return best_of(run) >= SURE and run.piece.width <= WIDE * run.piece.height

    def count_unsure(self, wide: bool) -> int:
        """Count the unsure pieces that are wider than tall, or with `wide` false, the others.

        Marks are not counted.
        """
        return sum(
            (piece.width > piece.height) == wide and not self.is_mark(piece) and not self.is_sure(c)
            for c, piece in enumerate(self.pieces)
        )

    def divide(self, cut: bool = True) -> list[Run]:
        """Return the runs of several pieces and, with `cut` true, those of parts of a piece."""
        sure = [self.is_sure(c) for c in range(len(self.pieces))]
        for c, piece in enumerate(self.pieces):
            if cut and not sure[c] and not self.is_mark(piece) and self._may_be_several(c):
                self.divided += self.cut(c)
        apart = [sure[c] or self._is_point(c) for c in range(len(self.pieces))]
        for a in range(len(self.pieces)):
            for b in range(a + 1, min(a + MOST, len(self.pieces))):
                if self._gap(b) > GAP * self.usual:
                    break
                if not all(apart[a : b + 1]) and (run := self._join(a, b)):
                    self.divided.append(run)
        return self.divided

    def _may_be_several(self, c: int) -> bool:
        """Return whether dividing a piece into certain digits would score higher than the whole."""
        return self.several.get(c, 0.0) > self._value(self.whole[c])

    def best(self) -> list[Run]:
        """Return the runs of the best path through the line, among the scored ones."""
        ends: dict[Node, list[Run]] = {}
        for run in self.whole + self.divided:
            if run.probabilities is not None:
                ends.setdefault(run.end, []).append(run)
        best: dict[Node, tuple[float, Run | None]] = {(0, 0): (0.0, None)}
        for node in sorted(ends):
            ways = [
                (best[run.start][0] + self._value(run), run)
                for run in ends[node]
                if run.start in best
            ]
            if ways:
                best[node] = max(ways, key=lambda way: way[0])
        way: list[Run] = []
        last = best[len(self.pieces), 0][1]
        while last is not None:
            way.append(last)
            last = best[last.start][1]
        return way[::-1]

    def _value(self, run: Run) -> float:
        """Return the score of a run: a log probability less penalties."""
        piece = run.piece
        least = max(UNKNOWN, STRANGE * run.none)
        worth = float(np.log(MARK if self.is_mark(piece) else max(best_of(run), least)))
        wide = max(0.0, piece.width / self.usual - 1.3)
        cost = PER_WIDTH * wide + PER_CUT * run.cut + PER_GAP * run.gap
        if run.start[1] == 0 and run.end[1] != 0:  # the first part of a piece
            worth += self.several.get(run.start[0], 0.0)
        return worth - cost

    def is_mark(self, piece: Piece) -> bool:
        """Return whether a piece is too small for a digit."""
        return piece.size < LEAST * self.usual

    def _gap(self, c: int) -> float:
        """Return the number of columns between a piece and the pieces on its left."""
        left = max(piece.box[3] for piece in self.pieces[max(0, c - MOST) : c])
        return self.pieces[c].box[1] - left

    def _is_point(self, c: int) -> bool:
        """Return whether a piece is as small and round as a point.

        A point is joined to its neighbors only if they are not digits without it.
        """
        piece = self.pieces[c]
        short, long = sorted((piece.height, piece.width))
        return long <= max(POINT * self.usual, 2 * self.pen) and long <= 2 * short

    def _is_comma(self, c: int) -> bool:
        """Return whether a piece is a point or comma low after another piece, not a part of it."""
        top, left, bottom, right = self.pieces[c].box
        if max(bottom - top, 1.4 * (right - left)) > 0.4 * self.usual or c == 0:
            return False
        last = self.pieces[c - 1].box
        low = (top + bottom) / 2 > last[0] + 0.7 * (last[2] - last[0])
        return low and left >= last[3] - 0.5 * self.pen

    def _join(self, a: int, b: int) -> Run | None:
        """Return the run of the whole pieces `a` to `b`, or None if it cannot be one character."""
        if any(self._is_comma(c) for c in range(a, b + 1)):
            return None
        piece = join_pieces(self.pieces[a : b + 1])
        if piece.width > WIDEST * self.usual or piece.height > 1.7 * self.usual:
            return None
        gaps = sum(max(0.0, self._gap(c)) for c in range(a + 1, b + 1)) / self.usual
        return Run((a, 0), (b + 1, 0), piece, gap=gaps)

    def cut(self, c: int) -> list[Run]:
        """Return the runs of parts of one piece."""
        piece = self.pieces[c]
        if piece.height < 8 or piece.width < 0.3 * piece.height:
            return []
        height = min(piece.height, 1.3 * self.usual)
        gaps = self.strings[c].find_gaps() if c in self.strings else []
        most = 2 + round(7 * piece.width / height)
        paths, cost = find_cuts(piece.strength, self.pen, most, gaps)
        count = len(paths)
        if count == 0:
            return []
        rows = np.arange(piece.height)
        inked = np.maximum(
            piece.strength[rows, np.clip(paths, 0, piece.width - 1)],
            piece.strength[rows, np.clip(paths - 1, 0, piece.width - 1)],
        )
        # A stroke that is cut belongs to both sides.
        both = round(BOTH * self.pen) * (inked >= FIRM)
        start = np.vstack([np.zeros_like(rows), paths - both])
        end = np.vstack([paths + both, np.full_like(rows, piece.width)])
        cost = np.append(cost, 0.0)
        middle = paths.mean(axis=1)
        for column, left, right in gaps:
            near = np.where((middle > left) & (middle < right), np.abs(middle - column), np.inf)
            if np.isfinite(near).any():
                middle[near.argmin()] = column
        middle = [-np.inf, *middle.tolist(), np.inf]
        runs = []
        for i in range(count + 1):
            for j in range(i, count + 1):
                if (i, j) == (0, count):
                    continue
                part = piece.between(start[i], end[j])
                if part is None or part.width > WIDEST * self.usual:
                    continue
                if part.size < LEAST * height:
                    continue
                node = (c, j + 1) if j < count else (c + 1, 0)
                span = middle[i], middle[j + 1]
                runs.append(Run((c, i), node, part, cut=float(cost[j]), span=span))
        return runs


def best_of(run: Run) -> float:
    """Return the probability of the most probable class of a run."""
    return 0.0 if run.probabilities is None else float(run.probabilities.max())
