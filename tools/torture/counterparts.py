"""References of a chain of layers: values and gradients in float64, and bounds of float32 errors.

The error of a value is propagated through the following layers: through sums by the magnitudes of
their weights, through an activation by its maximum slope; each layer adds its own error (see
rounding.py). A rectifier whose input has an uncertain sign may or may not pass its gradient. If all
numbers are small integers and layers only add, multiply and compare, there are no errors.
"""

from typing import Any

import numpy as np

from lenet5c import nn, reference
from torture.rounding import amplification, sum_error

ACTIVATIONS = tuple(nn.ACTIVATIONS.values())
MAXIMUM = 2.0**23  # integers beyond which float32 is not exact
# Of each activation the steepest slope and the largest second derivative, for its settings 1.
SLOPES = {
    "tanh": (1, 0.77),
    "sigmoid": (0.25, 0.1),
    "gelu": (1.13, 0.8),
    "scaled_tanh": (1.15, 0.52),
}


class Counterpart:
    """A layer's forward and backward pass, in values and errors."""

    def __init__(self, layer: nn.Layer, exact: bool) -> None:
        self.layer, self.exact = layer, exact
        self.params = [array.astype(np.float64) for array in layer.params.values()]
        self.largest = 0.0  # of all sums of sizes

    def forward(self, x: np.ndarray, ex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the layer's output and its error."""
        self.x, self.ex = x, ex
        layer: Any = self.layer
        if isinstance(layer, nn.Flatten):
            return reference.flatten(x), reference.flatten(ex)
        if isinstance(layer, nn.MaxPool2d):
            return reference.max_pool2d(x, *self.window), np.zeros((1, 1, 1, 1))  # exact nets only
        if isinstance(layer, nn.RBF):
            difference = abs(x[:, None] - layer.buffers["codes"])
            own = 0 if self.exact else sum_error(x.shape[1] + 2) * (difference**2).sum(axis=2)
            y = reference.rbf(x, layer.buffers["codes"])
            self.largest = float(y.max(initial=0))
            return y, own + ((2 * difference + ex[:, None]) * ex[:, None]).sum(axis=2)
        if isinstance(layer, ACTIVATIONS):
            y = getattr(reference, layer.kind)(x)
            own = 0 if self.exact else 16 * 2.0**-24 * (abs(x) + abs(y))
            return y, ex * SLOPES.get(layer.kind, (1, 0))[0] + own
        y = self.sums(x, *self.params)
        sizes = self.sums(abs(x), *map(abs, self.params))
        carried = (
            0
            if self.exact
            else self.sums(ex, abs(self.params[0]))
            if self.params
            else self.sums(ex)
        )
        self.largest = max(self.largest, float(sizes.max(initial=0)))
        return y, carried + self.own(sizes, self.terms[0])

    def backward(self, dy: np.ndarray, ey: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return dx and the parameters' gradients, and their errors."""
        layer, x, ex = self.layer, self.x, self.ex
        if isinstance(layer, nn.Flatten):
            return [dy.reshape(x.shape)], [np.broadcast_to(ey, dy.shape).reshape(x.shape)]
        if isinstance(layer, nn.MaxPool2d):
            return [reference.max_pool2d_backward(dy, x, *self.window)], [np.zeros(x.shape)]
        if isinstance(layer, nn.RBF):
            codes = layer.buffers["codes"]
            difference = abs(x[:, None] - codes)
            own = 0 if self.exact else sum_error(len(codes) + 2)
            sizes = 2 * (abs(dy)[:, :, None] * difference).sum(axis=1)
            self.largest = max(self.largest, float(sizes.max(initial=0)))
            error = (
                2 * (ey + own * abs(dy))[:, :, None] * difference
                + 2 * abs(dy)[:, :, None] * ex[:, None]
            )
            return [reference.rbf_backward(dy, x, codes)], [error.sum(axis=1)]
        if isinstance(layer, ACTIVATIONS):
            y = getattr(reference, layer.kind)(x)
            of = x if layer.kind in ("leaky_relu", "gelu") else y
            dx = getattr(reference, f"{layer.kind}_backward")(dy, of)
            if layer.kind in ("relu", "leaky_relu"):
                error = ey * (x > -ex) + abs(dy) * (abs(x) <= ex) * (not self.exact)
                return [dx], [error + ey * 0.01 + (0 if self.exact else 4e-7) * abs(dx)]
            slope, bend = SLOPES[layer.kind]
            return [dx], [ey * slope + abs(dy) * (bend * ex + 2e-6 * slope)]
        gradients = self.gradients(dy, x)
        sizes = self.gradients(abs(dy), abs(x), absolute=True)
        self.largest = max([self.largest, *(float(size.max(initial=0)) for size in sizes)])
        if self.exact:
            return gradients, [np.zeros(size.shape) for size in sizes]
        # (|dy| + ey) (|x| + ex) - |dy| |x| of each product
        uncertain = self.gradients(abs(dy) + ey, abs(x) + ex, absolute=True)
        parts = zip(uncertain, sizes, self.terms[1:], strict=False)
        return gradients, [most - size + self.own(size, terms) for most, size, terms in parts]

    def sums(self, x: np.ndarray, *params: np.ndarray) -> np.ndarray:
        """Return the layer's output, linear in x and in the weight."""
        layer: Any = self.layer
        if isinstance(layer, nn.Linear):
            return reference.linear(x, *params)
        if isinstance(layer, nn.AvgPool2d):
            return reference.avg_pool2d(x, *self.window, count_include_pad=layer.count_include_pad)
        if isinstance(layer, nn.Subsample2d):
            bias = params[1] if len(params) > 1 else np.zeros(len(params[0]))
            return reference.subsample2d(x, params[0], bias, layer.kernel_size)
        if layer.connection_table is not None:
            return reference.connected_conv2d(x, *params, **self.conv_options)
        return reference.conv2d(x, *params, **self.conv_options)

    def gradients(self, dy: np.ndarray, x: np.ndarray, absolute: bool = False) -> list[np.ndarray]:
        """Return dx and the gradients of the parameters."""
        layer: Any = self.layer
        weight = self.params[0] if self.params else np.zeros(0)
        weight = abs(weight) if absolute else weight
        if isinstance(layer, nn.Linear):
            found = reference.linear_backward(dy, x, weight)
        elif isinstance(layer, nn.AvgPool2d):
            found = (
                reference.avg_pool2d_backward(
                    dy, x.shape, *self.window, count_include_pad=layer.count_include_pad
                ),
            )
        elif isinstance(layer, nn.Subsample2d):
            found = reference.subsample2d_backward(dy, x, weight, layer.kernel_size)
        elif layer.connection_table is not None:
            found = reference.connected_conv2d_backward(dy, x, weight, **self.conv_options)
        else:
            found = reference.conv2d_backward(dy, x, weight, **self.conv_options)
        return list(found[: 1 + len(self.params)])

    @property
    def window(self) -> tuple[Any, ...]:
        layer: Any = self.layer
        settings = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        return *settings, layer.ceil_mode

    @property
    def conv_options(self) -> dict[str, Any]:
        layer: Any = self.layer
        options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        if layer.connection_table is not None:
            return options | {"table": layer.connection_table}
        return options | {"groups": layer.groups}

    @property
    def amplification(self) -> float:
        """Maximum amplification by Winograd's transforms, if used."""
        layer: Any = self.layer
        if not isinstance(layer, nn.Conv2d):
            return 0
        channels = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        return amplification(layer.kernel_size, layer.stride, layer.dilation, *channels)

    @property
    def terms(self) -> tuple[int, ...]:
        """Maximum numbers of terms of the sums of y, dx, dweight and dbias."""
        layer: Any = self.layer
        batch = len(self.x)
        if isinstance(layer, nn.Linear):
            return layer.in_features, layer.out_features, batch, batch
        taps = int(np.prod(reference.pair(layer.kernel_size)))
        pixels = batch * int(np.prod(layer.output_shape(self.x.shape[1:])[1:]))
        if not isinstance(layer, nn.Conv2d):
            return taps + 1, taps, pixels * taps, pixels
        inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        return inputs * taps + 1, outputs * taps, pixels, pixels

    def own(self, sizes: np.ndarray, terms: int) -> np.ndarray:
        """Return the error of a single sum; Winograd's transforms mix neighbors."""
        if self.exact or not sizes.size:
            return np.zeros(sizes.shape)
        if self.amplification:
            sizes = np.full(sizes.shape, self.amplification * sizes.max())
        return sum_error(terms) * sizes


class Chain:
    """The reference of the layers of a model."""

    def __init__(self, layers: list[nn.Layer], exact: bool) -> None:
        self.counterparts = [Counterpart(layer, exact) for layer in layers]

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs and their errors."""
        value, error = x.astype(np.float64), np.zeros(x.shape)
        for counterpart in self.counterparts:
            value, error = counterpart.forward(value, np.broadcast_to(error, value.shape))
        return value, np.broadcast_to(error, value.shape)

    def backward(
        self, dy: np.ndarray, ey: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
        """Return dx with its error, and those of all parameters in order."""
        value, error, found = dy.astype(np.float64), ey, []
        for counterpart in reversed(self.counterparts):
            values, errors = counterpart.backward(value, error)
            found[:0] = list(zip(values[1:], errors[1:], strict=True))
            value, error = values[0], errors[0]
        return (value, error), found

    @property
    def fits(self) -> bool:
        """True if sums of integers were small enough to be exact."""
        return max(counterpart.largest for counterpart in self.counterparts) < MAXIMUM
