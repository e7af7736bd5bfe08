"""Conversion of a float model to an integer model, with calibration images."""

from dataclasses import replace
from math import ceil, log2, prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenet5c import nn
from lenet5c.export.c_stages import Stage, group_stages
from lenet5c.export.errors import ExportError
from lenet5c.export.integer import (
    HIGH,
    LOW,
    SCORE_BITS,
    Add,
    Distances,
    IntegerModel,
    Lookup,
    Op,
    Pool,
    Rescale,
    Scaling,
    Scores,
    Sums,
    channels_last,
    rescale_by,
)
from lenet5c.export.integer_parts import (
    ELEMENTWISE,
    INT32,
    Floats,
    Tensor,
    Units,
    apply_steps,
    arrange_weight,
    channels_last_shape,
    largest_sums,
    layer_floats,
    reorder,
    round_sums,
    row_gap,
    split_stage,
    table_of_int8,
    through_table,
)
from lenet5c.export.network import Network, Step, fold_batch_norm, refuse_ensembles, to_network
from lenet5c.training import TrainedModel

#: Methods to determine the range of a tensor.
RANGES = ("mse", "minmax")
#: Default number of calibration images.
IMAGES = 1000
#: Maximum number of values of a tensor to determine its range.
SAMPLE = 200_000


def quantize_int8(
    model: TrainedModel | nn.Sequential,
    images: ArrayLike,
    *,
    ranges: str = "mse",
    input_shape: tuple[int, ...] | None = None,
) -> IntegerModel:
    """Quantize the weights and activations of a model to int8, as computed by an int8 C file.

    Weights have a scale for each output channel, activations a scale and a zero point for each
    tensor. Sums are int32.

    Parameters
    ----------
    model : TrainedModel or lenet5c.nn.Sequential
    images : array_like
        Training images to determine the ranges of activations: uint8 images, or inputs (N, ...) for
        a `Sequential`.
    ranges : {'mse', 'minmax'}, optional
        Range of a tensor: the one with the minimum mean squared error, or the range of all values.
    input_shape : tuple of int, optional
        Shape of one sample, for a `Sequential` without an input shape.

    Returns
    -------
    IntegerModel

    Raises
    ------
    ExportError
        If a layer has no counterpart, or an activation is not finite.
    ValueError
        If `images` is empty, or `ranges` is invalid.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.export import quantize_int8
    >>> from lenet5c.training import open_model
    >>> train, test = mnist()
    >>> small = quantize_int8(open_model(), train.images[:300])
    >>> alike = small.predict(test.images[:500]) == open_model().predict(test.images[:500])
    >>> bool(alike.mean() > 0.99)
    True
    """
    if ranges not in RANGES:
        raise ValueError(f"ranges must be one of {', '.join(RANGES)}, got {ranges!r}")
    net = to_network(model, input_shape)
    refuse_ensembles(net.steps, "be computed in int8", "quantize weights alone")
    if net.trained is None:
        x: Floats = np.asarray(images, np.float32)
    else:
        x = net.trained.preparation(net.trained.as_images(images))
    if len(x) == 0:
        raise ValueError(
            "images must contain at least one image, got none; use a few hundred training images"
        )
    if x.shape[1:] != net.input_shape:
        raise ValueError(f"images must have the input shape {net.input_shape}, got {x.shape[1:]}")
    return _Builder(net, ranges).build(x)


