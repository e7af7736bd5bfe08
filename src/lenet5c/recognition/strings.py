"""The model of strings: a fully convolutional net that predicts the digit at each place of ink."""

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

#: Height of the images in rows, and rows filled by ink.
HEIGHT, FILLED = 24, 22
#: Width of the net's receptive field, and step between places, in columns.
WINDOW, STEP = 38, 2
#: Padding on the left and right of the ink, in columns.
REACH = WINDOW // 2
#: Widths of images in a batch are multiples of this.
BIN = 16
#: Classes after the ten digits: ink that is not a digit, and nothing (the CTC blank).
NONE, NOTHING, CLASSES = 10, 11, 12
#: Minimum height, in typical digit heights, at which ink is scaled to fill the image.
LEAST_HEIGHT = 0.8
#: Minimum digit probability in the beam search, and beam width.
LIKELY, BEAMS = 0.001, 10
#: Weight of this model, next to the scorer, in deciding which digit a whole piece or a part is.
WHOLE, PART = 0.28, 0.9
#: Exponents of the scorer's and of this model's probabilities of one, no or several characters,
#: and minimum probability.
OTHER, OWN, FLOOR = 0.9, 0.4, 0.001
#: Prior frequency of ink that is not a digit, relative to the training strings.
RARE = 0.2
#: Exponent of this model's probability that a part is one digit.
ALONE = 0.5


def make_net(rng: int) -> Sequential:
    """Build the net, which maps (N, 1, HEIGHT, W) to (N, 12, 1, T); `rng` seeds the weights."""
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
    net.params["conv5.bias"][NOTHING] = 4.0  # most places are blank at first
    return net


@lru_cache(maxsize=1)
def open_strings() -> Sequential:
    """Open the packaged model of strings, or return it if already open.

    It is trained by tools/train_strings.py. The file stores it as a classifier of one window, whose
    final flattening layer is dropped.
    """
    *layers, (_, _) = open_model(STRINGS).model.layers.items()
    return Sequential(dict(layers))


def frame_string(strength: NDArray[np.uint8], least: float = 0.0) -> NDArray[np.uint8]:
    """Scale cropped ink to the net's input height, (HEIGHT, W), without padding at the sides.

    Ink of fewer than `least` rows is scaled as if it were `least` rows high.
    """
    height = max(len(strength), round(least))
    rows, columns = (max(1, round(FILLED * side / height)) for side in strength.shape)
    image = np.zeros((HEIGHT, columns), np.uint8)
    top = (HEIGHT - rows) // 2
    image[top : top + rows] = resize(normalize_stroke(strength, longer=height), (rows, columns))
    return image


def count_places(width: int) -> int:
    """Return the number of places on an image padded by `REACH` columns on each side."""
    return (width + 2 * REACH - WINDOW) // STEP + 1


def locate_places(count: int) -> NDArray[np.float64]:
    """Return the center columns of places."""
    return STEP * np.arange(count, dtype=np.float64) - 0.5


