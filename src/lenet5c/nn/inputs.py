"""Checks of the inputs of a model, with remedies for a wrong shape."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import suppress
from inspect import signature
from math import isqrt, prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lenet5c.kernels.engine.samples import Samples
from lenet5c.nn.layer import Floats, Layer, Shape, as_floats, positive

if TYPE_CHECKING:
    from lenet5c.nn.sequential import Sequential

# Largest side of square images that is tried to find the input size of a model.
MAX_SIDE = 512
# The same if layers must run to find it.
MAX_TRIED = 64
# Shape of an image that every LeNet accepts.
MIN_SIDE = 16
# Attributes with the number of channels or features of a layer's input.
CHANNELS = ("in_channels", "num_features", "channels", "in_features")


def take_samples(model: Sequential, samples: Samples | Floats) -> Samples:
    """Return valid samples for the model, converting an array with `as_floats`."""
    images = samples.images if isinstance(samples, Samples) else samples
    if images is samples:
        images = as_floats(samples, type(model).__name__, "samples")
    check_sizes(model, "samples", images.shape)
    return samples if isinstance(samples, Samples) else Samples(images)


def check_sizes(model: Sequential, name: str, shape: Shape) -> None:
    """Raise an error if the layers of the model do not accept an array (N, ...) of this shape.

    Raises
    ------
    ValueError
        The message has the expected shape, if the layers define it, and a remedy.
    """
    if shape[1:] == model.accepted and shape:
        return
    if not shape:
        raise ValueError(f"{name} must be a batch, (N, C, H, W) or (N, features), got ()")
    _refuse_sizes(model, name, shape, trying=False)
    model.accepted = shape[1:]


def explain_error(model: Sequential, name: str, shape: Shape) -> None:
    """Raise the error of `check_sizes` if the shape of an array made a layer fail.

    Unlike `check_sizes`, this runs copies of layers that do not define their output shape.
    """
    if any(map(_tells_nothing, model.flat_layers())):
        with suppress(OwnFaultError):
            _refuse_sizes(model, name, shape, trying=True)


class OwnFaultError(Exception):
    """Raised when a layer fails for a reason other than the shape of its input."""


def _refuse_sizes(model: Sequential, name: str, shape: Shape, trying: bool) -> None:
    try:
        _run(model, shape[1:], trying)
    except ValueError as error:
        takes, owner = _find_input(model, trying), type(model).__name__
        if takes is None:
            raise ValueError(f"{error}, in {owner}") from None
        text, remedies = takes.text(), _remedies(takes, model, name, shape)
        raise ValueError(
            f"{name} must be a batch with the input shape of {owner}, {text}, "
            f"got {shape}{''.join(f'; {each}' for each in remedies)}"
        ) from None


def check_shape(shape: Any) -> Shape:
    """Return the shape of a sample as a tuple of int."""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not shape:
        raise ValueError(f"input_shape must be a shape such as (1, 28, 28), or None, got {shape!r}")
    return tuple(positive("input_shape", length) for length in shape)


def suggest_channels(argument: str, channels: int, shape: Shape) -> str:
    """Return a remedy for images of this shape, whose first axis is not the channels."""
    if len(shape) == 3 and shape[2] == channels:
        return "; put the channels first, as x.transpose(0, 3, 1, 2) does"
    return f"; create the layer with {argument}={shape[0]}" if len(shape) == 3 else ""


def check_finite(name: str, array: Any) -> None:
    """Raise an error if an array (N, ...) has NaN or infinity; the message has its index."""
    array = np.asarray(array)
    # The sum of finite float32 is finite in float64, and takes a fraction of the time.
    if array.dtype.kind != "f" or np.isfinite(array.sum(dtype=np.float64)):
        return
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise ValueError(f"{name} must be finite numbers, got {array[place]} at {place}")


class Input(NamedTuple):
    """Shape of the samples that a model accepts; if `larger`, it also accepts larger images."""

    shape: Shape
    larger: bool = False

    def text(self) -> str:
        if self.larger:
            channels, height, width = self.shape
            return f"(N, {channels}, H, W) of at least {height} by {width}"
        return f"({', '.join(map(str, ('N', *self.shape)))})"


def _run(model: Sequential, shape: Shape, trying: bool = False) -> None:
    """Propagate the shape of a sample through the layers that define or are tried for it."""
    for path, layer in model.flat_items():
        if _tells_nothing(layer):
            if not trying:
                return
            try:
                shape = copy.deepcopy(layer).output_shape(shape)
            except Exception as error:
                raise OwnFaultError from error
            continue
        try:
            shape = layer.output_shape(shape)
        except ValueError as error:
            raise ValueError(f"{error}; it is the input of layer {path!r}") from None


def _tells_nothing(layer: Layer) -> bool:
    """Return True if a layer must run to find the shape of its output."""
    return any(type(each).output_shape is Layer.output_shape for each in layer.all_layers())


def _takes(model: Sequential, shape: Shape, trying: bool) -> bool:
    try:
        _run(model, shape, trying)
    except (ValueError, OwnFaultError):
        return False
    return True


def _find_input(model: Sequential, trying: bool = False) -> Input | None:
    """Return the model's own input or, for images, the smallest square that it accepts."""
    if model.input_shape is not None:
        return Input(model.input_shape)
    counts = (getattr(layer, name, None) for layer in model.all_layers() for name in CHANNELS)
    channels = next((count for count in counts if count), None)
    if channels is None:
        return None
    if _takes(model, (channels,), trying):
        return Input((channels,))
    most = MAX_TRIED if trying else MAX_SIDE
    sides = [side for side in range(1, most + 1) if _takes(model, (channels, side, side), trying)]
    if not sides:
        return None
    return Input((channels, sides[0], sides[0]), larger=sides[-1] == most)


