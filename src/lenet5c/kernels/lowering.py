"""From a chain of layers to the plan of a program: tile ops, fused where it pays, with their places in the arena.

A layer is described by a plain mapping, so that this package depends on nothing above it:

    {"kind": "conv2d", "out_channels": 6, "kernel_size": (5, 5), "stride": (1, 1), "padding": (0, 0),
     "dilation": (1, 1), "groups": 1, "weight": 0, "bias": 150}
    {"kind": "linear", "out_features": 10, "weight": 156, "bias": None}
    {"kind": "max_pool2d" or "avg_pool2d", "kernel_size", "stride", "padding"[, "count_include_pad"]}
    {"kind": "relu" or "sigmoid" or "tanh" or "flatten"}

where weight and bias are offsets into the parameter vector. Conv2d takes and gives (C, H, W), Linear (features,).
"""

from dataclasses import dataclass
from math import prod

from lenet5c.kernels.shapes import check_elements, conv2d_output_size, pool2d_output_size

LANES = 16
ACTIVATIONS = ("relu", "sigmoid", "tanh")


@dataclass
class TileOp:
    """One op on tiles; the fields are those of `Op` in tiles.pxd."""

    kind: str
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    kernel_size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    weight: int | None = None
    bias: int | None = None
    relu: bool = False
    gate: bool = False
    count_pad: bool = False
    x: int = 0
    y: int = 0

    @property
    def param_extent(self):
        """One past the last parameter that the op reads."""
        if self.weight is None:
            return 0
        out_channels = self.out_shape[0]
        end = self.weight + out_channels * (self.in_shape[0] // self.groups) * prod(self.kernel_size)
        return end if self.bias is None else max(end, self.bias + out_channels)


    @property
    def work(self):
        """About how many elementary operations a sample takes."""
        taps = prod(self.kernel_size)
        if self.weight is not None:
            taps *= self.in_shape[0] // self.groups
        return prod(self.out_shape) * taps


@dataclass
class Plan:
    """A program's ops and sizes; sizes of samples in values, of the arena in floats."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    ops: list[TileOp]
    arena_floats: int
    output: int
    param_extent: int
    first_trainable: int

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
    _fuse_relu(ops)
    end = _place(ops, prod(input_shape) * LANES)
    trainable = [i for i, op in enumerate(ops) if op.weight is not None]
    return Plan(
        input_shape=tuple(input_shape),
        output_shape=shape,
        ops=ops,
        arena_floats=end,
        output=ops[-1].y if ops else 0,
        param_extent=max((op.param_extent for op in ops), default=0),
        first_trainable=trainable[0] if trainable else len(ops),
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
        return [TileOp(kind, whole, whole)]
    channels, height, width = shape
    if kind == "conv2d":
        return _convolution(layer, shape)
    size = pool2d_output_size((height, width), layer["kernel_size"], layer["stride"], layer["padding"])
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
    if kernel_size == shape[1:] and layer["groups"] == 1:
        # One filter position: a fully connected layer, whose gradient has a better way.
        features = prod(shape)
        ops.append(TileOp("linear", (1, 1, features), out_shape, kernel_size=(1, features), **params))
    else:
        ops.append(
            TileOp("conv2d", shape, out_shape, kernel_size, stride, dilation=dilation, groups=layer["groups"], **params)
        )
    return ops


def _fuse_relu(ops):
    """Let a convolution or linear op rectify its own output, and a max pooling behind it gate the gradient."""
    i = 1
    while i < len(ops):
        before, op = ops[i - 1], ops[i]
        if op.kind == "relu" and before.kind in ("conv2d", "linear"):
            before.relu = before.gate = True
            del ops[i]
        elif op.kind == "max_pool2d" and before.gate and before.kind in ("conv2d", "linear"):
            op.gate, before.gate = True, False
            i += 1
        else:
            i += 1


def _place(ops, end):
    """Give each op its place in the arena, whose first `end` floats are the input; returns the arena's size.

    An activation overwrites its input, unless something else still needs that: the input of the program, or an op
    whose gradient looks at its own output.
    """
    at = 0
    for i, op in enumerate(ops):
        before = ops[i - 1] if i > 0 else None
        op.x = at
        if op.kind in ACTIVATIONS and before and before.kind not in (*ACTIVATIONS, "max_pool2d") and not before.relu:
            op.y = at
        else:
            op.y = end
            end += check_elements("an activation", (*op.out_shape, LANES))
        at = op.y
    return check_elements("the activations of a tile", (end,))
