"""Integer models: the arithmetic of an int8 C file in readable NumPy.

A value ``q`` of a tensor represents the number ``scale * (q - zero)``. Arrays are int64 here, and
every result fits the type used in C, so both agree bitwise. Tensors are channels last, (N, H, W,
C); features are (N, 1, 1, F).

Products of int8 are summed in int32. A `Rescale` converts a sum to an output: it is multiplied by a
31-bit integer and shifted right (Jacob et al. 2018, "Quantization and Training of Neural Networks
for Efficient Integer-Arithmetic-Only Inference", section 2.2), with one rounding.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.export.network import Network, Pair

Integers = NDArray[np.int64]
#: Smallest and largest activation.
LOW, HIGH = -128, 127
#: Images per batch.
BLOCK = 500
#: Scores are logits in units of two to the minus this, if all scores then fit in int32.
SCORE_BITS = 16
#: ``2**-x`` for x in [0, 1] is ``1 - x (a - x (b - x c))`` with these in 65536ths, within 8e-5.
EXPONENTIAL = (45330, 15158, 2597)


@dataclass(frozen=True)
class Scaling:
    """Scale and zero point of a tensor.

    `zero` is an integer, except for an image, where it follows from the preparation.
    """

    scale: float
    zero: float

    @property
    def fill(self) -> int:
        """The value that represents 0, used for padding."""
        return int(np.clip(np.rint(self.zero), LOW, HIGH))

    def numbers(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the numbers represented by values."""
        return self.scale * (values.astype(np.float64) - self.zero)

    def values(self, numbers: NDArray[Any], low: int = LOW, high: int = HIGH) -> Integers:
        """Return the values nearest to numbers."""
        nearest = np.rint(numbers.astype(np.float64) / self.scale + self.zero)
        return np.clip(nearest, low, high).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Rescale:
    """Rescaling of sums by ``clip((v * multiplier + 2^(shift - 1) >> shift) + zero, low, high)``.

    The result is optionally an index of a table.

    Attributes
    ----------
    multiplier : ndarray of int, shape (O,) or (1,)
        Multiplier of each channel, or of all; less than 2^31.
    shift : int
        1 to 62.
    table : ndarray of int, optional
        Table of results, starting with that of `low`.
    """

    multiplier: Integers
    shift: int
    zero: int = 0
    low: int = LOW
    high: int = HIGH
    table: Integers | None = None

    def run(self, v: Integers) -> Integers:
        """Return the results for `v` (..., O)."""
        scaled = (v * self.multiplier + (1 << (self.shift - 1))) >> self.shift
        index = np.clip(scaled + self.zero, self.low, self.high)
        return index if self.table is None else self.table[index - self.low]


def rescale_by(ratio: Any, **settings: Any) -> Rescale:
    """Return the `Rescale` with factors nearest to `ratio`, a number or (O,)."""
    factors = np.atleast_1d(np.asarray(ratio, np.float64))
    largest = np.abs(factors).max()
    exponent = int(np.frexp(largest)[1]) if largest > 0 else 0
    shift = min(31 - exponent, 62)
    multiplier = np.rint(np.ldexp(factors, shift)).astype(np.int64)
    if np.abs(multiplier).max() >= 1 << 31:  # rounded up
        shift -= 1
        multiplier = np.rint(np.ldexp(factors, shift)).astype(np.int64)
    return Rescale(multiplier, shift, **settings)


@dataclass(eq=False, kw_only=True)
class Op:
    """A function of the C file: input (H, W, C), output (H, W, C), and the names of its layers.

    `gap` is the distance before the input at which the output may start without overwriting unread
    input, None if they may not overlap. `scratch` is a number of bytes.
    """

    name: str = ""
    shape: tuple[int, int, int]
    result: tuple[int, int, int]
    branches: tuple[list[Any], ...] = ()

    gap: int | None = None
    scratch: int = 0
    multiply_adds: int = 0

    @property
    def wide(self) -> bool:
        """True if the outputs are int32 scores."""
        return False

    def run(self, x: Integers) -> Integers:
        """Return the output (N, H, W, C)."""
        raise NotImplementedError


