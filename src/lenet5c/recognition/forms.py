"""Normalization of pieces of ink to the format of digits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.framing import MNIST, Framing
from lenet5c.recognition.digit import BlankImageError, form
from lenet5c.recognition.pieces import Piece

#: Cache of normalized pieces, by framing and size; entries live as long as their pieces.
_formed: WeakKeyDictionary[Piece, dict[tuple[Framing, tuple[int, int]], NDArray[np.uint8]]] = (
    WeakKeyDictionary()
)


def form_pieces(
    pieces: Sequence[Piece], framing: Framing = MNIST, size: tuple[int, int] = (28, 28)
) -> NDArray[np.uint8]:
    """Normalize pieces to the format of digits, (N, H, W); a tiny piece may give a blank image."""
    images = np.zeros((len(pieces), *size), np.uint8)
    for image, piece in zip(images, pieces, strict=True):
        formed = _formed.setdefault(piece, {})
        if (framing, size) not in formed:
            formed[framing, size] = np.zeros(size, np.uint8)
            with suppress(BlankImageError):
                formed[framing, size] = form(piece.strength, framing, size)
        image[:] = formed[framing, size]
    return images
