"""From a chain of layers to the plan of a program: tile ops, fused where it pays, with their places in the arena.

A layer is described by a plain mapping, so that this package depends on nothing above it:

    {"kind": "conv2d", "out_channels": 6, "kernel_size": (5, 5), "stride": (1, 1), "padding": (0, 0),
     "dilation": (1, 1), "groups": 1, "weight": 0, "bias": 150}
    {"kind": "linear", "out_features": 10, "weight": 156, "bias": None}
    {"kind": "max_pool2d" or "avg_pool2d", "kernel_size", "stride", "padding"[, "count_include_pad"]}
    {"kind": "subsample2d", "kernel_size", "weight": 156, "bias": 162}
    {"kind": "relu" or "sigmoid" or "tanh" or "flatten"}
    {"kind": "scaled_tanh", "amplitude": 1.7159, "slope": 2 / 3}
    {"kind": "rbf", "codes": an array of float32 (classes, features) that keeps its place}

where weight and bias are offsets into the parameter vector. Conv2d takes and gives (C, H, W), linear and rbf
(features,). A conv2d may have "connections", o * C + c of each filter that there is, ascending: its weight has no others.
"""

from dataclasses import dataclass
from math import prod

from lenet5c.kernels.engine.sample_lowering import SampleLowering, SamplePlan
from lenet5c.kernels.shapes import check_elements, conv2d_output_size, pool2d_output_size
from lenet5c.kernels.engine.tile_op import ACTIVATIONS, FILTER_BLOCK, LANES, TileOp

SLICE = 4096  # parameters, about, whose gradient is summed over a batch in one go
MAX_SLICES = 10_000


@dataclass
class Plan:
    """A program's ops and sizes; sizes of samples in values, of arenas and records in floats.

    A slice is (None, start, size, sums): parameters whose gradient is summed in records, from `sums` on; or (i, first,
    count, 0): outputs of the linear op i. Gaps, (start, stop), are parameters of no op. With penalties, the class of a
    sample is where its output is smallest.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    ops: list[TileOp]
    arena_floats: int
    output: int
    param_extent: int
    first_trainable: int
    scratch_floats: int
    sums_floats: int
    saved_floats: int
    slices: list[tuple[int | None, int, int, int]]
    gaps: list[tuple[int, int]]
    penalties: bool
    sample: SamplePlan | None

    @property
    def work(self):
        """About how many elementary operations a sample takes, input and output included."""
        return self.input_size + self.output_size + sum(op.work for op in self.ops)

    @property
    def input_size(self):
        return prod(self.input_shape)

    @property
    def output_size(self):
        return prod(self.output_shape)


def lower(input_shape, layers):
    """The plan that runs `layers` (mappings as above) on samples of `input_shape`, (C, H, W) or (features,)."""
    shape = tuple(input_shape)
    ops = []
    for layer in layers:
        if layer["kind"] == "flatten":
            shape = (prod(shape),)
        else:
            added = _tile_ops(layer, shape)
            shape = added[-1].out_shape[: len(shape)]
            ops += added
    _fuse(ops)
    end = _place(ops, prod(input_shape) * LANES)
    sums, saved = _place_gradients(ops)
    extent = max((op.param_extent for op in ops), default=0)
    trainable = [i for i, op in enumerate(ops) if op.weight is not None]
    return Plan(
        input_shape=tuple(input_shape),
        output_shape=shape,
        ops=ops,
        arena_floats=end,
        output=ops[-1].y if ops else 0,
        param_extent=extent,
        first_trainable=trainable[0] if trainable else len(ops),
        scratch_floats=max((op.scratch_floats for op in ops), default=0),
        sums_floats=sums,
        saved_floats=saved,
        slices=_slices(ops, max(SLICE, extent // MAX_SLICES)),
        gaps=_gaps(ops),
        penalties=bool(ops) and ops[-1].kind == "rbf",
        sample=SampleLowering(tuple(input_shape), ops).plan(),
    )


def _tile_ops(layer, shape):
    kind = layer["kind"]
    if kind == "linear":
        (features,) = shape
        # A filter as wide as the one row it reads.
        return [
            TileOp("linear", (1, 1, features), (layer["out_features"], 1, 1), kernel_size=(1, features),
                   weight=layer["weight"], bias=layer["bias"])
        ]  # fmt: skip
    if kind in ACTIVATIONS:
        whole = shape if len(shape) == 3 else (*shape, 1, 1)
        return [
            TileOp(
                kind,
                whole,
                whole,
                amplitude=layer.get("amplitude", 1.0),
                slope=layer.get("slope", 1.0),
            )
        ]
    if kind == "rbf":
        return [TileOp(kind, (*shape, 1, 1), (len(layer["codes"]), 1, 1), codes=layer["codes"])]
    channels, height, width = shape
    if kind == "conv2d":
        return _convolution(layer, shape)
    if kind == "subsample2d":
        window = layer["kernel_size"]
        size = pool2d_output_size((height, width), window)
        return [
            TileOp(kind, shape, (channels, *size), kernel_size=window, stride=window, groups=channels,
                   weight=layer["weight"], bias=layer["bias"])
        ]  # fmt: skip
    size = pool2d_output_size(
        (height, width), layer["kernel_size"], layer["stride"], layer["padding"]
    )
    return [
        TileOp(kind, shape, (channels, *size), kernel_size=layer["kernel_size"], stride=layer["stride"],
               padding=layer["padding"], count_pad=layer.get("count_include_pad", True))
    ]  # fmt: skip


def _convolution(layer, shape):
    channels, height, width = shape
    window = [layer[name] for name in ("kernel_size", "stride", "padding", "dilation")]
    size = conv2d_output_size((height, width), *window)
    kernel_size, stride, padding, dilation = window
    ops = []
    if any(padding):
        padded = (channels, height + 2 * padding[0], width + 2 * padding[1])
        ops.append(TileOp("pad2d", shape, padded, padding=padding))
        shape = padded
    out_shape = (layer["out_channels"], *size)
    params = {"weight": layer["weight"], "bias": layer["bias"]}
    connections = layer.get("connections")
    if kernel_size == shape[1:] and layer["groups"] == 1 and connections is None:
        # One filter position: a fully connected layer, whose gradient has a better way.
        features = prod(shape)
        ops.append(
            TileOp("linear", (1, 1, features), out_shape, kernel_size=(1, features), **params)
        )
    else:
        ops.append(
            TileOp(
                "conv2d",
                shape,
                out_shape,
                kernel_size,
                stride,
                dilation=dilation,
                groups=layer["groups"],
                connections=connections,
                definition=layer.get("definition", False),
                **params,
            )  # fmt: skip
        )
    return ops


def _fuse(ops):
    """Let a convolution or linear op rectify its own output, and a convolution pool it.

    A pooling that stays an op of its own masks the gradient for the op before it.
    """
    i = 1
    while i < len(ops):
        before, op = ops[i - 1], ops[i]
        is_weighted = before.kind in ("conv2d", "linear") and not before.pool
        if op.kind == "relu" and is_weighted:
            before.relu = before.mask = True
            del ops[i]
        elif before.kind == "conv2d" and not before.pool and _halves(op):
            before.pool, before.out_shape = True, op.out_shape
            del ops[i]
        elif op.kind in ("max_pool2d", "avg_pool2d") and is_weighted and before.mask:
            op.mask, before.mask = True, False
            i += 1
        else:
            i += 1


def _halves(op):
    """Whether an op is LeNet's pooling: 2 x 2 windows that cover the image exactly once."""
    halved = tuple(2 * extent for extent in op.out_shape[1:]) == op.in_shape[1:]
    return (
        op.kind == "max_pool2d"
        and op.kernel_size == op.stride == (2, 2)
        and op.padding == (0, 0)
        and halved
    )


