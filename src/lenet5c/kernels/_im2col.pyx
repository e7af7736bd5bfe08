"""im2col and col2im: windows of an image as the columns of a matrix, and back, for float32 and float64.

    col[n, (c KH + kh) KW + kw, oh OW + ow] = x[n, c, oh SH + kh DH - PH, ow SW + kw DW - PW], or `fill` outside
    x[n, c, h, w] = sum of the elements of col that im2col would take from there
"""
from cython.parallel cimport prange

ctypedef fused real:
    float
    double


cdef struct Window:
    Py_ssize_t KH, KW, SH, SW, PH, PW, DH, DW


cdef Window window_of(kernel_size, stride, padding, dilation):
    cdef Window w
    w.KH, w.KW = kernel_size
    w.SH, w.SW = stride
    w.PH, w.PW = padding
    w.DH, w.DW = dilation
    return w


cdef void unfold(
    const real* image, Py_ssize_t H, Py_ssize_t W, const Window* win, Py_ssize_t OH, Py_ssize_t OW, real fill,
    real* rows,
) noexcept nogil:
    """The KH KW rows of one image plane."""
    cdef Py_ssize_t kh, kw, oh, ow, h, w
    for kh in range(win.KH):
        for kw in range(win.KW):
            for oh in range(OH):
                h = oh * win.SH + kh * win.DH - win.PH
                for ow in range(OW):
                    w = ow * win.SW + kw * win.DW - win.PW
                    rows[ow] = image[h * W + w] if 0 <= h < H and 0 <= w < W else fill
                rows += OW


cdef void fold(
    const real* rows, Py_ssize_t H, Py_ssize_t W, const Window* win, Py_ssize_t OH, Py_ssize_t OW, real* image,
) noexcept nogil:
    """Add the KH KW rows onto one image plane."""
    cdef Py_ssize_t kh, kw, oh, ow, h, w
    for h in range(H * W):
        image[h] = 0
    for kh in range(win.KH):
        for kw in range(win.KW):
            for oh in range(OH):
                h = oh * win.SH + kh * win.DH - win.PH
                if 0 <= h < H:
                    for ow in range(OW):
                        w = ow * win.SW + kw * win.DW - win.PW
                        if 0 <= w < W:
                            image[h * W + w] += rows[ow]
                rows += OW


def im2col(const real[:, :, ::1] x not None, image, size, kernel_size, stride, padding, dilation, double fill,
           real[:, :, ::1] col not None, int num_threads):
    """x (N, C, H W) -> col (N, C, KH KW OH OW), for image (H, W) and size (OH, OW)."""
    cdef Window win = window_of(kernel_size, stride, padding, dilation)
    cdef Py_ssize_t C = x.shape[1], planes = x.shape[0] * x.shape[1], plane
    cdef Py_ssize_t H = image[0], W = image[1], OH = size[0], OW = size[1]
    if x.shape[2] != H * W or col.shape[2] != win.KH * win.KW * OH * OW or x.shape[2] == 0 or col.shape[2] == 0:
        raise ValueError("the image and its columns do not fit together, or are empty")
    for plane in prange(planes, schedule="static", num_threads=num_threads, nogil=True):
        unfold(&x[plane // C, plane % C, 0], H, W, &win, OH, OW, <real>fill, &col[plane // C, plane % C, 0])


def col2im(const real[:, :, ::1] col not None, image, size, kernel_size, stride, padding, dilation,
           real[:, :, ::1] x not None, int num_threads):
    """col (N, C, KH KW OH OW) -> x (N, C, H W), as `im2col`."""
    cdef Window win = window_of(kernel_size, stride, padding, dilation)
    cdef Py_ssize_t C = x.shape[1], planes = x.shape[0] * x.shape[1], plane
    cdef Py_ssize_t H = image[0], W = image[1], OH = size[0], OW = size[1]
    if x.shape[2] != H * W or col.shape[2] != win.KH * win.KW * OH * OW or x.shape[2] == 0 or col.shape[2] == 0:
        raise ValueError("the image and its columns do not fit together, or are empty")
    for plane in prange(planes, schedule="static", num_threads=num_threads, nogil=True):
        fold(&col[plane // C, plane % C, 0], H, W, &win, OH, OW, &x[plane // C, plane % C, 0])
