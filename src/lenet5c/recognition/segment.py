"""Several digits on a sheet: which ink makes one digit, in which line it stands, and where touching digits part."""

from dataclasses import dataclass

import numpy as np

from lenet5c.recognition.components import components, runs
from lenet5c.recognition.digit import centred, cropped, with_usual_stroke

#: Strength from which a pixel counts as ink: neighbours whose soft edges meet stay apart.
FIRM = 96
#: Wider than so many times its height, a piece may be digits that touch.
WIDE = 1.1
#: Up to so many times its height a piece is one digit if the net is so sure of it.
BROAD, SURE = 1.45, 0.9
#: The least height of a digit, as a share of the usual one.
LEAST = 0.45


@dataclass(frozen=True, eq=False)
class Piece:
    """The ink of one digit.

    Attributes
    ----------
    box : tuple of int
        (top, left, bottom, right) in the sheet of ink.
    strength : ndarray of uint8
        The ink in that box, without that of its neighbours.
    """

    box: tuple[int, int, int, int]
    strength: np.ndarray

    @property
    def height(self):
        return self.box[2] - self.box[0]

    @property
    def width(self):
        return self.box[3] - self.box[1]

    def image(self):
        """The digit in MNIST's form, uint8 (28, 28)."""
        return centred(with_usual_stroke(cropped(self.strength)))

    def part(self, start, end):
        """What lies between two columns of the piece, None if that is nothing."""
        strength = self.strength[:, start:end]
        rows, columns = (
            np.flatnonzero((strength >= FIRM).any(axis=1)),
            np.flatnonzero((strength >= FIRM).any(axis=0)),
        )
        if len(rows) == 0:
            return None
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        box = (
            self.box[0] + int(top),
            self.box[1] + start + int(left),
            self.box[0] + int(bottom),
            self.box[1] + start + int(right),
        )
        return Piece(box, strength[top:bottom, left:right])


def pieces_of(strength):
    """The pieces of ink that may be digits each: parts that belong together are joined, specks and rules left out.

    Parameters
    ----------
    strength : ndarray of uint8, shape (h, w)
        Of ink.

    Returns
    -------
    list of Piece
    """
    mask = without_rules(strength >= FIRM)
    parts = components(mask)
    boxes = np.stack([parts.top, parts.left, parts.bottom, parts.right], axis=1)
    usual = _usual_height(boxes, parts.area)
    if usual == 0:
        return []
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    inside = parts.labels >= 0
    mean = np.bincount(parts.labels[inside], strength[inside], minlength=len(parts)) / parts.area
    # Specks go, and small parts much fainter than the pen: what rules have left.
    faint = mean < 0.62 * np.median(mean[longer >= LEAST * usual])
    kept = longer >= np.where(faint, 0.6, 0.12) * usual
    boxes, numbers = boxes[kept], np.flatnonzero(kept)
    group = _joined(boxes, usual)
    pieces = []
    for g in np.unique(group):
        members = np.flatnonzero(group == g)
        top, left = boxes[members, :2].min(axis=0)
        bottom, right = boxes[members, 2:].max(axis=0)
        if max(bottom - top, 0.6 * (right - left)) < LEAST * usual:
            continue
        # The soft edge around the firm pixels belongs to the digit, too.
        near = parts.labels[top:bottom, left:right]
        own = np.isin(near, numbers[members])
        soft = _grown(own) & ((near < 0) | own)
        pieces.append(
            Piece(
                (int(top), int(left), int(bottom), int(right)),
                strength[top:bottom, left:right] * soft,
            )
        )
    return pieces


def lines_of(pieces):
    """The pieces by line, top to bottom, each from left to right.

    A piece continues the line whose last piece it stands beside, so a line may climb or fall.
    """
    lines = []
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


