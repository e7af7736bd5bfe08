"""im2col and col2im of whole batches, for float32 and float64.

An image is (C, H, W) or, with the channels last, (H, W, C). Its windows are the columns of a matrix
for each sample, or the rows of one matrix:

    columns   (N, C KH KW, OH OW), channels last (N, KH KW C, OH OW)
    rows      (N OH OW, C KH KW), channels last (N OH OW, KH KW C)

Threads divide the output: taps or windows in im2col, rows of an image in col2im. The terms of a
pixel's sum are always added in the same order.
"""
from cpython.buffer cimport PyBuffer_Release
from cython.parallel cimport prange
from libc.string cimport memset

from math import prod
from sys import maxsize

include "buffers.pxi"
include "windows.pxi"

cdef enum:
    SHARES = 4  # parts of the work per thread, if available


cdef struct Layout:
    Window window
    # An image has `planes` planes of `pixel` elements at each place: C and 1, or 1 and C.
    Py_ssize_t N, planes, pixel
    Py_ssize_t image, column  # elements of an image and of its windows
    bint rows


cdef class Columns:
    """im2col and col2im of a batch (N, C, H, W), or (N, H, W, C), with windows of one kind.

    `size` is (OH, OW), `window` kernel size, stride, padding before the image and dilation.
    """
    cdef Layout layout

    def __cinit__(self, shape, size, window, bint rows=False, bint channels_last=False):
        cdef Layout* g = &self.layout
        cdef Window* w = &g.window
        batch, channels, *image = shape
        kernel_size, stride, padding, dilation = window
        reach = [o * s + k * d + p for o, s, k, d, p in
                 zip(size, stride, kernel_size, dilation, padding, strict=True)]
        elements = batch * channels * prod(image), batch * channels * prod(kernel_size) * prod(size)
        if (min(channels, *image, *size, *kernel_size, *stride, *dilation) < 1
                or min(batch, *padding) < 0 or max(*reach, *elements) > maxsize // 8):
            raise ValueError(f"sizes and settings of a window must be positive and addressable, "
                             f"got {shape}, {size} and {window}")
        w.H, w.W = image
        w.OH, w.OW = size
        w.KH, w.KW = kernel_size
        w.SH, w.SW = stride
        w.PH, w.PW = padding
        w.DH, w.DW = dilation
        g.N, g.rows = batch, rows
        g.planes, g.pixel = (1, channels) if channels_last else (channels, 1)
        g.image = g.planes * g.pixel * w.H * w.W
        g.column = g.planes * g.pixel * w.KH * w.KW * w.OH * w.OW

    def im2col(self, x, col, int num_threads):
        """Write the windows of x to col."""
        cdef Layout* g = &self.layout
        cdef Py_buffer source, target
        cdef char kind = get_reals(&source, x, g.N * g.image, False)
        try:
            if get_reals(&target, col, g.N * g.column, True) != kind:
                PyBuffer_Release(&target)
                raise ValueError("x and col must have the same dtype")
            try:
                if kind == b"f":
                    unfold_all(g, <const float*>source.buf, <float*>target.buf, num_threads)
                else:
                    unfold_all(g, <const double*>source.buf, <double*>target.buf, num_threads)
            finally:
                PyBuffer_Release(&target)
        finally:
            PyBuffer_Release(&source)

    def col2im(self, col, x, int num_threads):
        """Write the sum of the windows to x."""
        cdef Layout* g = &self.layout
        cdef Py_buffer source, target
        cdef char kind = get_reals(&source, col, g.N * g.column, False)
        try:
            if get_reals(&target, x, g.N * g.image, True) != kind:
                PyBuffer_Release(&target)
                raise ValueError("x and col must have the same dtype")
            try:
                if kind == b"f":
                    fold_all(g, <const float*>source.buf, <float*>target.buf, num_threads)
                else:
                    fold_all(g, <const double*>source.buf, <double*>target.buf, num_threads)
            finally:
                PyBuffer_Release(&target)
        finally:
            PyBuffer_Release(&source)


cdef void unfold_all(const Layout* g, const real* x, real* col, int wanted) noexcept:
    cdef Py_ssize_t parts = g.N * (g.window.OH if g.rows else g.planes * g.window.KH), part
    cdef int threads = max(1, min(wanted, 1024))
    if threads == 1:  # without a region of OpenMP, which takes half a microsecond
        with nogil:
            for part in range(parts):
                unfold_part(g, part, x, col)
        return
    for part in prange(parts, schedule="static", num_threads=threads, nogil=True):
        unfold_part(g, part, x, col)


cdef void unfold_part(const Layout* g, Py_ssize_t part, const real* x, real* col) noexcept nogil:
    """One row of outputs, or KW taps of a plane."""
    cdef const Window* w = &g.window
    cdef Py_ssize_t kh, kw, size = g.pixel * w.OH * w.OW
    if g.rows:
        unfold_windows(x + part // w.OH * g.image, w, g.planes, g.pixel, part % w.OH,
                       col + part * (g.column // w.OH))
        return
    kh = part % w.KH
    x += part // w.KH * (g.image // g.planes)
    for kw in range(w.KW):
        unfold_tap(x, w, g.pixel, kh, kw, col + (part * w.KW + kw) * size)


cdef void fold_all(const Layout* g, const real* col, real* x, int wanted) noexcept:
    cdef Py_ssize_t images = g.N * (1 if g.rows else g.planes), strips = 1, part
    cdef int threads = max(1, min(wanted, 1024))
    if images == 0:
        return
    if images < SHARES * threads and threads > 1:
        strips = min(g.window.H, (SHARES * threads + images - 1) // images)
    if threads == 1:
        with nogil:
            for part in range(images):
                fold_part(g, part, 1, col, x)
        return
    for part in prange(images * strips, schedule="static", num_threads=threads, nogil=True):
        fold_part(g, part, strips, col, x)


cdef void fold_part(const Layout* g, Py_ssize_t part, Py_ssize_t strips, const real* col,
                    real* x) noexcept nogil:
    """A strip of rows of an image, or of one of its planes."""
    cdef const Window* w = &g.window
    cdef Py_ssize_t top = w.H * (part % strips) // strips
    cdef Py_ssize_t bottom = w.H * (part % strips + 1) // strips
    cdef Py_ssize_t planes = g.planes if g.rows else 1, row = w.W * g.pixel, plane, tap, oh
    cdef Py_ssize_t size = g.pixel * w.OH * w.OW
    x += part // strips * planes * w.H * row
    col += part // strips * planes * w.KH * w.KW * size
    for plane in range(planes):
        memset(x + (plane * w.H + top) * row, 0, (bottom - top) * row * sizeof(real))
    if g.rows:
        for oh in range(w.OH):
            fold_windows(col + oh * (g.column // w.OH), w, g.planes, g.pixel, oh, top, bottom, x)
    else:
        for tap in range(w.KH * w.KW):
            fold_tap(col + tap * size, w, g.pixel, tap // w.KW, tap % w.KW, top, bottom, x)