@dataclass(eq=False, kw_only=True)
class Sums(Op):
    """Convolution and pooling of its sums; for a linear layer, the kernel is the whole input.

    Attributes
    ----------
    weight : ndarray of int, shape (O, KH, KW, I)
        Weights from -127 to 127; I is the number of channels of one group.
    bias : ndarray of int, shape (O,)
        Bias including the contribution of the input's zero point.
    inner : Rescale or None
        Rescaling of each sum before pooling.
    floor : bool
        Apply ReLU to each sum before pooling.
    pool : {None, 'max', 'sum'}
    outer : Rescale or None
        Rescaling of the pooled values.
    """

    weight: Integers
    bias: Integers
    stride: Pair = (1, 1)
    pads: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    fill: int = 0
    grid: Pair = (1, 1)
    inner: Rescale | None = None
    floor: bool = False
    pool: str | None = None
    window: Pair = (1, 1)
    outer: Rescale | None = None

    @property
    def wide(self) -> bool:
        """True if the outputs are int32 scores."""
        return self.outer is not None and self.outer.table is None and self.outer.high > HIGH

    @property
    def taps(self) -> int:
        """Number of products in one sum."""
        return prod(self.weight.shape[1:])

    @property
    def whole(self) -> bool:
        """True if there is one window, the whole input."""
        kernel = self.weight.shape[1:3]
        return self.grid == (1, 1) and kernel == self.shape[:2] and self.groups == 1

    def run(self, x: Integers) -> Integers:
        """Return the output (N, H, W, C)."""
        sums = self._sums(x)
        if self.inner:
            sums = self.inner.run(sums)
        if self.floor:
            sums = np.maximum(sums, 0)
        if self.pool:
            (PH, PW), (OH, OW, O) = self.window, self.result
            parts = sums[:, : OH * PH, : OW * PW].reshape(len(x), OH, PH, OW, PW, O)
            sums = parts.max(axis=(2, 4)) if self.pool == "max" else parts.sum(axis=(2, 4))
        return sums if self.outer is None else self.outer.run(sums)

    def _sums(self, x: Integers) -> Integers:
        (O, KH, KW, I), (OH, OW), (SH, SW) = self.weight.shape, self.grid, self.stride
        (DH, DW), (top, left), (H, W, C), N = self.dilation, self.pads, self.shape, len(x)
        bottom = max(0, (OH - 1) * SH + (KH - 1) * DH + 1 - top - H)
        right = max(0, (OW - 1) * SW + (KW - 1) * DW + 1 - left - W)
        sides = ((0, 0), (top, bottom), (left, right), (0, 0))
        padded = np.pad(x.reshape(N, H, W, C), sides, constant_values=self.fill)
        # A float type that represents these sums exactly.
        kind = np.float32 if self.taps * 127 * 128 < 2**24 else np.float64
        patches = np.empty((N, OH, OW, self.groups, KH, KW, I), kind)
        for kh in range(KH):
            for kw in range(KW):
                down = slice(kh * DH, kh * DH + (OH - 1) * SH + 1, SH)
                across = slice(kw * DW, kw * DW + (OW - 1) * SW + 1, SW)
                part = padded[:, down, across].reshape(N, OH, OW, self.groups, I)
                patches[..., kh, kw, :] = part
        rows = patches.reshape(N * OH * OW, self.groups, -1)
        weight = self.weight.reshape(self.groups, O // self.groups, -1).astype(kind)
        sums = np.concatenate([rows[:, g] @ weight[g].T for g in range(self.groups)], axis=1)
        return sums.astype(np.int64).reshape(N, OH, OW, O) + self.bias


@dataclass(eq=False, kw_only=True)
class Pool(Op):
    """Pooling of int8 as a separate op, with any stride and padding.

    A mean is ``sum of (q - fill) * 256 / pixels``, truncated towards zero.
    """

    is_max: bool
    size: Pair
    stride: Pair
    pads: tuple[Pair, Pair]
    dilation: Pair = (1, 1)
    count_padding: bool = True
    fill: int = 0
    outer: Rescale | None = None

    def run(self, x: Integers) -> Integers:
        """Return the output (N, H, W, C)."""
        result = np.empty((len(x), *self.result), np.int64)
        (H, W, _), (DH, DW) = self.shape, self.dilation
        x = x.reshape(len(x), *self.shape)
        for py in range(self.result[0]):
            for px in range(self.result[1]):
                top, left = (
                    at * stride - pad[0]
                    for at, stride, pad in zip((py, px), self.stride, self.pads, strict=True)
                )
                rows = [r for r in range(top, top + self.size[0] * DH, DH) if 0 <= r < H]
                columns = [c for c in range(left, left + self.size[1] * DW, DW) if 0 <= c < W]
                window = x[:, rows][:, :, columns]
                if self.is_max:
                    result[:, py, px] = window.max(axis=(1, 2), initial=LOW)
                    continue
                total = (window - self.fill).sum(axis=(1, 2)) * 256
                pixels = len(rows) * len(columns)
                if self.count_padding:
                    pixels = min(H + self.pads[0][1] - top, self.size[0])
                    pixels *= min(W + self.pads[1][1] - left, self.size[1])
                result[:, py, px] = np.sign(total) * (np.abs(total) // pixels)
        return result if self.outer is None else self.outer.run(result)


@dataclass(eq=False, kw_only=True)
class Lookup(Op):
    """A table of 256 results, starting with that of -128."""

    table: Integers

    def run(self, x: Integers) -> Integers:
        """Return the output (N, H, W, C)."""
        return self.table[x - LOW]


@dataclass(eq=False, kw_only=True)
class Scores(Op):
    """Scores of int8: ``(q - zero) * multiplier``, rescaled."""

    zero: int
    outer: Rescale

    @property
    def wide(self) -> bool:
        """True, because the outputs are int32 scores."""
        return True

    def run(self, x: Integers) -> Integers:
        """Return the output (N, H, W, C)."""
        return self.outer.run(x - self.zero)


@dataclass(eq=False, kw_only=True)
class Distances(Op):
    """Squared distances from codes (O, F), rescaled."""

    codes: Integers
    outer: Rescale

    @property
    def wide(self) -> bool:
        """True if the outputs are int32 scores."""
        return self.outer.table is None and self.outer.high > HIGH

    def run(self, x: Integers) -> Integers:
        """Return the output (N, H, W, C)."""
        apart = x.reshape(len(x), 1, -1) - self.codes
        return self.outer.run((apart**2).sum(axis=2)).reshape(len(x), *self.result)


@dataclass(eq=False, kw_only=True)
class Reorder(Op):
    """Conversion of a tensor (H, W, C) to features in the order (C, H, W) of lenet5c's layers."""

    def run(self, x: Integers) -> Integers:
        """Return the output (N, 1, 1, C * H * W)."""
        return x.reshape(len(x), *self.shape).transpose(0, 3, 1, 2).reshape(len(x), *self.result)


@dataclass(eq=False, kw_only=True)
class Add(Op):
    """Sum of the results of two possibly empty chains of ops, for a residual block.

    ``clip((a * multipliers[0] + b * multipliers[1] + offset) >> shift, -128, 127)``
    """

    multipliers: tuple[int, int]
    offset: int
    shift: int

    def run(self, x: Integers) -> Integers:
        """Return the output (N, H, W, C)."""
        a, b = (run_ops(branch, x) for branch in self.branches)
        total = a * self.multipliers[0] + b.reshape(a.shape) * self.multipliers[1] + self.offset
        return np.clip(total >> self.shift, LOW, HIGH)


def channels_last(x: NDArray[Any]) -> NDArray[Any]:
    """Return maps (N, C, H, W) as (N, H, W, C), and features unchanged."""
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def run_ops(ops: list[Op], x: Integers) -> Integers:
    """Return the output of a chain of ops."""
    for op in ops:
        x = op.run(x)
    return x


@dataclass(eq=False)
class IntegerModel:
    """A model with int8 weights and activations, created by `quantize_int8`.

    Attributes
    ----------
    ops : list of Op
    network : Network
        The original model.
    scaling : Scaling
        Scaling of the input.
    shape : tuple of int
        Height, width and channels of the input.
    pixels : Rescale or None
        Rescaling of a pixel times its scale plus `offsets`, if a mean image is subtracted.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.export import quantize_int8
    >>> from lenet5c.training import open_model
    >>> train, test = mnist()
    >>> small = quantize_int8(open_model(), train.images[:100])
    >>> small.predict(test.images[:3])
    array([7, 2, 1])
    >>> small.scores(test.images[:1]).dtype
    dtype('int32')
    """

    ops: list[Op]
    network: Network
    scaling: Scaling
    shape: tuple[int, int, int]
    pixels: Rescale | None = None
    offsets: Integers | None = None
    score_bits: int = SCORE_BITS

    def inputs(self, x: NDArray[Any]) -> Integers:
        """Return the net's input (N, H, W, C) for uint8 images, or prepared floats."""
        if self.network.trained is None:
            return self.scaling.values(channels_last(x)).reshape(len(x), *self.shape)
        fitted = np.asarray(self.network.trained.preparation.fit_images(x))
        fitted = channels_last(fitted).astype(np.int64)
        if self.pixels is None or self.offsets is None:
            return fitted + LOW
        scaled = (fitted * self.pixels.multiplier + self.offsets) >> self.pixels.shift
        return np.clip(scaled, LOW, HIGH)

    def compute_scores(self, inputs: Integers) -> NDArray[np.int32]:
        """Return the scores (N, classes) of inputs (N, H, W, C)."""
        return run_ops(self.ops, inputs).reshape(len(inputs), -1).astype(np.int32)

    def scores(self, images: NDArray[Any]) -> NDArray[np.int32]:
        """Return the scores (N, classes), logits in units of ``2.0 ** -score_bits``."""
        trained = self.network.trained
        images = np.asarray(images) if trained is None else trained.as_images(images)
        starts = range(0, len(images), BLOCK)
        parts = [self.compute_scores(self.inputs(images[i : i + BLOCK])) for i in starts]
        return np.concatenate(parts)

    def logits(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the logits (N, classes) represented by the scores."""
        return np.ldexp(self.scores(images), -self.score_bits).astype(np.float32)

    @property
    def exponent(self) -> int:
        """Factor of a score in the exponent of its probability, a power of two."""
        return round(2.0 ** (32 - self.score_bits) / (np.log(2.0) * self.network.temperature))

    def softmax(self, scores: NDArray[np.int32]) -> NDArray[np.uint16]:
        """Return probabilities (N, classes) in units of 1/65535, at the model's temperature."""
        wide = scores.astype(np.int64)
        z = (wide.max(axis=1, keepdims=True) - wide) * self.exponent >> 16
        f, (a, b, c) = z & 65535, EXPONENTIAL
        mantissa = 65536 - ((a - ((b - (c * f >> 16)) * f >> 16)) * f >> 16)
        parts = np.minimum(mantissa >> np.minimum(z >> 16, 32), 65535)
        return (parts * 65535 // parts.sum(axis=1, keepdims=True)).astype(np.uint16)

    def probabilities(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return probabilities (N, classes), at the model's temperature."""
        return self.softmax(self.scores(images)).astype(np.float32) / np.float32(65535)

    def predict(self, images: NDArray[Any]) -> NDArray[np.int64]:
        """Return the predicted label of each image (N,)."""
        return self.scores(images).argmax(axis=1)
