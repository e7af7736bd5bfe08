"""The model of digits and signs in the package, and what it says of ink that is no digit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.sign_names import CLASS_NAMES, NONE, SEVERAL
from lenet5c.training import TrainedModel, open_model
from lenet5c.training.model_file import SIGNS

DIGITS = tuple("0123456789")
#: Columns of the classes 'none' and 'several'; those of signs are before them.
P_NONE, P_SEVERAL = CLASS_NAMES.index(NONE), CLASS_NAMES.index(SEVERAL)
#: How often there are signs, and what is neither or several, over their shares of the training
#: images: among the pieces of a line of digits, and where a picture of one digit is expected.
IN_LINE, ALONE = (0.2, 0.5), (0.1, 0.4)
#: Share of this net in which digit one alone is, beside the model that is asked.
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
    """Open the model of digits and signs in the package, or return it if already open.

    Its classes are the digits, signs by their shape, 'none', and 'several' characters at once:
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
    """Return whether a model's classes are digits, all or some of them."""
    return set(trained.class_names) <= set(DIGITS)


def find_digits(trained: TrainedModel) -> list[int]:
    """Return the digit of each class of a model whose classes are digits."""
    return [int(name) for name in trained.class_names]


def digit_share(
    seen: NDArray[np.floating], expected: tuple[float, float] = IN_LINE
) -> NDArray[np.floating]:
    """Return the probability that ink is one digit, where digits are expected.

    Parameters
    ----------
    seen : ndarray, shape (..., 20)
        Probabilities of `open_signs`.
    expected : (float, float), optional
        How often signs, and what is neither or several, are met over their shares of its training
        images. Both are rarer where a digit is expected: a one may look like a slash.

    Returns
    -------
    ndarray, shape (...)
        That of all digits together.
    """
    digits = seen[..., : len(DIGITS)].sum(axis=-1)
    signs = seen[..., len(DIGITS) : P_NONE].sum(axis=-1)
    others = expected[0] * signs + expected[1] * seen[..., P_NONE:].sum(axis=-1)
    return digits / np.maximum(digits + others, 1e-12)


def weigh_digits(
    probabilities: NDArray[np.floating], seen: NDArray[np.floating], digits: Sequence[int]
) -> NDArray[np.floating]:
    """Return the probabilities of `digits`, (K,), of a model and of this net, for the same ink.

    Their weighted geometric mean: the two do not err on the same digits.
    """
    own = seen[list(digits)]
    own = own / max(float(own.sum()), 1e-9)
    both = np.maximum(probabilities, 1e-6) ** (1 - SECOND) * np.maximum(own, 1e-6) ** SECOND
    return np.asarray(both / both.sum())


def is_sign(seen: NDArray[np.floating]) -> bool:
    """Return whether ink is rather a sign than a digit or none of both, of one row."""
    return 1 - float(digit_share(seen)) > 0.5 > float(seen[P_NONE:].sum())


def describe(seen: NDArray[np.floating]) -> str:
    """Return words for what ink looks like other than a digit, of one row of probabilities."""
    best = len(DIGITS) + int(seen[len(DIGITS) :].argmax())
    name = CLASS_NAMES[best]
    if name == NONE:
        return "it resembles no digit"
    if name == SEVERAL:
        return "it looks like several characters, not one digit"
    return f"it looks like {WORDS[name]}, not a digit"