class _Builder:
    def __init__(self, net: Network, ranges: str) -> None:
        self.net, self.ranges = net, ranges
        self.last: Stage | None = None
        self.score_bits = SCORE_BITS

    def build(self, x: Floats) -> IntegerModel:
        net = self.net
        scaling, pixels, offsets = self.input_scaling(x)
        shape = channels_last_shape(net.input_shape)
        stages = group_stages(fold_batch_norm(net.steps))
        stages = [part for stage in stages for part in split_stage(stage)]
        if not stages:
            raise ExportError(
                "model must have at least one layer that computes something, got none"
            )
        self.last = stages[-1]
        ops, tensor = self.chain(stages, Tensor(x, scaling, shape))
        if not ops[-1].wide:
            flat = len(net.output_shape) == 1 and tensor.shape[2] != prod(tensor.shape)
            if flat:
                ops.append(reorder(tensor.shape))
                tensor = replace(tensor, shape=ops[-1].result)
            outer = self.to_scores(Units(np.array([tensor.scaling.scale]), np.array([256])))
            zero = tensor.scaling.fill
            ops.append(Scores(shape=tensor.shape, result=tensor.shape, zero=zero, outer=outer))
        return IntegerModel(ops, net, scaling, shape, pixels, offsets, self.score_bits)

    def input_scaling(self, x: Floats) -> tuple[Scaling, Rescale | None, Any]:
        """Return the scaling of the input, with one step per gray level if possible."""
        if self.net.trained is None:
            return self.choose(x), None, None
        scale, offset = self.net.scale_and_offset
        if offset.ndim == 0:
            return Scaling(float(scale), LOW - float(offset) / float(scale)), None, None
        scaling = self.choose(x)
        ratio = float(scale) / scaling.scale
        pixels = rescale_by(ratio)
        # Pixels, multiplier and offset fit in 32 bits.
        shift = min(pixels.shift, 20 - ceil(log2(max(ratio, 1e-6))))
        pixels = Rescale(np.rint([np.ldexp(ratio, shift)]).astype(np.int64), shift)
        numbers = channels_last(offset[np.newaxis])[0].astype(np.float64)
        offsets = np.rint(np.ldexp(numbers / scaling.scale + scaling.zero + 0.5, shift))
        if np.abs(offsets).max() + 256 * pixels.multiplier.max() >= INT32:
            raise ExportError(
                "mean_image must lie within the range of the images for int8; use "
                "quantize='weights'"
            )
        return scaling, pixels, offsets.astype(np.int64)

    def choose(self, numbers: Floats) -> Scaling:
        """Return the scaling of a tensor, which represents 0 exactly."""
        flat = numbers.reshape(-1).astype(np.float64)
        if not np.isfinite(flat).all():
            raise ExportError("activations must be finite, got NaN or infinity; check the images")
        low, high = min(flat.min(), 0.0), max(flat.max(), 0.0)
        if low == high:
            return Scaling(1.0, float(LOW) if low == 0 else 0.0)
        flat = flat[:: max(1, len(flat) // SAMPLE)]

        def scaling(share: float) -> Scaling:
            scale = share * (high - low) / (HIGH - LOW)
            zero = np.clip(np.rint(LOW - share * low / scale), LOW, HIGH)
            return Scaling(scale, float(zero))

        def error(share: float) -> float:
            made = scaling(share)
            return float(((made.numbers(made.values(flat)) - flat) ** 2).mean())

        shares = np.linspace(0.3, 1.0, 36) if self.ranges == "mse" else [1.0]
        return scaling(min(shares, key=error))

    def chain(self, stages: list[Stage], tensor: Tensor) -> tuple[list[Op], Tensor]:
        """Return the ops of stages and their output for a tensor."""
        ops: list[Op] = []
        for stage in stages:
            step = stage.main
            features = len(step.shape) == 1 and tensor.floats.ndim == 4
            if features:
                floats = tensor.floats.reshape(len(tensor.floats), -1)
                tensor = replace(tensor, floats=floats)
                absorbs = step.kind == "Linear" or step.kind in ELEMENTWISE
                if not absorbs and tensor.shape[2] != prod(tensor.shape):
                    ops.append(reorder(tensor.shape))
                    tensor = replace(tensor, shape=ops[-1].result)
            op, tensor = self.stage(stage, tensor)
            op.name = stage.comment
            ops.append(op)
        return ops, tensor

    def stage(self, stage: Stage, tensor: Tensor) -> tuple[Op, Tensor]:
        """Return the op of a stage and its output for a tensor."""
        kind = stage.main.kind
        if stage.branches:
            return self.add(stage, tensor)
        if kind in ELEMENTWISE:
            floats = apply_steps([stage.main, *stage.before], tensor.floats)
            scaling = self.choose(floats)
            table = table_of_int8([stage.main, *stage.before], tensor.scaling, scaling).table
            assert table is not None
            op = Lookup(shape=tensor.shape, result=tensor.shape, table=table, gap=0)
            return op, Tensor(floats, scaling, tensor.shape)
        if kind in ("MaxPool2d", "AvgPool2d"):
            return self.pool(stage, tensor)
        if kind == "RBF":
            return self.distances(stage, tensor)
        return self.sums(stage, tensor)

    def sums(self, stage: Stage, tensor: Tensor) -> tuple[Op, Tensor]:
        """Return a convolution, a linear layer, or a channelwise op."""
        step, pool = stage.main, stage.pool
        weight, bias, settings = arrange_weight(step, tensor)
        if pool is not None and pool.kind == "Subsample2d":
            # Its factor is multiplied into the weights, its offset into the bias.
            factor = pool.arrays["weight"].astype(np.float64)
            weight = weight * factor.reshape(-1, 1, 1, 1)
            bias = bias * factor + pool.arrays["bias"] / prod(pool.window[0])
        weight, bias, scale = round_sums(weight, bias, tensor.scaling)
        result = channels_last_shape(stage.result)
        op = Sums(shape=tensor.shape, result=result, weight=weight, bias=bias, **settings)
        units = Units(scale, largest_sums(op))
        op.fill = tensor.scaling.fill
        op.multiply_adds = weight.size * prod(op.grid)
        plain = layer_floats(step, tensor.floats)
        if pool is None:
            floats = apply_steps(stage.before, plain)
            op.outer, scaling = self.outer(stage, stage.before, units, plain, floats)
        else:
            op.window = pool.window[0]
            op.pool = "max" if pool.kind == "MaxPool2d" else "sum"
            make = self.max_pooled if op.pool == "max" else self.sum_pooled
            floats, scaling = make(op, stage, units, plain)
        if not op.whole:
            positions = prod(op.window) if op.pool else 1
            op.scratch = positions * op.taps
            op.gap = row_gap(op, op.window[0] * op.stride[0], op.pads[0])
        return op, Tensor(floats, scaling, op.result)

    def outer(
        self, stage: Stage, steps: list[Step], units: Units, sums: Floats, floats: Floats
    ) -> tuple[Rescale, Scaling]:
        """Return the rescaling of sums in these units to outputs after activations."""
        if stage is self.last and not steps:
            return self.to_scores(units), Scaling(1.0, 0.0)
        scaling = self.choose(floats)
        if all(step.kind == "ReLU" for step in steps):
            return units.rescale(scaling.scale, zero=scaling.fill), scaling
        return through_table(steps, units, sums, scaling), scaling

    def max_pooled(
        self, op: Sums, stage: Stage, units: Units, plain: Floats
    ) -> tuple[Floats, Scaling]:
        """Take the maximum of sums if activations are monotonic, else of outputs."""
        assert stage.pool is not None
        floats = apply_steps(stage.before, plain)
        result = apply_steps(stage.after, layer_floats(stage.pool, floats))
        steps = [*stage.before, *stage.after]
        op.outer, scaling = self.outer(stage, steps, units, plain, result)
        if op.outer.table is not None and (np.diff(op.outer.table) < 0).any():
            op.inner, between = self.outer(stage, stage.before, units, plain, floats)
            op.outer = None
            scaling = between
            if stage.after:
                scaling = self.choose(result)
                op.outer = table_of_int8(stage.after, between, scaling)
        return result, scaling

    def sum_pooled(
        self, op: Sums, stage: Stage, units: Units, plain: Floats
    ) -> tuple[Floats, Scaling]:
        """Add the sums, or 16-bit table entries of each."""
        assert stage.pool is not None
        floats = apply_steps(stage.before, plain)
        pooled = layer_floats(stage.pool, floats)
        result = apply_steps(stage.after, pooled)
        count = prod(op.window)
        share = 1 if stage.pool.kind == "Subsample2d" else count
        units = Units(units.of / share, units.largest * count)
        linear = all(step.kind == "ReLU" for step in stage.before)
        op.floor = bool(linear and stage.before)
        if not linear or units.largest.max() > INT32:
            wide = Scaling((float(np.abs(floats).max()) or 1.0) / 32767, 0.0)
            each = Units(units.of * share, largest_sums(op))
            op.inner = each.rescale(wide.scale, low=-32768, high=32767)
            if not linear:
                op.inner = through_table(stage.before, each, plain, wide, -32768, 32767)
            units = Units(np.array([wide.scale / share]), np.array([32768 * count]))
        op.outer, scaling = self.outer(stage, stage.after, units, pooled, result)
        return result, scaling

    def to_scores(self, units: Units) -> Rescale:
        """Return the rescaling of sums in these units to scores; penalties are negated."""
        self.score_bits = min(SCORE_BITS, 30 - ceil(log2((units.of * units.largest).max())))
        step = 2.0**-self.score_bits * (-1 if self.net.negated else 1)
        return units.rescale(step, low=-INT32, high=INT32)

    def pool(self, stage: Stage, tensor: Tensor) -> tuple[Op, Tensor]:
        """Return a separate pooling op and its output for a tensor."""
        step, layer = stage.main, stage.main.layer
        is_max = step.kind == "MaxPool2d"
        size, stride, (top, _) = step.window
        pooled = layer_floats(step, tensor.floats)
        floats = apply_steps(stage.before, pooled)
        fill, scale = tensor.scaling.fill, tensor.scaling.scale
        op = Pool(
            shape=tensor.shape,
            result=channels_last_shape(step.result),
            is_max=is_max,
            size=size,
            stride=stride,
            pads=step.pads,
            dilation=step.dilation,
            count_padding=bool(getattr(layer, "count_include_pad", False)),
            fill=fill,
        )
        op.gap = row_gap(op, stride[0], top)
        if is_max:
            scaling = tensor.scaling
            if stage.before:
                scaling = self.choose(floats)
                op.outer = table_of_int8(stage.before, tensor.scaling, scaling)
        else:
            units = Units(np.array([scale / 256]), np.array([256 * 256]))
            op.outer, scaling = self.outer(stage, stage.before, units, pooled, floats)
        return op, Tensor(floats, scaling, op.result)

    def distances(self, stage: Stage, tensor: Tensor) -> tuple[Op, Tensor]:
        """Return the op of squared distances from codes and its output for a tensor."""
        codes = tensor.scaling.values(stage.main.arrays["codes"], -32768, 32767)
        largest = codes.shape[1] * (int(np.abs(codes).max()) + 128) ** 2
        if largest > INT32:
            raise ExportError(
                "codes of RBF must lie within the range of its inputs for int8; use "
                "quantize='weights'"
            )
        floats = layer_floats(stage.main, tensor.floats)
        units = Units(np.array([tensor.scaling.scale**2]), np.array([largest]))
        result = (1, 1, len(codes))
        outer, scaling = self.outer(stage, stage.before, units, floats, floats)
        op = Distances(shape=tensor.shape, result=result, codes=codes, outer=outer)
        return op, Tensor(floats, scaling, result)

    def add(self, stage: Stage, tensor: Tensor) -> tuple[Op, Tensor]:
        """Return the op of a residual block and its output for a tensor."""
        last, self.last = self.last, None  # a branch has no scores
        (layers, a), (shortcut, b) = (
            self.chain([part for each in branch for part in split_stage(each)], tensor)
            for branch in stage.branches
        )
        self.last = last
        other = b.floats.reshape(a.floats.shape)
        floats = a.floats + other
        scaling = self.choose(floats)
        ratios = [a.scaling.scale / scaling.scale, b.scaling.scale / scaling.scale]
        shift = min(20, 21 - ceil(log2(max(ratios))))
        first, second = (int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios)
        zeros = first * a.scaling.zero + second * b.scaling.zero
        offset = int(np.rint(np.ldexp(scaling.zero + 0.5, shift) - zeros))
        op = Add(
            shape=tensor.shape,
            result=a.shape,
            branches=(layers, shortcut),
            multipliers=(first, second),
            offset=offset,
            shift=shift,
            gap=0,
        )
        return op, Tensor(floats, scaling, a.shape)
