"""One op on tiles: what the kernels are told of it, and what follows from that."""

from dataclasses import dataclass
from math import prod
from typing import Any

LANES = 16
FILTER_BLOCK = 6  # output channels whose filters a convolution lays out side by side
WINOGRAD_TERMS = 6
WINOGRAD_FLOATS = (
    1 << 17
)  # of a group's transformed input: more would not stay in a core's second-level cache
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
    connections: Any = None
    codes: Any = None
    amplitude: float = 1.0
    slope: float = 1.0
    relu: bool = False
    mask: bool = False
    pool: bool = False
    count_pad: bool = False
    definition: bool = False
    x: int = 0
    y: int = 0
    argmax: int = 0
    dweight: int = 0
    dbias: int = 0
    saved_x: int = 0
    saved_dy: int = 0

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
        return (
            ranges if self.bias is None else [*ranges, (self.bias, self.bias + self.out_shape[0])]
        )

    @property
    def weight_size(self):
        if self.kind == "subsample2d":
            return self.out_shape[0]
        if self.connections is not None:
            return len(self.connections) * prod(self.kernel_size)
        return self.out_shape[0] * self.filter_size

    @property
    def sum_ranges(self):
        """(start, stop, sums): ranges of parameters, and where a record has the sums of their gradients.

        A record has them for all filters, connections or not; filters that are neighbours in both make one range.
        """
        ranges, size = [], prod(self.kernel_size)
        if self.connections is None:
            ranges.append((self.weight, self.weight + self.weight_size, self.dweight))
        for i, link in enumerate(self.connections if self.connections is not None else ()):
            start, sums = self.weight + i * size, self.dweight + int(link) * size
            if ranges and ranges[-1][1] - ranges[-1][0] == sums - ranges[-1][2]:
                ranges[-1] = (ranges[-1][0], start + size, ranges[-1][2])
            else:
                ranges.append((start, start + size, sums))
        return (
            ranges
            if self.bias is None
            else [*ranges, (self.bias, self.bias + self.out_shape[0], self.dbias)]
        )

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
            return (
                FILTER_BLOCK * self.filter_size
                if self.kind == "linear" and self.out_shape[2] > 1
                else 0
            )
        spread = 0 if self.connections is None else self.out_shape[0] * self.filter_size
        outputs, rows, width = self.inner_shape
        unpooled = outputs * rows * width * LANES if self.pool else 0
        if self.winograd:
            terms = WINOGRAD_TERMS * (width // 2) * LANES
            filters = outputs * self.filter_size // 5 * WINOGRAD_TERMS
            return (
                spread
                + unpooled
                + terms * (self.in_shape[0] * self.in_shape[1] + outputs * rows)
                + filters
            )
        filters = FILTER_BLOCK * self.filter_size
        return spread + max(
            filters + (FILTER_BLOCK * 2 * width * LANES if self.pool else 0), unpooled
        )

    @property
    def work(self):
        """About how many elementary operations a sample takes."""
        taps = prod(self.kernel_size) if self.weight is None else self.filter_size
        return prod(self.inner_shape) * taps

    @property
    def needs_output(self):
        """Whether the op's gradient looks at its output."""
        return self.kind in (*ACTIVATIONS, "max_pool2d") or (self.relu and not self.pool)
