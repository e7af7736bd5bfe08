"""The packaged model of digits and signs, used to detect ink that is not a digit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.sign_names import CLASS_NAMES, NONE, SEVERAL
from lenet5c.training import TrainedModel, open_model
from lenet5c.training.model_file import SIGNS

DIGITS = tuple("0123456789")
#: Columns of the classes 'none' and 'several', after those of the signs.
P_NONE, P_SEVERAL = CLASS_NAMES.index(NONE), CLASS_NAMES.index(SEVERAL)
#: Prior frequencies of signs, and of 'none' and 'several', relative to the training images: among
#: the pieces of a line of digits, and in a picture of a single digit.
IN_LINE, ALONE = (0.2, 0.5), (0.1, 0.4)
#: Weight of this net, next to the user's model, in deciding which digit a single digit is.
SECOND = 0.3
#: Names of signs in messages.
WORDS = {
    "+": "a plus sign",
    "-": "a minus sign",
    "x": "a multiplication sign",
    "/": "a slash",
    "=": "an equals sign",
    "(": "a bracket",
    ")": "a bracket",
    ".": "a dot",
}


@lru_cache(maxsize=1)
def open_signs() -> TrainedModel:
    """Open the packaged model of digits and signs, or return it if already open.

    Its classes are the digits, sign shapes, 'none', and 'several' for several characters; see
    `lenet5c.datasets.sign_names.CLASS_NAMES`.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition.signs import P_NONE, open_signs
    >>> _, test = mnist()
    >>> probabilities = open_signs().probabilities(test.images[:3])
    >>> probabilities.argmax(axis=1), P_NONE
    (array([7, 2, 1]), 18)
    """
    return open_model(SIGNS)


def reads_digits(trained: TrainedModel) -> bool:
    """Return whether all classes of a model are digits."""
    return set(trained.class_names) <= set(DIGITS)


def find_digits(trained: TrainedModel) -> list[int]:
    """Return the digits that the classes of a model of digits stand for."""
    return [int(name) for name in trained.class_names]


def digit_share(
    seen: NDArray[np.floating], expected: tuple[float, float] = IN_LINE
) -> NDArray[np.floating]:
    """Return the probability that ink is one digit, given that digits are expected.

    Parameters
    ----------
    seen : ndarray, shape (..., 20)
        Probabilities of `open_signs`.
    expected : (float, float), optional
        Prior frequencies of signs, and of 'none' and 'several', relative to the training images.
        Both are less frequent where a digit is expected; a one, for example, may look like a slash.

    Returns
    -------
    ndarray, shape (...)
        Total probability of the digits.
    """
    digits = seen[..., : len(DIGITS)].sum(axis=-1)
    signs = seen[..., len(DIGITS) : P_NONE].sum(axis=-1)
    others = expected[0] * signs + expected[1] * seen[..., P_NONE:].sum(axis=-1)
    return digits / np.maximum(digits + others, 1e-12)


def weigh_digits(
    probabilities: NDArray[np.floating], seen: NDArray[np.floating], digits: Sequence[int]
) -> NDArray[np.floating]:
    """Combine the probabilities (K,) of a model of `digits` with those of this net.

    Returns the normalized weighted geometric mean for the same ink. The two nets make different
    errors.
    """
    own = seen[list(digits)]
    own = own / max(float(own.sum()), 1e-9)
    both = np.maximum(probabilities, 1e-6) ** (1 - SECOND) * np.maximum(own, 1e-6) ** SECOND
    return np.asarray(both / both.sum())


def is_sign(seen: NDArray[np.floating]) -> bool:
    """Return whether ink is more likely a sign than a digit or neither, for one row."""
    return 1 - float(digit_share(seen)) > 0.5 > float(seen[P_NONE:].sum())


def describe(seen: NDArray[np.floating]) -> str:
    """Describe the non-digit that ink resembles most, for one row of probabilities."""
    best = len(DIGITS) + int(seen[len(DIGITS) :].argmax())
    name = CLASS_NAMES[best]
    if name == NONE:
        return "it does not look like a digit"
    if name == SEVERAL:
        return "it looks like several characters, not one digit"
    return f"it looks like {WORDS[name]}, not a digit"
