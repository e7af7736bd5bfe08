"""im2col and col2im: windows of an image as the columns of a matrix, and back, for float32 and
float64.

    col[n, (c KH + kh) KW + kw, oh OW + ow] = x[n, c, oh SH + kh DH - PH, ow SW + kw DW - PW], or
    `fill` outside x[n, c, h, w] += sum of the elements of col that im2col would take from there
"""
from cython.parallel cimport prange

include "windows.pxi"


cdef Window window_of(image, size, kernel_size, stride, padding, dilation, Py_ssize_t pixels,
                      Py_ssize_t elements):
    """Return the settings, checked against planes of so many pixels and elements."""
    cdef Window w
    w.H, w.W = image
    w.OH, w.OW = size
    w.KH, w.KW = kernel_size
    w.SH, w.SW = stride
    w.PH, w.PW = padding
    w.DH, w.DW = dilation
    if pixels != w.H * w.W or elements != w.KH * w.KW * w.OH * w.OW or pixels == 0 or elements == 0:
        raise ValueError("the image and its columns do not fit together, or are empty")
    return w


def im2col(const real[:, :, ::1] x not None, image, size, kernel_size, stride, padding, dilation,
           double fill, real[:, :, ::1] col not None, int num_threads):
    """x (N, C, H W) -> col (N, C, KH KW OH OW), for image (H, W) and size (OH, OW)."""
    cdef Window win = window_of(image, size, kernel_size, stride, padding, dilation, x.shape[2],
                                col.shape[2])
    cdef Py_ssize_t C = x.shape[1], planes = x.shape[0] * x.shape[1], plane
    for plane in prange(planes, schedule="static", num_threads=num_threads, nogil=True):
        unfold(&x[plane // C, plane % C, 0], &win, <real>fill, &col[plane // C, plane % C, 0])


def col2im(const real[:, :, ::1] col not None, image, size, kernel_size, stride, padding, dilation,
           real[:, :, ::1] x not None, int num_threads):
    """Add col (N, C, KH KW OH OW) onto x (N, C, H W); as `im2col`."""
    cdef Window win = window_of(image, size, kernel_size, stride, padding, dilation, x.shape[2],
                                col.shape[2])
    cdef Py_ssize_t C = x.shape[1], planes = x.shape[0] * x.shape[1], plane
    for plane in prange(planes, schedule="static", num_threads=num_threads, nogil=True):
        fold(&col[plane // C, plane % C, 0], &win, &x[plane // C, plane % C, 0])
