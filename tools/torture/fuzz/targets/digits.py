"""Recognition of digits in arbitrary pictures."""

from collections.abc import Iterator

import numpy as np

from lenet5c.datasets import Preparation, mnist
from lenet5c.nn import LeNet5
from lenet5c.recognition.predictor import Reader
from lenet5c.training import TrainedModel, open_model

MAX_LENGTH = 3000

best = open_model()
whole = TrainedModel(LeNet5(3, 3, 16), Preparation(size=(16, 16), fit="resize"), ("a", "b", "c"))
readers = [Reader(best), Reader(best, digits="many"), Reader(best, reading="whole")]
readers += [Reader(whole), Reader(whole, reading="whole")]


def read(data: bytes) -> None:
    """Read a picture: bytes for options, format and size (two), then its pixels."""
    if len(data) < 5:
        return
    how, form, width, scale = data[0] % len(readers), data[1] % 4, 1 + data[2], 1 + data[3] % 4
    pixels = np.frombuffer(data, np.uint8, offset=4)
    channels = (1, 3, 4, 1)[form]
    height = -(-len(pixels) // (width * channels))
    picture = np.resize(pixels, (height, width, channels)).repeat(scale, 0).repeat(scale, 1)
    picture = picture[..., 0] if channels == 1 else picture
    if form == 3:
        picture = picture > 127
    reading = readers[how](np.ascontiguousarray(picture))
    reading.top()
    str(reading)


def seeds() -> Iterator[bytes]:
    """Yield single and adjacent MNIST digits, noise, and lines."""
    images = mnist()[1].images[:12, 0]
    for how in range(len(readers)):
        for image in images[:4]:
            yield bytes([how, 0, 27, 1]) + image.tobytes()
            yield bytes([how, 0, 27, 1]) + (255 - image).tobytes()
    yield bytes([1, 0, 83, 0]) + np.hstack(images[:3]).tobytes()
    yield bytes([1, 0, 55, 1]) + np.hstack(images[4:6]).tobytes()
    noise = np.random.default_rng(0).integers(0, 256, 900, np.uint8)
    for how in range(len(readers)):
        for form in range(4):
            yield bytes([how, form, 14, 3]) + noise.tobytes()
    yield bytes([1, 0, 30, 1]) + (np.eye(31, dtype=np.uint8) * 200).tobytes()
