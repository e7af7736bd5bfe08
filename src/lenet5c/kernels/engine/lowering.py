"""Lowering of layers to the plan of a program: fusion of ops, and memory in the arena."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from math import prod

from lenet5c.kernels.engine._program import LINEAR_OUTPUTS
from lenet5c.kernels.engine._program import TILE_LANES as LANES
from lenet5c.kernels.engine.branches import Add, Branch, Turn, lower_chain
from lenet5c.kernels.engine.ops import (
    Activation,
    AvgPool2d,
    Conv2d,
    Linear,
    MaxPool2d,
    Op,
    Pool2d,
    Rbf,
    Shape,
    Summed,
    Weighted,
)
from lenet5c.kernels.engine.sample_lowering import SampleLowering, SamplePlan
from lenet5c.kernels.engine.training_ops import BatchNorm, Dropout
from lenet5c.kernels.shapes import check_elements

SLICE = 4096  # approximate number of parameters whose gradient is summed at a time
MAX_SLICES = 10_000
#: Minimum number of outputs of a part of a convolution with at least this many channels, so that
#: parts and whole use the same algorithm (MIN_CHANNELS, MIN_PRODUCT, SQUARE_CHANNELS in ops/).
SHARED_OUTPUTS, MANY_CHANNELS = 8, 4


@dataclass(eq=False, repr=False)
class Plan:
    """A program's ops and sizes; sizes of samples in values, of arenas and records in floats.

    A slice is (None, start, size, sums): parameters whose gradient is summed in records, from
    `sums` on; or (i, first, count, 0): outputs of the linear op i. Gaps, (start, stop), are
    parameters of no op. For outputs alone, without a gradient, there are `inference_ops`, at the
    same places of the arena. A segment is (first, stop, outputs, least): some of these, whose
    outputs can be shared out, at least so many together; or (i, i + 1, 1, 1). With penalties, the
    class of a sample is where its output is smallest.
    """

    input_shape: Shape
    output_shape: Shape
    ops: list[Op]
    inference_ops: list[Op]
    arena_floats: int
    output: int
    param_extent: int
    first_trainable: int
    sums_floats: int
    slices: list[tuple[int | None, int, int, int]]
    segments: list[tuple[int, int, int, int]]
    gaps: list[tuple[int, int]]
    penalties: bool
    sample: SamplePlan | None
    inference: SamplePlan | None

    @property
    def work(self) -> int:
        """Approximate number of elementary operations per sample, including input and output."""
        return self.input_size + self.output_size + sum(op.work for op in self.ops)

    @property
    def branches(self) -> bool:
        """True if a value goes through several chains of ops."""
        return any(isinstance(op, Branch) for op in self.ops)

    @property
    def input_size(self) -> int:
        return prod(self.input_shape)

    @property
    def output_size(self) -> int:
        return prod(self.output_shape)


def lower(input_shape: Shape, layers: Iterable[Op], definition: bool = False) -> Plan:
    """Return the plan that runs `layers` on samples of `input_shape`, (C, H, W) or (features,)."""
    ops, shape = lower_chain(tuple(input_shape), layers)
    for op in ops:
        if isinstance(op, Conv2d):
            op.definition = definition
    _fuse(ops)
    for number, op in enumerate(op for op in ops if isinstance(op, Dropout)):
        op.draw = number
    end = _place(ops, prod(input_shape) * LANES)
    sums = _place_sums(ops)
    spans = sorted(span for op in ops for span in op.param_ranges)
    extent = max((stop for _, stop in spans), default=0)
    inference_ops = _outputs_only(ops)
    return Plan(
        input_shape=tuple(input_shape),
        output_shape=shape,
        ops=ops,
        inference_ops=inference_ops,
        arena_floats=end,
        output=ops[-1].y if ops else 0,
        param_extent=extent,
        first_trainable=next((i for i, op in enumerate(ops) if isinstance(op, Weighted)), len(ops)),
        sums_floats=sums,
        slices=_slices(ops, max(SLICE, extent // MAX_SLICES)),
        segments=_segments(inference_ops),
        gaps=_gaps(spans),
        penalties=bool(ops) and isinstance(ops[-1], Rbf),
        sample=SampleLowering(tuple(input_shape), ops, inference=False).plan(),
        inference=SampleLowering(tuple(input_shape), ops, inference=True).plan(),
    )


def _fuse(ops: list[Op]) -> None:
    """Let a convolution, linear op or sum rectify its own output, and a convolution pool it.

    So does a batch normalization. A pooling that stays an op of its own masks the gradient for the
    op before it.
    """
    i = 1
    while i < len(ops):
        before, op = ops[i - 1], ops[i]
        i += 1
        if not isinstance(before, (Add, BatchNorm, Conv2d, Linear)) or before.pool:
            continue
        if isinstance(op, Activation) and op.kind == "relu":
            before.relu = before.mask = True
        elif isinstance(op, MaxPool2d) and isinstance(before, (BatchNorm, Conv2d)) and op.halves:
            before.pool, before.out_shape = True, op.out_shape
        elif isinstance(op, AvgPool2d) and isinstance(before, BatchNorm) and op.halves:
            before.pool, before.average, before.out_shape = True, True, op.out_shape
        else:
            if isinstance(op, Pool2d) and not isinstance(before, BatchNorm):
                op.mask, before.mask = before.mask, False
            continue
        i -= 1
        del ops[i]


def _outputs_only(ops: list[Op]) -> list[Op]:
    """Return copies that save nothing for a gradient: a convolution takes in a mean of windows."""
    kept: list[Op] = []
    for op in map(copy, ops):
        before = kept[-1] if kept else None
        # The algorithm for convolutions of one tap does not pool.
        if (
            isinstance(op, AvgPool2d)
            and op.halves
            and isinstance(before, Conv2d)
            and not before.pool
            and before.kernel_size != (1, 1)
        ):
            before.pool = before.average = True
            before.out_shape, before.y = op.out_shape, op.y
            continue
        if isinstance(op, Conv2d):
            op.outputs_only = True
        kept.append(op)
    return kept


def _place(ops: list[Op], end: int) -> int:
    """Assign places in the arena, whose first `end` floats are the input; return the size.

    An activation, dropout or sum overwrites its input, unless something else still needs that:
    the program, another chain, its own gradient, or that of an op that looks at its output.
    """
    at = 0
    for i, op in enumerate(ops):
        before = ops[i - 1] if i > 0 else None
        if isinstance(op, Turn):
            op.end, at = at, op.fork.x
            op.other = op.fork.other = end
            end += prod(op.in_shape) * LANES
        op.x = op.y = at
        if isinstance(op, Branch):
            continue
        spare = before and not isinstance(before, Branch)
        spare = spare and not before.reads_output and not op.reads_input
        # The gradient of a sum with x itself is needed by the fork, so it must not be overwritten.
        if isinstance(op, Add) and not op.turn and isinstance(before, Dropout):
            spare = spare and before.x != before.y
        if not (isinstance(op, (Activation, Add, Dropout)) and spare):
            op.y = end
            end += check_elements("an activation", (*op.out_shape, LANES))
        if isinstance(op, Add):
            op.other = op.turn.end if op.turn else op.fork.x
            if not op.turn:
                op.fork.other = op.y
        if isinstance(op, (Conv2d, BatchNorm)) and op.pool:
            op.argmax = end
            end += (
                prod(op.out_shape) * LANES * (2 if isinstance(op, BatchNorm) and op.average else 1)
            )
        if isinstance(op, (BatchNorm, Dropout)):
            op.given = end
            end += op.given_floats
        at = op.y
    return check_elements("the activations of a tile", (end,))


def _place_sums(ops: list[Op]) -> int:
    """Assign the places of sums in a record; return the total number of floats."""
    end = 0
    for op in ops:
        if isinstance(op, Summed):
            op.dweight, op.dbias = end, end + op.sums
            end = op.dbias + (0 if op.bias is None else op.out_shape[0])
    return end


def _slices(ops: list[Op], most: int) -> list[tuple[int | None, int, int, int]]:
    """Return ranges of about `most` parameters, in the order of the ops."""
    slices: list[tuple[int | None, int, int, int]] = []
    for i, op in enumerate(ops):
        if isinstance(op, Linear):
            # A multiple of the outputs that the kernel takes at a time.
            count = max(1, most // (LINEAR_OUTPUTS * op.filter_size)) * LINEAR_OUTPUTS
            outputs = op.out_shape[0]
            slices += [
                (i, first, min(count, outputs - first), 0) for first in range(0, outputs, count)
            ]
        elif isinstance(op, Summed):
            for start, stop, sums in op.sum_ranges:
                slices += [
                    (None, at, min(most, stop - at), sums + at - start)
                    for at in range(start, stop, most)
                ]
    return slices or [(None, 0, 0, 0)]


def _segments(ops: list[Op]) -> list[tuple[int, int, int, int]]:
    """Return sequences of ops that a thread can run for some outputs of the first one."""
    segments: list[tuple[int, int, int, int]] = []
    for i, op in enumerate(ops):
        if isinstance(op, (Activation, Pool2d)) and segments and segments[-1][2] > 1:
            first, _, outputs, least = segments[-1]
            segments[-1] = first, i + 1, outputs, least
        elif isinstance(op, Linear):
            segments.append((i, i + 1, op.out_features, 1))
        elif isinstance(op, Conv2d) and op.groups == 1 and op.connections is None:
            # The algorithm of a convolution with few outputs may depend on their number.
            least = SHARED_OUTPUTS if op.in_shape[0] >= MANY_CHANNELS else 1
            segments.append((i, i + 1, op.out_channels, least))
        else:
            segments.append((i, i + 1, 1, 1))
    return segments


def _gaps(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges of parameters that no op reads, before the last one that an op reads."""
    gaps, end = [], 0
    for start, stop in spans:
        if start > end:
            gaps.append((end, start))
        end = max(end, stop)
    return gaps
