"""Direct convolution without the GIL and without allocation: plans, and the work on one strip.

_direct.pyx runs it on arrays and several threads, cykernels.pyx in the memory and the thread of a
C caller.
"""
from lenet5c.kernels.simd.tiles cimport DirectKernels

ctypedef fused real:
    float
    double

cdef enum:
    STRIP_FLOATS = 131072      # 512 KiB: a strip of the input and its results share a core's L2
                               # cache with some weights
    ITEMS_PER_THREAD = 4       # so that threads of different speed finish together

# The axis along the lanes of vectors: output channels of a unit; units, one channel of each; or
# neighboring pixels of a channel, if windows are one pixel apart.
cdef enum VectorAxis:
    CHANNELS
    UNITS
    PIXELS

cdef enum Purpose:
    RESULT
    DATA_GRADIENT
    WEIGHT_GRADIENT

# Arguments of a plan: a convolution of units, each one group of one sample.
cdef struct Units:
    Purpose purpose
    VectorAxis axis
    bint channels_last               # x (N, H, W, C) and y (N, OH, OW, O), not (N, C, H, W) ...
    bint filters_last                # weight (KH, KW, C / groups, O), not (O, C / groups, KH, KW)
    Py_ssize_t groups, count
    Py_ssize_t D, H, W               # of a unit of the input
    Py_ssize_t L, OH, OW             # of a unit of the output
    Py_ssize_t KH, KW, SH, SW, PH, PW, DH, DW
    Py_ssize_t threads

# The taps of a filter that are in use along one axis: first, first + step, ...; the first sees the
# input `offset` rows (or columns) from the window's position, each next one offset_step further.
cdef struct Taps:
    Py_ssize_t count, first, step
    Py_ssize_t offset, offset_step

# Distances of neighbors in an array of units.
cdef struct Strides:
    Py_ssize_t sample, group, channel, row, pixel

# A plan. A grid of R x Q windows; sizes, offsets and strides in values.
cdef struct Geometry:
    const DirectKernels* kernels
    Py_ssize_t lanes                 # values of a vector
    VectorAxis axis
    Py_ssize_t groups, units
    Py_ssize_t tiles                 # of units: as many as there are, or vectors of them
    Py_ssize_t sets                  # number of packs of weights that the tiles use in turn
    Py_ssize_t rows                  # vectors that a tile has in a place of the output
    Py_ssize_t most_rows             # computed at a time
    Py_ssize_t factor                # values of a factor in the packed weights: a vector or 1
    bint packed_late                 # by the only work item that uses them
    Py_ssize_t D, H, W
    Py_ssize_t L, YH, YW
    Strides x, y
    Py_ssize_t R, Q
    Py_ssize_t SH, SW                # from window to window in x
    Py_ssize_t y_top, y_left, y_down, y_right
    # from one to the next, in the caller's weights
    Py_ssize_t weight_group, weight_filter, weight_channel, weight_tap
    Py_ssize_t all_taps              # of a filter, in use or not
    Taps down, right
    Py_ssize_t KW
    Py_ssize_t top, left             # where the first window begins in x: outside, if negative
    Py_ssize_t reach, columns        # rows of a window, columns of a strip
    bint copied                      # a strip is copied to scratch, and not read in its place
    bint of_pixels                   # and then as (rows, columns, D), and not (D, rows, columns)
    Py_ssize_t strip, strips
    Py_ssize_t place                 # values in a place of a copied strip: 1, a vector, or D
    Py_ssize_t channel_stride, row_stride, pixel_stride    # in a strip
    Py_ssize_t strip_size
    Py_ssize_t tap_count
    Py_ssize_t place_channel, place_tap     # from one to the next, in `places`
    const Py_ssize_t* taps           # the numbers of those in use
    const Py_ssize_t* places         # of each tap of each channel, from the window's first x
    const Py_ssize_t* pixels         # of each window of a strip, or each vector of windows

# How the weight gradients are shared out.
cdef struct Totals:
    Py_ssize_t count                 # the D taps of a filter; 0 if the bias alone is wanted
    Py_ssize_t ranges, range_places  # which are cut into ranges
    Py_ssize_t chunks                # rows are cut into

# Return the axis with the fewest unused lanes.
cdef VectorAxis choose_axis(const DirectKernels* kernels, const Units* u) noexcept nogil

# Fill in plans; False if a size is too large.
cdef bint plan_result(Geometry* g, const DirectKernels* kernels, const Units* u) noexcept nogil
cdef bint plan_phase(Geometry* g, const DirectKernels* kernels, const Units* u, Py_ssize_t a,
                     Py_ssize_t b) noexcept nogil
cdef Py_ssize_t offset_count(const Geometry* g) noexcept nogil
cdef void write_offsets(Geometry* g, Py_ssize_t* memory) noexcept nogil

# Results. The memory, so many floats (two for a double), holds zeros, bias and weights in vectors,
# which take so many items to pack, and a scratch for each thread.
cdef Py_ssize_t convolve_floats(const Geometry* g, Py_ssize_t threads) noexcept nogil
cdef void place_weights(const Geometry* g, real* memory) noexcept nogil
cdef void check_weights(const Geometry* g, const real* memory) noexcept nogil
cdef Py_ssize_t packs(const Geometry* g) noexcept nogil
cdef void pack_weights(const Geometry* g, const real* weight, const real* bias, real* memory,
                       Py_ssize_t item) noexcept nogil
cdef void convolve_strip(const Geometry* g, const real* x, const real* weight, const real* bias,
                         real* y, real* memory, Py_ssize_t item, Py_ssize_t parts,
                         Py_ssize_t thread) noexcept nogil
cdef void convolve_all(const Geometry* g, const real* x, const real* weight, const real* bias,
                       real* y, real* memory) noexcept nogil

# Weight gradients likewise: zeros, sums, a scratch for each thread.
cdef Totals plan_totals(const Geometry* g, Py_ssize_t threads, bint bias_alone) noexcept nogil
cdef Py_ssize_t gradient_floats(const Geometry* g, const Totals* t,
                                Py_ssize_t threads) noexcept nogil
cdef void place_totals(const Geometry* g, const Totals* t, real* memory) noexcept nogil
cdef void check_totals(const Geometry* g, const Totals* t, const real* memory) noexcept nogil
cdef void sum_range(const Geometry* g, const Totals* t, const real* x, const real* dy,
                    real* dweight, real* dbias, real* memory, Py_ssize_t item,
                    Py_ssize_t thread) noexcept nogil
cdef void deliver_totals(const Geometry* g, const Totals* t, real* dweight, real* dbias,
                         real* memory) noexcept nogil
cdef void weight_gradient_all(const Geometry* g, const real* x, const real* dy, real* dweight,
                              real* dbias, real* memory) noexcept nogil

# In a debug build: raise if one of them has written beyond its memory.
cdef raise_overrun()

# Sizes: a product, or no more than BEYOND if it is too large to be true; sums of a few cannot
# overflow.
cdef Py_ssize_t most_elements() noexcept nogil
cdef Py_ssize_t times(Py_ssize_t a, Py_ssize_t b) noexcept nogil