def _square(channels: int, values: int) -> Shape | None:
    """Return the shape of a square image with this many values, None if there is none."""
    side = isqrt(values // channels)
    return (channels, side, side) if channels * side * side == values else None


def _remedies(takes: Input, model: Sequential, name: str, shape: Shape) -> Iterator[str]:
    """Yield remedies for an array of `shape`, or for the model."""
    owner, settings = type(model).__name__, signature(type(model)).parameters
    if shape == takes.shape:
        yield f"use {name}[None] for a single sample"
        return
    if len(takes.shape) == 1:
        if prod(shape[1:]) == takes.shape[0]:
            yield f"use {name}.reshape(len({name}), -1), or put a Flatten first"
        elif len(shape) > 1:
            yield f"create its first Linear with in_features={prod(shape[1:])}"
        return
    channels, height, width = takes.shape
    if len(shape) == 1 or (len(shape) == 2 and shape[0] != shape[1]):  # pixels in rows
        image = takes.shape if shape[-1] == prod(takes.shape) else _square(channels, shape[-1])
        if image is None:
            return
        yield f"use {name}.reshape(-1, {', '.join(map(str, image))})"
        shape = (1, *image)
    elif channels == 1 and len(shape) in (2, 3):
        yield f"use {name}[{'None' if len(shape) == 2 else ':'}, None]"
        shape = (1, 1, *shape[-2:])
    elif len(shape) == 4 and shape[3] == channels != shape[1]:
        yield f"put the channels first, {name}.transpose(0, 3, 1, 2)"
        shape = (shape[0], channels, *shape[1:3])
    elif len(shape) > 4 and shape[-3:] == takes.shape:
        yield f"use {name}.reshape(-1, {', '.join(map(str, takes.shape))})"
    if len(shape) != 4:
        return
    if shape[1] != channels:
        if "in_channels" in settings:
            yield f"create {owner} with in_channels={shape[1]}"
        elif shape[1] == 1:
            yield f"repeat the gray channel with np.repeat({name}, {channels}, 1)"
        else:
            yield f"create its first layer for {shape[1]} channels"
    rows, columns = height - shape[2], width - shape[3]
    if (takes.larger and max(rows, columns) <= 0) or rows == columns == 0:
        return
    remedy = "resize the images"
    if not takes.larger and min(rows, columns) >= 0 and rows % 2 == columns % 2 == 0:
        pads = ((0, 0), (0, 0), (rows // 2,) * 2, (columns // 2,) * 2)
        remedy = f"pad the images with np.pad({name}, {pads})"
    if "input_size" in settings and min(shape[2:]) >= MIN_SIDE:
        size = shape[2] if shape[2] == shape[3] else shape[2:]
        remedy += f", or create {owner} with input_size={size}"
    yield remedy
