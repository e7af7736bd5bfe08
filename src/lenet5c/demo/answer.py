"""From a drawing to an answer: the net's input, the maps of its layers, and probabilities."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import resize
from lenet5c.datasets.framing import MNIST
from lenet5c.demo.drawing import GRID, USUAL_WIDTH
from lenet5c.demo.transform import Transform, thicken
from lenet5c.nn import (
    RBF,
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Subsample2d,
)
from lenet5c.nn.activation import Activation
from lenet5c.nn.batch_norm import BatchNorm
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
from lenet5c.training import TrainedModel

DOT = 1.5  # a drawing no longer than so many widths of the pen is a dot, and no digit
LARGEST_MAP = 64  # pixels a side that are sent; larger maps are averaged down
Image = NDArray[np.uint8]
Map = NDArray[np.float32]

# Of layers that belong to the stage before them. Any other begins one, which is shown.
WITHIN = (Activation, BatchNorm, Dropout, Flatten)
KINDS = {
    Conv2d: "convolution",
    AvgPool2d: "average pooling",
    MaxPool2d: "max pooling",
    Subsample2d: "subsampling",
    Linear: "fully connected",
    RBF: "distances",
}


@dataclass(frozen=True)
class Stage:
    """A layer as the page shows it: with all up to the next one, such as its activation."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of its values, (C, H, W) or (units,)
    shown: tuple[int, ...]  # as they are sent, (C, h, w)


@dataclass(frozen=True, eq=False)
class Answer:
    """Answer of the net to an image."""

    picture: Image  # (C, h, w), as it would stand in a data set
    seen: Image  # (C, H, W), the net's input before its pixels are scaled
    probabilities: NDArray[np.float32]
    maps: list[Map]  # values of each stage; of the last one, logits

    def pack(self) -> bytes:
        """Return bytes for the page: probabilities as float32, input and picture, and the maps.

        A map's 128 is zero, its 255 the largest value of its layer; of the last layer, where only
        differences count, 128 is in the middle between the lowest and the highest.
        """
        parts = [self.probabilities.astype("<f4"), self.seen, self.picture]
        logits = self.maps[-1]
        for values in [*self.maps[:-1], logits - (logits.max() + logits.min()) / 2]:
            values = np.nan_to_num(shrink(values))  # of a model that has diverged
            peak = float(np.abs(values).max())
            parts.append((values * (127 / (peak or 1)) + 128.5).astype(np.uint8))
        return b"".join(part.tobytes() for part in parts)


class Reader:
    """A trained model, prepared to answer many drawings; `stages` are its layers.

    Examples
    --------
    >>> from lenet5c.demo.answer import Reader
    >>> from lenet5c.demo.drawing import parse_strokes, render
    >>> from lenet5c.demo.transform import Transform
    >>> from lenet5c.training import open_model
    >>> reader = Reader(open_model())
    >>> picture = reader.prepare(render(parse_strokes([[0.5, 0.2, 1, 0.5, 0.8, 1]])))
    >>> int(reader.answer(picture, Transform()).probabilities.argmax())
    1
    >>> [stage.name for stage in reader.stages]
    ['conv1', 'pool1', 'conv2', 'pool2', 'fc1', 'fc2', 'fc3']
    """

    def __init__(self, trained: TrainedModel) -> None:
        self.trained, self.image_shape = trained, trained.image_shape
        layers = list(trained.model.flat_items())
        starts = [(name, kind) for name, layer in layers if (kind := stage_kind(layer))]
        last, layer = layers[-1]
        self.starts = dict(starts or [(last, type(layer).__name__)])
        black = np.zeros((1, *self.image_shape), np.uint8)
        maps = self._maps(trained.preparation.fit_images(black))
        self.stages = [
            Stage(name, kind, values.shape, shrink(values).shape)
            for (name, kind), values in zip(self.starts.items(), maps, strict=True)
        ]

    def prepare(self, ink: Image, width: float = USUAL_WIDTH) -> Image | None:
        """Return ink of this pen as an image (C, h, w) of the model's data, None for no digit."""
        channels, *size = self.image_shape
        if not ink.any():
            return None
        framing = self.trained.framing or MNIST
        if self.trained.reading == "whole":
            fitted = resize(ink, (size[0], size[1]))
        else:
            try:
                stroke = crop_ink(ink)
                if max(stroke.shape) < DOT * width / GRID * len(ink):
                    return None
                if width == USUAL_WIDTH:
                    # As predict does it; a width that was chosen is left as it is.
                    stroke = normalize_stroke(stroke, framing, (size[0], size[1]))
                fitted = center(stroke, framing, (size[0], size[1]))
            except BlankImageError:
                return None
        return framing.color(fitted, channels)

    def reject(self, ink: Image) -> str | None:
        """Return why ink cannot be one digit, as predict has it, or None."""
        if self.trained.reading == "whole":
            return None
        whole = Ink(ink, ink, dark=True, contrast=255.0, noise=0.0)
        return reject_ink(measure(Digit(ink, whole, find_box(ink))))

    def rewrite(self, picture: Image, width: float) -> Image:
        """Return an image of the data as if written with another pen, where that has a meaning."""
        if self.trained.reading == "whole":
            return picture
        if self.trained.framing and self.trained.framing.dark:
            return 255 - thicken(255 - picture, width)
        return thicken(picture, width)

    def answer(self, picture: Image, transform: Transform) -> Answer:
        """Return the answer to an image (C, h, w) of the data, seen through a `Transform`."""
        fitted = self.trained.preparation.fit_images(np.ascontiguousarray(picture[None]))[0]
        seen = np.ascontiguousarray(transform.apply(fitted))
        maps = self._maps(seen[None])
        return Answer(picture, seen, self.trained.softmax(maps[-1][None])[0], maps)

    def _maps(self, fitted: Image) -> list[Map]:
        """Return the values at the end of each stage; of the last one, the whole model's logits.

        Layers that run as one program may round otherwise than one by one.
        """
        x = self.trained.preparation(fitted)
        outputs = self.trained.model.forward(x)
        maps: list[Map] = []
        for name, layer in self.trained.model.flat_items():
            x = np.asarray(layer.forward(x), np.float32)
            if name in self.starts:
                maps.append(x[0])
            elif maps and not isinstance(layer, Flatten):
                maps[-1] = x[0]
        maps[-1] = self.trained.model.logits(outputs)[0]
        return maps


def stage_kind(layer: Layer) -> str:
    """Return the kind of a stage that begins with a layer, '' if it belongs to the one before."""
    if isinstance(layer, WITHIN):
        return ""
    return next((text for kind, text in KINDS.items() if isinstance(layer, kind)), "") or (
        type(layer).__name__
    )


def shrink(values: Map) -> Map:
    """Return values as (C, h, w): units have no height and width; large maps are averaged down."""
    if values.ndim != 3 or prod(values.shape[1:]) == 1:
        return values.reshape(-1, 1, 1)
    _, height, width = values.shape
    block = -(-max(height, width) // LARGEST_MAP)
    if block == 1:
        return values
    rows, columns = np.arange(0, height, block), np.arange(0, width, block)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=1), columns, axis=2)
    counts = np.diff(np.append(rows, height))[:, None] * np.diff(np.append(columns, width))
    return (sums / counts).astype(np.float32)
