"""Pooling of arrays in any layout: plans, and calls of the plane kernels on several threads.

Parts are independent, so the number of threads changes no bit.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange
from libc.stdint cimport INT32_MAX, int64_t

from lenet5c.kernels.planes.planes cimport (
    Maximum, MaximumBackward, Mean, PlaneKernels, Windows, find_shortcuts, parts_of, see_image)

from math import prod

from lenet5c.kernels.shapes import MAX_ELEMENTS

include "lenet5c/kernels/buffers.pxi"

# The arrays of a call; references are kept while it runs.
cdef struct Held:
    Py_buffer[4] views
    int count


cdef void* hold(Held* held, array, Py_ssize_t size, const char* kinds,
                bint writable=False) except? NULL:
    """The memory of a contiguous array of this many elements; NULL for None."""
    cdef Py_buffer* view = &held.views[held.count]
    if array is None:
        return NULL
    get_buffer(view, array, size, kinds, writable)
    held.count += 1
    return view.buf


cdef void release(Held* held) noexcept:
    cdef int i
    for i in range(held.count):
        PyBuffer_Release(&held.views[i])


cdef inline int thread_count(int wanted, Py_ssize_t items) noexcept:
    return <int>max(<Py_ssize_t>1, min(<Py_ssize_t>min(wanted, 1024), items))


cdef class Pooling:
    """The windows of a pooling.

    `kind` is 'f' or 'd', the dtype; x (images, H, W, C), the output (images, *size, C); `window` as
    of `window_and_size`. A mean divides by `divisor`, or if that is 0 by the number of places in
    the rows (from, to) and the columns (from, to) of `counted`.
    """
    cdef Windows w
    cdef const PlaneKernels* kernels
    cdef object capsule
    cdef int kind   # of the tables of kernels: 0 for float, 1 for double
    cdef const char* kinds
    cdef Py_ssize_t x_size, y_size

    def __cinit__(self, capsule, kind, shape, size, window, counted, divisor):
        cdef Windows* w = &self.w
        self.kernels = <const PlaneKernels*>PyCapsule_GetPointer(capsule, b"lenet5c.PlaneKernels")
        check_sizes(kind, shape, size, window, counted, divisor)
        self.capsule, self.kind, self.kinds = capsule, kind == "d", b"d" if kind == "d" else b"f"
        w.images, w.H, w.W, w.C = shape
        w.OH, w.OW = size
        (w.KH, w.KW), (w.SH, w.SW), (w.PT, w.PL), (w.DH, w.DW) = window
        (w.top, w.bottom), (w.left, w.right) = counted
        w.divisor = divisor
        check_windows("rows", w.OH, w.SH, w.PT, w.KH, w.DH, w.H)
        check_windows("columns", w.OW, w.SW, w.PL, w.KW, w.DW, w.W)
        find_shortcuts(w)
        self.x_size, self.y_size = prod(shape), w.images * w.OH * w.OW * w.C

    def maximum(self, x not None, y not None, indices, int num_threads):
        """Compute y, and the indices (int64) unless None."""
        cdef Held held
        cdef Maximum run = self.kernels.maximum[self.kind]
        cdef const Windows* w = &self.w
        cdef const void* source
        cdef void* to
        cdef int64_t* to_indices
        cdef Py_ssize_t items = parts_of(&self.w) * self.w.OH
        cdef int t, threads = thread_count(num_threads, items)
        held.count = 0
        try:
            source = hold(&held, x, self.x_size, self.kinds)
            to = hold(&held, y, self.y_size, self.kinds, True)
            to_indices = <int64_t*>hold(&held, indices, self.y_size, b"lq", True)
            if indices is not None:
                self.check_places()
            if threads == 1:
                with nogil:
                    run(w, source, to, to_indices, 0, items)
            else:
                for t in prange(threads, schedule="static", num_threads=threads, nogil=True):
                    run(w, source, to, to_indices, items * t // threads,
                        items * (t + 1) // threads)
        finally:
            release(&held)

    def maximum_backward(self, dy not None, x, indices, dx not None, int num_threads):
        """Compute dx from the indices, or x if there are none.

        Return whether every index was that of a place in the image.
        """
        cdef Held held
        cdef MaximumBackward run = self.kernels.maximum_backward[self.kind]
        cdef const Windows* w = &self.w
        cdef const void* gradient
        cdef const void* source
        cdef const int64_t* places
        cdef void* to
        cdef Py_ssize_t parts = parts_of(&self.w)
        cdef int t, wrong = 0, threads = thread_count(num_threads, parts)
        if (x is None) == (indices is None):
            raise ValueError("either x or indices must be given")
        if indices is None:
            self.check_places()
        held.count = 0
        try:
            gradient = hold(&held, dy, self.y_size, self.kinds)
            source = hold(&held, x, self.x_size, self.kinds)
            places = <const int64_t*>hold(&held, indices, self.y_size, b"lq")
            to = hold(&held, dx, self.x_size, self.kinds, True)
            if threads == 1:
                with nogil:
                    wrong = not run(w, gradient, source, places, to, 0, parts)
            else:
                for t in prange(threads, schedule="static", num_threads=threads, nogil=True):
                    wrong += not run(w, gradient, source, places, to, parts * t // threads,
                                     parts * (t + 1) // threads)
        finally:
            release(&held)
        return wrong == 0

    def mean(self, x not None, y not None, int num_threads):
        """Compute y."""
        cdef Py_ssize_t items = parts_of(&self.w) * self.w.OH
        self.run_mean(self.kernels.mean[self.kind], x, self.x_size, y, self.y_size, items,
                      thread_count(num_threads, items))

    def mean_backward(self, dy not None, dx not None, int num_threads):
        """Compute dx."""
        cdef Py_ssize_t parts = parts_of(&self.w)
        self.run_mean(self.kernels.mean_backward[self.kind], dy, self.y_size, dx, self.x_size,
                      parts, thread_count(num_threads, parts))

    cdef run_mean(self, Mean run, source, Py_ssize_t source_size, to, Py_ssize_t to_size,
                  Py_ssize_t items, int threads):
        cdef Held held
        cdef const Windows* w = &self.w
        cdef const void* start
        cdef void* to_start
        cdef int t
        held.count = 0
        try:
            start = hold(&held, source, source_size, self.kinds)
            to_start = hold(&held, to, to_size, self.kinds, True)
            if threads == 1:
                with nogil:
                    run(w, start, to_start, 0, items)
            else:
                for t in prange(threads, schedule="static", num_threads=threads, nogil=True):
                    run(w, start, to_start, items * t // threads, items * (t + 1) // threads)
        finally:
            release(&held)

    cdef check_places(self):
        if self.w.H * self.w.W > INT32_MAX:
            raise ValueError(f"an image must have at most {INT32_MAX} pixels for the indices of its "
                             f"maxima, got {self.w.H} x {self.w.W}")


cdef check_sizes(kind, shape, size, window, counted, divisor):
    """Check that no size overflows."""
    kernel_size, stride, padding, dilation = window
    images, height, width, channels = shape
    rows, columns = counted
    least = min(height, width, channels, *size, *kernel_size, *stride, *dilation)
    reach = [n + o * s + k * d + p for n, o, k, s, p, d in
             zip((height, width), size, kernel_size, stride, padding, dilation, strict=True)]
    if (kind not in ("f", "d") or least < 1 or min(images, divisor, *padding) < 0
            or max(prod(shape), images * channels * prod(size), height * width, divisor,
                   *padding) > MAX_ELEMENTS
            or max(reach) > 4 * MAX_ELEMENTS
            or not -MAX_ELEMENTS <= rows[0] <= 0 < height <= rows[1] <= 4 * MAX_ELEMENTS
            or not -MAX_ELEMENTS <= columns[0] <= 0 < width <= columns[1] <= 4 * MAX_ELEMENTS):
        raise ValueError(f"a pooling must have sizes of at least 1 that can be addressed, got "
                         f"{kind}, {shape}, {size}, {window}, {counted} and {divisor}")


cdef check_windows(axis, Py_ssize_t out, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t size,
                   Py_ssize_t dilation, Py_ssize_t image):
    if not see_image(out, stride, padding, size, dilation, image):
        raise ValueError(f"padding must leave at least one pixel of the image in each window, got "
                         f"{padding} before an image of {image} {axis} and a dilation of {dilation}; use less")
