"""The way that a sample takes by itself, rather than as a lane of a tile: its steps, and their places in memory."""

from dataclasses import dataclass
from math import prod

from lenet5c.kernels.shapes import MAX_ELEMENTS
from lenet5c.kernels.engine.tile_op import ACTIVATIONS, LANES, TileOp

MOST_STRIDE = 4  # vertical times horizontal, for a sample by itself


@dataclass
class SampleStep:
    """One step of the way that a sample by itself takes; the fields are those of `Step` in sample.pxi.

    kind is 'tile' for the tile kernel of `op`, whose lanes are channels then; or 'conv2d', 'linear', 'pad2d',
    'subsample2d', 'rbf', or 'blocked' and 'plain', which change between (C, H, W) and (C / 16, H, W, 16). x and y are
    offsets into an arena, packed into the filters as the way lays them out, training into what its gradients take.
    """

    kind: str
    op: TileOp
    x: int
    y: int
    blocked: bool = False
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


class SampleLowering:
    """The steps that take one sample through the ops; what a convolution gives lies 16 channels side by side.

    A change of layout has an op for its shape alone: a padding by nothing.
    """

    def __init__(self, input_shape, ops):
        self.ops = ops
        self.shape = input_shape if len(input_shape) == 3 else (prod(input_shape), 1, 1)
        self.blocked = False
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
            self.step("conv2d", op, op.inner_shape, blocked=True)
            self.steps[-1].packed, self.steps[-1].training = self.packed, self.training
            filters = _whole_tiles(op.out_shape[0]) * (op.filter_size + 1)
            self.packed += filters + (
                0 if op.connections is None else _whole_tiles(op.out_shape[0] * op.filter_size)
            )
            self.training += filters + self.gradient_floats(op)
            if op.pool:
                self.tile(TileOp("max_pool2d", op.inner_shape, op.out_shape, (2, 2), (2, 2)))
        elif op.kind == "pad2d" and not self.blocked:
            self.step("pad2d", op, op.out_shape)
        elif op.kind in ACTIVATIONS:
            self.activate(op)
        elif op.kind == "subsample2d":
            self.make_blocked()
            self.step("subsample2d", op, op.out_shape, blocked=True)
            self.steps[-1].training = self.training
            self.training += 2 * _whole_tiles(op.out_shape[0])
        elif op.kind == "rbf":
            self.make_plain()
            self.step("rbf", op, op.out_shape)
        else:
            self.make_blocked()
            self.tile(op)
        if op.relu:
            self.activate(TileOp("relu", op.out_shape, op.out_shape))

    def gradient_floats(self, op):
        """What the gradients of a convolution take beside their sums: see sample_training.pxi."""
        (channels, height, width), outputs = op.in_shape, op.out_shape[0]
        spread = [
            size + (kernel - 1) * dilation
            for size, kernel, dilation in zip(
                (height, width), op.kernel_size, op.dilation, strict=True
            )
        ]
        floats = _whole_tiles(channels) * outputs * prod(op.kernel_size) + _whole_tiles(
            outputs
        ) * prod(spread)
        if not self.steps[-1].blocked:
            floats += _whole_tiles(channels) * height * width
        return floats + (0 if op.connections is None else _whole_tiles(outputs * op.filter_size))

    def step(self, kind, op, shape, blocked=False):
        self.steps.append(SampleStep(kind, op, self.at, self.end, blocked=self.blocked))
        self.at, self.shape, self.blocked = self.end, shape, blocked
        self.end += self.floats()

    def floats(self):
        channels, height, width = self.shape
        return (
            _whole_tiles(channels) * height * width
            if self.blocked
            else _whole_tiles(prod(self.shape))
        )

    def tile(self, op):
        """An op on tiles, each a tile of 16 channels."""
        tiles = TileOp(op.kind, (-(-op.in_shape[0] // LANES), *op.in_shape[1:]),
                       (-(-op.out_shape[0] // LANES), *op.out_shape[1:]), op.kernel_size, op.stride, op.padding,
                       count_pad=op.count_pad)  # fmt: skip
        self.step("tile", tiles, op.out_shape, blocked=True)

    def activate(self, op):
        """Whatever the order of the values; in their place, unless the gradient of the step before looks at them."""
        whole = (self.floats() // LANES, 1, 1)
        x = self.at
        if self.steps and self.steps[-1].kind == "tile" and self.steps[-1].op.needs_output:
            self.at = self.end
            self.end += self.floats()
        activation = TileOp(op.kind, whole, whole, amplitude=op.amplitude, slope=op.slope)
        self.steps.append(SampleStep("tile", activation, x, self.at))

    def make_plain(self):
        if self.blocked:
            self.step("plain", TileOp("pad2d", self.shape, self.shape), self.shape)

    def make_blocked(self):
        if not self.blocked:
            self.step("blocked", TileOp("pad2d", self.shape, self.shape), self.shape, blocked=True)


def _whole_tiles(count):
    return -(-count // LANES) * LANES
