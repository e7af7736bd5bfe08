"""Plans of the direct convolution: how it is cut into strips, and where the taps and pixels of a strip lie.

A *unit* is one group of one sample. Sixteen values go abreast: 16 output channels of one unit, or, where groups have
few channels (`abreast`), one channel each of 16 units. A plan covers a grid of R x Q windows, `stride` apart in the
input, whose results lie `y_step` apart in the output. The result of a convolution is one plan. Its data gradient is one
for each phase of the stride: the inputs of a phase are all reached through the same taps, from neighbouring outputs.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd

import numpy as np

from lenet5c.kernels import _direct, dispatch
from lenet5c.kernels.shapes import check_elements

LANES = 16
# 512 KiB: a strip of the input and its results share a core's L2 cache with some of the weights.
STRIP_FLOATS = 2**17
# Rows of 16 results that are in the works at a time.
ROWS = 4
# Work is cut into so many items for each thread, so that threads of unlike speed finish together.
ITEMS_PER_THREAD = 4
LEAST_PIXELS = 48


@dataclass
class Plan:
    """Sizes in elements; offsets in floats from the start of a strip."""

    abreast: bool
    groups: int
    units: int
    in_shape: tuple[int, int, int]  # of a unit: D, H, W
    out_shape: tuple[int, int, int]  # of a unit: L, YH, YW
    grid: tuple[int, int]
    stride: tuple[int, int]
    y_start: tuple[int, int]
    y_step: tuple[int, int]
    taps_down: list[tuple[int, int]]  # for each tap in use: its number, and its rows from the window's position
    taps_right: list[tuple[int, int]]
    kernel_width: int
    threads: int

    def __post_init__(self):
        depth, height, width = self.in_shape
        down, right = ([offset for _, offset in taps] or [0] for taps in (self.taps_down, self.taps_right))
        self.top, self.left = min(down), min(right)
        self.reach = max(down) - self.top + 1
        columns = (self.grid[1] - 1) * self.stride[1] + max(right) - self.left + 1
        end = self.top + (self.grid[0] - 1) * self.stride[0] + self.reach
        inside = self.top >= 0 and self.left >= 0 and end <= height and self.left + columns <= width
        self.copied = self.abreast or not inside
        self.columns = columns if self.copied else width
        self.strip = self._strip_rows(depth, columns)
        self.strips = -(-self.grid[0] // self.strip)
        rows = (self.strip - 1) * self.stride[0] + self.reach if self.copied else height
        self.row_stride = self.columns * self.lane
        self.channel_stride = rows * self.row_stride
        self.strip_floats = check_elements("a strip", (depth, self.channel_stride)) if self.copied else 0
        self.steps = _lattice([d - self.top for d in down], self.row_stride, [r - self.left for r in right], self.lane)
        if not (self.taps_down and self.taps_right):
            self.steps = self.steps[:0]
        self.taps = _lattice([k for k, _ in self.taps_down], self.kernel_width, [k for k, _ in self.taps_right], 1)
        self.pixels = _lattice(
            np.arange(self.strip) * self.stride[0], self.row_stride, np.arange(self.grid[1]) * self.stride[1], self.lane
        )

    @cached_property
    def places(self):
        """Where each tap of each input channel finds the x of the first pixel."""
        channels = np.arange(self.in_shape[0], dtype=np.intp) * self.channel_stride
        return (channels[:, None] + self.steps).ravel()

    @cached_property
    def compiled(self):
        return _direct.Strips(self, dispatch.tiles)

    @property
    def lane(self):
        """Floats in a place of the input."""
        return LANES if self.abreast else 1

    @property
    def tiles(self):
        """How many times units are taken: one by one, or 16 at a time."""
        return -(-self.units // LANES) if self.abreast else self.units

    @property
    def sets(self):
        """How many different packs of weights the tiles take in turn."""
        return min(self.tiles, self.groups // gcd(self.groups, LANES)) if self.abreast else self.groups

    @property
    def rows(self):
        """Rows of 16 values that a tile has in the output."""
        return self.out_shape[0] if self.abreast else -(-self.out_shape[0] // LANES)

    def _strip_rows(self, depth, columns):
        """As many rows as stay within STRIP_FLOATS, and few enough to give every thread its items."""
        line = depth * columns * self.lane
        (R, Q), step = self.grid, self.stride[0]
        rows = (STRIP_FLOATS - line * (self.reach - step)) // (line * step + min(ROWS, self.rows) * Q * LANES)
        if self.threads > 1:
            rows = min(rows, max(R * self.tiles // (ITEMS_PER_THREAD * self.threads), LEAST_PIXELS // Q))
        strips = -(-R // max(1, rows))
        return -(-R // strips)


def _lattice(down, row_stride, right, column_stride):
    """Every sum of a multiple of each stride, row by row."""
    rows, columns = np.asarray(down, np.intp)[:, None], np.asarray(right, np.intp)
    return np.ascontiguousarray(rows * row_stride + columns * column_stride).ravel()


@lru_cache(maxsize=256)
def result_plan(units, groups, abreast, in_shape, out_shape, window, threads):
    """x -> y; in_shape and out_shape are those of a unit. The weight gradient goes along the same strips."""
    kernel_size, stride, padding, dilation = window
    down, right = (
        [(k, k * d - p) for k in range(size)] for size, p, d in zip(kernel_size, padding, dilation, strict=True)
    )
    return Plan(abreast, groups, units, in_shape, out_shape, out_shape[1:], stride, (0, 0), (1, 1), down, right,
                kernel_size[1], threads)  # fmt: skip


@lru_cache(maxsize=256)
def data_gradient_plans(units, groups, abreast, in_shape, out_shape, window, threads):
    """dy -> dx, a plan for each phase of the stride: input row a + r SH takes dy[r + (a + PH - kh DH) / SH]."""
    kernel_size, stride, padding, dilation = window
    plans = []
    for phase in np.ndindex(*(min(s, n) for s, n in zip(stride, in_shape[1:], strict=True))):
        grid = tuple(-(-(n - a) // s) for n, a, s in zip(in_shape[1:], phase, stride, strict=True))
        down, right = (
            [(k, (a + p - k * d) // s) for k in range(size) if (a + p - k * d) % s == 0]
            for size, s, p, d, a in zip(kernel_size, stride, padding, dilation, phase, strict=True)
        )
        plans.append(Plan(abreast, groups, units, out_shape, in_shape, grid, (1, 1), phase, stride, down, right,
                          kernel_size[1], threads))  # fmt: skip
    return plans
