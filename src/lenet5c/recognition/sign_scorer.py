"""Sign probabilities for the pieces of ink of a sum, from two nets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c.recognition.components import find_components
from lenet5c.recognition.forms import form_pieces
from lenet5c.recognition.pieces import FIRM, Piece
from lenet5c.recognition.reading import get_framing, is_mnist
from lenet5c.recognition.signs import DIGITS, P_NONE, open_signs
from lenet5c.training import TrainedModel

#: Vertical center of a digit's hole, from the digit's top (0) to its foot (1): mean and standard
#: deviation.
HOLES = {0: (0.51, 0.045), 6: (0.705, 0.06), 9: (0.295, 0.06)}
#: Minimum area of a hole as a fraction of the box, and probability of a hole at any position.
HOLE, ANYWHERE = 0.02, 0.02

#: Weight of the net of signs in deciding between digits.
SHARE = 0.6
#: Digits below the first probability are also scored at other slants, if the probability of any
#: digit is at least the second; the slants are in columns to the right per row upward.
UNSURE, DIGIT, SLANTS = 0.95, 0.3, (-0.15, 0.15)


class SignScorer:
    """Callable that scores pieces as digits and signs, (N, 18), with two nets.

    The net of signs separates digits from signs; both nets decide between the digits.
    """

    def __init__(self, trained: TrainedModel) -> None:
        self.trained, self.framing = trained, get_framing(trained)

    def __call__(self, pieces: Sequence[Piece]) -> NDArray[np.floating]:
        """Return the probabilities of digits and of sign shapes for each piece, (N, 18)."""
        probabilities, both = self._ask(pieces)
        digits = probabilities[:, : len(DIGITS)].sum(axis=1)
        likely = both.max(axis=1) / np.maximum(both.sum(axis=1), 1e-9)
        unsure = np.flatnonzero((digits >= DIGIT) & (likely < UNSURE))
        if len(unsure):
            # Averaging over slants lowers the confidence if the predicted digit changes.
            turned = [slant(pieces[i], by) for by in SLANTS for i in unsure.tolist()]
            others = self._ask(turned)[1].reshape(len(SLANTS), len(unsure), -1)
            mean = np.log(np.maximum(np.stack([both[unsure], *others]), 1e-6)).mean(axis=0)
            both[unsure] = np.exp(mean)
        for row, piece in zip(both, pieces, strict=True):
            if row[list(HOLES)].sum() > 0.02 * row.sum():
                row[list(HOLES)] *= _weigh_hole(piece.strength)
        both *= (digits / np.maximum(both.sum(axis=1), 1e-9))[:, np.newaxis]
        return np.concatenate([both, probabilities[:, len(DIGITS) :]], axis=1)

    def _ask(self, pieces: Sequence[Piece]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the probabilities of the net of signs, (N, 18), and digit scores of both nets."""
        formed = form_pieces(pieces)
        probabilities = open_signs().probabilities(formed[:, np.newaxis])[:, :P_NONE]
        channels, height, width = self.trained.image_shape
        if not is_mnist(self.trained):
            formed = form_pieces(pieces, self.framing, (height, width))
        images = np.stack([self.framing.color(image, channels) for image in formed])
        which = self.trained.probabilities(images)
        # The nets make similar errors, so their product would be overconfident. Only the net of
        # signs was trained on printed type.
        return probabilities, probabilities[:, : len(DIGITS)] ** SHARE * which ** (1 - SHARE)


def slant(piece: Piece, by: float) -> Piece:
    """Slant a piece to the right by `by` columns per row upward."""
    height, width = piece.strength.shape
    shift = by * ((height - 1) / 2 - np.arange(height))
    margin = int(np.ceil(np.abs(shift).max(initial=0))) + 1
    padded = np.pad(piece.strength, ((0, 0), (margin, margin + 1))).astype(np.float32)
    column = np.arange(width + 2 * margin) - shift[:, np.newaxis]
    left = np.clip(np.floor(column).astype(int), 0, width + 2 * margin - 1)
    share = np.clip(column - left, 0, 1)
    rows = np.arange(height)[:, np.newaxis]
    ink = (1 - share) * padded[rows, left] + share * padded[rows, left + 1]
    top, start, bottom, end = piece.box
    return Piece((top, start - margin, bottom, end + margin), (ink + 0.5).astype(np.uint8))


def _weigh_hole(strength: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the likelihoods of a digit's hole for zero, six and nine; ones without a single hole.

    A net trained on handwriting alone mistakes the broad hole of a printed six for that of a zero.
    """
    step = max(1, min(strength.shape) // 20)
    parts = find_components(np.pad(strength[::step, ::step] < FIRM, 1, constant_values=True))
    height = parts.labels.shape[0] - 2
    held = parts.area >= HOLE * strength[::step, ::step].size
    held[parts.labels[0, 0]] = False
    if held.sum() != 1:
        return np.ones(len(HOLES))
    top, _, bottom, _ = parts.boxes[np.flatnonzero(held)[0]]
    middle = ((top + bottom) / 2 - 1) / height
    mean, spread = np.array(list(HOLES.values())).T
    bell = np.exp(-(((middle - mean) / spread) ** 2) / 2) / (2.5066 * spread)
    return np.asarray((1 - ANYWHERE) * bell + ANYWHERE)
