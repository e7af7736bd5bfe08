"""Several digits on a sheet: the ink of each, their lines, and cuts between touching digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.components import find_components
from lenet5c.recognition.digit import Box
from lenet5c.recognition.filters import bound, grow

#: Strength from which a pixel counts as ink: neighbors whose soft edges meet stay apart.
FIRM = 96
#: Wider than so many times its height, a piece may be digits that touch.
WIDE = 1.1
#: Up to so many times its height a piece is one digit if the net is so sure of it.
BROAD, SURE = 1.45, 0.9
#: The least height of a digit, as a share of the usual one.
LEAST = 0.45


@dataclass(frozen=True, eq=False)
class Piece:
    """The ink of one digit in its box, (top, left, bottom, right), without its neighbors'."""

    box: Box
    strength: NDArray[np.uint8]

    @property
    def height(self) -> int:
        """Rows of the box."""
        return self.box[2] - self.box[0]

    @property
    def width(self) -> int:
        """Columns of the box."""
        return self.box[3] - self.box[1]

    def part(self, start: int, end: int) -> Piece | None:
        """Return the ink between two columns of the piece, None if there is none."""
        strength = self.strength[:, start:end]
        box = bound(strength >= FIRM)
        if box is None:
            return None
        top, left, bottom, right = box
        y, x = self.box[0], self.box[1] + start
        return Piece((y + top, x + left, y + bottom, x + right), strength[top:bottom, left:right])


def find_pieces(strength: NDArray[np.uint8]) -> list[Piece]:
    """Find the pieces of ink, of the strength (h, w), that may be digits each.

    Components that belong together are joined; specks are left out.
    """
    parts = find_components(strength >= FIRM)
    usual = _find_usual_height(parts.boxes, parts.area)
    if usual == 0:
        return []
    longer = (parts.boxes[:, 2:] - parts.boxes[:, :2]).max(axis=1)
    mean = parts.sum(strength) / parts.area
    # Specks go, and small parts much fainter than the pen: the rests of rules.
    faint = mean < 0.62 * np.median(mean[longer >= LEAST * usual])
    numbers = np.flatnonzero(longer >= np.where(faint, 0.6, 0.12) * usual)
    boxes = parts.boxes[numbers]
    group = _join(boxes, usual)
    pieces = []
    for g in np.unique(group):
        members = group == g
        top, left = boxes[members, :2].min(axis=0).tolist()
        bottom, right = boxes[members, 2:].max(axis=0).tolist()
        if max(bottom - top, 0.6 * (right - left)) < LEAST * usual:
            continue
        # The soft edge around the firm pixels belongs to the digit, too.
        near = parts.labels[top:bottom, left:right]
        own = np.isin(near, numbers[members])
        soft = grow(own) & ((near < 0) | own)
        pieces.append(Piece((top, left, bottom, right), strength[top:bottom, left:right] * soft))
    return pieces


def group_lines(pieces: list[Piece]) -> list[list[Piece]]:
    """Return the pieces by line, top to bottom, each from left to right.

    A piece continues the line whose last piece it stands beside, so a line may climb or fall.
    """
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.box[1]):
        best, share = None, 0.3
        for line in lines:
            last = line[-1]
            overlap = min(last.box[2], piece.box[2]) - max(last.box[0], piece.box[0])
            beside = overlap / min(last.height, piece.height)
            if beside > share:
                best, share = line, beside
        if best is None:
            lines.append([piece])
        else:
            best.append(piece)
    return sorted(lines, key=lambda line: np.mean([piece.box[0] + piece.box[2] for piece in line]))


