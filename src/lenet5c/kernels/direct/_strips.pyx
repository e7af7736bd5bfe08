"""Direct convolution of plain arrays, strip by strip; the declarations are documented in
_strips.pxd.

A *unit* is one group of one sample: x has D channels of H x W of each, y has L of YH x YW. A vector
has 16 floats or 8 doubles side by side: of as many output channels of one unit; of one channel each
of as many units, for groups with few channels; or of neighboring pixels of one channel, for few
channels and no batch. All are the sum in direct.pxi, with the same order of
additions.

Arrays are (N, C, H, W) with weights (O, C / groups, KH, KW), or (N, H, W, C) with weights (KH, KW,
C / groups, O), or (N, H, W, C) with the former weights, which makes a fully connected layer whose
samples are the pixels of one image. `Strides` and the weight_... of a plan say where neighbors lie;
nothing but the copies between arrays and vectors depends on it, and no order of additions.

A plan covers a grid of R x Q windows, (SH, SW) apart in the input, whose results lie (y_down,
y_right) apart in the output. The result of a convolution is one plan. Its data gradient is one for
each phase of the stride: the inputs of a phase are all reached through the same taps, from
neighboring outputs.

A work item is a strip of output rows of one unit (or a vector of them): it copies what the strip
sees of x, zeros around it included, into scratch, computes all its output channels, and transposes
them into y. Memory is a strip for each thread, which STRIP_FLOATS bounds unless a single row is
larger, and the weights in the order they are used; a chunk of them, if each is used but once.

engine/sample.pxi convolves a single sample inside a program by the same sum, on activations that
stay blocked from op to op; its head says with figures why they are two.
"""
from libc.string cimport memcpy, memset

from lenet5c.kernels.simd.tiles cimport DirectKernels, DirectSum, round_up

cdef enum:
    VECTOR_BYTES = 64
    MAX_LANES = 16
    ROWS = 4                   # rows of vectors computed at a time
    STREAMS = 32
    CACHED_FLOATS = 131072     # of a core
    MIN_PIXELS = 48          # minimum per strip, if available
    RANGE_PLACES = 1152        # maximum number of weight gradients of a filter per work item
    MIN_PLACES = 48          # minimum, if available: each item transposes dy again

cdef double PIXELS_FACTOR = 1.25   # reads of pixels cross cache lines and are slower

include "lenet5c/kernels/canary.pxi"
include "plan.pxi"
include "strip.pxi"
include "weight_gradient.pxi"
