"""From a drawing to an answer: what the net sees, what each of its layers makes of it, and what it says."""

from dataclasses import dataclass
from math import prod

import numpy as np

from lenet5c.datasets import resize
from lenet5c.demo.drawing import GRID, USUAL_WIDTH
from lenet5c.demo.transform import thickened
from lenet5c.nn import Conv2d, Flatten, Linear, softmax
from lenet5c.nn.pooling import AvgPool2d, MaxPool2d, Subsample2d
from lenet5c.nn.rbf import RBF
from lenet5c.recognition.digit import (
    BlankImageError,
    Digit,
    Ink,
    center,
    crop_ink,
    find_box,
    normalize_stroke,
)
from lenet5c.recognition.judge import measure, reject_ink

BOX = 20  # of MNIST's 28 pixels, what its digits were scaled to
DOT = 1.5  # a drawing no longer than so many widths of the pen is a dot, and no digit
LARGEST_MAP = 64  # pixels a side that are sent; larger maps are averaged down

# A layer of these begins a stage, which is shown; activations and the like belong to the stage before them.
KINDS = {
    Conv2d: "convolution",
    AvgPool2d: "pooling",
    MaxPool2d: "pooling",
    Subsample2d: "subsampling",
    Linear: "fully connected",
    RBF: "distances",
}


@dataclass(frozen=True)
class Stage:
    """A layer as the page shows it: with all up to the next one, such as its activation.

    Attributes
    ----------
    name, kind : str
    shape : tuple of int
        Of its values, (C, H, W) or (units,).
    shown : tuple of int
        As they are sent, (C, h, w).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    shown: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Answer:
    """What the net makes of an image.

    Attributes
    ----------
    picture : ndarray of uint8, shape (C, h, w)
        The image as it would stand in a data set.
    seen : ndarray of uint8, shape (C, H, W)
        The net's input, before its pixels are scaled.
    probabilities : ndarray of float32, shape (classes,)
    maps : list of ndarray of float32
        The values of each `Stage`; of the last one, logits.
    """

    picture: np.ndarray
    seen: np.ndarray
    probabilities: np.ndarray
    maps: list[np.ndarray]

    def packed(self):
        """Bytes for the page: probabilities as float32, input and picture, and the maps.

        A map's 128 is zero, its 255 the largest value of its layer; of the last layer, where only differences count,
        128 is in the middle between the lowest and the highest.
        """
        parts = [
            self.probabilities.astype("<f4").tobytes(),
            self.seen.tobytes(),
            self.picture.tobytes(),
        ]
        logits = self.maps[-1]
        for values in [*self.maps[:-1], logits - (logits.max() + logits.min()) / 2]:
            values = np.nan_to_num(shrunk(values))  # such as of a model that was trained to pieces
            peak = float(np.abs(values).max())
            parts.append((values * (127 / (peak or 1)) + 128.5).astype(np.uint8).tobytes())
        return b"".join(parts)


class Reader:
    """A trained model with what is asked of it again and again.

    Parameters
    ----------
    trained : lenet5c.training.TrainedModel

    Examples
    --------
    >>> from lenet5c.demo.answer import Reader
    >>> from lenet5c.demo.drawing import checked_strokes, render
    >>> from lenet5c.demo.transform import Transform
    >>> from lenet5c.training import pretrained
    >>> reader = Reader(pretrained())
    >>> picture = reader.picture(render(checked_strokes([[0.5, 0.2, 1, 0.5, 0.8, 1]])))
    >>> int(reader.answer(picture, Transform()).probabilities.argmax())
    1
    >>> [stage.name for stage in reader.stages]
    ['conv1', 'pool1', 'conv2', 'pool2', 'fc1', 'fc2', 'fc3']
    """

    def __init__(self, trained):
        self.trained = trained
        self.layers = list(trained.model.layers.items())
        self.stages = []
        black = np.zeros(trained.image_shape, np.uint8)
        for (name, kind), values in zip(
            self._stage_names(), self._maps(self.fitted(black)), strict=True
        ):
            self.stages.append(Stage(name, kind, values.shape, shrunk(values).shape))

    def picture(self, ink, width=USUAL_WIDTH):
        """Ink of this pen as an image of the model's data, uint8 (C, h, w); None if there is nothing to see."""
        channels, height, across = self.trained.image_shape
        if not ink.any():
            return None
        if self.trained.reading == "whole":
            fitted = resize(ink[None], (height, across))
        else:
            size = min(height, across)
            box = round(size * BOX / GRID)
            try:
                stroke = crop_ink(ink)
                if max(stroke.shape) < DOT * width / GRID * len(ink):
                    return None
                if width == USUAL_WIDTH:
                    # As predict does it; a width that was chosen is left as it is.
                    stroke = normalize_stroke(stroke, box)
                square = center(stroke, size, box)
            except BlankImageError:
                return None
            fitted = np.zeros((1, height, across), np.uint8)
            top, left = (height - size) // 2, (across - size) // 2
            fitted[0, top : top + size, left : left + size] = square
        return np.repeat(fitted, channels, axis=0)

    def doubt(self, ink):
        """Why ink cannot be one digit, as predict has it, or None."""
        if self.trained.reading == "whole":
            return None
        whole = Ink(ink, ink, dark=True, contrast=255.0, noise=0.0)
        return reject_ink(measure(Digit(ink, whole, find_box(ink))))

    def rewritten(self, picture, width):
        """An image of the data as if written with another pen, where that has a meaning."""
        return thickened(picture, width) if self.trained.reading == "ink" else picture

    def fitted(self, picture):
        return np.ascontiguousarray(
            self.trained.preparation.fit_images(np.ascontiguousarray(picture[None]))[0]
        )

    def answer(self, picture, transform):
        """The `Answer` to an image of the data, (C, h, w), seen through a `Transform`."""
        seen = np.ascontiguousarray(transform.apply(self.fitted(picture)))
        maps = list(self._maps(seen))
        return Answer(picture, seen, softmax(maps[-1][None])[0], maps)

    def _stage_names(self):
        return [(name, kind_of(layer)) for name, layer in self.layers if type(layer) in KINDS]

    def _maps(self, seen):
        """The values at the end of each stage, layer by layer: with the very bits of the whole model."""
        x = self.trained.preparation(seen[None])
        kept = []
        for _, layer in self.layers:
            x = np.asarray(layer.forward(x), np.float32)
            if type(layer) in KINDS:
                kept.append(x[0])
            elif kept and not isinstance(layer, Flatten):
                kept[-1] = x[0]
        kept[-1] = self.trained.model.logits(x)[0]
        return kept


def kind_of(layer):
    if isinstance(layer, AvgPool2d | MaxPool2d):
        return f"{'average' if isinstance(layer, AvgPool2d) else 'max'} pooling"
    return KINDS[type(layer)]


def shrunk(values):
    """Values as (C, h, w): units have no height and width; large maps are averaged over blocks."""
    if values.ndim == 1 or prod(values.shape[1:]) == 1:
        return values.reshape(-1, 1, 1)
    channels, height, width = values.shape
    block = -(-max(height, width) // LARGEST_MAP)
    if block == 1:
        return values
    rows, columns = np.arange(0, height, block), np.arange(0, width, block)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=1), columns, axis=2)
    counts = np.diff(np.append(rows, height))[:, None] * np.diff(np.append(columns, width))
    return (sums / counts).astype(np.float32)
