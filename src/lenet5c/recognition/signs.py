"""The model of digits and signs in the package, and what it says of ink that is no digit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.signs import CLASS_NAMES, NONE
from lenet5c.training import TrainedModel, open_model
from lenet5c.training.model_file import SIGNS

DIGITS = tuple("0123456789")
#: Column of the class 'none'.
P_NONE = CLASS_NAMES.index(NONE)
#: How often a sign stands where digits are expected, over its share of the training images.
SELDOM = 0.2
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
    """Open the model of digits and signs in the package; once, then it is the same one.

    Its classes are `lenet5c.datasets.signs.CLASS_NAMES`: the digits, signs by their shape, 'none'.

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
    """Return whether a model's classes are digits, all or some of them."""
    return set(trained.class_names) <= set(DIGITS)


def digit_share(seen: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the probability that ink is one digit, where digits are expected.

    Parameters
    ----------
    seen : ndarray, shape (..., 19)
        Probabilities of `open_signs`.

    Returns
    -------
    ndarray, shape (...)
        That of all digits together. Signs count less than there, as they are rarer than in its
        training images: a one may look like a slash.
    """
    digits = seen[..., : len(DIGITS)].sum(axis=-1)
    signs = seen[..., len(DIGITS) : P_NONE].sum(axis=-1)
    return digits / np.maximum(digits + SELDOM * signs + seen[..., P_NONE], 1e-12)


def describe(seen: NDArray[np.floating]) -> str:
    """Return words for what ink looks like other than a digit, of one row of probabilities."""
    best = len(DIGITS) + int(seen[len(DIGITS) :].argmax())
    name = CLASS_NAMES[best]
    if name == NONE:
        return "it resembles no digit"
    return f"it looks like {WORDS[name]}, not a digit"