class String:
    """Probabilities of digits along a piece of ink.

    As in CTC (Graves et al., 2006), a digit occupies one place or several consecutive places, and
    two equal digits are separated by at least one place with nothing.

    Parameters
    ----------
    log : ndarray, shape (T, 12)
        Log probabilities at each place.
    scale : float
        Image columns per column of the piece.
    """

    def __init__(self, log: NDArray[np.floating], scale: float) -> None:
        self.probabilities = np.exp(log.astype(np.float64))
        self.columns = locate_places(len(log)) / scale

    def judge(self, left: float = -np.inf, right: float = np.inf) -> NDArray[np.float64]:
        """Return the probabilities (12,) of the contents between two columns.

        They are those of each single digit, of ink that is not a digit, and of the rest: several
        digits or nothing.
        """
        first, end = np.searchsorted(self.columns, (left, right)).tolist()
        nothing = either = 1.0
        within, after = np.zeros(NONE), np.zeros(NONE)
        for row in self.probabilities[first:end]:
            # A digit starts or continues, or is followed by nothing.
            within, after = (nothing + within) * row[:NONE], (within + after) * row[NOTHING]
            nothing, either = nothing * row[NOTHING], either * (row[NONE] + row[NOTHING])
        judged = np.zeros(CLASSES)
        judged[:NONE] = within + after
        judged[NONE] = either - nothing
        if 0 < end < len(self.columns):
            # Exclude a digit that continues across the right end.
            judged *= 1 - self.probabilities[end - 1 : end + 1, :NONE].prod(axis=0).sum()
        judged[NOTHING] = max(0.0, 1.0 - judged.sum())
        return judged

    def read(self) -> tuple[list[int], list[float]]:
        """Return the most probable string of digits and the columns of their centers.

        CTC beam search: the probability of a string is the sum over all its alignments.
        """
        # For each string, the probability that this place has its last digit, or nothing.
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
        """Return the gaps between consecutive digits, as (column, left, right).

        `column` is where nothing is most probable; `left` and `right` are the centers of the two
        digits.
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

    going: float = 0.0  #: probability that its last digit is at this place
    ended: float = 0.0  #: probability that nothing is at this place
    places: tuple[int, ...] = ()
    most: float = 0.0

    @property
    def total(self) -> float:
        return self.going + self.ended

    def add(self, going: float, ended: float, places: tuple[int, ...]) -> None:
        """Add the probabilities of an alignment."""
        if going + ended >= self.most:
            self.most, self.places = going + ended, places
        self.going, self.ended = self.going + going, self.ended + ended

    def scale(self, by: float) -> _Beam:
        return _Beam(self.going / by, self.ended / by, self.places)


def judge_strings(pieces: Sequence[Piece], usual: float) -> list[String]:
    """Run the model on pieces of a line whose typical digit height is `usual`."""
    images = [frame_string(piece.strength, LEAST_HEIGHT * usual) for piece in pieces]
    return [
        String(log, image.shape[1] / piece.width)
        for piece, image, log in zip(pieces, images, score_images(images), strict=True)
    ]


def score_images(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.floating]]:
    """Return the log probabilities at each place of each image, (T, 12)."""
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
    """Return the log probabilities at each place, (N, T, 12), of images (N, 1, H, W)."""
    return log_softmax(net.forward(prepare(images))[:, :, 0].transpose(0, 2, 1))


def prepare(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale images to the input range of the net, 0 to 1."""
    return images.astype(np.float32) / np.float32(255)


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the logarithm of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def weigh_whole(
    score: NDArray[np.floating], judged: NDArray[np.floating], digits: Sequence[int]
) -> tuple[NDArray[np.floating], float, float]:
    """Combine both models' probabilities of a whole piece of ink.

    Parameters
    ----------
    score : ndarray, shape (K,)
        Probabilities from the scorer, of `digits` and then of signs. The rest, up to 1, is that of
        no character or several.
    judged : ndarray, shape (12,)
        Probabilities from `String.judge`.
    digits : sequence of int
        Digits of the first columns of `score`.

    Returns
    -------
    probabilities : ndarray, shape (K,)
    none, several : float
        Probabilities of no character and of several digits. All returned values sum to 1.
    """
    count = len(digits)
    which = _mix(score[:count], judged[list(digits)], WHOLE)
    one, signs = float(score[:count].sum()), float(score[count:].sum())
    seen = np.array([judged[:NONE].sum(), RARE * judged[NONE], judged[NOTHING]])
    # This model sees a sign as no digit, or as a digit that resembles it.
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
    """Combine both models' probabilities (K,) of a part; parameters as in `weigh_whole`.

    The scorer's probability that the part is one digit is ignored, since it does not see the
    surrounding ink.
    """
    count = len(digits)
    which = _mix(score[:count], judged[list(digits)], PART)
    return np.append(which * float(judged[:NONE].sum()) ** ALONE, score[count:])


def _mix(
    one: NDArray[np.floating], other: NDArray[np.floating], share: float
) -> NDArray[np.floating]:
    """Return the normalized weighted geometric mean; `share` is the weight of `other`."""
    one, other = (np.maximum(each / max(float(each.sum()), 1e-6), 1e-5) for each in (one, other))
    both = one ** (1 - share) * other**share
    return np.asarray(both / both.sum())
