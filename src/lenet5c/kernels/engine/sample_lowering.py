"""Lowering for a single sample outside of tiles: its steps, and their places in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from lenet5c.kernels.engine._program import FEW_SAMPLES
from lenet5c.kernels.engine._program import TILE_LANES as LANES
from lenet5c.kernels.engine.branches import Add, Branch, Fork, Turn
from lenet5c.kernels.engine.ops import (
    Activation,
    AvgPool2d,
    Conv2d,
    Linear,
    MaxPool2d,
    Op,
    Pad2d,
    Pool2d,
    Rbf,
    Shape,
    Subsample2d,
    Weighted,
)
from lenet5c.kernels.engine.training_ops import BatchNorm, Dropout

MOST_STRIDE = 4  # vertical times horizontal, for a single sample
# A tile is computed by one thread, but single samples by several threads: computing them one by one
# is still faster if all of them together cost as much as this many tiles.
MOST_TILES = 0.85
# Minimum number of vectors of a part of a pooling or activation that follows no convolution.
PART_VECTORS = 2000


@dataclass(eq=False, repr=False, match_args=False)
class PixelConv2d(Conv2d):
    """A convolution from a plain x to a plain y, 16 pixels at a time; for inference.

    With `average`, its pooling takes the mean. `other` is the place of the even and the odd columns
    of x in the arena, if it pools.
    """

    kind = "conv2d_pixels"
    average: bool = field(init=False, default=False)
    other: int = field(init=False, default=0)


@dataclass(eq=False, repr=False)
class SampleStep:
    """One step in the computation of a single sample; the fields are those of `Step` in sample.pxi.

    kind is 'tile' for the tile kernels of `op`, whose lanes are channels then, 'sample' for those
    of a sample, 'conv2d', 'linear' or 'channels', whose gradients the engine finishes, or
    'blocked' and 'plain', which change between (C, H, W) and (C / 16, H, W, 16). x and y are
    offsets into an arena; blocked says whether x is.
    """

    kind: str
    op: Op
    x: int
    y: int
    blocked: bool


@dataclass(eq=False, repr=False)
class SamplePlan:
    """The steps of a sample, with the place of the last output and the floats of an arena.

    Up to `few` samples are computed faster one by one than as a tile, according to a count of
    vector operations. Segments are steps whose outputs threads can share, each as in
    `lowering.Plan`, with blocks of 16 outputs.
    """

    steps: list[SampleStep]
    segments: list[tuple[int, int, int, int]]
    output: int
    arena_floats: int
    first_trainable: int
    few: int


class SampleLowering:
    """The steps that compute the ops for one sample, 16 channels at a time after a convolution.

    A change of layout is represented by an op that only carries its shape: a padding of 0. For
    `inference`, a convolution may compute 16 pixels at a time, if that uses more lanes.
    """

    def __init__(self, input_shape: Shape, ops: list[Op], inference: bool) -> None:
        self.ops, self.inference = ops, inference
        self.shape: Shape = input_shape if len(input_shape) == 3 else (prod(input_shape), 1, 1)
        self.blocked = False
        self.steps: list[SampleStep] = []
        self.at, self.end = 0, _whole_tiles(prod(input_shape))
        self.forks: dict[Fork, SampleStep] = {}
        # The end of each first chain of a residual block, and whether its output is blocked.
        self.ends: dict[Turn, tuple[int, bool]] = {}

    def plan(self) -> SamplePlan | None:
        convolutions = [op for op in self.ops if isinstance(op, Conv2d)]
        if any(op.groups != 1 or prod(op.stride) > MOST_STRIDE for op in convolutions):
            # Groups with few channels would leave most lanes empty; spread out by a large stride, a
            # gradient is zeros.
            return None
        if any(isinstance(op, Dropout) or getattr(op, "batch_stats", False) for op in self.ops):
            return None  # of lanes that are samples
        at = 0
        while at < len(self.ops):
            taken = self.add_pixels(*self.ops[at : at + 2]) if self.inference else 0
            if not taken:
                self.add(self.ops[at])
            at += taken or 1
        self.arrange(blocked=False)
        trainable = [i for i, step in enumerate(self.steps) if isinstance(step.op, Weighted)]
        first = min(trainable, default=len(self.steps))
        few = count_few(self.ops, self.steps)
        return SamplePlan(self.steps, share(self.steps), self.at, self.end, first, few)

    def add(self, op: Op) -> None:
        if isinstance(op, Conv2d):
            self.step("conv2d", op, op.inner_shape, blocked=True)
            self.pool(op)
        elif isinstance(op, Subsample2d):
            self.arrange(blocked=True)
            self.step("channels", op, op.out_shape, blocked=True)
        elif isinstance(op, BatchNorm):
            if prod(op.in_shape[1:]) > 1:  # otherwise both layouts are the same
                self.shape = op.in_shape  # that of samples (C, L) is not known before
                self.arrange(blocked=True)
            self.step("channels", op, op.inner_shape, self.blocked)
            if op.relu:  # before a mean
                self.activate(Activation("relu"))
            self.pool(op)
            return
        elif isinstance(op, (Linear, Rbf)):
            self.arrange(blocked=False)
            self.step("linear" if isinstance(op, Linear) else "sample", op, op.out_shape)
        elif isinstance(op, Pad2d) and not self.blocked:
            self.step("sample", op, op.out_shape)
        elif isinstance(op, Activation):
            self.activate(op)
        elif isinstance(op, Branch):
            self.branch(op)
        elif isinstance(op, Add):
            self.sum(op)
        else:
            self.arrange(blocked=True)
            self.tile(op)
        if op.relu:
            self.activate(Activation("relu"))

    def step(self, kind: str, op: Op, shape: Shape, blocked: bool = False) -> None:
        self.steps.append(SampleStep(kind, op, self.at, self.end, self.blocked))
        self.at, self.shape, self.blocked = self.end, shape, blocked
        self.end += self.floats()

    def floats(self) -> int:
        channels, height, width = self.shape
        if self.blocked:
            return _whole_tiles(channels) * height * width
        return _whole_tiles(prod(self.shape))

    def tile(self, op: Op) -> None:
        """Add an op on tiles, each a tile of 16 channels."""
        shapes = ((-(-shape[0] // LANES), *shape[1:]) for shape in (op.in_shape, op.out_shape))
        tiles = op.shaped(*shapes)
        if isinstance(tiles, Pool2d):
            tiles.mask = False
        self.step("tile", tiles, op.out_shape, blocked=True)

    def add_pixels(self, op: Op, after: Op | None = None) -> int:
        """Add a convolution of 16 pixels at a time, and a pooling after it, if applicable.

        It includes the rectifier and the pooling. Return the number of ops.
        """
        if not isinstance(op, Conv2d) or self.blocked:
            return 0
        average = isinstance(after, AvgPool2d) and after.halves and not op.pool
        pixels = PixelConv2d(op.weight, op.bias, op.out_channels, op.kernel_size)
        pixels = pixels.shaped(op.in_shape, after.out_shape if after and average else op.out_shape)
        pixels.relu, pixels.average, pixels.pool = op.relu, average, op.pool or average
        if not (suits_pixels(op) and saves_vectors(pixels)):
            return 0
        pixels.other = self.end
        if pixels.pool:
            channels, height, width = op.in_shape
            self.end += 2 * _whole_tiles(channels * height * -(-width // 2)) + 2 * LANES
        self.step("tile", pixels, pixels.out_shape)
        self.end += LANES  # into which the last short row reaches
        return 2 if average else 1

    def pool(self, op: Op) -> None:
        """Add the pooling that is part of an op."""
        if op.pool:
            kind = AvgPool2d if getattr(op, "average", False) else MaxPool2d
            (pool,), _ = kind((2, 2), (2, 2)).lower(op.inner_shape)
            self.tile(pool)

    def branch(self, op: Branch) -> None:
        """Begin a residual block, or its second chain at the start of the first."""
        if isinstance(op, Turn):
            begun = self.forks[op.fork]
            self.ends[op] = self.at, self.blocked
            self.at, self.shape, self.blocked = begun.x, op.fork.out_shape, begun.blocked
        whole: Shape = (self.floats() // LANES, 1, 1)
        begins = op.shaped(whole, whole)
        step = SampleStep("tile", begins, self.at, self.at, self.blocked)
        if isinstance(op, Fork):
            self.forks[op] = step
        elif isinstance(op, Turn):
            begins.other = self.forks[op.fork].op.other = self.end
            self.end += self.floats()
        self.steps.append(step)

    def sum(self, op: Add) -> None:
        """Add the outputs of both chains of a residual block, in one layout."""
        begun = self.forks[op.fork]
        other, blocked = self.ends[op.turn] if op.turn else (begun.x, begun.blocked)
        self.arrange(blocked)
        whole: Shape = (self.floats() // LANES, 1, 1)
        add = op.shaped(whole, whole)
        add.relu, add.mask, add.other = False, False, other
        self.step("tile", add, self.shape, self.blocked)
        if not op.turn:
            begun.op.other = self.at

    def activate(self, op: Activation) -> None:
        """Add an activation, in place unless a gradient needs the values it overwrites."""
        whole: Shape = (self.floats() // LANES, 1, 1)
        x = self.at
        before = self.steps[-1] if self.steps else None
        needed = before and before.kind == "tile" and before.op.reads_output
        if op.reads_input or needed or (before and isinstance(before.op, Branch)):
            self.at = self.end
            self.end += self.floats()
        self.steps.append(SampleStep("tile", op.shaped(whole, whole), x, self.at, self.blocked))

    def arrange(self, blocked: bool) -> None:
        """Convert the values to this layout."""
        if self.blocked != blocked:
            op = Pad2d((0, 0)).shaped(self.shape, self.shape)
            self.step("blocked" if blocked else "plain", op, self.shape, blocked)


def share(steps: list[SampleStep]) -> list[tuple[int, int, int, int]]:
    """Return the segments of steps: first, end, blocks of outputs, minimum number for a thread."""
    segments: list[tuple[int, int, int, int]] = []
    for i, step in enumerate(steps):
        by_channel = step.kind == "tile" and isinstance(step.op, (Activation, Pool2d))
        channels = step.op.out_shape[0]
        if step.kind in ("conv2d", "linear"):
            segments.append((i, i + 1, -(-channels // LANES), 1))
        elif by_channel and segments and segments[-1][2] > 1 and channels % segments[-1][2] == 0:
            first, _, blocks, least = segments[-1]
            segments[-1] = first, i + 1, blocks, least
        elif by_channel:
            least = -(-PART_VECTORS * channels // step.op.work)
            segments.append((i, i + 1, channels, least))
        else:
            segments.append((i, i + 1, 1, 1))
    return segments


def count_few(ops: list[Op], steps: list[SampleStep]) -> int:
    """Return the largest batch for which sample-by-sample inference is faster than a tile."""
    of_tile = sum(op.work * tile_share(op) for op in ops)
    of_sample = sum(count_vectors(step.op) for step in steps)
    return max(FEW_SAMPLES, min(LANES, int(MOST_TILES * of_tile / max(of_sample, 1))))


def tile_share(op: Op) -> float:
    """Return the approximate fraction of an op's multiplications in a tile, with transforms."""
    if isinstance(op, Conv2d) and op.stride == op.dilation == (1, 1) and op.groups == 1:
        least = min(op.in_shape[0], op.out_channels)
        if op.kernel_size[1] == 5 and least >= 4:
            return 0.5
        if op.kernel_size == (3, 3) and least >= 8:
            return 0.55
    return 1


