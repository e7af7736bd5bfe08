"""Layer-by-layer evaluation of a model: outputs, gradients and positions of maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.mapped import Images, blocks
from lenet5c.datasets.preparation import Preparation
from lenet5c.kernels.engine.samples import Samples
from lenet5c.kernels.shapes import window_and_size
from lenet5c.nn import RBF, Conv2d, Dropout, Residual, Sequential
from lenet5c.nn.activation import Activation
from lenet5c.nn.batch_norm import BatchNorm
from lenet5c.nn.layer import Layer, Shape
from lenet5c.nn.pooling import Pool2d, Subsample2d
from lenet5c.nn.tile_layer import TileChain, make_segments

Floats = NDArray[np.float32]
Items = list[tuple[str, Layer]]
#: Samples per pass through layers in NumPy.
CHUNK = 256


def list_layers(model: Sequential) -> Items:
    """Return the layers in order with dotted names, with inner Sequentials flattened."""
    return list(model.flat_items())


def run_layers(items: Items, x: Floats) -> list[Floats]:
    """Return x and the output of each layer in evaluation mode."""
    values = [x]
    for _, layer in items:
        values.append(np.asarray(layer.forward(values[-1]), np.float32))
    return values


def pull_back(items: Items, values: Sequence[Floats], dy: Floats) -> Floats:
    """Return the gradient with respect to values[0], given `values` of `run_layers`."""
    for (_, layer), x in zip(reversed(items), reversed(values[:-1]), strict=True):
        dy = layer.input_gradient(x, dy)
    return dy


def open_layer(items: Items, target: str, x: Floats, dy: Floats) -> tuple[Floats, Floats]:
    """Return the output of the layer named `target` and the gradient with respect to it.

    x is the input of the first layer, dy the gradient with respect to the output of the last. The
    layer may be inside a `Residual`, where the whole gradient is that of its own branch.
    """
    at = _find(items, target)
    values = run_layers(items, x)
    (name, layer), after = items[at], items[at + 1 :]
    dy = pull_back(after, values[at + 1 :], dy)
    if name == target:
        return values[at + 1], dy
    for inner in _branches(name, layer):
        if any(target == each or target.startswith(f"{each}.") for each, _ in inner):
            return open_layer(inner, target, values[at], dy)
    raise KeyError(target)


def _find(items: Items, target: str) -> int:
    """Return the position of the layer with this name, or of the layer that contains it."""
    for at, (name, _) in enumerate(items):
        if target == name or target.startswith(f"{name}."):
            return at
    raise KeyError(target)


def _branches(name: str, layer: Layer) -> Iterator[Items]:
    """Yield the layers of each branch of a `Residual`."""
    if not isinstance(layer, Residual):
        return
    for branch, within in zip(("layers", "shortcut"), layer.branches(), strict=False):
        inner = f"{name}.{branch}"
        if isinstance(within, Sequential):
            yield list(within.flat_items(f"{inner}."))
        else:
            yield [(inner, within)]


@dataclass(frozen=True)
class Place:
    """A layer with maps, and the positions of its units in the net's input.

    The receptive field of unit (i, j) is centered at the pixel (start[0] + i step[0], start[1] + j
    step[1]).
    """

    name: str
    shape: Shape
    start: tuple[float, float]
    step: tuple[float, float]

    @property
    def has_maps(self) -> bool:
        """True if the output is maps larger than 1 by 1."""
        return len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1


def find_places(
    items: Items,
    shape: Shape,
    start: tuple[float, float] = (0.0, 0.0),
    step: tuple[float, float] = (1.0, 1.0),
) -> list[Place]:
    """Return the places of all layers with images or maps as input, including inside a `Residual`.

    The input of the first layer has this shape, with its first pixel at `start`. Layers inside a
    `Residual` come before it.
    """
    places: list[Place] = []
    for name, layer in items:
        if len(shape) != 3:
            break
        after = tuple(layer.output_shape(shape))
        at = start, step
        for inner in _branches(name, layer):
            found = find_places(inner, shape, start, step)
            places += found
            # The sum has the positions of the branches; an identity shortcut has no effect.
            at = (found[-1].start, found[-1].step) if found else at
        if not isinstance(layer, Residual) and len(after) == 3:
            at = _move(layer, shape, after, start, step)
        start, step = at
        places.append(Place(name, after, start, step))
        shape = after
    return places


def _move(
    layer: Layer, before: Shape, after: Shape, start: tuple[float, float], step: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the positions of the units of a layer's output, given those of its input."""
    starts, steps = [], []
    window = find_window(layer, before)
    for axis in (0, 1):
        # For a layer that uses whole maps, positions are spread evenly over its input.
        apart = before[1 + axis] / after[1 + axis]
        center = (apart - 1) / 2
        if window is not None:
            kernel, apart, dilation, pad = (each[axis] for each in window)
            center = (kernel - 1) * dilation / 2 - pad
        starts.append(start[axis] + step[axis] * center)
        steps.append(step[axis] * apart)
    return (starts[0], starts[1]), (steps[0], steps[1])


def find_window(layer: Layer, shape: Shape) -> tuple[tuple[int, int], ...] | None:
    """Return kernel size, stride, dilation and the padding before the input, or None."""
    if isinstance(layer, Subsample2d):
        return layer.kernel_size, layer.kernel_size, (1, 1), (0, 0)
    if isinstance(layer, (Conv2d, Pool2d)):
        ceil = {} if isinstance(layer, Conv2d) else {"ceil_mode": layer.ceil_mode, "pooling": True}
        settings = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        pad = window_and_size(shape[1:], *settings, **ceil)[0][2]
        return layer.kernel_size, layer.stride, layer.dilation, pad
    return None


def is_elementwise(layer: Layer) -> bool:
    """Return True if a layer of the package is elementwise."""
    return isinstance(layer, (Activation, BatchNorm, Dropout))


def last_weighted(items: Items) -> int:
    """Return the position of the last layer with weights or codes, or raise a ValueError."""
    found = [
        at
        for at, (_, layer) in enumerate(items)
        if not isinstance(layer, BatchNorm) and (layer.num_params or isinstance(layer, RBF))
    ]
    if not found:
        raise ValueError("model must have a layer with weights, got none")
    return found[-1]


def compute_features(model: Sequential, preparation: Preparation, images: Images) -> Floats:
    """Return the input of the last layer with weights, (N, D), for unprepared images."""
    items = list_layers(model)
    layers = [layer for _, layer in items[: last_weighted(items)]]
    steps = make_segments(layers, model.store)
    return np.concatenate([_run_steps(steps, preparation.samples(part)) for part in blocks(images)])


def _run_steps(steps: list[TileChain | Layer], samples: Samples) -> Floats:
    """Return the outputs (N, D) of chains and NumPy layers for samples."""
    if len(steps) == 1 and isinstance(steps[0], TileChain):
        y = steps[0].run(samples, samples.shape)
        return y.reshape(len(y), -1)
    parts = []
    for chunk in np.array_split(np.arange(len(samples)), max(1, -(-len(samples) // CHUNK))):
        x = samples[chunk].values()
        for step in steps:
            x = np.asarray(step.forward(x), np.float32)
        parts.append(x.reshape(len(x), -1))
    return np.concatenate(parts)
