"""Reading of one digit, or of the class of a whole picture, by a trained model."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import html_table, to_html
from lenet5c.datasets.centering import find_box
from lenet5c.datasets.conversion import to_channels, to_image
from lenet5c.datasets.framing import MNIST, Framing
from lenet5c.datasets.resampling import fit_size
from lenet5c.errors import UserError
from lenet5c.recognition.digit import WORKING_SIDE, BlankImageError, Box, Digit, form, prepare_digit
from lenet5c.recognition.filters import grow, reduce, reduce_to_gray
from lenet5c.recognition.inside import cut_inside
from lenet5c.recognition.judge import REJECT, measure, measure_confidence, reject_answer, reject_ink
from lenet5c.recognition.pieces import FIRM, find_pieces
from lenet5c.recognition.signs import find_digits, is_sign, open_signs, reads_digits, weigh_digits
from lenet5c.training import TrainedModel

#: Size, in working pixels, below which a digit in a large picture is read again from a close-up.
CLOSE = 90
#: Minimum confidence of a digit in a crop of the picture.
INSIDE = 0.99
#: Minimum confidence of a digit after faint ink is removed, and confidence from which no crop is
#: tried.
CLEAR, SURE = 0.85, 0.7
#: Minimum strength of pen ink, and the ratio of fainter to stronger ink from which a picture is
#: read again without the fainter ink.
STRONG, FAINT = 140, 0.05
#: Kinds of rules that may be strokes of a digit.
MARKS = frozenset({"underline", "strike", "overline", "mark"})


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result for one picture, or for one of several digits in it.

    Attributes
    ----------
    label : str or None
        Predicted label; None if the picture is rejected.
    probability : float or None
        Probability of the predicted class.
    probabilities : dict of float
        Probabilities by class name, in the order of the classes; empty if the net was not run. For
        models of digits, the net of signs contributes to them.
    confidence : float or None
        Probability that the ink is a digit and that the predicted digit is right; for models of
        other classes, the probability of the predicted class. The picture is rejected if it is less
        than `reject`.
    rejected : str or None
        Reason for the rejection.
    box : tuple of int or None
        (top, left, bottom, right) of the digit, in picture pixels.
    digits : tuple of tuple of Prediction
        Predictions for several digits, by line.
    text : str or None
        Lines of several digits, with ``?`` for a rejected one; for sums, the lines as written.
    expression : str or None
        For sums, the expressions in ASCII, one per line: ``12*3-4=32``.
    value : str or None
        For sums, the exact values of the left sides, one per line: ``19``, ``2.5``, ``1/3``.
    correct : bool or None
        For sums, True if all sides of every line are equal; None if a line has no answer.
    remark : str or None
        For sums, the reason why there is no value, or a remark on the answer.
    sums : tuple of Prediction
        For sums, a prediction for each line.
    steps : dict of ndarray
        Pictures of the steps to the net's input.
    """

    label: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    confidence: float | None = None
    rejected: str | None = None
    box: Box | None = None
    digits: tuple[tuple[Prediction, ...], ...] = ()
    text: str | None = None
    expression: str | None = None
    value: str | None = None
    correct: bool | None = None
    remark: str | None = None
    sums: tuple[Prediction, ...] = ()
    steps: dict[str, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    def top(self, count: int = 3) -> list[tuple[str, float]]:
        """Return the `count` most probable classes, as (name, probability)."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:count]

    def _repr_html_(self) -> str:
        if self.digits:
            shown = f"<pre>{to_html(self.text)}</pre>"
        else:
            rows = [(label, f"{probability:.2%}") for label, probability in self.top()]
            shown = html_table(("class", "probability"), rows) if rows else ""
        reason = f"<p>rejected: {to_html(self.rejected)}</p>" if self.rejected else ""
        return f"<div>{reason}{shown}</div>"


def read_digit(
    picture: NDArray[np.uint8], trained: TrainedModel, reject: float = REJECT
) -> Prediction:
    """Read a single digit in a picture, (h, w) or (h, w, 3).

    It is rejected if its confidence, as returned by `measure_confidence`, is less than `reject`.
    """
    framing, (_, *size) = get_framing(trained), trained.image_shape
    if framing != MNIST and (prediction := _read_alike(picture, trained, reject)):
        return prediction
    try:
        digit = find_digit(picture, framing, (size[0], size[1]))
    except BlankImageError as error:
        return Prediction(rejected=str(error), steps={"picture": picture})
    prediction = _read_ink(digit, trained, reject)
    if any(rule.kind in MARKS for rule in digit.ink.rules):
        # The bar of a 5 or a 7 may be detached, so keep the more confident reading with or without.
        whole = _read_ink(
            find_digit(picture, framing, (size[0], size[1]), marks=False), trained, reject
        )
        prediction = max(
            prediction, whole, key=lambda each: (not each.rejected, each.confidence or 0.0)
        )
    if prediction.rejected and (strong := _leave_out_faint(digit, framing, (size[0], size[1]))):
        again = _read_ink(strong, trained, max(reject, CLEAR))
        prediction = prediction if again.rejected else again
    unsure = prediction.rejected or (prediction.confidence or 0.0) < SURE
    for part in cut_inside(picture, digit.ink, WORKING_SIDE) if unsure else ():
        with suppress(BlankImageError):
            found = find_digit(part.picture, framing, (size[0], size[1]))
            again = _read_ink(found, trained, max(reject, INSIDE))
            if not again.rejected:
                top, left, bottom, right = found.box
                y, x = part.top, part.left
                prediction = replace(again, box=(y + top, x + left, y + bottom, x + right))
                break
    return replace(prediction, steps={"picture": picture, **prediction.steps})


def _leave_out_faint(digit: Digit, framing: Framing, size: tuple[int, int]) -> Digit | None:
    """Return a digit without its faint ink, or None if it has too little of it.

    The edge of a shadow may be detected as ink, but is rarely as dark as a pen stroke.
    """
    strength = digit.ink.strength
    strong = grow(strength >= STRONG)
    if np.count_nonzero((strength >= FIRM // 4) & ~grow(strong)) < FAINT * strong.sum():
        return None
    left = strength * strong
    if not left.any():
        return None
    (y, x), scale = digit.box[:2], digit.ink.scale
    first, start = find_box(strength)[:2]
    top, left_most, bottom, right = find_box(left)
    # The box is in picture pixels, while the ink may be cropped and reduced.
    box = (
        y + scale * (top - first),
        x + scale * (left_most - start),
        y + scale * (bottom - first),
        x + scale * (right - start),
    )
    image = form(left, framing, size)
    steps = digit.steps | {"ink": left, "centered": image}
    return Digit(image, replace(digit.ink, strength=left), box, steps)


def _read_ink(digit: Digit, trained: TrainedModel, reject: float) -> Prediction:
    """Read a digit that has been located."""
    framing = get_framing(trained)
    image = framing.color(digit.image, trained.image_shape[0])
    probabilities: NDArray[np.floating] = _ask(trained, image)
    seen = None
    if reads_digits(trained):
        # The model of signs takes MNIST's format only.
        ink = digit.image if is_mnist(trained) else form(digit.ink.strength)
        seen = _ask(open_signs(), ink[np.newaxis])
        probabilities = weigh_digits(probabilities, seen, find_digits(trained))
    rejected = reject_ink(measure(digit))
    if not rejected and not (seen is not None and is_sign(seen)):
        confidence = measure_confidence(probabilities, seen)
        rejected = _reject_several(digit, confidence, seen is None)
    prediction = decide(probabilities, trained, digit.box, reject, rejected, seen)
    steps = dict(digit.steps)
    if framing != MNIST:
        steps["placed"], steps["image"] = steps.pop("centered"), to_picture(image)
    return replace(prediction, steps=steps)


def read_whole(
    picture: NDArray[np.uint8], trained: TrainedModel, reject: float = REJECT
) -> Prediction:
    """Classify the whole picture, resized, for models of images other than digits."""
    image = to_image(picture, trained.image_shape)
    probabilities = _ask(trained, image)
    steps = {"picture": picture, "image": to_picture(image)}
    box = (0, 0, *picture.shape[:2])
    return replace(decide(probabilities, trained, box, reject), steps=steps)


def _ask(trained: TrainedModel, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the class probabilities (K,) of a model for one image (C, H, W)."""
    return trained.softmax(trained.logits(image[np.newaxis])[0].astype(np.float64))


def _read_alike(
    picture: NDArray[np.uint8], trained: TrainedModel, reject: float
) -> Prediction | None:
    """Read a picture unchanged if it looks like a training image, else return None.

    It may be larger than the training images but must have the same aspect ratio.
    """
    framing, (_, height, width) = get_framing(trained), trained.image_shape
    h, w = picture.shape[:2]
    if h < height or fit_size((h, w), (height, width)) != (height, width):
        return None
    if h % height == w % width == 0:
        # Undo an enlargement by repeated pixels.
        planes = to_channels(picture, trained.image_shape[0])
        picture = to_picture(np.stack([reduce(plane, h // height) for plane in planes]))
    if not framing.matches(to_image(picture, trained.image_shape)):
        return None
    return replace(read_whole(picture, trained, reject), box=(0, 0, h, w))


def find_digit(
    picture: NDArray[np.uint8],
    framing: Framing = MNIST,
    size: tuple[int, int] = (28, 28),
    marks: bool = True,
) -> Digit:
    """Return the `Digit` in a picture, with its box in picture pixels.

    A large picture is reduced first, and a small digit in it is then prepared again from a
    close-up. `marks` is as in `prepare_digit`.
    """

    def prepare(part: NDArray[np.uint8], y: int, x: int) -> tuple[Digit, int]:
        """Return the digit in a part of the picture, and the reduction factor."""
        factor = -(-max(part.shape[:2]) // WORKING_SIDE)
        digit = prepare_digit(reduce_to_gray(part, factor), framing, size, marks)
        top, left, bottom, right = (factor * n for n in digit.box)
        return replace(digit, box=(y + top, x + left, y + bottom, x + right)), factor

    digit, factor = prepare(picture, 0, 0)
    top, left, bottom, right = digit.box
    longer = max(bottom - top, right - left)
    if factor > 1 and longer < CLOSE * factor and digit.ink.noise < 0.1:
        top, left = max(0, top - longer), max(0, left - longer)
        close = picture[top : bottom + longer, left : right + longer]
        try:
            closer, _ = prepare(close, top, left)
        except BlankImageError:
            return digit
        # The close-up is used only if it shows the same digit.
        if closer.ink.dark == digit.ink.dark and _overlap(closer.box, digit.box) > 0.7:
            return closer
    return digit


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    height, width = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    if height <= 0 or width <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return height * width / (sum(areas) - height * width)


def _reject_several(digit: Digit, confidence: float, unseen: bool) -> str | None:
    """Return the reason for a rejection if the ink looks like several digits, else None.

    Several digits are pieces of similar size. A broken digit looks the same, but the nets recognize
    it with confidence. If the model of signs is not used (`unseen`), more confidence is required,
    and the digit must not be wide.
    """
    pieces, _ = find_pieces(digit.ink.strength)
    tallest = max((piece.height for piece in pieces), default=0)
    mass = [int(piece.strength.sum()) for piece in pieces]
    count = sum(
        piece.height >= 0.6 * tallest and own >= 0.25 * max(mass)
        for piece, own in zip(pieces, mass, strict=True)
    )
    top, left, bottom, right = digit.box
    wide = right - left > 1.15 * (bottom - top)
    sure = (confidence >= 0.95 and not wide) if unseen else confidence >= 0.75
    if count >= 2 and not sure:
        return f"it looks like {count} digits; --digits many reads them"
    return None


def decide(
    probabilities: NDArray[np.floating],
    trained: TrainedModel,
    box: Box,
    reject: float,
    rejected: str | None = None,
    seen: NDArray[np.floating] | None = None,
) -> Prediction:
    """Return the prediction for a digit from its class probabilities.

    They are those of both nets if `seen` is given.
    """
    by_name = dict(zip(trained.class_names, map(float, probabilities), strict=True))
    best = int(probabilities.argmax())
    prediction = Prediction(
        trained.class_names[best],
        float(probabilities[best]),
        by_name,
        confidence=measure_confidence(probabilities, seen),
        box=box,
    )
    if rejected := rejected or reject_answer(probabilities, seen, reject):
        return replace(prediction, label=None, probability=None, rejected=rejected)
    return prediction


def get_framing(trained: TrainedModel) -> Framing:
    """Return the framing of the model's digits; raise a `UserError` if it has none."""
    if trained.framing is None:
        raise UserError(
            "model must be trained on digits on a plain background, got a model of other images; "
            "read whole pictures with --reading whole"
        )
    return trained.framing


def is_mnist(trained: TrainedModel) -> bool:
    """Return whether a model takes digits in MNIST's format, 28 x 28."""
    return (trained.framing, *trained.image_shape[1:]) == (MNIST, 28, 28)


def to_picture(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (C, H, W) as a picture, (H, W) or (H, W, 3)."""
    return image.transpose(1, 2, 0) if len(image) == 3 else image[0]
