"""Declarations that the plane kernels and their door share: the windows of a pooling, and the table
of kernels of an instruction set."""
from libc.stdint cimport int64_t

# An image is a plane of NCHW (C = 1), or a sample of NHWC. Padding is that before the image: the
# output's size says the rest.
cdef struct Windows:
    Py_ssize_t images, C
    Py_ssize_t H, W, OH, OW
    Py_ssize_t KH, KW, SH, SW, PT, PL, DH, DW
    # means: a place counts in the divisor if its row is in [top, bottom), its column in [left,
    # right); unless there is a divisor
    Py_ssize_t top, bottom, left, right, divisor
    # the windows of a row, as many as it has, that are 2 x 2, next to each other, and within the
    # width of the image; of C = 1
    Py_ssize_t halving, halving_end
    bint whole   # one window, as large as the image, of C = 1

# Forward kernels compute items, rows of the output of one part; backward kernels parts. A part is
# an image with C = 1, else some channels of an image: see lines.pxi. Both compute those from
# `first` up to `last`.
ctypedef void (*Maximum)(const Windows* w, const void* x, void* y, int64_t* indices,
                         Py_ssize_t first, Py_ssize_t last) noexcept nogil
# from the indices, or x if they are NULL; false if one of them is no place of the image
ctypedef bint (*MaximumBackward)(const Windows* w, const void* dy, const void* x,
                                 const int64_t* indices, void* dx, Py_ssize_t first,
                                 Py_ssize_t last) noexcept nogil
# x to y, or dy to dx
ctypedef void (*Mean)(const Windows* w, const void* source, void* to, Py_ssize_t first,
                      Py_ssize_t last) noexcept nogil

# for float and double
cdef struct PlaneKernels:
    Maximum[2] maximum
    MaximumBackward[2] maximum_backward
    Mean[2] mean
    Mean[2] mean_backward

cdef enum:
    BLOCK = 128   # windows side by side, or channels, that are in the works at a time


cdef inline Py_ssize_t parts_of(const Windows* w) noexcept nogil:
    return w.images * ((w.C + BLOCK - 1) // BLOCK)


cdef inline Py_ssize_t quotient(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if b == 1 else a // b


cdef inline Py_ssize_t places_before(Py_ssize_t start, Py_ssize_t step) noexcept nogil:
    """How many of start, start + step, ... are negative."""
    return 0 if start >= 0 else quotient(step - 1 - start, step)
