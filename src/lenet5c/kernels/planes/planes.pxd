"""Declarations shared by the plane kernels and _pooling.pyx: the windows of a pooling, and the table
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
    # width of the image
    Py_ssize_t halving, halving_end
    bint whole   # one window, as large as the image

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
    BLOCK = 128   # windows or channels computed at a time


cdef inline Py_ssize_t parts_of(const Windows* w) noexcept nogil:
    return w.images * ((w.C + BLOCK - 1) // BLOCK)


cdef inline Py_ssize_t quotient(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if b == 1 else a // b


cdef inline Py_ssize_t places_before(Py_ssize_t start, Py_ssize_t step) noexcept nogil:
    """The number of start, start + step, ... that are negative."""
    return 0 if start >= 0 else quotient(step - 1 - start, step)


cdef inline bint see_image(Py_ssize_t out, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t size,
                           Py_ssize_t dilation, Py_ssize_t image) noexcept nogil:
    """Return True if each window along an axis overlaps the image, as the kernels require."""
    cdef Py_ssize_t o, start, before
    cdef bint sees = (out - 1) * stride - padding < image
    for o in range(out):
        start = o * stride - padding
        if start >= 0 or not sees:
            break
        before = places_before(start, dilation)
        sees = before < size and start + before * dilation < image
    return sees


cdef inline void find_shortcuts(Windows* w) noexcept nogil:
    """Set halving, halving_end and whole."""
    cdef Py_ssize_t rest = w.C % BLOCK
    w.halving, w.halving_end = (w.PL + 1) // 2, min(w.OW, (w.W + w.PL) // 2)
    # Vectors have at least four windows, or four channels of a window.
    if not (w.KH == 2 and w.KW == 2 and w.SH == 2 and w.SW == 2 and w.DH == 1 and w.DW == 1
            and w.halving + (4 if w.C == 1 else 1) <= w.halving_end
            and (w.C == 1 or rest == 0 or rest >= 4)):
        w.halving = w.halving_end = w.OW
    w.whole = (w.OH == 1 and w.OW == 1 and w.DH == 1 and w.DW == 1 and w.PT == 0
               and w.PL == 0 and w.KH == w.H and w.KW == w.W)
