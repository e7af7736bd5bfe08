"""The direct convolution without the GIL, without allocation: how it is cut into strips, and what
is done to a strip.

_direct.pyx runs it on NumPy arrays and several threads, cykernels.pyx on the memory and in the
thread of a C caller.
"""
from lenet5c.kernels.simd.tiles cimport TileKernels

cdef enum:
    STRIP_FLOATS = 131072      # 512 KiB: a strip of the input and its results share a core's L2
                               # cache with some weights
    ITEMS_PER_THREAD = 4       # so that threads of unlike speed finish together

# What a plan depends on: a convolution of units, each one group of one sample.
cdef struct Units:
    bint blocked                     # 16 units go blocked, and not 16 channels of one
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

# A plan. x (units, D, H, W), y (units, L, YH, YW), a grid of R x Q windows; sizes in elements,
# offsets in floats.
cdef struct Geometry:
    const TileKernels* kernels
    bint blocked
    Py_ssize_t groups, units
    Py_ssize_t tiles                 # how many times units are taken: one by one, or 16 at a time
    Py_ssize_t sets                  # how many different packs of weights the tiles take in turn
    Py_ssize_t rows                  # rows of 16 values that a tile has in the output
    Py_ssize_t D, H, W
    Py_ssize_t L, YH, YW
    Py_ssize_t R, Q
    Py_ssize_t SH, SW                # from window to window in x
    Py_ssize_t y_top, y_left, y_down, y_right
    # from one to the next, in the caller's weights
    Py_ssize_t weight_group, weight_filter, weight_channel
    Py_ssize_t all_taps              # of a filter, in use or not
    Taps down, right
    Py_ssize_t KW
    Py_ssize_t top, left             # where the first window begins in x: outside, if negative
    Py_ssize_t reach, columns        # rows of a window, columns of a strip
    bint copied                      # a strip is copied to scratch, and not read in its place
    Py_ssize_t strip, strips
    Py_ssize_t lane                  # floats in a place of the input
    Py_ssize_t row_stride, channel_stride, strip_floats
    Py_ssize_t tap_count
    const Py_ssize_t* steps          # of each tap in use, from the window's first x; and below its
                                     # number
    const Py_ssize_t* taps
    const Py_ssize_t* pixels         # of each window of a strip
    const Py_ssize_t* places         # of each tap of each channel, for the first pixel

# The weights as they lie in the caller's array, and packed for each set and row.
cdef struct Weights:
    const float* start
    const float* given_bias          # NULL: none
    float* packed                    # (sets, rows in chunks, D, taps, rows of the chunk, 16)
    float* bias                      # (sets, rows, 16)

# The weight gradients while they are summed.
cdef struct Totals:
    float* dweight                   # (sets, rows, D taps, 16)
    float* dbias                     # (sets, rows, 16)
    Py_ssize_t count                 # the D taps of a filter; 0 if the bias alone is wanted
    Py_ssize_t ranges, range_places  # which are cut into ranges
    Py_ssize_t chunks                # rows are cut into

# Plans; False if they are beyond any size.
cdef bint plan_result(Geometry* g, const TileKernels* kernels, const Units* u) noexcept nogil
cdef bint plan_phase(Geometry* g, const TileKernels* kernels, const Units* u, Py_ssize_t a,
                     Py_ssize_t b) noexcept nogil
cdef Py_ssize_t offset_count(const Geometry* g) noexcept nogil
cdef void write_offsets(Geometry* g, Py_ssize_t* memory) noexcept nogil

# Results: zeros, packed weights, and a scratch for each thread, in so many floats.
cdef Py_ssize_t convolve_floats(const Geometry* g, Py_ssize_t threads) noexcept nogil
cdef float* place_weights(const Geometry* g, Weights* w, float* memory) noexcept nogil
cdef void check_weights(const Geometry* g, const Weights* w) noexcept nogil
cdef Py_ssize_t convolve_scratch(const Geometry* g) noexcept nogil
cdef void pack_weights(const Geometry* g, const Weights* w, Py_ssize_t item) noexcept nogil
cdef void convolve_strip(const Geometry* g, const Weights* w, const float* x, float* y,
                         Py_ssize_t item, Py_ssize_t parts, float* scratch,
                         const float* zeros) noexcept nogil
cdef void convolve_all(const Geometry* g, const float* x, const float* weight, const float* bias,
                       float* y, float* memory) noexcept nogil

# Weight gradients, in the same way.
cdef Totals plan_totals(const Geometry* g, Py_ssize_t threads, bint bias_alone) noexcept nogil
cdef Py_ssize_t gradient_floats(const Geometry* g, const Totals* t,
                                Py_ssize_t threads) noexcept nogil
cdef float* place_totals(const Geometry* g, Totals* t, float* memory) noexcept nogil
cdef void check_totals(const Geometry* g, const Totals* t) noexcept nogil
cdef Py_ssize_t gradient_scratch(const Geometry* g, const Totals* t) noexcept nogil
cdef void sum_range(const Geometry* g, const Totals* t, const float* x, const float* dy,
                    Py_ssize_t item, float* scratch, const float* zeros) noexcept nogil
cdef void deliver_totals(const Geometry* g, const Totals* t, float* dweight, float* dbias,
                         float* filters) noexcept nogil
cdef void weight_gradient_all(const Geometry* g, const float* x, const float* dy, float* dweight,
                              float* dbias, float* memory) noexcept nogil

# In a debug build: raise if one of them has written beyond its memory.
cdef raise_overrun()

# Sizes: a product, or no more than BEYOND if it is too large to be true; sums of a few cannot
# overflow.
cdef Py_ssize_t most_elements() noexcept nogil
cdef Py_ssize_t times(Py_ssize_t a, Py_ssize_t b) noexcept nogil
