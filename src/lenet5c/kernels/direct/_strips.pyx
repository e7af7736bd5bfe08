"""The direct convolution of plain arrays, strip by strip; the declarations and what they mean are
in _strips.pxd.

A *unit* is one group of one sample: x (units, D, H, W) and y (units, L, YH, YW). Sixteen values lie
side by side, either 16 output channels of one unit (`blocked` unset), or one channel each of 16
units (set): the second way is for groups with few channels each. See direct.pxi for the sum that
both come down to.

A plan covers a grid of R x Q windows, (SH, SW) apart in the input, whose results lie (y_down,
y_right) apart in the output. The result of a convolution is one plan. Its data gradient is one for
each phase of the stride: the inputs of a phase are all reached through the same taps, from
neighboring outputs.

A work item is a strip of output rows of one unit (or 16): it copies what the strip sees of x, zeros
around it included, into scratch, computes all its output channels, and transposes them into y.
Memory is a strip for each thread, which STRIP_FLOATS bounds unless a single row is larger, and the
weights in the order they are used.

engine/sample.pxi convolves a single sample inside a program by the same sum, on activations that
stay blocked from op to op; its head says with figures why they are two.
"""
from libc.string cimport memcpy, memset

from lenet5c.kernels.simd.tiles cimport LANES, DirectSum, TileKernels, round_up

cdef enum:
    ROWS = 4                   # rows of 16 results that are in the works at a time
    LEAST_PIXELS = 48          # in a strip, if there are so many
    RANGE_PLACES = 288         # at most so many weight gradients of a filter in a work item
    LEAST_PLACES = 48          # and at least, if there are so many: each item transposes dy anew

include "lenet5c/kernels/canary.pxi"
include "plan.pxi"
include "strip.pxi"
include "weight_gradient.pxi"