def split_piece(
    piece: Piece, probabilities: Callable[[list[Piece]], NDArray[np.floating]]
) -> list[Piece]:
    """Split a piece that may be several digits, where the net is surest of all of them together.

    `probabilities` takes N pieces to (N, classes). The piece itself is returned if no
    cut makes it more plausible.
    """
    if piece.width <= WIDE * piece.height or piece.height < 8:
        return [piece]
    cuts, cost = _find_cuts(piece)
    last = len(cuts) - 1
    found = []
    for i in range(last):
        for j in range(i + 1, last + 1):
            share = (cuts[j] - cuts[i]) / piece.height
            if 0.12 <= share <= 1.6 or (i, j) == (0, last):
                part = piece.part(cuts[i], cuts[j])
                if part is not None and part.height >= LEAST * piece.height:
                    found.append((i, j, part))
    if not found:
        return [piece]
    sure = probabilities([part for *_, part in found]).max(axis=1)
    unsplit = next(
        (p for (i, j, _), p in zip(found, sure, strict=True) if (i, j) == (0, last)), 0.0
    )
    if unsplit >= SURE and piece.width <= BROAD * piece.height:
        return [piece]
    best: dict[int, tuple[float, list[Piece]]] = {0: (0.0, [])}
    for end in range(1, last + 1):
        ways = []
        for (i, j, part), p in zip(found, sure, strict=True):
            if j == end and i in best:
                # A digit is seldom wider than high; each cut goes through some ink.
                odd = max(0.0, part.width / part.height - 1.0)
                value = best[i][0] + float(np.log(max(p, 1e-6))) - 2.0 * odd - 1.5 * cost[j] - 0.05
                ways.append((value, best[i][1] + [part]))
        if ways:
            best[end] = max(ways, key=lambda way: way[0])
    return best[last][1] if last in best else [piece]


def _find_usual_height(boxes: NDArray[np.int64], area: NDArray[np.int64]) -> float:
    """Return the height of the component at the middle of the area, in order of height."""
    if len(boxes) == 0:
        return 0.0
    height = np.maximum(boxes[:, 2] - boxes[:, 0], 0.5 * (boxes[:, 3] - boxes[:, 1]))
    order = np.argsort(height, kind="stable")
    total = np.cumsum(area[order])
    return float(height[order][np.searchsorted(total, total[-1] / 2)])


def _join(boxes: NDArray[np.int64], usual: float) -> NDArray[np.int64]:
    """Return a number for each component, equal for those of one digit."""
    group = np.arange(len(boxes))
    height = boxes[:, 2] - boxes[:, 0]
    width = boxes[:, 3] - boxes[:, 1]
    small = np.maximum(height, width) < 0.6 * usual
    # Small parts, the smallest first, join the nearest: a flag its 5, a dash its 7.
    for i in sorted(np.flatnonzero(small).tolist(), key=lambda i: (height[i] * width[i], i)):
        down = np.maximum(np.maximum(boxes[:, 0] - boxes[i, 2], boxes[i, 0] - boxes[:, 2]), 0)
        aside = np.maximum(np.maximum(boxes[:, 1] - boxes[i, 3], boxes[i, 1] - boxes[:, 3]), 0)
        far = np.hypot(down, 1.5 * aside)
        far[group == group[i]] = np.inf
        if len(far) and far.min() <= 0.3 * usual:
            group[group == group[i]] = group[far.argmin()]
    # Large parts one above the other: the halves of a digit that was set off.
    for i in range(len(boxes)):
        for j in range(i + 1, len(boxes)):
            if group[i] == group[j] or boxes[j, 0] > boxes[i, 2] + 0.2 * usual:
                continue
            shared = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            union = max(boxes[i, 2], boxes[j, 2]) - min(boxes[i, 0], boxes[j, 0])
            if shared >= 0.6 * min(width[i], width[j]) and union <= 1.35 * usual:
                group[group == group[j]] = group[i]
    return group


def _find_cuts(piece: Piece, most: int = 14) -> tuple[list[int], list[float]]:
    """Return columns at which a piece may be cut, with its ends, and the share of ink in each."""
    ink = (piece.strength >= FIRM).sum(axis=0) / piece.height
    calm = np.convolve(np.pad(ink, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    least = max(2, round(0.12 * piece.height))
    candidates = [
        x
        for x in range(least, piece.width - least)
        if calm[x] == calm[max(0, x - least // 2) : x + least // 2 + 1].min() and calm[x] < 0.6
    ]
    apart: list[int] = []
    for x in sorted(candidates, key=lambda x: (calm[x], x)):
        if all(abs(x - other) >= least for other in apart) and len(apart) < most:
            apart.append(x)
    cuts = [0, *sorted(apart), piece.width]
    return cuts, [0.0, *(float(ink[x]) for x in cuts[1:-1]), 0.0]
