"""Parts of integer models: layers as sums, tables and scalings."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.export.activations import ACTIVATIONS
from lenet5c.export.c_stages import Stage
from lenet5c.export.errors import ExportError
from lenet5c.export.integer import HIGH, LOW, Op, Reorder, Rescale, Scaling, Sums, rescale_by
from lenet5c.export.network import Step
from lenet5c.export.quantization import make_layer, quantize

Floats = NDArray[np.floating]
#: Number of entries in the table of an activation after sums.
TABLE = 1024
#: Maximum number of sums pooled together; larger windows are pooled from int8.
MAX_POSITIONS = 16
#: Maximum sum.
INT32 = 2**31 - 1
#: Layers whose int8 outputs are table lookups.
ELEMENTWISE = tuple(ACTIVATIONS)


@dataclass(frozen=True, eq=False)
class Tensor:
    """Activations of the calibration images, as floats, with their int8 scaling."""

    floats: Floats
    scaling: Scaling
    shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Units:
    """Numbers represented by a sum of 1, and bounds of the sums."""

    of: Floats
    largest: NDArray[Any]

    def rescale(self, step: float, **settings: Any) -> Rescale:
        """Return the rescaling of the sums to values of this step."""
        ratio = self.of / step
        if (np.abs(ratio) * self.largest).max() >= INT32 - 2**16:
            raise ExportError(
                "activations must have one range for all images for int8; use quantize='weights'"
            )
        return rescale_by(ratio, **settings)


def channels_last_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape of a sample with its channels last; features are one pixel."""
    if len(shape) == 1:
        return (1, 1, shape[0])
    C, H, W = shape
    return (H, W, C)


def reorder(shape: tuple[int, int, int]) -> Reorder:
    """Return the op that converts maps to features in the order of lenet5c's layers."""
    return Reorder(name="flatten", shape=shape, result=(1, 1, prod(shape)))


def split_stage(stage: Stage) -> list[Stage]:
    """Split a stage so that its sums can be pooled."""
    pool = stage.pool
    if pool is None:
        return [stage]
    wide = prod(pool.window[0]) > MAX_POSITIONS
    if wide or (pool.kind == "Subsample2d" and stage.before):
        return [replace(stage, pool=None, after=[]), Stage(pool, before=stage.after)]
    return [stage]


def arrange_weight(step: Step, tensor: Tensor) -> tuple[Floats, Floats, dict[str, Any]]:
    """Return weight (O, KH, KW, I), bias (O,) and settings of a step as a convolution."""
    H, W, C = tensor.shape
    if step.kind == "BatchNorm":
        scale, shift = step.arrays["scale"], step.arrays["shift"]
        return scale.reshape(-1, 1, 1, 1), shift, {"groups": C, "grid": (H, W)}
    weight, bias = (step.arrays[name].astype(np.float64) for name in ("weight", "bias"))
    if step.kind == "Linear":
        # Its features may be maps.
        channels_first = weight.reshape(len(weight), C, H, W)
        return channels_first.transpose(0, 2, 3, 1), bias, {}
    size, stride, pads = step.window
    settings = {"grid": step.result[1:], "stride": stride, "pads": pads}
    if step.kind == "Subsample2d":
        factors = np.broadcast_to(weight.reshape(-1, 1, 1, 1), (C, *size, 1))
        return factors, bias, settings | {"groups": C}
    groups = step.layer.groups
    settings |= {"dilation": step.dilation, "groups": groups}
    return weight.transpose(0, 2, 3, 1), bias, settings


def round_sums(weight: Floats, bias: Floats, scaling: Scaling) -> tuple[Any, Any, Floats]:
    """Return integer weight and bias, and the numbers represented by a sum of 1 (O,)."""
    values, scale = quantize(weight, least=np.abs(bias) / (scaling.scale * 2**29))
    units = scale.astype(np.float64) * scaling.scale
    totals = values.reshape(len(values), -1).sum(axis=1, dtype=np.int64)
    whole = np.rint(bias / units - scaling.zero * totals).astype(np.int64)
    made = values.astype(np.int64), whole
    if np.abs(made[0]).reshape(len(whole), -1).sum(axis=1).max() * 128 > 2**30:
        raise ExportError(
            f"layers must have at most 66,000 products per sum for int8, got {values[0].size:,}; "
            f"use "
            "quantize='weights'"
        )
    return *made, units


def largest_sums(op: Sums) -> NDArray[np.int64]:
    """Return bounds of the absolute values of sums (O,)."""
    products = np.abs(op.weight).reshape(len(op.weight), -1).sum(axis=1) * 128
    return products + np.abs(op.bias)


def layer_floats(step: Step, x: Floats) -> Floats:
    """Return the outputs of a step for its inputs."""
    # A convolution as large as its maps is exported as a linear layer.
    shape = (prod(step.shape),) if step.kind == "Linear" else step.shape
    return make_layer(step).forward(x.reshape(len(x), *shape)).reshape(len(x), *step.result)


def apply_steps(steps: list[Step], x: Floats) -> Floats:
    """Return the outputs of activations."""
    for step in steps:
        x = step.layer.forward(x)
    return x


def through_table(
    steps: list[Step],
    units: Units,
    sums: Floats,
    scaling: Scaling,
    low: int = LOW,
    high: int = HIGH,
) -> Rescale:
    """Return the rescaling of sums to outputs by a table of activations."""
    first, last = float(sums.min()), float(sums.max())
    spread = (last - first) or 1.0
    # Sums of other images may exceed the range.
    first, last = first - 0.1 * spread, last + 0.1 * spread
    step = (last - first) / (TABLE - 1)
    zero = int(np.rint(-first / step))
    numbers = step * (np.arange(TABLE) - zero)
    table = scaling.values(apply_steps(steps, numbers.astype(np.float32)[np.newaxis])[0], low, high)
    return units.rescale(step, zero=zero, low=0, high=TABLE - 1, table=table)


def table_of_int8(steps: list[Step], before: Scaling, after: Scaling) -> Rescale:
    """Return the table of activations for int8."""
    numbers = before.numbers(np.arange(LOW, HIGH + 1)).astype(np.float32)
    return rescale_by(1.0, table=after.values(apply_steps(steps, numbers[np.newaxis])[0]))


def row_gap(op: Op, rows: int, top: int) -> int:
    """Return the minimum distance of an output before its input in memory, if written row by row.

    Each row of the output needs `rows` new rows of the input.
    """
    (H, W, C), (OH, OW, O) = op.shape, op.result
    read = [max(0, min(H, py * rows - top)) * W * C for py in range(OH)]
    written = [(py + 1) * OW * O for py in range(OH)]
    return max(0, *(end - start for end, start in zip(written, read, strict=True)))
