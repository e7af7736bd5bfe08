"""What a trained model reads in a picture: one digit, several, or the class of the whole picture."""

from dataclasses import dataclass, field

import numpy as np

from lenet5c.datasets.whole import to_image
from lenet5c.errors import UserError
from lenet5c.nn import softmax
from lenet5c.recognition.colour import reduced_grey
from lenet5c.recognition.digit import WORKING_SIDE, BlankImageError, Digit, ink_of, prepare_digit
from lenet5c.recognition.judge import looks_like_no_digit, measures, unsure
from lenet5c.recognition.segment import lines_of, parted, pieces_of

#: Pixels on the longer side of a sheet with several digits; larger ones are reduced by a whole factor.
SHEET_SIDE = 1600
#: A digit of fewer working pixels in a large picture is looked at again, closely.
CLOSE = 90


@dataclass(frozen=True, eq=False)
class Reading:
    """What is read in one picture, or in one place of it.

    Attributes
    ----------
    label : str or None
        The name of the class; None if the picture is rejected.
    probability : float or None
        Of that class.
    probabilities : dict of float
        By class name, in the order of the classes; empty if the net was not asked.
    rejected : str or None
        Why there is no label.
    box : tuple of int or None
        (top, left, bottom, right) of what was read, in pixels of the picture.
    digits : tuple of tuple of Reading
        Of several digits, by line.
    text : str or None
        The lines of several digits, with ``?`` for what is not sure.
    steps : dict of ndarray
        Pictures of the way to the net's input.
    """

    label: str | None = None
    probability: float | None = None
    probabilities: dict = field(default_factory=dict)
    rejected: str | None = None
    box: tuple[int, int, int, int] | None = None
    digits: tuple = ()
    text: str | None = None
    steps: dict = field(default_factory=dict, repr=False)

    def top(self, count=3):
        """The most probable classes, as (name, probability)."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:count]


def read_digit(picture, trained, calibrated=False):
    """Read the one digit in a picture, uint8 (h, w) or (h, w, 3). Returns a `Reading`.

    `calibrated` says that the model is the one in the package, whose logits are known for what is no digit.
    """
    _check_takes_digits(trained)
    try:
        digit = find_digit(picture)
    except BlankImageError as error:
        return Reading(rejected=str(error), steps={"picture": picture})
    steps = {"picture": picture, **digit.steps}
    logits = trained.logits(_as_trained(digit.image, trained)[np.newaxis])[0]
    probabilities = softmax(logits.astype(np.float64))
    measured = measures(digit)
    reason = (
        looks_like_no_digit(measured)
        or _several(digit, probabilities.max())
        or (unsure(probabilities, logits if calibrated else None, measured))
    )
    return _reading(probabilities, trained.class_names, reason, digit.box, steps)


def read_sheet(picture, trained):
    """Read all digits in a picture, line by line. Returns a `Reading` with `digits` and `text`."""
    _check_takes_digits(trained)
    factor = -(-max(picture.shape[:2]) // SHEET_SIDE)
    try:
        ink = ink_of(reduced_grey(picture, factor), SHEET_SIDE, specks=0.0, core=0.35)
    except BlankImageError as error:
        return Reading(rejected=str(error), steps={"picture": picture})

    def probabilities(images):
        images = np.stack([_as_trained(image, trained) for image in images])
        return softmax(trained.logits(images).astype(np.float64))

    lines = lines_of(
        [part for piece in pieces_of(ink.strength) for part in parted(piece, probabilities)]
    )
    steps = {"picture": picture, "ink": ink.strength}
    flat = [piece for line in lines for piece in line]
    if not flat:
        return Reading(rejected="no digits are found in it", steps=steps)
    if len(flat) > 2000:
        return Reading(
            rejected=f"it falls into {len(flat):,} pieces; a photograph of other things?",
            steps=steps,
        )
    rows = iter(probabilities(np.stack([piece.image() for piece in flat])))
    digits = tuple(
        tuple(
            _reading(
                row := next(rows),
                trained.class_names,
                unsure(row),
                tuple(factor * n for n in piece.box),
                {},
            )
            for piece in line
        )
        for line in lines
    )
    text = "\n".join(_line_text(line) for line in digits)
    return Reading(digits=digits, text=text, steps=steps)


def read_whole(picture, trained):
    """Read the class of a picture taken as it is, for models of other images than digits. Returns a `Reading`."""
    image = to_image(picture, trained.image_shape)
    probabilities = softmax(trained.logits(image[np.newaxis])[0].astype(np.float64))
    steps = {"picture": picture, "image": image.transpose(1, 2, 0) if len(image) == 3 else image[0]}
    height, width = picture.shape[:2]
    return _reading(
        probabilities, trained.class_names, unsure(probabilities), (0, 0, height, width), steps
    )


def find_digit(picture):
    """The `Digit` in a picture, its box in pixels of the picture.

    A large picture is reduced first. A small digit in it is then looked at closely.
    """
    factor = -(-max(picture.shape[:2]) // WORKING_SIDE)
    digit = _boxed(prepare_digit(reduced_grey(picture, factor)), factor, (0, 0))
    top, left, bottom, right = digit.box
    longer = max(bottom - top, right - left)
    if factor > 1 and longer < CLOSE * factor and digit.ink.noise < 0.1:
        top, left = max(0, top - longer), max(0, left - longer)
        close = picture[top : bottom + longer, left : right + longer]
        factor = -(-max(close.shape[:2]) // WORKING_SIDE)
        try:
            closer = _boxed(prepare_digit(reduced_grey(close, factor)), factor, (top, left))
        except BlankImageError:
            return digit
        # What is seen at both distances, if it is the same.
        if closer.ink.dark == digit.ink.dark and _overlap(closer.box, digit.box) > 0.7:
            return closer
    return digit


def _boxed(digit, factor, origin):
    top, left, bottom, right = (factor * n for n in digit.box)
    box = (origin[0] + top, origin[1] + left, origin[0] + bottom, origin[1] + right)
    return Digit(digit.image, digit.ink, box, digit.steps)


def _overlap(one, other):
    """Shared area over that of both."""
    height, width = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    if height <= 0 or width <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return height * width / (sum(areas) - height * width)


def _several(digit, probability):
    """A reason if the ink looks like more than one digit: parts of like size, side by side.

    A digit in two halves looks so, too; then it is no wider than high, and the net knows it.
    """
    pieces = pieces_of(digit.ink.strength)
    tallest = max((piece.height for piece in pieces), default=0)
    mass = [int(piece.strength.sum()) for piece in pieces]
    count = sum(
        piece.height >= 0.6 * tallest and own >= 0.25 * max(mass)
        for piece, own in zip(pieces, mass)
    )
    top, left, bottom, right = digit.box
    if count >= 2 and (probability < 0.95 or right - left > 1.15 * (bottom - top)):
        return f"it looks like {count} digits; --digits many reads them"
    return None


def _line_text(line):
    """The labels of a line, with a space where the gap is wider than the others."""
    gaps = [later.box[1] - earlier.box[3] for earlier, later in zip(line, line[1:])]
    height = float(np.median([reading.box[2] - reading.box[0] for reading in line]))
    usual = float(np.median(gaps)) if gaps else 0.0
    text = line[0].label or "?"
    for gap, reading in zip(gaps, line[1:]):
        text += (" " if gap > max(0.9 * height, 2.0 * usual) else "") + (reading.label or "?")
    return text


def _reading(probabilities, names, reason, box, steps):
    best = int(probabilities.argmax())
    by_name = {name: float(p) for name, p in zip(names, probabilities)}
    if reason:
        return Reading(probabilities=by_name, rejected=reason, box=box, steps=steps)
    return Reading(names[best], float(probabilities[best]), by_name, None, box, steps=steps)


def _check_takes_digits(trained):
    if trained.image_shape[0] != 1:
        raise UserError(
            f"the model takes images of {trained.image_shape[0]} channels, and ink has one: read pictures whole, "
            f"with --reading whole"
        )


def _as_trained(image, trained):
    """The image in MNIST's form, uint8 (28, 28), as the model's images are: (1, H, W)."""
    return to_image(image, trained.image_shape)
