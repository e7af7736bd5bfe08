"""im2col and col2im: windows of an image as the columns of a matrix, and back, for float32 and
float64.

    col[n, (c KH + kh) KW + kw, oh OW + ow] = x[n, c, oh SH + kh DH - PH, ow SW + kw DW - PW], or
    `fill` outside x[n, c, h, w] += sum of the elements of col that im2col would take from there
"""
from cython.parallel cimport prange

from math import prod
from sys import maxsize

include "windows.pxi"


cdef Window window_of(image, size, kernel_size, stride, padding, dilation, x_shape, col_shape):
    """Return the settings, checked against x (N, C, H W) and col (N, C, KH KW OH OW)."""
    cdef Window w
    reach = [o * s + k * d + abs(p) for o, s, k, d, p in
             zip(size, stride, kernel_size, dilation, padding, strict=True)]
    if min(*image, *size, *kernel_size, *stride, *dilation) < 1 or max(reach) > maxsize:
        raise ValueError(f"sizes, strides and dilations must be at least 1 and addressable, got "
                         f"{image}, {size}, {kernel_size}, {stride}, {padding} and {dilation}")
    columns = (*x_shape[:2], prod(kernel_size) * prod(size))
    if x_shape[2] != prod(image) or col_shape != columns:
        raise ValueError(f"x and col must have the shapes {(*x_shape[:2], prod(image))} and "
                         f"{columns}, got {x_shape} and {col_shape}")
    w.H, w.W = image
    w.OH, w.OW = size
    w.KH, w.KW = kernel_size
    w.SH, w.SW = stride
    w.PH, w.PW = padding
    w.DH, w.DW = dilation
    return w


cdef inline int thread_count(int wanted) noexcept:
    return max(1, min(wanted, 1024))


def im2col(const real[:, :, ::1] x not None, image, size, kernel_size, stride, padding, dilation,
           double fill, real[:, :, ::1] col not None, int num_threads):
    """x (N, C, H W) -> col (N, C, KH KW OH OW), for image (H, W) and size (OH, OW)."""
    cdef Window win = window_of(image, size, kernel_size, stride, padding, dilation,
                                (x.shape[0], x.shape[1], x.shape[2]),
                                (col.shape[0], col.shape[1], col.shape[2]))
    cdef Py_ssize_t C = x.shape[1], planes = x.shape[0] * x.shape[1], plane
    cdef int threads = thread_count(num_threads)
    for plane in prange(planes, schedule="static", num_threads=threads, nogil=True):
        unfold(&x[plane // C, plane % C, 0], &win, <real>fill, &col[plane // C, plane % C, 0])


def col2im(const real[:, :, ::1] col not None, image, size, kernel_size, stride, padding, dilation,
           real[:, :, ::1] x not None, int num_threads):
    """Add col (N, C, KH KW OH OW) onto x (N, C, H W); as `im2col`."""
    cdef Window win = window_of(image, size, kernel_size, stride, padding, dilation,
                                (x.shape[0], x.shape[1], x.shape[2]),
                                (col.shape[0], col.shape[1], col.shape[2]))
    cdef Py_ssize_t C = x.shape[1], planes = x.shape[0] * x.shape[1], plane
    cdef int threads = thread_count(num_threads)
    for plane in prange(planes, schedule="static", num_threads=threads, nogil=True):
        fold(&col[plane // C, plane % C, 0], &win, &x[plane // C, plane % C, 0])