def parted(piece, probabilities):
    """The digits of a piece that may be several: where the net is surest of all the parts together.

    Parameters
    ----------
    piece : Piece
    probabilities : callable
        From uint8 (N, 28, 28) to float32 (N, classes).

    Returns
    -------
    list of Piece
        The piece itself if no cut makes it more plausible.
    """
    if piece.width <= WIDE * piece.height or piece.height < 8:
        return [piece]
    cuts, cost = _cuts(piece)
    spans = [
        (i, j)
        for i in range(len(cuts))
        for j in range(i + 1, len(cuts))
        if 0.12 <= (cuts[j] - cuts[i]) / piece.height <= 1.6 or (i, j) == (0, len(cuts) - 1)
    ]
    found = [
        (span, part)
        for span in spans
        if (part := piece.part(cuts[span[0]], cuts[span[1]])) is not None
    ]
    found = [(span, part) for span, part in found if part.height >= LEAST * piece.height]
    if not found:
        return [piece]
    sure = probabilities(np.stack([part.image() for _, part in found])).max(axis=1)
    whole = next((p for (span, _), p in zip(found, sure) if span == (0, len(cuts) - 1)), 0.0)
    if whole >= SURE and piece.width <= BROAD * piece.height:
        return [piece]
    best = {0: (0.0, [])}
    for end in range(1, len(cuts)):
        ways = []
        for ((i, j), part), p in zip(found, sure):
            if j == end and i in best:
                # A digit is seldom wider than high; each cut goes through some ink.
                odd = max(0.0, part.width / part.height - 1.0)
                value = best[i][0] + float(np.log(max(p, 1e-6))) - 2.0 * odd - 1.5 * cost[j] - 0.05
                ways.append((value, best[i][1] + [part]))
        if ways:
            best[end] = max(ways, key=lambda way: way[0])
    return best[len(cuts) - 1][1] if len(cuts) - 1 in best else [piece]


def without_rules(mask):
    """A mask without the lines of ruled or squared paper: thin, straight, and from side to side.

    Where a stroke crosses a rule it stays whole, as it is thicker there than the rule.
    """
    for _ in range(2):
        parts = components(mask)
        for across, length in ((False, parts.right - parts.left), (True, parts.bottom - parts.top)):
            whole = mask.shape[0 if across else 1]
            if len(parts) and length.max() > 0.7 * whole and max(mask.shape) >= 100:
                mask = _without_rules(mask.T).T if across else _without_rules(mask)
    return mask


def _without_rules(mask):
    """Without horizontal rules."""
    height, width = mask.shape
    thin = max(2, round(max(mask.shape) / 120))
    row, start, end = runs(mask)
    long = end - start >= max(12, width // 16)
    marks = np.zeros((height, width + 1), np.int32)
    np.add.at(marks, (row[long], start[long]), 1)
    np.add.at(marks, (row[long], end[long]), -1)
    in_long = np.cumsum(marks[:, :-1], axis=1) > 0
    # How much ink stands over and under each pixel without a gap.
    column, top, bottom = runs(mask.T)
    thickness = np.zeros((width, height), np.int32)
    thickness[mask.T] = np.repeat(bottom - top, bottom - top)
    return mask & ~(in_long & (thickness.T <= thin))


def _usual_height(boxes, area):
    """The height of most of the ink: of the part at the middle of the area, parts in order of height."""
    if len(boxes) == 0:
        return 0
    height = np.maximum(boxes[:, 2] - boxes[:, 0], 0.5 * (boxes[:, 3] - boxes[:, 1]))
    order = np.argsort(height, kind="stable")
    total = np.cumsum(area[order])
    return float(height[order][np.searchsorted(total, total[-1] / 2)])


def _joined(boxes, usual):
    """A number for each part, equal for those of one digit."""
    group = np.arange(len(boxes))
    height = boxes[:, 2] - boxes[:, 0]
    width = boxes[:, 3] - boxes[:, 1]
    small = np.maximum(height, width) < 0.6 * usual
    # Small parts first, the smallest first: each goes to what is nearest, a flag to its 5, a dash to its 7.
    for i in sorted(np.flatnonzero(small), key=lambda i: (height[i] * width[i], i)):
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


def _cuts(piece, most=14):
    """Columns at which a piece may be cut, its ends among them, and the share of each column that is ink."""
    ink = (piece.strength >= FIRM).sum(axis=0) / piece.height
    calm = np.convolve(np.pad(ink, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    least = max(2, round(0.12 * piece.height))
    candidates = [
        x
        for x in range(least, piece.width - least)
        if calm[x] == calm[max(0, x - least // 2) : x + least // 2 + 1].min() and calm[x] < 0.6
    ]
    apart = []
    for x in sorted(candidates, key=lambda x: (calm[x], x)):
        if all(abs(x - other) >= least for other in apart) and len(apart) < most:
            apart.append(x)
    cuts = [0, *sorted(apart), piece.width]
    return cuts, [0.0, *(float(ink[x]) for x in cuts[1:-1]), 0.0]


def _grown(mask):
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    wide = grown.copy()
    wide[:, 1:] |= grown[:, :-1]
    wide[:, :-1] |= grown[:, 1:]
    return wide
