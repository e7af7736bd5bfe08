"""The model of parts of touching digits: it sees a part with the ink around it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.resampling import resize
from lenet5c.recognition.pieces import Piece
from lenet5c.training import TrainedModel, open_model
from lenet5c.training.model_file import PARTS

#: Rows and columns of its images, and the share of them that a part fills.
SIDE, FILLED = 28, 5 / 7
#: Strength of the ink around a part, of its own.
AROUND = 0.4
#: Columns of what is not one digit, half of one or several; and of a part of no digits at all.
NOT_ONE, NO_DIGITS = 10, 11
#: A part that is one digit with less than this probability is looked at no further.
HOPELESS = 0.02
#: Share of this model, beside the other one, in which digit a part is; and the exponent of its
#: probability that it is one. The other's counts for nothing: it has not seen what is around.
SHARE, OWN = 0.85, 0.5


@lru_cache(maxsize=1)
def open_parts() -> TrainedModel:
    """Open the model of parts in the package, made by tools/train_parts.py; once."""
    return open_model(PARTS)


def judge_parts(parts: Sequence[tuple[Piece, Piece]]) -> NDArray[np.floating]:
    """Return the probabilities of parts, each with the piece it is of: (n, 12).

    Those of each digit, of half a digit or several, and of what is no digits.
    """
    images = np.stack([frame_part(part, whole) for part, whole in parts])
    return open_parts().probabilities(images[:, np.newaxis])


def mix(
    score: NDArray[np.floating], judged: NDArray[np.floating], digits: Sequence[int]
) -> NDArray[np.floating]:
    """Return the score of a part, (K,), with what the model of parts says of it, (12,).

    The first classes of the score are `digits`.
    """
    own, seen = score[: len(digits)], judged[list(digits)]
    share = max(float(own.sum()), 1e-6)
    both = np.maximum(own / share, 1e-6) ** (1 - SHARE) * np.maximum(seen, 1e-6) ** SHARE
    one = float(judged[:NOT_ONE].sum()) ** OWN
    return np.append(both / both.sum() * one, score[len(digits) :])


def frame_part(part: Piece, whole: Piece) -> NDArray[np.uint8]:
    """Return the image of a part for the model, (28, 28), with the ink around it in gray."""
    top, left, bottom, right = part.box
    reach = max(4, round(max(part.height, part.width) / FILLED / 2))
    corner = (top + bottom) // 2 - reach, (left + right) // 2 - reach
    window = np.zeros((2 * reach, 2 * reach), np.uint8)
    _put(window, corner, whole, AROUND)
    _put(window, corner, part, 1.0)
    return resize(window, (SIDE, SIDE))


def _put(window: NDArray[np.uint8], corner: tuple[int, int], piece: Piece, share: float) -> None:
    """Draw a share of the ink of a piece in a window of the sheet."""
    own, seen = [], []
    for start, first, last, length in zip(
        corner, piece.box[:2], piece.box[2:], window.shape, strict=True
    ):
        low, high = max(start, first), min(start + length, last)
        own.append(slice(low - first, max(low, high) - first))
        seen.append(slice(low - start, max(low, high) - start))
    ink = (share * piece.strength[own[0], own[1]]).astype(np.uint8)
    np.maximum(window[seen[0], seen[1]], ink, out=window[seen[0], seen[1]])