def _place(ops, end):
    """Give each op its place in the arena, whose first `end` floats are the input; returns the arena's size.

    An activation overwrites its input, unless something else still needs that: the input of the program, or an op
    whose gradient looks at its own output.
    """
    at = 0
    for i, op in enumerate(ops):
        before = ops[i - 1] if i > 0 else None
        op.x = at
        if op.kind in ACTIVATIONS and before and not before.needs_output:
            op.y = at
        else:
            op.y = end
            end += check_elements("an activation", (*op.out_shape, LANES))
        if op.pool:
            op.argmax = end
            end += prod(op.out_shape) * LANES
        at = op.y
    return check_elements("the activations of a tile", (end,))


def _place_gradients(ops):
    """Give each op its place in a record; returns the floats of a record's sums, and of what it keeps of a tile."""
    sums = saved = 0
    for op in ops:
        if op.kind in ("conv2d", "subsample2d"):
            dense = op.out_shape[0] * (op.filter_size if op.kind == "conv2d" else 1)
            op.dweight, op.dbias = sums, sums + dense
            sums = op.dbias + (0 if op.bias is None else op.out_shape[0])
        elif op.kind == "linear":
            features, outputs = -(-op.filter_size // LANES) * LANES, op.out_shape[0]
            op.saved_x, op.saved_dy = saved, saved + features * LANES
            saved = op.saved_dy + outputs * LANES
    return sums, saved


def _slices(ops, most):
    """The parameters, cut into ranges of about `most`, in the order of the ops."""
    slices = []
    for i, op in enumerate(ops):
        if op.kind == "linear":
            # A multiple of the outputs that the kernel takes at a time.
            count = max(1, most // (FILTER_BLOCK * op.filter_size)) * FILTER_BLOCK
            outputs = op.out_shape[0]
            slices += [
                (i, first, min(count, outputs - first), 0) for first in range(0, outputs, count)
            ]
        elif op.weight is not None:
            for start, stop, sums in op.sum_ranges:
                slices += [
                    (None, at, min(most, stop - at), sums + at - start)
                    for at in range(start, stop, most)
                ]
    return slices or [(None, 0, 0, 0)]


def _gaps(ops):
    """The ranges of parameters, up to the last that an op reads, that belong to none."""
    gaps, end = [], 0
    for start, stop in sorted(span for op in ops for span in op.param_ranges):
        if start > end:
            gaps.append((end, start))
        end = max(end, stop)
    return gaps
