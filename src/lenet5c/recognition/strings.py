"""The model of strings: a net slid over ink, which tells at each place what digit is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.resampling import resize
from lenet5c.nn import Conv2d, MaxPool2d, ReLU, Sequential
from lenet5c.recognition.digit import normalize_stroke
from lenet5c.recognition.pieces import Piece
from lenet5c.training import open_model
from lenet5c.training.model_file import STRINGS

#: Rows of its images, and those that the ink fills.
HEIGHT, FILLED = 24, 22
#: Columns that the net sees at once, and from one place to the next.
WINDOW, STEP = 38, 2
#: Columns beside the ink, on the left and on the right.
REACH = WINDOW // 2
#: Widths of images in a batch are multiples of this.
BIN = 16
#: Classes after the ten digits: ink that is none, and nothing.
NONE, NOTHING, CLASSES = 10, 11, 12
#: Height of ink that fills the image, at least, in usual heights.
LEAST_HEIGHT = 0.8
#: Probability of a digit that is followed, at least; and strings that are.
LIKELY, BEAMS = 0.001, 10
#: Share of this model in which digit a whole piece of ink is, beside the other, and a part is.
WHOLE, PART = 0.4, 0.9
#: Exponents of the other's and of this model's probabilities of what a piece is; the least of them.
OTHER, OWN, FLOOR = 0.7, 0.5, 0.001
#: Exponent of this model's probability that a part is one digit.
ALONE = 0.5


def make_net(rng: int) -> Sequential:
    """Return the net, its weights by a seed, that takes (N, 1, HEIGHT, W) to (N, 12, 1, places)."""
    net = Sequential(
        {
            "conv1": Conv2d(1, 20, 5, rng=rng),
            "relu1": ReLU(),
            "pool1": MaxPool2d(2),
            "conv2": Conv2d(20, 48, 5, rng=rng + 1),
            "relu2": ReLU(),
            "pool2": MaxPool2d((2, 1)),
            "conv3": Conv2d(48, 128, (3, 7), rng=rng + 2),
            "relu3": ReLU(),
            "conv4": Conv2d(128, 112, (1, 5), rng=rng + 3),
            "relu4": ReLU(),
            "conv5": Conv2d(112, CLASSES, (1, 3), rng=rng + 4),
        }
    )
    net.params["conv5.bias"][NOTHING] = 4.0  # at most places nothing begins
    return net


@lru_cache(maxsize=1)
def open_strings() -> Sequential:
    """Open the model of strings in the package, made by tools/train_strings.py; once.

    The file has it as a model of one window, ending in a row of classes.
    """
    *layers, (_, _) = open_model(STRINGS).model.layers.items()
    return Sequential(dict(layers))


def frame_string(strength: NDArray[np.uint8], least: float = 0.0) -> NDArray[np.uint8]:
    """Return ink, cropped, in the form of the net: (HEIGHT, W), nothing beside it.

    Ink of less than `least` rows is as large as it would be beside ink of so many.
    """
    height = max(len(strength), round(least))
    rows, columns = (max(1, round(FILLED * side / height)) for side in strength.shape)
    image = np.zeros((HEIGHT, columns), np.uint8)
    top = (HEIGHT - rows) // 2
    image[top : top + rows] = resize(normalize_stroke(strength, longer=height), (rows, columns))
    return image


def count_places(width: int) -> int:
    """Return the number of places on an image with `REACH` columns more on each side."""
    return (width + 2 * REACH - WINDOW) // STEP + 1


def locate_places(count: int) -> NDArray[np.float64]:
    """Return the columns at the middles of places."""
    return STEP * np.arange(count, dtype=np.float64) - 0.5


class String:
    """Probabilities of digits along a piece of ink.

    A digit is at one place, or at several next to each other; two equal ones have a place of
    nothing between them (Graves et al., 2006).

    Parameters
    ----------
    log : ndarray, shape (T, 12)
        Logarithms of the probabilities at each place.
    scale : float
        Columns of the image for one of the piece.
    """

    def __init__(self, log: NDArray[np.floating], scale: float) -> None:
        self.probabilities = np.exp(log.astype(np.float64))
        self.columns = locate_places(len(log)) / scale

    def judge(self, left: float = -np.inf, right: float = np.inf) -> NDArray[np.float64]:
        """Return the probabilities, (12,), of what there is from one column to another.

        Those of one digit alone, of ink that is none, and of all else: several, or nothing.
        """
        first, end = np.searchsorted(self.columns, (left, right)).tolist()
        nothing = either = 1.0
        within, after = np.zeros(NONE), np.zeros(NONE)
        for row in self.probabilities[first:end]:
            # A digit begins, or goes on; and nothing follows it.
            within, after = (nothing + within) * row[:NONE], (within + after) * row[NOTHING]
            nothing, either = nothing * row[NOTHING], either * (row[NONE] + row[NOTHING])
        judged = np.zeros(CLASSES)
        judged[:NONE] = within + after
        judged[NONE] = either - nothing
        if 0 < end < len(self.columns):
            # The same digit may be on both sides.
            judged *= 1 - self.probabilities[end - 1 : end + 1, :NONE].prod(axis=0).sum()
        judged[NOTHING] = max(0.0, 1.0 - judged.sum())
        return judged

    def read(self) -> tuple[list[int], list[float]]:
        """Return the most probable digits, and the columns at their middles.

        The probability of a string is the sum over all ways to place its digits.
        """
        # Of each string, with the last digit at this place and with nothing there.
        beams: dict[tuple[int, ...], _Beam] = {(): _Beam(ended=1.0)}
        for place, row in enumerate(self.probabilities):
            longer: dict[tuple[int, ...], _Beam] = defaultdict(_Beam)
            nothing = row[NONE] + row[NOTHING]
            digits = np.flatnonzero(row[:NONE] > LIKELY).tolist()
            for text, beam in beams.items():
                longer[text].add(0.0, beam.total * nothing, beam.places)
                for d in digits:
                    own = row[d]
                    before = beam.total
                    if text[-1:] == (d,):
                        longer[text].add(beam.going * own, 0.0, beam.places)
                        before = beam.ended
                    longer[*text, d].add(before * own, 0.0, (*beam.places, place))
            kept = sorted(longer.items(), key=lambda item: -item[1].total)[:BEAMS]
            beams = {text: beam.scale(kept[0][1].total) for text, beam in kept}
        text, beam = next(iter(beams.items()))
        return list(text), self.columns[list(beam.places)].tolist()

    def find_gaps(self) -> list[tuple[float, float, float]]:
        """Return where digits end, one after the other, and the next begin.

        The column at which nothing is likeliest between two digits, and the middles of both.
        """
        gaps = []
        for left, right in pairwise(self.read()[1]):
            first, last = np.searchsorted(self.columns, (left, right)).tolist()
            between = self.probabilities[first + 1 : last + 1, NOTHING]
            gaps.append((float(self.columns[first + 1 + int(between.argmax())]), left, right))
        return gaps


@dataclass
class _Beam:
    """Probabilities of one string up to a place, and the places of its digits."""

    going: float = 0.0  #: its last digit is there
    ended: float = 0.0  #: nothing is there
    places: tuple[int, ...] = ()
    most: float = 0.0

    @property
    def total(self) -> float:
        return self.going + self.ended

    def add(self, going: float, ended: float, places: tuple[int, ...]) -> None:
        """Add a way to place its digits."""
        if going + ended >= self.most:
            self.most, self.places = going + ended, places
        self.going, self.ended = self.going + going, self.ended + ended

    def scale(self, by: float) -> _Beam:
        return _Beam(self.going / by, self.ended / by, self.places)


def judge_strings(pieces: Sequence[Piece], usual: float) -> list[String]:
    """Return what the model sees along pieces of a line whose digits have a usual height."""
    images = [frame_string(piece.strength, LEAST_HEIGHT * usual) for piece in pieces]
    return [
        String(log, image.shape[1] / piece.width)
        for piece, image, log in zip(pieces, images, score_images(images), strict=True)
    ]


def score_images(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.floating]]:
    """Return logarithms of the probabilities at each place of images, (T, 12) each."""
    found: dict[int, NDArray[np.floating]] = {}
    widths = np.array([-(-image.shape[1] // BIN) * BIN for image in images])
    for width in np.unique(widths).tolist():
        numbers = np.flatnonzero(widths == width).tolist()
        x = np.zeros((len(numbers), 1, HEIGHT, width + 2 * REACH), np.uint8)
        for row, i in zip(x, numbers, strict=True):
            row[0, :, REACH : REACH + images[i].shape[1]] = images[i]
        found |= dict(zip(numbers, score_places(open_strings(), x), strict=True))
    return [found[i][: count_places(image.shape[1])] for i, image in enumerate(images)]


def score_places(net: Sequential, images: NDArray[np.uint8]) -> NDArray[np.floating]:
    """Return logarithms of the probabilities at each place of images (N, 1, H, W), (N, T, 12)."""
    return log_softmax(net.forward(prepare(images))[:, :, 0].transpose(0, 2, 1))


def prepare(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images as input of the net."""
    return images.astype(np.float32) / np.float32(255)


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the logarithms of the probabilities of the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def weigh_whole(
    score: NDArray[np.floating], judged: NDArray[np.floating], digits: Sequence[int]
) -> tuple[NDArray[np.floating], float, float]:
    """Return the probabilities of a whole piece of ink, by both models.

    Parameters
    ----------
    score : ndarray, shape (K,)
        Probabilities by the scorer: of `digits`, then of signs. The rest is that of no character,
        and of several.
    judged : ndarray, shape (12,)
        Those of `String.judge`.
    digits : sequence of int

    Returns
    -------
    probabilities : ndarray, shape (K,)
    none, several : float
        Those of no character and of several digits; all of them sum to 1.
    """
    count = len(digits)
    which = _mix(score[:count], judged[list(digits)], WHOLE)
    one, signs = float(score[:count].sum()), float(score[count:].sum())
    seen = np.array([judged[:NONE].sum(), judged[NONE], judged[NOTHING]])
    # To this model a sign is none, or a digit that looks like it.
    digit = one * max(seen[0], FLOOR) ** OWN
    sign = signs * max(seen[0] + seen[1], FLOOR) ** OWN
    share = digit / max(digit + sign, 1e-9)
    seen[0] += (1 - share) * seen[1]
    first = np.array([one + signs, 1.0 - one - signs, 1.0 - one - signs])
    weight = np.maximum(first, FLOOR) ** OTHER * np.maximum(seen, FLOOR) ** OWN
    known, none, several = (weight / weight.sum()).tolist()
    own = score[count:] * ((1 - share) * known / max(signs, 1e-9))
    return np.append(which * (share * known), own), none, several


def weigh_part(
    score: NDArray[np.floating], judged: NDArray[np.floating], digits: Sequence[int]
) -> NDArray[np.floating]:
    """Return the probabilities of a part of a piece, (K,); arguments as of `weigh_whole`.

    The scorer's that it is one digit count for nothing: it has not seen what is around.
    """
    count = len(digits)
    which = _mix(score[:count], judged[list(digits)], PART)
    return np.append(which * float(judged[:NONE].sum()) ** ALONE, score[count:])


def _mix(
    one: NDArray[np.floating], other: NDArray[np.floating], share: float
) -> NDArray[np.floating]:
    """Return the weighted geometric mean of probabilities, one of them with a share."""
    one, other = (np.maximum(each / max(float(each.sum()), 1e-6), 1e-5) for each in (one, other))
    both = one ** (1 - share) * other**share
    return np.asarray(both / both.sum())