def count_vectors(op: Op) -> int:
    """Return the approximate number of vectors for a sample in an op."""
    channels, height, width = op.inner_shape
    if isinstance(op, PixelConv2d):
        return channels * height * vectors_of_row(op) * op.filter_size
    if isinstance(op, Conv2d):
        return -(-channels // LANES) * height * width * op.filter_size
    if isinstance(op, Linear):
        return 2 * channels * -(-op.filter_size // LANES)  # each waits for its weights
    return -(-op.work // LANES)


def vectors_of_row(op: Conv2d) -> int:
    """Return the vectors of an output row; for a pooling, even and odd columns are separate."""
    phases = 2 if op.pool else 1
    return phases * -(-op.inner_shape[2] // (phases * LANES))


def suits_pixels(op: Conv2d) -> bool:
    """Return whether `PixelConv2d` can compute a convolution."""
    plain = op.stride == op.dilation == (1, 1)
    return plain and op.groups == 1 and op.connections is None and op.inner_shape[1] >= 2


def saves_vectors(op: PixelConv2d) -> bool:
    """Return whether 16 pixels at a time use more lanes than 16 output channels at a time."""
    channels, _, width = op.inner_shape
    if not op.pool and width < LANES:
        return False
    return channels * vectors_of_row(op) < -(-channels // LANES) * width


def _whole_tiles(count: int) -> int:
    return -(-count // LANES) * LANES
