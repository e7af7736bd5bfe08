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
(features,). A conv2d may have "links", o * C + c of each filter that there is, ascending: its weight has no others.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from lenet5c.kernels.shapes import MAX_ELEMENTS, check_elements, conv2d_output_size, pool2d_output_size

LANES = 16
FILTER_BLOCK = 6  # output channels whose filters a convolution lays out side by side
SLICE = 4096  # parameters, about, whose gradient is summed over a batch in one go
MAX_SLICES = 10_000
WINOGRAD_TERMS = 6
WINOGRAD_FLOATS = 1 << 17  # of a group's transformed input: more would not stay in a core's second-level cache
MOST_STRIDE = 4  # vertical times horizontal, for a sample by itself
ACTIVATIONS = ("relu", "sigmoid", "tanh", "scaled_tanh")


@dataclass
class TileOp:
    """One op on tiles; the fields are those of `Op` in tiles.pxd. out_shape is that of what leaves the op.

    With `definition` a convolution is summed as it is defined: terms that are not negative have such a sum then.
    """

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
    links: Any = None
    codes: Any = None
    amplitude: float = 1.0
    slope: float = 1.0
    relu: bool = False
    gate: bool = False
    pool: bool = False
    count_pad: bool = False
    definition: bool = False
    x: int = 0
    y: int = 0
    choice: int = 0
    dweight: int = 0
    dbias: int = 0
    kept_x: int = 0
    kept_dy: int = 0

    @property
    def inner_shape(self):
        """The output before a pooling that is part of the op."""
        channels, height, width = self.out_shape
        return (channels, 2 * height, 2 * width) if self.pool else self.out_shape

    @property
    def filter_size(self):
        return self.in_shape[0] // self.groups * prod(self.kernel_size)

    @property
    def param_extent(self):
        """One past the last parameter that the op reads."""
        if self.weight is None:
            return 0
        return max(stop for _, stop in self.param_ranges)

    @property
    def param_ranges(self):
        """(start, stop) of the weight, and of the bias if there is one."""
        if self.weight is None:
            return []
        ranges = [(self.weight, self.weight + self.weight_size)]
        return ranges if self.bias is None else [*ranges, (self.bias, self.bias + self.out_shape[0])]

    @property
    def weight_size(self):
        if self.kind == "subsample2d":
            return self.out_shape[0]
        if self.links is not None:
            return len(self.links) * prod(self.kernel_size)
        return self.out_shape[0] * self.filter_size

    @property
    def sum_ranges(self):
        """(start, stop, sums): ranges of parameters, and where a record has the sums of their gradients.

        A record has them for all filters, links or not; filters that are neighbours in both make one range.
        """
        ranges, size = [], prod(self.kernel_size)
        if self.links is None:
            ranges.append((self.weight, self.weight + self.weight_size, self.dweight))
        for i, link in enumerate(self.links if self.links is not None else ()):
            start, sums = self.weight + i * size, self.dweight + int(link) * size
            if ranges and ranges[-1][1] - ranges[-1][0] == sums - ranges[-1][2]:
                ranges[-1] = (ranges[-1][0], start + size, ranges[-1][2])
            else:
                ranges.append((start, start + size, sums))
        return ranges if self.bias is None else [*ranges, (self.bias, self.bias + self.out_shape[0], self.dbias)]

    @property
    def winograd(self):
        """Whether a convolution goes by winograd.pxi: rows of five taps, enough channels to share the transforms."""
        channels, height, _ = self.in_shape
        _, _, width = self.inner_shape
        return (
            self.kind == "conv2d" and not self.definition
            and self.kernel_size[1] == 5 and self.stride == (1, 1) and self.dilation[1] == 1
            and width % 2 == 0 and channels // self.groups >= 4 and self.out_shape[0] // self.groups >= 4
            and WINOGRAD_TERMS * channels // self.groups * height * width // 2 * LANES <= WINOGRAD_FLOATS
        )  # fmt: skip

    @property
    def scratch_floats(self):
        """What the op needs of a thread's scratch, the same forward and backward."""
        if self.kind != "conv2d":
            return FILTER_BLOCK * self.filter_size if self.kind == "linear" and self.out_shape[2] > 1 else 0
        spread = 0 if self.links is None else self.out_shape[0] * self.filter_size
        outputs, rows, width = self.inner_shape
        unpooled = outputs * rows * width * LANES if self.pool else 0
        if self.winograd:
            terms = WINOGRAD_TERMS * (width // 2) * LANES
            filters = outputs * self.filter_size // 5 * WINOGRAD_TERMS
            return spread + unpooled + terms * (self.in_shape[0] * self.in_shape[1] + outputs * rows) + filters
        filters = FILTER_BLOCK * self.filter_size
        return spread + max(filters + (FILTER_BLOCK * 2 * width * LANES if self.pool else 0), unpooled)

    @property
    def work(self):
        """About how many elementary operations a sample takes."""
        taps = prod(self.kernel_size) if self.weight is None else self.filter_size
        return prod(self.inner_shape) * taps


@dataclass
class SampleStep:
    """One step of the way that a sample by itself takes; the fields are those of `Step` in sample.pxi.

    kind is 'tile' for the tile kernel of `op`, whose lanes are channels then; or 'conv2d', 'linear', 'pad2d',
    'subsample2d', 'rbf', or 'abreast' and 'plain', which change between (C, H, W) and (C / 16, H, W, 16). x and y are
    offsets into an arena, packed into the filters as the way lays them out, training into what its gradients take.
    """

    kind: str
    op: TileOp
    x: int
    y: int
    abreast: bool = False
    packed: int = 0
    training: int = 0


@dataclass
class SamplePlan:
    steps: list[SampleStep]
    output: int
    arena_floats: int
    packed_floats: int
    training_floats: int
    first_trainable: int


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
    kept_floats: int
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
    sums, kept = _place_gradients(ops)
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
        kept_floats=kept,
        slices=_slices(ops, max(SLICE, extent // MAX_SLICES)),
        gaps=_gaps(ops),
        penalties=bool(ops) and ops[-1].kind == "rbf",
        sample=_SampleLowering(tuple(input_shape), ops).plan(),
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
        return [TileOp(kind, whole, whole, amplitude=layer.get("amplitude", 1.0), slope=layer.get("slope", 1.0))]
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
    links = layer.get("links")
    if kernel_size == shape[1:] and layer["groups"] == 1 and links is None:
        # One filter position: a fully connected layer, whose gradient has a better way.
        features = prod(shape)
        ops.append(TileOp("linear", (1, 1, features), out_shape, kernel_size=(1, features), **params))
    else:
        ops.append(
            TileOp("conv2d", shape, out_shape, kernel_size, stride, dilation=dilation, groups=layer["groups"],
                   links=links, definition=layer.get("definition", False), **params)  # fmt: skip
        )
    return ops


def _fuse(ops):
    """Let a convolution or linear op rectify its own output, and a convolution pool it.

    A pooling that stays an op of its own gates the gradient for the op before it.
    """
    i = 1
    while i < len(ops):
        before, op = ops[i - 1], ops[i]
        is_weighted = before.kind in ("conv2d", "linear") and not before.pool
        if op.kind == "relu" and is_weighted:
            before.relu = before.gate = True
            del ops[i]
        elif before.kind == "conv2d" and not before.pool and _halves(op):
            before.pool, before.out_shape = True, op.out_shape
            del ops[i]
        elif op.kind in ("max_pool2d", "avg_pool2d") and is_weighted and before.gate:
            op.gate, before.gate = True, False
            i += 1
        else:
            i += 1


def _halves(op):
    """Whether an op is LeNet's pooling: 2 x 2 windows that cover the image exactly once."""
    halved = tuple(2 * extent for extent in op.out_shape[1:]) == op.in_shape[1:]
    return op.kind == "max_pool2d" and op.kernel_size == op.stride == (2, 2) and op.padding == (0, 0) and halved


def _place(ops, end):
    """Give each op its place in the arena, whose first `end` floats are the input; returns the arena's size.

    An activation overwrites its input, unless something else still needs that: the input of the program, or an op
    whose gradient looks at its own output.
    """
    at = 0
    for i, op in enumerate(ops):
        before = ops[i - 1] if i > 0 else None
        op.x = at
        if op.kind in ACTIVATIONS and before and not _needs_output(before):
            op.y = at
        else:
            op.y = end
            end += check_elements("an activation", (*op.out_shape, LANES))
        if op.pool:
            op.choice = end
            end += prod(op.out_shape) * LANES
        at = op.y
    return check_elements("the activations of a tile", (end,))


def _needs_output(op):
    """Whether an op's gradient looks at its output."""
    return op.kind in (*ACTIVATIONS, "max_pool2d") or (op.relu and not op.pool)


def _place_gradients(ops):
    """Give each op its place in a record; returns the floats of a record's sums, and of what it keeps of a tile."""
    sums = kept = 0
    for op in ops:
        if op.kind in ("conv2d", "subsample2d"):
            dense = op.out_shape[0] * (op.filter_size if op.kind == "conv2d" else 1)
            op.dweight, op.dbias = sums, sums + dense
            sums = op.dbias + (0 if op.bias is None else op.out_shape[0])
        elif op.kind == "linear":
            features, outputs = -(-op.filter_size // LANES) * LANES, op.out_shape[0]
            op.kept_x, op.kept_dy = kept, kept + features * LANES
            kept = op.kept_dy + outputs * LANES
    return sums, kept


def _slices(ops, most):
    """The parameters, cut into ranges of about `most`, in the order of the ops."""
    slices = []
    for i, op in enumerate(ops):
        if op.kind == "linear":
            # A multiple of the outputs that the kernel takes at a time.
            count = max(1, most // (FILTER_BLOCK * op.filter_size)) * FILTER_BLOCK
            outputs = op.out_shape[0]
            slices += [(i, first, min(count, outputs - first), 0) for first in range(0, outputs, count)]
        elif op.weight is not None:
            for start, stop, sums in op.sum_ranges:
                slices += [(None, at, min(most, stop - at), sums + at - start) for at in range(start, stop, most)]
    return slices or [(None, 0, 0, 0)]


def _gaps(ops):
    """The ranges of parameters, up to the last that an op reads, that belong to none."""
    gaps, end = [], 0
    for start, stop in sorted(span for op in ops for span in op.param_ranges):
        if start > end:
            gaps.append((end, start))
        end = max(end, stop)
    return gaps


class _SampleLowering:
    """The steps that take one sample through the ops; what a convolution gives lies 16 channels abreast.

    A change of layout has an op for its shape alone: a padding by nothing.
    """

    def __init__(self, input_shape, ops):
        self.ops = ops
        self.shape = input_shape if len(input_shape) == 3 else (prod(input_shape), 1, 1)
        self.abreast = False
        self.steps = []
        self.at, self.end, self.packed, self.training = 0, _whole_tiles(prod(input_shape)), 0, 0

    def plan(self):
        convolutions = [op for op in self.ops if op.kind == "conv2d"]
        if any(op.groups != 1 or prod(op.stride) > MOST_STRIDE for op in convolutions):
            # Groups with few channels would leave most lanes empty; spread out by a large stride, a gradient is zeros.
            return None
        for op in self.ops:
            self.add(op)
        self.make_plain()
        if self.end + self.packed + self.training > MAX_ELEMENTS:
            # Spread out, the gradient of a strided or dilated convolution may be far larger than a tile.
            return None
        trainable = [i for i, step in enumerate(self.steps) if step.op.weight is not None]
        first = min(trainable, default=len(self.steps))
        return SamplePlan(self.steps, self.at, self.end, self.packed, self.training, first)

    def add(self, op):
        if op.kind == "linear":
            self.make_plain()
            self.step("linear", op, (op.out_shape[0], 1, 1))
        elif op.kind == "conv2d":
            self.step("conv2d", op, op.inner_shape, abreast=True)
            self.steps[-1].packed, self.steps[-1].training = self.packed, self.training
            filters = _whole_tiles(op.out_shape[0]) * (op.filter_size + 1)
            self.packed += filters + (0 if op.links is None else _whole_tiles(op.out_shape[0] * op.filter_size))
            self.training += filters + self.gradient_floats(op)
            if op.pool:
                self.tile(TileOp("max_pool2d", op.inner_shape, op.out_shape, (2, 2), (2, 2)))
        elif op.kind == "pad2d" and not self.abreast:
            self.step("pad2d", op, op.out_shape)
        elif op.kind in ACTIVATIONS:
            self.activate(op)
        elif op.kind == "subsample2d":
            self.make_abreast()
            self.step("subsample2d", op, op.out_shape, abreast=True)
            self.steps[-1].training = self.training
            self.training += 2 * _whole_tiles(op.out_shape[0])
        elif op.kind == "rbf":
            self.make_plain()
            self.step("rbf", op, op.out_shape)
        else:
            self.make_abreast()
            self.tile(op)
        if op.relu:
            self.activate(TileOp("relu", op.out_shape, op.out_shape))

    def gradient_floats(self, op):
        """What the gradients of a convolution take beside their sums: see sample_training.pxi."""
        (channels, height, width), outputs = op.in_shape, op.out_shape[0]
        spread = [
            size + (kernel - 1) * dilation
            for size, kernel, dilation in zip((height, width), op.kernel_size, op.dilation, strict=True)
        ]
        floats = _whole_tiles(channels) * outputs * prod(op.kernel_size) + _whole_tiles(outputs) * prod(spread)
        if not self.steps[-1].abreast:
            floats += _whole_tiles(channels) * height * width
        return floats + (0 if op.links is None else _whole_tiles(outputs * op.filter_size))

    def step(self, kind, op, shape, abreast=False):
        self.steps.append(SampleStep(kind, op, self.at, self.end, abreast=self.abreast))
        self.at, self.shape, self.abreast = self.end, shape, abreast
        self.end += self.floats()

    def floats(self):
        channels, height, width = self.shape
        return _whole_tiles(channels) * height * width if self.abreast else _whole_tiles(prod(self.shape))

    def tile(self, op):
        """An op on tiles, each a tile of 16 channels."""
        tiles = TileOp(op.kind, (-(-op.in_shape[0] // LANES), *op.in_shape[1:]),
                       (-(-op.out_shape[0] // LANES), *op.out_shape[1:]), op.kernel_size, op.stride, op.padding,
                       count_pad=op.count_pad)  # fmt: skip
        self.step("tile", tiles, op.out_shape, abreast=True)

    def activate(self, op):
        """Whatever the order of the values; in their place, unless the gradient of the step before looks at them."""
        whole = (self.floats() // LANES, 1, 1)
        x = self.at
        if self.steps and self.steps[-1].kind == "tile" and _needs_output(self.steps[-1].op):
            self.at = self.end
            self.end += self.floats()
        activation = TileOp(op.kind, whole, whole, amplitude=op.amplitude, slope=op.slope)
        self.steps.append(SampleStep("tile", activation, x, self.at))

    def make_plain(self):
        if self.abreast:
            self.step("plain", TileOp("pad2d", self.shape, self.shape), self.shape)

    def make_abreast(self):
        if not self.abreast:
            self.step("abreast", TileOp("pad2d", self.shape, self.shape), self.shape, abreast=True)


def _whole_tiles(count):
    return -(-count // LANES) * LANES
